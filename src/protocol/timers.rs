//! Every duration of the protocol, named after what it is for.

use std::time::Duration;

use super::Time;

/// The durations of one session; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// A session in use is rekeyed at this age, a tenth more or less.
    pub rekey_after: Duration,
    /// The responder rekeys this much later, if the initiator has not.
    pub rekey_grace: Duration,
    /// Keys of this age are used for nothing.
    pub expire_after: Duration,
    /// The pause after the first unanswered handshake message; it doubles.
    pub retry_first: Duration,
    /// The longest pause between two handshake messages.
    pub retry_most: Duration,
    /// An unconfirmed answer is forgotten after this.
    pub half_open: Duration,
    /// Data received is acknowledged by a keepalive after this, unless something is sent anyway.
    pub acknowledge: Duration,
    /// Sent but nothing heard for this long: the peer may have lost its keys.
    pub silence: Duration,
    /// The pause between two byes.
    pub bye_retry: Duration,
    /// Closing ends after this, answered or not.
    pub bye_most: Duration,
    /// After the answer to a bye, stragglers are waited for this long at most.
    pub straggle: Duration,
    /// After the peer's bye it is not called for this long: its process ends, the super-server takes over. Most of that
    /// is the kernel taking the device down, 12 to 27 ms where it was measured.
    pub leave: Duration,
    /// `ping`: a keepalive after so long without sending.
    pub ping: Option<Duration>,
    /// `ping-restart`, `ping-exit`: tell after so long without hearing.
    pub ping_timeout: Option<Duration>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            rekey_after: Duration::from_secs(120),
            rekey_grace: Duration::from_secs(25),
            expire_after: Duration::from_secs(180),
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(4),
            half_open: Duration::from_secs(5),
            acknowledge: Duration::from_secs(1),
            silence: Duration::from_secs(3),
            bye_retry: Duration::from_millis(250),
            bye_most: Duration::from_millis(1500),
            straggle: Duration::from_millis(100),
            leave: Duration::from_millis(50),
            ping: None,
            ping_timeout: None,
        }
    }
}

/// The earliest of some deadlines.
pub(crate) fn earliest<const N: usize>(deadlines: [Option<Time>; N]) -> Option<Time> {
    deadlines.into_iter().flatten().min()
}

/// Whether a deadline has come.
pub(crate) fn due(deadline: Option<Time>, now: Time) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}
