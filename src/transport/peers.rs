//! The links' thread: connections whose key is a peer's. Hello, hearing, sending, the end.

use std::net::SocketAddr;

use super::link::{Conn, Dial, Link, PAUSE, PENALTY, Side, Why};
use super::links::Event;
use super::message::{Bye, Hello, Misbehaviour, PeerMessage, decode, encode};
use super::run::{Runner, Turn};
use super::stream::Wire;
use crate::base::clock::Mono;
use crate::base::frame;
use crate::base::id::NodeId;
use crate::log;

/// So much is encoded ahead for one connection, bytes; the rest waits as messages.
const AHEAD: usize = 256 * 1024;

impl Runner {
    /// The other end has proved the peer's key: an older connection of the kind goes, and hello.
    pub(super) fn promote(
        &mut self,
        node: NodeId,
        side: Side,
        mut wire: Wire,
        remote: SocketAddr,
        now: Mono,
    ) {
        let hello = PeerMessage::Hello(Hello {
            cluster: self.cluster,
            version: self.setup.version.clone(),
            kinds: self.setup.kinds.clone(),
            clock: self.setup.clock.wall(),
        });
        match encode(&hello) {
            Ok(body) => wire.push(&body),
            Err(why) => log!(Error, "links", "a hello cannot be written", why = why),
        }
        let generation = self.next_generation();
        let Some(link) = self.links.get_mut(&node) else { return };
        link.count();
        wire.set_bound(frame::LARGEST);
        *link.conn(side) = Some(Conn::new(wire, remote, generation, now));
        link.dirty = true;
        self.serve(node, side, Turn { read: false, write: true, now });
    }

    /// A connection is ready: write, read, hear.
    pub(super) fn serve(&mut self, node: NodeId, side: Side, turn: Turn) {
        let now = turn.now;
        let Some(link) = self.links.get_mut(&node) else { return };
        link.dirty = true;
        let Some(conn) = link.conn(side) else { return };
        let generation = conn.generation;
        let mut moved = if turn.write { conn.wire.flush(now) } else { Ok(()) };
        if moved.is_ok() && turn.read {
            moved = conn.wire.fill();
        }
        // What arrived before the end counts.
        while let Some(body) = self.next_frame(node, side, generation) {
            self.hear(node, side, &body, now);
        }
        let same = |link: &mut Link| link.conn(side).as_ref().is_some_and(|c| c.generation == generation);
        if let Err(lost) = moved
            && self.links.get_mut(&node).is_some_and(same)
        {
            match Why::of(lost) {
                Why::Misbehaved(what) => self.misbehaved(node, what, now),
                why => self.lose(node, side, why, None, now),
            }
        }
    }

    fn next_frame(&mut self, node: NodeId, side: Side, generation: u64) -> Option<Vec<u8>> {
        let conn = self.links.get_mut(&node)?.conn(side).as_mut()?;
        if conn.generation == generation { conn.wire.next_frame() } else { None }
    }

    fn hear(&mut self, node: NodeId, side: Side, body: &[u8], now: Mono) {
        let message = match decode(body) {
            Ok(message) => message,
            Err(what) => return self.misbehaved(node, what, now),
        };
        let Some(link) = self.links.get_mut(&node) else { return };
        let greeted = link.conn(side).as_ref().is_some_and(|c| c.greeted);
        match message {
            PeerMessage::Hello(_) if greeted => self.misbehaved(node, Misbehaviour::SecondHello, now),
            PeerMessage::Hello(hello) => self.greet(node, side, hello, now),
            PeerMessage::Bye(bye) => self.lose(node, side, Why::Said(bye), None, now),
            _ if !greeted => self.misbehaved(node, Misbehaviour::NoHello, now),
            message => {
                link.stats.received += 1;
                self.tell_of(Event::Message { peer: node, message: Box::new(message) }, body.len());
            }
        }
    }

    fn greet(&mut self, node: NodeId, side: Side, hello: Hello, now: Mono) {
        if hello.cluster != self.cluster {
            let bye = Bye::OtherCluster { ours: self.cluster };
            return self.lose(node, side, Why::OtherCluster(hello.cluster), Some(bye), now);
        }
        let wall = self.setup.clock.wall();
        let Some(link) = self.links.get_mut(&node) else { return };
        let Some(conn) = link.conn(side) else { return };
        conn.greeted = true;
        let generation = conn.generation;
        let remote = conn.remote;
        link.stats.hello = Some(hello.clone());
        if side == Side::Dialled {
            link.stats.trouble = None;
        }
        let news = !link.up;
        if news {
            link.up = true;
            link.logged_at = None;
            link.stats.up_since = Some(wall);
            link.stats.connections += 1;
            self.shared.set_up(node, true);
            log!(Info, "links", "connected", peer = node, at = remote, version = hello.version);
            self.tell(Event::Up { peer: node, generation });
        }
        self.tell(Event::Hello { peer: node, hello });
    }

