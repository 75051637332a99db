//! A peer gets another key: nobody is cut off that has it, and nobody gets in with the old one.

use super::*;
use crate::identity::Succession;
use crate::identity::keys::with_letters;

/// A key that follows `old` by its word.
fn successor(cluster: ClusterId, node: NodeId, old: &Keys) -> Keys {
    let made = keys::make(KeyKind::EcdsaP256).unwrap();
    let new = Keys::from_made(&made).unwrap();
    let letter = Succession::agreed(cluster, node, 1, old, &new).unwrap().letter;
    let letters: Vec<_> = old.letters().iter().cloned().chain([letter]).collect();
    let cert_pem = with_letters(&made.cert_pem, &letters).unwrap();
    Keys::from_made(&keys::Made { cert_pem, ..made }).unwrap()
}

/// What a peer with these keys is told, in the end.
fn told(keys: &Keys, node: &Node) -> Result<PeerMessage, String> {
    let mut raw = raw(keys, node, tls::PEERS);
    crate::base::frame::write(&mut raw, &serde_json::to_vec(&hello(cluster())).unwrap())
        .map_err(|e| e.to_string())?;
    let bytes = crate::base::frame::read(&mut raw, 1 << 20).map_err(|e| e.to_string())?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn both_ways(a: &Node, b: &Node) {
    until("dialled both ways", || {
        (a.stats(b.id)?.dialled.is_some() && b.stats(a.id)?.dialled.is_some()).then_some(())
    });
}

#[test]
fn connections_of_the_old_key_end_with_the_configuration_and_the_link_comes_up_with_the_new_one() {
    let (a, mut b) = two();
    both_ways(&a, &b);
    let old = b.keys.clone();
    b.keys = successor(cluster(), b.id, &old);
    // What is up stays up: the announcement has to travel on it.
    b.links.set_keys(b.keys.clone());
    assert_eq!(b.links.send(a.id, text(1)), Sent::Queued);
    assert_eq!(a.wait_message(b.id), text(1));
    assert_eq!(a.stats(b.id).unwrap().connections, 1);
    a.trust(cluster(), &[b.known()]);
    assert_eq!(a.wait_down(b.id), Why::OldKey);
    a.wait_up(b.id);
    both_ways(&a, &b);
    // The old key is nobody's now, with or without being told apart from a stranger's.
    assert_eq!(told(&old, &a), Ok(PeerMessage::Bye(Bye::Untrusted)));
    assert_eq!(a.stats(b.id).unwrap().connections, 2);
}

#[test]
fn a_peer_that_has_not_heard_of_it_accepts_the_new_key_by_the_word_of_the_old_one() {
    let (a, b) = (Make::new(), Make::new());
    let (first, id, old) = (b.known(), b.id, b.keys.clone());
    // Twice since they met.
    let new = successor(cluster(), id, &successor(cluster(), id, &old));
    let ka = a.known();
    let a = a.start(&[first]);
    let b = Make { keys: new.clone(), ..b }.start(&[ka]);
    both_ways(&a, &b);
    let ups = a.stats(id).unwrap().connections;
    // When it hears of it, the connections that were made with the new key stay.
    a.trust(cluster(), &[known(id, &new, b.at)]);
    assert_eq!(told(&old, &a), Ok(PeerMessage::Bye(Bye::Untrusted)));
    assert_eq!(b.links.send(a.id, text(1)), Sent::Queued);
    assert_eq!(a.wait_message(id), text(1));
    assert_eq!(a.stats(id).unwrap().connections, ups);
}

#[test]
fn a_letter_of_another_node_cluster_or_key_opens_no_door() {
    let a = Make::new();
    let (peer, other) = (NodeId::from_random(5 << 64), NodeId::from_random(6 << 64));
    let (keys, others) = (fresh_keys(), fresh_keys());
    let a = a.start(&[known(peer, &keys, nowhere()), known(other, &others, nowhere())]);
    let foreign = ClusterId::from_random(99);
    for wrong in [
        successor(foreign, peer, &keys),
        successor(cluster(), other, &keys),
        successor(cluster(), NodeId::from_random(7 << 64), &keys),
        successor(cluster(), peer, &fresh_keys()),
    ] {
        assert_eq!(told(&wrong, &a), Ok(PeerMessage::Bye(Bye::Untrusted)));
    }
    assert!(a.events.is_empty());
    let right = successor(cluster(), peer, &keys);
    assert!(matches!(told(&right, &a), Ok(PeerMessage::Hello(_))));
    a.wait_up(peer);
}

#[test]
fn a_node_that_shows_its_old_key_is_not_spoken_to() {
    let (a, b) = (Make::new(), Make::new());
    let (id, at) = (b.id, b.listener.local_addr().unwrap());
    let new = successor(cluster(), id, &b.keys);
    let ka = a.known();
    // The new key is in the configuration, the node came back with the old one.
    let a = a.start(&[known(id, &new, at)]);
    let b = b.start(&[ka]);
    a.wait_trouble(id, &format!("not {}", new.fingerprint()));
    b.wait_trouble(a.id, "not in its trust store");
    assert!(a.events.is_empty() && b.events.is_empty());
}
