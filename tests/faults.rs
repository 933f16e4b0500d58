//! Bad input: names that cannot be looked up, ends that do not fit, keys that differ, strangers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{
    CALLER, LISTENER, answers, call, complaints, datagrams_sent, napping, quiet_lab, rubbish, stop, tun_lab,
};
use lab::{Lab, SOON, eventually};
use std::time::Duration;

/// Replaces the `remote` of the caller.
fn aim(lab: &Lab, remote: &str) {
    lab.fri.sh(&format!("sed -i 's/^remote .*/remote {remote}/' {CALLER}"));
}

#[test]
fn a_name_that_cannot_be_looked_up_is_tried_for_ever_with_one_line_at_either_end() {
    let Some(lab) = tun_lab("name", "") else { return };
    aim(&lab, "later.example");
    call(&lab.fri, &[]);
    assert!(lab.fri.has_device("tun0"), "the caller's device does not depend on the name");
    lab.fri.wait_for_log("cannot look up the remote, trying for ever: later.example", SOON);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(lab.fri.logged("cannot look up"), 1, "told at every try");
    lab.fri.append("/etc/hosts", "192.0.2.1 later.example\n");
    lab.fri.wait_for_log("remote found again host=later.example", SOON);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    assert_eq!((lab.fri.logged("cannot look up"), lab.fri.logged("found again")), (1, 1));
}

#[test]
fn a_remote_that_does_not_answer_is_called_for_ever_with_one_line_at_either_end() {
    let Some(lab) = quiet_lab("deaf", "") else { return };
    call(&lab.fri, &[]);
    lab.fri.wait_for_log("no answer, trying for ever", SOON);
    // First nobody has the port, then there is no way there at all.
    lab.fri.ok(&["ip", "link", "set", "eth0", "down"]);
    std::thread::sleep(Duration::from_secs(3));
    lab.fri.sh("ip link set eth0 up && ip route add default via 198.51.100.254");
    lab.mon.xinetd();
    lab.fri.wait_for_log("peer authenticated, it answers again", SOON);
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    assert_eq!((lab.fri.logged("no answer"), lab.fri.logged("answers again")), (1, 1));
}

#[test]
fn settings_that_do_not_match_are_said_in_words_on_both_ends_and_make_no_device() {
    let Some(lab) = tun_lab("mismatch", "data-ciphers AES-256-GCM\n") else { return };
    let config = lab.fri.read(CALLER);
    for (from, to, on_mon, on_fri) in [
        (
            "dev tun",
            "dev tap",
            "the peer has dev tap, this end dev tun",
            "the peer has dev tun, this end dev tap",
        ),
        (
            "10.8.0.2 10.8.0.1",
            "10.8.0.6 10.8.0.1",
            "the peer has ifconfig 10.8.0.6 10.8.0.1, so this end needs ifconfig 10.8.0.1 10.8.0.6, not 10.8.0.1 10.8.0.2",
            "the peer has ifconfig 10.8.0.1 10.8.0.2, so this end needs ifconfig 10.8.0.2 10.8.0.1, not 10.8.0.6 10.8.0.1",
        ),
        ("verb 3", "verb 3\ndata-ciphers CHACHA20-POLY1305", "no cipher in common", "no cipher in common"),
    ] {
        let wrong = config.replace(from, to);
        // A tap has a netmask, and no peer to route to.
        let wrong = match to {
            "dev tap" => wrong.replace("10.8.0.2 10.8.0.1", "10.8.0.2 255.255.255.0").replace("route ", "#"),
            _ => wrong,
        };
        lab.fri.write(CALLER, &wrong);
        call(&lab.fri, &[]);
        lab.mon.wait_for_log(&format!("settings do not match: {on_mon}"), SOON);
        lab.fri.wait_for_log(&format!("settings do not match: {on_fri}"), SOON);
        assert!(!lab.mon.has_device("tun0"));
        stop(&lab.fri);
    }
    assert_eq!(lab.mon.logged("do not match"), 3, "one line each");
    lab.fri.write(CALLER, &config);
    call(&lab.fri, &[]);
    assert_eq!(
        lab.fri.ping("10.8.0.1", 1).lost(),
        0,
        "the right settings do not get in after the wrong ones"
    );
}

#[test]
fn a_caller_with_another_key_hears_nothing_and_is_counted() {
    let Some(lab) = tun_lab("key", "") else { return };
    let before = datagrams_sent(&lab.mon);
    lab.fri.sh("cd /etc/naptun && rm static.key && naptun --genkey --secret static.key");
    call(&lab.fri, &[]);
    lab.fri.wait_for_log("no answer, trying for ever", SOON);
    assert!(!lab.mon.has_device("tun0"));
    stop(&lab.fri);
    stop(&lab.mon);
    assert_eq!(datagrams_sent(&lab.mon), before, "an answer to a stranger");
    lab.mon.wait_for_log("closed reason=SIGTERM", SOON);
    let log = lab.mon.log();
    let last = log.lines().find(|line| line.contains("closed reason=SIGTERM")).unwrap();
    assert!(last.contains("udp_out_bytes=0") && last.contains("rejects=4 unknown=4"), "{last}");
}

