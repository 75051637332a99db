//! `cluster.yaml` read: text to [`Cluster`], or one sentence about what is wrong where.
//!
//! Made for people who edit the file: a check or alert without `id` is a new one; `interval`,
//! `timeout`, `expect_status`, `smtp_port` and the kind of TLS may be left out; an alert may be
//! named by its name wherever an id is asked for. What does not apply to the type of an item is
//! refused, as is every field that is not known: it may be a newer version's, and must not be
//! dropped silently. No error shows a password, a webhook or a certificate.
//!
//! The written form is `write.rs`'s. What an edit may change is `merge.rs`'s to judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::document::{Document, Field, Part, Shape, YamlError, text, texts};
use super::model::{DEFAULT_INTERVAL, DEFAULT_STATUS, DEFAULT_TIMEOUT};
use super::write::{BEGIN, END};
use super::{Alert, Channel, Check, Checks, Cluster, MailTls, Name, Peer, Secret, Settings, Target};
use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, NodeId};
use crate::base::text::{parse_rfc3339, shorten};

#[cfg(test)]
mod tests;

pub(super) static FILE: Shape = Shape::Fields(&[
    text("cluster_id"),
    text("version"),
    text("updated_at"),
    text("updated_by"),
    Field { name: "settings", shape: Shape::Fields(SETTINGS) },
    Field { name: "peers", shape: Shape::Items("peer", &PEER) },
    Field { name: "checks", shape: Shape::Items("check", &CHECK) },
    Field { name: "alerts", shape: Shape::Items("alert", &ALERT) },
]);

const SETTINGS: &[Field] =
    &[text("heartbeat"), text("dead_after"), text("master_cooldown"), text("hysteresis")];

static PEER: Shape =
    Shape::Fields(&[text("node_id"), text("advertise"), text("fingerprint"), text("cert_pem")]);

static CHECK: Shape = Shape::Fields(&[
    text("id"),
    text("name"),
    text("type"),
    text("target"),
    text("interval"),
    text("timeout"),
    text("expect_status"),
    text("body_match"),
    texts("alert_ids"),
    texts("suppress_alert_ids"),
    text("enabled"),
]);

static ALERT: Shape = Shape::Fields(&[
    text("id"),
    text("name"),
    text("type"),
    text("default"),
    text("enabled"),
    #[cfg(not(feature = "older"))]
    text("remind"),
    text("smtp_host"),
    text("smtp_port"),
    text("smtp_user"),
    text("smtp_password"),
    text("smtp_from"),
    texts("smtp_to"),
    text("smtp_starttls"),
    text("smtp_tls"),
    text("smtp_ca_pem"),
    texts("smtp_headers"),
    text("discord_webhook"),
    text("subject_template"),
    text("body_template"),
]);

/// Reads a `cluster.yaml`. `file_name` is for messages; `new_id` gives 128 random bits for each
/// check or alert that has no id yet.
///
/// # Errors
/// The first thing that is wrong, with line and column.
pub fn from_yaml(
    file_name: &str,
    text: &str,
    new_id: &mut dyn FnMut() -> u128,
) -> Result<Cluster, YamlError> {
    whole(file_name, text)?;
    let document = Document::read(file_name, text, &FILE)?;
    let top = document.top();
    for list in ["settings", "peers", "checks", "alerts"] {
        if !top.names().any(|n| n == list) {
            return Err(top.missing(list));
        }
    }
    let alerts = alerts(&top, None, new_id)?;
    Ok(Cluster {
        id: top.parse_needed("cluster_id")?,
        version: top.number("version", 0, u64::MAX)?.ok_or_else(|| top.missing("version"))?,
        updated_at: updated_at(&top)?,
        updated_by: top.parse("updated_by")?,
        settings: settings(&top)?,
        peers: peers(&top)?,
        checks: checks(&top, &alerts, new_id)?,
        alerts,
    })
}

/// A file that begins as this program begins it must end as it ends it: a file that was cut
/// between two alerts would look like one in which the others were deleted.
pub(super) fn whole(file: &str, text: &str) -> Result<(), YamlError> {
    // Lines that `qu cluster edit` put before it.
    let mut lines = text.lines().skip_while(|l| l.starts_with(super::kept::REMARK));
    let begins = lines.next().is_some_and(|l| l.starts_with(BEGIN));
    if !begins || text.lines().rev().any(|l| l.trim_end() == END) {
        return Ok(());
    }
    let message =
        format!("the line {END:?} is missing: the file was cut short; restore the rest, or add that line");
    Err(YamlError { file: file.to_owned(), line: text.lines().count().max(1), column: 1, message })
}

fn updated_at(top: &Part) -> Result<Wall, YamlError> {
    let text = top.need("updated_at")?;
    parse_rfc3339(text).ok_or_else(|| {
        let why = format!("{:?} is not a time like 2026-05-12T15:01:32Z", shorten(text, 60));
        top.bad("updated_at", &why)
    })
}

