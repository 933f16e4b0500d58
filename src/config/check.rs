//! `naptun check`: every error of a configuration, and of the key that it names.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::grammar::Statement;
use super::include::Sources;
use super::key;
use super::problem::Place;
use super::settings::Secret;
use super::{check_cd, gather, settle};
use crate::error::Exit;

/// Checks `files`, each alone, as `--cd DIR --config FILE` would be read.
///
/// Gives the lines to print, without line ends, and how to exit: `EX_OK` if every file and every key is right,
/// otherwise `EX_CONFIG`.
pub fn check(cd: Option<&Path>, files: &[PathBuf]) -> (Vec<String>, Exit) {
    if let Some(Err(error)) = cd.map(check_cd) {
        return (vec![error.to_string()], Exit::Config);
    }
    let (mut lines, mut exit) = (Vec::new(), Exit::Ok);
    for file in files {
        let (found, right) = check_file(cd, file);
        lines.extend(found);
        if !right {
            exit = Exit::Config;
        }
    }
    (lines, exit)
}

fn check_file(cd: Option<&Path>, file: &Path) -> (Vec<String>, bool) {
    let Some(name) = file.to_str() else {
        return (vec![format!("{}: the name is not UTF-8", file.display())], false);
    };
    let config = Statement {
        words: vec!["config".to_owned(), name.to_owned()],
        inline: None,
        place: Place::command_line(),
    };
    let gathered = gather(cd, &[config]);
    let key = named_key(&gathered.sources).map(|secret| key::load(&secret));
    let (mut lines, mut notices) = match settle(gathered) {
        Ok(loaded) => (Vec::new(), loaded.settings.notices),
        Err(problems) => (problems.iter().map(ToString::to_string).collect(), Vec::new()),
    };
    if let Some(Err(error)) = key {
        lines.push(format!("{name}: {error}"));
    }
    if !lines.is_empty() {
        return (lines, false);
    }
    notices.push(format!("{name}: ok"));
    (notices, true)
}

/// The key that the last `secret` names, whatever else is wrong.
fn named_key(sources: &Sources) -> Option<Secret> {
    let statement = sources.statements.iter().rfind(|statement| statement.name() == "secret")?;
    match (&statement.inline, statement.param(1)) {
        (Some(text), _) => Some(Secret::Inline(Zeroizing::clone(text))),
        (None, Some(name)) if !name.is_empty() => Some(Secret::File(sources.base.join(name))),
        (None, _) => None,
    }
}
