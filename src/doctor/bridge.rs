//! A tap that joins a bridge: never that of the interface which faces the internet.

use std::fs;
use std::path::Path;

use super::finding::{Report, Severity};
use super::host::Host;
use super::tunnel::{BRIDGE_CONF, Tunnel};
use crate::config::examine;
use crate::config::problem::Place;
use crate::config::settings::DeviceType;

/// What `scripts/bridge-setup` calls its bridge if it is not told.
const BRIDGE: &str = "br0";
/// A script is looked into up to so many bytes.
const MAX_SCRIPT: u64 = 64 * 1024;

/// Looks where the frames of a tap would go.
pub(super) fn look(tunnel: &Tunnel, host: &Host, report: &mut Report) {
    let settings = &tunnel.exam.settings;
    let Some(up) = settings.up.as_ref().filter(|_| settings.device_type == DeviceType::Tap) else { return };
    let outside = host.default_devices();
    let planned = Setup::read(tunnel);
    if let Some(setup) = planned.as_ref().filter(|setup| outside.contains(&setup.eth)) {
        let severity = if setup.allowed { Severity::Warning } else { Severity::Error };
        let text = format!(
            "ETH={}: the default route leads there, so strangers of that network get into the tunnel; name the private interface",
            setup.eth
        );
        report.add(severity, &setup.place, &setup.eth, &text);
    }
    let script = up.first().map(|script| text(Path::new(script))).unwrap_or_default();
    let named: Vec<&str> = words(&script).chain(up.iter().skip(1).map(String::as_str)).collect();
    let default = planned.as_ref().map_or(BRIDGE, |setup| setup.bridge.as_str());
    for bridge in
        host.bridges().into_iter().filter(|bridge| named.contains(&bridge.as_str()) || bridge == default)
    {
        let ports = host.bridge_ports(&bridge);
        let Some(port) = outside.iter().find(|device| ports.contains(device)) else { continue };
        let text = format!(
            "up: the tap joins {bridge}, and so does {port}, where the default route leads; bridge a private interface instead"
        );
        report.add(Severity::Error, &tunnel.place("up"), "", &text);
    }
}

/// What bridge.conf of the tunnel's folder tells `scripts/bridge-setup`.
struct Setup {
    place: Place,
    eth: String,
    bridge: String,
    allowed: bool,
}

impl Setup {
    fn read(tunnel: &Tunnel) -> Option<Self> {
        let text = examine::text(&tunnel.exam.dir, BRIDGE_CONF)?;
        let mut setup = Self {
            place: Place::new(BRIDGE_CONF, 0),
            eth: String::new(),
            bridge: BRIDGE.to_owned(),
            allowed: false,
        };
        for (line, number) in text.lines().zip(1..) {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            match name.trim() {
                "ETH" => (setup.eth, setup.place.line) = (value.to_owned(), number),
                "BRIDGE" => value.clone_into(&mut setup.bridge),
                "ALLOW_DEFAULT_ROUTE" => setup.allowed = value == "yes",
                _ => {}
            }
        }
        Some(setup)
    }
}

fn text(script: &Path) -> String {
    let small = fs::metadata(script).is_ok_and(|it| it.is_file() && it.len() <= MAX_SCRIPT);
    if small {
        String::from_utf8_lossy(&fs::read(script).unwrap_or_default()).into_owned()
    } else {
        String::new()
    }
}

/// What may be the names of devices in a shell script, comments left out.
fn words(script: &str) -> impl Iterator<Item = &str> {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split(|letter: char| !(letter.is_alphanumeric() || ".-_".contains(letter))))
}
