//! A bad network between caller and listener: a relay on `net` that both ends take for the other one. It loses, delays,
//! reorders, doubles and damages datagrams at random, and does what address translation does when it forgets.
//!
//! fri's `remote` is an address of net; mon sees calls from another one. Neither end is set up in any other way.

#![allow(clippy::expect_used, reason = "it is a part of tests")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::Host;

/// Larger than any datagram.
const DATAGRAM: usize = 65_536;

/// So many former sockets are kept, to count what goes there.
const REMEMBERED: usize = 16;

/// For what comes while others work.
const BUFFER: usize = 8 << 20;

/// What the relay does to datagrams, both ways alike. Nothing by default.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Of all datagrams, so many are lost.
    pub loss: f64,
    /// So many arrive twice.
    pub twice: f64,
    /// So many have one bit flipped.
    pub damage: f64,
    /// Each takes between so long ...
    pub delay_least: Duration,
    /// ... and so long, by itself: that is what reorders them.
    pub delay_most: Duration,
    /// The longest that passes, UDP payload. Others vanish without a word.
    pub longest: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss: 0.0,
            twice: 0.0,
            damage: 0.0,
            delay_least: Duration::ZERO,
            delay_most: Duration::ZERO,
            longest: DATAGRAM,
        }
    }
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// Arrived at the relay.
    pub came: u64,
    /// Lost at random, too long, or sent to where nobody listens any more.
    pub lost: u64,
    /// Sent twice.
    pub twice: u64,
    /// Sent on with a bit flipped.
    pub damaged: u64,
    /// Sent on before one that had come earlier.
    pub overtook: u64,
}

/// The relay at work; it ends when it is dropped.
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    faults: Mutex<Faults>,
    fate: Mutex<Fate>,
    /// Takes the place of the socket toward the listener.
    rebound: Mutex<Option<UdpSocket>>,
    over: AtomicBool,
}

impl Relay {
    /// Takes datagrams for `front`, an address of `net`, and carries them to `listener` from the address `back` of net.
    pub fn start(net: &Host, front: SocketAddr, back: IpAddr, listener: SocketAddr, seed: u64) -> Self {
        let (front, back) = net.in_network(|| (bind(front), bind(SocketAddr::new(back, 0))));
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            fate: Mutex::default(),
            rebound: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let work = Work {
            front,
            back,
            forgotten: Vec::new(),
            listener,
            caller: None,
            under_way: BinaryHeap::new(),
            count: 0,
            newest: [0; 2],
            random: Random(seed),
            shared: Arc::clone(&shared),
        };
        Self { shared, thread: Some(std::thread::spawn(move || work.run())) }
    }

    /// From now on these faults.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().expect("the relay lives") = faults;
    }

    /// What became of the datagrams so far.
    pub fn fate(&self) -> Fate {
        *self.shared.fate.lock().expect("the relay lives")
    }

    /// Address translation that has forgotten: what is sent on comes from `back` and another port, and answers to where
    /// it came from before are lost.
    pub fn rebind(&self, net: &Host, back: IpAddr) {
        let socket = net.in_network(|| bind(SocketAddr::new(back, 0)));
        *self.shared.rebound.lock().expect("the relay lives") = Some(socket);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    front: UdpSocket,
    back: UdpSocket,
    /// The sockets that were in its place.
    forgotten: Vec<UdpSocket>,
    listener: SocketAddr,
    /// Where the newest datagram for the front came from.
    caller: Option<SocketAddr>,
    under_way: BinaryHeap<Reverse<Datagram>>,
    count: u64,
    /// The newest that was sent on, each way.
    newest: [u64; 2],
    random: Random,
    shared: Arc<Shared>,
}

/// One datagram, in the order in which they are due.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    to_listener: bool,
    bytes: Vec<u8>,
}

impl Work {
    fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM];
        while !self.shared.over.load(Ordering::Relaxed) {
            self.wait();
            if let Some(socket) = self.shared.rebound.lock().expect("the test lives").take() {
                self.forgotten.push(std::mem::replace(&mut self.back, socket));
            }
            self.lose_what_is_forgotten(&mut buffer);
            while let Ok((length, from)) = self.front.recv_from(&mut buffer) {
                self.caller = Some(from);
                self.treat(true, &buffer[..length]);
                self.send_due();
            }
            while let Ok((length, _)) = self.back.recv_from(&mut buffer) {
                self.treat(false, &buffer[..length]);
                self.send_due();
            }
            self.send_due();
        }
    }

    /// Answers to where a call came from before; counted.
    fn lose_what_is_forgotten(&mut self, buffer: &mut [u8]) {
        self.forgotten.drain(..self.forgotten.len().saturating_sub(REMEMBERED));
        let mut fate = self.shared.fate.lock().expect("the test lives");
        for socket in &self.forgotten {
            while socket.recv_from(buffer).is_ok() {
                fate.came += 1;
                fate.lost += 1;
            }
        }
    }

    /// Until something comes or is due, or somebody may have changed something.
    fn wait(&self) {
        let due = self.under_way.peek().map(|next| next.0.due.saturating_duration_since(Instant::now()));
        let timeout = due.unwrap_or(Duration::MAX).min(Duration::from_millis(10));
        let mut sockets =
            [&self.front, &self.back].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut sockets, Some(TimeSpec::from_duration(timeout)), None);
    }

    fn treat(&mut self, to_listener: bool, bytes: &[u8]) {
        let faults = *self.shared.faults.lock().expect("the test lives");
        let mut fate = self.shared.fate.lock().expect("the test lives");
        fate.came += 1;
        if bytes.len() > faults.longest || self.random.happens(faults.loss) {
            fate.lost += 1;
            return;
        }
        let times = if self.random.happens(faults.twice) { 2 } else { 1 };
        fate.twice += times - 1;
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() && self.random.happens(faults.damage) {
            let bit = self.random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            fate.damaged += 1;
        }
        self.count += 1;
        for _ in 0..times {
            let more = faults.delay_most.saturating_sub(faults.delay_least).as_micros() as u64;
            let delay = faults.delay_least + Duration::from_micros(self.random.below(more + 1));
            let due = Instant::now() + delay;
            self.under_way.push(Reverse(Datagram {
                due,
                number: self.count,
                to_listener,
                bytes: bytes.clone(),
            }));
        }
    }

    fn send_due(&mut self) {
        while self.under_way.peek().is_some_and(|next| next.0.due <= Instant::now()) {
            let Some(Reverse(datagram)) = self.under_way.pop() else { return };
            let newest = &mut self.newest[usize::from(datagram.to_listener)];
            if datagram.number < *newest {
                self.shared.fate.lock().expect("the test lives").overtook += 1;
            }
            *newest = datagram.number.max(*newest);
            // A full buffer, an error that somebody provoked: lost, as on any other network.
            let _ = match (datagram.to_listener, self.caller) {
                (true, _) => self.back.send_to(&datagram.bytes, self.listener),
                (false, Some(caller)) => self.front.send_to(&datagram.bytes, caller),
                (false, None) => Ok(0),
            };
        }
    }
}

fn bind(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("bind a socket of the relay");
    socket.set_nonblocking(true).expect("make it non-blocking");
    // What is lost is to be our doing.
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("enlarge its buffer");
    socket
}

/// SplitMix64: enough for dice, and the same dice for the same seed.
pub struct Random(pub u64);

impl Random {
    /// From the clock; printed, so that a failure can be repeated.
    pub fn printed(test: &str) -> Self {
        let seed = std::env::var("NAPTUN_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = seed.unwrap_or(now.as_micros() as u64);
        println!("{test}: NAPTUN_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}
