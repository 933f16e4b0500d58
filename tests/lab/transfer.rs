//! What passes a tunnel, and the longest time in which nothing did.

#![allow(clippy::expect_used, reason = "it is a part of tests")]

use std::fs;
use std::time::{Duration, Instant};

use super::{Host, Running, SOON, eventually};

/// How often is looked at what has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// How one transfer went.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// So many bytes arrived; all of them right, and in order.
    pub bytes: u64,
    /// From the first to the last.
    pub took: Duration,
    /// The longest time without a further one.
    pub longest_gap: Duration,
}

impl Transfer {
    /// In MB/s.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64().max(LOOK.as_secs_f64())
    }
}

/// One way through a tunnel, for one connection.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// Who sends.
    pub from: &'a Host,
    /// Who receives.
    pub to: &'a Host,
    /// The receiver's address inside.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
}

impl<'a> Way<'a> {
    /// By the port that every test may take which has one connection at a time.
    pub fn new(from: &'a Host, to: &'a Host, address: &'a str) -> Self {
        Self { from, to, address, port: 5000 }
    }

    /// Sends so many random bytes by TCP, for `limit` at most, and compares what arrived. Calls `during` with the
    /// number that has arrived, some 200 times a second.
    pub fn transfer(&self, bytes: u64, limit: Duration, mut during: impl FnMut(u64)) -> Transfer {
        let tag = format!("{}-{}", self.address.replace(':', "."), self.port);
        let (data, arrived) = (format!("/run/data-{tag}"), format!("/run/arrived-{tag}"));
        self.from.sh(&format!("head -c {bytes} /dev/urandom >{data}"));
        let receiver = self.receive(&arrived);
        let sender = self.from.spawn(&["socat", "-u", &format!("OPEN:{data}"), &self.place()]);

        let file = self.to.path(&arrived);
        let start = Instant::now();
        let (mut count, mut first, mut last, mut longest_gap) = (0, start, start, Duration::ZERO);
        while count < bytes && start.elapsed() < limit {
            std::thread::sleep(LOOK);
            let now = fs::metadata(&file).map_or(0, |it| it.len());
            if now > count {
                if count == 0 {
                    first = Instant::now();
                } else {
                    longest_gap = longest_gap.max(last.elapsed());
                }
                last = Instant::now();
                count = now;
            }
            during(count);
        }
        if count < bytes {
            longest_gap = longest_gap.max(last.elapsed());
        }
        drop((sender, receiver));
        let sum = |host: &Host, file: &str| host.sh(&format!("head -c {count} {file} | sha256sum"));
        assert_eq!(sum(self.to, &arrived), sum(self.from, &data), "{count} bytes to {tag}");
        self.to.sh(&format!("rm -f {arrived}"));
        self.from.sh(&format!("rm -f {data}"));
        Transfer { bytes: count, took: last - first, longest_gap }
    }

    fn receive(&self, arrived: &str) -> Running {
        self.to.sh(&format!(": >{arrived}"));
        let family = if self.address.contains(':') { 6 } else { 4 };
        let listen = format!("TCP{family}-LISTEN:{},reuseaddr", self.port);
        let receiver = self.to.spawn(&["socat", "-u", &listen, &format!("OPEN:{arrived}")]);
        let sockets = format!("ss -Hltn sport = {}", self.port);
        eventually("the receiver listens", SOON, || !self.to.sh(&sockets).is_empty());
        receiver
    }

    /// As socat takes it.
    fn place(&self) -> String {
        let Self { address, port, .. } = self;
        if address.contains(':') {
            format!("TCP:[{address}]:{port}")
        } else {
            format!("TCP:{address}:{port}")
        }
    }
}

/// What a stream of echo requests saw.
#[derive(Clone, Copy, Debug)]
pub struct Pings {
    /// Sent.
    pub sent: usize,
    /// Answered, each counted once.
    pub answered: usize,
    /// The longest time without an answer to any.
    pub longest_gap: Duration,
}

/// How often [`pings`] asks, a second.
pub const PINGS: usize = 20;

/// Echo requests of `size` bytes of payload, for `seconds`.
pub fn pings(host: &Host, target: &str, size: usize, seconds: usize) -> Pings {
    let (sent, size) = (seconds * PINGS, size.to_string());
    let pause = format!("{}", 1.0 / PINGS as f64);
    let words = ["ping", "-n", "-i", &pause, "-W", "2", "-s", &size, "-c", &sent.to_string(), target];
    let output = host.run(&words);
    let mut answered = vec![false; sent];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let number = line.split_once("icmp_seq=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        if let Some(slot) = number.and_then(|number: usize| answered.get_mut(number - 1)) {
            *slot |= line.contains("time=");
        }
    }
    let longest = answered.split(|answered| *answered).map(<[bool]>::len).max().unwrap_or(0);
    Pings {
        sent,
        answered: answered.iter().filter(|answered| **answered).count(),
        longest_gap: Duration::from_millis((longest * 1000 / PINGS) as u64),
    }
}
