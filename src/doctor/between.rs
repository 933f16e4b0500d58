//! Tunnels of one host beside each other: what two of them cannot both have.

use std::path::Path;

use super::finding::{Report, Severity};
use super::tunnel::{Claim, Tunnel, covering};
use crate::os::route::Network;

/// Compares each tunnel that is reported on with all others. What two have in common is told at the later one.
pub(super) fn compare(tunnels: &[Tunnel], report: &mut Report) {
    for (i, tunnel) in tunnels.iter().enumerate().filter(|(_, tunnel)| tunnel.asked) {
        let earlier = tunnels.iter().take(i);
        let context = tunnels.iter().skip(i + 1).filter(|tunnel| !tunnel.asked);
        for other in earlier.chain(context) {
            Pair { tunnel, other }.compare(report);
        }
        for other in tunnels.iter().zip(0..).filter(|(_, n)| *n != i).map(|(other, _)| other) {
            Pair { tunnel, other }.remotes(report);
        }
    }
}

/// A tunnel, and one that it is compared with.
struct Pair<'a> {
    tunnel: &'a Tunnel,
    other: &'a Tunnel,
}

impl Pair<'_> {
    fn compare(&self, report: &mut Report) {
        if self.are_both_ends() {
            return self.keys_of_both_ends(report);
        }
        if !self.is_the_same_tunnel(report) {
            self.addresses(report);
        }
        self.routes(report);
        self.device(report);
        self.port(report);
        self.files(report);
    }

    /// Whether the addresses of one are those of the other, the ends changed: they do not run on one host.
    fn are_both_ends(&self) -> bool {
        let ends = |tunnel: &Tunnel| tunnel.exam.settings.ifconfig.clone();
        match (ends(self.tunnel), ends(self.other)) {
            (Some(a), Some(b)) => a.local == b.remote_or_netmask && a.remote_or_netmask == b.local,
            _ => false,
        }
    }

    fn same_key(&self) -> Option<bool> {
        let (a, b) = (self.tunnel.exam.key.as_ref()?, self.other.exam.key.as_ref()?);
        Some(a.as_bytes() == b.as_bytes())
    }

    fn keys_of_both_ends(&self, report: &mut Report) {
        if self.same_key() == Some(false) {
            let text = format!(
                "secret: the other end of this tunnel, {}, has another key; copy one key to both ends",
                at(self.other, "secret")
            );
            report.add(Severity::Error, &self.tunnel.place("secret"), "secret", &text);
        }
    }

    fn is_the_same_tunnel(&self, report: &mut Report) -> bool {
        let (mine, others) = (self.tunnel.inner(), self.other.inner());
        let same = !mine.is_empty()
            && mine.len() == others.len()
            && mine.iter().zip(&others).all(|(a, b)| a.network == b.network && a.word == b.word);
        if !(same && self.same_key() == Some(true)) {
            return false;
        }
        let Some(first) = mine.first() else { return false };
        let text = format!(
            "{}: {} has the same addresses and the same key; only one of the two can be up: remove one, or give it addresses of its own",
            first.subject,
            at(self.other, "ifconfig")
        );
        report.add(Severity::Error, &first.place, &first.word, &text);
        true
    }

    /// Whatever is up first keeps the other from coming up.
    fn addresses(&self, report: &mut Report) {
        let others = self.other.inner();
        for mine in self.tunnel.inner() {
            let taken = others.iter().find(|other| meet(&mine.network, &other.network));
            let routed =
                || self.other.routes().into_iter().find(|other| mine.network.contains(&other.network));
            let text = match taken {
                Some(other) => format!("{} has it too ({})", other.place, other.subject),
                None => match routed() {
                    Some(other) => {
                        format!("{} leads a part of it into another tunnel ({})", other.place, other.subject)
                    }
                    None => continue,
                },
            };
            let text = format!("{}: {text}; give each tunnel addresses that no other has", mine.subject);
            return report.add(Severity::Error, &mine.place, &mine.word, &text);
        }
    }

    fn routes(&self, report: &mut Report) {
        let (others, inner) = (self.other.routes(), self.other.inner());
        for mine in self.tunnel.routes() {
            if let Some(other) = inner.iter().find(|other| other.network.contains(&mine.network)) {
                let text = format!(
                    "{}: the addresses of another tunnel ({}, {}); remove it, or give that tunnel others",
                    mine.subject, other.place, other.subject
                );
                report.add(Severity::Error, &mine.place, &mine.word, &text);
                continue;
            }
            let Some(other) = others.iter().find(|other| meet(&mine.network, &other.network)) else {
                continue;
            };
            let (severity, text) = against(&mine, other);
            report.add(severity, &mine.place, &mine.word, &text);
        }
    }

    fn device(&self, report: &mut Report) {
        let name = &self.tunnel.exam.settings.device_name;
        let Some(name) = name.as_ref().filter(|_| *name == self.other.exam.settings.device_name) else {
            return;
        };
        let text = format!(
            "dev {name}: {} has the same device; give each tunnel its own, or write dev tun or dev tap for the next free one",
            at(self.other, "dev")
        );
        report.add(Severity::Error, &self.tunnel.place("dev"), name, &text);
    }

    fn port(&self, report: &mut Report) {
        let (Some((mine, port)), Some((other, same))) = (own_port(self.tunnel), own_port(self.other)) else {
            return;
        };
        if port != same {
            return;
        }
        let text = format!(
            "{mine} {port}: {} has the same port; give each tunnel its own (services.fragment has a list)",
            at(self.other, other)
        );
        report.add(Severity::Error, &self.tunnel.place(mine), "", &text);
    }

    /// Files that two processes would overwrite for each other.
    fn files(&self, report: &mut Report) {
        let (mine, others) = (files(self.tunnel), files(self.other));
        for (directive, file) in mine.into_iter().filter(|mine| others.contains(mine)) {
            let text = format!(
                "{directive}: {} has the same file; give each tunnel its own",
                at(self.other, directive)
            );
            report.add(Severity::Error, &self.tunnel.place(directive), &file_name(file), &text);
        }
    }

    /// A tunnel whose datagrams go through another one.
    fn remotes(&self, report: &mut Report) {
        if self.are_both_ends() {
            return;
        }
        let claims: Vec<Claim> = self.other.routes().into_iter().chain(self.other.inner()).collect();
        for (place, word, addrs) in self.tunnel.remotes() {
            let Some(claim) = addrs.iter().find_map(|addr| covering(&claims, *addr)) else { continue };
            // Half of the world, as in redirect-gateway def1, is no wish to put one tunnel into the other.
            let text = format!(
                "remote {word}: lies inside another tunnel ({}, {}), which then has to be up first; give the outer address, or leave it if it is meant so",
                claim.place, claim.subject
            );
            if claim.network.prefix > 1 {
                report.add(Severity::Warning, &place, &word, &text);
            }
        }
    }
}

