//! What happens to the tunnels of a soak.

use std::time::Duration;

use super::lab::relay::{Faults, Random};
use super::lab::tun::rubbish;
use super::lab::{Host, SOON, eventually};
use super::tunnels::Tunnel;
use super::{Soak, tunnel_process};

impl Soak<'_> {
    /// One deed, chosen at random; its name. The steady tunnel only suffers from the network.
    pub fn mischief(&self, random: &mut Random) -> &'static str {
        let lab = self.lab;
        let (steady, unsteady): (Vec<&Tunnel>, Vec<_>) =
            self.tunnels.iter().partition(|tunnel| tunnel.steady);
        let victim = unsteady[random.below(unsteady.len() as u64) as usize];
        let any = if random.happens(0.4) { steady[0] } else { victim };
        match random.below(14) {
            0 => signal(&lab.mon, victim, "KILL", "listener killed"),
            1 => signal(&lab.mon, victim, "TERM", "listener ended"),
            2 => self.restart(victim, "KILL", "caller killed"),
            3 => self.restart(victim, "TERM", "caller ended"),
            4 => signal(&lab.fri, victim, "HUP", "caller told to call anew"),
            5 => self.suspend(random, victim),
            6 | 7 => {
                any.relay.set(faults(random, !any.steady));
                "network changed"
            }
            8 | 9 => {
                let address = format!("{}{}", any.outside, 200 + random.below(10));
                any.relay.rebind(&lab.net, address.parse().unwrap());
                "moved"
            }
            10 => restart_syslogd(if random.happens(0.5) { &lab.mon } else { &lab.fri }),
            11 => {
                // Some 1000 a second.
                let flood = rubbish(300, 0.001, "198.51.100.1").replace(":1417", &format!(":{}", any.port()));
                assert_eq!(lab.fri.ok(&["perl", "-e", &flood]), "0", "rubbish is answered");
                "rubbish"
            }
            12 => signal(&lab.mon, victim, "USR2", "statistics"),
            _ => self.restart_xinetd(),
        }
    }

    /// The network is well again, and nobody is stopped.
    pub fn make_peace(&self) {
        self.tunnels.iter().for_each(|tunnel| tunnel.relay.set(Faults::default()));
    }

    fn restart(&self, tunnel: &Tunnel, how: &'static str, deed: &'static str) -> &'static str {
        signal(&self.lab.fri, tunnel, how, deed);
        tunnel.call(self.lab);
        deed
    }

    /// As a machine that sleeps for a while.
    fn suspend(&self, random: &mut Random, tunnel: &Tunnel) -> &'static str {
        let host = if random.happens(0.5) { &self.lab.mon } else { &self.lab.fri };
        signal(host, tunnel, "STOP", "");
        std::thread::sleep(Duration::from_millis(random.below(4000)));
        signal(host, tunnel, "CONT", "");
        "stopped for a while"
    }

    /// Its servers stay, as they do when systemd is told to end the daemon alone.
    fn restart_xinetd(&self) -> &'static str {
        let mon = &self.lab.mon;
        if let Some(process) = mon.processes("xinetd").first() {
            mon.kill("TERM", process.pid());
        }
        eventually("xinetd is gone", SOON, || mon.processes("xinetd").is_empty());
        mon.xinetd();
        "xinetd restarted"
    }
}

/// To the process of this tunnel, if there is one just now.
fn signal(host: &Host, tunnel: &Tunnel, name: &str, deed: &'static str) -> &'static str {
    if let Some(process) = tunnel_process(host, tunnel) {
        // It may end by itself in this moment.
        host.run(&["kill", &format!("-{name}"), &process.pid().to_string()]);
    }
    deed
}

/// Often none at all, and never such that TCP would wait for minutes. Where packets are counted the path is not `narrow`: of
/// those that are cut only eight are joined at a time, so delays that differ lose some although every datagram arrives.
fn faults(random: &mut Random, narrow: bool) -> Faults {
    let some = |random: &mut Random, most: f64| {
        if random.happens(0.5) { 0.0 } else { random.below(1000) as f64 / 1000.0 * most }
    };
    let delay_most = Duration::from_millis((some(random, 1.0) * 60.0) as u64);
    Faults {
        loss: some(random, 0.2),
        twice: some(random, 0.1),
        damage: some(random, 0.02),
        delay_least: delay_most / 4,
        delay_most,
        longest: if narrow && random.happens(0.3) { 1232 + random.below(240) as usize } else { 65_536 },
    }
}

/// Killed and started again as it was.
fn restart_syslogd(host: &Host) -> &'static str {
    let own = |process: &super::lab::Process| {
        let words = host.read(&format!("/proc/{}/cmdline", process.pid()));
        words.contains("syslogd").then(|| words.trim_end_matches('\0').replace('\0', " "))
    };
    let Some((pid, words)) = host.processes("busybox").iter().find_map(|it| Some((it.pid(), own(it)?)))
    else {
        return "no syslogd";
    };
    host.kill("KILL", pid);
    host.sh(&format!("rm -f /dev/log; setsid {words} </dev/null >/dev/null 2>&1 &"));
    eventually("syslogd is back", SOON, || host.path("/dev/log").exists());
    "syslogd restarted"
}
