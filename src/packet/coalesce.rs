//! Joining: packets of one flow that follow each other become a super-packet for the kernel (GRO, in its words).
//!
//! What is joined can be cut again into the same packets. Nothing is copied: a super-packet is the first packet, with
//! its headers adapted, and the payloads of the others where they lie. It grows in three ways: by the burst bit, which
//! says that this datagram continues the one before; by headers that say the same, where checksums are partial; and by
//! those where checksums are complete and right. What the kernel itself asks for is net/core/gro.c and
//! net/ipv4/tcp_offload.c, tcp_gro_receive().

use std::ops::Range;

use super::transport::{IPV6_HEADER, TCP, Transport, UDP};
use super::vnet::{self, Gso, Sum};
use super::{Layer, checksum};

/// Packets in one super-packet: as many as one send may carry (UDP_MAX_SEGMENTS of linux/udp.h).
pub const PARTS_MAX: usize = 64;

/// Flows that grow at a time.
pub const FLOWS: usize = 4;

/// Longest IP packet, bytes.
const PACKET_MAX: usize = 65_535;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// A packet in the buffer, and what the datagram said of it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Where it lies.
    pub at: Range<usize>,
    /// Its checksum.
    pub sum: Sum,
    /// It continues the burst of the packet offered before it, which was not lost.
    pub continues: bool,
}

/// What to do with a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: it is part of a super-packet that grows.
    Kept,
    /// Write the super-packet of this flow, then offer it again.
    First(usize),
    /// Write it as it is.
    Alone,
}

/// The super-packets that grow. Its memory is allocated once.
pub struct Coalescer {
    flows: Box<[Flow; FLOWS]>,
    layer: Layer,
    /// Whether the kernel takes super-packets of UDP.
    udp: bool,
    /// The flow that the packet before became part of.
    last: Option<usize>,
    /// Whose turn it is to make room.
    turn: usize,
}

/// A super-packet that grows; free while it has no parts.
struct Flow {
    parts: [(u32, u32); PARTS_MAX],
    count: usize,
    transport: Transport,
    /// Payload of each packet but the last, bytes.
    size: usize,
    payload: usize,
    sum: Sum,
    /// The checksum of the first packet has been looked at.
    verified: bool,
    id: u16,
    flags: u8,
    /// Nothing may follow.
    closed: bool,
}

/// The headers of a packet that could be part of a super-packet.
struct Candidate {
    start: usize,
    transport: Transport,
    payload: Range<usize>,
    flags: u8,
    sum: Sum,
}

impl Coalescer {
    /// For packets of `layer`; `udp` says whether the kernel takes super-packets of UDP (USO) as well.
    pub fn new(layer: Layer, udp: bool) -> Self {
        Self { flows: Box::new([const { Flow::FREE }; FLOWS]), layer, udp, last: None, turn: 0 }
    }

    /// Takes a packet that lies in `buffer`, if it can be joined or others may be joined to it. What is kept must stay
    /// there until it is written.
    pub fn offer(&mut self, buffer: &[u8], packet: &Packet) -> Offer {
        if packet.continues && self.extend(buffer, packet) {
            return Offer::Kept;
        }
        self.last = None;
        let Some(bytes) = buffer.get(packet.at.clone()) else { return Offer::Alone };
        let Some(transport) = Transport::of(bytes, self.layer) else { return Offer::Alone };
        let transport = shifted(transport, packet.at.start);
        let candidate = self.candidate(buffer, packet, transport);
        match self.flows.iter().position(|flow| flow.is_of(buffer, &transport)) {
            Some(index) => self.join(buffer, index, candidate),
            None => candidate.map_or(Offer::Alone, |candidate| self.begin(buffer, packet, &candidate)),
        }
    }

    /// The flows that have something to write.
    pub fn growing(&self) -> impl Iterator<Item = usize> + use<> {
        let counts = std::array::from_fn::<bool, FLOWS, _>(|index| self.flows[index].count > 0);
        (0..FLOWS).filter(move |index| counts[*index])
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.flows.iter().all(|flow| flow.count == 0)
    }

