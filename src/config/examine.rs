//! A configuration as far as it can be read, with all that is wrong: what a doctor looks at.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file;
use super::gather;
use super::grammar::Statement;
use super::include::{MAX_FILE, Sources, resolve_path};
use super::key::{self, StaticKey};
use super::problem::{Fault, Place, Problem};
use super::resolve;
use super::settings::{Secret, Settings};

/// One configuration, right or wrong.
#[derive(Debug)]
pub struct Examination {
    /// Where relative names start.
    pub dir: PathBuf,
    /// What the files say, in order; no `config` and no `cd` among them.
    pub statements: Vec<Statement>,
    /// Every error, the key's among them, by file and line.
    pub problems: Vec<Problem>,
    /// The settings as far as the statements are right.
    pub settings: Settings,
    /// The key, if it can be read.
    pub key: Option<StaticKey>,
}

impl Examination {
    /// Where `directive` stands for the last time.
    pub fn place(&self, directive: &str) -> Option<&Place> {
        self.statements.iter().rfind(|it| it.name() == directive).map(|it| &it.place)
    }

    /// Whether something is wrong with what `directive` says.
    pub fn doubts(&self, directive: &str) -> bool {
        self.problems.iter().any(|problem| problem.directive == directive)
    }
}

/// Reads `file` as `--cd DIR --config FILE` would, and the key that it names.
pub fn examine(cd: Option<&Path>, file: &str) -> Examination {
    let config = Statement {
        words: vec!["config".to_owned(), file.to_owned()],
        inline: None,
        place: Place::command_line(),
    };
    let gathered = gather(cd, &[config]);
    let (sources, whole) = (gathered.sources, gathered.whole);
    let complete = sources.problems.is_empty();
    let (mut settings, more) =
        resolve::resolve_all(&sources.statements, &sources.base, complete.then_some(&whole));
    settings.config_file = gathered.file;
    let key = named_key(&sources).map(|(secret, place)| (key::load(&secret), place));
    let Sources { base: dir, statements, mut problems, .. } = sources;
    problems.extend(more);
    let key = match key {
        Some((Ok(key), _)) => Some(key),
        Some((Err(error), place)) => {
            problems.push(Fault::new("", error.to_string(), "").exit(error.exit()).at(&place, "secret"));
            None
        }
        None => None,
    };
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Examination { dir, statements, problems, settings, key }
}

/// The key that the last `secret` names, whatever else is wrong.
fn named_key(sources: &Sources) -> Option<(Secret, Place)> {
    let statement = sources.statements.iter().rfind(|statement| statement.name() == "secret")?;
    let secret = match (&statement.inline, statement.param(1)) {
        (Some(text), _) => Secret::Inline(Zeroizing::clone(text)),
        (None, Some(name)) if !name.is_empty() => Secret::File(resolve_path(&sources.base, Path::new(name))),
        (None, _) => return None,
    };
    Some((secret, statement.place.clone()))
}

/// The text of `file`, seen from `dir`, in which a problem may be shown; `None` where it is no regular file of text.
pub fn text(dir: &Path, file: &str) -> Option<Zeroizing<String>> {
    let (source, metadata) = file::open(&resolve_path(dir, Path::new(file)), true).ok()?;
    let bytes = metadata.is_file().then(|| file::read_capped(source, MAX_FILE).ok().flatten())??;
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}
