//! The laboratory and the scripts for administrators, without naptun: what other tests rest on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::{Lab, SOON, eventually};

/// A server that answers one datagram on the socket it inherited and exits.
const ONE_ANSWER: &str = "#!/usr/bin/perl
use Socket;
open(my $socket, '+<&=', 0) or die;
my $peer = recv($socket, my $datagram, 2000, 0);
send($socket, \"heard $datagram\", 0, $peer);
";

/// Sends one datagram and prints the answer.
const ASK: &str = "
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '192.0.2.1:1417') or die;
$socket->send('hello');
alarm 5;
$socket->recv(my $answer, 2000);
print $answer;
";

#[test]
fn xinetd_wakes_a_server_upon_a_datagram_from_the_other_host() {
    let Some(lab) = Lab::new("wake") else { return };
    lab.mon.write_script("/run/one-answer", ONE_ANSWER);
    lab.mon.sh("sed -i s:/usr/sbin/naptun:/run/one-answer: /etc/xinetd.d/timbuktu-srv1");
    lab.mon.xinetd();
    for _ in 0..3 {
        assert_eq!(lab.fri.ok(&["perl", "-e", ASK]), "heard hello");
        eventually("the server is gone", SOON, || lab.mon.processes("one-answer").is_empty());
    }
    lab.mon.wait_for_log("Started working: 2 available services", SOON);
}

#[test]
fn openbsd_inetd_wakes_a_server_too() {
    let Some(lab) = Lab::new("inetd") else { return };
    lab.mon.write_script("/run/one-answer", ONE_ANSWER);
    lab.mon.ok(&["mount", "--bind", "/run/one-answer", "/usr/sbin/naptun"]);
    lab.mon.inetd();
    assert_eq!(lab.fri.ok(&["perl", "-e", ASK]), "heard hello");
}

#[test]
fn strangers_cannot_reach_a_limit_of_the_shipped_service() {
    let Some(lab) = Lab::new("cps") else { return };
    lab.mon.write_script("/run/at-once", "#!/bin/sh\n");
    lab.mon.ok(&["mount", "--bind", "/run/at-once", "/usr/sbin/naptun"]);
    lab.mon.xinetd();
    let flood = "
        use IO::Socket::INET;
        my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '192.0.2.1:1417') or die;
        for (1..600) { $socket->send('rubbish'); select(undef, undef, undef, 0.005); }";
    lab.fri.ok(&["perl", "-e", flood]);
    assert!(lab.mon.sh("ss -Hulnp 'sport = 1417'").contains("xinetd"), "xinetd closed the port");
    assert_eq!(lab.mon.logged("eactivating"), 0);
}

#[test]
fn a_shipped_service_is_disabled_and_carries_one_name() {
    let ports = include_str!("../services.fragment");
    for (name, file) in [
        ("timbuktu-srv1", include_str!("../xinetd.d/timbuktu-srv1")),
        ("timbuktu-srv2", include_str!("../xinetd.d/timbuktu-srv2")),
    ] {
        let value = |key: &str| {
            let line = file.lines().find(|line| line.split_whitespace().next() == Some(key));
            line.unwrap_or_else(|| panic!("{name}: no {key}")).split_whitespace().last().unwrap()
        };
        assert_eq!((value("service"), value("id"), value("disable")), (name, name, "yes"));
        assert!(ports.lines().any(|line| line.starts_with(name) && line.ends_with("/udp")));
    }
    // Assigned by IANA; 1670 belongs to somebody else.
    assert!(ports.contains("timbuktu-srv1\t1417/udp\n") && ports.contains("timbuktu-srv4\t1420/udp\n"));
    assert!(ports.contains("netview-aix-9\t1669/udp\n") && ports.contains("netview-aix-10\t1671/udp\n"));
    assert_eq!(ports.lines().filter(|line| line.ends_with("/udp")).count(), 16);
    assert_eq!(ports.lines().filter(|line| line.ends_with("/tcp")).count(), 16);
}

#[test]
fn hosts_reach_each_other_but_not_the_network_behind_the_other() {
    let Some(lab) = Lab::new("topology") else { return };
    assert_eq!(lab.fri.ping("mon", 1).lost(), 0);
    assert_eq!(lab.fri.ping("mon6", 1).lost(), 0);
    assert_eq!(lab.mon.ping("lanmon", 1).lost(), 0);
    assert_eq!(lab.fri.ping("lanfri", 1).lost(), 0);
    assert_eq!(lab.fri.ping("lanmon", 1).received, 0);
}

