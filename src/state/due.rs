//! What time makes due, and test messages: messages that no transition owes.
//!
//! The master asks [`State::due`] now and then with its wall clock and proposes what comes back.
//! Proposed twice, it is applied once: a silence ends once, and a reminder carries its number.
//! Pauses and silences must outlive masters, so they are counted in wall-clock time: a clock that
//! jumps makes one of these early or late, and nothing else.

use std::sync::Arc;

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId};
use crate::base::units::Span;
use crate::config::{Alert, Check};
use crate::verdict::Verdict;

use super::command::{Body, Reminder, TestOf};
use super::outbox::{About, Kind};
use super::outcome::{Item, Refused, What};
use super::route::{route, routed};
use super::verdicts::{CheckVerdict, Told, bare};
use super::{Now, State};

/// So many reminders go into one command.
const MOST_AT_ONCE: usize = 500;

impl State {
    /// What the master should propose because of the time: silences that are over, DOWN that is to
    /// be repeated.
    #[must_use]
    pub fn due(&self, now: Wall) -> Vec<Body> {
        let over = self.silences.all().filter(|silence| silence.until <= now);
        let mut bodies: Vec<Body> = over.map(|silence| Body::EndSilence { id: silence.id }).collect();
        let mut reminders: Vec<Reminder> = self
            .reminders()
            .filter(|(_, at)| *at <= now)
            .map(|(reminder, _)| reminder)
            .take(MOST_AT_ONCE)
            .collect();
        if !reminders.is_empty() {
            reminders.sort_unstable_by_key(|reminder| (reminder.check, reminder.alert));
            bodies.push(Body::Remind { due: reminders });
        }
        bodies
    }

    /// When [`State::due`] has something next; none while nothing is foreseen. Anything applied
    /// may change it.
    #[must_use]
    pub fn next_due(&self) -> Option<Wall> {
        let silence = self.silences.all().map(|silence| silence.until).min();
        let reminder = self.reminders().map(|(_, at)| at).min();
        silence.into_iter().chain(reminder).min()
    }

    /// Every reminder to come, and when.
    fn reminders(&self) -> impl Iterator<Item = (Reminder, Wall)> {
        let any = self.cluster.alerts.values().any(|alert| alert.remind.is_some());
        // Without any there is nothing to look through.
        let all = any.then(|| self.verdicts.iter()).into_iter().flatten();
        let down = all.filter(|(_, known)| known.incident.is_some());
        down.flat_map(move |(id, known)| {
            known.told.iter().filter_map(move |(alert, told)| {
                let pause = self.may_remind(*id, known, *alert, told)?;
                let nth = told.reminders.saturating_add(1);
                let at = Wall(told.last.0.saturating_add(pause.millis()));
                Some((Reminder { check: *id, alert: *alert, nth }, at))
            })
        })
    }

    /// How long after the last message `alert` is reminded of `check`; none when it is not.
    fn may_remind(&self, id: CheckId, known: &CheckVerdict, alert: AlertId, told: &Told) -> Option<Span> {
        let pause = self.cluster.alerts.get(&alert)?.remind?;
        let fits = known.incident.as_ref().is_some_and(|incident| incident.id == told.incident)
            && routed(self.cluster.checks.get(&id)?, self.cluster.alerts.get(&alert)?)
            && !self.outbox.is_waiting(alert, id)
            && !self.silences.covers(id);
        fits.then_some(pause)
    }

    pub(super) fn remind(&mut self, now: &mut Now, due: &[Reminder]) -> What {
        let mut owed = 0_u32;
        for reminder in due {
            let Some(check) = self.cluster.checks.get(&reminder.check).cloned() else { continue };
            let Some(known) = self.verdicts.get(&reminder.check).cloned() else { continue };
            let Some(told) = known.told.get(&reminder.alert) else { continue };
            let next = told.reminders.checked_add(1) == Some(reminder.nth);
            if !next || self.may_remind(reminder.check, &known, reminder.alert, told).is_none() {
                continue;
            }
            let about = Arc::new(still_down(now, &check, &known));
            let kind = Kind::Reminder { nth: reminder.nth };
            self.owe(now, reminder.alert, kind, &about, Some(told.by), false);
            self.touch_told(reminder.check, reminder.alert, |told| {
                told.last = now.at;
                told.reminders = reminder.nth;
            });
            owed = owed.saturating_add(1);
        }
        What::Reminded { owed }
    }

    /// Changes what is known about who was told.
    pub(super) fn touch_told(&mut self, check: CheckId, alert: AlertId, change: impl FnOnce(&mut Told)) {
        // Not copied in vain: most messages are about nobody who was told.
        if self.verdicts.get(&check).is_none_or(|known| !known.told.contains_key(&alert)) {
            return;
        }
        let known = Arc::make_mut(&mut self.verdicts).get_mut(&check);
        if let Some(told) = known.and_then(|known| Arc::make_mut(known).told.get_mut(&alert)) {
            change(told);
        }
    }

    /// Whom a test would go to, and about what.
    pub(super) fn plan_test(&self, now: &Now, test: &TestOf) -> Result<(Vec<AlertId>, About, Kind), Refused> {
        let no_such = |item: Item, id: String| Refused::NoSuch { item, id };
        match test {
            TestOf::Alert(id) => {
                let alert = self.cluster.alerts.get(id);
                let alert = alert.ok_or_else(|| no_such(Item::Alert, id.to_string()))?;
                Ok((vec![*id], about_alert(now, alert), Kind::Down))
            }
            TestOf::Check { id, to } => {
                let check = self.cluster.checks.get(id);
                let check = check.ok_or_else(|| no_such(Item::Check, id.to_string()))?;
                let (from, kind) = match to {
                    Verdict::Down => (Verdict::Up, Kind::Down),
                    Verdict::Up => (Verdict::Down, Kind::Recovered),
                    Verdict::Unknown => {
                        return Err(Refused::Rule(
                            "nobody is told of unknown: test down or recovered".into(),
                        ));
                    }
                };
                let alerts = route(&self.cluster, check);
                if alerts.is_empty() {
                    return Err(Refused::NobodyToTell { check: check.name.to_string() });
                }
                let mut about = bare(now, check, from, *to);
                about.peers = u32::try_from(self.cluster.peers.len()).unwrap_or(u32::MAX);
                Ok((alerts, about, kind))
            }
        }
    }

    pub(super) fn test(&mut self, now: &mut Now, test: &TestOf) -> Result<What, Refused> {
        let (alerts, about, kind) = self.plan_test(now, test)?;
        let about = Arc::new(about);
        let owe = |alert| self.owe(now, alert, kind.clone(), &about, None, true).id;
        Ok(What::Test { deliveries: alerts.into_iter().map(owe).collect() })
    }
}

fn still_down(now: &Now, check: &Check, known: &CheckVerdict) -> About {
    let mut about = bare(now, check, Verdict::Down, Verdict::Down);
    if let Some(incident) = &known.incident {
        about.incident = Some(incident.id);
        about.seen.clone_from(&incident.seen);
        about.peers = incident.peers;
        about.down_since = Some(incident.start);
    }
    about
}

/// The test of an alert alone: about itself.
fn about_alert(now: &Now, alert: &Alert) -> About {
    About {
        check: None,
        name: alert.name.to_string(),
        check_type: String::new(),
        target: alert.channel.destination(),
        incident: None,
        from: Verdict::Up,
        to: Verdict::Down,
        seen: Vec::new(),
        peers: 0,
        at: now.at,
        by: now.by,
        down_since: None,
    }
}
