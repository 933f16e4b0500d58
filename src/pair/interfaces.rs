//! The network interfaces of this host, and which of them a bridge may take.

use std::fs;
use std::path::Path;

use super::seen::read;

/// ARPHRD_ETHER of linux/if_arp.h.
const ETHERNET: &str = "1";

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether it is an ethernet that a bridge can take: no bridge, no tap, no wireless station.
    pub ethernet: bool,
}

/// All of them, by name.
pub(super) fn interfaces() -> Vec<Interface> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut all: Vec<Interface> = entries.filter_map(|entry| interface(&entry.path())).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn interface(folder: &Path) -> Option<Interface> {
    let value = |file: &str| read(folder.join(file)).map(|text| text.trim().to_owned());
    let other = ["bridge", "tun_flags", "wireless", "phy80211"].iter().any(|file| folder.join(file).exists());
    Some(Interface {
        name: folder.file_name()?.to_str()?.to_owned(),
        index: value("ifindex")?.parse().ok()?,
        ethernet: value("type").as_deref() == Some(ETHERNET) && !other,
    })
}
