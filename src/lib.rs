//! The life of the process, top to bottom; the README has the map of the code, doc/protocol.md the protocol.

pub mod cli;
pub mod config;
pub mod doctor;
pub mod error;
pub mod interface;
pub mod launch;
pub mod log;
pub mod os;
pub mod packet;
pub mod pair;
pub mod prepare;
pub mod protocol;
pub mod remote;
pub mod report;
pub mod state;
pub mod status;
pub mod takeover;
pub mod tunnel;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Args, Parsed};
use crate::config::key::Aside;
use crate::config::settings::Settings;
use crate::config::{Loaded, key};
use crate::error::{Error, Exit, Result, one_line};
use crate::interface::Plan;
use crate::launch::Launch;
use crate::log::{MILESTONE, Target};
use crate::os::background::{self, Outcome, Readiness, Side};
use crate::os::clock;
use crate::os::descriptors::{self, Inherited};
use crate::os::device::Device;
use crate::os::netlink::Netlink;
use crate::os::privileges::{self, Identity};
use crate::os::sandbox;
use crate::os::signals::Signals;
use crate::os::state_file::{Payload, StateFile, Tenant};
use crate::os::udp;
use crate::protocol::{Hello, Secrets, Session};
use crate::state::State;
use crate::tunnel::{End, Parts, Tunnel, decode_record};

/// A process of a super-server that cannot serve lives at least as long: 15 starts a minute are within all their limits.
const LINGER_IN_VAIN: Duration = Duration::from_secs(4);

/// How often it looks: a flood should not fill the kernel's memory meanwhile.
const DRAIN_EVERY: Duration = Duration::from_millis(100);

/// The program, from its first statement to its exit code.
pub fn run() -> ExitCode {
    // Under a super-server stdin, stdout and stderr are the tunnel's socket: nothing may be printed before this.
    let started = clock::boot();
    let inherited = descriptors::make_safe();
    // For the case that the first comes to nothing.
    let spare = descriptors::second(&inherited);
    let told = Told { woken: matches!(inherited, Inherited::Datagram(_) | Inherited::OtherSocket(_)) };
    let target = if told.woken { Target::Syslog } else { Target::Stderr };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let exit = log::open(target, "naptun", 1, 0)
        .and_then(|()| descriptors::harden())
        .map_err(|error| told.failure(&error))
        .and_then(|()| command(&arguments, inherited, &told))
        .unwrap_or_else(|exit| exit);
    if let Some(socket) = spare.filter(|_| exit != Exit::Ok) {
        linger_in_vain(&socket, started);
    }
    ExitCode::from(exit as u8)
}

/// What nobody can serve must not wake the next process, which could not either, at once and for ever: a super-server
/// gives up a service that is started too often, and strangers could see to that. So the socket is kept for a while.
fn linger_in_vain(socket: &OwnedFd, started: Duration) {
    while clock::boot() - started < LINGER_IN_VAIN {
        udp::drain(socket.as_fd());
        std::thread::sleep(DRAIN_EVERY);
    }
    udp::drain(socket.as_fd());
}

/// Does what the command line asks for. `Err` is the code of a failure that has been told.
fn command(arguments: &[OsString], inherited: Inherited, told: &Told) -> std::result::Result<Exit, Exit> {
    log::panics_too();
    let parsed = Args::parse(arguments).map_err(|early| match early.exit {
        Exit::Ok => told.text(&early.text),
        exit => told.words(early.text.trim_start_matches("naptun: ").trim_end(), exit),
    })?;
    if told.woken && !matches!(parsed, Parsed::Run { .. }) {
        return Err(told.no_tunnel());
    }
    match parsed {
        Parsed::GenKey { file } => generate_key(file, told).map_err(|error| told.failure(&error)),
        Parsed::Check(request) => {
            let (lines, exit) = doctor::examine(&request);
            told.text(&lines.iter().map(|line| format!("{}\n", one_line(line))).collect::<String>());
            Ok(exit)
        }
        Parsed::Pair(wish) => match pair::pair(&wish) {
            Ok(text) => Ok(told.text(&text)),
            Err(errors) => Err(errors.iter().fold(Exit::Usage, |_, error| told.failure(error))),
        },
        Parsed::Status(request) => report::run(&request).map_err(|error| told.failure(&error)),
        Parsed::Run { cd, statements } => {
            let loaded = config::load(cd.as_deref(), &statements).map_err(|problems| {
                let exit = problems.first().map_or(Exit::Config, |problem| problem.exit());
                problems.iter().fold(exit, |exit, problem| told.words(&problem.to_string(), exit))
            })?;
            endpoint(loaded, inherited).map_err(|error| told.failure(&error))
        }
    }
}

