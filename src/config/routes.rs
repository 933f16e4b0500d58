//! Directives of routes, and the loop that a tunnel must not make: its own datagrams sent into itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::device::literal;
use super::draft::Draft;
use super::grammar::Statement;
use super::problem::{Fault, Place};
use super::settings::{DeviceType, Host, Route, RouteHost, RouteIpv6};
use super::value;

type Applied = Result<(), Fault>;

const METRICS: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;

pub(super) fn route(draft: &mut Draft, statement: &Statement) -> Applied {
    let network = network(statement.param(1).unwrap_or_default())?;
    let prefix = given(statement, 2).map(value::netmask).transpose()?.unwrap_or(32);
    if let RouteHost::Host(Host::Addr(IpAddr::V4(addr))) = network {
        no_host_bits(addr, prefix)?;
    }
    let gateway = given(statement, 3).map(keyword_or_host).transpose()?;
    let metric = given(statement, 4).map(|word| value::number(word, METRICS)).transpose()?;
    let place = statement.place.to_string();
    let gateway = gateway.unwrap_or(RouteHost::VpnGateway);
    draft.settings.routes.push(Route { place, network, prefix, gateway, metric });
    Ok(())
}

pub(super) fn route_ipv6(draft: &mut Draft, statement: &Statement) -> Applied {
    let word = statement.param(1).unwrap_or_default();
    let (network, prefix) = value::ipv6_prefix(word, 0..=128)?;
    let meant = value::network_v6(network, prefix);
    if meant != network {
        return Err(Fault::new(
            word,
            "has bits behind its prefix",
            format!("did you mean {meant}/{prefix}?"),
        ));
    }
    let gateway = given(statement, 2).map(value::ipv6).transpose()?;
    let metric = given(statement, 3).map(|word| value::number(word, METRICS)).transpose()?;
    let place = statement.place.to_string();
    draft.settings.routes_ipv6.push(RouteIpv6 { place, network, prefix, gateway, metric });
    Ok(())
}

pub(super) fn route_gateway(draft: &mut Draft, statement: &Statement) -> Applied {
    let word = statement.param(1).unwrap_or_default();
    if word == "dhcp" {
        return Err(Fault::new(word, "is not supported", "expected an IPv4 address or a name"));
    }
    draft.settings.route_gateway = Some(value::host_v4(word, "route-ipv6-gateway")?);
    Ok(())
}

