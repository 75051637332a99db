//! Who belongs to the cluster and how it is reached: removed, moved, refused.

use std::net::TcpStream;

use quptime::base::clock::Wall;
use quptime::base::frame;
use quptime::base::id::ClusterId;
use quptime::identity::{Fingerprint, keys};
use quptime::state::command::KINDS;
use quptime::transport::tls::{self, Expect, Tls};
use quptime::transport::{Hello, PeerMessage};
use serde_json::{Value, json};

use super::support::{Cluster, LIMIT, Node, free_port, until};

type Stream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn id(node: &Node) -> ClusterId {
    node.view().expect("it answers")["cluster"].as_str().expect("an id").parse().expect("an id")
}

/// The test in the place of `from`, which does not run, connected with `to` as its peer.
fn in_the_place_of(from: &Node, to: &Node) -> Stream {
    let socket = TcpStream::connect(("127.0.0.1", to.port)).expect("it listens");
    socket.set_read_timeout(Some(3 * LIMIT)).expect("a limit");
    let key: Fingerprint = to.fingerprint.parse().expect("a fingerprint");
    let keys = keys::load(&from.dir.join("keys")).expect("keys").0;
    let (connection, _) =
        Tls::new(&keys).and_then(|tls| tls.dial(Expect::Key(key), tls::PEERS)).expect("TLS");
    let rustls::Connection::Client(client) = connection else { panic!("a client") };
    let mut stream = rustls::StreamOwned::new(client, socket);
    let hello = Hello {
        cluster: id(to),
        version: "0".into(),
        kinds: KINDS.iter().map(|k| (*k).to_owned()).collect(),
        clock: Wall(0),
    };
    say(&mut stream, &serde_json::to_value(PeerMessage::Hello(hello)).expect("JSON"));
    let first = hear(&mut stream).expect("a hello");
    assert!(first.get("hello").is_some(), "{first}");
    stream
}

fn say(stream: &mut Stream, what: &Value) {
    frame::write(stream, what.to_string().as_bytes()).expect("sent");
}

