//! What an applied entry causes outside the state, on every node alike.

use std::sync::Arc;

use super::core::Core;
use crate::base::id::NodeId;
use crate::config::{Cluster, Peer};
use crate::identity::trust::TrustError;
use crate::identity::{Known, Trust};
use crate::log;
use crate::quorum::io::Input;
use crate::state::changes::MOST_PEERS;
use crate::state::command::Command;
use crate::state::{Effects, Settled};
use crate::transport::PeerMessage;

impl Core {
    /// One entry was applied.
    pub(super) fn carry_out_effects(&mut self, command: Option<&Command>, effects: &Effects) {
        let past = self.state.as_ref().is_some_and(|s| s.index() <= self.past);
        for changed in &effects.transitions {
            let silenced = if changed.silenced { " (silenced)" } else { "" };
            let sentence = format!("verdict {} -> {}{silenced}", changed.from, changed.to);
            match past {
                true => log!(Debug, "verdict", format!("before the start: {sentence}"), check = changed.name),
                false => log!(Info, "verdict", sentence, check = changed.name, id = changed.check),
            }
            self.tally.decided(changed.check, changed.to);
            self.picture.verdict_changed(changed.check);
        }
        for (delivery, how) in &effects.settled {
            match how {
                Settled::GaveUp(why) if !past => {
                    log!(Error, "deliver", "a message was given up", message = delivery, why = why);
                }
                Settled::Delivered => log!(Debug, "deliver", "settled", message = delivery),
                Settled::GaveUp(_) | Settled::Folded(_) | Settled::AlertRemoved => {}
            }
            // Another master may have had it accepted: what is settled is not tried again here.
            // (What was folded was never first in its lane, and so never at the desk.)
            if !matches!(how, Settled::Folded(_)) {
                for alert in &effects.queues {
                    self.out.desk.withdraw(*alert, *delivery);
                }
            }
        }
        if !effects.queues.is_empty() {
            self.owed.changed(effects.queues.iter().copied());
            self.picture.alerts_changed();
        }
        if effects.config_changed() {
            let by = command.map(|c| c.by.short()).unwrap_or_default();
            if let Some(cluster) = self.cluster().cloned() {
                match past {
                    true => log!(Debug, "config", "before the start: configuration changed", by = by),
                    false => {
                        log!(Info, "config", "configuration changed", version = cluster.version, by = by)
                    }
                }
                self.follow_config(&cluster);
            }
        }
    }

    /// The state is another one altogether: everything outside follows it.
    pub(super) fn after_restore(&mut self) {
        if let Some(cluster) = self.cluster().cloned() {
            self.follow_config(&cluster);
        }
        self.owed.changed(
            self.cluster().map(|c| c.alerts.keys().copied().collect::<Vec<_>>()).unwrap_or_default(),
        );
        self.requests.retry_all(self.clock.mono());
    }

    /// Files, links, probes, timing and the tally as the configuration says.
    fn follow_config(&mut self, cluster: &Arc<Cluster>) {
        let now = self.clock.mono();
        self.joining.cluster = cluster.id;
        match self.trust_now(cluster) {
            Ok(trust) => self.out.links.set_peers(cluster.id, Arc::new(trust)),
            Err(e) => return self.fatal(format!("the peers of the configuration: {e}")),
        }
        self.out.prober.spare(super::scarcity::spared(cluster));
        self.out.prober.set_checks(cluster.checks.clone());
        self.out.desk.set_alerts(&cluster.alerts);
        self.tally.configure(now, cluster);
        self.outgoing.retain(|id| cluster.checks.contains_key(id));
        if self.floor.is_none() {
            // Not while this is the past: the files say more than it does.
            self.out.files.know(Arc::clone(cluster));
            self.file_when_durable(Arc::clone(cluster));
            self.peers.retain(|id, _| cluster.peers.contains_key(id));
            let newer = |id: &NodeId, said: u64| cluster.peers.contains_key(id) && said > cluster.version;
            self.introduced.retain(|id, said| newer(id, said.0));
        }
        self.watch_own_key();
        self.watch_own_address();
        self.inputs.push_back(Input::Timing(super::start::timing(&cluster.settings)));
        self.picture.config_changed();
    }

    /// The peers of `cluster`; while this node does not count, everybody whom it knew at its start,
    /// since it goes through configurations in which the master that feeds it was no peer yet; and
    /// whom a peer named by a newer configuration, for one of those may be master by now.
    fn trust_now(&self, cluster: &Cluster) -> Result<Trust, TrustError> {
        let trust = super::start::trust_of(cluster, self.me)?;
        // Who introduces others is a peer himself; when he goes, so do they.
        let may = |who: &NodeId| self.floor.is_some() || cluster.peers.contains_key(who);
        let newer = self.introduced.iter().filter(|(who, said)| may(who) && said.0 > cluster.version);
        let newer = newer.flat_map(|(_, (_, members))| members);
        let known = self.floor.iter().flat_map(|floor| floor.nodes()).chain(newer);
        Ok(known.filter(|k| k.node_id != self.me).cloned().fold(trust, super::start::also))
    }

    /// Tells a peer whose link has come up who belongs to the cluster by now.
    pub(super) fn introduce(&self, peer: NodeId) {
        if let Some(cluster) = self.cluster() {
            let peers = cluster.peers.values().cloned().collect();
            self.tell(peer, PeerMessage::Peers { version: cluster.version, peers });
        }
    }

    /// A peer knows of a newer configuration. Its members may speak with this node, which is how it
    /// learns that configuration; what they may do there, the log alone says.
    pub(super) fn on_introduced(&mut self, by: NodeId, version: u64, peers: &[Peer]) {
        if peers.len() > MOST_PEERS {
            return self.out.links.misbehaved(by, format!("names {} peers of its cluster", peers.len()));
        }
        let here = self.cluster().cloned();
        let here = here.unwrap_or_else(|| Arc::new(super::start::nobody(self.joining.cluster)));
        let heard = self.introduced.get(&by).map_or(0, |(version, _)| *version);
        if version <= here.version.max(heard) {
            return;
        }
        self.introduced.insert(by, (version, peers.iter().map(Known::from).collect()));
        match self.trust_now(&here) {
            Ok(trust) => self.out.links.set_peers(here.id, Arc::new(trust)),
            Err(e) => self.fatal(format!("the peers of the configuration: {e}")),
        }
    }

    /// Whether a peer may say this. One that was only introduced, or that this node knew once, may
    /// bring it up to date; asking for anything is for members of the committed configuration.
    pub(super) fn may_say(&self, peer: NodeId, message: &PeerMessage) -> bool {
        match message {
            PeerMessage::Quorum(_) | PeerMessage::Answer { .. } => true,
            PeerMessage::Peers { .. } if self.floor.is_some() => true,
            _ => self.cluster().is_some_and(|c| c.peers.contains_key(&peer)),
        }
    }

    /// This node has caught up: from now on the committed configuration alone says who is a peer.
    pub(super) fn leave_the_past(&mut self) {
        if self.floor.is_none() || !self.node.status().counts {
            return;
        }
        if let Some(cluster) = self.cluster().cloned() {
            self.floor = None;
            self.follow_config(&cluster);
        }
    }
}
