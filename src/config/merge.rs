//! A hand edit: what it may change, what it asks for, and what stands against it.
//!
//! Three configurations meet. *Base* is what the editor found in the file, *edited* what the
//! editor left there, *current* what the cluster has by now. [`hand_edit`] compares the first two
//! and yields edits of single items; [`conflicts`] holds those against the third. An edit of an
//! item that is still as the editor saw it applies, and so does one that is already done; anything
//! else is a conflict, and a conflict refuses the whole edit: half of what somebody wrote is
//! nothing they meant.
//!
//! Which fields changed within one item is not merged: a check edited here and there at the same
//! time is one for a person to look at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::diff::{self, Edit, FieldChange, Names};
use super::{Check, Cluster, Name, Peer};
use crate::base::id::{AlertId, NodeId};

#[cfg(test)]
mod tests;

/// Why an edit is refused whatever the cluster has by now. Displayed as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A field of the file's head that is not for editing.
    Head {
        /// Which.
        field: &'static str,
        /// What it was and has to be again.
        was: String,
    },
    /// A field of a peer that is not for editing.
    Peer {
        /// Which peer.
        id: NodeId,
        /// Which field.
        field: &'static str,
    },
    /// A peer that joined nothing.
    PeerAdded {
        /// Which.
        id: NodeId,
        /// Its address.
        address: String,
    },
    /// More than one peer gone at once.
    PeersRemoved(Vec<NodeId>),
    /// No peer left.
    NoPeers,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Head { field, was } => {
                write!(f, "{field} cannot be changed by hand; write {was} again")
            }
            Refused::Peer { id, field } => {
                write!(f, "{field} of peer {id} cannot be changed by hand; write what was there again")
            }
            Refused::PeerAdded { id, address } => {
                write!(f, "peer {id} cannot be added by hand; use: qu node add {address}")
            }
            Refused::PeersRemoved(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "{} peers are removed at once ({}); remove one at a time",
                    ids.len(),
                    ids.join(", ")
                )
            }
            Refused::NoPeers => write!(f, "the last peer cannot be removed"),
        }
    }
}

impl std::error::Error for Refused {}

/// What an edit of the file asks for; nothing when it changed comments or order only. In an order
/// in which every step is valid: settings, alerts added or changed, checks, alerts removed, peers.
///
/// # Errors
/// The first change that is not for hands.
pub fn hand_edit(base: &Cluster, edited: &Cluster) -> Result<Vec<Edit>, Refused> {
    head(base, edited)?;
    let peers = peers(base, edited)?;
    let mut edits = Vec::new();
    if base.settings != edited.settings {
        edits.push(Edit::Settings { before: base.settings, after: edited.settings });
    }
    let alerts = changes(&base.alerts, &edited.alerts);
    let (gone, kept): (Vec<_>, Vec<_>) = alerts.into_iter().partition(|(_, after)| after.is_none());
    let alert = |(before, after)| Edit::Alert { before, after };
    edits.extend(kept.into_iter().map(alert));
    let checks = base.checks.against(&edited.checks).map(|(_, old, new)| (own(old), own(new)));
    edits.extend(checks.map(|(before, after)| Edit::Check { before, after }));
    edits.extend(gone.into_iter().map(alert));
    edits.extend(peers);
    Ok(edits)
}

fn head(base: &Cluster, edited: &Cluster) -> Result<(), Refused> {
    let refuse = |field, was| Err(Refused::Head { field, was });
    if base.id != edited.id {
        return refuse("cluster_id", base.id.to_string());
    }
    if base.version != edited.version {
        return refuse("version", base.version.to_string());
    }
    // As texts: the written form does not hold every time.
    let [was, is] = [base, edited].map(|c| super::write::time(c.updated_at));
    if was != is {
        return refuse("updated_at", was);
    }
    if base.updated_by != edited.updated_by {
        return refuse("updated_by", base.updated_by.map_or("nothing".to_owned(), |by| by.to_string()));
    }
    Ok(())
}

fn peers(base: &Cluster, edited: &Cluster) -> Result<Vec<Edit>, Refused> {
    let gone: Vec<&Peer> = base.peers.values().filter(|p| !edited.peers.contains_key(&p.node_id)).collect();
    if let Some(new) = edited.peers.values().find(|p| !base.peers.contains_key(&p.node_id)) {
        // One that has the key of a removed one is that one under a new name.
        return Err(match gone.iter().find(|p| p.fingerprint == new.fingerprint) {
            Some(old) => Refused::Peer { id: old.node_id, field: "node_id" },
            None => Refused::PeerAdded { id: new.node_id, address: new.advertise.to_string() },
        });
    }
    if gone.len() > 1 {
        return Err(Refused::PeersRemoved(gone.iter().map(|p| p.node_id).collect()));
    }
    if !gone.is_empty() && edited.peers.is_empty() {
        return Err(Refused::NoPeers);
    }
    let mut edits = Vec::new();
    for (old, new) in base.peers.values().filter_map(|old| Some((old, edited.peers.get(&old.node_id)?))) {
        let id = old.node_id;
        if old.fingerprint != new.fingerprint {
            return Err(Refused::Peer { id, field: "fingerprint" });
        }
        if old.cert_pem != new.cert_pem {
            return Err(Refused::Peer { id, field: "cert_pem" });
        }
        if old.advertise != new.advertise {
            edits.push(Edit::PeerAddress { id, before: old.advertise.clone(), after: new.advertise.clone() });
        }
    }
    edits.extend(gone.iter().map(|p| Edit::RemovePeer { id: p.node_id }));
    Ok(edits)
}

