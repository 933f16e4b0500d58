//! The life of the process: naps, signals, sudden death.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{LISTENER, UP, answers, call, caller, complaints, napping, quiet_lab, rubbish, stop, tun_lab};
use lab::{Lab, SOON, eventually};
use std::io::Read;
use std::time::{Duration, Instant};

/// How soon traffic flows again after a sudden death.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn a_listener_of_a_super_server_naps_after_five_minutes_by_default() {
    let Some(lab) = tun_lab("default-nap", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    lab.mon.wait_for_log("started launch=inetd port=1417 inactive=300", SOON);
    lab.fri.wait_for_log("started launch=caller port=1417", SOON);
    assert_eq!(lab.fri.logged("inactive="), 0, "a caller naps by default");
}

#[test]
fn traffic_below_the_bytes_of_inactive_does_not_keep_a_listener_awake() {
    let Some(lab) = tun_lab("bytes", "inactive 2 1000\n") else { return };
    call(&lab.fri, &[]);
    // Two packets of 900 bytes each half second, for longer than the time-out.
    lab.fri.ok(&["ping", "-n", "-i", "0.5", "-c", "9", "-s", "900", "10.8.0.1"]);
    assert_eq!(lab.mon.logged("closed reason=inactive"), 0, "large packets are traffic");
    // Of 28 bytes, 224 in two seconds.
    let ping = lab.fri.run(&["ping", "-n", "-i", "0.5", "-c", "9", "-W", "5", "-s", "0", "10.8.0.1"]);
    assert!(lab.mon.logged("closed reason=inactive") > 0, "small packets are not enough");
    assert!(ping.status.success());
}

#[test]
fn an_idle_caller_ends_and_takes_the_listener_with_it() {
    let Some(lab) = tun_lab("idle-caller", "") else { return };
    call(&lab.fri, &["--inactive", "2"]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    eventually("both ends are gone", SOON, || napping(&lab.fri) && napping(&lab.mon));
    lab.fri.wait_for_log("closed reason=inactive", SOON);
    lab.mon.wait_for_log("peer says bye reason=exit", SOON);
    lab.mon.wait_for_log("closed reason=remote-exit", SOON);
}

#[test]
fn a_listener_killed_at_any_moment_is_back_within_five_seconds() {
    let Some(lab) = tun_lab("killed", "inactive 1\n") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    for (moment, after) in [
        ("while it wakes", 0),
        ("with its device just made", 15),
        ("while packets flow", 300),
        ("shortly before its nap", 990),
        ("while it says bye", 1010),
    ] {
        eventually("the listener naps", SOON, || napping(&lab.mon));
        let _traffic = lab.fri.spawn(&["ping", "-n", "-c", "1", "10.8.0.1"]);
        eventually("the listener wakes", SOON, || !lab.mon.ours().is_empty());
        std::thread::sleep(Duration::from_millis(after));
        lab.mon.sh("busybox killall -KILL naptun || true");
        let start = Instant::now();
        eventually(moment, SOON, || answers(&lab.fri, "10.8.0.1"));
        println!("killed {moment}: {:.1} s", start.elapsed().as_secs_f32());
        assert!(start.elapsed() < BACK, "killed {moment}: {:?}", start.elapsed());
    }
    let lines = lab.mon.log().lines().filter(|line| line.contains("xinetd[")).count();
    assert!(lines < 50, "{lines} lines of xinetd");
}

#[test]
fn a_killed_caller_leaves_nothing_and_the_next_one_is_served_at_once() {
    let Some(lab) = tun_lab("killed-caller", "") else { return };
    let before = lab.fri.routes();
    let past = ["--route", "203.0.113.0", "255.255.255.0", "net_gateway"];
    for _ in 0..2 {
        call(&lab.fri, &past);
        let start = Instant::now();
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
        assert!(start.elapsed() < BACK, "served after {:?}", start.elapsed());
        assert!(lab.fri.routes().contains("203.0.113.0/24 via 198.51.100.254"));
        lab.fri.kill("KILL", lab.fri.endpoints()[0].pid());
        eventually("device, routes and helpers are gone", SOON, || napping(&lab.fri));
        assert_eq!(lab.fri.routes(), before);
    }
    assert_eq!(lab.mon.logged("started launch"), 1, "the same listener served both");
}

#[test]
fn sigterm_and_sigint_end_both_ends_in_good_order() {
    let Some(lab) = tun_lab("sigterm", "") else { return };
    for (round, signal) in [(1, "TERM"), (2, "INT")] {
        let mut process = lab.fri.spawn(&caller(&[]));
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        lab.fri.kill(signal, lab.fri.endpoints()[0].pid());
        let code = process.0.wait().unwrap().code();
        assert_eq!(code, Some(0), "SIG{signal}");
        let mut said = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let last = said.lines().last().unwrap_or_default();
        for word in ["closed", "in_packets=", "out_bytes=", "rejects=0", &format!("reason=SIG{signal}")] {
            assert!(last.contains(word), "{word}: {said}");
        }
        lab.mon.wait_for_logs("closed reason=remote-exit", round, SOON);
        eventually("nothing is left", SOON, || napping(&lab.fri) && napping(&lab.mon));
    }
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    lab.mon.kill("TERM", lab.mon.endpoints()[0].pid());
    lab.mon.wait_for_log("closed reason=SIGTERM", SOON);
    lab.fri.wait_for_log("peer says bye reason=exit", SOON);
    eventually("the listener is gone", SOON, || napping(&lab.mon));
    assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0, "the next packet wakes another");
}

