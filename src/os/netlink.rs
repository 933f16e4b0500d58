//! rtnetlink: the device's settings and addresses, and how a request is asked and answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use super::answer::{Body, answers};
use crate::error::{Error, Exit, Result};

/// Room for one datagram of an answer, bytes: the kernel never makes a larger one (net/netlink/af_netlink.c).
const ANSWER_MAX: usize = 32 * 1024;

/// A dump that the tables changed under is asked again this often.
const DUMP_ATTEMPTS: usize = 3;

/// How long to wait for the local route of a new IPv6 address: some 0.1 ms as a rule, but its work queue waits for whoever
/// changes a network on this machine. The pauses between two looks grow.
const LOCAL_MOST: Duration = Duration::from_secs(1);
const LOCAL_PAUSE: Duration = Duration::from_micros(20);
const LOCAL_PAUSE_MOST: Duration = Duration::from_millis(2);

/// Below this MTU a device has no IPv6 (RFC 8200, section 5), and no setting of it.
const IPV6_MIN_MTU: u32 = 1280;

/// A conversation with the kernel about devices, addresses and routes. Never waits: the kernel answers
/// within the call that asks.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What to set on a device; `None` and `false` leave it as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Largest packet, bytes, without the Ethernet header.
    pub mtu: Option<u32>,
    /// Length of the queue towards us, packets.
    pub txqueuelen: Option<u32>,
    /// Ethernet address of a tap.
    pub mac: Option<[u8; 6]>,
    /// No IPv6 link-local address, and so no router solicitations and no DAD of the kernel's own. MLD is silent
    /// too, except on a host that forwards IPv6: it reports its membership of all-routers twice.
    pub no_link_local: bool,
    /// Switch it on, last of all.
    pub up: bool,
}

/// An address to give to a device.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// Index of the device.
    pub device: u32,
    /// Ours.
    pub local: IpAddr,
    /// The other end of a point-to-point link. The prefix is then that of the peer.
    pub peer: Option<IpAddr>,
    /// Length of the prefix that becomes reachable through the device, bits.
    pub prefix: u8,
    /// The subnet's broadcast address (IPv4 on tap).
    pub broadcast: Option<Ipv4Addr>,
}

/// Why the kernel did not do it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub errno: Errno,
    reason: Option<String>,
}

/// One request: the message, and its flags beside NLM_F_REQUEST.
pub(super) type Request = (RouteNetlinkMessage, u16);

impl Netlink {
    /// Opens the socket.
    pub fn open() -> Result<Self> {
        let failed = |cause| Error::new(Exit::Os, "open an rtnetlink socket", cause);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        // The first request would do it; until then nobody can see what socket it is.
        socket.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
        // Older kernels know neither and answer without reasons.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Self { socket, sequence: 0 })
    }

    /// Sets everything in `link` on the device, and switches it on last.
    pub fn configure(&mut self, device: u32, link: &Link) -> Result<()> {
        let mut requests = vec![(settings(device, link), NLM_F_ACK)];
        if link.up {
            requests.push((switch_on(device), NLM_F_ACK));
        }
        let mut outcome = self.ask(requests);
        if link.no_link_local && matches!(&outcome, Err((0, no)) if no.errno == Errno::EAFNOSUPPORT) {
            // A kernel without IPv6 makes no link-local addresses either.
            let rest = Link { no_link_local: false, ..*link };
            outcome = self.ask(vec![(settings(device, &rest), NLM_F_ACK)]);
        }
        outcome.map_err(|(request, refusal)| {
            let name = device_name(device);
            match request {
                0 => refusal.explain(format!("set {} {name}", describe(link))),
                _ => refusal.explain(format!("switch {name} on")),
            }
        })
    }

    /// How long super-packets for the device may be, in bytes and segments. A wish: where the kernel does not let it be
    /// set, it stays as it is.
    pub fn limit_bursts(&mut self, device: u32, bytes: u32, segments: u32) {
        let mut message = LinkMessage::default();
        message.header.index = device;
        message.attributes = vec![LinkAttribute::GsoMaxSize(bytes), LinkAttribute::GsoMaxSegs(segments)];
        let _ = self.ask(vec![(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)]);
    }

