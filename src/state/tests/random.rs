//! Laws of the state against chance: thousands of random commands at two replicas, one of which
//! goes through its snapshot now and then, with a checker that keeps its own history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, RequestId};
use crate::base::rng::Rng;
use crate::base::units::Span;
use crate::config::{Alert, Check, Cluster};
use crate::state::command::{
    AlertEdit, Body, Change, CheckEdit, Command, DeliveryId, ItemEdit, Setting, SilenceId,
};
use crate::state::fixture::{alert, check, cluster, node, peer, transition};
use crate::state::outcome::{Applied, Settled};
use crate::state::{Delivery, Kind, State, snapshot};
use crate::verdict::Verdict;

const CHECKS: u64 = 5;
const ALERTS: u64 = 3;

/// What the outside has seen, kept beside the state and compared with it.
#[derive(Default)]
struct Witness {
    /// Who was owed DOWN about what and not RECOVERED since.
    told: BTreeSet<(AlertId, CheckId)>,
    /// Every message that was ever owed.
    owed: BTreeMap<DeliveryId, Arc<Delivery>>,
    /// Messages that left the list towards the destination, or were given up.
    out: BTreeSet<DeliveryId>,
    /// The last word that each destination had (or would have had) about each check.
    last: BTreeMap<(AlertId, CheckId), Verdict>,
}

impl Witness {
    fn watch(&mut self, before: &State, after: &State, body: &Body, applied: &Applied) {
        self.version_grows_with_the_content(before, after, applied);
        for id in &applied.effects.owed {
            let delivery = after.outbox().get(*id).expect("owed and not on the list").clone();
            assert!(self.owed.insert(*id, delivery).is_none(), "{id} was owed before");
        }
        if let Body::Verdicts { .. } = body {
            self.transitions_are_told_once(after, applied);
        }
        self.keep_told(after, applied);
        for (id, why) in &applied.effects.settled {
            match why {
                Settled::Delivered | Settled::GaveUp(_) => self.leaves(*id, before),
                Settled::Folded(into) => assert!(after.outbox().get(*into).is_some()),
                Settled::AlertRemoved => {
                    self.last.retain(|(alert, _), _| after.cluster().alerts.contains_key(alert));
                }
            }
            assert!(after.outbox().get(*id).is_none(), "settled and still on the list");
        }
    }

    fn version_grows_with_the_content(&self, before: &State, after: &State, applied: &Applied) {
        let strip = |c: &Cluster| Cluster { version: 0, updated_at: Wall(0), updated_by: None, ..c.clone() };
        let changed = strip(before.cluster()) != strip(after.cluster());
        assert_eq!(after.cluster().version, before.cluster().version + u64::from(changed));
        assert_eq!(applied.effects.config_changed(), changed);
        if applied.result.is_err() || applied.repeated {
            assert_eq!(applied.effects, Default::default());
            assert!(!changed && before.outbox() == after.outbox() && before.verdicts() == after.verdicts());
        }
    }

    /// DOWN: one message for each routed alert. RECOVERED: one for each of those who know.
    fn transitions_are_told_once(&self, after: &State, applied: &Applied) {
        let mut expected = BTreeSet::new();
        for change in &applied.effects.transitions {
            let check = &after.cluster().checks[&change.check];
            let tells = (change.to == Verdict::Down
                || (change.from, change.to) == (Verdict::Down, Verdict::Up))
                && !change.silenced;
            for alert in after.cluster().alerts.values().filter(|_| tells) {
                let own = check.alert_ids.contains(&alert.id) || alert.default;
                let wanted = own && !check.suppress_alert_ids.contains(&alert.id) && alert.enabled;
                let knows = self.told.contains(&(alert.id, check.id));
                if wanted && (change.to == Verdict::Down || knows) {
                    assert!(expected.insert((alert.id, check.id, change.to)));
                }
            }
        }
        let owed: Vec<&Arc<Delivery>> = applied.effects.owed.iter().map(|id| &self.owed[id]).collect();
        let told: BTreeSet<_> = owed.iter().map(|d| (d.alert, d.about.check, d.about.to)).collect();
        assert_eq!(told, expected);
        assert_eq!(told.len(), owed.len(), "somebody is owed two messages about one transition");
    }

