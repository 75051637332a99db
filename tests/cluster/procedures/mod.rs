//! What an operator does with a cluster over the years (SPEC section 11, quptime-operations(7)), as
//! files and commands, on real processes.

mod backup;
mod replaced;
mod rolling;

use std::fs;
use std::path::PathBuf;

use super::support::Node;

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
