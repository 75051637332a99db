//! Changes on their way: from a client or a peer, to the log, and the answer back.
//!
//! Model: a change is known by its request id for as long as somebody waits for it. It is tried at
//! the master (this node, or the one that is forwarded to) again and again under the same id, which
//! is applied once, until its result is applied *here* or the deadline passes. An election in
//! between is waited out; the lack of a quorum is told at once.
//!
//! Pure book-keeping: it decides nothing about the state and sends nothing itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::base::clock::{Mono, Wall};
use crate::base::id::{NodeId, RequestId};
use crate::control::message::Reply;
use crate::state::command::Body;

/// How long a client's change is tried.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A peer asks again under the same id for as long as its own client waits; ours need not.
pub const PEER_PATIENCE: Duration = Duration::from_secs(12);
/// How long the fate of a message that was sent is reported to whoever is master.
pub const OWN_PATIENCE: Duration = Duration::from_secs(120);
/// Changes that may wait at once. More: clients are asked to come again.
pub const MOST: usize = 4096;

/// Bytes of changes, as they are written, that peers may have waiting here at once: a few of the
/// largest from each.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Who waits for the result.
#[derive(Debug)]
pub enum Origin {
    /// A connection of the control socket, or another thread of this daemon. Bounded to one, and
    /// one is all that is ever sent.
    Local(Sender<Reply>),
    /// A peer that forwarded it to this master.
    Peer(NodeId),
    /// This daemon itself: nobody is told.
    Own,
}

/// One change on its way.
#[derive(Debug)]
pub struct Waiting {
    /// What is to be applied.
    pub body: Body,
    /// When it was asked for.
    pub at: Wall,
    /// Who waits.
    pub origin: Origin,
    /// When that ends.
    pub deadline: Mono,
    /// When to try (again).
    pub next_try: Mono,
    /// It was in somebody's log, or may have been: from here on its fate may be open.
    pub sent: bool,
    /// The master said that it is done; the result is on its way here.
    pub confirmed: Option<Reply>,
    /// Length of its written form, when a peer sent it.
    bytes: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Requests {
    waiting: BTreeMap<RequestId, Waiting>,
    /// Of all that peers sent.
    bytes: usize,
}

impl Requests {
    /// Takes one in, to be tried at once. False when there are too many; a second one under the
    /// same id takes the place of the first (its client has come back).
    pub fn add(&mut self, id: RequestId, body: Body, at: Wall, origin: Origin, now: Mono) -> bool {
        if self.waiting.len() >= MOST && !self.waiting.contains_key(&id) {
            return false;
        }
        let patience = match origin {
            Origin::Local(_) => PATIENCE,
            Origin::Peer(_) => PEER_PATIENCE,
            Origin::Own => OWN_PATIENCE,
        };
        let bytes = if matches!(origin, Origin::Peer(_)) { written(&body) } else { 0 };
        let others = self.bytes - self.waiting.get(&id).map_or(0, |w| w.bytes);
        if bytes > 0 && others.saturating_add(bytes) > MOST_BYTES {
            return false;
        }
        let sent = self.take(id).is_some_and(|w| w.sent);
        self.bytes += bytes;
        let (deadline, confirmed) = (now + patience, None);
        let waiting = Waiting { body, at, origin, deadline, next_try: now, sent, confirmed, bytes };
        self.waiting.insert(id, waiting);
        true
    }

    /// One that waits.
    pub fn get_mut(&mut self, id: RequestId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&id)
    }

    /// Whether somebody waits for it.
    #[must_use]
    pub fn has(&self, id: RequestId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// Whether a change of this daemon's own is under way.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.waiting.values().any(|w| matches!(w.origin, Origin::Own))
    }

    /// Takes one out: its fate is known, or nobody waits any more.
    pub fn take(&mut self, id: RequestId) -> Option<Waiting> {
        let taken = self.waiting.remove(&id)?;
        self.bytes -= taken.bytes;
        Some(taken)
    }

    /// Which are to be tried now.
    #[must_use]
    pub fn due(&self, now: Mono) -> Vec<RequestId> {
        self.waiting.iter().filter(|(_, w)| w.next_try <= now).map(|(id, _)| *id).collect()
    }

    /// Which have waited too long.
    #[must_use]
    pub fn expired(&self, now: Mono) -> Vec<RequestId> {
        self.waiting.iter().filter(|(_, w)| w.deadline <= now).map(|(id, _)| *id).collect()
    }

    /// When something is due.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        self.waiting.values().map(|w| w.next_try.min(w.deadline)).min().unwrap_or(Mono::FAR)
    }

    /// The master may have changed: everything is tried again at once.
    pub fn retry_all(&mut self, now: Mono) {
        for w in self.waiting.values_mut() {
            w.next_try = w.next_try.min(now);
        }
    }
}

/// Length of the written form.
fn written(body: &Body) -> usize {
    serde_json::to_vec(body).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;
    use crate::state::command::{Change, Setting};

    fn body() -> Body {
        Body::Change(Change::Set(Setting::Heartbeat(Span::from_secs(1))))
    }

    #[test]
    fn a_client_that_comes_back_takes_its_own_place() {
        let mut r = Requests::default();
        let id = RequestId::from_random(1);
        let (tell, _heard) = crossbeam_channel::bounded(1);
        assert!(r.add(id, body(), Wall(0), Origin::Local(tell), Mono(0)));
        if let Some(w) = r.get_mut(id) {
            w.sent = true;
            w.next_try = Mono::FAR;
        }
        assert!(r.due(Mono(5)).is_empty());
        assert!(r.add(id, body(), Wall(0), Origin::Own, Mono(5)));
        assert_eq!(r.due(Mono(5)), [id]);
        assert!(r.take(id).is_some_and(|w| w.sent), "that it was sent is not forgotten");
    }

    #[test]
    fn what_peers_have_waiting_is_bounded_in_bytes() {
        let (mut r, peer) = (Requests::default(), NodeId::from_random(1));
        let silence = Body::Silence { check: None, length: Span::from_secs(1), reason: "x".repeat(16 << 20) };
        let add = |r: &mut Requests, n: u128| {
            r.add(RequestId::from_random(n << 80), silence.clone(), Wall(0), Origin::Peer(peer), Mono(0))
        };
        assert!(add(&mut r, 1) && add(&mut r, 2) && add(&mut r, 3));
        assert!(!add(&mut r, 4), "four of them are more than there may be");
        assert!(add(&mut r, 3), "one that comes again counts once");
        assert!(r.add(RequestId::from_random(7 << 80), body(), Wall(0), Origin::Own, Mono(0)));
        assert!(r.take(RequestId::from_random(1 << 80)).is_some());
        assert!(add(&mut r, 4));
    }

    #[test]
    fn there_is_a_bound() {
        let mut r = Requests::default();
        for n in 0..MOST as u128 {
            assert!(r.add(RequestId::from_random(n << 80), body(), Wall(0), Origin::Own, Mono(0)));
        }
        assert!(!r.add(RequestId::from_random(u128::MAX), body(), Wall(0), Origin::Own, Mono(0)));
    }
}
