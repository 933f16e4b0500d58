//! Two processes of one tunnel under a super-server: xinetd was restarted and holds the port anew, while the process that it
//! had started lives on with a socket that nobody reaches; or inetd has a socket for each version of IP.
//!
//! The new process does not take the tunnel because it was woken: anybody can wake it. It has a process without
//! privileges listen for a call that only the peer can have made and that the old process has not seen. Then the old process
//! is ended, and the peer's next call finds the new one.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::Result;
use crate::os::doorkeeper::{Doorkeeper, Heard};
use crate::os::privileges::Identity;
use crate::os::state_file::{Opened as Locked, StateFile, Tenant, Turn};
use crate::os::udp::Udp;
use crate::protocol::{Opened, Session};
use crate::state::{self, State};
use crate::tunnel::{self, KernelEntropy};

/// How often the lock is tried while the peer has not called: the old process may nap meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// How long the old process may take to say bye and to run its `down` script, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long another new process may hold the place behind it: it looks whether the lock comes free, and waits for the
/// peer like this one then.
const QUEUE: Duration = Duration::from_secs(1);

/// After that, how long the kernel may take.
const KILLED: Duration = Duration::from_secs(2);

/// Waits until the tunnel is free, or its peer calls here. `session` is one of this tunnel, with the record of the process
/// that runs it; it answers nothing. Fails if nobody calls.
pub fn take_over(
    path: &Path,
    tenant: Tenant,
    udp: &Udp,
    identity: &Identity,
    mut session: Session<crate::os::path::Path>,
) -> Result<Option<StateFile>> {
    log::info!("{} runs this tunnel, waiting for the peer to call here", state::process(&tenant));
    let door = Doorkeeper::fork(udp, identity, tunnel::LINGER, |path, datagram| {
        session.open(&tunnel::moment(), path, datagram, &mut KernelEntropy) == Opened::Control
    })?;
    loop {
        match door.wait(RETRY) {
            Heard::Known => break,
            Heard::Nobody => return Err(state::taken(path, &tenant)),
            Heard::NotYet => {
                if let State::Ours(state) = state::open(path, Duration::ZERO) {
                    return Ok(state);
                }
            }
        }
    }
    end(path, &tenant)
}

/// Ends the old process, and takes what it leaves. Its place is taken first: a stranger may wake yet another process in
/// the moment in which the lock is free.
fn end(path: &Path, tenant: &Tenant) -> Result<Option<StateFile>> {
    for (signal, patience) in [(Signal::SIGTERM, PATIENCE), (Signal::SIGKILL, KILLED)] {
        let Some(turn) = Turn::take(path, QUEUE)? else { break };
        if let Some(holder) = tenant.holder() {
            log::warn!("the peer calls here, ending process {} with {signal}", holder.pid());
            // It may have ended by itself.
            let _ = holder.signal(signal);
        }
        if let Locked::Ours(state) = turn.lock(patience)? {
            return Ok(Some(state));
        }
    }
    Err(state::taken(path, tenant))
}
