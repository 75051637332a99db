//! What an operator sees who asks what is wrong: `qu doctor`, `qu status --mesh`, `--wait`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quptime::base::clock::{RealClock, Wall};
use quptime::base::id::{ClusterId, NodeId};
use quptime::transport::join::{Introduction, JoinDesk, Offer};
use quptime::transport::{Hello, Links, PeerMessage, Setup, plain_spawn};
use serde_json::Value;

use super::support::{Cluster, Node, SECRET, within};

/// Generous: the machine may be busy, and links are made anew once a second.
const LIMIT: Duration = Duration::from_secs(60);

/// What the doctor finds, with its exit status.
fn doctor(node: &Node) -> (i32, Vec<Value>) {
    let ran = node.qu(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    (ran.status, said["findings"].as_array().expect("a list").clone())
}

/// Of what is not good: level and subject, and the text with the remedy.
fn bad(findings: &[Value]) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = findings.iter().filter(|f| f["level"] != "ok");
    all.map(|f| {
        (text(&f["level"]), text(&f["about"]), format!("{}; {}", text(&f["text"]), text(&f["remedy"])))
    })
    .collect()
}

/// Waits until the doctor's findings are as wanted; what is not good.
#[track_caller]
fn finds(node: &Node, what: &str, wanted: impl Fn(i32, &[(String, String, String)]) -> bool) {
    let mut last = Vec::new();
    within(LIMIT, what, || {
        let (status, findings) = doctor(node);
        let bad = bad(&findings);
        let good = wanted(status, &bad);
        if bad != last {
            // Shown when the test fails.
            println!("{what}: status {status}, {bad:?}");
            last = bad;
        }
        good.then_some(())
    });
}

fn has(bad: &[(String, String, String)], level: &str, about: &str, word: &str) -> bool {
    bad.iter().any(|(l, a, text)| l == level && a == about && text.contains(word))
}

