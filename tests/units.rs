//! The units of systemd: what systemd says of them, and a tunnel under what they allow. No systemd runs: its tools do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{answers, napping, quiet_lab, stop};
use lab::{Host, Lab, Running, SOON, eventually};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

const SOCKET: &str = include_str!("../systemd/naptun@.socket");
const SERVICE: &str = include_str!("../systemd/naptun@.service");
const CALLER: &str = include_str!("../systemd/naptun-caller@.service");

/// Where an administrator's units lie.
const UNITS: &str = "/etc/systemd/system";
/// The drop-in that says the port, as the head of the socket's unit has it.
const PORT: &str = "[Socket]\nListenDatagram=1417\n";

/// `systemd-analyze security` counts from 0 to 10; this is ten times the most that we take. What is left is what a tunnel is
/// made of: root at the start, the network, a device.
const EXPOSURE: &str = "32";

/// A tool of systemd's package, which may only be unpacked.
fn tool(name: &str) -> String {
    let unpacked = format!("{UNPACKED}/usr/bin/{name}");
    if std::path::Path::new(&unpacked).exists() { unpacked } else { name.to_owned() }
}

const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/systemd");

/// Runs systemd-analyze on a host, with systemd's own units where they are.
fn analyze(host: &Host, words: &[&str]) -> Output {
    let path = format!("SYSTEMD_UNIT_PATH={UNITS}:/lib/systemd/system:{UNPACKED}/lib/systemd/system");
    host.run(&[&["env", &path, &tool("systemd-analyze")], words].concat())
}

/// Puts all units on a host.
fn install(host: &Host) {
    host.sh(&format!("mkdir -p {UNITS}/naptun@tun-mon-fri.socket.d"));
    for (name, unit) in
        [("naptun@.socket", SOCKET), ("naptun@.service", SERVICE), ("naptun-caller@.service", CALLER)]
    {
        host.write(&format!("{UNITS}/{name}"), unit);
    }
    host.write(&format!("{UNITS}/naptun@tun-mon-fri.socket.d/port.conf"), PORT);
}

/// All values of a setting, in the order of the unit.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// The words of all values of a setting.
fn words<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    values(unit, name).into_iter().flat_map(str::split_whitespace).collect()
}

/// The command that a service of this instance is.
fn command(unit: &str, instance: &str) -> String {
    let [command] = values(unit, "ExecStart")[..] else { panic!("one command") };
    command.replace("%i", instance)
}

