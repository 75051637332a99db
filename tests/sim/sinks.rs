//! What is true of the targets, what was committed about them, and what arrived at destinations:
//! the judge of the promise about alerts.
//!
//! * `commit`: nothing is sent that was not owed by a committed entry, as it was owed.
//! * `acts`: only a host that may act as master begins to send.
//! * `once`: no process sends an accepted message again, and nobody begins to send what is settled.
//! * `order`: what arrives for the first time is, check by check, the committed transitions in
//!   their order; a summary stands for several.
//! * `verdict`: nothing returns to `unknown`, and no check goes down oftener than its target fell.
//! * `owed`: at the end everything arrived, but for what was given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use quptime::base::clock::Wall;
use quptime::base::id::{AlertId, CheckId};
use quptime::state::command::DeliveryId;
use quptime::state::outcome::Settled;
use quptime::state::{Delivery, Kind, State};
use quptime::verdict::Verdict;

use super::checkers::{Checked, broken};
use super::duty::check_id;
use super::world::World;

type Step = (Verdict, Wall);

/// The transitions of one check that one destination is owed, oldest first.
#[derive(Default)]
struct Line {
    /// With those marked that were given up.
    owed: Vec<(Step, bool)>,
    told: usize,
}

impl Line {
    fn skip_given_up(&mut self) {
        while self.owed.get(self.told).is_some_and(|(_, given_up)| *given_up) {
            self.told += 1;
        }
    }
}

/// Targets and destinations.
pub struct Sinks {
    up: Vec<bool>,
    falls: Vec<u64>,
    incidents: Vec<u64>,
    owed: BTreeMap<DeliveryId, Arc<Delivery>>,
    /// When it was no longer owed, and whether it was given up.
    settled: BTreeMap<DeliveryId, (u64, bool)>,
    lines: BTreeMap<(AlertId, CheckId), Line>,
    senders: BTreeMap<DeliveryId, Vec<(usize, u64)>>,
    /// Copies beyond the first.
    pub again: u64,
    /// Messages that arrived, summaries among them.
    pub arrived: (u64, u64),
}

fn steps(delivery: &Delivery) -> Vec<Step> {
    match &delivery.kind {
        Kind::Summary { steps, .. } => steps.iter().map(|s| (s.to, s.at)).collect(),
        Kind::Down | Kind::Recovered => vec![(delivery.about.to, delivery.about.at)],
        Kind::Reminder { .. } => Vec::new(),
    }
}

impl Sinks {
    /// All targets are up, nothing has arrived.
    pub fn new(checks: usize) -> Sinks {
        Sinks {
            up: vec![true; checks],
            falls: vec![0; checks],
            incidents: vec![0; checks],
            owed: BTreeMap::new(),
            settled: BTreeMap::new(),
            lines: BTreeMap::new(),
            senders: BTreeMap::new(),
            again: 0,
            arrived: (0, 0),
        }
    }

    /// A target falls or rises.
    pub fn flip(&mut self, check: usize) -> bool {
        self.up[check] = !self.up[check];
        self.falls[check] += u64::from(!self.up[check]);
        self.up[check]
    }

    /// Whether a target is up.
    pub fn is_up(&self, check: usize) -> bool {
        self.up[check]
    }

    /// Whether a state says of every check what is so.
    pub fn is_true(&self, state: &State) -> bool {
        let said = |check: usize| state.verdict(check_id(check));
        let so = |up: bool| if up { Verdict::Up } else { Verdict::Down };
        self.up.iter().enumerate().all(|(check, up)| said(check) == Some(so(*up)))
    }

    /// An attempt begins.
    pub fn starts(&self, now: u64, delivery: &Delivery, may: bool) -> Checked {
        let id = delivery.id;
        if self.owed.get(&id).map(Arc::as_ref) != Some(delivery) {
            return broken("commit", format!("{id} is sent, which nobody is owed: {delivery:?}"));
        }
        if !may {
            return broken("acts", format!("{id} is sent by a host that may not act"));
        }
        match self.settled.get(&id) {
            Some((at, _)) if now >= *at => broken("once", format!("{id} is sent although it is settled")),
            _ => Ok(()),
        }
    }

