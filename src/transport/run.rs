//! The links' thread: owner of all sockets between nodes, one poll(2) loop.
//!
//! One thread, because then every limit is a comparison of times in one place, a connection costs
//! no stack, and the order of service is ours: peers' connections first, then at most one costly
//! handshake, then strangers. A turn is short: no connection is read for more than 64 KiB, no name
//! is resolved and no offer considered here (threads of their own do that and ring back).
//!
//! `dialling`, `peers` and `strangers` hold what a turn does.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};

use super::admit::{self, Gate, StrangerId};
use super::link::{Dial, Link, Side};
use super::links::{Event, Order, Setup, Shared, Target};
use super::listen::{Stage, Stranger};
use super::message::{Bye, PeerMessage, encode};
use super::stats::GateStats;
use super::stream::Wire;
use super::tls::Tls;
use crate::base::clock::Mono;
use crate::base::id::{ClusterId, NodeId};
use crate::base::rng::Rng;
use crate::identity::Trust;
use crate::log;
use crate::sys::poll::descriptor_limit;
use crate::sys::wait::Poll;

/// How long a closed connection may take to deliver the last word.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_millis(500);
/// So many connections of peers may be leaving; the oldest is dropped for another.
const LEAVING: usize = 32;
/// How soon a full channel of events is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// Bytes of messages that may wait for the daemon: more than it is ever behind by, and a bound on
/// what peers together can make this node hold beside what they are in the middle of sending.
const CARRIED: usize = 32 * 1024 * 1024;
/// The longest sleep: nothing depends on it.
const IDLE: Duration = Duration::from_secs(60);

/// A connection whose last word is on its way out.
pub(super) struct Leaving {
    pub(super) wire: Wire,
    by: Mono,
    said: bool,
}

impl Leaving {
    pub(super) fn new(wire: Wire, now: Mono) -> Leaving {
        Leaving { wire, by: now + LEAVE_LIMIT, said: false }
    }

    /// When it ends in any case.
    pub(super) fn by(&self) -> Mono {
        self.by
    }

    /// One more try; `false` when it is over.
    pub(super) fn step(&mut self, now: Mono) -> bool {
        if now >= self.by || self.wire.flush(now).is_err() {
            return false;
        }
        if !self.said && !self.wire.wants_write() {
            self.said = true;
            self.wire.end_sending();
        }
        // What the other end still sends is thrown away unread; closing with it in the buffer
        // would destroy our last word on its way.
        self.wire.drain()
    }
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
pub(super) enum Token {
    Ear,
    Listener,
    Conn(NodeId, Side),
    Dial(NodeId),
    Stranger(StrangerId),
    Leaving,
}

/// What can be done without waiting, and when it is.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) now: Mono,
}

/// The thread's state.
pub(super) struct Runner {
    pub(super) setup: Setup,
    pub(super) tls: Tls,
    pub(super) listener: TcpListener,
    /// Not accepting before this: descriptors had run out.
    pub(super) listen_again: Option<Mono>,
    /// When that was last logged.
    pub(super) exhausted_logged: Option<Mono>,
    /// When a failed join was last logged.
    pub(super) join_logged: Option<Mono>,
    ear: UnixStream,
    pub(super) shared: Arc<Shared>,
    events: Sender<Event>,
    /// Events that the full channel has not taken, with the bytes that they arrived as. Nothing is
    /// read from peers while there are any, so there are never more than one turn brings.
    backlog: VecDeque<(Event, usize)>,
    /// The bytes of the events that the channel holds, oldest first, and their sum.
    carried: (VecDeque<usize>, usize),
    pub(super) cluster: ClusterId,
    pub(super) trust: Arc<Trust>,
    pub(super) links: BTreeMap<NodeId, Link>,
    pub(super) strangers: BTreeMap<StrangerId, Stranger>,
    pub(super) gate: Gate,
    pub(super) gate_stats: GateStats,
    leaving: VecDeque<Leaving>,
    /// The stranger whose offer the desk considers.
    pub(super) considering: Option<StrangerId>,
    generation: u64,
    pub(super) rng: Rng,
    poll: Poll,
    /// The receiver of events is gone: the daemon ends.
    deaf: bool,
}

