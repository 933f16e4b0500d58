//! Two ends, one virtual clock, one bad wire. Everything follows from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use naptun::protocol::handshake::{Call, Carriage};
use naptun::protocol::session::Record;
use naptun::protocol::{
    Action, Aeads, Entropy, Event, HEAD, Hello, Moment, Opened, PathLimits, Reject, Rejects, Secrets,
    Session, TAIL, Time, Timers, envelope,
};

/// An address on the wire.
pub type Addr = u32;

pub const A: usize = 0;
pub const B: usize = 1;

pub const KEY: [u8; 256] = [0x5a; 256];

/// 2026-01-01, in microseconds since the Unix epoch.
pub const WALL: u64 = 1_767_225_600_000_000;

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// SplitMix64: good enough for a wire, and the same everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x6e61_7074_756e)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

/// The seed of a random test: `NAPTUN_SEED`, else a new one; printed, so that a failure can be had again.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("NAPTUN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 >> 8
    });
    println!("{test}: NAPTUN_SEED={seed}");
    seed
}

pub fn hello(instance: u64) -> Hello {
    Hello {
        listener: false,
        tap: false,
        refused: false,
        aeads: Aeads::AES_256_GCM.with(Aeads::CHACHA20_POLY1305),
        mtu: 1420,
        passed: 0,
        instance,
        stamp: 0,
        ipv4: None,
        ipv6: None,
    }
}

/// One end as its driver sees it.
pub struct End {
    pub session: Session<Addr>,
    pub secrets: Secrets,
    pub addr: Addr,
    pub rng: Rng,
    /// The `remote` of a caller: where it calls again when nobody answers elsewhere.
    pub remote: Option<Addr>,
    /// How far the end's calendar is off, microseconds.
    pub skew: i64,
    /// What a crash would leave behind.
    pub stored: Record,
    pub events: Vec<(Time, Event<Addr>)>,
    /// Packets that wait in the device.
    pub held: VecDeque<Vec<u8>>,
    pub delivered: Vec<(Time, Vec<u8>)>,
    pub rejects: Rejects,
    /// What the driver says of each new path; `None` where the test is not about it.
    pub limits: Option<PathLimits>,
    /// No process: nothing is read, nothing is sent.
    pub gone: bool,
    highest_called: u64,
}

impl End {
    pub fn new(ours: Hello, addr: Addr, seed: u64) -> Self {
        Self::with(&KEY, ours, Record::default(), Timers::default(), addr, seed)
    }

    pub fn with(key: &[u8; 256], ours: Hello, stored: Record, timers: Timers, addr: Addr, seed: u64) -> Self {
        Self {
            session: Session::new(Secrets::derive(key), ours, stored, timers),
            secrets: Secrets::derive(key),
            addr,
            rng: Rng::new(seed),
            remote: None,
            skew: 0,
            stored,
            events: Vec::new(),
            held: VecDeque::new(),
            delivered: Vec::new(),
            rejects: Rejects::default(),
            limits: None,
            gone: false,
            highest_called: 0,
        }
    }

    pub fn moment(&self, now: Time) -> Moment {
        let wall = WALL.saturating_add(now.as_micros() as u64).saturating_add_signed(self.skew);
        Moment { now, wall }
    }

    /// What the session wants sent. Panics if a datagram leaves before what it depends on is stored.
    pub fn act(&mut self, now: Time) -> Vec<(Addr, Vec<u8>)> {
        let mut sends = Vec::new();
        for turn in 0.. {
            assert!(turn < 64, "an action storm");
            match self.session.next_action() {
                None => break,
                Some(Action::Persist(record)) => self.stored = record,
                Some(Action::Event(event)) => self.note(now, event),
                Some(Action::Send { datagram, path }) => {
                    self.check_persisted(&datagram);
                    sends.push((path, datagram));
                }
            }
        }
        sends
    }

    fn note(&mut self, now: Time, event: Event<Addr>) {
        self.events.push((now, event));
        if let (Event::Established { .. }, Some(limits)) = (event, self.limits) {
            self.session.begin_path(now, limits, &mut self.rng);
        }
        if let (Event::Unanswered { .. }, Some(remote)) = (event, self.remote) {
            self.session.set_path(remote);
        }
    }

    fn check_persisted(&self, datagram: &[u8]) {
        if let Some(stamp) = stamp_of_call(&self.secrets, datagram) {
            assert!(self.stored.sent >= stamp, "a call left before its stamp was stored");
        } else if envelope::open(&self.secrets.envelopes[1], &mut datagram.to_vec()).is_some() {
            assert!(self.stored.seen >= self.highest_called, "an answer left before its call was stored");
        }
    }

