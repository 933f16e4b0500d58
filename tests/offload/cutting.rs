//! Cutting: every segment is the kernel's.

use naptun::packet::segment::{Burst, Segment};
use naptun::packet::vnet::{Gso, Header, Sum};
use proptest::prelude::*;

use super::kernel;
use super::wire::{self, Head, Network, TCP, UDP, heads, payload, plain};

/// Bits of the inner byte.
const NEEDS_CSUM: u8 = 0x01;
const CONTINUES: u8 = 0x02;

/// A super-packet: what it is made of, and how it is to be cut.
#[derive(Clone, Debug)]
pub struct Super {
    pub head: Head,
    pub payload: Vec<u8>,
    pub size: usize,
}

impl Super {
    pub fn bytes(&self) -> Vec<u8> {
        self.head.partial_packet(&self.payload)
    }

    /// What the kernel says in front of it.
    pub fn header(&self) -> Header {
        Header::decode(&kernel::header(&self.head, self.size)).unwrap()
    }

    pub fn segments(&self) -> Vec<Vec<u8>> {
        kernel::segments(&self.head, &self.payload, self.size)
    }

    fn burst(&self) -> Burst {
        let bytes = self.bytes();
        burst(&self.head, &bytes[..self.head.length()], bytes.len(), &self.header()).unwrap()
    }

    /// Cuts it as the tunnel does.
    pub fn cut(&self) -> Vec<(Vec<u8>, u8)> {
        let (mut burst, bytes) = (self.burst(), self.bytes());
        let mut cut = Vec::new();
        while let Some((packet, segment)) = next(&mut burst, &bytes) {
            cut.push((packet, segment.inner));
        }
        cut
    }
}

fn burst(head: &Head, beginning: &[u8], total: usize, header: &Header) -> Option<Burst> {
    Burst::new(beginning, total, &header.gso?, header.sum, head.layer())
}

fn next(burst: &mut Burst, bytes: &[u8]) -> Option<(Vec<u8>, Segment)> {
    let mut out = vec![0xa5; burst.header() + burst.size()];
    let segment = burst.next(&mut out)?;
    let from = burst.header() + segment.offset;
    out.truncate(burst.header());
    out.extend(&bytes[from..from + segment.length]);
    Some((out, segment))
}

