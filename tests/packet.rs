//! Packets as bytes: fragments, who talks, TCP's segment size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use naptun::packet::Layer;
use naptun::packet::chatter::{Interest, interest};
use naptun::packet::fragment::{Cut, HEADER, Joiner};
use naptun::packet::mss::clamp;
use naptun::packet::vnet::Sum;
use naptun::protocol::Entropy as _;
use proptest::prelude::*;
use world::{Rng, seed};

const LONGEST: usize = 65_535;

fn cut(id: u16, packet: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut cut = Cut::new(id, packet.len(), most).unwrap();
    let mut pieces = Vec::new();
    let mut out = vec![0; most];
    while let Some(length) = cut.write_next(packet, &mut out) {
        pieces.push(out[..length].to_vec());
    }
    pieces
}

fn random_packet(length: usize, rng: &mut Rng) -> Vec<u8> {
    let mut packet = vec![0; length];
    rng.fill(&mut packet);
    packet
}

#[test]
fn pieces_fit_are_nearly_equal_and_join_to_the_packet_in_any_order() {
    let mut rng = Rng::new(seed("pieces"));
    let mut joiner = Joiner::new(LONGEST);
    for id in 0..3000_u16 {
        let length = 1 + rng.below(9000) as usize;
        let most = HEADER + 1 + rng.below(1500) as usize;
        let packet = random_packet(length, &mut rng);
        let mut pieces = cut(id, &packet, most);
        let room = most - HEADER;
        assert_eq!(pieces.len(), length.div_ceil(length.div_ceil(length.div_ceil(room))));
        assert!(pieces.iter().all(|piece| piece.len() <= most && piece.len() > HEADER));
        for n in (1..pieces.len()).rev() {
            pieces.swap(n, rng.below(n as u64 + 1) as usize);
        }
        let (last, others) = pieces.split_last().unwrap();
        assert!(others.iter().all(|piece| joiner.join(piece) == Ok(None)));
        assert!(joiner.join(last) == Ok(Some(&mut packet.clone()[..])));
    }
}

#[test]
fn the_longest_packet_and_the_shortest_piece_work_and_what_cannot_be_is_refused() {
    let mut joiner = Joiner::new(LONGEST);
    for (length, most) in [(65_535, 1400), (65_535, 65_541), (300, HEADER + 1), (1, HEADER + 1)] {
        let packet = vec![0xa5; length];
        let pieces = cut(1, &packet, most);
        let (last, others) = pieces.split_last().unwrap();
        assert!(others.iter().all(|piece| joiner.join(piece) == Ok(None)));
        assert!(joiner.join(last) == Ok(Some(&mut packet.clone()[..])));
    }
    assert!(Cut::new(1, 65_536, 1400).is_none());
    assert!(Cut::new(1, 1400, HEADER).is_none() && Cut::new(1, 1400, 0).is_none());
    assert!(cut(1, &[], 1400).is_empty());
    assert_eq!(Cut::new(1, 100, 50).unwrap().write_next(&[0; 100], &mut [0; 10]), None, "no room, no panic");
}

/// Pieces of several packets interleaved, lost, reordered: what comes out is what went in.
#[test]
fn packets_on_a_bad_wire_are_joined_right_or_not_at_all() {
    let mut rng = Rng::new(seed("fragment model"));
    for _ in 0..300 {
        let mut joiner = Joiner::new(LONGEST);
        let mut wire = Vec::new();
        let mut sent = std::collections::BTreeMap::new();
        // Across the place where identifiers come round.
        let first = 65_536 - rng.below(60) as u16 as u32;
        for n in 0..60_u32 {
            let length = 1 + rng.below(4000) as usize;
            let packet = random_packet(length, &mut rng);
            let id = (first + n) as u16;
            for piece in cut(id, &packet, 700) {
                wire.push((u64::from(n) * 10 + rng.below(15), piece));
            }
            sent.insert(packet, ());
        }
        wire.sort_by_key(|(at, _)| *at);
        let mut whole = 0;
        for (_, piece) in wire {
            if rng.percent(5) {
                continue;
            }
            if let Some(packet) = joiner.join(&piece).unwrap() {
                assert!(sent.remove(packet).is_some(), "a packet that nobody sent");
                whole += 1;
            }
        }
        assert!(whole > 30, "{whole} of 60");
    }
}

