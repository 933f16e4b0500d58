//! A run file that somebody else may have written: what `naptun status` takes from it is plain text and numbers that can be
//! counted with, and it can be written again.
//!
//! Input: the lines of the file, without its first and its sum, which are made.

#![no_main]

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest as _};
use libfuzzer_sys::fuzz_target;
use naptun::os::run_file::SIZE;
use naptun::status::history::SECONDS;
use naptun::status::record::Record;

/// Letters that one letter of a word may become when it is made visible.
const VISIBLE: usize = 8;
const LONGEST: usize = 255;

fuzz_target!(|lines: &[u8]| {
    // Without a right sum nothing is taken.
    assert_eq!(Record::parse(lines), None);
    let text = String::from_utf8_lossy(lines);
    // The first sum is the one that counts.
    if text.contains("\nsum=") {
        return;
    }
    let text = format!("naptun=1\n{text}\n");
    let sum: [u8; 8] = Blake2b::<U8>::digest(text.as_bytes()).into();
    let whole = format!("{text}sum={:016x}\n", u64::from_be_bytes(sum));
    let record = Record::parse(whole.as_bytes()).expect("a right sum is enough");
    check(&record);
    assert_eq!(
        Record::parse(format!("{whole}{text}").as_bytes()),
        Some(record.clone()),
        "the end of a longer text"
    );
    write_again(&record);
});

fn check(record: &Record) {
    let Record { version, launch, config, peer, device, kind, ipv4, ipv6, cipher, last_end, .. } = record;
    for word in [version, launch, config, peer, device, kind, ipv4, ipv6, cipher, last_end] {
        assert!(!word.contains(char::is_control) && word.chars().count() <= LONGEST * VISIBLE, "{word:?}");
    }
    let mut history = record.history;
    for seconds in [0, 1, SECONDS, usize::MAX] {
        let (inward, outward) = history.rates(seconds);
        let most = |series: [u64; SECONDS]| series.into_iter().max().unwrap_or_default();
        assert!(inward <= most(history.inward) && outward <= most(history.outward));
    }
    history.skip(u64::MAX);
    assert_eq!(history.rates(SECONDS), (0, 0));
    // The next process goes on from there.
    let sum = record.total.plus(&record.life);
    assert!(sum.numbers().zip(record.total.numbers()).all(|((_, sum), (_, part))| sum >= part));
}

/// What was read can be written, in the space there is, and is read again; but for words that became too long.
fn write_again(record: &Record) {
    let mut text = String::new();
    record.write(&mut text);
    assert!(text.len() <= SIZE, "{} bytes", text.len());
    let again = Record::parse(text.as_bytes()).expect("what was written");
    assert_eq!(
        (again.state, again.pid, again.life, again.total),
        (record.state, record.pid, record.life, record.total)
    );
    for (word, before) in
        [(&again.peer, &record.peer), (&again.device, &record.device), (&again.config, &record.config)]
    {
        assert!(word == before || before.len() > LONGEST, "{word:?} was {before:?}");
    }
}
