//! Everything that follows from the static key, and the labels that keep the parts apart.

use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2b512, Blake2bMac, Blake2sMac256, Digest};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::stack;

/// The keys of the handshake, derived from the 256 bytes of the static key file by keyed BLAKE2b (RFC 7693).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// The pre-shared key of the Noise handshake.
    pub psk: [u8; 32],
    /// The envelope keys of the first and the second message.
    pub envelopes: [[u8; 32]; 2],
    /// Names the key in file names; tells nothing about it.
    pub name: [u8; 8],
}

impl Secrets {
    /// `key`: the bytes of the static key file.
    pub fn derive(key: &[u8; 256]) -> Self {
        let secrets = Self::of(key);
        stack::wipe();
        secrets
    }

    #[inline(never)]
    fn of(key: &[u8; 256]) -> Self {
        let mut root: [u8; 64] = Blake2b512::digest(key).into();
        let mut name = [0; 8];
        name.copy_from_slice(&derive(&root, b"naptun 1 name")[..8]);
        let secrets = Self {
            psk: derive(&root, b"naptun 1 psk"),
            envelopes: [derive(&root, b"naptun 1 envelope 1"), derive(&root, b"naptun 1 envelope 2")],
            name,
        };
        root.zeroize();
        secrets
    }
}

fn derive(root: &[u8; 64], label: &[u8]) -> [u8; 32] {
    Blake2bMac::<U32>::new(root.into()).chain_update(label).finalize().into_bytes().into()
}

/// A key for one use and one direction, from a key of the Noise handshake by keyed BLAKE2s.
pub(crate) fn transport(key: &[u8; 32], label: &[u8]) -> [u8; 32] {
    Blake2sMac256::new(key.into()).chain_update(label).finalize().into_bytes().into()
}
