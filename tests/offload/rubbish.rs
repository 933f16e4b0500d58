//! Bytes that nobody should have written: they cost a packet, never a panic, and nothing outside of the packet.

use naptun::packet::coalesce::{Coalescer, Offer, Packet};
use naptun::packet::segment::Burst;
use naptun::packet::transport::Transport;
use naptun::packet::vnet::{Gso, Header, Sum};
use naptun::packet::{Layer, checksum, inner, mss};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::wire::{heads, payload, plain};

/// Random bytes, and packets of which a few bytes were changed.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let random = vec(any::<u8>(), 0..200);
    let changed = (heads(), 0..200_usize, vec((any::<Index>(), any::<u8>()), 0..4), any::<Index>()).prop_map(
        |(head, length, changes, end)| {
            let mut packet = head.packet(&payload(length, 1));
            for (at, value) in changes {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            packet.truncate(packet.len() - end.index(packet.len()) / 3);
            packet
        },
    );
    prop_oneof![1 => random, 4 => changed]
}

fn layers() -> impl Strategy<Value = Layer> {
    select(&[Layer::Ip, Layer::Ethernet])
}

fn sums() -> impl Strategy<Value = Sum> {
    let partial = prop_oneof![(0..120_u16, 0..20_u16), any::<(u16, u16)>()]
        .prop_map(|(start, offset)| Sum::Partial { start, offset });
    prop_oneof![Just(Sum::Complete), Just(Sum::Verified), partial]
}

