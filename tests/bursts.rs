//! Bursts through real kernels: what leaves one host arrives at the other, byte for byte, with offload and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::process::Command;

use lab::tun::{CALLER, call, stop, tun_lab};
use lab::{Host, Lab, SOON, eventually};

const PLAIN: &str = "disable-offload\n";
const IPV6_MON: &str = "ifconfig-ipv6 fd00:8::1/64 fd00:8::2\n";
const IPV6_FRI: &str = "ifconfig-ipv6 fd00:8::2/64 fd00:8::1\n";

/// A tunnel that is up, with more in the listener's and in the caller's configuration.
fn tunnel(name: &str, mon: &str, fri: &str) -> Option<Lab> {
    let lab = tun_lab(name, &format!("{IPV6_MON}{mon}"))?;
    lab.fri.append(CALLER, &format!("{IPV6_FRI}{fri}"));
    call(&lab.fri, &[]);
    assert_eq!(lab.fri.ping("10.8.0.1", 1).lost(), 0);
    Some(lab)
}

/// Random bytes on a host, to be sent as often as needed.
fn prepare(host: &Host, mebibytes: usize) {
    host.sh(&format!("head -c {mebibytes}M /dev/urandom >/run/data"));
}

/// Sends /run/data by TCP with socat, `how` being more of its options for the sender, and compares what arrives.
fn passes(from: &Host, to: &Host, target: &str, how: &str) {
    let receiver = to.spawn(&[
        "socat",
        "-b",
        "131072",
        "-u",
        "TCP6-LISTEN:5000,reuseaddr",
        "OPEN:/run/arrived,creat,trunc",
    ]);
    eventually("the receiver listens", SOON, || !to.sh("ss -Hltn sport = 5000").is_empty());
    let send = format!("TCP:{target}:5000{how}");
    from.ok(&["timeout", "120", "socat", "-b", "131072", "-u", "OPEN:/run/data", &send]);
    let mut receiver = receiver;
    receiver.0.wait().unwrap();
    let same = Command::new("cmp").arg(from.path("/run/data")).arg(to.path("/run/arrived")).status().unwrap();
    assert!(same.success(), "{target} {how}");
    to.sh("rm /run/arrived");
}

/// Bytes that a call to read the device brought, on average, while `work` was done. Sockets are not counted.
fn bytes_a_read(host: &Host, work: impl FnOnce()) -> u64 {
    bytes_a_call(host, ["rchar:", "syscr:"], work)
}

/// The same of calls to write the device.
fn bytes_a_write(host: &Host, work: impl FnOnce()) -> u64 {
    bytes_a_call(host, ["wchar:", "syscw:"], work)
}

