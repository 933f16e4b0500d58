//! Entries of xinetd that start a tunnel.

use std::path::Path;

use super::finding::{Report, Severity};
use super::starts::{CommandLine, How, Start, is_missing, is_ours, not_executable, tunnel_of};
use super::tunnel::Tunnel;
use super::xinetd_files::{Attribute, Block, Kind, read};
use crate::config::problem::Place;
use crate::config::service_port;

/// What to do about an entry that is switched off.
const OFF: &str =
    "disable = yes: the service is switched off; write no and have xinetd read it again (kill -HUP)";

/// The entries, what is wrong with those of tunnels reported; with `all` also those of tunnels that are not there.
pub(super) fn look(tunnels: &[Tunnel], all: bool, report: &mut Report) -> Vec<Start> {
    let blocks = read();
    let defaults = blocks.iter().find(|block| block.kind == Kind::Defaults);
    blocks
        .iter()
        .filter(|block| block.kind == Kind::Service)
        .filter_map(|block| Entry { block, defaults }.look(tunnels, all, report))
        .collect()
}

/// The lines by which an OpenVPN that is woken by xinetd starts the configuration, as people had it until 2.5.
pub(super) fn of_openvpn(tunnel: &Tunnel) -> Vec<(Place, String)> {
    let name = tunnel.path.file_name().unwrap_or_default().to_string_lossy();
    let found = |block: Block| {
        let server = block.value("server")?.to_owned();
        let named = block.values("server_args").any(|word| word == name || Path::new(word) == tunnel.path);
        let place = Place::new(&block.file, block.attribute("server")?.line);
        (named && file_name(&server) == "openvpn").then_some((place, server))
    };
    read().into_iter().filter_map(found).collect()
}

/// One service, and the defaults of all.
struct Entry<'a> {
    block: &'a Block,
    defaults: Option<&'a Block>,
}

