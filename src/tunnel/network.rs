//! The caller goes with its host: to another network, or through a night in a bag.
//!
//! The kernel's notices only say that something is different. A moment later, so that one change counts once, it is asked
//! how this host reaches the peer now. If that is by another address, or again at all, datagrams go out from there and the
//! peer is told at once; it follows the newest packet, as it always does.

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use super::notes::peer;
use super::waiting::{CLOCK, NETWORK};
use super::{KernelEntropy, Tunnel};
use crate::error::{Error, Exit, Result};
use crate::os::device::Device;
use crate::os::path::Path;
use crate::os::route::Way;
use crate::os::watch::{Sleep, Watch};
use crate::protocol::{Moment, Time};

/// A change comes as several notices: an address, its network, the default route. This is how long the rest is waited for,
/// and nothing is looked at more often.
const SETTLE: Duration = Duration::from_millis(100);

/// Whoever wakes so much later than it wanted to has not run meanwhile, or slept so long.
const ABSENT: Duration = Duration::from_secs(5);

/// A network that comes and goes is worth a line this often at most.
const EVERY: Duration = Duration::from_secs(10);

/// What a caller knows of its host.
pub(super) struct Host {
    watch: Watch,
    sleep: Sleep,
    mark: Option<u32>,
    /// How the peer at this address was reached when it was last looked.
    seen: Option<(IpAddr, Option<Way>)>,
    /// There were notices, and no more are listened to before this.
    look_at: Option<Time>,
    /// When the loop wanted to wake at the latest.
    due: Option<Time>,
    noted_at: Option<Time>,
}

impl Tunnel {
    /// Watches this host for as long as the tunnel lives, as a caller should; `mark` is that of its datagrams. To be called
    /// while sockets can still be opened. Where that fails the tunnel does without, with a line in the log.
    pub fn watch_host(&mut self, mark: Option<u32>) {
        if let Err(error) = self.try_watch_host(mark) {
            log::warn!("{error}; a change of networks will be noticed late");
        }
    }

    fn try_watch_host(&mut self, mark: Option<u32>) -> Result<()> {
        let (watch, sleep) = (Watch::open()?, Sleep::watch()?);
        let failed = |cause| Error::new(Exit::Os, "watch this host", cause);
        self.register(watch.as_raw_fd(), NETWORK).map_err(failed)?;
        self.register(sleep.as_raw_fd(), CLOCK).map_err(failed)?;
        let mut host = Host { watch, sleep, mark, seen: None, look_at: None, due: None, noted_at: None };
        if let Some(path) = self.session.path() {
            host.seen = Some((path.remote.ip(), host.way(&path)));
        }
        self.host = Some(Box::new(host));
        Ok(())
    }

    /// When [`take_host_news`](Self::take_host_news) has something to do without being woken.
    pub(super) fn host_deadline(&self) -> Option<Time> {
        self.host.as_ref()?.look_at
    }

    /// The loop is about to wait until then.
    pub(super) fn expect_to_wake(&mut self, now: Time, deadline: Option<Time>) {
        if let Some(host) = &mut self.host {
            host.due = deadline.map(|deadline| deadline.max(now));
        }
    }

    /// Does what the host's news ask for.
    pub(super) fn take_host_news(&mut self, moment: &Moment) -> Result<()> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let late = host.due.take().map_or(Duration::ZERO, |due| moment.now.saturating_sub(due));
        let slept = if std::mem::take(&mut self.ready.clock) { host.sleep.take() } else { Duration::ZERO };
        if late.max(slept) >= ABSENT {
            self.resume(late.max(slept));
        }
        if std::mem::take(&mut self.ready.network) {
            self.wait_for_the_rest(moment.now);
        }
        if self.host_deadline().is_some_and(|at| at <= moment.now) {
            self.look_at_network(moment)?;
        }
        Ok(())
    }

    /// Further notices wake nobody until it is looked.
    fn wait_for_the_rest(&mut self, now: Time) {
        let Some(host) = self.host.as_mut().filter(|host| host.look_at.is_none()) else { return };
        host.look_at = Some(now + SETTLE);
        let fd = host.watch.as_raw_fd();
        self.unregister(fd);
    }

    fn look_at_network(&mut self, moment: &Moment) -> Result<()> {
        let Some(host) = &mut self.host else { return Ok(()) };
        host.look_at = None;
        host.watch.drain();
        let fd = host.watch.as_raw_fd();
        // What comes from here on is told again, so nothing is missed.
        self.register(fd, NETWORK)
            .map_err(|cause| Error::new(Exit::Os, "watch the networks of this host", cause))?;
        let Some(path) = self.session.path() else {
            self.remotes.look_up_again();
            return Ok(());
        };
        // With all traffic in the tunnel, the way outside of it comes first.
        self.lead_again();
        if let Some(way) = self.changed_way(&path) {
            self.go_another_way(moment, &path, way);
        }
        Ok(())
    }

    /// How the peer is reached, where that is another way than before.
    fn changed_way(&mut self, path: &Path) -> Option<Way> {
        let bound = !self.udp.local().ip().is_unspecified();
        let own = self.device.as_ref().map(Device::index);
        let host = self.host.as_mut()?;
        // A way into the tunnel itself is none.
        let way = host.way(path).filter(|way| Some(way.device) != own);
        let now = (path.remote.ip(), way);
        let same = host.seen.replace(now) == Some(now);
        let elsewhere = !bound && path.local.is_some() && way.is_some_and(|way| way.source != path.local);
        if way.is_none() && !same {
            log::debug!("this host has no way to the peer peer={}", path.remote);
        }
        way.filter(|_| !same || elsewhere)
    }

    fn go_another_way(&mut self, moment: &Moment, path: &Path, way: Way) {
        if !self.session.can_seal(moment.now) {
            self.remotes.look_up_again();
        }
        self.session.moved(moment, Path::to(path.remote), &mut KernelEntropy);
        let Some(host) = &mut self.host else { return };
        let mtu = host.watch.netlink().link_mtu(path.remote.ip());
        if host.noted_at.is_none_or(|at| moment.now >= at + EVERY) {
            host.noted_at = Some(moment.now);
            let source = way.source.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
            log::info!("network changed, going on source={source} peer={}", path.remote);
        }
        match mtu {
            Some(_) => self.keep_to_link(moment.now, path.remote.ip(), mtu),
            None => self.renew_path(moment.now, path.remote.ip()),
        }
    }

    /// The machine was suspended, or this process stopped: whoever was talked to may be gone, and so may be our address.
    fn resume(&mut self, absent: Duration) {
        log::info!(
            "did not run for {} s, calling the peer anew {}",
            absent.as_secs(),
            peer(self.session.path())
        );
        self.session.resume();
        self.call_again();
    }
}

impl Host {
    fn way(&mut self, path: &Path) -> Option<Way> {
        self.watch.netlink().way(path.remote.ip(), self.mark)
    }
}
