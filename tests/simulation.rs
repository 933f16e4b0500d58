//! Two sessions on a virtual clock and a seeded bad wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use naptun::protocol::handshake::MESSAGE;
use naptun::protocol::{Event, Farewell, HEAD, Opened, Reject, TAIL, Timers, envelope};
use world::{A, B, End, KEY, Rng, WALL, Weather, World, hello, ms, packet, rejected, secs, seed};

/// A rekey message is never shorter than this, our test packets never as long.
const REKEY: usize = HEAD + 1 + MESSAGE + TAIL;

const SHUFFLED: Weather = Weather { loss: 0, duplicates: 0, replays: 0, delay: (0, 90) };

fn is_call(bytes: &[u8]) -> bool {
    let secrets = naptun::protocol::Secrets::derive(&KEY);
    envelope::open(&secrets.envelopes[0], &mut bytes.to_vec()).is_some()
}

fn rekeyed(end: &End) -> usize {
    end.count(|event| matches!(event, Event::Rekeyed))
}

fn assert_delivered(world: &World, to: usize, packets: &[Vec<u8>]) {
    let arrived: Vec<_> = world.ends[to].delivered.iter().map(|(_, packet)| packet).collect();
    let set: BTreeSet<_> = arrived.iter().collect();
    assert_eq!(set.len(), arrived.len(), "a packet arrived twice");
    let missing = packets.iter().filter(|packet| !set.contains(packet)).count();
    assert_eq!(missing, 0, "of {} packets to end {to}", packets.len());
}

#[test]
fn a_handshake_on_a_perfect_wire_is_one_round_trip() {
    let mut world = World::pair(1);
    let start = world.now;
    world.give(A, b"wake up");
    world.run(ms(200));
    let (at, delivered) = &world.ends[B].delivered[0];
    assert_eq!((delivered.as_slice(), *at - start), (&b"wake up"[..], ms(30)));
    assert_eq!(world.history.len(), 3, "call, answer, packet");
    let times: Vec<_> = world.ends.iter().map(|end| end.events[0].0 - start).collect();
    assert_eq!(times, [ms(20), ms(30)]);
    assert!(matches!(world.ends[B].events[0].1, Event::Established { path: 1, .. }));
}

#[test]
fn packets_go_in_both_directions_under_either_cipher() {
    use naptun::protocol::{Aeads, Hello};
    for aeads in [Aeads::AES_256_GCM, Aeads::CHACHA20_POLY1305] {
        let end = |instance, addr| End::new(Hello { aeads, ..hello(instance) }, addr, instance);
        let mut world = World::new(end(1, 1), end(2, 2), 1);
        world.exchange(100);
        world.assert_agreement();
        assert!(matches!(world.ends[A].events[0].1, Event::Established { aead, .. } if aead == aeads));
    }
}

/// Loss, duplicates, reordering and replays; both ends talk; then the wire gets better.
#[test]
fn on_a_bad_wire_everything_settles() {
    let seed = seed("bad wire");
    let mut rng = Rng::new(seed);
    let (runs, start) = (1000_u32, Instant::now());
    for run in 0..runs {
        let mut world = World::pair(rng.next());
        world.weather = Weather { loss: 30, duplicates: 10, replays: 10, delay: (0, 200) };
        for n in 0..10 {
            world.give((rng.next() & 1) as usize, &packet(A, world.now, n));
            world.run(ms(rng.below(1000)));
        }
        world.weather = world::CALM;
        world.give(A, &packet(A, world.now, 100));
        world.run(secs(12));
        assert!(world.ends.iter().all(|end| end.session.can_seal(world.now)), "run {run} of {seed}");
        world.assert_agreement();
    }
    println!("{:.0} runs a second", f64::from(runs) / start.elapsed().as_secs_f64());
}

#[test]
fn a_plain_run_is_cheap_enough_for_thousands_a_second() {
    let (runs, start) = (2000_u32, Instant::now());
    for seed in 0..runs {
        let mut world = World::pair(u64::from(seed));
        world.give(A, b"to");
        world.run(ms(50));
        world.give(B, b"fro");
        world.run(ms(50));
        assert_eq!(world.ends.each_ref().map(|end| end.delivered.len()), [1, 1]);
    }
    println!("{:.0} runs a second", f64::from(runs) / start.elapsed().as_secs_f64());
}

