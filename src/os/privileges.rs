//! Giving up root: first all but the few capabilities that set up the device, in the end everything.
#![allow(unsafe_code)]

use std::collections::HashSet;

use caps::CapSet;
pub use caps::Capability;
use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{
    Gid, Uid, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid, setuid,
};
use users::{get_group_by_gid, get_group_by_name, get_user_by_name};

use crate::error::{Error, Exit, Result};

/// The least that must be lockable for `mlock` to be safe, bytes: ten times what the process ever takes. With less, an
/// allocation that the limit refuses would end it.
const LOCKABLE: u64 = 32 << 20;

/// Whom to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number; never 0.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user's name.
    pub user: String,
    /// The group's name; its number where it has none.
    pub group: String,
}

impl Identity {
    /// Looks `user` up, and `group` or else the user's own group. Names only, as OpenVPN has it.
    ///
    /// The unprivileged group is `nobody` on some systems and `nogroup` on others; a missing `nobody` stands for
    /// `nogroup`, so that one configuration serves both.
    pub fn lookup(user: &str, group: Option<&str>) -> Result<Self> {
        let act = format!("look up user {user}");
        let found =
            get_user_by_name(user).ok_or_else(|| Error::new(Exit::NoUser, act.as_str(), "there is none"))?;
        if found.uid() == 0 {
            return Err(Error::new(Exit::Config, act, "it is root").advise("name an unprivileged user"));
        }
        let (gid, group) = match group {
            Some(name) => group_of(name)?,
            None => {
                let gid = found.primary_group_id();
                let name = get_group_by_gid(gid).map(|group| group.name().to_string_lossy().into_owned());
                (gid, name.unwrap_or_else(|| gid.to_string()))
            }
        };
        Ok(Self { uid: found.uid(), gid, user: user.to_owned(), group })
    }
}

/// How much could be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// All that was asked for.
    Complete,
    /// The process was not started as root, so some of it was not its to give; what remains, in words for the log.
    Partial(Vec<String>),
}

/// Becomes `identity` with the capabilities `keep` (permitted and effective) and no others in any set, without
/// supplementary groups, and without a way to gain anything by exec. Everything is read back and compared.
///
/// A process that was not started as root stays the user it is, keeps those of `keep` that it has, and is told what
/// it could not give up.
pub fn reduce(identity: &Identity, keep: &[Capability]) -> Result<Reduction> {
    let keep: HashSet<Capability> = keep.iter().copied().collect();
    let reduction =
        if geteuid().is_root() { reduce_root(identity, &keep)? } else { reduce_user(identity, &keep)? };
    lock_out()?;
    if let Reduction::Partial(_) = &reduction {
        let kept = keep.intersection(&held(CapSet::Permitted)?).copied().collect();
        verify(&kept, false)?;
        return Ok(reduction);
    }
    verify(&keep, true)?;
    verify_identity(identity)?;
    Ok(reduction)
}

/// Gives up every capability in all five sets. Verified by reading back, and by trying to become root again.
///
/// Only the bounding set of a process that was not started as root remains; without the others, and with no_new_privs,
/// it gives nothing.
pub fn drop_all() -> Result<Reduction> {
    let reduction = clear_bounding()?;
    clear(CapSet::Ambient)?;
    clear(CapSet::Inheritable)?;
    clear(CapSet::Permitted)?;
    lock_out()?;
    verify(&HashSet::new(), reduction == Reduction::Complete)?;
    match setuid(Uid::from_raw(0)) {
        Err(Errno::EPERM) => Ok(reduction),
        other => Err(Error::new(Exit::Software, "drop privileges", format!("could become root: {other:?}"))),
    }
}

/// Keeps all memory, present and future, out of swap, and makes it resident now. To be called as root.
pub fn mlock() -> Result<()> {
    lock_memory(MlockAllFlags::empty())
}

/// The same for what is resident anyway: nothing grows by it, and nothing waits for pages that nobody needs.
pub fn mlock_in_use() -> Result<()> {
    // nix has no name for it.
    lock_memory(MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT))
}

fn lock_memory(how: MlockAllFlags) -> Result<()> {
    let fail = |e| Error::new(Exit::NoPermission, "lock memory", e);
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(fail)?;
        setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).map_err(fail)?;
        if hard < LOCKABLE {
            let cause = format!("the limit is {} KiB", hard / 1024);
            return Err(Error::new(Exit::NoPermission, "lock memory", cause)
                .advise("needs CAP_SYS_RESOURCE or a memlock limit of 32 MiB"));
        }
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | how).map_err(fail)
}

/// Sets the scheduling priority, -20 (first) to 19 (last); setpriority(2) cuts other values off there.
pub fn nice(value: i32) -> Result<()> {
    // SAFETY: takes three numbers and no memory; 0 is this process.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) } {
        0 => Ok(()),
        _ => Err(Error::new(Exit::NoPermission, format!("set nice {value}"), Errno::last())),
    }
}

fn group_of(name: &str) -> Result<(u32, String)> {
    let found = get_group_by_name(name)
        .or_else(|| get_group_by_name("nogroup").filter(|_| name == "nobody"))
        .ok_or_else(|| Error::new(Exit::NoUser, format!("look up group {name}"), "there is none"))?;
    Ok((found.gid(), found.name().to_string_lossy().into_owned()))
}

/// The order matters: groups before the user, while there is the right to; capabilities last, since the change of
/// user clears some of them.
fn reduce_root(identity: &Identity, keep: &HashSet<Capability>) -> Result<Reduction> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let act = |e| failed(&format!("become {}:{}", identity.user, identity.group), &e);
    clear(CapSet::Bounding)?;
    prctl::set_keepcaps(true).map_err(act)?;
    setgroups(&[gid]).map_err(act)?;
    setresgid(gid, gid, gid).map_err(act)?;
    setresuid(uid, uid, uid).map_err(act)?;
    restrict(keep)?;
    Ok(Reduction::Complete)
}

