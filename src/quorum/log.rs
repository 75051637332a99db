//! The replicated log above the snapshot, and what of it is on disk.

use std::collections::VecDeque;

use super::message::{Entry, Index, LogEnd, Membership, Snapshot, Term};

/// How many entries below a new snapshot stay in memory, so that a follower that is a little
/// behind gets entries and not the whole snapshot.
const TAIL: u64 = 1024;
/// And how many bytes of commands in them at most: a change of thousands of checks at once is no
/// shorter to send than the snapshot.
const TAIL_BYTES: usize = 512 * 1024;

/// The log.
/// * Indexes are contiguous from `base.index + 1`.
/// * Terms never decrease.
/// * `base.index <= snapshot.end.index <= last`.
/// * `durable <= last`; acknowledgements never go beyond `durable`.
#[derive(Debug)]
pub struct Log {
    snapshot: Option<Snapshot>,
    base: LogEnd,
    entries: VecDeque<Entry>,
    /// Memberships that entries above the snapshot brought, by index.
    memberships: Vec<(Index, Membership)>,
    durable: Index,
    /// Writes on their way to the disk: number, and the last index that is durable after it.
    writing: VecDeque<(u64, Index)>,
}

impl Log {
    /// A log with nothing in it, not even a founding snapshot.
    pub fn empty() -> Log {
        Log {
            snapshot: None,
            base: LogEnd::default(),
            entries: VecDeque::new(),
            memberships: Vec::new(),
            durable: 0,
            writing: VecDeque::new(),
        }
    }

    /// What the disk gave back; all of it is durable.
    pub fn remembered(snapshot: Snapshot, entries: Vec<Entry>) -> Log {
        let mut log = Log::empty();
        log.base = snapshot.end;
        log.durable = snapshot.end.index;
        log.snapshot = Some(snapshot);
        for entry in entries {
            log.durable = entry.index;
            log.push(entry);
        }
        log
    }

    /// Where it ends.
    pub fn end(&self) -> LogEnd {
        self.entries.back().map_or(self.base, |e| LogEnd { term: e.term, index: e.index })
    }

    /// The last index.
    pub fn last(&self) -> Index {
        self.end().index
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> Index {
        self.durable
    }

    /// Where the part of it ends that survives a power cut.
    pub fn durable_end(&self) -> LogEnd {
        let index = self.durable;
        self.term_at(index).map_or(LogEnd::default(), |term| LogEnd { term, index })
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// The term of the entry at `index`; `None` when it is not there (any more).
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|e| e.term)
    }

    /// The entry at `index`.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.checked_sub(self.base.index + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Entries after `before`, `bytes` of commands at most but one entry at least.
    pub fn after(&self, before: Index, bytes: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        let mut size = 0;
        let mut index = before + 1;
        while let Some(entry) = self.get(index) {
            size += entry.size();
            if size > bytes && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
            index += 1;
        }
        out
    }

    /// The membership in force: that of the newest entry that brought one, committed or not
    /// (thesis, section 4.1).
    pub fn membership(&self) -> Option<&Membership> {
        self.memberships.last().map(|(_, m)| m).or_else(|| self.snapshot.as_ref().map(|s| &s.membership))
    }

    /// The membership that was in force at `index`, at or above the snapshot.
    pub fn membership_at(&self, index: Index) -> Option<&Membership> {
        let newest = self.memberships.iter().rev().find(|(at, _)| *at <= index);
        newest.map(|(_, m)| m).or_else(|| self.snapshot.as_ref().map(|s| &s.membership))
    }

    /// The index of the newest entry that brought a membership; 0 when that is in the snapshot.
    pub fn membership_index(&self) -> Index {
        self.memberships.last().map_or(0, |(at, _)| *at)
    }

    /// Puts one entry at the end.
    pub fn push(&mut self, entry: Entry) {
        let end = self.end();
        assert_eq!(entry.index, end.index + 1, "log: a gap before the new entry");
        assert!(entry.term >= end.term, "log: the term of the new entry is lower");
        if let Some(m) = &entry.membership {
            self.memberships.push((entry.index, m.clone()));
        }
        self.entries.push_back(entry);
    }

    /// Takes back everything above `index`, memberships included.
    pub fn cut(&mut self, index: Index) {
        while self.entries.back().is_some_and(|e| e.index > index) {
            self.entries.pop_back();
        }
        self.memberships.retain(|(at, _)| *at <= index);
        self.durable = self.durable.min(index);
        for (_, upto) in &mut self.writing {
            *upto = (*upto).min(index);
        }
    }

    /// A write with this number was handed to the disk; after it everything is durable as it is.
    pub fn writing(&mut self, seq: u64) {
        let last = self.last();
        self.writing.push_back((seq, last));
    }

