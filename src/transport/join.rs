//! Joining: the one thing that a connection with an unknown key may ask for.
//!
//! A member adds a node in two steps, each a connection of its own with ALPN `quptime-join/1`,
//! because a person has to look at the fingerprint in between:
//!
//! ```text
//! identify   asker -> Identify                                 any key passes, nothing is told
//!            asker <- Introduction { node_id, advertise }
//!
//! ask        asker -> Proof { proof }                          only the confirmed key passes
//!            asker <- Proof { proof }    | Refused
//!            asker -> Offer { .. }                             only after both proofs verified
//!            asker <- Accepted { .. }    | Refused
//! ```
//!
//! The proofs are tied to this TLS connection and both keys (`identity::secret`), so what one end
//! shows is of no use anywhere else. The asker proves first: it chose the other end and a person
//! confirmed it, while anybody can connect to the answerer, who therefore shows a proof only to
//! those who know the secret already. The offer (who the peers are and where) is sent last, to
//! nobody who has not proved the secret.
//!
//! Both steps may be repeated at will: nothing is kept between connections but the count of
//! failures, and a node that already accepted an offer of the same cluster accepts it again. What
//! an offer means, and whether it is taken, is the daemon's to say ([`JoinDesk`]).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::{Connection, Stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tls::{self, Expect, Shown, Tls};
use crate::base::clock::{Clock, Mono};
use crate::base::frame::{self, FrameError};
use crate::base::id::{ClusterId, NodeId};
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::config::{Peer, Secret};
use crate::identity::secret::{self, Role};
use crate::identity::{Fingerprint, cert};

/// One attempt to connect to one address takes at most this.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A step takes at most this, from the first packet to the last answer.
pub const STEP_LIMIT: Duration = Duration::from_secs(10);

/// What the asker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who are you?
    Identify,
    /// I know the secret; show me that you do.
    Proof {
        /// Lower-case hex.
        proof: String,
    },
    /// Be one of us.
    Offer(Box<Offer>),
}

/// What the answerer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Request::Identify`].
    Introduction(Introduction),
    /// To [`Request::Proof`].
    Proof {
        /// Lower-case hex.
        proof: String,
    },
    /// To [`Request::Offer`]: it is one of us now, as soon as it is committed.
    Accepted(Introduction),
    /// To anything.
    Refused(Refused),
}

/// Who a node is and where it wants to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Its id.
    pub node_id: NodeId,
    /// Its address, for the configuration.
    pub advertise: HostPort,
    /// Its program version.
    pub version: String,
}

/// What a member offers to the node that it adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The cluster to become part of.
    pub cluster: ClusterId,
    /// Its config version at this moment.
    pub config_version: u64,
    /// The member that asks; the connection's key is checked to be its.
    pub adder: NodeId,
    /// All peers, the adder among them.
    pub peers: Vec<Peer>,
}

impl Offer {
    /// Leaves certificates out when the whole would not fit into what is read from an untrusted
    /// connection: the keys are enough for trust, and the certificates come with the configuration.
    fn fitted(mut self) -> Offer {
        let size = serde_json::to_vec(&self).map_or(usize::MAX, |bytes| bytes.len());
        // The rest of the allowance is for the handshake and the other messages.
        if size > frame::LARGEST_UNTRUSTED / 2 {
            for peer in &mut self.peers {
                peer.cert_pem.clear();
            }
        }
        self
    }
}

/// Why the answerer does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refused {
    /// The proof is not of this node's cluster secret on this connection.
    WrongSecret,
    /// This node has no cluster secret.
    NoSecret,
    /// Too many failed attempts from this source.
    Slow {
        /// Wait as long.
        seconds: u64,
    },
    /// Another offer is being considered.
    Busy,
    /// The daemon says no: a sentence for the operator, with the remedy.
    Unwilling(String),
    /// The asker did not keep to the protocol.
    Nonsense(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::WrongSecret => {
                f.write_str("its cluster secret is another one (node.yaml or QUPTIME_CLUSTER_SECRET of both)")
            }
            Refused::NoSecret => {
                f.write_str("it has no cluster secret (set cluster_secret in its node.yaml)")
            }
            Refused::Slow { seconds } => {
                write!(f, "too many failed attempts from this address, try again in {seconds} s")
            }
            Refused::Busy => {
                f.write_str("it is being added by somebody else just now, try again in a moment")
            }
            Refused::Unwilling(why) => f.write_str(&text::harmless(&text::shorten(why, 500))),
            Refused::Nonsense(what) => {
                write!(
                    f,
                    "it did not understand ({}); are the versions too far apart?",
                    text::harmless(&text::shorten(what, 200))
                )
            }
        }
    }
}

