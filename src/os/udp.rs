//! The carrier: one UDP socket, never connected, ours or a super-server's.

#![allow(unsafe_code)]

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SetSockOpt, SockFlag,
    SockType, SockaddrStorage, getpeername, getsockname, getsockopt, recvmsg, sendmmsg, setsockopt, sockopt,
};

use super::path::{Path, called, info_v4, info_v6, map, scope, socket_addr, unmap};
use crate::error::{Error, Exit, Result};

/// Room for the control messages of one datagram, bytes. Ours take 64; a predecessor's may come before them.
const CONTROL: usize = 256;

/// What one call of [`drain`] discards at most, datagrams.
const DRAIN_MAX: usize = 65_536;

/// Errors that other datagrams left on the socket, passed over in one call.
const PENDING_MAX: usize = 8;

/// Trains sent one datagram at a time after the kernel refused one, before the next try.
const SINGLE_FILE: u32 = 256;

mod option {
    use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

    sockopt_impl!(
        /// SO_PROTOCOL
        Protocol, GetOnly, libc::SOL_SOCKET, libc::SO_PROTOCOL, libc::c_int
    );
    sockopt_impl!(
        /// Which datagrams are stamped, and where: SOF_TIMESTAMPING_*.
        Timestamping, Both, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, libc::c_int
    );
    sockopt_impl!(
        /// Whether what is sent waits for more.
        UdpCork, Both, libc::IPPROTO_UDP, libc::UDP_CORK, libc::c_int
    );
    sockopt_impl!(
        /// Whether IPv4 datagrams carry DF, and who is believed about the path's MTU.
        IpMtuDiscover, Both, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int
    );
    sockopt_impl!(
        /// The same for IPv6.
        Ipv6MtuDiscover, Both, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::c_int
    );
}

/// Which IP versions a socket is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both, on one socket.
    Any,
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Settings of the socket; `None` leaves them as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// SO_SNDBUF, bytes.
    pub sndbuf: Option<usize>,
    /// SO_RCVBUF, bytes.
    pub rcvbuf: Option<usize>,
    /// SO_MARK.
    pub mark: Option<u32>,
}

/// What one call of [`Udp::recv`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes in the buffer.
    pub len: usize,
    /// From whom, and to which of our addresses.
    pub path: Path,
    /// Size of every datagram in the train but the last, which may be shorter; `len` when there is but one.
    pub segment: usize,
}

/// A UDP socket that answers from the address that was called. No call of it waits.
///
/// A super-server's socket outlives us, and others share its description: nothing is set on it that would
/// hurt the next one to read it (no peer, no IP_RECVERR, no O_NONBLOCK).
#[derive(Debug)]
pub struct Udp {
    fd: OwnedFd,
    local: SocketAddr,
    mapped: bool,
    /// Message headers, laid out for packet info, and for packet info with the size of a train's datagrams.
    single: Headers,
    train: Headers,
    /// Trains still to be sent one datagram at a time.
    single_file: u32,
    trains: bool,
}

type Headers = MultiHeaders<SockaddrStorage>;

