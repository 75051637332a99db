//! Who hears whom: this node's own row, asked of it by peers, and the rows of all, asked of them.
//!
//! A question goes to every peer that there is a connection to; the answers are collected until all
//! have come or `PATIENCE` has passed, then whoever asked gets what there is. Nothing that a peer
//! says here is believed for anything but showing it under that peer's name.

use std::collections::BTreeMap;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::Deserialize;

use super::core::Core;
use crate::base::clock::{Mono, Wall};
use crate::base::id::{NodeId, RequestId};
use crate::base::units::HostPort;
use crate::control::message::Reply;
use crate::sys::icmp::{self, Kind};
use crate::sys::net;
use crate::transport::{AnswerOutcome, PeerMessage, PeerStats, Sent};
use crate::view::mesh::{Claim, Contact, Mesh, MeshRow, PingRight, Pings, Strangers};

/// What a peer is asked.
pub const QUESTION: &str = "mesh";
/// How long peers are waited for: a slow link takes a second, a person not much longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions under way at once: people and scripts are few.
const MOST: usize = 16;

/// One question under way.
pub struct Round {
    id: RequestId,
    reply: Sender<Reply>,
    asked: Mono,
    asked_wall: Wall,
    rows: BTreeMap<NodeId, MeshRow>,
    waits_for: Vec<NodeId>,
}

impl Core {
    /// Somebody at the control socket wants to see it.
    pub(super) fn begin_mesh(&mut self, reply: Sender<Reply>) {
        if self.rounds.len() >= MOST {
            let text = "this node is asking its peers for others already: ask again in a moment";
            return drop(reply.try_send(Reply::TryAgain { text: text.to_owned() }));
        }
        let (id, asked) = (self.new_request(), self.clock.mono());
        let own = self.own_claim();
        let mut round = Round {
            id,
            reply,
            asked,
            asked_wall: self.clock.wall(),
            rows: BTreeMap::new(),
            waits_for: Vec::new(),
        };
        for (node, advertise) in self.mesh_peers() {
            let me = node == self.me;
            let mut row = MeshRow {
                node_id: node,
                advertise,
                me,
                says: me.then(|| own.clone()),
                silent: None,
                clock_offset_ms: me.then_some(0),
                round_trip_ms: None,
            };
            if !me {
                let question = PeerMessage::Ask { request: id, what: QUESTION.into() };
                match self.out.links.send(node, question) {
                    Sent::Queued => round.waits_for.push(node),
                    Sent::Full => row.silent = Some("it takes messages too slowly".to_owned()),
                    Sent::NoLink | Sent::NoPeer => row.silent = Some("no connection".to_owned()),
                }
            }
            round.rows.insert(node, row);
        }
        self.rounds.push(round);
        self.settle_rounds(asked);
    }

    /// The members; while this node has no state of its cluster, whom its links know.
    fn mesh_peers(&self) -> BTreeMap<NodeId, HostPort> {
        let mut all = BTreeMap::from([(self.me, self.joining.advertise.clone())]);
        match self.cluster() {
            Some(cluster) => all.extend(cluster.peers.values().map(|p| (p.node_id, p.advertise.clone()))),
            None => all.extend(self.out.links.stats().into_iter().map(|s| (s.peer, s.address))),
        }
        all
    }

    /// A peer asks for this node's row.
    pub(super) fn on_mesh_asked(&mut self, peer: NodeId, request: RequestId) {
        let outcome = match serde_json::to_value(self.own_claim()) {
            Ok(claim) => AnswerOutcome::Done(claim),
            Err(_) => AnswerOutcome::NotReady,
        };
        self.tell(peer, PeerMessage::Answer { request, outcome });
    }

