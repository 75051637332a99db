//! Changes of the configuration: from one [`Cluster`] to the next, or a typed refusal.
//!
//! Pure functions from old to new, so that the early refusal on the master and the application on
//! every node are the same code, and a refusal cannot leave half a change behind. Version, time
//! and author are the caller's to set.
//!
//! Left out: the syntax of templates (`alerts` knows it; it is looked at before a change is
//! proposed) and what needs a look at the world (whether a peer can be reached).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::{AlertId, CheckId, NodeId};
use crate::base::units::HostPort;
use crate::config::{Alert, Check, Cluster, Peer};

use super::command::{AlertEdit, Change, CheckEdit, Setting};
use super::outcome::{Item, Refused, What};

/// Checks that one cluster may have: ten times what it is made for, so that a script in a loop
/// meets a wall before memory does.
pub const MOST_CHECKS: usize = 100_000;
/// Alerts that one cluster may have.
pub const MOST_ALERTS: usize = 1_000;
/// Peers that one cluster may have: every one of them speaks to every other each heartbeat.
pub const MOST_PEERS: usize = 99;

/// What `change` makes of `old`, and how to call it.
///
/// # Errors
/// [`Refused`] when an item is missing, a name is taken, or a rule is broken.
pub fn plan(old: &Cluster, change: &Change) -> Result<(Cluster, What), Refused> {
    let mut new = old.clone();
    let what = match change {
        Change::AddCheck(check) => add_check(&mut new, check)?,
        Change::EditCheck { id, edit } => edit_check(&mut new, *id, edit)?,
        Change::RemoveCheck(id) => {
            let gone = new.checks.remove(id).ok_or_else(|| no_such(Item::Check, id))?;
            removed(Item::Check, id, gone.name.as_str())
        }
        Change::AddAlert(alert) => add_alert(&mut new, alert)?,
        Change::EditAlert { id, edit } => edit_alert(&mut new, *id, edit)?,
        Change::RemoveAlert(id) => remove_alert(&mut new, *id)?,
        Change::AddPeer(peer) => add_peer(&mut new, peer)?,
        Change::EditPeer { id, advertise } => edit_peer(&mut new, *id, advertise)?,
        Change::RemovePeer(id) => remove_peer(&mut new, *id)?,
        Change::Set(setting) => set(&mut new, *setting)?,
    };
    Ok((new, what))
}

pub(super) fn no_such(item: Item, id: &impl ToString) -> Refused {
    Refused::NoSuch { item, id: id.to_string() }
}

fn added(item: Item, id: &impl ToString, name: &str) -> What {
    What::Added { item, id: id.to_string(), name: name.to_owned() }
}

fn changed(item: Item, id: &impl ToString, name: &str) -> What {
    What::Changed { item, id: id.to_string(), name: name.to_owned() }
}

fn removed(item: Item, id: &impl ToString, name: &str) -> What {
    What::Removed { item, id: id.to_string(), name: name.to_owned() }
}

fn room(have: usize, most: usize, item: Item) -> Result<(), Refused> {
    if have < most {
        return Ok(());
    }
    Err(Refused::TooMany { item, limit: u32::try_from(most).unwrap_or(u32::MAX) })
}

fn add_check(new: &mut Cluster, check: &Check) -> Result<What, Refused> {
    if new.checks.contains_key(&check.id) {
        return Err(Refused::Exists { item: Item::Check, id: check.id.to_string() });
    }
    room(new.checks.len(), MOST_CHECKS, Item::Check)?;
    item_rules(new, check)?;
    name_is_free(new, check)?;
    new.checks.insert(check.id, Arc::new(check.clone()));
    Ok(added(Item::Check, &check.id, check.name.as_str()))
}

