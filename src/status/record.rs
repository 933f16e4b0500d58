//! What a run file says: key=value, a line each, and a checksum at the end, so that half of one text and half of another is
//! not taken for a third. doc/status.md has the keys.
//!
//! Who reads one cannot trust it: numbers that are none count as nothing, and letters that act on a terminal are
//! made visible.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest as _};

use super::Counters;
use super::history::{History, SECONDS};
use crate::error::one_line;
use crate::os::run_file::SIZE;
use crate::protocol::Rejects;

/// The version of the text, its first line.
const HEAD: &str = "naptun=1\n";

/// Letters of a value; a path may be longer, and is of no use here then.
const LONGEST: usize = 255;

/// What a tunnel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// A listener that no peer has proved itself to yet.
    #[default]
    Waiting,
    /// A handshake is made, or to be made.
    Calling,
    /// There is a session.
    Awake,
    /// There is none, and nobody wants one: the next packet calls.
    Idle,
    /// The process has ended.
    Napping,
}

impl State {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Waiting, "waiting"),
        (Self::Calling, "calling"),
        (Self::Awake, "awake"),
        (Self::Idle, "idle"),
        (Self::Napping, "napping"),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, it)| *it == name).map(|(state, _)| state)
    }
}

/// All that a process tells. Text that there is none of is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Of naptun.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Who holds the port: `inetd`, `systemd`, `listener`, `caller`.
    pub launch: String,
    /// The configuration, a whole path.
    pub config: String,
    /// What the tunnel does.
    pub state: State,
    /// Since when, seconds since the Unix epoch.
    pub since: u64,
    /// When this was written, in the same seconds.
    pub updated: u64,
    /// The same on the clock that does not jump, milliseconds since the machine started.
    pub boot_ms: u64,
    /// The local UDP port.
    pub port: u16,
    /// The outer address of the peer.
    pub peer: String,
    /// The device, while there is one.
    pub device: String,
    /// `tun` or `tap`.
    pub kind: String,
    /// Of the device, bytes.
    pub mtu: u16,
    /// `LOCAL REMOTE` of a tun, `LOCAL NETMASK` of a tap.
    pub ipv4: String,
    /// `LOCAL/PREFIX REMOTE`.
    pub ipv6: String,
    /// Of the session.
    pub cipher: String,
    /// The round trip, microseconds.
    pub rtt_us: Option<u64>,
    /// How long it takes until the tunnel ends, if nothing more passes, milliseconds.
    pub nap_ms: Option<u64>,
    /// How the last process ended, in the word of the log; while one lives, that is the one before.
    pub last_end: String,
    /// When that was, seconds since the Unix epoch.
    pub last_ended: Option<u64>,
    /// Processes since the machine started.
    pub wakes: u64,
    /// What has passed in the life of this process.
    pub life: Counters,
    /// What has passed since the machine started.
    pub total: Counters,
    /// The last half minute before `updated`.
    pub history: History,
}

impl Record {
    /// Writes it over what is in `text`; [`SIZE`] bytes at most.
    pub fn write(&self, text: &mut String) {
        text.clear();
        text.push_str(HEAD);
        self.write_lines(text);
        for (name, series) in [("history_in", &self.history.inward), ("history_out", &self.history.outward)] {
            let length = text.len();
            series.iter().enumerate().for_each(|(place, bytes)| {
                let _ = write!(text, "{}{bytes}", if place == 0 { "" } else { "," });
            });
            text.insert(length, '=');
            text.insert_str(length, name);
            text.push('\n');
            if text.len() > SIZE - SUM {
                text.truncate(length);
            }
        }
        let sum = checksum(text.as_bytes());
        let _ = writeln!(text, "sum={sum}");
    }

