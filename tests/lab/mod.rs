//! The laboratory of `scripts/lab` for Rust tests: hosts in namespaces, on which the real binary runs under a
//! real xinetd. The head of that script draws the topology and names the addresses.
//!
//! A test reads: `let Some(lab) = Lab::new("name") else { return };`. Where the machine cannot run it, the test
//! is skipped with a reason (and fails in CI). The binary is `$NAPTUN`, or else the one Cargo built for the tests.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod icmp;
pub mod relay;
pub mod transfer;
pub mod tun;
pub mod wire;

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

/// Long enough for everything that ought to happen at once.
pub const SOON: Duration = Duration::from_secs(10);

/// What `scripts/lab` exits with where it cannot run.
const UNAVAILABLE: i32 = 69;

/// A running laboratory; dropping it removes it.
pub struct Lab {
    /// The listener: xinetd holds its ports.
    pub mon: Host,
    /// The caller.
    pub fri: Host,
    /// Behind mon, 192.168.1.10.
    pub lanmon: Host,
    /// Behind fri, 192.168.2.10.
    pub lanfri: Host,
    /// On the ethernet that mon bridges, 192.168.8.10; it gives DHCP leases.
    pub office: Host,
    /// The router between mon and fri; its interfaces are named after them.
    pub net: Host,
    dir: PathBuf,
}

impl Lab {
    /// Brings a laboratory up under a name of its own, or says why this machine cannot.
    pub fn new(name: &str) -> Option<Self> {
        let dir = std::env::temp_dir().join(format!("naptun-{name}-{}", std::process::id()));
        let up = lab(&["up", text(&dir)]).env("NAPTUN", binary()).output().expect("run scripts/lab");
        if up.status.code() == Some(UNAVAILABLE) {
            skip(name, String::from_utf8_lossy(&up.stderr).trim());
            return None;
        }
        assert!(up.status.success(), "lab up: {}", said(&up));
        let host = |name: &str| Host::new(&dir, name);
        Some(Self {
            mon: host("mon"),
            fri: host("fri"),
            lanmon: host("lanmon"),
            lanfri: host("lanfri"),
            office: host("office"),
            net: host("net"),
            dir,
        })
    }
}

impl Lab {
    /// A directory that every host sees, and that goes with the laboratory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- log of mon\n{}--- log of fri\n{}", self.mon.log(), self.fri.log());
        }
        let _ = lab(&["down", text(&self.dir)]).status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One host of the laboratory.
pub struct Host {
    name: String,
    dir: PathBuf,
    /// Its first process, as the machine outside counts.
    pid: u32,
}

impl Host {
    fn new(dir: &Path, name: &str) -> Self {
        let pid = fs::read_to_string(dir.join(format!("{name}.pid"))).expect("read the pid of a host");
        Self { name: name.to_owned(), dir: dir.to_owned(), pid: pid.trim().parse().expect("a pid") }
    }

    /// The command that would run `words` on this host, in `/` and with a clean environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = lab(&["exec", text(&self.dir), &self.name]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, however that is.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("run scripts/lab exec")
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{}: {}: {}", self.name, words.join(" "), said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs shell text that must succeed; returns what it printed.
    pub fn sh(&self, script: &str) -> String {
        self.ok(&["sh", "-c", script])
    }

    /// Starts a command that is killed when the result is dropped. Its stdout and stderr are pipes.
    pub fn spawn(&self, words: &[&str]) -> Running {
        let child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running(child.expect("start scripts/lab exec"))
    }

    /// Starts Debian's xinetd with the services in /etc/xinetd.d, and waits until it listens.
    pub fn xinetd(&self) {
        self.super_server("xinetd");
    }

    /// Starts openbsd-inetd with timbuktu-srv1, and waits until it listens.
    pub fn inetd(&self) {
        self.super_server("inetd");
    }

    /// Starts systemd-socket-activate with timbuktu-srv1, on a socket that stays bound between two of its starts.
    pub fn systemd(&self) {
        self.super_server("systemd");
    }

    fn super_server(&self, which: &str) {
        let started = lab(&[which, text(&self.dir), &self.name]).output().expect("run scripts/lab");
        assert!(started.status.success(), "lab {which}: {}", said(&started));
    }

