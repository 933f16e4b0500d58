//! File descriptors at the start of the process: none of the standard streams may lead to the network.
#![allow(unsafe_code)]

use std::io::{self, Stderr, Stdin, Stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, isatty};

use crate::error::{Error, Exit, Result};

/// What fd 0 was before [`make_safe`] took it away.
#[derive(Debug)]
pub enum Inherited {
    /// An IPv4 or IPv6 datagram socket, now on a descriptor above 2 that closes on exec.
    Datagram(OwnedFd),
    /// A socket that cannot carry the tunnel; the text says which: "a stream socket".
    OtherSocket(&'static str),
    /// No socket; the text says what instead: "a terminal".
    None(&'static str),
}

/// The first statement of the process. Moves a super-server's socket off fd 0 and leaves nothing on 0, 1 and 2 that
/// a stray line could travel out on.
///
/// Under a super-server all three are the socket, and one print goes to whoever sent the first datagram. A unix socket
/// stays where it is: systemd hands out its journal as one. A closed descriptor becomes /dev/null, so that no file
/// opened later is taken for a standard stream; what else somebody left open is closed, but for systemd's socket.
///
/// Exits with `EX_OSERR`, without a word, if not even a descriptor can be made: there is nobody safe to tell.
pub fn make_safe() -> Inherited {
    close_strays();
    let inherited = match kind_of(io::stdin().as_fd()) {
        Kind::Internet(SockType::Datagram) => match above_standard(io::stdin().as_fd()) {
            Ok(socket) => Inherited::Datagram(socket),
            Err(_) => give_up(),
        },
        kind @ (Kind::Internet(_) | Kind::OtherSocket) => Inherited::OtherSocket(kind.words()),
        kind => Inherited::None(kind.words()),
    };
    let streams: [&dyn Standard; 3] = [&io::stdin(), &io::stdout(), &io::stderr()];
    for stream in streams {
        if matches!(kind_of(stream.fd()), Kind::Internet(_) | Kind::Closed) && silence(stream).is_err() {
            give_up();
        }
    }
    inherited
}

/// A descriptor of whoever started us may lead anywhere, and keeps its other end waiting for as long as we live.
fn close_strays() {
    let keep: &[RawFd] = if is_meant_by_systemd() { &[FROM_SYSTEMD] } else { &[] };
    // SAFETY: this is the process's first statement, and the standard library opens nothing before it: no object owns
    // a descriptor above 2.
    unsafe { close_others(keep) }
}

/// What cannot be served must not wake the next process at once, nor again and again.
fn give_up() -> ! {
    if let Kind::Internet(SockType::Datagram) = kind_of(io::stdin().as_fd()) {
        std::thread::sleep(GIVEN_UP);
        super::udp::drain(io::stdin().as_fd());
    }
    std::process::exit(Exit::Os as i32)
}

/// Forbids core files and inspection by other processes of the same user, and makes new files private: this process
/// will hold the key.
pub fn harden() -> Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|e| Error::new(Exit::Os, "forbid core files", e))?;
    prctl::set_dumpable(false).map_err(|e| Error::new(Exit::Os, "forbid inspection of the process", e))
}

/// As long as any process lives that a super-server has started in vain.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// The first descriptor of sd_listen_fds(3).
const FROM_SYSTEMD: RawFd = 3;

/// The socket that systemd passes by sd_listen_fds(3): fd 3, if `LISTEN_PID` names this process and `LISTEN_FDS`
/// is 1. Closes on exec from here on. Only the first call can return it.
pub fn systemd_socket() -> Option<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let socket = passed_by_systemd()?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: open, as fcntl has just shown, and ours by the protocol of sd_listen_fds(3), which names this process;
    // TAKEN makes sure that it gets one owner.
    Some(unsafe { OwnedFd::from_raw_fd(socket.as_raw_fd()) })
}

/// A second descriptor of the super-server's datagram socket, fd 3 of systemd included, which outlives the first.
pub fn second(inherited: &Inherited) -> Option<OwnedFd> {
    match inherited {
        Inherited::Datagram(socket) => socket.try_clone().ok(),
        Inherited::OtherSocket(_) | Inherited::None(_) => {
            let socket = passed_by_systemd()?;
            let datagrams = matches!(kind_of(socket), Kind::Internet(SockType::Datagram));
            above_standard(socket).ok().filter(|_| datagrams)
        }
    }
}

