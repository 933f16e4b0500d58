//! What a process has in memory, as root sees it in /proc.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A writable mapping: what the kernel calls it, where it begins, and its bytes.
pub struct Mapping {
    pub name: String,
    pub start: u64,
    pub bytes: Vec<u8>,
}

/// All writable mappings of the process whose folder in /proc is `process`.
pub fn of(process: &Path) -> Vec<Mapping> {
    let memory = File::open(process.join("mem")).expect("open the memory of another process");
    let maps = fs::read_to_string(process.join("maps")).expect("read the mappings");
    let mappings: Vec<Mapping> = maps.lines().filter_map(|line| mapping(line, &memory)).collect();
    assert!(mappings.iter().any(|mapping| mapping.name == "[stack]"), "no stack in\n{maps}");
    assert!(mappings.iter().any(|mapping| mapping.name == "[heap]"), "no heap in\n{maps}");
    mappings
}

fn mapping(line: &str, memory: &File) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).expect("an address");
    let (start, end) = (number(start), number(end));
    if !words.next()?.starts_with("rw") {
        return None;
    }
    let mut bytes = vec![0; (end - start) as usize];
    memory.read_exact_at(&mut bytes, start).expect("read a mapping");
    Some(Mapping { name: words.nth(3).unwrap_or("anonymous").to_owned(), start, bytes })
}

/// Where `secret` lies, whole or in part: each piece of 16 bytes, and what is left at the end, counts.
pub fn find(mappings: &[Mapping], secret: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for mapping in mappings {
        for (piece, part) in secret.chunks(16).enumerate().filter(|(_, part)| part.len() >= 8) {
            let hits = positions(&mapping.bytes, part);
            found.extend(
                hits.map(|at| {
                    format!("piece {piece} at {:#x} in {}", mapping.start + at as u64, mapping.name)
                }),
            );
        }
    }
    found
}

/// By its first eight bytes, which are compared as a number: the mappings are megabytes.
fn positions<'a>(bytes: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = u64::from_le_bytes(part[..8].try_into().expect("8 bytes"));
    let starts = bytes
        .windows(8)
        .enumerate()
        .filter(move |(_, eight)| u64::from_le_bytes((*eight).try_into().expect("8 bytes")) == first);
    starts.map(|(at, _)| at).filter(move |at| bytes[*at..].starts_with(part))
}
