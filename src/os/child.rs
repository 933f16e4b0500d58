//! A forked process of this program, tied to it by a pair of datagram sockets.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, setsid};

use crate::error::{Error, Exit, Result};
use crate::os::{descriptors, signals};

/// The largest message between the two, bytes.
pub(super) const MESSAGE: usize = 1024;

/// The parent's end. When it is dropped, or the parent ends in any manner, the child reads end of file: that is
/// how it learns that it is alone, also after SIGKILL.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    link: Link,
}

impl Child {
    /// Forks. The child has its own session, /dev/null as its standard streams, the administrator's signals blocked
    /// (what ends the parent must not end the one that cleans up after it) and no descriptors but its end of the pair
    /// and `keep`. It runs `body`, whose result is its exit code. `name`, of 15 bytes at most, is what ps(1) shows.
    pub(super) fn spawn(
        name: &'static CStr,
        keep: &[RawFd],
        body: impl FnOnce(Link) -> Exit,
    ) -> Result<Self> {
        let fail = |e| Error::new(Exit::Os, format!("start {}", name.to_string_lossy()), e);
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = pair.map_err(fail)?;
        match fork().map_err(fail)? {
            ForkResult::Parent { child } => Ok(Self { pid: child, link: Link(ours) }),
            ForkResult::Child => {
                let mut keep = keep.to_vec();
                keep.push(theirs.as_raw_fd());
                // SAFETY: what the closed descriptors belonged to lies on the parent's part of the stack, which `run`
                // never returns to; body has been told with `keep` what it may use.
                unsafe { descriptors::close_others(&keep) };
                // Only for people.
                let _ = prctl::set_name(name);
                run(move || body(Link(theirs)))
            }
        }
    }

    /// The socket to the child.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits for at most `limit` until the child has closed its end, then collects its status. False if it is still
    /// there; it becomes an orphan that finishes by itself.
    pub(super) fn reap(&self, limit: Duration) -> bool {
        let gone = matches!(self.link.receive(Some(limit)), Received::End);
        gone && waitpid(self.pid, None).is_ok()
    }
}

/// fork(2).
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: this program starts no threads, so the child's memory is whole: no lock is held by a thread that
    // does not exist there, and it may allocate.
    unsafe { nix::unistd::fork() }
}

/// The rest of a child's life.
fn run(body: impl FnOnce() -> Exit) -> ! {
    let prepared = setsid().is_ok() && signals::block().is_ok() && descriptors::silence_standard().is_ok();
    let exit =
        if prepared { catch_unwind(AssertUnwindSafe(body)).unwrap_or(Exit::Software) } else { Exit::Os };
    // SAFETY: ends the process without running what the parent has registered for its own exit.
    unsafe { libc::_exit(exit as i32) }
}

/// One end of the pair: whole messages, in order, of at most [`MESSAGE`] bytes.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// The outcome of [`Link::receive`].
#[derive(Debug)]
pub(super) enum Received {
    /// A message, never empty.
    Message(Vec<u8>),
    /// The other end is closed.
    End,
    /// Nothing came in time.
    Nothing,
}

impl Link {
    /// Sends one message, which must not be empty: that would look like the end.
    pub(super) fn send(&self, message: &[u8]) -> nix::Result<()> {
        send(self.0.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    /// The next message, waiting for at most `limit`, or for ever.
    pub(super) fn receive(&self, limit: Option<Duration>) -> Received {
        if !readable(self.0.as_fd(), limit) {
            return Received::Nothing;
        }
        let mut buffer = vec![0; MESSAGE];
        match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Received::End,
            Ok(length) => {
                buffer.truncate(length);
                Received::Message(buffer)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// Waits until something can be received, `limit` at most.
    pub(super) fn wait(&self, limit: Duration) {
        readable(self.0.as_fd(), Some(limit));
    }

    /// The descriptor, to wait for this link and others.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The file descriptor, for an event loop.
    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether `fd` has something to read, or has ended, within `limit`.
pub(super) fn readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> bool {
    let start = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        // Rounded up: a wait that ends a little early would spin through its last millisecond.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_some_and(|left| !left.is_zero()) => {}
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
