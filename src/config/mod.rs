//! The configuration: OpenVPN's dialect, read and checked as a whole.
//!
//! [`load`] is the way in: the file's statements, then the command line's, resolved into [`settings::Settings`].
//! Bytes become statements in [`grammar`], [`table`] knows every directive, [`resolve()`] makes settings of them.

use std::path::{Path, PathBuf};

mod crypto;
mod device;
pub mod dns;
mod draft;
pub mod examine;
mod file;
pub mod grammar;
mod include;
pub mod key;
mod link;
pub mod problem;
mod process;
mod redirect;
mod resolve;
mod routes;
mod script;
mod services;
pub mod settings;
pub mod table;
mod value;

pub use include::{MAX_DEPTH, MAX_FILE, check_cd};
pub use resolve::resolve;
pub use value::port as service_port;

use grammar::Statement;
use include::Sources;
use problem::{Place, Problem};
use settings::Settings;

/// A configuration that is right.
#[derive(Debug)]
pub struct Loaded {
    /// What it says. File names in it are absolute.
    pub settings: Settings,
    /// The directory that relative names were taken from: that of `--cd`, of the file's own `cd`, or the working
    /// directory. Scripts run there.
    pub dir: PathBuf,
}

/// Reads the files that `command_line` names with `config`, and resolves them together with its other statements.
///
/// `cd` is the directory of `--cd`, already seen by [`check_cd`]; relative names start there, and nothing is entered.
/// Without it a file may say `cd DIR` as its first directive; elsewhere `cd` is accepted only if it changes nothing.
/// The command line wins over the files; its `remote`s replace theirs, its `route`s come in addition.
///
/// # Errors
/// Every problem of every file and of the command line, by file and line; at least one.
pub fn load(cd: Option<&Path>, command_line: &[Statement]) -> Result<Loaded, Vec<Problem>> {
    settle(gather(cd, command_line))
}

fn settle(gathered: Gathered) -> Result<Loaded, Vec<Problem>> {
    let (dir, mut problems) = (gathered.sources.base, gathered.sources.problems);
    let whole = Some(&gathered.whole).filter(|_| problems.is_empty());
    match resolve::resolve_parts(&gathered.sources.statements, &dir, whole) {
        Ok(mut settings) if problems.is_empty() => {
            settings.config_file = gathered.file;
            Ok(Loaded { settings, dir })
        }
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            // Stable: of one line, what was found first stays first.
            problems.sort_by(|a, b| a.place.cmp(&b.place));
            Err(problems)
        }
    }
}

/// All statements of the files and the command line, in the order in which they hold.
struct Gathered {
    sources: Sources,
    file: Option<PathBuf>,
    /// Where to say that something is missing.
    whole: Place,
}

fn gather(cd: Option<&Path>, command_line: &[Statement]) -> Gathered {
    let mut sources = Sources::new(cd);
    let mut file = None;
    for statement in command_line.iter().filter(|statement| statement.name() == "config") {
        let Some(name) = statement.param(1) else { continue };
        file.get_or_insert_with(|| PathBuf::from(name));
        sources.read(name, &statement.place);
    }
    sources.statements.extend(command_line.iter().filter(|statement| !is_read(statement)).cloned());
    let whole = file.as_ref().map_or_else(Place::command_line, |file| Place::new(file.to_string_lossy(), 0));
    Gathered { sources, file, whole }
}

/// `config` with its file has been read; without one it is left for its fault to be found.
fn is_read(statement: &Statement) -> bool {
    statement.name() == "config" && statement.params().len() == 1
}
