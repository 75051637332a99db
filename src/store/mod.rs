//! Layer 3: what must survive. The durable side of [`quorum::io`](crate::quorum::io).
//!
//! Model: `state/` holds one snapshot, the log that follows it, the vote, and a mark of how much
//! was confirmed.
//!
//! ```text
//! vote       term, vote, life         replaced as a whole              `vote`
//! snapshot   names its log            replaced as a whole              `snapshot`
//! log-N      entries above it         appended, one sync a group       `wal`, `record`, `chain`
//! mark       confirmed bytes, commit  overwritten, synced when idle    `mark`
//! founding   while the directory is made                               `open`
//! ```
//!
//! Promises:
//! * What [`Store::step`] and [`Store::apply`] have returned is there after a power cut (I4).
//! * A crash at any moment leaves a state that [`Store::open`] accepts: everything confirmed, and
//!   after it a beginning of what was under way.
//! * Whatever else the files may hold is refused ([`StoreError::Damaged`]) and left as it is: no
//!   silent repair, for a node that forgot must say so (I5). How an interrupted write is told from
//!   a damaged one is in [`wal`].
//! * After a failed write or sync nothing above the last confirmed byte is trusted: it is cut off
//!   and written anew. A snapshot is begun anew under another number.
//!
//! It must not know what an entry means, decide when to compact, or read a clock. Left out: the
//! lock against a second daemon, and copies on other disks: those are the other nodes.
#![forbid(unsafe_code)]

pub mod chain;
mod crc;
pub mod disk;
mod error;
mod founded;
pub mod mark;
mod open;
mod record;
mod run;
pub mod sealed;
pub mod sim_disk;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod vote;
pub mod wal;

use std::io::ErrorKind;
use std::path::Path;

use crate::quorum::io::{Remembered, VoteRecord, Write};
use crate::quorum::message::{Entry, Index, Snapshot};

use self::chain::Chain;
use self::disk::Disk;
pub use self::error::{Flaw, StoreError};
use self::founded::Founded;
pub use self::run::{Event, HELD, HELD_BYTES, Pace, run, run_at};

/// Bytes of commands that share one sync at most. More would delay the first for the last.
const GROUP: usize = 4 << 20;

/// What a state directory held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: a new node, or one whose `state/` was taken away (I5).
    Empty,
    /// Everything that was confirmed.
    Remembered(Remembered),
}

/// A state directory.
///
/// * An empty one is founded by a [`Write::Snapshot`] that comes after a [`Write::Vote`]. The vote
///   alone is held in memory: a node without a snapshot starts its next life with a new
///   [`Incarnation`](crate::quorum::message::Incarnation), and what the old one promised is void.
/// * After an error the same writes must be given again before any others.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    /// Of an empty directory.
    vote: Option<VoteRecord>,
    founded: Option<Founded>,
}

impl<D: Disk> Store<D> {
    /// Reads a state directory. An interrupted last write is cut off; what is remembered is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`]: nothing was changed. [`StoreError::Io`].
    pub fn open(mut disk: D) -> Result<(Store<D>, Opened), StoreError> {
        match open::open(&mut disk)? {
            None => Ok((Store { disk, vote: None, founded: None }, Opened::Empty)),
            Some((founded, remembered)) => {
                let store = Store { disk, vote: None, founded: Some(founded) };
                Ok((store, Opened::Remembered(remembered)))
            }
        }
    }

    /// Founds a state directory in an empty one; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], and those of [`Store::open`]. A try that failed has left nothing
    /// that counts.
    pub fn create(disk: D, vote: VoteRecord, snapshot: Snapshot) -> Result<Store<D>, StoreError> {
        let (mut store, opened) = Store::open(disk)?;
        if opened != Opened::Empty {
            return Err(StoreError::NotEmpty { path: store.disk.path("") });
        }
        store.apply(&[Write::Vote(vote), Write::Snapshot { snapshot, keep_log: false }])?;
        Ok(store)
    }

    /// Carries out all writes in order; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Io`]: a beginning of the writes may be durable; give them all again.
    /// [`StoreError::Order`]: a write that cannot follow the earlier ones.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut left = writes;
        while !left.is_empty() {
            let count = self.step(left)?;
            left = left.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Carries out the first few writes, as many as share one sync, and says how many. They are
    /// durable when this returns. No writes: 0.
    ///
    /// # Errors
    /// As [`Store::apply`]; none of these few was confirmed.
    pub fn step<'a>(&mut self, writes: impl IntoIterator<Item = &'a Write>) -> Result<usize, StoreError> {
        let mut writes = writes.into_iter().peekable();
        match writes.peek() {
            None => Ok(0),
            Some(Write::Vote(_)) => self.votes(writes),
            Some(Write::Snapshot { snapshot, keep_log }) => {
                self.snapshot(snapshot, *keep_log)?;
                Ok(1)
            }
            Some(Write::Append { .. } | Write::Commit(_)) => self.entries(writes),
        }
    }

