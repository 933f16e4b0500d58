//! Directives of the scripts, and what a script must be before it is trusted.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::Uid;

use super::draft::Draft;
use super::file;
use super::grammar::{self, Statement};
use super::problem::{Fault, shown_path};
use super::value;
use crate::error::{Error, Exit};

type Applied = Result<(), Fault>;

pub(super) fn up(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.up = Some(command(draft, statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn down(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.down = Some(command(draft, statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn script_security(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.script_security = Some(value::number(statement.param(1).unwrap_or_default(), 0..=3)?);
    match statement.param(2) {
        None | Some("execve") => Ok(()),
        Some(word) => {
            Err(Fault::new(word, "is not supported: scripts run without a shell", "expected the level alone"))
        }
    }
}

/// `setenv opt` never comes here: it is taken apart where statements are.
pub(super) fn setenv(draft: &mut Draft, statement: &Statement) -> Applied {
    let name = statement.param(1).unwrap_or_default();
    let value = statement.param(2).unwrap_or_default();
    if let Some(word) = statement.param(3) {
        return Err(Fault::new(word, "is one word too many", "put a value with spaces in quotes"));
    }
    match name {
        "FORWARD_COMPATIBLE" => {
            draft.forward_compatible = value == "1";
            Ok(())
        }
        "GENERIC_CONFIG" | "PUSH_PEER_INFO" | "REMOTE_RANDOM_HOSTNAME" | "SERVER_POLL_TIMEOUT" => {
            draft.notice(&statement.place, "setenv", &format!("{name} means nothing here"));
            Ok(())
        }
        name => add_variable(draft, name, value),
    }
}

pub(super) fn setenv_safe(draft: &mut Draft, statement: &Statement) -> Applied {
    let name = format!("OPENVPN_{}", statement.param(1).unwrap_or_default());
    add_variable(draft, &name, statement.param(2).unwrap_or_default())
}

fn add_variable(draft: &mut Draft, name: &str, value: &str) -> Applied {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Fault::new(name, "is no name of a variable", "expected letters, digits and underscores"));
    }
    if value.chars().any(char::is_control) {
        return Err(Fault::new(value, "contains control characters", "expected printable text"));
    }
    draft.settings.setenv.push((name.to_owned(), value.to_owned()));
    Ok(())
}

/// The words of a command, the first of them the path of a file that is safe to run as root.
fn command(draft: &Draft, text: &str) -> Result<Vec<String>, Fault> {
    let mut words = grammar::split_words(text)?;
    let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
        return Err(Fault::new(text, "names no command", "expected a file and its arguments in quotes"));
    };
    let path = draft.path(program)?;
    runnable(&path, program)?;
    if let Some(path) = path.to_str() {
        path.clone_into(program);
    }
    Ok(words)
}

/// Symbolic links are followed: it is the file that runs which must be safe.
fn runnable(path: &Path, word: &str) -> Applied {
    let metadata = std::fs::metadata(path).map_err(|error| {
        let error = Error::new(Exit::NoInput, shown_path(path), error);
        Fault::new(word, error.to_string(), "expected an executable file").exit(Exit::NoInput)
    })?;
    let fault =
        |cause: String, expected: &str| Err(Fault::new(word, cause, expected).exit(Exit::NoPermission));
    if !metadata.is_file() {
        return fault(format!("is {}", file::kind(metadata.file_type())), "expected an executable file");
    }
    let (owner, mode) = (Uid::from_raw(metadata.uid()), metadata.mode());
    if mode & 0o111 == 0 {
        return fault("is not executable".to_owned(), "chmod 755 it");
    }
    if mode & 0o022 != 0 {
        return fault(
            format!("can be changed by group or others (mode {:04o})", mode & 0o7777),
            "chmod 755 it",
        );
    }
    if ![Uid::from_raw(0), Uid::current(), Uid::effective()].contains(&owner) {
        return fault(format!("belongs to uid {owner}"), "chown it to root");
    }
    Ok(())
}

/// OpenVPN runs no script below level 2. Said explicitly, that holds here too; said not at all, `up` is wish enough.
pub(super) fn finish(draft: &mut Draft) {
    let Some((name, place)) =
        ["up", "down"].into_iter().find_map(|name| Some((name, draft.place(name)?.clone())))
    else {
        return;
    };
    match draft.script_security {
        None => draft.notice(
            &place,
            name,
            "runs although script-security is not given; script-security 2 says so",
        ),
        Some(0 | 1) => {
            let level = draft.script_security.unwrap_or_default().to_string();
            let cause = format!("forbids the script that {name} asks for");
            draft.fault("script-security", Fault::new(level, cause, "scripts need script-security 2"));
        }
        Some(_) => {}
    }
}
