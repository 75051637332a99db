//! The configuration as operators keep it: a file that says what should be, read against what the
//! cluster has.
//!
//! Two forms of it are written by `write.rs`: the one for version control has no version and means
//! "make it so"; the copy for an editor (and a copy of `cluster.yaml`) names the version that it
//! started from, so that what others changed since can be told from what its author changed. Either
//! way the result is a whole [`Cluster`], to be compared by `merge.rs` and `diff.rs`.
//!
//! What such a file may leave to the cluster: its identity, settings, peers, the ids of checks and
//! alerts (they are then known by their names), and secrets ([`UNCHANGED`]). Not the lists of checks
//! and alerts: a file without them is half a file. Peers cannot be changed by it: trust comes from
//! adding a node, not from a text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Document, Part, YamlError};
use super::write::UNCHANGED;
use super::yaml::{FILE, alerts, checks, whole};
use super::{Alert, Channel, Check, Cluster, Name, Secret, Settings};
use crate::base::id::{AlertId, ClusterId, NodeId};
use crate::base::units::HostPort;
use crate::identity::Fingerprint;

#[cfg(test)]
mod tests;

/// A line that begins so was put before the text by `qu cluster edit`, and is no part of it.
pub const REMARK: &str = "#!";

/// A file that was read, and not yet compared with anything.
pub struct Kept<'t> {
    document: Document<'t>,
}

impl<'t> Kept<'t> {
    /// Reads the text. `file_name` is for messages.
    ///
    /// # Errors
    /// The first thing that is wrong with its form, with line and column.
    pub fn read(file_name: &'t str, text: &'t str) -> Result<Kept<'t>, YamlError> {
        whole(file_name, text)?;
        Ok(Kept { document: Document::read(file_name, text, &FILE)? })
    }

    /// The version that it started from; none: it says what should be, whatever there is.
    ///
    /// # Errors
    /// No number.
    pub fn version(&self) -> Result<Option<u64>, YamlError> {
        self.document.top().number("version", 0, u64::MAX)
    }

    /// What the file makes of `base`, the configuration that it started from (the cluster's own when
    /// it names none). `new_id` gives 128 random bits for each check or alert that is new and has no
    /// id.
    ///
    /// # Errors
    /// The first thing that is wrong, with line and column; another cluster's file and other peers
    /// are among that.
    pub fn cluster(&self, base: &Cluster, new_id: &mut dyn FnMut() -> u128) -> Result<Cluster, YamlError> {
        let top = self.document.top();
        if top.parse::<ClusterId>("cluster_id")?.is_some_and(|id| id != base.id) {
            let why = format!(
                "this file is of another cluster, not {}; remove the line if it is meant here",
                base.id
            );
            return Err(top.bad("cluster_id", &why));
        }
        for list in ["checks", "alerts"] {
            if !top.names().any(|n| n == list) {
                return Err(top.missing(list));
            }
        }
        let settings = settings(&top, base.settings)?;
        same_peers(&top, base)?;
        let alerts = alerts(&top, Some(base), new_id)?;
        let mut checks: BTreeMap<_, _> =
            checks(&top, &alerts, new_id)?.iter().map(|(id, c)| (*id, Arc::clone(c))).collect();
        let as_base = named_alike(
            alerts.values().map(|a| (a.id, &a.name)),
            base.alerts.values().map(|a| (a.id, &a.name)),
        );
        let alerts = alerts.into_values().map(|a| with_id(a, &as_base)).map(|a| (a.id, a)).collect();
        for check in checks.values_mut().filter(|_| !as_base.is_empty()) {
            let check = Arc::make_mut(check);
            for ids in [&mut check.alert_ids, &mut check.suppress_alert_ids] {
                *ids = ids.iter().map(|id| as_base.get(id).copied().unwrap_or(*id)).collect();
            }
        }
        let as_base = named_alike(
            checks.values().map(|c| (c.id, &c.name)),
            base.checks.values().map(|c| (c.id, &c.name)),
        );
        let checks = checks.into_values().map(|c| {
            let id = as_base.get(&c.id).copied().unwrap_or(c.id);
            (id, if id == c.id { c } else { Arc::new(Check { id, ..Check::clone(&c) }) })
        });
        Ok(Cluster { settings, alerts, checks: checks.collect(), ..head(base) })
    }
}

/// Everything that such a file does not decide.
fn head(base: &Cluster) -> Cluster {
    let (id, version, updated_at) = (base.id, base.version, base.updated_at);
    let (updated_by, settings, peers) = (base.updated_by, base.settings, base.peers.clone());
    let (checks, alerts) = (super::Checks::new(), BTreeMap::new());
    Cluster { id, version, updated_at, updated_by, settings, peers, checks, alerts }
}

fn with_id(alert: Arc<Alert>, as_base: &BTreeMap<AlertId, AlertId>) -> Arc<Alert> {
    match as_base.get(&alert.id) {
        Some(id) => Arc::new(Alert { id: *id, ..Alert::clone(&alert) }),
        None => alert,
    }
}

