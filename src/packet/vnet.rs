//! The header in front of each packet of a device with IFF_VNET_HDR: struct virtio_net_hdr of linux/virtio_net.h, in
//! the byte order of the host.

use super::transport::{TCP, Transport};

/// Bytes of the header.
pub const LENGTH: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What is known of a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// It is as its sender wrote it.
    Complete,
    /// The same, and the kernel found it right.
    Verified,
    /// It is that of the pseudo-header; see [`super::checksum`].
    Partial {
        /// Where what it covers begins.
        start: u16,
        /// Where it stands, from there.
        offset: u16,
    },
}

/// What a super-packet is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// [`TCP`] or [`super::transport::UDP`].
    pub protocol: u8,
    /// IPv6 around TCP. UDP has one type for both.
    pub v6: bool,
    /// TCP with CWR: only the first segment keeps it.
    pub ecn: bool,
    /// Payload of each segment but the last, bytes; not 0.
    pub size: u16,
    /// All headers, bytes. What the kernel says is a hint and not believed.
    pub header: u16,
}

/// The header, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The checksum of the packet.
    pub sum: Sum,
    /// `None` for a packet that is one.
    pub gso: Option<Gso>,
}

impl Header {
    /// In front of an ordinary packet.
    pub const PLAIN: Self = Self { sum: Sum::Complete, gso: None };

    /// Reads a header of the kernel's; `None` for a kind of super-packet that was never asked for.
    pub fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let sum = match bytes[0] {
            flags if flags & NEEDS_CSUM != 0 => Sum::Partial { start: field(6), offset: field(8) },
            flags if flags & DATA_VALID != 0 => Sum::Verified,
            _ => Sum::Complete,
        };
        let kind = bytes[1];
        let gso =
            |protocol, v6| Gso { protocol, v6, ecn: kind & GSO_ECN != 0, size: field(4), header: field(2) };
        let gso = match kind & !GSO_ECN {
            0 => None,
            GSO_TCPV4 => Some(gso(TCP, false)),
            GSO_TCPV6 => Some(gso(TCP, true)),
            GSO_UDP_L4 => Some(gso(super::transport::UDP, false)),
            _ => return None,
        };
        gso.is_none_or(|gso| gso.size > 0).then_some(Self { sum, gso })
    }

    /// The reverse of [`decode`](Self::decode).
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut field = |at: usize, value: u16| bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        if let Some(gso) = self.gso {
            field(2, gso.header);
            field(4, gso.size);
        }
        if let Sum::Partial { start, offset } = self.sum {
            field(6, start);
            field(8, offset);
        }
        bytes[0] = match self.sum {
            Sum::Complete => 0,
            Sum::Verified => DATA_VALID,
            Sum::Partial { .. } => NEEDS_CSUM,
        };
        bytes[1] = self.gso.map_or(0, |gso| {
            let kind = match (gso.protocol, gso.v6) {
                (TCP, false) => GSO_TCPV4,
                (TCP, true) => GSO_TCPV6,
                _ => GSO_UDP_L4,
            };
            if gso.ecn { kind | GSO_ECN } else { kind }
        });
        bytes
    }
}

impl Sum {
    /// The partial checksum of a transport header.
    pub fn partial(transport: &Transport) -> Self {
        Self::Partial { start: transport.at as u16, offset: transport.checksum_offset() }
    }
}
