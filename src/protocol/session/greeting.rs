//! Handshakes: as the end that starts, and as the end that answers.

use std::time::Duration;

use super::control::{REKEY_FIRST, REKEY_SECOND};
use super::path_mtu::PathMtu;
use super::{Action, Event, Session};
use crate::protocol::envelope;
use crate::protocol::epoch::Epoch;
use crate::protocol::handshake::{Call, Carriage, Initiation, MESSAGE, PADDING};
use crate::protocol::hello::{Aeads, Hello, Mismatch, Unreadable};
use crate::protocol::noise::TransportKeys;
use crate::protocol::reject::Reject;
use crate::protocol::session::Opened;
use crate::protocol::timers::Timers;
use crate::protocol::{Entropy, Moment, Time, random_up_to};

/// The lengths that a handshake in an envelope can have.
const LENGTHS: std::ops::RangeInclusive<usize> =
    envelope::OVERHEAD + MESSAGE..=envelope::OVERHEAD + MESSAGE + PADDING as usize + 512;

/// Own messages after which a crossing one is answered all the same: ours do not seem to arrive.
const YIELD_AFTER: u32 = 3;

/// Unanswered messages between two events that say so.
const TELL_EVERY: u32 = 4;

/// After a refusal, the next try waits this many times the longest pause.
const REFUSED_PAUSES: u32 = 8;

/// A first message of ours without an answer.
pub(super) struct Outstanding {
    /// In one place: it holds the ephemeral key, and a move leaves a copy behind.
    initiation: Box<Initiation>,
    attempts: u32,
    /// Of these, those to the present address since the pauses began anew.
    here: u32,
    /// Before the next one; zero where the pauses begin anew.
    pause: Duration,
    sent_at: Time,
    pub(super) retry_at: Time,
}

/// Keys of an answer that the caller has not confirmed.
pub(super) struct HalfOpen<P> {
    epoch: Epoch,
    carriage: Carriage,
    theirs: Hello,
    path: P,
}

impl Outstanding {
    pub(super) fn carriage(&self) -> Carriage {
        self.initiation.carriage
    }

    /// The next one goes out at this time at the latest, and is the first of a new row.
    pub(super) fn begin_anew(&mut self, at: Time) {
        self.retry_at = self.retry_at.min(at);
        self.pause = Duration::ZERO;
        self.here = 0;
    }
}

impl<P> HalfOpen<P> {
    pub(super) fn born(&self) -> Time {
        self.epoch.born
    }

    /// When it is forgotten. A peer in a session has proved itself; its new keys wait for the next packet, however
    /// late it is.
    pub(super) fn gone_at(&self, timers: &Timers) -> Time {
        match self.carriage {
            Carriage::Envelope => self.born() + timers.half_open,
            Carriage::Session => self.born() + timers.expire_after,
        }
    }
}

impl<P: Copy + Eq> Session<P> {
    /// Sends a first message and sets the time of the next.
    #[inline(never)]
    pub(super) fn initiate(&mut self, moment: &Moment, carriage: Carriage, entropy: &mut dyn Entropy) {
        let Some(path) = self.path else { return };
        self.untidy = true;
        let (attempts, here, pause) = match &self.outstanding {
            Some(last) => (last.attempts + 1, last.here + 1, last.pause * 2),
            None => (1, 1, Duration::ZERO),
        };
        let pause = pause.max(self.timers.retry_first).min(self.timers.retry_most);
        self.record.sent = moment.wall.max(self.record.sent.saturating_add(1));
        let passed = self.path_mtu.as_ref().map_or(0, PathMtu::known) as u16;
        let hello = Hello { stamp: self.record.sent, passed, ..self.ours };
        let (initiation, message) = Initiation::write(carriage, &self.secrets, &hello, entropy);
        match carriage {
            Carriage::Session => {
                self.send_control(moment.now, REKEY_FIRST, &message, entropy);
                if self.current.is_none() {
                    return;
                }
            }
            Carriage::Envelope => {
                let padding = usize::from(random_up_to(PADDING, entropy));
                let datagram = envelope::seal(&self.secrets.envelopes[0], &message, padding, entropy);
                self.actions.push_back(Action::Persist(self.record));
                self.actions.push_back(Action::Send { datagram, path });
            }
        }
        let retry_at = moment.now + jittered(pause, entropy);
        let initiation = Box::new(initiation);
        let sent_at = moment.now;
        self.outstanding = Some(Outstanding { initiation, attempts, here, pause, sent_at, retry_at });
        if here % TELL_EVERY == 0 {
            self.tell(Event::Unanswered { attempts });
        }
    }

