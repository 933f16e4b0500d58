//! Where a read of the device lies until it is sent.
//!
//! ```text
//! read:   | room of a datagram | .. | room of a datagram |     rest
//!           head  packet  tail                              (packet)
//! ```
//!
//! A read is scattered over the rooms of a train, in the shape that the last super-packet had: most have the same,
//! and their payload is where it belongs before anything is known of it. What has another shape is gathered in `packet`
//! and cut from there.

use std::io::{self, IoSliceMut};
use std::ops::Range;

use super::path_mtu::HEADERS_IPV4;
use super::trains::{BYTES_MAX, DATAGRAMS_MAX, Trains, zeroed};
use crate::config::settings::Mssfix;
use crate::packet::fragment::Cut;
use crate::packet::segment::Burst;
use crate::packet::{ETHERNET, Layer, inner, vnet};
use crate::protocol::{HEAD, TAIL};

/// The largest read of a device or a socket.
pub(super) const BURST: usize = 65_536;

/// The largest packet that is not a burst: `tun-mtu` goes to 9000, a frame has a header and tags.
const PACKET_MAX: usize = 9216;

/// The largest datagram that passes a path of 1500 bytes whole, behind the headers of IPv4.
const DATAGRAM_IPV4: usize = 1500 - 20 - 8;

/// Headers of IPv4 and of TCP without options.
const SEGMENT_IPV4: u16 = 40;

/// Headers of IPv4 and of TCP with time stamps.
const TCP_IPV4: u16 = 52;

/// What TCP subtracts from the limit of a device before it counts segments (MAX_TCP_HEADER and one byte, tcp.c).
const KERNEL_HEADROOM: u32 = 321;

// What the device puts in front is what the packets' side reads.
const _: () = assert!(vnet::LENGTH == crate::os::device::HEADER);

/// What a sealed packet takes beside itself.
pub(super) const AROUND: usize = HEAD + TAIL;

/// The way from the device to the socket.
pub(super) struct Outbound {
    pub(super) trains: Trains,
    /// What a read brought beyond the rooms of a train; a whole burst if it must be cut from here.
    packet: Box<[u8; BURST]>,
    /// A packet that is too large for a datagram.
    whole: Box<[u8; PACKET_MAX]>,
    pub(super) shape: Shape,
    /// A read that is not sealed yet.
    pub(super) held: Option<Read>,
    /// How the burst in `packet` is being cut.
    pub(super) burst: Option<Burst>,
    /// How the packet in `whole` is being cut, and its bits of the inner byte.
    pub(super) cut: Option<(Cut, u8)>,
    /// Datagrams are not made longer than this.
    pub(super) most: usize,
    /// They are not made as long as a path of 1500 bytes would take.
    pub(super) narrow: bool,
    /// Headers of UDP and IP around a datagram on its way to the peer, bytes.
    pub(super) headers: u16,
    /// Headers of TCP, IPv4 and perhaps Ethernet around a segment inside the tunnel, bytes.
    around_segment: u16,
    /// Longest packet of the device.
    longest: usize,
    fragment_id: u16,
}

/// How a read is scattered: over rooms for `header` and `size` bytes of payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    header: usize,
    size: usize,
    rooms: usize,
}

/// One read of the device.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) header: vnet::Header,
    pub(super) length: usize,
    pub(super) shape: Shape,
}

impl Outbound {
    /// `longest` is the longest packet of the device.
    pub(super) fn new(layer: Layer, longest: usize) -> Self {
        let ethernet = if layer == Layer::Ethernet { ETHERNET as u16 } else { 0 };
        Self {
            longest,
            headers: HEADERS_IPV4 as u16,
            around_segment: ethernet + SEGMENT_IPV4,
            trains: Trains::new(),
            packet: zeroed(),
            whole: zeroed(),
            shape: Shape::ONE,
            held: None,
            burst: None,
            cut: None,
            most: DATAGRAM_IPV4,
            narrow: false,
            fragment_id: 0,
        }
    }

