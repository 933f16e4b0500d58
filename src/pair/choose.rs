//! From what was asked for and what this host shows to the tunnel.

use std::net::IpAddr;

use super::bridge;
use super::inner::{self, Inner, RANDOM};
use super::seen::{HOME, Seen};
use super::service;
use super::tunnel::{Bridge, End, Here, Service, Tunnel};
use super::wanted::{Kind, Launcher, Wanted, wrong};
use crate::error::{Error, Exit};
use crate::os::route::{self, Network};

/// The longest name of a device, bytes: IFNAMSIZ of linux/if.h without the final NUL.
const DEVICE: usize = 15;

/// Chooses what was left open. `random` is for an IPv6 prefix.
///
/// # Errors
/// Everything that this host cannot do, or that collides on it; at least one.
pub fn choose(wanted: &Wanted, seen: &Seen, random: [u8; RANDOM]) -> Result<Tunnel, Vec<Error>> {
    let here = here(wanted, seen);
    let word = wanted.kind.word();
    let name = format!("{word}-{}-{}", wanted.mon, wanted.fri);
    let reverse = format!("{word}-{}-{}", wanted.fri, wanted.mon);
    let mut notes = Vec::new();
    let remote = remote(wanted, seen, here, &mut notes);
    let mut errors: Vec<Error> = exists(seen, here, [&name, &reverse]).into_iter().collect();
    errors.extend(collisions(wanted, seen, here));
    errors.extend(loops(wanted, &remote));
    let service = service::choose(wanted, seen, here, &name).map_err(|error| errors.push(error));
    let inside = inside(wanted, seen, here, &remote, random).map_err(|error| errors.push(error));
    let (Ok(service), Ok(inside), true) = (service, inside, errors.is_empty()) else { return Err(errors) };
    if let (Some(bridge), Some(addr)) =
        (&inside.bridge, inside.caller.addr4().filter(|_| wanted.caller_address.is_none()))
    {
        notes.push(format!(
            "{} gets {addr} behind {}: no DHCP server there may give it away",
            wanted.caller, bridge.eth
        ));
    }
    notes.extend(unseen(wanted, seen, here));
    let listener =
        end(&wanted.listener, &wanted.mon, name.clone(), inside.listener, &wanted.networks, &service);
    let caller = end(&wanted.caller, &wanted.fri, reverse, inside.caller, &wanted.caller_networks, &service);
    let launcher = wanted.launcher.or(seen.launchers.first().copied().filter(|_| here == Here::Listener));
    Ok(Tunnel {
        name,
        listener: End {
            networks: if inside.bridge.is_some() { Vec::new() } else { listener.networks },
            ..listener
        },
        caller,
        remote,
        service,
        launcher: launcher.unwrap_or(Launcher::Xinetd),
        kind: wanted.kind.clone(),
        bridge: inside.bridge,
        here,
        out: wanted.out.clone(),
        notes,
    })
}

/// By the name, or because the listener's outer address is one of ours.
fn here(wanted: &Wanted, seen: &Seen) -> Here {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let same = |name: &str| {
        let exact = seen.hostname.eq_ignore_ascii_case(name);
        let different = label(&wanted.listener) != label(&wanted.caller);
        exact || (different && label(&seen.hostname) == label(name))
    };
    let given = wanted.address.as_ref().and_then(|word| word.parse::<IpAddr>().ok());
    if same(&wanted.listener) {
        Here::Listener
    } else if same(&wanted.caller) {
        Here::Caller
    } else if given.is_some_and(|addr| seen.addresses.iter().any(|one| one.addr == addr)) {
        Here::Listener
    } else {
        Here::Elsewhere
    }
}

/// Where the caller finds the listener.
///
/// Debian gives a host's own name the address 127.0.1.1, which is of no use to another one. A name with dots is left
/// as it is, since its address may change.
fn remote(wanted: &Wanted, seen: &Seen, here: Here, notes: &mut Vec<String>) -> String {
    if let Some(address) = &wanted.address {
        return address.clone();
    }
    let name = &wanted.listener;
    let outer = seen.outer.iter().filter(|addr| !addr.is_loopback() && !addr.is_unspecified());
    if !name.contains('.') {
        if let Some(addr) = outer.clone().find(|addr| addr.is_ipv4()).or(outer.clone().next()) {
            return addr.to_string();
        }
        if let Some(addr) = facing_out(seen).filter(|_| here == Here::Listener) {
            if is_private(addr) {
                notes.push(format!(
                    "{} calls {addr}, which is private: give --address if that is not its way here",
                    wanted.caller
                ));
            }
            return addr.to_string();
        }
    }
    if outer.count() == 0 {
        notes.push(format!(
            "the name {name} has no address here: {} must know it, or give --address",
            wanted.caller
        ));
    }
    name.clone()
}

/// The address of the interface that holds the default route.
fn facing_out(seen: &Seen) -> Option<IpAddr> {
    let devices = seen.default_devices();
    let mut own = seen.addresses.iter().filter(|one| devices.contains(&one.device)).map(|one| one.addr);
    own.clone().find(IpAddr::is_ipv4).or_else(|| own.find(|addr| !is_private(*addr)))
}

