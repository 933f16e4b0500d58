//! Which tunnels there are: a configuration, a run file, or both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Now;
use crate::config::grammar::Statement;
use crate::config::problem::Place;
use crate::config::{self, settings::Settings};
use crate::error::one_line;
use crate::os::run_file::{self, Found};
use crate::status::history::History;
use crate::status::record::{Record, State};
use crate::status::run;

/// Not a tunnel's: `bridge-setup` reads it.
const NO_TUNNEL: &str = "bridge.conf";

/// More configurations than this are not looked at.
const MOST: usize = 4096;

/// One tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// The name of its configuration without `.conf`, or of its run file.
    pub(crate) name: String,
    /// A process is there.
    pub(crate) alive: bool,
    /// What a process has told.
    pub(crate) record: Option<Record>,
    configured: Configured,
}

/// What the configuration says.
#[derive(Debug)]
enum Configured {
    /// There is none, or none that may be read.
    Unknown,
    /// It is not right: see `naptun check`.
    Wrong,
    /// It is right.
    As { caller: bool, device: String },
}

/// What a tunnel does, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// What its process says.
    Tells(State),
    /// Its process has just started.
    Waking,
    /// No process; a super-server holds the port.
    Napping,
    /// No process, and nobody who would start one.
    Stopped,
    /// No process, and the configuration is not right.
    Wrong,
}

impl Condition {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tells(state) => state.name(),
            Self::Waking => "waking",
            Self::Napping => "napping",
            Self::Stopped => "stopped",
            Self::Wrong => "wrong",
        }
    }
}

impl Tunnel {
    /// Whether a name of the command line means it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name.strip_suffix(".conf").unwrap_or(name)
    }

    /// What it does.
    pub(crate) fn condition(&self) -> Condition {
        match (&self.record, &self.configured) {
            (Some(record), _) if self.alive && record.state != State::Napping => {
                Condition::Tells(record.state)
            }
            _ if self.alive => Condition::Waking,
            (_, Configured::Wrong) => Condition::Wrong,
            (Some(record), _) if !matches!(record.launch.as_str(), "inetd" | "systemd") => Condition::Stopped,
            (None, Configured::As { caller: true, .. }) => Condition::Stopped,
            _ => Condition::Napping,
        }
    }

    /// What its living process tells.
    pub(crate) fn live(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| self.alive && record.state != State::Napping)
    }

    /// Since when it does what it does, seconds since the Unix epoch.
    pub(crate) fn since(&self) -> Option<u64> {
        let record = self.record.as_ref()?;
        let died = !self.alive && record.state != State::Napping;
        Some(if died { record.updated } else { record.since })
    }

    /// How the last process ended, and when, seconds since the Unix epoch.
    pub(crate) fn last_end(&self) -> Option<(&str, u64)> {
        let record = self.record.as_ref()?;
        if !self.alive && record.state != State::Napping {
            return Some(("killed", record.updated));
        }
        record.last_ended.filter(|_| !record.last_end.is_empty()).map(|at| (record.last_end.as_str(), at))
    }

    /// The device that there is, or will be.
    pub(crate) fn device(&self) -> &str {
        match (self.live(), &self.configured) {
            (Some(record), _) => &record.device,
            (None, Configured::As { device, .. }) => device,
            (None, _) => "",
        }
    }

    /// The traffic of the last half minute, up to now.
    pub(crate) fn history(&self, now: &Now) -> History {
        let Some(record) = self.live() else { return History::default() };
        let mut history = record.history;
        // Who writes once a second is always a little behind.
        history.skip(now.boot_ms.saturating_sub(record.boot_ms + 1000) / 1000);
        history
    }

    /// Seconds until it naps, if nothing passes.
    pub(crate) fn nap_in(&self, now: &Now) -> Option<u64> {
        let record = self.live()?;
        let passed = now.boot_ms.saturating_sub(record.boot_ms);
        record.nap_ms.map(|left| left.saturating_sub(passed).div_ceil(1000))
    }
}

/// All tunnels by name: the configurations in `folder` and the run files in `run_folder`. What may not be read is
/// left out.
pub(crate) fn gather(folder: &Path, run_folder: &Path) -> Vec<Tunnel> {
    let mut configurations: BTreeMap<String, Configuration> =
        configurations(folder).into_iter().map(|it| (run::name(&it.path), it)).collect();
    let owner = run_file::owner(run_folder);
    let trusted = |name: &str, user: u32| {
        user == 0 || owner == Some(user) || configurations.get(name).is_some_and(|it| it.user == Some(user))
    };
    let mut tunnels: Vec<Tunnel> = Vec::new();
    for found in run_file::list(run_folder, trusted) {
        let record = Record::parse(&found.text).or_else(|| again(run_folder, &found));
        if record.is_none() && !found.alive {
            // No run file: the folder is also where process ids are written.
            continue;
        }
        let (name, configured) = match configurations.remove(&found.name) {
            Some(it) => (it.name, it.configured),
            None => (one_line(&found.name), Configured::Unknown),
        };
        tunnels.push(Tunnel { name, alive: found.alive, record, configured });
    }
    let rest = configurations.into_values();
    tunnels.extend(rest.map(|it| Tunnel {
        name: it.name,
        alive: false,
        record: None,
        configured: it.configured,
    }));
    tunnels.sort_by(|one, other| one.name.cmp(&other.name));
    tunnels
}

