//! What is committed, on its way from the core to the thread that writes it into `cluster.yaml`
//! (`files.rs`).
//!
//! The core never waits for that thread: a newer configuration takes the place of one that was not
//! written yet.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::config::Cluster;
use crate::config::merge::History;
use crate::log;

/// Where committed configurations come in. Only the newest is written; the ones before it are kept
/// for edits that are based on them, [`History::LENGTH`] at most: the oldest goes first.
#[derive(Clone)]
pub struct Inlet {
    newest: Newest,
    past: Past,
    wake: Sender<()>,
}

type Newest = Arc<Mutex<Option<Committed>>>;

/// A configuration for the file.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What it says.
    pub cluster: Arc<Cluster>,
    /// It is of another log than those before it: the cluster was started again from a file.
    pub anew: bool,
}

impl Committed {
    /// In place of one that was not dealt with.
    #[must_use]
    pub fn over(self, before: Option<Committed>) -> Committed {
        Committed { anew: self.anew || before.is_some_and(|b| b.anew), ..self }
    }
}

/// Configurations of before, for edits that started from them.
#[derive(Clone, Default)]
pub struct Past(Arc<Mutex<History>>);

impl Past {
    /// The configuration that an edit started from, by the version in it.
    ///
    /// # Errors
    /// As [`History::base`].
    pub fn base(&self, version: u64) -> Result<Arc<Cluster>, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).base(version).map(Arc::clone)
    }

    pub(super) fn push(&self, cluster: Arc<Cluster>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(cluster);
    }
}

/// The thread's end of an [`Inlet`].
pub struct Outlet {
    newest: Newest,
    pub(super) past: Past,
    pub(super) woken: Receiver<()>,
}

impl Inlet {
    /// The inlet, and what wakes the thread. One place: it says "look", not what.
    #[must_use]
    pub fn new() -> (Inlet, Outlet) {
        let (wake, woken) = bounded(1);
        let (newest, past) = (Newest::default(), Past::default());
        (Inlet { newest: Arc::clone(&newest), past: past.clone(), wake }, Outlet { newest, past, woken })
    }

    /// Configurations of before.
    #[must_use]
    pub fn past(&self) -> Past {
        self.past.clone()
    }

    /// This is committed: edits may start from it.
    pub fn know(&self, cluster: Arc<Cluster>) {
        self.past.push(cluster);
    }

    /// This is committed, and durable on this node: it belongs into the file.
    pub fn put(&self, committed: Committed) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(committed.over(newest.take()));
        drop(newest);
        if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
            log!(Error, "files", "cluster.yaml is not written any more: its thread has ended");
        }
    }
}

impl Outlet {
    pub(super) fn take(&self) -> Option<Committed> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
