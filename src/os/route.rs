//! Routes of the main table, and what this host already uses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, parse_ip};
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::answer::{attributes, u32_at};
use super::netlink::{Netlink, Refusal, device_name, family, full_length};
use crate::error::{Error, Exit, Result};

// Attribute numbers of linux/if_addr.h, linux/if_link.h and linux/rtnetlink.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_MTU: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;

/// Headers before the attributes, bytes: ifaddrmsg, ifinfomsg, rtmsg, rtnexthop.
const IFADDRMSG: usize = 8;
const IFINFOMSG: usize = 16;
const RTMSG: usize = 12;
const RTNEXTHOP: usize = 8;

/// A block of addresses: those that agree with `addr` in the first `prefix` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An address in it; in a route, with all bits after the prefix zero.
    pub addr: IpAddr,
    /// Length of the prefix, bits, at most 32 or 128.
    pub prefix: u8,
}

/// A route to add or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: Network,
    /// Through whom; `None` is straight through the device.
    pub gateway: Option<IpAddr>,
    /// Index of the device; `None` is the one on which the gateway is.
    pub device: Option<u32>,
    /// Lower wins; `None` is the kernel's own (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

/// Whether a request had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The table is changed.
    Made,
    /// There was such a route already, or none to delete.
    Already,
}

/// The IP version of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Where the default route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The gateway; `None` where the device itself is the way (PPP).
    pub addr: Option<IpAddr>,
    /// Index of the device.
    pub device: u32,
}

/// How this host reaches an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the device.
    pub device: u32,
    /// The address of ours that datagrams carry, unless one is asked for.
    pub source: Option<IpAddr>,
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Index of the device.
    pub device: u32,
    /// Name of the device.
    pub name: String,
    /// The address itself.
    pub addr: IpAddr,
    /// What is reachable through the device: the address's own subnet, or the peer.
    pub network: Network,
}

/// A unicast route of the main table, as dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where to.
    pub destination: Network,
    /// Through whom (the first of several).
    pub gateway: Option<IpAddr>,
    /// Index of the device (the first of several).
    pub device: Option<u32>,
    /// Lower wins.
    pub metric: u32,
}

impl Netlink {
    /// Adds a route to the main table.
    ///
    /// Fails when the gateway is not on a connected network, or the destination has bits after its prefix.
    pub fn add_route(&mut self, route: &Route) -> Result<Change> {
        let request = RouteNetlinkMessage::NewRoute(message(route));
        match self.ask(vec![(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)]) {
            Ok(()) => Ok(Change::Made),
            Err((_, refusal)) if refusal.errno == Errno::EEXIST => Ok(Change::Already),
            Err((_, refusal)) => Err(explain(refusal, "add", route)),
        }
    }

    /// Deletes a route from the main table.
    pub fn delete_route(&mut self, route: &Route) -> Result<Change> {
        let request = RouteNetlinkMessage::DelRoute(message(route));
        match self.ask(vec![(request, NLM_F_ACK)]) {
            Ok(()) => Ok(Change::Made),
            Err((_, refusal)) if refusal.errno == Errno::ESRCH => Ok(Change::Already),
            Err((_, refusal)) => Err(explain(refusal, "delete", route)),
        }
    }

    /// Adds an unreachable route: what takes it is refused, to the sender as well. The higher `metric`, the later it is taken.
    pub(super) fn bar(&mut self, destination: Network, metric: u32) -> Result<Change> {
        let request = RouteNetlinkMessage::NewRoute(unreachable(destination, metric));
        match self.ask(vec![(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)]) {
            Ok(()) => Ok(Change::Made),
            Err((_, refusal)) if refusal.errno == Errno::EEXIST => Ok(Change::Already),
            Err((_, refusal)) => Err(refusal.explain(format!("add unreachable route {destination}"))),
        }
    }

    /// Deletes a route of [`Self::bar`].
    pub(super) fn unbar(&mut self, destination: Network, metric: u32) -> Result<Change> {
        let request = RouteNetlinkMessage::DelRoute(unreachable(destination, metric));
        match self.ask(vec![(request, NLM_F_ACK)]) {
            Ok(()) => Ok(Change::Made),
            Err((_, refusal)) if refusal.errno == Errno::ESRCH => Ok(Change::Already),
            Err((_, refusal)) => Err(refusal.explain(format!("delete unreachable route {destination}"))),
        }
    }

    /// Where the default route with the lowest metric leads.
    pub fn default_gateway(&mut self, version: Version) -> Result<Option<Gateway>> {
        let mut routes = self.routes(version)?;
        routes.retain(|route| route.destination.prefix == 0);
        let best = routes.iter().filter(|route| route.device.is_some()).min_by_key(|route| route.metric);
        Ok(best.and_then(|route| Some(Gateway { addr: route.gateway, device: route.device? })))
    }

