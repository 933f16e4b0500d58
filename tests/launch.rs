//! How a process is started, and how it fails to: by hand, in the background, by something that resembles a
//! super-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::{LISTENER, UP, answers, call, caller, complaints, quiet_lab, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};
use std::time::Duration;

/// The listener with a port of its own.
const LISTEN: &[&str] = &["naptun", "--port", "1417", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf"];

/// Runs naptun as a super-server would, the UDP socket on descriptors 0, 1 and 2, after one datagram has come.
/// Prints how many datagrams came back, how many are left for the next process, and the exit code. The socket is connected, as a predecessor may have left it:
/// only then does a stray print find its way.
const SUPER_SERVER: &str = r#"
use Socket;
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
bind($socket, pack_sockaddr_in(0, inet_aton('127.0.0.1'))) or die;
socket(my $client, PF_INET, SOCK_DGRAM, 0) or die;
send($client, 'x' x 100, 0, getsockname($socket)) or die;
connect($socket, pack_sockaddr_in((unpack_sockaddr_in(getsockname($client)))[0], inet_aton('127.0.0.1'))) or die;
my $pid = fork;
if (!$pid) {
    open(STDIN, '<&', $socket) or die;
    open(STDOUT, '>&', $socket) or die;
    open(STDERR, '>&', $socket) or die;
    exec '/usr/sbin/naptun', @ARGV;
}
waitpid $pid, 0;
my $code = $? >> 8;
my $answers = 0;
while (defined recv($client, my $answer, 2000, MSG_DONTWAIT)) { $answers++ }
my $left = 0;
while (defined recv($socket, my $datagram, 2000, MSG_DONTWAIT)) { $left++ }
print "$answers $left $code";
"#;

#[test]
fn a_listener_that_holds_its_own_port_serves_one_caller_after_the_other() {
    let Some(lab) = quiet_lab("own-port", "") else { return };
    lab.mon.ok(&[LISTEN, &["--daemon"]].concat());
    assert!(!lab.mon.has_device("tun0"), "a device before anybody called");
    for round in 1..=2 {
        call(&lab.fri, &[]);
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
        lab.mon.wait_for_logs("peer authenticated", round, SOON);
        stop(&lab.fri);
        lab.mon.wait_for_logs("peer says bye reason=exit", round, SOON);
    }
    assert_eq!(lab.mon.endpoints().len(), 1, "the listener left with its caller");
    assert_eq!(lab.mon.logged(UP), 1);
}

#[test]
fn two_callers_started_by_hand_in_either_order_make_one_tunnel() {
    let Some(lab) = Lab::new("by-hand") else { return };
    lab.mon.append(LISTENER, "remote fri 1417\nlport 1417\n");
    let on_mon = ["naptun", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf", "--log", "/run/log"];
    let on_fri = caller(&["--log", "/run/log"]);
    for mon_first in [true, false] {
        let ends = [(&lab.mon, &on_mon[..]), (&lab.fri, &on_fri[..])];
        let [first, second] = if mon_first { ends } else { [ends[1], ends[0]] };
        let _first = first.0.spawn(first.1);
        std::thread::sleep(Duration::from_secs(1));
        let _second = second.0.spawn(second.1);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        assert_eq!(lab.fri.ping("10.8.0.1", 10).lost(), 0, "mon first: {mon_first}");
        assert_eq!(lab.mon.ping("10.8.0.2", 1).lost(), 0);
        for host in [&lab.mon, &lab.fri] {
            let log = host.read("/run/log");
            let sessions = log.matches("peer authenticated").count();
            assert!((1..=2).contains(&sessions), "{sessions} sessions: {log}");
            assert_eq!(log.matches(UP).count(), 1, "{log}");
            stop(host);
        }
    }
}

#[test]
fn inetd_without_a_udp_socket_is_one_clear_line_and_code_64() {
    let Some(lab) = Lab::new("no-socket") else { return };
    lab.fri.sh("sed -i /remote/d /etc/naptun/tun-fri-mon.conf");
    lab.fri.write("/run/inetd", "exec naptun --inetd --cd /etc/naptun --config tun-fri-mon.conf\n");
    for (stdin, word) in [("</dev/null", "device"), ("</etc/hostname", "file"), ("<&-", "fd 0"), ("", "pipe")]
    {
        let input = if stdin.is_empty() { "echo |" } else { "" };
        let output = lab.fri.run(&["sh", "-c", &format!("{input} sh /run/inetd {stdin}")]);
        let said = complaints(&output);
        assert_eq!((output.status.code(), said.len()), (Some(64), 1), "{stdin}: {said:?}");
        assert!(said[0].contains(word) && said[0].contains("socket_type = dgram"), "{said:?}");
        assert!(output.stdout.is_empty());
    }
    // A terminal: script(1) writes what the process says to its own output.
    let output = lab.fri.run(&["script", "-qec", "sh /run/inetd", "/dev/null"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(64), 1), "{said}");
    assert!(said.contains("a terminal"), "{said}");
    assert_eq!(lab.fri.logged("naptun"), 0, "and nothing in syslog");
    assert!(lab.fri.ours().is_empty());
}

#[test]
fn a_tcp_socket_is_refused_without_a_byte_on_it() {
    let Some(lab) = Lab::new("tcp-socket") else { return };
    let server = "
        use IO::Socket::INET;
        my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
        my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->sockport) or die;
        my $socket = $server->accept;
        if (!fork) {
            open(STDIN, '<&', $socket); open(STDOUT, '>&', $socket); open(STDERR, '>&', $socket);
            exec '/usr/sbin/naptun', @ARGV;
        }
        wait;
        my $code = $? >> 8;
        close $socket;
        print length(join '', <$client>), ' ', $code;";
    let words =
        ["perl", "-e", server, "--", "--inetd", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf"];
    assert_eq!(lab.mon.ok(&words), "0 64");
    lab.mon.wait_for_log("a stream socket", SOON);
    assert_eq!(lab.mon.logged("naptun["), 1);
}

#[test]
fn under_a_super_server_no_word_goes_out_nothing_is_left_to_wake_the_next_and_the_reason_is_in_syslog() {
    let Some(lab) = Lab::new("wire") else { return };
    lab.mon.write("/etc/naptun/bad.conf", "dev tun\nsecret static.key\nifconfg 10.8.0.1 10.8.0.2\n");
    lab.mon.write("/etc/naptun/keyless.conf", "dev tun\nsecret none.key\n");
    let run = &|arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        lab.mon.ok(&[&["perl", "-e", SUPER_SERVER, "--"][..], &words].concat())
    };
    let cases = [
        ("--help", "0 0 64", "naptun --inetd"),
        ("--version", "0 0 64", "naptun --inetd"),
        ("--genkey --secret /etc/naptun/made.key", "0 0 64", "naptun --inetd"),
        ("check --cd /etc/naptun bad.conf", "0 0 64", "naptun --inetd"),
        ("pair mon fri --out /etc/naptun", "0 0 64", "naptun --inetd"),
        ("status", "0 0 64", "naptun --inetd"),
        ("--inetd --nonsense", "0 0 64", "nonsense"),
        ("--inetd --cd /etc/naptun --config bad.conf", "0 0 78", "bad.conf:3: \"ifconfg\""),
        ("--inetd --cd /etc/naptun --config none.conf", "0 0 66", "none.conf"),
        ("--inetd --cd /etc/naptun --config keyless.conf", "0 0 66", "none.key"),
        ("--inetd --cd etc/naptun --config tun-mon-fri.conf", "0 0 64", "cd"),
    ];
    // Side by side: who cannot serve lingers.
    std::thread::scope(|scope| {
        for (arguments, result, _) in cases {
            scope.spawn(move || assert_eq!(run(arguments), result, "{arguments}"));
        }
    });
    eventually("a line of each", SOON, || lab.mon.logged("naptun[") >= cases.len());
    let log = lab.mon.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("naptun[")).collect();
    for (arguments, _, reason) in cases {
        assert!(said.iter().any(|line| line.contains(reason)), "{arguments}: {said:?}");
    }
    assert_eq!(said.iter().filter(|line| line.contains("naptun --inetd --config FILE")).count(), 6);
    assert!(!log.contains("BEGIN OpenVPN"), "a key in syslog");
    assert_eq!(lab.mon.sh("ls -d /etc/naptun/made.key /etc/naptun/tun-mon-fri 2>/dev/null || true"), "");
}