    /// Completes the headers of a super-packet. Returns what goes before it, and its parts in order; the flow is free
    /// then.
    pub fn finish(&mut self, buffer: &mut [u8], index: usize) -> (vnet::Header, Parts) {
        let Some(flow) = self.flows.get_mut(index).filter(|flow| flow.count > 0) else {
            return (vnet::Header::PLAIN, Parts::default());
        };
        let header = flow.finish(buffer);
        let parts = Parts { parts: flow.parts, count: flow.count };
        flow.count = 0;
        self.last.take_if(|last| *last == index);
        (header, parts)
    }

    /// By the burst bit alone.
    fn extend(&mut self, buffer: &[u8], packet: &Packet) -> bool {
        let Some(flow) = self.last.and_then(|last| self.flows.get_mut(last)) else { return false };
        let partial = |sum| matches!(sum, Sum::Partial { .. });
        let header = flow.transport.payload - flow.start();
        if !partial(packet.sum) || !partial(flow.sum) || packet.at.len() <= header {
            return false;
        }
        let flags = match flow.transport.protocol {
            TCP => buffer.get(packet.at.start + flow.transport.at - flow.start() + 13).copied().unwrap_or(0),
            _ => 0,
        };
        flow.id = flow.id.wrapping_add(1);
        flow.append(packet.at.start + header..packet.at.end, flags)
    }

    fn candidate(&self, buffer: &[u8], packet: &Packet, transport: Transport) -> Option<Candidate> {
        let payload = transport.payload..transport.end;
        // Behind a frame's packet there may be padding, which a super-packet has no place for.
        if payload.is_empty() || transport.end != packet.at.end || !header_is_right(buffer, &transport) {
            return None;
        }
        let flags = match transport.protocol {
            TCP => {
                let flags = *buffer.get(transport.at + 13)?;
                (flags & ACK != 0 && flags & !(ACK | PSH | FIN | ECE | CWR) == 0).then_some(flags)?
            }
            UDP if self.udp => {
                let length = usize::from(u16_at(buffer, transport.at + 4));
                // A checksum that UDP leaves out is zero, which one that is complete or partial never is.
                let left_out = u16_at(buffer, transport.at + 6) == 0;
                (length == transport.end - transport.at && !left_out).then_some(0)?
            }
            _ => return None,
        };
        let sum = match packet.sum {
            // The pseudo-header that the kernel verified is not to be found behind a routing header.
            Sum::Verified if transport.v6 && transport.at - transport.ip > IPV6_HEADER => Sum::Complete,
            sum => sum,
        };
        Some(Candidate { start: packet.at.start, transport, payload, flags, sum })
    }

    /// A packet of a flow that grows.
    fn join(&mut self, buffer: &[u8], index: usize, candidate: Option<Candidate>) -> Offer {
        let (Some(flow), Some(candidate)) = (self.flows.get_mut(index), candidate) else {
            return Offer::First(index);
        };
        if !flow.is_followed_by(buffer, &candidate) || !flow.append(candidate.payload, candidate.flags) {
            return Offer::First(index);
        }
        flow.id = u16_at(buffer, candidate.transport.ip + 4);
        self.last = Some(index);
        Offer::Kept
    }

    /// The first packet of a flow.
    fn begin(&mut self, buffer: &[u8], packet: &Packet, candidate: &Candidate) -> Offer {
        let Some(index) = self.flows.iter().position(|flow| flow.count == 0) else {
            self.turn = (self.turn + 1) % FLOWS;
            return Offer::First(self.turn);
        };
        let flow = &mut self.flows[index];
        flow.parts[0] = (packet.at.start as u32, packet.at.len() as u32);
        flow.count = 1;
        flow.transport = candidate.transport;
        flow.size = candidate.payload.len();
        flow.payload = candidate.payload.len();
        flow.sum = candidate.sum;
        flow.verified = candidate.sum != Sum::Complete;
        flow.id = u16_at(buffer, candidate.transport.ip + 4);
        flow.flags = candidate.flags;
        flow.closed = candidate.flags & (FIN | PSH) != 0;
        self.last = Some(index);
        Offer::Kept
    }
}

