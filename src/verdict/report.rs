//! What a probe found, and what the cluster makes of it: the words that probes, verdicts, state
//! and alerts share.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::id::{CheckId, NodeId};
use crate::config::{Check, Target};

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
    /// Drawn at random when the node's daemon starts: rounds begin again after a restart.
    pub boot: u64,
    /// Counts this node's probes of this check since its daemon started, upwards; a report whose
    /// round is not above the newest one seen of the same `boot` is not a new one.
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
    /// [`definition`] of the check that was judged: where the check was edited in the meantime,
    /// this transition is about something else and is ignored.
    pub of: u64,
    /// The fresh reports it rests on, by node.
    pub seen: Vec<Seen>,
    /// Fresh reports are counted against this many peers.
    pub peers: u32,
}

/// The fingerprint of what a probe of this check does: target, interval, timeout. Names, alerts
/// and the switch do not matter.
///
/// FNV-1a, 64 bits, over the written forms, each behind its length. It travels between nodes, so
/// it must come out the same in every build.
#[must_use]
pub fn definition(check: &Check) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |part: &str| {
        let length = part.len().to_string();
        for byte in length.bytes().chain([b':']).chain(part.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    feed(check.target.kind());
    feed(&check.target.address());
    feed(&check.interval.millis().to_string());
    feed(&check.timeout.millis().to_string());
    if let Target::Http { expect_status, body_match, .. } = &check.target {
        feed(&expect_status.to_string());
        if let Some(text) = body_match {
            feed(text);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;

    fn check() -> Check {
        Check {
            id: CheckId::from_random(1),
            name: "web".parse().unwrap(),
            target: Target::Http {
                url: "https://example.com/".parse().unwrap(),
                expect_status: 200,
                body_match: None,
            },
            interval: Span::from_secs(30),
            timeout: Span::from_secs(10),
            alert_ids: Default::default(),
            suppress_alert_ids: Default::default(),
            enabled: true,
        }
    }

    #[test]
    fn what_a_probe_does_not_depend_on_leaves_the_definition_alone() {
        let renamed = Check { name: "shop".parse().unwrap(), enabled: false, ..check() };
        assert_eq!(definition(&check()), definition(&renamed));
        assert_eq!(definition(&check()), 0xd56b_85fe_cf9e_b5e7, "other builds must find the same");
    }

    #[test]
    fn every_part_of_a_probe_is_in_the_definition() {
        let target = |body: Option<&str>, expect_status| Target::Http {
            url: "https://example.com/".parse().unwrap(),
            expect_status,
            body_match: body.map(str::to_owned),
        };
        let others = [
            Check { interval: Span::from_secs(31), ..check() },
            Check { timeout: Span::from_secs(9), ..check() },
            Check { target: target(Some("ok"), 200), ..check() },
            Check { target: target(None, 204), ..check() },
            Check { target: Target::Tcp { to: "example.com:443".parse().unwrap() }, ..check() },
            Check { target: Target::Icmp { host: "example.com".parse().unwrap() }, ..check() },
        ];
        let all: std::collections::BTreeSet<u64> = others.iter().chain([&check()]).map(definition).collect();
        assert_eq!(all.len(), others.len() + 1);
    }
}
