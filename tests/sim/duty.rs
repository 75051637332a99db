//! What a daemon does beside consensus: probes, verdicts, and messages to destinations.
//!
//! Every host probes the targets, tells its peers, and keeps a real `verdict::Tally`; the one that
//! may act proposes what follows from it, offers what its real `state::State` owes to a small model
//! of the delivery desk, and has the fate of each message committed. The rules are those of
//! `daemon` (`reports.rs`, `owed.rs`) and `deliver`; [`Lesion`] switches one of them off. What is
//! true of targets and what arrived, `sinks.rs` knows.
//!
//! Left out: retries for a day, silences, reminders, and the words of messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quptime::base::clock::{Mono, Wall};
use quptime::base::id::{AlertId, CheckId, ClusterId, NodeId, RequestId};
use quptime::base::rng::Rng;
use quptime::base::units::Span;
use quptime::config::{Alert, Channel, Check, Cluster, Peer, Secret, Settings, Target};
use quptime::identity::Fingerprint;
use quptime::quorum::io::{Input, Proposal};
use quptime::quorum::message::{Command as Sealed, Entry};
use quptime::state::command::{Body, Command, DeliveryId};
use quptime::state::{Delivery, Effects, State};
use quptime::verdict::{Outcome, Report, Stage, Tally, definition};

use super::app::App;
use super::checkers::Checked;
use super::clock::MS;
use super::faults::Fault;
use super::host::Host;
use super::net::{Packet, Request, node_id};
use super::trace;
use super::world::{Event, World};

/// The wall clock of every host at the start, and its own clock's offset on top.
pub const WALL: Wall = Wall(1_700_000_000_000);

/// A rule of the daemon that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesion {
    /// What a verdict would owe is sent when it is proposed.
    SentBeforeCommit,
    /// A new master sends only what became owed under it.
    OutboxForgotten,
    /// Everything that is owed is sent at once, not the first of each lane.
    NoLanes,
    /// A host goes on sending what it has when it may not act any more.
    SendsUnasked,
    /// What was accepted is offered again until that is committed, and sent again.
    AcceptanceForgotten,
    /// What is not owed any more stays in a destination's queue.
    NotWithdrawn,
    /// A verdict that was changed elsewhere is changed back on reports from before.
    OldEvidence,
}

/// Targets, probes and destinations of a run.
#[derive(Clone, Debug)]
pub struct DutyOptions {
    /// Checks.
    pub checks: usize,
    /// Alerts; all are told of every check.
    pub alerts: usize,
    /// Between two probes, ns.
    pub interval: u64,
    /// Per mille of targets that change at a time.
    pub flips: u64,
    /// Per mille of attempts that fail for now.
    pub failures: u64,
    /// Per mille of attempts that are refused for good.
    pub refusals: u64,
    /// Per mille of acceptances that kill the sender before it hears of them.
    pub kills: u64,
    /// Per mille of messages that are on their way for long.
    pub slow: u64,
    /// A rule that is off.
    pub lesion: Option<Lesion>,
}

impl DutyOptions {
    /// Draws them.
    pub fn from_seed(seed: u64, heartbeat: u64) -> DutyOptions {
        let mut rng = Rng::new(seed ^ 0x0a1e_2700);
        DutyOptions {
            checks: 1 + rng.below(3) as usize,
            alerts: 1 + rng.below(2) as usize,
            interval: heartbeat * (1 + rng.below(3)),
            flips: 200 + rng.below(400),
            failures: *rng.pick(&[0, 200, 700]).expect("not empty"),
            refusals: *rng.pick(&[0, 0, 30]).expect("not empty"),
            kills: *rng.pick(&[0, 100, 300]).expect("not empty"),
            slow: *rng.pick(&[0, 100]).expect("not empty"),
            lesion: None,
        }
    }

    /// Nothing fails and nothing changes any more.
    pub fn calm(&mut self) {
        (self.flips, self.failures, self.refusals, self.kills, self.slow) = (0, 0, 0, 0, 0);
    }
}

/// Something that happens to targets, probes and messages.
#[derive(Clone, Debug)]
pub enum DutyEvent {
    /// Targets may change.
    Flip,
    /// A host's probes are due.
    Probe(usize),
    /// A message reaches its destination, whether its sender lives or not.
    Arrive {
        /// Host and run that sent it.
        sender: (usize, u64),
        /// The message.
        delivery: Arc<Delivery>,
        /// When it was sent.
        start: u64,
    },
    /// The sender hears what became of it.
    Answer {
        /// Host and run.
        host: (usize, u64),
        /// The message.
        delivery: Arc<Delivery>,
        /// What.
        fate: Fate,
    },
}

