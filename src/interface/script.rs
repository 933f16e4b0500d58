//! What the `up` and `down` scripts are told, in OpenVPN's words, and what the root helper has to undo.

use std::net::{IpAddr, Ipv4Addr};

use super::Plan;
use crate::config::dns;
use crate::config::settings::{Remote, Settings};
use crate::error::Result;
use crate::os::helper::{self, Helper};
use crate::os::netlink::Netlink;
use crate::os::route::Route;
use crate::packet::Layer;

impl Plan {
    /// Forks the root helper if there is anything for it to do. To be called before a secret is read.
    pub fn helper(&self, settings: &Settings) -> Result<Option<Helper>> {
        let redirect = self.redirect(settings);
        let idle =
            settings.up.is_none() && settings.down.is_none() && self.foreign.is_empty() && redirect.is_none();
        if idle {
            return Ok(None);
        }
        let foreign = self.foreign.clone();
        let undo = move |made: &[u8]| undo(&foreign, made);
        Helper::fork(helper::Plan {
            up: settings.up.clone(),
            down: settings.down.clone(),
            environment: self.environment(settings),
            arguments: self.arguments(),
            undo: (!self.foreign.is_empty()).then(|| Box::new(undo) as helper::Undo),
            redirect,
            keep: Vec::new(),
            time_limit: helper::TIME_LIMIT,
        })
        .map(Some)
    }

    /// The fourth and fifth positional parameter; empty where there is no `ifconfig`, so that none shifts.
    fn arguments(&self) -> [String; 2] {
        self.ipv4.map_or_else(Default::default, |(local, second)| [local.to_string(), second.to_string()])
    }

    fn environment(&self, settings: &Settings) -> Vec<(String, String)> {
        let mut list: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| list.push((name.to_owned(), value));
        let config =
            settings.config_file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        set("config", config);
        set("verb", settings.verb.to_string());
        set("daemon", u8::from(settings.daemon).to_string());
        set("daemon_pid", std::process::id().to_string());
        set("dev_type", if self.layer == Layer::Ip { "tun" } else { "tap" }.to_owned());
        for (remote, number) in settings.remotes.iter().zip(1..) {
            let Remote { host, port, .. } = remote;
            set(&format!("remote_{number}"), host_text(host));
            set(&format!("remote_port_{number}"), port.to_string());
            set(&format!("local_port_{number}"), settings.lport.to_string());
            set(&format!("proto_{number}"), "udp".to_owned());
        }
        if let Some((local, second)) = self.ipv4 {
            let word = if self.layer == Layer::Ip { "ifconfig_remote" } else { "ifconfig_netmask" };
            set("ifconfig_local", local.to_string());
            set(word, second.to_string());
        }
        if let Some(six) = self.ipv6 {
            set("ifconfig_ipv6_local", six.local.to_string());
            set("ifconfig_ipv6_netbits", six.prefix.to_string());
            set("ifconfig_ipv6_remote", six.remote.to_string());
        }
        if let Some(gateway) = self.vpn_gateway {
            set("route_vpn_gateway", gateway.to_string());
        }
        if let Some(gateway) = self.gateway.and_then(|gateway| gateway.addr) {
            set("route_net_gateway", gateway.to_string());
        }
        if settings.redirect.as_ref().is_some_and(|it| it.ipv4 || it.ipv6) {
            set("redirect_gateway", "1".to_owned());
        }
        self.set_routes_of_both(&mut set);
        list.extend(dns::environment(settings));
        list.extend(settings.setenv.iter().cloned());
        list
    }

    fn set_routes_of_both(&self, set: &mut impl FnMut(&str, String)) {
        let (mut ipv4, mut ipv6) = (0, 0);
        for route in self.own.iter().chain(&self.foreign) {
            let gateway = route.gateway.or(self.vpn_gateway).map_or_else(String::new, |ip| ip.to_string());
            let metric = route.metric.map(|metric| metric.to_string());
            match route.destination.addr {
                IpAddr::V4(network) => {
                    ipv4 += 1;
                    set(&format!("route_network_{ipv4}"), network.to_string());
                    set(&format!("route_netmask_{ipv4}"), netmask(route.destination.prefix).to_string());
                    set(&format!("route_gateway_{ipv4}"), gateway);
                    metric.into_iter().for_each(|metric| set(&format!("route_metric_{ipv4}"), metric));
                }
                IpAddr::V6(_) => {
                    ipv6 += 1;
                    set(&format!("route_ipv6_network_{ipv6}"), route.destination.to_string());
                    set(&format!("route_ipv6_gateway_{ipv6}"), gateway);
                    metric.into_iter().for_each(|metric| set(&format!("route_ipv6_metric_{ipv6}"), metric));
                }
            }
        }
    }
}

/// In the helper: deletes the routes that were made, of those it was forked with.
fn undo(foreign: &[Route], made: &[u8]) {
    let Ok(mut netlink) = Netlink::open() else { return };
    for (route, _) in foreign.iter().zip(made).filter(|(_, made)| **made != 0).rev() {
        if let Err(error) = netlink.delete_route(route) {
            log::warn!("{error}");
        }
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn host_text(host: &crate::config::settings::Host) -> String {
    match host {
        crate::config::settings::Host::Addr(ip) => ip.to_string(),
        crate::config::settings::Host::Name(name) => name.clone(),
    }
}
