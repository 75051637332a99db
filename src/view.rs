//! Layer 2: one immutable picture of node and cluster, for `qu status`, every listing and `--json`.
//!
//! The core builds a [`View`] when something has changed and publishes it behind an `Arc`; readers
//! never reach into the core. What grows with the configuration is behind an `Arc` of its own, item
//! by item, so that a new picture after one report shares all but one check with the old one.
//!
//! The field names are the contract of `--json`: a field may be added, never renamed or removed.
//! An older reader ignores fields that it does not know; a field added later carries
//! `#[serde(default)]`, so that a newer reader takes an older daemon's picture.
//!
//! Nothing secret is in here. Times are RFC 3339 in UTC, whole seconds; lengths of time that an
//! operator sets are written as he writes them (`30s`), measured ones are numbers of milliseconds.

mod list;
pub mod mesh;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, ClusterId, NodeId, Resolve, resolve};
use crate::base::units::{HostPort, Span};
use crate::config::Settings;
use crate::identity::Fingerprint;
use crate::verdict::Verdict;

pub use list::CheckList;

/// What one node knows of itself and its cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The node that answers.
    pub node: NodeId,
    /// The version of its daemon, `0.1.0`.
    pub version: String,
    /// When the picture was made, by this node's wall clock.
    #[serde(with = "stamp")]
    pub at: Wall,
    /// How long the daemon has been running, milliseconds.
    pub uptime_ms: u64,
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// Grows with every change of the master, to and from "none" included.
    pub term: u64,
    /// The master, if there is one and it is heard.
    pub master: Option<NodeId>,
    /// This node is master, and may act as such for so long after the picture was made even if it
    /// hears nobody any more, milliseconds: a majority has promised to follow nobody else until
    /// then. Absent when it may not act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for_ms: Option<u64>,
    /// Who is there, and how many it takes.
    pub quorum: Quorum,
    /// Grows by one with every committed change of the configuration.
    pub config_version: u64,
    /// When the configuration was last changed.
    #[serde(with = "stamp")]
    pub updated_at: Wall,
    /// Through which node.
    pub updated_by: Option<NodeId>,
    /// The cluster's settings.
    pub settings: Settings,
    /// Voters and learners, this node among them, in order of NodeID.
    pub peers: Arc<Vec<PeerView>>,
    /// In order of name.
    pub checks: CheckList,
    /// The same ones laid out, in place of `checks`: [`CheckList::table`]. Only when they were asked
    /// for so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// In order of name.
    pub alerts: Arc<Vec<Arc<AlertView>>>,
    /// How this node's own probes are doing.
    pub probes: ProbeStats,
    /// What somebody should look at, as sentences: a failing disk, a refused hand edit, a peer
    /// with a clock far off. Late probes, learners and failing alerts are in their own fields;
    /// `qu status` makes sentences of those itself.
    pub notes: Vec<Note>,
}

/// Who is there, and how many it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// `live >= need`.
    pub ok: bool,
    /// Live peers that count, this node included.
    pub live: u32,
    /// How many are a quorum.
    pub need: u32,
    /// How many peers count.
    pub of: u32,
}

