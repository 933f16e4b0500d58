//! `redirect-gateway`: which routes take all traffic into the tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Plan;
use crate::config::settings::Settings;
use crate::os::hosts;
use crate::os::redirect::{Redirect, Wish};
use crate::os::route::{Network, Route};
use crate::packet::Layer;

/// Together all of IPv4, and longer than the default route.
const IPV4: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::UNSPECIFIED, 1), (Ipv4Addr::new(128, 0, 0, 0), 1)];

/// All of IPv6 that is global or private, as OpenVPN divides it.
const IPV6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::UNSPECIFIED, 3),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 4),
    (Ipv6Addr::new(0x3000, 0, 0, 0, 0, 0, 0, 0), 4),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
];

impl Plan {
    /// What the root helper redirects; `None` where nothing is, or the `up` script does it.
    pub(super) fn redirect(&self, settings: &Settings) -> Option<Redirect> {
        let wish = settings.redirect.as_ref().filter(|_| !settings.route_noexec)?;
        let through = |gateway: Option<IpAddr>| {
            move |destination| Route { destination, gateway, device: None, metric: None }
        };
        let ipv4 =
            IPV4.into_iter().filter(|_| wish.ipv4).filter_map(|(ip, bits)| Network::new(ip.into(), bits));
        let ipv6 =
            IPV6.into_iter().filter(|_| wish.ipv6).filter_map(|(ip, bits)| Network::new(ip.into(), bits));
        let on_tap = self.layer == Layer::Ethernet;
        let inner = ipv4
            .map(through(self.vpn_gateway.filter(|_| on_tap)))
            .chain(ipv6.map(through(wish.gateway_ipv6.map(IpAddr::V6))));
        let private = !wish.ipv4 && !wish.ipv6;
        Some(Redirect::new(Wish {
            inner: inner.collect(),
            outer_ipv4: (wish.ipv4 || private) && !wish.local,
            outer_ipv6: (wish.ipv6 || private) && !wish.local,
            bypass: if wish.bypass_dns { hosts::name_servers() } else { Vec::new() },
            block_local: wish.block_local && wish.ipv4,
        }))
    }
}
