//! How this process was started, and where its socket comes from.

use std::net::{IpAddr, ToSocketAddrs as _};

use crate::config::settings::{Family, Host, Settings};
use crate::error::{Error, Exit, Result};
use crate::os::descriptors::{self, Inherited};
use crate::os::udp::{self, Options, Udp};

/// Who holds the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// xinetd or inetd: the socket is fd 0.
    Inetd,
    /// systemd: the socket is fd 3.
    Systemd,
    /// This process, and it waits to be called.
    Listener,
    /// This process, and it calls.
    Caller,
}

impl Launch {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inetd => "inetd",
            Self::Systemd => "systemd",
            Self::Listener => "listener",
            Self::Caller => "caller",
        }
    }
}

/// The socket: a super-server's under `inetd`, else one of our own.
pub fn carrier(settings: &Settings, inherited: Inherited) -> Result<(Launch, Udp)> {
    let (launch, mut udp) = if settings.inetd {
        super_server(inherited)?
    } else {
        let launch = if settings.is_caller() { Launch::Caller } else { Launch::Listener };
        (launch, Udp::bind(local(settings)?, settings.lport, family(settings.family))?)
    };
    udp.apply(&Options { sndbuf: settings.sndbuf, rcvbuf: settings.rcvbuf, mark: settings.mark })?;
    if settings.offload {
        udp.use_trains();
    }
    Ok((launch, udp))
}

fn super_server(inherited: Inherited) -> Result<(Launch, Udp)> {
    if let Some(socket) = descriptors::systemd_socket() {
        return Ok((Launch::Systemd, Udp::inherit(socket)?));
    }
    let found = match inherited {
        Inherited::Datagram(socket) => return Ok((Launch::Inetd, Udp::inherit(socket)?)),
        Inherited::OtherSocket(what) | Inherited::None(what) => what,
    };
    Err(Error::new(Exit::Usage, "take the socket of --inetd from fd 0", format!("it is {found}")).advise(
        "--inetd is for xinetd, inetd or systemd with socket_type = dgram, protocol = udp, wait = yes",
    ))
}

fn local(settings: &Settings) -> Result<Option<IpAddr>> {
    match &settings.local {
        None => Ok(None),
        Some(Host::Addr(ip)) => Ok(Some(*ip)),
        Some(Host::Name(name)) => {
            let failed = |cause: String| Error::new(Exit::NoHost, format!("look up local {name}"), cause);
            let mut found =
                (name.as_str(), 0).to_socket_addrs().map_err(|cause| failed(cause.to_string()))?;
            found
                .next()
                .map(|address| Some(address.ip()))
                .ok_or_else(|| failed("it has no address".to_owned()))
        }
    }
}

fn family(family: Family) -> udp::Family {
    match family {
        Family::Any => udp::Family::Any,
        Family::V4 => udp::Family::V4,
        Family::V6 => udp::Family::V6,
    }
}