pub(super) fn settings(top: &Part) -> Result<Settings, YamlError> {
    let part = top.part("settings").ok_or_else(|| top.missing("settings"))?;
    let hysteresis = part.number("hysteresis", 1, 100)?.ok_or_else(|| part.missing("hysteresis"))?;
    let settings = Settings {
        heartbeat: part.parse_needed("heartbeat")?,
        dead_after: part.parse_needed("dead_after")?,
        master_cooldown: part.parse_needed("master_cooldown")?,
        hysteresis: u32::try_from(hysteresis).unwrap_or(u32::MAX),
    };
    settings.fault().map_or(Ok(settings), |(field, why)| Err(part.bad(field, &why)))
}

fn peers(top: &Part) -> Result<BTreeMap<NodeId, Peer>, YamlError> {
    let mut peers = BTreeMap::new();
    let mut seen = Seen::new("node_id");
    for part in top.items("peers", "peer") {
        let peer = Peer {
            node_id: part.parse_needed("node_id")?,
            advertise: part.parse_needed("advertise")?,
            fingerprint: part.parse_needed("fingerprint")?,
            cert_pem: part.need("cert_pem")?.to_owned(),
        };
        seen.once(&part, peer.node_id)?;
        peers.insert(peer.node_id, peer);
    }
    Ok(peers)
}

/// Refuses the second of two items that have something in common which they must not.
struct Seen<'d, K> {
    field: &'static str,
    first: HashMap<K, Part<'d>>,
}

