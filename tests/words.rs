//! Words on the wire: under xinetd standard output and error are the socket, and whatever is printed there goes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod lab;

use std::process::Command;

use figures::figure;
use lab::wire::{STRANGER, let_a_stranger_in, passed};
use lab::{Lab, SOON, eventually};

/// Connects the socket to whoever sent the datagram that waits, as a predecessor may have left it: only then does
/// what is printed find its way. Then turns into the program.
const CONNECTED: &str = "#!/usr/bin/perl
use Socket;
open(my $socket, '+<&=', 0) or die;
my $peer = recv($socket, my $datagram, 1, MSG_PEEK);
connect($socket, $peer) or die;
exec @ARGV;
";

/// The first port of the services, each of which has one of its own.
const FIRST: usize = 3000;

/// A run of naptun that comes to nothing, what its line in syslog holds.
const RUNS: &[(&str, &str)] = &[
    ("--help", "naptun --inetd --config FILE"),
    ("--version", "naptun --inetd --config FILE"),
    ("--genkey", "naptun --inetd --config FILE"),
    ("check --cd /etc/naptun bad.conf", "naptun --inetd --config FILE"),
    ("--inetd --nonsense", "--nonsense"),
    ("--inetd --verb", "verb"),
    ("surplus", "surplus"),
    ("--inetd --cd etc/naptun --config tun-mon-fri.conf", "etc/naptun"),
    ("--inetd --cd /nowhere --config tun-mon-fri.conf", "/nowhere"),
    ("--inetd --cd /etc/naptun --config bad.conf", "bad.conf:3: \"ifconfg\""),
    ("--inetd --cd /etc/naptun --config none.conf", "none.conf"),
    ("--inetd --cd /etc/naptun --config tun-mon-fri.conf --secret none.key", "none.key"),
    ("--inetd --cd /etc/naptun --config tun-mon-fri.conf --secret bad.conf", "bad.conf"),
    ("--inetd --cd /etc/naptun --config tun-mon-fri.conf --user nosuch", "nosuch"),
    ("--inetd --cd /etc/naptun --config tun-mon-fri.conf --log /nowhere/log", "/nowhere/log"),
    ("--inetd --cd /etc/naptun --config tun-mon-fri.conf --daemon --dev tun0 --up ./none.up", "none.up"),
];

/// The service number `number` of mon.
fn serve(lab: &Lab, number: usize, program: &str) {
    lab.mon.serve(&format!("word{number}"), (FIRST + number) as u16, "/run/connected", program);
}

/// Sends one datagram to the service of this number.
fn wake(lab: &Lab, number: usize) {
    lab.fri.socket(STRANGER).send_to(&[0x55; 300], ("192.0.2.1", (FIRST + number) as u16)).unwrap();
}

#[test]
fn help_mistakes_and_a_panic_send_no_byte_under_xinetd_and_the_reason_is_in_syslog() {
    let Some(lab) = Lab::new("words") else { return };
    let_a_stranger_in(&lab);
    lab.mon.write_script("/run/connected", CONNECTED);
    lab.mon.write("/etc/naptun/bad.conf", "dev tun\nsecret static.key\nifconfg 10.8.0.1 10.8.0.2\n");
    for (number, (arguments, _)) in RUNS.iter().enumerate() {
        serve(&lab, number, &format!("/usr/sbin/naptun {arguments}"));
    }
    let nonsense = compile(&lab);
    let (panic, print) = (RUNS.len(), RUNS.len() + 1);
    let listener = "/usr/sbin/naptun --inetd --cd /etc/naptun --config tun-mon-fri.conf";
    serve(&lab, panic, &format!("env LD_PRELOAD={nonsense} {listener}"));
    serve(&lab, print, "echo a word");
    lab.mon.xinetd();

    for (number, (arguments, reason)) in RUNS.iter().enumerate() {
        let before = lab.mon.log().len();
        wake(&lab, number);
        eventually(&format!("{arguments}: {reason}"), SOON, || told(&lab, before, reason));
    }
    let before = lab.mon.log().len();
    wake(&lab, panic);
    eventually("the panic is in syslog", SOON, || told(&lab, before, "internal error, please report it at="));
    // On their way out they may still say something.
    eventually("nobody is left", SOON, || lab.mon.ours().is_empty());
    assert_eq!(passed(&lab).out, 0, "words on the wire");
    assert!(!lab.mon.log().contains("BEGIN OpenVPN"), "a key in syslog");

    wake(&lab, print);
    eventually("a word that is printed would have been seen", SOON, || passed(&lab).out > 0);
    figure(
        20,
        &format!(
            "{} runs that come to nothing and a panic: 0 bytes sent, every reason in syslog",
            RUNS.len()
        ),
    );
}

/// Whether naptun has said this in syslog behind the first `before` bytes of the log.
fn told(lab: &Lab, before: usize, reason: &str) -> bool {
    lab.mon.log()[before..].lines().any(|line| line.contains(" naptun[") && line.contains(reason))
}

/// The clock that talks nonsense, in a place that every host sees.
fn compile(lab: &Lab) -> String {
    let library = format!("{}/nonsense.so", lab.dir().display());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/nonsense.c");
    let compiled = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o", &library, source]).status();
    assert!(compiled.unwrap().success());
    library
}
