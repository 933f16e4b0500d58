//! What both ends tell each other inside the handshake, and whether it goes together.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The version of the protocol that this code speaks.
pub const VERSION: u8 = 1;

/// Bytes of the payload of a handshake message. Later versions may append to it.
pub const LENGTH: usize = 64;

const LISTENER: u8 = 0x01;
const TAP: u8 = 0x02;
const HAS_IPV4: u8 = 0x04;
const HAS_IPV6: u8 = 0x08;
const REFUSED: u8 = 0x10;

/// The payload of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender was woken or waits; it did not start by itself.
    pub listener: bool,
    /// The sender's device carries Ethernet frames, not IP packets.
    pub tap: bool,
    /// The answer only says why there will be no session.
    pub refused: bool,
    /// Bulk ciphers offered (first message), or the one chosen (second message).
    pub aeads: Aeads,
    /// The device's MTU, bytes.
    pub mtu: u16,
    /// The longest datagram that passed the path the last time, bytes; 0 where that is not known.
    pub passed: u16,
    /// Random, and kept in the record: tells a reflection, and who yields when handshakes cross.
    pub instance: u64,
    /// Microseconds since the Unix epoch, higher in each handshake of one sender.
    pub stamp: u64,
    /// Addresses inside the tunnel: local, and remote (tun) or netmask (tap).
    pub ipv4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses inside the tunnel: local, remote, and prefix length.
    pub ipv6: Option<(Ipv6Addr, Ipv6Addr, u8)>,
}

/// A set of bulk ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aeads(pub u8);

impl Aeads {
    /// ChaCha20-Poly1305 (RFC 8439).
    pub const CHACHA20_POLY1305: Self = Self(0x01);
    /// AES-256-GCM (NIST SP 800-38D).
    pub const AES_256_GCM: Self = Self(0x02);

    /// Whether all of `other` is in the set.
    pub fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The better cipher that both sets hold: AES where both ends have instructions for it.
    pub fn choose(self, other: Self) -> Option<Self> {
        [Self::AES_256_GCM, Self::CHACHA20_POLY1305]
            .into_iter()
            .find(|one| self.holds(*one) && other.holds(*one))
    }
}

impl fmt::Display for Aeads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::AES_256_GCM => "AES-256-GCM",
            Self::CHACHA20_POLY1305 => "CHACHA20-POLY1305",
            _ => "AES-256-GCM:CHACHA20-POLY1305",
        })
    }
}

/// Why a handshake message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not from a holder of the key, or not for this handshake.
    Forged,
    /// Authentic, but against the rules of this version.
    Malformed,
    /// Authentic, and of a version that we do not speak.
    Version(u8),
}

/// Why two ends do not go together, in words for both logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// tun against tap.
    Device {
        /// The peer has a tap.
        theirs_tap: bool,
    },
    /// `ifconfig` lines that are not each other's mirror image (tun).
    Mirror {
        /// The peer's two parameters.
        theirs: (Ipv4Addr, Ipv4Addr),
        /// Ours.
        ours: (Ipv4Addr, Ipv4Addr),
    },
    /// `ifconfig` lines of one Ethernet segment that do not fit (tap).
    Segment {
        /// The peer's address and netmask.
        theirs: (Ipv4Addr, Ipv4Addr),
        /// Ours.
        ours: (Ipv4Addr, Ipv4Addr),
    },
    /// `ifconfig-ipv6` lines that are not each other's mirror image.
    MirrorIpv6 {
        /// The peer's two addresses.
        theirs: (Ipv6Addr, Ipv6Addr),
        /// Ours.
        ours: (Ipv6Addr, Ipv6Addr),
    },
    /// No bulk cipher in common.
    Cipher,
    /// A version of the protocol that we do not speak.
    Version(u8),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { theirs_tap: true } => f.write_str("the peer has dev tap, this end dev tun"),
            Self::Device { theirs_tap: false } => f.write_str("the peer has dev tun, this end dev tap"),
            Self::Mirror { theirs, ours } => write!(
                f,
                "the peer has ifconfig {} {}, so this end needs ifconfig {} {}, not {} {}",
                theirs.0, theirs.1, theirs.1, theirs.0, ours.0, ours.1
            ),
            Self::Segment { theirs, ours } => write!(
                f,
                "the peer has ifconfig {} {}, this end {} {}: one subnet, one netmask, two addresses are needed",
                theirs.0, theirs.1, ours.0, ours.1
            ),
            Self::MirrorIpv6 { theirs, ours } => write!(
                f,
                "the peer has ifconfig-ipv6 {} {}, so this end needs ifconfig-ipv6 {} {}, not {} {}",
                theirs.0, theirs.1, theirs.1, theirs.0, ours.0, ours.1
            ),
            Self::Cipher => f.write_str("no cipher in common: compare data-ciphers on both ends"),
            Self::Version(version) => {
                write!(f, "the peer speaks version {version} of the protocol, this end version {VERSION}")
            }
        }
    }
}

