//! What one packet costs: `cargo bench --bench packet`.
//!
//! Machines differ and are shared: compare the columns of one run only. benches/burst.rs counts instructions instead.
#![allow(missing_docs)]

mod train;

use std::fmt;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use naptun::packet::Layer;
use naptun::packet::coalesce::Coalescer;
use naptun::packet::vnet::{Header, Sum};
use naptun::protocol::epoch::Epoch;
use naptun::protocol::noise::TransportKeys;
use naptun::protocol::{Aeads, HEAD, TAIL, Time};
use train::{HEADERS, SEGMENTS, SIZE, Way};

fn main() {
    divan::main();
}

/// A cipher and the bytes of a packet.
#[derive(Clone, Copy)]
struct Case(Aeads, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cipher = if self.0 == Aeads::AES_256_GCM { "AES-256-GCM" } else { "ChaCha20-Poly1305" };
        write!(f, "{cipher} {:4}", self.1)
    }
}

const CASES: [Case; 4] = [
    Case(Aeads::CHACHA20_POLY1305, 64),
    Case(Aeads::CHACHA20_POLY1305, 1400),
    Case(Aeads::AES_256_GCM, 64),
    Case(Aeads::AES_256_GCM, 1400),
];

/// Two ends under the same keys.
fn epochs(cipher: Aeads) -> Option<(Epoch, Epoch)> {
    let keys = TransportKeys { initiator: [1; 32], responder: [2; 32], hash: [0; 32] };
    let epoch = |initiator| Epoch::new(&keys, cipher, initiator, Time::ZERO);
    Some((epoch(true)?, epoch(false)?))
}

#[divan::bench(args = CASES)]
fn seal(bencher: Bencher<'_, '_>, case: Case) {
    let Some((mut ours, _)) = epochs(case.0) else { return };
    let mut datagram = vec![0; HEAD + case.1 + TAIL];
    bencher.counter(BytesCount::new(case.1)).bench_local(|| assert!(ours.seal(0, black_box(&mut datagram))));
}

#[divan::bench(args = CASES)]
fn open(bencher: Bencher<'_, '_>, case: Case) {
    let Some((mut ours, mut theirs)) = epochs(case.0) else { return };
    let sealed = || {
        let mut datagram = vec![0; HEAD + case.1 + TAIL];
        assert!(ours.seal(0, &mut datagram));
        datagram
    };
    bencher.counter(BytesCount::new(case.1)).with_inputs(sealed).bench_local_refs(|datagram| {
        let counter = theirs.plausible(datagram);
        assert!(counter.is_some_and(|counter| theirs.open(counter, datagram).is_ok()));
    });
}

/// The headers of all segments; their payload lies where it belongs.
#[divan::bench]
fn cut(bencher: Bencher<'_, '_>) {
    let (headers, mut train) = (train::headers(), train::train(false));
    bencher.counter(BytesCount::new(SEGMENTS * SIZE)).bench_local(|| {
        let burst = train::burst(black_box(&headers));
        let count = burst.map_or(0, |mut burst| {
            train.chunks_mut(train::DATAGRAM).map_while(|datagram| burst.next(&mut datagram[HEAD..])).count()
        });
        assert_eq!(count, SEGMENTS);
    });
}

#[divan::bench]
fn join_by_burst_bit(bencher: Bencher<'_, '_>) {
    join(bencher, Way { sum: Sum::Partial { start: 0, offset: 0 }, bit: true });
}

#[divan::bench]
fn join_by_headers_with_partial_checksums(bencher: Bencher<'_, '_>) {
    join(bencher, Way { sum: Sum::Partial { start: 0, offset: 0 }, bit: false });
}

#[divan::bench]
fn join_by_headers_with_complete_checksums(bencher: Bencher<'_, '_>) {
    join(bencher, Way { sum: Sum::Complete, bit: false });
}

fn join(bencher: Bencher<'_, '_>, way: Way) {
    let arrived = train::train(way.sum == Sum::Complete);
    let mut coalescer = Coalescer::new(Layer::Ip, false);
    let bencher = bencher.counter(BytesCount::new(SEGMENTS * SIZE));
    bencher.with_inputs(|| arrived.clone()).bench_local_refs(|train| {
        assert!((0..SEGMENTS).all(|index| train::offer(&mut coalescer, train, index, way)));
        let (header, count) = train::finish(&mut coalescer, train).unwrap_or((Header::PLAIN, 0));
        assert!(count == SEGMENTS && header.gso.is_some_and(|gso| usize::from(gso.header) == HEADERS));
    });
}
