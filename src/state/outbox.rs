//! What is owed to destinations, in order, until it is delivered or given up.
//!
//! * Messages of one check to one alert form a lane. Only the first of a lane may be on its way
//!   ([`Outbox::heads`]); so DOWN is out before its RECOVERED is tried.
//! * Where two of a lane wait already and another change comes, everything behind the first is
//!   folded into one summary under the new message's id. The first is left alone: it may be with
//!   the server at this moment.
//! * There are at most [`MOST_OWED`]; beyond, the longest queue gives up its oldest.
//! * Ids grow with the log, so the order of ids is the order in which messages became owed.
//!
//! What it does not know: retries, pauses, and time. `deliver` has those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, NodeId};
use crate::base::text::shorten;
use crate::verdict::{Seen, Verdict};

use super::command::DeliveryId;
use super::incidents::{IncidentId, first_detail};
use super::outcome::Settled;

/// So many messages may be owed: DOWN and RECOVERED of 10,000 checks to one destination.
pub const MOST_OWED: usize = 20_000;
/// So many changes a summary tells one by one.
pub const MOST_STEPS: usize = 40;
/// A kept reason for giving up, characters.
const LONGEST_REASON: usize = 300;

/// One message owed to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Its name for ever; together with `owed_at` the seed of the Message-ID, since a cluster that
    /// was founded anew from its files counts its log from the start again.
    pub id: DeliveryId,
    /// When it became owed, by the master's wall clock: from here on it is tried. Not always when
    /// it happened: a silence may lie between.
    pub owed_at: Wall,
    /// To whom.
    pub alert: AlertId,
    /// What kind of message.
    pub kind: Kind,
    /// The DOWN message that this one follows up, if that was sent to this destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// What happened. Shared between the destinations that are told.
    pub about: Arc<About>,
}

impl Delivery {
    /// The lane: messages of one lane go out in order.
    #[must_use]
    pub fn lane(&self) -> (AlertId, CheckId) {
        (self.alert, self.about.check)
    }

    fn steps(&self) -> (Vec<Step>, u32) {
        match &self.kind {
            Kind::Summary { steps, left_out } => (steps.clone(), *left_out),
            Kind::Reminder { .. } => (Vec::new(), 0),
            Kind::Down | Kind::Recovered => (vec![self.about.step()], 0),
        }
    }
}

/// The message that another one answers to: what its Message-ID is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyTo {
    /// Its id.
    pub id: DeliveryId,
    /// Its [`Delivery::owed_at`].
    pub at: Wall,
}

/// Kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// It went down.
    Down,
    /// It is up again.
    Recovered,
    /// It is still down.
    Reminder {
        /// The first has 1.
        nth: u32,
    },
    /// It changed several times while the destination could not be reached.
    Summary {
        /// The changes, oldest first.
        steps: Vec<Step>,
        /// So many older ones are not told one by one.
        left_out: u32,
    },
}

/// One change within a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// To which verdict.
    pub to: Verdict,
    /// When.
    pub at: Wall,
    /// The first failing node's detail; empty for a recovery.
    pub detail: String,
}

/// What a message is about: everything as it was when the message became owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The check.
    pub check: CheckId,
    /// The check's name.
    pub name: String,
    /// `http`, `tcp`, `icmp`.
    pub check_type: String,
    /// What is watched, as the operator wrote it.
    pub target: String,
    /// The incident.
    pub incident: Option<IncidentId>,
    /// From which verdict.
    pub from: Verdict,
    /// To which.
    pub to: Verdict,
    /// What each node saw.
    pub seen: Vec<Seen>,
    /// How many peers the cluster had.
    pub peers: u32,
    /// When, by the master's wall clock.
    pub at: Wall,
    /// The master that found it.
    pub by: NodeId,
    /// Since when it was (or is) down.
    pub down_since: Option<Wall>,
}

impl About {
    /// The first failing node's detail; empty when none fails.
    #[must_use]
    pub fn detail(&self) -> &str {
        first_detail(&self.seen)
    }

    fn step(&self) -> Step {
        Step { to: self.to, at: self.at, detail: self.detail().to_owned() }
    }
}

/// How it stands with one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Messages that were accepted.
    pub delivered: u64,
    /// Messages that were given up.
    pub given_up: u64,
    /// When the last message was accepted.
    pub last_success: Option<Wall>,
    /// When the last message was given up, and why.
    pub last_error: Option<(Wall, String)>,
}

/// All that is owed, and how it stands with each destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    owed: BTreeMap<DeliveryId, Arc<Delivery>>,
    /// Non-empty sets only, in all three.
    lanes: BTreeMap<(AlertId, CheckId), BTreeSet<DeliveryId>>,
    queues: BTreeMap<AlertId, BTreeSet<DeliveryId>>,
    standings: BTreeMap<AlertId, Standing>,
}

impl Outbox {
    pub(super) fn from_parts(
        owed: impl IntoIterator<Item = Delivery>,
        standings: BTreeMap<AlertId, Standing>,
    ) -> Outbox {
        let mut outbox = Outbox { standings, ..Outbox::default() };
        for delivery in owed {
            outbox.insert(delivery);
        }
        outbox
    }

    fn insert(&mut self, delivery: Delivery) {
        self.lanes.entry(delivery.lane()).or_default().insert(delivery.id);
        self.queues.entry(delivery.alert).or_default().insert(delivery.id);
        self.owed.insert(delivery.id, Arc::new(delivery));
    }

