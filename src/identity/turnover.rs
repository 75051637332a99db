//! From one key pair to the next on disk, so that a crash at any moment leaves a node that can
//! start and can finish.
//!
//! ```text
//! keys/            the key that the cluster knows        keys/next/     the key that follows it
//! 1  prepare   keys/next.new/ is written, then renamed to keys/next/: it is whole or not there
//! 2            the cluster commits the change (elsewhere)
//! 3  complete  cert.pem, public.pem, private.pem are replaced, each at once, in this order
//! 4            keys/next/ is renamed to keys/next.old/ and removed
//! ```
//!
//! [`open`] at a start tells from the files how far it came. A `cert.pem` of the next key beside a
//! `private.pem` of the old one exists in step 3 only, hence after the commit: it goes on. Whether
//! a whole `keys/next/` beside a whole old pair was committed, the files cannot know; then there
//! are two keys, and the configuration says which.
//!
//! `keys/next/` is never removed but by step 4: once it was announced, it may be the only key by
//! which the cluster knows this node.

use std::fs;
use std::path::{Path, PathBuf};

use super::cert;
use super::keys::{self, KeyError, KeyFiles, Keys, Made};
use super::succession::{Letter, MOST};
use crate::base::file::{self, FileError};

fn next_dir(dir: &Path) -> PathBuf {
    dir.join("next")
}

/// What a node finds: its key, and the one that may have taken its place already.
#[derive(Debug)]
pub struct Found {
    /// The key in `keys/`.
    pub current: Keys,
    /// The key in `keys/next/`, whose fate the configuration knows.
    pub next: Option<Keys>,
    /// For the log.
    pub warnings: Vec<String>,
}

/// Loads the key pair, and finishes what a crash has left half done.
///
/// # Errors
/// [`KeyError`]; every one names the file and the remedy.
pub fn open(dir: &Path) -> Result<Found, KeyError> {
    let mut warnings = Vec::new();
    for left_over in ["next.new", "next.old"] {
        if let Err(e) = remove(&dir.join(left_over)) {
            warnings.push(crate::base::text::chain(&e));
        }
    }
    let next = if next_dir(dir).exists() {
        match keys::load(&next_dir(dir)) {
            Ok((next, _)) => Some(next),
            Err(e) => {
                warnings.push(format!("the key that was to follow cannot be used: {e}"));
                None
            }
        }
    } else {
        None
    };
    let loaded = keys::load(dir);
    let half_done = match (&loaded, &next) {
        (Ok((current, _)), Some(next)) => current.fingerprint() == next.fingerprint(),
        (Err(KeyError::Mismatch { .. }), Some(next)) => certificate_is_of(dir, next),
        _ => false,
    };
    if half_done {
        complete(dir)?;
        let (current, more) = keys::load(dir)?;
        warnings.extend(more);
        return Ok(Found { current, next: None, warnings });
    }
    let (current, more) = loaded?;
    warnings.extend(more);
    Ok(Found { current, next, warnings })
}

fn certificate_is_of(dir: &Path, keys: &Keys) -> bool {
    let said = file::read_text(&KeyFiles::in_dir(dir).cert, keys::LARGEST).ok();
    said.and_then(|pem| cert::fingerprint_of_pem(&pem).ok()) == Some(keys.fingerprint())
}

/// Writes the key that follows beside the current one, with the letter that leads to it.
///
/// # Errors
/// [`KeyError`]; among them that there is one already.
pub fn prepare(dir: &Path, current: &Keys, made: &Made, letter: &Letter) -> Result<Keys, KeyError> {
    prepare_in(dir, current, made, letter, &mut Steps::all())
}

fn prepare_in(
    dir: &Path,
    current: &Keys,
    made: &Made,
    letter: &Letter,
    steps: &mut Steps,
) -> Result<Keys, KeyError> {
    let (new, next) = (dir.join("next.new"), next_dir(dir));
    let known = current.letters().iter().cloned().chain([letter.clone()]).collect::<Vec<_>>();
    let recent = known.get(known.len().saturating_sub(MOST)..).unwrap_or_default();
    let made = Made { cert_pem: keys::with_letters(&made.cert_pem, recent)?, ..made.clone() };
    let files = KeyFiles::in_dir(&new);
    steps.take(|| remove(&new))?;
    steps.take(|| file::directory(&new, 0o700))?;
    steps.take(|| file::create(&files.cert, made.cert_pem.as_bytes(), 0o644))?;
    steps.take(|| file::create(&files.public, made.public_pem.as_bytes(), 0o644))?;
    steps.take(|| file::create(&files.private, made.private_pem.as_bytes(), 0o600))?;
    // A directory with something in it is not replaced: an earlier next key stays, and is the error.
    steps.take(|| fs::rename(&new, &next).map_err(file::at("rename a directory to", &next)))?;
    steps.take(|| file::sync_parent(&next))?;
    keys::load(&next).map(|(keys, _)| keys)
}

/// The next key takes the place of the current one, which is gone then. May be called again after
/// a failure; without a next key there is nothing to do.
///
/// # Errors
/// [`KeyError`]; the node can start all the same, and goes on.
pub fn complete(dir: &Path) -> Result<(), KeyError> {
    complete_in(dir, &mut Steps::all())
}

fn complete_in(dir: &Path, steps: &mut Steps) -> Result<(), KeyError> {
    let (next, old) = (next_dir(dir), dir.join("next.old"));
    if !next.exists() {
        return Ok(());
    }
    let (from, to) = (KeyFiles::in_dir(&next), KeyFiles::in_dir(dir));
    let read = |path: &Path| file::read_text(path, keys::LARGEST);
    let (cert, public, private) = (read(&from.cert)?, read(&from.public)?, read(&from.private)?);
    steps.take(|| file::replace(&to.cert, cert.as_bytes(), 0o644))?;
    steps.take(|| file::replace(&to.public, public.as_bytes(), 0o644))?;
    steps.take(|| file::replace(&to.private, private.as_bytes(), 0o600))?;
    steps.take(|| remove(&old))?;
    steps.take(|| fs::rename(&next, &old).map_err(file::at("rename a directory to", &old)))?;
    steps.take(|| file::sync_parent(&next))?;
    steps.take(|| remove(&old))
}

/// Removes a directory, or finds none.
fn remove(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(file::at("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// Carries out steps; a test stops before each of them in turn, as a crash would.
struct Steps {
    left: usize,
}

impl Steps {
    fn all() -> Steps {
        Steps { left: usize::MAX }
    }

    fn take(&mut self, step: impl FnOnce() -> Result<(), FileError>) -> Result<(), KeyError> {
        self.left = self.left.checked_sub(1).ok_or(KeyError::Crypto("stopped".to_owned()))?;
        step().map_err(KeyError::from)
    }
}

#[cfg(test)]
mod tests;
