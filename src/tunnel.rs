//! The waist: everything that moves, moves through here.
//!
//! One thread, one loop, three sources: socket, device, signals. Readiness is edge-triggered, so what may still be
//! read or written is remembered (`Ready`), each side has a budget a turn, and the loop only waits when nothing is
//! left to do.
//!
//! ```text
//! tun_to_udp:  device.read -> session.seal -> udp.send
//! udp_to_tun:  udp.recv -> session.open -> device.write
//! ```
//!
//! While there are no keys nothing is read from the device but the one packet that shows that somebody wants to
//! talk: packets wait in the device's own queue, so a wake loses none.

mod ending;
mod notes;
mod sending;
mod waiting;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mio::{Events, Poll};

use self::ending::Activity;
pub use self::ending::End;
use self::sending::{BURST, Outbound, zeroed};
use self::waiting::{DEVICE, RESOLVER, Ready, SIGNALS, SOCKET};
use crate::error::{Error, Exit, Result};
use crate::os::clock;
use crate::os::device::Device;
use crate::os::signals::Signals;
use crate::os::state_file::StateFile;
use crate::os::udp::{Path, Udp};
use crate::packet::chatter::{Interest, interest};
use crate::packet::fragment::Joiner;
use crate::packet::{ETHERNET, Layer, inner};
use crate::protocol::session::Record;
use crate::protocol::{Action, Entropy, HEAD, Hello, Moment, Opened, Reject, Session, TAIL, Time};
use crate::remote::Remotes;
use crate::status::Counters;

/// Packets that one side may move before the other has its turn.
const BUDGET: usize = 64;

/// What a tunnel does beside moving packets.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A super-server holds the port: exit when idle, when the peer leaves, on SIGHUP.
    pub inetd: bool,
    /// This end starts talking.
    pub caller: bool,
    /// Exit after so long with fewer bytes than that.
    pub inactive: Option<(Duration, u64)>,
    /// `ping-exit`: exit when nothing is heard for the time the session knows.
    pub ping_exit: bool,
    /// `mssfix`: the largest datagram that TCP should cause.
    pub mssfix: Option<u16>,
    /// `verb 5`: a mark for each packet.
    pub marks: bool,
}

/// The parts a tunnel is made of.
pub struct Parts {
    /// The protocol with the peer.
    pub session: Session<Path>,
    /// The carrier.
    pub udp: Udp,
    /// The blocked signals.
    pub signals: Signals,
    /// Where freshness is kept; `None` if it cannot be.
    pub state: Option<StateFile>,
    /// Who may speak, and whom to call.
    pub remotes: Remotes,
    /// Where the status block is written, and how often.
    pub status: Option<(std::fs::File, Duration)>,
    /// The rest.
    pub policy: Policy,
}

/// One tunnel endpoint, from its first datagram to its last.
pub struct Tunnel {
    session: Session<Path>,
    udp: Udp,
    device: Option<Device>,
    signals: Signals,
    state: Option<StateFile>,
    remotes: Remotes,
    status: Option<ending::StatusFile>,
    policy: Policy,

    poll: Poll,
    events: Events,
    ready: Ready,
    outbound: Outbound,
    inbound: Box<[u8; BURST]>,
    /// A packet that arrived before there was a device: its inner byte and the length of its datagram.
    first: Option<(u8, usize)>,
    joiner: Joiner,
    layer: Layer,
    activity: Activity,
    counters: Counters,
    notes: notes::Notes,
    mtu: u16,
    end: Option<End>,
    /// Socket and device were looked at once more before the end.
    looked: bool,
}

/// The kernel's random numbers.
struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Without randomness there is no secrecy; nothing sensible is left to do.
            std::process::abort();
        }
    }
}

impl Tunnel {
    /// Puts the parts together; `layer` and `mtu` are those of the device to come. All memory is allocated here.
    pub fn new(parts: Parts, layer: Layer, mtu: u16) -> Result<Self> {
        let failed = |cause| Error::new(Exit::Os, "set up epoll", cause);
        let now = clock::boot();
        let longest = usize::from(mtu) + if layer == Layer::Ethernet { ETHERNET + 4 } else { 0 };
        let mut tunnel = Self {
            session: parts.session,
            udp: parts.udp,
            device: None,
            signals: parts.signals,
            state: parts.state,
            remotes: parts.remotes,
            status: parts.status.map(|(file, every)| ending::StatusFile::new(file, every, now)),
            policy: parts.policy,
            poll: Poll::new().map_err(failed)?,
            events: Events::with_capacity(8),
            ready: Ready::all(),
            outbound: Outbound::new(),
            inbound: zeroed(),
            first: None,
            joiner: Joiner::new(longest),
            layer,
            activity: Activity::new(parts.policy.inactive, now),
            counters: Counters::default(),
            notes: notes::Notes::new(now),
            mtu,
            end: None,
            looked: false,
        };
        tunnel.register(tunnel.udp.as_raw_fd(), SOCKET).map_err(failed)?;
        tunnel.register(tunnel.signals.as_raw_fd(), SIGNALS).map_err(failed)?;
        if let Some(resolver) = tunnel.remotes.resolver_fd() {
            tunnel.register(resolver, RESOLVER).map_err(failed)?;
        }
        tunnel.take_resolved(now)?;
        Ok(tunnel)
    }

