//! This host, as the kernel knows it: asked of the kernel, since a service may see of `/proc` no more
//! than its own processes.

use std::ffi::CStr;
use std::mem;

/// Its name, as it was set; empty when it is not UTF-8.
#[must_use]
pub fn name() -> String {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut told: libc::utsname = unsafe { mem::zeroed() };
    // SAFETY: the kernel fills the struct, which lives for the call; on failure it stays as it is.
    unsafe { libc::uname(&raw mut told) };
    // SAFETY: every field ends with a NUL, from the kernel or from the zeros before, and lives on.
    let name = unsafe { CStr::from_ptr(told.nodename.as_ptr()) };
    name.to_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_the_one_that_proc_shows() {
        let shown = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        assert_eq!(super::name(), shown.trim());
    }
}
