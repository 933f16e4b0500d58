//! Every directive there is: those that work, those that need not, and those that cannot.
//!
//! A directive is added here, in one row; doc/directives.md shows the same rows to people.

use std::sync::LazyLock;

use super::draft::{Apply, Draft};
use super::grammar::{MAX_WORDS, Statement};
use super::problem::Fault;
use super::{crypto, device, dns, link, process, redirect, routes, script};

/// One row.
#[derive(Debug)]
pub struct Directive {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its parameters: `[...]` may be missing, `...` stands for any number. Empty for none.
    pub params: &'static str,
    /// What it does; why it has no effect; what to do instead.
    pub meaning: &'static str,
    pub(super) list: List,
}

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it says.
    Works,
    /// It is accepted with a notice: there is nothing to do.
    Harmless,
    /// It is an error that says what to do instead.
    Refused,
}

/// Why parameters of a harmless directive are refused all the same, and what to do instead.
type Refuse = fn(&[String]) -> Option<(&'static str, &'static str)>;

#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Works(Apply),
    Harmless(&'static str, Refuse),
    Refused(&'static str),
}

impl Directive {
    /// How many parameters it takes: at least, and at most.
    pub fn arity(&self) -> (usize, usize) {
        let words = || self.params.split_whitespace();
        let min = words().filter(|word| !word.starts_with('[') && *word != "...").count();
        let max = if words().any(|word| word == "...") { MAX_WORDS - 1 } else { words().count() };
        (min, max)
    }

    /// The directive and its parameters, as one writes them.
    pub fn usage(&self) -> String {
        format!("{} {}", self.name, self.params).trim_end().to_owned()
    }

    /// Whether it belongs to TLS, to a server of many clients, or to what such a server tells its clients.
    pub fn is_tls(&self) -> bool {
        [NO_TLS, NO_SERVER, NO_PULL, NO_LOGIN].contains(&self.meaning)
    }

    /// In which of the three lists it is.
    pub fn standing(&self) -> Standing {
        match self.list {
            List::Works(_) => Standing::Works,
            List::Harmless(..) => Standing::Harmless,
            List::Refused(_) => Standing::Refused,
        }
    }
}

/// All directives, in the order of the documentation.
pub fn directives() -> &'static [Directive] {
    static TABLE: LazyLock<Vec<Directive>> = LazyLock::new(|| {
        let works = WORKS.iter().map(|(name, params, apply, meaning)| Directive {
            name,
            params,
            meaning,
            list: List::Works(*apply),
        });
        let harmless = HARMLESS.iter().flat_map(|(names, refuse, why)| {
            let row =
                |name| Directive { name, params: "...", meaning: why, list: List::Harmless(why, *refuse) };
            names.split_whitespace().map(row)
        });
        let refused = REFUSED.iter().flat_map(|(names, instead)| {
            let row =
                |name| Directive { name, params: "...", meaning: instead, list: List::Refused(instead) };
            names.split_whitespace().map(row)
        });
        let all = works.chain(harmless).chain(refused);
        // Counted first: growing would leave some 40 KiB of holes in every process.
        let mut table = Vec::with_capacity(all.clone().count());
        table.extend(all);
        table
    });
    &TABLE
}

/// The directive of that name.
pub fn find(name: &str) -> Option<&'static Directive> {
    directives().iter().find(|directive| directive.name == name)
}

/// The known directive that is nearest to a mistyped one, if one is near.
pub fn nearest(name: &str) -> Option<&'static str> {
    // Longer than any directive can be with two slips.
    if name.len() > 48 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let slips = if name.len() < 5 { 1 } else { 2 };
    directives()
        .iter()
        .map(|directive| (strsim::osa_distance(&name, directive.name), directive.name))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

type Applied = Result<(), Fault>;

/// Done while the files are read.
fn done(_: &mut Draft, _: &Statement) -> Applied {
    Ok(())
}

fn float(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.float = true;
    Ok(())
}

fn remote_random(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.remote_random = true;
    Ok(())
}

