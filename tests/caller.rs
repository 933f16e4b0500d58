//! The caller that goes with its host: several remotes, names that move, a machine that sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use figures::by_length;
use lab::tun::{CALLER, UP, answers, call, caller, tun_lab};
use lab::{Lab, Running, SOON, eventually};

/// Addresses of mon, both on its outer interface.
const ONE: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.7";

/// Nobody is there.
const NOBODY: [&str; 2] = ["192.0.2.99", "203.0.113.9"];

/// How long one address has when there are several.
const TURN: Duration = Duration::from_secs(4);

/// A laboratory in which mon has two addresses, and the caller these `remote` lines.
fn two_addresses(name: &str, more: &str, remotes: &str) -> Option<Lab> {
    let lab = tun_lab(name, more)?;
    lab.mon.sh(&format!("ip address add {OTHER}/24 dev eth0"));
    let file = lab.fri.read(CALLER);
    let rest: String =
        file.lines().filter(|line| !line.starts_with("remote ")).map(|line| format!("{line}\n")).collect();
    lab.fri.write(CALLER, &format!("{remotes}\n{rest}"));
    Some(lab)
}

/// Has the router throw away what goes to these addresses, and to no other.
fn unreachable(lab: &Lab, addresses: &[&str]) {
    lab.net.sh("nft flush ruleset; nft add table inet t; nft add chain inet t f '{ type filter hook forward priority 0; }'");
    for address in addresses {
        let version = if address.contains(':') { "ip6" } else { "ip" };
        lab.net.sh(&format!("nft add rule inet t f {version} daddr {address} drop"));
    }
}

/// Sessions that were made with the peer at this address.
fn sessions(lab: &Lab, address: &str) -> usize {
    let peer = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let phrase = format!(" peer={peer}:1417 ");
    lab.fri.log().lines().filter(|line| line.contains("peer authenticated") && line.contains(&phrase)).count()
}

/// Pings until there is an answer. Returns how long it took.
fn back(lab: &Lab, what: &str, most: Duration) -> Duration {
    let start = Instant::now();
    eventually(what, most, || answers(&lab.fri, "10.8.0.1"));
    start.elapsed()
}

