//! A tunnel beside the network of its host: addresses, routes, devices, forwarding.

use std::path::Path;

use super::finding::{Report, Severity};
use super::host::{Holder, Host};
use super::tunnel::{Claim, Tunnel, covering};
use crate::config::settings::DeviceType;
use crate::os::route::{Assigned, Entry, Network, overlap};

/// The node that every tun and tap device comes from.
const NODE: &str = "/dev/net/tun";

/// Looks for what keeps a tunnel from coming up here, or from carrying anything.
pub(super) fn look(tunnel: &Tunnel, host: &Host, report: &mut Report) {
    if !Path::new(NODE).exists() {
        let text = format!("dev: there is no {NODE} here; modprobe tun, or in a container have it passed in");
        report.add(Severity::Error, &tunnel.place("dev"), "", &text);
    }
    device(tunnel, host, report);
    let rest = Rest::of(tunnel, host);
    addresses(tunnel, &rest, report);
    routes(tunnel, host, &rest, report);
    remotes(tunnel, report);
    forwarding(tunnel, host, report);
}

/// The host without what the tunnel itself has made, if it is up.
struct Rest {
    addresses: Vec<Assigned>,
    routes: Vec<Entry>,
}

impl Rest {
    fn of(tunnel: &Tunnel, host: &Host) -> Self {
        let own = own_devices(tunnel, host);
        Self {
            addresses: host.addresses.iter().filter(|one| !own.contains(&one.device)).cloned().collect(),
            routes: host
                .routes
                .iter()
                .filter(|it| it.device.is_none_or(|it| !own.contains(&it)))
                .copied()
                .collect(),
        }
    }
}

/// The device that this very tunnel has made: the tun or tap with our address; where the file names none, that of its
/// name or any that a naptun holds.
fn own_devices(tunnel: &Tunnel, host: &Host) -> Vec<u32> {
    let (claims, name) = (tunnel.inner(), tunnel.exam.settings.device_name.as_deref());
    let has = |device: u32, claim: &Claim| {
        host.addresses.iter().any(|one| one.device == device && one.addr.to_string() == claim.word)
    };
    let own = |device: &str, index: u32| match host.holder(device) {
        Holder::Foreign => false,
        _ if claims.iter().any(|claim| has(index, claim)) => true,
        Holder::Process(Some(process)) => {
            claims.is_empty() && process.name == "naptun" && name.is_none_or(|name| name == device)
        }
        _ => false,
    };
    host.devices().iter().filter(|(index, device)| own(device, *index)).map(|(index, _)| *index).collect()
}

fn device(tunnel: &Tunnel, host: &Host, report: &mut Report) {
    let Some(name) = tunnel.exam.settings.device_name.as_ref().filter(|name| host.has_device(name)) else {
        return;
    };
    let text = match host.holder(name) {
        Holder::Foreign => format!(
            "dev {name}: a device of this name is there, and it is none of a tunnel; choose another name"
        ),
        Holder::Nobody => format!(
            "dev {name}: the device is there already, made to stay; ip link del {name}, for naptun makes its own"
        ),
        Holder::Process(Some(process)) if process.name != "naptun" => {
            format!(
                "dev {name}: {} has it (process {}); end that, or choose another name",
                process.name, process.pid
            )
        }
        Holder::Process(_) => return,
    };
    report.add(Severity::Error, &tunnel.place("dev"), name, &text);
}

/// As the endpoint itself will judge before it makes the device.
fn addresses(tunnel: &Tunnel, rest: &Rest, report: &mut Report) {
    for claim in tunnel.inner() {
        let Some(user) = overlap(claim.network, &rest.addresses, &rest.routes) else { continue };
        let text = format!(
            "{}: in use on this host: {user}; give both ends private addresses that are in no subnet of theirs",
            claim.subject
        );
        return report.add(Severity::Error, &claim.place, &claim.word, &text);
    }
}

fn routes(tunnel: &Tunnel, host: &Host, rest: &Rest, report: &mut Report) {
    for claim in tunnel.routes() {
        let network = claim.network.masked();
        let connected =
            rest.addresses.iter().find(|one| is_shared(&one.network) && one.network.contains(&network));
        let routed = || rest.routes.iter().find(|route| route.destination == network);
        let text = match connected {
            Some(one) => format!(
                "this host is in that network itself: {} has {}; route another one",
                one.name,
                one.network.masked()
            ),
            None => match routed() {
                Some(Entry { device: Some(device), .. }) => {
                    format!(
                        "it is routed to {} already, and that stays; delete that route, or remove this one",
                        host.device(*device)
                    )
                }
                _ => continue,
            },
        };
        report.add(Severity::Error, &claim.place, &claim.word, &format!("{}: {text}", claim.subject));
    }
}

/// More than one host.
fn is_shared(network: &Network) -> bool {
    network.prefix < if network.addr.is_ipv4() { 32 } else { 128 }
}

/// A name that /etc/hosts puts into the tunnel that it is to carry; a literal address is found without this host.
fn remotes(tunnel: &Tunnel, report: &mut Report) {
    let claims: Vec<Claim> = tunnel.inner().into_iter().chain(tunnel.routes()).collect();
    for (place, word, addrs) in tunnel
        .remotes()
        .into_iter()
        .filter(|(_, word, addrs)| !addrs.iter().any(|addr| addr.to_string() == *word))
    {
        let Some((addr, claim)) = addrs.iter().find_map(|addr| Some((addr, covering(&claims, *addr)?)))
        else {
            continue;
        };
        // Half of the world is told from the peer by a route of its own.
        if claim.network.prefix > 1 {
            let text = format!(
                "remote {word}: its address {addr} lies in this very tunnel ({}): it would carry its own datagrams; give the peer's outer address",
                claim.subject
            );
            report.add(Severity::Error, &place, &word, &text);
        }
    }
}

fn forwarding(tunnel: &Tunnel, host: &Host, report: &mut Report) {
    if tunnel.exam.settings.device_type == DeviceType::Tap && tunnel.exam.settings.up.is_some() {
        return;
    }
    for (ipv6, sysctl) in [(false, "net.ipv4.ip_forward"), (true, "net.ipv6.conf.all.forwarding")] {
        let routes = tunnel.routes();
        let Some(claim) = routes.iter().find(|claim| claim.network.addr.is_ipv6() == ipv6) else { continue };
        if host.forwards(ipv6) || !host.has_network_behind(ipv6) {
            continue;
        }
        let text = format!(
            "{}: this host does not forward, so the networks behind it and behind the tunnel do not meet; sysctl -w {sysctl}=1, or run tun-setup at each boot",
            claim.subject
        );
        report.add(Severity::Warning, &claim.place, &claim.word, &text);
    }
}
