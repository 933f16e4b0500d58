//! One end as its driver sees it, without a wire: what it sends is handed back.

use std::sync::LazyLock;
use std::time::Duration;

use naptun::protocol::handshake::{Call, Carriage};
use naptun::protocol::session::Record;
use naptun::protocol::{
    Action, Aeads, Event, HEAD, Hello, Moment, Opened, Secrets, Session, TAIL, Time, Timers, envelope,
};

use crate::Rng;

/// An address on the wire.
pub type Addr = u8;

/// 2026-01-01, in microseconds since the Unix epoch.
pub const WALL: u64 = 1_767_225_600_000_000;

/// Where the virtual clock begins.
pub const START: Time = Time::from_secs(1000);

/// The secrets of the key file that all ends share.
pub fn secrets() -> Secrets {
    Secrets::derive(&[0x5a; 256])
}

static SECRETS: LazyLock<Secrets> = LazyLock::new(secrets);

pub fn hello(instance: u64, listener: bool) -> Hello {
    Hello {
        listener,
        tap: false,
        refused: false,
        aeads: Aeads::AES_256_GCM.with(Aeads::CHACHA20_POLY1305),
        mtu: 1420,
        passed: 0,
        instance,
        stamp: 0,
        ipv4: None,
        ipv6: None,
    }
}

/// A datagram that an end sends, and where to.
pub type Sent = (Addr, Vec<u8>);

/// A session with its driver.
pub struct End {
    pub session: Session<Addr>,
    pub ours: Hello,
    pub addr: Addr,
    pub rng: Rng,
    /// How far its calendar is off, microseconds.
    pub skew: i64,
    /// What a crash would leave behind.
    pub stored: Record,
    pub events: Vec<Event<Addr>>,
}

impl End {
    pub fn new(ours: Hello, addr: Addr, stored: Record, timers: Timers) -> Self {
        let session = Session::new(secrets(), ours, stored, timers);
        Self { session, ours, addr, rng: Rng(ours.instance), skew: 0, stored, events: Vec::new() }
    }

    pub fn moment(&self, now: Time) -> Moment {
        let wall = WALL.saturating_add(now.as_micros() as u64).saturating_add_signed(self.skew);
        Moment { now, wall }
    }

    /// Opens a copy of a datagram; the packet, if it is one for the device.
    pub fn open(&mut self, now: Time, from: Addr, datagram: &[u8]) -> (Opened, Vec<u8>) {
        let mut datagram = datagram.to_vec();
        let moment = self.moment(now);
        let opened = self.session.open(&moment, from, &mut datagram, &mut self.rng);
        let packet = match opened {
            Opened::Packet(_) => datagram[HEAD..datagram.len() - TAIL].to_vec(),
            _ => Vec::new(),
        };
        (opened, packet)
    }

    /// Seals a packet, if there are keys.
    pub fn seal(&mut self, now: Time, packet: &[u8]) -> Option<Sent> {
        let mut datagram = vec![0; HEAD + packet.len() + TAIL];
        datagram[HEAD..][..packet.len()].copy_from_slice(packet);
        let path = self.session.seal(now, 0, &mut datagram)?;
        Some((path, datagram))
    }

    /// Carries out what the session wants; a datagram never leaves before what it depends on is stored.
    pub fn act(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for turn in 0.. {
            assert!(turn < 64, "an action storm");
            match self.session.next_action() {
                None => break,
                Some(Action::Persist(record)) => self.store(record),
                Some(Action::Event(event)) => self.events.push(event),
                Some(Action::Send { datagram, path }) => {
                    let stamp = stamp_of_call(&datagram);
                    assert!(
                        stamp.is_none_or(|stamp| stamp <= self.stored.sent),
                        "a call left before its stamp"
                    );
                    sent.push((path, datagram));
                }
            }
        }
        sent
    }

    fn store(&mut self, record: Record) {
        assert!(record.sent >= self.stored.sent && record.seen >= self.stored.seen, "a stamp went back");
        self.stored = record;
    }

    /// Everything that is due.
    pub fn turn(&mut self, now: Time) -> Vec<Sent> {
        let mut sent = self.act();
        for turn in 0.. {
            assert!(turn < 8, "deadlines do not move on: {:?} at {now:?}", self.session.deadline(now));
            if self.session.deadline(now).is_none_or(|deadline| deadline > now) {
                return sent;
            }
            let moment = self.moment(now);
            self.session.on_deadline(&moment, &mut self.rng);
            sent.extend(self.act());
        }
        sent
    }

    /// All of its state that can be seen from outside.
    pub fn state(&self, now: Time) -> impl PartialEq + std::fmt::Debug + use<> {
        let later = now + Duration::from_secs(1);
        let session = &self.session;
        (
            (session.path(), session.deadline(now), session.deadline(later)),
            (session.can_seal(now), session.is_up(now), session.is_closing(), session.is_closed(now)),
        )
    }
}

/// The stamp of a first message in an envelope.
pub fn stamp_of_call(datagram: &[u8]) -> Option<u64> {
    let mut copy = datagram.to_vec();
    let message = envelope::open(&SECRETS.envelopes[0], &mut copy)?;
    Some(Call::read(Carriage::Envelope, &SECRETS, message).ok()?.theirs.stamp)
}