#[test]
fn daemon_returns_when_device_routes_and_script_are_done() {
    let Some(lab) = tun_lab("daemon", "") else { return };
    lab.fri.write_script("/etc/naptun/slow.up", "#!/bin/sh\nsleep 1\ntouch /run/done\n");
    let command = caller(&["--daemon", "--up", "./slow.up", "--script-security", "2"]).join(" ");
    let state = lab.fri.sh(&format!("{command} && ls /run/done && ip -br link show tun0 && ip route"));
    assert!(state.contains("/run/done") && state.contains("tun0"), "{state}");
    assert!(state.contains("192.168.1.0/24 via 10.8.0.1 dev tun0"), "{state}");
}

#[test]
fn daemon_that_fails_says_why_and_leaves_nothing() {
    let Some(lab) = Lab::new("daemon-fails") else { return };
    let fri = &lab.fri;
    fri.sh("ip link add tun7 type bridge && ip tuntap add tun8 mode tun");
    fri.sh("cp /etc/naptun/static.key /etc/naptun/loose.key; chmod 644 /etc/naptun/loose.key");
    fri.sh("mkdir /etc/naptun/folder.key; head -c 100 /etc/naptun/static.key >/etc/naptun/short.key; chmod 600 /etc/naptun/short.key");
    fri.write("/etc/naptun/bad.conf", "ifconfg 10.8.0.2 10.8.0.1\n");
    for (flags, code, reason) in [
        (&["--dev", "tun7"][..], 69, "tun7"),
        (&["--dev", "tun8"], 69, "tun8"),
        (&["--secret", "none.key"], 66, "none.key"),
        (&["--secret", "loose.key"], 77, "loose.key"),
        (&["--secret", "folder.key"], 66, "a directory"),
        (&["--secret", "short.key"], 65, "short.key"),
        (&["--user", "nosuch"], 67, "nosuch"),
        (&["--ifconfig", "10.8.0.2", "nowhere.invalid"], 68, "nowhere.invalid"),
        (&["--verb", "loud"], 64, "loud"),
        (&["--config", "bad.conf"], 78, "bad.conf:1"),
        (&["--up", "./none.up", "--script-security", "2"], 66, "none.up"),
    ] {
        fails(fri, flags, code, reason);
    }
    fri.sh("ip address add 10.8.0.77/24 dev tun7; ip link set tun7 up");
    fails(fri, &[], 69, "subnet already in use");
    fri.sh("ip link del tun7");
    fri.sh("test -d /sys/class/net/tun8");
    let _holder = fri.spawn(&["socat", "UDP-RECV:1417", "STDOUT"]);
    eventually("the port is held", SOON, || !fri.sh("ss -Hulnp sport = 1417").is_empty());
    fails(fri, &[], 69, "in use");
    assert!(fri.sh("ss -Hulnp sport = 1417").contains("socat"));
}

/// Starts the caller of `host` with flags under which it cannot come up.
fn fails(host: &Host, flags: &[&str], code: i32, reason: &str) {
    let state = || (host.devices(), host.routes(), host.sh("ss -Hulnp sport = 1417"));
    let before = state();
    let output = host.run(&caller(&[&["--daemon"], flags].concat()));
    let said = complaints(&output);
    assert_eq!(output.status.code(), Some(code), "{flags:?}: {said:?}");
    assert!(said.len() == 1 && said[0].contains(reason), "{flags:?}: {said:?}");
    assert!(output.stdout.is_empty());
    eventually("no process stays", SOON, || host.ours().is_empty());
    assert_eq!(state(), before, "{flags:?}");
}
