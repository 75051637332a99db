//! Small worlds for the tests of this module.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, ClusterId, NodeId, RequestId};
use crate::base::units::Span;
use crate::config::{Alert, Channel, Check, Cluster, Peer, Secret, Settings, Target};
use crate::identity::Fingerprint;
use crate::verdict::{Outcome, Seen, Stage, Transition, Verdict, definition};

use super::command::{Body, Change, Command};
use super::outcome::{Applied, Done, Refused};
use super::{Delivery, State};

pub fn node(n: u8) -> NodeId {
    NodeId::from_random(u128::from(n) << 100)
}

pub fn peer(n: u8) -> Peer {
    Peer {
        node_id: node(n),
        advertise: format!("node{n}:9901").parse().unwrap(),
        fingerprint: Fingerprint([n; 32]),
        cert_pem: format!("certificate {n}"),
    }
}

pub fn check(n: u32) -> Check {
    Check {
        id: CheckId::from_random(u128::from(n) << 90),
        name: format!("check {n}").parse().unwrap(),
        target: Target::Tcp { to: format!("host{n}:80").parse().unwrap() },
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: true,
    }
}

pub fn alert(n: u8) -> Alert {
    Alert {
        id: AlertId::from_random(u128::from(n) << 100),
        name: format!("alert {n}").parse().unwrap(),
        default: false,
        enabled: true,
        remind: None,
        subject_template: None,
        body_template: None,
        channel: Channel::Discord { webhook: Secret::new("https://example.com/hook") },
    }
}

pub fn cluster(nodes: u8) -> Cluster {
    Cluster {
        id: ClusterId::from_random(7),
        version: 1,
        updated_at: Wall(0),
        updated_by: None,
        settings: Settings::default(),
        peers: (1..=nodes).map(|n| (node(n), peer(n))).collect(),
        checks: crate::config::Checks::new(),
        alerts: BTreeMap::new(),
    }
}

/// A state under test: gives out indexes and one second for each command.
pub struct Bench {
    pub state: State,
    pub index: u64,
}

impl Bench {
    /// Three nodes, a check, and a default alert.
    pub fn new() -> Bench {
        let mut world = cluster(3);
        world.checks.insert(check(1).id, check(1).into());
        let default = Alert { default: true, ..alert(1) };
        world.alerts.insert(default.id, default.into());
        Bench { state: State::found(world), index: 0 }
    }

    pub fn now(&self) -> Wall {
        Wall(1_000_000 + self.index * 1_000)
    }

    pub fn tell(&mut self, body: Body) -> Applied {
        self.tell_as(None, body)
    }

    pub fn tell_as(&mut self, request: Option<RequestId>, body: Body) -> Applied {
        self.index += 1;
        let early = self.state.check(&body).err();
        let command = Command { by: node(1), at: self.now(), body };
        let applied = self.state.apply(self.index, request, Some(&command));
        if !applied.repeated {
            assert_eq!(early, applied.result.clone().err(), "asked before and told after differ");
        }
        applied
    }

    pub fn change(&mut self, change: Change) -> Result<Done, Refused> {
        self.tell(Body::Change(change)).result
    }

    /// The check goes to `to`, as three nodes see it.
    pub fn turn(&mut self, check: &Check, to: Verdict) -> Applied {
        let from = self.state.verdict(check.id).unwrap();
        self.tell(Body::Verdicts { changes: vec![transition(check, from, to)] })
    }

    /// What is owed, as words: `1D 2R` for DOWN to alert 1 and RECOVERED to alert 2.
    pub fn owed(&self) -> Vec<String> {
        self.state.outbox().all().map(|delivery| self.word(delivery)).collect()
    }

    pub fn word(&self, delivery: &Delivery) -> String {
        let n = (0..=9).find(|n| alert(*n).id == delivery.alert).unwrap();
        let kind = match &delivery.kind {
            super::Kind::Down => "D".to_owned(),
            super::Kind::Recovered => "R".to_owned(),
            super::Kind::Reminder { nth } => format!("M{nth}"),
            super::Kind::Summary { steps, left_out } => {
                let steps = steps.iter().map(|s| if s.to == Verdict::Down { 'd' } else { 'u' });
                format!("S{}{left_out}", steps.collect::<String>())
            }
        };
        format!("{n}{kind}")
    }

    /// Delivers the first message that may be sent to an alert.
    pub fn deliver(&mut self, to: u8) -> Option<String> {
        let head = self.state.outbox().heads(alert(to).id).next()?.clone();
        let word = self.word(&head);
        self.tell(Body::Delivered { delivery: head.id });
        Some(word)
    }
}

pub fn transition(check: &Check, from: Verdict, to: Verdict) -> Transition {
    let failed = Outcome::Failed { stage: Stage::Connect, detail: "connect: connection refused".into() };
    let outcome = if to == Verdict::Down { failed } else { Outcome::Ok };
    let seen = (1..=3).map(|n| Seen { node: node(n), outcome: outcome.clone(), took_ms: 12 }).collect();
    let seen = if to == Verdict::Unknown { Vec::new() } else { seen };
    Transition { check: check.id, from, to, of: definition(check), seen, peers: 3 }
}
