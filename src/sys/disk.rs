//! How full a file system is.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the kernel says about the file system of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that a user other than root may still write.
    pub free: u64,
    /// Files that can still be made; `None` where they are not counted.
    pub free_files: Option<u64>,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Asks the kernel.
///
/// # Errors
/// Its own: no such file, no right to look.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a statvfs of zeros is valid, it is integers.
    let mut said: libc::statvfs = unsafe { mem::zeroed() };
    // SAFETY: `path` is a NUL-terminated string and `said` is ours; both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut said) } != 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // other widths on other machines
    let (blocks, size, all, files) =
        (said.f_bavail as u64, said.f_frsize as u64, said.f_files as u64, said.f_favail as u64);
    Ok(Space {
        free: blocks.saturating_mul(size),
        free_files: (all > 0).then_some(files),
        read_only: said.f_flag & libc::ST_RDONLY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_has_an_answer_and_one_that_is_not_an_error() {
        let space_here = space(&std::env::temp_dir()).unwrap();
        assert!(!space_here.read_only);
        assert_eq!(space(Path::new("/nonexistent/dir")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(space(Path::new("a\0b")).is_err());
    }
}
