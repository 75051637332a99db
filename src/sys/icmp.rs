//! ICMP sockets: an unprivileged datagram socket first, a raw one where the process may, and
//! the kernel's queue of "destination unreachable" messages.
//!
//! Model: one socket a family, non-blocking, for all targets. What is sent is a whole ICMP message;
//! what is received is one too (the IPv4 header that raw sockets show is cut off here). On a
//! datagram socket the kernel puts its own identifier into requests and shows only replies that
//! carry it, and errors come through a queue; on a raw socket everything of the wanted types comes
//! in, errors included. What messages mean is not this file's concern.

use std::fmt;
use std::io::{self, Read as _};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Room for replies of a burst: 50,000 targets a minute, half a second of all replies at 512 bytes.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// How the kernel lets us ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unprivileged: allowed by `net.ipv4.ping_group_range`. The kernel owns the identifier.
    Datagram,
    /// Allowed by `CAP_NET_RAW`. The identifier is ours.
    Raw,
}

/// Neither kind of socket is allowed.
#[derive(Debug)]
pub struct Refused {
    /// Why there is no datagram socket.
    pub datagram: io::Error,
    /// Why there is no raw socket.
    pub raw: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no ICMP socket: datagram: {}; raw: {}", self.datagram, self.raw)
    }
}

impl std::error::Error for Refused {}

/// A message of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Where the request was sent to.
    pub to: IpAddr,
    /// The error number that the kernel made of the message.
    pub errno: i32,
    /// How many bytes of our request were quoted into the buffer.
    pub quoted: usize,
}

/// One socket for all targets of a family.
#[derive(Debug)]
pub struct IcmpSocket {
    socket: Socket,
    kind: Kind,
    v6: bool,
}

/// Opens a socket for one family.
///
/// # Errors
/// [`Refused`], with the reason for each kind.
pub fn open(v6: bool) -> Result<IcmpSocket, Refused> {
    match open_kind(v6, Kind::Datagram) {
        Ok(socket) => Ok(socket),
        Err(datagram) => open_kind(v6, Kind::Raw).map_err(|raw| Refused { datagram, raw }),
    }
}

/// Opens a socket of one kind.
///
/// # Errors
/// The kernel's: no permission, no such family, out of descriptors.
pub fn open_kind(v6: bool, kind: Kind) -> io::Result<IcmpSocket> {
    let (domain, protocol) =
        if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let kind_of = if kind == Kind::Raw { Type::RAW } else { Type::DGRAM };
    let socket = Socket::new(domain, kind_of, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for loses replies under load only: not worth failing for.
    drop(socket.set_recv_buffer_size(RECEIVE_BUFFER));
    let opened = IcmpSocket { socket, kind, v6 };
    match (kind, v6) {
        (Kind::Datagram, false) => opened.option(libc::SOL_IP, libc::IP_RECVERR, &1_u32)?,
        (Kind::Datagram, true) => opened.option(libc::SOL_IPV6, libc::IPV6_RECVERR, &1_u32)?,
        // Filters: a set bit blocks that type. Wanted: echo reply 0, unreachable 3.
        (Kind::Raw, false) => opened.option(SOL_RAW, ICMP_FILTER, &!(1_u32 | 1 << 3))?,
        // Wanted: unreachable 1, echo reply 129 (bit 1 of word 4).
        (Kind::Raw, true) => {
            let mut filter = [u32::MAX; 8];
            filter[0] = !(1 << 1);
            filter[4] = !(1 << 1);
            opened.option(libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
        }
    }
    Ok(opened)
}

const SOL_RAW: libc::c_int = 255;
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;

/// The effective group of this process, which `net.ipv4.ping_group_range` must include.
#[must_use]
pub fn group() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getegid() }
}

