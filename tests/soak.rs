//! Everything at once, for as long as one likes: `scripts/soak SECONDS`. Five tunnels carry traffic while their processes
//! are killed, stopped and restarted, keys change, and the network between them fails; at the end everything must
//! balance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;
#[path = "soak/mischief.rs"]
mod mischief;
#[path = "soak/tunnels.rs"]
mod tunnels;

use figures::{figure, long};
use lab::relay::Random;
use lab::transfer::Way;
use lab::{Host, Lab, SOON, eventually};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tunnels::Tunnel;

/// A tunnel that was killed, or whose network was bad, is back after so long.
const BACK: Duration = Duration::from_secs(30);
/// How much more memory an endpoint may have at the end than after a quarter of the time, KiB: its buffers, which are
/// 64 KiB each and count from the first time that they are filled.
const GROWTH: u64 = 256;
/// Packets that an end may still take from its device while it says bye: they have nowhere to go.
const LAST: u64 = 4;
const MB: u64 = 1_000_000;
/// What no line of a log may say ...
const FATAL: [&str; 6] = ["panic", "SIGSYS", "signal = 31", "signal=31", "daemon.err", "daemon.crit"];
/// ... but for this: where xinetd was restarted two processes may be there for a while, and one gives way.
const EXPECTED: &str = "runs this tunnel";

/// What traffic and mischief have in common.
struct Soak<'a> {
    lab: &'a Lab,
    tunnels: Vec<Tunnel>,
    over: AtomicBool,
    transfers: AtomicUsize,
    whole: AtomicUsize,
}

