//! The largest datagram that passes, on a virtual clock: narrow paths, bad ones, and paths that change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use naptun::protocol::{Event, Farewell, Hello, PathLimits, Time};
use world::{A, B, Weather, World, hello, ms, secs, seed};

/// Counter, inner byte, tag.
const AROUND: usize = 25;

/// IP and UDP: of version 4 and 6.
const HEADERS: [usize; 2] = [28, 48];

/// A path of 1500 bytes, and a device with packets that fill it.
fn usual(headers: usize) -> PathLimits {
    PathLimits { headers, start: 1500 - headers, ceiling: 1500 - headers }
}

/// Two ends without a session on a wire that swallows what is longer than `mtu` says; that can be changed.
fn narrow(seed: u64, limits: PathLimits, mtu: usize) -> (World, Rc<Cell<usize>>) {
    let mut world = World::pair(seed);
    let width = Rc::new(Cell::new(mtu));
    let mtu = Rc::clone(&width);
    world.filter = Box::new(move |_, flight| flight.bytes.len() + limits.headers <= mtu.get());
    world.ends.iter_mut().for_each(|end| end.limits = Some(limits));
    (world, width)
}

fn most(world: &World, end: usize) -> usize {
    // Before the first handshake nobody knows.
    world.ends[end].session.longest_datagram().unwrap_or(1445)
}

/// A packet that fills the longest datagram there may be, every ten milliseconds. Returns how many arrived, of how many.
fn pour(world: &mut World, end: usize, time: Duration) -> (usize, usize) {
    let until = world.now + time;
    let before = world.ends[1 - end].delivered.len();
    let mut sent = 0;
    while world.now < until {
        world.give(end, &vec![7; most(world, end) - AROUND]);
        sent += 1;
        world.run(ms(10));
    }
    (world.ends[1 - end].delivered.len() - before, sent)
}

/// What an end told of its path.
fn told(world: &World, end: usize) -> Vec<usize> {
    let most = |event: &Event<u32>| match event {
        Event::PathMtu(most) => Some(*most),
        _ => None,
    };
    world.ends[end].events.iter().filter_map(|(_, event)| most(event)).collect()
}

#[test]
fn the_widest_known_size_that_passes_is_found_within_a_second_in_both_directions() {
    for headers in HEADERS {
        for (mtu, found) in
            [(1500, 1500), (1492, 1492), (1280, 1280), (1300, 1280), (1420, 1420), (1499, 1492)]
        {
            let (mut world, _) = narrow(mtu as u64, usual(headers), mtu);
            world.give(A, b"hello");
            world.run(ms(100));
            for end in [A, B] {
                pour(&mut world, end, secs(1));
                assert_eq!(
                    most(&world, end),
                    found - headers,
                    "{mtu}, {headers} bytes of headers, end {end}"
                );
                let (arrived, sent) = pour(&mut world, end, secs(5));
                assert!(arrived + 1 >= sent, "{arrived} of {sent} on {mtu} bytes");
                let news = if found == 1500 { vec![] } else { vec![found - headers] };
                assert_eq!(told(&world, end), news, "told once");
            }
        }
    }
}

#[test]
fn below_1280_bytes_only_ipv4_looks_for_less() {
    for (mtu, found) in [(1279, 1006), (1006, 1006), (700, 576), (576, 576)] {
        let (mut world, _) = narrow(mtu as u64, usual(28), mtu);
        world.give(A, b"hello");
        pour(&mut world, A, secs(4));
        assert_eq!(most(&world, A), found - 28, "{mtu}");
        let (mut world, _) = narrow(mtu as u64, usual(48), mtu);
        world.give(A, b"hello");
        pour(&mut world, A, secs(4));
        assert_eq!(most(&world, A), 1280 - 48, "{mtu}");
    }
}

