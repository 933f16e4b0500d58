//! Packets offered one after the other: each is written once, in a super-packet or alone, and a super-packet can be
//! cut again.
//!
//! Input: `layer and UDP (1)`, then records of `what (1) | length (1) | packet`. Bits of `what`: 1, 2 the checksum;
//! 4 continues the burst; 8 no packet follows, it is the successor of the one before; 16 writes all before it.

#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use naptun::packet::coalesce::{Coalescer, Offer, Packet, Parts};
use naptun::packet::segment::Burst;
use naptun::packet::transport::{TCP, Transport};
use naptun::packet::vnet::{Header, Sum};
use naptun::packet::{Layer, checksum};
use naptun_fuzz::layer;

const CHECKSUM: u8 = 3;
const CONTINUES: u8 = 4;
const SUCCESSOR: u8 = 8;
const WRITE: u8 = 16;

fuzz_target!(|input: &[u8]| {
    let Some((first, records)) = input.split_first() else { return };
    let mut end = End::new(layer(*first), first & 2 != 0);
    end.take_all(records);
    end.write_all();
    assert!(end.coalescer.is_empty());
    assert!(end.waiting.is_empty(), "packets that were never written");
});

struct End {
    coalescer: Coalescer,
    layer: Layer,
    buffer: Vec<u8>,
    /// Where packets lie that are not written yet.
    waiting: Vec<Range<usize>>,
}

impl End {
    fn new(layer: Layer, udp: bool) -> Self {
        Self { coalescer: Coalescer::new(layer, udp), layer, buffer: Vec::new(), waiting: Vec::new() }
    }

    fn take_all(&mut self, mut records: &[u8]) {
        let mut before = Vec::new();
        while let Some(([what, length], rest)) = records.split_first_chunk() {
            let length = if what & SUCCESSOR == 0 { usize::from(*length).min(rest.len()) } else { 0 };
            let (packet, rest) = rest.split_at(length);
            records = rest;
            before = if what & SUCCESSOR == 0 { packet.to_vec() } else { successor(before, self.layer) };
            if what & WRITE != 0 {
                self.write_all();
            }
            self.take(&before, *what);
        }
    }

    fn take(&mut self, bytes: &[u8], what: u8) {
        let at = self.buffer.len()..self.buffer.len() + bytes.len();
        self.buffer.extend(bytes);
        self.waiting.push(at.clone());
        let sum = match what & CHECKSUM {
            0 => Sum::Complete,
            1 => Sum::Verified,
            _ => Sum::Partial { start: 0, offset: 0 },
        };
        let packet = Packet { at, sum, continues: what & CONTINUES != 0 };
        for _ in 0..2 {
            match self.coalescer.offer(&self.buffer, &packet) {
                Offer::Kept => return,
                Offer::Alone => return self.written(&packet.at),
                Offer::First(flow) => self.write(flow),
            }
        }
        panic!("offered twice, and still not taken");
    }

    fn write_all(&mut self) {
        for flow in self.coalescer.growing() {
            self.write(flow);
        }
    }

    fn write(&mut self, flow: usize) {
        let (header, parts) = self.coalescer.finish(&mut self.buffer, flow);
        assert!(!parts.is_empty() && header.gso.is_some() == (parts.len() > 1));
        assert!(Header::decode(&header.encode()).is_some());
        for part in parts.iter() {
            self.written(&part);
        }
        if parts.len() > 1 {
            self.check(&header, &parts);
        }
    }

    /// A part ends where a packet does, and each packet is written once.
    fn written(&mut self, part: &Range<usize>) {
        let is_of =
            |packet: &Range<usize>| packet == part || packet.end == part.end && packet.contains(&part.start);
        let index = self.waiting.iter().position(is_of);
        self.waiting.remove(index.expect("a packet that was offered, and not written before"));
    }

    /// The super-packet is cut into as many packets of the same sizes.
    fn check(&self, header: &Header, parts: &Parts) {
        let whole = parts.iter().flat_map(|part| &self.buffer[part]).copied().collect::<Vec<_>>();
        let gso = header.gso.expect("more than one part");
        let mut burst =
            Burst::new(&whole, whole.len(), &gso, header.sum, self.layer).expect("what can be cut");
        let transport = Transport::of(&whole, self.layer).expect("lengths that agree");
        assert_eq!(transport.end, whole.len());
        assert_eq!(burst.header(), usize::from(gso.header));
        let mut headers = [0; 512];
        for (index, part) in parts.iter().enumerate() {
            let segment = burst.next(&mut headers).expect("as many segments as parts");
            assert_eq!(segment.length, part.len() - if index == 0 { burst.header() } else { 0 });
        }
        assert_eq!(burst.next(&mut headers), None);
    }
}

/// The packet that would come next in a flow, with a right checksum; the same where there is none.
fn successor(mut packet: Vec<u8>, layer: Layer) -> Vec<u8> {
    let Some(found) = Transport::of(&packet, layer) else { return packet };
    if !found.v6 {
        add(&mut packet[found.ip + 4..found.ip + 6], 1);
        packet[found.ip + 10..found.ip + 12].fill(0);
        let sum = !checksum::fold(checksum::add(0, &packet[found.ip..found.at]));
        packet[found.ip + 10..found.ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if found.protocol == TCP {
        add(&mut packet[found.at + 4..found.at + 8], found.end - found.payload);
    }
    let field = found.at + usize::from(found.checksum_offset());
    let pseudo = checksum::fold(checksum::pseudo(&packet, &found, found.end - found.at));
    packet[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
    let _ = checksum::complete(&mut packet[..found.end], found.at, usize::from(found.checksum_offset()));
    packet
}

/// Adds to a number in big endian.
fn add(bytes: &mut [u8], number: usize) {
    let old = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let new = (old + number as u64).to_be_bytes();
    bytes.copy_from_slice(&new[8 - bytes.len()..]);
}
