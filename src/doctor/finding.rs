//! What was found, and how it is printed.

use std::path::{Path, PathBuf};

use super::excerpt::{Texts, excerpt};
use super::tunnel::Tunnel;
use crate::config::problem::Place;
use crate::error::{Exit, one_line};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// It does not work.
    Error,
    /// It works today, or may be meant so.
    Warning,
    /// It has no effect.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    place: Place,
    /// The word to underline; empty for the first of the line.
    word: String,
    text: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    /// Adds a finding at `place`, unless it is there already. `text` says what is wrong, and behind a semicolon what
    /// to do.
    pub(super) fn add(&mut self, severity: Severity, place: &Place, word: &str, text: &str) {
        let known = self.0.iter().any(|it| it.place == *place && it.text == text);
        if !known {
            let (place, word, text) = (place.clone(), word.to_owned(), text.to_owned());
            self.0.push(Finding { severity, place, word, text });
        }
    }

    /// The lines to print and the exit code: file by file, in the order in which they were asked for, then what was
    /// found elsewhere. A file without an error is `ok`.
    pub(super) fn finish(mut self, tunnels: &[Tunnel]) -> (Vec<String>, Exit) {
        // Stable: of one line, what was found first stays first.
        self.0.sort_by_key(|finding| finding.place.line);
        let (mut lines, mut texts) = (Vec::new(), Texts::default());
        let failed = self.0.iter().any(|finding| finding.severity == Severity::Error);
        for tunnel in tunnels.iter().filter(|tunnel| tunnel.asked) {
            let (mine, others): (Vec<_>, Vec<_>) =
                self.0.into_iter().partition(|finding| tunnel.reads(&finding.place.file));
            self.0 = others;
            for finding in &mine {
                finding.print(&tunnel.bases(), &mut texts, &mut lines);
            }
            if !mine.iter().any(|finding| finding.severity == Severity::Error) {
                lines.push(format!("{}: ok", tunnel.name));
            }
        }
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        let bases: Vec<PathBuf> = tunnels.iter().flat_map(Tunnel::bases).collect();
        for finding in &self.0 {
            finding.print(&bases, &mut texts, &mut lines);
        }
        (lines, if failed { Exit::Config } else { Exit::Ok })
    }
}

impl Finding {
    fn print(&self, bases: &[impl AsRef<Path>], texts: &mut Texts, lines: &mut Vec<String>) {
        let Self { severity, place, word, text } = self;
        lines.push(one_line(&format!("{place}: {}: {text}", severity.word())));
        let text = texts.get(bases, &place.file);
        lines.extend(excerpt(text, place.line, word).into_iter().flatten());
    }
}