#[test]
fn nothing_is_delivered_twice_or_altered_on_a_bad_wire() {
    let seed = seed("twice");
    for run in 0..100 {
        let mut world = World::live(seed.wrapping_add(run));
        world.weather = Weather { loss: 5, duplicates: 50, replays: 50, delay: (0, 300) };
        let mut given = BTreeSet::new();
        for n in 0..200 {
            let packet = packet(A, world.now, n);
            given.insert(packet.clone());
            world.give(A, &packet);
            world.run(ms(5));
        }
        world.run(secs(2));
        let arrived: Vec<_> = world.ends[B].delivered.iter().map(|(_, packet)| packet.clone()).collect();
        assert_eq!(arrived.iter().collect::<BTreeSet<_>>().len(), arrived.len());
        assert!(arrived.iter().all(|packet| given.contains(packet)));
    }
}

/// Two ends that both know where the other is.
fn two_callers(seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let mut world = World::new(
        End::new(hello(rng.next()), 1, rng.next()),
        End::new(hello(rng.next()), 2, rng.next()),
        seed,
    );
    world.connect(B);
    world
}

#[test]
fn when_both_ends_start_at_once_the_smaller_instance_yields() {
    for (a, b) in [(1, 2), (2, 1)] {
        let mut world = World::new(End::new(hello(a), 1, 1), End::new(hello(b), 2, 2), 3);
        world.connect(B);
        world.give(A, b"from a");
        world.give(B, b"from b");
        world.run(secs(5));
        let yielding = if a < b { A } else { B };
        assert_eq!(world.ends[1 - yielding].rejects.of(Reject::Crossed), 1);
        assert_eq!(world.ends[yielding].rejects.total(), 0);
        assert_eq!(world.ends.each_ref().map(End::established), [1, 1]);
        assert_eq!(world.ends.each_ref().map(|end| end.delivered.len()), [1, 1]);
        let calls = world.history.iter().filter(|(_, _, _, bytes)| is_call(bytes)).count();
        assert_eq!(calls, 2, "one of each end and not one more");
        world.assert_agreement();
    }
}

#[test]
fn when_both_ends_start_at_nearly_the_same_time_they_agree_on_one_session() {
    let seed = seed("crossing");
    for run in 0..3000 {
        let mut world = two_callers(seed.wrapping_add(run));
        let most = [0, 50, 100, 400, 600][run as usize % 5];
        world.weather = Weather { delay: (0, most), ..world::CALM };
        world.give(A, b"from a");
        let apart = world.rng.below(most + 50);
        world.run(ms(apart));
        world.give(B, b"from b");
        world.run(secs(10));
        world.weather = world::CALM;
        assert_eq!(world.ends.each_ref().map(|end| end.delivered.len()), [1, 1], "run {run} of {seed}");
        world.assert_agreement();
    }
}

#[test]
fn no_deadlock_when_calls_of_one_direction_are_blocked_for_a_time() {
    for seed in 0..100 {
        let mut world = two_callers(seed);
        let blocked_until = world.now + secs(10);
        world.filter =
            Box::new(move |now, flight| now > blocked_until || flight.from != 1 || !is_call(&flight.bytes));
        world.give(A, b"from a");
        world.give(B, b"from b");
        world.run(secs(9));
        assert_eq!(world.ends.each_ref().map(|end| end.delivered.len()), [1, 1]);
        world.assert_agreement();
    }
}

#[test]
fn no_deadlock_when_one_direction_is_cut_for_a_time() {
    for seed in 0..100 {
        let mut world = two_callers(seed);
        let blocked_until = world.now + secs(20);
        world.filter = Box::new(move |now, flight| now > blocked_until || flight.from != 1);
        world.give(A, b"from a");
        world.give(B, b"from b");
        world.run(secs(30));
        assert_eq!(world.ends.each_ref().map(|end| end.delivered.len()), [1, 1]);
        world.assert_agreement();
    }
}

