//! A process without privileges that reads a socket until somebody known has called: for one that is still root, and must
//! not read what strangers send.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Exit, Result};
use crate::os::child::{Child, Link, Received};
use crate::os::path::Path;
use crate::os::privileges::{self, Identity};
use crate::os::sandbox;
use crate::os::udp::Udp;

/// What it says when somebody known has called.
const KNOWN: u8 = 1;

/// A train of datagrams, as the kernel hands it over.
const TRAIN: usize = 65_536;

/// The parent's end. The process behind it ends when this is dropped.
#[derive(Debug)]
pub struct Doorkeeper(Child);

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody known has called.
    Known,
    /// Nobody has, and nobody has sent anything for a while.
    Nobody,
    /// Neither so far.
    NotYet,
}

impl Doorkeeper {
    /// Forks a process that reads `udp` as `identity`, in the sandbox of the pump, until `is_known` says so of a datagram or
    /// nothing has come for `linger`. What it has read is lost.
    pub fn fork(
        udp: &Udp,
        identity: &Identity,
        linger: Duration,
        mut is_known: impl FnMut(Path, &mut [u8]) -> bool,
    ) -> Result<Self> {
        let child = Child::spawn(c"naptun-door", &[udp.as_raw_fd()], |link| {
            let reduced = privileges::reduce(identity, &[]).and_then(|_| privileges::drop_all());
            if reduced.and_then(|_| sandbox::pump(false)).is_err() {
                return Exit::NoPermission;
            }
            listen(&link, udp, linger, &mut is_known)
        })?;
        Ok(Self(child))
    }

    /// Waits for news, `limit` at most.
    pub fn wait(&self, limit: Duration) -> Heard {
        match self.0.link().receive(Some(limit)) {
            Received::Message(_) => Heard::Known,
            Received::End => Heard::Nobody,
            Received::Nothing => Heard::NotYet,
        }
    }
}

fn listen(
    link: &Link,
    udp: &Udp,
    linger: Duration,
    is_known: &mut dyn FnMut(Path, &mut [u8]) -> bool,
) -> Exit {
    let mut train = vec![0; TRAIN];
    let timeout = PollTimeout::try_from(linger).unwrap_or(PollTimeout::MAX);
    loop {
        let mut sources =
            [PollFd::new(udp.as_fd(), PollFlags::POLLIN), PollFd::new(link.fd(), PollFlags::POLLIN)];
        let ready = poll(&mut sources, timeout);
        // The parent has nothing to say: it has gone, or knows enough.
        if ready == Ok(0) || sources[1].any() == Some(true) {
            return Exit::Ok;
        }
        while let Ok(arrival) = udp.recv(&mut train) {
            let bytes = train.get_mut(..arrival.len).unwrap_or_default();
            if bytes.chunks_mut(arrival.segment.max(1)).any(|datagram| is_known(arrival.path, datagram)) {
                // Without a parent nobody needs to know.
                let _ = link.send(&[KNOWN]);
                return Exit::Ok;
            }
        }
    }
}
