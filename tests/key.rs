//! The static key file: interchangeable with OpenVPN, read with care, never shown, never overwritten.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naptun::config::key::{
    KEY_BYTES, MAX_KEY_FILE, Malformed, StaticKey, generate, load, parse, read, write_new,
};
use naptun::config::settings::Secret;
use naptun::error::{Error, Exit};
use proptest::prelude::*;
use zeroize::Zeroizing;

/// The key whose byte n is (7 n + 3) mod 256, as OpenVPN writes it. Not for use.
const SAMPLE: &str = include_str!("data/static.key");

fn sample_bytes() -> [u8; KEY_BYTES] {
    std::array::from_fn(|n| (7 * n + 3) as u8)
}

struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("naptun-key-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refused(path: &Path, exit: Exit, why: &str) -> Error {
    let error = read(path).map(|_| ()).expect_err(why);
    let text = error.to_string();
    assert!(error.exit() == exit && text.contains(why), "{why}: {error:?}");
    assert!(!text.contains("030a11"), "content is shown: {text}");
    error
}

#[test]
fn a_generated_file_has_the_form_of_openvpn_to_the_byte() {
    let text = generate(&sample_bytes());
    assert_eq!(text.as_str(), SAMPLE);
    assert_eq!((text.len(), text.lines().count()), (636, 21));
    let hex =
        |line: &&str| line.len() == 32 && line.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert_eq!(text.lines().filter(hex).count(), 16);
    assert_eq!(text.capacity(), 636, "grown text leaves copies behind");
}

#[test]
fn a_sample_file_gives_its_256_bytes() {
    assert_eq!(parse(SAMPLE.as_bytes()).unwrap().as_bytes(), &sample_bytes());
}

#[test]
fn line_ends_case_and_layout_do_not_matter() {
    for text in [
        SAMPLE.replace('\n', "\r\n"),
        SAMPLE.to_uppercase().replace("OPENVPN STATIC KEY", "OpenVPN Static key"),
        SAMPLE.replace('\n', " \n\t"),
        SAMPLE.trim_end().to_owned(),
        format!("some words\n\n{SAMPLE}more words"),
        SAMPLE.split_once("#\n-").map(|(_, key)| format!("-{key}")).unwrap(),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap().as_bytes(), &sample_bytes(), "{text}");
    }
}

