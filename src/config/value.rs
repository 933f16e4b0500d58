//! Words to values, strictly: what is not wholly a number is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Fault;
use super::services;
use super::settings::{DeviceType, Family, Host};

type Value<T> = Result<T, Fault>;

/// A decimal number within `range`.
pub(super) fn number<T: TryFrom<u64>>(word: &str, range: RangeInclusive<u64>) -> Value<T> {
    let expected = || format!("expected a number from {} to {}", range.start(), range.end());
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new(word, "is no number", expected()));
    }
    let in_range = word.parse().ok().filter(|number| range.contains(number));
    in_range
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Fault::new(word, "is out of range", expected()))
}

/// Seconds within `range`.
pub(super) fn seconds(word: &str, range: RangeInclusive<u64>) -> Value<Duration> {
    number(word, range).map(Duration::from_secs)
}

/// A UDP port, by number or by its name in /etc/services.
pub fn port(word: &str) -> Value<u16> {
    if word.starts_with(|c: char| c.is_ascii_digit()) || !word.contains(|c: char| c.is_ascii_alphabetic()) {
        return number(word, 1..=65535);
    }
    services::port(word)
}

/// `udp`, `udp4` or `udp6`.
pub(super) fn family(word: &str) -> Value<Family> {
    match word {
        "udp" => Ok(Family::Any),
        "udp4" => Ok(Family::V4),
        "udp6" => Ok(Family::V6),
        tcp if tcp.starts_with("tcp") => {
            Err(Fault::new(word, "the tunnel speaks UDP only", "expected udp, udp4 or udp6"))
        }
        _ => Err(Fault::new(word, "is no protocol of the tunnel", "expected udp, udp4 or udp6")),
    }
}

/// `tun` or `tap`.
pub(super) fn device_type(word: &str) -> Value<DeviceType> {
    match word {
        "tun" => Ok(DeviceType::Tun),
        "tap" => Ok(DeviceType::Tap),
        _ => Err(Fault::new(word, "is no type of device", "expected tun or tap")),
    }
}

/// An address or a name. What looks like an address must be one.
pub(super) fn host(word: &str) -> Value<Host> {
    if let Ok(addr) = word.parse::<IpAddr>() {
        return Ok(Host::Addr(addr));
    }
    let numeric = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric || word.contains([':', '/', '%']) {
        return Err(Fault::new(
            word,
            "is no address",
            "expected an address as 192.0.2.1 or 2001:db8::1, or a name",
        ));
    }
    if !is_name(word) {
        let expected = "expected an address, or a name of letters, digits, dots and hyphens";
        return Err(Fault::new(word, "is no host name", expected));
    }
    Ok(Host::Name(word.to_owned()))
}

/// A name of a domain.
pub(super) fn domain(word: &str) -> Value<String> {
    if is_name(word) && word.parse::<IpAddr>().is_err() {
        return Ok(word.to_owned());
    }
    Err(Fault::new(word, "is no name of a domain", "expected one as example.org"))
}

/// An address of either version.
pub(super) fn address(word: &str) -> Value<IpAddr> {
    word.parse().map_err(|_| Fault::new(word, "is no address", "expected one as 10.8.0.1 or fd00::1"))
}

/// An IPv4 address or a name; `other` says what takes IPv6 addresses.
pub(super) fn host_v4(word: &str, other: &str) -> Value<Host> {
    match host(word)? {
        Host::Addr(IpAddr::V6(_)) => {
            Err(Fault::new(word, "is an IPv6 address", format!("use {other} for it")))
        }
        host => Ok(host),
    }
}

/// An IPv6 literal.
pub(super) fn ipv6(word: &str) -> Value<Ipv6Addr> {
    word.parse().map_err(|_| Fault::new(word, "is no IPv6 address", "expected one as 2001:db8::1"))
}

/// `ADDRESS/BITS` with `bits` in range.
pub(super) fn ipv6_prefix(word: &str, bits: RangeInclusive<u64>) -> Value<(Ipv6Addr, u8)> {
    let Some((addr, length)) = word.split_once('/') else {
        return Err(Fault::new(word, "its prefix length is missing", "expected one as 2001:db8::1/64"));
    };
    Ok((ipv6(addr)?, number(length, bits)?))
}

