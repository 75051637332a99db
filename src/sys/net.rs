//! What errors of sockets mean where the standard library has no name for them.

use std::io;

/// No descriptor, memory or buffer is left: pause and try again.
#[must_use]
pub fn is_exhausted(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// The host has no IPv6, or no such family at all.
#[must_use]
pub fn is_no_family(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A connection that does not block is being made: wait until the socket can be written to.
#[must_use]
pub fn is_in_progress(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}