/// One tunnel endpoint, in the background if the configuration says so.
fn endpoint(loaded: Loaded, inherited: Inherited) -> Result<Exit> {
    let Loaded { mut settings, dir } = loaded;
    std::env::set_current_dir(&dir)
        .map_err(|cause| Error::new(Exit::NoInput, format!("enter {}", dir.display()), cause))?;
    let key = key::set_aside(settings.take_secret())?;
    if !settings.daemon {
        return live(&settings, &dir, key, inherited, &mut None);
    }
    match background::detach()? {
        Side::Parent(Outcome::Ready) => Ok(Exit::Ok),
        Side::Parent(Outcome::Failed(code, reason)) => {
            print_error(&reason);
            std::process::exit(code.into());
        }
        Side::Parent(Outcome::Died(how)) => Err(Error::new(Exit::Software, "go to the background", how)),
        Side::Child(readiness) => {
            let mut readiness = Some(readiness);
            let ended = live(&settings, &dir, key, inherited, &mut readiness);
            if let (Err(error), Some(readiness)) = (&ended, readiness) {
                readiness.failed(error.exit() as u8, &error.to_string());
            }
            // There is no terminal any more: syslog is where this belongs.
            Ok(ended.unwrap_or_else(|error| {
                ::log::error!("{error}");
                error.exit()
            }))
        }
    }
}

/// The life of an endpoint, from the first line of its log to the last. `readiness` is owed to a process that
/// waits in the foreground.
fn live(
    settings: &Settings,
    dir: &Path,
    key: Aside,
    inherited: Inherited,
    readiness: &mut Option<Readiness>,
) -> Result<Exit> {
    prepare::open_log(settings)?;
    let started = clock::boot();
    let mut endpoint = Endpoint::open(settings, dir, key, inherited)?;
    let ended = match endpoint.launch {
        Launch::Caller => endpoint.call(readiness),
        _ => endpoint.listen(readiness),
    };
    let word = ended.as_ref().map_or_else(|error| format!("failed: {error}"), |end| end.name().to_owned());
    endpoint.tunnel.last_word(&word);
    let end = ended?;
    endpoint.farewell(end);
    let seconds = (clock::boot() - started).as_secs();
    let totals = endpoint.tunnel.totals();
    ::log::info!(target: MILESTONE, "closed reason={} seconds={seconds} {totals}", end.name());
    Ok(Exit::Ok)
}

/// Everything an endpoint is made of.
struct Endpoint<'a> {
    settings: &'a Settings,
    launch: Launch,
    identity: Identity,
    plan: Plan,
    tunnel: Tunnel,
}

impl<'a> Endpoint<'a> {
    /// As root: opens what only root may open, and forks the helpers before there is a secret to inherit.
    fn open(settings: &'a Settings, dir: &Path, key: Aside, inherited: Inherited) -> Result<Self> {
        let signals = Signals::open()?;
        let identity = Identity::lookup(&settings.user, settings.group.as_deref())?;
        let (launch, udp) = launch::carrier(settings, inherited)?;
        prepare::write_pid(settings)?;
        let (plan, remotes) = prepare::plan(settings, &identity)?;
        let helper = plan.helper(settings)?;

        prepare::adjust_process(settings)?;
        let hello = prepare::hello(settings, launch, &plan);
        let (state, session) = resume(settings, dir, key, hello, |path, tenant, session| {
            takeover::take_over(path, tenant, &udp, &identity, session)
        })?;
        let (status, policy) = (prepare::open_status(settings)?, prepare::policy(settings));
        let telling = prepare::telling(settings, dir, launch, &plan, udp.port());
        let parts = Parts { session, udp, signals, state, remotes, helper, status, telling, policy };
        let tunnel = Tunnel::new(parts, plan.layer, plan.mtu)?;
        ::log::info!("started launch={} port={}{}", launch.name(), tunnel.port(), prepare::nap(settings));
        Ok(Self { settings, launch, identity, plan, tunnel })
    }

    /// A caller has its device before it reads the first datagram.
    fn call(&mut self, readiness: &mut Option<Readiness>) -> Result<End> {
        let device = self.bring_up()?;
        self.tunnel.watch_host(self.settings.mark);
        prepare::reduce(&self.identity, &[])?;
        self.give_up_everything(readiness)?;
        self.tunnel.call();
        self.tunnel.pump(device)
    }

