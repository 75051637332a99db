//! What applying a command gives: a result for whoever asked, the same on every node, and the
//! effects that each node carries out for itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, NodeId};
use crate::base::text::{rfc3339, shorten};
use crate::verdict::Verdict;

use super::command::{DeliveryId, SilenceId};
use super::diff::Diff;
use super::incidents::IncidentId;

/// A command was applied (or refused, or known already).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What whoever asked is told.
    pub result: Result<Done, Refused>,
    /// What changed that somebody outside must act on.
    pub effects: Effects,
    /// The request was answered before: this is that answer, and nothing was done.
    pub repeated: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The config version after it.
    pub version: u64,
    /// What.
    pub what: What,
}

/// A kind of item, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A check.
    Check,
    /// An alert.
    Alert,
    /// A peer.
    Peer,
    /// A setting.
    Setting,
    /// A silence.
    Silence,
    /// The whole file.
    Configuration,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Item::Check => "check",
            Item::Alert => "alert",
            Item::Peer => "peer",
            Item::Setting => "setting",
            Item::Silence => "silence",
            Item::Configuration => "configuration",
        })
    }
}

/// What a command did. [`Display`](fmt::Display) is the line for people, without the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// An entry of the log without a command.
    Nothing,
    /// An edit that found everything as it wanted it: no new version.
    Unchanged {
        /// Kind.
        item: Item,
        /// Its name.
        name: String,
    },
    /// A new item.
    Added {
        /// Kind.
        item: Item,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// An item is different now.
    Changed {
        /// Kind.
        item: Item,
        /// Its id (of a setting: its name).
        id: String,
        /// Its name (of a setting: the new value).
        name: String,
    },
    /// An item is gone.
    Removed {
        /// Kind.
        item: Item,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A hand edit was taken over.
    Edited {
        /// How many items it changed.
        items: u32,
    },
    /// Verdicts were recorded.
    Verdicts {
        /// So many.
        changed: u32,
        /// So many did not fit what is committed, and were ignored.
        ignored: u32,
    },
    /// A message is off the list.
    Settled {
        /// Which.
        delivery: DeliveryId,
        /// Whether it was still on it.
        was_owed: bool,
    },
    /// A silence began.
    Silenced {
        /// Its id.
        id: SilenceId,
        /// The name of the check; all checks when none.
        check: Option<String>,
        /// Until when.
        until: Wall,
    },
    /// A silence ended.
    SilenceEnded {
        /// Its id.
        id: SilenceId,
    },
    /// Reminders are owed.
    Reminded {
        /// So many.
        owed: u32,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Nothing => write!(f, "nothing to do"),
            What::Unchanged { item: Item::Configuration, .. } => write!(f, "configuration unchanged"),
            What::Unchanged { item, name } => write!(f, "{item} {name:?} unchanged"),
            What::Changed { item: Item::Setting, id, name } => write!(f, "set {id} to {name}"),
            What::Added { item, name, .. } => write!(f, "added {item} {name:?}"),
            What::Changed { item, name, .. } => write!(f, "changed {item} {name:?}"),
            What::Removed { item, name, .. } => write!(f, "removed {item} {name:?}"),
            What::Edited { items } => write!(f, "took over an edit of {items} {}", many(*items, "item")),
            What::Verdicts { changed, .. } => write!(f, "recorded {changed} {}", many(*changed, "verdict")),
            What::Settled { delivery, .. } => write!(f, "message {delivery} is off the list"),
            What::Silenced { check: Some(name), until, .. } => {
                write!(f, "silenced check {name:?} until {}", rfc3339(*until))
            }
            What::Silenced { check: None, until, .. } => {
                write!(f, "silenced all checks until {}", rfc3339(*until))
            }
            What::SilenceEnded { id } => write!(f, "ended silence {id}"),
            What::Reminded { owed } => write!(f, "{owed} {} on the way", many(*owed, "reminder")),
        }
    }
}

