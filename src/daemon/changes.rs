//! Changes of clients, of peers' clients, and of this daemon itself: to the log and back.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::core::Core;
use super::requests::{Origin, Waiting};
use crate::base::clock::{Mono, Wall};
use crate::base::id::{NodeId, RequestId};
use crate::control::message::{Done, Reply};
use crate::quorum::io::{Input, MemberChange, Proposal, Refusal};
use crate::quorum::message::Command as Sealed;
use crate::state::command::{Body, Command, Member};
use crate::state::{self, Applied, What};
use crate::transport::{AnswerOutcome, PeerMessage};

/// A change that could not be tried, or whose answer does not come, is tried again after this.
const AGAIN: Duration = Duration::from_millis(50);
/// A change that was sent to the master is sent again after this: the same id, so it counts once.
const RESEND: Duration = Duration::from_secs(1);
/// But not sooner than this many times as long as it took to judge and write.
const RESEND_SPACING: u32 = 10;
/// Clocks of peers that differ by more than this are not believed.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// The largest change, bytes of its written form: it must fit into one message between nodes.
const LARGEST_CHANGE: usize = 4 * 1024 * 1024;

impl Core {
    /// A change that somebody here waits for.
    pub(super) fn begin(&mut self, id: RequestId, body: Body, reply: Sender<Reply>) {
        if self.is_stopping() {
            let text = "this node is stopping: ask again in a moment, or another node".to_owned();
            return drop(reply.try_send(Reply::TryAgain { text }));
        }
        let (now, at) = (self.clock.mono(), self.clock.wall());
        if self.requests.add(id, body, at, Origin::Local(reply.clone()), now) {
            self.try_one(id);
        } else {
            let text = "too many changes are under way on this node: ask again in a moment".to_owned();
            drop(reply.try_send(Reply::TryAgain { text }));
        }
    }

    /// A change of this daemon's own, that must reach whoever is master.
    pub(super) fn begin_own(&mut self, body: Body) -> RequestId {
        let id = self.new_request();
        let (now, at) = (self.clock.mono(), self.clock.wall());
        if self.requests.add(id, body, at, Origin::Own, now) {
            self.try_one(id);
        }
        id
    }

    /// A peer forwards a change of its client.
    pub(super) fn on_propose(&mut self, from: NodeId, id: RequestId, body: Body, at: Wall) {
        if self.requests.has(id) {
            return;
        }
        if !self.node.status().role.me {
            let outcome = AnswerOutcome::NotMaster(self.node.status().role.master);
            self.tell(from, PeerMessage::Answer { request: id, outcome });
            return;
        }
        let now = self.clock.mono();
        let at = believable(at, self.clock.wall());
        if self.requests.add(id, body, at, Origin::Peer(from), now) {
            self.try_one(id);
        }
    }

    pub(super) fn try_requests(&mut self, now: Mono) {
        for id in self.requests.due(now) {
            self.try_one(id);
        }
        for id in self.requests.expired(now) {
            self.give_up(id);
        }
    }

    /// One try, wherever the master is.
    fn try_one(&mut self, id: RequestId) {
        if let Some(answer) = self.state.as_ref().and_then(|s| s.answer(id)).cloned() {
            return self.settle(id, &answer);
        }
        let status = self.node.status();
        let now = self.clock.mono();
        let again = |w: &mut Waiting, after| w.next_try = now + after;
        if status.role.me {
            return self.try_here(id);
        }
        let Some(w) = self.requests.get_mut(id) else { return };
        match (&w.origin, status.role.master) {
            (Origin::Peer(peer), master) => {
                let peer = *peer;
                self.requests.take(id);
                let outcome = AnswerOutcome::NotMaster(master);
                self.tell(peer, PeerMessage::Answer { request: id, outcome });
            }
            (_, Some(master)) => {
                again(w, RESEND);
                w.sent = true;
                let (body, at) = (w.body.clone(), w.at);
                self.tell(master, PeerMessage::Propose { request: id, body, at });
            }
            // An election is waited out; without a quorum there will be none.
            (_, None) if status.quorum || w.sent => again(w, AGAIN),
            (Origin::Own, None) => again(w, RESEND),
            (_, None) => {
                let reply = self.no_quorum();
                self.finish(id, reply);
            }
        }
    }

