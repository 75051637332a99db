//! The end of a run: everything is whole again, and must become one.

use std::time::{Duration, Instant};

use quptime::view::{Filter, View};

use crate::node::{Node, wait_for};
use crate::observer::Seen;

const PATIENCE: Duration = Duration::from_secs(2);
/// For debug builds on a busy machine; what it took is printed.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until all nodes name the same master, hear each other and have the same version.
pub fn agree(nodes: &[Node]) -> Result<(), String> {
    wait_for("all nodes agree on a master and a version", LIMIT, || {
        let views = heads(nodes)?;
        let same = views.iter().all(|v| v.config_version == views[0].config_version);
        (same && one_master(&views)).then_some(())
    })
}

/// Waits until all nodes name the same master and hear each other, while the version goes on
/// changing; how long it took.
pub fn agree_while_changing(nodes: &[Node]) -> Result<Duration, String> {
    let begun = Instant::now();
    wait_for("all nodes agree on a master", LIMIT, || heads(nodes).filter(|v| one_master(v)))?;
    Ok(begun.elapsed())
}

fn one_master(views: &[View]) -> bool {
    views.iter().all(|v| {
        v.master.is_some()
            && (v.master, v.term) == (views[0].master, views[0].term)
            && v.peers.iter().all(|p| p.live && p.voter)
            && v.peers.len() == views.len()
    })
}

fn heads(nodes: &[Node]) -> Option<Vec<View>> {
    nodes.iter().map(|n| n.at.head(PATIENCE)).collect()
}

/// Waits until every node has written the same `cluster.yaml`, of this version or a later one.
pub fn files(nodes: &[Node], version: u64) -> Result<(), String> {
    wait_for("cluster.yaml is the same everywhere", LIMIT, || {
        let texts: Vec<String> = nodes.iter().map(|n| n.at.file()).collect();
        let first = texts.first()?;
        let says = |line: &str| line.strip_prefix("version:").and_then(|v| v.trim().parse::<u64>().ok());
        let new = first.lines().find_map(says).is_some_and(|v| v >= version);
        (new && texts.iter().all(|t| t == first)).then_some(())
    })
}

/// The whole picture of every node, compared with each other.
pub fn pictures(nodes: &[Node], seen: &Seen) -> Result<Vec<View>, String> {
    let mut views = Vec::new();
    for node in nodes {
        let view = node.at.view(Filter::default(), PATIENCE);
        let view = view.ok_or_else(|| format!("node {} does not answer", node.at.index))?;
        seen.compare_one(node.at.index, &view);
        views.push(view);
    }
    Ok(views)
}
