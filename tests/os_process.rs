//! The process as the kernel sees it: its descriptors, its privileges, and what the sandboxes let it do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code)]

mod os_stage;

use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use naptun::os::clock;
use naptun::os::descriptors::{self, Inherited};
use naptun::os::privileges::{self, Capability, Identity, Reduction};
use naptun::os::sandbox::{self, Landlocked};
use naptun::os::signals::{Signal, Signals};
use naptun::os::state_file::{Opened, StateFile};
use os_stage::{PLACE, Place, Player, part_without_network, place, require_root, wait};

/// What the child processes do.
pub fn part(name: &str) -> u8 {
    match name {
        "super-server" => super_server(),
        "kind" => return kind(),
        "strays" => strays(),
        "systemd" => systemd(),
        "harden" => harden(),
        "reduced" => reduced(),
        "unprivileged" => unprivileged(),
        "dropped" => dropped(),
        "no-landlock" => no_landlock(),
        "work" => work(),
        "signals" => signals(),
        "lock-memory" => lock_memory(privileges::mlock),
        "lock-memory-in-use" => lock_memory(privileges::mlock_in_use),
        _ => forbidden(name),
    }
    0
}

fn run(name: &str) -> std::process::Output {
    os_stage::part(name).stderr(Stdio::inherit()).output().unwrap()
}

fn text(output: std::process::Output) -> String {
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

// Descriptors.

fn super_server() {
    let inherited = descriptors::make_safe();
    println!("a stray line on stdout");
    eprintln!("a stray line on stderr");
    std::io::stdout().flush().unwrap();
    let Inherited::Datagram(socket) = inherited else { panic!("{inherited:?}") };
    let flags = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert!(socket.as_raw_fd() > 2 && flags == libc::FD_CLOEXEC);
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    UdpSocket::from(socket).send(b"on purpose").unwrap();
}

#[test]
fn under_a_super_server_nothing_printed_goes_out_on_the_wire() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A super-server's socket is not connected; this one is so that a stray write would have somewhere to go.
    socket.connect(sink.local_addr().unwrap()).unwrap();
    let copy = || Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
    let status = os_stage::part("super-server").stdin(copy()).stdout(copy()).stderr(copy()).status().unwrap();
    assert!(status.success(), "{status:?}");
    let mut buffer = [0; 100];
    let length = sink.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"on purpose");
    sink.set_nonblocking(true).unwrap();
    assert_eq!(sink.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn kind() -> u8 {
    let words = match descriptors::make_safe() {
        Inherited::Datagram(_) => "datagram",
        Inherited::OtherSocket(words) | Inherited::None(words) => words,
    };
    let open = (0..3).all(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    println!("{words}");
    u8::from(!open)
}

#[test]
fn what_fd_0_is_instead_of_a_datagram_socket_is_said_in_words() {
    let kind = |stdin: Stdio| text(os_stage::part("kind").stdin(stdin).output().unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, _other) = UnixDatagram::pair().unwrap();
    assert_eq!(kind(OwnedFd::from(listener).into()), "a stream socket\n");
    assert_eq!(kind(OwnedFd::from(one).into()), "a socket, but not of the Internet\n");
    assert_eq!(kind(Stdio::piped()), "a pipe\n");
    assert_eq!(kind(Stdio::null()), "a device\n");
    assert_eq!(kind(std::fs::File::open("/etc/passwd").unwrap().into()), "a file\n");
}

#[test]
fn closed_standard_streams_are_filled_with_dev_null() {
    let mut command = os_stage::part("kind");
    // SAFETY: close(2) only, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::close(0);
            libc::close(2);
            Ok(())
        })
    };
    assert_eq!(text(command.stdout(Stdio::piped()).output().unwrap()), "closed\n");
}

/// Descriptors 7 and 9 came with the process, and 3 as systemd's socket would.
fn strays() {
    for meant in [true, false] {
        let pid = std::process::id() + u32::from(!meant);
        // SAFETY: this process has one thread.
        unsafe {
            std::env::set_var("LISTEN_PID", pid.to_string());
            std::env::set_var("LISTEN_FDS", "1");
        }
        descriptors::make_safe();
        let open = (3..100).filter(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
        println!("{:?}", open.collect::<Vec<_>>());
    }
}

#[test]
fn descriptors_that_somebody_left_open_are_closed_but_for_the_socket_of_systemd() {
    let mut command = os_stage::part("strays");
    // SAFETY: dup2(2) only, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            [3, 7, 9].iter().for_each(|&fd| assert_eq!(libc::dup2(0, fd), fd));
            Ok(())
        })
    };
    assert_eq!(text(command.stdin(Stdio::null()).stdout(Stdio::piped()).output().unwrap()), "[3]\n[]\n");
}

