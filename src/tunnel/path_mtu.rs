//! How long datagrams may be: what this host's own link to the peer takes, and what the session finds out of the path
//! behind it.

use std::net::IpAddr;

use super::outbound::AROUND;
use super::{KernelEntropy, Tunnel};
use crate::protocol::{PathLimits, Time};

/// The MTU of the Internet.
const USUAL: usize = 1500;

/// Headers of UDP and IP.
pub(super) const HEADERS_IPV4: usize = 8 + 20;
const HEADERS_IPV6: usize = 8 + 40;

/// What every path takes whole (RFC 791, section 3.2; RFC 8200, section 5).
const LEAST_IPV4: usize = 576;
const LEAST_IPV6: usize = 1280;

/// The path as this host sees it.
pub(super) struct Outlook {
    /// The longest packet of the device: a datagram that holds more is of no use.
    longest: usize,
    /// The MTU of the link to a peer.
    link: Option<(IpAddr, usize)>,
    /// Whom the session's path leads to.
    toward: Option<IpAddr>,
    /// The longest datagram that a path of 1500 bytes would ask for.
    usual: usize,
}

impl Outlook {
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, link: None, toward: None, usual: USUAL - HEADERS_IPV4 }
    }

    fn limits(&mut self, peer: IpAddr) -> PathLimits {
        let (headers, least) =
            if peer.is_ipv4() { (HEADERS_IPV4, LEAST_IPV4) } else { (HEADERS_IPV6, LEAST_IPV6) };
        let link = self.link.filter(|(whom, _)| *whom == peer).map_or(USUAL, |(_, mtu)| mtu);
        let useful = AROUND + self.longest;
        let ceiling = useful.min(link.max(least) - headers);
        self.usual = useful.min(USUAL - headers);
        PathLimits { headers, start: self.usual.min(ceiling), ceiling }
    }
}

impl Tunnel {
    /// The peer is reached through a link of this MTU, where that is known: datagrams are made to fit.
    pub fn keep_to_link(&mut self, now: Time, peer: IpAddr, mtu: Option<u32>) {
        let Some(mtu) = mtu else { return };
        self.outlook.link = Some((peer, mtu as usize));
        self.renew_path(now, peer);
    }

    /// The way to this peer is another one: what was found of the old one says nothing about it.
    pub(super) fn renew_path(&mut self, now: Time, peer: IpAddr) {
        if self.outlook.toward.take_if(|whom| *whom == peer).is_some() {
            self.begin_path(now, peer);
        }
    }

    /// The session leads to this peer. What was found of its path stays as long as it leads there: a nap does not widen it.
    pub(super) fn begin_path(&mut self, now: Time, peer: IpAddr) {
        if self.outlook.toward.replace(peer) == Some(peer) {
            return;
        }
        let limits = self.outlook.limits(peer);
        self.outbound.headers = limits.headers as u16;
        self.session.begin_path(now, limits, &mut KernelEntropy);
        self.keep_to_path();
        if limits.start < self.outlook.usual {
            log::warn!("link is narrower than 1500 bytes, cutting datagrams at {} bytes", limits.start);
        }
    }

    /// Makes datagrams as long as the path takes them.
    pub(super) fn keep_to_path(&mut self) {
        if let Some(most) = self.session.longest_datagram() {
            self.outbound.most = most;
            self.outbound.narrow = most < self.outlook.usual;
        }
    }
}
