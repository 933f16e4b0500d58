//! The signals of the administrator, as a descriptor that the event loop can wait for.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{self as posix, SigHandler, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Error, Exit, Result};

/// A signal that means something to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM
    Terminate,
    /// SIGINT
    Interrupt,
    /// SIGHUP
    Hangup,
    /// SIGUSR1
    User1,
    /// SIGUSR2
    User2,
}

impl Signal {
    const ALL: [(posix::Signal, Signal); 5] = [
        (posix::Signal::SIGTERM, Signal::Terminate),
        (posix::Signal::SIGINT, Signal::Interrupt),
        (posix::Signal::SIGHUP, Signal::Hangup),
        (posix::Signal::SIGUSR1, Signal::User1),
        (posix::Signal::SIGUSR2, Signal::User2),
    ];

    /// The name in the log: `SIGTERM`.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|&(_, ours)| ours == self).map_or("", |(posix, _)| posix.as_str())
    }
}

/// The blocked signals, waiting to be read. Non-blocking, closes on exec.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the five signals for the whole process, which has one thread, and ignores SIGPIPE: a peer of a pipe that
    /// went away is an error of write(2), not the end.
    pub fn open() -> Result<Self> {
        let act = |e| Error::new(Exit::Os, "receive signals", e);
        let blocked = block().map_err(act)?;
        // SAFETY: SIG_IGN installs no handler, so no code of ours can run at a bad moment.
        unsafe { posix::signal(posix::Signal::SIGPIPE, SigHandler::SigIgn) }.map_err(act)?;
        let fd =
            SignalFd::with_flags(&blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(act)?;
        Ok(Self { fd })
    }

    /// The next signal that has arrived; `None` when there is none for now.
    pub fn next(&self) -> Option<Signal> {
        let number = self.fd.read_signal().ok()??.ssi_signo;
        Signal::ALL
            .into_iter()
            .find(|&(posix, _)| u32::try_from(posix as i32) == Ok(number))
            .map(|(_, ours)| ours)
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Blocks the five signals and returns their set.
pub(super) fn block() -> nix::Result<SigSet> {
    let blocked: SigSet = Signal::ALL.into_iter().map(|(posix, _)| posix).collect();
    blocked.thread_block()?;
    Ok(blocked)
}
