//! What the replicated state can be told: small typed commands, one entry of the log each.
//!
//! The written form is JSON with a version in front of every kind's name only when it differs
//! from the first: a kind that an older build does not know must not reach it
//! ([`Body::kind`] is what peers announce and the master asks for, see the version gate in
//! `daemon`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, NodeId};
use crate::base::units::{HostPort, Span};
pub use crate::config::diff::Edit as ItemEdit;
use crate::config::{Alert, Channel, Check, Name, Peer, Target};
use crate::identity::Succession;
use crate::verdict::Transition;

/// One command: who said it when, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Through which node it came.
    pub by: NodeId,
    /// When, by that node's wall clock: for showing, never for deciding.
    pub at: Wall,
    /// What.
    pub body: Body,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(clippy::large_enum_variant)] // one at a time passes by; a box would only be in the way
pub enum Body {
    /// Change the configuration.
    Change(Change),
    /// An edited `cluster.yaml`: all of it or nothing.
    HandEdit {
        /// What the edit did to each item it touched.
        items: Vec<ItemEdit>,
    },
    /// Verdicts changed: some hundreds at most in one command.
    Verdicts {
        /// In order of check id.
        changes: Vec<Transition>,
    },
    /// An owed message was accepted by its destination.
    Delivered {
        /// Which.
        delivery: DeliveryId,
    },
    /// An owed message will not be delivered.
    GaveUp {
        /// Which.
        delivery: DeliveryId,
        /// Why: a permanent refusal, or 24 h of trying.
        why: String,
    },
    /// Send nothing about a check, or about any, for a while; verdicts go on.
    Silence {
        /// Which check; all when none.
        check: Option<CheckId>,
        /// For how long from [`Command::at`].
        length: Span,
        /// Why, for the listing; may be empty.
        reason: String,
    },
    /// A silence ends: an operator says so, or the master because its time has come.
    EndSilence {
        /// Which.
        id: SilenceId,
    },
    /// Time to repeat DOWN: from the master.
    Remind {
        /// What is due.
        due: Vec<Reminder>,
    },
    /// A node has another key from now on.
    RotateKey {
        /// Both keys' word for it, of this config version and no other.
        succession: Box<Succession>,
        /// The certificate of the new key.
        cert_pem: String,
    },
}

/// DOWN that is to be repeated. Applied only where `nth` is the next number, so that the same one
/// proposed twice is sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reminder {
    /// Which check is still down.
    pub check: CheckId,
    /// Who is reminded.
    pub alert: AlertId,
    /// The first reminder of an outage has 1.
    pub nth: u32,
}

/// A silence: the log index of the command that began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SilenceId(pub u64);

impl std::fmt::Display for SilenceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a command means for the membership of the quorum: the master proposes the two together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// This peer is new.
    Add(NodeId),
    /// This peer goes.
    Remove(NodeId),
}

/// The names of all kinds that this build understands, as announced to peers.
pub const KINDS: &[&str] = &[
    "change",
    "hand_edit",
    "verdicts",
    "delivered",
    "gave_up",
    "silence",
    "end_silence",
    "remind",
    "rotate_key",
];

impl Body {
    /// The name of the kind, one of [`KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Change(_) => "change",
            Body::HandEdit { .. } => "hand_edit",
            Body::Verdicts { .. } => "verdicts",
            Body::Delivered { .. } => "delivered",
            Body::GaveUp { .. } => "gave_up",
            Body::Silence { .. } => "silence",
            Body::EndSilence { .. } => "end_silence",
            Body::Remind { .. } => "remind",
            Body::RotateKey { .. } => "rotate_key",
        }
    }

    /// What the command means for the membership, if anything.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        match self {
            Body::Change(Change::AddPeer(peer)) => Some(Member::Add(peer.node_id)),
            Body::Change(Change::RemovePeer(id)) => Some(Member::Remove(*id)),
            Body::HandEdit { items } => items.iter().find_map(|item| match item {
                ItemEdit::RemovePeer { id } => Some(Member::Remove(*id)),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Whether somebody waits for the result, and may ask again under the same request id. The
    /// others come from the master alone and are harmless when they are applied twice.
    #[must_use]
    pub fn has_client(&self) -> bool {
        match self {
            Body::Change(_)
            | Body::HandEdit { .. }
            | Body::Silence { .. }
            | Body::EndSilence { .. }
            | Body::RotateKey { .. } => true,
            Body::Verdicts { .. } | Body::Delivered { .. } | Body::GaveUp { .. } | Body::Remind { .. } => {
                false
            }
        }
    }
}

/// A change of the configuration. Items are named by id; names were resolved by who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A new check.
    AddCheck(Check),
    /// Some fields of a check.
    EditCheck {
        /// Which.
        id: CheckId,
        /// What changes.
        edit: CheckEdit,
    },
    /// A check goes, with its verdict and open incident.
    RemoveCheck(CheckId),
    /// A new alert.
    AddAlert(Alert),
    /// Some fields of an alert.
    EditAlert {
        /// Which.
        id: AlertId,
        /// What changes.
        edit: AlertEdit,
    },
    /// An alert goes, out of all checks too, with what it was owed.
    RemoveAlert(AlertId),
    /// A new peer. Goes with `MemberChange::Add`.
    AddPeer(Peer),
    /// Another address for a peer.
    EditPeer {
        /// Which.
        id: NodeId,
        /// Its new address.
        advertise: HostPort,
    },
    /// A peer goes. Goes with `MemberChange::Remove`.
    RemovePeer(NodeId),
    /// A cluster setting.
    Set(Setting),
}