impl IcmpSocket {
    fn option<T: Copy>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let size = libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0);
        // SAFETY: the kernel reads `size` bytes of a plain value that lives for the call.
        let done = unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets no echo reply with another identifier than this wake us: other programs ping, too. Only
    /// a raw socket needs it; what it lets through still has to be looked at.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hear_only(&self, id: u16) -> io::Result<()> {
        if self.kind != Kind::Raw {
            return Ok(());
        }
        // An IPv4 raw socket shows the IP header, whose length is in its first byte.
        let (skip, reply) = if self.v6 {
            (libc::BPF_LDX | libc::BPF_IMM, 129)
        } else {
            (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0)
        };
        let step = |code: u32, jt, jf, k| {
            let code = u16::try_from(code).unwrap_or(0);
            libc::sock_filter { code, jt, jf, k }
        };
        let program = [
            step(skip, 0, 0, 0),
            step(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 0),
            // No reply: to the end.
            step(libc::BPF_JMP | libc::BPF_JEQ, 0, 3, reply),
            step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 4),
            step(libc::BPF_JMP | libc::BPF_JEQ, 1, 0, u32::from(id)),
            step(libc::BPF_RET, 0, 0, 0),
            step(libc::BPF_RET, 0, 0, u32::MAX),
        ];
        let length = u16::try_from(program.len()).unwrap_or(0);
        let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
        self.option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Sends one ICMP message.
    ///
    /// # Errors
    /// The kernel's. An error that an earlier message left on the socket is not taken for one of
    /// this message.
    pub fn send(&self, message: &[u8], to: IpAddr) -> io::Result<()> {
        let to = SocketAddr::new(to, 0).into();
        if self.socket.send_to(message, &to).is_ok() {
            return Ok(());
        }
        // The first failure may be somebody else's; it is cleared by being told.
        drop(self.socket.take_error());
        self.socket.send_to(message, &to).map(drop)
    }

    /// Receives one ICMP message; `None` when there is none now. Returns where in the buffer it is.
    ///
    /// # Errors
    /// The kernel's, but not those that belong to a message of the error queue.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<std::ops::Range<usize>>> {
        // Left-over errors of single targets are told once each; more than these in a row are not.
        for _ in 0..16 {
            match (&self.socket).read(buffer) {
                Ok(n) if self.kind == Kind::Raw && !self.v6 => {
                    let header = buffer.first().map_or(0, |b| usize::from(b & 0xf) * 4);
                    return Ok(Some(header.min(n)..n));
                }
                Ok(n) => return Ok(Some(0..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.raw_os_error().is_some_and(is_of_one_target) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The next message of the error queue; what it quotes of our request is put into `buffer`.
    /// `None` when there is none, always so on raw sockets.
    #[must_use]
    pub fn receive_error(&self, buffer: &mut [u8]) -> Option<Unreachable> {
        if self.kind == Kind::Raw {
            return None;
        }
        // SAFETY: all-zero is a valid value of these plain structs.
        let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = [0_u64; 64];
        // SAFETY: as above.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = libc::socklen_t::try_from(mem::size_of_val(&name)).unwrap_or(0);
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        #[allow(clippy::unnecessary_fallible_conversions, clippy::useless_conversion)] // differs by libc
        {
            message.msg_controllen = mem::size_of_val(&control).try_into().unwrap_or(0);
        }
        // SAFETY: name, buffer and control live for the call, and their sizes are the real ones.
        let got = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
        let quoted = usize::try_from(got).ok()?;
        let errno = extended_error(&message)?;
        Some(Unreachable { to: address(&name)?, errno, quoted })
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Errors that a message about one target leaves on the common socket.
fn is_of_one_target(errno: i32) -> bool {
    matches!(
        errno,
        libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ECONNREFUSED
            | libc::EHOSTDOWN
            | libc::ENOPROTOOPT
            | libc::EACCES
            | libc::EPROTO
            | libc::EMSGSIZE
            | libc::EOPNOTSUPP
            | libc::ENONET
    )
}

/// The error number in the control messages of a `recvmsg` from the error queue.
fn extended_error(message: &libc::msghdr) -> Option<i32> {
    // SAFETY: the kernel has filled the control buffer of this message, which is still alive.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !at.is_null() {
        // SAFETY: not null, so it points to a whole header within the control buffer.
        let header = unsafe { &*at };
        let ours = matches!(
            (header.cmsg_level, header.cmsg_type),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        );
        if ours {
            // SAFETY: data of this level and type begin with a sock_extended_err; the read does
            // not need alignment.
            let error: libc::sock_extended_err =
                unsafe { libc::CMSG_DATA(at).cast::<libc::sock_extended_err>().read_unaligned() };
            return i32::try_from(error.ee_errno).ok();
        }
        // SAFETY: `at` is a header of this message.
        at = unsafe { libc::CMSG_NXTHDR(message, at) };
    }
    None
}

fn address(name: &libc::sockaddr_storage) -> Option<IpAddr> {
    let at: *const libc::sockaddr_storage = name;
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this storage holds a sockaddr_in; storage is aligned for all.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: likewise for sockaddr_in6.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(v6.sin6_addr.s6_addr))
        }
        _ => None,
    }
}
