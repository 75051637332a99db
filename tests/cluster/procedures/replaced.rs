//! Nodes that die, come back after a long time, or change who they are.

use std::fs;

use super::super::support::{Cluster, Node, SECRET, until};
use super::{rejected, version, with_version};

/// More than a node keeps of its log before it makes a snapshot of it.
fn compact(cluster: &Cluster, at: usize) {
    let body = "x".repeat(16_000);
    let path = cluster.home.path().join("body");
    for n in 0..40 {
        fs::write(&path, format!("{n} {body}")).expect("written");
        let file = path.to_str().expect("text");
        cluster.nodes[at].ok(&["alert", "edit", "chat", "--body-file", file, "--subject-file", file]);
    }
    let state = cluster.nodes[at].dir.join("state");
    until("the log begins anew", || (!state.join("log-1").exists()).then_some(()));
}

#[test]
fn a_dead_node_is_replaced_by_a_new_one() {
    let mut cluster = Cluster::of("replace", 3);
    let dead = cluster.follower();
    cluster.nodes[dead].kill();
    let gone = cluster.nodes[dead].id.clone();
    let member = (0..3).find(|at| *at != dead).expect("one");
    until("it is seen to be dead", || {
        let view = cluster.nodes[member].view()?;
        let peers = view["peers"].as_array()?.clone();
        peers.iter().any(|p| p["node_id"] == gone.as_str() && p["live"] == false).then_some(())
    });
    cluster.nodes[member].ok(&["node", "remove", &gone]);
    let mut new = Node::made(cluster.home.path(), "new", SECRET);
    new.start();
    new.sees("it runs", |v| !v["master"].is_null());
    cluster.nodes[member].ok(&["node", "add", &new.address(), "--fingerprint", &new.fingerprint]);
    cluster.nodes[dead] = new;
    cluster.whole();
    let view = cluster.nodes[member].view().expect("it answers");
    assert_eq!(view["peers"].as_array().map(Vec::len), Some(3), "{view}");
}

#[test]
fn a_node_that_was_away_for_long_catches_up_from_a_snapshot() {
    let mut cluster = Cluster::of("away", 3);
    let first = cluster.master();
    let away = (first + 1) % 3;
    let ran = cluster.nodes[first]
        .run(&["alert", "add", "discord", "chat", "--webhook-file", "-"], Some("http://127.0.0.1:1/hook"));
    assert_eq!(ran.status, 0, "{ran:?}");
    cluster.nodes[away].end();
    compact(&cluster, first);
    let before = version(&cluster.nodes[first]);
    cluster.nodes[away].start();
    cluster.whole();
    assert_eq!(version(&cluster.nodes[away]), before);
    assert!(rejected(&cluster.nodes[away]).is_empty());
    let text = |n: &Node| fs::read_to_string(n.cluster_yaml()).unwrap_or_default();
    until("its file is that of the others", || {
        (text(&cluster.nodes[away]) == text(&cluster.nodes[first])).then_some(())
    });
}

#[test]
fn a_node_restored_with_version_0_learns_everything_from_the_others() {
    let mut cluster = Cluster::of("version-0", 3);
    cluster.nodes[0].ok(&["check", "add", "tcp", "old", "127.0.0.1:1"]);
    let lost = cluster.follower();
    let text = until("its file has the check", || {
        fs::read_to_string(cluster.nodes[lost].cluster_yaml()).ok().filter(|t| t.contains("name: old"))
    });
    cluster.nodes[lost].kill();
    let dir = cluster.nodes[lost].dir.clone();
    fs::remove_dir_all(dir.join("state")).expect("removed");
    fs::remove_file(dir.join("trust.yaml")).expect("removed");
    fs::write(cluster.nodes[lost].cluster_yaml(), with_version(&text, 0)).expect("written");
    let other = (lost + 1) % 3;
    cluster.nodes[other].ok(&["check", "add", "tcp", "new", "127.0.0.1:1"]);
    cluster.nodes[lost].start();
    cluster.whole();
    let node = &cluster.nodes[lost];
    assert!(node.check("old").is_some() && node.check("new").is_some());
    assert!(rejected(node).is_empty());
    assert_eq!(version(node), version(&cluster.nodes[other]));
}

#[test]
fn an_identity_is_rotated_by_wiping_it() {
    let mut cluster = Cluster::of("identity", 3);
    let old = cluster.follower();
    let member = (old + 1) % 3;
    let gone = cluster.nodes[old].id.clone();
    cluster.nodes[old].end();
    let dir = cluster.nodes[old].dir.clone();
    fs::rename(&dir, dir.with_extension("old")).expect("moved away");
    let mut new = Node::made(cluster.home.path(), "again", SECRET);
    new.start();
    new.sees("it runs", |v| !v["master"].is_null());
    until("the old one can be removed", || {
        (cluster.nodes[member].qu(&["node", "remove", &gone]).status == 0).then_some(())
    });
    cluster.nodes[member].ok(&["node", "add", &new.address(), "--fingerprint", &new.fingerprint]);
    cluster.nodes[old] = new;
    cluster.whole();
    let trusted = cluster.nodes[member].ok(&["trust", "list"]);
    assert!(trusted.contains(&cluster.nodes[old].id) && !trusted.contains(&gone), "{trusted}");
}
