//! Two packets, and whether they belong together.

use naptun::packet::Layer;
use naptun::packet::vnet::Sum;

use super::kernel;
use super::receiver::{Receiver, packets};
use super::wire::{ACK, CWR, DESTINATION, ECE, FIN, HOP_BY_HOP, Head, Network, PSH, RST, SYN, Tcp, URG};
use super::wire::{payload, plain};

/// Two packets that belong together, of 100 bytes each.
fn pair(head: &Head) -> [(Head, Vec<u8>); 2] {
    [0, 1].map(|index| (kernel::segment(head, index, true, 100), payload(100, index as u64 + 1)))
}

/// How many writes a pair takes with the second packet changed.
fn writes(head: &Head, change: impl Fn(&mut Head, &mut Vec<u8>), sums: [Sum; 2]) -> usize {
    let [(first, one), (mut second, mut two)] = pair(head);
    change(&mut second, &mut two);
    let mut receiver = Receiver::new(head.layer(), true);
    let mut wanted = Vec::new();
    for ((head, payload), sum) in [(first, one), (second, two)].iter().zip(sums) {
        let partial = matches!(sum, Sum::Partial { .. });
        let packet = if partial { head.partial_packet(payload) } else { head.packet(payload) };
        receiver.take(&packet, if partial { head.partial() } else { sum }, false);
        wanted.push(head.packet(payload));
    }
    let written = receiver.finish();
    assert!(packets(&written, head.layer()) == wanted);
    written.len()
}

fn kinds() -> impl Iterator<Item = Head> {
    (0..8).map(|bits| plain(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0))
}

const SUMS: [Sum; 3] = [Sum::Complete, Sum::Verified, Sum::Partial { start: 0, offset: 0 }];

#[test]
fn two_packets_that_belong_together_are_joined_unless_one_sum_is_partial() {
    for head in kinds() {
        for (one, two) in SUMS.iter().flat_map(|one| SUMS.iter().map(move |two| (*one, *two))) {
            let mixed = matches!(one, Sum::Partial { .. }) != matches!(two, Sum::Partial { .. });
            let wanted = if mixed { 2 } else { 1 };
            assert_eq!(writes(&head, |_, _| (), [one, two]), wanted, "{one:?} {two:?} {head:?}");
        }
    }
}

