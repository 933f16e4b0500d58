//! One peer: its keys, counters, deadlines and address.
//!
//! The driver (tunnel.rs) seals what the device gives and opens what the socket gives; what else must be done comes
//! out of [`Session::next_action`], and when something is due without traffic out of [`Session::deadline`].
//! `P` is the path of a datagram. It is compared, kept and handed back, never looked into.

mod closing;
mod control;
mod deadlines;
mod greeting;
#[cfg(test)]
mod limits;
mod moving;
mod outcome;
mod path_mtu;
mod round_trip;

use std::collections::VecDeque;
use std::time::Duration;

use self::closing::Closing;
pub use self::closing::Farewell;
use self::control::ARRIVED;
use self::greeting::{HalfOpen, Outstanding};
pub use self::outcome::{Action, Event, Opened, Record};
pub use self::path_mtu::PathLimits;
use self::path_mtu::PathMtu;
use self::round_trip::RoundTrip;
use super::epoch::{Epoch, HEAD, OpenedPacket, TAIL};
use super::handshake::Carriage;
use super::hello::Hello;
use super::reject::Reject;
use super::secrets::Secrets;
use super::stack;
use super::timers::Timers;
use super::{Entropy, Moment, Time, random_up_to};

/// Bit of the inner byte: the packet is a message of the protocol, not one for the device.
pub const CONTROL: u8 = 0x80;

/// Bit of the inner byte: the peer is to say how long this datagram was when it arrived.
pub const ASK: u8 = 0x10;

/// How long after a handshake the path is tried, and how much later at most: not at the same time after each.
const PROBE_AFTER: Duration = Duration::from_millis(10);
const PROBE_JITTER: u16 = 90;

/// Half-open handshakes kept at a time.
pub const HALF_OPEN: usize = 4;

/// The state of the protocol with one peer.
pub struct Session<P> {
    secrets: Secrets,
    ours: Hello,
    timers: Timers,
    record: Record,

    current: Option<Epoch>,
    previous: Option<Epoch>,
    half_open: [Option<HalfOpen<P>>; HALF_OPEN],
    outstanding: Option<Outstanding>,
    closing: Option<Closing>,

    path: Option<P>,
    path_mtu: Option<PathMtu>,
    round_trip: RoundTrip,
    /// What the peer says has passed.
    passed: usize,
    /// A handshake is to be tried until there are keys.
    wanted: bool,
    /// The counter of the last packet under the current keys, if nothing else was opened since.
    newest_packet: Option<u64>,
    in_sequence: bool,
    /// The peer said bye, in the datagram with this counter.
    asleep: Option<u64>,
    /// When it said so last.
    asleep_at: Time,
    /// The peer has not answered what was sent; nothing more goes out under these keys.
    silent: bool,
    /// The peer waits for the first packet under the new keys.
    confirm: bool,
    rekey_wanted: bool,
    ping_timed_out: bool,

    rekey_at: Time,
    sent_at: Time,
    heard_at: Time,
    acknowledge_at: Option<Time>,
    silent_at: Option<Time>,
    /// The peer is told again where this end is.
    announce_at: Option<Time>,

    /// Keys came or went: their copies lie on the stack.
    untidy: bool,
    actions: VecDeque<Action<P>>,
}

impl<P: Copy + Eq> Session<P> {
    /// `ours` is the hello of this process; its stamp and ciphers are filled in for each handshake.
    /// `record` is what the last process of this tunnel stored; its instance goes on.
    pub fn new(secrets: Secrets, ours: Hello, record: Record, timers: Timers) -> Self {
        let instance = if record.instance == 0 { ours.instance } else { record.instance };
        Self {
            secrets,
            ours: Hello { instance, ..ours },
            timers,
            record: Record { instance, ..record },
            current: None,
            previous: None,
            half_open: [const { None }; HALF_OPEN],
            outstanding: None,
            closing: None,
            path: None,
            path_mtu: None,
            round_trip: RoundTrip::default(),
            passed: 0,
            wanted: false,
            newest_packet: None,
            in_sequence: false,
            asleep: None,
            asleep_at: Time::ZERO,
            silent: false,
            confirm: false,
            rekey_wanted: false,
            ping_timed_out: false,
            rekey_at: Time::ZERO,
            sent_at: Time::ZERO,
            heard_at: Time::ZERO,
            acknowledge_at: None,
            silent_at: None,
            announce_at: None,
            untidy: true,
            actions: VecDeque::new(),
        }
    }

    /// Whether a packet can be sealed now. If not, packets wait where they are, and [`want`](Self::want) is called.
    pub fn can_seal(&self, now: Time) -> bool {
        self.asleep.is_none() && !self.silent && self.usable(now)
    }