/// Nothing but what every young cluster lacks.
fn healthy(status: i32, bad: &[(String, String, String)]) -> bool {
    status == 0 && bad.iter().all(|(_, about, _)| about == "backup" || about == "ping")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

#[test]
fn the_doctor_finds_nothing_in_a_healthy_cluster_and_names_what_is_spoiled() {
    let cluster = Cluster::of("doctor", 3);
    for node in &cluster.nodes {
        finds(node, "a healthy node has no problems", healthy);
    }
    let node = &cluster.nodes[cluster.follower()];
    let (key, yaml) = (node.dir.join("keys/private.pem"), node.cluster_yaml());
    mode(&key, 0o644);
    finds(node, "an open key is a problem with its remedy", |status, bad| {
        status == 1
            && has(bad, "problem", "files", "chmod 0600")
            && has(bad, "problem", "files", "private.pem")
    });
    mode(&key, 0o600);
    mode(&yaml, 0o640);
    finds(node, "what the group reads is a warning", |status, bad| {
        status == 0 && has(bad, "warning", "files", "cluster.yaml has mode 0640")
    });
    mode(&yaml, 0o600);
    if quptime::sys::cred::euid() == 0 {
        // As after `sudo qu init` in the directory of the service's user.
        chown(&node.dir, Some(12345), None).expect("as root");
        finds(node, "files of root in another user's directory are a problem", |status, bad| {
            status == 1
                && has(bad, "problem", "files", "owned by root")
                && has(bad, "problem", "files", "chown -R")
        });
        chown(&node.dir, Some(0), None).expect("as root");
    } else {
        eprintln!("skipped: foreign owners, which takes root");
    }
    fs::write(node.dir.join("last-backup"), "2020-01-01T00:00:00Z\n").expect("written");
    mode(&node.dir.join("last-backup"), 0o600);
    finds(node, "an old backup is a warning", |status, bad| {
        status == 0 && has(bad, "warning", "backup", "2020-01-01T00:00:00Z")
    });
    let text = node.qu(&["doctor"]);
    assert!(
        text.out.lines().all(|l| ["ok ", "warning ", "problem "].iter().any(|w| l.starts_with(w))),
        "{text:?}"
    );
    assert!(!text.out.contains(SECRET), "{text:?}");
}

#[test]
fn the_doctor_works_without_a_daemon_and_changes_nothing() {
    let cluster = Cluster::strangers("nodaemon", 0);
    let node = Node::made(cluster.home.path(), "node", SECRET);
    let look = || {
        let all = ["node.yaml", "cluster.yaml", "keys/private.pem"].map(|f| fs::read(node.dir.join(f)).ok());
        let mut names: Vec<_> =
            fs::read_dir(&node.dir).expect("there").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        (all, names)
    };
    let before = look();
    finds(&node, "its port is free, its daemon silent", |status, bad| {
        status == 1 && has(bad, "problem", "daemon", "no daemon at") && bad.iter().all(|b| b.1 != "port")
    });
    let taken = std::net::TcpListener::bind(("127.0.0.1", node.port)).expect("free");
    finds(&node, "a port in use is a problem", |_, bad| has(bad, "problem", "port", "in use"));
    drop(taken);
    fs::write(node.cluster_yaml(), "peers: [").expect("written");
    fs::write(node.dir.join("node.yaml"), "node_id: nobody\n").expect("written");
    finds(&node, "broken files are named with their line", |status, bad| {
        status == 1
            && has(bad, "problem", "config", "cluster.yaml:")
            && has(bad, "problem", "node", "node.yaml:1:")
    });
    let [yaml, clustered, _] = &before.0;
    fs::write(node.dir.join("node.yaml"), yaml.as_ref().expect("read")).expect("written");
    fs::write(node.cluster_yaml(), clustered.as_ref().expect("read")).expect("written");
    assert_eq!(look(), before);
}

#[test]
fn a_wrong_address_and_a_stopped_peer_are_seen_by_doctor_mesh_and_wait() {
    let mut cluster = Cluster::of("mesh", 3);
    // Asked through the third, whoever is master.
    let (a, b, asked) = (0, 1, 2);
    for level in ["quorum", "live", "synced"] {
        cluster.nodes[a].ok(&["status", "--wait", level, "--timeout", "60s"]);
    }
    // Nobody takes connections there.
    let nowhere = format!("127.0.0.1:{}", super::support::free_port());
    let words = ["node", "edit", &cluster.nodes[a].id, "--address", &nowhere];
    cluster.nodes[asked].ok(&words);
    finds(&cluster.nodes[a], "its peers say that they cannot reach it", |status, bad| {
        status == 1
            && has(bad, "problem", "reach", &format!("cannot reach this node at {nowhere}"))
            && has(bad, "problem", "reach", "qu node edit")
    });
    let address = cluster.nodes[a].address();
    cluster.nodes[asked].ok(&["node", "edit", &cluster.nodes[a].id, "--address", &address]);
    finds(&cluster.nodes[a], "with its address it is well again", healthy);
    let gone = cluster.nodes[b].id.clone();
    cluster.nodes[b].end();
    finds(&cluster.nodes[a], "a stopped peer is a problem", |status, bad| {
        status == 1 && has(bad, "problem", "peers", &gone[..8]) && !has(bad, "problem", "quorum", "")
    });
    shows_the_gap(&cluster, a, &gone);
    let node = &cluster.nodes[a];
    node.ok(&["status", "--wait", "quorum", "--timeout", "60s"]);
    for level in ["live", "synced"] {
        within(LIMIT, "a wait in vain says who is missing", || {
            let said = node.refused(&["status", "--wait", level, "--timeout", "300ms"], 3);
            assert!(said.contains("within 300ms"), "{said}");
            // On a busy machine an election may come between.
            (said.contains("not live: 127.0.0.1:") && said.contains(&gone[..8])).then_some(())
        });
    }
    // A wait that begins before the daemon is there ends when all is well.
    std::thread::scope(|scope| {
        let (dead, others) = cluster.nodes.split_at_mut(b);
        let (dead, _others) = (&mut others[0], dead);
        let early = dead.refused(&["status", "--wait", "--timeout", "300ms"], 3);
        assert!(early.contains("no daemon at"), "{early}");
        let (dir, socket) = (dead.dir.clone(), dead.socket.clone());
        let waiting = scope.spawn(move || wait_at(&dir, &socket));
        dead.start();
        let (status, said) = waiting.join().expect("it ends");
        assert_eq!(status, Some(0), "{said}");
    });
    cluster.whole();
}

#[test]
fn a_peer_that_speaks_nonsense_is_disconnected_counted_and_named() {
    let mut cluster = Cluster::of("nonsense", 3);
    let (a, b) = (0, 1);
    let gone = cluster.nodes[b].id.clone();
    cluster.nodes[b].end();
    // Somebody has got hold of its key.
    let impostor = Impostor::with_the_key_of(&cluster.nodes[b], &cluster.nodes[a]);
    let target: NodeId = cluster.nodes[a].id.parse().expect("an id");
    let hello =
        Hello { cluster: impostor.cluster, version: "0.1.0".into(), kinds: Vec::new(), clock: Wall(0) };
    within(LIMIT, "it is disconnected and counted", || {
        while impostor.events.try_recv().is_ok() {}
        // As soon as there is a connection, on which one hello was said already.
        let _sent = impostor.links.send(target, PeerMessage::Hello(hello.clone()));
        let ran = cluster.nodes[a].qu(&["status", "--mesh", "--json"]);
        let view: Value = serde_json::from_str(&ran.out).ok()?;
        let rows = view["mesh"]["rows"].as_array()?.clone();
        let own = rows.iter().find(|r| r["me"] == true)?;
        let of_it = own["says"]["peers"].as_array()?.iter().find(|c| c["node_id"] == gone.as_str())?.clone();
        (of_it["nonsense"].as_u64()? > 0 && of_it["last_nonsense"] == "said hello twice").then_some(())
    });
    finds(&cluster.nodes[a], "the doctor names it", |status, bad| {
        status == 1
            && has(bad, "problem", "rules", &gone[..8])
            && has(bad, "problem", "rules", "said hello twice")
    });
    let text = cluster.nodes[a].qu(&["status", "--mesh"]).out;
    assert!(text.contains("NONSENSE\nNODE_ID") && text.contains("said hello twice"), "{text}");
    assert!(cluster.nodes[a].log().contains("a peer broke the rules"), "it is in the log");
    drop(impostor);
    let port = cluster.nodes[b].port;
    within(LIMIT, "its port is free again", || {
        std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).ok().map(drop)
    });
    cluster.nodes[b].start();
    cluster.whole();
}

