//! The device with its addresses, routes and scripts: planned from the configuration, brought up in one go.
//!
//! Routes through the device vanish with it. The others (`net_gateway`, `remote_host`) do not, so the root helper
//! knows them and takes them away at the end, whatever the end is like.

mod redirect;
mod script;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use blake2::digest::consts::U6;
use blake2::{Blake2b, Digest as _};

use crate::config::settings::{self, DeviceType, Host, IfconfigIpv6, RouteHost, Settings};
use crate::error::{Error, Exit, Result};
use crate::os::device::{self, Device};
use crate::os::helper::{Facts, Helper};
use crate::os::hosts;
use crate::os::netlink::{Address, Link, Netlink};
use crate::os::privileges::Identity;
use crate::os::resolver::Resolver;
use crate::os::route::{Change, Gateway, Network, Route, Version};
use crate::packet::Layer;

/// Where the identity of this machine stands, for Ethernet addresses that stay the same.
const MACHINE_ID: &str = "/etc/machine-id";

/// How long a name of the configuration may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What the device will be, names looked up.
#[derive(Clone)]
pub struct Plan {
    /// Packets or frames.
    pub layer: Layer,
    /// Bytes.
    pub mtu: u16,
    /// Our address, and the peer's (tun) or the netmask (tap).
    pub ipv4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// `ifconfig-ipv6`.
    pub ipv6: Option<IfconfigIpv6>,
    name: Option<String>,
    txqueuelen: Option<u32>,
    mac: Option<[u8; 6]>,
    /// The addresses are the `up` script's business.
    noexec: bool,
    own: Vec<Route>,
    foreign: Vec<Route>,
    gateway: Option<Gateway>,
    vpn_gateway: Option<IpAddr>,
}

impl Plan {
    /// Looks up names and gateways. A route that cannot be resolved is left out with a line in the log, as OpenVPN
    /// does. `outer` is the peer's outer address where it is known, for `remote_host`.
    pub fn new(settings: &Settings, identity: &Identity, outer: Option<IpAddr>) -> Result<Self> {
        let names = Names(identity);
        let layer = match settings.device_type {
            DeviceType::Tun => Layer::Ip,
            DeviceType::Tap => Layer::Ethernet,
        };
        let ipv4 = match &settings.ifconfig {
            Some(pair) => Some((names.ipv4(&pair.local)?, names.ipv4(&pair.remote_or_netmask)?)),
            None => None,
        };
        let vpn_gateway = match &settings.route_gateway {
            Some(host) => Some(IpAddr::V4(names.ipv4(host)?)),
            None => ipv4.filter(|_| layer == Layer::Ip).map(|(_, remote)| IpAddr::V4(remote)),
        };
        let mut plan = Self {
            layer,
            mtu: settings.mtu,
            ipv4,
            ipv6: settings.ifconfig_ipv6,
            name: settings.device_name.clone(),
            txqueuelen: settings.txqueuelen,
            mac: (layer == Layer::Ethernet).then(|| settings.lladdr.unwrap_or_else(|| lasting_mac(settings))),
            noexec: settings.ifconfig_noexec,
            own: Vec::new(),
            foreign: Vec::new(),
            gateway: None,
            vpn_gateway,
        };
        plan.add_routes(settings, &names, outer)?;
        Ok(plan)
    }

    /// Tells which addresses lie inside the tunnel, for whoever must not take one of them for an outer one.
    pub fn inside(&self) -> Box<dyn Fn(IpAddr) -> bool> {
        let plan = self.clone();
        Box::new(move |ip| plan.holds(ip))
    }

