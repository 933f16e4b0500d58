//! Directives of the outer side: whom to call, from where, over what.

use std::time::Duration;

use super::draft::{DEFAULT_PORT, Draft, RemoteLine};
use super::grammar::Statement;
use super::problem::Fault;
use super::settings::{Family, Host, Mssfix, PingTimeout, Remote};
use super::value;

type Applied = Result<(), Fault>;

/// The longest time-out that OpenVPN's newest release accepts: a day.
const DAY: u64 = 86_400;

/// Keys are replaced at no smaller age: a handshake may take a few seconds.
const RENEG_LEAST: Duration = Duration::from_secs(10);

/// When keys are replaced if nothing is said.
const RENEG_MOST: Duration = Duration::from_secs(120);

pub(super) fn remote(draft: &mut Draft, statement: &Statement) -> Applied {
    let host = value::host(statement.param(1).unwrap_or_default())?;
    let port = statement.param(2).map(value::port).transpose()?;
    let family = statement.param(3).map(value::family).transpose()?;
    draft.remotes.push(RemoteLine { host, port, family, place: statement.place.clone() });
    Ok(())
}

pub(super) fn local(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.local = Some(value::host(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn port(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.port = Some(value::port(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn lport(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.lport = Some(value::port(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn rport(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.rport = Some(value::port(statement.param(1).unwrap_or_default())?);
    Ok(())
}

pub(super) fn proto(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.family = value::family(statement.param(1).unwrap_or_default())?;
    Ok(())
}

pub(super) fn resolv_retry(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.resolv_retry = match statement.param(1).unwrap_or_default() {
        "infinite" => None,
        word => Some(value::seconds(word, 0..=u64::from(u32::MAX))?),
    };
    Ok(())
}

pub(super) fn connect_retry(draft: &mut Draft, statement: &Statement) -> Applied {
    let pause = value::seconds(statement.param(1).unwrap_or_default(), 1..=DAY)?;
    let longest = statement.param(2).map(|word| value::seconds(word, pause.as_secs()..=DAY)).transpose()?;
    draft.settings.connect_retry = Some(longest.unwrap_or(pause));
    Ok(())
}

pub(super) fn sndbuf(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.sndbuf = buffer(statement)?;
    Ok(())
}

pub(super) fn rcvbuf(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.rcvbuf = buffer(statement)?;
    Ok(())
}

/// 0 leaves the size to the system, as in OpenVPN.
fn buffer(statement: &Statement) -> Result<Option<usize>, Fault> {
    let bytes = value::number(statement.param(1).unwrap_or_default(), 0..=i32::MAX as u64)?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

pub(super) fn mark(draft: &mut Draft, statement: &Statement) -> Applied {
    let word = statement.param(1).unwrap_or_default();
    let hex = word.strip_prefix("0x").or(word.strip_prefix("0X"));
    let mark = match hex {
        None => value::number(word, 0..=u64::from(u32::MAX))?,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let expected = "expected a number of 32 bits";
            u32::from_str_radix(digits, 16).map_err(|_| Fault::new(word, "is out of range", expected))?
        }
        Some(_) => return Err(Fault::new(word, "is no number", "expected one as 42 or 0x2a")),
    };
    draft.settings.mark = Some(mark);
    Ok(())
}

/// OpenVPN's three ways of counting; without a number the datagram just fits a path of 1492 bytes (PPPoE), as since 2.6.
pub(super) fn mssfix(draft: &mut Draft, statement: &Statement) -> Applied {
    let number = |word| -> Result<u16, Fault> {
        let most = value::number(word, 256..=65507);
        most.map_err(|fault| Fault { expected: fault.expected + ", or 0 for off", ..fault })
    };
    draft.settings.mssfix = match (statement.param(1), statement.param(2)) {
        (None, _) => Mssfix::Mtu(1492),
        (Some("0"), _) => Mssfix::Off,
        (Some(word), None) => Mssfix::Payload(number(word)?),
        (Some(word), Some("mtu")) => Mssfix::Mtu(number(word)?),
        (Some(word), Some("fixed")) => Mssfix::Fixed(number(word)?),
        (_, Some(word)) => return Err(Fault::new(word, "is no way of counting", "expected mtu or fixed")),
    };
    Ok(())
}

/// Never longer than the protocol lets keys live, whatever the file says.
pub(super) fn reneg_sec(draft: &mut Draft, statement: &Statement) -> Applied {
    let age = |word: &str| value::seconds(word, 0..=u64::from(u32::MAX));
    statement.param(2).map(age).transpose()?;
    let age = age(statement.param(1).unwrap_or_default())?;
    let earlier = !age.is_zero() && age < RENEG_MOST;
    draft.settings.reneg_sec = earlier.then_some(age.max(RENEG_LEAST));
    Ok(())
}

pub(super) fn ping(draft: &mut Draft, statement: &Statement) -> Applied {
    let pause = value::seconds(statement.param(1).unwrap_or_default(), 0..=DAY)?;
    draft.settings.ping = Some(pause).filter(|pause| !pause.is_zero());
    Ok(())
}

pub(super) fn ping_exit(draft: &mut Draft, statement: &Statement) -> Applied {
    let after = value::seconds(statement.param(1).unwrap_or_default(), 0..=DAY)?;
    draft.settings.ping_timeout = (!after.is_zero()).then_some(PingTimeout::Exit(after));
    Ok(())
}

pub(super) fn ping_restart(draft: &mut Draft, statement: &Statement) -> Applied {
    let after = value::seconds(statement.param(1).unwrap_or_default(), 0..=DAY)?;
    draft.settings.ping_timeout = (!after.is_zero()).then_some(PingTimeout::Restart(after));
    Ok(())
}

pub(super) fn keepalive(draft: &mut Draft, statement: &Statement) -> Applied {
    let pause = value::seconds(statement.param(1).unwrap_or_default(), 1..=DAY / 2)?;
    let word = statement.param(2).unwrap_or_default();
    let after = value::seconds(word, 1..=DAY)?;
    if after < pause * 2 {
        let expected = format!("expected {} or more, or one lost ping ends it", 2 * pause.as_secs());
        return Err(Fault::new(word, "is less than twice the pause", expected));
    }
    draft.settings.ping = Some(pause);
    draft.settings.ping_timeout = Some(PingTimeout::Restart(after));
    Ok(())
}

/// Settles ports, remotes and what must not stand together.
pub(super) fn finish(draft: &mut Draft) {
    settle_ports(draft);
    settle_remotes(draft);
    exclude(draft);
}

fn settle_ports(draft: &mut Draft) {
    let lport = draft.lport.or(draft.port).unwrap_or(DEFAULT_PORT);
    draft.settings.lport = if draft.nobind { 0 } else { lport };
}

/// A `remote` of the command line takes the place of those in the file.
fn settle_remotes(draft: &mut Draft) {
    let mut lines = std::mem::take(&mut draft.remotes);
    if lines.iter().any(|line| line.place.is_command_line()) {
        lines.retain(|line| line.place.is_command_line());
    }
    let port = draft.rport.or(draft.port).unwrap_or(DEFAULT_PORT);
    for line in &lines {
        let family = line.family.unwrap_or(draft.settings.family);
        if let Some(fault) = wrong_family(&line.host, family) {
            draft.problems.push(fault.at(&line.place, "remote"));
        }
        let remote = Remote { host: line.host.clone(), port: line.port.unwrap_or(port), family };
        draft.settings.remotes.push(remote);
    }
    draft.remotes = lines;
    let local = draft.settings.local.as_ref();
    if let Some(fault) = local.and_then(|host| wrong_family(host, draft.settings.family)) {
        draft.fault("local", fault);
    }
}

fn wrong_family(host: &Host, family: Family) -> Option<Fault> {
    let (word, cause) = match (host, family) {
        (Host::Addr(addr), Family::V4) if addr.is_ipv6() => (addr, "is an IPv6 address"),
        (Host::Addr(addr), Family::V6) if addr.is_ipv4() => (addr, "is an IPv4 address"),
        _ => return None,
    };
    let expected = match family {
        Family::V4 => "the protocol here is udp4",
        _ => "the protocol here is udp6",
    };
    Some(Fault::new(word.to_string(), cause, expected))
}

fn exclude(draft: &mut Draft) {
    if draft.nobind && draft.settings.remotes.is_empty() {
        let expected = "give a remote, or remove nobind";
        draft.fault("nobind", Fault::new("", "without a remote nobody could find this end", expected));
    }
    if draft.nobind && draft.lport.is_some() {
        draft.fault("nobind", Fault::new("", "contradicts lport", "remove one of the two"));
    }
    if draft.nobind && draft.settings.local.is_some() {
        draft.fault("nobind", Fault::new("", "contradicts local", "remove one of the two"));
    }
    if !draft.settings.inetd {
        return;
    }
    for name in ["local", "nobind"] {
        if draft.place(name).is_some() {
            let cause = "contradicts inetd: the super-server has bound the socket already";
            draft.fault(name, Fault::new("", cause, format!("remove {name}")));
        }
    }
    if draft.settings.daemon {
        let cause = "contradicts inetd: the super-server waits for this very process";
        draft.fault("daemon", Fault::new("", cause, "remove one of the two"));
    }
}
