//! What every phase of a probe works with: its failures, its sockets, and the context that the
//! engine lends it for one step.
//!
//! Model: a phase opens sockets through [`Ctx`], which counts them and has them watched under the
//! probe's key; a socket that is dropped is closed, uncounted and unwatched. A phase never waits.

use std::fmt::Display;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::base::clock::Mono;
use crate::base::text;
use crate::sys::poll::{Poller, descriptor_limit};
use crate::sys::{errno, random};
use crate::verdict::{Outcome, Stage};

use super::dns::files::Files;
use super::workers::Workers;

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// The whole sentence.
    pub detail: String,
    /// This node had no descriptor for it: worth another try rather than a report.
    pub starved: bool,
}

impl Failure {
    /// `stage: cause`.
    pub fn at(stage: Stage, cause: impl Display) -> Failure {
        Failure::sentence(stage, format!("{stage}: {cause}"))
    }

    /// The whole sentence. What a target answered may be in it, so nothing in it is obeyed by a terminal.
    pub fn sentence(stage: Stage, detail: String) -> Failure {
        Failure { stage, detail: text::harmless(&detail), starved: false }
    }

    /// No descriptor was left.
    #[must_use]
    pub fn starved() -> Failure {
        let cause = format!("out of file descriptors (limit {})", descriptor_limit());
        Failure { starved: true, ..Failure::at(Stage::Local, cause) }
    }

    /// As it is reported: harmless and short, whatever the target said.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        Outcome::Failed { stage: self.stage, detail: text::shorten(&text::harmless(&self.detail), 300) }
    }
}

/// An error of the operating system about making or using a connection, in few words. What is
/// this node's own trouble is told apart.
pub fn connection_failure(stage: Stage, error: &io::Error) -> Failure {
    let cause = match error.raw_os_error() {
        Some(errno::EMFILE | errno::ENFILE) => return Failure::starved(),
        Some(errno::EADDRNOTAVAIL) => return Failure::at(Stage::Local, "no free local port"),
        Some(errno::ENOBUFS | errno::ENOMEM) => {
            return Failure::at(Stage::Local, "out of memory for sockets");
        }
        Some(errno::ECONNREFUSED) => "connection refused",
        Some(errno::ECONNRESET | errno::EPIPE) => "connection reset",
        Some(errno::ECONNABORTED) => "connection aborted",
        Some(errno::EHOSTUNREACH | errno::EHOSTDOWN) => "no route to host",
        Some(errno::ENETUNREACH | errno::ENETDOWN | errno::EAFNOSUPPORT) => "network unreachable",
        Some(errno::ETIMEDOUT) => "connection timed out",
        Some(errno::EACCES | errno::EPERM) => "forbidden by a firewall or route of this host",
        Some(errno::EINVAL) => "not an address to connect to",
        _ => return Failure::at(stage, error),
    };
    Failure::at(stage, cause)
}

/// Bytes that nobody can guess, from the kernel: the crypto provider's first draw would hold up the
/// start.
///
/// # Errors
/// The kernel has none, which is this node's trouble.
pub fn unguessable<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(16) {
        let bits = random::bits()
            .map_err(|_| Failure::at(Stage::Local, "the system gives no random bytes"))?
            .to_ne_bytes();
        part.copy_from_slice(&bits[..part.len()]);
    }
    Ok(bytes)
}

/// How many sockets probes have open.
#[derive(Clone, Debug, Default)]
pub struct OpenCount(Arc<AtomicUsize>);

impl OpenCount {
    /// Now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket of a probe: counted, non-blocking, watched once asked for.
#[derive(Debug)]
pub struct Sock {
    /// The socket itself.
    pub socket: Socket,
    count: OpenCount,
}

impl Drop for Sock {
    fn drop(&mut self) {
        self.count.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket of the probe on which something can be done.
#[derive(Clone, Copy, Debug)]
pub struct Stirred {
    /// The socket's number.
    pub sub: u16,
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write, which also ends the making of a connection.
    pub writable: bool,
}

/// What the engine lends to a probe for one step.
pub struct Ctx<'a> {
    /// The time of this step.
    pub now: Mono,
    /// The probe must have an outcome by then.
    pub deadline: Mono,
    /// Who is told about readiness; the low 16 bits are free for the socket.
    pub key: u64,
    /// The last socket number given out in this probe.
    pub last_sub: &'a mut u16,
    /// Where sockets are watched.
    pub poller: &'a Poller,
    /// Sockets open in all probes.
    pub open: &'a OpenCount,
    /// Room to read into, shared by all probes.
    pub scratch: &'a mut [u8],
    /// Where handshakes are computed.
    pub workers: &'a mut Workers,
    /// `/etc/resolv.conf` and `/etc/hosts`.
    pub files: &'a mut Files,
}

impl Ctx<'_> {
    /// A new non-blocking socket.
    ///
    /// # Errors
    /// A starved failure when there is no descriptor; otherwise the kernel's refusal.
    pub fn socket(&self, stage: Stage, domain: Domain, kind: Type) -> Result<Sock, Failure> {
        let socket =
            Socket::new(domain, kind.nonblocking(), None).map_err(|e| connection_failure(stage, &e))?;
        self.open.0.fetch_add(1, Ordering::Relaxed);
        Ok(Sock { socket, count: self.open.clone() })
    }

    /// Has a socket watched; returns the number under which its readiness is told.
    ///
    /// # Errors
    /// A failure of this node.
    pub fn watch(&mut self, sock: &Sock) -> Result<u16, Failure> {
        *self.last_sub = self.last_sub.wrapping_add(1);
        let token = self.key | u64::from(*self.last_sub);
        self.poller
            .watch(sock.socket.as_fd(), token)
            .map_err(|e| Failure::at(Stage::Local, format!("cannot watch a socket: {e}")))?;
        Ok(*self.last_sub)
    }

    /// The time until the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.since(self.now)
    }
}