fn nobind(draft: &mut Draft, _: &Statement) -> Applied {
    draft.nobind = true;
    Ok(())
}

fn mlock(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.mlock = true;
    Ok(())
}

fn ifconfig_noexec(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.ifconfig_noexec = true;
    Ok(())
}

fn route_noexec(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.route_noexec = true;
    Ok(())
}

fn disable_offload(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.offload = false;
    Ok(())
}

fn up_restart(draft: &mut Draft, _: &Statement) -> Applied {
    draft.settings.up_restart = true;
    Ok(())
}

fn never(_: &[String]) -> Option<(&'static str, &'static str)> {
    None
}

fn refuse_ipv6only(params: &[String]) -> Option<(&'static str, &'static str)> {
    let given = params.iter().any(|word| word == "ipv6only");
    given.then_some(("is not a matter of binding here", "write proto udp6"))
}

/// Name, parameters, what does it, what it does.
#[rustfmt::skip]
static WORKS: &[(&str, &str, Apply, &str)] = &[
    ("remote", "host [port] [proto]", link::remote, "the peer, by address or name; may be repeated: each address is tried for some seconds, then the next. Given, this end calls; under inetd only this peer may call"),
    ("remote-random", "", remote_random, "begin with any of several remotes, not with the first"),
    ("secret", "file [direction]", crypto::secret, "the shared key: a file, or <secret> ... </secret> in the configuration (then mode 0600). The direction, 0 or 1, is not needed"),
    ("dev", "name", device::dev, "the device: tun or tap for the next free unit, or a name as tun0"),
    ("dev-type", "type", device::dev_type, "tun or tap, for a device whose name does not begin with it"),
    ("ifconfig", "local remote-or-netmask", device::ifconfig, "addresses inside the tunnel: on tun ours and the peer's, on tap ours and the netmask"),
    ("ifconfig-ipv6", "local/bits remote", device::ifconfig_ipv6, "the same for IPv6; bits from 64 to 124"),
    ("ifconfig-noexec", "", ifconfig_noexec, "leave the addresses to the up script"),
    ("port", "port", link::port, "the UDP port on both ends, by number or by its name in /etc/services; 1194 by default"),
    ("lport", "port", link::lport, "the UDP port on this end"),
    ("rport", "port", link::rport, "the UDP port of the peer"),
    ("proto", "protocol", link::proto, "udp for both IP versions (default), udp4 or udp6 for one"),
    ("local", "host", link::local, "the address to bind"),
    ("nobind", "", nobind, "any free local port; needs remote"),
    ("float", "", float, "the peer may call from any address although remote is given"),
    ("resolv-retry", "seconds", link::resolv_retry, "how long to try to resolve remote; infinite by default, 0 for one try"),
    ("connect-retry", "seconds [max]", link::connect_retry, "the longest pause between two attempts to reach the peer (max, if it is given)"),
    ("sndbuf", "bytes", link::sndbuf, "the socket's send buffer, 1048576 by default; 0 leaves it to the system"),
    ("rcvbuf", "bytes", link::rcvbuf, "the socket's receive buffer, 1048576 by default; 0 leaves it to the system"),
    ("mark", "number", link::mark, "the firewall mark of every datagram, decimal or 0x..."),
    ("tun-mtu", "bytes", device::tun_mtu, "the MTU of the device, 576 to 9000; 1420 on tun and 1500 on tap by default"),
    ("mssfix", "[bytes] [how]", link::mssfix, "lower the MSS of TCP through the tunnel so that no datagram carries more than so many bytes; with mtu the headers of UDP and IP count too, with fixed the number is the MSS itself. Without a number 1492 mtu; 0 for off. Without mssfix what passes the path whole, and never more than that"),
    ("disable-offload", "", disable_offload, "move every packet by itself, as on a kernel that knows no bursts; slower"),
    ("txqueuelen", "packets", device::txqueuelen, "the transmit queue of the device; 0 leaves it to the system"),
    ("lladdr", "mac", device::lladdr, "the hardware address of a tap"),
    ("topology", "kind", device::topology, "p2p and net30 are what tun does, subnet what tap does; subnet on tun is refused"),
    ("route", "network [netmask] [gateway] [metric]", routes::route, "a network behind the tunnel; network and gateway may be vpn_gateway, net_gateway, remote_host, each parameter default"),
    ("route-ipv6", "network/bits [gateway] [metric]", routes::route_ipv6, "the same for IPv6"),
    ("route-gateway", "host", routes::route_gateway, "what vpn_gateway stands for, if not the peer"),
    ("route-ipv6-gateway", "address", routes::route_ipv6_gateway, "the gateway of route-ipv6 on tap, if not the peer"),
    ("route-metric", "metric", routes::route_metric, "the metric of routes that have none"),
    ("route-noexec", "", route_noexec, "leave the routes to the up script"),
    ("redirect-gateway", "[flag] ...", redirect::redirect_gateway, "all traffic through the tunnel: def1 (always so: by routes that are longer than the default route, which stays), ipv6 for IPv6 as well, !ipv4 for IPv6 alone; local where the peer needs no way past the tunnel, block-local for the network of the gateway too, bypass-dns for name servers that stay outside. The way to the peer stays outside, follows it, and is taken back at the end, also after kill -9"),
    ("redirect-private", "[flag] ...", redirect::redirect_private, "keep the way to the peer outside in the same manner, and redirect nothing"),
    ("up", "command", script::up, "runs when the device is up, before routes. The file: executable, owned by root or the caller, writable by nobody else; the same goes for the directories above it"),
    ("down", "command", script::down, "runs when the device goes; the same conditions"),
    ("up-restart", "", up_restart, "accepted, without effect: the device stays through every restart of the session, so the scripts run once"),
    ("script-security", "level [method]", script::script_security, "2 or 3 allow scripts, 0 and 1 forbid them; without it they run, with a notice"),
    ("setenv", "name [value] ...", script::setenv, "a variable for the scripts; setenv opt DIRECTIVE makes a directive optional, setenv FORWARD_COMPATIBLE 1 all unknown ones behind it"),
    ("setenv-safe", "name [value]", script::setenv_safe, "a variable for the scripts, with OPENVPN_ before its name"),
    ("dhcp-option", "type [value]", dns::dhcp_option, "DNS 10.8.0.1, DOMAIN example.org and their like: up and down get it as foreign_option_1 and so on, and set it: up /etc/openvpn/update-resolv-conf"),
    ("dns", "what ...", dns::dns, "search-domains name ..., or server number and one of address, resolve-domains, dnssec, transport, sni with its values: up and down get it as dns_... and as foreign_option_..."),
    ("ignore-unknown-option", "name ...", process::ignore_unknown_option, "these directives, where they follow and are not known, are ignored with a notice"),
    ("inetd", "[wait] [program]", process::inetd, "a super-server started this process and passes the socket; the name is for the log"),
    ("daemon", "[program]", process::daemon, "go to the background once initialisation is complete"),
    ("user", "name", process::user, "the user to become; by default naptun where there is a system user of that name, otherwise nobody"),
    ("group", "name", process::group, "the group to become; that of the user by default. Where nobody is missing, nogroup"),
    ("cd", "dir", done, "where file names start: absolute, without . and ..; in a file the first directive, or the same as --cd"),
    ("config", "file", done, "read this file here; up to ten deep, by a name relative to cd"),
    ("writepid", "file", process::writepid, "write the process id there"),
    ("nice", "value", process::nice, "the nice value, -20 to 19"),
    ("mlock", "", mlock, "keep all memory out of swap, or fail; without it the same is done where that is allowed"),
    ("verb", "level", process::verb, "how much to log, 0 to 11; 1 by default, 3 or 4 for normal operation"),
    ("mute", "lines", process::mute, "log at most so many lines of one kind in a row"),
    ("log", "file", process::log, "log to this file, emptied first"),
    ("log-append", "file", process::log_append, "log to the end of this file"),
    ("syslog", "[program]", process::syslog, "log to syslog, as daemon and inetd do anyway"),
    ("status", "file [seconds]", process::status, "write counters there every so often (60)"),
    ("inactive", "seconds [bytes]", process::inactive, "end after so long with no traffic, or with less than so many bytes; 300 under inetd, otherwise never; 0 for never"),
    ("reneg-sec", "seconds [min]", link::reneg_sec, "replace the keys at this age: 10 to 120 s, less counts as 10, and more as the default, 120, as does 0. The end with the smaller value decides"),
    ("ping", "seconds", link::ping, "send a keepalive after so long without sending; 0 for never, the default"),
    ("ping-restart", "seconds", link::ping_restart, "a new handshake after so long without hearing the peer"),
    ("ping-exit", "seconds", link::ping_exit, "end after so long without hearing the peer"),
    ("keepalive", "ping timeout", link::keepalive, "ping and ping-restart in one; the time-out at least twice the pause"),
    ("cipher", "name", crypto::cipher, "AES-256-GCM or CHACHA20-POLY1305; both may be used by default. Others are accepted with a notice, none is refused"),
    ("data-ciphers", "name[:name]", crypto::data_ciphers, "a list of the same; wins over cipher"),
    ("ncp-ciphers", "name[:name]", crypto::data_ciphers, "the older name of data-ciphers"),
    ("replay-persist", "file", crypto::replay_persist, "where to remember which handshakes have been seen, if not in the default place"),
];

