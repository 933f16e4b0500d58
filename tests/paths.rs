//! Row 28 of doc/threats.md: paths that are narrower than they look, tell nobody, and change; and lies about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::icmp::too_big;
use lab::transfer::{Transfer, Way, pings};
use lab::tun::{CALLER, answers, call, stop, tun_lab};
use lab::{Lab, SOON, eventually};
use std::net::SocketAddr;
use std::time::Duration;

const MB: u64 = 1_000_000;
/// The longest that one transfer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until a path is known.
const KNOWN: Duration = Duration::from_secs(1);
/// Echo requests that fill the MTU of a tun, of a tap.
const WHOLE: usize = 1420 - 28;
const WHOLE_FRAME: usize = 1500 - 28;

/// What the protocol puts around a packet, and what TCP over IPv4 with time stamps puts in front.
const AROUND: u64 = 25;
const TCP: u64 = 52;

/// mon's and fri's addresses outside.
const OUTSIDE: [[&str; 2]; 2] = [["192.0.2.1", "198.51.100.1"], ["2001:db8:1::1", "2001:db8:2::1"]];

/// Has the router count what a test asks for, and say nothing about narrow links if it is to be `silent`.
fn watched(lab: &Lab, silent: bool) {
    let drop = if silent { "drop" } else { "accept" };
    lab.net.sh(&format!(
        "nft -f - <<END
table inet watch {{
    counter fragments {{ }}
    counter to_mon {{ }}
    counter to_fri {{ }}
    counter long {{ }}
    chain before {{
        type filter hook prerouting priority -450; policy accept;
        ip frag-off & 0x3fff != 0 counter name fragments
        exthdr frag exists counter name fragments
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname fri udp dport {{ 1417, 1418 }} meta length > 1400 counter name to_mon
        iifname mon udp sport {{ 1417, 1418 }} meta length > 1400 counter name to_fri
        udp dport {{ 1417, 1418 }} meta length > 700 counter name long
    }}
    chain out {{
        type filter hook output priority 0; policy accept;
        icmp type destination-unreachable {drop}
        icmpv6 type packet-too-big {drop}
    }}
}}
END"
    ));
}

/// What a counter of the router has seen.
fn counted(lab: &Lab, counter: &str) -> u64 {
    let printed = lab.net.ok(&["nft", "list", "counter", "inet", "watch", counter]);
    let packets = printed.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    packets.unwrap_or_else(|| panic!("{printed}"))
}

/// Has every datagram cross the wire, and be counted, by itself.
fn one_by_one(lab: &Lab) {
    for host in [&lab.mon, &lab.fri] {
        host.ok(&["ip", "link", "set", "eth0", "gso_max_size", "1500"]);
    }
}

/// The router's links, both ways.
fn widen_or_narrow(lab: &Lab, mtu: u16) {
    for link in ["mon", "fri"] {
        lab.net.ok(&["ip", "link", "set", link, "mtu", &mtu.to_string()]);
    }
}

/// Ends and starts the caller, toward this address.
fn call_anew(lab: &Lab, remote: &str) {
    stop(&lab.fri);
    eventually("the listener is gone", SOON, || lab.mon.ours().is_empty());
    lab.fri.sh(&format!("sed -i 's/^remote .*/remote {remote}/' {CALLER}"));
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(KNOWN);
}

fn both_ways(lab: &Lab, [mon, fri]: [&str; 2], bytes: u64) -> [Transfer; 2] {
    let there = Way::new(&lab.fri, &lab.mon, mon).transfer(bytes, PATIENCE, |_| {});
    let back = Way::new(&lab.mon, &lab.fri, fri).transfer(bytes, PATIENCE, |_| {});
    for transfer in [there, back] {
        assert_eq!(transfer.bytes, bytes, "TCP does not complete: {there:?} {back:?}");
    }
    [there, back]
}

const TUN: [&str; 2] = ["10.8.0.1", "10.8.0.2"];
const TAP: [&str; 2] = ["192.168.8.1", "192.168.8.2"];
const CALL_TAP: &str = "naptun --port timbuktu-srv2 --daemon --cd /etc/naptun --config tap-fri-mon.conf";