    /// A datagram arrives. The packet, if it is one for the device, is kept in `delivered`.
    pub fn open(&mut self, now: Time, from: Addr, datagram: &[u8]) -> Opened {
        let mut datagram = datagram.to_vec();
        let moment = self.moment(now);
        let call = stamp_of_call(&self.secrets, &datagram);
        let opened = self.session.open(&moment, from, &mut datagram, &mut self.rng);
        match opened {
            Opened::Packet(_) => {
                let packet = datagram[HEAD..datagram.len() - TAIL].to_vec();
                self.delivered.push((now, packet));
            }
            Opened::Control => self.highest_called = self.highest_called.max(call.unwrap_or(0)),
            Opened::Rejected(reject) => self.rejects.count(reject),
        }
        opened
    }

    /// Seals a packet, if there are keys.
    pub fn seal(&mut self, now: Time, packet: &[u8]) -> Option<(Addr, Vec<u8>)> {
        let mut datagram = vec![0; HEAD + packet.len() + TAIL];
        datagram[HEAD..][..packet.len()].copy_from_slice(packet);
        let path = self.session.seal(now, 0, &mut datagram)?;
        Some((path, datagram))
    }

    /// Everything a driver does in a turn: held packets, deadlines, actions.
    pub fn turn(&mut self, now: Time) -> Vec<(Addr, Vec<u8>)> {
        let mut sends = self.act(now);
        for turn in 0.. {
            assert!(turn < 8, "deadlines do not move on: {:?} at {now:?}", self.session.deadline(now));
            while let Some(packet) = self.held.front().cloned() {
                let Some(sent) = self.seal(now, &packet) else { break };
                sends.push(sent);
                self.held.pop_front();
            }
            if !self.held.is_empty() {
                self.session.want(now);
            }
            if self.session.deadline(now).is_none_or(|deadline| deadline > now) {
                break;
            }
            let moment = self.moment(now);
            self.session.on_deadline(&moment, &mut self.rng);
            sends.extend(self.act(now));
        }
        sends
    }

    pub fn count(&self, wanted: impl Fn(&Event<Addr>) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }

    pub fn established(&self) -> usize {
        self.count(|event| matches!(event, Event::Established { .. }))
    }
}

/// The stamp of a first message in an envelope.
pub fn stamp_of_call(secrets: &Secrets, datagram: &[u8]) -> Option<u64> {
    if !(154..=921).contains(&datagram.len()) {
        return None;
    }
    let mut copy = datagram.to_vec();
    let message = envelope::open(&secrets.envelopes[0], &mut copy)?;
    Some(Call::read(Carriage::Envelope, secrets, message).ok()?.theirs.stamp)
}

/// How bad the wire is.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: u64,
    pub duplicates: u64,
    pub replays: u64,
    /// Least and most delay, milliseconds; unequal delays reorder.
    pub delay: (u64, u64),
}

pub const CALM: Weather = Weather { loss: 0, duplicates: 0, replays: 0, delay: (10, 10) };

/// A datagram on its way.
pub struct Flight {
    pub from: Addr,
    pub to: Addr,
    pub bytes: Vec<u8>,
}

type Filter = Box<dyn FnMut(Time, &Flight) -> bool>;

pub struct World {
    pub now: Time,
    pub ends: [End; 2],
    pub weather: Weather,
    pub rng: Rng,
    /// Says which datagrams get through.
    pub filter: Filter,
    /// Everything that was ever sent: when, from, to, bytes.
    pub history: Vec<(Time, Addr, Addr, Vec<u8>)>,
    flights: BTreeMap<(Time, u64), Flight>,
    serial: u64,
}

impl World {
    /// The first end calls the second.
    pub fn new(a: End, b: End, seed: u64) -> Self {
        let mut world = Self {
            now: secs(1000),
            ends: [a, b],
            weather: CALM,
            rng: Rng::new(seed),
            filter: Box::new(|_, _| true),
            history: Vec::new(),
            flights: BTreeMap::new(),
            serial: 0,
        };
        world.connect(A);
        world
    }

    /// Tells an end where the other is.
    pub fn connect(&mut self, end: usize) {
        let remote = self.ends[1 - end].addr;
        self.ends[end].remote = Some(remote);
        self.ends[end].session.set_path(remote);
    }

    pub fn pair(seed: u64) -> Self {
        let a = End::new(hello(seed.wrapping_mul(31) | 1), 1, seed.wrapping_mul(3));
        let listener = Hello { listener: true, ..hello(seed.wrapping_mul(37) & !1) };
        let b = End::new(listener, 2, seed.wrapping_mul(5));
        Self::new(a, b, seed)
    }

    /// A pair with a session, the wire empty.
    pub fn live(seed: u64) -> Self {
        let mut world = Self::pair(seed);
        world.give(A, b"first");
        world.run(ms(100));
        assert_eq!(world.ends[B].delivered.len(), 1);
        world.ends[B].delivered.clear();
        world
    }

    /// A packet comes out of an end's device.
    pub fn give(&mut self, end: usize, packet: &[u8]) {
        self.ends[end].held.push_back(packet.to_vec());
        self.turn(end);
    }

