//! A peer that has gone bad: a real node is stopped, and somebody with its keys takes its place.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use quptime::base::clock::Wall;
use quptime::base::frame;
use quptime::base::id::{ClusterId, NodeId, RequestId};
use quptime::config::{Cluster as Config, Peer, yaml};
use quptime::identity::keys::{self, Keys};
use quptime::quorum::message::{Incarnation, LogEnd, Message, Outcome as Appended};
use quptime::transport::message::decode;
use quptime::transport::{Bye, Hello, PeerMessage, tls};
use quptime::verdict::{Outcome, Report, Stage, definition};
use serde_json::{Value, json};

use super::client::{Raw, address, framed, fresh_keys, tls_over};
use super::siege::{LIMIT, Siege, calm, place, whole};
use super::support::{Cluster, Node, Target, within};

/// Somebody with the keys of a node.
struct Actor {
    id: NodeId,
    keys: Keys,
    cluster: ClusterId,
}

impl Actor {
    /// In the place of this node, which is stopped.
    fn of(node: &Node) -> Actor {
        let keys = keys::load(&node.dir.join("keys")).expect("keys").0;
        Actor { id: node.id.parse().expect("an id"), keys, cluster: config(node).id }
    }

    /// What it says of itself.
    fn hello(&self) -> Value {
        let hello = Hello { cluster: self.cluster, version: "9".into(), kinds: Vec::new(), clock: Wall(0) };
        serde_json::to_value(PeerMessage::Hello(hello)).expect("JSON")
    }

    /// A connection that said hello and was heard; while the node is angry with it, it waits.
    fn enter(&self, node: &Node) -> Raw {
        self.enter_saying(node, &self.hello())
    }

    fn enter_saying(&self, node: &Node, hello: &Value) -> Raw {
        within(LIMIT, "it is let in", || {
            let socket = TcpStream::connect(address(node)).ok()?;
            let mut raw = tls_over(socket, &self.keys, node, tls::PEERS);
            say(&mut raw, hello);
            let first = decode(&frame::read(&mut raw, frame::LARGEST).ok()?).ok()?;
            matches!(first, PeerMessage::Hello(_)).then_some(raw)
        })
    }
}

fn config(node: &Node) -> Config {
    let text = std::fs::read_to_string(node.cluster_yaml()).expect("a file");
    yaml::from_yaml("cluster.yaml", &text, &mut || unreachable!("every item has its id"))
        .expect("a configuration")
}

/// Says something; the other side may have closed.
fn say(raw: &mut Raw, message: &Value) {
    send(raw, &framed(message.to_string().as_bytes()));
}

fn send(raw: &mut Raw, bytes: &[u8]) {
    drop(raw.write_all(bytes).and_then(|()| raw.flush()));
}

fn core(message: Message) -> Value {
    serde_json::to_value(PeerMessage::Quorum(message)).expect("JSON")
}

/// What the node called it before it closed.
fn called(raw: &mut Raw) -> Option<String> {
    let mut called = None;
    let start = Instant::now();
    while let Ok(body) = frame::read(raw, frame::LARGEST) {
        // Who is not closed hears heartbeats for ever.
        assert!(start.elapsed() < LIMIT, "it was not closed");
        if let Ok(PeerMessage::Bye(Bye::Misbehaved { what })) = decode(&body) {
            called = Some(what);
        }
    }
    called
}

/// The first message that fits.
fn heard(raw: &mut Raw, fits: impl Fn(&PeerMessage) -> bool) -> (Vec<u8>, PeerMessage) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "no such message came");
        let body = frame::read(raw, frame::LARGEST).expect("a message");
        let message = decode(&body).expect("a message");
        if fits(&message) {
            return (body, message);
        }
    }
}

/// What a heartbeat looks like.
fn beat(term: u64) -> Value {
    core(Message::Beat {
        term,
        master: None,
        life: Incarnation(1),
        hears: BTreeSet::new(),
        end: LogEnd::default(),
        blank: None,
    })
}

/// What is sent after the hello, and what it is called.
type Case = (&'static str, Box<dyn Fn(&mut Raw)>, &'static str);

