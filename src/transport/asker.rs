//! The asker's side of joining: blocking calls for the daemon's own threads. The protocol is told
//! in `join`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::{Connection, Stream};

use super::join::{Introduction, Offer, Refused, Reply, Request, STEP_LIMIT, decode};
use super::tls::{self, Expect, Shown, Tls};
use crate::base::clock::{Clock, Mono};
use crate::base::frame::{self, FrameError};
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::config::Secret;
use crate::identity::secret::{self, Role};
use crate::identity::{Fingerprint, cert};

/// One attempt to connect to one address takes at most this.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// So many addresses of a name are tried.
const ADDRESSES: usize = 4;

/// What the first step found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// What the node says about itself: not yet believed.
    pub introduction: Introduction,
    /// The key that it has proved to have: what the operator confirms.
    pub fingerprint: Fingerprint,
    /// Its certificate.
    pub cert_pem: String,
}

/// Why a step of an addition did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// No connection.
    Unreachable(HostPort, String),
    /// A connection, but no node at its other end, or it does not answer in time.
    NoAnswer(HostPort, String),
    /// The key is not the one that was confirmed. Nothing was sent.
    WrongKey {
        /// Where.
        at: HostPort,
        /// The one that was confirmed.
        confirmed: Fingerprint,
        /// The one that was shown.
        shown: Fingerprint,
    },
    /// This node itself answered.
    Myself(HostPort),
    /// It took our proof and could not give one of its own: it does not know the secret.
    Impostor(HostPort),
    /// It says no.
    Refused(HostPort, Refused),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Unreachable(at, why) => {
                write!(f, "{at} cannot be reached: {why} (does `qu serve` run there, is the port open?)")
            }
            JoinError::NoAnswer(at, why) => write!(f, "{at} does not answer as a node does: {why}"),
            JoinError::WrongKey { at, confirmed, shown } => write!(
                f,
                "{at} shows the key {shown}, not {confirmed}: nothing was sent; \
                 somebody may be in between, or the node was initialised anew"
            ),
            JoinError::Myself(at) => write!(f, "{at} is this node itself"),
            JoinError::Impostor(at) => {
                write!(
                    f,
                    "{at} could not prove the cluster secret: it was told nothing; is it the right host?"
                )
            }
            JoinError::Refused(at, why) => write!(f, "{at} refuses to be added: {why}"),
        }
    }
}

impl std::error::Error for JoinError {}

/// The first step: who is there? Blocks for [`STEP_LIMIT`] at most, and for the name's resolution.
///
/// # Errors
/// [`JoinError`].
pub fn identify(tls: &Tls, clock: &dyn Clock, to: &HostPort) -> Result<Identified, JoinError> {
    let mut call = Call::connect(tls, clock, to, Expect::AskTheOperator)?;
    let introduction = match call.exchange(&Request::Identify)? {
        Reply::Introduction(introduction) => introduction,
        other => return Err(call.unexpected(other)),
    };
    Ok(Identified { introduction, fingerprint: call.key, cert_pem: call.cert_pem })
}

/// The second step: prove the secret to the node with the confirmed key, have it proved, make the
/// offer. Blocks for [`STEP_LIMIT`] at most, and for the name's resolution.
///
/// # Errors
/// [`JoinError`]. After any error the node may or may not have accepted: ask again.
pub fn ask(
    tls: &Tls,
    clock: &dyn Clock,
    to: &HostPort,
    confirmed: Fingerprint,
    secret: &Secret,
    offer: Offer,
) -> Result<Identified, JoinError> {
    let mut call = Call::connect(tls, clock, to, Expect::Key(confirmed))?;
    let lost = || JoinError::NoAnswer(to.clone(), "the handshake was not completed".into());
    let session = tls::session(&call.tls, tls.fingerprint()).ok_or_else(lost)?;
    let proof = secret::prove(secret.reveal(), Role::Asker, &session);
    match call.exchange(&Request::Proof { proof })? {
        Reply::Proof { proof } if secret::verify(secret.reveal(), Role::Answerer, &session, &proof) => {}
        Reply::Proof { .. } => return Err(JoinError::Impostor(to.clone())),
        other => return Err(call.unexpected(other)),
    }
    match call.exchange(&Request::Offer(Box::new(offer.fitted())))? {
        Reply::Accepted(introduction) => {
            Ok(Identified { introduction, fingerprint: call.key, cert_pem: call.cert_pem })
        }
        other => Err(call.unexpected(other)),
    }
}

