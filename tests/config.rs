//! The dialect: what every directive accepts, refuses and means; files, problems, the samples, the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use naptun::cli::{Args, Early, Parsed};
use naptun::config::grammar::{self, Statement};
use naptun::config::problem::{Place, Problem};
use naptun::config::settings::*;
use naptun::config::table::{self, Standing};
use naptun::config::{Loaded, check_cd, load, resolve};
use naptun::doctor::{self, Request};
use naptun::error::Exit;
use naptun::prepare;
use proptest::prelude::*;

/// A directory of its own for one test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("naptun-config-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let dir = Self(path.canonicalize().unwrap());
        dir.file("ok.up", "#!/bin/sh\n", 0o755);
        dir
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn resolve(&self, text: &str) -> Result<Settings, Vec<Problem>> {
        let (statements, mut problems) = grammar::parse("t.conf", text.as_bytes());
        match resolve(&statements, &self.0) {
            Ok(settings) if problems.is_empty() => Ok(settings),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// `text` behind the two directives that are required.
    fn with(&self, text: &str) -> Result<Settings, Vec<Problem>> {
        self.resolve(&format!("secret k\ndev tun\n{text}\n"))
    }

    fn load(&self, config: &str) -> Result<Loaded, Vec<Problem>> {
        load(Some(&self.0), &run(&["--config", config]))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The only problem of `text`, in words.
fn problem(dir: &Dir, text: &str) -> String {
    let problems = dir.with(text).map(|_| ()).expect_err(text);
    assert_eq!(problems.len(), 1, "{text}: {:?}", lines(&problems));
    lines(&problems).remove(0)
}

fn parse(args: &[&str]) -> Result<Parsed, Early> {
    Args::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
}

fn run(args: &[&str]) -> Vec<Statement> {
    match parse(args) {
        Ok(Parsed::Run { statements, .. }) => statements,
        other => panic!("{other:?}"),
    }
}

fn addr(text: &str) -> Host {
    Host::Addr(text.parse().unwrap())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

type Example = (&'static str, &'static str, fn(&Settings) -> bool, &'static [&'static str]);

/// Name, a text that is accepted, what it must lead to, texts that are refused.
#[rustfmt::skip]
const EXAMPLES: &[Example] = &[
    ("remote", "remote mon.example 1417 udp4\nremote 192.0.2.9", |s| s.remotes == [
        Remote { host: Host::Name("mon.example".into()), port: 1417, family: Family::V4 },
        Remote { host: addr("192.0.2.9"), port: 1194, family: Family::Any }],
        &["remote", "remote 10.8.0.300", "remote a 0", "remote a 70000", "remote a 1 tcp", "remote a 1 udp x", "remote 192.0.2.1 1 udp6", "remote ::1 1 udp4"]),
    ("secret", "secret other.key 1", |s| matches!(&s.secret, Secret::File(path) if path.ends_with("other.key") && path.is_absolute()),
        &["secret", "secret k 2", "secret \"\"", "secret a 0 b"]),
    ("dev", "dev tun7", |s| s.device_name.as_deref() == Some("tun7") && s.device_type == DeviceType::Tun,
        &["dev", "dev null", "dev fri", "dev tun/1", "dev ..", "dev tun4567890123456", "dev \"tun 1\"", "dev tun%d", "dev tun:1", "dev \"\""]),
    ("dev-type", "dev fri\ndev-type tap", |s| s.device_name.as_deref() == Some("fri") && s.device_type == DeviceType::Tap,
        &["dev-type", "dev-type veth"]),
    ("ifconfig", "ifconfig 10.8.0.2 10.8.0.1", |s| s.ifconfig == Some(Ifconfig { local: addr("10.8.0.2"), remote_or_netmask: addr("10.8.0.1") }),
        &["ifconfig 10.8.0.1", "ifconfig 10.8.0.1 10.8.0.1", "ifconfig 10.8.0.1 255.255.255.0", "ifconfig fd00::1 fd00::2", "ifconfig 10.8.0.1 10.8.0.256", "ifconfig 224.0.0.1 10.8.0.1", "ifconfig 0.0.0.0 10.8.0.1"]),
    ("ifconfig-ipv6", "ifconfig-ipv6 fd00::2/64 fd00::1", |s| s.ifconfig_ipv6 == Some(IfconfigIpv6 { local: "fd00::2".parse().unwrap(), prefix: 64, remote: "fd00::1".parse().unwrap() }),
        &["ifconfig-ipv6 fd00::2/64", "ifconfig-ipv6 fd00::2 fd00::1", "ifconfig-ipv6 fd00::2/63 fd00::1", "ifconfig-ipv6 fd00::2/125 fd00::1", "ifconfig-ipv6 fd00::1/64 fd00::1", "ifconfig-ipv6 10.8.0.1/64 fd00::1", "ifconfig-ipv6 ff02::1/64 fd00::1"]),
    ("ifconfig-noexec", "ifconfig-noexec", |s| s.ifconfig_noexec, &["ifconfig-noexec x"]),
    ("port", "port 1417\nremote a", |s| s.lport == 1417 && s.remotes[0].port == 1417, &["port", "port 0", "port 65536", "port 10x", "port no-such-service", "port -1", "port \"\""]),
    ("lport", "port 1\nlport 1417\nremote a", |s| s.lport == 1417 && s.remotes[0].port == 1, &["lport 0", "lport x y"]),
    ("rport", "rport 1417\nremote a", |s| s.lport == 1194 && s.remotes[0].port == 1417, &["rport 0", "rport"]),
    ("proto", "proto udp6", |s| s.family == Family::V6, &["proto tcp-client", "proto sctp", "proto"]),
    ("local", "local 192.0.2.7", |s| s.local == Some(addr("192.0.2.7")), &["local", "local 192.0.2", "local ::1\nproto udp4", "local 10.8.0.1\nifconfig 10.8.0.1 10.8.0.2"]),
    ("nobind", "nobind\nremote a", |s| s.lport == 0, &["nobind", "nobind 1", "nobind\nremote a\nlport 5", "nobind\nremote a\nlocal 192.0.2.7"]),
    ("remote-random", "remote-random", |s| s.remote_random, &["remote-random yes"]),
    ("float", "float", |s| s.float, &["float yes"]),
    ("resolv-retry", "resolv-retry 60", |s| s.resolv_retry == Some(seconds(60)), &["resolv-retry", "resolv-retry never", "resolv-retry -1"]),
    ("connect-retry", "connect-retry 5 60", |s| s.connect_retry == Some(seconds(60)), &["connect-retry 0", "connect-retry 5 4", "connect-retry"]),
    ("reneg-sec", "reneg-sec 60 30", |s| s.reneg_sec == Some(seconds(60)), &["reneg-sec", "reneg-sec -1", "reneg-sec 10s", "reneg-sec 60 x", "reneg-sec 10 10 10"]),
    ("sndbuf", "sndbuf 393216", |s| s.sndbuf == Some(393_216), &["sndbuf", "sndbuf 1k", "sndbuf 2147483648"]),
    ("rcvbuf", "rcvbuf 393216", |s| s.rcvbuf == Some(393_216), &["rcvbuf", "rcvbuf -1"]),
    ("mark", "mark 0x2A", |s| s.mark == Some(42), &["mark", "mark 0x", "mark 0x+1", "mark 4294967296", "mark 0x100000000", "mark 1f"]),
    ("tun-mtu", "tun-mtu 1400", |s| s.mtu == 1400, &["tun-mtu 575", "tun-mtu 9001", "tun-mtu 1279\nifconfig-ipv6 fd00::2/64 fd00::1", "tun-mtu"]),
    ("disable-offload", "disable-offload", |s| !s.offload, &["disable-offload yes"]),
    ("mssfix", "mssfix 1400 mtu", |s| s.mssfix == Mssfix::Mtu(1400), &["mssfix 1400 frame", "mssfix mtu", "mssfix x", "mssfix 70000", "mssfix 1", "mssfix 1400 mtu fixed"]),
    ("txqueuelen", "txqueuelen 500", |s| s.txqueuelen == Some(500), &["txqueuelen", "txqueuelen many"]),
    ("lladdr", "dev tap\nlladdr 02:00:00:00:00:0a", |s| s.lladdr == Some([2, 0, 0, 0, 0, 10]), &["lladdr 02:00:00:00:00:0a", "dev tap\nlladdr 03:00:00:00:00:01", "dev tap\nlladdr x"]),
    ("topology", "topology p2p", |s| s.notices.len() == 1, &["topology subnet", "topology star", "topology"]),
    ("route", "ifconfig 10.8.0.2 10.8.0.1\nroute 192.168.1.0 255.255.255.0 net_gateway 5", |s| s.routes[0] == Route {
        place: "t.conf:4".into(), network: RouteHost::Host(addr("192.168.1.0")), prefix: 24, gateway: RouteHost::NetGateway, metric: Some(5) },
        &["route", "route 10.0.0.0 255.0.255.0 net_gateway", "route 10.0.0.1 255.0.0.0 net_gateway", "route 10.0.0.0/8", "route fd00::/8", "route 10.0.0.0 255.0.0.0 net_gateway x", "route 192.0.2.0"]),
    ("route-ipv6", "route-ipv6 fd01::/16 fd00::1 7", |s| s.routes_ipv6[0] == RouteIpv6 {
        place: "t.conf:3".into(), network: "fd01::".parse().unwrap(), prefix: 16, gateway: Some("fd00::1".parse().unwrap()), metric: Some(7) },
        &["route-ipv6", "route-ipv6 fd01::", "route-ipv6 fd01::1/64", "route-ipv6 fd01::/129", "route-ipv6 10.0.0.0/8", "dev tap\nroute-ipv6 fd01::/64"]),
    ("route-gateway", "route-gateway 10.8.0.9\nroute 10.9.0.0 255.255.0.0", |s| s.route_gateway == Some(addr("10.8.0.9")), &["route-gateway", "route-gateway dhcp", "route-gateway fd00::1"]),
    ("route-ipv6-gateway", "dev tap\nroute-ipv6-gateway fd00::9\nroute-ipv6 fd01::/64", |s| s.routes_ipv6[0].gateway == Some("fd00::9".parse().unwrap()), &["route-ipv6-gateway 10.0.0.1", "route-ipv6-gateway"]),
    ("route-metric", "route 10.9.0.0 255.255.0.0 net_gateway\nroute 10.8.0.0 255.255.0.0 net_gateway 3\nroute-metric 9", |s| [s.routes[0].metric, s.routes[1].metric] == [Some(9), Some(3)], &["route-metric", "route-metric -1"]),
    ("route-noexec", "route-noexec\nroute 10.9.0.0", |s| s.route_noexec, &["route-noexec x"]),
    ("redirect-gateway", "redirect-gateway def1 bypass-dns\nredirect-gateway def1 ipv6 local block-local\nifconfig-ipv6 fd00::2/64 fd00::1", |s| s.notices.is_empty() && s.redirect == Some(Redirect {
        ipv4: true, ipv6: true, local: true, block_local: true, bypass_dns: true, gateway_ipv6: None }),
        &["redirect-gateway def2", "redirect-gateway ipv6", "dev tap\nredirect-gateway def1", "dev tap\nroute-gateway 10.8.0.1\nifconfig-noexec\nredirect-gateway ipv6"]),
    ("redirect-private", "redirect-private bypass-dhcp", |s| s.redirect == Some(Redirect::default()) && s.notices.len() == 1, &["redirect-private gateway"]),
    ("up", "up \"ok.up br0 'a b'\"\nscript-security 2", |s| matches!(s.up.as_deref(), Some([program, a, b]) if Path::new(program).is_absolute() && program.ends_with("/ok.up") && a == "br0" && b == "a b"),
        &["up", "up \"\"", "up none.up", "up k.d", "up ok.up br0", "up \"ok.up \\\"x\""]),
    ("down", "down ok.up\nscript-security 3", |s| s.down.as_ref().is_some_and(|down| down.len() == 1), &["down", "down none.up", "down ok.up\nscript-security 1"]),
    ("up-restart", "up-restart", |s| s.up_restart, &["up-restart 1"]),
    ("script-security", "script-security 2", |s| s.up.is_none() && s.notices.is_empty(), &["script-security", "script-security 4", "script-security 2 system", "up ok.up\nscript-security 1", "script-security 0\nup ok.up"]),
    ("setenv", "setenv NAME \"a b\"", |s| s.setenv == [("NAME".into(), "a b".into())], &["setenv", "setenv a-b c", "setenv a b c", "setenv opt verb x"]),
    ("setenv-safe", "setenv-safe NAME", |s| s.setenv == [("OPENVPN_NAME".into(), String::new())], &["setenv-safe", "setenv-safe a=b"]),
    ("dhcp-option", "dhcp-option DNS 10.8.0.1\ndhcp-option DOMAIN example.org\nup ok.up\nscript-security 2", |s| s.dhcp_options == ["dhcp-option DNS 10.8.0.1", "dhcp-option DOMAIN example.org"] && s.notices.is_empty(),
        &["dhcp-option", "dhcp-option DNS", "dhcp-option DNS mon", "dhcp-option DNS6 10.8.0.1", "dhcp-option DOMAIN a..b", "dhcp-option DOMAIN 10.8.0.1", "dhcp-option DNS 10.8.0.1 10.8.0.2", "dhcp-option NOTE \"a\tb\""]),
    ("dns", "dns search-domains a.example b.example\ndns server 2 address 10.8.0.9\ndns server 1 address 10.8.0.1:5353 [fd00::1]:53 fd00::2\ndns server 1 resolve-domains c.example\ndns server 1 dnssec optional\ndns server 1 transport DoT\ndns server 1 sni d.example\nup ok.up\nscript-security 2",
        |s| s.notices.is_empty() && s.dns.search == ["a.example", "b.example"] && s.dns.servers == [
            DnsServer { number: 1, addresses: vec![("10.8.0.1".parse().unwrap(), Some(5353)), ("fd00::1".parse().unwrap(), Some(53)), ("fd00::2".parse().unwrap(), None)],
                domains: vec!["c.example".into()], dnssec: Some("optional".into()), transport: Some("DoT".into()), sni: Some("d.example".into()) },
            DnsServer { number: 2, addresses: vec![("10.8.0.9".parse().unwrap(), None)], ..DnsServer::default() }],
        &["dns", "dns search-domains", "dns search-domains a..b", "dns server", "dns server 1", "dns server x address 10.8.0.1", "dns server 1 address", "dns server 1 address mon", "dns server 1 address 10.8.0.1:0",
          "dns server 1 address [fd00::1", "dns server 1 dnssec maybe", "dns server 1 transport tcp", "dns server 1 sni", "dns server 1 resolve-domains", "dns server 1 colour red", "dns server 1 dnssec no", "dns 10.8.0.1"]),
    ("ignore-unknown-option", "ignore-unknown-option xyzzy\nxyzzy 1", |s| s.notices.len() == 1, &["ignore-unknown-option", "xyzzy\nignore-unknown-option xyzzy"]),
    ("inetd", "inetd wait fri", |s| s.inetd && s.program == "fri", &["inetd nowait", "inetd wait a b", "inetd\nlocal 192.0.2.1", "inetd\nnobind\nremote a", "inetd\ndaemon"]),
    ("daemon", "daemon fri", |s| s.daemon && s.program == "fri", &["daemon \"a b\"", "daemon a b"]),
    ("user", "user root", |s| s.user == "root" && s.notices.len() == 1, &["user", "user no-such-user", "user 0"]),
    ("group", "group root", |s| s.group.as_deref() == Some("root"), &["group", "group no-such-group"]),
    ("cd", "", |_| true, &["cd", "cd a b"]),
    ("config", "", |_| true, &["config", "config a b"]),
    ("writepid", "writepid run/pid", |s| s.writepid.as_ref().is_some_and(|path| path.is_absolute() && path.ends_with("run/pid")), &["writepid", "writepid \"\""]),
    ("nice", "nice -20", |s| s.nice == Some(-20), &["nice", "nice -21", "nice 20", "nice --1", "nice 1.5"]),
    ("mlock", "mlock", |s| s.mlock, &["mlock 1"]),
    ("verb", "verb 3 # as usual", |s| s.verb == 3, &["verb", "verb 12", "verb 3x", "verb -1"]),
    ("mute", "mute 20", |s| s.mute == 20, &["mute", "mute x"]),
    ("log", "log-append a\nlog b\nsyslog", |s| matches!(&s.log, LogTarget::File { path, append: false } if path.ends_with("b")), &["log", "log a b"]),
    ("log-append", "log a\nlog-append b", |s| matches!(&s.log, LogTarget::File { path, append: true } if path.ends_with("b")), &["log-append"]),
    ("syslog", "syslog fri", |s| s.log == LogTarget::Syslog && s.program == "fri", &["syslog a b", "syslog \"\""]),
    ("status", "status s 10", |s| matches!(&s.status, Some((path, every)) if path.ends_with("s") && *every == seconds(10)), &["status", "status s 0", "status s 1m"]),
    ("inactive", "inactive 60 1000", |s| s.inactive == Some(Inactive { after: seconds(60), bytes: 1000 }), &["inactive", "inactive 1h", "inactive 1 2 3"]),
    ("ping", "ping 10", |s| s.ping == Some(seconds(10)), &["ping", "ping 10x", "ping 86401"]),
    ("ping-restart", "ping-exit 5\nping-restart 60", |s| s.ping_timeout == Some(PingTimeout::Restart(seconds(60))), &["ping-restart", "ping-restart x"]),
    ("ping-exit", "ping-restart 5\nping-exit 60", |s| s.ping_timeout == Some(PingTimeout::Exit(seconds(60))), &["ping-exit", "ping-exit -1"]),
    ("keepalive", "keepalive 10 60", |s| s.ping == Some(seconds(10)) && s.ping_timeout == Some(PingTimeout::Restart(seconds(60))), &["keepalive 10", "keepalive 0 60", "keepalive 10 19"]),
    ("cipher", "cipher aes-256-gcm", |s| s.ciphers == Ciphers { aes_256_gcm: true, chacha20_poly1305: false } && s.notices.is_empty(), &["cipher", "cipher none"]),
    ("data-ciphers", "data-ciphers AES-128-GCM:?ChaCha20-Poly1305\ncipher AES-256-GCM", |s| s.ciphers == Ciphers { aes_256_gcm: false, chacha20_poly1305: true } && s.notices.len() == 1, &["data-ciphers", "data-ciphers AES-256-GCM:none"]),
    ("ncp-ciphers", "ncp-ciphers AES-256-GCM:CHACHA20-POLY1305", |s| s.ciphers.aes_256_gcm && s.ciphers.chacha20_poly1305, &["ncp-ciphers NONE"]),
    ("replay-persist", "replay-persist r", |s| s.replay_persist.as_ref().is_some_and(|path| path.is_absolute()), &["replay-persist"]),
];

#[test]
fn every_directive_that_works_accepts_means_and_refuses_what_it_should() {
    let dir = Dir::new("every");
    fs::create_dir(dir.0.join("k.d")).unwrap();
    for (name, accepted, holds, refused) in EXAMPLES {
        let settings = dir.with(accepted).map_err(|problems| lines(&problems)).expect(accepted);
        assert!(holds(&settings), "{name}: {accepted}: {settings:?}");
        assert!(!refused.is_empty(), "{name}");
        for text in *refused {
            assert!(dir.with(text).is_err(), "{name}: {text}");
        }
    }
}

#[test]
fn every_directive_that_works_has_an_example() {
    for row in table::directives().iter().filter(|row| row.standing() == Standing::Works) {
        assert!(EXAMPLES.iter().any(|(name, ..)| *name == row.name), "{}", row.name);
    }
}

#[test]
fn every_harmless_directive_gives_one_notice_however_often_it_stands() {
    let dir = Dir::new("harmless");
    for row in table::directives().iter().filter(|row| row.standing() == Standing::Harmless) {
        let text = match row.name {
            "comp-lzo" | "allow-compression" => format!("{0} no\n{0} no", row.name),
            name => format!("{name}\n{name}"),
        };
        let settings = dir.with(&text).map_err(|problems| lines(&problems)).expect(row.name);
        assert_eq!(settings.notices.len(), 1, "{:?}", settings.notices);
        assert!(
            settings.notices[0].starts_with(&format!("t.conf:3: {}: ", row.name)),
            "{:?}",
            settings.notices
        );
    }
}

#[test]
fn every_refused_directive_says_where_and_what_to_do_instead() {
    let dir = Dir::new("refused");
    for row in table::directives().iter().filter(|row| row.standing() == Standing::Refused) {
        let line = problem(&dir, row.name);
        assert_eq!(line, format!("t.conf:3: {}: is not supported; {}", row.name, row.meaning));
    }
}

#[test]
fn compression_and_null_ciphers_are_refused_in_every_spelling() {
    let dir = Dir::new("null");
    for text in [
        "comp-lzo",
        "comp-lzo yes",
        "comp-lzo adaptive",
        "compress lz4-v2",
        "compress lzo",
        "allow-compression asym",
    ] {
        assert!(problem(&dir, text).contains("leaks"), "{text}");
    }
    for text in [
        "cipher none",
        "cipher NONE",
        "auth none",
        "data-ciphers AES-256-GCM:None",
        "data-ciphers-fallback none",
    ] {
        assert!(problem(&dir, text).contains("no null cipher"), "{text}");
    }
    for text in ["compress", "compress stub-v2", "cipher AES-256-CBC", "auth SHA256"] {
        let settings = dir.with(text).unwrap();
        assert_eq!(settings.notices.len(), 1, "{text}");
        assert!(settings.ciphers.aes_256_gcm && settings.ciphers.chacha20_poly1305, "{text}");
    }
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let dir = Dir::new("defaults");
    let tun = dir.with("").unwrap();
    let user = if users::get_user_by_name("naptun").is_some() { "naptun" } else { "nobody" };
    assert_eq!((tun.lport, tun.mtu, tun.verb, tun.user.as_str()), (1194, 1420, 1, user));
    assert_eq!((tun.inactive, tun.mssfix, tun.ping, tun.device_name), (None, Mssfix::Whole, None, None));
    assert_eq!((tun.program.as_str(), tun.log, tun.family), ("naptun", LogTarget::Default, Family::Any));
    assert_eq!(dir.with("dev tap").unwrap().mtu, 1500);
    let nap = Some(Inactive { after: seconds(300), bytes: 0 });
    assert_eq!(dir.with("inetd").unwrap().inactive, nap);
    assert_eq!(dir.with("inetd\ninactive 0").unwrap().inactive, None);
    assert_eq!(dir.with("resolv-retry infinite").unwrap().resolv_retry, None);
    assert_eq!(dir.with("status s").unwrap().status.unwrap().1, seconds(60));
    assert_eq!((tun.sndbuf, tun.rcvbuf, tun.offload), (Some(1_048_576), Some(1_048_576), true));
    assert_eq!(dir.with("sndbuf 0").unwrap().sndbuf, None);
    assert_eq!(dir.with("rcvbuf 0").unwrap().rcvbuf, None);
    for (text, meant) in [
        ("mssfix", Mssfix::Mtu(1492)),
        ("mssfix 1450", Mssfix::Payload(1450)),
        ("mssfix 1300 fixed", Mssfix::Fixed(1300)),
        ("mssfix 0", Mssfix::Off),
    ] {
        assert_eq!(dir.with(text).unwrap().mssfix, meant, "{text}");
    }
    for longer in ["reneg-sec 0", "reneg-sec 120", "reneg-sec 3600", "reneg-sec 60\nreneg-sec 0"] {
        assert_eq!(dir.with(longer).unwrap().reneg_sec, None, "{longer}");
    }
    assert_eq!(dir.with("reneg-sec 1").unwrap().reneg_sec, Some(seconds(10)));
}

#[test]
fn reneg_sec_shortens_the_life_of_keys_and_never_lengthens_it() {
    let dir = Dir::new("reneg");
    for (text, initiator, responder) in [
        ("", 120_000, 145_000),
        ("reneg-sec 3600", 120_000, 145_000),
        ("reneg-sec 0", 120_000, 145_000),
        ("reneg-sec 60", 60_000, 72_500),
        ("reneg-sec 12", 12_000, 14_500),
    ] {
        let timers = prepare::timers(&dir.with(text).unwrap());
        let ages = [timers.rekey_after, timers.rekey_after + timers.rekey_grace];
        assert_eq!(ages.map(|age| age.as_millis()), [initiator, responder], "{text}");
        assert_eq!(timers.expire_after, seconds(180), "{text}: the peer may have no reneg-sec");
    }
}

#[test]
fn a_remote_under_inetd_is_no_caller() {
    let dir = Dir::new("caller");
    assert!(dir.with("remote a").unwrap().is_caller());
    assert!(!dir.with("remote a\ninetd").unwrap().is_caller());
}

#[test]
fn words_are_split_as_openvpn_splits_them() {
    let words = |line: &str| grammar::split_words(line).unwrap();
    assert_eq!(words("verb 3 # x"), ["verb", "3"]);
    assert_eq!(words("verb 3 ; x"), ["verb", "3"]);
    assert_eq!(words("a#b c;d"), ["a#b", "c;d"]);
    assert_eq!(words("\"two words\" 'it is \\' a\"b"), ["two words", "it is \\", "a\"b"]);
    assert_eq!(words(r#"a\ b \"c\" "d\"e" \\"#), ["a b", "\"c\"", "d\"e", "\\"]);
    assert_eq!(words("\"\" ''"), ["", ""]);
    assert_eq!(words("\"a\"b"), ["a", "b"]);
    assert_eq!(words("\t a\x0b\x0c b \r"), ["a", "b"]);
    assert_eq!(words("\\  a"), ["a"]);
    for line in [r"a\b", r"\#", "a\\", "\"a", "'a", "\"a\\"] {
        assert!(grammar::split_words(line).is_err(), "{line}");
    }
}

#[test]
fn lines_end_in_lf_or_crlf_and_the_byte_order_mark_is_no_word() {
    let (statements, problems) = grammar::parse("f", "\u{feff}--verb 3\r\n\r\n# c\r\n--\nmute 4".as_bytes());
    assert!(problems.is_empty());
    let found: Vec<_> = statements.iter().map(|s| (s.words.join(" "), s.place.line)).collect();
    assert_eq!(found, [("verb 3".into(), 1), ("--".into(), 4), ("mute 4".into(), 5)]);
}

#[test]
fn lines_and_words_are_limited() {
    let line = |length: usize| format!("# {}", "x".repeat(length - 2));
    assert!(grammar::parse("f", line(256).as_bytes()).1.is_empty());
    assert!(grammar::parse("f", format!("{}\r\n", line(256)).as_bytes()).1.is_empty());
    assert!(grammar::parse("f", line(257).as_bytes()).1[0].to_string().starts_with("f:1: "));
    let words = |n: usize| vec!["w"; n].join(" ");
    assert!(grammar::parse("f", words(16).as_bytes()).1.is_empty());
    assert!(grammar::parse("f", words(17).as_bytes()).1[0].to_string().contains("17 words"));
}

#[test]
fn an_inline_secret_is_taken_verbatim_and_other_blocks_are_read_to_their_end() {
    let text = "<ca>\nsecret x\n</ca>\n<secret>\n# a\r\n  \nb \"\n  </secret> rest\nverb 3\n<tls-auth>\nx\n</tls-auth>\n";
    let (statements, problems) = grammar::parse("f", text.as_bytes());
    assert!(problems.is_empty());
    let names: Vec<_> = statements.iter().map(|s| (s.name(), s.place.line)).collect();
    assert_eq!(names, [("ca", 1), ("secret", 4), ("verb", 9), ("tls-auth", 10)]);
    assert_eq!(statements[1].inline.as_ref().unwrap().as_str(), "# a\r\n  \nb \"\n");
    assert!(statements[3].inline.as_ref().unwrap().is_empty(), "keys that are not used are not kept");
    assert!(!format!("{:?}", statements[1]).contains("# a"), "Debug shows no key");
    let dir = Dir::new("inline");
    let problems = lines(&dir.resolve(text).unwrap_err());
    assert!(problems[0].starts_with("t.conf:1: ca: is not supported") && problems.len() == 3, "{problems:?}");
    let settings = dir.resolve("<secret>\nx\n</secret>\ndev tun").unwrap();
    assert!(matches!(settings.secret, Secret::Inline(text) if text.as_str() == "x\n"));
    assert!(problem(&dir, "<secret>\nx").contains("</secret>"));
    assert!(problem(&dir, "<verb>\nx\n</verb>").contains("between tags"));
}

#[test]
fn text_that_is_none_gives_one_clear_problem() {
    let only = |text: &[u8]| {
        let (statements, problems) = grammar::parse("f", text);
        assert!(statements.is_empty() && problems.len() == 1);
        problems[0].to_string()
    };
    assert_eq!(only(b"verb 3\n\xff\n"), "f:2: is not UTF-8 text; expected a configuration file");
    assert_eq!(only(b"verb 3\n\nx\0"), "f:3: contains a NUL byte; expected a configuration file");
}

#[test]
fn a_key_in_the_place_of_a_configuration_is_not_repeated_in_messages() {
    let key = naptun::config::key::generate(&[0xa5; 256]);
    let (_, problems) = grammar::parse("static.key", key.as_bytes());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("static.key:4: a key starts here"));
    let dir = Dir::new("key");
    assert!(!problem(&dir, &"a5".repeat(16)).contains("a5a5"), "a pasted line of a key");
}

#[test]
fn all_problems_are_collected_with_their_lines() {
    let dir = Dir::new("all");
    let text = "secret k\ndev tun\nverb 99\nifconfg 10.8.0.2 10.8.0.1\nca ca.crt\nroute 10.0.0.1 255.0.0.0 net_gateway\nuser no-such-user\nping \"5\n";
    dir.file("bad.conf", text, 0o644);
    let problems = dir.load("bad.conf").map(|_| ()).unwrap_err();
    let found = lines(&problems);
    let expected = [
        "bad.conf:3: verb \"99\": is out of range; expected a number from 0 to 11",
        "bad.conf:4: \"ifconfg\": is no directive; did you mean ifconfig?",
        "bad.conf:5: ca: is not supported; there is no TLS and no certificate here: one key for both ends, secret FILE",
        "bad.conf:6: route \"10.0.0.1\": has bits behind the netmask 255.0.0.0; did you mean 10.0.0.0 255.0.0.0?",
        "bad.conf:7: user \"no-such-user\": there is no such user; name one that exists with user",
        "bad.conf:8: \"5\": its quotation is not closed; expected \"",
    ];
    assert_eq!(found, expected);
    assert_eq!(problems[4].exit(), Exit::NoUser);
    let many = "xyzzy\n".repeat(100_000);
    dir.file("many.conf", many, 0o644);
    assert!(dir.load("many.conf").unwrap_err().len() < 100);
    dir.file("quotes.conf", "\"\n".repeat(100_000), 0o644);
    assert!(dir.load("quotes.conf").unwrap_err().len() < 150);
}

#[test]
fn what_is_missing_is_said_of_the_file_as_a_whole() {
    let dir = Dir::new("missing");
    dir.file("empty.conf", "# nothing\n", 0o644);
    let found = lines(&dir.load("empty.conf").unwrap_err());
    assert!(found[0].starts_with("empty.conf: secret: is missing"), "{found:?}");
    assert!(found[1].starts_with("empty.conf: dev: is missing") && found.len() == 2, "{found:?}");
    dir.file("broken.conf", "secret \"k\ndev tun\n", 0o644);
    assert_eq!(
        dir.load("broken.conf").unwrap_err().len(),
        1,
        "a line that cannot be read may be the missing one"
    );
}

#[test]
fn setenv_opt_and_its_relatives_turn_unknown_words_into_notices() {
    let dir = Dir::new("optional");
    let notices = |text: &str| dir.with(text).map_err(|problems| lines(&problems)).expect(text).notices;
    assert_eq!(notices("setenv opt xyzzy 1").len(), 1);
    assert_eq!(notices("setenv opt block-outside-dns").len(), 1);
    assert_eq!(notices("setenv opt ca x").len(), 1);
    assert_eq!(notices("setenv FORWARD_COMPATIBLE 1\nxyzzy").len(), 1);
    assert!(dir.with("setenv opt verb 5").unwrap().verb == 5);
    assert!(dir.with("setenv FORWARD_COMPATIBLE 1\nca x").is_err(), "known and refused is not unknown");
    assert!(dir.with("setenv opt").is_err());
    assert!(dir.with("xyzzy\nsetenv FORWARD_COMPATIBLE 1").is_err(), "what stands before is not excused");
}

#[test]
fn a_remote_inside_of_the_tunnel_is_a_routing_loop() {
    let dir = Dir::new("loop");
    let inner = "ifconfig 10.8.0.2 10.8.0.1\nremote ";
    for text in [
        format!("{inner}10.8.0.1"),
        format!("{inner}10.8.0.2"),
        format!("{inner}::ffff:10.8.0.1"),
        format!("{inner}192.0.2.1\nroute 192.0.0.0 255.255.0.0"),
        format!("{inner}192.0.2.1\nroute 0.0.0.0 128.0.0.0\nroute 128.0.0.0 128.0.0.0"),
        format!("{inner}192.0.2.1\nroute 192.0.2.0 255.255.255.0 10.8.0.1"),
        "dev tap\nifconfig 192.168.8.50 255.255.255.0\nremote 192.168.8.1".to_owned(),
        "ifconfig-ipv6 fd00::2/64 fd00::1\nremote fd00::77".to_owned(),
        "ifconfig-ipv6 fd00::2/64 fd00::1\nremote 2001:db8::1\nroute-ipv6 2001:db8::/32".to_owned(),
    ] {
        assert!(problem(&dir, &text).contains("loop"), "{text}");
    }
    for text in [
        format!(
            "{inner}192.0.2.1\nroute 0.0.0.0 128.0.0.0\nroute 128.0.0.0 128.0.0.0\nroute remote_host 255.255.255.255 net_gateway"
        ),
        format!("{inner}192.0.2.1\nroute 192.0.0.0 255.255.0.0\nroute 192.0.2.0 255.255.255.0 net_gateway"),
        format!("{inner}mon.example\nroute 192.0.0.0 255.255.0.0"),
        "dev tap\nifconfig 192.168.8.50 255.255.255.0\nremote 192.168.9.1".to_owned(),
    ] {
        assert!(dir.with(&text).is_ok(), "{text}");
    }
}

#[test]
fn addresses_are_checked_against_the_type_of_device() {
    let dir = Dir::new("ifconfig");
    assert!(
        problem(&dir, "ifconfig 10.8.0.1 255.255.255.0")
            .contains("on tun the second parameter is the peer's address")
    );
    assert!(
        problem(&dir, "dev tap\nifconfig 10.8.0.1 10.8.0.2")
            .contains("on tap the second parameter is the netmask")
    );
    assert!(problem(&dir, "dev tap\nifconfig 10.8.0.1 255.0.255.0").contains("is no netmask"));
    assert!(
        problem(&dir, "dev tap\nifconfig 10.8.0.0 255.255.255.0").contains("the network 10.8.0.0/24 itself")
    );
    assert!(problem(&dir, "dev tap\nifconfig 10.8.0.255 255.255.255.0").contains("broadcast"));
    assert!(dir.with("dev tap\ntopology subnet\nifconfig 10.8.0.1 255.255.255.0").is_ok());
    assert!(dir.with("ifconfig fri.inner mon.inner").is_ok());
}

#[test]
fn a_route_without_a_gateway_needs_one_from_somewhere() {
    let dir = Dir::new("gateway");
    let route = "route 10.9.0.0 255.255.0.0";
    assert!(problem(&dir, route).contains("vpn_gateway"));
    assert!(
        problem(&dir, &format!("dev tap\nifconfig 10.8.0.1 255.255.255.0\n{route}"))
            .starts_with("t.conf:5: route")
    );
    assert!(dir.with(&format!("dev tap\n{route} 10.8.0.9")).is_ok());
    let settings = dir
        .with(&format!(
            "ifconfig 10.8.0.1 10.8.0.2\n{route} default 4\nroute remote_host default net_gateway"
        ))
        .unwrap();
    assert_eq!((&settings.routes[0].gateway, settings.routes[0].metric), (&RouteHost::VpnGateway, Some(4)));
    assert_eq!((&settings.routes[1].network, settings.routes[1].prefix), (&RouteHost::RemoteHost, 32));
}

#[test]
fn what_is_redirected_follows_from_the_flags() {
    let dir = Dir::new("redirect");
    let six = "\nifconfig-ipv6 fd00::2/64 fd00::1";
    for (text, ipv4, ipv6, notices) in [
        ("redirect-gateway def1\nremote a", true, false, 1),
        ("redirect-gateway\nremote a", true, false, 2),
        ("redirect-gateway autolocal bypass-dhcp\nremote a", true, false, 3),
        (&format!("redirect-gateway def1 ipv6\nremote a{six}"), true, true, 0),
        (&format!("redirect-gateway def1 ipv6{six}"), true, true, 1),
        (&format!("redirect-gateway def1 ipv6\nfloat\nremote a{six}"), true, true, 1),
        (&format!("redirect-gateway def1 ipv6 local{six}"), true, true, 0),
        (&format!("redirect-gateway def1 ipv6 !ipv4\nremote a{six}"), false, true, 0),
        ("redirect-gateway def1 ipv6\nifconfig-noexec\nremote a", true, true, 0),
        ("redirect-gateway def1 ipv6\nroute-noexec", true, true, 0),
        ("redirect-private def1", false, false, 0),
    ] {
        let settings = dir.with(text).map_err(|problems| lines(&problems)).expect(text);
        let redirect = settings.redirect.unwrap();
        assert_eq!((redirect.ipv4, redirect.ipv6), (ipv4, ipv6), "{text}");
        assert_eq!(settings.notices.len(), notices, "{text}: {:?}", settings.notices);
    }
    let tap = "dev tap\nroute-gateway 10.8.0.1\nredirect-gateway def1 ipv6\nroute-ipv6-gateway fd00::9";
    let gateway = dir.with(&format!("{tap}{six}")).unwrap().redirect.unwrap().gateway_ipv6;
    assert_eq!(gateway, Some("fd00::9".parse().unwrap()));
    assert!(problem(&dir, "redirect-gateway def1 ipv6").contains("the tunnel has no IPv6 address"));
}

#[test]
fn a_script_must_be_safe_to_run_as_root() {
    let dir = Dir::new("script");
    dir.file("plain.up", "", 0o644);
    dir.file("open.up", "", 0o757);
    dir.file("group.up", "", 0o775);
    symlink(dir.0.join("open.up"), dir.0.join("link-open.up")).unwrap();
    symlink(dir.0.join("ok.up"), dir.0.join("link-ok.up")).unwrap();
    let refused = |name: &str, why: &str| {
        let line = problem(&dir, &format!("up {name}\nscript-security 2"));
        assert!(line.contains(why), "{line}");
    };
    refused("plain.up", "not executable");
    refused("open.up", "changed by group or others");
    refused("group.up", "changed by group or others");
    refused("link-open.up", "changed by group or others");
    refused("gone.up", "no such file");
    if nix::unistd::geteuid().is_root() {
        let path = dir.file("foreign.up", "", 0o755);
        nix::unistd::chown(&path, Some(12345.into()), None).unwrap();
        refused("foreign.up", "belongs to uid 12345");
    }
    assert!(dir.with("up link-ok.up\nscript-security 2").unwrap().notices.is_empty());
    assert_eq!(dir.with("up ok.up").unwrap().notices.len(), 1, "script-security is not given: a notice");
    assert!(problem(&dir, "up ok.up\nscript-security 1").contains("scripts need script-security 2"));
}

#[test]
fn the_group_nobody_is_nogroup_where_debian_is() {
    let dir = Dir::new("group");
    let settings = dir.with("group nobody").unwrap();
    if users::get_group_by_name("nobody").is_none() {
        assert_eq!((settings.group.as_deref(), settings.notices.len()), (Some("nogroup"), 1));
    } else {
        assert_eq!((settings.group.as_deref(), settings.notices.len()), (Some("nobody"), 0));
    }
}

#[test]
fn files_include_files_relative_to_the_directory_and_not_for_ever() {
    let dir = Dir::new("include");
    fs::create_dir(dir.0.join("sub")).unwrap();
    dir.file("a.conf", "config sub/b.conf\nverb 5\n", 0o644);
    dir.file("sub/b.conf", "config c.conf\nverb 4\ndev tun\n", 0o644);
    dir.file("c.conf", "secret k\n", 0o644);
    let loaded = dir.load("a.conf").map_err(|problems| lines(&problems)).unwrap();
    assert_eq!((loaded.settings.verb, loaded.settings.config_file), (5, Some("a.conf".into())));
    dir.file("self.conf", "config self.conf\n".repeat(5), 0o644);
    let found = lines(&dir.load("self.conf").unwrap_err());
    assert_eq!(found, ["self.conf:1: config \"self.conf\": is nested too deep; expected 10 levels at most"]);
    for n in 1..=10 {
        let next =
            if n < 10 { format!("config d{}.conf\n", n + 1) } else { "secret k\ndev tun\n".to_owned() };
        dir.file(&format!("d{n}.conf"), next, 0o644);
    }
    assert!(dir.load("d1.conf").is_ok(), "ten levels");
}

#[test]
fn what_is_no_file_is_an_error_and_never_a_wait() {
    let dir = Dir::new("nofile");
    nix::unistd::mkfifo(&dir.0.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("socket")).unwrap();
    fs::File::create(dir.0.join("huge")).unwrap().set_len(1 << 30).unwrap();
    dir.file("large", "#\n".repeat(1 << 19), 0o644);
    let only = |name: &str| {
        let problems = dir.load(name).map(|_| ()).unwrap_err();
        assert_eq!((problems.len(), problems[0].exit()), (1, Exit::NoInput), "{name}");
        problems[0].to_string()
    };
    assert!(only("fifo").contains("is a FIFO"));
    assert!(only("ok.up/x").contains("not a directory"));
    assert!(only(".").contains("is a directory"));
    assert!(only("/dev/zero").contains("is a device"));
    assert!(only("gone.conf").contains("no such file"));
    assert!(only("huge").contains("larger than 1 MiB"));
    assert!(only("socket").contains("config"));
    assert!(!lines(&dir.load("large").unwrap_err())[0].contains("larger"), "1 MiB is not too large");
    dir.file("larger", "#\n".repeat((1 << 19) + 1), 0o644);
    assert!(only("larger").contains("larger than 1 MiB"));
}

#[test]
fn a_file_with_a_key_in_it_must_be_closed_to_others() {
    let dir = Dir::new("exposed");
    let text = "<secret>\nx\n</secret>\ndev tun\n";
    dir.file("open.conf", text, 0o640);
    dir.file("closed.conf", text, 0o600);
    let problems = dir.load("open.conf").unwrap_err();
    assert!(problems[0].to_string().contains("chmod 600 open.conf"), "{:?}", lines(&problems));
    assert_eq!(problems[0].exit(), Exit::NoPermission);
    assert!(dir.load("closed.conf").is_ok());
}

#[test]
fn cd_is_absolute_without_dots_and_in_a_file_the_first_word() {
    let dir = Dir::new("cd");
    for bad in ["etc", "/etc/.", "/etc/../etc", "/./etc", "/etc/passwd", "/gone-for-ever", ""] {
        assert!(check_cd(Path::new(bad)).is_err(), "{bad}");
    }
    assert!(check_cd(&dir.0).is_ok() && check_cd(Path::new("/")).is_ok());
    let here = dir.0.to_str().unwrap();
    let load = |text: String, cd: Option<&Path>| {
        let path = dir.file("cd.conf", text, 0o644);
        load(cd, &run(&["--config", path.to_str().unwrap()]))
    };
    let loaded = load(format!("cd {here}\nsecret k\ndev tun\nup ok.up\n"), None)
        .map_err(|problems| lines(&problems))
        .unwrap();
    assert_eq!(loaded.dir, dir.0);
    assert!(matches!(loaded.settings.secret, Secret::File(path) if path == dir.0.join("k")));
    assert!(load(format!("secret k\ndev tun\ncd {here}\n"), None).is_err(), "too late");
    assert!(load(format!("secret k\ndev tun\ncd {here}\n"), Some(&dir.0)).is_ok(), "it changes nothing");
    assert!(load("cd /\nsecret k\ndev tun\n".to_owned(), Some(&dir.0)).is_err(), "against --cd");
    assert!(load("cd /tmp/..\nsecret k\ndev tun\n".to_owned(), None).is_err());
}

#[test]
fn the_four_files_of_every_user_resolve() {
    let dir = Dir::new("four");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/sample");
    for file in ["tun-fri-mon.conf", "tun-mon-fri.conf", "tap-fri-mon.conf", "tap-mon-fri.conf"] {
        dir.file(file, fs::read(samples.join(file)).unwrap(), 0o644);
    }
    dir.file("tap-server.up", fs::read(samples.join("../../scripts/tap-server.up")).unwrap(), 0o755);
    let sample =
        |args: &[&str]| load(Some(&dir.0), &run(args)).map_err(|problems| lines(&problems)).unwrap().settings;

    let fri = sample(&["--port", "1417", "--daemon", "--config", "tun-fri-mon.conf"]);
    assert!(fri.is_caller() && fri.daemon);
    assert_eq!(fri.remotes, [Remote { host: addr("192.0.2.1"), port: 1417, family: Family::Any }]);
    assert_eq!(fri.routes[0].gateway, RouteHost::VpnGateway);
    let mon = sample(&["--inetd", "--config", "tun-mon-fri.conf"]);
    assert!(mon.inetd && !mon.is_caller());
    assert_eq!(mon.inactive, Some(Inactive { after: seconds(300), bytes: 0 }));
    assert_eq!((mon.routes[1].prefix, &mon.routes[1].gateway), (16, &RouteHost::NetGateway));
    let mirror = |s: &Settings| s.ifconfig.clone().map(|it| (it.remote_or_netmask, it.local)).unwrap();
    assert_eq!(mirror(&fri), mon.ifconfig.map(|it| (it.local, it.remote_or_netmask)).unwrap());

    let fri = sample(&["--port", "1418", "--daemon", "--config", "tap-fri-mon.conf"]);
    assert_eq!((fri.device_type, fri.mtu), (DeviceType::Tap, 1500));
    let mon = sample(&["--inetd", "--config", "tap-mon-fri.conf"]);
    assert_eq!(mon.up, Some(vec![dir.0.join("tap-server.up").to_str().unwrap().to_owned()]));
    assert_eq!(mon.ifconfig, None);
    assert!(mon.notices.iter().any(|notice| notice.contains("script-security")));
}

#[test]
fn the_files_of_openvpn_users_resolve_as_they_are() {
    let dir = Dir::new("asis");
    let mirrored = "remote 192.0.2.2\nsecret static.key\ndev tun\nifconfig 10.8.0.1 10.8.0.2\nuser nobody\ngroup nobody\nverb 3\n\
                    route 192.168.2.0 255.255.255.0 vpn_gateway\nroute 10.99.0.0 255.255.0.0 net_gateway\n\
                    persist-tun\npersist-key\ncomp-lzo no\ncipher AES-256-CBC\nkeepalive 10 60\nping-timer-rem\n";
    dir.file("m.conf", mirrored, 0o644);
    let settings = load(Some(&dir.0), &run(&["--inetd", "--config", "m.conf"]))
        .map_err(|problems| lines(&problems))
        .unwrap()
        .settings;
    assert!(settings.inetd && settings.remotes.len() == 1);
    assert!(settings.notices.len() >= 5, "{:?}", settings.notices);
}

#[test]
fn a_flag_wins_over_the_file() {
    let dir = Dir::new("flags");
    dir.file(
        "f.conf",
        "secret k\ndev tun\nport 1\nverb 1\nremote a\nroute 10.0.0.0 255.0.0.0 net_gateway\n",
        0o644,
    );
    let args = [
        "--verb",
        "4",
        "--config",
        "f.conf",
        "--lport",
        "7",
        "--remote",
        "b",
        "1417",
        "--route",
        "10.1.0.0",
        "255.255.0.0",
        "net_gateway",
        "--mlock",
        "--nice",
        "-5",
    ];
    let settings = load(Some(&dir.0), &run(&args)).map_err(|problems| lines(&problems)).unwrap().settings;
    assert_eq!((settings.verb, settings.lport, settings.mlock, settings.nice), (4, 7, true, Some(-5)));
    assert_eq!(settings.remotes, [Remote { host: Host::Name("b".into()), port: 1417, family: Family::Any }]);
    assert_eq!(settings.routes.len(), 2, "routes add up");
    assert_eq!(
        (settings.routes[0].place.as_str(), settings.routes[1].place.as_str()),
        ("f.conf:6", "command line")
    );
}

#[test]
fn a_tunnel_can_be_told_on_the_command_line_alone() {
    let dir = Dir::new("alone");
    let args = [
        "--remote",
        "192.0.2.1",
        "timbuktu-no-such",
        "--dev",
        "tun",
        "--secret",
        "k",
        "--ifconfig",
        "10.8.0.1",
        "10.8.0.2",
    ];
    let found = lines(&load(Some(&dir.0), &run(&args)).unwrap_err());
    assert!(
        found[0].starts_with("command line: remote \"timbuktu-no-such\": /etc/services lacks it"),
        "{found:?}"
    );
    let problems = load(Some(&dir.0), &run(&["--daemon"])).unwrap_err();
    assert_eq!((problems.len(), problems[0].exit()), (2, Exit::Usage));
    assert!(
        load(Some(&dir.0), &run(&["--ca", "x", "--dev", "tun", "--secret", "k"])).unwrap_err()[0]
            .to_string()
            .contains("no TLS")
    );
}

#[test]
fn words_behind_an_option_are_joined_as_openvpn_users_write_them() {
    let words = |args: &[&str]| run(args).into_iter().map(|s| s.words).collect::<Vec<_>>();
    assert_eq!(words(&["--inetd", "--config", "a b.conf"]), [vec!["config", "a b.conf"], vec!["inetd"]]);
    assert_eq!(
        words(&["--inetd", "wait", "fri", "--daemon"]),
        [vec!["inetd", "wait", "fri"], vec!["daemon"]]
    );
    assert_eq!(words(&["--up", "x \"y\" \\z"]), [vec!["up", "x \"y\" \\z"]]);
    assert_eq!(words(&["--setenv", "a", "b c", "--float"]), [vec!["float"], vec!["setenv", "a", "b c"]]);
    assert_eq!(words(&["--remote", ""]), [vec!["remote", ""]]);
    assert_eq!(words(&["x.conf"]), [vec!["config", "x.conf"]]);
    assert_eq!(
        words(&["--port", "1", "--lport", "2", "--ping", "3", "--keepalive", "4", "8"]),
        [vec!["port", "1"], vec!["lport", "2"], vec!["keepalive", "4", "8"], vec!["ping", "3"]]
    );
}

#[test]
fn every_directive_may_be_an_option() {
    for row in
        table::directives().iter().filter(|row| !["cd", "genkey", "help", "version"].contains(&row.name))
    {
        let option = format!("--{}", row.name);
        match parse(&[&option]) {
            Ok(Parsed::Run { statements, .. }) => assert_eq!(statements[0].words, [row.name]),
            other => panic!("{option}: {other:?}"),
        }
    }
}

#[test]
fn a_wrong_command_line_is_told_in_words_and_never_printed() {
    let wrong = |args: &[&str], why: &str| {
        let early = parse(args).unwrap_err();
        assert!(
            early.exit == Exit::Usage && early.text.contains(why) && early.text.ends_with('\n'),
            "{early:?}"
        );
    };
    wrong(&["--ifconfg", "x"], "did you mean --ifconfig?");
    wrong(&["--port=1417"], "write --port 1417");
    wrong(&["--verb", "3", "4"], "starts with --");
    wrong(&["a", "b"], "starts with --");
    wrong(&["-v"], "-v");
    wrong(&["--cd", "etc"], "not absolute");
    wrong(&["--cd"], "--cd DIR");
    wrong(&["--verb", "3", "--verb", "4"], "verb");
    wrong(&["--log", "a", "--log-append", "b"], "contradict");
    wrong(&["check"], "names no file");
    wrong(&["--genkey", "tls-auth", "f"], "no kind of key");
    let early = Args::parse(&[OsString::from_vec(vec![b'-', b'-', 0xff])]).unwrap_err();
    assert!(early.exit == Exit::Usage && early.text.contains("UTF-8"));
}

#[test]
fn help_and_version_end_early_and_well() {
    let help = parse(&["--help"]).unwrap_err();
    assert!(
        help.exit == Exit::Ok && help.text.contains("--ifconfig") && !help.text.contains("--directive"),
        "{}",
        help.text
    );
    assert_eq!(parse(&["check", "--help"]).unwrap_err().exit, Exit::Ok);
    let version = parse(&["--version"]).unwrap_err();
    assert_eq!((version.text, version.exit), (format!("naptun {}\n", env!("CARGO_PKG_VERSION")), Exit::Ok));
}

#[test]
fn keys_and_checks_are_asked_for_in_every_known_form() {
    let key = |args: &[&str]| match parse(args) {
        Ok(Parsed::GenKey { file }) => file,
        other => panic!("{other:?}"),
    };
    assert_eq!(key(&["--genkey"]), None);
    for args in [
        &["--genkey", "--secret", "k"][..],
        &["--genkey", "secret", "k"],
        &["--genkey", "secret", "--secret", "k"],
    ] {
        assert_eq!(key(args), Some("k".into()), "{args:?}");
    }
    assert_eq!(key(&["--genkey", "--secret", "k", "--cd", "/tmp"]), Some("/tmp/k".into()));
    let check = |args: &[&str]| match parse(args) {
        Ok(Parsed::Check(request)) => request,
        other => panic!("{other:?}"),
    };
    let request =
        Request { cd: Some("/etc".into()), files: vec!["a".into(), "b".into()], ..Request::default() };
    assert_eq!(check(&["check", "--cd", "/etc", "a", "b"]), request);
    let request = Request { openvpn: vec!["a".into()], files_only: true, ..Request::default() };
    assert_eq!(check(&["check", "--files-only", "--openvpn", "a"]), request);
    assert_eq!(check(&["check", "--cd", "/etc"]), Request { cd: Some("/etc".into()), ..Request::default() });
}

#[test]
fn check_reports_every_file_and_every_key() {
    let dir = Dir::new("check");
    let key = naptun::config::key::generate(&[7; 256]);
    dir.file("good.key", key.as_bytes(), 0o600);
    dir.file("open.key", key.as_bytes(), 0o644);
    dir.file("good.conf", "secret good.key\ndev tun\npersist-tun\n", 0o644);
    dir.file("open.conf", "secret open.key\ndev tun\nverb x\n", 0o644);
    let check = |cd: &Path, files: &[&str]| {
        let files = files.iter().map(PathBuf::from).collect();
        doctor::examine(&Request { cd: Some(cd.into()), files, files_only: true, ..Request::default() })
    };
    let (found, exit) = check(&dir.0, &["good.conf"]);
    let note = "good.conf:3: note: persist-tun: key, device and addresses stay through every restart anyway";
    assert_eq!(found, [note, "    persist-tun", "    ^^^^^^^^^^^", "good.conf: ok"]);
    assert_eq!(exit, Exit::Ok);
    let (found, exit) = check(&dir.0, &["good.conf", "open.conf", "gone.conf"]);
    let path = dir.0.display();
    let lines = [
        &format!(
            "open.conf:1: error: secret: read key {path}/open.key: is open to group or others (mode 0644); chmod 600 {path}/open.key"
        ),
        "    secret open.key",
        "           ^^^^^^^^",
        "open.conf:3: error: verb \"x\": is no number; expected a number from 0 to 11",
        "    verb x",
        "         ^",
        &format!("gone.conf: error: config \"gone.conf\": {path}/gone.conf: no such file or directory"),
    ];
    assert_eq!((&found[4..], exit), (&lines.map(str::to_owned)[..], Exit::Config));
    assert_eq!(check(Path::new("etc"), &["good.conf"]).1, Exit::Config);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (statements, _) = grammar::parse("p", &bytes);
        let _ = resolve(&statements, Path::new("/nonexistent"));
    }

    #[test]
    fn arbitrary_words_behind_every_directive_never_panic(
        lines in proptest::collection::vec((0..400usize, "[ -~]{0,40}|[0-9.:/a-f ]{0,40}|\\PC{0,20}"), 0..12)
    ) {
        let rows = table::directives();
        let text: String = lines.iter().map(|(n, words)| format!("{} {words}\n", rows[n % rows.len()].name)).collect();
        let (statements, _) = grammar::parse("p", text.as_bytes());
        for problem in resolve(&statements, Path::new("/nonexistent")).err().unwrap_or_default() {
            prop_assert!(!problem.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_quoted_word_comes_back_as_it_was(word in "\\PC{0,40}|[\"'\\\\ #;a]{0,20}") {
        prop_assert_eq!(grammar::split_words(&grammar::quote(&word)).unwrap(), [word]);
    }

    #[test]
    fn arbitrary_arguments_never_panic(args in proptest::collection::vec("--[a-z-]{1,12}|[ -~]{0,12}|--help|check", 0..6)) {
        let _ = Args::parse(&args.iter().map(OsString::from).collect::<Vec<_>>());
    }
}

#[test]
fn the_command_line_is_a_place_of_its_own() {
    assert!(Place::command_line().is_command_line() && !Place::new("a", 0).is_command_line());
}
