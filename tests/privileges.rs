//! Every way into the pump, and what is left of root behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;
mod procfs;

use figures::figure;
use lab::tun::{CALLER, LISTENER, caller};
use lab::{Host, Lab, Process, Running, SOON, eventually};
use std::collections::BTreeMap;

/// Who wakes the listener.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Listener {
    Xinetd,
    Inetd,
    Systemd,
    /// It holds its own port: in the foreground, or as a daemon.
    Own,
    Daemon,
}

/// One way into the pump, for both ends.
struct Way {
    name: &'static str,
    listener: Listener,
    /// The caller goes to the background.
    daemon: bool,
    tap: bool,
    /// More for both configurations.
    more: &'static str,
    /// What takes the place of `user nobody` and `group nogroup`, and who that is.
    user: &'static str,
    ids: (&'static str, &'static str),
    /// The package's user is there.
    account: bool,
    resolver: bool,
}

/// The usual: routed, by the shipped configuration.
const USUAL: Way = Way {
    name: "xinetd, caller as daemon",
    listener: Listener::Xinetd,
    daemon: true,
    tap: false,
    more: "",
    user: "user nobody\ngroup nogroup\n",
    ids: ("nobody", "nogroup"),
    account: false,
    resolver: false,
};

const SCRIPTS: &str =
    "script-security 2\nup ./none\ndown ./none\nroute 203.0.113.0 255.255.255.0 net_gateway\n";

const WAYS: &[Way] = &[
    USUAL,
    Way {
        name: "openbsd-inetd, caller in the foreground",
        listener: Listener::Inetd,
        daemon: false,
        ..USUAL
    },
    Way { name: "systemd", listener: Listener::Systemd, ..USUAL },
    Way { name: "own port", listener: Listener::Own, daemon: false, ..USUAL },
    Way { name: "own port as daemon", listener: Listener::Daemon, ..USUAL },
    Way { name: "up, down and a foreign route", more: SCRIPTS, ..USUAL },
    Way {
        name: "status and log files",
        more: "status /run/status 1\nlog /run/log\nwritepid /run/pid\n",
        ..USUAL
    },
    Way { name: "tap", tap: true, ..USUAL },
    Way { name: "nobody by default", user: "", ..USUAL },
    Way {
        name: "naptun by default where it is",
        user: "",
        ids: ("naptun", "naptun"),
        account: true,
        ..USUAL
    },
    Way { name: "the configuration before the default", account: true, ..USUAL },
    Way { name: "another user", user: "user mail\ngroup daemon\n", ids: ("mail", "daemon"), ..USUAL },
    Way { name: "the user's own group", user: "user mail\n", ids: ("mail", "mail"), ..USUAL },
    Way { name: "resolver", resolver: true, ..USUAL },
    Way {
        name: "resolver in the foreground, own port",
        resolver: true,
        daemon: false,
        listener: Listener::Own,
        ..USUAL
    },
    Way { name: "no offload, a priority", more: "disable-offload\nnice -1\n", ..USUAL },
];

#[test]
fn on_every_way_into_the_pump_nothing_is_left_of_root() {
    let (mut endpoints, mut helpers) = (0, BTreeMap::new());
    for way in WAYS {
        let Some(lab) = Lab::new("ways") else { return };
        println!("{}", way.name);
        let running = way.start(&lab);
        let target = if way.tap { "192.168.8.1" } else { "10.8.0.1" };
        assert_eq!(lab.fri.ping(target, 1).lost(), 0, "{}", way.name);
        for (host, listens) in [(&lab.mon, true), (&lab.fri, false)] {
            let pumps = host.endpoints();
            assert_eq!(pumps.len(), 1, "{}: {pumps:?}", way.name);
            way.check_pump(host, &pumps[0], listens);
            endpoints += 1;
            for helper in host.ours().iter().filter(|process| process.pid() != pumps[0].pid()) {
                way.check_helper(host, helper);
                *helpers.entry(helper.field("Name").to_owned()).or_insert(0) += 1;
            }
        }
        drop(running);
    }
    assert_eq!(helpers.keys().collect::<Vec<_>>(), ["naptun-helper", "naptun-resolver"]);
    figure(
        21,
        &format!(
            "{} ways into the pump, {endpoints} processes: ids of the user, 5 empty capability sets, no_new_privs, seccomp 2, no descriptor too many; {} script helpers with null descriptors and no byte of the key, {} resolvers without a privilege",
            WAYS.len(),
            helpers["naptun-helper"],
            helpers["naptun-resolver"]
        ),
    );
}

