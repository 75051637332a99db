//! The link to one peer: the connection that this node dials, and the one that the peer dials.
//!
//! Both may be up; what is sent goes out on the dialled one, and on the accepted one while that is
//! all there is, so a peer that can be reached in one direction only still works. Both are read.
//! A newer connection of the same kind takes the place of the older one as soon as its key is
//! proved; the older one is closed unread, so nothing of it arrives after the newer one's.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::admit::Source;
use super::frames::BadLength;
use super::links::Target;
use super::message::{Bye, Misbehaviour};
use super::stats::PeerStats;
use super::stream::{Lost, Wire};
use super::tls::Shown;
use crate::base::clock::Mono;
use crate::base::id::ClusterId;
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::identity::Fingerprint;
use crate::sys::net;

/// A connection that takes or acknowledges nothing for this long is given up: shorter than
/// dead-after, so that the other connection can take over before the peer counts as dead.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(3);
/// How long one address is tried.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long keys may take to be proved.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How long a proved peer may take to say hello.
pub(super) const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// The longest pause before the next attempt.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The pause after a breach of the rules, and after a hello of another cluster.
pub(super) const PENALTY: Duration = Duration::from_secs(5);
/// Addresses of a name are asked for again after this.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);
/// How long the resolver is waited for while older addresses are known.
pub(super) const RESOLVER_PATIENCE: Duration = Duration::from_secs(1);
/// While a node is being added, those who have not heard of it yet send it away; it is no trouble
/// for so long after this node learned of the peer.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// Trouble with a peer is logged when it changes, and not more often than this.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// So many addresses of a name are tried.
pub(super) const ADDRESSES: usize = 8;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The name has no address, or the resolver does not answer.
    Name(String),
    /// The address does not take connections: refused, unreachable, no answer.
    Connect(SocketAddr, String),
    /// Somebody else's key is shown at that address.
    WrongKey {
        /// Where.
        at: SocketAddr,
        /// The peer's.
        expected: Fingerprint,
        /// What was shown.
        shown: Fingerprint,
    },
    /// This node itself answers at the peer's address.
    Myself(SocketAddr),
    /// The handshake failed.
    Handshake(SocketAddr, String),
    /// It closed without a word.
    Closed,
    /// The connection failed.
    Lost(String),
    /// It took nothing for too long.
    Stalled,
    /// It did not say hello in time.
    NoHello,
    /// It said why.
    Said(Bye),
    /// It is of another cluster.
    OtherCluster(ClusterId),
    /// It broke the rules.
    Misbehaved(Misbehaviour),
    /// It is no peer any more, or has another key.
    Removed,
    /// This node's view of the cluster changed.
    Anew,
    /// Out of descriptors, memory or threads here.
    Local(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Name(why) => f.write_str(why),
            Why::Connect(at, why) => write!(f, "connect {at}: {why}"),
            Why::WrongKey { at, expected, shown } => {
                write!(f, "{at} shows the key {shown}, not {expected}: another node, or somebody in between")
            }
            Why::Myself(at) => {
                write!(f, "{at} is this node itself: correct the peer's address (qu node edit)")
            }
            Why::Handshake(at, why) => write!(f, "handshake with {at}: {why}"),
            Why::Closed => f.write_str("it closed the connection"),
            Why::Lost(why) => write!(f, "connection lost: {why}"),
            Why::Stalled => write!(f, "it took nothing for {} s", STALL_LIMIT.as_secs()),
            Why::NoHello => write!(f, "it did not say hello within {} s", HELLO_LIMIT.as_secs()),
            Why::Said(bye) => write!(f, "{bye}"),
            Why::OtherCluster(theirs) => write!(f, "it is of another cluster ({theirs})"),
            Why::Misbehaved(what) => write!(f, "it {what}"),
            Why::Removed => f.write_str("it was removed from the configuration"),
            Why::Anew => f.write_str("this node's view of the cluster changed"),
            Why::Local(why) => f.write_str(why),
        }
    }
}

impl Why {
    /// Why a proved connection ended; a breach of the rules is told apart.
    pub(super) fn of(lost: Lost) -> Why {
        match lost {
            Lost::Closed => Why::Closed,
            Lost::Io(e) => Why::Lost(e.to_string()),
            Lost::Length(BadLength { announced, bound }) => {
                Why::Misbehaved(Misbehaviour::Length { announced, bound })
            }
            Lost::Tls(e @ rustls::Error::AlertReceived(_)) => Why::Lost(e.to_string()),
            Lost::Tls(e) => Why::Misbehaved(Misbehaviour::Tls(e.to_string())),
        }
    }
}

/// Which end dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Dialled,
    Accepted,
}

/// A connection whose key is the peer's.
pub(super) struct Conn {
    pub(super) wire: Wire,
    pub(super) remote: SocketAddr,
    pub(super) generation: u64,
    pub(super) since: Mono,
    /// The peer has said hello, of this cluster.
    pub(super) greeted: bool,
    /// Of the wire's counters, what is in the statistics already.
    counted: (u64, u64),
}

