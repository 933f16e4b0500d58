//! The files of xinetd: /etc/xinetd.conf and what it includes, as xinetd.conf(5) describes them.

use std::path::{Path, PathBuf};

use crate::config::examine;

const FILE: &str = "/etc/xinetd.conf";
/// Where entries lie even if there is no xinetd yet.
const FOLDER: &str = "/etc/xinetd.d";

/// What a block is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `service NAME`
    Service,
    /// `defaults`
    Defaults,
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// The service.
    pub(super) name: String,
    /// The file, absolute.
    pub(super) file: String,
    /// Its first line.
    pub(super) line: usize,
    /// Whether its attributes stand between braces.
    pub(super) braces: bool,
    /// Whether the file was found by `includedir`.
    pub(super) included: bool,
    attributes: Vec<Attribute>,
}

/// `NAME = VALUE...`
#[derive(Debug)]
pub(super) struct Attribute {
    name: String,
    pub(super) line: usize,
    pub(super) values: Vec<String>,
    /// `-=`
    removes: bool,
}

impl Block {
    /// The attribute of that name, the last if there are several.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().rfind(|attribute| attribute.name == name)
    }

    /// Its first value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.values.first().map(String::as_str)
    }

    /// All values of a list, those of `+=` among them.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let adding =
            self.attributes.iter().filter(move |attribute| attribute.name == name && !attribute.removes);
        adding.flat_map(|attribute| &attribute.values).map(String::as_str)
    }
}

/// All blocks; none where there are no such files.
pub(super) fn read() -> Vec<Block> {
    let mut blocks = Vec::new();
    match examine::text(Path::new("/"), FILE) {
        Some(text) => parse(FILE, &text, false, &mut blocks),
        None => folder(FOLDER, &mut blocks),
    }
    blocks
}

fn folder(dir: &str, blocks: &mut Vec<Block>) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.to_string_lossy().into_owned();
        if let Some(text) = examine::text(Path::new("/"), &name) {
            parse(&name, &text, true, blocks);
        }
    }
}

fn parse(file: &str, text: &str, included: bool, blocks: &mut Vec<Block>) {
    let mut open: Option<Block> = None;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let begin = |kind, name: &str| {
            let (name, file) = (name.to_owned(), file.to_owned());
            Some(Block { kind, name, file, line: number, braces: false, included, attributes: Vec::new() })
        };
        let next = match words.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            ["service", name, ..] => begin(Kind::Service, name),
            ["defaults", ..] => begin(Kind::Defaults, ""),
            // Only one that reads the folders: a file cannot include itself for ever.
            ["includedir", dir] if !included => {
                folder(dir, blocks);
                continue;
            }
            ["include", name] if !included => {
                if let Some(text) = examine::text(Path::new("/"), name) {
                    parse(name, &text, true, blocks);
                }
                continue;
            }
            ["{"] => {
                open.iter_mut().for_each(|block| block.braces = true);
                continue;
            }
            ["}"] => None,
            _ => {
                if let Some(block) = &mut open {
                    block.attributes.extend(attribute(line, number));
                }
                continue;
            }
        };
        blocks.extend(std::mem::replace(&mut open, next));
    }
    blocks.extend(open);
}

fn attribute(line: &str, number: usize) -> Option<Attribute> {
    let (name, values) = line.split_once('=')?;
    let removes = name.ends_with('-');
    let name = name.trim_end_matches(['+', '-']).trim().to_owned();
    Some(Attribute {
        name,
        line: number,
        values: values.split_whitespace().map(str::to_owned).collect(),
        removes,
    })
}
