//! The manual pages say what the program says: options, commands, directives, variables, signals, exit codes, log lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use naptun::config::table::{self, Directive, Standing};
use naptun::config::{dns, grammar, resolve};

/// The page of the program, and that of its configuration.
const PROGRAM: &str = "man/naptun.8";
const CONFIGURATION: &str = "man/naptun.conf.5";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
}

/// What `naptun WORDS...` prints.
fn said(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_naptun")).args(words).output().unwrap();
    assert!(output.status.success(), "naptun {}", words.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The first words of the lines below `title` in a text of --help, without what is continued.
fn listed(help: &str, title: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
    let entries = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    entries.map(|line| line.split([' ', ',']).find(|word| !word.is_empty()).unwrap().to_owned()).collect()
}

/// The text of a section (`.Sh`) or of a subsection (`.Ss`), up to the next one.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let start = [".Sh ", ".Ss "].iter().find_map(|kind| page.split_once(&format!("\n{kind}{title}\n")));
    let (_, text) = start.unwrap_or_else(|| panic!("the page has no section {title}"));
    let end = ["\n.Sh ", "\n.Ss "].iter().filter_map(|kind| text.find(kind)).min();
    end.map_or(text, |end| &text[..end])
}

/// What stands behind a macro at the start of a line.
fn entries<'a>(text: &'a str, macros: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(macros)?.strip_prefix(' '))
}

/// The options that are described in a part of a page.
fn options(text: &str) -> BTreeSet<String> {
    let flag = |entry: &str| Some(format!("-{}", plain(entry.strip_prefix("Fl ")?.split([' ']).next()?)));
    entries(text, ".It").filter_map(flag).collect()
}

/// Without what only the formatter needs.
fn plain(text: &str) -> String {
    text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
}

#[test]
fn the_page_describes_every_option_and_every_command_and_no_other() {
    let page = read(PROGRAM);
    let help = said(&["--help"]);
    assert_eq!(options(section(&page, "OPTIONS")), listed(&help, "Options:"), "{PROGRAM}, section OPTIONS");
    let commands = listed(&help, "Commands:");
    let described: BTreeSet<String> =
        entries(page.split_once(".Sh COMMANDS").unwrap().1.split_once("\n.Sh ").unwrap().0, ".Ss")
            .map(str::to_owned)
            .collect();
    assert_eq!(described, commands, "{PROGRAM}, section COMMANDS");
    for command in commands {
        let mut known = listed(&said(&[&command, "--help"]), "Options:");
        known.remove("--help");
        assert_eq!(options(section(&page, &command)), known, "{PROGRAM}, section {command}");
    }
}

#[test]
fn the_page_names_every_exit_code_and_signal() {
    let page = read(PROGRAM);
    let source = read("src/error.rs");
    let codes = source.lines().zip(source.lines().skip(1)).filter_map(|(doc, code)| {
        let name = doc.trim().strip_prefix("/// `")?.split('`').next()?;
        let number = code.split_once(" = ")?.1.trim_end_matches(',');
        name.starts_with("EX_").then(|| format!("{number} Pq Dv {name}"))
    });
    let codes: Vec<String> = codes.collect();
    assert!(codes.len() > 10, "no codes in src/error.rs");
    assert_eq!(entries(section(&page, "EXIT STATUS"), ".It").collect::<Vec<_>>(), codes, "{PROGRAM}");
    let source = read("src/os/signals.rs");
    let pairs = source.split("(posix::Signal::").skip(1).filter_map(|rest| rest.split_once(", Signal::"));
    let signals: BTreeSet<&str> = pairs.map(|(name, _)| name).filter(|name| name.len() < 10).collect();
    let described: BTreeSet<&str> = entries(section(&page, "SIGNALS"), ".It")
        .flat_map(|entry| entry.split([' ', ',']))
        .filter(|word| word.starts_with("SIG"))
        .collect();
    assert_eq!(described, signals, "{PROGRAM}, section SIGNALS");
}