#[test]
fn a_peer_that_lost_its_keys_is_called_after_three_silent_seconds() {
    for end in [A, B] {
        let mut world = World::live(4);
        let peer = 1 - end;
        world.restart(peer, hello(77));
        world.run(secs(10));
        let then = world.now;
        world.give(end, b"anybody there?");
        world.run(ms(2999));
        assert_eq!(world.sent_since(end, then), 1);
        world.run(ms(2));
        assert_eq!(world.ends[end].count(|event| matches!(event, Event::Silent)), 1);
        world.give(end, b"now?");
        world.run(ms(100));
        assert!(matches!(world.ends[end].events.last(), Some((_, Event::Established { .. }))));
        assert_eq!(world.ends[peer].delivered.last().unwrap().1, b"now?");
        world.assert_agreement();
    }
}

#[test]
fn three_silent_seconds_are_counted_from_the_first_packet_without_an_answer() {
    let mut world = World::live(4);
    world.run(secs(10));
    world.ends[B].gone = true;
    let start = world.now;
    while world.ends[A].count(|event| *event == Event::Silent) == 0 {
        world.give(A, b"anybody there?");
        world.run(ms(100));
        assert!(world.now < start + secs(4));
    }
    assert_eq!(world.ends[A].events.last().unwrap().0, start + secs(3));
}

#[test]
fn an_unanswered_call_is_repeated_for_ever_with_growing_pauses() {
    let mut world = World::pair(5);
    world.ends[B].gone = true;
    let start = world.now;
    world.give(A, b"hello?");
    world.run(secs(3600));
    let times: Vec<_> = world.history.iter().map(|(at, ..)| *at - start).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, pause) in pauses.iter().enumerate() {
        let nominal = ms(250 << n.min(4));
        assert!((nominal * 9 / 10..=nominal * 11 / 10).contains(pause), "{n}: {pause:?}");
    }
    assert!(pauses.len() > 800 && pauses.windows(2).any(|pair| pair[0] != pair[1]));
    let told: Vec<_> = world.ends[A].events.iter().map(|(_, event)| *event).take(2).collect();
    assert_eq!(told, [Event::Unanswered { attempts: 4 }, Event::Unanswered { attempts: 8 }]);
}

#[test]
fn an_end_that_turns_to_another_address_begins_with_short_pauses_again() {
    let mut world = World::pair(6);
    world.ends[B].gone = true;
    world.give(A, b"hello?");
    let mut turns = Vec::new();
    for address in 10..16 {
        let before = world.ends[A].count(|event| matches!(event, Event::Unanswered { .. }));
        let since = world.now;
        while world.ends[A].count(|event| matches!(event, Event::Unanswered { .. })) == before {
            world.run(ms(5));
        }
        world.ends[A].session.turn_to(world.now + ms(1900), address);
        turns.push(world.now - since);
    }
    // The first began before anything was sent.
    assert!(turns[0] < secs(2) && turns[1..].iter().all(|turn| *turn < secs(4)), "{turns:?}");
    world.run(ms(100));
    let called = |address| world.history.iter().filter(|(_, _, to, _)| *to == address).count();
    assert_eq!([10, 11, 12, 13, 14].map(called), [4; 5], "four calls to each");

    // An answer of the latest one counts, as ever.
    world.ends[B].gone = false;
    world.ends[A].session.turn_to(world.now, 2);
    world.run(ms(300));
    assert!(world.ends[A].session.can_seal(world.now));
}

/// Both ends talk every 100 ms.
fn talk(world: &mut World, duration: Duration) -> [Vec<Vec<u8>>; 2] {
    let mut given = [Vec::new(), Vec::new()];
    let until = world.now + duration;
    while world.now < until {
        for end in [A, B] {
            given[end].push(packet(end, world.now, 0));
            world.give(end, given[end].last().unwrap().clone().as_slice());
        }
        world.run(ms(100));
    }
    given
}

#[test]
fn a_session_in_use_is_rekeyed_after_two_minutes_and_loses_no_packet() {
    let mut spread = BTreeSet::new();
    for seed in 0..40 {
        let mut world = World::live(seed);
        world.weather = Weather { delay: (0, 80), ..world::CALM };
        let start = world.ends[A].events[0].0;
        let given = talk(&mut world, secs(600));
        world.run(secs(1));
        assert_delivered(&world, B, &given[A]);
        assert_delivered(&world, A, &given[B]);
        let first =
            world.ends[A].events.iter().find(|(_, event)| *event == Event::Rekeyed).unwrap().0 - start;
        assert!((secs(108)..ms(132_500)).contains(&first), "{first:?}");
        spread.insert(first.as_secs());
        assert!((4..=5).contains(&rekeyed(&world.ends[A])), "{}", rekeyed(&world.ends[A]));
        assert_eq!(rekeyed(&world.ends[A]), rekeyed(&world.ends[B]));
        world.assert_agreement();
    }
    assert!(spread.len() > 8, "the time of a rekey varies");
}