    /// The disk has done everything up to `seq`.
    pub fn written(&mut self, seq: u64) {
        while let Some((n, upto)) = self.writing.front().copied() {
            if n > seq {
                break;
            }
            self.durable = self.durable.max(upto);
            self.writing.pop_front();
        }
    }

    /// The state machine at `snapshot.end` replaces the entries up to there; a tail of them stays
    /// in memory.
    pub fn compact(&mut self, snapshot: Snapshot) {
        let keep_from = snapshot.end.index.saturating_sub(TAIL);
        self.memberships.retain(|(at, _)| *at > snapshot.end.index);
        let end = snapshot.end.index;
        let below = self.entries.iter().filter(|e| e.index <= end);
        let mut bytes: usize = below.map(Entry::size).sum();
        while let Some(e) = self.entries.front()
            && (e.index <= keep_from || e.index <= end && bytes > TAIL_BYTES)
        {
            bytes -= e.size();
            self.base = LogEnd { term: e.term, index: e.index };
            self.entries.pop_front();
        }
        self.snapshot = Some(snapshot);
    }

    /// Takes everything away, the snapshot included; what the disk was given before makes nothing
    /// durable any more.
    pub fn clear(&mut self) {
        let writing = std::mem::take(&mut self.writing);
        *self = Log::empty();
        self.writing = writing.into_iter().map(|(seq, _)| (seq, 0)).collect();
    }

    /// A master's snapshot replaces everything up to its end; what follows stays when the log
    /// agrees with it there. Says whether it stayed.
    pub fn install(&mut self, snapshot: Snapshot) -> bool {
        let agrees = self.snapshot.is_some() && self.term_at(snapshot.end.index) == Some(snapshot.end.term);
        if agrees {
            self.compact(snapshot);
        } else {
            self.clear();
            self.base = snapshot.end;
            self.snapshot = Some(snapshot);
        }
        agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn entry(index: Index, term: Term) -> Entry {
        Entry { index, term, command: None, membership: None }
    }

    fn log(terms: &[Term]) -> Log {
        let snapshot =
            Snapshot { end: LogEnd::default(), membership: Membership::default(), data: Arc::from("") };
        Log::remembered(snapshot, (1..).zip(terms).map(|(i, t)| entry(i, *t)).collect())
    }

    #[test]
    fn a_write_overtaken_by_a_cut_makes_nothing_durable_that_is_gone() {
        let mut log = log(&[1]);
        log.push(entry(2, 1));
        log.push(entry(3, 1));
        log.writing(7);
        log.cut(2);
        log.push(entry(3, 2));
        log.writing(8);
        log.written(7);
        assert_eq!(log.durable(), 2);
        log.written(8);
        assert_eq!(log.durable(), 3);
    }

    #[test]
    fn a_compacted_log_still_answers_for_its_tail() {
        let mut log = log(&[1; 2000]);
        let snapshot = Snapshot {
            end: LogEnd { term: 1, index: 1500 },
            membership: Membership::default(),
            data: Arc::from("x"),
        };
        log.compact(snapshot);
        assert_eq!(log.term_at(475), None);
        assert_eq!(log.term_at(1500 - TAIL), Some(1));
        assert_eq!(log.last(), 2000);
        assert_eq!(log.after(1999, 10).len(), 1);
    }

    #[test]
    fn a_change_of_megabytes_does_not_stay_behind_its_snapshot() {
        let mut log = log(&[1; 20]);
        if let Some(entry) = log.entries.get_mut(9) {
            let request = crate::base::id::RequestId::from_random(1);
            let text = "x".repeat(TAIL_BYTES).into();
            entry.command = Some(super::super::message::Command { request, text });
        }
        let snapshot = |index| Snapshot {
            end: LogEnd { term: 1, index },
            membership: Membership::default(),
            data: Arc::from("x"),
        };
        log.compact(snapshot(5));
        assert_eq!((log.term_at(1), log.last()), (Some(1), 20), "what is above the snapshot does not count");
        log.compact(snapshot(15));
        assert!(log.get(10).is_none());
        assert_eq!((log.term_at(10), log.get(11).map(|e| e.index), log.last()), (Some(1), Some(11), 20));
    }

    #[test]
    fn a_snapshot_that_disagrees_empties_the_log() {
        let mut log = log(&[1, 1, 1]);
        let snapshot = |term| Snapshot {
            end: LogEnd { term, index: 2 },
            membership: Membership::default(),
            data: Arc::from("x"),
        };
        assert!(!log.install(snapshot(2)));
        assert_eq!((log.last(), log.durable()), (2, 0));
        log.writing(1);
        log.written(1);
        assert_eq!(log.durable(), 2);
    }
}
