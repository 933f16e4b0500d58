//! From settings to parts: what the life of the process is made of.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::config::settings::{DeviceType, IfconfigIpv6, LogTarget, PingTimeout, Settings};
use crate::error::{Error, Exit, Result, one_line};
use crate::interface::{self, Plan};
use crate::launch::Launch;
use crate::log::{self, Target};
use crate::os::clock;
use crate::os::device;
use crate::os::privileges::{self, Capability, Identity, Reduction};
use crate::os::run_file::RunFile;
use crate::os::sandbox::Landlocked;
use crate::packet::Layer;
use crate::protocol::{Aeads, Hello, Timers};
use crate::remote::Remotes;
use crate::status::record::Record;
use crate::status::run;
use crate::tunnel::{self, Policy, Telling, fresh_instance};

/// How long the first look-up of the remote's name may hold up what depends on it.
const FIRST_LOOK_UP: Duration = Duration::from_secs(5);

/// Directs the log where the configuration says, and tells its notices.
pub fn open_log(settings: &Settings) -> Result<()> {
    let target = match &settings.log {
        LogTarget::File { path, append } => Target::File { path, append: *append },
        LogTarget::Syslog => Target::Syslog,
        LogTarget::Default if settings.inetd || settings.daemon => Target::Syslog,
        LogTarget::Default => Target::Stderr,
    };
    log::open(target, &settings.program, settings.verb, settings.mute)?;
    // The zone's file cannot be opened later.
    clock::load_zone();
    for notice in &settings.notices {
        ::log::info!("{notice}");
    }
    Ok(())
}

/// Whether files of ours grow while packets move; standard error may be one as well.
pub fn writes_files(settings: &Settings) -> bool {
    let syslog = match settings.log {
        LogTarget::Syslog => true,
        LogTarget::Default => settings.inetd || settings.daemon,
        LogTarget::File { .. } => false,
    };
    settings.status.is_some() || !syslog
}

/// The device to be, and who may speak. Where a route asks for the address of the remote, its name is waited for.
pub fn plan(settings: &Settings, identity: &Identity) -> Result<(Plan, Remotes)> {
    let mut remotes = Remotes::new(settings, identity)?;
    if interface::needs_outer(settings) {
        remotes.wait(FIRST_LOOK_UP)?;
    }
    let plan = Plan::new(settings, identity, remotes.path().map(|path| path.remote.ip()))?;
    remotes.keep_outside(plan.inside())?;
    Ok((plan, remotes))
}

/// `writepid`.
pub fn write_pid(settings: &Settings) -> Result<()> {
    let Some(path) = &settings.writepid else { return Ok(()) };
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|cause| Error::new(Exit::CannotCreate, format!("write pid file {}", path.display()), cause))
}

/// `status`: the file, open while there still is the right to.
pub fn open_status(settings: &Settings) -> Result<Option<(File, Duration)>> {
    let Some((path, every)) = &settings.status else { return Ok(None) };
    let file = File::create(path).map_err(|cause| {
        Error::new(Exit::CannotCreate, format!("create status file {}", path.display()), cause)
    })?;
    Ok(Some((file, *every)))
}

/// The run file, for `naptun status`. A tunnel without one is better than none.
pub fn telling(settings: &Settings, dir: &Path, launch: Launch, plan: &Plan, port: u16) -> Option<Telling> {
    let config = settings.config_file.as_ref().map(|file| dir.join(file));
    let name = run::name(config.as_deref().unwrap_or(Path::new("naptun")));
    match RunFile::create(Path::new(run::FOLDER), &name) {
        Ok((file, left)) => {
            let record = record(config.as_deref(), launch, plan, port);
            Some(Telling::new(file, left, record, &tunnel::moment()))
        }
        Err(error) => {
            ::log::info!("{error}; naptun status does not see this tunnel");
            None
        }
    }
}

