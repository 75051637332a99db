//! The links' thread: accepting connections and what strangers may do.

use std::sync::Arc;
use std::time::Duration;

use super::admit::{Admission, Progress, StrangerId};
use super::answerer::{Answerer, Facts, Step};
use super::join::{Offer, Refused, Reply, STEP_LIMIT};
use super::link::{HANDSHAKE_LIMIT, Side, tune};
use super::links::Order;
use super::listen::{self, Accept, Purpose, Stage, Stranger, purpose};
use super::message::{Bye, PeerMessage};
use super::run::{Leaving, Runner, Turn};
use super::stream::{Lost, Wire};
use super::tls;
use crate::base::clock::Mono;
use crate::base::frame;
use crate::base::id::NodeId;
use crate::identity::succession;
use crate::log;

/// Connections that are accepted in one turn.
const ACCEPTS: usize = 16;
/// How long nothing is accepted after descriptors ran out.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);
/// Running out is logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// Failed joins are logged once in this time; all are counted.
const JOIN_LOG_PAUSE: Duration = Duration::from_secs(5);
/// All that a stranger may send, raw bytes, its handshake included.
const ALLOWANCE: u64 = frame::LARGEST_UNTRUSTED as u64;

impl Stranger {
    /// When it has to be gone, or further.
    pub(super) fn deadline(&self) -> Mono {
        let total = self.since + STEP_LIMIT;
        match &self.stage {
            Stage::Greeting(..) | Stage::Asking(..) | Stage::Shaking(_) => self.since + HANDSHAKE_LIMIT,
            Stage::Leaving(leaving) => leaving.by().min(total),
            Stage::Joining(..) | Stage::Considered(_) => total,
            Stage::Over => self.since,
        }
    }
}

impl Runner {
    /// Takes in who waits at the door, as far as there is room.
    pub(super) fn accept(&mut self, now: Mono) {
        for _ in 0..ACCEPTS {
            match listen::accept(&self.listener) {
                Accept::Nobody => return,
                Accept::Gone => {}
                Accept::Exhausted(why) => return self.exhausted(&why, now),
                Accept::Got(socket, from) => {
                    self.gate_stats.accepted += 1;
                    let stranger = Stranger::new(socket, from, now);
                    let id = match self.gate.admit(now, stranger.source) {
                        Admission::Refuse => {
                            self.gate_stats.refused += 1;
                            continue;
                        }
                        Admission::Enter(id) => id,
                        Admission::Instead { id, of } => {
                            self.gate_stats.pushed_out += 1;
                            self.strangers.remove(&of);
                            id
                        }
                    };
                    self.strangers.insert(id, stranger);
                    // The greeting has often arrived with the connection.
                    self.serve_stranger(id, Turn { read: true, write: false, now });
                }
            }
        }
    }

    /// No descriptor is left: one stranger gives its own back, and the door stays shut a moment.
    fn exhausted(&mut self, why: &std::io::Error, now: Mono) {
        self.gate_stats.exhausted += 1;
        self.listen_again = Some(now + EXHAUSTED_PAUSE);
        if self.exhausted_logged.is_none_or(|at| now.since(at) >= LOG_PAUSE) {
            self.exhausted_logged = Some(now);
            log!(
                Error,
                "links",
                "no new connections for the moment: this process has too many files open",
                why = why
            );
        }
        if let Some(id) = self.gate.most_dispensable() {
            self.gate.leave(id);
            self.strangers.remove(&id);
        }
    }