    /// Whether a read waits to be sealed.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Whether something sealed or cut waits for the socket.
    pub(super) fn is_waiting(&self) -> bool {
        !self.trains.is_empty() || self.is_cutting()
    }

    pub(super) fn is_cutting(&self) -> bool {
        self.burst.is_some() || self.cut.is_some()
    }

    /// Calls `read` with room for the header, for the pieces in the shape expected, and for the rest.
    pub(super) fn scatter(
        &mut self,
        header: &mut [u8; vnet::LENGTH],
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.trains.rewind();
        match self.shape.rooms {
            1 => self.scatter_over::<3>(header, read),
            _ => self.scatter_over::<{ DATAGRAMS_MAX + 2 }>(header, read),
        }
    }

    /// Over `PIECES` at most: single packets need not pay for making room for many.
    fn scatter_over<const PIECES: usize>(
        &mut self,
        header: &mut [u8; vnet::LENGTH],
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let shape = self.shape;
        let mut pieces: [IoSliceMut<'_>; PIECES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        pieces[0] = IoSliceMut::new(header);
        let mut rest = self.trains.room();
        for (index, piece) in pieces[1..].iter_mut().take(shape.rooms).enumerate() {
            let skipped = if index == 0 { HEAD } else { HEAD + shape.header };
            let length = if index == 0 { shape.header + shape.size } else { shape.size };
            let Some((room, behind)) = rest.split_at_mut_checked(skipped + length + TAIL) else { break };
            *piece = IoSliceMut::new(&mut room[skipped..skipped + length]);
            rest = behind;
        }
        pieces[shape.rooms + 1] = IoSliceMut::new(&mut self.packet[shape.covers().min(BURST)..]);
        read(&mut pieces[..shape.rooms + 2])
    }

    /// The first bytes of a read.
    pub(super) fn beginning(&mut self, read: &Read) -> &[u8] {
        let length = read.length.min(read.shape.first());
        &self.trains.room()[HEAD..HEAD + length]
    }

    /// The headers of a burst, wherever they lie.
    pub(super) fn burst_of(&mut self, read: &Read, layer: Layer) -> Option<Burst> {
        let (gso, sum) = (read.header.gso?, read.header.sum);
        Burst::new(self.beginning(read), read.length, &gso, sum, layer).or_else(|| {
            // They may be longer than the first room.
            self.gather(read);
            Burst::new(self.packet.get(..read.length)?, read.length, &gso, sum, layer)
        })
    }

    /// Brings a read together in `packet`.
    pub(super) fn gather(&mut self, read: &Read) {
        let room = self.trains.room();
        for (from, to) in read.shape.pieces(read.length) {
            self.packet[to..to + from.len()].copy_from_slice(&room[from]);
        }
    }

    /// A packet in one piece: where it can be sealed, or in `whole` if it is too large for a datagram.
    pub(super) fn whole_packet(&mut self, read: &Read, large: bool) -> Option<&mut [u8]> {
        let scattered = read.length > read.shape.first();
        if scattered || large {
            self.gather(read);
        }
        let Self { trains, packet, whole, .. } = self;
        let target = if large { &mut whole[..] } else { trains.room().get_mut(HEAD..)? };
        let target = target.get_mut(..read.length)?;
        if scattered || large {
            target.copy_from_slice(packet.get(..read.length)?);
            self.shape = Shape::ONE;
        }
        Some(target)
    }

    /// Begins to cut the packet in `whole`.
    pub(super) fn cut_whole(&mut self, length: usize, bits: u8) {
        self.fragment_id = self.fragment_id.wrapping_add(1);
        let cut = Cut::new(self.fragment_id, length, self.most - AROUND);
        self.cut = cut.map(|cut| (cut, bits & !inner::CONTINUES | inner::FRAGMENT));
    }

    /// Writes the next packet or piece of one to where it can be sealed. Returns its length and its inner byte; `None`
    /// when nothing is left, or no room.
    pub(super) fn next_cut(&mut self) -> Option<(usize, u8)> {
        self.trains.rewind();
        loop {
            if !self.trains.has_room(self.most) {
                return None;
            }
            if let Some((cut, bits)) = &mut self.cut {
                let piece = cut.write_next(&self.whole[..], &mut self.trains.room()[HEAD..]);
                if let Some(length) = piece {
                    return Some((length, *bits));
                }
                self.cut = None;
            }
            let (length, bits) = self.next_segment()?;
            if AROUND + length <= self.most {
                return Some((length, bits));
            }
            self.cut_whole(length, bits);
        }
    }

    /// Writes the next segment of a burst to where it can be sealed, or to `whole` if it is too large for that.
    fn next_segment(&mut self) -> Option<(usize, u8)> {
        let burst = self.burst.as_mut()?;
        let header = burst.header();
        let large = AROUND + header + burst.size() > self.most;
        let out = if large { &mut self.whole[..] } else { &mut self.trains.room()[HEAD..] };
        let written = burst.next(out).and_then(|segment| {
            let from = header + segment.offset;
            let payload = self.packet.get(from..from + segment.length)?;
            out.get_mut(header..header + segment.length)?.copy_from_slice(payload);
            Some((large, header + segment.length, segment.inner))
        });
        let Some((large, length, bits)) = written else {
            self.burst = None;
            return None;
        };
        if large && AROUND + length <= self.most {
            // The last one of a burst may be short.
            let room = self.trains.room().get_mut(HEAD..HEAD + length)?;
            room.copy_from_slice(&self.whole[..length]);
        }
        Some((length, bits))
    }

    /// The largest datagram that TCP should cause: as `mssfix` says, and on a narrow path what passes it. The peer
    /// may never hear of that path, but its TCP keeps to the MSS that ours announces.
    pub(super) fn tcp_most(&self, mssfix: Mssfix) -> Option<u16> {
        let whole = self.most as u16;
        match mssfix {
            Mssfix::Whole => (AROUND + self.longest > self.most).then_some(whole),
            Mssfix::Payload(most) => Some(most.min(whole)),
            Mssfix::Mtu(most) => Some(most.saturating_sub(self.headers).min(whole)),
            Mssfix::Fixed(segment) => {
                Some((AROUND as u16 + self.around_segment).saturating_add(segment).min(whole))
            }
            Mssfix::Off => self.narrow.then_some(whole),
        }
    }
}

impl Shape {
    /// For packets that are no bursts: one datagram at a time.
    pub(super) const ONE: Self = Self { header: 0, size: DATAGRAM_IPV4 - AROUND, rooms: 1 };