    /// One try at the log, as master.
    fn try_here(&mut self, id: RequestId) {
        let now = self.clock.mono();
        let Some(w) = self.requests.get_mut(id) else { return };
        w.next_try = now + RESEND;
        let (body, at) = (w.body.clone(), w.at);
        let by = match w.origin {
            Origin::Peer(peer) => peer,
            _ => self.me,
        };
        if !self.node.may_act(now) {
            // Not complete yet, or not sure of its majority.
            w.next_try = now + AGAIN;
            return;
        }
        // Members and state must come to the same answer: nothing undecided may stand before it.
        let status = self.node.status();
        if body.member().is_some() && status.commit < status.end.index {
            w.next_try = now + AGAIN;
            return;
        }
        if let Err(why) = self.judge(&body) {
            return self.finish(id, Reply::refused(why));
        }
        let text = match serde_json::to_string(&Command { by, at, body: body.clone() }) {
            Ok(text) if text.len() <= LARGEST_CHANGE => text,
            Ok(text) => {
                let why = format!(
                    "the change is too large ({} bytes, {LARGEST_CHANGE} at most): make it in parts",
                    text.len()
                );
                return self.finish(id, Reply::refused(why));
            }
            Err(e) => return self.finish(id, Reply::refused(e.to_string())),
        };
        // A large one is not judged and written again all the time because it is slow.
        let spent = self.clock.mono().since(now);
        if let Some(w) = self.requests.get_mut(id) {
            w.sent = true;
            w.next_try = now + RESEND.max(spent * RESEND_SPACING);
        }
        let change = body.member().map(|m| match m {
            Member::Add(node) => MemberChange::Add(node),
            Member::Remove(node) => MemberChange::Remove(node),
        });
        let command = Sealed { request: id, text: text.into() };
        self.inputs.push_back(Input::Propose(Proposal { command, change }));
        self.drive(Input::Tick);
    }

    /// What can be refused before it is in the log: by the state, and by the version gate.
    fn judge(&self, body: &Body) -> Result<(), String> {
        if let Some(state) = &self.state {
            state.check(body).map_err(|e| e.to_string())?;
        }
        // Who is to go does not have to understand it.
        let gone = body.member().and_then(|m| if let Member::Remove(node) = m { Some(node) } else { None });
        self.understood(body.kind(), gone)
    }

    /// The quorum core did not take it, or lost it with the role.
    pub(super) fn on_refused(&mut self, id: RequestId, why: Refusal) {
        if let Some(checks) = self.proposed.remove(&id) {
            checks.into_iter().for_each(|check| self.tally.clear(check));
            self.verdicts_from = self.clock.mono() + AGAIN;
        }
        let now = self.clock.mono();
        let Some(w) = self.requests.get_mut(id) else { return };
        match for_good(&why) {
            Some(text) => self.finish(id, Reply::refused(text)),
            // It is in the log already; its result will come.
            None if why == Refusal::Duplicate => {}
            None => w.next_try = now + AGAIN,
        }
    }

