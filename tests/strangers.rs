//! Strangers at the port: floods of rubbish under each super-server, what they cost, and what comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use std::thread::sleep;
use std::time::{Duration, Instant};

use figures::{by_length, figure};
use lab::tun::{LISTENER, answers, call, quiet_lab, stop};
use lab::wire::{Flood, Holder, Rng, Stranger, let_a_stranger_in, passed};
use lab::{Host, Lab, SOON, eventually};

/// How soon a true caller has its tunnel, whatever strangers do.
const IN: Duration = Duration::from_secs(5);

/// A service is started this often a minute at most, whatever strangers do.
const STARTS: usize = 20;

/// What holds the port.
#[derive(Clone, Copy)]
struct SuperServer {
    name: &'static str,
    start: fn(&Host),
    /// What it says when it gives a service up.
    disabled: &'static str,
}

const XINETD: SuperServer = SuperServer {
    name: "xinetd",
    start: |mon| {
        // What an administrator's own service file has: xinetd's limit on starts.
        mon.sh("sed -i /cps/d /etc/xinetd.d/timbuktu-srv1");
        mon.xinetd();
    },
    disabled: "eactivating",
};
const INETD: SuperServer =
    SuperServer { name: "openbsd-inetd", start: Host::inetd, disabled: "server failing" };
const SYSTEMD: SuperServer =
    SuperServer { name: "systemd-socket-activate", start: Host::systemd, disabled: "start-limit-hit" };

/// A laboratory with a stranger in it, who has recorded handshakes if `recorded`, and nobody awake.
fn besieged(name: &str, server: SuperServer, more: &str) -> Option<(Lab, Stranger)> {
    let lab = quiet_lab(name, more)?;
    let_a_stranger_in(&lab);
    (server.start)(&lab.mon);
    let stranger = Stranger::new(&lab, name);
    Some((lab, stranger))
}

/// How long a new caller takes to its first answer through the tunnel.
fn gets_in(lab: &Lab) -> Duration {
    let start = Instant::now();
    call(&lab.fri, &[]);
    eventually("a true caller is in", IN, || answers(&lab.fri, "10.8.0.1"));
    let taken = start.elapsed();
    assert!(taken < IN, "a true caller is in after {taken:?}");
    stop(&lab.fri);
    taken
}

fn starts(lab: &Lab) -> usize {
    lab.mon.logged("started launch")
}

fn sleep_until(when: Instant) {
    sleep(when.saturating_duration_since(Instant::now()));
}

/// A flood of `rate` datagrams a second, three true callers in it and one behind it.
fn flood(name: &str, server: SuperServer, rate: u32, seconds: u64) {
    let Some((lab, mut stranger)) = besieged(name, server, "") else { return };
    stranger.record(&lab);
    let mut taken = Vec::new();
    let start = Instant::now();
    let sent = Flood::of(&mut stranger, rate, |_| {
        for quarter in 1..=3 {
            sleep_until(start + Duration::from_millis(250 * quarter * seconds));
            taken.push(gets_in(&lab));
        }
        sleep_until(start + Duration::from_secs(seconds));
    });
    let lasted = start.elapsed().as_secs_f64();
    taken.push(gets_in(&lab));
    let (starts, longest) = (starts(&lab), taken.iter().max().unwrap().as_millis());
    figure(
        17,
        &format!(
            "{}: {sent} datagrams in {lasted:.0} s, {starts} starts, 4 callers in within {longest} ms",
            server.name
        ),
    );
    assert!(sent as f64 > 0.5 * f64::from(rate) * lasted, "no flood: {sent} datagrams in {lasted} s");
    assert_eq!(lab.mon.logged(server.disabled), 0, "switched off");
    // The first, and one after each caller that left.
    assert!(starts <= taken.len() + 2, "{starts} starts");
    assert_eq!((stranger.answers, passed(&lab).out), (0, 0), "an answer to a stranger");
}

#[test]
fn a_flood_under_xinetd_with_its_default_limit_keeps_nobody_out() {
    flood("flood-xinetd", XINETD, 300, by_length(8, 60));
}

