//! Cutting: a super-packet of the kernel (TSO, USO) becomes the packets that it stands for.
//!
//! Only headers are made; payload is never summed. Where the checksum is partial, only the length in its
//! pseudo-header changes from segment to segment. What the kernel would have done itself is net/ipv4/tcp_offload.c,
//! tcp_gso_segment(), and net/ipv4/udp_offload.c, __udp_gso_segment().

use super::transport::{IPV6_HEADER, TCP, Transport, checksum_offset};
use super::vnet::{Gso, Sum};
use super::{Layer, checksum, inner};

/// Longest headers of a super-packet, bytes: two VLAN tags, IPv6 with extension headers, TCP with options.
pub const HEADER_MAX: usize = 256;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// A super-packet on its way to be cut.
#[derive(Clone, Debug)]
pub struct Burst {
    header: [u8; HEADER_MAX],
    transport: Transport,
    size: usize,
    payload: usize,
    next: usize,
    /// Sums of what is the same in all segments.
    ip_sum: u64,
    pseudo_sum: u64,
}

/// One segment of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its payload begins in the payload of the super-packet.
    pub offset: usize,
    /// Bytes of payload.
    pub length: usize,
    /// What the receiver must know of it: bits of the inner byte.
    pub inner: u8,
}

impl Burst {
    /// Reads the headers of a super-packet of `total` bytes from its beginning, which holds all headers at least.
    ///
    /// `None` if they do not go together with what the kernel says; such a packet cannot be sent.
    pub fn new(beginning: &[u8], total: usize, gso: &Gso, sum: Sum, layer: Layer) -> Option<Self> {
        let transport = Transport::within(beginning, layer)?;
        let length = transport.payload;
        let Sum::Partial { start, offset } = sum else { return None };
        let asked = transport.protocol == gso.protocol && (gso.protocol != TCP || gso.v6 == transport.v6);
        // The receiver will look for the checksum where the headers say, and so must the kernel.
        let agreed = usize::from(start) == transport.at && offset == transport.checksum_offset();
        if !asked || !agreed || length >= total {
            return None;
        }
        let mut header = [0; HEADER_MAX];
        header.get_mut(..length)?.copy_from_slice(beginning.get(..length)?);
        let mut burst = Self {
            header,
            transport,
            size: usize::from(gso.size),
            payload: total - length,
            next: 0,
            ip_sum: 0,
            pseudo_sum: 0,
        };
        burst.sum_up(total);
        Some(burst)
    }

    /// Bytes of the headers, the same in every segment.
    pub fn header(&self) -> usize {
        self.transport.payload
    }

    /// Bytes of payload in every segment but the last.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of payload in all.
    pub fn payload(&self) -> usize {
        self.payload
    }

    /// The next segment: its headers are written to the beginning of `out`, its payload belongs behind them.
    ///
    /// `None` after the last, or where `out` has no room for the headers.
    pub fn next(&mut self, out: &mut [u8]) -> Option<Segment> {
        let offset = self.next * self.size;
        let length = self.payload.checked_sub(offset).filter(|left| *left > 0)?.min(self.size);
        let out = out.get_mut(..self.header())?;
        out.copy_from_slice(&self.header[..out.len()]);
        self.write_ip(out, length);
        match self.transport.protocol {
            TCP => self.write_tcp(out, offset, offset + length == self.payload),
            _ => self.write_udp(out, length),
        }
        self.write_sum(out, length);
        let continues = if self.next > 0 { inner::CONTINUES } else { 0 };
        self.next += 1;
        Some(Segment { offset, length, inner: inner::NEEDS_CSUM | continues })
    }

    /// Sums once what every segment has in common.
    fn sum_up(&mut self, total: usize) {
        let Transport { ip, v6, at, protocol, .. } = self.transport;
        if !v6 {
            self.header[ip + 10..ip + 12].fill(0);
            // Ones' complement: adding the inverse takes away.
            let changing = u64::from(!self.u16_at(ip + 2)) + u64::from(!self.u16_at(ip + 4));
            self.ip_sum = checksum::add(changing, &self.header[ip..at]);
        }
        let field = at + usize::from(checksum_offset(protocol));
        let length = checksum::fold((total - at) as u64);
        self.pseudo_sum = u64::from(self.u16_at(field)) + u64::from(!length);
    }

    fn write_ip(&self, out: &mut [u8], length: usize) {
        let Transport { ip, v6, payload, .. } = self.transport;
        if v6 {
            put(out, ip + 4, (payload - ip - IPV6_HEADER + length) as u16);
            return;
        }
        let total = (payload - ip + length) as u16;
        let id = self.u16_at(ip + 4).wrapping_add(self.next as u16);
        put(out, ip + 2, total);
        put(out, ip + 4, id);
        put(out, ip + 10, !checksum::fold(self.ip_sum + u64::from(total) + u64::from(id)));
    }

    fn write_tcp(&self, out: &mut [u8], offset: usize, last: bool) {
        let at = self.transport.at;
        let sequence = self.u32_at(at + 4).wrapping_add(offset as u32);
        out[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            out[at + 13] &= !(FIN | PSH);
        }
        if self.next > 0 {
            out[at + 13] &= !CWR;
        }
    }

    fn write_udp(&self, out: &mut [u8], length: usize) {
        let Transport { at, payload, .. } = self.transport;
        put(out, at + 4, (payload - at + length) as u16);
    }

    fn write_sum(&self, out: &mut [u8], length: usize) {
        let Transport { at, payload, protocol, .. } = self.transport;
        let field = at + usize::from(checksum_offset(protocol));
        put(out, field, checksum::fold(self.pseudo_sum + (payload - at + length) as u64));
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        (u32::from(self.u16_at(at)) << 16) | u32::from(self.u16_at(at + 2))
    }
}

fn put(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
