//! Why a datagram was refused. Never an error, never a log line of its own: a count.

use std::fmt;

/// The reasons, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reject {
    /// From an address that is not the `remote`, before anything else is looked at.
    Address,
    /// Shorter than any datagram of ours, or longer than we could have sent.
    Length,
    /// Under no key of ours: a stranger, rubbish, or keys long gone.
    Unknown,
    /// A counter seen before, or too old to tell.
    Replay,
    /// A handshake that is not newer than the last one.
    Stale,
    /// Our own handshake, sent back to us.
    Reflected,
    /// A handshake of a version that we do not speak.
    Version,
    /// A handshake that crossed ours; the other end yields.
    Crossed,
    /// A peer whose settings do not go with ours.
    Mismatch,
    /// Authentic, but not what the protocol allows at this point.
    Malformed,
    /// A fragment that fits no packet.
    Fragment,
}

impl Reject {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Address, "address"),
        (Self::Length, "length"),
        (Self::Unknown, "unknown"),
        (Self::Replay, "replay"),
        (Self::Stale, "stale"),
        (Self::Reflected, "reflected"),
        (Self::Version, "version"),
        (Self::Crossed, "crossed"),
        (Self::Mismatch, "mismatch"),
        (Self::Malformed, "malformed"),
        (Self::Fragment, "fragment"),
    ];
}

/// How many datagrams were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejects([u64; Reject::ALL.len()]);

impl Rejects {
    /// Counts one.
    pub fn count(&mut self, reason: Reject) {
        self.0[reason as usize] += 1;
    }

    /// How many there were for one reason.
    pub fn of(&self, reason: Reject) -> u64 {
        self.0[reason as usize]
    }

    /// Each reason by name, in the order of the checks, with how many there were for it.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reject::ALL.into_iter().zip(self.0).map(|((_, name), count)| (name, count))
    }

    /// The reverse: as many for each reason as `count` says.
    pub fn of_each(count: impl Fn(&str) -> u64) -> Self {
        Self(Reject::ALL.map(|(_, name)| count(name)))
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.0.iter_mut().zip(other.0).for_each(|(count, more)| *count = count.saturating_add(more));
        sum
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }
}

/// `rejects=3 unknown=2 stale=1`: the sum, then the reasons that occurred.
impl fmt::Display for Rejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejects={}", self.total())?;
        for (reason, name) in Reject::ALL {
            if self.of(reason) > 0 {
                write!(f, " {name}={}", self.of(reason))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_and_the_reasons_that_occurred_are_printed() {
        let mut rejects = Rejects::default();
        assert_eq!(rejects.to_string(), "rejects=0");
        [Reject::Unknown, Reject::Stale, Reject::Unknown].into_iter().for_each(|why| rejects.count(why));
        assert_eq!((rejects.total(), rejects.of(Reject::Unknown)), (3, 2));
        assert_eq!(rejects.to_string(), "rejects=3 unknown=2 stale=1");
    }

    #[test]
    fn every_reason_has_its_own_name_and_place() {
        for (place, (reason, name)) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(format!("{reason:?}").to_lowercase(), name);
        }
    }
}
