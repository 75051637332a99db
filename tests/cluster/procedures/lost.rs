//! The whole cluster lost, or a majority of it, or one half of two (SPEC section 11, procedures 4
//! and 6); and a newer file where none is wanted.

use std::fs;

use super::super::support::{Cluster, Node, until};
use super::{end_all, rejected, version, with_version, without_peers};

/// What is in `cluster.yaml`, once it says so.
fn file_with(node: &Node, needle: &str) -> String {
    let path = node.cluster_yaml();
    until("the file says it", || fs::read_to_string(&path).ok().filter(|t| t.contains(needle)))
}

/// A cluster with a check that every file knows of, and that file.
fn with_a_check(name: &str, count: usize) -> (Cluster, String) {
    let cluster = Cluster::of(name, count);
    cluster.nodes[0].ok(&["check", "add", "tcp", "kept", "127.0.0.1:1"]);
    let texts: Vec<String> = cluster.nodes.iter().map(|n| file_with(n, "name: kept")).collect();
    let newest = texts[0].clone();
    assert!(texts.iter().all(|t| *t == newest), "the same version is the same file");
    (cluster, newest)
}

/// Variants that `.ci/run` has time for; each waits out what nodes may have promised before.
fn at_length(what: &str) -> bool {
    let long = std::env::var_os("QUPTIME_ROUNDS").is_some();
    if !long {
        eprintln!("LEFT OUT without QUPTIME_ROUNDS: {what}");
    }
    long
}

fn write(node: &Node, text: &str) {
    fs::write(node.cluster_yaml(), text).expect("written");
}

fn lose_state(node: &Node) {
    fs::remove_dir_all(node.dir.join("state")).expect("removed");
}

/// A node as notes name it.
fn named(node: &Node) -> String {
    format!("{} ({})", node.address(), &node.id[..8])
}

/// Waits until the notes of a node say all of this.
#[track_caller]
fn says(node: &Node, parts: &[&str]) {
    node.sees(&format!("its notes say {parts:?}"), |v| {
        let notes = v["notes"].to_string();
        parts.iter().all(|part| notes.contains(part))
    });
}

/// All that run are one cluster of so many peers, and nothing is missing.
#[track_caller]
fn goes_on(cluster: &Cluster, peers: usize) {
    cluster.whole();
    for node in cluster.nodes.iter().filter(|n| n.runs()) {
        node.sees("it is that cluster", |v| v["peers"].as_array().map(Vec::len) == Some(peers));
        until("nothing is missing", || node.check("kept"));
    }
    let first = cluster.nodes.iter().find(|n| n.runs()).expect("one runs");
    first.ok(&["check", "add", "tcp", "more", "127.0.0.1:1"]);
}

#[test]
fn a_lost_cluster_starts_again_from_the_newest_file_on_every_node() {
    let (mut cluster, newest) = with_a_check("lost-all", 3);
    let before = version(&cluster.nodes[0]);
    end_all(&mut cluster);
    for node in &cluster.nodes {
        lose_state(node);
        write(node, &newest);
    }
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.whole();
    for node in &cluster.nodes {
        assert_eq!(version(node), before);
        assert!(rejected(node).is_empty());
    }
    goes_on(&cluster, 3);
}

#[test]
fn a_lost_cluster_starts_again_from_backups_of_different_days() {
    let mut cluster = Cluster::of("lost-backups", 3);
    let archive = |cluster: &Cluster, at: usize| {
        let path = cluster.home.path().join(format!("{at}.tar"));
        cluster.nodes[at].ok(&["backup", path.to_str().expect("text")]);
        path
    };
    let old = [archive(&cluster, 0), archive(&cluster, 1)];
    cluster.nodes[0].ok(&["check", "add", "tcp", "kept", "127.0.0.1:1"]);
    file_with(&cluster.nodes[2], "name: kept");
    let new = archive(&cluster, 2);
    let before = version(&cluster.nodes[0]);
    end_all(&mut cluster);
    for (node, archive) in cluster.nodes.iter().zip([&old[0], &old[1], &new]) {
        fs::remove_dir_all(&node.dir).expect("removed");
        let said = node.ok(&["restore", archive.to_str().expect("text")]);
        assert!(said.contains(&node.id), "{said}");
    }
    // One that is missing is waited for, and named.
    for node in &mut cluster.nodes[..2] {
        node.start();
    }
    let third = named(&cluster.nodes[2]);
    says(&cluster.nodes[0], &["there is no state/", &format!("not heard: {third}")]);
    cluster.nodes[2].start();
    cluster.whole();
    assert!(cluster.nodes.iter().all(|n| version(n) == before));
    goes_on(&cluster, 3);
}