/// The prefix length of a netmask.
pub(super) fn netmask(word: &str) -> Value<u8> {
    let mask =
        word.parse().map_err(|_| Fault::new(word, "is no netmask", "expected one as 255.255.255.0"))?;
    prefix_of(mask).ok_or_else(|| {
        Fault::new(word, "its one bits are not contiguous", "expected a netmask as 255.255.255.0")
    })
}

/// The prefix length of `mask`; `None` if its ones have gaps.
pub(super) fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let prefix = bits.leading_ones();
    (bits.count_ones() == prefix).then_some(prefix as u8)
}

/// The network of `prefix` bits that `addr` is in.
pub(super) fn network(addr: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    Ipv4Addr::from_bits(addr.to_bits() & mask)
}

/// The network of `prefix` bits that `addr` is in.
pub(super) fn network_v6(addr: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    Ipv6Addr::from_bits(addr.to_bits() & mask)
}

/// `aa:bb:cc:dd:ee:ff` of one station.
pub(super) fn mac(word: &str) -> Value<[u8; 6]> {
    let octet = |text: &str| {
        let hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
    };
    let octets: Option<Vec<u8>> = word.split(':').map(octet).collect();
    let mac = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
    match mac {
        Some(mac @ [first, ..]) if first & 1 == 0 && mac != [0; 6] => Ok(mac),
        Some(_) => {
            Err(Fault::new(word, "is not the address of one station", "expected one as 02:00:00:00:00:01"))
        }
        None => Err(Fault::new(word, "is no hardware address", "expected one as 02:00:00:00:00:01")),
    }
}

/// A name of a user, a program, or the like: printable, without white space.
pub(super) fn plain_name(word: &str) -> Value<String> {
    let plain = !word.is_empty() && word.len() <= 32 && word.chars().all(|c| c.is_ascii_graphic());
    if plain {
        return Ok(word.to_owned());
    }
    Err(Fault::new(word, "is no name", "expected up to 32 printable ASCII characters without spaces"))
}

fn is_name(word: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    word.len() <= 253 && word.strip_suffix('.').unwrap_or(word).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_something_behind_it_is_none() {
        for word in ["10x", "", "+1", "-1", " 1", "1.5", "0x10", "99999999999999999999999"] {
            assert!(number::<u64>(word, 0..=100).is_err(), "{word}");
        }
        assert_eq!(number::<u8>("100", 0..=100), Ok(100));
        assert!(number::<u8>("300", 0..=400).is_err(), "300 is no u8");
    }

    #[test]
    fn a_mistyped_address_is_not_taken_for_a_name() {
        for word in
            ["10.8.0.300", "10.8.0", "1", "", "fe80::1%eth0", "[::1]", "10.0.0.0/8", "a b", "-a", "a..b"]
        {
            assert!(host(word).is_err(), "{word}");
        }
        assert_eq!(host("mon.example.org"), Ok(Host::Name("mon.example.org".to_owned())));
        assert_eq!(host("::1"), Ok(Host::Addr(IpAddr::V6(Ipv6Addr::LOCALHOST))));
    }

    #[test]
    fn netmasks_have_no_gaps_and_networks_no_host_bits() {
        assert_eq!(netmask("255.255.255.0"), Ok(24));
        assert_eq!((netmask("0.0.0.0"), netmask("255.255.255.255")), (Ok(0), Ok(32)));
        assert!(netmask("255.0.255.0").is_err() && netmask("24").is_err());
        assert_eq!(network(Ipv4Addr::new(10, 1, 2, 3), 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(network(Ipv4Addr::new(10, 1, 2, 3), 31), Ipv4Addr::new(10, 1, 2, 2));
        assert_eq!(network_v6(Ipv6Addr::LOCALHOST, 0), Ipv6Addr::UNSPECIFIED);
        assert_eq!(network_v6(Ipv6Addr::LOCALHOST, 128), Ipv6Addr::LOCALHOST);
    }

    #[test]
    fn a_hardware_address_is_that_of_one_station() {
        assert_eq!(mac("02:00:00:00:00:0a"), Ok([2, 0, 0, 0, 0, 10]));
        for word in [
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "02-00-00-00-00-01",
            "+2:00:00:00:00:01",
        ] {
            assert!(mac(word).is_err(), "{word}");
        }
    }
}
