//! Where a tunnel keeps what must outlive its process: the freshness record, and the lock that keeps it single.

use std::path::{Path, PathBuf};
use std::time::Duration;

use blake2::digest::consts::U4;
use blake2::{Blake2b, Digest as _};

use crate::config::settings::Settings;
use crate::error::{Error, Exit};
use crate::os::state_file::{Opened, StateFile, Tenant};
use crate::protocol::Secrets;

/// The folder of the state files; made if it is missing.
const FOLDER: &str = "/var/lib/naptun";

/// How long a predecessor may take to go that has said bye already.
pub const WAIT: Duration = Duration::from_secs(2);

/// The same where a call can be waited for meanwhile. Whoever waits for one takes it from the queue, and its caller
/// calls again a quarter of a second later.
pub const WAIT_LITTLE: Duration = Duration::from_millis(200);

/// The state file of a tunnel: ours, nobody's, or another process's.
#[derive(Debug)]
pub enum State {
    /// Open and locked; `None`, with a line in the log, where there can be none: a tunnel that forgets is better than none.
    Ours(Option<StateFile>),
    /// Another process runs this tunnel.
    Taken(Tenant),
}

/// Opens and locks the state file of this tunnel. `wait` is how long a predecessor may take to go.
pub fn open(path: &Path, wait: Duration) -> State {
    match StateFile::open(path, wait) {
        Ok(Opened::Ours(state)) => {
            if state.is_damaged() {
                log::warn!("state file damaged, beginning anew: {}", path.display());
            }
            State::Ours(Some(state))
        }
        Ok(Opened::LockedBy(tenant)) => State::Taken(tenant),
        Err(error) => {
            log::warn!("{error}; without it a replayed call can be answered after a restart");
            State::Ours(None)
        }
    }
}

/// Why there is no second process of a tunnel.
pub fn taken(path: &Path, tenant: &Tenant) -> Error {
    let act = format!("lock {}", path.display());
    Error::new(Exit::TempFail, act, format!("{} runs this tunnel", process(tenant)))
        .advise("one process a tunnel; end that one first")
}

/// The holder in words.
pub fn process(tenant: &Tenant) -> String {
    tenant.pid().map_or_else(|| String::from("another process"), |pid| format!("process {pid}"))
}

/// Where the state of this tunnel is kept.
pub fn path(settings: &Settings, dir: &Path, secrets: &Secrets) -> PathBuf {
    settings.replay_persist.clone().unwrap_or_else(|| default_path(settings, dir, secrets))
}

/// `tun-mon-fri-1a2b3c4d.state`: for people the name of the configuration, for the machine its path and its key.
fn default_path(settings: &Settings, dir: &Path, secrets: &Secrets) -> PathBuf {
    let config = settings.config_file.as_deref().unwrap_or(Path::new("naptun"));
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    let identity = format!("{} {} {:?}", dir.join(config).display(), settings.lport, settings.device_name);
    let hash = Blake2b::<U4>::new().chain_update(secrets.name).chain_update(identity).finalize();
    let hash = u32::from_be_bytes(hash.into());
    Path::new(FOLDER).join(format!("{stem}-{hash:08x}.state"))
}