fn reduce_user(identity: &Identity, keep: &HashSet<Capability>) -> Result<Reduction> {
    let mut remains = Vec::new();
    let uid = geteuid();
    if uid.as_raw() != identity.uid {
        remains.push(format!("user {uid} stays: becoming {} needs root", identity.user));
    }
    if let Reduction::Partial(more) = clear_bounding()? {
        remains.extend(more);
    }
    let held = held(CapSet::Permitted)?;
    remains.extend(keep.difference(&held).map(|missing| format!("there is no {missing} to keep")));
    restrict(&keep.intersection(&held).copied().collect())?;
    Ok(Reduction::Partial(remains))
}

/// Sets permitted and effective to `keep`, and empties inheritable and ambient.
fn restrict(keep: &HashSet<Capability>) -> Result<()> {
    clear(CapSet::Ambient)?;
    clear(CapSet::Inheritable)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, keep).map_err(|e| {
            failed(&format!("keep {}", names(keep)), &e)
                .advise("the container or service manager may withhold it")
        })?;
    }
    Ok(())
}

fn clear_bounding() -> Result<Reduction> {
    if held(CapSet::Bounding)?.is_empty() {
        return Ok(Reduction::Complete);
    }
    if !held(CapSet::Effective)?.contains(&Capability::CAP_SETPCAP) {
        return Ok(Reduction::Partial(vec![
            "the bounding set stays: clearing it needs CAP_SETPCAP".to_owned(),
        ]));
    }
    clear(CapSet::Bounding)?;
    Ok(Reduction::Complete)
}

/// No gain by exec from here on, no capabilities across a change of user, no inspection: changing the user has set
/// "dumpable" to what fs.suid_dumpable says.
fn lock_out() -> Result<()> {
    let act = |e| failed("drop privileges", &e);
    prctl::set_no_new_privs().map_err(act)?;
    prctl::set_keepcaps(false).map_err(act)?;
    prctl::set_dumpable(false).map_err(act)
}

fn verify(keep: &HashSet<Capability>, bounding: bool) -> Result<()> {
    let none = HashSet::new();
    let expected = [
        (CapSet::Permitted, keep),
        (CapSet::Effective, keep),
        (CapSet::Inheritable, &none),
        (CapSet::Ambient, &none),
        (CapSet::Bounding, &none),
    ];
    for (set, expected) in expected {
        let actual = held(set)?;
        if actual != *expected && (bounding || !matches!(set, CapSet::Bounding)) {
            return Err(differs(&format!("the {set:?} capabilities"), &names(&actual), &names(expected)));
        }
    }
    let act = |e| failed("verify privileges", &e);
    let flags = (
        prctl::get_no_new_privs().map_err(act)?,
        prctl::get_keepcaps().map_err(act)?,
        prctl::get_dumpable().map_err(act)?,
    );
    match flags {
        (true, false, false) => Ok(()),
        other => {
            Err(differs("no_new_privs, keepcaps, dumpable", &format!("{other:?}"), "(true, false, false)"))
        }
    }
}

fn verify_identity(identity: &Identity) -> Result<()> {
    let act = |e| failed("verify privileges", &e);
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let users = getresuid().map_err(act)?;
    let groups = getresgid().map_err(act)?;
    let more = getgroups().map_err(act)?;
    let actual =
        ([users.real, users.effective, users.saved], [groups.real, groups.effective, groups.saved], more);
    let expected = ([uid; 3], [gid; 3], vec![gid]);
    match actual == expected {
        true => Ok(()),
        false => Err(differs("the identity", &format!("{actual:?}"), &format!("{expected:?}"))),
    }
}

fn held(set: CapSet) -> Result<HashSet<Capability>> {
    caps::read(None, set).map_err(|e| failed(&format!("read the {set:?} capabilities"), &e))
}

fn clear(set: CapSet) -> Result<()> {
    caps::clear(None, set).map_err(|e| failed(&format!("clear the {set:?} capabilities"), &e))
}

fn names(set: &HashSet<Capability>) -> String {
    let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

fn failed(act: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(Exit::NoPermission, act, cause)
}

fn differs(what: &str, actual: &str, expected: &str) -> Error {
    Error::new(Exit::Software, "drop privileges", format!("{what}: {actual} instead of {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_the_group_that_was_named_or_its_own() {
        let own = Identity::lookup("nobody", None).unwrap();
        assert!(own.uid != 0 && own.user == "nobody" && !own.group.is_empty());
        let named = Identity::lookup("nobody", Some("daemon")).unwrap();
        assert_eq!((named.uid, named.group.as_str()), (own.uid, "daemon"));
    }

    #[test]
    fn the_unprivileged_group_may_be_called_nobody_everywhere() {
        let group = Identity::lookup("nobody", Some("nobody")).unwrap().group;
        assert!(["nobody", "nogroup"].contains(&group.as_str()), "{group}");
    }

    #[test]
    fn root_and_unknown_names_are_refused_in_words() {
        let words =
            |user, group| Identity::lookup(user, group).map_err(|e| (e.exit(), e.to_string())).unwrap_err();
        assert_eq!(words("no-such", None), (Exit::NoUser, "look up user no-such: there is none".into()));
        assert_eq!(
            words("nobody", Some("no-such")),
            (Exit::NoUser, "look up group no-such: there is none".into())
        );
        assert_eq!(words("root", None).0, Exit::Config);
    }
}
