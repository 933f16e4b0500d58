//! The device goes away, or the network does: an endpoint ends or drops packets, never spins, and comes back where it can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;
mod procfs;

use figures::{by_length, figure};
use lab::tun::{answers, call, caller, napping, quiet_lab, tun_lab};
use lab::{Host, Lab, SOON, eventually};
use std::process::Command;
use std::time::{Duration, Instant};

/// More of a processor than this is spinning, in percent.
const SPINNING: f64 = 5.0;

/// What is done to a host, and how it is undone.
struct Outage {
    name: &'static str,
    host: Side,
    begin: &'static str,
    end: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Mon,
    Fri,
}

const OUTAGES: &[Outage] = &[
    Outage {
        name: "the caller's device down",
        host: Side::Fri,
        begin: "ip link set tun0 down",
        end: "ip link set tun0 up",
    },
    Outage {
        name: "the listener's device down",
        host: Side::Mon,
        begin: "ip link set tun0 down",
        end: "ip link set tun0 up",
    },
    Outage {
        name: "the caller's link down",
        host: Side::Fri,
        begin: "ip link set eth0 down",
        end: "ip link set eth0 up; ip route replace default via 198.51.100.254",
    },
    Outage {
        name: "the listener's link down",
        host: Side::Mon,
        begin: "ip link set eth0 down",
        end: "ip link set eth0 up; ip route replace default via 192.0.2.254",
    },
    Outage {
        name: "no address",
        host: Side::Fri,
        begin: "ip -4 address flush dev eth0",
        end: "ip address add 198.51.100.1/24 dev eth0; ip route replace default via 198.51.100.254",
    },
    Outage { name: "EPERM, caller", host: Side::Fri, begin: FILTER, end: "nft flush ruleset" },
    Outage { name: "EPERM, listener", host: Side::Mon, begin: FILTER, end: "nft flush ruleset" },
    Outage {
        name: "EHOSTUNREACH",
        host: Side::Fri,
        begin: "ip route add unreachable 192.0.2.1/32",
        end: "ip route del unreachable 192.0.2.1/32",
    },
];

const FILTER: &str = "nft add table inet out; nft add chain inet out out '{ type filter hook output priority 0; }'; nft add rule inet out out udp dport 1417 drop; nft add rule inet out out udp sport 1417 drop";

#[test]
fn no_outage_makes_an_endpoint_spin_and_after_each_it_is_back() {
    let Some(lab) = tun_lab("outages", "inactive 0\n") else { return };
    call(&lab.fri, &["--verb", "6"]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    let caller = lab.fri.endpoints()[0].pid();
    let (mut most, mut slowest) = (0.0_f64, Duration::ZERO);
    for outage in OUTAGES {
        let host = if outage.host == Side::Fri { &lab.fri } else { &lab.mon };
        let listener = lab.mon.endpoints()[0].pid();
        host.sh(outage.begin);
        let start = Instant::now();
        let taken =
            [(&lab.mon, listener), (&lab.fri, caller)].map(|(host, pid)| procfs::processor(host, pid));
        for _ in 0..by_length(1, 5) {
            // Both ends have something to say all the while.
            let _listener = lab.mon.spawn(&["ping", "-q", "-i", "0.05", "-w", "2", "10.8.0.2"]);
            let ping = lab.fri.run(&["ping", "-q", "-i", "0.05", "-w", "2", "10.8.0.1"]);
            assert!(!ping.status.success(), "{}: no outage", outage.name);
            std::thread::sleep(Duration::from_millis(100));
        }
        let passed = start.elapsed().as_secs_f64();
        for ((host, pid), before) in [(&lab.mon, listener), (&lab.fri, caller)].into_iter().zip(taken) {
            let share = 100.0 * (procfs::processor(host, pid).saturating_sub(before)).as_secs_f64() / passed;
            println!("{}: {share:.1} % in {passed:.0} s", outage.name);
            most = most.max(share);
        }
        host.sh(outage.end);
        let back = Instant::now();
        eventually(outage.name, SOON, || answers(&lab.fri, "10.8.0.1"));
        slowest = slowest.max(back.elapsed());
        assert_eq!(lab.fri.endpoints()[0].pid(), caller, "{}", outage.name);
    }
    figure(
        29,
        &format!(
            "{} outages of devices, links, addresses and filters: {most:.1} % of a processor at most, back {:.1} s later at most, the caller survived all",
            OUTAGES.len(),
            slowest.as_secs_f64()
        ),
    );
    assert!(most < SPINNING, "{most} %");
}

#[test]
fn a_deleted_device_ends_its_process_and_the_next_packet_wakes_another() {
    let mut slowest = Duration::ZERO;
    for tap in [false, true] {
        let Some(lab) = tun_lab("deleted", "") else { return };
        if tap {
            lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
        }
        let (device, target) = if tap { ("tap0", "192.168.8.1") } else { ("tun0", "10.8.0.1") };
        let words = match tap {
            false => caller(&[]),
            true => vec![
                "naptun",
                "--port",
                "timbuktu-srv2",
                "--cd",
                "/etc/naptun",
                "--config",
                "tap-fri-mon.conf",
            ],
        };
        let mut process = lab.fri.spawn(&words);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, target));
        for _ in 0..by_length(1, 5) {
            let listener = lab.mon.endpoints()[0].pid();
            let start = Instant::now();
            lab.mon.sh(&format!("ip link del {device}"));
            eventually("the listener ends", SOON, || {
                lab.mon.endpoints().iter().all(|process| process.pid() != listener)
            });
            slowest = slowest.max(start.elapsed());
            eventually("another is there", SOON + SOON, || answers(&lab.fri, target));
        }
        lab.mon.wait_for_log("the device was deleted or taken away", SOON);
        let start = Instant::now();
        lab.fri.sh(&format!("ip link del {device}"));
        eventually("the caller ends", SOON, || lab.fri.ours().is_empty());
        slowest = slowest.max(start.elapsed());
        let status = process.0.wait().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut process.0.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(status.code(), Some(69), "{said}");
        assert!(
            said.contains(&format!("read {device}: ")) && said.contains("the device was deleted"),
            "{said}"
        );
    }
    figure(
        29,
        &format!(
            "device deleted, tun and tap: its process has ended after {} ms at most, with the reason",
            slowest.as_millis()
        ),
    );
}

