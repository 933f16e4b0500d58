//! What /proc tells of a process on a host of the laboratory: its descriptors, its memory, the time it took.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::lab::Host;

/// What each descriptor leads to, in one word, sorted: `udp`, `unix`, `tun`, `eventpoll`, a path, ...
pub fn descriptors(host: &Host, pid: u32) -> Vec<String> {
    let folder = fs::read_dir(host.path(&format!("/proc/{pid}/fd"))).expect("list descriptors");
    let links = folder.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut words: Vec<String> = links.map(|link| word(host, pid, &link.to_string_lossy())).collect();
    words.sort_unstable();
    words
}

fn word(host: &Host, pid: u32, link: &str) -> String {
    if let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
        return socket(host, pid, inode).to_owned();
    }
    match link {
        "/dev/net/tun" => "tun".to_owned(),
        pipe if pipe.starts_with("pipe:") => "pipe".to_owned(),
        _ => link.trim_start_matches("anon_inode:").trim_matches(['[', ']']).to_owned(),
    }
}

/// The table of the process's own network that has this socket.
fn socket(host: &Host, pid: u32, inode: &str) -> &'static str {
    let tables = [("udp", "udp"), ("udp6", "udp"), ("unix", "unix"), ("netlink", "netlink"), ("tcp", "tcp")];
    let has = |table: &str| {
        let text = fs::read_to_string(host.path(&format!("/proc/{pid}/net/{table}"))).unwrap_or_default();
        text.lines().any(|line| line.split_whitespace().any(|word| word == inode))
    };
    tables.into_iter().find(|(table, _)| has(table)).map_or("another socket", |(_, word)| word)
}

/// How often any of `needles`, 16 bytes each, is in the writable memory of a process.
pub fn hits(host: &Host, pid: u32, needles: &[[u8; 16]]) -> usize {
    let maps = host.read(&format!("/proc/{pid}/maps"));
    let memory = fs::File::open(host.path(&format!("/proc/{pid}/mem"))).expect("open the memory");
    let regions =
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")));
    let read = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        memory.read_exact_at(&mut bytes, from).ok()?;
        Some(bytes.windows(16).filter(|window| needles.iter().any(|needle| needle == window)).count())
    };
    regions.filter_map(read).sum()
}

/// The processor time that a process has taken, itself and in the kernel.
pub fn processor(host: &Host, pid: u32) -> Duration {
    let stat = fs::read_to_string(host.path(&format!("/proc/{pid}/stat"))).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // utime and stime, the 14th and 15th of proc(5), in hundredths of a second.
    let ticks =
        [11, 12].map(|field| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0));
    Duration::from_millis(10 * (ticks[0] + ticks[1]))
}

/// The share of a processor, in percent, that a process takes while `during` runs.
pub fn share(host: &Host, pid: u32, during: impl FnOnce()) -> f64 {
    let (before, start) = (processor(host, pid), Instant::now());
    during();
    let taken = processor(host, pid).saturating_sub(before);
    100.0 * taken.as_secs_f64() / start.elapsed().as_secs_f64()
}
