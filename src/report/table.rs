//! `naptun status` for people: a line for each tunnel.

use super::Now;
use super::gather::{Condition, Tunnel};
use crate::status::history::{History, SECONDS};
use crate::status::record::State;

/// Seconds that a rate is the mean of.
const MEAN: usize = 3;

/// Cells of a graph; each is the sum of as many seconds as it takes to show all.
const CELLS: usize = 15;

/// How to show it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// With colours.
    pub(super) colour: bool,
    /// With letters that ASCII does not have.
    pub(super) blocks: bool,
    /// Letters of a line; no limit if there is none.
    pub(super) width: Option<usize>,
}

/// One column: what stands above it, and how soon it goes where there is no room: those with the highest number first.
struct Column {
    title: &'static str,
    right: bool,
    rank: u8,
    cell: fn(&Tunnel, &Now, &Look) -> String,
}

const COLUMNS: [Column; 14] = [
    Column { title: "TUNNEL", right: false, rank: 0, cell: |it, _, _| it.name.clone() },
    Column { title: "STATE", right: false, rank: 0, cell: |it, _, _| it.condition().name().to_owned() },
    Column { title: "FOR", right: true, rank: 1, cell: |it, now, _| since(it, now) },
    Column { title: "PEER", right: false, rank: 4, cell: |it, _, _| peer(it) },
    Column { title: "DEVICE", right: false, rank: 6, cell: |it, _, _| it.device().to_owned() },
    Column { title: "CIPHER", right: false, rank: 11, cell: |it, _, _| cipher(it) },
    Column { title: "RTT", right: true, rank: 5, cell: |it, _, _| round_trip(it) },
    Column { title: "IN/S", right: true, rank: 3, cell: |it, now, _| rate(it, now, |(rate, _)| rate) },
    Column { title: "OUT/S", right: true, rank: 3, cell: |it, now, _| rate(it, now, |(_, rate)| rate) },
    Column { title: "LAST 30 S", right: false, rank: 7, cell: traffic },
    Column { title: "IN", right: true, rank: 8, cell: |it, _, _| passed(it, |it| it.device_out.bytes) },
    Column { title: "OUT", right: true, rank: 8, cell: |it, _, _| passed(it, |it| it.device_in.bytes) },
    Column { title: "REJECTS", right: true, rank: 9, cell: |it, _, _| rejects(it) },
    Column { title: "NEXT", right: false, rank: 2, cell: |it, now, _| next(it, now) },
];

/// The table with its head, or a line that says that there is nothing to show.
pub(super) fn table(tunnels: &[Tunnel], now: &Now, look: &Look) -> String {
    if tunnels.is_empty() {
        return "no tunnels: no configuration that can be read, and no run file\n".to_owned();
    }
    let rows: Vec<Vec<String>> =
        tunnels.iter().map(|it| COLUMNS.iter().map(|column| cell(column, it, now, look)).collect()).collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let cells = rows.iter().filter_map(|row| row.get(place));
            cells.map(|cell| letters(cell)).max().unwrap_or(0).max(letters(column.title))
        })
        .collect();
    let shown = fitting(&widths, look.width);
    let titles: Vec<String> = COLUMNS.iter().map(|column| column.title.to_owned()).collect();
    let mut text = paint(&line(&titles, &widths, &shown, look.width, |_, cell| cell), BOLD, look);
    text.push('\n');
    for (tunnel, row) in tunnels.iter().zip(&rows) {
        let colour = colour(tunnel.condition());
        let painted = |place: usize, cell: String| match place {
            STATE => paint(&cell, colour, look),
            _ => cell,
        };
        text.push_str(&line(row, &widths, &shown, look.width, painted));
        text.push('\n');
    }
    text
}

/// The place of the column that has a colour.
const STATE: usize = 1;

const BOLD: &str = "1";

fn colour(condition: Condition) -> &'static str {
    match condition {
        Condition::Tells(State::Awake) => "32",
        Condition::Tells(State::Calling | State::Waiting) | Condition::Waking => "33",
        Condition::Tells(State::Idle | State::Napping) | Condition::Napping => "34",
        Condition::Stopped | Condition::Wrong => "31",
    }
}

