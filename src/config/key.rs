//! The shared key: OpenVPN's static key file, read, checked, made.
//!
//! Comment lines, a header, 16 lines of 32 hexadecimal digits, a footer: 2048 bits. Files of OpenVPN work here and
//! ours work there. No message repeats what a key file holds.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, PipeReader, Read as _, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::file;
use super::problem::{like_a_key, shown_path};
use super::settings::Secret;
use crate::error::{Error, Exit, Result};

/// Bytes in a key.
pub const KEY_BYTES: usize = 256;
/// Bytes in a key file, at most; one as [`generate`] writes it has 636.
pub const MAX_KEY_FILE: usize = 16 * 1024;
const HEADER: &str = "-----BEGIN OpenVPN Static key V1-----";
const FOOTER: &str = "-----END OpenVPN Static key V1-----";
const LINE_BYTES: usize = 16;

/// 256 secret bytes, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct StaticKey(Box<[u8; KEY_BYTES]>);

impl StaticKey {
    /// The bytes. Whoever copies them wipes the copy.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey")
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing but white space.
    Empty,
    /// No line `-----BEGIN OpenVPN Static key V1-----`.
    NoHeader,
    /// No line `-----END OpenVPN Static key V1-----` behind it.
    NoFooter,
    /// Something else than hexadecimal digits in this line, counted from 1.
    BadCharacter(usize),
    /// This many digits, not 512.
    Digits(usize),
    /// All bytes are zero.
    Zero,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the key is empty"),
            Self::NoHeader => write!(f, "the line \"{HEADER}\" is missing"),
            Self::NoFooter => write!(f, "the line \"{FOOTER}\" is missing"),
            Self::BadCharacter(line) => write!(f, "line {line} holds something else than hexadecimal digits"),
            Self::Digits(n) => write!(f, "the key has {n} hexadecimal digits, not {}", 2 * KEY_BYTES),
            Self::Zero => write!(f, "the key is all zeros"),
        }
    }
}

/// The key that the configuration names.
///
/// # Errors
/// As [`read`]; `EX_DATAERR` for a malformed inline key.
pub fn load(secret: &Secret) -> Result<StaticKey> {
    match secret {
        Secret::File(path) => read(path),
        Secret::Inline(text) => {
            parse(text.as_bytes()).map_err(|fault| malformed("read the key in <secret>".to_owned(), fault))
        }
    }
}

/// A key that is not in the memory of this process: others are forked from it, and are to know no secret.
#[derive(Debug)]
pub enum Aside {
    /// Still in its file.
    File(PathBuf),
    /// An inline key, in a pipe. Whoever is forked and closes what is not its own cannot read it.
    Pipe(PipeReader),
}

/// Takes the key out of `secret`, and out of this process.
///
/// # Errors
/// As [`load`] for an inline key, a file is not looked at; `EX_OSERR` where there can be no pipe.
pub fn set_aside(secret: Secret) -> Result<Aside> {
    if let Secret::File(path) = secret {
        return Ok(Aside::File(path));
    }
    let key = load(&secret)?;
    let fail = |cause| Error::new(Exit::Os, "put the key aside", cause);
    let (reader, mut writer) = io::pipe().map_err(fail)?;
    // Far less than what a pipe holds without a reader.
    writer.write_all(key.as_bytes()).map_err(fail)?;
    Ok(Aside::Pipe(reader))
}

impl Aside {
    /// The key.
    ///
    /// # Errors
    /// As [`read`] for a key file.
    pub fn load(self) -> Result<StaticKey> {
        match self {
            Self::File(path) => read(&path),
            Self::Pipe(mut reader) => {
                let mut key = StaticKey(Box::new([0; KEY_BYTES]));
                let fail = |cause| Error::new(Exit::Os, "take the key back", cause);
                reader.read_exact(key.0.as_mut_slice()).map_err(fail)?;
                Ok(key)
            }
        }
    }
}

/// Reads a key file.
///
/// It must be a regular file with one name, owned by root or the effective user, of [`MAX_KEY_FILE`] bytes at most,
/// and closed to group and others. It is opened first and judged by its descriptor, so nobody can exchange it in
/// between; nothing about it can make this wait.
///
/// # Errors
/// `EX_NOINPUT` if it cannot be read, `EX_NOPERM` if others may have seen it, `EX_DATAERR` if it is malformed.
pub fn read(path: &Path) -> Result<StaticKey> {
    let act = || format!("read key {}", shown_path(path));
    let (file, metadata) = file::open(path, false).map_err(|error| unreadable(path, error))?;
    if let Some((exit, cause, advice)) = refusal(&metadata) {
        return Err(Error::new(exit, act(), cause).advise(advice.replace("FILE", &shown_path(path))));
    }
    let text =
        file::read_capped(file, MAX_KEY_FILE).map_err(|error| Error::new(Exit::NoInput, act(), error))?;
    let text = text.ok_or_else(|| Error::new(Exit::Data, act(), TOO_LARGE).advise("name a key file"))?;
    parse(&text).map_err(|fault| malformed(act(), fault))
}

