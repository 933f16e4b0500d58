//! The configuration as resolved: one typed value for each thing the rest of the program asks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// Everything a run needs to know, defaults filled in.
#[derive(Debug)]
pub struct Settings {
    /// The file given with `--config`, as written.
    pub config_file: Option<PathBuf>,
    /// `inetd`: the socket is on fd 0 and belongs to a super-server.
    pub inetd: bool,
    /// `daemon`: go to the background once initialisation is complete.
    pub daemon: bool,
    /// The name in syslog records (`daemon NAME`, `syslog NAME`, `inetd wait NAME`); `naptun` by default.
    pub program: String,

    /// `remote`, in order: whom a caller calls, or who alone may speak to a listener.
    pub remotes: Vec<Remote>,
    /// `remote-random`: the order is shuffled at the start.
    pub remote_random: bool,
    /// `local`: the address to bind.
    pub local: Option<Host>,
    /// The UDP port to bind (`lport`, `port`); 0 with `nobind`. Default 1194.
    pub lport: u16,
    /// `proto`: which IP version carries the tunnel.
    pub family: Family,
    /// `float`: authenticated datagrams may come from any address although `remote` is given.
    pub float: bool,
    /// `resolv-retry n`: give up on a name after so long; `None` is for ever.
    pub resolv_retry: Option<Duration>,
    /// `sndbuf`, bytes; `None` leaves it to the system.
    pub sndbuf: Option<usize>,
    /// `rcvbuf`, bytes; `None` leaves it to the system.
    pub rcvbuf: Option<usize>,
    /// `mark`: SO_MARK of every datagram.
    pub mark: Option<u32>,

    /// Where the shared key comes from.
    pub secret: Secret,
    /// Which bulk ciphers the handshake may choose.
    pub ciphers: Ciphers,
    /// `replay-persist`: where freshness is remembered, if not in the default place.
    pub replay_persist: Option<PathBuf>,

    /// tun or tap.
    pub device_type: DeviceType,
    /// The device's name; `None` is the next free unit of its type.
    pub device_name: Option<String>,
    /// `tun-mtu`, bytes: 1420 on tun, 1500 on tap by default.
    pub mtu: u16,
    /// `txqueuelen`, packets.
    pub txqueuelen: Option<u32>,
    /// `lladdr` of a tap.
    pub lladdr: Option<[u8; 6]>,
    /// `mssfix`.
    pub mssfix: Mssfix,
    /// `disable-offload` says no: packets pass in bursts, where the kernel can do that.
    pub offload: bool,
    /// `ifconfig`.
    pub ifconfig: Option<Ifconfig>,
    /// `ifconfig-ipv6`.
    pub ifconfig_ipv6: Option<IfconfigIpv6>,
    /// `ifconfig-noexec`: leave the addresses to the `up` script.
    pub ifconfig_noexec: bool,
    /// `route`, in order.
    pub routes: Vec<Route>,
    /// `route-ipv6`, in order.
    pub routes_ipv6: Vec<RouteIpv6>,
    /// `route-gateway`.
    pub route_gateway: Option<Host>,
    /// `route-noexec`: leave the routes to the `up` script.
    pub route_noexec: bool,
    /// `redirect-gateway`, `redirect-private`.
    pub redirect: Option<Redirect>,

    /// `up`: the command, split into words.
    pub up: Option<Vec<String>>,
    /// `down`: the command, split into words.
    pub down: Option<Vec<String>>,
    /// `up-restart`.
    pub up_restart: bool,
    /// `setenv`, in order.
    pub setenv: Vec<(String, String)>,
    /// `dhcp-option`, each as the scripts get it: `dhcp-option DNS 10.8.0.1`.
    pub dhcp_options: Vec<String>,
    /// `dns`, for the scripts.
    pub dns: Dns,

    /// `user`; by default `naptun` where there is such a system user, otherwise `nobody`.
    pub user: String,
    /// `group`; by default that of the user.
    pub group: Option<String>,
    /// `nice`.
    pub nice: Option<i32>,
    /// `mlock`.
    pub mlock: bool,
    /// `writepid`.
    pub writepid: Option<PathBuf>,

    /// `verb`, 0 to 11; default 1.
    pub verb: u8,
    /// `mute`: consecutive lines of one kind that are printed; 0 is no limit.
    pub mute: u32,
    /// Where the log goes.
    pub log: LogTarget,
    /// `status FILE [SECONDS]`.
    pub status: Option<(PathBuf, Duration)>,

    /// `inactive`: exit after so long without enough traffic. 300 s under `inetd`, else never, by default; `inactive 0` is never.
    pub inactive: Option<Inactive>,
    /// `ping`: seconds without sending after which a keepalive goes out.
    pub ping: Option<Duration>,
    /// `ping-restart` or `ping-exit`: what to do after so long without an authenticated datagram.
    pub ping_timeout: Option<PingTimeout>,
    /// `reneg-sec`: replace the keys at this age, if that is earlier than by default.
    pub reneg_sec: Option<Duration>,
    /// `connect-retry n [max]`: the longest pause between two handshakes.
    pub connect_retry: Option<Duration>,

    /// What to tell the administrator once the log is open, in order: harmless directives, fallbacks.
    pub notices: Vec<String>,
}

/// One `remote` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Whom.
    pub host: Host,
    /// The UDP port (`remote HOST PORT`, else `rport`, `port`, 1194).
    pub port: u16,
    /// Which IP version (`remote HOST PORT udp4`, else `proto`).
    pub family: Family,
}

/// An address, or a name still to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal.
    Addr(IpAddr),
    /// A name for the resolver.
    Name(String),
}