#[test]
fn a_narrow_path_that_tells_nobody_carries_tcp_at_full_speed_once_it_is_known() {
    let Some(lab) = tun_lab("silent", "") else { return };
    watched(&lab, true);
    one_by_one(&lab);
    for ([mon, _], mtu) in OUTSIDE.into_iter().flat_map(|outside| [(outside, 1492), (outside, 1280)]) {
        // The machine has others to serve: the best of some rounds, as many as it takes.
        let mut best = [[0.0_f64; 2]; 2];
        let enough = |best: [[f64; 2]; 2]| {
            let mut ways = best[0].into_iter().zip(best[1]);
            ways.all(|(plain, narrow)| narrow >= 0.5 * f64::from(mtu) / 1500.0 * plain)
        };
        for round in 1..=8 {
            for (index, mtu) in [1500, mtu].into_iter().enumerate() {
                widen_or_narrow(&lab, mtu);
                call_anew(&lab, mon);
                let rates = both_ways(&lab, TUN, by_length(60, 100) * MB).map(|transfer| transfer.rate());
                best[index] = [0, 1].map(|way| best[index][way].max(rates[way]));
            }
            println!("{mon}, {mtu} bytes, round {round}: {best:?} MB/s");
            if round >= by_length(1, 2) && enough(best) {
                break;
            }
        }
        assert!(enough(best), "{mon}, {mtu} bytes: {best:?} MB/s");
        // And, whatever else the machine does, as fast as packets can be moved: no more datagrams than it takes.
        let before = counted(&lab, "long");
        let bytes = by_length(20, 100) * MB;
        both_ways(&lab, TUN, bytes);
        let datagrams = counted(&lab, "long") - before;
        let headers = if mon.contains(':') { 40 + 8 } else { 20 + 8 };
        let payload = (u64::from(mtu) - headers - AROUND).min(1420) - TCP;
        let least = 2 * bytes / payload;
        assert!(datagrams * 10 <= least * 11, "{mon}, {mtu} bytes: {datagrams} datagrams, {least} would do");
        assert_eq!(counted(&lab, "fragments"), 0, "{mon}, {mtu}");
        let [[plain, plain_back], [narrow, narrow_back]] = best;
        figure(
            28,
            &format!(
                "path of {mtu} bytes without ICMP, {}: {narrow:.0} and {narrow_back:.0} MB/s, of 1500 bytes \
                 {plain:.0} and {plain_back:.0}; {datagrams} datagrams where {least} would do, 0 IP fragments",
                if mon.contains(':') { "IPv6" } else { "IPv4" }
            ),
        );
    }
}

#[test]
fn a_narrow_path_is_no_black_hole_from_the_first_packet_on() {
    for ([mon, _], mtu) in OUTSIDE.into_iter().flat_map(|outside| [(outside, 1492), (outside, 1280)]) {
        let Some(lab) = tun_lab("first", "") else { return };
        watched(&lab, true);
        widen_or_narrow(&lab, mtu);
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {mon}/' {CALLER}"));
        call(&lab.fri, &[]);
        // IPv6 takes its time on a link whose MTU has just changed, and loses the first calls.
        lab.fri.wait_for_log("peer authenticated", SOON);
        let seen = pings(&lab.fri, "10.8.0.1", WHOLE, 4);
        // There and back: each end has to find its way.
        assert!(seen.longest_gap <= KNOWN * 3 / 2, "{mon}, {mtu}: {seen:?}");
        let small = Way::new(&lab.mon, &lab.fri, TUN[1]).transfer(MB, PATIENCE, |_| {});
        assert!(small.bytes == MB && small.longest_gap <= KNOWN, "{mon}, {mtu}: {small:?}");
        assert_eq!(counted(&lab, "fragments"), 0);
        figure(
            28,
            &format!(
                "first packets over a path of {mtu} bytes without ICMP, {}: there and back lost for {:.2} s",
                if mon.contains(':') { "IPv6" } else { "IPv4" },
                seen.longest_gap.as_secs_f64()
            ),
        );
    }
}

#[test]
fn a_path_that_narrows_under_a_transfer_stops_it_for_less_than_a_second() {
    let Some(lab) = tun_lab("narrows", "") else { return };
    watched(&lab, true);
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    let there = |address| Way::new(&lab.fri, &lab.mon, address);
    let back = |address| Way::new(&lab.mon, &lab.fri, address);
    let mut gaps = Vec::new();
    for (device, way) in [
        ("tun", there(TUN[0])),
        ("tun, back", back(TUN[1])),
        ("tap", there(TAP[0])),
        ("tap, back", back(TAP[1])),
    ] {
        // What fills a tun fits into 1473 bytes.
        for mtu in [1400, 1280] {
            // The machine has others to serve: the best of some, as many as it takes.
            let tries = (0..4).map(|_| narrowed_under_a_transfer(&lab, way, mtu));
            let mut seen = Vec::new();
            let short = tries.inspect(|gap| seen.push(*gap)).find(|gap| *gap <= KNOWN);
            println!("{device}, {mtu} bytes: {seen:?}");
            let gap = short.unwrap_or_else(|| panic!("{device}, {mtu} bytes: {seen:?}"));
            gaps.push((gap, format!("{device}, {mtu} bytes")));
        }
    }
    let (longest, what) = gaps.into_iter().max().unwrap();
    assert_eq!(counted(&lab, "fragments"), 0);
    figure(28, &format!("path narrowed under TCP: longest gap {:.2} s ({what})", longest.as_secs_f64()));
}

