//! A peer that holds the key and may say with it whatever the input wants: what no stranger can send.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use naptun::protocol::Hello;

use crate::Input;

/// Bytes that a message of the handshake adds to its payload.
pub const NOISE: usize = 48;

/// An envelope with this text in it: length, message and padding as they should be, or not.
pub fn envelope(key: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let nonce = [0x17; 24];
    let mut sealed = text.to_vec();
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), &[], sealed.as_mut_slice().into())
        .expect("less than 256 GiB");
    [nonce.as_slice(), &sealed, &tag].concat()
}

/// Whether two ends go together, as doc/protocol.md puts it.
pub fn fit(ours: &Hello, theirs: &Hello) -> bool {
    let v4 = match (ours.ipv4, theirs.ipv4) {
        (Some((a, mask)), Some((b, their_mask))) if ours.tap => {
            let same = |a: std::net::Ipv4Addr| a.to_bits() & mask.to_bits();
            mask == their_mask && a != b && same(a) == same(b)
        }
        (Some((a, b)), Some((c, d))) => a == d && b == c,
        _ => true,
    };
    let v6 = match (ours.ipv6, theirs.ipv6) {
        (Some((a, b, _)), Some((c, d, _))) => a == d && b == c,
        _ => true,
    };
    ours.tap == theirs.tap && v4 && v6 && ours.aeads.0 & theirs.aeads.0 & 3 != 0
}

/// A hello of the input's making, of an end that really exists: 64 bytes.
pub fn hello(input: &mut Input) -> Option<Hello> {
    let mut bytes = input.array::<64>()?;
    bytes[0] = 1;
    Hello::decode(&bytes).ok().map(|hello| Hello { refused: false, ..hello })
}

/// What the peer says of itself: anything, or what goes with `ours` but for a few bytes.
///
/// `what (1)`, then `length (2) | bytes`, or `changes`: `at (1) | byte (1)` for each.
pub fn payload(input: &mut Input, ours: &Hello, stamp: u64) -> Option<Vec<u8>> {
    let what = input.byte()?;
    if what & 0x80 != 0 {
        let length = input.number()? % 800;
        return Some(input.bytes(length).to_vec());
    }
    let mut bytes = Hello { stamp, ..mirrored(ours) }.encode().to_vec();
    bytes.resize(64 + usize::from(what >> 4 & 7), 0);
    for _ in 0..what & 3 {
        let at = usize::from(input.byte()?) % bytes.len();
        bytes[at] = input.byte()?;
    }
    if what & 4 != 0 {
        bytes.truncate(usize::from(input.byte()?));
    }
    Some(bytes)
}

/// The hello of an end that goes with this one.
fn mirrored(ours: &Hello) -> Hello {
    let v4 = |(a, b): (std::net::Ipv4Addr, std::net::Ipv4Addr)| match ours.tap {
        true => (std::net::Ipv4Addr::from_bits(a.to_bits() ^ 1), b),
        false => (b, a),
    };
    Hello {
        listener: !ours.listener,
        instance: ours.instance ^ 0x55,
        ipv4: ours.ipv4.map(v4),
        ipv6: ours.ipv6.map(|(a, b, prefix)| (b, a, prefix)),
        ..*ours
    }
}
