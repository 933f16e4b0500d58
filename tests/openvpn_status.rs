//! The `status` directive: the file that OpenVPN's users have their tools read, byte for byte in its form, and read by one of
//! these tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{CALLER, answers, call, quiet_lab, stop, tun_lab};
use lab::{Host, SOON, eventually};

const FILE: &str = "/run/vpn.status";

/// The text with every digit made alike, and every number of one length.
fn form(text: &str) -> String {
    let mut form = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if form.ends_with('9') => {}
            '0'..='9' => form.push('9'),
            other => form.push(other),
        }
    }
    form
}

/// A number of the file.
fn number(host: &Host, name: &str) -> u64 {
    let text = host.read(FILE);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(','));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// A number of the log's last line of a tunnel that ended.
fn logged(host: &Host, name: &str) -> u64 {
    let log = host.log();
    let line = log.lines().rfind(|line| line.contains("closed reason=")).unwrap();
    let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.unwrap_or_else(|| panic!("{name}: {line}")).parse().unwrap()
}

#[test]
fn the_file_has_the_form_that_openvpn_itself_gives_it() {
    let Some(lab) = tun_lab("status-form", &format!("status {FILE} 1\nstatus-version 2\n")) else { return };
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0);
    eventually("it is written", SOON, || {
        lab.mon.read(FILE).ends_with("END\n") && number(&lab.mon, "TUN/TAP write bytes") >= 2 * 84
    });
    let _openvpn = lab.office.spawn(&[
        "openvpn",
        "--dev",
        "tun9",
        "--dev-type",
        "tun",
        "--secret",
        "/etc/naptun/static.key",
        "--cipher",
        "AES-256-CBC",
        "--ifconfig",
        "10.9.0.1",
        "10.9.0.2",
        "--status",
        FILE,
        "1",
    ]);
    eventually("openvpn writes its own", SOON + SOON, || {
        lab.office.path(FILE).exists() && lab.office.read(FILE).ends_with("END\n")
    });
    let (ours, theirs) = (lab.mon.read(FILE), lab.office.read(FILE));
    assert_eq!(form(&ours), form(&theirs), "{ours}\n{theirs}");
    assert!(theirs.starts_with("OpenVPN STATISTICS\nUpdated,2"), "{theirs}");
}

#[test]
fn the_last_update_is_at_the_end_and_has_what_the_log_has() {
    let Some(lab) = tun_lab("status-end", &format!("status {FILE} 3600\ninactive 2\n")) else { return };
    lab.fri.append(CALLER, &format!("status {FILE}\n"));
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    lab.mon.wait_for_log("closed reason=inactive", SOON);
    stop(&lab.fri);
    lab.fri.wait_for_log("closed reason=SIGTERM", SOON);
    for host in [&lab.mon, &lab.fri] {
        for (name, in_log) in [
            ("TUN/TAP read bytes", "out_bytes"),
            ("TUN/TAP write bytes", "in_bytes"),
            ("TCP/UDP read bytes", "udp_in_bytes"),
            ("TCP/UDP write bytes", "udp_out_bytes"),
        ] {
            assert_eq!(number(host, name), logged(host, in_log), "{name}: {}", host.read(FILE));
        }
        assert!(number(host, "Auth read bytes") >= 5 * 84, "{}", host.read(FILE));
    }
}

/// collectd with the plugin that people have, and its values in files.
const COLLECTD: &str = r#"
Hostname "mon"
FQDNLookup false
BaseDir "/run/collectd"
PIDFile "/run/collectd.pid"
Interval 1
LoadPlugin openvpn
LoadPlugin csv
<Plugin openvpn>
  StatusFile "/run/vpn.status"
</Plugin>
<Plugin csv>
  DataDir "/run/csv"
  StoreRates false
</Plugin>
"#;

#[test]
fn collectd_reads_what_a_tunnel_has_carried() {
    let Some(lab) = quiet_lab("status-collectd", &format!("status {FILE} 1\ninactive 3\n")) else { return };
    lab.mon.xinetd();
    lab.mon.write("/run/collectd.conf", COLLECTD);
    let _collectd = lab.mon.spawn(&["collectd", "-f", "-C", "/run/collectd.conf"]);
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    lab.fri.ok(&["ping", "-q", "-i", "0.01", "-c", "100", "-s", "1000", "10.8.0.1"]);
    lab.mon.wait_for_log("closed reason=inactive", SOON);
    let (read, written) = (number(&lab.mon, "TCP/UDP read bytes"), number(&lab.mon, "TCP/UDP write bytes"));
    assert!(read > 100_000 && written > 100_000, "{}", lab.mon.read(FILE));
    // Receive and transmit of the outer datagrams, the last line of its file.
    let last = || {
        let said =
            lab.mon.sh("cat /run/csv/mon/openvpn-vpn.status/if_octets-traffic-* 2>/dev/null | tail -n 1");
        said.trim().split_once(',').map(|(_, values)| values.to_owned()).unwrap_or_default()
    };
    eventually("collectd has the last values", SOON, || last() == format!("{read},{written}"));
}