impl Flow {
    const FREE: Self = Self {
        parts: [(0, 0); PARTS_MAX],
        count: 0,
        transport: Transport { ip: 0, v6: false, protocol: 0, at: 0, payload: 0, end: 0 },
        size: 0,
        payload: 0,
        sum: Sum::Complete,
        verified: false,
        id: 0,
        flags: 0,
        closed: false,
    };

    /// Where the first packet begins.
    fn start(&self) -> usize {
        self.parts[0].0 as usize
    }

    /// Addresses and ports.
    fn is_of(&self, buffer: &[u8], other: &Transport) -> bool {
        let own = &self.transport;
        let ports = |it: &Transport| buffer.get(it.at..it.at + 4);
        self.count > 0
            && own.protocol == other.protocol
            && own.v6 == other.v6
            && ports(own) == ports(other)
            && addresses(buffer, own) == addresses(buffer, other)
    }

    /// Whether a packet of the same flow says the same in its headers, and comes next.
    fn is_followed_by(&mut self, buffer: &[u8], next: &Candidate) -> bool {
        let own = Headers { transport: &self.transport, start: self.start() };
        let other = Headers { transport: &next.transport, start: next.start };
        own.lengths() == other.lengths()
            && own.say_the_same(&other, buffer)
            && self.is_next(buffer, next)
            && self.sums_agree(buffer, next)
    }

    /// TCP goes on where the last packet ended; IPv4 counts on, or leaves the counting be where nothing is ever cut
    /// (RFC 6864, section 4.1).
    fn is_next(&self, buffer: &[u8], next: &Candidate) -> bool {
        let (own, other) = (&self.transport, &next.transport);
        let whole = |it: &Transport| buffer.get(it.ip + 6).is_some_and(|bits| bits & 0x40 != 0);
        let id = u16_at(buffer, other.ip + 4);
        let counted = own.v6 || id == self.id.wrapping_add(1) || (whole(own) && id == self.id);
        let sequence = |at: usize| (u32::from(u16_at(buffer, at)) << 16) | u32::from(u16_at(buffer, at + 2));
        counted
            && (own.protocol != TCP
                || sequence(other.at + 4) == sequence(own.at + 4).wrapping_add(self.payload as u32))
    }

    /// A super-packet has one checksum, and the kernel will not look at it: what goes in must be right.
    fn sums_agree(&mut self, buffer: &[u8], next: &Candidate) -> bool {
        match (self.sum, next.sum) {
            (Sum::Partial { .. }, Sum::Partial { .. }) => true,
            (Sum::Partial { .. }, _) | (_, Sum::Partial { .. }) => false,
            (_, theirs) => {
                self.verified = self.verified || checksum::verify(buffer, &self.transport);
                self.verified && (theirs == Sum::Verified || checksum::verify(buffer, &next.transport))
            }
        }
    }

    /// Adds payload, if the super-packet may still grow by it.
    fn append(&mut self, payload: Range<usize>, flags: u8) -> bool {
        let length = payload.len();
        let total = self.transport.payload - self.transport.ip + self.payload + length;
        let grows = !self.closed && self.count < PARTS_MAX && length <= self.size && total <= PACKET_MAX;
        // CWR belongs to the first packet alone, and ECE to all or none.
        let flags_fit = flags & CWR == 0 && (flags ^ self.flags) & ECE == 0;
        if !grows || !flags_fit {
            return false;
        }
        self.parts[self.count] = (payload.start as u32, length as u32);
        self.count += 1;
        self.payload += length;
        self.flags |= flags;
        self.closed = length < self.size || flags & (FIN | PSH) != 0;
        true
    }

    fn finish(&self, buffer: &mut [u8]) -> vnet::Header {
        let start = self.start();
        let within = |at: usize| (at - start) as u16;
        let offset = self.transport.checksum_offset();
        let partial = Sum::Partial { start: within(self.transport.at), offset };
        if self.count == 1 {
            let sum = if matches!(self.sum, Sum::Partial { .. }) { partial } else { self.sum };
            return vnet::Header { sum, gso: None };
        }
        self.write_headers(buffer);
        let Transport { protocol, v6, payload, .. } = self.transport;
        let ecn = self.flags & CWR != 0;
        let gso = Gso { protocol, v6, ecn, size: self.size as u16, header: within(payload) };
        vnet::Header { sum: partial, gso: Some(gso) }
    }

