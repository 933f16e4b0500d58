//! Packets as RFC 791, 8200, 9293 and 768 have them, built field by field. Nothing of naptun is used to build them.

use naptun::packet::Layer;
use naptun::packet::vnet::Sum;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const DESTINATION: u8 = 60;

/// All of a packet but its payload.
#[derive(Clone, Debug)]
pub struct Head {
    /// The VLAN tags of a frame: type, and what it says. `None` for a tun.
    pub tags: Option<Vec<(u16, u16)>>,
    pub traffic: u8,
    pub hops: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub network: Network,
    pub ports: (u16, u16),
    /// `None` for UDP.
    pub tcp: Option<Tcp>,
}

#[derive(Clone, Debug)]
pub enum Network {
    V4 { id: u16, whole: bool, options: Vec<u8> },
    V6 { label: u32, extensions: Vec<(u8, Vec<u8>)> },
}

#[derive(Clone, Debug)]
pub struct Tcp {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub reserved: u8,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<u8>,
}

impl Head {
    pub fn layer(&self) -> Layer {
        if self.tags.is_some() { Layer::Ethernet } else { Layer::Ip }
    }

    pub fn protocol(&self) -> u8 {
        if self.tcp.is_some() { TCP } else { UDP }
    }

    pub fn v6(&self) -> bool {
        matches!(self.network, Network::V6 { .. })
    }

    /// Where the IP header begins.
    pub fn ip(&self) -> usize {
        self.tags.as_ref().map_or(0, |tags| 14 + 4 * tags.len())
    }

    /// Where the transport header begins.
    pub fn at(&self) -> usize {
        self.ip() + self.ip_header(0).len()
    }

    /// Bytes of all headers.
    pub fn length(&self) -> usize {
        self.at() + self.tcp.as_ref().map_or(8, |tcp| 20 + tcp.options.len())
    }

    /// Bytes of payload that the longest IP packet has.
    pub fn most(&self) -> usize {
        65_535 - (self.length() - self.ip())
    }

    pub fn partial(&self) -> Sum {
        Sum::Partial { start: self.at() as u16, offset: if self.tcp.is_some() { 16 } else { 6 } }
    }

    pub fn tcp(&mut self) -> &mut Tcp {
        self.tcp.as_mut().expect("TCP")
    }

