//! How nodes end, in order and not, and what is there when they start again.

use super::support::{Cluster, Node, until};

/// It ended within its own limits, which are two seconds altogether: whatever takes longer is left
/// behind with a line in the log.
fn ended_in_order(node: &mut Node) {
    let status = node.ended();
    let log = node.log();
    let late = log.lines().find(|l| l.contains("left behind") || l.contains("did not end in time"));
    assert!(status.success() && late.is_none(), "{status}, {late:?}");
    assert!(log.lines().last().is_some_and(|l| l.contains("stopped")), "{log}");
}

#[test]
fn a_master_that_is_told_to_end_hands_over_without_a_gap() {
    let mut cluster = Cluster::of("handover", 3);
    // Nobody may wait until the old one counts as dead: that would be longer than any patience here.
    cluster.nodes[0].ok(&["cluster", "set", "dead_after", "10m"]);
    let master = cluster.master();
    let other = (master + 1) % 3;
    let old = cluster.nodes[master].id.clone();
    cluster.nodes[master].tell_to_end();
    until("another is master", || cluster.nodes[other].master().filter(|m| *m != old));
    ended_in_order(&mut cluster.nodes[master]);
    cluster.nodes[other].ok(&["check", "add", "tcp", "after", "127.0.0.1:1"]);
}

#[test]
fn everything_told_to_end_at_once_loses_nothing() {
    let mut cluster = Cluster::of("atonce", 3);
    let follower = cluster.follower();
    cluster.nodes[follower].ok(&["check", "add", "tcp", "kept", "127.0.0.1:1"]);
    for node in &cluster.nodes {
        node.tell_to_end();
    }
    for node in &mut cluster.nodes {
        ended_in_order(node);
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.whole();
    for node in &cluster.nodes {
        until("the check is there", || node.check("kept"));
    }
}

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_follower() {
    let mut cluster = Cluster::of("killed", 3);
    let master = cluster.master();
    let old = cluster.nodes[master].id.clone();
    let term = cluster.nodes[master].view().and_then(|v| v["term"].as_u64()).expect("a term");
    cluster.nodes[master].kill();
    let other = (master + 1) % 3;
    // The change waits for the election by itself.
    cluster.nodes[other].ok(&["check", "add", "tcp", "after", "127.0.0.1:1"]);
    let new = until("another is master", || cluster.nodes[other].master().filter(|m| *m != old));
    let view = cluster.nodes[other].view().expect("it answers");
    assert!(view["term"].as_u64() > Some(term), "{view}");
    cluster.nodes[master].start();
    assert_eq!(cluster.whole(), new, "the role stays");
    until("the old one has caught up", || cluster.nodes[master].check("after"));
}

#[test]
fn a_cluster_that_is_killed_whole_comes_back_whole() {
    let mut cluster = Cluster::of("whole", 3);
    for n in 0..3 {
        let (node, name) = (&cluster.nodes[n], format!("c{n}"));
        node.ok(&["check", "add", "tcp", &name, "127.0.0.1:1"]);
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.whole();
    for node in &cluster.nodes {
        for name in ["c0", "c1", "c2"] {
            until("every acknowledged check is there", || node.check(name));
        }
    }
}

#[test]
fn without_a_quorum_nothing_is_changed_and_the_status_says_so() {
    let mut cluster = Cluster::of("alone", 3);
    for at in [1, 2] {
        cluster.nodes[at].kill();
    }
    let left = &cluster.nodes[0];
    left.sees("there is no master", |v| v["master"].is_null() && v["quorum"]["ok"] == false);
    let said = left.refused(&["check", "add", "tcp", "never", "127.0.0.1:1"], 3);
    assert_eq!(said, "qu: no quorum: refusing to change the configuration (1 of 3 peers live, need 2)\n");
    let status = left.qu(&["status"]);
    assert_eq!(status.status, 3, "{status:?}");
    assert!(status.out.contains("(none - no quorum or election in progress)"), "{}", status.out);
    cluster.nodes[1].start();
    until("a quorum is back", || cluster.nodes[0].master());
    cluster.nodes[0].ok(&["check", "add", "tcp", "now", "127.0.0.1:1"]);
    assert!(cluster.nodes[0].check("never").is_none());
}
