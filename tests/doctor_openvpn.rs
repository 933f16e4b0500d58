//! `naptun check` of OpenVPN's files: directive by directive what becomes of it, and whether the whole can move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod doctor_stage;

use std::fs;
use std::path::{Path, PathBuf};

use doctor_stage::Folder;

const BOTH: &str = "move both ends together, for naptun does not speak OpenVPN's protocol";
const CANNOT: &str = "cannot work: it is made for TLS or for a server of many clients; make a static key tunnel for each peer with naptun pair";

/// The verdicts of `naptun check --openvpn` on a file of `folder`, its name left out; the last one's of the whole.
fn verdicts(folder: &Folder, text: &str, code: i32) -> Vec<String> {
    folder.write("x.conf", text);
    let (found, found_code) = folder.check(&["--openvpn", "x.conf"]);
    assert_eq!(found_code, code, "{found:#?}");
    found.iter().map(|line| line.strip_prefix("x.conf:").unwrap().to_owned()).collect()
}

fn moves(folder: &Folder, text: &str, code: i32, expected: &[&str], whole: &str) {
    let whole = format!(" {whole}");
    let expected: Vec<&str> = expected.iter().copied().chain([whole.as_str()]).collect();
    assert_eq!(verdicts(folder, text, code), expected, "{text}");
}