    /// Adds an address to a device that is up: usable at once, without duplicate address detection.
    pub fn add_address(&mut self, address: &Address) -> Result<()> {
        let request = RouteNetlinkMessage::NewAddress(new_address(address));
        self.ask(vec![(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)]).map_err(|(_, refusal)| {
            let act = format!("add address {} to {}", of_address(address), device_name(address.device));
            match refusal.errno {
                Errno::EEXIST => Error::new(Exit::Unavailable, act, "the device has it already"),
                _ => refusal.explain(act),
            }
        })?;
        if address.local.is_ipv6() {
            self.wait_until_local(address.local);
        }
        Ok(())
    }

    /// The kernel acknowledges an IPv6 address first and makes its local route later, in a work queue
    /// (addrconf_dad_work() of net/ipv6/addrconf.c). Packets that come in between are lost.
    fn wait_until_local(&mut self, addr: IpAddr) {
        let (start, mut pause) = (Instant::now(), LOCAL_PAUSE);
        while !self.is_local(addr).unwrap_or(true) && start.elapsed() < LOCAL_MOST {
            thread::sleep(pause);
            pause = (pause + pause / 16).min(LOCAL_PAUSE_MOST);
        }
    }

    fn is_local(&mut self, addr: IpAddr) -> io::Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(&addr);
        message.header.destination_prefix_length = full_length(&addr);
        message.attributes.push(RouteAttribute::Destination(addr.into()));
        self.send(vec![(RouteNetlinkMessage::GetRoute(message), 0)])?;
        let datagram = self.receive()?;
        let local =
            |body: &[u8]| RouteHeader::parse(body).is_ok_and(|header| header.kind == RouteType::Local);
        Ok(answers(&datagram).any(|answer| matches!(answer.body, Body::Entry(body) if local(body))))
    }

    /// Sends the requests in one datagram and reads every acknowledgement. The first refusal is given
    /// with the place of its request; the kernel carries out the others all the same.
    pub(super) fn ask(&mut self, requests: Vec<Request>) -> std::result::Result<(), (usize, Refusal)> {
        let first = self.sequence.wrapping_add(1);
        let mut waiting = requests.len();
        self.send(requests).map_err(|cause| (0, cause.into()))?;
        let mut refused: Option<(usize, Refusal)> = None;
        while waiting > 0 {
            let datagram = self.receive().map_err(|cause| (0, cause.into()))?;
            for answer in answers(&datagram) {
                let place = answer.sequence.wrapping_sub(first) as usize;
                if place > self.sequence.wrapping_sub(first) as usize {
                    continue;
                }
                if let Body::Status { errno, reason } = answer.body {
                    waiting = waiting.saturating_sub(1);
                    if errno != 0 && refused.is_none() {
                        refused = Some((place, Refusal::new(errno, reason)));
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Asks for one thing and gives the answer's body to `parse`.
    pub(super) fn look_up<T>(
        &mut self,
        request: RouteNetlinkMessage,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        self.send(vec![(request, 0)]).ok()?;
        let datagram = self.receive().ok()?;
        let sequence = self.sequence;
        answers(&datagram).filter(|answer| answer.sequence == sequence).find_map(|answer| match answer.body {
            Body::Entry(body) => parse(body),
            _ => None,
        })
    }

    /// Asks for a whole table and gives each entry's body to `parse`, keeping what it returns.
    pub(super) fn dump<T>(
        &mut self,
        request: &RouteNetlinkMessage,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> std::result::Result<Vec<T>, Refusal> {
        let mut entries = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            entries.clear();
            self.send(vec![(request.clone(), NLM_F_DUMP)])?;
            if self.collect(&parse, &mut entries)? {
                break;
            }
        }
        Ok(entries)
    }

    /// Reads a dump to its end. False when the table changed meanwhile.
    fn collect<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Option<T>,
        entries: &mut Vec<T>,
    ) -> std::result::Result<bool, Refusal> {
        let mut consistent = true;
        loop {
            let datagram = self.receive()?;
            for answer in answers(&datagram).filter(|answer| answer.sequence == self.sequence) {
                consistent &= !answer.interrupted;
                match answer.body {
                    Body::Entry(body) => entries.extend(parse(body)),
                    Body::Done { errno: 0 } => return Ok(consistent),
                    Body::Done { errno } => return Err(Refusal::new(errno, None)),
                    Body::Status { errno, reason } => return Err(Refusal::new(errno, reason)),
                }
            }
        }
    }

    fn send(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let mut datagram = Vec::new();
        for (message, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(message);
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            // Every length in it is a multiple of four, as NLMSG_ALIGN asks.
            let start = datagram.len();
            datagram.resize(start + message.buffer_len(), 0);
            message.serialize(datagram.get_mut(start..).unwrap_or_default());
        }
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// The next datagram from the kernel; anybody may send to the socket, so others' are dropped.
    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut datagram = Vec::with_capacity(ANSWER_MAX);
        loop {
            datagram.clear();
            let (_, sender) = self.socket.recv_from(&mut datagram, libc::MSG_DONTWAIT)?;
            if sender.port_number() == 0 {
                return Ok(datagram);
            }
        }
    }
}

fn settings(device: u32, link: &Link) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = device;
    let attributes = &mut message.attributes;
    attributes.extend(link.mtu.map(LinkAttribute::Mtu));
    attributes.extend(link.txqueuelen.map(LinkAttribute::TxQueueLen));
    attributes.extend(link.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    if link.no_link_local && link.mtu.is_none_or(|mtu| mtu >= IPV6_MIN_MTU) {
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]));
    }
    RouteNetlinkMessage::SetLink(message)
}

