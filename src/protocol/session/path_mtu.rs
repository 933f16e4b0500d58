//! The largest datagram that passes the path (after RFC 8899: black holes, probes, a search; no ICMP is believed).
//!
//! A datagram may ask to be acknowledged with its length. Large ones do so now and then, at no cost. One that goes
//! unanswered is repeated with a small one behind it; where only the small ones are answered it is too large: datagrams are
//! made short at once, and probes, which are nothing but padding, find out how long they may be.
//!
//! All sizes are bytes of UDP payload.

use std::time::Duration;

use crate::protocol::Time;
use crate::protocol::timers::earliest;

/// MTUs that paths have. The search finds the largest of them that passes; what lies between two is not worth the probes.
const MTUS: [usize; 13] = [576, 1006, 1280, 1360, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500];

/// Where datagrams fall back to: every path of IPv6 takes the first (RFC 8200, section 5), of IPv4 the second (RFC 791).
const FALLBACKS: [usize; 2] = [1280, 576];

/// Headers of IPv6 and UDP: a path with these takes [`FALLBACKS`]' first for granted.
const HEADERS_IPV6: usize = 48;

/// A search has ended after so many probes of a length without an answer.
const TRIES: u32 = 3;

/// A length is given up after so many answers to short probes and none to it: loss takes the ones like the others.
const PROOFS: u32 = 3;

/// Where nothing at all is answered, probes become rare after so many.
const PATIENCE: u32 = 12;

/// A probe's answer is waited for at least and at most as long; in between it is twice the round trip.
const PAUSE_LEAST: Duration = Duration::from_millis(75);
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// While large datagrams are sent, one in this time asks. TCP over a path that becomes narrow falls silent, and repeats after
/// 0.2, 0.6 and 1.4 s (RFC 6298 with Linux' least): the first repetition has to ask, and the second to fit.
const CHECK: Duration = Duration::from_millis(100);

/// A path found narrow may have become wider after this, and each time nothing was found after twice as long, up to what
/// RFC 8899 wants (section 5.1.1, PMTU_RAISE_TIMER). It may also have been wide all the time: probes are lost.
const RAISE_LEAST: Duration = Duration::from_secs(5);
const RAISE_MOST: Duration = Duration::from_secs(600);

/// What the driver knows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLimits {
    /// Headers of IP and UDP in front of a datagram: 28 or 48.
    pub headers: usize,
    /// Datagrams of this length are taken to pass until they are found not to.
    pub start: usize,
    /// Nothing longer passes the first link, or would be of use.
    pub ceiling: usize,
}

/// What a probe is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Of exactly this length.
    Long(usize),
    /// As short as any packet of the protocol's own: shows that the path itself is there.
    Short,
}

/// What is known of the present path.
pub(super) struct PathMtu {
    limits: PathLimits,
    most: usize,
    /// The longest that was acknowledged, and not given up since.
    known: usize,
    /// The longest that one was asked about since `check_at`.
    asked: usize,
    /// The next large datagram after this asks.
    check_at: Time,
    check: Option<Check>,
    search: Option<Search>,
    /// When a search for more is worth it, and how long after this one the next.
    raise_at: Time,
    raise: Duration,
    pause: Duration,
    /// The last outcome that was told.
    told: usize,
    news: Option<usize>,
}

/// A length in doubt.
struct Check {
    length: usize,
    since: Time,
    tries: u32,
    at: Time,
    short_due: bool,
    /// Answers to anything shorter: the path is there.
    answers: u32,
}

/// Probes of all lengths that might pass and are longer than what is known to.
struct Search {
    /// The last one of this round.
    tried: usize,
    rounds: u32,
    at: Time,
}

impl PathLimits {
    /// What passes every path: nobody needs to ask about it.
    fn least(&self) -> usize {
        let mtu = if self.headers == HEADERS_IPV6 { FALLBACKS[0] } else { FALLBACKS[1] };
        mtu - self.headers
    }

    /// The shortest length that is longer, and whose passing would be worth knowing.
    fn worth_a_probe_after(&self, length: usize) -> Option<usize> {
        let lengths = MTUS.iter().map(|mtu| mtu - self.headers).chain([self.ceiling]);
        lengths.filter(|it| *it > length && *it <= self.ceiling).min()
    }
}

impl PathMtu {
    /// A path of which nothing but `limits` is known. `check_at` is when its `start` is tried, or else its first use.
    pub(super) fn new(limits: PathLimits, now: Time, check_at: Option<Time>) -> Self {
        let most = limits.start.max(limits.least()).min(limits.ceiling);
        let check = check_at.map(|at| Check::new(most, at));
        Self {
            limits,
            most,
            known: 0,
            asked: if check.is_some() { most } else { 0 },
            check_at: if check.is_some() { Time::MAX } else { now },
            check,
            search: None,
            raise_at: now,
            raise: RAISE_LEAST,
            pause: PAUSE_LEAST,
            told: most,
            news: None,
        }
    }

