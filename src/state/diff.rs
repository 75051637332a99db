//! What differs between two configurations, by item: what the outside must follow after a commit.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::base::id::{AlertId, CheckId, NodeId};
use crate::config::Cluster;

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Added,
    /// It is different.
    Changed,
    /// It is gone.
    Removed,
}

/// The items that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Checks.
    pub checks: BTreeMap<CheckId, Fate>,
    /// Alerts.
    pub alerts: BTreeMap<AlertId, Fate>,
    /// Peers.
    pub peers: BTreeMap<NodeId, Fate>,
    /// Whether any setting differs.
    pub settings: bool,
}

impl Fate {
    fn of<T>(old: Option<T>, new: Option<T>) -> Fate {
        match (old, new) {
            (None, _) => Fate::Added,
            (Some(_), None) => Fate::Removed,
            (Some(_), Some(_)) => Fate::Changed,
        }
    }
}

impl Diff {
    /// What differs between `old` and `new`; version, time and author are not items.
    #[must_use]
    pub fn between(old: &Cluster, new: &Cluster) -> Diff {
        Diff {
            checks: old.checks.against(&new.checks).map(|(id, old, new)| (*id, Fate::of(old, new))).collect(),
            alerts: compare(&old.alerts, &new.alerts),
            peers: compare(&old.peers, &new.peers),
            settings: old.settings != new.settings,
        }
    }

    /// How many items differ; the settings are one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.checks.len() + self.alerts.len() + self.peers.len() + usize::from(self.settings)
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Walks both maps once; shared values are equal without being looked into.
fn compare<K: Ord + Copy, V: Eq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> BTreeMap<K, Fate> {
    let mut fates = BTreeMap::new();
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return fates,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((b, _)), Some((a, _))) => b.cmp(a),
        };
        match order {
            Ordering::Less => fates.extend(before.next().map(|(id, _)| (*id, Fate::Removed))),
            Ordering::Greater => fates.extend(after.next().map(|(id, _)| (*id, Fate::Added))),
            Ordering::Equal => {
                let (was, is) = (before.next(), after.next());
                if was != is {
                    fates.extend(is.map(|(id, _)| (*id, Fate::Changed)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_that_differs_is_named_once_with_its_fate() {
        let old = BTreeMap::from([(1, 'a'), (2, 'b'), (3, 'c'), (5, 'e')]);
        let new = BTreeMap::from([(0, 'z'), (2, 'b'), (3, 'C'), (6, 'f')]);
        let fates: Vec<(i32, Fate)> = compare(&old, &new).into_iter().collect();
        assert_eq!(
            fates,
            [(0, Fate::Added), (1, Fate::Removed), (3, Fate::Changed), (5, Fate::Removed), (6, Fate::Added)]
        );
        assert!(compare(&old, &old).is_empty());
    }
}
