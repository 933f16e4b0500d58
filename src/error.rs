//! Errors that a person can act on, and the exit codes that go with them.

use std::borrow::Cow;
use std::fmt;

/// The result of everything that can fail in front of a person.
pub type Result<T> = std::result::Result<T, Error>;

/// How the process ends, by the names of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// `EX_OK`: the tunnel ended as it should.
    Ok = 0,
    /// `EX_USAGE`: the command line is wrong.
    Usage = 64,
    /// `EX_DATAERR`: a key or state file is malformed.
    Data = 65,
    /// `EX_NOINPUT`: a file that was named cannot be read.
    NoInput = 66,
    /// `EX_NOUSER`: a user or group does not exist.
    NoUser = 67,
    /// `EX_NOHOST`: a host name is unknown.
    NoHost = 68,
    /// `EX_UNAVAILABLE`: something needed is missing or in use.
    Unavailable = 69,
    /// `EX_SOFTWARE`: a fault of this program.
    Software = 70,
    /// `EX_OSERR`: the system refused.
    Os = 71,
    /// `EX_CANTCREAT`: a file cannot be made.
    CannotCreate = 73,
    /// `EX_IOERR`: reading or writing failed.
    Io = 74,
    /// `EX_TEMPFAIL`: somebody else holds it for the moment.
    TempFail = 75,
    /// `EX_NOPERM`: a permission or capability is missing.
    NoPermission = 77,
    /// `EX_CONFIG`: the configuration is wrong.
    Config = 78,
}

/// What failed: the act and its object, the cause, and what to do about it.
///
/// Shown as `open /dev/net/tun: permission denied; needs CAP_NET_ADMIN`.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    exit: Exit,
    act: String,
    cause: String,
    advice: Option<Cow<'static, str>>,
}

impl Error {
    /// `act` names what was tried and on what ("open /dev/net/tun"), `cause` why it failed.
    pub fn new(exit: Exit, act: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { exit, act: act.into(), cause: plain_cause(&cause.to_string()), advice: None }
    }

    /// Adds what to do about it, as a short clause without a full stop.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The code the process exits with when this error ends it.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = self.advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}"));
        f.write_str(&one_line(&format!("{}: {}{advice}", self.act, self.cause)))
    }
}

impl std::error::Error for Error {}

/// Letters of one line; RFC 3164 promises 1024 bytes of a record, and some split what is longer than 8 KiB.
const LONGEST: usize = 2000;

/// `text` as one line that shows what is in it, whatever a name or a peer has put there: what controls a terminal, ends
/// a line or turns the direction of letters is made visible, and what is too long is cut.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for (count, letter) in text.chars().enumerate() {
        if count == LONGEST {
            line.push_str("...");
            break;
        }
        if acts(letter) {
            line.push_str(&format!("\\x{:02x}", u32::from(letter)));
        } else {
            line.push(letter);
        }
    }
    line
}

/// Whether a letter does something instead of being seen (classes Cc, Zl, Zp and the marks of direction of Unicode).
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// An I/O error without the number that std appends, in lower case: it stands in mid-sentence.
fn plain_cause(cause: &str) -> String {
    let cause = cause.split(" (os error").next().unwrap_or(cause);
    let cause = match cause.split_once(": ") {
        // nix writes "EPERM: Operation not permitted".
        Some((code, text))
            if code.starts_with('E')
                && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) =>
        {
            text
        }
        _ => cause,
    };
    let mut letters = cause.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(letters).collect()
        }
        _ => cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_is_in_it() {
        assert_eq!(one_line("peer\n<30>forged\x1b[2J"), "peer\\x0a<30>forged\\x1b[2J");
        assert_eq!(one_line("a\u{2028}b\u{202e}c\u{85}"), "a\\x2028b\\x202ec\\x85");
        assert_eq!(one_line("ä€😀 \\x0a"), "ä€😀 \\x0a");
        assert_eq!(one_line(&"ä".repeat(3000)).chars().count(), LONGEST + 3);
        let error = Error::new(Exit::Os, "read a\nb", "c\rd").advise("e\x07");
        assert_eq!(error.to_string(), "read a\\x0ab: c\\x0dd; e\\x07");
    }

    #[test]
    fn an_error_names_the_act_the_cause_and_the_advice() {
        let denied = std::io::Error::from_raw_os_error(libc::EACCES);
        let error = Error::new(Exit::NoPermission, "open /dev/net/tun", denied).advise("needs CAP_NET_ADMIN");
        assert_eq!(error.to_string(), "open /dev/net/tun: permission denied; needs CAP_NET_ADMIN");
        let nix = Error::new(Exit::Os, "bind port 1417", nix::errno::Errno::EADDRINUSE);
        assert_eq!(nix.to_string(), "bind port 1417: address already in use");
    }
}
