//! Layer 2: the replicated state machine.
//!
//! [`State::apply`] takes the committed commands in order of the log and comes to the same state
//! on every node: settings, peers, checks and alerts (counted by the config version), and beside
//! them verdicts, incidents, silences and the messages owed to destinations.
//!
//! * Nothing here knows the time, chance or the world: what a command needs of them it carries.
//! * Nothing fails by accident: a command that cannot be carried out is refused with a typed
//!   reason, and the refusal is as replicated as a success.
//! * A transition and the messages that it owes are one entry: all or nothing.
//! * A request that comes twice is answered twice and applied once.
//! * The parts are shared: a clone of the state, or of a part for a published view, costs a
//!   counter each; a part is copied when it changes while somebody holds the old one.
//!
//! | file | what |
//! | --- | --- |
//! | `command.rs` | what the state can be told |
//! | `outcome.rs` | what telling it gives: result and effects |
//! | `changes.rs` `edit.rs` `diff.rs` | configuration: changes, hand edits, differences |
//! | `keys.rs` | another key for a node |
//! | `verdicts.rs` `incidents.rs` | transitions and what they leave |
//! | `route.rs` `outbox.rs` | who is owed what |
//! | `silences.rs` `due.rs` | maintenance, reminders |
//! | `requests.rs` | answers to recent requests |
//! | `snapshot.rs` | the whole of it as text and back |
//!
//! Left out: parsing of commands (a node that cannot read a committed command must stop), sending,
//! and every decision about when to propose what.
#![forbid(unsafe_code)]

pub mod changes;
pub mod command;
pub mod diff;
pub mod due;
pub mod edit;
#[cfg(test)]
mod fixture;
pub mod incidents;
pub mod keys;
pub mod outbox;
pub mod outcome;
pub mod requests;
pub mod route;
pub mod silences;
pub mod snapshot;
pub mod verdicts;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, NodeId, RequestId};
use crate::config::Cluster;
use crate::verdict::Verdict;

use command::{Body, Command, DeliveryId};
use diff::Diff;
pub use incidents::{Incident, IncidentId, Incidents};
pub use outbox::{About, Delivery, Kind, Outbox, ReplyTo, Standing, Step};
pub use outcome::{Applied, Done, Effects, Item, Refused, Settled, What};
use requests::Requests;
pub use silences::{Silence, Silences};
pub use verdicts::{CheckVerdict, Told, Verdicts};

/// Everything that the cluster agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    index: u64,
    cluster: Arc<Cluster>,
    verdicts: Arc<Verdicts>,
    incidents: Arc<Incidents>,
    outbox: Arc<Outbox>,
    silences: Arc<Silences>,
    requests: Arc<Requests>,
}

/// The command that is being applied, and what it has caused so far.
pub(crate) struct Now {
    index: u64,
    at: Wall,
    by: NodeId,
    deliveries: u32,
    incidents: u32,
    effects: Effects,
}

impl Now {
    fn new(index: u64, command: &Command) -> Now {
        Now {
            index,
            at: command.at,
            by: command.by,
            deliveries: 0,
            incidents: 0,
            effects: Effects::default(),
        }
    }

    fn delivery(&mut self) -> DeliveryId {
        let n = self.deliveries;
        self.deliveries = n.saturating_add(1);
        DeliveryId { index: self.index, n }
    }

    fn incident(&mut self) -> IncidentId {
        let n = self.incidents;
        self.incidents = n.saturating_add(1);
        IncidentId { index: self.index, n }
    }
}

