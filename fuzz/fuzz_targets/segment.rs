//! A header of the kernel and the beginning of a super-packet: it is cut into segments that agree with each other.
//!
//! Input: `layer (1) | bytes of payload that are not in the input (2) | virtio_net_hdr (10) | beginning`

#![no_main]

use libfuzzer_sys::fuzz_target;
use naptun::packet::Layer;
use naptun::packet::segment::{Burst, HEADER_MAX, Segment};
use naptun::packet::transport::Transport;
use naptun::packet::vnet::Header;
use naptun_fuzz::layer;

fuzz_target!(|input: &[u8]| {
    let _ = cut(input);
});

fn cut(input: &[u8]) -> Option<()> {
    let (first, rest) = input.split_first()?;
    let (behind, rest) = rest.split_first_chunk()?;
    let (header, beginning) = rest.split_first_chunk()?;
    let header = Header::decode(header)?;
    let total = beginning.len() + usize::from(u16::from_le_bytes(*behind));
    let mut burst = Burst::new(beginning, total, &header.gso?, header.sum, layer(*first))?;
    assert_eq!(burst.header() + burst.payload(), total);
    let mut room = [0xa5; HEADER_MAX + 1];
    let mut end = 0;
    while let Some(segment) = burst.next(&mut room) {
        assert_eq!(segment.offset, end);
        end += segment.length;
        assert!(segment.length == burst.size() || segment.length < burst.size() && end == burst.payload());
        check_headers(&room[..burst.header()], &segment, layer(*first));
        assert_eq!(room[burst.header()], 0xa5, "written behind the headers");
    }
    assert_eq!(end, burst.payload());
    Some(())
}

/// The headers of a segment say how long it is, where a packet can be that long.
fn check_headers(headers: &[u8], segment: &Segment, layer: Layer) {
    let found = Transport::within(headers, layer).expect("the headers that were there before");
    assert_eq!(found.payload, headers.len());
    if headers.len() - found.ip + segment.length <= 65_535 {
        assert_eq!(found.end, headers.len() + segment.length);
    }
}
