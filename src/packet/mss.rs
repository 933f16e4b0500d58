//! `mssfix`: lowers the segment size that a TCP connection through the tunnel agrees on (RFC 9293, 3.7.1).

use super::Layer;
use super::transport::{TCP, Transport};
use super::vnet::Sum;

const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const TCP_HEADER: usize = 20;

/// In a SYN, lowers an MSS option so that the connection's packets take at most `most` bytes of the device's layer.
/// Everything else is left as it is; a partial checksum does not cover the option.
pub fn clamp(packet: &mut [u8], layer: Layer, sum: Sum, most: u16) {
    let _ = try_clamp(packet, layer, sum, most);
}

fn try_clamp(packet: &mut [u8], layer: Layer, sum: Sum, most: u16) -> Option<()> {
    let transport = Transport::within(packet, layer)?;
    let tcp = packet.get_mut(transport.at..)?;
    if transport.protocol != TCP || tcp.get(13)? & SYN == 0 {
        return None;
    }
    let most = usize::from(most).checked_sub(transport.at + TCP_HEADER)? as u16;
    let at = mss_option(tcp.get(..transport.payload - transport.at)?)?;
    let old = u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?);
    if old <= most {
        return None;
    }
    tcp.get_mut(at..at + 2)?.copy_from_slice(&most.to_be_bytes());
    if matches!(sum, Sum::Partial { .. }) {
        return None;
    }
    let sum = u16::from_be_bytes(*tcp.get(16..)?.first_chunk()?);
    // An option may begin at an odd offset; then its bytes count swapped.
    let (old, new) = if at % 2 == 0 { (old, most) } else { (old.swap_bytes(), most.swap_bytes()) };
    tcp.get_mut(16..18)?.copy_from_slice(&adjusted(sum, old, new).to_be_bytes());
    Some(())
}

/// Where the value of the MSS option stands in a TCP header.
fn mss_option(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            OPTION_MSS => return (*header.get(at + 1)? == 4 && at + 4 <= header.len()).then_some(at + 2),
            _ => at += usize::from(*header.get(at + 1)?).max(2),
        }
    }
}

/// The checksum after `old` has become `new` (RFC 1624, equation 3).
fn adjusted(sum: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}
