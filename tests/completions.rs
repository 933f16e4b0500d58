//! The completions for bash, zsh and fish: made of the program's own tables, and asked in the real shells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod lab;
#[path = "completions/tables.rs"]
mod tables;
#[path = "completions/texts.rs"]
mod texts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn path(shell: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("completions/naptun.{shell}"))
}

/// The completion of this shell has the program's tables; `NAPTUN_BLESS=1` writes them.
fn compare(shell: &str, tables: &str) {
    let found = fs::read_to_string(path(shell)).unwrap();
    let (head, rest) = found.split_once("# tables\n").unwrap();
    let (_, tail) = rest.rsplit_once("# end\n").unwrap();
    let indent = head.rsplit('\n').next().unwrap();
    let made = format!("{head}# tables\n{tables}{indent}# end\n{tail}");
    if std::env::var_os("NAPTUN_BLESS").is_some() {
        fs::write(path(shell), made).unwrap();
    } else {
        assert!(found == made, "completions/naptun.{shell}: NAPTUN_BLESS=1 cargo test --test completions");
    }
}

#[test]
fn the_completions_have_the_tables_of_the_program() {
    compare("bash", &texts::bash());
    compare("zsh", &texts::zsh());
    compare("fish", &texts::fish());
}

/// A folder with two configurations, a key and a folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(shell: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("naptun-completions-{shell}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("sub")).unwrap();
        for file in ["tun-mon-fri.conf", "tap-mon-fri.conf", "static.key"] {
            fs::write(folder.join(file), "").unwrap();
        }
        Self(folder)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A udp service of this machine.
fn a_service() -> String {
    let services = fs::read_to_string("/etc/services").unwrap();
    let line = services.lines().find(|line| line.contains("/udp") && !line.starts_with('#')).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// Some shells list only what is new of a path.
fn same(found: &str, word: &str) -> bool {
    found == word || found == "sub/" && word.ends_with("/sub/")
}

/// The same questions to each shell. `ask` gives what completes a line, whose last word is the one to complete.
fn interview(shell: &str, ask: impl Fn(&str) -> Vec<String>) {
    let folder = Folder::new(shell);
    let dir = folder.text();
    let has = |line: &str, all: &[&str], none: &[&str]| {
        let found = ask(line);
        for word in all {
            assert!(found.iter().any(|it| same(it, word)), "{shell}: {line:?} lacks {word}: {found:?}");
        }
        for word in none {
            assert!(found.iter().all(|it| it != word), "{shell}: {line:?} has {word}");
        }
    };
    has(
        "naptun --",
        &["--config", "--ifconfig", "--tun-mtu", "--genkey", "--version", "--help"],
        &["--tls-server"],
    );
    has("naptun --ifc", &["--ifconfig", "--ifconfig-ipv6"], &["--config"]);
    has("naptun ", &["check"], &[]);
    has(
        &format!("naptun --cd {dir} --config "),
        &["tun-mon-fri.conf", "tap-mon-fri.conf", "sub/"],
        &["static.key"],
    );
    has(&format!("naptun --cd {dir} --config tun-mon-fri.conf --secret "), &["static.key"], &[]);
    has(&format!("naptun --cd {dir}/s"), &[&format!("{dir}/sub/")], &[]);
    has(&format!("naptun check --cd {dir} "), &["tun-mon-fri.conf"], &["static.key"]);
    has("naptun check --", &["--cd", "--help"], &["--config"]);
    has("naptun --dev-type ", &["tun", "tap"], &["check"]);
    has("naptun --dev ", &["tun", "tap"], &[]);
    has("naptun --proto ", &["udp", "udp4", "udp6"], &[]);
    has("naptun --user nob", &["nobody"], &[]);
    let service = a_service();
    has(&format!("naptun --port {service}"), &[&service], &[]);
    has(&format!("naptun --remote mon {service}"), &[&service], &[]);
    has("naptun --remote mon 1417 udp", &["udp4", "udp6"], &[]);
    has("naptun --inetd ", &["wait"], &[]);
}

/// Whether this machine has the shell.
fn has(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").output().is_ok();
    if !found {
        lab::skip(&format!("completions of {shell}"), "it is missing; run scripts/needs");
    }
    found
}

fn run(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C.UTF-8").env("TERM", "dumb").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{command:?}: {} {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes() {
    if !has("bash") {
        return;
    }
    const ASK: &str = r#"
        source "$1"
        read -ra COMP_WORDS <<<"$2"
        [[ $2 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _naptun
        # readline puts the slash behind a directory.
        cd "$DIR" 2>/dev/null
        for word in "${COMPREPLY[@]}"; do
            if [[ -d $word ]]; then echo "$word/"; else echo "$word"; fi
        done"#;
    interview("bash", |line| {
        let dir = line.split("--cd ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", ASK, "bash"]).arg(path("bash")).arg(line).env("DIR", dir);
        run(&mut bash).lines().map(str::to_owned).collect()
    });
    let registered =
        run(Command::new("bash").args(["-c", "source \"$1\"; complete -p naptun", "bash"]).arg(path("bash")));
    assert_eq!(registered, "complete -F _naptun naptun\n");
}

#[test]
fn fish_completes() {
    if !has("fish") {
        return;
    }
    interview("fish", |line| {
        let home = std::env::temp_dir();
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(path("fish")).arg(line);
        let said = run(fish.env("HOME", home));
        said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    });
}

/// An interactive zsh on a terminal of its own, which lists what it knows at the end of the line.
const ZSH: &str = r#"
    zmodload zsh/zpty
    zpty -b z zsh -f -i
    say() { zpty -w z "$1"; }
    hear() { zpty -r -m z heard "*$1*"; }
    say "stty cols 200 rows 500; PS1= PROMPT_SP= LISTMAX=1000; setopt list_types; unsetopt zle_bracketed_paste"
    say "fpath=($1 \$fpath); autoload -U compinit; compinit -u -C -d $1/dump"
    say "over() { print naptun-'list'ed; }; zle -N over; bindkey '^G' over; bindkey '^D' list-choices"
    say "print naptun-'rea'dy"
    hear naptun-ready || exit 1
    zpty -n -w z "$2"$'\x04\x07'
    hear naptun-listed || exit 1
    print -r -- "$heard"
    zpty -d z"#;

#[test]
fn zsh_completes() {
    if !has("zsh") {
        return;
    }
    let functions = Folder::new("zsh-functions");
    fs::copy(path("zsh"), functions.0.join("_naptun")).unwrap();
    interview("zsh", |line| {
        let mut zsh = Command::new("zsh");
        zsh.args(["-f", "-c", ZSH, "zsh", functions.text(), line]);
        let said = run(&mut zsh);
        let listed = said.split_once(line).map_or("", |(_, listed)| listed);
        listed.split_whitespace().map(str::to_owned).collect()
    });
}
