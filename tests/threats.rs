//! doc/threats.md cannot drift: its rows are complete, what it names exists, and what prints a figure is in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rows that there are to be.
const ROWS: std::ops::RangeInclusive<u8> = 1..=31;

struct Row {
    number: u8,
    words: String,
    proofs: Vec<String>,
}

#[test]
fn every_row_is_there_with_its_fault_what_is_expected_what_was_reached_and_a_proof() {
    let rows = rows();
    let numbers: Vec<u8> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, ROWS.collect::<Vec<_>>());
    for row in rows {
        for word in ["Fault: ", "Expected: ", "Reached: "] {
            assert_eq!(row.words.matches(&format!("\n{word}")).count(), 1, "row {}: {word}", row.number);
        }
        assert!(!row.proofs.is_empty(), "row {} has no proof", row.number);
    }
}

#[test]
fn every_test_and_script_that_the_document_names_exists() {
    for Row { number, proofs, .. } in rows() {
        for proof in proofs {
            let found = match proof.split_once("::") {
                Some((file, path)) => is_a_test(file, path),
                None => proof.split(' ').next().is_some_and(|script| Path::new(script).is_file()),
            };
            assert!(found, "row {number}: there is no {proof}");
        }
    }
}

#[test]
fn every_figure_belongs_to_a_row_that_names_its_test() {
    let rows = rows();
    let named: BTreeSet<(u8, &str)> = rows
        .iter()
        .flat_map(|row| row.proofs.iter().filter_map(|proof| Some((row.number, proof.split_once("::")?.0))))
        .collect();
    for file in sources("tests") {
        let text = fs::read_to_string(&file).unwrap();
        let crate_name =
            Path::new(&file).components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        let crate_name = crate_name.trim_end_matches(".rs");
        for call in text.split("figure(").skip(1) {
            let digits: String = call.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(row) = digits.parse::<u8>() {
                assert!(
                    named.contains(&(row, crate_name)),
                    "{file}: row {row} of doc/threats.md names no test of it"
                );
            }
        }
    }
}

/// The sections `## N. Title`, and their items: ``- `file::test` `` or ``- `scripts/name arguments` ``.
fn rows() -> Vec<Row> {
    let text = fs::read_to_string("doc/threats.md").unwrap();
    text.split("\n## ")
        .skip(1)
        .filter_map(|section| {
            let number = section.split_once(". ")?.0.parse().ok()?;
            let proofs = section
                .lines()
                .filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`').map(str::to_owned))
                .collect();
            Some(Row { number, words: section.to_owned(), proofs })
        })
        .collect()
}

/// `file` is a file of tests/, or `lib` for the tests inside of src/; `path` ends in the name of the function.
fn is_a_test(file: &str, path: &str) -> bool {
    let name = path.rsplit("::").next().unwrap_or(path);
    let files = match file {
        "lib" => sources("src"),
        _ => [format!("tests/{file}.rs")].into_iter().chain(sources(&format!("tests/{file}"))).collect(),
    };
    files.iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains(&format!("fn {name}("))
    })
}

fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path.to_string_lossy()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}
