//! Row 28 of doc/threats.md: networks that lose, delay, double, damage and forget.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::relay::{Faults, Random, Relay};
use lab::transfer::{PINGS, Pings, Transfer, Way, pings};
use lab::tun::{CALLER, LISTENER, answers, call, stop};
use lab::{Lab, SOON, eventually};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The pings' own IPv4 and ICMP headers.
const AROUND_PING: usize = 28;
/// Packets of the tun.
const WHOLE: usize = 1420;
/// Keys are replaced early, so that it happens while a network is bad, and the log tells of it.
const RENEG: &str = "reneg-sec 10\nverb 6\n";

/// The longest that nothing may pass, beside what is lost by chance.
const BLACK_HOLE: Duration = Duration::from_secs(1);
/// The longest that one transfer may take.
const PATIENCE: Duration = Duration::from_secs(120);
const MB: u64 = 1_000_000;

/// A tunnel whose two ends meet over a relay.
struct Bad {
    lab: Lab,
    relay: Relay,
    seed: u64,
    /// The listener's and the caller's address inside.
    inside: [&'static str; 2],
    /// Longest packet that passes the device.
    whole: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tun,
    Tap,
}

impl Bad {
    /// Tun or tap, over IPv4 or IPv6, up and still well.
    fn new(name: &str, kind: Kind, ipv6: bool) -> Option<Self> {
        let lab = Lab::new(name)?;
        let mut random = Random::printed(name);
        let (port, front, back, listener) = match (kind, ipv6) {
            (Kind::Tun, false) => (1417, "198.51.100.254", "192.0.2.254", "192.0.2.1"),
            (Kind::Tun, true) => (1417, "2001:db8:2::fe", "2001:db8:1::fe", "2001:db8:1::1"),
            (Kind::Tap, false) => (1418, "198.51.100.254", "192.0.2.254", "192.0.2.1"),
            (Kind::Tap, true) => (1418, "2001:db8:2::fe", "2001:db8:1::fe", "2001:db8:1::1"),
        };
        let at = |address: &str| SocketAddr::new(ip(address), port);
        let relay = Relay::start(&lab.net, at(front), ip(back), at(listener), random.next());
        let (caller, listening) = match kind {
            Kind::Tun => (CALLER, LISTENER),
            Kind::Tap => ("/etc/naptun/tap-fri-mon.conf", "/etc/naptun/tap-mon-fri.conf"),
        };
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {front}/' {caller}"));
        lab.fri.append(caller, RENEG);
        lab.mon.append(listening, RENEG);
        let inside = match kind {
            Kind::Tun => ["10.8.0.1", "10.8.0.2"],
            Kind::Tap => ["192.168.8.1", "192.168.8.2"],
        };
        if kind == Kind::Tap {
            lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
        }
        lab.mon.xinetd();
        match kind {
            Kind::Tun => call(&lab.fri, &[]),
            Kind::Tap => {
                lab.fri.sh("naptun --port timbuktu-srv2 --daemon --cd /etc/naptun --config tap-fri-mon.conf");
            }
        }
        eventually("the tunnel is up", SOON, || answers(&lab.fri, inside[0]));
        let whole = if kind == Kind::Tap { 1500 } else { WHOLE };
        Some(Self { lab, relay, seed: random.next(), inside, whole })
    }

    /// Pings of the largest and a small size from both ends for `seconds`.
    fn watch(&self, seconds: usize) -> Vec<Pings> {
        let largest = self.whole - AROUND_PING;
        std::thread::scope(|scope| {
            let streams: Vec<_> = [
                (&self.lab.fri, self.inside[0], largest),
                (&self.lab.mon, self.inside[1], largest),
                (&self.lab.fri, self.inside[0], 16),
                (&self.lab.mon, self.inside[1], 16),
            ]
            .map(|(host, target, size)| scope.spawn(move || pings(host, target, size, seconds)))
            .into_iter()
            .collect();
            streams.into_iter().map(|stream| stream.join().unwrap()).collect()
        })
    }

    /// The way to the listener's end and the one back.
    fn ways(&self) -> [Way<'_>; 2] {
        let Self { lab: Lab { mon, fri, .. }, inside, .. } = self;
        [Way::new(fri, mon, inside[0]), Way::new(mon, fri, inside[1])]
    }