/// A socket whose every call ends by one deadline.
struct Timed<'a> {
    socket: TcpStream,
    clock: &'a dyn Clock,
    deadline: Mono,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.since(self.clock.mono());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(from)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// One connection of the asker.
struct Call<'a> {
    to: &'a HostPort,
    socket: Timed<'a>,
    tls: Connection,
    key: Fingerprint,
    cert_pem: String,
}

impl<'a> Call<'a> {
    fn connect(
        tls: &Tls,
        clock: &'a dyn Clock,
        to: &'a HostPort,
        expect: Expect,
    ) -> Result<Call<'a>, JoinError> {
        let no_answer = |why: String| JoinError::NoAnswer(to.clone(), why);
        let addresses = addresses(to)?;
        let deadline = clock.mono() + STEP_LIMIT;
        let socket = connect(to, &addresses, clock, deadline)?;
        let mut socket = Timed { socket, clock, deadline };
        let (mut connection, shown) = tls.dial(expect, tls::JOIN).map_err(|e| no_answer(e.to_string()))?;
        while connection.is_handshaking() {
            if let Err(e) = connection.complete_io(&mut socket) {
                return Err(handshake_error(to, expect, &shown, &e));
            }
        }
        let (key, der) =
            tls::other_end(&connection).ok_or_else(|| no_answer("it showed no certificate".into()))?;
        if key == tls.fingerprint() {
            return Err(JoinError::Myself(to.clone()));
        }
        if connection.alpn_protocol() != Some(tls::JOIN) {
            return Err(no_answer("it does not know how to join".into()));
        }
        Ok(Call { to, socket, tls: connection, key, cert_pem: cert::to_pem(&der) })
    }

    fn exchange(&mut self, request: &Request) -> Result<Reply, JoinError> {
        let to = self.to;
        let failed = |why: String| JoinError::NoAnswer(to.clone(), why);
        let body = serde_json::to_vec(request).map_err(|e| failed(e.to_string()))?;
        let Connection::Client(client) = &mut self.tls else {
            return Err(failed("the connection is not one of a client".into()));
        };
        let mut stream = Stream::new(client, &mut self.socket);
        frame::write(&mut stream, &body).map_err(|e| failed(describe(&e)))?;
        let answer = frame::read(&mut stream, frame::LARGEST_UNTRUSTED).map_err(|e| {
            failed(match &e {
                FrameError::Io(io) => describe(io),
                other => other.to_string(),
            })
        })?;
        decode(&answer).map_err(failed)
    }

    fn unexpected(&self, reply: Reply) -> JoinError {
        match reply {
            Reply::Refused(why) => JoinError::Refused(self.to.clone(), why),
            _ => JoinError::NoAnswer(self.to.clone(), "it answered something else than was asked".into()),
        }
    }
}

fn handshake_error(to: &HostPort, expect: Expect, shown: &Shown, e: &io::Error) -> JoinError {
    match (expect, shown.key()) {
        (Expect::Key(confirmed), Some(shown)) if confirmed != shown => {
            JoinError::WrongKey { at: to.clone(), confirmed, shown }
        }
        _ => JoinError::NoAnswer(to.clone(), describe(e)),
    }
}

fn describe(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", STEP_LIMIT.as_secs())
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it closed the connection".to_owned()
        }
        _ => text::harmless(&text::shorten(&e.to_string(), 200)),
    }
}

fn addresses(to: &HostPort) -> Result<Vec<SocketAddr>, JoinError> {
    match &to.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, to.port)]),
        Host::Name(name) => match (name.as_str(), to.port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.take(ADDRESSES).collect()),
            Err(e) => Err(JoinError::Unreachable(to.clone(), format!("resolving {name}: {e}"))),
        },
    }
}

fn connect(
    to: &HostPort,
    addresses: &[SocketAddr],
    clock: &dyn Clock,
    deadline: Mono,
) -> Result<TcpStream, JoinError> {
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let limit = deadline.since(clock.mono()).min(CONNECT_LIMIT);
        if limit.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, limit) {
            Ok(socket) => {
                // Only latency is lost where it cannot be set.
                drop(socket.set_nodelay(true));
                return Ok(socket);
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                why = format!("no answer from {address} within {} s", CONNECT_LIMIT.as_secs());
            }
            Err(e) => why = in_words(address, &e),
        }
    }
    Err(JoinError::Unreachable(to.clone(), why))
}

fn in_words(address: &SocketAddr, e: &io::Error) -> String {
    format!("{address}: {}", super::link::in_words(e))
}
