//! All that an endpoint does, under the filter that kills: nobody is ended by SIGSYS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::tun::answers;
use lab::{Host, Lab, Running, SOON, eventually};
use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};

/// How much faster the clock of deadlines runs: a rekey is due after 120 s of it.
const HURRY: u32 = 30;

/// One configuration of both ends.
struct Variation {
    name: &'static str,
    tap: bool,
    /// More for both.
    more: &'static str,
    remote: &'static str,
}

const VARIATIONS: &[Variation] = &[
    Variation { name: "tun", tap: false, more: "status /run/status 1\n", remote: "mon" },
    Variation { name: "tap", tap: true, more: "", remote: "mon6" },
    Variation { name: "plain", tap: false, more: "disable-offload\nlog-append /run/log\n", remote: "mon" },
    Variation { name: "marks", tap: false, more: "verb 5\nmute 3\nping 1\n", remote: "mon" },
];

#[test]
fn nothing_that_an_endpoint_does_ends_it_by_sigsys() {
    let (mut rekeys, mut processes, mut bytes) = (0, 0, 0);
    let start = Instant::now();
    for variation in VARIATIONS.iter().take(by_length(2, VARIATIONS.len())) {
        let Some(world) = World::new(variation, HURRY) else { return };
        world.carry(by_length("1", "4"));
        rekeys += world.rekey(by_length(1, 6));
        world.roam();
        world.restart_syslogd();
        world.signal();
        world.nap(by_length(1, 4));
        world.die_and_return();
        let (ended, carried) = world.end();
        processes += ended;
        bytes += carried;
    }
    figure(
        22,
        &format!(
            "0 SIGSYS in {processes} processes: {} MiB of TCP both ways, UDP, {rekeys} rekeys, 2 addresses, syslogd restarted, every signal, nap and wake; {} s, tun and tap",
            bytes >> 20,
            start.elapsed().as_secs()
        ),
    );
}

#[test]
fn two_minutes_and_a_half_of_traffic_on_an_honest_clock_are_one_rekey_and_no_sigsys() {
    let Some(world) = World::new(&VARIATIONS[0], 1) else { return };
    // The rekey comes after 120 s, a tenth more or less.
    let seconds: u64 = by_length(3, 150);
    let seconds_text = seconds.to_string();
    let traffic = lab_iperf(&world.lab, &["-t", &seconds_text, "-b", "20M", "--bidir"]);
    assert!(traffic > 0);
    let rekeys = world.lab.mon.logged("session rekeyed");
    assert!(!figures::long() || rekeys >= 1, "no rekey in {seconds} s");
    let (processes, _) = world.end();
    figure(
        22,
        &format!("0 SIGSYS in {processes} processes: {seconds} s on an honest clock, {rekeys} rekeys"),
    );
}

struct World {
    lab: Lab,
    caller: Running,
    target: &'static str,
    device: &'static str,
    log_file: bool,
    verbose: bool,
    carried: Cell<u64>,
    /// Listeners that the test has killed.
    killed: Cell<usize>,
}