    fn remove(&mut self, id: DeliveryId) -> Option<Arc<Delivery>> {
        let delivery = self.owed.remove(&id)?;
        drop_from(&mut self.lanes, delivery.lane(), id);
        drop_from(&mut self.queues, delivery.alert, id);
        Some(delivery)
    }

    /// Puts a message on the list; returns what had to leave it for that, and whose it was.
    pub(super) fn owe(&mut self, delivery: Delivery, now: Wall) -> Vec<(AlertId, DeliveryId, Settled)> {
        let mut gone = Vec::new();
        let delivery = self.fold(delivery, &mut gone);
        self.insert(delivery);
        while self.owed.len() > MOST_OWED
            && let Some(oldest) = self.oldest_of_the_longest()
        {
            let why = format!("more than {MOST_OWED} messages were waiting");
            if let Some(left) = self.give_up(oldest, &why, now) {
                gone.push((left.alert, oldest, Settled::GaveUp(why)));
            }
        }
        gone
    }

    /// Takes what waits behind the first of the lane into the message that comes.
    fn fold(&mut self, mut delivery: Delivery, gone: &mut Vec<(AlertId, DeliveryId, Settled)>) -> Delivery {
        let lane = self.lanes.get(&delivery.lane());
        let waiting: Vec<DeliveryId> = lane.into_iter().flatten().skip(1).copied().collect();
        if waiting.is_empty() {
            return delivery;
        }
        let (mut steps, mut left_out, mut reply_to) = (Vec::new(), 0_u32, None);
        for (nth, id) in waiting.into_iter().enumerate() {
            if let Some(old) = self.remove(id) {
                let (more, omitted) = old.steps();
                steps.extend(more);
                left_out = left_out.saturating_add(omitted);
                reply_to = if nth == 0 { old.reply_to } else { reply_to };
                gone.push((delivery.alert, id, Settled::Folded(delivery.id)));
            }
        }
        steps.extend(delivery.steps().0);
        let excess = steps.len().saturating_sub(MOST_STEPS);
        steps.drain(..excess);
        left_out = left_out.saturating_add(u32::try_from(excess).unwrap_or(u32::MAX));
        delivery.kind = Kind::Summary { steps, left_out };
        delivery.reply_to = reply_to;
        delivery
    }

    fn oldest_of_the_longest(&self) -> Option<DeliveryId> {
        // The first of equals: the same on every node.
        let longest = self.queues.values().rev().max_by_key(|queue| queue.len())?;
        longest.first().copied()
    }

    /// The destination accepted it.
    pub(super) fn delivered(&mut self, id: DeliveryId, now: Wall) -> Option<Arc<Delivery>> {
        let delivery = self.remove(id)?;
        let standing = self.standings.entry(delivery.alert).or_default();
        standing.delivered = standing.delivered.saturating_add(1);
        standing.last_success = Some(now);
        Some(delivery)
    }

    /// It will not be delivered.
    pub(super) fn give_up(&mut self, id: DeliveryId, why: &str, now: Wall) -> Option<Arc<Delivery>> {
        let delivery = self.remove(id)?;
        let standing = self.standings.entry(delivery.alert).or_default();
        standing.given_up = standing.given_up.saturating_add(1);
        standing.last_error = Some((now, shorten(why, LONGEST_REASON)));
        Some(delivery)
    }

    /// An alert is gone, with what it was owed.
    pub(super) fn forget(&mut self, alert: AlertId) -> Vec<DeliveryId> {
        let ids: Vec<DeliveryId> = self.queues.get(&alert).into_iter().flatten().copied().collect();
        for id in &ids {
            self.remove(*id);
        }
        self.standings.remove(&alert);
        ids
    }

    /// A message that is owed.
    #[must_use]
    pub fn get(&self, id: DeliveryId) -> Option<&Arc<Delivery>> {
        self.owed.get(&id)
    }

    /// Everything that is owed, in the order in which it became so.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Delivery>> {
        self.owed.values()
    }

    /// What may be on its way to `alert` now, oldest first: the first of each lane.
    /// What comes behind becomes a head when the commit of its predecessor's fate is applied.
    pub fn heads(&self, alert: AlertId) -> impl Iterator<Item = &Arc<Delivery>> {
        let queue = self.queues.get(&alert).into_iter().flatten();
        queue.filter_map(|id| self.owed.get(id)).filter(|delivery| self.is_head(delivery))
    }

    fn is_head(&self, delivery: &Delivery) -> bool {
        self.lanes.get(&delivery.lane()).is_none_or(|lane| lane.first() == Some(&delivery.id))
    }

    /// How many messages wait for `alert`.
    #[must_use]
    pub fn queue_length(&self, alert: AlertId) -> usize {
        self.queues.get(&alert).map_or(0, BTreeSet::len)
    }

    /// Whether anything about `check` waits for `alert`.
    #[must_use]
    pub fn is_waiting(&self, alert: AlertId, check: CheckId) -> bool {
        self.lanes.contains_key(&(alert, check))
    }

    /// How it stands with `alert`.
    #[must_use]
    pub fn standing(&self, alert: AlertId) -> Standing {
        self.standings.get(&alert).cloned().unwrap_or_default()
    }

    pub(super) fn standings(&self) -> &BTreeMap<AlertId, Standing> {
        &self.standings
    }

    /// How many messages are owed in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }
}

fn drop_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<DeliveryId>>, key: K, id: DeliveryId) {
    if let Some(set) = sets.get_mut(&key) {
        set.remove(&id);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
