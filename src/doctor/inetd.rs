//! Lines of /etc/inetd.conf that start a tunnel.

use std::path::Path;

use super::finding::{Report, Severity};
use super::starts::{CommandLine, How, Start, is_missing, is_ours, not_executable, tunnel_of};
use super::tunnel::Tunnel;
use crate::config::problem::Place;
use crate::config::{examine, service_port};

const FILE: &str = "/etc/inetd.conf";

/// The lines, what is wrong with those of tunnels reported; with `all` also those of tunnels that are not there.
pub(super) fn look(tunnels: &[Tunnel], all: bool, report: &mut Report) -> Vec<Start> {
    let Some(text) = examine::text(Path::new("/"), FILE) else { return Vec::new() };
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|(line, number)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Line { place: Place::new(FILE, number), words }.look(tunnels, all, report)
        })
        .collect()
}

/// `SERVICE TYPE PROTOCOL WAIT USER PROGRAM NAME ARGUMENTS`.
struct Line<'a> {
    place: Place,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn look(&self, tunnels: &[Tunnel], all: bool, report: &mut Report) -> Option<Start> {
        let &[service, kind, protocol, wait, user, program, ref rest @ ..] = self.words.as_slice() else {
            return None;
        };
        // An address may stand before the service.
        let service = service.rsplit(':').next().unwrap_or(service);
        let port = service_port(service);
        let mut start = Start {
            how: How::Inetd,
            place: self.place.clone(),
            word: service.to_owned(),
            port: port.as_ref().ok().copied().filter(|_| protocol.starts_with("udp")),
            config: None,
            off: None,
        };
        let names: Vec<&str> = std::iter::once(program).chain(rest.iter().copied()).collect();
        let ours = names.iter().position(|word| is_ours(word))?;
        // Behind the program stands the name that it is called by.
        let arguments = names.get(ours + if ours == 0 { 2 } else { 1 }..).unwrap_or_default();
        let line = CommandLine::read(arguments);
        let tunnel = tunnel_of(tunnels, &line, arguments);
        let mut tell = |word: &str, text: &str| {
            report.add(Severity::Error, &self.place, word, &format!("{word}: {text}"))
        };
        if all && is_missing(tunnels, &line.config) {
            tell(arguments.last().unwrap_or(&""), "no such configuration; name a file that is there");
        }
        let tunnel = tunnel?;
        start.config = Some(tunnel.path.clone());
        if !tunnel.asked {
            return Some(start);
        }
        if let Err(fault) = port {
            tell(service, &format!("{}; {}", fault.cause, fault.expected));
        }
        if kind != "dgram" {
            tell(kind, "the tunnel takes datagrams; write dgram");
        }
        if !protocol.starts_with("udp") {
            tell(protocol, "the tunnel speaks UDP; write udp");
        }
        if wait.split('.').next() != Some("wait") {
            tell(wait, "the process takes the socket itself; write wait");
        }
        if !matches!(user.split(['.', ':']).next(), Some("root" | "0")) {
            tell(user, "only root can make the device; write root, naptun gives up what it does not need");
        }
        if let Some(text) = not_executable(program) {
            tell(program, &text);
        }
        if line.problems.is_empty() && !line.inetd {
            tell(arguments.first().unwrap_or(&""), "--inetd is missing; write it before the others");
        }
        for problem in line.own_problems(Some(tunnel)) {
            report.add(Severity::Error, &self.place, program, problem);
        }
        Some(start)
    }
}
