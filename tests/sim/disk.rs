//! Disks that lose what was not confirmed, are slow, and fail.
//!
//! A model of `state/`: writes queue up, a batch at a time becomes durable, a crash keeps a random
//! beginning of what was under way (the write that it tears counts as lost). The model refuses
//! writes that no log could carry out, which would be a broken promise of the core.

use std::collections::VecDeque;

use quptime::base::rng::Rng;
use quptime::quorum::io::{Remembered, VoteRecord, Write};
use quptime::quorum::message::{Entry, Founding, Index, LogEnd, Snapshot, Term};

/// The disk of one host.
#[derive(Debug, Default)]
pub struct Disk {
    vote: Option<VoteRecord>,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
    commit: Index,
    queue: VecDeque<(u64, Write)>,
    batch: usize,
    last_seq: u64,
    /// Writes fail for the time being.
    pub failing: bool,
    /// How many times slower than usual.
    pub slow: u64,
}

impl Disk {
    /// A disk with a whole `state/`.
    pub fn with(vote: VoteRecord, snapshot: Snapshot) -> Disk {
        Disk { vote: Some(vote), snapshot: Some(snapshot), slow: 1, ..Disk::default() }
    }

    /// A disk with nothing.
    pub fn empty() -> Disk {
        Disk { slow: 1, ..Disk::default() }
    }

    /// Queues a write.
    pub fn push(&mut self, seq: u64, write: Write) -> Result<(), String> {
        if seq <= self.last_seq {
            return Err(format!("write {seq} comes after write {}", self.last_seq));
        }
        self.last_seq = seq;
        self.queue.push_back((seq, write));
        Ok(())
    }

    /// Takes everything that is queued as one batch, if the disk is idle and works. Says whether
    /// there is one.
    pub fn begin(&mut self) -> bool {
        if self.failing || self.batch > 0 || self.queue.is_empty() {
            return false;
        }
        self.batch = self.queue.len();
        true
    }

    /// The batch is durable: its last number. `None` when the disk failed meanwhile.
    pub fn finish(&mut self) -> Result<Option<u64>, String> {
        let batch = std::mem::take(&mut self.batch);
        if self.failing {
            return Ok(None);
        }
        let mut last = None;
        for _ in 0..batch {
            if let Some((seq, write)) = self.queue.pop_front() {
                self.carry_out(write)?;
                last = Some(seq);
            }
        }
        Ok(last)
    }

