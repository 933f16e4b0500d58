//! A new administrator: the package, `naptun pair`, a copy, an install script, a ping. No editor, five commands a host at most.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use lab::{Host, Lab, SOON, binary, eventually};

/// The host as its installation left it: the laboratory's files of naptun are gone, and what a package manager writes to
/// is its own.
const FRESH: &str = r#"
umount /usr/sbin/naptun
rm -rf /etc/naptun /etc/xinetd.d /var/lib/naptun /etc/inetd.conf
sed -i '/^timbuktu-srv\|^netview-aix/d' /etc/services
for over in usr var; do
	mkdir -p "$1/fresh/$over" "$1/fresh/$over.work"
	mount -t overlay -o "lowerdir=/$over,upperdir=$1/fresh/$over,workdir=$1/fresh/$over.work" overlay "/$over"
done
rm -rf /var/lib/naptun /usr/share/naptun
mkdir /etc/xinetd.d
mount -t tmpfs tmpfs /root
"#;

/// An administrator at a host, who counts what had to be typed.
struct Admin<'a> {
    host: &'a Host,
    typed: Vec<String>,
}

impl<'a> Admin<'a> {
    /// At a host that was just installed.
    fn at(lab: &Lab, host: &'a Host, name: &str) -> Self {
        let private = lab.dir().join(name).join("private");
        host.ok(&["sh", "-euc", FRESH, "sh", private.to_str().unwrap()]);
        assert!(!host.path("/usr/sbin/naptun").exists(), "{name} is not fresh");
        Self { host, typed: Vec::new() }
    }

    /// One command; gives what it printed.
    fn types(&mut self, command: &str) -> String {
        self.typed.push(command.to_owned());
        assert!(self.typed.len() <= 5, "too much to type: {:#?}", self.typed);
        self.host.sh(&format!("cd /root && {command} 2>&1"))
    }
}

/// One at each end.
fn newcomers(lab: &Lab) -> (Admin<'_>, Admin<'_>) {
    (Admin::at(lab, &lab.mon, "mon"), Admin::at(lab, &lab.fri, "fri"))
}

/// The Debian package around the binary under test, made once.
fn package() -> &'static Path {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newcomer");
        let _ = std::fs::remove_dir_all(&out);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package");
        let variables =
            [("BINARY", binary().into_os_string()), ("OUT", out.clone().into()), ("COMPRESS", "none".into())];
        let made = Command::new(script).arg("deb").envs(variables).output().unwrap();
        assert!(made.status.success(), "scripts/package: {}", String::from_utf8_lossy(&made.stderr));
        let mut files = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        files.find(|file| file.extension().is_some_and(|extension| extension == "deb")).expect("a package")
    });
    &MADE
}

/// Package, pair with `words`, copy and install on both hosts, and a ping to the address that is named then.
fn set_up(lab: &Lab, (mut mon, mut fri): (Admin, Admin), words: &str, tunnel: &str) {
    for admin in [&mut mon, &mut fri] {
        admin.types(&format!("apt-get install -qq -y {}", package().display()));
    }
    let said = mon.types(&format!("naptun pair mon fri {words}"));
    let ping = said.lines().find_map(|line| line.trim().strip_prefix("fri#")?.trim().strip_prefix("ping "));
    let ping = ping.unwrap_or_else(|| panic!("no ping is advised: {said}")).to_owned();
    // In the place of scp.
    let parcel = lab.dir().join("parcel");
    mon.types(&format!("cp -rp {tunnel}/fri {}", parcel.display()));
    lab.fri.sh(&format!("mv {} /root/{tunnel}", parcel.display()));
    mon.types(&format!("sh {tunnel}/mon/install"));
    fri.types(&format!("sh {tunnel}/install"));
    let pinged = fri.types(&format!("ping -c 3 -i 0.2 -W 5 {ping}"));
    assert!(pinged.contains(" 3 received"), "{pinged}");
    is_well(mon.host);
    is_well(fri.host);
}

/// What a host says of itself afterwards: the doctor finds no error, and the tunnel is awake.
fn is_well(host: &Host) {
    let found = host.run(&["naptun", "check", "--cd", "/etc/naptun"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains(": ok") && !found.contains("error:"), "{found}");
    let status = host.ok(&["naptun", "status"]);
    assert!(status.contains("awake"), "{status}");
}

#[test]
fn a_newcomer_routes_between_two_networks_under_xinetd() {
    let Some(lab) = Lab::new("newcomer-tun") else { return };
    let networks = "--network 192.168.1.0/24 --caller-network 192.168.2.0/24";
    set_up(&lab, newcomers(&lab), networks, "tun-mon-fri");
    assert_eq!(lab.lanfri.ping("192.168.1.10", 3).lost(), 0);
    assert_eq!(lab.lanmon.ping("192.168.2.10", 3).lost(), 0);
    // The package has brought a user for it.
    let user = lab.mon.sh("id -u naptun");
    let endpoints = lab.mon.endpoints();
    assert_eq!(endpoints[0].uids(), [user.trim().parse::<u32>().unwrap(); 4]);
    for page in ["naptun.8", "naptun.conf.5"] {
        lab.mon.sh(&format!("man -P cat {page} >/dev/null 2>&1 || ls /usr/share/man/man?/{page}.gz"));
    }
}

#[test]
fn a_newcomer_bridges_an_office_under_xinetd() {
    let Some(lab) = Lab::new("newcomer-tap") else { return };
    set_up(&lab, newcomers(&lab), "--bridge eth1 --network 192.168.8.1/24", "tap-mon-fri");
    eventually("the office answers", SOON, || lab.fri.ping("192.168.8.10", 1).lost() == 0);
}

#[test]
fn a_newcomer_with_systemd_enables_units() {
    let Some(lab) = Lab::new("newcomer-systemd") else { return };
    let (mon, fri) = newcomers(&lab);
    mon.host.has_systemd();
    fri.host.has_systemd();
    // The examples that the package puts into /etc/xinetd.d mislead nobody.
    lab.mon.sh("rm /usr/sbin/xinetd /etc/xinetd.conf");
    set_up(&lab, (mon, fri), "", "tun-mon-fri");
    lab.mon.wait_for_log("launch=systemd", SOON);
}
