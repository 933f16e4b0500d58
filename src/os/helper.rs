//! The root helper: runs the one `up` and the one `down` command, keeps the way to the peer outside of a tunnel that takes
//! all traffic, and undoes what does not vanish with the device.
//!
//! It is forked while the process still is root and before any secret is read. The parent can give it facts (the
//! device, the peer's address), never a command. It outlives the parent by as long as it takes to clean up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};

use crate::error::{Error, Exit, Result};
use crate::os::child::{Child, Link, Received};
use crate::os::redirect::Redirect;
use crate::os::script::{self, Ended, PATH};

/// How long a script may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);
/// What the parent waits for beyond the script's own limit: the helper's answer is due by then.
const GRACE: Duration = Duration::from_secs(5);
/// IFNAMSIZ of linux/if.h without its final zero.
const NAME: usize = 15;
/// The most that can be remembered for the undo, bytes.
const REMEMBERED: usize = 512;

/// What the helper does when it is asked to delete what the kernel does not; it gets what was last given to
/// [`Helper::remember`]. That comes from a less privileged process: check it.
pub type Undo = Box<dyn FnOnce(&[u8])>;

/// Everything the helper will ever know of commands.
pub struct Plan {
    /// `up`, in words.
    pub up: Option<Vec<String>>,
    /// `down`, in words.
    pub down: Option<Vec<String>>,
    /// The fixed part of both scripts' environment. `PATH`, `script_type`, `script_context`, `dev`, `tun_mtu`,
    /// `trusted_ip` or `trusted_ip6`, `trusted_port` and, for `down`, `signal` are added here.
    pub environment: Vec<(String, String)>,
    /// The local address, and the remote address (tun) or netmask (tap); empty where there is none, so that the
    /// arguments keep their places.
    pub arguments: [String; 2],
    /// Run last, if anything was remembered.
    pub undo: Option<Undo>,
    /// What [`Helper::lead`] does, and undone behind `undo`.
    pub redirect: Option<Redirect>,
    /// Descriptors that `undo` needs.
    pub keep: Vec<RawFd>,
    /// How long each script may take: [`TIME_LIMIT`] outside tests.
    pub time_limit: Duration,
}

/// What the parent tells of a device that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The device's name: 1 to 15 of `A-Z a-z 0-9 _ . : -`, and not `.` or `..`.
    pub device: String,
    /// Its MTU, bytes.
    pub mtu: u16,
    /// The peer's outer address, where it is known.
    pub trusted: Option<SocketAddr>,
}

/// The parent's end. Dropping it has the helper clean up too, with nobody waiting for it.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    time_limit: Duration,
    /// Whether there is anything to do after `up`.
    stays: bool,
    /// Whether [`Helper::lead`] has anything to do.
    leads: bool,
    /// Answers that came too late to be waited for.
    late: usize,
}

impl Plan {
    /// With nothing to do at the end, the helper is gone after `up`.
    fn stays(&self) -> bool {
        self.down.is_some() || self.undo.is_some() || self.redirect.is_some()
    }
}

impl Helper {
    /// Forks the helper, which keeps the present user, directory and privileges. The process must have one thread.
    pub fn fork(plan: Plan) -> Result<Self> {
        let time_limit = plan.time_limit;
        let (stays, leads) = (plan.stays(), plan.redirect.is_some());
        let keep = plan.keep.clone();
        let child = Child::spawn(c"naptun-helper", &keep, move |link| Work::new(plan).serve(&link))?;
        Ok(Self { child, time_limit, stays, leads, late: 0 })
    }

    /// Runs `up` and waits for its end, for as long as a script may take. Succeeds without running anything where there
    /// is no `up`; `down` is armed from then on. A second call is a restart, in the scripts' word.
    pub fn up(&mut self, facts: &Facts) -> Result<()> {
        let act = "run the up script";
        self.send(act, &facts.to_bytes())?;
        let answer = self.hear(act, self.time_limit + GRACE);
        if !self.stays {
            self.child.reap(GRACE);
        }
        answer
    }

