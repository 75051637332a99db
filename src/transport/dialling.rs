//! The links' thread: making connections to peers, for ever.
//!
//! An attempt goes through resolving, TCP and TLS, each with a limit; a failed one is followed by
//! the next address of the name, and after the last by a pause of a second at most.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::link::{
    ADDRESSES, CONNECT_LIMIT, Dial, HANDSHAKE_LIMIT, HELLO_LIMIT, Link, PAUSE, STALL_LIMIT, Side, Told, Why,
    connect, in_words, tune,
};
use super::links::Order;
use super::run::{Runner, Turn};
use super::stream::{Lost, Wire};
use super::tls::{self, Expect, Shown};
use crate::base::clock::Mono;
use crate::base::frame;
use crate::base::id::NodeId;
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::identity::Fingerprint;
use crate::log;

impl Runner {
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
    pub(super) fn trouble(&mut self, node: NodeId, why: &Why, now: Mono) {
        let Some(link) = self.links.get_mut(&node) else { return };
        let text = why.to_string();
        let told = link.told(why, &text, now);
        if told == Told::Quietly {
            log!(Debug, "links", "peer does not know this node yet", peer = node, why = text);
        } else if told == Told::Aloud {
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
    pub(super) fn dial_ready(&mut self, node: NodeId, turn: Turn) {
        let now = turn.now;
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
                        let turn = Turn { read: false, write: true, now };
                        self.shake(node, Dial::Shaking { wire, shown, to, since: now }, turn);
                    }
                }
            }
            shaking @ Dial::Shaking { .. } => self.shake(node, shaking, turn),
        }
    }

    fn shake(&mut self, node: NodeId, dial: Dial, turn: Turn) {
        let now = turn.now;
        let Dial::Shaking { mut wire, shown, to, since } = dial else { return };
        let mut moved = if turn.read { wire.fill() } else { Ok(()) };
        if moved.is_ok() && (turn.write || wire.wants_write()) {
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
}

/// Why an attempt's handshake failed.
fn handshake_failure(link: &Link, own: Fingerprint, shown: &Shown, to: SocketAddr, lost: Lost) -> Why {
    let expected = link.target.key;
    match (shown.key(), lost) {
        (Some(key), _) if key == own => Why::Myself(to),
        (Some(shown), _) if shown != expected => Why::WrongKey { at: to, expected, shown },
        (_, Lost::Closed) => Why::Handshake(to, "it closed the connection".into()),
        (_, Lost::Io(e)) => Why::Handshake(to, in_words(&e)),
        (_, Lost::Tls(e)) => Why::Handshake(to, text::harmless(&text::shorten(&e.to_string(), 200))),
        (_, Lost::Length(_)) => Why::Handshake(to, "an impossible length".into()),
    }
}
