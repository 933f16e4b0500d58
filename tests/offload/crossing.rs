//! Flows that cross each other, with everything between their data that a wire may bring.

use naptun::packet::Layer;
use naptun::packet::vnet::Sum;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::kernel;
use super::receiver::{Receiver, packets};
use super::wire::{ACK, CWR, ECE, FIN, Head, Network, PSH, RST, SYN, URG, payload, plain};

/// Packets of one flow, in a row.
#[derive(Clone, Debug)]
struct Step {
    flow: usize,
    event: Event,
    size: usize,
    /// Packets, for data.
    count: usize,
    flags: u8,
    sum: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Partial,
    /// The same, and the datagrams say that they continue each other.
    Burst,
    Complete,
    Verified,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Data,
    /// A last one that is shorter.
    Short,
    Acknowledgement,
    Flags(u8),
    WrongSum,
    WrongHeader,
    Padding,
    Gap,
    Again,
    NextId,
    Hops,
    Traffic,
    Answer,
    Window,
    TimeStamp,
    MoreOptions,
    Label,
    Tag,
    Whole,
    NoSum,
    Fragment,
    OtherProtocol,
    Rubbish,
    /// All is written at the receiving end, in the middle of a burst, too.
    Write,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let changes = select(&[
        Event::Short,
        Event::Acknowledgement,
        Event::Flags(SYN),
        Event::Flags(RST),
        Event::Flags(URG),
        Event::WrongSum,
        Event::WrongHeader,
        Event::Padding,
        Event::Gap,
        Event::Again,
        Event::NextId,
        Event::Hops,
        Event::Traffic,
        Event::Answer,
        Event::Window,
        Event::TimeStamp,
        Event::MoreOptions,
        Event::Label,
        Event::Tag,
        Event::Whole,
        Event::NoSum,
        Event::Fragment,
        Event::OtherProtocol,
        Event::Rubbish,
        Event::Write,
    ]);
    let event = prop_oneof![3 => Just(Event::Data), 1 => changes];
    let flags = prop_oneof![6 => Just(0), 1 => select(&[PSH, FIN, CWR, ECE, ECE | CWR])];
    let sum = select(&[Kind::Partial, Kind::Burst, Kind::Burst, Kind::Complete, Kind::Verified]);
    let step = (0..7_usize, event, select(&[100_usize, 100, 100, 60, 140, 1]), 1..7_usize, flags, sum);
    let step =
        step.prop_map(|(flow, event, size, count, flags, sum)| Step { flow, event, size, count, flags, sum });
    vec(step, 1..120)
}

/// The flows of a scenario, and what has been sent of each.
struct Wire {
    heads: Vec<Head>,
    receiver: Receiver,
    /// By the number of the flow; fragments, other protocols and rubbish are flows of their own.
    sent: Vec<Vec<Vec<u8>>>,
    layer: Layer,
}

impl Wire {
    /// Seven flows, among them UDP, both versions of IP, and identifiers that stand still.
    fn new(tap: bool) -> Self {
        let head = |flow: usize| {
            let mut head = plain(flow % 3 == 2, tap, flow != 5 && flow != 6);
            head.source[3] = flow as u8;
            if let Network::V4 { whole, .. } = &mut head.network {
                *whole = flow == 0 || flow == 6;
            }
            head
        };
        let heads = (0..7).map(head).collect::<Vec<_>>();
        let layer = heads[0].layer();
        Self { receiver: Receiver::new(layer, true), sent: vec![Vec::new(); 32], heads, layer }
    }

    /// Does a step, and leaves the flow where it goes on.
    fn step(&mut self, step: &Step, salt: u64) {
        match step.event {
            Event::Data => self.data(step, salt),
            Event::Short => self.data(&Step { size: step.size / 2 + 1, count: 1, ..step.clone() }, salt),
            Event::Acknowledgement => self.one(step, &[], |_| ()),
            Event::Flags(flags) => self.with_flags(step, flags, salt),
            Event::WrongSum | Event::WrongHeader | Event::Padding | Event::NoSum => self.changed(step, salt),
            Event::Fragment | Event::OtherProtocol | Event::Rubbish => self.foreign(step, salt),
            _ => {
                change(&mut self.heads[step.flow], step.event);
                self.data(step, salt);
            }
        }
    }

