//! The list of callers that `scripts/rc.naptun` starts: a file `callers` beside the configurations.

use std::path::PathBuf;

use super::finding::{Report, Severity};
use super::starts::{How, Start};
use super::tunnel::Tunnel;
use crate::config::problem::Place;
use crate::config::{examine, service_port};

/// Its name.
const LIST: &str = "callers";

/// The lines of the lists beside `tunnels`, what is wrong with them reported.
pub(super) fn look(tunnels: &[Tunnel], report: &mut Report) -> Vec<Start> {
    let mut folders: Vec<PathBuf> = tunnels
        .iter()
        .filter(|tunnel| tunnel.asked)
        .filter_map(|tunnel| Some(tunnel.path.parent()?.to_path_buf()))
        .collect();
    folders.sort();
    folders.dedup();
    let mut starts = Vec::new();
    for folder in folders {
        let Some(text) = examine::text(&folder, LIST) else { continue };
        let file = folder.join(LIST).to_string_lossy().into_owned();
        for (line, number) in text.lines().zip(1..) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = Place::new(&file, number);
            let (port, name) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [name] => (None, *name),
                [port, name] => (Some(*port), *name),
                [_, _, word, ..] => {
                    let text = format!("{word}: is one word too many; expected [PORT] CONFIG");
                    report.add(Severity::Error, &place, word, &text);
                    continue;
                }
            };
            let config = folder.join(name);
            let config = config.canonicalize().unwrap_or(config);
            let Some(tunnel) = tunnels.iter().find(|tunnel| tunnel.path == config) else {
                if !config.exists() {
                    report.add(
                        Severity::Error,
                        &place,
                        name,
                        &format!("{name}: no such configuration; name a file of this folder"),
                    );
                }
                continue;
            };
            let start = Start {
                how: How::Caller,
                place,
                word: name.to_owned(),
                port: None,
                config: Some(config),
                off: None,
            };
            starts.push(Start { port: port_of(tunnel, port, &start, report), ..start });
        }
    }
    starts
}

fn port_of(tunnel: &Tunnel, word: Option<&str>, start: &Start, report: &mut Report) -> Option<u16> {
    let settings = &tunnel.exam.settings;
    if !settings.is_caller() && tunnel.asked && tunnel.exam.place("dev").is_some() {
        let text = format!(
            "{}: has no remote, so it would wait to be called; add remote, or remove the line",
            start.word
        );
        report.add(Severity::Warning, &start.place, &start.word, &text);
    }
    let Some(word) = word else { return Some(settings.lport).filter(|port| *port > 0) };
    match service_port(word) {
        Ok(port) => Some(port),
        Err(fault) => {
            let text = format!("{word}: {}; {}", fault.cause, fault.expected);
            report.add(Severity::Error, &start.place, word, &text);
            None
        }
    }
}
