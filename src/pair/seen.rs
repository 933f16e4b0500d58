//! What this host shows: addresses, routes, ports, the tunnels it has already, its super-servers. Only looked at; what
//! cannot be read is taken as not there.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use super::interfaces::{self, Interface};
use super::service::{self, Use};
use super::wanted::Launcher;
use crate::os::hosts;
use crate::os::netlink::Netlink;
use crate::os::resolver::Resolver;
use crate::os::route::{Assigned, Entry, Network, Version};

/// Where configurations are.
pub const HOME: &str = "/etc/naptun";

/// How long a name server may take to tell the listener's address.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Larger than any file that is looked at here, bytes.
const MAX_FILE: u64 = 1 << 20;

/// What this host shows.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its name.
    pub hostname: String,
    /// What the listener's name stands for here.
    pub outer: Vec<IpAddr>,
    /// Its addresses.
    pub addresses: Vec<Assigned>,
    /// The routes of its main table, both versions.
    pub routes: Vec<Entry>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// The UDP ports that somebody has bound.
    pub bound: Vec<u16>,
    /// The services and ports that are spoken for.
    pub uses: Vec<Use>,
    /// The networks that other tunnels have, and which.
    pub networks: Vec<(Network, String)>,
    /// The configurations in /etc/naptun, by file name.
    pub configs: Vec<String>,
    /// Whether that folder may not be read.
    pub blind: bool,
    /// The UDP services of /etc/services.
    pub services: Vec<(String, u16)>,
    /// Its super-servers, the one to use first.
    pub launchers: Vec<Launcher>,
    /// Who answered for an address of a network here.
    pub neighbours: Vec<Ipv4Addr>,
    /// The settings of bridge-setup.
    pub bridge: Option<BridgeSettings>,
}

/// `bridge.conf` as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeSettings {
    /// `ETH`
    pub eth: String,
    /// `BRIDGE`
    pub bridge: String,
    /// `ADDRESS`, one or several.
    pub addresses: String,
}

impl Seen {
    /// Looks. `listener` is the name whose address is wanted.
    pub fn look(listener: &str) -> Self {
        let mut seen = Self {
            hostname: read("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            outer: resolve(listener),
            interfaces: interfaces::interfaces(),
            bound: bound_ports(),
            uses: service::launched(),
            services: read("/etc/services").map_or_else(Vec::new, |text| service::udp(&text)),
            launchers: launchers(),
            neighbours: read("/proc/net/arp").map_or_else(Vec::new, |text| neighbours(&text)),
            blind: fs::read_dir(HOME).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied),
            bridge: read(format!("{HOME}/bridge.conf")).map(|text| bridge_settings(&text)),
            ..Self::default()
        };
        if let Ok(mut netlink) = Netlink::open() {
            seen.addresses = netlink.addresses().unwrap_or_default();
            let mut routes = |version| netlink.routes(version).unwrap_or_default();
            seen.routes = [routes(Version::V4), routes(Version::V6)].concat();
        }
        for (name, text) in files(HOME).into_iter().filter(|(name, _)| name.ends_with(".conf")) {
            seen.read_config(name, &text);
        }
        seen
    }

    /// Takes what another tunnel needs out of its configuration, as far as that can be told without settling it all.
    pub fn read_config(&mut self, name: String, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            self.networks.extend(networks(&words).into_iter().map(|network| (network, name.clone())));
            let port = match words.as_slice() {
                ["port" | "lport" | "rport", port, ..] | ["remote", _, port, ..] => *port,
                _ => continue,
            };
            self.uses.push(Use { word: port.to_owned(), who: format!("{HOME}/{name}") });
        }
        self.configs.push(name);
    }

    /// The indexes of the devices that default routes lead to.
    pub fn default_devices(&self) -> Vec<u32> {
        let default = self.routes.iter().filter(|route| route.destination.prefix == 0);
        default.filter_map(|route| route.device).collect()
    }
}