    /// The packet with a right checksum.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.partial_packet(payload);
        complete(&mut packet, self.at(), self.at() + if self.tcp.is_some() { 16 } else { 6 });
        packet
    }

    /// The packet with the checksum of the pseudo-header only.
    pub fn partial_packet(&self, payload: &[u8]) -> Vec<u8> {
        let length = self.length() - self.at() + payload.len();
        let mut packet = self.link();
        packet.extend(self.ip_header(length));
        packet.extend(self.transport(payload.len()));
        packet.extend(payload);
        let field = self.at() + if self.tcp.is_some() { 16 } else { 6 };
        packet[field..field + 2].copy_from_slice(&sum(&self.pseudo(length)).to_be_bytes());
        packet
    }

    fn link(&self) -> Vec<u8> {
        let Some(tags) = &self.tags else { return Vec::new() };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (kind, tag) in tags {
            frame.extend([kind.to_be_bytes(), tag.to_be_bytes()].concat());
        }
        frame.extend(if self.v6() { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame
    }

    fn ip_header(&self, length: usize) -> Vec<u8> {
        match &self.network {
            Network::V4 { id, whole, options } => self.ipv4(*id, *whole, options, length),
            Network::V6 { label, extensions } => self.ipv6(*label, extensions, length),
        }
    }

    fn ipv4(&self, id: u16, whole: bool, options: &[u8], length: usize) -> Vec<u8> {
        let own = 20 + options.len();
        let mut header = vec![0x40 | (own / 4) as u8, self.traffic];
        header.extend(((own + length) as u16).to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend([if whole { 0x40 } else { 0 }, 0, self.hops, self.protocol(), 0, 0]);
        header.extend(&self.source[..4]);
        header.extend(&self.destination[..4]);
        header.extend(options);
        let sum = !sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn ipv6(&self, label: u32, extensions: &[(u8, Vec<u8>)], length: usize) -> Vec<u8> {
        let following = extensions.iter().map(|(kind, _)| *kind).chain([self.protocol()]).collect::<Vec<_>>();
        let behind = extensions.iter().map(|(_, body)| body.len() + 2).sum::<usize>() + length;
        let first = 0x6000_0000 | (u32::from(self.traffic) << 20) | label;
        let mut header = first.to_be_bytes().to_vec();
        header.extend((behind as u16).to_be_bytes());
        header.extend([following[0], self.hops]);
        header.extend([self.source, self.destination].concat());
        for ((_, body), next) in extensions.iter().zip(&following[1..]) {
            header.extend([*next, ((body.len() + 2) / 8 - 1) as u8]);
            header.extend(body);
        }
        header
    }

    fn transport(&self, payload: usize) -> Vec<u8> {
        let mut header = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        let Some(tcp) = &self.tcp else {
            header.extend(((8 + payload) as u16).to_be_bytes());
            header.extend([0, 0]);
            return header;
        };
        header.extend([tcp.sequence.to_be_bytes(), tcp.acknowledgement.to_be_bytes()].concat());
        header.extend([(((20 + tcp.options.len()) / 4) << 4) as u8 | tcp.reserved, tcp.flags]);
        header.extend([tcp.window.to_be_bytes(), [0, 0], tcp.urgent.to_be_bytes()].concat());
        header.extend(&tcp.options);
        header
    }

    fn pseudo(&self, length: usize) -> Vec<u8> {
        let tail = [(length as u32).to_be_bytes(), [0, 0, 0, self.protocol()]].concat();
        match &self.network {
            Network::V4 { .. } => [&self.source[..4], &self.destination[..4], &tail].concat(),
            Network::V6 { extensions, .. } => {
                [&self.source[..], &final_destination(self.destination, extensions), &tail].concat()
            }
        }
    }
}

/// Behind a routing header that is not used up yet, the pseudo-header has its last address (RFC 8200, 8.1).
fn final_destination(next: [u8; 16], extensions: &[(u8, Vec<u8>)]) -> [u8; 16] {
    let routing = extensions.iter().find(|(kind, body)| *kind == ROUTING && body[1] > 0);
    routing.map_or(next, |(_, body)| body[body.len() - 16..].try_into().unwrap())
}

/// The folded sum of 16-bit words, one after the other (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sums from `start` to the end, into the field: skb_checksum_help() of the kernel.
pub fn complete(packet: &mut [u8], start: usize, field: usize) {
    let sum = match !sum(&packet[start..]) {
        0 => 0xffff,
        sum => sum,
    };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Bytes that look like nothing, the same for the same salt.
pub fn payload(length: usize, salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Heads of TCP and UDP with all that may stand in front of them.
pub fn heads() -> impl Strategy<Value = Head> {
    let addresses = (any::<[u8; 16]>(), any::<[u8; 16]>());
    let transport = (any::<(u16, u16)>(), prop_oneof![3 => tcp().prop_map(Some), 1 => Just(None)]);
    (tags(), any::<(u8, u8)>(), addresses, network(), transport).prop_map(
        |(tags, (traffic, hops), (source, destination), network, (ports, tcp))| Head {
            tags,
            traffic,
            hops,
            source,
            destination,
            network,
            ports,
            tcp,
        },
    )
}

/// Heads of what the kernel joins and cuts.
pub fn burst_heads() -> impl Strategy<Value = Head> {
    (heads(), any::<u8>()).prop_map(|(mut head, flags)| {
        if let Some(tcp) = &mut head.tcp {
            tcp.flags = ACK | flags & (PSH | FIN | ECE | CWR);
        }
        head
    })
}

fn tags() -> impl Strategy<Value = Option<Vec<(u16, u16)>>> {
    prop::option::of(vec((select(&[0x8100, 0x88a8]), any::<u16>()), 0..=2))
}

fn network() -> impl Strategy<Value = Network> {
    let v4 = (any::<u16>(), any::<bool>(), words(10)).prop_map(|(id, whole, options)| Network::V4 {
        id,
        whole,
        options,
    });
    let extension = (select(&[HOP_BY_HOP, ROUTING, DESTINATION]), words(5)).prop_map(|(kind, words)| {
        // Routing headers are used up here.
        let mut body = vec![4, 0, 0, 0, 0, 0];
        body.extend(&words[..words.len() / 8 * 8]);
        (kind, body)
    });
    let v6 = (0..1_u32 << 20, vec(extension, 0..=3))
        .prop_map(|(label, extensions)| Network::V6 { label, extensions });
    prop_oneof![v4, v6]
}

fn tcp() -> impl Strategy<Value = Tcp> {
    let time_stamps = any::<[u8; 8]>().prop_map(|stamps| [&[1, 1, 8, 10], &stamps[..]].concat());
    let sack = any::<[u8; 28]>().prop_map(|edges| {
        let sack = [&[1, 1, 5, 18], &edges[..16]].concat();
        [&[1, 1, 8, 10], &edges[16..24], &sack].concat()
    });
    let options = prop_oneof![Just(Vec::new()), time_stamps, sack, words(10)];
    (any::<(u32, u32, u8, u16, u16)>(), 0..16_u8, options).prop_map(
        |((sequence, acknowledgement, flags, window, urgent), reserved, options)| Tcp {
            sequence,
            acknowledgement,
            reserved,
            flags,
            window,
            urgent,
            options,
        },
    )
}

/// So many words of four bytes at most.
fn words(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..=most).prop_map(|words| words.concat())
}

/// A plain head to begin with: TCP or UDP, IPv4 or IPv6, tun or tap.
pub fn plain(v6: bool, tap: bool, tcp: bool) -> Head {
    let network = match v6 {
        true => Network::V6 { label: 0x12345, extensions: Vec::new() },
        false => Network::V4 { id: 700, whole: false, options: Vec::new() },
    };
    let tcp = tcp.then(|| Tcp {
        sequence: 0xffff_ff00,
        acknowledgement: 77,
        reserved: 0,
        flags: ACK,
        window: 501,
        urgent: 0,
        options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
    });
    Head {
        tags: tap.then(|| vec![(0x8100, 5)]),
        traffic: 2,
        hops: 64,
        source: *b"\x0a\x08\0\x01 source....\x01",
        destination: *b"\x0a\x08\0\x02 destination",
        network,
        ports: (40_000, 5201),
        tcp,
    }
}