#[test]
fn a_rekey_whose_messages_are_lost_loses_no_packet() {
    let seed = seed("rekey loss");
    let mut rekeys = 0;
    for run in 0..40 {
        let mut world = World::live(seed.wrapping_add(run));
        let mut rng = Rng::new(run);
        let chance = [30, 50, 60][run as usize % 3];
        world.filter = Box::new(move |_, flight| flight.bytes.len() < REKEY || !rng.percent(chance));
        world.weather = Weather { delay: (0, 80), ..world::CALM };
        let given = talk(&mut world, secs(179));
        world.run(ms(200));
        // One in a hundred gets no message through in sixty seconds.
        if rekeyed(&world.ends[A]) > 0 {
            assert_delivered(&world, B, &given[A]);
            assert_delivered(&world, A, &given[B]);
            assert_eq!(world.ends.each_ref().map(End::established), [1, 1]);
            rekeys += 1;
        }
        world.filter = Box::new(|_, _| true);
        world.run(secs(10));
        world.assert_agreement();
    }
    assert!(rekeys > 30, "{rekeys}");
}

#[test]
fn new_keys_wait_for_their_first_packet_however_late_it_is() {
    let mut world = World::live(6);
    talk(&mut world, secs(106));
    // The packet that confirms is lost, and the end that sent it then has nothing to say.
    world.filter = Box::new(|_, flight| flight.bytes.len() >= REKEY || flight.from == 2);
    while rekeyed(&world.ends[A]) == 0 {
        let packet = packet(A, world.now, 0);
        world.filter = Box::new(|_, _| true);
        world.give(A, &packet);
        world.run(ms(9));
        world.filter = Box::new(|_, flight| flight.bytes.len() >= REKEY || flight.from == 2);
        world.run(ms(91));
    }
    assert_eq!(rekeyed(&world.ends[B]), 0);
    world.run(secs(20));
    world.filter = Box::new(|_, _| true);
    world.give(A, b"late");
    world.run(ms(100));
    assert_eq!(rekeyed(&world.ends[B]), 1);
    assert_eq!(world.ends[B].delivered.last().unwrap().1, b"late");
}

#[test]
fn crossing_rekeys_end_in_one_session() {
    let seed = seed("crossing rekeys");
    for run in 0..300 {
        let mut world = World::live(seed.wrapping_add(run));
        // Only the two ends' first tries pass each other; every delay is long.
        world.weather = Weather { delay: (50, 900), ..world::CALM };
        world.filter = Box::new(|now, flight| flight.bytes.len() < REKEY || now > secs(1131));
        let given = talk(&mut world, secs(150));
        world.filter = Box::new(|_, _| true);
        world.weather = world::CALM;
        world.run(secs(5));
        assert_delivered(&world, B, &given[A]);
        assert_delivered(&world, A, &given[B]);
        assert!(rekeyed(&world.ends[A]) >= 1);
        world.assert_agreement();
    }
}

#[test]
fn nothing_older_than_three_minutes_is_used() {
    let mut world = World::live(7);
    let born: Vec<_> = world.ends.iter().map(|end| end.events[0].0).collect();
    world.filter = Box::new(|_, flight| flight.bytes.len() < REKEY);
    talk(&mut world, secs(179));
    let (a, b) = (born[A] + secs(180), born[B] - ms(20) + secs(180));
    assert!(world.ends[A].session.can_seal(a - ms(1)));
    let (_, datagram) = world.ends[A].seal(a - ms(1), b"last").unwrap();
    let (_, later) = world.ends[A].seal(a - ms(1), b"too late").unwrap();
    assert_eq!(world.ends[B].open(b - ms(1), 1, &datagram), Opened::Packet(0));
    assert!(rejected(world.ends[B].open(b, 1, &later), Reject::Unknown), "before any deadline was seen to");
    assert!(!world.ends[A].session.can_seal(a) && !world.ends[A].session.is_up(a));
    assert!(world.ends[A].seal(a, b"no").is_none());
}

