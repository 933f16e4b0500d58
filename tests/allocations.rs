//! The real program under traffic, with an allocator that counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::process::Command;

use lab::tun::{CALLER, LISTENER, caller};
use lab::{Host, Lab, Running, SOON, eventually};

/// Keepalives and what else has a deadline: some a second, whatever the traffic.
const BESIDE_PACKETS: u64 = 40;

/// Compiles the counting allocator into a place that every host sees.
fn counter(lab: &Lab) -> String {
    let library = format!("{}/allocations.so", lab.dir().display());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/allocations.c");
    let compiled =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o", &library, source]).status().unwrap();
    assert!(compiled.success());
    library
}

/// Starts an endpoint in the foreground with the counter.
fn start(host: &Host, library: &str, words: &[&str]) -> Running {
    let (preload, file) = (format!("LD_PRELOAD={library}"), "ALLOCATIONS=/run/allocations");
    host.spawn(&[&["env", &preload, file], words].concat())
}

fn allocations(host: &Host) -> u64 {
    let bytes = std::fs::read(host.path("/run/allocations")).unwrap();
    u64::from_ne_bytes(bytes[..8].try_into().unwrap())
}

/// What tun0 has carried, both ways; a burst counts as one.
fn packets(host: &Host) -> u64 {
    let counters = host.sh("cat /sys/class/net/tun0/statistics/[rt]x_packets");
    counters.lines().map(|line| line.parse::<u64>().unwrap()).sum()
}

#[test]
fn packets_cost_no_allocation() {
    for (name, more) in [("allocations", ""), ("allocations-plain", "disable-offload\n")] {
        let Some(lab) = Lab::new(name) else { return };
        let library = counter(&lab);
        lab.mon.append(LISTENER, &format!("inactive 0\n{more}"));
        lab.fri.append(CALLER, more);
        let _listener = start(
            &lab.mon,
            &library,
            &["naptun", "--port", "1417", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf"],
        );
        eventually("the listener is there", SOON, || !lab.mon.sh("ss -Huln sport = 1417").is_empty());
        let _caller = start(&lab.fri, &library, &caller(&[]));
        eventually("tunnel", SOON, || lab::tun::answers(&lab.fri, "10.8.0.1"));
        let _server = lab.mon.spawn(&["iperf3", "-s"]);
        eventually("iperf3 listens", SOON, || !lab.mon.sh("ss -Hltn sport = 5201").is_empty());
        let traffic = |seconds: &str| {
            for way in [&["-P", "1"][..], &["-R"], &["-u", "-b", "50M", "-l", "64"]] {
                lab.fri.ok(&[&["iperf3", "-c", "10.8.0.1", "-t", seconds], way].concat());
            }
            lab.fri.ok(&["ping", "-q", "-c", "100", "-i", "0.002", "10.8.0.1"]);
        };
        traffic("1");
        for _ in 0..2 {
            let before = [&lab.mon, &lab.fri].map(|host| (allocations(host), packets(host)));
            traffic("2");
            for (host, (allocated, passed)) in [&lab.mon, &lab.fri].into_iter().zip(before) {
                let (allocated, passed) = (allocations(host) - allocated, packets(host) - passed);
                println!("{name}: {allocated} allocations, {passed} packets");
                assert!(passed > 10_000, "{passed} packets");
                assert!(allocated <= BESIDE_PACKETS, "{allocated} allocations for {passed} packets");
            }
        }
        for host in [&lab.mon, &lab.fri] {
            assert!(allocations(host) > 100, "the counter does not count");
            lab::tun::stop(host);
        }
    }
}
