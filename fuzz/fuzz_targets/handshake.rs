//! Messages of somebody who holds the key: taken, answered and refused as doc/protocol.md has it, whatever they say.
//!
//! Input: `case (1) | options (1) | our hello (64) | highest stamp seen (8)`, then what the case wants (see there).

#![no_main]

use libfuzzer_sys::fuzz_target;
use naptun::protocol::epoch::Epoch;
use naptun::protocol::hello::Unreadable;
use naptun::protocol::noise::{Initiator, Responder, TransportKeys};
use naptun::protocol::session::Record;
use naptun::protocol::{Aeads, Event, HEAD, Hello, Opened, Reject, TAIL, Timers, envelope};
use naptun_fuzz::ends::{Addr, End, START, Sent, secrets};
use naptun_fuzz::peer::{self, NOISE, fit};
use naptun_fuzz::{Input, Rng};

const ENVELOPE: &[u8] = b"naptun 1 handshake";
const SESSION: &[u8] = b"naptun 1 rekey";

/// Where the peer is.
const PEER: Addr = 9;

const CALLED: u8 = 1;

/// The peer is to say how long this datagram was.
const ASK: u8 = 0x10;

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let _ = run(&mut input);
});

fn run(input: &mut Input) -> Option<()> {
    let [case, options] = input.array()?;
    let ours = peer::hello(input)?;
    let seen = u64::from_le_bytes(input.array()?);
    let end = End::new(ours, 0, Record { sent: 0, seen, instance: ours.instance }, Timers::default());
    match case & 3 {
        0 | 1 => first(end, options, input),
        2 => second(end, input),
        _ => inside(end, input),
    }
}

/// A first message: `attempts of its own (1) | payload | padding (2) | length (1)`.
fn first(mut end: End, options: u8, input: &mut Input) -> Option<()> {
    let attempts = if options & CALLED != 0 { input.byte()? % 6 } else { 0 };
    let mut now = START;
    end.session.set_path(PEER);
    for _ in 0..attempts {
        end.session.want(now);
        let moment = end.moment(now);
        end.session.on_deadline(&moment, &mut end.rng);
        end.act();
        now = end.session.deadline(now)?;
    }
    end.events.clear();
    let stored = end.stored;

    let payload = peer::payload(input, &end.ours, stored.seen.wrapping_add(1))?;
    let mut message = vec![0; payload.len() + NOISE];
    let noise = Initiator::write_first(&secrets().psk, ENVELOPE, [3; 32], &payload, &mut message);
    let padding = input.number()? % 600;
    // As it is, or off by a few bytes.
    let length = (message.len() + usize::from(input.byte()? & 7)).saturating_sub(4);
    let text = [&(length as u16).to_le_bytes(), message.as_slice(), &vec![0xff; padding]].concat();
    let datagram = peer::envelope(&secrets().envelopes[0], &text);

    let expected = if !(154..=921).contains(&datagram.len()) || length != message.len() {
        Err(Reject::Unknown)
    } else {
        judge_first(&end.ours, &payload, stored.sent, Some(stored.seen), attempts)
    };
    let (opened, _) = end.open(now, PEER, &datagram);
    assert_eq!(opened, expected.map_or_else(Opened::Rejected, |_| Opened::Control));
    let sent = end.act();
    let theirs = match expected {
        Ok(_) | Err(Reject::Mismatch) => Hello::decode(&payload).ok()?,
        Err(reject) => {
            // What crossed ours is spent.
            let seen = match Hello::decode(&payload) {
                Ok(theirs) if reject == Reject::Crossed => theirs.stamp,
                _ => stored.seen,
            };
            assert!(sent.is_empty() && end.stored == Record { seen, ..stored } && !end.session.is_up(now));
            assert_eq!(!end.events.is_empty(), reject == Reject::Version);
            return None;
        }
    };
    assert_eq!(end.stored, Record { seen: theirs.stamp, ..stored });
    let [(PEER, answer)] = sent.as_slice() else { panic!("not one answer: {sent:?}") };
    assert!(answer.len() <= datagram.len(), "an answer longer than what it answers");
    let mut answer = answer.clone();
    let message = envelope::open(&secrets().envelopes[1], &mut answer).expect("an envelope");
    let (hello, keys) = read_answer(&noise, message);
    assert_eq!((hello.instance, hello.stamp), (end.ours.instance, theirs.stamp));
    assert_eq!(hello.refused, expected.is_err());
    assert!(!end.session.is_up(now) && !end.session.can_seal(now), "up before it is confirmed");
    if expected.is_ok() {
        confirm(&mut end, now, keys, hello.aeads);
    }
    Some(())
}

