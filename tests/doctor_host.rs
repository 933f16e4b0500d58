//! `naptun check` on a host: clean where all is right, and each thing that is wrong there found by its line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use lab::tun::call;
use lab::{Host, Lab, SOON, eventually};

/// What is changed, how it is changed back where copying /etc back does not do that, and the lines that tell.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// mon with a real xinetd that serves both of its tunnels, forwarding on.
fn good_lab(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.xinetd();
    for host in [&lab.mon, &lab.fri] {
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    }
    lab.mon.sh("mkdir /run/good && cp -a /etc/naptun /etc/xinetd.d /etc/xinetd.conf /etc/services /run/good");
    Some(lab)
}

/// The lines that tell of something, without those of files and without `ok`; and the exit code.
fn findings(host: &Host) -> (Vec<String>, i32) {
    let output = host.run(&["naptun", "check", "--cd", "/etc/naptun"]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().filter(|line| !line.starts_with("    ") && !line.ends_with(": ok"));
    (lines.map(str::to_owned).collect(), output.status.code().unwrap())
}

/// Each case alone changes what is found from nothing to its lines, and back.
fn provoke(lab: &Lab, cases: &[Case]) {
    let mon = &lab.mon;
    assert_eq!(findings(mon), (vec![], 0), "nothing is wrong at first");
    let mut wrong = String::new();
    for (change, undo, lines) in cases {
        mon.sh(&format!("cd /etc/naptun; X=/etc/xinetd.d/timbuktu-srv1; C=tun-mon-fri.conf; {change}"));
        let (found, code) = findings(mon);
        let pid = |line: &String| match line.split_once("(process ") {
            Some((before, rest)) => {
                format!("{before}(process N{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => line.clone(),
        };
        let found: Vec<String> = found.iter().map(pid).collect();
        let fails = lines.iter().any(|line| line.contains(": error: "));
        if found != *lines || code != if fails { 78 } else { 0 } {
            wrong += &format!("--- {change}\n exit {code}\n{}\n", found.join("\n"));
        }
        mon.sh(&format!(
            "{undo}\ncd /etc; rm -rf naptun xinetd.d inetd.conf systemd/system; cp -a /run/good/* ."
        ));
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(findings(mon), (vec![], 0), "nothing is wrong at last");
}

#[test]
fn every_mistake_in_an_entry_of_xinetd_is_found_at_its_line() {
    let Some(lab) = good_lab("doctor-xinetd") else { return };
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (
            "sed -i 's/wait  .*= yes/wait = no/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:10: error: wait = no: the process takes the socket itself; write wait = yes",
            ],
        ),
        (
            "sed -i '/wait  /d' $X",
            "",
            &["/etc/xinetd.d/timbuktu-srv1:4: error: wait: is missing; write wait = yes"],
        ),
        (
            "sed -i 's/dgram/stream/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:8: error: socket_type = stream: the tunnel takes datagrams; write socket_type = dgram",
            ],
        ),
        (
            "sed -i 's/= udp/= tcp/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:9: error: protocol = tcp: the tunnel speaks UDP; write protocol = udp",
            ],
        ),
        (
            "sed -i 's/disable .*/disable = yes/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:7: warning: disable = yes: the service is switched off; write no and have xinetd read it again (kill -HUP)",
            ],
        ),
        ("sed 's/disable .*/disable = yes/; s/dgram/stream/; s/tun-mon-fri/gone/' $X >/etc/xinetd.d/timbuktu-srv3; sed 's/disable .*/disable = yes/; s/dgram/stream/' $X >/etc/xinetd.d/timbuktu-srv4", "", &[]),
        (
            "sed -i 's/id  .*/id = other/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:6: warning: id = other: the service is called timbuktu-srv1, and the lists enabled and disabled go by this; give both one name",
            ],
        ),
        (
            "mv $X /etc/xinetd.d/tunnel",
            "",
            &[
                "/etc/xinetd.d/tunnel:4: warning: service timbuktu-srv1: the file is called tunnel; give both one name, or the next who looks for it will not find it",
            ],
        ),
        (
            "mv $X $X.new",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1.new: error: xinetd passes over files with a dot in their name or a ~ at its end; rename it",
                "/etc/xinetd.d/timbuktu-srv1.new:4: warning: service timbuktu-srv1: the file is called timbuktu-srv1.new; give both one name, or the next who looks for it will not find it",
            ],
        ),
        (
            "sed -i '/^[{}]/d' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:4: error: service timbuktu-srv1: its braces are missing; put a line { before its attributes and a line } behind them",
            ],
        ),
        (
            "sed -i '/cps/d' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:4: warning: cps: is not given, so 50 starts a second close the port for everybody, and any stranger can cause them; write cps = 0 0",
            ],
        ),
        (
            "sed -i 's/cps .*/cps = 25 30/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:13: warning: cps: so many starts a second close the port for everybody, and any stranger can cause them; write cps = 0 0 for the service",
            ],
        ),
        (
            "sed -i 's/cps .*/&\\nmax_load = 2\\ninstances = 1\\naccess_times = 8:00-18:00/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:14: warning: max_load = 2: once refused, the service stays off until xinetd restarts; remove it",
                "/etc/xinetd.d/timbuktu-srv1:15: warning: instances = 1: once refused, the service stays off until xinetd restarts; remove it, for there is never more than one",
                "/etc/xinetd.d/timbuktu-srv1:16: warning: access_times = 8:00-18:00: once refused, the service stays off until xinetd restarts; remove it",
            ],
        ),
        (
            "sed -i 's/{/{\\nmax_load = 2\\ninstances = 60/' /etc/xinetd.conf",
            "",
            &[
                "/etc/xinetd.conf:3: warning: max_load: once refused, the service stays off until xinetd restarts; remove it",
            ],
        ),
        (
            "sed -i 's/{/{\\nenabled = timbuktu-srv2/' /etc/xinetd.conf",
            "",
            &[
                "/etc/xinetd.conf:3: warning: enabled: the list lacks timbuktu-srv1, so the service is switched off; add it",
            ],
        ),
        (
            "sed -i 's/{/{\\ndisabled = timbuktu-srv1 ftp/' /etc/xinetd.conf",
            "",
            &[
                "/etc/xinetd.conf:3: warning: disabled: the list has timbuktu-srv1, so the service is switched off; take it out",
            ],
        ),
        (
            "sed -i 's/user  .*/user = nobody/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:15: error: user = nobody: only root can make the device; write root, naptun gives up what it does not need",
            ],
        ),
        (
            "sed -i 's,server  .*,server = /usr/local/sbin/naptun,' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:16: error: server = /usr/local/sbin/naptun: is not there; name the binary",
            ],
        ),
        (
            "sed -i 's,server  .*,server = naptun,' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:16: error: server = naptun: is not absolute; write /usr/sbin/naptun",
            ],
        ),
        (
            "cp $C /run/naptun; chmod 644 /run/naptun; sed -i 's,server  .*,server = /run/naptun,' $X",
            "rm /run/naptun",
            &[
                "/etc/xinetd.d/timbuktu-srv1:16: error: server = /run/naptun: is not executable; chmod 755 /run/naptun",
            ],
        ),
        (
            "sed -i 's/--inetd //' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:17: error: server_args: --inetd is missing, so the process would not take the socket; write it before the others",
            ],
        ),
        (
            "sed -i 's/--inetd/--inetd --ifconfg 1/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:17: error: server_args: --ifconfg: is no option; did you mean --ifconfig?",
            ],
        ),
        (
            "sed -i 's/--inetd/--inetd --daemon/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:17: error: server_args: command line: daemon: contradicts inetd: the super-server waits for this very process; remove one of the two",
            ],
        ),
        (
            "sed -i 's/tun-mon-fri/tun-fri-mon/' $X",
            "",
            &[
                "tun-mon-fri.conf: warning: no super-server on this host starts it; add an entry of xinetd, inetd or systemd (naptun pair writes one), or start it by hand",
                "/etc/xinetd.d/timbuktu-srv1:17: error: server_args: /etc/naptun/tun-fri-mon.conf: no such configuration; name a file that is there",
            ],
        ),
        (
            "rm $X",
            "",
            &[
                "tun-mon-fri.conf: warning: no super-server on this host starts it; add an entry of xinetd, inetd or systemd (naptun pair writes one), or start it by hand",
            ],
        ),
        (
            "sed -i '/timbuktu-srv1/d' /etc/services",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:4: error: service timbuktu-srv1: /etc/services lacks it; add its line (services.fragment has it), or write type = UNLISTED and port = NUMBER",
            ],
        ),
        (
            "sed -i 's/{/{\\ntype = UNLISTED/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:4: error: port: is missing; a service that is UNLISTED needs port = NUMBER",
            ],
        ),
        ("sed -i 's/{/{\\nport = 1417/' $X", "", &[]),
        (
            "sed -i 's/{/{\\nport = 1500/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:6: error: port = 1500: /etc/services says 1417, and xinetd refuses what differs; remove it, or write type = UNLISTED",
                "/etc/xinetd.d/timbuktu-srv1:6: warning: xinetd does not hold UDP port 1500; have it read its files again (kill -HUP), and see its log",
            ],
        ),
        (
            "printf 'service other\\n{\\ntype = UNLISTED\\nport = 1417\\nprotocol = udp\\nsocket_type = dgram\\nwait = yes\\nuser = root\\nserver = /bin/true\\n}\\n' >/etc/xinetd.d/other",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv1:4: error: UDP port 1417: /etc/xinetd.d/other:4 has the same; give each tunnel a service of its own (services.fragment has a list)",
            ],
        ),
        (
            "sed -i 's/{/{\\ntype = UNLISTED\\nport = 1418/' $X",
            "",
            &[
                "/etc/xinetd.d/timbuktu-srv2:4: error: UDP port 1418: /etc/xinetd.d/timbuktu-srv1:7 has the same; give each tunnel a service of its own (services.fragment has a list)",
            ],
        ),
        (
            "sed -i 's/{/{\\ntype = UNLISTED\\nport = 1500/' $X; perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => q(udp), LocalPort => 1500); sleep 1000' >/dev/null 2>&1 & echo $! >/run/pid; until ss -Hulnp | grep -q :1500; do sleep 0.1; done",
            "kill $(cat /run/pid)",
            &[
                "/etc/xinetd.d/timbuktu-srv1:7: error: UDP port 1500: perl holds that port (process N); end it, or give the tunnel another",
            ],
        ),
    ];
    provoke(&lab, cases);
}