impl Conn {
    pub(super) fn new(wire: Wire, remote: SocketAddr, generation: u64, since: Mono) -> Conn {
        Conn { wire, remote, generation, since, greeted: false, counted: (0, 0) }
    }
}

/// How far dialling has come.
pub(super) enum Dial {
    /// Nothing under way.
    Idle,
    /// TCP.
    Connecting { socket: TcpStream, to: SocketAddr, since: Mono },
    /// TLS.
    Shaking { wire: Box<Wire>, shown: Arc<Shown>, to: SocketAddr, since: Mono },
}

/// How trouble is told to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was.
    No,
    /// It will pass.
    Quietly,
    /// It is news.
    Aloud,
}

/// Everything about one peer.
pub(super) struct Link {
    pub(super) target: Target,
    pub(super) dial: Dial,
    pub(super) dialled: Option<Conn>,
    pub(super) accepted: Option<Conn>,
    /// `Up` was told.
    pub(super) up: bool,
    /// No attempt before this.
    pub(super) not_before: Mono,
    /// No connection at all before this.
    pub(super) penalty: Mono,
    addresses: Vec<SocketAddr>,
    asked_at: Option<Mono>,
    answered_at: Option<Mono>,
    /// Which address is next, and how many of this round were tried.
    turn: usize,
    tried: usize,
    /// Where its last accepted connection came from.
    pub(super) came_from: Option<Source>,
    /// When this node learned of the peer.
    made: Mono,
    /// The last trouble was one that passes by itself, and was not told.
    early: bool,
    /// When trouble was last logged.
    pub(super) logged_at: Option<Mono>,
    pub(super) stats: PeerStats,
    pub(super) dirty: bool,
}

impl Link {
    pub(super) fn new(target: Target, now: Mono) -> Link {
        let stats = PeerStats::new(target.node, target.address.clone());
        let mut link = Link {
            target,
            dial: Dial::Idle,
            dialled: None,
            accepted: None,
            up: false,
            not_before: now,
            penalty: Mono(0),
            addresses: Vec::new(),
            asked_at: None,
            answered_at: None,
            turn: 0,
            tried: 0,
            came_from: None,
            made: now,
            early: false,
            logged_at: None,
            stats,
            dirty: true,
        };
        link.set_literal();
        link
    }

