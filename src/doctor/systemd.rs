//! Units of the templates `naptun@.socket` and `naptun-caller@.service` that start a tunnel.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::{Report, Severity};
use super::starts::{How, Start};
use super::tunnel::{Tunnel, whole};
use crate::config::examine;
use crate::config::problem::Place;

/// Where units lie, what wins first.
const FOLDERS: &[&str] =
    &["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Where the templates take configurations from.
const CONFIGURATIONS: &str = "/etc/naptun";

/// The units of `tunnels`, what is wrong with them reported.
pub(super) fn look(tunnels: &[Tunnel], report: &mut Report) -> Vec<Start> {
    let theirs = tunnels.iter().filter(|tunnel| tunnel.path.parent() == Some(Path::new(CONFIGURATIONS)));
    theirs
        .flat_map(|tunnel| {
            let stem = tunnel.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let start = |how, unit: &str, place| Start {
                how,
                place,
                word: String::new(),
                port: None,
                config: Some(tunnel.path.clone()),
                off: (!is_enabled(unit))
                    .then(|| format!("{unit} is not enabled; systemctl enable --now {unit}")),
            };
            let (socket, caller) = (format!("naptun@{stem}.socket"), format!("naptun-caller@{stem}.service"));
            let listens = listening(&socket);
            let mut starts = Vec::new();
            if is_enabled(&socket) || listens.is_some() {
                let place = listens
                    .as_ref()
                    .map_or_else(|| whole(&format!("/etc/systemd/system/{socket}.d")), |it| it.place.clone());
                let port = listens.as_ref().and_then(|it| it.port);
                let word = listens.as_ref().map_or_else(String::new, |it| it.word.clone());
                let found = Start { port, word, ..start(How::Systemd, &socket, place) };
                if tunnel.asked {
                    tell(&socket, listens.as_ref(), &found.place, report);
                }
                starts.push(found);
            }
            if is_enabled(&caller) {
                let port = Some(tunnel.exam.settings.lport).filter(|port| *port > 0);
                starts.push(Start { port, ..start(How::Caller, &caller, tunnel.place("remote")) });
            }
            starts
        })
        .collect()
}

fn tell(unit: &str, listens: Option<&Listens>, place: &Place, report: &mut Report) {
    let Some(listens) = listens else {
        let text = format!(
            "{unit} is enabled, but nothing says its port; write [Socket] and ListenDatagram=PORT to {place}/port.conf"
        );
        return report.add(Severity::Error, place, "", &text);
    };
    if listens.stream {
        let text = "ListenStream: the tunnel speaks UDP; write ListenDatagram";
        return report.add(Severity::Error, &listens.place, &listens.word, text);
    }
    if listens.port.is_none() {
        let text = format!("ListenDatagram={}: is no port; write its number", listens.word);
        report.add(Severity::Error, &listens.place, &listens.word, &text);
    }
}

/// Whether a `.wants` folder has the unit.
fn is_enabled(unit: &str) -> bool {
    let wants = fs::read_dir("/etc/systemd/system").into_iter().flatten().flatten();
    let mut folders = wants.filter(|entry| entry.file_name().to_string_lossy().ends_with(".wants"));
    folders.any(|entry| entry.path().join(unit).symlink_metadata().is_ok())
}

/// The last line of a unit or its drop-ins that says where it listens.
struct Listens {
    place: Place,
    word: String,
    port: Option<u16>,
    stream: bool,
}

fn listening(unit: &str) -> Option<Listens> {
    let mut files: Vec<PathBuf> = FOLDERS.iter().map(|folder| Path::new(folder).join(unit)).collect();
    for folder in FOLDERS {
        let entries =
            fs::read_dir(Path::new(folder).join(format!("{unit}.d"))).into_iter().flatten().flatten();
        let mut drop_ins: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|it| it == "conf"))
            .collect();
        drop_ins.sort();
        files.extend(drop_ins);
    }
    let mut last = None;
    for file in files {
        let name = file.to_string_lossy().into_owned();
        let Some(text) = examine::text(Path::new("/"), &name) else { continue };
        for (line, number) in text.lines().zip(1..) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            if !matches!(key, "ListenDatagram" | "ListenStream") || value.is_empty() {
                continue;
            }
            let port = value.rsplit(':').next().and_then(|port| port.parse().ok());
            let stream = key == "ListenStream";
            last = Some(Listens {
                place: Place::new(&name, number),
                word: value.to_owned(),
                port: port.filter(|_| !stream),
                stream,
            });
        }
    }
    last
}
