//! The tun or tap device: made here, gone with its routes when its descriptor closes.
//!
//! With offload each packet has a header of [`HEADER`] bytes in front (struct virtio_net_hdr of linux/virtio_net.h), and
//! may stand for many.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

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

/// Bytes of the header in front of each packet of a device with offload.
pub const HEADER: usize = 10;

/// How often, and with which pauses, a device that is not free yet is tried.
const ATTACH_TRIES: u32 = 100;
const ATTACH_PAUSE: Duration = Duration::from_millis(2);

/// What the device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

/// What may pass between the kernel and us in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Packets have a header in front.
    pub header: bool,
    /// Checksums may be partial, and super-packets of TCP pass, with IPv4 and IPv6, with and without ECN.
    pub tcp: bool,
    /// Super-packets of UDP pass as well (since Linux 6.2).
    pub udp: bool,
}

/// A tun or tap device that this process made. Not persistent: dropping it deletes it.
#[derive(Debug)]
pub struct Device {
    file: File,
    name: String,
    index: u32,
    offload: Offload,
}

impl Device {
    /// Makes a device called `name`, or the next free `tunN` or `tapN`; it is down and has no address.
    ///
    /// With `offload` it gets as much of that as the kernel has. Fails when a device of that name exists (whosever
    /// it is), the node is missing, or a capability is.
    pub fn create(name: Option<&str>, layer: Layer, offload: bool) -> Result<Self> {
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
        Self::adopt(interface, layer, offload)
            .map_err(|cause| Error::new(Exit::Os, format!("create {wanted}"), cause))
    }

    /// The name the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface index, as in rtnetlink.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What the kernel granted.
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Reads one packet or frame into `pieces`, the first of which is [`HEADER`] bytes for the header; without one it is
    /// left as it is. Returns the length of the packet. `WouldBlock` when none waits. What does not fit is cut off.
    pub fn read(&self, pieces: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match (self.offload.header, pieces) {
            (true, pieces) => Ok((&self.file).read_vectored(pieces)?.saturating_sub(HEADER)),
            (false, [_, pieces @ ..]) => (&self.file).read_vectored(pieces),
            (false, []) => Ok(0),
        }
    }

    /// Writes one packet or frame, gathered from `pieces`, the first of which is its header. EIO while the device is
    /// down.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let pieces = if self.offload.header { pieces } else { pieces.get(1..).unwrap_or_default() };
        (&self.file).write_vectored(pieces).map(drop)
    }

    fn adopt(interface: Iface, layer: Layer, offload: bool) -> io::Result<Self> {
        let name = interface.name().to_owned();
        // Close-on-exec it is already: the standard library opens every file so.
        // SAFETY: into_raw_fd gives up the interface's only descriptor, open on the node; nobody else closes it.
        let plain = File::from(unsafe { OwnedFd::from_raw_fd(interface.into_raw_fd()) });
        let (file, offload) =
            if offload { with_offload(plain, &name, layer)? } else { (plain, Offload::default()) };
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let index = if_nametoindex(name.as_str())?;
        Ok(Self { file, name, index, offload })
    }
}

/// The same device with a header in front of its packets, which the kernel grants only to a descriptor that attaches:
/// so it is kept without one for a moment. A process killed in that moment leaves it behind.
fn with_offload(plain: File, name: &str, layer: Layer) -> io::Result<(File, Offload)> {
    let Ok(node) = File::options().read(true).write(true).open(NODE) else {
        return Ok((plain, Offload::default()));
    };
    let kind = if layer == Layer::Tun { libc::IFF_TUN } else { libc::IFF_TAP } | libc::IFF_NO_PI;
    if persist(&plain, true).is_err() {
        return Ok((plain, Offload::default()));
    }
    drop(plain);
    let header = attach_free(&node, name, kind | libc::IFF_VNET_HDR).is_ok();
    if !header {
        attach_free(&node, name, kind)?;
    }
    persist(&node, false)?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = header && ask_for(&node, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6);
    let tcp = udp || header && ask_for(&node, tcp);
    Ok((node, Offload { header, tcp, udp }))
}

/// Where other threads start programs, their children hold the descriptor that we closed until they execute them, and
/// the kernel lets one descriptor attach at a time: the device is free a moment later.
fn attach_free(node: &File, name: &str, flags: libc::c_int) -> nix::Result<()> {
    for _ in 0..ATTACH_TRIES {
        match attach(node, name, flags) {
            Err(Errno::EBUSY) => thread::sleep(ATTACH_PAUSE),
            done => return done,
        }
    }
    attach(node, name, flags)
}

fn attach(node: &File, name: &str, flags: libc::c_int) -> nix::Result<()> {
    let mut name_bytes = [0; libc::IFNAMSIZ];
    for (to, from) in name_bytes.iter_mut().take(NAME_MAX).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name_bytes,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
    Errno::result(unsafe { libc::ioctl(node.as_raw_fd(), libc::TUNSETIFF, &mut request) }).map(drop)
}

fn persist(file: &File, on: bool) -> nix::Result<()> {
    // SAFETY: TUNSETPERSIST takes a number, not a pointer.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(on)) })
        .map(drop)
}

/// Whether the kernel grants all of these; it does all or nothing.
fn ask_for(file: &File, features: libc::c_uint) -> bool {
    // SAFETY: TUNSETOFFLOAD takes a number, not a pointer.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) == 0 }
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
