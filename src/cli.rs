//! The command line.
//!
//! OpenVPN's users write `--ifconfig 10.8.0.1 10.8.0.2` and `--daemon name`; argh takes exactly one value for an option
//! and none for a switch. So the words behind an option are first joined into one quoted value, as many as its
//! directive takes; a directive that is no flag of its own goes through a hidden one. Nothing here prints or exits:
//! under a super-server the standard descriptors are the tunnel's socket.

mod check;
mod pair;
mod status;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::config::check_cd;
use crate::config::grammar::{self, Statement};
use crate::config::problem::{Place, shown};
use crate::config::table;
use crate::doctor::Request;
use crate::error::{Exit, one_line};
use crate::pair::Wish;
use crate::report;

/// Flags without a value.
const SWITCHES: &[&str] = &["float", "nobind"];
/// Flags with one value for argh. Every other directive of the table goes through `--directive`.
const OPTIONS: &[&str] = &[
    "inetd",
    "daemon",
    "syslog",
    "config",
    "cd",
    "port",
    "lport",
    "rport",
    "proto",
    "remote",
    "local",
    "secret",
    "dev",
    "dev-type",
    "ifconfig",
    "route",
    "user",
    "group",
    "script-security",
    "up",
    "log",
    "log-append",
    "writepid",
    "verb",
    "inactive",
    "keepalive",
    "ping",
];

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Run a tunnel.
    Run {
        /// `--cd`, checked: entered before any file is read.
        cd: Option<PathBuf>,
        /// All other flags as directives, `config` among them.
        statements: Vec<Statement>,
    },
    /// `check [--cd DIR] [FILE...]`
    Check(Request),
    /// `pair LISTENER CALLER ...`
    Pair(Box<Wish>),
    /// `status [--cd DIR] [--watch] [--json | --prometheus] [NAME...]`
    Status(report::Request),
    /// `--genkey [--secret FILE]`
    GenKey {
        /// Where the key goes; `None` is standard output.
        file: Option<PathBuf>,
    },
}

/// The end before anything began: help, the version, or what is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Early {
    /// Text to print, with its last line end: on standard output if `exit` is `EX_OK`, otherwise on standard error.
    pub text: String,
    /// How to exit.
    pub exit: Exit,
}

/// An on-demand tunnel endpoint: woken by the first datagram, one shared key, gone when idle.
// The comments are the text of --help; what looks like a link there is a parameter.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(FromArgs, Debug)]
#[argh(note = "\
Give the words of an option one after another: --ifconfig 10.8.0.2 10.8.0.1
Every directive of a configuration file is an option too, and wins over the file.
{command_name} FILE.conf is short for {command_name} --config FILE.conf")]
pub struct Args {
    /// read this configuration file
    #[argh(option, arg_name = "file")]
    config: Vec<String>,

    /// where file names start: absolute, without . and ..
    #[argh(option, arg_name = "dir")]
    cd: Option<String>,

    /// a super-server passes the socket; words: [wait] [program]
    #[argh(option, arg_name = "words")]
    inetd: Option<String>,

    /// go to the background once all is up; word: [program]
    #[argh(option, arg_name = "program")]
    daemon: Option<String>,

    /// the peer; words: host [port] [proto]
    #[argh(option, arg_name = "host")]
    remote: Vec<String>,

    /// the UDP port of both ends, number or service name
    #[argh(option, arg_name = "port")]
    port: Option<String>,

    /// the UDP port of this end
    #[argh(option, arg_name = "port")]
    lport: Option<String>,

    /// the UDP port of the peer
    #[argh(option, arg_name = "port")]
    rport: Option<String>,

    /// udp, udp4 or udp6
    #[argh(option, arg_name = "proto")]
    proto: Option<String>,

    /// the address to bind
    #[argh(option, arg_name = "host")]
    local: Option<String>,

    /// any free local port
    #[argh(switch)]
    nobind: bool,

    /// the peer may come from any address
    #[argh(switch)]
    float: bool,

    /// the shared key
    #[argh(option, arg_name = "file")]
    secret: Option<String>,

    /// the device: tun, tap, or a name
    #[argh(option, arg_name = "name")]
    dev: Option<String>,

    /// tun or tap, where the name does not say
    #[argh(option, arg_name = "type")]
    dev_type: Option<String>,

    /// addresses; words: local remote-or-netmask
    #[argh(option, arg_name = "local")]
    ifconfig: Option<String>,

    /// a route; words: network [netmask] [gateway] [metric]
    #[argh(option, arg_name = "network")]
    route: Vec<String>,

    /// the user to become
    #[argh(option, arg_name = "name")]
    user: Option<String>,

    /// the group to become
    #[argh(option, arg_name = "name")]
    group: Option<String>,

