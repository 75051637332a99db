//! What an operator asked, as a command on the replicated state: names become ids, parts become
//! whole values, defaults are filled in.
//!
//! Pure: the cluster as this node knows it goes in, chance for new ids goes in, a command or a
//! sentence comes out. What only the newest state can judge is left to `state`.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::alerts::template;
use crate::base::id::{AlertId, CheckId, NodeId, Resolve, resolve};
use crate::config::model::{DEFAULT_INTERVAL, DEFAULT_TIMEOUT};
use crate::config::{Alert, Check, Cluster, Edit};
use crate::control::edit::{AlertFields, CheckFields, Remind};
use crate::control::message::Ask;
use crate::state::command::{AlertEdit, Change, CheckEdit};

/// The largest edit of many items, bytes of its written form: with what is around it, it must fit
/// into one message between nodes (`changes.rs`).
const LARGEST_CHANGE: usize = 4 * 1024 * 1024 - 4096;

/// New ids: 128 random bits a call.
pub type Chance<'a> = &'a mut dyn FnMut() -> u128;

/// The change that is asked for; `None` when the question is not about the configuration.
///
/// # Errors
/// A sentence: unknown or ambiguous name, part that does not apply, template that does not parse.
pub fn plan(cluster: &Cluster, ask: &Ask, chance: Chance<'_>) -> Result<Option<Change>, String> {
    Ok(Some(match ask {
        Ask::AddCheck { name, target, interval, timeout, alerts, suppress } => {
            let interval = interval.unwrap_or(DEFAULT_INTERVAL);
            Change::AddCheck(Check {
                id: CheckId::from_random(chance()),
                name: name.clone(),
                target: target.clone(),
                interval,
                timeout: timeout.unwrap_or(DEFAULT_TIMEOUT.min(interval)),
                alert_ids: find_alerts(cluster, alerts)?,
                suppress_alert_ids: find_alerts(cluster, suppress)?,
                enabled: true,
            })
        }
        Ask::EditCheck { who, fields } => edit_check(cluster, who, fields)?,
        Ask::RemoveCheck { who } => Change::RemoveCheck(find_check(cluster, who)?),
        Ask::EnableCheck { who, on } => Change::EditCheck {
            id: find_check(cluster, who)?,
            edit: CheckEdit { enabled: Some(*on), ..CheckEdit::default() },
        },
        Ask::AddAlert { name, channel, default, remind, subject_template, body_template } => {
            let alert = Alert {
                id: AlertId::from_random(chance()),
                name: name.clone(),
                default: *default,
                enabled: true,
                remind: *remind,
                subject_template: subject_template.clone(),
                body_template: body_template.clone(),
                channel: channel.clone(),
            };
            check_templates(alert.subject_template.as_deref(), alert.body_template.as_deref())?;
            Change::AddAlert(alert)
        }
        Ask::EditAlert { who, fields } => edit_alert(cluster, who, fields)?,
        Ask::RemoveAlert { who } => Change::RemoveAlert(find_alert(cluster, who)?),
        Ask::EnableAlert { who, on } => Change::EditAlert {
            id: find_alert(cluster, who)?,
            edit: AlertEdit { enabled: Some(*on), ..AlertEdit::default() },
        },
        Ask::DefaultAlert { who, on } => Change::EditAlert {
            id: find_alert(cluster, who)?,
            edit: AlertEdit { default: Some(*on), ..AlertEdit::default() },
        },
        // The trust store follows the peers of the configuration: trust ends on every node or on none.
        Ask::NodeRemove { who } | Ask::TrustRemove { who } => Change::RemovePeer(find_peer(cluster, who)?),
        Ask::NodeEdit { who, address } => {
            Change::EditPeer { id: find_peer(cluster, who)?, advertise: address.clone() }
        }
        Ask::ClusterSet(setting) => Change::Set(*setting),
        _ => return Ok(None),
    }))
}

fn one<T: Copy + Display, N: AsRef<str>>(
    kind: &str,
    typed: &str,
    items: impl Iterator<Item = (T, N)>,
    see: &str,
) -> Result<T, String> {
    match resolve(typed, items) {
        Resolve::One(id) => Ok(id),
        Resolve::None => Err(format!("no {kind} {typed:?} (see {see})")),
        Resolve::Ambiguous(ids) => {
            Err(format!("{kind} {typed:?} is ambiguous: {}; type more of the id", ids.join(", ")))
        }
    }
}

/// Which check an operator means.
///
/// # Errors
/// A sentence, when none or several fit.
pub fn find_check(cluster: &Cluster, typed: &str) -> Result<CheckId, String> {
    let items = cluster.checks.values().map(|c| (c.id, c.name.as_str()));
    one("check", typed, items, "qu check list")
}

/// Which alert an operator means.
///
/// # Errors
/// A sentence, when none or several fit.
pub fn find_alert(cluster: &Cluster, typed: &str) -> Result<AlertId, String> {
    let items = cluster.alerts.values().map(|a| (a.id, a.name.as_str()));
    one("alert", typed, items, "qu alert list")
}

/// Which peer an operator means.
///
/// # Errors
/// A sentence, when none or several fit.
pub fn find_peer(cluster: &Cluster, typed: &str) -> Result<NodeId, String> {
    let items = cluster.peers.values().map(|p| (p.node_id, p.node_id.to_string()));
    one("node", typed, items, "qu node list")
}

fn find_alerts(cluster: &Cluster, typed: &[String]) -> Result<BTreeSet<AlertId>, String> {
    typed.iter().map(|t| find_alert(cluster, t)).collect()
}

