//! Name servers and domains: `dhcp-option` and `dns`. Nothing is set here; the `up` and `down` scripts are told.

use std::net::{IpAddr, Ipv4Addr};

use super::draft::Draft;
use super::grammar::Statement;
use super::problem::Fault;
use super::settings::{DnsServer, Settings};
use super::value;

type Applied = Result<(), Fault>;

/// So many addresses a server may have, as in OpenVPN.
const ADDRESSES: usize = 8;

/// What scripts know is checked; of the rest only that it is text.
pub(super) fn dhcp_option(draft: &mut Draft, statement: &Statement) -> Applied {
    let kind = statement.param(1).unwrap_or_default();
    let word = statement.param(2);
    let value = word.unwrap_or_default();
    match kind {
        "DNS" | "WINS" | "NTP" | "NBDD" => drop(value::address(value)?),
        "DNS6" => drop(value::ipv6(value)?),
        "DOMAIN" | "DOMAIN-SEARCH" | "ADAPTER_DOMAIN_SUFFIX" => drop(value::domain(value)?),
        _ => {}
    }
    for text in [kind, value] {
        if text.chars().any(char::is_control) {
            return Err(Fault::new(text, "contains control characters", "expected printable text"));
        }
    }
    let words = ["dhcp-option", kind].into_iter().chain(word);
    draft.settings.dhcp_options.push(words.collect::<Vec<_>>().join(" "));
    Ok(())
}

pub(super) fn dns(draft: &mut Draft, statement: &Statement) -> Applied {
    let rest = statement.params().get(1..).unwrap_or_default();
    match (statement.param(1).unwrap_or_default(), rest) {
        ("search-domains", [_, ..]) => {
            draft.settings.dns.search.extend(domains(rest)?);
            Ok(())
        }
        ("server", [number, what, values @ ..]) => server(draft, number, what, values),
        ("search-domains" | "server", _) => {
            let expected = "expected search-domains NAME ..., or server NUMBER address ADDRESS ...";
            Err(Fault::new("", "a word is missing", expected))
        }
        (word, _) => {
            Err(Fault::new(word, "is nothing that dns can say", "expected search-domains or server"))
        }
    }
}

/// Servers are told apart by their numbers.
fn server(draft: &mut Draft, number: &str, what: &str, values: &[String]) -> Applied {
    let number: i8 = number.parse().map_err(|_| {
        Fault::new(number, "is no number of a server", "expected one from -128 to 127; the lowest is first")
    })?;
    let servers = &mut draft.settings.dns.servers;
    let at = servers.iter().position(|server| server.number >= number).unwrap_or(servers.len());
    if servers.get(at).is_none_or(|server| server.number != number) {
        servers.insert(at, DnsServer { number, ..DnsServer::default() });
    }
    let Some(server) = servers.get_mut(at) else { return Ok(()) };
    let one_of = |allowed: &[&str]| match values {
        [word] if allowed.contains(&word.as_str()) => Ok(Some(word.clone())),
        _ => Err(Fault::new(
            values.join(" "),
            format!("is no {what}"),
            format!("expected {}", allowed.join(", ")),
        )),
    };
    match what {
        "address" => {
            let found: Vec<_> = values.iter().map(|word| with_port(word)).collect::<Result<_, _>>()?;
            server.addresses.extend(found);
            if values.is_empty() || server.addresses.len() > ADDRESSES {
                let expected =
                    format!("expected 1 to {ADDRESSES} as 10.8.0.1, 10.8.0.1:53, fd00::1, [fd00::1]:53");
                return Err(Fault::new("address", "too few or too many addresses", expected));
            }
        }
        "resolve-domains" if !values.is_empty() => server.domains.extend(domains(values)?),
        "dnssec" => server.dnssec = one_of(&["yes", "optional", "no"])?,
        "transport" => server.transport = one_of(&["DoH", "DoT", "plain"])?,
        "sni" => match values {
            [name] => server.sni = Some(value::domain(name)?),
            _ => return Err(Fault::new("sni", "is one name", "expected one as dns.example.org")),
        },
        word => {
            let expected = "expected address, resolve-domains, dnssec, transport or sni, and what it is";
            return Err(Fault::new(word, "says nothing of a server", expected));
        }
    }
    Ok(())
}

fn domains(words: &[String]) -> Result<Vec<String>, Fault> {
    words.iter().map(|word| value::domain(word)).collect()
}

