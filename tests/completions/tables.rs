//! What can stand on the command line, as the program tells it: --help, and the table of directives.

use std::process::Command;

use naptun::config::table::{self, Standing};

/// What completes a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing does.
    Any,
    /// A configuration.
    Conf,
    File,
    Dir,
    /// A udp service of /etc/services.
    Service,
    /// A tun or tap device.
    Device,
    /// A configuration without its `.conf`.
    Tunnel,
    User,
    Group,
    Host,
    /// One of these.
    Words(&'static str),
}

/// An option with its values.
pub struct Flag {
    pub name: String,
    pub text: String,
    /// Of each value in turn; behind the first they may be left out.
    pub kinds: Vec<Kind>,
    /// Whether the first may be left out as well.
    pub optional: bool,
    pub repeats: bool,
}

/// A command with its own options.
pub struct Sub {
    pub name: String,
    pub text: String,
    pub flags: Vec<Flag>,
    /// What stands there without an option.
    pub values: Option<Kind>,
}

/// Words of an option, or of a parameter of that name.
const WORDS: &[(&str, &str)] = &[
    ("genkey", "secret"),
    ("inetd", "wait"),
    ("proto", "udp udp4 udp6"),
    ("protocol", "udp udp4 udp6"),
    ("dev-type", "tun tap"),
    ("topology", "p2p net30 subnet"),
    ("verb", "0 1 2 3 4 5 6 7 8 9 10 11"),
    ("script-security", "0 1 2 3"),
    ("cipher", "AES-256-GCM CHACHA20-POLY1305"),
    ("data-ciphers", "AES-256-GCM CHACHA20-POLY1305 AES-256-GCM:CHACHA20-POLY1305"),
    ("gateway", "vpn_gateway net_gateway remote_host"),
    ("resolv-retry", "infinite"),
    ("launcher", "xinetd systemd inetd"),
    ("flag", "def1 ipv6 !ipv4 local block-local bypass-dns"),
    ("type", "DNS DNS6 DOMAIN DOMAIN-SEARCH"),
];

/// Directives that add up.
const REPEAT: &[&str] =
    &["remote", "route", "route-ipv6", "setenv", "setenv-safe", "ignore-unknown-option", "config"];

/// The options of a tunnel: those of --help, and then the other directives that work.
pub fn options() -> Vec<Flag> {
    let help = help(&[]);
    let mut flags =
        listed(&help, "Options:").map(|(name, text)| flag(&help, &name, text)).collect::<Vec<_>>();
    for row in table::directives().iter().filter(|row| row.standing() == Standing::Works) {
        if flags.iter().all(|flag| flag.name != row.name) {
            flags.push(directive(row.name, row.meaning));
        }
    }
    flags
}

/// The commands of --help.
pub fn commands() -> Vec<Sub> {
    let all = help(&[]);
    listed(&all, "Commands:")
        .map(|(name, text)| {
            let help = help(&[&name]);
            let flags = listed(&help, "Options:").map(|(name, text)| own_flag(&help, &name, text)).collect();
            let values = listed(&help, "Positional Arguments:").next().map(|(value, _)| kind("", &value));
            Sub { name, text, flags, values }
        })
        .collect()
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_naptun")).args(words).arg("--help").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// First word and text of each entry below `title`.
fn listed<'a>(help: &'a str, title: &str) -> impl Iterator<Item = (String, String)> + use<'a> {
    let title = title.to_owned();
    let lines =
        help.lines().skip_while(move |line| *line != title).skip(1).take_while(|line| !line.is_empty());
    let entries = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    entries.map(|line| {
        let (name, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let text = text.trim().trim_start_matches("help ").trim();
        (name.trim_end_matches(',').trim_start_matches("--").to_owned(), short(text))
    })
}

/// An option of a tunnel. Its values are those of the directive of its name.
fn flag(help: &str, name: &str, text: String) -> Flag {
    match table::find(name).filter(|row| row.standing() == Standing::Works) {
        Some(_) => Flag { text, ..directive(name, "") },
        None => own_flag(help, name, text),
    }
}

fn directive(name: &str, meaning: &str) -> Flag {
    let row = table::find(name).unwrap();
    let words = || row.params.split_whitespace().filter(|word| *word != "...");
    Flag {
        name: name.to_owned(),
        text: short(meaning),
        kinds: words().map(|word| kind(name, word.trim_matches(['[', ']']))).collect(),
        optional: words().next().is_some_and(|word| word.starts_with('[')),
        repeats: REPEAT.contains(&name),
    }
}

/// An option of a command. Its value is in the line of usage: `[--cd <dir>]`.
fn own_flag(help: &str, name: &str, text: String) -> Flag {
    let usage = help.lines().next().unwrap().split_once(&format!("--{name} <"));
    let value = usage.map(|(_, rest)| rest.split('>').next().unwrap());
    Flag {
        name: name.to_owned(),
        text,
        kinds: value.map(|value| kind(name, value.trim_end_matches("..."))).into_iter().collect(),
        optional: name == "genkey",
        repeats: value.is_some_and(|value| value.ends_with("...")),
    }
}

/// By the name of the option, or else of the parameter.
fn kind(option: &str, parameter: &str) -> Kind {
    let words =
        |name: &str| WORDS.iter().find(|(word, _)| *word == name).map(|(_, words)| Kind::Words(words));
    let by_parameter = match parameter {
        "file" if matches!(option, "config" | "" | "openvpn") => Kind::Conf,
        "file" | "command" => Kind::File,
        "dir" => Kind::Dir,
        "port" | "service" => Kind::Service,
        "host" | "listener" | "caller" | "addr" => Kind::Host,
        "name" => match option {
            "dev" => Kind::Device,
            "user" => Kind::User,
            "group" => Kind::Group,
            "service" => Kind::Service,
            "" => Kind::Tunnel,
            _ => Kind::Any,
        },
        _ => Kind::Any,
    };
    // `program` of inetd stands behind `wait`.
    let second = option == "inetd" && parameter == "program" || option == "route";
    let option = if second { parameter } else { option };
    words(option).filter(|_| by_parameter == Kind::Any).or_else(|| words(parameter)).unwrap_or(by_parameter)
}

/// The first clause.
fn short(text: &str) -> String {
    text.split([';', ':', '(']).next().unwrap_or_default().trim().to_owned()
}
