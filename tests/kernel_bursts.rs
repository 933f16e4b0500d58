//! Super-packets between us and a real tap. Those that we join are bridged to a port that cannot carry them whole: the
//! kernel cuts them itself, and what comes out must be what went in. Those that the kernel hands to us are cut by us.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code, dead_code)]

#[path = "offload/wire.rs"]
mod wire;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;

use naptun::os::device::{Device, Layer};
use naptun::packet::coalesce::{Coalescer, Offer, Packet};
use naptun::packet::segment::Burst;
use naptun::packet::vnet::{self, Sum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wire::{Head, plain};

const ETH_P_ALL: u16 = 3;
const SIZE: usize = 999;

/// A network of the test's own: tap0 and v0 are ports of a bridge, and every frame arrives at v1 alone.
fn bridged_tap() -> (Device, OwnedFd) {
    // SAFETY: unshare(2) takes flags; no other thread of this test is concerned.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "these tests need root");
    let device = Device::create(Some("tap0"), Layer::Tap, true).unwrap();
    for words in [
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        "link add v0 type veth peer name v1",
        // The kernel must cut what goes out here.
        "link set v0 gso_max_size 1500 master br0 up",
        "link set v1 up",
        "link set tap0 master br0 up",
        "link set br0 up",
    ] {
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "{words}");
    }
    (device, packet_socket("v1"))
}

/// packet(7): all frames of a device.
fn packet_socket(device: &str) -> OwnedFd {
    let index = nix::net::if_::if_nametoindex(device).unwrap();
    // SAFETY: the descriptor that socket(2) returns is nobody else's; bind(2) reads one sockaddr_ll, which lives through
    // the call and is all zero but for the fields set.
    unsafe {
        let protocol = i32::from(ETH_P_ALL.to_be());
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol);
        assert!(fd >= 0);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ETH_P_ALL.to_be();
        address.sll_ifindex = index as i32;
        assert_eq!(libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32), 0);
        OwnedFd::from_raw_fd(fd)
    }
}

/// The next frame that is one of ours; the kernel takes the outer VLAN tag off and tells it beside.
fn capture(socket: &OwnedFd, head: &Head) -> Vec<u8> {
    loop {
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)).unwrap(), 1, "nothing comes out: {head:?}");
        let mut frame = vec![0; 65_536];
        let length =
            nix::sys::socket::recv(socket.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty());
        frame.truncate(length.unwrap());
        if frame[6..12] == [2, 0, 0, 0, 0, 2] {
            return frame;
        }
    }
}

/// A frame as it is captured.
fn without_outer_tag(mut frame: Vec<u8>) -> Vec<u8> {
    if matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]) {
        frame.drain(12..16);
    }
    frame
}

/// Whether bursts of UDP cannot be tried here. In CI they must.
fn without_uso(device: &Device) -> bool {
    let without = !device.offload().udp;
    assert!(
        !without || std::env::var_os("CI").is_none(),
        "UDP must be tried in CI, but this kernel has no USO"
    );
    if without {
        println!("skipped: bursts of UDP: this kernel has no USO");
    }
    without
}

/// The segments of one burst, side by side in a buffer, joined and written.
fn cross(device: &Device, segments: &[Vec<u8>], sum: Sum, hinted: bool) {
    let mut joiner = Coalescer::new(naptun::packet::Layer::Ethernet, device.offload().udp);
    let mut buffer = segments.concat();
    let mut start = 0;
    for (index, segment) in segments.iter().enumerate() {
        let at = start..start + segment.len();
        start = at.end;
        let packet = Packet { at, sum, continues: hinted && index > 0 };
        assert_eq!(joiner.offer(&buffer, &packet), Offer::Kept, "segment {index}");
    }
    let (header, parts) = joiner.finish(&mut buffer, 0);
    assert_eq!(parts.len(), segments.len());
    let header = header.encode();
    let mut pieces = vec![IoSlice::new(&header)];
    pieces.extend(parts.iter().map(|part| IoSlice::new(&buffer[part])));
    device.write(&pieces).unwrap();
}