#[test]
fn remotes_are_called_in_turn_and_each_has_less_than_four_seconds() {
    let [one, two] = NOBODY;
    let remotes = format!("remote {one}\nremote {two}\nremote {OTHER}");
    let Some(lab) = two_addresses("turns", "inactive 0\n", &remotes) else { return };
    // An answer from the first router would tell too soon that nobody is there.
    unreachable(&lab, &NOBODY);
    let start = Instant::now();
    call(&lab.fri, &["--verb", "6"]);
    lab.fri.wait_for_log(UP, TURN * 2 + SOON);
    println!("up after {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!((sessions(&lab, OTHER), lab.fri.logged("calling the next remote")), (1, 2));
    assert!(answers(&lab.fri, "10.8.0.1"));
}

#[test]
fn behind_the_last_remote_comes_the_first_again() {
    let remotes = format!("remote {ONE}\nremote {}\nremote {OTHER}", NOBODY[0]);
    let Some(lab) = two_addresses("around", "inactive 0\n", &remotes) else { return };
    unreachable(&lab, &[NOBODY[0], ONE, OTHER]);
    call(&lab.fri, &["--verb", "6"]);
    lab.fri.wait_for_logs("calling the next remote", 3, TURN * 3 + SOON);
    unreachable(&lab, &[NOBODY[0], OTHER]);
    lab.fri.wait_for_log(UP, TURN * 3 + SOON);
    assert_eq!((sessions(&lab, ONE), sessions(&lab, OTHER)), (1, 0));
}

#[test]
fn a_session_that_dies_begins_again_where_it_was_and_then_at_the_next() {
    let remotes = format!("remote {}\nremote {ONE}\nremote {OTHER}", NOBODY[0]);
    let Some(lab) = two_addresses("dies", "inactive 0\n", &remotes) else { return };
    unreachable(&lab, &[NOBODY[0]]);
    call(&lab.fri, &["--verb", "6"]);
    back(&lab, "the tunnel is up", TURN + SOON);
    let before = sessions(&lab, ONE);

    lab.mon.kill("KILL", lab.mon.endpoints()[0].pid());
    back(&lab, "the same remote has another process", TURN + SOON);
    assert!(sessions(&lab, ONE) > before && sessions(&lab, OTHER) == 0, "the one that worked comes first");

    unreachable(&lab, &[NOBODY[0], ONE]);
    let took = back(&lab, "the next remote takes over", TURN * 2 + SOON);
    println!("silence and the next remote: {:.1} s", took.as_secs_f64());
    assert!(sessions(&lab, OTHER) > 0);
}

#[test]
fn an_address_that_this_host_has_no_way_to_costs_no_turn() {
    let remotes = format!("remote 2001:db8:9::9\nremote {ONE}");
    let Some(lab) = two_addresses("no-way", "", &remotes) else { return };
    lab.fri.sh("ip -6 route del default");
    let start = Instant::now();
    call(&lab.fri, &["--verb", "6"]);
    lab.fri.wait_for_log(UP, SOON);
    println!("up after {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!((sessions(&lab, ONE), lab.fri.logged("calling the next remote")), (1, 0));
}

#[test]
fn remote_random_begins_with_any() {
    let addresses: Vec<String> = (20..28).map(|last| format!("192.0.2.{last}")).collect();
    let remotes: String = addresses.iter().map(|address| format!("remote {address}\n")).collect();
    let Some(lab) = two_addresses("random", "", &format!("{remotes}remote-random")) else { return };
    addresses.iter().for_each(|address| drop(lab.mon.sh(&format!("ip address add {address}/24 dev eth0"))));
    let mut first = Vec::new();
    for round in 1..=8 {
        call(&lab.fri, &[]);
        lab.fri.wait_for_logs(UP, round, SOON);
        first.extend(addresses.iter().filter(|address| sessions(&lab, address) > 0).cloned());
        if first.iter().any(|address| *address != first[0]) {
            return;
        }
        lab::tun::stop(&lab.fri);
    }
    panic!("always {first:?}");
}

/// A name server on the router, which fri asks. `records` are lines of hosts(5).
struct Names<'a> {
    lab: &'a Lab,
    file: PathBuf,
    _server: Running,
}

impl<'a> Names<'a> {
    fn serve(lab: &'a Lab, records: &str) -> Self {
        let file = lab.dir().join("names");
        std::fs::write(&file, records).unwrap();
        lab.fri.write("/etc/resolv.conf", "nameserver 198.51.100.254\noptions timeout:1\n");
        lab.fri.write("/etc/nsswitch.conf", "hosts: files dns\n");
        let (addn, pid) =
            (format!("--addn-hosts={}", file.display()), format!("--pid-file={}.pid", file.display()));
        let words =
            ["--keep-in-foreground", "--user=root", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"];
        let server = lab.net.spawn(&[&["dnsmasq"], &words[..], &[&addn, &pid]].concat());
        eventually("the name server answers", SOON, || {
            lab.fri.run(&["getent", "ahosts", NAME]).status.success()
        });
        Self { lab, file, _server: server }
    }

    fn change(&self, records: &str) {
        std::fs::write(&self.file, records).unwrap();
        self.lab.net.sh(&format!("kill -HUP $(cat {}.pid)", self.file.display()));
        let address = records.split(' ').next().unwrap();
        eventually("the name server knows", SOON, || {
            String::from_utf8_lossy(&self.lab.fri.run(&["getent", "ahosts", NAME]).stdout).contains(address)
        });
    }
}

/// Whom the caller calls, by a name that only the name server knows.
const NAME: &str = "mon.vpn.example";

#[test]
fn a_name_that_moves_while_the_tunnel_is_up_is_followed() {
    let Some(lab) = two_addresses("moves", "inactive 0\n", &format!("remote {NAME}")) else { return };
    let names = Names::serve(&lab, &format!("{ONE} {NAME}\n"));
    call(&lab.fri, &[]);
    back(&lab, "the tunnel is up", SOON);
    assert_eq!(lab.fri.endpoints()[0].capabilities("CapEff"), 0, "privileges are gone");

    names.change(&format!("{OTHER} {NAME}\n"));
    assert!(answers(&lab.fri, "10.8.0.1"), "what answers is left where it is");
    assert_eq!(sessions(&lab, OTHER), 0);
    unreachable(&lab, &[ONE]);
    let took = back(&lab, "the name is followed", SOON * 2);
    println!("silence and another address: {:.1} s", took.as_secs_f64());
    let before = sessions(&lab, ONE);
    assert!(sessions(&lab, OTHER) > 0);

    // And when nobody answers for long, it is asked again and again.
    unreachable(&lab, &[ONE, OTHER]);
    assert!(!answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(Duration::from_secs(4));
    unreachable(&lab, &[OTHER]);
    names.change(&format!("{ONE} {NAME}\n"));
    back(&lab, "the name is followed back", SOON * 3);
    assert!(sessions(&lab, ONE) > before);
}

#[test]
fn all_addresses_of_a_name_are_called_that_proto_allows() {
    let six = "2001:db8:1::1";
    let records = format!("{} {NAME}\n{ONE} {NAME}\n{six} {NAME}\n", NOBODY[0]);
    for (proto, dead, works) in [("udp4", "", ONE), ("udp6", ONE, six), ("udp", ONE, six)] {
        let Some(lab) = two_addresses("several", "", &format!("remote {NAME}\nproto {proto}")) else {
            return;
        };
        unreachable(
            &lab,
            &[NOBODY[0], dead].map(|address| if address.is_empty() { NOBODY[1] } else { address }),
        );
        let _names = Names::serve(&lab, &records);
        call(&lab.fri, &[]);
        lab.fri.wait_for_log(UP, TURN * 2 + SOON);
        assert_eq!(sessions(&lab, works), 1, "{proto}");
    }
}

#[test]
fn a_change_of_etc_hosts_counts_too() {
    let Some(lab) = two_addresses("hosts", "inactive 0\n", "remote far") else { return };
    lab.fri.append("/etc/hosts", &format!("{ONE} far\n"));
    call(&lab.fri, &[]);
    back(&lab, "the tunnel is up", SOON);
    lab.fri.sh(&format!("sed -i 's/.* far/{OTHER} far/' /etc/hosts"));
    unreachable(&lab, &[ONE]);
    back(&lab, "the new line is read", SOON * 2);
    assert!(sessions(&lab, OTHER) > 0);
}

/// Has the caller believe that the machine sleeps.
struct Bag {
    file: PathBuf,
    caller: Running,
}

impl Bag {
    /// Starts a caller under a clock of ours.
    fn call(lab: &Lab) -> Self {
        let file = lab.dir().join("suspend");
        std::fs::write(&file, 0_u64.to_ne_bytes()).unwrap();
        nix::unistd::mkfifo(&file.with_extension("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666))
            .unwrap();
        let library = lab.dir().join("suspend.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/suspend.c");
        let compiled = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(compiled.unwrap().success());
        let (preload, suspend) =
            (format!("LD_PRELOAD={}", library.display()), format!("SUSPEND={}", file.display()));
        let caller = lab.fri.spawn(&[&["env", &preload, &suspend], &caller(&["--syslog"])[..]].concat());
        Self { file, caller }
    }

    /// The machine has slept for so many seconds when this returns, and wakes up.
    fn sleep(&self, seconds: u64) {
        std::fs::OpenOptions::new()
            .write(true)
            .open(&self.file)
            .unwrap()
            .write_all(&seconds.to_ne_bytes())
            .unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.file.with_extension("fifo"))
            .unwrap()
            .write_all(b"awake")
            .unwrap();
    }
}

impl Drop for Bag {
    fn drop(&mut self) {
        let _ = self.caller.0.kill();
    }
}

/// What a caller says that has been away.
const AWAY: &str = "did not run for";

/// Behind the first `said` bytes of its log, it did not have to find out by the silence that nobody is there.
fn assert_knew(lab: &Lab, said: usize) {
    lab.fri.wait_for_log(AWAY, SOON);
    let log = lab.fri.log();
    let (knew, found_out) = (log[said..].find(AWAY), log[said..].find("peer silent"));
    assert!(found_out.is_none_or(|at| knew.is_some_and(|knew| knew < at)), "{}", &log[said..]);
}

#[test]
fn a_machine_that_wakes_up_calls_anew_at_once_and_no_key_outlives_the_sleep() {
    // Less than the keys live, and more.
    for (seconds, name) in [(100, "nap"), (3600, "night")] {
        let Some(lab) = two_addresses(name, "inactive 0\n", &format!("remote {ONE}")) else { return };
        let bag = Bag::call(&lab);
        back(&lab, "the tunnel is up", SOON);
        // Its listener is another one by the time it wakes up.
        lab.mon.kill("KILL", lab.mon.endpoints()[0].pid());
        std::thread::sleep(Duration::from_secs(1));
        let start = Instant::now();
        bag.sleep(seconds);
        lab.mon.wait_for_logs("peer authenticated", 2, SOON);
        println!("slept {seconds} s, called anew after {:?}", start.elapsed());
        assert_knew(&lab, 0);
        back(&lab, "the tunnel is up", SOON);
        lab::tun::stop(&lab.fri);
    }
}

#[test]
fn a_clock_that_is_set_and_a_sleep_while_the_peer_naps_call_nobody() {
    let Some(lab) = two_addresses("quiet", "inactive 1\n", &format!("remote {ONE}")) else { return };
    let bag = Bag::call(&lab);
    back(&lab, "the tunnel is up", SOON);
    bag.sleep(0);
    eventually("the listener naps", SOON, || lab::tun::napping(&lab.mon));
    bag.sleep(7200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lab.mon.logged("started launch"), 1, "{}", lab.mon.log());
    back(&lab, "and it wakes for the next packet", SOON);
    lab::tun::stop(&lab.fri);
}

#[test]
fn a_process_that_was_stopped_calls_anew_at_once() {
    let Some(lab) = two_addresses("stopped", "inactive 0\n", &format!("remote {ONE}")) else { return };
    call(&lab.fri, &[]);
    back(&lab, "the tunnel is up", SOON);
    let pid = lab.fri.endpoints()[0].pid();
    // Packets of both ends are on their way when it stops.
    let _pings = lab.mon.spawn(&["ping", "-q", "-i", "0.2", "10.8.0.2"]);
    std::thread::sleep(Duration::from_secs(1));
    lab.fri.kill("STOP", pid);
    lab.mon.kill("KILL", lab.mon.endpoints()[0].pid());
    // Keys live for 180 s.
    std::thread::sleep(Duration::from_secs(by_length(9, 190)));
    let (before, said) = (lab.mon.logged("peer authenticated"), lab.fri.log().len());
    let start = Instant::now();
    lab.fri.kill("CONT", pid);
    lab.mon.wait_for_logs("peer authenticated", before + 1, SOON);
    println!("stopped and called anew after {:?}", start.elapsed());
    assert_knew(&lab, said);
    back(&lab, "the tunnel is up", SOON);
}
