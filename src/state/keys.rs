//! Another key for a node, as a change of the configuration.
//!
//! The node's own keys decide: the old one has signed that the new one follows it, the new one that
//! it agrees, both for this cluster, this node and this config version. So nobody else can make the
//! change, nobody can make it a second time, and every node comes to the same answer from the bytes
//! of the command and its own configuration.

use crate::config::{Cluster, Peer};
use crate::identity::{Succession, cert};

use super::changes::{no_such, peer_rules};
use super::outcome::{Item, Refused, What};

/// The longest certificate that is taken, bytes: one of a key of 8192 bits has some three thousand.
const LONGEST: usize = 16 * 1024;

/// What the change makes of `old`.
///
/// # Errors
/// [`Refused`]: [`Refused::Conflict`] when the configuration is another one by now than the keys
/// have signed for; then they can sign anew.
pub fn plan(old: &Cluster, succession: &Succession, cert_pem: &str) -> Result<(Cluster, What), Refused> {
    let letter = &succession.letter;
    let refuse =
        |why: &str| Err(Refused::Rule(format!("the new key of {} is refused: {why}", letter.node.short())));
    if letter.cluster != old.id {
        return refuse("it was signed for another cluster");
    }
    let Some(peer) = old.peers.get(&letter.node) else {
        return Err(no_such(Item::Peer, &letter.node));
    };
    if letter.version != old.version {
        return Err(Refused::Conflict(vec![format!(
            "it was signed for config version {}, this is {}",
            letter.version, old.version
        )]));
    }
    if letter.old() != peer.fingerprint {
        return refuse("the key that signs is not this node's key");
    }
    if cert_pem.len() > LONGEST || cert::fingerprint_of_pem(cert_pem).ok() != Some(letter.new_key()) {
        return refuse("the certificate is not of the new key");
    }
    if !succession.is_agreed() {
        return refuse("a signature does not verify");
    }
    let peer = Peer { fingerprint: letter.new_key(), cert_pem: cert_pem.to_owned(), ..peer.clone() };
    peer_rules(old, &peer)?;
    let what =
        What::Changed { item: Item::Peer, id: peer.node_id.to_string(), name: peer.fingerprint.to_string() };
    let mut new = old.clone();
    new.peers.insert(peer.node_id, peer);
    Ok((new, what))
}

#[cfg(test)]
mod tests {
    use super::super::command::{Body, Command};
    use super::super::fixture::cluster;
    use super::super::{State, snapshot};
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::{ClusterId, NodeId};
    use crate::identity::Keys;
    use crate::identity::keys::{self, KeyKind};

    fn keys() -> Keys {
        Keys::from_made(&keys::make(KeyKind::EcdsaP256).unwrap()).unwrap()
    }

    /// A cluster of three of which one has this key; its NodeID.
    fn world(key: &Keys) -> (Cluster, NodeId) {
        let mut world = cluster(3);
        let id = *world.peers.keys().nth(1).unwrap();
        let peer = world.peers.get_mut(&id).unwrap();
        peer.fingerprint = key.fingerprint();
        key.cert_pem().clone_into(&mut peer.cert_pem);
        (world, id)
    }

    fn command(by: NodeId, succession: Succession, cert_pem: &str) -> Command {
        let body = Body::RotateKey { succession: Box::new(succession), cert_pem: cert_pem.to_owned() };
        Command { by, at: Wall(9), body }
    }

    #[test]
    fn a_new_key_is_one_config_version_and_nothing_else_changes() {
        let (old, new) = (keys(), keys());
        let (world, id) = world(&old);
        let agreed = Succession::agreed(world.id, id, world.version, &old, &new).unwrap();
        let mut state = State::found(world.clone());
        let command = command(id, agreed, new.cert_pem());
        assert_eq!(state.check(&command.body), Ok(()));
        let applied = state.apply(1, None, Some(&command));
        assert_eq!(applied.result.unwrap().version, world.version + 1);
        let after = state.cluster();
        assert_eq!(after.peers[&id].fingerprint, new.fingerprint());
        assert_eq!(after.peers[&id].cert_pem, new.cert_pem());
        assert_eq!(after.peers[&id].advertise, world.peers[&id].advertise);
        let others = |c: &Cluster| c.peers.values().filter(|p| p.node_id != id).cloned().collect::<Vec<_>>();
        assert_eq!(others(after), others(&world));
        // A build that knows nothing of such commands reads what came of them.
        let text = snapshot::to_text(&state).unwrap();
        assert!(!text.contains("rotate") && !text.contains("succession"), "{text}");
        // The same command again is of an older version, whatever key the node has.
        let again = state.apply(2, None, Some(&command));
        assert!(matches!(again.result, Err(Refused::Conflict(_))), "{:?}", again.result);
    }

    #[test]
    fn whatever_does_not_fit_is_refused_with_the_reason() {
        let (old, new, other) = (keys(), keys(), keys());
        let (world, id) = world(&old);
        let v = world.version;
        let neighbour = *world.peers.keys().next().unwrap();
        let agreed = |cluster, node, version, old: &Keys, new: &Keys| {
            Succession::agreed(cluster, node, version, old, new).unwrap()
        };
        let foreign = ClusterId::from_random(99);
        let nobody = NodeId::from_random(99 << 64);
        for (succession, cert, says) in [
            (agreed(foreign, id, v, &old, &new), new.cert_pem(), "signed for another cluster"),
            (agreed(world.id, nobody, v, &old, &new), new.cert_pem(), "no peer"),
            (agreed(world.id, id, v + 1, &old, &new), new.cert_pem(), "configuration has changed"),
            (agreed(world.id, id, v - 1, &old, &new), new.cert_pem(), "configuration has changed"),
            (agreed(world.id, id, v, &other, &new), new.cert_pem(), "not this node's key"),
            (agreed(world.id, neighbour, v, &old, &new), new.cert_pem(), "not this node's key"),
            (agreed(world.id, id, v, &old, &new), other.cert_pem(), "not of the new key"),
            (agreed(world.id, id, v, &old, &new), "", "not of the new key"),
        ] {
            let refused = plan(&world, &succession, cert).unwrap_err().to_string();
            assert!(refused.contains(says), "{says}: {refused}");
        }
        // Signed by the right key, for something else.
        let good = agreed(world.id, id, v, &old, &new);
        let mut forged = serde_json::to_value(&good).unwrap();
        forged["consent"] = forged["letter"]["signature"].clone();
        let forged: Succession = serde_json::from_value(forged).unwrap();
        let refused = plan(&world, &forged, new.cert_pem()).unwrap_err().to_string();
        assert!(refused.contains("signature"), "{refused}");
    }

    #[test]
    fn the_key_of_another_peer_is_refused() {
        let (old, new) = (keys(), keys());
        let (mut world, id) = world(&old);
        let other = *world.peers.keys().next().unwrap();
        world.peers.get_mut(&other).unwrap().fingerprint = new.fingerprint();
        let agreed = Succession::agreed(world.id, id, world.version, &old, &new).unwrap();
        assert!(matches!(plan(&world, &agreed, new.cert_pem()), Err(Refused::PeerTaken { .. })));
    }
}