    /// Whether there is a way to the peer to be kept.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Has the way to `peer` kept outside of the device that is up, and all else redirected into it, as the plan says; to
    /// be called again when the peer has moved or this host's own way to it has changed. Does nothing where the plan
    /// says nothing.
    ///
    /// The helper takes any address: whoever has this process in its hands can have one host at a time reached past the
    /// tunnel, by the way it would have without.
    pub fn lead(&mut self, peer: IpAddr) -> Result<()> {
        if !self.leads {
            return Ok(());
        }
        let act = "redirect into the tunnel";
        self.send(act, &[&[LEAD], &to_ipv6(peer).octets()[..]].concat())?;
        self.hear(act, GRACE)
    }

    /// Has `what` (at most 512 bytes; replaces what was said before) given to the undo at the end. To be
    /// called before the thing is done that must be undone; nothing to undo is an empty `what`.
    pub fn remember(&mut self, what: &[u8]) -> Result<()> {
        let act = "prepare the clean-up";
        if what.len() > REMEMBERED {
            return Err(Error::new(Exit::Software, act, format!("{} bytes are too many", what.len())));
        }
        self.send(act, &[&[REMEMBER], what].concat())
    }

    /// The graceful end: `down` if `up` succeeded, then the undo; waits for both, for a limited time. `signal` is
    /// what the `down` script is told (OpenVPN's words: `sigterm`, `inactive`, `ping-exit`, ...).
    ///
    /// An error says that `down` failed; the helper is gone or going all the same.
    pub fn finish(&mut self, signal: &str) -> Result<()> {
        if !self.stays {
            return Ok(());
        }
        let act = "run the down script";
        self.send(act, &[&[DOWN], signal.as_bytes()].concat())?;
        let answer = self.hear(act, self.time_limit + GRACE);
        if self.late == 0 {
            self.child.reap(GRACE);
        }
        answer
    }

    /// The answer to what was sent last.
    fn hear(&mut self, act: &str, limit: Duration) -> Result<()> {
        loop {
            match self.child.link().receive(Some(limit)) {
                Received::Message(_) if self.late > 0 => self.late -= 1,
                Received::Message(answer) => return outcome(act, &answer),
                Received::End => return Err(Error::new(Exit::Software, act, "the script helper is gone")),
                Received::Nothing => {
                    self.late += 1;
                    return Err(Error::new(Exit::TempFail, act, "the script helper does not answer"));
                }
            }
        }
    }

    fn send(&self, act: &str, message: &[u8]) -> Result<()> {
        self.child.link().send(message).map_err(|e| Error::new(Exit::Software, act, e))
    }
}

/// Readable when the helper has died; it never speaks unasked.
impl AsRawFd for Helper {
    fn as_raw_fd(&self) -> RawFd {
        self.child.link().raw()
    }
}

const UP: u8 = b'U';
const DOWN: u8 = b'D';
const REMEMBER: u8 = b'R';
const LEAD: u8 = b'L';

fn to_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

impl Facts {
    /// Kind (1) | MTU (2) | port (2), 0 for no address | address as IPv6 (16) | name.
    fn to_bytes(&self) -> Vec<u8> {
        let ip = self.trusted.map_or(Ipv6Addr::UNSPECIFIED, |peer| to_ipv6(peer.ip()));
        let port = self.trusted.map_or(0, |peer| peer.port());
        [&[UP][..], &self.mtu.to_be_bytes(), &port.to_be_bytes(), &ip.octets(), self.device.as_bytes()]
            .concat()
    }

    /// `bytes` is the message without its kind.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mtu, rest) = bytes.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (ip, name) = rest.split_first_chunk::<16>()?;
        let (mtu, port) = (u16::from_be_bytes(*mtu), u16::from_be_bytes(*port));
        let trusted = (port != 0).then(|| SocketAddr::new(Ipv6Addr::from(*ip).to_canonical(), port));
        device_name(name).map(|device| Self { device, mtu, trusted })
    }
}

fn device_name(name: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte);
    let valid = (1..=NAME).contains(&name.len()) && name.iter().all(allowed) && name != b"." && name != b"..";
    valid.then(|| String::from_utf8_lossy(name).into_owned())
}