#[test]
fn a_clock_that_jumps_ahead_ends_the_session_and_nothing_else() {
    let mut world = World::live(8);
    world.now += secs(365 * 86_400);
    world.turn(A);
    world.turn(B);
    assert_eq!(world.ends.each_ref().map(|end| end.session.is_up(world.now)), [false, false]);
    world.exchange(3);
}

/// Both clocks of both ends, at any moment of a session, again and again.
#[test]
fn whatever_the_clocks_do_no_key_older_than_180_seconds_is_used_and_the_ends_meet_again() {
    const YEAR: i64 = 365 * 86_400 * 1_000_000;
    let seed = seed("clocks");
    let mut rng = Rng::new(seed);
    let (runs, mut jumps, mut suspends) = (figures::by_length(50, 1000), 0, 0);
    for run in 0..runs {
        let mut world = World::live(rng.next());
        for _ in 0..10 {
            world.give((rng.next() & 1) as usize, &packet(A, world.now, rng.next()));
            world.run(ms(rng.below(150_000)));
            let end = (rng.next() & 1) as usize;
            if rng.percent(70) {
                world.ends[end].skew = [-YEAR, 0, YEAR, 50 * YEAR][rng.below(4) as usize];
                jumps += 1;
                continue;
            }
            // A suspend: what either end had is too old when it wakes, before any deadline was seen to.
            let under_way = [A, B].map(|end| world.ends[end].seal(world.now, b"under way"));
            world.now += secs(365 * 86_400);
            suspends += 1;
            for end in [A, B] {
                let now = world.now;
                assert!(world.ends[end].seal(now, b"old keys").is_none(), "run {run} of {seed}");
                if let Some((_, datagram)) = &under_way[1 - end] {
                    let opened = world.ends[end].open(now, 1, datagram);
                    assert!(rejected(opened, Reject::Unknown), "run {run} of {seed}");
                }
            }
            world.turn(A);
            world.turn(B);
        }
        world.give(A, &packet(A, world.now, 1));
        world.run(secs(12));
        world.exchange(3);
    }
    figures::figure(
        12,
        &format!(
            "{jumps} jumps of a wall clock by a year and more, {suspends} suspends for one, {runs} runs: 0 panics, 0 uses of keys older than 180 s"
        ),
    );
}

#[test]
fn an_idle_session_rekeys_nothing_and_sends_nothing() {
    let mut world = World::live(9);
    world.run(secs(2));
    let then = world.now;
    let end = world.run_out();
    assert_eq!([A, B].map(|end| world.sent_since(end, then)), [0, 0], "nobody pings by default");
    assert!(end < then + secs(181));
    assert_eq!(world.ends.each_ref().map(|end| end.session.deadline(then + secs(500))), [None, None]);
    assert_eq!(world.ends.each_ref().map(|end| end.events.len()), [1, 1]);
}

#[test]
fn data_received_is_acknowledged_after_a_second_unless_something_is_sent() {
    let mut world = World::live(10);
    let then = world.now;
    world.run(secs(10));
    // The first packet, 70 ms before; nothing before a second is over, one keepalive then.
    let sent: Vec<_> = world.history.iter().filter(|(at, ..)| *at >= then).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, sent[0].1), (then + ms(930), 2));
    world.give(A, b"question");
    world.run(ms(500));
    world.give(B, b"answer");
    let then = world.now;
    world.run(secs(10));
    assert_eq!(world.sent_since(B, then), 1, "the answer alone");
    assert_eq!(world.sent_since(A, then), 1, "one keepalive for it, none for a keepalive");
}