/// It may have been read in the moment in which it was written.
fn again(folder: &Path, torn: &Found) -> Option<Record> {
    if !torn.alive {
        return None;
    }
    std::thread::sleep(std::time::Duration::from_millis(2));
    let found =
        run_file::list(folder, |name, owner| (name, owner) == (&torn.name, torn.owner)).into_iter().next()?;
    Record::parse(&found.text)
}

struct Configuration {
    path: PathBuf,
    name: String,
    configured: Configured,
    /// The user whom its process becomes.
    user: Option<u32>,
}

fn configurations(folder: &Path) -> Vec<Configuration> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| is_configuration(path));
    files.take(MOST).filter_map(|path| configuration(folder, path)).collect()
}

fn is_configuration(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "conf")
        && path.file_name().is_some_and(|name| name != NO_TUNNEL)
        && path.metadata().is_ok_and(|meta| meta.is_file())
}

fn configuration(folder: &Path, path: PathBuf) -> Option<Configuration> {
    let file = path.file_name()?.to_str()?.to_owned();
    // Whether it may be read: what may not is no fault of it.
    std::fs::File::open(&path).ok()?;
    let statement = Statement {
        words: vec!["config".to_owned(), file.clone()],
        inline: None,
        place: Place::command_line(),
    };
    let settings = config::load(Some(folder), &[statement]).ok().map(|loaded| loaded.settings);
    let user = settings.as_ref().and_then(|settings| users::get_user_by_name(&settings.user));
    Some(Configuration {
        path,
        name: one_line(file.strip_suffix(".conf").unwrap_or(&file)),
        configured: settings.map_or(Configured::Wrong, |settings| as_configured(&settings)),
        user: user.map(|user| user.uid()),
    })
}

fn as_configured(settings: &Settings) -> Configured {
    let device = settings.device_name.clone().unwrap_or_default();
    Configured::As { caller: settings.is_caller(), device: one_line(&device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { wall: 2_000, boot_ms: 100_000 };

    fn tunnel(alive: bool, state: State, launch: &str) -> Tunnel {
        let record = Record {
            state,
            launch: launch.to_owned(),
            since: 1_500,
            updated: 1_900,
            boot_ms: 98_000,
            nap_ms: Some(10_500),
            last_end: "inactive".to_owned(),
            last_ended: Some(1_400),
            ..Record::default()
        };
        Tunnel { name: "one".to_owned(), alive, record: Some(record), configured: Configured::Unknown }
    }

    fn configured(configured: Configured) -> Tunnel {
        Tunnel { name: "one".to_owned(), alive: false, record: None, configured }
    }

    #[test]
    fn a_tunnel_does_what_its_process_says_while_that_lives_and_naps_or_has_stopped_then() {
        let name = |tunnel: &Tunnel| tunnel.condition().name();
        assert_eq!(name(&tunnel(true, State::Awake, "inetd")), "awake");
        assert_eq!(name(&tunnel(true, State::Napping, "inetd")), "waking");
        assert_eq!(name(&tunnel(false, State::Napping, "inetd")), "napping");
        assert_eq!(name(&tunnel(false, State::Awake, "systemd")), "napping");
        assert_eq!(name(&tunnel(false, State::Awake, "caller")), "stopped");
        let right = |caller| Configured::As { caller, device: String::new() };
        assert_eq!(name(&configured(right(true))), "stopped");
        assert_eq!(name(&configured(right(false))), "napping");
        assert_eq!(name(&configured(Configured::Wrong)), "wrong");
    }

    #[test]
    fn who_died_without_a_word_was_killed_when_it_was_last_heard_of() {
        let killed = tunnel(false, State::Awake, "inetd");
        assert_eq!((killed.last_end(), killed.since()), (Some(("killed", 1_900)), Some(1_900)));
        let ended = tunnel(false, State::Napping, "inetd");
        assert_eq!((ended.last_end(), ended.since()), (Some(("inactive", 1_400)), Some(1_500)));
    }

    #[test]
    fn the_time_until_the_nap_goes_on_between_two_writes_and_no_dead_process_has_one() {
        assert_eq!(tunnel(true, State::Awake, "inetd").nap_in(&NOW), Some(9));
        assert_eq!(tunnel(true, State::Awake, "inetd").nap_in(&Now { boot_ms: 200_000, ..NOW }), Some(0));
        assert_eq!(tunnel(false, State::Awake, "inetd").nap_in(&NOW), None);
    }
}
