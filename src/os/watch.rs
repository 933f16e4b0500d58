//! News of this host: its networks have changed, or the machine has slept.
//!
//! Both are opened while that is allowed, and say no more than that something has happened: what it means is asked.

use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::clock;
use super::netlink::Netlink;
use crate::error::{Error, Exit, Result};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of
/// linux/rtnetlink.h, and the group of IPv6 rules, which has a number alone.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;

/// Room for notices, bytes. Where it does not suffice the kernel drops them, and one is as good as a hundred.
const ROOM: usize = 4096;

/// Notices thrown away in one call.
const DRAIN_MAX: usize = 1024;

/// Seconds since the epoch that no clock will show: in the year 2242.
const NEVER: i64 = 1 << 33;

/// Notices of the kernel about devices, addresses, routes and rules, and a second socket to ask what they mean.
#[derive(Debug)]
pub struct Watch {
    notices: Socket,
    questions: Netlink,
}

impl Watch {
    /// Opens both sockets in the present network namespace.
    pub fn open() -> Result<Self> {
        let failed = |cause| Error::new(Exit::Os, "watch the networks of this host", cause);
        let mut notices = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        // Only a wish: the least that the kernel gives is enough.
        let _ = setsockopt(&notices.as_fd(), sockopt::RcvBuf, &ROOM);
        notices.bind(&SocketAddr::new(0, GROUPS)).map_err(failed)?;
        Ok(Self { notices, questions: Netlink::open()? })
    }

    /// Throws the notices away that have come. Never waits.
    pub fn drain(&self) {
        for _ in 0..DRAIN_MAX {
            match recv(self.notices.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT) {
                // Some were dropped.
                Ok(_) | Err(nix::errno::Errno::ENOBUFS) => {}
                Err(_) => break,
            }
        }
    }

    /// To ask the kernel what has changed.
    pub fn netlink(&mut self) -> &mut Netlink {
        &mut self.questions
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.notices.as_raw_fd()
    }
}

/// Whether the machine was suspended. Deadlines are on a clock that counts sleep, but waiting is not: without this a
/// wait would go on for as long as it had left.
#[derive(Debug)]
pub struct Sleep {
    timer: TimerFd,
    slept: Duration,
}

impl Sleep {
    /// Opens a timer that the kernel cancels when the clock on the wall is set, which waking up does
    /// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
    pub fn watch() -> Result<Self> {
        let failed = |cause| Error::new(Exit::Os, "watch for suspend", cause);
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags).map_err(failed)?;
        let (never, cancelled) = (
            TimeSpec::new(NEVER, 0),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        );
        timer.set(Expiration::OneShot(never), cancelled).map_err(failed)?;
        Ok(Self { timer, slept: clock::slept() })
    }

    /// How long the machine has slept since the last call. To be asked when the timer is readable; it may be zero, where the
    /// clock was only set.
    pub fn take(&mut self) -> Duration {
        // Its only news is ECANCELED, and that it is read makes room for the next.
        let _ = nix::unistd::read(self.timer.as_fd(), &mut [0; 8]);
        let slept = clock::slept();
        slept.saturating_sub(std::mem::replace(&mut self.slept, slept))
    }
}

impl AsRawFd for Sleep {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_awake_has_not_slept() {
        let mut sleep = Sleep::watch().unwrap();
        assert!(sleep.take() < Duration::from_millis(100));
    }
}