/// What is known before anything happens, and stays.
fn record(config: Option<&Path>, launch: Launch, plan: &Plan, port: u16) -> Record {
    let pair = |(one, other): (std::net::Ipv4Addr, std::net::Ipv4Addr)| format!("{one} {other}");
    let six = |six: IfconfigIpv6| format!("{}/{} {}", six.local, six.prefix, six.remote);
    Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        launch: launch.name().to_owned(),
        config: config.map_or_else(String::new, |config| one_line(&config.to_string_lossy())),
        port,
        kind: if plan.layer == Layer::Ip { "tun" } else { "tap" }.to_owned(),
        mtu: plan.mtu,
        ipv4: plan.ipv4.map_or_else(String::new, pair),
        ipv6: plan.ipv6.map_or_else(String::new, six),
        ..Record::default()
    }
}

/// Why a process that was there a moment ago is gone should be in the log.
pub fn nap(settings: &Settings) -> String {
    settings.inactive.map_or_else(String::new, |inactive| format!(" inactive={}", inactive.after.as_secs()))
}

/// `nice`; memory that no secret leaves for the swap, with `mlock` or not at all, otherwise where that is allowed.
pub fn adjust_process(settings: &Settings) -> Result<()> {
    if let Some(value) = settings.nice {
        privileges::nice(value)?;
    }
    if settings.mlock {
        return privileges::mlock();
    }
    if let Err(error) = privileges::mlock_in_use() {
        ::log::debug!("{error}");
    }
    Ok(())
}

/// What this end says of itself in a handshake.
pub fn hello(settings: &Settings, launch: Launch, plan: &Plan) -> Hello {
    let mut aeads = Aeads(0);
    if settings.ciphers.chacha20_poly1305 {
        aeads = aeads.with(Aeads::CHACHA20_POLY1305);
    }
    if settings.ciphers.aes_256_gcm && has_aes_instructions() {
        aeads = aeads.with(Aeads::AES_256_GCM);
    }
    fresh_instance(Hello {
        listener: launch != Launch::Caller,
        tap: settings.device_type == DeviceType::Tap,
        refused: false,
        aeads,
        mtu: plan.mtu,
        passed: 0,
        instance: 0,
        stamp: 0,
        ipv4: plan.ipv4,
        ipv6: plan.ipv6.map(|six| (six.local, six.remote, six.prefix)),
    })
}

/// The durations of the session.
pub fn timers(settings: &Settings) -> Timers {
    let ping_timeout = settings.ping_timeout.map(|timeout| match timeout {
        PingTimeout::Restart(after) | PingTimeout::Exit(after) => after,
    });
    let default = Timers::default();
    let retry_most = settings.connect_retry.unwrap_or(default.retry_most);
    let rekey_after = settings.reneg_sec.unwrap_or(default.rekey_after);
    // The grace shrinks along. Keys still live as long as the peer's do: it may have another `reneg-sec`.
    let grace = default.rekey_grace.as_secs_f64() / default.rekey_after.as_secs_f64();
    let rekey_grace = rekey_after.mul_f64(grace);
    Timers { ping: settings.ping, ping_timeout, retry_most, rekey_after, rekey_grace, ..default }
}

/// What the tunnel does beside moving packets.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        inetd: settings.inetd,
        caller: settings.is_caller(),
        inactive: settings.inactive.map(|inactive| (inactive.after, inactive.bytes)),
        ping_exit: matches!(settings.ping_timeout, Some(PingTimeout::Exit(_))),
        mssfix: settings.mssfix,
        marks: settings.verb == 5,
    }
}

fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// What a process needs that is to make the device later.
pub fn capabilities_for_device() -> Vec<Capability> {
    let mut keep = vec![Capability::CAP_NET_ADMIN];
    if device::access_needs_override() {
        keep.push(Capability::CAP_DAC_OVERRIDE);
    }
    keep
}

/// Becomes the user, with `keep` and no other capability.
pub fn reduce(identity: &Identity, keep: &[Capability]) -> Result<()> {
    if let Reduction::Partial(left) = privileges::reduce(identity, keep)? {
        ::log::info!("not started as root, keeping {}", left.join(", "));
    }
    Ok(())
}

/// Tells where the kernel has no Landlock.
pub fn notice_landlock(landlocked: Landlocked) {
    if landlocked == Landlocked::NotSupported {
        ::log::debug!("this kernel has no Landlock");
    }
}
