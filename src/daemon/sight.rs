//! How an edit of a file that the daemon itself writes is told from the daemon's own writing.
//!
//! Model: the file is known by the digest of the bytes that were last dealt with, written by the
//! daemon or judged as somebody's edit. A look (times, length, inode) saves the reading, but proves
//! little by itself: timestamps tick every few milliseconds, on some file systems every two
//! seconds, and a save within the tick of the last look leaves the same look. So a look settles
//! only when the bytes were still the known ones one tick after it was first seen.
//!
//! The file is replaced by exchange: what stood in its place is read *after* it was taken away. If
//! that was not the known text, somebody saved in that very moment; it is put back, and looked at
//! like any other edit.
//!
//! Left out: writers that keep the old file open over our exchange and write to it later.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::{Mono, Wall};
use crate::base::file::{self, FileError};
use crate::identity::fingerprint::digest;
use crate::sys::files;

/// The coarsest timestamps of a file system in use (FAT: two seconds).
const TICK: Duration = Duration::from_secs(2);
/// A file that changed this lately may not be whole yet: editors write in several steps.
const REST: Duration = Duration::from_millis(500);
/// The largest file that is read, bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

type Digest = [u8; 32];

/// What the file looks like from outside. The time of change tells of a mode that was mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    modified_ns: i128,
    changed_ns: i128,
    length: u64,
    inode: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    look: Look,
    since: Mono,
    settled: bool,
    broken: bool,
}

/// What there is to see.
#[derive(Debug)]
pub enum Sighting {
    /// There is no file.
    Gone,
    /// It says what it said when it was last dealt with.
    Known,
    /// It is being written, or looks that way: to be looked at again.
    Young,
    /// Somebody wrote this. It stays new until [`Sight::dealt`] is told.
    Edited(String),
    /// Somebody made it into something that cannot be read as text. Told once for each look.
    Broken(FileError),
    /// As [`Sighting::Broken`], and told before.
    StillBroken,
    /// Not even its metadata can be had.
    Hidden(io::Error),
}

/// How a replacement went.
#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The file says the new text, and survives a power cut.
    Done,
    /// Somebody saved in the same moment. Their text is in the file.
    Overtaken,
}

/// One watched file.
pub struct Sight {
    path: PathBuf,
    /// Of the bytes that were dealt with last; `None` before the first time.
    known: Option<Digest>,
    seen: Option<Seen>,
}