/// The count, for people. A node for which nothing is committed yet has nobody to count.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum { of: 0, .. } => f.write_str(
                "this node has no committed configuration; the notes of qu status say what it waits for",
            ),
            Quorum { live, need, of, .. } => write!(f, "{live} of {of} peers live, need {need}"),
        }
    }
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Who.
    pub node_id: NodeId,
    /// Where the others reach it.
    pub advertise: HostPort,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// It is the node that answers.
    pub me: bool,
    /// Heard from within dead-after; always true for the node that answers.
    pub live: bool,
    /// Last contact either way; the time of the picture for the node that answers.
    #[serde(with = "stamp::option")]
    pub last_seen: Option<Wall>,
    /// It counts towards the quorum; a learner, still being caught up, does not.
    pub voter: bool,
    /// The version of its daemon, once it has said so.
    pub version: Option<String>,
    /// Its wall clock minus ours, milliseconds, once measured.
    pub clock_offset_ms: Option<i64>,
    /// Whom it hears itself, by its own word; absent until it has said so.
    pub hears: Option<Vec<NodeId>>,
    /// Why this node cannot connect to it at its address; it may be connected all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One check and its state. How it is written: `view/list.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckView {
    /// Never changes.
    pub id: CheckId,
    /// What operators call it.
    pub name: String,
    /// `http`, `tcp`, `icmp`.
    #[serde(rename = "type")]
    pub kind: String,
    /// URL, `host:port`, or host.
    pub target: String,
    /// http only: the status that means up; 0: any 2xx.
    pub expect_status: Option<u16>,
    /// http only: what the body must contain.
    pub body_match: Option<String>,
    /// How often it is probed.
    pub interval: Span,
    /// How long one probe may take.
    pub timeout: Span,
    /// A disabled check is not probed and owes nothing.
    pub enabled: bool,
    /// The cluster's verdict.
    pub state: Verdict,
    /// Since when; absent while it has never been known.
    #[serde(deserialize_with = "stamp::option::deserialize")]
    pub since: Option<Wall>,
    /// Fresh reports of success.
    pub ok: u32,
    /// Fresh reports.
    pub total: u32,
    /// Names of the alerts that a transition would owe: its own and the default ones, without the
    /// suppressed.
    pub alerts: Vec<String>,
    /// Names of the default alerts that it does not want.
    #[serde(default)]
    pub suppressed: Vec<String>,
    /// The sentence of the first failing report, in order of NodeID, whatever the verdict is.
    pub detail: Option<String>,
    /// Whose report that is.
    pub detail_node: Option<NodeId>,
    /// The newest report of each node that has one, in order of NodeID. Left out of an answer
    /// unless it was asked for.
    #[serde(default)]
    pub nodes: Vec<NodeReport>,
}

impl CheckView {
    /// `up`, `down`, `unknown`, or `disabled`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (self.enabled, self.state) {
            (false, _) => "disabled",
            (true, Verdict::Unknown) => "unknown",
            (true, Verdict::Up) => "up",
            (true, Verdict::Down) => "down",
        }
    }
}

/// What one node's newest report of a check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Whose.
    pub node: NodeId,
    /// Success.
    pub ok: bool,
    /// The sentence about a failure.
    pub detail: Option<String>,
    /// How long the probe took, milliseconds.
    pub took_ms: u32,
    /// How old the report is, milliseconds.
    pub age_ms: u64,
    /// Young enough to count.
    pub fresh: bool,
}

/// One destination, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// Never changes.
    pub id: AlertId,
    /// What operators call it.
    pub name: String,
    /// `smtp`, `discord`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where messages go: `config::Channel::destination`.
    pub destination: String,
    /// Used by every check that does not suppress it.
    pub default: bool,
    /// A disabled alert is owed nothing new.
    pub enabled: bool,
    /// DOWN is repeated this often while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remind: Option<Span>,
    /// Messages owed and not yet delivered.
    pub queue: u32,
    /// When the destination last accepted a message.
    #[serde(with = "stamp::option")]
    pub last_success: Option<Wall>,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
    /// When that was.
    #[serde(with = "stamp::option")]
    pub last_error_at: Option<Wall>,
    /// Messages given up so far.
    pub failed: u64,
}

/// How this node's own probes are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeStats {
    /// Probes under way.
    pub running: u32,
    /// Probes due and waiting for a worker.
    pub waiting: u32,
    /// Probes finished since the daemon started.
    pub done: u64,
    /// Probes of the last minute that started more than a quarter of a second late.
    pub late: u64,
    /// The worst delay of the last minute, milliseconds.
    pub worst_late_ms: u64,
    /// 99 of 100 probes of the last minute started within this, milliseconds.
    pub p99_late_ms: u64,
    /// Rounds of the last minute that were not probed, because the one before still ran or this
    /// node stood still.
    pub lost: u64,
    /// Sockets that probes have open.
    pub sockets: u32,
    /// So many sockets they may have open; a probe that finds none left waits.
    pub most_sockets: u32,
    /// Threads that compute TLS handshakes now.
    pub workers: u32,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How bad it is.
    pub level: NoteLevel,
    /// One line for people.
    pub text: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteLevel {
    /// Worth a look in daylight.
    Warning,
    /// A promise is in danger.
    Problem,
}

/// One entry of this node's trust store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// Who.
    pub node_id: NodeId,
    /// Where it was met.
    pub address: HostPort,
    /// The key that is accepted for it.
    pub fingerprint: Fingerprint,
}