    fn write_lines(&self, text: &mut String) {
        let words = [
            ("version", &self.version),
            ("launch", &self.launch),
            ("config", &self.config),
            ("peer", &self.peer),
            ("device", &self.device),
            ("kind", &self.kind),
            ("ipv4", &self.ipv4),
            ("ipv6", &self.ipv6),
            ("cipher", &self.cipher),
            ("last_end", &self.last_end),
        ];
        for (name, value) in words {
            if !value.is_empty() && value.len() <= LONGEST {
                let _ = writeln!(text, "{name}={value}");
            }
        }
        let _ = writeln!(text, "state={}", self.state.name());
        let numbers = [
            ("pid", Some(self.pid.into())),
            ("since", Some(self.since)),
            ("updated", Some(self.updated)),
            ("boot_ms", Some(self.boot_ms)),
            ("port", Some(self.port.into())),
            ("mtu", Some(self.mtu.into())),
            ("rtt_us", self.rtt_us),
            ("nap_ms", self.nap_ms),
            ("last_ended", self.last_ended),
            ("wakes", Some(self.wakes)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                let _ = writeln!(text, "{name}={number}");
            }
        }
        for (prefix, counters) in [("", &self.life), ("total_", &self.total)] {
            for (name, number) in counters.numbers() {
                let _ = writeln!(text, "{prefix}{name}={number}");
            }
            for (name, number) in counters.rejects.each().filter(|(_, number)| *number > 0) {
                let _ = writeln!(text, "{prefix}rejects_{name}={number}");
            }
        }
    }

    /// Reads what [`write`](Self::write) has written, with anything behind it. `None` if it is not that, or not whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (lines, rest) = text.split_once("\nsum=")?;
        let lines = text.get(..lines.len() + 1)?;
        let sum = rest.split('\n').next()?;
        if !lines.starts_with(HEAD) || sum != checksum(lines.as_bytes()) {
            return None;
        }
        Some(Self::of(&Lines(lines.lines().filter_map(|line| line.split_once('=')).collect())))
    }

    fn of(lines: &Lines<'_>) -> Self {
        let small = |name| lines.number(name).and_then(|it| u16::try_from(it).ok()).unwrap_or_default();
        let number = |name| lines.number(name).unwrap_or_default();
        Self {
            version: lines.word("version"),
            pid: lines.number("pid").and_then(|it| u32::try_from(it).ok()).unwrap_or_default(),
            launch: lines.word("launch"),
            config: lines.word("config"),
            state: State::of(&lines.word("state")).unwrap_or_default(),
            since: number("since"),
            updated: number("updated"),
            boot_ms: number("boot_ms"),
            port: small("port"),
            peer: lines.word("peer"),
            device: lines.word("device"),
            kind: lines.word("kind"),
            mtu: small("mtu"),
            ipv4: lines.word("ipv4"),
            ipv6: lines.word("ipv6"),
            cipher: lines.word("cipher"),
            rtt_us: lines.number("rtt_us"),
            nap_ms: lines.number("nap_ms"),
            last_end: lines.word("last_end"),
            last_ended: lines.number("last_ended"),
            wakes: number("wakes"),
            life: lines.counters(""),
            total: lines.counters("total_"),
            history: History::of(lines.series("history_in"), lines.series("history_out")),
        }
    }
}

/// `sum=`, sixteen digits and a line end.
const SUM: usize = 4 + 16 + 1;

/// Tells a torn text from a whole one. No key: who can write the file can also write the sum.
fn checksum(text: &[u8]) -> String {
    let sum: [u8; 8] = Blake2b::<U8>::digest(text).into();
    format!("{:016x}", u64::from_be_bytes(sum))
}

struct Lines<'a>(BTreeMap<&'a str, &'a str>);