fn is_private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_private() || addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unique_local() || addr.is_unicast_link_local(),
    }
}

/// What could not be looked at.
fn unseen(wanted: &Wanted, seen: &Seen, here: Here) -> Vec<String> {
    let blind = format!("{HOME} may not be read: run this as root, or what is there is not heeded");
    let elsewhere = format!("chosen by what this host shows, which is not {}", wanted.listener);
    [(seen.blind, blind), (here != Here::Listener, elsewhere)]
        .into_iter()
        .filter_map(|(told, note)| told.then_some(note))
        .collect()
}

/// The end of such a name that this host has already.
fn exists(seen: &Seen, here: Here, stems: [&str; 2]) -> Option<Error> {
    let stem = match here {
        Here::Listener => stems[0],
        Here::Caller => stems[1],
        Here::Elsewhere => return None,
    };
    seen.configs.iter().any(|name| *name == format!("{stem}.conf")).then(|| {
        Error::new(Exit::CannotCreate, format!("make {stem}"), format!("{HOME}/{stem}.conf is there already"))
            .advise("remove it first, or call one of the hosts by another name")
    })
}

/// Networks of the other end that this host has itself, or reaches otherwise.
fn collisions(wanted: &Wanted, seen: &Seen, here: Here) -> Vec<Error> {
    let (option, far) = match here {
        Here::Listener => ("--caller-network", &wanted.caller_networks),
        Here::Caller => ("--network", &wanted.networks),
        Here::Elsewhere => return Vec::new(),
    };
    let collision = |network: &Network| {
        let cause = route::overlap(network.masked(), &seen.addresses, &seen.routes)?;
        let error = wrong(&format!("{option} {network}"), format!("on this host {cause}"));
        Some(error.advise("the networks behind a tunnel must differ: renumber one of them"))
    };
    far.iter().filter_map(collision).collect()
}

/// Networks behind the listener that hold its own outer address.
fn loops(wanted: &Wanted, remote: &str) -> Vec<Error> {
    let Some(outer) = remote.parse::<IpAddr>().ok() else { return Vec::new() };
    let host = Network { addr: outer, prefix: if outer.is_ipv4() { 32 } else { 128 } };
    let inside = wanted.networks.iter().filter(|network| network.contains(&host));
    let error = |network: &Network| {
        wrong(&format!("--network {network}"), format!("holds {outer}, which {} calls", wanted.caller))
            .advise("the tunnel would carry its own datagrams: give the outer address with --address")
    };
    inside.map(error).collect()
}

/// What is inside the tunnel.
struct Inside {
    listener: Addresses,
    caller: Addresses,
    bridge: Option<Bridge>,
}

#[derive(Clone, Copy)]
struct Addresses {
    ipv4: Option<(std::net::Ipv4Addr, u8)>,
    ipv6: Option<std::net::Ipv6Addr>,
}

impl Addresses {
    fn addr4(&self) -> Option<std::net::Ipv4Addr> {
        self.ipv4.map(|(addr, _)| addr)
    }
}

fn inside(
    wanted: &Wanted,
    seen: &Seen,
    here: Here,
    remote: &str,
    random: [u8; RANDOM],
) -> Result<Inside, Error> {
    if let Kind::Bridge(name) = &wanted.kind {
        let (bridge, network) = bridge::choose(wanted, seen, here, name.as_deref())?;
        let addr = inner::in_bridged(wanted, seen, network)?;
        let listener = Addresses { ipv4: None, ipv6: None };
        let caller = Addresses { ipv4: Some((addr, network.prefix)), ipv6: None };
        return Ok(Inside { listener, caller, bridge: Some(bridge) });
    }
    let Inner { ipv4, ipv6 } = inner::choose(wanted, seen, remote, random)?;
    let listener = Addresses { ipv4: Some((ipv4.0, 24)), ipv6: ipv6.map(|it| it.0) };
    let caller = Addresses { ipv4: Some((ipv4.1, 24)), ipv6: ipv6.map(|it| it.1) };
    Ok(Inside { listener, caller, bridge: None })
}

/// One end. Its device is called as its configuration where the kernel allows, and by its port where not: a name that no
/// other tunnel has on either host, with the type in its first three letters.
fn end(
    host: &str,
    tag: &str,
    stem: String,
    inside: Addresses,
    networks: &[Network],
    service: &Service,
) -> End {
    let device = if stem.len() <= DEVICE {
        stem.clone()
    } else {
        format!("{}{}", stem.get(..3).unwrap_or("tun"), service.port)
    };
    End {
        host: host.to_owned(),
        tag: tag.to_owned(),
        stem,
        device,
        ipv4: inside.addr4(),
        prefix: inside.ipv4.map_or(24, |(_, prefix)| prefix),
        ipv6: inside.ipv6,
        networks: networks.to_vec(),
    }
}

#[cfg(test)]
mod tests;