    /// allow scripts with 2
    #[argh(option, arg_name = "level")]
    script_security: Option<String>,

    /// a command for when the device is up, in quotes
    #[argh(option, arg_name = "command")]
    up: Option<String>,

    /// end after so long without traffic; words: seconds [bytes]
    #[argh(option, arg_name = "seconds")]
    inactive: Option<String>,

    /// ping and time-out in one; words: ping timeout
    #[argh(option, arg_name = "seconds")]
    keepalive: Option<String>,

    /// send a keepalive after so long in silence
    #[argh(option, arg_name = "seconds")]
    ping: Option<String>,

    /// how much to log, 0 to 11
    #[argh(option, arg_name = "level")]
    verb: Option<String>,

    /// log to this file, emptied first
    #[argh(option, arg_name = "file")]
    log: Option<String>,

    /// log to the end of this file
    #[argh(option, arg_name = "file")]
    log_append: Option<String>,

    /// log to syslog; word: [program]
    #[argh(option, arg_name = "program")]
    syslog: Option<String>,

    /// write the process id there
    #[argh(option, arg_name = "file")]
    writepid: Option<String>,

    /// make a key in the file of --secret, or on standard output
    #[argh(option, arg_name = "words")]
    genkey: Option<String>,

    /// show the version
    #[argh(switch)]
    version: bool,

    /// any directive that has no flag here
    #[argh(option, hidden_help)]
    directive: Vec<String>,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, and it is taken apart at once")]
enum Command {
    Check(check::Check),
    Pair(pair::Pair),
    Status(status::Status),
}

impl Args {
    /// Takes the arguments behind the program's name.
    ///
    /// # Errors
    /// Help and version with `EX_OK`; `EX_USAGE` with the reason for anything wrong. Values are not judged here but
    /// with those of the file.
    pub fn parse(args: &[OsString]) -> Result<Parsed, Early> {
        let words = utf8(args)?;
        let joined = match words.as_slice() {
            ["pair", ..] => pair::words(&words),
            ["check" | "status", ..] => words.iter().map(ToString::to_string).collect(),
            [file] if !file.starts_with('-') && *file != "help" => {
                vec!["--config".to_owned(), grammar::quote(file)]
            }
            _ => join(&words)?,
        };
        let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
        Self::from_args(&["naptun"], &joined).map_err(|exit| early(&exit, &joined))?.request()
    }

    fn request(self) -> Result<Parsed, Early> {
        if self.version {
            let text = concat!("naptun ", env!("CARGO_PKG_VERSION"), "\n").to_owned();
            return Err(Early { text, exit: Exit::Ok });
        }
        match self.command {
            Some(Command::Check(check)) => return check.request(),
            Some(Command::Pair(pair)) => return Ok(Parsed::Pair(Box::new(pair.wish()))),
            Some(Command::Status(status)) => return status.request(),
            None => {}
        }
        let cd = self.cd.as_deref().map(directory).transpose()?;
        if self.genkey.is_some() {
            return self.key_request(cd.as_deref());
        }
        if self.log.is_some() && self.log_append.is_some() {
            return Err(usage("--log and --log-append: contradict each other; remove one of the two"));
        }
        Ok(Parsed::Run { cd, statements: self.statements()? })
    }

    /// `--genkey --secret FILE`, or `--genkey secret FILE` as OpenVPN writes it since 2.5.
    fn key_request(&self, cd: Option<&Path>) -> Result<Parsed, Early> {
        let file = match self.values("genkey")?.as_slice() {
            [] => self.values("secret")?.first().cloned(),
            [kind] if kind == "secret" => self.values("secret")?.first().cloned(),
            [kind, file] if kind == "secret" => Some(file.clone()),
            [word, ..] => {
                let word = shown(word);
                return Err(usage(&format!(
                    "--genkey {word}: is no kind of key; expected --genkey --secret FILE"
                )));
            }
        };
        let relative = |file: String| cd.map_or_else(|| PathBuf::from(&file), |cd| cd.join(&file));
        Ok(Parsed::GenKey { file: file.filter(|file| !file.is_empty()).map(relative) })
    }

    /// The words of `--genkey` or `--secret`.
    fn values(&self, name: &str) -> Result<Vec<String>, Early> {
        let value = if name == "genkey" { &self.genkey } else { &self.secret };
        split(name, value.as_deref().unwrap_or_default())
    }

