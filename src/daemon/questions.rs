//! What the control socket asks: planned into a change, or answered at once from what is known
//! here.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::changes::answered;
use super::core::Core;
use super::plan;
use crate::alerts::{Facts, Kind, NodeReport};
use crate::config::{Alert, Check};
use crate::control::message::{Ask, Reply, Request, TestState};
use crate::state::Incident;
use crate::state::command::{Body, SilenceId};
use crate::state::route::route;
use crate::verdict::{Seen, Verdict};
use crate::view::{IncidentSeen, IncidentView, SilenceView, TrustView};

/// Incidents in one answer at most, unless fewer are asked for.
const MOST_INCIDENTS: usize = 1000;

/// One test message: to whom, and what it says.
pub type Trial = (Arc<Alert>, Facts);

impl Core {
    /// A question from the control socket.
    pub(super) fn on_ask(&mut self, request: Request, reply: Sender<Reply>) {
        if request.ask == Ask::Mesh {
            return self.begin_mesh(reply);
        }
        self.answer_ask(request, reply, false);
    }

    /// `current`: this node knows everything that was committed before the question was asked, so
    /// that what it does not know does not exist.
    pub(super) fn answer_ask(&mut self, request: Request, reply: Sender<Reply>, current: bool) {
        let Request { id, ask } = &request;
        let id = *id;
        let answer = |text| drop(reply.try_send(text));
        // Asked again after an answer that got lost: the names in it may mean nothing any more.
        if let Some(result) = self.state.as_ref().and_then(|s| s.answer(id)) {
            return answer(answered(result));
        }
        let Some(cluster) = self.cluster().cloned() else {
            let text = "this node has no state of its cluster yet: it waits for a master to learn it from";
            return answer(Reply::NoQuorum { text: text.to_owned() });
        };
        let planned = match ask {
            Ask::TrustList => return answer(Reply::Trust(self.trusted())),
            Ask::IncidentList { check, since, limit } => {
                return answer(self.incidents(check.as_deref(), since.map(|s| s.millis()), *limit));
            }
            Ask::IncidentShow { id } => return answer(self.incident(id)),
            Ask::SilenceList => return answer(Reply::Silences(self.silences())),
            Ask::ClusterConfig { .. } => return answer(Reply::Config { current: cluster, base: None }),
            Ask::ClusterApply { items, dry_run } => {
                let body = Body::HandEdit { items: items.clone() };
                if *dry_run {
                    return answer(self.tried(&body));
                }
                Ok(Some(body))
            }
            Ask::Silence { who, length, reason } => {
                let check = who.as_deref().map(|w| plan::find_check(&cluster, w)).transpose();
                check.map(|check| Some(Body::Silence { check, length: *length, reason: reason.clone() }))
            }
            Ask::SilenceEnd { id } => match id.parse() {
                Ok(number) => Ok(Some(Body::EndSilence { id: SilenceId(number) })),
                Err(_) => Err(format!("no silence {id:?} (see qu silence list)")),
            },
            Ask::TrustRemove { who } if plan::find_peer(&cluster, who) == Ok(self.me) => {
                Err("this node is not in its own trust store: qu node remove takes it out of the cluster"
                    .to_owned())
            }
            other => {
                let rng = &mut self.rng;
                let change = plan::plan(&cluster, other, &mut || rng.next_u128());
                change.map(|c| c.map(Body::Change))
            }
        };
        match planned {
            Ok(Some(body)) => self.begin(id, body, reply),
            Ok(None) => answer(Reply::refused("this question is not answered here")),
            Err(_) if !current && self.doubt(&request, &reply) => {}
            Err(why) => answer(Reply::refused(why)),
        }
    }

    /// Whether an edit would be taken, as far as this node knows.
    fn tried(&self, body: &Body) -> Reply {
        match self.state.as_ref().map(|s| s.check(body)) {
            Some(Err(why)) => Reply::refused(why.to_string()),
            _ => Reply::done("nothing speaks against it", None),
        }
    }

    fn silences(&self) -> Vec<SilenceView> {
        let Some(state) = &self.state else { return Vec::new() };
        let name = |id| state.cluster().checks.get(&id).map(|c| c.name.to_string());
        let shown = state.silences().all().map(|s| SilenceView {
            id: s.id.to_string(),
            check: s.check.and_then(name),
            from: s.from,
            until: s.until,
            reason: s.reason.clone(),
        });
        shown.collect()
    }