#[test]
fn a_flood_under_openbsd_inetd_keeps_nobody_out() {
    flood("flood-inetd", INETD, 300, by_length(8, 60));
}

#[test]
fn a_flood_under_systemd_socket_activate_keeps_nobody_out() {
    flood("flood-systemd", SYSTEMD, 300, by_length(8, 60));
}

#[test]
fn ten_thousand_datagrams_a_second_keep_nobody_out_either() {
    for (name, server) in [("torrent-x", XINETD), ("torrent-i", INETD), ("torrent-s", SYSTEMD)] {
        flood(name, server, 10_000, by_length(4, 12));
    }
}

#[test]
fn a_flood_at_one_socket_of_openbsd_inetd_keeps_nobody_out_at_the_other() {
    // It has one for IPv4 and one for IPv6, and starts a process for each.
    let name = "flood-other";
    let Some((lab, _)) = besieged(name, INETD, "") else { return };
    let mut stranger = Stranger::over_ipv6(&lab, name);
    let seconds = by_length(8, 60);
    let start = Instant::now();
    let mut taken = Vec::new();
    Flood::of(&mut stranger, 300, |_| {
        lab.mon.wait_for_log("started launch", SOON);
        for quarter in 1..=3 {
            sleep_until(start + Duration::from_millis(250 * quarter * seconds));
            taken.push(gets_in(&lab));
        }
        sleep_until(start + Duration::from_secs(seconds));
    });
    let (starts, longest) = (starts(&lab), taken.iter().max().unwrap().as_millis());
    figure(
        17,
        &format!("at the other socket of openbsd-inetd: 3 callers in within {longest} ms, {starts} starts"),
    );
    assert_eq!(lab.mon.logged(INETD.disabled), 0, "switched off");
    assert!(starts <= STARTS, "{starts} starts");
    assert_eq!((stranger.answers, passed(&lab).out), (0, 0), "an answer to a stranger");
}

#[test]
fn a_datagram_now_and_then_wakes_no_more_processes_than_a_flood() {
    std::thread::scope(|scope| {
        for (name, server) in [("drops-x", XINETD), ("drops-i", INETD), ("drops-s", SYSTEMD)] {
            scope.spawn(move || trickle(name, server));
        }
    });
}

/// A datagram every 300 ms, with pauses just long enough for a listener to go.
fn trickle(name: &str, server: SuperServer) {
    const LINGER: Duration = Duration::from_secs(10);
    let Some((lab, mut stranger)) = besieged(name, server, "") else { return };
    let start = Instant::now();
    let bout = |stranger: &mut Stranger, datagrams: u32| {
        for _ in 0..datagrams {
            let datagram = stranger.rubbish();
            stranger.send(&datagram);
            sleep(Duration::from_millis(300));
        }
    };
    let mut bouts = 1;
    bout(&mut stranger, 3);
    while start.elapsed() < by_length(Duration::from_secs(10), Duration::from_secs(60)) {
        sleep(LINGER + Duration::from_millis(200));
        bout(&mut stranger, 3);
        bouts += 1;
    }
    let (minutes, starts) = (start.elapsed().as_secs_f64() / 60.0, starts(&lab));
    let taken = gets_in(&lab).as_millis();
    figure(
        17,
        &format!(
            "{}, slowly: {starts} starts in {minutes:.1} min, a caller in after {taken} ms",
            server.name
        ),
    );
    assert!((2..=bouts).contains(&starts), "{starts} starts for {bouts} bouts");
    assert_eq!(lab.mon.logged(server.disabled), 0, "switched off");
    assert_eq!((stranger.answers, passed(&lab).out), (0, 0), "an answer to a stranger");
}

