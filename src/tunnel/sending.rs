//! Device to socket: one read, cut if it stands for many packets, sealed where it lies, sent as one train.

use std::io::{self, ErrorKind};

use super::Tunnel;
use super::outbound::{AROUND, Read, Shape};
use crate::error::{Error, Exit, Result};
use crate::packet::segment::Burst;
use crate::packet::{inner, mss, vnet};
use crate::protocol::{HEAD, Time};

impl Tunnel {
    /// One packet or burst from the device; `None` when there is none.
    pub(super) fn read_device(&mut self) -> Result<Option<Read>> {
        let Some(device) = self.device.as_ref().filter(|_| self.ready.device_in) else { return Ok(None) };
        let mut header = [0; vnet::LENGTH];
        let shape = self.outbound.shape;
        let length = match self.outbound.scatter(&mut header, |pieces| device.read(pieces)) {
            Ok(length) => length,
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                self.ready.device_in = false;
                return Ok(None);
            }
            Err(cause) if cause.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(cause) => {
                return Err(Error::new(Exit::Unavailable, format!("read {}", device.name()), cause)
                    .advise("the device was deleted or taken away"));
            }
        };
        self.counters.device_in.count(length);
        self.mark('r');
        let Some(header) = vnet::Header::decode(&header) else {
            self.counters.dropped += 1;
            return Ok(None);
        };
        Ok(Some(Read { header, length, shape }))
    }

    /// Seals a read: where it lies, if it has the shape that was expected.
    pub(super) fn seal_read(&mut self, now: Time, read: &Read) {
        if read.header.gso.is_none() {
            return self.seal_packet(now, read);
        }
        let Some(burst) = self.outbound.burst_of(read, self.layer) else {
            self.counters.dropped += 1;
            return;
        };
        let more = (burst.payload() - 1) / burst.size();
        self.counters.device_in.count_many(more, more * burst.header());
        let shape = Shape::of(&burst);
        let fits = read.length <= shape.covers() && shape.room() <= self.outbound.most;
        self.outbound.shape = if fits { shape } else { Shape::ONE };
        if fits && shape == read.shape {
            return self.seal_in_place(now, burst);
        }
        self.outbound.gather(read);
        self.outbound.burst = Some(burst);
        self.seal_cut(now);
    }

    /// A burst of the expected shape: its payload lies where it belongs.
    fn seal_in_place(&mut self, now: Time, mut burst: Burst) {
        loop {
            let room = self.outbound.trains.room();
            let Some(segment) = room.get_mut(HEAD..).and_then(|room| burst.next(room)) else { return };
            let length = AROUND + burst.header() + segment.length;
            let Some(datagram) = room.get_mut(..length) else { return };
            let Some(path) = self.session.seal(now, segment.inner, datagram) else { return };
            self.outbound.trains.push(length, path);
        }
    }

    /// One packet that is no burst.
    fn seal_packet(&mut self, now: Time, read: &Read) {
        let most = self.outbound.tcp_most(self.policy.mssfix);
        let large = AROUND + read.length > self.outbound.most;
        let Some(packet) = self.outbound.whole_packet(read, large) else {
            self.counters.dropped += 1;
            return;
        };
        if let Some(most) = most {
            mss::clamp(packet, self.layer, read.header.sum, most.saturating_sub(AROUND as u16));
        }
        let bits = inner::of(packet, read.header.sum, self.layer);
        if large {
            self.outbound.cut_whole(read.length, bits);
            return self.seal_cut(now);
        }
        let Some(datagram) = self.outbound.trains.room().get_mut(..AROUND + read.length) else { return };
        let Some(path) = self.session.seal(now, bits, datagram) else { return };
        self.outbound.trains.push(AROUND + read.length, path);
    }

    /// Goes on cutting a burst or a packet, as long as there is room for the datagrams.
    fn seal_cut(&mut self, now: Time) {
        while let Some((length, bits)) = self.outbound.next_cut() {
            let datagram = self.outbound.trains.room().get_mut(..AROUND + length);
            let Some(path) = datagram.and_then(|datagram| self.session.seal(now, bits, datagram)) else {
                self.outbound.burst = None;
                self.outbound.cut = None;
                return;
            };
            self.outbound.trains.push(AROUND + length, path);
        }
    }

    /// Sends what should not wait for more. Returns whether the way is free for the next read.
    pub(super) fn send_rest(&mut self, now: Time) -> Result<bool> {
        if self.outbound.trains.is_long() || self.outbound.is_cutting() { self.flush(now) } else { Ok(true) }
    }

    /// Sends all that was read. Returns whether the socket took it.
    pub(super) fn flush(&mut self, now: Time) -> Result<bool> {
        loop {
            if !self.send_trains(now)? {
                return Ok(false);
            }
            if !self.outbound.is_cutting() {
                return Ok(true);
            }
            self.seal_cut(now);
        }
    }

    /// Hands trains to the socket, until it takes no more. Returns whether it took all.
    fn send_trains(&mut self, now: Time) -> Result<bool> {
        while let Some((train, bytes)) = self.outbound.trains.first() {
            if !self.ready.udp_out {
                return Ok(false);
            }
            let (all, segment) = (bytes.len(), train.segment);
            match self.udp.send(bytes, segment, &train.path) {
                Ok(sent) => {
                    self.counters.udp_out.count_many(sent.div_ceil(segment), sent);
                    self.outbound.trains.sent(sent);
                    self.mark('W');
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                    self.watch_room(true)?;
                    return Ok(false);
                }
                Err(cause) => {
                    self.outbound.trains.sent(all);
                    self.not_sent(now, segment, &cause);
                }
            }
        }
        Ok(true)
    }

    /// A send that failed costs its datagrams and nothing else; where it was their length, the next ones are shorter.
    pub(super) fn not_sent(&mut self, now: Time, length: usize, cause: &io::Error) {
        self.counters.dropped += 1;
        if cause.raw_os_error() == Some(libc::EMSGSIZE) {
            self.session.refused(now, length);
            self.keep_to_path();
        } else {
            log::debug!("datagram not sent: {cause}");
        }
    }
}
