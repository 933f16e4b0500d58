//! One generation of keys: sealing and opening of datagrams in place.
//!
//! `counter (8) XOR SipHash-2-4(header key, tag) | AEAD( inner byte | packet ) | tag (16)`
//!
//! What works with a key has a frame of its own (`inline(never)`), and leaves its copies where
//! `stack` is wiped.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

use super::Time;
use super::hello::Aeads;
use super::noise::TransportKeys;
use super::reject::Reject;
use super::secrets::transport;
use super::stack;
use super::window::{WINDOW, Window};

/// Bytes in front of a packet: the masked counter and the inner byte.
pub const HEAD: usize = COUNTER + 1;

/// Bytes behind a packet: the tag.
pub const TAIL: usize = 16;

const COUNTER: usize = 8;

/// Keys are not used for more packets than this.
const COUNTER_LIMIT: u64 = 1 << 60;

/// How far ahead of the newest counter a datagram may be. Of random headers, one in 2^32 passes.
const LEAP: u64 = 1 << 32;

/// The keys and counters of both directions.
pub struct Epoch {
    /// When the handshake was completed at this end.
    pub born: Time,
    /// Whether this end wrote the first message.
    pub initiator: bool,
    /// The cipher, for the log.
    pub aead: Aeads,
    keys: Box<Keys>,
    next: u64,
    window: Window,
}

/// Both directions, in one place from the handshake to their end: an epoch moves, and a move leaves a copy behind.
struct Keys {
    sealing: Direction,
    opening: Direction,
}

struct Direction {
    data: LessSafeKey,
    header: SipHasher24,
}

/// An opened datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedPacket {
    /// Its place in the order of sending.
    pub counter: u64,
    /// What the packet behind it is.
    pub inner: u8,
    /// Whether it is the newest so far.
    pub newest: bool,
}

impl Epoch {
    /// Keys from a completed handshake. `None` where `aead` is not exactly one known cipher.
    pub fn new(keys: &TransportKeys, aead: Aeads, initiator: bool, born: Time) -> Option<Self> {
        let algorithm = match aead {
            Aeads::AES_256_GCM => &aead::AES_256_GCM,
            Aeads::CHACHA20_POLY1305 => &aead::CHACHA20_POLY1305,
            _ => return None,
        };
        let (ours, theirs) =
            if initiator { (&keys.initiator, &keys.responder) } else { (&keys.responder, &keys.initiator) };
        let [ours, theirs] = [Derived::new(ours), Derived::new(theirs)];
        // A cipher smaller than the other has room to spare, which keeps what stood there before.
        stack::wipe_near();
        Some(Self {
            born,
            initiator,
            aead,
            keys: Keys::new(algorithm, &ours, &theirs)?,
            next: 0,
            window: Window::default(),
        })
    }

    /// Seals in place. `datagram` is [`HEAD`] bytes of room, the packet, [`TAIL`] bytes of room.
    ///
    /// Returns whether it was sealed: not if the counter is exhausted, or there is no room for head and tail.
    #[must_use]
    #[inline(never)]
    pub fn seal(&mut self, inner: u8, datagram: &mut [u8]) -> bool {
        let Some((counter, sealed)) = datagram.split_first_chunk_mut::<COUNTER>() else { return false };
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAIL>() else { return false };
        let Some(byte) = text.first_mut() else { return false };
        if self.next >= COUNTER_LIMIT {
            return false;
        }
        *byte = inner;
        let Direction { data, header } = &self.keys.sealing;
        let Ok(sum) = data.seal_in_place_separate_tag(nonce(self.next), Aad::empty(), text) else {
            return false;
        };
        tag.copy_from_slice(sum.as_ref());
        *counter = (self.next ^ header.hash(tag)).to_le_bytes();
        self.next += 1;
        true
    }

    /// Whether the counter in front of `datagram` could be one of these keys; cheap, and true for one stranger in 2^32.
    #[inline(never)]
    pub fn plausible(&self, datagram: &[u8]) -> Option<u64> {
        let counter = u64::from_le_bytes(*datagram.first_chunk::<COUNTER>()?);
        let counter = counter ^ self.keys.opening.header.hash(datagram.last_chunk::<TAIL>()?);
        let next = self.window.next();
        let near = counter < COUNTER_LIMIT && counter < next + LEAP && counter + WINDOW * 2 >= next;
        near.then_some(counter)
    }

    /// Opens in place: check, open, commit. `counter` is what [`plausible`](Self::plausible) returned.
    ///
    /// The packet is then at `datagram[HEAD..datagram.len() - TAIL]`.
    #[inline(never)]
    pub fn open(&mut self, counter: u64, datagram: &mut [u8]) -> Result<OpenedPacket, Reject> {
        if !self.window.check(counter) {
            return Err(Reject::Replay);
        }
        let sealed = datagram.get_mut(COUNTER..).ok_or(Reject::Length)?;
        let text = self
            .keys
            .opening
            .data
            .open_in_place(nonce(counter), Aad::empty(), sealed)
            .map_err(|_| Reject::Unknown)?;
        let inner = *text.first().ok_or(Reject::Malformed)?;
        let newest = self.window.commit(counter);
        Ok(OpenedPacket { counter, inner, newest })
    }