impl Sight {
    /// Nothing is known of the file yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Sight {
        Sight { path, known: None, seen: None }
    }

    /// Whether the file's text is known at all; until then it is nobody's edit.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Whether this is the text that was dealt with last.
    #[must_use]
    pub fn knows(&self, text: &str) -> bool {
        self.known == Some(digest(text.as_bytes()))
    }

    /// This text was dealt with: it is no edit any more.
    pub fn dealt(&mut self, text: &str) {
        self.known = Some(digest(text.as_bytes()));
    }

    /// Looks at the file. `now` orders the looks; `wall` is compared with the file's own time, only
    /// to let it rest.
    pub fn glance(&mut self, now: Mono, wall: Wall) -> Sighting {
        let look = match self.look() {
            Ok(look) => look,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Sighting::Gone,
            Err(e) => return Sighting::Hidden(e),
        };
        let before = self.seen.filter(|seen| seen.look == look);
        if let Some(seen) = before.filter(|seen| seen.settled) {
            return if seen.broken { Sighting::StillBroken } else { Sighting::Known };
        }
        if before.is_none() && is_young(look, wall) {
            return Sighting::Young;
        }
        let text = match file::read_text(&self.path, LARGEST) {
            Ok(text) => text,
            Err(e) => {
                self.seen = Some(Seen { look, since: now, settled: true, broken: true });
                return Sighting::Broken(e);
            }
        };
        // Changed again while it was read: later.
        if self.look().ok() != Some(look) {
            return Sighting::Young;
        }
        if !self.knows(&text) {
            return if is_young(look, wall) { Sighting::Young } else { Sighting::Edited(text) };
        }
        let since = before.map_or(now, |seen| seen.since);
        self.seen = Some(Seen { look, since, settled: now.since(since) >= TICK, broken: false });
        Sighting::Known
    }

    /// Writes this text into the place of the known one. Mode 0600.
    ///
    /// # Errors
    /// [`FileError`]; the file is as it was then.
    pub fn replace(&mut self, text: &str, now: Mono) -> Result<Replaced, FileError> {
        if !self.is_known() {
            file::replace(&self.path, text.as_bytes(), 0o600)?;
            self.placed(text, now);
            return Ok(Replaced::Done);
        }
        let temp = file::beside(&self.path, ".new");
        let replaced = file::write_synced(&temp, text.as_bytes(), 0o600).and_then(|()| self.put(&temp));
        if matches!(replaced, Ok(Replaced::Done)) {
            // From here on the file says it, whatever becomes of its durability.
            self.placed(text, now);
        }
        // Whatever stands there now is not needed, or was put into the file's place.
        match (fs::remove_file(&temp), replaced?) {
            (Err(e), _) if e.kind() != io::ErrorKind::NotFound => Err(file::at("remove", &temp)(e)),
            (_, Replaced::Done) => file::sync_parent(&self.path).map(|()| Replaced::Done),
            (_, Replaced::Overtaken) => Ok(Replaced::Overtaken),
        }
    }

    /// What stands there is ours: it need not rest before it is written over. Should somebody have
    /// saved since, this look is theirs, and not settled.
    fn placed(&mut self, text: &str, now: Mono) {
        self.dealt(text);
        let look = self.look().ok();
        self.seen = look.map(|look| Seen { look, since: now, settled: false, broken: false });
    }

    /// Takes the file's place, and gives it back if it was not the known text that stood there. The
    /// name is not durable yet.
    fn put(&self, temp: &std::path::Path) -> Result<Replaced, FileError> {
        match files::exchange(temp, &self.path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.put_new(temp),
            Err(_) => return self.put_over(temp),
        }
        // A directory, or bytes that are no text, were certainly not ours.
        if file::read_text(temp, LARGEST).is_ok_and(|stood| self.knows(&stood)) {
            return Ok(Replaced::Done);
        }
        files::exchange(temp, &self.path).map_err(file::at("give way to an edit of", &self.path))?;
        Ok(Replaced::Overtaken)
    }

    /// There was no file: unless one has come meanwhile.
    fn put_new(&self, temp: &std::path::Path) -> Result<Replaced, FileError> {
        match files::rename_new(temp, &self.path) {
            Ok(()) => Ok(Replaced::Done),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Replaced::Overtaken),
            Err(_) => self.put_over(temp),
        }
    }

    /// The file system cannot exchange: looks as late as possible, and renames.
    fn put_over(&self, temp: &std::path::Path) -> Result<Replaced, FileError> {
        let stands = file::read_text(&self.path, LARGEST);
        if self.path.exists() && !stands.is_ok_and(|stood| self.knows(&stood)) {
            return Ok(Replaced::Overtaken);
        }
        fs::rename(temp, &self.path).map_err(file::at("replace", &self.path))?;
        Ok(Replaced::Done)
    }

    fn look(&self) -> io::Result<Look> {
        let m = fs::metadata(&self.path)?;
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Ok(Look {
            modified_ns: ns(m.mtime(), m.mtime_nsec()),
            changed_ns: ns(m.ctime(), m.ctime_nsec()),
            length: m.len(),
            inode: m.ino(),
        })
    }
}

fn is_young(look: Look, wall: Wall) -> bool {
    let age = i128::from(wall.0) * 1_000_000 - look.modified_ns;
    (0..i128::try_from(REST.as_nanos()).unwrap_or(0)).contains(&age)
}

#[cfg(test)]
mod tests;