    /// A datagram under no keys of ours: a handshake, or a stranger.
    pub(super) fn open_handshake(
        &mut self,
        moment: &Moment,
        path: P,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), Reject> {
        if !LENGTHS.contains(&datagram.len()) {
            return Err(Reject::Unknown);
        }
        // Opening in place destroys what is not for that key.
        let mut copy = [0; *LENGTHS.end()];
        let copy = &mut copy[..datagram.len()];
        copy.copy_from_slice(datagram);
        if let Some(message) = envelope::open(&self.secrets.envelopes[0], copy) {
            let padding = datagram.len() - envelope::OVERHEAD - message.len();
            return self.take_first(moment, Carriage::Envelope, path, message, padding, entropy);
        }
        let waiting = self.outstanding.as_ref().is_some_and(|o| o.carriage() == Carriage::Envelope);
        let message = waiting.then(|| envelope::open(&self.secrets.envelopes[1], datagram)).flatten();
        self.take_second(moment, Carriage::Envelope, path, message.ok_or(Reject::Unknown)?, entropy)
    }

    /// A first message: judged by everything that is cheap, then answered. `padding` is how much it carried.
    #[inline(never)]
    pub(super) fn take_first(
        &mut self,
        moment: &Moment,
        carriage: Carriage,
        path: P,
        message: &mut [u8],
        padding: usize,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Reject> {
        let call = Call::read(carriage, &self.secrets, message).map_err(|why| self.reject(why, path))?;
        let theirs = call.theirs;
        if self.is_own(&theirs) {
            return Err(Reject::Reflected);
        }
        if carriage == Carriage::Envelope && theirs.stamp <= self.record.seen {
            return Err(Reject::Stale);
        }
        if carriage == Carriage::Envelope {
            // Spent even if it crosses ours: a stranger would get an answer to it later.
            self.record.seen = theirs.stamp;
            self.actions.push_back(Action::Persist(self.record));
        }
        let (hello, mismatch) = self.judge(&theirs);
        if mismatch.is_none() {
            self.yield_or_reject(carriage, &theirs)?;
        }
        self.untidy = true;
        let (keys, answer) = call.answer(&hello, entropy).map_err(|why| self.reject(why, path))?;
        match mismatch {
            Some(mismatch) => self.tell(Event::Mismatched { mismatch, path }),
            None => {
                // Whoever calls now would otherwise find the door closing.
                self.call_off();
                self.keep_half_open(moment, carriage, path, theirs, hello.aeads, &keys);
            }
        }
        match carriage {
            Carriage::Session => self.send_control(moment.now, REKEY_SECOND, &answer, entropy),
            Carriage::Envelope => {
                // Never longer than what it answers.
                let most = padding.min(usize::from(PADDING)) as u16;
                let padding = usize::from(random_up_to(most, entropy));
                let datagram = envelope::seal(&self.secrets.envelopes[1], &answer, padding, entropy);
                self.actions.push_back(Action::Send { datagram, path });
            }
        }
        if mismatch.is_some() { Err(Reject::Mismatch) } else { Ok(()) }
    }

    /// The answer to our first message.
    #[inline(never)]
    pub(super) fn take_second(
        &mut self,
        moment: &Moment,
        carriage: Carriage,
        path: P,
        message: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), Reject> {
        let outstanding = self.outstanding.as_ref().ok_or(Reject::Unknown)?;
        if outstanding.carriage() != carriage {
            return Err(Reject::Unknown);
        }
        self.untidy = true;
        let sent_at = outstanding.sent_at;
        let read = outstanding.initiation.read(message);
        let (theirs, keys) = read.map_err(|why| self.reject(why, path))?;
        let mismatch = self.ours.mismatch(&theirs).or(theirs.refused.then_some(Mismatch::Cipher));
        if let Some(mismatch) = mismatch {
            let pause = self.timers.retry_most * REFUSED_PAUSES;
            self.outstanding.as_mut().into_iter().for_each(|ours| ours.retry_at = moment.now + pause);
            self.tell(Event::Mismatched { mismatch, path });
            return Err(Reject::Mismatch);
        }
        let epoch = Epoch::new(&keys, theirs.aeads, true, moment.now).ok_or(Reject::Malformed)?;
        // Each message has an ephemeral key of its own: this is the answer to the last one.
        self.round_trip.measured(moment.now.saturating_sub(sent_at));
        // An answer inside the session may be an old packet, held back: it moves nobody.
        let path = if carriage == Carriage::Session { self.path.unwrap_or(path) } else { path };
        self.outstanding = None;
        self.establish(moment, HalfOpen { epoch, carriage, theirs, path }, entropy);
        self.confirm = true;
        Ok(())
    }

    /// Tries the keys of unconfirmed answers; the first packet under one of them confirms it.
    pub(super) fn open_half_open(
        &mut self,
        moment: &Moment,
        path: P,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Option<Result<Opened, Reject>> {
        let (slot, counter) = self.half_open.iter().enumerate().find_map(|(slot, half)| {
            let half = half.as_ref().filter(|half| moment.now < half.gone_at(&self.timers))?;
            Some((slot, half.epoch.plausible(datagram)?))
        })?;
        let half = self.half_open.get_mut(slot)?;
        let opened = match half.as_mut()?.epoch.open(counter, datagram) {
            Ok(opened) => opened,
            Err(reject) => return Some(Err(reject)),
        };
        let confirmed = half.take()?;
        // The caller confirms at once; a later packet does it where that one was lost.
        if opened.counter == 0 {
            self.round_trip.measured(moment.now.saturating_sub(confirmed.born()));
        }
        if self.current.as_ref().is_some_and(|current| current.born > confirmed.born()) {
            // A later handshake was faster; both ends go on under its keys.
            self.previous = Some(confirmed.epoch);
            self.untidy = true;
            return Some(Ok(self.take_late(moment.now, opened)));
        }
        self.outstanding = None;
        self.establish(moment, HalfOpen { path, ..confirmed }, entropy);
        Some(self.take(moment, path, opened, datagram, entropy))
    }

    /// Our own message, of this process or an earlier one; listeners do not call each other. The stamp tells it from that
    /// of an end whose record was copied from ours.
    fn is_own(&self, theirs: &Hello) -> bool {
        let sent = theirs.instance == self.ours.instance && theirs.stamp <= self.record.sent;
        sent || theirs.listener && self.ours.listener
    }

    /// Where both ends start at once, the smaller instance yields.
    fn yield_or_reject(&mut self, carriage: Carriage, theirs: &Hello) -> Result<(), Reject> {
        let Some(ours) = &self.outstanding else { return Ok(()) };
        // Who calls although there is a session has lost its keys, and cannot answer a rekey.
        let lost = ours.carriage() == Carriage::Session && carriage == Carriage::Envelope;
        if !lost && self.ours.instance > theirs.instance && ours.attempts <= YIELD_AFTER {
            return Err(Reject::Crossed);
        }
        self.outstanding = None;
        Ok(())
    }

    /// Counts a message that cannot be read; another version is worth words.
    fn reject(&mut self, why: Unreadable, path: P) -> Reject {
        match why {
            Unreadable::Forged => Reject::Unknown,
            Unreadable::Malformed => Reject::Malformed,
            Unreadable::Version(version) => {
                self.tell(Event::Mismatched { mismatch: Mismatch::Version(version), path });
                Reject::Version
            }
        }
    }

    /// Our hello for an answer, and why it is a refusal if it is one.
    fn judge(&self, theirs: &Hello) -> (Hello, Option<Mismatch>) {
        let aead = self.ours.aeads.choose(theirs.aeads);
        let mismatch = self.ours.mismatch(theirs).or(aead.is_none().then_some(Mismatch::Cipher));
        let hello = Hello {
            stamp: theirs.stamp,
            refused: mismatch.is_some(),
            aeads: aead.unwrap_or(self.ours.aeads),
            ..self.ours
        };
        (hello, mismatch)
    }

    fn keep_half_open(
        &mut self,
        moment: &Moment,
        carriage: Carriage,
        path: P,
        theirs: Hello,
        aead: Aeads,
        keys: &TransportKeys,
    ) {
        let Some(epoch) = Epoch::new(keys, aead, false, moment.now) else { return };
        // The slot that is free, else the oldest.
        let slot = self.half_open.iter_mut().min_by_key(|half| half.as_ref().map(HalfOpen::born));
        if let Some(slot) = slot {
            *slot = Some(HalfOpen { epoch, carriage, theirs, path });
        }
    }

    /// New keys take over; the old ones still open what is under way.
    fn establish(&mut self, moment: &Moment, new: HalfOpen<P>, entropy: &mut dyn Entropy) {
        let HalfOpen { epoch, carriage, theirs, path } = new;
        let age = if epoch.initiator {
            self.timers.rekey_after
        } else {
            self.timers.rekey_after + self.timers.rekey_grace
        };
        self.rekey_at = moment.now + jittered(age, entropy);
        let aead = epoch.aead;
        self.passed = usize::from(theirs.passed);
        self.untidy = true;
        self.previous = self.current.replace(epoch);
        self.wanted = false;
        self.asleep = None;
        self.silent = false;
        self.silent_at = None;
        self.announce_at = None;
        self.rekey_wanted = false;
        self.ping_timed_out = false;
        self.call_off();
        self.heard_at = moment.now;
        match carriage {
            Carriage::Envelope => {
                self.path = Some(path);
                // Who was called may have had to wake.
                self.round_trip.take_for_rough();
                self.tell(Event::Established { theirs, aead, path });
            }
            Carriage::Session => {
                self.roam(path);
                self.tell(Event::Rekeyed);
            }
        }
    }
}

/// A tenth more or less.
fn jittered(duration: Duration, entropy: &mut dyn Entropy) -> Duration {
    duration * 9 / 10 + duration / 5000 * u32::from(random_up_to(1000, entropy))
}
