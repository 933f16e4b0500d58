//! One configuration under examination: what it says by itself, and what it takes for itself on its host.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::finding::{Report, Severity};
use super::openvpn;
use crate::config::examine::{self, Examination};
use crate::config::grammar::Statement;
use crate::config::problem::{Place, Problem};
use crate::config::settings::{DeviceType, Host, RouteHost};
use crate::error::Exit;
use crate::os::hosts;
use crate::os::route::Network;

/// What `scripts/bridge-setup` reads, which is no configuration of ours.
pub(super) const BRIDGE_CONF: &str = "bridge.conf";
/// Configurations of one folder that are read at most.
const MOST: usize = 1000;

/// One configuration.
pub(super) struct Tunnel {
    /// Its file as it is called in findings.
    pub(super) name: String,
    /// Its file, without symbolic links; as named where there is none.
    pub(super) path: PathBuf,
    /// Whether it is to be reported on; if not, others are compared with it.
    pub(super) asked: bool,
    /// Whether it is to be explained as OpenVPN's.
    pub(super) openvpn: bool,
    /// What it says.
    pub(super) exam: Examination,
    /// Where its own name starts.
    from: PathBuf,
}

/// A block of addresses that a tunnel takes, and where it says so.
pub(super) struct Claim {
    pub(super) network: Network,
    pub(super) place: Place,
    /// The directive and what it names, as `ifconfig 10.8.0.1`.
    pub(super) subject: String,
    /// The word to underline.
    pub(super) word: String,
}

/// Place of a file as a whole.
pub(super) fn whole(file: &str) -> Place {
    Place::new(file, 0)
}

/// The names of the configurations in `dir`, sorted.
pub(super) fn configurations(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(MOST);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(".conf") && !name.starts_with('.') && name != BRIDGE_CONF)
        .collect();
    names.sort();
    names
}

/// The configurations of these names, and behind them all others of their folders.
pub(super) fn read(cd: Option<&Path>, names: &[String]) -> Vec<Tunnel> {
    let mut tunnels: Vec<Tunnel> = names.iter().map(|name| Tunnel::read(cd, name, true)).collect();
    let mut folders: Vec<&str> =
        names.iter().filter(|name| *name != "stdin").map(|name| folder(name)).collect();
    folders.sort_unstable();
    folders.dedup();
    let here = std::env::current_dir().unwrap_or_default();
    for folder in folders {
        let start = cd.unwrap_or(&here).join(folder);
        for name in configurations(&start) {
            let path = real(&start.join(&name));
            let name = format!("{folder}{name}");
            if !tunnels.iter().any(|tunnel| tunnel.path == path) {
                tunnels.push(Tunnel::read(cd, &name, false));
            }
        }
    }
    tunnels
}

