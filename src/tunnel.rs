//! The waist: everything that moves, moves through here.
//!
//! One thread, one loop, three sources: socket, device, signals. Readiness is edge-triggered, so what may still be
//! read or written is remembered (`Ready`), each side has a budget a turn, and the loop only waits when nothing is
//! left to do.
//!
//! ```text
//! tun_to_udp:  device.read -> cut -> session.seal -> udp.send       one super-packet in, one train of datagrams out
//! udp_to_tun:  udp.recv -> session.open -> join -> device.write     one train in, one super-packet out
//! ```
//!
//! While there are no keys nothing is read from the device but the one packet that shows that somebody wants to
//! talk: packets wait in the device's own queue, so a wake loses none.

mod calling;
mod ending;
mod network;
mod notes;
mod outbound;
mod outside;
mod path_mtu;
mod receiving;
mod sending;
mod telling;
mod trains;
mod waiting;

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mio::{Events, Poll};

use self::ending::Activity;
pub use self::ending::{End, LINGER};
use self::outbound::Outbound;
use self::receiving::Inbound;
pub use self::telling::Telling;
use self::waiting::{DEVICE, RESOLVER, Ready, SIGNALS, SOCKET};
use crate::config::settings::Mssfix;
use crate::error::{Error, Exit, Result};
use crate::os::clock;
use crate::os::device::Device;
use crate::os::helper::Helper;
use crate::os::path::Path;
use crate::os::signals::Signals;
use crate::os::state_file::StateFile;
use crate::os::udp::Udp;
use crate::packet::chatter::{Interest, interest};
use crate::packet::{ETHERNET, Layer};
use crate::protocol::session::Record;
use crate::protocol::{Action, Entropy, Hello, Moment, Opened, Session, Time};
use crate::remote::Remotes;
use crate::status::Counters;