    /// Makes this a host of systemd, as far as programs see: what sd_booted(3) looks at, and a `systemctl` that starts the
    /// units of a tunnel without it.
    pub fn has_systemd(&self) {
        self.sh("mkdir -p /run/systemd/system; rm -f /etc/systemd/system/naptun*");
        self.write_script("/usr/sbin/systemctl", include_str!("systemctl"));
    }

    /// Does something in the network of this host. A socket that is made there stays there, whoever uses it.
    pub fn in_network<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid)).expect("open a network");
        let enter = || {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("enter a network");
            act()
        };
        // Only the thread goes there.
        std::thread::scope(|scope| scope.spawn(enter).join().expect("act in a network"))
    }

    /// A UDP socket on this host, bound to `address`, that the test itself holds. No call of it waits.
    pub fn socket(&self, address: &str) -> UdpSocket {
        let socket = self.in_network(|| UdpSocket::bind((address, 0)));
        let socket = socket.unwrap_or_else(|e| panic!("{}: bind {address}: {e}", self.name));
        socket.set_nonblocking(true).expect("have a socket not wait");
        socket
    }

    /// A file of this host as the test sees it. An absolute symbolic link in the path would lead outside.
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.pid))
    }

    /// Reads a file of this host. Not for /proc/net and /proc/sys/net: those show the reader's own network.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_else(|e| panic!("{}: read {file}: {e}", self.name))
    }

    /// Writes a file of this host, with mode 0644 if it is new.
    pub fn write(&self, file: &str, content: &str) {
        fs::write(self.path(file), content).unwrap_or_else(|e| panic!("{}: write {file}: {e}", self.name));
    }

    /// Has xinetd, once it reads its files, run `program` with `arguments` for a port that /etc/services does not name.
    pub fn serve(&self, name: &str, port: u16, program: &str, arguments: &str) {
        self.write(
            &format!("/etc/xinetd.d/{name}"),
            &format!(
                "service {name}
{{
 type = UNLISTED
 port = {port}
 disable = no
 socket_type = dgram
 protocol = udp
 wait = yes
 cps = 0 0
 user = root
 server = {program}
 server_args = {arguments}
}}
"
            ),
        );
    }

    /// Writes an executable script on this host.
    pub fn write_script(&self, file: &str, content: &str) {
        self.write(file, content);
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(0o755)).expect("chmod 755");
    }

    /// Adds lines to a file of this host.
    pub fn append(&self, file: &str, lines: &str) {
        let open = fs::OpenOptions::new().append(true).open(self.path(file));
        open.and_then(|mut f| f.write_all(lines.as_bytes()))
            .unwrap_or_else(|e| panic!("{}: append to {file}: {e}", self.name));
    }

    /// Everything syslog has received, `Mon DD hh:mm:ss HOST facility.level ident[pid]: text` in each line.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join(&self.name).join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many lines of the log hold `phrase`.
    pub fn logged(&self, phrase: &str) -> usize {
        self.log().lines().filter(|line| line.contains(phrase)).count()
    }

    /// Waits until the log holds `phrase`.
    pub fn wait_for_log(&self, phrase: &str, timeout: Duration) {
        self.wait_for_logs(phrase, 1, timeout);
    }

    /// Waits until `count` lines of the log hold `phrase`.
    pub fn wait_for_logs(&self, phrase: &str, count: usize, timeout: Duration) {
        let what = format!("{} lines {phrase:?} in the log of {}", count, self.name);
        eventually(&what, timeout, || self.logged(phrase) >= count);
    }

    /// The processes of this name on this host, none of them dead.
    pub fn processes(&self, name: &str) -> Vec<Process> {
        self.processes_like(|it| it == name)
    }

    /// All processes of ours, helpers included.
    pub fn ours(&self) -> Vec<Process> {
        self.processes_like(|name| name.starts_with("naptun"))
    }

    fn processes_like(&self, like: impl Fn(&str) -> bool) -> Vec<Process> {
        let proc = fs::read_dir(self.path("/proc")).expect("list /proc");
        let statuses =
            proc.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
        statuses
            .map(Process)
            .filter(|p| like(p.field("Name")) && !p.field("State").starts_with('Z'))
            .collect()
    }

    /// The naptun processes that carry a tunnel, without the helpers that they forked.
    pub fn endpoints(&self) -> Vec<Process> {
        let all = self.processes("naptun");
        let pids: Vec<String> = all.iter().map(|process| process.pid().to_string()).collect();
        all.into_iter().filter(|process| !pids.iter().any(|pid| pid == process.field("PPid"))).collect()
    }

    /// Sends a signal, by its name without SIG, to a process of this host.
    pub fn kill(&self, signal: &str, pid: u32) {
        self.sh(&format!("kill -{signal} {pid}"));
    }

    /// The names of all network interfaces.
    pub fn devices(&self) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", self.pid)).expect("read net/dev");
        table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }

    /// Whether an interface of this name is there.
    pub fn has_device(&self, name: &str) -> bool {
        self.devices().iter().any(|device| device == name)
    }

    /// The main routing tables, IPv4 then IPv6, as `ip route` prints them.
    pub fn routes(&self) -> String {
        self.sh("ip -4 route show; ip -6 route show")
    }

    /// Pings `target` `count` times, five times a second, waiting 5 s at the end for stragglers.
    pub fn ping(&self, target: &str, count: usize) -> Ping {
        let count = count.to_string();
        Ping::parse(&self.run(&["ping", "-n", "-i", "0.2", "-W", "5", "-c", &count, target]))
    }
}

