//! Large packets and many of them: MTU, fragments, throughput, memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{answers, call, datagrams_sent, tun_lab};
use lab::{Host, Lab, SOON, eventually};
use std::time::{Duration, Instant};

/// The most memory that an awake endpoint may ever have had, KiB.
const MEMORY: u64 = 6 * 1024;

/// A laboratory with the bridge made, xinetd on mon and the caller of the bridged tunnel on fri.
fn tap_lab(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.mon.xinetd();
    let tap = "naptun --port timbuktu-srv2 --daemon --cd /etc/naptun --config tap-fri-mon.conf";
    lab.fri.sh(tap);
    Some(lab)
}

/// IP fragments that a host has made or seen, both IP versions together.
fn fragments(host: &Host) -> u64 {
    let counters = host.sh("nstat -asz IpFragCreates IpReasmReqds Ip6FragCreates Ip6ReasmReqds");
    counters.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// One echo request of `size` bytes of payload that must not be fragmented, there and back.
fn passes_whole(host: &Host, target: &str, size: usize) -> bool {
    let size = size.to_string();
    host.run(&["ping", "-n", "-c", "2", "-W", "3", "-M", "do", "-s", &size, target]).status.success()
}

#[test]
fn a_tap_carries_whole_ethernet_frames_without_an_ip_fragment_on_the_wire() {
    let Some(lab) = tap_lab("frames") else { return };
    for (from, to) in [(&lab.fri, "192.168.8.10"), (&lab.office, "192.168.8.2")] {
        assert!(passes_whole(from, to, 1472), "1500 bytes to {to}");
        assert!(!passes_whole(from, to, 1473), "1501 bytes to {to}");
    }
    assert!(passes_whole(&lab.fri, "192.168.8.10", 1400));
    for host in [&lab.mon, &lab.fri, &lab.office, &lab.net] {
        assert_eq!(fragments(host), 0);
    }
}

#[test]
fn a_tun_carries_its_whole_mtu_over_ipv4_and_ipv6() {
    let Some(lab) = tun_lab("tun-mtu", "") else { return };
    for remote in ["192.0.2.1", "2001:db8:1::1"] {
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {remote}/' {}", lab::tun::CALLER));
        call(&lab.fri, &[]);
        assert!(lab.fri.sh("ip link show tun0").contains("mtu 1420"));
        assert!(passes_whole(&lab.fri, "10.8.0.1", 1392), "{remote}");
        assert!(passes_whole(&lab.mon, "10.8.0.2", 1392), "{remote}");
        assert!(!passes_whole(&lab.fri, "10.8.0.1", 1393), "{remote}");
        lab::tun::stop(&lab.fri);
    }
    assert_eq!(fragments(&lab.mon) + fragments(&lab.fri), 0);
}

#[test]
fn a_link_of_1280_bytes_on_the_callers_side_still_passes_tcp() {
    for version in ["192.0.2.1", "2001:db8:1::1"] {
        let Some(lab) = tun_lab("narrow", "") else { return };
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {version}/' {}", lab::tun::CALLER));
        lab.fri.ok(&["ip", "link", "set", "eth0", "mtu", "1280"]);
        call(&lab.fri, &[]);
        eventually(version, SOON, || answers(&lab.fri, "10.8.0.1"));
        transfer(&lab.fri, &lab.mon, "10.8.0.1", 2);
        lab.fri.kill("HUP", lab.fri.endpoints()[0].pid());
        lab.mon.wait_for_logs("peer authenticated", 2, SOON);
        transfer(&lab.fri, &lab.mon, "10.8.0.1", 2);
        assert_eq!(lab.fri.logged("narrower than 1500 bytes"), 1, "found anew in every session");
        // The other end cannot know, but its TCP is told.
        transfer(&lab.mon, &lab.fri, "10.8.0.2", 2);
        assert_eq!(fragments(&lab.fri), 0);
    }
}

/// As behind most DSL modems: the tunnel's packets still fit, if the datagrams are not made as short as they can be.
#[test]
fn a_link_of_1492_bytes_carries_whole_packets_from_the_first_one_on() {
    for version in ["192.0.2.1", "2001:db8:1::1"] {
        let Some(lab) = tun_lab("dsl", "") else { return };
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {version}/' {}", lab::tun::CALLER));
        let whole = if version.contains(':') { 1492 - 48 - 25 } else { 1420 };
        for host in [&lab.fri, &lab.mon] {
            host.ok(&["ip", "link", "set", "eth0", "mtu", "1492"]);
        }
        call(&lab.fri, &[]);
        let size = (whole - 28).to_string();
        let sent = [&lab.fri, &lab.mon].map(datagrams_sent);
        let ping = lab.fri.run(&["ping", "-n", "-c", "20", "-i", "0.02", "-s", &size, "10.8.0.1"]);
        assert!(
            ping.status.success() && String::from_utf8_lossy(&ping.stdout).contains(" 20 received"),
            "{ping:?}"
        );
        let sent =
            [(&lab.fri, sent[0]), (&lab.mon, sent[1])].map(|(host, before)| datagrams_sent(host) - before);
        // A few beside them: the handshake, its confirmation, what tries the path. Cut packets would be 40.
        assert!(
            sent.iter().all(|sent| (20..32).contains(sent)),
            "{sent:?} datagrams for 20 packets each way"
        );
        // Over IPv4 all that the tunnel has to send passes.
        let narrow = usize::from(version.contains(':'));
        assert_eq!(lab.fri.logged(&format!("cutting datagrams at {} bytes", 1492 - 48)), narrow);
        assert_eq!(fragments(&lab.mon) + fragments(&lab.fri), 0);
    }
}

#[test]
fn a_hundred_megabytes_pass_through_tun_and_tap_unharmed_and_memory_stays_small() {
    let Some(lab) = tap_lab("bulk") else { return };
    call(&lab.fri, &[]);
    eventually("tun and tap are up", SOON, || {
        answers(&lab.fri, "10.8.0.1") && answers(&lab.fri, "192.168.8.1")
    });
    for (device, from, to, address) in [
        ("tun", &lab.fri, &lab.mon, "10.8.0.1"),
        ("tun, back", &lab.mon, &lab.fri, "10.8.0.2"),
        ("tap", &lab.fri, &lab.mon, "192.168.8.1"),
        ("tap, back", &lab.mon, &lab.fri, "192.168.8.2"),
    ] {
        let took = transfer(from, to, address, 100);
        println!("{device}: {:.2} Gbit/s", 100.0 * 8.388_608 / 1000.0 / took.as_secs_f64());
    }
    for host in [&lab.mon, &lab.fri] {
        let endpoints = host.endpoints();
        assert_eq!(endpoints.len(), 2);
        for endpoint in endpoints {
            let peak: u64 = endpoint.field("VmHWM").trim_end_matches(" kB").parse().unwrap();
            println!("peak memory: {peak} KiB");
            assert!(peak <= MEMORY, "{peak} KiB");
        }
    }
}

/// Sends so many MiB of random bytes by TCP and compares what arrives. Returns how long that took.
fn transfer(from: &Host, to: &Host, address: &str, mebibytes: usize) -> Duration {
    let sum = from.sh(&format!("head -c {mebibytes}M /dev/urandom >/run/data && sha256sum </run/data"));
    let receiver = to.spawn(&["socat", "-u", "TCP-LISTEN:5000,reuseaddr", "OPEN:/run/arrived,creat,trunc"]);
    eventually("the receiver listens", SOON, || !to.sh("ss -Hltn sport = 5000").is_empty());
    let start = Instant::now();
    from.ok(&["timeout", "60", "socat", "-u", "OPEN:/run/data", &format!("TCP:{address}:5000")]);
    let mut receiver = receiver;
    receiver.0.wait().unwrap();
    let took = start.elapsed();
    assert_eq!(to.sh("sha256sum </run/arrived"), sum);
    to.sh("rm /run/arrived");
    from.sh("rm /run/data");
    took
}