    /// A listener has none before a peer has proved itself, and reads until then with what the device needs alone.
    fn listen(&mut self, readiness: &mut Option<Readiness>) -> Result<End> {
        prepare::reduce(&self.identity, &prepare::capabilities_for_device())?;
        prepare::notice_landlock(sandbox::reduced()?);
        ready(readiness)?;
        if let Some(end) = self.tunnel.wait_for_peer()? {
            return Ok(end);
        }
        let device = self.bring_up()?;
        self.give_up_everything(readiness)?;
        self.tunnel.complete();
        self.tunnel.pump(device)
    }

    fn bring_up(&mut self) -> Result<Device> {
        let (peer, burst) = (self.tunnel.peer(), self.tunnel.longest_burst());
        let mut netlink = Netlink::open()?;
        if let Some(peer) = peer {
            self.tunnel.keep_to_link(clock::boot(), peer.ip(), netlink.link_mtu(peer.ip()));
        }
        self.plan.bring_up(self.settings, &mut netlink, peer, self.tunnel.helper(), burst)
    }

    /// With the device up there is nothing left to be allowed.
    fn give_up_everything(&self, readiness: &mut Option<Readiness>) -> Result<()> {
        privileges::drop_all()?;
        // Needs /dev/null, and nothing can be opened after this.
        ready(readiness)?;
        prepare::notice_landlock(sandbox::pump(prepare::writes_files(self.settings))?);
        Ok(())
    }

    /// The device is gone; `down` runs, and foreign routes are taken away.
    fn farewell(&mut self, end: End) {
        if let Some(helper) = self.tunnel.helper()
            && let Err(error) = helper.finish(&end.name().to_ascii_lowercase())
        {
            ::log::warn!("{error}");
        }
    }
}

/// The session as the last process of this tunnel left it. `take_over` is called where another one still runs, under a
/// super-server; who was started by hand should know.
fn resume(
    settings: &Settings,
    dir: &Path,
    key: Aside,
    hello: Hello,
    take_over: impl FnOnce(&Path, Tenant, Session<os::path::Path>) -> Result<Option<StateFile>>,
) -> Result<(Option<StateFile>, Session<os::path::Path>)> {
    let key = key.load()?;
    let secrets = Secrets::derive(key.as_bytes());
    let session = |secrets, payload: Option<Payload>| {
        let record = payload.map(decode_record).unwrap_or_default();
        Session::new(secrets, hello, record, prepare::timers(settings))
    };
    let path = state::path(settings, dir, &secrets);
    let wait = if settings.inetd { state::WAIT_LITTLE } else { state::WAIT };
    let state = match state::open(&path, wait) {
        State::Ours(state) => state,
        State::Taken(tenant) if settings.inetd => {
            let session = session(Secrets::derive(key.as_bytes()), tenant.read());
            take_over(&path, tenant, session)?
        }
        State::Taken(tenant) => return Err(state::taken(&path, &tenant)),
    };
    let session = session(secrets, state.as_ref().and_then(StateFile::read));
    Ok((state, session))
}

fn ready(readiness: &mut Option<Readiness>) -> Result<()> {
    readiness.take().map_or(Ok(()), Readiness::ready)
}

fn generate_key(file: Option<PathBuf>, told: &Told) -> Result<Exit> {
    let mut random = zeroize::Zeroizing::new([0; 256]);
    getrandom::fill(&mut *random).map_err(|cause| Error::new(Exit::Os, "read random numbers", cause))?;
    let text = key::generate(&random);
    match file {
        Some(path) => key::write_new(&path, &text).map(|()| Exit::Ok),
        None => Ok(told.text(&text)),
    }
}

/// Where things are told: syslog under a super-server, standard output and error otherwise.
struct Told {
    woken: bool,
}

impl Told {
    /// Under a super-server nobody reads standard output, and who wrote the service wonders: that is told instead.
    fn text(&self, text: &str) -> Exit {
        if self.woken {
            return self.no_tunnel();
        }
        match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => Exit::Ok,
            Err(_) => Exit::Io,
        }
    }

    fn no_tunnel(&self) -> Exit {
        self.words(
            "started by a super-server without a tunnel to run; it needs naptun --inetd --config FILE",
            Exit::Usage,
        )
    }

    fn failure(&self, error: &Error) -> Exit {
        self.words(&error.to_string(), error.exit())
    }

    fn words(&self, text: &str, exit: Exit) -> Exit {
        if self.woken {
            text.lines().for_each(|line| ::log::error!("{line}"));
        } else {
            print_error(text);
        }
        exit
    }
}

fn print_error(text: &str) {
    // At once: the process in the background may have something to say, too. With stderr gone there is nowhere to tell.
    let _ = std::io::stderr().write_all(format!("naptun: {text}\n").as_bytes());
}
