//! Who talks: somebody, or only the kernels at both ends.
//!
//! Router solicitations, multicast reports and name announcements go out on every interface by themselves. They must
//! neither wake a peer nor keep it awake. A neighbour's address is asked for because somebody wants to talk: that
//! wakes a peer, but says nothing about how long it is needed.

use super::{Layer, ethernet, ethertype};

/// What a packet from the device is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Traffic: wakes the peer, and counts against the idle timeout.
    Traffic,
    /// A neighbour is looked for: wakes the peer, does not count.
    Resolution,
    /// Kernel chatter: neither.
    Chatter,
}

const IGMP: u8 = 2;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const NEIGHBOUR_SOLICITATION: u8 = 135;

/// Judges a packet by its addresses; one that is too short to tell is traffic.
pub fn interest(packet: &[u8], layer: Layer) -> Interest {
    match layer {
        Layer::Ip => ip(packet),
        Layer::Ethernet => frame(packet),
    }
}

fn frame(frame: &[u8]) -> Interest {
    match ethernet(frame) {
        Some((ethertype::ARP, offset)) => arp(frame.get(offset..).unwrap_or_default()),
        Some((ethertype::IPV4 | ethertype::IPV6, offset)) => ip(frame.get(offset..).unwrap_or_default()),
        // Spanning tree and other link protocols: reserved multicast addresses (IEEE 802.1D, table 7-10).
        _ if frame.starts_with(&[0x01, 0x80, 0xc2, 0, 0]) => Interest::Chatter,
        _ => Interest::Traffic,
    }
}

/// An announcement asks for nobody: sender and target are the same (RFC 5227).
fn arp(arp: &[u8]) -> Interest {
    match (arp.get(14..18), arp.get(24..28)) {
        (Some(sender), Some(target)) if sender == target || sender == [0; 4] => Interest::Chatter,
        _ => Interest::Resolution,
    }
}

fn ip(packet: &[u8]) -> Interest {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.get(16..19) == Some(&[224, 0, 0]) => Interest::Chatter,
        // Reports go to the group that they are about.
        Some(4) if packet.get(9) == Some(&IGMP) => Interest::Chatter,
        Some(4) if packet.get(16..20) == Some(&[239, 255, 255, 250]) => Interest::Chatter,
        Some(6) => ipv6(packet),
        _ => Interest::Traffic,
    }
}

fn ipv6(packet: &[u8]) -> Interest {
    let (Some(source), Some(target)) = (packet.get(8..24), packet.get(24..40)) else {
        return Interest::Traffic;
    };
    let unspecified = source.iter().all(|byte| *byte == 0);
    let link_local_multicast = target[0] == 0xff && target[1] & 0x0f <= 2;
    let next = packet.get(6).copied();
    let solicitation = next == Some(ICMPV6) && packet.get(40) == Some(&NEIGHBOUR_SOLICITATION);
    if solicitation && !unspecified {
        return Interest::Resolution;
    }
    let neighbour_discovery =
        next == Some(ICMPV6) && packet.get(40).is_some_and(|kind| (133..=137).contains(kind));
    if unspecified || link_local_multicast || neighbour_discovery || next == Some(HOP_BY_HOP) {
        return Interest::Chatter;
    }
    Interest::Traffic
}
