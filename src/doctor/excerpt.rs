//! The line of a file that a finding is about, and the carets under its word.

use std::ops::Range;
use std::path::Path;

use unicode_width::UnicodeWidthStr as _;
use zeroize::Zeroizing;

use crate::config::examine;
use crate::config::problem::like_a_key;
use crate::error::one_line;

/// What stands in front of an excerpt: no finding begins so.
const INDENT: &str = "    ";
/// Letters of a line that are shown at most; a configuration's line has 256 bytes.
const LONGEST: usize = 256;
/// Stands for a line that may be part of a key.
const HIDDEN: &str = "(not shown: it may hold a key)";

/// Files that were read already, wiped at the end.
#[derive(Default)]
pub(super) struct Texts(Vec<(String, Zeroizing<String>)>);

impl Texts {
    /// The text of `file`, seen from the first of `bases` where it is; empty where it cannot be read.
    pub(super) fn get(&mut self, bases: &[impl AsRef<Path>], file: &str) -> &str {
        let at = self.0.iter().position(|(name, _)| name == file).unwrap_or_else(|| {
            let read = |base: &Path| examine::text(base, file);
            let root = Path::new("/");
            let text = match file.starts_with('/') {
                true => read(root),
                false => bases.iter().find_map(|base| read(base.as_ref())),
            };
            self.0.push((file.to_owned(), text.unwrap_or_default()));
            self.0.len() - 1
        });
        self.0.get(at).map_or("", |(_, text)| text)
    }
}

/// Line `number` (from 1) of `text`, and the carets under `word`; nothing where there is no such line. A line that
/// may hold a key is not repeated.
pub(super) fn excerpt(text: &str, number: usize, word: &str) -> Option<Vec<String>> {
    let line = text.lines().nth(number.checked_sub(1)?)?;
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if line.trim().is_empty() {
        return None;
    }
    if is_secret(text, number) {
        return Some(vec![format!("{INDENT}{HIDDEN}")]);
    }
    let place = find(line, word);
    let (before, marked) = (visible(line.get(..place.start)?), visible(line.get(place)?));
    let carets = "^".repeat(marked.width().max(1));
    let shown = visible(line);
    let shown = shown.trim_end();
    let mut excerpt = vec![format!("{INDENT}{shown}")];
    if before.width() + carets.len() <= shown.width().max(1) {
        excerpt.push(format!("{INDENT}{}{carets}", " ".repeat(before.width())));
    }
    Some(excerpt)
}

/// Whether a line may be part of a key: between tags or the lines of a PEM text, or too many hexadecimal digits in a
/// row, whatever spaces stand between them.
fn is_secret(text: &str, number: usize) -> bool {
    let (mut block, mut pem) = (None, false);
    for (line, n) in text.lines().zip(1..) {
        let (line, last) = (line.trim(), n == number);
        pem |= line.contains("-----BEGIN");
        if block.is_some_and(|name| line.strip_prefix("</").is_some_and(|end| end.starts_with(name))) {
            (block, pem) = (None, false);
        }
        if last {
            let dense: String = line.chars().filter(|letter| !letter.is_whitespace()).collect();
            return block.is_some() || pem || like_a_key(&dense);
        }
        pem &= !line.contains("-----END");
        let tag = line.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        block = block.or(tag.filter(|name| !name.is_empty() && !name.starts_with('/')));
    }
    false
}

/// Where `word` stands in `line`, preferably as a word of its own behind the first; else the first word.
fn find(line: &str, word: &str) -> Range<usize> {
    let start = line.len() - line.trim_start().len();
    let first = start
        ..line
            .get(start..)
            .and_then(|rest| rest.find(char::is_whitespace))
            .map_or(line.trim_end().len(), |n| start + n);
    if word.is_empty() || line.get(first.clone()) == Some(word) {
        return first;
    }
    let part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || ".:-_/".contains(letter))
    };
    let whole = |at: usize| {
        let (before, behind) =
            (line.get(..at).unwrap_or_default(), line.get(at + word.len()..).unwrap_or_default());
        !part(before.chars().next_back()) && !part(behind.chars().next())
    };
    let found =
        |good: &dyn Fn(usize) -> bool| line.match_indices(word).map(|(at, _)| at).find(|at| good(*at));
    let at = found(&|at| at >= first.end && whole(at)).or_else(|| found(&whole)).or_else(|| found(&|_| true));
    at.map_or(first, |at| at..at + word.len())
}

