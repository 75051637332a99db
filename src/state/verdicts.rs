//! The verdict of each check, its open incident, and who was told: how a transition is applied,
//! and what a change of the configuration does to verdicts.
//!
//! * Every check has a verdict, from `unknown` at its beginning.
//! * `down` has an open incident, the others have none.
//! * [`Told`] names an alert that was owed DOWN and not yet RECOVERED. RECOVERED goes to those
//!   and nobody else, so it never comes without its DOWN: an alert that joined in the middle of
//!   an outage hears of the next one.
//! * A transition that does not fit (another verdict, another definition, a check that is gone or
//!   disabled) is ignored: it was proposed before something else was committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId};
use crate::config::{Check, Cluster};
use crate::verdict::{Seen, Transition, Verdict, definition};

use super::diff::{Diff, Fate};
use super::incidents::{End, Ended, Incident, IncidentId};
use super::outbox::{About, Kind, ReplyTo};
use super::outcome::{Changed, Settled};
use super::route::{route, routed};
use super::{Now, State};

/// An alert that knows of an outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The DOWN message.
    pub by: ReplyTo,
    /// Of which incident it told.
    pub incident: IncidentId,
    /// When that incident began.
    pub since: Wall,
    /// When DOWN or the last reminder became owed or, later, was accepted.
    pub last: Wall,
    /// How many reminders were owed since DOWN.
    pub reminders: u32,
}

/// What the cluster holds about one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// Since when, by the wall clock of the master that found it.
    pub since: Wall,
    /// Log index of the command that made it so.
    pub index: u64,
    /// The open incident while it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Arc<Incident>>,
    /// Who knows that it is (or, in a silence, was) down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<AlertId, Told>,
}

impl CheckVerdict {
    /// The beginning of every check.
    pub(super) fn unknown(since: Wall, index: u64) -> CheckVerdict {
        CheckVerdict { verdict: Verdict::Unknown, since, index, incident: None, told: BTreeMap::new() }
    }
}

/// All verdicts, by check.
pub type Verdicts = BTreeMap<CheckId, Arc<CheckVerdict>>;

impl State {
    /// Applies one transition; false when it was ignored.
    pub(super) fn transition(&mut self, now: &mut Now, t: &Transition) -> bool {
        let Some(check) = self.cluster.checks.get(&t.check).cloned() else {
            return false;
        };
        let Some(known) = self.verdicts.get(&t.check) else {
            return false;
        };
        let fits = check.enabled && known.verdict == t.from && t.from != t.to && definition(&check) == t.of;
        if !fits {
            return false;
        }
        let mut known = CheckVerdict::clone(known);
        let silenced = self.silences.covers(t.check);
        let mut incident = known.incident.as_ref().map(|incident| incident.id);
        match t.to {
            Verdict::Down => {
                let opened = Arc::new(open(now, &check, t, silenced));
                incident = Some(opened.id);
                known.incident = Some(opened);
                if !silenced {
                    let about = about(now, &check, t, &known);
                    self.tell_down(now, &check, &mut known, about);
                }
            }
            Verdict::Up => {
                if t.from == Verdict::Down && !silenced {
                    let about = Arc::new(about(now, &check, t, &known));
                    self.tell_up(now, &check, &mut known, |_| Arc::clone(&about));
                }
                self.close(now, &mut known, Ended::Recovered, &t.seen);
            }
            Verdict::Unknown => {
                self.close(now, &mut known, Ended::Lost, &t.seen);
                known.told.clear();
            }
        }
        known.verdict = t.to;
        known.since = now.at;
        known.index = now.index;
        Arc::make_mut(&mut self.verdicts).insert(t.check, Arc::new(known));
        let name = check.name.to_string();
        now.effects.transitions.push(Changed {
            check: t.check,
            name,
            from: t.from,
            to: t.to,
            incident,
            silenced,
        });
        true
    }

    /// Owes DOWN to every routed alert that does not know of this incident.
    fn tell_down(&mut self, now: &mut Now, check: &Check, known: &mut CheckVerdict, about: About) {
        let (Some(incident), about) = (known.incident.clone(), Arc::new(about)) else {
            return;
        };
        for alert in route(&self.cluster, check) {
            if known.told.get(&alert).is_some_and(|told| told.incident == incident.id) {
                continue;
            }
            let by = self.owe(now, alert, Kind::Down, &about, None);
            let told = Told { by, incident: incident.id, since: incident.start, last: now.at, reminders: 0 };
            known.told.insert(alert, told);
        }
    }

    /// Owes RECOVERED to every alert that was told DOWN and is still routed.
    fn tell_up(
        &mut self,
        now: &mut Now,
        check: &Check,
        known: &mut CheckVerdict,
        about: impl Fn(&Told) -> Arc<About>,
    ) {
        for (alert, told) in std::mem::take(&mut known.told) {
            if self.cluster.alerts.get(&alert).is_some_and(|alert| routed(check, alert)) {
                self.owe(now, alert, Kind::Recovered, &about(&told), Some(told.by));
            }
        }
    }

    /// Closes the open incident, if there is one.
    fn close(&mut self, now: &Now, known: &mut CheckVerdict, how: Ended, seen: &[Seen]) {
        if let Some(incident) = known.incident.take() {
            let end = Some(End { at: now.at, how, seen: seen.to_vec() });
            let closed = Incident { end, ..Incident::clone(&incident) };
            Arc::make_mut(&mut self.incidents).push(closed);
        }
    }

