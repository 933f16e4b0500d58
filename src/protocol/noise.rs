//! Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s: two messages, one round trip (The Noise Protocol Framework, revision 34).
//!
//! The objects carry the specification's names. Reading the first message costs no curve operation, so that its
//! payload can be judged before any is spent on it.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

const PROTOCOL_NAME: &[u8] = b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Bytes that a message adds to its payload: the ephemeral public key and the tag.
pub const OVERHEAD: usize = DHLEN + TAGLEN;

const DHLEN: usize = 32;
const HASHLEN: usize = 32;
const BLOCKLEN: usize = 64;
const TAGLEN: usize = 16;

/// A message that is not from a holder of the shared key, or not part of this handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// The two keys of `Split()`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TransportKeys {
    /// For what the initiator sends.
    pub initiator: [u8; 32],
    /// For what the responder sends.
    pub responder: [u8; 32],
    /// The handshake hash `h`: names the handshake, is no secret.
    pub hash: [u8; 32],
}

/// The end that writes the first message.
pub struct Initiator {
    symmetric: SymmetricState,
    ephemeral: StaticSecret,
}

impl Initiator {
    /// `-> psk, e`: writes the message that carries `payload` to `message`, [`OVERHEAD`] bytes longer than it.
    pub fn write_first(
        psk: &[u8; 32],
        prologue: &[u8],
        ephemeral: [u8; 32],
        payload: &[u8],
        message: &mut [u8],
    ) -> Self {
        let ephemeral = StaticSecret::from(ephemeral);
        let mut symmetric = SymmetricState::new(prologue);
        symmetric.mix_key_and_hash(psk);
        let public = PublicKey::from(&ephemeral);
        symmetric.mix_public(&public);
        symmetric.write(public, payload, message);
        Self { symmetric, ephemeral }
    }

    /// `<- e, ee`: decrypts the payload in place and returns it with the keys.
    ///
    /// A forged message leaves the handshake as it was.
    pub fn read_second<'a>(&self, message: &'a mut [u8]) -> Result<(&'a [u8], TransportKeys), Forged> {
        let mut symmetric = self.symmetric.clone();
        let (public, sealed) = split_public(message)?;
        symmetric.mix_public(&public);
        symmetric.mix_dh(&self.ephemeral, &public)?;
        let payload = symmetric.decrypt_and_hash(sealed)?;
        Ok((payload, symmetric.split()))
    }
}

/// The end that has read the first message and may answer.
pub struct Responder {
    symmetric: SymmetricState,
    theirs: PublicKey,
}

impl Responder {
    /// Reads `-> psk, e`: decrypts the payload in place and returns it. No curve operation is made.
    pub fn read_first<'a>(
        psk: &[u8; 32],
        prologue: &[u8],
        message: &'a mut [u8],
    ) -> Result<(&'a [u8], Self), Forged> {
        let mut symmetric = SymmetricState::new(prologue);
        symmetric.mix_key_and_hash(psk);
        let (theirs, sealed) = split_public(message)?;
        symmetric.mix_public(&theirs);
        let payload = symmetric.decrypt_and_hash(sealed)?;
        Ok((payload, Self { symmetric, theirs }))
    }

    /// `<- e, ee`: writes the answer that carries `payload`, [`OVERHEAD`] bytes longer than it, and returns the keys.
    pub fn write_second(
        mut self,
        ephemeral: [u8; 32],
        payload: &[u8],
        message: &mut [u8],
    ) -> Result<TransportKeys, Forged> {
        let ephemeral = StaticSecret::from(ephemeral);
        let public = PublicKey::from(&ephemeral);
        self.symmetric.mix_public(&public);
        self.symmetric.mix_dh(&ephemeral, &self.theirs)?;
        self.symmetric.write(public, payload, message);
        Ok(self.symmetric.split())
    }
}