impl Way {
    fn start(&self, lab: &Lab) -> Vec<Running> {
        let (listener, calls) = match self.tap {
            false => (LISTENER, CALLER),
            true => ("/etc/naptun/tap-mon-fri.conf", "/etc/naptun/tap-fri-mon.conf"),
        };
        for (host, file) in [(&lab.mon, listener), (&lab.fri, calls)] {
            host.write_script("/etc/naptun/none", "#!/bin/sh\n");
            if self.account {
                host.append("/etc/passwd", "naptun:x:990:990::/nonexistent:/usr/sbin/nologin\n");
                host.append("/etc/group", "naptun:x:990:\n");
            }
            host.sh(&format!("sed -i '/^user /d; /^group /d' {file}"));
            host.append(file, &format!("{}{}", self.user, self.more));
        }
        let mut running = Vec::new();
        if self.resolver {
            running.push(names(lab));
            lab.fri.sh(&format!("sed -i 's/^remote .*/remote mon.example/' {CALLER}"));
            lab.mon.append(LISTENER, "remote fri.example\n");
        }
        if self.tap {
            lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
        }
        running.extend(self.listen(lab));
        let config = calls.trim_start_matches("/etc/naptun/");
        let port = if self.tap { "timbuktu-srv2" } else { "timbuktu-srv1" };
        // What a careless boot script leaves open must not come along.
        let strays = ["sh", "-c", "exec 7</etc/hostname 9<>/run/stray; exec \"$@\"", "sh"];
        let words = ["naptun", "--port", port, "--cd", "/etc/naptun", "--config", config];
        let words = [&strays[..], &words].concat();
        if self.daemon {
            lab.fri.ok(&[&words[..], &["--daemon"]].concat());
        } else {
            running.push(lab.fri.spawn(&words));
            eventually("the tunnel is up", SOON, || lab::tun::answers(&lab.fri, "10.8.0.1"));
        }
        running
    }

    fn listen(&self, lab: &Lab) -> Option<Running> {
        let words = ["naptun", "--port", "1417", "--cd", "/etc/naptun", "--config", "tun-mon-fri.conf"];
        let mut running = None;
        match self.listener {
            Listener::Xinetd => lab.mon.xinetd(),
            Listener::Inetd => lab.mon.inetd(),
            Listener::Daemon => drop(lab.mon.ok(&[&words[..], &["--daemon"]].concat())),
            Listener::Own => running = Some(lab.mon.spawn(&words)),
            Listener::Systemd => {
                let wake = ["systemd-socket-activate", "-d", "-l", "1417", "naptun", "--inetd"];
                running = Some(lab.mon.spawn(&[&wake[..], &words[3..]].concat()));
            }
        }
        eventually("the port is held", SOON, || !lab.mon.sh("ss -Hulnp 'sport = 1417'").is_empty());
        running
    }