#[test]
fn survivors_go_on_without_the_dead_and_the_dead_are_not_let_in() {
    let (mut cluster, text) = with_a_check("shrink", 4);
    let before = version(&cluster.nodes[0]);
    cluster.nodes[2].kill();
    cluster.nodes[3].kill();
    cluster.nodes[0].sees("there is no quorum", |v| v["master"].is_null());

    end_all(&mut cluster);
    let dead = [cluster.nodes[2].id.clone(), cluster.nodes[3].id.clone()];
    let raised = with_version(&without_peers(&text, &[&dead[0], &dead[1]]), before + 100);
    write(&cluster.nodes[0], &raised);
    // Before the start the doctor says how the files stand to each other.
    let said = cluster.nodes[0].qu(&["doctor"]).out;
    assert!(said.contains("is newer than state/"), "{said}");
    cluster.nodes[0].start();
    // One survivor alone does nothing, and says what it waits for.
    let wanted = named(&cluster.nodes[1]);
    let alone = [
        "cluster.yaml is newer than state/",
        "when 2 of 2 peers present it",
        &format!("not heard: {wanted}"),
    ];
    says(&cluster.nodes[0], &alone);
    let said = cluster.nodes[0].qu(&["doctor"]).out;
    assert!(said.contains(alone[0]) && said.contains(&wanted), "{said}");
    assert!(cluster.nodes[0].master().is_none());
    assert_eq!(fs::read_to_string(cluster.nodes[0].cluster_yaml()).expect("a file"), raised);
    // The other one as it was: it goes on from its state/, and that is said too.
    cluster.nodes[1].start();
    says(&cluster.nodes[0], &[&format!("going on from their state/: {wanted}")]);
    cluster.nodes[1].end();
    write(&cluster.nodes[1], &raised);
    cluster.nodes[1].start();
    cluster.whole();
    assert!(cluster.nodes[..2].iter().all(|n| version(n) == before + 100 && rejected(n).is_empty()));
    goes_on(&cluster, 2);

    // One of the dead comes back all the same. The survivors do not know its key any more.
    cluster.nodes[2].start();
    until("it is refused", || cluster.nodes[2].log().contains("not in its trust store").then_some(()));
    assert!(cluster.nodes[2].master().is_none() && cluster.nodes[2].check("more").is_none());
    cluster.nodes[2].end();
    cluster.whole();

    // They were started with an edit in the file; now they start as always.
    for at in 0..2 {
        cluster.nodes[at].end();
        cluster.nodes[at].start();
        cluster.whole();
    }
    assert!(cluster.nodes[..2].iter().all(|n| rejected(n).is_empty()));
}

#[test]
fn one_survivor_of_three_goes_on_alone() {
    if !at_length("one survivor of three") {
        return;
    }
    let (mut cluster, text) = with_a_check("alone", 3);
    let before = version(&cluster.nodes[0]);
    for at in [1, 2] {
        cluster.nodes[at].kill();
    }
    cluster.nodes[0].end();
    let dead = [cluster.nodes[1].id.clone(), cluster.nodes[2].id.clone()];
    write(&cluster.nodes[0], &with_version(&without_peers(&text, &[&dead[0], &dead[1]]), before + 100));
    cluster.nodes[0].start();
    goes_on(&cluster, 1);
}

#[test]
fn a_recovery_that_is_cut_off_is_begun_again_with_a_higher_version() {
    let (mut cluster, text) = with_a_check("cut-off", 3);
    let before = version(&cluster.nodes[0]);
    cluster.nodes[2].kill();
    end_all(&mut cluster);
    let dead = cluster.nodes[2].id.clone();
    let survivors = without_peers(&text, &[&dead]);
    for round in 1..=3 {
        let raised = with_version(&survivors, before + 100 * round);
        for node in &mut cluster.nodes[..2] {
            write(node, &raised);
            node.start();
        }
        if round == 3 {
            break;
        }
        // Anywhere in it: before, while, or after it is written down.
        let said = format!("starting again from config version {}", before + 100 * round);
        until("it begins", || cluster.nodes[..2].iter().any(|n| n.log().contains(&said)).then_some(()));
        for node in &mut cluster.nodes[..2] {
            node.kill();
        }
    }
    goes_on(&cluster, 2);
    assert!(cluster.nodes[..2].iter().all(|n| rejected(n).is_empty()));
}

#[test]
fn a_majority_that_is_told_goes_on_and_the_third_follows_without_state_and_with_an_old_one() {
    for lost in [true, false] {
        // With its old one the third comes back in the manual's story, too.
        if !lost && !at_length("the third comes back with its old state") {
            continue;
        }
        let name = if lost { "recover-x" } else { "recover-y" };
        let (mut cluster, text) = with_a_check(name, 3);
        let before = version(&cluster.nodes[0]);
        end_all(&mut cluster);
        let raised = with_version(&text, before + 100);
        for at in [0, 1] {
            write(&cluster.nodes[at], &raised);
            cluster.nodes[at].start();
        }
        // The third may know better.
        says(&cluster.nodes[0], &["when 3 of 3 peers present it", "start 2 of them with --recover"]);
        assert!(cluster.nodes[0].master().is_none());
        for at in [0, 1] {
            cluster.nodes[at].end();
        }
        // One that is told is no majority.
        cluster.nodes[0].start_with(&["--recover"]);
        says(&cluster.nodes[0], &["(told to recover) when 2 of 3 peers present it"]);
        assert!(cluster.nodes[0].master().is_none());
        cluster.nodes[1].start_with(&["--recover"]);
        until("the two go on", || {
            cluster.nodes[0].master().filter(|m| Some(m) == cluster.nodes[1].master().as_ref())
        });
        cluster.nodes[0].ok(&["check", "add", "tcp", "since", "127.0.0.1:1"]);
        if lost {
            lose_state(&cluster.nodes[2]);
        }
        cluster.nodes[2].start();
        goes_on(&cluster, 3);
        until("the third has it", || cluster.nodes[2].check("since"));
        assert!(cluster.nodes.iter().all(|n| rejected(n).is_empty()));
    }
}