#[test]
fn a_flood_while_the_listener_naps_and_wakes_loses_no_packet() {
    let Some((lab, mut stranger)) = besieged("flood-naps", XINETD, "inactive 1\n") else { return };
    stranger.record(&lab);
    let rounds = by_length(3, 20);
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    Flood::of(&mut stranger, 300, |_| {
        for round in 1..=rounds {
            lab.mon.wait_for_logs("closed reason=inactive", round, SOON);
            // The flood has woken the next one, or is about to.
            sleep(Duration::from_millis(700 * (round as u64 % 3)));
            let ping = lab.fri.ping("10.8.0.1", 1);
            assert_eq!(ping.lost(), 0, "round {round}: {ping:?}");
        }
    });
    let starts = starts(&lab);
    figure(17, &format!("{rounds} naps within a flood, {starts} starts, no packet lost"));
    assert!((rounds..=rounds + 3).contains(&starts), "{starts} starts");
    assert_eq!(lab.mon.logged("eactivating"), 0);
    assert_eq!((stranger.answers, passed(&lab).out), (0, 0), "an answer to a stranger");
}

#[test]
fn a_listener_that_cannot_start_is_not_started_over_and_over() {
    std::thread::scope(|scope| {
        for (name, server) in [("broken-x", XINETD), ("broken-i", INETD), ("broken-s", SYSTEMD)] {
            scope.spawn(move || broken(name, server));
        }
    });
}

/// A configuration with a mistake, then a state that somebody has locked, and rubbish all the time.
fn broken(name: &str, server: SuperServer) {
    let Some((lab, mut stranger)) = besieged(name, server, "") else { return };
    let seconds = by_length(8, 60);
    let count = |stranger: &mut Stranger, reason: &str| {
        Flood::of(stranger, 300, |_| sleep(Duration::from_secs(seconds)));
        let starts = lab.mon.logged(reason);
        figure(17, &format!("{} and {reason:?}: {starts} starts in {seconds} s", server.name));
        assert_eq!(lab.mon.logged(server.disabled), 0, "switched off");
        assert!(
            (1..=1 + (STARTS as u64 * seconds).div_ceil(60) as usize).contains(&starts),
            "{starts} starts"
        );
    };
    let good = lab.mon.read(LISTENER);
    lab.mon.append(LISTENER, "ifconfg 10.8.0.1 10.8.0.2\n");
    count(&mut stranger, "ifconfg");
    // The lock first: in between no process may find all well.
    lab.mon.sh("umask 077; >/run/state");
    let locked = lab.mon.spawn(&["flock", "/run/state", "sleep", "1000"]);
    eventually("it is locked", SOON, || {
        !lab.mon.run(&["flock", "-n", "/run/state", "true"]).status.success()
    });
    lab.mon.write(LISTENER, &format!("{good}replay-persist /run/state\n"));
    count(&mut stranger, "runs this tunnel");
    drop(locked);
    lab.mon.write(LISTENER, &good);
    call(&lab.fri, &[]);
    eventually("a caller is in when the fault is mended", 2 * SOON, || answers(&lab.fri, "10.8.0.1"));
    assert_eq!((stranger.answers, passed(&lab).out), (0, 0), "an answer to a stranger");
}

/// What a process holds, in KiB of memory of its own and in descriptors.
fn holdings(host: &Host, pid: u32) -> (u64, usize) {
    let status = host.read(&format!("/proc/{pid}/status"));
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let anonymous = anonymous.trim().trim_end_matches(" kB").parse().expect("KiB");
    (anonymous, std::fs::read_dir(host.path(&format!("/proc/{pid}/fd"))).unwrap().count())
}

/// How many datagrams the listener has refused, by its own count.
fn refused(mon: &Host, pid: u32) -> u64 {
    let said = mon.logged("statistics ");
    mon.kill("USR2", pid);
    mon.wait_for_logs("statistics ", said + 1, SOON);
    let log = mon.log();
    let last = log.lines().rfind(|line| line.contains("statistics ")).unwrap();
    let (_, count) = last.split_once("rejects=").expect("rejects");
    count.split(' ').next().unwrap().parse().expect("a count")
}

