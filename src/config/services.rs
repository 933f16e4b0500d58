//! Ports by name: /etc/services, as services(5) describes it.

use std::path::Path;

use super::file;
use super::problem::Fault;

const SERVICES: &str = "/etc/services";
/// Far more than any real one; Debian's has 13 KiB.
const MAX_SERVICES: usize = 1 << 20;

/// The UDP port of `name` in /etc/services.
pub(super) fn port(name: &str) -> Result<u16, Fault> {
    let read =
        file::open(Path::new(SERVICES), true).and_then(|(file, _)| file::read_capped(file, MAX_SERVICES));
    let Ok(Some(text)) = read else {
        return Err(Fault::new(name, format!("{SERVICES} cannot be read"), "expected the port's number"));
    };
    find(&String::from_utf8_lossy(&text), name).ok_or_else(|| {
        let expected = "expected a number or a udp service named there; services.fragment has lines to add";
        Fault::new(name, format!("{SERVICES} lacks it"), expected)
    })
}

/// The UDP port of `name` or of the service it is an alias of.
fn find(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let service = words.next()?;
        let port = words.next()?.strip_suffix("/udp")?;
        let named = service == name || words.any(|alias| alias == name);
        named.then(|| port.parse().ok().filter(|port| *port > 0)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# comment
openvpn\t\t1194/tcp
openvpn\t\t1194/udp
domain 53/udp nameserver dns # Domain Name System alias
tcponly 7/tcp
zero 0/udp
broken
big 70000/udp
";

    #[test]
    fn a_service_is_found_by_its_name_and_by_its_alias() {
        assert_eq!(find(TEXT, "openvpn"), Some(1194));
        assert_eq!((find(TEXT, "domain"), find(TEXT, "dns")), (Some(53), Some(53)));
    }

    #[test]
    fn comments_other_protocols_and_broken_lines_name_no_service() {
        for name in ["tcponly", "alias", "#", "comment", "zero", "broken", "big", "", "53/udp"] {
            assert_eq!(find(TEXT, name), None, "{name}");
        }
    }

    #[test]
    fn an_unknown_service_is_told_where_to_find_the_lines() {
        let fault = port("no-such-service-anywhere").unwrap_err();
        assert!(fault.cause.contains("/etc/services") && fault.expected.contains("services.fragment"));
    }
}
