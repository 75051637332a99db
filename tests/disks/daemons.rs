//! Real daemons on disks that are full, read-only, failing, slow: the node says so, is not master
//! meanwhile, goes on probing, and comes back by itself; a change that was acknowledged meanwhile is
//! on it then, and its files are whole.

use std::fs;
use std::io::Write as _;

use super::rig::{SmallDisk, Syncs};
use super::support::{Cluster, Home, Manner, Node, Target, until};

fn skipped(what: &str) {
    // Past the capture of the harness; nobody reads it when standard error is closed.
    drop(writeln!(std::io::stderr(), "skipped: {what}"));
}

fn notes(node: &Node) -> String {
    node.view().map(|v| v["notes"].to_string()).unwrap_or_default()
}

/// A cluster of three with one check, the node whose disk is to break being its master.
struct Scene {
    cluster: Cluster,
    target: Target,
    /// Which node.
    broken: usize,
}

impl Scene {
    fn of(cluster: Cluster) -> Scene {
        let target = Target::start();
        cluster.nodes[0].ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
        for node in &cluster.nodes {
            node.verdict("web", "up");
        }
        let broken = cluster.master();
        Scene { cluster, target, broken }
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[self.broken]
    }

    fn other(&self) -> &Node {
        &self.cluster.nodes[(self.broken + 1) % 3]
    }

    /// While the disk is broken. `word` is in what the node says of it.
    fn is_borne(&self, word: &str) {
        let (node, other) = (self.node(), self.other());
        // Changes are what the disk is needed for. Some may still find room, some be told to try again.
        let mut n = 0;
        until("the node says so", || {
            n += 1;
            other.qu(&["check", "add", "tcp", &format!("c{n}"), "127.0.0.1:1", "--interval", "1h"]);
            notes(node).contains(word).then_some(())
        });
        until("another is master", || other.master().filter(|m| *m != node.id));
        other.ok(&["check", "add", "tcp", "acknowledged", "127.0.0.1:1", "--interval", "1h"]);
        // Its probes go on: what only this node sees is seen.
        self.target.behave(Manner::BadFor(node.pid()));
        until("the others hear of what it alone sees", || {
            let check = other.check("web")?;
            (check["state"] == "up" && check["ok"] == 2 && check["detail"].to_string().contains("503"))
                .then_some(())
        });
        self.target.behave(Manner::Fine);
    }

    /// When the disk is well again.
    fn recovers(mut self, word: &str) {
        let node = self.node();
        until("the node takes it back", || (!notes(node).contains(word)).then_some(()));
        until("it has what was acknowledged meanwhile", || node.check("acknowledged"));
        until("its file says so too", || {
            fs::read_to_string(node.cluster_yaml()).ok().filter(|t| t.contains("name: acknowledged"))
        });
        node.ok(&["check", "add", "tcp", "afterwards", "127.0.0.1:1", "--interval", "1h"]);
        self.cluster.whole();
        // What is on the disk is whole: it starts from it.
        let broken = self.broken;
        let node = &mut self.cluster.nodes[broken];
        node.kill();
        node.start();
        self.cluster.whole();
        for name in ["web", "acknowledged", "afterwards"] {
            until("it remembers", || self.node().check(name));
        }
        // The kill may have come in the middle of a write: what that left goes with the next one.
        self.node().ok(&["check", "add", "tcp", "again", "127.0.0.1:1", "--interval", "1h"]);
        until("its file is written again", || {
            fs::read_to_string(self.node().cluster_yaml()).ok().filter(|t| t.contains("name: again"))
        });
        let left = || {
            let left = fs::read_dir(&self.node().dir).expect("a directory").flatten();
            left.map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        until("nothing half-written is left", || (!left().iter().any(|n| n.ends_with(".new"))).then_some(()));
        assert!(!left().iter().any(|n| n.contains("rejected")), "{:?}", left());
    }
}

/// On three small disks, so that whoever is master has one.
#[test]
fn a_disk_that_is_full_and_then_read_only_is_told_and_left_to_the_others_until_it_can_be_written() {
    let home = Home::new("full");
    let disks: Option<Vec<SmallDisk>> =
        ["n1", "n2", "n3"].iter().map(|n| SmallDisk::mount(&home.path().join(n))).collect();
    let Some(disks) = disks else {
        return skipped("a small file system can be mounted by root only");
    };
    let scene = Scene::of(Cluster::strangers_in(home, 3).joined());
    let disk = &disks[scene.broken];
    disk.fill();
    scene.is_borne("the disk fails: write");
    // The store has closed its files, or the file system would be busy.
    disk.read_only();
    let node = scene.node();
    until("the node goes on saying so", || notes(node).contains("the disk fails").then_some(()));
    scene.other().ok(&["check", "add", "tcp", "under-read-only", "127.0.0.1:1", "--interval", "1h"]);
    disk.writable();
    disk.empty();
    until("this too is there in the end", || node.check("under-read-only"));
    scene.recovers("disk");
}

fn with_syncs(name: &str, how: &str, word: &str) {
    let scene = Scene::of(Cluster::of(name, 3));
    let log = scene.cluster.home.path().join("strace.log");
    let Some(syncs) = Syncs::of(scene.node().pid(), how, &log) else {
        return skipped("no tracer that may trace: the disk cannot be broken under a daemon");
    };
    scene.is_borne(word);
    drop(syncs);
    scene.recovers("disk");
}

#[test]
fn a_disk_whose_syncs_fail_is_told_and_left_to_the_others_until_they_succeed() {
    with_syncs("eio", "error=EIO", "Input/output error");
}

#[test]
fn a_disk_whose_syncs_take_five_seconds_is_told_and_left_to_the_others_until_they_do_not() {
    with_syncs("slow", "delay_enter=5000000", "the disk");
}