/// The daemon's part in being added.
pub trait JoinDesk: Send + Sync {
    /// Who this node is. Called on the links' thread: answers at once.
    fn introduce(&self) -> Introduction;

    /// Whether this node becomes part of the offered cluster. The asker has proved the secret and
    /// to have the adder's key. Called on a thread of its own, one call at a time; may take a few
    /// seconds. The same offer, or a newer one of the same cluster, may come again and is then
    /// accepted again.
    ///
    /// # Errors
    /// A sentence for the operator on the other side: why not, and what to do.
    fn consider(&self, offer: Offer) -> Result<(), String>;
}

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
        let socket = connect(to)?;
        let mut socket = Timed { socket, clock, deadline: clock.mono() + STEP_LIMIT };
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

fn connect(to: &HostPort) -> Result<TcpStream, JoinError> {
    let unreachable = |why: String| JoinError::Unreachable(to.clone(), why);
    let addresses: Vec<SocketAddr> = match &to.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, to.port)],
        Host::Name(name) => (name.as_str(), to.port)
            .to_socket_addrs()
            .map_err(|e| unreachable(format!("resolving {name}: {e}")))?
            .take(4)
            .collect(),
    };
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(socket) => {
                // Only latency is lost where it cannot be set.
                drop(socket.set_nodelay(true));
                return Ok(socket);
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                why = format!("no answer from {address} within {} s", CONNECT_LIMIT.as_secs());
            }
            Err(e) => why = format!("{address}: {e}"),
        }
    }
    Err(unreachable(why))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        format!("no message of this version: {}", text::harmless(&text::shorten(&e.to_string(), 200)))
    })
}

/// What the links' thread is to do for a stranger who asks to join.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Send this and wait for the next request.
    Go(Reply),
    /// Send this and close.
    Last(Reply),
    /// As [`Step::Last`], and the source is slowed down.
    Failed(Refused),
    /// Have the offer considered, then [`Step::Last`].
    Consider(Box<Offer>),
}

/// The answerer's side of one connection; no I/O.
pub(super) struct Answerer {
    proved: bool,
}

/// What the answerer knows about the connection.
pub(super) struct Facts<'a> {
    /// The session, for the proofs.
    pub session: &'a secret::Session,
    /// This node's secret, if it has one.
    pub secret: Option<&'a Secret>,
    /// How long the source has to wait.
    pub pause: Duration,
}

impl Answerer {
    pub(super) fn new() -> Answerer {
        Answerer { proved: false }
    }

    /// The next request.
    pub(super) fn hear(&mut self, body: &[u8], facts: &Facts<'_>, desk: &dyn JoinDesk) -> Step {
        let request = match decode(body) {
            Ok(request) => request,
            Err(why) => return Step::Failed(Refused::Nonsense(why)),
        };
        match request {
            Request::Identify if !self.proved => Step::Last(Reply::Introduction(desk.introduce())),
            Request::Proof { proof } if !self.proved => self.judge(&proof, facts),
            Request::Offer(offer) if self.proved => {
                let adder = offer.peers.iter().find(|p| p.node_id == offer.adder);
                if adder.is_some_and(|p| p.fingerprint == facts.session.asker) {
                    Step::Consider(offer)
                } else {
                    Step::Failed(Refused::Nonsense("the adder's key is not the connection's".into()))
                }
            }
            _ => Step::Failed(Refused::Nonsense("a request out of order".into())),
        }
    }

    fn judge(&mut self, proof: &str, facts: &Facts<'_>) -> Step {
        let Some(secret) = facts.secret.filter(|s| !s.reveal().trim().is_empty()) else {
            return Step::Last(Reply::Refused(Refused::NoSecret));
        };
        if !facts.pause.is_zero() {
            let seconds = u64::try_from(facts.pause.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            return Step::Last(Reply::Refused(Refused::Slow { seconds }));
        }
        if !secret::verify(secret.reveal(), Role::Asker, facts.session, proof) {
            return Step::Failed(Refused::WrongSecret);
        }
        self.proved = true;
        Step::Go(Reply::Proof { proof: secret::prove(secret.reveal(), Role::Answerer, facts.session) })
    }
}
