//! The freshness record: processes that are killed while they write it, and disks that do not take it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;
mod os_stage;
#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use figures::{by_length, figure};
use lab::tun::{answers, call, tun_lab};
use lab::{Host, SOON, eventually};
use naptun::os::state_file::{Opened, Payload, StateFile};
use naptun::protocol::handshake::{Carriage, Initiation};
use naptun::protocol::session::Record;
use naptun::protocol::{Action, Hello, Secrets, Session, Timers, envelope};
use os_stage::{PLACE, Place};
use world::{KEY, Rng, WALL, hello, secs};

/// A listener that reads calls, one a line, keeps its record as the program does, and names the calls that it answers.
pub fn part(_: &str) -> u8 {
    let Opened::Ours(mut state) = StateFile::open(&os_stage::place().join("state"), secs(5)).unwrap() else {
        return 1;
    };
    let record = state.read().map(of_payload).unwrap_or_default();
    let ours = Hello { listener: true, ..hello(2) };
    let mut session: Session<u8> = Session::new(Secrets::derive(&KEY), ours, record, Timers::default());
    let mut rng = Rng::new(u64::from(std::process::id()));
    let moment = naptun::protocol::Moment { now: secs(1000), wall: WALL };
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (number, hex) = line.split_once(' ').unwrap();
        let mut datagram = unhex(hex);
        session.open(&moment, 1, &mut datagram, &mut rng);
        while let Some(action) = session.next_action() {
            match action {
                Action::Persist(record) => state.write(to_payload(record)).unwrap(),
                Action::Send { .. } => println!("{number}"),
                Action::Event(_) => {}
            }
        }
    }
    0
}

/// The first 16 bytes of what the program stores; what lies behind them is not looked at here.
fn to_payload(record: Record) -> Payload {
    let mut payload: Payload = [0; size_of::<Payload>()];
    payload[..8].copy_from_slice(&record.sent.to_le_bytes());
    payload[8..16].copy_from_slice(&record.seen.to_le_bytes());
    payload
}

fn of_payload(payload: Payload) -> Record {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    Record { sent: number(0), seen: number(8), instance: 0 }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

/// First messages as a line each: number, digits.
fn calls(from: usize, count: usize) -> String {
    let secrets = Secrets::derive(&KEY);
    let mut rng = Rng::new(from as u64);
    (from..from + count)
        .map(|number| {
            let ours = Hello { stamp: WALL + number as u64, ..hello(1) };
            let (_, message) = Initiation::write(Carriage::Envelope, &secrets, &ours, &mut rng);
            let datagram = envelope::seal(&secrets.envelopes[0], &message, 0, &mut rng);
            let digits: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{number} {digits}\n")
        })
        .collect()
}

fn listener(place: &Path) -> Child {
    let mut command = os_stage::part("listener");
    command.env(PLACE, place).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_listener_killed_while_it_writes_answers_no_call_twice() {
    const EACH: usize = 40;
    let seed = world::seed("killed");
    let (mut rng, place) = (Rng::new(seed), Place::new("killed"));
    let (kills, mut answered, mut replayed) = (by_length(30, 1000), HashSet::new(), 0);
    let mut last = String::new();
    for kill in 0..kills {
        let mut child = listener(&place.0);
        // What the one before was told comes again.
        let mut stdin = child.stdin.take().unwrap();
        let fresh = calls(kill * EACH, EACH);
        replayed += last.lines().count();
        let fed = stdin.write_all(last.as_bytes()).and_then(|()| stdin.write_all(fresh.as_bytes()));
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: String, when: &str| {
            assert!(
                answered.insert(line.clone()),
                "call {line} was answered twice, {when}, {kill} of {seed}"
            );
        };
        // Killed in the middle of its answers, wherever that is.
        for line in answers.by_ref().take(rng.below(EACH as u64 - 5) as usize) {
            take(line.unwrap(), "before the kill");
        }
        std::thread::sleep(Duration::from_micros(rng.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
        answers.for_each(|line| take(line.unwrap(), "at the kill"));
        drop((stdin, fed));
        last = fresh;
    }
    assert!(answered.len() > kills, "{} answers", answered.len());
    figure(
        8,
        &format!(
            "{kills} kills of a writing process, {} calls answered, {replayed} replayed: 0 answered twice",
            answered.len()
        ),
    );
}

fn state_files(host: &Host) -> Vec<Vec<u8>> {
    let folder = host.path("/var/lib/naptun");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.filter(|content| content.starts_with(b"naptun") || content.iter().any(|byte| *byte != 0)).collect()
}

fn end_listener(host: &Host) {
    host.endpoints().iter().for_each(|endpoint| host.kill("TERM", endpoint.pid()));
    eventually("the listener is gone", SOON, || host.ours().is_empty());
}

#[test]
fn a_full_or_read_only_disk_costs_a_warning_and_no_tunnel() {
    let Some(lab) = tun_lab("full", "") else { return };
    // Full from the beginning: no record can be made.
    lab.mon.sh("mount -t tmpfs -o size=64k,mode=700 tmpfs /var/lib/naptun; cat /dev/zero >/var/lib/naptun/fill 2>/dev/null || true");
    call(&lab.fri, &[]);
    eventually("the tunnel answers on a full disk", SOON, || answers(&lab.fri, "10.8.0.1"));
    lab.mon.wait_for_log("without it a replayed call can be answered after a restart", SOON);
    end_listener(&lab.mon);
    // Full once the record is there: its place is its own.
    lab.mon.sh("rm -f /var/lib/naptun/*");
    eventually("the tunnel answers", SOON * 2, || answers(&lab.fri, "10.8.0.1"));
    end_listener(&lab.mon);
    lab.mon.sh("cat /dev/zero >/var/lib/naptun/fill 2>/dev/null; rm -f /var/lib/naptun/fill.old");
    let warned = lab.mon.logged("without it a replayed call");
    let full = newest(&lab.mon);
    eventually("the tunnel answers", SOON * 2, || answers(&lab.fri, "10.8.0.1"));
    let after = newest(&lab.mon);
    assert_ne!(full, after, "the record is written on a full disk");
    assert_eq!(lab.mon.logged("without it a replayed call"), warned, "what was there needs no room");
    end_listener(&lab.mon);
    // Read-only: what is there stays, and can be read.
    let kept = newest(&lab.mon);
    lab.mon.sh("mount -o remount,ro /var/lib/naptun");
    eventually("the tunnel answers on a read-only disk", SOON * 2, || answers(&lab.fri, "10.8.0.1"));
    lab.mon.wait_for_logs("without it a replayed call", warned + 1, SOON);
    assert_eq!(newest(&lab.mon), kept);
    figure(
        8,
        "a full and a read-only disk: the tunnel is up, a warning each, the record before stays readable",
    );
}

/// The content of the state file.
fn newest(host: &Host) -> Vec<u8> {
    let mut files = state_files(host);
    files.retain(|content| content.len() < 4096);
    assert_eq!(files.len(), 1);
    files.remove(0)
}