/// Changes of a second packet, each of one field.
type Change = (&'static str, fn(&mut Head) -> bool);

const CHANGES: [Change; 23] = [
    ("tag", |head| {
        head.tags.as_mut().is_some_and(|tags| {
            tags[0].1 ^= 1;
            true
        })
    }),
    ("tag type", |head| {
        head.tags.as_mut().is_some_and(|tags| {
            tags[0].0 = 0x88a8;
            true
        })
    }),
    ("two tags", |head| {
        head.tags.as_mut().is_some_and(|tags| {
            tags.push((0x8100, 1));
            true
        })
    }),
    ("no tag", |head| {
        head.tags.as_mut().is_some_and(|tags| {
            tags.clear();
            true
        })
    }),
    ("traffic class", |head| {
        head.traffic ^= 4;
        true
    }),
    ("congestion", |head| {
        head.traffic ^= 1;
        true
    }),
    ("hops", |head| {
        head.hops -= 1;
        true
    }),
    ("source", |head| {
        head.source[3] ^= 1;
        true
    }),
    ("destination", |head| {
        head.destination[0] ^= 1;
        true
    }),
    ("source port", |head| {
        head.ports.0 ^= 1;
        true
    }),
    ("destination port", |head| {
        head.ports.1 ^= 0x100;
        true
    }),
    ("label", |head| v6(head, |label, _| *label ^= 1)),
    ("extension", |head| v6(head, |_, extensions| extensions.push((DESTINATION, vec![1, 4, 0, 0, 0, 0])))),
    ("don't fragment", |head| v4(head, |_, whole, _| *whole = !*whole)),
    ("IPv4 options", |head| v4(head, |_, _, options| options.extend([1, 1, 1, 0]))),
    ("acknowledgement", |head| tcp(head, |tcp| tcp.acknowledgement += 1)),
    ("window", |head| tcp(head, |tcp| tcp.window += 1)),
    ("reserved bits", |head| tcp(head, |tcp| tcp.reserved ^= 1)),
    ("urgent pointer", |head| tcp(head, |tcp| tcp.urgent ^= 1)),
    ("first option", |head| tcp(head, |tcp| tcp.options[0] = 0)),
    ("time stamp", |head| tcp(head, |tcp| tcp.options[11] ^= 1)),
    ("more options", |head| tcp(head, |tcp| tcp.options.extend([1, 1, 1, 1]))),
    ("no options", |head| tcp(head, |tcp| tcp.options.clear())),
];

fn v4(head: &mut Head, change: impl Fn(&mut u16, &mut bool, &mut Vec<u8>)) -> bool {
    let Network::V4 { id, whole, options } = &mut head.network else { return false };
    change(id, whole, options);
    true
}

fn v6(head: &mut Head, change: impl Fn(&mut u32, &mut Vec<(u8, Vec<u8>)>)) -> bool {
    let Network::V6 { label, extensions } = &mut head.network else { return false };
    change(label, extensions);
    true
}

fn tcp(head: &mut Head, change: impl Fn(&mut Tcp)) -> bool {
    head.tcp.as_mut().map(change).is_some()
}

#[test]
fn a_packet_that_differs_in_one_field_is_not_joined() {
    for head in kinds() {
        for (name, change) in CHANGES {
            let applies = change(&mut head.clone());
            for sum in SUMS {
                let writes = writes(
                    &head,
                    |head, _| {
                        change(head);
                    },
                    [sum; 2],
                );
                assert_eq!(writes, if applies { 2 } else { 1 }, "{name}, {sum:?}, {head:?}");
            }
        }
    }
}

#[test]
fn a_packet_whose_options_or_extensions_differ_within_is_not_joined() {
    let mut v4_head = plain(false, false, true);
    v4(&mut v4_head, |_, _, options| *options = vec![1; 40]);
    let mut v6_head = plain(true, true, true);
    v6(&mut v6_head, |_, extensions| {
        *extensions = [HOP_BY_HOP, DESTINATION].map(|kind| (kind, vec![1, 4, 0, 0, 0, 0])).to_vec()
    });
    for sum in SUMS {
        assert_eq!(writes(&v4_head, |_, _| (), [sum; 2]), 1);
        assert_eq!(
            writes(
                &v4_head,
                |head, _| {
                    v4(head, |_, _, options| options[39] = 0);
                },
                [sum; 2]
            ),
            2
        );
        assert_eq!(writes(&v6_head, |_, _| (), [sum; 2]), 1);
        assert_eq!(
            writes(
                &v6_head,
                |head, _| {
                    v6(head, |_, list| list[1].1[5] = 1);
                },
                [sum; 2]
            ),
            2
        );
        assert_eq!(
            writes(
                &v6_head,
                |head, _| {
                    v6(head, |_, list| list[0].1[5] = 1);
                },
                [sum; 2]
            ),
            2
        );
    }
}

#[test]
fn sequence_numbers_go_on_where_the_last_packet_ended() {
    for head in kinds().filter(|head| head.tcp.is_some()) {
        for (by, wanted) in
            [(0, 1), (1, 2), (u32::MAX, 2), (0x1_0000, 2), (100, 2), (0_u32.wrapping_sub(100), 2)]
        {
            let change = |head: &mut Head, _: &mut Vec<u8>| {
                head.tcp().sequence = head.tcp().sequence.wrapping_add(by);
            };
            for sum in SUMS {
                assert_eq!(writes(&head, change, [sum; 2]), wanted, "{by}");
            }
        }
    }
}

/// Writes that packets of 100 bytes with these identifiers take, offered in the order of their sequence.
fn writes_of_ids(ids: &[u16], whole: bool, tcp: bool) -> usize {
    let mut receiver = Receiver::new(Layer::Ip, true);
    for (index, id) in ids.iter().enumerate() {
        let mut head = kernel::segment(&plain(false, false, tcp), index, true, 100);
        head.network = Network::V4 { id: *id, whole, options: Vec::new() };
        receiver.take(&head.packet(&payload(100, 1)), Sum::Complete, false);
    }
    receiver.finish().len()
}

#[test]
fn ipv4_identifiers_count_on_or_stand_still_where_nothing_is_ever_cut() {
    for tcp in [true, false] {
        for whole in [true, false] {
            assert_eq!(writes_of_ids(&[7, 8, 9], whole, tcp), 1);
            assert_eq!(writes_of_ids(&[65_535, 0, 1], whole, tcp), 1);
            assert_eq!(writes_of_ids(&[7, 9, 10], whole, tcp), 2);
            assert_eq!(writes_of_ids(&[7, 6, 5], whole, tcp), 3);
            assert_eq!(writes_of_ids(&[7, 8, 10], whole, tcp), 2);
            assert_eq!(writes_of_ids(&[7, 0x108, 0x109], whole, tcp), 2);
        }
        assert_eq!(writes_of_ids(&[0, 0, 0], true, tcp), 1);
        assert_eq!(writes_of_ids(&[9, 9, 9], true, tcp), 1);
        assert_eq!(writes_of_ids(&[0, 0, 0], false, tcp), 3);
        assert_eq!(writes_of_ids(&[9, 9, 10], false, tcp), 2);
    }
}

/// Writes that a second packet of these flags takes, behind one with those of the first.
fn writes_of_flags(first: u8, second: u8) -> usize {
    let mut head = plain(false, false, true);
    head.tcp().flags = first;
    let [(one, data), _] = pair(&head);
    let mut two = kernel::segment(&head, 1, true, 100);
    two.tcp().flags = second;
    let wanted = [one.packet(&data), two.packet(&data)];
    let mut receiver = Receiver::new(Layer::Ip, true);
    for packet in &wanted {
        receiver.take(packet, Sum::Complete, false);
    }
    let written = receiver.finish();
    assert!(packets(&written, Layer::Ip) == wanted, "{first:#x} {second:#x}");
    written.len()
}

#[test]
fn flags_are_joined_where_cutting_gives_them_back() {
    // PSH and FIN end a super-packet, CWR begins one, ECE is on all or on none; nothing else is data.
    for first in 0..=255_u8 {
        for second in 0..=255 {
            let data = |flags: u8| flags & ACK != 0 && flags & (SYN | RST | URG) == 0;
            let follows = first & (PSH | FIN) == 0 && second & CWR == 0 && (first ^ second) & ECE == 0;
            let joined = data(first) && data(second) && follows;
            assert_eq!(writes_of_flags(first, second), if joined { 1 } else { 2 }, "{first:#x} {second:#x}");
        }
    }
}

/// Parts of each write, for payloads of these lengths.
fn parts_of_lengths(head: &Head, udp: bool, lengths: &[usize]) -> Vec<usize> {
    let mut receiver = Receiver::new(head.layer(), udp);
    let (mut wanted, mut sent) = (Vec::new(), 0);
    for (index, length) in lengths.iter().enumerate() {
        let mut head = kernel::segment(head, index, true, 0);
        if let Some(tcp) = &mut head.tcp {
            tcp.sequence = tcp.sequence.wrapping_add(sent as u32);
        }
        sent += length;
        wanted.push(head.packet(&payload(*length, 5)));
        receiver.take(&wanted[index], Sum::Complete, false);
    }
    let written = receiver.finish();
    assert!(packets(&written, head.layer()) == wanted);
    written.iter().map(|written| written.parts).collect()
}

#[test]
fn only_equal_sizes_are_joined_and_one_that_is_shorter_behind_them() {
    for head in kinds() {
        let parts = |lengths: &[usize]| parts_of_lengths(&head, true, lengths);
        assert_eq!(parts(&[100, 100, 100]), [3]);
        assert_eq!(parts(&[100, 100, 60, 100]), [3, 1]);
        assert_eq!(parts(&[100, 100, 60, 60]), [3, 1]);
        assert_eq!(parts(&[100, 101]), [1, 1]);
        assert_eq!(parts(&[60, 100, 100]), [1, 2]);
        assert_eq!(parts(&[1, 1, 1]), [3]);
        assert_eq!(parts(&[100, 1]), [2]);
        assert_eq!(parts(&[100, 0, 100]), [1, 1, 1], "one that is empty is written in its place");
        assert_eq!(parts(&[0, 100]), [1, 1]);
    }
}

#[test]
fn udp_is_joined_only_where_the_kernel_takes_it() {
    for head in kinds() {
        let wanted = if head.tcp.is_some() { vec![3] } else { vec![1, 1, 1] };
        assert_eq!(parts_of_lengths(&head, false, &[100, 100, 100]), wanted);
    }
}

#[test]
fn a_super_packet_has_64_parts_at_most() {
    for head in kinds() {
        assert_eq!(parts_of_lengths(&head, true, &[9; 200]), [64, 64, 64, 8]);
    }
}

#[test]
fn a_super_packet_is_as_long_as_an_ip_packet_may_be_and_no_longer() {
    for head in kinds() {
        let most = head.most();
        let count = (40..).find(|count| most % count > 0).unwrap();
        let (size, rest) = (most / count, most % count);
        let lengths = |last| [vec![size; count], vec![last]].concat();
        assert_eq!(parts_of_lengths(&head, true, &lengths(rest)), [count + 1]);
        assert_eq!(parts_of_lengths(&head, true, &lengths(rest + 1)), [count, 1]);
    }
}

/// Changes a packet as bytes.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Writes that a pair takes, with the datagrams changed.
fn writes_of_bytes(head: &Head, sum: Sum, change: [Damage<'_>; 2]) -> usize {
    let mut receiver = Receiver::new(head.layer(), true);
    let mut wanted = Vec::new();
    for ((head, payload), change) in pair(head).iter().zip(change) {
        let mut packet = head.packet(payload);
        change(&mut packet);
        receiver.take(&packet, sum, false);
        wanted.push(packet);
    }
    let written = receiver.finish();
    assert!(packets(&written, head.layer()) == wanted);
    written.len()
}

fn unchanged(_: &mut Vec<u8>) {}

#[test]
fn a_wrong_checksum_is_never_hidden_in_a_super_packet() {
    for head in kinds() {
        for at in [head.at(), head.at() + 6, head.length(), head.length() + 99] {
            let damage = |packet: &mut Vec<u8>| packet[at] ^= 0x10;
            assert_eq!(writes_of_bytes(&head, Sum::Complete, [&damage, &unchanged]), 2, "first, at {at}");
            assert_eq!(writes_of_bytes(&head, Sum::Complete, [&unchanged, &damage]), 2, "second, at {at}");
        }
    }
}

#[test]
fn a_packet_with_a_damaged_ipv4_header_is_left_to_the_kernel() {
    for head in kinds().filter(|head| !head.v6()) {
        let damage = |packet: &mut Vec<u8>| packet[head.ip() + 11] ^= 1;
        for sum in [Sum::Complete, Sum::Verified] {
            assert_eq!(writes_of_bytes(&head, sum, [&damage, &unchanged]), 2);
            assert_eq!(writes_of_bytes(&head, sum, [&unchanged, &damage]), 2);
        }
    }
}

#[test]
fn padding_behind_a_packet_is_not_taken_for_payload() {
    for head in kinds() {
        let pad = |packet: &mut Vec<u8>| packet.extend([0; 6]);
        for sum in [Sum::Complete, Sum::Verified] {
            assert_eq!(writes_of_bytes(&head, sum, [&pad, &unchanged]), 2);
            assert_eq!(writes_of_bytes(&head, sum, [&unchanged, &pad]), 2);
        }
    }
}

#[test]
fn udp_whose_length_is_not_that_of_the_packet_is_not_joined() {
    for head in kinds().filter(|head| head.tcp.is_none()) {
        for length in [0, 8, 107, 109_u8] {
            let lie = |packet: &mut Vec<u8>| packet[head.at() + 5] = length;
            assert_eq!(writes_of_bytes(&head, Sum::Verified, [&lie, &lie]), 2);
        }
    }
}

#[test]
fn udp_without_a_checksum_is_never_joined() {
    for head in kinds().filter(|head| head.tcp.is_none()) {
        let none = |packet: &mut Vec<u8>| packet[head.at() + 6..head.at() + 8].fill(0);
        for sum in [Sum::Complete, Sum::Verified] {
            assert_eq!(writes_of_bytes(&head, sum, [&none, &none]), 2, "{sum:?}");
            assert_eq!(writes_of_bytes(&head, sum, [&none, &unchanged]), 2, "{sum:?}");
            assert_eq!(writes_of_bytes(&head, sum, [&unchanged, &none]), 2, "{sum:?}");
        }
    }
}
