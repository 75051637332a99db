//! The few things that the store asks of a disk: one flat directory of small files.
//!
//! Model: a change of a file's bytes is durable after [`Disk::sync`] of that file; a change of
//! names (create, rename, remove) after [`Disk::sync_dir`]; before that, a crash may undo it, in
//! part too. Nothing here retries, and nothing is remembered across an error: the caller must
//! assume that a failed write or sync left the file with anything above its last synced length.
//!
//! [`RealDisk`] is a directory of this machine, [`SimDisk`](super::sim_disk::SimDisk) one in
//! memory that breaks on command. Left out: locking the directory (the daemon's), and anything
//! about free space: what does not fit is an error of the write.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::file::{self, FileError, at};
use crate::sys::files::NO_FOLLOW;

/// What a disk answers.
pub type Done<T> = Result<T, FileError>;

/// A directory of files with plain names.
pub trait Disk {
    /// What to call this file towards a person.
    fn path(&self, name: &str) -> PathBuf;
    /// The names, sorted.
    ///
    /// # Errors
    /// The disk's.
    fn list(&mut self) -> Done<Vec<String>>;
    /// All bytes of a file.
    ///
    /// # Errors
    /// The disk's; `NotFound`; `InvalidData` when it is larger than [`LARGEST_FILE`].
    fn read(&mut self, name: &str) -> Done<Vec<u8>>;
    /// A new, empty file, in place of one of this name.
    ///
    /// # Errors
    /// The disk's.
    fn create(&mut self, name: &str) -> Done<()>;
    /// Bytes from `offset` on, over what is there, or as a continuation.
    ///
    /// # Errors
    /// The disk's; some of the bytes may have been written.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Done<()>;
    /// Cuts the file to this length.
    ///
    /// # Errors
    /// The disk's.
    fn truncate(&mut self, name: &str, length: u64) -> Done<()>;
    /// Makes the bytes and the length of the file survive a power cut.
    ///
    /// # Errors
    /// The disk's; what was not durable before may never become so, whatever a later call says.
    fn sync(&mut self, name: &str) -> Done<()>;
    /// Gives the file another name, in place of one that has it.
    ///
    /// # Errors
    /// The disk's; it may have happened or not.
    fn rename(&mut self, from: &str, to: &str) -> Done<()>;
    /// Takes the file away; one that is not there is no error.
    ///
    /// # Errors
    /// The disk's.
    fn remove(&mut self, name: &str) -> Done<()>;
    /// Makes the names survive a power cut.
    ///
    /// # Errors
    /// The disk's.
    fn sync_dir(&mut self) -> Done<()>;
}

/// The largest file that is read back, bytes. The state of 10,000 checks is a few MB; a larger
/// file was not written by this program, and must not take all memory.
pub const LARGEST_FILE: u64 = 1 << 30;

/// A directory of this machine: 0700, files 0600.
///
/// Files that are written stay open, so that an error of the kernel's later write-out reaches the
/// [`Disk::sync`] that follows. After any error all are closed: the next use opens them afresh.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    open: BTreeMap<String, File>,
}

impl RealDisk {
    /// The directory, which is made if it is not there; rights of others are taken away.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(dir: &Path) -> Done<RealDisk> {
        file::directory(dir, 0o700)?;
        let mode = fs::metadata(dir).map_err(at("read", dir))?.permissions().mode();
        if mode & 0o077 != 0 {
            let tight = fs::Permissions::from_mode(0o700);
            fs::set_permissions(dir, tight).map_err(at("set the mode of", dir))?;
        }
        Ok(RealDisk::peek(dir))
    }

    /// The directory as it is, to look at: nothing is made and nothing changed as long as nothing is
    /// written.
    #[must_use]
    pub fn peek(dir: &Path) -> RealDisk {
        RealDisk { dir: dir.to_owned(), open: BTreeMap::new() }
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let path = self.path(name);
            let file = OpenOptions::new().read(true).write(true).custom_flags(NO_FOLLOW).open(path)?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get(name).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Does something; an error closes all files and gets operation and path.
    fn doing<T>(
        &mut self,
        what: &'static str,
        name: &str,
        act: impl FnOnce(&mut RealDisk, &Path) -> io::Result<T>,
    ) -> Done<T> {
        let path = self.path(name);
        act(self, &path).map_err(|e| {
            self.open.clear();
            at(what, &path)(e)
        })
    }
}

impl Disk for RealDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn list(&mut self) -> Done<Vec<String>> {
        let names = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                // A name that is not UTF-8 is none of ours.
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        names().map_err(at("list", &self.dir))
    }

    fn read(&mut self, name: &str) -> Done<Vec<u8>> {
        self.doing("read", name, |_, path| {
            let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)?;
            let mut bytes = Vec::new();
            file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > LARGEST_FILE {
                let why = format!("larger than {LARGEST_FILE} bytes");
                return Err(io::Error::new(ErrorKind::InvalidData, why));
            }
            Ok(bytes)
        })
    }

    fn create(&mut self, name: &str) -> Done<()> {
        self.remove(name)?;
        self.doing("create", name, |disk, path| {
            let mut new = OpenOptions::new();
            new.read(true).write(true).create_new(true).mode(0o600).custom_flags(NO_FOLLOW);
            let made = new.open(path)?;
            file::give_to_owner(path, &made).map_err(|e| e.source)?;
            disk.open.insert(name.to_owned(), made);
            Ok(())
        })
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Done<()> {
        self.doing("write", name, |disk, _| disk.file(name)?.write_all_at(bytes, offset))
    }

    fn truncate(&mut self, name: &str, length: u64) -> Done<()> {
        self.doing("cut", name, |disk, _| disk.file(name)?.set_len(length))
    }

    fn sync(&mut self, name: &str) -> Done<()> {
        // fdatasync(2): bytes and length, not the time of the last change.
        self.doing("sync", name, |disk, _| disk.file(name)?.sync_data())
    }

    fn rename(&mut self, from: &str, to: &str) -> Done<()> {
        let target = self.path(to);
        self.open.remove(from);
        self.open.remove(to);
        self.doing("rename", from, |_, path| fs::rename(path, target))
    }

    fn remove(&mut self, name: &str) -> Done<()> {
        self.open.remove(name);
        self.doing("remove", name, |_, path| match fs::remove_file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    fn sync_dir(&mut self) -> Done<()> {
        let dir = self.dir.clone();
        File::open(&dir).and_then(|d| d.sync_all()).map_err(at("sync directory", &dir))
    }
}
