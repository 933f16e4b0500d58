//! The files of log/: the tools that watch a log, fed with what tunnels really wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{LISTENER, UP, answers, call, napping, quiet_lab, rubbish, stop};
use lab::{Host, Lab, SOON, eventually};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

const LOG: &str = "/var/log/naptun.log";
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/log");

/// Two hosts with rsyslogd, and what it has written of their tunnels.
struct Watched {
    lab: Lab,
    /// /var/log/naptun.log of mon, at the end of the story.
    mon: String,
    /// The same of fri.
    fri: String,
}

/// Tells the story once for all tests: wake, traffic, nap, wake, a stranger, settings that do not match, an error. On fri a
/// caller stays.
fn watched() -> Option<&'static Watched> {
    static WATCHED: LazyLock<Option<Watched>> = LazyLock::new(tell);
    WATCHED.as_ref()
}

fn tell() -> Option<Watched> {
    let lab = quiet_lab("watched", "inactive 2\n")?;
    lab.mon.xinetd();
    rsyslogd(&lab.mon);
    rsyslogd(&lab.fri);
    let (mon, fri) = (&lab.mon, &lab.fri);
    call(fri, &[]);
    for round in 1..=2 {
        eventually("the tunnel is up", SOON, || answers(fri, "10.8.0.1"));
        wait_for(mon, UP, round);
        wait_for(mon, "closed reason=inactive", round);
        eventually("the listener naps", SOON, || napping(mon));
    }
    stop(fri);
    eventually("the listener is gone", SOON + SOON, || mon.ours().is_empty());

    // From an address that is not the caller's.
    fri.sh("ip address add 198.51.100.66/24 dev eth0");
    assert_eq!(fri.ok(&["perl", "-e", &rubbish(30, 0.01, "198.51.100.66")]), "0");
    eventually("the listener is gone", SOON + SOON, || mon.ours().is_empty());

    // The other end of these addresses is not mon's.
    call(fri, &["--ifconfig", "10.8.0.2", "10.8.0.9"]);
    wait_for(mon, "settings do not match", 1);
    wait_for(fri, "settings do not match", 1);
    stop(fri);
    eventually("the listener is gone", SOON + SOON, || mon.ours().is_empty());

    mon.sh(&format!("mv {LISTENER} /run/aside"));
    let _socket = fri.ok(&["perl", "-e", &rubbish(1, 0.0, "198.51.100.66")]);
    wait_for(mon, "tun-mon-fri.conf", 1);
    eventually("the listener is gone", SOON, || mon.ours().is_empty());
    mon.sh(&format!("mv /run/aside {LISTENER}"));

    mon.sh("logger -t other a line of somebody else");
    call(fri, &[]);
    eventually("the tunnel is up", SOON, || answers(fri, "10.8.0.1"));
    wait_for(mon, UP, 3);
    let (on_mon, on_fri) = (mon.read(LOG), fri.read(LOG));
    Some(Watched { lab, mon: on_mon, fri: on_fri })
}

/// Puts Debian's rsyslogd with our rule in place of the laboratory's syslogd, with a /var/log of its own.
fn rsyslogd(host: &Host) {
    let syslogd = host.processes("busybox")[0].pid();
    host.kill("TERM", syslogd);
    eventually("syslogd is gone", SOON, || host.processes("busybox").iter().all(|it| it.pid() != syslogd));
    own_folders(host);
    host.sh(&format!(
        "rm -f /dev/log
        # The kernel's log belongs to the machine outside.
        sed -i /imklog/d /etc/rsyslog.conf
        cp {FILES}/naptun.rsyslog.conf /etc/rsyslog.d/30-naptun.conf
        rsyslogd -N1 -f /etc/rsyslog.conf && rsyslogd"
    ));
    eventually("rsyslogd listens", SOON, || host.run(&["test", "-S", "/dev/log"]).status.success());
}

/// What of /var the laboratory leaves to the machine outside.
fn own_folders(host: &Host) {
    host.sh("for folder in log spool cache; do mount -t tmpfs -o mode=755 tmpfs /var/$folder; done
        mkdir /var/spool/rsyslog /var/cache/logwatch");
}

fn wait_for(host: &Host, phrase: &str, count: usize) {
    eventually(&format!("{count} lines {phrase:?} in {LOG}"), SOON + SOON, || {
        std::fs::read_to_string(host.path(LOG)).is_ok_and(|log| counted(&log, phrase) >= count)
    });
}

fn counted(log: &str, phrase: &str) -> usize {
    log.lines().filter(|line| line.contains(phrase)).count()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn rsyslog_keeps_the_lines_in_a_file_of_their_own_with_their_levels() {
    let Some(Watched { lab, mon, .. }) = watched() else { return };
    for line in mon.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[0].len() > 25 && words[0].as_bytes()[10] == b'T', "{line}");
        assert!(words[1] == "mon" && words[2].starts_with("naptun[") && words[2].ends_with("]:"), "{line}");
        let expected = if line.contains("settings do not match") || line.contains("tun-mon-fri.conf") {
            "err:"
        } else {
            "notice:"
        };
        assert_eq!(words[3], expected, "{line}");
    }
    let syslog = lab.mon.read("/var/log/syslog");
    assert!(syslog.contains("a line of somebody else") && !syslog.contains("naptun["), "{syslog}");
    assert_eq!(lab.mon.sh(&format!("stat -c '%a %U %G' {LOG}")), "640 root adm\n");
}

