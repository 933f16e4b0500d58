//! `mssfix` in OpenVPN's three ways of counting: the segment size that a connection through the tunnel agrees on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::io::{BufRead as _, BufReader};

use lab::tun::{CALLER, LISTENER, answers, call, stop, tun_lab};
use lab::{Lab, SOON, eventually};

/// What naptun puts around a packet inside the tunnel.
const AROUND: u16 = 25;

/// Headers of IPv4 and TCP without options; IPv6 is so much longer.
const SEGMENT: u16 = 40;
const LONGER: u16 = 20;

/// The segment size that fri offers a host behind mon in its SYN, as it comes out of the tunnel.
fn offered(lab: &Lab, target: &str) -> u16 {
    let filter = "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[6] == 6 and ip6[53] & 2 != 0)";
    let mut tcpdump = lab.mon.spawn(&["tcpdump", "-nvl", "-i", "tun0", "-c", "1", "-Q", "in", filter]);
    let mut said = BufReader::new(tcpdump.0.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("listening on")), "tcpdump does not start");
    // Nobody listens there: the first packet is all that matters.
    let _ = lab.fri.run(&["busybox", "nc", "-w", "1", target, "9"]);
    let out = BufReader::new(tcpdump.0.stdout.take().unwrap());
    let line = out.lines().map(Result::unwrap).find(|line| line.contains("[mss ")).expect("a SYN");
    let number = line.split_once("[mss ").unwrap().1.split([',', ']']).next().unwrap();
    number.parse().unwrap()
}

/// The tunnel with these flags of the caller; the listener leaves TCP alone.
fn with(lab: &Lab, flags: &[&str]) {
    call(&lab.fri, flags);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
}

#[test]
fn each_way_of_counting_leads_to_its_segment_size_and_none_to_more_than_passes_whole() {
    let Some(lab) = tun_lab("mssfix", "mssfix 0\ntun-mtu 1500\nifconfig-ipv6 fd08::1/64 fd08::2\n") else {
        return;
    };
    lab.fri.append(CALLER, "tun-mtu 1500\nifconfig-ipv6 fd08::2/64 fd08::1\n");
    assert!(lab.mon.read(LISTENER).contains("mssfix 0"));
    let most = 1500 - 28 - AROUND - SEGMENT;
    let cases: &[(&[&str], u16)] = &[
        (&[], most),
        (&["--mssfix"], 1492 - 28 - AROUND - SEGMENT),
        (&["--mssfix", "1300"], 1300 - AROUND - SEGMENT),
        (&["--mssfix", "1300", "mtu"], 1300 - 28 - AROUND - SEGMENT),
        (&["--mssfix", "1200", "fixed"], 1200),
        (&["--mssfix", "1460", "fixed"], most),
        (&["--mssfix", "9000"], most),
        (&["--mssfix", "0"], 1460),
    ];
    for (flags, expected) in cases {
        with(&lab, flags);
        let (over_ipv4, over_ipv6) = (offered(&lab, "10.8.0.1"), offered(&lab, "fd08::1"));
        assert_eq!((over_ipv4, over_ipv6), (*expected, expected - LONGER), "{flags:?}");
        stop(&lab.fri);
    }
    // The header of IPv6 outside is 20 bytes longer as well.
    with(&lab, &["--remote", "mon6", "--mssfix", "1300", "mtu"]);
    assert_eq!(offered(&lab, "10.8.0.1"), 1300 - 48 - AROUND - SEGMENT);
}

#[test]
fn frames_of_a_tap_count_with_their_own_header() {
    let Some(lab) = Lab::new("mssfix-tap") else { return };
    for (host, other, conf) in [(&lab.mon, "1", "tap-mon-fri.conf"), (&lab.fri, "2", "tap-fri-mon.conf")] {
        let remote = if other == "2" { "remote mon\n" } else { "mssfix 0\ndev tun0\ndev-type tap\n" };
        host.write(
            &format!("/etc/naptun/{conf}"),
            &format!("secret static.key\ndev tap\nifconfig 10.9.0.{other} 255.255.255.0\nverb 3\n{remote}"),
        );
    }
    lab.mon.xinetd();
    let call = |more: &[&str]| {
        let words = ["naptun", "--daemon", "--cd", "/etc/naptun", "--port", "timbuktu-srv2"];
        lab.fri.ok(&[&words, &["--config", "tap-fri-mon.conf"][..], more].concat());
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.9.0.1"));
    };
    for (flags, expected) in
        [(&["--mssfix", "1300"][..], 1300 - AROUND - 14 - SEGMENT), (&["--mssfix", "1200", "fixed"], 1200)]
    {
        call(flags);
        assert_eq!(offered(&lab, "10.9.0.1"), expected, "{flags:?}");
        stop(&lab.fri);
    }
}
