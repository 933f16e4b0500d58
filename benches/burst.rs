//! One super-packet of 60 KB there and back, for scripts/instructions: `burst ROUNDS` under valgrind.
//!
//! The two functions do what src/tunnel does between its system calls, through a pair of sessions.
#![allow(missing_docs, clippy::print_stderr)]

mod train;

use std::hint::black_box;
use std::process::ExitCode;

use naptun::packet::Layer;
use naptun::packet::coalesce::Coalescer;
use naptun::packet::vnet::Sum;
use naptun::protocol::session::Record;
use naptun::protocol::{
    Action, Aeads, Entropy, HEAD, Hello, Moment, Opened, Secrets, Session, TAIL, Time, Timers,
};
use train::{DATAGRAM, SEGMENTS, Way};

const NOW: Moment = Moment { now: Time::from_secs(1000), wall: 1_767_225_600_000_000 };

/// Bits of the inner byte: partial checksum; continues the burst.
const NEEDS_CSUM: u8 = 1;
const CONTINUES: u8 = 2;

/// Where the ends are; nobody sends anything there.
const PATH: u8 = 1;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1000);
    let headers = train::headers();
    let (mut ours, mut theirs) = live_pair();
    let mut coalescer = Coalescer::new(Layer::Ip, false);
    let mut train = train::train(false);
    for round in 0..rounds {
        let sealed = burst_out(&mut ours, black_box(&headers), &mut train);
        let joined = burst_in(&mut theirs, &mut coalescer, &mut train);
        if (sealed, joined) != (SEGMENTS, SEGMENTS) {
            eprintln!("burst: round {round}: {sealed} sealed, {joined} joined, of {SEGMENTS}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Cuts and seals; the payload lies where it belongs. Returns how many datagrams there are.
#[inline(never)]
fn burst_out(session: &mut Session<u8>, headers: &[u8], train: &mut [u8]) -> usize {
    let Some(mut burst) = train::burst(headers) else { return 0 };
    let mut count = 0;
    for datagram in train.chunks_mut(DATAGRAM) {
        let Some(segment) = burst.next(&mut datagram[HEAD..DATAGRAM - TAIL]) else { break };
        let length = HEAD + burst.header() + segment.length + TAIL;
        let Some(datagram) = datagram.get_mut(..length) else { break };
        if session.seal(NOW.now, segment.inner, datagram).is_none() {
            break;
        }
        count += 1;
    }
    count
}

/// Opens and joins. Returns how many packets the super-packet stands for.
#[inline(never)]
fn burst_in(session: &mut Session<u8>, coalescer: &mut Coalescer, train: &mut [u8]) -> usize {
    for index in 0..SEGMENTS {
        let datagram = &mut train[index * DATAGRAM..(index + 1) * DATAGRAM];
        let opened = session.open(&NOW, PATH, datagram, &mut Counting(0));
        let inner = if index == 0 { NEEDS_CSUM } else { NEEDS_CSUM | CONTINUES };
        let bit = opened == Opened::Packet(inner) && (index == 0 || session.in_sequence());
        let way = Way { sum: Sum::Partial { start: 0, offset: 0 }, bit };
        if !bit || !train::offer(coalescer, train, index, way) {
            return index;
        }
    }
    train::finish(coalescer, train).map_or(0, |(header, count)| {
        black_box(header.encode());
        count
    })
}

/// Two ends that have shaken hands and agreed on ChaCha20-Poly1305.
fn live_pair() -> (Session<u8>, Session<u8>) {
    let (mut caller, mut listener) = (session(1, false), session(2, true));
    caller.set_path(PATH);
    caller.want(NOW.now);
    for _ in 0..4 {
        carry(&mut caller, &mut listener);
        carry(&mut listener, &mut caller);
    }
    (caller, listener)
}

fn session(instance: u64, listener: bool) -> Session<u8> {
    let ours = Hello {
        listener,
        tap: false,
        refused: false,
        aeads: Aeads::CHACHA20_POLY1305,
        mtu: 1420,
        passed: 0,
        instance,
        stamp: 0,
        ipv4: None,
        ipv6: None,
    };
    Session::new(Secrets::derive(&[0x5a; 256]), ours, Record::default(), Timers::default())
}

fn carry(from: &mut Session<u8>, to: &mut Session<u8>) {
    from.on_deadline(&NOW, &mut Counting(to.is_up(NOW.now).into()));
    while let Some(action) = from.next_action() {
        if let Action::Send { mut datagram, .. } = action {
            to.open(&NOW, PATH, &mut datagram, &mut Counting(from.is_up(NOW.now).into()));
        }
    }
}

/// Bytes that are the same in every run.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}
