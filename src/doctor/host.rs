//! What this host is like, as far as tunnels need to know: read from /proc, /sys, /etc and rtnetlink, and never changed.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::os::netlink::Netlink;
use crate::os::route::{Assigned, Entry, Version};

/// The kernel's view of devices.
const DEVICES: &str = "/sys/class/net";

/// A host.
pub(super) struct Host {
    /// Addresses, those of the loopback device left out.
    pub(super) addresses: Vec<Assigned>,
    /// Routes of both IP versions.
    pub(super) routes: Vec<Entry>,
    /// Devices by index.
    devices: Vec<(u32, String)>,
    /// UDP ports that are bound: the port, and the number of the socket.
    sockets: Vec<(u16, u64)>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its name, as the kernel keeps it.
    pub(super) name: String,
    pub(super) pid: u32,
}

/// Who has a device in hand.
pub(super) enum Holder {
    /// No tun or tap device.
    Foreign,
    /// Nobody: it was made to stay.
    Nobody,
    /// A process; `None` where it cannot be told.
    Process(Option<Process>),
}

impl Host {
    /// Looks at the host. What cannot be read is left empty: then nothing is found there.
    pub(super) fn look() -> Self {
        let mut netlink = Netlink::open().ok();
        let mut host =
            Self { addresses: Vec::new(), routes: Vec::new(), devices: devices(), sockets: sockets() };
        if let Some(netlink) = &mut netlink {
            host.addresses = netlink.addresses().unwrap_or_default();
            host.addresses.retain(|one| !one.addr.is_loopback());
            for version in [Version::V4, Version::V6] {
                host.routes.extend(netlink.routes(version).unwrap_or_default());
            }
        }
        host
    }

    /// The name of a device; its index where it has gone.
    pub(super) fn device(&self, index: u32) -> String {
        let known = self.devices.iter().find(|(number, _)| *number == index);
        known.map_or_else(|| format!("device {index}"), |(_, name)| name.clone())
    }

    /// All devices, by index and name.
    pub(super) fn devices(&self) -> &[(u32, String)] {
        &self.devices
    }

    /// Whether there is a device of this name.
    pub(super) fn has_device(&self, name: &str) -> bool {
        self.devices.iter().any(|(_, known)| known == name)
    }

    /// The devices of the default routes.
    pub(super) fn default_devices(&self) -> Vec<String> {
        let defaults = self.routes.iter().filter(|route| route.destination.prefix == 0);
        let mut names: Vec<String> = defaults.filter_map(|route| Some(self.device(route.device?))).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Who holds the device.
    pub(super) fn holder(&self, device: &str) -> Holder {
        if !Path::new(DEVICES).join(device).join("tun_flags").exists() {
            return Holder::Foreign;
        }
        let line = format!("iff:\t{device}");
        let mut blind = false;
        for (pid, path) in processes() {
            let Ok(entries) = fs::read_dir(path.join("fdinfo")) else {
                blind = true;
                continue;
            };
            let holds = |entry: &fs::DirEntry| {
                fs::read_to_string(entry.path()).is_ok_and(|text| text.lines().any(|it| it == line))
            };
            if entries.flatten().any(|entry| holds(&entry)) {
                return Holder::Process(Some(Process { name: name_of(&path), pid }));
            }
        }
        if blind { Holder::Process(None) } else { Holder::Nobody }
    }

    /// The sockets that are bound to a UDP port, and by whom: `None` where that cannot be told.
    pub(super) fn bound(&self, port: u16) -> Vec<Option<Process>> {
        let sockets: Vec<u64> =
            self.sockets.iter().filter(|(bound, _)| *bound == port).map(|(_, n)| *n).collect();
        sockets.iter().map(|socket| owner(*socket)).collect()
    }

    /// Whether packets pass from one device to another.
    pub(super) fn forwards(&self, ipv6: bool) -> bool {
        let file = match ipv6 {
            false => "/proc/sys/net/ipv4/ip_forward",
            true => "/proc/sys/net/ipv6/conf/all/forwarding",
        };
        fs::read_to_string(file).map_or(true, |text| text.trim() != "0")
    }

    /// A network of this host for which it could forward: on no tunnel, and not where the default route leads.
    pub(super) fn has_network_behind(&self, ipv6: bool) -> bool {
        let outside = self.default_devices();
        self.addresses.iter().any(|one| {
            let local = matches!(one.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
            let tunnel = Path::new(DEVICES).join(&one.name).join("tun_flags").exists();
            one.addr.is_ipv6() == ipv6 && !local && !tunnel && !outside.contains(&one.name)
        })
    }

    /// The ports of a bridge; none where it is no bridge.
    pub(super) fn bridge_ports(&self, bridge: &str) -> Vec<String> {
        entries(&Path::new(DEVICES).join(bridge).join("brif"))
    }

    /// The bridges.
    pub(super) fn bridges(&self) -> Vec<String> {
        let is_bridge = |name: &String| Path::new(DEVICES).join(name).join("bridge").exists();
        self.devices.iter().map(|(_, name)| name.clone()).filter(is_bridge).collect()
    }
}

/// Whether a process of this name runs.
pub(super) fn runs(name: &str) -> bool {
    processes().iter().any(|(_, path)| name_of(path) == name)
}

fn devices() -> Vec<(u32, String)> {
    let index = |name: &String| {
        fs::read_to_string(Path::new(DEVICES).join(name).join("ifindex")).ok()?.trim().parse().ok()
    };
    entries(Path::new(DEVICES)).into_iter().filter_map(|name| Some((index(&name)?, name))).collect()
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The table of /proc/net/udp: in each line behind the first `ADDRESS:PORT` in second place, the socket in tenth.
fn sockets() -> Vec<(u16, u64)> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = words.get(1)?.rsplit_once(':')?;
        Some((u16::from_str_radix(port, 16).ok()?, words.get(9)?.parse().ok()?))
    };
    tables.iter().flat_map(|table| table.lines().skip(1).filter_map(socket)).collect()
}

/// Whoever has the socket with this number open. A super-server and what it started share one: the server counts.
fn owner(socket: u64) -> Option<Process> {
    let target = PathBuf::from(format!("socket:[{socket}]"));
    let holds = |path: &Path| {
        let descriptors = fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == target))
    };
    let mut owners: Vec<Process> = processes()
        .into_iter()
        .filter(|(_, path)| holds(path))
        .map(|(pid, path)| Process { name: name_of(&path), pid })
        .collect();
    owners.sort_by_key(|process| (process.name == "naptun", process.pid));
    owners.into_iter().next()
}

fn processes() -> Vec<(u32, PathBuf)> {
    let numbers = entries(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    numbers.map(|pid| (pid, PathBuf::from(format!("/proc/{pid}")))).collect()
}

fn name_of(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned()
}
