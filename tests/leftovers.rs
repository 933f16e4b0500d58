//! What a process leaves behind for the next one: its death at any moment, and a shared socket in any state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use std::time::{Duration, Instant};

use figures::figure;
use lab::tun::{LISTENER, UP, answers, call, napping, quiet_lab, stop};
use lab::wire::{Holder, Rng, Stranger, let_a_stranger_in};
use lab::{Lab, SOON, eventually};

/// How soon a caller has its tunnel.
const BACK: Duration = Duration::from_secs(5);

/// The service, started by xinetd: once a predecessor, who does what is in /run/leave, and naptun ever after.
const SERVICE: &str = r#"#!/usr/bin/perl
use Fcntl;
use Socket qw(:DEFAULT MSG_PEEK pack_sockaddr_in6 inet_pton AF_INET6);
exec '/usr/sbin/naptun', @ARGV unless -e '/run/leave';
open(our $socket, '+<&=', 0) or die;
our $caller = recv($socket, my $datagram, 1, MSG_PEEK);
our $closed = pack_sockaddr_in6(9, inet_pton(AF_INET6, '::ffff:198.51.100.66'));
sub set { my ($level, $option, $value) = @_; setsockopt($socket, $level, $option, pack('i', $value)) or die "$option: $!" }
rename '/run/leave', '/run/left';
do '/run/left';
if ($@) { system 'logger', "predecessor: $@" }
exec '/usr/sbin/naptun', @ARGV if $stays;
"#;

/// What a predecessor leaves on the socket, in Perl. With `$stays` it turns into naptun itself: xinetd loses a service
/// on whose socket an error is pending, whatever the next process would do.
const LEFT: &[(&str, &str)] = &[
    // It is not the service that makes the difference.
    ("nothing", ""),
    ("UDP_GRO", "set(17, 104, 1)"),
    ("UDP_SEGMENT", "set(17, 103, 100)"),
    ("UDP_CORK", "set(17, 1, 1)"),
    ("connect", "connect($socket, $caller) or die"),
    ("IP_RECVERR", "set(0, 11, 1); set(41, 25, 1)"),
    (
        "a pending error",
        "set(0, 11, 1); set(41, 25, 1); send($socket, 'x', 0, $closed); select undef, undef, undef, 0.2; $stays = 1",
    ),
    (
        "a pending refusal of a peer",
        "connect($socket, $closed); send($socket, 'x', 0); select undef, undef, undef, 0.2; $stays = 1",
    ),
    ("O_NONBLOCK", "fcntl($socket, F_SETFL, O_RDWR | O_NONBLOCK) or die"),
    ("packet info", "set(0, 8, 1); set(41, 49, 1)"),
    ("SO_TIMESTAMP", "set(1, 29, 1)"),
    ("SO_TIMESTAMPNS", "set(1, 35, 1)"),
    // Of what is sent as well: it comes back by the queue of errors.
    ("SO_TIMESTAMPING", "set(1, 37, 2 | 8 | 16)"),
    (
        "every control message",
        "set(0, $_, 1) for 6, 8, 12, 13, 20; set(41, $_, 1) for 49, 51, 66, 74; set(1, $_, 1) for 35, 40",
    ),
    ("SO_RCVTIMEO", "setsockopt($socket, 1, $_, pack('q2', 0, 1)) or die for 20, 21"),
    ("SO_DONTROUTE", "set(1, 5, 1)"),
];

#[test]
fn whatever_a_predecessor_left_on_the_socket_the_next_wake_works() {
    for (left, perl) in LEFT {
        let Some(lab) = quiet_lab("leftovers", "") else { return };
        let_a_stranger_in(&lab);
        lab.mon.write_script("/run/service", SERVICE);
        lab.mon.write("/run/leave", perl);
        lab.mon.sh("sed -i s:/usr/sbin/naptun:/run/service: /etc/xinetd.d/timbuktu-srv1");
        lab.mon.xinetd();
        let mut stranger = Stranger::new(&lab, left);
        stranger.send(b"first");
        eventually("the predecessor was there", SOON, || lab.mon.path("/run/left").exists());
        eventually("it has gone", SOON, || lab.mon.processes("service").is_empty());
        if *left == "connect" {
            // Only the peer wakes the next one. Whoever is awake hears everybody.
            stranger.send(b"second");
            eventually("the peer wakes a process", SOON, || lab.mon.logged("started launch") == 1);
        }
        let mut before = None;
        for wake in ["next", "second"] {
            let start = Instant::now();
            call(&lab.fri, &[]);
            eventually(&format!("{left}: the {wake} wake works"), BACK, || answers(&lab.fri, "10.8.0.1"));
            println!("{left}, {wake} wake: {} ms", start.elapsed().as_millis());
            // While an error was pending xinetd had a lot to say. That has to be over.
            lab.mon.wait_for_log(UP, SOON);
            before.get_or_insert_with(|| xinetd_lines(&lab));
            assert_eq!(lab.fri.ping("10.8.0.1", 2).lost(), 0, "{left}");
            stop(&lab.fri);
            eventually("nobody is awake", SOON, || napping(&lab.mon));
        }
        assert_eq!(lab.mon.logged("predecessor: "), 0, "{left}");
        let lines = xinetd_lines(&lab) - before.unwrap();
        assert!(lines < 10, "{left}: {lines} lines of xinetd");
    }
    figure(19, &format!("{} states of the socket, each next wake works", LEFT.len() - 1));
}

/// The service, started by xinetd: once under strace, which kills it where /run/blow says, and then as it is.
const MORTAL: &str = "#!/bin/sh
[ -e /run/blow ] || exec /usr/sbin/naptun \"$@\"
blow=$(cat /run/blow)
rm /run/blow
exec strace -D -f -qq -o /run/trace $blow /usr/sbin/naptun \"$@\"
";