    /// Datagrams are not to be made longer.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The longest that has passed; 0 where nothing long was tried.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// A change worth telling, once.
    pub(super) fn take_news(&mut self) -> Option<usize> {
        self.news.take()
    }

    /// Whether the datagram of `length` that is sealed now asks for an acknowledgement.
    pub(super) fn asks(&mut self, now: Time, length: usize) -> bool {
        let due = now >= self.check_at;
        if !due && length <= self.asked || length <= self.least() {
            return false;
        }
        self.asked = length;
        self.check_at = Time::MAX;
        self.check = Some(Check { tries: 1, at: now + self.pause, ..Check::new(length, now) });
        if now >= self.raise_at && self.most < self.limits.ceiling && self.search.is_none() {
            self.search = Some(Search::new(now));
        }
        true
    }

    /// A datagram of `length` has arrived at the peer.
    pub(super) fn passed(&mut self, now: Time, length: usize) {
        if length > self.least() && length <= self.limits.ceiling {
            self.known = self.known.max(length);
        }
        if length > self.most && length <= self.limits.ceiling {
            self.most = length;
            self.raise = RAISE_LEAST;
            if self.check.is_none() && self.search.is_none() {
                // Given up too early: the round trip is longer than was thought.
                self.settle(now);
            }
        }
        if let Some(check) = &mut self.check {
            if check.answers == 0 {
                check.at = check.at.min(now + self.pause);
            }
            check.answers += 1;
            if length >= check.length {
                let measured = now.saturating_sub(check.since) * 2;
                // Which of several probes was answered is not known: a little longer, and measured the next time.
                let pause = if check.tries > 1 { measured.min(self.pause * 3 / 2) } else { measured };
                self.pause = pause.clamp(PAUSE_LEAST, PAUSE_MOST);
                self.check = None;
                self.check_at = now + CHECK;
            }
        }
        if self.search.is_some() && self.limits.worth_a_probe_after(self.most).is_none() {
            self.settle(now);
        }
    }

    /// The first link does not take `length`: its own word, not that of a stranger on the way.
    pub(super) fn refused(&mut self, now: Time, length: usize) {
        if length == 0 || length > self.limits.ceiling {
            return;
        }
        self.limits.ceiling = length - 1;
        if length <= self.most {
            self.fall_back(now, length);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        earliest([self.check.as_ref().map(|check| check.at), self.search.as_ref().map(|search| search.at)])
    }

    /// The next probe that is due; ask until there is none.
    pub(super) fn next_probe(&mut self, now: Time) -> Option<Probe> {
        self.next_of_check(now).or_else(|| self.next_of_search(now))
    }

    fn next_of_check(&mut self, now: Time) -> Option<Probe> {
        let check = self.check.as_mut()?;
        if std::mem::take(&mut check.short_due) {
            return Some(Probe::Short);
        }
        if now < check.at {
            return None;
        }
        if check.answers >= PROOFS {
            let length = check.length;
            self.fall_back(now, length);
            return None;
        }
        // Where nothing is heard at all it is not the length: the peer makes its device, or is gone, for which there is a
        // deadline of its own.
        let pause = if check.tries >= PATIENCE && check.answers == 0 { self.pause * 4 } else { self.pause };
        check.tries += 1;
        check.at = now + pause;
        check.short_due = true;
        Some(Probe::Long(check.length))
    }

    fn next_of_search(&mut self, now: Time) -> Option<Probe> {
        let search = self.search.as_mut().filter(|search| search.at <= now)?;
        if search.rounds >= TRIES {
            self.settle(now);
            return None;
        }
        if let Some(length) = self.limits.worth_a_probe_after(search.tried.max(self.most)) {
            search.tried = length;
            return Some(Probe::Long(length));
        }
        search.tried = 0;
        search.rounds += 1;
        search.at = now + self.pause;
        None
    }

    /// `length` does not pass: what surely does is used until a search has found better.
    fn fall_back(&mut self, now: Time, length: usize) {
        self.check = None;
        let Some(fallback) = self.fallback_below(length) else { return };
        self.most = fallback;
        self.known = 0;
        self.asked = 0;
        self.search = Some(Search::new(now));
    }

    fn settle(&mut self, now: Time) {
        self.search = None;
        self.raise_at = now + self.raise;
        self.raise = (self.raise * 2).min(RAISE_MOST);
        if self.told != self.most {
            self.told = self.most;
            self.news = Some(self.most);
        }
    }

    fn fallback_below(&self, length: usize) -> Option<usize> {
        let sizes = FALLBACKS.iter().map(|mtu| mtu - self.limits.headers);
        sizes.filter(|size| *size >= self.least()).find(|size| *size < length)
    }

    fn least(&self) -> usize {
        self.limits.least()
    }
}

impl Check {
    fn new(length: usize, at: Time) -> Self {
        Self { length, since: at, tries: 0, at, short_due: false, answers: 0 }
    }
}

impl Search {
    fn new(at: Time) -> Self {
        Self { tried: 0, rounds: 0, at }
    }
}

#[cfg(test)]
mod tests;