    /// A peer answers. False when it was asked nothing like that.
    pub(super) fn on_mesh_told(&mut self, peer: NodeId, request: RequestId, outcome: &AnswerOutcome) -> bool {
        let Some(round) = self.rounds.iter_mut().find(|r| r.id == request) else { return false };
        let waited = round.waits_for.iter().position(|p| *p == peer);
        let (Some(at), Some(row)) = (waited, round.rows.get_mut(&peer)) else { return true };
        round.waits_for.remove(at);
        let took = self.clock.mono().since(round.asked);
        row.round_trip_ms = Some(millis(took));
        let claim = match outcome {
            AnswerOutcome::Done(value) => Claim::deserialize(value).ok(),
            _ => None,
        };
        match claim {
            Some(claim) => {
                let half_way = round.asked_wall.0.saturating_add(millis(took) / 2);
                row.clock_offset_ms = Some(difference(claim.clock_ms, half_way));
                let known = round.rows.keys().copied().collect();
                let claim = claim.fitted(&known);
                round.rows.entry(peer).and_modify(|row| row.says = Some(claim));
            }
            None => row.silent = Some("its version does not answer this question".to_owned()),
        }
        self.settle_rounds(self.clock.mono());
        true
    }

    /// When the next question is answered in any case.
    pub(super) fn next_round(&self) -> Mono {
        self.rounds.iter().map(|r| r.asked + PATIENCE).min().unwrap_or(Mono::FAR)
    }

    /// Answers those for which everybody has answered, or time is up.
    pub(super) fn settle_rounds(&mut self, now: Mono) {
        let over = |r: &Round| r.waits_for.is_empty() || now >= r.asked + PATIENCE;
        let (done, open): (Vec<Round>, Vec<Round>) =
            std::mem::take(&mut self.rounds).into_iter().partition(over);
        self.rounds = open;
        for mut round in done {
            for peer in &round.waits_for {
                if let Some(row) = round.rows.get_mut(peer) {
                    row.silent = Some(format!("no answer within {}s", PATIENCE.as_secs()));
                }
            }
            // What the others said may have been overtaken here since the question was put.
            let own = self.own_claim();
            round.rows.entry(self.me).and_modify(|row| row.says = Some(own));
            let mesh = Mesh {
                at: round.asked_wall,
                node: self.me,
                rows: round.rows.into_values().collect(),
                strangers: self.strangers(),
                here: None,
            };
            // Nobody listens when the caller has gone.
            drop(round.reply.try_send(Reply::Mesh(Box::new(mesh))));
        }
    }

    fn own_claim(&self) -> Claim {
        let now = self.clock.mono();
        let status = self.node.status();
        let contact = |s: PeerStats| Contact {
            live: status.live.contains(&s.peer),
            heard_ms: self.node.heard_at(s.peer).map(|at| millis(now.since(at))),
            node_id: s.peer,
            address: s.address,
            dialled: s.dialled.is_some(),
            accepted: s.accepted.is_some(),
            trouble: s.trouble.filter(|_| s.dialled.is_none()),
            dropped: s.dropped,
            nonsense: s.misbehaviours,
            last_nonsense: s.last_misbehaviour.as_ref().map(|(how, _)| how.to_string()),
            last_nonsense_at: s.last_misbehaviour.map(|(_, at)| at),
        };
        let mut known = self.mesh_peers();
        known.remove(&self.me);
        let peers = self.out.links.stats().into_iter().filter(|s| known.contains_key(&s.peer));
        Claim {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: millis(now.since(self.started)),
            clock_ms: self.clock.wall().0,
            master: status.role.master,
            config_version: self.cluster().map_or(0, |c| c.version),
            applied: self.state.as_ref().map_or(0, crate::state::State::index),
            committed: self.node.may_act(now).then_some(status.commit),
            peers: peers.map(contact).collect(),
        }
    }

    fn strangers(&self) -> Strangers {
        let gate = self.out.links.gate();
        Strangers {
            now: u64::try_from(gate.strangers).unwrap_or(u64::MAX),
            accepted: gate.accepted,
            refused: gate.refused + gate.pushed_out + gate.slow,
            failed: gate.failed,
            untrusted: gate.untrusted,
            joins_failed: gate.joins_failed,
        }
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// `a - b`, as far as it can be said.
fn difference(a: u64, b: u64) -> i64 {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}

/// How this process may ping.
#[must_use]
pub fn pings() -> Pings {
    let right = |v6| match icmp::open(v6) {
        Ok(socket) if socket.kind() == Kind::Datagram => PingRight::Datagram,
        Ok(_) => PingRight::Raw,
        Err(refused) if net::is_no_family(&refused.datagram) => PingRight::Absent,
        Err(_) => PingRight::Forbidden,
    };
    // What cannot be read is shown as nothing.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    Pings {
        v4: right(false),
        v6: right(true),
        group: icmp::group(),
        range: range.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    }
}
