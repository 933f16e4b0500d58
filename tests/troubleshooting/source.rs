//! What the program can say, read from its source: the literals, and the places that make a message of them.

use std::fs;
use std::path::Path;

/// Where an error or a warning begins in the source.
const SITES: &[&str] = &["log::error!(", "log::warn!(", "Error::new(", "let act = "];

/// A string literal: what stands between its `{...}`.
pub type Literal = Vec<String>;

/// A place in the source that makes a message.
#[derive(Debug)]
pub struct Site {
    pub file: String,
    pub line: usize,
    pub literals: Vec<Literal>,
}

/// All of src/, without its own tests.
pub struct Source {
    pub literals: Vec<Literal>,
    pub sites: Vec<Site>,
}

impl Source {
    pub fn read() -> Self {
        let mut source = Self { literals: Vec::new(), sites: Vec::new() };
        let mut files = Vec::new();
        list(Path::new("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            source.add(&file, text.split("#[cfg(test)]").next().unwrap());
        }
        source
    }

    fn add(&mut self, file: &str, text: &str) {
        let tokens = tokens(text);
        self.literals.extend(tokens.iter().filter_map(|token| literal(token, text)));
        // Strings and comments blanked: what is left is code, at the places where it was.
        let mut code = text.as_bytes().to_vec();
        for token in &tokens {
            code[token.start..token.end].fill(b' ');
        }
        let code = String::from_utf8(code).unwrap();
        for mark in SITES {
            for (start, _) in code.match_indices(mark) {
                let end = end_of_site(&code, start + mark.len(), mark.ends_with('('));
                let inside = tokens.iter().filter(|token| token.start > start && token.end <= end);
                let literals = inside.filter_map(|token| literal(token, text)).filter(|it| says(it) >= 4);
                let line = text[..start].lines().count() + 1;
                self.sites.push(Site { file: file.to_owned(), line, literals: literals.collect() });
            }
        }
    }
}

/// How many letters of a literal are always the same.
pub fn says(literal: &[String]) -> usize {
    literal.iter().map(|part| part.trim().len()).sum()
}

fn list(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
    files.sort();
}

/// Behind the bracket that closes what was opened, or behind the statement.
fn end_of_site(code: &str, start: usize, bracket: bool) -> usize {
    let mut depth = usize::from(bracket);
    for (at, letter) in code[start..].char_indices() {
        match letter {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return start + at,
            _ => continue,
        }
        if bracket && depth == 0 {
            return start + at;
        }
    }
    code.len()
}

/// A string or a comment; `text` of a string is within its quotes.
struct Token {
    start: usize,
    end: usize,
    string: Option<std::ops::Range<usize>>,
}

/// The strings and comments of Rust source. Letters in single quotes are told from lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let token = if rest.starts_with(b"//") {
            let end = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
            Some(Token { start: at, end, string: None })
        } else if rest.starts_with(b"/*") {
            let end = text[at..].find("*/").map_or(bytes.len(), |end| at + end + 2);
            Some(Token { start: at, end, string: None })
        } else if rest.starts_with(b"r#\"") {
            let end = text[at + 3..].find("\"#").map_or(bytes.len(), |end| at + 3 + end);
            Some(Token { start: at, end: end + 2, string: Some(at + 3..end) })
        } else if rest[0] == b'"' {
            let end = end_of_string(bytes, at + 1);
            Some(Token { start: at, end: end + 1, string: Some(at + 1..end) })
        } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
            let end = at + 2 + rest[2..].iter().position(|byte| *byte == b'\'').unwrap_or(0);
            Some(Token { start: at, end: end + 1, string: None })
        } else {
            None
        };
        match token {
            Some(token) => {
                at = token.end.max(at + 1);
                tokens.push(token);
            }
            None => at += 1,
        }
    }
    tokens
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn literal(token: &Token, text: &str) -> Option<Literal> {
    let text = unescaped(&text[token.string.clone()?]).replace("{{", "(").replace("}}", ")");
    let mut parts = vec![String::new()];
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '{' => inside = true,
            '}' if inside => {
                inside = false;
                parts.push(String::new());
            }
            _ if inside => {}
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts).filter(|parts| !parts.is_empty())
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some('\n')) => while letters.next_if(|next| next.is_whitespace()).is_some() {},
            ('\\', Some('n')) => out.extend(letters.next().map(|_| '\n')),
            ('\\', Some(_)) => out.extend(letters.next()),
            _ => out.push(letter),
        }
    }
    out
}