/// Rubbish at the process `pid` until it has refused as much as the row asks for.
fn bear(lab: &Lab, stranger: &mut Stranger, doing: &str) {
    let (count, first) = (by_length(50_000, 1_000_000), 5_000);
    let pid = lab.mon.endpoints()[0].pid();
    let limit = Duration::from_secs(by_length(60, 600));
    let mut held = None;
    Flood::of(stranger, 20_000, |_| {
        eventually("the first thousands", limit, || refused(&lab.mon, pid) >= first);
        held = Some(holdings(&lab.mon, pid));
        eventually("all of them", limit, || {
            sleep(Duration::from_millis(200));
            refused(&lab.mon, pid) >= count
        });
    });
    let ((before, descriptors), (after, descriptors_after)) = (held.unwrap(), holdings(&lab.mon, pid));
    let (refused, grown) = (refused(&lab.mon, pid), after.saturating_sub(before));
    figure(
        16,
        &format!(
            "{doing}: {refused} refused, 0 bytes out, {grown} KiB more of {before}, {descriptors} descriptors"
        ),
    );
    assert_eq!((stranger.answers, passed(lab).out), (0, 0), "an answer to a stranger");
    assert!(grown <= 64, "from {before} to {after} KiB");
    assert_eq!(descriptors, descriptors_after);
}

#[test]
fn rubbish_costs_a_listener_that_waits_neither_memory_nor_descriptors_and_gets_no_byte() {
    let Some((lab, mut stranger)) = besieged("leak-waiting", XINETD, "") else { return };
    stranger.record(&lab);
    bear(&lab, &mut stranger, "waiting");
    assert!(!lab.mon.has_device("tun0"));
    gets_in(&lab);
}

#[test]
fn rubbish_costs_a_listener_that_pumps_neither_memory_nor_descriptors_and_gets_no_byte() {
    let Some((lab, mut stranger)) = besieged("leak-pumping", XINETD, "") else { return };
    stranger.record(&lab);
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    bear(&lab, &mut stranger, "pumping");
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    assert_eq!(starts(&lab), 1, "one process has borne it all");
}

#[test]
fn before_confirmation_no_more_bytes_go_out_than_came_in() {
    let Some((lab, mut stranger)) = besieged("amplification", XINETD, "") else { return };
    let (mut holder, mut rng) = (Holder::new(&lab), Rng::new("amplification, holder"));
    stranger.record(&lab);
    let (mut called, mut longest) = ((0, 0, 0), 0.0_f64);
    for _ in 0..10_000 {
        if rng.below(4) > 0 {
            let datagram = stranger.rubbish();
            stranger.send(&datagram);
            sleep(Duration::from_micros(50));
            continue;
        }
        // From here on: a holder of the key who never confirms.
        let message = holder.first_message(&mut rng);
        let answered = stranger.answered;
        stranger.send(&message);
        let start = Instant::now();
        // An answer that came later would be taken for one to the next message.
        while stranger.answered == answered && start.elapsed() < Duration::from_secs(1) {
            stranger.hear();
        }
        let answer = stranger.answered - answered;
        called = (called.0 + 1, called.1 + message.len() as u64, called.2 + answer);
        longest = longest.max(answer as f64 / message.len() as f64);
    }
    sleep(Duration::from_secs(1));
    stranger.hear();
    let (wire, of_all) = (passed(&lab), stranger.answered as f64 / stranger.sent as f64);
    figure(
        27,
        &format!(
            "10000 datagrams, {} answers to {} first messages: out/in {of_all:.2} of all, {:.2} of those, {longest:.2} of one at most, {:.2} on the wire",
            stranger.answers,
            called.0,
            called.2 as f64 / called.1 as f64,
            wire.out as f64 / wire.into as f64,
        ),
    );
    assert!(stranger.answers > called.0 * 9 / 10, "{} answers to {} calls", stranger.answers, called.0);
    assert!(stranger.answers <= called.0, "an answer to something else");
    assert!(longest <= 1.0 && of_all <= 1.0 && wire.out <= wire.into);
    assert!(!lab.mon.has_device("tun0"));
}