/// Reads of the device in one turn, and receives from the socket: then the other side has its turn.
const READS: usize = 64;
const RECEIVES: usize = 64;

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
    /// `mssfix`.
    pub mssfix: Mssfix,
    /// `verb 5`: a mark for each packet, or burst of them.
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
    /// Who does what only root may.
    pub helper: Option<Helper>,
    /// Where the status block is written, and how often.
    pub status: Option<(std::fs::File, Duration)>,
    /// Where it is told what the tunnel does; `None` if it cannot be.
    pub telling: Option<Telling>,
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
    outside: outside::Outside,
    host: Option<Box<network::Host>>,
    status: Option<ending::StatusFile>,
    telling: Option<Telling>,
    policy: Policy,

    poll: Poll,
    events: Events,
    ready: Ready,
    outbound: Outbound,
    inbound: Inbound,
    outlook: path_mtu::Outlook,
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
pub struct KernelEntropy;

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
            outside: outside::Outside::new(parts.helper),
            host: None,
            status: parts.status.map(|(file, every)| ending::StatusFile::new(file, every, now)),
            telling: parts.telling,
            policy: parts.policy,
            poll: Poll::new().map_err(failed)?,
            events: Events::with_capacity(8),
            ready: Ready::all(),
            outbound: Outbound::new(layer, longest),
            inbound: Inbound::new(layer, longest),
            outlook: path_mtu::Outlook::new(longest),
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
                self.session.tidy();
                return Ok(None);
            }
            self.on_deadlines(&moment)?;
            if let Some(end) = self.waited_long_enough(started, moment.now) {
                return Ok(Some(end));
            }
            self.session.tidy();
            self.wait(&moment, self.linger_deadline(started))?;
        }
    }

    /// Moves packets between the peer and `device` until the tunnel ends, and the device with it.
    pub fn pump(&mut self, device: Device) -> Result<End> {
        self.register(device.as_raw_fd(), DEVICE)
            .map_err(|cause| Error::new(Exit::Os, format!("watch {}", device.name()), cause))?;
        self.inbound.prepare_for(&device);
        self.device = Some(device);
        self.activity.restart(clock::boot());
        if let Some((inner, datagram)) = self.inbound.take_first() {
            self.deliver(clock::boot(), inner, datagram);
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
            self.session.tidy();
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

    /// The longest super-packet that one train of datagrams carries: bytes, and segments.
    pub fn longest_burst(&self) -> (u32, u32) {
        outbound::longest_burst(self.mtu)
    }

    /// What has passed, and with whom, for the last line of the log.
    pub fn totals(&self) -> String {
        format!("{} {}", notes::peer(self.session.path()), self.counters.line())
    }

    /// Device to socket: read, cut, seal in place, send.
    fn tun_to_udp(&mut self, moment: &Moment) -> Result<()> {
        self.keep_to_path();
        for _ in 0..READS {
            if self.leaving() || !self.send_rest(moment.now)? {
                break;
            }
            let read = match self.outbound.held.take() {
                Some(read) => read,
                None => match self.read_device()? {
                    Some(read) => read,
                    None => break,
                },
            };
            let worth = interest(self.outbound.beginning(&read), self.layer);
            if !self.session.can_seal(moment.now) {
                if worth == Interest::Chatter {
                    continue;
                }
                self.outbound.held = Some(read);
                self.session.want(moment.now);
                break;
            }
            if worth == Interest::Traffic {
                self.activity.note(moment.now, read.length);
            }
            self.seal_read(moment.now, &read);
        }
        self.flush(moment.now).map(drop)
    }

    /// Socket to device: receive, open in place, join, write.
    fn udp_to_tun(&mut self, moment: &Moment) -> Result<()> {
        for _ in 0..RECEIVES {
            if self.is_full(moment.now) || !self.receive(moment.now) {
                break;
            }
            self.open_train(moment)?;
        }
        self.write_joined(moment.now);
        Ok(())
    }

    /// Opens what was received: one datagram, or a train of them.
    fn open_train(&mut self, moment: &Moment) -> Result<()> {
        let mut count = 0;
        while !self.is_full(moment.now)
            && let Some((datagram, path)) = self.next_datagram()
        {
            let bytes = self.inbound.datagram(datagram.clone());
            match self.session.open(moment, path, bytes, &mut KernelEntropy) {
                Opened::Packet(inner) => self.deliver(moment.now, inner, datagram),
                Opened::Control => self.act(moment)?,
                Opened::Rejected(reason) => self.counters.rejects.count(reason),
            }
            count += 1;
        }
        if count > 1 {
            self.write_joined(moment.now);
        }
        self.act(moment)
    }

    /// Until there is a device, the first packet is the last that is opened.
    fn is_full(&self, now: Time) -> bool {
        self.device.is_none() && self.session.is_up(now)
    }

    /// Does what the protocol asks for.
    fn act(&mut self, moment: &Moment) -> Result<()> {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Persist(record) => self.persist(record),
                Action::Send { datagram, path } => match self.udp.send(&datagram, datagram.len(), &path) {
                    Ok(_) => {
                        self.counters.udp_out.count(datagram.len());
                        self.mark('W');
                    }
                    // The protocol repeats what matters.
                    Err(cause) => {
                        self.not_sent(moment.now, datagram.len(), &cause);
                        self.pass_over_unreachable(moment.now, &path, &cause);
                    }
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
        self.take_host_news(moment)?;
        if self.session.deadline(moment.now).is_some_and(|deadline| deadline <= moment.now) {
            self.session.on_deadline(moment, &mut KernelEntropy);
        }
        self.act(moment)?;
        self.end_if_idle(moment.now);
        self.note_waiting(moment.now);
        self.write_status_if_due(moment.now);
        self.tell_if_due(moment);
        Ok(())
    }

    /// Takes note of the addresses that the resolver has found.
    fn take_resolved(&mut self, now: Time) -> Result<()> {
        let due = self.remotes.deadline().is_some_and(|deadline| deadline <= now);
        if !std::mem::take(&mut self.ready.resolver) && !due {
            return Ok(());
        }
        if self.remotes.take_answers(now)? || self.session.path().is_none() {
            self.call_where_it_is_now(now);
        }
        Ok(())
    }

    fn mark(&self, mark: char) {
        if self.policy.marks {
            crate::log::mark(mark);
        }
    }
}

/// The record as the state file keeps it: stamp sent, stamp seen, instance, little endian.
pub fn encode_record(record: Record) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (bytes, number) in bytes.chunks_exact_mut(8).zip([record.sent, record.seen, record.instance]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// The reverse of [`encode_record`].
pub fn decode_record(bytes: [u8; 24]) -> Record {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    let [sent, seen, instance] = numbers;
    Record { sent, seen, instance }
}

/// A hello of this process, with what the handshake fills in left open.
pub fn fresh_instance(hello: Hello) -> Hello {
    let mut instance = [0; 8];
    KernelEntropy.fill(&mut instance);
    Hello { instance: u64::from_le_bytes(instance), ..hello }
}

/// Both clocks, read now.
pub fn moment() -> Moment {
    Moment { now: clock::boot(), wall: clock::wall_micros() }
}
