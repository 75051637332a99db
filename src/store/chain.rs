//! Entries above a snapshot, as the log file holds them: what may follow what.

use crate::quorum::message::{Entry, Index, LogEnd, Term};

/// The log above the snapshot.
/// * Indexes are contiguous from `base.index + 1`.
/// * Terms never decrease, from `base.term` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    base: LogEnd,
    entries: Vec<Entry>,
}

impl Chain {
    /// Nothing above `base`.
    #[must_use]
    pub fn new(base: LogEnd) -> Chain {
        Chain { base, entries: Vec::new() }
    }

    /// The entry before the first one.
    #[must_use]
    pub fn base(&self) -> LogEnd {
        self.base
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last index; that of the base when there is no entry.
    #[must_use]
    pub fn last(&self) -> Index {
        self.entries.last().map_or(self.base.index, |e| e.index)
    }

    /// How many entries are at or below `index`, if it is within the chain or its base.
    fn count_to(&self, index: Index) -> Option<usize> {
        let count = usize::try_from(index.checked_sub(self.base.index)?).ok()?;
        (count <= self.entries.len()).then_some(count)
    }

    /// The term at an index, the base's included.
    fn term_at(&self, index: Index) -> Option<Term> {
        match self.count_to(index)?.checked_sub(1) {
            None => Some(self.base.term),
            Some(at) => self.entries.get(at).map(|e| e.term),
        }
    }

    /// Whether these entries may follow the one at `after`.
    ///
    /// # Errors
    /// Why not.
    pub fn fits<'a>(&self, after: Index, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), String> {
        let (base, last) = (self.base.index, self.last());
        let mut term = self
            .term_at(after)
            .ok_or_else(|| format!("entries are to follow index {after}, the log is {base} to {last}"))?;
        let mut index = after;
        for entry in entries {
            if index.checked_add(1) != Some(entry.index) {
                return Err(format!("the entry after index {index} has index {}", entry.index));
            }
            if entry.term < term {
                return Err(format!("the term falls from {term} to {} at index {}", entry.term, entry.index));
            }
            (index, term) = (entry.index, entry.term);
        }
        Ok(())
    }

    /// Cuts off everything above `after` and puts the entries there.
    ///
    /// # Errors
    /// They do not fit; nothing was changed.
    pub fn append(&mut self, after: Index, entries: Vec<Entry>) -> Result<(), String> {
        self.fits(after, &entries)?;
        self.entries.truncate(self.count_to(after).unwrap_or_default());
        self.entries.extend(entries);
        Ok(())
    }

    /// What is above `end`, as a chain of its own.
    ///
    /// # Errors
    /// There is a gap between `end` and the chain, or the chain has another entry there.
    pub fn above(&self, end: LogEnd) -> Result<Chain, String> {
        if end.index > self.last() {
            return Ok(Chain::new(end));
        }
        match self.term_at(end.index) {
            Some(term) if term == end.term => {
                let count = self.count_to(end.index).unwrap_or_default();
                let entries = self.entries.get(count..).unwrap_or_default().to_vec();
                Ok(Chain { base: end, entries })
            }
            Some(term) => Err(format!(
                "a snapshot of index {} and term {} keeps a log with term {term} there",
                end.index, end.term
            )),
            None => Err(format!(
                "a snapshot of index {} keeps a log that begins after {}",
                end.index, self.base.index
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: Index, term: Term) -> Entry {
        Entry { index, term, command: None, membership: None }
    }

    fn chain() -> Chain {
        let mut chain = Chain::new(LogEnd { term: 2, index: 5 });
        chain.append(5, vec![entry(6, 2), entry(7, 3)]).unwrap();
        chain
    }

    #[test]
    fn gaps_falling_terms_and_places_outside_are_refused() {
        let mut c = chain();
        for (after, entries) in [
            (8, vec![]),
            (4, vec![entry(5, 2)]),
            (7, vec![entry(9, 3)]),
            (7, vec![entry(8, 2)]),
            (5, vec![entry(6, 1)]),
            (5, vec![entry(6, 4), entry(7, 3)]),
        ] {
            assert!(c.append(after, entries.clone()).is_err(), "{after} {entries:?}");
        }
        assert_eq!(c, chain());
        let top = Chain::new(LogEnd { term: 1, index: u64::MAX });
        assert!(top.fits(u64::MAX, &[entry(0, 1)]).is_err());
    }

    #[test]
    fn an_append_cuts_what_is_above_it() {
        let mut c = chain();
        c.append(6, vec![entry(7, 4), entry(8, 4)]).unwrap();
        assert_eq!(c.entries(), [entry(6, 2), entry(7, 4), entry(8, 4)]);
        c.append(5, vec![]).unwrap();
        assert_eq!((c.last(), c.entries().len()), (5, 0));
    }

    #[test]
    fn what_a_snapshot_leaves_is_above_its_end_and_agrees_with_it() {
        let c = chain();
        let kept = c.above(LogEnd { term: 2, index: 6 }).unwrap();
        assert_eq!((kept.base().index, kept.entries()), (6, &[entry(7, 3)][..]));
        assert_eq!(c.above(LogEnd { term: 9, index: 9 }).unwrap().last(), 9);
        assert!(c.above(LogEnd { term: 3, index: 6 }).is_err());
        assert!(c.above(LogEnd { term: 1, index: 4 }).is_err());
    }
}
