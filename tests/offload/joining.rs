//! Joining: what was cut becomes what it was, and what does not belong together stays apart.

use naptun::packet::Layer;
use naptun::packet::vnet::Sum;
use proptest::prelude::*;

use super::cutting::{Super, supers};
use super::kernel;
use super::receiver::{Receiver, Written, packets};
use super::wire::{Head, Network, ROUTING, URG, burst_heads, payload, plain};

const PARTS_MAX: usize = 64;

/// What the datagrams say of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Partial checksums, and that they continue each other.
    Bit,
    /// Partial checksums.
    Headers,
    /// Complete checksums.
    Sums,
    /// Complete checksums that the other kernel has looked at.
    Verified,
}

const WAYS: [Way; 4] = [Way::Bit, Way::Headers, Way::Sums, Way::Verified];

/// Offers the segments of a super-packet, but for those that are lost.
fn offer(receiver: &mut Receiver, whole: &Super, way: Way, lost: impl Fn(usize) -> bool) {
    let complete = whole.segments();
    let mut before = false;
    for (index, (partial, bits)) in whole.cut().into_iter().enumerate() {
        if lost(index) {
            before = false;
            continue;
        }
        let continues = before && bits & 2 != 0;
        match way {
            Way::Bit => receiver.take(&partial, whole.head.partial(), continues),
            Way::Headers => receiver.take(&partial, whole.head.partial(), false),
            Way::Sums => receiver.take(&complete[index], Sum::Complete, false),
            Way::Verified => receiver.take(&complete[index], Sum::Verified, false),
        }
        before = true;
    }
}

fn joined(whole: &Super, way: Way, lost: impl Fn(usize) -> bool) -> Vec<Written> {
    let mut receiver = Receiver::new(whole.head.layer(), true);
    offer(&mut receiver, whole, way, lost);
    receiver.finish()
}

fn ways() -> impl Strategy<Value = Way> {
    prop::sample::select(&WAYS)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_super_packet_that_was_cut_is_joined_to_itself(whole in supers(burst_heads()), way in ways()) {
        let most = whole.size * PARTS_MAX;
        let whole = Super { payload: whole.payload[..whole.payload.len().min(most)].to_vec(), ..whole };
        let written = joined(&whole, way, |_| false);
        prop_assert_eq!(written.len(), 1);
        let segments = whole.segments();
        if segments.len() > 1 {
            prop_assert_eq!(written[0].header, kernel::header(&whole.head, whole.size));
            prop_assert!(written[0].bytes == whole.bytes(), "{:02x?}", written[0].bytes);
        }
        prop_assert!(packets(&written, whole.head.layer()) == segments);
    }

    #[test]
    fn a_long_train_becomes_super_packets_as_large_as_may_be(whole in supers(burst_heads()), way in ways()) {
        let written = joined(&whole, way, |_| false);
        let segments = whole.segments();
        prop_assert!(packets(&written, whole.head.layer()) == segments);
        prop_assert_eq!(written.len(), segments.len().div_ceil(PARTS_MAX));
    }

    #[test]
    fn nothing_is_joined_across_a_loss_and_everything_else_arrives(
        whole in supers(burst_heads()), way in ways(), lost in any::<u64>(), more in any::<u64>(),
    ) {
        let lost = |index: usize| (lost & more) >> (index % 61) & 1 == 1;
        let written = joined(&whole, way, lost);
        let wanted = whole.segments().into_iter().enumerate()
            .filter_map(|(index, segment)| (!lost(index)).then_some(segment)).collect::<Vec<_>>();
        prop_assert!(packets(&written, whole.head.layer()) == wanted);
    }

    #[test]
    fn two_bursts_that_follow_each_other_are_one_flow(
        first in supers(burst_heads()), length in 1..9000_usize, salt in any::<u64>(), way in ways(),
    ) {
        let segments = first.segments();
        let next = kernel::segment(&first.head, segments.len(), true, first.size);
        let second = Super { payload: payload(length.min(next.most()), salt), head: next, size: first.size };
        let mut receiver = Receiver::new(first.head.layer(), true);
        offer(&mut receiver, &first, way, |_| false);
        offer(&mut receiver, &second, way, |_| false);
        prop_assert!(packets(&receiver.finish(), first.head.layer()) == [segments, second.segments()].concat());
    }
}

#[test]
fn behind_a_routing_header_the_checksum_is_that_of_the_last_destination() {
    let route = [&[2, 1, 0, 0, 0, 0], &[0x2a; 16][..]].concat();
    for tcp in [true, false] {
        let mut head = plain(true, false, tcp);
        head.network = Network::V6 { label: 0, extensions: vec![(ROUTING, route.clone())] };
        let whole = Super { head, payload: payload(1000, 1), size: 100 };
        for way in WAYS {
            let written = joined(&whole, way, |_| false);
            assert!(packets(&written, Layer::Ip) == whole.segments(), "{way:?}");
        }
    }
}

