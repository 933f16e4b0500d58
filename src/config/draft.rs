//! Settings in the making: what the directives have said so far.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::grammar::Statement;
use super::include::resolve_path;
use super::problem::{Fault, Place, Problem};
use super::process;
use super::settings::{
    Ciphers, DeviceType, Dns, Family, Host, Inactive, LogTarget, Mssfix, Secret, Settings,
};
use crate::error::one_line;

/// The port that OpenVPN's users expect; IANA's for openvpn.
pub(super) const DEFAULT_PORT: u16 = 1194;

/// What a directive does: takes the statement, whose number of parameters is right, into the draft.
pub(super) type Apply = fn(&mut Draft, &Statement) -> Result<(), Fault>;

/// One `remote` line before ports and protocol are settled.
pub(super) struct RemoteLine {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    pub(super) family: Option<Family>,
    pub(super) place: Place,
}

/// The settings, and what only the end of all statements decides.
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) problems: Vec<Problem>,
    /// Relative names are taken from here.
    pub(super) base: PathBuf,
    /// The last place of each directive that was seen.
    pub(super) places: Vec<(&'static str, Place)>,

    pub(super) port: Option<u16>,
    pub(super) lport: Option<u16>,
    pub(super) rport: Option<u16>,
    pub(super) nobind: bool,
    pub(super) remotes: Vec<RemoteLine>,

    pub(super) secret: Option<Secret>,
    pub(super) cipher: Option<Ciphers>,
    pub(super) data_ciphers: Option<Ciphers>,

    pub(super) dev: Option<String>,
    pub(super) dev_type: Option<DeviceType>,
    pub(super) mtu: Option<u16>,
    pub(super) topology_subnet: bool,
    pub(super) route_metric: Option<u32>,
    pub(super) route_ipv6_gateway: Option<std::net::Ipv6Addr>,

    pub(super) script_security: Option<u8>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) inactive: Option<Option<Inactive>>,
    pub(super) syslog: bool,

    /// `setenv FORWARD_COMPATIBLE 1`: unknown words are notices from here on.
    pub(super) forward_compatible: bool,
    /// `ignore-unknown-option`: these words are notices from here on.
    pub(super) ignorable: Vec<String>,
}

impl Draft {
    /// Nothing said yet. `base` is where relative file names start.
    pub(super) fn new(base: &Path) -> Self {
        Self {
            settings: defaults(),
            problems: Vec::new(),
            base: base.to_path_buf(),
            places: Vec::new(),
            port: None,
            lport: None,
            rport: None,
            nobind: false,
            remotes: Vec::new(),
            secret: None,
            cipher: None,
            data_ciphers: None,
            dev: None,
            dev_type: None,
            mtu: None,
            topology_subnet: false,
            route_metric: None,
            route_ipv6_gateway: None,
            script_security: None,
            user: None,
            group: None,
            inactive: None,
            syslog: false,
            forward_compatible: false,
            ignorable: Vec::new(),
        }
    }

    /// Where `directive` was last seen.
    pub(super) fn place(&self, directive: &str) -> Option<&Place> {
        self.places.iter().find(|(name, _)| *name == directive).map(|(_, place)| place)
    }

    /// Notes that `directive` was seen at `place`; true the first time.
    pub(super) fn see(&mut self, directive: &'static str, place: &Place) -> bool {
        match self.places.iter_mut().find(|(name, _)| *name == directive) {
            Some(seen) => {
                seen.1 = place.clone();
                false
            }
            None => {
                self.places.push((directive, place.clone()));
                true
            }
        }
    }

    /// Something to tell the administrator about `directive`.
    pub(super) fn notice(&mut self, place: &Place, directive: &str, text: &str) {
        self.settings.notices.push(one_line(&format!("{place}: {directive}: {text}")));
    }

    /// A problem where `directive` was last seen.
    pub(super) fn fault(&mut self, directive: &str, fault: Fault) {
        let place = self.place(directive).cloned().unwrap_or_else(Place::command_line);
        self.problems.push(fault.at(&place, directive));
    }

    /// A file that a directive names.
    pub(super) fn path(&self, word: &str) -> Result<PathBuf, Fault> {
        if word.is_empty() {
            return Err(Fault::new("", "the name is empty", "expected a file"));
        }
        Ok(resolve_path(&self.base, Path::new(word)))
    }
}

/// Room for a dozen trains of datagrams, bytes: the system's default holds two or three, and every further one is lost
/// while we are busy. Much more makes others wait behind a full buffer.
const BUFFER: usize = 1 << 20;

/// What holds where nothing is said.
fn defaults() -> Settings {
    Settings {
        config_file: None,
        inetd: false,
        daemon: false,
        program: "naptun".to_owned(),
        remotes: Vec::new(),
        remote_random: false,
        local: None,
        lport: DEFAULT_PORT,
        family: Family::Any,
        float: false,
        resolv_retry: None,
        sndbuf: Some(BUFFER),
        rcvbuf: Some(BUFFER),
        mark: None,
        secret: Secret::Inline(Zeroizing::new(String::new())),
        ciphers: Ciphers { aes_256_gcm: true, chacha20_poly1305: true },
        replay_persist: None,
        device_type: DeviceType::Tun,
        device_name: None,
        mtu: 0,
        txqueuelen: None,
        lladdr: None,
        mssfix: Mssfix::Whole,
        offload: true,
        ifconfig: None,
        ifconfig_ipv6: None,
        ifconfig_noexec: false,
        routes: Vec::new(),
        routes_ipv6: Vec::new(),
        route_gateway: None,
        route_noexec: false,
        redirect: None,
        up: None,
        down: None,
        up_restart: false,
        setenv: Vec::new(),
        dhcp_options: Vec::new(),
        dns: Dns::default(),
        user: process::ANY_USER.to_owned(),
        group: None,
        nice: None,
        mlock: false,
        writepid: None,
        verb: 1,
        mute: 0,
        log: LogTarget::Default,
        status: None,
        inactive: None,
        ping: None,
        ping_timeout: None,
        reneg_sec: None,
        connect_retry: None,
        notices: Vec::new(),
    }
}

/// `inactive` under a super-server when the file says nothing.
pub(super) const NAP_AFTER: Inactive = Inactive { after: Duration::from_secs(300), bytes: 0 };