    /// The MTU of the device through which this host reaches `to`, bytes; `None` if there is no way there.
    ///
    /// What ICMP has said of the path is not heeded: anybody can say that.
    pub fn link_mtu(&mut self, to: IpAddr) -> Option<u32> {
        let device = self.way(to, None)?.device;
        let mut message = LinkMessage::default();
        message.header.index = device;
        self.look_up(RouteNetlinkMessage::GetLink(message), |body| number(body, IFINFOMSG, IFLA_MTU))
    }

    /// How this host reaches `to` with datagrams of this firewall mark; `None` if there is no way there.
    pub fn way(&mut self, to: IpAddr, mark: Option<u32>) -> Option<Way> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(&to);
        message.header.destination_prefix_length = full_length(&to);
        message.attributes.push(RouteAttribute::Destination(to.into()));
        message.attributes.extend(mark.map(RouteAttribute::Mark));
        self.look_up(RouteNetlinkMessage::GetRoute(message), way)
    }

    /// Every address of this host.
    pub fn addresses(&mut self) -> Result<Vec<Assigned>> {
        self.addresses_of(AddressFamily::Unspec)
    }

    /// The unicast routes of the main table.
    pub fn routes(&mut self, version: Version) -> Result<Vec<Entry>> {
        let mut message = RouteMessage::default();
        message.header.address_family = match version {
            Version::V4 => AddressFamily::Inet,
            Version::V6 => AddressFamily::Inet6,
        };
        self.dump(&RouteNetlinkMessage::GetRoute(message), route_entry)
            .map_err(|refusal| refusal.explain("read the routes"))
    }

    /// Who on this host uses addresses of `network` already, as "eth0 has 10.8.0.0/24" or "10.8.0.0/24 is routed to eth0".
    ///
    /// An address counts when its subnet and `network` meet; a route when it leads to `network` or a part of
    /// it. A wider route, such as the default, does not count, and neither does an IPv6 link-local network.
    pub fn overlapping(&mut self, network: Network) -> Result<Option<String>> {
        let addresses = self.addresses_of(family(&network.addr))?;
        let routes = self.routes(match network.addr {
            IpAddr::V4(_) => Version::V4,
            IpAddr::V6(_) => Version::V6,
        })?;
        Ok(overlap(network, &addresses, &routes))
    }

    fn addresses_of(&mut self, family: AddressFamily) -> Result<Vec<Assigned>> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        self.dump(&RouteNetlinkMessage::GetAddress(message), assigned)
            .map_err(|refusal| refusal.explain("read the addresses of this host"))
            .map(|mut addresses| {
                addresses.iter_mut().for_each(|one| one.name = device_name(one.device));
                addresses
            })
    }
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(&route.destination.addr);
    header.destination_prefix_length = route.destination.prefix;
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::Static;
    header.kind = RouteType::Unicast;
    header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.attributes.push(RouteAttribute::Destination(route.destination.addr.into()));
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.extend(route.device.map(RouteAttribute::Oif));
    message.attributes.extend(route.metric.map(RouteAttribute::Priority));
    message
}

fn unreachable(destination: Network, metric: u32) -> RouteMessage {
    let route = Route { destination, gateway: None, device: None, metric: Some(metric) };
    let mut message = message(&route);
    message.header.kind = RouteType::Unreachable;
    message.header.scope = RouteScope::Universe;
    message
}

fn explain(refusal: Refusal, verb: &str, route: &Route) -> Error {
    let act = format!("{verb} route {route}");
    match refusal.errno {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => {
            Error::new(Exit::Unavailable, act, "the gateway is unreachable")
                .advise("it must be on a network that this host is connected to")
        }
        Errno::ENETDOWN => Error::new(Exit::Unavailable, act, "the device is down"),
        _ => refusal.explain(act),
    }
}

/// Pure part of [`Netlink::overlapping`].
pub fn overlap(network: Network, addresses: &[Assigned], routes: &[Entry]) -> Option<String> {
    if matches!(network.addr, IpAddr::V6(addr) if addr.is_unicast_link_local()) {
        return None;
    }
    let host = |addr: IpAddr| Network { addr, prefix: full_length(&addr) };
    for one in addresses {
        if one.network.contains(&network) || network.contains(&one.network) {
            return Some(format!("{} has {}", one.name, one.network.masked()));
        }
        if network.contains(&host(one.addr)) {
            return Some(format!("{} has {}", one.name, one.addr));
        }
    }
    let route = routes.iter().find(|route| network.contains(&route.destination))?;
    let way = match (route.device, route.gateway) {
        (Some(device), _) => device_name(device),
        (None, Some(gateway)) => gateway.to_string(),
        (None, None) => "another device".to_owned(),
    };
    Some(format!("{} is routed to {way}", route.destination))
}