fn passed_by_systemd() -> Option<BorrowedFd<'static>> {
    // SAFETY: whoever is given it asks the kernel whether it is open; nothing else in this process has this number, for
    // it was open when the process began if what names it is true.
    is_meant_by_systemd().then(|| unsafe { BorrowedFd::borrow_raw(FROM_SYSTEMD) })
}

fn is_meant_by_systemd() -> bool {
    let named = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    named("LISTEN_PID") == Some(std::process::id()) && named("LISTEN_FDS") == Some(1)
}

/// Puts /dev/null over fds 0, 1 and 2.
pub fn silence_standard() -> Result<()> {
    let streams: [&dyn Standard; 3] = [&io::stdin(), &io::stdout(), &io::stderr()];
    streams
        .into_iter()
        .try_for_each(silence)
        .map_err(|e| Error::new(Exit::Os, "put /dev/null over the standard streams", e))
}

/// Closes every descriptor above 2 except those in `keep`.
///
/// # Safety
/// No object that owns one of the closed descriptors is used or dropped from here on.
pub(super) unsafe fn close_others(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep.into_iter().filter(|&fd| fd >= 3) {
        if kept > first {
            close_range(first, kept - 1);
        }
        first = kept + 1;
    }
    close_range(first, u32::MAX);
}

/// What a descriptor leads to.
enum Kind {
    Internet(SockType),
    OtherSocket,
    Terminal,
    Pipe,
    File,
    Device,
    Closed,
}

impl Kind {
    fn words(&self) -> &'static str {
        match self {
            Kind::Internet(SockType::Datagram) => "a datagram socket",
            Kind::Internet(SockType::Stream) => "a stream socket",
            Kind::Internet(_) => "a raw socket",
            Kind::OtherSocket => "a socket, but not of the Internet",
            Kind::Terminal => "a terminal",
            Kind::Pipe => "a pipe",
            Kind::File => "a file",
            Kind::Device => "a device",
            Kind::Closed => "closed",
        }
    }
}

fn kind_of(fd: BorrowedFd<'_>) -> Kind {
    let Ok(stat) = fstat(fd) else { return Kind::Closed };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFSOCK => socket_kind(fd),
        SFlag::S_IFIFO => Kind::Pipe,
        SFlag::S_IFCHR if isatty(fd) == Ok(true) => Kind::Terminal,
        SFlag::S_IFCHR | SFlag::S_IFBLK => Kind::Device,
        _ => Kind::File,
    }
}

fn socket_kind(fd: BorrowedFd<'_>) -> Kind {
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok().and_then(|address| address.family());
    if !matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6)) {
        return Kind::OtherSocket;
    }
    Kind::Internet(getsockopt(&fd, sockopt::SockType).unwrap_or(SockType::Raw))
}

fn above_standard(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let moved = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// One of the three standard streams, and how to replace what it leads to.
trait Standard {
    fn fd(&self) -> BorrowedFd<'_>;
    fn replace(&self, by: &OwnedFd) -> nix::Result<()>;
}

impl Standard for Stdin {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
    fn replace(&self, by: &OwnedFd) -> nix::Result<()> {
        dup2_stdin(by)
    }
}

impl Standard for Stdout {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
    fn replace(&self, by: &OwnedFd) -> nix::Result<()> {
        dup2_stdout(by)
    }
}

impl Standard for Stderr {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
    fn replace(&self, by: &OwnedFd) -> nix::Result<()> {
        dup2_stderr(by)
    }
}

fn silence(stream: &dyn Standard) -> nix::Result<()> {
    let null = nowhere()?;
    if null.as_raw_fd() != stream.fd().as_raw_fd() {
        return stream.replace(&null);
    }
    // The stream was closed and the open has filled its place: it must stay open, and open across exec.
    fcntl(&null, FcntlArg::F_SETFD(FdFlag::empty()))?;
    std::mem::forget(null);
    Ok(())
}

/// /dev/null, or where there is none (a bare chroot) a pipe that nobody writes to: reads end, writes fail.
fn nowhere() -> nix::Result<OwnedFd> {
    match open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT | Errno::EACCES) => Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?.0),
        opened => opened,
    }
}

/// close_range(2); kernels before 5.9 lack it, there the open ones are looked up.
fn close_range(first: u32, last: u32) {
    // SAFETY: takes three numbers and no memory. What closing means to the owners is the caller's promise (close_others).
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<u32> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as above; a number that is not open any more (read_dir's own) is refused by the kernel.
        unsafe { libc::close(fd.cast_signed()) };
    }
}
