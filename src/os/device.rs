//! The tun or tap device: made here, gone with its routes when its descriptor closes.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::net::if_::if_nametoindex;
use tun_tap::{Iface, Mode};

use crate::error::{Error, Exit, Result};

/// The node that every tun and tap device comes from.
const NODE: &str = "/dev/net/tun";

/// Read and write for others, in a file's mode.
const OTHERS_READ_WRITE: u32 = 0o006;

/// Longest device name, bytes: IFNAMSIZ of linux/if.h without its NUL.
const NAME_MAX: usize = 15;

/// What the device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

/// A tun or tap device that this process made. Not persistent: dropping it deletes it.
#[derive(Debug)]
pub struct Device {
    file: File,
    name: String,
    index: u32,
}

impl Device {
    /// Makes a device called `name`, or the next free `tunN` or `tapN`; it is down and has no address.
    ///
    /// Fails when a device of that name exists (whosever it is), the node is missing, or a capability is.
    pub fn create(name: Option<&str>, layer: Layer) -> Result<Self> {
        if let Some(name) = name {
            check_name(name)?;
            check_free(name)?;
        }
        let (pattern, mode) = match layer {
            Layer::Tun => ("tun%d", Mode::Tun),
            Layer::Tap => ("tap%d", Mode::Tap),
        };
        let wanted = name.unwrap_or(pattern);
        let interface =
            Iface::without_packet_info(wanted, mode).map_err(|cause| not_created(wanted, &cause))?;
        Self::adopt(interface).map_err(|cause| Error::new(Exit::Os, format!("create {wanted}"), cause))
    }

    /// The name the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface index, as in rtnetlink.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Reads one packet or frame; `WouldBlock` when none waits. What does not fit into `packet` is cut off.
    pub fn read(&self, packet: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(packet)
    }

    /// Writes one packet or frame. EIO while the device is down.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        (&self.file).write(packet)
    }

    fn adopt(interface: Iface) -> io::Result<Self> {
        let name = interface.name().to_owned();
        // Close-on-exec it is already: the standard library opens every file so.
        // SAFETY: into_raw_fd gives up the interface's only descriptor, open on the node; nobody else closes it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(interface.into_raw_fd()) });
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let index = if_nametoindex(name.as_str())?;
        Ok(Self { file, name, index })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Whether only the owner of /dev/net/tun may open it, so that a process of another user needs CAP_DAC_OVERRIDE.
/// False when there is no such node: no capability helps then.
pub fn access_needs_override() -> bool {
    fs::metadata(NODE).is_ok_and(|node| node.mode() & OTHERS_READ_WRITE != OTHERS_READ_WRITE)
}

/// dev_valid_name() of net/core/dev.c; a `%` besides, which the kernel would expand.
fn check_name(name: &str) -> Result<()> {
    let bad_byte = |b: u8| b == b'/' || b == b':' || b == b'%' || b <= b' ' || b == 0x7f;
    if name.is_empty() || name.len() > NAME_MAX || matches!(name, "." | "..") || name.bytes().any(bad_byte) {
        return Err(Error::new(Exit::Config, format!("create {name:?}"), "not a device name")
            .advise("1 to 15 characters, without spaces, `/`, `:` and `%`"));
    }
    Ok(())
}

/// TUNSETIFF would attach to somebody's persistent device of that name without a word.
fn check_free(name: &str) -> Result<()> {
    match if_nametoindex(name) {
        Ok(_) => Err(exists(name)),
        Err(Errno::ENODEV) => Ok(()),
        Err(cause) => Err(Error::new(Exit::Os, format!("create {name}"), cause)),
    }
}

fn exists(name: &str) -> Error {
    Error::new(Exit::Unavailable, format!("create {name}"), "a device of that name exists")
        .advise("it is left alone; choose another name with `dev`, or delete it")
}

/// tun-tap gives one error for two acts; only opening the node ends in ENOENT, ENODEV, ENXIO, and EACCES.
fn not_created(name: &str, cause: &io::Error) -> Error {
    let create = format!("create {name}");
    let open = format!("open {NODE}");
    match cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => {
            Error::new(Exit::Unavailable, open, cause).advise("load the driver: modprobe tun")
        }
        Some(Errno::EACCES) => Error::new(Exit::NoPermission, open, cause)
            .advise("only its owner may: needs CAP_DAC_OVERRIDE, or chmod 0666"),
        Some(Errno::EPERM) => Error::new(Exit::NoPermission, create, cause)
            .advise("needs CAP_NET_ADMIN; in a container, the device node as well"),
        Some(Errno::EBUSY) => Error::new(Exit::Unavailable, create, "in use by another process"),
        Some(Errno::EINVAL) => Error::new(Exit::Unavailable, create, cause)
            .advise("is there a device of another kind with that name?"),
        _ => Error::new(Exit::Os, create, cause),
    }
}
