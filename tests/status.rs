//! `naptun status` and the run files behind it: what they say of a tunnel in each moment of its life, to whom, and what they
//! do not believe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::io::Read as _;
use std::process::Output;
use std::time::Duration;

use lab::tun::{LISTENER, answers, call, caller, complaints, quiet_lab, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};
use serde_json::Value;

/// The run file of the listener, on mon.
const RUN: &str = "/run/naptun/tun-mon-fri";

fn status(host: &Host, words: &[&str]) -> Value {
    let text = host.ok(&[&["naptun", "status", "--json"], words].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// What a host says of one of its tunnels.
fn tunnel(host: &Host, name: &str) -> Value {
    status(host, &[name])["tunnels"][0].clone()
}

/// Waits until a host says that a tunnel is in this state, and returns all that it says then.
fn in_state(host: &Host, name: &str, state: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("{name} is {state}"), SOON, || {
        last = tunnel(host, name);
        last["state"] == state
    });
    last
}

/// The same for any other condition.
fn told(host: &Host, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    eventually(what, SOON, || {
        last = tunnel(host, name);
        holds(&last)
    });
    last
}

#[test]
fn a_tunnel_is_told_napping_awake_and_napping_again_with_all_that_there_is_to_know() {
    let Some(lab) = tun_lab("status-life", "inactive 4\n") else { return };
    for name in ["tun-mon-fri", "tap-mon-fri"] {
        let before = tunnel(&lab.mon, name);
        assert_eq!((&before["state"], &before["since"]), (&"napping".into(), &Value::Null), "{before}");
    }
    let caller_before = tunnel(&lab.fri, "tun-fri-mon");
    assert_eq!(caller_before["state"], "stopped", "nobody would start it: {caller_before}");

    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    let awake = told(&lab.mon, "tun-mon-fri", "three pings", |it| {
        it["life"]["in_packets"].as_u64() >= Some(3) && it["state"] == "awake"
    });
    assert_eq!(awake["peer"], "198.51.100.1:1417", "{awake}");
    assert_eq!(
        (&awake["device"], &awake["kind"], &awake["mtu"]),
        (&"tun0".into(), &"tun".into(), &1420.into())
    );
    assert_eq!((&awake["launch"], &awake["port"]), (&"inetd".into(), &1417.into()));
    assert_eq!(awake["ipv4"], "10.8.0.1 10.8.0.2");
    assert_eq!(awake["config"], LISTENER);
    assert!(awake["cipher"].as_str().unwrap().contains("-"), "{awake}");
    assert_eq!(awake["pid"], lab.mon.endpoints()[0].pid());
    let rtt = awake["rtt_us"].as_u64().unwrap();
    assert!((1..5_000_000).contains(&rtt), "{rtt} us");
    assert!(awake["nap_in"].as_u64().unwrap() <= 4, "{awake}");
    assert!(awake["life"]["out_bytes"].as_u64().unwrap() >= 3 * 84);
    assert!(awake["history_in"].as_array().unwrap().iter().any(|it| it.as_u64() > Some(0)), "{awake}");
    let fri = in_state(&lab.fri, "tun-fri-mon", "awake");
    assert_eq!((&fri["launch"], &fri["peer"]), (&"caller".into(), &"192.0.2.1:1417".into()));
    assert_eq!(fri["nap_in"], Value::Null, "a caller does not nap by itself");

    let nap = in_state(&lab.mon, "tun-mon-fri", "napping");
    assert_eq!(
        (&nap["last_end"], &nap["pid"], &nap["rtt_us"]),
        (&"inactive".into(), &Value::Null, &Value::Null)
    );
    assert_eq!(nap["since"], nap["last_ended"]);
    let fri = in_state(&lab.fri, "tun-fri-mon", "idle");
    assert_eq!(fri["device"], "tun0");
    stop(&lab.fri);
    let stopped = in_state(&lab.fri, "tun-fri-mon", "stopped");
    assert_eq!(stopped["last_end"], "SIGTERM");
}

#[test]
fn who_was_killed_is_not_told_awake_and_the_next_process_goes_on_counting() {
    let Some(lab) = tun_lab("status-killed", "") else { return };
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 5).lost(), 0);
    let before =
        told(&lab.mon, "tun-mon-fri", "five pings", |it| it["life"]["in_packets"].as_u64() >= Some(5));
    assert_eq!((&before["wakes"], &before["last_end"]), (&1.into(), &Value::Null));
    let pid = lab.mon.endpoints()[0].pid();
    // No second process before the state has been looked at: its first datagram would start it.
    lab.fri.kill("STOP", lab.fri.endpoints()[0].pid());
    lab.mon.kill("KILL", pid);
    let killed = in_state(&lab.mon, "tun-mon-fri", "napping");
    assert_eq!((&killed["last_end"], &killed["pid"]), (&"killed".into(), &Value::Null), "{killed}");
    lab.fri.kill("CONT", lab.fri.endpoints()[0].pid());
    eventually("another listener", SOON + SOON, || answers(&lab.fri, "10.8.0.1"));
    let after = told(&lab.mon, "tun-mon-fri", "awake again", |it| {
        it["state"] == "awake" && it["life"]["in_packets"].as_u64() >= Some(1)
    });
    assert_eq!((&after["wakes"], &after["last_end"]), (&2.into(), &"killed".into()), "{after}");
    assert!(after["pid"] != pid);
    let (life, total) = (&after["life"]["in_packets"], &after["total"]["in_packets"]);
    assert!(total.as_u64().unwrap() >= life.as_u64().unwrap() + 5, "{after}");
}

