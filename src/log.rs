//! The log: one event a line, to syslog, stderr or a file.
//!
//! The records are those of the syslog crate, the socket below them is ours: unbound and non-blocking, addressed
//! anew for each line. So a syslogd that was restarted is found again, and one that does not read never stalls the
//! pump. The crate writes UTC where RFC 3164 wants local time; that is put right here as well.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use log::{Level, LevelFilter, Metadata, Record};
use syslog::{Facility, Formatter3164, LogFormat as _, Severity};

use crate::error::{Error, Exit, Result, one_line};
use crate::os::clock;

/// Target of the few lines that `verb 1` shows too: wrappers wait for them.
pub const MILESTONE: &str = "milestone";

const SYSLOG: &str = "/dev/log";

/// Bytes of `<30>Nov 22 07:24:08 ` behind the priority.
const TIMESTAMP: usize = 15;

/// Packet marks of `verb 5` collected for one line of syslog.
const MARKS: usize = 64;

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    /// Never waited for: there is one thread, and a panic within a line must not hang in the line about it.
    inner: Mutex<Inner>,
}

struct Inner {
    sink: Sink,
    program: String,
    verb: u8,
    mute: u32,
    last_place: Option<(&'static str, u32)>,
    repeated: u32,
    lost: u32,
    marks: String,
}

enum Sink {
    Stderr,
    Syslog(UnixDatagram),
    File(File),
}

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Standard error, with the time in front.
    Stderr,
    /// The local syslogd, facility daemon.
    Syslog,
    /// A file, with the time in front.
    File {
        /// Its path.
        path: &'a Path,
        /// Keep what it holds.
        append: bool,
    },
}

/// Directs the log; may be called again once the configuration is known. `program` is the name in syslog records.
pub fn open(target: Target, program: &str, verb: u8, mute: u32) -> Result<()> {
    let sink = Sink::open(target)?;
    let logger = LOGGER.get_or_init(|| Logger { inner: Mutex::new(Inner::new()) });
    if let Ok(mut inner) = logger.inner.try_lock() {
        inner.sink = sink;
        inner.program = program.to_owned();
        inner.verb = verb;
        inner.mute = mute;
    }
    let _ = log::set_logger(logger);
    log::set_max_level(filter(verb).max(LevelFilter::Info));
    Ok(())
}

/// A panic is a fault of ours: it is logged like any other error, and never printed to where the peer could read it.
pub fn panics_too() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at={}:{}", place.file(), place.line()));
        log::error!("internal error, please report it{place}");
        std::process::exit(Exit::Software as i32);
    }));
}

/// The mark of one packet, as `verb 5` shows it: R and W for datagrams, r and w for the device.
pub fn mark(mark: char) {
    if let Some(mut inner) = LOGGER.get().and_then(|logger| logger.inner.try_lock().ok()) {
        inner.mark(mark);
    }
}

