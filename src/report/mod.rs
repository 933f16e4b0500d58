//! `naptun status`: what every tunnel of this host does, from the run files and the configurations.

mod gather;
mod json;
mod prometheus;
mod table;
mod watch;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use self::gather::Tunnel;
use self::table::Look;
use crate::config::check_cd;
use crate::error::{Error, Exit, Result};
use crate::os::{clock, terminal};
use crate::status::run;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--cd`: the folder of the configurations, [`run::CONFIGURATIONS`] if it is not given. Not checked yet.
    pub cd: Option<PathBuf>,
    /// The tunnels to show; all if there are none.
    pub names: Vec<String>,
    /// How to show them.
    pub form: Form,
    /// Again every second, until a signal.
    pub watch: bool,
}

/// How tunnels are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// One object, in one line.
    Json,
    /// The text format of Prometheus.
    Prometheus,
}

/// Shows what is asked for on standard output.
///
/// # Errors
/// `EX_CONFIG` for a `--cd` that cannot be one, `EX_NOINPUT` where a folder that was named cannot be read or a
/// tunnel that was named is not there, `EX_IOERR` where nothing can be written.
pub fn run(request: &Request) -> Result<Exit> {
    if let Some(cd) = &request.cd {
        check_cd(cd)?;
        std::fs::read_dir(cd)
            .map_err(|cause| Error::new(Exit::NoInput, format!("read {}", cd.display()), cause))?;
    }
    let result = if request.watch { watch::watch(request) } else { once(request) };
    match result {
        // Who reads has seen enough.
        Err(Failed::Write(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(Failed::Write(cause)) => Err(Error::new(Exit::Io, "write the status", cause)),
        Err(Failed::Told(error)) => Err(error),
        Ok(()) => Ok(Exit::Ok),
    }
}

/// Why nothing more is shown.
enum Failed {
    Write(io::Error),
    Told(Error),
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Self {
        Self::Write(cause)
    }
}

fn once(request: &Request) -> std::result::Result<(), Failed> {
    let mut out = io::stdout().lock();
    let tunnels = tunnels(request);
    let on_terminal = out.is_terminal();
    let look = Look {
        colour: on_terminal && terminal::wants_colour(),
        blocks: terminal::speaks_utf8(),
        width: terminal::size().filter(|_| on_terminal).map(|(columns, _)| columns),
    };
    out.write_all(text(request.form, &tunnels, &look).as_bytes())?;
    out.flush()?;
    missing(request, &tunnels).map_or(Ok(()), |error| Err(Failed::Told(error)))
}

fn tunnels(request: &Request) -> Vec<Tunnel> {
    let folder = request.cd.as_deref().unwrap_or(Path::new(run::CONFIGURATIONS));
    let mut tunnels = gather::gather(folder, Path::new(run::FOLDER));
    if !request.names.is_empty() {
        tunnels.retain(|tunnel| request.names.iter().any(|name| tunnel.is_called(name)));
    }
    tunnels
}

fn text(form: Form, tunnels: &[Tunnel], look: &Look) -> String {
    let now = Now { wall: clock::wall_micros() / 1_000_000, boot_ms: clock::boot().as_millis() as u64 };
    match form {
        Form::Table => table::table(tunnels, &now, look),
        Form::Json => json::json(tunnels, &now),
        Form::Prometheus => prometheus::prometheus(tunnels, &now),
    }
}

/// The first name that no tunnel has.
fn missing(request: &Request, tunnels: &[Tunnel]) -> Option<Error> {
    let name = request.names.iter().find(|name| !tunnels.iter().any(|tunnel| tunnel.is_called(name)))?;
    let folder = request.cd.as_deref().unwrap_or(Path::new(run::CONFIGURATIONS));
    let cause =
        format!("no {name}.conf in {} that can be read, and nothing in {}", folder.display(), run::FOLDER);
    Some(Error::new(Exit::NoInput, format!("find the tunnel {name}"), cause))
}

/// Both clocks.
pub(crate) struct Now {
    /// Seconds since the Unix epoch.
    pub(crate) wall: u64,
    /// Milliseconds since the machine started.
    pub(crate) boot_ms: u64,
}
