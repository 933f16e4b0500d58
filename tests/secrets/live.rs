//! The real program: what lies in the memory of both ends and of the helper, and what a crash leaves behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::figures::{figure, long};
use crate::lab::tun::{LISTENER, answers, call, tun_lab};
use crate::lab::{Host, Lab, Running, SOON, eventually};
use crate::memory::{self, Mapping};

/// The shortest first message; packets of a quiet tunnel are all shorter.
const CALL: std::ops::RangeInclusive<usize> = 154..=409;

/// The key is in the configuration itself, and a helper was forked for `up`.
const INLINE: &str = "cd /etc/naptun
    sed -i /secret/d tun-mon-fri.conf
    { echo '<secret>'; cat static.key; echo '</secret>'; } >>tun-mon-fri.conf
    printf 'script-security 2\\nup /etc/naptun/up\\ndown /etc/naptun/up\\n' >>tun-mon-fri.conf
    printf '#!/bin/sh\\n' >up
    chmod 700 up; chmod 600 tun-mon-fri.conf";

fn inline_lab(name: &str, more: &str) -> Option<Lab> {
    let lab = tun_lab(name, more)?;
    lab.mon.sh(INLINE);
    assert!(lab.mon.read(LISTENER).contains("<secret>"));
    Some(lab)
}

fn in_proc(host: &Host, pid: u32) -> PathBuf {
    host.path(&format!("/proc/{pid}"))
}

fn endpoint(host: &Host) -> Vec<Mapping> {
    let endpoints = host.endpoints();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    memory::of(&in_proc(host, endpoints[0].pid()))
}

/// The bytes of the key file and the digits that they are written in.
fn static_key(lab: &Lab) -> (Vec<u8>, String) {
    let text = fs::read_to_string(lab.dir().join("static.key")).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    assert_eq!(bytes.len(), 256);
    (bytes, digits)
}

#[test]
fn the_static_key_is_in_no_memory_once_the_tunnel_is_up() {
    let Some(lab) = inline_lab("static", "") else { return };
    call(&lab.fri, &[]);
    assert!(answers(&lab.fri, "10.8.0.1"));
    let (bytes, digits) = static_key(&lab);
    let (mut processes, mut hits) = (0, 0);
    for host in [&lab.mon, &lab.fri] {
        for process in host.ours() {
            let mappings = memory::of(&in_proc(host, process.pid()));
            let psk = crate::keys::psk(bytes.as_slice().try_into().unwrap());
            let is_end = process.field("Name") == "naptun";
            // What shows that the scan works: only an endpoint has what follows from the key.
            let found = !memory::find(&mappings, &psk).is_empty();
            assert_eq!(found, is_end && host.endpoints()[0].pid() == process.pid(), "{process:?}");
            for secret in [&bytes[..], digits.as_bytes(), digits.to_uppercase().as_bytes()] {
                let found = memory::find(&mappings, secret);
                assert!(found.is_empty(), "{}: {found:?}", process.field("Name"));
                hits += found.len();
            }
            processes += 1;
        }
    }
    assert!(processes >= 4, "both ends, the helper for up and the resolver, not {processes}");
    figure(
        15,
        &format!("static key, bytes or digits, inline or from a file: {hits} hits in {processes} processes"),
    );
}

/// The wire between the ends, recorded.
struct Wire {
    file: PathBuf,
    _tcpdump: Running,
}

impl Wire {
    fn tap(lab: &Lab) -> Self {
        let file = lab.dir().join("wire.pcap");
        let path = file.to_str().unwrap().to_owned();
        let words =
            ["tcpdump", "-i", "mon", "-Z", "root", "--immediate-mode", "-U", "-w", &path, "udp port 1417"];
        let tcpdump = lab.net.spawn(&words);
        eventually("tcpdump listens", SOON, || fs::metadata(&file).is_ok_and(|file| file.len() >= 24));
        Self { file, _tcpdump: tcpdump }
    }

    /// The payloads from the caller, in order.
    fn of_caller(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(&self.file).unwrap();
        let (mut rest, mut payloads) = (&bytes[24..], Vec::new());
        while rest.len() >= 16 {
            let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            // Ethernet 14, IPv4 20, UDP 8.
            if frame[26..30] == [198, 51, 100, 1] {
                payloads.push(frame[42..].to_vec());
            }
            rest = &rest[16 + length..];
        }
        payloads
    }

    /// The first packet that the caller sends under new keys, for it seals one in each `era`.
    fn first_packet(&self, seen: usize) -> Vec<u8> {
        let all = self.of_caller();
        let era = &all[seen..];
        let called = era.iter().position(|datagram| CALL.contains(&datagram.len())).expect("a call");
        let packet = era[called..].iter().find(|datagram| datagram.len() < *CALL.start());
        packet.expect("a packet under the new keys").clone()
    }
}