impl Hello {
    /// The bytes of doc/protocol.md, section "Hello".
    pub fn encode(&self) -> [u8; LENGTH] {
        let (v4, v6) = (self.ipv4, self.ipv6);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[1] = flag(self.listener, LISTENER)
            | flag(self.tap, TAP)
            | flag(v4.is_some(), HAS_IPV4)
            | flag(v6.is_some(), HAS_IPV6)
            | flag(self.refused, REFUSED);
        bytes[2] = self.aeads.0;
        bytes[3] = v6.map_or(0, |(_, _, prefix)| prefix);
        bytes[4..6].copy_from_slice(&self.mtu.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.passed.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.instance.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.stamp.to_le_bytes());
        if let Some((local, remote)) = v4 {
            bytes[24..28].copy_from_slice(&local.octets());
            bytes[28..32].copy_from_slice(&remote.octets());
        }
        if let Some((local, remote, _)) = v6 {
            bytes[32..48].copy_from_slice(&local.octets());
            bytes[48..64].copy_from_slice(&remote.octets());
        }
        bytes
    }

    /// The reverse of [`encode`](Self::encode); never [`Unreadable::Forged`].
    pub fn decode(payload: &[u8]) -> Result<Self, Unreadable> {
        let version = *payload.first().ok_or(Unreadable::Malformed)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let bytes: &[u8; LENGTH] = payload.first_chunk().ok_or(Unreadable::Malformed)?;
        let flags = bytes[1];
        let v4 = |at: usize| Ipv4Addr::from(field::<4>(bytes, at));
        let v6 = |at: usize| Ipv6Addr::from(field::<16>(bytes, at));
        Ok(Self {
            listener: flags & LISTENER != 0,
            tap: flags & TAP != 0,
            refused: flags & REFUSED != 0,
            aeads: Aeads(bytes[2]),
            mtu: u16::from_le_bytes(field(bytes, 4)),
            passed: u16::from_le_bytes(field(bytes, 6)),
            instance: u64::from_le_bytes(field(bytes, 8)),
            stamp: u64::from_le_bytes(field(bytes, 16)),
            ipv4: (flags & HAS_IPV4 != 0).then(|| (v4(24), v4(28))),
            ipv6: (flags & HAS_IPV6 != 0).then(|| (v6(32), v6(48), bytes[3])),
        })
    }

    /// What keeps the two ends from going together; the same is found on both ends.
    ///
    /// An end without addresses (a bridged tap, `ifconfig-noexec`) goes with any.
    pub fn mismatch(&self, theirs: &Self) -> Option<Mismatch> {
        if self.tap != theirs.tap {
            return Some(Mismatch::Device { theirs_tap: theirs.tap });
        }
        if let (Some(ours), Some(theirs)) = (self.ipv4, theirs.ipv4) {
            if self.tap && !same_segment(ours, theirs) {
                return Some(Mismatch::Segment { theirs, ours });
            }
            if !self.tap && (ours.1, ours.0) != theirs {
                return Some(Mismatch::Mirror { theirs, ours });
            }
        }
        match (self.ipv6, theirs.ipv6) {
            (Some(ours), Some(theirs)) if (ours.1, ours.0) != (theirs.0, theirs.1) => {
                Some(Mismatch::MirrorIpv6 { theirs: (theirs.0, theirs.1), ours: (ours.0, ours.1) })
            }
            _ => None,
        }
    }
}

/// `N` bytes at a constant offset within the payload.
fn field<const N: usize>(bytes: &[u8; LENGTH], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn same_segment(ours: (Ipv4Addr, Ipv4Addr), theirs: (Ipv4Addr, Ipv4Addr)) -> bool {
    let network = |(address, mask): (Ipv4Addr, Ipv4Addr)| address.to_bits() & mask.to_bits();
    ours.1 == theirs.1 && ours.0 != theirs.0 && network(ours) == network(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_with_any_of_it_present_or_not() {
        for bits in 0..32_u64 {
            let has = |bit: u32| bits & (1 << bit) != 0;
            let ipv4 = has(0).then(|| ([10, 8, 0, 1].into(), [10, 8, 0, 2].into()));
            let ipv6 = has(1).then_some((Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, 64));
            let hello = Hello {
                listener: has(2),
                tap: has(3),
                refused: has(4),
                aeads: Aeads::AES_256_GCM,
                mtu: 1420,
                passed: 1472,
                instance: u64::MAX - bits,
                stamp: bits,
                ipv4,
                ipv6,
            };
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello), "{bits:05b}");
        }
    }

    #[test]
    fn a_set_of_ciphers_holds_what_was_put_in_and_is_called_by_its_members() {
        let (aes, chacha) = (Aeads::AES_256_GCM, Aeads::CHACHA20_POLY1305);
        assert_eq!(aes.with(aes), aes);
        let both = aes.with(chacha);
        assert!(both.holds(aes) && both.holds(chacha) && !aes.holds(chacha) && !aes.holds(both));
        let names = [aes, chacha, both].map(|set| set.to_string());
        assert_eq!(names, ["AES-256-GCM", "CHACHA20-POLY1305", "AES-256-GCM:CHACHA20-POLY1305"]);
    }
}