fn ending(word: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let valid = (1..=20).contains(&word.len()) && word.iter().all(allowed);
    valid.then(|| String::from_utf8_lossy(word).into_owned())
}

/// The helper's answer: how the script ended (1) | status or signal (1) | text.
fn answer(ended: &Ended) -> Vec<u8> {
    let (kind, number, text) = match ended {
        Ended::Exited(status) => (b'X', *status, ""),
        Ended::Killed(signal) => (b'S', u8::try_from(*signal).unwrap_or_default(), ""),
        Ended::TimedOut => (b'T', 0, ""),
        Ended::NotStarted(why) => (b'N', 0, why.as_str()),
    };
    let mut bytes = vec![kind, number];
    bytes.extend(text.bytes().take(super::child::MESSAGE - 2));
    bytes
}

/// The same in the parent's words.
fn outcome(act: &str, answer: &[u8]) -> Result<()> {
    let cause = match answer {
        [b'X', 0] => return Ok(()),
        [b'X', status] => format!("it exited with status {status}"),
        [b'S', signal] => format!("it was ended by signal {signal}"),
        [b'T', _] => "it took too long and was killed".to_owned(),
        [b'N', _, why @ ..] => String::from_utf8_lossy(why).into_owned(),
        _ => "the script helper refuses".to_owned(),
    };
    Err(Error::new(Exit::Unavailable, act, cause))
}

/// The helper itself.
struct Work {
    plan: Plan,
    /// Of the last `up` that succeeded.
    facts: Option<Facts>,
    /// Whether there was an `up` before.
    started: bool,
    remembered: Vec<u8>,
}

impl Work {
    fn new(plan: Plan) -> Self {
        Self { plan, facts: None, started: false, remembered: Vec::new() }
    }

    fn serve(mut self, link: &Link) -> Exit {
        // Scripts make files for others too; the parent's mask is for files with secrets.
        umask(Mode::from_bits_truncate(0o022));
        loop {
            match link.receive(None) {
                Received::Message(message) => match message.split_first() {
                    Some((&UP, facts)) => {
                        self.reply(link, facts);
                        if !self.plan.stays() {
                            return Exit::Ok;
                        }
                    }
                    Some((&LEAD, peer)) => {
                        let _ = link.send(&answer(&self.lead(peer)));
                    }
                    Some((&REMEMBER, what)) if what.len() <= REMEMBERED => self.remembered = what.to_vec(),
                    Some((&DOWN, word)) => return self.end(ending(word), Some(link)),
                    _ => {}
                },
                Received::End => return self.end(None, None),
                Received::Nothing => {}
            }
        }
    }

    fn reply(&mut self, link: &Link, facts: &[u8]) {
        let ended = match Facts::from_bytes(facts) {
            Some(facts) => self.up(facts),
            None => Ended::NotStarted("the device's name is malformed".to_owned()),
        };
        // Nobody to tell is the end of file that comes next.
        let _ = link.send(&answer(&ended));
    }

    fn lead(&mut self, peer: &[u8]) -> Ended {
        let peer = <[u8; 16]>::try_from(peer).map(|octets| Ipv6Addr::from(octets).to_canonical());
        let (Ok(peer), Some(facts), Some(redirect)) = (peer, &self.facts, &mut self.plan.redirect) else {
            return Ended::NotStarted("there is nothing to redirect".to_owned());
        };
        match redirect.lead(&facts.device, peer) {
            Ok(()) => Ended::Exited(0),
            Err(error) => Ended::NotStarted(error.to_string()),
        }
    }

    fn up(&mut self, facts: Facts) -> Ended {
        let context = if self.started { "restart" } else { "init" };
        self.started = true;
        let ended = self.script(self.plan.up.as_ref(), &facts, "up", context, None);
        self.facts = (ended == Ended::Exited(0)).then_some(facts);
        ended
    }

