//! Another key for a node: under the same NodeID, without an interruption, and the old one is dead.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use quptime::base::clock::Wall;
use quptime::base::frame;
use quptime::base::id::{ClusterId, NodeId};
use quptime::identity::keys::{self, KeyKind};
use quptime::identity::{Fingerprint, Keys, Succession, turnover};
use quptime::transport::tls::{self, Expect, Tls};
use quptime::transport::{Hello, PeerMessage};
use serde_json::Value;

use super::support::{Cluster, LIMIT, Node, until};

/// Rotates, and takes over the new fingerprint.
#[track_caller]
fn rotate(node: &mut Node) -> Value {
    let done: Value =
        serde_json::from_str(&node.ok(&["node", "rotate-key", "--key-type", "ecdsa-p256", "--json"]))
            .expect("JSON");
    let new = done["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert_ne!(new, node.fingerprint);
    node.fingerprint = new;
    assert_eq!(done["node_id"], node.id.as_str());
    done
}

fn peer(view: &Value, id: &str) -> Option<Value> {
    view["peers"].as_array()?.iter().find(|p| p["node_id"] == id).cloned()
}

fn version(node: &Node) -> u64 {
    node.view().and_then(|v| v["config_version"].as_u64()).expect("a version")
}

/// Every node knows the key that the node has, and what is signed with it is heard.
#[track_caller]
fn known_everywhere(cluster: &Cluster, at: usize) {
    let node = &cluster.nodes[at];
    for other in cluster.nodes.iter().filter(|n| n.runs()) {
        other.sees("the new key", |v| {
            peer(v, &node.id).is_some_and(|p| p["fingerprint"] == node.fingerprint.as_str())
        });
    }
    cluster.whole();
    for other in cluster.nodes.iter().filter(|n| n.runs() && n.id != node.id) {
        let trusted = other.ok(&["trust", "list"]);
        assert!(trusted.contains(&node.fingerprint), "{trusted}");
    }
}

fn saved(node: &Node, name: &str) -> PathBuf {
    let to = node.dir.with_extension(name);
    copy(&node.dir.join("keys"), &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn loaded(dir: &Path) -> Keys {
    keys::load(dir).expect("keys").0
}

/// What a node says to somebody who has these keys: its first message, as JSON.
fn greeted(node: &Node, keys: &Keys, cluster: &str) -> std::io::Result<Value> {
    let other = std::io::Error::other::<String>;
    let socket = TcpStream::connect(("127.0.0.1", node.port))?;
    socket.set_read_timeout(Some(LIMIT))?;
    let key: Fingerprint = node.fingerprint.parse().expect("a fingerprint");
    let tls = Tls::new(keys).map_err(|e| other(e.to_string()))?;
    let (connection, _) = tls.dial(Expect::Key(key), tls::PEERS).map_err(|e| other(e.to_string()))?;
    let rustls::Connection::Client(client) = connection else { return Err(other("no client".to_owned())) };
    let mut stream = rustls::StreamOwned::new(client, socket);
    let cluster: ClusterId = cluster.parse().expect("an id");
    let hello = Hello { cluster, version: "0".into(), kinds: Vec::new(), clock: Wall(0) };
    let body = serde_json::to_vec(&PeerMessage::Hello(hello)).map_err(|e| other(e.to_string()))?;
    frame::write(&mut stream, &body)?;
    let said = frame::read(&mut stream, 1 << 20).map_err(|e| other(e.to_string()))?;
    serde_json::from_slice(&said).map_err(|e| other(e.to_string()))
}

/// The old keys open no door of this node.
#[track_caller]
fn dead(node: &Node, keys: &Path) {
    let cluster = node.view().expect("it answers")["cluster"].as_str().expect("an id").to_owned();
    let keys = loaded(keys);
    // A connection may be closed before its last word has arrived.
    let said = until("an answer to the old key", || greeted(node, &keys, &cluster).ok());
    assert_eq!(said, serde_json::json!({ "bye": "untrusted" }));
}

#[test]
fn master_and_follower_get_other_keys_twice_in_a_row_and_the_old_ones_are_dead() {
    let mut cluster = Cluster::of("rotate", 3);
    let (master, follower) = (cluster.master(), cluster.follower());
    for at in [follower, master] {
        let first = saved(&cluster.nodes[at], "first");
        let before = version(&cluster.nodes[at]);
        let done = rotate(&mut cluster.nodes[at]);
        assert_eq!(done["config_version"], before + 1);
        let second = saved(&cluster.nodes[at], "second");
        let done = rotate(&mut cluster.nodes[at]);
        assert_eq!(done["config_version"], before + 2);
        known_everywhere(&cluster, at);
        for other in (0..3).filter(|n| *n != at) {
            dead(&cluster.nodes[other], &first);
            dead(&cluster.nodes[other], &second);
        }
        assert!(!cluster.nodes[at].dir.join("keys/next").exists());
        let keys = loaded(&cluster.nodes[at].dir.join("keys"));
        assert_eq!(keys.fingerprint().to_string(), cluster.nodes[at].fingerprint);
    }
    // Everything goes on, through each of them; and after a restart too.
    for at in 0..3 {
        cluster.nodes[at].ok(&["check", "add", "tcp", &format!("c{at}"), "127.0.0.1:1"]);
    }
    cluster.nodes[follower].end();
    cluster.nodes[follower].start();
    cluster.whole();
    let late = Node::made(cluster.home.path(), "late", super::support::SECRET);
    cluster.nodes.push(late);
    cluster.nodes[3].start();
    cluster.nodes[3].sees("it is alone", |v| !v["master"].is_null());
    let (address, print) = (cluster.nodes[3].address(), cluster.nodes[3].fingerprint.clone());
    cluster.nodes[follower].ok(&["node", "add", &address, "--fingerprint", &print]);
    cluster.whole();
}

#[test]
fn a_node_that_was_away_accepts_a_peer_whose_key_changed_meanwhile() {
    let mut cluster = Cluster::of("away", 3);
    let (stays, away) = (cluster.master(), cluster.follower());
    let third = 3 - stays - away;
    cluster.nodes[away].end();
    cluster.whole();
    rotate(&mut cluster.nodes[stays]);
    rotate(&mut cluster.nodes[stays]);
    known_everywhere(&cluster, stays);
    // The only one who could tell is the one whose key it does not know.
    cluster.nodes[third].end();
    cluster.nodes[away].start();
    known_everywhere(&cluster, stays);
    cluster.nodes[away].ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
    cluster.nodes[third].start();
    cluster.whole();
}

/// Keys that follow those of a node, as an announcement that was not finished leaves them.
fn announced(node: &Node, cluster: &str) -> Fingerprint {
    let dir = node.dir.join("keys");
    let (current, made) = (loaded(&dir), keys::make(KeyKind::EcdsaP256).expect("keys"));
    let new = Keys::from_made(&made).expect("keys");
    let (cluster, id): (ClusterId, NodeId) =
        (cluster.parse().expect("an id"), node.id.parse().expect("an id"));
    let letter = Succession::agreed(cluster, id, 1, &current, &new).expect("signed").letter;
    turnover::prepare(&dir, &current, &made, &letter).expect("written").fingerprint()
}

#[test]
fn a_node_that_died_between_two_keys_starts_and_finishes() {
    let mut cluster = Cluster::of("between", 2);
    let at = cluster.follower();
    let id = cluster.nodes[at].view().expect("it answers")["cluster"].as_str().expect("an id").to_owned();
    // Before the announcement was committed: both keys are there, and the same command goes on.
    cluster.nodes[at].kill();
    let next = announced(&cluster.nodes[at], &id).to_string();
    cluster.nodes[at].start();
    cluster.whole();
    let old = saved(&cluster.nodes[at], "old");
    let said = cluster.nodes[at].ok(&["node", "rotate-key"]);
    assert!(said.contains("finished") && said.contains(&next), "{said}");
    cluster.nodes[at].fingerprint = next;
    known_everywhere(&cluster, at);
    // After the commit and before the files followed.
    cluster.nodes[at].kill();
    let dir = cluster.nodes[at].dir.join("keys");
    fs::remove_dir_all(&dir).expect("removed");
    fs::rename(&old, &dir).expect("renamed");
    assert!(dir.join("next").exists());
    cluster.nodes[at].start();
    known_everywhere(&cluster, at);
    until("the files have followed", || (!dir.join("next").exists()).then_some(()));
    assert_eq!(loaded(&dir).fingerprint().to_string(), cluster.nodes[at].fingerprint);
    rotate(&mut cluster.nodes[at]);
    known_everywhere(&cluster, at);
}

#[test]
fn a_rotation_that_cannot_be_is_refused_and_leaves_nothing() {
    let mut cluster = Cluster::of("refused-key", 2);
    let (one, other) = (cluster.master(), cluster.follower());
    let wrong = cluster.nodes[one].refused(&["node", "rotate-key", "--key-type", "dsa"], 2);
    assert!(wrong.contains("rsa3072"), "{wrong}");
    let old = saved(&cluster.nodes[other], "old");
    rotate(&mut cluster.nodes[other]);
    known_everywhere(&cluster, other);
    // An old backup of the keys: the cluster knows another one.
    cluster.nodes[other].end();
    cluster.nodes[one].sees("it is alone", |v| v["quorum"]["ok"] == false);
    let said = cluster.nodes[one].refused(&["node", "rotate-key"], 3);
    assert!(said.contains("no quorum") && said.contains("(1 of 2 peers live, need 2)"), "{said}");
    assert!(!cluster.nodes[one].dir.join("keys/next").exists());
    let dir = cluster.nodes[other].dir.join("keys");
    fs::remove_dir_all(&dir).expect("removed");
    fs::rename(&old, &dir).expect("renamed");
    cluster.nodes[other].start();
    let told = |v: &Value| v["notes"].to_string().contains("refuse this node's key");
    let view = cluster.nodes[other].sees("it says what is wrong", told);
    assert!(view["notes"].to_string().contains("put its newest keys/ back"), "{view}");
}
