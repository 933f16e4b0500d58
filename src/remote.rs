//! The `remote` lines: whom a caller calls, and who alone may speak.
//!
//! Names are looked up by a helper process, since the sandbox leaves no way to do it here; until one has an address
//! nobody may speak, and a caller keeps trying. It calls one address after the other in the order of the lines, and
//! begins with the one that answered last.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use crate::config::settings::{Family, Host, Remote, Settings};
use crate::error::{Error, Exit, Result};
use crate::os::clock;
use crate::os::hosts;
use crate::os::path::Path;
use crate::os::privileges::Identity;
use crate::os::resolver::Resolver;
use crate::protocol::Time;

/// The pause between two attempts to look up a name.
const RETRY: Duration = Duration::from_secs(5);

/// The addresses behind the `remote` lines.
pub struct Remotes {
    entries: Vec<Entry>,
    float: bool,
    resolver: Option<Resolver>,
    /// The entry whose name is being looked up.
    asked: Option<usize>,
    retry_at: Option<Time>,
    give_up_at: Option<Time>,
    unresolvable: bool,
    /// The address being called; the first where it is none of them.
    aim: Option<SocketAddr>,
    /// Who answered last. Where its name has got other addresses since, it may go on speaking.
    answered: Option<IpAddr>,
    /// Addresses inside the tunnel, which cannot be outside of it.
    inside: Box<dyn Fn(IpAddr) -> bool>,
}

struct Entry {
    remote: Remote,
    addresses: Vec<SocketAddr>,
}

impl Remotes {
    /// Forks the resolver if there is a name.
    pub fn new(settings: &Settings, identity: &Identity) -> Result<Self> {
        let mut entries: Vec<Entry> = settings.remotes.iter().map(Entry::new).collect();
        if settings.remote_random {
            shuffle(&mut entries);
        }
        // A listener only lives for one visit; a caller may live to see a name move.
        let open = |entry: &&Entry| settings.is_caller() || entry.addresses.is_empty();
        let names: Vec<_> = if entries.iter().any(|entry| open(&entry)) {
            entries.iter().filter_map(Entry::name).collect()
        } else {
            Vec::new()
        };
        let resolver = if names.is_empty() { None } else { Some(Resolver::fork(names, Some(identity))?) };
        let now = clock::boot();
        let mut remotes = Self {
            retry_at: None,
            give_up_at: settings.resolv_retry.map(|limit| now + limit),
            float: settings.float,
            resolver,
            entries,
            asked: None,
            unresolvable: false,
            aim: None,
            answered: None,
            inside: Box::new(|_| false),
        };
        if !remotes.complete() {
            remotes.ask_next(now);
        }
        Ok(remotes)
    }

    /// Takes no address for which `inside` says that it lies inside the tunnel, now or later.
    ///
    /// Fails if the configuration names one: a name may get another address, a literal never.
    pub fn keep_outside(&mut self, inside: Box<dyn Fn(IpAddr) -> bool>) -> Result<()> {
        for entry in &mut self.entries {
            entry.addresses.retain(|address| !inside(address.ip()));
            if let Host::Addr(ip) = entry.remote.host
                && inside(ip)
            {
                let error = Error::new(Exit::Config, format!("use remote {ip}"), "it lies inside the tunnel");
                return Err(error.advise(
                    "a tunnel that carries itself is a routing loop: name the address outside of it",
                ));
            }
        }
        self.inside = inside;
        if !self.complete() && self.asked.is_none() {
            self.retry_at = Some(clock::boot());
        }
        Ok(())
    }

    /// Whether a datagram from `ip` may be looked at.
    pub fn allow(&self, ip: IpAddr) -> bool {
        let listed = || self.addresses().any(|address| address.ip() == ip);
        self.float || self.entries.is_empty() || self.answered == Some(ip) || listed()
    }

    /// Whether it is known who may speak. If not, datagrams wait in the socket.
    pub fn known(&self) -> bool {
        self.float || self.entries.is_empty() || self.addresses().next().is_some()
    }

    /// The address to call now.
    pub fn path(&self) -> Option<Path> {
        let aim = self.aim.filter(|aim| self.addresses().any(|address| address == *aim));
        aim.or_else(|| self.addresses().next()).map(Path::to)
    }

    /// The address to call when this one does not answer, if there is another; behind the last comes the first again.
    pub fn next_path(&mut self) -> Option<Path> {
        let current = self.path()?.remote;
        // Where two names are one host, its address has one turn.
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.addresses() {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        let place = all.iter().position(|address| *address == current)?;
        let next = *all.iter().cycle().nth(place + 1)?;
        self.aim = Some(next);
        (next != current).then(|| Path::to(next))
    }

    /// The peer has answered from there: it is called there again.
    pub fn note_answered(&mut self, remote: SocketAddr) {
        self.answered = Some(remote.ip());
        if self.addresses().any(|address| address == remote) {
            self.aim = Some(remote);
        }
    }

    /// An address does not answer, or another network has come: the names may lead elsewhere by now.
    pub fn look_up_again(&mut self) {
        if self.resolver.is_some() && self.asked.is_none() {
            self.retry_at = Some(clock::boot());
        }
    }

    /// Waits for the first answers, `limit` at most.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let until = clock::boot() + limit;
        while self.asked.is_some() && clock::boot() < until {
            let Some(resolver) = &self.resolver else { return Ok(()) };
            resolver.wait(until.saturating_sub(clock::boot()));
            self.take_answers(clock::boot())?;
        }
        Ok(())
    }

