//! This end has moved, or has not run for a while: the peer is told at once, and nobody is woken.

use super::control::KEEPALIVE;
use super::{ASK, Action, CONTROL, Session};
use crate::protocol::epoch::{HEAD, TAIL};
use crate::protocol::{Entropy, Moment, Time, random_up_to};

impl<P: Copy + Eq> Session<P> {
    /// This end's own address has changed, or its network has come back; `path` leads to the peer from there.
    ///
    /// In a session the peer hears of it at once, and again until it has answered; without an answer it is called. A call
    /// under way goes out at once. A peer that has said bye is not woken.
    pub fn moved(&mut self, moment: &Moment, path: P, entropy: &mut dyn Entropy) {
        self.turn_to(moment.now, path);
        if self.can_seal(moment.now) && self.closing.is_none() {
            // What was sent the other way has nothing to say about this one.
            self.silent_at = Some(moment.now + self.timers.silence);
            self.announce(moment.now, entropy);
        }
    }

    /// This end has not run for so long that the peer may have given it up, said bye, or moved: it is called anew, at
    /// once, unless it had said bye before, or there was nothing to go on with.
    pub fn resume(&mut self) {
        if self.wanted || self.current.is_some() && self.asleep.is_none() {
            self.restart();
        }
    }

    /// A keepalive that asks for an answer.
    pub(super) fn announce(&mut self, now: Time, entropy: &mut dyn Entropy) {
        self.announce_at = None;
        let (Some(path), Some(epoch)) = (self.path, self.current.as_mut()) else { return };
        let padding = usize::from(random_up_to(super::control::PADDING, entropy));
        let mut datagram = vec![0; HEAD + 1 + padding + TAIL];
        datagram[HEAD] = KEEPALIVE;
        if !epoch.seal(CONTROL | ASK, &mut datagram) {
            return self.expire();
        }
        self.note_sent(now);
        self.announce_at = Some(now + self.timers.retry_first);
        self.actions.push_back(Action::Send { datagram, path });
    }

    /// When the next one is due, if nothing is heard before.
    pub(super) fn announce_deadline(&self, now: Time) -> Option<Time> {
        self.announce_at.filter(|_| self.closing.is_none() && self.can_seal(now))
    }
}
