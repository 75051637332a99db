//! Waiting for many sockets at once: poll(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What is waited for; filled anew for every wait.
#[derive(Default)]
pub struct Poll {
    fds: Vec<libc::pollfd>,
}

/// The place of a descriptor in a [`Poll`], to ask about it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

impl Poll {
    /// Nothing to wait for.
    #[must_use]
    pub fn new() -> Poll {
        Poll::default()
    }

    /// Forgets every descriptor.
    pub fn clear(&mut self) {
        self.fds.clear();
    }

    /// Adds a descriptor. It must stay open until the wait is over; one that does not is reported
    /// as ready and the call on it then fails.
    pub fn add(&mut self, fd: BorrowedFd<'_>, read: bool, write: bool) -> Slot {
        let mut events = 0;
        if read {
            events |= libc::POLLIN;
        }
        if write {
            events |= libc::POLLOUT;
        }
        self.fds.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
        Slot(self.fds.len() - 1)
    }

    /// Waits until one of them is ready, for `limit` at most (rounded up to a millisecond). An
    /// interruption by a signal is an early end, not an error.
    ///
    /// # Errors
    /// The system's: too little memory, mostly.
    pub fn wait(&mut self, limit: Duration) -> io::Result<()> {
        let ms = limit.as_nanos().div_ceil(1_000_000);
        let ms = i32::try_from(ms).unwrap_or(i32::MAX);
        let count = libc::nfds_t::try_from(self.fds.len()).unwrap_or(0);
        // SAFETY: the pointer and the count describe the vector, which lives and is not moved
        // during the call; poll writes `revents` only.
        let result = unsafe { libc::poll(self.fds.as_mut_ptr(), count, ms) };
        if result >= 0 {
            return Ok(());
        }
        for fd in &mut self.fds {
            fd.revents = 0;
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        }
    }

    /// Whether reading would not block: data, the end, or an error to be read.
    #[must_use]
    pub fn readable(&self, slot: Slot) -> bool {
        self.has(slot, libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL)
    }

    /// Whether writing would not block, or would fail at once.
    #[must_use]
    pub fn writable(&self, slot: Slot) -> bool {
        self.has(slot, libc::POLLOUT | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL)
    }

    fn has(&self, slot: Slot, mask: libc::c_short) -> bool {
        self.fds.get(slot.0).is_some_and(|fd| fd.revents & mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_ready_is_told_from_what_is_not() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let mut poll = Poll::new();
        let (ra, rb) = (poll.add(a.as_fd(), true, false), poll.add(b.as_fd(), true, true));
        poll.wait(Duration::ZERO).unwrap();
        assert!(!poll.readable(ra) && !poll.readable(rb) && poll.writable(rb));
        a.write_all(b"x").unwrap();
        poll.clear();
        let rb = poll.add(b.as_fd(), true, false);
        poll.wait(Duration::from_secs(5)).unwrap();
        assert!(poll.readable(rb) && !poll.writable(rb));
        drop(a);
        poll.clear();
        let rb = poll.add(b.as_fd(), false, false);
        poll.wait(Duration::from_secs(5)).unwrap();
        assert!(poll.readable(rb), "a hang-up is told though nothing was asked");
    }
}