impl DutyEvent {
    /// The process that it happens to, which may be stopped or gone.
    pub fn process(&self) -> Option<(usize, u64)> {
        match self {
            DutyEvent::Answer { host, .. } => Some(*host),
            _ => None,
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Accepted.
    Accepted,
    /// It may be better next time.
    Failed,
    /// Never.
    Refused,
}

/// A destination as a host knows it.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Arc<Delivery>>,
    busy: BTreeSet<DeliveryId>,
    failures: u32,
    next_try: u64,
    ended: BTreeSet<DeliveryId>,
}

/// The fate of a message on its way to the log.
struct Own {
    request: RequestId,
    delivery: DeliveryId,
    text: String,
    next_try: u64,
}

/// What one host's process keeps for all this.
#[derive(Default)]
pub struct Duty {
    boot: u64,
    round: u64,
    tally: Option<Tally>,
    acting: bool,
    /// A new master leaves older messages to the old one's last words until then.
    old_from: Mono,
    proposed: BTreeMap<RequestId, Vec<CheckId>>,
    lanes: BTreeMap<AlertId, Lane>,
    own: Vec<Own>,
    attending: bool,
}

impl Duty {
    /// Of a process that starts from this machine.
    pub fn new(boot: u64, app: &App, now: Mono) -> Duty {
        let mut duty = Duty { boot, ..Duty::default() };
        duty.begin_anew(app, now);
        duty
    }

    /// The machine is another one.
    pub fn begin_anew(&mut self, app: &App, now: Mono) {
        self.tally = app.state.as_ref().map(|state| Tally::new(now, state.cluster()));
    }

    /// A proposal was not taken, or was lost.
    pub fn refused(&mut self, request: RequestId) {
        let (checks, tally) = (self.proposed.remove(&request), self.tally.as_mut());
        if let Some((checks, tally)) = checks.zip(tally) {
            checks.into_iter().for_each(|check| tally.clear(check));
        }
    }
}

/// A peer of the product's state for this host.
pub fn peer(host: usize) -> Peer {
    Peer {
        node_id: node_id(host),
        advertise: format!("host{host}:9901").parse().expect("an address"),
        fingerprint: Fingerprint([host as u8; 32]),
        cert_pem: String::new(),
    }
}

/// The id of a check by its number.
pub fn check_id(check: usize) -> CheckId {
    CheckId::from_random((check as u128 + 1) << 96)
}

/// The product's state at the start: these peers, so many checks and alerts.
pub fn found(hosts: &[usize], checks: usize, alerts: usize, interval_ms: u64) -> State {
    let check = |n: usize| Check {
        id: check_id(n),
        name: format!("check {n}").parse().expect("a name"),
        target: Target::Tcp { to: format!("target{n}:80").parse().expect("an address") },
        interval: Span::from_millis(interval_ms.max(1000)),
        timeout: Span::from_millis(500),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: true,
    };
    let alert = |n: usize| Alert {
        id: AlertId::from_random((n as u128 + 1) << 96),
        name: format!("alert {n}").parse().expect("a name"),
        default: true,
        enabled: true,
        remind: None,
        subject_template: None,
        body_template: None,
        channel: Channel::Discord { webhook: Secret::new("https://example.com/hook") },
    };
    State::found(Cluster {
        id: ClusterId::from_random(7),
        version: 1,
        updated_at: WALL,
        updated_by: None,
        settings: Settings::default(),
        peers: hosts.iter().map(|h| (node_id(*h), peer(*h))).collect(),
        checks: (0..checks).map(|n| (check_id(n), check(n).into())).collect(),
        alerts: (0..alerts).map(alert).map(|a| (a.id, a.into())).collect(),
    })
}

fn wall(host: &Host, now: u64) -> Wall {
    Wall(WALL.0 + host.clock.shows(now).0 / MS)
}

impl World {
    fn lesion(&self, lesion: Lesion) -> bool {
        self.options.duty.as_ref().is_some_and(|d| d.lesion == Some(lesion))
    }

    /// Probes and targets begin.
    pub fn start_duty(&mut self) {
        let Some(interval) = self.options.duty.as_ref().map(|d| d.interval) else { return };
        for host in 0..self.hosts.len() {
            let phase = self.rng.below(interval);
            self.after(phase, Event::Duty(DutyEvent::Probe(host)));
        }
        self.after(interval, Event::Duty(DutyEvent::Flip));
    }

