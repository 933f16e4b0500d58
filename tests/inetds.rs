//! The lines of doc/sample/inetd.conf under both programs that read them: openbsd-inetd, and the inetd of busybox.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{answers, call, napping, quiet_lab, rubbish, stop};
use lab::{Host, SOON, eventually};

const SAMPLE: &str = include_str!("../doc/sample/inetd.conf");

/// Below .cache, where scripts/needs has put them.
const OPENBSD: &str = "openbsd-inetd/usr/sbin/inetd";
const BUSYBOX: &str = "busybox-inetd/inetd";

/// Starts an inetd with these lines, and waits until it listens.
fn start(host: &Host, inetd: &str, lines: &str) {
    let program = format!("{}/.cache/{inetd}", env!("CARGO_MANIFEST_DIR"));
    assert!(std::path::Path::new(&program).exists(), "{program} is not there; run scripts/needs");
    host.write("/etc/inetd.conf", lines);
    host.ok(&[&program, "/etc/inetd.conf"]);
    eventually("inetd listens", SOON, || host.sh("ss -Hulnp sport = 1417").contains("inetd"));
}

/// Nap and wake, twice, for IPv4 and IPv6; then a stranger, and one more.
fn serves(name: &str, inetd: &str, lines: &str, addresses: &[&str]) {
    let Some(lab) = quiet_lab(name, "inactive 2\n") else { return };
    start(&lab.mon, inetd, lines);
    let mut wakes = 0;
    for address in addresses {
        call(&lab.fri, &["--remote", address]);
        for _ in 0..2 {
            eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
            wakes += 1;
            lab.mon.wait_for_logs("started launch=inetd", wakes, SOON);
            eventually("the listener naps", SOON, || napping(&lab.mon));
        }
        stop(&lab.fri);
        // The goodbye has woken one, which finds nobody.
        eventually("the listener is gone", SOON + SOON, || lab.mon.ours().is_empty());
        wakes = lab.mon.logged("started launch=inetd");
    }
    assert_eq!(lab.fri.ok(&["perl", "-e", &rubbish(200, 0.01, "198.51.100.1")]), "0");
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    stop(&lab.fri);
}

#[test]
fn openbsd_inetd_takes_the_lines_and_wakes_over_both_versions_of_ip() {
    serves("inetd-openbsd", OPENBSD, SAMPLE, &["mon", "mon6"]);
}

#[test]
fn busybox_inetd_takes_the_lines() {
    serves("inetd-busybox", BUSYBOX, SAMPLE, &["mon"]);
}

#[test]
fn busybox_inetd_wakes_over_both_versions_of_ip_with_the_line_for_that() {
    let other = SAMPLE.lines().find_map(|line| line.strip_prefix("#timbuktu-srv1")).unwrap();
    serves("inetd-busybox6", BUSYBOX, &format!("timbuktu-srv1{other}\n"), &["mon", "mon6"]);
}

#[test]
fn the_lines_start_what_the_entries_of_xinetd_start() {
    for (name, entry) in [
        ("timbuktu-srv1", include_str!("../xinetd.d/timbuktu-srv1")),
        ("timbuktu-srv2", include_str!("../xinetd.d/timbuktu-srv2")),
    ] {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('='));
            line.unwrap().trim().to_owned()
        };
        let line = words(SAMPLE.lines().find(|line| line.starts_with(name)).unwrap());
        let expected = format!(
            "{name} {} {} wait {} {} naptun {}",
            value("socket_type"),
            value("protocol"),
            value("user"),
            value("server "),
            value("server_args")
        );
        assert_eq!(line, words(&expected));
        assert_eq!(value("wait"), "yes");
    }
}
