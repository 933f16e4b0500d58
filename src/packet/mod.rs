//! Packets as bytes: what the inner byte says of them, fragments, who talks, TCP's segment size.
//!
//! Nothing here knows a socket, a device, a key or a clock, and no length or offset in a packet is believed.

pub mod chatter;
pub mod fragment;
pub mod inner;
pub mod mss;

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
    pub const IPV6: u16 = 0x86dd;
}

/// The ethertype of a frame and the offset of what it carries; one VLAN tag is stepped over.
pub(crate) fn ethernet(frame: &[u8]) -> Option<(u16, usize)> {
    let at = |offset: usize| Some(u16::from_be_bytes(*frame.get(offset..)?.first_chunk()?));
    match at(12)? {
        ethertype::VLAN => Some((at(16)?, ETHERNET + 4)),
        kind => Some((kind, ETHERNET)),
    }
}

/// Where the IP header of a packet begins; `None` for a frame that carries no IP.
pub(crate) fn ip_offset(packet: &[u8], layer: Layer) -> Option<usize> {
    match layer {
        Layer::Ip => Some(0),
        Layer::Ethernet => {
            let (kind, offset) = ethernet(packet)?;
            [ethertype::IPV4, ethertype::IPV6].contains(&kind).then_some(offset)
        }
    }
}