#[test]
fn what_is_malformed_is_told_with_counts_and_lines() {
    let wrong = |text: &str| parse(text.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(wrong(""), Malformed::Empty);
    assert_eq!(wrong(" \r\n"), Malformed::Empty);
    assert_eq!(wrong("hello"), Malformed::NoHeader);
    assert_eq!(wrong(&SAMPLE.replace("BEGIN", "BEGINN")), Malformed::NoHeader);
    assert_eq!(wrong(&SAMPLE.replace("END", "FIN")), Malformed::BadCharacter(21));
    let (unfinished, _) = SAMPLE.split_once("-----END").unwrap();
    assert_eq!(wrong(unfinished), Malformed::NoFooter);
    let lines: Vec<&str> = SAMPLE.lines().collect();
    let with = |n: usize, line: &str| {
        let mut lines = lines.clone();
        lines[n] = line;
        lines.join("\n")
    };
    assert_eq!(wrong(&with(6, &lines[6].replace('a', "g"))), Malformed::BadCharacter(7));
    assert_eq!(wrong(&with(4, "")), Malformed::Digits(480));
    assert_eq!(wrong(&with(4, &lines[4][1..])), Malformed::Digits(511));
    assert_eq!(wrong(&with(4, &format!("{}00", lines[4]))), Malformed::Digits(514));
    assert_eq!(wrong(&generate(&[0; KEY_BYTES])), Malformed::Zero);
    assert_eq!(parse(b"\xff\xfe").unwrap_err(), Malformed::NoHeader);
    assert_eq!(Malformed::Digits(480).to_string(), "the key has 480 hexadecimal digits, not 512");
}

#[test]
fn a_good_file_is_read_and_a_missing_one_says_how_to_make_it() {
    let dir = Dir::new("good");
    for mode in [0o600, 0o400] {
        assert_eq!(read(&dir.file("k", SAMPLE, mode)).unwrap().as_bytes(), &sample_bytes());
        fs::remove_file(dir.path("k")).unwrap();
    }
    assert!(read(&dir.file("crlf", SAMPLE.replace('\n', "\r\n"), 0o600)).is_ok());
    let error = refused(&dir.path("gone"), Exit::NoInput, "no such file");
    assert!(error.to_string().contains("--genkey"));
}

#[test]
fn a_file_that_others_have_a_hand_on_is_refused() {
    let dir = Dir::new("exposed");
    for mode in [0o640, 0o604, 0o620, 0o601, 0o770] {
        let error = refused(&dir.file("k", SAMPLE, mode), Exit::NoPermission, "open to group or others");
        let advice = format!("chmod 600 {}", dir.path("k").display());
        assert!(error.to_string().ends_with(&advice), "{error}");
    }
    let key = dir.file("key", SAMPLE, 0o600);
    symlink(&key, dir.path("link")).unwrap();
    refused(&dir.path("link"), Exit::NoPermission, "symbolic link");
    fs::hard_link(&key, dir.path("second")).unwrap();
    refused(&key, Exit::NoPermission, "2 names");
    if nix::unistd::geteuid().is_root() {
        let foreign = dir.file("foreign", SAMPLE, 0o600);
        nix::unistd::chown(&foreign, Some(12345.into()), None).unwrap();
        refused(&foreign, Exit::NoPermission, "uid 12345");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = Dir::new("nofile");
    let start = Instant::now();
    nix::unistd::mkfifo(&dir.path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    refused(&dir.path("fifo"), Exit::NoInput, "is a FIFO");
    refused(&dir.0, Exit::NoInput, "is a directory");
    refused(Path::new("/dev/zero"), Exit::NoInput, "is a device");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
    refused(&dir.path("socket"), Exit::NoInput, "socket");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn sizes_are_bounded() {
    let dir = Dir::new("size");
    refused(&dir.file("empty", "", 0o600), Exit::Data, "the key is empty");
    let sparse = dir.file("sparse", "", 0o600);
    fs::OpenOptions::new().write(true).open(&sparse).unwrap().set_len(1 << 30).unwrap();
    refused(&sparse, Exit::Data, "larger than 16 KiB");
    let padded = |size: usize| format!("{SAMPLE}{}", " ".repeat(size - SAMPLE.len()));
    assert!(read(&dir.file("most", padded(MAX_KEY_FILE), 0o600)).is_ok());
    refused(&dir.file("more", padded(MAX_KEY_FILE + 1), 0o600), Exit::Data, "larger than 16 KiB");
    refused(
        &dir.file("hex", SAMPLE.replace("030a11", "030a1x"), 0o600),
        Exit::Data,
        "line 5 holds something else",
    );
}

#[test]
fn a_key_is_written_closed_and_never_over_another() {
    let dir = Dir::new("write");
    let path = dir.path("new.key");
    write_new(&path, &generate(&sample_bytes())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(read(&path).unwrap().as_bytes(), &sample_bytes());
    let error = write_new(&path, "other").unwrap_err();
    assert_eq!(error.exit(), Exit::CannotCreate);
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), SAMPLE);
    symlink(dir.path("target"), dir.path("dangling")).unwrap();
    assert!(write_new(&dir.path("dangling"), SAMPLE).is_err() && !dir.path("target").exists());
    assert!(write_new(&dir.path("none/key"), SAMPLE).is_err());
}

#[test]
fn a_key_is_loaded_from_a_file_or_from_the_configuration() {
    let dir = Dir::new("load");
    let file = Secret::File(dir.file("k", SAMPLE, 0o600));
    let inline = Secret::Inline(Zeroizing::new(SAMPLE.to_owned()));
    assert_eq!(load(&file).unwrap().as_bytes(), load(&inline).unwrap().as_bytes());
    let error = load(&Secret::Inline(Zeroizing::new("030a11".to_owned()))).map(|_| ()).unwrap_err();
    assert!(error.exit() == Exit::Data && !error.to_string().contains("030a11"), "{error}");
}

#[test]
fn debug_output_shows_no_key() {
    let key: StaticKey = parse(SAMPLE.as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), "StaticKey");
}

proptest! {
    #[test]
    fn every_key_survives_the_file(bytes in proptest::collection::vec(any::<u8>(), KEY_BYTES)) {
        let bytes: [u8; KEY_BYTES] = bytes.try_into().unwrap();
        prop_assume!(bytes != [0; KEY_BYTES]);
        let text = generate(&bytes);
        let key = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(key.as_bytes(), &bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"-----BEGIN OpenVPN Static key V1-----\n", &bytes[..]].concat());
    }
}