#[test]
fn tun_setup_lets_the_lan_pass() {
    let Some(lab) = Lab::new("tun-setup") else { return };
    assert_eq!(lab.mon.run(&["/etc/naptun/tun-setup", "status"]).status.code(), Some(3));
    lab.mon.ok(&["/etc/naptun/tun-setup"]);
    lab.mon.ok(&["/etc/naptun/tun-setup", "status"]);
    let forwarding = lab.mon.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding");
    assert_eq!(forwarding, "1\n1\n");
    // The far end of the way back knows only mon.
    assert_eq!(lab.lanmon.ping("192.0.2.254", 1).received, 0);
    lab.net.ok(&["ip", "route", "add", "192.168.1.0/24", "via", "192.0.2.1"]);
    assert_eq!(lab.lanmon.ping("192.0.2.254", 1).lost(), 0, "mon does not forward");
}

#[test]
fn bridge_setup_undoes_exactly_what_it_did() {
    let Some(lab) = Lab::new("bridge") else { return };
    // Rules of an administrator that drop everything else, so that ours must stand before theirs.
    lab.mon.sh("nft add table inet filter
        nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
        nft add rule inet filter input drop");
    // Link-local addresses and carrier come in their own time.
    let state = || {
        lab.mon.sh("ip -o link | sed 's/,LOWER_UP//; s/,NO-CARRIER//; s/NO-CARRIER,//; s/ state [A-Z]* / /'
            ip -o -4 address; ip -o -6 address show scope global; ip route | sed 's/ linkdown//'
            ip -6 route | grep -v fe80; nft list ruleset")
    };
    lab.mon.ok(&["ip", "address", "add", "192.168.8.1/24", "broadcast", "+", "dev", "eth1"]);
    lab.mon.ok(&["ip", "link", "set", "eth1", "up"]);
    lab.mon.ok(&["ip", "route", "add", "10.99.0.0/16", "via", "192.168.8.10"]);
    let before = state();

    let bridge = |words: &str| lab.mon.run(&["sh", "-c", &format!("/etc/naptun/bridge-setup {words}")]);
    let refused = bridge("start");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("MOVE_ADDRESS=yes"));
    assert_eq!(state(), before, "a refused start left something");
    assert_eq!(bridge("stop").status.code(), Some(0));

    lab.mon.append("/etc/naptun/bridge.conf", "MOVE_ADDRESS=yes\n");
    assert_eq!(bridge("status").status.code(), Some(3));
    assert!(bridge("start").status.success());
    assert!(bridge("status").status.success());
    assert_eq!(
        lab.office.ping("192.168.8.1", 1).lost(),
        0,
        "the firewall still drops what comes over the bridge"
    );
    assert!(lab.mon.routes().contains("10.99.0.0/16 via 192.168.8.10 dev br0"));
    let up = state();
    assert!(bridge("start").status.success());
    assert_eq!(state(), up, "a second start changed something");

    assert!(bridge("stop").status.success());
    assert_eq!(state(), before);
}

#[test]
fn bridge_setup_refuses_the_interface_that_faces_the_internet() {
    let Some(lab) = Lab::new("internet") else { return };
    let start = |options: &str| {
        lab.mon.run(&[
            "sh",
            "-c",
            &format!("ETH=eth0 MOVE_ADDRESS=yes /etc/naptun/bridge-setup {options} start"),
        ])
    };
    let refused = start("");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("default route"));
    assert!(!lab.mon.has_device("br0"));
    assert!(start("--force").status.success());
    assert_eq!(
        lab.fri.ping("mon", 1).lost(),
        0,
        "the address and the default route did not move to the bridge"
    );
}

#[test]
fn a_tap_that_comes_and_goes_never_changes_the_address_of_the_bridge() {
    let Some(lab) = Lab::new("pinned") else { return };
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    let bridge = || lab.mon.read("/sys/class/net/br0/address");
    assert_eq!(bridge(), lab.mon.read("/sys/class/net/eth1/address"));
    let before = bridge();
    // A stand-in that has a carrier: its address is lower than the bridge's own.
    lab.mon.sh("ip link add tap0 address 02:00:00:00:00:01 type veth peer name far && ip link set far up");
    lab.mon.sh("cd /etc/naptun && ./tap-server.up tap0 1500 0 '' '' init");
    assert!(lab.mon.ok(&["ip", "link", "show", "master", "br0"]).contains("tap0"));
    assert_eq!(bridge(), before);
    assert!(
        !lab.mon.ok(&["ip", "address", "show", "dev", "tap0"]).contains("inet"),
        "a port with an address"
    );
    lab.mon.ok(&["ip", "link", "del", "tap0"]);
    assert_eq!(bridge(), before);
}

#[test]
fn a_laboratory_ends_with_whoever_started_it() {
    let Some(lab) = Lab::new("owner") else { return };
    drop(lab);
    let dir = std::env::temp_dir().join(format!("naptun-owned-{}", std::process::id()));
    // The shell that brings it up is killed before it can take it down.
    let script = format!("{}/scripts/lab up {} && kill -KILL $$", env!("CARGO_MANIFEST_DIR"), dir.display());
    let shell = std::process::Command::new("sh").args(["-c", &script]).env("NAPTUN", lab::binary()).status();
    assert!(!shell.unwrap().success());
    eventually("the folder of the laboratory is gone", SOON, || !dir.exists());
}
