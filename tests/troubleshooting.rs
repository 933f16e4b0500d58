//! doc/troubleshooting.md cannot drift: its lines are those of the program, and no line of the program is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;
#[path = "troubleshooting/live.rs"]
mod live;
#[path = "troubleshooting/page.rs"]
mod page;
#[path = "troubleshooting/source.rs"]
mod source;

use naptun::config::table;
use page::{Page, covers};
use source::{Site, Source};

/// Errors and warnings that the page need not explain: where they are made, a part of the text (empty for all), why.
///
/// A new message needs an entry on the page or a line here. An empty text stands for the whole file.
#[rustfmt::skip]
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("src/os/watch.rs", "watch the networks of this host", ODD),
    ("src/os/watch.rs", "watch for suspend", ODD),
    ("src/tunnel/network.rs", "watch the networks of this host", ODD),
    ("src/tunnel/network.rs", "watch this host", ODD),
    ("src/tunnel/network.rs", "a change of networks will be noticed late", ODD),
    ("src/config/key.rs", "put the key aside", ODD),
    ("src/config/key.rs", "take the key back", ODD),
    ("src/lib.rs", "go to the background", ODD),
    ("src/lib.rs", "read random numbers", ODD),
    ("src/log.rs", "open a socket for syslog", ODD),
    ("src/os/background.rs", "go to the background", ODD),
    ("src/os/descriptors.rs", "", ODD),
    ("src/os/device.rs", "not a device name", CHECKED),
    ("src/os/helper.rs", "the script helper", HELPER),
    ("src/os/helper.rs", "prepare the clean-up", HELPER),
    ("src/os/helper.rs", "bytes are too many", HELPER),
    ("src/os/netlink.rs", "open an rtnetlink socket", ODD),
    ("src/os/privileges.rs", "set nice ", PLAIN),
    ("src/os/privileges.rs", " instead of ", ODD),
    ("src/os/privileges.rs", "verify privileges", ODD),
    ("src/os/resolver.rs", "too many names", PLAIN),
    ("src/os/resolver.rs", "there is no host ", HELPER),
    ("src/os/resolver.rs", "ask the resolver", HELPER),
    ("src/os/redirect.rs", "redirect into ", ODD),
    ("src/os/route.rs", "the device is down", ODD),
    ("src/os/sandbox.rs", "set resource limits", ODD),
    ("src/os/sandbox.rs", "restrict files with Landlock", ODD),
    ("src/os/script.rs", "the command is empty", CHECKED),
    ("src/os/script.rs", "wait for scripts", ODD),
    ("src/os/signals.rs", "", ODD),
    ("src/os/state_file.rs", "read the state file", ODD),
    ("src/os/state_file.rs", "flush the state file", ODD),
    ("src/os/terminal.rs", "", ODD),
    ("src/os/udp.rs", "set up the ", ODD),
    ("src/os/udp.rs", "set sndbuf ", PLAIN),
    ("src/os/udp.rs", "set rcvbuf ", PLAIN),
    ("src/os/udp.rs", "set mark ", PLAIN),
    ("src/os/watch.rs", "", ODD),
    ("src/pair/", "", TERMINAL),
    ("src/report/", "", TERMINAL),
    ("src/tunnel.rs", "set up epoll", ODD),
    ("src/tunnel.rs", "watch ", ODD),
    ("src/tunnel/network.rs", "", ODD),
    ("src/tunnel/waiting.rs", "", ODD),
];

/// Reasons.
const TERMINAL: &str = "a command that somebody has just typed, and that says what it wants instead";
const ODD: &str = "a system call that does not fail on a machine that works; nobody has seen it";
const PLAIN: &str = "says by itself what to do: it names the directive and what the kernel has against it";
const CHECKED: &str = "the configuration is refused before it comes to this";
const HELPER: &str =
    "one of our own processes is gone, which only a kill -9 does; the next start makes another";

#[test]
fn every_entry_has_a_symptom_a_line_a_cause_and_a_cure() {
    let page = Page::read();
    assert!(page.entries.len() >= 40, "{} entries", page.entries.len());
    for entry in page.entries {
        for word in ["Cause: ", "Cure: "] {
            assert_eq!(entry.text.matches(&format!("\n{word}")).count(), 1, "{}: {word}", entry.symptom);
        }
        assert!(!entry.lines.is_empty(), "{}: no line of the log", entry.symptom);
    }
}

#[test]
fn every_line_on_the_page_is_one_that_the_program_can_say() {
    let directives = table::directives().iter().map(|directive| vec![directive.name.to_owned()]);
    let literals: Vec<_> = Source::read().literals.into_iter().chain(directives).collect();
    let literals: Vec<_> = literals.iter().filter(|literal| source::says(literal) >= 2).collect();
    let lines = Page::read().lines();
    let unsaid = lines.iter().map(|line| (page::left_over(line, &literals), line));
    let unsaid: Vec<_> = unsaid.filter(|(left, _)| !left.is_empty()).collect();
    assert!(unsaid.is_empty(), "no literal of src holds this of these lines: {unsaid:#?}");
}

#[test]
fn every_error_and_warning_of_the_program_is_on_the_page_or_left_out_for_a_reason() {
    let lines = Page::read().lines();
    let explained = |site: &Site| lines.iter().any(|line| site.literals.iter().all(|it| covers(it, line)));
    let left_out = |site: &Site| LEFT_OUT.iter().any(|(file, part, _)| is_left_out(site, file, part));
    let missing: Vec<String> = Source::read()
        .sites
        .iter()
        .filter(|site| !site.literals.is_empty() && !explained(site) && !left_out(site))
        .map(|site| format!("{}:{} {:?}", site.file, site.line, site.literals))
        .collect();
    assert!(
        missing.is_empty(),
        "an entry in doc/troubleshooting.md (symptom, log line, cause, cure), or one line in LEFT_OUT of \
         tests/troubleshooting.rs with the reason, is needed for:\n{}",
        missing.join("\n")
    );
}

#[test]
fn nothing_is_left_out_that_is_not_there() {
    let sites = Source::read().sites;
    for (file, part, _) in LEFT_OUT {
        assert!(
            sites.iter().any(|site| is_left_out(site, file, part)),
            "remove {file} {part:?} from LEFT_OUT"
        );
    }
}

fn is_left_out(site: &Site, file: &str, part: &str) -> bool {
    site.file.starts_with(file) && site.literals.iter().any(|it| it.join("{}").contains(part))
}