/// The key in `text`. What stands before the header and behind the footer is ignored, as OpenVPN does.
///
/// # Errors
/// The first thing that is wrong with it, without any of its content.
pub fn parse(text: &[u8]) -> std::result::Result<StaticKey, Malformed> {
    if text.trim_ascii().is_empty() {
        return Err(Malformed::Empty);
    }
    let mut lines = text.split(|byte| *byte == b'\n').zip(1..);
    if !lines.any(|(line, _)| line.trim_ascii() == HEADER.as_bytes()) {
        return Err(Malformed::NoHeader);
    }
    let mut key = StaticKey(Box::new([0; KEY_BYTES]));
    let mut digits = 0;
    for (line, number) in lines {
        if line.trim_ascii() == FOOTER.as_bytes() {
            return finished(key, digits);
        }
        for byte in line.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            let value = (*byte as char).to_digit(16).ok_or(Malformed::BadCharacter(number))?;
            if let Some(byte) = key.0.get_mut(digits / 2) {
                *byte = *byte << 4 | value as u8;
            }
            digits += 1;
        }
    }
    Err(Malformed::NoFooter)
}

/// The file for a key of these random bytes: 636 bytes in 21 lines.
pub fn generate(random: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    const LENGTH: usize = 636;
    // Never grown, so that no copy stays behind.
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    text.push_str("#\n# 2048 bit OpenVPN static key\n#\n");
    text.push_str(HEADER);
    for (i, byte) in random.iter().enumerate() {
        if i % LINE_BYTES == 0 {
            text.push('\n');
        }
        text.extend(
            [byte >> 4, byte & 15].iter().filter_map(|nibble| char::from_digit(u32::from(*nibble), 16)),
        );
    }
    text.push('\n');
    text.push_str(FOOTER);
    text.push('\n');
    text
}

/// Writes a new key file, mode 0600, to the disk. Never over an existing file.
///
/// # Errors
/// `EX_CANTCREAT` if it exists or cannot be made, `EX_IOERR` if it cannot be written; then it is removed again.
pub fn write_new(path: &Path, text: &str) -> Result<()> {
    let act = || format!("create key {}", path.display());
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::new(Exit::CannotCreate, act(), error)
            .advise("a key is never overwritten: remove the file or choose another name"),
        _ => Error::new(Exit::CannotCreate, act(), error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a key is worse than none; that the removal may fail too changes nothing.
        let _ = std::fs::remove_file(path);
        Error::new(Exit::Io, act(), error)
    })
}

const TOO_LARGE: &str = "is larger than 16 KiB";

/// Why the file of this descriptor cannot be a key, and what to do about it.
fn refusal(metadata: &Metadata) -> Option<(Exit, String, &'static str)> {
    if !metadata.is_file() {
        let cause = format!("is {}, not a regular file", file::kind(metadata.file_type()));
        return Some((Exit::NoInput, cause, "name the key file itself"));
    }
    if metadata.nlink() != 1 {
        let cause = format!("has {} names (hard links)", metadata.nlink());
        return Some((Exit::NoPermission, cause, "copy it to a file of its own"));
    }
    if let Some((cause, advice)) = exposure(metadata) {
        return Some((Exit::NoPermission, cause, advice));
    }
    (metadata.len() > MAX_KEY_FILE as u64).then(|| (Exit::Data, TOO_LARGE.to_owned(), "name a key file"))
}

/// Who else may have a hand on a file that holds a key, and what to do about it (`FILE` stands for its name).
pub(super) fn exposure(metadata: &Metadata) -> Option<(String, &'static str)> {
    let (owner, mode) = (Uid::from_raw(metadata.uid()), metadata.mode() & 0o7777);
    if !owner.is_root() && owner != Uid::effective() {
        return Some((format!("belongs to uid {owner}"), "chown root FILE"));
    }
    if mode & 0o077 != 0 {
        return Some((format!("is open to group or others (mode {mode:04o})"), "chmod 600 FILE"));
    }
    None
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let act = format!("read key {}", shown_path(path));
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            Error::new(Exit::NoPermission, act, "is a symbolic link").advise("name the key file itself")
        }
        Some(libc::ENXIO) => Error::new(Exit::NoInput, act, "is a socket or a device without a driver")
            .advise("name the key file itself"),
        Some(libc::ENOENT | libc::ENAMETOOLONG) if like_a_key(&path.to_string_lossy()) => {
            Error::new(Exit::NoInput, act, error).advise(
                "a key itself belongs between <secret> and </secret>, or into a file that secret names",
            )
        }
        Some(libc::ENOENT) => Error::new(Exit::NoInput, act, error)
            .advise("make one with naptun --genkey --secret FILE, and copy it to both ends"),
        _ => Error::new(Exit::NoInput, act, error),
    }
}

fn finished(key: StaticKey, digits: usize) -> std::result::Result<StaticKey, Malformed> {
    if digits != 2 * KEY_BYTES {
        return Err(Malformed::Digits(digits));
    }
    if key.0.iter().all(|byte| *byte == 0) {
        return Err(Malformed::Zero);
    }
    Ok(key)
}

fn malformed(act: String, fault: Malformed) -> Error {
    Error::new(Exit::Data, act, fault).advise("both ends need the same file, unchanged")
}