#[test]
fn lines_of_inetd_and_units_of_systemd_are_looked_at_as_well() {
    let Some(lab) = good_lab("doctor-inetd") else { return };
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("rm $X; echo 'timbuktu-srv1 dgram udp wait root /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: UDP port 1417: xinetd holds that port (process N); end it, or give the tunnel another"]),
        ("rm $X; echo 'timbuktu-srv3 stream udp wait root /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: stream: the tunnel takes datagrams; write dgram", "/etc/inetd.conf:1: warning: inetd does not run, so nobody holds UDP port 1419; start it"]),
        ("rm $X; echo 'timbuktu-srv3 dgram tcp nowait nobody /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: tcp: the tunnel speaks UDP; write udp", "/etc/inetd.conf:1: error: nowait: the process takes the socket itself; write wait", "/etc/inetd.conf:1: error: nobody: only root can make the device; write root, naptun gives up what it does not need"]),
        ("rm $X; echo 'nosuch dgram udp wait root /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: nosuch: /etc/services lacks it; expected a number or a udp service named there; services.fragment has lines to add"]),
        ("rm $X; echo 'timbuktu-srv3 dgram udp wait root /usr/sbin/naptun naptun --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: --cd: --inetd is missing; write it before the others", "/etc/inetd.conf:1: warning: inetd does not run, so nobody holds UDP port 1419; start it"]),
        ("echo 'timbuktu-srv1 dgram udp wait root /usr/sbin/naptun naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf' >/etc/inetd.conf", "", &["/etc/inetd.conf:1: error: UDP port 1417: /etc/xinetd.d/timbuktu-srv1:4 has the same; give each tunnel a service of its own (services.fragment has a list)", "/etc/inetd.conf:1: error: UDP port 1417: xinetd holds that port (process N); end it, or give the tunnel another"]),
        ("rm $X; mkdir -p /etc/systemd/system/sockets.target.wants /etc/systemd/system/naptun@tun-mon-fri.socket.d; cd /etc/systemd/system; touch sockets.target.wants/naptun@tun-mon-fri.socket; printf '[Socket]\\nListenDatagram=1419\\n' >naptun@tun-mon-fri.socket.d/port.conf", "", &[]),
        ("rm $X; mkdir -p /etc/systemd/system/sockets.target.wants /etc/systemd/system/naptun@tun-mon-fri.socket.d; cd /etc/systemd/system; printf '[Socket]\\nListenDatagram=1419\\n' >naptun@tun-mon-fri.socket.d/port.conf", "", &["/etc/systemd/system/naptun@tun-mon-fri.socket.d/port.conf:2: warning: naptun@tun-mon-fri.socket is not enabled; systemctl enable --now naptun@tun-mon-fri.socket"]),
        ("rm $X; mkdir -p /etc/systemd/system/sockets.target.wants /etc/systemd/system/naptun@tun-mon-fri.socket.d; cd /etc/systemd/system; touch sockets.target.wants/naptun@tun-mon-fri.socket", "", &["/etc/systemd/system/naptun@tun-mon-fri.socket.d: error: naptun@tun-mon-fri.socket is enabled, but nothing says its port; write [Socket] and ListenDatagram=PORT to /etc/systemd/system/naptun@tun-mon-fri.socket.d/port.conf"]),
        ("rm $X; mkdir -p /etc/systemd/system/sockets.target.wants /etc/systemd/system/naptun@tun-mon-fri.socket.d; cd /etc/systemd/system; touch sockets.target.wants/naptun@tun-mon-fri.socket; printf '[Socket]\\nListenStream=1419\\n' >naptun@tun-mon-fri.socket.d/port.conf", "", &["/etc/systemd/system/naptun@tun-mon-fri.socket.d/port.conf:2: error: ListenStream: the tunnel speaks UDP; write ListenDatagram"]),
        ("rm $X; mkdir -p /etc/systemd/system/sockets.target.wants /etc/systemd/system/naptun@tun-mon-fri.socket.d; cd /etc/systemd/system; touch sockets.target.wants/naptun@tun-mon-fri.socket; printf '[Socket]\\nListenDatagram=timbuktu-srv3\\n' >naptun@tun-mon-fri.socket.d/port.conf", "", &["/etc/systemd/system/naptun@tun-mon-fri.socket.d/port.conf:2: error: ListenDatagram=timbuktu-srv3: is no port; write its number"]),
        ("echo 'timbuktu-srv9 call.conf' >callers; printf 'remote fri\\nsecret static.key\\ndev tun\\n' >call.conf", "", &["/etc/naptun/callers:1: error: timbuktu-srv9: /etc/services lacks it; expected a number or a udp service named there; services.fragment has lines to add"]),
        ("echo '1417 call.conf' >callers; printf 'remote fri\\nsecret static.key\\ndev tun\\n' >call.conf", "", &["/etc/naptun/callers:1: error: UDP port 1417: /etc/xinetd.d/timbuktu-srv1:4 has the same; give each tunnel a service of its own (services.fragment has a list)", "/etc/naptun/callers:1: error: UDP port 1417: xinetd holds that port (process N); end it, or give the tunnel another"]),
        ("printf '# PORT CONFIG\\n\\n1419 gone.conf\\n1420 a b\\ntun-mon-fri.conf\\n' >callers", "", &["/etc/naptun/callers:3: error: gone.conf: no such configuration; name a file of this folder", "/etc/naptun/callers:4: error: b: is one word too many; expected [PORT] CONFIG", "/etc/naptun/callers:5: warning: tun-mon-fri.conf: has no remote, so it would wait to be called; add remote, or remove the line"]),
        ("printf 'remote fri\\nsecret static.key\\ndev tun\\nport 1417\\n' >call.conf", "", &["call.conf:4: error: port 1417: xinetd holds that port (process N); end it, or give the tunnel another"]),
    ];
    provoke(&lab, cases);
}

