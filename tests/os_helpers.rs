//! The processes beside the tunnel: the script helper, the resolver, and the parent of a process in the background.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod os_stage;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use naptun::os::background::{self, Outcome, Side};
use naptun::os::helper::{Facts, Helper, Plan, TIME_LIMIT};
use naptun::os::privileges::Identity;
use naptun::os::resolver::{Answer, Resolver};
use naptun::os::state_file::{Opened, StateFile};
use naptun::os::{descriptors, script, signals};
use os_stage::{PLACE, Place, Player, children, part_without_network, place, require_root, until, wait};

/// What the child processes do.
pub fn part(name: &str) -> u8 {
    match name {
        "helper" => helper(),
        "helper-without-scripts" => without_scripts(),
        "helper-twice" => twice(),
        "helper-of-a-victim" => victim(),
        "resolver" => resolver(),
        other => return in_background(other),
    }
    0
}

fn at(name: &str, place: &Place) -> Command {
    let mut command = os_stage::part(name);
    command.env(PLACE, &place.0);
    command
}

fn facts() -> Facts {
    Facts { device: "naptest7".into(), mtu: 1420, trusted: Some("192.0.2.9:4711".parse().unwrap()) }
}

/// `up` and `down` are `up.sh one` and `down.sh` in the test's directory, which is entered as `--cd` does it.
fn plan() -> Plan {
    std::env::set_current_dir(place()).unwrap();
    let undone = |what: &[u8]| std::fs::write("undone", what).unwrap();
    Plan {
        up: Some(vec!["up.sh".into(), "one word".into()]),
        down: Some(vec!["./down.sh".into()]),
        environment: vec![
            ("config".into(), "tun.conf".into()),
            ("dev_type".into(), "tun".into()),
            ("my-name".into(), "a\nb".into()),
        ],
        arguments: ["10.8.0.1".into(), String::new()],
        undo: Some(Box::new(undone)),
        redirect: None,
        keep: Vec::new(),
        time_limit: Duration::from_millis(300),
    }
}

fn say(result: naptun::error::Result<()>) {
    match result {
        Ok(()) => println!("done"),
        Err(error) => println!("{error}"),
    }
}

fn helper() {
    descriptors::harden().unwrap();
    let _wire = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _signals = signals::Signals::open().unwrap();
    let mut helper = Helper::fork(plan()).unwrap();
    helper.remember(b"the route").unwrap();
    say(helper.up(&facts()));
    wait();
    say(helper.finish("sigterm"));
}

/// The shell reads its own status before it starts anything: it changes its mask around each fork.
const RECORD: &str = r#"
while read -r name value; do echo "$name $value"; done < /proc/self/status > $script_type.status
tr '\0' '\n' < /proc/$$/environ | sort > $script_type.environment
printf '<%s>' "$0" "$@" > $script_type.arguments
(for n in 0 1 2; do readlink /proc/$$/fd/$n; done) > $script_type.descriptors
# The one that started this may for a moment still hold what it made for that.
for look in 1 2 3 4 5 6 7 8; do
    ls -l /proc/$PPID/fd | grep -o '[-]> .*' > $script_type.parent
    [ $(wc -l < $script_type.parent) -gt 5 ] || break
done
umask > $script_type.umask
"#;

#[test]
fn the_scripts_get_exactly_the_documented_arguments_and_environment() {
    require_root();
    let place = Place::new("exact");
    place.script("up.sh", RECORD);
    place.script("down.sh", RECORD);
    let mut player = Player::start(at("helper", &place));
    assert_eq!(player.line(), "done");
    player.go_on();
    let (rest, status) = player.end();
    assert_eq!((rest.as_str(), status.success()), ("done\n", true));

    let common = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                  config=tun.conf\ndev=naptest7\ndev_type=tun\nmy_name=a_b\nscript_context=init\n";
    let peer = "trusted_ip=192.0.2.9\ntrusted_port=4711\ntun_mtu=1420\n";
    assert_eq!(place.read("up.environment"), format!("{common}script_type=up\n{peer}"));
    assert_eq!(place.read("down.environment"), format!("{common}script_type=down\nsignal=sigterm\n{peer}"));
    let tail = "<naptest7><1420><0><10.8.0.1><><init>";
    assert_eq!(place.read("up.arguments"), format!("<./up.sh><one word>{tail}"));
    assert_eq!(place.read("down.arguments"), format!("<./down.sh>{tail}"));
    assert_eq!(place.read("undone"), "the route");
}