    /// The master answers about a change that was forwarded to it.
    pub(super) fn on_answer(&mut self, id: RequestId, outcome: AnswerOutcome) {
        if self.on_told_how_far(id, &outcome) {
            return;
        }
        let now = self.clock.mono();
        let Some(w) = self.requests.get_mut(id) else { return };
        match outcome {
            // What counts is that it is applied here; this is kept for the case that it is late.
            AnswerOutcome::Done(value) => {
                w.next_try = Mono::FAR;
                w.confirmed = serde_json::from_value::<Done>(value).ok().map(Reply::Done);
                // But a node that is removed by it will never apply it.
                if w.body.member() == Some(Member::Remove(self.me))
                    && let Some(reply) = w.confirmed.take()
                {
                    self.finish(id, reply);
                }
            }
            AnswerOutcome::Refused(text) => self.finish(id, Reply::refused(text)),
            AnswerOutcome::NotMaster(_) | AnswerOutcome::NotReady => w.next_try = now + AGAIN,
            AnswerOutcome::NoQuorum { live, need, of } => {
                self.finish(id, Reply::no_quorum(live, of, need));
            }
        }
    }

    /// An entry was applied here: whoever waits for it is told, then the world.
    pub(super) fn after_apply(
        &mut self,
        request: Option<RequestId>,
        command: Option<&Command>,
        applied: Applied,
    ) {
        if let Some(checks) = request.and_then(|id| self.proposed.remove(&id)) {
            checks.into_iter().for_each(|check| self.tally.clear(check));
        }
        let waiting = request.filter(|id| self.requests.has(*id));
        // A node that had itself removed hears nothing more once that is carried out.
        let first = waiting.filter(|id| self.waits_outside(*id, command));
        if let Some(id) = first {
            self.settle(id, &applied.result);
        }
        self.carry_out_effects(command, &applied.effects);
        if let Some(id) = waiting.filter(|_| first.is_none()) {
            self.settle(id, &applied.result);
        }
    }

    /// Whether the one who waits for this command is removed by it.
    fn waits_outside(&mut self, id: RequestId, command: Option<&Command>) -> bool {
        let Some(Member::Remove(gone)) = command.and_then(|c| c.body.member()) else { return false };
        self.requests.get_mut(id).is_some_and(|w| matches!(w.origin, Origin::Peer(peer) if peer == gone))
    }

    /// The result of a change is known.
    fn settle(&mut self, id: RequestId, result: &Result<state::Done, state::Refused>) {
        self.finish(id, answered(result));
    }

    /// Tells whoever waits, and forgets it.
    pub(super) fn finish(&mut self, id: RequestId, reply: Reply) {
        let Some(w) = self.requests.take(id) else { return };
        // The answer comes after what it says can be seen here.
        self.publish_now();
        match w.origin {
            // Nobody listens any more when the client has gone; the change stands all the same.
            Origin::Local(to) => drop(to.try_send(reply)),
            Origin::Peer(peer) => {
                let outcome = match reply {
                    Reply::Done(done) => AnswerOutcome::Done(serde_json::to_value(done).unwrap_or_default()),
                    Reply::Refused { text } => AnswerOutcome::Refused(text),
                    _ => AnswerOutcome::NotReady,
                };
                self.tell(peer, PeerMessage::Answer { request: id, outcome });
            }
            Origin::Own => {}
        }
    }

    /// It has waited too long.
    fn give_up(&mut self, id: RequestId) {
        let Some(w) = self.requests.get_mut(id) else { return };
        let confirmed = w.confirmed.take();
        let sent = w.sent;
        let reply = confirmed.unwrap_or_else(|| {
            if sent {
                let text = "the change was sent and its fate is open: no answer within 10s; it may still be made. \
                            Look with qu status or the listing before asking again";
                Reply::Unsure { text: text.to_owned() }
            } else {
                let text = "no master: nothing changed, after waiting 10s for an election; ask again in a moment";
                Reply::NoMaster { text: text.to_owned() }
            }
        });
        self.finish(id, reply);
    }

    pub(super) fn no_quorum(&self) -> Reply {
        let status = self.node.status();
        let of = status.membership.voters.len();
        let live = status.membership.voters.keys().filter(|v| status.live.contains(v)).count();
        if self.state.is_none() {
            let text = "this node has no state of its cluster yet: it waits for a master to learn it from";
            return Reply::NoQuorum { text: text.to_owned() };
        }
        Reply::no_quorum(live, of, status.membership.need())
    }
}

