//! The `up` and `down` scripts of the administrator, and the routes that outlive a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::figure;
use lab::tun::{CALLER, UP, answers, call, caller, complaints, napping, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};
use std::time::Instant;

/// Writes down its arguments, its environment, its descriptors and whether there are routes yet.
const SCRIPT: &str = r#"#!/bin/sh
out=/run/$script_type
for word; do echo "[$word]"; done >$out.arguments
tr '\0' '\n' </proc/$$/environ >$out.environment
descriptors=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)
echo "$descriptors" >$out.descriptors
(exec ls /proc/self/fd >$out.open)
while read -r name value; do echo "$name $value"; done </proc/$$/status >$out.status
ip route show dev "$dev" >$out.routes
"#;

/// A laboratory whose caller has both scripts.
fn script_lab(name: &str) -> Option<Lab> {
    let lab = tun_lab(name, "")?;
    lab.fri.write_script("/etc/naptun/note", SCRIPT);
    lab.fri.append(
        CALLER,
        "script-security 2\nup './note \"one word\"'\ndown ./note\nsetenv COLOUR 'light blue'\n",
    );
    Some(lab)
}

fn lines(host: &Host, file: &str) -> Vec<String> {
    let mut lines: Vec<String> = host.read(file).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn scripts_get_the_documented_arguments_and_environment_and_nothing_else() {
    let Some(lab) = script_lab("scripts") else { return };
    call(&lab.fri, &["--route", "203.0.113.0", "255.255.255.0", "net_gateway", "7"]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let pid = lab.fri.endpoints()[0].pid();
    assert_eq!(
        lab.fri.read("/run/up.arguments"),
        "[one word]\n[tun0]\n[1420]\n[0]\n[10.8.0.2]\n[10.8.0.1]\n[init]\n"
    );
    let mut expected: Vec<String> = [
        "COLOUR=light blue",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "config=tun-fri-mon.conf",
        "daemon=1",
        "dev=tun0",
        "dev_type=tun",
        "ifconfig_local=10.8.0.2",
        "ifconfig_remote=10.8.0.1",
        "local_port_1=1417",
        "proto_1=udp",
        "remote_1=mon",
        "remote_port_1=1417",
        "route_gateway_1=10.8.0.1",
        "route_gateway_2=198.51.100.254",
        "route_metric_2=7",
        "route_net_gateway=198.51.100.254",
        "route_netmask_1=255.255.255.0",
        "route_netmask_2=255.255.255.0",
        "route_network_1=192.168.1.0",
        "route_network_2=203.0.113.0",
        "route_vpn_gateway=10.8.0.1",
        "script_context=init",
        "script_type=up",
        "tun_mtu=1420",
        "verb=3",
    ]
    .map(str::to_owned)
    .to_vec();
    expected.extend([
        "trusted_ip=192.0.2.1".to_owned(),
        "trusted_port=1417".to_owned(),
        format!("daemon_pid={pid}"),
    ]);
    expected.sort();
    assert_eq!(lines(&lab.fri, "/run/up.environment"), expected);
    assert!(!lab.fri.read("/run/up.routes").contains("192.168.1.0"), "up runs before the routes");
    clean(&lab.fri, "up");

    stop(&lab.fri);
    assert_eq!(lab.fri.read("/run/down.arguments"), "[tun0]\n[1420]\n[0]\n[10.8.0.2]\n[10.8.0.1]\n[init]\n");
    expected.retain(|line| line != "script_type=up");
    expected.extend(["script_type=down".to_owned(), "signal=sigterm".to_owned()]);
    expected.sort();
    assert_eq!(lines(&lab.fri, "/run/down.environment"), expected);
    clean(&lab.fri, "down");
    figure(
        25,
        &format!(
            "up and down of the real program: {} variables, no other; 0, 1 and 2 on /dev/null, root, no signal blocked",
            expected.len()
        ),
    );
}

/// Null descriptors and no other, all of root, and nothing blocked.
fn clean(host: &Host, kind: &str) {
    assert_eq!(host.read(&format!("/run/{kind}.descriptors")), "/dev/null\n/dev/null\n/dev/null\n");
    // ls has the directory itself on 3.
    assert_eq!(host.read(&format!("/run/{kind}.open")), "0\n1\n2\n3\n");
    let status = host.read(&format!("/run/{kind}.status"));
    for line in [
        "Uid: 0\t0\t0\t0\n",
        "Gid: 0\t0\t0\t0\n",
        "SigBlk: 0000000000000000\n",
        "NoNewPrivs: 0\n",
        "Seccomp: 0\n",
    ] {
        assert!(status.contains(line), "{kind}: {line}: {status}");
    }
    let own = host.sh("cat /proc/self/status");
    let capabilities = |text: &str| {
        text.lines().find_map(|line| line.strip_prefix("CapEff:").map(|set| set.trim().to_owned()))
    };
    assert_eq!(capabilities(&status), capabilities(&own), "{kind}");
}

/// How a script can be one that others have a hand on; how it is told.
const UNTRUSTED: &[(&str, &str, &str)] = &[
    ("world-writable", "chmod 777 note", "can be changed by group or others"),
    ("group-writable", "chgrp 1 note; chmod 775 note", "can be changed by group or others"),
    ("somebody else's", "chown 1 note", "belongs to uid 1"),
    ("a symbolic link", "mv note real; ln -s real note", "is a symbolic link"),
    ("in a writable directory", "chmod 777 .", "others may replace it"),
    ("in somebody else's directory", "chown 1 .", "others may replace it"),
    ("below a writable directory", "chmod 777 ..", "others may replace it"),
    ("not executable", "chmod 644 note", "is not executable"),
    ("missing", "rm note", "no such file"),
    ("a directory", "rm note; mkdir note", "is a directory"),
];

#[test]
fn a_script_that_others_have_a_hand_on_is_refused_with_a_line_and_never_run() {
    let Some(lab) = tun_lab("untrusted", "") else { return };
    let before = lab.fri.routes();
    for (what, make, reason) in UNTRUSTED {
        lab.fri.sh("rm -rf /srv/above /run/up.arguments; mkdir -p /srv/above/scripts");
        lab.fri.write_script("/srv/above/scripts/note", SCRIPT);
        lab.fri.sh(&format!("cd /srv/above/scripts; {make}"));
        let refused =
            lab.fri.run(&caller(&["--daemon", "--script-security", "2", "--up", "/srv/above/scripts/note"]));
        let said = complaints(&refused);
        assert!(!refused.status.success(), "{what}");
        assert!(said.len() == 1 && said[0].contains(reason) && said[0].contains("note"), "{what}: {said:?}");
        eventually("nothing is left", SOON, || napping(&lab.fri));
        assert_eq!(lab.fri.routes(), before, "{what}");
        assert!(!lab.fri.path("/run/up.arguments").exists(), "{what}: it ran");
    }
    figure(
        25,
        &format!(
            "{} kinds of script that others have a hand on: refused with one line, never run",
            UNTRUSTED.len()
        ),
    );
}

/// Ignores what a shell can ignore, and has a child that outlives it.
const HANGS: &str = "#!/bin/sh
trap '' TERM INT HUP
[ $script_type = $(cat /run/which) ] || exit 0
sleep 1000 &
echo $! >/run/child
while :; do sleep 1000; done
";

#[test]
fn a_hanging_script_is_killed_after_thirty_seconds_with_what_it_started() {
    // The real limit cannot be shortened: os_helpers has the short form.
    if !figures::long() {
        return;
    }
    let Some(lab) = tun_lab("hanging", "") else { return };
    lab.fri.write_script("/etc/naptun/hangs", HANGS);
    lab.fri.append(CALLER, "script-security 2\nup ./hangs\ndown ./hangs\n");
    let mut took = Vec::new();
    for which in ["up", "down"] {
        lab.fri.write("/run/which", which);
        let start = Instant::now();
        let output = lab.fri.run(&caller(&["--daemon"]));
        let start = if which == "up" {
            let said = complaints(&output);
            assert_eq!(output.status.code(), Some(69), "{said:?}");
            assert!(said[0].contains("run the up script: it took too long and was killed"), "{said:?}");
            start
        } else {
            assert!(output.status.success());
            lab.fri.kill("TERM", lab.fri.endpoints()[0].pid());
            let start = Instant::now();
            lab.fri.wait_for_log("run the down script: it took too long and was killed", 4 * SOON);
            start
        };
        took.push(start.elapsed().as_secs_f64());
        eventually("nothing is left", SOON, || napping(&lab.fri) && lab.fri.processes("hangs").is_empty());
        let child = lab.fri.read("/run/child");
        assert!(!lab.fri.path(&format!("/proc/{}", child.trim())).exists(), "{which}: its child lives");
    }
    figure(
        25,
        &format!(
            "hanging up and down: killed after {:.1} s and {:.1} s, with what they had started",
            took[0], took[1]
        ),
    );
    assert!(took.iter().all(|took| (30.0..35.0).contains(took)), "{took:?}");
}

#[test]
fn down_runs_and_foreign_routes_go_however_the_process_ends() {
    let Some(lab) = script_lab("down") else { return };
    lab.fri.append(
        CALLER,
        "route 203.0.113.0 255.255.255.0 net_gateway\nroute remote_host 255.255.255.255 net_gateway\n",
    );
    let before = lab.fri.routes();
    for (signal, word) in [("KILL", "unknown"), ("TERM", "sigterm"), ("INT", "sigint")] {
        call(&lab.fri, &[]);
        assert!(answers(&lab.fri, "10.8.0.1"));
        let routes = lab.fri.routes();
        for route in ["203.0.113.0/24 via 198.51.100.254", "192.0.2.1 via 198.51.100.254"] {
            assert!(routes.contains(route), "{routes}");
        }
        lab.fri.kill(signal, lab.fri.endpoints()[0].pid());
        eventually("nothing is left", SOON, || napping(&lab.fri));
        assert_eq!(lab.fri.routes(), before, "SIG{signal}");
        let said = lines(&lab.fri, "/run/down.environment");
        assert!(said.contains(&format!("signal={word}")), "SIG{signal}: {said:?}");
        lab.fri.sh("rm /run/down.*");
    }
}

#[test]
fn a_listeners_down_runs_at_every_nap() {
    let Some(lab) = tun_lab("down-nap", "inactive 1\nscript-security 2\nup ./note\ndown ./note\n") else {
        return;
    };
    lab.mon.write_script("/etc/naptun/note", SCRIPT);
    call(&lab.fri, &[]);
    for _ in 0..2 {
        assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
        let up = lines(&lab.mon, "/run/up.environment");
        for line in ["trusted_ip=198.51.100.1", "trusted_port=1417", "ifconfig_local=10.8.0.1", "daemon=0"] {
            assert!(up.contains(&line.to_owned()), "{line}: {up:?}");
        }
        eventually("the listener naps", SOON, || napping(&lab.mon));
        assert!(lines(&lab.mon, "/run/down.environment").contains(&"signal=inactive".to_owned()));
        lab.mon.sh("rm /run/up.* /run/down.*");
    }
}

#[test]
fn an_up_script_that_fails_ends_the_process_with_the_reason() {
    let Some(lab) = script_lab("up-fails") else { return };
    lab.fri.write_script("/etc/naptun/note", "#!/bin/sh\ntouch /run/$script_type\nexit 3\n");
    let before = (lab.fri.devices(), lab.fri.routes());
    let output = lab.fri.run(&caller(&["--daemon"]));
    let said = complaints(&output);
    assert_eq!(output.status.code(), Some(69), "{said:?}");
    assert!(said.len() == 1 && said[0].contains("run the up script: it exited with status 3"), "{said:?}");
    eventually("nothing is left", SOON, || napping(&lab.fri));
    assert_eq!((lab.fri.devices(), lab.fri.routes()), before);
    assert_eq!(lab.fri.sh("ls /run | grep -E '^(up|down)$'"), "up\n", "down after an up that failed");

    let refused = lab.fri.run(&caller(&["--daemon", "--script-security", "1"]));
    let said = complaints(&refused);
    assert!(!refused.status.success() && said[0].contains("script-security"), "{said:?}");
    assert_eq!(lab.fri.logged(UP), 0);
}

#[test]
fn all_traffic_can_go_through_the_tunnel_but_the_tunnel_itself() {
    let Some(lab) = tun_lab("default-route", "") else { return };
    lab.fri.append(
        CALLER,
        "route 0.0.0.0 128.0.0.0 vpn_gateway
route 128.0.0.0 128.0.0.0 vpn_gateway
route remote_host 255.255.255.255 net_gateway
",
    );
    let before = lab.fri.routes();
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let routes = lab.fri.routes();
    assert!(routes.contains("192.0.2.1 via 198.51.100.254 dev eth0"), "{routes}");
    assert!(lab.fri.ok(&["ip", "route", "get", "203.0.113.9"]).contains("dev tun0"), "{routes}");

    let naptun = &lab.fri.endpoints()[0];
    lab.fri.kill("KILL", naptun.pid());
    eventually("the routes are those from before", SOON, || lab.fri.routes() == before);
}
