//! The links' thread, first half: dialling peers, hearing them, sending to them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::link::{
    ADDRESSES, CONNECT_LIMIT, Conn, Dial, HANDSHAKE_LIMIT, HELLO_LIMIT, Link, PAUSE, PENALTY, STALL_LIMIT,
    Side, Why, connect, in_words, tune,
};
use super::links::{Event, Order};
use super::message::{Bye, Hello, Misbehaviour, PeerMessage, decode, encode};
use super::run::Runner;
use super::stream::{Lost, Wire};
use super::tls::{self, Expect, Shown};
use crate::base::clock::Mono;
use crate::base::frame;
use crate::base::id::NodeId;
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::log;

/// So much is encoded ahead for one connection, bytes; the rest waits as messages.
const AHEAD: usize = 256 * 1024;
/// Trouble with a peer is logged when it changes, and not more often than this.
const LOG_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

impl Runner {
    // ---- dialling

    /// Starts what is due and ends what has taken too long.
    pub(super) fn dial_and_expire(&mut self, now: Mono) {
        let due: Vec<NodeId> =
            self.links.values().filter(|l| l.deadline() <= now).map(|l| l.target.node).collect();
        for node in due {
            self.expire(node, now);
            self.begin_dial(node, now);
        }
    }

    fn expire(&mut self, node: NodeId, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        let overdue = match &link.dial {
            Dial::Connecting { to, since, .. } if now >= *since + CONNECT_LIMIT => {
                Some(Why::Connect(*to, in_words(&std::io::ErrorKind::TimedOut.into())))
            }
            Dial::Shaking { to, since, .. } if now >= *since + HANDSHAKE_LIMIT => {
                Some(Why::Handshake(*to, format!("not done within {} s", HANDSHAKE_LIMIT.as_secs())))
            }
            _ => None,
        };
        let mut lost = Vec::new();
        for (side, conn) in link.conns() {
            if !conn.greeted && now >= conn.since + HELLO_LIMIT {
                lost.push((side, Why::NoHello));
            } else if conn.wire.stuck_since.is_some_and(|since| now >= since + STALL_LIMIT) {
                lost.push((side, Why::Stalled));
            }
        }
        if let Some(why) = overdue {
            self.dial_failed(node, why, now);
        }
        for (side, why) in lost {
            self.lose(node, side, why, None, now);
        }
    }

    fn begin_dial(&mut self, node: NodeId, now: Mono) {
        let behind = self.is_behind();
        let pause = self.jitter(PAUSE);
        let Some(link) = self.links.get_mut(&node) else { return };
        let free = matches!(link.dial, Dial::Idle) && link.dialled.is_none();
        if free && behind {
            link.not_before = now + pause;
        }
        if !free || now < link.not_before.max(link.penalty) {
            return;
        }
        if link.wants_addresses(now) {
            self.resolve(node, now);
        }
        let Some(link) = self.links.get_mut(&node) else { return };
        if let Some(until) = link.waits_for_resolver(now) {
            link.not_before = if until > now { until } else { now + pause };
            return;
        }
        let Some(to) = link.address() else {
            link.not_before = now + pause;
            return;
        };
        match connect(to) {
            Ok(socket) => link.dial = Dial::Connecting { socket, to, since: now },
            Err(e) => self.dial_failed(node, Why::Connect(to, in_words(&e)), now),
        }
    }

    /// Names are resolved elsewhere: the system's resolver may take half a minute.
    fn resolve(&mut self, node: NodeId, now: Mono) {
        let Some(address) = self.links.get(&node).map(|l| l.target.address.clone()) else { return };
        let Host::Name(name) = address.host.clone() else { return };
        let shared = Arc::clone(&self.shared);
        let asked = address.clone();
        let body = Box::new(move || {
            let answer = (name.as_str(), asked.port).to_socket_addrs();
            let answer = answer.map(|all| all.take(ADDRESSES).collect()).map_err(|e| e.to_string());
            shared.order(Order::Resolved(node, asked, answer));
        });
        if let Err(e) = (self.setup.spawn)("resolve".to_owned(), body) {
            self.resolved(node, &address, Err(format!("no thread to do it: {e}")), now);
        }
    }

    pub(super) fn resolved(
        &mut self,
        node: NodeId,
        asked: &HostPort,
        answer: Result<Vec<SocketAddr>, String>,
        now: Mono,
    ) {
        let pause = self.jitter(PAUSE);
        let Some(link) = self.links.get_mut(&node).filter(|l| l.target.address == *asked) else { return };
        let trouble = link.resolved(now, answer);
        // With no address at all the pause is that of a failed attempt.
        link.not_before = if link.address().is_some() { now } else { now + pause };
        if let Some(why) = trouble {
            self.trouble(node, &why, now);
        }
        self.refresh_sources();
    }

    fn dial_failed(&mut self, node: NodeId, why: Why, now: Mono) {
        let pause = self.jitter(PAUSE);
        if let Some(link) = self.links.get_mut(&node) {
            link.attempt_failed(now, pause);
        }
        self.trouble(node, &why, now);
    }