    fn set_literal(&mut self) {
        self.addresses = match &self.target.address.host {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, self.target.address.port)],
            Host::Name(_) => Vec::new(),
        };
    }

    /// Another address from now on; an attempt under way is given up.
    pub(super) fn move_to(&mut self, address: HostPort, now: Mono) {
        self.target.address = address.clone();
        self.stats.address = address;
        self.dial = Dial::Idle;
        self.not_before = now;
        (self.asked_at, self.answered_at, self.turn, self.tried) = (None, None, 0, 0);
        self.set_literal();
        self.dirty = true;
    }

    pub(super) fn conn(&mut self, side: Side) -> &mut Option<Conn> {
        match side {
            Side::Dialled => &mut self.dialled,
            Side::Accepted => &mut self.accepted,
        }
    }

    pub(super) fn conns(&self) -> impl Iterator<Item = (Side, &Conn)> {
        let both = [(Side::Dialled, &self.dialled), (Side::Accepted, &self.accepted)];
        both.into_iter().filter_map(|(side, conn)| Some((side, conn.as_ref()?)))
    }

    /// The connection to send on.
    pub(super) fn way_out(&mut self) -> Option<(Side, &mut Conn)> {
        let dialled = self.dialled.as_mut().filter(|c| c.greeted).map(|c| (Side::Dialled, c));
        dialled.or_else(|| self.accepted.as_mut().filter(|c| c.greeted).map(|c| (Side::Accepted, c)))
    }

    /// When something has to be done about it: an attempt begun or given up, a connection ended.
    pub(super) fn deadline(&self) -> Mono {
        let dial = match &self.dial {
            Dial::Idle if self.dialled.is_some() => Mono::FAR,
            Dial::Idle => self.not_before.max(self.penalty),
            Dial::Connecting { since, .. } => *since + CONNECT_LIMIT,
            Dial::Shaking { since, .. } => *since + HANDSHAKE_LIMIT,
        };
        let conns = self.conns().map(|(_, conn)| {
            let hello = if conn.greeted { Mono::FAR } else { conn.since + HELLO_LIMIT };
            conn.wire.stuck_since.map_or(hello, |since| hello.min(since + STALL_LIMIT))
        });
        conns.fold(dial, Mono::min)
    }

    /// Whether the name should be resolved now; it counts as asked then.
    pub(super) fn wants_addresses(&mut self, now: Mono) -> bool {
        let named = matches!(self.target.address.host, Host::Name(_));
        let fresh = self.answered_at.is_some_and(|at| now.since(at) < ADDRESSES_FRESH);
        let wants = named && !fresh && self.asked_at.is_none();
        if wants {
            self.asked_at = Some(now);
        }
        wants
    }

    /// The resolver has answered.
    pub(super) fn resolved(&mut self, now: Mono, answer: Result<Vec<SocketAddr>, String>) -> Option<Why> {
        self.asked_at = None;
        self.answered_at = Some(now);
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                if self.addresses != addresses {
                    self.addresses = addresses;
                    (self.turn, self.tried) = (0, 0);
                }
                None
            }
            // Older addresses are better than none.
            Ok(_) => Some(Why::Name(format!("{} has no address", self.target.address.host))),
            Err(why) => Some(Why::Name(format!("resolving {}: {why}", self.target.address.host))),
        }
    }

    /// Since when the resolver is being waited for, with no need to wait for ever.
    pub(super) fn waits_for_resolver(&self, now: Mono) -> Option<Mono> {
        let until = self.asked_at? + RESOLVER_PATIENCE;
        (self.addresses.is_empty() || now < until).then_some(until)
    }

    /// The address to try now.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.addresses.get(self.turn % self.addresses.len().max(1)).copied()
    }

    /// An attempt failed: the next address at once, after the last one a pause.
    pub(super) fn attempt_failed(&mut self, now: Mono, pause: Duration) {
        self.dial = Dial::Idle;
        self.turn = self.turn.wrapping_add(1);
        self.tried += 1;
        self.not_before = now;
        if self.tried >= self.addresses.len() {
            self.tried = 0;
            self.not_before = now + pause;
        }
    }

    /// An attempt succeeded.
    pub(super) fn attempt_worked(&mut self) {
        self.dial = Dial::Idle;
        self.tried = 0;
    }

    /// How this trouble is told; `text` is what it says.
    pub(super) fn told(&mut self, why: &Why, text: &str, now: Mono) -> Told {
        let early = matches!(why, Why::Said(Bye::Untrusted)) && now.since(self.made) < INTRODUCTION;
        let was_early = std::mem::replace(&mut self.early, early);
        if early {
            return Told::Quietly;
        }
        let other = was_early || self.stats.trouble.as_deref() != Some(text);
        let news = other && self.logged_at.is_none_or(|at| now.since(at) >= LOG_PAUSE);
        if news {
            self.logged_at = Some(now);
        }
        if news { Told::Aloud } else { Told::No }
    }

    /// Where the peer may come from, for its reserved places.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        let mut all: Vec<Source> = self.addresses.iter().map(|a| Source::from(a.ip())).collect();
        all.extend(self.came_from);
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Brings the statistics up to date.
    pub(super) fn count(&mut self) {
        let stats = &mut self.stats;
        for conn in [&mut self.dialled, &mut self.accepted].into_iter().flatten() {
            let now = (conn.wire.bytes_in, conn.wire.bytes_out);
            stats.bytes_in += now.0 - conn.counted.0;
            stats.bytes_out += now.1 - conn.counted.1;
            conn.counted = now;
        }
        let up = |conn: &Option<Conn>| conn.as_ref().filter(|c| c.greeted).map(|c| c.remote);
        stats.dialled = up(&self.dialled);
        stats.accepted = up(&self.accepted);
    }
}

/// Begins to connect.
pub(super) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(e) if net::is_in_progress(&e) => {}
        Err(e) => return Err(e),
    }
    Ok(socket.into())
}

/// Settings of a socket between peers: no waiting for more to send, dead ends noticed.
pub(super) fn tune(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(STALL_LIMIT))
}

/// Why TCP failed, in few words.
pub(super) fn in_words(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => text::harmless(&text::shorten(&e.to_string(), 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::NodeId;

    #[test]
    fn a_node_that_is_not_known_yet_is_told_aloud_only_when_that_does_not_pass() {
        let at = |seconds: u64| Mono(1_000_000_000_000) + Duration::from_secs(seconds);
        let target = Target {
            node: NodeId::from_random(1),
            address: "127.0.0.1:9901".parse().unwrap(),
            key: Fingerprint([1; 32]),
        };
        let mut link = Link::new(target, at(0));
        let mut tell = |why: Why, now| {
            let text = why.to_string();
            let told = link.told(&why, &text, now);
            link.stats.trouble = Some(text);
            told
        };
        let unknown = || Why::Said(Bye::Untrusted);
        assert_eq!(tell(unknown(), at(0)), Told::Quietly);
        assert_eq!(tell(unknown(), at(9)), Told::Quietly);
        // It stays so: the same words are news now, once.
        assert_eq!(tell(unknown(), at(10)), Told::Aloud);
        assert_eq!(tell(unknown(), at(11)), Told::No);
        // Anything else is told at once, and not more often than once a minute.
        assert_eq!(tell(Why::Closed, at(30)), Told::No);
        assert_eq!(tell(Why::Stalled, at(80)), Told::Aloud);
    }
}