    pub(super) fn of(burst: &Burst) -> Self {
        let (header, size) = (burst.header(), burst.size());
        let rooms = (BYTES_MAX / (AROUND + header + size)).clamp(1, DATAGRAMS_MAX);
        Self { header, size, rooms }
    }

    /// Bytes of one room.
    pub(super) fn room(&self) -> usize {
        AROUND + self.header + self.size
    }

    /// Bytes of a read in the first room.
    fn first(&self) -> usize {
        self.header + self.size
    }

    /// Bytes of a read in all rooms.
    pub(super) fn covers(&self) -> usize {
        self.header + self.size * self.rooms
    }

    /// Where the pieces of a read lie in the rooms, and where they belong in the whole.
    fn pieces(self, length: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        (0..self.rooms).map_while(move |room| {
            let (skipped, to, size) = match room {
                0 => (HEAD, 0, self.first()),
                _ => (HEAD + self.header, self.header + self.size * room, self.size),
            };
            let from = room * self.room() + skipped;
            let size = length.checked_sub(to).filter(|left| *left > 0)?.min(size);
            Some((from..from + size, to))
        })
    }
}

/// The longest super-packet whose datagrams fit into one train, with TCP's usual options; and of how many segments.
pub(super) fn longest_burst(mtu: u16) -> (u32, u32) {
    let datagrams = (BYTES_MAX / (AROUND + usize::from(mtu))).min(DATAGRAMS_MAX) as u32;
    (datagrams * u32::from(mtu.saturating_sub(TCP_IPV4)) + KERNEL_HEADROOM, DATAGRAMS_MAX as u32)
}