/// Few large segments, many small ones, exactly one, and none that is short.
pub fn supers(heads: impl Strategy<Value = Head>) -> impl Strategy<Value = Super> {
    let shape = prop_oneof![
        4 => (500..1500_usize, 1..65_535_usize),
        2 => (1..20_usize, 1..400_usize),
        1 => (1..65_536_usize, 1..65_535_usize),
        1 => (500..1500_usize, 1..44_usize).prop_map(|(size, count)| (size, size * count)),
        1 => (1..1500_usize).prop_map(|length| (length + length % 3, length)),
    ];
    (heads, shape, any::<u64>()).prop_map(|(head, (size, length), salt)| {
        let payload = payload(length.min(head.most()), salt);
        Super { head, payload, size }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_segment_is_the_one_that_the_kernel_would_have_made(whole in supers(heads())) {
        let (cut, wanted) = (whole.cut(), whole.segments());
        prop_assert_eq!(cut.len(), wanted.len());
        let at = whole.head.at();
        let field = at + if whole.head.protocol() == TCP { 16 } else { 6 };
        for (index, ((mut packet, bits), wanted)) in cut.into_iter().zip(wanted).enumerate() {
            prop_assert_eq!(bits, if index == 0 { NEEDS_CSUM } else { NEEDS_CSUM | CONTINUES });
            wire::complete(&mut packet, at, field);
            prop_assert!(packet == wanted, "segment {}:\n{:02x?}\nwanted\n{:02x?}", index, packet, wanted);
        }
    }

    #[test]
    fn the_offsets_of_the_segments_are_all_of_the_payload_in_order(whole in supers(heads())) {
        let mut burst = whole.burst();
        prop_assert_eq!((burst.header(), burst.size(), burst.payload()),
            (whole.head.length(), whole.size, whole.payload.len()));
        let mut out = vec![0; burst.header()];
        let mut end = 0;
        while let Some(segment) = burst.next(&mut out) {
            prop_assert_eq!(segment.offset, end);
            prop_assert!((1..=whole.size).contains(&segment.length));
            end += segment.length;
        }
        prop_assert_eq!(end, whole.payload.len());
        prop_assert_eq!(burst.next(&mut out), None);
    }

    #[test]
    fn without_room_for_its_headers_there_is_no_segment_and_none_is_lost(
        whole in supers(heads()), short in any::<prop::sample::Index>(),
    ) {
        let (mut burst, bytes) = (whole.burst(), whole.bytes());
        let mut cut = Vec::new();
        loop {
            let mut room = vec![0; short.index(burst.header())];
            prop_assert_eq!(burst.next(&mut room), None);
            prop_assert!(room.iter().all(|byte| *byte == 0));
            let Some((packet, segment)) = next(&mut burst, &bytes) else { break };
            cut.push((packet, segment.inner));
            if cut.len() == 3 { break }
        }
        prop_assert_eq!(&cut[..], &whole.cut()[..cut.len()]);
    }

    #[test]
    fn a_beginning_that_ends_within_the_headers_is_not_cut(
        head in heads(), short in any::<prop::sample::Index>(),
    ) {
        let whole = Super { head, payload: vec![7; 300], size: 100 };
        let bytes = whole.bytes();
        let beginning = &bytes[..short.index(whole.head.length())];
        prop_assert!(burst(&whole.head, beginning, bytes.len(), &whole.header()).is_none());
    }
}

fn whole(head: Head) -> Super {
    Super { head, payload: payload(300, 9), size: 100 }
}

/// Whether it is cut with a header that was changed.
fn is_cut(whole: &Super, change: impl Fn(&mut Gso, &mut Sum)) -> bool {
    let mut header = whole.header();
    change(header.gso.as_mut().unwrap(), &mut header.sum);
    let bytes = whole.bytes();
    burst(&whole.head, &bytes, bytes.len(), &header).is_some()
}

#[test]
fn a_header_of_the_kernel_that_contradicts_the_packet_is_refused() {
    for (v6, tap, tcp) in
        [(false, false, true), (true, true, true), (false, true, false), (true, false, false)]
    {
        let whole = whole(plain(v6, tap, tcp));
        let Sum::Partial { start, offset } = whole.head.partial() else { unreachable!() };
        assert!(is_cut(&whole, |_, _| ()));
        assert!(!is_cut(&whole, |_, sum| *sum = Sum::Complete));
        assert!(!is_cut(&whole, |_, sum| *sum = Sum::Verified));
        assert!(!is_cut(&whole, |_, sum| *sum = Sum::Partial { start: start + 1, offset }));
        assert!(!is_cut(&whole, |_, sum| *sum = Sum::Partial { start, offset: offset + 1 }));
        assert!(!is_cut(&whole, |gso, _| gso.protocol = if tcp { UDP } else { TCP }));
        assert_eq!(is_cut(&whole, |gso, _| gso.v6 = !gso.v6), !tcp, "UDP has one type for both");
        assert!(is_cut(&whole, |gso, _| gso.header = 1), "a hint, not to be believed");
        assert!(is_cut(&whole, |gso, _| gso.ecn = !gso.ecn), "the flags say it, too");
    }
}

#[test]
fn headers_alone_are_not_cut_and_one_byte_more_is() {
    let whole = whole(plain(false, false, true));
    let (bytes, length) = (whole.bytes(), whole.head.length());
    for total in [0, 1, length - 1, length] {
        assert!(burst(&whole.head, &bytes, total, &whole.header()).is_none(), "{total}");
    }
    assert!(burst(&whole.head, &bytes, length + 1, &whole.header()).is_some());
}

#[test]
fn headers_of_256_bytes_are_cut_and_longer_ones_refused() {
    for (body, cut) in [(256 - 40 - 20 - 4 - 2, true), (256 - 40 - 20 - 4 - 2 + 8, false)] {
        let mut head = plain(true, false, true);
        head.tcp().options.truncate(4);
        head.network = Network::V6 { label: 0, extensions: vec![(wire::DESTINATION, vec![0; body])] };
        assert_eq!(head.length() == 256, cut);
        assert_eq!(is_cut(&whole(head), |_, _| ()), cut, "{body}");
    }
}

#[test]
fn fragments_and_other_protocols_are_not_cut() {
    let whole = whole(plain(false, false, true));
    let header = whole.header();
    for (at, value) in [(6, 0x20), (6, 0x1f), (7, 1), (9, 47), (0, 0x65), (0, 0x44), (32, 0x40)] {
        let mut bytes = whole.bytes();
        bytes[at] = value;
        assert!(burst(&whole.head, &bytes, bytes.len(), &header).is_none(), "{value:#x} at {at}");
    }
}

#[test]
fn the_longest_packet_of_the_smallest_segments_is_cut() {
    for tcp in [true, false] {
        let mut head = plain(false, true, tcp);
        head.network = Network::V4 { id: 0xfff0, whole: true, options: Vec::new() };
        let whole = Super { payload: payload(head.most(), 3), size: 1, head };
        let (cut, wanted) = (whole.cut(), whole.segments());
        assert_eq!(cut.len(), 65_535 - if tcp { 52 } else { 28 });
        for ((mut packet, _), wanted) in cut.into_iter().zip(wanted) {
            wire::complete(&mut packet, whole.head.at(), whole.head.at() + if tcp { 16 } else { 6 });
            assert!(packet == wanted);
        }
    }
}
