//! The published picture: kept up to date item by item, so that a new one costs what changed.
//!
//! What changes often (reports) is published a few times a second at most; what a client may be
//! waiting to see (a change of configuration, another master) at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::base::clock::{Mono, Wall};
use crate::base::id::{AlertId, CheckId, ClusterId, NodeId};
use crate::config::{Alert, Check, Cluster};
use crate::deliver::LaneStatus;
use crate::quorum::io::Status;
use crate::state::route::routed;
use crate::verdict::Verdict;
use crate::view::{
    AlertView, CheckList, CheckView, NodeReport, Note, NoteLevel, PeerView, ProbeStats, Quorum, View,
};

/// Between two pictures that differ in reports only.
const PAUSE: Duration = Duration::from_millis(250);
/// Without any change: so that times seen and statistics stay fresh.
const REFRESH: Duration = Duration::from_secs(1);

/// What the next picture has to take up.
#[derive(Debug)]
pub struct Picture {
    checks: CheckList,
    /// The configuration that `checks` shows.
    shown: Option<Arc<Cluster>>,
    alerts: Arc<Vec<Arc<AlertView>>>,
    dirty: BTreeSet<CheckId>,
    all_dirty: bool,
    config_dirty: bool,
    alerts_dirty: bool,
    /// Attempts of the desk that `alerts` shows.
    attempts: u64,
    publish_at: Mono,
    published: Mono,
    notes: BTreeMap<&'static str, String>,
}

impl Picture {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Mono) -> Picture {
        Picture {
            checks: CheckList::default(),
            shown: None,
            alerts: Arc::default(),
            dirty: BTreeSet::new(),
            all_dirty: true,
            config_dirty: true,
            alerts_dirty: true,
            attempts: 0,
            publish_at: now,
            published: now,
            notes: BTreeMap::new(),
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn publish_at(&self) -> Mono {
        self.publish_at
    }

    /// A report of this check has come in.
    pub fn check_changed(&mut self, id: CheckId, now: Mono) {
        self.dirty.insert(id);
        self.publish_at = self.publish_at.min(now.max(self.published + PAUSE));
    }

    /// The verdict of this check is another one.
    pub fn verdict_changed(&mut self, id: CheckId) {
        self.dirty.insert(id);
        self.changed_now();
    }

    /// Readers should see it at once.
    pub fn changed_now(&mut self) {
        self.publish_at = Mono(0);
    }

    /// Something about peers.
    pub fn peers_changed(&mut self) {
        self.changed_now();
    }

    /// A queue or its destination.
    pub fn alerts_changed(&mut self) {
        self.alerts_dirty = true;
        self.changed_now();
    }

    /// Anything may have changed.
    pub fn all_changed(&mut self) {
        self.all_dirty = true;
        self.alerts_changed();
    }

    /// The configuration has.
    pub fn config_changed(&mut self) {
        self.config_dirty = true;
        self.alerts_changed();
    }

    /// Marks what this configuration shows otherwise than the last one. With another set of alerts
    /// or peers anything may look different.
    fn follow(&mut self, cluster: &Arc<Cluster>) {
        let last = self.shown.replace(Arc::clone(cluster));
        let last = last.filter(|l| same_items(&l.alerts, &cluster.alerts) && l.peers == cluster.peers);
        let Some(last) = last else {
            self.checks = CheckList::default();
            return self.dirty.extend(cluster.checks.keys());
        };
        for (id, old, new) in last.checks.against(&cluster.checks) {
            if let Some(old) = old.filter(|old| new.is_none_or(|new| new.name != old.name)) {
                self.checks.remove(old.name.as_str(), *id);
            }
            self.dirty.extend(new.map(|check| check.id));
        }
    }

    /// Says, or no longer says, something that an operator should know.
    pub fn note(&mut self, about: &'static str, text: Option<String>) {
        match text {
            Some(text) => drop(self.notes.insert(about, text)),
            None => drop(self.notes.remove(about)),
        }
        self.changed_now();
    }
}

/// Whether two maps hold the very same items.
fn same_items<K: PartialEq, V>(a: &BTreeMap<K, Arc<V>>, b: &BTreeMap<K, Arc<V>>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((k, x), (l, y))| k == l && Arc::ptr_eq(x, y))
}

