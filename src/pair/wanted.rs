//! What was asked for: the words of the command line, and what they mean.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::error::{Error, Exit};
use crate::os::route::Network;

/// The words of the command line, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Who waits.
    pub listener: String,
    /// Who calls.
    pub caller: String,
    /// `--address`: the listener's outer address or name.
    pub address: Option<String>,
    /// `--service`: a name of /etc/services or of services.fragment.
    pub service: Option<String>,
    /// `--port`: a number.
    pub port: Option<String>,
    /// `--launcher`: xinetd, systemd or inetd.
    pub launcher: Option<String>,
    /// `--tap`
    pub tap: bool,
    /// `--bridge`, with the interface or an empty word.
    pub bridge: Option<String>,
    /// `--network`, as often as given.
    pub networks: Vec<String>,
    /// `--caller-network`, as often as given.
    pub caller_networks: Vec<String>,
    /// `--caller-address`: the caller's address in the bridged network.
    pub caller_address: Option<String>,
    /// `--out`: where the folder goes; the working directory by default.
    pub out: Option<String>,
}

/// Who holds the port on the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// xinetd: a file in /etc/xinetd.d.
    Xinetd,
    /// systemd: an instance of naptun@.socket.
    Systemd,
    /// inetd: a line of /etc/inetd.conf.
    Inetd,
}

/// What the tunnel carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Packets, between two points.
    Tun,
    /// Frames, on an ethernet of its own.
    Tap,
    /// Frames of the ethernet behind this interface of the listener, if it is named.
    Bridge(Option<String>),
}

/// A wish that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who waits, as written.
    pub listener: String,
    /// Who calls, as written.
    pub caller: String,
    /// What the listener is called in file names, letters, digits and hyphens.
    pub mon: String,
    /// What the caller is called there.
    pub fri: String,
    /// The listener's outer address or name.
    pub address: Option<String>,
    /// The service by name.
    pub service: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// Who holds it.
    pub launcher: Option<Launcher>,
    /// What is carried.
    pub kind: Kind,
    /// The networks behind the listener. Of a bridge: the one network with the bridge's own address.
    pub networks: Vec<Network>,
    /// The networks behind the caller.
    pub caller_networks: Vec<Network>,
    /// The caller's address in the bridged network.
    pub caller_address: Option<Ipv4Addr>,
    /// Where the folder goes.
    pub out: PathBuf,
}

impl Launcher {
    /// Its name, as in `--launcher`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xinetd => "xinetd",
            Self::Systemd => "systemd",
            Self::Inetd => "inetd",
        }
    }
}

impl Kind {
    /// The word that file names and devices begin with.
    pub fn word(&self) -> &'static str {
        if *self == Self::Tun { "tun" } else { "tap" }
    }
}

impl Wanted {
    /// Reads the words.
    ///
    /// # Errors
    /// Everything that is wrong with them, `EX_USAGE`; at least one.
    pub fn new(wish: &Wish) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        for (place, name) in [("LISTENER", &wish.listener), ("CALLER", &wish.caller)] {
            errors.extend(name_fault(place, name));
        }
        let (mon, fri) = tags(&wish.listener, &wish.caller);
        if errors.is_empty() && mon.eq_ignore_ascii_case(&fri) {
            let error = wrong(&format!("pair {} {}", wish.listener, wish.caller), "both ends have one name");
            errors.push(error.advise("name two hosts: who waits, then who calls"));
        }
        let mut keep = |result: Result<(), Error>| errors.extend(result.err());
        let mut wanted = Self {
            listener: wish.listener.clone(),
            caller: wish.caller.clone(),
            mon,
            fri,
            address: wish.address.clone(),
            service: wish.service.clone(),
            port: None,
            launcher: None,
            kind: kind(wish),
            networks: Vec::new(),
            caller_networks: Vec::new(),
            caller_address: None,
            out: PathBuf::from(wish.out.as_deref().unwrap_or(".")),
        };
        keep(wish.address.as_deref().map_or(Ok(()), address));
        keep(wish.service.as_deref().map_or(Ok(()), service));
        keep(wish.port.as_deref().map(port).transpose().map(|port| wanted.port = port));
        keep(wish.launcher.as_deref().map(launcher).transpose().map(|it| wanted.launcher = it));
        keep(wish.caller_address.as_deref().map(inner).transpose().map(|it| wanted.caller_address = it));
        keep(wish.bridge.as_deref().map_or(Ok(()), interface));
        for word in &wish.networks {
            keep(network("--network", word).map(|network| wanted.networks.push(network)));
        }
        for word in &wish.caller_networks {
            keep(network("--caller-network", word).map(|network| wanted.caller_networks.push(network)));
        }
        errors.extend(contradictions(wish, &wanted));
        if errors.is_empty() { Ok(wanted) } else { Err(errors) }
    }
}

/// An error of the command line.
pub(super) fn wrong(act: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Exit::Usage, act, cause)
}

fn kind(wish: &Wish) -> Kind {
    match &wish.bridge {
        Some(name) => Kind::Bridge(Some(name.clone()).filter(|name| !name.is_empty())),
        None if wish.tap => Kind::Tap,
        None => Kind::Tun,
    }
}

/// The names become file names and words of scripts, so nothing passes but what RFC 1123 allows a host to be called.
fn name_fault(place: &str, name: &str) -> Option<Error> {
    let act = format!("{place} {}", quoted(name));
    if name.is_empty() {
        return Some(wrong(place, "is missing").advise("expected naptun pair LISTENER CALLER"));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Some(
            wrong(&act, "is an address").advise("name the host, and give its address with --address"),
        );
    }
    (!is_host_name(name)).then(|| {
        wrong(&act, "is no name of a host").advise("expected letters, digits, hyphens and dots, 63 at most")
    })
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 63 && name.split('.').all(label)
}