#[test]
fn pings_are_sent_in_a_live_session_only() {
    let timers = Timers { ping: Some(secs(10)), ..Timers::default() };
    let end = |instance, addr| End::with(&KEY, hello(instance), Default::default(), timers, addr, instance);
    let mut world = World::new(end(1, 1), end(2, 2), 1);
    world.run(secs(100));
    assert_eq!(world.history.len(), 0, "no session, no ping");
    world.give(A, b"first");
    world.run(ms(900));
    let then = world.now;
    world.run(secs(100));
    assert_eq!(world.sent_since(A, then), 10);
    let session = &mut world.ends[B].session;
    session.close(world.now, Farewell::Nap);
    world.turn(B);
    world.run(ms(100));
    assert!(world.ends[B].session.is_closed(world.now));
    world.ends[B].gone = true;
    let then = world.now;
    world.run_out();
    assert_eq!(world.sent_since(A, then), 0, "the peer has gone");

    let mut world = World::new(end(1, 1), end(2, 2), 1);
    world.give(A, b"first");
    world.run(secs(60));
    world.ends[B].gone = true;
    world.run(secs(200));
    let then = world.now;
    world.run_out();
    assert_eq!(world.sent_since(A, then), 0, "a session whose keys are gone");
}

#[test]
fn a_ping_timeout_is_told_once_and_a_restart_calls_at_the_pace_of_any_call() {
    let timers = Timers { ping_timeout: Some(secs(30)), ..Timers::default() };
    let a = End::with(&KEY, hello(1), Default::default(), timers, 1, 1);
    let mut world = World::new(a, End::new(hello(2), 2, 2), 1);
    world.give(A, b"first");
    world.run(secs(5));
    world.ends[B].gone = true;
    let timeouts = |world: &World| world.ends[A].count(|event| *event == Event::PingTimeout);
    let heard = world.history.iter().rfind(|(_, from, ..)| *from == 2).unwrap().0 + ms(10);
    world.run(heard + secs(30) - ms(1) - world.now);
    assert_eq!(timeouts(&world), 0);
    world.run(ms(1));
    assert_eq!(timeouts(&world), 1);
    let then = world.now;
    world.ends[A].session.restart();
    world.turn(A);
    world.run(secs(60));
    assert_eq!(timeouts(&world), 1);
    assert!((15..25).contains(&world.sent_since(A, then)), "{}", world.sent_since(A, then));
    // The answer to a call is all that is heard.
    world.ends[B].gone = false;
    world.run(secs(5));
    assert_eq!(world.ends[A].established(), 2);
    world.ends[B].gone = true;
    world.run(secs(40));
    assert_eq!(timeouts(&world), 2, "armed again by the new session");
}

/// Runs until an end has said bye, then takes its process away.
fn nap(world: &mut World, end: usize) -> Duration {
    let then = world.now;
    world.ends[end].session.close(then, Farewell::Nap);
    world.turn(end);
    while !world.ends[end].session.is_closed(world.now) {
        world.run(ms(1));
        assert!(world.now < then + ms(1600));
    }
    world.ends[end].gone = true;
    world.now - then
}

#[test]
fn a_nap_with_packets_in_flight_loses_none_and_the_next_packet_calls_again() {
    let seed = seed("nap");
    for run in 0..500 {
        let mut world = World::live(seed.wrapping_add(run));
        world.weather = SHUFFLED;
        let given: Vec<_> = (0..20).map(|n| packet(A, world.now, n)).collect();
        for packet in &given {
            world.give(A, packet);
            world.run(ms(1));
        }
        world.ends[B].session.close(world.now, Farewell::Nap);
        world.turn(B);
        // Packets come out of the device during the bye as well; some may call, none may vanish.
        let late = packet(A, world.now, 99);
        let mut pause = world.rng.below(200);
        let mut given_late = false;
        while world.ends[B].session.is_closing() && !world.ends[B].session.is_closed(world.now) {
            if pause == 0 && !given_late {
                world.give(A, &late);
                given_late = true;
            }
            world.run(ms(1));
            pause = pause.saturating_sub(1);
        }
        if world.ends[B].session.is_closed(world.now) {
            world.restart(B, hello(run | 1 << 40));
        }
        if !given_late {
            world.give(A, &late);
        }
        world.run(secs(10));
        assert_delivered(&world, B, &given);
        assert_delivered(&world, B, std::slice::from_ref(&late));
        world.weather = world::CALM;
        world.assert_agreement();
    }
}

