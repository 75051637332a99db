//! An older program meets what a newer one wrote.
//!
//! The program under test is itself the one that knows one field less, when a file has a field
//! more. For the log and the snapshot, which no hand writes, `.ci/run` makes a build that lacks a
//! field (feature `older`), and names it in `QUPTIME_OLDER`; without that variable the second half
//! is left out, and says so.

use std::fs;
use std::path::PathBuf;

use super::super::support::{Cluster, Home, Node, SECRET, until};

const HOOK: &str = "http://127.0.0.1:1/hook";

/// A build that does not know `remind`.
fn older() -> Option<PathBuf> {
    let path = std::env::var_os("QUPTIME_OLDER").map(PathBuf::from);
    if path.is_none() {
        eprintln!("LEFT OUT: QUPTIME_OLDER names no build that knows one field less (.ci/run makes one)");
    }
    path
}

#[test]
fn a_file_of_a_newer_version_stops_the_start_and_nothing_is_dropped() {
    let home = Home::new("newer-file");
    let mut node = Node::made(home.path(), "n1", SECRET);
    node.start();
    node.sees("it runs", |v| !v["master"].is_null());
    node.ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
    let path = node.cluster_yaml();
    let text = until("the file says it", || {
        fs::read_to_string(&path).ok().filter(|t| t.contains("    name: web\n"))
    });
    node.end();
    let newer = text.replace("    name: web\n", "    name: web\n    retries: 3\n");
    let line = newer.lines().position(|l| l.contains("retries")).expect("it is there") + 1;
    fs::write(node.cluster_yaml(), &newer).expect("written");
    let said = node.refuses();
    assert_eq!(said.status, 1, "{said:?}");
    let want = format!(
        "cluster.yaml:{line}:5: unknown field \"retries\" in check \"web\"; written by a newer qu? upgrade this node, or remove the field"
    );
    assert!(said.err.contains(&want), "{said:?}");
    assert_eq!(fs::read_to_string(node.cluster_yaml()).expect("a file"), newer, "it is left alone");
    fs::write(node.cluster_yaml(), text).expect("written");
    node.start();
    until("nothing is missing", || node.check("web"));
}

#[test]
fn an_older_build_serves_as_long_as_nothing_newer_was_used() {
    let Some(older) = older() else { return };
    let mut cluster = Cluster::of("older", 3);
    cluster.nodes[0].ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
    for at in 0..3 {
        cluster.nodes[at].end();
        cluster.nodes[at].program.clone_from(&older);
        cluster.nodes[at].start();
        cluster.whole();
    }
    cluster.nodes[1].ok(&["check", "add", "tcp", "more", "127.0.0.1:1"]);
}

#[test]
fn an_older_build_takes_nothing_that_it_cannot_read_and_has_it_after_its_upgrade() {
    let Some(older) = older() else { return };
    let mut cluster = Cluster::of("older-peer", 3);
    let at = cluster.follower();
    cluster.nodes[at].end();
    let newer = std::mem::replace(&mut cluster.nodes[at].program, older);
    cluster.nodes[at].start();
    cluster.whole();
    let first = &cluster.nodes[(at + 1) % 3];
    let ran = first.run(&["alert", "add", "discord", "chat", "--webhook-file", "-"], Some(HOOK));
    assert_eq!(ran.status, 0, "{ran:?}");
    first.ok(&["alert", "edit", "chat", "--remind", "1h"]);
    let node = &mut cluster.nodes[at];
    until("it says so", || node.log().contains("sent an entry that this version cannot read").then_some(()));
    // It runs, and drops nothing: the file is that of before.
    assert!(node.view().is_some());
    let text = fs::read_to_string(node.cluster_yaml()).expect("a file");
    assert!(!text.contains("remind"), "{text}");
    node.end();
    node.program = newer;
    node.start();
    cluster.whole();
    assert!(cluster.nodes[at].ok(&["alert", "list", "--json"]).contains("1h"));
}

#[test]
fn an_older_build_refuses_what_a_newer_one_set_wherever_it_finds_it() {
    let Some(older) = older() else { return };
    let mut cluster = Cluster::of("schema", 3);
    let ran = cluster.nodes[0].run(&["alert", "add", "discord", "chat", "--webhook-file", "-"], Some(HOOK));
    assert_eq!(ran.status, 0, "{ran:?}");
    cluster.nodes[0].ok(&["alert", "edit", "chat", "--remind", "1h"]);
    let path = cluster.nodes[2].cluster_yaml();
    let text =
        until("its file says it", || fs::read_to_string(&path).ok().filter(|t| t.contains("remind: 1h")));
    cluster.nodes[2].end();
    let newer = std::mem::replace(&mut cluster.nodes[2].program, older);
    let line = text.lines().position(|l| l.contains("remind")).expect("it is there") + 1;
    let said = cluster.nodes[2].refuses();
    assert_eq!(said.status, 1, "{said:?}");
    let want =
        format!("cluster.yaml:{line}:5: unknown field \"remind\" in alert \"chat\"; written by a newer qu?");
    assert!(said.err.contains(&want), "{said:?}");

    // Whoever removes it from the file meets it in the log.
    let without: String = text.lines().filter(|l| !l.contains("remind")).map(|l| format!("{l}\n")).collect();
    fs::write(&path, without).expect("written");
    let said = cluster.nodes[2].refuses();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.err.contains("of the log is not understood") && said.err.contains("upgrade this node"),
        "{said:?}"
    );
    assert!(said.err.contains("remind"), "{said:?}");

    fs::write(&path, text).expect("written");
    cluster.nodes[2].program = newer;
    cluster.nodes[2].start();
    cluster.whole();
    assert!(cluster.nodes[2].ok(&["alert", "list", "--json"]).contains("1h"));
}
