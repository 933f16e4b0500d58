//! What the benchmarks are about: one TCP stream in super-packets of 60 KB, and the sessions it passes through.

use std::ops::Range;

use naptun::packet::coalesce::{Coalescer, Offer, Packet};
use naptun::packet::segment::Burst;
use naptun::packet::vnet::{Gso, Header, Sum};
use naptun::packet::{Layer, checksum};
use naptun::protocol::{HEAD, TAIL};

/// Segments of the super-packet: as many as one train carries at an MTU of 1420.
pub const SEGMENTS: usize = 44;

/// Payload of a segment: 1420 bytes less IPv4, TCP and time stamps.
pub const SIZE: usize = 1368;

/// Headers of IPv4 and of TCP with time stamps.
pub const HEADERS: usize = 52;

/// One datagram, sealing included.
pub const DATAGRAM: usize = HEAD + HEADERS + SIZE + TAIL;

/// From 10.8.0.1 to 10.8.0.2, a length to be filled in, sums to be made; then TCP with ACK and PSH.
const IPV4: [u8; 20] = [0x45, 0, 0, 0, 1, 0, 0x40, 0, 64, 6, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2];
const TCP: [u8; 32] = [
    0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 77, 0x80, 0x18, 1, 245, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1,
    0, 0, 0, 2,
];

/// The headers of the super-packet, as the kernel hands them over.
pub fn headers() -> Vec<u8> {
    let mut bytes = [&IPV4[..], &TCP].concat();
    let total = HEADERS + SEGMENTS * SIZE;
    bytes[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    let sum = !checksum::fold(checksum::add(0, &bytes[..20]));
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = checksum::add(6 + (total as u64 - 20), &bytes[12..20]);
    bytes[36..38].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    bytes
}

/// The same in words.
pub fn burst(headers: &[u8]) -> Option<Burst> {
    let gso = Gso { protocol: 6, v6: false, ecn: false, size: SIZE as u16, header: HEADERS as u16 };
    let sum = Sum::Partial { start: 20, offset: 16 };
    Burst::new(headers, HEADERS + SEGMENTS * SIZE, &gso, sum, Layer::Ip)
}

/// The segments side by side, each with room for its sealing; their checksums partial or complete.
pub fn train(complete: bool) -> Vec<u8> {
    let mut train = vec![0x5a; SEGMENTS * DATAGRAM];
    let Some(mut burst) = burst(&headers()) else { return Vec::new() };
    for datagram in train.chunks_mut(DATAGRAM) {
        let packet = &mut datagram[HEAD..DATAGRAM - TAIL];
        if burst.next(packet).is_some() && complete {
            let _ = checksum::complete(packet, 20, 16);
        }
    }
    train
}

/// How a train is offered.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub sum: Sum,
    pub bit: bool,
}

/// Offers one packet. Returns whether it was kept without a write.
pub fn offer(coalescer: &mut Coalescer, train: &[u8], index: usize, way: Way) -> bool {
    let at = packet(index);
    let packet = Packet { at, sum: way.sum, continues: way.bit && index > 0 };
    coalescer.offer(train, &packet) == Offer::Kept
}

/// Writes what was joined. Returns the header and the number of packets in it.
pub fn finish(coalescer: &mut Coalescer, train: &mut [u8]) -> Option<(Header, usize)> {
    let flow = coalescer.growing().next()?;
    let (header, parts) = coalescer.finish(train, flow);
    Some((header, parts.len()))
}

fn packet(index: usize) -> Range<usize> {
    index * DATAGRAM + HEAD..(index + 1) * DATAGRAM - TAIL
}