/// Names, which parameters are refused all the same, why there is nothing to do.
#[rustfmt::skip]
static HARMLESS: &[(&str, Refuse, &str)] = &[
    ("persist-key persist-tun persist-local-ip persist-remote-ip", never, "key, device and addresses stay through every restart anyway"),
    ("comp-lzo", crypto::refuse_comp_lzo, "nothing is ever compressed (comp-lzo yes and adaptive are refused)"),
    ("compress", crypto::refuse_compress, "nothing is ever compressed (compress with an algorithm is refused)"),
    ("allow-compression", crypto::refuse_allow_compression, "nothing is ever compressed (yes and asym are refused)"),
    ("comp-noadapt", never, "nothing is ever compressed"),
    ("auth", crypto::refuse_none, "the ciphers authenticate by themselves (auth none is refused)"),
    ("data-ciphers-fallback", crypto::refuse_none, "both ends always agree on a cipher (none is refused)"),
    ("keysize no-iv prng engine providers ncp-disable", never, "the ciphers are fixed, with 256 bit keys"),
    ("allow-deprecated-insecure-static-crypto", never, "the static key only proves who is there; every session has fresh keys"),
    ("key-direction", never, crypto::DIRECTION),
    ("replay-window no-replay mute-replay-warnings", never, "the window is always 8192 packets, and a replay is counted, not logged"),
    ("reneg-bytes reneg-pkts", never, "keys change every two minutes by themselves"),
    ("disable-occ", never, "the ends always compare their settings, inside the handshake"),
    ("tun-ipv6", never, "IPv6 always passes"),
    ("fragment", never, "packets that do not fit are fragmented without being asked"),
    ("link-mtu tun-mtu-extra", never, "the size of datagrams follows from tun-mtu"),
    ("mtu-disc mtu-test", never, "the path is watched without being asked"),
    ("passtos", never, "the outer header says nothing about the inner one"),
    ("ping-timer-rem", never, "nobody waits for a peer that has not called yet"),
    ("fast-io", never, "packets already go out in bursts"),
    ("explicit-exit-notify", never, "an end that goes always says so"),
    ("multihome", never, "an answer always leaves from the address that was called"),
    ("bind", refuse_ipv6only, "the port is always bound (ipv6only is refused)"),
    ("ifconfig-nowarn", never, "addresses that do not mirror each other are an error of both ends, not a warning"),
    ("route-delay up-delay", never, "the listener's device and routes come with the first authenticated packet, the caller's at once"),
    ("connect-retry-max connect-timeout server-poll-timeout", never, "the peer is called for ever; ping-exit and inactive end it"),
    ("socket-flags disable-dco", never, "the socket is set up for bursts without being asked"),
    ("chroot", never, "Landlock and seccomp leave the process no file to open"),
    ("status-version suppress-timestamps machine-readable-output errors-to-stderr echo parameter", never, "the form of logs and status is fixed"),
    ("ip-win32 route-method dhcp-renew dhcp-release dhcp-pre-release dhcp-internal tap-sleep show-net-up win-sys pause-exit service windows-driver allow-nonadmin register-dns block-outside-dns", never, "a matter of Windows"),
];