/// Narrows the path in the midst of a transfer. Returns for how long nothing arrived.
fn narrowed_under_a_transfer(lab: &Lab, way: Way, mtu: u16) -> Duration {
    widen_or_narrow(lab, 1500);
    // Both ends anew: they know of no narrow path.
    stop(&lab.fri);
    eventually("the listeners are gone", SOON, || lab.mon.ours().is_empty());
    call(&lab.fri, &[]);
    lab.fri.sh(CALL_TAP);
    eventually("it is up", SOON, || answers(way.from, way.address));
    std::thread::sleep(KNOWN);
    let bytes = by_length(150, 300) * MB;
    let mut narrowed = None;
    let went = way.transfer(bytes, PATIENCE, |count| {
        if count > bytes / 10 && narrowed.is_none() {
            widen_or_narrow(lab, mtu);
            narrowed = Some(count);
        }
    });
    assert_eq!(went.bytes, bytes, "TCP does not complete: {went:?}");
    assert!(narrowed.is_some_and(|count| count < bytes / 2), "narrowed after {narrowed:?} bytes");
    went.longest_gap
}

#[test]
fn pings_of_full_size_pass_a_second_after_the_path_has_narrowed() {
    let Some(lab) = tun_lab("narrowed", "") else { return };
    watched(&lab, true);
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.fri.sh(CALL_TAP);
    call(&lab.fri, &[]);
    eventually("tun and tap are up", SOON, || answers(&lab.fri, TUN[0]) && answers(&lab.fri, TAP[0]));
    std::thread::sleep(KNOWN);
    let fri = &lab.fri;
    let seen = std::thread::scope(|scope| {
        let streams = [(TUN[0], WHOLE), (TAP[0], WHOLE_FRAME)]
            .map(|(target, size)| scope.spawn(move || pings(fri, target, size, 6)));
        std::thread::sleep(Duration::from_secs(2));
        widen_or_narrow(&lab, 1280);
        streams.map(|stream| stream.join().unwrap())
    });
    for (device, seen) in ["tun", "tap"].into_iter().zip(seen) {
        assert!(seen.longest_gap < KNOWN * 2, "{device}: {seen:?}");
        figure(
            28,
            &format!("path narrowed under pings, {device}: lost for {:.2} s", seen.longest_gap.as_secs_f64()),
        );
    }
}

#[test]
fn forged_news_of_a_narrow_path_changes_nothing() {
    let Some(lab) = tun_lab("forged", "") else { return };
    watched(&lab, false);
    one_by_one(&lab);
    for outside in OUTSIDE {
        let ipv6 = outside[0].contains(':');
        call_anew(&lab, outside[0]);
        let [mon, fri] = outside.map(|address| SocketAddr::new(address.parse().unwrap(), 1417));
        let claims: &[u16] = if ipv6 { &[0, 576, 1280, 1300] } else { &[0, 68, 576, 1280] };
        let before = both_ways(&lab, TUN, MB);
        for claim in claims {
            too_big(&lab.net, fri, mon, *claim);
            too_big(&lab.net, mon, fri, *claim);
        }
        // It is real enough for the kernels.
        for (host, peer) in [(&lab.fri, outside[0]), (&lab.mon, outside[1])] {
            let route = host.ok(&["ip", "route", "get", peer]);
            assert!(route.contains(" mtu "), "nobody believes it: {route}");
        }
        let counts = || ["to_mon", "to_fri"].map(|counter| counted(&lab, counter));
        let sent = counts();
        let count = by_length(2, 30);
        let seen = pings(&lab.fri, TUN[0], WHOLE, count);
        assert_eq!(seen.answered, seen.sent, "{seen:?}");
        let sent = [0, 1].map(|way| counts()[way] - sent[way]);
        assert_eq!(sent, [seen.sent as u64; 2], "datagrams of full size for {} packets each way", seen.sent);
        let after = both_ways(&lab, TUN, by_length(20, 100) * MB);
        assert_eq!(counted(&lab, "fragments"), 0);
        for host in [&lab.mon, &lab.fri] {
            assert_eq!(host.logged("narrower"), 0);
        }
        println!("{before:?} {after:?}");
        figure(
            28,
            &format!(
                "forged fragmentation-needed, {}: {} of {} datagrams each way of full size, 0 IP fragments",
                if ipv6 { "IPv6" } else { "IPv4" },
                sent[0].min(sent[1]),
                seen.sent
            ),
        );
    }
}
