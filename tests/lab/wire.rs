//! What a stranger on the internet sends to mon's port 1417, and what comes back, counted on the wire.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use naptun::protocol::handshake::{Carriage, Initiation};
use naptun::protocol::{Aeads, Entropy, Hello, Secrets, envelope};

use super::{Lab, SOON, eventually};

/// Where the stranger speaks from: an address of fri that nothing else uses.
pub const STRANGER: &str = "198.51.100.66";

/// The same over IPv6.
pub const STRANGER6: &str = "2001:db8:2::66";

/// The listener's addresses, and its port.
const MON: (&str, &str, u16) = ("192.0.2.1", "2001:db8:1::1", 1417);

/// Lengths of the datagrams that are taken for envelopes of a handshake.
const ENVELOPES: std::ops::RangeInclusive<u64> = 154..=921;

/// The most padding of a first message.
const PADDING: u64 = 255;

/// Gives fri the stranger's addresses, and has the router count what passes between them and mon.
pub fn let_a_stranger_in(lab: &Lab) {
    let (mon, mon6, _) = MON;
    lab.fri.sh(&format!(
        "ip address add {STRANGER}/24 dev eth0 && ip address add {STRANGER6}/64 dev eth0 nodad"
    ));
    lab.net.sh(&format!(
        "nft 'add table inet wire; add chain inet wire forward {{ type filter hook forward priority 0; }};
        add rule inet wire forward ip saddr {mon} ip daddr {STRANGER} counter;
        add rule inet wire forward ip6 saddr {mon6} ip6 daddr {STRANGER6} counter;
        add rule inet wire forward ip saddr {STRANGER} ip daddr {mon} counter;
        add rule inet wire forward ip6 saddr {STRANGER6} ip6 daddr {mon6} counter'"
    ));
}

/// Bytes of IP, of any protocol, that the router has seen pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// From mon to the stranger.
    pub out: u64,
    /// From the stranger to mon.
    pub into: u64,
}

