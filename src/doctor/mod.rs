//! `naptun check`, the doctor: what is wrong with configurations, with each beside the others, and with this host as
//! far as they need it. It only looks.
//!
//! Each finding is one line, `FILE:LINE: error: WHAT; WHAT TO DO`, and below it, where there is something to point at,
//! the line of the file and a line of carets. Only errors make the exit code `EX_CONFIG`: a warning is something that
//! works today, or that may be meant so; a note says what has no effect.

mod between;
mod bridge;
mod callers;
mod excerpt;
mod finding;
mod host;
mod inetd;
mod network;
mod openvpn;
mod starts;
mod systemd;
mod tunnel;
mod xinetd;
mod xinetd_files;

use std::path::PathBuf;

use crate::config::check_cd;
use crate::error::Exit;
use finding::{Report, Severity};
use host::Host;
use tunnel::Tunnel;

/// What `naptun check` is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--cd`, not checked yet: where relative names start.
    pub cd: Option<PathBuf>,
    /// The configurations; none stands for every `*.conf` of `cd`.
    pub files: Vec<PathBuf>,
    /// Configurations that are OpenVPN's, whatever they look like.
    pub openvpn: Vec<PathBuf>,
    /// `--files-only`: not a look at this host.
    pub files_only: bool,
}

/// Looks at everything that `request` names.
///
/// Gives the lines to print, without line ends, and how to exit: `EX_OK` if there is no error, otherwise `EX_CONFIG`.
pub fn examine(request: &Request) -> (Vec<String>, Exit) {
    if let Some(Err(error)) = request.cd.as_deref().map(check_cd) {
        return (vec![error.to_string()], Exit::Config);
    }
    let mut report = Report::default();
    let names = names(request, &mut report);
    let cd = request.cd.as_deref();
    let (theirs, tunnels): (Vec<_>, Vec<_>) =
        tunnel::read(cd, &names).into_iter().partition(|tunnel| tunnel.openvpn);
    let flagged = request.openvpn.iter().map(|file| Tunnel::read_openvpn(cd, &file.to_string_lossy()));
    let theirs: Vec<Tunnel> = theirs.into_iter().filter(|tunnel| tunnel.asked).chain(flagged).collect();
    for tunnel in tunnels.iter().filter(|tunnel| tunnel.asked) {
        tunnel.report(request.files_only, &mut report);
    }
    between::compare(&tunnels, &mut report);
    if !request.files_only && tunnels.iter().any(|tunnel| tunnel.asked) {
        look_at_host(&tunnels, request.files.is_empty(), &mut report);
    }
    let (mut lines, mut exit) = report.finish(&tunnels);
    for tunnel in &theirs {
        let (explained, works) = openvpn::explain(tunnel);
        lines.extend(explained);
        if !works {
            exit = Exit::Config;
        }
    }
    (lines, exit)
}

fn look_at_host(tunnels: &[Tunnel], all: bool, report: &mut Report) {
    let host = Host::look();
    for tunnel in tunnels.iter().filter(|tunnel| tunnel.asked) {
        network::look(tunnel, &host, report);
        bridge::look(tunnel, &host, report);
    }
    starts::look(tunnels, all, &host, report);
}

/// The files to look at, as they will be called.
fn names(request: &Request, report: &mut Report) -> Vec<String> {
    if let (Some(cd), true) = (&request.cd, request.files.is_empty() && request.openvpn.is_empty()) {
        let names = tunnel::configurations(cd);
        if names.is_empty() {
            let text = "no file *.conf is there; naptun pair writes them, or name one";
            report.add(Severity::Error, &tunnel::whole(&cd.to_string_lossy()), "", text);
        }
        return names;
    }
    let mut names = Vec::new();
    for file in &request.files {
        match file.to_str() {
            Some(name) => names.push(name.to_owned()),
            None => {
                let text = "the name is not UTF-8; rename it";
                report.add(Severity::Error, &tunnel::whole(&file.to_string_lossy()), "", text);
            }
        }
    }
    names
}