/// The picture before there is one.
#[must_use]
pub fn first(me: NodeId, cluster: ClusterId, at: Wall) -> View {
    View {
        node: me,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at,
        uptime_ms: 0,
        cluster,
        term: 0,
        master: None,
        acts_for_ms: None,
        quorum: Quorum { ok: false, live: 0, need: 0, of: 0 },
        config_version: 0,
        updated_at: Wall(0),
        updated_by: None,
        settings: crate::config::Settings::default(),
        peers: Arc::default(),
        checks: CheckList::default(),
        table: String::new(),
        alerts: Arc::default(),
        probes: ProbeStats::default(),
        notes: Vec::new(),
    }
}

impl Core {
    /// Publishes when it is time.
    pub(super) fn publish(&mut self, now: Mono) {
        if self.picture.publish_at <= now {
            self.publish_now();
        }
    }

    /// Publishes what is known now.
    pub(super) fn publish_now(&mut self) {
        let now = self.clock.mono();
        self.refresh_checks(now);
        self.refresh_alerts();
        self.watch_standing();
        self.watch_limits(now);
        let view = self.compose(now);
        self.out.view.set(view);
        self.picture.published = now;
        self.picture.publish_at = now + REFRESH;
    }

    fn refresh_checks(&mut self, now: Mono) {
        let Some(cluster) = self.cluster().cloned() else { return };
        if std::mem::take(&mut self.picture.all_dirty) {
            self.picture.shown = None;
            self.picture.config_dirty = true;
        }
        if std::mem::take(&mut self.picture.config_dirty) {
            self.picture.follow(&cluster);
        }
        for id in std::mem::take(&mut self.picture.dirty) {
            if let Some(check) = cluster.checks.get(&id) {
                let view = Arc::new(self.show_check(&cluster, check, now));
                self.picture.checks.put(view);
            }
        }
    }

    fn show_check(&self, cluster: &Cluster, check: &Check, now: Mono) -> CheckView {
        let known = self.state.as_ref().and_then(|s| s.verdicts().get(&check.id).cloned());
        let said = self.tally.said(now, check.id).unwrap_or_default();
        let names = |pick: &dyn Fn(&Alert) -> bool| -> Vec<String> {
            let mut names: Vec<String> =
                cluster.alerts.values().filter(|a| pick(a)).map(|a| a.name.to_string()).collect();
            names.sort();
            names
        };
        let (expect_status, body_match) = match &check.target {
            crate::config::Target::Http { expect_status, body_match, .. } => {
                (Some(*expect_status), body_match.clone())
            }
            _ => (None, None),
        };
        let failing = said.nodes.iter().find(|n| !n.seen.outcome.is_ok());
        CheckView {
            id: check.id,
            name: check.name.to_string(),
            kind: check.target.kind().to_owned(),
            target: check.target.address(),
            expect_status,
            body_match,
            interval: check.interval,
            timeout: check.timeout,
            enabled: check.enabled,
            state: known.as_ref().map_or(Verdict::Unknown, |k| k.verdict),
            since: known.as_ref().filter(|k| k.verdict != Verdict::Unknown).map(|k| k.since),
            ok: said.ok,
            total: said.total,
            alerts: names(&|a| routed(check, a)),
            suppressed: names(&|a| check.suppress_alert_ids.contains(&a.id)),
            detail: failing.map(|n| n.seen.outcome.detail().to_owned()),
            detail_node: failing.map(|n| n.seen.node),
            nodes: said.nodes.iter().map(node_report).collect(),
        }
    }

