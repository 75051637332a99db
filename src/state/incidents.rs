//! Incidents: from a check's DOWN to its end, with what was seen at both.
//!
//! An open incident belongs to its check's verdict (`verdicts.rs`); here are the closed ones, the
//! last [`MOST_KEPT`] in the order in which they ended. Both are equal on every node.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::clock::Wall;
use crate::base::id::CheckId;
use crate::verdict::Seen;

use super::command::two_numbers;

/// So many closed incidents are kept; the one that ended first goes first.
pub const MOST_KEPT: usize = 1_000;

/// An incident: the log index of the command that opened it, and a number among those that this
/// command opened. Written `index.n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId {
    /// Log index of the command.
    pub index: u64,
    /// Counts the incidents that this command opened.
    pub n: u32,
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.n)
    }
}

impl FromStr for IncidentId {
    type Err = String;
    fn from_str(text: &str) -> Result<IncidentId, String> {
        let (index, n) =
            two_numbers(text).ok_or_else(|| format!("{text:?} is not an incident (want 12.0)"))?;
        Ok(IncidentId { index, n })
    }
}

impl Serialize for IncidentId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IncidentId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A quorum saw the target answer again.
    Recovered,
    /// No node reported any more.
    Lost,
    /// The check was disabled.
    Disabled,
    /// The check watches something else now.
    Retargeted,
    /// The check was removed.
    Removed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ended::Recovered => "recovered",
            Ended::Lost => "no reports",
            Ended::Disabled => "check disabled",
            Ended::Retargeted => "target changed",
            Ended::Removed => "check removed",
        })
    }
}

/// The end of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// When, by the master's wall clock.
    pub at: Wall,
    /// How.
    pub how: Ended,
    /// What each node saw then; empty when nobody was asked.
    pub seen: Vec<Seen>,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Its name for ever.
    pub id: IncidentId,
    /// Of which check.
    pub check: CheckId,
    /// The check's name at that time.
    pub name: String,
    /// What it watched at that time.
    pub target: String,
    /// When DOWN was committed, by the master's wall clock.
    pub start: Wall,
    /// What each node saw then.
    pub seen: Vec<Seen>,
    /// How many peers the cluster had.
    pub peers: u32,
    /// It began in a silence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silenced: bool,
    /// Its end; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl Incident {
    /// The first detail that a failing node gave at the start; empty when there was none.
    #[must_use]
    pub fn detail(&self) -> &str {
        first_detail(&self.seen)
    }
}

/// The detail of the first failing node; empty when none fails.
#[must_use]
pub fn first_detail(seen: &[Seen]) -> &str {
    seen.iter().find(|s| !s.outcome.is_ok()).map_or("", |s| s.outcome.detail())
}

/// The closed incidents that are kept, oldest end first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    closed: VecDeque<Arc<Incident>>,
}

impl Incidents {
    pub(super) fn from_closed(closed: impl IntoIterator<Item = Incident>) -> Incidents {
        Incidents { closed: closed.into_iter().map(Arc::new).collect() }
    }

    pub(super) fn push(&mut self, incident: Incident) {
        if self.closed.len() >= MOST_KEPT {
            self.closed.pop_front();
        }
        self.closed.push_back(Arc::new(incident));
    }

    /// The closed incidents, oldest end first.
    pub fn closed(&self) -> impl DoubleEndedIterator<Item = &Arc<Incident>> {
        self.closed.iter()
    }

    /// A closed incident by its id.
    #[must_use]
    pub fn get(&self, id: IncidentId) -> Option<&Arc<Incident>> {
        self.closed.iter().rev().find(|incident| incident.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(index: u64) -> Incident {
        Incident {
            id: IncidentId { index, n: 0 },
            check: CheckId::from_random(1),
            name: "web".into(),
            target: "example.com:80".into(),
            start: Wall(1),
            seen: vec![],
            peers: 3,
            silenced: false,
            end: Some(End { at: Wall(2), how: Ended::Recovered, seen: vec![] }),
        }
    }

    #[test]
    fn the_last_thousand_are_kept() {
        let mut incidents = Incidents::default();
        for index in 0..1_003 {
            incidents.push(incident(index));
        }
        assert_eq!(incidents.closed().count(), MOST_KEPT);
        assert_eq!(incidents.closed().next().unwrap().id.index, 3);
        assert!(incidents.get(IncidentId { index: 2, n: 0 }).is_none());
        assert!(incidents.get(IncidentId { index: 1_002, n: 0 }).is_some());
    }

    #[test]
    fn an_id_survives_its_text() {
        let id = IncidentId { index: 77, n: 2 };
        assert_eq!(id.to_string(), "77.2");
        assert_eq!("77.2".parse(), Ok(id));
        assert!("77".parse::<IncidentId>().is_err());
    }
}