/// What a client is told of a refusal that stands; nothing of one that passes.
fn for_good(why: &Refusal) -> Option<String> {
    match why {
        Refusal::NotMaster(_)
        | Refusal::NotReady
        | Refusal::ChangePending
        | Refusal::Busy
        | Refusal::HandingOver
        | Refusal::Duplicate => None,
        Refusal::AlreadyMember => Some("that node is a peer already".to_owned()),
        Refusal::NotMember => Some("that node is not a peer".to_owned()),
        Refusal::LastVoter => Some(state::Refused::LastPeer.to_string()),
        Refusal::WouldLoseQuorum { live, need } => {
            let remain = if *live == 1 { "1 live peer" } else { &format!("{live} live peers") };
            let are = if *need == 1 { "is" } else { "are" };
            Some(format!(
                "without it {remain} would remain and {need} {are} needed: bring another peer back first"
            ))
        }
    }
}

/// When a peer's client asked, by the peer's clock: as long as that clock is not far from ours. A
/// silence of one hour that a node with another date asks for begins now. A clock of ours that was
/// never set knows nothing better.
fn believable(said: Wall, ours: Wall) -> Wall {
    let near = said.since(ours).max(ours.since(said)) <= CLOCKS_DIFFER;
    if near || ours < Wall::SANE { said } else { ours }
}

/// The recorded result of a change, for a client.
pub fn answered(result: &Result<state::Done, state::Refused>) -> Reply {
    match result {
        Ok(done) => Reply::Done(told(done)),
        Err(why) => Reply::refused(why.to_string()),
    }
}

/// What was done, for a client.
pub fn told(done: &state::Done) -> Done {
    let (version, facts) = match &done.what {
        What::Added { id, .. } => (Some(done.version), serde_json::json!({ "id": id })),
        What::Changed { .. } | What::Removed { .. } | What::Edited { .. } => {
            (Some(done.version), serde_json::Value::Null)
        }
        _ => (None, serde_json::Value::Null),
    };
    Done { text: done.what.to_string(), version, facts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_cannot_be_says_why_and_what_to_do() {
        for (why, text) in [
            (
                Refusal::WouldLoseQuorum { live: 1, need: 2 },
                "without it 1 live peer would remain and 2 are needed: bring another peer back first",
            ),
            (
                Refusal::WouldLoseQuorum { live: 2, need: 3 },
                "without it 2 live peers would remain and 3 are needed: bring another peer back first",
            ),
            (
                Refusal::WouldLoseQuorum { live: 0, need: 1 },
                "without it 0 live peers would remain and 1 is needed: bring another peer back first",
            ),
            (
                Refusal::LastVoter,
                "the last peer cannot be removed: stop the daemon and delete its data instead",
            ),
            (Refusal::NotMember, "that node is not a peer"),
            (Refusal::AlreadyMember, "that node is a peer already"),
        ] {
            assert_eq!(for_good(&why).as_deref(), Some(text));
        }
        for passes in [
            Refusal::NotMaster(None),
            Refusal::NotReady,
            Refusal::ChangePending,
            Refusal::Busy,
            Refusal::HandingOver,
            Refusal::Duplicate,
        ] {
            assert_eq!(for_good(&passes), None);
        }
    }

    #[test]
    fn a_peers_clock_is_believed_while_it_is_near_ours() {
        let ours = Wall(Wall::SANE.0 + 1_000_000);
        assert_eq!(believable(ours, Wall(5000)), ours);
        for (said, taken) in [
            (Wall(ours.0 - 50_000), Wall(ours.0 - 50_000)),
            (Wall(ours.0 + 50_000), Wall(ours.0 + 50_000)),
            (Wall(ours.0 + 70_000), ours),
            (Wall(0), ours),
            (Wall::LAST, ours),
        ] {
            assert_eq!(believable(said, ours), taken, "{said:?}");
        }
    }
}
