//! /etc/hosts: most names of tunnels stand there, and need neither a resolver process nor the network.

use std::net::IpAddr;

const FILE: &str = "/etc/hosts";

/// The addresses of `name` in /etc/hosts, in the order of its lines; none if it is not there.
pub fn look_up(name: &str) -> Vec<IpAddr> {
    find(&std::fs::read_to_string(FILE).unwrap_or_default(), name)
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
    fn a_name_is_found_with_all_its_addresses_and_no_others() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tmon Mon.example # not fri\n2001:db8::1 mon\nnonsense mon\n192.0.2.1 mon\n";
        let mon: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(find(text, "MON"), mon);
        assert_eq!(find(text, "mon.example"), mon[..1]);
        assert_eq!(find(text, "fri"), [] as [IpAddr; 0]);
    }
}
