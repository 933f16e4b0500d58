//! OpenVPN's configuration grammar: bytes to statements.
//!
//! A line is a directive and its parameters, separated by white space. `#` and `;` start a comment where a
//! word could start. In `"..."` and outside of quotes a backslash takes the special meaning from a quote, a
//! backslash, or white space; in `'...'` nothing is special. `<name>` alone on a line starts an inline block
//! that ends with `</name>`. Where OpenVPN drops a line with a warning, this is an error.

use std::fmt;

use zeroize::Zeroizing;

use super::problem::{Fault, MAX_PROBLEMS, Place, Problem, like_a_key, too_many};

/// Bytes in a line, without its end.
pub const MAX_LINE: usize = 256;
/// Words in a line, the directive among them.
pub const MAX_WORDS: usize = 16;
/// The line that starts a static key.
const KEY_HEADER: &str = "-----BEGIN OpenVPN Static key V1-----";

/// One directive as written.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    /// The directive, without leading dashes, and its parameters. Never empty.
    pub words: Vec<String>,
    /// The text of an inline block, wiped when dropped. Empty for every block but `<secret>`.
    pub inline: Option<Zeroizing<String>>,
    /// Where it stands.
    pub place: Place,
}

impl Statement {
    /// The directive's name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The parameters.
    pub fn params(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Parameter `n`, counted from 1.
    pub fn param(&self, n: usize) -> Option<&str> {
        self.words.get(n).map(String::as_str)
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inline = if self.inline.is_some() { " <...>" } else { "" };
        write!(f, "{}: {:?}{inline}", self.place, self.words)
    }
}

/// The statements of `text`, which is called `file` in messages, and every error in it.
///
/// Text that is not UTF-8, holds a NUL byte, or is a key file gives one problem for that.
pub fn parse(file: &str, text: &[u8]) -> (Vec<Statement>, Vec<Problem>) {
    let mut parser = Parser { file, statements: Vec::new(), problems: Vec::new() };
    match plain_text(text) {
        Ok(text) => parser.run(text),
        Err((line, fault)) => parser.problems.push(fault.at(&Place::new(file, line), "")),
    }
    (parser.statements, parser.problems)
}

/// Splits one line, or the command of `up`, into words.
pub fn split_words(line: &str) -> Result<Vec<String>, Fault> {
    let mut words = Words::default();
    for c in line.chars() {
        if !words.take(c)? {
            break;
        }
    }
    words.finish()
}

/// `word` in quotes such that [`split_words`] gives it back.
pub fn quote(word: &str) -> String {
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// `text` as UTF-8 without a byte order mark, or the line and the reason why it is none.
fn plain_text(text: &[u8]) -> Result<&str, (usize, Fault)> {
    let line_of = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = line_of(text.get(..error.valid_up_to()).unwrap_or_default());
        (line, Fault::new("", "is not UTF-8 text", "expected a configuration file"))
    })?;
    if let Some((before, _)) = text.split_once('\0') {
        let fault = Fault::new("", "contains a NUL byte", "expected a configuration file");
        return Err((line_of(before.as_bytes()), fault));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

struct Parser<'a> {
    file: &'a str,
    statements: Vec<Statement>,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn run(&mut self, text: &str) {
        let mut lines = Lines { rest: text, number: 0 };
        while let Some(line) = lines.next() {
            let place = Place::new(self.file, lines.number);
            if self.problems.len() >= MAX_PROBLEMS {
                return self.problems.push(too_many(&place));
            }
            if line.trim() == KEY_HEADER {
                let expected = "put it between <secret> and </secret>, or name the file with secret";
                return self.problems.push(Fault::new("", "a key starts here", expected).at(&place, ""));
            }
            match words_of(line) {
                Ok(words) => self.statement(words, place, &mut lines),
                Err(fault) => self.problems.push(fault.at(&place, "")),
            }
        }
    }

    fn statement(&mut self, mut words: Vec<String>, place: Place, lines: &mut Lines<'_>) {
        let Some(first) = words.first() else { return };
        let mut inline = None;
        if let Some(name) = inline_name(first).filter(|_| words.len() == 1) {
            let Some(body) = lines.block(&name) else {
                let fault = Fault::new("", "its end is missing", format!("expected a line </{name}>"));
                return self.problems.push(fault.at(&place, &format!("<{name}>")));
            };
            inline = Some(Zeroizing::new(if name == "secret" { body.to_owned() } else { String::new() }));
            words = vec![name];
        } else if let Some(bare) = first.strip_prefix("--").filter(|bare| !bare.is_empty()).map(str::to_owned)
        {
            words.splice(..1, [bare]);
        }
        self.statements.push(Statement { words, inline, place });
    }
}

fn words_of(line: &str) -> Result<Vec<String>, Fault> {
    if line.len() > MAX_LINE {
        let start: String = line.split_whitespace().next().unwrap_or_default().to_owned();
        let cause = format!("the line has {} bytes", line.len());
        return Err(Fault::new(start, cause, format!("expected {MAX_LINE} at most")));
    }
    let words = split_words(line)?;
    match words.get(MAX_WORDS) {
        None => Ok(words),
        Some(extra) => {
            let cause = format!("the line has {} words", words.len());
            Err(Fault::new(extra, cause, format!("expected {MAX_WORDS} at most")))
        }
    }
}

/// `name` of `<name>`. Messages repeat it, so a line of a key is none.
fn inline_name(word: &str) -> Option<String> {
    let name = word.strip_prefix('<')?.strip_suffix('>')?;
    (!name.is_empty() && !name.starts_with('/') && !like_a_key(name)).then(|| name.to_owned())
}

/// The lines of a text, without their ends.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.number += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// Everything up to the line that starts with `</name>`, which is consumed; `None` if there is none.
    fn block(&mut self, name: &str) -> Option<&'a str> {
        let (start, end) = (self.rest, format!("</{name}>"));
        loop {
            let length = start.len() - self.rest.len();
            if self.next()?.trim_start().starts_with(&end) {
                return start.get(..length);
            }
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Bare,
    Double,
    Single,
}

#[derive(Default)]
struct Words {
    state: State,
    backslash: bool,
    word: String,
    words: Vec<String>,
}

impl Words {
    /// Takes the next character; false when a comment starts.
    fn take(&mut self, c: char) -> Result<bool, Fault> {
        if c == '\\' && !self.backslash && self.state != State::Single {
            self.backslash = true;
            return Ok(true);
        }
        if std::mem::take(&mut self.backslash) {
            self.escaped(c)?;
            return Ok(true);
        }
        match (self.state, c) {
            (State::Between, '#' | ';') => return Ok(false),
            (State::Between, '"') => self.state = State::Double,
            (State::Between, '\'') => self.state = State::Single,
            (State::Between, c) if is_space(c) => {}
            (State::Between, c) => {
                self.state = State::Bare;
                self.word.push(c);
            }
            (State::Bare, c) if is_space(c) => self.end_word(),
            (State::Double, '"') | (State::Single, '\'') => self.end_word(),
            (_, c) => self.word.push(c),
        }
        Ok(true)
    }

    fn escaped(&mut self, c: char) -> Result<(), Fault> {
        if !(matches!(c, '\\' | '"') || is_space(c)) {
            let expected = "expected a backslash, a double quote or a space behind it";
            return Err(Fault::new(format!("\\{c}"), "is a bad use of the backslash", expected));
        }
        match self.state {
            // OpenVPN skips an escaped space where no word has started.
            State::Between if is_space(c) => return Ok(()),
            State::Between => self.state = State::Bare,
            _ => {}
        }
        self.word.push(c);
        Ok(())
    }

    fn end_word(&mut self) {
        self.words.push(std::mem::take(&mut self.word));
        self.state = State::Between;
    }

    fn finish(mut self) -> Result<Vec<String>, Fault> {
        if self.backslash {
            let expected = "expected a backslash, a double quote or a space behind it";
            return Err(Fault::new("\\", "nothing follows the backslash", expected));
        }
        match self.state {
            State::Double => Err(Fault::new(self.word, "its quotation is not closed", "expected \"")),
            State::Single => Err(Fault::new(self.word, "its quotation is not closed", "expected '")),
            State::Bare => {
                self.end_word();
                Ok(self.words)
            }
            State::Between => Ok(self.words),
        }
    }
}

/// `isspace` of the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}