/// One misbehaviour each.
fn nonsense(another: &str) -> Vec<Case> {
    let bytes = |bytes: Vec<u8>| -> Box<dyn Fn(&mut Raw)> { Box::new(move |raw| send(raw, &bytes)) };
    let json = |value: Value| bytes(framed(value.to_string().as_bytes()));
    let mut from_another = beat(1);
    from_another["quorum"]["beat"]["from"] = another.into();
    let report = json!({"check": RequestId::from_random(1), "boot": 1, "round": 1, "of": 1, "took_ms": 1,
        "outcome": "ok", "node": another});
    let far = Message::Vote { term: u64::MAX, end: LogEnd::default(), transfer: true };
    let crowd: BTreeSet<NodeId> = (0..2000).map(|n| NodeId::from_random(n << 90)).collect();
    let mut crowded = beat(1);
    crowded["quorum"]["beat"]["hears"] = json!(crowd);
    let large = json!({"ask": {"request": RequestId::from_random(1), "what": vec![0; 100_000]}});
    vec![
        ("a length of 0", bytes(vec![0; 4]), "0 bytes"),
        ("a length of 0xffffffff", bytes(vec![0xff; 4]), "4294967295 bytes"),
        ("garbage", bytes(framed(b"\x00\xff\x1b]0;garbage\x07")), "no message"),
        ("nesting", bytes(framed(format!(r#"{{"ask":{}"#, "[".repeat(50_000)).as_bytes())), "no message"),
        ("a core's message in another's name", json(from_another), "unknown field `from`"),
        ("a report in another's name", json(json!({"reports": [report]})), "unknown field `node`"),
        ("a term that no cluster reaches", json(core(far)), "term"),
        ("a crowd", json(crowded), "peers"),
        ("a large question", json(large), "one of its kind"),
        (
            "the same record of TLS twice",
            Box::new(|raw| {
                let mut record = Vec::new();
                drop(raw.conn.writer().write(&framed(beat(1).to_string().as_bytes())));
                while raw.conn.wants_write() {
                    raw.conn.write_tls(&mut record).expect("written");
                }
                drop(raw.sock.write_all(&[record.as_slice(), &record].concat()));
            }),
            "broke TLS",
        ),
    ]
}

/// A cluster, one follower of which is played by somebody else.
fn with_an_actor(name: &str, count: usize) -> (Cluster, usize, Actor) {
    let mut cluster = calm(name, count);
    let master = place(&cluster, &whole(&cluster));
    let played = (0..count).find(|at| *at != master).expect("a follower");
    cluster.nodes[played].end();
    let actor = Actor::of(&cluster.nodes[played]);
    (cluster, played, actor)
}

#[test]
fn a_trusted_peer_that_speaks_nonsense_is_cut_off_by_name_and_moves_nothing() {
    let (mut cluster, played, actor) = with_an_actor("nonsense", 4);
    let siege = Siege::lay(&cluster);
    let others: Vec<&Node> = cluster.nodes.iter().filter(|n| n.runs()).collect();
    for (n, (what, act, name)) in nonsense(&others[0].id).into_iter().enumerate() {
        // After each, a node does not let it in for some seconds: they take turns.
        let node = others[n % others.len()];
        let mut raw = actor.enter(node);
        let before = node.log().len();
        act(&mut raw);
        // Where TLS is broken there is no way to say so.
        let called = called(&mut raw);
        assert!(called.as_ref().map_or(name == "broke TLS", |c| c.contains(name)), "{what}: {called:?}");
        within(LIMIT, "it is in the log", || {
            let log = node.log().get(before..).unwrap_or_default().to_owned();
            log.lines().any(|l| l.contains("a peer broke the rules") && l.contains(name)).then_some(())
        });
        assert!(!node.log().contains('\x1b'), "what it said reached the log as it was");
    }
    siege.lift();
    cluster.nodes[played].start();
    whole(&cluster);
}

#[test]
fn a_trusted_peer_that_replays_truncates_and_claims_is_no_other_and_no_master() {
    let (mut cluster, played, actor) = with_an_actor("replay", 3);
    let siege = Siege::lay(&cluster);
    let master = place(&cluster, &siege.master);
    let follower = (0..3).find(|at| *at != master && *at != played).expect("the other follower");
    let (master, follower) = (&cluster.nodes[master], &cluster.nodes[follower]);
    // What the master says to it, it says to the other follower, as if it were the master.
    let mut ear = actor.enter(master);
    let (append, said) = heard(&mut ear, |m| matches!(m, PeerMessage::Quorum(Message::Append { .. })));
    let PeerMessage::Quorum(Message::Append { term, .. }) = said else { unreachable!("an append") };
    let mut raw = actor.enter(follower);
    send(&mut raw, &framed(&append));
    let claim = called(&mut raw);
    assert!(claim.as_ref().is_some_and(|c| c.contains("claims to be master")), "{claim:?}");
    // Old words of its own, many times over, and words that contradict each other.
    for _ in 0..200 {
        say(&mut ear, &beat(0));
        say(&mut ear, &beat(term));
        let (asked, life) = (term + 1, Incarnation(7));
        say(&mut ear, &core(Message::PreVoted { asked, term, granted: true, life, free: true }));
        say(&mut ear, &core(Message::Voted { term, granted: true, life, free: true }));
        say(&mut ear, &core(Message::TakeOver { term }));
    }
    // A confirmation of what was never sent.
    let outcome = Appended::Matched { matched: 1_000_000 };
    let life = Incarnation(7);
    say(&mut ear, &core(Message::Appended { term, round: 1, life, hold_ms: 86_400_000, outcome }));
    let claim = called(&mut ear);
    assert!(claim.as_ref().is_some_and(|c| c.contains("acknowledges entries")), "{claim:?}");
    // A message that is cut in the middle, by whoever sits on the line.
    let cut = framed(beat(term).to_string().as_bytes());
    for node in [master, follower] {
        let mut raw = actor.enter(node);
        send(&mut raw, &cut[..cut.len() / 2]);
        drop(raw);
    }
    siege.lift();
    cluster.nodes[played].start();
    whole(&cluster);
}

#[test]
fn a_trusted_peer_that_names_another_speaks_for_itself_and_has_one_vote() {
    let (mut cluster, played, actor) = with_an_actor("name", 3);
    let target = Target::start();
    let others: Vec<usize> = (0..3).filter(|at| *at != played).collect();
    let (one, two) = (&cluster.nodes[others[0]], &cluster.nodes[others[1]]);
    one.ok(&["check", "add", "tcp", "web", &target.addr.to_string(), "--interval", "1s"]);
    one.verdict("web", "up");
    let siege = Siege::lay(&cluster);
    let config = config(one);
    let check = config.checks.values().next().expect("a check");
    // It calls itself by the name of another; the key says who it is.
    let mut hello = actor.hello();
    hello["hello"]["node_id"] = two.id.as_str().into();
    let mut raw = actor.enter_saying(one, &hello);
    let detail = format!("\u{1b}[2Jgone\u{9b}31m\u{202e}\r\nBcc: all@example.com {}", "x".repeat(5000));
    for round in 1..=100 {
        let outcome = Outcome::Failed { stage: Stage::Connect, detail: detail.clone() };
        let report = Report { check: check.id, boot: 5, round, of: definition(check), took_ms: 1, outcome };
        let reports = serde_json::to_value(PeerMessage::Reports(vec![report; 3])).expect("JSON");
        say(&mut raw, &reports);
    }
    let id = actor.id.to_string();
    let shown = within(LIMIT, "its reports are there, under its own id", || {
        let view: Value = serde_json::from_str(&one.qu(&["status", "--check", "web", "--json"]).out).ok()?;
        let nodes = view["checks"][0]["nodes"].as_array()?.clone();
        let bad: Vec<&Value> = nodes.iter().filter(|n| n["ok"] == false).collect();
        (bad.len() == 1 && bad[0]["node"] == id.as_str() && nodes.len() == 3).then_some(view)
    });
    assert_eq!(shown["checks"][0]["state"], "up", "{shown}");
    for words in [&["status"][..], &["status", "--check", "web"], &["status", "--json"]] {
        let out = one.qu(words).out;
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!out.chars().any(steers), "{out:?}");
        assert!(out.contains("gone") || words.len() < 3, "{out}");
    }
    drop(raw);
    siege.lift();
    cluster.nodes[played].start();
    whole(&cluster);
}

#[test]
fn whom_a_peer_introduces_is_trusted_no_longer_than_that_peer() {
    let (cluster, played, actor) = with_an_actor("introduced", 3);
    let others: Vec<&Node> = cluster.nodes.iter().filter(|n| n.runs()).collect();
    let accomplice = Actor { id: NodeId::from_random(9 << 90), keys: fresh_keys(), cluster: actor.cluster };
    let peer = Peer {
        node_id: accomplice.id,
        advertise: "127.0.0.1:1".parse().expect("an address"),
        fingerprint: accomplice.keys.fingerprint(),
        cert_pem: accomplice.keys.cert_pem().to_owned(),
    };
    let crowd: Vec<Peer> =
        (0..100).map(|n| Peer { node_id: NodeId::from_random(n << 90), ..peer.clone() }).collect();
    let introduce = |peers: Vec<Peer>| {
        serde_json::to_value(PeerMessage::Peers { version: u64::MAX, peers }).expect("JSON")
    };
    let mut raw = actor.enter(others[0]);
    say(&mut raw, &introduce(crowd));
    let said = called(&mut raw);
    assert!(said.as_ref().is_some_and(|s| s.contains("100 peers")), "{said:?}");
    let held: Vec<Raw> = others
        .iter()
        .map(|node| {
            let mut raw = actor.enter(node);
            say(&mut raw, &introduce(vec![peer.clone()]));
            drop(accomplice.enter(node));
            raw
        })
        .collect();
    // It said that it understands no change: nobody can, but it cannot forbid its own end.
    let forbidden = others[0].refused(&["check", "add", "tcp", "web", "127.0.0.1:1"], 1);
    assert!(forbidden.contains("upgrade first"), "{forbidden}");
    others[0].ok(&["node", "remove", &cluster.nodes[played].id]);
    for node in &others {
        for who in [&actor, &accomplice] {
            within(LIMIT, "it is told that it is trusted no more", || {
                let socket = TcpStream::connect(address(node)).ok()?;
                let mut raw = tls_over(socket, &who.keys, node, tls::PEERS);
                say(&mut raw, &who.hello());
                let first = decode(&frame::read(&mut raw, frame::LARGEST).ok()?).ok()?;
                (first == PeerMessage::Bye(Bye::Untrusted)).then_some(())
            });
        }
    }
    drop(held);
    whole(&cluster);
}
