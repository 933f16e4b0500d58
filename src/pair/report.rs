//! What was made, and what is left to do.

use std::fmt::Write as _;

use super::tunnel::{End, Here, Tunnel};
use super::wanted::Kind;

/// The text for standard output. No key is in it.
pub(super) fn report(tunnel: &Tunnel) -> String {
    let (mon, fri) = (&tunnel.listener, &tunnel.caller);
    let folder = tunnel.folder();
    let mut text = format!("{}: made, one folder for each end and one key in both\n\n", folder.display());
    let _ = writeln!(text, "  {:<12} waits on UDP port {}{}", mon.host, tunnel.service.port, holder(tunnel));
    let _ = writeln!(text, "  {:<12} calls {}", fri.host, tunnel.remote);
    let _ = writeln!(text, "  {:<12} {}", "inside", inside(tunnel));
    for end in [mon, fri] {
        if !end.networks.is_empty() {
            let networks: Vec<String> = end.networks.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  {:<12} {}", format!("behind {}", end.host), networks.join(", "));
        }
    }
    for note in &tunnel.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    let _ = write!(text, "\nLeft to do, as root:\n{}{}", commands(tunnel, mon), commands(tunnel, fri));
    if let Some(target) = target(tunnel) {
        let _ = writeln!(text, "  {:<12} ping {target}", format!("{}#", fri.host));
    }
    let _ = writeln!(text, "  {:<12} rm -r {}", "here#", folder.display());
    text
}

fn holder(tunnel: &Tunnel) -> String {
    let name = if tunnel.service.listed { format!(" ({})", tunnel.service.name) } else { String::new() };
    format!("{name}, held by {}", tunnel.launcher.name())
}

fn inside(tunnel: &Tunnel) -> String {
    let what = match &tunnel.kind {
        Kind::Tun => "tun",
        Kind::Tap => "tap",
        Kind::Bridge(_) => "tap",
    };
    let ends: Vec<String> = [&tunnel.listener, &tunnel.caller].into_iter().filter_map(own).collect();
    match &tunnel.bridge {
        Some(bridge) => format!("{what}, bridged with {}: {}", bridge.eth, ends.join(", ")),
        None => format!("{what}: {}", ends.join(", ")),
    }
}

fn own(end: &End) -> Option<String> {
    let six = end.ipv6.map_or(String::new(), |addr| format!(" and {addr}"));
    end.ipv4.map(|addr| format!("{} {addr}{six}", end.host))
}

/// Copies the folder to where it belongs, unless it is there, and installs it.
fn commands(tunnel: &Tunnel, end: &End) -> String {
    let is_here = match tunnel.here {
        Here::Listener => end == &tunnel.listener,
        Here::Caller => end == &tunnel.caller,
        Here::Elsewhere => false,
    };
    let folder = tunnel.folder().join(&end.tag);
    let prompt = format!("{}#", end.host);
    if is_here {
        return format!("  {prompt:<12} sh {}/install\n", folder.display());
    }
    let copy = format!("  {:<12} scp -rp {} root@{}:{}\n", "here#", folder.display(), end.host, tunnel.name);
    format!("{copy}  {prompt:<12} sh {}/install\n", tunnel.name)
}

/// What the caller can ping once both ends are there.
fn target(tunnel: &Tunnel) -> Option<String> {
    let of_bridge = tunnel.bridge.as_ref().and_then(|bridge| bridge.own).map(|addr| addr.to_string());
    tunnel.listener.ipv4.map(|addr| addr.to_string()).or(of_bridge)
}
