//! Flags of open(2) that std has no name for.

/// Fail when the last part of the path is a symbolic link.
pub const NO_FOLLOW: i32 = libc::O_NOFOLLOW;