    fn trusted(&self) -> Vec<TrustView> {
        let peers = self.cluster().map(|c| c.peers.values().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let others = peers.into_iter().filter(|p| p.node_id != self.me);
        others
            .map(|p| TrustView { node_id: p.node_id, address: p.advertise, fingerprint: p.fingerprint })
            .collect()
    }

    fn incidents(&self, check: Option<&str>, since_ms: Option<u64>, limit: Option<u32>) -> Reply {
        let Some(state) = &self.state else { return Reply::Incidents(Vec::new()) };
        let now = self.clock.wall();
        let known = check.and_then(|typed| plan::find_check(state.cluster(), typed).ok());
        let of_check = |i: &Incident| match (check, known) {
            (Some(_), Some(id)) => i.check == id,
            (Some(typed), None) => i.name == typed || i.check.to_string() == typed,
            (None, _) => true,
        };
        let recent = |i: &Incident| {
            let last = i.end.as_ref().map_or(now, |e| e.at);
            since_ms.is_none_or(|ms| now.0.saturating_sub(last.0) <= ms)
        };
        let most = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(MOST_INCIDENTS);
        let all = state.incidents();
        let picked: Vec<IncidentView> =
            all.iter().filter(|i| of_check(i) && recent(i)).take(most).map(|i| shown(i)).collect();
        if let (true, Some(typed), None) = (picked.is_empty(), check, known) {
            return Reply::refused(format!(
                "no check {typed:?}, and no incident of one (see qu incident list)"
            ));
        }
        Reply::Incidents(picked)
    }

    fn incident(&self, id: &str) -> Reply {
        let all = self.state.as_ref().map(|s| s.incidents()).unwrap_or_default();
        match all.iter().find(|i| i.id.to_string() == id) {
            Some(found) => Reply::Incidents(vec![shown(found)]),
            None => Reply::refused(format!("no incident {id:?} (see qu incident list)")),
        }
    }

    /// The messages of a test: who is to get which. They are sent by the thread that asks, beside
    /// the queues, from this node: every node may be master one day, so each is worth testing.
    pub(super) fn on_make_test(&self, ask: &Ask, reply: &Sender<Result<Vec<Trial>, String>>) {
        drop(reply.try_send(self.trials(ask)));
    }

    fn trials(&self, ask: &Ask) -> Result<Vec<Trial>, String> {
        let Some(cluster) = self.cluster() else {
            return Err("this node has no state of its cluster yet: it waits for a master to learn it from"
                .to_owned());
        };
        let (alerts, kind, check) = match ask {
            Ask::TestAlert { who } => (vec![plan::find_alert(cluster, who)?], Kind::TestDown, None),
            Ask::TestCheck { who, state } => {
                let check = cluster.checks.get(&plan::find_check(cluster, who)?);
                let alerts = check.map(|c| route(cluster, c)).unwrap_or_default();
                if alerts.is_empty() {
                    return Err(format!("check {who:?} has no alerts: nobody would be told"));
                }
                let kind = if *state == TestState::Down { Kind::TestDown } else { Kind::TestRecovered };
                (alerts, kind, check)
            }
            _ => return Err("this is not a test".to_owned()),
        };
        let alerts = alerts.iter().filter_map(|id| cluster.alerts.get(id));
        Ok(alerts
            .map(|alert| (Arc::clone(alert), self.sample(alert, kind, check.map(Arc::as_ref))))
            .collect())
    }

    /// What a real message about this check would say, as far as that is known now.
    fn sample(&self, alert: &Alert, kind: Kind, check: Option<&Check>) -> Facts {
        let now = self.clock.wall();
        let mut facts =
            Facts { at: now, alert: alert.name.to_string(), incident: None, ..Facts::sample(kind) };
        facts.id = format!("test.{:x}.{}", now.0, self.me.short());
        facts.in_reply_to = None;
        if let Some(check) = check {
            facts.check_id = check.id.to_string();
            facts.check_name = check.name.to_string();
            check.target.kind().clone_into(&mut facts.check_type);
            facts.target = check.target.address();
        }
        if let Some(cluster) = self.cluster() {
            let labels = cluster.peers.values().map(|p| p.advertise.to_string());
            let ok = facts.state == Verdict::Up;
            let detail = facts.detail.clone();
            facts.reports = labels.map(|node| NodeReport { node, ok, detail: detail.clone() }).collect();
            facts.total = u32::try_from(facts.reports.len()).unwrap_or(u32::MAX);
            facts.ok = if ok { facts.total } else { 0 };
            facts.master =
                cluster.peers.get(&self.me).map_or_else(|| self.me.short(), |p| p.advertise.to_string());
        }
        facts
    }
}

fn shown(incident: &Incident) -> IncidentView {
    let saw = |s: &Seen| IncidentSeen {
        node: s.node,
        ok: s.outcome.is_ok(),
        detail: Some(s.outcome.detail().to_owned()).filter(|d| !d.is_empty()),
        took_ms: s.took_ms,
    };
    let end = incident.end.as_ref();
    IncidentView {
        id: incident.id.to_string(),
        check: incident.check,
        name: incident.name.clone(),
        target: incident.target.clone(),
        started: incident.start,
        ended: end.map(|e| e.at),
        end: end.map(|e| e.how.to_string()),
        detail: Some(incident.detail().to_owned()).filter(|d| !d.is_empty()),
        down_seen: incident.seen.iter().map(saw).collect(),
        up_seen: end.map(|e| e.seen.iter().map(saw).collect()).unwrap_or_default(),
    }
}