fn many(count: u32, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Why a command was refused. Nothing was changed; the refusal is the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refused {
    /// Another item has that name.
    NameTaken {
        /// Kind.
        item: Item,
        /// The name.
        name: String,
    },
    /// An item with that id exists.
    Exists {
        /// Kind.
        item: Item,
        /// The id.
        id: String,
    },
    /// There is no such item (any more).
    NoSuch {
        /// Kind.
        item: Item,
        /// The id.
        id: String,
    },
    /// A check names an alert that does not exist.
    UnknownAlert {
        /// The name of the check.
        check: String,
        /// The id of the alert.
        alert: AlertId,
    },
    /// An item breaks a rule; the sentence names item, field and rule.
    Rule(String),
    /// Another peer has that address or key.
    PeerTaken {
        /// `address` or `key`.
        what: String,
        /// It.
        value: String,
        /// Who has it.
        by: NodeId,
    },
    /// A cluster without a peer is none.
    LastPeer,
    /// There are as many items of a kind as there may be.
    TooMany {
        /// Kind.
        item: Item,
        /// How many there may be.
        limit: u32,
    },
    /// A hand edit met a change that came before it; one line for each item.
    Conflict(Vec<String>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NameTaken { item, name } => {
                write!(f, "there is {} named {name:?} already: choose another name", article(*item))
            }
            Refused::Exists { item, id } => write!(f, "{item} {id} exists already"),
            Refused::NoSuch { item, id } => write!(f, "no {item} {id}: it may have been removed"),
            Refused::UnknownAlert { check, alert } => {
                write!(f, "check {check:?} names alert {alert}, which does not exist: add it first")
            }
            Refused::Rule(sentence) => f.write_str(sentence),
            Refused::PeerTaken { what, value, by } => {
                write!(f, "{what} {value} belongs to peer {} already", by.short())
            }
            Refused::LastPeer => {
                write!(f, "the last peer cannot be removed: stop the daemon and delete its data instead")
            }
            Refused::TooMany { item, limit } => {
                write!(f, "there are {limit} {item}s already, which is the limit: remove one first")
            }
            Refused::Conflict(items) => {
                let shown: Vec<String> = items.iter().take(5).map(|line| shorten(line, 200)).collect();
                let more = items.len().saturating_sub(shown.len());
                write!(f, "the configuration has changed since the edit began: {}", shown.join("; "))?;
                if more > 0 { write!(f, "; and {more} more") } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for Refused {}

fn article(item: Item) -> &'static str {
    match item {
        Item::Alert => "an alert",
        Item::Check => "a check",
        Item::Peer => "a peer",
        Item::Setting => "a setting",
        Item::Silence => "a silence",
        Item::Configuration => "a configuration",
    }
}

/// What applying a command changed that somebody outside the state must act on. Empty for what
/// was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What changed in the configuration; empty when its version did not grow.
    pub config: Diff,
    /// Verdicts that changed, in order, for the log.
    pub transitions: Vec<Changed>,
    /// Messages that are owed now and were not before.
    pub owed: Vec<DeliveryId>,
    /// Messages that are not owed any more, and why.
    pub settled: Vec<(DeliveryId, Settled)>,
    /// Alerts whose queue changed: each may have another message to be sent next.
    pub queues: BTreeSet<AlertId>,
    /// A silence began or ended.
    pub silences: bool,
}

impl Effects {
    /// Whether `cluster.yaml` must be written: the config version grew.
    #[must_use]
    pub fn config_changed(&self) -> bool {
        !self.config.is_empty()
    }
}

/// A verdict that changed, or a check that began anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Of which check.
    pub check: CheckId,
    /// Its name.
    pub name: String,
    /// From.
    pub from: Verdict,
    /// To.
    pub to: Verdict,
    /// The incident that opened or closed.
    pub incident: Option<IncidentId>,
    /// It fell into a silence: nobody is told.
    pub silenced: bool,
}

/// Why a message is not owed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The destination accepted it.
    Delivered,
    /// It will not be delivered, for this reason.
    GaveUp(String),
    /// A summary takes its place.
    Folded(DeliveryId),
    /// Its alert was removed.
    AlertRemoved,
}