#[test]
fn a_bridge_that_goes_away_takes_no_processor_and_the_port_comes_back_to_the_next() {
    let Some(lab) = tun_lab("bridge-gone", "") else { return };
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.fri.ok(&[
        "naptun",
        "--port",
        "timbuktu-srv2",
        "--daemon",
        "--cd",
        "/etc/naptun",
        "--config",
        "tap-fri-mon.conf",
    ]);
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
    let listener = lab.mon.endpoints()[0].pid();
    lab.mon.sh("ip link del br0");
    let share = procfs::share(&lab.mon, listener, || {
        lab.fri.run(&["ping", "-q", "-i", "0.05", "-w", &by_length(2, 10).to_string(), "192.168.8.10"]);
    });
    // What is left of bridge-setup after that is the administrator's to clear away, as after any other crash.
    lab.mon.sh("ip address flush dev eth1; /etc/naptun/bridge-setup start");
    lab.mon.sh("ip link set tap0 master br0; ip link set tap0 up");
    eventually("the ethernet is one again", SOON, || answers(&lab.fri, "192.168.8.10"));
    figure(
        29,
        &format!(
            "bridge deleted under a tap: {share:.1} % of a processor, the same process served the next bridge"
        ),
    );
    assert!(share < SPINNING && lab.mon.endpoints()[0].pid() == listener, "{share} %");
}

/// A narrow way out: queues that are full at once, and queues so long that the socket's buffer is full first.
const NARROW: &[&str] = &["rate 1mbit burst 3000 limit 3000", "rate 1mbit burst 3000 limit 4000000"];

