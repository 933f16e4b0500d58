//! Going away without losing a packet.
//!
//! A super-server throws away what is queued when its server exits. So the end that goes says bye, the other end
//! sends nothing more and says so, and what it had sent before arrives first. Its next packet is a new call.

use super::control::{BYE, BYE_ANSWER};
use super::{Event, Session};
use crate::protocol::timers::earliest;
use crate::protocol::{Entropy, Moment, Time};

/// Why an end goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Farewell {
    /// It naps: the next packet wakes it.
    Nap = 0,
    /// It was told to end.
    Exit = 1,
}

impl Farewell {
    /// The byte behind the word bye.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Nap),
            1 => Some(Self::Exit),
            _ => None,
        }
    }
}

pub(super) struct Closing {
    farewell: Farewell,
    bye_at: Time,
    give_up_at: Time,
    answer: Option<Answer>,
}

struct Answer {
    counter: u64,
    straggle_until: Time,
}

impl<P: Copy + Eq> Session<P> {
    /// Begins to say bye. Packets are still taken. [`Farewell::Nap`] is called off by everything that says that
    /// somebody wants to talk: a packet to seal, [`want`](Self::want), a call or a rekey of the peer.
    pub fn close(&mut self, now: Time, farewell: Farewell) {
        let give_up_at = now + self.timers.bye_most;
        self.closing = Some(Closing { farewell, bye_at: now, give_up_at, answer: None });
        if let Some(bye) = self.asleep {
            self.take_bye_answer(now, bye);
        }
    }

    /// Whether this end is saying bye.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether the bye is over: answered and everything arrived, in vain for too long, or nobody there to hear it.
    /// To be asked after every call that takes `&mut self`; no deadline points to what is over.
    pub fn is_closed(&self, now: Time) -> bool {
        let Some(closing) = &self.closing else { return false };
        let Some(epoch) = self.current.as_ref().filter(|_| self.usable(now)) else { return true };
        match &closing.answer {
            Some(answer) => epoch.complete_to(answer.counter) || now >= answer.straggle_until,
            None => now >= closing.give_up_at,
        }
    }

    /// Somebody wants to talk: no nap.
    pub(super) fn call_off(&mut self) {
        self.closing.take_if(|closing| closing.farewell == Farewell::Nap);
    }

    pub(super) fn take_bye(
        &mut self,
        now: Time,
        counter: u64,
        farewell: Farewell,
        entropy: &mut dyn Entropy,
    ) {
        // Where both go at once, the peer's bye is the answer to ours.
        self.take_bye_answer(now, counter);
        self.send_control(now, BYE_ANSWER, &[], entropy);
        self.asleep_at = now;
        if self.asleep.replace(counter).is_none() {
            self.tell(Event::Bye(farewell));
        }
        self.silent_at = None;
        self.drop_rekey();
    }

    pub(super) fn take_bye_answer(&mut self, now: Time, counter: u64) {
        let straggle_until = now + self.timers.straggle;
        if let Some(closing) = &mut self.closing {
            closing.answer.get_or_insert(Answer { counter, straggle_until });
        }
    }

    pub(super) fn closing_deadline(&self, now: Time) -> Option<Time> {
        let closing = self.closing.as_ref().filter(|_| !self.is_closed(now))?;
        match &closing.answer {
            Some(answer) => Some(answer.straggle_until),
            None => earliest([Some(closing.bye_at), Some(closing.give_up_at)]),
        }
    }

    pub(super) fn close_on_deadline(&mut self, moment: &Moment, entropy: &mut dyn Entropy) {
        let pause = self.timers.bye_retry;
        let Some(closing) = &mut self.closing else { return };
        if closing.answer.is_some() || moment.now < closing.bye_at {
            return;
        }
        closing.bye_at = moment.now + pause;
        let farewell = closing.farewell as u8;
        self.send_control(moment.now, BYE, &[farewell], entropy);
    }
}