    /// Lets one of these happen.
    pub fn duty(&mut self, event: DutyEvent) -> Checked {
        let Some(options) = self.options.duty.clone() else { return Ok(()) };
        match event {
            DutyEvent::Flip => {
                for check in 0..options.checks {
                    if self.rng.chance(options.flips) {
                        let up = self.sinks.flip(check);
                        self.trace.line(self.now, || format!("--- target {check} up {up}"));
                    }
                }
                self.after(options.interval * 3, Event::Duty(DutyEvent::Flip));
                Ok(())
            }
            DutyEvent::Probe(host) => {
                self.after(options.interval, Event::Duty(DutyEvent::Probe(host)));
                self.probe(host)
            }
            DutyEvent::Arrive { sender, delivery, start } => self.arrives(&options, sender, delivery, start),
            DutyEvent::Answer { host, delivery, fate } => self.answered(host.0, &delivery, fate),
        }
    }

    /// A host probes all targets and tells its peers.
    fn probe(&mut self, host: usize) -> Checked {
        let h = &mut self.hosts[host];
        let Some(state) = h.app.state.as_ref().filter(|_| h.core.is_some() && !h.paused) else {
            return Ok(());
        };
        h.duty.round += 1;
        let failed = || Outcome::Failed { stage: Stage::Connect, detail: "connect: refused".to_owned() };
        let checks = state.cluster().checks.values().enumerate();
        let reports = checks.map(|(n, check)| Report {
            check: check.id,
            boot: h.duty.boot,
            round: h.duty.round,
            of: definition(check),
            took_ms: 1,
            outcome: if self.sinks.is_up(n) { Outcome::Ok } else { failed() },
        });
        let reports: Vec<Report> = reports.collect();
        let peers: Vec<NodeId> = state.cluster().peers.keys().copied().filter(|p| *p != h.id).collect();
        for peer in peers {
            let peer = self.host_of(peer)?;
            self.send(host, peer, Packet::Reports(reports.clone()));
        }
        self.take_reports(host, node_id(host), &reports)
    }

    /// Reports reach a host, under the id of who sent them.
    pub fn take_reports(&mut self, host: usize, from: NodeId, reports: &[Report]) -> Checked {
        let h = &mut self.hosts[host];
        let now = h.clock.shows(self.now);
        if let Some(tally) = &mut h.duty.tally {
            for report in reports {
                tally.take(now, from, report);
            }
        }
        self.attend(host)
    }

    /// What an applied entry causes beside the machine.
    pub fn follow_effects(&mut self, host: usize, entry: &Entry, effects: &Effects) {
        let (stays, old_evidence) = (self.lesion(Lesion::NotWithdrawn), self.lesion(Lesion::OldEvidence));
        let h = &mut self.hosts[host];
        let now = h.clock.shows(self.now);
        let Some((state, tally)) = h.app.state.as_ref().zip(h.duty.tally.as_mut()) else { return };
        let proposed = entry.command.as_ref().and_then(|c| h.duty.proposed.remove(&c.request));
        proposed.into_iter().flatten().for_each(|check| tally.clear(check));
        for changed in &effects.transitions {
            match old_evidence {
                true => tally.clear(changed.check),
                false => tally.decided(changed.check, changed.to),
            }
        }
        if effects.config_changed() {
            tally.configure(now, state.cluster());
        }
        for (id, _) in effects.settled.iter().filter(|_| !stays) {
            h.duty.lanes.values_mut().for_each(|lane| lane.queue.retain(|d| d.id != *id));
        }
    }

    /// After everything that a host was told: what the owner thread of a daemon does then.
    pub fn attend(&mut self, host: usize) -> Checked {
        if self.options.duty.is_none() || self.hosts[host].core.is_none() || self.hosts[host].paused {
            return Ok(());
        }
        // What follows from a proposal comes back here; once is enough.
        if std::mem::replace(&mut self.hosts[host].duty.attending, true) {
            return Ok(());
        }
        self.watch_acting(host);
        self.propose_verdicts(host)?;
        self.offer(host);
        self.tell_fates(host)?;
        self.send_due(host)?;
        self.hosts[host].duty.attending = false;
        Ok(())
    }

    fn watch_acting(&mut self, host: usize) {
        let unasked = self.lesion(Lesion::SendsUnasked);
        let h = &mut self.hosts[host];
        let now = h.clock.shows(self.now);
        let acting = h.core.as_ref().is_some_and(|core| core.may_act(now));
        if acting == h.duty.acting {
            return;
        }
        h.duty.acting = acting;
        if acting {
            h.duty.old_from = now + Duration::from_millis(2 * h.app.config.timing.0);
            h.duty.tally.iter_mut().for_each(|tally| tally.begin(now));
        } else if !unasked {
            h.duty.lanes.values_mut().for_each(|lane| lane.queue.clear());
        }
    }