fn edit_check(new: &mut Cluster, id: CheckId, edit: &CheckEdit) -> Result<What, Refused> {
    let old = new.checks.get(&id).ok_or_else(|| no_such(Item::Check, &id))?;
    let mut check = Check::clone(old);
    let CheckEdit { name, target, interval, timeout, alert_ids, suppress_alert_ids, enabled } = edit;
    replace(&mut check.name, name.as_ref());
    replace(&mut check.target, target.as_ref());
    replace(&mut check.interval, interval.as_ref());
    replace(&mut check.timeout, timeout.as_ref());
    replace(&mut check.alert_ids, alert_ids.as_ref());
    replace(&mut check.suppress_alert_ids, suppress_alert_ids.as_ref());
    replace(&mut check.enabled, enabled.as_ref());
    // A shorter interval alone takes the timeout along, as it does for a new check.
    if interval.is_some() && timeout.is_none() {
        check.timeout = check.timeout.min(check.interval);
    }
    let what = changed(Item::Check, &id, check.name.as_str());
    if check != **old {
        item_rules(new, &check)?;
        if check.name != old.name {
            name_is_free(new, &check)?;
        }
        new.checks.insert(id, Arc::new(check));
    }
    Ok(what)
}

fn replace<T: Clone>(field: &mut T, with: Option<&T>) {
    if let Some(value) = with {
        field.clone_from(value);
    }
}

/// The rules for one check but the one that goes over all of them.
fn item_rules(cluster: &Cluster, check: &Check) -> Result<(), Refused> {
    check.validate().map_err(Refused::Rule)?;
    for alert in check.alert_ids.iter().chain(&check.suppress_alert_ids) {
        if !cluster.alerts.contains_key(alert) {
            return Err(Refused::UnknownAlert { check: check.name.to_string(), alert: *alert });
        }
    }
    Ok(())
}

fn name_is_free(cluster: &Cluster, check: &Check) -> Result<(), Refused> {
    let taken = cluster.checks.values().any(|other| other.id != check.id && other.name == check.name);
    if taken {
        return Err(Refused::NameTaken { item: Item::Check, name: check.name.to_string() });
    }
    Ok(())
}

fn add_alert(new: &mut Cluster, alert: &Alert) -> Result<What, Refused> {
    if new.alerts.contains_key(&alert.id) {
        return Err(Refused::Exists { item: Item::Alert, id: alert.id.to_string() });
    }
    room(new.alerts.len(), MOST_ALERTS, Item::Alert)?;
    alert_rules(new, alert)?;
    new.alerts.insert(alert.id, Arc::new(alert.clone()));
    Ok(added(Item::Alert, &alert.id, alert.name.as_str()))
}

fn edit_alert(new: &mut Cluster, id: AlertId, edit: &AlertEdit) -> Result<What, Refused> {
    let old = new.alerts.get(&id).ok_or_else(|| no_such(Item::Alert, &id))?;
    let mut alert = Alert::clone(old);
    let AlertEdit { name, default, enabled, remind, subject_template, body_template, channel } = edit;
    replace(&mut alert.name, name.as_ref());
    replace(&mut alert.default, default.as_ref());
    replace(&mut alert.enabled, enabled.as_ref());
    replace(&mut alert.remind, remind.as_ref());
    replace(&mut alert.subject_template, subject_template.as_ref());
    replace(&mut alert.body_template, body_template.as_ref());
    replace(&mut alert.channel, channel.as_ref());
    let what = changed(Item::Alert, &id, alert.name.as_str());
    if alert != **old {
        alert_rules(new, &alert)?;
        new.alerts.insert(id, Arc::new(alert));
    }
    Ok(what)
}

fn alert_rules(cluster: &Cluster, alert: &Alert) -> Result<(), Refused> {
    alert.validate().map_err(Refused::Rule)?;
    let taken = cluster.alerts.values().any(|other| other.id != alert.id && other.name == alert.name);
    if taken {
        return Err(Refused::NameTaken { item: Item::Alert, name: alert.name.to_string() });
    }
    Ok(())
}

/// An alert goes, and every check forgets it.
fn remove_alert(new: &mut Cluster, id: AlertId) -> Result<What, Refused> {
    let gone = new.alerts.remove(&id).ok_or_else(|| no_such(Item::Alert, &id))?;
    let names = |check: &Check| check.alert_ids.contains(&id) || check.suppress_alert_ids.contains(&id);
    let with: Vec<CheckId> = new.checks.values().filter(|c| names(c)).map(|c| c.id).collect();
    for check in with {
        if let Some(check) = new.checks.get_mut(&check).map(Arc::make_mut) {
            check.alert_ids.remove(&id);
            check.suppress_alert_ids.remove(&id);
        }
    }
    Ok(removed(Item::Alert, &id, gone.name.as_str()))
}