    /// A super-packet that was cut.
    fn data(&mut self, step: &Step, salt: u64) {
        let mut head = self.heads[step.flow].clone();
        if let Some(tcp) = &mut head.tcp {
            tcp.flags |= step.flags;
        }
        let payload = payload(step.size * step.count, salt);
        let stands = self.stands(step);
        for (index, chunk) in payload.chunks(step.size).enumerate() {
            let mut segment = kernel::segment(&head, index, index + 1 == step.count, step.size);
            if stands {
                segment.network = head.network.clone();
            }
            self.send(&segment, chunk, step, index > 0);
            if matches!(step.event, Event::Write) && index == step.count / 2 {
                self.receiver.write_all();
            }
        }
        self.heads[step.flow] = kernel::segment(&self.heads[step.flow], step.count, true, step.size);
        if stands {
            self.heads[step.flow].network = head.network;
        }
    }

    /// Whether the flow does not count: what was not cut from a super-packet need not.
    fn stands(&self, step: &Step) -> bool {
        step.sum != Kind::Burst && matches!(self.heads[step.flow].network, Network::V4 { whole: true, .. })
    }

    fn send(&mut self, head: &Head, payload: &[u8], step: &Step, continues: bool) {
        let complete = head.packet(payload);
        let partial = head.partial_packet(payload);
        match step.sum {
            Kind::Burst => self.receiver.take(&partial, head.partial(), continues),
            Kind::Partial => self.receiver.take(&partial, head.partial(), false),
            Kind::Complete => self.receiver.take(&complete, Sum::Complete, false),
            Kind::Verified => self.receiver.take(&complete, Sum::Verified, false),
        }
        self.sent[step.flow].push(complete);
    }

    /// One packet with other flags, and the flow goes on behind it.
    fn with_flags(&mut self, step: &Step, flags: u8, salt: u64) {
        self.data(&Step { flags, count: 1, ..step.clone() }, salt);
    }

    /// One packet, changed as bytes.
    fn one(&mut self, step: &Step, payload: &[u8], change: impl Fn(&mut Vec<u8>)) {
        let mut packet = self.heads[step.flow].packet(payload);
        change(&mut packet);
        self.receiver.take(&packet, Sum::Complete, false);
        self.sent[step.flow].push(packet);
        self.heads[step.flow] = kernel::segment(&self.heads[step.flow], 1, true, payload.len());
    }

    fn changed(&mut self, step: &Step, salt: u64) {
        let head = &self.heads[step.flow];
        let (ip, v6, udp) = (head.ip(), head.v6(), head.tcp.is_none());
        let field = head.at() + if udp { 6 } else { 16 };
        self.one(step, &payload(step.size, salt), |packet| match step.event {
            Event::WrongHeader if !v6 => packet[ip + 10] ^= 1,
            Event::Padding => packet.extend([0; 7]),
            Event::NoSum if udp => packet[field..field + 2].fill(0),
            _ => packet[field] ^= 1,
        });
    }

    /// What is of no flow that could be joined.
    fn foreign(&mut self, step: &Step, salt: u64) {
        let mut head = plain(step.flow & 1 == 0, self.layer == Layer::Ethernet, true);
        let flow = 8 + step.flow;
        head.source[3] = flow as u8;
        let mut packet = head.packet(&payload(step.size, salt));
        let ip = head.ip();
        match step.event {
            // More fragments follow, or a header says that it is one.
            Event::Fragment if head.v6() => packet[ip + 6] = 44,
            Event::Fragment => packet[ip + 6] = 0x20,
            Event::OtherProtocol => packet[ip + if head.v6() { 6 } else { 9 }] = 47,
            _ => packet[ip] = 0,
        }
        self.receiver.take(&packet, Sum::Complete, false);
        self.sent[flow].push(packet);
    }
}