#[test]
fn what_collides_with_the_host_itself_is_found() {
    let Some(lab) = good_lab("doctor-network") else { return };
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (
            "sed -i 's/10.8.0.1/192.168.1.77/' $C",
            "",
            &[
                "tun-mon-fri.conf:3: error: ifconfig 192.168.1.77: in use on this host: eth2 has 192.168.1.0/24; give both ends private addresses that are in no subnet of theirs",
            ],
        ),
        (
            "ip route add 10.8.0.2 via 192.0.2.254",
            "ip route del 10.8.0.2",
            &[
                "tun-mon-fri.conf:3: error: ifconfig 10.8.0.2: in use on this host: 10.8.0.2/32 is routed to eth0; give both ends private addresses that are in no subnet of theirs",
            ],
        ),
        (
            "sed -i 's/192.168.2.0/192.168.1.0/' $C",
            "",
            &[
                "tun-mon-fri.conf:4: error: route 192.168.1.0/24: this host is in that network itself: eth2 has 192.168.1.0/24; route another one",
            ],
        ),
        (
            "ip route add 192.168.2.0/24 via 192.0.2.254",
            "ip route del 192.168.2.0/24",
            &[
                "tun-mon-fri.conf:4: error: route 192.168.2.0/24: it is routed to eth0 already, and that stays; delete that route, or remove this one",
            ],
        ),
        (
            "sed -i 's/dev tun/dev eth2\\ndev-type tun/' $C",
            "",
            &[
                "tun-mon-fri.conf:2: error: dev eth2: a device of this name is there, and it is none of a tunnel; choose another name",
            ],
        ),
        (
            "ip tuntap add tun5 mode tun; sed -i 's/dev tun/dev tun5/' $C",
            "ip link del tun5",
            &[
                "tun-mon-fri.conf:2: error: dev tun5: the device is there already, made to stay; ip link del tun5, for naptun makes its own",
            ],
        ),
        (
            "sed -i 's/dev tun/dev tun6/' $C; socat TUN:10.77.0.1/24,tun-name=tun6,iff-up UDP-DATAGRAM:192.0.2.254:9 >/dev/null 2>&1 & echo $! >/run/pid; until ip link show tun6; do sleep 0.1; done",
            "kill $(cat /run/pid)",
            &[
                "tun-mon-fri.conf:2: error: dev tun6: socat has it (process N); end that, or choose another name",
            ],
        ),
        (
            "echo 0 >/proc/sys/net/ipv4/ip_forward",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            &[
                "tun-mon-fri.conf:4: warning: route 192.168.2.0/24: this host does not forward, so the networks behind it and behind the tunnel do not meet; sysctl -w net.ipv4.ip_forward=1, or run tun-setup at each boot",
            ],
        ),
        (
            "echo 'route-ipv6 fd00:2::/64' >>$C; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
            "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
            &[
                "tun-mon-fri.conf:8: warning: route-ipv6 fd00:2::/64: this host does not forward, so the networks behind it and behind the tunnel do not meet; sysctl -w net.ipv6.conf.all.forwarding=1, or run tun-setup at each boot",
            ],
        ),
        (
            "echo 'remote lanfri' >>$C",
            "",
            &[
                "tun-mon-fri.conf:8: error: remote lanfri: its address 192.168.2.10 lies in this very tunnel (route 192.168.2.0/24): it would carry its own datagrams; give the peer's outer address",
            ],
        ),
        (
            "sed -i 's/ETH=eth1/ETH=eth0/' bridge.conf",
            "",
            &[
                "bridge.conf:1: error: ETH=eth0: the default route leads there, so strangers of that network get into the tunnel; name the private interface",
            ],
        ),
        (
            "sed -i 's/ETH=eth1/ETH=eth0\\nALLOW_DEFAULT_ROUTE=yes/' bridge.conf",
            "",
            &[
                "bridge.conf:1: warning: ETH=eth0: the default route leads there, so strangers of that network get into the tunnel; name the private interface",
            ],
        ),
        (
            "ip link add br0 type bridge; ip link set eth0 master br0",
            "ip link del br0",
            &[
                "tap-mon-fri.conf:4: error: up: the tap joins br0, and so does eth0, where the default route leads; bridge a private interface instead",
            ],
        ),
        (
            "chmod 640 static.key",
            "",
            &[
                "tap-mon-fri.conf:1: error: secret: read key /etc/naptun/static.key: is open to group or others (mode 0640); chmod 600 /etc/naptun/static.key",
                "tun-mon-fri.conf:1: error: secret: read key /etc/naptun/static.key: is open to group or others (mode 0640); chmod 600 /etc/naptun/static.key",
            ],
        ),
        (
            "sed -i 's/user nobody/user none/' $C",
            "",
            &[
                "tun-mon-fri.conf:5: error: user \"none\": there is no such user; name one that exists with user",
            ],
        ),
        (
            "mv /dev/net/tun /dev/net/gone",
            "mv /dev/net/gone /dev/net/tun",
            &[
                "tap-mon-fri.conf:2: error: dev: there is no /dev/net/tun here; modprobe tun, or in a container have it passed in",
                "tun-mon-fri.conf:2: error: dev: there is no /dev/net/tun here; modprobe tun, or in a container have it passed in",
            ],
        ),
    ];
    provoke(&lab, cases);
}

