//! What is said, where, and how often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::tun::{CALLER, UP, answers, call, caller, napping, quiet_lab, rubbish, stop, tun_lab};
use lab::{Host, SOON, eventually};
use std::io::Read;
use std::time::Duration;

#[test]
fn the_line_that_wrappers_wait_for_comes_once_and_only_when_the_tunnel_is_up() {
    let Some(lab) = quiet_lab("once", "inactive 1\n") else { return };
    call(&lab.fri, &[]);
    lab.fri.wait_for_log("no answer, trying for ever", SOON);
    assert_eq!(lab.fri.logged(UP), 0, "nobody has answered yet");
    lab.mon.xinetd();
    for wake in 1..=2 {
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        lab.mon.wait_for_logs(UP, wake, SOON);
        eventually("the listener naps", SOON, || napping(&lab.mon));
        assert_eq!((lab.mon.logged(UP), lab.fri.logged(UP)), (wake, 1));
    }
    for host in [&lab.mon, &lab.fri] {
        let log = host.log();
        let ours: Vec<&str> = log.lines().filter(|line| line.contains(" naptun[")).collect();
        assert!(!ours.is_empty() && ours.iter().all(|line| line.contains(" daemon.")), "{ours:?}");
    }
}

#[test]
fn the_exit_line_counts_rejects_by_reason() {
    let Some(lab) = tun_lab("rejects", "") else { return };
    assert_eq!(lab.fri.ok(&["perl", "-e", &rubbish(30, 0.01, "198.51.100.1")]), "0");
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    stop(&lab.fri);
    eventually("the listener is gone", SOON, || napping(&lab.mon));
    lab.mon.wait_for_log("rejects=30 unknown=30", SOON);
    let log = lab.mon.log();
    let last = log.lines().find(|line| line.contains("closed reason=remote-exit")).unwrap();
    for word in
        ["seconds=", "in_packets=1", "out_packets=1", "udp_in_bytes=", "dropped=0", "rejects=30 unknown=30"]
    {
        assert!(last.contains(word), "{word}: {last}");
    }
}

#[test]
fn verb_says_how_much_is_said() {
    let Some(lab) = tun_lab("verb", "") else { return };
    let said = |verb: &str| said_at(&lab.fri, verb);
    let [silent, milestones, normal, more, marks, all] = ["0", "1", "3", "4", "5", "9"].map(said);
    assert_eq!(silent, "");
    assert_eq!(milestones.lines().count(), 2, "{milestones}");
    assert!(milestones.contains(UP) && milestones.contains("closed reason=SIGTERM"), "{milestones}");
    for text in [&normal, &more, &marks, &all] {
        assert_eq!(text.matches(UP).count(), 1, "{text}");
        assert!(text.contains("started launch=caller") && text.contains("device up dev=tun0"), "{text}");
    }
    assert!("RWrw".chars().all(|mark| marks_in(&marks).contains(mark)), "no marks of a ping: {marks}");
    for text in [&normal, &more, &all] {
        assert_eq!(marks_in(text), "");
        let stamped = |line: &str| line.starts_with("20") && line.as_bytes()[4] == b'-';
        assert!(text.lines().all(stamped), "{text}");
    }
}

/// The lines that hold nothing but marks of packets.
fn marks_in(text: &str) -> String {
    let marks = |line: &&str| line.chars().all(|letter| "RWrw".contains(letter));
    text.lines().filter(marks).collect()
}

