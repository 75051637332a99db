//! Who: the other side of a local socket, this process, and the name of a user.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;

/// The other side of a local socket, as the kernel saw it connect (or bind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its process; 0 when it is in another process namespace.
    pub pid: i32,
}

/// Who is at the other side.
///
/// # Errors
/// The kernel's.
pub fn peer(socket: &UnixStream) -> io::Result<Peer> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(mem::size_of::<libc::ucred>())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `cred` and `length` are
    // ours, and `length` is the size of `cred`.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut cred).cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { uid: cred.uid, gid: cred.gid, pid: cred.pid })
}

/// The effective user of this process.
#[must_use]
pub fn euid() -> u32 {
    // SAFETY: takes nothing and cannot fail (geteuid(2)).
    unsafe { libc::geteuid() }
}

/// The name of a user, if the user data base has one that is UTF-8.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    // Entries are some hundred bytes; one that does not fit is treated like a missing one.
    let mut buffer = vec![0_u8; 16 * 1024];
    let mut found: *mut libc::passwd = ptr::null_mut();
    // SAFETY: a passwd of zeros is valid, it is integers and null pointers.
    let mut entry: libc::passwd = unsafe { mem::zeroed() };
    // SAFETY: all pointers are ours and outlive the call; the length is the buffer's.
    let answer = unsafe {
        libc::getpwuid_r(uid, &raw mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found)
    };
    if answer != 0 || found.is_null() || entry.pw_name.is_null() {
        return None;
    }
    // SAFETY: on success `pw_name` is a NUL-terminated string inside `buffer`, which still lives.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    name.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = peer(&a).unwrap();
        assert_eq!(peer.uid, euid());
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    }

    #[test]
    fn root_has_a_name_and_a_made_up_user_has_none() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(3_999_999_999), None);
    }
}
