//! The tunnel to be: everything that was chosen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::wanted::{Kind, Launcher};
use crate::os::route::Network;

/// A tunnel with its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// `tun-mon-fri`: the folder, the key, and the listener's configuration.
    pub name: String,
    /// Who waits.
    pub listener: End,
    /// Who calls.
    pub caller: End,
    /// Where the caller finds the listener: an address or a name.
    pub remote: String,
    /// The port.
    pub service: Service,
    /// Who holds it.
    pub launcher: Launcher,
    /// What is carried.
    pub kind: Kind,
    /// The bridge of the listener.
    pub bridge: Option<Bridge>,
    /// Which of the two this host is.
    pub here: Here,
    /// Where the folder goes.
    pub out: PathBuf,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Tunnel {
    /// The folder to make.
    pub fn folder(&self) -> PathBuf {
        if self.out.as_os_str() == "." { PathBuf::from(&self.name) } else { self.out.join(&self.name) }
    }
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The host, as it was written.
    pub host: String,
    /// Its folder.
    pub tag: String,
    /// Its configuration without `.conf`.
    pub stem: String,
    /// Its device.
    pub device: String,
    /// Its address inside the tunnel; none on a tap that a bridge takes.
    pub ipv4: Option<Ipv4Addr>,
    /// Length of the prefix on a tap, bits.
    pub prefix: u8,
    /// Its IPv6 address inside the tunnel, of a /64.
    pub ipv6: Option<Ipv6Addr>,
    /// The networks behind it.
    pub networks: Vec<Network>,
}

/// A port, by name where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the service; the tunnel's where /etc/services is to know none.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Whether the name goes into /etc/services.
    pub listed: bool,
}

/// What bridge-setup is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The ethernet interface.
    pub eth: String,
    /// The bridge's address; `None` where it takes over that of the interface, or exists.
    pub address: Option<Network>,
    /// The address that the bridge has then.
    pub own: Option<IpAddr>,
    /// Where settings are used that the listener has already.
    pub exists: bool,
}

/// Which end this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// The one that waits.
    Listener,
    /// The one that calls.
    Caller,
    /// Neither.
    Elsewhere,
}
