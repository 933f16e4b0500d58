//! All traffic of a host into a device, but for the datagrams that carry it: those keep the way they had before.
//!
//! Nothing of the host is replaced. Routes into the device are longer than the default route, and go with the device;
//! the host route to the peer is taken away by whoever made it, the root helper, however the process ends. Behind the
//! host route stands a bar, an unreachable route of the last metric: while the host has no way to the peer, the kernel
//! refuses datagrams instead of sending them into the tunnel that they come from.

use std::net::{IpAddr, Ipv4Addr};

use nix::net::if_::if_nametoindex;

use super::netlink::Netlink;
use super::route::{Change, Entry, Network, Route, Version};
use crate::error::{Error, Exit, Result};

/// What is to be redirected.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Routes into the device, which is filled in: longer than the default route, and shorter than any other.
    pub inner: Vec<Route>,
    /// Whether the way to a peer with an IPv4 address is kept.
    pub outer_ipv4: bool,
    /// Whether the way to a peer with an IPv6 address is kept.
    pub outer_ipv6: bool,
    /// More addresses that are reached past the device, as long as the peer has one of the same IP version.
    pub bypass: Vec<IpAddr>,
    /// Whether the IPv4 network of the gateway goes into the device, too.
    pub block_local: bool,
}

/// A wish, and what has been done for it.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    wish: Wish,
    made: Made,
}

/// What [`Redirect::undo`] takes away.
#[derive(Clone, Debug, Default)]
struct Made {
    outer: Vec<Route>,
    barred: Option<IpAddr>,
    local: Vec<Route>,
}

/// What is redirected is not longer than half of IPv4, and a hundred and twenty-eighth of IPv6.
const WIDEST_IPV4: u8 = 1;
const WIDEST_IPV6: u8 = 7;

/// The metric of a bar: every other route wins.
const LAST: u32 = u32::MAX;

impl Redirect {
    /// Nothing done yet.
    pub fn new(wish: Wish) -> Self {
        Self { wish, made: Made::default() }
    }

    /// Has the peer reached by the way there is without `device`, now and when it moves or that way changes; then all else
    /// goes into the device. Does nothing where all is as it should be.
    ///
    /// Fails if there is no way to the peer; datagrams to it are refused by the kernel until there is.
    pub fn lead(&mut self, device: &str, peer: IpAddr) -> Result<()> {
        let act = || format!("redirect into {device}");
        let tunnel = if_nametoindex(device).map_err(|cause| Error::new(Exit::Os, act(), cause))?;
        let mut netlink = Netlink::open()?;
        let led = self.lead_past(&mut netlink, tunnel, peer.to_canonical());
        // Even then: what is meant for the tunnel must not leave in the clear.
        for route in &self.wish.inner {
            netlink.add_route(&Route { device: Some(tunnel), ..*route })?;
        }
        led
    }

    fn lead_past(&mut self, netlink: &mut Netlink, tunnel: u32, peer: IpAddr) -> Result<()> {
        let kept = if peer.is_ipv4() { self.wish.outer_ipv4 } else { self.wish.outer_ipv6 };
        if !kept {
            return Ok(());
        }
        let table = self.foreign(netlink, tunnel, peer)?;
        let Some(best) = best(&table, peer).copied() else {
            self.bar(netlink, Some(peer))?;
            self.settle(netlink, &[])?;
            let act = format!("reach {peer} past the tunnel");
            return Err(Error::new(Exit::Unavailable, act, "this host has no way there"));
        };
        let past = |way: &Entry, ip| past(way, ip, self.wish.block_local);
        let to_peer = past(&best, peer);
        let bypass = self.wish.bypass.iter().filter(|ip| ip.is_ipv4() == peer.is_ipv4());
        let bypass = bypass.filter_map(|ip| past(self::best(&table, *ip)?, *ip));
        let gateway = best.gateway.filter(|_| self.wish.block_local).map(|ip| Route {
            destination: host(ip),
            gateway: None,
            device: best.device,
            metric: None,
        });
        let wanted: Vec<Route> = gateway.into_iter().chain(to_peer).chain(bypass).collect();
        self.bar(netlink, to_peer.map(|_| peer))?;
        self.settle(netlink, &wanted)?;
        self.shut_in(netlink, tunnel, &best)
    }