    /// The headers of the first packet become those of all of them.
    fn write_headers(&self, buffer: &mut [u8]) {
        let Transport { ip, v6, at, payload, protocol, .. } = self.transport;
        let total = payload - ip + self.payload;
        let length = payload - at + self.payload;
        if v6 {
            put(buffer, ip + 4, (total - IPV6_HEADER) as u16);
        } else {
            put(buffer, ip + 2, total as u16);
            put(buffer, ip + 10, 0);
            let sum = buffer.get(ip..at).map_or(0, |header| checksum::add(0, header));
            put(buffer, ip + 10, !checksum::fold(sum));
        }
        if protocol == TCP {
            if let Some(flags) = buffer.get_mut(at + 13) {
                *flags = self.flags;
            }
        } else {
            put(buffer, at + 4, length as u16);
        }
        let field = at + usize::from(self.transport.checksum_offset());
        let sum = match self.sum {
            // Its pseudo-header may have had another destination (a routing header): only the length is ours.
            Sum::Partial { .. } => {
                let first = checksum::fold((payload - at + self.size) as u64);
                u64::from(u16_at(buffer, field)) + u64::from(!first) + length as u64
            }
            _ => checksum::pseudo(buffer, &self.transport, length),
        };
        put(buffer, field, checksum::fold(sum));
    }
}

/// Where the parts of a super-packet lie in the buffer.
#[derive(Clone, Copy)]
pub struct Parts {
    parts: [(u32, u32); PARTS_MAX],
    count: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Self { parts: [(0, 0); PARTS_MAX], count: 0 }
    }
}

impl Parts {
    /// How many there are: packets that the super-packet stands for.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// They, in order. The first is a whole packet, the others are payload.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.parts.iter().take(self.count).map(|(start, length)| *start as usize..(*start + *length) as usize)
    }
}

/// Offsets from the beginning of the buffer, not of the packet.
fn shifted(transport: Transport, by: usize) -> Transport {
    let Transport { ip, at, payload, end, .. } = transport;
    Transport { ip: ip + by, at: at + by, payload: payload + by, end: end + by, ..transport }
}

fn addresses<'a>(buffer: &'a [u8], transport: &Transport) -> Option<&'a [u8]> {
    let ip = transport.ip;
    buffer.get(if transport.v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 })
}

/// The kernel drops a packet whose IPv4 header is damaged; it must still be able to.
fn header_is_right(buffer: &[u8], transport: &Transport) -> bool {
    let header = buffer.get(transport.ip..transport.at).unwrap_or_default();
    transport.v6 || checksum::fold(checksum::add(0, header)) == 0xffff
}

/// The headers of a packet that begins at `start`.
struct Headers<'a> {
    transport: &'a Transport,
    start: usize,
}

impl Headers<'_> {
    fn lengths(&self) -> (usize, usize, usize) {
        let Transport { ip, at, payload, .. } = *self.transport;
        (ip - self.start, at - ip, payload - at)
    }

    /// Whether all fields are equal that neither length, order nor checksum changes. The lengths are.
    fn say_the_same(&self, other: &Self, buffer: &[u8]) -> bool {
        let Transport { ip, v6, at, payload, protocol, .. } = *self.transport;
        let moved = |at: usize| at - self.start + other.start;
        let same = |from: usize, to: usize| buffer.get(from..to) == buffer.get(moved(from)..moved(to));
        let network = match v6 {
            true => same(self.start, ip + 4) && same(ip + 6, at),
            false => same(self.start, ip + 2) && same(ip + 6, ip + 10) && same(ip + 12, at),
        };
        // TCP: acknowledgement and offset of the data; window; urgent pointer and options.
        let tcp = || same(at + 8, at + 13) && same(at + 14, at + 16) && same(at + 18, payload);
        network && same(at, at + 4) && (protocol != TCP || tcp())
    }
}

fn u16_at(buffer: &[u8], at: usize) -> u16 {
    buffer.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |two| u16::from_be_bytes(*two))
}

fn put(buffer: &mut [u8], at: usize, value: u16) {
    if let Some(field) = buffer.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
