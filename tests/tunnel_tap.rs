//! The bridged tunnel, end to end: fri's tap is a port of the ethernet behind mon's eth1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::{Host, Lab, SOON, eventually};

const LISTENER: &str = "/etc/naptun/tap-mon-fri.conf";

/// A laboratory with the bridge made and xinetd on mon, nothing of ours running.
fn tap_lab(name: &str, more_for_listener: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.append(LISTENER, more_for_listener);
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.mon.xinetd();
    Some(lab)
}

fn call(fri: &Host, config: &str) {
    fri.ok(&["naptun", "--port", "timbuktu-srv2", "--daemon", "--cd", "/etc/naptun", "--config", config]);
}

fn napping(mon: &Host) -> bool {
    mon.processes("naptun").is_empty() && !mon.has_device("tap0")
}

/// The hardware address of an interface, as `ip` prints it.
fn hardware_address(host: &Host, device: &str) -> String {
    host.read(&format!("/sys/class/net/{device}/address")).trim().to_owned()
}

#[test]
fn the_caller_is_a_neighbour_on_the_ethernet_behind_the_listener() {
    let Some(lab) = tap_lab("tap", "") else { return };
    assert!(napping(&lab.mon));
    call(&lab.fri, "tap-fri-mon.conf");
    let ping = lab.fri.ping("192.168.8.1", 3);
    assert_eq!(ping.lost(), 0, "{ping:?}");
    let ports = lab.mon.ok(&["ip", "-br", "link", "show", "master", "br0"]);
    assert!(ports.contains("tap0") && ports.contains("eth1"), "{ports}");

    // A third host, and both know each other's hardware address: it is one ethernet.
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
    let neighbours = lab.fri.ok(&["ip", "neigh", "show", "dev", "tap0"]);
    assert!(neighbours.contains(&hardware_address(&lab.office, "eth0")), "{neighbours}");
    assert_eq!(lab.office.ping("192.168.8.2", 1).lost(), 0);
    let neighbours = lab.office.ok(&["ip", "neigh", "show", "dev", "eth0"]);
    assert!(neighbours.contains(&hardware_address(&lab.fri, "tap0")), "{neighbours}");
}

#[test]
fn a_caller_without_address_gets_a_dhcp_lease_through_the_tunnel() {
    let Some(lab) = tap_lab("dhcp", "") else { return };
    call(&lab.fri, "tap-dhcp-fri-mon.conf");
    lab.fri.ok(&["ip", "link", "set", "tap0", "up"]);
    lab.fri.ok(&["busybox", "udhcpc", "-i", "tap0", "-n", "-q", "-f", "-t", "5", "-s", "/etc/naptun/udhcpc"]);
    let address = lab.fri.ok(&["ip", "-4", "-br", "address", "show", "dev", "tap0"]);
    assert!(address.contains("192.168.8.1"), "no lease: {address}");
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
}

#[test]
fn broadcast_crosses_the_tunnel() {
    let Some(lab) = tap_lab("broadcast", "") else { return };
    call(&lab.fri, "tap-fri-mon.conf");
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
    let asked = lab.office.run(&["busybox", "arping", "-c", "2", "-I", "eth0", "192.168.8.2"]);
    let printed = String::from_utf8_lossy(&asked.stdout).to_lowercase();
    assert!(printed.contains(&hardware_address(&lab.fri, "tap0")), "{printed}");
}

#[test]
fn the_bridge_stays_when_the_listener_naps_and_the_next_frame_wakes_it_without_loss() {
    let Some(lab) = tap_lab("tap-nap", "inactive 2\n") else { return };
    let bridge = hardware_address(&lab.mon, "br0");
    call(&lab.fri, "tap-fri-mon.conf");
    for wake in 1..=2 {
        let ping = lab.fri.ping("192.168.8.10", 5);
        assert_eq!(ping.lost(), 0, "wake {wake}: {ping:?}");
        eventually("the listener naps", SOON, || napping(&lab.mon));
        assert!(lab.mon.has_device("br0"));
        assert_eq!(hardware_address(&lab.mon, "br0"), bridge);
        assert_eq!(lab.mon.ping("192.168.8.10", 1).lost(), 0, "the ethernet behind mon suffers");
    }
}

#[test]
fn tun_and_tap_run_side_by_side() {
    let Some(lab) = tap_lab("both", "") else { return };
    call(&lab.fri, "tap-fri-mon.conf");
    let tun = "naptun --port timbuktu-srv1 --daemon --cd /etc/naptun --config tun-fri-mon.conf";
    lab.fri.sh(tun);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
    assert_eq!(lab.mon.endpoints().len(), 2);
}
