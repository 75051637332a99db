//! A disk in memory that fails, tears and forgets on command: for tests and for the simulator.
//!
//! Model: each file has the bytes that are durable and the bytes that a reader sees; between them
//! lie the changes that were not synced, in order. Names are kept in the same way. A power cut
//! ([`SimDisk::power_cut`]) lets some of the changes come through, as its caller decides, and
//! forgets the rest. An operation can be made to fail by its number ([`SimDisk::fail`]); a failed
//! write has written its first half, and a failed sync has done what Linux does: what was not
//! durable never becomes so, though a reader goes on seeing it and the next sync succeeds.
//!
//! Clones are handles of the same disk: keep one, give one to the store. To end a process without
//! a power cut, drop the store and open another one on a clone. Everything is deterministic.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::file::at;
use crate::base::rng::Rng;

use super::disk::{Disk, Done};

/// What reaches the platter together: bytes.
const SECTOR: usize = 512;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC: no file can be made, written or synced.
    Full,
    /// EROFS: nothing can be changed.
    ReadOnly,
    /// EIO: nothing works, reading included.
    Broken,
    /// The power is off: nothing happens any more, until [`SimDisk::power_cut`].
    Gone,
}

/// What a power cut leaves of the changes that were not synced.
#[derive(Debug)]
pub enum Crash<'a> {
    /// Nothing.
    Lost,
    /// All of them.
    Kept,
    /// The first ones, in the order in which they were made, as many as this budget pays for: a
    /// written byte costs 1, everything else costs 1. The last write may be torn.
    Prefix(u64),
    /// Each sector of each write and each change of a name by a toss: in no order at all.
    Scattered(&'a mut Rng),
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    durable_names: BTreeMap<String, u64>,
    names: BTreeMap<String, u64>,
    renames: Vec<(u64, Naming)>,
    /// Numbers files and changes.
    next: u64,
    operations: u64,
    syncs: u64,
    faults: Vec<(Range<u64>, Fault)>,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    bytes: Vec<u8>,
    changes: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Link { name: String, file: u64 },
    Unlink { name: String },
    Rename { from: String, to: String, file: u64 },
}

/// One change among all, for a power cut.
enum Pending {
    File(u64, Change),
    Name(Naming),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Truncate(length) => to.truncate(*length),
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    fn cost(&self) -> u64 {
        match self {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::Truncate(_) => 1,
        }
    }

    /// The first `budget` bytes of a write.
    fn torn(&self, budget: u64) -> Option<Change> {
        match self {
            Change::Write { offset, bytes } if budget > 0 => {
                let kept = usize::try_from(budget).unwrap_or(usize::MAX).min(bytes.len());
                Some(Change::Write { offset: *offset, bytes: bytes[..kept].to_vec() })
            }
            _ => None,
        }
    }

    /// The parts that reach the platter each on its own.
    fn sectors(&self) -> Vec<Change> {
        let Change::Write { offset, bytes } = self else {
            return vec![self.clone()];
        };
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let end = (((offset + at) / SECTOR + 1) * SECTOR - offset).min(bytes.len());
            parts.push(Change::Write { offset: offset + at, bytes: bytes[at..end].to_vec() });
            at = end;
        }
        parts
    }
}

impl Naming {
    fn apply(&self, to: &mut BTreeMap<String, u64>) {
        match self {
            Naming::Link { name, file } => drop(to.insert(name.clone(), *file)),
            Naming::Unlink { name } => drop(to.remove(name)),
            Naming::Rename { from, to: target, file } => {
                if to.get(from) == Some(file) {
                    to.remove(from);
                }
                to.insert(target.clone(), *file);
            }
        }
    }
}

/// What an operation does, as far as faults tell operations apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    /// Takes room.
    Write,
    /// Changes something, takes no room.
    Change,
    Sync,
}