    /// Waits without a device until a peer has proved itself (`None`), or the waiting is over.
    ///
    /// Whoever sends rubbish is not answered and does not end it: a quick exit would only be woken again, until the
    /// super-server gives up. What the peer sends first stays in the buffer or in the socket.
    pub fn wait_for_peer(&mut self) -> Result<Option<End>> {
        let started = clock::boot();
        loop {
            let moment = moment();
            self.udp_to_tun(&moment)?;
            if self.session.is_up(moment.now) {
                return Ok(None);
            }
            self.on_deadlines(&moment)?;
            if let Some(end) = self.waited_long_enough(started, moment.now) {
                return Ok(Some(end));
            }
            self.wait(&moment, self.linger_deadline(started))?;
        }
    }

    /// Moves packets between the peer and `device` until the tunnel ends, and the device with it.
    pub fn pump(&mut self, device: Device) -> Result<End> {
        self.register(device.as_raw_fd(), DEVICE)
            .map_err(|cause| Error::new(Exit::Os, format!("watch {}", device.name()), cause))?;
        self.device = Some(device);
        self.activity.restart(clock::boot());
        if let Some((inner, length)) = self.first.take() {
            self.deliver(&moment(), inner, length)?;
        }
        loop {
            let moment = moment();
            // In this order the packet that caused a handshake is also what confirms it.
            self.udp_to_tun(&moment)?;
            self.tun_to_udp(&moment)?;
            self.on_deadlines(&moment)?;
            if let Some(end) = self.ended(moment.now) {
                self.device = None;
                return Ok(end);
            }
            self.wait(&moment, None)?;
        }
    }

    /// Starts to call the peer.
    pub fn call(&mut self) {
        self.session.want(clock::boot());
    }

    /// The tunnel is up: a listener says so once it has its device.
    pub fn complete(&mut self) {
        self.note_complete();
    }

    /// The local UDP port.
    pub fn port(&self) -> u16 {
        self.udp.port()
    }