/// Everything up to the last slash.
fn folder(name: &str) -> &str {
    name.rfind('/').and_then(|slash| name.get(..=slash)).unwrap_or_default()
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

impl Tunnel {
    fn read(cd: Option<&Path>, name: &str, asked: bool) -> Self {
        let tunnel = Self::open(cd, name);
        Self { asked, openvpn: openvpn::is_openvpn(&tunnel), ..tunnel }
    }

    /// Reads one that is to be explained as OpenVPN's.
    pub(super) fn read_openvpn(cd: Option<&Path>, name: &str) -> Self {
        Self { openvpn: true, ..Self::open(cd, name) }
    }

    /// Without `cd` the names in a file start in its own folder: whoever starts it will say `--cd` with that.
    fn open(cd: Option<&Path>, name: &str) -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        let file = cd.unwrap_or(&here).join(name);
        let elsewhere = cd.is_none() && name.contains('/');
        let name = if elsewhere { file.to_string_lossy().into_owned() } else { name.to_owned() };
        let from = match file.parent().filter(|_| elsewhere) {
            Some(folder) => folder.to_path_buf(),
            None => cd.map_or(here, Path::to_path_buf),
        };
        let exam = examine::examine(Some(&from), &name);
        Self { name, path: real(&file), asked: true, openvpn: false, exam, from }
    }

    /// Where its relative names start, its own and those in it.
    pub(super) fn bases(&self) -> Vec<PathBuf> {
        vec![self.from.clone(), self.exam.dir.clone()]
    }

    /// Whether `file` is this configuration, or one that it reads.
    pub(super) fn reads(&self, file: &str) -> bool {
        file == self.name || self.exam.statements.iter().any(|statement| statement.place.file == file)
    }

    /// Where `directive` stands; the file as a whole where it does not.
    pub(super) fn place(&self, directive: &str) -> Place {
        self.exam.place(directive).cloned().unwrap_or_else(|| whole(&self.name))
    }

    /// What is wrong with it by itself, and what has no effect.
    pub(super) fn report(&self, files_only: bool, report: &mut Report) {
        for problem in &self.exam.problems {
            let place = if problem.place.is_command_line() { &whole(&self.name) } else { &problem.place };
            let severity = match files_only && asks_this_host(problem) {
                true => Severity::Warning,
                false => Severity::Error,
            };
            report.add(severity, place, self.word_of(problem), &problem.message());
        }
        for notice in &self.exam.settings.notices {
            let (place, text) = notice.split_once(": ").unwrap_or((&self.name, notice));
            let place = parsed(place);
            let place = if place.is_command_line() { whole(&self.name) } else { place };
            report.add(Severity::Note, &place, "", text);
        }
    }

    /// The word to underline: of a key that cannot be read its file.
    fn word_of<'a>(&'a self, problem: &'a Problem) -> &'a str {
        let at = |statement: &&Statement| statement.place == problem.place && statement.name() == "secret";
        let file = || self.exam.statements.iter().find(at)?.param(1);
        match problem.fault.word.as_str() {
            "" if problem.directive == "secret" => file().unwrap_or_default(),
            word => word,
        }
    }

    /// The addresses at the ends of the tunnel, as the device will have them.
    pub(super) fn inner(&self) -> Vec<Claim> {
        let settings = &self.exam.settings;
        if self.exam.place("dev").is_none() || self.exam.doubts("dev") {
            return Vec::new();
        }
        let mut claims = Vec::new();
        if let Some(ifconfig) = settings.ifconfig.as_ref().filter(|_| !self.exam.doubts("ifconfig")) {
            let second = address(&ifconfig.remote_or_netmask);
            let (prefix, peer) = match settings.device_type {
                DeviceType::Tun => (32, second),
                DeviceType::Tap => (second.map_or(32, |mask| mask.to_bits().leading_ones() as u8), None),
            };
            let ends = [(&ifconfig.local, address(&ifconfig.local)), (&ifconfig.remote_or_netmask, peer)];
            for (host, addr) in ends {
                let word = written(host);
                claims.extend(addr.and_then(|addr| self.claim("ifconfig", addr.into(), prefix, word)));
            }
        }
        if let Some(six) = settings.ifconfig_ipv6 {
            claims.extend(self.claim("ifconfig-ipv6", six.local.into(), six.prefix, six.local.to_string()));
        }
        claims
    }

    fn claim(&self, directive: &str, addr: IpAddr, prefix: u8, word: String) -> Option<Claim> {
        let network = Network::new(addr, prefix)?.masked();
        Some(Claim { network, place: self.place(directive), subject: format!("{directive} {word}"), word })
    }

    /// The networks behind the tunnel.
    pub(super) fn routes(&self) -> Vec<Claim> {
        let settings = &self.exam.settings;
        if settings.route_noexec {
            return Vec::new();
        }
        let inner = self.inner();
        let through = |gateway: &RouteHost| match gateway {
            RouteHost::VpnGateway => true,
            RouteHost::Host(host) => address(host).is_some_and(|addr| holds(&inner, addr.into())),
            RouteHost::NetGateway | RouteHost::RemoteHost => false,
        };
        let mut claims = Vec::new();
        for route in settings.routes.iter().filter(|route| through(&route.gateway)) {
            let RouteHost::Host(host) = &route.network else { continue };
            let Some(network) = address(host).and_then(|addr| Network::new(addr.into(), route.prefix)) else {
                continue;
            };
            let subject = format!("route {network}");
            claims.push(Claim { network, place: parsed(&route.place), subject, word: written(host) });
        }
        let tap = settings.device_type == DeviceType::Tap;
        for route in &settings.routes_ipv6 {
            let inside = |gateway| holds(&inner, IpAddr::V6(gateway));
            let Some(network) = Network::new(route.network.into(), route.prefix) else { continue };
            if tap && !route.gateway.is_none_or(inside) {
                continue;
            }
            let (subject, word) = (format!("route-ipv6 {network}"), network.to_string());
            claims.push(Claim { network, place: parsed(&route.place), subject, word });
        }
        claims
    }

    /// The outer addresses of the peer that are written here or in /etc/hosts, and where.
    pub(super) fn remotes(&self) -> Vec<(Place, String, Vec<IpAddr>)> {
        let lines = self.exam.statements.iter().filter(|statement| statement.name() == "remote");
        let found = lines.filter_map(|statement| {
            let word = statement.param(1)?;
            let addrs =
                word.parse().map_or_else(|_| hosts::look_up(word), |addr: IpAddr| vec![addr.to_canonical()]);
            Some((statement.place.clone(), word.to_owned(), addrs))
        });
        found.collect()
    }
}

/// Whether `addr` lies in one of `claims`.
pub(super) fn holds(claims: &[Claim], addr: IpAddr) -> bool {
    covering(claims, addr).is_some()
}

/// The narrowest of `claims` that `addr` lies in.
pub(super) fn covering(claims: &[Claim], addr: IpAddr) -> Option<&Claim> {
    let one = Network::new(addr, if addr.is_ipv4() { 32 } else { 128 })?;
    claims.iter().filter(|claim| claim.network.contains(&one)).max_by_key(|claim| claim.network.prefix)
}

/// A problem that another host may not have.
fn asks_this_host(problem: &Problem) -> bool {
    problem.fault.exit == Exit::NoUser || problem.fault.cause.contains("/etc/services")
}

/// An IPv4 address that is written, or that /etc/hosts knows.
fn address(host: &Host) -> Option<Ipv4Addr> {
    let addrs = match host {
        Host::Addr(addr) => vec![*addr],
        Host::Name(name) => hosts::look_up(name),
    };
    addrs.into_iter().find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    })
}

fn written(host: &Host) -> String {
    match host {
        Host::Addr(addr) => addr.to_string(),
        Host::Name(name) => name.clone(),
    }
}

/// The place that a route or a notice carries as text.
pub(super) fn parsed(place: &str) -> Place {
    match place.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
        Some((file, Ok(line))) => Place::new(file, line),
        _ => whole(place),
    }
}
