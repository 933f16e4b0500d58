//! The package and the tarball: installed, used, upgraded, removed and purged by scripts/package-test, in a copy of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::process::Command;

/// What the script exits with where it cannot run.
const UNAVAILABLE: i32 = 69;

/// What must have been done: a line of the script begins with each.
const STEPS: &[&str] = &[
    "packages",
    "installed",
    "used",
    "upgraded",
    "removed",
    "purged",
    "purged without ever being used",
    "the tarball",
];

#[test]
fn the_package_is_installed_used_upgraded_removed_and_purged() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package-test");
    let output = Command::new(script).env("BINARY", lab::binary()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(UNAVAILABLE) {
        return lab::skip("package", error.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}: {error}", output.status);
    for step in STEPS {
        assert!(text.contains(&format!("package-test: {step}: ")), "{step} is missing: {text}");
    }
}