impl Lines<'_> {
    fn word(&self, name: &str) -> String {
        let value = self.0.get(name).copied().unwrap_or_default();
        one_line(&value.chars().take(LONGEST).collect::<String>())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }

    fn counters(&self, prefix: &str) -> Counters {
        let number = |name: &str| self.number(&format!("{prefix}{name}")).unwrap_or_default();
        let rejects = Rejects::of_each(|name| number(&format!("rejects_{name}")));
        Counters { rejects, ..Counters::of_numbers(number) }
    }

    fn series(&self, name: &str) -> [u64; SECONDS] {
        let mut series = [0; SECONDS];
        let words = self.0.get(name).copied().unwrap_or_default().split(',');
        series.iter_mut().zip(words).for_each(|(place, word)| *place = word.parse().unwrap_or_default());
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Reject, Time};

    fn record() -> Record {
        let mut life = Counters::default();
        life.device_in.count_many(3, 4500);
        life.device_out.count_many(2, 120);
        life.udp_in.count_many(5, 6000);
        life.udp_out.count_many(6, 7000);
        life.authentic.count(100);
        life.dropped = 7;
        life.rejects.count(Reject::Unknown);
        life.rejects.count(Reject::Fragment);
        let total = life.plus(&life);
        let mut history = History::default();
        history.note(Time::from_secs(9), 120, 4500);
        let history = History::of(history.inward, history.outward);
        Record {
            version: "0.1.0".to_owned(),
            pid: 4711,
            launch: "inetd".to_owned(),
            config: "/etc/naptun/tun-mon-fri.conf".to_owned(),
            state: State::Awake,
            since: 1_800_000_000,
            updated: 1_800_000_009,
            boot_ms: 123_456,
            port: 1417,
            peer: "[2001:db8::1]:1417".to_owned(),
            device: "tun0".to_owned(),
            kind: "tun".to_owned(),
            mtu: 1420,
            ipv4: "10.8.0.1 10.8.0.2".to_owned(),
            ipv6: "fd00::1/64 fd00::2".to_owned(),
            cipher: "AES-256-GCM".to_owned(),
            rtt_us: Some(420),
            nap_ms: Some(291_000),
            last_end: "inactive".to_owned(),
            last_ended: Some(1_799_999_000),
            wakes: 3,
            life,
            total,
            history,
        }
    }

    fn text(record: &Record) -> String {
        let mut text = String::from("of an earlier one");
        record.write(&mut text);
        text
    }

    #[test]
    fn what_was_written_is_read() {
        for record in [record(), Record::default()] {
            let text = text(&record);
            assert_eq!(Record::parse(text.as_bytes()), Some(record.clone()), "{text}");
            let longer = format!("{text}device=tun9\nsum=0000\n");
            assert_eq!(Record::parse(longer.as_bytes()), Some(record), "the end of a longer text");
        }
    }

    #[test]
    fn half_of_one_text_and_half_of_another_is_none() {
        let (old, new) = (text(&record()), text(&Record { pid: 9, since: 1_900_000_000, ..record() }));
        for cut in 1..old.len().min(new.len()) {
            let torn = format!("{}{}", &new[..cut], &old[cut..]);
            let read = Record::parse(torn.as_bytes());
            assert!(read.is_none() || torn == old || torn == new, "cut at {cut}: {torn}");
        }
        for cut in 0..old.len() - 1 {
            assert_eq!(Record::parse(&old.as_bytes()[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn the_longest_text_fits_and_is_read() {
        let full = Counters::of_numbers(|_| u64::MAX);
        let full = Counters { rejects: Rejects::of_each(|_| u64::MAX), ..full };
        let long = "x".repeat(LONGEST);
        let most = Record {
            config: long.clone(),
            peer: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".to_owned(),
            life: full,
            total: full,
            history: History::of([u64::MAX; SECONDS], [u64::MAX; SECONDS]),
            ..record()
        };
        let text = text(&most);
        assert!(text.len() <= SIZE, "{}", text.len());
        let read = Record::parse(text.as_bytes()).unwrap();
        assert_eq!((read.config, read.total), (long, full));
    }

    #[test]
    fn what_acts_on_a_terminal_is_made_visible_and_what_is_no_number_counts_as_nothing() {
        let lines = format!(
            "{HEAD}device=\x1b[2Jtun\u{202e}0\nstate=\x07\npid=99999999999\nin_bytes=-5\nhistory_in=1,x,3\npeer={}\n",
            "y".repeat(3000)
        );
        let text = format!("{lines}sum={}\n", checksum(lines.as_bytes()));
        let read = Record::parse(text.as_bytes()).unwrap();
        assert_eq!(read.device, "\\x1b[2Jtun\\x202e0");
        assert_eq!((read.state, read.pid, read.life.device_out.bytes), (State::Waiting, 0, 0));
        assert_eq!(read.history.inward[..3], [1, 0, 3]);
        assert_eq!(read.peer.len(), LONGEST);
        for rubbish in [&b""[..], b"\n", b"sum=", b"naptun=1\n", b"naptun=1\nsum=\n", &[0xff; 4096]] {
            assert_eq!(Record::parse(rubbish), None);
        }
    }
}
