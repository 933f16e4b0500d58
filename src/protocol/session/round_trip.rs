//! The round trip to the peer, measured on what is sent anyway: handshakes, and datagrams that ask whether they arrived.
//!
//! Smoothed as in RFC 6298, section 2; what was sent twice is not measured (Karn's rule), for its answer may be one to
//! either.

use std::time::Duration;

use crate::protocol::Time;

/// An eighth of each measurement goes into the smoothed value.
const PARTS: u32 = 8;

/// Nobody waits longer for an answer: what comes then was held up somewhere, and is no measurement.
const LONGEST: Duration = Duration::from_secs(10);

/// The unit in which it is told.
const SHORTEST: Duration = Duration::from_micros(1);

/// What is known of the round trip.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    /// The next measurement counts alone: the value is that of another path, or of a peer that had to wake first.
    rough: bool,
    asked: Option<Asked>,
}

/// A datagram that asks, not answered yet.
#[derive(Debug)]
struct Asked {
    length: usize,
    at: Time,
    twice: bool,
}

impl RoundTrip {
    /// The smoothed value; `None` before the first measurement.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// One measurement.
    pub(super) fn measured(&mut self, sample: Duration) {
        if sample > LONGEST {
            return;
        }
        if sample.is_zero() {
            return self.too_short_to_tell();
        }
        self.smoothed = Some(match self.smoothed {
            Some(smoothed) if !self.rough => (smoothed * (PARTS - 1) + sample) / PARTS,
            _ => sample,
        });
        self.rough = false;
    }

    /// Question and answer were taken in at one look at the clock: how short it was the next measurement tells.
    fn too_short_to_tell(&mut self) {
        if self.smoothed.is_none() {
            self.smoothed = Some(SHORTEST);
            self.rough = true;
        }
    }

    /// What is known is only good until something better is.
    pub(super) fn take_for_rough(&mut self) {
        self.rough = true;
        self.asked = None;
    }

    /// A datagram of this length asks whether it arrives.
    pub(super) fn asked(&mut self, now: Time, length: usize) {
        match &mut self.asked {
            Some(asked) if asked.length == length && now < asked.at + LONGEST => asked.twice = true,
            asked => *asked = Some(Asked { length, at: now, twice: false }),
        }
    }

    /// One of this length has arrived.
    pub(super) fn answered(&mut self, now: Time, length: usize) {
        let answered = self.asked.take_if(|asked| asked.length == length);
        if let Some(asked) = answered.filter(|asked| !asked.twice) {
            self.measured(now.saturating_sub(asked.at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1000);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_first_measurement_is_taken_as_it_is_and_each_later_one_moves_it_by_an_eighth() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.smoothed(), None);
        trip.measured(ms(80));
        assert_eq!(trip.smoothed(), Some(ms(80)));
        trip.measured(ms(160));
        assert_eq!(trip.smoothed(), Some(ms(90)));
        trip.measured(ms(10));
        assert_eq!(trip.smoothed(), Some(ms(80)));
    }

    #[test]
    fn what_is_rough_is_replaced_by_the_next_measurement() {
        let mut trip = RoundTrip::default();
        trip.measured(ms(800));
        trip.take_for_rough();
        assert_eq!(trip.smoothed(), Some(ms(800)));
        trip.measured(ms(8));
        trip.measured(ms(16));
        assert_eq!(trip.smoothed(), Some(ms(9)));
    }

    #[test]
    fn an_answer_is_measured_from_the_datagram_of_its_length_and_once() {
        let mut trip = RoundTrip::default();
        trip.asked(NOW, 1400);
        trip.answered(NOW + ms(5), 1200);
        assert_eq!(trip.smoothed(), None);
        trip.answered(NOW + ms(10), 1400);
        trip.answered(NOW + ms(90), 1400);
        assert_eq!(trip.smoothed(), Some(ms(10)));
    }

    #[test]
    fn what_was_asked_twice_is_not_measured_and_the_next_question_is() {
        let mut trip = RoundTrip::default();
        trip.asked(NOW, 1400);
        trip.asked(NOW + ms(75), 1400);
        trip.answered(NOW + ms(80), 1400);
        assert_eq!(trip.smoothed(), None);
        trip.asked(NOW + ms(100), 1400);
        trip.answered(NOW + ms(106), 1400);
        assert_eq!(trip.smoothed(), Some(ms(6)));
    }

    #[test]
    fn a_question_never_answered_gives_way_and_what_was_held_up_is_not_measured() {
        let mut trip = RoundTrip::default();
        trip.asked(NOW, 1400);
        trip.asked(NOW + LONGEST, 1400);
        trip.answered(NOW + LONGEST + ms(7), 1400);
        assert_eq!(trip.smoothed(), Some(ms(7)));
        trip.measured(LONGEST + ms(1));
        trip.measured(ms(0));
        assert_eq!(trip.smoothed(), Some(ms(7)));
    }

    #[test]
    fn what_is_too_short_for_the_clock_is_something_until_it_is_measured() {
        let mut trip = RoundTrip::default();
        trip.measured(ms(0));
        assert_eq!(trip.smoothed(), Some(SHORTEST));
        trip.measured(ms(8));
        assert_eq!(trip.smoothed(), Some(ms(8)));
    }
}
