//! What std has no name for: flags of open(2), and renames that overwrite nothing unseen.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Fail when the last part of the path is a symbolic link.
pub const NO_FOLLOW: i32 = libc::O_NOFOLLOW;

/// Swaps two existing files of one directory in a single step.
///
/// # Errors
/// As renameat2(2) with `RENAME_EXCHANGE`: `NotFound` when one of them is not there, and
/// `InvalidInput` or `Unsupported` on a file system that cannot do it.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rename(one, other, libc::RENAME_EXCHANGE)
}

/// Renames a file, and fails with `AlreadyExists` when `to` is there.
///
/// # Errors
/// As renameat2(2) with `RENAME_NOREPLACE`.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename(from, to, libc::RENAME_NOREPLACE)
}

fn rename(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<()> {
    let c = |p: &Path| CString::new(p.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (c(from)?, c(to)?);
    // The bare system call: not every C library that this is built with has the function.
    // SAFETY: both pointers are of strings that end in NUL and outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
