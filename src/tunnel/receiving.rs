//! Socket to device: one receive, opened where it lies, joined to super-packets, written in one piece each.
//!
//! A train from the socket is written when it ends. Datagrams that come one by one are kept as long as the socket has
//! more and the buffer room, so that they can be joined too.

use std::io::{ErrorKind, IoSlice};
use std::ops::Range;

use super::ending::Activity;
use super::outbound::{AROUND, BURST};
use super::trains::zeroed;
use super::{Policy, Tunnel};
use crate::os::device::Device;
use crate::os::path::Path;
use crate::packet::chatter::{Interest, interest};
use crate::packet::coalesce::{Coalescer, Offer, PARTS_MAX, Packet};
use crate::packet::fragment::Joiner;
use crate::packet::vnet::{self, Sum};
use crate::packet::{Layer, checksum, inner, mss};
use crate::protocol::{HEAD, Reject, TAIL, Time};
use crate::status::Counters;

/// The way from the socket to the device.
pub(super) struct Inbound {
    /// Room for packets that are kept, and for one receive.
    buffer: Box<[u8; 2 * BURST]>,
    /// Where the next receive goes.
    end: usize,
    train: Option<Train>,
    /// A packet that arrived before there was a device: its inner byte, and where it lies.
    first: Option<(u8, Range<usize>)>,
    coalescer: Coalescer,
    joiner: Joiner,
    layer: Layer,
}

/// Datagrams of one receive that are not opened yet.
struct Train {
    bytes: Range<usize>,
    segment: usize,
    path: Path,
}

impl Tunnel {
    /// Receives a train, unless there still is one. Returns whether there was something to receive.
    pub(super) fn receive(&mut self, now: Time) -> bool {
        if self.inbound.train.is_some() {
            return true;
        }
        if !self.ready.udp_in || !self.remotes.known() {
            return false;
        }
        if self.inbound.end > BURST {
            self.write_joined(now);
        }
        let arrival = match self.udp.recv(self.inbound.room()) {
            Ok(arrival) => arrival,
            Err(cause) if cause.kind() == ErrorKind::InvalidData => {
                self.counters.rejects.count(Reject::Length);
                return true;
            }
            // Nothing there, or a fault of the moment: the next edge tells when to try again.
            Err(_) => {
                self.ready.udp_in = false;
                return false;
            }
        };
        self.counters.udp_in.count_many(arrival.len.div_ceil(arrival.segment.max(1)).max(1), arrival.len);
        self.mark('R');
        self.notes.heard_anything(now);
        if !self.remotes.allow(arrival.path.remote.ip()) {
            self.counters.rejects.count(Reject::Address);
            return true;
        }
        let bytes = self.inbound.end..self.inbound.end + arrival.len;
        self.inbound.end = bytes.end;
        self.inbound.train = Some(Train { bytes, segment: arrival.segment, path: arrival.path });
        true
    }

    /// The next datagram that was received, and where it came from.
    pub(super) fn next_datagram(&mut self) -> Option<(Range<usize>, Path)> {
        let train = self.inbound.train.as_mut()?;
        let next = train.bytes.start..train.bytes.end.min(train.bytes.start + train.segment);
        train.bytes.start = next.end;
        let path = train.path;
        if train.bytes.is_empty() {
            self.inbound.train = None;
        }
        Some((next, path))
    }

    /// Takes an opened packet to the device, or to a super-packet that grows.
    pub(super) fn deliver(&mut self, now: Time, bits: u8, datagram: Range<usize>) {
        let packet = datagram.start + HEAD..datagram.end - TAIL;
        self.counters.authentic.count(packet.len());
        let Self { device: Some(device), inbound, outbound, counters, activity, policy, .. } = self else {
            self.inbound.first = Some((bits, datagram));
            return;
        };
        let tcp_most = outbound.tcp_most(policy.mssfix);
        let mut sink = Sink { device, counters, activity, policy, layer: inbound.layer, tcp_most, now };
        if bits & !inner::KNOWN != 0 {
            // What continues this packet does not continue the one before.
            inbound.write_joined(&mut sink);
            return sink.counters.rejects.count(Reject::Malformed);
        }
        if bits & inner::FRAGMENT != 0 {
            // Nothing that came before may come after it.
            inbound.write_joined(&mut sink);
            let Inbound { buffer, joiner, .. } = inbound;
            match joiner.join(&buffer[packet]) {
                Ok(Some(whole)) => sink.write_packet(bits, whole),
                Ok(None) => {}
                Err(()) => sink.counters.rejects.count(Reject::Fragment),
            }
        } else if device.offload().tcp {
            let continues = bits & inner::CONTINUES != 0 && self.session.in_sequence();
            inbound.coalesce(&mut sink, bits, packet, continues);
        } else {
            sink.write_packet(bits, &mut inbound.buffer[packet]);
        }
    }
}