impl World {
    fn new(variation: &Variation, hurry: u32) -> Option<Self> {
        let lab = Lab::new(&format!("sandbox-{}-{hurry}", variation.name))?;
        let library = preload(&lab);
        let (device, target) = if variation.tap { ("tap0", "192.168.8.1") } else { ("tun0", "10.8.0.1") };
        let (kind, service) = if variation.tap { ("tap", "timbuktu-srv2") } else { ("tun", "timbuktu-srv1") };
        let (mon, fri) =
            (format!("/etc/naptun/{kind}-mon-fri.conf"), format!("/etc/naptun/{kind}-fri-mon.conf"));
        // Three seconds of idleness, on the clock that hurries.
        lab.mon.append(&mon, &format!("verb 6\ninactive {}\n{}", 3 * hurry, variation.more));
        lab.fri.append(&fri, &format!("verb 6\n{}", variation.more));
        lab.fri.sh(&format!("sed -i 's/^remote .*/remote {}/' {fri}", variation.remote));
        lab.mon.sh(&format!(
            "sed -i '/server_args/a env = LD_PRELOAD={library} HURRY={hurry}\\nlog_on_success = PID EXIT\\nlog_type = FILE /run/wakes' /etc/xinetd.d/{service}"
        ));
        if variation.tap {
            lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
        }
        lab.mon.xinetd();
        let (preload, hurry) = (format!("LD_PRELOAD={library}"), format!("HURRY={hurry}"));
        let config = fri.trim_start_matches("/etc/naptun/");
        let words =
            ["env", &preload, &hurry, "naptun", "--port", service, "--cd", "/etc/naptun", "--config", config];
        let caller = lab.fri.spawn(&[&words[..], &["--syslog"]].concat());
        eventually("the tunnel is up", SOON, || answers(&lab.fri, target));
        let (log_file, verbose) = (variation.more.contains("log-append"), !variation.more.contains("verb 5"));
        Some(Self { lab, caller, target, device, log_file, verbose, carried: 0.into(), killed: 0.into() })
    }

    /// Streams of TCP both ways, small datagrams, pings without a pause.
    fn carry(&self, seconds: &str) {
        let mut bytes = 0;
        for way in [&["-P", "2"][..], &["-R"], &["-u", "-b", "20M", "-l", "64"]] {
            bytes += lab_iperf_to(&self.lab, self.target, &[&["-t", seconds], way].concat());
        }
        self.lab.fri.ok(&["ping", "-q", "-c", "200", "-i", "0.002", "-s", "1400", self.target]);
        self.carried.set(self.carried.get() + bytes);
    }

    /// Small traffic until there were so many more rekeys. Returns how many there were.
    fn rekey(&self, count: usize) -> usize {
        let rekeys = || match (self.verbose, self.log_file) {
            (false, _) => usize::MAX,
            (true, false) => self.lab.mon.logged("session rekeyed"),
            (true, true) => self.lab.mon.read("/run/log").matches("session rekeyed").count(),
        };
        let most = Duration::from_secs(10 + 12 * count as u64);
        eventually("rekeys", most, || {
            self.lab.fri.run(&["ping", "-q", "-n", "-i", "0.02", "-c", "50", self.target]);
            rekeys() >= count
        });
        if self.verbose { rekeys() } else { 0 }
    }

    fn roam(&self) {
        for last in [2, 1] {
            self.lab.fri.sh(&format!(
                "ip -4 address flush dev eth0; ip address add 198.51.100.{last}/24 dev eth0; ip route add default via 198.51.100.254
                 ip -6 address add 2001:db8:2::{last}/64 dev eth0 nodad || true; ip -6 address del 2001:db8:2::{}/64 dev eth0
                 ip -6 route replace default via 2001:db8:2::fe",
                3 - last
            ));
            eventually("the tunnel follows", SOON, || answers(&self.lab.fri, self.target));
        }
    }

    fn restart_syslogd(&self) {
        for host in [&self.lab.mon, &self.lab.fri] {
            let syslogd = host.processes("busybox")[0].pid();
            let command = host.sh(&format!("tr '\\0' ' ' </proc/{syslogd}/cmdline"));
            host.kill("KILL", syslogd);
            self.statistics(host);
            host.sh(&format!("{command} </dev/null >/dev/null 2>&1 &"));
            let before = host.logged("statistics");
            eventually("the new one hears of it", SOON, || {
                self.statistics(host);
                self.log_file || host.logged("statistics") > before
            });
        }
    }

    fn statistics(&self, host: &Host) {
        host.endpoints().iter().for_each(|endpoint| host.kill("USR2", endpoint.pid()));
        std::thread::sleep(Duration::from_millis(50));
        answers(&self.lab.fri, self.target);
    }