/// The first attribute of this kind, a number, in a body that begins with `header` bytes of something else.
fn number(body: &[u8], header: usize, wanted: u16) -> Option<u32> {
    attributes(body.get(header..)?).find_map(|(kind, value)| u32_at(value, 0).filter(|_| kind == wanted))
}

/// Reads the body of the RTM_NEWROUTE that answers a question for one address. `None` where it is no way or malformed.
pub fn way(body: &[u8]) -> Option<Way> {
    let header = RouteHeader::parse(body).ok()?;
    if !matches!(header.kind, RouteType::Unicast | RouteType::Local) {
        return None;
    }
    let (mut device, mut source) = (None, None);
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_OIF => device = u32_at(value, 0),
            RTA_PREFSRC => source = addr(header.address_family, value),
            _ => {}
        }
    }
    Some(Way { device: device?, source })
}

/// Reads the body of an RTM_NEWADDR. `None` when it is no IP address or malformed. The name stays empty.
pub fn assigned(body: &[u8]) -> Option<Assigned> {
    let header = AddressHeader::parse(body).ok()?;
    let (mut local, mut onlink) = (None, None);
    for (kind, value) in attributes(body.get(IFADDRMSG..)?) {
        match kind {
            IFA_LOCAL => local = addr(header.family, value),
            IFA_ADDRESS => onlink = addr(header.family, value),
            _ => {}
        }
    }
    // IPv6 gives IFA_LOCAL only where there is a peer.
    let addr = local.or(onlink)?;
    let network = Network::new(onlink.unwrap_or(addr), header.prefix_len)?;
    Some(Assigned { device: header.index, name: String::new(), addr, network })
}

/// Reads the body of an RTM_NEWROUTE. `None` when it is not a unicast route of the main table, dead, or malformed.
pub fn route_entry(body: &[u8]) -> Option<Entry> {
    let header = RouteHeader::parse(body).ok()?;
    let idle = RouteFlags::Cloned | RouteFlags::Dead;
    if header.kind != RouteType::Unicast || header.flags.intersects(idle) {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut hop = Hop::default();
    let mut metric = 0;
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_DST => destination = addr(header.address_family, value)?,
            RTA_PRIORITY => metric = u32_at(value, 0)?,
            RTA_TABLE => table = u32_at(value, 0)?,
            RTA_MULTIPATH => hop = first_hop(header.address_family, value)?,
            _ => hop.note(header.address_family, kind, value),
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let destination = Network::new(destination, header.destination_prefix_length)?;
    Some(Entry { destination, gateway: hop.gateway, device: hop.device, metric })
}

#[derive(Default)]
struct Hop {
    gateway: Option<IpAddr>,
    device: Option<u32>,
}

impl Hop {
    fn note(&mut self, family: AddressFamily, kind: u16, value: &[u8]) {
        match kind {
            RTA_GATEWAY => self.gateway = addr(family, value),
            RTA_OIF => self.device = u32_at(value, 0),
            _ => {}
        }
    }
}

/// The first struct rtnexthop of RTA_MULTIPATH: length, flags, hops, device, attributes.
fn first_hop(family: AddressFamily, value: &[u8]) -> Option<Hop> {
    let length = value.first_chunk().map(|two| u16::from_ne_bytes(*two))?;
    let mut hop = Hop { gateway: None, device: Some(u32_at(value, 4)?) };
    for (kind, value) in attributes(value.get(RTNEXTHOP..usize::from(length))?) {
        hop.note(family, kind, value);
    }
    Some(hop)
}

fn addr(family: AddressFamily, value: &[u8]) -> Option<IpAddr> {
    let addr = parse_ip(value).ok()?;
    (super::netlink::family(&addr) == family).then_some(addr)
}

impl Network {
    /// `None` when the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= full_length(&addr)).then_some(Self { addr, prefix })
    }

    /// Whether all of `other` lies in it.
    pub fn contains(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.masked().addr == Self { addr: other.addr, ..*self }.masked().addr
    }

    /// With all bits after the prefix zero.
    #[must_use]
    pub fn masked(&self) -> Self {
        let rest = u32::from(full_length(&self.addr).saturating_sub(self.prefix));
        let addr = match self.addr {
            IpAddr::V4(addr) => {
                Ipv4Addr::from_bits(addr.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()
            }
            IpAddr::V6(addr) => {
                Ipv6Addr::from_bits(addr.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()
            }
        };
        Self { addr, prefix: self.prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        match self.device {
            Some(device) => write!(f, " dev {}", device_name(device)),
            None => Ok(()),
        }
    }
}