    /// The flags as directives. What is special stands behind what is general, so that it wins: `lport` behind `port`.
    fn statements(&self) -> Result<Vec<Statement>, Early> {
        let one = [
            ("inetd", &self.inetd),
            ("daemon", &self.daemon),
            ("port", &self.port),
            ("lport", &self.lport),
            ("rport", &self.rport),
            ("proto", &self.proto),
            ("local", &self.local),
            ("secret", &self.secret),
            ("dev", &self.dev),
            ("dev-type", &self.dev_type),
            ("ifconfig", &self.ifconfig),
            ("user", &self.user),
            ("group", &self.group),
            ("script-security", &self.script_security),
            ("up", &self.up),
            ("inactive", &self.inactive),
            ("keepalive", &self.keepalive),
            ("ping", &self.ping),
            ("verb", &self.verb),
            ("log", &self.log),
            ("log-append", &self.log_append),
            ("syslog", &self.syslog),
            ("writepid", &self.writepid),
        ];
        let many = [("config", &self.config), ("remote", &self.remote), ("route", &self.route)];
        let switches = [("nobind", self.nobind), ("float", self.float)];
        let many = many.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        let one = one.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let mut statements = Vec::new();
        for (name, value) in many.chain(one) {
            statements.push(statement(std::iter::once(name.to_owned()).chain(split(name, value)?)));
        }
        for (name, _) in switches.into_iter().filter(|(_, given)| *given) {
            statements.push(statement([name.to_owned()]));
        }
        for value in &self.directive {
            statements.push(statement(split("directive", value)?));
        }
        Ok(statements)
    }
}

fn utf8(args: &[OsString]) -> Result<Vec<&str>, Early> {
    let utf8 = |arg: &OsString| usage(&format!("{}: is not UTF-8", shown(&arg.to_string_lossy())));
    args.iter().map(|arg| arg.to_str().ok_or_else(|| utf8(arg))).collect()
}

/// Joins the words behind each option into one quoted value.
fn join(words: &[&str]) -> Result<Vec<String>, Early> {
    let mut joined = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(name) = word.strip_prefix("--") else {
            let word = shown(word);
            return Err(usage(&format!("{word}: is no option; expected a word that starts with --")));
        };
        let Some(most) = parameters(name)? else {
            joined.push((*word).to_owned());
            continue;
        };
        let mut values = Vec::new();
        while let Some(value) = rest.next_if(|value| values.len() < most && !value.starts_with("--")) {
            values.push(grammar::quote(value));
        }
        joined.extend(option(word, name, &values));
    }
    Ok(joined)
}

/// How many words `--name` may take; `None` for what argh handles alone.
fn parameters(name: &str) -> Result<Option<usize>, Early> {
    match name {
        "genkey" => return Ok(Some(2)),
        "version" | "help" => return Ok(None),
        name if SWITCHES.contains(&name) => return Ok(None),
        _ => {}
    }
    table::find(name).map(|directive| Some(directive.arity().1)).ok_or_else(|| unknown(name))
}

fn option(word: &str, name: &str, values: &[String]) -> [String; 2] {
    if name == "genkey" || OPTIONS.contains(&name) {
        return [word.to_owned(), values.join(" ")];
    }
    ["--directive".to_owned(), format!("{} {}", grammar::quote(name), values.join(" "))]
}

fn unknown(name: &str) -> Early {
    let (bare, value) = name.split_once('=').unwrap_or((name, ""));
    let advice = match table::nearest(bare) {
        Some(near) if near == bare => format!("write --{near} {value}"),
        Some(near) => format!("did you mean --{near}?"),
        None => "naptun --help lists the options".to_owned(),
    };
    usage(&format!("--{}: is no option; {advice}", name.escape_debug()))
}

/// The directory of `--cd`, if it may be one.
fn directory(value: &str) -> Result<PathBuf, Early> {
    let words = split("cd", value)?;
    let [dir] = words.as_slice() else { return Err(usage("--cd: takes 1 parameter; expected --cd DIR")) };
    let dir = PathBuf::from(dir);
    check_cd(&dir).map_err(|error| usage(&format!("--{error}")))?;
    Ok(dir)
}

fn split(name: &str, value: &str) -> Result<Vec<String>, Early> {
    grammar::split_words(value)
        .map_err(|fault| usage(&format!("--{name}: {}; {}", fault.cause, fault.expected)))
}

fn statement(words: impl IntoIterator<Item = String>) -> Statement {
    Statement { words: words.into_iter().collect(), inline: None, place: Place::command_line() }
}

/// argh repeats words as they are; the line ends between its own lines must stay.
fn early(exit: &argh::EarlyExit, words: &[&str]) -> Early {
    let lines = words.iter().fold(exit.output.clone(), |text, word| text.replace(word, &one_line(word)));
    let text = format!("{}\n", lines.trim_end());
    Early { text, exit: if exit.status.is_ok() { Exit::Ok } else { Exit::Usage } }
}

fn usage(text: &str) -> Early {
    Early { text: format!("naptun: {text}\n"), exit: Exit::Usage }
}
