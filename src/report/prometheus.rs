//! `--prometheus`: the text format (version 0.0.4), for the textfile collector of node_exporter.

use std::fmt::Write as _;

use super::Now;
use super::gather::{Condition, Tunnel};
use crate::status::Counters;
use crate::status::record::State;

/// Lines of one family, each a set of labels and a value.
type Samples = Vec<(String, String)>;

/// All families that have something to say.
pub(super) fn prometheus(tunnels: &[Tunnel], now: &Now) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Samples| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    };
    family("naptun_tunnel_info", "gauge", "What the tunnel is; always 1.", info(tunnels));
    let one = |of: &dyn Fn(&Tunnel) -> Option<String>| -> Samples {
        tunnels.iter().filter_map(|tunnel| Some((label(tunnel), of(tunnel)?))).collect()
    };
    let process = one(&|it| Some(u8::from(it.alive).to_string()));
    family("naptun_process_up", "gauge", "Whether a process runs the tunnel.", process);
    let awake = |it: &Tunnel| u8::from(it.condition() == Condition::Tells(State::Awake)).to_string();
    family(
        "naptun_session_up",
        "gauge",
        "Whether there is a session with the peer.",
        one(&|it| Some(awake(it))),
    );
    let since = one(&|it| it.since().map(|at| at.to_string()));
    family("naptun_state_since_timestamp_seconds", "gauge", "When the tunnel's state last changed.", since);
    let updated = one(&|it| it.record.as_ref().map(|it| it.updated.to_string()));
    family("naptun_updated_timestamp_seconds", "gauge", "When the process last told anything.", updated);
    let trip = one(&|it| it.live()?.rtt_us.map(|micros| seconds(micros, 1_000_000)));
    family("naptun_round_trip_seconds", "gauge", "Smoothed round trip to the peer.", trip);
    let nap = one(&|it| it.nap_in(now).map(|left| left.to_string()));
    family("naptun_nap_in_seconds", "gauge", "Time left until the tunnel ends, if nothing passes.", nap);
    let wakes = one(&|it| it.record.as_ref().map(|it| it.wakes.to_string()));
    family("naptun_wakes_total", "counter", "Processes that ran the tunnel.", wakes);
    for (name, help, places) in COUNTERS {
        family(name, "counter", help, counters(tunnels, places));
    }
    family("naptun_rejected_datagrams_total", "counter", "Datagrams refused, by reason.", rejects(tunnels));
    text
}

/// Family, help, and of what it is made: direction and the name of the number.
type Family = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const COUNTERS: [Family; 5] = [
    (
        "naptun_bytes_total",
        "Bytes of packets; in is what came out of the tunnel into this host.",
        &[("in", "in_bytes"), ("out", "out_bytes")],
    ),
    ("naptun_packets_total", "Packets, in the same sense.", &[("in", "in_packets"), ("out", "out_packets")]),
    (
        "naptun_udp_bytes_total",
        "Bytes of datagrams received and sent, refused ones too.",
        &[("in", "udp_in_bytes"), ("out", "udp_out_bytes")],
    ),
    (
        "naptun_udp_datagrams_total",
        "Datagrams received and sent, refused ones too.",
        &[("in", "udp_in_packets"), ("out", "udp_out_packets")],
    ),
    (
        "naptun_dropped_packets_total",
        "Packets that the socket or the device did not take.",
        &[("", "dropped")],
    ),
];

fn counters(tunnels: &[Tunnel], places: &[(&str, &str)]) -> Samples {
    let mut samples = Samples::new();
    for (tunnel, total) in totals(tunnels) {
        for (direction, number) in places {
            let labels = match *direction {
                "" => label(tunnel),
                direction => format!("{},direction=\"{direction}\"", label(tunnel)),
            };
            let value = total.numbers().find(|(name, _)| name == number).map_or(0, |(_, value)| value);
            samples.push((labels, value.to_string()));
        }
    }
    samples
}

fn rejects(tunnels: &[Tunnel]) -> Samples {
    let each = |(tunnel, total): (&Tunnel, &Counters)| -> Samples {
        let labels = |reason: &str| format!("{},reason=\"{reason}\"", label(tunnel));
        total.rejects.each().map(|(reason, count)| (labels(reason), count.to_string())).collect()
    };
    totals(tunnels).flat_map(each).collect()
}

fn totals(tunnels: &[Tunnel]) -> impl Iterator<Item = (&Tunnel, &Counters)> {
    tunnels.iter().filter_map(|tunnel| Some((tunnel, &tunnel.record.as_ref()?.total)))
}

fn info(tunnels: &[Tunnel]) -> Samples {
    let labels = |tunnel: &Tunnel| {
        let mut labels = label(tunnel);
        let mut add = |name: &str, value: &str| {
            let _ = write!(labels, ",{name}=\"{}\"", escaped(value));
        };
        add("state", tunnel.condition().name());
        add("device", tunnel.device());
        let live = tunnel.live();
        add("cipher", live.map_or("", |it| &it.cipher));
        let record = tunnel.record.as_ref();
        add("peer", record.map_or("", |it| &it.peer));
        add("launch", record.map_or("", |it| &it.launch));
        add("version", record.map_or("", |it| &it.version));
        labels
    };
    tunnels.iter().map(|tunnel| (labels(tunnel), "1".to_owned())).collect()
}

fn label(tunnel: &Tunnel) -> String {
    format!("tunnel=\"{}\"", escaped(&tunnel.name))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A count of parts of a second, without what a float would add to it.
fn seconds(count: u64, parts: u64) -> String {
    format!("{}.{:06}", count / parts, count % parts * (1_000_000 / parts))
}
