//! `redirect-gateway`: all traffic goes through the tunnel but the tunnel itself, wherever its peer and its host go, and
//! nothing of it is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::time::Duration;

use lab::tun::{CALLER, LISTENER, answers, call, napping, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};

/// A host of the Internet that there is not.
const FAR: &str = "203.0.113.9";
const FAR6: &str = "2600::9";

/// Routed, and with IPv6 inside; mon forwards, and fri has no route of its own to what is behind mon.
fn routed_lab(name: &str, more: &str) -> Option<Lab> {
    let lab = tun_lab(name, "ifconfig-ipv6 fd08::1/64 fd08::2\n")?;
    lab.mon.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    let caller = lab.fri.read(CALLER);
    let without_route: String =
        caller.lines().filter(|line| !line.starts_with("route ")).map(|line| format!("{line}\n")).collect();
    lab.fri.write(CALLER, &format!("{without_route}ifconfig-ipv6 fd08::2/64 fd08::1\n{more}"));
    Some(lab)
}

/// An address, and what `ip route get` must say of the way there.
type Way = (&'static str, &'static str);

/// How a host reaches an address, as `ip route get` says.
fn way(host: &Host, to: &str) -> String {
    let said = host.run(&["ip", "route", "get", to]);
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).replace('\n', " ")
}

#[track_caller]
fn leads(host: &Host, to: &str, through: &str) {
    let way = way(host, to);
    assert!(way.contains(through), "{to}: {way}\n{}", host.routes());
}

/// Ends the tunnel so, and looks that everything is as before.
#[track_caller]
fn ends_without_a_trace(host: &Host, signal: &str, before: &str) {
    host.kill(signal, host.endpoints()[0].pid());
    eventually("nothing is left", SOON, || napping(host));
    assert_eq!(host.routes(), before, "SIG{signal}");
}

#[test]
fn all_traffic_goes_through_the_tunnel_but_the_tunnel_itself_until_it_ends_in_any_manner() {
    let more = "redirect-gateway def1\nscript-security 2\nup ./note\n";
    let Some(lab) = routed_lab("redirect", more) else { return };
    lab.fri.write_script("/etc/naptun/note", "#!/bin/sh\necho $redirect_gateway >/run/told\n");
    let before = lab.fri.routes();
    for signal in ["TERM", "KILL", "INT"] {
        call(&lab.fri, &[]);
        eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
        for to in [FAR, "9.9.9.9"] {
            leads(&lab.fri, to, "dev tun0");
        }
        leads(&lab.fri, "192.0.2.1", "via 198.51.100.254 dev eth0");
        leads(&lab.fri, "192.168.2.10", "dev eth2");
        leads(&lab.fri, FAR6, "dev eth0");
        assert!(lab.fri.routes().contains(before.lines().next().unwrap()), "the default route stays");
        assert_eq!(lab.fri.read("/run/told"), "1\n");
        assert_eq!(lab.fri.ping("192.168.1.10", 5).lost(), 0);
        ends_without_a_trace(&lab.fri, signal, &before);
    }
}

#[test]
fn ipv6_is_redirected_with_its_flag_inside_and_outside() {
    let Some(lab) = routed_lab("redirect6", "") else { return };
    let before = lab.fri.routes();
    call(&lab.fri, &["--remote", "mon6", "--redirect-gateway", "def1", "ipv6"]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "fd00:1::10"));
    assert!(answers(&lab.fri, "192.168.1.10"));
    for to in [FAR, FAR6, "fd77::1", "3fff::1"] {
        leads(&lab.fri, to, "dev tun0");
    }
    leads(&lab.fri, "2001:db8:1::1", "via 2001:db8:2::fe dev eth0");
    leads(&lab.fri, "fd00:2::10", "dev eth2");
    ends_without_a_trace(&lab.fri, "KILL", &before);

    call(&lab.fri, &["--redirect-gateway", "def1", "ipv6", "!ipv4"]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "fd00:1::10"));
    leads(&lab.fri, FAR, "dev eth0");
    leads(&lab.fri, FAR6, "dev tun0");
    ends_without_a_trace(&lab.fri, "TERM", &before);
}

