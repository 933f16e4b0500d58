//! The bridge of the listener: which ethernet interface, and which network.

use std::net::{IpAddr, Ipv4Addr};

use super::interfaces::Interface;
use super::seen::Seen;
use super::tunnel::{Bridge, Here};
use super::wanted::{Wanted, wrong};
use crate::error::Error;
use crate::os::route::Network;

/// The bridge, and the bridged network with the bridge's own address in it.
pub(super) fn choose(
    wanted: &Wanted,
    seen: &Seen,
    here: Here,
    name: Option<&str>,
) -> Result<(Bridge, Network), Error> {
    if here == Here::Listener
        && let Some(settings) = &seen.bridge
    {
        if let Some(name) = name.filter(|name| *name != settings.eth) {
            let cause = format!("/etc/naptun/bridge.conf joins {} already", settings.eth);
            return Err(
                wrong(&format!("--bridge {name}"), cause).advise("leave the name out, or change that file")
            );
        }
        let eth = settings.eth.clone();
        let on_bridge = address_of(seen, &settings.bridge);
        let words = settings.addresses.split_whitespace().filter_map(network);
        let known = on_bridge.or(words.into_iter().next()).or(address_of(seen, &eth));
        let network = known.or(wanted.networks.first().map(|network| first_host(*network)));
        let network = network.ok_or_else(|| no_network(&settings.bridge))?;
        return Ok((Bridge { eth, address: None, own: Some(network.addr), exists: true }, network));
    }
    let eth = match (name, here) {
        (Some(name), Here::Listener) => judged(seen, name)?,
        (Some(name), _) => name.to_owned(),
        (None, Here::Listener) => only_one(seen)?,
        (None, _) => {
            let error =
                wrong("--bridge", format!("this is not {}, whose interfaces are meant", wanted.listener));
            return Err(error.advise("name the interface: --bridge eth1"));
        }
    };
    if let Some(given) = wanted.networks.first() {
        let network = first_host(*given);
        return Ok((Bridge { eth, address: Some(network), own: Some(network.addr), exists: false }, network));
    }
    let own = address_of(seen, &eth).filter(|_| here == Here::Listener);
    let network = own.ok_or_else(|| no_network(&eth))?;
    Ok((Bridge { eth, address: None, own: Some(network.addr), exists: false }, network))
}

fn no_network(name: &str) -> Error {
    wrong(&format!("--bridge {name}"), "nothing says which network is there")
        .advise("give it with the bridge's own address: --network 192.168.8.1/24")
}

/// Where a network is given without the address of a host, the bridge gets the first.
fn first_host(network: Network) -> Network {
    match network.addr {
        IpAddr::V4(addr) if network.masked() == network && network.prefix < 31 => {
            Network { addr: Ipv4Addr::from_bits(addr.to_bits() | 1).into(), ..network }
        }
        _ => network,
    }
}

fn network(word: &str) -> Option<Network> {
    let (addr, bits) = word.split_once('/')?;
    Network::new(IpAddr::V4(addr.parse().ok()?), bits.parse().ok()?)
}

/// The first IPv4 address of an interface, with its prefix.
fn address_of(seen: &Seen, name: &str) -> Option<Network> {
    let mut own = seen.addresses.iter().filter(|one| one.name == name && one.addr.is_ipv4());
    own.next().map(|one| Network { addr: one.addr, prefix: one.network.prefix })
}

/// The name, if a bridge may take that interface of this host.
fn judged(seen: &Seen, name: &str) -> Result<String, Error> {
    let act = format!("--bridge {name}");
    let Some(interface) = seen.interfaces.iter().find(|one| one.name == name) else {
        return Err(wrong(&act, "this host has no such interface").advise(choice(seen)));
    };
    if !interface.ethernet {
        return Err(wrong(&act, "is no ethernet that a bridge can take").advise(choice(seen)));
    }
    if seen.default_devices().contains(&interface.index) {
        let error = wrong(&act, "it holds the default route: its neighbours would get a port in the tunnel");
        return Err(error.advise("never bridge the interface that faces the internet"));
    }
    Ok(name.to_owned())
}

fn only_one(seen: &Seen) -> Result<String, Error> {
    match private(seen).as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(wrong("--bridge", "this host has no ethernet interface without the default route")
            .advise("a bridge needs a private one; without it use --tap or tun")),
        _ => Err(wrong("--bridge", "this host has several private interfaces").advise(choice(seen))),
    }
}

fn choice(seen: &Seen) -> String {
    let names: Vec<&str> = private(seen).iter().map(|one| one.name.as_str()).collect();
    if names.is_empty() {
        "there is none to take here".to_owned()
    } else {
        format!("name one of {}", names.join(", "))
    }
}

fn private(seen: &Seen) -> Vec<&Interface> {
    let default = seen.default_devices();
    seen.interfaces.iter().filter(|one| one.ethernet && !default.contains(&one.index)).collect()
}