#[test]
fn the_page_lists_the_variables_that_scripts_get_and_no_other() {
    // A name as the source has it: `set("config"`, `set(&format!("remote_{number}")`, `("PATH".to_owned()`.
    let mut known = BTreeSet::from(["PATH".to_owned()]);
    for file in ["src/interface/script.rs", "src/os/helper.rs"] {
        let source = read(file);
        let source = source.split("#[cfg(test)]").next().unwrap().replace(char::is_whitespace, "");
        for start in ["set(\"", "set(&format!(\"", "fact(\"", "name=if", "word=if"] {
            for rest in source.split(start).skip(1) {
                if start.ends_with("if") {
                    // Two names, for two cases.
                    let names = rest.split(';').next().unwrap().split('"').skip(1).step_by(2);
                    known.extend(names.map(str::to_owned));
                } else {
                    known.insert(numbered(rest.split('"').next().unwrap()));
                }
            }
        }
    }
    known.extend(variables_of_dns());
    assert!(known.len() > 30, "the sources are not read right: {known:?}");
    let page = read(PROGRAM);
    let listed = entries(section(&page, "ENVIRONMENT"), ".It").filter_map(|entry| entry.strip_prefix("Ev "));
    let listed: BTreeSet<String> = listed.flat_map(|entry| entry.split(" , ")).map(str::to_owned).collect();
    assert_eq!(listed, known, "{PROGRAM}, section ENVIRONMENT");
}

/// What comes of `dhcp-option` and `dns`.
fn variables_of_dns() -> BTreeSet<String> {
    const ALL: &str = "secret static.key\ndev tun\ndhcp-option DNS 10.8.0.1\ndns search-domains example.org\n\
        dns server 1 address 10.8.0.1:53\ndns server 1 resolve-domains example.org\ndns server 1 dnssec yes\n\
        dns server 1 transport DoT\ndns server 1 sni example.org\n";
    let (statements, problems) = grammar::parse("all.conf", ALL.as_bytes());
    assert_eq!(problems, []);
    let settings = resolve(&statements, Path::new("/")).unwrap();
    let list = dns::environment(&settings);
    list.into_iter().map(|(name, _)| name.replace(|letter: char| letter.is_ascii_digit(), "n")).collect()
}

/// `remote_{number}` as the page writes it: `remote_n`.
fn numbered(name: &str) -> String {
    name.split_once('{').map_or_else(|| name.to_owned(), |(name, _)| format!("{name}n"))
}

#[test]
fn the_log_lines_of_the_page_are_those_of_the_source() {
    let mut sources = String::new();
    for folder in ["src", "src/tunnel"] {
        for file in fs::read_dir(path(folder)).unwrap().flatten().filter(|it| it.path().is_file()) {
            sources += &fs::read_to_string(file.path()).unwrap();
        }
    }
    let page = read(PROGRAM);
    let mut count = 0;
    for entry in entries(section(&page, "LOG"), ".It") {
        let phrase = entry.strip_prefix("Li ").unwrap().split(" Ns ").next().unwrap();
        let start = phrase.split('=').next().unwrap();
        // Between two words of a phrase there may be a placeholder.
        let found = sources.lines().any(|line| {
            let mut words = start.split(' ');
            let at = line.find(&format!("\"{}", words.next().unwrap()));
            at.is_some_and(|at| words.all(|word| line[at..].contains(word)))
        });
        assert!(found, "no line of the log begins with {phrase:?}");
        count += 1;
    }
    assert!(count > 8, "{count}");
}

#[test]
fn the_page_lists_every_directive_with_what_becomes_of_it() {
    let found = read(CONFIGURATION);
    let (page, placed) = filled(&found);
    let works = table::directives().iter().filter(|row| row.standing() == Standing::Works);
    let missing: Vec<&str> = works.map(|row| row.name).filter(|name| !placed.contains(*name)).collect();
    let bless = std::env::var_os("NAPTUN_BLESS").is_some();
    assert!(missing.is_empty(), "add {missing:?} to a line `.\\\" works:` of {CONFIGURATION}");
    if bless {
        fs::write(path(CONFIGURATION), &page).unwrap();
    } else {
        assert!(
            found == page,
            "{CONFIGURATION} differs from the table: NAPTUN_BLESS=1 cargo test --test manual"
        );
    }
}

