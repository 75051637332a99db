//! The start: what is on the disk, whether it is whole, and the founding of a new directory.
//!
//! **Founding.** A file named `founding` is durable before the first other file and removed after
//! the last: while it is there, nothing was confirmed, and the next start takes everything away.

use std::collections::BTreeSet;

use crate::quorum::io::{Remembered, VoteRecord};
use crate::quorum::message::{Entry, Snapshot};

use super::chain::Chain;
use super::disk::{Disk, Done};
use super::error::StoreError;
use super::founded::{Founded, is_ours, is_state, sweep};
use super::mark::{self, Mark};
use super::wal::{self, Log};
use super::{sealed, snapshot, vote};

const FOUNDING: &str = "founding";

/// Reads the directory and makes durable what it says.
pub(super) fn open<D: Disk>(disk: &mut D) -> Result<Option<(Founded, Remembered)>, StoreError> {
    // A name that an ended process gave may be in the kernel's memory only.
    disk.sync_dir()?;
    let names = disk.list()?;
    if names.iter().any(|n| n == FOUNDING) {
        clear(disk)?;
        disk.remove(FOUNDING)?;
        disk.sync_dir()?;
        return Ok(None);
    }
    if !names.iter().any(|n| is_state(n)) {
        return Ok(None);
    }
    let vote_bytes = present(disk, &names, vote::NAME)?;
    let vote = vote::decode(&vote_bytes).map_err(|f| f.of(&disk.path(vote::NAME)))?;
    let snapshot_bytes = present(disk, &names, snapshot::NAME)?;
    let kept = snapshot::decode(&snapshot_bytes).map_err(|f| f.of(&disk.path(snapshot::NAME)))?;
    let mark_bytes = present(disk, &names, mark::NAME)?;
    let mark = mark::decode(&mark_bytes).map_err(|f| f.of(&disk.path(mark::NAME)))?;
    let (founded, commit) = open_log(disk, &names, &kept, mark)?;
    let entries = founded.chain().entries().to_vec();
    Ok(Some((founded, Remembered { vote, snapshot: kept.snapshot, entries, commit })))
}

/// What the next start would find, without the vote: nothing is written, mended or made durable.
pub(super) fn look<D: Disk>(disk: &mut D) -> Result<Option<(Snapshot, Vec<Entry>)>, StoreError> {
    let names = disk.list()?;
    if names.iter().any(|n| n == FOUNDING) || !names.iter().any(|n| is_state(n)) {
        return Ok(None);
    }
    let bytes = present(disk, &names, snapshot::NAME)?;
    let kept = snapshot::decode(&bytes).map_err(|f| f.of(&disk.path(snapshot::NAME)))?;
    let name = wal::name(kept.log);
    let bytes = present(disk, &names, &name)?;
    let content = wal::decode(&bytes, 0).map_err(|f| f.of(&disk.path(&name)))?;
    Ok(Some((kept.snapshot, content.chain.entries().to_vec())))
}

/// Reads the log that the snapshot names, and tidies up around it.
fn open_log<D: Disk>(
    disk: &mut D,
    names: &[String],
    kept: &snapshot::Kept,
    mark: Mark,
) -> Result<(Founded, u64), StoreError> {
    if mark.log > kept.log {
        let why = format!("it names log {}, and log {} was in use later", kept.log, mark.log);
        return Err(damaged(disk, snapshot::NAME, why));
    }
    // A mark that speaks of an earlier log says nothing of this one.
    let marked = mark.log == kept.log;
    let confirmed = if marked { mark.confirmed } else { 0 };
    let name = wal::name(kept.log);
    let bytes = present(disk, names, &name)?;
    let content = wal::decode(&bytes, confirmed).map_err(|f| f.of(&disk.path(&name)))?;
    if content.log != kept.log || content.chain.base() != kept.snapshot.end {
        return Err(damaged(disk, &name, "it does not belong to this snapshot".to_owned()));
    }
    let torn = bytes.len() as u64 - content.length;
    if torn > 0 {
        let path = disk.path(&name);
        crate::log!(
            Info,
            "store",
            "cut off a write that was interrupted",
            file = path.display(),
            bytes = torn
        );
    }
    let (base, last) = (content.chain.base().index, content.chain.last());
    let hint = if marked { mark.commit } else { base };
    let commit = hint.clamp(base, last);
    sweep(disk, &BTreeSet::from([kept.log]))?;
    let log = Log::adopt(disk, content, &bytes, confirmed)?;
    let mut founded = Founded::new(log, mark, commit);
    founded.settle(disk)?;
    Ok((founded, commit))
}

/// The bytes of a file that belongs to every state.
fn present<D: Disk>(disk: &mut D, names: &[String], name: &str) -> Result<Vec<u8>, StoreError> {
    if !names.iter().any(|n| n == name) {
        return Err(damaged(disk, name, "it is missing, and other files of the state are not".to_owned()));
    }
    Ok(disk.read(name)?)
}

fn damaged<D: Disk>(disk: &D, name: &str, why: String) -> StoreError {
    StoreError::Damaged { path: disk.path(name), at: 0, why }
}

/// Makes a state directory out of an empty one, or out of an earlier try. Durable on success.
pub(super) fn found<D: Disk>(
    disk: &mut D,
    vote: &VoteRecord,
    snapshot: &Snapshot,
) -> Result<Founded, StoreError> {
    const FIRST: u64 = 1;
    let bytes = snapshot::encode(FIRST, snapshot).map_err(StoreError::Order)?;
    clear(disk)?;
    vote::write(disk, vote)?;
    let log = Log::create(disk, FIRST, Chain::new(snapshot.end))?;
    let (confirmed, commit) = (log.length(), snapshot.end.index);
    let mark = Mark { count: 1, log: FIRST, confirmed, commit };
    mark::create(disk, &mark)?;
    sealed::replace(disk, snapshot::NAME, &bytes)?;
    disk.remove(FOUNDING)?;
    disk.sync_dir()?;
    Ok(Founded::new(log, mark, commit))
}

/// Takes everything away, under the protection of `founding`, which stays.
fn clear<D: Disk>(disk: &mut D) -> Done<()> {
    let names = disk.list()?;
    if !names.iter().any(|n| n == FOUNDING) {
        disk.create(FOUNDING)?;
    }
    disk.sync_dir()?;
    for name in names.iter().filter(|n| is_ours(n)) {
        disk.remove(name)?;
    }
    disk.sync_dir()
}
