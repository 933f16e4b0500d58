//! Two sessions through handshake, traffic, rekey and their end, with entropy that can be had again.

use naptun::protocol::session::Record;
use naptun::protocol::{
    Action, Aeads, Entropy, HEAD, Hello, Moment, Opened, Secrets, Session, TAIL, Time, Timers,
};
use zeroize::Zeroize;

use crate::world::{Rng, hello, secs};

/// The moments at which memory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// The handshake is over, packets pass.
    Fresh,
    /// So is a rekey; the keys before it still open what was under way.
    Rekeyed,
    /// The first keys are 180 s old, and packets pass under the second.
    Replaced,
    /// Another rekey has begun; its answer does not come.
    Unanswered,
    /// The second are that old too, and nothing passes.
    Expired,
}

/// Entropy that remembers the ephemeral keys: nothing else asks for 32 bytes.
pub struct Tape {
    rng: Rng,
    pub ephemerals: Option<Vec<[u8; 32]>>,
}

impl Entropy for Tape {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill(bytes);
        if let (Some(ephemerals), Ok(key)) = (&mut self.ephemerals, <[u8; 32]>::try_from(&*bytes)) {
            ephemerals.push(key);
        }
    }
}

pub struct End {
    session: Session<u8>,
    pub tape: Tape,
}

/// The static key of a play.
pub fn static_key(seed: u64) -> [u8; 256] {
    let mut key = [0; 256];
    Rng::new(seed).fill(&mut key);
    key
}

/// Plays it all, and pauses at each scene. Returns the ends; with `remember` they know the ephemeral keys.
pub fn play(seed: u64, aeads: Aeads, remember: bool, mut pause: impl FnMut(Scene)) -> [End; 2] {
    let mut ends = [1, 2].map(|instance| end(seed, instance, aeads, remember));
    let mut now = secs(1000);
    ends[0].session.set_path(2);
    ends[0].session.want(now);
    settle(&mut ends, now);
    talk(&mut ends, now);
    tidy(&mut ends);
    pause(Scene::Fresh);

    now += secs(133);
    talk(&mut ends, now);
    settle(&mut ends, now);
    talk(&mut ends, now);
    tidy(&mut ends);
    pause(Scene::Rekeyed);

    now += secs(48);
    settle(&mut ends, now);
    talk(&mut ends, now);
    tidy(&mut ends);
    pause(Scene::Replaced);

    now += secs(90);
    talk(&mut ends, now);
    lose(&mut ends[0], now);
    tidy(&mut ends);
    pause(Scene::Unanswered);

    now += secs(179);
    settle(&mut ends, now);
    assert!(!ends.iter().any(|end| end.session.is_up(now)), "keys of 180 s are in use");
    tidy(&mut ends);
    pause(Scene::Expired);
    ends
}

/// Room that is painted, far more than a handshake takes.
pub const PAINTED: usize = 64 * 1024;
pub const PAINT: u8 = 0xa5;

/// A handshake and packets on a stack that was painted, and not tidied. Returns where the paint ends.
pub fn on_paint(seed: u64, aeads: Aeads) -> usize {
    let mut ends = [1, 2].map(|instance| end(seed, instance, aeads, false));
    ends[0].session.set_path(2);
    ends[0].session.want(secs(1000));
    let top = paint();
    settle(&mut ends, secs(1000));
    talk(&mut ends, secs(1000));
    top
}

#[inline(never)]
fn paint() -> usize {
    let mut room = [PAINT; PAINTED];
    std::hint::black_box(&mut room).as_ptr() as usize + PAINTED
}

fn end(seed: u64, instance: u64, aeads: Aeads, remember: bool) -> End {
    let mut key = static_key(seed);
    let ours = Hello { aeads, listener: instance == 2, ..hello(instance) };
    let session = Session::new(Secrets::derive(&key), ours, Record::default(), Timers::default());
    key.zeroize();
    let ephemerals = remember.then(Vec::new);
    End { session, tape: Tape { rng: Rng::new(seed ^ instance), ephemerals } }
}

/// Carries what the ends say across, until they have no more to say.
#[inline(never)]
pub fn settle(ends: &mut [End; 2], now: Time) {
    for turn in 0..32 {
        let [from, to] = ends;
        let (from, to) = if turn % 2 == 0 { (from, to) } else { (to, from) };
        let moment = Moment { now, wall: 1_800_000_000_000_000 };
        if from.session.deadline(now).is_some_and(|deadline| deadline <= now) {
            from.session.on_deadline(&moment, &mut from.tape);
        }
        while let Some(action) = from.session.next_action() {
            if let Action::Send { mut datagram, .. } = action {
                let opened = to.session.open(&moment, 1, &mut datagram, &mut to.tape);
                assert_eq!(opened, Opened::Control);
            }
        }
    }
}

/// What an end says at `now` is lost.
#[inline(never)]
fn lose(end: &mut End, now: Time) {
    end.session.on_deadline(&Moment { now, wall: 1_800_000_000_000_000 }, &mut end.tape);
    let lost = std::iter::from_fn(|| end.session.next_action()).count();
    assert_eq!(lost, 1);
}

/// Ten packets in each direction.
#[inline(never)]
fn talk(ends: &mut [End; 2], now: Time) {
    for turn in 0..20 {
        let [from, to] = ends;
        let (from, to) = if turn % 2 == 0 { (from, to) } else { (to, from) };
        let mut datagram = vec![7; HEAD + 100 * (turn + 1) + TAIL];
        from.session.seal(now, 0, &mut datagram).expect("there are keys");
        let opened = to.session.open(&Moment { now, wall: 0 }, 1, &mut datagram, &mut to.tape);
        assert_eq!(opened, Opened::Packet(0));
    }
}

fn tidy(ends: &mut [End; 2]) {
    ends.iter_mut().for_each(|end| end.session.tidy());
}
