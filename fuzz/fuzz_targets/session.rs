//! Two ends, a bad wire, and whatever their drivers and the machines may do to them: each packet arrives once at most,
//! deadlines move on, and when the wire is calm again packets pass.
//!
//! Input: `options (1)`, then records of `what (1) | how (1)`.

#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use naptun::protocol::session::Record;
use naptun::protocol::{Aeads, Event, Farewell, HEAD, Hello, Opened, PathLimits, TAIL, Time, Timers};
use naptun_fuzz::Input;
use naptun_fuzz::ends::{Addr, End, START, hello};

/// Operations of one input; more only make it slow.
const MOST: usize = 150;

/// A year in microseconds.
const YEAR: i64 = 31_557_600_000_000;

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let Some(options) = input.byte() else { return };
    let mut world = World::new(options);
    for _ in 0..MOST {
        let Some([what, how]) = input.array() else { break };
        world.operate(what, how);
    }
    world.heal();
});

/// A datagram under way, from where and to which end.
#[derive(Clone)]
struct Flight {
    from: Addr,
    to: usize,
    datagram: Vec<u8>,
}

struct World {
    ends: [End; 2],
    timers: Timers,
    options: u8,
    now: Time,
    flights: Vec<Flight>,
    history: Vec<Flight>,
    tags: BTreeSet<[u8; 16]>,
    /// Packets in the devices.
    held: [Vec<u64>; 2],
    given: u64,
    delivered: BTreeSet<u64>,
    processes: u64,
}

impl World {
    /// Options: 1 both ends call, 2 one cipher, 4 pings, 8 the other end has the larger instance, 16 the path is looked
    /// at and some packets are long, 32 it is narrow.
    fn new(options: u8) -> Self {
        let ping = (options & 4 != 0).then_some(Duration::from_secs(2));
        let timers = Timers { ping, ping_timeout: ping.map(|ping| ping * 5), ..Timers::default() };
        let ends = [0, 1].map(|n| End::new(ours(options, n, 0), n as Addr, Record::default(), timers));
        let mut world = Self {
            ends,
            timers,
            options,
            now: START,
            flights: Vec::new(),
            history: Vec::new(),
            tags: BTreeSet::new(),
            held: [Vec::new(), Vec::new()],
            given: 0,
            delivered: BTreeSet::new(),
            processes: 0,
        };
        world.connect(0);
        world.connect(1);
        world
    }

    /// A caller knows where the other end is.
    fn connect(&mut self, end: usize) {
        if !self.ends[end].ours.listener {
            self.ends[end].session.set_path(1 - end as Addr);
        }
    }

    fn operate(&mut self, what: u8, how: u8) {
        let end = usize::from(what & 1);
        match what >> 1 & 15 {
            0 | 1 => self.give(end),
            2..=5 => self.arrive(usize::from(how), end),
            6 => drop(self.pick(usize::from(how))),
            7 => self.repeat(usize::from(how), end),
            8 | 9 => self.pass(Duration::from_millis(1 << (how & 15))),
            10 => self.pass(Duration::from_secs(u64::from(how))),
            11 => {
                let farewell = if how & 1 == 0 { Farewell::Nap } else { Farewell::Exit };
                self.ends[end].session.close(self.now, farewell);
            }
            12 => self.ends[end].session.restart(),
            13 => self.crash(end),
            14 => self.ends[end].skew = (i64::from(how) - 128) * YEAR / 64,
            _ if how & 8 != 0 => self.ends[end].session.resume(),
            _ if how & 16 != 0 => {
                let moment = self.ends[end].moment(self.now);
                let End { session, rng, .. } = &mut self.ends[end];
                session.moved(&moment, how & 3, rng);
            }
            _ if how & 4 == 0 => self.ends[end].session.set_path(how & 3),
            _ => {
                self.ends[end].session.turn_to(self.now + Duration::from_millis(u64::from(how) * 10), how & 3)
            }
        }
        self.turn(end);
    }

    /// A packet comes out of an end's device.
    fn give(&mut self, end: usize) {
        self.given += 1;
        self.held[end].push(self.given);
    }

    fn pick(&mut self, which: usize) -> Option<Flight> {
        let index = which.checked_rem(self.flights.len())?;
        Some(self.flights.remove(index))
    }

    fn arrive(&mut self, which: usize, end: usize) {
        let mine: Vec<usize> = (0..self.flights.len()).filter(|at| self.flights[*at].to == end).collect();
        let Some(index) = which.checked_rem(mine.len()) else { return };
        let flight = self.flights.remove(mine[index]);
        self.open(&flight);
    }

    /// A datagram of any time arrives at any end, from a stranger's address.
    fn repeat(&mut self, which: usize, to: usize) {
        let Some(index) = which.checked_rem(self.history.len()) else { return };
        let flight = Flight { from: 3, to, ..self.history[index].clone() };
        self.open(&flight);
    }

