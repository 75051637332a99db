//! Changes by command and by hand, wherever they are made.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::support::{Cluster, Node, stays, until};

fn rejected(node: &Node) -> Vec<PathBuf> {
    let all = fs::read_dir(&node.dir).expect("a directory").flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().contains("cluster.yaml.rejected-")).collect()
}

fn version(node: &Node) -> u64 {
    node.view().and_then(|v| v["config_version"].as_u64()).expect("a version")
}

#[test]
fn a_follower_forwards_a_change_and_has_it_when_it_says_so() {
    let cluster = Cluster::of("forward", 3);
    let follower = &cluster.nodes[cluster.follower()];
    let said = follower.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    let version = version(follower);
    assert_eq!(said, format!("added check \"one\", config version {version}\n"));
    assert!(follower.check("one").is_some(), "at once, where it was asked for");
    for node in &cluster.nodes {
        until("every node has it", || node.check("one"));
        let text = || fs::read_to_string(node.cluster_yaml()).unwrap_or_default();
        until("every file says it", || text().contains("name: one").then_some(()));
    }
    let said = follower.refused(&["check", "add", "tcp", "one", "127.0.0.1:2"], 1);
    assert!(said.contains("\"one\""), "{said}");
}

#[test]
fn an_edit_by_hand_on_a_follower_is_committed_everywhere() {
    let cluster = Cluster::of("edit", 3);
    cluster.nodes[0].ok(&["check", "add", "tcp", "old", "127.0.0.1:1", "--interval", "20s"]);
    let follower = &cluster.nodes[cluster.follower()];
    let path = follower.cluster_yaml();
    until("the file has the check", || fs::read_to_string(&path).ok().filter(|t| t.contains("name: old")));
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("name: old", "name: new")).expect("saved");
    until("every node has the edit", || {
        cluster.nodes.iter().all(|n| n.check("new").is_some() && n.check("old").is_none()).then_some(())
    });
    for node in &cluster.nodes {
        until("every file says it", || {
            fs::read_to_string(node.cluster_yaml()).ok().filter(|t| t.contains("name: new"))
        });
        assert!(rejected(node).is_empty());
    }
}

#[test]
fn an_edit_that_cannot_be_read_is_left_alone_until_it_is_mended() {
    let cluster = Cluster::of("unread", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "old", "127.0.0.1:1"]);
    let path = node.cluster_yaml();
    let text = until("the file has the check", || {
        fs::read_to_string(&path).ok().filter(|t| t.contains("name: old"))
    });
    let broken = text.replace("name: old", "name: [old");
    fs::write(&path, &broken).expect("saved");
    until("the log says where", || {
        let log = node.log();
        log.lines().any(|l| l.contains("left alone") && l.contains("cluster.yaml:")).then_some(())
    });
    node.ok(&["check", "add", "tcp", "more", "127.0.0.1:1"]);
    stays(Duration::from_secs(2), "the file is left alone", || {
        fs::read_to_string(&path).is_ok_and(|t| t == broken)
    });
    fs::write(&path, text.replace("name: old", "name: new")).expect("saved");
    until("the mended edit is committed", || node.check("new"));
    until("what was added meanwhile stays", || node.check("more"));
}

#[test]
fn a_forbidden_and_a_conflicting_edit_are_kept_beside() {
    let cluster = Cluster::of("reject", 2);
    let node = &cluster.nodes[cluster.follower()];
    cluster.nodes[0].ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
    let path = node.cluster_yaml();
    let has = |word: &'static str| {
        until("the file is written", || fs::read_to_string(&path).ok().filter(|t| t.contains(word)))
    };
    let text = has("name: web");
    let before = version(node);
    let cluster_id = text.lines().find(|l| l.starts_with("cluster_id")).expect("an id");
    let forged = "cluster_id: 00000000-0000-4000-8000-000000000001";
    fs::write(&path, text.replace(cluster_id, forged)).expect("saved");
    until("the edit is kept beside", || (rejected(node).len() == 1).then_some(()));
    assert!(fs::read_to_string(&rejected(node)[0]).expect("kept").contains(forged));
    until("what is committed is written again", || fs::read_to_string(&path).ok().filter(|t| *t == text));
    assert_eq!(version(node), before);

    // Somebody edits, somebody else is faster, and then the edit is saved.
    cluster.nodes[0].ok(&["check", "edit", "web", "--target", "127.0.0.1:2"]);
    has("127.0.0.1:2");
    fs::write(&path, text.replace("target: 127.0.0.1:1", "target: 127.0.0.1:3")).expect("saved");
    let two = until("this edit too", || Some(rejected(node)).filter(|r| r.len() == 2));
    assert!(two.iter().any(|p| fs::read_to_string(p).is_ok_and(|t| t.contains("127.0.0.1:3"))));
    has("127.0.0.1:2");
    assert_eq!(node.check("web").map(|c| c["target"].clone()), Some("127.0.0.1:2".into()));
    let log = node.log();
    assert!(log.lines().any(|l| l.contains("refused") && l.contains("cluster_id")), "{log}");
}