#[test]
fn a_remote_inside_the_tunnel_is_refused() {
    let Some(lab) = Lab::new("inside") else { return };
    let config = lab.fri.read(CALLER);
    for (flags, address) in [
        (&["--remote", "10.8.0.1"][..], "10.8.0.1"),
        (&["--remote", "192.0.2.1", "--route", "192.0.2.0", "255.255.255.0"], "192.0.2.1"),
        (&["--config", "tap-fri-mon.conf", "--remote", "192.168.8.1"], "192.168.8.1"),
    ] {
        lab.fri.write(CALLER, &config);
        if flags.contains(&"--remote") {
            lab.fri.sh(&format!("sed -i /remote/d {CALLER} /etc/naptun/tap-fri-mon.conf"));
        }
        let words = ["naptun", "--port", "1417", "--daemon", "--cd", "/etc/naptun"];
        let own: &[&str] = if flags.contains(&"--config") { &[] } else { &["--config", "tun-fri-mon.conf"] };
        let output = lab.fri.run(&[&words[..], own, flags].concat());
        let said = complaints(&output);
        assert!(matches!(output.status.code(), Some(64 | 78)), "{flags:?}: {:?} {said:?}", output.status);
        assert!(
            said.len() == 1 && said[0].contains(address) && said[0].contains("tunnel"),
            "{flags:?}: {said:?}"
        );
        eventually("no process stays", SOON, || napping(&lab.fri));
    }
    // A name may have another address tomorrow.
    lab.fri.write(CALLER, &config);
    call(&lab.fri, &["--route", "192.0.2.0", "255.255.255.0"]);
    lab.fri.wait_for_log("mon has no address outside of the tunnel", SOON);
}

#[test]
fn remote_in_the_listeners_file_says_who_may_speak_and_float_lifts_it() {
    let Some(lab) = tun_lab("who", "remote 198.51.100.99\n") else { return };
    let before = datagrams_sent(&lab.mon);
    call(&lab.fri, &[]);
    lab.fri.wait_for_log("no answer, trying for ever", SOON);
    assert_eq!(datagrams_sent(&lab.mon), before, "an answer to the wrong address");
    assert!(!lab.mon.has_device("tun0"));
    stop(&lab.mon);
    lab.mon.wait_for_log(" address=", SOON);
    lab.mon.append(LISTENER, "float\n");
    eventually("float lifts it", SOON, || answers(&lab.fri, "10.8.0.1"));
    stop(&lab.fri);
    eventually("the listener is gone", SOON, || napping(&lab.mon));

    lab.mon.sh(&format!("sed -i '/float/d; s/198.51.100.99/fri/' {LISTENER}"));
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0, "the right address, by its name");
}

#[test]
fn check_lists_every_error_of_a_file_with_its_line() {
    let Some(lab) = Lab::new("check") else { return };
    lab.mon.write(
        "/etc/naptun/wrong.conf",
        "dev tun\n\nifconfg 10.8.0.1 10.8.0.2\nverb loud\nca ca.crt\nsecret none.key\nroute 192.168.2.0 255.0.255.0\n",
    );
    let output = lab.mon.run(&["naptun", "check", "--cd", "/etc/naptun", "wrong.conf", "tun-mon-fri.conf"]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stdout);
    // What is indented is the line that it is about.
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("    ")).collect();
    for (line, word) in [
        ("wrong.conf:3: error: ", "did you mean ifconfig?"),
        ("wrong.conf:4: error: ", "loud"),
        ("wrong.conf:5: error: ", "secret FILE"),
        ("wrong.conf:6: error: ", "none.key"),
        ("wrong.conf:7: error: ", "255.0.255.0"),
        ("tun-mon-fri.conf: ", "ok"),
    ] {
        assert!(
            lines.iter().any(|said| said.starts_with(line) && said.contains(word)),
            "{line} {word}: {said}"
        );
    }
    assert!(output.stderr.is_empty());
    lab.mon.ok(&["naptun", "check", "--cd", "/etc/naptun", "tun-mon-fri.conf", "tap-mon-fri.conf"]);
}

#[test]
fn a_flood_of_rubbish_wakes_two_processes_at_most_and_keeps_nobody_out() {
    let Some(lab) = quiet_lab("flood", "") else { return };
    // What an administrator's own service file has: xinetd's limit on starts.
    lab.mon.sh("sed -i /cps/d /etc/xinetd.d/timbuktu-srv1");
    lab.mon.xinetd();
    lab.fri.ok(&["ip", "address", "add", "198.51.100.66/24", "dev", "eth0"]);
    // Some 300 a second for 5 s.
    let flood = rubbish(1500, 0.003, "198.51.100.66");
    let flood =
        lab.fri.command(&["perl", "-e", &flood]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0, "a true caller is kept out");
    let flood = flood.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&flood.stdout), "0", "answers to a stranger");
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    let starts = lab.mon.logged("started launch=inetd");
    assert!((1..=2).contains(&starts), "{starts} starts");
    assert!(lab.mon.logged("waiting for a peer") <= 1);
    assert_eq!(lab.mon.logged("eactivating"), 0);
    stop(&lab.mon);
    lab.mon.wait_for_log("rejects=1500 unknown=1500", SOON);
}
