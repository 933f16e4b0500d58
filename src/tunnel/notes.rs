//! What the log says of a peer: one event a line, a short phrase, then key=value.

use std::time::Duration;

use super::{End, Tunnel};
use crate::error::Error;
use crate::os::path::Path;
use crate::protocol::{Event, Farewell, Hello, Mismatch, Moment, Time};

/// What a stranger can cause is said this often at most.
const EVERY: Duration = Duration::from_secs(10);

/// What has been said, so that it is not said again.
pub(super) struct Notes {
    heard_at: Time,
    waiting_at: Time,
    moved_at: Option<Time>,
    path_at: Option<Time>,
    mismatch: Option<Mismatch>,
    unanswered: bool,
    established: bool,
    state_failed: bool,
    rejects: u64,
}

impl Notes {
    pub(super) fn new(now: Time) -> Self {
        Self {
            heard_at: now,
            waiting_at: now,
            moved_at: None,
            path_at: None,
            mismatch: None,
            unanswered: false,
            established: false,
            state_failed: false,
            rejects: 0,
        }
    }

    pub(super) fn heard_anything(&mut self, now: Time) {
        self.heard_at = now;
    }

    pub(super) fn heard_at(&self) -> Time {
        self.heard_at
    }

    pub(super) fn state_failed(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.state_failed, true) {
            log::warn!("{error}; a replayed call could be answered after a restart");
        }
    }
}

impl Tunnel {
    pub(super) fn note_event(&mut self, moment: &Moment, event: Event<Path>) {
        match event {
            Event::Established { theirs, aead, path } => {
                self.follow(path.remote.ip());
                self.remotes.note_answered(path.remote);
                self.begin_path(moment.now, path.remote.ip());
                self.telling.as_mut().into_iter().for_each(|telling| telling.begin_session(aead));
                self.note_established(&theirs, aead, path);
            }
            Event::Rekeyed => log::debug!("session rekeyed {}", peer(self.session.path())),
            Event::Mismatched { mismatch, path } => {
                self.note_mismatch(mismatch, path);
                self.turn_from_refusal(moment.now, path);
            }
            Event::Unanswered { attempts } => {
                self.note_unanswered(attempts);
                self.call_next(moment.now);
            }
            Event::Silent => {
                log::info!("peer silent, calling it again {}", peer(self.session.path()));
                self.call_again();
            }
            Event::Roamed { from, to } => {
                self.follow(to.remote.ip());
                self.begin_path(moment.now, to.remote.ip());
                self.note_moved(moment.now, from, to);
            }
            Event::Bye(farewell) => self.note_bye(moment.now, farewell),
            Event::PathMtu(most) => {
                self.keep_to_path();
                self.note_path_mtu(moment.now, most);
            }
            Event::PingTimeout if self.policy.ping_exit => self.begin_to_end(moment.now, End::PingExit),
            Event::PingTimeout if self.policy.inetd => self.begin_to_end(moment.now, End::PeerLeft),
            Event::PingTimeout => {
                log::info!("ping timeout, calling the peer again {}", peer(self.session.path()));
                self.session.restart();
                self.call_again();
            }
        }
    }

    fn note_established(&mut self, theirs: &Hello, aead: crate::protocol::Aeads, path: Path) {
        let after = if self.notes.unanswered { ", it answers again" } else { "" };
        log::info!("peer authenticated{after} peer={} cipher={aead} mtu={}", path.remote, theirs.mtu);
        if theirs.mtu != self.mtu {
            log::warn!(
                "peer has tun-mtu {}, this end {}: they should be equal peer={}",
                theirs.mtu,
                self.mtu,
                path.remote
            );
        }
        self.notes.unanswered = false;
        self.notes.mismatch = None;
        // A listener has no device yet; its tunnel is up a little later.
        if self.device.is_some() {
            self.note_complete();
        }
    }

    /// Wrappers wait for this line. Said once: a nap in between is not a new initialisation.
    pub(super) fn note_complete(&mut self) {
        if !std::mem::replace(&mut self.notes.established, true) {
            log::info!(target: crate::log::MILESTONE, "Initialization Sequence Completed {}", peer(self.session.path()));
        }
    }

    fn note_mismatch(&mut self, mismatch: Mismatch, path: Path) {
        if self.notes.mismatch.replace(mismatch) != Some(mismatch) {
            log::error!("settings do not match: {mismatch} peer={}", path.remote);
        }
    }

    fn note_unanswered(&mut self, attempts: u32) {
        if !std::mem::replace(&mut self.notes.unanswered, true) {
            log::warn!("no answer, trying for ever attempts={attempts} {}", peer(self.session.path()));
        }
    }

    /// Somebody on the path can pass authentic packets on from two addresses in turn: no line for each.
    fn note_moved(&mut self, now: Time, from: Path, to: Path) {
        let quiet = self.notes.moved_at.is_some_and(|at| now < at + EVERY);
        if from.remote != to.remote && !quiet {
            self.notes.moved_at = Some(now);
            log::info!("peer moved peer={} from={}", to.remote, from.remote);
        }
    }

    /// Somebody on the path can drop what is longer than he likes, now this and now that: no line for each.
    pub(super) fn note_path_mtu(&mut self, now: Time, most: usize) {
        if self.notes.path_at.is_some_and(|at| now < at + EVERY) {
            return;
        }
        self.notes.path_at = Some(now);
        if self.outbound.narrow {
            log::warn!("path is narrower than 1500 bytes, cutting datagrams at {most} bytes");
        } else {
            log::info!("path takes datagrams of {most} bytes");
        }
    }

    fn note_bye(&mut self, now: Time, farewell: Farewell) {
        let reason = match farewell {
            Farewell::Nap => "nap",
            Farewell::Exit => "exit",
        };
        log::info!("peer says bye reason={reason} {}", peer(self.session.path()));
        if self.policy.inetd {
            self.begin_to_end(now, End::PeerLeft);
        }
    }

    /// One line in ten seconds, and only if there is something new to say and no peer to hear it from.
    pub(super) fn note_waiting(&mut self, now: Time) {
        let rejects = self.counters.rejects.total();
        if self.session.is_up(now) {
            self.notes.rejects = rejects;
        } else if now >= self.notes.waiting_at + EVERY && rejects > self.notes.rejects {
            self.notes.waiting_at = now;
            self.notes.rejects = rejects;
            log::info!("waiting for a peer {}", self.counters.rejects);
        }
    }
}

pub(super) fn peer(path: Option<Path>) -> String {
    path.map_or_else(|| String::from("peer=unknown"), |path| format!("peer={}", path.remote))
}
