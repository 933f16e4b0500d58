//! The process that holds the lock of a file: known from the kernel's own list, ended without a chance to end another.
#![allow(unsafe_code)]

use std::fs::{File, Metadata};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// A process. It stays this one, whatever becomes of its number.
#[derive(Debug)]
pub struct Holder {
    pid: u32,
    descriptor: OwnedFd,
}

impl Holder {
    /// Who holds the flock(2) of `file`, an opening of our own of the same file. `None` where there is nobody, or the
    /// kernel does not tell.
    ///
    /// What the file says of its holder is not asked: who may write it could have root end any process.
    pub fn of(file: &File) -> Option<Self> {
        let pid = holder(file)?;
        let descriptor = pidfd_open(pid).ok()?;
        // The number may have come to another process before it was opened, but then it holds no lock.
        (holder(file) == Some(pid)).then_some(Self { pid, descriptor })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        let (fd, signal) = (self.descriptor.as_raw_fd(), signal as libc::c_int);
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a live descriptor, a number, and a null pointer, for which the kernel fills in what kill(2) would.
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) }).map(drop)
    }
}

fn holder(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().filter_map(Flock::parse).find(|lock| lock.is_of(&meta)).map(|lock| lock.pid)
}

/// One exclusive lock of flock(2), as proc(5) lists it.
#[derive(Debug, PartialEq, Eq)]
struct Flock {
    pid: u32,
    device: (u32, u32),
    inode: u64,
}

impl Flock {
    /// `1: FLOCK  ADVISORY  WRITE 2847 fd:01:1706134 0 EOF`: number of the device in hexadecimal, of the inode not.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, _, access) = (words.next()?, words.next()?, words.next()?);
        if (kind, access) != ("FLOCK", "WRITE") {
            return None;
        }
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 1)?;
        let mut file = words.next()?.split(':');
        let mut number = || u32::from_str_radix(file.next()?, 16).ok();
        let device = (number()?, number()?);
        Some(Self { pid, device, inode: file.next()?.parse().ok()? })
    }

    fn is_of(&self, meta: &Metadata) -> bool {
        let device = (libc::major(meta.dev()), libc::minor(meta.dev()));
        self.inode == meta.ino() && (self.device == device || self.has_open(meta))
    }

    /// On an overlay the two numbers of the device differ, but there only: is it the file that the process has open?
    fn has_open(&self, meta: &Metadata) -> bool {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid));
        descriptors.into_iter().flatten().flatten().any(|entry| {
            let open = std::fs::metadata(entry.path());
            open.is_ok_and(|open| (open.dev(), open.ino()) == (meta.dev(), meta.ino()))
        })
    }
}

/// pidfd_open(2), since Linux 5.3.
fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: takes two numbers and no memory.
    let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(opened).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor, so nothing else owns it; it closes on exec by itself.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exclusive_lock_that_is_held_counts() {
        let held = Flock { pid: 2847, device: (0xfd, 1), inode: 1_706_134 };
        assert_eq!(Flock::parse("7: FLOCK  ADVISORY  WRITE 2847 fd:01:1706134 0 EOF"), Some(held));
        for other in [
            "7: POSIX  ADVISORY  WRITE 2847 fd:01:1706134 0 EOF",
            "7: FLOCK  ADVISORY  READ 2847 fd:01:1706134 0 EOF",
            "7: -> FLOCK  ADVISORY  WRITE 2847 fd:01:1706134 0 EOF",
            "7: FLOCK  ADVISORY  WRITE -1 fd:01:1706134 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 0 fd:01:1706134 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 1 fd:01:1706134 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 2847 fd:1706134 0 EOF",
            "7: FLOCK  ADVISORY",
            "",
        ] {
            assert_eq!(Flock::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_lock_is_known_by_the_file_and_not_by_its_number_alone() {
        let [ours, other] = ["/proc/self/exe", "/dev/null"].map(|path| std::fs::metadata(path).unwrap());
        let own = std::process::id();
        let lock = |device, meta: &Metadata| Flock { pid: own, device, inode: meta.ino() };
        assert!(lock((libc::major(ours.dev()), libc::minor(ours.dev())), &ours).is_of(&ours));
        assert!(!lock((4095, 4095), &ours).is_of(&ours), "not open in this process");
        assert!(!lock((libc::major(other.dev()), libc::minor(other.dev())), &other).is_of(&ours));
        let _open = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(lock((4095, 4095), &ours).is_of(&ours), "as on an overlay");
    }
}