#[test]
fn every_user_sees_what_runs_and_nobody_what_he_may_not_read() {
    let Some(lab) = tun_lab("status-users", "") else { return };
    lab.mon.sh("chmod 700 /etc/naptun");
    call(&lab.fri, &[]);
    in_state(&lab.mon, "tun-mon-fri", "awake");
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let seen = lab.mon.ok(&[&nobody[..], &["naptun", "status", "--json"]].concat());
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let tunnels = seen["tunnels"].as_array().unwrap();
    assert_eq!(tunnels.len(), 1, "configurations are not for everybody: {seen}");
    assert_eq!((&tunnels[0]["name"], &tunnels[0]["state"]), (&"tun-mon-fri".into(), &"awake".into()));
    assert_eq!(lab.mon.sh("stat -c %a:%U /run/naptun /run/naptun/*"), "755:root\n644:root\n");

    // A lock that everybody may take on a file that he may read is in nobody's way.
    let lock = "use Fcntl; open(my $f, '<', '/run/naptun/tun-mon-fri') or die; my $l = pack('s s l! l! i', F_RDLCK, 0, 0, 0, 0); fcntl($f, F_SETLK, $l) or die; $| = 1; print qq(held\\n); sleep 60";
    lab.mon.kill("TERM", lab.mon.endpoints()[0].pid());
    in_state(&lab.mon, "tun-mon-fri", "napping");
    let mut holder = lab.mon.spawn(&[&nobody[..], &["perl", "-e", lock]].concat());
    let mut held = [0; 5];
    holder.0.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();
    assert_eq!(&held, b"held\n");
    assert_eq!(tunnel(&lab.mon, "tun-mon-fri")["state"], "napping", "a stranger's lock is no process");
    eventually("another listener", SOON + SOON, || answers(&lab.fri, "10.8.0.1"));
    in_state(&lab.mon, "tun-mon-fri", "awake");
}

