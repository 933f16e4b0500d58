//! The inner byte: what the sealed packet behind it is (doc/protocol.md, "The inner byte").

use super::transport::Transport;
use super::vnet::Sum;
use super::{Layer, checksum};

/// The TCP or UDP checksum is the partial one of the pseudo-header; the receiving end completes it.
pub const NEEDS_CSUM: u8 = 0x01;
/// The packet continues the burst of the datagram before: the same headers, and the payload that comes next.
pub const CONTINUES: u8 = 0x02;
/// A fragment header and a piece of a packet follow.
pub const FRAGMENT: u8 = 0x04;
/// The sending kernel found the checksum right; nobody needs to look again.
pub const VERIFIED: u8 = 0x08;

/// All bits that a packet for the device may carry in this version.
pub const KNOWN: u8 = NEEDS_CSUM | CONTINUES | FRAGMENT | VERIFIED;

/// The bits that tell the receiver of a checksum. One that it could not find by itself is completed here.
pub fn of(packet: &mut [u8], sum: Sum, layer: Layer) -> u8 {
    match sum {
        Sum::Complete => 0,
        Sum::Verified => VERIFIED,
        Sum::Partial { start, offset } => {
            if Transport::of(packet, layer).is_some_and(|transport| Sum::partial(&transport) == sum) {
                return NEEDS_CSUM;
            }
            let _ = checksum::complete(packet, usize::from(start), usize::from(offset));
            0
        }
    }
}

/// The reverse of [`of`]; `None` where a partial checksum is not to be found.
pub fn sum(bits: u8, packet: &[u8], layer: Layer) -> Option<Sum> {
    match said(bits) {
        Sum::Partial { .. } => Some(Sum::partial(&Transport::of(packet, layer)?)),
        sum => Some(sum),
    }
}

/// What the bits say alone, before the packet is looked at: where a partial checksum stands is left open.
pub fn said(bits: u8) -> Sum {
    match bits {
        bits if bits & NEEDS_CSUM != 0 => Sum::Partial { start: 0, offset: 0 },
        bits if bits & VERIFIED != 0 => Sum::Verified,
        _ => Sum::Complete,
    }
}