impl Udp {
    /// Binds a socket to `local`, or to all addresses of `family`; port 0 is any free one.
    ///
    /// `Any` gives an IPv6 socket that takes IPv4 as well, or an IPv4 one where the kernel has no IPv6.
    pub fn bind(local: Option<IpAddr>, port: u16, family: Family) -> Result<Self> {
        let addr = match (local, family) {
            (Some(addr), _) => addr,
            (None, Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
            (None, Family::Any | Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bound = match open(SocketAddr::new(addr, port), family) {
            Err(Errno::EAFNOSUPPORT) if local.is_none() && family == Family::Any => {
                open((Ipv4Addr::UNSPECIFIED, port).into(), Family::V4)
            }
            bound => bound,
        };
        let fd = bound.map_err(|cause| not_bound(local, port, cause))?;
        Self::adopt(fd).map_err(|cause| Error::new(Exit::Os, "set up the UDP socket", cause))
    }

    /// Takes a super-server's bound UDP socket, and undoes what a predecessor may have left on it.
    pub fn inherit(fd: OwnedFd) -> Result<Self> {
        check_udp(&fd)?;
        let failed = |cause: Errno| Error::new(Exit::Os, "set up the inherited UDP socket", cause);
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
        cleanse(&fd).map_err(failed)?;
        Self::adopt(fd).map_err(failed)
    }

    /// Applies `sndbuf`, `rcvbuf` (beyond the system's limit where permitted) and `mark`.
    pub fn apply(&self, options: &Options) -> Result<()> {
        if let Some(bytes) = options.sndbuf {
            self.buffer(sockopt::SndBufForce, sockopt::SndBuf, bytes)
                .map_err(|cause| Error::new(Exit::Os, format!("set sndbuf {bytes}"), cause))?;
        }
        if let Some(bytes) = options.rcvbuf {
            self.buffer(sockopt::RcvBufForce, sockopt::RcvBuf, bytes)
                .map_err(|cause| Error::new(Exit::Os, format!("set rcvbuf {bytes}"), cause))?;
        }
        if let Some(mark) = options.mark {
            setsockopt(&self.fd, sockopt::Mark, &mark).map_err(|cause| {
                Error::new(Exit::NoPermission, format!("set mark {mark}"), cause)
                    .advise("needs CAP_NET_ADMIN")
            })?;
        }
        Ok(())
    }

    /// The address the socket is bound to; its port for the log.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The port the socket is bound to.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// Has trains of equal datagrams pass in one piece, both ways (UDP_SEGMENT and UDP_GRO of udp(7)), as far as the
    /// kernel can. Without this call each datagram is sent and received by itself.
    pub fn use_trains(&mut self) {
        self.trains = true;
        self.single_file = 0;
        // A kernel without it (before 5.0) gives one datagram at a time.
        let _ = setsockopt(&self.fd, sockopt::UdpGroSegment, &true);
    }

    /// Receives one datagram or a train of them into `buf`, which should hold 65,535 bytes. `WouldBlock` when none
    /// waits; `InvalidData` for one that was larger than `buf` and is lost. No allocation.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Arrival> {
        let mut control = Control([0; CONTROL]);
        let mut pieces = [IoSliceMut::new(buf)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut pending = 0;
        let received = loop {
            let fd = self.fd.as_raw_fd();
            match recvmsg::<SockaddrStorage>(fd, &mut pieces, Some(&mut control.0), flags) {
                Err(cause) if is_pending(cause) && pending < PENDING_MAX => pending += 1,
                received => break received?,
            }
        };
        if received.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(ErrorKind::InvalidData.into());
        }
        let remote = received.address.as_ref().and_then(socket_addr).ok_or(ErrorKind::InvalidData)?;
        let remote = unmap(remote);
        let (mut local, mut segment) = (None, received.bytes);
        // Control messages that did not fit are a stranger's doing; the datagram is good all the same.
        for message in received.cmsgs().into_iter().flatten() {
            match message {
                ControlMessageOwned::UdpGroSegments(size) => {
                    segment = usize::try_from(size).unwrap_or(0).clamp(1, received.bytes.max(1));
                }
                message => local = local.or_else(|| called(&message)),
            }
        }
        let path = Path { remote, local, device: scope(&remote) };
        Ok(Arrival { len: received.bytes, path, segment })
    }

    /// Sends `train` along `path`: datagrams of `segment` bytes, the last of which may be shorter. Returns how many
    /// bytes the kernel took: all, or, where it takes one datagram at a time, up to a datagram's end.
    ///
    /// `WouldBlock` when the send buffer is full, EMSGSIZE when a datagram is larger than the first link's MTU; neither
    /// has sent anything. No allocation.
    pub fn send(&mut self, train: &[u8], segment: usize, path: &Path) -> io::Result<usize> {
        let single = segment >= train.len();
        let whole = single || self.trains && self.single_file == 0;
        if whole {
            match self.send_whole(train, (!single).then_some(segment), path) {
                // A device without checksums, IPsec on the way, an old kernel.
                Err(Errno::EIO | Errno::EINVAL) if !single => self.single_file = SINGLE_FILE,
                // Whether it is the datagrams that are too large, they will tell one by one.
                Err(Errno::EMSGSIZE) if !single => {}
                sent => return sent.map(|()| train.len()).map_err(io::Error::from),
            }
        }
        self.single_file = self.single_file.saturating_sub(1);
        self.send_singly(train, segment, path)
    }

    fn send_singly(&mut self, train: &[u8], segment: usize, path: &Path) -> io::Result<usize> {
        let mut sent = 0;
        for datagram in train.chunks(segment.max(1)) {
            match self.send_whole(datagram, None, path) {
                Ok(()) => sent += datagram.len(),
                Err(_) if sent > 0 => break,
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(sent)
    }

    fn send_whole(&mut self, train: &[u8], segment: Option<usize>, path: &Path) -> nix::Result<()> {
        let mut sent = self.send_once(train, segment, path);
        if sent.is_err_and(is_pending) {
            // It may have been an earlier datagram's, told only once.
            sent = self.send_once(train, segment, path);
        }
        if sent.is_err_and(is_unroutable) && path.local.is_some() {
            // Our address may have gone from this host: better from another one than never.
            sent = self.send_once(train, segment, &Path { local: None, ..*path });
        }
        sent
    }

    /// What every socket of ours needs, whoever opened it.
    fn adopt(fd: OwnedFd) -> nix::Result<Self> {
        let local = local_addr(&fd)?;
        let mapped = local.is_ipv6();
        if mapped {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(&fd, option::Ipv6MtuDiscover, &libc::IPV6_PMTUDISC_PROBE)?;
        } else {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        }
        // On a dual-stack socket this is for the mapped peers.
        setsockopt(&fd, option::IpMtuDiscover, &libc::IP_PMTUDISC_PROBE)?;
        let (single, train) = match mapped {
            true => (nix::cmsg_space!(libc::in6_pktinfo), nix::cmsg_space!(libc::in6_pktinfo, u16)),
            false => (nix::cmsg_space!(libc::in_pktinfo), nix::cmsg_space!(libc::in_pktinfo, u16)),
        };
        let headers = |control| MultiHeaders::preallocate(1, Some(control));
        let (single, train) = (headers(single), headers(train));
        Ok(Self { fd, local: unmap(local), mapped, single, train, single_file: 0, trains: false })
    }

    /// The control buffers are laid out once, so packet info goes with every datagram; without an address to
    /// speak from it says the one the socket is bound to, which may be none.
    fn send_once(&mut self, train: &[u8], segment: Option<usize>, path: &Path) -> nix::Result<()> {
        let local = path.local.unwrap_or(self.local.ip());
        let (to, v4, v6);
        let info = if self.mapped {
            to = SockaddrStorage::from(map(path.remote, path.device));
            v6 = info_v6(local, path.remote);
            ControlMessage::Ipv6PacketInfo(&v6)
        } else if path.remote.is_ipv4() {
            to = SockaddrStorage::from(path.remote);
            v4 = info_v4(local);
            ControlMessage::Ipv4PacketInfo(&v4)
        } else {
            return Err(Errno::EAFNOSUPPORT);
        };
        let (fd, to, flags) = (self.fd.as_raw_fd(), [Some(to)], MsgFlags::MSG_DONTWAIT);
        let bytes = [[IoSlice::new(train)]];
        match segment.map(|segment| segment as u16) {
            None => sendmmsg(fd, &mut self.single, &bytes, to, [info], flags).map(drop),
            Some(size) => {
                let size = ControlMessage::UdpGsoSegments(&size);
                sendmmsg(fd, &mut self.train, &bytes, to, [info, size], flags).map(drop)
            }
        }
    }

    fn buffer<Force, Plain>(&self, force: Force, plain: Plain, bytes: usize) -> nix::Result<()>
    where
        Force: SetSockOpt<Val = usize>,
        Plain: SetSockOpt<Val = usize>,
    {
        match setsockopt(&self.fd, force, &bytes) {
            Err(Errno::EPERM) => setsockopt(&self.fd, plain, &bytes),
            set => set,
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Udp {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Discards what is queued on a UDP socket. Returns how many datagrams that were.
pub fn drain(socket: BorrowedFd) -> usize {
    let mut count = 0;
    for _ in 0..DRAIN_MAX {
        match socket::recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT) {
            Ok(_) => count += 1,
            Err(cause) if is_pending(cause) => {}
            Err(_) => break,
        }
    }
    count
}

/// cmsghdr's alignment for the kernel to write into.
#[repr(align(8))]
struct Control([u8; CONTROL]);

fn open(addr: SocketAddr, family: Family) -> nix::Result<OwnedFd> {
    let domain = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket::socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    if addr.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &(family == Family::V6))?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    Ok(fd)
}

fn not_bound(local: Option<IpAddr>, port: u16, cause: Errno) -> Error {
    let act = match local {
        Some(addr) => format!("bind UDP {}", SocketAddr::new(addr, port)),
        None => format!("bind UDP port {port}"),
    };
    match cause {
        Errno::EADDRINUSE => Error::new(Exit::Unavailable, act, "the port is in use")
            .advise("another process has it: see `ss -ulnp`"),
        Errno::EADDRNOTAVAIL => Error::new(Exit::Unavailable, act, "this host has no such address"),
        Errno::EACCES => {
            Error::new(Exit::NoPermission, act, cause).advise("ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        Errno::EAFNOSUPPORT => Error::new(Exit::Unavailable, act, "the kernel has no such IP version"),
        _ => Error::new(Exit::Os, act, cause),
    }
}

/// Nothing may be done to a descriptor before it is known to be a UDP socket.
fn check_udp(fd: &OwnedFd) -> Result<()> {
    let refuse = |cause: &str| {
        Error::new(Exit::Usage, "take over the super-server's socket", cause.to_owned())
            .advise("start it from xinetd, inetd or systemd with a UDP socket on descriptor 0")
    };
    let kind = match getsockopt(fd, sockopt::SockType) {
        Ok(kind) => kind,
        Err(Errno::ENOTSOCK) => return Err(refuse("it is not a socket")),
        Err(cause) => return Err(refuse(cause.desc())),
    };
    let inet = local_addr(fd).is_ok();
    let udp = getsockopt(fd, option::Protocol) == Ok(libc::IPPROTO_UDP);
    match (kind, inet, udp) {
        (SockType::Datagram, true, true) => Ok(()),
        (SockType::Stream, true, _) => Err(refuse("it is a TCP socket (socket_type = dgram, wait = yes)")),
        _ => Err(refuse("it is not a UDP socket")),
    }
}

/// A process before us may have been killed at any point, whatever program it was.
fn cleanse(fd: &OwnedFd) -> nix::Result<()> {
    if getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok() {
        disconnect(fd)?;
    }
    // Stamps of what was sent would come by the queue of errors, over which a super-server falls.
    let _ = setsockopt(fd, option::Timestamping, &0);
    // Turned off, it also empties the queue of errors. Each fails where the socket's family has no such option.
    let _ = setsockopt(fd, sockopt::Ipv4RecvErr, &false);
    let _ = setsockopt(fd, sockopt::Ipv6RecvErr, &false);
    let _ = setsockopt(fd, sockopt::UdpGroSegment, &false);
    let _ = setsockopt(fd, sockopt::UdpGsoSegment, &0);
    // Corked, it would gather our datagrams and send none.
    let _ = setsockopt(fd, option::UdpCork, &0);
    let _ = setsockopt(fd, sockopt::DontRoute, &false);
    // Reading the pending error clears it.
    getsockopt(fd, sockopt::SocketError).map(drop)
}

/// connect(2): an address of AF_UNSPEC dissolves the association.
fn disconnect(fd: &OwnedFd) -> nix::Result<()> {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let len = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: `nobody` is a whole sockaddr that lives through the call, `len` its size; the kernel only reads it.
    Errno::result(unsafe { libc::connect(fd.as_raw_fd(), &nobody, len) }).map(drop)
}

/// What ICMP told about an earlier datagram; the call that reports it did nothing, and clears it.
fn is_pending(cause: Errno) -> bool {
    use Errno::{ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETUNREACH, ENONET, ENOPROTOOPT, EPROTO};
    matches!(
        cause,
        ECONNREFUSED | EHOSTDOWN | EHOSTUNREACH | EINTR | ENETUNREACH | ENONET | ENOPROTOOPT | EPROTO
    )
}

/// What a source address that is not ours ends in: EINVAL from IPv6, any of them from IPv4.
fn is_unroutable(cause: Errno) -> bool {
    matches!(cause, Errno::EINVAL | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH | Errno::EHOSTUNREACH)
}

fn local_addr(fd: &OwnedFd) -> nix::Result<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    socket_addr(&name).ok_or(Errno::EAFNOSUPPORT)
}