#[test]
fn the_scripts_have_null_descriptors_no_blocked_signals_and_all_of_root() {
    require_root();
    let place = Place::new("clean");
    place.script("up.sh", RECORD);
    place.script("down.sh", RECORD);
    let player = Player::start(at("helper", &place));
    assert!(player.end().1.success());
    assert_eq!(place.read("up.descriptors"), "/dev/null\n".repeat(3));
    let status = place.read("up.status");
    let own = os_stage::status(std::process::id());
    for line in ["SigBlk: 0000000000000000\n", "Uid: 0\t0\t0\t0\n"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // Rust ignores SIGPIPE in the helper.
    let (_, ignored) = status.split_once("SigIgn: ").unwrap();
    let ignored = u64::from_str_radix(ignored.split('\n').next().unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << (libc::SIGPIPE - 1)), 0, "{status}");
    assert!(status.contains(&own["CapEff"]), "{status}");
    assert_eq!(place.read("up.umask"), "0022\n");
    // The helper itself: its end of the pair, the signals of its child, nothing of the parent's.
    let parent = place.read("up.parent");
    assert_eq!(parent.matches("/dev/null").count(), 3, "{parent}");
    assert_eq!(parent.matches("socket:").count(), 1, "{parent}");
    assert_eq!(parent.lines().count(), 5, "{parent}");
}

#[test]
fn a_hanging_script_is_killed_with_everything_it_started() {
    require_root();
    let place = Place::new("hang");
    place.script("up.sh", "echo $$ > group; sleep 600 & sleep 600");
    place.script("down.sh", "touch down");
    let start = Instant::now();
    let player = Player::start(at("helper", &place));
    let (said, _) = player.end();
    assert_eq!(said, "run the up script: it took too long and was killed\ndone\n");
    assert!(start.elapsed() < TIME_LIMIT);
    let group = place.read("group").trim().parse().unwrap();
    until("the end of the group", || {
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), None) == Err(nix::errno::Errno::ESRCH)
    });
    assert!(!place.0.join("down").exists(), "down ran without up");
    assert_eq!(place.read("undone"), "the route");
}

#[test]
fn a_failing_and_a_missing_script_are_reported_in_words() {
    require_root();
    let place = Place::new("fail");
    place.script("down.sh", "exit 4");
    let said = || Player::start(at("helper", &place)).end().0;
    assert_eq!(said(), "run the up script: run up.sh: no such file here or in PATH\ndone\n");
    place.script("up.sh", "exit 3");
    assert_eq!(said(), "run the up script: it exited with status 3\ndone\n");
    place.script("up.sh", "kill -9 $$");
    assert_eq!(said(), "run the up script: it was ended by signal 9\ndone\n");
    place.script("up.sh", "");
    assert_eq!(said(), "done\nrun the down script: it exited with status 4\n");
}

#[test]
fn a_script_that_leaves_a_process_behind_has_ended_all_the_same() {
    require_root();
    let place = Place::new("behind");
    place.script("up.sh", "sleep 600 & echo $! > pid");
    place.script("down.sh", "kill $(cat pid)");
    assert_eq!(Player::start(at("helper", &place)).end().0, "done\ndone\n");
}

fn victim() {
    let mut helper = Helper::fork(plan()).unwrap();
    helper.remember(b"replaced").unwrap();
    helper.remember(b"the routes").unwrap();
    say(helper.up(&facts()));
    wait();
}

