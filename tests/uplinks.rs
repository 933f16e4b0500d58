//! The caller's host changes networks under a running tunnel: it goes on, the listener follows, and no nap is disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::process::Child;
use std::time::{Duration, Instant};

use lab::tun::{CALLER, UP, answers, call, datagrams_sent, napping, tun_lab};
use lab::{Lab, Running, SOON, eventually};

/// Fri's address on its second uplink.
const SECOND: &str = "203.0.113.1";

/// Long enough for every handshake and its probes to be over.
const SETTLED: Duration = Duration::from_secs(2);

/// What a stream may stand still: the notice, a round trip, and the pause after which TCP tries again. Alone on a machine it is
/// 0.4 s; without the notice it would be 3 s at least.
const GAP: Duration = Duration::from_millis(2500);

/// A laboratory whose fri has a second uplink, down. The router takes from each only what has its address, as providers do.
fn two_uplinks(name: &str, more: &str) -> Option<Lab> {
    let lab = tun_lab(name, more)?;
    lab.net.sh(&format!(
        "ip link add fri2 type veth peer name eth1 netns /proc/{}/ns/net
         ip address add 203.0.113.254/24 dev fri2; ip link set fri2 up
         nft add table inet t; nft add chain inet t f '{{ type filter hook forward priority 0; }}'
         nft add rule inet t f iifname fri ip saddr != 198.51.100.0/24 counter drop
         nft add rule inet t f iifname fri2 ip saddr != 203.0.113.0/24 counter drop",
        std::fs::read_to_string(lab.dir().join("fri.pid")).unwrap().trim()
    ));
    lab.fri.sh(&format!("ip address add {SECOND}/24 dev eth1"));
    Some(lab)
}

/// Has the second uplink be the better one.
const BETTER: &str =
    "ip route replace default via 198.51.100.254 metric 200; ip route del default metric 0 || true
    ip link set eth1 up; ip route add default via 203.0.113.254 metric 100";

fn listener_follows(lab: &Lab, address: &str) {
    lab.mon.wait_for_log(&format!("peer moved peer={address}:1417"), SOON);
}

/// A stream of TCP through the tunnel whose receiver says at the end how long it stood still at most.
struct Stream {
    receiver: Child,
    _sender: Running,
}

/// Sends 100 times a second to whoever connects.
const SENDER: &str = "
    use IO::Socket::INET; use Time::HiRes 'sleep';
    my $server = IO::Socket::INET->new(LocalPort => 5000, Listen => 1, ReuseAddr => 1) or die;
    my $peer = $server->accept; $peer->autoflush(1);
    while (print $peer 'x' x 500) { sleep 0.01 }";

/// Prints `ready` with the first byte, and in the end the longest time without one, in milliseconds.
const RECEIVER: &str = "
    use IO::Socket::INET; use Time::HiRes 'time'; $| = 1;
    my $peer = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 5000) or die;
    my ($last, $most, $end) = (0, 0, time + $ARGV[1]);
    while (time < $end) {
        sysread $peer, my $bytes, 100000 or die;
        print \"ready\\n\" unless $last;
        my $gap = $last ? time - $last : 0;
        $most = $gap if $gap > $most;
        $last = time;
    }
    printf \"%d\\n\", $most * 1000;";

impl Stream {
    /// From mon to fri, or the other way, for so many seconds.
    fn start(lab: &Lab, down: bool, seconds: u32) -> Self {
        let (from, to, address) =
            if down { (&lab.mon, &lab.fri, "10.8.0.1") } else { (&lab.fri, &lab.mon, "10.8.0.2") };
        let sender = from.spawn(&["perl", "-e", SENDER]);
        eventually("the sender listens", SOON, || !from.sh("ss -Hltn sport = 5000").is_empty());
        let mut command = to.command(&["perl", "-e", RECEIVER, address, &seconds.to_string()]);
        let receiver = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        Self { receiver, _sender: sender }
    }

    fn longest_gap(self) -> Duration {
        let output = self.receiver.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().and_then(|line| line.parse().ok());
        Duration::from_millis(last.unwrap_or_else(|| panic!("the stream broke: {said}")))
    }
}