/// Which IP versions are acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `udp`
    Any,
    /// `udp4`
    V4,
    /// `udp6`
    V6,
}

/// Where the shared key is. Never shown.
pub enum Secret {
    /// `secret FILE`
    File(PathBuf),
    /// `<secret>`: the text between the tags, wiped when dropped.
    Inline(Zeroizing<String>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(not shown)"),
        }
    }
}

/// Bulk ciphers that may be chosen. At least one is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ciphers {
    /// AES-256-GCM, where both ends have the instructions.
    pub aes_256_gcm: bool,
    /// ChaCha20-Poly1305.
    pub chacha20_poly1305: bool,
}

/// How long the datagrams are that TCP through the tunnel should cause. Never longer than what the path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mssfix {
    /// What the path carries, so that no packet of TCP has to be cut.
    Whole,
    /// `mssfix N`: so many bytes in a datagram.
    Payload(u16),
    /// `mssfix N mtu`: so many bytes, the headers of UDP and IP around the datagram included.
    Mtu(u16),
    /// `mssfix N fixed`: segments of so many bytes over IPv4, 20 less over IPv6, whose header is so much longer.
    Fixed(u16),
    /// TCP is left alone.
    Off,
}

/// The layer that the device works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

/// `ifconfig`, both parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ifconfig {
    /// Our address inside the tunnel.
    pub local: Host,
    /// The peer's address on tun, the netmask on tap.
    pub remote_or_netmask: Host,
}

/// `ifconfig-ipv6 LOCAL/BITS REMOTE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfconfigIpv6 {
    /// Our address inside the tunnel.
    pub local: Ipv6Addr,
    /// Length of the on-link prefix, bits.
    pub prefix: u8,
    /// The peer's address inside the tunnel.
    pub remote: Ipv6Addr,
}

/// `route NETWORK [NETMASK [GATEWAY [METRIC]]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `file:line`, for messages.
    pub place: String,
    /// The network.
    pub network: RouteHost,
    /// Its prefix length, bits.
    pub prefix: u8,
    /// Through whom; `VpnGateway` where the file says nothing or `default`.
    pub gateway: RouteHost,
    /// Metric; `None` leaves it to the kernel (the default of `route-metric` is filled in).
    pub metric: Option<u32>,
}

/// A network or gateway of a route: an address, a name, or one of the three keywords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteHost {
    /// An address or a name.
    Host(Host),
    /// `vpn_gateway`: `route-gateway`, else the peer's address on tun.
    VpnGateway,
    /// `net_gateway`: the gateway of the default route before the tunnel came up.
    NetGateway,
    /// `remote_host`: the outer address of the peer.
    RemoteHost,
}

/// `route-ipv6 NETWORK/BITS [GATEWAY [METRIC]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteIpv6 {
    /// `file:line`, for messages.
    pub place: String,
    /// The network.
    pub network: Ipv6Addr,
    /// Its prefix length, bits.
    pub prefix: u8,
    /// Through whom; `None` is the device itself on tun, the `ifconfig-ipv6` remote on tap.
    pub gateway: Option<Ipv6Addr>,
    /// Metric.
    pub metric: Option<u32>,
}

/// What `redirect-gateway` and `redirect-private` ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// IPv4 goes through the tunnel.
    pub ipv4: bool,
    /// IPv6 does.
    pub ipv6: bool,
    /// `local`: the peer is on a network of this host, so no way to it has to be kept.
    pub local: bool,
    /// `block-local`: the network of the gateway goes through the tunnel, too.
    pub block_local: bool,
    /// `bypass-dns`: the name servers of this host stay outside.
    pub bypass_dns: bool,
    /// On tap, through whom IPv6 goes.
    pub gateway_ipv6: Option<Ipv6Addr>,
}

/// Everything that `dns` said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// `dns search-domains`, in order.
    pub search: Vec<String>,
    /// `dns server`, the lowest number first.
    pub servers: Vec<DnsServer>,
}

/// `dns server N ...`: one name server, which may have several addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsServer {
    /// Which of them: the lowest is asked first.
    pub number: i8,
    /// Its addresses, with ports where they are given.
    pub addresses: Vec<(IpAddr, Option<u16>)>,
    /// The domains that it is for; none is all.
    pub domains: Vec<String>,
    /// `yes`, `optional` or `no`.
    pub dnssec: Option<String>,
    /// `DoH`, `DoT` or `plain`.
    pub transport: Option<String>,
    /// The name in its certificate.
    pub sni: Option<String>,
}

/// `inactive SECONDS [BYTES]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inactive {
    /// How long without traffic.
    pub after: Duration,
    /// Traffic below this many bytes in that time counts as none.
    pub bytes: u64,
}

/// `ping-restart n` or `ping-exit n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingTimeout {
    /// A new handshake.
    Restart(Duration),
    /// The end of the process.
    Exit(Duration),
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// syslog under `inetd` and `daemon`, stderr otherwise.
    Default,
    /// `syslog`
    Syslog,
    /// `log FILE` (truncated) or `log-append FILE`.
    File {
        /// The file.
        path: PathBuf,
        /// Keep what it holds.
        append: bool,
    },
}

impl Settings {
    /// A caller starts talking; a listener waits to be called. A `remote` under `inetd` only says who may call.
    pub fn is_caller(&self) -> bool {
        !self.inetd && !self.remotes.is_empty()
    }

    /// Takes the key out, for settings stay for the life of the process and a key does not.
    pub fn take_secret(&mut self) -> Secret {
        std::mem::replace(&mut self.secret, Secret::Inline(Zeroizing::default()))
    }
}
