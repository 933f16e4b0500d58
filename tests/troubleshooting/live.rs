//! Faults of many kinds, made on real hosts: what is said of each stands on the page.

use super::lab::tun::{call, caller, complaints, rubbish, stop};
use super::lab::wire::{STRANGER, let_a_stranger_in};
use super::lab::{Host, Lab, SOON, eventually};
use super::page::{Page, is_like};

/// What is done on fri before, with which flags the caller is started then, what undoes it.
const FAULTS: &[(&str, &str, &str)] = &[
    ("", "--secret none.key", ""),
    ("install -m 644 static.key loose.key", "--secret loose.key", ""),
    ("install -m 600 -o 65534 static.key owned.key", "--secret owned.key", ""),
    ("install -m 600 static.key one.key; ln one.key two.key", "--secret two.key", ""),
    ("ln -s static.key link.key", "--secret link.key", ""),
    ("head -c 100 static.key >short.key; chmod 600 short.key", "--secret short.key", ""),
    ("echo nothing >empty.key; chmod 600 empty.key", "--secret empty.key", ""),
    ("(cat tun-fri-mon.conf; echo ifconfg) >a.conf", "--config a.conf", ""),
    ("(cat tun-fri-mon.conf; echo ca ca.crt) >b.conf", "--config b.conf", ""),
    ("", "--ifconfig 10.8.0.2 255.255.255.0", ""),
    ("", "--ifconfig 10.8.0.2 10.8.0.300", ""),
    ("", "--remote 10.8.0.1", ""),
    ("", "--remote 192.168.1.1", ""),
    ("", "--port no-such-service", ""),
    ("", "--cd etc/naptun", ""),
    ("", "--cd /etc/../etc/naptun", ""),
    ("", "--cd /etc/hosts", ""),
    ("", "--local 192.0.2.77", ""),
    ("", "--user nosuch", ""),
    ("", "--writepid /nowhere/pid", ""),
    ("", "--status /nowhere/status", ""),
    ("", "--log /nowhere/log", ""),
    ("mv /dev/net/tun /dev/tun", "", "mv /dev/tun /dev/net/tun"),
    ("ip link add tun7 type bridge", "--dev tun7", "ip link delete tun7"),
    ("ip link add one type veth peer name two; ip address add 10.8.0.9/24 dev one", "", "ip link delete one"),
    (
        "ip link add one type veth peer name two; ip link set one up; ip route add 10.8.0.1 dev one",
        "",
        "ip link delete one",
    ),
    ("", "--remote nowhere.invalid --resolv-retry 0", ""),
    ("echo exit 3 >bad.up; chmod 755 bad.up; sed -i '1i #!/bin/sh' bad.up", "--up ./bad.up", ""),
    ("echo >plain.up", "--up ./plain.up", ""),
    ("echo >loose.up; chmod 777 loose.up", "--up ./loose.up", ""),
    ("", "--up ./bad.up --script-security 1", ""),
    ("", "--inetd", ""),
];