#[test]
fn a_nap_is_over_after_one_round_trip() {
    let mut world = World::live(11);
    world.run(secs(5));
    assert_eq!(nap(&mut world, B), ms(20));
    assert_eq!(world.ends[A].count(|event| *event == Event::Bye(Farewell::Nap)), 1);
    assert!(!world.ends[A].session.is_up(world.now));

    let mut world = World::live(11);
    world.run(secs(165));
    let then = world.now;
    nap(&mut world, B);
    assert_eq!(world.sent_since(B, then), 1, "a bye begins no rekey");

    let mut world = World::live(11);
    world.run(secs(5));
    world.ends[A].session.close(world.now, Farewell::Nap);
    world.turn(A);
    assert_eq!(nap(&mut world, B), ms(10), "the bye of both is the answer to both");
}

#[test]
fn who_has_said_bye_is_left_alone_until_its_process_has_ended() {
    const LEAVE: Duration = ms(50);
    let mut world = World::live(12);
    world.run(secs(5));
    let said = world.now + ms(10);
    nap(&mut world, B);
    world.give(A, &packet(A, world.now, 1));
    let sent = world.sent_since(A, world.now);
    world.run(said + LEAVE - ms(1) - world.now);
    assert_eq!(world.sent_since(A, said + ms(1)), sent, "a call into the exit is thrown away");
    world.run(ms(2));
    assert_eq!(world.sent_since(A, said + ms(1)), sent + 1);

    let mut world = World::live(12);
    world.run(secs(5));
    nap(&mut world, B);
    world.run(secs(1));
    let then = world.now;
    world.give(A, &packet(A, world.now, 1));
    world.turn(A);
    assert_eq!(world.sent_since(A, then), 1, "later a call goes out at once");
}

#[test]
fn both_ends_say_bye_at_once_and_lose_nothing() {
    let seed = seed("both bye");
    for run in 0..500 {
        let mut world = World::live(seed.wrapping_add(run));
        world.weather = SHUFFLED;
        let given = talk(&mut world, ms(300));
        let then = world.now;
        for end in [A, B] {
            world.ends[end].session.close(then, Farewell::Exit);
        }
        world.turn(A);
        world.turn(B);
        while world.ends.iter().any(|end| !end.gone) {
            world.run(ms(1));
            for end in &mut world.ends {
                end.gone |= end.session.is_closed(world.now);
            }
            assert!(world.now < then + ms(1600));
        }
        assert_delivered(&world, B, &given[A]);
        assert_delivered(&world, A, &given[B]);
    }
}

#[test]
fn a_bye_whose_answer_is_lost_is_said_again_and_ends_in_any_case() {
    let mut world = World::live(12);
    world.run(secs(2));
    let then = world.now;
    world.filter = Box::new(move |now, flight| flight.from != 1 || now > then + ms(100));
    // The second bye and its answer; and as a packet is missing, stragglers are given their time.
    assert_eq!(nap(&mut world, B), ms(250 + 20 + 100));
    assert_eq!(world.ends[A].count(|event| matches!(event, Event::Bye(_))), 1);

    let mut world = World::live(13);
    world.run(secs(2));
    world.filter = Box::new(|_, flight| flight.from != 1);
    let then = world.now;
    assert_eq!(nap(&mut world, B), ms(1500));
    assert_eq!(world.sent_since(B, then), 6);
}

#[test]
fn a_packet_to_send_calls_a_nap_off_but_not_an_exit() {
    let mut world = World::live(14);
    world.run(secs(2));
    world.ends[B].session.close(world.now, Farewell::Nap);
    world.turn(B);
    world.give(B, b"wait");
    assert!(!world.ends[B].session.is_closing());
    world.run(ms(200));
    assert_eq!(world.ends[A].delivered.last().unwrap().1, b"wait");
    assert!(world.ends[A].session.can_seal(world.now), "awake again");
    world.give(A, b"good");
    world.run(ms(200));
    assert_eq!(world.ends[B].delivered.last().unwrap().1, b"good");

    world.ends[B].session.close(world.now, Farewell::Exit);
    world.turn(B);
    world.give(B, b"too late");
    assert!(world.ends[B].session.is_closing());
}

#[test]
fn a_call_during_a_nap_calls_it_off() {
    let mut world = World::live(15);
    world.run(secs(2));
    world.ends[A].session.restart();
    world.turn(A);
    // The bye is lost, the call arrives.
    world.ends[B].session.close(world.now, Farewell::Nap);
    world.run(ms(15));
    assert!(!world.ends[B].session.is_closing());
    world.assert_agreement();
}