#[test]
fn the_way_follows_a_remote_that_changes() {
    let Some(lab) = routed_lab("redirect-moves", "remote 192.0.2.201\nredirect-gateway def1\n") else {
        return;
    };
    lab.mon.ok(&["ip", "address", "add", "192.0.2.201/24", "dev", "eth0"]);
    let before = lab.fri.routes();
    call(&lab.fri, &[]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
    leads(&lab.fri, "192.0.2.1", "via 198.51.100.254 dev eth0");
    leads(&lab.fri, "192.0.2.201", "dev tun0");
    lab.net.sh("nft 'add table ip gone; add chain ip gone forward { type filter hook forward priority 0; };
        add rule ip gone forward ip daddr 192.0.2.1 drop'");
    eventually("it goes on with the other address", 6 * SOON, || answers(&lab.fri, "192.168.1.10"));
    leads(&lab.fri, "192.0.2.201", "via 198.51.100.254 dev eth0");
    leads(&lab.fri, "192.0.2.1", "dev tun0");
    ends_without_a_trace(&lab.fri, "KILL", &before);
}

#[test]
fn without_a_way_to_the_peer_nothing_of_the_tunnel_goes_into_the_tunnel_and_with_another_it_goes_on() {
    let Some(lab) = routed_lab("redirect-uplink", "redirect-gateway def1\n") else { return };
    lab.net.ok(&["ip", "address", "add", "198.51.100.253/24", "dev", "fri"]);
    call(&lab.fri, &[]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));

    lab.fri.sh("ip route delete default; ip link set eth0 down");
    let way_there = way(&lab.fri, "192.0.2.1");
    assert!(!way_there.contains("tun0") && way_there.contains("No route to host"), "{way_there}");
    let received =
        || lab.fri.sh("cat /sys/class/net/tun0/statistics/tx_packets").trim().parse::<u64>().unwrap();
    let packets = received();
    assert!(!answers(&lab.fri, "192.168.1.10"));
    assert!(received() < packets + 20, "datagrams of the tunnel went into it");

    lab.fri.sh("ip link set eth0 up; ip route add default via 198.51.100.253");
    eventually("it goes on by the other gateway", 6 * SOON, || answers(&lab.fri, "192.168.1.10"));
    leads(&lab.fri, "192.0.2.1", "via 198.51.100.253 dev eth0");
    let now = lab.fri.sh("ip -4 route show | grep -v -e tun0 -e 192.0.2.1");
    lab.fri.kill("KILL", lab.fri.endpoints()[0].pid());
    eventually("nothing is left", SOON, || napping(&lab.fri));
    assert_eq!(lab.fri.sh("ip -4 route show"), now);
}

#[test]
fn the_way_follows_its_host_to_another_gateway_and_another_uplink_at_once() {
    let Some(lab) = routed_lab("redirect-host", "redirect-gateway def1\n") else { return };
    lab.net.sh(&format!(
        "ip address add 198.51.100.253/24 dev fri
        ip link add fri2 type veth peer name eth1 netns /proc/{}/ns/net
        ip address add 203.0.113.254/24 dev fri2; ip link set fri2 up",
        std::fs::read_to_string(lab.dir().join("fri.pid")).unwrap().trim()
    ));
    call(&lab.fri, &[]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
    let follows = |to: &str| {
        eventually(to, SOON, || way(&lab.fri, "192.0.2.1").contains(to));
        eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
        assert!(way(&lab.fri, "9.9.9.9").contains("dev tun0"));
    };
    lab.fri.sh("ip route replace default via 198.51.100.253");
    follows("via 198.51.100.253 dev eth0");
    lab.fri.sh("ip address add 203.0.113.1/24 dev eth1; ip link set eth1 up
        ip route replace default via 203.0.113.254");
    follows("via 203.0.113.254 dev eth1");
    // What is done for it is a change of routes as well, of which nothing more follows.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(lab.fri.sh("timeout 2 ip -4 monitor route || true"), "");
    lab.fri.kill("KILL", lab.fri.endpoints()[0].pid());
    eventually("nothing is left", SOON, || napping(&lab.fri));
    assert!(!lab.fri.routes().contains("192.0.2.1"), "{}", lab.fri.routes());
}

#[test]
fn a_signal_has_the_way_looked_for_anew() {
    let Some(lab) = routed_lab("redirect-usr1", "redirect-gateway def1\n") else { return };
    lab.net.ok(&["ip", "address", "add", "198.51.100.253/24", "dev", "fri"]);
    call(&lab.fri, &[]);
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
    lab.fri.sh("ip route replace default via 198.51.100.253");
    lab.fri.kill("USR1", lab.fri.endpoints()[0].pid());
    eventually("the new gateway is taken", SOON, || {
        way(&lab.fri, "192.0.2.1").contains("via 198.51.100.253 dev eth0")
    });
    eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
}

#[test]
fn a_name_that_nobody_knows_yet_is_looked_up_before_anything_is_redirected() {
    let Some(lab) = routed_lab("redirect-name", "") else { return };
    let caller = lab.fri.read(CALLER).replace("remote mon\n", "remote mon.example\n");
    lab.fri.write(CALLER, &format!("{caller}redirect-gateway def1\n"));
    // Not a neighbour: with everything redirected nobody could ask it.
    lab.fri.write("/etc/resolv.conf", "nameserver 192.0.2.254\noptions timeout:1\n");
    call(&lab.fri, &[]);
    leads(&lab.fri, FAR, "dev eth0");
    let words = ["dnsmasq", "-d", "--listen-address=192.0.2.254", "--bind-interfaces", "--no-resolv"];
    let _server = lab
        .net
        .spawn(&[&words, &["--no-hosts", "--user=root", "--address=/mon.example/192.0.2.1"][..]].concat());
    eventually("what lies behind mon answers", 6 * SOON, || answers(&lab.fri, "192.168.1.10"));
    leads(&lab.fri, FAR, "dev tun0");
    leads(&lab.fri, "192.0.2.1", "via 198.51.100.254 dev eth0");
    leads(&lab.fri, "192.0.2.254", "dev tun0");
}

#[test]
fn flags_leave_a_way_outside_or_shut_it() {
    let Some(lab) = routed_lab("redirect-flags", "") else { return };
    lab.fri.write("/etc/resolv.conf", "nameserver 203.0.113.53\nnameserver 127.0.0.1\n");
    let before = lab.fri.routes();
    let ways: &[(&[&str], &[Way])] = &[
        (&["def1", "bypass-dns"], &[("203.0.113.53", "via 198.51.100.254 dev eth0"), (FAR, "dev tun0")]),
        (
            &["def1", "block-local"],
            &[
                ("198.51.100.7", "dev tun0"),
                ("198.51.100.254", "dev eth0"),
                ("192.0.2.1", "via 198.51.100.254 dev eth0"),
                ("192.168.2.10", "dev eth2"),
                ("203.0.113.53", "dev tun0"),
            ],
        ),
    ];
    for (flags, expected) in ways {
        call(&lab.fri, &[&["--redirect-gateway"], *flags].concat());
        eventually("what lies behind mon answers", SOON, || answers(&lab.fri, "192.168.1.10"));
        for (to, through) in *expected {
            leads(&lab.fri, to, through);
        }
        ends_without_a_trace(&lab.fri, "KILL", &before);
    }
    call(&lab.fri, &["--redirect-private"]);
    eventually("mon answers", SOON, || answers(&lab.fri, "10.8.0.1"));
    leads(&lab.fri, FAR, "dev eth0");
    assert!(lab.fri.routes().contains("192.0.2.1 via 198.51.100.254 dev eth0"));
    ends_without_a_trace(&lab.fri, "KILL", &before);

    call(&lab.fri, &["--redirect-gateway", "def1", "--route-noexec"]);
    assert_eq!(lab.fri.sh("ip route show | grep -c -e '^0.0.0.0/1' -e ^192.0.2.1 || true"), "0\n");
    stop(&lab.fri);
}

#[test]
fn a_listener_may_send_its_traffic_through_whoever_calls() {
    let Some(lab) = routed_lab("redirect-listener", "") else { return };
    let more = "redirect-gateway def1\ninactive 2\n";
    lab.mon.append(LISTENER, more);
    lab.fri.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let before = lab.mon.routes();
    call(&lab.fri, &[]);
    eventually("mon answers", SOON, || answers(&lab.fri, "10.8.0.1"));
    leads(&lab.mon, FAR, "dev tun0");
    leads(&lab.mon, "198.51.100.1", "via 192.0.2.254 dev eth0");
    eventually("the listener naps", 2 * SOON, || napping(&lab.mon));
    assert_eq!(lab.mon.routes(), before);
}

#[test]
fn the_way_follows_a_caller_that_moves() {
    let Some(lab) = routed_lab("redirect-roams", "") else { return };
    lab.mon.append(LISTENER, "redirect-gateway def1\n");
    let before = lab.mon.routes();
    call(&lab.fri, &[]);
    eventually("mon answers", SOON, || answers(&lab.fri, "10.8.0.1"));
    leads(&lab.mon, "198.51.100.1", "via 192.0.2.254 dev eth0");
    // On the way its datagrams get another source, as behind a router that translates addresses.
    lab.net.sh("nft 'add table ip moves;
        add chain ip moves out { type filter hook forward priority 0; };
        add rule ip moves out ip saddr 198.51.100.1 ip daddr 192.0.2.1 ip saddr set 203.0.113.77;
        add chain ip moves back { type filter hook prerouting priority -300; };
        add rule ip moves back ip daddr 203.0.113.77 ip daddr set 198.51.100.1'");
    eventually("mon answers where the caller is now", 2 * SOON, || answers(&lab.fri, "10.8.0.1"));
    leads(&lab.mon, "203.0.113.77", "via 192.0.2.254 dev eth0");
    leads(&lab.mon, "198.51.100.1", "dev tun0");
    ends_without_a_trace(&lab.mon, "KILL", &before);
}

#[test]
fn a_tap_redirects_to_its_gateway() {
    let Some(lab) = Lab::new("redirect-tap") else { return };
    lab.mon.write(
        "/etc/naptun/tap-mon-fri.conf",
        "secret static.key\ndev tap0\nifconfig 10.9.0.1 255.255.255.0\nverb 3\n",
    );
    lab.fri.write(
        "/etc/naptun/tap-fri-mon.conf",
        "remote mon\nsecret static.key\ndev tap0\nifconfig 10.9.0.2 255.255.255.0\nroute-gateway 10.9.0.1\nverb 3
redirect-gateway\n",
    );
    lab.mon.xinetd();
    let before = lab.fri.routes();
    let words = ["naptun", "--daemon", "--cd", "/etc/naptun", "--port", "timbuktu-srv2"];
    lab.fri.ok(&[&words, &["--config", "tap-fri-mon.conf"][..]].concat());
    eventually("mon answers", SOON, || answers(&lab.fri, "192.168.1.1"));
    leads(&lab.fri, FAR, "via 10.9.0.1 dev tap0");
    leads(&lab.fri, "192.0.2.1", "via 198.51.100.254 dev eth0");
    ends_without_a_trace(&lab.fri, "KILL", &before);
}