impl State {
    /// The state of a cluster that begins with this configuration: a fresh one of one node, or one
    /// that is founded anew from its `cluster.yaml`. All verdicts are unknown and nothing is owed.
    /// (Whether the configuration is valid is [`changes::whole`]'s to say.)
    #[must_use]
    pub fn found(cluster: Cluster) -> State {
        let fresh = Arc::new(CheckVerdict::unknown(cluster.updated_at, 0));
        let verdicts: Verdicts = cluster.checks.keys().map(|id| (*id, Arc::clone(&fresh))).collect();
        State {
            index: 0,
            cluster: Arc::new(cluster),
            verdicts: Arc::new(verdicts),
            incidents: Arc::default(),
            outbox: Arc::default(),
            silences: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// Applies the entry at `index`. An entry that was applied already does nothing.
    pub fn apply(&mut self, index: u64, request: Option<RequestId>, command: Option<&Command>) -> Applied {
        if index <= self.index {
            return self.nothing(true);
        }
        self.index = index;
        let Some(command) = command else {
            return self.nothing(false);
        };
        let request = request.filter(|_| command.body.has_client());
        if let Some(answer) = request.and_then(|id| self.requests.answer(id)) {
            return Applied { result: answer.clone(), effects: Effects::default(), repeated: true };
        }
        let mut now = Now::new(index, command);
        let result = self.carry_out(&mut now, &command.body);
        let result = result.map(|what| Done { version: self.cluster.version, what });
        if let Some(id) = request {
            Arc::make_mut(&mut self.requests).remember(id, result.clone());
        }
        Applied { result, effects: now.effects, repeated: false }
    }

    fn nothing(&self, repeated: bool) -> Applied {
        let result = Ok(Done { version: self.cluster.version, what: What::Nothing });
        Applied { result, effects: Effects::default(), repeated }
    }

    fn carry_out(&mut self, now: &mut Now, body: &Body) -> Result<What, Refused> {
        Ok(match body {
            Body::Change(change) => {
                let (new, what) = changes::plan(&self.cluster, change)?;
                self.adopt(now, new, what)
            }
            Body::HandEdit { items } => {
                let (new, what) = edit::plan(&self.cluster, items)?;
                self.adopt(now, new, what)
            }
            Body::RotateKey { succession, cert_pem } => {
                let (new, what) = keys::plan(&self.cluster, succession, cert_pem)?;
                self.adopt(now, new, what)
            }
            Body::Verdicts { changes } => {
                let applied = changes.iter().filter(|t| self.transition(now, t)).count();
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                What::Verdicts { changed: count(applied), ignored: count(changes.len() - applied) }
            }
            Body::Delivered { delivery } => self.delivered(now, *delivery),
            Body::GaveUp { delivery, why } => {
                let gone = Arc::make_mut(&mut self.outbox).give_up(*delivery, why, now.at);
                let was_owed = gone.is_some();
                if let Some(gone) = gone {
                    now.effects.settled.push((*delivery, Settled::GaveUp(why.clone())));
                    now.effects.queues.insert(gone.alert);
                }
                What::Settled { delivery: *delivery, was_owed }
            }
            Body::Silence { check, length, reason } => self.silence(now, *check, *length, reason)?,
            Body::EndSilence { id } => self.end_silence(now, *id)?,
            Body::Remind { due } => self.remind(now, due),
        })
    }

    /// Whether `body` would be refused now, by the same rules: for telling whoever asks before
    /// anything is proposed. What is committed in between may still change the answer, so nothing
    /// else may be under way when a change of the membership depends on it.
    ///
    /// # Errors
    /// The refusal that applying it would give.
    pub fn check(&self, body: &Body) -> Result<(), Refused> {
        match body {
            Body::Change(change) => changes::plan(&self.cluster, change).map(drop),
            Body::HandEdit { items } => edit::plan(&self.cluster, items).map(drop),
            Body::RotateKey { succession, cert_pem } => {
                keys::plan(&self.cluster, succession, cert_pem).map(drop)
            }
            Body::Silence { check, .. } => self.may_silence(*check).map(drop),
            Body::EndSilence { id } => match self.silences.get(*id) {
                Some(_) => Ok(()),
                None => Err(Refused::NoSuch { item: Item::Silence, id: id.to_string() }),
            },
            Body::Verdicts { .. } | Body::Delivered { .. } | Body::GaveUp { .. } | Body::Remind { .. } => {
                Ok(())
            }
        }
    }

    /// Takes a new configuration over, with all that follows from it. One that changes nothing
    /// gets no new version.
    fn adopt(&mut self, now: &mut Now, mut new: Cluster, what: What) -> What {
        let diff = Diff::between(&self.cluster, &new);
        if diff.is_empty() {
            return match what {
                What::Changed { item, name, .. } => What::Unchanged { item, name },
                _ => What::Unchanged { item: Item::Configuration, name: String::new() },
            };
        }
        new.version = self.cluster.version.saturating_add(1);
        new.updated_at = now.at;
        new.updated_by = Some(now.by);
        let old = std::mem::replace(&mut self.cluster, Arc::new(new));
        self.follow(now, &old, &diff);
        now.effects.config = diff;
        what
    }

    fn delivered(&mut self, now: &mut Now, id: DeliveryId) -> What {
        let gone = Arc::make_mut(&mut self.outbox).delivered(id, now.at);
        if let Some(gone) = &gone {
            now.effects.settled.push((id, Settled::Delivered));
            now.effects.queues.insert(gone.alert);
            // The pause before a reminder runs from when somebody could know.
            let (alert, check) = gone.lane();
            let follows = |told: &Told| told.by.id == id || gone.reply_to == Some(told.by);
            let at = now.at;
            self.touch_told(check, alert, |told| {
                if follows(told) {
                    told.last = told.last.max(at);
                }
            });
        }
        What::Settled { delivery: id, was_owed: gone.is_some() }
    }

    /// Puts a message on the list.
    fn owe(
        &mut self,
        now: &mut Now,
        alert: AlertId,
        kind: Kind,
        about: &Arc<About>,
        reply_to: Option<ReplyTo>,
    ) -> ReplyTo {
        let id = now.delivery();
        let about = Arc::clone(about);
        let delivery = Delivery { id, owed_at: now.at, alert, kind, reply_to, about };
        for (whose, gone, why) in Arc::make_mut(&mut self.outbox).owe(delivery, now.at) {
            now.effects.settled.push((gone, why));
            now.effects.queues.insert(whose);
        }
        now.effects.owed.push(id);
        now.effects.queues.insert(alert);
        ReplyTo { id, at: now.at }
    }

    /// The index of the last entry that was applied.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The configuration.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// All verdicts.
    #[must_use]
    pub fn verdicts(&self) -> &Arc<Verdicts> {
        &self.verdicts
    }

    /// The verdict of one check; none when there is no such check.
    #[must_use]
    pub fn verdict(&self, check: CheckId) -> Option<Verdict> {
        self.verdicts.get(&check).map(|known| known.verdict)
    }

    /// The closed incidents that are kept. Open ones are with their checks' verdicts.
    #[must_use]
    pub fn closed_incidents(&self) -> &Arc<Incidents> {
        &self.incidents
    }

    /// Open and closed incidents, newest beginning first.
    #[must_use]
    pub fn incidents(&self) -> Vec<Arc<Incident>> {
        let open = self.verdicts.values().filter_map(|known| known.incident.as_ref());
        let all = open.chain(self.incidents.closed());
        let sorted: BTreeMap<IncidentId, &Arc<Incident>> = all.map(|i| (i.id, i)).collect();
        sorted.into_values().rev().cloned().collect()
    }

    /// One incident, open or closed.
    #[must_use]
    pub fn incident(&self, id: IncidentId) -> Option<Arc<Incident>> {
        let open = self.verdicts.values().filter_map(|known| known.incident.as_ref());
        open.chain(self.incidents.closed()).find(|incident| incident.id == id).cloned()
    }

    /// What is owed.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The silences that have not ended.
    #[must_use]
    pub fn silences(&self) -> &Arc<Silences> {
        &self.silences
    }

    /// What a recent request was answered, if it was applied lately.
    #[must_use]
    pub fn answer(&self, request: RequestId) -> Option<&Result<Done, Refused>> {
        self.requests.answer(request)
    }
}

#[cfg(test)]
mod tests;
