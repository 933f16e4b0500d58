//! The three clocks: one for deadlines, one for stamps that two machines compare, one for people.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine started. Counts sleep too and never goes back, so a key that was old before a suspend is
/// old after it.
pub fn boot() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

/// How long the machine has slept since it started.
pub fn slept() -> Duration {
    // In this order what passes in between is no sleep.
    let awake = read(ClockId::CLOCK_MONOTONIC);
    boot().saturating_sub(awake)
}

/// Microseconds since the Unix epoch. May jump in both directions.
pub fn wall_micros() -> u64 {
    u64::try_from(read(ClockId::CLOCK_REALTIME).as_micros()).unwrap_or(u64::MAX)
}

/// Reads the time zone's file (tzset(3)). To be called while files can still be opened; without it the first
/// [`local_time`] does the same.
pub fn load_zone() {
    unsafe extern "C" {
        fn tzset();
    }
    // SAFETY: tzset reads TZ from the environment, which no other thread changes: there is none.
    unsafe { tzset() }
}

/// Now, in the local zone.
pub fn local_time() -> LocalTime {
    LocalTime::at(read(ClockId::CLOCK_REALTIME))
}

/// A broken-down local time. Displays as `2026-11-22 07:24:08`.
#[derive(Clone, Copy)]
pub struct LocalTime {
    tm: libc::tm,
    micros: u32,
}

impl LocalTime {
    /// The local time so long after the Unix epoch.
    pub fn at(since_epoch: Duration) -> Self {
        let seconds = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or_default();
        // SAFETY: struct tm is integers and a pointer that may be null; all zero is a value of it.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, distinct objects of the right types; localtime_r keeps neither. A year it
        // cannot express leaves tm as it was.
        unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
        Self { tm, micros: since_epoch.subsec_micros() }
    }

    /// Displays as `Nov 22 07:24:08`, the TIMESTAMP of RFC 3164 section 4.1.2: the day is padded with a space.
    pub fn rfc3164(self) -> Rfc3164 {
        Rfc3164(self)
    }

    /// The microseconds of the second, 0 to 999,999.
    pub fn micros(self) -> u32 {
        self.micros
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tm = &self.tm;
        let (year, month) = (i64::from(tm.tm_year) + 1900, tm.tm_mon + 1);
        write!(
            f,
            "{year:04}-{month:02}-{:02} {:02}:{:02}:{:02}",
            tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
        )
    }
}

/// A local time as syslog writes it.
#[derive(Clone, Copy)]
pub struct Rfc3164(LocalTime);

impl fmt::Display for Rfc3164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let tm = &self.0.tm;
        let month = usize::try_from(tm.tm_mon).ok().and_then(|n| MONTHS.get(n)).copied().unwrap_or("Jan");
        write!(f, "{month} {:2} {:02}:{:02}:{:02}", tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec)
    }
}

/// Cannot fail for a clock that the kernel has, and it has these since 2.6.39; a time before the epoch reads as the epoch.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
        Duration::new(seconds, u32::try_from(now.tv_nsec()).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_the_log_and_as_syslog_want_it() {
        let time = |mon, day| LocalTime {
            // SAFETY: as in LocalTime::at.
            tm: libc::tm {
                tm_year: 126,
                tm_mon: mon,
                tm_mday: day,
                tm_hour: 7,
                tm_min: 4,
                tm_sec: 8,
                ..unsafe { std::mem::zeroed() }
            },
            micros: 5,
        };
        assert_eq!(time(10, 22).to_string(), "2026-11-22 07:04:08");
        assert_eq!(time(10, 22).rfc3164().to_string(), "Nov 22 07:04:08");
        assert_eq!(time(0, 2).rfc3164().to_string(), "Jan  2 07:04:08");
    }

    #[test]
    fn the_clock_of_deadlines_does_not_go_back_and_the_wall_clock_is_in_this_century() {
        let before = boot();
        assert!(boot() >= before && before > Duration::ZERO);
        assert!((1_600_000_000_000_000..4_000_000_000_000_000).contains(&wall_micros()));
    }
}
