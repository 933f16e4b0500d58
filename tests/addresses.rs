//! Which addresses carry the tunnel, which it carries, and what happens when they change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::figure;
use lab::tun::{CALLER, UP, answers, call, tun_lab};
use lab::{Lab, SOON, eventually};

/// Replaces the `remote` of the caller.
fn aim(lab: &Lab, remote: &str) {
    lab.fri.sh(&format!("sed -i 's/^remote .*/remote {remote}/' {CALLER}"));
}

#[test]
fn ipv4_comes_over_the_dual_stack_socket_of_xinetd_and_is_shown_as_ipv4() {
    let Some(lab) = tun_lab("ipv4", "") else { return };
    assert!(lab.mon.sh("ss -Hulnp sport = 1417").contains("*:1417"), "the socket is not dual-stack");
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    lab.mon.wait_for_log("Initialization Sequence Completed peer=198.51.100.1:1417", SOON);
}

#[test]
fn ipv6_carries_ipv4_and_ipv6_between_both_networks() {
    let Some(lab) =
        tun_lab("ipv6", "inactive 2\nifconfig-ipv6 fd00:8::1/64 fd00:8::2\nroute-ipv6 fd00:2::/64\n")
    else {
        return;
    };
    for host in [&lab.mon, &lab.fri] {
        host.ok(&["/etc/naptun/tun-setup"]);
    }
    lab.fri.append(CALLER, "ifconfig-ipv6 fd00:8::2/64 fd00:8::1\nroute-ipv6 fd00:1::/64\n");
    aim(&lab, "2001:db8:1::1");
    let asleep = lab.mon.routes();
    call(&lab.fri, &[]);
    for round in 1..=2 {
        assert_eq!(lab.lanfri.ping("fd00:1::10", 2).lost(), 0, "round {round}");
        assert_eq!(lab.lanfri.ping("192.168.1.10", 2).lost(), 0);
        assert_eq!(lab.fri.ping("fd00:8::1", 1).lost(), 0);
        assert_eq!(lab.lanmon.ping("fd00:2::10", 1).lost(), 0);
        let routes = lab.mon.routes();
        assert!(routes.contains("fd00:2::/64 dev tun0"), "{routes}");
        eventually("the listener naps", SOON, || !lab.mon.has_device("tun0"));
        assert_eq!(lab.mon.routes(), asleep);
    }
    lab.mon.wait_for_log("Initialization Sequence Completed peer=[2001:db8:2::1]:1417", SOON);
}

#[test]
fn the_tunnel_goes_on_when_the_callers_address_changes() {
    for (name, more) in [("roam", ""), ("roam-float", "remote fri\nfloat\n")] {
        let Some(lab) = tun_lab(name, more) else { return };
        call(&lab.fri, &[]);
        assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
        move_fri(&lab, "198.51.100.2");
        assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0, "{name}");
        lab.mon.wait_for_log("peer moved peer=198.51.100.2:1417 from=198.51.100.1:1417", SOON);
        assert_eq!(lab.mon.ping("10.8.0.2", 2).lost(), 0, "the way back follows");
        assert_eq!(lab.mon.logged("started launch"), 1);
        assert_eq!((lab.mon.logged("peer authenticated"), lab.fri.logged(UP)), (1, 1), "no new session");
        move_fri(&lab, "198.51.100.1");
        assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0, "{name}: and back");
        assert_eq!(lab.mon.logged("peer moved"), 1, "a line for each move");
    }
}

#[test]
fn a_listener_that_knows_its_peer_by_address_does_not_follow_it() {
    let Some(lab) = tun_lab("no-roam", "remote 198.51.100.1\n") else { return };
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    move_fri(&lab, "198.51.100.2");
    assert!(!answers(&lab.fri, "10.8.0.1"));
    move_fri(&lab, "198.51.100.1");
    eventually("the tunnel is back with the address", SOON, || answers(&lab.fri, "10.8.0.1"));
    assert_eq!(lab.mon.logged("peer moved"), 0);
}

/// Gives fri one other address on the outside.
fn move_fri(lab: &Lab, address: &str) {
    lab.fri.sh(&format!(
        "ip -4 address flush dev eth0; ip address add {address}/24 dev eth0; ip route add default via 198.51.100.254"
    ));
}

/// Who holds mon's port, and what of its service file makes it so.
#[derive(Clone, Copy, Debug)]
enum Holder {
    /// One socket of both versions: IPv4 peers are mapped.
    Xinetd,
    /// An IPv4 socket.
    XinetdIpv4,
    /// An IPv6 socket.
    XinetdIpv6,
    /// One socket for each version.
    Inetd,
    /// The listener itself, one socket of both versions.
    Own,
}

