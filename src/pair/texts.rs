//! The files of each end.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::tunnel::{Bridge, End, Tunnel};
use super::wanted::{Kind, Launcher};
use crate::os::route::Network;

const INSTALL: &str = include_str!("install.sh");
const TUN_SETUP: &str = include_str!("../../scripts/tun-setup");
const BRIDGE_SETUP: &str = include_str!("../../scripts/bridge-setup");
const TAP_SERVER_UP: &str = include_str!("../../scripts/tap-server.up");
const RC_NAPTUN: &str = include_str!("../../scripts/rc.naptun");
const SOCKET_UNIT: &str = include_str!("../../systemd/naptun@.socket");
const SERVICE_UNIT: &str = include_str!("../../systemd/naptun@.service");
const CALLER_UNIT: &str = include_str!("../../systemd/naptun-caller@.service");

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// 0644
    Plain,
    /// 0755
    Program,
}

/// A file of a folder; the key is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub name: String,
    pub mode: Mode,
    pub text: String,
}

/// The files of the listener.
pub(super) fn listener(tunnel: &Tunnel) -> Vec<Text> {
    let end = &tunnel.listener;
    let mut texts = vec![plain(format!("{}.conf", end.stem), listener_conf(tunnel))];
    texts.push(match tunnel.launcher {
        Launcher::Xinetd => plain(tunnel.service.name.clone(), xinetd(tunnel)),
        Launcher::Systemd => plain("port.conf".to_owned(), port_conf(tunnel)),
        Launcher::Inetd => plain("inetd.conf".to_owned(), inetd(tunnel)),
    });
    if tunnel.launcher == Launcher::Systemd {
        texts.push(plain("naptun@.socket".to_owned(), SOCKET_UNIT.to_owned()));
        texts.push(plain("naptun@.service".to_owned(), SERVICE_UNIT.to_owned()));
    }
    if let Some(bridge) = &tunnel.bridge {
        if !bridge.exists {
            texts.push(plain("bridge.conf".to_owned(), bridge_conf(bridge)));
        }
        texts.push(program("bridge-setup", BRIDGE_SETUP));
        texts.push(program("tap-server.up", TAP_SERVER_UP));
    }
    texts.extend(common(tunnel, end));
    texts
}

/// The files of the caller.
pub(super) fn caller(tunnel: &Tunnel) -> Vec<Text> {
    let end = &tunnel.caller;
    let mut texts = vec![plain(format!("{}.conf", end.stem), caller_conf(tunnel))];
    texts.push(plain("callers".to_owned(), format!("{}.conf\n", end.stem)));
    texts.push(program("rc.naptun", RC_NAPTUN));
    texts.push(plain("naptun-caller@.service".to_owned(), CALLER_UNIT.to_owned()));
    texts.extend(common(tunnel, end));
    texts
}

fn common(tunnel: &Tunnel, end: &End) -> Vec<Text> {
    let mut texts = vec![program("install", &install(tunnel, end))];
    if tunnel.service.listed {
        texts.push(plain("services".to_owned(), services(tunnel)));
    }
    if !end.networks.is_empty() {
        texts.push(program("tun-setup", TUN_SETUP));
    }
    texts
}

fn plain(name: String, text: String) -> Text {
    Text { name, mode: Mode::Plain, text }
}

fn program(name: &str, text: &str) -> Text {
    Text { name: name.to_owned(), mode: Mode::Program, text: text.to_owned() }
}

fn listener_conf(tunnel: &Tunnel) -> String {
    let (mon, fri) = (&tunnel.listener, &tunnel.caller);
    let holds = match tunnel.launcher {
        Launcher::Xinetd => "xinetd holds the port",
        Launcher::Systemd => "systemd holds the port",
        Launcher::Inetd => "inetd holds the port",
    };
    let mut text = format!(
        "# naptun {0}.conf: {1} is woken by {2}. {holds}:\n#   naptun --inetd --cd /etc/naptun --config {0}.conf\n\n",
        mon.stem, mon.host, fri.host,
    );
    text += &key_and_device(tunnel, mon);
    if tunnel.bridge.is_some() {
        text += "# It has no address here: the bridge has one. This adds it to the bridge that bridge-setup made.\n\
            script-security 2\nup tap-server.up\n";
    } else {
        text += &addresses(tunnel, mon, fri);
    }
    text += LOG;
    text += &routes(tunnel, fri);
    text += "\n# End after 300 seconds without traffic; the next packet of the caller wakes it again.\ninactive 300\n";
    text
}

fn caller_conf(tunnel: &Tunnel) -> String {
    let (mon, fri) = (&tunnel.listener, &tunnel.caller);
    let mut text = format!(
        "# naptun {0}.conf: {1} calls {2}.\n#   naptun --daemon --cd /etc/naptun --config {0}.conf\n\n\
        # The other end, by the address or name it has outside of the tunnel, and its port.\nremote {3} {4}\n\
        # Any port of our own.\nnobind\n\n",
        fri.stem, fri.host, mon.host, tunnel.remote, tunnel.service.port,
    );
    text += &key_and_device(tunnel, fri);
    text += &addresses(tunnel, fri, mon);
    text += LOG;
    text += &routes(tunnel, mon);
    text
}