type Change<T> = (Option<T>, Option<T>);

fn own<T: Clone>(item: Option<&Arc<T>>) -> Option<T> {
    item.map(|item| T::clone(item))
}

fn changes<K: Ord, T: Clone + PartialEq>(
    base: &BTreeMap<K, Arc<T>>,
    edited: &BTreeMap<K, Arc<T>>,
) -> Vec<Change<T>> {
    let own = |item: &Arc<T>| T::clone(item);
    let kept = base.iter().map(|(id, old)| (Some(own(old)), edited.get(id).map(own)));
    let new = edited.iter().filter(|(id, _)| !base.contains_key(id)).map(|(_, new)| (None, Some(own(new))));
    kept.chain(new).filter(|(before, after)| before != after).collect()
}

/// What stands against these edits in the configuration that the cluster has by now, one sentence
/// each; nothing when all of them apply. An edit that is done already is no conflict.
#[must_use]
pub fn conflicts(edits: &[Edit], current: &Cluster) -> Vec<String> {
    let names = Names::of(&[current]);
    let mut found: Vec<String> = edits.iter().filter_map(|e| conflict(e, current, &names)).collect();
    if found.is_empty() {
        // What is right by itself may be wrong together with what came meanwhile.
        found.extend(together(&merged(edits, current), edits, &names));
    }
    found
}

fn conflict(edit: &Edit, current: &Cluster, names: &Names) -> Option<String> {
    match edit {
        Edit::Check { before, after } => {
            let id = before.as_ref().or(after.as_ref())?.id;
            let now = current.checks.get(&id).map(AsRef::as_ref);
            let changes = |a: &Check, b: &Check| diff::check_changes(a, b, names);
            item(now, before.as_ref(), after.as_ref(), diff::check_label, changes)
        }
        Edit::Alert { before, after } => {
            let id = before.as_ref().or(after.as_ref())?.id;
            let now = current.alerts.get(&id).map(AsRef::as_ref);
            item(now, before.as_ref(), after.as_ref(), diff::alert_label, diff::alert_changes)
        }
        Edit::Settings { before, after } => item(
            Some(&current.settings),
            Some(before),
            Some(after),
            |_| "one of the settings".to_owned(),
            diff::setting_changes,
        ),
        Edit::PeerAddress { id, before, after } => match current.peers.get(id) {
            None => Some(format!("{} was removed meanwhile", diff::peer_label(*id))),
            Some(peer) if peer.advertise == *before || peer.advertise == *after => None,
            Some(peer) => Some(format!(
                "{} was changed meanwhile: advertise {after} here, {} in the cluster",
                diff::peer_label(*id),
                peer.advertise
            )),
        },
        Edit::RemovePeer { .. } => None,
    }
}

/// The sentence about one item, when it is neither as the editor found nor as the editor left it.
fn item<T: PartialEq>(
    now: Option<&T>,
    before: Option<&T>,
    after: Option<&T>,
    label: impl Fn(&T) -> String,
    changes: impl Fn(&T, &T) -> Vec<FieldChange>,
) -> Option<String> {
    if now == before || now == after {
        return None;
    }
    Some(match (before, now, after) {
        (None, Some(now), _) => format!("{} was added meanwhile, and differs from the one here", label(now)),
        (Some(before), None, _) => format!("{} was removed meanwhile", label(before)),
        (Some(before), Some(now), None) => {
            let there = diff::list(&changes(before, now));
            format!("{} is removed here and was changed meanwhile: {there}", label(before))
        }
        (Some(before), Some(now), Some(after)) => {
            let theirs: Vec<&'static str> = changes(before, now).iter().map(|c| c.field).collect();
            let both = changes(after, now).into_iter().filter(|c| theirs.contains(&c.field));
            let both: Vec<String> = both.map(|c| here_and_there(&c)).collect();
            if both.is_empty() {
                // Other fields than the edit's, or the same value in them.
                let there = diff::list(&changes(before, now));
                format!("{} was changed meanwhile: {there} in the cluster", label(before))
            } else {
                format!("{} was changed meanwhile: {}", label(before), both.join(", "))
            }
        }
        (None, None, _) => return None,
    })
}

