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
use crate::config::{Alert, Channel, Check, Name, Peer, Settings, Target};
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
}

/// The names of all kinds that this build understands, as announced to peers.
pub const KINDS: &[&str] = &["change", "hand_edit", "verdicts", "delivered", "gave_up"];

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

/// One item before and after a hand edit: applied where the item still is (or already is again)
/// what the editor saw; anything else is a conflict that refuses the whole edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ItemEdit {
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