#[test]
fn the_caller_knows_the_path_before_it_has_anything_long_to_send_and_the_listener_asks_nothing() {
    let (mut world, _) = narrow(3, usual(28), 1492);
    world.give(A, b"hello");
    world.run(secs(2));
    assert_eq!(most(&world, A), 1464);
    let long = |from: u32| {
        world.history.iter().filter(|(_, by, _, bytes)| *by == from && bytes.len() > 1000).count()
    };
    assert!(long(1) > 0 && long(2) == 0);
}

#[test]
fn on_a_wide_path_one_probe_is_all_and_long_packets_ask_by_themselves() {
    let (mut world, _) = narrow(4, usual(28), 1500);
    world.give(A, b"hello");
    world.run(secs(2));
    let before = world.history.len();
    let (_, sent) = pour(&mut world, A, secs(10));
    let (mut forth, mut back) = (0, 0);
    for (_, from, _, bytes) in &world.history[before..] {
        match from {
            1 => forth += 1,
            _ => back += 1,
        }
        assert!(bytes.len() <= 1472);
    }
    assert_eq!(forth, sent, "not a datagram more than there are packets");
    assert!((70..=110).contains(&back), "{back} answers in ten seconds, ten a second less the round trips");
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_within_half_a_second() {
    for (headers, turn) in HEADERS.into_iter().flat_map(|headers| (0..10).map(move |turn| (headers, turn))) {
        let (mut world, width) = narrow(turn, usual(headers), 1500);
        world.give(A, b"hello");
        pour(&mut world, A, secs(3) + ms(turn * 10));
        width.set(1400);
        let (arrived, sent) = pour(&mut world, A, secs(3));
        // A tenth of a second until it asks, four times 75 ms: each packet stands for ten milliseconds.
        assert!(sent - arrived <= 43, "{arrived} of {sent}");
        assert_eq!(most(&world, A), 1400 - headers);
        assert_eq!(told(&world, A), [1400 - headers]);
    }
}

#[test]
fn a_path_that_becomes_wide_is_noticed_as_soon_as_it_was_narrow_for_and_in_ten_minutes_at_most() {
    for headers in HEADERS {
        for (narrow_for, not_after, after) in [(3, 1, 6), (20, 12, 6), (700, 500, 60)] {
            let (mut world, width) = narrow(20, usual(headers), 1500);
            world.give(A, b"hello");
            pour(&mut world, A, secs(3));
            width.set(1400);
            pour(&mut world, A, secs(narrow_for));
            let before = world.history.len();
            width.set(1500);
            pour(&mut world, A, secs(not_after));
            assert_eq!(most(&world, A), 1400 - headers, "narrow for {narrow_for} s");
            let probes = world.history[before..]
                .iter()
                .filter(|(_, _, _, bytes)| bytes.len() > 1400 - headers)
                .count();
            assert_eq!(probes, 0, "nothing is asked before its time");
            pour(&mut world, A, secs(after));
            assert_eq!(most(&world, A), 1500 - headers, "narrow for {narrow_for} s");
            assert_eq!(told(&world, A), [1400 - headers, 1500 - headers]);
        }
    }
}

#[test]
fn a_single_long_packet_that_is_lost_in_a_black_hole_is_enough_to_find_it() {
    let (mut world, width) = narrow(5, usual(28), 1500);
    world.give(A, b"hello");
    world.run(secs(2));
    width.set(1280);
    world.give(A, &[7; 1400]);
    world.run(secs(1));
    assert_eq!(most(&world, A), 1252);
}

#[test]
fn loss_alone_leaves_the_path_nearly_as_wide_as_it_is() {
    let seed = seed("loss");
    let (mut narrowest, mut lost) = (usize::MAX, 0);
    for run in 0..50 {
        let (mut world, _) = narrow(seed.wrapping_add(run), usual(28), 1500);
        world.give(A, b"hello");
        world.run(ms(200));
        world.weather = Weather { loss: 30, duplicates: 5, replays: 5, delay: (5, 60) };
        pour(&mut world, A, secs(20));
        narrowest = narrowest.min(most(&world, A));
        lost += usize::from(most(&world, A) < 1472);
    }
    println!("after 20 s of 30 % loss: {lost} of 50 below 1472, the narrowest {narrowest}");
    assert!(narrowest >= 1252 && lost <= 12, "{lost}, {narrowest}");
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_through_loss_too() {
    let seed = seed("narrow and lossy");
    let mut slowest = ms(0);
    for run in 0..50 {
        let (mut world, width) = narrow(seed.wrapping_add(run), usual(28), 1500);
        world.give(A, b"hello");
        pour(&mut world, A, secs(1));
        world.weather = Weather { loss: 30, duplicates: 5, replays: 5, delay: (5, 60) };
        pour(&mut world, A, secs(1));
        width.set(1400);
        let since = world.now;
        while most(&world, A) > 1372 {
            pour(&mut world, A, ms(10));
            assert!(world.now - since < secs(60), "run {run}: nothing noticed in a minute");
        }
        slowest = slowest.max(world.now - since);
    }
    println!("30 % loss, and 1400 bytes: the slowest of 50 noticed it after {slowest:?}");
}

#[test]
fn a_long_round_trip_is_no_black_hole() {
    for delay in [150, 400, 900] {
        let (mut world, _) = narrow(delay, usual(48), 1500);
        world.weather.delay = (delay, delay);
        world.give(A, b"hello");
        world.run(secs(5));
        let before = world.history.len();
        let (_, sent) = pour(&mut world, A, secs(30));
        assert_eq!(most(&world, A), 1452, "{delay} ms");
        assert!(told(&world, A).len() <= 2, "{:?}", told(&world, A));
        let probes = world.history[before..].iter().filter(|(_, from, ..)| *from == 1).count() - sent;
        println!("{delay} ms there and back: {probes} probes in 30 s");
        assert!(probes <= 120, "{probes}");
    }
}

#[test]
fn an_end_without_packets_asks_nothing_and_a_nap_is_left_alone() {
    let (mut world, width) = narrow(6, usual(28), 1500);
    world.give(A, b"hello");
    pour(&mut world, A, secs(2));
    world.run(secs(5));
    let before = world.history.len();
    world.run(secs(100));
    assert_eq!(world.history.len(), before);
    // With a length in doubt.
    width.set(1280);
    world.give(A, &[7; 1400]);
    world.ends[B].session.close(world.now, Farewell::Nap);
    world.turn(B);
    world.run(ms(40));
    let after_bye = world.history.len();
    world.run(secs(60));
    assert_eq!(world.history.len(), after_bye, "nobody is woken");
}

#[test]
fn what_was_found_outlives_a_nap() {
    let (mut world, _) = narrow(8, usual(28), 1492);
    world.give(A, b"hello");
    pour(&mut world, A, secs(2));
    world.ends[B].session.close(world.now, Farewell::Nap);
    world.turn(B);
    world.run(secs(60));
    assert_eq!(most(&world, A), 1464);
}

#[test]
fn the_own_link_is_believed_at_once() {
    let (mut world, _) = narrow(9, usual(28), 1400);
    world.give(A, b"hello");
    world.run(ms(5));
    world.ends[A].session.refused(world.now, 1472);
    // No session yet, no path.
    assert_eq!(world.ends[A].session.longest_datagram(), None);
    world.run(ms(100));
    let now = world.now;
    world.ends[A].session.refused(now, 1472);
    assert_eq!(most(&world, A), 1252, "what surely passes");
    world.run(secs(1));
    assert_eq!(most(&world, A), 1372);
    world.ends[A].session.refused(world.now, 1472);
    assert_eq!(most(&world, A), 1372, "that was known");
}

#[test]
fn a_link_wider_than_the_internet_is_used_where_the_path_is_as_wide() {
    let jumbo = PathLimits { headers: 28, start: 1472, ceiling: 8972 };
    for (mtu, found) in [(9000, 8972), (8999, 1472)] {
        let (mut world, _) = narrow(10, jumbo, mtu);
        world.give(A, b"hello");
        pour(&mut world, A, secs(3));
        assert_eq!(most(&world, A), found);
    }
}

#[test]
fn a_path_that_leads_nowhere_is_not_taken_for_a_narrow_one() {
    let (mut world, width) = narrow(11, usual(28), 1500);
    world.give(A, b"hello");
    pour(&mut world, A, secs(2));
    let probes = |world: &World, since: Time| {
        world
            .history
            .iter()
            .filter(|(at, from, _, bytes)| *at > since && *from == 1 && bytes.len() > 1000)
            .count()
    };
    width.set(0);
    let cut = world.now;
    world.give(A, &[7; 1400]);
    world.run(secs(10));
    assert_eq!(most(&world, A), 1472);
    assert!(probes(&world, cut) < 16, "{}", probes(&world, cut));
}

#[test]
fn short_probes_are_as_long_as_any_packet_of_the_protocols_own() {
    const KEEPALIVE: usize = AROUND + 1;
    const PADDING: usize = 127;
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (mut world, _) = narrow(seed, usual(28), 1500);
        world.give(A, b"hello");
        world.run(secs(2));
        world.ends[B].gone = true;
        let before = world.history.len();
        world.give(A, &[7; 1400]);
        world.run(secs(2));
        lengths.extend(world.history[before..].iter().map(|(.., bytes)| bytes.len()));
    }
    assert_eq!(lengths.split_off(&1000).len(), 1, "the long ones all have the length of the packet");
    assert!(
        lengths.into_iter().eq(KEEPALIVE..=KEEPALIVE + PADDING),
        "each of the short ones occurs, and no other"
    );
}

#[test]
fn a_listener_that_is_woken_anew_begins_with_what_its_caller_knows_and_looks_for_more() {
    let (mut world, width) = narrow(12, usual(28), 1400);
    world.give(A, b"hello");
    pour(&mut world, A, secs(2));
    assert_eq!(most(&world, A), 1372);
    for wider in [false, true] {
        let limits = world.ends[B].limits;
        world.restart(B, Hello { listener: true, ..hello(20 + u64::from(wider)) });
        world.ends[B].limits = limits;
        world.ends[A].session.restart();
        world.give(A, b"again");
        world.run(secs(1));
        assert_eq!(most(&world, B), 1372);
        width.set(if wider { 1500 } else { 1400 });
        let (arrived, sent) = pour(&mut world, B, secs(2));
        assert_eq!(arrived, sent, "no black hole");
        assert_eq!(most(&world, B), if wider { 1472 } else { 1372 });
    }
}

#[test]
fn a_listener_that_takes_its_time_to_answer_costs_the_time_and_no_more() {
    let (mut world, _) = narrow(13, usual(28), 1280);
    world.give(A, b"hello");
    world.run(ms(30));
    // It makes its device.
    world.ends[B].gone = true;
    world.run(ms(700));
    world.ends[B].gone = false;
    world.run(ms(400));
    assert_eq!(most(&world, A), 1252);
}

#[test]
fn the_path_is_tried_ten_to_a_hundred_milliseconds_after_the_handshake() {
    let mut pauses = Vec::new();
    for seed in 0..40 {
        let (mut world, _) = narrow(seed, usual(28), 1500);
        world.give(A, b"hello");
        world.run(secs(1));
        let (established, _) = world.ends[A].events[0];
        let long = world.history.iter().find(|(_, from, _, bytes)| *from == 1 && bytes.len() > 1000).unwrap();
        pauses.push(long.0 - established);
    }
    assert!(pauses.iter().all(|pause| (ms(10)..=ms(101)).contains(pause)), "{pauses:?}");
    assert!(
        pauses.iter().max().unwrap().saturating_sub(*pauses.iter().min().unwrap()) > ms(40),
        "{pauses:?}"
    );
}
