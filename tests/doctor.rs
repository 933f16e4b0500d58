//! `naptun check`: every finding, provoked by one change of something that is right, its line word for word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod doctor_stage;

use doctor_stage::Folder;

#[test]
fn tunnels_that_have_nothing_in_common_are_ok() {
    let folder = Folder::new("clean");
    folder.tunnel("a.conf", "dev tun\nifconfig 10.8.0.1 10.8.0.2\nroute 192.168.2.0 255.255.255.0\n");
    folder.tunnel("b.conf", "dev tap1\nifconfig 192.168.8.1 255.255.255.0\nport 1418\n");
    folder.tunnel(
        "c.conf",
        "dev tun1\nifconfig 10.8.0.5 10.8.0.6\nifconfig-ipv6 fd00::1/64 fd00::2\nport 1419\n",
    );
    // What bridge-setup reads is no configuration.
    folder.write("bridge.conf", "ETH=eth1\n");
    folder.finds(&[], 0, &["a.conf: ok", "b.conf: ok", "c.conf: ok"]);
    folder.finds(&["b.conf"], 0, &["b.conf: ok"]);
}

#[test]
fn without_cd_the_names_in_a_file_start_in_its_own_folder() {
    let folder = Folder::new("no-cd");
    folder.tunnel("a.conf", "dev tun\nifconfig 10.8.0.1 10.8.0.2\n");
    folder.tunnel("b.conf", "dev tun\nifconfig 10.8.0.2 10.8.0.9\n");
    let path = folder.0.join("a.conf");
    let output = folder.naptun(&["check", "--files-only", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    let (a, b) = (path.display(), folder.0.join("b.conf").display().to_string());
    let first = format!(
        "{a}:3: error: ifconfig 10.8.0.2: {b}:3 has it too (ifconfig 10.8.0.2); give each tunnel addresses that no other has"
    );
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [first.as_str(), "    ifconfig 10.8.0.1 10.8.0.2", "                      ^^^^^^^^"]
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn what_two_tunnels_cannot_both_have_is_found_at_the_later_one() {
    let first =
        "dev tun7\nifconfig 10.8.0.1 10.8.0.2\nroute 192.168.2.0 255.255.255.0\nport 1417\nstatus s\n";
    for (second, severity, finding) in [
        (
            "dev tun7",
            "error",
            "2: error: dev tun7: a.conf:2 has the same device; give each tunnel its own, or write dev tun or dev tap for the next free one",
        ),
        (
            "dev tun\nport 1417",
            "error",
            "3: error: port 1417: a.conf:5 has the same port; give each tunnel its own (services.fragment has a list)",
        ),
        (
            "dev tun\nstatus s",
            "error",
            "3: error: status: a.conf:6 has the same file; give each tunnel its own",
        ),
        (
            "dev tun\nifconfig 10.8.0.1 10.8.0.9",
            "error",
            "3: error: ifconfig 10.8.0.1: a.conf:3 has it too (ifconfig 10.8.0.1); give each tunnel addresses that no other has",
        ),
        (
            "dev tun\nifconfig 10.8.0.2 10.8.0.9",
            "error",
            "3: error: ifconfig 10.8.0.2: a.conf:3 has it too (ifconfig 10.8.0.2); give each tunnel addresses that no other has",
        ),
        (
            "dev tap\nifconfig 10.8.0.9 255.255.255.0",
            "error",
            "3: error: ifconfig 10.8.0.9: a.conf:3 has it too (ifconfig 10.8.0.1); give each tunnel addresses that no other has",
        ),
        (
            "dev tap\nifconfig 192.168.2.9 255.255.255.0",
            "error",
            "3: error: ifconfig 192.168.2.9: a.conf:4 leads a part of it into another tunnel (route 192.168.2.0/24); give each tunnel addresses that no other has",
        ),
        (
            "dev tun\nifconfig 10.8.0.5 10.8.0.6\nroute 192.168.2.0 255.255.255.0",
            "error",
            "4: error: route 192.168.2.0/24: a.conf:4 leads it into another tunnel (route 192.168.2.0/24); remove one of the two",
        ),
        (
            "dev tun\nifconfig 10.8.0.5 10.8.0.6\nroute 192.168.0.0 255.255.0.0",
            "warning",
            "4: warning: route 192.168.0.0/16: overlaps route 192.168.2.0/24 of a.conf:4; the narrower one wins: make sure that it is meant so",
        ),
        (
            "dev tun\nifconfig 10.8.0.5 10.8.0.6\nroute 10.8.0.2",
            "error",
            "4: error: route 10.8.0.2/32: the addresses of another tunnel (a.conf:3, ifconfig 10.8.0.2); remove it, or give that tunnel others",
        ),
        (
            "dev tun\nremote 192.168.2.77",
            "warning",
            "3: warning: remote 192.168.2.77: lies inside another tunnel (a.conf:4, route 192.168.2.0/24), which then has to be up first; give the outer address, or leave it if it is meant so",
        ),
    ] {
        let folder = Folder::new("between");
        folder.tunnel("a.conf", first);
        folder.tunnel("b.conf", second);
        let expected = format!("b.conf:{finding}");
        let code = if severity == "error" { 78 } else { 0 };
        folder.finds_one(&["b.conf"], code, &expected);
        folder.finds_one(&[], code, &expected);
        folder.finds_one(&["a.conf", "b.conf"], code, &expected);
    }
}

#[test]
fn both_ends_of_one_tunnel_may_lie_in_one_folder_if_they_have_one_key() {
    let folder = Folder::new("ends");
    folder.tunnel("mon.conf", "dev tun7\nport 1417\nifconfig 10.8.0.1 10.8.0.2\n");
    folder.tunnel("fri.conf", "dev tun7\nport 1417\nremote 192.0.2.1\nifconfig 10.8.0.2 10.8.0.1\n");
    folder.finds(&[], 0, &["fri.conf: ok", "mon.conf: ok"]);
    folder.key("other.key", 8);
    folder.write("mon.conf", "secret other.key\ndev tun7\nport 1417\nifconfig 10.8.0.1 10.8.0.2\n");
    folder.finds_one(&[], 78, "mon.conf:1: error: secret: the other end of this tunnel, fri.conf:1, has another key; copy one key to both ends");
    // The same end twice.
    folder.tunnel("mon.conf", "dev tun\nremote 192.0.2.1\nifconfig 10.8.0.2 10.8.0.1\n");
    folder.finds_one(&[], 78, "mon.conf:4: error: ifconfig 10.8.0.2: fri.conf:5 has the same addresses and the same key; only one of the two can be up: remove one, or give it addresses of its own");
}

#[test]
fn all_errors_of_a_file_are_told_at_once_with_the_line_and_carets_under_the_word() {
    let folder = Folder::new("carets");
    folder.write("a.conf", "dev tun\n\n\tifconfg 10.8.0.1 10.8.0.2\nverb  loud # loud\nsecret none.key\nroute 192.168.2.0 255.0.255.0\n");
    let path = folder.0.display();
    let key = format!(
        "a.conf:5: error: secret: read key {path}/none.key: no such file or directory; make one with naptun --genkey --secret FILE, and copy it to both ends"
    );
    folder.finds(
        &["a.conf"],
        78,
        &[
            "a.conf:3: error: \"ifconfg\": is no directive; did you mean ifconfig?",
            "     ifconfg 10.8.0.1 10.8.0.2",
            "     ^^^^^^^",
            "a.conf:4: error: verb \"loud\": is no number; expected a number from 0 to 11",
            "    verb  loud # loud",
            "          ^^^^",
            &key,
            "    secret none.key",
            "           ^^^^^^^^",
            "a.conf:6: error: route \"255.0.255.0\": its one bits are not contiguous; expected a netmask as 255.255.255.0",
            "    route 192.168.2.0 255.0.255.0",
            "                      ^^^^^^^^^^^",
        ],
    );
}

#[test]
fn what_this_host_lacks_is_an_error_unless_the_files_alone_are_asked_for() {
    let folder = Folder::new("files-only");
    folder.tunnel("a.conf", "dev tun\nuser nosuchuser\nport no-such-service\n");
    let expected = [
        "a.conf:3: warning: user \"nosuchuser\": there is no such user; name one that exists with user",
        "a.conf:4: warning: port \"no-such-service\": /etc/services lacks it; expected a number or a udp service named there; services.fragment has lines to add",
    ];
    assert_eq!(folder.findings(&["a.conf"], 0), [&expected[..], &["a.conf: ok"]].concat());
    let (found, code) = folder.check(&["a.conf"]);
    assert_eq!(code, 78);
    for line in expected {
        assert!(found.contains(&line.replace("warning", "error")), "{found:?}");
    }
}

#[test]
fn a_key_that_was_pasted_where_a_file_belongs_is_never_shown() {
    let folder = Folder::new("pasted");
    let key = naptun::config::key::generate(&[0x5a; 256]);
    let line = "5a".repeat(16);
    for text in [
        format!("secret {line}\n"),
        format!("secret {} {}\n", &line[..8], &line[8..16]),
        format!("secret {line} {line} {line}\n"),
        format!(
            "secret {}\n",
            line.as_bytes()
                .chunks(8)
                .map(|it| std::str::from_utf8(it).unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        ),
        format!("secret \"x {line}\"\n"),
        format!("secret {line}{line}{line}{line}{line}{line}{line}\n"),
        format!("secret static.key\n{line}\n"),
        format!("config {line}\n"),
        format!("up {line}\nscript-security 2\n"),
        format!("cd /{line}\n"),
        format!("user {line}\n"),
        key.replace("-----BEGIN OpenVPN Static key V1-----\n", ""),
        format!("<secert>\n{}</secert>\n", *key),
        format!("<secret>\n{}", *key),
        format!("<secret>\n{}</secret>\n", key.replace("5a5a\n", "5a\n")),
        format!("<secret>\n{}</secret>\n{line}\n", *key),
        key.to_string(),
    ] {
        folder.write("a.conf", &format!("dev tun\nifconfig 10.8.0.1 10.8.0.2\n{text}"));
        let (found, code) = folder.check(&["a.conf"]);
        assert_eq!(code, 78, "{text}: {found:?}");
        assert!(!found.iter().any(|line| line.contains("5a5a5a5a5a")), "{text}: {found:?}");
        let run = folder.naptun(&["--cd", folder.0.to_str().unwrap(), "--config", "a.conf"]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && !said.is_empty(), "{text}");
        assert!(!said.contains("5a5a5a5a5a"), "{text}: {said}");
    }
}