#[test]
fn an_openvpn_under_xinetd_is_told_to_change_its_server() {
    let Some(lab) = good_lab("doctor-move") else { return };
    lab.mon.sh("rm -rf /etc/openvpn && mkdir /etc/openvpn && cp /etc/naptun/static.key /etc/naptun/tun-mon-fri.conf /etc/openvpn");
    lab.mon.sh("sed -i 's,/etc/naptun,/etc/openvpn,; s,/usr/sbin/naptun,/usr/sbin/openvpn,' /etc/xinetd.d/timbuktu-srv1");
    let output = lab.mon.run(&["naptun", "check", "/etc/openvpn/tun-mon-fri.conf"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), output.status.code()), (9, Some(78)), "{said}");
    assert_eq!(
        lines[3],
        "/etc/openvpn/tun-mon-fri.conf:4: works: route 192.168.2.0 255.255.255.0 vpn_gateway"
    );
    assert_eq!(
        lines[7],
        "/etc/xinetd.d/timbuktu-srv1:16: change: server = /usr/sbin/openvpn: has no --inetd since 2.6; write server = /usr/sbin/naptun, the arguments stay"
    );
    assert_eq!(
        lines[8],
        "/etc/openvpn/tun-mon-fri.conf: works after 1 change; move both ends together, for naptun does not speak OpenVPN's protocol"
    );
}

#[test]
fn a_tunnel_that_is_awake_is_in_nobodys_way() {
    let Some(lab) = good_lab("doctor-awake") else { return };
    lab.mon.sh("sed -i 's/dev tun/dev tun3/' /etc/naptun/tun-mon-fri.conf");
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    eventually("the device is up", SOON, || lab.mon.has_device("tun3"));
    for host in [&lab.mon, &lab.fri] {
        assert_eq!(findings(host), (vec![], 0));
    }
}
