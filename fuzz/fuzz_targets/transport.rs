//! One packet of which nothing is known: where its headers are, what the inner byte says of it, its segment size.
//!
//! Input: `layer (1) | virtio_net_hdr (10) | packet`

#![no_main]

use libfuzzer_sys::fuzz_target;
use naptun::packet::transport::Transport;
use naptun::packet::vnet::Header;
use naptun::packet::{Layer, chatter, checksum, inner, mss};
use naptun_fuzz::layer;

fuzz_target!(|input: &[u8]| {
    let _ = look(input);
});

fn look(input: &[u8]) -> Option<()> {
    let (first, rest) = input.split_first()?;
    let (header, packet) = rest.split_first_chunk()?;
    let layer = layer(*first);
    let _ = chatter::interest(packet, layer);
    check_offsets(packet, layer);
    let header = Header::decode(header)?;
    assert_eq!(Header::decode(&header.encode()), Some(header));
    let mut changed = packet.to_vec();
    mss::clamp(&mut changed, layer, header.sum, 1400);
    let bits = inner::of(&mut changed, header.sum, layer);
    assert!(inner::sum(bits, &changed, layer).is_some(), "what one end says, the other understands");
    assert_eq!(changed.len(), packet.len());
    Some(())
}

fn check_offsets(packet: &[u8], layer: Layer) {
    let within = Transport::within(packet, layer);
    if let Some(found) = within {
        assert!(found.ip < found.at && found.at < found.payload && found.payload <= packet.len());
        assert_eq!(Transport::within(&packet[..found.payload], layer), within);
    }
    if let Some(found) = Transport::of(packet, layer) {
        assert!(within == Some(found) && found.payload <= found.end && found.end <= packet.len());
        let mut right = packet[..found.end].to_vec();
        let pseudo = checksum::fold(checksum::pseudo(&right, &found, found.end - found.at));
        let field = found.at + usize::from(found.checksum_offset());
        right[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        assert_eq!(checksum::complete(&mut right, found.at, usize::from(found.checksum_offset())), Some(()));
        assert!(checksum::verify(&right, &found));
    }
}