fn against(mine: &Claim, other: &Claim) -> (Severity, String) {
    let (subject, place, there) = (&mine.subject, &other.place, &other.subject);
    if mine.network == other.network {
        let text =
            format!("{subject}: {place} leads it into another tunnel ({there}); remove one of the two");
        return (Severity::Error, text);
    }
    let text = format!(
        "{subject}: overlaps {there} of {place}; the narrower one wins: make sure that it is meant so"
    );
    (Severity::Warning, text)
}

fn meet(a: &Network, b: &Network) -> bool {
    a.contains(b) || b.contains(a)
}

fn at(tunnel: &Tunnel, directive: &str) -> String {
    tunnel.place(directive).to_string()
}

/// The port that the process binds because its file says so, and the directive. One of a super-server binds none.
fn own_port(tunnel: &Tunnel) -> Option<(&'static str, u16)> {
    let exam = &tunnel.exam;
    let directive = ["lport", "port"].into_iter().find(|name| exam.place(name).is_some())?;
    let binds = !exam.settings.inetd && exam.settings.lport > 0 && !exam.doubts(directive);
    binds.then_some((directive, exam.settings.lport))
}

fn files(tunnel: &Tunnel) -> Vec<(&'static str, &Path)> {
    let settings = &tunnel.exam.settings;
    let status = settings.status.as_ref().map(|(path, _)| ("status", path.as_path()));
    let pid = settings.writepid.as_ref().map(|path| ("writepid", path.as_path()));
    let state = settings.replay_persist.as_ref().map(|path| ("replay-persist", path.as_path()));
    status.into_iter().chain(pid).chain(state).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
