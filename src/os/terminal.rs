//! The terminal of `naptun status`: its size, what it can show, and the signals that it sends.
#![allow(unsafe_code)]

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Error, Exit, Result};

/// Columns and rows of the terminal on standard output; `None` where there is none, or it does not say.
pub fn size() -> Option<(usize, usize)> {
    // SAFETY: struct winsize is four integers; all zero is a value of it.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one struct winsize, to a live one; what the descriptor is does not matter.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0 && size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Whether colours are wanted: not by `NO_COLOR` (no-color.org), and not on a terminal that calls itself dumb.
pub fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Whether the locale is one of UTF-8.
pub fn speaks_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time is over.
    Time,
    /// The window has another size.
    Resized,
    /// The process is to stop: ctrl-Z.
    Stop,
    /// The process is to end.
    End,
}

/// The signals of a terminal, waiting to be read.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks what ends or stops a process, or says that the window has another size.
    pub fn open() -> Result<Self> {
        let act = |e| Error::new(Exit::Os, "receive signals", e);
        let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        let blocked: SigSet = ends.into_iter().chain([Signal::SIGTSTP, Signal::SIGWINCH]).collect();
        blocked.thread_block().map_err(act)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { fd: SignalFd::with_flags(&blocked, flags).map_err(act)? })
    }

    /// Waits for so long, or for a signal.
    pub fn wait(&self, most: Duration) -> Result<Wake> {
        let start = Instant::now();
        loop {
            let left = most.saturating_sub(start.elapsed());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Ok(Wake::Time),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(Error::new(Exit::Os, "wait for signals", e)),
            }
            if let Ok(Some(signal)) = self.fd.read_signal() {
                return Ok(match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                    Ok(Ok(Signal::SIGWINCH)) => Wake::Resized,
                    Ok(Ok(Signal::SIGTSTP)) => Wake::Stop,
                    _ => Wake::End,
                });
            }
        }
    }

    /// Stops, as ctrl-Z does where nobody waits for it; returns when the process goes on. Where no shell could let it go
    /// on, the kernel does not stop it (setpgid(2): orphaned process groups).
    pub fn stop(&self) -> Result<()> {
        let stop = SigSet::from(Signal::SIGTSTP);
        // Unblocked, it is delivered before raise() returns.
        let stopped =
            stop.thread_unblock().and_then(|()| raise(Signal::SIGTSTP)).and_then(|()| stop.thread_block());
        stopped.map_err(|e| Error::new(Exit::Os, "stop until SIGCONT", e))
    }
}
