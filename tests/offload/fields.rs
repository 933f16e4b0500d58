//! Headers and checksums, field by field.

use naptun::packet::checksum::{add, complete, fold, pseudo, verify};
use naptun::packet::transport::Transport;
use naptun::packet::vnet::{Gso, Header, Sum};
use naptun::packet::{Layer, inner};
use proptest::prelude::*;
use proptest::sample::select;

use super::wire::{self, Head, Network, TCP, UDP, heads, payload, plain, sum};

/// The fields of struct virtio_net_hdr, in order.
fn raw(flags: u8, kind: u8, fields: [u16; 4]) -> [u8; 10] {
    let fields = fields.iter().flat_map(|field| field.to_ne_bytes()).collect::<Vec<_>>();
    [&[flags, kind], &fields[..]].concat().try_into().unwrap()
}

fn headers() -> impl Strategy<Value = Header> {
    let partial = any::<(u16, u16)>().prop_map(|(start, offset)| Sum::Partial { start, offset });
    let sum = prop_oneof![Just(Sum::Complete), Just(Sum::Verified), partial];
    let kind = select(&[(TCP, false), (TCP, true), (UDP, false)]);
    let gso = (kind, any::<bool>(), 1..=u16::MAX, any::<u16>())
        .prop_map(|((protocol, v6), ecn, size, header)| Gso { protocol, v6, ecn, size, header });
    (sum, prop::option::of(gso)).prop_map(|(sum, gso)| Header { sum, gso })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_is_the_reverse_of_encoding(header in headers()) {
        prop_assert_eq!(Header::decode(&header.encode()), Some(header));
    }

    #[test]
    fn what_is_decoded_has_what_the_kernel_wrote(flags in any::<u8>(), kind in any::<u8>(), fields in any::<[u16; 4]>()) {
        let [header, size, start, offset] = fields;
        let known = matches!(kind & 0x7f, 1 | 4 | 5) && size > 0;
        let decoded = Header::decode(&raw(flags, kind, fields));
        prop_assert_eq!(decoded.is_some(), known || kind & 0x7f == 0, "{:?}", decoded);
        let Some(decoded) = decoded else { return Ok(()) };
        let sum = match flags {
            _ if flags & 1 != 0 => Sum::Partial { start, offset },
            _ if flags & 2 != 0 => Sum::Verified,
            _ => Sum::Complete,
        };
        let (protocol, v6) = (if kind & 0x7f == 5 { UDP } else { TCP }, kind & 0x7f == 4);
        let gso = Gso { protocol, v6, ecn: kind & 0x80 != 0, size, header };
        prop_assert_eq!(decoded, Header { sum, gso: known.then_some(gso) });
    }

    #[test]
    fn sums_are_those_of_words_added_one_by_one(
        before in any::<u32>(), bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0..5_usize,
    ) {
        let bytes = &bytes[start.min(bytes.len())..];
        let naive = sum(&[&before.to_be_bytes(), bytes].concat());
        prop_assert_eq!(fold(add(u64::from(before), bytes)), naive);
    }

    #[test]
    fn folding_keeps_the_sum(number in any::<u64>()) {
        let folded = fold(number);
        prop_assert_eq!(u64::from(folded) % 0xffff, number % 0xffff);
        prop_assert_eq!(folded == 0, number == 0);
    }

    #[test]
    fn the_transport_header_is_where_it_was_put(head in heads(), length in 0..300_usize, padding in 0..3_usize) {
        let mut packet = head.packet(&payload(length, 3));
        let wanted = Transport {
            ip: head.ip(), v6: head.v6(), protocol: head.protocol(), at: head.at(), payload: head.length(),
            end: packet.len(),
        };
        packet.extend(vec![0; padding]);
        prop_assert_eq!(Transport::of(&packet, head.layer()), Some(wanted));
        prop_assert_eq!(Transport::within(&packet[..head.length()], head.layer()), Some(wanted));
        for short in 0..head.length() {
            prop_assert_eq!(Transport::within(&packet[..short], head.layer()), None);
        }
        for short in 0..wanted.end {
            prop_assert_eq!(Transport::of(&packet[..short], head.layer()), None);
        }
    }

    #[test]
    fn checksums_are_completed_and_found_right_and_each_flipped_bit_is_found(
        head in heads(), length in 0..300_usize, bit in 0..8_u32, at in any::<prop::sample::Index>(),
    ) {
        let payload = payload(length, 11);
        let (mut packet, wanted) = (head.partial_packet(&payload), head.packet(&payload));
        let Sum::Partial { start, offset } = head.partial() else { unreachable!() };
        let transport = Transport::of(&packet, head.layer()).unwrap();
        prop_assert_eq!(Sum::partial(&transport), head.partial());
        let field = head.at() + usize::from(offset);
        let sum = fold(pseudo(&packet, &transport, packet.len() - head.at()));
        prop_assert_eq!(&packet[field..field + 2], &sum.to_be_bytes());
        prop_assert_eq!(complete(&mut packet, usize::from(start), usize::from(offset)), Some(()));
        prop_assert!(packet == wanted);
        prop_assert!(verify(&packet, &transport));
        let at = head.at() + at.index(packet.len() - head.at());
        packet[at] ^= 1 << bit;
        prop_assert!(!verify(&packet, &transport));
    }

    #[test]
    fn the_inner_byte_says_of_a_checksum_what_the_kernel_said(head in heads(), length in 0..100_usize) {
        let payload = payload(length, 5);
        let (partial, complete) = (head.partial_packet(&payload), head.packet(&payload));
        for (sum, bits, bytes) in [
            (head.partial(), 0x01, &partial), (Sum::Complete, 0x00, &complete), (Sum::Verified, 0x08, &complete),
        ] {
            let mut packet = bytes.clone();
            prop_assert_eq!(inner::of(&mut packet, sum, head.layer()), bits);
            prop_assert!(packet == *bytes);
            prop_assert_eq!(inner::sum(bits, &packet, head.layer()), Some(sum));
        }
    }
}