impl Runner {
    pub(super) fn new(
        setup: Setup,
        tls: Tls,
        listener: TcpListener,
        ear: UnixStream,
        shared: Arc<Shared>,
        events: Sender<Event>,
        cluster: ClusterId,
    ) -> Runner {
        let now = setup.clock.mono();
        Runner {
            tls,
            listener,
            listen_again: None,
            exhausted_logged: None,
            join_logged: None,
            ear,
            shared,
            events,
            backlog: VecDeque::new(),
            carried: (VecDeque::new(), 0),
            cluster,
            trust: Arc::default(),
            links: BTreeMap::new(),
            strangers: BTreeMap::new(),
            gate: Gate::new(now, admit::places_for(descriptor_limit())),
            gate_stats: GateStats::default(),
            leaving: VecDeque::new(),
            considering: None,
            generation: 0,
            rng: Rng::new(setup.seed),
            poll: Poll::new(),
            deaf: false,
            setup,
        }
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        loop {
            self.listen_to_ear();
            let stop = self.take_orders();
            if stop || self.deaf {
                break;
            }
            let now = self.now();
            self.retry_backlog();
            self.dial_and_expire(now);
            let more = self.pump(now);
            self.expire_strangers(now);
            self.publish();
            let ready = self.wait(if more { Duration::ZERO } else { self.nap(now) });
            let now = self.now();
            for (token, turn) in &ready {
                match token {
                    Token::Conn(node, side) => self.serve(*node, *side, *turn),
                    Token::Dial(node) => self.dial_ready(*node, *turn),
                    _ => {}
                }
            }
            self.grant(now);
            for (token, turn) in &ready {
                match token {
                    Token::Stranger(id) => self.serve_stranger(*id, *turn),
                    Token::Listener => self.accept(now),
                    _ => {}
                }
            }
            self.leaving.retain_mut(|leaving| leaving.step(now));
        }
        self.say_goodbye();
    }

    pub(super) fn now(&self) -> Mono {
        self.setup.clock.mono()
    }

    /// Empties the pipe that wakes the loop. Before the orders are taken: what comes later rings
    /// again.
    fn listen_to_ear(&mut self) {
        let mut rings = [0; 64];
        while matches!(self.ear.read(&mut rings), Ok(n) if n > 0) {}
        self.shared.heard();
    }

    /// Carries out what was ordered; whether to stop.
    fn take_orders(&mut self) -> bool {
        let (orders, stop) = {
            let mut mailbox = self.shared.mailbox();
            (std::mem::take(&mut mailbox.orders), mailbox.stop)
        };
        let now = self.now();
        for order in orders {
            match order {
                Order::Peers(cluster, trust) => self.set_peers(cluster, trust, now),
                Order::Misbehaved(node, what) => self.blame(node, what, now),
                Order::Resolved(node, address, answer) => self.resolved(node, &address, answer, now),
                Order::Considered(id, outcome) => self.considered(id, outcome, now),
            }
        }
        stop
    }

    /// The next number for a connection.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// A pause with jitter, so that nodes that lost each other together do not meet in step.
    pub(super) fn jitter(&mut self, longest: Duration) -> Duration {
        let ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(ms / 2 + self.rng.below(ms / 2 + 1))
    }