/// What a caller in the foreground prints from start to SIGTERM, with one ping in between.
fn said_at(fri: &Host, verb: &str) -> String {
    let mut process = fri.spawn(&caller(&["--verb", verb]));
    eventually("the tunnel is up", SOON, || answers(fri, "10.8.0.1"));
    stop(fri);
    process.0.wait().unwrap();
    let mut said = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_syslogd_that_is_restarted_absent_or_stuck_neither_loses_the_log_for_ever_nor_stalls_the_tunnel() {
    let Some(lab) = tun_lab("syslogd", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let process = lab.fri.endpoints()[0].pid();
    let statistics =
        || lab.fri.sh(&format!("for i in $(seq 60); do kill -USR2 {process}; sleep 0.005; done"));
    let syslogd = lab.fri.processes("busybox")[0].pid();
    let command = lab.fri.sh(&format!("tr '\\0' ' ' </proc/{syslogd}/cmdline"));

    lab.fri.kill("STOP", syslogd);
    statistics();
    let ping = lab.fri.ping("10.8.0.1", 5);
    assert!(ping.lost() == 0 && ping.times.iter().all(|time| *time < 500.0), "stuck: {ping:?}");
    lab.fri.kill("CONT", syslogd);
    eventually("what was lost is told", SOON, || {
        lab.fri.kill("USR2", process);
        lab.fri.logged("log_lines_lost=") > 0
    });

    lab.fri.kill("KILL", syslogd);
    statistics();
    let ping = lab.fri.ping("10.8.0.1", 5);
    assert!(ping.lost() == 0 && ping.times.iter().all(|time| *time < 500.0), "absent: {ping:?}");
    lab.fri.sh(&format!("{command} </dev/null >/dev/null 2>&1 &"));
    eventually("lines arrive at the new one", SOON, || {
        lab.fri.kill("USR2", process);
        lab.fri.logged("log_lines_lost=") > 1
    });
    assert_eq!(lab.fri.endpoints()[0].pid(), process);
}

/// The longest that the kernel took for one line to syslog, and how many lines there were; of some attempts the best,
/// for what takes long on a busy machine is not the log.
fn longest_line(host: &Host, attempts: usize) -> (Duration, usize) {
    let process = host.endpoints()[0].pid();
    let attempt = |_| {
        let strace =
            ["strace", "-qq", "-T", "-e", "trace=sendto", "-o", "/run/sendto", "-p", &process.to_string()];
        let mut tracer = host.spawn(&strace);
        eventually("strace watches", SOON, || {
            host.read(&format!("/proc/{process}/status"))
                .lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        host.sh(&format!("for i in $(seq {LINES}); do kill -USR2 {process}; sleep 0.005; done"));
        host.kill("INT", host.processes("strace")[0].pid());
        tracer.0.wait().unwrap();
        let trace = host.read("/run/sendto");
        let times = trace.lines().filter(|line| line.contains("/dev/log")).filter_map(|line| {
            let seconds: f64 = line.rsplit_once('<')?.1.trim_end_matches('>').parse().ok()?;
            Some(Duration::from_secs_f64(seconds))
        });
        let times: Vec<Duration> = times.collect();
        (times.iter().max().copied().unwrap_or(Duration::MAX), times.len())
    };
    // More attempts than that only while there was no quiet one.
    let quiet = |tried: &[(Duration, usize)]| tried.iter().any(|it| it.0 < STALL);
    let mut tried: Vec<_> = (0..attempts).map(&attempt).collect();
    while !quiet(&tried) && tried.len() < 30 {
        tried.push(attempt(0));
    }
    (tried.iter().map(|it| it.0).min().unwrap(), tried.iter().map(|it| it.1).sum())
}

/// Lines of one attempt.
const LINES: usize = 25;

/// What a line may take.
const STALL: Duration = Duration::from_millis(1);

#[test]
fn a_line_stalls_the_tunnel_for_less_than_a_millisecond_whatever_syslogd_does() {
    let Some(lab) = tun_lab("stall", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let fri = &lab.fri;
    let syslogd = fri.processes("busybox")[0].pid();
    let command = fri.sh(&format!("tr '\\0' ' ' </proc/{syslogd}/cmdline"));
    let attempts = by_length(3, 10);
    let healthy = longest_line(fri, attempts);

    fri.kill("STOP", syslogd);
    // More lines than its socket holds (net.unix.max_dgram_qlen).
    longest_line(fri, 2);
    let stuck = longest_line(fri, attempts);
    fri.kill("KILL", syslogd);
    eventually("syslogd is gone", SOON, || fri.processes("busybox").is_empty());
    let absent = longest_line(fri, attempts);
    fri.sh(&format!("rm /dev/log; {command} </dev/null >/dev/null 2>&1 &"));
    eventually("there is another", SOON, || fri.run(&["test", "-S", "/dev/log"]).status.success());
    let restarted = longest_line(fri, attempts);
    assert_eq!(fri.ping("10.8.0.1", 5).lost(), 0);

    let states = [("healthy", healthy), ("blocked", stuck), ("absent", absent), ("restarted", restarted)];
    let words =
        states.map(|(state, (longest, lines))| format!("{state} {} us of {lines}", longest.as_micros()));
    figure(23, &format!("longest line to syslog, in the kernel: {}", words.join(", ")));
    for (state, (longest, lines)) in states {
        assert!(lines >= LINES / 2, "{state}: {lines} lines");
        assert!(longest < STALL, "{state}: {longest:?}");
    }
}

#[test]
fn log_status_and_pid_go_to_their_files() {
    let Some(lab) = tun_lab("files", "") else { return };
    lab.fri.append(CALLER, "status /run/status 1\nwritepid /run/pid\n");
    for (round, flag) in [(1, "--log"), (2, "--log-append"), (1, "--log")] {
        call(&lab.fri, &[flag, "/run/naptun.log"]);
        assert!(answers(&lab.fri, "10.8.0.1"));
        assert_eq!(lab.fri.read("/run/pid"), format!("{}\n", lab.fri.endpoints()[0].pid()));
        stop(&lab.fri);
        let log = lab.fri.read("/run/naptun.log");
        assert_eq!(log.matches(UP).count(), round, "{flag}: {log}");
        assert_eq!(log.matches("closed reason=SIGTERM").count(), round, "{flag}: {log}");
    }
    assert_eq!(lab.fri.logged("naptun["), 0, "a log file beats syslog");

    call(&lab.fri, &[]);
    lab.fri.ok(&["ping", "-n", "-c", "1", "-s", "1000", "10.8.0.1"]);
    let value = |name: &str| {
        let status = lab.fri.read("/run/status");
        let line = status.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.split_once(',')?.1.parse::<u64>().ok())
    };
    eventually("the status is up to date", SOON, || value("TUN/TAP read bytes") == Some(1028));
    assert_eq!(value("TUN/TAP write bytes"), Some(1028));
    assert!(value("TCP/UDP write bytes") > Some(1028) && value("TCP/UDP read bytes") > Some(1028));
    let status = lab.fri.read("/run/status");
    let heads: Vec<&str> = status.lines().map(|line| line.split(',').next().unwrap()).collect();
    let expected = [
        "OpenVPN STATISTICS",
        "Updated",
        "TUN/TAP read bytes",
        "TUN/TAP write bytes",
        "TCP/UDP read bytes",
        "TCP/UDP write bytes",
        "Auth read bytes",
        "END",
    ];
    assert_eq!(heads, expected);
}

#[test]
fn mute_swallows_repetitions_and_counts_them() {
    let Some(lab) = tun_lab("mute", "") else { return };
    call(&lab.fri, &["--mute", "2"]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let process = lab.fri.endpoints()[0].pid();
    for _ in 0..7 {
        lab.fri.kill("USR2", process);
        std::thread::sleep(Duration::from_millis(50));
    }
    stop(&lab.fri);
    lab.fri.wait_for_log("closed reason=SIGTERM", SOON);
    assert_eq!(lab.fri.logged("statistics"), 2);
    assert_eq!(lab.fri.logged("5 lines like the last one muted"), 1);
}