#[test]
fn headers_have_the_layout_of_the_kernel() {
    let partial = Sum::Partial { start: 34, offset: 16 };
    let gso = Gso { protocol: TCP, v6: false, ecn: false, size: 1348, header: 66 };
    let encode = |sum, gso| Header { sum, gso }.encode();
    assert_eq!(Header::PLAIN.encode(), [0; 10]);
    assert_eq!(encode(Sum::Verified, None), raw(2, 0, [0; 4]));
    assert_eq!(encode(partial, None), raw(1, 0, [0, 0, 34, 16]));
    assert_eq!(encode(partial, Some(gso)), raw(1, 1, [66, 1348, 34, 16]));
    assert_eq!(encode(partial, Some(Gso { ecn: true, ..gso })), raw(1, 0x81, [66, 1348, 34, 16]));
    assert_eq!(encode(partial, Some(Gso { v6: true, ..gso })), raw(1, 4, [66, 1348, 34, 16]));
    assert_eq!(encode(partial, Some(Gso { protocol: UDP, ..gso })), raw(1, 5, [66, 1348, 34, 16]));
}

#[test]
fn a_super_packet_of_segments_without_payload_is_refused() {
    for kind in [1, 4, 5] {
        assert_eq!(Header::decode(&raw(1, kind, [52, 0, 20, 16])), None);
        assert!(Header::decode(&raw(1, kind, [52, 1, 20, 16])).is_some());
    }
}

#[test]
fn folding_carries_as_often_as_it_must() {
    let words = [0_u64, 1, 0xfffe, 0xffff];
    for index in 0..256 {
        let number = (0..4).fold(0, |number, at| number << 16 | words[index >> (2 * at) & 3]);
        let wanted = if number == 0 { 0 } else { (number - 1) % 0xffff + 1 };
        assert_eq!(u64::from(fold(number)), wanted, "{number:#x}");
    }
}

#[test]
fn sums_of_every_length_and_start_are_right() {
    let bytes = payload(210, 77);
    for start in 0..8 {
        for length in 0..=200 {
            let bytes = &bytes[start..start + length];
            assert_eq!(fold(add(0, bytes)), sum(bytes), "{length} bytes from {start}");
            let ones = vec![0xff; length];
            assert_eq!(fold(add(0, &ones)), sum(&ones), "{length} ones");
        }
    }
    assert_eq!(fold(add(0, &vec![0xff; 65_536])), 0xffff);
    assert_eq!(fold(add(u64::from(u32::MAX), &[])), 0xffff);
}

