//! What the daemon and its peers say: quorum, who reaches whom, clocks, versions, nonsense.
//!
//! The node that is asked is "this node"; what others say of it or of each other is their word and
//! is told so. A peer that this node does not hear is told once, under `peers`, and not again for
//! every pair that it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::{Daemon, Facts};
use super::{Finding, Level, or_ok, several};
use crate::base::clock::Wall;
use crate::base::id::NodeId;
use crate::base::text;
use crate::view::mesh::{Contact, Mesh, MeshRow};
use crate::view::{NoteLevel, PeerView, View};

/// Clocks further apart than this are worth a line, milliseconds.
const CLOCK_APART: u64 = 5000;
/// Nonsense of the last hour is a problem, older one a warning.
const RECENT: Duration = Duration::from_secs(3600);

/// All of it; that the daemon does not answer is a problem of its own.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let daemon = match &facts.daemon {
        Ok(daemon) => daemon,
        Err(why) => return vec![Finding::problem("daemon", why.clone())],
    };
    let mut all = judge_daemon(facts, daemon);
    all.extend(judge_quorum(&daemon.view));
    all.extend(judge_size(&daemon.view));
    match &daemon.mesh {
        Ok(mesh) => {
            let seen = Seen::new(&daemon.view, mesh);
            all.extend(judge_peers(&daemon.view, Some(&seen)));
            all.extend(judge_reach(&seen));
            all.extend(judge_mesh(&seen));
            all.extend(judge_versions(&seen));
            all.extend(judge_clocks(&seen));
            all.extend(judge_nonsense(&seen, facts.now));
        }
        Err(why) => {
            all.extend(judge_peers(&daemon.view, None));
            all.push(Finding::warning("mesh", format!("the daemon does not say who hears whom: {why}")));
        }
    }
    all
}

/// The mesh with names for its nodes.
struct Seen<'a> {
    mesh: &'a Mesh,
    me: NodeId,
    live: BTreeSet<NodeId>,
    names: BTreeMap<NodeId, String>,
}

impl<'a> Seen<'a> {
    fn new(view: &View, mesh: &'a Mesh) -> Seen<'a> {
        let named = |r: &MeshRow| (r.node_id, format!("{} ({})", r.advertise, r.node_id.short()));
        let live = view.peers.iter().filter(|p| p.live).map(|p| p.node_id).collect();
        Seen { mesh, me: mesh.node, live, names: mesh.rows.iter().map(named).collect() }
    }

    fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| node.short())
    }

    /// Rows of the others.
    fn others(&self) -> impl Iterator<Item = &MeshRow> {
        self.mesh.rows.iter().filter(|r| r.node_id != self.me)
    }

    /// What this node sees of a peer.
    fn own(&self, peer: NodeId) -> Option<&Contact> {
        self.mesh.claim(self.me)?.of(peer)
    }
}

fn judge_daemon(facts: &Facts, daemon: &Daemon) -> Vec<Finding> {
    let mut found = Vec::new();
    let view = &daemon.view;
    if view.version != facts.version {
        let text = format!("the daemon is of version {}, this program of {}", view.version, facts.version);
        found.push(Finding::warning("daemon", text).to_do("restart the daemon after an upgrade"));
    }
    let here = daemon.mesh.as_ref().ok().and_then(|m| m.here.as_ref());
    if let Some(here) = here.filter(|h| h.dir != facts.dir) {
        let text = format!("the daemon at {} uses {}, not {}", daemon.socket, here.dir, facts.dir);
        found.push(Finding::warning("daemon", text).to_do("name the right one with --dir or QUPTIME_SOCKET"));
    } else if let Some(node) = facts.node.good().filter(|n| n.node_id != view.node) {
        let text =
            format!("the daemon at {} is node {}, node.yaml says {}", daemon.socket, view.node, node.node_id);
        found.push(Finding::problem("daemon", text).to_do("restart it, or name the right QUPTIME_SOCKET"));
    }
    found.extend(view.notes.iter().map(|note| match note.level {
        NoteLevel::Warning => Finding::warning("daemon", note.text.clone()),
        NoteLevel::Problem => Finding::problem("daemon", note.text.clone()),
    }));
    or_ok(found, || {
        let up = text::about(Duration::from_millis(view.uptime_ms));
        Finding::ok("daemon", format!("answers at {}, version {}, up {up}", daemon.socket, view.version))
    })
}

fn judge_quorum(view: &View) -> Vec<Finding> {
    let q = view.quorum;
    vec![match view.master {
        _ if !q.ok => {
            Finding::problem("quorum", format!("no quorum ({q}): nothing is changed, nobody is alerted"))
                .to_do("bring the others back; see quptime-troubleshooting(7)")
        }
        None => Finding::problem("quorum", format!("no master ({q})"))
            .to_do("wait a moment (qu status --wait); if it stays so, see quptime-troubleshooting(7)"),
        Some(master) => Finding::ok("quorum", format!("{q}, master {}", master.short())),
    }]
}