/// Fields of a check that change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckEdit {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Another target (of the same type or not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Another interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Another timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Another list of own alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_ids: Option<BTreeSet<AlertId>>,
    /// Another list of suppressed alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_alert_ids: Option<BTreeSet<AlertId>>,
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Fields of an alert that change; `None` stays, `Some(None)` is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertEdit {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// For every check or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Repeat DOWN.
    #[serde(skip_serializing_if = "Option::is_none", with = "twice")]
    #[cfg_attr(feature = "older", serde(skip))]
    pub remind: Option<Option<Span>>,
    /// Another subject.
    #[serde(skip_serializing_if = "Option::is_none", with = "twice")]
    pub subject_template: Option<Option<String>>,
    /// Another body.
    #[serde(skip_serializing_if = "Option::is_none", with = "twice")]
    pub body_template: Option<Option<String>>,
    /// Another channel (whole).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

/// `Some(None)` as `null`, which plain serde reads back as `None`.
mod twice {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::option_option, clippy::ref_option)] // the shape that serde's `with` asks for
    pub fn serialize<T: Serialize, S: Serializer>(v: &Option<Option<T>>, s: S) -> Result<S::Ok, S::Error> {
        v.as_ref().and_then(Option::as_ref).serialize(s)
    }

    #[allow(clippy::option_option)]
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(d).map(Some)
    }
}

/// A cluster setting and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// How often nodes speak.
    Heartbeat(Span),
    /// When a silent node is dead.
    DeadAfter(Span),
    /// How long a returning lower NodeID waits.
    MasterCooldown(Span),
    /// Evaluations in a row that change a verdict.
    Hysteresis(u32),
}

/// A message owed to a destination: from the log index of the command that made it owed, so that
/// every node, and every later master, gives it the same name, and mail the same Message-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryId {
    /// Log index of the command.
    pub index: u64,
    /// Counts the messages that this command made owed.
    pub n: u32,
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.n)
    }
}

impl std::str::FromStr for DeliveryId {
    type Err = String;
    fn from_str(text: &str) -> Result<DeliveryId, String> {
        let (index, n) = two_numbers(text).ok_or_else(|| format!("{text:?} is not a message (want 12.0)"))?;
        Ok(DeliveryId { index, n })
    }
}

/// `12.0` as its two numbers.
pub(super) fn two_numbers(text: &str) -> Option<(u64, u32)> {
    let (index, n) = text.split_once('.')?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(index) || !digits(n) {
        return None;
    }
    Some((index.parse().ok()?, n.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_tells_removing_a_template_from_leaving_it() {
        for edit in [
            AlertEdit::default(),
            AlertEdit { subject_template: Some(None), ..AlertEdit::default() },
            AlertEdit { subject_template: Some(Some("x".into())), ..AlertEdit::default() },
        ] {
            let text = serde_json::to_string(&edit).unwrap();
            assert_eq!(serde_json::from_str::<AlertEdit>(&text).unwrap(), edit, "{text}");
        }
    }

    #[test]
    fn the_written_form_of_a_body_begins_with_its_kind() {
        let delivery = DeliveryId { index: 1, n: 0 };
        let check = CheckId::from_random(1);
        for body in [
            Body::Change(Change::RemoveCheck(check)),
            Body::HandEdit { items: vec![] },
            Body::Verdicts { changes: vec![] },
            Body::Delivered { delivery },
            Body::GaveUp { delivery, why: String::new() },
            Body::Silence { check: None, length: Span::from_secs(1), reason: String::new() },
            Body::EndSilence { id: SilenceId(3) },
            Body::Remind { due: vec![] },
        ] {
            let text = serde_json::to_string(&body).unwrap();
            assert!(text.starts_with(&format!("{{\"{}\"", body.kind())), "{text}");
            assert!(KINDS.contains(&body.kind()));
            assert_eq!(serde_json::from_str::<Body>(&text).unwrap(), body);
        }
    }

    #[test]
    fn ids_of_messages_survive_their_text() {
        let id = DeliveryId { index: 12, n: 3 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "12.", ".1", "+1.2", "1.2.3", "1.99999999999"] {
            assert!(bad.parse::<DeliveryId>().is_err(), "{bad}");
        }
    }
}