#[test]
fn nothing_is_sent_to_an_end_that_has_gone() {
    let seed = seed("gone");
    for run in 0..500 {
        let mut world = World::live(seed.wrapping_add(run));
        // Old enough for a rekey at any packet, and with packets that ask for an acknowledgement.
        world.run(secs(if run % 2 == 0 { 140 } else { 5 }));
        world.weather = SHUFFLED;
        for n in 0..5 {
            world.give(B, &packet(B, world.now, n));
            world.run(ms(1));
        }
        world.ends[B].session.close(world.now, Farewell::Nap);
        world.turn(B);
        while !world.ends[B].session.is_closed(world.now) && world.ends[B].session.is_closing() {
            world.run(ms(1));
        }
        if !world.ends[B].session.is_closing() {
            continue;
        }
        world.ends[B].gone = true;
        let then = world.now;
        let byes = world.ends[A].count(|event| matches!(event, Event::Bye(_)));
        world.run_out();
        assert_eq!(byes, 1);
        assert_eq!(world.sent_since(A, then), 0, "run {run} of {seed}");
    }
}

#[test]
fn an_end_that_was_told_bye_goes_without_a_word() {
    let mut world = World::live(16);
    world.run(secs(2));
    nap(&mut world, B);
    let then = world.now;
    world.ends[A].session.close(then, Farewell::Exit);
    world.turn(A);
    assert!(world.ends[A].session.is_closed(then));
    world.run(secs(5));
    assert_eq!(world.sent_since(A, then), 0);
    assert_eq!(world.ends[A].session.deadline(world.now).filter(|at| *at <= world.now), None);
}

#[test]
fn a_rekey_does_not_keep_an_exit_from_ending() {
    for seed in 0..50 {
        let mut world = World::live(seed);
        world.weather = SHUFFLED;
        world.filter = Box::new(|_, flight| flight.bytes.len() < REKEY);
        talk(&mut world, secs(146));
        world.filter = Box::new(|_, _| true);
        world.run(ms(world.rng.clone().below(4000)));
        let then = world.now;
        world.ends[B].session.close(then, Farewell::Exit);
        world.turn(B);
        world.run(ms(1600));
        assert!(world.ends[B].session.is_closed(world.now));
    }
}

#[test]
fn naps_and_wakes_a_thousand_times_lose_nothing() {
    let seed = seed("thousand naps");
    let mut world = World::pair(seed);
    world.weather = Weather { delay: (1, 30), ..world::CALM };
    for round in 0..1000 {
        let packet = packet(A, world.now, round);
        world.give(A, &packet);
        world.run(ms(200));
        assert_delivered(&world, B, std::slice::from_ref(&packet));
        world.ends[B].delivered.clear();
        world.ends[A].delivered.clear();
        nap(&mut world, B);
        world.restart(B, hello(round << 8));
        world.history.clear();
    }
}

#[test]
fn a_caller_whose_clock_went_back_gets_in_with_its_record() {
    let mut world = World::live(17);
    world.ends[A].skew = -365 * 86_400 * 1_000_000;
    world.restart(A, hello(99));
    world.connect(A);
    world.give(A, b"1970");
    world.run(ms(100));
    assert_eq!(world.ends[B].delivered.last().unwrap().1, b"1970");
    assert!(world.ends[A].stored.sent > WALL);

    let mut world = World::live(17);
    world.ends[A].skew = -365 * 86_400 * 1_000_000;
    world.ends[A].stored = Default::default();
    world.restart(A, hello(99));
    world.connect(A);
    world.give(A, b"1970");
    world.run(secs(20));
    assert!(world.ends[B].rejects.of(Reject::Stale) > 4, "without its record it does not");
}

#[test]
fn every_datagram_of_hours_and_rekeys_has_its_own_head() {
    let mut world = World::live(18);
    talk(&mut world, secs(2000));
    assert!(rekeyed(&world.ends[A]) > 10);
    let heads: BTreeSet<_> = world.history.iter().map(|(.., bytes)| bytes[..8].to_vec()).collect();
    assert_eq!(heads.len(), world.history.len());
}
