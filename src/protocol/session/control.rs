//! The protocol's own packets inside a session: keepalive, bye and its answer, and the messages of a rekey.

use super::closing::Farewell;
use super::path_mtu::{PathMtu, Probe};
use super::{ASK, Action, CONTROL, Event, Session};
use crate::protocol::epoch::{HEAD, TAIL};
use crate::protocol::handshake::{Carriage, MESSAGE};
use crate::protocol::reject::Reject;
use crate::protocol::{Entropy, Moment, Time, random_up_to};

/// A keepalive: acknowledges, confirms, keeps an address translation open. Nothing but padding follows.
pub const KEEPALIVE: u8 = 0;
/// The sender goes away; a [`Farewell`] follows.
pub const BYE: u8 = 1;
/// The answer to a bye: nothing more will be sent under these keys.
pub const BYE_ANSWER: u8 = 2;
/// The first message of a handshake follows.
pub const REKEY_FIRST: u8 = 3;
/// The second message of a handshake follows.
pub const REKEY_SECOND: u8 = 4;
/// A datagram that asked for it has arrived; its length (2, little endian) follows.
pub const ARRIVED: u8 = 5;

/// The most padding of a control packet; lengths vary by it.
pub const PADDING: u16 = 127;

impl<P: Copy + Eq> Session<P> {
    /// Seals a control packet under the current keys and queues it.
    pub(super) fn send_control(&mut self, now: Time, kind: u8, body: &[u8], entropy: &mut dyn Entropy) {
        let (Some(path), Some(epoch)) = (self.path, self.current.as_mut()) else { return };
        let padding = usize::from(random_up_to(PADDING, entropy));
        let mut datagram = vec![0; HEAD + 1 + body.len() + padding + TAIL];
        datagram[HEAD] = kind;
        datagram[HEAD + 1..][..body.len()].copy_from_slice(body);
        if epoch.seal(CONTROL, &mut datagram) {
            self.note_sent(now);
            self.actions.push_back(Action::Send { datagram, path });
        } else {
            // The counters are used up: what is due must not stay due.
            self.expire();
        }
    }

    /// Sends all probes of the path that are due, and tells what they have found.
    pub(super) fn probe_path(&mut self, now: Time, entropy: &mut dyn Entropy) {
        while let Some(probe) = self.path_mtu.as_mut().and_then(|path| path.next_probe(now)) {
            let length = match probe {
                Probe::Long(length) => length,
                Probe::Short => HEAD + 1 + usize::from(random_up_to(PADDING, entropy)) + TAIL,
            };
            let (Some(path), Some(epoch)) = (self.path, self.current.as_mut()) else { return };
            // A keepalive that asks.
            let mut datagram = vec![0; length];
            if !epoch.seal(CONTROL | ASK, &mut datagram) {
                return self.expire();
            }
            self.round_trip.asked(now, length);
            self.note_sent(now);
            self.actions.push_back(Action::Send { datagram, path });
        }
        self.tell_path();
    }

    fn take_arrived(&mut self, now: Time, length: usize) {
        self.round_trip.answered(now, length);
        if let Some(path) = &mut self.path_mtu {
            path.passed(now, length);
        }
        self.tell_path();
    }

    fn tell_path(&mut self) {
        if let Some(most) = self.path_mtu.as_mut().and_then(PathMtu::take_news) {
            self.tell(Event::PathMtu(most));
        }
    }

    pub(super) fn take_control(
        &mut self,
        moment: &Moment,
        path: P,
        counter: u64,
        message: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), Reject> {
        let (kind, body) = message.split_first_mut().ok_or(Reject::Malformed)?;
        match *kind {
            KEEPALIVE => Ok(()),
            BYE => {
                let farewell =
                    body.first().copied().and_then(Farewell::from_byte).ok_or(Reject::Malformed)?;
                self.take_bye(moment.now, counter, farewell, entropy);
                Ok(())
            }
            BYE_ANSWER => {
                self.take_bye_answer(moment.now, counter);
                Ok(())
            }
            // Overtaken by its sender's bye: an answer would wake who has gone.
            REKEY_FIRST if self.asleep.is_some() => Ok(()),
            REKEY_FIRST => {
                let message = body.get_mut(..MESSAGE).ok_or(Reject::Malformed)?;
                self.take_first(moment, Carriage::Session, path, message, 0, entropy)
            }
            REKEY_SECOND => {
                let message = body.get_mut(..MESSAGE).ok_or(Reject::Malformed)?;
                self.take_second(moment, Carriage::Session, path, message, entropy)
            }
            ARRIVED => {
                let length = *body.first_chunk().ok_or(Reject::Malformed)?;
                self.take_arrived(moment.now, usize::from(u16::from_le_bytes(length)));
                Ok(())
            }
            // A later version may know more; it asks only what an unknown word may be skipped for.
            _ => Err(Reject::Malformed),
        }
    }
}