/// What has passed so far.
pub fn passed(lab: &Lab) -> Passed {
    let counters = lab.net.sh("nft list table inet wire");
    let bytes = |way: &str| {
        let rules = counters.lines().filter(|line| line.contains(way));
        rules.filter_map(|line| line.split_once(" bytes ")?.1.trim().parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let (out, into) = (bytes(&format!("saddr {}", MON.0)), bytes(&format!("saddr {STRANGER} ")));
    let (out6, into6) = (bytes(&format!("saddr {}", MON.1)), bytes(&format!("saddr {STRANGER6}")));
    assert!([&out, &into, &out6, &into6].iter().all(|counter| counter.len() == 1), "{counters}");
    Passed { out: out[0] + out6[0], into: into[0] + into6[0] }
}

/// SplitMix64, from a seed that is printed; `NAPTUN_SEED` sets it.
pub struct Rng(u64);

impl Rng {
    /// A generator for the test of this name.
    pub fn new(test: &str) -> Self {
        let seed = std::env::var("NAPTUN_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| now_micros() << 8 ^ u64::from(std::process::id()));
        println!("{test}: NAPTUN_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; count as usize];
        self.fill(&mut bytes);
        bytes
    }
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

/// Somebody who holds the key and makes first messages that are good, as fri's caller would.
pub struct Holder {
    secrets: Secrets,
    stamp: u64,
}

impl Holder {
    /// The key of the laboratory.
    pub fn new(lab: &Lab) -> Self {
        let text = std::fs::read_to_string(lab.dir().join("static.key")).expect("read the key");
        let digits: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let mut key = [0; 256];
        for (byte, digits) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).expect("digits");
            *byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
        }
        Self { secrets: Secrets::derive(&key), stamp: now_micros() }
    }

    /// A first message of a process of its own, newer than any before.
    pub fn first_message(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.stamp = now_micros().max(self.stamp + 1);
        let hello = Hello {
            listener: false,
            tap: false,
            refused: false,
            aeads: Aeads::CHACHA20_POLY1305,
            mtu: 1420,
            passed: 0,
            instance: rng.next(),
            stamp: self.stamp,
            ipv4: Some((Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 1))),
            ipv6: None,
        };
        let (_, message) = Initiation::write(Carriage::Envelope, &self.secrets, &hello, rng);
        let padding = rng.below(PADDING + 1) as usize;
        envelope::seal(&self.secrets.envelopes[0], &message, padding, rng)
    }
}

/// Sends what nobody should answer.
pub struct Stranger {
    socket: UdpSocket,
    to: SocketAddr,
    rng: Rng,
    recorded: Vec<Vec<u8>>,
    /// Datagrams that came back.
    pub answers: u64,
    /// Their bytes.
    pub answered: u64,
    /// The bytes of UDP that went out.
    pub sent: u64,
}

impl Stranger {
    /// A stranger for the test of this name, who has recorded nothing.
    pub fn new(lab: &Lab, test: &str) -> Self {
        Self::at(lab, STRANGER, MON.0, test)
    }

    /// The same over IPv6.
    pub fn over_ipv6(lab: &Lab, test: &str) -> Self {
        Self::at(lab, STRANGER6, MON.1, test)
    }

    fn at(lab: &Lab, from: &str, to: &str, test: &str) -> Self {
        Self {
            socket: lab.fri.socket(from),
            to: SocketAddr::new(to.parse().expect("an address"), MON.2),
            rng: Rng::new(test),
            recorded: Vec::new(),
            answers: 0,
            answered: 0,
            sent: 0,
        }
    }

    /// Plays handshakes from now on that somebody else had with mon: their first messages, and the answers to them.
    /// To record one wakes the listener.
    pub fn record(&mut self, lab: &Lab) {
        let (mut holder, socket) = (Holder::new(lab), lab.fri.socket("198.51.100.1"));
        let mut answer = [0; 2000];
        for _ in 0..3 {
            let message = holder.first_message(&mut self.rng);
            socket.send_to(&message, (MON.0, MON.2)).expect("send a first message");
            let mut length = 0;
            eventually("an answer to a holder of the key", SOON, || {
                socket.recv(&mut answer).is_ok_and(|received| {
                    length = received;
                    true
                })
            });
            self.recorded.push(message);
            self.recorded.push(answer[..length].to_vec());
        }
    }

    /// Sends a datagram, and takes what has come back.
    pub fn send(&mut self, datagram: &[u8]) {
        // A full queue is a datagram that the wire lost.
        if self.socket.send_to(datagram, self.to).is_ok() {
            self.sent += datagram.len() as u64;
        }
        self.hear();
    }

    /// Takes what has come back. Returns how many datagrams that were.
    pub fn hear(&mut self) -> u64 {
        let (mut answer, before) = ([0; 2000], self.answers);
        while let Ok(length) = self.socket.recv(&mut answer) {
            self.answers += 1;
            self.answered += length as u64;
        }
        self.answers - before
    }

    /// Of any length, of a handshake's length, empty, larger than the wire, or recorded: as it was, cut, or with one
    /// bit wrong.
    pub fn rubbish(&mut self) -> Vec<u8> {
        let kind = self.rng.below(100);
        if kind >= 70 && !self.recorded.is_empty() {
            return self.replay();
        }
        let (first, end) = match kind {
            0 => (0, 1),
            1 => (1500, 9000),
            2..20 => (1, 60),
            20..50 => (*ENVELOPES.start(), *ENVELOPES.end() + 1),
            _ => (1, 1473),
        };
        let length = first + self.rng.below(end - first);
        self.rng.bytes(length)
    }

    fn replay(&mut self) -> Vec<u8> {
        let which = self.rng.below(self.recorded.len() as u64) as usize;
        let mut datagram = self.recorded[which].clone();
        let length = datagram.len() as u64;
        match self.rng.below(3) {
            0 => datagram.truncate(self.rng.below(length) as usize),
            1 => datagram[self.rng.below(length) as usize] ^= 1 << self.rng.below(8),
            _ => {}
        }
        datagram
    }

    /// Sends rubbish, `rate` datagrams a second, until told to stop; a thousand times a second or less often.
    pub fn flood(&mut self, rate: u32, flood: &Flood) {
        let start = Instant::now();
        while !flood.stop.load(Relaxed) {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while flood.sent.load(Relaxed) < due {
                let datagram = self.rubbish();
                self.send(&datagram);
                flood.sent.fetch_add(1, Relaxed);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(500));
        self.hear();
    }
}

/// A flood under way.
#[derive(Default)]
pub struct Flood {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    /// Runs `during` while the stranger sends `rate` datagrams a second. Returns how many were sent.
    pub fn of(stranger: &mut Stranger, rate: u32, during: impl FnOnce(&Flood)) -> u64 {
        /// A test that fails must not wait for its flood.
        struct Stop<'a>(&'a Flood);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.stop.store(true, Relaxed);
            }
        }
        let flood = Self::default();
        std::thread::scope(|scope| {
            scope.spawn(|| stranger.flood(rate, &flood));
            let _stop = Stop(&flood);
            during(&flood);
        });
        flood.sent.load(Relaxed)
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
