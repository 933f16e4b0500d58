//! The round trip that a session measures: over a wire of a known length, in both roles, on what is sent anyway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use naptun::protocol::session::Record;
use naptun::protocol::{Farewell, Hello, PathLimits, Time, Timers};
use std::time::Duration;
use world::{Addr, End, KEY, Rng, hello, ms, secs};

/// Two ends and a wire between them: the first calls the second.
struct Wire {
    a: End,
    b: End,
    now: Time,
    /// How long each way takes.
    there: Duration,
    back: Duration,
}

impl Wire {
    fn new(there: Duration, back: Duration) -> Self {
        let end = |ours: Hello, addr| {
            End::with(&KEY, ours, Record::default(), Timers::default(), addr, ours.instance)
        };
        let (mut a, b) = (end(hello(1), 1), end(Hello { listener: true, ..hello(2) }, 2));
        a.session.set_path(2);
        Self { a, b, now: secs(1000), there, back }
    }

    /// All that `a` has to send arrives at `b`.
    fn carry_there(&mut self) -> usize {
        let datagrams = self.a.turn(self.now);
        self.now += self.there;
        for (_, datagram) in &datagrams {
            self.b.open(self.now, 1, datagram);
        }
        datagrams.len()
    }

    fn carry_back(&mut self) -> usize {
        let datagrams = self.b.turn(self.now);
        self.now += self.back;
        for (_, datagram) in &datagrams {
            self.a.open(self.now, 2, datagram);
        }
        datagrams.len()
    }

    /// A call, its answer and the confirmation.
    fn connect(&mut self) {
        self.a.session.want(self.now);
        assert_eq!((self.carry_there(), self.carry_back(), self.carry_there()), (1, 1, 1));
    }

    fn trips(&self) -> [Option<Duration>; 2] {
        [self.a.session.round_trip(), self.b.session.round_trip()]
    }
}

const LIMITS: PathLimits = PathLimits { headers: 28, start: 1472, ceiling: 1472 };

#[test]
fn a_handshake_measures_the_round_trip_at_both_ends() {
    let mut wire = Wire::new(ms(10), ms(30));
    assert_eq!(wire.trips(), [None, None]);
    wire.connect();
    assert_eq!(wire.trips(), [Some(ms(40)), Some(ms(40))]);
}

#[test]
fn the_time_in_which_the_peer_woke_is_gone_with_the_first_probe() {
    let mut wire = Wire::new(ms(5), ms(5));
    wire.a.session.want(wire.now);
    let call = wire.a.turn(wire.now);
    // xinetd, a process, and so on.
    wire.now += ms(200);
    wire.b.open(wire.now, 1, &call[0].1);
    wire.carry_back();
    wire.carry_there();
    assert_eq!(wire.trips()[0], Some(ms(205)));
    wire.a.session.begin_path(wire.now, LIMITS, &mut Rng::new(1));
    wire.now += ms(200);
    assert!(wire.carry_there() > 0, "no probe");
    wire.carry_back();
    assert_eq!(wire.trips()[0], Some(ms(10)));
}

#[test]
fn a_packet_that_asks_whether_it_arrived_is_measured_and_nothing_is_sent_for_it() {
    let mut wire = Wire::new(ms(7), ms(7));
    wire.connect();
    wire.b.session.begin_path(wire.now, LIMITS, &mut Rng::new(1));
    let (_, datagram) = wire.b.seal(wire.now, &[7; 1400]).unwrap();
    wire.now += ms(50);
    wire.a.open(wire.now, 2, &datagram);
    let answers = wire.a.turn(wire.now);
    assert_eq!(answers.len(), 1, "the acknowledgement that there was before");
    wire.now += ms(50);
    wire.b.open(wire.now, 1, &answers[0].1);
    assert_eq!(wire.trips()[1], Some(ms(100)), "the handshake's was rough");
}

#[test]
fn a_rekey_moves_the_value_by_an_eighth_of_the_difference() {
    let mut wire = Wire::new(ms(10), ms(10));
    wire.connect();
    // The handshake's own value is rough: the first rekey replaces it, the second is an eighth.
    for (there, expected) in [(10, ms(20)), (90, ms(30))] {
        wire.now += secs(133);
        wire.there = ms(there);
        let (_, datagram) = wire.a.seal(wire.now, b"in use").unwrap();
        wire.b.open(wire.now, 1, &datagram);
        wire.carry_there();
        wire.carry_back();
        wire.carry_there();
        assert_eq!(wire.trips(), [Some(expected), Some(expected)], "{there} ms");
    }
}

#[test]
fn a_confirmation_that_was_lost_is_no_measurement_when_a_later_packet_confirms() {
    let mut wire = Wire::new(ms(10), ms(10));
    wire.a.session.want(wire.now);
    wire.carry_there();
    wire.carry_back();
    assert_eq!(wire.a.turn(wire.now).len(), 1, "the confirmation");
    wire.now += secs(2);
    let (_, datagram) = wire.a.seal(wire.now, b"later").unwrap();
    wire.b.open(wire.now, 1, &datagram);
    assert!(wire.b.session.is_up(wire.now));
    assert_eq!(wire.trips(), [Some(ms(20)), None]);
}

#[test]
fn another_path_is_measured_anew() {
    let mut wire = Wire::new(ms(100), ms(100));
    wire.connect();
    let moved: Addr = 9;
    let (_, datagram) = wire.a.seal(wire.now, b"from elsewhere").unwrap();
    wire.b.open(wire.now, moved, &datagram);
    wire.b.session.begin_path(wire.now, LIMITS, &mut Rng::new(1));
    let (_, datagram) = wire.b.seal(wire.now, &[7; 1400]).unwrap();
    wire.a.open(wire.now + ms(1), 2, &datagram);
    for (_, answer) in wire.a.turn(wire.now + ms(1)) {
        wire.b.open(wire.now + ms(2), moved, &answer);
    }
    assert_eq!(wire.trips()[1], Some(ms(2)));
}

#[test]
fn whoever_has_a_call_to_make_is_calling_and_with_the_session_it_is_over() {
    let mut wire = Wire::new(ms(1), ms(1));
    assert!(!wire.a.session.is_calling());
    wire.a.session.want(wire.now);
    assert!(wire.a.session.is_calling());
    wire.carry_there();
    assert!(wire.a.session.is_calling());
    wire.carry_back();
    assert!(!wire.a.session.is_calling() && wire.a.session.is_up(wire.now));
    wire.carry_there();
    wire.b.session.close(wire.now, Farewell::Nap);
    wire.carry_back();
    assert!(!wire.a.session.is_calling() && !wire.a.session.is_up(wire.now));
}
