//! A stage for what a test harness with threads cannot do to itself: the test binary starts itself again, and before
//! any thread or runtime exists the new process plays one part and exits.
//!
//! A file that uses this defines `pub fn part(name: &str) -> u8`, the exit code.
#![allow(unsafe_code, dead_code)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PART: &str = "NAPTUN_TEST_PART";
pub const PLACE: &str = "NAPTUN_TEST_PLACE";

#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: extern "C" fn() = entry;

extern "C" fn entry() {
    let Ok(name) = std::env::var(PART) else { return };
    let code = crate::part(&name);
    let _ = std::io::stdout().flush();
    std::process::exit(code.into());
}

pub fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root: they give it up");
}

/// The command that plays a part.
pub fn part(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, name);
    command
}

/// The same in a network namespace of its own, which vanishes with it.
pub fn part_without_network(name: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg("-n").arg(std::env::current_exe().unwrap()).env(PART, name);
    command
}

/// A part on whose lines the test waits, and which waits for a line of the test.
pub struct Player {
    pub child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Player {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }

    /// The rest of what it says, and its end.
    pub fn end(mut self) -> (String, ExitStatus) {
        drop(self.stdin);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap())
    }

    pub fn status(&self) -> HashMap<String, String> {
        status(self.child.id())
    }
}

/// In a part: waits for the test.
pub fn wait() {
    let _ = nix::unistd::read(std::io::stdin(), &mut [0]);
}

/// The fields of /proc/PID/status.
pub fn status(pid: u32) -> HashMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().replace('\t', " "))).collect()
}

/// The processes whose parent is `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|other| {
            let stat = std::fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            fields.split(' ').nth(1) == Some(&pid.to_string())
        })
        .collect()
}

/// Waits until `ready`, for at most ten seconds.
pub fn until(what: &str, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of the test's own, removed at its end.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("naptun-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    pub fn script(&self, name: &str, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// In a part: the directory that the test has made.
pub fn place() -> PathBuf {
    Path::new(&std::env::var_os(PLACE).unwrap()).to_owned()
}
