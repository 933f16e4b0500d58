//! The port: which services there are, which are spoken for, and the next free one.

use super::seen::{HOME, Seen, files, read};
use super::tunnel::{Here, Service};
use super::wanted::{Wanted, wrong};
use crate::error::{Error, Exit};

/// The names that come with naptun, one for each tunnel.
const FRAGMENT: &str = include_str!("../../services.fragment");

/// Somebody has a service or a port already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The service's name, or the port's number.
    pub word: String,
    /// The file that says so.
    pub who: String,
}

/// The port of the tunnel called `tunnel`: what was asked for, or the next free service.
pub(super) fn choose(wanted: &Wanted, seen: &Seen, here: Here, tunnel: &str) -> Result<Service, Error> {
    let own = udp(FRAGMENT);
    if let Some(port) = wanted.port {
        let service = named(&own, port).unwrap_or(Service { name: tunnel.to_owned(), port, listed: false });
        return free_to_use(service, seen, here, &format!("--port {port}"));
    }
    if let Some(name) = &wanted.service {
        let known = seen.services.iter().chain(&own).find(|(known, _)| known == name);
        let Some((name, port)) = known else {
            let error =
                wrong(&format!("--service {name}"), "neither /etc/services nor services.fragment has it");
            return Err(error.advise("name one of them, or give a number with --port"));
        };
        let service = Service { name: name.clone(), port: *port, listed: true };
        return free_to_use(service, seen, here, &format!("--service {name}"));
    }
    let services = own.into_iter().map(|(name, port)| Service { name, port, listed: true });
    services.into_iter().find(|service| taken(service, seen).is_none()).ok_or_else(|| {
        Error::new(Exit::Unavailable, "choose a service", "all of services.fragment are taken")
            .advise("give a port with --port")
    })
}

fn named(services: &[(String, u16)], port: u16) -> Option<Service> {
    let (name, port) = services.iter().find(|(_, known)| *known == port)?;
    Some(Service { name: name.clone(), port: *port, listed: true })
}

/// What was asked for by name is refused only where this host would have to serve it.
fn free_to_use(service: Service, seen: &Seen, here: Here, act: &str) -> Result<Service, Error> {
    match taken(&service, seen).filter(|_| here == Here::Listener) {
        None => Ok(service),
        Some(who) => {
            let error = Error::new(Exit::Unavailable, act, format!("{who} has UDP port {}", service.port));
            Err(error.advise("leave it out, and the next free one is taken"))
        }
    }
}

/// Who has this service or its port.
fn taken(service: &Service, seen: &Seen) -> Option<String> {
    // A name in a configuration stands for the port that this host's /etc/services gives it, or else for ours.
    let fragment = udp(FRAGMENT);
    let port = |word: &str| {
        let known = seen.services.iter().chain(&fragment).find(|(name, _)| name == word);
        word.parse().ok().or(known.map(|(_, port)| *port))
    };
    let spoken_for =
        seen.uses.iter().find(|it| it.word == service.name || port(&it.word) == Some(service.port));
    let bound = || seen.bound.contains(&service.port).then(|| "a process".to_owned());
    spoken_for.map(|it| it.who.clone()).or_else(bound)
}

/// The UDP services of a text like /etc/services, aliases left out.
pub(super) fn udp(text: &str) -> Vec<(String, u16)> {
    let service = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        Some((name.to_owned(), words.next()?.strip_suffix("/udp")?.parse().ok()?))
    };
    text.lines().filter_map(service).collect()
}

/// The services that super-servers of this host have.
pub(super) fn launched() -> Vec<Use> {
    let mut uses = Vec::new();
    for (name, text) in files("/etc/xinetd.d") {
        let who = format!("/etc/xinetd.d/{name}");
        uses.extend(
            xinetd(&text, &|config| has_config(config))
                .into_iter()
                .map(|word| Use { word, who: who.clone() }),
        );
    }
    let inetd = read("/etc/inetd.conf").unwrap_or_default();
    uses.extend(inetd_words(&inetd).into_iter().map(|word| Use { word, who: "/etc/inetd.conf".to_owned() }));
    uses.extend(sockets());
    uses
}

fn has_config(file: &str) -> bool {
    std::path::Path::new(HOME).join(file).exists()
}

/// The names and ports of the services in a file of /etc/xinetd.d. One that is switched off and whose configuration is not
/// there is an example that came with a package.
fn xinetd(text: &str, has_config: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (mut words, mut disabled, mut configured) = (Vec::new(), false, true);
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
        if let Some(name) = line.trim().strip_prefix("service ") {
            words.push(name.trim().trim_end_matches('{').trim().to_owned());
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        match name.trim() {
            "disable" => disabled = value.trim() == "yes",
            "port" => words.push(value.trim().to_owned()),
            "server_args" => {
                let mut args = value.split_whitespace().skip_while(|arg| *arg != "--config").skip(1);
                configured = args.next().is_some_and(has_config);
            }
            _ => {}
        }
    }
    if disabled && !configured { Vec::new() } else { words }
}

/// `SERVICE dgram udp wait ...`; the service may be `ADDRESS:SERVICE`.
fn inetd_words(text: &str) -> Vec<String> {
    let word = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let service = words.next()?;
        words.nth(1)?.starts_with("udp").then(|| service.rsplit(':').next().unwrap_or(service).to_owned())
    };
    text.lines().filter_map(word).collect()
}

/// The ports of systemd's datagram sockets.
fn sockets() -> Vec<Use> {
    let mut uses = Vec::new();
    let folder = "/etc/systemd/system";
    let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| name.ends_with(".socket.d")) {
        for (file, text) in files(&format!("{folder}/{name}")) {
            let listens = text.lines().filter_map(|line| line.trim().strip_prefix("ListenDatagram="));
            let port = |address: &str| address.rsplit(':').next().unwrap_or(address).to_owned();
            let who = format!("{folder}/{name}/{file}");
            uses.extend(listens.map(|address| Use { word: port(address), who: who.clone() }));
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_has_sixteen_services() {
        let services = udp(FRAGMENT);
        assert_eq!(services.len(), 16);
        assert_eq!(services[0], ("timbuktu-srv1".to_owned(), 1417));
        assert_eq!(services[4], ("netview-aix-1".to_owned(), 1661));
    }

    #[test]
    fn an_entry_that_is_switched_off_and_starts_nothing_is_free() {
        let entry = "service timbuktu-srv1\n{\n\tdisable = yes\n\tserver_args = --inetd --cd /etc/naptun --config a.conf\n}\n";
        assert!(xinetd(entry, &|_| false).is_empty());
        assert_eq!(xinetd(entry, &|file| file == "a.conf"), ["timbuktu-srv1"]);
        assert_eq!(xinetd(&entry.replace("yes", "no"), &|_| false), ["timbuktu-srv1"]);
        let unlisted = "service mine\n{\n type = UNLISTED\n port = 4000 # mine\n}\n";
        assert_eq!(xinetd(unlisted, &|_| false), ["mine", "4000"]);
    }

    #[test]
    fn a_line_of_inetd_names_its_service() {
        let text = "#timbuktu-srv1 dgram udp wait root x\ntimbuktu-srv2\tdgram udp6 wait root x\n192.0.2.1:1419 dgram udp wait root x\necho stream tcp nowait root internal\n";
        assert_eq!(inetd_words(text), ["timbuktu-srv2", "1419"]);
    }
}