    /// A connection is over. With a last word, if there is one to say.
    pub(super) fn lose(&mut self, node: NodeId, side: Side, why: Why, bye: Option<Bye>, now: Mono) {
        let pause = match &why {
            Why::Misbehaved(_)
            | Why::OtherCluster(_)
            | Why::Said(Bye::OtherCluster { .. } | Bye::Misbehaved { .. }) => PENALTY,
            Why::Said(Bye::Anew) | Why::Anew => PAUSE / 10,
            _ => PAUSE,
        };
        let pause = self.jitter(pause);
        let Some(link) = self.links.get_mut(&node) else { return };
        link.count();
        let Some(conn) = link.conn(side).take() else { return };
        if side == Side::Dialled {
            link.not_before = now + pause;
        }
        let down = link.up && link.dialled.is_none() && link.accepted.is_none();
        if down {
            link.up = false;
            link.stats.up_since = None;
            if matches!(why, Why::Removed | Why::Anew | Why::Said(Bye::Stopping | Bye::Anew)) {
                log!(Info, "links", "disconnected", peer = node, at = conn.remote, why = why);
            } else {
                log!(Warn, "links", "disconnected", peer = node, at = conn.remote, why = why);
            }
            // Said already: the same trouble is no news a moment later.
            link.logged_at = Some(now);
        }
        if let Some(bye) = bye {
            self.part(conn.wire, bye, now);
        }
        let dialled = self.links.get(&node).is_some_and(|l| l.dialled.is_some());
        if !dialled {
            self.trouble(node, &why, now);
        }
        if down {
            self.shared.set_up(node, false);
            self.tell(Event::Down { peer: node, why });
        }
    }

    /// A peer broke the rules: both connections go, and for a few seconds there is no other.
    fn misbehaved(&mut self, node: NodeId, what: Misbehaviour, now: Mono) {
        self.punish(node, &what, now);
        self.tell(Event::Misbehaved { peer: node, what });
    }

    /// The layer above says so.
    pub(super) fn blame(&mut self, node: NodeId, what: String, now: Mono) {
        self.punish(node, &Misbehaviour::Rule(what), now);
    }

    fn punish(&mut self, node: NodeId, what: &Misbehaviour, now: Mono) {
        let wall = self.setup.clock.wall();
        let Some(link) = self.links.get_mut(&node) else { return };
        link.penalty = now + PENALTY;
        link.stats.misbehaviours += 1;
        link.stats.last_misbehaviour = Some((what.clone(), wall));
        link.dirty = true;
        log!(Warn, "links", "a peer broke the rules", peer = node, how = what);
        for side in [Side::Dialled, Side::Accepted] {
            let bye = Bye::Misbehaved { what: what.to_string() };
            self.lose(node, side, Why::Misbehaved(what.clone()), Some(bye), now);
        }
    }

    /// No peer any more: nothing more is heard from it or said to it but good-bye.
    pub(super) fn cut_off(&mut self, node: NodeId, now: Mono) {
        for side in [Side::Dialled, Side::Accepted] {
            self.lose(node, side, Why::Removed, Some(Bye::Untrusted), now);
        }
        self.links.remove(&node);
    }

    /// Every connection to it ends, to begin with another hello.
    pub(super) fn begin_anew(&mut self, node: NodeId, now: Mono) {
        for side in [Side::Dialled, Side::Accepted] {
            self.lose(node, side, Why::Anew, Some(Bye::Anew), now);
        }
        if let Some(link) = self.links.get_mut(&node) {
            link.dial = Dial::Idle;
            link.not_before = now;
        }
    }

    /// Its address has changed: what was dialled to the old one goes.
    pub(super) fn drop_dialled(&mut self, node: NodeId, now: Mono) {
        self.lose(node, Side::Dialled, Why::Anew, Some(Bye::Anew), now);
        if let Some(link) = self.links.get_mut(&node) {
            link.not_before = now;
        }
    }

    /// Moves messages from the queues to the sockets, as far as they take them in one turn; whether
    /// a socket would have taken more.
    pub(super) fn pump(&mut self, now: Mono) -> bool {
        let up: Vec<NodeId> = self.links.values().filter(|l| l.up).map(|l| l.target.node).collect();
        let mut more = false;
        for node in up {
            more |= self.pump_one(node, now);
        }
        more
    }

    fn pump_one(&mut self, node: NodeId, now: Mono) -> bool {
        let Some(link) = self.links.get_mut(&node) else { return false };
        let mut sent = 0;
        let Some((side, conn)) = link.way_out() else { return false };
        while conn.wire.waiting() < AHEAD {
            let Some(message) = self.shared.pop(node) else { break };
            match encode(&message) {
                Ok(body) => {
                    conn.wire.push(&body);
                    sent += 1;
                }
                Err(why) => log!(Error, "links", "a message cannot be sent", peer = node, why = why),
            }
        }
        if sent == 0 {
            return false;
        }
        let full = conn.wire.waiting() >= AHEAD;
        link.stats.sent += sent;
        self.serve(node, side, Turn { read: false, write: true, now });
        // A socket that took all of a full turn is not the reason to stop; a stuck one wakes us.
        let stuck = |link: &mut Link| link.way_out().is_some_and(|(_, conn)| conn.wire.wants_write());
        full && !self.links.get_mut(&node).is_some_and(stuck)
    }
}
