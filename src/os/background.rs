//! Going to the background: the shell gets its prompt back, and the exit code, when initialisation is complete.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2, setsid};

use crate::error::{Error, Exit, Result};
use crate::os::{child, descriptors};

/// Which of the two processes [`detach`] has returned in.
#[derive(Debug)]
pub enum Side {
    /// The one that the shell waits for; the other has said how it went. Report it and exit.
    Parent(Outcome),
    /// The one that goes on, in a session of its own.
    Child(Readiness),
}

/// What became of the process in the background.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Initialisation is complete.
    Ready,
    /// It failed; the code to exit with and the reason to print.
    Failed(u8, String),
    /// It ended without a word; how.
    Died(String),
}

/// Forks. To be called before signals are blocked (the waiting parent can then be interrupted), before helpers are
/// forked and before a lock is taken. The process must have one thread.
pub fn detach() -> Result<Side> {
    let fail = |e| Error::new(Exit::Os, "go to the background", e);
    let (report, reporter) = pipe2(OFlag::O_CLOEXEC).map_err(fail)?;
    match child::fork().map_err(fail)? {
        ForkResult::Parent { child } => {
            drop(reporter);
            Ok(Side::Parent(hear(report, child)))
        }
        ForkResult::Child => {
            drop(report);
            setsid().map_err(fail)?;
            Ok(Side::Child(Readiness { reporter: File::from(reporter) }))
        }
    }
}

/// The duty to say how initialisation went. Dropping it unsaid counts as dying.
#[derive(Debug)]
pub struct Readiness {
    reporter: File,
}

impl Readiness {
    /// Initialisation is complete: lets the parent go and the terminal too (/dev/null over fds 0, 1 and 2).
    pub fn ready(mut self) -> Result<()> {
        descriptors::silence_standard()?;
        // A parent that was interrupted hears nothing; that changes nothing here.
        let _ = self.reporter.write_all(&[Exit::Ok as u8]);
        Ok(())
    }

    /// Initialisation failed: the parent is to print `reason` and exit with `code`; 0 would be success and becomes
    /// `EX_SOFTWARE`.
    pub fn failed(mut self, code: u8, reason: &str) {
        let code = if code == 0 { Exit::Software as u8 } else { code };
        let _ = self.reporter.write_all(&[&[code], reason.as_bytes()].concat());
    }
}

fn hear(report: OwnedFd, child: Pid) -> Outcome {
    let mut words = Vec::new();
    // Interrupted reads go on inside; any other error leaves what was heard so far.
    let _ = File::from(report).read_to_end(&mut words);
    match words.split_first() {
        Some((0, _)) => Outcome::Ready,
        Some((&code, reason)) => Outcome::Failed(code, String::from_utf8_lossy(reason).into_owned()),
        None => Outcome::Died(last_words(child)),
    }
}

fn last_words(child: Pid) -> String {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, status)) => format!("it exited with status {status} and no reason"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("it was ended by {signal}"),
        _ => "it is gone".to_owned(),
    }
}
