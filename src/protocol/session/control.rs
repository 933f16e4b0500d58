//! The protocol's own packets inside a session: keepalive, bye and its answer, and the messages of a rekey.

use super::closing::Farewell;
use super::{Action, CONTROL, Session};
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
            // A later version may know more; it asks only what an unknown word may be skipped for.
            _ => Err(Reject::Malformed),
        }
    }
}