/// A command under way on a host; dropping it kills it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process, as /proc/PID/status tells.
#[derive(Debug)]
pub struct Process(String);

impl Process {
    /// Its number on its host.
    pub fn pid(&self) -> u32 {
        self.field("Pid").parse().expect("a pid")
    }

    /// A field of the status: `Uid`, `Gid`, `Groups`, `CapEff`, `NoNewPrivs`, `Seccomp`, ...
    pub fn field(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    }

    /// Real, effective, saved and file system user.
    pub fn uids(&self) -> Vec<u32> {
        self.field("Uid").split_whitespace().map(|id| id.parse().expect("an id")).collect()
    }

    /// Real, effective, saved and file system group.
    pub fn gids(&self) -> Vec<u32> {
        self.field("Gid").split_whitespace().map(|id| id.parse().expect("an id")).collect()
    }

    /// A capability set: `CapInh`, `CapPrm`, `CapEff`, `CapBnd` or `CapAmb`.
    pub fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(self.field(set), 16).expect("a capability set")
    }
}

/// What `ping` counted.
#[derive(Debug)]
pub struct Ping {
    /// Echo requests sent.
    pub sent: usize,
    /// Replies, each counted once.
    pub received: usize,
    /// Round trip of each reply as they came, milliseconds.
    pub times: Vec<f64>,
}

impl Ping {
    fn parse(output: &Output) -> Self {
        let printed = String::from_utf8_lossy(&output.stdout);
        let summary = printed.lines().find(|line| line.contains(" packets transmitted, "));
        let summary = summary.unwrap_or_else(|| panic!("ping: {}", said(output)));
        let mut numbers = summary.split(' ').filter_map(|word| word.parse().ok());
        let times =
            printed.lines().filter_map(|line| line.split_once(" time=")?.1.split(' ').next()?.parse().ok());
        Self {
            sent: numbers.next().expect("packets transmitted"),
            received: numbers.next().expect("packets received"),
            times: times.collect(),
        }
    }

    /// How many got no reply.
    pub fn lost(&self) -> usize {
        self.sent - self.received
    }
}

/// Waits until `happened`, looking a hundred times a second; fails with `what` when it does not.
pub fn eventually(what: &str, timeout: Duration, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("NAPTUN").map_or_else(|| env!("CARGO_BIN_EXE_naptun").into(), PathBuf::from)
}

/// `scripts/lab` with its first arguments.
fn lab(words: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab"));
    command.args(words);
    command
}

/// Says that a test did not run: in the file `$NAPTUN_SKIPPED` for the summary of `scripts/test`, and on stdout.
/// Says that a test is skipped and why; in CI that is a failure.
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{name} must run in CI, but {reason}");
    println!("skipped: {name}: {reason}");
    if let Some(path) = std::env::var_os("NAPTUN_SKIPPED") {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut f| writeln!(f, "{name}: {reason}")).expect("note what is skipped");
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&text))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
