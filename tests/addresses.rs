//! Which addresses carry the tunnel, which it carries, and what happens when they change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

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

#[test]
fn the_answer_comes_from_the_address_that_was_called() {
    let Some(lab) = tun_lab("multi", "") else { return };
    lab.mon.ok(&["ip", "address", "add", "192.0.2.7/24", "dev", "eth0"]);
    lab.mon.ok(&["ip", "address", "add", "2001:db8:1::7/64", "dev", "eth0", "nodad"]);
    for (remote, shown) in [
        ("192.0.2.7", "192.0.2.7:1417"),
        ("2001:db8:1::7", "[2001:db8:1::7]:1417"),
        ("192.0.2.1", "192.0.2.1:1417"),
        ("2001:db8:1::1", "[2001:db8:1::1]:1417"),
    ] {
        aim(&lab, remote);
        call(&lab.fri, &[]);
        assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0, "{remote}");
        assert_eq!(lab.mon.ping("10.8.0.2", 1).lost(), 0, "{remote}");
        lab.fri.wait_for_log(&format!("peer authenticated peer={shown}"), SOON);
        lab::tun::stop(&lab.fri);
    }
    assert_eq!(lab.fri.logged("peer moved"), 0);
}
