//! A key file: read as a plain reading of its description reads it, and the same again when written anew.
//!
//! Input: the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use naptun::config::key::{self, Malformed};

const HEADER: &[u8] = b"-----BEGIN OpenVPN Static key V1-----";
const FOOTER: &[u8] = b"-----END OpenVPN Static key V1-----";

fuzz_target!(|text: &[u8]| {
    let read = key::parse(text);
    assert_eq!(read.as_ref().map(|key| key.as_bytes().to_vec()).map_err(|fault| *fault), plainly(text));
    match read {
        Ok(key) => {
            let again = key::generate(key.as_bytes());
            assert_eq!(again.len(), 636);
            assert_eq!(key::parse(again.as_bytes()).expect("our own file").as_bytes(), key.as_bytes());
            assert_eq!(format!("{key:?}"), "StaticKey");
        }
        Err(fault) => assert!(tells_no_digits(&fault, text)),
    }
});

fn plainly(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    if lines.iter().all(|line| line.is_empty()) {
        return Err(Malformed::Empty);
    }
    let begin = lines.iter().position(|line| *line == HEADER).ok_or(Malformed::NoHeader)?;
    let end = lines.iter().skip(begin + 1).position(|line| *line == FOOTER).map(|end| begin + 1 + end);
    let mut digits = Vec::new();
    for (line, number) in lines.iter().zip(1..).take(end.unwrap_or(lines.len())).skip(begin + 1) {
        for byte in line.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if !byte.is_ascii_hexdigit() {
                return Err(Malformed::BadCharacter(number));
            }
            digits.push(*byte);
        }
    }
    if end.is_none() {
        return Err(Malformed::NoFooter);
    }
    if digits.len() != 512 {
        return Err(Malformed::Digits(digits.len()));
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let key: Vec<u8> = digits.chunks(2).map(pair).collect();
    if key.iter().all(|byte| *byte == 0) { Err(Malformed::Zero) } else { Ok(key) }
}

/// A message is about numbers and lines; a run of digits from the file is not in it.
fn tells_no_digits(fault: &Malformed, text: &[u8]) -> bool {
    let words = fault.to_string();
    let runs = text.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= 8);
    runs.map(|run| String::from_utf8_lossy(run)).all(|run| !words.contains(&*run))
}
