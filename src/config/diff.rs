//! What differs between two configurations: for people, one line an item, and as [`Edit`]s, which
//! are what a hand edit asks the cluster to do.
//!
//! Items are matched by id, so a new name is a change and not a removal. No line shows a secret,
//! and long texts only show that they changed. What may differ is `merge.rs`'s to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Alert, Channel, Check, Cluster, MailTls, Peer, Secret, Settings, Target};
use crate::base::id::{AlertId, NodeId};
use crate::base::text::{harmless, shorten};
use crate::base::units::HostPort;

#[cfg(test)]
mod tests;

/// One item before and after a hand edit: applied where the item still is (or already is again)
/// what the editor saw; anything else is a conflict that refuses the whole edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(clippy::large_enum_variant)] // lives for one command; the written form is what counts
pub enum Edit {
    /// A check added (`before` none), changed, or removed (`after` none).
    Check {
        /// As the editor found it.
        before: Option<Check>,
        /// As the editor left it.
        after: Option<Check>,
    },
    /// Likewise an alert.
    Alert {
        /// As the editor found it.
        before: Option<Alert>,
        /// As the editor left it.
        after: Option<Alert>,
    },
    /// A peer's address.
    PeerAddress {
        /// Which.
        id: NodeId,
        /// As the editor found it.
        before: HostPort,
        /// As the editor left it.
        after: HostPort,
    },
    /// A peer removed; at most one in an edit, and it goes with `MemberChange::Remove`.
    RemovePeer {
        /// Which.
        id: NodeId,
    },
    /// Settings.
    Settings {
        /// As the editor found them.
        before: Settings,
        /// As the editor left them.
        after: Settings,
    },
}

/// One item that differs. Displayed as one line: `~ check "web": interval 30s -> 10s`,
/// `+ alert "ops" (smtp)`, `- check "old"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which item, as lines name it: `check "web"`.
    pub item: String,
    /// How it differs.
    pub how: How,
}

/// How an item differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is new; what it is in a word or two.
    Added(String),
    /// It is gone.
    Removed,
    /// It has other fields; one at least.
    Changed(Vec<FieldChange>),
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name in `cluster.yaml`.
    pub field: &'static str,
    before: Option<Shown>,
    after: Option<Shown>,
}

impl FieldChange {
    /// What it was, as lines show it.
    #[must_use]
    pub fn before(&self) -> String {
        shown(self.before.as_ref())
    }

    /// What it is, as lines show it.
    #[must_use]
    pub fn after(&self) -> String {
        shown(self.after.as_ref())
    }
}

/// The value of a field as lines show it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    /// As it is written: a duration, an address.
    Plain(String),
    /// A text of the operator's, in quotes.
    Text(String),
    /// Too long for a line.
    Long(String),
    /// Never shown.
    Secret(Secret),
}

/// Longest value in a line, characters.
const LONGEST_SHOWN: usize = 80;

fn shown(value: Option<&Shown>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Shown::Plain(text)) => shorten(&harmless(text), LONGEST_SHOWN),
        Some(Shown::Text(text)) => format!("\"{}\"", shorten(&harmless(text), LONGEST_SHOWN)),
        Some(Shown::Long(_) | Shown::Secret(_)) => "(not shown)".to_owned(),
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |v: &Option<Shown>| matches!(v, Some(Shown::Long(_) | Shown::Secret(_)));
        match (&self.before, &self.after) {
            (None, after) if hidden(after) => write!(f, "{} (set)", self.field),
            (before, None) if hidden(before) => write!(f, "{} (removed)", self.field),
            (before, after) if hidden(before) || hidden(after) => write!(f, "{} (changed)", self.field),
            _ => write!(f, "{} {} -> {}", self.field, self.before(), self.after()),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Added(what) => write!(f, "+ {} ({what})", self.item),
            How::Removed => write!(f, "- {}", self.item),
            How::Changed(fields) => write!(f, "~ {}: {}", self.item, list(fields)),
        }
    }
}