    /// Notes why a peer cannot be had; the log hears of it when it is news.
    fn trouble(&mut self, node: NodeId, why: &Why, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        let text = why.to_string();
        let news = link.stats.trouble.as_ref() != Some(&text)
            && link.logged_at.is_none_or(|at| now.since(at) >= LOG_PAUSE);
        if news {
            link.logged_at = Some(now);
            let at = &link.target.address;
            if link.up {
                log!(
                    Info,
                    "links",
                    "peer cannot be dialled but is connected",
                    peer = node,
                    at = at,
                    why = text
                );
            } else {
                log!(Warn, "links", "peer cannot be reached", peer = node, at = at, why = text);
            }
        }
        link.stats.trouble = Some(text);
        link.dirty = true;
    }

    /// The socket or the handshake of an attempt has moved.
    pub(super) fn dial_ready(&mut self, node: NodeId, read: bool, write: bool, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        match std::mem::replace(&mut link.dial, Dial::Idle) {
            Dial::Idle => {}
            Dial::Connecting { socket, to, since } => {
                let connected = match socket.take_error() {
                    Ok(None) => tune(&socket),
                    Ok(Some(e)) | Err(e) => Err(e),
                };
                if let Err(e) = connected {
                    return self.dial_failed(node, Why::Connect(to, in_words(&e)), now);
                }
                link.stats.round_trip = Some(now.since(since));
                let key = link.target.key;
                match self.tls.dial(Expect::Key(key), tls::PEERS) {
                    Err(e) => self.dial_failed(node, Why::Local(e.to_string()), now),
                    Ok((tls, shown)) => {
                        let wire = Box::new(Wire::new(socket, tls, frame::LARGEST));
                        self.shake(node, Dial::Shaking { wire, shown, to, since: now }, false, true, now);
                    }
                }
            }
            shaking @ Dial::Shaking { .. } => self.shake(node, shaking, read, write, now),
        }
    }

    fn shake(&mut self, node: NodeId, dial: Dial, read: bool, write: bool, now: Mono) {
        let Dial::Shaking { mut wire, shown, to, since } = dial else { return };
        let mut moved = if read { wire.fill() } else { Ok(()) };
        if moved.is_ok() && (write || wire.wants_write()) {
            moved = wire.flush(now);
        }
        let Some(link) = self.links.get_mut(&node) else { return };
        if let Err(lost) = moved
            && wire.is_handshaking()
        {
            let why = handshake_failure(link, self.tls.fingerprint(), &shown, to, lost);
            return self.dial_failed(node, why, now);
        }
        if wire.is_handshaking() {
            link.dial = Dial::Shaking { wire, shown, to, since };
            return;
        }
        if wire.tls().alpn_protocol() != Some(tls::PEERS) {
            let why = Why::Handshake(to, "it does not speak this version's protocol".into());
            return self.dial_failed(node, why, now);
        }
        link.attempt_worked();
        self.promote(node, Side::Dialled, *wire, to, now);
    }

    // ---- connections

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
        self.serve(node, side, false, true, now);
    }

    /// A connection is ready: write, read, hear.
    pub(super) fn serve(&mut self, node: NodeId, side: Side, read: bool, write: bool, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        link.dirty = true;
        let Some(conn) = link.conn(side) else { return };
        let generation = conn.generation;
        let mut moved = if write { conn.wire.flush(now) } else { Ok(()) };
        if moved.is_ok() && read {
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
                self.tell(Event::Message { peer: node, message: Box::new(message) });
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
            let version = text::shorten(&hello.version, 40);
            log!(Info, "links", "connected", peer = node, at = remote, version = version);
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
            log!(Warn, "links", "disconnected", peer = node, at = conn.remote, why = why);
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

    // ---- changes of the configuration

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

    // ---- sending

    /// Moves messages from the queues to the sockets, as far as they take them.
    pub(super) fn pump(&mut self, now: Mono) {
        let up: Vec<NodeId> = self.links.values().filter(|l| l.up).map(|l| l.target.node).collect();
        for node in up {
            self.pump_one(node, now);
        }
    }

    fn pump_one(&mut self, node: NodeId, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        let mut sent = 0;
        let Some((side, conn)) = link.way_out() else { return };
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
        if sent > 0 {
            link.stats.sent += sent;
            self.serve(node, side, false, true, now);
        }
    }
}

/// Why an attempt's handshake failed.
fn handshake_failure(
    link: &Link,
    own: crate::identity::Fingerprint,
    shown: &Shown,
    to: SocketAddr,
    lost: Lost,
) -> Why {
    let expected = link.target.key;
    match (shown.key(), lost) {
        (Some(key), _) if key == own => Why::Myself(to),
        (Some(shown), _) if shown != expected => Why::WrongKey { at: to, expected, shown },
        (_, Lost::Closed) => Why::Handshake(to, "it closed the connection".into()),
        (_, Lost::Io(e)) => Why::Handshake(to, in_words(&e)),
        (_, Lost::Tls(e)) => Why::Handshake(to, text::harmless(&text::shorten(&e.to_string(), 200))),
        (_, Lost::Length { .. }) => Why::Handshake(to, "an impossible length".into()),
    }
}