/// Offers ten segments of 100 bytes of each flow, one of each in turn. Returns how many writes that takes.
fn writes_in_turn(heads: &[Head]) -> usize {
    let whole = |(salt, head): (usize, &Head)| Super {
        payload: payload(1000, salt as u64),
        head: head.clone(),
        size: 100,
    };
    let segments = heads.iter().enumerate().map(whole).map(|whole| whole.segments()).collect::<Vec<_>>();
    let layer = heads[0].layer();
    let mut receiver = Receiver::new(layer, true);
    for index in 0..10 {
        segments.iter().for_each(|flow| receiver.take(&flow[index], Sum::Complete, false));
    }
    let written = receiver.finish();
    let arrived = packets(&written, layer);
    for flow in &segments {
        let of_flow = arrived.iter().filter(|packet| flow.contains(packet));
        assert!(of_flow.eq(flow), "the order of a flow");
    }
    assert_eq!(arrived.len(), 10 * heads.len());
    written.len()
}

#[test]
fn a_fifth_flow_makes_room_for_itself_and_nothing_is_lost() {
    let head = |flow| {
        let mut head = plain(flow % 2 == 1, false, true);
        head.ports.0 += flow;
        head
    };
    let heads = (0..5).map(head).collect::<Vec<_>>();
    assert_eq!(writes_in_turn(&heads[..4]), 4);
    assert!(writes_in_turn(&heads) > 5);
}

#[test]
fn flows_that_differ_in_an_address_a_port_or_the_protocol_grow_side_by_side() {
    for (v6, tap) in [(false, false), (false, true), (true, false), (true, true)] {
        let one = plain(v6, tap, true);
        let with = |change: fn(&mut Head)| {
            let mut head = one.clone();
            change(&mut head);
            head
        };
        let changes: [fn(&mut Head); 5] = [
            |head| head.source[0] ^= 1,
            |head| head.destination[3] ^= 1,
            |head| head.ports.0 ^= 0x100,
            |head| head.ports.1 ^= 1,
            |head| head.tcp = None,
        ];
        for change in changes {
            assert_eq!(writes_in_turn(&[one.clone(), with(change)]), 2);
        }
        assert_eq!(writes_in_turn(&[one.clone(), plain(!v6, tap, true)]), 2);
    }
}

#[test]
fn a_last_packet_that_was_padded_to_the_least_frame_is_not_joined_with_its_padding() {
    let mut head = plain(false, true, true);
    (head.tags, head.tcp().options) = (Some(Vec::new()), Vec::new());
    let whole = Super { head, payload: payload(201, 4), size: 100 };
    for (sum, partial) in [(Sum::Verified, false), (Sum::Complete, false), (whole.head.partial(), true)] {
        let mut wanted = whole.segments();
        wanted[2].resize(60, 0);
        let mut receiver = Receiver::new(Layer::Ethernet, true);
        for (complete, (cut, _)) in wanted.iter().zip(whole.cut()) {
            let mut packet = if partial { cut } else { complete.clone() };
            packet.resize(complete.len(), 0);
            receiver.take(&packet, sum, false);
        }
        assert!(packets(&receiver.finish(), Layer::Ethernet) == wanted, "{sum:?}");
    }
}

#[test]
fn a_burst_that_is_written_half_way_goes_on_as_a_super_packet_of_its_own() {
    for head in [plain(false, false, true), plain(true, true, true), plain(false, true, false)] {
        let layer = head.layer();
        let whole = Super { head, payload: payload(1000, 2), size: 100 };
        let mut receiver = Receiver::new(layer, true);
        for (index, (packet, bits)) in whole.cut().into_iter().enumerate() {
            receiver.take(&packet, whole.head.partial(), bits & 2 != 0);
            if index == 3 {
                receiver.write_all();
            }
        }
        let written = receiver.finish();
        assert!(packets(&written, layer) == whole.segments());
        assert_eq!(written.iter().map(|written| written.parts).collect::<Vec<_>>(), [4, 6]);
    }
}

#[test]
fn a_burst_that_cannot_be_joined_does_not_continue_the_one_before_it() {
    let first = Super { head: plain(false, false, true), payload: payload(300, 2), size: 100 };
    let mut urgent = kernel::segment(&first.head, 3, true, 100);
    urgent.tcp().flags |= URG;
    let mut other = plain(false, false, false);
    other.ports.0 += 1;
    for head in [urgent, other] {
        let second = Super { head, payload: payload(300, 3), size: 100 };
        let mut receiver = Receiver::new(Layer::Ip, false);
        for whole in [&first, &second] {
            offer(&mut receiver, whole, Way::Bit, |_| false);
        }
        let mut arrived = packets(&receiver.finish(), Layer::Ip);
        let mut wanted = [first.segments(), second.segments()].concat();
        arrived.sort();
        wanted.sort();
        assert!(arrived == wanted);
    }
}