/// A partial checksum where the headers say, if they say so.
fn fitting(packet: &[u8], layer: Layer) -> (Gso, Sum) {
    let found = Transport::within(packet, layer);
    let (protocol, v6) = found.map_or((6, false), |it| (it.protocol, it.v6));
    let sum = found.map_or(Sum::Complete, |it| Sum::partial(&it));
    (Gso { protocol, v6, ecn: false, size: 1, header: 0 }, sum)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_transport_header_lies_within_its_packet(packet in rubbish(), layer in layers()) {
        if let Some(found) = Transport::within(&packet, layer) {
            prop_assert!(found.ip < found.at && found.at < found.payload && found.payload <= packet.len());
        }
        if let Some(found) = Transport::of(&packet, layer) {
            prop_assert!(found.payload <= found.end && found.end <= packet.len());
            let _ = checksum::verify(&packet, &found);
        }
    }

    #[test]
    fn no_burst_can_panic_and_its_segments_lie_within_it(
        packet in rubbish(), layer in layers(), size in prop_oneof![1..100_u16, 1..=u16::MAX],
        total in prop_oneof![0..400_usize, 0..70_000_usize],
    ) {
        let (gso, sum) = fitting(&packet, layer);
        let Some(mut burst) = Burst::new(&packet, total, &Gso { size, ..gso }, sum, layer) else { return Ok(()) };
        let mut out = [0; 256];
        let mut left = burst.payload();
        prop_assert_eq!(burst.header() + left, total);
        while let Some(segment) = burst.next(&mut out) {
            prop_assert_eq!(segment.offset + left, burst.payload());
            prop_assert!(segment.length > 0 && segment.length <= usize::from(size));
            left -= segment.length;
        }
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn no_header_of_the_kernel_can_panic_a_burst(
        packet in rubbish(), layer in layers(), header in any::<[u8; 10]>(), total in 0..70_000_usize,
    ) {
        let Some(Header { sum, gso: Some(gso) }) = Header::decode(&header) else { return Ok(()) };
        if let Some(mut burst) = Burst::new(&packet, total, &gso, sum, layer) {
            let _ = burst.next(&mut [0; 256]);
        }
    }

    #[test]
    fn no_packets_can_panic_the_coalescer_and_its_parts_lie_within_them(
        packets in vec((rubbish(), sums(), any::<bool>(), 0..8_u8), 1..40), layer in layers(), again in any::<u64>(),
    ) {
        let mut coalescer = Coalescer::new(layer, true);
        let (mut buffer, mut offered, mut taken) = (Vec::new(), 0, 0);
        for (index, (packet, sum, continues, choice)) in packets.into_iter().enumerate() {
            // One that was offered before is offered again, for super-packets of more than one part.
            let start = if (again >> (index % 64)) & 1 == 1 { 0 } else { buffer.len() };
            let at = if start < buffer.len() { start..buffer.len() } else { buffer.extend(packet); start..buffer.len() };
            offered += at.len();
            let packet = Packet { at, sum, continues };
            loop {
                match coalescer.offer(&buffer, &packet) {
                    Offer::Kept => break,
                    Offer::Alone => { taken += packet.at.len(); break }
                    Offer::First(flow) => taken += finish(&mut coalescer, &mut buffer, flow),
                }
            }
            if choice == 0 && let Some(flow) = coalescer.growing().next() {
                taken += finish(&mut coalescer, &mut buffer, flow);
            }
        }
        for flow in coalescer.growing() { taken += finish(&mut coalescer, &mut buffer, flow) }
        prop_assert!(coalescer.is_empty());
        prop_assert!(taken <= offered, "{} bytes of {}", taken, offered);
    }

    #[test]
    fn a_packet_that_is_not_where_it_is_said_to_be_is_not_kept(
        buffer in rubbish(), start in 0..500_usize, end in 0..500_usize, continues in any::<bool>(),
    ) {
        let mut coalescer = Coalescer::new(Layer::Ip, true);
        let packet = Packet { at: start..end, sum: Sum::Complete, continues };
        if coalescer.offer(&buffer, &packet) == Offer::Kept {
            prop_assert!(start < end && end <= buffer.len());
        }
    }

    #[test]
    fn the_inner_byte_and_the_segment_size_of_anything_can_be_asked_for(
        packet in rubbish(), layer in layers(), sum in sums(), bits in any::<u8>(), most in any::<u16>(),
    ) {
        let mut changed = packet.clone();
        let said = inner::of(&mut changed, sum, layer);
        prop_assert!(inner::sum(said, &changed, layer).is_some(), "what one end says, the other understands");
        let _ = inner::sum(bits, &packet, layer);
        mss::clamp(&mut changed, layer, sum, most);
        prop_assert_eq!(changed.len(), packet.len());
    }

    #[test]
    fn any_ten_bytes_are_a_header_or_none(bytes in any::<[u8; 10]>()) {
        if let Some(header) = Header::decode(&bytes) {
            let again = Header::decode(&header.encode());
            prop_assert_eq!(again, Some(header));
        }
    }
}

#[test]
fn a_flow_that_has_nothing_to_write_gives_nothing_and_writes_nowhere() {
    let head = plain(false, false, true);
    let mut buffer = [head.packet(&payload(100, 1)), vec![0; 60]].concat();
    let mut coalescer = Coalescer::new(Layer::Ip, true);
    let packet = Packet { at: 0..buffer.len() - 60, sum: Sum::Complete, continues: false };
    assert_eq!(coalescer.offer(&buffer, &packet), Offer::Kept);
    assert_eq!(coalescer.finish(&mut buffer, 0).1.len(), 1);
    let before = buffer.clone();
    for flow in [0, 1, 3, 4, 1000] {
        let (header, parts) = coalescer.finish(&mut buffer, flow);
        assert!(parts.is_empty() && header == Header::PLAIN && buffer == before, "flow {flow}");
    }
}

/// Bytes of the super-packet, all of which lie in the buffer.
fn finish(coalescer: &mut Coalescer, buffer: &mut [u8], flow: usize) -> usize {
    let (header, parts) = coalescer.finish(buffer, flow);
    assert_eq!(header.gso.is_some(), parts.len() > 1);
    assert!(parts.len() <= 64 && parts.is_empty() == (parts.iter().count() == 0));
    let length = parts.iter().map(|part| buffer.get(part).expect("within the buffer").len()).sum();
    assert!(length <= 65_535 + 22, "{length} bytes");
    length
}
