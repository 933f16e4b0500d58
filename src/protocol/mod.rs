//! The protocol, as numbered in doc/protocol.md: bytes and deadlines, nothing else.
//!
//! No socket, clock, entropy source or log is known here. Time and randomness are arguments, deadlines
//! are returned, and what a stranger can cause is a counted [`Reject`].

pub mod envelope;
pub mod epoch;
pub mod handshake;
pub mod hello;
pub mod noise;
pub mod reject;
pub mod secrets;
pub mod session;
mod stack;
pub mod timers;
pub mod window;

pub use epoch::{HEAD, TAIL};
pub use hello::{Aeads, Hello, Mismatch};
pub use reject::{Reject, Rejects};
pub use secrets::Secrets;
pub use session::{Action, Event, Farewell, Opened, PathLimits, Session};
pub use timers::Timers;

/// Time since the machine was started, sleep included (CLOCK_BOOTTIME).
pub type Time = std::time::Duration;

/// Both clocks, read once a turn.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For every deadline: never goes back.
    pub now: Time,
    /// Microseconds since the Unix epoch, for the stamps of handshakes: may jump.
    pub wall: u64,
}

/// Where random bytes come from: the kernel, or a seeded generator in tests.
pub trait Entropy {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// A number in `0..=most`, close enough to uniform for padding and jitter.
pub(crate) fn random_up_to(most: u16, entropy: &mut dyn Entropy) -> u16 {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    (u32::from_le_bytes(bytes) % (u32::from(most) + 1)) as u16
}