#[test]
fn a_way_out_that_is_full_costs_packets_and_no_processor() {
    let Some(lab) = tun_lab("full", "inactive 0\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    let seconds = by_length(3, 15).to_string();
    let pid = lab.fri.endpoints()[0].pid();
    let mut shares = Vec::new();
    for queue in NARROW {
        for (way, flags) in [("TCP", &["-P", "4"][..]), ("UDP", &["-u", "-b", "5M", "-l", "1200"])] {
            lab.fri.sh(&format!("tc qdisc replace dev eth0 root tbf {queue}"));
            let server = lab.mon.spawn(&["iperf3", "-s", "-1"]);
            eventually("iperf3 listens", SOON, || !lab.mon.sh("ss -Hltn sport = 5201").is_empty());
            let share = procfs::share(&lab.fri, pid, || {
                let words = ["timeout", "60", "iperf3", "-c", "10.8.0.1", "-t", &seconds];
                lab.fri.run(&[&words[..], flags].concat());
            });
            shares.push(format!("{way} {share:.1} %"));
            assert!(share < SPINNING, "{way} {queue}: {share} %");
            lab.fri.sh("tc qdisc del dev eth0 root");
            drop(server);
            eventually("wide again", SOON, || answers(&lab.fri, "10.8.0.1"));
            eventually("the server is gone", SOON, || lab.mon.sh("ss -Hltn sport = 5201").is_empty());
        }
    }
    figure(
        29,
        &format!(
            "traffic through a queue that is full, ENOBUFS and EAGAIN: {} of a processor",
            shares.join(", ")
        ),
    );
}

#[test]
fn sends_that_the_kernel_refuses_are_not_repeated_without_end() {
    // EAGAIN only comes while the socket is not writable, which the full queues of another test make it.
    const REFUSED: [(&str, i32); 4] = [
        ("ENOBUFS", libc::ENOBUFS),
        ("ENOMEM", libc::ENOMEM),
        ("ENETDOWN", libc::ENETDOWN),
        ("EINVAL", libc::EINVAL),
    ];
    let mut words = Vec::new();
    for (name, error) in REFUSED.into_iter().take(by_length(1, 4)) {
        let Some(lab) = tun_lab("refused", "") else { return };
        let library = format!("{}/refuse.so", lab.dir().display());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/refuse.c");
        let flags = ["-O2", "-shared", "-fPIC", "-o", &library, source, "-ldl"];
        assert!(Command::new("cc").args(flags).status().unwrap().success());
        let (preload, refuse) = (format!("LD_PRELOAD={library}"), format!("REFUSE={error}"));
        let _caller = lab.fri.spawn(&[&["env", &preload, &refuse][..], &caller(&[])].concat());
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        let pid = lab.fri.endpoints()[0].pid();
        let share = procfs::share(&lab.fri, pid, || {
            let ping =
                lab.fri.run(&["ping", "-q", "-i", "0.05", "-w", &by_length(2, 10).to_string(), "10.8.0.1"]);
            assert!(String::from_utf8_lossy(&ping.stdout).contains("packet loss"), "{ping:?}");
        });
        assert_eq!(lab.fri.endpoints()[0].pid(), pid, "{name} ended it");
        assert!(!answers(&lab.fri, "10.8.0.1"), "{name}: nothing is refused");
        words.push(format!("{name} {share:.1} %"));
        assert!(share < SPINNING, "{name}: {share} %");
    }
    figure(29, &format!("every send fails, 20 packets a second: {} of a processor", words.join(", ")));
}

#[test]
fn too_few_descriptors_are_told_and_do_not_make_a_super_server_spin() {
    // With fewer than four the dynamic linker finds no library.
    let limits: Vec<u32> = by_length(vec![4, 8, 20], (4..=20).collect());
    let mut most = 0.0_f64;
    let (mut told, mut worked) = (0, 0);
    for inetd in [false, true] {
        for &limit in &limits {
            let Some(lab) = quiet_lab("emfile", "") else { return };
            start(&lab, inetd, limit);
            call(&lab.fri, &[]);
            let before = children(&lab.mon, inetd);
            let start = Instant::now();
            std::thread::sleep(Duration::from_secs(by_length(2, 5)));
            let share = 100.0 * (children(&lab.mon, inetd) - before) / start.elapsed().as_secs_f64();
            println!("{limit} descriptors, inetd {inetd}: {share:.1} %");
            most = most.max(share);
            let up = answers(&lab.fri, "10.8.0.1");
            worked += usize::from(up);
            told += usize::from(!up && lab.mon.logged("daemon.err naptun[") > 0);
        }
    }
    figure(
        29,
        &format!(
            "EMFILE at start, {} limits, xinetd and inetd: {most:.1} % of a processor at most; {worked} came up, {told} said why not",
            2 * limits.len()
        ),
    );
    assert!(most < SPINNING, "{most} %");
}

/// A script takes the place of the program, since the line of an inetd has no room for another one.
fn start(lab: &Lab, inetd: bool, limit: u32) {
    let limited = format!("#!/bin/sh\nexec prlimit --nofile={limit}:{limit} /run/real-naptun \"$@\"\n");
    lab.mon.write_script("/run/limited", &limited);
    lab.mon.sh("touch /run/real-naptun; mount --bind /usr/sbin/naptun /run/real-naptun; mount --bind /run/limited /usr/sbin/naptun");
    if inetd { lab.mon.inetd() } else { lab.mon.xinetd() }
}

/// Seconds that a super-server and all that it has started and buried have taken.
fn children(host: &Host, inetd: bool) -> f64 {
    let name = if inetd { "inetd" } else { "xinetd" };
    let pid = host.processes(name)[0].pid();
    let stat = host.read(&format!("/proc/{pid}/stat"));
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime, stime, cutime, cstime: the 14th to 17th of proc(5).
    (11..15).map(|field| fields[field].parse::<f64>().unwrap() / 100.0).sum()
}

#[test]
fn a_listener_whose_peer_is_unreachable_naps_all_the_same() {
    let Some(lab) = tun_lab("unreachable", "inactive 2\n") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    lab.fri.sh("ip link set eth0 down");
    let start = Instant::now();
    eventually("the listener naps", SOON, || napping(&lab.mon));
    figure(
        29,
        &format!(
            "a listener that cannot say bye naps all the same, after {:.1} s instead of 2",
            start.elapsed().as_secs_f64()
        ),
    );
}
