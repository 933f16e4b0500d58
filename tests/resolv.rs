//! Name servers of the far side: `dhcp-option` and `dns` reach the scripts in OpenVPN's words, so that what its users
//! have works unedited.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{CALLER, answers, call, napping, stop, tun_lab};
use lab::{Host, SOON, eventually};

/// The script that Debian's openvpn brings, as it is.
const SCRIPT: &str = "/etc/openvpn/update-resolv-conf";

/// Debian's openresolv appears on a host as if it were installed, and knows the name server of its network.
fn install_openresolv(host: &Host) {
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/openresolv");
    let package = std::fs::canonicalize(package).expect("openresolv is not in .cache; run scripts/needs");
    let package = package.display();
    host.sh(&format!(
        "cp {package}/sbin/resolvconf /usr/sbin/ && cp {package}/etc/resolvconf.conf /etc/
        mount -t overlay -o lowerdir=/usr/lib:{package}/lib overlay /usr/lib
        printf 'search fri.example\nnameserver 198.51.100.53\n' | resolvconf -a eth0.inet"
    ));
}

#[test]
fn the_script_of_openvpn_sets_the_far_name_server_and_takes_it_back_however_the_tunnel_ends() {
    let Some(lab) = tun_lab("resolv", "") else { return };
    install_openresolv(&lab.fri);
    lab.fri.append(
        CALLER,
        &format!(
            "script-security 2\nup {SCRIPT}\ndown {SCRIPT}\ndhcp-option DNS 10.8.0.1\ndhcp-option DOMAIN mon.example\n"
        ),
    );
    let before = lab.fri.read("/etc/resolv.conf");
    assert!(before.contains("nameserver 198.51.100.53"), "{before}");
    let _server = lab.mon.spawn(&[
        "dnsmasq",
        "-d",
        "--bind-dynamic",
        "--listen-address=10.8.0.1",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--address=/printer.mon.example/192.168.1.10",
    ]);
    for signal in ["TERM", "KILL"] {
        call(&lab.fri, &[]);
        assert!(answers(&lab.fri, "10.8.0.1"));
        let during = lab.fri.read("/etc/resolv.conf");
        for line in ["nameserver 10.8.0.1", "mon.example"] {
            assert!(during.contains(line), "{line}: {during}");
        }
        eventually("a name of the far side is found by its short form", SOON, || {
            let found = lab.fri.run(&["getent", "ahostsv4", "printer"]);
            String::from_utf8_lossy(&found.stdout).contains("192.168.1.10")
        });
        lab.fri.kill(signal, lab.fri.endpoints()[0].pid());
        eventually("nothing is left", SOON, || napping(&lab.fri));
        assert_eq!(lab.fri.read("/etc/resolv.conf"), before, "SIG{signal}");
    }
}

/// Writes down what it is told of names.
const NOTE: &str = "#!/bin/sh
tr '\\0' '\\n' </proc/$$/environ | grep -E '^(foreign_option|dns_)' | sort >/run/told.$script_type
";

/// Directives of which scripts are told.
const SPOKEN: &[&str] = &[
    "dhcp-option DNS 10.8.0.1\ndhcp-option DNS 10.8.0.3\ndhcp-option DNS6 fd00::1\ndhcp-option DOMAIN a.example
dhcp-option DOMAIN-SEARCH b.example\ndhcp-option WINS 10.8.0.4\ndhcp-option DISABLE-NBT\n",
    "dns search-domains a.example b.example\ndns server 2 address 10.8.0.9\ndns server 1 address 10.8.0.1:5353 fd00::2
dns server 1 resolve-domains c.example d.example\ndns server 1 dnssec optional\ndns server 1 transport DoT
dns server 1 sni e.example\ndns search-domains f.example\n",
    "dhcp-option DNS 10.8.0.7\ndhcp-option DNS6 fd00::7\ndhcp-option DOMAIN a.example\ndhcp-option DOMAIN-SEARCH b.example
dns server 0 address 10.8.0.1\n",
    "dhcp-option DNS 10.8.0.7\ndhcp-option DOMAIN-SEARCH b.example\ndns search-domains c.example\n",
];

#[test]
fn scripts_are_told_the_same_as_by_openvpn() {
    let Some(lab) = tun_lab("resolv-told", "") else { return };
    lab.fri.write_script("/etc/naptun/note", NOTE);
    let original = lab.fri.read(CALLER);
    for spoken in SPOKEN {
        let told = |kind: &str| lab.fri.read(&format!("/run/told.{kind}"));
        lab.fri.write("/etc/naptun/openvpn.conf", spoken);
        let words = [
            "openvpn --cd /etc/naptun --dev tun7 --ifconfig 10.7.0.1 10.7.0.2 --secret static.key --nobind --cipher AES-256-CBC",
            "--remote 192.0.2.77 --script-security 2 --up ./note --config openvpn.conf",
        ];
        lab.fri.sh("rm -f /run/told.*");
        let openvpn = lab.fri.spawn(&words.join(" ").split(' ').collect::<Vec<_>>());
        eventually("OpenVPN has run its script", SOON, || {
            lab.fri.path("/run/told.up").exists() && !told("up").is_empty()
        });
        let expected = told("up");
        drop(openvpn);

        lab.fri.sh("rm -f /run/told.*");
        lab.fri.write(CALLER, &format!("{original}script-security 2\nup ./note\ndown ./note\n{spoken}"));
        call(&lab.fri, &[]);
        stop(&lab.fri);
        assert_eq!(told("up"), expected, "{spoken}");
        assert_eq!(told("down"), expected, "{spoken}");
    }
}