/// An address, or `ADDRESS:PORT` with an IPv6 address in brackets.
fn with_port(word: &str) -> Result<(IpAddr, Option<u16>), Fault> {
    let port = |text: &str| value::number(text, 1..=65535).map(Some);
    if let Some((addr, number)) = word.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return Ok((value::ipv6(addr)?.into(), port(number)?));
    }
    match word.split_once(':') {
        Some((addr, number)) if addr.parse::<Ipv4Addr>().is_ok() => {
            Ok((value::address(addr)?, port(number)?))
        }
        _ => Ok((value::address(word)?, None)),
    }
}

/// A server without an address is none, and what no script is told has no effect.
pub(super) fn finish(draft: &mut Draft) {
    let lost = draft.settings.dns.servers.iter().find(|server| server.addresses.is_empty());
    if let Some(number) = lost.map(|server| server.number) {
        let expected = format!("add dns server {number} address ADDRESS");
        draft.fault("dns", Fault::new(number.to_string(), "this server has no address", expected));
    }
    let given = ["dhcp-option", "dns"].into_iter().find_map(|name| Some((name, draft.place(name)?.clone())));
    if let Some((name, place)) = given.filter(|_| draft.settings.up.is_none()) {
        draft.notice(
            &place,
            name,
            "without effect: it takes an up script, as /etc/openvpn/update-resolv-conf, and the same as down",
        );
    }
}

/// The variables with which scripts learn all that, as of OpenVPN 2.6: `foreign_option_N` in the form of `dhcp-option`,
/// into which `dns` is turned too, and `dns_...`.
pub fn environment(settings: &Settings) -> Vec<(String, String)> {
    let dns = &settings.dns;
    let replaced = |option: &String| {
        // What `dns` says takes the place of the older form, DNS6 included.
        (!dns.servers.is_empty() && option.starts_with("dhcp-option DNS"))
            || (!dns.search.is_empty() && option.starts_with("dhcp-option DOMAIN-SEARCH"))
    };
    let addresses = dns.servers.iter().flat_map(|server| &server.addresses);
    let servers = addresses.map(|(addr, _)| {
        let kind = if addr.is_ipv4() { "DNS" } else { "DNS6" };
        format!("dhcp-option {kind} {addr}")
    });
    let search = dns.search.iter().map(|name| format!("dhcp-option DOMAIN-SEARCH {name}"));
    let options = settings.dhcp_options.iter().filter(|option| !replaced(option)).cloned();
    let mut list = numbered("foreign_option_", options.chain(servers).chain(search));
    list.extend(numbered("dns_search_domain_", dns.search.iter().cloned()));
    for (server, n) in dns.servers.iter().zip(1..) {
        let name = |what: &str| format!("dns_server_{n}_{what}");
        for ((addr, port), i) in server.addresses.iter().zip(1..) {
            list.push((name(&format!("address_{i}")), addr.to_string()));
            list.extend(port.map(|port| (name(&format!("port_{i}")), port.to_string())));
        }
        list.extend(numbered(&name("resolve_domain_"), server.domains.iter().cloned()));
        let rest = [("dnssec", &server.dnssec), ("transport", &server.transport), ("sni", &server.sni)];
        list.extend(rest.into_iter().filter_map(|(what, value)| Some((name(what), value.clone()?))));
    }
    list
}

fn numbered(name: &str, values: impl Iterator<Item = String>) -> Vec<(String, String)> {
    values.zip(1..).map(|(value, n)| (format!("{name}{n}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_colon_is_a_port_behind_ipv4_or_a_bracket_only() {
        let six = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
        assert_eq!(with_port("10.8.0.1"), Ok(("10.8.0.1".parse().unwrap(), None)));
        assert_eq!(with_port("10.8.0.1:53"), Ok(("10.8.0.1".parse().unwrap(), Some(53))));
        assert_eq!(with_port("fd00::53"), Ok((six("fd00::53"), None)));
        assert_eq!(with_port("[fd00::1]:53"), Ok((six("fd00::1"), Some(53))));
        for word in ["", "10.8.0.1:", "10.8.0.1:65536", "[fd00::1]", "[10.8.0.1]:53", "a:53", "fd00::1:x"] {
            assert!(with_port(word).is_err(), "{word}");
        }
    }
}
