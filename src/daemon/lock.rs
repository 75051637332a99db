//! One daemon for one data directory: a lock on `qu.lock` that the kernel drops with the process.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The lock; held while this lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why the directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another daemon has it.
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        pid: String,
    },
    /// The file cannot be made or locked.
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { path, pid } => write!(
                f,
                "another qu serve (pid {pid}) uses {}: stop it first, or choose another directory with QUPTIME_DIR",
                path.parent().unwrap_or(path).display()
            ),
            LockError::Io { path, .. } => write!(f, "cannot lock {}", path.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Held { .. } => None,
            LockError::Io { source, .. } => Some(source),
        }
    }
}

impl DirLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path) -> Result<DirLock, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut written =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
        // Held by a descriptor that only reads: one that writes would keep an operator from making
        // the file system read-only.
        let file = File::open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.take(20).read_to_string(&mut pid).map_err(io)?;
                return Err(LockError::Held { path: path.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        written.set_len(0).and_then(|()| written.rewind()).map_err(io)?;
        writeln!(written, "{}", std::process::id()).map_err(io)?;
        Ok(DirLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let path = std::env::temp_dir().join(format!("qu-lock-{}", std::process::id()));
        let first = DirLock::take(&path).unwrap();
        let second = DirLock::take(&path).unwrap_err();
        assert!(matches!(&second, LockError::Held { pid, .. } if *pid == std::process::id().to_string()));
        drop(first);
        assert!(DirLock::take(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