/// One time that a check was down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    /// The same on every node.
    pub id: String,
    /// Which check.
    pub check: CheckId,
    /// As it was called when the incident began.
    pub name: String,
    /// What was watched.
    pub target: String,
    /// When the verdict became `down`.
    #[serde(with = "stamp")]
    pub started: Wall,
    /// When it ended; absent while it lasts.
    #[serde(with = "stamp::option")]
    pub ended: Option<Wall>,
    /// How it ended: `recovered`, `no reports`, `check disabled`, `target changed`, `check removed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The first failing node's sentence.
    pub detail: Option<String>,
    /// What each node saw when it began.
    pub down_seen: Vec<IncidentSeen>,
    /// What each node saw when it ended.
    pub up_seen: Vec<IncidentSeen>,
}

/// A while in which nothing is sent about a check, or about any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceView {
    /// The same on every node.
    pub id: String,
    /// The name of the check; absent: all checks.
    pub check: Option<String>,
    /// Since when.
    #[serde(with = "stamp")]
    pub from: Wall,
    /// Until when.
    #[serde(with = "stamp")]
    pub until: Wall,
    /// Why; may be empty.
    pub reason: String,
}

/// What one node saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentSeen {
    /// Who.
    pub node: NodeId,
    /// Success.
    pub ok: bool,
    /// The sentence about a failure.
    pub detail: Option<String>,
    /// How long the probe took, milliseconds.
    pub took_ms: u32,
}

/// Which checks an answer is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only this check, by name, id or beginning of an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Only checks in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Verdict>,
    /// At most so many checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// With [`CheckView::nodes`].
    pub nodes: bool,
    /// [`View::table`] in place of [`View::checks`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub table: bool,
    /// No checks at all: for listings of other things.
    pub no_checks: bool,
}

impl View {
    /// The picture with only those checks that the filter lets through.
    ///
    /// # Errors
    /// A sentence, when the filter names a check that is not there or not one.
    pub fn filtered(&self, filter: &Filter) -> Result<View, String> {
        if filter.no_checks {
            return Ok(View { checks: CheckList::default(), ..self.clone() });
        }
        let only = match &filter.check {
            Some(typed) => Some(self.find_check(typed)?),
            None => None,
        };
        let passes = |check: &&Arc<CheckView>| {
            only.is_none_or(|id| check.id == id)
                && filter.state.is_none_or(|s| check.enabled && check.state == s)
        };
        let limit = filter.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let checks = if only.is_none() && filter.state.is_none() && limit >= self.checks.len() {
            self.checks.clone()
        } else {
            self.checks.iter().filter(passes).take(limit).cloned().collect()
        };
        if filter.table {
            return Ok(View { checks: CheckList::default(), table: checks.table(), ..self.clone() });
        }
        let checks = if filter.nodes { checks } else { checks.brief() };
        Ok(View { checks, ..self.clone() })
    }

    /// Which check an operator means.
    ///
    /// # Errors
    /// A sentence, when none or several fit.
    pub fn find_check(&self, typed: &str) -> Result<CheckId, String> {
        match resolve(typed, self.checks.iter().map(|c| (c.id, c.name.as_str()))) {
            Resolve::One(id) => Ok(id),
            Resolve::None => Err(format!("no check {typed:?} (see qu check list)")),
            Resolve::Ambiguous(ids) => {
                Err(format!("check {typed:?} is ambiguous: {}; type more of the id", ids.join(", ")))
            }
        }
    }
}

/// Times as RFC 3339.
pub(crate) mod stamp {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::clock::Wall;
    use crate::base::text::{parse_rfc3339, rfc3339};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde wants a reference
    pub fn serialize<S: Serializer>(at: &Wall, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&rfc3339(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Wall, D::Error> {
        let text = String::deserialize(d)?;
        parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
    }

    /// Times that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        use crate::base::clock::Wall;
        use crate::base::text::{parse_rfc3339, rfc3339};

        #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)] // the shape that serde asks for
        pub fn serialize<S: Serializer>(at: &Option<Wall>, s: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => s.serialize_str(&rfc3339(*at)),
                None => s.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Wall>, D::Error> {
            let wrong = |text: &str| serde::de::Error::custom(format!("{text:?} is not a time"));
            let text = Option::<String>::deserialize(d)?;
            text.map(|t| parse_rfc3339(&t).ok_or_else(|| wrong(&t))).transpose()
        }
    }
}

#[cfg(test)]
mod tests;