    /// Ends what has taken too long, and opens the door again.
    pub(super) fn expire_strangers(&mut self, now: Mono) {
        if self.listen_again.is_some_and(|at| now >= at) {
            self.listen_again = None;
        }
        let over: Vec<StrangerId> =
            self.strangers.iter().filter(|(_, s)| now >= s.deadline()).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(stranger) = self.strangers.remove(&id)
                && !matches!(stranger.stage, Stage::Leaving(_) | Stage::Over)
            {
                self.gate_stats.slow += 1;
            }
            self.gate.leave(id);
        }
    }

    /// The costly step of a handshake, for one stranger.
    pub(super) fn grant(&mut self, now: Mono) {
        let Some(id) = self.gate.grant(now) else { return };
        let Some(stranger) = self.strangers.get_mut(&id) else { return };
        if stranger.shake(&self.tls, now).is_err() {
            self.gate_stats.failed += 1;
            self.strangers.remove(&id);
            self.gate.leave(id);
        }
    }

    /// A stranger's socket is ready.
    pub(super) fn serve_stranger(&mut self, id: StrangerId, turn: Turn) {
        let Some(mut stranger) = self.strangers.remove(&id) else { return };
        let stage = std::mem::replace(&mut stranger.stage, Stage::Over);
        stranger.stage = match stage {
            Stage::Greeting(..) => {
                stranger.stage = stage;
                self.greeting(id, &mut stranger)
            }
            Stage::Shaking(wire) => self.shaking(id, wire, &stranger, turn),
            Stage::Joining(wire, answerer) => self.joining(id, wire, answerer, &stranger, turn),
            Stage::Considered(mut wire) => {
                // Nothing is asked to be read here: being readable means that it is broken.
                if !turn.read && wire.flush(turn.now).is_ok() { Stage::Considered(wire) } else { Stage::Over }
            }
            Stage::Leaving(mut leaving) => {
                if leaving.step(turn.now) {
                    Stage::Leaving(leaving)
                } else {
                    Stage::Over
                }
            }
            // Ready though nothing was asked: broken.
            Stage::Asking(..) | Stage::Over => Stage::Over,
        };
        let greedy = stranger.total() > ALLOWANCE;
        if greedy {
            self.gate_stats.slow += 1;
        }
        if greedy || matches!(stranger.stage, Stage::Over) {
            self.gate.leave(id);
        } else {
            self.strangers.insert(id, stranger);
        }
    }

    fn greeting(&mut self, id: StrangerId, stranger: &mut Stranger) -> Stage {
        match stranger.greet() {
            Ok(progress) => {
                if let Some(progress) = progress {
                    self.gate.progress(id, progress);
                }
            }
            Err(_) => {
                self.gate_stats.failed += 1;
                return Stage::Over;
            }
        }
        std::mem::replace(&mut stranger.stage, Stage::Over)
    }

    fn shaking(&mut self, id: StrangerId, mut wire: Wire, stranger: &Stranger, turn: Turn) -> Stage {
        let mut moved = if turn.read { wire.fill() } else { Ok(()) };
        if moved.is_ok() && (turn.write || wire.wants_write()) {
            moved = wire.flush(turn.now);
        }
        match moved {
            Err(_) => {
                self.gate_stats.failed += 1;
                Stage::Over
            }
            Ok(()) if wire.is_handshaking() => Stage::Shaking(wire),
            Ok(()) => self.proved(id, wire, stranger, turn.now),
        }
    }

    /// The key is proved: a peer's, somebody's who wants to join, or nobody's business here.
    fn proved(&mut self, id: StrangerId, wire: Wire, stranger: &Stranger, now: Mono) -> Stage {
        let node = self.whose(&wire).filter(|node| self.links.contains_key(node));
        match (purpose(&wire), node) {
            (Purpose::Peers, Some(node)) => {
                let Some(link) = self.links.get_mut(&node) else { return Stage::Over };
                if now < link.penalty {
                    let what = "it is too early after the last time".to_owned();
                    return leave(wire, PeerMessage::Bye(Bye::Misbehaved { what }), now);
                }
                if let Err(e) = tune(wire.socket()) {
                    log!(Debug, "links", "a connection is broken already", peer = node, why = e);
                    return Stage::Over;
                }
                self.gate.leave(id);
                if link.came_from != Some(stranger.source) {
                    link.came_from = Some(stranger.source);
                    self.refresh_sources();
                }
                self.promote(node, Side::Accepted, wire, stranger.from, now);
                Stage::Over
            }
            (Purpose::Peers, None) => {
                self.gate_stats.untrusted += 1;
                log!(Debug, "links", "refused a connection with an unknown key", from = stranger.from);
                self.gate.progress(id, Progress::Unknown);
                leave(wire, PeerMessage::Bye(Bye::Untrusted), now)
            }
            (Purpose::Join, _) => {
                self.gate.progress(id, Progress::Unknown);
                let turn = Turn { read: false, write: true, now };
                self.joining(id, wire, Answerer::new(), stranger, turn)
            }
            (Purpose::Unknown, _) => {
                self.gate_stats.failed += 1;
                Stage::Over
            }
        }
    }

    /// The peer whose key was proved, or a key to which that peer's letters lead.
    fn whose(&self, wire: &Wire) -> Option<NodeId> {
        let (key, _) = tls::other_end(wire.tls())?;
        self.trust.who(&key).or_else(|| {
            let letters = tls::letters(wire.tls());
            let known =
                letters.iter().find_map(|l| self.trust.get(l.node).filter(|k| k.fingerprint == l.old()))?;
            let leads = succession::leads(&letters, self.cluster, known.node_id, known.fingerprint, key);
            leads.then_some(known.node_id)
        })
    }

    fn joining(
        &mut self,
        id: StrangerId,
        mut wire: Wire,
        mut answerer: Answerer,
        stranger: &Stranger,
        turn: Turn,
    ) -> Stage {
        let now = turn.now;
        let mut moved = if turn.read { wire.fill() } else { Ok(()) };
        if moved.is_ok() && turn.write {
            moved = wire.flush(now);
        }
        let Some(session) = tls::session(wire.tls(), self.tls.fingerprint()) else { return Stage::Over };
        while let Some(body) = wire.next_frame() {
            let facts = Facts {
                session: &session,
                secret: self.setup.secret.as_ref(),
                pause: self.gate.join_pause(now, stranger.source),
            };
            match answerer.hear(&body, &facts, self.setup.desk.as_ref()) {
                Step::Go(reply) => {
                    // It knows the secret: it is not pushed out like the others.
                    self.gate.progress(id, Progress::Shaking);
                    if !say(&mut wire, &reply) || wire.flush(now).is_err() {
                        return Stage::Over;
                    }
                }
                Step::Last(reply) => return leave(wire, reply, now),
                Step::Failed(why) => {
                    self.join_failed(stranger, &why, now);
                    return leave(wire, Reply::Refused(why), now);
                }
                Step::Consider(offer) => return self.consider(id, wire, *offer, now),
            }
        }
        match moved {
            Ok(()) => Stage::Joining(wire, answerer),
            Err(Lost::Length(bad)) => {
                let why = Refused::Nonsense(format!("a message of {} bytes was announced", bad.announced));
                self.join_failed(stranger, &why, now);
                Stage::Over
            }
            Err(_) => Stage::Over,
        }
    }

    /// Counts it, and slows its source down.
    fn join_failed(&mut self, stranger: &Stranger, why: &Refused, now: Mono) {
        self.gate_stats.joins_failed += 1;
        self.gate.join_failed(now, stranger.source);
        if self.join_logged.is_none_or(|at| now.since(at) >= JOIN_LOG_PAUSE) {
            self.join_logged = Some(now);
            let so_far = self.gate_stats.joins_failed;
            log!(Warn, "links", "somebody failed to join", from = stranger.from, why = why, so_far = so_far);
        }
    }

    /// Hands an offer to the desk, on a thread of its own; one at a time.
    fn consider(&mut self, id: StrangerId, wire: Wire, offer: Offer, now: Mono) -> Stage {
        if self.considering.is_some() {
            return leave(wire, Reply::Refused(Refused::Busy), now);
        }
        let shared = Arc::clone(&self.shared);
        let desk = Arc::clone(&self.setup.desk);
        let body = Box::new(move || shared.order(Order::Considered(id, desk.consider(offer))));
        match (self.setup.spawn)("join".to_owned(), body) {
            Ok(_thread) => {
                self.considering = Some(id);
                Stage::Considered(wire)
            }
            Err(e) => {
                let why = format!("this node cannot start a thread ({e}), try again in a moment");
                leave(wire, Reply::Refused(Refused::Unwilling(why)), now)
            }
        }
    }

    /// The desk has decided.
    pub(super) fn considered(&mut self, id: StrangerId, outcome: Result<(), String>, now: Mono) {
        self.considering = None;
        let reply = match outcome {
            Ok(()) => {
                self.gate_stats.joins += 1;
                Reply::Accepted(self.setup.desk.introduce())
            }
            Err(why) => Reply::Refused(Refused::Unwilling(why)),
        };
        // It may be gone: the asker then asks again, and is accepted again.
        let Some(mut stranger) = self.strangers.remove(&id) else { return };
        self.gate.join_worked(stranger.source);
        if let Stage::Considered(wire) = std::mem::replace(&mut stranger.stage, Stage::Over)
            && let stage @ Stage::Leaving(_) = leave(wire, reply, now)
        {
            stranger.stage = stage;
            self.strangers.insert(id, stranger);
        } else {
            self.gate.leave(id);
        }
    }
}

fn say(wire: &mut Wire, what: &impl serde::Serialize) -> bool {
    match serde_json::to_vec(what) {
        Ok(body) => {
            wire.push(&body);
            true
        }
        Err(_) => false,
    }
}

/// The last word, then the end.
fn leave(mut wire: Wire, what: impl serde::Serialize, now: Mono) -> Stage {
    if !say(&mut wire, &what) {
        return Stage::Over;
    }
    wire.finish();
    let mut leaving = Box::new(Leaving::new(wire, now));
    if leaving.step(now) { Stage::Leaving(leaving) } else { Stage::Over }
}