#[test]
fn one_of_two_that_lost_its_state_is_helped_by_a_higher_version_on_both() {
    // The manual's story does it too.
    if !at_length("one of two lost its state") {
        return;
    }
    let (mut cluster, text) = with_a_check("two", 2);
    let before = version(&cluster.nodes[0]);
    end_all(&mut cluster);
    lose_state(&cluster.nodes[1]);
    // Told, and nothing to be told of: it goes on as always.
    cluster.nodes[0].start_with(&["--recover"]);
    until("it says why", || cluster.nodes[0].log().contains("--recover has no effect").then_some(()));
    cluster.nodes[0].end();
    for node in &mut cluster.nodes {
        write(node, &with_version(&text, before + 100));
        node.start();
    }
    goes_on(&cluster, 2);
}

#[test]
fn a_newer_file_gives_way_to_a_cluster_that_goes_on() {
    let (mut cluster, text) = with_a_check("gives-way", 3);
    let other = cluster.follower();
    let mine = cluster.nodes[other].id.clone();
    let others: Vec<String> = cluster.nodes.iter().map(|n| n.id.clone()).filter(|id| *id != mine).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    for (round, flags) in [&[][..], &["--recover"]].into_iter().enumerate() {
        cluster.nodes[other].end();
        if round == 1 {
            lose_state(&cluster.nodes[other]);
        }
        // Of all three, which cannot agree; then of this one alone, which would begin when it has heard
        // nobody for dead-after.
        let long = text.replace("dead_after: 1s", "dead_after: 50s");
        let named = if round == 0 { text.clone() } else { without_peers(&long, &others) };
        let raised = with_version(&named, 1000).replace("name: kept", "name: alone");
        write(&cluster.nodes[other], &raised);
        cluster.nodes[other].start_with(flags);
        let node = &cluster.nodes[other];
        let kept =
            until("the file gives way", || Some(rejected(node)).filter(|kept| kept.len() == round + 1));
        assert!(kept.iter().any(|p| fs::read_to_string(p).is_ok_and(|t| t == raised)), "{kept:?}");
        says(node, &["cluster.yaml of version 1000 gives way", "cluster.yaml.rejected-"]);
        file_with(node, "name: kept");
        cluster.whole();
        assert!(node.check("alone").is_none() && node.check("kept").is_some());
    }
}

#[test]
fn a_newer_file_by_mistake_is_taken_back_and_nothing_has_happened() {
    let (mut cluster, text) = with_a_check("mistake", 3);
    let before = version(&cluster.nodes[0]);
    end_all(&mut cluster);
    write(&cluster.nodes[0], &with_version(&text, before + 100));
    for node in &mut cluster.nodes[..2] {
        node.start();
    }
    // Two of three are there, and one of them is as good as away.
    let (second, third) = (named(&cluster.nodes[1]), named(&cluster.nodes[2]));
    says(
        &cluster.nodes[0],
        &[
            &format!("not heard: {third}"),
            &format!("going on from their state/: {second}"),
            "take the edit back",
        ],
    );
    cluster.nodes[0].kill();
    write(&cluster.nodes[0], &text);
    cluster.nodes[0].start();
    goes_on(&cluster, 3);
    assert_eq!(version(&cluster.nodes[1]), before + 1);
    assert!(rejected(&cluster.nodes[0]).is_empty());
}

#[test]
fn ids_that_the_file_leaves_out_are_the_same_on_every_node() {
    if !at_length("ids that the file leaves out") {
        return;
    }
    let (mut cluster, text) = with_a_check("no-ids", 2);
    let before = version(&cluster.nodes[0]);
    end_all(&mut cluster);
    let more = "checks:\n  - name: new\n    type: tcp\n    target: 127.0.0.1:1\n";
    let raised = with_version(&text, before + 100).replacen("checks:\n", more, 1);
    for node in &mut cluster.nodes {
        write(node, &raised);
        node.start();
    }
    goes_on(&cluster, 2);
    let id = |at: usize| until("it is there", || cluster.nodes[at].check("new"))["id"].clone();
    assert_eq!(id(0), id(1));
    assert!(cluster.nodes.iter().all(|n| rejected(n).is_empty()));
}
