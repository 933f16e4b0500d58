//! doc/openvpn.md does what it says: its files, its commands, its table, and a tunnel that moves by them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;
#[allow(dead_code)]
#[path = "troubleshooting/source.rs"]
mod source;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lab::tun::{UP, answers, napping, stop};
use lab::{Host, Lab, SOON, eventually};
use naptun::config::settings::Settings;
use naptun::config::table::{self, Standing};
use naptun::config::{grammar, resolve};

/// As a user of OpenVPN has it under xinetd.
const ENTRY: &str = "service timbuktu-srv1
{
    id            = timbuktu-srv1
    socket_type   = dgram
    protocol      = udp
    wait          = yes
    user          = root
    server        = /usr/sbin/openvpn
    server_args   = --inetd --cd /etc/openvpn --config tun-mon-fri.conf
    disable       = no
}
";

#[test]
fn a_tunnel_moves_from_openvpn_to_naptun_by_the_commands_of_the_page_and_back() {
    let Some(lab) = Lab::new("from-openvpn") else { return };
    let page = page();
    let (mon, fri) = (&lab.mon, &lab.fri);
    for host in [mon, fri] {
        host.sh("mkdir -p /etc/openvpn; mv /etc/naptun/static.key /etc/openvpn; rm -r /etc/naptun");
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    }
    for (name, text) in configurations(&page) {
        let host = if name.contains("on mon") { mon } else { fri };
        host.write(name.split(' ').next().unwrap(), text);
    }
    mon.write("/etc/xinetd.d/timbuktu-srv1", ENTRY);
    mon.sh("rm /etc/xinetd.d/timbuktu-srv2");

    openvpn(&lab);
    let commands = commands(&page);
    let (before, after) =
        commands.split_at(commands.iter().position(|(_, text)| text.contains("ping")).unwrap());
    for (host, text) in before {
        on(&lab, &page, host, text);
    }
    // Those of the page did not disturb it.
    assert!(answers(fri, "10.8.0.1"), "OpenVPN's tunnel is gone");
    end_openvpn(&lab);
    mon.xinetd();
    on(&lab, &page, after[0].0, after[0].1);
    for host in [mon, fri] {
        host.wait_for_log(UP, SOON);
    }
    assert_eq!(lab.lanfri.ping("192.168.1.10", 3).lost(), 0);
    // The same file for the same readers.
    for (host, file) in [(mon, "/run/tun-mon-fri.status"), (fri, "/run/tun-fri-mon.status")] {
        eventually("a status file", SOON, || host.read(file).starts_with("OpenVPN STATISTICS\nUpdated,"));
    }

    stop(fri);
    eventually("mon naps", SOON, || napping(mon));
    mon.sh("kill $(cat /run/xinetd.pid)");
    on(&lab, &page, after[1].0, after[1].1);
    assert_eq!(mon.read("/etc/xinetd.d/timbuktu-srv1"), ENTRY);
    openvpn(&lab);
    end_openvpn(&lab);
}

/// Starts OpenVPN on both ends, as a daemon, and waits until its tunnel passes packets from network to network.
fn openvpn(lab: &Lab) {
    for (host, name) in [(&lab.mon, "tun-mon-fri"), (&lab.fri, "tun-fri-mon")] {
        host.ok(&[
            "openvpn",
            "--port",
            "1417",
            "--daemon",
            "--cd",
            "/etc/openvpn",
            "--config",
            &format!("{name}.conf"),
            "--writepid",
            "/run/openvpn.pid",
        ]);
    }
    eventually("OpenVPN's tunnel is up", 3 * SOON, || answers(&lab.fri, "10.8.0.1"));
    assert_eq!(lab.lanfri.ping("192.168.1.10", 3).lost(), 0);
}

fn end_openvpn(lab: &Lab) {
    for host in [&lab.mon, &lab.fri] {
        host.sh("kill $(cat /run/openvpn.pid)");
    }
    for host in [&lab.mon, &lab.fri] {
        eventually("OpenVPN ends", SOON, || !host.has_device("tun0"));
    }
}

/// Runs a block of the page where it belongs.
fn on(lab: &Lab, page: &str, host: &str, text: &str) {
    let hosts: &[&Host] = match host {
        "mon" => &[&lab.mon],
        "fri" => &[&lab.fri],
        "both" => &[&lab.mon, &lab.fri],
        other => panic!("no host {other}"),
    };
    for host in hosts {
        // While OpenVPN has the tunnel, addresses and port are in use: that is an error.
        for line in text.lines() {
            if line.starts_with("naptun check") {
                let output = host.run(&line.split(' ').collect::<Vec<_>>());
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = said.lines().filter(|line| line.contains(": error: "));
                let mine: Vec<_> = errors.filter(|line| !line.contains("already in use")).collect();
                assert!(mine.is_empty(), "{line}: {mine:?}");
                if line.contains("/etc/openvpn/") {
                    let shown = fences(page).find(|(kind, _)| *kind == "text").unwrap().1;
                    shown.lines().for_each(|shown| assert!(said.contains(shown), "{shown}\nnot in\n{said}"));
                }
            } else {
                host.sh(line);
            }
        }
    }
}