    pub fn turn(&mut self, end: usize) {
        if self.ends[end].gone {
            return;
        }
        let from = self.ends[end].addr;
        for (to, bytes) in self.ends[end].turn(self.now) {
            self.send(from, to, bytes);
        }
    }

    pub fn send(&mut self, from: Addr, to: Addr, bytes: Vec<u8>) {
        self.history.push((self.now, from, to, bytes.clone()));
        let flight = Flight { from, to, bytes };
        if !(self.filter)(self.now, &flight) || self.rng.percent(self.weather.loss) {
            return;
        }
        if self.rng.percent(self.weather.duplicates) {
            let twin = Flight { bytes: flight.bytes.clone(), ..flight };
            self.launch(twin);
        }
        self.launch(flight);
        if self.rng.percent(self.weather.replays) {
            let old = self.rng.below(self.history.len() as u64) as usize;
            let bytes = self.history[old].3.clone();
            let to = self.ends[self.rng.below(2) as usize].addr;
            self.launch(Flight { from: 666, to, bytes });
        }
    }

    fn launch(&mut self, flight: Flight) {
        let (least, most) = self.weather.delay;
        let delay = least * 1000 + self.rng.below((most - least) * 1000 + 1);
        self.serial += 1;
        self.flights.insert((self.now + Duration::from_micros(delay), self.serial), flight);
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until nothing is under way and nobody has a deadline. Returns when that was.
    pub fn run_out(&mut self) -> Time {
        while self.step(self.now + secs(100_000)) {}
        self.now
    }

    /// Lets one thing happen, at `until` at the latest.
    fn step(&mut self, until: Time) -> bool {
        let arrival = self.flights.keys().next().map(|(at, _)| *at);
        let deadline = |end: &End| end.session.deadline(self.now).filter(|_| !end.gone);
        let deadlines = self.ends.iter().filter_map(deadline).min();
        let Some(at) = [arrival, deadlines].into_iter().flatten().min() else { return false };
        if at > until {
            return false;
        }
        self.now = self.now.max(at);
        if arrival == Some(at) {
            let (_, flight) = self.flights.pop_first().unwrap();
            self.arrive(&flight);
        }
        self.turn(A);
        self.turn(B);
        true
    }

    fn arrive(&mut self, flight: &Flight) {
        let Some(end) = self.ends.iter_mut().find(|end| end.addr == flight.to && !end.gone) else { return };
        end.open(self.now, flight.from, &flight.bytes);
    }

    /// How many datagrams an end has sent since then.
    pub fn sent_since(&self, end: usize, then: Time) -> usize {
        let addr = self.ends[end].addr;
        self.history.iter().filter(|(at, from, _, _)| *at >= then && *from == addr).count()
    }

    /// Exchanges packets in both directions; panics unless each arrives once.
    pub fn exchange(&mut self, count: u64) {
        let before = self.now;
        for n in 0..count {
            for end in [A, B] {
                self.give(end, &packet(end, before, n));
                self.run(ms(3));
            }
        }
        self.run(ms(500));
        for end in [A, B] {
            let expected: BTreeSet<_> = (0..count).map(|n| packet(end, before, n)).collect();
            let peer = &self.ends[1 - end];
            let arrived: Vec<_> = peer.delivered.iter().map(|(_, packet)| packet.clone()).collect();
            let arrived: Vec<_> = arrived.into_iter().filter(|packet| expected.contains(packet)).collect();
            assert_eq!(arrived.len() as u64, count, "packets from end {end} at {before:?}");
        }
    }

    /// Panics unless both ends send and open under the same keys: only those move an address.
    pub fn assert_agreement(&mut self) {
        self.exchange(3);
        for end in [A, B] {
            self.ends[end].addr += 10;
            self.give(end, &packet(end, self.now, 99));
            self.run(ms(500));
            let (addr, peer) = (self.ends[end].addr, &self.ends[1 - end]);
            assert_eq!(peer.session.path(), Some(addr), "the ends use different keys");
        }
    }

    /// A new process takes the place of an end; what was stored is kept.
    pub fn restart(&mut self, end: usize, ours: Hello) {
        let old = &self.ends[end];
        let seed = self.rng.next();
        let mut new = End::with(&KEY, ours, old.stored, Timers::default(), old.addr, seed);
        new.skew = old.skew;
        new.delivered = old.delivered.clone();
        self.ends[end] = new;
    }
}

/// A packet like no other.
pub fn packet(end: usize, at: Time, n: u64) -> Vec<u8> {
    let mut packet = vec![end as u8; 33];
    packet[1..17].copy_from_slice(&at.as_nanos().to_le_bytes());
    packet[17..25].copy_from_slice(&n.to_le_bytes());
    packet
}

/// Whether a datagram was refused for this reason.
pub fn rejected(opened: Opened, reason: Reject) -> bool {
    opened == Opened::Rejected(reason)
}