#[test]
fn the_files_of_the_seed_work_as_they_are() {
    let folder = Folder::new("seed");
    fs::write(folder.0.join("tap-server.up"), "#!/bin/sh\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.0.join("tap-server.up"), mode).unwrap();
    moves(
        &folder,
        "# OpenVPN tun-fri-mon.conf\nremote mon\nsecret static.key\ndev tun\nifconfig 10.8.0.2 10.8.0.1\nuser nobody\n\nverb 3\nroute 192.168.1.0 255.255.255.0 vpn_gateway\n",
        0,
        &[
            "2: works: remote mon",
            "3: works: secret static.key",
            "4: works: dev tun",
            "5: works: ifconfig 10.8.0.2 10.8.0.1",
            "6: works: user nobody",
            "8: works: verb 3",
            "9: works: route 192.168.1.0 255.255.255.0 vpn_gateway",
        ],
        &format!("works as it is; {BOTH}"),
    );
    moves(
        &folder,
        "secret static.key\ndev tap\nup tap-server.up\n",
        0,
        &[
            "1: works: secret static.key",
            "2: works: dev tap",
            "3: works: up tap-server.up; runs although script-security is not given; script-security 2 says so",
        ],
        &format!("works as it is; {BOTH}"),
    );
}

#[test]
fn a_static_key_tunnel_as_people_write_it_is_told_what_has_no_effect_and_what_must_change() {
    let folder = Folder::new("typical");
    moves(
        &folder,
        "dev tun0\nremote vpn.example.org 1194\nproto udp\nifconfig 10.4.0.1 10.4.0.2\nsecret static.key 1\ncipher AES-256-CBC\nauth SHA256\ncomp-lzo\nkeepalive 10 60\nping-timer-rem\npersist-tun\npersist-key\nroute 192.168.4.0 255.255.255.0\nmanagement localhost 7505\n",
        78,
        &[
            "1: works: dev tun0",
            "2: works: remote vpn.example.org 1194",
            "3: works: proto udp",
            "4: works: ifconfig 10.4.0.1 10.4.0.2",
            "5: works: secret static.key 1; each direction has a key of its own here, derived on both ends alike",
            "6: works: cipher AES-256-CBC; \"AES-256-CBC\" not used: the ciphers here are AES-256-GCM and CHACHA20-POLY1305",
            "7: ignored: auth SHA256: the ciphers authenticate by themselves (auth none is refused)",
            "8: change: comp-lzo: compression under encryption leaks what is encrypted, through its length; remove it, or write comp-lzo no",
            "9: works: keepalive 10 60",
            "10: ignored: ping-timer-rem: nobody waits for a peer that has not called yet",
            "11: ignored: persist-tun: key, device and addresses stay through every restart anyway",
            "12: ignored: persist-key: key, device and addresses stay through every restart anyway",
            "13: works: route 192.168.4.0 255.255.255.0",
            "14: change: management localhost 7505: is not supported; use status FILE, or send the process SIGUSR2",
        ],
        &format!("works after 2 changes (4 directives have no effect); {BOTH}"),
    );
    moves(
        &folder,
        "dev tun\nsecret static.key\nproto tcp-server\n",
        78,
        &[
            "1: works: dev tun",
            "2: works: secret static.key",
            "3: change: proto tcp-server: the tunnel speaks UDP only; expected udp, udp4 or udp6",
        ],
        &format!("works after 1 change; {BOTH}"),
    );
}

#[test]
fn a_file_for_tls_cannot_move_and_is_known_without_being_told() {
    let folder = Folder::new("provider");
    let text = "client\ndev tun\nproto udp\nremote se1.example.net 1301\nremote-random\nauth-user-pass\nverify-x509-name server name\n<ca>\n-----BEGIN CERTIFICATE-----\nMIIB0123456789abcdef\n-----END CERTIFICATE-----\n</ca>\n";
    let found = verdicts(&folder, text, 78);
    let expected = [
        "1: change: client: is not supported; nothing is pushed or pulled: write ifconfig and route on both ends",
        "2: works: dev tun",
        "3: works: proto udp",
        "4: works: remote se1.example.net 1301",
        "5: works: remote-random",
        "6: change: auth-user-pass: is not supported; who has the key is the peer; there are no users and passwords: secret FILE",
        "7: change: verify-x509-name server name: is not supported; there is no TLS and no certificate here: one key for both ends, secret FILE",
        "8: change: <ca>: is not supported; there is no TLS and no certificate here: one key for both ends, secret FILE",
        &format!(" {CANNOT}"),
    ];
    assert_eq!(found, expected);
    let (untold, _) = folder.check(&["x.conf"]);
    assert_eq!(untold.last().unwrap(), &format!("x.conf: {CANNOT}"));
    // One of ours with a word of TLS in it stays one of ours.
    folder.tunnel("ours.conf", "dev tun\nca ca.crt\n");
    let (found, _) = folder.check(&["--files-only", "ours.conf"]);
    assert!(found[0].starts_with("ours.conf:3: error: ca"), "{found:?}");
}

#[test]
fn a_key_in_an_openvpn_file_is_not_shown() {
    let folder = Folder::new("ovpn-key");
    let key = naptun::config::key::generate(&[0x5a; 256]);
    let pasted = "5a".repeat(16);
    for text in [
        format!("dev tun\n<secret>\n{}</secret>\n{pasted}\n", *key),
        format!("dev tun\nsecret {pasted}\n"),
        format!("dev tun\nsecret {} {}\n", &pasted[..8], &pasted[8..16]),
    ] {
        let found = verdicts(&folder, &text, 78).join("\n");
        assert!(!found.contains("5a5a5a5a5a"), "{found}");
    }
}

/// Where Debian's openvpn has its examples, or a copy of them.
fn samples() -> PathBuf {
    let places = [
        PathBuf::from("/usr/share/doc/openvpn/examples/sample-config-files"),
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(".cache/openvpn/usr/share/doc/openvpn/examples/sample-config-files"),
    ];
    let found = places.into_iter().find(|place| place.join("client.conf").exists());
    found.expect("the samples of Debian's openvpn; run scripts/needs")
}

#[test]
fn the_samples_of_openvpn_itself_are_for_tls_and_each_line_of_them_has_a_verdict() {
    let folder = Folder::new("samples");
    for name in ["client.conf", "server.conf", "loopback-client", "loopback-server"] {
        let file = samples().join(name);
        let text = fs::read_to_string(&file).unwrap();
        let output = folder.naptun(&["check", "--openvpn", file.to_str().unwrap()]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.ends_with(&format!("{}: {CANNOT}\n", file.display())), "{said}");
        // Every line but comments and what stands between tags.
        let mut inside = false;
        let mut lines = 0;
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            inside &= !line.starts_with("</");
            if !inside && !line.is_empty() && !line.starts_with(['#', ';']) && !line.starts_with("</") {
                let about = format!("{}:{number}: ", file.display());
                let verdicts = said.lines().filter_map(|said| said.strip_prefix(&about));
                let known =
                    |it: &str| ["works: ", "ignored: ", "change: "].iter().any(|word| it.starts_with(word));
                assert!(verdicts.filter(|verdict| known(verdict)).count() == 1, "{about}{line}\n{said}");
                lines += 1;
            }
            inside |= line.starts_with('<') && !line.starts_with("</");
        }
        assert!(lines > 10, "{name}: {lines}");
        assert!(!said.contains("is no directive"), "{said}");
    }
}
