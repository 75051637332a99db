use super::linking::send;
use super::*;
use std::io::{Read, Write};

/// A node, and the keys of a peer of it that will not keep to the rules.
fn node_and_bad_peer() -> (Node, Keys, NodeId) {
    let keys = fresh_keys();
    let peer = NodeId::from_random(5);
    let node = Make::new().start(&[known(peer, &keys, nowhere())]);
    (node, keys, peer)
}

/// What the node says before it closes.
fn last_word(raw: &mut Raw) -> Option<PeerMessage> {
    let mut last = None;
    while let Ok(body) = frame::read(raw, frame::LARGEST) {
        last = Some(message::decode(&body).unwrap());
    }
    last
}

/// A name, what is sent, and what it should be called.
type Case = (&'static str, Vec<u8>, fn(&Misbehaviour) -> bool);

#[test]
fn a_trusted_peer_that_speaks_nonsense_is_disconnected_with_a_named_reason() {
    let hello_bytes = || framed(&serde_json::to_vec(&hello(cluster())).unwrap());
    let cases: Vec<Case> = vec![
        ("length 0", [hello_bytes(), vec![0; 4]].concat(), |m| {
            matches!(m, Misbehaviour::Length { announced: 0, .. })
        }),
        ("length 0xffffffff", [hello_bytes(), vec![0xff; 4]].concat(), |m| {
            matches!(m, Misbehaviour::Length { announced: u32::MAX, .. })
        }),
        ("garbage", [hello_bytes(), framed(b"\x00\xffgarbage")].concat(), |m| {
            matches!(m, Misbehaviour::NotAMessage(_))
        }),
        ("deep", [hello_bytes(), framed("[".repeat(10_000).as_bytes())].concat(), |m| {
            matches!(m, Misbehaviour::NotAMessage(_))
        }),
        ("no hello", framed(&serde_json::to_vec(&text(1)).unwrap()), |m| *m == Misbehaviour::NoHello),
        ("twice hello", [hello_bytes(), hello_bytes()].concat(), |m| *m == Misbehaviour::SecondHello),
    ];
    for (name, bytes, is_it) in cases {
        let (node, keys, peer) = node_and_bad_peer();
        let mut raw = raw(&keys, &node, tls::PEERS);
        raw.write_all(&bytes).unwrap();
        raw.flush().unwrap();
        let what = node.wait_misbehaved(peer);
        assert!(is_it(&what), "{name}: {what:?}");
        assert!(matches!(last_word(&mut raw), Some(PeerMessage::Bye(Bye::Misbehaved { .. }))), "{name}");
        let stats = until("counted", || node.stats(peer).filter(|s| s.misbehaviours == 1));
        assert_eq!(stats.last_misbehaviour.map(|(what, _)| what), Some(what), "{name}");
        assert!(stats.up_since.is_none());
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[test]
fn after_misbehaviour_the_peer_waits_and_the_layer_above_can_say_so_too() {
    let (node, keys, peer) = node_and_bad_peer();
    let mut first = raw(&keys, &node, tls::PEERS);
    send(&mut first, &hello(cluster()));
    node.wait_up(peer);
    node.links.misbehaved(peer, "claimed a vote of another");
    assert!(matches!(node.wait_down(peer), Why::Misbehaved(Misbehaviour::Rule(_))));
    let mut early = raw(&keys, &node, tls::PEERS);
    drop(early.write_all(&framed(&serde_json::to_vec(&hello(cluster())).unwrap())));
    assert!(matches!(last_word(&mut early), Some(PeerMessage::Bye(Bye::Misbehaved { .. }))));
    assert_eq!(node.stats(peer).unwrap().misbehaviours, 1);
    // After some seconds it may try again.
    until("let in again", || {
        let mut again = raw(&keys, &node, tls::PEERS);
        drop(again.write_all(&framed(&serde_json::to_vec(&hello(cluster())).unwrap())));
        let up = matches!(node.events.recv_timeout(Duration::from_millis(300)), Ok(Event::Up { .. }));
        up.then_some(())
    });
}

#[test]
fn broken_tls_after_the_handshake_is_a_misbehaviour() {
    let (node, keys, peer) = node_and_bad_peer();
    let mut raw = raw(&keys, &node, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    node.wait_up(peer);
    raw.sock.write_all(b"\x17\x03\x03\x00\x20this is not what was agreed on..").unwrap();
    assert!(matches!(node.wait_misbehaved(peer), Misbehaviour::Tls(_)));
}

#[test]
fn a_cut_inside_a_message_loses_that_message_and_nothing_else() {
    let (node, keys, peer) = node_and_bad_peer();
    let mut raw = raw(&keys, &node, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    node.wait_up(peer);
    // Closing with something unread would throw away what is on its way.
    assert!(frame::read(&mut raw, frame::LARGEST).is_ok());
    send(&mut raw, &text(1));
    raw.write_all(&[0, 0, 1, 0, b'{']).unwrap();
    raw.flush().unwrap();
    drop(raw);
    assert_eq!(node.wait_message(peer), text(1));
    assert!(matches!(node.wait_down(peer), Why::Closed | Why::Lost(_)));
    assert_eq!(node.stats(peer).unwrap().misbehaviours, 0);
}

#[test]
fn what_waits_for_a_daemon_that_does_not_listen_is_bounded_in_bytes() {
    let (node, keys, peer) = node_and_bad_peer();
    let mut raw = raw(&keys, &node, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    node.wait_up(peer);
    let (count, mebibyte) = (60, linking::large(1 << 20));
    let same = mebibyte.clone();
    let sender = std::thread::spawn(move || {
        for _ in 0..count {
            send(&mut raw, &same);
        }
        raw
    });
    until("as many wait as may", || (node.events.len() >= 30).then_some(()));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        assert!(node.events.len() < 40, "{} wait", node.events.len());
    }
    for _ in 0..count {
        assert_eq!(node.wait_message(peer), mebibyte);
    }
    drop(sender.join().unwrap());
}

#[test]
fn an_unknown_key_is_told_so_and_its_messages_are_not_even_parsed() {
    let (node, ..) = node_and_bad_peer();
    let stranger = fresh_keys();
    let mut raw = raw(&stranger, &node, tls::PEERS);
    // Were it parsed, it would be misbehaviour; it is not.
    drop(raw.write_all(&framed(b"garbage")));
    assert_eq!(last_word(&mut raw), Some(PeerMessage::Bye(Bye::Untrusted)));
    until("no place held", || (node.links.gate().strangers == 0).then_some(()));
    assert_eq!(node.links.gate().untrusted, 1);
    assert!(node.events.is_empty());
}

#[test]
fn a_client_without_certificate_or_with_an_older_tls_does_not_get_through_the_handshake() {
    let (node, ..) = node_and_bad_peer();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    // It trusts nobody, so it ends the handshake itself; an old version is refused by the node.
    for config in [config, {
        rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    }] {
        let failed = node.links.gate().failed;
        let client = ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap()).unwrap();
        let mut raw = StreamOwned::new(client, TcpStream::connect(node.at).unwrap());
        assert!(raw.write_all(b"x").and_then(|()| raw.flush()).is_err());
        drop(raw);
        until("counted", || (node.links.gate().failed > failed).then_some(()));
    }
}

/// Silent connections, from as many source addresses of loopback as are asked for.
fn idle(node: &Node, sources: u8, each: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for n in 0..sources {
        for _ in 0..each {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let from = SocketAddr::from(([127, 0, 1, n + 1], 0));
            socket.bind(&from.into()).unwrap();
            if socket.connect(&node.at.into()).is_ok() {
                held.push(socket.into());
            }
        }
    }
    held
}

#[test]
fn slow_strangers_fill_their_places_and_a_peer_still_gets_in_at_once() {
    let (node, keys, peer) = node_and_bad_peer();
    let mut held = idle(&node, 100, 6);
    for socket in &mut held {
        // The beginning of a greeting, and then nothing.
        drop(socket.write_all(&[0x16, 0x03, 0x01, 0x02]));
    }
    until("a full house", || (node.links.gate().strangers == admit::PLACES).then_some(()));
    let mut raw = raw(&keys, &node, tls::PEERS);
    send(&mut raw, &hello(cluster()));
    node.wait_up(peer);
    assert!(node.links.gate().strangers > 0, "in while they are still there");
    // Nobody of them stays for longer than a handshake may take.
    until("all gone", || (node.links.gate().strangers == 0).then_some(()));
    let gate = node.links.gate();
    assert!(gate.slow + gate.pushed_out + gate.refused >= 500, "{gate:?}");
    // And the peer is still there.
    send(&mut raw, &text(3));
    assert_eq!(node.wait_message(peer), text(3));
}

#[test]
fn one_source_address_holds_four_places() {
    let (node, ..) = node_and_bad_peer();
    let _held = idle(&node, 1, 40);
    until("forty seen", || (node.links.gate().accepted == 40).then_some(()));
    let gate = node.links.gate();
    assert_eq!((gate.strangers, gate.pushed_out), (admit::PER_SOURCE, 36));
}

#[test]
fn a_flood_of_handshakes_is_rationed_and_does_not_hold_up_peers() {
    let (a, b) = two();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (stop, at, key) = (Arc::clone(&stop), a.at, a.keys.fingerprint());
        std::thread::spawn(move || {
            let tls = Tls::new(&fresh_keys()).unwrap();
            let mut held = std::collections::VecDeque::new();
            for n in (0..=u8::MAX).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                let from = SocketAddr::from(([127, 0, 2, 1 + n % 200], 0));
                socket.bind(&from.into()).unwrap();
                if socket.connect(&at.into()).is_err() {
                    continue;
                }
                let mut socket: TcpStream = socket.into();
                // The greeting alone: it costs the sender next to nothing.
                let (mut client, _) = tls.dial(Expect::Key(key), tls::PEERS).unwrap();
                drop(client.write_tls(&mut socket));
                held.push_back(socket);
                if held.len() > 200 {
                    held.pop_front();
                }
                if n == u8::MAX {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        })
    };
    until("the flood is there", || (a.links.gate().accepted > 300).then_some(()));
    let mut worst = Duration::ZERO;
    for n in 0..100 {
        let sent = Instant::now();
        assert_eq!(b.links.send(a.id, text(n)), Sent::Queued);
        assert_eq!(a.wait_message(b.id), text(n));
        worst = worst.max(sent.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    let dead_after = Duration::from_millis(crate::config::Settings::default().dead_after.millis());
    assert!(worst < dead_after, "a heartbeat took {worst:?}");
    assert!(a.links.gate().strangers <= admit::PLACES + 2 * admit::PER_SOURCE);
    assert!(a.stats(b.id).unwrap().up_since.is_some());
}

#[test]
fn strangers_who_announce_much_or_send_much_are_closed() {
    let (node, ..) = node_and_bad_peer();
    let stranger = fresh_keys();
    for head in [[0, 0, 0, 0], [0xff; 4], 16_777_216_u32.to_be_bytes()] {
        let mut raw = raw(&stranger, &node, tls::JOIN);
        raw.write_all(&head).unwrap();
        raw.flush().unwrap();
        assert!(matches!(raw.read(&mut [0; 1]), Ok(0) | Err(_)), "{head:?}");
    }
    // An allowed length, and more bytes than are read of anybody unknown.
    let mut raw = raw(&stranger, &node, tls::JOIN);
    let body = vec![b' '; 60_000];
    for _ in 0..2 {
        drop(raw.write_all(&framed(&body)));
    }
    drop(raw.flush());
    let mut answer = Vec::new();
    drop(raw.read_to_end(&mut answer));
    until("no place held", || (node.links.gate().strangers == 0).then_some(()));
}
