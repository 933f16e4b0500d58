//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Exit, one_line};

/// Words longer than this many characters are cut in messages.
const SHOWN: usize = 48;
/// So many hexadecimal digits in a row may be a part of a key.
const KEY_DIGITS: usize = 16;
/// More problems than this are not collected: it is not a configuration.
pub(super) const MAX_PROBLEMS: usize = 50;

/// Where a statement stands: a line of a file, or the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name as written.
    pub file: String,
    /// The line, counted from 1; 0 is the file as a whole.
    pub line: usize,
}

impl Place {
    /// Line `line` (from 1; 0 for the whole file) of `file`.
    pub fn new(file: impl Into<String>, line: usize) -> Self {
        Self { file: file.into(), line }
    }

    /// The command line.
    pub fn command_line() -> Self {
        Self::new("command line", 0)
    }

    /// Whether this is the command line.
    pub fn is_command_line(&self) -> bool {
        *self == Self::command_line()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Why a value is not accepted; a [`Problem`] once its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The word at fault; empty where it is the directive itself.
    pub word: String,
    /// What is wrong with it.
    pub cause: String,
    /// What was expected, or what to do.
    pub expected: String,
    /// How the process ends because of it.
    pub exit: Exit,
}

impl Fault {
    /// `word` is wrong because of `cause`; `expected` says what would be right.
    pub fn new(word: impl Into<String>, cause: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { word: word.into(), cause: cause.into(), expected: expected.into(), exit: Exit::Config }
    }

    /// Ends the process with `exit` instead of `EX_CONFIG`.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The fault as found in `directive` (empty for none) at `place`.
    pub fn at(self, place: &Place, directive: &str) -> Problem {
        Problem { place: place.clone(), directive: directive.to_owned(), fault: self }
    }
}

/// One error of a configuration.
///
/// Shown as `tun.conf:4: ifconfig "10.8.0.300": is no address; expected ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The directive that stands there; empty where none was recognised.
    pub directive: String,
    /// What.
    pub fault: Fault,
}

impl Problem {
    /// How the process ends when this is the first problem.
    pub fn exit(&self) -> Exit {
        match self.fault.exit {
            Exit::Config if self.place.is_command_line() => Exit::Usage,
            exit => exit,
        }
    }

    /// The problem without its place.
    pub fn message(&self) -> String {
        let (object, Fault { cause, expected, .. }) = (self.object(), &self.fault);
        let separator = if expected.is_empty() { "" } else { "; " };
        let colon = if object.is_empty() { "" } else { ": " };
        format!("{object}{colon}{cause}{separator}{expected}")
    }

    /// Place, directive and word.
    fn subject(&self) -> String {
        let colon = if self.object().is_empty() { "" } else { ": " };
        format!("{}{colon}{}", self.place, self.object())
    }

    /// Directive and word.
    fn object(&self) -> String {
        let (directive, word) = (&self.directive, &self.fault.word);
        match (directive.is_empty(), word.is_empty() || word == directive) {
            (true, true) => String::new(),
            (true, false) => shown(word),
            (false, true) => directive.clone(),
            (false, false) => format!("{directive} {}", shown(word)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&format!("{}: {}", self.place, self.message())))
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let error = Error::new(problem.exit(), problem.subject(), &problem.fault.cause);
        match problem.fault.expected {
            expected if expected.is_empty() => error,
            expected => error.advise(expected),
        }
    }
}

/// The last one that is collected.
pub(super) fn too_many(place: &Place) -> Problem {
    Fault::new("", "too many problems", "the rest is not shown").at(place, "")
}

/// `word` for a message: quoted, cut, control characters escaped.
///
/// A line of a key that was pasted into a configuration is not repeated, whatever stands around it: the message may go
/// to a log that others read.
pub fn shown(word: &str) -> String {
    let digits = hexadecimal_run(word);
    if digits >= KEY_DIGITS {
        return format!("({digits} hexadecimal digits, not shown)");
    }
    let cut: String = word.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let more = if word.chars().nth(SHOWN).is_some() { "..." } else { "" };
    format!("\"{cut}{more}\"")
}

/// Whether `word` may be a line of a key, or hold one.
pub fn like_a_key(word: &str) -> bool {
    hexadecimal_run(word) >= KEY_DIGITS
}

/// The name of a file for a message. A line of a key that stands where a name belongs is not repeated.
pub(super) fn shown_path(path: &Path) -> String {
    let name = path.display().to_string();
    match hexadecimal_run(&name) {
        digits if digits < KEY_DIGITS => name,
        digits => {
            let parent = path.parent().map(|dir| dir.display().to_string());
            let parent = parent.filter(|dir| !like_a_key(dir)).unwrap_or_default();
            format!("{}/({digits} hexadecimal digits, not shown)", parent.trim_end_matches('/'))
        }
    }
}

fn hexadecimal_run(word: &str) -> usize {
    word.split(|letter: char| !letter.is_ascii_hexdigit()).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_place_directive_word_cause_and_expectation() {
        let problem =
            Fault::new("10x", "is no number", "expected 1 to 9").at(&Place::new("a.conf", 3), "ping");
        assert_eq!(problem.to_string(), "a.conf:3: ping \"10x\": is no number; expected 1 to 9");
        assert_eq!(problem.exit(), Exit::Config);
        let error = Error::from(problem.clone());
        assert_eq!(error.to_string(), problem.to_string());
    }

    #[test]
    fn a_problem_of_the_command_line_is_a_usage_error() {
        let problem = Fault::new("", "is missing", "").at(&Place::command_line(), "dev");
        assert_eq!(
            (problem.to_string().as_str(), problem.exit()),
            ("command line: dev: is missing", Exit::Usage)
        );
    }

    #[test]
    fn words_are_shown_without_key_material_and_control_characters() {
        assert_eq!(shown("0123456789abcdef0123456789abcdef"), "(32 hexadecimal digits, not shown)");
        assert_eq!(shown("secret=0123456789abcdef!"), "(16 hexadecimal digits, not shown)");
        assert_eq!(shown("a\x1b[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(shown(&"x ".repeat(100)).len(), SHOWN + 5);
    }
}
