//! Owed messages out of the state's outbox to the desk, and their fate back into the log.

use std::collections::BTreeSet;
use std::time::Duration;

use super::core::Core;
use crate::alerts::{Change, Facts, Kind as Word, NodeReport};
use crate::base::clock::{Mono, Wall};
use crate::base::id::AlertId;
use crate::deliver::{DeliveryOutcome, Fate, Job};
use crate::log;
use crate::state::command::{Body, DeliveryId};
use crate::state::{Delivery, Kind, Standing};
use crate::verdict::Verdict;

/// Which destinations have something new.
#[derive(Debug, Default)]
pub struct Owed {
    /// Alerts whose queue changed since it was offered.
    queues: BTreeSet<AlertId>,
    /// A new master leaves what is older than its mastership to the old one's last words until
    /// then: a message may have been accepted whose receipt is still on its way here.
    old_from: Option<Mono>,
    all: bool,
    /// When time makes something due, and the entry up to which that was worked out.
    due: Option<(u64, Option<Wall>)>,
}

impl Owed {
    /// Mastership begins.
    pub fn begin(&mut self, now: Mono, grace: Duration) {
        self.old_from = Some(now + grace);
        self.all = true;
    }

    /// Something changed in these queues.
    pub fn changed(&mut self, alerts: impl IntoIterator<Item = AlertId>) {
        self.queues.extend(alerts);
    }

    /// When something is to be offered.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        if self.queues.is_empty() { self.old_from.unwrap_or(Mono::FAR) } else { Mono(0) }
    }
}

impl Core {
    /// As master: offers the first message of each lane. The desk knows what it has already.
    pub(super) fn offer_owed(&mut self, now: Mono) {
        if !self.acting {
            self.owed.queues.clear();
            return;
        }
        if self.owed.old_from.is_some_and(|at| now >= at) {
            self.owed.old_from = None;
        }
        let waits = self.owed.old_from.is_some();
        if self.owed.all && !waits {
            self.owed.all = false;
            let all: Vec<AlertId> =
                self.cluster().map(|c| c.alerts.keys().copied().collect()).unwrap_or_default();
            self.owed.queues.extend(all);
        }
        let Some(state) = &self.state else { return };
        for id in std::mem::take(&mut self.owed.queues) {
            let Some(alert) = state.cluster().alerts.get(&id) else { continue };
            // Within the grace only what this master's own commands made owed.
            let heads = state.outbox().heads(id).filter(|d| !waits || d.about.by == self.me);
            for delivery in heads {
                let facts = facts(delivery, &alert.name.to_string(), self);
                let job = Job { id: delivery.id, owed_at: delivery.owed_at, facts };
                self.out.desk.offer(alert, job);
            }
        }
    }

    /// A message was accepted, or never will be: that is a fact for the log.
    pub(super) fn on_delivery(&mut self, outcome: DeliveryOutcome) {
        let DeliveryOutcome { alert, id: delivery, fate } = outcome;
        match fate {
            Fate::Delivered => {
                log!(Info, "deliver", "delivered", alert = alert, message = delivery);
                self.begin_own(Body::Delivered { delivery });
            }
            Fate::GaveUp { why } => {
                log!(Error, "deliver", "gave up on a message", alert = alert, message = delivery, why = why);
                self.begin_own(Body::GaveUp { delivery, why });
            }
        }
        self.picture.alerts_changed();
    }

    /// As master: silences that are over, reminders that are due.
    pub(super) fn propose_due(&mut self) {
        let now = self.clock.wall();
        if !self.acting || self.requests.has_own() {
            return;
        }
        let Some(state) = &self.state else { return };
        // Only an entry can change it, and there may be many checks to look through.
        let due = self.owed.due.filter(|(index, _)| *index == state.index());
        let (index, next) = due.unwrap_or_else(|| (state.index(), state.next_due()));
        self.owed.due = Some((index, next));
        if next.is_some_and(|at| at <= now) {
            for body in state.due(now) {
                self.begin_own(body);
            }
        }
    }

    /// The state's own account of a destination.
    pub(super) fn standing(&self, alert: AlertId) -> Standing {
        self.state.as_ref().map(|s| s.outbox().standing(alert)).unwrap_or_default()
    }
}

/// Unique, and the same on every node and after every change of master: cluster, log index, and
/// the time, since a cluster that is founded anew counts its log from the start.
fn name_of(id: DeliveryId, at: Wall, core: &Core) -> String {
    let cluster = core.cluster().map(|c| c.id.short()).unwrap_or_default();
    format!("{id}.{:x}.{cluster}", at.0)
}

/// What a message says.
fn facts(delivery: &Delivery, alert: &str, core: &Core) -> Facts {
    let about = &delivery.about;
    let cluster = core.cluster();
    let label = |id: crate::base::id::NodeId| {
        let peer = cluster.and_then(|c| c.peers.get(&id));
        peer.map_or_else(|| id.short(), |p| p.advertise.to_string())
    };
    let report = |s: &crate::verdict::Seen| NodeReport {
        node: label(s.node),
        ok: s.outcome.is_ok(),
        detail: s.outcome.detail().to_owned(),
    };
    let kind = match &delivery.kind {
        Kind::Down => Word::Down,
        Kind::Recovered => Word::Recovered,
        Kind::Reminder { .. } => Word::Reminder,
        Kind::Summary { .. } => Word::Summary,
    };
    let mut before = Verdict::Unknown;
    let mut folded = Vec::new();
    if let Kind::Summary { steps, .. } = &delivery.kind {
        for step in steps {
            folded.push(Change { at: step.at, from: before, to: step.to, detail: step.detail.clone() });
            before = step.to;
        }
    }
    let ok = about.seen.iter().filter(|s| s.outcome.is_ok()).count();
    Facts {
        kind,
        check_id: about.check.to_string(),
        check_name: about.name.clone(),
        check_type: about.check_type.clone(),
        target: about.target.clone(),
        state: about.to,
        previous: about.from,
        at: about.at,
        // A DOWN at the very moment has lasted for no time, which is not worth a line.
        down_for: about.down_since.map(|since| about.at.since(since)).filter(|d| !d.is_zero()),
        reports: about.seen.iter().map(report).collect(),
        ok: u32::try_from(ok).unwrap_or(u32::MAX),
        total: about.peers,
        detail: about.detail().to_owned(),
        master: label(about.by),
        alert: alert.to_owned(),
        incident: about.incident.map(|i| i.to_string()),
        id: name_of(delivery.id, delivery.owed_at, core),
        in_reply_to: delivery.reply_to.as_ref().map(|r| name_of(r.id, r.at, core)),
        folded,
    }
}
