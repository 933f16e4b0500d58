//! The routed tunnel of the examples: who calls, who listens, and what is said when it is up.

use super::{Host, Lab, SOON, eventually};
use std::process::Output;

/// The listener's configuration, on mon.
pub const LISTENER: &str = "/etc/naptun/tun-mon-fri.conf";
/// The caller's, on fri.
pub const CALLER: &str = "/etc/naptun/tun-fri-mon.conf";
/// What wrappers wait for.
pub const UP: &str = "Initialization Sequence Completed";

/// The words with which an administrator starts the caller; `--daemon` is not among them.
const CALL: &[&str] =
    &["naptun", "--port", "timbuktu-srv1", "--cd", "/etc/naptun", "--config", "tun-fri-mon.conf"];

/// A laboratory with `more` in the listener's configuration, nothing started.
pub fn quiet_lab(name: &str, more: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.mon.append(LISTENER, more);
    Some(lab)
}

/// The same with xinetd on mon.
pub fn tun_lab(name: &str, more: &str) -> Option<Lab> {
    let lab = quiet_lab(name, more)?;
    lab.mon.xinetd();
    Some(lab)
}

/// The caller's command line with flags behind it.
pub fn caller<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [CALL, flags].concat()
}

/// Starts the caller in the background and waits until the shell would have its prompt back.
pub fn call(host: &Host, flags: &[&str]) {
    host.ok(&caller(&[&["--daemon"], flags].concat()));
}

/// Ends every tunnel of `host` in good order. Dropping what [`Host::spawn`] returned does not: a process that changes
/// its user is no longer killed with its parent.
pub fn stop(host: &Host) {
    host.endpoints().iter().for_each(|endpoint| host.kill("TERM", endpoint.pid()));
    eventually("no process stays", SOON, || host.ours().is_empty());
}

/// Whether nothing of the tunnel is left on `host`.
pub fn napping(host: &Host) -> bool {
    host.ours().is_empty() && !host.has_device("tun0")
}

/// One echo request; whether it was answered within a second.
pub fn answers(host: &Host, target: &str) -> bool {
    host.run(&["ping", "-n", "-c", "1", "-W", "1", target]).status.success()
}

/// The lines of standard error.
pub fn complaints(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

/// How many UDP datagrams a host has sent, both IP versions together.
pub fn datagrams_sent(host: &Host) -> u64 {
    let counters = host.sh("nstat -asz UdpOutDatagrams Udp6OutDatagrams");
    counters.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Perl that sends random datagrams to mon's port 1417: `count` of them, with a `pause` in seconds behind each, from
/// the address `from`. Prints how many answers there were.
pub fn rubbish(count: u32, pause: f64, from: &str) -> String {
    format!(
        "use IO::Socket::INET;
        my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '{from}', PeerAddr => '192.0.2.1:1417') or die;
        my $answers = 0;
        for (1..{count}) {{
            $socket->send(join '', map {{ chr rand 256 }} 1..60 + rand 1300);
            select undef, undef, undef, {pause};
            while (defined $socket->recv(my $answer, 2000, 0x40)) {{ $answers++; }}
        }}
        sleep 1;
        while (defined $socket->recv(my $answer, 2000, 0x40)) {{ $answers++; }}
        print $answers;"
    )
}