/// The text of a regular file that is not too large.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let about = fs::metadata(&path).ok()?;
    let bytes = (about.is_file() && about.len() <= MAX_FILE).then(|| fs::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The regular files of a folder with their texts, by name.
pub(super) fn files(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| Some((entry.file_name().into_string().ok()?, read(entry.path())?));
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    files
}

/// /etc/hosts first; only a name that is not there costs a question to a name server.
fn resolve(name: &str) -> Vec<IpAddr> {
    let found = hosts::look_up(name);
    if !found.is_empty() {
        return found;
    }
    let Ok(mut resolver) = Resolver::fork(vec![(name.to_owned(), 0)], None) else { return Vec::new() };
    if resolver.request(0).is_err() {
        return Vec::new();
    }
    resolver.wait(LOOK_UP);
    match resolver.answer() {
        Some(Ok(addresses)) => addresses.iter().map(|address| address.ip().to_canonical()).collect(),
        _ => Vec::new(),
    }
}

fn bound_ports() -> Vec<u16> {
    let tables =
        ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let ports = tables.iter().flat_map(|table| table.lines().skip(1).filter_map(bound_port));
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `  123: 00000000:0589 00000000:0000 07 ...`: the local address stands second, its port in hexadecimal digits.
fn bound_port(line: &str) -> Option<u16> {
    u16::from_str_radix(line.split_whitespace().nth(1)?.rsplit_once(':')?.1, 16).ok()
}

/// `IP address  HW type  Flags  HW address  Mask  Device`
fn neighbours(text: &str) -> Vec<Ipv4Addr> {
    text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn launchers() -> Vec<Launcher> {
    let exists = |paths: &[&str]| paths.iter().any(|path| Path::new(path).exists());
    let all = [
        // Not /etc/xinetd.d: our own package puts examples there.
        (Launcher::Xinetd, exists(&["/etc/xinetd.conf", "/usr/sbin/xinetd"])),
        (Launcher::Systemd, exists(&["/run/systemd/system"])),
        (Launcher::Inetd, exists(&["/etc/inetd.conf", "/usr/sbin/inetd"])),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(launcher, _)| launcher).collect()
}

/// `NAME=value`, `NAME='value'` or `NAME="value"`, one a line.
fn bridge_settings(text: &str) -> BridgeSettings {
    let mut settings = BridgeSettings { bridge: "br0".to_owned(), ..BridgeSettings::default() };
    for (name, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned();
        match name {
            "ETH" => settings.eth = value,
            "BRIDGE" => settings.bridge = value,
            "ADDRESS" => settings.addresses = value,
            _ => {}
        }
    }
    settings
}

/// The networks that a line of a configuration takes.
fn networks(words: &[&str]) -> Vec<Network> {
    let v4 = |addr: &str, mask: Option<&str>| {
        let addr: Ipv4Addr = addr.parse().ok()?;
        let mask = mask.and_then(|mask| mask.parse::<Ipv4Addr>().ok()).filter(|mask| mask.octets()[0] == 255);
        Network::new(addr.into(), mask.map_or(32, |mask| mask.to_bits().leading_ones() as u8))
    };
    let v6 = |word: &str| {
        let (addr, bits) = word.split_once('/').unwrap_or((word, "128"));
        Network::new(IpAddr::V6(addr.parse().ok()?), bits.parse().ok()?)
    };
    let found = match words {
        ["ifconfig", local, second, ..] => vec![v4(local, Some(second)), v4(second, None)],
        ["route", network, rest @ ..] => vec![v4(network, rest.first().copied())],
        ["ifconfig-ipv6", local, ..] => vec![v6(local)],
        ["route-ipv6", network, ..] => vec![v6(network)],
        _ => Vec::new(),
    };
    found.into_iter().flatten().filter(|network| !is_netmask(network)).collect()
}

fn is_netmask(network: &Network) -> bool {
    matches!(network.addr, IpAddr::V4(addr) if addr.octets()[0] == 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_takes_is_found_without_settling_it() {
        let mut seen = Seen::default();
        let text = "# ifconfig 1.1.1.1 1.1.1.2\nifconfig 10.8.0.1 10.8.0.2\n\troute 192.168.2.0 255.255.255.0 vpn_gateway\n\
            port 1417\nremote mon timbuktu-srv2\nifconfig-ipv6 fd00::1/64 fd00::2\nroute host.example\n";
        seen.read_config("a.conf".to_owned(), text);
        let networks: Vec<String> = seen.networks.iter().map(|(network, _)| network.to_string()).collect();
        assert_eq!(networks, ["10.8.0.1/32", "10.8.0.2/32", "192.168.2.0/24", "fd00::1/64"]);
        let words: Vec<&str> = seen.uses.iter().map(|one| one.word.as_str()).collect();
        assert_eq!(words, ["1417", "timbuktu-srv2"]);
        seen.networks.clear();
        seen.read_config("b.conf".to_owned(), "ifconfig 192.168.8.50 255.255.255.0\n");
        assert_eq!(seen.networks[0].0.to_string(), "192.168.8.50/24");
        assert_eq!((seen.networks.len(), seen.configs.len()), (1, 2));
    }

    #[test]
    fn a_bound_port_is_read_from_the_kernels_table() {
        let line = "  371: 00000000:0589 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0";
        assert_eq!(bound_port(line), Some(1417));
        let line = " 1: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07";
        assert_eq!(bound_port(line), Some(53));
        assert_eq!(bound_port(""), None);
    }

    #[test]
    fn the_settings_of_a_bridge_are_read_as_a_shell_would() {
        let text = "# comment\nETH=eth1\nADDRESS=\"192.168.8.1/24 fd00:8::1/64\" # both\n";
        let settings = bridge_settings(text);
        assert_eq!((settings.eth.as_str(), settings.bridge.as_str()), ("eth1", "br0"));
        assert_eq!(settings.addresses, "192.168.8.1/24 fd00:8::1/64");
    }
}
