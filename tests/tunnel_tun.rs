//! The routed tunnel, end to end: the real binary, woken by a real xinetd on mon, called from fri.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::{Host, Lab, SOON, eventually};
use std::time::Duration;

const LISTENER: &str = "/etc/naptun/tun-mon-fri.conf";
const UP: &str = "Initialization Sequence Completed";

/// The exact words with which an administrator starts the caller.
const CALLER: &[&str] =
    &["naptun", "--port", "timbuktu-srv1", "--daemon", "--cd", "/etc/naptun", "--config", "tun-fri-mon.conf"];

/// A laboratory with xinetd on mon, both ends forwarding, nothing of ours running.
fn tun_lab(name: &str, more_for_listener: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.append(LISTENER, more_for_listener);
    lab.mon.ok(&["/etc/naptun/tun-setup"]);
    lab.fri.ok(&["/etc/naptun/tun-setup"]);
    lab.mon.xinetd();
    Some(lab)
}

fn napping(mon: &Host) -> bool {
    mon.processes("naptun").is_empty() && !mon.has_device("tun0")
}

#[test]
fn a_packet_wakes_the_listener_and_both_networks_are_joined() {
    let Some(lab) = tun_lab("tun", "") else { return };
    assert!(napping(&lab.mon));
    lab.fri.ok(CALLER);
    let ping = lab.fri.ping("10.8.0.1", 3);
    assert_eq!(ping.lost(), 0, "{ping:?}");
    lab.mon.wait_for_log(UP, SOON);
    lab.fri.wait_for_log(UP, SOON);

    assert_eq!(lab.fri.ping("192.168.1.10", 1).lost(), 0, "fri does not reach the network behind mon");
    assert_eq!(lab.lanfri.ping("192.168.1.10", 1).lost(), 0, "the networks do not reach each other");
    assert_eq!(lab.lanmon.ping("192.168.2.10", 1).lost(), 0, "there is no way back");
    let routes = lab.mon.routes();
    assert!(routes.contains("192.168.2.0/24 via 10.8.0.2 dev tun0"), "{routes}");
}

#[test]
fn the_listener_keeps_no_privilege_once_it_pumps() {
    let Some(lab) = tun_lab("privileges", "") else { return };
    lab.fri.ok(CALLER);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    let nobody: u32 = lab.mon.ok(&["id", "-u", "nobody"]).trim().parse().unwrap();
    let nogroup: u32 = lab.mon.sh("getent group nogroup | cut -d: -f3").trim().parse().unwrap();
    for host in [&lab.mon, &lab.fri] {
        let processes = host.endpoints();
        assert_eq!(processes.len(), 1, "{processes:?}");
        let naptun = &processes[0];
        assert_eq!(naptun.uids(), [nobody; 4]);
        assert_eq!(naptun.gids(), [nogroup; 4]);
        let groups = naptun.field("Groups");
        assert!(groups.is_empty() || groups == nogroup.to_string(), "supplementary groups {groups}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(naptun.capabilities(set), 0, "{set}");
        }
        assert_eq!(naptun.field("NoNewPrivs"), "1");
        assert_eq!(naptun.field("Seccomp"), "2");
    }
}

#[test]
fn an_idle_listener_leaves_nothing_and_the_next_packet_wakes_it_without_loss() {
    let Some(lab) = tun_lab("nap", "inactive 2\n") else { return };
    let asleep = lab.mon.routes();
    lab.fri.ok(CALLER);
    for wake in 1..=3 {
        let ping = lab.fri.ping("10.8.0.1", 5);
        assert_eq!(ping.lost(), 0, "wake {wake}: {ping:?}");
        lab.mon.wait_for_logs(UP, wake, SOON);
        eventually("the listener naps", SOON, || napping(&lab.mon));
        assert_eq!(lab.mon.routes(), asleep, "routes stay behind");
        assert!(lab.fri.has_device("tun0"), "the caller gave up its device");
    }
    assert_eq!(lab.fri.endpoints().len(), 1);
}

#[test]
fn a_route_past_the_tunnel_goes_with_the_nap_too() {
    // The kernel takes away only what goes through the device; this one goes through eth0.
    let more = "inactive 2\nroute 203.0.113.0 255.255.255.0 net_gateway\n";
    let Some(lab) = tun_lab("net-gateway", more) else { return };
    let asleep = lab.mon.routes();
    lab.fri.ok(CALLER);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    let routes = lab.mon.routes();
    assert!(routes.contains("203.0.113.0/24 via 192.0.2.254 dev eth0"), "{routes}");
    eventually("the listener naps", SOON, || napping(&lab.mon));
    assert_eq!(lab.mon.routes(), asleep);
}

#[test]
fn a_packet_from_the_network_behind_the_caller_wakes_the_listener_too() {
    let Some(lab) = tun_lab("nap-lan", "inactive 2\n") else { return };
    lab.fri.ok(CALLER);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    eventually("the listener naps", SOON, || napping(&lab.mon));
    assert_eq!(lab.lanfri.ping("192.168.1.10", 3).lost(), 0);
}

#[test]
fn a_killed_listener_is_replaced() {
    let Some(lab) = tun_lab("kill", "") else { return };
    lab.fri.ok(CALLER);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    let first = lab.mon.endpoints()[0].pid();
    lab.mon.kill("KILL", first);
    eventually("the device goes with its process", SOON, || !lab.mon.has_device("tun0"));
    // Until the caller has noticed, packets are lost; then a new handshake wakes a new listener.
    eventually("the tunnel is back", Duration::from_secs(20), || lab.fri.ping("10.8.0.1", 1).lost() == 0);
    let second = lab.mon.endpoints();
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(second[0].pid(), first);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
}

#[test]
fn a_restarted_caller_is_served_by_the_same_listener_or_a_new_one() {
    let Some(lab) = tun_lab("restart", "") else { return };
    lab.fri.ok(&["/etc/naptun/rc.naptun", "start"]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    lab.fri.ok(&["/etc/naptun/rc.naptun", "restart"]);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    lab.fri.ok(&["/etc/naptun/rc.naptun", "stop"]);
    eventually("the caller is gone", SOON, || !lab.fri.has_device("tun0"));
    assert!(lab.fri.processes("naptun").is_empty());
}

#[test]
fn rubbish_makes_no_device_and_gets_no_answer() {
    let Some(lab) = tun_lab("rubbish", "") else { return };
    let rubbish = "
        use IO::Socket::INET;
        my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '192.0.2.1:1417') or die;
        for (1..50) { $socket->send(join '', map { chr rand 256 } 1..rand 1400); }
        local $SIG{ALRM} = sub { print 'silence'; exit };
        alarm 2;
        $socket->recv(my $answer, 2000);
        print 'an answer';
    ";
    assert_eq!(lab.fri.ok(&["perl", "-e", rubbish]), "silence");
    assert!(!lab.mon.has_device("tun0"));
    lab.fri.ok(CALLER);
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0, "a true caller is kept out");
}

#[test]
fn openbsd_inetd_wakes_the_listener_too() {
    let Some(lab) = Lab::new("tun-inetd") else { return };
    lab.mon.append(LISTENER, "inactive 2\n");
    lab.mon.inetd();
    lab.fri.ok(CALLER);
    for _ in 0..2 {
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
        eventually("the listener naps", SOON, || napping(&lab.mon));
    }
}
