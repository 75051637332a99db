//! The listening socket, and strangers: accepted connections until they have proved a known key.
//!
//! A stranger passes through `Stage`s; what it may cost is `admit`'s to say. Nothing of it is
//! kept but its place: no message of it is parsed before its key is known, unless it came to join.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use rustls::server::{Accepted, Acceptor};
use socket2::{Domain, Protocol, Socket, Type};

use super::admit::{Progress, Source};
use super::answerer::Answerer;
use super::run::Leaving;
use super::stream::{Lost, Wire};
use super::tls::{self, Tls};
use crate::base::clock::Mono;
use crate::base::frame;
use crate::sys::net;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 256;

/// Why this node cannot listen.
#[derive(Debug)]
pub struct BindError {
    at: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {at}: port {} is in use (by another `qu serve`? choose one with bind_port in node.yaml)",
                at.port()
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "cannot listen on {at}: this host has no such address (change bind_addr in node.yaml)"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {at}: not permitted (ports below 1024 need privileges; change bind_port in node.yaml)"
            ),
            _ => write!(f, "cannot listen on {at}: {}", self.source),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Listens on an address, or on every one of both families when there is none. `::` means both
/// families too; where the host has no IPv6, no address means every IPv4 one.
///
/// # Errors
/// [`BindError`]: one line with the remedy.
pub fn bind(address: Option<IpAddr>, port: u16) -> Result<TcpListener, BindError> {
    if let Some(ip) = address {
        return bind_one(SocketAddr::new(ip, port));
    }
    bind_one(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).or_else(|e| {
        if net::is_no_family(&e.source) {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        } else {
            Err(e)
        }
    })
}

fn bind_one(at: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            socket.set_only_v6(!at.ip().is_unspecified())?;
        }
        // A restart must not wait for old connections to be forgotten by the kernel.
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    open().map_err(|source| BindError { at, source })
}

/// What an attempt to accept came to.
pub(super) enum Accept {
    /// A connection that does not block, with where it comes from.
    Got(TcpStream, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// This one is gone already; there may be more.
    Gone,
    /// No descriptor or memory is left: pause.
    Exhausted(io::Error),
}

pub(super) fn accept(listener: &TcpListener) -> Accept {
    match listener.accept() {
        Ok((socket, from)) => match socket.set_nonblocking(true) {
            Ok(()) => Accept::Got(socket, from),
            Err(_) => Accept::Gone,
        },
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Accept::Nobody,
        Err(e) if net::is_exhausted(&e) => Accept::Exhausted(e),
        // The connection's own trouble, which accept(2) passes on.
        Err(_) => Accept::Gone,
    }
}

/// How far a stranger has come.
pub(super) enum Stage {
    /// The greeting of TLS is being read: parsing, no cryptography.
    Greeting(TcpStream, Box<Acceptor>),
    /// It is there; the costly step waits for its turn.
    Asking(TcpStream, Box<Accepted>),
    /// Keys are being proved.
    Shaking(Wire),
    /// It came to join.
    Joining(Wire, Answerer),
    /// Its offer is being considered elsewhere.
    Considered(Wire),
    /// The last word is on its way out.
    Leaving(Box<Leaving>),
    /// Between two stages, and after a fault.
    Over,
}

/// A connection that has not proved a known key.
pub(super) struct Stranger {
    pub(super) from: SocketAddr,
    pub(super) source: Source,
    pub(super) since: Mono,
    /// Raw bytes before there was a [`Wire`].
    pub(super) read: u64,
    pub(super) stage: Stage,
}

impl Stranger {
    pub(super) fn new(socket: TcpStream, from: SocketAddr, now: Mono) -> Stranger {
        Stranger {
            from,
            source: Source::from(from.ip()),
            since: now,
            read: 0,
            stage: Stage::Greeting(socket, Box::default()),
        }
    }

    /// Raw bytes that it has sent.
    pub(super) fn total(&self) -> u64 {
        let wire = match &self.stage {
            Stage::Shaking(w) | Stage::Joining(w, _) | Stage::Considered(w) => w.bytes_in,
            Stage::Leaving(leaving) => leaving.wire.bytes_in,
            _ => 0,
        };
        self.read + wire
    }

    /// Reads the greeting; `Some` when it has come further.
    pub(super) fn greet(&mut self) -> Result<Option<Progress>, Lost> {
        let Stage::Greeting(socket, acceptor) = &mut self.stage else { return Ok(None) };
        match acceptor.read_tls(socket) {
            Ok(0) => return Err(Lost::Closed),
            Ok(n) => self.read += n as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(Lost::Io(e)),
        }
        match acceptor.accept() {
            Ok(None) => Ok(None),
            Err((e, mut alert)) => {
                drop(alert.write(socket));
                Err(Lost::Tls(e))
            }
            Ok(Some(accepted)) => {
                let Stage::Greeting(socket, _) = std::mem::replace(&mut self.stage, Stage::Over) else {
                    return Ok(None);
                };
                self.stage = Stage::Asking(socket, Box::new(accepted));
                Ok(Some(Progress::Asking))
            }
        }
    }

    /// The costly step: signature and key exchange.
    pub(super) fn shake(&mut self, tls: &Tls, now: Mono) -> Result<(), Lost> {
        let Stage::Asking(mut socket, accepted) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(());
        };
        match accepted.into_connection(tls.server()) {
            Err((e, mut alert)) => {
                drop(alert.write(&mut socket));
                Err(Lost::Tls(e))
            }
            Ok(connection) => {
                let mut wire = Wire::new(socket, connection.into(), frame::LARGEST_UNTRUSTED);
                wire.flush(now)?;
                self.stage = Stage::Shaking(wire);
                Ok(())
            }
        }
    }
}

/// What a connection is for, after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Peers,
    Join,
    Unknown,
}

pub(super) fn purpose(wire: &Wire) -> Purpose {
    match wire.tls().alpn_protocol() {
        Some(tls::PEERS) => Purpose::Peers,
        Some(tls::JOIN) => Purpose::Join,
        _ => Purpose::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_and_a_foreign_address_are_one_line_with_the_remedy() {
        let first = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = first.local_addr().unwrap().port();
        for (address, says) in [
            (Some(Ipv4Addr::LOCALHOST.into()), "in use"),
            (None, "in use"),
            (Some("192.0.2.1".parse().unwrap()), "no such address"),
        ] {
            let error = bind(address, port).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("node.yaml"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn no_address_means_both_families() {
        let listener = bind(None, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        if listener.local_addr().unwrap().is_ipv6() {
            assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok());
        }
    }
}