/// What the hosts are called in file names: their first labels, or all of them where those are the same.
fn tags(listener: &str, caller: &str) -> (String, String) {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    if first(listener).eq_ignore_ascii_case(&first(caller)) {
        return (listener.replace('.', "-"), caller.replace('.', "-"));
    }
    (first(listener), first(caller))
}

fn address(word: &str) -> Result<(), Error> {
    let act = format!("--address {}", quoted(word));
    match word.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() => {
            Err(wrong(&act, "is not the address of another host").advise("expected one as 192.0.2.1"))
        }
        Ok(_) => Ok(()),
        Err(_) if is_host_name(word) && word.bytes().any(|byte| byte.is_ascii_alphabetic()) => Ok(()),
        Err(_) => Err(wrong(&act, "is neither an address nor a name").advise("expected one as 192.0.2.1")),
    }
}

fn service(word: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+');
    if !word.is_empty() && word.bytes().all(plain) && !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let error = wrong(&format!("--service {}", quoted(word)), "is no name of a service");
    Err(error.advise("expected one of /etc/services; a number goes with --port"))
}

fn port(word: &str) -> Result<u16, Error> {
    word.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        wrong(&format!("--port {}", quoted(word)), "is no port").advise("expected a number from 1 to 65535")
    })
}

fn launcher(word: &str) -> Result<Launcher, Error> {
    [Launcher::Xinetd, Launcher::Systemd, Launcher::Inetd]
        .into_iter()
        .find(|it| it.name() == word)
        .ok_or_else(|| {
            wrong(&format!("--launcher {}", quoted(word)), "is unknown")
                .advise("expected xinetd, systemd or inetd")
        })
}

fn inner(word: &str) -> Result<Ipv4Addr, Error> {
    word.parse().map_err(|_| {
        wrong(&format!("--caller-address {}", quoted(word)), "is no IPv4 address")
            .advise("expected the caller's address in the bridged network")
    })
}

fn interface(word: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    if word.len() <= 15 && word.bytes().all(plain) && !word.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(wrong(&format!("--bridge {}", quoted(word)), "is no name of an interface")
        .advise("expected one as eth1"))
}

fn network(option: &str, word: &str) -> Result<Network, Error> {
    let act = format!("{option} {}", quoted(word));
    let parts = word.split_once('/').and_then(|(addr, bits)| Some((addr.parse().ok()?, bits.parse().ok()?)));
    let network = parts.and_then(|(addr, bits)| Network::new(addr, bits));
    let Some(network) = network else {
        return Err(wrong(&act, "is no network").advise("expected one as 192.168.1.0/24 or fd00:1::/64"));
    };
    if network.prefix < 8 {
        return Err(wrong(&act, "is as good as everything").advise("expected 8 bits or more"));
    }
    let special = network.addr.is_loopback() || network.addr.is_multicast() || network.addr.is_unspecified();
    if special {
        return Err(wrong(&act, "is no network of hosts").advise("expected one as 192.168.1.0/24"));
    }
    Ok(network)
}

fn contradictions(wish: &Wish, wanted: &Wanted) -> Vec<Error> {
    let mut errors = Vec::new();
    if wish.service.is_some() && wish.port.is_some() {
        errors.push(wrong("--service and --port", "contradict each other").advise("remove one of the two"));
    }
    let bridged = wish.bridge.is_some();
    if bridged && !wish.caller_networks.is_empty() {
        let error = wrong("--caller-network", "a bridged caller is one host of the listener's ethernet");
        errors.push(error.advise("use it without --bridge"));
    }
    if !bridged && wish.caller_address.is_some() {
        let error = wrong("--caller-address", "only a bridged network has addresses to choose from");
        errors.push(error.advise("use it with --bridge"));
    }
    if bridged && wanted.networks.iter().filter(|it| it.addr.is_ipv4()).count() != wish.networks.len().min(1)
    {
        let error = wrong("--network", "a bridge has one IPv4 network here");
        errors.push(error.advise("give one, with the bridge's own address as 192.168.8.1/24"));
    }
    if !bridged {
        errors.extend(wanted.networks.iter().filter_map(|it| surplus_bits("--network", it)));
    }
    errors.extend(wanted.caller_networks.iter().filter_map(|it| surplus_bits("--caller-network", it)));
    errors.extend(overlaps(wanted));
    errors
}

fn surplus_bits(option: &str, network: &Network) -> Option<Error> {
    let masked = network.masked();
    (masked != *network).then(|| {
        wrong(&format!("{option} {network}"), "has bits behind its prefix")
            .advise(format!("did you mean {masked}?"))
    })
}

/// Two networks that meet: a packet would not know where to go.
fn overlaps(wanted: &Wanted) -> Vec<Error> {
    let own = wanted.networks.iter().map(|network| ("--network", network));
    let all: Vec<_> = own.chain(wanted.caller_networks.iter().map(|it| ("--caller-network", it))).collect();
    let mut errors = Vec::new();
    for (i, (option, network)) in all.iter().enumerate() {
        for (other, earlier) in all.iter().take(i).filter(|(_, earlier)| meet(network, earlier)) {
            let error = wrong(&format!("{option} {network}"), format!("overlaps {other} {earlier}"));
            errors.push(error.advise("the networks behind a tunnel must differ: renumber one of them"));
        }
    }
    errors
}

/// Whether two networks have an address in common.
pub(super) fn meet(one: &Network, other: &Network) -> bool {
    one.contains(other) || other.contains(one)
}

fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}
