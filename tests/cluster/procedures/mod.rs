//! What an operator does with a cluster over the years (SPEC section 11, quptime-operations(7)), as
//! files and commands, on real processes.

mod backup;
mod downgrade;
mod lost;
mod replaced;
mod rolling;

use std::fs;
use std::path::PathBuf;

use super::support::{Cluster, Node};

/// What the daemon refused to take from `cluster.yaml`.
fn rejected(node: &Node) -> Vec<PathBuf> {
    let all = fs::read_dir(&node.dir).expect("a directory").flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().contains("cluster.yaml.rejected-")).collect()
}

fn version(node: &Node) -> u64 {
    node.view().and_then(|v| v["config_version"].as_u64()).expect("a version")
}

/// The first number that stands behind `version:` becomes another one.
fn with_version(text: &str, version: u64) -> String {
    let old = text.lines().find(|l| l.starts_with("version:")).expect("a version");
    text.replacen(old, &format!("version: {version}"), 1)
}

/// The file without the peers of these ids, as an editor leaves it: from its `- node_id` line up to
/// the next item or the next section.
fn without_peers(text: &str, gone: &[&str]) -> String {
    let mut out = String::new();
    let mut skips = false;
    for line in text.lines() {
        if line.trim_start().starts_with("- node_id:") {
            skips = gone.iter().any(|id| line.contains(id));
        } else if !line.starts_with(' ') {
            skips = false;
        }
        if !skips {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Ends all nodes that run, in order.
fn end_all(cluster: &mut Cluster) {
    for node in cluster.nodes.iter().filter(|n| n.runs()) {
        node.tell_to_end();
    }
    for node in cluster.nodes.iter_mut().filter(|n| n.runs()) {
        let status = node.ended();
        assert!(status.success(), "{status}: {}", node.log());
    }
}
