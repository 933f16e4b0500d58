//! `--json`: one object in one line. doc/status.md has the keys; they stay.

use serde_json::{Map, Value, json};

use super::Now;
use super::gather::Tunnel;
use crate::status::Counters;
use crate::status::record::Record;

/// Seconds that a rate is the mean of.
const MEAN: usize = 3;

/// `{"time":...,"tunnels":[...]}` and a line end.
pub(super) fn json(tunnels: &[Tunnel], now: &Now) -> String {
    let tunnels: Vec<Value> = tunnels.iter().map(|it| tunnel(it, now)).collect();
    format!("{}\n", json!({ "time": now.wall, "tunnels": tunnels }))
}

fn tunnel(tunnel: &Tunnel, now: &Now) -> Value {
    let history = tunnel.history(now);
    let (rate_in, rate_out) = history.rates(MEAN);
    let live = tunnel.live();
    let record = tunnel.record.as_ref();
    let word = |of: fn(&Record) -> &String| record.map(of).filter(|word| !word.is_empty());
    json!({
        "name": tunnel.name,
        "state": tunnel.condition().name(),
        "since": tunnel.since(),
        "config": word(|it| &it.config),
        "launch": word(|it| &it.launch),
        "version": word(|it| &it.version),
        "pid": live.map(|it| it.pid),
        "port": record.map(|it| it.port),
        "peer": word(|it| &it.peer),
        "device": Some(tunnel.device()).filter(|device| !device.is_empty()),
        "kind": word(|it| &it.kind),
        "mtu": record.map(|it| it.mtu),
        "ipv4": word(|it| &it.ipv4),
        "ipv6": word(|it| &it.ipv6),
        "cipher": live.map(|it| &it.cipher).filter(|cipher| !cipher.is_empty()),
        "rtt_us": live.and_then(|it| it.rtt_us),
        "nap_in": tunnel.nap_in(now),
        "rate_in": rate_in,
        "rate_out": rate_out,
        "history_in": history.inward,
        "history_out": history.outward,
        "life": record.map(|it| counters(&it.life)),
        "total": record.map(|it| counters(&it.total)),
        "wakes": record.map(|it| it.wakes),
        "last_end": tunnel.last_end().map(|(end, _)| end),
        "last_ended": tunnel.last_end().map(|(_, at)| at),
        "updated": record.map(|it| it.updated),
    })
}

fn counters(counters: &Counters) -> Value {
    let mut map: Map<String, Value> =
        counters.numbers().map(|(name, number)| (name.to_owned(), number.into())).collect();
    let rejects: Map<String, Value> =
        counters.rejects.each().map(|(reason, count)| (reason.to_owned(), count.into())).collect();
    map.insert("rejects".to_owned(), rejects.into());
    map.into()
}