/// What becomes of a first message with this payload. `seen` is none inside a session.
fn judge_first(
    ours: &Hello,
    payload: &[u8],
    sent: u64,
    seen: Option<u64>,
    attempts: u8,
) -> Result<Hello, Reject> {
    let theirs = read(payload)?;
    if theirs.instance == ours.instance && theirs.stamp <= sent || theirs.listener && ours.listener {
        return Err(Reject::Reflected);
    }
    if seen.is_some_and(|seen| theirs.stamp <= seen) {
        return Err(Reject::Stale);
    }
    if !fit(ours, &theirs) {
        return Err(Reject::Mismatch);
    }
    if (1..=3).contains(&attempts) && ours.instance > theirs.instance {
        return Err(Reject::Crossed);
    }
    Ok(theirs)
}

fn read(payload: &[u8]) -> Result<Hello, Reject> {
    Hello::decode(payload).map_err(|why| match why {
        Unreadable::Version(_) => Reject::Version,
        _ => Reject::Malformed,
    })
}

fn read_answer(noise: &Initiator, message: &mut [u8]) -> (Hello, TransportKeys) {
    assert_eq!(message.len(), 112);
    let (payload, keys) = noise.read_second(message).expect("an answer to our message");
    (Hello::decode(payload).expect("a hello"), keys)
}

/// The first packet under the new keys makes the session, and nothing before it.
fn confirm(end: &mut End, now: naptun::protocol::Time, keys: TransportKeys, aead: Aeads) -> Epoch {
    let mut epoch = Epoch::new(&keys, aead, true, now).expect("one cipher");
    let (opened, packet) = end.open(now, PEER, &seal(&mut epoch, 0, b"packet"));
    assert_eq!((opened, packet.as_slice()), (Opened::Packet(0), b"packet".as_slice()));
    assert!(end.act().is_empty() && end.session.can_seal(now));
    assert!(matches!(end.events.last(), Some(Event::Established { path: PEER, .. } | Event::Rekeyed)));
    let (path, datagram) = end.seal(now, b"back").expect("keys");
    assert_eq!((path, unseal(&mut epoch, datagram)), (PEER, Some((0, b"back".to_vec()))));
    epoch
}

fn seal(epoch: &mut Epoch, inner: u8, packet: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; HEAD + packet.len() + TAIL];
    datagram[HEAD..][..packet.len()].copy_from_slice(packet);
    assert!(epoch.seal(inner, &mut datagram));
    datagram
}

fn unseal(epoch: &mut Epoch, mut datagram: Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let counter = epoch.plausible(&datagram)?;
    let opened = epoch.open(counter, &mut datagram).ok()?;
    Some((opened.inner, datagram[HEAD..datagram.len() - TAIL].to_vec()))
}

/// An answer: `payload | padding (1)`.
fn second(mut end: End, input: &mut Input) -> Option<()> {
    let now = START;
    let (noise, stored) = (called(&mut end), end.stored);
    let payload = peer::payload(input, &end.ours, stored.sent)?;
    let mut message = vec![0; payload.len() + NOISE];
    let keys = noise.write_second([4; 32], &payload, &mut message).expect("a point of no small order");
    let padding = vec![0; usize::from(input.byte()?)];
    let text = [&(message.len() as u16).to_le_bytes(), message.as_slice(), &padding].concat();
    let datagram = peer::envelope(&secrets().envelopes[1], &text);

    let expected = if (154..=921).contains(&datagram.len()) {
        judge_second(&end.ours, &payload)
    } else {
        Err(Reject::Unknown)
    };
    let (opened, _) = end.open(now, PEER + 1, &datagram);
    assert_eq!(opened, expected.map_or_else(Opened::Rejected, |_| Opened::Control));
    assert!(end.act().is_empty() && end.stored == stored);
    assert_eq!(end.session.can_seal(now), expected.is_ok());
    let Ok(theirs) = expected else { return None };
    assert_eq!(end.session.path(), Some(PEER + 1), "the peer is where the answer came from");
    let mut epoch = Epoch::new(&keys, theirs.aeads, false, now).expect("one cipher");
    // It is told without delay that the answer has arrived.
    let sent = end.turn(now);
    let [(_, datagram)] = sent.as_slice() else { panic!("not one confirmation: {sent:?}") };
    let (inner, text) = unseal(&mut epoch, datagram.clone()).expect("under the new keys");
    assert_eq!((inner, text.first()), (0x80, Some(&0)));
    Some(())
}

fn judge_second(ours: &Hello, payload: &[u8]) -> Result<Hello, Reject> {
    let theirs = read(payload)?;
    let one = [1, 2].contains(&theirs.aeads.0) && ours.aeads.0 & theirs.aeads.0 != 0;
    if !one && !theirs.refused {
        return Err(Reject::Malformed);
    }
    if theirs.refused || !fit(ours, &theirs) { Err(Reject::Mismatch) } else { Ok(theirs) }
}