    fn keep_told(&mut self, after: &State, applied: &Applied) {
        for change in applied.effects.transitions.iter().filter(|change| change.to == Verdict::Unknown) {
            self.told.retain(|(_, check)| *check != change.check);
        }
        for delivery in applied.effects.owed.iter().map(|id| &self.owed[id]) {
            let lane = (delivery.alert, delivery.about.check);
            match delivery.about.to {
                Verdict::Down => self.told.insert(lane),
                _ => self.told.remove(&lane),
            };
        }
        // Whoever was not routed at the recovery is not told, and does not know any more.
        for change in applied.effects.transitions.iter().filter(|c| c.to == Verdict::Up && !c.silenced) {
            self.told.retain(|(_, check)| *check != change.check);
        }
        if applied.effects.silences {
            let knows = |alert: &AlertId, check: &CheckId| {
                after.verdicts().get(check).is_some_and(|known| known.told.contains_key(alert))
            };
            self.told.retain(|(alert, check)| knows(alert, check));
        }
        self.told.retain(|(alert, _)| after.cluster().alerts.contains_key(alert));
        let shown: BTreeSet<_> = after
            .verdicts()
            .iter()
            .flat_map(|(check, known)| known.told.keys().map(|alert| (*alert, *check)))
            .collect();
        assert_eq!(shown, self.told);
    }

    /// A message reaches its destination (or never will): is it the right moment for it?
    fn leaves(&mut self, id: DeliveryId, before: &State) {
        let delivery = before.outbox().get(id).expect("settled and never owed");
        assert!(before.outbox().heads(delivery.alert).any(|head| head.id == id), "out of turn");
        assert!(self.out.insert(id), "{id} left twice");
        if let Some(answers) = delivery.reply_to {
            assert!(self.out.contains(&answers.id), "{id} answers what nobody has seen");
        }
        let lane = delivery.lane();
        let last = self.last.get(&lane).copied();
        let first = match &delivery.kind {
            Kind::Summary { steps, .. } => steps.first().map(|step| step.to),
            Kind::Down => Some(Verdict::Down),
            Kind::Recovered => Some(Verdict::Up),
            Kind::Reminder { .. } => {
                assert_eq!(last, Some(Verdict::Down), "a reminder of what nobody was told");
                None
            }
        };
        if first == Some(Verdict::Up) {
            assert_eq!(last, Some(Verdict::Down), "RECOVERED before DOWN");
        }
        self.last.insert(lane, delivery.about.to);
    }
}

struct Run {
    rng: Rng,
    state: State,
    index: u64,
    past: Vec<Arc<Cluster>>,
}

impl Run {
    fn any_check(&mut self) -> Check {
        let n = 1 + u32::try_from(self.rng.below(CHECKS)).unwrap();
        let mut fresh = check(n);
        for n in 1..=ALERTS {
            let id = alert(u8::try_from(n).unwrap()).id;
            if self.rng.chance(300) {
                fresh.alert_ids.insert(id);
            }
            if self.rng.chance(100) {
                fresh.suppress_alert_ids.insert(id);
            }
        }
        if self.rng.chance(50) {
            fresh.name = "the same".parse().unwrap();
        }
        if self.rng.chance(200) {
            fresh.interval = Span::from_secs(10 + self.rng.below(3));
        }
        self.state.cluster().checks.get(&fresh.id).map_or(fresh, |known| Check::clone(known))
    }

    fn any_alert(&mut self) -> Alert {
        let n = 1 + u8::try_from(self.rng.below(ALERTS)).unwrap();
        let remind = self.rng.chance(800).then(|| Span::from_secs(2));
        Alert { default: self.rng.chance(500), remind, ..alert(n) }
    }

    fn change(&mut self) -> Change {
        let (check, alert) = (self.any_check(), self.any_alert());
        let fresh = 1 + u8::try_from(self.rng.below(6)).unwrap();
        match self.rng.below(14) {
            0..=3 => Change::AddCheck(check),
            4 => Change::RemoveCheck(check.id),
            5 => {
                let other = self.any_check();
                let target = self.rng.chance(500).then_some(other.target);
                let edit = CheckEdit { target, alert_ids: Some(other.alert_ids), ..CheckEdit::default() };
                Change::EditCheck { id: check.id, edit }
            }
            6 => {
                let enabled = Some(self.rng.chance(600));
                Change::EditCheck { id: check.id, edit: CheckEdit { enabled, ..CheckEdit::default() } }
            }
            7 | 8 => Change::AddAlert(alert),
            9 => Change::RemoveAlert(alert.id),
            10 => {
                let (enabled, default) = (Some(self.rng.chance(700)), Some(self.rng.chance(500)));
                let edit = AlertEdit { enabled, default, ..AlertEdit::default() };
                Change::EditAlert { id: alert.id, edit }
            }
            11 => Change::AddPeer(peer(fresh)),
            12 => Change::RemovePeer(node(fresh)),
            _ => Change::Set(Setting::Hysteresis(u32::try_from(self.rng.below(4)).unwrap())),
        }
    }