fn judge_size(view: &View) -> Vec<Finding> {
    let n = view.peers.len();
    vec![match n {
        0 => return Vec::new(),
        1 => Finding::warning("size", "a cluster of one: nobody watches when this host does not")
            .to_do("add two nodes in other networks (qu node add)"),
        2 => Finding::warning("size", "a cluster of two: the loss of either one ends alerts and changes")
            .to_do("add a third node (qu node add)"),
        n if n % 2 == 0 => Finding::warning(
            "size",
            format!(
                "{n} peers bear the loss of {}, as {} would: an even number gains nothing",
                n / 2 - 1,
                n - 1
            ),
        )
        .to_do("add one, or remove one"),
        n => Finding::ok("size", format!("{n} peers, {} may be lost", (n - 1) / 2)),
    }]
}

fn judge_peers(view: &View, seen: Option<&Seen<'_>>) -> Vec<Finding> {
    let mut found = Vec::new();
    let named = |p: &PeerView| format!("{} ({})", p.advertise, p.node_id.short());
    for peer in view.peers.iter().filter(|p| !p.me) {
        let contact = seen.and_then(|s| s.own(peer.node_id));
        if !peer.live {
            let heard = match contact.and_then(|c| c.heard_ms) {
                Some(ms) => format!("last heard {} ago", text::about(Duration::from_millis(ms))),
                None => peer
                    .last_seen
                    .map_or("never heard".to_owned(), |at| format!("last seen {}", text::rfc3339(at))),
            };
            let why = contact.and_then(|c| c.trouble.as_ref()).map_or(String::new(), |t| format!(": {t}"));
            let text = format!("{} is not live, {heard}{why}", named(peer));
            found
                .push(Finding::problem("peers", text).to_do("does the daemon run there? is the network up?"));
        } else if !peer.voter {
            let text =
                format!("{} is being caught up and does not count towards the quorum yet", named(peer));
            found.push(Finding::warning("peers", text).to_do("wait (qu status --wait live)"));
        }
    }
    or_ok(found, || Finding::ok("peers", format!("all of {} live", view.peers.len())))
}

/// Connections between this node and each of the others, both ways.
fn judge_reach(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut reached = 0;
    for row in seen.others().filter(|r| seen.live.contains(&r.node_id)) {
        let them = seen.name(row.node_id);
        match seen.own(row.node_id) {
            Some(own) if !own.dialled => {
                let why = own.trouble.clone().unwrap_or_else(|| "not connected yet".to_owned());
                let level = if own.trouble.is_some() { Level::Problem } else { Level::Warning };
                let text = format!("this node cannot reach {them} at {}: {why}", own.address);
                let remedy = format!(
                    "open the port there, or qu node edit {} --address HOST:PORT",
                    row.node_id.short()
                );
                found.push(Finding { level, ..Finding::ok("reach", text) }.to_do(remedy));
            }
            _ => {}
        }
        let Some(claim) = &row.says else {
            let why = row.silent.as_deref().unwrap_or("no answer");
            found.push(Finding::warning("reach", format!("{them} was asked and said nothing: {why}")));
            continue;
        };
        match claim.of(seen.me) {
            Some(of_us) if of_us.dialled => reached += 1,
            Some(of_us) => {
                let why = of_us.trouble.clone().unwrap_or_else(|| "not connected yet".to_owned());
                let level = if of_us.trouble.is_some() { Level::Problem } else { Level::Warning };
                let text = format!("{them} says that it cannot reach this node at {}: {why}", of_us.address);
                let remedy = format!(
                    "open the port here, or correct the address: qu node edit {} --address HOST:PORT",
                    seen.me.short()
                );
                found.push(Finding { level, ..Finding::ok("reach", text) }.to_do(remedy));
            }
            None => {
                let text = format!("{them} does not speak of this node: its configuration is another one");
                found.push(Finding::warning("reach", text).to_do("wait until it has caught up"));
            }
        }
    }
    or_ok(found, || Finding::ok("reach", format!("live peers that reach this node, and it them: {reached}")))
}

