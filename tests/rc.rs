//! scripts/rc.naptun: the callers of a host from a list, with the exit codes of the LSB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::tun_lab;
use lab::{Host, Lab, SOON, eventually};
use std::process::Output;

const LIST: &str = "/etc/naptun/callers";
const TUN: &str = "/run/naptun/tun-fri-mon.pid";
const SECOND: &str = "/run/naptun/second.pid";

fn rc(host: &Host, words: &[&str]) -> Output {
    host.run(&[&["/etc/naptun/rc.naptun"], words].concat())
}

fn code(host: &Host, words: &[&str]) -> Option<i32> {
    rc(host, words).status.code()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A laboratory with two callers in fri's list: one with the port in the list, one with it in its configuration, to nowhere.
fn two_callers(name: &str) -> Option<Lab> {
    let lab = tun_lab(name, "")?;
    lab.fri.write(LIST, "# PORT CONFIG\n\n  timbuktu-srv1\ttun-fri-mon.conf\nsecond.conf\n");
    lab.fri.write(
        "/etc/naptun/second.conf",
        "remote 192.0.2.1\nport 1420\nsecret static.key\ndev tun\nifconfig 10.9.0.2 10.9.0.1\n",
    );
    Some(lab)
}

#[test]
fn the_callers_of_the_list_are_started_once_told_of_and_stopped() {
    let Some(lab) = two_callers("rc") else { return };
    let fri = &lab.fri;
    assert_eq!(code(fri, &["status"]), Some(3));
    assert_eq!(code(fri, &["stop"]), Some(0), "nothing to stop is no failure");
    let started = rc(fri, &["start"]);
    assert!(started.status.success() && said(&started).is_empty(), "{}", said(&started));
    assert_eq!(fri.ping("10.8.0.1", 1).lost(), 0);
    assert_eq!(fri.sh("stat -c '%a %U' /run/naptun"), "755 root\n");

    let told = rc(fri, &["status"]);
    let pid = |file| fri.read(file).trim().to_owned();
    let expected = format!("tun-fri-mon: running, pid {}\nsecond: running, pid {}\n", pid(TUN), pid(SECOND));
    assert_eq!((told.status.code(), said(&told)), (Some(0), expected));
    let before = (pid(TUN), pid(SECOND));
    assert_eq!(code(fri, &["start"]), Some(0));
    assert_eq!((pid(TUN), pid(SECOND)), before, "a second start made a second caller");
    assert_eq!(fri.endpoints().len(), 2);

    // One by its name, with or without .conf.
    assert_eq!(code(fri, &["restart", "tun-fri-mon"]), Some(0));
    assert!(pid(TUN) != before.0 && pid(SECOND) == before.1);
    assert_eq!(fri.ping("10.8.0.1", 1).lost(), 0);
    assert_eq!(code(fri, &["stop", "second.conf"]), Some(0));
    assert_eq!(code(fri, &["status"]), Some(3), "one of two runs");
    assert_eq!(code(fri, &["status", "tun-fri-mon"]), Some(0));
    assert_eq!(code(fri, &["stop"]), Some(0));
    assert!(fri.ours().is_empty());
    assert_eq!(fri.sh("ls /run/naptun/*.pid 2>/dev/null || true"), "");
    lab.mon.wait_for_log("peer says bye reason=exit", SOON);
}

#[test]
fn a_process_that_is_not_the_one_that_was_started_is_left_alone() {
    let Some(lab) = two_callers("rc-foreign") else { return };
    let fri = &lab.fri;
    assert_eq!(code(fri, &["start"]), Some(0));
    let tun = fri.read(TUN);

    // Killed, and its number now belongs to another tunnel, to anybody, to nobody; or there is no number.
    let second = fri.read(SECOND);
    fri.sh(&format!("kill -KILL {second}"));
    eventually("it is dead", SOON, || fri.endpoints().len() == 1);
    let sleeper = fri.spawn(&["sleep", "1000"]);
    eventually("somebody runs", SOON, || !fri.sh("pgrep -f '^sleep 1000$' || true").is_empty());
    let foreign = fri.sh("pgrep -f '^sleep 1000$'");
    for old in [&tun, &foreign, &second, "", "1 2\n", "-1\n", "rubbish\n"] {
        fri.write(SECOND, old);
        assert_eq!(code(fri, &["status"]), Some(1), "{old:?}");
        assert_eq!(code(fri, &["stop", "second"]), Some(0), "{old:?}");
        assert!(!fri.path(SECOND).exists());
        assert_eq!(fri.endpoints().len(), 1, "{old:?}: it ended another tunnel");
        assert!(fri.sh("pgrep -f '^sleep 1000$'") == foreign, "it ended a stranger");
    }
    drop(sleeper);
    // A start goes past such a file.
    fri.write(SECOND, &tun);
    assert_eq!(code(fri, &["start"]), Some(0));
    assert_eq!(fri.endpoints().len(), 2);
    assert_eq!(code(fri, &["stop"]), Some(0));
    assert!(fri.ours().is_empty());
}

#[test]
fn what_cannot_be_done_is_told_with_the_code_for_it_and_the_others_are_done() {
    let Some(lab) = two_callers("rc-codes") else { return };
    let fri = &lab.fri;
    for words in [&["jump"][..], &[], &["start", "nobody-knows"]] {
        let output = rc(fri, words);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1);
    }
    let user =
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "/run/rc", "start"];
    fri.sh("cp /etc/naptun/rc.naptun /run/rc");
    assert_eq!(fri.run(&user).status.code(), Some(4));

    // The first fails, and says why itself.
    fri.sh("sed -i s/static.key/none.key/ /etc/naptun/tun-fri-mon.conf");
    let output = rc(fri, &["start"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("none.key") && !fri.path(TUN).exists());
    assert_eq!(code(fri, &["status", "second"]), Some(0), "the second is not started");

    fri.append(LIST, "1 2 3\nnone.conf\n");
    let output = rc(fri, &["start", "second", "none"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("not \"[PORT] CONFIG\": 1 2 3"), "{}", said(&output));
    assert!(said(&output).contains("start none: /etc/naptun/none.conf is not there"), "{}", said(&output));
    assert_eq!(code(fri, &["stop"]), Some(6), "the malformed line");
    assert!(fri.ours().is_empty());

    fri.ok(&["rm", LIST]);
    let output = rc(fri, &["start"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("\"[PORT] CONFIG\""), "{}", said(&output));
    fri.write(LIST, "second.conf\n");
    fri.sh("umount /usr/sbin/naptun; rm /usr/sbin/naptun");
    assert_eq!(code(fri, &["start"]), Some(5));
}
