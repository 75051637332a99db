//! What time makes due: messages that no transition owes, and the end of silences.
//!
//! The master asks [`State::due`] now and then with its wall clock and proposes what comes back.
//! Proposed twice, it is applied once: a silence ends once, and a reminder carries its number.
//! Pauses and silences must outlive masters, so they are counted in wall-clock time: a clock that
//! jumps makes one of these early or late, and nothing else.

use std::sync::Arc;

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId};
use crate::base::units::Span;
use crate::config::Check;
use crate::verdict::Verdict;

use super::command::{Body, Reminder};
use super::outbox::{About, Kind};
use super::outcome::What;
use super::route::routed;
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
            self.owe(now, reminder.alert, kind, &about, Some(told.by));
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