fn systemd() {
    // SAFETY: this process has one thread.
    let set = |pid: u32, fds: &str| unsafe {
        std::env::set_var("LISTEN_PID", pid.to_string());
        std::env::set_var("LISTEN_FDS", fds);
    };
    assert!(descriptors::systemd_socket().is_none());
    set(std::process::id() + 1, "1");
    assert!(descriptors::systemd_socket().is_none());
    set(std::process::id(), "2");
    assert!(descriptors::systemd_socket().is_none());
    set(std::process::id(), "1");
    let found = descriptors::systemd_socket().unwrap();
    assert!(descriptors::systemd_socket().is_none(), "one descriptor, two owners");
    let kind = nix::sys::socket::getsockopt(&found, nix::sys::socket::sockopt::SockType);
    assert_eq!(kind, Ok(nix::sys::socket::SockType::Datagram));
    assert_eq!(nix::fcntl::fcntl(&found, nix::fcntl::FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    println!("{}", UdpSocket::from(found).local_addr().unwrap());
}

#[test]
fn the_socket_of_systemd_is_taken_once_and_only_if_meant_for_this_process() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = os_stage::part("systemd");
    command.stdin(OwnedFd::from(socket));
    // SAFETY: dup2(2) only, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::dup2(0, 3);
            Ok(())
        })
    };
    assert_eq!(text(command.stdout(Stdio::piped()).output().unwrap()), format!("{address}\n"));
}

fn harden() {
    descriptors::harden().unwrap();
    std::fs::write(place().join("file"), "").unwrap();
    println!("hardened");
    wait();
}

#[test]
fn a_hardened_process_leaves_no_core_and_makes_private_files() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new("harden");
    let mut command = os_stage::part("harden");
    command.env(PLACE, &place.0);
    let mut player = Player::start(command);
    assert_eq!(player.line(), "hardened");
    let pid = player.child.id();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert_eq!(limit(&limits, "Max core file size"), "0 0");
    assert_eq!(std::fs::metadata(place.0.join("file")).unwrap().mode() & 0o777, 0o600);
    // The files in /proc of a process that is not dumpable belong to root; as root, ask the kernel itself.
    assert_eq!(player.status().get("CoreDumping").map(String::as_str), Some("0"));
    assert!(player.end().1.success());
}

