//! What starts tunnels on this host: super-servers, and the list of callers. Whether the ports are free for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::finding::{Report, Severity};
use super::host::{self, Host, Process};
use super::tunnel::{Tunnel, whole};
use super::{callers, inetd, systemd, xinetd};
use crate::cli::{Args, Parsed};
use crate::config::problem::{Place, Problem};
use crate::config::{check_cd, load};

/// Who starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// An entry of xinetd.
    Xinetd,
    /// A line of inetd.conf.
    Inetd,
    /// A socket unit.
    Systemd,
    /// Nothing that holds the port: a line of `callers`, a unit of a caller.
    Caller,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Xinetd => "xinetd",
            Self::Inetd => "inetd",
            Self::Systemd => "systemd",
            Self::Caller => "rc.naptun",
        }
    }

    /// The programs that hold the port for it, as the kernel keeps their names.
    fn servers(self) -> &'static [&'static str] {
        match self {
            Self::Xinetd => &["xinetd"],
            Self::Inetd => &["inetd", "inetutils-inetd", "busybox"],
            Self::Systemd => &["systemd", "systemd-socket-"],
            Self::Caller => &[],
        }
    }
}

/// Something that starts a tunnel, or another service that holds a UDP port.
pub(super) struct Start {
    pub(super) how: How,
    pub(super) place: Place,
    /// The word to underline.
    pub(super) word: String,
    /// The UDP port, if it is known.
    pub(super) port: Option<u16>,
    /// The configuration; `None` for other services.
    pub(super) config: Option<PathBuf>,
    /// What to do where it is switched off; `None` where it is on.
    pub(super) off: Option<String>,
}

/// Looks at all that starts the tunnels, and at the ports that they need.
///
/// Where `all` of a folder is asked for, what starts a configuration that is not there is found as well.
pub(super) fn look(tunnels: &[Tunnel], all: bool, host: &Host, report: &mut Report) {
    let mut starts = xinetd::look(tunnels, all, report);
    starts.extend(inetd::look(tunnels, all, report));
    starts.extend(systemd::look(tunnels, report));
    starts.extend(callers::look(tunnels, report));
    for (i, start) in starts.iter().enumerate() {
        let others = starts.iter().zip(0..).filter(|(_, n)| *n != i);
        for (other, n) in others {
            let later = n < i || !is_asked(tunnels, other);
            if is_asked(tunnels, start) && later {
                clash(start, other, report);
            }
        }
    }
    for tunnel in tunnels.iter().filter(|tunnel| tunnel.asked) {
        ports(tunnel, &starts, host, report);
    }
}

fn is_asked(tunnels: &[Tunnel], start: &Start) -> bool {
    tunnels.iter().any(|tunnel| tunnel.asked && start.config.as_ref() == Some(&tunnel.path))
}

fn clash(start: &Start, other: &Start, report: &mut Report) {
    let Some(port) =
        start.port.filter(|port| start.off.is_none() && other.off.is_none() && other.port == Some(*port))
    else {
        return;
    };
    if start.place == other.place {
        return;
    }
    let text = format!(
        "UDP port {port}: {} has the same; give each tunnel a service of its own (services.fragment has a list)",
        other.place
    );
    report.add(Severity::Error, &start.place, &start.word, &text);
}

fn ports(tunnel: &Tunnel, starts: &[Start], host: &Host, report: &mut Report) {
    let settings = &tunnel.exam.settings;
    let starts: Vec<&Start> =
        starts.iter().filter(|start| start.config.as_ref() == Some(&tunnel.path)).collect();
    if starts.is_empty() && !settings.is_caller() {
        let text = "no super-server on this host starts it; add an entry of xinetd, inetd or systemd (naptun pair writes one), or start it by hand";
        report.add(Severity::Warning, &whole(&tunnel.name), "", text);
    }
    if starts.iter().all(|start| start.off.is_some()) {
        for start in &starts {
            let text = start.off.as_deref().unwrap_or_default();
            report.add(Severity::Warning, &start.place, &start.word, text);
        }
    }
    for start in starts.iter().filter(|start| start.off.is_none()) {
        let Some(port) = start.port else { continue };
        held(start, port, &host.bound(port), report);
    }
    let explicit = ["lport", "port"].into_iter().find(|name| tunnel.exam.place(name).is_some());
    let binds = settings.lport > 0 && (settings.is_caller() || explicit.is_some()) && !settings.inetd;
    if !starts.is_empty() || !binds || explicit.is_some_and(|name| tunnel.exam.doubts(name)) {
        return;
    }
    let Some(process) =
        host.bound(settings.lport).into_iter().flatten().find(|process| process.name != "naptun")
    else {
        return;
    };
    let directive = explicit.unwrap_or("port");
    let text = taken(&format!("{directive} {}", settings.lport), &process);
    report.add(Severity::Error, &tunnel.place(directive), "", &text);
}