/// The end calls; what its peer makes of that.
fn called(end: &mut End) -> Responder {
    end.session.set_path(PEER);
    end.session.want(START);
    let sent: Vec<Sent> = end.turn(START);
    let [(PEER, datagram)] = sent.as_slice() else { panic!("not one call: {sent:?}") };
    let mut datagram = datagram.clone();
    let message = envelope::open(&secrets().envelopes[0], &mut datagram).expect("an envelope");
    Responder::read_first(&secrets().psk, ENVELOPE, message).expect("a first message").1
}

/// A session, and in it records of `inner byte (1)`: `length (1) | text`, or for a rekey `payload`.
fn inside(mut end: End, input: &mut Input) -> Option<()> {
    let now = START;
    end.ours.aeads = Aeads::CHACHA20_POLY1305;
    let mut end = End::new(end.ours, 0, Record::default(), Timers::default());
    let noise = called(&mut end);
    let theirs = Hello { ipv4: None, ipv6: None, instance: !end.ours.instance, ..end.ours };
    let mut message = vec![0; 112];
    let keys = noise.write_second([4; 32], &theirs.encode(), &mut message).ok()?;
    let text = [&112_u16.to_le_bytes(), message.as_slice()].concat();
    end.open(now, PEER, &peer::envelope(&secrets().envelopes[1], &text));
    end.turn(now);
    let mut peer = Inside { epoch: Epoch::new(&keys, theirs.aeads, false, now)?, asleep: false, rng: Rng(7) };
    while let Some(inner) = input.byte() {
        peer.send(&mut end, inner, input)?;
    }
    Some(())
}

struct Inside {
    epoch: Epoch,
    asleep: bool,
    rng: Rng,
}

impl Inside {
    fn send(&mut self, end: &mut End, inner: u8, input: &mut Input) -> Option<()> {
        if inner == 0x83 {
            return self.rekey(end, input);
        }
        let length = usize::from(input.byte()?);
        let text = input.bytes(length);
        let (opened, packet) = end.open(START, PEER, &seal(&mut self.epoch, inner, text));
        let expected = match (inner & 0x80, text) {
            (0, _) => Opened::Packet(inner & !ASK),
            (_, [0 | 2, ..] | [1, 0 | 1, ..] | [5, _, _, ..]) => Opened::Control,
            // Overtaken by a bye.
            (_, [3, ..]) if self.asleep => Opened::Control,
            (_, [4, rest @ ..]) if rest.len() >= 112 => Opened::Rejected(Reject::Unknown),
            (_, [3, rest @ ..]) if rest.len() >= 112 => Opened::Rejected(Reject::Unknown),
            _ => Opened::Rejected(Reject::Malformed),
        };
        assert_eq!(opened, expected, "{text:?}");
        assert!(!matches!(opened, Opened::Packet(_)) || packet == text);
        self.note(inner, text);
        for (path, datagram) in end.turn(START) {
            assert_eq!(path, PEER);
            let (inner, _) = unseal(&mut self.epoch, datagram).expect("under our keys");
            assert_eq!(inner, 0x80);
        }
        assert_eq!(end.session.can_seal(START), !self.asleep);
        Some(())
    }

    /// A bye puts the peer to sleep, a packet shows that it was called off.
    fn note(&mut self, inner: u8, text: &[u8]) {
        match (inner & 0x80, text) {
            (0, _) => self.asleep = false,
            (_, [1, 0 | 1, ..]) => self.asleep = true,
            _ => {}
        }
    }

    fn rekey(&mut self, end: &mut End, input: &mut Input) -> Option<()> {
        let payload = peer::payload(input, &end.ours, 0)?;
        let mut message = vec![0; payload.len() + NOISE];
        let mut ephemeral = [0; 32];
        naptun::protocol::Entropy::fill(&mut self.rng, &mut ephemeral);
        let noise = Initiator::write_first(&secrets().psk, SESSION, ephemeral, &payload, &mut message);
        let text = [&[3], message.as_slice()].concat();
        let expected = match payload.len() {
            _ if self.asleep => Ok(None),
            ..64 => Err(Reject::Malformed),
            64 => judge_first(&end.ours, &payload, end.stored.sent, None, 0).map(Some),
            // Cut off behind the first 64 bytes, it is no message any more.
            65.. => Err(Reject::Unknown),
        };
        let (opened, _) = end.open(START, PEER, &seal(&mut self.epoch, 0x80, &text));
        assert_eq!(opened, expected.map_or_else(Opened::Rejected, |_| Opened::Control));
        for (_, datagram) in end.turn(START) {
            let (_, mut text) = unseal(&mut self.epoch, datagram).expect("under the old keys");
            if let Some(message) = text.get_mut(1..113).filter(|_| matches!(expected, Ok(Some(_)))) {
                let (hello, keys) = read_answer(&noise, message);
                assert_eq!(hello.instance, end.ours.instance);
                self.epoch = confirm(end, START, keys, hello.aeads);
                return Some(());
            }
        }
        assert!(!matches!(expected, Ok(Some(_))), "a rekey without an answer");
        Some(())
    }
}
