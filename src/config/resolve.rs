//! Statements to settings: every directive applied in order, then what only their sum can tell.

use std::path::Path;

use super::draft::Draft;
use super::grammar::{MAX_WORDS, Statement};
use super::problem::{Fault, MAX_PROBLEMS, Place, Problem, shown, too_many};
use super::settings::Settings;
use super::table::{self, Directive, List};
use super::{crypto, device, dns, link, process, redirect, routes, script};

/// The settings that `statements` ask for; the command line's stand behind the file's and win.
///
/// Relative file names start at `base`. Nothing is opened; scripts, users and groups are looked up.
///
/// # Errors
/// Every problem found, in the order of the statements; at least one.
pub fn resolve(statements: &[Statement], base: &Path) -> Result<Settings, Vec<Problem>> {
    let whole = statements.iter().find(|it| !it.place.is_command_line());
    let whole = whole.map_or_else(Place::command_line, |it| Place::new(&it.place.file, 0));
    resolve_parts(statements, base, Some(&whole))
}

/// As [`resolve`]. What is missing is reported at `whole`; not at all where some statements could not be read.
pub(super) fn resolve_parts(
    statements: &[Statement],
    base: &Path,
    whole: Option<&Place>,
) -> Result<Settings, Vec<Problem>> {
    let (settings, problems) = resolve_all(statements, base, whole);
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// As [`resolve_parts`], with the settings as far as they can be told beside the problems.
pub(super) fn resolve_all(
    statements: &[Statement],
    base: &Path,
    whole: Option<&Place>,
) -> (Settings, Vec<Problem>) {
    let mut draft = Draft::new(base);
    for statement in statements {
        apply(&mut draft, statement);
        if draft.problems.len() >= MAX_PROBLEMS {
            draft.problems.push(too_many(&statement.place));
            return (draft.settings, draft.problems);
        }
    }
    if let Some(whole) = whole {
        require(&mut draft, whole);
    }
    for finish in [
        device::finish,
        link::finish,
        routes::finish,
        redirect::finish,
        crypto::finish,
        script::finish,
        dns::finish,
        process::finish,
    ] {
        finish(&mut draft);
    }
    (draft.settings, draft.problems)
}

fn require(draft: &mut Draft, whole: &Place) {
    let missing = |name: &str, expected: &str| Fault::new("", "is missing", expected).at(whole, name);
    if draft.place("secret").is_none() {
        draft.problems.push(missing("secret", "add secret FILE (naptun --genkey --secret FILE makes one)"));
    }
    if draft.place("dev").is_none() {
        draft.problems.push(missing("dev", "add dev tun or dev tap"));
    }
}

fn apply(draft: &mut Draft, statement: &Statement) {
    if let ("setenv", [opt, rest @ ..]) = (statement.name(), statement.params())
        && opt == "opt"
    {
        let words = rest.to_vec();
        let optional = Statement { words, inline: None, place: statement.place.clone() };
        return apply_known(draft, &optional, true);
    }
    let optional = draft.forward_compatible && table::find(statement.name()).is_none();
    let optional = optional || draft.ignorable.iter().any(|name| name == statement.name());
    apply_known(draft, statement, optional);
}

/// Applies a directive of the table. One that does not work here is a notice if `optional`, otherwise a problem.
fn apply_known(draft: &mut Draft, statement: &Statement, optional: bool) {
    let (place, name) = (&statement.place, statement.name());
    let result = match table::find(name) {
        _ if name.is_empty() => Err(Fault::new("", "nothing stands here", "expected a directive")),
        None if optional => return draft.notice(place, &shown(name), "unknown, ignored as asked"),
        None => return draft.problems.push(unknown(name).at(place, "")),
        Some(Directive { list: List::Refused(instead), .. }) => {
            if optional {
                return draft.notice(place, name, "not supported, ignored as asked");
            }
            Err(Fault::new("", "is not supported", *instead))
        }
        Some(directive) => apply_listed(draft, statement, directive),
    };
    if let Err(fault) = result {
        draft.problems.push(fault.at(place, name));
    }
}

fn apply_listed(draft: &mut Draft, statement: &Statement, directive: &Directive) -> Result<(), Fault> {
    let first = draft.see(directive.name, &statement.place);
    if statement.inline.is_some() && directive.name != "secret" {
        return Err(Fault::new("", "cannot stand between tags", format!("write {}", directive.usage())));
    }
    match directive.list {
        List::Works(apply) => {
            arity(statement, directive)?;
            apply(draft, statement)
        }
        List::Harmless(why, refuse) => {
            if let Some((cause, instead)) = refuse(statement.params()) {
                return Err(Fault::new(statement.param(1).unwrap_or_default(), cause, instead));
            }
            if first {
                draft.notice(&statement.place, directive.name, why);
            }
            Ok(())
        }
        List::Refused(_) => Ok(()),
    }
}

fn arity(statement: &Statement, directive: &Directive) -> Result<(), Fault> {
    let (given, (min, max)) = (statement.params().len(), directive.arity());
    if (min..=max).contains(&given) || statement.inline.is_some() {
        return Ok(());
    }
    let parameters = |n: usize| format!("{n} parameter{}", if n == 1 { "" } else { "s" });
    let takes = match (min, max) {
        (0, 0) => "no parameter".to_owned(),
        (min, max) if min == max => parameters(min),
        (min, max) if max >= MAX_WORDS - 1 => format!("{} or more", parameters(min)),
        (min, max) => format!("{min} to {}", parameters(max)),
    };
    // Behind `secret` a key may have been pasted, in groups of digits too short to be known by.
    let word = statement.param(max + 1).filter(|_| directive.name != "secret").unwrap_or_default();
    Err(Fault::new(word, format!("takes {takes}, not {given}"), format!("expected {}", directive.usage())))
}

fn unknown(name: &str) -> Fault {
    let expected = match table::nearest(name) {
        Some(near) => format!("did you mean {near}?"),
        None => "doc/directives.md lists all".to_owned(),
    };
    Fault::new(name, "is no directive", expected)
}
