//! Datagrams of a stranger, in any state of an end: refused without a word, and nothing is changed by them.
//!
//! Two ends talk until the datagram with a number of the input's choice; it is withheld. The end that it was meant for
//! then gets others: random ones, and those of the whole conversation, cut, lengthened or with some bits flipped, from
//! any address. At last it gets the one withheld, and takes it.
//!
//! Input: `datagrams before (1) | options (1)`, then records of `from (1) | which (1) | changes`.

#![no_main]

use std::collections::VecDeque;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use naptun::protocol::session::Record;
use naptun::protocol::{Aeads, Farewell, Hello, Opened, Reject, Time, Timers};
use naptun_fuzz::Input;
use naptun_fuzz::ends::{End, START, hello};

/// Datagrams of a life with all that there is in it.
const DATAGRAMS: usize = 40;

fuzz_target!(|input: &[u8]| {
    let _ = run(Input(input));
});

fn run(mut input: Input) -> Option<()> {
    let mut talk = Talk::new(usize::from(input.byte()?) % DATAGRAMS, input.byte()?);
    let withheld = talk.live().err()?;
    let flying = talk.flying.into_iter().map(|flight| flight.datagram);
    let also: Vec<Vec<u8>> = flying.chain(talk.unspent).collect();
    let (now, [a, b]) = (talk.now, talk.ends);
    let mut end = if withheld.to == 0 { a } else { b };
    let before = end.state(now);
    while let Some(from) = input.byte() {
        let Some(datagram) = datagram(&mut input, &talk.history) else { break };
        if datagram == withheld.datagram || also.contains(&datagram) {
            continue;
        }
        let (opened, _) = end.open(now, from, &datagram);
        assert!(matches!(opened, Opened::Rejected(_)), "{opened:?} from a stranger");
        assert_eq!(end.session.next_action(), None);
        assert_eq!(end.state(now), before, "a stranger changes something");
    }
    let (opened, _) = end.open(now, 1 - withheld.to as u8, &withheld.datagram);
    // Of two calls that cross, one is not answered.
    let taken = !matches!(opened, Opened::Rejected(reject) if reject != Reject::Crossed);
    assert!(taken, "{opened:?} of what the peer has sent");
    Some(())
}

/// Random bytes, or one of the conversation with some changes.
fn datagram(input: &mut Input, history: &[Vec<u8>]) -> Option<Vec<u8>> {
    let which = usize::from(input.byte()?);
    if which >= 128 {
        let length = input.number()? % 1500;
        return Some(input.bytes(length).to_vec());
    }
    let mut datagram = history[which % history.len()].clone();
    let changes = input.byte()?;
    for _ in 0..changes & 3 {
        let at = input.number()? % datagram.len().max(1);
        let flip = input.byte()?;
        datagram.get_mut(at).into_iter().for_each(|byte| *byte ^= flip);
    }
    if changes & 4 != 0 {
        let length = input.number()? % (datagram.len() + 1);
        datagram.truncate(length);
    }
    if changes & 8 != 0 {
        let length = usize::from(input.byte()?);
        datagram.extend(input.bytes(length));
    }
    Some(datagram)
}

struct Flight {
    to: usize,
    datagram: Vec<u8>,
}

/// A datagram that has not arrived yet.
struct Withheld {
    to: usize,
    datagram: Vec<u8>,
}

struct Talk {
    ends: [End; 2],
    timers: Timers,
    now: Time,
    flying: VecDeque<Flight>,
    history: Vec<Vec<u8>>,
    /// Calls refused because they crossed another: they may be answered later.
    unspent: Vec<Vec<u8>>,
    left: usize,
}

impl Talk {
    fn new(before: usize, options: u8) -> Self {
        let aeads = if options & 1 == 0 { Aeads::AES_256_GCM } else { Aeads::CHACHA20_POLY1305 };
        let ping = (options & 2 != 0).then_some(Duration::from_secs(1));
        let timers = Timers { ping, ping_timeout: ping.map(|ping| ping * 4), ..Timers::default() };
        let end = |n: u8| {
            let ours = Hello { aeads, ..hello(u64::from(n ^ options >> 7) + 1, n == 1) };
            End::new(ours, n, Record::default(), timers)
        };
        let ends = [end(0), end(1)];
        let (flying, history, unspent) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { ends, timers, now: START, flying, history, unspent, left: before }
    }

    /// All that two ends do in a life: they call, one alone or both at once, send, wait, renew their keys, nap.
    fn live(&mut self) -> Result<(), Withheld> {
        self.ends[0].session.set_path(1);
        loop {
            self.packet(0)?;
            self.packet(1)?;
            self.wait(1500)?;
            self.now += Duration::from_secs(160);
            self.packet(0)?;
            self.packet(1)?;
            self.wait(1500)?;
            self.ends[1].session.close(self.now, Farewell::Nap);
            self.turn()?;
            self.wait(200)?;
            let (ours, stored) = (self.ends[1].ours, self.ends[1].stored);
            self.ends[1] = End::new(Hello { instance: ours.instance + 2, ..ours }, 1, stored, self.timers);
            self.ends[1].session.set_path(0);
            self.ends.iter_mut().for_each(|end| end.session.want(self.now));
            self.turn()?;
        }
    }

    /// A packet at one end; it calls if it has to.
    fn packet(&mut self, end: usize) -> Result<(), Withheld> {
        self.ends[end].session.want(self.now);
        self.turn()?;
        if let Some((_, datagram)) = self.ends[end].seal(self.now, b"packet") {
            self.send(1 - end, datagram);
        }
        self.turn()
    }

    fn wait(&mut self, ms: u64) -> Result<(), Withheld> {
        self.now += Duration::from_millis(ms);
        self.turn()
    }

    fn send(&mut self, to: usize, datagram: Vec<u8>) {
        self.history.push(datagram.clone());
        self.flying.push_back(Flight { to, datagram });
    }

    /// Both ends do what is due, and all arrives, until nobody has more to say.
    fn turn(&mut self) -> Result<(), Withheld> {
        loop {
            for end in [0, 1] {
                for (_, datagram) in self.ends[end].turn(self.now) {
                    self.send(1 - end, datagram);
                }
            }
            let Some(Flight { to, datagram }) = self.flying.pop_front() else { return Ok(()) };
            if self.left == 0 {
                return Err(Withheld { to, datagram });
            }
            self.left -= 1;
            let (opened, _) = self.ends[to].open(self.now, 1 - to as u8, &datagram);
            if opened == Opened::Rejected(Reject::Crossed) {
                self.unspent.push(datagram);
            }
        }
    }
}
