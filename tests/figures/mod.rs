//! The figures that show a row of doc/threats.md to hold, and the long form of the tests that reach them.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::fs::OpenOptions;
use std::io::Write;

/// Whether `scripts/torture` runs the test: `scripts/test` has no time for the figure that the row asks for, and
/// takes the short form.
pub fn long() -> bool {
    std::env::var_os("NAPTUN_LONG").is_some()
}

/// The longer of two counts or times under `scripts/torture`, the shorter one otherwise.
pub fn by_length<T>(short: T, longer: T) -> T {
    if long() { longer } else { short }
}

/// Prints a figure of row `row`, and leaves it in `$NAPTUN_FIGURES` for the table of `scripts/torture`.
pub fn figure(row: u8, text: &str) {
    println!("figure {row}: {text}");
    if let Some(path) = std::env::var_os("NAPTUN_FIGURES") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // One write a line: tests run side by side.
        file.and_then(|mut file| file.write_all(format!("{row}\t{text}\n").as_bytes()))
            .expect("note a figure");
    }
}