fn paint(text: &str, colour: &str, look: &Look) -> String {
    if look.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// What is empty is seen as such.
fn cell(column: &Column, tunnel: &Tunnel, now: &Now, look: &Look) -> String {
    let cell = (column.cell)(tunnel, now, look);
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// The columns for which there is room.
fn fitting(widths: &[usize], most: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    let Some(most) = most else { return shown };
    while shown.iter().filter_map(|place| widths.get(*place)).map(|width| width + 2).sum::<usize>() > most + 2
    {
        let rank = |place: &usize| COLUMNS.get(*place).map_or(0, |column| column.rank);
        match shown.iter().copied().max_by_key(rank).filter(|place| rank(place) > 0) {
            Some(least) => shown.retain(|place| *place != least),
            None => break,
        }
    }
    shown
}

fn line(
    cells: &[String],
    widths: &[usize],
    shown: &[usize],
    most: Option<usize>,
    paint: impl Fn(usize, String) -> String,
) -> String {
    let mut line = String::new();
    let mut room = most.unwrap_or(usize::MAX);
    for (number, &place) in shown.iter().enumerate() {
        let (Some(cell), Some(width), Some(column)) =
            (cells.get(place), widths.get(place), COLUMNS.get(place))
        else {
            continue;
        };
        let gap = if number == 0 { 0 } else { 2.min(room) };
        room -= gap;
        let cell: String = cell.chars().take(room).collect();
        let fill = " ".repeat(width.saturating_sub(letters(&cell)).min(room - letters(&cell)));
        room -= letters(&cell) + fill.len();
        line.push_str(&" ".repeat(gap));
        let (before, behind) = if column.right { (fill, String::new()) } else { (String::new(), fill) };
        line.push_str(&before);
        line.push_str(&paint(place, cell));
        line.push_str(&behind);
    }
    line.trim_end().to_owned()
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

fn since(tunnel: &Tunnel, now: &Now) -> String {
    tunnel.since().map_or_else(String::new, |at| duration(now.wall.saturating_sub(at)))
}

/// Where the peer is, or was when it was last spoken to.
fn peer(tunnel: &Tunnel) -> String {
    tunnel.record.as_ref().map_or_else(String::new, |record| record.peer.clone())
}

fn cipher(tunnel: &Tunnel) -> String {
    tunnel.live().map_or_else(String::new, |record| record.cipher.to_ascii_lowercase())
}

fn round_trip(tunnel: &Tunnel) -> String {
    let trip = tunnel.live().and_then(|record| record.rtt_us);
    trip.map_or_else(String::new, |micros| match micros {
        0..10_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
        10_000..100_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!("{} ms", micros / 1000),
    })
}

fn rate(tunnel: &Tunnel, now: &Now, which: fn((u64, u64)) -> u64) -> String {
    tunnel.live().map_or_else(String::new, |_| bytes(which(tunnel.history(now).rates(MEAN))))
}

fn traffic(tunnel: &Tunnel, now: &Now, look: &Look) -> String {
    tunnel.live().map_or_else(String::new, |_| graph(&tunnel.history(now), look.blocks))
}

/// Of this process, or of the last one.
fn passed(tunnel: &Tunnel, which: fn(&crate::status::Counters) -> u64) -> String {
    tunnel.record.as_ref().map_or_else(String::new, |record| bytes(which(&record.life)))
}

fn rejects(tunnel: &Tunnel) -> String {
    tunnel.record.as_ref().map_or_else(String::new, |record| record.life.rejects.total().to_string())
}

/// What comes next: the nap, a call; or why the last process ended.
fn next(tunnel: &Tunnel, now: &Now) -> String {
    let ended = || tunnel.last_end().map_or_else(String::new, |(end, _)| format!("ended: {end}"));
    match tunnel.condition() {
        Condition::Wrong => "see naptun check".to_owned(),
        Condition::Tells(_) => {
            tunnel.nap_in(now).map_or_else(String::new, |left| format!("nap in {}", duration(left)))
        }
        _ => ended(),
    }
}

/// `2m05s`: two units at most.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `1.5 MiB`: three digits at most.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = count.checked_ilog2().map(|log| log as usize / 10).filter(|power| *power > 0) else {
        return format!("{count} B");
    };
    let unit = 1_u128 << (10 * power);
    let tenths = u128::from(count) * 10 / unit;
    let name = UNITS.get(power - 1).copied().unwrap_or_default();
    if tenths < 1000 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// Both directions together, the newest at the right; the highest cell is the highest there was.
fn graph(history: &History, blocks: bool) -> String {
    const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 9] = ['.', '_', '_', '-', '-', '=', '=', '#', '#'];
    let levels = if blocks { BLOCKS } else { ASCII };
    let both = history.inward.iter().zip(&history.outward).map(|(one, other)| one.saturating_add(*other));
    let seconds: Vec<u64> = both.collect();
    let cells: Vec<u64> = seconds
        .chunks(SECONDS / CELLS)
        .map(|cell| cell.iter().fold(0, |sum: u64, it| sum.saturating_add(*it)))
        .collect();
    let most = cells.iter().copied().max().unwrap_or(0).max(1);
    let level = |cell: &u64| (u128::from(*cell) * 8).div_ceil(u128::from(most)) as usize;
    cells.iter().map(|cell| levels.get(level(cell)).copied().unwrap_or('?')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        let shown = [5, 65, 3_661, 90_000, 40 * 86_400].map(duration);
        assert_eq!(shown, ["5s", "1m05s", "1h01m", "1d01h", "40d00h"]);
        let shown = [0, 1023, 1024, 1_572_864, 200 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "200 GiB", "15.9 EiB"]);
    }

    #[test]
    fn a_graph_shows_what_is_highest_and_what_is_nothing() {
        let mut history = History::default();
        history.inward[SECONDS - 1] = 800;
        history.outward[SECONDS - 3] = 100;
        history.inward[0] = 1;
        assert_eq!(graph(&history, true), "▁············▁█");
        assert_eq!(graph(&history, false), "_............_#");
        assert_eq!(graph(&History::default(), true), "·".repeat(CELLS));
        let most = History::of([u64::MAX; SECONDS], [u64::MAX; SECONDS]);
        assert_eq!(graph(&most, true), "█".repeat(CELLS));
    }

    #[test]
    fn where_there_is_no_room_the_least_important_columns_go_first_and_no_line_is_longer() {
        let widths = vec![10; COLUMNS.len()];
        assert_eq!(fitting(&widths, None).len(), COLUMNS.len());
        assert_eq!(fitting(&widths, Some(1000)).len(), COLUMNS.len());
        let titles = |most| -> Vec<&str> {
            fitting(&widths, Some(most)).into_iter().map(|place| COLUMNS[place].title).collect()
        };
        assert!(!titles(160).contains(&"CIPHER") && titles(160).contains(&"REJECTS"));
        assert_eq!(titles(34), ["TUNNEL", "STATE", "FOR"]);
        assert_eq!(titles(5), ["TUNNEL", "STATE"]);
        let cells = vec!["ä".repeat(10); COLUMNS.len()];
        for most in 0..200 {
            let shown = fitting(&widths, Some(most));
            let line = line(&cells, &widths, &shown, Some(most), |_, cell| cell);
            assert!(letters(&line) <= most, "{most}: {line}");
        }
    }
}