    fn refresh_alerts(&mut self) {
        let attempts = self.out.desk.attempts();
        let tried = std::mem::replace(&mut self.picture.attempts, attempts) != attempts;
        if !std::mem::take(&mut self.picture.alerts_dirty) && !tried {
            return;
        }
        let Some(cluster) = self.cluster().cloned() else { return };
        let mut alerts: Vec<&Arc<Alert>> = cluster.alerts.values().collect();
        alerts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let lanes: BTreeMap<AlertId, LaneStatus> =
            self.out.desk.status().into_iter().map(|s| (s.alert, s)).collect();
        let shown = alerts.iter().map(|a| Arc::new(self.show_alert(a, lanes.get(&a.id))));
        self.picture.alerts = Arc::new(shown.collect());
    }

    fn show_alert(&self, alert: &Alert, lane: Option<&LaneStatus>) -> AlertView {
        let standing = self.standing(alert.id);
        let queue = self.state.as_ref().map_or(0, |s| s.outbox().queue_length(alert.id));
        // The newest of what all nodes know and what this one has tried, tests included.
        let tried = lane.and_then(|l| l.last_error.clone());
        let error = standing.last_error.into_iter().chain(tried).max_by_key(|(at, _)| *at);
        AlertView {
            id: alert.id,
            name: alert.name.to_string(),
            kind: alert.channel.kind().to_owned(),
            destination: alert.channel.destination(),
            default: alert.default,
            enabled: alert.enabled,
            remind: alert.remind,
            queue: u32::try_from(queue).unwrap_or(u32::MAX),
            last_success: standing.last_success.max(lane.and_then(|l| l.last_success)),
            last_error: error.as_ref().map(|(_, why)| why.clone()),
            last_error_at: error.map(|(at, _)| at),
            failed: standing.given_up,
        }
    }