/// Wherever in memory 32 bytes lie that open `packet`, whose counter is 0.
fn keys_of(mappings: &[Mapping], algorithm: &'static ring::aead::Algorithm, packet: &[u8]) -> Vec<String> {
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
    let mut found = Vec::new();
    let mut copy = packet[8..].to_vec();
    for mapping in mappings {
        for at in (0..mapping.bytes.len().saturating_sub(31)).step_by(4) {
            let window = &mapping.bytes[at..at + 32];
            if window[..8] == [0; 8] || window[24..] == [0; 8] {
                continue;
            }
            copy.copy_from_slice(&packet[8..]);
            let key = LessSafeKey::new(UnboundKey::new(algorithm, window).unwrap());
            if key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut copy).is_ok() {
                found.push(format!("{:#x} in {}", mapping.start + at as u64, mapping.name));
            }
        }
    }
    found
}

/// The caller is told to shake hands anew. Its last keys are then the previous ones.
fn renew(lab: &Lab, wire: &Wire) -> Vec<u8> {
    let seen = wire.of_caller().len();
    let calls = || wire.of_caller()[seen..].iter().filter(|datagram| CALL.contains(&datagram.len())).count();
    lab.fri.kill("HUP", lab.fri.endpoints()[0].pid());
    eventually("the caller calls", SOON, || calls() > 0);
    eventually("the tunnel answers", SOON, || answers(&lab.fri, "10.8.0.1"));
    wire.first_packet(seen)
}

#[test]
fn no_32_bytes_of_memory_open_what_was_sent_under_keys_that_are_gone() {
    let ciphers =
        [("CHACHA20-POLY1305", &ring::aead::CHACHA20_POLY1305), ("AES-256-GCM", &ring::aead::AES_256_GCM)];
    for (cipher, algorithm) in ciphers.into_iter().take(if long() { 2 } else { 1 }) {
        let Some(lab) = inline_lab("renewed", &format!("cipher {cipher}\n")) else { return };
        let wire = Wire::tap(&lab);
        call(&lab.fri, &[]);
        assert!(answers(&lab.fri, "10.8.0.1"));
        let first = wire.first_packet(0);
        for host in [&lab.mon, &lab.fri] {
            let found = keys_of(&endpoint(host), algorithm, &first);
            println!("{cipher}: live key: {found:?}");
            assert_eq!(found.len(), 1, "the live key is in one place");
        }
        // The keys of the first handshake are current, previous, gone.
        renew(&lab, &wire);
        let last = renew(&lab, &wire);
        let mut hits = 0;
        for host in [&lab.mon, &lab.fri] {
            let mappings = endpoint(host);
            let found = keys_of(&mappings, algorithm, &first);
            assert!(found.is_empty(), "{cipher}: {found:?}");
            hits += found.len();
            assert_eq!(keys_of(&mappings, algorithm, &last).len(), 1, "{cipher}");
        }
        figure(15, &format!("{cipher}: of keys replaced {hits} hits at both ends of a live tunnel"));
        if long() {
            idle_until_expired(&lab, cipher, algorithm, &last);
        }
    }
}

fn idle_until_expired(lab: &Lab, cipher: &str, algorithm: &'static ring::aead::Algorithm, last: &[u8]) {
    std::thread::sleep(Duration::from_secs(184));
    let mut hits = 0;
    for host in [&lab.mon, &lab.fri] {
        let found = keys_of(&endpoint(host), algorithm, last);
        assert!(found.is_empty(), "{cipher}: {found:?}");
        hits += found.len();
    }
    figure(15, &format!("{cipher}: of keys that are 180 s old {hits} hits at both ends, which are idle"));
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_endpoint_that_crashes_leaves_no_core() {
    let mut crashes = 0;
    for signal in ["SEGV", "ABRT", "BUS"] {
        let Some(lab) = tun_lab("core", "") else { return };
        // So much for what this machine does with others.
        let cores = lab.fri.sh("cd /run; ulimit -c unlimited && { sleep 9 & kill -SEGV $!; wait; }; ls /run | grep -c ^core || true");
        println!("of a process that may: {} core files", cores.trim());
        call(&lab.fri, &[]);
        assert!(answers(&lab.fri, "10.8.0.1"));
        for host in [&lab.mon, &lab.fri] {
            let process = &host.endpoints()[0];
            let place = in_proc(host, process.pid());
            let limits = fs::read_to_string(place.join("limits")).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
            // The kernel gives the files of a process that must not be dumped to root, not to its user.
            assert_ne!(process.uids()[0], 0);
            assert_eq!(fs::metadata(place.join("maps")).unwrap().uid(), 0, "it is dumpable");
            let dir = fs::read_link(place.join("cwd")).unwrap();
            let dir = host.path(dir.to_str().unwrap());
            let before = names(&dir);
            // Twice at least: the first one takes the standard library's handler for stack overflows away.
            let kill = format!("kill -{signal} {} 2>/dev/null || true", process.pid());
            eventually("it is gone", SOON, || {
                host.sh(&kill);
                !host.endpoints().iter().any(|other| other.pid() == process.pid())
            });
            assert_eq!(names(&dir), before, "{signal}");
            crashes += 1;
        }
    }
    figure(15, &format!("{crashes} forced crashes of live endpoints, 0 core files"));
}
