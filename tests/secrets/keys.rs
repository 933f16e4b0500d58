//! Every secret of a handshake, from the static key and the two ephemeral keys alone, as doc/protocol.md says.

use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2b512, Blake2bMac, Blake2s256, Blake2sMac256, Digest};
use x25519_dalek::{PublicKey, StaticSecret};

/// A secret and what to call it.
pub type Named = (String, Vec<u8>);

/// What one handshake brings into memory.
pub struct Handshake {
    /// What is needed while its packets are: the data and header keys of both directions.
    pub lasting: Vec<Named>,
    /// What is needed for the handshake alone.
    pub passing: Vec<Named>,
}

/// Section 2: `psk`.
pub fn psk(key: &[u8; 256]) -> [u8; 32] {
    let root: [u8; 64] = Blake2b512::digest(key).into();
    Blake2bMac::<U32>::new(&root.into()).chain_update(b"naptun 1 psk").finalize().into_bytes().into()
}

/// Sections 4 and 7. The chaining key depends on the pre-shared key, the public keys and their secret, on nothing else.
pub fn handshake(number: usize, psk: &[u8; 32], initiator: [u8; 32], responder: [u8; 32]) -> Handshake {
    let [first, second] = [initiator, responder].map(StaticSecret::from);
    let shared = first.diffie_hellman(&PublicKey::from(&second));
    let name: [u8; 32] = Blake2s256::digest(b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s").into();
    let [e, re] = [&first, &second].map(PublicKey::from);
    let inputs: [&[u8]; 4] = [psk, e.as_bytes(), re.as_bytes(), shared.as_bytes()];
    let chaining = inputs.iter().fold(name, |chaining, input| hkdf(&chaining, input)[0]);
    let split = hkdf(&chaining, &[]);
    let named = |what: &str, bytes: &[u8]| (format!("{what} of handshake {number}"), bytes.to_vec());
    let mut lasting = Vec::new();
    for (direction, key) in ["there", "back"].iter().zip(&split) {
        lasting.push(named(&format!("data key {direction}"), &labelled(key, b"naptun 1 data")));
        lasting.push(named(&format!("header key {direction}"), &labelled(key, b"naptun 1 header")[..16]));
    }
    let passing = vec![
        // The first and the last byte are changed where the key is used.
        named("the initiator's ephemeral key", &initiator[8..24]),
        named("the responder's ephemeral key", &responder[8..24]),
        named("the shared secret", shared.as_bytes()),
        named("the chaining key", &chaining),
        named("the split key there", &split[0]),
        named("the split key back", &split[1]),
    ];
    Handshake { lasting, passing }
}

fn labelled(key: &[u8; 32], label: &[u8]) -> [u8; 32] {
    Blake2sMac256::new(key.into()).chain_update(label).finalize().into_bytes().into()
}

fn hkdf(chaining: &[u8; 32], input: &[u8]) -> [[u8; 32]; 2] {
    let key = hmac(chaining, &[input]);
    let first = hmac(&key, &[&[1]]);
    [first, hmac(&key, &[&first, &[2]])]
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|n| key.get(n).copied().unwrap_or(0) ^ byte).collect() };
    let hash = |first: Vec<u8>, parts: &[&[u8]]| -> [u8; 32] {
        parts
            .iter()
            .fold(Blake2s256::new().chain_update(first), |hash, part| hash.chain_update(part))
            .finalize()
            .into()
    };
    let inner = hash(pad(0x36), parts);
    hash(pad(0x5c), &[&inner])
}