#[test]
fn systemd_takes_the_units_and_has_nothing_to_complain_of() {
    let Some(lab) = Lab::new("units") else { return };
    install(&lab.mon);
    for unit in
        ["naptun@tun-mon-fri.socket", "naptun@tun-mon-fri.service", "naptun-caller@tun-fri-mon.service"]
    {
        let output = analyze(&lab.mon, &["verify", "--man=no", unit]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn a_socket_without_a_port_or_with_a_name_for_it_fails_with_the_reason() {
    let Some(lab) = Lab::new("units-port") else { return };
    install(&lab.mon);
    let verify = || {
        let output = analyze(&lab.mon, &["verify", "--man=no", "naptun@none.socket"]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    lab.mon.sh(&format!("ln -s naptun@.socket {UNITS}/naptun@none.socket"));
    let (taken, said) = verify();
    assert!(!taken && said.contains("Unit has no Listen setting"), "{said}");
    // The head of the unit quotes it.
    assert!(
        SOCKET.contains("\"Unit has no Listen setting (ListenStream=, ListenDatagram=, ...). Refusing.\"")
    );

    lab.mon.sh(&format!("mkdir {UNITS}/naptun@none.socket.d"));
    let port = format!("{UNITS}/naptun@none.socket.d/port.conf");
    lab.mon.write(&port, "[Socket]\nListenDatagram=timbuktu-srv1\n");
    let (taken, said) = verify();
    assert!(!taken && said.contains("'timbuktu-srv1'"), "{said}");
    lab.mon.write(&port, PORT);
    assert_eq!(verify(), (true, String::new()));
}

#[test]
fn systemd_counts_little_that_a_service_could_do_to_the_host() {
    let Some(lab) = Lab::new("units-security") else { return };
    install(&lab.mon);
    for unit in ["naptun@tun-mon-fri.service", "naptun-caller@tun-fri-mon.service"] {
        lab.mon.sh(&format!(
            "cd {UNITS} && cp naptun{}@.service {unit}",
            if unit.contains("caller") { "-caller" } else { "" }
        ));
        let threshold = format!("--threshold={EXPOSURE}");
        let words = ["security", "--no-pager", "--offline=yes", &threshold, &format!("{UNITS}/{unit}")];
        let output = analyze(&lab.mon, &words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{}", said.lines().last().unwrap_or_default());
        assert!(output.status.success() && said.contains("exposure level"), "{said}");
    }
}

#[test]
fn no_limit_is_left_that_a_stranger_could_reach_and_a_start_that_fails_is_not_followed_by_the_next_at_once() {
    let Some(lab) = Lab::new("units-limits") else { return };
    assert_eq!(values(SOCKET, "TriggerLimitIntervalSec"), ["0"]);
    assert_eq!(values(SERVICE, "StartLimitIntervalSec"), ["0"]);
    assert_eq!(values(SERVICE, "Restart"), ["no"]);
    let failing = ["ConditionPathExists", "ConditionFileIsExecutable", "AssertPathExists", "ExecCondition"];
    assert!(failing.iter().all(|name| values(SERVICE, name).is_empty()), "asked for again without end");
    let [after] = values(SERVICE, "ExecStopPost")[..] else { panic!("one command") };
    let after = after.trim_start_matches(['-', '+']).replace("$$", "$");
    let seconds = |result: &str| {
        let start = Instant::now();
        lab.mon.sh(&format!("SERVICE_RESULT={result} {after}"));
        start.elapsed().as_secs()
    };
    assert!(seconds("exit-code") >= 4);
    // Busy machines take their time, but not four seconds.
    assert!((0..3).any(|_| seconds("success") < 4));
}

/// What has a command run as its unit allows: with those capabilities, and without a way to gain one.
fn confined(unit: &str) -> String {
    let set: String = words(unit, "CapabilityBoundingSet")
        .iter()
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    assert_eq!(values(unit, "NoNewPrivileges"), ["yes"]);
    format!("setpriv --bounding-set -all{set} --no-new-privs")
}

/// What has strace write down all that a command does. It is detached: LISTEN_PID means the process that was started.
const TRACED: &str = "strace -D -f -y -A -qq -o /dev/shm/trace";

/// systemd-socket-activate on the port of the drop-in with the very command of the service, `how` before it, again and
/// again.
fn activate(host: &Host, how: &str) -> Running {
    let port = PORT.rsplit('=').next().unwrap().trim();
    let (command, activate) = (command(SERVICE, "tun-mon-fri"), tool("systemd-socket-activate"));
    host.sh("mkdir -m 755 -p /run/naptun");
    let script = format!("while :; do {activate} --datagram -l {port} {how} {command}; done");
    let running = host.spawn(&["sh", "-c", &script]);
    listening(host);
    running
}

fn listening(host: &Host) {
    eventually("systemd listens", SOON + SOON, || {
        host.sh("ss -Hulnp sport = 1417").contains("systemd-socket")
    });
}

/// Starts the command of the caller's service, `how` before it.
fn start_caller(host: &Host, how: &str) {
    host.append("/etc/naptun/tun-fri-mon.conf", "port 1417\n");
    host.sh("mkdir -m 755 -p /run/naptun");
    // A tracer stays as long as its process, and would hold the pipes.
    host.sh(&format!("{how} {} >/dev/null 2>&1", command(CALLER, "tun-fri-mon")));
}

/// A script of the caller that says which name server to ask, in the way that people know from OpenVPN.
fn with_name_server(host: &Host) {
    let package = std::fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/openresolv"));
    let package = package.expect("openresolv is not in .cache; run scripts/needs");
    let package = package.display();
    host.sh(&format!(
        "cp {package}/sbin/resolvconf /usr/sbin/ && cp {package}/etc/resolvconf.conf /etc/
        mount -t overlay -o lowerdir=/usr/lib:{package}/lib overlay /usr/lib
        echo nameserver 198.51.100.53 | resolvconf -a eth0.inet"
    ));
    let script = "/etc/openvpn/update-resolv-conf";
    let lines = format!("script-security 2\nup {script}\ndown {script}\ndhcp-option DNS 10.8.0.1\n");
    host.append("/etc/naptun/tun-fri-mon.conf", &lines);
}

#[test]
fn a_datagram_starts_the_service_and_again_after_its_nap() {
    let Some(lab) = quiet_lab("units-wake", "inactive 2\n") else { return };
    let _port = activate(&lab.mon, &confined(SERVICE));
    with_name_server(&lab.fri);
    start_caller(&lab.fri, &confined(CALLER));
    for round in 1..=2 {
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        lab.mon.wait_for_logs("started launch=systemd", round, SOON);
        lab.mon.wait_for_logs("closed reason=inactive", round, SOON);
        eventually("the listener naps", SOON, || napping(&lab.mon));
        listening(&lab.mon);
    }
    assert!(lab.fri.read("/etc/resolv.conf").contains("nameserver 10.8.0.1"));
    let [pid] = values(CALLER, "PIDFile")[..] else { panic!("one file") };
    let pid = lab.fri.read(&pid.replace("%i", "tun-fri-mon"));
    assert_eq!(pid, format!("{}\n", lab.fri.endpoints()[0].pid()));
    stop(&lab.fri);
    assert!(!lab.fri.read("/etc/resolv.conf").contains("nameserver 10.8.0.1"));
}

#[test]
fn neither_service_calls_opens_or_writes_what_its_unit_forbids() {
    let scripts = "inactive 2\nscript-security 2\nup ./net.up\ndown ./net.up\n";
    let Some(lab) = quiet_lab("units-calls", scripts) else { return };
    lab.mon.write_script("/etc/naptun/net.up", "#!/bin/sh\nip link show >/dev/null\nip route >/dev/null\n");
    with_name_server(&lab.fri);
    let port = activate(&lab.mon, TRACED);
    start_caller(&lab.fri, TRACED);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    eventually("the listener naps", SOON, || napping(&lab.mon));
    stop(&lab.fri);
    drop(port);
    for (host, unit) in [(&lab.mon, SERVICE), (&lab.fri, CALLER)] {
        let calls = Calls::of(&host.read("/dev/shm/trace"));
        let allowed = system_calls(host, &words(unit, "SystemCallFilter"));
        let forbidden: Vec<_> = calls.names.difference(&allowed).collect();
        assert!(forbidden.is_empty() && calls.names.len() > 40, "{forbidden:?} of {:?}", calls.names);
        assert!(calls.names.contains("landlock_restrict_self") && calls.names.contains("seccomp"));

        let families = words(unit, "RestrictAddressFamilies");
        assert!(
            calls.families.iter().all(|family| families.contains(&family.as_str())),
            "{:?}",
            calls.families
        );
        assert!(calls.families.contains("AF_NETLINK"), "{:?}", calls.families);

        let writable = writable(unit);
        let outside: Vec<_> = calls
            .written
            .iter()
            .filter(|path| !writable.iter().any(|below| path.starts_with(below)))
            .collect();
        assert!(outside.is_empty(), "{outside:?}");
        assert!(calls.written.iter().any(|path| path.starts_with("/var/lib/naptun")), "{:?}", calls.written);
    }
}

/// What strace has seen of a service and of all that it started.
#[derive(Default)]
struct Calls {
    names: BTreeSet<String>,
    /// Of sockets.
    families: BTreeSet<String>,
    /// Paths opened for writing, and directories made.
    written: BTreeSet<String>,
}

impl Calls {
    fn of(trace: &str) -> Self {
        let mut calls = Self::default();
        for line in trace.lines() {
            let Some((_, call)) = line.split_once(' ') else { continue };
            let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                continue;
            }
            calls.names.insert(name.to_owned());
            if matches!(name, "socket" | "socketpair") {
                calls.families.insert(arguments.split(',').next().unwrap().to_owned());
            }
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| arguments.contains(flag));
            let made = name.starts_with("mkdir") || name.starts_with("open") && writes;
            if made && !arguments.contains(" = -1 ") {
                let (folder, rest) = arguments.split_once('"').unwrap_or_default();
                let name = rest.split('"').next().unwrap_or_default();
                // A name is one in the directory that was opened before: 5</run/naptun>.
                let folder = folder.split_once('<').and_then(|(_, at)| at.split('>').next());
                let path = Path::new(folder.unwrap_or("/")).join(name);
                let path = path.to_str().unwrap();
                // /var/run is a link to /run.
                calls.written.insert(
                    path.strip_prefix("/var").filter(|it| it.starts_with("/run")).unwrap_or(path).to_owned(),
                );
            }
        }
        calls
    }
}

/// The system calls behind names and groups of them, as systemd knows them.
fn system_calls(host: &Host, names: &[&str]) -> BTreeSet<String> {
    let (groups, single): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with('@'));
    let mut calls: BTreeSet<String> = single.into_iter().map(str::to_owned).collect();
    // Always allowed, whatever the unit says.
    for group in groups.into_iter().chain(["@default"]) {
        let listed = String::from_utf8(analyze(host, &["syscall-filter", group]).stdout).unwrap();
        let inner = listed.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
        let inner: Vec<&str> = inner.filter(|line| *line != "@default").collect();
        if group == "@default" {
            calls.extend(inner.into_iter().map(str::to_owned));
        } else {
            calls.extend(system_calls(host, &inner));
        }
    }
    calls
}

/// Below which paths ProtectSystem=strict lets a service write.
fn writable(unit: &str) -> Vec<String> {
    assert_eq!(values(unit, "ProtectSystem"), ["strict"]);
    let mut paths: Vec<String> = vec!["/dev/".to_owned(), "/proc/".to_owned()];
    for (name, parent) in [("StateDirectory", "/var/lib/"), ("RuntimeDirectory", "/run/")] {
        paths.extend(words(unit, name).iter().map(|folder| format!("{parent}{folder}")));
    }
    paths.extend(words(unit, "ReadWritePaths").iter().map(|path| path.trim_start_matches('-').to_owned()));
    paths
}