impl Entry<'_> {
    fn look(&self, tunnels: &[Tunnel], all: bool, report: &mut Report) -> Option<Start> {
        let arguments: Vec<&str> = self.block.values("server_args").collect();
        let server = self.block.value("server").unwrap_or_default();
        let mut start = Start {
            how: How::Xinetd,
            place: self.place(if self.is_off() { "disable" } else { "port" }),
            word: self
                .block
                .value(if self.is_off() { "disable" } else { "port" })
                .unwrap_or(&self.block.name)
                .to_owned(),
            port: self.port().filter(|_| {
                self.block.value("protocol") != Some("tcp")
                    && self.block.value("socket_type") != Some("stream")
            }),
            config: None,
            off: self.is_off().then(|| OFF.to_owned()),
        };
        let ours = std::iter::once(server).chain(arguments.iter().copied()).position(is_ours);
        let Some(ours) = ours else { return Some(start) };
        // With NAMEINARGS the first argument is the name of the program.
        let skip = if ours > 0 {
            ours
        } else {
            usize::from(self.block.values("flags").any(|flag| flag == "NAMEINARGS"))
        };
        let arguments = arguments.get(skip..).unwrap_or_default();
        let line = CommandLine::read(arguments);
        if all && !self.is_off() && is_missing(tunnels, &line.config) {
            let text = format!(
                "server_args: {}: no such configuration; name a file that is there",
                line.config.display()
            );
            let word = line.config.file_name().unwrap_or_default().to_string_lossy();
            report.add(Severity::Error, &self.place("server_args"), &word, &text);
        }
        let tunnel = tunnel_of(tunnels, &line, arguments)?;
        start.config = Some(tunnel.path.clone());
        if !self.is_off() && tunnel.asked {
            self.form(report);
            self.switches(report);
            self.names(report);
            self.socket(report);
            self.limits(report);
            self.program(server, report);
            self.command(&line, tunnel, report);
        }
        Some(start)
    }

    fn is_off(&self) -> bool {
        self.block.value("disable") == Some("yes")
    }

    /// The line of an attribute; that of the service where it is not given.
    fn place(&self, name: &str) -> Place {
        let line = self.block.attribute(name).map_or(self.block.line, |it| it.line);
        Place::new(&self.block.file, line)
    }

    fn error(&self, name: &str, text: &str, report: &mut Report) {
        self.tell(Severity::Error, name, text, report);
    }

    fn tell(&self, severity: Severity, name: &str, text: &str, report: &mut Report) {
        let given = self.block.attribute(name);
        let word = given.and_then(|it| it.values.first()).map_or("", String::as_str);
        let text = match given {
            Some(Attribute { values, .. }) if values.len() == 1 => format!("{name} = {word}: {text}"),
            _ => format!("{name}: {text}"),
        };
        report.add(severity, &self.place(name), word, &text);
    }

    /// What xinetd does not read at all.
    fn form(&self, report: &mut Report) {
        let place = Place::new(&self.block.file, self.block.line);
        if !self.block.braces {
            let text = format!(
                "service {}: its braces are missing; put a line {{ before its attributes and a line }} behind them",
                self.block.name
            );
            report.add(Severity::Error, &place, &self.block.name, &text);
        }
        let name = file_name(&self.block.file);
        if self.block.included && (name.contains('.') || name.ends_with('~')) {
            let text = "xinetd passes over files with a dot in their name or a ~ at its end; rename it";
            report.add(Severity::Error, &Place::new(&self.block.file, 0), "", text);
        }
    }

    fn switches(&self, report: &mut Report) {
        let Some(defaults) = self.defaults else { return };
        let (id, name) = (self.block.value("id").unwrap_or(&self.block.name), &self.block.name);
        let lists = |list: &str| defaults.values(list).any(|it| it == id || it == name);
        if defaults.attribute("enabled").is_some() && !lists("enabled") {
            self.default(
                "enabled",
                &format!("the list lacks {id}, so the service is switched off; add it"),
                report,
            );
        }
        if lists("disabled") {
            self.default(
                "disabled",
                &format!("the list has {id}, so the service is switched off; take it out"),
                report,
            );
        }
    }

    /// A warning about an attribute of the defaults.
    fn default(&self, name: &str, text: &str, report: &mut Report) {
        let Some(defaults) = self.defaults else { return };
        let line = defaults.attribute(name).map_or(defaults.line, |it| it.line);
        report.add(Severity::Warning, &Place::new(&defaults.file, line), name, &format!("{name}: {text}"));
    }

    fn names(&self, report: &mut Report) {
        let (name, file) = (&self.block.name, file_name(&self.block.file));
        let place = Place::new(&self.block.file, self.block.line);
        if self.block.included && file != *name {
            let text = format!(
                "service {name}: the file is called {file}; give both one name, or the next who looks for it will not find it"
            );
            report.add(Severity::Warning, &place, name, &text);
        }
        if self.block.value("id").is_some_and(|id| id != name) {
            let text = format!(
                "the service is called {name}, and the lists enabled and disabled go by this; give both one name"
            );
            self.tell(Severity::Warning, "id", &text, report);
        }
        let unlisted = self.block.values("type").any(|kind| kind == "UNLISTED");
        match (unlisted, self.block.value("port"), service_port(name)) {
            (true, None, _) => {
                self.error("port", "is missing; a service that is UNLISTED needs port = NUMBER", report)
            }
            (true, Some(_), _) => {}
            (false, _, Err(_)) => {
                let text = format!(
                    "service {name}: /etc/services lacks it; add its line (services.fragment has it), or write type = UNLISTED and port = NUMBER"
                );
                report.add(Severity::Error, &place, name, &text);
            }
            (false, Some(word), Ok(port)) if word.parse() != Ok(port) => {
                self.error("port", &format!("/etc/services says {port}, and xinetd refuses what differs; remove it, or write type = UNLISTED"), report);
            }
            (false, _, Ok(_)) => {}
        }
    }

    fn port(&self) -> Option<u16> {
        match self.block.value("port") {
            Some(word) => word.parse().ok(),
            None => service_port(&self.block.name).ok(),
        }
    }

    fn socket(&self, report: &mut Report) {
        for (name, wanted, why) in [
            ("socket_type", "dgram", "the tunnel takes datagrams"),
            ("protocol", "udp", "the tunnel speaks UDP"),
            ("wait", "yes", "the process takes the socket itself"),
        ] {
            match self.block.value(name) {
                Some(value) if value == wanted => {}
                Some(_) => self.error(name, &format!("{why}; write {name} = {wanted}"), report),
                None => self.error(name, &format!("is missing; write {name} = {wanted}"), report),
            }
        }
    }

    /// What lets a stranger switch the service off, or the weather.
    fn limits(&self, report: &mut Report) {
        let given = |name: &str| {
            let own = self.block.value(name).map(|value| (value, true));
            own.or_else(|| Some((self.defaults?.value(name)?, false)))
        };
        let mut tell = |name: &str, own: bool, text: &str| match own {
            true => self.tell(Severity::Warning, name, text, report),
            false => self.default(name, text, report),
        };
        match given("cps") {
            Some(("0", _)) => {}
            Some((_, own)) => tell(
                "cps",
                own,
                "so many starts a second close the port for everybody, and any stranger can cause them; write cps = 0 0 for the service",
            ),
            None => tell(
                "cps",
                true,
                "is not given, so 50 starts a second close the port for everybody, and any stranger can cause them; write cps = 0 0",
            ),
        }
        if let Some((_, own)) = given("max_load") {
            tell("max_load", own, "once refused, the service stays off until xinetd restarts; remove it");
        }
        if let Some((_, own)) = given("access_times") {
            tell("access_times", own, "once refused, the service stays off until xinetd restarts; remove it");
        }
        if let Some((count, own)) = given("instances")
            && count.parse::<u32>().is_ok_and(|count| count < 2)
        {
            tell(
                "instances",
                own,
                "once refused, the service stays off until xinetd restarts; remove it, for there is never more than one",
            );
        }
    }

    fn program(&self, server: &str, report: &mut Report) {
        if self.block.attribute("server").is_none() {
            self.error("server", "is missing; write server = /usr/sbin/naptun", report);
        } else if let Some(text) = not_executable(server) {
            self.error("server", &text, report);
        }
        if self.block.value("user").is_some_and(|user| !matches!(user, "root" | "0")) {
            self.error(
                "user",
                "only root can make the device; write root, naptun gives up what it does not need",
                report,
            );
        }
    }

    fn command(&self, line: &CommandLine, tunnel: &Tunnel, report: &mut Report) {
        let place = self.place("server_args");
        if line.problems.is_empty() && !line.inetd {
            let text = "server_args: --inetd is missing, so the process would not take the socket; write it before the others";
            report.add(Severity::Error, &place, "server_args", text);
        }
        for problem in line.own_problems(Some(tunnel)) {
            report.add(Severity::Error, &place, "server_args", &format!("server_args: {problem}"));
        }
    }
}

fn file_name(file: &str) -> String {
    Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
