//! An OpenVPN configuration, directive by directive: works, ignored and why, must change and to what.

use super::tunnel::{Tunnel, parsed, whole};
use super::xinetd;
use crate::config::grammar::Statement;
use crate::config::problem::{Place, Problem, like_a_key};
use crate::config::table::{self, Standing};
use crate::error::{Exit, one_line};

/// Where OpenVPN's files lie.
const FOLDER: &str = "/etc/openvpn";
/// Said of each file that can move: one end alone would hear nothing.
const BOTH: &str = "move both ends together, for naptun does not speak OpenVPN's protocol";

/// Whether a configuration was written for OpenVPN: it lies where OpenVPN's do, or asks for what only TLS has and
/// names no static key.
pub(super) fn is_openvpn(tunnel: &Tunnel) -> bool {
    tunnel.path.starts_with(FOLDER) || is_tls(&tunnel.exam.statements)
}

/// What only TLS has, without a static key beside it.
fn is_tls(statements: &[Statement]) -> bool {
    let tls = |statement: &Statement| table::find(statement.name()).is_some_and(|it| it.is_tls());
    statements.iter().any(tls) && !statements.iter().any(|statement| statement.name() == "secret")
}

/// A line of the file, and what becomes of it.
struct Verdict {
    place: Place,
    text: String,
}

/// A line for each directive, and one for the whole. False where something must change.
pub(super) fn explain(tunnel: &Tunnel) -> (Vec<String>, bool) {
    let (exam, tls) = (&tunnel.exam, is_tls(&tunnel.exam.statements));
    let mut verdicts: Vec<Verdict> = exam
        .problems
        .iter()
        .filter(|problem| !is_of_a_foreign_block(tunnel, problem))
        // What else a file lacks that cannot move matters no more.
        .filter(|problem| !tls || problem.place.line > 0)
        .map(|problem| {
            let statement = exam.statements.iter().find(|it| it.place == problem.place);
            // The message names the directive; the words are for the eye.
            let words = statement.map_or_else(String::new, |statement| format!("{}: ", written(statement)));
            let message = match statement {
                Some(_) => {
                    problem.message().split_once(": ").map_or_else(String::new, |(_, why)| why.to_owned())
                }
                None => problem.message(),
            };
            let place =
                if problem.place.is_command_line() { whole(&tunnel.name) } else { problem.place.clone() };
            Verdict { place, text: format!("change: {words}{message}") }
        })
        .collect();
    verdicts.extend(xinetd::of_openvpn(tunnel).into_iter().map(|(place, server)| {
        let text = format!("change: server = {server}: has no --inetd since 2.6; write server = /usr/sbin/naptun, the arguments stay");
        Verdict { place, text }
    }));
    let changes = verdicts.len();
    let good =
        exam.statements.iter().filter(|it| !exam.problems.iter().any(|problem| problem.place == it.place));
    verdicts.extend(
        good.map(|statement| Verdict { place: statement.place.clone(), text: accepted(tunnel, statement) }),
    );
    let ignored = verdicts.iter().filter(|verdict| verdict.text.starts_with("ignored")).count();
    // By line; what the file lacks, or another has, comes last.
    verdicts.sort_by_key(|verdict| {
        let last = verdict.place.line == 0 || !tunnel.reads(&verdict.place.file);
        (last, verdict.place.line)
    });
    let mut lines: Vec<String> =
        verdicts.iter().map(|verdict| one_line(&format!("{}: {}", verdict.place, verdict.text))).collect();
    lines.push(one_line(&format!("{}: {}", tunnel.name, summary(tunnel, changes, ignored))));
    (lines, changes == 0)
}

/// Whether a problem is that others may read a block that would not be used anyway.
fn is_of_a_foreign_block(tunnel: &Tunnel, problem: &Problem) -> bool {
    let at = |it: &&Statement| it.place == problem.place && it.name() != "secret";
    problem.fault.exit == Exit::NoPermission
        && tunnel.exam.statements.iter().any(|it| at(&it) && it.inline.is_some())
}

/// What becomes of a directive that is no error.
fn accepted(tunnel: &Tunnel, statement: &Statement) -> String {
    let notice = tunnel.exam.settings.notices.iter().find_map(|notice| {
        let (place, text) = notice.split_once(": ")?;
        let text = text.split_once(": ").map_or(text, |(_, why)| why);
        (parsed(place) == statement.place).then(|| text.to_owned())
    });
    let words = written(statement);
    match table::find(statement.name()) {
        Some(directive) if directive.standing() == Standing::Works => match notice {
            Some(why) => format!("works: {words}; {why}"),
            None => format!("works: {words}"),
        },
        Some(directive) => format!("ignored: {words}: {}", directive.meaning),
        None => format!("ignored: {words}: {}", notice.unwrap_or_default()),
    }
}

fn summary(tunnel: &Tunnel, changes: usize, ignored: usize) -> String {
    if is_tls(&tunnel.exam.statements) {
        return "cannot work: it is made for TLS or for a server of many clients; make a static key tunnel for each peer with naptun pair".to_owned();
    }
    let without = match ignored {
        0 => String::new(),
        1 => " (1 directive has no effect)".to_owned(),
        n => format!(" ({n} directives have no effect)"),
    };
    match changes {
        0 => format!("works as it is{without}; {BOTH}"),
        1 => format!("works after 1 change{without}; {BOTH}"),
        n => format!("works after {n} changes{without}; {BOTH}"),
    }
}

/// A directive as it stands in the file, without what may be a key.
fn written(statement: &Statement) -> String {
    if statement.inline.is_some() {
        return format!("<{}>", statement.name());
    }
    if like_a_key(statement.name()) {
        return "(not shown: it may hold a key)".to_owned();
    }
    if like_a_key(&statement.words.concat()) {
        return format!("{} (not shown: it may hold a key)", statement.name());
    }
    statement.words.join(" ")
}