/// What happens before a listener is killed.
type Story = fn(&Lab, &mut Stranger);

/// Stages of a listener's life. It is killed by strace in a system call of its own, or where a story ends.
const STAGES: &[(&str, &str, Story)] = &[
    ("right after exec", "--inject=brk:signal=KILL", rubbish),
    ("reading the configuration", "-P /etc/naptun/tun-mon-fri.conf --inject=read:signal=KILL", rubbish),
    ("waiting for a peer", "", |lab, stranger| {
        rubbish(lab, stranger);
        lab.mon.wait_for_log("started launch", SOON);
    }),
    ("half-open", "", |lab, stranger| {
        let message = Holder::new(lab).first_message(&mut Rng::new("half-open"));
        stranger.send(&message);
        // It may have been there when send() looked.
        eventually("an answer to a holder of the key", SOON, || {
            stranger.hear();
            stranger.answers > 0
        });
    }),
    ("making its device", "-P /dev/net/tun --inject=ioctl:signal=KILL:when=2", caller),
    ("with a device that is kept for a moment", "-P /dev/net/tun --inject=ioctl:signal=KILL:when=3", caller),
    ("with its device made", "-P /dev/net/tun --inject=ioctl:signal=KILL:when=5", caller),
    ("while up runs", "", |lab, stranger| {
        lab.mon.write_script(
            "/etc/naptun/slow.up",
            "#!/bin/sh\n[ -e /run/up ] || { touch /run/up; sleep 60; }\n",
        );
        lab.mon.append(LISTENER, "up ./slow.up\nscript-security 2\n");
        caller(lab, stranger);
        eventually("up runs", SOON, || lab.mon.path("/run/up").exists());
    }),
    ("pumping", "", |lab, stranger| {
        caller(lab, stranger);
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0);
    }),
    ("saying bye", "", |lab, stranger| {
        caller(lab, stranger);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        // Nobody answers the bye.
        lab.fri.kill("STOP", lab.fri.endpoints()[0].pid());
        lab.mon.kill("TERM", lab.mon.endpoints()[0].pid());
        std::thread::sleep(Duration::from_millis(300));
    }),
    ("on its last step", "--inject=exit_group:signal=KILL", |lab, stranger| {
        caller(lab, stranger);
        eventually("the tunnel is up", SOON, || answers(&lab.fri, "10.8.0.1"));
        stop(&lab.fri);
    }),
];

fn rubbish(_: &Lab, stranger: &mut Stranger) {
    stranger.send(&[0x55; 300]);
}

fn caller(lab: &Lab, _: &mut Stranger) {
    call(&lab.fri, &[]);
}

#[test]
fn a_listener_killed_at_any_stage_of_its_life_keeps_nobody_out() {
    let (mut longest, mut busiest, mut most) = (Duration::ZERO, 0.0_f64, 0);
    for (stage, blow, story) in STAGES {
        let Some(lab) = quiet_lab("stages", "") else { return };
        let_a_stranger_in(&lab);
        lab.mon.write_script("/run/service", MORTAL);
        lab.mon.sh("sed -i s:/usr/sbin/naptun:/run/service: /etc/xinetd.d/timbuktu-srv1");
        if !blow.is_empty() {
            lab.mon.write("/run/blow", blow);
        }
        lab.mon.xinetd();
        let (started, lines, worked) = (Instant::now(), xinetd_lines(&lab), xinetd_work(&lab));
        story(&lab, &mut Stranger::new(&lab, stage));
        if blow.is_empty() {
            lab.mon.kill("KILL", lab.mon.endpoints()[0].pid());
        } else {
            eventually(stage, SOON, || {
                lab.mon.path("/run/trace").exists()
                    && lab.mon.read("/run/trace").contains("+++ killed by SIGKILL +++")
            });
        }
        // The caller of the story goes as suddenly.
        lab.fri.endpoints().iter().for_each(|caller| lab.fri.kill("KILL", caller.pid()));
        eventually("fri is free", SOON, || napping(&lab.fri));

        let start = Instant::now();
        call(&lab.fri, &[]);
        eventually(&format!("{stage}: another caller is up"), BACK, || answers(&lab.fri, "10.8.0.1"));
        let taken = start.elapsed();
        std::thread::sleep(Duration::from_secs(1));
        let work = (xinetd_work(&lab) - worked) / started.elapsed().as_secs_f64();
        let lines = xinetd_lines(&lab) - lines;
        println!(
            "killed {stage}: up after {} ms, xinetd {:.1} %, {lines} lines",
            taken.as_millis(),
            100.0 * work
        );
        assert!(taken < BACK && work < 0.05 && lines < 10);
        (longest, busiest, most) = (longest.max(taken), busiest.max(work), most.max(lines));
        assert_eq!(lab.fri.ping("10.8.0.1", 3).lost(), 0, "{stage}");
    }
    figure(
        18,
        &format!(
            "killed at {} stages: another caller up within {} ms, xinetd {:.1} % of a processor and {most} lines at most",
            STAGES.len(),
            longest.as_millis(),
            100.0 * busiest
        ),
    );
}

/// Seconds of a processor that xinetd has taken.
fn xinetd_work(lab: &Lab) -> f64 {
    let stat = lab.mon.read(&format!("/proc/{}/stat", lab.mon.processes("xinetd")[0].pid()));
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime, in hundredths.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn xinetd_lines(lab: &Lab) -> usize {
    lab.mon.logged(" xinetd[")
}