#[test]
fn when_the_parent_is_killed_down_and_the_undo_run_and_the_helper_goes() {
    require_root();
    let place = Place::new("victim");
    place.script("up.sh", "");
    place.script("down.sh", RECORD);
    let mut player = Player::start(at("helper-of-a-victim", &place));
    assert_eq!(player.line(), "done");
    let [helper] = children(player.child.id())[..] else { panic!() };
    // What is sent to all of the program's processes ends the one that cleans up no sooner.
    let pid = nix::unistd::Pid::from_raw(helper.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    player.child.kill().unwrap();
    player.child.wait().unwrap();
    until("the undo", || place.read("undone") == "the routes");
    assert!(place.read("down.environment").contains("signal=unknown\n"));
    until("the end of the helper", || {
        let stat = std::fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

fn without_scripts() {
    let mut helper = Helper::fork(Plan { up: None, down: None, ..plan() }).unwrap();
    say(helper.up(&facts()));
    say(helper.finish("inactive"));
    let mut helper = Helper::fork(Plan { up: None, ..plan() }).unwrap();
    say(helper.up(&Facts { device: "../x".into(), ..facts() }));
    say(helper.finish("inactive"));
}

#[test]
fn a_malformed_name_is_refused_and_what_was_never_done_is_not_undone() {
    require_root();
    let place = Place::new("without");
    place.script("down.sh", "touch down");
    let said = Player::start(at("helper-without-scripts", &place)).end().0;
    assert_eq!(said, "done\ndone\nrun the up script: the device's name is malformed\ndone\n");
    assert!(!place.0.join("undone").exists() && !place.0.join("down").exists());
}

fn twice() {
    let mut helper = Helper::fork(plan()).unwrap();
    say(helper.up(&facts()));
    say(helper.up(&Facts { trusted: Some("[2001:db8::5]:1".parse().unwrap()), ..facts() }));
    say(helper.finish("not a word of OpenVPN's"));
}

#[test]
fn a_second_up_is_a_restart_and_a_strange_ending_is_unknown() {
    require_root();
    let place = Place::new("twice");
    place.script("up.sh", "echo $6$7 $script_context $trusted_ip$trusted_ip6 >> up");
    place.script("down.sh", "echo $signal > down");
    assert_eq!(Player::start(at("helper-twice", &place)).end().0, "done\ndone\ndone\n");
    assert_eq!(place.read("up"), "init init 192.0.2.9\nrestart restart 2001:db8::5\n");
    assert_eq!(place.read("down"), "unknown\n");
}

#[test]
fn a_script_that_others_could_have_put_there_is_refused() {
    require_root();
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    let place = Place::new("trust");
    let path = |name: &str| place.0.join(name).to_str().unwrap().to_owned();
    let cause = |name: &str| script::locate(&path(name)).unwrap_err().to_string();
    let mode =
        |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
    place.script("good", "");
    assert!(script::locate(&path("good")).is_ok());
    assert!(script::locate("sh").is_ok(), "a system directory may hold links");
    symlink(path("good"), path("link")).unwrap();
    assert!(cause("link").ends_with("link: is a symbolic link"), "{}", cause("link"));
    for (bits, words) in [(0o777, "others may write it"), (0o644, "is not executable")] {
        mode("good", bits);
        assert!(cause("good").ends_with(words), "{}", cause("good"));
    }
    mode("good", 0o775);
    assert!(script::locate(&path("good")).is_ok(), "root's group may write");
    chown(path("good"), None, Some(1)).unwrap();
    assert!(cause("good").ends_with("others may write it"));
    mode("good", 0o755);
    chown(path("good"), Some(1), None).unwrap();
    assert!(cause("good").ends_with("belongs to user 1"));
    chown(path("good"), Some(0), None).unwrap();
    mode("", 0o777);
    assert!(cause("good").contains("others may replace it: they may write /"), "{}", cause("good"));
    mode("", 0o700);
    std::fs::create_dir_all(path("above/below")).unwrap();
    place.script("above/below/deep", "");
    assert!(script::locate(&path("above/below/deep")).is_ok());
    mode("above", 0o777);
    assert!(cause("above/below/deep").ends_with("/above"), "{}", cause("above/below/deep"));
    mode("above", 0o1777);
    assert!(
        script::locate(&path("above/below/deep")).is_ok(),
        "nobody else may rename what is in a sticky one"
    );
    mode("above", 0o755);
    chown(path("above"), Some(1), None).unwrap();
    assert!(cause("above/below/deep").ends_with("/above"), "its owner may");
    assert!(cause("missing").ends_with("no such file or directory"));
    std::fs::create_dir(path("directory")).unwrap();
    assert!(cause("directory").ends_with("is not a file"));
}

// The resolver.

fn resolver() {
    let hosts = vec![("localhost".into(), 1194), ("no-such-name.invalid".into(), 1)];
    let nobody = Identity::lookup("nobody", None).unwrap();
    let _wire = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut resolver = Resolver::fork(hosts, Some(&nobody)).unwrap();
    assert!(resolver.answer().is_none() && resolver.request(2).is_err());
    for host in [0, 1] {
        resolver.request(host).unwrap();
        println!("{:?}", answer(&mut resolver).map_err(|_| "a reason"));
    }
    // The first question is withdrawn by the second.
    resolver.request(1).unwrap();
    resolver.request(0).unwrap();
    assert!(answer(&mut resolver).is_ok());
    println!("answered");
    wait();
    // The test has stopped it, and kills it once it is asked.
    resolver.request(0).unwrap();
    println!("asked");
    println!("{:?}", answer(&mut resolver));
    say(resolver.request(0));
    assert!(resolver.answer().is_none());
}

fn answer(resolver: &mut Resolver) -> Answer {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    loop {
        if let Some(answer) = resolver.answer() {
            return answer;
        }
        let fd = borrow(resolver.as_raw_fd());
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }
}

#[allow(unsafe_code)]
fn borrow(fd: i32) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: the resolver outlives the poll that this is for.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

#[test]
fn a_name_is_looked_up_by_a_process_without_any_privilege() {
    require_root();
    let mut player = Player::start(part_without_network("resolver"));
    let known = player.line();
    assert!(known.contains("127.0.0.1:1194") || known.contains("[::1]:1194"), "{known}");
    assert_eq!(player.line(), "Err(\"a reason\")");
    assert_eq!(player.line(), "answered");
    let [resolver] = children(player.child.id())[..] else { panic!() };
    let status = os_stage::status(resolver);
    let nobody = Identity::lookup("nobody", None).unwrap();
    assert_eq!(status["Uid"], vec![nobody.uid.to_string(); 4].join(" "));
    assert_eq!(status["Groups"], nobody.gid.to_string());
    for set in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0".repeat(16), "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    let signal =
        |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(resolver.cast_signed()), signal).unwrap();
    signal(nix::sys::signal::Signal::SIGSTOP);
    player.go_on();
    assert_eq!(player.line(), "asked");
    signal(nix::sys::signal::Signal::SIGKILL);
    let (rest, status) = player.end();
    assert_eq!(rest, "Err(\"the resolver is gone\")\nask the resolver: broken pipe\n");
    assert!(status.success(), "{status:?}");
}

// The background.

fn in_background(name: &str) -> u8 {
    let readiness = match background::detach().unwrap() {
        Side::Parent(Outcome::Ready) => return 0,
        Side::Parent(Outcome::Failed(code, reason)) => {
            println!("{reason}");
            return code;
        }
        Side::Parent(Outcome::Died(how)) => {
            println!("{how}");
            return 99;
        }
        Side::Child(readiness) => readiness,
    };
    match name {
        "ready" => {
            println!("before");
            readiness.ready().unwrap();
            println!("after");
            wait_for_file();
            let alone = nix::unistd::getsid(None).unwrap() == nix::unistd::getpid();
            let state = StateFile::open(&place().join("state"), Duration::ZERO).unwrap();
            std::fs::write(place().join("went on"), format!("{alone} {}", matches!(state, Opened::Ours(_))))
                .unwrap();
        }
        "failed" => readiness.failed(78, "the configuration is wrong"),
        "failed-with-success" => readiness.failed(0, "no"),
        "exited" => std::process::exit(3),
        "killed" => nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap(),
        _ => println!("there is no part {name}"),
    }
    0
}

fn wait_for_file() {
    until("the go", || place().join("go").exists());
}

fn detached(name: &str, place: &Place) -> (Option<i32>, String) {
    // output() waits for everybody who holds the pipe, so it also shows that the background has let go of it.
    let output = at(name, place).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_shell_gets_its_prompt_and_its_terminal_back_when_the_background_is_ready() {
    let place = Place::new("ready");
    assert_eq!(detached("ready", &place), (Some(0), "before\n".into()));
    assert!(!place.0.join("went on").exists());
    std::fs::write(place.0.join("go"), "").unwrap();
    until("the background", || place.read("went on") == "true true");
}

#[test]
fn a_failure_in_the_background_is_told_with_its_reason_and_code() {
    let place = Place::new("failed");
    assert_eq!(detached("failed", &place), (Some(78), "the configuration is wrong\n".into()));
    assert_eq!(detached("failed-with-success", &place), (Some(70), "no\n".into()));
}

#[test]
fn a_death_in_the_background_is_told_with_its_cause() {
    let place = Place::new("died");
    assert_eq!(detached("exited", &place), (Some(99), "it exited with status 3 and no reason\n".into()));
    assert_eq!(detached("killed", &place), (Some(99), "it was ended by SIGKILL\n".into()));
}
