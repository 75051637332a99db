//! Files that are whole or not there: replaced through a temporary file, synced before the rename,
//! the directory synced after it.
//!
//! What root makes in a directory of somebody else belongs to the owner of that directory: a
//! `sudo qu init` must not leave files behind that the service, which has a user of its own, cannot
//! read. No symbolic link is followed at the last part of a path that is written.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
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
    write_new(path, bytes, mode)?;
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
    let made = fs::symlink_metadata(path).map_err(at("look at", path))?;
    if let Some((uid, gid)) = rightful_owner(path, &made)? {
        given(lchown(path, Some(uid), Some(gid))).map_err(at("set the owner of", path))?;
    }
    sync_parent(path)
}

/// Gives a file that root has just made in a directory of somebody else to the owner of that
/// directory; leaves any other alone.
///
/// # Errors
/// [`FileError`].
pub fn give_to_owner(path: &Path, file: &File) -> Result<(), FileError> {
    let made = file.metadata().map_err(at("look at", path))?;
    match rightful_owner(path, &made)? {
        Some((uid, gid)) => given(fchown(file, Some(uid), Some(gid))).map_err(at("set the owner of", path)),
        None => Ok(()),
    }
}

/// A root that may not give files away (in a user namespace, on some network file systems) is the
/// user that runs the daemon there, too: the file stays as it is.
fn given(answer: io::Result<()>) -> io::Result<()> {
    answer.or_else(|e| match e.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => Ok(()),
        _ => Err(e),
    })
}

/// User and group of the directory that holds `path`, when root has made what is there and the
/// directory is not root's.
fn rightful_owner(path: &Path, made: &fs::Metadata) -> Result<Option<(u32, u32)>, FileError> {
    if made.uid() != 0 {
        return Ok(None);
    }
    let dir = parent(path);
    let owner = fs::metadata(dir).map_err(at("look at", dir))?;
    Ok((owner.uid() != 0).then(|| (owner.uid(), owner.gid())))
}

/// Makes the entries of the directory of `path` durable.
///
/// # Errors
/// [`FileError`].
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let dir = parent(path);
    File::open(dir).and_then(|d| d.sync_all()).map_err(at("sync directory", dir))
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with something added to its last part.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a file that nobody looks at yet, in place of one that a crash left behind with whatever
/// mode and owner, and makes its bytes durable; its name is not.
///
/// # Errors
/// [`FileError`]; what was written so far is left.
pub fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => write_new(path, bytes, mode),
    }
}

/// A new file with these bytes; the right mode and owner before the first of them.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at("create", path))?;
    let written = give_to_owner(path, &file)
        .and_then(|()| file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at("write", path)));
    if written.is_err() {
        // The first error is the one to tell; half a file is nobody's.
        drop(fs::remove_file(path));
    }
    written
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

    #[test]
    fn a_temporary_file_that_was_left_behind_is_replaced_and_a_link_in_its_place_not_followed() {
        let dir = std::env::temp_dir().join(format!("qu-file-link-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, temp, victim) = (dir.join("a"), dir.join("a.new"), dir.join("victim"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &temp).unwrap();
        replace(&path, b"one", 0o600).unwrap();
        fs::write(&temp, "left over").unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert!(!temp.exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_directory() {
        let dir = std::env::temp_dir().join(format!("qu-file-owner-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        if fs::metadata(&dir).unwrap().uid() != 0 {
            eprintln!("skipped: only root can make files for others");
            return fs::remove_dir_all(&dir).unwrap();
        }
        let owner = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.uid(), found.gid())
        };
        let theirs = dir.join("theirs");
        fs::create_dir(&theirs).unwrap();
        lchown(&theirs, Some(4242), Some(4343)).unwrap();
        create(&theirs.join("a"), b"x", 0o600).unwrap();
        replace(&theirs.join("b"), b"x", 0o600).unwrap();
        directory(&theirs.join("d"), 0o700).unwrap();
        create(&theirs.join("d/c"), b"x", 0o600).unwrap();
        for name in ["a", "b", "d", "d/c"] {
            assert_eq!(owner(&theirs.join(name)), (4242, 4343), "{name}");
        }
        create(&dir.join("ours"), b"x", 0o600).unwrap();
        assert_eq!(owner(&dir.join("ours")), owner(&dir));
        fs::remove_dir_all(&dir).unwrap();
    }
}
