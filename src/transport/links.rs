//! The links of this node to its peers, as the rest of the program sees them.
//!
//! [`Links`] is a handle: every call on it returns at once. The work is done by one thread
//! (`run`), which owns all sockets; what it has to tell comes as [`Event`]s through a bounded
//! channel. When that channel is full, nothing more is read from any peer until there is room, and
//! TCP holds the senders back; sending goes on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::join::JoinDesk;
use super::link::Why;
use super::message::{Hello, Misbehaviour, PeerMessage};
use super::run::Runner;
use super::stats::{GateStats, PeerStats};
use super::tls::{Tls, TlsSetup};
use crate::base::clock::Clock;
use crate::base::id::{ClusterId, NodeId};
use crate::base::units::HostPort;
use crate::config::Secret;
use crate::identity::{Fingerprint, Keys, Trust};
use crate::log;

/// Messages that wait for one peer. Two seconds of the busiest replication; full: the message is
/// dropped and counted, which the protocol tolerates, and the next heartbeat shows the gap.
pub const QUEUE: usize = 256;
/// How long [`Links::stop`] waits for the thread.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// How a thread is started: name and body.
pub type Spawn = Arc<dyn Fn(String, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> + Send + Sync>;

/// Threads without ceremony, with small stacks: for tests, and until there is something better.
#[must_use]
pub fn plain_spawn() -> Spawn {
    Arc::new(|name, body| std::thread::Builder::new().name(name).stack_size(512 * 1024).spawn(body))
}

/// What the links need to know for their whole life.
pub struct Setup {
    /// Who this node is.
    pub node: NodeId,
    /// Its key.
    pub keys: Keys,
    /// Its program version, told to peers.
    pub version: String,
    /// The kinds of command that it understands, told to peers.
    pub kinds: Vec<String>,
    /// The cluster secret, without which nobody can add this node.
    pub secret: Option<Secret>,
    /// Who decides about being added.
    pub desk: Arc<dyn JoinDesk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub seed: u64,
    /// How threads are started: `links`, and short-lived `resolve` and `join`.
    pub spawn: Spawn,
}

/// Why the links do not start.
#[derive(Debug)]
pub enum StartError {
    /// TLS.
    Tls(TlsSetup),
    /// The listening socket or the thread.
    Io(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Tls(e) => write!(f, "{e}"),
            StartError::Io(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the links have to tell. For one peer, `Up` comes first, then `Hello`, then messages, then
/// `Down`; a `Hello` comes again with each new connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There is a connection over which both sides have said hello.
    Up {
        /// With whom.
        peer: NodeId,
        /// Grows with each connection of this process.
        generation: u64,
    },
    /// There is none any more.
    Down {
        /// With whom.
        peer: NodeId,
        /// Why the last one ended.
        why: Why,
    },
    /// What the peer said about itself, of this cluster.
    Hello {
        /// Who.
        peer: NodeId,
        /// What.
        hello: Hello,
    },
    /// A message; never a hello or a bye.
    Message {
        /// From whom, as the connection's key proved.
        peer: NodeId,
        /// What.
        message: Box<PeerMessage>,
    },
    /// The peer broke the rules; its connections are closed for a few seconds.
    Misbehaved {
        /// Who.
        peer: NodeId,
        /// How.
        what: Misbehaviour,
    },
}

/// What became of a message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits for its turn.
    Queued,
    /// The queue is full; dropped and counted.
    Full,
    /// There is no connection; dropped and counted.
    NoLink,
    /// No such peer.
    NoPeer,
}

/// Messages that wait for one peer.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<PeerMessage>,
    up: bool,
    /// It is no peer any more; what waits goes out before the good-bye, and nothing is added.
    closing: bool,
    dropped: u64,
    unsent: u64,
}

/// What is to be done by the thread.
pub(super) enum Order {
    /// The cluster and its peers from now on.
    Peers(ClusterId, Arc<Trust>),
    /// What this node shows in handshakes from now on.
    Keys(Box<Keys>),
    /// The cluster secret from now on.
    Secret(Secret),
    /// The layer above found a peer to break the rules.
    Misbehaved(NodeId, String),
    /// A name was resolved, or not.
    Resolved(NodeId, HostPort, Result<Vec<SocketAddr>, String>),
    /// The desk has decided.
    Considered(u64, Result<(), String>),
}

#[derive(Default)]
pub(super) struct Mailbox {
    outboxes: BTreeMap<NodeId, Outbox>,
    pub(super) orders: Vec<Order>,
    pub(super) stats: BTreeMap<NodeId, PeerStats>,
    pub(super) gate: GateStats,
    pub(super) stop: bool,
}

/// What handle and thread share.
/// * The lock is held for moments, never over I/O.
pub(super) struct Shared {
    own: NodeId,
    mailbox: Mutex<Mailbox>,
    bell: UnixStream,
    rung: AtomicBool,
}

impl Shared {
    pub(super) fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        // What a panicking holder leaves behind is a queue: nothing in it can be half done.
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Full means that it is rung already; closed, that the thread has ended.
            drop((&self.bell).write(&[1]));
        }
    }

    /// The thread has heard; what is ordered from now on rings again.
    pub(super) fn heard(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// Forgets the outboxes of those who are no peers any more.
    pub(super) fn close_outboxes(&self, is_linked: impl Fn(NodeId) -> bool) {
        self.mailbox().outboxes.retain(|peer, outbox| !outbox.closing || is_linked(*peer));
    }

    pub(super) fn order(&self, order: Order) {
        self.mailbox().orders.push(order);
        self.ring();
    }

    /// The next message for a peer.
    pub(super) fn pop(&self, peer: NodeId) -> Option<PeerMessage> {
        self.mailbox().outboxes.get_mut(&peer)?.queue.pop_front()
    }

    /// A link came up, or went down and takes what waited with it: it would be stale.
    pub(super) fn set_up(&self, peer: NodeId, up: bool) {
        if let Some(outbox) = self.mailbox().outboxes.get_mut(&peer) {
            outbox.up = up;
            if !up {
                outbox.unsent += outbox.queue.len() as u64;
                outbox.queue.clear();
            }
        }
    }
}