    /// Seals a packet in place: `datagram` is [`HEAD`] bytes of room, the packet, [`TAIL`] bytes of room.
    ///
    /// Returns the path to send it on; `None` if there are no keys.
    pub fn seal(&mut self, now: Time, inner: u8, datagram: &mut [u8]) -> Option<P> {
        if !self.can_seal(now) {
            return None;
        }
        let path = self.path?;
        let asks = self.path_mtu.as_mut().is_some_and(|path| path.asks(now, datagram.len()));
        let ask = if asks { ASK } else { 0 };
        if asks {
            self.round_trip.asked(now, datagram.len());
        }
        if !self.current.as_mut()?.seal(inner & !(CONTROL | ASK) | ask, datagram) {
            self.expire();
            return None;
        }
        self.call_off();
        self.silent_at.get_or_insert(now + self.timers.silence);
        self.note_sent(now);
        Some(path)
    }

    /// Opens a datagram in place and takes note of what it means.
    pub fn open(
        &mut self,
        moment: &Moment,
        path: P,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Opened {
        let before = self.newest_packet.take();
        self.in_sequence = false;
        if datagram.len() < HEAD + TAIL {
            return Opened::Rejected(Reject::Length);
        }
        let opened = match self.open_with_keys(moment, path, datagram, entropy) {
            Some(opened) => opened,
            None => self.open_handshake(moment, path, datagram, entropy).map(|()| Opened::Control),
        };
        self.in_sequence = before.zip(self.newest_packet).is_some_and(|(before, now)| now == before + 1);
        opened.unwrap_or_else(Opened::Rejected)
    }

    /// Whether the packet opened last was sealed directly after the one opened before it, under the same keys: nothing
    /// between them was lost. False where that is not certain.
    pub fn in_sequence(&self) -> bool {
        self.in_sequence
    }

    /// The next thing to do; ask until there is none after every call that takes `&mut self`.
    pub fn next_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    /// Overwrites what keys that came or went have left behind. To be called where the driver waits, so that the
    /// stack of whatever it called before lies below.
    pub fn tidy(&mut self) {
        if !std::mem::take(&mut self.untidy) {
            return;
        }
        if self.actions.is_empty() {
            // A small action takes the room of a large one, and the rest of it is what lay there on the stack.
            self.actions = VecDeque::new();
        }
        stack::wipe();
    }

    /// There is a packet to send: makes sure that a handshake is under way if there are no keys. A nap is called off.
    pub fn want(&mut self, now: Time) {
        if !self.can_seal(now) {
            self.wanted = true;
            self.call_off();
        }
    }

    /// Starts anew with a handshake, whatever there is (`ping-restart`, SIGHUP of a caller).
    pub fn restart(&mut self) {
        self.silent = true;
        self.wanted = true;
        self.outstanding = None;
    }

    /// Where the peer is to be called.
    pub fn set_path(&mut self, path: P) {
        self.path = Some(path);
    }

    /// Where the peer is to be called from now on, if it does not answer: the next call goes out at `at` if it would not
    /// before, and pauses begin with the shortest again. Without a call under way it is the same as
    /// [`set_path`](Self::set_path).
    pub fn turn_to(&mut self, at: Time, path: P) {
        self.path = Some(path);
        if let Some(ours) = self.outstanding.as_mut().filter(|ours| ours.carriage() == Carriage::Envelope) {
            ours.begin_anew(at);
        }
    }

    /// Where the peer is, if that is known.
    pub fn path(&self) -> Option<P> {
        self.path
    }

    /// What is known of the path to the peer, where it is another one than before. The end that called tries at once how
    /// long datagrams may be, if they may be as long as `limits` says; the other one when it first sends a long one.
    pub fn begin_path(&mut self, now: Time, limits: PathLimits, entropy: &mut dyn Entropy) {
        let called = self.current.as_ref().is_some_and(|epoch| epoch.initiator);
        let jitter = Duration::from_millis(random_up_to(PROBE_JITTER, entropy).into());
        let check_at = called.then_some(now + PROBE_AFTER + jitter);
        let start = if self.passed == 0 { limits.start } else { limits.start.min(self.passed) };
        self.path_mtu = Some(PathMtu::new(PathLimits { start, ..limits }, now, check_at));
    }

    /// The longest datagram to make now; `None` before the first [`begin_path`](Self::begin_path).
    pub fn longest_datagram(&self) -> Option<usize> {
        self.path_mtu.as_ref().map(PathMtu::most)
    }

    /// A datagram of this length is more than the first link takes.
    pub fn refused(&mut self, now: Time, length: usize) {
        if let Some(path) = &mut self.path_mtu {
            path.refused(now, length);
        }
    }

    /// The round trip to the peer, smoothed; `None` until one was measured. Right after a call it may contain the time in
    /// which the peer woke.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    /// Whether a handshake is to be made, or under way.
    pub fn is_calling(&self) -> bool {
        self.wanted || self.outstanding.is_some()
    }

    /// Whether there are keys and the peer has not gone to sleep.
    pub fn is_up(&self, now: Time) -> bool {
        self.asleep.is_none() && self.usable(now)
    }

    fn usable(&self, now: Time) -> bool {
        self.current.as_ref().is_some_and(|epoch| now < epoch.born + self.timers.expire_after)
    }

    /// Tries the keys under which the counter is plausible; `None` where there are none.
    fn open_with_keys(
        &mut self,
        moment: &Moment,
        path: P,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Option<Result<Opened, Reject>> {
        let expire_after = self.timers.expire_after;
        let live = |epoch: &&mut Epoch| moment.now < epoch.born + expire_after;
        if let Some(epoch) = self.current.as_mut().filter(live)
            && let Some(counter) = epoch.plausible(datagram)
        {
            let opened = match epoch.open(counter, datagram) {
                Ok(opened) => opened,
                Err(reject) => return Some(Err(reject)),
            };
            self.note_heard_current(moment.now, path, opened);
            self.newest_packet = (opened.inner & CONTROL == 0).then_some(opened.counter);
            return Some(self.take(moment, path, opened, datagram, entropy));
        }
        if let Some(opened) = self.open_half_open(moment, path, datagram, entropy) {
            return Some(opened);
        }
        let epoch = self.previous.as_mut().filter(live)?;
        let counter = epoch.plausible(datagram)?;
        Some(epoch.open(counter, datagram).map(|opened| self.take_late(moment.now, opened)))
    }

    /// An authentic packet: for the device, or the protocol's own.
    fn take(
        &mut self,
        moment: &Moment,
        path: P,
        opened: OpenedPacket,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Opened, Reject> {
        self.silent_at = None;
        self.announce_at = None;
        let late = self.take_late(moment.now, opened);
        if opened.inner & ASK != 0 && self.asleep.is_none() {
            self.send_control(moment.now, ARRIVED, &(datagram.len() as u16).to_le_bytes(), entropy);
        }
        if late != Opened::Control {
            return Ok(late);
        }
        let length = datagram.len() - TAIL;
        let message = datagram.get_mut(HEAD..length).ok_or(Reject::Length)?;
        self.take_control(moment, path, opened.counter, message, entropy)?;
        Ok(Opened::Control)
    }

    /// The same under keys that have been replaced: what the protocol had to say under them is out of date, and they
    /// do not show that the peer has the new ones.
    fn take_late(&mut self, now: Time, opened: OpenedPacket) -> Opened {
        self.heard_at = now;
        self.ping_timed_out = false;
        if self.rekey_at <= now {
            self.rekey_wanted = true;
        }
        if opened.inner & CONTROL != 0 {
            return Opened::Control;
        }
        self.acknowledge_at.get_or_insert(now + self.timers.acknowledge);
        Opened::Packet(opened.inner & !ASK)
    }

    fn note_heard_current(&mut self, now: Time, path: P, opened: OpenedPacket) {
        let awake = self.asleep.is_none_or(|bye| opened.counter > bye && opened.inner & CONTROL == 0);
        if awake {
            self.asleep = None;
        }
        if self.silent && self.is_up(now) {
            self.silent = false;
            self.wanted = false;
            self.outstanding = None;
        }
        if opened.newest {
            self.roam(path);
        }
    }

    fn roam(&mut self, to: P) {
        if self.path != Some(to)
            && let Some(from) = self.path.replace(to)
        {
            self.round_trip.take_for_rough();
            self.tell(Event::Roamed { from, to });
        }
    }

    fn note_sent(&mut self, now: Time) {
        self.sent_at = now;
        self.acknowledge_at = None;
        self.confirm = false;
        if self.rekey_at <= now {
            self.rekey_wanted = true;
        }
    }

    fn expire(&mut self) {
        self.current = None;
        self.previous = None;
        self.untidy = true;
        self.silent_at = None;
        self.announce_at = None;
        self.acknowledge_at = None;
        self.drop_rekey();
    }

    /// A rekey travels in the session; without it there is nothing left to wait for.
    fn drop_rekey(&mut self) {
        self.rekey_wanted = false;
        self.outstanding.take_if(|ours| ours.carriage() == Carriage::Session);
    }

    fn tell(&mut self, event: Event<P>) {
        self.actions.push_back(Action::Event(event));
    }
}