/// Links of this process, under a node's key.
struct Impostor {
    links: Links,
    cluster: ClusterId,
    // What they tell is nothing to us, but they end without somebody who hears it.
    events: crossbeam_channel::Receiver<quptime::transport::Event>,
}

impl Impostor {
    fn with_the_key_of(stopped: &Node, running: &Node) -> Impostor {
        let view = running.view().expect("it answers");
        let cluster = view["cluster"].as_str().and_then(|c| c.parse().ok()).expect("an id");
        let (keys, _) = quptime::identity::keys::load(&stopped.dir.join("keys")).expect("its keys");
        let trust = fs::read_to_string(stopped.dir.join("trust.yaml")).expect("its trust store");
        let trust = quptime::config::trust::from_yaml(&trust).expect("a trust store");
        let setup = Setup {
            node: stopped.id.parse().expect("an id"),
            keys,
            version: "0.1.0".into(),
            kinds: Vec::new(),
            secret: None,
            desk: Arc::new(Nobody),
            clock: Arc::new(RealClock::new()),
            seed: 7,
            spawn: plain_spawn(),
        };
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let listener = quptime::transport::listen::bind(Some(ip), stopped.port).expect("its port is free");
        let (events, heard) = crossbeam_channel::bounded(4096);
        let links = Links::start(setup, listener, cluster, Arc::new(trust), events).expect("links");
        Impostor { links, cluster, events: heard }
    }
}

struct Nobody;

impl JoinDesk for Nobody {
    fn introduce(&self) -> Introduction {
        unreachable!("nobody asks it to join")
    }
    fn consider(&self, _: Offer) -> Result<(), String> {
        Err("not this one".into())
    }
}

#[test]
fn a_live_peer_that_lost_its_state_is_named_when_no_master_can_be_elected() {
    let mut cluster = Cluster::of("void", 3);
    let (a, away, blank) = (0, 1, 2);
    // All of them, so that none is master still when the one comes back without its state.
    for node in &mut cluster.nodes {
        node.end();
    }
    fs::remove_dir_all(cluster.nodes[blank].dir.join("state")).expect("removed");
    cluster.nodes[blank].start();
    cluster.nodes[a].start();
    let (lost, waited) = (cluster.nodes[blank].id[..8].to_owned(), cluster.nodes[away].id[..8].to_owned());
    let says = |text: &str| {
        let named = text.contains(&format!("{lost} lost what it knew"));
        named && text.contains(&format!("waiting for {waited}")) && text.contains("2 are needed")
    };
    cluster.nodes[a].sees("the note says who is waited for", |view| {
        let notes = view["notes"].as_array().cloned().unwrap_or_default();
        view["master"].is_null() && notes.iter().any(|n| n["text"].as_str().is_some_and(says))
    });
    finds(&cluster.nodes[a], "so does the doctor", |status, bad| {
        status == 1 && bad.iter().any(|(_, about, text)| about == "daemon" && says(text))
    });
    cluster.nodes[away].start();
    cluster.whole();
    cluster.nodes[a].sees("the note is gone", |v| v["notes"].as_array().is_some_and(Vec::is_empty));
}

/// `qu status --wait synced` beside everything else.
fn wait_at(dir: &Path, socket: &Path) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qu"));
    command.env_clear().env("QUPTIME_DIR", dir).env("QUPTIME_SOCKET", socket);
    let output = command.args(["status", "--wait", "synced", "--timeout", "60s"]).output().expect("qu runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The matrix has the lost peer in its column, and nothing in its line.
#[track_caller]
fn shows_the_gap(cluster: &Cluster, at: usize, gone: &str) {
    let node = &cluster.nodes[at];
    let contact = |row: &Value| {
        let peers = row["says"]["peers"].as_array().cloned().unwrap_or_default();
        peers.into_iter().find(|c| c["node_id"] == gone)
    };
    within(LIMIT, "those who answer say that they do not hear it", || {
        let ran = node.qu(&["status", "--mesh", "--json"]);
        let view: Value = serde_json::from_str(&ran.out).ok()?;
        let rows = view["mesh"]["rows"].as_array()?.clone();
        let (silent, speaking): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|r| r["node_id"] == gone);
        let lost = speaking.iter().all(|r| contact(r).is_some_and(|c| c["live"] == false));
        let quiet = silent.iter().all(|r| r["says"].is_null() && r["silent"].is_string());
        (rows.len() == 3 && speaking.len() == 2 && lost && quiet).then_some(())
    });
    let text = node.qu(&["status", "--mesh"]).out;
    let line = text.lines().find(|l| l.starts_with(gone) && l.contains("127.0.0.1:")).expect("its line");
    assert!(line.contains("  -  ") && text.contains("SILENT"), "{text}");
    assert!(text.contains("lost:"), "{text}");
}
