//! What is due without traffic. One deadline each, none repeats by itself, nothing ticks.

use super::control::KEEPALIVE;
use super::path_mtu::PathMtu;
use super::{Event, Session};
use crate::protocol::handshake::Carriage;
use crate::protocol::timers::{due, earliest};
use crate::protocol::{Entropy, Moment, Time};

impl<P: Copy + Eq> Session<P> {
    /// When [`on_deadline`](Self::on_deadline) is to be called next, if nothing happens before; zero is at once.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        earliest([
            self.handshake_deadline(),
            self.keys_deadline(),
            self.confirm.then_some(Time::ZERO),
            self.acknowledge_at,
            self.silence_deadline(),
            self.ping_deadline(now),
            self.ping_timeout_deadline(now),
            self.closing_deadline(now),
            self.path_deadline(now),
            self.announce_deadline(now),
        ])
    }

    /// Does everything whose deadline has come.
    pub fn on_deadline(&mut self, moment: &Moment, entropy: &mut dyn Entropy) {
        self.forget_old_keys(moment.now);
        if due(self.silence_deadline(), moment.now) {
            self.silent = true;
            self.wanted = true;
            self.silent_at = None;
            self.outstanding = None;
            self.announce_at = None;
            self.tell(Event::Silent);
        }
        if due(self.ping_timeout_deadline(moment.now), moment.now) {
            self.ping_timed_out = true;
            self.tell(Event::PingTimeout);
        }
        self.close_on_deadline(moment, entropy);
        if due(self.handshake_deadline(), moment.now) {
            let carriage = if self.wanted { Carriage::Envelope } else { Carriage::Session };
            self.initiate(moment, carriage, entropy);
        }
        if due(self.path_deadline(moment.now), moment.now) {
            self.probe_path(moment.now, entropy);
        }
        if due(self.announce_deadline(moment.now), moment.now) {
            self.announce(moment.now, entropy);
        }
        let keepalive = self.confirm
            || due(self.acknowledge_at, moment.now)
            || due(self.ping_deadline(moment.now), moment.now);
        if keepalive {
            self.confirm = false;
            self.acknowledge_at = None;
            // A keepalive to an end that has gone would wake it.
            if self.can_seal(moment.now) {
                self.send_control(moment.now, KEEPALIVE, &[], entropy);
            }
        }
    }

    /// At once if a handshake is wanted, later if one is under way, ours or the peer's.
    fn handshake_deadline(&self) -> Option<Time> {
        self.path?;
        if let Some(outstanding) = &self.outstanding {
            return Some(outstanding.retry_at);
        }
        let rekey = self.rekey_wanted && self.asleep.is_none() && self.closing.is_none();
        if !self.wanted && !rekey {
            return None;
        }
        // An answer that waits for its confirmation is likely to make another handshake needless.
        let answered =
            self.half_open.iter().flatten().map(|half| half.born() + self.timers.retry_first).max();
        // Who said bye is on its way out, and the super-server throws away what comes before it listens again.
        let left = self.asleep.map(|_| self.asleep_at + self.timers.leave);
        Some(answered.max(left).unwrap_or_default())
    }

    /// When the oldest of all keys are to be wiped.
    fn keys_deadline(&self) -> Option<Time> {
        let epochs = [&self.current, &self.previous];
        let expiry = epochs.into_iter().flatten().map(|epoch| epoch.born + self.timers.expire_after).min();
        let half = self.half_open.iter().flatten().map(|half| half.gone_at(&self.timers)).min();
        earliest([expiry, half])
    }

    fn silence_deadline(&self) -> Option<Time> {
        self.silent_at.filter(|_| !self.silent && self.asleep.is_none())
    }

    fn ping_deadline(&self, now: Time) -> Option<Time> {
        self.timers.ping.filter(|_| self.can_seal(now)).map(|ping| self.sent_at + ping)
    }

    /// The path is not tried on the way out, and not without keys.
    fn path_deadline(&self, now: Time) -> Option<Time> {
        let path = self.path_mtu.as_ref().filter(|_| self.closing.is_none() && self.can_seal(now));
        path.and_then(PathMtu::deadline)
    }

    fn ping_timeout_deadline(&self, now: Time) -> Option<Time> {
        let armed = self.is_up(now) && !self.ping_timed_out;
        self.timers.ping_timeout.filter(|_| armed).map(|timeout| self.heard_at + timeout)
    }

    fn forget_old_keys(&mut self, now: Time) {
        let expire_after = self.timers.expire_after;
        let timers = self.timers;
        self.untidy |= self.previous.take_if(|epoch| now >= epoch.born + expire_after).is_some();
        for half in &mut self.half_open {
            self.untidy |= half.take_if(|half| now >= half.gone_at(&timers)).is_some();
        }
        if self.current.is_some() && !self.usable(now) {
            self.expire();
        }
    }
}