/// By itself: in one message the kernel would switch the device on before it heeds the address generation mode.
fn switch_on(device: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = device;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

fn new_address(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(&address.local);
    message.header.prefix_len = address.prefix;
    message.header.index = address.device;
    message.attributes = vec![
        AddressAttribute::Local(address.local),
        AddressAttribute::Address(address.peer.unwrap_or(address.local)),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    message.attributes.extend(address.broadcast.map(AddressAttribute::Broadcast));
    message
}

pub(super) fn family(addr: &IpAddr) -> AddressFamily {
    match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The name of a device for people; its index where it has gone. nix 0.31 gives "" for an index that nobody has.
pub(super) fn device_name(device: u32) -> String {
    match if_indextoname(device) {
        Ok(name) if !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => format!("device {device}"),
    }
}

fn describe(link: &Link) -> String {
    let hex = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let parts = [
        link.mtu.map(|mtu| format!("mtu {mtu}")),
        link.txqueuelen.map(|packets| format!("txqueuelen {packets}")),
        link.mac.map(|mac| format!("lladdr {}", hex(mac))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "options on".to_owned() } else { format!("{} on", parts.join(", ")) }
}

fn of_address(address: &Address) -> String {
    match address.peer {
        Some(peer) if address.prefix == full_length(&peer) => format!("{} peer {peer}", address.local),
        Some(peer) => format!("{} peer {peer}/{}", address.local, address.prefix),
        None => format!("{}/{}", address.local, address.prefix),
    }
}

/// 32 or 128 bits.
pub(super) fn full_length(addr: &IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Refusal {
    fn new(errno: i32, reason: Option<&str>) -> Self {
        Self { errno: Errno::from_raw(errno), reason: reason.map(str::to_owned) }
    }

    /// In words: the kernel's own reason where it gave one.
    pub fn explain(self, act: impl Into<String>) -> Error {
        let exit = match self.errno {
            Errno::EPERM => Exit::NoPermission,
            _ => Exit::Os,
        };
        let error = match self.reason {
            Some(reason) => Error::new(exit, act, reason),
            None => Error::new(exit, act, self.errno),
        };
        match self.errno {
            Errno::EPERM => error.advise("needs CAP_NET_ADMIN"),
            Errno::ENODEV => error.advise("the device is gone"),
            _ => error,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Self {
        let errno = cause.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let reason = (errno == Errno::EAGAIN).then(|| "the kernel did not answer".to_owned());
        Self { errno, reason }
    }
}
