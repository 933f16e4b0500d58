//! What the process may still ask the kernel for: with the device to be made, almost nothing; once it is made, less.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use crate::error::{Error, Exit, Result};
use crate::os::{run_file, state_file};

/// The node through which tun and tap devices are made (Documentation/networking/tuntap.rst of the kernel).
const TUN: &str = "/dev/net/tun";

/// Whether the kernel took the Landlock rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlocked {
    /// It did, as far as its version knows them.
    Enforced,
    /// It has no Landlock (before 5.13, or not enabled): worth a notice in the log.
    NotSupported,
}

/// Landlock for the time between the reduction of privileges and the device: of all files /dev/net/tun can be opened,
/// for reading, writing and ioctl; no TCP; no signal to any other process.
///
/// The present thread is the process's only one; what is open stays usable. Sets no_new_privs.
pub fn reduced() -> Result<Landlocked> {
    let act = || Error::new(Exit::Unavailable, format!("open {TUN}"), "it is missing").advise("modprobe tun");
    let node = PathFd::new(TUN).map_err(|_| act())?;
    let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    landlock(|rules| rules.add_rule(PathBeneath::new(node, access)))
}

/// The sandbox that the tunnel runs in, entered once everything is open: Landlock without any path, limits, and a list
/// of system calls. Whoever calls another one is killed (SIGSYS), all of the process at once.
///
/// `files_grow` says that a log or status file of ours is open; without it no file can grow beyond [`run_file::SIZE`].
/// The present thread is the process's only one. There is no way back.
pub fn pump(files_grow: bool) -> Result<Landlocked> {
    // Before the limits: a ruleset is a descriptor while it is built.
    let landlocked = landlock(Ok)?;
    limits(files_grow).map_err(|e| Error::new(Exit::Os, "set resource limits", e))?;
    let refused = |e: &dyn std::fmt::Display| Error::new(Exit::Os, "restrict system calls", e);
    let filter = filter().map_err(|e| refused(&e))?;
    apply_filter(&filter).map_err(|e| refused(&e).advise("the kernel must have CONFIG_SECCOMP_FILTER"))?;
    Ok(landlocked)
}

/// The filter of [`pump`], ready for the kernel. Some tens of microseconds.
fn filter() -> std::result::Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(calls()?, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

fn landlock(
    rules: impl FnOnce(RulesetCreated) -> std::result::Result<RulesetCreated, landlock::RulesetError>,
) -> Result<Landlocked> {
    let restrict = || {
        // ABI 5 is the last whose file rights all are to be refused; a later one covers sending to a unix socket by
        // path, which is what syslog is.
        let rules_for = Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V4))?
            .scope(BitFlags::from(Scope::Signal) | Scope::AbstractUnixSocket)?
            .create()?;
        rules(rules_for)?.restrict_self()
    };
    let status = restrict().map_err(|e| Error::new(Exit::Os, "restrict files with Landlock", e))?;
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => Landlocked::NotSupported,
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Landlocked::Enforced,
    })
}

/// 0, 1 and 2 are always open, so a limit of three descriptors leaves no number for a new one, however it might come
/// about; poll(2) takes no more than this many at once.
fn limits(files_grow: bool) -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, 3, 3)?;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if files_grow {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_FSIZE, LONGEST, LONGEST)
}

/// The run file's, the longer one of the two that are always there.
const LONGEST: u64 = run_file::SIZE as u64;
const _: () = assert!(LONGEST >= state_file::SIZE);

type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// The list. A call with no rules is allowed with any arguments, otherwise one of its rules must hold.
fn calls() -> std::result::Result<Calls, seccompiler::BackendError> {
    let mut calls: Calls = PLAIN.iter().map(|&call| (call, Vec::new())).collect();
    // The allocator's memory; never executable, so that no code can be brought in.
    calls.insert(libc::SYS_mmap, vec![no_exec()?]);
    calls.insert(libc::SYS_mprotect, vec![no_exec()?]);
    // abort(3) signals itself, and only itself is allowed. The thread id in the second place may be any.
    calls.insert(libc::SYS_tgkill, vec![rule(&[(0, SeccompCmpOp::Eq, u64::from(std::process::id()))])?]);
    // Builds with debug assertions look whether a descriptor is open before they close it.
    calls.insert(libc::SYS_fcntl, vec![rule(&[(1, SeccompCmpOp::Eq, FLAGS_OF_DESCRIPTOR)])?]);
    calls.insert(libc::SYS_setsockopt, options(SETTABLE)?);
    calls.insert(libc::SYS_getsockopt, options(READABLE)?);
    Ok(calls)
}

