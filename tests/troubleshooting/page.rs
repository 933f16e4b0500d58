//! The page: entries in the form symptom, log line, cause, cure.

use std::fs;

use super::source::{Literal, says};

/// What stands in a line for something that differs each time.
const PLACEHOLDERS: &[&str] = &[
    "ADDRESS", "DEVICE", "FILE", "HOST", "LINE", "NAME", "NETWORK", "NUMBER", "PEER", "PID", "PLACE", "PORT",
    "REASON", "USER", "WORD",
];

/// What the kernel and the C library call it.
const SYSTEM: &[&str] = &[
    "no such file or directory",
    "permission denied",
    "operation not permitted",
    "no such device",
    "read-only file system",
    "no space left on device",
    "file exists",
    "invalid argument",
    "failed to lookup address information",
    "SIGHUP",
    "SIGTERM",
];

pub struct Page {
    pub entries: Vec<Entry>,
}

/// `### symptom`, then lines in a fence, then paragraphs.
pub struct Entry {
    pub symptom: String,
    pub lines: Vec<String>,
    pub text: String,
}

impl Page {
    pub fn read() -> Self {
        let text = fs::read_to_string("doc/troubleshooting.md").unwrap();
        let text = text.replace("\n## ", "\n### ## ");
        let entries = text.split("\n### ").skip(1).filter(|entry| !entry.starts_with("## ")).map(Entry::new);
        Self { entries: entries.collect() }
    }

    pub fn lines(&self) -> Vec<String> {
        self.entries.iter().flat_map(|entry| entry.lines.clone()).collect()
    }
}

impl Entry {
    fn new(text: &str) -> Self {
        let fenced = text.split("```").skip(1).step_by(2);
        let lines = fenced.flat_map(|fence| fence.lines().map(str::trim).filter(|line| !line.is_empty()));
        Self {
            symptom: text.lines().next().unwrap().to_owned(),
            lines: lines.map(str::to_owned).collect(),
            text: text.to_owned(),
        }
    }
}

/// Whether all that a literal always says stands in the line, in its order.
pub fn covers(literal: &Literal, line: &str) -> bool {
    !places(literal, line).is_empty()
}

/// What is left of a line without what the literals say, without placeholders and what the system says.
pub fn left_over(line: &str, literals: &[&Literal]) -> String {
    let mut said = vec![false; line.len()];
    let mut strike = |start: usize, end: usize| said[start..end].fill(true);
    for literal in literals {
        places(literal, line).iter().for_each(|(start, end)| strike(*start, *end));
    }
    for known in PLACEHOLDERS.iter().chain(SYSTEM) {
        line.match_indices(known).for_each(|(start, _)| strike(start, start + known.len()));
    }
    let left: String = line.char_indices().filter(|(at, _)| !said[*at]).map(|(_, letter)| letter).collect();
    left.trim_matches([' ', ':', ';', '/', '-']).replace([' ', ':', ';', '"', '='], "")
}

/// Where the parts of a literal stand in a line, each behind the one before it; none if one is missing. What says next
/// to nothing has to be a word of its own.
fn places(literal: &Literal, line: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut from = 0;
    for part in literal.iter().filter(|part| says(literal) <= 2 || !part.trim().is_empty()) {
        let Some(at) = line[from..].find(part.as_str()) else { return Vec::new() };
        places.push((from + at, from + at + part.len()));
        from += at + part.len();
    }
    let letter = |at: usize| line[at..].starts_with(|letter: char| letter.is_alphanumeric());
    let a_word = |(start, end): &(usize, usize)| !(*start > 0 && letter(*start - 1) || letter(*end));
    if says(literal) >= 3 || places.iter().all(a_word) { places } else { Vec::new() }
}

/// Whether a line that was really said is this one of the page. A placeholder stands for anything, and so does what the
/// system says.
pub fn is_like(said: &str, line: &str) -> bool {
    let mut pattern = line.to_owned();
    for placeholder in PLACEHOLDERS.iter().chain(SYSTEM) {
        pattern = pattern.replace(placeholder, "\0");
    }
    let mut parts = pattern.split('\0');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = if part.is_empty() { "" } else { &rest[at + part.len()..] };
    }
    rest.is_empty()
}
