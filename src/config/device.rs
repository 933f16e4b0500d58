//! Directives of the inner side: the device and its addresses.

use std::net::{IpAddr, Ipv4Addr};

use super::draft::Draft;
use super::grammar::Statement;
use super::problem::Fault;
use super::settings::{DeviceType, Host, Ifconfig, IfconfigIpv6};
use super::value;

type Applied = Result<(), Fault>;

/// IFNAMSIZ of linux/if.h without the final NUL.
const MAX_NAME: usize = 15;
/// RFC 8200 section 5: no IPv6 over less.
const MIN_MTU_IPV6: u16 = 1280;
/// The tunnel's own 24 bytes, UDP and IPv6 fit into 1500 with room for a PPPoE or a second tunnel.
const MTU_TUN: u16 = 1420;
/// A bridge drops what does not fit its smallest port, so a tap is as wide as its neighbours.
const MTU_TAP: u16 = 1500;

pub(super) fn dev(draft: &mut Draft, statement: &Statement) -> Applied {
    let name = statement.param(1).unwrap_or_default();
    if name == "null" {
        return Err(Fault::new(name, "a tunnel needs a device", "expected tun, tap, or a name"));
    }
    draft.dev = Some(device_name(name)?);
    Ok(())
}

pub(super) fn dev_type(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.dev_type = Some(value::device_type(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn topology(draft: &mut Draft, statement: &Statement) -> Applied {
    let word = statement.param(1).unwrap_or_default();
    if !matches!(word, "net30" | "p2p" | "subnet") {
        return Err(Fault::new(word, "is no topology", "expected p2p, net30 or subnet"));
    }
    draft.topology_subnet = word == "subnet";
    draft.notice(&statement.place, "topology", "tun is always point to point here, and tap always a subnet");
    Ok(())
}

pub(super) fn tun_mtu(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.mtu = Some(value::number(statement.param(1).unwrap_or_default(), 576..=9000)?);
    Ok(())
}

/// 0 leaves it to the system, as in OpenVPN.
pub(super) fn txqueuelen(draft: &mut Draft, statement: &Statement) -> Applied {
    let packets = value::number(statement.param(1).unwrap_or_default(), 0..=1_000_000)?;
    draft.settings.txqueuelen = Some(packets).filter(|packets| *packets > 0);
    Ok(())
}

pub(super) fn lladdr(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.lladdr = Some(value::mac(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn ifconfig(draft: &mut Draft, statement: &Statement) -> Applied {
    let local = value::host_v4(statement.param(1).unwrap_or_default(), "ifconfig-ipv6")?;
    let remote_or_netmask = value::host_v4(statement.param(2).unwrap_or_default(), "ifconfig-ipv6")?;
    draft.settings.ifconfig = Some(Ifconfig { local, remote_or_netmask });
    Ok(())
}

pub(super) fn ifconfig_ipv6(draft: &mut Draft, statement: &Statement) -> Applied {
    let (local, prefix) = value::ipv6_prefix(statement.param(1).unwrap_or_default(), 64..=124)?;
    let word = statement.param(2).unwrap_or_default();
    let remote = value::ipv6(word)?;
    if local == remote {
        return Err(Fault::new(word, "is the address of both ends", "expected the peer's address"));
    }
    for addr in [local, remote] {
        if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() {
            return Err(Fault::new(
                addr.to_string(),
                "is not the address of one host",
                "expected one as fd00::1",
            ));
        }
    }
    draft.settings.ifconfig_ipv6 = Some(IfconfigIpv6 { local, prefix, remote });
    Ok(())
}

/// Settles the device's type, name and MTU, and checks what depends on its type.
pub(super) fn finish(draft: &mut Draft) {
    let Some(name) = draft.dev.clone() else { return };
    match draft.dev_type.or_else(|| type_of(&name)) {
        Some(device_type) => draft.settings.device_type = device_type,
        None => {
            let fault = Fault::new(name, "does not say which type it is", "add dev-type tun or dev-type tap");
            return draft.fault("dev", fault);
        }
    }
    draft.settings.device_name = Some(name).filter(|name| name != "tun" && name != "tap");
    settle_mtu(draft);
    check_type(draft);
    if let Some(fault) = draft.settings.ifconfig.as_ref().and_then(|it| ifconfig_fault(draft, it)) {
        draft.fault("ifconfig", fault);
    }
}

fn settle_mtu(draft: &mut Draft) {
    let default = match draft.settings.device_type {
        DeviceType::Tun => MTU_TUN,
        DeviceType::Tap => MTU_TAP,
    };
    draft.settings.mtu = draft.mtu.unwrap_or(default);
    if draft.settings.mtu < MIN_MTU_IPV6 && draft.settings.ifconfig_ipv6.is_some() {
        let expected = format!("expected {MIN_MTU_IPV6} or more");
        let fault = Fault::new(draft.settings.mtu.to_string(), "is too small for ifconfig-ipv6", expected);
        draft.fault("tun-mtu", fault);
    }
}

fn check_type(draft: &mut Draft) {
    if draft.settings.device_type == DeviceType::Tap {
        return;
    }
    if draft.settings.lladdr.is_some() {
        draft.fault(
            "lladdr",
            Fault::new("", "a tun device has no hardware address", "use dev tap, or remove it"),
        );
    }
    if draft.topology_subnet {
        let expected = "remove it, and give the peer's address as the second parameter of ifconfig";
        draft.fault("topology", Fault::new("subnet", "a tun device joins two points here", expected));
    }
}

fn ifconfig_fault(draft: &Draft, ifconfig: &Ifconfig) -> Option<Fault> {
    let local = literal(&ifconfig.local);
    if let Some(addr) = local.filter(|addr| !is_one_host(*addr)) {
        return Some(Fault::new(
            addr.to_string(),
            "is not the address of one host",
            "expected one as 10.8.0.1",
        ));
    }
    let outer = draft.settings.local.as_ref();
    if local.is_some() && outer == Some(&ifconfig.local) {
        let cause = "is the address of local too";
        return Some(Fault::new(
            word(&ifconfig.local),
            cause,
            "the inside of the tunnel needs addresses of its own",
        ));
    }
    match draft.settings.device_type {
        DeviceType::Tun => tun_fault(ifconfig),
        DeviceType::Tap => tap_fault(local, &ifconfig.remote_or_netmask),
    }
}

fn tun_fault(ifconfig: &Ifconfig) -> Option<Fault> {
    let second = word(&ifconfig.remote_or_netmask);
    if ifconfig.local == ifconfig.remote_or_netmask {
        return Some(Fault::new(
            second,
            "is the address of both ends",
            "expected the peer's address behind ours",
        ));
    }
    let addr = literal(&ifconfig.remote_or_netmask)?;
    if addr.octets().first() == Some(&255) {
        let expected = "on tun the second parameter is the peer's address, a netmask belongs to tap";
        return Some(Fault::new(second, "looks like a netmask", expected));
    }
    (!is_one_host(addr))
        .then(|| Fault::new(second, "is not the address of one host", "expected one as 10.8.0.2"))
}

fn tap_fault(local: Option<Ipv4Addr>, netmask: &Host) -> Option<Fault> {
    let expected = "on tap the second parameter is the netmask, as 255.255.255.0";
    let Some(mask) = literal(netmask) else {
        return Some(Fault::new(word(netmask), "is no netmask", expected));
    };
    let Some(prefix) = value::prefix_of(mask).filter(|prefix| *prefix > 0) else {
        return Some(Fault::new(mask.to_string(), "is no netmask", expected));
    };
    let local = local.filter(|_| prefix <= 30)?;
    let network = value::network(local, prefix);
    let broadcast = Ipv4Addr::from_bits(network.to_bits() | !mask.to_bits());
    let cause = match local {
        addr if addr == network => format!("is the network {network}/{prefix} itself"),
        addr if addr == broadcast => format!("is the broadcast address of {network}/{prefix}"),
        _ => return None,
    };
    Some(Fault::new(local.to_string(), cause, "expected the address of this end"))
}

/// The IPv4 address, if it is one and no name.
pub(super) fn literal(host: &Host) -> Option<Ipv4Addr> {
    match host {
        Host::Addr(IpAddr::V4(addr)) => Some(*addr),
        _ => None,
    }
}

fn word(host: &Host) -> String {
    match host {
        Host::Addr(addr) => addr.to_string(),
        Host::Name(name) => name.clone(),
    }
}

fn is_one_host(addr: Ipv4Addr) -> bool {
    !(addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast() || addr.is_loopback())
}

/// By the first three letters, as OpenVPN judges.
fn type_of(name: &str) -> Option<DeviceType> {
    match name.get(..3) {
        Some("tun") => Some(DeviceType::Tun),
        Some("tap") => Some(DeviceType::Tap),
        _ => None,
    }
}

/// A name that the kernel takes literally: `%` would start a template, `:` an alias.
fn device_name(name: &str) -> Result<String, Fault> {
    let fault = |cause: &str, expected: &str| Err(Fault::new(name, cause, expected));
    if name.len() > MAX_NAME {
        return fault("is too long for a device", "expected 15 bytes at most");
    }
    let usable = name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'));
    if !usable || matches!(name, "" | "." | "..") {
        return fault("is no name of a device", "expected tun, tap, tun0, tap0 or another plain name");
    }
    Ok(name.to_owned())
}