    /// Shows that nothing was lost for longer than 1 s beyond what `lost` of all datagrams each way explain. In words.
    fn has_no_black_hole(&self, what: &str, lost: f64) -> String {
        let seen = self.watch(by_length(8, 30));
        let gap = seen.iter().map(|pings| pings.longest_gap).max().unwrap();
        let answered: usize = seen.iter().map(|pings| pings.answered).sum();
        let sent: usize = seen.iter().map(|pings| pings.sent).sum();
        let most = BLACK_HOLE + by_chance(lost, sent);
        assert!(gap <= most, "{what}: nothing passed for {gap:?}, {most:?} at most: {seen:?}");
        format!("{} of {sent} pings lost, longest gap {:.2} s", sent - answered, gap.as_secs_f64())
    }

    /// The same, and that TCP completes, `bytes` each way, one after the other. Tells it as a figure.
    fn holds(&self, what: &str, lost: f64, bytes: u64) {
        let gaps = self.has_no_black_hole(what, lost);
        let transfers = self.ways().map(|way| way.transfer(bytes, PATIENCE, |_| {}));
        println!("{what}: {transfers:?}, relay {:?}", self.relay.fate());
        for transfer in &transfers {
            assert_eq!(transfer.bytes, bytes, "{what}: TCP does not complete in {PATIENCE:?}: {transfers:?}");
        }
        let [there, back] = transfers.map(|transfer| transfer.rate());
        let megabytes = bytes as f64 / 1e6;
        figure(
            28,
            &format!("{what}: {megabytes} MB each way by TCP at {there:.1} and {back:.1} MB/s, {gaps}"),
        );
    }