#[test]
fn after_everything_at_once_memory_descriptors_and_counters_balance() {
    let seconds = std::env::var("NAPTUN_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let lasts = Duration::from_secs(seconds.unwrap_or(if long() { 120 } else { 12 }));
    let Some(lab) = Lab::new("soak") else { return };
    let mut random = Random::printed("soak");
    let tunnels = tunnels::all(&lab, &mut random);
    lab.mon.xinetd();
    tunnels.iter().for_each(|tunnel| tunnel.call(&lab));
    let soak = Soak {
        lab: &lab,
        tunnels,
        over: AtomicBool::new(false),
        transfers: AtomicUsize::new(0),
        whole: AtomicUsize::new(0),
    };
    let mut done = Vec::new();
    let (early, late) = std::thread::scope(|scope| {
        let _over = Over(&soak.over);
        for tunnel in &soak.tunnels {
            let random = Random(random.next());
            let soak = &soak;
            scope.spawn(move || soak.traffic(tunnel, random));
        }
        let mut random = Random(random.next());
        let start = Instant::now();
        let mut early = None;
        while start.elapsed() < lasts {
            done.push(soak.mischief(&mut random));
            if early.is_none() && start.elapsed() > lasts / 4 {
                early = Some(soak.sizes());
            }
            std::thread::sleep(Duration::from_millis(200 + random.below(1500)));
        }
        soak.make_peace();
        (early.unwrap_or_else(|| soak.sizes()), soak.sizes())
    });
    println!("{} deeds: {}", done.len(), done.join(", "));
    soak.still_works();
    let missing = soak.ends_and_balances(&early, &late);
    figure(
        28,
        &format!(
            "soak of {} s: {} deeds, {} of {} transfers whole and all right, {missing}; memory after a quarter {:?} and at the end {:?} KiB",
            lasts.as_secs(),
            done.len(),
            soak.whole.load(Ordering::Relaxed),
            soak.transfers.load(Ordering::Relaxed),
            early.iter().map(|size| size.memory).collect::<Vec<_>>(),
            late.iter().map(|size| size.memory).collect::<Vec<_>>(),
        ),
    );
}

/// Sets a flag, however what it is for ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a process holds.
#[derive(Debug)]
struct Size {
    pid: u32,
    /// Private memory, KiB.
    memory: u64,
    descriptors: usize,
}

impl Soak<'_> {
    /// Transfers, echo requests and naps in turn.
    fn traffic(&self, tunnel: &Tunnel, mut random: Random) {
        while !self.over.load(Ordering::Relaxed) {
            // A listener that naps cannot call.
            if !lab::tun::answers(&self.lab.fri, &tunnel.inside[0]) {
                continue;
            }
            match random.below(4) {
                0 => std::thread::sleep(Duration::from_millis(random.below(5000))),
                1 => drop(lab::transfer::pings(&self.lab.fri, &tunnel.inside[0], 1000, 1)),
                _ => self.transfer(tunnel, random.happens(0.5), 1 + random.below(5 * MB)),
            }
        }
    }

    /// What arrives is compared. All of it need not: an end may be killed meanwhile.
    fn transfer(&self, tunnel: &Tunnel, there: bool, bytes: u64) {
        let [way, _] = tunnel.ways(self.lab, there);
        let went = way.transfer(bytes, Duration::from_secs(8), |_| {});
        self.transfers.fetch_add(1, Ordering::Relaxed);
        self.whole.fetch_add(usize::from(went.bytes == bytes), Ordering::Relaxed);
    }

    /// The two ends of the tunnel that is left alone.
    fn sizes(&self) -> Vec<Size> {
        let steady = self.tunnels.iter().find(|tunnel| tunnel.steady).unwrap();
        [&self.lab.mon, &self.lab.fri]
            .into_iter()
            .map(|host| {
                let process = tunnel_process(host, steady).expect("the steady tunnel has its process");
                let memory = process.field("RssAnon").trim_end_matches(" kB").parse().unwrap();
                let list = std::fs::read_dir(host.path(&format!("/proc/{}/fd", process.pid()))).unwrap();
                Size { pid: process.pid(), memory, descriptors: list.count() }
            })
            .collect()
    }

    /// Every tunnel is up again, and carries a transfer each way.
    fn still_works(&self) {
        for tunnel in &self.tunnels {
            let name = &tunnel.name;
            eventually(name, BACK, || lab::tun::answers(&self.lab.fri, &tunnel.inside[0]));
            for there in [true, false] {
                let [way, _] = tunnel.ways(self.lab, there);
                let went = way.transfer(MB, BACK, |_| {});
                assert_eq!(went.bytes, MB, "{name} carries nothing at the end: {went:?}");
            }
        }
    }

    /// Ends the callers, and with them all. In words, how many packets of the steady tunnel were lost.
    fn ends_and_balances(&self, early: &[Size], late: &[Size]) -> String {
        for (early, late) in early.iter().zip(late) {
            assert_eq!(early.pid, late.pid, "the steady tunnel has another process");
            assert_eq!(early.descriptors, late.descriptors, "descriptors: {early:?} {late:?}");
            assert!(late.memory <= early.memory + GROWTH, "memory: {early:?} {late:?}");
        }
        let Lab { mon, fri, .. } = self.lab;
        fri.endpoints().iter().for_each(|endpoint| fri.kill("TERM", endpoint.pid()));
        eventually("no caller is left", BACK, || fri.ours().is_empty());
        mon.endpoints().iter().for_each(|endpoint| drop(mon.run(&["kill", &endpoint.pid().to_string()])));
        eventually("no process is left", BACK, || mon.ours().is_empty() && fri.ours().is_empty());
        for host in [mon, fri] {
            let left: Vec<_> = host
                .devices()
                .into_iter()
                .filter(|it| it.starts_with("tu") || it.starts_with("tap"))
                .collect();
            assert!(left.is_empty(), "devices are left: {left:?}");
            let log = host.log();
            let bad = |line: &&str| FATAL.iter().any(|word| line.contains(word)) && !line.contains(EXPECTED);
            let found: Vec<&str> = log.lines().filter(bad).collect();
            assert!(found.is_empty(), "{found:?}");
        }
        self.balance()
    }

    /// What one end of the steady tunnel took from its device, the other one gave to its own; but for what was lost.
    fn balance(&self) -> String {
        let steady = self.tunnels.iter().find(|tunnel| tunnel.steady).unwrap();
        let [mon, fri] = [&self.lab.mon, &self.lab.fri].map(|host| Closed::of(host, steady));
        let fate = steady.relay.fate();
        let overflown: u64 = [&self.lab.mon, &self.lab.fri, &self.lab.net].into_iter().map(overflown).sum();
        let lost = fate.lost + fate.damaged + overflown + mon.dropped + fri.dropped;
        let sent = mon.out_packets + fri.out_packets;
        let arrived = mon.in_packets + fri.in_packets;
        let words =
            format!("steady tunnel: {arrived} of {sent} packets arrived, {lost} datagrams lost on purpose");
        assert!(
            mon.in_packets <= fri.out_packets && fri.in_packets <= mon.out_packets,
            "{words}: {mon:?} {fri:?}"
        );
        assert!(sent - arrived <= lost + LAST, "{words}: {mon:?} {fri:?} {fate:?} {overflown}");
        words
    }
}

/// The counters of a `closed` line.
#[derive(Debug)]
struct Closed {
    in_packets: u64,
    out_packets: u64,
    dropped: u64,
}

impl Closed {
    fn of(host: &Host, tunnel: &Tunnel) -> Self {
        let name = format!(" {}[", tunnel.name);
        let closed = |line: &&str| line.contains(&name) && line.contains("closed reason=");
        eventually("the counters are in the log", SOON, || host.log().lines().any(|line| closed(&line)));
        let log = host.log();
        let line = log.lines().rev().find(closed).unwrap();
        let number = |key: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("{key}: {line}")).parse().unwrap()
        };
        Self {
            in_packets: number("in_packets"),
            out_packets: number("out_packets"),
            dropped: number("dropped"),
        }
    }
}

/// Datagrams that found a full buffer.
fn overflown(host: &Host) -> u64 {
    let counters = host.sh("nstat -asz UdpRcvbufErrors Udp6RcvbufErrors UdpSndbufErrors Udp6SndbufErrors");
    counters.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// The process that carries a tunnel on this host.
fn tunnel_process(host: &Host, tunnel: &Tunnel) -> Option<lab::Process> {
    host.endpoints().into_iter().find(|process| {
        let words = std::fs::read(host.path(&format!("/proc/{}/cmdline", process.pid()))).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == format!("{}.conf", tunnel.name).as_bytes())
    })
}