const NO_TLS: &str = "there is no TLS and no certificate here: one key for both ends, secret FILE";
const NO_SERVER: &str = "there is one peer for each configuration: give it a file and a port of its own";
const NO_PULL: &str = "nothing is pushed or pulled: write ifconfig and route on both ends";
const NO_LOGIN: &str = "who has the key is the peer; there are no users and passwords: secret FILE";
const NO_PROXY: &str = "UDP passes no such proxy: name the peer itself with remote";
const NO_MANAGEMENT: &str = "use status FILE, or send the process SIGUSR2";
const FLAG_ONLY: &str = "is for the command line only: naptun --help";

/// Names, what to do instead.
#[rustfmt::skip]
static REFUSED: &[(&str, &str)] = &[
    ("tls-server tls-client ca capath cert extra-certs key dh pkcs12 cryptoapicert ecdh-curve", NO_TLS),
    ("pkcs11-providers pkcs11-protected-authentication pkcs11-private-mode pkcs11-cert-private pkcs11-pin-cache pkcs11-id pkcs11-id-management", NO_TLS),
    ("tls-auth tls-crypt tls-crypt-v2 tls-crypt-v2-verify tls-crypt-v2-max-age tls-cipher tls-ciphersuites tls-cert-profile tls-groups", NO_TLS),
    ("tls-timeout tls-version-min tls-version-max tls-exit tls-verify tls-export-cert tls-remote verify-x509-name verify-hash", NO_TLS),
    ("peer-fingerprint crl-verify remote-cert-tls remote-cert-ku remote-cert-eku ns-cert-type x509-track x509-username-field", NO_TLS),
    ("hand-window tran-window single-session key-method askpass keying-material-exporter", NO_TLS),
    ("mode server server-ipv6 server-bridge ifconfig-pool ifconfig-ipv6-pool ifconfig-pool-persist ifconfig-pool-linear", NO_SERVER),
    ("client-to-client client-config-dir ccd-exclusive duplicate-cn max-clients max-routes max-routes-per-client connect-freq connect-freq-initial", NO_SERVER),
    ("tmp-dir client-connect client-disconnect learn-address iroute iroute-ipv6 tcp-queue-limit tcp-nodelay bcast-buffers hash-size", NO_SERVER),
    ("port-share disable stale-routes-check vlan-tagging vlan-accept vlan-pvid override-username", NO_SERVER),
    ("client pull pull-filter route-nopull push push-reset push-remove push-peer-info ifconfig-push ifconfig-ipv6-push ifconfig-push-constraint allow-pull-fqdn", NO_PULL),
    ("auth-user-pass auth-user-pass-verify auth-user-pass-optional auth-retry auth-nocache auth-token auth-token-user auth-gen-token auth-gen-token-secret", NO_LOGIN),
    ("username-as-common-name verify-client-cert client-cert-not-required static-challenge opt-verify", NO_LOGIN),
    ("http-proxy http-proxy-option http-proxy-retry http-proxy-timeout http-proxy-override http-proxy-user-pass socks-proxy socks-proxy-retry", NO_PROXY),
    ("management management-client management-query-passwords management-query-proxy management-query-remote management-hold management-signal", NO_MANAGEMENT),
    ("management-forget-disconnect management-up-down management-log-cache management-client-user management-client-group management-client-auth", NO_MANAGEMENT),
    ("management-external-key management-external-cert", NO_MANAGEMENT),
    ("connection", "write one remote line for each address"),
    ("remote-random-hostname ip-remote-hint remote-cert", "name the peer with remote"),
    ("plugin", "use up"),
    ("route-up", "use up with route-noexec, and set the routes there"),
    ("route-pre-down down-pre", "remove it: the kernel takes the device, its addresses, its routes and its place in a bridge away together; down runs then"),
    ("ipchange", "remove it: the peer's address is in the log, at every change"),
    ("route-table", "set such routes in the up script, with route-noexec"),
    ("bind-dev", "use mark and a routing rule, or start naptun by ip vrf exec"),
    ("dev-node", "remove it: the node is /dev/net/tun"),
    ("iproute", "remove it: the kernel is asked directly"),
    ("mktun rmtun", "remove it: the device is made when it is needed and goes with the process"),
    ("shaper", "use tc on the device"),
    ("client-nat", "use nft on the device"),
    ("session-timeout", "use inactive; a session that is used may last"),
    ("remap-usr1", "use ping-exit for an end instead of a restart"),
    ("allow-recursive-routing", "remove it: a tunnel that carries itself would loop"),
    ("setcon", "set the SELinux context where the process is started"),
    ("test-crypto gremlin", "remove it"),
    ("show-ciphers show-digests show-tls show-engines show-curves show-groups show-gateway show-valid-subnets show-pkcs11-ids", "remove it: there is nothing to choose from"),
    ("genkey version help", FLAG_ONLY),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write;

    use super::*;

    #[test]
    fn no_directive_stands_in_the_table_twice() {
        let mut names = HashSet::new();
        for directive in directives() {
            assert!(names.insert(directive.name), "{}", directive.name);
            assert!(!directive.meaning.is_empty() && !directive.meaning.contains('|'), "{}", directive.name);
        }
    }

    #[test]
    fn the_arity_follows_from_the_parameters() {
        let arity = |name| find(name).unwrap().arity();
        assert_eq!((arity("float"), arity("remote"), arity("ifconfig")), ((0, 0), (1, 3), (2, 2)));
        assert_eq!((arity("ignore-unknown-option"), arity("mssfix")), ((1, 15), (0, 2)));
    }

    #[test]
    fn a_slip_finds_its_directive_and_gibberish_finds_none() {
        for (slip, near) in
            [("ifconfg", "ifconfig"), ("secert", "secret"), ("Verb", "verb"), ("persist_key", "persist-key")]
        {
            assert_eq!(nearest(slip), Some(near), "{slip}");
        }
        assert_eq!(nearest("xyzzy"), None);
        assert_eq!(nearest(&"ping".repeat(1000)), None);
    }

    /// The tables of doc/directives.md. `NAPTUN_BLESS=1 cargo test directives` writes them anew.
    #[test]
    fn the_documentation_lists_the_same_directives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/directives.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let introduction = found.split("\n## ").next().unwrap_or_default().trim_end();
        let expected = format!("{introduction}\n\n{}", tables());
        if std::env::var_os("NAPTUN_BLESS").is_some() {
            std::fs::write(path, &expected).unwrap();
        } else {
            assert!(
                found == expected,
                "doc/directives.md differs from the table: NAPTUN_BLESS=1 cargo test directives"
            );
        }
    }

    fn tables() -> String {
        let mut text = String::new();
        let lists = [
            (Standing::Works, "What works", "| directive | parameters | what it does |\n|---|---|---|\n"),
            (
                Standing::Harmless,
                "What is accepted without effect",
                "| directive | why there is nothing to do |\n|---|---|\n",
            ),
            (Standing::Refused, "What is refused", "| directive | what to do instead |\n|---|---|\n"),
        ];
        for (standing, title, head) in lists {
            write!(text, "## {title}\n\n{head}").unwrap();
            for row in directives().iter().filter(|row| row.standing() == standing) {
                let params =
                    if standing == Standing::Works { format!("{} | ", row.params) } else { String::new() };
                let meaning = row.meaning.replace('<', "&lt;").replace('>', "&gt;");
                writeln!(text, "| {} | {params}{meaning} |", row.name).unwrap();
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}
