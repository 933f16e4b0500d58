//! Addresses inside the tunnel that nobody has yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::seen::Seen;
use super::wanted::{Wanted, meet, wrong};
use crate::error::{Error, Exit};
use crate::os::route::Network;

/// Random bytes for an IPv6 prefix: the global ID of RFC 4193, section 3.2.
pub(super) const RANDOM: usize = 5;

/// Half the internet, as `redirect-gateway def1` routes it, is no network that could be avoided.
const WIDEST: u8 = 2;

/// The last bytes of the two ends of a network.
const LISTENER: u8 = 1;
const CALLER: u8 = 2;

/// A /24, and a /64 where an IPv6 network is to be reached: of each the first address is the listener's, the second the
/// caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    pub ipv4: (Ipv4Addr, Ipv4Addr),
    pub ipv6: Option<(Ipv6Addr, Ipv6Addr)>,
}

/// The first network of a private range that meets nothing of this host, of its tunnels, or of this one.
pub(super) fn choose(
    wanted: &Wanted,
    seen: &Seen,
    remote: &str,
    random: [u8; RANDOM],
) -> Result<Inner, Error> {
    let taken = taken(wanted, seen, remote);
    let free = |addr: &Ipv4Addr| {
        let network = Network { addr: IpAddr::V4(*addr), prefix: 24 };
        !taken.iter().any(|other| meet(&network, other))
    };
    let base = candidates().find(free).ok_or_else(|| {
        Error::new(Exit::Unavailable, "choose addresses", "every private network is in use on this host")
            .advise("run naptun pair on another host, and correct ifconfig by hand")
    })?;
    let [a, b, c, _] = base.octets();
    let end = |last| Ipv4Addr::new(a, b, c, last);
    let six = wanted.networks.iter().chain(&wanted.caller_networks).any(|network| network.addr.is_ipv6());
    let [d, e, f, g, h] = random.map(u16::from);
    let end6 = |last: u8| Ipv6Addr::new(0xfd00 | d, e << 8 | f, g << 8 | h, 0, 0, 0, 0, last.into());
    Ok(Inner { ipv4: (end(LISTENER), end(CALLER)), ipv6: six.then(|| (end6(LISTENER), end6(CALLER))) })
}

/// 10.8.N.0 is where everybody looks for a tunnel; the others are what is least in use.
fn candidates() -> impl Iterator<Item = Ipv4Addr> {
    let ten = (0..=255).map(|n| Ipv4Addr::new(10, 8, n, 0));
    let seventeen = (0..=255).map(|n| Ipv4Addr::new(172, 29, n, 0));
    let nineteen = (2..=254).rev().map(|n| Ipv4Addr::new(192, 168, n, 0));
    ten.chain(seventeen).chain(nineteen)
}

/// Every network that a pair of addresses must not lie in.
fn taken(wanted: &Wanted, seen: &Seen, remote: &str) -> Vec<Network> {
    let host = |addr: IpAddr| Network::new(addr, if addr.is_ipv4() { 32 } else { 128 });
    let mut taken = [wanted.networks.clone(), wanted.caller_networks.clone()].concat();
    taken.extend(seen.networks.iter().map(|(network, _)| *network));
    taken.extend(seen.addresses.iter().flat_map(|one| [Some(one.network), host(one.addr)]).flatten());
    let routes = seen.routes.iter().map(|route| route.destination);
    taken.extend(routes.filter(|network| network.prefix >= WIDEST));
    taken.extend(seen.outer.iter().copied().filter_map(host));
    taken.extend(remote.parse().ok().and_then(host));
    taken
}

/// An address for the caller in the bridged network that nobody is known to have: from the top, where neither gateways
/// nor most DHCP servers' ranges are.
pub(super) fn in_bridged(wanted: &Wanted, seen: &Seen, bridge: Network) -> Result<Ipv4Addr, Error> {
    let IpAddr::V4(own) = bridge.addr else {
        return Err(wrong("--network", "a bridge has one IPv4 network here").advise("give one"));
    };
    let subnet = bridge.masked();
    let contains = |addr: Ipv4Addr| subnet.contains(&Network { addr: addr.into(), prefix: 32 });
    let IpAddr::V4(first) = subnet.addr else { return Err(wrong("--network", "is IPv6")) };
    let last = first.to_bits() | u32::MAX.checked_shr(bridge.prefix.into()).unwrap_or(0);
    let unusable = |addr: Ipv4Addr| addr == own || addr.to_bits() == last || addr == first || !contains(addr);
    if let Some(addr) = wanted.caller_address {
        let act = format!("--caller-address {addr}");
        return if unusable(addr) {
            Err(wrong(&act, format!("is none of a host in {subnet} beside the bridge's own {own}"))
                .advise("choose another"))
        } else {
            Ok(addr)
        };
    }
    let known = |addr: &Ipv4Addr| {
        seen.neighbours.contains(addr)
            || seen.addresses.iter().any(|one| one.addr == *addr)
            || seen.routes.iter().any(|route| route.gateway == Some((*addr).into()))
            || seen.networks.iter().any(|(network, _)| network.addr == *addr)
    };
    // 254 and its neighbours are often the gateway's.
    let from = last.saturating_sub(if bridge.prefix <= 27 { 5 } else { 1 });
    let mut candidates = (first.to_bits()..=from).rev().map(Ipv4Addr::from_bits);
    candidates.find(|addr| !unusable(*addr) && !known(addr)).ok_or_else(|| {
        wrong(&format!("--bridge with {subnet}"), "no address is left for the caller")
            .advise("give one with --caller-address")
    })
}
