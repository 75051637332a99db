//! The checks of a picture, in order of name.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::CheckView;
use crate::base::id::CheckId;
use crate::base::shared::{self, Sorted};
use crate::base::text::{Table, rfc3339, shown};

/// Checks in order of name, then id. Two pictures share what is the same in both.
#[derive(Clone, Default)]
pub struct CheckList {
    all: Sorted<Arc<CheckView>>,
    /// The written form leaves the reports of single nodes out: most of it, and mostly not wanted.
    brief: bool,
}

fn order(check: &CheckView, name: &str, id: CheckId) -> Ordering {
    check.name.as_str().cmp(name).then(check.id.cmp(&id))
}

impl CheckList {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> shared::Iter<'_, Arc<CheckView>> {
        self.all.iter()
    }

    /// The same ones; written, they are without the reports of single nodes.
    #[must_use]
    pub fn brief(&self) -> CheckList {
        CheckList { all: self.all.clone(), brief: true }
    }

    /// The table of `qu status`, its head included, laid out: a fifth of what all fields take, and nothing
    /// to do for whoever shows ten thousand of them.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::under(&HEAD);
        // Mostly they are as long as this.
        table.expect(self.len(), 64);
        let mut shares = Shares::default();
        self.iter().for_each(|check| put_row(check, &mut shares, &mut table));
        table.laid_out()
    }

    /// Puts one in, in place of the one with its name and id.
    pub fn put(&mut self, check: Arc<CheckView>) {
        let (name, id) = (check.name.clone(), check.id);
        self.all.put(check, |other| order(other, &name, id));
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str, id: CheckId) {
        self.all.take(|other| order(other, name, id));
    }
}

impl FromIterator<Arc<CheckView>> for CheckList {
    fn from_iter<I: IntoIterator<Item = Arc<CheckView>>>(checks: I) -> CheckList {
        let mut checks: Vec<Arc<CheckView>> = checks.into_iter().collect();
        checks.sort_by(|a, b| order(a, &b.name, b.id));
        checks.dedup_by(|a, b| a.id == b.id && a.name == b.name);
        CheckList { all: Sorted::from_sorted(checks), brief: false }
    }
}

impl PartialEq for CheckList {
    fn eq(&self, other: &CheckList) -> bool {
        self.all.is_same(&other.all) || self.iter().eq(other.iter())
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
        s.collect_seq(self.iter().map(|check| Written { check, nodes: !self.brief }))
    }
}

/// One check as it is written. By hand, so that leaving its reports out costs no copy of the rest.
struct Written<'a> {
    check: &'a CheckView,
    nodes: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // All of them: a field that is added later is missed here.
        #[rustfmt::skip]
        let CheckView {
            id, name, kind, target, expect_status, body_match, interval, timeout, enabled, state, since, ok,
            total, alerts, suppressed, detail, detail_node, nodes,
        } = self.check;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("name", name)?;
        map.serialize_entry("type", kind)?;
        map.serialize_entry("target", target)?;
        if let Some(status) = expect_status {
            map.serialize_entry("expect_status", status)?;
        }
        if let Some(text) = body_match {
            map.serialize_entry("body_match", text)?;
        }
        map.serialize_entry("interval", interval)?;
        map.serialize_entry("timeout", timeout)?;
        map.serialize_entry("enabled", enabled)?;
        map.serialize_entry("state", state)?;
        map.serialize_entry("since", &since.map(rfc3339))?;
        map.serialize_entry("ok", ok)?;
        map.serialize_entry("total", total)?;
        map.serialize_entry("alerts", alerts)?;
        map.serialize_entry("suppressed", suppressed)?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("detail_node", detail_node)?;
        if self.nodes && !nodes.is_empty() {
            map.serialize_entry("nodes", nodes)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CheckList {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<CheckList, D::Error> {
        Ok(Vec::<Arc<CheckView>>::deserialize(d)?.into_iter().collect())
    }
}

const HEAD: [&str; 6] = ["ID", "NAME", "STATE", "OK/TOTAL", "ALERTS", "DETAIL"];

/// How a share is written, kept from check to check: mostly it is the same.
#[derive(Default)]
struct Shares {
    of: Option<(u32, u32)>,
    text: String,
}

impl Shares {
    fn text(&mut self, ok: u32, total: u32) -> &str {
        if self.of.replace((ok, total)) != Some((ok, total)) {
            self.text = format!("{ok}/{total}");
        }
        &self.text
    }
}

/// What the table of `qu status` says of a check: id, name, state, fresh reports of success among all
/// fresh ones, alerts, the first failure. `-` where there is nothing; nothing that a terminal would obey,
/// so no line break either.
fn put_row(check: &CheckView, shares: &mut Shares, table: &mut Table) {
    let id = check.id.written();
    let alerts = match check.alerts.as_slice() {
        [] => Cow::Borrowed("-"),
        [one] => or_dash(one),
        many => Cow::Owned(shown(&many.join(",")).into_owned()),
    };
    let mut detail = or_dash(check.detail.as_deref().unwrap_or_default());
    if let (Some(_), Some(node)) = (&check.detail, check.detail_node) {
        detail = Cow::Owned(format!("{detail} ({})", node.short()));
    }
    let share = shares.text(check.ok, check.total);
    table.row(&[id.as_ref(), &or_dash(&check.name), check.word(), share, &alerts, &detail]);
}

fn or_dash(text: &str) -> Cow<'_, str> {
    if text.is_empty() { Cow::Borrowed("-") } else { shown(text) }
}
