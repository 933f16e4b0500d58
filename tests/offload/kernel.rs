//! What the kernel does with packets, written after its sources: twice, from fields and from bytes, so that one
//! checks the other.

use super::wire::{CWR, DESTINATION, FIN, HOP_BY_HOP, Head, Network, PSH, ROUTING, TCP, UDP, sum};

/// The packets that TSO or USO makes of a payload: each is built anew, with all its fields.
pub fn segments(head: &Head, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size);
    let segment =
        |(index, chunk): (usize, &[u8])| segment(head, index, index + 1 == count, size).packet(chunk);
    payload.chunks(size).enumerate().map(segment).collect()
}

/// The head of one of them: tcp_gso_segment(), __udp_gso_segment() and inet_gso_segment().
pub fn segment(head: &Head, index: usize, last: bool, size: usize) -> Head {
    let mut head = head.clone();
    if let Network::V4 { id, .. } = &mut head.network {
        *id = id.wrapping_add(index as u16);
    }
    if let Some(tcp) = &mut head.tcp {
        tcp.sequence = tcp.sequence.wrapping_add((index * size) as u32);
        tcp.flags &= if last { 0xff } else { !(FIN | PSH) };
        tcp.flags &= if index == 0 { 0xff } else { !CWR };
    }
    head
}

/// What the kernel puts in front of a super-packet: virtio_net_hdr_from_skb().
pub fn header(head: &Head, size: usize) -> [u8; 10] {
    let ecn = head.tcp.as_ref().is_some_and(|tcp| tcp.flags & CWR != 0);
    let kind = match (head.protocol(), head.v6()) {
        (UDP, _) => 5,
        (_, true) => 4,
        (_, false) => 1,
    };
    let fields = [head.length(), size, head.at(), if head.protocol() == TCP { 16 } else { 6 }];
    let mut header = vec![1, if ecn { kind | 0x80 } else { kind }];
    header.extend(fields.iter().flat_map(|field| (*field as u16).to_ne_bytes()));
    header.try_into().unwrap()
}

/// Takes what a program writes to a device, and cuts it as a driver would that has no offload.
///
/// Panics at everything that the kernel would refuse, or that it would believe although it is wrong.
pub fn write(header: &[u8; 10], packet: &[u8], tap: bool) -> Vec<Vec<u8>> {
    let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (start, offset) = (field(6), field(8));
    let partial = header[0] == 1;
    assert!(partial || header[0] == 2 || header[0] == 0, "flags {:#x}", header[0]);
    assert!(partial || (start, offset) == (0, 0));
    if header[1] == 0 {
        assert_eq!((field(2), field(4)), (0, 0), "the sizes of a super-packet, and none there");
        let mut packet = packet.to_vec();
        if partial {
            super::wire::complete(&mut packet, start, start + offset);
        }
        return vec![packet];
    }
    assert!(partial, "virtio_net_hdr_to_skb() wants NEEDS_CSUM for a super-packet");
    let parsed = Parsed::of(packet, tap);
    parsed.check(packet, header[1]);
    assert_eq!((field(2), start), (parsed.payload, parsed.at));
    assert_eq!(offset, if parsed.protocol == TCP { 16 } else { 6 });
    parsed.cut(packet, field(4))
}

/// Where things stand in a packet of TCP or UDP.
#[derive(Debug)]
pub struct Parsed {
    pub ip: usize,
    pub v6: bool,
    pub protocol: u8,
    pub at: usize,
    pub payload: usize,
    /// The destination of the pseudo-header.
    destination: Vec<u8>,
}

impl Parsed {
    pub fn of(packet: &[u8], tap: bool) -> Self {
        let ip = link(packet, tap);
        let v6 = packet[ip] >> 4 == 6;
        let (protocol, at, destination) = if v6 { ipv6(packet, ip) } else { ipv4(packet, ip) };
        let payload = at + if protocol == TCP { usize::from(packet[at + 12] >> 4) * 4 } else { 8 };
        Self { ip, v6, protocol, at, payload, destination }
    }