#[test]
fn every_row_of_the_table_tells_what_becomes_of_its_directives() {
    let page = page();
    let mut count = 0;
    for row in rows(section(&page, "Directives that change")) {
        for line in code(row[0]) {
            let becomes = becomes(line);
            assert_eq!(becomes, row[1], "{line}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} directives");
}

/// What the program makes of a line.
fn becomes(line: &str) -> &'static str {
    let name = line.split(' ').next().unwrap();
    let Ok(settings) =
        settings(&format!("remote 192.0.2.1\nsecret k\ndev tun\nifconfig 10.8.0.2 10.8.0.1\n{line}\n"))
    else {
        return "refused";
    };
    let harmless = table::find(name).unwrap().standing() == Standing::Harmless;
    let unused = settings
        .notices
        .iter()
        .any(|notice| notice.contains(&format!("{name}: ")) && notice.contains("not used"));
    if harmless || unused { "no effect" } else { "works" }
}

fn settings(text: &str) -> Result<Settings, String> {
    let (statements, problems) = grammar::parse("a.conf", text.as_bytes());
    assert!(problems.is_empty(), "{text}");
    resolve(&statements, Path::new("/etc/naptun")).map_err(|problems| format!("{problems:?}"))
}

#[test]
fn the_two_files_of_the_page_are_a_pair_that_naptun_takes_as_it_is() {
    let page = page();
    let pair: Vec<Settings> =
        configurations(&page).into_iter().map(|(_, text)| settings(text).unwrap()).collect();
    assert_eq!(pair.len(), 2);
    let ends = |settings: &Settings| settings.ifconfig.clone().unwrap();
    assert_eq!(ends(&pair[0]).local, ends(&pair[1]).remote_or_netmask);
    assert_eq!(ends(&pair[0]).remote_or_netmask, ends(&pair[1]).local);
}

#[test]
fn every_variable_and_every_line_of_the_log_that_the_page_names_is_in_the_source() {
    let page = page();
    let literals: Vec<String> =
        source::Source::read().literals.iter().map(|literal| literal.join("{}")).collect();
    let known = |text: &str| literals.iter().any(|literal| literal.contains(text));
    let scripts = section(&page, "Scripts");
    let variables = &scripts[scripts.find("The environment").unwrap()..scripts.find("What differs").unwrap()];
    let mut count = 0;
    for name in code(variables).into_iter().filter(|name| !["down", "setenv"].contains(name)) {
        assert!(known(name.trim_end_matches('1')), "{name}");
        count += 1;
    }
    assert!(count > 20, "{count} variables");
    let log = section(&page, "Status, signals, logs");
    for row in rows(&log[log.find("| OpenVPN says").unwrap()..]) {
        code(row[1]).into_iter().for_each(|said| assert!(known(said), "{said}"));
    }
}

#[test]
fn every_page_that_is_linked_exists() {
    for file in ["doc/openvpn.md", "doc/troubleshooting.md"] {
        let text = fs::read_to_string(file).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            assert!(Path::new("doc").join(target).exists(), "{file}: {target}");
        }
    }
    let mode = fs::metadata("scripts/tap-server.up").unwrap().permissions().mode();
    assert_ne!(mode & 0o100, 0, "scripts/tap-server.up runs");
}

fn page() -> String {
    fs::read_to_string("doc/openvpn.md").unwrap()
}

/// The fences of the page with their first line, which says what they are.
fn fences(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("```").skip(1).step_by(2).filter_map(|fence| fence.split_once('\n'))
}

/// `# FILE on HOST` and what follows it.
fn configurations(page: &str) -> Vec<(&str, &str)> {
    let fences = fences(page).filter(|(kind, _)| *kind == "conf");
    fences.map(|(_, text)| (text.lines().next().unwrap().trim_start_matches("# "), text)).collect()
}

/// Where, and what.
fn commands(page: &str) -> Vec<(&str, &str)> {
    fences(page).filter_map(|(kind, text)| Some((kind.strip_prefix("sh ")?, text))).collect()
}

fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let start = page.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}")) + 1;
    let end = page[start..].find("\n## ").map_or(page.len(), |end| start + end);
    &page[start..end]
}

/// The cells of a table without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let lines = lines.take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
