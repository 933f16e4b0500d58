//! One run of an administrator's command: which file it is, whether it may be trusted, and its end.
#![allow(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::error::{Error, Exit, Result};
use crate::os::child::readable;

/// Where a command without a slash is looked for when it is not in the current directory, and the `PATH` that it gets:
/// most super-servers give none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status; 0 is success.
    Exited(u8),
    /// By this signal.
    Killed(i32),
    /// It was still running at the limit, and was killed with all its process group.
    TimedOut,
    /// It never ran; why.
    NotStarted(String),
}

/// The file that the first word of a command stands for. With a slash it is that path; without one, the file of that
/// name in the current directory or else in [`PATH`].
///
/// Refuses what somebody other than root (or the user that we are) could have put there, since it runs with all our
/// privileges: a file that others own or may write, one below a directory that others own or may write (but for a sticky
/// one), and a symbolic link outside the directories of [`PATH`].
pub fn locate(word: &str) -> Result<PathBuf> {
    let act = || format!("run {word}");
    let system = || PATH.split(':').map(|directory| Path::new(directory).join(word));
    let here = Path::new(".").join(word);
    let path = if word.contains('/') {
        Some(PathBuf::from(word))
    } else {
        std::iter::once(here).chain(system()).find(|path| path.is_file())
    };
    let path = path.ok_or_else(|| Error::new(Exit::Config, act(), "no such file here or in PATH"))?;
    trusted(&path).map_err(|cause| Error::new(Exit::Config, act(), cause))?;
    Ok(path)
}

/// Runs `words` with `arguments` appended: no shell, exactly `environment`, /dev/null as all standard streams, its own
/// process group, at most `limit`.
///
/// SIGCHLD becomes blocked in this process.
pub fn run(
    words: &[String],
    arguments: &[String],
    environment: &[(String, String)],
    limit: Duration,
) -> Ended {
    match start(words, arguments, environment) {
        Ok((child, signals)) => wait(child, &signals, limit),
        Err(error) => Ended::NotStarted(error.to_string()),
    }
}

fn trusted(path: &Path) -> std::result::Result<(), String> {
    let plain = |e: std::io::Error| e.to_string();
    let link = path.symlink_metadata().map_err(plain)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if link.is_symlink() && !PATH.split(':').any(|system| directory == Path::new(system)) {
        return Err("is a symbolic link".into());
    }
    let file = path.metadata().map_err(plain)?;
    if !file.is_file() {
        return Err("is not a file".into());
    }
    if file.mode() & 0o111 == 0 {
        return Err("is not executable".into());
    }
    if file.uid() != 0 && file.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("belongs to user {}", file.uid()));
    }
    if loose(&file) {
        return Err("others may write it".into());
    }
    // Whoever may rename any directory above it can put another one there between this look and the run.
    let real = directory.canonicalize().map_err(plain)?;
    for above in real.ancestors() {
        let meta = above.metadata().map_err(plain)?;
        let foreign = meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw();
        if foreign || loose(&meta) && meta.mode() & libc::S_ISVTX == 0 {
            return Err(format!("others may replace it: they may write {}", above.display()));
        }
    }
    Ok(())
}

/// Whether somebody other than the owner and root's group may write.
fn loose(meta: &std::fs::Metadata) -> bool {
    meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && meta.gid() != 0)
}

fn start(
    words: &[String],
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<(std::process::Child, SignalFd)> {
    let (program, rest) = words
        .split_first()
        .ok_or_else(|| Error::new(Exit::Config, "run a script", "the command is empty"))?;
    let path = locate(program)?;
    let signals = child_signals().map_err(|e| Error::new(Exit::Os, "wait for scripts", e))?;
    let mut command = Command::new(path);
    command.arg0(program).args(rest).args(arguments);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    // SAFETY: sigprocmask(2) is all that happens between fork and exec. The script starts with no signal blocked,
    // whatever is blocked here.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
    let child = command.spawn();
    Ok((child.map_err(|e| Error::new(Exit::Os, format!("run {program}"), e))?, signals))
}

fn child_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn wait(mut child: std::process::Child, signals: &SignalFd, limit: Duration) -> Ended {
    use std::os::fd::AsFd;
    let deadline = std::time::Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ended(status),
            Ok(None) => {}
            Err(e) => return Ended::NotStarted(e.to_string()),
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            kill(&mut child);
            return Ended::TimedOut;
        }
        if readable(signals.as_fd(), Some(left)) {
            while let Ok(Some(_)) = signals.read_signal() {}
        }
    }
}

fn kill(child: &mut std::process::Child) {
    // Not collected yet, so the number still is this group's and nobody else's.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait();
}

fn ended(status: ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    match (status.code().map(u8::try_from), status.signal()) {
        (Some(Ok(code)), _) => Ended::Exited(code),
        (_, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}
