//! Where TCP and UDP stand in a packet, however it is wrapped: VLAN tags, IPv4 options, IPv6 extension headers.

use super::{Layer, ethertype, network};

/// Protocol number of TCP (RFC 9293).
pub const TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub const UDP: u8 = 17;

const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub(crate) const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Extension headers that may stand in front of a transport header in one piece (RFC 8200, section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// More extension headers than any sane packet has.
const EXTENSIONS_MAX: usize = 8;

/// The transport header of a whole packet; all offsets count from the packet's first byte, and lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Where the IP header begins.
    pub ip: usize,
    /// Whether that is an IPv6 header.
    pub v6: bool,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Where the transport header begins.
    pub at: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// Where the IP packet ends by its own word: padding of a frame may follow.
    pub end: usize,
}

impl Transport {
    /// Finds the transport header; `None` for other protocols, for IP fragments, and for headers that contradict the
    /// packet's length.
    pub fn of(packet: &[u8], layer: Layer) -> Option<Self> {
        let transport = Self::within(packet, layer)?;
        (transport.end <= packet.len() && transport.payload <= transport.end).then_some(transport)
    }

    /// The same of the beginning of a packet: its end is not looked at, only the headers must be there.
    pub fn within(packet: &[u8], layer: Layer) -> Option<Self> {
        let (kind, ip) = network(packet, layer)?;
        let header = packet.get(ip..)?;
        let (v6, protocol, length, total) = match kind {
            ethertype::IPV4 => ipv4(header)?,
            ethertype::IPV6 => ipv6(header)?,
            _ => return None,
        };
        let at = ip + length;
        let own = match protocol {
            TCP => (usize::from(*packet.get(at + 12)?) >> 4) * 4,
            UDP => UDP_HEADER,
            _ => return None,
        };
        let least = if protocol == TCP { TCP_HEADER } else { UDP_HEADER };
        let payload = at + own;
        (own >= least && payload <= packet.len()).then_some(Self {
            ip,
            v6,
            protocol,
            at,
            payload,
            end: ip + total,
        })
    }

    /// Where the checksum stands in the transport header, as a virtio_net_hdr counts.
    pub fn checksum_offset(&self) -> u16 {
        checksum_offset(self.protocol)
    }
}

/// Bytes from the beginning of a TCP or UDP header to its checksum.
pub fn checksum_offset(protocol: u8) -> u16 {
    if protocol == TCP { 16 } else { 6 }
}

/// Whether it is IPv6, the protocol, the length of the header, the length of the packet.
fn ipv4(header: &[u8]) -> Option<(bool, u8, usize, usize)> {
    let fixed: &[u8; IPV4_HEADER] = header.first_chunk()?;
    let length = usize::from(fixed[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
    let sane = fixed[0] >> 4 == 4 && length >= IPV4_HEADER && !fragment;
    sane.then(|| (false, fixed[9], length, usize::from(u16::from_be_bytes([fixed[2], fixed[3]]))))
}

fn ipv6(header: &[u8]) -> Option<(bool, u8, usize, usize)> {
    let fixed: &[u8; IPV6_HEADER] = header.first_chunk()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let total = IPV6_HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let (mut protocol, mut length) = (fixed[6], IPV6_HEADER);
    for _ in 0..EXTENSIONS_MAX {
        if !matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION) {
            return Some((true, protocol, length, total));
        }
        protocol = *header.get(length)?;
        length += (usize::from(*header.get(length + 1)?) + 1) * 8;
    }
    None
}