#[test]
fn sighup_ends_a_listener_of_a_super_server_and_makes_a_caller_call_anew() {
    let Some(lab) = tun_lab("sighup", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let process = lab.fri.endpoints()[0].pid();
    for signal in ["HUP", "USR1"] {
        let sessions = lab.mon.logged("peer authenticated");
        lab.fri.kill(signal, process);
        lab.mon.wait_for_logs("peer authenticated", sessions + 1, SOON);
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
        assert_eq!(lab.fri.endpoints()[0].pid(), process);
    }
    assert_eq!(lab.fri.logged(UP), 1);
    lab.fri.kill("USR2", process);
    lab.fri.wait_for_log("statistics in_packets=7 ", SOON);

    lab.mon.kill("HUP", lab.mon.endpoints()[0].pid());
    lab.mon.wait_for_log("closed reason=SIGHUP", SOON);
    eventually("the listener is gone", SOON, || napping(&lab.mon));
    assert!(answers(&lab.fri, "10.8.0.1"));
}

#[test]
fn a_second_process_of_the_same_tunnel_finds_the_first() {
    let Some(lab) = quiet_lab("second", "") else { return };
    lab.mon.ok(&["naptun", "--port", "1417", "--daemon", "--config", LISTENER, "--cd", "/etc/naptun"]);
    let first = lab.mon.endpoints()[0].pid();
    let state = lab.mon.sh("ls /var/lib/naptun");
    assert!(state.starts_with("tun-mon-fri-") && state.trim_end().ends_with(".state"), "{state}");
    // In a network of its own the port is free: so is the one of a restarted super-server.
    let second = lab.mon.run(&[
        "unshare",
        "-n",
        "naptun",
        "--port",
        "1417",
        "--config",
        LISTENER,
        "--cd",
        "/etc/naptun",
    ]);
    let said = complaints(&second);
    assert_eq!(second.status.code(), Some(75), "{said:?}");
    assert!(said.last().unwrap().contains(&format!("process {first} runs this tunnel")), "{said:?}");
    stop(&lab.mon);
}

/// A tunnel that is up, xinetd restarted, and the listener that the first one started. xinetd leaves its servers running
/// when it ends, on sockets that its successor's hide.
fn with_another_xinetd(name: &str) -> Option<(Lab, u32)> {
    let lab = tun_lab(name, "")?;
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    let old = lab.mon.endpoints()[0].pid();
    lab.mon.sh("kill $(cat /run/xinetd.pid)");
    eventually("xinetd is gone", SOON, || lab.mon.processes("xinetd").is_empty());
    lab.mon.xinetd();
    Some((lab, old))
}

#[test]
fn a_restarted_super_server_gets_its_tunnel_back_when_the_peer_calls_and_not_for_rubbish() {
    let Some((lab, old)) = with_another_xinetd("restarted") else { return };

    lab.fri.ok(&["perl", "-e", &rubbish(20, 0.05, "198.51.100.1")]);
    lab.mon.wait_for_log(&format!("process {old} runs this tunnel, waiting for the peer"), SOON);
    let door = lab.mon.processes("naptun-door");
    assert_eq!(door.len(), 1);
    assert!(door[0].uids().iter().all(|uid| *uid != 0) && door[0].field("Seccomp") == "2");
    assert!(lab.mon.has_device("tun0") && lab.mon.endpoints().iter().any(|it| it.pid() == old));

    let start = Instant::now();
    eventually("the peer is served anew", SOON, || answers(&lab.fri, "10.8.0.1"));
    println!("up again {:.1} s after the first packet", start.elapsed().as_secs_f64());
    assert_eq!(lab.mon.logged(&format!("ending process {old} with SIGTERM")), 1);
    assert_eq!(lab.mon.logged("with SIGKILL"), 0);
    let endpoints = lab.mon.endpoints();
    assert!(endpoints.len() == 1 && endpoints[0].pid() != old, "{endpoints:?}");
    assert_eq!(lab.mon.devices().iter().filter(|name| name.starts_with("tun")).count(), 1);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
}

#[test]
fn a_process_that_waits_for_another_takes_its_place_when_that_one_ends() {
    let Some((lab, old)) = with_another_xinetd("found") else { return };
    lab.fri.ok(&["perl", "-e", &rubbish(2, 0.05, "198.51.100.1")]);
    lab.mon.wait_for_log("waiting for the peer", SOON);
    lab.mon.kill("TERM", old);
    lab.mon.wait_for_logs("started launch=inetd", 2, SOON);
    eventually("no door is kept", SOON, || lab.mon.processes("naptun-door").is_empty());
    eventually("the peer is served", SOON, || answers(&lab.fri, "10.8.0.1"));
    assert_eq!(lab.mon.logged("ending process"), 0);
    assert_eq!(lab.mon.endpoints().len(), 1);
}