    /// Every signal that does not end the caller; and one that stops a process in the midst of a wait.
    fn signal(&self) {
        for signal in ["USR1", "HUP", "USR2", "STOP", "CONT", "CHLD", "PIPE", "WINCH"] {
            let caller = self.lab.fri.endpoints()[0].pid();
            self.lab.fri.kill(signal, caller);
            if signal == "CONT" {
                // nsenter, which has it as its child, stopped with it.
                let nsenter = nix::unistd::Pid::from_raw(self.caller.0.id().cast_signed());
                nix::sys::signal::kill(nsenter, nix::sys::signal::Signal::SIGCONT).unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
            if signal != "STOP" {
                eventually(signal, SOON, || answers(&self.lab.fri, self.target));
            }
        }
    }

    /// What the kernel might say by itself keeps nobody awake, but the hurried clock needs something to end each wait.
    fn nap(&self, times: usize) {
        for _ in 0..times {
            eventually("the listener naps", SOON + SOON, || {
                self.lab.fri.run(&["ping", "-c", "1", "-W", "0.05", "-I", self.device, "224.0.0.251"]);
                !self.lab.mon.has_device(self.device)
            });
            eventually("and wakes", SOON, || answers(&self.lab.fri, self.target));
        }
    }

    /// The one death that leaves no last line in the log.
    fn die_and_return(&self) {
        eventually("somebody is there", SOON, || answers(&self.lab.fri, self.target));
        self.lab.mon.kill("KILL", self.lab.mon.endpoints()[0].pid());
        self.killed.set(1);
        eventually("another listener", SOON + SOON, || answers(&self.lab.fri, self.target));
    }

    /// Ends both. Returns how many processes there were, none of them ended by the filter, and the bytes carried.
    fn end(mut self) -> (usize, u64) {
        lab::tun::stop(&self.lab.fri);
        eventually("the listener is gone", SOON, || self.lab.mon.ours().is_empty());
        let status = self.caller.0.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status:?}");
        let lines = |word: &str| -> Vec<String> {
            let wakes = self.lab.mon.read("/run/wakes");
            wakes.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
        };
        let started = lines(" START: ").len();
        eventually("xinetd has buried all", SOON, || lines(" EXIT: ").len() == started);
        let exits = lines(" EXIT: ");
        let by_itself = exits.iter().filter(|line| line.contains(" status=0 ")).count();
        let killed = exits.iter().filter(|line| line.contains(" signal=9 ")).count();
        assert!(started > 0 && by_itself + killed == started && killed == self.killed.get(), "{exits:?}");
        (started + 1, self.carried.get())
    }
}

/// Compiles the clock that hurries into a place that every host sees.
fn preload(lab: &Lab) -> String {
    let library = format!("{}/hurry.so", lab.dir().display());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/hurry.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o", &library, source, "-ldl"])
        .status()
        .unwrap();
    assert!(compiled.success());
    library
}

fn lab_iperf(lab: &Lab, words: &[&str]) -> u64 {
    lab_iperf_to(lab, "10.8.0.1", words)
}

/// Runs iperf3 from fri to mon. Returns the bytes that arrived.
fn lab_iperf_to(lab: &Lab, target: &str, words: &[&str]) -> u64 {
    let _server = lab.mon.spawn(&["iperf3", "-s", "-1", "-B", target]);
    eventually("iperf3 listens", SOON, || !lab.mon.sh("ss -Hltn sport = 5201").is_empty());
    let said = lab.fri.ok(&[&["iperf3", "-J", "-c", target], words].concat());
    let (_, sum) =
        said.rsplit_once("\"sum_received\"").or_else(|| said.rsplit_once("\"sum\"")).expect("a sum");
    let (_, rest) = sum.split_once("\"bytes\":").expect("bytes");
    rest.trim_start().split([',', '\n']).next().unwrap().trim().parse().unwrap()
}