#[test]
fn a_stream_goes_on_when_the_uplink_fails_and_another_takes_over() {
    for down in [true, false] {
        let Some(lab) = two_uplinks("fails", "inactive 0\n") else { return };
        lab.fri.sh("ip link set eth1 up; ip route add default via 203.0.113.254 metric 100");
        call(&lab.fri, &[]);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        std::thread::sleep(SETTLED);
        let stream = Stream::start(&lab, down, 8);
        std::thread::sleep(SETTLED);
        lab.fri.sh("ip link set eth0 down");
        let gap = stream.longest_gap();
        println!("uplink lost, {}: {gap:?}", if down { "download" } else { "upload" });
        assert!(gap < GAP, "{gap:?}");
        listener_follows(&lab, SECOND);
        assert_eq!(
            (lab.mon.logged("peer authenticated"), lab.fri.logged("peer silent")),
            (1, 0),
            "one session"
        );
        assert_eq!(lab.fri.logged(&format!("network changed, going on source={SECOND}")), 1);
    }
}

#[test]
fn a_stream_goes_on_when_the_address_is_another_one() {
    let Some(lab) = two_uplinks("renumbered", "inactive 0\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    let stream = Stream::start(&lab, true, 8);
    std::thread::sleep(SETTLED);
    lab.fri.sh("ip -4 address flush dev eth0; ip address add 198.51.100.9/24 dev eth0; ip route add default via 198.51.100.254");
    let gap = stream.longest_gap();
    println!("another address: {gap:?}");
    assert!(gap < GAP, "{gap:?}");
    listener_follows(&lab, "198.51.100.9");
    assert_eq!((lab.mon.logged("peer authenticated"), lab.fri.logged("peer silent")), (1, 0), "one session");
}

#[test]
fn a_better_uplink_is_used_at_once_although_the_old_one_is_still_there() {
    let Some(lab) = two_uplinks("better", "inactive 0\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    let stream = Stream::start(&lab, true, 8);
    std::thread::sleep(SETTLED);
    lab.fri.sh(BETTER);
    let gap = stream.longest_gap();
    println!("a better uplink: {gap:?}");
    assert!(gap < GAP, "{gap:?}");
    listener_follows(&lab, SECOND);
    assert_eq!((lab.mon.logged("peer authenticated"), lab.fri.logged("peer silent")), (1, 0), "one session");
}

#[test]
fn the_listener_hears_of_it_although_nobody_has_anything_to_say() {
    let Some(lab) = two_uplinks("silent", "inactive 0\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    lab.fri.sh(BETTER);
    listener_follows(&lab, SECOND);
    assert!(answers(&lab.mon, "10.8.0.2"), "the way back is known");
    assert_eq!(lab.mon.logged("peer authenticated"), 1);
}

#[test]
fn a_listener_that_naps_is_not_woken_by_it_and_is_called_from_there() {
    let Some(lab) = two_uplinks("napping", "inactive 1\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    eventually("the listener naps", SOON, || napping(&lab.mon));
    std::thread::sleep(SETTLED);
    let sent = datagrams_sent(&lab.fri);
    lab.fri.sh(BETTER);
    std::thread::sleep(SETTLED);
    lab.fri
        .sh("ip link set eth1 down; ip link set eth1 up; ip route add default via 203.0.113.254 metric 100");
    std::thread::sleep(SETTLED);
    assert_eq!(datagrams_sent(&lab.fri), sent, "something was sent to who naps");
    assert!(napping(&lab.mon) && lab.mon.logged("started launch") == 1);
    eventually("it wakes", SOON, || answers(&lab.fri, "10.8.0.1"));
    lab.mon.wait_for_log(&format!("peer authenticated peer={SECOND}:1417"), SOON);
}

#[test]
fn it_is_no_activity_and_the_listener_naps_in_its_time() {
    let Some(lab) = two_uplinks("no-activity", "inactive 6\n") else { return };
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    let start = Instant::now();
    lab.fri.sh("ip link set eth1 up; ip route replace default via 198.51.100.254 metric 200; ip route del default metric 0");
    for verb in ["add", "del", "add"] {
        std::thread::sleep(Duration::from_millis(1500));
        lab.fri.sh(&format!("ip route {verb} default via 203.0.113.254 metric 100"));
    }
    eventually("the listener naps", Duration::from_secs(30), || napping(&lab.mon));
    let took = start.elapsed();
    println!("naps after {took:?}");
    assert!(lab.mon.logged("peer moved") >= 1);
    assert!(took < Duration::from_secs(9), "it was kept awake: {took:?}");
}

#[test]
fn a_host_that_comes_online_calls_at_once() {
    let Some(lab) = two_uplinks("online", "") else { return };
    lab.fri.append(CALLER, "connect-retry 1 600\n");
    lab.fri.sh("ip link set eth0 down");
    call(&lab.fri, &[]);
    // The pauses have grown: by itself it would call again 15.75 s after it began.
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(lab.fri.logged(UP), 0);
    let start = Instant::now();
    lab.fri.sh("ip link set eth0 up; ip route add default via 198.51.100.254");
    lab.fri.wait_for_log(UP, SOON);
    println!("online and up: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn thousands_of_changes_that_do_not_matter_wake_it_a_few_times_and_send_nothing() {
    let Some(lab) = two_uplinks("burst", "inactive 0\n") else { return };
    lab.fri.sh("ip link set eth1 up");
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED * 2);
    let caller = &lab.fri.endpoints()[0];
    let wakes = || -> u64 {
        let status = lab.fri.read(&format!("/proc/{}/status", caller.pid()));
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    let batch: String = (0..4000)
        .map(|n| format!("route add 10.{}.{}.0/24 via 203.0.113.254\n", 100 + n / 250, n % 250))
        .collect();
    let file = lab.dir().join("batch");
    std::fs::write(&file, batch).unwrap();
    let (sent, before, start) = (datagrams_sent(&lab.fri), wakes(), Instant::now());
    lab.fri.ok(&["ip", "-batch", &file.display().to_string()]);
    lab.fri.sh("ip address add 10.99.0.1/24 dev eth1");
    let looks = start.elapsed().as_secs_f64() / 0.1;
    std::thread::sleep(SETTLED);
    let woken = wakes() - before;
    println!("4000 routes in {:.1} s: woken {woken} times", looks / 10.0);
    assert!((woken as f64) < 3.0 * looks + 30.0, "{woken} wakes");
    assert_eq!(datagrams_sent(&lab.fri), sent);
    assert!(answers(&lab.fri, "10.8.0.1"));
}

#[test]
fn with_all_traffic_in_the_tunnel_the_stream_goes_on_by_the_other_uplink() {
    let Some(lab) = two_uplinks("redirected", "inactive 0\n") else { return };
    lab.fri.append(CALLER, "redirect-gateway def1\n");
    lab.fri.sh("ip link set eth1 up; ip route add default via 203.0.113.254 metric 100");
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    let stream = Stream::start(&lab, true, 8);
    std::thread::sleep(SETTLED);
    lab.fri.sh("ip link set eth0 down");
    let gap = stream.longest_gap();
    println!("redirected: {gap:?}");
    assert!(gap < GAP, "{gap:?}");
    listener_follows(&lab, SECOND);
    assert!(lab.fri.ok(&["ip", "route", "get", "192.0.2.1"]).contains("via 203.0.113.254 dev eth1"));
    assert!(lab.fri.ok(&["ip", "route", "get", "9.9.9.9"]).contains("dev tun0"));
}

#[test]
fn an_ipv6_address_counts_once_it_may_be_used() {
    let Some(lab) = two_uplinks("ipv6", "inactive 0\n") else { return };
    lab.fri.sh(&format!("sed -i 's/^remote .*/remote 2001:db8:1::1/' {CALLER}"));
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    // With duplicate address detection, which takes a second.
    lab.fri.sh("ip -6 address add 2001:db8:2::9/64 dev eth0
         ip -6 address del 2001:db8:2::1/64 dev eth0
         ip -6 route replace default via 2001:db8:2::fe dev eth0");
    listener_follows(&lab, "[2001:db8:2::9]");
    eventually("the way back is known", SOON, || answers(&lab.mon, "10.8.0.2"));
    assert_eq!(lab.mon.logged("peer authenticated"), 1, "one session");
}

#[test]
fn a_socket_bound_to_an_address_goes_on_when_the_address_is_back() {
    let Some(lab) = two_uplinks("bound", "inactive 0\n") else { return };
    lab.fri.append(CALLER, "local 198.51.100.1\n");
    call(&lab.fri, &[]);
    eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
    std::thread::sleep(SETTLED);
    lab.fri.sh(BETTER);
    std::thread::sleep(SETTLED);
    assert_eq!(lab.mon.logged("peer moved"), 0, "its address is the administrator's");
    lab.fri.sh("ip link set eth1 down; ip link set eth0 down");
    std::thread::sleep(SETTLED / 2);
    lab.fri.sh("ip link set eth0 up; ip route add default via 198.51.100.254");
    eventually("the tunnel is back", SOON, || answers(&lab.mon, "10.8.0.2"));
}
