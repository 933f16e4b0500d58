use super::*;
use crate::os::route::{Assigned, Entry};
use crate::pair::Wish;

const RANDOM_BYTES: [u8; RANDOM] = [1, 2, 3, 4, 5];

fn wish(listener: &str, caller: &str) -> Wish {
    Wish { listener: listener.to_owned(), caller: caller.to_owned(), ..Wish::default() }
}

fn host(name: &str) -> Seen {
    Seen { hostname: name.to_owned(), ..Seen::default() }
}

fn chosen(wish: &Wish, seen: &Seen) -> Tunnel {
    choose(&Wanted::new(wish).unwrap(), seen, RANDOM_BYTES).unwrap()
}

fn said(wish: &Wish, seen: &Seen) -> Vec<String> {
    let errors = Wanted::new(wish).and_then(|wanted| choose(&wanted, seen, RANDOM_BYTES)).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// A host with an interface that faces the internet under this address.
fn facing(name: &str, addr: &str) -> Seen {
    let addr: IpAddr = addr.parse().unwrap();
    let network = Network { addr, prefix: 24 };
    let everything = Network { addr: "0.0.0.0".parse().unwrap(), prefix: 0 };
    let route = Entry { destination: everything, gateway: None, device: Some(2), metric: 0 };
    let own = Assigned { device: 2, name: "eth0".to_owned(), addr, network };
    Seen { addresses: vec![own], routes: vec![route], ..host(name) }
}

#[test]
fn a_host_that_knows_itself_as_a_loopback_address_is_called_by_the_one_that_faces_out() {
    let mut seen = facing("mon", "203.0.113.9");
    seen.outer = vec!["127.0.1.1".parse().unwrap()];
    let tunnel = chosen(&wish("mon", "fri"), &seen);
    assert_eq!((tunnel.remote.as_str(), tunnel.here), ("203.0.113.9", Here::Listener));
    assert!(tunnel.notes.is_empty(), "{:?}", tunnel.notes);

    let mut seen = facing("mon", "192.168.7.9");
    seen.outer = vec!["127.0.1.1".parse().unwrap()];
    let tunnel = chosen(&wish("mon", "fri"), &seen);
    assert_eq!(tunnel.remote, "192.168.7.9");
    assert!(tunnel.notes[0].contains("which is private"), "{:?}", tunnel.notes);

    // On another host that says nothing of mon.
    let tunnel = chosen(&wish("mon", "fri"), &facing("third", "203.0.113.9"));
    assert_eq!((tunnel.remote.as_str(), tunnel.here), ("mon", Here::Elsewhere));
    assert!(tunnel.notes[0].contains("the name mon has no address here"), "{:?}", tunnel.notes);
}

#[test]
fn a_name_with_dots_is_called_by_name_and_a_short_one_by_address() {
    let outer = vec!["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let seen = Seen { outer, ..host("fri") };
    let tunnel = chosen(&wish("mon.example", "fri"), &seen);
    assert_eq!((tunnel.remote.as_str(), tunnel.here), ("mon.example", Here::Caller));
    assert_eq!((tunnel.name.as_str(), tunnel.caller.stem.as_str()), ("tun-mon-fri", "tun-fri-mon"));
    assert_eq!(chosen(&wish("mon", "fri"), &seen).remote, "192.0.2.1");
}

#[test]
fn hosts_of_one_first_name_are_told_apart_by_all_of_it() {
    let tunnel = chosen(&wish("gw.north.example", "gw.south.example"), &host("gw"));
    assert_eq!(tunnel.name, "tun-gw-north-example-gw-south-example");
    assert_eq!(tunnel.here, Here::Elsewhere, "it could be either");
    assert_eq!(tunnel.listener.device, "tun1417", "what is too long for a device");
    assert_eq!(chosen(&wish("monday", "fri"), &host("x")).listener.device, "tun-monday-fri");
}

#[test]
fn after_the_last_service_there_is_none() {
    let mut seen = host("mon");
    seen.bound = (1417..=1420).chain(1661..=1669).chain(1671..=1672).collect();
    let tunnel = chosen(&wish("mon", "fri"), &seen);
    assert_eq!((tunnel.service.name.as_str(), tunnel.service.port), ("netview-aix-12", 1673));
    seen.bound.push(1673);
    assert!(said(&wish("mon", "fri"), &seen)[0].contains("give a port with --port"));
    let port = Wish { port: Some("1418".to_owned()), ..wish("mon", "fri") };
    assert!(said(&port, &seen)[0].contains("a process has UDP port 1418"));
    seen.hostname = "third".to_owned();
    let service = chosen(&port, &seen).service;
    assert_eq!((service.name.as_str(), service.listed), ("timbuktu-srv2", true), "its name is known");
}

#[test]
fn an_ipv6_network_gives_the_tunnel_addresses_of_its_own_prefix() {
    let six = Wish { networks: vec!["fd00:1::/64".to_owned()], ..wish("mon", "fri") };
    let tunnel = chosen(&six, &host("mon"));
    assert_eq!(tunnel.listener.ipv6, Some("fd01:203:405::1".parse().unwrap()));
    assert_eq!(tunnel.caller.ipv6, Some("fd01:203:405::2".parse().unwrap()));
    assert_eq!(chosen(&wish("mon", "fri"), &host("mon")).listener.ipv6, None);
}

#[test]
fn a_bridged_caller_gets_an_address_that_nobody_has() {
    let bridged = |network: &str, own: Option<&str>| Wish {
        bridge: Some("eth1".to_owned()),
        networks: vec![network.to_owned()],
        caller_address: own.map(str::to_owned),
        ..wish("mon", "fri")
    };
    let mut seen = host("third");
    let address = |wish: &Wish, seen: &Seen| chosen(wish, seen).caller.ipv4.unwrap().to_string();
    assert_eq!(address(&bridged("192.168.8.1/24", None), &seen), "192.168.8.250");
    assert_eq!(address(&bridged("192.168.8.250/24", None), &seen), "192.168.8.249");
    seen.neighbours = vec!["192.168.8.250".parse().unwrap()];
    assert_eq!(address(&bridged("192.168.8.0/24", None), &seen), "192.168.8.249");
    assert_eq!(address(&bridged("192.168.8.1/24", Some("192.168.8.7")), &seen), "192.168.8.7");
    // Of four addresses two are of hosts.
    assert_eq!(address(&bridged("192.168.8.1/30", None), &seen), "192.168.8.2");
    seen.neighbours.push("192.168.8.2".parse().unwrap());
    assert!(said(&bridged("192.168.8.1/30", None), &seen)[0].contains("no address is left"));
    for wrong in ["192.168.8.1", "192.168.8.0", "192.168.8.255", "192.168.9.7"] {
        assert!(
            said(&bridged("192.168.8.1/24", Some(wrong)), &seen)[0].contains("is none of a host"),
            "{wrong}"
        );
    }
}

#[test]
fn the_only_private_ethernet_is_bridged_and_its_address_known() {
    let mut seen = facing("mon", "203.0.113.9");
    let interface = |name: &str, index, ethernet| crate::pair::interfaces::Interface {
        name: name.to_owned(),
        index,
        ethernet,
    };
    seen.interfaces =
        vec![interface("eth0", 2, true), interface("eth1", 3, true), interface("tap0", 4, false)];
    let bridge = Wish { bridge: Some(String::new()), ..wish("mon", "fri") };
    assert!(said(&bridge, &seen)[0].contains("nothing says which network is there"));
    let network = Network { addr: "192.168.5.1".parse().unwrap(), prefix: 24 };
    seen.addresses.push(Assigned { device: 3, name: "eth1".to_owned(), addr: network.addr, network });
    let tunnel = chosen(&bridge, &seen);
    assert_eq!((tunnel.bridge.unwrap().eth.as_str(), tunnel.caller.prefix), ("eth1", 24));
    assert_eq!(tunnel.caller.ipv4, Some("192.168.5.250".parse().unwrap()));
    seen.interfaces.push(interface("eth2", 5, true));
    assert!(said(&bridge, &seen)[0].contains("name one of eth1, eth2"));
    // Elsewhere nobody knows the interfaces of mon.
    seen.hostname = "third".to_owned();
    seen.addresses.clear();
    assert!(said(&bridge, &seen)[0].contains("this is not mon"));
}
