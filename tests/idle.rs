//! Idleness: when a listener naps, what does not keep it awake, and that nothing is lost over it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::tun::{answers, call, napping, tun_lab};
use lab::{Lab, Running, SOON, eventually};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn keepalives_and_kernel_chatter_neither_keep_a_listener_awake_nor_wake_it() {
    let Some(lab) = tun_lab("chatter", "inactive 2\nkeepalive 1 20\nifconfig-ipv6 fd00:8::1/64 fd00:8::2\n")
    else {
        return;
    };
    call(&lab.fri, &["--keepalive", "1", "20", "--ifconfig-ipv6", "fd00:8::2/64", "fd00:8::1"]);
    let _chatter = chatter(&lab, "tun0");
    assert!(answers(&lab.fri, "10.8.0.1"));
    eventually("the listener naps", SOON, || napping(&lab.mon));
    let starts = lab.mon.logged("started launch");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(lab.mon.logged("started launch"), starts, "chatter woke it");
    assert!(answers(&lab.fri, "fd00:8::1"), "traffic does");
}

/// The kernel's own chatter on a device, without a pause: what IPv6 says to all routers, what multicast DNS asks.
fn chatter(lab: &Lab, device: &str) -> Running {
    let ping = format!("ping -n -c 1 -W 1 -I {device}");
    let script = format!("while :; do {ping} 224.0.0.251; {ping} ff02::2; {ping} ff02::fb; done");
    lab.fri.spawn(&["sh", "-c", &script])
}

#[test]
fn a_listener_naps_at_its_time_whatever_keeps_talking() {
    let times: &[u64] = by_length(&[1, 2, 5], &[1, 2, 5, 10, 30, 60]);
    let Some(lab) = many("at-its-time", times, "keepalive 1 20\n") else { return };
    let nap = |number: usize, time: u64| {
        let (device, peer) = (format!("tun{number}"), format!("10.9.{number}.1"));
        let _chatter = chatter(&lab, &device);
        // A moment in which the kernel has said all that it says of a new device.
        eventually("awake", SOON, || lab.fri.ping(&peer, 1).lost() == 0);
        std::thread::sleep(Duration::from_millis(time * 300));
        assert!(answers(&lab.fri, &peer));
        let since = Instant::now();
        eventually("the listener naps", Duration::from_secs(time) + SOON, || !lab.mon.has_device(&device));
        since.elapsed().as_secs_f64() - time as f64
    };
    let late: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            times.iter().zip(1..).map(|(&time, number)| scope.spawn(move || nap(number, time))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let words: Vec<String> =
        times.iter().zip(&late).map(|(time, late)| format!("{time} s {:+.0} ms", late * 1000.0)).collect();
    figure(31, &format!("naps at its time, keepalives and chatter all along: {}", words.join(", ")));
    assert!(late.iter().all(|late| (-0.2..1.0).contains(late)), "{words:?}");
}

#[test]
fn a_packet_at_any_moment_of_closing_is_answered() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let (tunnels, rounds) = by_length((5, 6), (10, 40));
    let Some(lab) = many("closing", &vec![1; tunnels], "") else { return };
    let close = |number: usize| {
        let (peer, mut random) = (format!("10.9.{number}.1"), u64::from(seed) + number as u64);
        assert_eq!(lab.fri.ping(&peer, 1).lost(), 0);
        for round in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // From shortly before the time is over to shortly after the process is gone.
            let pause = 960 + (random >> 33) % 200;
            std::thread::sleep(Duration::from_millis(pause));
            let ping = lab.fri.ping(&peer, 1);
            assert_eq!(ping.lost(), 0, "{peer}, round {round}, {pause} ms: {ping:?}");
        }
    };
    std::thread::scope(|scope| (1..=tunnels).for_each(|number| drop(scope.spawn(move || close(number)))));
    figure(
        31,
        &format!(
            "{} packets 0.96 to 1.16 s after the last one of a tunnel that naps after 1 s: 0 lost",
            tunnels * rounds
        ),
    );
}

/// A laboratory with a tunnel for each of these times of idleness, all with one key; the callers are up.
fn many(name: &str, times: &[u64], more: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    for (&inactive, number) in times.iter().zip(1..) {
        one_of_many(&lab, number, inactive, more);
    }
    lab.mon.xinetd();
    for number in 1..=times.len() {
        lab.fri.ok(&["naptun", "--daemon", "--cd", "/etc/naptun", "--config", &format!("fri{number}.conf")]);
    }
    Some(lab)
}

#[test]
fn naps_of_many_tunnels_with_one_key_lose_no_packet() {
    let (tunnels, naps) = by_length((10, 10), (20, 50));
    let Some(lab) = many("naps", &vec![1; tunnels], "") else { return };
    let nap_and_wake = |number: usize| {
        let (device, peer) = (format!("tun{number}"), format!("10.9.{number}.1"));
        let wake = |round: usize| {
            eventually("the listener naps", SOON, || !lab.mon.has_device(&device));
            // Every other packet comes while the process is still on its way out.
            std::thread::sleep(Duration::from_millis(if round.is_multiple_of(2) { 100 } else { 0 }));
            let ping = lab.fri.ping(&peer, 1);
            assert_eq!(ping.lost(), 0, "{peer}: {ping:?}");
            ping.times[0]
        };
        assert_eq!(lab.fri.ping(&peer, 1).lost(), 0);
        eventually("the device is there", SOON, || lab.mon.has_device(&device));
        (0..naps).map(wake).collect::<Vec<f64>>()
    };
    let times: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=tunnels).map(|number| scope.spawn(move || nap_and_wake(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (when, parity) in [("asleep", 0), ("falling asleep", 1)] {
        let mut times: Vec<f64> = times.iter().copied().skip(parity).step_by(2).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        figure(
            31,
            &format!(
                "{} wakes, {when}, 0 lost: p50 {} ms, p99 {} ms, max {} ms",
                times.len(),
                at(50),
                at(99),
                at(100)
            ),
        );
    }
    // The tunnels that were ready first may have napped once more.
    assert!(lab.mon.logged("closed reason=inactive") >= tunnels * naps);
    assert_eq!(lab.fri.endpoints().len(), tunnels);
}

/// Writes service and configurations of the tunnel with this number.
fn one_of_many(lab: &Lab, number: usize, inactive: u64, more: &str) {
    let port = 2000 + number as u16;
    let arguments = format!("--inetd --cd /etc/naptun --config mon{number}.conf");
    lab.mon.serve(&format!("many{number}"), port, "/usr/sbin/naptun", &arguments);
    let conf = |rest: &str| format!("secret static.key\ndev tun{number}\nverb 3\n{rest}");
    lab.mon.write(
        &format!("/etc/naptun/mon{number}.conf"),
        &conf(&format!("{more}inactive {inactive}\nifconfig 10.9.{number}.1 10.9.{number}.2\n")),
    );
    lab.fri.write(
        &format!("/etc/naptun/fri{number}.conf"),
        &conf(&format!("{more}remote mon {port}\nlport {port}\nifconfig 10.9.{number}.2 10.9.{number}.1\n")),
    );
}