#[test]
fn what_others_put_into_the_folder_reaches_no_terminal() {
    let Some(lab) = Lab::new("status-hostile") else { return };
    let mon = &lab.mon;
    mon.sh("mkdir -m 755 /run/naptun; cd /run/naptun
        echo 'root:x' >/run/secret; ln -s /run/secret link; mkfifo fifo; mkdir folder; mknod null c 1 3
        head -c 100000 /dev/urandom >noise; : >empty; head -c 50000000 /dev/zero >zeros
        printf 'naptun=1\\nstate=awake\\nsum=0000000000000000\\n' >forged
        echo 4711 >tun-mon-fri.pid
        name=$(printf 'acting\\033[2J\\007\\nletters')
        printf 'naptun=1\\nstate=awake\\nlaunch=inetd\\npeer=\\033[2J1417\\302\\23331m\\n' >\"$name\"
        sum=$(b2sum -l 64 <\"$name\"); echo sum=${sum%% *} >>\"$name\"
        printf 'naptun=1\\nlaunch=inetd\\n' >tun-mon-fri
        sum=$(b2sum -l 64 <tun-mon-fri); echo sum=${sum%% *} >>tun-mon-fri; chown 1234 tun-mon-fri");
    for form in [&[][..], &["--json"], &["--prometheus"]] {
        let output = mon.run(&[&["naptun", "status"], form].concat());
        assert!(output.status.success(), "{form:?}: {:?}", complaints(&output));
        let acting: Vec<u8> =
            output.stdout.iter().copied().filter(|byte| *byte < 0x20 && *byte != b'\n').collect();
        assert_eq!(acting, b"", "{form:?}");
    }
    let all = status(mon, &[]);
    let names: Vec<&str> =
        all["tunnels"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    // Nobody has one of them locked, and their text is none.
    assert_eq!(names, ["acting\\x1b[2J\\x07\\x0aletters", "tap-mon-fri", "tun-mon-fri"]);
    let acting = &all["tunnels"][0];
    assert_eq!((&acting["last_end"], &acting["peer"]), (&"killed".into(), &"\\x1b[2J1417\\x9b31m".into()));
    assert_eq!(tunnel(mon, "tun-mon-fri")["since"], Value::Null, "another user's file");

    // A process replaces what is there, and follows nothing.
    mon.sh("rm /run/naptun/tun-mon-fri; ln -s /run/secret /run/naptun/tun-mon-fri");
    mon.xinetd();
    call(&lab.fri, &[]);
    in_state(mon, "tun-mon-fri", "awake");
    assert_eq!(mon.read("/run/secret"), "root:x\n");
}

/// Whether it can be told or not is no matter for the tunnel.
#[test]
fn without_a_folder_to_write_there_is_one_notice_and_a_tunnel() {
    let Some(lab) = quiet_lab("status-none", "verb 3\n") else { return };
    lab.mon.sh("echo >/run/naptun");
    lab.mon.xinetd();
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    assert_eq!(lab.mon.logged("naptun status does not see this tunnel"), 1, "{}", lab.mon.log());
    assert_eq!(tunnel(&lab.mon, "tun-mon-fri")["state"], "napping", "as far as anybody knows");
    stop(&lab.fri);
}

#[test]
fn where_nothing_happens_nothing_is_written_and_nobody_is_woken() {
    let Some(lab) = tun_lab("status-idle", "inactive 0\n") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    // The path is tried, the packet acknowledged, the rest is silence.
    let activity = || {
        let pid = lab.mon.endpoints()[0].pid();
        let written = lab.mon.sh(&format!("stat -c %y {RUN}"));
        let wakes = lab.mon.sh(&format!("grep ^voluntary_ctxt /proc/{pid}/status"));
        (written, wakes)
    };
    let mut before = activity();
    eventually("silence", SOON + SOON, || {
        std::thread::sleep(Duration::from_secs(4));
        let now = activity();
        std::mem::replace(&mut before, now) == before.clone()
    });
    assert!(answers(&lab.fri, "10.8.0.1"));
    eventually("a packet is told", SOON, || activity().0 != before.0);
}

#[test]
fn who_ends_before_anybody_called_says_so_too() {
    let Some(lab) = quiet_lab("status-uncalled", "status /run/status 3600\n") else { return };
    let listen =
        ["naptun", "--port", "1417", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf", "--daemon"];
    lab.mon.ok(&listen);
    let waiting = in_state(&lab.mon, "tun-mon-fri", "waiting");
    assert_eq!((&waiting["launch"], &waiting["peer"]), (&"listener".into(), &Value::Null));
    lab.mon.sh("rm /run/naptun/tun-mon-fri; : >/run/status");
    stop(&lab.mon);
    assert!(lab.mon.read("/run/status").ends_with("\nEND\n"), "the last update, although nobody called");
    lab.mon.ok(&listen);
    in_state(&lab.mon, "tun-mon-fri", "waiting");
    stop(&lab.mon);
    let stopped = in_state(&lab.mon, "tun-mon-fri", "stopped");
    assert_eq!(stopped["last_end"], "SIGTERM");
}

#[test]
fn a_tunnel_that_failed_says_why_and_one_that_calls_says_that() {
    let Some(lab) = quiet_lab("status-fails", "") else { return };
    call_nobody(&lab.fri);
    let calling = in_state(&lab.fri, "tun-fri-mon", "calling");
    assert_eq!((&calling["device"], &calling["cipher"]), (&"tun0".into(), &Value::Null), "{calling}");
    lab.fri.sh("ip link del tun0");
    let failed = in_state(&lab.fri, "tun-fri-mon", "stopped");
    assert!(failed["last_end"].as_str().unwrap().starts_with("failed: "), "{failed}");
}

/// Nobody listens on mon.
fn call_nobody(host: &Host) {
    host.ok(&caller(&["--daemon"]));
}

#[test]
fn configurations_of_another_folder_have_names_of_their_own_and_wrong_ones_are_told() {
    let Some(lab) = quiet_lab("status-folder", "") else { return };
    let mon = &lab.mon;
    // As elsewhere as a host of the laboratory has it for itself.
    let folder = "/run/srv";
    mon.sh("cp -a /etc/naptun /run/srv");
    mon.write(&format!("{folder}/bad.conf"), "ifconfg 1 2\n");
    let seen = status(mon, &["--cd", folder]);
    let states: Vec<(&str, &str)> = seen["tunnels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("bad", "wrong"), ("tap-mon-fri", "napping"), ("tun-mon-fri", "napping")]);
    mon.ok(&["naptun", "--port", "1417", "--cd", folder, "--config", "tun-mon-fri.conf", "--daemon"]);
    eventually("its own file", SOON, || {
        status(mon, &["--cd", folder, "tun-mon-fri"])["tunnels"][0]["state"] == "waiting"
    });
    assert_eq!(tunnel(mon, "tun-mon-fri")["state"], "napping", "the one in /etc/naptun is another");
    assert!(mon.sh("ls /run/naptun").starts_with("tun-mon-fri-"));
    stop(mon);
    fails(
        &mon.run(&["naptun", "status", "nosuch"]),
        66,
        "find the tunnel nosuch: no nosuch.conf in /etc/naptun",
    );
    fails(&mon.run(&["naptun", "status", "--cd", "/nowhere"]), 66, "cd /nowhere");
    fails(&mon.run(&["naptun", "status", "--cd", "etc"]), 78, "cd etc");
    fails(&mon.run(&["naptun", "status", "--json", "--prometheus"]), 64, "contradict each other");
    fails(&mon.run(&["naptun", "status", "--watch", "--prometheus"]), 64, "--prometheus is one text");
}

fn fails(output: &Output, code: i32, reason: &str) {
    let said = complaints(output);
    assert_eq!(output.status.code(), Some(code), "{said:?}");
    assert!(said.len() == 1 && said[0].contains(reason), "{said:?}");
}

#[test]
fn the_table_is_plain_where_there_is_no_terminal() {
    let Some(lab) = tun_lab("status-table", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    told(&lab.mon, "tun-mon-fri", "a ping", |it| it["life"]["in_packets"].as_u64() >= Some(1));
    let table = lab.mon.ok(&["naptun", "status"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TUNNEL") && lines.len() == 3, "{table}");
    assert!(table.is_ascii(), "LC_ALL=C: {table}");
    let words: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(words[..2], ["tun-mon-fri", "awake"], "{table}");
    assert!(words.contains(&"198.51.100.1:1417") && words.contains(&"tun0"), "{table}");
    let blocks = lab.mon.ok(&["env", "LC_ALL=C.UTF-8", "naptun", "status", "tun-mon-fri.conf"]);
    assert!(blocks.contains('█') && blocks.lines().count() == 2, "{blocks}");
}

/// Runs a command as a shell's job on a terminal of 70 columns, widens it, stops the job by ctrl-Z and lets it go on, ends
/// it by the interrupt key, and prints all that came.
const PTY: &str = r#"
import fcntl, os, pty, signal, struct, sys, termios, time, select
pid, master = pty.fork()
if pid == 0:
    os.environ.update(TERM='xterm', LC_ALL='C.UTF-8')
    os.execvp('bash', ['bash', '-c', 'set -m; "$@"; echo the shell again; fg', 'bash'] + sys.argv[1:])
size = lambda columns: fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
size(70)
out = b''
def until(what, most=20):
    global out
    end = time.time() + most
    while what not in out and time.time() < end:
        if select.select([master], [], [], 0.1)[0]:
            try: out += os.read(master, 65536)
            except OSError: return
    assert what in out, (what, out)
until(b'TUNNEL')
until(b'tun-mon-fri')
out = b''
size(200)
until(b'CIPHER')
# The key throws away what waits in the terminal.
until(b'awake\x1b[0m')
out = b''
os.write(master, b'\x1a')
until(b'the shell again')
left, out = out.split(b'the shell again')
assert b'\x1b[?25h\x1b[?1049l' in left, left
until(b'\x1b[?1049h\x1b[?25l')
until(b'awake\x1b[0m')
os.write(master, b'\x03')
until(b'\x1b[?1049l')
_, code = os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
sys.exit(os.waitstatus_to_exitcode(code))
"#;

#[test]
fn on_a_terminal_it_is_watched_in_place_follows_the_window_and_leaves_it_as_it_was() {
    let Some(lab) = tun_lab("status-watch", "") else { return };
    call(&lab.fri, &[]);
    in_state(&lab.mon, "tun-mon-fri", "awake");
    let shown = lab.mon.ok(&["python3", "-c", PTY, "naptun", "status", "--watch"]);
    assert!(shown.contains("\x1b[H") && shown.contains("\x1b[32mawake\x1b[0m"), "{shown:?}");
    assert!(shown.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "the cursor, the screen: {shown:?}");
    // Without a terminal one text follows the other, and a reader that goes away ends it.
    let lines = lab.mon.sh("naptun status --watch --json | head -n 2");
    assert_eq!(lines.lines().filter(|line| line.starts_with("{\"time\":")).count(), 2, "{lines}");
    eventually("it has ended", SOON, || lab.mon.sh("ps -o args").matches("status --watch").count() == 0);
}

/// Reads standard input as Prometheus does; prints each sample.
const PARSE: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.type in ('gauge', 'counter'), family
    for sample in family.samples:
        print(family.type, sample.name, sample.labels.get('tunnel'), sample.labels.get('direction', sample.labels.get('reason', '')), sample.value)
";

#[test]
fn prometheus_and_python_read_what_is_for_machines() {
    let Some(lab) = tun_lab("status-machines", "") else { return };
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 4).lost(), 0);
    let known = told(&lab.mon, "tun-mon-fri", "pings and answers", |it| {
        it["life"]["in_packets"].as_u64() >= Some(4) && it["life"]["out_packets"].as_u64() >= Some(4)
    });
    lab.mon.write("/run/parse.py", PARSE);
    let samples = lab.mon.sh("naptun status --prometheus | python3 /run/parse.py");
    let value = |name: &str, tunnel: &str, more: &str| -> f64 {
        let line = samples.lines().find(|line| line.starts_with(&format!("{name} {tunnel} {more}")));
        line.unwrap_or_else(|| panic!("{name} of {tunnel}: {samples}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(value("gauge naptun_process_up", "tun-mon-fri", ""), 1.0);
    assert_eq!(value("gauge naptun_session_up", "tun-mon-fri", ""), 1.0);
    assert_eq!(value("gauge naptun_process_up", "tap-mon-fri", ""), 0.0);
    assert!(value("counter naptun_packets_total", "tun-mon-fri", "in ") >= 4.0);
    assert!(value("counter naptun_bytes_total", "tun-mon-fri", "out ") >= 4.0 * 84.0);
    assert_eq!(value("counter naptun_rejected_datagrams_total", "tun-mon-fri", "unknown "), 0.0);
    assert_eq!(value("counter naptun_wakes_total", "tun-mon-fri", ""), 1.0);
    let trip = value("gauge naptun_round_trip_seconds", "tun-mon-fri", "");
    assert!(trip > 0.0 && trip < 5.0, "{trip}");
    assert!(known["rtt_us"].as_u64() > Some(0));
    let names = lab.mon.sh(
        "naptun status --json | python3 -c 'import json, sys; print(*[it[\"name\"] for it in json.load(sys.stdin)[\"tunnels\"]])'",
    );
    assert_eq!(names, "tap-mon-fri tun-mon-fri\n");
}
