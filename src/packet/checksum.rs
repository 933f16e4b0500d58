//! The Internet checksum (RFC 1071): partial, completed, verified.
//!
//! A *partial* checksum field holds the folded sum of the pseudo-header, as the kernel leaves it to hardware
//! (CHECKSUM_PARTIAL of include/linux/skbuff.h). Whoever completes it sums from the transport header to the end.

use super::transport::{Transport, UDP};

/// Adds `bytes` to a sum, as big-endian 16-bit words; an odd last byte counts as the high one.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    // Sums do not mind the byte order as long as all words have the same (RFC 1071, section 2).
    let mut total = 0u64;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    sum + u64::from(u16::from_be(fold(total)))
}

/// Folds a sum to 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1) of a transport segment of `length` bytes.
pub fn pseudo(packet: &[u8], transport: &Transport, length: usize) -> u64 {
    let ip = transport.ip;
    let addresses = if transport.v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
    let sum = packet.get(addresses).map_or(0, |addresses| add(0, addresses));
    sum + u64::from(transport.protocol) + length as u64
}

/// Completes a partial checksum: of the bytes from `start` on, into the field `offset` bytes behind it.
///
/// `None`, and nothing is changed, where there is no such field.
pub fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let segment = packet.get_mut(start..)?;
    segment.get(offset..offset + 2)?;
    let sum = match !fold(add(0, segment)) {
        // A checksum of zero says that UDP has none; for TCP both zeroes are the same.
        0 => 0xffff,
        sum => sum,
    };
    segment.get_mut(offset..offset + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Whether a complete checksum is right; one that UDP leaves out is not.
pub fn verify(packet: &[u8], transport: &Transport) -> bool {
    let Some(segment) = packet.get(transport.at..transport.end) else { return false };
    let left_out = transport.protocol == UDP && segment.get(6..8) == Some(&[0, 0]);
    !left_out && fold(add(pseudo(packet, transport, segment.len()), segment)) == 0xffff
}
