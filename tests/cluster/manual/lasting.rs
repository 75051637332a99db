//! What is lost, by a node or by all, and an upgrade: situations of quptime-operations(7) and
//! quptime-troubleshooting(7).

use std::fs;

use super::super::support::until;
use super::Story;

/// A cluster with a check that every file knows of.
fn with_a_check(s: &mut Story, names: &[&str]) {
    s.cluster(names);
    s.node(names[0]).ok(&["check", "add", "tcp", "kept", "127.0.0.1:1"]);
    for name in names {
        let path = s.node(name).cluster_yaml();
        let says = || fs::read_to_string(&path).is_ok_and(|t| t.contains("name: kept"));
        until("the file says it", || says().then_some(()));
    }
}

fn kept_on(s: &mut Story, names: &[&str]) {
    s.whole();
    for name in names {
        until("nothing is missing", || s.node(name).check("kept"));
    }
}

pub fn backup(s: &mut Story) {
    s.cluster(&["alpha"]);
    let id = s.node("alpha").id.clone();
    let ran = s.run("alpha");
    assert!(ran.out.contains(&id), "{ran:?}");
    assert!(s.home.path().join("alpha/var/backups/quptime.tar").exists());
}

pub fn restore_one_node(s: &mut Story) {
    with_a_check(s, &["alpha", "beta", "gamma"]);
    let archive = s.home.path().join("beta/var/backups/quptime.tar");
    s.node("beta").ok(&["backup", archive.to_str().expect("text")]);
    s.node("beta").kill();
    let dir = s.node("beta").dir.clone();
    fs::remove_dir_all(dir).expect("emptied");
    s.node("alpha").ok(&["check", "add", "tcp", "since", "127.0.0.1:1"]);
    s.run("beta");
    kept_on(s, &["beta"]);
    until("it learns what happened since", || s.node("beta").check("since"));
}

/// The next block is typed on several hosts, one after another.
fn on_each(s: &mut Story, names: &[&str]) {
    for _ in 1..names.len() {
        let block = s.blocks[0].clone();
        s.blocks.push_front(block);
    }
    for name in names {
        s.run(name);
    }
}

pub fn restore_all_nodes(s: &mut Story) {
    let names = ["alpha", "beta", "gamma"];
    with_a_check(s, &names);
    for name in names {
        s.node(name).kill();
        let dir = s.node(name).dir.clone();
        fs::remove_dir_all(dir.join("state")).expect("lost");
        if name != "alpha" {
            fs::remove_file(dir.join("cluster.yaml")).expect("lost");
        }
    }
    let ran = s.run("alpha");
    assert!(ran.out.starts_with("version: "), "{ran:?}");
    on_each(s, &names);
    kept_on(s, &names);
}

/// What `vi` does: the peers of these ids go, and the version becomes 1000.
fn raised(gone: &[String]) -> String {
    let gone = if gone.is_empty() { "nobody".to_owned() } else { gone.join("|") };
    format!(
        "awk '/^ *- node_id:/ {{ gone = /{gone}/ }} /^[^ ]/ {{ gone = 0 }} !gone' \"$1\" |\n\
         sed 's/^version: .*/version: 1000/' >\"$1.mine\"\ncat \"$1.mine\" >\"$1\"\nrm \"$1.mine\"\n"
    )
}

fn is_at_1000(s: &mut Story, name: &str, peers: usize) {
    let view = s.node(name).sees("it is that cluster", |v| v["config_version"] == 1000);
    assert_eq!(view["peers"].as_array().map(Vec::len), Some(peers), "{view}");
}

pub fn go_on_when_a_quorum_is_lost(s: &mut Story) {
    with_a_check(s, &["alpha", "beta", "gamma", "delta"]);
    let dead = ["gamma", "delta"].map(|name| {
        s.node(name).kill();
        s.node(name).id.clone()
    });
    on_each(s, &["alpha", "beta"]);
    s.edit("alpha", &raised(&dead));
    s.run("alpha");
    on_each(s, &["alpha", "beta"]);
    s.run("beta");
    kept_on(s, &["alpha", "beta"]);
    is_at_1000(s, "beta", 2);
}

pub fn go_on_with_a_majority(s: &mut Story) {
    with_a_check(s, &["alpha", "beta", "gamma"]);
    s.node("gamma").kill();
    s.node("beta").kill();
    let dir = s.node("beta").dir.clone();
    fs::remove_dir_all(dir.join("state")).expect("lost");
    s.node("beta").start();
    s.node("beta").sees("it waits", |v| v["notes"].to_string().contains("there is no state/"));
    s.node("beta").end();
    s.edit("alpha", &raised(&[]));
    s.run("alpha");
    on_each(s, &["alpha", "beta"]);
    kept_on(s, &["alpha", "beta"]);
    is_at_1000(s, "beta", 3);
    s.node("gamma").start();
    kept_on(s, &["gamma"]);
}

pub fn gives_way(s: &mut Story) {
    with_a_check(s, &["alpha", "beta", "gamma"]);
    s.node("alpha").end();
    let path = s.node("alpha").cluster_yaml();
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("name: kept", "name: other").replace("\nversion: ", "\nversion: 9"))
        .expect("written");
    s.node("alpha").start();
    s.node("alpha").sees("it gives way", |v| v["notes"].to_string().contains(" gives way"));
    until("the file is the cluster's", || {
        fs::read_to_string(&path).is_ok_and(|t| t.contains("name: kept")).then_some(())
    });
    let ran = s.run("alpha");
    assert!(ran.out.contains("name: other"), "{ran:?}");
    kept_on(s, &["alpha"]);
}

pub fn no_majority_remembers(s: &mut Story) {
    with_a_check(s, &["alpha", "beta"]);
    s.node("beta").end();
    let dir = s.node("beta").dir.clone();
    fs::remove_dir_all(dir.join("state")).expect("lost");
    s.node("beta").start();
    s.edit("alpha", &raised(&[]));
    s.run("alpha");
    s.run("alpha");
    kept_on(s, &["alpha", "beta"]);
    is_at_1000(s, "alpha", 2);
}
