//! What a probe found, and what the cluster makes of it: the words that probes, verdicts, state
//! and alerts share.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::id::{CheckId, NodeId};

/// Where in a probe the failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Resolving the name.
    Dns,
    /// Making the connection.
    Connect,
    /// The TLS handshake, certificate included.
    Tls,
    /// Sending the request and waiting for the answer's head.
    Http,
    /// Reading the body.
    Body,
    /// Waiting for an echo reply.
    Icmp,
    /// On this node, before anything was sent: no descriptor, no permission.
    Local,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Dns => "dns",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::Http => "http",
            Stage::Body => "body",
            Stage::Icmp => "icmp",
            Stage::Local => "local",
        })
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The target answered as it should.
    Ok,
    /// It did not; `detail` is the whole sentence for people (`connect: connection refused`,
    /// `status 503`), harmless and at most 300 characters.
    Failed {
        /// Where.
        stage: Stage,
        /// The sentence.
        detail: String,
    },
}

impl Outcome {
    /// Whether the target answered as it should.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Ok)
    }

    /// The sentence about a failure; empty for a success.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Outcome::Ok => "",
            Outcome::Failed { detail, .. } => detail,
        }
    }
}

/// The result of one probe by one node. Who made it is what the connection's key proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Of which check.
    pub check: CheckId,
    /// Counts this node's probes of this check since its daemon started; a report with a round
    /// that was seen already is not a new one.
    pub round: u64,
    /// Fingerprint of what was probed (target and timing), so that a report of the check as it was
    /// before an edit is not taken for one of the check as it is.
    pub of: u64,
    /// How long the probe took, milliseconds.
    pub took_ms: u32,
    /// What it found.
    pub outcome: Outcome,
}

/// The cluster's state for a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nobody knows (yet).
    #[default]
    Unknown,
    /// A quorum saw it answer.
    Up,
    /// A quorum saw it fail.
    Down,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Unknown => "unknown",
            Verdict::Up => "up",
            Verdict::Down => "down",
        })
    }
}

/// What one node's newest fresh report said when a verdict changed: the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Who.
    pub node: NodeId,
    /// What.
    pub outcome: Outcome,
    /// How long its probe took, milliseconds.
    pub took_ms: u32,
}

/// A change of verdict, as the master proposes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Of which check.
    pub check: CheckId,
    /// From.
    pub from: Verdict,
    /// To.
    pub to: Verdict,
    /// The fresh reports it rests on, by node.
    pub seen: Vec<Seen>,
    /// Fresh reports are counted against this many peers.
    pub peers: u32,
}