    /// Of several votes in a row only the last one matters.
    fn votes<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> Result<usize, StoreError> {
        let mut votes = writes.map_while(|w| if let Write::Vote(vote) = w { Some(vote) } else { None });
        let (mut count, mut last) = (0, None);
        for vote in votes.by_ref() {
            count += 1;
            last = Some(*vote);
        }
        match (&self.founded, last) {
            (Some(founded), Some(vote)) => {
                founded.not_switching()?;
                vote::write(&mut self.disk, &vote)?;
            }
            _ => self.vote = last,
        }
        Ok(count)
    }

    fn snapshot(&mut self, snapshot: &Snapshot, keep_log: bool) -> Result<(), StoreError> {
        match (&mut self.founded, &self.vote) {
            (Some(founded), _) => founded.switch(&mut self.disk, snapshot, keep_log),
            (None, Some(vote)) => {
                self.founded = Some(open::found(&mut self.disk, vote, snapshot)?);
                Ok(())
            }
            (None, None) => Err(StoreError::Order("a first snapshot before the first vote".to_owned())),
        }
    }

    fn entries<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> Result<usize, StoreError> {
        let Some(founded) = &mut self.founded else {
            return empty(writes);
        };
        let group = Group::of(founded.chain(), writes)?;
        let net = (group.changes(founded.chain())).then_some((group.after, group.entries));
        founded.append(&mut self.disk, net, group.commit)?;
        Ok(group.count)
    }

    /// Whether there is something that [`Store::settle`] would make durable.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        self.founded.as_ref().is_some_and(Founded::unsettled)
    }

    /// Makes the commit hint and the mark of what was confirmed durable: to be called when there is
    /// nothing else to do, and at the end. No promise depends on it; the recognition of damage to
    /// the last record does (see [`wal`]).
    ///
    /// # Errors
    /// [`StoreError::Io`]; nothing was lost.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(founded) = &mut self.founded {
            founded.settle(&mut self.disk)?;
        }
        Ok(())
    }
}

/// What a state directory holds, looked at while no daemon uses it: the snapshot and what follows it.
/// Nothing is changed there. `None`: nothing to go on from.
///
/// # Errors
/// As [`Store::open`].
pub fn look(dir: &Path) -> Result<Option<(Snapshot, Vec<Entry>)>, StoreError> {
    match open::look(&mut disk::RealDisk::peek(dir)) {
        Err(StoreError::Io(e)) if e.source.kind() == ErrorKind::NotFound => Ok(None),
        looked => looked,
    }
}

/// An empty directory takes no entries; a commit hint means nothing there.
fn empty<'a>(writes: impl Iterator<Item = &'a Write>) -> Result<usize, StoreError> {
    match writes.take_while(|w| matches!(w, Write::Commit(_))).count() {
        0 => Err(StoreError::Order("entries before the first snapshot".to_owned())),
        count => Ok(count),
    }
}

/// What several appends in a row come to: one place to cut at, and what follows it.
struct Group<'a> {
    count: usize,
    after: Index,
    entries: Vec<&'a Entry>,
    commit: Index,
}

impl<'a> Group<'a> {
    fn of(chain: &Chain, writes: impl Iterator<Item = &'a Write>) -> Result<Group<'a>, StoreError> {
        let mut group = Group { count: 0, after: chain.last(), entries: Vec::new(), commit: 0 };
        let mut bytes = 0;
        for write in writes {
            match write {
                Write::Append { after, entries } => group.append(*after, entries)?,
                Write::Commit(index) => group.commit = group.commit.max(*index),
                Write::Vote(_) | Write::Snapshot { .. } => break,
            }
            group.count += 1;
            bytes += weight(write);
            if bytes > GROUP {
                break;
            }
        }
        Ok(group)
    }

    fn append(&mut self, after: Index, entries: &'a [Entry]) -> Result<(), StoreError> {
        let last = self.entries.last().map_or(self.after, |e| e.index);
        if after > last {
            return Err(StoreError::Order(format!(
                "entries are to follow index {after}, the last is {last}"
            )));
        }
        match after.checked_sub(self.after).map(usize::try_from) {
            Some(Ok(kept)) => self.entries.truncate(kept),
            _ => {
                self.after = after;
                self.entries.clear();
            }
        }
        self.entries.extend(entries);
        Ok(())
    }

    fn changes(&self, chain: &Chain) -> bool {
        !self.entries.is_empty() || self.after != chain.last()
    }
}

/// About how many bytes a write takes.
fn weight(write: &Write) -> usize {
    const HEAD: usize = 128;
    match write {
        Write::Append { entries, .. } => {
            let text = |e: &Entry| e.command.as_ref().map_or(0, |c| c.text.len());
            entries.iter().map(|e| HEAD + text(e)).sum::<usize>() + HEAD
        }
        Write::Snapshot { snapshot, .. } => HEAD + snapshot.data.len(),
        Write::Vote(_) | Write::Commit(_) => HEAD,
    }
}
