//! Packets as bytes: super-packets cut and joined, checksums, fragments, who talks, TCP's segment size.
//!
//! Nothing here knows a socket, a device, a key or a clock, and no length or offset in a packet is believed.

pub mod chatter;
pub mod checksum;
pub mod coalesce;
pub mod fragment;
pub mod inner;
pub mod mss;
pub mod segment;
pub mod transport;
pub mod vnet;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// The layer of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// IP packets, of a tun.
    Ip,
    /// Ethernet frames, of a tap.
    Ethernet,
}

/// Ethertypes (IEEE 802 numbers).
pub(crate) mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const PROVIDER_VLAN: u16 = 0x88a8;
    pub const IPV6: u16 = 0x86dd;
}

/// Bytes of a VLAN tag (IEEE 802.1Q).
const TAG: usize = 4;

/// VLAN tags that a frame may have: one, or two of them (IEEE 802.1ad).
const TAGS_MAX: usize = 2;

/// The ethertype of a frame and the offset of what it carries, behind its VLAN tags.
pub(crate) fn ethernet(frame: &[u8]) -> Option<(u16, usize)> {
    let mut offset = ETHERNET;
    for _ in 0..=TAGS_MAX {
        let kind = u16::from_be_bytes(*frame.get(offset - 2..)?.first_chunk()?);
        if !matches!(kind, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
            return Some((kind, offset));
        }
        offset += TAG;
    }
    None
}

/// The ethertype of a packet, said or implied, and where its network header begins.
pub(crate) fn network(packet: &[u8], layer: Layer) -> Option<(u16, usize)> {
    match (layer, packet.first()? >> 4) {
        (Layer::Ethernet, _) => ethernet(packet),
        (Layer::Ip, 4) => Some((ethertype::IPV4, 0)),
        (Layer::Ip, 6) => Some((ethertype::IPV6, 0)),
        _ => None,
    }
}