    /// Tells the daemon, in order.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_of(event, 0);
    }

    /// Tells the daemon of something that arrived as so many bytes.
    pub(super) fn tell_of(&mut self, event: Event, bytes: usize) {
        self.backlog.push_back((event, bytes));
        self.retry_backlog();
    }

    fn retry_backlog(&mut self) {
        while let Some((event, bytes)) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {
                    self.carried.0.push_back(bytes);
                    self.carried.1 += bytes;
                }
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front((event, bytes));
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.deaf = true;
                    break;
                }
            }
        }
        // What the daemon has taken is not ours any more.
        while self.carried.0.len() > self.events.len() {
            self.carried.1 -= self.carried.0.pop_front().unwrap_or(0);
        }
    }

    /// Whether the daemon keeps up: if not, nothing is read from peers and no connection is made.
    /// The channel is bounded in events, and here in bytes.
    pub(super) fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || self.carried.1 > CARRIED
    }

    /// Closes a connection with a last word.
    pub(super) fn part(&mut self, mut wire: Wire, bye: Bye, now: Mono) {
        match encode(&PeerMessage::Bye(bye)) {
            Ok(body) => wire.push(&body),
            Err(why) => log!(Error, "links", "a good-bye cannot be written", why = why),
        }
        wire.finish();
        let mut leaving = Leaving::new(wire, now);
        if leaving.step(now) {
            if self.leaving.len() >= LEAVING {
                self.leaving.pop_front();
            }
            self.leaving.push_back(leaving);
        }
    }

    /// Makes the statistics visible.
    fn publish(&mut self) {
        self.gate_stats.strangers = self.gate.strangers();
        let mut mailbox = self.shared.mailbox();
        for link in self.links.values_mut().filter(|l| l.dirty) {
            link.dirty = false;
            link.count();
            mailbox.stats.insert(link.target.node, link.stats.clone());
        }
        if mailbox.gate != self.gate_stats {
            mailbox.gate.clone_from(&self.gate_stats);
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn nap(&self, now: Mono) -> Duration {
        if self.is_behind() {
            return RETRY;
        }
        let links = self.links.values().map(Link::deadline);
        let strangers = self.strangers.values().map(Stranger::deadline);
        let leaving = self.leaving.iter().map(|l| l.by);
        let next = links.chain(strangers).chain(leaving).chain(self.listen_again).min();
        let next = next.map_or(IDLE, |at| at.since(now));
        self.gate.next_grant().map_or(next, |grant| grant.min(next)).min(IDLE)
    }

    /// Sleeps until something is ready; says what.
    fn wait(&mut self, limit: Duration) -> Vec<(Token, Turn)> {
        self.poll.clear();
        let mut watched = vec![(self.poll.add(self.ear.as_fd(), true, false), Token::Ear)];
        let listens = self.listen_again.is_none() && !self.is_behind();
        watched.push((self.poll.add(self.listener.as_fd(), listens, false), Token::Listener));
        let hear = !self.is_behind();
        for (node, link) in &self.links {
            for (side, conn) in link.conns() {
                let slot = self.poll.add(conn.wire.fd(), hear, conn.wire.wants_write());
                watched.push((slot, Token::Conn(*node, side)));
            }
            let slot = match &link.dial {
                Dial::Idle => continue,
                Dial::Connecting { socket, .. } => self.poll.add(socket.as_fd(), false, true),
                Dial::Shaking { wire, .. } => self.poll.add(wire.fd(), true, wire.wants_write()),
            };
            watched.push((slot, Token::Dial(*node)));
        }
        for (id, stranger) in &self.strangers {
            let slot = match &stranger.stage {
                Stage::Over => continue,
                Stage::Greeting(socket, _) => self.poll.add(socket.as_fd(), true, false),
                Stage::Asking(socket, _) => self.poll.add(socket.as_fd(), false, false),
                Stage::Considered(wire) => self.poll.add(wire.fd(), false, wire.wants_write()),
                Stage::Shaking(wire) | Stage::Joining(wire, _) => {
                    self.poll.add(wire.fd(), true, wire.wants_write())
                }
                Stage::Leaving(leaving) => self.poll.add(leaving.wire.fd(), true, leaving.wire.wants_write()),
            };
            watched.push((slot, Token::Stranger(*id)));
        }
        for leaving in &self.leaving {
            let slot = self.poll.add(leaving.wire.fd(), true, leaving.wire.wants_write());
            watched.push((slot, Token::Leaving));
        }
        if let Err(e) = self.poll.wait(limit) {
            log!(Error, "links", "waiting for sockets failed, trying again", why = e);
            // sleeps: what failed is the waiting itself, and a loop without it would burn the CPU.
            std::thread::sleep(RETRY);
        }
        let now = self.now();
        let poll = &self.poll;
        watched
            .into_iter()
            .map(|(slot, token)| (token, Turn { read: poll.readable(slot), write: poll.writable(slot), now }))
            .filter(|(_, turn)| turn.read || turn.write)
            .collect()
    }

    /// The end: a word to every peer, as far as their sockets take it at once.
    fn say_goodbye(&mut self) {
        let now = self.now();
        let links = std::mem::take(&mut self.links);
        for link in links.into_values() {
            for conn in [link.dialled, link.accepted].into_iter().flatten() {
                self.part(conn.wire, Bye::Stopping, now);
            }
        }
        // Half a second at most, and only while somebody has not taken the word yet.
        while !self.leaving.is_empty() {
            let now = self.now();
            self.leaving.retain_mut(|leaving| leaving.wire.wants_write() && leaving.step(now));
            if !self.leaving.is_empty() {
                self.poll.clear();
                for leaving in &self.leaving {
                    self.poll.add(leaving.wire.fd(), false, true);
                }
                if self.poll.wait(Duration::from_millis(50)).is_err() {
                    return;
                }
            }
        }
    }

    /// The cluster and its peers from now on.
    fn set_peers(&mut self, cluster: ClusterId, trust: Arc<Trust>, now: Mono) {
        let targets = Target::all(&trust, self.setup.node);
        self.trust = trust;
        let stays =
            |link: &Link| targets.iter().any(|t| t.node == link.target.node && t.key == link.target.key);
        let gone: Vec<NodeId> = self.links.values().filter(|l| !stays(l)).map(|l| l.target.node).collect();
        for node in gone {
            self.cut_off(node, now);
        }
        if cluster != self.cluster {
            self.cluster = cluster;
            let all: Vec<NodeId> = self.links.keys().copied().collect();
            for node in all {
                self.begin_anew(node, now);
            }
        }
        for target in targets {
            let node = target.node;
            match self.links.get_mut(&node) {
                None => drop(self.links.insert(node, Link::new(target, now))),
                Some(link) if link.target.address != target.address => {
                    link.move_to(target.address, now);
                    self.drop_dialled(node, now);
                }
                Some(_) => {}
            }
        }
        let links = &self.links;
        self.shared.mailbox().stats.retain(|node, _| links.contains_key(node));
        self.refresh_sources();
    }

    /// Tells the gate where peers are.
    pub(super) fn refresh_sources(&mut self) {
        self.gate.set_peers(self.links.values().flat_map(Link::sources));
    }
}