impl Inner {
    /// Counts an operation and says whether it fails.
    fn gate(&mut self, kind: Kind) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let fault = self.faults.iter().find(|(range, _)| range.contains(&number)).map(|(_, f)| *f);
        match (fault, kind) {
            (Some(Fault::Full), Kind::Write | Kind::Sync) => Err(ErrorKind::StorageFull.into()),
            (Some(Fault::ReadOnly), Kind::Write | Kind::Change) => Err(ErrorKind::ReadOnlyFilesystem.into()),
            // EIO, for which std has no kind.
            (Some(Fault::Broken | Fault::Gone), _) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn gone(&self) -> bool {
        let now = self.operations.saturating_sub(1);
        self.faults.iter().any(|(range, fault)| *fault == Fault::Gone && range.contains(&now))
    }

    fn stamp(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let number = self.names.get(name).ok_or(ErrorKind::NotFound)?;
        self.files.get_mut(number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, name: &str, change: Change) -> io::Result<()> {
        let stamp = self.stamp();
        let file = self.file(name)?;
        change.apply(&mut file.bytes);
        file.changes.push((stamp, change));
        Ok(())
    }

    fn rename(&mut self, naming: Naming) {
        let stamp = self.stamp();
        naming.apply(&mut self.names);
        self.renames.push((stamp, naming));
    }

    /// Takes all changes that were not synced, in order.
    fn pending(&mut self) -> Vec<Pending> {
        let mut all: Vec<(u64, Pending)> =
            self.renames.drain(..).map(|(stamp, n)| (stamp, Pending::Name(n))).collect();
        for (number, file) in &mut self.files {
            all.extend(file.changes.drain(..).map(|(stamp, c)| (stamp, Pending::File(*number, c))));
        }
        all.sort_by_key(|(stamp, _)| *stamp);
        all.into_iter().map(|(_, p)| p).collect()
    }

    fn comes_through(&mut self, number: u64, change: &Change) {
        if let Some(file) = self.files.get_mut(&number) {
            change.apply(&mut file.durable);
        }
    }

    fn cut(&mut self, crash: Crash<'_>) {
        let pending = self.pending();
        match crash {
            Crash::Lost => {}
            Crash::Kept => self.cut_prefix(pending, u64::MAX),
            Crash::Prefix(budget) => self.cut_prefix(pending, budget),
            Crash::Scattered(rng) => {
                for change in pending {
                    match change {
                        Pending::Name(naming) if rng.chance(500) => naming.apply(&mut self.durable_names),
                        Pending::Name(_) => {}
                        Pending::File(number, change) => {
                            for part in change.sectors() {
                                if rng.chance(500) {
                                    self.comes_through(number, &part);
                                }
                            }
                        }
                    }
                }
            }
        }
        self.names = self.durable_names.clone();
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|number, _| linked.contains(number));
        for file in self.files.values_mut() {
            file.bytes = file.durable.clone();
        }
        self.faults.clear();
    }

    fn cut_prefix(&mut self, pending: Vec<Pending>, mut budget: u64) {
        for change in pending {
            let cost = match &change {
                Pending::File(_, change) => change.cost(),
                Pending::Name(_) => 1,
            };
            match change {
                Pending::Name(naming) if budget >= cost => naming.apply(&mut self.durable_names),
                Pending::File(number, change) if budget >= cost => self.comes_through(number, &change),
                Pending::File(number, change) => {
                    if let Some(part) = change.torn(budget) {
                        self.comes_through(number, &part);
                    }
                    return;
                }
                Pending::Name(_) => return,
            }
            budget -= cost;
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations there have been: the number of the next one.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// How many syncs of files have succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// Lets the operations of these numbers fail, where the fault concerns them.
    pub fn fail(&self, numbers: Range<u64>, fault: Fault) {
        self.inner().faults.push((numbers, fault));
    }

    /// Lets all operations fail from now on, where the fault concerns them.
    pub fn fail_from_now(&self, fault: Fault) {
        self.fail(self.operations()..u64::MAX, fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.inner().faults.clear();
    }

    /// What all changes that were not synced would cost, for [`Crash::Prefix`].
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        let inner = self.inner();
        let changes = inner.files.values().flat_map(|f| &f.changes);
        inner.renames.len() as u64 + changes.map(|(_, c)| c.cost()).sum::<u64>()
    }

    /// The power fails and comes back. Faults are taken away.
    pub fn power_cut(&self, crash: Crash<'_>) {
        self.inner().cut(crash);
    }

    /// A disk of its own with the same content, changes that were not synced included.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        let inner = self.inner();
        let files = inner.files.iter().map(|(number, f)| {
            let copy =
                File { durable: f.durable.clone(), bytes: f.bytes.clone(), changes: f.changes.clone() };
            (*number, copy)
        });
        SimDisk(Arc::new(Mutex::new(Inner {
            files: files.collect(),
            durable_names: inner.durable_names.clone(),
            names: inner.names.clone(),
            renames: inner.renames.clone(),
            next: inner.next,
            operations: inner.operations,
            syncs: inner.syncs,
            faults: inner.faults.clone(),
        })))
    }

    /// The names of the files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    /// The bytes of a file, as a reader sees them.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.inner().file(name).ok().map(|f| f.bytes.clone())
    }

    /// Damages a file behind everybody's back: these are its bytes from now on, durably.
    pub fn set(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.inner();
        let number = inner.stamp();
        inner.files.insert(number, File { durable: bytes.clone(), bytes, changes: Vec::new() });
        inner.names.insert(name.to_owned(), number);
        inner.durable_names.insert(name.to_owned(), number);
    }

    /// Takes a file away behind everybody's back, durably.
    pub fn erase(&self, name: &str) {
        let mut inner = self.inner();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }

    /// Takes everything away: the disk is a new one.
    pub fn wipe(&self) {
        *self.inner() = Inner::default();
    }

    /// One operation: counted, failed on command, its error named.
    fn doing<T>(
        &self,
        kind: Kind,
        what: &'static str,
        name: &str,
        act: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> Done<T> {
        let mut inner = self.inner();
        let done = inner.gate(kind).and_then(|()| act(&mut inner));
        done.map_err(at(what, &self.path(name)))
    }
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/sim/state").join(name)
    }

    fn list(&mut self) -> Done<Vec<String>> {
        self.doing(Kind::Read, "list", "", |inner| Ok(inner.names.keys().cloned().collect()))
    }

    fn read(&mut self, name: &str) -> Done<Vec<u8>> {
        self.doing(Kind::Read, "read", name, |inner| Ok(inner.file(name)?.bytes.clone()))
    }

    fn create(&mut self, name: &str) -> Done<()> {
        self.doing(Kind::Write, "create", name, |inner| {
            let file = inner.stamp();
            inner.files.insert(file, File::default());
            if inner.names.contains_key(name) {
                inner.rename(Naming::Unlink { name: name.to_owned() });
            }
            inner.rename(Naming::Link { name: name.to_owned(), file });
            Ok(())
        })
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Done<()> {
        let mut inner = self.inner();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX / 2);
        let done = match inner.gate(Kind::Write) {
            Ok(()) => inner.change(name, Change::Write { offset, bytes: bytes.to_vec() }),
            Err(e) if inner.gone() => Err(e),
            Err(e) => {
                let half = bytes[..bytes.len() / 2].to_vec();
                inner.change(name, Change::Write { offset, bytes: half }).and(Err(e))
            }
        };
        done.map_err(at("write", &self.path(name)))
    }

    fn truncate(&mut self, name: &str, length: u64) -> Done<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.doing(Kind::Change, "cut", name, |inner| inner.change(name, Change::Truncate(length)))
    }

