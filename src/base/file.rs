//! Files that are whole or not there: replaced through a temporary file, synced before the rename,
//! the directory synced after it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An operation on a path that failed; the cause is the source.
#[derive(Debug)]
pub struct FileError {
    /// What was being done: "read", "write", "create".
    pub what: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.path.display())
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Ties an I/O error to the operation and the path.
pub fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { what, path, source }
}

/// Reads a whole text file of at most `bound` bytes.
///
/// # Errors
/// [`FileError`]; a larger file and bytes that are not UTF-8 are `InvalidData`.
pub fn read_text(path: &Path, bound: u64) -> Result<String, FileError> {
    let file = File::open(path).map_err(at("read", path))?;
    let mut text = String::new();
    let n = file.take(bound + 1).read_to_string(&mut text).map_err(at("read", path))?;
    if n as u64 > bound {
        let why = io::Error::new(io::ErrorKind::InvalidData, format!("larger than {bound} bytes"));
        return Err(at("read", path)(why));
    }
    Ok(text)
}

/// Replaces `path` by a file of these bytes and mode, or leaves it as it was. When this returns,
/// the new content survives a power cut.
///
/// # Errors
/// [`FileError`]; the temporary file is removed again.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temp = beside(path, ".new");
    let written = write_synced(&temp, bytes, mode)
        .and_then(|()| fs::rename(&temp, path).map_err(at("replace", path)))
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        // The first error is the one to tell; a left-over temporary file is overwritten next time.
        drop(fs::remove_file(&temp));
    }
    written
}

/// Creates `path` with these bytes and mode; an existing file stays and is the error.
///
/// # Errors
/// [`FileError`], `AlreadyExists` among them.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at("write", path))?;
    sync_parent(path)
}

/// Makes a directory (and those above it) with this mode, or leaves an existing one alone.
///
/// # Errors
/// [`FileError`].
pub fn directory(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(at("create directory", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("set the mode of", path))?;
    sync_parent(path)
}

/// Makes the entries of the directory of `path` durable.
///
/// # Errors
/// [`FileError`].
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(dir).and_then(|d| d.sync_all()).map_err(at("sync directory", dir))
}

/// The path with something added to its last part.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a file that nobody looks at yet, and makes its bytes durable; its name is not.
///
/// # Errors
/// [`FileError`]; what was written so far is left.
pub fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(at("create", path))?;
    // A left-over temporary file keeps its old mode: set it again.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(at("set the mode of", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_mode_and_leaves_no_temporary() {
        let dir = std::env::temp_dir().join(format!("qu-file-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.yaml");
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert!(read_text(&path, 2).is_err());
        assert!(create(&path, b"x", 0o600).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