    /// Brings those up to date who were told nothing during a silence that has ended: DOWN for
    /// what is still down, RECOVERED for what was down when the silence began and is up.
    pub(super) fn catch_up(&mut self, now: &mut Now, id: CheckId) {
        let (Some(check), Some(known)) = (self.cluster.checks.get(&id).cloned(), self.verdicts.get(&id))
        else {
            return;
        };
        let told_in_vain = known.verdict == Verdict::Up && !known.told.is_empty();
        if self.silences.covers(id) || !(known.verdict == Verdict::Down || told_in_vain) {
            return;
        }
        let mut known = CheckVerdict::clone(known);
        if let Some(incident) = known.incident.clone() {
            let mut about = bare(now, &check, Verdict::Up, Verdict::Down);
            about.seen.clone_from(&incident.seen);
            about.peers = incident.peers;
            about.incident = Some(incident.id);
            about.down_since = Some(incident.start);
            about.at = incident.start;
            self.tell_down(now, &check, &mut known, about);
        } else {
            let (incidents, since) = (Arc::clone(&self.incidents), known.since);
            let mut about = bare(now, &check, Verdict::Down, Verdict::Up);
            about.at = since;
            let about = |told: &Told| {
                let mut about = about.clone();
                about.incident = Some(told.incident);
                about.down_since = Some(told.since);
                if let Some(incident) = incidents.get(told.incident) {
                    about.peers = incident.peers;
                    if let Some(end) = &incident.end {
                        about.at = end.at;
                        about.seen.clone_from(&end.seen);
                    }
                }
                Arc::new(about)
            };
            self.tell_up(now, &check, &mut known, about);
        }
        Arc::make_mut(&mut self.verdicts).insert(id, Arc::new(known));
    }

    /// What a change of the configuration means for verdicts, silences and debts.
    pub(super) fn follow(&mut self, now: &mut Now, old: &Cluster, diff: &Diff) {
        for (id, fate) in &diff.checks {
            match fate {
                Fate::Added => {
                    let fresh = Arc::new(CheckVerdict::unknown(now.at, now.index));
                    Arc::make_mut(&mut self.verdicts).insert(*id, fresh);
                }
                Fate::Removed => {
                    self.begin_anew(now, *id, Ended::Removed);
                    Arc::make_mut(&mut self.verdicts).remove(id);
                    now.effects.silences |= self.silences.concern(*id);
                    Arc::make_mut(&mut self.silences).forget(*id);
                }
                Fate::Changed => {
                    let (was, is) = (old.checks.get(id), self.cluster.checks.get(id));
                    let (Some(was), Some(is)) = (was, is) else { continue };
                    if was.enabled != is.enabled {
                        self.begin_anew(now, *id, Ended::Disabled);
                    } else if was.target != is.target {
                        self.begin_anew(now, *id, Ended::Retargeted);
                    }
                }
            }
        }
        let gone = diff.alerts.iter().filter(|(_, fate)| **fate == Fate::Removed);
        for (alert, _) in gone {
            for delivery in Arc::make_mut(&mut self.outbox).forget(*alert) {
                now.effects.settled.push((delivery, Settled::AlertRemoved));
            }
            now.effects.queues.insert(*alert);
            let knows = |known: &CheckVerdict| known.told.contains_key(alert);
            for known in Arc::make_mut(&mut self.verdicts).values_mut().filter(|known| knows(known)) {
                Arc::make_mut(known).told.remove(alert);
            }
        }
    }

    /// The verdict goes to `unknown`, silently; what is owed already stays owed.
    fn begin_anew(&mut self, now: &mut Now, id: CheckId, how: Ended) {
        let Some(known) = self.verdicts.get(&id) else {
            return;
        };
        let mut known = CheckVerdict::clone(known);
        let (from, incident) = (known.verdict, known.incident.as_ref().map(|incident| incident.id));
        self.close(now, &mut known, how, &[]);
        let fresh = Arc::new(CheckVerdict::unknown(now.at, now.index));
        Arc::make_mut(&mut self.verdicts).insert(id, fresh);
        if from != Verdict::Unknown {
            let name = self.cluster.checks.get(&id).map_or_else(|| id.to_string(), |c| c.name.to_string());
            let to = Verdict::Unknown;
            now.effects.transitions.push(Changed { check: id, name, from, to, incident, silenced: false });
        }
    }
}

fn open(now: &mut Now, check: &Check, t: &Transition, silenced: bool) -> Incident {
    Incident {
        id: now.incident(),
        check: check.id,
        name: check.name.to_string(),
        target: check.target.address(),
        start: now.at,
        seen: t.seen.clone(),
        peers: t.peers,
        silenced,
        end: None,
    }
}

/// A message about a check that has no evidence yet.
pub(super) fn bare(now: &Now, check: &Check, from: Verdict, to: Verdict) -> About {
    About {
        check: check.id,
        name: check.name.to_string(),
        check_type: check.target.kind().to_owned(),
        target: check.target.address(),
        incident: None,
        from,
        to,
        seen: Vec::new(),
        peers: 0,
        at: now.at,
        by: now.by,
        down_since: None,
    }
}

/// A message about a transition; `known` still has the incident that it opened or will close.
fn about(now: &Now, check: &Check, t: &Transition, known: &CheckVerdict) -> About {
    About {
        incident: known.incident.as_ref().map(|incident| incident.id),
        seen: t.seen.clone(),
        peers: t.peers,
        down_since: known.incident.as_ref().map(|incident| incident.start),
        ..bare(now, check, t.from, t.to)
    }
}