    /// The routes of the host that are neither into the device nor ours.
    fn foreign(&self, netlink: &mut Netlink, tunnel: u32, peer: IpAddr) -> Result<Vec<Entry>> {
        let version = if peer.is_ipv4() { Version::V4 } else { Version::V6 };
        let mut table = netlink.routes(version)?;
        let is = |route: &Route, entry: &Entry| {
            (route.destination, route.gateway, route.device)
                == (entry.destination, entry.gateway, entry.device)
        };
        table.retain(|entry| {
            entry.device != Some(tunnel) && !self.made.outer.iter().any(|route| is(route, entry))
        });
        Ok(table)
    }

    /// Moves the bar behind `peer`, or takes it away.
    fn bar(&mut self, netlink: &mut Netlink, peer: Option<IpAddr>) -> Result<()> {
        if self.made.barred == peer {
            return Ok(());
        }
        if let Some(before) = self.made.barred.take() {
            netlink.unbar(host(before), LAST)?;
        }
        if let Some(peer) = peer
            && netlink.bar(host(peer), LAST)? == Change::Made
        {
            self.made.barred = Some(peer);
        }
        Ok(())
    }

    /// `block-local`: the two halves of the gateway's network go into the device.
    fn shut_in(&mut self, netlink: &mut Netlink, tunnel: u32, best: &Entry) -> Result<()> {
        if !self.wish.block_local || best.destination.addr.is_ipv6() {
            return Ok(());
        }
        let ipv4 = |route: &&Route| route.destination.addr.is_ipv4();
        let into = self.wish.inner.iter().find(ipv4).and_then(|route| route.gateway);
        let route = |destination| Route { destination, gateway: into, device: Some(tunnel), metric: None };
        let addresses = netlink.addresses()?;
        let on_it = addresses.iter().filter(|one| Some(one.device) == best.device);
        let local: Vec<Route> =
            on_it.filter_map(|one| halves(one.network.masked())).flatten().map(route).collect();
        for old in self.made.local.iter().filter(|old| !local.contains(old)) {
            netlink.delete_route(old)?;
        }
        for new in &local {
            netlink.add_route(new)?;
        }
        self.made.local = local;
        Ok(())
    }

    /// Makes `wanted` the routes past the device. A route that the host has already is not ours to delete.
    fn settle(&mut self, netlink: &mut Netlink, wanted: &[Route]) -> Result<()> {
        let (kept, old): (Vec<_>, Vec<_>) =
            self.made.outer.drain(..).partition(|route| wanted.contains(route));
        self.made.outer = kept;
        for route in old {
            netlink.delete_route(&route)?;
        }
        for route in wanted {
            // The kernel drops them with a device or an address, so each is tried again.
            if netlink.add_route(route)? == Change::Made && !self.made.outer.contains(route) {
                self.made.outer.push(*route);
            }
        }
        Ok(())
    }