/// What is different from here on.
fn change(head: &mut Head, event: Event) {
    match (event, &mut head.network, &mut head.tcp) {
        (Event::Gap, _, Some(tcp)) => tcp.sequence = tcp.sequence.wrapping_add(1000),
        (Event::Again, _, Some(tcp)) => tcp.sequence = tcp.sequence.wrapping_sub(100),
        (Event::NextId, Network::V4 { id, .. }, _) => *id = id.wrapping_add(1),
        (Event::Hops, ..) => head.hops ^= 1,
        (Event::Traffic, ..) => head.traffic ^= 1,
        (Event::Answer, _, Some(tcp)) => tcp.acknowledgement += 1,
        (Event::Window, _, Some(tcp)) => tcp.window ^= 1,
        (Event::TimeStamp, _, Some(tcp)) if tcp.options.len() >= 12 => tcp.options[11] ^= 1,
        (Event::MoreOptions, _, Some(tcp)) if tcp.options.len() < 40 => tcp.options.extend([1; 4]),
        (Event::Label, Network::V6 { label, .. }, _) => *label ^= 1,
        (Event::Whole, Network::V4 { whole, .. }, _) => *whole = !*whole,
        (Event::Tag, ..) => head.tags.iter_mut().flatten().for_each(|tag| tag.1 ^= 1),
        _ => {}
    }
}

/// The number of the flow that a packet is of.
fn flow(packet: &[u8], layer: Layer) -> usize {
    let ip = if layer == Layer::Ethernet { 18 } else { 0 };
    let v6 = packet[ip + 9] != 6 && packet[ip + 9] != 17 && packet[ip + 9] != 47;
    usize::from(packet[ip + if v6 { 11 } else { 15 }])
}

/// Whether the kernel makes the same of both: where nothing is ever cut, identifiers mean nothing (RFC 6864).
fn same(one: &[u8], other: &[u8], layer: Layer) -> bool {
    let ip = if layer == Layer::Ethernet { 18 } else { 0 };
    let strip = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        if packet[ip] >> 4 == 4 && packet[ip + 6] == 0x40 {
            packet[ip + 4..ip + 6].fill(0);
            packet[ip + 10..ip + 12].fill(0);
        }
        packet
    };
    one == other || strip(one) == strip(other)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn flows_that_cross_keep_their_order_and_every_byte(tap in any::<bool>(), steps in steps()) {
        let mut wire = Wire::new(tap);
        for (salt, step) in steps.iter().enumerate() {
            wire.step(step, salt as u64 * 7919);
        }
        let mut arrived = vec![Vec::new(); wire.sent.len()];
        for packet in packets(&wire.receiver.finish(), wire.layer) {
            arrived[flow(&packet, wire.layer)].push(packet);
        }
        for (flow, (arrived, sent)) in arrived.iter().zip(&wire.sent).enumerate() {
            prop_assert_eq!(arrived.len(), sent.len(), "flow {}", flow);
            for (index, (arrived, sent)) in arrived.iter().zip(sent).enumerate() {
                prop_assert!(same(arrived, sent, wire.layer), "flow {flow}, packet {index}\n{arrived:02x?}\n{sent:02x?}");
            }
        }
    }
}

#[test]
fn the_parts_of_a_scenario_do_join() {
    let mut wire = Wire::new(true);
    let step = |flow| Step { flow, event: Event::Data, size: 100, count: 6, flags: 0, sum: Kind::Burst };
    for flow in 0..7 {
        wire.step(&step(flow), 1);
        wire.step(&step(flow), 2);
    }
    assert!(wire.heads.iter().all(|head| head.tcp.as_ref().is_none_or(|tcp| tcp.flags == ACK)));
    assert_eq!(wire.receiver.finish().len(), 7);
}
