//! Who gets in, who does not, and who is put out.

use super::support::{Cluster, Node, SECRET, until};

#[test]
fn two_nodes_are_added_in_a_row_and_every_node_knows_every_other() {
    let cluster = Cluster::of("join", 3);
    for node in &cluster.nodes {
        let view = node.view().expect("it answers");
        assert_eq!(view["peers"].as_array().map(Vec::len), Some(3));
        assert_eq!(view["quorum"]["need"], 2);
        node.ok(&["status"]);
        let trusted = node.ok(&["trust", "list"]);
        for other in cluster.nodes.iter().filter(|o| o.id != node.id) {
            assert!(trusted.contains(&other.fingerprint), "{trusted}");
        }
    }
    let ids: Vec<_> =
        cluster.nodes.iter().map(|n| n.view().expect("it answers")["cluster"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_node_with_another_secret_stays_out() {
    let mut cluster = Cluster::strangers("secret", 1);
    let mut other = Node::made(cluster.home.path(), "other", "another secret altogether");
    other.start();
    other.sees("it is alone", |v| !v["master"].is_null());
    let words = ["node", "add", &other.address(), "--fingerprint", &other.fingerprint];
    let said = cluster.nodes[0].refused(&words, 1);
    assert!(said.contains("secret"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(cluster.nodes[0].view().expect("it answers")["config_version"], 1);
    assert_eq!(other.view().expect("it answers")["config_version"], 1);
    cluster.nodes[0].end();
}

#[test]
fn a_node_with_another_fingerprint_stays_out() {
    let cluster = Cluster::strangers("print", 2);
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);
    let words = ["node", "add", &second.address(), "--fingerprint", &first.fingerprint];
    let said = first.refused(&words, 1);
    assert!(said.contains(&second.fingerprint) && said.contains(&first.fingerprint), "{said}");
    let unasked = first.refused(&["node", "add", &second.address()], 1);
    assert!(unasked.contains("--fingerprint"), "{unasked}");
    assert_eq!(first.view().expect("it answers")["peers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_node_with_checks_of_its_own_refuses_to_be_added() {
    let cluster = Cluster::strangers("own", 2);
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);
    second.ok(&["check", "add", "tcp", "mine", "127.0.0.1:1"]);
    let said = first.refused(&["node", "add", &second.address(), "--yes"], 1);
    assert!(said.contains("1 check ") && said.contains("init again"), "{said}");
    assert!(second.check("mine").is_some());
}

#[test]
fn a_removed_node_is_cut_off_and_trusted_nowhere() {
    let cluster = Cluster::of("removed", 3);
    let master = cluster.master();
    let gone = cluster.follower();
    cluster.nodes[master].ok(&["node", "remove", &cluster.nodes[gone].id]);
    for (at, node) in cluster.nodes.iter().enumerate().filter(|(at, _)| *at != gone) {
        node.sees("two peers are left", |v| v["peers"].as_array().map(Vec::len) == Some(2));
        let trusted = node.ok(&["trust", "list"]);
        assert!(!trusted.contains(&cluster.nodes[gone].fingerprint), "node {at}: {trusted}");
    }
    until("the removed node has no master", || {
        let view = cluster.nodes[gone].view()?;
        view["master"].is_null().then_some(())
    });
    let words = ["check", "add", "tcp", "late", "127.0.0.1:1"];
    assert_ne!(cluster.nodes[gone].qu(&words).status, 0);
    cluster.nodes[master].ok(&words);
}

#[test]
fn a_node_is_added_when_the_first_one_is_not_master_any_more() {
    let mut cluster = Cluster::of("founder", 3);
    let first = cluster.master();
    let old = cluster.nodes[first].id.clone();
    cluster.nodes[first].end();
    cluster.nodes[first].start();
    until("another is master", || cluster.nodes[first].master().filter(|m| *m != old));
    let mut late = Node::made(cluster.home.path(), "late", SECRET);
    late.start();
    late.sees("it is alone", |v| !v["master"].is_null());
    let words = ["node", "add", &late.address(), "--fingerprint", &late.fingerprint];
    cluster.nodes[first].ok(&words);
    // The configurations that it learns begin with one in which the master was no peer.
    late.sees("it has caught up", |v| v["quorum"]["need"] == 3 && !v["master"].is_null());
    late.ok(&["check", "add", "tcp", "through-it", "127.0.0.1:1"]);
    late.end();
}

#[test]
fn a_node_that_was_away_learns_from_a_master_that_it_never_met() {
    let mut cluster = Cluster::of("unmet", 3);
    let (master, away) = (cluster.master(), cluster.follower());
    cluster.nodes[master].ok(&["cluster", "set", "master_cooldown", "500ms"]);
    cluster.whole();
    cluster.nodes[away].end();
    let lowest = cluster.nodes.iter().map(|n| n.id.clone()).min().expect("three nodes");
    let made = |n| Node::made(cluster.home.path(), &format!("late{n}"), SECRET);
    let mut late = (0..200).map(made).find(|n| n.id < lowest).expect("a lower NodeID");
    late.start();
    late.sees("it is alone", |v| !v["master"].is_null());
    cluster.nodes[master].ok(&["node", "add", &late.address(), "--fingerprint", &late.fingerprint]);
    let id = late.id.clone();
    until("the new one is master", || cluster.nodes[master].master().filter(|m| *m == id));
    cluster.nodes[away].start();
    until("it hears that master", || cluster.nodes[away].master().filter(|m| *m == id));
    cluster.nodes[away].ok(&["check", "add", "tcp", "through-it", "127.0.0.1:1"]);
    late.end();
}
