//! The traffic of the last half minute, second by second, for a small graph.

use crate::protocol::Time;

/// Seconds that are remembered.
pub const SECONDS: usize = 30;

/// After a longer pause than this nothing passed during it: whatever passes is noticed within a second.
const PAUSE: u64 = 3;

/// Bytes of each second, the newest last: into this host, and out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Written to the device.
    pub inward: [u64; SECONDS],
    /// Read from the device.
    pub outward: [u64; SECONDS],
    /// Where the last second ends.
    until: Option<Time>,
}

impl History {
    /// Both series as they were written down.
    pub fn of(inward: [u64; SECONDS], outward: [u64; SECONDS]) -> Self {
        Self { inward, outward, until: None }
    }

    /// Notes what has passed since the last note.
    pub fn note(&mut self, now: Time, inward: u64, outward: u64) {
        let until = *self.until.get_or_insert(now);
        // Who looks once a second is some milliseconds late each time.
        let passed = (now.saturating_sub(until).as_millis() as u64 + 250) / 1000;
        self.until = Some(until + Time::from_secs(passed));
        self.skip(passed);
        let shares = if (1..=PAUSE).contains(&passed) { passed } else { 1 };
        for (series, bytes) in [(&mut self.inward, inward), (&mut self.outward, outward)] {
            for place in series.iter_mut().rev().take(shares as usize) {
                *place = place.saturating_add(bytes / shares);
            }
            series[SECONDS - 1] = series[SECONDS - 1].saturating_add(bytes % shares);
        }
    }

    /// Lets seconds pass in which nothing else did.
    pub fn skip(&mut self, seconds: u64) {
        let seconds = usize::try_from(seconds).unwrap_or(SECONDS).min(SECONDS);
        for series in [&mut self.inward, &mut self.outward] {
            series.rotate_left(seconds);
            series[SECONDS - seconds..].fill(0);
        }
    }

    /// Bytes a second over the last `seconds`, in and out.
    pub fn rates(&self, seconds: usize) -> (u64, u64) {
        let seconds = seconds.clamp(1, SECONDS);
        let mean = |series: &[u64; SECONDS]| {
            let sum = series[SECONDS - seconds..].iter().fold(0, |sum: u64, it| sum.saturating_add(*it));
            sum / seconds as u64
        };
        (mean(&self.inward), mean(&self.outward))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_secs(500) + Time::from_millis(millis)
    }

    fn last(history: &History, count: usize) -> &[u64] {
        &history.inward[SECONDS - count..]
    }

    #[test]
    fn each_second_has_its_own_place_also_when_it_is_noted_a_little_late() {
        let mut history = History::default();
        history.note(at(0), 1, 10);
        history.note(at(1020), 2, 20);
        history.note(at(2100), 3, 30);
        history.note(at(3050), 4, 40);
        assert_eq!(last(&history, 5), [0, 1, 2, 3, 4]);
        assert_eq!(history.outward[SECONDS - 1], 40);
        assert_eq!(history.rates(2), (3, 35));
    }

    #[test]
    fn two_notes_of_one_second_are_added_and_what_took_two_is_shared() {
        let mut history = History::default();
        history.note(at(0), 1, 0);
        history.note(at(100), 2, 0);
        assert_eq!(last(&history, 2), [0, 3]);
        history.note(at(2000), 11, 0);
        assert_eq!(last(&history, 3), [3, 5, 6]);
    }

    #[test]
    fn after_a_pause_what_passes_is_of_the_last_second() {
        let mut history = History::default();
        history.note(at(0), 7, 0);
        history.note(at(9000), 8, 0);
        assert_eq!(last(&history, 10), [7, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
        history.note(at(9000 + 86_400_000), 9, 0);
        assert_eq!(history.inward.iter().sum::<u64>(), 9);
    }

    #[test]
    fn numbers_that_cannot_be_are_no_overflow() {
        let mut history = History::of([u64::MAX; SECONDS], [u64::MAX; SECONDS]);
        history.note(at(0), u64::MAX, u64::MAX);
        history.skip(u64::MAX);
        assert_eq!(history.rates(0), (0, 0));
    }
}
