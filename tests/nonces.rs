//! No key ever meets a nonce twice: every datagram of two ends is taken apart with keys that are derived from their
//! ephemeral keys alone, over rekeys, restarts and losses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
#[allow(dead_code)]
#[path = "secrets/keys.rs"]
mod keys;
#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use std::collections::{HashMap, HashSet};

use naptun::protocol::session::Record;
use naptun::protocol::{
    Action, Aeads, Entropy, HEAD, Hello, Moment, Opened, Secrets, Session, TAIL, Time, Timers,
};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use siphasher::sip::SipHasher24;
use world::{KEY, Rng, WALL, hello, ms, secs};

/// The shortest datagram that can be a first message or an answer.
const CALL: usize = 154;

/// Entropy that remembers the ephemeral keys: nothing else asks for 32 bytes.
struct Tape {
    rng: Rng,
    ephemerals: Vec<[u8; 32]>,
}

impl Entropy for Tape {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill(bytes);
        self.ephemerals.extend(<[u8; 32]>::try_from(&*bytes));
    }
}

struct End {
    session: Session<u8>,
    tape: Tape,
    stored: Record,
}

/// One direction of one handshake.
struct Direction {
    key: [u8; 32],
    data: LessSafeKey,
    header: SipHasher24,
}

struct Life {
    ends: [End; 2],
    rng: Rng,
    now: Time,
    psk: [u8; 32],
    directions: Vec<Direction>,
    /// Number of each key, and each pair of number and counter.
    keys: HashMap<[u8; 32], u32>,
    used: HashSet<(u32, u64)>,
    restarts: u32,
    handshakes: usize,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ends = [1, 2].map(|instance| end(instance, Record::default(), rng.next()));
        let mut life = Self {
            ends,
            rng,
            now: secs(1000),
            psk: keys::psk(&KEY),
            directions: Vec::new(),
            keys: HashMap::new(),
            used: HashSet::new(),
            restarts: 0,
            handshakes: 0,
        };
        life.ends[0].session.set_path(2);
        life
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, wall: WALL + self.now.as_micros() as u64 }
    }

    /// A new process takes the place of an end, and knows what the last one stored.
    fn restart(&mut self, which: usize) {
        let (stored, path) = (self.ends[which].stored, self.ends[which].session.path());
        self.ends[which] = end(self.rng.next(), stored, self.rng.next());
        if let Some(path) = path {
            self.ends[which].session.set_path(path);
        }
        self.restarts += 1;
    }

    /// Takes note of the key and the counter of whatever an end has sealed.
    fn audit(&mut self, datagram: &[u8]) {
        let (header, tag) = (datagram[..8].try_into().unwrap(), &datagram[datagram.len() - TAIL..]);
        for direction in self.directions.iter().rev().take(24) {
            let counter = u64::from_le_bytes(header) ^ direction.header.hash(tag);
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            let mut text = datagram[8..].to_vec();
            if counter >> 40 == 0
                && direction
                    .data
                    .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
                    .is_ok()
            {
                let number = self.keys.len() as u32;
                let key = *self.keys.entry(direction.key).or_insert(number);
                assert!(self.used.insert((key, counter)), "key {key} and counter {counter} again");
                return;
            }
        }
        assert!(datagram.len() >= CALL, "a datagram under no key that the document knows");
    }

    /// What an end has to say: audited, and carried across unless it is lost.
    fn speak(&mut self, from: usize) {
        let moment = self.moment();
        if self.ends[from].session.deadline(self.now).is_some_and(|at| at <= self.now) {
            let End { session, tape, .. } = &mut self.ends[from];
            session.on_deadline(&moment, tape);
        }
        while let Some(action) = self.ends[from].session.next_action() {
            match action {
                Action::Persist(record) => self.ends[from].stored = record,
                Action::Send { datagram, .. } => {
                    self.audit(&datagram);
                    if !self.rng.percent(3) {
                        self.carry(from, datagram);
                    }
                }
                Action::Event(_) => {}
            }
        }
    }

    fn carry(&mut self, from: usize, mut datagram: Vec<u8>) -> Opened {
        let moment = self.moment();
        let theirs = self.ends[from].tape.ephemerals.last().copied();
        let End { session, tape, .. } = &mut self.ends[1 - from];
        let known = tape.ephemerals.len();
        let opened = session.open(&moment, from as u8 + 1, &mut datagram, tape);
        // An answer was made: the initiator's key and this one are a handshake.
        if let (Some(ours), Some(theirs)) = (tape.ephemerals.get(known).copied(), theirs) {
            self.learn(theirs, ours);
        }
        opened
    }

    fn learn(&mut self, initiator: [u8; 32], responder: [u8; 32]) {
        let handshake = keys::handshake(0, &self.psk, initiator, responder);
        self.handshakes += 1;
        for pair in handshake.lasting.chunks(2) {
            let key: [u8; 32] = pair[0].1.as_slice().try_into().unwrap();
            let data = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
            let header = SipHasher24::new_with_key(pair[1].1.as_slice().try_into().unwrap());
            self.directions.push(Direction { key, data, header });
        }
    }

    fn packet(&mut self, from: usize) {
        let mut datagram = vec![0; HEAD + self.rng.below(100) as usize + TAIL];
        if self.ends[from].session.seal(self.now, 0, &mut datagram).is_some() {
            self.audit(&datagram);
            if !self.rng.percent(1) {
                self.carry(from, datagram);
            }
        } else {
            self.ends[from].session.want(self.now);
        }
    }
}

fn end(instance: u64, stored: Record, seed: u64) -> End {
    let ours = Hello { aeads: Aeads::CHACHA20_POLY1305, ..hello(instance) };
    let session = Session::new(Secrets::derive(&KEY), ours, stored, Timers::default());
    End { session, tape: Tape { rng: Rng::new(seed), ephemerals: Vec::new() }, stored }
}

#[test]
fn no_key_meets_a_nonce_twice_over_rekeys_restarts_and_losses() {
    let seed = world::seed("nonces");
    let mut life = Life::new(seed);
    let wanted = figures::by_length(50_000, 1_000_000);
    let mut turn = 0_u64;
    while life.used.len() < wanted {
        turn += 1;
        assert!(turn < 10 * wanted as u64, "it does not get on: {} of {seed}", life.used.len());
        let from = (life.rng.next() & 1) as usize;
        life.packet(from);
        for from in [0, 1, 0, 1] {
            life.speak(from);
        }
        let pause = life.rng.below(200);
        life.now += ms(pause);
        if life.rng.below(5000) == 0 {
            let which = (life.rng.next() & 1) as usize;
            life.restart(which);
        }
    }
    assert!(life.restarts > 0 && life.handshakes > 20);
    figures::figure(
        13,
        &format!(
            "{} datagrams under {} keys of {} handshakes, {} restarts: 0 pairs of key and nonce twice",
            life.used.len(),
            life.keys.len(),
            life.handshakes,
            life.restarts
        ),
    );
}