fn edit_check(cluster: &Cluster, who: &str, fields: &CheckFields) -> Result<Change, String> {
    let id = find_check(cluster, who)?;
    let Some(old) = cluster.checks.get(&id) else { return Err(format!("no check {who:?}")) };
    // A shorter interval takes a timeout along that nobody mentioned.
    let follows = fields.interval.filter(|i| fields.timeout.is_none() && *i < old.timeout);
    let edit = CheckEdit {
        name: fields.name.clone(),
        target: fields.target(&old.target)?,
        interval: fields.interval,
        timeout: fields.timeout.or(follows),
        alert_ids: fields.alerts.as_ref().map(|a| find_alerts(cluster, a)).transpose()?,
        suppress_alert_ids: fields.suppress.as_ref().map(|a| find_alerts(cluster, a)).transpose()?,
        enabled: None,
    };
    Ok(Change::EditCheck { id, edit })
}

fn edit_alert(cluster: &Cluster, who: &str, fields: &AlertFields) -> Result<Change, String> {
    let id = find_alert(cluster, who)?;
    let Some(old) = cluster.alerts.get(&id) else { return Err(format!("no alert {who:?}")) };
    check_templates(fields.subject_template.as_deref(), fields.body_template.as_deref())?;
    let template = |text: &Option<String>| text.clone().map(|t| Some(t).filter(|t| !t.is_empty()));
    let edit = AlertEdit {
        name: fields.name.clone(),
        default: None,
        enabled: None,
        remind: fields.remind.map(|r| match r {
            Remind::Every(span) => Some(span),
            Remind::Off => None,
        }),
        subject_template: template(&fields.subject_template),
        body_template: template(&fields.body_template),
        channel: fields.channel(&old.channel)?,
    };
    Ok(Change::EditAlert { id, edit })
}

/// Looks at the templates that an edit of the whole configuration brings: by the rules that a
/// command goes by. What was there before is not asked again.
///
/// # Errors
/// Which alert's template is wrong, at which line and column of it, and why.
pub fn templates(before: &Cluster, edited: &Cluster) -> Result<(), String> {
    edited
        .alerts
        .values()
        .try_for_each(|alert| alert_templates(before.alerts.get(&alert.id).map(|a| &**a), alert))
}

/// The templates of one alert, but for those that the old one has too.
fn alert_templates(old: Option<&Alert>, alert: &Alert) -> Result<(), String> {
    let subject = alert.subject_template.as_deref();
    let body = alert.body_template.as_deref();
    check_templates(
        subject.filter(|_| old.is_none_or(|old| old.subject_template.as_deref() != subject)),
        body.filter(|_| old.is_none_or(|old| old.body_template.as_deref() != body)),
    )
    .map_err(|why| format!("alert {:?}: {why}", alert.name.as_str()))
}

/// What of an edit of many items can be judged without the state, and should be where it costs the
/// core no time: the syntax of templates, and whether it is small enough to be one change.
///
/// # Errors
/// A sentence.
pub fn judge_items(items: &[Edit]) -> Result<(), String> {
    for item in items {
        if let Edit::Alert { after: Some(alert), .. } = item {
            alert_templates(None, alert)?;
        }
    }
    judge_size(items)
}

/// Whether an edit of many items is small enough to be one change.
///
/// # Errors
/// A sentence.
pub fn judge_size(items: &[Edit]) -> Result<(), String> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, items).map_err(|e| e.to_string())?;
    if length.0 > LARGEST_CHANGE {
        let (count, mib) = (items.len(), length.0.div_ceil(1024 * 1024));
        return Err(format!(
            "an edit of {count} items is too large for one change ({mib} MiB, 4 at most): make it in parts"
        ));
    }
    Ok(())
}

/// Counts what is written to it, and keeps none of it.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn check_templates(subject: Option<&str>, body: Option<&str>) -> Result<(), String> {
    for (which, text) in [("subject", subject), ("body", body)] {
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            template::check(text).map_err(|e| format!("{which} template: {e}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(subject: &str) -> Edit {
        let json = serde_json::json!({
            "id": AlertId::from_random(1), "name": "ops", "subject_template": subject,
            "channel": { "type": "discord", "webhook": "http://a.example.com/b" },
        });
        Edit::Alert { before: None, after: Some(serde_json::from_value(json).unwrap()) }
    }

    #[test]
    fn an_edit_with_a_template_that_does_not_parse_is_refused_by_name() {
        assert_eq!(judge_items(&[alert("{{ name }}")]), Ok(()));
        let said = judge_items(&[alert("fine"), alert("{{ name")]).unwrap_err();
        assert!(said.starts_with("alert \"ops\": subject template: "), "{said}");
    }

    #[test]
    fn an_edit_that_is_too_large_says_how_large() {
        let check = |n: u128| {
            let json = serde_json::json!({
                "id": CheckId::from_random(n), "name": format!("c{n}"), "interval": "30s", "timeout": "10s",
                "target": { "type": "icmp", "host": "a.example.com" },
            });
            Edit::Check { before: None, after: Some(serde_json::from_value(json).unwrap()) }
        };
        let few: Vec<Edit> = (0..100).map(check).collect();
        assert_eq!(judge_items(&few), Ok(()));
        let many: Vec<Edit> = (0..50_000).map(check).collect();
        let said = judge_items(&many).unwrap_err();
        assert!(said.starts_with("an edit of 50000 items is too large for one change ("), "{said}");
    }
}