#[test]
fn what_is_said_of_a_start_that_fails_stands_on_the_page() {
    let Some(lab) = Lab::new("troubles-start") else { return };
    let mut said = Vec::new();
    let mut fails = |words: &[&str], why: &str| {
        let output = lab.fri.run(words);
        let lines = complaints(&output);
        assert!(!output.status.success() && !lines.is_empty(), "{why} {words:?}: no fault");
        // What goes to the log is not said again on the terminal: a time stands before it.
        let ours = lines.iter().filter_map(|line| line.strip_prefix("naptun: "));
        said.extend(ours.map(str::to_owned));
    };
    for (before, flags, after) in FAULTS {
        lab.fri.sh(&format!("cd /etc/naptun; {before}"));
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let missing =
            |words: &[&'static str]| if flags.contains(&words[0]) { vec![] } else { words.to_vec() };
        let words = [
            vec!["naptun", "--config", "tun-fri-mon.conf"],
            missing(&["--cd", "/etc/naptun"]),
            missing(&["--port", "1417"]),
            if *flags == ["--inetd"] { vec![] } else { vec!["--daemon"] },
            flags,
        ];
        fails(&words.concat(), before);
        lab.fri.sh(after);
    }
    fails(&["naptun", "--genkey", "--secret", "/etc/naptun/static.key"], "a second key");
    call(&lab.fri, &[]);
    fails(&caller(&["--daemon"]), "a second caller");
    eventually("the second is gone", SOON, || lab.fri.endpoints().len() == 1);
    stop(&lab.fri);
    all_on_page(&said);
}

#[test]
fn every_warning_and_error_in_syslog_of_a_tunnel_in_trouble_stands_on_the_page() {
    let Some(lab) = Lab::new("troubles") else { return };
    let_a_stranger_in(&lab);
    lab.mon.serve("bare", 1500, "/usr/sbin/naptun", "--version");
    // Nobody holds the port yet.
    call(&lab.fri, &[]);
    lab.fri.wait_for_log("no answer, trying for ever", 3 * SOON);
    lab.mon.xinetd();
    lab.fri.wait_for_log("Initialization Sequence Completed", 3 * SOON);
    stop(&lab.fri);

    lab.fri.socket(STRANGER).send_to(b"rubbish", ("192.0.2.1", 1500)).unwrap();
    lab.mon.wait_for_log("started by a super-server without a tunnel", SOON);

    trouble(&lab, &["--ifconfig", "10.8.0.3", "10.8.0.1"], "settings do not match: the peer has ifconfig");
    trouble(
        &lab,
        &["--dev", "tap", "--ifconfig", "10.8.0.2", "255.255.255.0", "--route-gateway", "10.8.0.1"],
        "settings do not match: the peer has dev",
    );
    trouble(&lab, &["--tun-mtu", "1400"], "peer has tun-mtu");
    trouble(&lab, &["--route", "203.0.113.0", "255.255.255.0", "198.51.77.1"], "the gateway is unreachable");
    lab.fri.sh("ip route delete default");
    trouble(&lab, &["--route", "203.0.113.0", "255.255.255.0", "net_gateway"], "route left out");
    lab.fri.sh("ip route add default via 198.51.100.254");
    trouble(&lab, &["--remote", "nowhere.invalid"], "cannot look up the remote");
    lab.fri.sh("for file in /var/lib/naptun/*.state; do head -c 4096 /dev/urandom >$file; done");
    trouble(&lab, &[], "state file damaged");
    lab.fri.sh("rm /var/lib/naptun/*.state; mount -t tmpfs -o ro none /var/lib/naptun");
    trouble(&lab, &[], "without it a replayed call");
    lab.fri.sh("umount /var/lib/naptun");

    eventually("mon naps", 3 * SOON, || lab.mon.endpoints().is_empty());
    lab.fri.ok(&["perl", "-e", &rubbish(30, 0.5, STRANGER)]);
    lab.mon.wait_for_log("waiting for a peer rejects=", 3 * SOON);
    lab.mon.wait_for_log("closed reason=no-peer", 3 * SOON);

    let mut said = [serious(&lab.mon), serious(&lab.fri)].concat();
    assert!(said.len() >= 8, "{said:?}");
    let log = lab.mon.log();
    for phrase in ["waiting for a peer rejects=", "closed reason=no-peer"] {
        said.extend(log.lines().find_map(|line| Some(line[line.find(phrase)?..].to_owned())));
    }
    all_on_page(&said);
}

/// Starts the caller so, and waits until fri or mon has complained.
fn trouble(lab: &Lab, flags: &[&str], complaint: &str) {
    let count = || lab.fri.logged(complaint) + lab.mon.logged(complaint);
    let before = count();
    call(&lab.fri, flags);
    eventually(complaint, 3 * SOON, || count() > before);
    stop(&lab.fri);
}

/// What naptun has logged at the levels error and warning.
fn serious(host: &Host) -> Vec<String> {
    let log = host.log();
    let ours = log.lines().filter_map(|line| {
        let (head, text) = line.split_once("]: ")?;
        let level = head.split_whitespace().find_map(|word| word.strip_prefix("daemon."))?;
        (head.contains(" naptun[") && ["err", "warn"].contains(&level)).then(|| text.to_owned())
    });
    ours.collect()
}

fn all_on_page(said: &[String]) {
    let page = Page::read().lines();
    let missing = said.iter().filter(|said| !page.iter().any(|line| is_like(said, line)));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    assert!(
        missing.is_empty(),
        "doc/troubleshooting.md has no lines like these, which were really said:\n{}",
        missing.join("\n")
    );
}
