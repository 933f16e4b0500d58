//! /etc/hosts: most names of tunnels stand there, and need neither a resolver process nor the network. And who is asked for
//! the others.

use std::net::IpAddr;

const FILE: &str = "/etc/hosts";
const RESOLV: &str = "/etc/resolv.conf";

/// The addresses of `name` in /etc/hosts, in the order of its lines; none if it is not there.
pub fn look_up(name: &str) -> Vec<IpAddr> {
    find(&std::fs::read_to_string(FILE).unwrap_or_default(), name)
}

/// The name servers of this host, by /etc/resolv.conf; those on the host itself are left out.
pub fn name_servers() -> Vec<IpAddr> {
    servers(&std::fs::read_to_string(RESOLV).unwrap_or_default())
}

/// resolv.conf(5): only the servers matter.
fn servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(str::split_whitespace);
    let named =
        lines.filter_map(|mut words| words.next().filter(|word| *word == "nameserver").and(words.next()));
    named.filter_map(|word| word.parse().ok()).filter(|ip: &IpAddr| !ip.is_loopback()).collect()
}

/// hosts(5): an address, names behind it, `#` begins a comment. Case does not matter.
fn find(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let mut found = Vec::new();
    for mut words in lines {
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_of_other_hosts() {
        let text = "# nameserver 192.0.2.9\nsearch a\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n nameserver ::1\n\
                    nameserver 2001:db8::1 # x\nnameserver\nnameserver x\noptions edns0\n";
        let others: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(servers(text), others);
    }

    #[test]
    fn a_name_is_found_with_all_its_addresses_and_no_others() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tmon Mon.example # not fri\n2001:db8::1 mon\nnonsense mon\n192.0.2.1 mon\n";
        let mon: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(find(text, "MON"), mon);
        assert_eq!(find(text, "mon.example"), mon[..1]);
        assert_eq!(find(text, "fri"), [] as [IpAddr; 0]);
    }
}
