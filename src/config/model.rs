//! What operators say, as values that cannot be wrong by themselves: settings, peers, checks,
//! alerts. What can only be judged together (a duplicate name, an alert that does not exist) is
//! `state::changes`'s to refuse.
//!
//! The written form in `cluster.yaml` is `yaml.rs`'s; the derived serde form here is the one of
//! the log and of messages between nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, ClusterId, NodeId};
use crate::base::shared::map::SharedMap;
use crate::base::units::{Host, HostPort, Span};
use crate::identity::Fingerprint;

pub use super::mail::{Header, Mailbox};
pub use super::name::Name;
pub use super::secret::Secret;
pub use super::url::Url;

/// The port that nodes listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 9901;
/// How often a check is probed unless told otherwise.
pub const DEFAULT_INTERVAL: Span = Span::from_secs(30);
/// How long a probe may take unless told otherwise; the interval where that is shorter.
pub const DEFAULT_TIMEOUT: Span = Span::from_secs(10);
/// No check is probed more often than this: a typing slip must not become a flood.
pub const SHORTEST_INTERVAL: Span = Span::from_secs(1);

/// The status that means up unless told otherwise.
pub const DEFAULT_STATUS: u16 = 200;
/// A mail to more than this many is a mailing list's work.
pub const MOST_RECIPIENTS: usize = 100;
/// The longest template, bytes.
pub const LONGEST_TEMPLATE: usize = 16 * 1024;

/// Checks by id. Versions of a configuration share those that are the same in both.
pub type Checks = SharedMap<CheckId, Arc<Check>>;

/// The replicated configuration: everything that is in `cluster.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Which cluster this is.
    pub id: ClusterId,
    /// Grows by one with every committed change of what is below.
    pub version: u64,
    /// When the last change was made, by the clock of the node that took it.
    pub updated_at: Wall,
    /// Through which node the last change came.
    pub updated_by: Option<NodeId>,
    /// Timing.
    pub settings: Settings,
    /// The members.
    pub peers: BTreeMap<NodeId, Peer>,
    /// What is watched. Shared, since the scheduler and the view hold them too.
    pub checks: Checks,
    /// Where alerts go.
    pub alerts: BTreeMap<AlertId, Arc<Alert>>,
}

/// Cluster-wide timing, validated together by [`Settings::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often every node tells every peer that it lives.
    pub heartbeat: Span,
    /// A peer not heard from for this long is not live.
    pub dead_after: Span,
    /// How long a returning peer of lower NodeID must be live before it takes over.
    pub master_cooldown: Span,
    /// Evaluations in a row that change a verdict.
    pub hysteresis: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat: Span::from_secs(1),
            dead_after: Span::from_secs(4),
            master_cooldown: Span::from_secs(120),
            hysteresis: 2,
        }
    }
}

impl Settings {
    /// The rules that span several settings.
    ///
    /// # Errors
    /// A sentence that names the setting and the rule.
    pub fn validate(&self) -> Result<(), String> {
        self.fault().map_or(Ok(()), |(field, why)| Err(format!("{field} {why}")))
    }

    /// The field that breaks a rule, and the rule.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if self.heartbeat.millis() < 20 {
            return Some(("heartbeat", format!("{} is too short (20ms at least)", self.heartbeat)));
        }
        if self.dead_after.millis() < 3 * self.heartbeat.millis() {
            let least = Span::from_millis(3 * self.heartbeat.millis());
            let why = format!("{} must be at least three heartbeats ({least})", self.dead_after);
            return Some(("dead_after", why));
        }
        if self.dead_after.millis() > 3_600_000 {
            return Some(("dead_after", format!("{} is too long (1h at most)", self.dead_after)));
        }
        if !(1..=100).contains(&self.hysteresis) {
            return Some(("hysteresis", format!("{} is out of range (1 to 100)", self.hysteresis)));
        }
        None
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Who.
    pub node_id: NodeId,
    /// Where the others reach it.
    pub advertise: HostPort,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its certificate, PEM.
    pub cert_pem: String,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type", deny_unknown_fields)]
