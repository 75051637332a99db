//! A question that cannot be planned here, by a node that may be behind: "no such check" is an
//! answer only when this node knows everything that was committed before it was asked.
//!
//! The master is asked how far the log is committed (thesis, section 6.4: a read index); when this
//! node has applied up to there it looks again, and that answer stands.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::core::Core;
use super::requests::PATIENCE;
use crate::base::clock::Mono;
use crate::base::id::{NodeId, RequestId};
use crate::control::message::{Reply, Request};
use crate::quorum::message::Index;
use crate::transport::{AnswerOutcome, PeerMessage};

/// The master is asked again after this.
const AGAIN: Duration = Duration::from_millis(250);
/// Questions in doubt at once; more are refused as the node sees it.
const MOST: usize = 256;
/// What the master is asked.
const HOW_FAR: &str = "committed";

/// One question in doubt.
pub struct Doubt {
    request: Request,
    reply: Sender<Reply>,
    until: Mono,
    next: Mono,
    /// This node must have applied so much; `None` until the master has said it.
    target: Option<Index>,
}

impl Core {
    /// The question could not be planned. True when it is kept, to be looked at again.
    pub(super) fn doubt(&mut self, request: &Request, reply: &Sender<Reply>) -> bool {
        if self.node.may_act(self.clock.mono()) || self.doubts.len() >= MOST {
            return false;
        }
        let now = self.clock.mono();
        let (request, reply) = (request.clone(), reply.clone());
        self.doubts.push(Doubt { request, reply, until: now + PATIENCE, next: now, target: None });
        self.settle_doubts(now);
        true
    }

    /// When one is to be looked at.
    pub(super) fn next_doubt(&self) -> Mono {
        self.doubts.iter().map(|d| d.next.min(d.until)).min().unwrap_or(Mono::FAR)
    }

    /// Looks at all of them: asks the master, or answers.
    pub(super) fn settle_doubts(&mut self, now: Mono) {
        if self.doubts.is_empty() {
            return;
        }
        let status = self.node.status();
        let applied = self.state.as_ref().map_or(0, crate::state::State::index);
        let acting = self.node.may_act(now);
        for mut doubt in std::mem::take(&mut self.doubts) {
            if acting || doubt.target.is_some_and(|target| applied >= target) {
                self.answer_ask(doubt.request, doubt.reply, true);
            } else if status.role.master.is_none() && !status.quorum {
                let reply = self.no_quorum();
                drop(doubt.reply.try_send(reply));
            } else if now >= doubt.until {
                let text = "no master: nothing changed, after waiting 10s for one; ask again in a moment";
                drop(doubt.reply.try_send(Reply::NoMaster { text: text.to_owned() }));
            } else {
                if now >= doubt.next {
                    doubt.next = now + AGAIN;
                    self.ask_how_far(status.role.master, doubt.request.id);
                }
                self.doubts.push(doubt);
            }
        }
    }

    fn ask_how_far(&self, master: Option<NodeId>, request: RequestId) {
        if let Some(master) = master.filter(|m| *m != self.me) {
            self.tell(master, PeerMessage::Ask { request, what: HOW_FAR.into() });
        }
    }

    /// A peer asks this node as its master.
    pub(super) fn on_how_far(&self, peer: NodeId, request: RequestId, what: &serde_json::Value) {
        let outcome = if what != HOW_FAR {
            AnswerOutcome::Refused("this version is asked nothing like that".to_owned())
        } else if self.node.may_act(self.clock.mono()) {
            AnswerOutcome::Done(self.node.status().commit.into())
        } else {
            AnswerOutcome::NotReady
        };
        self.tell(peer, PeerMessage::Answer { request, outcome });
    }

    /// The master has answered. False when the answer is not about a doubt.
    pub(super) fn on_told_how_far(&mut self, request: RequestId, outcome: &AnswerOutcome) -> bool {
        let Some(doubt) = self.doubts.iter_mut().find(|d| d.request.id == request) else { return false };
        if let AnswerOutcome::Done(index) = outcome {
            // The first answer counts: it was given after the question was asked.
            doubt.target = doubt.target.or_else(|| index.as_u64());
        }
        self.settle_doubts(self.clock.mono());
        true
    }
}
