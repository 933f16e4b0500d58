//! The receiving end without its socket and device: packets are offered as the tunnel does it, and what would be
//! written to the device is kept.

use std::ops::Range;

use naptun::packet::coalesce::{Coalescer, Offer, Packet};
use naptun::packet::vnet::{Header, Sum};
use naptun::packet::{Layer, inner};

use super::kernel;

/// What lies between two packets in the buffer: the sealing.
const BETWEEN: usize = 25;

pub struct Receiver {
    coalescer: Coalescer,
    layer: Layer,
    buffer: Vec<u8>,
    /// The buffer as it would be if nobody had written to it.
    arrived: Vec<u8>,
    /// Where headers were completed.
    headers: Vec<Range<usize>>,
    pub written: Vec<Written>,
}

/// One write to the device.
#[derive(Debug)]
pub struct Written {
    pub header: [u8; 10],
    pub bytes: Vec<u8>,
    pub parts: usize,
}

impl Receiver {
    pub fn new(layer: Layer, udp: bool) -> Self {
        Self {
            coalescer: Coalescer::new(layer, udp),
            layer,
            buffer: Vec::new(),
            arrived: Vec::new(),
            headers: Vec::new(),
            written: Vec::new(),
        }
    }

    /// A packet arrives.
    pub fn take(&mut self, bytes: &[u8], sum: Sum, continues: bool) {
        let at = self.put(bytes);
        // Where a partial checksum stands is not in the datagram.
        let offered =
            if matches!(sum, Sum::Partial { .. }) { Sum::Partial { start: 0, offset: 0 } } else { sum };
        let packet = Packet { at, sum: offered, continues };
        for _ in 0..2 {
            match self.coalescer.offer(&self.buffer, &packet) {
                Offer::Kept => return assert!(!self.coalescer.is_empty()),
                Offer::First(flow) => self.write(flow),
                Offer::Alone => return self.write_alone(&packet),
            }
        }
        panic!("offered twice, and still not taken");
    }

    /// All that is kept is written, and more may come.
    pub fn write_all(&mut self) {
        for flow in self.coalescer.growing() {
            self.write(flow);
        }
    }

    /// All that is kept is written.
    pub fn finish(mut self) -> Vec<Written> {
        self.write_all();
        assert!(self.coalescer.is_empty() && self.coalescer.growing().next().is_none());
        for range in std::mem::take(&mut self.headers) {
            self.buffer[range.clone()].copy_from_slice(&self.arrived[range]);
        }
        assert!(self.buffer == self.arrived, "only headers are written to");
        self.written
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        for buffer in [&mut self.buffer, &mut self.arrived] {
            buffer.extend([0xee; BETWEEN]);
            buffer.extend(bytes);
        }
        self.buffer.len() - bytes.len()..self.buffer.len()
    }

    fn write(&mut self, flow: usize) {
        assert!(self.coalescer.growing().any(|growing| growing == flow), "flow {flow} has nothing to write");
        let (header, parts) = self.coalescer.finish(&mut self.buffer, flow);
        assert!(!parts.is_empty() && parts.len() == parts.iter().count());
        let first = parts.iter().next().unwrap();
        let length = header.gso.map_or(0, |gso| usize::from(gso.header));
        self.headers.push(first.start..first.start + length);
        let bytes = parts.iter().flat_map(|part| self.buffer[part].iter().copied()).collect();
        self.written.push(Written { header: header.encode(), bytes, parts: parts.len() });
    }

    fn write_alone(&mut self, packet: &Packet) {
        let bytes = self.buffer[packet.at.clone()].to_vec();
        let bits = match packet.sum {
            Sum::Complete => 0,
            Sum::Verified => inner::VERIFIED,
            Sum::Partial { .. } => inner::NEEDS_CSUM,
        };
        let sum = inner::sum(bits, &bytes, self.layer).expect("a partial checksum that is to be found");
        let header = Header { sum, gso: None }.encode();
        self.written.push(Written { header, bytes, parts: 1 });
    }
}

impl Written {
    /// The packets that the kernel sees.
    pub fn packets(&self, layer: Layer) -> Vec<Vec<u8>> {
        let packets = kernel::write(&self.header, &self.bytes, layer == Layer::Ethernet);
        assert_eq!(packets.len(), self.parts);
        packets
    }
}

/// All packets that the kernel sees, in order.
pub fn packets(written: &[Written], layer: Layer) -> Vec<Vec<u8>> {
    written.iter().flat_map(|written| written.packets(layer)).collect()
}