/// Whether those who should hold the port do.
fn held(start: &Start, port: u16, bound: &[Option<Process>], report: &mut Report) {
    let server = start.how.name();
    let fits =
        |process: &Process| process.name == "naptun" || start.how.servers().contains(&process.name.as_str());
    if let Some(process) = bound.iter().flatten().find(|process| !fits(process)) {
        let text = taken(&format!("UDP port {port}"), process);
        report.add(Severity::Error, &start.place, &start.word, &text);
        return;
    }
    if !bound.is_empty() || matches!(start.how, How::Caller | How::Systemd) {
        return;
    }
    // A busybox that runs may be anything.
    let text = match start.how.servers().iter().any(|name| *name != "busybox" && host::runs(name)) {
        true => format!(
            "{server} does not hold UDP port {port}; have it read its files again (kill -HUP), and see its log"
        ),
        false => format!("{server} does not run, so nobody holds UDP port {port}; start it"),
    };
    report.add(Severity::Warning, &start.place, &start.word, &text);
}

fn taken(what: &str, process: &Process) -> String {
    format!(
        "{what}: {} holds that port (process {}); end it, or give the tunnel another",
        process.name, process.pid
    )
}

/// The command line by which a tunnel is started.
pub(super) struct CommandLine {
    /// The configuration, without symbolic links; empty where it names none.
    pub(super) config: PathBuf,
    /// What is wrong with it, beside what is wrong with the file.
    pub(super) problems: Vec<String>,
    /// Whether it takes the socket of a super-server.
    pub(super) inetd: bool,
    /// The port to bind.
    pub(super) port: Option<u16>,
}

impl CommandLine {
    /// Reads the words behind the program's name.
    pub(super) fn read(words: &[&str]) -> Self {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut line = Self { config: PathBuf::new(), problems: Vec::new(), inetd: false, port: None };
        let (cd, statements) = match Args::parse(&words) {
            Ok(Parsed::Run { cd, statements }) => (cd, statements),
            Ok(_) => return line.problem("starts no tunnel; write --inetd --cd DIR --config FILE"),
            Err(early) => return line.problem(early.text.trim().trim_start_matches("naptun: ")),
        };
        let Some(name) = statements.iter().find(|it| it.name() == "config").and_then(|it| it.param(1)) else {
            return line.problem("names no configuration; write --cd DIR --config FILE");
        };
        let config = cd.as_deref().unwrap_or(Path::new("")).join(name);
        if !config.is_absolute() {
            return line.problem("does not say where its configuration lies; write --cd DIR --config FILE");
        }
        line.config = config.canonicalize().unwrap_or(config);
        if let Some(Err(error)) = cd.as_deref().map(check_cd) {
            return line.problem(&error.to_string());
        }
        line.inetd = statements.iter().any(|it| it.name() == "inetd");
        match load(cd.as_deref(), &statements) {
            Ok(loaded) => {
                line.inetd = loaded.settings.inetd;
                line.port = Some(loaded.settings.lport);
            }
            Err(problems) => line.problems = problems.iter().map(Problem::to_string).collect(),
        }
        line
    }

    fn problem(mut self, text: &str) -> Self {
        self.problems.push(text.to_owned());
        self
    }

    /// What is wrong with it that is not wrong with the configuration alone.
    pub(super) fn own_problems(&self, tunnel: Option<&Tunnel>) -> Vec<&String> {
        let known: Vec<String> = tunnel.map_or_else(Vec::new, |tunnel| {
            tunnel.exam.problems.iter().map(|it| comparable(&it.to_string())).collect()
        });
        self.problems.iter().filter(|problem| !known.contains(&comparable(problem))).collect()
    }
}

/// The same file may be called by another name here.
fn comparable(problem: &str) -> String {
    problem.rsplit_once('/').map_or(problem, |(_, rest)| rest).to_owned()
}

/// The tunnel among `tunnels` that reads `config`; failing that, one whose file `words` name.
pub(super) fn tunnel_of<'a>(tunnels: &'a [Tunnel], line: &CommandLine, words: &[&str]) -> Option<&'a Tunnel> {
    let named = |tunnel: &&Tunnel| {
        let name = tunnel.path.file_name().map(|name| name.to_string_lossy().into_owned());
        line.config.as_os_str().is_empty()
            && words.iter().any(|word| Some(*word) == name.as_deref() || Path::new(word) == tunnel.path)
    };
    tunnels.iter().find(|tunnel| tunnel.path == line.config).or_else(|| tunnels.iter().find(named))
}

/// Whether the configuration would lie in a folder that is looked at, but is not there.
pub(super) fn is_missing(tunnels: &[Tunnel], config: &Path) -> bool {
    let folder = config.parent();
    let ours = tunnels.iter().any(|tunnel| tunnel.asked && tunnel.path.parent() == folder);
    folder.is_some() && ours && !config.exists()
}

/// Whether a program is ours, by its name.
pub(super) fn is_ours(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "naptun")
}

/// Why a program cannot be started, and what to do.
pub(super) fn not_executable(program: &str) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    if !program.starts_with('/') {
        return Some("is not absolute; write /usr/sbin/naptun".to_owned());
    }
    match std::fs::metadata(program) {
        Err(_) => Some("is not there; name the binary".to_owned()),
        Ok(it) if !it.is_file() || it.permissions().mode() & 0o111 == 0 => {
            Some(format!("is not executable; chmod 755 {program}"))
        }
        Ok(_) => None,
    }
}