    /// `down` after a successful `up`, then the undo, then the answer: whoever waits finds everything done.
    fn end(mut self, signal: Option<String>, link: Option<&Link>) -> Exit {
        let signal = signal.unwrap_or_else(|| "unknown".to_owned());
        let ended = match &self.facts {
            Some(facts) => self.script(self.plan.down.as_ref(), facts, "down", "init", Some(&signal)),
            None => Ended::Exited(0),
        };
        if let Some(undo) = self.plan.undo.take().filter(|_| !self.remembered.is_empty()) {
            undo(&self.remembered);
        }
        if let Some(Err(error)) = self.plan.redirect.as_mut().map(Redirect::undo) {
            log::warn!("{error}");
        }
        if let Some(link) = link {
            let _ = link.send(&answer(&ended));
        }
        Exit::Ok
    }

    fn script(
        &self,
        words: Option<&Vec<String>>,
        facts: &Facts,
        kind: &str,
        context: &str,
        signal: Option<&str>,
    ) -> Ended {
        let Some(words) = words else { return Ended::Exited(0) };
        let [local, remote] = self.plan.arguments.clone();
        // The third is the link MTU in OpenVPN's order; it has been 0 since 2.6.
        let mtu = facts.mtu.to_string();
        let arguments = [facts.device.clone(), mtu, "0".to_owned(), local, remote, context.to_owned()];
        let environment = self.environment(facts, kind, context, signal);
        script::run(words, &arguments, &environment, self.plan.time_limit)
    }

    /// The fixed part lies between what it may change (`PATH`) and what it may not.
    fn environment(
        &self,
        facts: &Facts,
        kind: &str,
        context: &str,
        signal: Option<&str>,
    ) -> Vec<(String, String)> {
        let mut all = vec![("PATH".to_owned(), PATH.to_owned())];
        all.extend(self.plan.environment.iter().map(|(name, value)| clean(name, value)));
        let mut fact = |name: &str, value: String| all.push((name.to_owned(), value));
        fact("script_type", kind.to_owned());
        fact("script_context", context.to_owned());
        fact("dev", facts.device.clone());
        fact("tun_mtu", facts.mtu.to_string());
        if let Some(peer) = facts.trusted {
            let name = if peer.is_ipv4() { "trusted_ip" } else { "trusted_ip6" };
            fact(name, peer.ip().to_string());
            fact("trusted_port", peer.port().to_string());
        }
        if let Some(signal) = signal {
            fact("signal", signal.to_owned());
        }
        all
    }
}

/// Names of letters, digits and `_`, values of printable characters; anything else becomes `_`.
fn clean(name: &str, value: &str) -> (String, String) {
    let name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let value = value.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    (name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_to_the_helper() {
        for trusted in [None, Some("192.0.2.1:1194"), Some("[2001:db8::1]:9")] {
            let trusted = trusted.map(|text| text.parse().unwrap());
            let facts = Facts { device: "tap0.a:b-c_d".into(), mtu: 1420, trusted };
            assert_eq!(Facts::from_bytes(&facts.to_bytes()[1..]), Some(facts));
        }
    }

    #[test]
    fn the_helper_takes_no_name_that_could_be_more_than_a_name() {
        for name in ["", ".", "..", "a/b", "a b", "$x", "a\n", "0123456789abcdef", "tün", "a\0"] {
            let facts = Facts { device: name.into(), mtu: 1500, trusted: None };
            assert_eq!(Facts::from_bytes(&facts.to_bytes()[1..]), None, "{name:?}");
        }
        for length in 0..20 {
            assert_eq!(Facts::from_bytes(&[b'a'; 20][..length]), None);
        }
    }

    #[test]
    fn words_of_the_environment_are_cleaned() {
        assert_eq!(clean("a-b=c", "x\ny\u{1b}z ä"), ("a_b_c".into(), "x_y_z ä".into()));
    }

    #[test]
    fn every_end_of_a_script_has_its_words() {
        let words = |ended| outcome("run the up script", &answer(&ended)).map_err(|e| e.to_string());
        assert_eq!(words(Ended::Exited(0)), Ok(()));
        assert_eq!(words(Ended::Exited(3)), Err("run the up script: it exited with status 3".into()));
        assert_eq!(words(Ended::Killed(9)), Err("run the up script: it was ended by signal 9".into()));
        assert_eq!(words(Ended::TimedOut), Err("run the up script: it took too long and was killed".into()));
        assert_eq!(words(Ended::NotStarted("no".into())), Err("run the up script: no".into()));
    }
}