fn filter(verb: u8) -> LevelFilter {
    match verb {
        0 => LevelFilter::Error,
        1..=2 => LevelFilter::Warn,
        3..=5 => LevelFilter::Info,
        6..=8 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

impl Sink {
    fn open(target: Target) -> Result<Self> {
        match target {
            Target::Stderr => Ok(Self::Stderr),
            Target::Syslog => {
                let failed = |cause| Error::new(Exit::Os, "open a socket for syslog", cause);
                let socket = UnixDatagram::unbound().map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Syslog(socket))
            }
            Target::File { path, append } => File::options()
                .create(true)
                .append(append)
                .write(true)
                .truncate(!append)
                .open(path)
                .map(Self::File)
                .map_err(|cause| {
                    Error::new(Exit::CannotCreate, format!("open log file {}", path.display()), cause)
                }),
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let verb = self.inner.try_lock().map_or(1, |inner| inner.verb);
        metadata.level() <= filter(verb) || (metadata.target() == MILESTONE && verb > 0)
    }

    fn log(&self, record: &Record) {
        // Other crates' debugging is not ours to print.
        let ours = record.target() == MILESTONE || record.target().starts_with("naptun");
        if !ours || !self.enabled(record.metadata()) {
            return;
        }
        if let Ok(mut inner) = self.inner.try_lock() {
            inner.line(record);
        }
    }

    fn flush(&self) {}
}

impl Inner {
    fn new() -> Self {
        Self {
            sink: Sink::Stderr,
            program: String::from("naptun"),
            verb: 1,
            mute: 0,
            last_place: None,
            repeated: 0,
            lost: 0,
            marks: String::new(),
        }
    }

    fn line(&mut self, record: &Record) {
        self.end_marks();
        let place = record.file_static().zip(record.line());
        if place.is_some() && place == self.last_place {
            self.repeated += 1;
        } else {
            self.end_repetition();
        }
        self.last_place = place;
        if self.mute == 0 || self.repeated < self.mute {
            self.write(record.level(), &one_line(&record.args().to_string()));
        }
    }

    /// Tells how many lines of one place `mute` has swallowed.
    fn end_repetition(&mut self) {
        let swallowed = if self.mute > 0 { (self.repeated + 1).saturating_sub(self.mute) } else { 0 };
        self.repeated = 0;
        if swallowed > 0 {
            self.write(Level::Info, &format!("{swallowed} lines like the last one muted"));
        }
    }

    fn write(&mut self, level: Level, text: &str) {
        let written = match &mut self.sink {
            Sink::Stderr => writeln!(std::io::stderr(), "{} {text}", clock::local_time()),
            Sink::File(file) => writeln!(file, "{} {text}", clock::local_time()),
            Sink::Syslog(socket) => {
                let text = match self.lost {
                    0 => text.to_owned(),
                    lost => format!("{text} log_lines_lost={lost}"),
                };
                let sent = socket.send_to(&record(&self.program, level, &text), SYSLOG).map(drop);
                self.lost = if sent.is_ok() { 0 } else { self.lost.saturating_add(1) };
                sent
            }
        };
        // There is nowhere left to tell.
        drop(written);
    }

    fn mark(&mut self, mark: char) {
        match &mut self.sink {
            Sink::Stderr => drop(write!(std::io::stderr(), "{mark}")),
            Sink::File(file) => drop(write!(file, "{mark}")),
            Sink::Syslog(_) => {
                self.marks.push(mark);
                if self.marks.len() >= MARKS {
                    self.end_marks();
                }
                return;
            }
        }
        self.marks.clear();
        self.marks.push(mark);
    }

    /// Marks have no end of line of their own.
    fn end_marks(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        let marks = std::mem::take(&mut self.marks);
        match &mut self.sink {
            Sink::Stderr => drop(writeln!(std::io::stderr())),
            Sink::File(file) => drop(writeln!(file)),
            Sink::Syslog(_) => self.write(Level::Info, &marks),
        }
    }
}

/// One RFC 3164 record, in local time.
fn record(program: &str, level: Level, text: &str) -> Vec<u8> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: program.to_owned(),
        pid: std::process::id(),
    };
    let severity = match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_NOTICE,
        Level::Debug | Level::Trace => Severity::LOG_DEBUG,
    };
    let mut record = Vec::with_capacity(64 + text.len());
    let _ = formatter.format(&mut record, severity, text);
    let start = record.iter().position(|byte| *byte == b'>').map_or(0, |end| end + 1);
    let local = clock::local_time().rfc3164().to_string();
    if let Some(stamp) = record.get_mut(start..start + TIMESTAMP).filter(|stamp| stamp.len() == local.len()) {
        stamp.copy_from_slice(local.as_bytes());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_from_within_a_line_is_dropped_and_does_not_hang() {
        let logger = Logger { inner: Mutex::new(Inner::new()) };
        let within = logger.inner.lock().unwrap();
        let record =
            Record::builder().target("naptun").level(Level::Error).args(format_args!("panic")).build();
        log::Log::log(&logger, &record);
        drop(within);
    }

    #[test]
    fn a_record_carries_facility_daemon_local_time_and_the_pid() {
        let record = String::from_utf8(record("naptun", Level::Warn, "text")).unwrap();
        let expected = format!("<28>{} naptun[{}]: text", clock::local_time().rfc3164(), std::process::id());
        assert_eq!(record, expected);
    }
}
