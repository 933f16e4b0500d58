//! Key files and the real program: what it refuses, in which words, and that it never shows what is in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use figures::figure;
use lab::tun::{answers, call, caller, complaints, napping, stop, tun_lab};
use lab::{Host, SOON, eventually};
use std::process::Output;
use std::time::{Duration, Instant};

/// What the key is, how `/k/key` becomes that, and how it is told. The key of the tunnel is in $KEY.
const REFUSED: &[(&str, &str, i32, &str)] = &[
    ("a symbolic link", "cp $KEY real; chmod 600 real; ln -s real key", 77, "is a symbolic link"),
    ("a FIFO", "mkfifo -m 600 key", 66, "is a FIFO"),
    (
        "a FIFO that somebody writes to",
        "mkfifo -m 600 key; (exec >/dev/null 2>&1; cat $KEY >key) &",
        66,
        "is a FIFO",
    ),
    ("mode 0640", "install -m 640 $KEY key", 77, "is open to group or others (mode 0640)"),
    ("mode 0604", "install -m 604 $KEY key", 77, "is open to group or others (mode 0604)"),
    ("mode 0620", "install -m 620 $KEY key", 77, "is open to group or others (mode 0620)"),
    ("a hard link", "install -m 600 $KEY key; ln key other", 77, "has 2 names"),
    ("somebody else's", "install -m 600 -o 1234 $KEY key", 77, "belongs to uid 1234"),
    ("a directory", "mkdir -m 700 key", 66, "is a directory"),
    ("empty", "install -m 600 /dev/null key", 65, "the key is empty"),
    ("blanks", "printf ' \\r\\n\\t\\n' >key; chmod 600 key", 65, "the key is empty"),
    ("1 GiB", "install -m 600 $KEY key; truncate -s 1G key", 65, "larger than 16 KiB"),
    ("1 GiB without end", "install -m 600 /dev/null key; truncate -s 1G key", 65, "larger than 16 KiB"),
    ("a wrong digit", "sed '3s/./g/' $KEY >key; chmod 600 key", 65, "line 3 holds something else"),
    ("too few digits", "sed 5d $KEY >key; chmod 600 key", 65, "480 hexadecimal digits, not 512"),
    ("too many digits", "sed 5p $KEY >key; chmod 600 key", 65, "544 hexadecimal digits, not 512"),
    ("cut short", "head -c 300 $KEY >key; chmod 600 key", 65, "END"),
    ("NUL bytes", "sed '4s/./\\x00/' $KEY >key; chmod 600 key", 65, "line 4 holds something else"),
    ("NUL bytes alone", "head -c 600 /dev/zero >key; chmod 600 key", 65, "BEGIN"),
    ("all zero", "sed '/^[0-9a-f]*$/s/./0/g' $KEY >key; chmod 600 key", 65, "zero"),
    ("random bytes", "head -c 600 /dev/urandom >key; chmod 600 key", 65, "BEGIN"),
    ("the null device", "mknod -m 600 key c 1 3", 66, "is a device"),
    ("a device without end", "mknod -m 600 key c 1 5", 66, "is a device"),
    ("a block device", "mknod -m 600 key b 7 0", 66, "device"),
    (
        "a socket",
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"key\", Type => 2) or die'; chmod 600 key",
        66,
        "socket",
    ),
    ("missing", "true", 66, "no such file"),
    ("another kind of file", "install -m 600 /etc/services key", 65, "BEGIN"),
];

/// What is the same key all the same.
const ACCEPTED: &[(&str, &str)] = &[
    ("CRLF", "sed 's/$/\\r/' $KEY >key; chmod 600 key"),
    ("capitals", "sed '/^[0-9a-f]*$/y/abcdef/ABCDEF/' $KEY >key; chmod 600 key"),
    ("no line end", "printf %s \"$(cat $KEY)\" >key; chmod 400 key"),
];

fn make(host: &Host, how: &str) {
    host.sh(&format!("rm -rf /run/k; mkdir -m 755 /run/k; cd /run/k; KEY=/etc/naptun/static.key; {how}"));
}

#[test]
fn a_key_that_is_none_is_refused_with_one_line_that_does_not_show_it() {
    let Some(lab) = tun_lab("keys", "") else { return };
    let fri = &lab.fri;
    let key = fri.read("/etc/naptun/static.key");
    let mut slowest = Duration::ZERO;
    for (what, how, code, reason) in REFUSED {
        make(fri, how);
        let start = Instant::now();
        let daemon = fri.run(&caller(&["--daemon", "--secret", "/run/k/key"]));
        slowest = slowest.max(start.elapsed());
        let foreground = fri.run(&caller(&["--secret", "/run/k/key"]));
        fri.write("/etc/naptun/check.conf", "dev tun\nremote mon\nsecret /run/k/key\n");
        let check = fri.run(&["naptun", "check", "--cd", "/etc/naptun", "check.conf"]);
        for (way, output, code) in
            [("--daemon", &daemon, *code), ("foreground", &foreground, *code), ("check", &check, 78)]
        {
            let said = [complaints(output), reported(output)].concat();
            assert_eq!(output.status.code(), Some(code), "{what}, {way}: {said:?}");
            assert_eq!(said.len(), 1, "{what}, {way}: {said:?}");
            assert!(said[0].contains(reason) && said[0].contains("/run/k/key"), "{what}, {way}: {said:?}");
            shows_nothing(output, &key, what);
        }
        eventually(what, SOON, || napping(fri));
    }
    let log = fri.log();
    assert!(!pieces(&key).any(|piece| log.contains(piece)), "the key is in syslog");
    figure(
        26,
        &format!(
            "{} kinds of key file that is none: refused with one line by --daemon, in the foreground and by check, in {} ms at most; not a byte of the key shown",
            REFUSED.len(),
            slowest.as_millis()
        ),
    );
    for (what, how) in ACCEPTED {
        make(fri, how);
        call(fri, &["--secret", "/run/k/key"]);
        eventually(what, SOON, || answers(fri, "10.8.0.1"));
        stop(fri);
    }
    figure(26, &format!("{} other spellings of the same key make a tunnel, CRLF among them", ACCEPTED.len()));
}

/// The lines on standard output, without the lines of files that they are about.
fn reported(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().filter(|line| !line.starts_with("    ")).map(str::to_owned).collect()
}

/// Four digits in a row of each line would be too much; eight leave chance out.
fn pieces(key: &str) -> impl Iterator<Item = &str> {
    let lines = key.lines().filter(|line| line.len() == 32 && !line.contains('-'));
    lines.flat_map(|line| (0..4).map(|quarter| &line[8 * quarter..8 * quarter + 8]))
}

fn shows_nothing(output: &Output, key: &str, what: &str) {
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).to_lowercase();
    assert!(!pieces(key).any(|piece| said.contains(piece)), "{what}: {said}");
}
