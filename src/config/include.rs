//! Configuration files on disk: `config FILE` and `cd DIR` while they are read.

use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{SFlag, fstat};
use zeroize::Zeroizing;

use super::file;
use super::grammar::{self, Statement};
use super::key;
use super::problem::{Fault, Place, Problem, shown_path};
use crate::error::{Error, Exit, Result};

/// Bytes in a configuration file.
pub const MAX_FILE: usize = 1 << 20;
/// How deep `config` may nest.
pub const MAX_DEPTH: usize = 10;

/// Whether `--cd` may name `dir`: an existing directory, absolute, without `.` and `..`.
///
/// # Errors
/// `EX_CONFIG` for the form, `EX_NOINPUT` if there is no such directory.
pub fn check_cd(dir: &Path) -> Result<()> {
    let act = || format!("cd {}", dir.display());
    if !dir.is_absolute() {
        return Err(Error::new(Exit::Config, act(), "is not absolute").advise("start it with /"));
    }
    // `Path` itself swallows a `.` in the middle, so the words between the slashes are looked at.
    let dots =
        dir.as_os_str().as_encoded_bytes().split(|byte| *byte == b'/').any(|c| c == b"." || c == b"..");
    if dots {
        return Err(Error::new(Exit::Config, act(), "contains . or ..").advise("write the directory itself"));
    }
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) => Err(Error::new(
            Exit::NoInput,
            act(),
            format!("is {}, not a directory", file::kind(metadata.file_type())),
        )),
        Err(error) => Err(Error::new(Exit::NoInput, act(), error)),
    }
}

/// `name` as seen from `base`, without a leading `./`.
pub(super) fn resolve_path(base: &Path, name: &Path) -> PathBuf {
    base.join(name).components().filter(|component| *component != Component::CurDir).collect()
}

/// What the files hold.
pub(super) struct Sources {
    /// Where relative names are taken from.
    pub(super) base: PathBuf,
    /// Everything in the order of reading; no `config` and no `cd` among them.
    pub(super) statements: Vec<Statement>,
    /// Every error of reading and of grammar.
    pub(super) problems: Vec<Problem>,
    base_is_fixed: bool,
    too_deep: bool,
}

impl Sources {
    /// Nothing read yet. `base` is the directory of `--cd`, if it was given.
    pub(super) fn new(base: Option<&Path>) -> Self {
        let cwd = || std::env::current_dir().unwrap_or_default();
        Self {
            base: base.map_or_else(cwd, Path::to_path_buf),
            statements: Vec::new(),
            problems: Vec::new(),
            base_is_fixed: base.is_some(),
            too_deep: false,
        }
    }

    /// Reads `name` and what it includes. `place` is where it was named.
    pub(super) fn read(&mut self, name: &str, place: &Place) {
        self.read_nested(name, place, 1);
    }

    fn read_nested(&mut self, name: &str, place: &Place, depth: usize) {
        if depth > MAX_DEPTH {
            // Once is enough: a file that includes itself twice would end in a thousand reports.
            self.too_deep = true;
            let fault =
                Fault::new(name, "is nested too deep", format!("expected {MAX_DEPTH} levels at most"));
            return self.problems.push(fault.at(place, "config"));
        }
        let text = match read_text(&self.base, name) {
            Ok(text) => text,
            Err(fault) => return self.problems.push(fault.at(place, "config")),
        };
        let (statements, problems) = grammar::parse(name, &text.bytes);
        self.problems.extend(problems);
        for statement in statements {
            if self.too_deep {
                return;
            }
            self.take(statement, &text, depth);
        }
    }

    fn take(&mut self, statement: Statement, text: &Text, depth: usize) {
        match (statement.name(), statement.params()) {
            ("config", [name]) => self.read_nested(name, &statement.place, depth + 1),
            ("cd", [dir]) => {
                if let Err(fault) = self.change_base(dir) {
                    self.problems.push(fault.at(&statement.place, "cd"));
                }
            }
            (_, _) => {
                // Behind the first directive a `cd` would come too late.
                self.base_is_fixed = true;
                if let Some(fault) = text.exposed.as_ref().filter(|_| statement.inline.is_some()) {
                    self.problems.push(fault.clone().at(&statement.place, "secret"));
                }
                self.statements.push(statement);
            }
        }
    }

    fn change_base(&mut self, dir: &str) -> std::result::Result<(), Fault> {
        let path = Path::new(dir);
        if path == self.base {
            self.base_is_fixed = true;
            return Ok(());
        }
        if self.base_is_fixed {
            let expected = format!(
                "expected it as the first directive, or equal to the directory in use, {}",
                self.base.display()
            );
            return Err(Fault::new(dir, "comes too late", expected));
        }
        check_cd(path).map_err(|error| Fault::new("", error.to_string(), "").exit(error.exit()))?;
        self.base = path.to_path_buf();
        self.base_is_fixed = true;
        Ok(())
    }
}

/// A file's bytes, and why no key may stand in it, if so.
struct Text {
    bytes: Zeroizing<Vec<u8>>,
    exposed: Option<Fault>,
}

fn read_text(base: &Path, name: &str) -> std::result::Result<Text, Fault> {
    if name == "stdin" {
        return read_stdin();
    }
    if name.is_empty() {
        return Err(Fault::new("", "the name is empty", "expected a file"));
    }
    let path = resolve_path(base, Path::new(name));
    let unreadable = |error: io::Error| {
        let cause = Error::new(Exit::NoInput, shown_path(&path), error).to_string();
        Fault::new(name, cause, "").exit(Exit::NoInput)
    };
    let (file, metadata) = file::open(&path, true).map_err(unreadable)?;
    if !metadata.is_file() {
        let cause = format!("is {}", file::kind(metadata.file_type()));
        return Err(Fault::new(name, cause, "expected a regular file").exit(Exit::NoInput));
    }
    if metadata.len() > MAX_FILE as u64 {
        return Err(too_large(name));
    }
    let bytes = file::read_capped(file, MAX_FILE).map_err(unreadable)?.ok_or_else(|| too_large(name))?;
    let exposed = key::exposure(&metadata).map(|(cause, advice)| {
        Fault::new("", format!("a file that holds a key {cause}"), advice.replace("FILE", name))
            .exit(Exit::NoPermission)
    });
    Ok(Text { bytes, exposed })
}

fn read_stdin() -> std::result::Result<Text, Fault> {
    let unreadable = |error: io::Error| Fault::new("stdin", error.to_string(), "").exit(Exit::NoInput);
    let stdin = io::stdin();
    let mode = fstat(stdin.as_fd()).map_err(|errno| unreadable(errno.into()))?.st_mode;
    if SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFSOCK {
        // Under a super-server this is the tunnel's own socket.
        return Err(Fault::new("stdin", "is a socket", "name a file").exit(Exit::NoInput));
    }
    let bytes = file::read_capped(stdin.lock(), MAX_FILE).map_err(unreadable)?;
    Ok(Text { bytes: bytes.ok_or_else(|| too_large("stdin"))?, exposed: None })
}

fn too_large(name: &str) -> Fault {
    Fault::new(name, "is larger than 1 MiB", "expected a configuration file").exit(Exit::NoInput)
}