fn limit(limits: &str, name: &str) -> String {
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn signals() {
    let signals = Signals::open().unwrap();
    println!("open");
    let mut heard = Vec::new();
    while heard.len() < 5 {
        match signals.next() {
            Some(signal) => heard.push(signal.name()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    heard.sort_unstable();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    assert_eq!(nix::unistd::write(writer, b"x"), Err(nix::errno::Errno::EPIPE));
    assert_eq!(signals.next(), None::<Signal>);
    println!("{}", heard.join(" "));
}

#[test]
fn every_signal_of_the_administrator_is_read_and_none_ends_the_process() {
    let mut player = Player::start(os_stage::part("signals"));
    assert_eq!(player.line(), "open");
    let pid = nix::unistd::Pid::from_raw(player.child.id().cast_signed());
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
        nix::sys::signal::kill(pid, signal).unwrap();
    }
    let (said, status) = player.end();
    assert_eq!((said.as_str(), status.code()), ("SIGHUP SIGINT SIGTERM SIGUSR1 SIGUSR2\n", Some(0)));
}

// Privileges.

const NET_ADMIN: u64 = 1 << 12;
const DAC_OVERRIDE: u64 = 1 << 1;
const DEVICE: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_DAC_OVERRIDE];

fn nobody() -> Identity {
    Identity::lookup("nobody", None).unwrap()
}

/// The five capability sets, the ids, the groups and the two flags, as the kernel shows them.
fn assert_privileges(player: &Player, capabilities: u64, seccomp: &str) {
    let status = player.status();
    let (uid, gid) = (nobody().uid.to_string(), nobody().gid.to_string());
    let field = |name: &str| status.get(name).cloned().unwrap_or_default();
    assert_eq!(field("Uid"), [uid.as_str(); 4].join(" "));
    assert_eq!(field("Gid"), [gid.as_str(); 4].join(" "));
    assert_eq!(field("Groups"), gid);
    for (name, expected) in
        [("CapPrm", capabilities), ("CapEff", capabilities), ("CapInh", 0), ("CapBnd", 0), ("CapAmb", 0)]
    {
        assert_eq!(field(name), format!("{expected:016x}"), "{name}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", seccomp));
}

fn reduced() {
    nix::unistd::setgroups(&[1, 2, 3].map(nix::unistd::Gid::from_raw)).unwrap();
    assert_eq!(privileges::reduce(&nobody(), &DEVICE).unwrap(), Reduction::Complete);
    assert!(!nix::sys::prctl::get_dumpable().unwrap());
    assert_eq!(sandbox::reduced().unwrap(), Landlocked::Enforced);
    println!("reduced");
    wait();
    let device = tun_tap::Iface::without_packet_info("naptest0", tun_tap::Mode::Tun).unwrap();
    println!("made {}", device.name());
    for path in ["/etc/passwd", "/etc/shadow", "/dev/null", "/proc/self/status"] {
        assert_eq!(std::fs::File::open(path).unwrap_err().kind(), ErrorKind::PermissionDenied, "{path}");
    }
    let file = std::fs::write("/tmp/naptun-must-not-exist", "");
    assert_eq!(file.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(std::fs::read_dir("/").is_err());
    assert_eq!(Command::new("/bin/true").spawn().unwrap_err().kind(), ErrorKind::PermissionDenied);
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    assert_eq!(listener.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let init = nix::sys::signal::kill(nix::unistd::getppid(), None);
    assert_eq!(init, Err(nix::errno::Errno::EPERM));
    println!("nothing else");
}

#[test]
fn a_reduced_process_can_make_the_device_and_nothing_else() {
    require_root();
    let mut player = Player::start(part_without_network("reduced"));
    assert_eq!(player.line(), "reduced");
    assert_privileges(&player, NET_ADMIN | DAC_OVERRIDE, "0");
    player.go_on();
    assert_eq!(player.line(), "made naptest0");
    let (rest, status) = player.end();
    assert_eq!((rest.as_str(), status.code()), ("nothing else\n", Some(0)));
}

fn unprivileged() {
    // As a file capability or systemd's AmbientCapabilities leaves it: an ordinary user with one capability.
    nix::sys::prctl::set_keepcaps(true).unwrap();
    let uid = nix::unistd::Uid::from_raw(12345);
    nix::unistd::setresuid(uid, uid, uid).unwrap();
    let one = std::collections::HashSet::from([Capability::CAP_NET_ADMIN]);
    caps::set(None, caps::CapSet::Permitted, &one).unwrap();
    caps::set(None, caps::CapSet::Inheritable, &one).unwrap();
    caps::raise(None, caps::CapSet::Ambient, Capability::CAP_NET_ADMIN).unwrap();
    let Reduction::Partial(remains) = privileges::reduce(&nobody(), &DEVICE).unwrap() else { panic!() };
    remains.iter().for_each(|line| println!("{line}"));
    println!("{:?}", caps::read(None, caps::CapSet::Effective).unwrap());
    assert!(caps::read(None, caps::CapSet::Ambient).unwrap().is_empty());
    assert!(matches!(privileges::drop_all().unwrap(), Reduction::Partial(_)));
    println!("{:?}", caps::read(None, caps::CapSet::Permitted).unwrap());
}

#[test]
fn a_process_that_was_not_started_as_root_gives_up_what_it_can_and_says_what_remains() {
    require_root();
    let expected = "user 12345 stays: becoming nobody needs root\n\
                    the bounding set stays: clearing it needs CAP_SETPCAP\n\
                    there is no CAP_DAC_OVERRIDE to keep\n\
                    {CAP_NET_ADMIN}\n{}\n";
    assert_eq!(text(run("unprivileged")), expected);
}

fn dropped() {
    let error = privileges::drop_all().unwrap_err().to_string();
    assert!(error.contains("could become root"), "still root: {error}");
    privileges::nice(5).unwrap();
    println!("refused");
}

#[test]
fn giving_up_everything_while_still_root_is_an_error() {
    require_root();
    assert_eq!(text(run("dropped")), "refused\n");
}

// The sandbox of the pump.

/// As far as the pump, on the path that the program takes.
fn into_the_pump(files_grow: bool) {
    privileges::reduce(&nobody(), &DEVICE).unwrap();
    assert_eq!(sandbox::reduced().unwrap(), Landlocked::Enforced);
    assert_eq!(privileges::drop_all().unwrap(), Reduction::Complete);
    assert_eq!(sandbox::pump(files_grow).unwrap(), Landlocked::Enforced);
}

fn no_landlock() {
    let rules = std::collections::BTreeMap::from([(libc::SYS_landlock_create_ruleset, vec![])]);
    let missing = seccompiler::SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter =
        seccompiler::SeccompFilter::new(rules, seccompiler::SeccompAction::Allow, missing, arch).unwrap();
    seccompiler::apply_filter(&seccompiler::BpfProgram::try_from(filter).unwrap()).unwrap();
    assert_eq!(sandbox::reduced().unwrap(), Landlocked::NotSupported);
    assert_eq!(sandbox::pump(false).unwrap(), Landlocked::NotSupported);
    println!("told");
}

#[test]
fn a_kernel_without_landlock_is_told_apart_and_the_rest_of_the_sandbox_stands() {
    require_root();
    assert_eq!(text(run("no-landlock")), "told\n");
}

/// All that the pump does, in one go: the sandbox must not be too tight.
fn work() {
    let place = place();
    clock::load_zone();
    let syslog = UnixDatagram::unbound().unwrap();
    syslog.set_nonblocking(true).unwrap();
    let Opened::Ours(mut state) = StateFile::open(&place.join("state"), Duration::ZERO).unwrap() else {
        panic!()
    };
    let signals = Signals::open().unwrap();
    let mut status = std::fs::File::create(place.join("status")).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut poll = mio::Poll::new().unwrap();
    poll.registry()
        .register(&mut mio::unix::SourceFd(&udp.as_raw_fd()), mio::Token(0), mio::Interest::READABLE)
        .unwrap();
    let here = udp.local_addr().unwrap();
    into_the_pump(true);

    println!("in the pump");
    wait();
    peer.send_to(b"datagram", here).unwrap();
    let mut events = mio::Events::with_capacity(8);
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    assert_eq!(udp.recv_from(&mut [0; 100]).unwrap().0, 8);
    nix::sys::socket::setsockopt(&udp, nix::sys::socket::sockopt::UdpGroSegment, &true).unwrap();
    assert!(udp.take_error().unwrap().is_none());
    syslog.send_to(format!("{} line", clock::local_time().rfc3164()).as_bytes(), place.join("log")).unwrap();
    state.write([7; 24]).unwrap();
    state.flush().unwrap();
    for text in ["a longer status", "short"] {
        use std::io::{Seek, SeekFrom};
        status.seek(SeekFrom::Start(0)).unwrap();
        status.write_all(text.as_bytes()).unwrap();
        status.set_len(u64::try_from(text.len()).unwrap()).unwrap();
    }
    let mut memory: Vec<u8> = vec![1; 64 << 20];
    memory.extend_from_slice(&[2; 1 << 20]);
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    let map: std::collections::HashMap<u8, u8> = random.iter().map(|&byte| (byte, 1)).collect();
    assert!(!map.is_empty() && memory.len() > 64 << 20);
    assert!(clock::boot() > Duration::ZERO && clock::wall_micros() > 0 && signals.next().is_none());
    assert_eq!(nix::sys::wait::waitpid(None, None), Err(nix::errno::Errno::ECHILD));
    drop((poll, udp, state, memory));
    println!("survived on {}", clock::local_time());
}

#[test]
fn all_that_the_pump_does_survives_its_sandbox_and_all_privileges_are_gone() {
    require_root();
    let place = Place::new("work");
    let log = UnixDatagram::bind(place.0.join("log")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(place.0.join("log"), open(0o666)).unwrap();
    let mut command = os_stage::part("work");
    command.env(PLACE, &place.0);
    let mut player = Player::start(command);
    assert_eq!(player.line(), "in the pump");
    assert_privileges(&player, 0, "2");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", player.child.id())).unwrap();
    assert_eq!(limit(&limits, "Max processes"), "0 0");
    assert_eq!(limit(&limits, "Max open files"), "3 3");
    assert_eq!(limit(&limits, "Max core file size"), "0 0");
    player.go_on();
    let (rest, status) = player.end();
    assert!(rest.starts_with("survived on 20") && status.success(), "{rest:?} {status:?}");
    let mut line = [0; 100];
    let length = log.recv(&mut line).unwrap();
    assert!(line[..length].ends_with(b"line"));
    assert_eq!(place.read("status"), "short");
    let Opened::Ours(state) = StateFile::open(&place.0.join("state"), Duration::ZERO).unwrap() else {
        panic!()
    };
    assert_eq!(state.read(), Some([7; 24]));
}

/// Each would be an escape, or the first step of one.
const FORBIDDEN: [&str; 16] = [
    "exec",
    "fork",
    "open",
    "socket",
    "ioctl",
    "fcntl",
    "kill",
    "tgkill",
    "setuid",
    "prctl",
    "executable-memory",
    "executable-protection",
    "setsockopt",
    "getsockopt",
    "unlink",
    "x32",
];

fn forbidden(name: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    if name == "grow" {
        let file = std::fs::File::create(place().join("file")).unwrap();
        into_the_pump(false);
        println!("in the pump");
        let _ = std::os::unix::fs::FileExt::write_at(&file, b"x", 4095);
        println!("the run file's size is allowed");
        let _ = std::os::unix::fs::FileExt::write_at(&file, b"x", 4096);
        return;
    }
    into_the_pump(true);
    println!("in the pump");
    // SAFETY: none of these returns, or it touches no memory of ours.
    unsafe {
        match name {
            "exec" => drop(Command::new("/bin/true").exec()),
            "fork" => drop(libc::fork()),
            "open" => drop(std::fs::File::open("/etc/passwd")),
            "socket" => drop(UdpSocket::bind("127.0.0.1:0")),
            "ioctl" => drop(socket.set_nonblocking(true)),
            "fcntl" => drop(socket.try_clone()),
            "kill" => drop(libc::kill(libc::getppid(), 0)),
            "tgkill" => drop(libc::syscall(libc::SYS_tgkill, 1, 1, 0)),
            "setuid" => drop(nix::unistd::setuid(nix::unistd::Uid::from_raw(0))),
            "prctl" => drop(nix::sys::prctl::set_dumpable(true)),
            "executable-memory" => drop(map(libc::PROT_READ | libc::PROT_EXEC)),
            "executable-protection" => {
                let page = map(libc::PROT_READ | libc::PROT_WRITE);
                libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC);
            }
            "setsockopt" => drop(socket.set_broadcast(true)),
            "getsockopt" => drop(socket.broadcast()),
            "unlink" => drop(std::fs::remove_file("/tmp/naptun-none")),
            // The x32 number of getpid: the same architecture to the kernel, another table.
            "x32" => drop(libc::syscall(0x4000_0000 + libc::SYS_getpid)),
            "abort" => libc::abort(),
            _ => println!("there is no part {name}"),
        }
    }
    println!("still alive");
}

unsafe fn map(protection: i32) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) }
}

#[test]
fn whatever_is_not_on_the_list_kills_the_pump() {
    require_root();
    for name in FORBIDDEN {
        let output = run(name);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((said.as_str(), output.status.signal()), ("in the pump\n", Some(libc::SIGSYS)), "{name}");
    }
}

#[test]
fn an_abort_in_the_pump_is_an_abort() {
    require_root();
    let output = run("abort");
    assert_eq!(output.stdout, b"in the pump\n");
    assert_eq!((output.status.signal(), output.status.core_dumped()), (Some(libc::SIGABRT), false));
}

#[test]
fn without_log_and_status_files_no_file_grows_beyond_the_run_file() {
    require_root();
    let place = Place::new("grow");
    let output = os_stage::part("grow").env(PLACE, &place.0).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in the pump\nthe run file's size is allowed\n");
    assert_eq!(output.status.signal(), Some(libc::SIGXFSZ));
    assert_eq!(std::fs::metadata(place.0.join("file")).unwrap().len(), 4096);
}

fn lock_memory(lock: impl Fn() -> naptun::error::Result<()>) {
    match lock() {
        Ok(()) => println!("locked"),
        Err(error) => println!("{error}"),
    }
    wait();
}

#[test]
fn memory_is_locked_or_the_refusal_says_what_is_missing() {
    require_root();
    for part in ["lock-memory", "lock-memory-in-use"] {
        let mut player = Player::start(os_stage::part(part));
        let said = player.line();
        if said == "locked" {
            assert_ne!(player.status().get("VmLck").map(String::as_str), Some("0 kB"));
        } else {
            assert!(said.ends_with("needs CAP_SYS_RESOURCE or a memlock limit of 32 MiB"), "{said}");
        }
    }
}
