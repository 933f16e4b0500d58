//! A datagram on a netlink socket: it is taken apart within its bounds, to its end, and what is read of it holds.
//!
//! Input: the datagram.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use naptun::os::answer::{Body, answers, attributes};
use naptun::os::route::{Assigned, Entry, Network, assigned, overlap, route_entry};

const HEADER: usize = 16;

fuzz_target!(|datagram: &[u8]| {
    let (mut addresses, mut routes) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for answer in answers(datagram) {
        taken += HEADER;
        match answer.body {
            Body::Entry(body) => {
                taken += body.len();
                check_attributes(body);
                addresses.extend(assigned(body));
                routes.extend(route_entry(body));
            }
            Body::Status { reason: Some(reason), .. } => assert!(reason.len() < datagram.len()),
            Body::Status { .. } | Body::Done { .. } => {}
        }
        assert!(taken <= datagram.len(), "a message was given twice");
    }
    check(&addresses, &routes);
});

fn check_attributes(body: &[u8]) {
    for header in [0, 8, 12, 16] {
        let Some(bytes) = body.get(header..) else { return };
        let taken: usize = attributes(bytes).map(|(_, value)| 4 + value.len()).sum();
        assert!(taken <= bytes.len(), "an attribute was given twice");
    }
}

fn check(addresses: &[Assigned], routes: &[Entry]) {
    let networks = addresses.iter().map(|one| one.network).chain(routes.iter().map(|one| one.destination));
    for network in networks {
        let full = if network.addr.is_ipv4() { 32 } else { 128 };
        assert!(network.prefix <= full);
        assert!(network.contains(&network) && network.contains(&network.masked()));
        assert_eq!(network.masked().masked(), network.masked());
        assert!(everything(&network).contains(&network));
    }
    for one in addresses {
        let network = Network { addr: one.addr, prefix: if one.addr.is_ipv4() { 32 } else { 128 } };
        let local = matches!(one.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        assert!(local || overlap(network, addresses, &[]).is_some(), "an address in use is not found");
    }
    for one in routes {
        assert!(one.gateway.is_none_or(|gateway| gateway.is_ipv4() == one.destination.addr.is_ipv4()));
        // Devices have names on this machine that the input does not know.
        let nameless = Entry { device: None, ..*one };
        let local = matches!(one.destination.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        assert!(local || overlap(one.destination, &[], &[nameless]).is_some(), "a route in use is not found");
    }
}

fn everything(network: &Network) -> Network {
    Network { addr: network.addr, prefix: 0 }
}