fn split_public(message: &mut [u8]) -> Result<(PublicKey, &mut [u8]), Forged> {
    let (public, sealed) = message.split_first_chunk_mut::<DHLEN>().ok_or(Forged)?;
    Ok((PublicKey::from(*public), sealed))
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct SymmetricState {
    ck: [u8; HASHLEN],
    h: [u8; HASHLEN],
    k: [u8; 32],
    n: u64,
}

impl SymmetricState {
    fn new(prologue: &[u8]) -> Self {
        // The name is longer than a hash, so it is hashed.
        let h = hash(&[PROTOCOL_NAME]);
        let mut state = Self { ck: h, h, k: [0; 32], n: 0 };
        state.mix_hash(prologue);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = hash(&[&self.h, data]);
    }

    fn mix_key(&mut self, input: &[u8]) {
        let [ck, k, _] = hkdf(&self.ck, input);
        self.ck = ck;
        self.k = k;
        self.n = 0;
    }

    fn mix_key_and_hash(&mut self, input: &[u8]) {
        let [ck, temp_h, k] = hkdf(&self.ck, input);
        self.ck = ck;
        self.mix_hash(&temp_h);
        self.k = k;
        self.n = 0;
    }

    /// The token `e` of a pattern with a pre-shared key: hash and key (section 9.2).
    fn mix_public(&mut self, public: &PublicKey) {
        self.mix_hash(public.as_bytes());
        self.mix_key(public.as_bytes());
    }

    fn mix_dh(&mut self, ours: &StaticSecret, theirs: &PublicKey) -> Result<(), Forged> {
        let shared = ours.diffie_hellman(theirs);
        // A point of small order would make the result known to everybody.
        if !shared.was_contributory() {
            return Err(Forged);
        }
        self.mix_key(shared.as_bytes());
        Ok(())
    }

    fn write(&mut self, public: PublicKey, payload: &[u8], message: &mut [u8]) {
        let (e, sealed) = message.split_at_mut(DHLEN);
        e.copy_from_slice(public.as_bytes());
        self.encrypt_and_hash(payload, sealed);
    }

    fn encrypt_and_hash(&mut self, payload: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_at_mut(payload.len());
        text.copy_from_slice(payload);
        // Fails for messages beyond 256 GiB alone.
        let sum =
            self.cipher().encrypt_inout_detached(&self.nonce(), &self.h, text.into()).unwrap_or_default();
        tag.copy_from_slice(&sum);
        self.h = hash(&[&self.h, text, tag]);
        self.n += 1;
    }

    fn decrypt_and_hash<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a [u8], Forged> {
        let length = sealed.len().checked_sub(TAGLEN).ok_or(Forged)?;
        let next = hash(&[&self.h, sealed]);
        let (text, tag) = sealed.split_at_mut(length);
        let tag = Tag::try_from(&*tag).map_err(|_| Forged)?;
        self.cipher()
            .decrypt_inout_detached(&self.nonce(), &self.h, (&mut *text).into(), &tag)
            .map_err(|_| Forged)?;
        self.h = next;
        self.n += 1;
        Ok(text)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(self.k))
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.n.to_le_bytes());
        Nonce::from(nonce)
    }

    fn split(&self) -> TransportKeys {
        let [initiator, responder, _] = hkdf(&self.ck, &[]);
        TransportKeys { initiator, responder, hash: self.h }
    }
}

fn hash(parts: &[&[u8]]) -> [u8; HASHLEN] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC (RFC 2104): Noise asks for it even of hashes that take a key themselves.
fn hmac(key: &[u8; HASHLEN], parts: &[&[u8]]) -> [u8; HASHLEN] {
    let mut pad = [0x36; BLOCKLEN];
    pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
    let mut inner = Blake2s256::new().chain_update(pad);
    for part in parts {
        inner.update(part);
    }
    pad.iter_mut().for_each(|pad| *pad ^= 0x36 ^ 0x5c);
    let sum = Blake2s256::new().chain_update(pad).chain_update(inner.finalize()).finalize().into();
    pad.zeroize();
    sum
}

fn hkdf(ck: &[u8; HASHLEN], input: &[u8]) -> [[u8; HASHLEN]; 3] {
    let mut temp = hmac(ck, &[input]);
    let first = hmac(&temp, &[&[1]]);
    let second = hmac(&temp, &[&first, &[2]]);
    let third = hmac(&temp, &[&second, &[3]]);
    temp.zeroize();
    [first, second, third]
}