pub enum Target {
    /// A web address.
    Http {
        /// Where.
        url: Url,
        /// The status that means up; 0: any 2xx.
        expect_status: u16,
        /// The first MiB of the body must contain this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body_match: Option<String>,
    },
    /// A port that must accept a connection.
    Tcp {
        /// Where.
        to: HostPort,
    },
    /// A host that must answer an echo request.
    Icmp {
        /// Who.
        host: Host,
    },
}

impl Target {
    /// `http`, `tcp`, `icmp`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Http { .. } => "http",
            Target::Tcp { .. } => "tcp",
            Target::Icmp { .. } => "icmp",
        }
    }

    /// What is watched, as the operator wrote it.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Target::Http { url, .. } => url.to_string(),
            Target::Tcp { to } => to.to_string(),
            Target::Icmp { host } => host.to_string(),
        }
    }
}

/// A target and how to watch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Never changes.
    pub id: CheckId,
    /// Unique among checks.
    pub name: Name,
    /// What.
    pub target: Target,
    /// How often; [`SHORTEST_INTERVAL`] at least.
    pub interval: Span,
    /// How long one probe may take; the interval at most.
    pub timeout: Span,
    /// Alerts of its own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub alert_ids: BTreeSet<AlertId>,
    /// Default alerts it does not want.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub suppress_alert_ids: BTreeSet<AlertId>,
    /// A disabled check is not probed and owes nothing.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
}

impl Check {
    /// The rules within one check.
    ///
    /// # Errors
    /// A sentence that names the check, the field and the rule.
    pub fn validate(&self) -> Result<(), String> {
        self.fault().map_or(Ok(()), |(_, why)| Err(format!("check {:?}: {why}", self.name.as_str())))
    }

    /// The field of the written form that breaks a rule, and the rule.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if self.interval < SHORTEST_INTERVAL {
            let why = format!("interval {} is too short ({SHORTEST_INTERVAL} at least)", self.interval);
            return Some(("interval", why));
        }
        if self.timeout > self.interval {
            let why = format!("timeout {} is longer than the interval {}", self.timeout, self.interval);
            return Some(("timeout", why));
        }
        if let Target::Http { expect_status, body_match, .. } = &self.target {
            if *expect_status != 0 && !(100..=599).contains(expect_status) {
                let why =
                    format!("expected status {expect_status} is out of range (100 to 599, 0 for any 2xx)");
                return Some(("expect_status", why));
            }
            if body_match.as_ref().is_some_and(|m| m.is_empty() || m.len() > 4096) {
                return Some(("body_match", "body match must have 1 to 4096 bytes".to_owned()));
            }
        }
        None
    }
}

/// A destination and when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Never changes.
    pub id: AlertId,
    /// Unique among alerts.
    pub name: Name,
    /// Used by every check that does not suppress it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub default: bool,
    /// A disabled alert is owed nothing new.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// DOWN is repeated this often while it lasts.
    #[cfg_attr(not(feature = "older"), serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "older", serde(skip))]
    pub remind: Option<Span>,
    /// In place of the built-in subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_template: Option<String>,
    /// In place of the built-in body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_template: Option<String>,
    /// How messages get there.
    pub channel: Channel,
}

impl Alert {
    /// The rules within one alert.
    ///
    /// # Errors
    /// A sentence that names the alert, the field and the rule, without a secret.
    pub fn validate(&self) -> Result<(), String> {
        self.fault().map_or(Ok(()), |(_, why)| Err(format!("alert {:?}: {why}", self.name.as_str())))
    }

    /// The field of the written form that breaks a rule, and the rule.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if let Some(remind) = self.remind.filter(|r| *r < SHORTEST_INTERVAL) {
            return Some(("remind", format!("remind {remind} is too short ({SHORTEST_INTERVAL} at least)")));
        }
        let templates =
            [("subject_template", &self.subject_template), ("body_template", &self.body_template)];
        for (field, template) in templates {
            if template.as_ref().is_some_and(|t| t.len() > LONGEST_TEMPLATE) {
                return Some((field, format!("a template must have {LONGEST_TEMPLATE} bytes at most")));
            }
        }
        self.channel.fault()
    }
}