fn key_and_device(tunnel: &Tunnel, end: &End) -> String {
    format!(
        "# The same file on both ends, mode 0600.\nsecret {}.key\n\n# There while the tunnel is.\ndev {}\n",
        tunnel.name, end.device
    )
}

fn addresses(tunnel: &Tunnel, own: &End, other: &End) -> String {
    let Some(local) = own.ipv4 else { return String::new() };
    let tun = tunnel.kind == Kind::Tun;
    let mut text = match (other.ipv4, tun) {
        (Some(remote), true) => format!(
            "# Our address inside the tunnel, then the peer's. On {} it is the other way round.\nifconfig {local} {remote}\n",
            other.host
        ),
        _ => format!(
            "# Our address on the ethernet, and its netmask.\nifconfig {local} {}\n",
            netmask(own.prefix)
        ),
    };
    if let (Some(local), Some(remote)) = (own.ipv6, other.ipv6) {
        let _ = writeln!(text, "ifconfig-ipv6 {local}/64 {remote}");
    }
    text
}

const LOG: &str = "
# 1 quiet, 3 or 4 normal, 6 and more to look for trouble.
verb 3
";

/// The networks behind the other end, through the tunnel.
fn routes(tunnel: &Tunnel, other: &End) -> String {
    let mut text = String::new();
    if !other.networks.is_empty() {
        let _ = write!(text, "\n# What is behind {}.\n", other.host);
    }
    for network in &other.networks {
        text += &route(tunnel, other, network);
    }
    text
}

/// A tap has many neighbours, so the one to send to is named.
fn route(tunnel: &Tunnel, other: &End, network: &Network) -> String {
    let tun = tunnel.kind == Kind::Tun;
    match network.addr {
        IpAddr::V4(addr) => {
            let gateway =
                other.ipv4.filter(|_| !tun).map_or("vpn_gateway".to_owned(), |addr| addr.to_string());
            format!("route {addr} {} {gateway}\n", netmask(network.prefix))
        }
        IpAddr::V6(addr) => {
            let gateway = other.ipv6.filter(|_| !tun).map_or(String::new(), |addr| format!(" {addr}"));
            format!("route-ipv6 {addr}/{}{gateway}\n", network.prefix)
        }
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn xinetd(tunnel: &Tunnel) -> String {
    let (service, stem) = (&tunnel.service, &tunnel.listener.stem);
    let unlisted = format!("\ttype        = UNLISTED\n\tport        = {}\n", service.port);
    format!(
        "# naptun {stem}. The file, the service and the id carry one name.
service {0}
{{
	id          = {0}
{1}	disable     = no
	socket_type = dgram
	protocol    = udp
	wait        = yes
	# No limit on starts: reaching it would close the port for everybody, and any stranger can reach it.
	# For the same reason no max_load, access_times or instances: a refusal lasts until xinetd restarts.
	cps         = 0 0
	# To make the device; naptun gives up what it does not need before it reads the first datagram.
	user        = root
	server      = /usr/sbin/naptun
	server_args = --inetd --cd /etc/naptun --config {stem}.conf
}}
",
        service.name,
        if service.listed { "" } else { &unlisted },
    )
}

fn port_conf(tunnel: &Tunnel) -> String {
    format!("# The port of {}.\n[Socket]\nListenDatagram={}\n", tunnel.name, tunnel.service.port)
}

/// inetd's plain `udp` is IPv4 to some.
fn inetd(tunnel: &Tunnel) -> String {
    let Tunnel { service, listener, .. } = tunnel;
    let protocol = if tunnel.remote.contains(':') { "udp6" } else { "udp" };
    let name = if service.listed { service.name.clone() } else { service.port.to_string() };
    format!(
        "{name} dgram {protocol} wait root /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config {}.conf\n",
        listener.stem
    )
}

fn services(tunnel: &Tunnel) -> String {
    let super::tunnel::Service { name, port, .. } = &tunnel.service;
    format!("{name}\t{port}/tcp\n{name}\t{port}/udp\n")
}

fn bridge_conf(bridge: &Bridge) -> String {
    let address = bridge.address.map_or(String::new(), |network| network.to_string());
    format!(
        "# Settings of bridge-setup; its first lines tell them all.\nETH={}\nADDRESS=\"{address}\"\n\
        # What addresses the interface has move to the bridge: it loses its own.\nMOVE_ADDRESS=yes\n",
        bridge.eth
    )
}

/// The script, with what it is for in the place of the line that says so.
fn install(tunnel: &Tunnel, end: &End) -> String {
    let listens = end == &tunnel.listener;
    let other = if listens { &tunnel.caller } else { &tunnel.listener };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let six = end.networks.iter().any(|network| network.addr.is_ipv6());
    let settings = [
        ("TUNNEL", tunnel.name.as_str()),
        ("ROLE", if listens { "listener" } else { "caller" }),
        ("HOST", &end.host),
        ("OTHER", &other.host),
        ("STEM", &end.stem),
        ("LAUNCHER", tunnel.launcher.name()),
        ("SERVICE", &tunnel.service.name),
        ("PORT", &tunnel.service.port.to_string()),
        ("FORWARD", yes(!end.networks.is_empty())),
        ("FORWARD_IPV6", yes(six)),
        ("BRIDGE", yes(listens && tunnel.bridge.is_some())),
    ]
    .map(|(name, value)| format!("{name}={value}\n"));
    INSTALL.replacen("# (settings)\n", &settings.concat(), 1)
}