#[test]
fn the_burst_bit_of_a_packet_without_payload_is_not_followed() {
    let whole = Super { head: plain(false, false, true), payload: payload(200, 2), size: 100 };
    let acknowledgement = kernel::segment(&whole.head, 2, true, 100);
    let mut receiver = Receiver::new(Layer::Ip, true);
    offer(&mut receiver, &whole, Way::Bit, |_| false);
    receiver.take(&acknowledgement.partial_packet(&[]), acknowledgement.partial(), true);
    let written = receiver.finish();
    assert!(packets(&written, Layer::Ip) == [whole.segments(), vec![acknowledgement.packet(&[])]].concat());
}

#[test]
fn the_burst_bit_is_not_followed_to_a_flow_that_was_written() {
    // A pure acknowledgement of the same flow comes between, and is not part of the super-packet.
    let whole = Super { head: plain(false, false, true), payload: payload(1000, 2), size: 100 };
    let mut receiver = Receiver::new(Layer::Ip, true);
    let mut wanted = whole.segments();
    let acknowledgement = kernel::segment(&whole.head, 5, true, 100).packet(&[]);
    for (index, (packet, _)) in whole.cut().into_iter().enumerate() {
        if index == 5 {
            receiver.take(&acknowledgement, Sum::Complete, false);
        }
        receiver.take(&packet, whole.head.partial(), index > 0);
    }
    wanted.insert(5, acknowledgement);
    let written = receiver.finish();
    assert!(packets(&written, Layer::Ip) == wanted);
    assert_eq!(written.iter().map(|written| written.parts).collect::<Vec<_>>(), [5, 1, 5]);
}

#[test]
fn the_burst_bit_does_not_join_what_has_another_kind_of_checksum() {
    let whole = Super { head: plain(false, false, true), payload: payload(300, 2), size: 100 };
    let [one, two, three] = <[_; 3]>::try_from(whole.segments()).unwrap();
    let mut receiver = Receiver::new(Layer::Ip, true);
    let mut wrong = two.clone();
    wrong[150] ^= 1;
    for (packet, continues) in [(&one, false), (&wrong, true), (&three, true)] {
        receiver.take(packet, Sum::Complete, continues);
    }
    assert!(packets(&receiver.finish(), Layer::Ip) == [one, wrong, three]);
}

#[test]
fn the_burst_bit_joins_where_both_checksums_are_partial_and_nowhere_else() {
    let whole = Super { head: plain(false, false, true), payload: payload(200, 2), size: 100 };
    let partial: Vec<_> = whole.cut().into_iter().map(|(packet, _)| packet).collect();
    let kinds = [(partial, whole.head.partial()), (whole.segments(), Sum::Complete)];
    for (first, second, writes) in [(0, 0, 1), (0, 1, 2), (1, 0, 2)] {
        let mut receiver = Receiver::new(Layer::Ip, true);
        receiver.take(&kinds[first].0[0], kinds[first].1, false);
        receiver.take(&kinds[second].0[1], kinds[second].1, true);
        assert_eq!(receiver.finish().len(), writes, "{first} {second}");
    }
}

#[test]
fn the_headers_of_a_packet_with_the_burst_bit_are_not_looked_at() {
    let whole = Super { head: plain(false, false, true), payload: payload(200, 2), size: 100 };
    let [(one, _), (mut two, _)] = <[_; 2]>::try_from(whole.cut()).unwrap();
    two[whole.head.at() + 14] ^= 1;
    for (continues, writes) in [(true, 1), (false, 2)] {
        let mut receiver = Receiver::new(Layer::Ip, true);
        receiver.take(&one, whole.head.partial(), false);
        receiver.take(&two, whole.head.partial(), continues);
        assert_eq!(receiver.finish().len(), writes, "another window");
    }
}

#[test]
fn a_checksum_that_the_other_kernel_has_verified_is_not_summed_again() {
    for bits in 0..8 {
        let head = plain(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let whole = Super { payload: payload(200, 2), size: 100, head };
        for (sum, writes) in [(Sum::Verified, 1), (Sum::Complete, 2)] {
            let mut receiver = Receiver::new(whole.head.layer(), true);
            for mut packet in whole.segments() {
                // What no packet from the other end would have: it shows whether somebody looks.
                *packet.last_mut().unwrap() ^= 1;
                receiver.take(&packet, sum, false);
            }
            assert_eq!(receiver.finish().len(), writes, "{:?}", whole.head);
        }
    }
}

#[test]
fn flows_make_room_for_others_in_turn() {
    let mut receiver = Receiver::new(Layer::Ip, true);
    for flow in 0..10 {
        let mut head = plain(false, false, true);
        head.ports.0 = flow;
        receiver.take(&head.packet(&payload(100, 2)), Sum::Complete, false);
    }
    let port = |written: &Written| u16::from_be_bytes([written.bytes[20], written.bytes[21]]);
    let made_room: Vec<u16> = receiver.written.iter().map(port).collect();
    assert_eq!(made_room, [1, 2, 3, 0, 4, 5]);
}