    /// A message is accepted.
    pub fn accepts(&mut self, sender: (usize, u64), start: u64, delivery: &Delivery) -> Checked {
        let id = delivery.id;
        let senders = self.senders.entry(id).or_default();
        if senders.contains(&sender) {
            return broken("once", format!("{id} is sent twice by the same process"));
        }
        senders.push(sender);
        if senders.len() > 1 {
            self.again += 1;
            return Ok(());
        }
        if self.settled.get(&id).is_some_and(|(at, given_up)| *given_up && start < *at) {
            // It was on its way when another master was told that it is not wanted.
            return Ok(());
        }
        self.arrived.0 += 1;
        self.arrived.1 += u64::from(matches!(delivery.kind, Kind::Summary { .. }));
        let check = delivery.about.check;
        let line = self.lines.entry((delivery.alert, check)).or_default();
        for step in steps(delivery) {
            line.skip_given_up();
            let next = line.owed.get(line.told).map(|(step, _)| *step);
            if next != Some(step) {
                return broken("order", format!("{id} tells {step:?} where {next:?} comes next"));
            }
            line.told += 1;
        }
        Ok(())
    }

    /// Everything that was owed has arrived, but for what was given up.
    pub fn complete(&mut self) -> Checked {
        for ((alert, check), line) in &mut self.lines {
            line.skip_given_up();
            if line.told < line.owed.len() {
                let missing = &line.owed[line.told..];
                return broken("owed", format!("{alert} was never told of {check}: {missing:?}"));
            }
        }
        Ok(())
    }

    /// Why a run did not come to rest.
    pub fn not_quiet(&self, host: usize, state: Option<&State>) -> Checked {
        let owed = state.map(|s| s.outbox().all().map(|d| d.id.to_string()).collect::<Vec<_>>());
        if owed.as_ref().is_some_and(Vec::is_empty) {
            let said = state.map(State::verdicts);
            return broken("verdict", format!("targets are {:?}, n{} says {said:?}", self.up, host + 1));
        }
        broken("owed", format!("n{} still owes {owed:?}", host + 1))
    }
}

impl World {
    /// An entry was committed: what it made owed, and what it settled.
    pub fn committed(&mut self) -> Checked {
        let (now, sinks, effects) = (self.now, &mut self.sinks, &self.check.effects);
        let Some(state) = &self.check.app.state else { return Ok(()) };
        for delivery in effects.owed.iter().filter_map(|id| state.outbox().get(*id)) {
            let check = delivery.about.check;
            let line = sinks.lines.entry((delivery.alert, check)).or_default();
            line.owed.push(((delivery.about.to, delivery.about.at), false));
            sinks.owed.insert(delivery.id, Arc::clone(delivery));
        }
        for (id, how) in &effects.settled {
            let given_up = matches!(how, Settled::GaveUp(_));
            sinks.settled.insert(*id, (now, given_up));
            let Some(delivery) = sinks.owed.get(id).filter(|_| given_up) else { continue };
            let check = delivery.about.check;
            let Some(line) = sinks.lines.get_mut(&(delivery.alert, check)) else { continue };
            for step in steps(delivery) {
                let left = line.owed.iter_mut().skip(line.told);
                left.filter(|(other, _)| *other == step).take(1).for_each(|(_, given_up)| *given_up = true);
            }
        }
        for changed in &effects.transitions {
            let check = (0..sinks.up.len()).find(|c| check_id(*c) == changed.check).expect("one of ours");
            match changed.to {
                Verdict::Unknown => {
                    return broken("verdict", format!("check {check} returns to unknown"));
                }
                Verdict::Down => sinks.incidents[check] += 1,
                Verdict::Up => {}
            }
            if sinks.incidents[check] > sinks.falls[check] {
                let (times, falls) = (sinks.incidents[check], sinks.falls[check]);
                return broken("verdict", format!("check {check} is down {times} times, and fell {falls}"));
            }
        }
        Ok(())
    }
}
