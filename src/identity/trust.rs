//! Whom this node knows: keys pinned to NodeIDs, as immutable snapshots.
//!
//! A [`Trust`] never changes; who changes it makes another one and hands that round in an `Arc`.
//! Its written form is `trust.yaml` (`config::trust`); who is in it follows the peers of the
//! committed configuration, which is the daemon's business.

use std::collections::BTreeMap;
use std::fmt;

use super::cert;
use super::fingerprint::Fingerprint;
use crate::base::id::NodeId;
use crate::base::units::HostPort;

/// One trusted node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub node_id: NodeId,
    /// Where it is reached.
    pub address: HostPort,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its certificate; empty when only the key is known, which is all that trust needs.
    pub cert_pem: String,
}

/// Why a list of nodes cannot be trusted as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// One NodeID twice.
    TwiceNode(NodeId),
    /// One key under two NodeIDs: who sent a message could not be told.
    TwiceKey(NodeId, NodeId),
    /// The certificate is not of the key beside it, or is none.
    Certificate(NodeId, String),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustError::TwiceNode(id) => write!(f, "node {id} is listed twice"),
            TrustError::TwiceKey(a, b) => write!(f, "nodes {a} and {b} have the same key"),
            TrustError::Certificate(id, why) => write!(f, "certificate of node {id}: {why}"),
        }
    }
}

impl std::error::Error for TrustError {}

/// Every trusted node.
/// * No NodeID and no key occurs twice.
/// * A certificate that is there is of the key beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    by_node: BTreeMap<NodeId, Known>,
    by_key: BTreeMap<Fingerprint, NodeId>,
}

impl Trust {
    /// From a list.
    ///
    /// # Errors
    /// [`TrustError`] when the list contradicts itself; nothing of it is trusted then.
    pub fn new(nodes: impl IntoIterator<Item = Known>) -> Result<Trust, TrustError> {
        let mut trust = Trust::default();
        for known in nodes {
            trust.insert(known)?;
        }
        Ok(trust)
    }

    fn insert(&mut self, known: Known) -> Result<(), TrustError> {
        let id = known.node_id;
        if !known.cert_pem.is_empty() {
            let of = cert::fingerprint_of_pem(&known.cert_pem)
                .map_err(|e| TrustError::Certificate(id, e.to_string()))?;
            if of != known.fingerprint {
                let why = format!("its key is {of}, not {}", known.fingerprint);
                return Err(TrustError::Certificate(id, why));
            }
        }
        if let Some(other) = self.by_key.insert(known.fingerprint, id)
            && other != id
        {
            return Err(TrustError::TwiceKey(other, id));
        }
        match self.by_node.insert(id, known) {
            Some(_) => Err(TrustError::TwiceNode(id)),
            None => Ok(()),
        }
    }

    /// The same and one more; an entry of the same NodeID is replaced.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn with(&self, known: Known) -> Result<Trust, TrustError> {
        let others = self.nodes().filter(|k| k.node_id != known.node_id).cloned();
        Trust::new(others.chain(std::iter::once(known.clone())))
    }

    /// The same without one node.
    #[must_use]
    pub fn without(&self, node: NodeId) -> Trust {
        let mut less = self.clone();
        if let Some(gone) = less.by_node.remove(&node) {
            less.by_key.remove(&gone.fingerprint);
        }
        less
    }

    /// Whose key this is.
    #[must_use]
    pub fn who(&self, key: &Fingerprint) -> Option<NodeId> {
        self.by_key.get(key).copied()
    }

    /// What is known of a node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Known> {
        self.by_node.get(&node)
    }

    /// All of them, in order of NodeID.
    pub fn nodes(&self) -> impl Iterator<Item = &Known> {
        self.by_node.values()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Nobody at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::{self, KeyKind};

    fn known(n: u128, key: u8) -> Known {
        Known {
            node_id: NodeId::from_random(n << 96),
            address: "a:1".parse().unwrap(),
            fingerprint: Fingerprint([key; 32]),
            cert_pem: String::new(),
        }
    }

    #[test]
    fn a_key_leads_to_its_node_and_a_removed_node_to_nobody() {
        let trust = Trust::new([known(1, 1), known(2, 2)]).unwrap();
        let (a, b) = (known(1, 1).node_id, known(2, 2).node_id);
        assert_eq!(trust.who(&Fingerprint([2; 32])), Some(b));
        let less = trust.without(b);
        assert_eq!((less.who(&Fingerprint([2; 32])), less.get(b)), (None, None));
        assert_eq!(less.who(&Fingerprint([1; 32])), Some(a));
        // The earlier snapshot is what it was.
        assert_eq!(trust.who(&Fingerprint([2; 32])), Some(b));
        let rotated = trust.with(known(2, 3)).unwrap();
        assert_eq!(rotated.who(&Fingerprint([2; 32])), None);
        assert_eq!(rotated.who(&Fingerprint([3; 32])), Some(b));
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused_whole() {
        assert!(matches!(Trust::new([known(1, 1), known(1, 2)]), Err(TrustError::TwiceNode(_))));
        assert!(matches!(Trust::new([known(1, 1), known(2, 1)]), Err(TrustError::TwiceKey(..))));
        let made = keys::make(KeyKind::EcdsaP256).unwrap();
        let mut lies = known(1, 1);
        lies.cert_pem.clone_from(&made.cert_pem);
        assert!(matches!(Trust::new([lies.clone()]), Err(TrustError::Certificate(..))));
        lies.fingerprint = cert::fingerprint_of_pem(&made.cert_pem).unwrap();
        assert!(Trust::new([lies]).is_ok());
    }
}