/// Text as it is printed: a tab is one space, what acts on a terminal is made visible, and the end is cut.
fn visible(text: &str) -> String {
    one_line(&text.chars().take(LONGEST).collect::<String>().replace('\t', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, number: usize, word: &str) -> String {
        excerpt(text, number, word).unwrap_or_default().join("|")
    }

    #[test]
    fn the_carets_stand_under_the_word() {
        assert_eq!(
            shown("dev tun\nifconfig 10.8.0.1 10.8.0.1\n", 2, "10.8.0.1"),
            "    ifconfig 10.8.0.1 10.8.0.1|             ^^^^^^^^"
        );
        assert_eq!(shown("\tverb  loud # loud", 1, "loud"), "     verb  loud # loud|           ^^^^");
        assert_eq!(shown("ifconfg a b", 1, "ifconfg"), "    ifconfg a b|    ^^^^^^^");
        assert_eq!(
            shown("route 10.0.0.10 x 10.0.0.1", 1, "10.0.0.1"),
            "    route 10.0.0.10 x 10.0.0.1|                      ^^^^^^^^"
        );
        assert_eq!(shown("dev tun", 1, "nowhere"), "    dev tun|    ^^^");
    }

    #[test]
    fn wide_letters_and_control_characters_keep_the_carets_in_place() {
        assert_eq!(shown("up \"網 x\" bad", 1, "bad"), "    up \"網 x\" bad|              ^^^");
        assert_eq!(shown("up a\u{1b}[2J bad", 1, "bad"), "    up a\\x1b[2J bad|                ^^^");
        assert_eq!(shown("\u{feff}dve tun", 1, "dve"), "    dve tun|    ^^^");
        // A long line is cut, and what would stand behind the cut is not underlined.
        assert_eq!(
            shown(&format!("up {} bad", "x".repeat(300)), 1, "bad"),
            format!("    up {}", "x".repeat(253))
        );
    }

    proptest::proptest! {
        #[test]
        fn an_excerpt_of_anything_is_one_line_that_acts_on_no_terminal(text in "\\PC{0,80}|[ -~\\t\\r\\n\u{1b}網\u{301}]{0,300}", number in 0..5usize, word in "\\PC{0,4}|[ -~\u{301}]{0,4}") {
            for line in excerpt(&text, number, &word).unwrap_or_default() {
                proptest::prop_assert!(line.starts_with(INDENT) && !line.contains(char::is_control), "{:?}", line);
            }
        }
    }

    #[test]
    fn nothing_is_shown_where_there_is_nothing() {
        for (text, number) in [("", 1), ("dev tun", 0), ("dev tun", 2), ("\n\n", 1)] {
            assert_eq!(excerpt(text, number, "dev"), None, "{text:?} {number}");
        }
    }

    #[test]
    fn a_line_of_a_key_is_not_shown_wherever_it_stands() {
        let digits = "0123456789abcdef0123456789abcdef";
        for (text, number) in [
            (format!("secret {digits}"), 1),
            ("secret 01234567 89abcdef".to_owned(), 1),
            (format!("<secret>\n{digits}\n</secret>\n"), 2),
            ("<tls-auth>\nshort\n".to_owned(), 2),
            (
                "-----BEGIN OpenVPN Static key V1-----\nshort\n-----END OpenVPN Static key V1-----\n"
                    .to_owned(),
                2,
            ),
        ] {
            assert_eq!(shown(&text, number, ""), format!("{INDENT}{HIDDEN}"), "{text}");
        }
        let text = "<secret>\nx\n</secret>\ndev tnu\n";
        assert_eq!(shown(text, 1, ""), "    <secret>|    ^^^^^^^^");
        assert_eq!(shown(text, 4, "tnu"), "    dev tnu|        ^^^");
    }
}
