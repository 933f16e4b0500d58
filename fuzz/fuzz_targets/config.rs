//! A configuration: its statements, its settings or its problems, and what is told about them.
//!
//! Input: the text of the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use naptun::config::grammar::{Statement, parse, quote, split_words};
use naptun::config::problem::Problem;
use naptun::config::resolve;
use naptun::config::settings::Settings;

fuzz_target!(|text: &[u8]| {
    let (statements, problems) = parse("tun.conf", text);
    let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    for statement in &statements {
        check_statement(statement, lines);
    }
    check_problems(&problems, &statements, lines);
    match resolve(&statements, Path::new("/nowhere")) {
        Ok(settings) => check_settings(&settings),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            check_problems(&problems, &statements, lines);
        }
    }
});

fn check_statement(statement: &Statement, lines: usize) {
    assert!(!statement.words.is_empty() && statement.words.len() <= 16);
    assert!((1..=lines).contains(&statement.place.line));
    let quoted: Vec<String> = statement.words.iter().map(|word| quote(word)).collect();
    assert_eq!(split_words(&quoted.join(" ")).as_ref(), Ok(&statement.words), "quoted, and read again");
}

/// Each is one line of plain text, and tells no line of a key.
fn check_problems(problems: &[Problem], statements: &[Statement], lines: usize) {
    assert!(problems.len() <= 60, "more than anybody reads");
    for problem in problems {
        assert!(problem.place.line <= lines);
        check_words(&problem.to_string(), statements);
    }
}

fn check_words(words: &str, statements: &[Statement]) {
    assert!(!words.is_empty() && !words.contains(char::is_control), "{words:?}");
    // A name of a file is told as it is, even one that looks like this.
    let file = words.contains("/nowhere/");
    for key in statements.iter().filter_map(|statement| statement.inline.as_ref()).filter(|_| !file) {
        let digits = key.split(|letter: char| !letter.is_ascii_hexdigit());
        assert!(digits.filter(|run| run.len() >= 16).all(|run| !words.contains(run)), "tells a key: {words}");
    }
}

/// What the rest of the program relies on.
fn check_settings(settings: &Settings) {
    assert!(settings.ciphers.aes_256_gcm || settings.ciphers.chacha20_poly1305);
    assert!(settings.mtu >= 68, "mtu {}", settings.mtu);
    assert!(settings.remotes.iter().all(|remote| remote.port > 0));
    assert!(settings.routes.iter().all(|route| route.prefix <= 32));
    assert!(settings.routes_ipv6.iter().all(|route| route.prefix <= 128));
    assert!(settings.ifconfig_ipv6.is_none_or(|ifconfig| ifconfig.prefix <= 128));
    assert!(settings.verb <= 11 && !settings.user.is_empty());
    let name = settings.device_name.as_deref().unwrap_or("tun0");
    assert!(!name.is_empty() && name.len() < 16 && !name.contains('/'), "{name:?}");
    let variables = &settings.setenv;
    assert!(variables.iter().all(|(name, value)| !name.contains('=') && !value.contains(char::is_control)));
    assert!(settings.up.iter().chain(&settings.down).all(|command| command[0].starts_with('/')));
    assert!(
        settings.notices.iter().all(|notice| !notice.contains(char::is_control)),
        "{:?}",
        settings.notices
    );
}