#[test]
fn identifiers_may_begin_anywhere_and_begin_again_when_the_peer_does() {
    let mut joiner = Joiner::new(LONGEST);
    for start in [0_u16, 20_000, 0, 40_000, 65_530, 32_768, 1] {
        for n in 0..50_u16 {
            let packet = vec![n as u8; 3000];
            let joined = cut(start.wrapping_add(n), &packet, 1400)
                .iter()
                .filter_map(|piece| joiner.join(piece).unwrap().map(|whole| whole.to_vec()))
                .collect::<Vec<_>>();
            assert!(joined == [packet], "from {start}");
        }
    }
}

#[test]
fn a_packet_that_was_never_completed_does_not_mix_with_a_later_one_of_its_number() {
    let mut joiner = Joiner::new(LONGEST);
    let old = cut(7, &[1; 3000], 1400);
    assert_eq!(joiner.join(&old[0]), Ok(None));
    for n in 0..2000_u16 {
        let packet = [n as u8; 1500];
        for piece in cut(1000 + n, &packet, 1400) {
            joiner.join(&piece).unwrap();
        }
    }
    let mut joined = None;
    for piece in cut(7, &[2; 3000], 1400) {
        joined = joiner.join(&piece).unwrap().map(|whole| whole.to_vec()).or(joined);
    }
    assert!(joined == Some(vec![2; 3000]));
}

#[test]
fn a_packet_waits_while_1023_other_pieces_arrive_and_not_while_1024_do() {
    for (others, whole) in [(1023, true), (1024, false)] {
        let mut joiner = Joiner::new(LONGEST);
        let pieces = cut(7, &[1; 2000], 1400);
        assert_eq!(joiner.join(&pieces[0]), Ok(None));
        for id in 0..others {
            // Whole by themselves: they take no room.
            let [piece] = <[_; 1]>::try_from(cut(1000 + id, &[2; 9], 1400)).unwrap();
            assert!(joiner.join(&piece).unwrap().is_some());
        }
        assert_eq!(joiner.join(&pieces[1]).unwrap().is_some(), whole, "{others} others");
    }
}

#[test]
fn the_inner_byte_has_four_bits() {
    let known = (0..8).map(|bit| 1_u8 << bit).filter(|bit| naptun::packet::inner::KNOWN & bit != 0);
    assert_eq!(known.collect::<Vec<_>>(), [0x01, 0x02, 0x04, 0x08]);
}

#[test]
fn packets_given_up_make_room_for_new_ones() {
    let mut joiner = Joiner::new(LONGEST);
    for id in 0..100 {
        assert_eq!(joiner.join(&cut(id, &[1; 3000], 1400)[0]), Ok(None));
    }
    let pieces = cut(100, &[2; 2000], 1400);
    assert_eq!(joiner.join(&pieces[0]), Ok(None));
    assert!(joiner.join(&pieces[1]) == Ok(Some(&mut [2; 2000][..])));
}

#[test]
fn hostile_fragments_are_nonsense() {
    let header = |id: u16, offset: u16, total: u16| {
        let mut piece = Vec::new();
        [id, offset, total].iter().for_each(|field| piece.extend(field.to_le_bytes()));
        piece
    };
    let with = |mut piece: Vec<u8>, bytes: usize| {
        piece.resize(piece.len() + bytes, 0xff);
        piece
    };
    let table = [
        ("empty", vec![]),
        ("a header cut short", header(1, 0, 10)[..5].to_vec()),
        ("no piece", header(1, 0, 10)),
        ("a packet of nothing", with(header(1, 0, 0), 1)),
        ("beyond the end", with(header(1, 10, 10), 1)),
        ("over the end", with(header(1, 5, 10), 6)),
        ("far beyond", with(header(1, 65_535, 65_535), 10)),
        ("longer than the device's packets", with(header(1, 0, 1501), 10)),
        ("behind the buffer", with(header(1, 1600, 1700), 10)),
    ];
    for (what, piece) in table {
        assert_eq!(Joiner::new(1500).join(&piece), Err(()), "{what}");
    }
}

