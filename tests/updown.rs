//! The `up` and `down` scripts of the administrator, and the routes that outlive a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{CALLER, UP, answers, call, caller, complaints, napping, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};

/// Writes down its arguments, its environment, its descriptors and whether there are routes yet.
const SCRIPT: &str = r#"#!/bin/sh
out=/run/$script_type
for word; do echo "[$word]"; done >$out.arguments
tr '\0' '\n' </proc/$$/environ >$out.environment
descriptors=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)
echo "$descriptors" >$out.descriptors
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
    // As of the sixth word in the table of directives: when and as which process.
    let environment = lines(&lab.fri, "/run/up.environment");
    let (times, rest): (Vec<String>, Vec<String>) =
        environment.into_iter().partition(|line| line.starts_with("daemon_"));
    let known = |line: &String| !line.starts_with("trusted_") && !line.starts_with("PWD=");
    assert_eq!(rest.into_iter().filter(known).collect::<Vec<_>>(), expected);
    assert!(times.contains(&format!("daemon_pid={pid}")), "{times:?}");
    assert_eq!(lab.fri.read("/run/up.descriptors"), "/dev/null\n/dev/null\n/dev/null\n");
    assert!(!lab.fri.read("/run/up.routes").contains("192.168.1.0"), "up runs before the routes");

    stop(&lab.fri);
    assert_eq!(lab.fri.read("/run/down.arguments"), "[tun0]\n[1420]\n[0]\n[10.8.0.2]\n[10.8.0.1]\n[init]\n");
    let down = lines(&lab.fri, "/run/down.environment");
    expected.retain(|line| line != "script_type=up");
    expected.extend(["script_type=down".to_owned(), "signal=sigterm".to_owned()]);
    for line in &expected {
        assert!(down.contains(line), "{line}: {down:?}");
    }
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
