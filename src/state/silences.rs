//! Silences: for a while, nothing is sent about a check, or about any. Verdicts and incidents go
//! on; what was owed before the silence began is still delivered.
//!
//! A silence ends by a command of its own, an operator's or the master's when the time has come
//! ([`State::due`](super::State::due)), and at that entry every node owes the same messages. The
//! wall clock decides only when the master proposes that.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{CheckId, NodeId};
use crate::base::text::shorten;
use crate::base::units::Span;

use super::command::SilenceId;
use super::outcome::{Item, Refused, What};
use super::{Now, State};

/// So many silences there may be at a time.
const MOST_SILENCES: usize = 1_000;
/// A kept reason, characters.
const LONGEST_REASON: usize = 300;

/// One silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Its name.
    pub id: SilenceId,
    /// About which check; all when none.
    pub check: Option<CheckId>,
    /// Since when.
    pub from: Wall,
    /// Until when.
    pub until: Wall,
    /// Why; may be empty.
    pub reason: String,
    /// Through which node it was begun.
    pub by: NodeId,
}

/// The silences that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silences {
    open: BTreeMap<SilenceId, Silence>,
}

impl Silences {
    pub(super) fn from_open(open: impl IntoIterator<Item = Silence>) -> Silences {
        Silences { open: open.into_iter().map(|silence| (silence.id, silence)).collect() }
    }

    /// Whether nothing is sent about `check`.
    #[must_use]
    pub fn covers(&self, check: CheckId) -> bool {
        self.open.values().any(|silence| silence.check.is_none_or(|only| only == check))
    }

    /// Whether there is a silence of this check alone.
    pub(super) fn concern(&self, check: CheckId) -> bool {
        self.open.values().any(|silence| silence.check == Some(check))
    }

    pub(super) fn forget(&mut self, check: CheckId) {
        self.open.retain(|_, silence| silence.check != Some(check));
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Silence> {
        self.open.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: SilenceId) -> Option<&Silence> {
        self.open.get(&id)
    }
}

impl State {
    /// Whether a silence of `check` (all when none) may begin; gives the check's name.
    pub(super) fn may_silence(&self, check: Option<CheckId>) -> Result<Option<String>, Refused> {
        if self.silences.open.len() >= MOST_SILENCES {
            let limit = u32::try_from(MOST_SILENCES).unwrap_or(u32::MAX);
            return Err(Refused::TooMany { item: Item::Silence, limit });
        }
        let no_such = |id: CheckId| Refused::NoSuch { item: Item::Check, id: id.to_string() };
        check
            .map(|id| self.cluster.checks.get(&id).map(|c| c.name.to_string()).ok_or_else(|| no_such(id)))
            .transpose()
    }

    pub(super) fn silence(
        &mut self,
        now: &mut Now,
        check: Option<CheckId>,
        length: Span,
        reason: &str,
    ) -> Result<What, Refused> {
        let name = self.may_silence(check)?;
        let id = SilenceId(now.index);
        let until = Wall(now.at.0.saturating_add(length.millis())).min(Wall::LAST);
        let reason = shorten(reason, LONGEST_REASON);
        let silence = Silence { id, check, from: now.at, until, reason, by: now.by };
        Arc::make_mut(&mut self.silences).open.insert(id, silence);
        now.effects.silences = true;
        Ok(What::Silenced { id, check: name, until })
    }

    pub(super) fn end_silence(&mut self, now: &mut Now, id: SilenceId) -> Result<What, Refused> {
        let Some(ended) = Arc::make_mut(&mut self.silences).open.remove(&id) else {
            return Err(Refused::NoSuch { item: Item::Silence, id: id.to_string() });
        };
        now.effects.silences = true;
        let checks = match ended.check {
            Some(check) => vec![check],
            None => self.verdicts.keys().copied().collect(),
        };
        for check in checks {
            self.catch_up(now, check);
        }
        Ok(What::SilenceEnded { id })
    }
}