impl Tunnel {
    /// Writes every super-packet that grows; the buffer is free then, but for datagrams not opened yet.
    pub(super) fn write_joined(&mut self, now: Time) {
        let Self { device, inbound, counters, activity, policy, .. } = self;
        if let Some(device) = device {
            let layer = inbound.layer;
            let mut sink = Sink { device, counters, activity, policy, layer, tcp_most: None, now };
            inbound.write_joined(&mut sink);
        }
        if inbound.train.is_none() && inbound.first.is_none() {
            inbound.end = 0;
        }
    }
}

impl Inbound {
    /// `longest` is the longest packet that comes in pieces.
    pub(super) fn new(layer: Layer, longest: usize) -> Self {
        Self {
            buffer: zeroed(),
            end: 0,
            train: None,
            first: None,
            coalescer: Coalescer::new(layer, false),
            joiner: Joiner::new(longest),
            layer,
        }
    }

    /// What the device can take, now that there is one.
    pub(super) fn prepare_for(&mut self, device: &Device) {
        self.coalescer = Coalescer::new(self.layer, device.offload().udp);
    }

    /// The packet that arrived before there was a device.
    pub(super) fn take_first(&mut self) -> Option<(u8, Range<usize>)> {
        self.first.take()
    }

    /// A datagram in the buffer.
    pub(super) fn datagram(&mut self, at: Range<usize>) -> &mut [u8] {
        self.buffer.get_mut(at).unwrap_or_default()
    }

    fn room(&mut self) -> &mut [u8] {
        let room = self.end..(self.end + BURST).min(self.buffer.len());
        &mut self.buffer[room]
    }

    fn coalesce(&mut self, sink: &mut Sink<'_>, bits: u8, at: Range<usize>, continues: bool) {
        // A partial checksum is found when the headers are looked at, which may not be necessary.
        let packet = Packet { at, sum: inner::said(bits), continues };
        loop {
            match self.coalescer.offer(&self.buffer[..], &packet) {
                Offer::Kept => return,
                Offer::First(flow) => self.write_flow(sink, flow),
                Offer::Alone => return sink.write_packet(bits, &mut self.buffer[packet.at]),
            }
        }
    }

    fn write_joined(&mut self, sink: &mut Sink<'_>) {
        for flow in self.coalescer.growing() {
            self.write_flow(sink, flow);
        }
    }

    fn write_flow(&mut self, sink: &mut Sink<'_>, flow: usize) {
        let (header, parts) = self.coalescer.finish(&mut self.buffer[..], flow);
        let header_bytes = header.encode();
        let mut pieces = [IoSlice::new(&[]); PARTS_MAX + 1];
        pieces[0] = IoSlice::new(&header_bytes);
        for (piece, part) in pieces[1..].iter_mut().zip(parts.iter()) {
            *piece = IoSlice::new(self.buffer.get(part).unwrap_or_default());
        }
        sink.write(parts.len(), &pieces[..=parts.len()]);
    }
}

/// Where packets go.
struct Sink<'a> {
    device: &'a Device,
    counters: &'a mut Counters,
    activity: &'a mut Activity,
    policy: &'a Policy,
    layer: Layer,
    /// What a SYN may ask this side's hosts to send: our path is theirs, and the peer may not know it.
    tcp_most: Option<u16>,
    now: Time,
}

impl Sink<'_> {
    /// Writes one packet, and what its datagram said of its checksum.
    fn write_packet(&mut self, bits: u8, packet: &mut [u8]) {
        let Some(sum) = inner::sum(bits, packet, self.layer) else {
            return self.counters.rejects.count(Reject::Malformed);
        };
        if let (Sum::Partial { start, offset }, false) = (sum, self.device.offload().header) {
            let _ = checksum::complete(packet, usize::from(start), usize::from(offset));
        }
        if let Some(most) = self.tcp_most {
            mss::clamp(packet, self.layer, sum, most.saturating_sub(AROUND as u16));
        }
        let header = vnet::Header { sum, gso: None }.encode();
        self.write(1, &[IoSlice::new(&header), IoSlice::new(packet)]);
    }

    /// Writes a header and the packets it stands for.
    fn write(&mut self, packets: usize, pieces: &[IoSlice<'_>]) {
        let Some(([_], [first, rest @ ..])) = pieces.split_at_checked(1) else { return };
        let length = rest.iter().fold(first.len(), |sum, piece| sum + piece.len());
        if interest(first, self.layer) == Interest::Traffic {
            self.activity.note(self.now, length);
        }
        match self.device.write(pieces) {
            Ok(()) => {
                self.counters.device_out.count_many(packets, length);
                if self.policy.marks {
                    crate::log::mark('w');
                }
            }
            // Down, full, or a packet the kernel does not like: it is lost, as on any wire.
            Err(_) => self.counters.dropped += packets as u64,
        }
    }
}