    fn propose_verdicts(&mut self, host: usize) -> Checked {
        let h = &mut self.hosts[host];
        let now = h.clock.shows(self.now);
        let limit = if h.duty.acting { 100 } else { 0 };
        let Some((state, tally)) = h.app.state.as_ref().zip(h.duty.tally.as_mut()) else { return Ok(()) };
        let changes = tally.poll(now, limit, |id| state.verdict(id));
        if changes.is_empty() {
            return Ok(());
        }
        let request = RequestId::from_random(self.rng.next_u128());
        h.duty.proposed.insert(request, changes.iter().map(|t| t.check).collect());
        let command = Command { by: h.id, at: wall(h, self.now), body: Body::Verdicts { changes } };
        let text = serde_json::to_string(&command).expect("a command");
        self.trace.line(self.now, || format!("{} proposes {text}", trace::name(node_id(host))));
        if self.lesion(Lesion::SentBeforeCommit) {
            let h = &self.hosts[host];
            let mut ahead = h.app.state.clone().expect("it has one");
            let end = h.core.as_ref().map_or(0, |core| core.status().end.index);
            let owed = ahead.apply(end + 1, Some(request), Some(&command)).effects.owed;
            for delivery in owed.iter().filter_map(|id| ahead.outbox().get(*id)) {
                self.send_message(host, delivery)?;
            }
        }
        let command = Sealed { request, text: text.into() };
        self.feed(host, Input::Propose(Proposal { command, change: None }))
    }

    /// Gives the heads of the lanes to the destinations' queues.
    fn offer(&mut self, host: usize) {
        let (forgets, no_lanes) = (self.lesion(Lesion::OutboxForgotten), self.lesion(Lesion::NoLanes));
        let h = &mut self.hosts[host];
        let Some(state) = h.app.state.as_ref().filter(|s| h.duty.acting && !s.outbox().is_empty()) else {
            return;
        };
        let waits = h.clock.shows(self.now) < h.duty.old_from || forgets;
        for alert in state.cluster().alerts.keys() {
            let lane = h.duty.lanes.entry(*alert).or_default();
            let all = state.outbox().all().filter(|d| d.alert == *alert && no_lanes);
            let heads = state.outbox().heads(*alert).chain(all);
            for delivery in heads.filter(|d| !waits || d.about.by == h.id) {
                if !lane.ended.contains(&delivery.id) && lane.queue.iter().all(|d| d.id != delivery.id) {
                    lane.queue.push_back(Arc::clone(delivery));
                }
            }
        }
    }

    /// Begins what is due at each destination, if this host may send.
    fn send_due(&mut self, host: usize) -> Checked {
        let (unasked, no_lanes) = (self.lesion(Lesion::SendsUnasked), self.lesion(Lesion::NoLanes));
        let (now, h) = (self.now, &mut self.hosts[host]);
        if h.core.is_none() || !(h.acts(now) || unasked) {
            return Ok(());
        }
        let mut begun = Vec::new();
        for lane in h.duty.lanes.values_mut().filter(|lane| lane.next_try <= now) {
            let at_once = if no_lanes { usize::MAX } else { 1 };
            let free = at_once.saturating_sub(lane.busy.len());
            for delivery in lane.queue.iter().take(at_once).take(free) {
                if lane.busy.insert(delivery.id) {
                    begun.push(Arc::clone(delivery));
                }
            }
        }
        begun.iter().try_for_each(|delivery| self.send_message(host, delivery))
    }

    fn send_message(&mut self, host: usize, delivery: &Arc<Delivery>) -> Checked {
        self.trace.line(self.now, || {
            format!("{} sends {} {:?}", trace::name(node_id(host)), delivery.id, delivery.kind)
        });
        let may = self.options.jumps || self.hosts[host].acts(self.now);
        self.sinks.starts(self.now, delivery, may)?;
        let (heartbeat, dead_after) = (self.options.timing.0 * MS, self.options.timing.1 * MS);
        let slow = self.options.duty.as_ref().map_or(0, |d| d.slow);
        let longest = if self.rng.chance(slow) { dead_after * 2 } else { heartbeat / 4 };
        let sender = (host, self.hosts[host].run);
        let event = DutyEvent::Arrive { sender, delivery: Arc::clone(delivery), start: self.now };
        let travel = self.rng.below(longest);
        self.after(travel, Event::Duty(event));
        Ok(())
    }