    /// Whether `ip` lies inside the tunnel; no outer address may.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.is_neighbour(ip) || longest(&self.own, ip) > longest(&self.foreign, ip)
    }

    /// Whether `ip` is reached through the device without any route of ours: an end of a tun, the segment of a tap.
    fn is_neighbour(&self, ip: IpAddr) -> bool {
        match (self.layer, self.ipv4, ip) {
            (Layer::Ip, Some((local, remote)), IpAddr::V4(ip)) => ip == local || ip == remote,
            (Layer::Ethernet, Some((local, mask)), IpAddr::V4(ip)) => {
                local.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits()
            }
            (_, _, IpAddr::V6(ip)) => self.ipv6.is_some_and(|six| ip == six.local || ip == six.remote),
            _ => false,
        }
    }

    /// Says in words what is in the way on this host, before anything is changed.
    pub fn check(&self, netlink: &mut Netlink) -> Result<()> {
        for network in self.inner_networks() {
            if let Some(user) = netlink.overlapping(network)? {
                return Err(Error::new(
                    Exit::Unavailable,
                    format!("use {network} in the tunnel"),
                    format!("subnet already in use on this host: {user}"),
                )
                .advise("give both ends private addresses that are in no subnet of theirs"));
            }
        }
        Ok(())
    }

    /// Makes the device, gives it its addresses, runs `up`, adds the routes. Super-packets are to have at most so
    /// many bytes and segments as `burst` says.
    pub fn bring_up(
        &self,
        settings: &Settings,
        netlink: &mut Netlink,
        peer: Option<SocketAddr>,
        helper: Option<&mut Helper>,
        burst: (u32, u32),
    ) -> Result<Device> {
        self.check(netlink)?;
        let layer = match self.layer {
            Layer::Ip => device::Layer::Tun,
            Layer::Ethernet => device::Layer::Tap,
        };
        let device = Device::create(self.name.as_deref(), layer, settings.offload)?;
        netlink.configure(device.index(), &self.link())?;
        if device.offload().tcp {
            let (bytes, segments) = burst;
            netlink.limit_bursts(device.index(), bytes, segments);
        }
        if !self.noexec {
            for address in self.addresses(device.index()) {
                netlink.add_address(&address)?;
            }
        }
        let mut helper = helper;
        if let Some(helper) = &mut helper {
            helper.up(&Facts { device: device.name().to_owned(), mtu: self.mtu, trusted: peer })?;
        }
        if !settings.route_noexec {
            self.set_routes(&device, netlink, helper.as_deref_mut())?;
        }
        // A host that is not connected yet is no reason to stay away: it is tried again with each call.
        if let (Some(helper), Some(peer)) = (helper, peer)
            && let Err(error) = helper.lead(peer.ip())
        {
            log::warn!("{error}");
        }
        log::info!("device up dev={} {}", device.name(), self.describe());
        Ok(device)
    }

    fn link(&self) -> Link {
        Link {
            mtu: Some(u32::from(self.mtu)),
            txqueuelen: self.txqueuelen,
            mac: self.mac,
            no_link_local: self.ipv6.is_none(),
            up: !self.noexec,
        }
    }

    fn addresses(&self, device: u32) -> Vec<Address> {
        let ipv4 = self.ipv4.map(|(local, second)| match self.layer {
            Layer::Ip => Address {
                device,
                local: local.into(),
                peer: Some(second.into()),
                prefix: 32,
                broadcast: None,
            },
            Layer::Ethernet => Address {
                device,
                local: local.into(),
                peer: None,
                prefix: second.to_bits().leading_ones() as u8,
                broadcast: Some(Ipv4Addr::from_bits(local.to_bits() | !second.to_bits())),
            },
        });
        let ipv6 = self.ipv6.map(|six| Address {
            device,
            local: six.local.into(),
            peer: None,
            prefix: six.prefix,
            broadcast: None,
        });
        ipv4.into_iter().chain(ipv6).collect()
    }

    fn inner_networks(&self) -> Vec<Network> {
        let ipv4 = self.ipv4.map_or(Vec::new(), |(local, second)| match self.layer {
            Layer::Ip => vec![(IpAddr::from(local), 32), (second.into(), 32)],
            Layer::Ethernet => vec![(local.into(), second.to_bits().leading_ones() as u8)],
        });
        let ipv6 = self.ipv6.map(|six| (IpAddr::from(six.local), six.prefix));
        let networks = ipv4.into_iter().chain(ipv6).filter_map(|(ip, prefix)| Network::new(ip, prefix));
        networks.map(|network| network.masked()).collect()
    }

    fn set_routes(&self, device: &Device, netlink: &mut Netlink, helper: Option<&mut Helper>) -> Result<()> {
        for route in &self.own {
            set_route(&Route { device: Some(device.index()), ..*route }, netlink);
        }
        let Some(helper) = helper else { return Ok(()) };
        let mut made = vec![0; self.foreign.len()];
        for (route, made_one) in self.foreign.iter().zip(0..) {
            if set_route(route, netlink) == Some(Change::Made) {
                made.iter_mut().skip(made_one).take(1).for_each(|mark| *mark = 1);
                helper.remember(&made)?;
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let mut line = format!("mtu={}", self.mtu);
        if let Some((local, second)) = self.ipv4 {
            let word = if self.layer == Layer::Ip { "remote" } else { "netmask" };
            line += &format!(" local={local} {word}={second}");
        }
        if let Some(six) = self.ipv6 {
            line += &format!(" local_ipv6={}/{} remote_ipv6={}", six.local, six.prefix, six.remote);
        }
        line
    }

    fn add_routes(&mut self, settings: &Settings, names: &Names, outer: Option<IpAddr>) -> Result<()> {
        let uses_net_gateway =
            |route: &settings::Route| [&route.gateway, &route.network].contains(&&RouteHost::NetGateway);
        if settings.routes.iter().any(uses_net_gateway) || settings.up.is_some() {
            self.gateway = Netlink::open()?.default_gateway(Version::V4)?;
        }
        for route in &settings.routes {
            if let Err(reason) = self.add_route(route, names, outer) {
                log::warn!("route left out: {reason} at={}", route.place);
            }
        }
        for route in &settings.routes_ipv6 {
            let Some(destination) = Network::new(route.network.into(), route.prefix) else { continue };
            let on_tap = self.layer == Layer::Ethernet;
            let gateway = route.gateway.or_else(|| self.ipv6.filter(|_| on_tap).map(|six| six.remote));
            self.own.push(Route {
                destination,
                gateway: gateway.filter(|_| on_tap).map(IpAddr::V6),
                device: None,
                metric: route.metric,
            });
        }
        Ok(())
    }

    fn add_route(
        &mut self,
        route: &settings::Route,
        names: &Names,
        outer: Option<IpAddr>,
    ) -> std::result::Result<(), String> {
        let net_gateway = self.gateway.and_then(|gateway| gateway.addr);
        let keyword = |host: &RouteHost| match host {
            RouteHost::Host(host) => names.all(host),
            RouteHost::VpnGateway => self
                .vpn_gateway
                .map(|ip| vec![ip])
                .ok_or("there is no vpn_gateway: a tap needs route-gateway".into()),
            RouteHost::NetGateway => net_gateway
                .map(|ip| vec![ip])
                .ok_or("there is no net_gateway: this host has no default route".into()),
            RouteHost::RemoteHost => {
                outer.map(|ip| vec![ip]).ok_or("the address of the remote is not known yet".into())
            }
        };
        let gateway = keyword(&route.gateway)?.first().copied().ok_or("the gateway has no address")?;
        let through_us = route.gateway == RouteHost::VpnGateway || self.is_neighbour(gateway);
        for ip in keyword(&route.network)? {
            let destination = Network::new(ip, if ip.is_ipv4() { route.prefix } else { 128 })
                .ok_or("the prefix is too long")?;
            let route = Route { destination, gateway: Some(gateway), device: None, metric: route.metric };
            if through_us { self.own.push(route) } else { self.foreign.push(route) }
        }
        Ok(())
    }
}

/// Whether a route asks for the peer's outer address, or a name of it could not be looked up once all traffic goes into
/// the tunnel.
pub fn needs_outer(settings: &Settings) -> bool {
    let asks = |route: &settings::Route| [&route.gateway, &route.network].contains(&&RouteHost::RemoteHost);
    settings.routes.iter().any(asks) || settings.redirect.is_some()
}

/// The prefix of the route that `ip` would take; none is the least.
fn longest(routes: &[Route], ip: IpAddr) -> Option<u8> {
    let one = Network::new(ip, if ip.is_ipv4() { 32 } else { 128 })?;
    let fitting = routes.iter().filter(|route| route.destination.contains(&one));
    fitting.map(|route| route.destination.prefix).max()
}

/// A route that cannot be set costs itself and nothing else.
fn set_route(route: &Route, netlink: &mut Netlink) -> Option<Change> {
    match netlink.add_route(route) {
        Ok(Change::Already) => {
            log::info!("route exists already, left as it is: {}", route.destination);
            Some(Change::Already)
        }
        Ok(change) => Some(change),
        Err(error) => {
            log::warn!("{error}");
            None
        }
    }
}

/// Looks names up: in /etc/hosts, else in a process that is nobody already, for what a name server says is hostile.
struct Names<'a>(&'a Identity);

