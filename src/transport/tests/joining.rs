use super::*;
use crate::base::units::HostPort;
use crate::config::Peer;
use crate::transport::asker::{Identified, JoinError, ask, identify};
use crate::transport::join::{Refused, Reply, Request};

const SECRET: &str = "a secret of the whole cluster";

struct Member {
    id: NodeId,
    tls: Tls,
    keys: Keys,
}

impl Member {
    fn new() -> Member {
        let keys = fresh_keys();
        Member { id: NodeId::from_random(1), tls: Tls::new(&keys).unwrap(), keys }
    }

    fn offer(&self) -> Offer {
        let peer = Peer {
            node_id: self.id,
            advertise: "127.0.0.1:9901".parse().unwrap(),
            fingerprint: self.keys.fingerprint(),
            cert_pem: self.keys.cert_pem().to_owned(),
        };
        Offer { cluster: cluster(), config_version: 3, adder: self.id, peers: vec![peer] }
    }

    fn ask(&self, node: &Node, secret: &str) -> Result<Identified, JoinError> {
        self.ask_at(&node.at.into(), node.keys.fingerprint(), secret)
    }

    fn ask_at(
        &self,
        at: &HostPort,
        key: crate::identity::Fingerprint,
        secret: &str,
    ) -> Result<Identified, JoinError> {
        ask(&self.tls, clock().as_ref(), at, key, &Secret::new(secret), self.offer())
    }
}

fn new_node() -> Node {
    let mut make = Make::new();
    make.secret = Some(Secret::new(SECRET));
    make.start(&[])
}

#[test]
fn a_node_is_identified_then_proves_the_secret_and_takes_the_offer_as_often_as_it_comes() {
    let (member, node) = (Member::new(), new_node());
    let found = identify(&member.tls, clock().as_ref(), &node.at.into()).unwrap();
    assert_eq!((found.fingerprint, found.introduction.node_id), (node.keys.fingerprint(), node.id));
    assert_eq!(found.cert_pem, node.keys.cert_pem().replace("\r\n", "\n"));
    assert!(node.desk.offers.lock().unwrap().is_empty(), "identifying changes nothing");
    // Twice in a row without a pause: an addition can be repeated.
    for _ in 0..2 {
        assert_eq!(member.ask(&node, SECRET).unwrap(), found);
    }
    assert_eq!(*node.desk.offers.lock().unwrap(), [member.offer(), member.offer()]);
    let counts = |gate: GateStats| (gate.joins, gate.joins_failed);
    until("counted", || (counts(node.links.gate()) == (2, 0)).then_some(()));
}

