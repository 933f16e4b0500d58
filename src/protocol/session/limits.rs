//! Tests: a session whose counters come to their end. It takes 2^60 datagrams to get there, so the counters are set.

use super::{Action, Event, Farewell, Opened, Record, Session};
use crate::protocol::{Aeads, Entropy, HEAD, Hello, Moment, Secrets, TAIL, Time, Timers};

#[allow(clippy::print_stdout)]
#[path = "../../../tests/figures/mod.rs"]
mod figures;

const NOW: Time = Time::from_secs(1000);
/// Section 7 of doc/protocol.md.
const LIMIT: u64 = 1 << 60;

/// Good enough here: no two fills are alike.
struct Weyl(u64);

impl Entropy for Weyl {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *byte = (self.0 >> 56) as u8;
        });
    }
}

struct Pair {
    ends: [Session<u8>; 2],
    entropy: Weyl,
    now: Time,
}

impl Pair {
    /// A session in which `left` more datagrams may be sealed in either direction.
    fn live(left: u64, timers: Timers) -> Self {
        let mut pair = Self { ends: [1, 2].map(|n| end(n, timers)), entropy: Weyl(0), now: NOW };
        pair.ends[0].set_path(2);
        pair.packet(0).unwrap();
        pair.packet(1).unwrap();
        for end in &mut pair.ends {
            end.current.as_mut().unwrap().preset_counters(LIMIT - left);
        }
        pair
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, wall: self.now.as_micros() as u64 }
    }

    /// Does what is due at both ends and carries it across. Returns how many datagrams that were.
    fn settle(&mut self) -> usize {
        let mut carried = 0;
        for turn in 0..40 {
            let moment = self.moment();
            let [from, to] = &mut self.ends;
            let (from, to) = if turn % 2 == 0 { (from, to) } else { (to, from) };
            if from.deadline(self.now).is_some_and(|at| at <= self.now) {
                from.on_deadline(&moment, &mut self.entropy);
            }
            while let Some(action) = from.next_action() {
                if let Action::Send { mut datagram, .. } = action {
                    to.open(&moment, 1, &mut datagram, &mut self.entropy);
                    carried += 1;
                }
            }
        }
        for end in &self.ends {
            let deadline = end.deadline(self.now);
            assert!(deadline.is_none_or(|at| at > self.now), "it never rests: {deadline:?}");
        }
        carried
    }

    /// A packet from one end to the other, with a handshake where there are no keys. `None` if it was not taken.
    fn packet(&mut self, from: usize) -> Option<()> {
        self.ends[from].want(self.now);
        self.settle();
        let mut datagram = [0; HEAD + 5 + TAIL];
        self.ends[from].seal(self.now, 0, &mut datagram)?;
        let moment = self.moment();
        let opened = self.ends[1 - from].open(&moment, 1, &mut datagram, &mut self.entropy);
        assert_eq!(opened, Opened::Packet(0), "from end {from}");
        Some(())
    }

    /// `first` has found that it has no counter left, or nobody has.
    fn assert_alive(&mut self, first: usize) {
        for from in [first, 1 - first, first, 1 - first] {
            if self.packet(from).is_none() {
                // The last counter was the one before.
                self.packet(from).unwrap();
            }
        }
    }
}

fn end(instance: u64, timers: Timers) -> Session<u8> {
    let ours = Hello {
        listener: false,
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
    Session::new(Secrets::derive(&[7; 256]), ours, Record::default(), timers)
}

fn told(end: &mut Session<u8>, wanted: Event<u8>) -> bool {
    std::iter::from_fn(|| end.next_action()).any(|action| action == Action::Event(wanted))
}

#[test]
fn packets_that_use_the_counters_up_are_followed_by_new_keys() {
    for left in 0..6 {
        for from in [0, 1] {
            let mut pair = Pair::live(left, Timers::default());
            for n in 0..left {
                assert_eq!(pair.packet(from), Some(()), "{n} of {left}");
            }
            let mut datagram = [0; HEAD + TAIL];
            assert_eq!(pair.ends[from].seal(NOW, 0, &mut datagram), None);
            assert_eq!(datagram, [0; HEAD + TAIL], "nothing of it is sealed");
            assert!(!pair.ends[from].is_up(NOW), "the keys are given up");
            pair.assert_alive(from);
        }
    }
    figures::figure(
        5,
        "12 sessions with 0 to 5 counters left: each stops at 2^60 and has new keys with the next packet",
    );
}

#[test]
fn the_protocols_own_packets_stop_at_the_limit_too_and_nothing_spins() {
    let timers = Timers { ping: Some(Time::from_secs(1)), ..Timers::default() };
    for left in 0..6 {
        let mut pair = Pair::live(left, timers);
        let mut carried = 0;
        for _ in 0..20 {
            pair.now += Time::from_secs(1);
            carried += pair.settle();
        }
        assert!(carried as u64 <= 2 * left, "{carried} datagrams with {left} counters left");
        assert!(pair.ends.iter().any(|end| !end.is_up(pair.now)));
        pair.assert_alive(0);
    }
}

#[test]
fn a_rekey_that_finds_no_counter_left_becomes_a_call() {
    for left in 0..4 {
        let mut pair = Pair::live(left + 1, Timers::default());
        pair.now += Time::from_secs(133);
        // A keepalive that was due may have taken the counter.
        let _ = pair.packet(0);
        pair.settle();
        pair.assert_alive(0);
        pair.now += Time::from_secs(60);
        pair.assert_alive(0);
    }
}

#[test]
fn a_bye_without_a_counter_is_over_at_once() {
    let mut pair = Pair::live(0, Timers::default());
    pair.ends[0].close(NOW, Farewell::Exit);
    pair.settle();
    assert!(pair.ends[0].is_closed(NOW));
    assert!(!told(&mut pair.ends[1], Event::Bye(Farewell::Exit)));
}