    /// Takes away everything that does not go with the device. Says what could not be done.
    pub fn undo(&mut self) -> Result<()> {
        if self.made.outer.is_empty() && self.made.barred.is_none() {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        let barred =
            self.made.barred.take().map_or(Ok(Change::Already), |peer| netlink.unbar(host(peer), LAST));
        // In the other order: those behind may need the ones before.
        let outer = self.made.outer.drain(..).rev().map(|route| netlink.delete_route(&route));
        outer
            .collect::<Vec<_>>()
            .into_iter()
            .chain([barred])
            .find(Result::is_err)
            .map_or(Ok(()), |it| it.map(drop))
    }
}

/// The route of the table that `ip` takes.
fn best(table: &[Entry], ip: IpAddr) -> Option<&Entry> {
    let fitting =
        table.iter().filter(|entry| entry.device.is_some() && entry.destination.contains(&host(ip)));
    fitting.min_by_key(|entry| (u8::MAX - entry.destination.prefix, entry.metric))
}

/// The host route that keeps `ip` on its way; `None` where that way is longer than what is redirected anyway.
fn past(best: &Entry, ip: IpAddr, block_local: bool) -> Option<Route> {
    let widest = if ip.is_ipv4() { WIDEST_IPV4 } else { WIDEST_IPV6 };
    let needed = best.destination.prefix <= widest || (block_local && ip.is_ipv4());
    (needed && !ip.is_loopback()).then_some(Route {
        destination: host(ip),
        gateway: best.gateway,
        device: best.device,
        metric: None,
    })
}

/// Both halves of a network; `None` of one address.
fn halves(network: Network) -> Option<[Network; 2]> {
    let IpAddr::V4(addr) = network.addr else { return None };
    let prefix = network.prefix.checked_add(1).filter(|prefix| *prefix <= 32)?;
    let upper = addr.to_bits() | 1u32.checked_shl(u32::from(32 - prefix))?;
    Some([Network { prefix, ..network }, Network { addr: Ipv4Addr::from_bits(upper).into(), prefix }])
}

fn host(addr: IpAddr) -> Network {
    Network { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (addr, prefix) = text.split_once('/').unwrap();
        Network { addr: addr.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    fn entry(destination: &str, gateway: Option<&str>, device: u32, metric: u32) -> Entry {
        let gateway = gateway.map(|text| text.parse().unwrap());
        Entry { destination: network(destination), gateway, device: Some(device), metric }
    }

    #[test]
    fn the_way_to_a_peer_is_the_longest_then_the_one_of_the_least_metric() {
        let table = [
            entry("0.0.0.0/0", Some("192.0.2.254"), 2, 100),
            entry("0.0.0.0/0", Some("192.0.2.253"), 2, 50),
            entry("198.51.100.0/24", None, 3, 900),
        ];
        let device = |ip: &str| best(&table, ip.parse().unwrap()).map(|best| (best.device, best.metric));
        assert_eq!(device("203.0.113.1"), Some((Some(2), 50)));
        assert_eq!(device("198.51.100.9"), Some((Some(3), 900)));
        assert_eq!(device("2001:db8::1"), None);
    }

    #[test]
    fn a_host_route_is_needed_where_the_way_is_no_longer_than_what_is_redirected() {
        let needed = |way: &str, ip: &str, block_local| {
            past(&entry(way, Some("192.0.2.254"), 2, 0), ip.parse().unwrap(), block_local).is_some()
        };
        assert!(needed("0.0.0.0/0", "192.0.2.1", false) && needed("0.0.0.0/1", "1.1.1.1", false));
        assert!(needed("::/0", "2001:db8::1", false) && needed("fc00::/7", "fd00::1", false));
        assert!(
            !needed("192.0.2.0/24", "192.0.2.1", false) && !needed("2001:db8::/64", "2001:db8::1", false)
        );
        assert!(needed("192.0.2.0/24", "192.0.2.1", true), "half of it would go into the tunnel");
        assert!(!needed("0.0.0.0/0", "127.0.0.1", false));
    }

    #[test]
    fn a_network_has_two_halves_but_an_address_none() {
        let two = |a, b| Some([network(a), network(b)]);
        assert_eq!(halves(network("192.168.1.0/24")), two("192.168.1.0/25", "192.168.1.128/25"));
        assert_eq!(halves(network("192.0.2.2/31")), two("192.0.2.2/32", "192.0.2.3/32"));
        assert_eq!(halves(network("0.0.0.0/0")), two("0.0.0.0/1", "128.0.0.0/1"));
        assert_eq!(halves(network("192.0.2.2/32")), None);
    }
}
