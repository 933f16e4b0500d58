//! How a tunnel ends: idle, told to, left by its peer, or never called in the first place.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::Tunnel;
use crate::os::clock;
use crate::os::signals::Signal;
use crate::protocol::{Farewell, Time};

/// A listener that was woken and not spoken to stays this long after the last datagram.
pub const LINGER: Duration = Duration::from_secs(10);

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Idle for the time of `inactive`.
    Inactive,
    /// Woken, but no peer proved itself.
    NoPeer,
    /// By a signal.
    Signal(Signal),
    /// The peer went away, and a super-server can wake the next process for it.
    PeerLeft,
    /// `ping-exit`: nothing was heard.
    PingExit,
}

impl End {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::NoPeer => "no-peer",
            Self::Signal(signal) => signal.name(),
            Self::PeerLeft => "remote-exit",
            Self::PingExit => "ping-exit",
        }
    }
}

/// Traffic against the idle timeout.
#[derive(Debug)]
pub(super) struct Activity {
    inactive: Option<(Duration, u64)>,
    since: Time,
    bytes: u64,
}

impl Activity {
    pub(super) fn new(inactive: Option<(Duration, u64)>, now: Time) -> Self {
        Self { inactive, since: now, bytes: 0 }
    }

    /// Counts a packet; enough bytes of them begin the time anew.
    pub(super) fn note(&mut self, now: Time, bytes: usize) {
        self.bytes += bytes as u64;
        if self.inactive.is_none_or(|(_, enough)| self.bytes >= enough) {
            self.restart(now);
        }
    }

    pub(super) fn restart(&mut self, now: Time) {
        self.since = now;
        self.bytes = 0;
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.inactive.map(|(after, _)| self.since + after)
    }
}

/// The file of the `status` directive.
pub(super) struct StatusFile {
    file: File,
    every: Duration,
    at: Time,
}

impl StatusFile {
    pub(super) fn new(file: File, every: Duration, now: Time) -> Self {
        Self { file, every, at: now }
    }

    pub(super) fn deadline(&self) -> Time {
        self.at
    }

    fn write(&mut self, now: Time, block: &str) {
        self.at = now + self.every;
        // A full disk must not end a tunnel, and the next time is never far.
        if self.file.write_all_at(block.as_bytes(), 0).is_ok() {
            let _ = self.file.set_len(block.len() as u64);
        }
    }
}

impl Tunnel {
    pub(super) fn end_if_idle(&mut self, now: Time) {
        // Sealing a packet has called the bye off: not idle after all.
        if self.end == Some(End::Inactive) && !self.session.is_closing() {
            self.end = None;
            self.looked = false;
        }
        let idle = self.activity.deadline().is_some_and(|deadline| deadline <= now);
        if idle && self.end.is_none() && self.device.is_some() {
            self.activity.restart(now);
            self.begin_to_end(now, End::Inactive);
        }
    }

    /// Says bye, unless that has begun for as good a reason.
    pub(super) fn begin_to_end(&mut self, now: Time, end: End) {
        if self.leaving() {
            return;
        }
        let farewell = if self.is_nap(end) { Farewell::Nap } else { Farewell::Exit };
        self.session.close(now, farewell);
        self.end = Some(end);
    }

    /// Whether this end can still be called off: only a super-server wakes the next process.
    fn is_nap(&self, end: End) -> bool {
        self.policy.inetd && end == End::Inactive
    }

    /// Told to end: what the device still gives has nowhere to go.
    pub(super) fn leaving(&self) -> bool {
        self.end.is_some_and(|end| !self.is_nap(end))
    }

    /// The end, once the peer has been told and nothing is left in socket and device.
    pub(super) fn ended(&mut self, now: Time) -> Option<End> {
        let end = self.end?;
        if !self.session.is_closed(now) {
            return None;
        }
        // One more look at both: what arrived meanwhile must not be thrown away with the socket's queue.
        if !self.looked {
            self.looked = true;
            self.ready.udp_in = true;
            self.ready.device_in = true;
            return None;
        }
        if self.work_is_left(now) {
            return None;
        }
        if end == End::Inactive && (self.outbound.is_holding() || self.outbound.is_waiting()) {
            // Somebody here wants to talk to a peer that has been told not to: it is called again.
            self.end = None;
            self.looked = false;
            return None;
        }
        Some(end)
    }

    pub(super) fn take_signals(&mut self, now: Time) {
        while self.ready.signals {
            match self.signals.next() {
                None => self.ready.signals = false,
                Some(Signal::User2) => {
                    log::info!(target: crate::log::MILESTONE, "statistics {}", self.counters.line());
                    self.write_status(now);
                }
                Some(signal @ (Signal::Hangup | Signal::User1)) if !self.policy.inetd => {
                    log::info!(
                        "{} received, calling the peer anew; the configuration is not read again",
                        signal.name()
                    );
                    self.lead_again();
                    self.session.restart();
                    self.call_again();
                }
                Some(signal) => self.begin_to_end(now, End::Signal(signal)),
            }
        }
    }

    pub(super) fn write_status_if_due(&mut self, now: Time) {
        if self.status.as_ref().is_some_and(|status| status.deadline() <= now) {
            self.write_status(now);
        }
    }

    /// Brings the status file up to date.
    pub(super) fn write_status(&mut self, now: Time) {
        let block = self.counters.block(&clock::local_time().to_string());
        if let Some(status) = &mut self.status {
            status.write(now, &block);
        }
    }

    /// Whether waiting for a peer is over.
    pub(super) fn waited_long_enough(&self, started: Time, now: Time) -> Option<End> {
        match self.end {
            Some(end) if self.session.is_closed(now) => Some(end),
            _ if self.linger_deadline(started).is_some_and(|deadline| deadline <= now) => Some(End::NoPeer),
            _ => None,
        }
    }

    /// Nobody woke a listener that runs by itself: it waits for ever.
    pub(super) fn linger_deadline(&self, started: Time) -> Option<Time> {
        self.policy.inetd.then(|| self.notes.heard_at().max(started) + LINGER)
    }
}