#[test]
fn logrotate_puts_the_file_away_and_the_next_line_is_in_a_new_one() {
    let Some(Watched { lab, fri: before, .. }) = watched() else { return };
    let fri = &lab.fri;
    fri.sh(&format!("cp {FILES}/naptun.logrotate /etc/logrotate.d/naptun"));
    // Every tool reads its own file alone: the others' logs are not here.
    for round in 1..=2 {
        let output = fri.run(&["logrotate", "-v", "-f", "-s", "/run/rotated", "/etc/logrotate.d/naptun"]);
        assert!(output.status.success() && !said(&output).contains("error"), "{}", said(&output));
        fri.kill("USR2", fri.endpoints()[0].pid());
        wait_for(fri, "statistics", 1);
        assert_eq!(counted(&fri.read(LOG), "statistics"), 1, "round {round}");
    }
    assert_eq!(fri.sh(&format!("stat -c '%a %U %G' {LOG}")), "640 root adm\n");
    // The older one is compressed, and nothing is lost.
    assert!(fri.sh(&format!("zcat {LOG}.2.gz")).starts_with(before));
    assert_eq!(counted(&fri.read(&format!("{LOG}.1")), "statistics"), 1);
}

#[test]
fn logwatch_sums_up_what_each_tunnel_did() {
    let Some(Watched { lab, mon: log, .. }) = watched() else { return };
    // On another host, where nothing is added meanwhile.
    let host = &lab.lanmon;
    own_folders(host);
    host.sh(&format!("cp -r {FILES}/logwatch/. /etc/logwatch/"));
    host.write(LOG, log);
    let summary = |detail: &str| {
        let output = host.run(&[
            "logwatch",
            "--service",
            "naptun",
            "--range",
            "all",
            "--detail",
            detail,
            "--output",
            "stdout",
        ]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        said(&output)
    };
    let said = summary("low");
    println!("{said}");
    let has = |line: &str| assert!(said.lines().any(|it| it.trim() == line), "{line:?} in {said}");
    has("mon, port 1417, listener, device tun0 local 10.8.0.1 remote 10.8.0.2");
    let (wakes, naps) = (counted(log, "started launch=inetd"), counted(log, "closed reason=inactive"));
    let vain = counted(log, "closed reason=no-peer");
    assert!(wakes >= 5 && naps >= 2 && vain >= 1, "{log}");
    has(&format!("Woken {wakes} times, naps after being idle: {naps}, without a peer: {vain}"));
    has("Awake at the end, or killed: 1");
    has(&format!("Peers: 198.51.100.1: {}", counted(log, "peer authenticated")));

    let sum = |key: &str| -> u64 {
        let values = log.lines().filter(|line| line.contains("closed reason=")).filter_map(|line| {
            line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
        });
        values.sum()
    };
    let refused = format!("Datagrams refused: {} (", sum("rejects"));
    assert!(sum("rejects") >= 30 && said.contains(&refused), "{refused:?} in {said}");
    assert!(
        said.contains(&format!(
            "Received {} bytes, sent {} bytes in 0:00:",
            sum("in_bytes"),
            sum("out_bytes")
        )),
        "{said}"
    );
    let wrong = said.split("Warnings and errors:").nth(1).unwrap();
    let wrong: Vec<&str> = wrong.lines().filter(|line| line.starts_with("   ")).collect();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(
        wrong
            .iter()
            .any(|line| line.contains("settings do not match: the peer has ifconfig 10.8.0.2 10.8.0.9")),
        "{wrong:?}"
    );
    assert!(wrong.iter().any(|line| line.contains("tun-mon-fri.conf")), "{wrong:?}");
    assert!(!said.contains("Other lines"));
    assert_eq!(counted(&summary("high"), "naptun Begin"), 1);
}

#[test]
fn logwatch_sums_up_the_same_where_the_lines_are_among_those_of_others_and_without_levels() {
    let Some(Watched { mon: log, .. }) = watched() else { return };
    let bare = log.replace("]: notice: ", "]: ").replace("]: err: ", "]: ");
    assert_ne!(&bare, log);
    assert_eq!(sum_up(&bare), sum_up(log));
    assert_eq!(sum_up(""), "");
}

/// What the script prints for these lines.
fn sum_up(text: &str) -> String {
    let script = format!("{FILES}/logwatch/scripts/services/naptun");
    let mut child =
        Command::new("perl").arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn no_notice_of_the_source_passes_for_a_warning() {
    let mut notices = Vec::new();
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let source = std::fs::read_to_string(file).unwrap();
        for call in source.split("log::info!(").skip(1) {
            let text = call.split('"').nth(1).unwrap();
            // All that varies is a number here; what does nothing but vary comes from the configuration.
            let pieces: Vec<&str> = text.split('{').map(|piece| piece.rsplit('}').next().unwrap()).collect();
            if pieces.concat().contains(' ') {
                notices.push(pieces.join("1"));
            }
        }
    }
    assert!(notices.len() > 15, "{notices:?}");
    for notice in notices {
        let said = sum_up(&format!("Nov 29 07:26:44 mon naptun[49]: {notice}\n"));
        assert!(!said.contains("Warnings"), "log/logwatch/scripts/services/naptun, $quiet: {said}");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn multitail_takes_the_colours_and_paints_the_lines() {
    let Some(Watched { lab, mon: log, .. }) = watched() else { return };
    // Its screen is a terminal of 220 columns; q ends it.
    let screen = "
import os, pty, select, struct, sys, termios, fcntl, time
pid, fd = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 60, 250, 0, 0))
seen, end = b'', time.time() + 20
while time.time() < end:
    if select.select([fd], [], [], 0.5)[0]:
        try: seen += os.read(fd, 65536)
        except OSError: break
    elif b'Sequence Completed' in seen: os.write(fd, b'q')
os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
";
    lab.mon.write("/run/naptun.log", log);
    let colours = format!("{FILES}/naptun.multitail");
    let words = [
        "env",
        "HOME=/run",
        "python3",
        "-c",
        screen,
        "multitail",
        "-F",
        &colours,
        "-n",
        "100",
        "/run/naptun.log",
    ];
    let painted = said(&lab.mon.run(&words));
    let painted = plain(&painted);
    for (colour, words) in [
        ("bold 32", UP),
        ("32", "peer authenticated"),
        ("32", "device up"),
        ("bold 34", "closed reason=inactive"),
        ("35", "closed reason=no-peer"),
        ("36", "peer=198.51.100.1:1417"),
        ("33", "rejects=30 unknown=30"),
        ("bold 31", " err: settings do not match"),
        ("bold 31", " err: command line"),
    ] {
        let found = painted.iter().any(|(it, text)| it == colour && text.starts_with(words));
        assert!(found, "{words:?} is not {colour}: {painted:?}");
    }
}

/// Text that a terminal got, in pieces, each with what it was painted in: attribute and colour by their numbers.
fn plain(painted: &str) -> Vec<(String, String)> {
    let (mut bold, mut colour, mut pieces) = (false, String::new(), Vec::new());
    for piece in painted.replace("\u{1b}(B", "").split("\u{1b}[").skip(1) {
        let end = piece.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(0);
        let (code, text) = piece.split_at(end);
        let Some(text) = text.strip_prefix('m') else { continue };
        match code {
            "" => (bold, colour) = (false, String::new()),
            "0;1" => bold = true,
            _ => colour = code.to_owned(),
        }
        if !text.is_empty() {
            let bold = if bold { "bold " } else { "" };
            pieces.push((format!("{bold}{colour}"), text.to_owned()));
        }
    }
    pieces
}

#[test]
fn fail2ban_finds_the_peer_with_other_settings_and_nobody_else_and_bans_nobody_unless_told_to() {
    let Some(Watched { lab, mon: log, .. }) = watched() else { return };
    lab.mon.sh(&format!("cp -r {FILES}/fail2ban/. /etc/fail2ban/"));
    let hosts = |text: &str| {
        lab.mon.write("/run/matched.log", text);
        lab.mon.ok(&["fail2ban-regex", "-o", "ip", "/run/matched.log", "/etc/fail2ban/filter.d/naptun.conf"])
    };
    assert_eq!(hosts(log), "198.51.100.1\n".repeat(counted(log, "settings do not match")));
    // As /var/log/syslog has it, and over IPv6.
    let bare = log.replace("]: err: ", "]: ").replace("peer=198.51.100.1:", "peer=[2001:db8:2::1]:");
    assert_eq!(hosts(&bare), "2001:db8:2::1\n".repeat(counted(log, "settings do not match")));
    assert!(!log.contains("198.51.100.66"), "a stranger's address in the log");

    let jails = || lab.mon.ok(&["fail2ban-client", "-d"]).matches("['add', 'naptun'").count();
    assert_eq!(jails(), 0, "enabled by default");
    lab.mon.write("/etc/fail2ban/jail.d/naptun.local", "[naptun]\nenabled = true\n");
    assert_eq!(jails(), 1);
}