fn bytes_a_call(host: &Host, [bytes, calls]: [&str; 2], work: impl FnOnce()) -> u64 {
    let endpoints = host.endpoints();
    let count = |name: &str| -> u64 {
        let io = host.sh(&format!("cat /proc/{}/io", endpoints[0].pid()));
        io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    let before = (count(bytes), count(calls));
    work();
    (count(bytes) - before.0) / (count(calls) - before.1).max(1)
}

#[test]
fn a_gigabyte_passes_in_bursts_unharmed_each_way() {
    let Some(lab) = tunnel("gigabyte", "", "") else { return };
    for (from, to, target) in [(&lab.fri, &lab.mon, "10.8.0.1"), (&lab.mon, &lab.fri, "10.8.0.2")] {
        prepare(from, 1024);
        let bytes = bytes_a_read(from, || passes(from, to, target, ""));
        println!("{bytes} bytes a read");
        assert!(bytes > 10_000, "{bytes} bytes a read: these are no bursts");
        from.sh("rm /run/data");
    }
    stop(&lab.fri);
    for host in [&lab.fri, &lab.mon] {
        host.wait_for_log(" dropped=0 rejects=0", SOON);
    }
}

#[test]
fn either_end_may_be_without_offload() {
    for (name, mon, fri) in
        [("plain-listener", PLAIN, ""), ("plain-caller", "", PLAIN), ("plain", PLAIN, PLAIN)]
    {
        let Some(lab) = tunnel(name, mon, fri) else { return };
        prepare(&lab.fri, 64);
        prepare(&lab.mon, 64);
        passes(&lab.fri, &lab.mon, "10.8.0.1", "");
        passes(&lab.mon, &lab.fri, "10.8.0.2", "");
        passes(&lab.fri, &lab.mon, "[fd00:8::1]", "");
        passes(&lab.mon, &lab.fri, "[fd00:8::2]", "");
        datagrams_pass(&lab.fri, &lab.mon, "10.8.0.1");
        datagrams_pass(&lab.mon, &lab.fri, "fd00:8::2");
        if (mon, fri) == ("", PLAIN) {
            // The far end sends packets one by one; they are joined all the same.
            let bytes = bytes_a_write(&lab.mon, || passes(&lab.fri, &lab.mon, "10.8.0.1", ""));
            println!("{bytes} bytes a write");
            assert!(bytes > 1800, "{bytes} bytes a write: nothing is joined");
        }
        if fri == PLAIN {
            let bytes = bytes_a_read(&lab.fri, || passes(&lab.fri, &lab.mon, "10.8.0.1", ""));
            assert!(bytes < 1500, "{bytes} bytes a read without offload");
        }
    }
}

/// What a TCP segment may look like: with IP options, with extension headers, without time stamps or SACK, with ECN and
/// marks, and so small that a burst has more segments than a train has datagrams.
#[test]
fn tcp_passes_in_every_shape() {
    let Some(lab) = tunnel("shapes", "", "") else { return };
    prepare(&lab.fri, 64);
    let both = |script: &str| [&lab.mon, &lab.fri].map(|host| host.sh(script));
    // Router alert as an option of IPv4, padding as destination and as hop-by-hop options of IPv6.
    passes(&lab.fri, &lab.mon, "10.8.0.1", ",ipoptions=x94040000");
    passes(&lab.fri, &lab.mon, "[fd00:8::1]", ",setsockopt=41:59:x0000010400000000");
    passes(&lab.fri, &lab.mon, "[fd00:8::1]", ",setsockopt=41:54:x0000010400000000");
    for mss in [88, 536, 1001] {
        passes(&lab.fri, &lab.mon, "10.8.0.1", &format!(",mss={mss}"));
    }
    both("echo 0 >/proc/sys/net/ipv4/tcp_timestamps");
    passes(&lab.fri, &lab.mon, "10.8.0.1", "");
    both("echo 0 >/proc/sys/net/ipv4/tcp_sack");
    passes(&lab.fri, &lab.mon, "[fd00:8::1]", "");
    both("echo 1 >/proc/sys/net/ipv4/tcp_timestamps; echo 1 >/proc/sys/net/ipv4/tcp_sack");
    both("echo 1 >/proc/sys/net/ipv4/tcp_ecn");
    lab.mon.sh(
        "nft 'add table inet marks; add chain inet marks in { type filter hook prerouting priority -300; };
        add rule inet marks in iifname tun0 ip ecn ect0 numgen random mod 50 < 1 ip ecn set ce'",
    );
    passes(&lab.fri, &lab.mon, "10.8.0.1", "");
    // The sender has heard of the marks, so it has answered them with CWR.
    let heard = lab.fri.sh("nstat -asz TcpExtTCPDeliveredCE");
    assert!(heard.lines().any(|line| line.starts_with("Tcp") && !line.contains(" 0 ")), "{heard}");
}

#[test]
fn tcp_passes_where_datagrams_of_a_train_are_lost() {
    for (name, mon, fri) in [("lossy", "", ""), ("lossy-plain", PLAIN, "")] {
        let Some(lab) = tunnel(name, mon, fri) else { return };
        // The kernel cuts trains before they leave, so that one datagram of them can be lost.
        for host in [&lab.mon, &lab.fri] {
            host.sh("ip link set eth0 gso_max_segs 1");
        }
        lab.net
            .sh("nft 'add table ip loss; add chain ip loss forward { type filter hook forward priority 0; };
            add rule ip loss forward meta l4proto udp numgen random mod 100 < 1 counter drop'");
        prepare(&lab.fri, 48);
        prepare(&lab.mon, 48);
        passes(&lab.fri, &lab.mon, "10.8.0.1", "");
        passes(&lab.mon, &lab.fri, "[fd00:8::2]", "");
        let counted = lab.net.sh("nft list table ip loss");
        let lost: u64 =
            counted.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        println!("{lost} datagrams lost");
        assert!(lost > 100, "{counted}");
    }
}

#[test]
fn datagrams_keep_their_sizes_and_their_order() {
    let Some(lab) = tunnel("datagrams", "", "") else { return };
    for (from, to, target) in [(&lab.fri, &lab.mon, "10.8.0.1"), (&lab.mon, &lab.fri, "fd00:8::2")] {
        datagrams_pass(from, to, target);
    }
}

/// Sends bursts by UDP_SEGMENT, and datagrams one by one, some of them without a checksum; compares
/// them with what a receiver gets.
fn datagrams_pass(from: &Host, to: &Host, target: &str) {
    let receive = "use Socket; use IO::Socket::IP;
        my $s = IO::Socket::IP->new(Proto => 'udp', LocalPort => 5000, Family => AF_INET6, V6Only => 0) or die;
        setsockopt $s, SOL_SOCKET, SO_RCVBUF, 1 << 20;
        my $got = '';
        while (defined $s->recv(my $d, 65535)) { last if $d eq 'end'; $got .= unpack('H*', $d) . qq(\\n); }
        print $got;";
    let send = format!(
        "use Socket; use IO::Socket::IP;
        my $s = IO::Socket::IP->new(Proto => 'udp', PeerHost => '{target}', PeerPort => 5000) or die; srand 7;
        sub bytes {{ join '', map {{ chr int rand 256 }} 1 .. $_[0] }}
        sub told {{ print unpack('H*', $_[0]), qq(\\n); }}
        for my $round (1 .. 40) {{
            my $size = (1, 64, 512, 999, 1000, 1300)[$round % 6];
            my $burst = bytes($size * (1 + $round % 9) + ($round % 3 ? 0 : $size >> 1));
            setsockopt $s, 17, 103, pack('i', $size) or die; $s->send($burst) or die $!;
            setsockopt $s, 17, 103, pack('i', 0);
            told(substr $burst, 0, $size, '') while length $burst;
            setsockopt $s, SOL_SOCKET, 11, $round % 4 ? 0 : 1;
            for (1 .. 5) {{ my $one = bytes($size + $_ % 2); $s->send($one); told($one); }}
            setsockopt $s, SOL_SOCKET, 11, 0;
            select undef, undef, undef, 0.005;
        }}
        $s->send('end') for 1 .. 3;"
    );
    let mut receiver = to.spawn(&["timeout", "30", "perl", "-e", receive]);
    eventually("the receiver is there", SOON, || !to.sh("ss -Huln sport = 5000").is_empty());
    let sent = from.ok(&["perl", "-e", &send]);
    let mut arrived = String::new();
    std::io::Read::read_to_string(&mut receiver.0.stdout.take().unwrap(), &mut arrived).unwrap();
    assert!(sent.lines().count() > 300);
    assert!(arrived == sent, "{target}: {} of {} datagrams", arrived.lines().count(), sent.lines().count());
}

#[test]
fn the_kernel_makes_bursts_no_longer_than_a_train() {
    let Some(lab) = tunnel("limits", "", "") else { return };
    for host in [&lab.mon, &lab.fri] {
        let link = host.sh("ip -d link show tun0");
        let limit = |name: &str| -> u32 {
            link.split_once(name).unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
        };
        // 45 datagrams of 1445 bytes fit into one UDP length.
        assert_eq!((limit("gso_max_size "), limit("gso_max_segs ")), (45 * (1420 - 52) + 321, 64), "{link}");
    }
}

/// The segment size that the first SYN on `host`'s eth0 announces, while `connect` is done.
fn announced(host: &Host, connect: impl Fn()) -> String {
    let mut dump = host.spawn(&["tcpdump", "-l", "-n", "-c", "1", "-i", "eth0", "tcp[13] & 2 != 0"]);
    eventually("tcpdump has seen one", SOON, || {
        connect();
        dump.0.try_wait().unwrap().is_some()
    });
    let mut line = String::new();
    std::io::Read::read_to_string(&mut dump.0.stdout.take().unwrap(), &mut line).unwrap();
    line.split_once("mss ").unwrap_or_else(|| panic!("{line}")).1.split([',', ']']).next().unwrap().to_owned()
}

/// The bridged tunnel, up, with more in both configurations.
fn bridged(name: &str, more: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.append("/etc/naptun/tap-mon-fri.conf", more);
    lab.fri.append("/etc/naptun/tap-fri-mon.conf", more);
    lab.mon.ok(&["/etc/naptun/bridge-setup", "start"]);
    lab.mon.xinetd();
    lab.fri.sh("naptun --port timbuktu-srv2 --daemon --cd /etc/naptun --config tap-fri-mon.conf");
    assert_eq!(lab.fri.ping("192.168.8.10", 1).lost(), 0);
    Some(lab)
}

#[test]
fn bursts_of_frames_that_are_too_large_for_a_datagram_are_cut_twice_and_arrive() {
    let Some(lab) = bridged("tap-uncut", "mssfix 0\n") else { return };
    let connect = || drop(lab.fri.run(&["socat", "-u", "/dev/null", "TCP:192.168.8.10:9"]));
    assert_eq!(announced(&lab.office, connect), "1460", "TCP is left alone");
    prepare(&lab.fri, 64);
    prepare(&lab.office, 64);
    let bytes = bytes_a_read(&lab.fri, || passes(&lab.fri, &lab.office, "192.168.8.10", ""));
    assert!(bytes > 10_000, "{bytes} bytes a read");
    passes(&lab.office, &lab.fri, "192.168.8.2", "");
}

#[test]
fn tcp_on_a_tap_is_told_what_passes_whole_and_flies_in_bursts() {
    let Some(lab) = bridged("tap-mss", "") else { return };
    // 1472 bytes of UDP payload, less 25 around a frame, and 54 of headers in it.
    let connect = || drop(lab.fri.run(&["socat", "-u", "/dev/null", "TCP:192.168.8.10:9"]));
    assert_eq!(announced(&lab.office, connect), "1393");
    prepare(&lab.fri, 256);
    let bytes = bytes_a_read(&lab.fri, || passes(&lab.fri, &lab.office, "192.168.8.10", ""));
    assert!(bytes > 10_000, "{bytes} bytes a read");
}
