//! Between whom a datagram travels, in the form that the tunnel compares and in those that the kernel takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
};

/// Between whom a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer; never an IPv4-mapped address.
    pub remote: SocketAddr,
    /// Our address; `None` leaves the choice to the kernel.
    pub local: Option<IpAddr>,
    /// Index of the device where the peer's address is link-local, else 0.
    pub device: u32,
}

impl Path {
    /// To `remote`, from whichever address the kernel chooses.
    pub fn to(remote: SocketAddr) -> Self {
        let remote = unmap(remote);
        Self { remote, local: None, device: scope(&remote) }
    }
}

/// The address of ours that a datagram was sent to, from its packet info. None for multicast and broadcast:
/// nobody can answer from those.
pub(super) fn called(message: &ControlMessageOwned) -> Option<IpAddr> {
    let addr = match message {
        // Filled in on arrival: a datagram that came before we asked has only the address in its header.
        ControlMessageOwned::Ipv4PacketInfo(info) => match v4(info.ipi_spec_dst) {
            Ipv4Addr::UNSPECIFIED => v4(info.ipi_addr).into(),
            addr => addr.into(),
        },
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical()
        }
        _ => return None,
    };
    let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    (!addr.is_unspecified() && !addr.is_multicast() && !broadcast).then_some(addr)
}

pub(super) fn info_v4(local: IpAddr) -> libc::in_pktinfo {
    let addr = match local {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let source = libc::in_addr { s_addr: u32::from_ne_bytes(addr.octets()) };
    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } }
}

/// To a mapped peer the source must be a mapped address, even if it is the unspecified one.
pub(super) fn info_v6(local: IpAddr, remote: SocketAddr) -> libc::in6_pktinfo {
    let addr = match (local, remote) {
        (IpAddr::V4(addr), SocketAddr::V4(_)) => addr.to_ipv6_mapped(),
        (IpAddr::V6(_), SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
        (IpAddr::V6(addr), SocketAddr::V6(_)) => addr,
        (IpAddr::V4(_), SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED,
    };
    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: addr.octets() }, ipi6_ifindex: 0 }
}

pub(super) fn socket_addr(name: &SockaddrStorage) -> Option<SocketAddr> {
    match name.family()? {
        AddressFamily::Inet => name.as_sockaddr_in().map(|v4: &SockaddrIn| (*v4).into()),
        AddressFamily::Inet6 => name.as_sockaddr_in6().map(|v6: &SockaddrIn6| (*v6).into()),
        _ => None,
    }
}

/// The form a path has: IPv4 as such, and of IPv6 only what tells peers apart.
pub(super) fn unmap(addr: SocketAddr) -> SocketAddr {
    match (addr.ip().to_canonical(), addr) {
        (IpAddr::V6(ip), SocketAddr::V6(_)) => SocketAddrV6::new(ip, addr.port(), 0, scope(&addr)).into(),
        (ip, _) => SocketAddr::new(ip, addr.port()),
    }
}

/// The form an IPv6 socket takes.
pub(super) fn map(addr: SocketAddr, device: u32) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, device).into(),
    }
}

pub(super) fn scope(addr: &SocketAddr) -> u32 {
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        _ => 0,
    }
}

fn v4(addr: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(addr.s_addr.to_ne_bytes())
}
