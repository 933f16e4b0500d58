//! Forged news of a narrow path: what any router on the way could send, and anybody who knows addresses and ports.

#![allow(clippy::expect_used, reason = "it is a part of tests")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

use super::Host;

/// The length of the datagram that is said not to have fitted, UDP payload.
const QUOTED: u16 = 1445;

/// Tells `from`, in the name of the router `net`, that what it sent to `to` must not be longer than `mtu`: IPv4's
/// fragmentation needed, IPv6's packet too big.
pub fn too_big(net: &Host, from: SocketAddr, to: SocketAddr, mtu: u16) {
    net.in_network(|| match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let kind = (AddressFamily::Inet, SockProtocol::Icmp);
            let text = [&ipv4(source, destination)[..], &udp(from, to)].concat();
            let mut message = [&[3, 4, 0, 0, 0, 0][..], &mtu.to_be_bytes(), &text].concat();
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let target = SockaddrIn::from(SocketAddrV4::new(source, 0));
            let socket = socket(kind.0, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind.1).expect("a raw socket");
            sendto(socket.as_raw_fd(), &message, &target, MsgFlags::empty()).expect("send ICMP");
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let kind = (AddressFamily::Inet6, SockProtocol::IcmpV6);
            let text = [&ipv6(source, destination)[..], &udp(from, to)].concat();
            // The kernel sums it.
            let message = [&[2, 0, 0, 0, 0, 0][..], &mtu.to_be_bytes(), &text].concat();
            let target = SockaddrIn6::from(SocketAddrV6::new(source, 0, 0, 0));
            let socket = socket(kind.0, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind.1).expect("a raw socket");
            sendto(socket.as_raw_fd(), &message, &target, MsgFlags::empty()).expect("send ICMPv6");
        }
        _ => unreachable!("two versions of IP in one datagram"),
    });
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let length = (20 + 8 + QUOTED).to_be_bytes();
    let (dont_fragment, ttl, protocol) = (0x40, 63, 17);
    let mut header = [&[0x45, 0], &length[..], &[0, 0, dont_fragment, 0, ttl, protocol, 0, 0]].concat();
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let length = (8 + QUOTED).to_be_bytes();
    let (next, hops) = (17, 63);
    let mut header = [&[0x60, 0, 0, 0], &length[..], &[next, hops]].concat();
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn udp(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let fields = [from.port(), to.port(), 8 + QUOTED, 0x1234];
    fields.iter().flat_map(|field| field.to_be_bytes()).collect()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