pub(super) fn route_ipv6_gateway(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.route_ipv6_gateway = Some(value::ipv6(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn route_metric(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.route_metric = Some(value::number(statement.param(1).unwrap_or_default(), METRICS)?);
    Ok(())
}

/// A parameter; `default` stands for none.
fn given(statement: &Statement, n: usize) -> Option<&str> {
    statement.param(n).filter(|word| *word != "default")
}

fn network(word: &str) -> Result<RouteHost, Fault> {
    if let Some((addr, bits)) = word.split_once('/').filter(|(addr, _)| addr.parse::<Ipv4Addr>().is_ok()) {
        let bits: u8 = value::number(bits, 0..=32)?;
        let mask = value::network(Ipv4Addr::BROADCAST, bits);
        return Err(Fault::new(word, "is not how networks are written here", format!("write {addr} {mask}")));
    }
    keyword_or_host(word)
}

fn keyword_or_host(word: &str) -> Result<RouteHost, Fault> {
    match word {
        "vpn_gateway" => Ok(RouteHost::VpnGateway),
        "net_gateway" => Ok(RouteHost::NetGateway),
        "remote_host" => Ok(RouteHost::RemoteHost),
        _ => value::host_v4(word, "route-ipv6").map(RouteHost::Host),
    }
}

fn no_host_bits(addr: Ipv4Addr, prefix: u8) -> Applied {
    let meant = value::network(addr, prefix);
    if meant == addr {
        return Ok(());
    }
    let mask = value::network(Ipv4Addr::BROADCAST, prefix);
    let expected = format!("did you mean {meant} {mask}?");
    Err(Fault::new(addr.to_string(), format!("has bits behind the netmask {mask}"), expected))
}

/// Fills in gateways and metrics, and looks for routes that lead nowhere or into a loop.
pub(super) fn finish(draft: &mut Draft) {
    fill_in(draft);
    check_gateways(draft);
    for i in 0..draft.remotes.len() {
        let Some(line) = draft.remotes.get(i) else { return };
        let Host::Addr(addr) = line.host else { continue };
        if let Some(fault) = loop_fault(draft, addr.to_canonical()) {
            let place = line.place.clone();
            draft.problems.push(fault.at(&place, "remote"));
        }
    }
}

fn fill_in(draft: &mut Draft) {
    let metric = draft.route_metric;
    for route in &mut draft.settings.routes {
        route.metric = route.metric.or(metric);
    }
    let gateway = draft.route_ipv6_gateway.filter(|_| draft.settings.device_type == DeviceType::Tap);
    for route in &mut draft.settings.routes_ipv6 {
        route.metric = route.metric.or(metric);
        route.gateway = route.gateway.or(gateway);
    }
}

/// `vpn_gateway` must stand for something.
fn check_gateways(draft: &mut Draft) {
    let settings = &draft.settings;
    if settings.route_noexec || draft.dev.is_none() {
        return;
    }
    let tun = settings.device_type == DeviceType::Tun;
    let known = settings.route_gateway.is_some() || (tun && draft.place("ifconfig").is_some());
    let known_v6 = tun || settings.ifconfig_ipv6.is_some();
    let vpn = |route: &&Route| [&route.gateway, &route.network].contains(&&RouteHost::VpnGateway);
    let lost = settings.routes.iter().find(vpn).filter(|_| !known);
    let lost_v6 = settings.routes_ipv6.iter().find(|route| route.gateway.is_none()).filter(|_| !known_v6);
    let (lost, lost_v6) = (lost.map(|r| r.place.clone()), lost_v6.map(|r| r.place.clone()));
    if let Some(place) = lost {
        let expected = "add route-gateway, or on tun ifconfig, or write the gateway";
        let fault = Fault::new("vpn_gateway", "nothing says what it is", expected);
        draft.problems.push(fault.at(&parsed(&place), "route"));
    }
    if let Some(place) = lost_v6 {
        let expected = "write the gateway, or add route-ipv6-gateway or ifconfig-ipv6";
        draft
            .problems
            .push(Fault::new("", "its gateway is missing", expected).at(&parsed(&place), "route-ipv6"));
    }
}

/// The place that a route carries as text.
fn parsed(place: &str) -> Place {
    match place.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
        Some((file, Ok(line))) => Place::new(file, line),
        _ => Place::new(place, 0),
    }
}

/// Why datagrams to `remote` would go into the tunnel that they carry.
fn loop_fault(draft: &Draft, remote: IpAddr) -> Option<Fault> {
    let (cause, way_out) = match remote {
        IpAddr::V4(addr) => match inside_ifconfig(draft, addr) {
            Some(cause) => (cause, "give the peer's outer address"),
            None => (inside_route(draft, addr)?, "add route remote_host 255.255.255.255 net_gateway"),
        },
        IpAddr::V6(addr) => {
            (inside_ipv6(draft, addr)?, "give the peer's outer address, or narrow what covers it")
        }
    };
    let expected = format!("a routing loop: the tunnel would carry its own datagrams; {way_out}");
    Some(Fault::new(remote.to_string(), cause, expected))
}

fn inside_ifconfig(draft: &Draft, remote: Ipv4Addr) -> Option<String> {
    let ifconfig = draft.settings.ifconfig.as_ref()?;
    let (local, second) = (literal(&ifconfig.local), literal(&ifconfig.remote_or_netmask));
    match draft.settings.device_type {
        DeviceType::Tun if [local, second].contains(&Some(remote)) => {
            Some("is an address inside the tunnel (ifconfig)".to_owned())
        }
        DeviceType::Tap if in_subnet(remote, local?, value::prefix_of(second?)?) => {
            Some("lies in the bridged subnet (ifconfig)".to_owned())
        }
        _ => None,
    }
}

/// The most specific route decides, as in the kernel.
fn inside_route(draft: &Draft, remote: Ipv4Addr) -> Option<String> {
    let covers = |route: &&Route| match &route.network {
        RouteHost::Host(Host::Addr(IpAddr::V4(network))) => in_subnet(remote, *network, route.prefix),
        RouteHost::RemoteHost => true,
        _ => false,
    };
    let best = draft
        .settings
        .routes
        .iter()
        .filter(covers)
        .max_by_key(|route| (route.prefix, !is_inner(draft, route)))?;
    is_inner(draft, best).then(|| format!("lies in a network that goes through the tunnel ({})", best.place))
}

fn is_inner(draft: &Draft, route: &Route) -> bool {
    match &route.gateway {
        RouteHost::VpnGateway => true,
        RouteHost::Host(Host::Addr(IpAddr::V4(gateway))) => inside_ifconfig(draft, *gateway).is_some(),
        _ => false,
    }
}

fn inside_ipv6(draft: &Draft, remote: Ipv6Addr) -> Option<String> {
    let inner = draft.settings.ifconfig_ipv6;
    let on_link =
        |addr: Ipv6Addr| inner.is_some_and(|it| in_subnet_v6(addr, it.local, it.prefix) || addr == it.remote);
    if on_link(remote) {
        return Some("lies in the subnet of the tunnel (ifconfig-ipv6)".to_owned());
    }
    let tun = draft.settings.device_type == DeviceType::Tun;
    let covers = |route: &&RouteIpv6| in_subnet_v6(remote, route.network, route.prefix);
    let best = draft.settings.routes_ipv6.iter().filter(covers).max_by_key(|route| route.prefix)?;
    let is_inner = tun || best.gateway.is_none_or(on_link);
    is_inner.then(|| format!("lies in a network that goes through the tunnel ({})", best.place))
}

fn in_subnet(addr: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    value::network(addr, prefix) == value::network(network, prefix)
}

fn in_subnet_v6(addr: Ipv6Addr, network: Ipv6Addr, prefix: u8) -> bool {
    value::network_v6(addr, prefix) == value::network_v6(network, prefix)
}
