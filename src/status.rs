//! What has passed, for the log line at the end, SIGUSR2, the file of the `status` directive, and the run file.

pub mod history;
pub mod record;
pub mod run;

use std::fmt::Write as _;

use crate::protocol::Rejects;

/// Totals since the process started, in bytes and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read from the device.
    pub device_in: Flow,
    /// Written to the device.
    pub device_out: Flow,
    /// Received from the socket, rejects included.
    pub udp_in: Flow,
    /// Sent on the socket.
    pub udp_out: Flow,
    /// Received and found authentic, as packets for the device.
    pub authentic: Flow,
    /// Packets that the socket or the device did not take.
    pub dropped: u64,
    /// Datagrams refused.
    pub rejects: Rejects,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many.
    pub packets: u64,
    /// How long, together.
    pub bytes: u64,
}

impl Flow {
    /// Counts one packet.
    pub fn count(&mut self, bytes: usize) {
        self.count_many(1, bytes);
    }

    /// Counts packets that take `bytes` together.
    pub fn count_many(&mut self, packets: usize, bytes: usize) {
        self.packets += packets as u64;
        self.bytes += bytes as u64;
    }
}

impl Counters {
    /// `key=value` pairs for one log line.
    pub fn line(&self) -> String {
        format!(
            "in_packets={} in_bytes={} out_packets={} out_bytes={} udp_in_bytes={} udp_out_bytes={} dropped={} {}",
            self.device_out.packets,
            self.device_out.bytes,
            self.device_in.packets,
            self.device_in.bytes,
            self.udp_in.bytes,
            self.udp_out.bytes,
            self.dropped,
            self.rejects
        )
    }

    /// All numbers but those of the rejects, by name: `in` is what came out of the tunnel into this host.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut copy = *self;
        let numbers = copy.places().map(|(name, number)| (name, *number));
        numbers.into_iter()
    }

    /// The reverse: each number is what `number` says for its name.
    pub fn of_numbers(number: impl Fn(&str) -> u64) -> Self {
        let mut counters = Self::default();
        counters.places().into_iter().for_each(|(name, place)| *place = number(name));
        counters
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        let places = sum.places().into_iter();
        places.zip(other.numbers()).for_each(|((_, place), (_, more))| *place = place.saturating_add(more));
        sum.rejects = self.rejects.plus(&other.rejects);
        sum
    }

    fn places(&mut self) -> [(&'static str, &mut u64); 11] {
        [
            ("in_packets", &mut self.device_out.packets),
            ("in_bytes", &mut self.device_out.bytes),
            ("out_packets", &mut self.device_in.packets),
            ("out_bytes", &mut self.device_in.bytes),
            ("udp_in_packets", &mut self.udp_in.packets),
            ("udp_in_bytes", &mut self.udp_in.bytes),
            ("udp_out_packets", &mut self.udp_out.packets),
            ("udp_out_bytes", &mut self.udp_out.bytes),
            ("authentic_packets", &mut self.authentic.packets),
            ("authentic_bytes", &mut self.authentic.bytes),
            ("dropped", &mut self.dropped),
        ]
    }

    /// OpenVPN's point-to-point status block, as its readers expect it. `updated` is `YYYY-MM-DD HH:MM:SS`.
    pub fn block(&self, updated: &str) -> String {
        let mut block = format!("OpenVPN STATISTICS\nUpdated,{updated}\n");
        let rows = [
            ("TUN/TAP read bytes", self.device_in.bytes),
            ("TUN/TAP write bytes", self.device_out.bytes),
            ("TCP/UDP read bytes", self.udp_in.bytes),
            ("TCP/UDP write bytes", self.udp_out.bytes),
            ("Auth read bytes", self.authentic.bytes),
        ];
        for (name, bytes) in rows {
            let _ = writeln!(block, "{name},{bytes}");
        }
        block + "END\n"
    }
}
