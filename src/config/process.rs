//! Directives of the process: how it runs, as whom, what it writes, when it ends.

use std::time::Duration;

use super::draft::{Draft, NAP_AFTER};
use super::grammar::Statement;
use super::problem::{Fault, Place};
use super::settings::{Inactive, LogTarget};
use super::value;
use crate::error::Exit;

type Applied = Result<(), Fault>;

/// The user that a package makes for us alone: what else runs as nobody cannot signal or trace it.
const OWN_USER: &str = "naptun";
/// The user to become where there is none of our own.
pub(super) const ANY_USER: &str = "nobody";
/// Numbers of users that no person has (SYS_UID_MAX of login.defs).
const SYSTEM_USERS: std::ops::RangeInclusive<u32> = 1..=999;

pub(super) fn daemon(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.daemon = true;
    program(draft, statement.param(1))
}

pub(super) fn inetd(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.inetd = true;
    for word in statement.params() {
        match word.as_str() {
            "wait" => {}
            "nowait" => {
                let expected = "expected wait, and wait = yes in the service's file";
                return Err(Fault::new(word, "is for TCP servers", expected));
            }
            name => program(draft, Some(name))?,
        }
    }
    Ok(())
}

pub(super) fn syslog(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.syslog = true;
    program(draft, statement.param(1))
}

fn program(draft: &mut Draft, name: Option<&str>) -> Applied {
    if let Some(name) = name {
        draft.settings.program = value::plain_name(name)?;
    }
    Ok(())
}

pub(super) fn log(draft: &mut Draft, statement: &Statement) -> Applied {
    let path = draft.path(statement.param(1).unwrap_or_default())?;
    draft.settings.log = LogTarget::File { path, append: false };
    Ok(())
}

pub(super) fn log_append(draft: &mut Draft, statement: &Statement) -> Applied {
    let path = draft.path(statement.param(1).unwrap_or_default())?;
    draft.settings.log = LogTarget::File { path, append: true };
    Ok(())
}

pub(super) fn verb(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.verb = value::number(statement.param(1).unwrap_or_default(), 0..=11)?;
    Ok(())
}

pub(super) fn mute(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.mute = value::number(statement.param(1).unwrap_or_default(), 0..=u64::from(u32::MAX))?;
    Ok(())
}

pub(super) fn status(draft: &mut Draft, statement: &Statement) -> Applied {
    let path = draft.path(statement.param(1).unwrap_or_default())?;
    let every = statement.param(2).map(|word| value::seconds(word, 1..=86_400)).transpose()?;
    draft.settings.status = Some((path, every.unwrap_or(Duration::from_secs(60))));
    Ok(())
}

pub(super) fn writepid(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.writepid = Some(draft.path(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn nice(draft: &mut Draft, statement: &Statement) -> Applied {
    let word = statement.param(1).unwrap_or_default();
    let fault = || Fault::new(word, "is no nice value", "expected a number from -20 to 19");
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let value = value::number::<i32>(digits, 0..=20).map_err(|_| fault())? * sign;
    if value > 19 {
        return Err(fault());
    }
    draft.settings.nice = Some(value);
    Ok(())
}

pub(super) fn inactive(draft: &mut Draft, statement: &Statement) -> Applied {
    let after = value::seconds(statement.param(1).unwrap_or_default(), 0..=u64::from(u32::MAX))?;
    let bytes = statement.param(2).map(|word| value::number(word, 0..=i64::MAX as u64)).transpose()?;
    let inactive = Inactive { after, bytes: bytes.unwrap_or(0) };
    draft.inactive = Some(Some(inactive).filter(|it| !it.after.is_zero()));
    Ok(())
}

pub(super) fn user(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.user = Some(value::plain_name(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn group(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.group = Some(value::plain_name(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn ignore_unknown_option(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.ignorable.extend(statement.params().iter().cloned());
    Ok(())
}

/// Settles the idle time-out, the log, and who the process becomes.
pub(super) fn finish(draft: &mut Draft) {
    let default = draft.settings.inetd.then_some(NAP_AFTER);
    draft.settings.inactive = draft.inactive.unwrap_or(default);
    // As in OpenVPN, a file wins over syslog wherever the two stand.
    if draft.syslog && draft.settings.log == LogTarget::Default {
        draft.settings.log = LogTarget::Syslog;
    }
    settle_user(draft);
    settle_group(draft);
}

fn settle_user(draft: &mut Draft) {
    let name = draft.user.clone().unwrap_or_else(|| default_user().to_owned());
    let Some(user) = users::get_user_by_name(&name) else {
        let fault = Fault::new(name, "there is no such user", "name one that exists with user");
        return draft.fault("user", fault.exit(Exit::NoUser));
    };
    if user.uid() == 0 {
        let place = draft.place("user").cloned().unwrap_or_else(Place::command_line);
        draft.notice(
            &place,
            "user",
            &format!("{name} is root: a fault of this process would be a fault of root"),
        );
    }
    draft.settings.user = name;
}

/// Asked of the file alone, as for groups below: looking for a user who is not there goes through every source of names.
fn default_user() -> &'static str {
    let accounts = std::fs::read("/etc/passwd").unwrap_or_default();
    let ours = String::from_utf8_lossy(&accounts).lines().any(is_our_account);
    if ours { OWN_USER } else { ANY_USER }
}

/// Whether a line of passwd(5) is the package's user, and not a person of that name.
fn is_our_account(line: &str) -> bool {
    let mut fields = line.split(':');
    let name = fields.next();
    let number = fields.nth(1).and_then(|uid| uid.parse().ok());
    name == Some(OWN_USER) && number.is_some_and(|uid| SYSTEM_USERS.contains(&uid))
}

/// Asked of the file alone: looking for a group that is not there goes through every source of names, which costs a
/// wake more than all the rest of the configuration.
fn has_only_nogroup() -> bool {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let has = |name: &str| groups.lines().any(|line| line.split(':').next() == Some(name));
    has("nogroup") && !has("nobody")
}

/// Debian calls the group of nobody nogroup; files from elsewhere say nobody.
fn settle_group(draft: &mut Draft) {
    let Some(mut name) = draft.group.clone() else { return };
    let exists = |name: &str| users::get_group_by_name(name).is_some();
    if name == "nobody" && has_only_nogroup() {
        name = "nogroup".to_owned();
        let place = draft.place("group").cloned().unwrap_or_else(Place::command_line);
        draft.notice(&place, "group", "there is no group nobody; nogroup is taken");
    }
    if !exists(&name) {
        let fault = Fault::new(name, "there is no such group", "name one that exists, or leave group out");
        return draft.fault("group", fault.exit(Exit::NoUser));
    }
    draft.settings.group = Some(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_system_user_is_ours_by_default() {
        assert!(is_our_account("naptun:x:112:117::/nonexistent:/usr/sbin/nologin"));
        let others =
            ["naptun:x:0:0::/:", "naptun:x:1000:1000:Nap Tun:/home/naptun:/bin/sh", "naptun2:x:112:117::/:"];
        for line in others.into_iter().chain(["naptun", "naptun:x:", "naptun:x:-1:", "", "+naptun::::::"]) {
            assert!(!is_our_account(line), "{line}");
        }
    }
}
