//! Probes into verdicts: this node's reports go to every peer, everybody's go into the tally, and
//! the master proposes what follows.
//!
//! Every node keeps a tally, so that a new master decides from reports that it has rather than
//! waiting for a round of new ones: the minute in which the old master died with the service it
//! watched is the one that counts. Reports travel in batches: with the next heartbeat, or at once
//! when a result differs from the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::Core;
use crate::base::clock::Mono;
use crate::base::id::{CheckId, NodeId};
use crate::quorum::io::{Input, Proposal};
use crate::quorum::message::Command as Sealed;
use crate::state::command::{Body, Command};
use crate::transport::PeerMessage;
use crate::verdict::{Report, Taken};

/// Reports in one message: some tens of kilobytes.
const BATCH: usize = 500;
/// Changed results are collected for this long, so that what fails together travels together.
const GATHER: Duration = Duration::from_millis(20);
/// Verdicts changed by one command.
const VERDICTS: usize = 200;

/// Reports that wait for the next message. One for each check: a newer one takes the place of an
/// older one that was not sent yet.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: BTreeMap<CheckId, Report>,
    last: BTreeMap<CheckId, bool>,
    flush_at: Option<Mono>,
}

impl Outgoing {
    /// When they are to be sent.
    #[must_use]
    pub fn flush_at(&self) -> Mono {
        self.flush_at.unwrap_or(Mono::FAR)
    }

    fn add(&mut self, report: Report, now: Mono, heartbeat: Duration) {
        let ok = report.outcome.is_ok();
        let changed = self.last.insert(report.check, ok) != Some(ok);
        let due = now + if changed { GATHER.min(heartbeat) } else { heartbeat };
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
        self.waiting.insert(report.check, report);
    }

    fn take(&mut self) -> Vec<Report> {
        self.flush_at = None;
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Forgets checks that are gone.
    pub fn retain(&mut self, keep: impl Fn(&CheckId) -> bool) {
        self.waiting.retain(|id, _| keep(id));
        self.last.retain(|id, _| keep(id));
    }
}

impl Core {
    /// A probe of this node has ended.
    pub(super) fn on_own_report(&mut self, report: Report) {
        let now = self.clock.mono();
        self.take_report(now, self.me, &report);
        let heartbeat = self.timing().heartbeat;
        self.outgoing.add(report, now, heartbeat);
    }

    /// A peer's probes have ended; `from` is who the connection's key proved.
    pub(super) fn on_reports(&mut self, from: NodeId, reports: &[Report]) {
        let now = self.clock.mono();
        for report in reports {
            self.take_report(now, from, report);
        }
    }

    fn take_report(&mut self, now: Mono, from: NodeId, report: &Report) {
        if self.tally.take(now, from, report) == Taken::New {
            self.picture.check_changed(report.check, now);
        }
    }

    pub(super) fn flush_reports(&mut self, now: Mono) {
        if self.outgoing.flush_at() > now {
            return;
        }
        let reports = self.outgoing.take();
        let Some(cluster) = self.cluster().cloned() else { return };
        for peer in cluster.peers.keys().filter(|p| **p != self.me) {
            for batch in reports.chunks(BATCH) {
                self.tell(*peer, PeerMessage::Reports(batch.to_vec()));
            }
        }
    }

    /// As master: proposes the verdicts that the reports call for. Nothing has happened until they
    /// are committed.
    pub(super) fn propose_verdicts(&mut self, now: Mono) {
        if now < self.verdicts_from {
            return;
        }
        let limit = if self.acting { VERDICTS } else { 0 };
        if limit == 0 && self.tally.next_deadline() > now {
            return;
        }
        let Some(state) = &self.state else { return };
        let changes = self.tally.poll(now, limit, |id| state.verdict(id));
        if changes.is_empty() {
            return;
        }
        let id = self.new_request();
        let checks = changes.iter().map(|t| t.check).collect();
        let command = Command { by: self.me, at: self.clock.wall(), body: Body::Verdicts { changes } };
        let Ok(text) = serde_json::to_string(&command) else { return };
        self.proposed.insert(id, checks);
        let command = Sealed { request: id, text: text.into() };
        self.drive(Input::Propose(Proposal { command, change: None }));
    }
}