    fn check_pump(&self, host: &Host, pump: &Process, listens: bool) {
        let name = self.name;
        let (uid, gid) = (number(host, "passwd", self.ids.0), number(host, "group", self.ids.1));
        assert_eq!((pump.uids(), pump.gids()), (vec![uid; 4], vec![gid; 4]), "{name}");
        assert_eq!(pump.field("Groups"), gid.to_string(), "{name}: supplementary groups");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(pump.capabilities(set), 0, "{name}: {set}");
        }
        assert_eq!((pump.field("NoNewPrivs"), pump.field("Seccomp")), ("1", "2"), "{name}");
        let state = host.sh("ls /var/lib/naptun/*").trim().to_owned();
        let run = host.sh("ls /run/naptun/*").trim().to_owned();
        let mut expected: Vec<&str> =
            vec!["eventpoll", "signalfd", "tun", "udp", state.as_str(), run.as_str()];
        let is = |listener| listens && self.listener == listener;
        let foreground = if listens { is(Listener::Own) } else { !self.daemon };
        expected.extend(if foreground || is(Listener::Systemd) {
            ["/dev/null", "pipe", "pipe"]
        } else if is(Listener::Daemon) {
            // Under Landlock there is no /dev/null to open: a pipe that nobody writes to takes its place.
            ["pipe"; 3]
        } else {
            ["/dev/null"; 3]
        });
        // The second one throws away what is queued if nobody can serve it.
        let second = is(Listener::Xinetd) || is(Listener::Inetd) || is(Listener::Systemd);
        expected.extend(second.then_some("udp"));
        if self.more.contains("log ") {
            expected.extend(["/run/log", "/run/status"]);
        } else if !foreground {
            // Syslog.
            expected.push("unix");
        }
        expected.extend(self.had_helper(listens).then_some("unix"));
        // A caller may live to see the name of its peer move.
        expected.extend((self.resolver || !listens).then_some("unix"));
        // With `remote` and a port of its own it calls, too.
        if !listens || self.resolver && (is(Listener::Own) || is(Listener::Daemon)) {
            // The news of its host: notices, questions, and waking up.
            expected.extend(["netlink", "netlink", "timerfd"]);
        }
        expected.sort_unstable();
        assert_eq!(procfs::descriptors(host, pump.pid()), expected, "{name}, listens: {listens}");
    }

    /// The script of a tap is for `up` alone: its helper has gone, the end toward it stays.
    fn had_helper(&self, listens: bool) -> bool {
        self.more.contains("down ") || (self.tap && listens)
    }

    fn check_helper(&self, host: &Host, helper: &Process) {
        let descriptors = procfs::descriptors(host, helper.pid());
        assert_eq!(descriptors, ["/dev/null", "/dev/null", "/dev/null", "unix"], "{}", self.name);
        if helper.field("Name") == "naptun-resolver" {
            let (uid, gid) = (number(host, "passwd", self.ids.0), number(host, "group", self.ids.1));
            assert_eq!((helper.uids(), helper.gids()), (vec![uid; 4], vec![gid; 4]));
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(helper.capabilities(set), 0, "{set} of the resolver");
            }
            assert_eq!(helper.field("NoNewPrivs"), "1");
            return;
        }
        // It runs the administrator's scripts, as root; it has no secret, and hears three kinds of messages.
        assert_eq!(helper.uids(), [0; 4]);
        let (key, known) = (key_rows(host), *b"route_vpn_gatewa");
        assert!(procfs::hits(host, helper.pid(), &[known]) > 0, "memory is not searched");
        assert_eq!(procfs::hits(host, helper.pid(), &key), 0, "bytes of the key in the helper");
    }
}

/// The key in pieces of 16 bytes: each line's bytes, and both halves of its digits.
fn key_rows(host: &Host) -> Vec<[u8; 16]> {
    let text = host.read("/etc/naptun/static.key");
    let digits = text.lines().filter(|line| line.len() == 32 && !line.contains('-'));
    let pieces: Vec<[u8; 16]> = digits
        .flat_map(|line| {
            let raw = std::array::from_fn(|n| u8::from_str_radix(&line[2 * n..2 * n + 2], 16).unwrap());
            let half = |from: usize| line.as_bytes()[from..from + 16].try_into().unwrap();
            [raw, half(0), half(16)]
        })
        .collect();
    assert_eq!(pieces.len(), 3 * 16);
    pieces
}

fn number(host: &Host, table: &str, name: &str) -> u32 {
    host.sh(&format!("getent {table} {name} | cut -d: -f3")).trim().parse().unwrap()
}

