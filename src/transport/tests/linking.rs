use super::*;

#[test]
fn two_nodes_dial_each_other_and_messages_go_both_ways_under_the_proved_name() {
    let (a, b) = two();
    assert_eq!(a.links.send(b.id, text(1)), Sent::Queued);
    assert_eq!(b.wait_message(a.id), text(1));
    assert_eq!(b.links.send(a.id, text(2)), Sent::Queued);
    assert_eq!(a.wait_message(b.id), text(2));
    let both = |n: &Node, o: &Node| {
        let s = n.stats(o.id)?;
        (s.dialled.is_some() && s.accepted.is_some()).then_some(s)
    };
    let stats = until("both connections", || both(&a, &b));
    assert!(stats.round_trip.is_some() && stats.bytes_in > 0 && stats.bytes_out > 0);
    assert_eq!(stats.hello.map(|h| h.version), Some("0.1.0".into()));
    until("counts", || a.stats(b.id).filter(|s| (s.sent, s.received, s.connections) == (1, 1, 1)));
    until("no strangers left", || (a.links.gate().strangers == 0).then_some(()));
}

#[test]
fn a_connection_is_tls_13_with_post_quantum_key_exchange_and_without_tickets() {
    let a = Make::new();
    let (keys, peer) = (fresh_keys(), NodeId::from_random(5));
    let a = a.start(&[known(peer, &keys, nowhere())]);
    let mut raw = raw(&keys, &a, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    a.wait_up(peer);
    assert!(crate::base::frame::read(&mut raw, 1 << 20).is_ok());
    assert_eq!(raw.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = raw.conn.negotiated_key_exchange_group().map(|g| g.name());
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
    assert_eq!(raw.conn.tls13_tickets_received(), 0);
}

#[test]
fn nodes_with_either_kind_of_key_understand_each_other() {
    let (mut a, b) = (Make::new(), Make::new());
    a.keys = Keys::from_made(&keys::make(KeyKind::Rsa3072).unwrap()).unwrap();
    let (ka, kb) = (a.known(), b.known());
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    until("dialled both ways", || {
        (a.stats(b.id)?.dialled.is_some() && b.stats(a.id)?.dialled.is_some()).then_some(())
    });
}

#[test]
fn a_link_that_can_be_dialled_from_one_side_only_carries_both_directions() {
    let (a, b) = (Make::new(), Make::new());
    let (mut ka, kb) = (a.known(), b.known());
    ka.address = nowhere().into();
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    a.wait_up(b.id);
    b.wait_up(a.id);
    assert_eq!(b.links.send(a.id, text(7)), Sent::Queued);
    assert_eq!(a.wait_message(b.id), text(7));
    assert_eq!(a.links.send(b.id, text(8)), Sent::Queued);
    assert_eq!(b.wait_message(a.id), text(8));
    b.wait_trouble(a.id, "connection refused");
    let stats = b.stats(a.id).unwrap();
    assert!(stats.dialled.is_none() && stats.accepted.is_some());
}

#[test]
fn links_work_over_ipv6_and_by_name() {
    let v6 = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    if TcpListener::bind((v6, 0)).is_err() {
        return;
    }
    let (a, b) = (Make::at(v6, 0), Make::new());
    let (ka, mut kb) = (a.known(), b.known());
    kb.address = format!("localhost:{}", b.listener.local_addr().unwrap().port()).parse().unwrap();
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    a.wait_up(b.id);
    until("dialled both ways", || {
        (a.stats(b.id)?.dialled.is_some() && b.stats(a.id)?.dialled.is_some()).then_some(())
    });
}

#[test]
fn a_removed_peer_is_cut_off_at_once_and_stays_out() {
    let (a, b) = two();
    a.trust(cluster(), &[]);
    assert_eq!(a.links.send(b.id, text(1)), Sent::NoPeer);
    assert_eq!(a.wait_down(b.id), Why::Removed);
    assert_eq!(b.wait_down(a.id), Why::Said(Bye::Untrusted));
    b.wait_trouble(a.id, "not in its trust store");
    until("refused once more", || (a.links.gate().untrusted >= 2).then_some(()));
    assert!(a.links.stats().is_empty());
    assert_eq!(b.links.send(a.id, text(1)), Sent::NoLink);
    // And is let in again when the operator says so.
    a.trust(cluster(), &[b.known()]);
    b.wait_up(a.id);
}

#[test]
fn what_was_said_to_a_peer_before_its_removal_arrives_before_the_good_bye() {
    let (a, b) = two();
    for n in 0..20 {
        assert_eq!(a.links.send(b.id, text(n)), Sent::Queued);
    }
    a.trust(cluster(), &[]);
    for n in 0..20 {
        assert_eq!(b.wait_message(a.id), text(n));
    }
    assert_eq!(b.wait_down(a.id), Why::Said(Bye::Untrusted));
}

#[test]
fn another_key_at_a_peers_address_is_told_nothing_and_named() {
    let (a, b) = (Make::new(), Make::new());
    let mut kb = b.known();
    let real = b.keys.fingerprint();
    kb.fingerprint = fresh_keys().fingerprint();
    kb.cert_pem.clear();
    let ka = a.known();
    let (id_b, expected) = (b.id, kb.fingerprint);
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    a.wait_trouble(id_b, &format!("shows the key {real}, not {expected}"));
    // The other direction: its key is not the one that is trusted.
    b.wait_trouble(a.id, "not in its trust store");
    assert!(a.events.is_empty() && b.events.is_empty());
}

#[test]
fn an_address_that_leads_back_to_the_node_itself_is_named() {
    let a = Make::new();
    let other = NodeId::from_random(77);
    let mut wrong = known(other, &fresh_keys(), a.listener.local_addr().unwrap());
    wrong.cert_pem.clear();
    let a = a.start(&[wrong]);
    a.wait_trouble(other, "this node itself");
}

#[test]
fn a_node_of_another_cluster_is_refused_by_name_on_both_sides() {
    let (a, mut b) = (Make::new(), Make::new());
    b.cluster = ClusterId::from_random(99);
    let theirs = b.cluster;
    let (ka, kb) = (a.known(), b.known());
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    a.wait_trouble(b.id, &format!("of another cluster ({theirs})"));
    b.wait_trouble(a.id, &format!("of another cluster ({})", cluster()));
    assert!(a.events.is_empty() && b.events.is_empty());
    // When it takes over the cluster's id, the link comes up.
    b.trust(cluster(), &[a.known()]);
    b.wait_up(a.id);
    a.wait_up(b.id);
}

#[test]
fn a_node_that_comes_back_is_found_again_at_its_old_or_its_new_address() {
    let (a, b) = two();
    let Node { id, keys, at, links, .. } = b;
    links.stop();
    assert_eq!(a.wait_down(id), Why::Said(Bye::Stopping));
    assert_eq!(a.links.send(id, text(1)), Sent::NoLink);
    let again = |port| Make { id, keys: keys.clone(), ..Make::at(at.ip(), port) };
    let b = again(at.port()).start(&[a.known()]);
    a.wait_up(id);
    assert_eq!(a.links.send(id, text(2)), Sent::Queued);
    assert_eq!(b.wait_message(a.id), text(2));
    drop(b);
    a.wait_down(id);
    // At a new port it is found when the configuration says so, though it cannot dial itself.
    let mut blind = a.known();
    blind.address = nowhere().into();
    let b = again(0).start(&[blind]);
    a.trust(cluster(), &[b.known()]);
    a.wait_up(id);
    b.wait_up(a.id);
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older_one() {
    let a = Make::new();
    let keys = fresh_keys();
    let peer = NodeId::from_random(5);
    let a = a.start(&[known(peer, &keys, nowhere())]);
    let mut first = raw(&keys, &a, tls::PEERS);
    send(&mut first, &hello(cluster()));
    let one = a.wait_up(peer);
    let mut second = raw(&keys, &a, tls::PEERS);
    send(&mut second, &hello(cluster()));
    send(&mut second, &text(2));
    assert_eq!(a.wait_message(peer), text(2));
    // The older one is closed; what it says is not heard.
    until("the older one closed", || crate::base::frame::read(&mut first, 1 << 20).is_err().then_some(()));
    drop(send_try(&mut first, &text(1)));
    send(&mut second, &text(3));
    assert_eq!(a.wait_message(peer), text(3));
    assert_eq!(a.stats(peer).unwrap().connections, 1, "the link was up all the time");
    drop(second);
    assert!(matches!(a.wait_down(peer), Why::Closed | Why::Lost(_)));
    let mut third = raw(&keys, &a, tls::PEERS);
    send(&mut third, &hello(cluster()));
    assert!(a.wait_up(peer) > one + 1);
}

#[test]
fn a_daemon_that_does_not_listen_holds_its_peers_back_and_misses_nothing() {
    let (mut a, b) = (Make::new(), Make::new());
    a.room = 2;
    let (ka, kb) = (a.known(), b.known());
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    b.wait_up(a.id);
    // From here on one connection is the way out: nothing overtakes.
    until("dialled", || b.stats(a.id)?.dialled);
    let mut queued = 0;
    let big = |n: u64| PeerMessage::Ask {
        request: crate::base::id::RequestId::from_random(u128::from(n)),
        what: serde_json::Value::String("x".repeat(20_000)),
    };
    // Faster than any socket takes them: the queue must fill.
    let full = loop {
        match b.links.send(a.id, big(queued)) {
            Sent::Queued => queued += 1,
            other => break other,
        }
    };
    assert_eq!(full, Sent::Full);
    assert!(queued >= QUEUE as u64);
    assert_eq!(b.stats(a.id).unwrap().dropped, 1);
    // Nothing is lost that was queued, nothing comes twice, all in order.
    for n in 0..queued {
        let got = a.wait_message(b.id);
        assert!(got == big(n), "number {n}: {:.80}", format!("{got:?}"));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_holds_up_nobody() {
    let (a, good) = (Make::new(), Make::new());
    let (keys, bad) = (fresh_keys(), NodeId::from_random(5));
    let (ka, kg) = (a.known(), good.known());
    let (a, good) = (a.start(&[kg, known(bad, &keys, nowhere())]), good.start(&[ka]));
    a.wait_up(good.id);
    let mut raw = raw(&keys, &a, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    a.wait_up(bad);
    // From here on it reads nothing. What the kernel holds for it is full at some time.
    let large = large(500_000);
    let mut round = 0;
    let why = until("given up", || {
        while a.links.send(bad, large.clone()) == Sent::Queued {}
        round += 1;
        a.links.send(good.id, text(round));
        assert_eq!(good.wait_message(a.id), text(round));
        a.events.try_iter().find_map(|event| match event {
            Event::Down { peer, why } if peer == bad => Some(why),
            _ => None,
        })
    });
    assert!(matches!(why, Why::Stalled | Why::Lost(_)), "{why:?}");
    // Had the good one waited for the bad one, there would have been one round.
    assert!(round > 3, "{round}");
    let stats = a.stats(bad).unwrap();
    assert!(stats.dropped > 0 && stats.unsent > 0, "{stats:?}");
}

#[test]
fn a_message_larger_than_the_other_side_takes_is_not_sent_and_harms_nothing() {
    let (a, b) = two();
    let what = serde_json::Value::String("x".repeat(message::LARGEST_SMALL));
    let request = crate::base::id::RequestId::from_random(1);
    assert_eq!(a.links.send(b.id, PeerMessage::Ask { request, what }), Sent::Queued);
    assert_eq!(a.links.send(b.id, large(frame::LARGEST)), Sent::Queued);
    assert_eq!(a.links.send(b.id, text(1)), Sent::Queued);
    assert_eq!(b.wait_message(a.id), text(1));
}

/// A message of one of the kinds that may be large.
pub(super) fn large(bytes: usize) -> PeerMessage {
    PeerMessage::Quorum(crate::quorum::message::Message::Piece {
        term: 1,
        round: 1,
        end: Default::default(),
        membership: Default::default(),
        offset: 0,
        total: bytes as u64,
        data: "x".repeat(bytes),
        settled: true,
    })
}

pub(super) fn send(raw: &mut Raw, message: &PeerMessage) {
    send_try(raw, message).unwrap();
}

fn send_try(raw: &mut Raw, message: &PeerMessage) -> std::io::Result<()> {
    crate::base::frame::write(raw, &serde_json::to_vec(message).unwrap())
}
