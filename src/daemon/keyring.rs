//! The keys of this node while it runs: the one that the cluster knows, and the one that is to
//! follow it.
//!
//! From the moment that a next key is announced, every new handshake shows it: peers that know of
//! the change want it, the others accept it by the letter beside it (`identity::succession`). So
//! this node need not know how far the news has got. The files follow once the change is applied
//! here; until then, and after a crash in between, both keys are there.
//!
//! Whoever reads the keys never waits for the disk: it is written under another lock.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::event::Event;
use crate::base::id::NodeId;
use crate::config::Cluster;
use crate::config::paths::Paths;
use crate::identity::keys::{KeyError, Made};
use crate::identity::{Fingerprint, Keys, Letter, turnover};
use crate::log;

/// Both keys.
#[derive(Clone)]
pub struct Held {
    /// In `keys/`.
    pub current: Keys,
    /// In `keys/next/`: announced, or about to be.
    pub next: Option<Keys>,
}

impl Held {
    /// What handshakes show.
    #[must_use]
    pub fn shown(&self) -> &Keys {
        self.next.as_ref().unwrap_or(&self.current)
    }

    /// Whether one of them is this.
    #[must_use]
    pub fn has(&self, key: Fingerprint) -> bool {
        self.current.fingerprint() == key || self.shown().fingerprint() == key
    }
}

/// The keys, for all threads.
pub struct KeyRing {
    dir: PathBuf,
    held: Mutex<Held>,
    /// Held while files are written; true when they are behind.
    disk: Mutex<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in memory by a holder that panicked; the process ends anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeyRing {
    /// Loads them, and finishes what a crash left; with warnings for the log.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(paths: &Paths) -> Result<(KeyRing, Vec<String>), KeyError> {
        let found = turnover::open(&paths.keys())?;
        let held = Held { current: found.current, next: found.next };
        let ring = KeyRing { dir: paths.keys(), held: Mutex::new(held), disk: Mutex::new(false) };
        Ok((ring, found.warnings))
    }

    /// As they are now.
    #[must_use]
    pub fn held(&self) -> Held {
        lock(&self.held).clone()
    }

    /// Writes down the key that is to follow. It is shown from now on.
    ///
    /// # Errors
    /// [`KeyError`]; nothing has changed.
    pub fn prepare(&self, made: &Made, letter: &Letter) -> Result<Keys, KeyError> {
        let _disk = lock(&self.disk);
        let current = lock(&self.held).current.clone();
        let next = turnover::prepare(&self.dir, &current, made, letter)?;
        lock(&self.held).next = Some(next.clone());
        Ok(next)
    }

    /// This is the key that the configuration gives this node. When it is the next one, that takes
    /// the place of the current one; true when it did. May be called at any time, from anywhere but
    /// the core: it writes files.
    ///
    /// # Errors
    /// [`KeyError`]: the files are behind; the next call tries again, and a start does.
    pub fn settle(&self, committed: Fingerprint) -> Result<bool, KeyError> {
        let mut behind = lock(&self.disk);
        let next = lock(&self.held).next.clone().filter(|next| next.fingerprint() == committed);
        let turned = next.is_some();
        if let Some(next) = next {
            *lock(&self.held) = Held { current: next, next: None };
            *behind = true;
        }
        if *behind {
            turnover::complete(&self.dir)?;
            *behind = false;
        }
        Ok(turned)
    }
}

/// Makes the key files follow the configuration; part of the file thread.
pub struct Settler {
    keys: Arc<KeyRing>,
    me: NodeId,
    core: Sender<Event>,
    /// This node's key by the newest configuration.
    key: Option<Fingerprint>,
    failed: bool,
}

impl Settler {
    /// Nothing happens yet.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, me: NodeId, core: Sender<Event>) -> Settler {
        Settler { keys, me, core, key: None, failed: false }
    }

    /// This is committed.
    pub fn heard(&mut self, cluster: &Cluster) {
        self.key = cluster.peers.get(&self.me).map(|p| p.fingerprint);
    }

    /// Writes what is to be written; while that fails, it is tried again with each call.
    pub fn settle(&mut self) {
        let Some(key) = self.key else { return };
        let settled = self.keys.settle(key);
        let failed = settled.is_err();
        // The core is ending when it does not listen.
        let note = |text| drop(self.core.try_send(Event::Note { about: "keys", text }));
        match settled {
            Ok(true) => log!(Info, "keys", "the key of this node is another one now", fingerprint = key),
            Ok(false) if self.failed => note(None),
            Ok(false) => {}
            Err(e) => {
                let text = format!("the files of this node's new key cannot be written: {e}");
                if !self.failed {
                    log!(Error, "keys", text.clone());
                }
                note(Some(text));
            }
        }
        self.failed = failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::ClusterId;
    use crate::identity::Succession;
    use crate::identity::keys::{self, KeyKind};

    fn prepared(ring: &KeyRing) -> Result<Fingerprint, KeyError> {
        let made = keys::make(KeyKind::EcdsaP256)?;
        let (old, new) = (ring.held().current, Keys::from_made(&made)?);
        let ids = (ClusterId::from_random(1), NodeId::from_random(2));
        let agreed = Succession::agreed(ids.0, ids.1, 1, &old, &new).expect("signed");
        ring.prepare(&made, &agreed.letter).map(|k| k.fingerprint())
    }

    #[test]
    fn the_next_key_is_shown_at_once_and_is_the_only_one_when_it_is_committed() {
        let dir = std::env::temp_dir().join(format!("qu-ring-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        let paths = Paths::new(&dir);
        keys::write(&paths.keys(), &keys::make(KeyKind::EcdsaP256).unwrap()).unwrap();
        let (ring, _) = KeyRing::open(&paths).unwrap();
        let old = ring.held().current.fingerprint();
        assert!(!ring.settle(old).unwrap(), "nothing to do");
        let new = prepared(&ring).unwrap();
        assert_eq!((ring.held().shown().fingerprint(), ring.held().current.fingerprint()), (new, old));
        assert!(ring.held().has(old) && ring.held().has(new));
        assert!(prepared(&ring).is_err(), "one at a time");
        assert!(!ring.settle(old).unwrap() && !ring.settle(Fingerprint([9; 32])).unwrap());
        // While the files cannot follow, the key has changed all the same.
        let aside = dir.join("aside");
        std::fs::rename(paths.keys().join("next/cert.pem"), &aside).unwrap();
        assert!(ring.settle(new).is_err());
        assert_eq!(ring.held().current.fingerprint(), new);
        assert!(ring.settle(new).is_err(), "tried again");
        std::fs::rename(&aside, paths.keys().join("next/cert.pem")).unwrap();
        assert!(!ring.settle(new).unwrap());
        assert!(!ring.held().has(old));
        let (again, warnings) = KeyRing::open(&paths).unwrap();
        assert_eq!((again.held().current.fingerprint(), warnings.len()), (new, 0));
        assert!(again.held().next.is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