/// Changes in one line.
pub(super) fn list(fields: &[FieldChange]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What differs, in the order of the file: settings, peers, checks, alerts; within a kind by name.
/// `version`, `updated_at` and `updated_by` say nothing about what is configured and are left out.
#[must_use]
pub fn differences(before: &Cluster, after: &Cluster) -> Vec<Difference> {
    let mut found = Vec::new();
    let ids = [before, after].map(|c| vec![("cluster_id", Shown::Plain(c.id.to_string()))]);
    found.extend(changed("cluster".to_owned(), &ids[0], &ids[1]));
    found.extend(changed("settings".to_owned(), &settings(&before.settings), &settings(&after.settings)));
    found.extend(items(before.peers.iter(), after.peers.iter(), &Peers));
    let names = Names::of(&[before, after]);
    found.extend(items(before.checks.iter(), after.checks.iter(), &Checks(&names)));
    found.extend(items(before.alerts.iter(), after.alerts.iter(), &Alerts));
    found
}

/// How a kind of items is shown.
trait Kind<T> {
    fn label(&self, item: &T) -> String;
    fn summary(&self, item: &T) -> String;
    fn fields(&self, item: &T) -> Fields;
}

type Fields = Vec<(&'static str, Shown)>;

struct Peers;
struct Checks<'n>(&'n Names);
struct Alerts;

impl Kind<Peer> for Peers {
    fn label(&self, peer: &Peer) -> String {
        peer_label(peer.node_id)
    }
    fn summary(&self, peer: &Peer) -> String {
        peer.advertise.to_string()
    }
    fn fields(&self, peer: &Peer) -> Fields {
        vec![
            ("advertise", Shown::Plain(peer.advertise.to_string())),
            ("fingerprint", Shown::Plain(peer.fingerprint.to_string())),
            ("cert_pem", Shown::Long(peer.cert_pem.clone())),
        ]
    }
}

impl Kind<Arc<Check>> for Checks<'_> {
    fn label(&self, check: &Arc<Check>) -> String {
        check_label(check)
    }
    fn summary(&self, check: &Arc<Check>) -> String {
        let address = shorten(&harmless(&check.target.address()), LONGEST_SHOWN);
        format!("{} {address}", check.target.kind())
    }
    fn fields(&self, check: &Arc<Check>) -> Fields {
        check_fields(check, self.0)
    }
}

impl Kind<Arc<Alert>> for Alerts {
    fn label(&self, alert: &Arc<Alert>) -> String {
        alert_label(alert)
    }
    fn summary(&self, alert: &Arc<Alert>) -> String {
        alert.channel.kind().to_owned()
    }
    fn fields(&self, alert: &Arc<Alert>) -> Fields {
        alert_fields(alert)
    }
}

/// `check "web"`.
pub(super) fn check_label(check: &Check) -> String {
    format!("check \"{}\"", harmless(check.name.as_str()))
}

/// `alert "ops"`.
pub(super) fn alert_label(alert: &Alert) -> String {
    format!("alert \"{}\"", harmless(alert.name.as_str()))
}

/// `peer 0a1b...`: the whole id, since two may begin alike.
pub(super) fn peer_label(id: NodeId) -> String {
    format!("peer {id}")
}

fn items<'a, K: Ord + 'a, T: PartialEq + 'a>(
    before: impl Iterator<Item = (&'a K, &'a T)>,
    after: impl Iterator<Item = (&'a K, &'a T)>,
    kind: &impl Kind<T>,
) -> Vec<Difference> {
    let (before, after): (BTreeMap<&K, &T>, BTreeMap<&K, &T>) = (before.collect(), after.collect());
    let mut found = Vec::new();
    for (id, old) in &before {
        match after.get(id) {
            None => found.push(Difference { item: kind.label(old), how: How::Removed }),
            Some(new) if new == old => {}
            Some(new) => found.extend(changed(kind.label(old), &kind.fields(old), &kind.fields(new))),
        }
    }
    for new in after.iter().filter(|(id, _)| !before.contains_key(*id)).map(|(_, new)| new) {
        found.push(Difference { item: kind.label(new), how: How::Added(kind.summary(new)) });
    }
    found.sort_by(|a, b| a.item.cmp(&b.item));
    found
}

fn changed(item: String, before: &Fields, after: &Fields) -> Option<Difference> {
    let fields = field_changes(before, after);
    (!fields.is_empty()).then_some(Difference { item, how: How::Changed(fields) })
}

fn field_changes(before: &Fields, after: &Fields) -> Vec<FieldChange> {
    let of = |fields: &Fields, name| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
    let mut names: Vec<&'static str> = before.iter().map(|(n, _)| *n).collect();
    names.extend(after.iter().map(|(n, _)| *n).filter(|n| of(before, *n).is_none()));
    names
        .into_iter()
        .map(|field| FieldChange { field, before: of(before, field), after: of(after, field) })
        .filter(|c| c.before != c.after)
        .collect()
}

/// Fields in which two checks differ.
pub(super) fn check_changes(before: &Check, after: &Check, names: &Names) -> Vec<FieldChange> {
    field_changes(&check_fields(before, names), &check_fields(after, names))
}