    /// Takes what the resolver has found, and asks again when it is time. Returns whether anything is new.
    ///
    /// Fails when `resolv-retry` sets a limit and it is over.
    pub fn take_answers(&mut self, now: Time) -> Result<bool> {
        let mut news = false;
        while let Some(index) = self.asked {
            let Some(answer) = self.resolver.as_mut().and_then(Resolver::answer) else { break };
            self.asked = None;
            news |= self.note_answer(index, answer, now);
            self.ask_from(index + 1, now);
        }
        if self.asked.is_none() && self.retry_at.is_some_and(|at| at <= now) {
            self.ask_next(now);
        }
        if !self.known() && self.give_up_at.is_some_and(|limit| limit <= now) {
            return Err(Error::new(
                Exit::NoHost,
                "look up the remote",
                "no address within the time of resolv-retry",
            ));
        }
        Ok(news)
    }

    /// When [`take_answers`](Self::take_answers) has something to do without an answer.
    pub fn deadline(&self) -> Option<Time> {
        let give_up_at = self.give_up_at.filter(|_| !self.known());
        [self.retry_at.filter(|_| self.asked.is_none()), give_up_at].into_iter().flatten().min()
    }

    /// For the event loop.
    pub fn resolver_fd(&self) -> Option<RawFd> {
        self.resolver.as_ref().map(|resolver| resolver.as_raw_fd())
    }

    fn complete(&self) -> bool {
        self.entries.iter().all(|entry| !entry.addresses.is_empty())
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.entries.iter().flat_map(|entry| entry.addresses.iter().copied())
    }

    fn ask_next(&mut self, now: Time) {
        self.retry_at = None;
        self.ask_from(0, now);
    }

    /// Asks for the first name at `start` or behind it.
    fn ask_from(&mut self, start: usize, now: Time) {
        let Some(resolver) = &mut self.resolver else { return };
        let named = |index: &usize| self.entries.get(*index).is_some_and(|entry| entry.name().is_some());
        let Some(index) = (start..self.entries.len()).find(named) else { return };
        let number = (0..index).filter(named).count();
        match resolver.request(number) {
            Ok(()) => self.asked = Some(index),
            Err(error) => {
                self.say_unresolvable(&error.to_string());
                self.retry_at = Some(now + RETRY);
            }
        }
    }

    fn note_answer(
        &mut self,
        index: usize,
        answer: std::result::Result<Vec<SocketAddr>, String>,
        now: Time,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(index) else { return false };
        let host = entry.name().map(|(name, _)| name).unwrap_or_default();
        let family = entry.remote.family;
        let found = answer.map(|addresses| {
            addresses
                .into_iter()
                .filter(|address| fits(family, address) && !(self.inside)(address.ip()))
                .collect()
        });
        match found {
            Ok(addresses) if Vec::is_empty(&addresses) => {
                self.say_unresolvable(&format!("{host} has no address outside of the tunnel"));
            }
            Ok(addresses) => {
                if std::mem::take(&mut self.unresolvable) {
                    log::info!("remote found again host={host}");
                }
                let news = entry.addresses != addresses;
                if self.aim.is_some_and(|aim| entry.addresses.contains(&aim) && !addresses.contains(&aim)) {
                    // The name has moved, and the turn is still its own.
                    self.aim = addresses.first().copied();
                }
                entry.addresses = addresses;
                return news;
            }
            Err(reason) => self.say_unresolvable(&format!("{host}: {reason}")),
        }
        self.retry_at = Some(now + RETRY);
        false
    }

    fn say_unresolvable(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.unresolvable, true) {
            log::warn!("cannot look up the remote, trying for ever: {reason}");
        }
    }
}

impl Entry {
    fn new(remote: &Remote) -> Self {
        let found = match &remote.host {
            Host::Addr(ip) => vec![*ip],
            Host::Name(name) => hosts::look_up(name),
        };
        let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, remote.port));
        Self {
            remote: remote.clone(),
            addresses: addresses.filter(|address| fits(remote.family, address)).collect(),
        }
    }

    fn name(&self) -> Option<(String, u16)> {
        match &self.remote.host {
            Host::Name(name) => Some((name.clone(), self.remote.port)),
            Host::Addr(_) => None,
        }
    }
}

/// `remote-random`: which of two hosts gets the call is a matter of chance.
fn shuffle(entries: &mut [Entry]) {
    for last in (1..entries.len()).rev() {
        let mut random = [0; 8];
        // In the order of the file it is no worse.
        let _ = getrandom::fill(&mut random);
        entries.swap(last, (u64::from_ne_bytes(random) % (last as u64 + 1)) as usize);
    }
}

fn fits(family: Family, address: &SocketAddr) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}
