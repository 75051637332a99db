//! A hand edit of `cluster.yaml`, rebased: every item goes from what the editor saw to what the
//! editor left, or is there already, or the whole edit is refused.
//!
//! The rules over several items (names, alerts that checks refer to) are judged at the end, over
//! all of it: an edit may swap two names.

use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::units::HostPort;
use crate::config::Cluster;

use super::changes::whole;
use super::command::ItemEdit;
use super::diff::Diff;
use super::outcome::{Item, Refused, What};

/// What the edit makes of `old`, and how to call it.
///
/// # Errors
/// [`Refused::Conflict`] with every item that has changed under the editor's hands; else the first
/// rule that the result breaks.
pub fn plan(old: &Cluster, items: &[ItemEdit]) -> Result<(Cluster, What), Refused> {
    let mut new = old.clone();
    let mut conflicts = Vec::new();
    let mut leaving: Option<NodeId> = None;
    for item in items {
        let fits = match item {
            ItemEdit::Check { before, after } => {
                one_id(before.as_ref().map(|c| c.id), after.as_ref().map(|c| c.id)).map(|id| {
                    let now = new.checks.get(&id).cloned();
                    rebase(now.as_deref(), before.as_ref(), after.as_ref(), |item| match item {
                        Some(item) => drop(new.checks.insert(id, item)),
                        None => drop(new.checks.remove(&id)),
                    })
                })
            }
            ItemEdit::Alert { before, after } => {
                one_id(before.as_ref().map(|a| a.id), after.as_ref().map(|a| a.id)).map(|id| {
                    let now = new.alerts.get(&id).cloned();
                    rebase(now.as_deref(), before.as_ref(), after.as_ref(), |item| match item {
                        Some(item) => drop(new.alerts.insert(id, item)),
                        None => drop(new.alerts.remove(&id)),
                    })
                })
            }
            ItemEdit::PeerAddress { id, before, after } => Some(move_peer(&mut new, *id, before, after)),
            ItemEdit::RemovePeer { id } => {
                if leaving.replace(*id).is_some_and(|other| other != *id) {
                    return Err(Refused::Rule(
                        "an edit may remove one peer only: remove them one after another".to_owned(),
                    ));
                }
                new.peers.remove(id);
                Some(true)
            }
            ItemEdit::Settings { before, after } => {
                let fits = new.settings == *before || new.settings == *after;
                if fits {
                    new.settings = *after;
                }
                Some(fits)
            }
        };
        match fits {
            Some(true) => {}
            Some(false) => conflicts.push(called(item)),
            None => {
                return Err(Refused::Rule(format!("{} cannot change its id", called(item))));
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(Refused::Conflict(conflicts));
    }
    let items = Diff::between(old, &new).len();
    if items > 0 {
        whole(&new)?;
    }
    Ok((new, What::Edited { items: u32::try_from(items).unwrap_or(u32::MAX) }))
}

/// The one id of an item before and after; `None` when there are two, or none.
fn one_id<T: PartialEq>(before: Option<T>, after: Option<T>) -> Option<T> {
    match (before, after) {
        (Some(before), Some(after)) => (before == after).then_some(after),
        (before, after) => before.or(after),
    }
}

/// Three ways: as the editor found it (then `put` makes it what the editor wants), or already as
/// the editor wants it; else a conflict.
fn rebase<V: Eq + Clone>(
    now: Option<&V>,
    before: Option<&V>,
    after: Option<&V>,
    put: impl FnOnce(Option<Arc<V>>),
) -> bool {
    if now == after {
        return true;
    }
    let fits = now == before;
    if fits {
        put(after.map(|item| Arc::new(item.clone())));
    }
    fits
}

fn move_peer(new: &mut Cluster, id: NodeId, before: &HostPort, after: &HostPort) -> bool {
    let Some(peer) = new.peers.get_mut(&id) else {
        return false;
    };
    let fits = peer.advertise == *before || peer.advertise == *after;
    if fits {
        peer.advertise = after.clone();
    }
    fits
}

/// The item as a person knows it.
fn called(item: &ItemEdit) -> String {
    match item {
        ItemEdit::Check { before, after } => match before.as_ref().or(after.as_ref()) {
            Some(check) => format!("{} {:?}", Item::Check, check.name.as_str()),
            None => Item::Check.to_string(),
        },
        ItemEdit::Alert { before, after } => match before.as_ref().or(after.as_ref()) {
            Some(alert) => format!("{} {:?}", Item::Alert, alert.name.as_str()),
            None => Item::Alert.to_string(),
        },
        ItemEdit::PeerAddress { id, .. } | ItemEdit::RemovePeer { id } => {
            format!("{} {}", Item::Peer, id.short())
        }
        ItemEdit::Settings { .. } => "settings".to_owned(),
    }
}

#[cfg(test)]
#[path = "edit/tests.rs"]
mod tests;