    fn arrives(
        &mut self,
        options: &DutyOptions,
        sender: (usize, u64),
        delivery: Arc<Delivery>,
        start: u64,
    ) -> Checked {
        let fate = match () {
            () if self.rng.chance(options.failures) => Fate::Failed,
            () if self.rng.chance(options.refusals) => Fate::Refused,
            () => Fate::Accepted,
        };
        self.trace
            .line(self.now, || format!("{} from {}: {fate:?}", delivery.id, trace::name(node_id(sender.0))));
        if fate == Fate::Accepted {
            self.sinks.accepts(sender, start, &delivery)?;
            let h = &self.hosts[sender.0];
            if h.run == sender.1 && h.core.is_some() && self.rng.chance(options.kills) {
                let down = 1 + self.rng.below(self.options.down);
                return self.inject(Fault::Crash(sender.0, down));
            }
        }
        let travel = self.rng.below(self.options.timing.0 * MS / 4);
        self.after(travel, Event::Duty(DutyEvent::Answer { host: sender, delivery, fate }));
        Ok(())
    }

    fn answered(&mut self, host: usize, delivery: &Delivery, fate: Fate) -> Checked {
        let forgets = self.lesion(Lesion::AcceptanceForgotten);
        let id = delivery.id;
        let pause = self.rng.below(self.options.timing.0 * MS * 2);
        let request = RequestId::from_random(self.rng.next_u128());
        let h = &mut self.hosts[host];
        let lane = h.duty.lanes.entry(delivery.alert).or_default();
        lane.busy.remove(&id);
        let body = match fate {
            Fate::Failed => {
                lane.failures += 1;
                lane.next_try = self.now + pause * u64::from(lane.failures.min(4));
                return self.attend(host);
            }
            Fate::Accepted => Body::Delivered { delivery: id },
            Fate::Refused => Body::GaveUp { delivery: id, why: "550".to_owned() },
        };
        lane.failures = 0;
        lane.queue.retain(|d| d.id != id);
        if !forgets {
            lane.ended.insert(id);
        }
        let command = Command { by: h.id, at: wall(h, self.now), body };
        let text = serde_json::to_string(&command).expect("a command");
        h.duty.own.push(Own { request, delivery: id, text, next_try: self.now });
        self.attend(host)
    }

    /// Fates go to whoever is master, again and again until they are applied here.
    fn tell_fates(&mut self, host: usize) -> Checked {
        let again = self.now + self.options.timing.0 * MS;
        let (now, h) = (self.now, &mut self.hosts[host]);
        let Some(state) = &h.app.state else { return Ok(()) };
        h.duty.own.retain(|own| state.outbox().get(own.delivery).is_some());
        let mut due = Vec::new();
        for own in h.duty.own.iter_mut().filter(|own| own.next_try <= now) {
            own.next_try = again;
            due.push(Request { id: own.request, text: own.text.clone(), change: None });
        }
        due.into_iter().try_for_each(|request| self.request_at(host, host, request))
    }

    /// After the faults: verdicts come to the truth, where enough hosts see it, and everything that
    /// is owed arrives.
    pub fn all_is_told(&mut self, part: &[usize]) -> Checked {
        let Some(interval) = self.options.duty.as_ref().map(|d| d.interval) else { return Ok(()) };
        let timing = self.check.app.config.timing;
        let limit = self.now + 6 * timing.1 * MS + 40 * timing.0 * MS + 12 * interval;
        let members = self.check.membership();
        let is_member = |h: &usize| members.members().any(|id| id == node_id(*h));
        let part: Vec<usize> = part.iter().copied().filter(is_member).collect();
        if !self.run_while(limit, |w| part.iter().all(|h| w.is_quiet(*h, &part)))? {
            let h = part.iter().copied().find(|h| !self.is_quiet(*h, &part)).unwrap_or_default();
            return self.sinks.not_quiet(h, self.hosts[h].app.state.as_ref());
        }
        self.sinks.complete()
    }

    fn is_quiet(&self, host: usize, part: &[usize]) -> bool {
        let Some(state) = &self.hosts[host].app.state else { return false };
        let peers = &state.cluster().peers;
        let seeing = part.iter().filter(|h| peers.contains_key(&node_id(**h))).count();
        let decided = seeing < peers.len() / 2 + 1 || self.sinks.is_true(state);
        decided && state.outbox().is_empty()
    }
}
