//! Why the store cannot do what it was asked.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::file::FileError;
use crate::base::text::harmless;

/// What is wrong with the bytes of a file: found by a decoder, which knows no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Byte at which it shows.
    pub at: u64,
    /// What it is, as part of a sentence.
    pub why: String,
    /// Set when the file is whole, but of this format, which a newer `qu` wrote.
    pub format: Option<u8>,
}

impl Flaw {
    pub(super) fn new(at: usize, why: impl Into<String>) -> Flaw {
        Flaw { at: at as u64, why: harmless(&why.into()), format: None }
    }

    /// Names the file.
    pub(super) fn of(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self.format {
            Some(found) => StoreError::Newer { path, found },
            None => StoreError::Damaged { path, at: self.at, why: self.why },
        }
    }
}

/// Why the store cannot go on.
#[derive(Debug)]
pub enum StoreError {
    /// The disk refused. After this the same writes must be tried again before any other.
    Io(FileError),
    /// A file does not hold what was written to it. Nothing was changed.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Byte at which it shows.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// A file is whole, but of a format that this program does not know.
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u8,
    },
    /// A state directory was to be founded where there is one.
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Asked for what would make the files contradict themselves: a fault of the program. Nothing
    /// was changed.
    Order(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io(e) => e.fmt(f),
            StoreError::Damaged { path, at, why } => {
                let dir = path.parent().unwrap_or(path);
                write!(
                    f,
                    "{} is damaged at byte {at}: {why}; move {} away and start: the node then learns \
                     its state again from the others (with fewer than a majority intact see \
                     quptime-troubleshooting(7))",
                    path.display(),
                    dir.display()
                )
            }
            StoreError::Newer { path, found } => write!(
                f,
                "{} is of format {found}, this qu knows {}: written by a newer qu; install that version again",
                path.display(),
                super::sealed::FORMAT
            ),
            StoreError::NotEmpty { path } => {
                write!(f, "{} holds a state already: it is not founded again", path.display())
            }
            StoreError::Order(what) => write!(f, "the store was told something impossible: {what}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io(e) => e.source(),
            _ => None,
        }
    }
}

impl From<FileError> for StoreError {
    fn from(e: FileError) -> StoreError {
        StoreError::Io(e)
    }
}

impl StoreError {
    /// Whether trying the same again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Io(_))
    }
}

/// A read-back that differs from what was written.
pub(super) fn not_what_was_written() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what is read back is not what was written")
}