    /// Power cut: a random beginning of what was queued survives.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let most = if self.failing { 0 } else { self.queue.len() as u64 };
        let survive = rng.below(most + 1);
        for _ in 0..survive {
            if let Some((_, write)) = self.queue.pop_front() {
                self.carry_out(write)?;
            }
        }
        self.queue.clear();
        self.batch = 0;
        self.last_seq = 0;
        Ok(())
    }

    /// `state/` is gone.
    pub fn wipe(&mut self) {
        *self = Disk { failing: self.failing, slow: self.slow, ..Disk::default() };
    }

    /// What a start finds; `None` when there is no usable `state/`.
    pub fn remembered(&self) -> Option<Remembered> {
        Some(Remembered {
            vote: self.vote?,
            snapshot: self.snapshot.clone()?,
            entries: self.entries.clone(),
            commit: self.commit,
        })
    }

    /// Whether a start would find a usable `state/`.
    pub fn is_whole(&self) -> bool {
        self.vote.is_some() && self.snapshot.is_some()
    }

    /// What the durable log goes back to.
    pub fn founding(&self) -> Option<Founding> {
        self.snapshot.as_ref().map(|s| s.membership.founding)
    }

    /// What is durable of the vote.
    pub fn vote(&self) -> Option<VoteRecord> {
        self.vote
    }

    /// Where the durable log ends.
    pub fn end(&self) -> LogEnd {
        let base = self.snapshot.as_ref().map_or(LogEnd::default(), |s| s.end);
        self.entries.last().map_or(base, |e| LogEnd { term: e.term, index: e.index })
    }

    /// The durable term of an entry; entries below the snapshot hold by being in it.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        if index <= snapshot.end.index {
            return index < snapshot.end.index || term == snapshot.end.term;
        }
        let at = usize::try_from(index - snapshot.end.index - 1).expect("logs are short");
        self.entries.get(at).is_some_and(|e| e.term == term)
    }

    /// As [`Disk::holds`], with what is queued counted in.
    pub fn will_hold(&self, index: Index, term: Term) -> bool {
        for (_, write) in self.queue.iter().rev() {
            match write {
                Write::Append { after, entries } if index > *after => {
                    let at = usize::try_from(index - after - 1).expect("logs are short");
                    return entries.get(at).is_some_and(|e| e.term == term);
                }
                Write::Snapshot { snapshot, .. } if index <= snapshot.end.index => return true,
                Write::Snapshot { keep_log: false, .. } => return false,
                _ => {}
            }
        }
        self.holds(index, term)
    }

    fn carry_out(&mut self, write: Write) -> Result<(), String> {
        match write {
            Write::Vote(vote) => {
                if let Some(old) = self.vote.filter(|old| old.life == vote.life) {
                    let forgets = vote.term < old.term
                        || (vote.term == old.term && old.vote.is_some() && vote.vote != old.vote);
                    if forgets {
                        return Err(format!("vote {old:?} is overwritten by {vote:?}"));
                    }
                }
                self.vote = Some(vote);
            }
            Write::Append { after, entries } => self.append(after, entries)?,
            Write::Snapshot { snapshot, keep_log } => self.replace(snapshot, keep_log)?,
            Write::Commit(index) => self.commit = index,
        }
        Ok(())
    }

    fn append(&mut self, after: Index, entries: Vec<Entry>) -> Result<(), String> {
        let Some(snapshot) = &self.snapshot else { return Err("entries without a snapshot".to_owned()) };
        let base = snapshot.end.index;
        if after < base || after > self.end().index {
            return Err(format!("append after {after} on a log of {base}..{}", self.end().index));
        }
        self.entries.truncate(usize::try_from(after - base).expect("logs are short"));
        for entry in entries {
            let end = self.end();
            if entry.index != end.index + 1 || entry.term < end.term {
                return Err(format!("entry {}@t{} follows {end:?}", entry.index, entry.term));
            }
            self.entries.push(entry);
        }
        Ok(())
    }

    fn replace(&mut self, snapshot: Snapshot, keep_log: bool) -> Result<(), String> {
        let base = self.snapshot.as_ref().map_or(0, |s| s.end.index);
        let founding = |s: &Snapshot| s.membership.founding;
        let same = self.snapshot.as_ref().is_none_or(|s| founding(s) == founding(&snapshot));
        if snapshot.end.index < base && same {
            return Err(format!("snapshot {:?} replaces one of {base}", snapshot.end));
        }
        if keep_log {
            self.entries.retain(|e| e.index > snapshot.end.index);
        } else {
            self.entries.clear();
            self.commit = snapshot.end.index;
        }
        self.snapshot = Some(snapshot);
        let contiguous = self.entries.first().is_none_or(|e| Some(e.index) == self.base().map(|b| b + 1));
        if contiguous { Ok(()) } else { Err("a snapshot leaves a gap before the log".to_owned()) }
    }

    fn base(&self) -> Option<Index> {
        self.snapshot.as_ref().map(|s| s.end.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quptime::quorum::message::{Incarnation, Membership};

    fn disk() -> Disk {
        let vote = VoteRecord { term: 0, vote: None, life: Incarnation(1) };
        let snapshot =
            Snapshot { end: LogEnd::default(), membership: Membership::default(), data: "".into() };
        Disk::with(vote, snapshot)
    }

    fn append(after: Index, terms: &[Term]) -> Write {
        let entry = |(i, t): (Index, &Term)| Entry { index: i, term: *t, command: None, membership: None };
        Write::Append { after, entries: (after + 1..).zip(terms).map(entry).collect() }
    }

    #[test]
    fn only_a_finished_batch_is_durable_and_a_crash_keeps_a_beginning_of_the_rest() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut disk = disk();
            disk.push(1, append(0, &[1])).unwrap();
            assert!(disk.begin());
            disk.push(2, append(1, &[1])).unwrap();
            disk.push(3, append(2, &[1])).unwrap();
            assert_eq!(disk.end().index, 0);
            assert_eq!(disk.finish(), Ok(Some(1)));
            assert!(disk.holds(1, 1) && !disk.holds(2, 1) && disk.will_hold(3, 1));
            disk.crash(&mut Rng::new(seed)).unwrap();
            kept.insert(disk.end().index);
        }
        assert_eq!(kept, [1, 2, 3].into());
    }

    #[test]
    fn a_write_that_leaves_a_gap_or_forgets_a_vote_is_refused() {
        let mut gap = disk();
        gap.push(1, append(3, &[1])).unwrap();
        gap.begin();
        assert!(gap.finish().is_err());

        let mut votes = disk();
        let node = |n| Some(super::super::net::node_id(n));
        for (seq, vote) in [(1, node(0)), (2, node(1))] {
            let record = VoteRecord { term: 5, vote, life: Incarnation(1) };
            votes.push(seq, Write::Vote(record)).unwrap();
        }
        votes.begin();
        assert!(votes.finish().is_err());
    }

    #[test]
    fn a_failing_disk_finishes_nothing_and_goes_on_when_it_works() {
        let mut disk = disk();
        disk.push(1, append(0, &[1])).unwrap();
        assert!(disk.begin());
        disk.failing = true;
        assert_eq!(disk.finish(), Ok(None));
        assert!(!disk.begin());
        disk.failing = false;
        assert!(disk.begin());
        assert_eq!(disk.finish(), Ok(Some(1)));
        assert_eq!(disk.end().index, 1);
    }
}