impl Names<'_> {
    fn ipv4(&self, host: &Host) -> Result<Ipv4Addr> {
        let failed = |cause: String| Error::new(Exit::NoHost, "look up an address inside the tunnel", cause);
        let found = self.all(host).map_err(failed)?;
        let ipv4 = found.into_iter().find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        ipv4.ok_or_else(|| failed("it is not IPv4".to_owned()))
    }

    /// All IPv4 addresses of a host.
    fn all(&self, host: &Host) -> std::result::Result<Vec<IpAddr>, String> {
        let name = match host {
            Host::Addr(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        let mut found = hosts::look_up(name);
        if found.is_empty() {
            found = self.ask(name).map_err(|cause| format!("{name}: {cause}"))?;
        }
        found.retain(IpAddr::is_ipv4);
        found.dedup();
        if found.is_empty() { Err(format!("{name} has no IPv4 address")) } else { Ok(found) }
    }

    fn ask(&self, name: &str) -> std::result::Result<Vec<IpAddr>, String> {
        let mut resolver =
            Resolver::fork(vec![(name.to_owned(), 0)], Some(self.0)).map_err(|error| error.to_string())?;
        resolver.request(0).map_err(|error| error.to_string())?;
        resolver.wait(LOOK_UP);
        let answer = resolver.answer().unwrap_or_else(|| Err("no name server answers".to_owned()));
        answer.map(|found| found.into_iter().map(|address| address.ip()).collect())
    }
}

/// An Ethernet address that is the same after each nap: neighbours remember it, and a stale one costs them seconds.
///
/// Its first octet is fe: locally administered, and higher than any vendor's, so that a bridge which takes the lowest
/// address of its ports never takes this one.
fn lasting_mac(settings: &Settings) -> [u8; 6] {
    let machine = std::fs::read(MACHINE_ID).unwrap_or_default();
    let identity =
        format!("{:?} {:?} {:?}", settings.config_file, settings.device_name, settings.is_caller());
    let hash = Blake2b::<U6>::new().chain_update(machine).chain_update(identity).finalize();
    let mut mac: [u8; 6] = hash.into();
    mac[0] = 0xfe;
    mac
}