/// F_GETFD: only reads.
const FLAGS_OF_DESCRIPTOR: u64 = 1;

/// Allowed with any arguments.
const PLAIN: &[i64] = &[
    // The device, the helpers' sockets, signalfd; the log on stderr or in a file.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // The tunnel's socket. A full path goes with each sendto to syslog: its datagram socket stays unconnected.
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendto,
    // The event loop; which of them mio and its C library use depends on their versions.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // Waiting for one answer of a helper.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    // Where the vDSO cannot read the clock (some virtual machines).
    libc::SYS_clock_gettime,
    // Ephemeral keys, padding, jitter.
    libc::SYS_getrandom,
    // The state file and the run file; the status file is rewritten in place.
    libc::SYS_pwrite64,
    libc::SYS_fdatasync,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    // The end: the device goes with its descriptor, the lock with the state file's.
    libc::SYS_close,
    // The allocator, together with mmap and mprotect.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // Locks of the standard library and of localtime_r, uncontended in one thread but for their first use.
    libc::SYS_futex,
    // Return from a handler, abort(3), and the signal stack that the standard library gives back at exit.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // The kernel's own way to go on with an interrupted wait after SIGSTOP and SIGCONT.
    libc::SYS_restart_syscall,
    // The helpers' status.
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Level and option: path MTU and traffic class, segmentation offload, and the packet information that is switched
/// off again before the socket goes back to the super-server.
const SETTABLE: &[(i32, i32)] = &[
    (libc::SOL_UDP, libc::UDP_SEGMENT),
    (libc::SOL_UDP, libc::UDP_GRO),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
];

/// Errors pending on the socket, and what the path carries.
const READABLE: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_ERROR),
    (libc::SOL_SOCKET, libc::SO_MEMINFO),
    (libc::IPPROTO_IP, libc::IP_MTU),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU),
];

fn options(pairs: &[(i32, i32)]) -> std::result::Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let number = |n: i32| u64::from(n.cast_unsigned());
    pairs
        .iter()
        .map(|&(level, option)| {
            rule(&[(1, SeccompCmpOp::Eq, number(level)), (2, SeccompCmpOp::Eq, number(option))])
        })
        .collect()
}

fn no_exec() -> std::result::Result<SeccompRule, seccompiler::BackendError> {
    rule(&[(2, SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())), 0)])
}

/// Holds when all arguments (number from 0, comparison, value) do. The lower half of the register is compared: for
/// an int the kernel ignores the upper half, and no protection bit of mmap lies there.
fn rule(
    arguments: &[(u8, SeccompCmpOp, u64)],
) -> std::result::Result<SeccompRule, seccompiler::BackendError> {
    let conditions = arguments
        .iter()
        .map(|(number, comparison, value)| {
            SeccompCondition::new(*number, SeccompCmpArgLen::Dword, comparison.clone(), *value)
        })
        .collect::<std::result::Result<_, _>>()?;
    SeccompRule::new(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_fits_the_kernel_and_allows_nothing_that_makes_descriptors_or_processes() {
        let program = filter().unwrap();
        assert!(program.len() < 4096, "{}", program.len());
        let calls = calls().unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_ioctl,
            libc::SYS_dup,
            libc::SYS_kill,
            libc::SYS_ptrace,
            libc::SYS_prctl,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_unlinkat,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
            libc::SYS_pidfd_open,
            libc::SYS_bpf,
        ] {
            assert!(!calls.contains_key(&call), "{call}");
        }
    }
}
