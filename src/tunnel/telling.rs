//! What a tunnel tells of itself in its run file: when something has changed, and at most once a second. Where nothing
//! happens nothing is written, and nobody is woken for it.

use std::fmt::Write as _;
use std::time::Duration;

use super::Tunnel;
use crate::error::one_line;
use crate::os::run_file::{RunFile, SIZE};
use crate::protocol::{Aeads, Moment, Time};
use crate::status::Counters;
use crate::status::record::{Record, State};

/// How often what has passed is told.
const EVERY: Duration = Duration::from_secs(1);

/// How soon a change of the state is: not while the first packets are under way.
const SOON: Duration = Duration::from_millis(50);

/// The run file, and what was told last.
pub struct Telling {
    file: RunFile,
    record: Record,
    /// What the last process has left, until it is looked at.
    left: Option<Vec<u8>>,
    /// What had passed before this process.
    before: Counters,
    text: String,
    told: Counters,
    told_at: Time,
    due_at: Option<Time>,
}

impl Telling {
    /// `left` is what the file held; `record` is what stays the same for the life of the process.
    pub fn new(file: RunFile, left: Vec<u8>, record: Record, moment: &Moment) -> Self {
        let record = Record { since: moment.wall / 1_000_000, ..record };
        Self {
            file,
            record,
            left: Some(left),
            before: Counters::default(),
            text: String::with_capacity(SIZE),
            told: Counters::default(),
            told_at: moment.now,
            due_at: Some(moment.now + SOON),
        }
    }

    /// When there will be something to write, if nothing happens before.
    pub(super) fn deadline(&self, counters: &Counters) -> Option<Time> {
        let passed = (*counters != self.told).then(|| self.told_at + EVERY);
        passed.into_iter().chain(self.due_at).min()
    }

    /// The cipher of a session that has begun.
    pub(super) fn begin_session(&mut self, aead: Aeads) {
        self.record.cipher = aead.to_string();
    }

    fn enter(&mut self, state: State, moment: &Moment) {
        if self.record.state != state {
            self.record.state = state;
            self.record.since = moment.wall / 1_000_000;
            self.due_at.get_or_insert(moment.now + SOON);
        }
    }

    fn write(&mut self, moment: &Moment, counters: &Counters) {
        if let Some(left) = self.left.take() {
            self.go_on_from(&left);
        }
        let record = &mut self.record;
        record.updated = moment.wall / 1_000_000;
        record.boot_ms = u64::try_from(moment.now.as_millis()).unwrap_or(u64::MAX);
        record.life = *counters;
        record.total = self.before.plus(counters);
        let inward = counters.device_out.bytes - self.told.device_out.bytes;
        record.history.note(moment.now, inward, counters.device_in.bytes - self.told.device_in.bytes);
        record.write(&mut self.text);
        // A full disk must not end a tunnel, and the next time is never far.
        let _ = self.file.write(self.text.as_bytes());
        self.told = *counters;
        self.told_at = moment.now;
        self.due_at = None;
    }

    /// Takes over what the last process knew of the time before this one.
    fn go_on_from(&mut self, left: &[u8]) {
        let left = Record::parse(left).unwrap_or_default();
        let died = left.pid != 0 && left.state != State::Napping;
        self.before = left.total;
        self.record.wakes = left.wakes.saturating_add(1);
        self.record.last_end = if died { String::from("killed") } else { left.last_end };
        self.record.last_ended = if died { Some(left.updated) } else { left.last_ended };
    }
}

impl Tunnel {
    /// Notes what the tunnel does, and writes it down when that is due.
    pub(super) fn tell_if_due(&mut self, moment: &Moment) {
        let state = self.state(moment.now);
        let Some(telling) = &mut self.telling else { return };
        telling.enter(state, moment);
        if telling.deadline(&self.counters).is_some_and(|deadline| deadline <= moment.now) {
            self.tell(moment);
        }
    }

    /// The end: the run file says so, and so does the one of the `status` directive.
    pub fn last_word(&mut self, end: &str) {
        let moment = super::moment();
        self.write_status(moment.now);
        let Some(telling) = &mut self.telling else { return };
        telling.enter(State::Napping, &moment);
        // What the process before left must not take the place of this one's end.
        if let Some(left) = telling.left.take() {
            telling.go_on_from(&left);
        }
        telling.record.last_end = one_line(&end.chars().take(200).collect::<String>());
        telling.record.last_ended = Some(moment.wall / 1_000_000);
        self.device = None;
        self.tell(&moment);
        // The lock goes with it: nobody is to think that somebody is still there.
        self.telling = None;
    }

    fn state(&self, now: Time) -> State {
        let spoken_to = self.telling.as_ref().is_some_and(|telling| !telling.record.cipher.is_empty());
        match () {
            () if self.session.is_up(now) => State::Awake,
            () if self.session.is_calling() && self.session.path().is_some() => State::Calling,
            () if self.policy.caller && !spoken_to => State::Calling,
            () if spoken_to => State::Idle,
            () => State::Waiting,
        }
    }

    fn tell(&mut self, moment: &Moment) {
        let Some(telling) = &mut self.telling else { return };
        let record = &mut telling.record;
        record.peer.clear();
        if let Some(path) = self.session.path() {
            let _ = write!(record.peer, "{}", path.remote);
        }
        record.device.clear();
        record.nap_ms = None;
        if let Some(device) = &self.device {
            record.device.push_str(device.name());
            let left = self.activity.deadline().map(|at| at.saturating_sub(moment.now).as_millis());
            record.nap_ms = left.and_then(|left| u64::try_from(left).ok());
        }
        record.rtt_us = self.session.round_trip().and_then(|trip| u64::try_from(trip.as_micros()).ok());
        telling.write(moment, &self.counters);
    }
}