/// Who does not hear whom, by each one's own word.
fn judge_mesh(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for row in seen.others() {
        let Some(claim) = &row.says else { continue };
        let them = seen.name(row.node_id);
        for contact in &claim.peers {
            let (whom, ours) = if contact.node_id == seen.me {
                ("this node".to_owned(), true)
            } else if seen.live.contains(&contact.node_id) {
                (seen.name(contact.node_id), false)
            } else {
                continue;
            };
            if contact.live && (contact.dialled || ours) {
                continue;
            } else if contact.live {
                let why = contact.trouble.clone().unwrap_or_else(|| "not connected yet".to_owned());
                found.push(Finding::warning(
                    "mesh",
                    format!("{them} says that it cannot reach {whom}: {why}"),
                ));
            } else {
                let last = contact.heard_ms.map(Duration::from_millis);
                let last = last.map_or("never".to_owned(), |age| format!("last {} ago", text::about(age)));
                let level = if ours { Level::Problem } else { Level::Warning };
                let text = format!("{them} says that it does not hear {whom} ({last})");
                let remedy = "look at the network between the two (qu status --mesh)";
                found.push(Finding { level, ..Finding::ok("mesh", text) }.to_do(remedy));
            }
        }
    }
    or_ok(found, || Finding::ok("mesh", "every live peer that answers hears every other".to_owned()))
}

fn judge_versions(seen: &Seen<'_>) -> Vec<Finding> {
    let mut by_version: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in &seen.mesh.rows {
        if let Some(claim) = &row.says {
            by_version.entry(&claim.version).or_default().push(seen.name(row.node_id));
        }
    }
    let all = by_version.iter().map(|(v, nodes)| format!("{v} on {}", nodes.join(", ")));
    vec![match by_version.len() {
        0 => return Vec::new(),
        1 => {
            let (version, nodes) = by_version.first_key_value().map_or(("", 0), |(v, n)| (*v, n.len()));
            Finding::ok("versions", format!("{version} on {}", several(nodes, "node")))
        }
        _ => Finding::warning("versions", all.collect::<Vec<_>>().join("; ")).to_do("finish the upgrade"),
    }]
}

fn judge_clocks(seen: &Seen<'_>) -> Vec<Finding> {
    // A clock is only as well known as its answer was quick.
    let far = |r: &&MeshRow| {
        let unsure = r.round_trip_ms.unwrap_or(0) / 2;
        r.clock_offset_ms.is_some_and(|ms| ms.unsigned_abs().saturating_sub(unsure) > CLOCK_APART)
    };
    let answered = seen.others().filter(|r| r.clock_offset_ms.is_some()).count();
    let apart: Vec<&MeshRow> = seen.others().filter(far).collect();
    let ahead = |r: &MeshRow| r.clock_offset_ms.unwrap_or(0) > 0;
    let length =
        |r: &MeshRow| text::about(Duration::from_millis(r.clock_offset_ms.unwrap_or(0).unsigned_abs()));
    let set = "set it: timedatectl, chrony";
    if let Some(first) = apart.first()
        && answered > 1
        && apart.len() * 2 > answered
        && apart.iter().all(|r| ahead(r) == ahead(first))
    {
        let way = if ahead(first) { "behind" } else { "ahead" };
        let text = format!(
            "the clock of this host is {way} those of {} of {answered} peers, by {} to {}",
            apart.len(),
            length(first),
            seen.name(first.node_id)
        );
        return vec![Finding::warning("clock", text).to_do(set)];
    }
    let found = apart.iter().map(|r| {
        let way = if ahead(r) { "ahead of" } else { "behind" };
        let text = format!("the clock of {} is {} {way} this host's", seen.name(r.node_id), length(r));
        Finding::warning("clock", text).to_do(set)
    });
    let found: Vec<Finding> = found.collect();
    if found.is_empty() && answered == 0 {
        return Vec::new();
    }
    let worst = seen.others().filter_map(|r| r.clock_offset_ms).map(i64::unsigned_abs).max().unwrap_or(0);
    or_ok(found, || Finding::ok("clock", format!("within {worst}ms of {}", several(answered, "peer"))))
}

fn judge_nonsense(seen: &Seen<'_>, now: Wall) -> Vec<Finding> {
    let mut found = Vec::new();
    for row in &seen.mesh.rows {
        for contact in row.says.iter().flat_map(|c| &c.peers).filter(|c| c.nonsense > 0) {
            let who = seen.name(contact.node_id);
            let says = if row.node_id == seen.me {
                String::new()
            } else {
                format!("{} says that ", seen.name(row.node_id))
            };
            let how = contact.last_nonsense.as_deref().unwrap_or("nobody knows how");
            let at =
                contact.last_nonsense_at.map_or(String::new(), |at| format!(" at {}", text::rfc3339(at)));
            let times = contact.nonsense;
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            let text =
                format!("{says}{who} broke the rules {times} and was disconnected, last{at}: it {how}");
            let recent = contact.last_nonsense_at.is_some_and(|at| now.since(at) < RECENT);
            let ours = row.node_id == seen.me;
            let level = if recent && ours { Level::Problem } else { Level::Warning };
            let remedy = "compare versions; if nothing explains it, that host may be in other hands (quptime-security(7))";
            found.push(Finding { level, ..Finding::ok("rules", text) }.to_do(remedy));
        }
    }
    or_ok(found, || Finding::ok("rules", "no peer spoke nonsense since the daemons started"))
}
