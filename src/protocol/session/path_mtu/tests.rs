//! One path, step by step.

use super::*;

const LEAST: usize = 576 - 28;
const WHOLE: usize = 1500 - 28;
const NOW: Time = Time::from_secs(1000);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn path(start: usize) -> PathMtu {
    PathMtu::new(PathLimits { headers: 28, start, ceiling: WHOLE }, NOW, None)
}

/// The probes that are due at this time.
fn due(path: &mut PathMtu, now: Time) -> Vec<Probe> {
    std::iter::from_fn(|| path.next_probe(now)).collect()
}

#[test]
fn an_answer_is_waited_for_twice_the_round_trip() {
    for (round_trip, pause) in [(1, 75), (50, 100), (200, 400), (700, 1000)] {
        let mut path = path(WHOLE);
        assert!(path.asks(NOW, WHOLE));
        assert_eq!(path.deadline(), Some(NOW + ms(75)), "nothing is known of the path");
        path.passed(NOW + ms(round_trip), WHOLE);
        assert_eq!(path.deadline(), None, "nothing is in doubt");
        assert!(!path.asks(NOW + ms(round_trip + 99), WHOLE));
        let next = NOW + ms(round_trip + 100);
        assert!(path.asks(next, WHOLE));
        assert_eq!(path.deadline(), Some(next + ms(pause)), "{round_trip} ms there and back");
    }
}

#[test]
fn whichever_of_several_was_answered_half_as_long_again_is_waited() {
    let mut path = path(WHOLE);
    path.asks(NOW, WHOLE);
    assert_eq!(due(&mut path, NOW + ms(75)), [Probe::Long(WHOLE), Probe::Short]);
    path.passed(NOW + ms(900), WHOLE);
    path.asks(NOW + ms(1000), WHOLE);
    assert_eq!(path.deadline(), Some(NOW + ms(1000) + Duration::from_micros(112_500)));
}

#[test]
fn three_answers_to_short_ones_and_none_to_a_long_one_prove_it_too_long() {
    for answers in 0..5 {
        let mut path = path(WHOLE);
        path.asks(NOW, WHOLE);
        (0..answers).for_each(|_| path.passed(NOW, 100));
        let probes = due(&mut path, NOW + ms(75));
        if answers < 3 {
            assert_eq!(probes, [Probe::Long(WHOLE), Probe::Short]);
            assert_eq!(path.most(), WHOLE);
        } else {
            assert_eq!(path.most(), 1280 - 28);
            let lengths = [1360, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500];
            assert_eq!(probes, lengths.map(|mtu| Probe::Long(mtu - 28)));
        }
    }
}

#[test]
fn a_long_one_asks_again_a_tenth_of_a_second_after_it_was_made_short() {
    let mut path = path(WHOLE);
    path.asks(NOW, WHOLE);
    (0..3).for_each(|_| path.passed(NOW, 100));
    due(&mut path, NOW + ms(75));
    assert!(path.asks(NOW + ms(80), 1252), "the first of its length");
    assert!(!path.asks(NOW + ms(81), 1252));
    path.passed(NOW + ms(82), 1252);
    assert!(!path.asks(NOW + ms(181), 1252) && path.asks(NOW + ms(182), 1252));
}

#[test]
fn without_any_answer_probes_become_rare() {
    let mut path = path(WHOLE);
    path.asks(NOW, WHOLE);
    let mut times = Vec::new();
    while let Some(at) = path.deadline().filter(|at| *at < NOW + ms(2000)) {
        assert_eq!(due(&mut path, at), [Probe::Long(WHOLE), Probe::Short]);
        times.push((at - NOW).as_millis());
    }
    let often = (1..=12).map(|n| n * 75);
    let rarely = (1..=3).map(|n| 12 * 75 + n * 300);
    assert_eq!(times, often.chain(rarely).collect::<Vec<_>>());
    path.passed(NOW + ms(2000), 100);
    assert_eq!(path.deadline(), Some(NOW + ms(2075)), "somebody is there again");
}

#[test]
fn what_passes_every_path_and_what_was_never_sent_is_not_known() {
    let mut path = path(1252);
    for (length, known, most) in [
        (100, 0, 1252),
        (LEAST, 0, 1252),
        (LEAST + 1, LEAST + 1, 1252),
        (1252, 1252, 1252),
        (WHOLE + 1, 1252, 1252),
        (1253, 1253, 1253),
        (LEAST + 1, 1253, 1253),
        (WHOLE, WHOLE, WHOLE),
    ] {
        path.passed(NOW, length);
        assert_eq!((path.known(), path.most()), (known, most), "{length} passed");
    }
}

#[test]
fn the_own_links_word_bounds_what_is_tried() {
    let mut path = path(WHOLE);
    for (length, most) in [(0, WHOLE), (WHOLE + 1, WHOLE), (1400, 1252)] {
        path.refused(NOW, length);
        assert_eq!(path.most(), most, "{length} refused");
    }
    path.passed(NOW, 1400);
    assert_eq!(path.most(), 1252, "not after the link said no");
    path.passed(NOW, 1399);
    assert_eq!((path.most(), path.take_news()), (1399, Some(1399)), "nothing longer is left to try");
}

#[test]
fn on_a_path_known_to_be_wide_nothing_is_searched() {
    let mut path = path(WHOLE);
    path.asks(NOW, WHOLE);
    assert_eq!((due(&mut path, NOW), path.deadline()), (vec![], Some(NOW + ms(75))));
}