/// How a mail connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Upgraded before anything is said; a relay that does not offer it is an error.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    Plain,
}

/// How messages get to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type", deny_unknown_fields)]
pub enum Channel {
    /// A mail relay.
    Smtp {
        /// The relay.
        host: Host,
        /// Its port.
        port: u16,
        /// Log in as.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// With.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<Secret>,
        /// Envelope and header sender.
        from: Mailbox,
        /// Recipients, one at least.
        to: Vec<Mailbox>,
        /// Protection.
        tls: MailTls,
        /// Certificates (PEM) that a private relay's is checked against, beside the system's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
        /// Further header fields.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<Header>,
    },
    /// A Discord webhook.
    Discord {
        /// Its URL; the path is a secret.
        webhook: Secret,
    },
}

impl Channel {
    /// `smtp`, `discord`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Smtp { .. } => "smtp",
            Channel::Discord { .. } => "discord",
        }
    }

    /// The field of the written form that breaks a rule, and the rule.
    fn fault(&self) -> Option<(&'static str, String)> {
        match self {
            Channel::Smtp { port, user, password, to, ca_pem, .. } => {
                let broken = |text: &str| text.is_empty() || text.chars().any(char::is_control);
                if *port == 0 {
                    return Some(("smtp_port", "the port must be 1 to 65535".to_owned()));
                }
                if !(1..=MOST_RECIPIENTS).contains(&to.len()) {
                    return Some(("smtp_to", format!("want 1 to {MOST_RECIPIENTS} recipients")));
                }
                if user.as_deref().is_some_and(broken) {
                    return Some(("smtp_user", "the user must be one line of text".to_owned()));
                }
                if password.as_ref().is_some_and(|p| broken(p.reveal())) {
                    return Some(("smtp_password", "the password must be one line of text".to_owned()));
                }
                if password.as_ref().is_some_and(|p| p.reveal() == super::write::UNCHANGED) {
                    let why = format!("{:?} stands for a secret, and is none", super::write::UNCHANGED);
                    return Some(("smtp_password", why));
                }
                if password.is_some() && user.is_none() {
                    return Some(("smtp_password", "a password needs a user".to_owned()));
                }
                let certificates = |pem: &String| pem.contains("-----BEGIN CERTIFICATE-----");
                if !ca_pem.as_ref().is_none_or(certificates) {
                    return Some(("smtp_ca_pem", "there is no certificate (PEM) in it".to_owned()));
                }
                None
            }
            // The URL is a secret: why it is none must not show it.
            Channel::Discord { webhook } => match webhook.reveal().parse::<Url>() {
                Ok(_) => None,
                Err(_) => Some(("discord_webhook", "the webhook is not an http or https URL".to_owned())),
            },
        }
    }

    /// Where messages go, without secrets: the recipients, or the webhook's host.
    #[must_use]
    pub fn destination(&self) -> String {
        match self {
            Channel::Smtp { host, port, to, .. } => {
                let to: Vec<&str> = to.iter().map(Mailbox::as_str).collect();
                format!("{} via {host}:{port}", to.join(","))
            }
            Channel::Discord { webhook } => match webhook.reveal().parse::<Url>() {
                Ok(url) => format!("{}/...", url.to),
                Err(_) => "(unreadable webhook)".to_owned(),
            },
        }
    }
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants a reference
fn is_yes(b: &bool) -> bool {
    *b
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants a reference
fn is_no(b: &bool) -> bool {
    !*b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_judged_together() {
        let ok = Settings::default();
        assert!(ok.validate().is_ok());
        assert!(Settings { dead_after: Span::from_secs(2), ..ok }.validate().is_err());
        assert!(Settings { hysteresis: 0, ..ok }.validate().is_err());
    }
}