    /// Where TCP crawls, and doubles its pauses up to minutes whatever the tunnel does: that of some connections each
    /// way something passes in `limit`, and what passes is right.
    fn lets_pass(&self, what: &str, lost: f64, limit: Duration) {
        let gaps = self.has_no_black_hole(what, lost);
        let transfers: Vec<Transfer> = std::thread::scope(|scope| {
            let connections = (5000..5004).flat_map(|port| self.ways().map(|way| Way { port, ..way }));
            let threads: Vec<_> =
                connections.map(|way| scope.spawn(move || way.transfer(20 * MB, limit, |_| {}))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        println!("{what}: {transfers:?}, relay {:?}", self.relay.fate());
        let bytes: u64 = transfers.iter().map(|transfer| transfer.bytes).sum();
        assert!(bytes > MB / 10, "{what}: {transfers:?}");
        let (megabytes, limit) = (bytes as f64 / 1e6, limit.as_secs());
        figure(28, &format!("{what}: {megabytes:.1} MB by TCP in {limit} s over 8 connections, {gaps}"));
    }

    /// Does `act` while the relay's address toward the listener changes every 1 to 3 s.
    fn rebinding(&self, next: impl Fn(&mut Random) -> IpAddr + Sync, act: impl FnOnce()) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(self.seed);
                let mut at = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    if at <= Instant::now() {
                        self.relay.rebind(&self.lab.net, next(&mut random));
                        at = Instant::now() + Duration::from_millis(1000 + random.below(2000));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            let _over = Over(&over);
            act();
        });
    }

    /// That keys were replaced while the network was bad, and that it made no end begin anew.
    fn rekeyed_on_the_way(&self) {
        for host in [&self.lab.mon, &self.lab.fri] {
            assert!(host.logged("session rekeyed") > 0, "no rekey");
            assert!(host.logged("started launch") <= 2, "it did not go on");
        }
    }
}

/// Sets a flag, however what it is for ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long a gap bad luck alone may make in so many round trips, but for one run of this in a thousand.
fn by_chance(lost: f64, trips: usize) -> Duration {
    let lost = 1.0 - (1.0 - lost).powi(2);
    if lost <= 0.0 {
        return Duration::ZERO;
    }
    let run = (trips as f64 * 1000.0).ln() / -lost.ln();
    Duration::from_secs_f64(run / PINGS as f64)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn tcp_passes_a_tenth_and_three_tenths_of_loss_and_nothing_stops_for_a_second_more_than_chance() {
    let Some(bad) = Bad::new("loss", Kind::Tun, false) else { return };
    bad.relay.set(Faults { loss: 0.1, ..Faults::default() });
    bad.holds("10 % loss, tun", 0.1, by_length(5, 100) * MB);
    bad.relay.set(Faults { loss: 0.3, ..Faults::default() });
    bad.lets_pass("30 % loss, tun", 0.3, Duration::from_secs(by_length(8, 60)));
    bad.rekeyed_on_the_way();
}

#[test]
fn tcp_passes_delays_that_reorder_everything() {
    let Some(bad) = Bad::new("order", Kind::Tun, true) else { return };
    let (delay_least, delay_most) = (Duration::from_millis(20), Duration::from_millis(80));
    bad.relay.set(Faults { delay_least, delay_most, ..Faults::default() });
    bad.holds("20 to 80 ms of delay, tun over IPv6", 0.0, by_length(5, 100) * MB);
    let fate = bad.relay.fate();
    assert!(fate.overtook > fate.came / 4, "nothing was reordered: {fate:?}");
    bad.rekeyed_on_the_way();
}

#[test]
fn tcp_on_a_tap_passes_duplicates_damage_and_everything_at_once() {
    let Some(bad) = Bad::new("damage", Kind::Tap, true) else { return };
    bad.relay.set(Faults { twice: 0.05, ..Faults::default() });
    bad.holds("5 % duplicates, tap over IPv6", 0.0, by_length(5, 100) * MB);
    bad.relay.set(Faults { damage: 0.01, ..Faults::default() });
    bad.holds("1 % damaged, tap over IPv6", 0.01, by_length(5, 100) * MB);
    let (delay_least, delay_most) = (Duration::from_millis(5), Duration::from_millis(15));
    bad.relay.set(Faults {
        loss: 0.05,
        twice: 0.05,
        damage: 0.01,
        delay_least,
        delay_most,
        ..Faults::default()
    });
    bad.holds("5 % loss, 5 % duplicates, 1 % damaged, reordered, tap over IPv6", 0.06, by_length(1, 10) * MB);
    let fate = bad.relay.fate();
    assert!(fate.twice > 100 && fate.damaged > 20 && fate.overtook > 100, "{fate:?}");
    for host in [&bad.lab.mon, &bad.lab.fri] {
        assert_eq!(host.logged("waiting for a peer"), 0, "duplicates are no strangers");
    }
    bad.rekeyed_on_the_way();
}

#[test]
fn address_translation_that_forgets_costs_no_second() {
    for (name, ipv6) in [("rebind", false), ("rebind6", true)] {
        let Some(bad) = Bad::new(name, Kind::Tun, ipv6) else { return };
        for host in 200..210 {
            let net = if ipv6 { format!("2001:db8:1::{host}/64") } else { format!("192.0.2.{host}/24") };
            let nodad = if ipv6 { "nodad" } else { "noprefixroute" };
            bad.lab.net.ok(&["ip", "address", "add", &net, "dev", "mon", nodad]);
        }
        // Without a word from behind it nobody could get in for as long as it has forgotten.
        stop(&bad.lab.fri);
        call(&bad.lab.fri, &["--ping", "1"]);
        eventually("the tunnel is up", SOON, || answers(&bad.lab.fri, bad.inside[0]));
        let outside = if ipv6 { "IPv6" } else { "IPv4" };
        let (own, other) =
            if ipv6 { ("2001:db8:1::fe", "2001:db8:1::") } else { ("192.0.2.254", "192.0.2.") };
        bad.rebinding(
            |_| ip(own),
            || {
                bad.holds(
                    &format!("another port every 1 to 3 s, tun over {outside}"),
                    0.0,
                    by_length(20, 100) * MB,
                );
            },
        );
        bad.rebinding(
            |random| ip(&format!("{other}{}", 200 + random.below(10))),
            || {
                bad.holds(
                    &format!("another address every 1 to 3 s, tun over {outside}"),
                    0.0,
                    by_length(20, 100) * MB,
                );
            },
        );
        assert!(bad.lab.mon.logged("peer moved") > 0, "nobody moved");
        bad.rekeyed_on_the_way();
    }
}