    /// The outer address of the peer, or of the one to be called.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.session.path().or_else(|| self.remotes.path()).map(|path| path.remote)
    }

    /// What has passed, and with whom, for the last line of the log.
    pub fn totals(&self) -> String {
        format!("{} {}", notes::peer(self.session.path()), self.counters.line())
    }

    /// Device to socket: read, seal in place, send.
    fn tun_to_udp(&mut self, moment: &Moment) -> Result<()> {
        for _ in 0..BUDGET {
            if !self.send_rest(moment.now)? || self.leaving() {
                return Ok(());
            }
            let length = match self.outbound.held.take() {
                Some(length) => length,
                None => match self.read_device()? {
                    Some(length) => length,
                    None => return Ok(()),
                },
            };
            let worth = interest(self.outbound.packet_bytes(length), self.layer);
            if !self.session.can_seal(moment.now) {
                if worth != Interest::Chatter {
                    self.outbound.held = Some(length);
                    self.session.want(moment.now);
                    return Ok(());
                }
                continue;
            }
            if worth == Interest::Traffic {
                self.activity.note(moment.now, length);
            }
            self.send_packet(moment.now, length)?;
        }
        Ok(())
    }

    /// One packet from the device; `None` when there is none.
    fn read_device(&mut self) -> Result<Option<usize>> {
        let Some(device) = self.device.as_ref().filter(|_| self.ready.device_in) else { return Ok(None) };
        let room = &mut self.outbound.packet[HEAD..HEAD + BURST];
        match device.read(room) {
            Ok(length) => {
                self.counters.device_in.count(length);
                self.mark('r');
                Ok(Some(length))
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                self.ready.device_in = false;
                Ok(None)
            }
            Err(cause) if cause.kind() == ErrorKind::Interrupted => Ok(None),
            Err(cause) => Err(Error::new(Exit::Unavailable, format!("read {}", device.name()), cause)
                .advise("the device was deleted or taken away")),
        }
    }

    /// Socket to device: receive, open in place, write.
    fn udp_to_tun(&mut self, moment: &Moment) -> Result<()> {
        for _ in 0..BUDGET {
            // Until there is a device, the first packet is the last that is taken from the socket.
            let full = self.device.is_none() && self.session.is_up(moment.now);
            if full || !self.ready.udp_in || !self.remotes.known() {
                return Ok(());
            }
            let arrival = match self.udp.recv(&mut self.inbound[..]) {
                Ok(arrival) => arrival,
                Err(cause) if cause.kind() == ErrorKind::InvalidData => {
                    self.counters.rejects.count(Reject::Length);
                    continue;
                }
                // Nothing there, or a fault of the moment: the next edge tells when to try again.
                Err(_) => {
                    self.ready.udp_in = false;
                    return Ok(());
                }
            };
            self.counters.udp_in.count(arrival.len);
            self.mark('R');
            self.notes.heard_anything(moment.now);
            if !self.remotes.allow(arrival.path.remote.ip()) {
                self.counters.rejects.count(Reject::Address);
                continue;
            }
            let datagram = &mut self.inbound[..arrival.len];
            match self.session.open(moment, arrival.path, datagram, &mut KernelEntropy) {
                Opened::Packet(inner) => {
                    self.counters.authentic.count(arrival.len - HEAD - TAIL);
                    self.deliver(moment, inner, arrival.len)?;
                }
                Opened::Control => {}
                Opened::Rejected(reason) => self.counters.rejects.count(reason),
            }
            self.act(moment)?;
        }
        Ok(())
    }

    /// Writes the packet of an opened datagram in `inbound` to the device.
    fn deliver(&mut self, moment: &Moment, inner: u8, length: usize) -> Result<()> {
        let Some(device) = &self.device else {
            self.first = Some((inner, length));
            return Ok(());
        };
        if inner & !inner::KNOWN != 0 {
            self.counters.rejects.count(Reject::Malformed);
            return Ok(());
        }
        let body = &self.inbound[HEAD..length - TAIL];
        let packet = if inner & inner::FRAGMENT != 0 {
            match self.joiner.join(body) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(()),
                Err(()) => {
                    self.counters.rejects.count(Reject::Fragment);
                    return Ok(());
                }
            }
        } else {
            body
        };
        if interest(packet, self.layer) == Interest::Traffic {
            self.activity.note(moment.now, packet.len());
        }
        match device.write(packet) {
            Ok(_) => {
                self.counters.device_out.count(packet.len());
                self.mark('w');
            }
            // Down, full, or a packet the kernel does not like: it is lost, as on any wire.
            Err(_) => self.counters.dropped += 1,
        }
        Ok(())
    }

    /// Does what the protocol asks for.
    fn act(&mut self, moment: &Moment) -> Result<()> {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Persist(record) => self.persist(record),
                Action::Send { datagram, path } => match self.udp.send(&datagram, datagram.len(), &path) {
                    Ok(()) => {
                        self.counters.udp_out.count(datagram.len());
                        self.mark('W');
                    }
                    // The protocol repeats what matters.
                    Err(cause) => self.not_sent(&cause),
                },
                Action::Event(event) => self.note_event(moment, event),
            }
        }
        Ok(())
    }

    fn persist(&mut self, record: Record) {
        let Some(state) = &mut self.state else { return };
        if let Err(error) = state.write(encode_record(record)) {
            self.notes.state_failed(&error);
        }
    }

    fn on_deadlines(&mut self, moment: &Moment) -> Result<()> {
        self.take_signals(moment.now);
        self.take_resolved(moment.now)?;
        if self.session.deadline(moment.now).is_some_and(|deadline| deadline <= moment.now) {
            self.session.on_deadline(moment, &mut KernelEntropy);
        }
        self.act(moment)?;
        self.end_if_idle(moment.now);
        self.note_waiting(moment.now);
        self.write_status_if_due(moment.now);
        Ok(())
    }

    /// Takes note of the addresses that the resolver has found.
    fn take_resolved(&mut self, now: Time) -> Result<()> {
        let due = self.remotes.deadline().is_some_and(|deadline| deadline <= now);
        if !std::mem::take(&mut self.ready.resolver) && !due {
            return Ok(());
        }
        let news = self.remotes.take_answers(now)?;
        if (news || self.session.path().is_none())
            && self.policy.caller
            && let Some(path) = self.remotes.path()
        {
            self.session.set_path(path);
        }
        Ok(())
    }

    fn mark(&self, mark: char) {
        if self.policy.marks {
            crate::log::mark(mark);
        }
    }
}

/// The record as the state file keeps it: stamp sent, stamp seen, little endian.
pub fn encode_record(record: Record) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&record.sent.to_le_bytes());
    bytes[8..].copy_from_slice(&record.seen.to_le_bytes());
    bytes
}

/// The reverse of [`encode_record`].
pub fn decode_record(bytes: [u8; 16]) -> Record {
    let number = u128::from_le_bytes(bytes);
    Record { sent: number as u64, seen: (number >> 64) as u64 }
}

/// A hello of this process, with what the handshake fills in left open.
pub fn fresh_instance(hello: Hello) -> Hello {
    let mut instance = [0; 8];
    KernelEntropy.fill(&mut instance);
    Hello { instance: u64::from_le_bytes(instance), ..hello }
}

fn moment() -> Moment {
    Moment { now: clock::boot(), wall: clock::wall_micros() }
}
