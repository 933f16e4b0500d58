//! The last step towards the socket: sealing in place, cutting what is too large, keeping what did not go.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::Tunnel;
use crate::error::Result;
use crate::os::udp::Path;
use crate::packet::fragment::Cut;
use crate::packet::{inner, mss};
use crate::protocol::{HEAD, TAIL, Time};

/// The largest read of a device or a socket: one that stands for many packets will need all of it.
pub(super) const BURST: usize = 65_536;

/// The largest datagrams that pass a path of 1500 bytes whole, behind the headers of IPv4 and IPv6.
const DATAGRAM_IPV4: usize = 1500 - 20 - 8;
const DATAGRAM_IPV6: usize = 1500 - 40 - 8;

/// The largest datagram that every IPv6 path passes whole (RFC 8200, section 5).
const DATAGRAM_LEAST: usize = 1280 - 40 - 8;

/// The way from the device to the socket.
pub(super) struct Outbound {
    /// Room for a head, one read of the device, room for a tail: a packet is sealed where it was read.
    pub(super) packet: Box<[u8; HEAD + BURST + TAIL]>,
    /// The pieces of a packet that is too large for a datagram, one at a time.
    piece: Box<[u8; HEAD + DATAGRAM_IPV4 + TAIL]>,
    /// The length of a packet in `packet` that is not sealed yet.
    pub(super) held: Option<usize>,
    /// How the packet in `packet` is being cut.
    pub(super) cut: Option<Cut>,
    /// A sealed datagram that the socket did not take yet.
    pub(super) unsent: Option<Unsent>,
    /// Datagrams are not made longer than this.
    most: usize,
    /// Toward whom that was found.
    toward: Option<IpAddr>,
    fragment_id: u16,
}

#[derive(Clone, Copy)]
pub(super) struct Unsent {
    piece: bool,
    length: usize,
    path: Path,
}

impl Tunnel {
    /// Seals and sends a packet that lies in `outbound.packet`, cut to pieces if it is too large.
    pub(super) fn send_packet(&mut self, now: Time, length: usize) -> Result<()> {
        if let Some(most) = self.outbound.tcp_most(self.policy.mssfix) {
            let inside = most.saturating_sub((HEAD + TAIL) as u16);
            mss::clamp(self.outbound.packet_bytes_mut(length), self.layer, inside);
        }
        if HEAD + length + TAIL <= self.outbound.most {
            let datagram = &mut self.outbound.packet[..HEAD + length + TAIL];
            let Some(path) = self.session.seal(now, 0, datagram) else { return Ok(()) };
            let unsent = Unsent { piece: false, length: datagram.len(), path };
            return self.send(unsent);
        }
        self.outbound.fragment_id = self.outbound.fragment_id.wrapping_add(1);
        let most = self.outbound.most - HEAD - TAIL;
        self.outbound.cut = Cut::new(self.outbound.fragment_id, length, most);
        self.outbound.held = None;
        self.send_rest(now).map(drop)
    }

    /// Sends what the last packet left behind. Returns whether the way is free for the next one.
    pub(super) fn send_rest(&mut self, now: Time) -> Result<bool> {
        if let Some(unsent) = self.outbound.unsent {
            if !self.ready.udp_out {
                return Ok(false);
            }
            self.outbound.unsent = None;
            self.send(unsent)?;
        }
        while self.outbound.unsent.is_none() {
            let Some(cut) = &mut self.outbound.cut else { return Ok(true) };
            let packet = &self.outbound.packet[HEAD..HEAD + BURST];
            let Some(length) = cut.write_next(packet, &mut self.outbound.piece[HEAD..]) else {
                self.outbound.cut = None;
                return Ok(true);
            };
            let datagram = &mut self.outbound.piece[..HEAD + length + TAIL];
            let Some(path) = self.session.seal(now, inner::FRAGMENT, datagram) else {
                self.outbound.cut = None;
                return Ok(true);
            };
            self.send(Unsent { piece: true, length: HEAD + length + TAIL, path })?;
        }
        Ok(false)
    }

    /// Hands one sealed datagram to the socket, or keeps it until there is room.
    fn send(&mut self, unsent: Unsent) -> Result<()> {
        let buffer: &[u8] = if unsent.piece { &self.outbound.piece[..] } else { &self.outbound.packet[..] };
        let datagram = &buffer[..unsent.length];
        match self.udp.send(datagram, datagram.len(), &unsent.path) {
            Ok(()) => {
                self.counters.udp_out.count(unsent.length);
                self.mark('W');
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                self.outbound.unsent = Some(unsent);
                self.watch_room(true)?;
                return Ok(());
            }
            Err(cause) => self.not_sent(&cause),
        }
        Ok(())
    }

    /// A send that failed costs its datagram and nothing else; one that was too large is the last of its size.
    pub(super) fn not_sent(&mut self, cause: &io::Error) {
        self.counters.dropped += 1;
        if cause.raw_os_error() == Some(libc::EMSGSIZE) && self.outbound.most > DATAGRAM_LEAST {
            self.outbound.most = DATAGRAM_LEAST;
            log::warn!("path is narrower than 1500 bytes, cutting datagrams at {DATAGRAM_LEAST} bytes");
        } else {
            log::debug!("datagram not sent: {cause}");
        }
    }
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            packet: zeroed(),
            piece: zeroed(),
            held: None,
            cut: None,
            unsent: None,
            most: DATAGRAM_IPV6,
            toward: None,
            fragment_id: 0,
        }
    }

    pub(super) fn packet_bytes(&self, length: usize) -> &[u8] {
        &self.packet[HEAD..HEAD + length]
    }

    pub(super) fn packet_bytes_mut(&mut self, length: usize) -> &mut [u8] {
        &mut self.packet[HEAD..HEAD + length]
    }

    /// The largest datagram that TCP should cause: as `mssfix` says, and on a narrow path what passes it. The peer
    /// may never hear of that path, but its TCP keeps to the MSS that ours announces.
    fn tcp_most(&self, mssfix: Option<u16>) -> Option<u16> {
        let narrow = (self.most == DATAGRAM_LEAST).then_some(DATAGRAM_LEAST as u16);
        [mssfix, narrow].into_iter().flatten().min()
    }

    /// Datagrams to this peer are cut for a path of 1500 bytes. What was found of its path stays as long as it leads
    /// to the same place: a nap does not widen it.
    pub(super) fn cut_for(&mut self, path: Path) {
        if self.toward.replace(path.remote.ip()) == Some(path.remote.ip()) {
            return;
        }
        self.most = if path.remote.is_ipv4() { DATAGRAM_IPV4 } else { DATAGRAM_IPV6 };
    }
}

/// A buffer on the heap that is not touched before it is used: an idle endpoint stays small.
pub(super) fn zeroed<const N: usize>() -> Box<[u8; N]> {
    vec![0; N].into_boxed_slice().try_into().unwrap_or_else(|_| Box::new([0; N]))
}