fn hear(stream: &mut Stream) -> Option<Value> {
    let body = frame::read(stream, 1 << 24).ok()?;
    Some(serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn a_removed_peer_is_cut_off_by_every_node_and_nothing_of_it_counts() {
    let mut cluster = Cluster::of("cut-off", 3);
    let (master, gone) = (cluster.master(), cluster.follower());
    let third = 3 - master - gone;
    cluster.nodes[gone].end();
    let mut held: Vec<Stream> =
        [master, third].map(|at| in_the_place_of(&cluster.nodes[gone], &cluster.nodes[at])).into();
    let done: Value = serde_json::from_str(&cluster.nodes[third].ok(&[
        "trust",
        "remove",
        &cluster.nodes[gone].id,
        "--json",
    ]))
    .expect("JSON");
    assert!(done["config_version"].is_u64(), "{done}");
    // It is told, and its connections end, with nothing sent by it and nothing waited for.
    for stream in &mut held {
        let last = std::iter::from_fn(|| hear(stream)).last();
        assert_eq!(last, Some(json!({ "bye": "untrusted" })));
    }
    // What it says all the same is heard by nobody: it would have been a breach of the rules.
    for stream in &mut held {
        drop(frame::write(stream, b"nonsense"));
    }
    for at in [master, third] {
        let node = &cluster.nodes[at];
        node.sees("two peers", |v| v["peers"].as_array().map(Vec::len) == Some(2));
        until("the end of the link is in the log", || {
            node.log().contains("it was removed from the configuration").then_some(())
        });
        assert!(!node.log().contains("broke the rules"), "{}", node.log());
    }
    // It comes back, finds the door closed, and says what to do.
    cluster.nodes[gone].start();
    let told = |v: &Value| v["notes"].to_string().contains("qu node add");
    let view = cluster.nodes[gone].sees("it knows that it is out", told);
    assert!(view["notes"].to_string().contains("removed from the cluster"), "{view}");
    assert!(cluster.nodes[gone].log().contains("removed from the cluster"));
    assert!(view["master"].is_null());
    assert_ne!(cluster.nodes[gone].qu(&["node", "rotate-key"]).status, 0);
    assert!(!cluster.nodes[gone].dir.join("keys/next").exists());
    cluster.nodes[master].ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
}

/// A node has itself removed. The answer comes over a link that ends with it: one that is lost just
/// then leaves the outcome open, and says so.
#[track_caller]
fn removes_itself(node: &Node) {
    let ran = node.settled(&["node", "remove", &node.id]);
    assert!(ran.status == 0 || ran.err.contains("fate is open"), "{ran:?}");
}

#[test]
fn the_master_hands_over_before_it_is_removed_and_what_would_lose_the_quorum_is_refused() {
    let mut cluster = Cluster::of("remove-master", 3);
    let master = cluster.master();
    let (old, follower) = (cluster.nodes[master].id.clone(), cluster.follower());
    // Through the master itself: the answer comes although the role moves.
    removes_itself(&cluster.nodes[master]);
    let left: Vec<usize> = (0..3).filter(|at| *at != master).collect();
    for at in &left {
        cluster.nodes[*at].sees("another master of two peers", |v| {
            v["peers"].as_array().map(Vec::len) == Some(2)
                && v["master"].is_string()
                && v["master"] != old.as_str()
        });
    }
    cluster.nodes[master]
        .sees("it knows that it is out", |v| v["notes"].to_string().contains("removed from the cluster"));
    cluster.nodes[master].end();
    let gone = cluster.nodes.remove(master);
    cluster.whole();
    drop(gone);
    let follower = if follower > master { follower - 1 } else { follower };
    let stays = 1 - follower;
    // Of two nodes one may go, dead or alive, and not the last.
    removes_itself(&cluster.nodes[follower]);
    let stays = &cluster.nodes[stays];
    stays.sees("alone", |v| {
        v["peers"].as_array().map(Vec::len) == Some(1) && v["master"] == stays.id.as_str()
    });
    let said = stays.refused(&["node", "remove", &stays.id], 1);
    assert_eq!(
        said.trim(),
        "qu: the last peer cannot be removed: stop the daemon and delete its data instead"
    );
    let said = stays.refused(&["trust", "remove", &stays.id], 1);
    assert!(said.contains("not in its own trust store"), "{said}");
    let said = stays.refused(&["node", "remove", "ffff"], 1);
    assert!(said.contains("no node \"ffff\" (see qu node list)"), "{said}");
}

#[test]
fn a_removal_that_the_live_peers_could_not_carry_is_refused_with_the_count() {
    let mut cluster = Cluster::of("carry", 3);
    let (master, dead) = (cluster.master(), cluster.follower());
    let third = 3 - master - dead;
    cluster.nodes[dead].kill();
    let dead_id = cluster.nodes[dead].id.clone();
    let lives = |v: &Value| {
        let peers = v["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().any(|p| p["node_id"] == dead_id.as_str() && p["live"] == false)
    };
    cluster.nodes[master].sees("one is dead", lives);
    let said = cluster.nodes[master].refused(&["node", "remove", &cluster.nodes[third].id], 1);
    assert_eq!(
        said.trim(),
        "qu: without it 1 live peer would remain and 2 are needed: bring another peer back first"
    );
    cluster.nodes[master].ok(&["node", "remove", &dead_id]);
    cluster.nodes.remove(dead);
    cluster.whole();
}

fn peer(view: &Value, id: &str) -> Value {
    let peers = view["peers"].as_array().cloned().unwrap_or_default();
    peers.into_iter().find(|p| p["node_id"] == id).unwrap_or_default()
}

#[test]
fn a_node_that_moved_is_found_and_a_wrong_address_is_seen_and_mended() {
    let mut cluster = Cluster::of("moved", 3);
    let (master, moves) = (cluster.master(), cluster.follower());
    let id = cluster.nodes[moves].id.clone();
    let wrong = format!("127.0.0.1:{}", free_port());
    cluster.nodes[master].ok(&["node", "edit", &id, "--address", &wrong]);
    // It dials the others itself, so it is live; that it cannot be dialled is said.
    let view = cluster.nodes[master]
        .sees("the wrong address", |v| peer(v, &id)["trouble"].as_str().is_some_and(|t| t.contains(&wrong)));
    assert_eq!(peer(&view, &id)["advertise"], wrong.as_str());
    let listed = cluster.nodes[master].ok(&["node", "list"]);
    assert!(listed.contains(&format!("{id} cannot be dialled at {wrong}: ")), "{listed}");
    let own = cluster.nodes[moves].address();
    cluster.nodes[moves].sees("it says that it is reached elsewhere", |v| {
        let notes = v["notes"].to_string();
        notes.contains(&own) && notes.contains(&wrong) && notes.contains("qu node edit")
    });
    cluster.nodes[master].ok(&["node", "edit", &id, "--address", &own]);
    cluster.nodes[master]
        .sees("mended", |v| peer(v, &id)["trouble"].is_null() && peer(v, &id)["live"] == true);
    cluster.nodes[moves].sees("nothing more to say", |v| !v["notes"].to_string().contains("qu node edit"));
    // Another port in earnest: first the configuration, then the node.
    cluster.nodes[moves].end();
    cluster.nodes[moves].move_to(free_port());
    let new = cluster.nodes[moves].address();
    cluster.nodes[master].ok(&["node", "edit", &id, "--address", &new]);
    cluster.nodes[moves].start();
    cluster.whole();
    cluster.nodes[master]
        .sees("reached", |v| peer(v, &id)["trouble"].is_null() && peer(v, &id)["live"] == true);
    // Two nodes at one address would be one counted twice.
    let taken = cluster.nodes[master].address();
    let said = cluster.nodes[master].refused(&["node", "edit", &id, "--address", &taken], 1);
    assert!(said.contains("belongs to peer"), "{said}");
}
