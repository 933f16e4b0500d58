//! The tunnels of a soak: tun and tap, over IPv4 and IPv6, each over a relay of its own.

use std::net::{IpAddr, SocketAddr};

use super::Way;
use super::lab::relay::{Random, Relay};
use super::lab::{Lab, SOON, eventually};

pub struct Tunnel {
    /// Of its configurations and in the log, on both hosts.
    pub name: String,
    port: u16,
    /// The listener's address inside, the caller's.
    pub inside: [String; 2],
    /// Where its listener sees it come from; the last part varies.
    pub outside: &'static str,
    /// Its processes live from the beginning to the end: no super-server replaces its listener.
    pub steady: bool,
    pub relay: Relay,
}

/// Net's addresses toward fri and mon, and mon's.
const IPV4: [&str; 3] = ["198.51.100.254", "192.0.2.254", "192.0.2.1"];
const IPV6: [&str; 3] = ["2001:db8:2::fe", "2001:db8:1::fe", "2001:db8:1::1"];

/// All of them, with services and configurations written; none is started.
pub fn all(lab: &Lab, random: &mut Random) -> Vec<Tunnel> {
    for host in 200..210 {
        lab.net.sh(&format!(
            "ip address add 192.0.2.{host}/24 dev mon; ip address add 2001:db8:1::{host}/64 dev mon nodad"
        ));
    }
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.mon.sh("rm /etc/xinetd.d/*");
    let kinds = [("nap4", false, false, false), ("nap6", false, true, false), ("tap4", true, false, false)];
    let steady = [("steady4", false, false, true), ("other6", false, true, false)];
    (1..).zip(kinds.into_iter().chain(steady)).map(|(number, kind)| one(lab, number, kind, random)).collect()
}

fn one(
    lab: &Lab,
    number: u16,
    (name, tap, ipv6, steady): (&str, bool, bool, bool),
    random: &mut Random,
) -> Tunnel {
    let port = 2000 + number;
    let [front, back, listener] = if ipv6 { IPV6 } else { IPV4 };
    let ip = |address: &str| address.parse::<IpAddr>().unwrap();
    let at = |address: &str| SocketAddr::new(ip(address), port);
    let relay = Relay::start(&lab.net, at(front), ip(back), at(listener), random.next());
    let inside = if tap {
        ["192.168.8.1".to_owned(), "192.168.8.2".to_owned()]
    } else {
        [1, 2].map(|host| format!("10.9.{number}.{host}"))
    };
    let [mon, fri] = &inside;
    let (mine, theirs) = match tap {
        true => (
            "dev tap\nup ./tap-server.up\nscript-security 2\n".to_owned(),
            format!("dev tap\nifconfig {fri} 255.255.255.0\n"),
        ),
        false => (
            format!("dev tun{number}\nifconfig {mon} {fri}\n"),
            format!("dev tun{number}\nifconfig {fri} {mon}\n"),
        ),
    };
    let launch = if steady {
        format!("lport {port}\ndaemon {name}\n")
    } else {
        format!("inactive 2\ninetd wait {name}\n")
    };
    let common = "secret static.key\nuser nobody\ngroup nogroup\nverb 6\nreneg-sec 10\n";
    lab.mon.write(&format!("/etc/naptun/{name}.conf"), &format!("{common}{mine}{launch}"));
    lab.fri.write(
        &format!("/etc/naptun/{name}.conf"),
        &format!("{common}{theirs}remote {front} {port}\nlport {port}\nping 1\ndaemon {name}\n"),
    );
    if !steady {
        let arguments = format!("--inetd --cd /etc/naptun --config {name}.conf");
        lab.mon.serve(name, port, "/usr/sbin/naptun", &arguments);
    }
    let outside = if ipv6 { "2001:db8:1::" } else { "192.0.2." };
    Tunnel { name: name.to_owned(), port, inside, outside, steady, relay }
}

impl Tunnel {
    /// Starts the caller, once its predecessor is gone; and a listener that no super-server starts.
    pub fn call(&self, lab: &Lab) {
        let port = format!("ss -Hulna sport = {}", self.port);
        eventually("the caller before is gone", SOON, || lab.fri.sh(&port).is_empty());
        let config = format!("{}.conf", self.name);
        let words = ["naptun", "--cd", "/etc/naptun", "--config", &config];
        if self.steady {
            lab.mon.ok(&words);
        }
        lab.fri.ok(&words);
    }

    /// The way toward the listener's end if `there`, and the other one.
    pub fn ways<'a>(&'a self, lab: &'a Lab, there: bool) -> [Way<'a>; 2] {
        let port = 3000 + self.port;
        let to_mon = Way { from: &lab.fri, to: &lab.mon, address: &self.inside[0], port };
        let to_fri = Way { from: &lab.mon, to: &lab.fri, address: &self.inside[1], port };
        if there { [to_mon, to_fri] } else { [to_fri, to_mon] }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