fn add_peer(new: &mut Cluster, peer: &Peer) -> Result<What, Refused> {
    if new.peers.contains_key(&peer.node_id) {
        return Err(Refused::Exists { item: Item::Peer, id: peer.node_id.to_string() });
    }
    room(new.peers.len(), MOST_PEERS, Item::Peer)?;
    peer_rules(new, peer)?;
    new.peers.insert(peer.node_id, peer.clone());
    Ok(added(Item::Peer, &peer.node_id, &peer.advertise.to_string()))
}

fn edit_peer(new: &mut Cluster, id: NodeId, advertise: &HostPort) -> Result<What, Refused> {
    let old = new.peers.get(&id).ok_or_else(|| no_such(Item::Peer, &id))?;
    let peer = Peer { advertise: advertise.clone(), ..old.clone() };
    peer_rules(new, &peer)?;
    new.peers.insert(id, peer);
    Ok(changed(Item::Peer, &id, &advertise.to_string()))
}

/// Two peers at one address, or with one key, would be one node counted twice.
pub(super) fn peer_rules(cluster: &Cluster, peer: &Peer) -> Result<(), Refused> {
    for other in cluster.peers.values().filter(|other| other.node_id != peer.node_id) {
        let taken = |what: &str, value: String| {
            Err(Refused::PeerTaken { what: what.to_owned(), value, by: other.node_id })
        };
        if other.advertise == peer.advertise {
            return taken("address", peer.advertise.to_string());
        }
        if other.fingerprint == peer.fingerprint {
            return taken("key", peer.fingerprint.to_string());
        }
    }
    Ok(())
}

fn remove_peer(new: &mut Cluster, id: NodeId) -> Result<What, Refused> {
    let gone = new.peers.remove(&id).ok_or_else(|| no_such(Item::Peer, &id))?;
    if new.peers.is_empty() {
        return Err(Refused::LastPeer);
    }
    Ok(removed(Item::Peer, &id, &gone.advertise.to_string()))
}

fn set(new: &mut Cluster, setting: Setting) -> Result<What, Refused> {
    let settings = &mut new.settings;
    let (name, value) = match setting {
        Setting::Heartbeat(span) => {
            settings.heartbeat = span;
            ("heartbeat", span.to_string())
        }
        Setting::DeadAfter(span) => {
            settings.dead_after = span;
            ("dead_after", span.to_string())
        }
        Setting::MasterCooldown(span) => {
            settings.master_cooldown = span;
            ("master_cooldown", span.to_string())
        }
        Setting::Hysteresis(count) => {
            settings.hysteresis = count;
            ("hysteresis", count.to_string())
        }
    };
    settings.validate().map_err(Refused::Rule)?;
    Ok(changed(Item::Setting, &name, &value))
}

/// Every rule over a whole configuration: for one that comes from a file.
///
/// # Errors
/// The first rule that is broken.
pub fn whole(cluster: &Cluster) -> Result<(), Refused> {
    cluster.settings.validate().map_err(Refused::Rule)?;
    if cluster.peers.is_empty() {
        return Err(Refused::LastPeer);
    }
    for (most, have, item) in [
        (MOST_CHECKS, cluster.checks.len(), Item::Check),
        (MOST_ALERTS, cluster.alerts.len(), Item::Alert),
        (MOST_PEERS, cluster.peers.len(), Item::Peer),
    ] {
        if have > most {
            return Err(Refused::TooMany { item, limit: u32::try_from(most).unwrap_or(u32::MAX) });
        }
    }
    for peer in cluster.peers.values() {
        peer_rules(cluster, peer)?;
    }
    for alert in cluster.alerts.values() {
        alert_rules(cluster, alert)?;
    }
    // Names of checks are compared through a set: there may be many.
    let mut names = BTreeSet::new();
    for check in cluster.checks.values() {
        item_rules(cluster, check)?;
        if !names.insert(check.name.as_str()) {
            return Err(Refused::NameTaken { item: Item::Check, name: check.name.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
