//! Lines and packet marks: each record is one line, and no control character of a text gets through.
//!
//! Input: records of `what (1) | length (1) | text`. Bits of `what`: 1 a mark, not a line; 6 the level.

#![no_main]

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use log::Level;
use naptun::log::{Target, mark, open};
use naptun_fuzz::Input;

const MARK: u8 = 1;

/// Bytes of `2026-01-01 12:00:00 `.
const STAMP: usize = 20;

/// The log file: in memory, and begun anew for each input.
static FILE: LazyLock<Mutex<std::fs::File>> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("naptun-fuzz-log-{}", std::process::id()));
    let file = std::fs::File::options().create(true).truncate(true).read(true).write(true).open(&path);
    let file = file.expect("a file in the temporary folder");
    std::fs::remove_file(&path).expect("to remove it again");
    Mutex::new(file)
});

fuzz_target!(|input: &[u8]| {
    let mut file = FILE.lock().expect("one thread");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(Target::File { path: path.as_ref(), append: false }, "naptun", 9, 0).expect("the log");
    let texts = tell(Input(input));
    let mut written = String::new();
    file.seek(SeekFrom::Start(0)).expect("to read from the beginning");
    file.read_to_string(&mut written).expect("text");
    check(&written, &texts);
});

/// Logs what the input says, and gives the texts of all lines.
fn tell(mut input: Input) -> Vec<String> {
    let mut texts = Vec::new();
    while let (Some(what), Some(length)) = (input.byte(), input.byte()) {
        if what & MARK != 0 {
            mark('R');
            continue;
        }
        let text = String::from_utf8_lossy(input.bytes(usize::from(length))).into_owned();
        let level = [Level::Error, Level::Warn, Level::Info, Level::Debug][usize::from(what >> 1 & 3)];
        log::log!(target: "naptun", level, "{text}");
        texts.push(text);
    }
    // No mark is left for the next input.
    log::error!(target: "naptun", "end");
    texts.push("end".to_owned());
    texts
}

fn check(written: &str, texts: &[String]) {
    assert!(written.ends_with('\n'));
    assert!(!written.contains(|letter: char| letter.is_control() && letter != '\n'));
    let mut lines = written.split_terminator('\n').filter(|line| !is_marks(line));
    for text in texts {
        let line = lines.next().expect("as many lines as records");
        assert_eq!(line.get(STAMP..).expect("a time"), visible(text));
    }
    assert_eq!(lines.next(), None, "more lines than records");
}

fn is_marks(line: &str) -> bool {
    line.bytes().all(|byte| byte == b'R')
}

fn visible(text: &str) -> String {
    let shown = |letter: char| match u32::from(letter) {
        code @ (..=0x1f
        | 0x7f..=0x9f
        | 0x61c
        | 0x200b..=0x200f
        | 0x2028..=0x202e
        | 0x2066..=0x2069
        | 0xfeff) => {
            format!("\\x{code:02x}")
        }
        _ => letter.to_string(),
    };
    text.chars().map(shown).collect()
}