/// The handle. Stops the links when dropped.
pub struct Links {
    shared: Arc<Shared>,
    done: Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Links {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        setup: Setup,
        listener: TcpListener,
        cluster: ClusterId,
        trust: Arc<Trust>,
        events: Sender<Event>,
    ) -> Result<Links, StartError> {
        let tls = Tls::new(&setup.keys).map_err(StartError::Tls)?;
        let failed = |what| move |e| StartError::Io(what, e);
        listener.set_nonblocking(true).map_err(failed("preparing the listening socket"))?;
        let (bell, ear) = UnixStream::pair().map_err(failed("making a pair of sockets"))?;
        for end in [&bell, &ear] {
            end.set_nonblocking(true).map_err(failed("preparing a pair of sockets"))?;
        }
        let shared = Arc::new(Shared {
            own: setup.node,
            mailbox: Mutex::default(),
            bell,
            rung: AtomicBool::new(false),
        });
        let spawn = Arc::clone(&setup.spawn);
        let runner = Runner::new(setup, tls, listener, ear, Arc::clone(&shared), events, cluster);
        let (ended, done) = bounded(1);
        let links = Links { shared, done, thread: Mutex::new(None) };
        links.set_peers(cluster, trust);
        let body = Box::new(move || {
            runner.run();
            drop(ended);
        });
        let thread = spawn("links".to_owned(), body).map_err(failed("starting the links' thread"))?;
        *links.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(links)
    }