    /// An edit of the file as it was some versions ago.
    fn hand_edit(&mut self) -> Body {
        let seen = self.rng.pick(&self.past).cloned().unwrap_or_else(|| self.state.cluster().clone());
        let mut items = Vec::new();
        for _ in 0..=self.rng.below(2) {
            let fresh = self.any_check();
            let before = seen.checks.get(&fresh.id).map(|c| Check::clone(c));
            let after = match &before {
                Some(_) if self.rng.chance(200) => None,
                Some(known) => {
                    Some(Check { timeout: Span::from_secs(1 + self.rng.below(3)), ..known.clone() })
                }
                None => Some(fresh),
            };
            items.push(ItemEdit::Check { before, after });
        }
        Body::HandEdit { items }
    }

    fn verdicts(&mut self) -> Body {
        let mut changes = Vec::new();
        for _ in 0..=self.rng.below(2) {
            let check = self.any_check();
            let all = [Verdict::Unknown, Verdict::Up, Verdict::Down, Verdict::Down, Verdict::Up];
            let guess = *self.rng.pick(&all).unwrap();
            let known = self.state.verdict(check.id).filter(|_| self.rng.chance(950)).unwrap_or(guess);
            changes.push(transition(&check, known, *self.rng.pick(&all).unwrap()));
        }
        Body::Verdicts { changes }
    }

    fn settle(&mut self) -> Body {
        let to = 1 + u8::try_from(self.rng.below(ALERTS)).unwrap();
        let heads: Vec<DeliveryId> = self.state.outbox().heads(alert(to).id).map(|d| d.id).collect();
        let delivery = self.rng.pick(&heads).copied().unwrap_or(DeliveryId { index: self.index, n: 7 });
        if self.rng.chance(100) {
            return Body::GaveUp { delivery, why: "550 no".into() };
        }
        Body::Delivered { delivery }
    }

    fn body(&mut self, settles: u64) -> Body {
        let now = Wall(self.index * 1_000);
        match self.rng.below(100) {
            0..=14 => Body::Change(self.change()),
            15..=19 => self.hand_edit(),
            20..=59 => self.verdicts(),
            60..=62 => {
                let check = self.rng.chance(500).then(|| self.any_check().id);
                Body::Silence { check, length: Span::from_secs(20), reason: String::new() }
            }
            63 => Body::EndSilence { id: SilenceId(self.rng.below(self.index + 1)) },
            64..=72 => self.state.due(now).pop().unwrap_or(Body::Remind { due: vec![] }),
            n if n < 73 + settles => self.settle(),
            _ => self.verdicts(),
        }
    }
}

#[test]
fn replicas_stay_equal_and_nobody_is_told_too_much_or_too_little() {
    let (mut told, mut folded, mut reminded, mut repeated) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let settles = rng.below(26);
        let state = State::found(cluster(3));
        let mut twin = state.clone();
        let mut witness = Witness::default();
        let mut run = Run { rng, state, index: 0, past: Vec::new() };
        for _ in 0..400 {
            let body = run.body(settles);
            run.index += 1;
            let (index, at) = (run.index, Wall(run.index * 1_000));
            let request =
                body.has_client().then(|| RequestId::from_random(u128::from(run.rng.below(1_000)) << 64));
            let command = Command { by: node(1), at, body };
            let before = run.state.clone();
            let applied = run.state.apply(index, request, Some(&command));
            let elsewhere = twin.apply(index, request, Some(&command));
            assert_eq!(elsewhere, applied, "seed {seed}, entry {index}");
            if run.rng.chance(30) {
                twin = snapshot::from_text(&snapshot::to_text(&twin).unwrap()).unwrap();
            }
            if run.rng.chance(100) {
                assert_eq!(twin, run.state, "seed {seed}, entry {index}: {command:?}");
            }
            witness.watch(&before, &run.state, &command.body, &applied);
            if applied.effects.config_changed() {
                run.past.push(Arc::clone(run.state.cluster()));
            }
            repeated += usize::from(applied.repeated);
        }
        assert_eq!(twin, run.state, "seed {seed}");
        assert_eq!(snapshot::to_text(&twin), snapshot::to_text(&run.state));
        told += witness.out.len();
        let kinds = witness.owed.values().map(|delivery| &delivery.kind);
        for kind in kinds {
            folded += usize::from(matches!(kind, Kind::Summary { .. }));
            reminded += usize::from(matches!(kind, Kind::Reminder { .. }));
        }
    }
    // The laws were not kept for want of anything happening.
    assert!(
        told > 300 && folded > 100 && reminded > 10 && repeated > 100,
        "{told} {folded} {reminded} {repeated}"
    );
}
