//! `naptun check` on a file: what it prints is plain text, tells no line of a key, and points at what it means.
//!
//! Input: the text of the file.

#![no_main]

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use naptun::doctor::{Request, examine};
use naptun::error::Exit;

const FILE: &str = "tun.conf";
/// Hexadecimal digits in a row that may be a part of a key.
const KEY_DIGITS: usize = 16;

/// A folder of this process alone; the next run empties it.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("naptun-fuzz-check");
    let _ = fs::remove_dir_all(&folder);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("make a folder");
    folder
});

fuzz_target!(|text: &[u8]| {
    // Others would be read with it, some of which are not to be read: /dev/zero has no end.
    if text.windows(6).any(|word| word.eq_ignore_ascii_case(b"config")) {
        return;
    }
    let mut options = OpenOptions::new();
    let file = options.create(true).write(true).truncate(true).mode(0o600).open(FOLDER.join(FILE));
    file.and_then(|mut file| file.write_all(text)).expect("write the file");
    let files = vec![PathBuf::from(FILE)];
    let request = Request { cd: Some(FOLDER.clone()), files, files_only: true, ..Request::default() };
    let (lines, exit) = examine(&request);
    let text = String::from_utf8_lossy(text);
    lines.iter().for_each(|line| check_line(line, &text));
    // A line of carets alone may be one of the file's own.
    if !text.lines().any(carets) {
        check_excerpts(&lines);
    }
    // OpenVPN's files are explained, and have no errors.
    let error = |line: &String| !line.starts_with(' ') && line.contains(": error: ");
    assert!(exit == Exit::Config || !lines.iter().any(error), "{lines:?}");
    assert!(exit == Exit::Ok || !lines.contains(&format!("{FILE}: ok")), "{lines:?}");
});

/// A line of a terminal, in which no run of digits of the file is repeated. A name of a file is told as it is.
fn check_line(line: &str, text: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
    let names_a_file = FOLDER.to_str().is_some_and(|folder| line.contains(folder));
    let mut runs = text.split(|letter: char| !letter.is_ascii_hexdigit());
    let told = runs.find(|run| run.len() >= KEY_DIGITS && line.contains(*run));
    assert!(names_a_file || told.is_none(), "tells {told:?}: {line}");
}

/// An indented line belongs to a finding, and carets to the line above them.
fn check_excerpts(lines: &[String]) {
    for (place, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(' ')) {
        let above = place.checked_sub(1).map(|place| lines[place].as_str()).expect("a finding comes first");
        assert!(above.starts_with(' ') || !carets(line), "carets under nothing: {lines:?}");
    }
}

fn carets(line: &str) -> bool {
    !line.trim().is_empty() && line.trim().chars().all(|letter| letter == '^')
}
