//! A state directory that is in use: its log, its mark, and the change from one snapshot to the
//! next.
//!
//! **A new snapshot, step by step.** Each step is durable before the next begins; a crash anywhere
//! leaves the old snapshot with the old log or the new one with the new log.
//! 1. `log-N+1` with the entries that stay,
//! 2. `snapshot.new`, which names log N+1,
//! 3. both names,
//! 4. `snapshot.new` becomes `snapshot`: the change,
//! 5. the mark is told, `log-N` is removed; if that fails, it is tried again later.
//!
//! When step 4 fails, nobody knows which snapshot a crash would show. So another try takes another
//! number, and every log that a snapshot may name stays until a try succeeds.

use std::collections::BTreeSet;

use crate::quorum::message::{Entry, Index, Snapshot};

use super::chain::Chain;
use super::disk::{Disk, Done};
use super::error::StoreError;
use super::mark::{self, Mark};
use super::wal::{self, Log};
use super::{sealed, snapshot, vote};

#[derive(Debug)]
pub(super) struct Founded {
    log: Log,
    commit: Index,
    /// As last written.
    mark: Mark,
    /// The last one is not durable.
    unsynced: bool,
    /// Logs that the snapshot on the disk may name.
    named: BTreeSet<u64>,
    /// The highest number that was given to a log.
    newest: u64,
    /// A change of the snapshot failed: it must be finished before anything else.
    switching: bool,
    /// Files that are not needed any more could not be removed.
    leftovers: bool,
}

impl Founded {
    pub(super) fn new(log: Log, mark: Mark, commit: Index) -> Founded {
        let newest = log.number();
        let named = BTreeSet::from([newest]);
        Founded { log, commit, mark, unsynced: true, named, newest, switching: false, leftovers: false }
    }

    pub(super) fn chain(&self) -> &Chain {
        self.log.chain()
    }

    /// Entries and commit hint; only entries cost a sync.
    pub(super) fn append<D: Disk>(
        &mut self,
        disk: &mut D,
        net: Option<(Index, Vec<&Entry>)>,
        commit: Index,
    ) -> Result<(), StoreError> {
        self.not_switching()?;
        if let Some((after, entries)) = net {
            self.log.append(disk, after, &entries)?;
        }
        self.commit = self.commit.max(commit);
        self.note(disk);
        Ok(())
    }

    /// Refuses what would be written beside a change of the snapshot that failed half-way.
    pub(super) fn not_switching(&self) -> Result<(), StoreError> {
        if self.switching {
            return Err(StoreError::Order("another write in place of a snapshot that failed".to_owned()));
        }
        Ok(())
    }

    /// A snapshot in place of the log up to its end, or of all of it.
    pub(super) fn switch<D: Disk>(
        &mut self,
        disk: &mut D,
        snapshot: &Snapshot,
        keep_log: bool,
    ) -> Result<(), StoreError> {
        let end = snapshot.end;
        let chain = if keep_log { self.log.chain().above(end) } else { Ok(Chain::new(end)) };
        let chain = chain.map_err(StoreError::Order)?;
        let number =
            self.newest.checked_add(1).ok_or_else(|| StoreError::Order("no log number left".into()))?;
        let bytes = snapshot::encode(number, snapshot).map_err(StoreError::Order)?;

        self.switching = true;
        self.newest = number;
        sweep(disk, &self.named)?;
        let log = Log::create(disk, number, chain)?;
        sealed::prepare(disk, snapshot::NAME, &bytes)?;
        disk.sync_dir()?;
        self.named.insert(number);
        sealed::place(disk, snapshot::NAME)?;

        self.switching = false;
        self.named = BTreeSet::from([number]);
        self.log = log;
        self.commit = if keep_log { self.commit.max(end.index) } else { end.index };
        self.leftovers = true;
        self.note(disk);
        self.tidy(disk);
        Ok(())
    }

    /// The mark as it should be, if it is not.
    fn due(&self) -> Option<Mark> {
        let (log, confirmed, commit) = (self.log.number(), self.log.length(), self.commit);
        let due = Mark { count: self.mark.count + 1, log, confirmed, commit };
        (due != Mark { count: due.count, ..self.mark }).then_some(due)
    }

    fn write_mark<D: Disk>(&mut self, disk: &mut D) -> Done<()> {
        if let Some(due) = self.due() {
            mark::write(disk, &due)?;
            self.mark = due;
            self.unsynced = true;
        }
        Ok(())
    }

    /// Writes the mark without a sync. An older one is as true, so a failure fails nothing: the
    /// mark stays due, and [`Founded::settle`] tells when it still cannot be written.
    fn note<D: Disk>(&mut self, disk: &mut D) {
        drop(self.write_mark(disk));
    }

    /// Removes old logs. A failure fails nothing either, and is treated alike.
    fn tidy<D: Disk>(&mut self, disk: &mut D) {
        self.leftovers = sweep(disk, &self.named).is_err();
    }

    /// Whether [`Founded::settle`] would do anything.
    pub(super) fn unsettled(&self) -> bool {
        self.unsynced || self.leftovers || self.due().is_some()
    }

    /// Makes the mark durable, and removes what could not be removed before.
    pub(super) fn settle<D: Disk>(&mut self, disk: &mut D) -> Done<()> {
        if self.leftovers && !self.switching {
            sweep(disk, &self.named)?;
            self.leftovers = false;
        }
        self.write_mark(disk)?;
        if self.unsynced {
            if let Err(e) = disk.sync(mark::NAME) {
                // What was written may have been dropped: it is due once more.
                self.mark = Mark { count: self.mark.count, ..Mark::default() };
                return Err(e);
            }
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Removes unfinished files and the logs that no snapshot can name.
pub(super) fn sweep<D: Disk>(disk: &mut D, named: &BTreeSet<u64>) -> Done<()> {
    for name in disk.list()? {
        let old = wal::number(&name).is_some_and(|number| !named.contains(&number));
        if old || is_unfinished(&name) {
            disk.remove(&name)?;
        }
    }
    Ok(())
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(sealed::TEMP).is_some_and(|whole| whole == vote::NAME || whole == snapshot::NAME)
}

/// Whether a file of this name is part of a state.
pub(super) fn is_state(name: &str) -> bool {
    [vote::NAME, snapshot::NAME, mark::NAME].contains(&name) || wal::number(name).is_some()
}

/// Whether this name is one that the store gives.
pub(super) fn is_ours(name: &str) -> bool {
    is_state(name) || is_unfinished(name)
}
