//! `naptun pair`: what it writes works as it is, under the real super-servers, and it chooses what nobody has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::process::Output;

use lab::tun::{UP, complaints};
use lab::{Host, Lab, SOON, eventually};

/// Takes away what a laboratory has of naptun beside the program, but for the examples of a package, and makes hosts
/// that know each other's name.
fn fresh(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    for host in [&lab.mon, &lab.fri] {
        host.sh("rm -rf /etc/naptun /etc/inetd.conf; sed -i '/^timbuktu\\|^netview-aix/d' /etc/services");
        assert!(!host.read("/etc/services").contains("timbuktu"));
    }
    Some(lab)
}

/// `naptun pair` on a host, in the laboratory's folder; the words in one string.
fn pair(lab: &Lab, host: &Host, words: &str) -> Output {
    let command = format!("cd {} && exec naptun pair {words}", lab.dir().display());
    host.run(&["sh", "-c", &command])
}

/// The same where it must succeed; gives what it printed.
fn paired(lab: &Lab, host: &Host, words: &str) -> String {
    let output = pair(lab, host, words);
    assert!(output.status.success(), "{words}: {:?}", complaints(&output));
    assert!(output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("BEGIN OpenVPN"));
    text
}

/// Copies an end's folder to its host and installs it there.
fn install(lab: &Lab, host: &Host, tunnel: &str, end: &str) -> String {
    let from = format!("{}/{tunnel}/{end}", lab.dir().display());
    let said = host.sh(&format!("rm -rf /run/copy && cp -rp {from} /run/copy && sh /run/copy/install 2>&1"));
    assert!(said.ends_with("install: done\n") && !said.contains("error"), "{said}");
    said
}

/// Both ends, and xinetd running on the listener before.
fn installed(lab: &Lab, words: &str, tunnel: &str) {
    paired(lab, &lab.mon, words);
    lab.mon.ok(&["xinetd", "-stayalive", "-pidfile", "/run/xinetd.pid"]);
    install(lab, &lab.mon, tunnel, "mon");
    install(lab, &lab.fri, tunnel, "fri");
}

