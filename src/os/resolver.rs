//! Looks up names in a process of its own: getaddrinfo(3) needs the files and sockets that the sandbox forbids.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::error::{Error, Exit, Result};
use crate::os::child::{Child, Link, Received};
use crate::os::hosts;
use crate::os::privileges::{self, Identity};

/// The most addresses of one answer: of either IP version enough, whichever comes first.
pub const ADDRESSES: usize = 32;
/// An address in an answer: IPv6 or mapped IPv4 (16) | port (2) | scope (4).
const ADDRESS: usize = 22;
/// The longest reason of a failure, bytes.
const REASON: usize = 200;

/// The addresses of a name, in the resolver's order, or why there are none.
pub type Answer = std::result::Result<Vec<SocketAddr>, String>;

/// The parent's end. The process behind it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    child: Child,
    hosts: usize,
    /// The number of the host that an answer is expected for.
    asked: Option<u8>,
}

impl Resolver {
    /// Forks a process that can look up `hosts` (name and port; at most 255), as `identity` and without capabilities.
    /// The process must have one thread.
    pub fn fork(hosts: Vec<(String, u16)>, identity: Option<&Identity>) -> Result<Self> {
        let count = hosts.len();
        if count > usize::from(u8::MAX) {
            return Err(Error::new(Exit::Config, "start the resolver", "too many names"));
        }
        let child = Child::spawn(c"naptun-resolver", &[], |link| serve(&link, &hosts, identity))?;
        Ok(Self { child, hosts: count, asked: None })
    }

    /// Asks for the addresses of the host with this number in the list. An answer still on its way to an earlier
    /// question is forgotten.
    pub fn request(&mut self, host: usize) -> Result<()> {
        let act = "ask the resolver";
        let number = u8::try_from(host).ok().filter(|_| host < self.hosts);
        let number =
            number.ok_or_else(|| Error::new(Exit::Software, act, format!("there is no host {host}")))?;
        self.child.link().send(&[number]).map_err(|e| Error::new(Exit::Software, act, e))?;
        self.asked = Some(number);
        Ok(())
    }

    /// Waits until an answer has come, `limit` at most.
    pub fn wait(&self, limit: Duration) {
        self.child.link().wait(limit);
    }

    /// The answer to the last question, if it has come. Never waits.
    pub fn answer(&mut self) -> Option<Answer> {
        let asked = self.asked?;
        loop {
            let answer = match self.child.link().receive(Some(Duration::ZERO)) {
                Received::Message(message) => match message.split_first() {
                    Some((&host, answer)) if host == asked => decode(answer),
                    _ => continue,
                },
                Received::End => Err("the resolver is gone".to_owned()),
                Received::Nothing => return None,
            };
            self.asked = None;
            return Some(answer);
        }
    }
}

impl AsRawFd for Resolver {
    fn as_raw_fd(&self) -> RawFd {
        self.child.link().raw()
    }
}

/// The process: answers until the other end is closed. If it cannot give up its privileges that is its only answer,
/// for what comes back from a name server is hostile.
fn serve(link: &Link, hosts: &[(String, u16)], identity: Option<&Identity>) -> Exit {
    let reduced = match identity {
        Some(identity) => privileges::reduce(identity, &[]).map(drop),
        None => Ok(()),
    };
    let reduced = reduced.and_then(|()| privileges::drop_all());
    loop {
        let message = match link.receive(None) {
            Received::Message(message) => message,
            Received::End => return Exit::Ok,
            Received::Nothing => continue,
        };
        let Some((&number, (name, port))) =
            message.first().and_then(|n| Some((n, hosts.get(usize::from(*n))?)))
        else {
            continue;
        };
        let answer = match &reduced {
            Ok(_) => look_up(name, *port),
            Err(error) => Err(error.to_string()),
        };
        if link.send(&[&[number][..], &encode(&answer)].concat()).is_err() {
            return Exit::Ok;
        }
    }
}

/// /etc/hosts is read anew each time, and has the first word whatever nsswitch.conf(5) says: so it was at the start.
fn look_up(name: &str, port: u16) -> Answer {
    let found = hosts::look_up(name);
    if found.is_empty() {
        return (name, port).to_socket_addrs().map(Vec::from_iter).map_err(|e| e.to_string());
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// `+` and addresses, or `-` and a reason.
fn encode(answer: &Answer) -> Vec<u8> {
    match answer {
        Ok(addresses) => addresses.iter().take(ADDRESSES).fold(vec![b'+'], |mut bytes, address| {
            let (ip, scope) = match address {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            bytes.extend(ip.octets());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(scope.to_be_bytes());
            bytes
        }),
        Err(reason) => std::iter::once(b'-').chain(reason.bytes().take(REASON)).collect(),
    }
}

fn decode(answer: &[u8]) -> Answer {
    match answer.split_first() {
        Some((b'+', addresses)) => {
            let addresses: Vec<_> =
                addresses.chunks_exact(ADDRESS).take(ADDRESSES).filter_map(address).collect();
            if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
        }
        Some((b'-', reason)) => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("the resolver's answer is malformed".to_owned()),
    }
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, rest) = bytes.split_first_chunk::<16>()?;
    let (port, scope) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match Ipv6Addr::from(*ip).to_canonical() {
        IpAddr::V4(v4) => Some(SocketAddr::new(IpAddr::V4(v4), port)),
        IpAddr::V6(v6) => {
            let scope = u32::from_be_bytes(*scope.first_chunk()?);
            Some(SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_way_to_the_parent() {
        let v6 = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, 3);
        let addresses = vec!["192.0.2.7:1194".parse().unwrap(), SocketAddr::V6(v6)];
        assert_eq!(decode(&encode(&Ok(addresses.clone()))), Ok(addresses));
        assert_eq!(decode(&encode(&Err("unknown name".into()))), Err("unknown name".into()));
    }

    #[test]
    fn a_long_list_is_cut_and_an_empty_one_is_a_failure() {
        let many: Vec<SocketAddr> = (1..100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        assert_eq!(decode(&encode(&Ok(many.clone()))), Ok(many[..ADDRESSES].to_vec()));
        assert!(decode(&encode(&Ok(Vec::new()))).is_err());
    }

    #[test]
    fn a_malformed_answer_is_a_failure() {
        for length in 0..40 {
            assert!(decode(&vec![0; length]).is_err());
        }
    }
}