/// Fields in which two alerts differ.
pub(super) fn alert_changes(before: &Alert, after: &Alert) -> Vec<FieldChange> {
    field_changes(&alert_fields(before), &alert_fields(after))
}

/// Settings that differ.
pub(super) fn setting_changes(before: &Settings, after: &Settings) -> Vec<FieldChange> {
    field_changes(&settings(before), &settings(after))
}

/// Names of alerts, for lists of their ids.
pub(super) struct Names(BTreeMap<AlertId, String>);

impl Names {
    /// As the first of these that knows an alert calls it.
    pub fn of(clusters: &[&Cluster]) -> Names {
        let all = clusters.iter().rev().flat_map(|c| c.alerts.values());
        Names(all.map(|a| (a.id, a.name.to_string())).collect())
    }

    /// The name, or the beginning of the id where nobody knows one.
    pub fn name(&self, id: AlertId) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.short())
    }

    fn list(&self, ids: &BTreeSet<AlertId>) -> Shown {
        let mut names: Vec<String> = ids.iter().map(|id| self.name(*id)).collect();
        names.sort();
        Shown::Plain(format!("[{}]", names.join(", ")))
    }
}

fn settings(s: &Settings) -> Fields {
    vec![
        ("heartbeat", Shown::Plain(s.heartbeat.to_string())),
        ("dead_after", Shown::Plain(s.dead_after.to_string())),
        ("master_cooldown", Shown::Plain(s.master_cooldown.to_string())),
        ("hysteresis", Shown::Plain(s.hysteresis.to_string())),
    ]
}

fn check_fields(check: &Check, names: &Names) -> Fields {
    let mut fields = vec![
        ("name", Shown::Text(check.name.to_string())),
        ("type", Shown::Plain(check.target.kind().to_owned())),
        ("target", Shown::Plain(check.target.address())),
        ("interval", Shown::Plain(check.interval.to_string())),
        ("timeout", Shown::Plain(check.timeout.to_string())),
    ];
    if let Target::Http { expect_status, body_match, .. } = &check.target {
        fields.push(("expect_status", Shown::Plain(expect_status.to_string())));
        fields.extend(body_match.iter().map(|m| ("body_match", Shown::Text(m.clone()))));
    }
    fields.push(("alert_ids", names.list(&check.alert_ids)));
    fields.push(("suppress_alert_ids", names.list(&check.suppress_alert_ids)));
    fields.push(("enabled", Shown::Plain(check.enabled.to_string())));
    fields
}

fn alert_fields(alert: &Alert) -> Fields {
    let mut fields = vec![
        ("name", Shown::Text(alert.name.to_string())),
        ("type", Shown::Plain(alert.channel.kind().to_owned())),
        ("default", Shown::Plain(alert.default.to_string())),
        ("enabled", Shown::Plain(alert.enabled.to_string())),
    ];
    fields.extend(alert.remind.iter().map(|r| ("remind", Shown::Plain(r.to_string()))));
    match &alert.channel {
        Channel::Smtp { host, port, user, password, from, to, tls, ca_pem, headers } => {
            let all = |texts: Vec<String>| Shown::Plain(format!("[{}]", texts.join(", ")));
            fields.push(("smtp_host", Shown::Plain(host.to_string())));
            fields.push(("smtp_port", Shown::Plain(port.to_string())));
            fields.extend(user.iter().map(|u| ("smtp_user", Shown::Text(u.clone()))));
            fields.extend(password.iter().map(|p| ("smtp_password", Shown::Secret(p.clone()))));
            fields.push(("smtp_from", Shown::Plain(from.as_str().to_owned())));
            fields.push(("smtp_to", all(to.iter().map(|t| t.as_str().to_owned()).collect())));
            fields.push(("smtp_starttls", Shown::Plain((*tls == MailTls::StartTls).to_string())));
            fields.push(("smtp_tls", Shown::Plain((*tls == MailTls::Implicit).to_string())));
            fields.extend(ca_pem.iter().map(|c| ("smtp_ca_pem", Shown::Long(c.clone()))));
            if !headers.is_empty() {
                fields.push(("smtp_headers", all(headers.iter().map(ToString::to_string).collect())));
            }
        }
        Channel::Discord { webhook } => fields.push(("discord_webhook", Shown::Secret(webhook.clone()))),
    }
    fields.extend(alert.subject_template.iter().map(|t| ("subject_template", Shown::Text(t.clone()))));
    fields.extend(alert.body_template.iter().map(|t| ("body_template", Shown::Long(t.clone()))));
    fields
}