/// The page with its lists as the table has them, and the directives that stand in a list of those that work.
fn filled(page: &str) -> (String, BTreeSet<String>) {
    let (mut text, mut placed, mut inside) = (String::new(), BTreeSet::new(), false);
    for line in page.lines() {
        let mark = line.strip_prefix(".\\\" ").unwrap_or_default();
        inside &= mark != "end";
        if inside {
            continue;
        }
        if let Some(names) = mark.strip_prefix("works: ") {
            writeln!(text, "{line}").unwrap();
            // One that is refused today keeps its place.
            let names: Vec<&str> = names.split_whitespace().filter(|name| works(name)).collect();
            text += &list(names.iter().map(|name| table::find(name).unwrap()).map(working));
            for name in names {
                assert!(placed.insert(name.to_owned()), "{name} stands in two lists of {CONFIGURATION}");
            }
            inside = true;
            continue;
        }
        writeln!(text, "{line}").unwrap();
        if let Some(standing) = match mark {
            "harmless" => Some(Standing::Harmless),
            "refused" => Some(Standing::Refused),
            _ => None,
        } {
            text += &list(groups(standing).into_iter().map(|(names, why)| (names, sentence(why))));
            inside = true;
        }
    }
    (text, placed)
}

fn works(name: &str) -> bool {
    table::find(name).is_some_and(|row| row.standing() == Standing::Works)
}

/// `Ic name Ar parameter ...` and the sentence about it.
fn working(row: &Directive) -> (String, String) {
    let mut head = format!("Ic {}", row.name.replace('-', "\\-"));
    for word in row.params.split_whitespace() {
        let optional = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        let name = optional.unwrap_or(word).replace('-', "\\-");
        let argument = if word == "..." { name } else { format!("Ar {name}") };
        write!(head, " {}", if optional.is_some() { format!("Oo {argument} Oc") } else { argument }).unwrap();
    }
    (head, sentence(row.meaning))
}

/// Those that have one explanation together.
fn groups(standing: Standing) -> Vec<(String, &'static str)> {
    let mut groups: Vec<(String, &'static str)> = Vec::new();
    for row in table::directives().iter().filter(|row| row.standing() == standing) {
        let name = row.name.replace('-', "\\-");
        match groups.iter_mut().find(|(_, why)| *why == row.meaning) {
            Some((names, _)) => write!(names, " , {name}").unwrap(),
            None => groups.push((format!("Ic {name}"), row.meaning)),
        }
    }
    groups
}

fn list(items: impl Iterator<Item = (String, String)>) -> String {
    let items: String = items.map(|(head, text)| format!(".It {head}\n{text}\n")).collect();
    format!(".Bl -tag -width Ds\n{items}.El\n")
}

/// A phrase of the table as sentences of mdoc, a new line for each. Words of the dialect keep their small letter.
fn sentence(phrase: &str) -> String {
    let first = phrase.split([' ', ',', ';', '(']).next().unwrap();
    let term = ["udp", "tun", "p2p", "ping"].contains(&first);
    let mut text = String::new();
    let mut before = ['.', ' '];
    for letter in phrase.chars() {
        match letter {
            '\\' => text += "\\e",
            // The end of a sentence, not the name of a directory.
            ' ' if before[1] == '.' && before[0].is_alphanumeric() => text.push('\n'),
            '.' | '\'' if text.is_empty() || text.ends_with('\n') => write!(text, "\\&{letter}").unwrap(),
            letter if text.is_empty() && !term => text.extend(letter.to_uppercase()),
            letter => text.push(letter),
        }
        before = [before[1], letter];
    }
    if text.ends_with("...") { text } else { text + "." }
}

#[test]
fn the_pages_are_clean_for_the_formatters() {
    let mut tried = 0;
    for page in [PROGRAM, CONFIGURATION] {
        let lint = ["mandoc", "-T", "lint", "-W", "warning"];
        // groff's own complaints go to standard error, whatever man's status is.
        let man = ["man", "--warnings", "-l"];
        for words in [&lint[..], &man[..]] {
            let Ok(output) =
                Command::new(words[0]).args(&words[1..]).arg(path(page)).env("LC_ALL", "C.UTF-8").output()
            else {
                continue;
            };
            tried += 1;
            let text = if words[0] == "man" { &output.stderr } else { &output.stdout };
            let text = String::from_utf8_lossy(text);
            // mandoc's man looks into a data base of its own beside.
            let text: Vec<&str> = text.lines().filter(|line| !line.contains("outdated mandoc.db")).collect();
            assert!(text.is_empty(), "{}: {text:#?}", words.join(" "));
        }
    }
    assert!(tried >= 2, "mandoc is missing; run scripts/needs");
}
