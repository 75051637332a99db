//! The checks of a picture, in order of name.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::CheckView;
use crate::base::id::CheckId;
use crate::base::shared::{self, Sorted};

/// Checks in order of name, then id. Two pictures share what is the same in both.
#[derive(Clone, Default)]
pub struct CheckList(Sorted<Arc<CheckView>>);

fn order(check: &CheckView, name: &str, id: CheckId) -> Ordering {
    check.name.as_str().cmp(name).then(check.id.cmp(&id))
}

impl CheckList {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> shared::Iter<'_, Arc<CheckView>> {
        self.0.iter()
    }

    /// Puts one in, in place of the one with its name and id.
    pub fn put(&mut self, check: Arc<CheckView>) {
        let (name, id) = (check.name.clone(), check.id);
        self.0.put(check, |other| order(other, &name, id));
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str, id: CheckId) {
        self.0.take(|other| order(other, name, id));
    }
}

impl FromIterator<Arc<CheckView>> for CheckList {
    fn from_iter<I: IntoIterator<Item = Arc<CheckView>>>(checks: I) -> CheckList {
        let mut checks: Vec<Arc<CheckView>> = checks.into_iter().collect();
        checks.sort_by(|a, b| order(a, &b.name, b.id));
        checks.dedup_by(|a, b| a.id == b.id && a.name == b.name);
        CheckList(Sorted::from_sorted(checks))
    }
}

impl PartialEq for CheckList {
    fn eq(&self, other: &CheckList) -> bool {
        self.0.is_same(&other.0) || self.iter().eq(other.iter())
    }
}

impl Eq for CheckList {}

impl std::fmt::Debug for CheckList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for CheckList {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for CheckList {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<CheckList, D::Error> {
        Ok(Vec::<Arc<CheckView>>::deserialize(d)?.into_iter().collect())
    }
}