    fn open(&mut self, flight: &Flight) {
        let (opened, packet) = self.ends[flight.to].open(self.now, flight.from, &flight.datagram);
        if let Opened::Packet(_) = opened {
            let serial = u64::from_le_bytes(*packet.first_chunk().expect("a packet of ours"));
            assert!(self.delivered.insert(serial), "packet {serial} arrives twice");
        }
        self.turn(flight.to);
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.turn(0);
        self.turn(1);
    }

    /// Killed, and started again with what is stored.
    fn crash(&mut self, end: usize) {
        self.processes += 1;
        let (stored, skew) = (self.ends[end].stored, self.ends[end].skew);
        self.ends[end] = End::new(ours(self.options, end, self.processes), end as Addr, stored, self.timers);
        self.ends[end].skew = skew;
        self.connect(end);
    }

    /// All that a driver does: packets, what is due, what is to be sent. Who has said goodbye is started again.
    fn turn(&mut self, end: usize) {
        for turn in 0.. {
            assert!(turn < 8, "deadlines do not move on");
            let sent = self.ends[end].turn(self.now);
            sent.into_iter().for_each(|(path, datagram)| self.send(end, path, datagram));
            if self.ends[end].session.is_closed(self.now) {
                self.crash(end);
                continue;
            }
            self.call_again(end);
            self.seal(end);
            if self.ends[end].session.deadline(self.now).is_none_or(|deadline| deadline > self.now) {
                return;
            }
        }
    }

    /// What the device holds is sealed, or called for.
    fn seal(&mut self, end: usize) {
        for serial in std::mem::take(&mut self.held[end]) {
            let mut packet = serial.to_le_bytes().to_vec();
            if let Some(most) = self.ends[end].session.longest_datagram().filter(|_| serial % 3 == 0) {
                packet.resize(most - HEAD - TAIL, 7);
            }
            match self.ends[end].seal(self.now, &packet) {
                Some((path, datagram)) => self.send(end, path, datagram),
                None => self.held[end].push(serial),
            }
        }
        if !self.held[end].is_empty() {
            self.ends[end].session.want(self.now);
        }
    }

    /// A caller whom nobody answers calls where it was told to. A new session has a path.
    fn call_again(&mut self, end: usize) {
        let events = std::mem::take(&mut self.ends[end].events);
        if self.options & 16 != 0 && events.iter().any(|event| matches!(event, Event::Established { .. })) {
            let limits = PathLimits { headers: 28, start: 1472, ceiling: 1472 };
            let End { session, rng, .. } = &mut self.ends[end];
            session.begin_path(self.now, limits, rng);
        }
        if events.iter().any(|event| matches!(event, Event::Unanswered { .. })) {
            self.connect(end);
        }
    }

    fn send(&mut self, end: usize, path: Addr, datagram: Vec<u8>) {
        let flight = Flight { from: end as Addr, to: usize::from(path), datagram };
        let tag = flight.datagram.last_chunk::<16>().expect("a datagram of ours");
        assert!(self.tags.insert(*tag), "the same datagram is sent twice");
        self.history.push(flight.clone());
        let passes = self.options & 32 == 0 || flight.datagram.len() <= 1280 - 28;
        if passes && path < 2 && usize::from(path) != end {
            self.flights.push(flight);
        }
    }

    /// The wire is calm: everything arrives, in order. Within a minute packets pass both ways.
    fn heal(&mut self) {
        for _ in 0..30 {
            self.calm(Duration::from_secs(2));
        }
        let first = self.given + 1;
        self.calm(Duration::from_millis(1));
        let passed = (first..=self.given).all(|serial| self.delivered.contains(&serial));
        assert!(passed, "packets {first} to {} do not pass", self.given);
    }

    fn calm(&mut self, pause: Duration) {
        for end in [0, 1] {
            self.give(end);
            self.turn(end);
        }
        self.carry();
        let until = self.now + pause;
        loop {
            let deadline = |end: &End| end.session.deadline(self.now);
            let next = self.ends.iter().filter_map(deadline).min().filter(|next| *next < until);
            self.now = next.unwrap_or(until).max(self.now);
            self.pass(Duration::ZERO);
            self.carry();
            if next.is_none() {
                return;
            }
        }
    }

    fn carry(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the ends never stop talking");
            if self.flights.is_empty() {
                return;
            }
            let flight = self.flights.remove(0);
            self.open(&flight);
        }
    }
}

fn ours(options: u8, end: usize, process: u64) -> Hello {
    let larger = (end == 1) != (options & 8 != 0);
    let instance = 1 + process * 4 + if larger { 2 } else { 0 };
    let aeads = if options & 2 != 0 { Aeads::CHACHA20_POLY1305 } else { Aeads::AES_256_GCM };
    Hello { aeads, ..hello(instance, end == 1 && options & 1 == 0) }
}
