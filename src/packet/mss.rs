//! `mssfix`: lowers the segment size that a TCP connection through the tunnel agrees on (RFC 9293, 3.7.1).

use super::{Layer, ip_offset};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const TCP_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// In a SYN, lowers an MSS option so that the connection's packets take at most `most` bytes of the device's layer.
/// Everything else is left as it is.
pub fn clamp(packet: &mut [u8], layer: Layer, most: u16) {
    let _ = try_clamp(packet, layer, most);
}

fn try_clamp(packet: &mut [u8], layer: Layer, most: u16) -> Option<()> {
    let ip = ip_offset(packet, layer)?;
    let header = tcp_offset(packet.get(ip..)?)?;
    let tcp = packet.get_mut(ip + header..)?;
    if tcp.get(13)? & SYN == 0 {
        return None;
    }
    let most = usize::from(most).checked_sub(ip + header + TCP_HEADER)? as u16;
    let options = usize::from(tcp.get(12)? >> 4) * 4;
    let at = mss_option(tcp.get(..options)?)?;
    let old = u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?);
    if old <= most {
        return None;
    }
    tcp.get_mut(at..at + 2)?.copy_from_slice(&most.to_be_bytes());
    let sum = u16::from_be_bytes(*tcp.get(16..)?.first_chunk()?);
    // An option may begin at an odd offset; then its bytes count swapped.
    let (old, new) = if at % 2 == 0 { (old, most) } else { (old.swap_bytes(), most.swap_bytes()) };
    tcp.get_mut(16..18)?.copy_from_slice(&adjusted(sum, old, new).to_be_bytes());
    Some(())
}

/// Where TCP begins in an IP packet; `None` for other protocols and later fragments.
fn tcp_offset(ip: &[u8]) -> Option<usize> {
    match ip.first()? >> 4 {
        4 => {
            let fragment = u16::from_be_bytes([ip.get(6)? & 0x1f, *ip.get(7)?]);
            (*ip.get(9)? == TCP && fragment == 0).then_some(usize::from(ip.first()? & 0x0f) * 4)
        }
        6 => (*ip.get(6)? == TCP).then_some(IPV6_HEADER),
        _ => None,
    }
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