    fn compose(&self, now: Mono) -> View {
        let status = self.node.status();
        let wall = self.clock.wall();
        let troubles = self.out.links.troubles();
        let nobody = super::start::nobody(self.joining.cluster);
        let cluster: &Cluster = self.cluster().map_or(&nobody, |c| c);
        let live = status.membership.voters.keys().filter(|v| status.live.contains(v)).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let need = if status.membership.voters.is_empty() { 0 } else { count(status.membership.need()) };
        View {
            node: self.me,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: wall,
            uptime_ms: u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX),
            cluster: cluster.id,
            term: status.role.shown_term,
            master: status.role.master,
            acts_for_ms: self.acts_for(now),
            quorum: Quorum {
                ok: status.quorum,
                live: count(live),
                need,
                of: count(status.membership.voters.len()),
            },
            config_version: cluster.version,
            updated_at: cluster.updated_at,
            updated_by: cluster.updated_by,
            settings: cluster.settings,
            peers: Arc::new(
                cluster.peers.values().map(|p| self.show_peer(p, &status, wall, &troubles)).collect(),
            ),
            checks: self.picture.checks.clone(),
            table: String::new(),
            alerts: Arc::clone(&self.picture.alerts),
            probes: self.show_probes(),
            notes: self.show_notes(&status),
        }
    }

    /// Nothing while it stops: then it acts no more, whatever it was promised.
    fn acts_for(&self, now: Mono) -> Option<u64> {
        let left = self.node.acts_until().since(now);
        (!self.is_stopping() && !left.is_zero()).then(|| u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn show_peer(
        &self,
        peer: &crate::config::Peer,
        status: &Status,
        wall: Wall,
        troubles: &BTreeMap<NodeId, String>,
    ) -> PeerView {
        let me = peer.node_id == self.me;
        let known = self.peers.get(&peer.node_id).cloned().unwrap_or_default();
        PeerView {
            node_id: peer.node_id,
            advertise: peer.advertise.clone(),
            fingerprint: peer.fingerprint,
            me,
            live: status.live.contains(&peer.node_id),
            last_seen: if me { Some(wall) } else { known.seen },
            voter: status.membership.voters.contains_key(&peer.node_id),
            version: if me {
                Some(env!("CARGO_PKG_VERSION").to_owned())
            } else {
                known.hello.as_ref().map(|h| h.version.clone())
            },
            clock_offset_ms: if me { Some(0) } else { known.offset_ms },
            hears: self.hears(peer.node_id, status),
            trouble: troubles.get(&peer.node_id).cloned(),
        }
    }

    fn hears(&self, node: NodeId, status: &Status) -> Option<Vec<NodeId>> {
        if node == self.me {
            return Some(status.live.iter().copied().filter(|n| *n != self.me).collect());
        }
        self.node.heard_by(node).map(|set| set.iter().copied().collect())
    }

    fn show_probes(&self) -> ProbeStats {
        let stats = self.out.prober.stats();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        ProbeStats {
            running: count(stats.in_flight),
            waiting: count(stats.late_now),
            done: stats.done,
            late: stats.late,
            worst_late_ms: stats.late_worst_ms,
            p99_late_ms: stats.late_p99_ms,
            lost: stats.lost,
            sockets: count(stats.sockets),
            most_sockets: count(stats.budget),
            workers: count(stats.workers),
        }
    }

    /// Of a node that no committed configuration names: its address, as far as the files know it.
    fn known_as(&self, node: NodeId) -> String {
        let known = self.floor.as_ref().and_then(|floor| floor.get(node));
        known.map_or_else(|| node.short(), |k| format!("{} ({})", k.address, node.short()))
    }

    fn show_notes(&self, status: &Status) -> Vec<Note> {
        let mut notes: Vec<Note> = self
            .picture
            .notes
            .values()
            .map(|text| Note { level: NoteLevel::Problem, text: text.clone() })
            .collect();
        notes.extend(status.standing.as_ref().and_then(|s| super::present::note(s, |id| self.known_as(id))));
        if status.blank && !status.standing.as_ref().is_some_and(|s| s.remembers) {
            let text = "this node has no state of its cluster: it does not count towards the quorum until a master \
                        has brought it up to date";
            notes.push(Note { level: NoteLevel::Warning, text: text.to_owned() });
        }
        let void = self.node.void_voters();
        if status.role.master.is_none() && !void.is_empty() {
            notes.extend(stuck(status, &void).map(|text| Note { level: NoteLevel::Problem, text }));
        }
        notes
    }
}

/// Enough peers are live, and yet too few of them count: what is waited for.
fn stuck(status: &Status, void: &BTreeSet<NodeId>) -> Option<String> {
    let voters = &status.membership.voters;
    let able = voters.keys().filter(|v| status.live.contains(v) && !void.contains(v)).count();
    let need = status.membership.need();
    if able >= need {
        return None;
    }
    let named = |all: Vec<&NodeId>| all.into_iter().map(|n| n.short()).collect::<Vec<_>>().join(", ");
    let away: Vec<&NodeId> = voters.keys().filter(|v| !status.live.contains(v)).collect();
    let waits = match away.as_slice() {
        [] => "nobody else is left: see quptime-troubleshooting(7), when a majority is lost".to_owned(),
        _ => format!("waiting for {}", named(away)),
    };
    Some(format!(
        "no master can be elected: {} lost what it knew (state/) and does not count until a master has brought it up \
         to date; {able} that count are live, {need} are needed; {waits}",
        named(void.iter().collect())
    ))
}

fn node_report(said: &crate::verdict::NodeSays) -> NodeReport {
    NodeReport {
        node: said.seen.node,
        ok: said.seen.outcome.is_ok(),
        detail: Some(said.seen.outcome.detail().to_owned()).filter(|d| !d.is_empty()),
        took_ms: said.seen.took_ms,
        age_ms: u64::try_from(said.age.as_millis()).unwrap_or(u64::MAX),
        fresh: true,
    }
}