    fn sync(&mut self, name: &str) -> Done<()> {
        let mut inner = self.inner();
        let gate = inner.gate(Kind::Sync);
        let gone = inner.gone();
        let done = inner.file(name).map(|file| {
            if gate.is_ok() {
                for (_, change) in file.changes.drain(..) {
                    change.apply(&mut file.durable);
                }
            } else if !gone {
                file.changes.retain(|(_, change)| matches!(change, Change::Truncate(_)));
            }
        });
        if done.is_ok() && gate.is_ok() {
            inner.syncs += 1;
        }
        done.and(gate).map_err(at("sync", &self.path(name)))
    }

    fn rename(&mut self, from: &str, to: &str) -> Done<()> {
        self.doing(Kind::Change, "rename", from, |inner| {
            let file = *inner.names.get(from).ok_or(ErrorKind::NotFound)?;
            inner.rename(Naming::Rename { from: from.to_owned(), to: to.to_owned(), file });
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> Done<()> {
        self.doing(Kind::Change, "remove", name, |inner| {
            if inner.names.contains_key(name) {
                inner.rename(Naming::Unlink { name: name.to_owned() });
            }
            Ok(())
        })
    }

    fn sync_dir(&mut self) -> Done<()> {
        self.doing(Kind::Sync, "sync directory", "", |inner| {
            for (_, naming) in std::mem::take(&mut inner.renames) {
                naming.apply(&mut inner.durable_names);
            }
            Ok(())
        })
    }
}