#[test]
fn the_kernel_cuts_what_we_joined_into_the_same_frames() {
    let (device, socket) = bridged_tap();
    assert!(device.offload().tcp, "this kernel has no offload");
    let vlans = [vec![], vec![(0x8100, 5)], vec![(0x88a8, 7), (0x8100, 5)]];
    for (v6, tcp, tags) in [false, true]
        .into_iter()
        .flat_map(|v6| [true, false].map(|tcp| (v6, tcp)))
        .flat_map(|(v6, tcp)| vlans.clone().map(|tags| (v6, tcp, tags)))
    {
        if !tcp && without_uso(&device) {
            continue;
        }
        let mut head = plain(v6, true, tcp);
        head.tags = Some(tags);
        let payload = wire::payload(20 * SIZE + 77, 5);
        let partial: Vec<Vec<u8>> = wire_segments(&head, &payload, Head::partial_packet);
        let complete: Vec<Vec<u8>> = wire_segments(&head, &payload, Head::packet);
        for (segments, sum, hinted) in [
            (&partial, head.partial(), true),
            (&partial, head.partial(), false),
            (&complete, Sum::Complete, false),
            (&complete, Sum::Verified, false),
        ] {
            cross(&device, segments, sum, hinted);
            for (index, (partial, complete)) in partial.iter().zip(&complete).enumerate() {
                let frame = capture(&socket, &head);
                // A veth leaves checksums to its other end.
                let same = [partial, complete].map(|frame| without_outer_tag(frame.clone())).contains(&frame);
                assert!(same, "frame {index}, v6 {v6}, tcp {tcp}, {sum:?}, hinted {hinted}: {head:?}");
            }
        }
    }
}

#[test]
fn we_cut_what_the_kernel_hands_over_into_the_frames_that_it_stands_for() {
    let (device, _) = bridged_tap();
    let socket = packet_socket("tap0");
    // SAFETY: PACKET_VNET_HDR takes an int, which lives through the call.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, (&raw const ON).cast(), 4)
    };
    assert_eq!(set, 0);
    for (v6, tcp, vlans) in (0..12).map(|case| (case & 1 > 0, case & 2 > 0, case / 4)) {
        if !tcp && without_uso(&device) {
            continue;
        }
        let mut head = plain(v6, true, tcp);
        head.tags = Some([(0x88a8, 7), (0x8100, 5)][2 - vlans..].to_vec());
        for length in [20 * SIZE + 77, 2 * SIZE, SIZE + 1] {
            let payload = wire::payload(length, 6);
            let partial = wire_segments(&head, &payload, Head::partial_packet);
            let kind = if tcp { [1, 4][usize::from(v6)] } else { 5 };
            let fields = [head.length(), SIZE, head.at(), if tcp { 16 } else { 6 }].map(|it| it as u16);
            let mut sent = vec![1, kind];
            sent.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
            sent.extend(head.partial_packet(&payload));
            nix::sys::socket::send(socket.as_raw_fd(), &sent, nix::sys::socket::MsgFlags::empty()).unwrap();
            assert_eq!(cut(&device, &head), partial, "{length} bytes, {vlans} tags: {head:?}");
        }
    }
}

const PACKET_VNET_HDR: i32 = 15;
static ON: i32 = 1;

/// Reads until one of our super-frames comes, and cuts it.
fn cut(device: &Device, head: &Head) -> Vec<Vec<u8>> {
    loop {
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(device), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)).unwrap(), 1, "nothing comes: {head:?}");
        let (mut header, mut frame) = ([0; 10], vec![0; 65_536]);
        let length = device.read(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(&mut frame)]).unwrap();
        if frame[6..12] != [2, 0, 0, 0, 0, 2] {
            continue;
        }
        let header = vnet::Header::decode(&header).unwrap();
        let gso = header.gso.unwrap_or_else(|| panic!("no super-frame: {header:?}"));
        let beginning = &frame[..head.length()];
        let mut burst =
            Burst::new(beginning, length, &gso, header.sum, naptun::packet::Layer::Ethernet).unwrap();
        let mut segments = Vec::new();
        let mut segment = vec![0; 2000];
        while let Some(next) = burst.next(&mut segment) {
            let payload = &frame[head.length() + next.offset..][..next.length];
            segments.push([&segment[..head.length()], payload].concat());
        }
        return segments;
    }
}

fn wire_segments(head: &Head, payload: &[u8], packet: fn(&Head, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let segment = |(index, chunk): (usize, &[u8])| {
        let mut head = head.clone();
        if let wire::Network::V4 { id, .. } = &mut head.network {
            *id += index as u16;
        }
        if let Some(tcp) = &mut head.tcp {
            tcp.sequence = tcp.sequence.wrapping_add((index * SIZE) as u32);
        }
        packet(&head, chunk)
    };
    payload.chunks(SIZE).enumerate().map(segment).collect()
}