    /// As if `next` datagrams had been sealed and opened.
    #[cfg(test)]
    pub(super) fn preset_counters(&mut self, next: u64) {
        self.next = next;
        self.window = Window::default();
        self.window.commit(next - 1);
    }

    /// Whether all that the peer sent up to `counter` has arrived.
    pub fn complete_to(&self, counter: u64) -> bool {
        self.window.complete_to(counter)
    }
}

impl Keys {
    #[inline(never)]
    fn new(algorithm: &'static aead::Algorithm, ours: &Derived, theirs: &Derived) -> Option<Box<Self>> {
        let (sealing, opening) = (Direction::new(algorithm, ours)?, Direction::new(algorithm, theirs)?);
        Some(Box::new(Self { sealing, opening }))
    }
}

impl Direction {
    fn new(algorithm: &'static aead::Algorithm, keys: &Derived) -> Option<Self> {
        let data = LessSafeKey::new(UnboundKey::new(algorithm, &*keys.data).ok()?);
        Some(Self { data, header: SipHasher24::new_with_key(&keys.header) })
    }
}

/// What a direction's key is taken apart into.
struct Derived {
    data: Zeroizing<[u8; 32]>,
    header: Zeroizing<[u8; 16]>,
}

impl Derived {
    #[inline(never)]
    fn new(key: &[u8; 32]) -> Self {
        let long = Zeroizing::new(transport(key, b"naptun 1 header"));
        let mut header = Zeroizing::new([0; 16]);
        header.copy_from_slice(&long[..16]);
        Self { data: Zeroizing::new(transport(key, b"naptun 1 data")), header }
    }
}

/// The counter as a nonce: four zero bytes, then eight in little endian.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Epoch, Epoch) {
        let keys = TransportKeys { initiator: [1; 32], responder: [2; 32], hash: [0; 32] };
        let epoch = |initiator| Epoch::new(&keys, Aeads::CHACHA20_POLY1305, initiator, Time::ZERO).unwrap();
        (epoch(true), epoch(false))
    }

    fn datagram() -> [u8; HEAD + 4 + TAIL] {
        [0; HEAD + 4 + TAIL]
    }

    #[test]
    fn the_last_counter_is_used_and_none_after_it() {
        let (mut ours, mut theirs) = pair();
        // The window follows within a leap; here it was followed all the way.
        ours.next = (1 << 60) - 2;
        theirs.window.commit((1 << 60) - 3);
        for counter in [(1 << 60) - 2, (1 << 60) - 1] {
            let mut datagram = datagram();
            assert!(ours.seal(0, &mut datagram));
            assert_eq!(theirs.plausible(&datagram), Some(counter));
            assert_eq!(theirs.open(counter, &mut datagram).map(|opened| opened.counter), Ok(counter));
        }
        let mut datagram = datagram();
        assert!(!ours.seal(0, &mut datagram) && !ours.seal(0, &mut datagram));
        assert_eq!(datagram, [0; HEAD + 4 + TAIL]);
    }

    #[test]
    fn a_counter_out_of_reach_is_not_plausible() {
        let (mut ours, mut theirs) = pair();
        let mut plausible = |newest: u64, counter: u64| {
            theirs.window = Window::default();
            theirs.window.commit(newest);
            ours.next = counter;
            let mut datagram = datagram();
            ours.seal(0, &mut datagram).then(|| theirs.plausible(&datagram).is_some())
        };
        let newest = 1 << 40;
        assert_eq!(plausible(newest, newest + (1 << 32)), Some(true));
        assert_eq!(plausible(newest, newest + (1 << 32) + 1), Some(false));
        assert_eq!(plausible(newest, newest + 1 - 16_384), Some(true), "old enough to be told as a replay");
        assert_eq!(plausible(newest, newest - 16_384), Some(false));
        assert_eq!(plausible((1 << 60) - 1, 0), Some(false));
        assert_eq!(plausible(0, u64::MAX), None);
        // Nobody seals under the first counter that is too high, but it can be written.
        (theirs.window, ours.next) = (Window::default(), (1 << 60) - 1);
        theirs.window.commit((1 << 60) - 1);
        let mut datagram = datagram();
        assert!(ours.seal(0, &mut datagram) && theirs.plausible(&datagram).is_some());
        let flips: u64 = ((1 << 60) - 1) ^ (1 << 60);
        datagram.iter_mut().zip(flips.to_le_bytes()).for_each(|(byte, flip)| *byte ^= flip);
        assert_eq!(theirs.plausible(&datagram), None);
    }

    #[test]
    fn there_is_no_sealing_without_room_and_no_opening_of_less_than_a_packet() {
        let (mut ours, mut theirs) = pair();
        for length in 0..HEAD + TAIL {
            assert!(!ours.seal(0, &mut vec![0; length]));
            let mut short = vec![0; length];
            if let Some(counter) = theirs.plausible(&short) {
                assert!(theirs.open(counter, &mut short).is_err());
            }
        }
        assert!(ours.seal(0, &mut [0; HEAD + TAIL]));
        assert_eq!(ours.next, 1, "a counter is not used up by a failure");
    }
}