impl Holder {
    const ALL: [Self; 5] = [Self::Xinetd, Self::XinetdIpv4, Self::XinetdIpv6, Self::Inetd, Self::Own];

    fn takes(self, address: &str) -> bool {
        match self {
            Self::XinetdIpv4 => !address.contains(':'),
            Self::XinetdIpv6 => address.contains(':'),
            Self::Xinetd | Self::Inetd | Self::Own => true,
        }
    }

    fn start(self, lab: &Lab) {
        let service = |flags: &str| {
            lab.mon.sh(&format!("sed -i '/server_args/a flags = {flags}' /etc/xinetd.d/timbuktu-srv1"));
            lab.mon.xinetd();
        };
        match self {
            Self::Xinetd => lab.mon.xinetd(),
            Self::XinetdIpv4 => service("IPv4"),
            Self::XinetdIpv6 => service("IPv6"),
            Self::Inetd => lab.mon.inetd(),
            Self::Own => {
                let words =
                    ["naptun", "--port", "1417", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf"];
                lab.mon.ok(&[&words[..], &["--daemon"]].concat());
            }
        }
    }
}

/// Three addresses of each version: two on the interface that leads to the caller, one on another that does too, and
/// those of an inner interface, which are reached through the first.
const CALLED: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.7",
    "203.0.113.1",
    "192.168.1.1",
    "2001:db8:1::1",
    "2001:db8:1::7",
    "2001:db8:3::1",
    "fd00:1::1",
];

#[test]
fn the_answer_comes_from_the_address_that_was_called() {
    let mut calls = 0;
    let mut datagrams = 0;
    for holder in Holder::ALL {
        let Some(lab) = Lab::new("multi") else { return };
        second_way(&lab);
        holder.start(&lab);
        for address in CALLED.into_iter().filter(|address| holder.takes(address)) {
            aim(&lab, address);
            let version = if address.contains(':') { "ip6" } else { "ip" };
            lab.fri.sh(&format!(
                "nft flush ruleset
                 nft add table inet from
                 nft add chain inet from in '{{ type filter hook input priority 0; }}'
                 nft add rule inet from in udp sport 1417 {version} saddr {address} counter comment right
                 nft add rule inet from in udp sport 1417 {version} saddr != {address} counter drop comment wrong"
            ));
            call(&lab.fri, &[]);
            assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0, "{holder:?} {address}");
            assert_eq!(lab.mon.ping("10.8.0.2", 1).lost(), 0, "{holder:?} {address}");
            lab::tun::stop(&lab.fri);
            let [right, wrong] = ["right", "wrong"].map(|rule| counted(&lab, rule));
            assert!(right >= 3 && wrong == 0, "{holder:?} {address}: {right} right, {wrong} wrong");
            assert_eq!(lab.fri.logged("peer moved"), 0, "{holder:?} {address}");
            calls += 1;
            datagrams += right;
        }
    }
    figure(
        30,
        &format!(
            "{calls} calls of 8 addresses on 3 interfaces, IPv4, IPv6 and mapped, 5 kinds of socket: {datagrams} datagrams came back from the address that was called, 0 from another"
        ),
    );
}

/// What a rule of fri's filter has counted.
fn counted(lab: &Lab, comment: &str) -> u64 {
    let rules = lab.fri.sh("nft list chain inet from in");
    let rule = rules.lines().find(|line| line.contains(&format!("comment \"{comment}\""))).expect("the rule");
    let (_, count) = rule.split_once("counter packets ").expect("a counter");
    count.split(' ').next().unwrap().parse().unwrap()
}

/// Gives mon more addresses, and another interface toward the router.
fn second_way(lab: &Lab) {
    lab.net.sh(&format!(
        "ip link add mon2 type veth peer name eth3 netns /proc/{}/ns/net
         ip address add 203.0.113.254/24 dev mon2; ip address add 2001:db8:3::fe/64 dev mon2 nodad; ip link set mon2 up
         ip route add 192.168.1.0/24 via 192.0.2.1; ip route add fd00:1::/64 via 2001:db8:1::1",
        std::fs::read_to_string(lab.dir().join("mon.pid")).unwrap().trim()
    ));
    lab.mon.sh(
        "ip address add 192.0.2.7/24 dev eth0; ip address add 2001:db8:1::7/64 dev eth0 nodad
         ip address add 203.0.113.1/24 dev eth3; ip address add 2001:db8:3::1/64 dev eth3 nodad; ip link set eth3 up",
    );
    // A route into the tunnel for what the tunnel is called at would be a loop.
    lab.fri.sh(&format!("sed -i '/^route /d' {CALLER}"));
}
