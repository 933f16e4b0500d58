//! Whom a caller calls: one address of its `remote` lines after the other, until one answers.

use std::io;
use std::time::Duration;

use super::Tunnel;
use crate::os::path::Path;
use crate::protocol::Time;

/// Where there are several addresses, the last of four calls to one of them waits this long for its answer. The first
/// three take 1.75 s, a tenth more or less, so that each has less than 4 s.
const LAST_WAIT: Duration = Duration::from_millis(1900);

impl Tunnel {
    /// Nobody has answered so far: it is the turn of the next address, and names are looked up again.
    pub(super) fn call_next(&mut self, now: Time) {
        if !self.policy.caller {
            // A listener has nowhere else to look for its peer than where it last was.
            return;
        }
        self.remotes.look_up_again();
        let Some(path) = self.remotes.next_path() else {
            // Where it is, and not where it may have been followed to.
            return self.call_where_configured();
        };
        log::debug!("no answer, calling the next remote peer={}", path.remote);
        self.lead(path.remote.ip());
        self.session.turn_to(now + LAST_WAIT, path);
    }

    /// A peer whose settings are others will not take this call; perhaps the next one does.
    pub(super) fn turn_from_refusal(&mut self, now: Time, refused: Path) {
        if self.policy.caller
            && !self.session.can_seal(now)
            && self.session.path().is_some_and(|path| path.remote == refused.remote)
            && let Some(path) = self.remotes.next_path()
        {
            self.lead(path.remote.ip());
            self.session.turn_to(now + LAST_WAIT, path);
        }
    }

    /// A peer that has gone silent may have been followed to where it never was, or its name has moved.
    pub(super) fn call_again(&mut self) {
        if self.policy.caller {
            self.remotes.look_up_again();
            self.call_where_configured();
        }
    }

    fn call_where_configured(&mut self) {
        if let Some(path) = self.remotes.path() {
            self.lead(path.remote.ip());
            self.session.set_path(path);
        }
    }

    /// Names have been looked up. What answers is left where it is.
    pub(super) fn call_where_it_is_now(&mut self, now: Time) {
        if !self.policy.caller || self.session.can_seal(now) {
            return;
        }
        if let Some(path) = self.remotes.path()
            && self.session.path().is_none_or(|old| old.remote != path.remote)
        {
            self.lead(path.remote.ip());
            self.session.turn_to(now, path);
        }
    }

    /// This host has no way to the address, of that IP version perhaps: nobody needs to wait for an answer. The pauses
    /// grow on, for it may have no way anywhere.
    pub(super) fn pass_over_unreachable(&mut self, now: Time, path: &Path, cause: &io::Error) {
        let unreachable = matches!(
            cause.raw_os_error(),
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
        );
        if unreachable
            && self.policy.caller
            && !self.session.can_seal(now)
            && self.session.path() == Some(*path)
            && let Some(next) = self.remotes.next_path()
        {
            self.lead(next.remote.ip());
            self.session.set_path(next);
        }
    }
}
