//! What is left when a process is gone, and what is somebody else's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::tun::{CALLER, LISTENER, answers, call, caller, complaints, napping, stop, tun_lab};
use lab::{Host, SOON, eventually};
use std::time::{Duration, Instant};

/// How soon nothing may be left.
const GONE: Duration = Duration::from_secs(1);

#[test]
fn a_killed_process_leaves_no_device_and_no_route_and_its_name_is_free() {
    let Some(lab) = tun_lab("killed-often", "dev tun5\nroute 203.0.113.0 255.255.255.0 net_gateway\n") else {
        return;
    };
    lab.fri.append(CALLER, "dev tun5\nroute 203.0.113.0 255.255.255.0 net_gateway\nroute remote_host 255.255.255.255 net_gateway\n");
    let before = [&lab.mon, &lab.fri].map(Host::routes);
    let rounds = by_length(3, 25);
    let (mut slowest, mut slowest_routes) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        call(&lab.fri, &[]);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        for (host, before) in [&lab.mon, &lab.fri].into_iter().zip(&before) {
            assert!(
                host.has_device("tun5") && host.routes().contains("203.0.113.0/24 via"),
                "{}",
                host.routes()
            );
            let pid = host.endpoints()[0].pid();
            let start = Instant::now();
            host.kill("KILL", pid);
            eventually("the device is gone", SOON, || !host.has_device("tun5"));
            slowest = slowest.max(start.elapsed());
            eventually("the routes are gone", SOON, || host.routes() == *before);
            slowest_routes = slowest_routes.max(start.elapsed());
        }
        for host in [&lab.mon, &lab.fri] {
            // What the caller sent before its own end may have woken another listener, which lingers for ten seconds.
            eventually("helpers are gone", SOON * 2, || host.ours().is_empty());
        }
    }
    figure(
        24,
        &format!(
            "{} times kill -9: device gone after {} ms at most, routes of all kinds after {} ms, the same name worked again each time",
            2 * rounds,
            slowest.as_millis(),
            slowest_routes.as_millis()
        ),
    );
    assert!(slowest < GONE && slowest_routes < GONE, "{slowest:?} {slowest_routes:?}");
}

/// Devices of other people: how they make them.
const FOREIGN: &[(&str, &str)] = &[
    ("a persistent tun", "ip tuntap add dev tun5 mode tun user 65534"),
    ("a persistent tap", "ip tuntap add dev tun5 mode tap"),
    ("a persistent tun of many queues", "ip tuntap add dev tun5 mode tun multi_queue"),
    ("a bridge", "ip link add tun5 type bridge"),
    ("a veth", "ip link add tun5 type veth peer name tun6"),
    ("a dummy", "ip link add tun5 type dummy"),
];

#[test]
fn somebody_elses_device_is_left_alone_by_both_ends() {
    let Some(lab) = tun_lab("foreign", "") else { return };
    let plain = lab.mon.read(LISTENER);
    let mut tried = 0;
    for (what, make) in FOREIGN.iter().take(by_length(4, FOREIGN.len())) {
        let Ok(()) = made(&lab.mon, make).and(made(&lab.fri, make)) else {
            println!("no {what} on this machine");
            continue;
        };
        let before = [&lab.mon, &lab.fri].map(portrait);
        for _ in 0..2 {
            let refused = lab.fri.run(&caller(&["--daemon", "--dev", "tun5"]));
            let said = complaints(&refused);
            assert_eq!(refused.status.code(), Some(69), "{what}: {said:?}");
            assert!(
                said.len() == 1 && said[0].contains("create tun5: a device of that name exists"),
                "{what}: {said:?}"
            );
        }
        // The listener hears of it when it is called.
        lab.mon.write(LISTENER, &format!("{plain}dev tun5\n"));
        let refusals = lab.mon.logged("create tun5: a device of that name exists");
        call(&lab.fri, &[]);
        lab.mon.wait_for_logs("create tun5: a device of that name exists", refusals + 1, SOON);
        stop(&lab.fri);
        // Killed in the moment in which it could be at it.
        call(&lab.fri, &[]);
        lab.mon.sh("busybox killall -KILL naptun || true");
        stop(&lab.fri);
        lab.mon.sh("busybox killall -KILL naptun || true");
        // A number of the kernel's choice goes round it.
        lab.mon.write(LISTENER, &plain);
        for host in [&lab.mon, &lab.fri] {
            eventually("nobody is left", SOON, || host.ours().is_empty());
        }
        call(&lab.fri, &[]);
        eventually("a tunnel beside it", SOON, || answers(&lab.fri, "10.8.0.1"));
        let pids = [&lab.mon, &lab.fri].map(|host| host.endpoints()[0].pid());
        lab.fri.kill("KILL", pids[1]);
        lab.mon.kill("KILL", pids[0]);
        for (host, before) in [&lab.mon, &lab.fri].into_iter().zip(&before) {
            eventually("ours is gone", SOON, || napping(host));
            assert_eq!(portrait(host), *before, "{what} was touched");
            host.sh("ip link del tun5");
        }
        tried += 1;
    }
    figure(
        24,
        &format!(
            "{tried} kinds of somebody else's device of that name: refused with a line, untouched by two callers, two wakes, two tunnels beside it that were killed, each"
        ),
    );
    assert!(tried >= 4, "{tried}");
}

/// Makes the device and gives it what one could lose.
fn made(host: &Host, make: &str) -> Result<(), ()> {
    let rest = "ip link set tun5 mtu 1300 txqueuelen 77 alias theirs && ip address add 10.77.0.1/24 dev tun5 && ip link set tun5 up && ip route add 10.78.0.0/24 dev tun5";
    host.run(&["sh", "-c", &format!("{make} && {rest}")]).status.success().then_some(()).ok_or(())
}

/// All that `ip` tells of it, but for what runs by itself: a bridge's timers, the trial of an IPv6 address.
fn portrait(host: &Host) -> String {
    let told = host.sh(
        "ip -d link show dev tun5; ip address show dev tun5; ip route show dev tun5; ip -6 route show dev tun5",
    );
    let mut words = told.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "tentative" => {}
            timer if timer.ends_with("_timer") => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}