fn here_and_there(change: &FieldChange) -> String {
    let (here, there) = (change.before(), change.after());
    if here == there {
        return format!("{} (differs in the cluster)", change.field);
    }
    format!("{} {here} here, {there} in the cluster", change.field)
}

/// The configuration after these edits, which must have no conflict with it. Version and times are
/// left as they are.
#[must_use]
pub fn merged(edits: &[Edit], current: &Cluster) -> Cluster {
    let mut cluster = current.clone();
    for edit in edits {
        match edit {
            Edit::Check { before, after } => {
                if let Some(old) = before {
                    cluster.checks.remove(&old.id);
                }
                cluster.checks.extend(after.clone().map(|c| (c.id, Arc::new(c))));
            }
            Edit::Alert { before, after } => {
                if let Some(old) = before {
                    cluster.alerts.remove(&old.id);
                }
                cluster.alerts.extend(after.clone().map(|a| (a.id, Arc::new(a))));
            }
            Edit::PeerAddress { id, after, .. } => {
                if let Some(peer) = cluster.peers.get_mut(id) {
                    peer.advertise = after.clone();
                }
            }
            Edit::RemovePeer { id } => drop(cluster.peers.remove(id)),
            Edit::Settings { after, .. } => cluster.settings = *after,
        }
    }
    cluster
}

/// Rules that span items: names are unique, alerts that checks name exist, a peer is left.
fn together(result: &Cluster, edits: &[Edit], names: &Names) -> Vec<String> {
    let checks = doubled(result.checks.values().map(|c| &c.name));
    let alerts = doubled(result.alerts.values().map(|a| &a.name));
    let users = users(result);
    let mut found = Vec::new();
    for edit in edits {
        match edit {
            Edit::Check { after: Some(check), .. } => {
                let label = diff::check_label(check);
                if checks.contains(&check.name) {
                    found.push(format!("{label} has the name of another check by now"));
                }
                let ids = check.alert_ids.union(&check.suppress_alert_ids);
                found.extend(ids.filter(|id| !result.alerts.contains_key(*id)).map(|id| {
                    format!("{label} names alert {:?}, which was removed meanwhile", names.name(*id))
                }));
            }
            Edit::Alert { after: Some(alert), .. } if alerts.contains(&alert.name) => {
                found.push(format!("{} has the name of another alert by now", diff::alert_label(alert)));
            }
            Edit::Alert { before: Some(alert), after: None } => {
                found.extend(users.get(&alert.id).map(|check| {
                    let user = diff::check_label(check);
                    format!("{} is removed here, and {user} names it by now", diff::alert_label(alert))
                }));
            }
            Edit::RemovePeer { id } if result.peers.is_empty() => {
                found.push(format!("{} is the last peer by now", diff::peer_label(*id)));
            }
            _ => {}
        }
    }
    found
}

fn doubled<'n>(names: impl Iterator<Item = &'n Name>) -> BTreeSet<&'n Name> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// For each alert that a check names, one such check.
fn users(cluster: &Cluster) -> BTreeMap<AlertId, &Check> {
    let ids = |c: &'_ Check| c.alert_ids.union(&c.suppress_alert_ids).copied().collect::<Vec<_>>();
    let checks = cluster.checks.values().map(AsRef::as_ref);
    checks.flat_map(|c: &Check| ids(c).into_iter().map(move |id| (id, c))).collect()
}

/// Versions that an edit may have started from: an editor that was opened before others changed
/// the cluster saves what it found then. In memory only; after a restart the file that was last
/// written is the only base.
#[derive(Debug, Default)]
pub struct History {
    kept: VecDeque<Arc<Cluster>>,
}

impl History {
    /// How many versions are remembered. They share what did not change between them.
    pub const LENGTH: usize = 64;

    /// Remembers a version, which is later than those before it.
    pub fn push(&mut self, cluster: Arc<Cluster>) {
        self.kept.retain(|c| c.version < cluster.version);
        self.kept.push_back(cluster);
        while self.kept.len() > History::LENGTH {
            self.kept.pop_front();
        }
    }

    /// The configuration that an edited file started from, by the version in it.
    ///
    /// # Errors
    /// A sentence: the version is not remembered, or there never was one.
    pub fn base(&self, version: u64) -> Result<&Arc<Cluster>, String> {
        let known = self.kept.iter().find(|c| c.version == version);
        let newest = self.kept.back().map_or(0, |c| c.version);
        known.ok_or_else(|| {
            if version > newest {
                format!("version {version} is ahead of the cluster's {newest}; version cannot be changed by hand")
            } else {
                format!("the edit started from version {version}, which is forgotten; edit the present file, version {newest}")
            }
        })
    }
}