/// For items whose id the cluster does not know, the id of the one there with the same name, unless
/// the file has that one too.
fn named_alike<'n, K: Ord + Copy>(
    file: impl Iterator<Item = (K, &'n Name)>,
    base: impl Iterator<Item = (K, &'n Name)>,
) -> BTreeMap<K, K> {
    let file: Vec<(K, &Name)> = file.collect();
    let mine: BTreeSet<K> = file.iter().map(|(id, _)| *id).collect();
    let (mut ids, mut by_name) = (BTreeSet::new(), BTreeMap::new());
    for (id, name) in base {
        ids.insert(id);
        by_name.insert(name, id);
    }
    let unknown = file.into_iter().filter(|(id, _)| !ids.contains(id));
    let found = unknown.filter_map(|(id, name)| Some((id, *by_name.get(name)?)));
    found.filter(|(_, there)| !mine.contains(there)).collect()
}

/// Those that the file names, and the cluster's own where it names none.
fn settings(top: &Part, base: Settings) -> Result<Settings, YamlError> {
    let Some(part) = top.part("settings") else { return Ok(base) };
    let hysteresis = part.number("hysteresis", 1, 100)?.and_then(|n| u32::try_from(n).ok());
    let settings = Settings {
        heartbeat: part.parse("heartbeat")?.unwrap_or(base.heartbeat),
        dead_after: part.parse("dead_after")?.unwrap_or(base.dead_after),
        master_cooldown: part.parse("master_cooldown")?.unwrap_or(base.master_cooldown),
        hysteresis: hysteresis.unwrap_or(base.hysteresis),
    };
    settings.fault().map_or(Ok(settings), |(field, why)| Err(part.bad(field, &why)))
}

/// A file that names peers must name those that there are, as they are.
fn same_peers(top: &Part, base: &Cluster) -> Result<(), YamlError> {
    if !top.names().any(|n| n == "peers") {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    for part in top.items("peers", "peer") {
        let id: NodeId = part.parse_needed("node_id")?;
        let advertise: Option<HostPort> = part.parse("advertise")?;
        let Some(peer) = base.peers.get(&id) else {
            let address = advertise.map_or_else(|| "HOST:PORT".to_owned(), |a| a.to_string());
            let why = format!(
                "is no peer of this cluster, and a file makes none: use qu node add {address}, or remove it here"
            );
            return Err(part.bad("node_id", &why));
        };
        if let Some(other) = advertise.filter(|a| *a != peer.advertise) {
            let why = format!(
                "the cluster has {}; an address is changed by qu node edit {} --address {other}",
                peer.advertise,
                id.short()
            );
            return Err(part.bad("advertise", &why));
        }
        if part.parse::<Fingerprint>("fingerprint")?.is_some_and(|f| f != peer.fingerprint) {
            let why = format!("the cluster trusts {}; a key is not changed by a file", peer.fingerprint);
            return Err(part.bad("fingerprint", &why));
        }
        named.insert(id);
    }
    match base.peers.values().find(|p| !named.contains(&p.node_id)) {
        None => Ok(()),
        Some(peer) => Err(top.bad(
            "peers",
            &format!(
                "peer {} ({}) is in the cluster and not here: use qu node remove {}, or add it here, or leave all peers out",
                peer.node_id,
                peer.advertise,
                peer.node_id.short()
            ),
        )),
    }
}

/// Puts the secrets of the alert that the cluster has, by id or else by name, where the file has
/// placeholders.
///
/// # Errors
/// There is nothing to put there.
pub(super) fn fill_in(part: &Part, alert: &mut Alert, known: &Cluster) -> Result<(), YamlError> {
    let there = known.alerts.get(&alert.id);
    let there = there.or_else(|| known.alerts.values().find(|a| a.name == alert.name));
    let (field, mine, theirs): (_, &mut Secret, Option<&Secret>) =
        match (&mut alert.channel, there.map(|a| &a.channel)) {
            (Channel::Smtp { password: Some(mine), .. }, there) => {
                let theirs = match there {
                    Some(Channel::Smtp { password, .. }) => password.as_ref(),
                    _ => None,
                };
                ("smtp_password", mine, theirs)
            }
            (Channel::Discord { webhook: mine }, there) => {
                let theirs = match there {
                    Some(Channel::Discord { webhook }) => Some(webhook),
                    _ => None,
                };
                ("discord_webhook", mine, theirs)
            }
            (Channel::Smtp { password: None, .. }, _) => return Ok(()),
        };
    if mine.reveal() != UNCHANGED {
        return Ok(());
    }
    let Some(theirs) = theirs else {
        let why =
            format!("{UNCHANGED:?} keeps what the cluster has, and it has none for this alert; write it");
        return Err(part.bad(field, &why));
    };
    mine.clone_from(theirs);
    Ok(())
}
