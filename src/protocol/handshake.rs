//! The two messages of a handshake, and the two ways they travel: in an envelope to a peer that shares no keys
//! with us yet, or as control packets inside a session that is to be rekeyed.

use zeroize::Zeroizing;

use super::Entropy;
use super::hello::{self, Aeads, Hello, Unreadable};
use super::noise::{self, Initiator, Responder, TransportKeys};
use super::secrets::Secrets;

/// Bytes of either message, before envelope and padding.
pub const MESSAGE: usize = noise::OVERHEAD + hello::LENGTH;

/// The most padding of a message that travels in an envelope; lengths vary by it.
pub const PADDING: u16 = 255;

/// Where the messages travel. It is part of what they authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// In an envelope of its own.
    Envelope,
    /// Inside the session that is being rekeyed.
    Session,
}

impl Carriage {
    fn prologue(self) -> &'static [u8] {
        match self {
            Self::Envelope => b"naptun 1 handshake",
            Self::Session => b"naptun 1 rekey",
        }
    }
}

/// A first message that waits for its answer.
pub struct Initiation {
    /// Where the answer has to come from.
    pub carriage: Carriage,
    noise: Initiator,
    offered: Aeads,
}

impl Initiation {
    /// Writes the first message.
    pub fn write(
        carriage: Carriage,
        secrets: &Secrets,
        ours: &Hello,
        entropy: &mut dyn Entropy,
    ) -> (Self, [u8; MESSAGE]) {
        let mut message = [0; MESSAGE];
        let ephemeral = ephemeral(entropy);
        let noise = Initiator::write_first(
            &secrets.psk,
            carriage.prologue(),
            *ephemeral,
            &ours.encode(),
            &mut message,
        );
        (Self { carriage, noise, offered: ours.aeads }, message)
    }

    /// Reads the answer: the peer's hello and the keys. The chosen cipher is one that was offered, unless refused.
    pub fn read(&self, message: &mut [u8]) -> Result<(Hello, TransportKeys), Unreadable> {
        let (payload, keys) = self.noise.read_second(message).map_err(|_| Unreadable::Forged)?;
        let theirs = Hello::decode(payload)?;
        let one = [Aeads::AES_256_GCM, Aeads::CHACHA20_POLY1305].contains(&theirs.aeads);
        if theirs.refused || one && self.offered.holds(theirs.aeads) {
            Ok((theirs, keys))
        } else {
            Err(Unreadable::Malformed)
        }
    }
}

/// A first message that was read and may be answered.
pub struct Call {
    /// What the caller says of itself.
    pub theirs: Hello,
    noise: Responder,
}

impl Call {
    /// Reads a first message. Costs no curve operation.
    pub fn read(carriage: Carriage, secrets: &Secrets, message: &mut [u8]) -> Result<Self, Unreadable> {
        let (payload, noise) = Responder::read_first(&secrets.psk, carriage.prologue(), message)
            .map_err(|_| Unreadable::Forged)?;
        let theirs = Hello::decode(payload)?;
        Ok(Self { theirs, noise })
    }

    /// Writes the answer.
    pub fn answer(
        self,
        ours: &Hello,
        entropy: &mut dyn Entropy,
    ) -> Result<(TransportKeys, [u8; MESSAGE]), Unreadable> {
        let mut message = [0; MESSAGE];
        let ephemeral = ephemeral(entropy);
        let keys = self
            .noise
            .write_second(*ephemeral, &ours.encode(), &mut message)
            .map_err(|_| Unreadable::Malformed)?;
        Ok((keys, message))
    }
}

fn ephemeral(entropy: &mut dyn Entropy) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(&mut *secret);
    secret
}