#[test]
fn a_wrong_secret_gets_nothing_and_the_next_attempt_has_to_wait() {
    let (member, node) = (Member::new(), new_node());
    let error = member.ask(&node, "another secret").unwrap_err();
    assert!(matches!(error, JoinError::Refused(_, Refused::WrongSecret)), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(!error.to_string().contains("another secret"));
    // Even the right one, for a second; then it works.
    let error = member.ask(&node, SECRET).unwrap_err();
    assert!(matches!(error, JoinError::Refused(_, Refused::Slow { seconds: 1 })), "{error:?}");
    until("the pause is over", || member.ask(&node, SECRET).ok());
    assert_eq!(node.desk.offers.lock().unwrap().len(), 1);
}

#[test]
fn a_node_without_a_secret_and_an_unwilling_one_say_what_to_do() {
    let member = Member::new();
    for secret in [None, Some(Secret::new("  "))] {
        let mut make = Make::new();
        make.secret = secret;
        let node = make.start(&[]);
        let error = member.ask(&node, "").unwrap_err();
        assert!(matches!(error, JoinError::Refused(_, Refused::NoSecret)), "{error:?}");
    }
    let node = new_node();
    *node.desk.answer.lock().unwrap() = Err("it has checks of its own: qu check remove\u{1b}[31m".into());
    let error = member.ask(&node, SECRET).unwrap_err().to_string();
    assert!(error.contains("checks of its own") && !error.contains('\u{1b}'), "{error}");
    assert_eq!(node.links.gate().joins, 0);
}

#[test]
fn a_key_that_was_not_confirmed_is_told_nothing() {
    let (member, node) = (Member::new(), new_node());
    let other = fresh_keys().fingerprint();
    let error = member.ask_at(&node.at.into(), other, SECRET).unwrap_err();
    assert!(
        matches!(&error, JoinError::WrongKey { confirmed, shown, .. }
            if *confirmed == other && *shown == node.keys.fingerprint()),
        "{error:?}"
    );
    assert!(node.desk.offers.lock().unwrap().is_empty());
}

#[test]
fn who_is_not_there_is_no_node_or_is_oneself_is_told_apart() {
    let member = Member::new();
    let find = |at: SocketAddr| identify(&member.tls, clock().as_ref(), &at.into()).unwrap_err();
    assert!(matches!(find(nowhere()), JoinError::Unreachable(..)));
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = deaf.local_addr().unwrap();
    let closer = std::thread::spawn(move || drop(deaf.accept()));
    assert!(matches!(find(at), JoinError::NoAnswer(..)));
    closer.join().unwrap();
    let mut make = Make::new();
    make.keys = member.keys.clone();
    let myself = make.start(&[]);
    assert!(matches!(find(myself.at), JoinError::Myself(_)));
}

#[test]
fn an_adder_who_is_not_the_connections_key_and_requests_out_of_order_are_refused() {
    let node = new_node();
    let member = Member::new();
    let mut lies = member.offer();
    lies.peers[0].fingerprint = fresh_keys().fingerprint();
    lies.peers[0].cert_pem.clear();
    let error = ask(
        &member.tls,
        clock().as_ref(),
        &node.at.into(),
        node.keys.fingerprint(),
        &Secret::new(SECRET),
        lies,
    );
    assert!(matches!(error, Err(JoinError::Refused(_, Refused::Nonsense(_)))), "{error:?}");
    for bad in [
        serde_json::to_vec(&Request::Offer(Box::new(member.offer()))).unwrap(),
        b"{\"identify\":1}".to_vec(),
        b"\xff".to_vec(),
        vec![b'['; 60_000],
    ] {
        let mut raw = raw(&member.keys, &node, tls::JOIN);
        crate::base::frame::write(&mut raw, &bad).unwrap();
        let body = crate::base::frame::read(&mut raw, 1 << 16).unwrap();
        let reply: Reply = serde_json::from_slice(&body).unwrap();
        assert!(matches!(reply, Reply::Refused(Refused::Nonsense(_))), "{reply:?}");
    }
    assert!(node.desk.offers.lock().unwrap().is_empty());
}

#[test]
fn a_large_cluster_is_offered_without_certificates_and_fits() {
    let (mut member, node) = (Member::new(), new_node());
    let mut offer = member.offer();
    for n in 2..60 {
        let mut more = offer.peers[0].clone();
        more.node_id = NodeId::from_random(n << 100);
        more.fingerprint.0[0] ^= u8::try_from(n).unwrap();
        more.cert_pem = "x".repeat(1500);
        offer.peers.push(more);
    }
    member.id = offer.adder;
    let secret = Secret::new(SECRET);
    ask(&member.tls, clock().as_ref(), &node.at.into(), node.keys.fingerprint(), &secret, offer).unwrap();
    let offers = node.desk.offers.lock().unwrap();
    assert_eq!(offers[0].peers.len(), 59);
    assert!(offers[0].peers.iter().all(|p| p.cert_pem.is_empty()));
}

/// Sits between a member and a node, with keys of its own at both sides, and passes on every
/// request and reply.
fn man_in_the_middle(keys: &Keys, node: &Node) -> (SocketAddr, std::thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let tls = Tls::new(keys).unwrap();
    let mut to_node = raw(keys, node, tls::JOIN);
    let relay = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let server = rustls::ServerConnection::new(tls.server()).unwrap();
        let mut from_member = StreamOwned::new(server, socket);
        let mut seen = Vec::new();
        while let Ok(request) = crate::base::frame::read(&mut from_member, 1 << 16) {
            seen.push(request.clone());
            crate::base::frame::write(&mut to_node, &request).unwrap();
            let Ok(reply) = crate::base::frame::read(&mut to_node, 1 << 16) else { break };
            seen.push(reply.clone());
            crate::base::frame::write(&mut from_member, &reply).unwrap();
        }
        seen
    });
    (at, relay)
}

#[test]
fn a_man_in_the_middle_who_was_confirmed_by_mistake_gets_no_further_and_learns_no_secret() {
    let (member, node, middle) = (Member::new(), new_node(), fresh_keys());
    let (at, relay) = man_in_the_middle(&middle, &node);
    let error = member.ask_at(&at.into(), middle.fingerprint(), SECRET).unwrap_err();
    assert!(matches!(error, JoinError::Refused(_, Refused::WrongSecret)), "{error:?}");
    let seen = relay.join().unwrap();
    assert_eq!(seen.len(), 2, "one proof that is of no use, one refusal");
    let overheard = String::from_utf8_lossy(&seen.concat()).into_owned();
    for part in [SECRET, &cluster().to_string(), "127.0.0.1"] {
        assert!(!overheard.contains(part), "{overheard}");
    }
    assert!(node.desk.offers.lock().unwrap().is_empty());
}

#[test]
fn a_false_node_that_sends_the_proof_back_or_makes_one_up_is_offered_nothing() {
    for reflect in [true, false] {
        let (member, false_keys) = (Member::new(), fresh_keys());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let tls = Tls::new(&false_keys).unwrap();
        let server = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let server = rustls::ServerConnection::new(tls.server()).unwrap();
            let mut stream = StreamOwned::new(server, socket);
            let request = crate::base::frame::read(&mut stream, 1 << 16).unwrap();
            let Ok(Request::Proof { proof }) = serde_json::from_slice(&request) else {
                panic!("a proof comes first")
            };
            let proof = if reflect { proof } else { "0".repeat(64) };
            let reply = serde_json::to_vec(&Reply::Proof { proof }).unwrap();
            crate::base::frame::write(&mut stream, &reply).unwrap();
            crate::base::frame::read(&mut stream, 1 << 16).is_err()
        });
        let error = member.ask_at(&at.into(), false_keys.fingerprint(), SECRET).unwrap_err();
        assert!(matches!(error, JoinError::Impostor(_)), "{error:?}");
        assert!(server.join().unwrap(), "nothing came after the proof");
    }
}