#[test]
fn a_checksum_that_would_be_zero_is_completed_to_ones() {
    for length in [2, 3, 40] {
        let mut packet = vec![0; length];
        packet[0..2].copy_from_slice(&0xfffe_u16.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        if length % 2 == 1 {
            packet.insert(length, 0);
        }
        let field = packet.len() - 4;
        assert_eq!(complete(&mut packet, 0, field), Some(()));
        assert_eq!(packet[field..field + 2], [0xff, 0xff], "{length}");
    }
}

#[test]
fn a_checksum_outside_of_the_packet_is_not_completed() {
    for (start, offset) in [(0, 9), (0, 10), (9, 0), (10, 0), (11, 0), (4, 5), (65_535, 65_535)] {
        let mut packet = vec![1; 10];
        assert_eq!(complete(&mut packet, start, offset), None, "{start} {offset}");
        assert_eq!(packet, [1; 10]);
    }
    assert_eq!(complete(&mut [1; 10], 4, 4), Some(()));
}

/// A payload with which the sum comes out as zero, so that the checksum is all ones.
fn payload_of_zero_sum(head: &Head) -> Vec<u8> {
    let field = head.at() + 6;
    let payloads = (0..=u16::MAX).map(|word| word.to_be_bytes().to_vec());
    let mut fitting = payloads.filter(|payload| head.packet(payload)[field..field + 2] == [0xff, 0xff]);
    fitting.next().unwrap()
}

#[test]
fn a_checksum_that_udp_leaves_out_is_not_right() {
    for v6 in [false, true] {
        let head = plain(v6, false, false);
        for payload in [b"some".to_vec(), payload_of_zero_sum(&head)] {
            let mut packet = head.packet(&payload);
            let transport = Transport::of(&packet, Layer::Ip).unwrap();
            assert!(verify(&packet, &transport));
            packet[head.at() + 6..head.at() + 8].fill(0);
            assert!(!verify(&packet, &transport));
        }
    }
}

#[test]
fn a_partial_checksum_that_the_other_end_would_not_find_is_completed_here() {
    let head = plain(false, false, true);
    let mut changes: Vec<(Vec<u8>, Sum)> = Vec::new();
    let mut fragment = head.partial_packet(b"payload");
    fragment[6] = 0x20;
    changes.push((fragment, head.partial()));
    let mut other = head.partial_packet(b"payload");
    other[9] = 132;
    changes.push((other, Sum::Partial { start: 20, offset: 8 }));
    changes.push((head.partial_packet(b"payload"), Sum::Partial { start: 20, offset: 6 }));
    changes.push((head.partial_packet(b"payload"), Sum::Partial { start: 18, offset: 16 }));
    for (mut packet, sum) in changes {
        let Sum::Partial { start, offset } = sum else { unreachable!() };
        let mut wanted = packet.clone();
        wire::complete(&mut wanted, usize::from(start), usize::from(start + offset));
        assert_eq!(inner::of(&mut packet, sum, Layer::Ip), 0);
        assert!(packet == wanted);
        assert_eq!(inner::sum(0, &packet, Layer::Ip), Some(Sum::Complete));
    }
    let mut fragment = head.packet(b"payload");
    fragment[7] = 1;
    assert_eq!(inner::sum(0x01, &fragment, Layer::Ip), None);
}

/// A packet without transport header, or with one that cannot be.
fn broken() -> Vec<(&'static str, Layer, Vec<u8>)> {
    let change = |head: &Head, name, at: usize, value: u8| {
        let mut packet = head.packet(b"payload");
        packet[at] = value;
        (name, head.layer(), packet)
    };
    let (v4, v6) = (plain(false, false, true), plain(true, false, true));
    let (tap, udp) = (plain(false, true, true), plain(false, false, false));
    vec![
        change(&v4, "version 5", 0, 0x55),
        change(&v4, "a header of 16 bytes", 0, 0x44),
        change(&v4, "more fragments", 6, 0x20),
        change(&v4, "the second fragment", 7, 1),
        change(&v4, "a late fragment", 6, 0x1f),
        change(&v4, "GRE", 9, 47),
        change(&v4, "longer than it is", 3, 255),
        change(&v4, "shorter than its headers", 3, 51),
        change(&v4, "a TCP header of 16 bytes", 32, 0x40),
        change(&v4, "a TCP header of 60 bytes", 32, 0xf0),
        change(&v6, "ICMPv6", 6, 58),
        change(&v6, "a fragment header", 6, 44),
        change(&v6, "a long extension header", 6, 0),
        change(&v6, "longer than it is", 5, 255),
        change(&tap, "ARP", 17, 6),
        change(&tap, "IPv6 that is IPv4", 16, 0x86),
        change(&tap, "IPv4 of version 6", 18, 0x65),
        change(&udp, "UDP shorter than its header", 3, 27),
    ]
}

#[test]
fn there_is_no_transport_header_in_what_is_broken_or_something_else() {
    for (name, layer, packet) in broken() {
        assert_eq!(Transport::of(&packet, layer), None, "{name}");
    }
}

#[test]
fn three_tags_and_nine_extension_headers_are_too_many() {
    let tagged = |count| {
        let mut head = plain(false, true, true);
        head.tags = Some(vec![(0x88a8, 1); count]);
        Transport::of(&head.packet(b"x"), Layer::Ethernet).is_some()
    };
    assert!(tagged(2) && !tagged(3));
    let extended = |count| {
        let mut head = plain(true, false, true);
        head.network =
            Network::V6 { label: 0, extensions: vec![(wire::DESTINATION, vec![1, 4, 0, 0, 0, 0]); count] };
        Transport::of(&head.packet(b"x"), Layer::Ip).is_some()
    };
    assert!(extended(7) && !extended(8) && !extended(9));
}
