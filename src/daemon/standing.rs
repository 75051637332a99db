//! What this node finds out about its own place in the cluster and an operator must hear: that the
//! others refuse it, and that they reach it elsewhere than it says.

use super::core::Core;
use crate::log;

impl Core {
    /// A node that was removed is told so by those who closed its connections; a single one may
    /// only be late with the news that this node was added.
    pub(super) fn watch_standing(&mut self) {
        let Some(cluster) = self.cluster() else { return };
        let others = cluster.peers.keys().filter(|p| **p != self.me).count();
        let refusing = self.out.links.refusing();
        let refusing = refusing.iter().filter(|p| cluster.peers.contains_key(p)).count();
        // On the way to the present it may come through configurations without this node.
        let gone = self.floor.is_none() && !cluster.peers.contains_key(&self.me);
        let put_out = gone || 2 * refusing > others;
        if put_out == self.put_out {
            return;
        }
        self.put_out = put_out;
        let text = put_out.then(|| {
            "the others refuse this node's key: it was removed from the cluster, or has old keys (from a backup); \
             to use it again put its newest keys/ back, or stop it, move its data directory away, and begin with \
             qu init and qu node add"
                .to_owned()
        });
        match &text {
            Some(text) => log!(Error, "core", text.clone(), refusing = refusing, others = others),
            None => log!(Info, "core", "the others accept this node's key again"),
        }
        self.picture.note("standing", text);
    }

    /// `advertise` is what a new node introduces itself with; afterwards the configuration counts.
    pub(super) fn watch_own_address(&mut self) {
        let own = &self.joining.advertise;
        let known = self.cluster().and_then(|c| c.peers.get(&self.me)).map(|p| &p.advertise);
        let other = known.filter(|known| *known != own);
        let text = other.map(|known| {
            format!(
                "this node says that it is reached at {own} (advertise in node.yaml, or QUPTIME_ADVERTISE), but the others \
                 use {known}: qu node edit {} --address {own} if the first is right, else correct advertise",
                self.me.short()
            )
        });
        self.picture.note("own address", text);
    }
}
