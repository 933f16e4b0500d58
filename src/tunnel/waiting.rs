//! What may be read or written, and when to wait for more.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::Tunnel;
use super::ending::StatusFile;
use crate::error::{Error, Exit, Result};
use crate::protocol::{Moment, Time};

pub(super) const SOCKET: Token = Token(0);
pub(super) const DEVICE: Token = Token(1);
pub(super) const SIGNALS: Token = Token(2);
pub(super) const RESOLVER: Token = Token(3);
pub(super) const NETWORK: Token = Token(4);
pub(super) const CLOCK: Token = Token(5);

/// What edges have told and no `EAGAIN` has taken back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) udp_in: bool,
    pub(super) udp_out: bool,
    pub(super) device_in: bool,
    pub(super) signals: bool,
    pub(super) resolver: bool,
    pub(super) network: bool,
    pub(super) clock: bool,
}

impl Ready {
    /// Before the first wait everything is worth a try.
    pub(super) fn all() -> Self {
        Self {
            udp_in: true,
            udp_out: true,
            device_in: true,
            signals: true,
            resolver: true,
            ..Self::default()
        }
    }
}

impl Tunnel {
    /// Waits for the next edge or deadline; not at all while there is work left.
    pub(super) fn wait(&mut self, moment: &Moment, other: Option<Time>) -> Result<()> {
        let deadline = [
            self.session.deadline(moment.now),
            self.activity.deadline(),
            self.remotes.deadline(),
            self.host_deadline(),
            self.status.as_ref().map(StatusFile::deadline),
            self.telling.as_ref().and_then(|telling| telling.deadline(&self.counters)),
            other,
        ]
        .into_iter()
        .flatten()
        .min();
        let timeout = match deadline {
            _ if self.work_is_left(moment.now) => Some(Duration::ZERO),
            // epoll counts in milliseconds, and mio rounds up.
            deadline => deadline.map(|deadline| deadline.saturating_sub(moment.now)),
        };
        self.expect_to_wake(moment.now, timeout.map(|timeout| moment.now + timeout));
        match self.poll.poll(&mut self.events, timeout) {
            Err(cause) if cause.kind() != ErrorKind::Interrupted => {
                return Err(Error::new(Exit::Os, "wait for packets", cause));
            }
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                SOCKET => {
                    self.ready.udp_in |= event.is_readable();
                    self.ready.udp_out |= event.is_writable();
                }
                DEVICE => self.ready.device_in = true,
                SIGNALS => self.ready.signals = true,
                RESOLVER => self.ready.resolver = true,
                NETWORK => self.ready.network = true,
                CLOCK => self.ready.clock = true,
                _ => {}
            }
        }
        if self.ready.udp_out && self.outbound.is_waiting() {
            self.watch_room(false)?;
        }
        Ok(())
    }

    pub(super) fn work_is_left(&self, now: Time) -> bool {
        let inbound = self.ready.udp_in && self.remotes.known();
        let outbound = self.device.is_some()
            && !self.leaving()
            && match self.outbound.held {
                _ if self.outbound.is_waiting() => self.ready.udp_out,
                Some(_) => self.session.can_seal(now),
                None => self.ready.device_in,
            };
        inbound || outbound
    }

    /// Whether writability is watched: only while something waits for it, or each send would wake the loop.
    pub(super) fn watch_room(&mut self, watch: bool) -> Result<()> {
        let readiness = if watch { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.ready.udp_out = !watch;
        self.poll
            .registry()
            .reregister(&mut SourceFd(&self.udp.as_raw_fd()), SOCKET, readiness)
            .map_err(|cause| Error::new(Exit::Os, "watch the socket", cause))
    }

    pub(super) fn register(&self, fd: RawFd, token: Token) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// For a while, or for good.
    pub(super) fn unregister(&self, fd: RawFd) {
        // It fails for what is not registered.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}