/// A file of a folder that was made.
fn made(lab: &Lab, file: &str) -> String {
    std::fs::read_to_string(lab.dir().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Everything in the laboratory's folder whose name begins like a tunnel's, or with a dot.
fn left_behind(lab: &Lab) -> Vec<String> {
    let entries = std::fs::read_dir(lab.dir()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(['.']) || name.starts_with("tun-") || name.starts_with("tap-"))
        .collect()
}

#[test]
fn a_tunnel_between_two_hosts_is_paired_copied_installed_and_pinged() {
    let Some(lab) = fresh("pair-tun") else { return };
    let said = paired(&lab, &lab.mon, "mon fri");
    let commands: Vec<&str> = said.lines().filter(|line| line.contains("# ")).collect();
    assert!(commands.len() <= 5, "{commands:?}");
    assert!(said.contains("calls 192.0.2.1") && said.contains("1417 (timbuktu-srv1)"), "{said}");
    assert!(said.contains("sh tun-mon-fri/mon/install") && said.contains("root@fri:tun-mon-fri"), "{said}");

    // xinetd runs without a service of ours, and is told.
    lab.mon.ok(&["xinetd", "-stayalive", "-pidfile", "/run/xinetd.pid"]);
    for (host, end) in [(&lab.mon, "mon"), (&lab.fri, "fri")] {
        let said = install(&lab, host, "tun-mon-fri", end);
        assert!(!said.contains("warning"), "{said}");
    }
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    lab.mon.wait_for_logs(UP, 1, SOON);
    assert!(lab.mon.has_device("tun-mon-fri") && lab.fri.has_device("tun-fri-mon"));

    let modes = lab.mon.sh("cd /etc/naptun && stat -c '%a %n' . * /etc/xinetd.d/timbuktu-srv1");
    assert_eq!(modes, "700 .\n644 tun-mon-fri.conf\n600 tun-mon-fri.key\n644 /etc/xinetd.d/timbuktu-srv1\n");
    for (host, end) in [(&lab.mon, "mon"), (&lab.fri, "fri")] {
        let services = host.read("/etc/services");
        assert_eq!(services.matches("timbuktu-srv1\t1417/udp\n").count(), 1);
        assert_eq!(services.matches("timbuktu-srv1\t1417/tcp\n").count(), 1);
        // Once more changes nothing, and ends nothing.
        let state = || host.sh("cd /etc && sha256sum services naptun/* xinetd.d/*; ls -R naptun xinetd.d");
        let (before, running) = (state(), host.endpoints().len());
        let said = install(&lab, host, "tun-mon-fri", end);
        assert!(!said.contains("warning"), "of a tunnel that is awake: {said}");
        assert_eq!((state(), host.endpoints().len()), (before, running));
    }
    assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0);

    assert_eq!(lab.fri.read("/etc/naptun/callers"), "tun-fri-mon.conf\n");
    assert!(lab.fri.sh("ls /etc/rc2.d").contains("naptun"), "nobody starts it at the next boot");

    let key = made(&lab, "tun-mon-fri/mon/tun-mon-fri.key");
    assert_eq!(key, made(&lab, "tun-mon-fri/fri/tun-mon-fri.key"));
    assert!(key.contains("BEGIN OpenVPN Static key V1") && key.len() == 636);
}

#[test]
fn the_networks_behind_both_ends_reach_each_other() {
    let Some(lab) = fresh("pair-nets") else { return };
    let networks = "mon fri --network 192.168.1.0/24 --caller-network 192.168.2.0/24 --network fd00:1::/64 --caller-network fd00:2::/64";
    installed(&lab, networks, "tun-mon-fri");
    assert_eq!(lab.lanfri.ping("192.168.1.10", 5).lost(), 0);
    assert_eq!(lab.lanmon.ping("192.168.2.10", 5).lost(), 0);
    eventually("IPv6 goes through", SOON, || {
        lab.lanfri.run(&["ping", "-c", "1", "-W", "1", "fd00:1::10"]).status.success()
    });
    let kept = lab.mon.read("/etc/sysctl.d/60-naptun.conf");
    assert!(kept.contains("net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n"), "{kept}");
}

#[test]
fn a_tap_has_neighbours_and_networks() {
    let Some(lab) = fresh("pair-tap") else { return };
    installed(&lab, "mon fri --tap --network 192.168.1.0/24 --caller-network 192.168.2.0/24", "tap-mon-fri");
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    assert_eq!(lab.lanfri.ping("192.168.1.10", 3).lost(), 0);
}

#[test]
fn a_bridged_caller_is_a_neighbour_of_the_office() {
    let Some(lab) = fresh("pair-bridge") else { return };
    let refused = |words: &str, reason: &str| {
        let output = pair(&lab, &lab.mon, words);
        let said = complaints(&output);
        assert_eq!(output.status.code(), Some(64), "{said:?}");
        assert!(said.len() == 1 && said[0].contains(reason), "{words}: {said:?}");
        assert!(left_behind(&lab).is_empty());
    };
    refused("mon fri --bridge", "several private interfaces; name one of eth1, eth2");
    refused("mon fri --bridge eth0 --network 192.168.8.1/24", "it holds the default route");
    refused("mon fri --bridge eth7 --network 192.168.8.1/24", "no such interface");
    refused("mon fri --bridge eth1", "nothing says which network is there");
    installed(&lab, "mon fri --bridge eth1 --network 192.168.8.1/24", "tap-mon-fri");
    assert_eq!(lab.fri.ping("192.168.8.1", 3).lost(), 0);
    assert_eq!(lab.fri.ping("192.168.8.10", 3).lost(), 0);
    assert_eq!(lab.office.ping("192.168.8.250", 1).lost(), 0);
    assert!(lab.mon.ok(&["ip", "-br", "link", "show", "master", "br0"]).contains("tap-mon-fri"));

    // A second one joins the same bridge, and gets the next address. One host is called otherwise for that.
    let said = paired(&lab, &lab.mon, "mon sat --bridge");
    assert!(said.contains("bridged with eth1: sat 192.168.8.249"), "{said}");
    assert!(!lab.dir().join("tap-mon-sat/mon/bridge.conf").exists());
    install(&lab, &lab.mon, "tap-mon-sat", "mon");
}

#[test]
fn an_interface_with_an_address_moves_it_to_the_bridge() {
    let Some(lab) = fresh("pair-moved") else { return };
    installed(&lab, "mon fri --bridge eth2", "tap-mon-fri");
    assert_eq!(lab.fri.ping("192.168.1.10", 3).lost(), 0);
    assert_eq!(lab.lanmon.ping("192.168.1.250", 1).lost(), 0);
    assert!(lab.mon.sh("ip -4 -br address show br0").contains("192.168.1.1/24"));
}

#[test]
fn xinetd_that_does_not_run_is_started() {
    let Some(lab) = fresh("pair-start") else { return };
    paired(&lab, &lab.mon, "mon fri");
    install(&lab, &lab.mon, "tun-mon-fri", "mon");
    install(&lab, &lab.fri, "tun-mon-fri", "fri");
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
}

#[test]
fn inetd_gets_a_line_of_its_own() {
    let Some(lab) = fresh("pair-inetd") else { return };
    let inetd = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/openbsd-inetd/usr/sbin/inetd");
    lab.mon.write("/etc/inetd.conf", "# nothing yet\n");
    lab.mon.ok(&[inetd, "/etc/inetd.conf"]);
    paired(&lab, &lab.mon, "mon fri --launcher inetd");
    for _ in 0..2 {
        install(&lab, &lab.mon, "tun-mon-fri", "mon");
    }
    assert_eq!(lab.mon.read("/etc/inetd.conf").matches("timbuktu-srv1").count(), 1);
    install(&lab, &lab.fri, "tun-mon-fri", "fri");
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    let said = paired(&lab, &lab.mon, "mon sat --launcher inetd");
    assert!(said.contains("timbuktu-srv2") && said.contains("10.8.1.1"), "{said}");
}

#[test]
fn systemd_gets_a_port_and_instances() {
    let Some(lab) = fresh("pair-systemd") else { return };
    for host in [&lab.mon, &lab.fri] {
        host.has_systemd();
    }
    paired(&lab, &lab.mon, "mon fri --launcher systemd");
    install(&lab, &lab.mon, "tun-mon-fri", "mon");
    let asked = "daemon-reload\nenable --now naptun@tun-mon-fri.socket\n";
    assert_eq!(lab.mon.read("/run/systemctl"), asked);
    let held = || !lab.mon.sh("ss -Hulnp sport = 1417").is_empty();
    eventually("the port is held", SOON, held);
    assert!(!lab.mon.has_device("tun-mon-fri"));
    install(&lab, &lab.fri, "tun-mon-fri", "fri");
    assert_eq!(
        lab.fri.read("/run/systemctl"),
        "daemon-reload\nenable --now naptun-caller@tun-fri-mon.service\n"
    );
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    assert!(!lab.fri.path("/etc/naptun/callers").exists());
    lab.mon.wait_for_log("launch=systemd port=1417", SOON);
    let said = paired(&lab, &lab.mon, "mon sat --launcher systemd");
    assert!(said.contains("1418 (timbuktu-srv2), held by systemd"), "{said}");
}

#[test]
fn the_listener_is_called_over_ipv6() {
    let Some(lab) = fresh("pair-six") else { return };
    installed(&lab, "mon fri --address 2001:db8:1::1", "tun-mon-fri");
    assert!(lab.fri.read("/etc/naptun/tun-fri-mon.conf").contains("remote 2001:db8:1::1 1417\n"));
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    lab.mon.wait_for_log("2001:db8:2::1", SOON);
}

#[test]
fn a_port_without_a_name_needs_none() {
    let Some(lab) = fresh("pair-port") else { return };
    installed(&lab, "mon fri --port 4711", "tun-mon-fri");
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    assert!(!lab.mon.read("/etc/services").contains("4711"));
    assert!(lab.mon.read("/etc/xinetd.d/tun-mon-fri").contains("UNLISTED"));
}

#[test]
fn what_somebody_has_is_not_taken() {
    let Some(lab) = fresh("pair-taken") else { return };
    let chosen = |words: &str| {
        let said = paired(&lab, &lab.mon, words);
        lab.mon.sh(&format!("rm -r {}/tun-*", lab.dir().display()));
        let after =
            |word: &str, end: char| said.split_once(word).unwrap().1.split(end).next().unwrap().to_owned();
        (after("UDP port ", ' '), after(": mon ", ','))
    };
    assert_eq!(chosen("mon fri"), ("1417".into(), "10.8.0.1".into()));
    // An address, a route, and one that would be an inner network of another tunnel.
    lab.mon.sh("ip address add 10.8.0.77/24 dev eth1; ip link set eth1 up; ip route add 10.8.1.128/25 via 192.0.2.254");
    lab.mon.sh("mkdir -p /etc/naptun");
    lab.mon.write("/etc/naptun/other.conf", "ifconfig 10.8.2.9 10.8.2.10\nport timbuktu-srv1\n");
    assert_eq!(chosen("mon fri"), ("1418".into(), "10.8.3.1".into()));
    // A port that is bound, one of xinetd's that is on, one that is off but whose configuration is there.
    let _holder = lab.mon.spawn(&["socat", "UDP-RECV:1418", "STDOUT"]);
    eventually("the port is held", SOON, || !lab.mon.sh("ss -Hulnp sport = 1418").is_empty());
    lab.mon.write("/etc/xinetd.d/mine", "service mine\n{\n\ttype = UNLISTED\n\tport = 1419\n}\n");
    lab.mon.write(
        "/etc/xinetd.d/timbuktu-srv4",
        "service timbuktu-srv4\n{\n\tdisable = yes\n\tserver_args = --config other.conf\n}\n",
    );
    lab.mon.write("/etc/inetd.conf", "netview-aix-1 dgram udp wait root /usr/sbin/naptun naptun\n");
    lab.mon.sh("mkdir -p /etc/systemd/system/x.socket.d");
    lab.mon.write("/etc/systemd/system/x.socket.d/port.conf", "[Socket]\nListenDatagram=1662\n");
    assert_eq!(chosen("mon fri").0, "1663");
    // A network that covers all of 10.8.0.0/16, and one that was given.
    lab.mon.sh("ip route add 10.0.0.0/8 via 192.0.2.254");
    assert_eq!(chosen("mon fri --caller-network 172.29.0.0/24").1, "172.29.1.1");
    // Half of everything is no reason.
    lab.mon.sh("ip route add 0.0.0.0/1 via 192.0.2.254; ip route add 128.0.0.0/1 via 192.0.2.254");
    assert_eq!(chosen("mon fri").1, "172.29.0.1");
    let output = pair(&lab, &lab.mon, "mon fri --service timbuktu-srv2");
    assert_eq!(output.status.code(), Some(69));
    assert!(complaints(&output)[0].contains("a process has UDP port 1418"));
}

#[test]
fn what_is_wrong_is_said_at_once_and_nothing_is_left_behind() {
    let Some(lab) = fresh("pair-wrong") else { return };
    let refused = |words: &str, code: i32, reasons: &[&str]| {
        let output = pair(&lab, &lab.mon, words);
        let said = complaints(&output);
        assert_eq!((output.status.code(), said.len()), (Some(code), reasons.len()), "{words}: {said:?}");
        for (line, reason) in said.iter().zip(reasons) {
            assert!(line.contains(reason), "{words}: {line}");
        }
        assert!(output.stdout.is_empty() && left_behind(&lab).is_empty(), "{words}");
    };
    refused("../mon 'fri;reboot'", 64, &["LISTENER ../mon: is no name", "CALLER fri;reboot: is no name"]);
    refused("192.0.2.1 -- -fri", 64, &["is an address", "CALLER -fri"]);
    refused("mon MON", 64, &["both ends have one name"]);
    refused("mon fri --address 0.0.0.0 --port 70000", 64, &["--address 0.0.0.0", "--port 70000"]);
    refused("mon fri --service x --port 5 --launcher cron", 64, &["cron", "contradict"]);
    refused("mon fri --service no-such", 64, &["neither /etc/services nor"]);
    refused(
        "mon fri --network 192.168.1.7/24 --network x",
        64,
        &["--network x", "did you mean 192.168.1.0/24?"],
    );
    refused("mon fri --network 192.168.1.0/24 --caller-network 192.168.0.0/16", 64, &["overlaps --network"]);
    refused("mon fri --caller-network 192.168.1.0/24", 64, &["on this host eth2 has 192.168.1.0/24"]);
    refused("mon fri --network 192.0.2.0/24", 64, &["holds 192.0.2.1, which fri calls"]);
    refused("mon fri --caller-address 10.0.0.1", 64, &["only a bridged network"]);
    refused(
        "mon fri --bridge eth1 --network 192.168.8.1/24 --caller-address 192.168.8.255",
        64,
        &["none of a host"],
    );
    refused("mon fri --out /nowhere", 73, &["/nowhere"]);
    lab.mon.sh("mkdir /etc/naptun && touch /etc/naptun/tun-mon-fri.conf");
    refused("mon fri", 73, &["/etc/naptun/tun-mon-fri.conf is there already"]);
    // A disk that is full in the middle of it.
    lab.mon.sh("mkdir /run/full && mount -t tmpfs -o nr_inodes=6 tmpfs /run/full");
    let output = pair(&lab, &lab.mon, "mon sat --out /run/full");
    assert_eq!(output.status.code(), Some(73), "{:?}", complaints(&output));
    assert_eq!(lab.mon.sh("ls -A /run/full"), "");
    // Ctrl-C while it makes the folder of the second end.
    let interrupt =
        "strace -o /dev/null -e inject=mkdir:signal=SIGINT:when=3 naptun pair mon sat --out /run/in";
    let output = lab.mon.run(&["sh", "-c", &format!("mkdir /run/in && exec {interrupt}")]);
    assert_eq!(output.status.code(), Some(73), "{:?}", complaints(&output));
    assert!(
        complaints(&output)[0].ends_with("make /run/in/tun-mon-sat: ended by SIGINT"),
        "{:?}",
        complaints(&output)
    );
    assert_eq!(lab.mon.sh("ls -A /run/in"), "");
    paired(&lab, &lab.mon, "mon sat");
    let output = pair(&lab, &lab.mon, "mon sat");
    assert_eq!(output.status.code(), Some(73));
    assert!(complaints(&output)[0].contains("it is there already"));
}

#[test]
fn the_scripts_are_clean_for_shellcheck() {
    let Some(lab) = fresh("pair-shellcheck") else { return };
    for (words, tunnel) in [
        ("mon fri --caller-network 192.168.2.0/24", "tun-mon-fri"),
        ("mon fri --bridge eth1 --network 192.168.8.1/24 --launcher systemd", "tap-mon-fri"),
        ("mon sat --port 99 --launcher inetd", "tun-mon-sat"),
    ] {
        paired(&lab, &lab.mon, words);
        let scripts = format!(
            "shellcheck -x -a -s sh {0}/{tunnel}/*/install && for it in {0}/{tunnel}/*/install; do sh -n $it; done",
            lab.dir().display()
        );
        lab.mon.sh(&scripts);
    }
}

#[test]
fn somebody_who_is_not_root_is_told_what_was_not_seen() {
    let Some(lab) = fresh("pair-user") else { return };
    lab.mon.sh("mkdir -m 700 /etc/naptun; mkdir -m 777 /run/out");
    let words = "cd /run/out && exec setpriv --reuid=65534 --regid=65534 --clear-groups naptun pair mon fri";
    let said = lab.mon.sh(words);
    assert!(said.contains("note: /etc/naptun may not be read"), "{said}");
    assert_eq!(
        lab.mon.sh("stat -c '%a %u' /run/out/tun-mon-fri /run/out/tun-mon-fri/*/*.key"),
        "700 65534\n600 65534\n600 65534\n"
    );
}

#[test]
fn install_touches_nothing_of_others() {
    let Some(lab) = fresh("pair-others") else { return };
    paired(&lab, &lab.mon, "mon fri");
    let refused = |host: &Host, end: &str, reason: &str| {
        let state =
            || host.sh("cd /etc; sha256sum services xinetd.d/*; ls -lR naptun xinetd.d 2>/dev/null; true");
        let before = state();
        let from = format!("{}/tun-mon-fri/{end}/install", lab.dir().display());
        let output = host.run(&["sh", &from]);
        let said = complaints(&output);
        assert!(
            !output.status.success() && said.last().is_some_and(|line| line.contains(reason)),
            "{said:?}"
        );
        assert_eq!(state(), before, "{reason}");
    };
    refused(&lab.mon, "fri", "this is mon, and the folder is for fri");
    lab.mon.sh("mkdir -m 700 /etc/naptun; echo '# mine' >/etc/naptun/tun-mon-fri.conf");
    refused(&lab.mon, "mon", "tun-mon-fri.conf is there with other contents");
    lab.mon.sh("rm /etc/naptun/tun-mon-fri.conf; sed -i 's/yes/no/' /etc/xinetd.d/timbuktu-srv1");
    refused(&lab.mon, "mon", "/etc/xinetd.d/timbuktu-srv1 belongs to another service");
    lab.mon.sh("rm /etc/xinetd.d/timbuktu-srv1; echo 'timbuktu-srv1 99/udp' >>/etc/services");
    refused(&lab.mon, "mon", "timbuktu-srv1 is 99/udp, not 1417/udp");
    lab.mon.sh("sed -i /timbuktu/d /etc/services");
    let holder = lab.mon.spawn(&["socat", "UDP-RECV:1417", "STDOUT"]);
    eventually("the port is held", SOON, || !lab.mon.sh("ss -Hulnp sport = 1417").is_empty());
    refused(&lab.mon, "mon", "somebody holds UDP port 1417");
    drop(holder);
    lab.mon.write("/etc/inetd.conf", "timbuktu-srv1 dgram udp wait root /bin/other other\n");
    lab.mon.sh(&format!(
        "sed -i s/LAUNCHER=xinetd/LAUNCHER=inetd/ {}/tun-mon-fri/mon/install",
        lab.dir().display()
    ));
    lab.mon.sh(&format!(
        "cd {}/tun-mon-fri/mon && echo 'timbuktu-srv1 dgram udp wait root x' >inetd.conf",
        lab.dir().display()
    ));
    refused(&lab.mon, "mon", "/etc/inetd.conf has another line for timbuktu-srv1");
    assert!(lab.mon.ours().is_empty());
}
