//! Whatever a name or a neighbour brings into a line of the log: it stays one line, and shows what it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::{by_length, figure};
use lab::tun::{caller, complaints};
use lab::{Host, Lab, SOON, eventually};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// What a terminal, a syslogd or a reader would take for something else than a name.
const HOSTILE: &[&str] = &[
    "a\n<27>Jan  1 00:00:00 forged[1]: root logged in",
    "a\r\nforged",
    "\u{1b}[2J\u{1b}]0;forged\u{7}",
    "%s%n%x%100000d",
    "a\u{85}forged\u{9b}2J",
    "a\u{2028}forged\u{2029}forged",
    "\u{202e}degrof\u{2066}\u{200f}",
    "\u{7f}\u{8}\u{8}\u{8}forged",
    "\\x0aforged\\n",
    "ä€😀",
];

/// The words before which a hostile one can stand.
const FLAGS: &[&[&str]] = &[
    &["--secret"],
    &["--dev"],
    &["--remote"],
    &["--config"],
    &["--cd"],
    &["--user"],
    &["--group"],
    &["--verb"],
    &["--port"],
    &["--local"],
    &["--log"],
    &["--status"],
    &["--up"],
    &["--ifconfig", "10.8.0.2"],
    &["--route"],
    &["--setenv", "X"],
    &["--no-such-flag"],
];

/// A syslogd that shows what it was given, byte by byte.
struct Syslog(UnixDatagram);

impl Syslog {
    /// Takes the place of the one on `host`.
    fn on(host: &Host) -> Self {
        let syslogd = host.processes("busybox")[0].pid();
        host.kill("KILL", syslogd);
        eventually("syslogd is gone", SOON, || host.processes("busybox").is_empty());
        let path = host.path("/dev/log");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self(socket)
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut record = vec![0; 1 << 20];
        while let Ok(length) = self.0.recv(&mut record) {
            all.push(record[..length].to_vec());
        }
        all
    }
}

/// Whether a terminal or a reader could take it for more than one line, or for other letters than there are.
fn deceives(text: &str) -> bool {
    let formats = ['\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}', '\u{200b}'..='\u{200f}'];
    text.chars().any(|letter| letter.is_control() || formats.iter().any(|range| range.contains(&letter)))
}

#[test]
fn no_name_forges_a_line_whoever_gives_it() {
    let Some(lab) = Lab::new("forged") else { return };
    let syslog = Syslog::on(&lab.fri);
    let long = "x".repeat(60_000);
    let (mut records, mut printed, mut tried) = (0, 0, 0);
    for hostile in HOSTILE.iter().copied().take(by_length(4, HOSTILE.len())).chain([long.as_str()]) {
        for flag in FLAGS {
            tried += 1;
            // In the foreground, from where it is told on standard error.
            let words =
                [&["timeout", "-s", "TERM", "0.3"][..], &caller(&[*flag, &[hostile][..]].concat())].concat();
            let said = lab.fri.run(&words);
            let complaints = complaints(&said);
            for line in &complaints {
                assert!(!deceives(line), "{flag:?}: {line:?}");
                assert!(line.starts_with("naptun: ") || line.starts_with("20"), "{flag:?}: {line:?}");
            }
            printed += complaints.len();
            // As a super-server starts it, from where it is told in syslog.
            let quoted: Vec<String> = flag.iter().chain([&hostile]).map(|word| quote(word)).collect();
            let woken = format!("{WOKEN} {}", quoted.join(" "));
            lab.fri.run(&["sh", "-c", &woken]);
            for record in syslog.heard() {
                let text = String::from_utf8(record).expect("UTF-8");
                let text = text.strip_prefix('<').expect("a priority");
                assert!(!deceives(text), "{flag:?}: {text:?}");
                assert!(text.contains(" naptun[") && text.len() < 8192, "{flag:?}: {text:?}");
                records += 1;
            }
        }
    }
    figure(
        23,
        &format!(
            "{tried} hostile names as arguments: {printed} lines on standard error and {records} records of syslog, each one line, nothing unescaped"
        ),
    );
    assert!(printed >= tried / 2 && records >= tried / 2, "{printed} lines, {records} records of {tried}");
}

/// A UDP socket on descriptor 0, and a surrounding that is hostile as well.
const WOKEN: &str = "REMOTE_HOST=\"$(printf 'x\\n<27>forged\\033[2J')\" exec perl -e '
    use Socket;
    socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
    bind($s, pack_sockaddr_in(0, inet_aton(\"127.0.0.1\"))) or die;
    open(STDIN, \"<&\", $s) or die;
    exec @ARGV' timeout -s TERM 0.3 naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf";

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[test]
fn a_configuration_file_forges_no_line_either() {
    let Some(lab) = Lab::new("forged-file") else { return };
    let directives = [
        "secret",
        "dev",
        "remote",
        "user",
        "group",
        "verb",
        "up",
        "cipher",
        "route",
        "config",
        "no-such-word",
    ];
    let mut lines = 0;
    for hostile in HOSTILE.iter().filter(|hostile| !hostile.contains('\n')) {
        for directive in directives {
            lab.fri.write(
                "/etc/naptun/hostile.conf",
                &format!("{directive} \"{}\"\n{hostile} x\n", hostile.replace('\\', "\\\\")),
            );
            for words in [
                &["naptun", "check", "--cd", "/etc/naptun", "hostile.conf"][..],
                &["naptun", "--daemon", "--cd", "/etc/naptun", "--config", "hostile.conf"],
            ] {
                let output = lab.fri.run(words);
                assert!(!output.status.success());
                for line in String::from_utf8([output.stdout, output.stderr].concat()).unwrap().lines() {
                    let of = line.contains("hostile.conf") || line.starts_with("    ");
                    assert!(!deceives(line) && of, "{directive}: {line:?}");
                    lines += 1;
                }
            }
        }
    }
    figure(23, &format!("hostile words in a configuration: {lines} lines, each one line, nothing unescaped"));
}