    /// All that the kernel relies on.
    fn check(&self, packet: &[u8], kind: u8) {
        let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let Self { ip, v6, protocol, at, .. } = *self;
        assert_eq!(
            kind & 0x7f,
            if protocol == UDP {
                5
            } else if v6 {
                4
            } else {
                1
            }
        );
        assert_eq!(kind & 0x80 != 0, protocol == TCP && packet[at + 13] & CWR != 0, "ECN");
        assert!(packet.len() - ip <= 65_535, "{} bytes", packet.len() - ip);
        let length = if v6 { word(ip + 4) + 40 } else { word(ip + 2) };
        assert_eq!(length, packet.len() - ip, "the length of IP");
        assert!(v6 || sum(&packet[ip..at]) == 0xffff, "the checksum of IP");
        assert!(protocol == TCP || word(at + 4) == packet.len() - at, "the length of UDP");
        let field = at + if protocol == TCP { 16 } else { 6 };
        let pseudo = sum(&self.pseudo(packet, packet.len() - at));
        assert_eq!(word(field) as u16 % 0xffff, pseudo % 0xffff, "the partial checksum");
    }

    fn cut(&self, packet: &[u8], size: usize) -> Vec<Vec<u8>> {
        let (head, payload) = packet.split_at(self.payload);
        let count = payload.len().div_ceil(size);
        assert!((2..=64).contains(&count), "{count} segments");
        let segment = |(index, chunk)| self.segment(head, chunk, index, index + 1 == count, size);
        payload.chunks(size).enumerate().map(segment).collect()
    }

    fn segment(&self, head: &[u8], chunk: &[u8], index: usize, last: bool, size: usize) -> Vec<u8> {
        let mut packet = [head, chunk].concat();
        let (ip, at, length) = (self.ip, self.at, packet.len());
        match self.v6 {
            true => put(&mut packet, ip + 4, length - ip - 40),
            false => self.finish_ipv4(&mut packet, index),
        }
        if self.protocol == UDP {
            put(&mut packet, at + 4, length - at);
        } else {
            let sequence = u32::from_be_bytes(head[at + 4..at + 8].try_into().unwrap());
            let sequence = sequence.wrapping_add((index * size) as u32);
            packet[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
            packet[at + 13] &= if last { 0xff } else { !(FIN | PSH) };
            packet[at + 13] &= if index == 0 { 0xff } else { !CWR };
        }
        self.finish_transport(&mut packet);
        packet
    }

    fn finish_ipv4(&self, packet: &mut [u8], index: usize) {
        let (ip, length) = (self.ip, packet.len());
        let id = u16::from_be_bytes([packet[ip + 4], packet[ip + 5]]).wrapping_add(index as u16);
        put(packet, ip + 2, length - ip);
        put(packet, ip + 4, usize::from(id));
        put(packet, ip + 10, 0);
        let sum = !sum(&packet[ip..self.at]);
        put(packet, ip + 10, usize::from(sum));
    }

    fn finish_transport(&self, packet: &mut [u8]) {
        let field = self.at + if self.protocol == TCP { 16 } else { 6 };
        let pseudo = sum(&self.pseudo(packet, packet.len() - self.at));
        put(packet, field, usize::from(pseudo));
        super::wire::complete(packet, self.at, field);
    }

    fn pseudo(&self, packet: &[u8], length: usize) -> Vec<u8> {
        let source =
            if self.v6 { &packet[self.ip + 8..self.ip + 24] } else { &packet[self.ip + 12..self.ip + 16] };
        [source, &self.destination, &(length as u32).to_be_bytes(), &[0, 0, 0, self.protocol]].concat()
    }
}

/// Where the network header begins.
fn link(packet: &[u8], tap: bool) -> usize {
    if !tap {
        return 0;
    }
    let mut at = 12;
    while matches!(packet[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    at + 2
}

fn ipv4(packet: &[u8], ip: usize) -> (u8, usize, Vec<u8>) {
    let at = ip + usize::from(packet[ip] & 15) * 4;
    (packet[ip + 9], at, packet[ip + 16..ip + 20].to_vec())
}

fn ipv6(packet: &[u8], ip: usize) -> (u8, usize, Vec<u8>) {
    let mut destination = packet[ip + 24..ip + 40].to_vec();
    let (mut kind, mut at) = (packet[ip + 6], ip + 40);
    while matches!(kind, HOP_BY_HOP | ROUTING | DESTINATION) {
        let end = at + (usize::from(packet[at + 1]) + 1) * 8;
        if kind == ROUTING && packet[at + 3] > 0 {
            destination = packet[end - 16..end].to_vec();
        }
        (kind, at) = (packet[at], end);
    }
    (kind, at, destination)
}

fn put(packet: &mut [u8], at: usize, value: usize) {
    packet[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}