impl<'d, K: std::hash::Hash + Eq + std::fmt::Display> Seen<'d, K> {
    fn new(field: &'static str) -> Seen<'d, K> {
        Seen { field, first: HashMap::new() }
    }

    fn once(&mut self, part: &Part<'d>, key: K) -> Result<(), YamlError> {
        if let Some(first) = self.first.get(&key) {
            let why = format!("{:?} is taken by {} in line {}", key.to_string(), first.label(), first.line());
            return Err(part.bad(self.field, &why));
        }
        self.first.insert(key, part.clone());
        Ok(())
    }
}

pub(super) fn checks(
    top: &Part,
    alerts: &BTreeMap<AlertId, Arc<Alert>>,
    new_id: &mut dyn FnMut() -> u128,
) -> Result<Checks, YamlError> {
    let by_name: HashMap<&str, AlertId> = alerts.values().map(|a| (a.name.as_str(), a.id)).collect();
    let mut checks = Checks::new();
    let (mut ids, mut names) = (Seen::new("id"), Seen::new("name"));
    for part in top.items("checks", "check") {
        let check = check(&part, new_id)?;
        let check = Check {
            alert_ids: references(&part, "alert_ids", alerts, &by_name)?,
            suppress_alert_ids: references(&part, "suppress_alert_ids", alerts, &by_name)?,
            ..check
        };
        ids.once(&part, check.id)?;
        names.once(&part, check.name.clone())?;
        checks.insert(check.id, Arc::new(check));
    }
    Ok(checks)
}

fn check(part: &Part, new_id: &mut dyn FnMut() -> u128) -> Result<Check, YamlError> {
    let target = target(part)?;
    let interval = part.parse("interval")?.unwrap_or(DEFAULT_INTERVAL);
    let check = Check {
        id: part.parse("id")?.unwrap_or_else(|| CheckId::from_random(new_id())),
        name: part.parse_needed::<Name>("name")?,
        target,
        interval,
        timeout: part.parse("timeout")?.unwrap_or(DEFAULT_TIMEOUT.min(interval)),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: part.yes_or_no("enabled")?.unwrap_or(true),
    };
    check.fault().map_or(Ok(check), |(field, why)| Err(part.bad(field, &why)))
}

fn target(part: &Part) -> Result<Target, YamlError> {
    let kind = part.need("type")?;
    let foreign = match kind {
        "http" => "-",
        "tcp" | "icmp" => "expect_status body_match",
        other => return Err(no_type(part, other, "check (want http, tcp or icmp)")),
    };
    refuse(part, kind, "a check", |name| foreign.split(' ').any(|f| f == name))?;
    Ok(match kind {
        "http" => {
            let status = part.number("expect_status", 0, 599)?;
            Target::Http {
                url: part.parse_needed("target")?,
                expect_status: status.and_then(|s| u16::try_from(s).ok()).unwrap_or(DEFAULT_STATUS),
                body_match: part.text("body_match").map(str::to_owned),
            }
        }
        "tcp" => Target::Tcp { to: part.parse_needed("target")? },
        _ => Target::Icmp { host: part.parse_needed("target")? },
    })
}

fn no_type(part: &Part, text: &str, what: &str) -> YamlError {
    part.bad("type", &format!("{:?} is not a type of {what}", shorten(text, 60)))
}

/// Refuses fields that are there and belong to another type.
fn refuse(part: &Part, kind: &str, word: &str, foreign: impl Fn(&str) -> bool) -> Result<(), YamlError> {
    match part.names().find(|name| foreign(name)) {
        Some(name) => Err(part.wrong(name, &format!("does not apply to {word} of type {kind}; remove it"))),
        None => Ok(()),
    }
}

/// Alerts that a check names, by id or by name.
fn references(
    part: &Part,
    field: &str,
    alerts: &BTreeMap<AlertId, Arc<Alert>>,
    by_name: &HashMap<&str, AlertId>,
) -> Result<BTreeSet<AlertId>, YamlError> {
    let mut found = BTreeSet::new();
    for (text, place) in part.texts(field) {
        let id = match text.parse::<AlertId>() {
            Ok(id) => alerts.contains_key(&id).then_some(id),
            Err(_) => by_name.get(text).copied(),
        };
        let id = id.ok_or_else(|| {
            place.bad(&format!("there is no alert {:?}; add it, or remove it here", shorten(text, 100)))
        })?;
        found.insert(id);
    }
    Ok(found)
}

/// `known` has the secrets for which there is only a placeholder.
pub(super) fn alerts(
    top: &Part,
    known: Option<&Cluster>,
    new_id: &mut dyn FnMut() -> u128,
) -> Result<BTreeMap<AlertId, Arc<Alert>>, YamlError> {
    let mut alerts = BTreeMap::new();
    let (mut ids, mut names) = (Seen::new("id"), Seen::new("name"));
    for part in top.items("alerts", "alert") {
        let mut alert = Alert {
            id: part.parse("id")?.unwrap_or_else(|| AlertId::from_random(new_id())),
            name: part.parse_needed::<Name>("name")?,
            default: part.yes_or_no("default")?.unwrap_or(false),
            enabled: part.yes_or_no("enabled")?.unwrap_or(true),
            remind: part.parse("remind")?,
            subject_template: part.text("subject_template").map(str::to_owned),
            body_template: part.text("body_template").map(str::to_owned),
            channel: channel(&part)?,
        };
        if let Some(known) = known {
            super::kept::fill_in(&part, &mut alert, known)?;
        }
        if let Some((field, why)) = alert.fault() {
            return Err(part.bad(field, &why));
        }
        ids.once(&part, alert.id)?;
        names.once(&part, alert.name.clone())?;
        alerts.insert(alert.id, Arc::new(alert));
    }
    Ok(alerts)
}

fn channel(part: &Part) -> Result<Channel, YamlError> {
    let kind = part.need("type")?;
    let own = match kind {
        "smtp" => "smtp_",
        "discord" => "discord_",
        other => return Err(no_type(part, other, "alert (want smtp or discord)")),
    };
    let of_a_type = |name: &str| name.starts_with("smtp_") || name.starts_with("discord_");
    refuse(part, kind, "an alert", |name| of_a_type(name) && !name.starts_with(own))?;
    if kind == "discord" {
        return Ok(Channel::Discord { webhook: Secret::new(part.need("discord_webhook")?) });
    }
    let (port, tls) = port_and_tls(part)?;
    let mut to = Vec::new();
    for (text, place) in part.texts("smtp_to") {
        to.push(text.parse().map_err(|e: String| place.bad(&e))?);
    }
    let mut headers = Vec::new();
    for (text, place) in part.texts("smtp_headers") {
        headers.push(text.parse().map_err(|e: String| place.bad(&e))?);
    }
    if to.is_empty() {
        return Err(part.missing("smtp_to"));
    }
    Ok(Channel::Smtp {
        host: part.parse_needed("smtp_host")?,
        port,
        user: part.text("smtp_user").map(str::to_owned),
        password: part.text("smtp_password").map(Secret::new),
        from: part.parse_needed("smtp_from")?,
        to,
        tls,
        ca_pem: part.text("smtp_ca_pem").map(str::to_owned),
        headers,
    })
}

/// Left out, the port follows from the protection and the protection from the port; nothing left
/// out ever means unprotected.
fn port_and_tls(part: &Part) -> Result<(u16, MailTls), YamlError> {
    let port = part.number("smtp_port", 1, 65535)?.and_then(|p| u16::try_from(p).ok());
    let (starttls, implicit) = (part.yes_or_no("smtp_starttls")?, part.yes_or_no("smtp_tls")?);
    if starttls == Some(true) && implicit == Some(true) {
        return Err(part.wrong("smtp_tls", "and \"smtp_starttls\" exclude each other; set one to false"));
    }
    let tls = match (starttls, implicit) {
        (_, Some(true)) => MailTls::Implicit,
        (Some(true), _) => MailTls::StartTls,
        (_, None) if port == Some(465) => MailTls::Implicit,
        (None, _) => MailTls::StartTls,
        (Some(false), _) => MailTls::Plain,
    };
    let usual = match tls {
        MailTls::Implicit => 465,
        MailTls::StartTls => 587,
        MailTls::Plain => 25,
    };
    Ok((port.unwrap_or(usual), tls))
}