proptest! {
    #[test]
    fn no_fragments_can_panic_or_make_a_packet_longer_than_they_say(
        pieces in prop::collection::vec((0..4_u16, any::<u16>(), any::<u16>(), 0..80_usize), 1..60),
        longest in 1..3000_usize,
    ) {
        let mut joiner = Joiner::new(longest);
        for (id, offset, total, length) in pieces {
            for (offset, total) in [(offset, total), (offset % 100, total % 100), (0, length as u16)] {
                let mut piece = [id.to_le_bytes(), offset.to_le_bytes(), total.to_le_bytes()].concat();
                piece.resize(HEADER + length, 1);
                if let Ok(Some(packet)) = joiner.join(&piece) {
                    prop_assert_eq!(packet.len(), usize::from(total));
                    prop_assert!(packet.len() <= longest);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_can_panic_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200), most in any::<u16>()) {
        let _ = Joiner::new(100).join(&bytes);
        for layer in [Layer::Ip, Layer::Ethernet] {
            let _ = interest(&bytes, layer);
            let mut packet = bytes.clone();
            clamp(&mut packet, layer, Sum::Complete, most);
            prop_assert_eq!(packet.len(), bytes.len());
        }
    }

    #[test]
    fn hostile_tcp_headers_can_panic_nothing(
        mut bytes in prop::collection::vec(any::<u8>(), 40..120),
        ihl in 0..16_u8, offset in 0..16_u8, most in any::<u16>(), v6 in any::<bool>(), cut in 0..120_usize,
    ) {
        bytes[0] = if v6 { 0x60 } else { 0x40 | ihl };
        bytes[if v6 { 6 } else { 9 }] = 6;
        (bytes[6], bytes[7]) = if v6 { (6, 0) } else { (0, 0) };
        let tcp = if v6 { 40 } else { usize::from(ihl) * 4 };
        if let Some(byte) = bytes.get_mut(tcp + 12) { *byte = offset << 4 }
        if let Some(byte) = bytes.get_mut(tcp + 13) { *byte = 2 }
        bytes.truncate(cut.max(1));
        let before = bytes.clone();
        clamp(&mut bytes, Layer::Ip, Sum::Complete, most);
        let changed = bytes.iter().zip(&before).filter(|(new, old)| new != old).count();
        prop_assert!(changed <= 4, "the option and the checksum");
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn framed(ethertype: &str, destination: &str, packet: &[u8], vlan: bool) -> Vec<u8> {
    let mut frame = unhex(destination);
    frame.extend(unhex("020000000001"));
    if vlan {
        frame.extend(unhex("8100 0064"));
    }
    frame.extend(unhex(ethertype));
    frame.extend(packet);
    frame
}

/// Packets as kernels send them, checksums left out where nobody looks at them.
#[test]
fn kernel_chatter_is_told_from_traffic() {
    use Interest::{Chatter, Resolution, Traffic};
    let table = [
        (
            "router solicitation",
            "60000000 0010 3a ff fe800000000000000000000000000001 ff020000000000000000000000000002
             8500 7bb8 00000000 0101020000000001",
            Chatter,
        ),
        (
            "MLDv2 report",
            "60000000 0024 00 01 fe800000000000000000000000000001 ff020000000000000000000000000016
             3a000502 00000100 8f00 6bdc 0000 0001 04000000 ff0200000000000000000001ff000001",
            Chatter,
        ),
        (
            "MLDv1 report of a global group",
            "60000000 0020 00 01 fe800000000000000000000000000001 ff0e0000000000000000000000000123
             3a000502 00000000 8300 0000 0000 0000 ff0e0000000000000000000000000123",
            Chatter,
        ),
        (
            "duplicate address detection",
            "60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff000001
             8700 0000 00000000 fe800000000000000000000000000001",
            Chatter,
        ),
        (
            "neighbour solicitation",
            "60000000 0020 3a ff fd000000000000000000000000000001 ff0200000000000000000001ff000002
             8700 0000 00000000 fd000000000000000000000000000002 0101020000000001",
            Resolution,
        ),
        (
            "neighbour solicitation of a known neighbour",
            "60000000 0020 3a ff fd000000000000000000000000000001 fd000000000000000000000000000002
             8700 0000 00000000 fd000000000000000000000000000002 0101020000000001",
            Resolution,
        ),
        (
            "neighbour advertisement",
            "60000000 0020 3a ff fd000000000000000000000000000002 fd000000000000000000000000000001
             8800 0000 60000000 fd000000000000000000000000000002 0201020000000002",
            Chatter,
        ),
        (
            "mDNS over IPv6",
            "60000000 0014 11 ff fe800000000000000000000000000001 ff0200000000000000000000000000fb
             14e914e900140000 0000000000010000",
            Chatter,
        ),
        ("mDNS", "4500001c000040 00ff110000 0a000001 e00000fb 14e914e900080000", Chatter),
        ("LLMNR", "4500001c000040 00ff110000 0a000001 e00000fc c00014eb00080000", Chatter),
        (
            "IGMPv3 report",
            "46c0002800004000 01020000 0a000001 e0000016 94040000 2200f9020000000104000000e00000fb",
            Chatter,
        ),
        (
            "IGMPv2 report of a global group",
            "46c0002000004000 01020000 0a000001 ef010203 94040000 1600f902ef010203",
            Chatter,
        ),
        ("SSDP", "4500001c000040 0002110000 0a000001 effffffa c000076c00080000", Chatter),
        ("ping", "45000024000040 0040010000 0a000001 0a000002 0800f7ff00000001 6162636465666768", Traffic),
        (
            "ping over IPv6",
            "60000000 0010 3a 40 fd000000000000000000000000000001 fd000000000000000000000000000002
             8000 0000 00010001 6162636465666768",
            Traffic,
        ),
        (
            "TCP SYN",
            "4500002800004000 40060000 0a000001 0a000002 c0000016 00000000 00000000 5002faf000000000",
            Traffic,
        ),
        (
            "TCP over IPv6",
            "60000000 0014 06 40 fd000000000000000000000000000001 fd000000000000000000000000000002
             c0000016 00000000 00000000 5010faf000000000",
            Traffic,
        ),
        (
            "DHCP discover",
            "45000024000040 0040110000 00000000 ffffffff 0044004300100000 0101060000000000",
            Traffic,
        ),
        (
            "multicast of a real group",
            "4500001c000040 0010110000 0a000001 ef010203 c000c00000080000",
            Traffic,
        ),
        ("a broken packet", "45", Traffic),
        ("IPv6 cut short", "6000", Traffic),
        ("another version", "f0000000000000000000", Traffic),
    ];
    for (what, hex, worth) in table {
        let packet = unhex(hex);
        assert_eq!(interest(&packet, Layer::Ip), worth, "{what}, on tun");
        let ethertype = if packet[0] >> 4 == 6 { "86dd" } else { "0800" };
        for vlan in [false, true] {
            let frame = framed(ethertype, "020000000002", &packet, vlan);
            assert_eq!(interest(&frame, Layer::Ethernet), worth, "{what}, on tap, vlan {vlan}");
        }
    }
    assert_eq!(interest(&[], Layer::Ip), Traffic);
}

#[test]
fn link_chatter_is_told_from_traffic() {
    use Interest::{Chatter, Resolution, Traffic};
    let arp = |operation: &str, sender: &str, target: &str| {
        unhex(&format!("0001080006 04 {operation} 020000000001 {sender} 000000000000 {target}"))
    };
    let broadcast = "ffffffffffff";
    let table = [
        ("ARP request", "0806", broadcast, arp("0001", "0a000001", "0a000002"), Resolution),
        ("ARP announcement", "0806", broadcast, arp("0001", "0a000001", "0a000001"), Chatter),
        ("ARP probe", "0806", broadcast, arp("0001", "00000000", "0a000001"), Chatter),
        ("ARP reply", "0806", "020000000002", arp("0002", "0a000002", "0a000001"), Resolution),
        ("ARP cut short", "0806", broadcast, vec![0, 1], Resolution),
        (
            "STP",
            "0026",
            "0180c2000000",
            unhex("424203000000000080000200000000010000000080000200000000018001000014000200 0f00"),
            Chatter,
        ),
        ("LLDP", "88cc", "0180c200000e", unhex("0207040200000000010403020000"), Chatter),
        ("an unknown ethertype", "88b5", "020000000002", vec![1, 2, 3], Traffic),
    ];
    for (what, ethertype, destination, packet, worth) in table {
        for vlan in [false, true] {
            let frame = framed(ethertype, destination, &packet, vlan);
            assert_eq!(interest(&frame, Layer::Ethernet), worth, "{what}, vlan {vlan}");
        }
    }
    assert_eq!(interest(&[], Layer::Ethernet), Traffic);
}

/// A TCP segment with these options, checksum right.
fn segment(v6: bool, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let length = 20 + options.len() + payload.len();
    let mut packet = if v6 {
        let mut ip =
            unhex("60000000 0000 06 40 fd000000000000000000000000000001 fd000000000000000000000000000002");
        ip[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        ip
    } else {
        let mut ip = unhex("45000000 00004000 40060000 0a000001 0a000002");
        ip[2..4].copy_from_slice(&(20 + length as u16).to_be_bytes());
        ip
    };
    let tcp = packet.len();
    packet.extend(unhex("c0000016 01020304 00000000"));
    packet.extend([((5 + options.len() / 4) << 4) as u8, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    packet.extend(options);
    packet.extend(payload);
    let sum = !checksum(&packet, tcp);
    packet[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The ones' complement sum of pseudo-header and segment; 0xffff where the checksum is right.
fn checksum(packet: &[u8], tcp: usize) -> u16 {
    let addresses = if packet[0] >> 4 == 6 { &packet[8..40] } else { &packet[12..20] };
    let mut sum = 6 + (packet.len() - tcp) as u32;
    for pair in addresses.chunks(2).chain(packet[tcp..].chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn a_partial_checksum_does_not_cover_the_mss() {
    let mut packet = vec![0; 44];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&44_u16.to_be_bytes());
    packet[9] = 6;
    packet[32] = 0x60;
    packet[33] = 2;
    packet[36..38].copy_from_slice(&[0xab, 0xcd]);
    packet[40..44].copy_from_slice(&[2, 4, 0x05, 0xb4]);
    clamp(&mut packet, Layer::Ip, Sum::Partial { start: 20, offset: 16 }, 1000);
    assert_eq!(packet[40..44], [2, 4, 0x03, 0xc0]);
    assert_eq!(packet[36..38], [0xab, 0xcd]);
}

#[test]
fn a_large_mss_is_lowered_and_the_checksum_stays_right() {
    let mss = |value: u16| [2, 4, (value >> 8) as u8, value as u8];
    let options = |value: u16| {
        let mss = mss(value);
        [
            mss.to_vec(),
            [&mss[..], &[1, 3, 3, 7], &[4, 2, 1, 1]].concat(),
            [&[4, 2][..], &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0], &mss[..]].concat(),
            // At an odd offset.
            [&[1], &mss[..], &[1, 1, 0]].concat(),
            [&[3, 3, 7], &mss[..], &[1]].concat(),
        ]
    };
    for (v6, headers) in [(false, 40), (true, 60)] {
        for flags in [SYN, SYN | ACK] {
            for old in [536, 1359, 1360, 1361, 1460, 8960, 65_495, 65_535] {
                for options in options(old) {
                    for layer in [Layer::Ip, Layer::Ethernet] {
                        for vlan in [false, true] {
                            let packet = segment(v6, flags, &options, b"odd");
                            let kind = if v6 { "86dd" } else { "0800" };
                            let (mut bytes, link) = match layer {
                                Layer::Ip => (packet.clone(), 0),
                                Layer::Ethernet => {
                                    (framed(kind, "020000000002", &packet, vlan), if vlan { 18 } else { 14 })
                                }
                            };
                            let most = 1360 + headers + link as u16;
                            clamp(&mut bytes, layer, Sum::Complete, most);
                            let clamped = &bytes[link..];
                            assert_eq!(checksum(clamped, usize::from(headers - 20)), 0xffff);
                            let at = packet.len() - 3 - options.len()
                                + options.windows(2).position(|pair| pair == [2, 4]).unwrap()
                                + 2;
                            let new = u16::from_be_bytes([clamped[at], clamped[at + 1]]);
                            assert_eq!(new, old.min(1360));
                            let mut same = packet.clone();
                            same[at..at + 2].copy_from_slice(&new.to_be_bytes());
                            let sum = usize::from(headers - 20) + 16;
                            same[sum..sum + 2].copy_from_slice(&clamped[sum..sum + 2]);
                            assert_eq!(same, clamped, "nothing else has changed");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_syn_with_an_mss_is_left_alone() {
    let mss = [2, 4, 0xff, 0xff];
    let mut fragment = segment(false, SYN, &mss, b"");
    fragment[7] = 1;
    let mut udp = segment(false, SYN, &mss, b"");
    udp[9] = 17;
    let mut cut_short = segment(false, SYN, &mss, b"");
    cut_short.truncate(42);
    let table = [
        ("no SYN", segment(false, ACK, &mss, b"data")),
        ("no options", segment(false, SYN, &[], b"")),
        ("behind the end of the options", segment(false, SYN, &[0, 1, 1, 1, 2, 4, 0xff, 0xff], b"")),
        ("a wrong length", segment(false, SYN, &[2, 3, 0xff, 0xff], b"")),
        ("an option of length 0", segment(false, SYN, &[5, 0, 1, 1], b"")),
        ("no room for the value", segment(false, SYN, &[1, 1, 2, 4], b"\xff\xff")),
        ("a later fragment", fragment),
        ("not TCP", udp),
        ("cut short", cut_short),
        ("no SYN, IPv6", segment(true, ACK, &mss, b"data")),
    ];
    for (what, packet) in table {
        let mut clamped = packet.clone();
        clamp(&mut clamped, Layer::Ip, Sum::Complete, 1000);
        assert_eq!(clamped, packet, "{what}");
        let frame = framed("0800", "020000000002", &packet, false);
        let mut clamped = frame.clone();
        clamp(&mut clamped, Layer::Ethernet, Sum::Complete, 1000);
        assert_eq!(clamped, frame, "{what}");
    }
    let packet = segment(false, SYN, &mss, b"");
    let arp = framed("0806", "020000000002", &packet, false);
    let mut clamped = arp.clone();
    clamp(&mut clamped, Layer::Ethernet, Sum::Complete, 1000);
    assert_eq!(clamped, arp, "not IP");
    let mut clamped = packet.clone();
    clamp(&mut clamped, Layer::Ip, Sum::Complete, 39);
    assert_eq!(clamped, packet, "no room for headers");
}

#[test]
fn the_checksum_survives_every_pair_of_values() {
    let mut rng = Rng::new(seed("mss"));
    for _ in 0..50_000 {
        let old = rng.next() as u16;
        let at = rng.below(3) as usize;
        let mut options = vec![1; 8];
        options[at..at + 4].copy_from_slice(&[2, 4, (old >> 8) as u8, old as u8]);
        let mut packet = segment(false, SYN, &options, &rng.next().to_le_bytes());
        clamp(&mut packet, Layer::Ip, Sum::Complete, rng.next() as u16);
        assert_eq!(checksum(&packet, 20), 0xffff);
    }
}