    /// Queues a message. Never blocks.
    pub fn send(&self, to: NodeId, message: PeerMessage) -> Sent {
        let mut mailbox = self.shared.mailbox();
        let outbox = mailbox.outboxes.get_mut(&to).filter(|o| !o.closing);
        let Some(outbox) = outbox else { return Sent::NoPeer };
        if !outbox.up {
            outbox.unsent += 1;
            return Sent::NoLink;
        }
        if outbox.queue.len() >= QUEUE {
            outbox.dropped += 1;
            return Sent::Full;
        }
        outbox.queue.push_back(message);
        drop(mailbox);
        self.shared.ring();
        Sent::Queued
    }

    /// The cluster and whom to trust from now on. A peer that is gone is cut off at once, and so is
    /// every connection of one that has another key by now, unless it was made with that key; new ones are dialled; another cluster id ends every connection, to begin anew.
    /// The own node's entry is ignored.
    pub fn set_peers(&self, cluster: ClusterId, trust: Arc<Trust>) {
        let mut mailbox = self.shared.mailbox();
        let own = self.shared.own;
        for (peer, outbox) in &mut mailbox.outboxes {
            outbox.closing = trust.get(*peer).is_none() || *peer == own;
        }
        for known in trust.nodes().filter(|k| k.node_id != own) {
            mailbox.outboxes.entry(known.node_id).or_default();
        }
        mailbox.orders.retain(|order| !matches!(order, Order::Peers(..)));
        mailbox.orders.push(Order::Peers(cluster, trust));
        drop(mailbox);
        self.shared.ring();
    }

    /// This node shows another key in handshakes from now on; connections that are up stay.
    pub fn set_keys(&self, keys: Keys) {
        self.shared.order(Order::Keys(Box::new(keys)));
    }

    /// Who wants to add this node must know another secret from now on.
    pub fn set_secret(&self, secret: Secret) {
        self.shared.order(Order::Secret(secret));
    }

    /// Cuts a peer off for a few seconds that broke a rule which only the caller knows, and counts
    /// it.
    pub fn misbehaved(&self, peer: NodeId, what: impl Into<String>) {
        self.shared.order(Order::Misbehaved(peer, what.into()));
    }

    /// About every peer, in order of NodeID.
    #[must_use]
    pub fn stats(&self) -> Vec<PeerStats> {
        let mailbox = self.shared.mailbox();
        let with_counts = |stats: &PeerStats| {
            let mut stats = stats.clone();
            if let Some(outbox) = mailbox.outboxes.get(&stats.peer) {
                stats.dropped = outbox.dropped;
                stats.unsent = outbox.unsent;
            }
            stats
        };
        mailbox.stats.values().map(with_counts).collect()
    }

    /// Peers that refuse this node's key.
    #[must_use]
    pub fn refusing(&self) -> Vec<NodeId> {
        self.shared.mailbox().stats.values().filter(|s| s.refuses).map(|s| s.peer).collect()
    }

    /// Why peers cannot be dialled just now, those that can be left out.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<NodeId, String> {
        let mailbox = self.shared.mailbox();
        mailbox.stats.values().filter_map(|s| Some((s.peer, s.trouble.clone()?))).collect()
    }

    /// About strangers.
    #[must_use]
    pub fn gate(&self) -> GateStats {
        self.shared.mailbox().gate.clone()
    }

    /// Says good-bye to every peer, closes everything and waits for the thread, a second at most.
    pub fn stop(&self) {
        self.shared.mailbox().stop = true;
        self.shared.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        // The channel ends with the thread's work; nothing is ever sent on it.
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = self.done.recv_timeout(STOP_LIMIT) {
            log!(Warn, "links", "the thread did not stop within a second and is left alone");
        } else if thread.join().is_err() {
            log!(Error, "links", "the thread had panicked");
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a peer is known by, for the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) node: NodeId,
    pub(super) address: HostPort,
    pub(super) key: Fingerprint,
}

impl Target {
    /// All of a trust store, without this node.
    pub(super) fn all(trust: &Trust, own: NodeId) -> Vec<Target> {
        let others = trust.nodes().filter(|k| k.node_id != own);
        others.map(|k| Target { node: k.node_id, address: k.address.clone(), key: k.fingerprint }).collect()
    }
}
