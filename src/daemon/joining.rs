//! Being added to a cluster, and adding to one.
//!
//! A node that nobody has used yet gives up its own cluster of one: it notes the offer in
//! `join.yaml`, answers, and starts anew. The start finds the note, drops `state/`, and waits as a
//! blank member of the other cluster for that cluster's master. So a crash at any moment leaves
//! either the old node or the new one.

use crossbeam_channel::Sender;

use super::core::Core;
use crate::base::id::{ClusterId, NodeId};
use crate::base::units::HostPort;
use crate::base::{file, text};
use crate::config::{Cluster, write};
use crate::log;
use crate::transport::join::{Introduction, Offer};

/// What this node is, for others.
#[derive(Clone, Debug)]
pub struct Joining {
    /// This node.
    pub me: NodeId,
    /// Where the others reach it.
    pub advertise: HostPort,
    /// Of which cluster it is (a fresh node is a cluster of one).
    pub cluster: ClusterId,
    /// Where an accepted offer is noted.
    pub note: std::path::PathBuf,
    /// An offer was accepted: the daemon starts anew.
    pub restart: bool,
}

/// How long the answer to an accepted offer has to leave before everything ends.
const ANSWER_FIRST: std::time::Duration = std::time::Duration::from_millis(500);

impl Joining {
    /// For somebody who wants to add this node.
    #[must_use]
    pub fn introduction(&self) -> Introduction {
        Introduction {
            node_id: self.me,
            advertise: self.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Core {
    /// What a node that is to be added must know.
    pub(super) fn on_make_offer(&mut self, reply: &Sender<Offer>) {
        let Some(cluster) = self.cluster() else { return };
        let offer = Offer {
            cluster: cluster.id,
            config_version: cluster.version,
            adder: self.me,
            peers: cluster.peers.values().cloned().collect(),
        };
        drop(reply.try_send(offer));
    }

    /// A cluster that knows the secret wants this node. Nothing is lost by agreeing: a node that
    /// has anything of its own refuses.
    pub(super) fn on_consider(&mut self, offer: Offer, reply: &Sender<Result<(), String>>) {
        let verdict =
            self.willing(&offer).and_then(|fresh| if fresh { self.note_offer(&offer) } else { Ok(()) });
        let restarts = verdict.is_ok() && self.joining.restart;
        drop(reply.try_send(verdict));
        if restarts {
            log!(
                Info,
                "join",
                "taken into another cluster: starting anew as its member",
                cluster = offer.cluster,
                by = offer.adder
            );
            // Not before the answer is out of the door.
            self.stop_after(ANSWER_FIRST);
        }
    }

    /// Whether this node may be taken in; true when it must start anew for it.
    fn willing(&self, offer: &Offer) -> Result<bool, String> {
        if offer.cluster == self.joining.cluster {
            return Ok(false);
        }
        let Some(cluster) = self.cluster() else {
            return Err(format!(
                "this node waits to be a member of cluster {}: finish that, or wipe it and init again",
                self.joining.cluster
            ));
        };
        let own = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let peers = cluster.peers.len().saturating_sub(1);
        if peers + cluster.checks.len() + cluster.alerts.len() == 0 {
            return Ok(true);
        }
        Err(format!(
            "it has {}, {} and {} of its own, which would be lost: remove them there first, or wipe it and init again",
            own(peers, "other peer"),
            own(cluster.checks.len(), "check"),
            own(cluster.alerts.len(), "alert")
        ))
    }

    fn note_offer(&mut self, offer: &Offer) -> Result<(), String> {
        let note = Cluster {
            id: offer.cluster,
            // Version 0: it names the members and knows nothing else.
            version: 0,
            updated_at: self.clock.wall(),
            updated_by: Some(offer.adder),
            settings: crate::config::Settings::default(),
            peers: offer.peers.iter().map(|p| (p.node_id, p.clone())).collect(),
            checks: crate::config::Checks::new(),
            alerts: std::collections::BTreeMap::new(),
        };
        file::replace(&self.joining.note, write::to_yaml(&note).as_bytes(), 0o600)
            .map_err(|e| text::chain(&e))?;
        self.joining.restart = true;
        Ok(())
    }
}
