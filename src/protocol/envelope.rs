//! The envelope of a handshake message: random bytes to whoever does not hold the key.
//!
//! `nonce (24) | XChaCha20-Poly1305( length (2, little endian) | message | padding )`

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};

use super::Entropy;

/// Bytes that an envelope adds to message and padding.
pub const OVERHEAD: usize = NONCE + LENGTH + TAG;

const NONCE: usize = 24;
const LENGTH: usize = 2;
const TAG: usize = 16;

/// Seals `message`, followed by `padding` zero bytes, under a random nonce.
pub fn seal(key: &[u8; 32], message: &[u8], padding: usize, entropy: &mut dyn Entropy) -> Vec<u8> {
    let mut datagram = vec![0; OVERHEAD + message.len() + padding];
    let (nonce, rest) = datagram.split_at_mut(NONCE);
    let (text, tag) = rest.split_at_mut(LENGTH + message.len() + padding);
    entropy.fill(nonce);
    text[..LENGTH].copy_from_slice(&(message.len() as u16).to_le_bytes());
    text[LENGTH..][..message.len()].copy_from_slice(message);
    let nonce = XNonce::try_from(&*nonce).unwrap_or_default();
    let sum = cipher(key).encrypt_inout_detached(&nonce, &[], text.into()).unwrap_or_default();
    tag.copy_from_slice(&sum);
    datagram
}

/// Opens in place and returns the message without its padding; `None` is rubbish.
pub fn open<'a>(key: &[u8; 32], datagram: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let (nonce, rest) = datagram.split_at_mut_checked(NONCE)?;
    let (text, tag) = rest.split_at_mut_checked(rest.len().checked_sub(TAG)?)?;
    let (nonce, tag) = (XNonce::try_from(&*nonce).ok()?, Tag::try_from(&*tag).ok()?);
    cipher(key).decrypt_inout_detached(&nonce, &[], (&mut *text).into(), &tag).ok()?;
    let (length, text) = text.split_first_chunk_mut::<LENGTH>()?;
    text.get_mut(..usize::from(u16::from_le_bytes(*length)))
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}