/// A name server on the router, which knows mon.example and fri.example.
fn names(lab: &Lab) -> Running {
    const SERVER: &str = r#"
        use Socket;
        socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
        bind($socket, pack_sockaddr_in(53, INADDR_ANY)) or die;
        while (my $from = recv($socket, my $query, 2000, 0)) {
            my ($host) = substr($query, 13) =~ /^(...)/ or next;
            my $end = index($query, "\0", 12) + 5;
            my $question = substr($query, 12, $end - 12);
            my $found = unpack('n', substr($question, -4)) == 1;
            my $address = inet_aton($host eq 'mon' ? '192.0.2.1' : '198.51.100.1');
            my $answer = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" . $address;
            my $head = substr($query, 0, 2) . pack('n5', 0x8580, 1, $found ? 1 : 0, 0, 0);
            send($socket, $head . $question . ($found ? $answer : ''), 0, $from);
        }"#;
    let server = lab.net.spawn(&["perl", "-e", SERVER]);
    lab.mon.write("/etc/resolv.conf", "nameserver 192.0.2.254\n");
    lab.fri.write("/etc/resolv.conf", "nameserver 198.51.100.254\n");
    eventually("the name server answers", SOON, || {
        lab.fri.run(&["getent", "ahostsv4", "mon.example"]).status.success()
    });
    server
}

/// Calls that read a datagram, and calls that give up root.
const TRACED: &str =
    "trace=recvmsg,recvmmsg,recvfrom,read,readv,setresuid,capset,landlock_restrict_self,seccomp,prctl";

#[test]
fn no_datagram_is_read_as_root() {
    let Some(lab) = Lab::new("order") else { return };
    let _names = names(&lab);
    lab.fri.sh(&format!("sed -i 's/^remote .*/remote mon.example/' {CALLER}"));
    lab.mon.append(LISTENER, "inactive 1\nremote fri.example\n");
    let trace = format!("-ff -qq -yy -e {TRACED} -o /run/trace");
    lab.mon.sh(&format!(
        "sed -i 's:server .*:server = /usr/bin/strace:; s:server_args.*= :&{trace} /usr/sbin/naptun :' /etc/xinetd.d/timbuktu-srv1"
    ));
    lab.mon.xinetd();
    let words: Vec<&str> = "strace".split(' ').chain(trace.split(' ')).collect();
    let _caller = lab.fri.spawn(&[words, caller(&["--inactive", "3"])].concat());
    eventually("the tunnel is up", SOON, || lab::tun::answers(&lab.fri, "10.8.0.1"));
    for host in [&lab.mon, &lab.fri] {
        eventually("all processes end", SOON, || host.ours().is_empty());
    }
    let (mut reads, mut processes) = (0, 0);
    for (host, listens) in [(&lab.mon, true), (&lab.fri, false)] {
        let order = Order::of(host);
        // The endpoint, and the resolver, which hears the name server.
        let readers = order.values().filter(|order| order.reads > 0).count();
        assert_eq!(readers, 2, "{order:?}");
        for order in order.values() {
            assert_eq!(order.as_root, 0, "listens {listens}: {order:?}");
            reads += order.reads;
        }
        processes += readers;
        let sandboxed = order.values().filter(|order| order.sandboxed > 0 && order.reads > 0);
        assert_eq!(sandboxed.count(), 1, "reads in no sandbox: {order:?}");
    }
    figure(
        21,
        &format!(
            "{reads} reads of datagrams by {processes} processes, 0 of them before setresuid and capset"
        ),
    );
}

/// What one process did, in order.
#[derive(Debug, Default)]
struct Order {
    user: bool,
    capabilities: bool,
    landlock: bool,
    reads: usize,
    as_root: usize,
    /// Reads under Landlock.
    sandboxed: usize,
}

impl Order {
    /// By process: strace has written a file for each.
    fn of(host: &Host) -> BTreeMap<String, Self> {
        let files = host.sh("ls /run/trace.*");
        files.lines().map(|file| (file.to_owned(), Self::read(&host.read(file)))).collect()
    }

    fn read(trace: &str) -> Self {
        let mut order = Self::default();
        for call in trace.lines() {
            let done = call.ends_with("= 0");
            match call.split('(').next().unwrap_or_default() {
                "setresuid" => order.user |= done && !call.contains("(0"),
                "capset" => order.capabilities |= done,
                "landlock_restrict_self" => order.landlock |= done,
                "recvmsg" | "recvmmsg" | "recvfrom" | "read" | "readv" if call.contains("<UDP") => {
                    order.reads += 1;
                    order.as_root += usize::from(!(order.user && order.capabilities));
                    order.sandboxed += usize::from(order.landlock);
                }
                _ => {}
            }
        }
        order
    }
}
