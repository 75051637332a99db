//! Waiting for many descriptors at once (epoll), waking that wait from another thread (eventfd),
//! and how many descriptors this process may open.
//!
//! Model: a descriptor is watched once, edge-triggered, for reading and writing together, so that
//! a connection costs one system call of registration in its whole life. Who is told "ready" must
//! therefore read or write until the kernel says "would block". Closing a descriptor ends its watch.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// Events taken from the kernel in one call: enough to amortise the call, 3 KiB of stack.
const BATCH: usize = 256;

/// A set of watched descriptors.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// A watched descriptor on which something can be done. An error or a hang-up counts as both: the
/// next call tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// As given when it was watched.
    pub token: u64,
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
}

impl Ready {
    fn of(event: &libc::epoll_event) -> Ready {
        #[allow(clippy::cast_possible_wrap)] // a bit set
        let (events, token) = (event.events as libc::c_int, event.u64);
        let broken = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        Ready {
            token,
            readable: broken || events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
            writable: broken || events & libc::EPOLLOUT != 0,
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that a system call has just returned.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// The kernel's: out of descriptors or memory.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: takes a flag, returns a descriptor or -1.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Poller { epoll: own(fd) })
    }

    /// Watches `fd` for becoming readable or writable (each change is told once), under `token`.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` when it is watched already.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add(fd, token, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET)
    }

    /// Watches `fd` for having something to read (told again and again until it is read).
    ///
    /// # Errors
    /// As [`Poller::watch`].
    pub fn watch_input(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add(fd, token, libc::EPOLLIN)
    }

    fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: libc::c_int) -> io::Result<()> {
        #[allow(clippy::cast_sign_loss)] // a bit set
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        let (epoll, fd) = (self.epoll.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: both descriptors are open, since they are borrowed; the event lives for the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits until something is ready or `limit` has passed, and puts what is ready into
    /// `ready` (emptied first). Rounded up to whole milliseconds. A signal ends the wait early.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn wait(&self, ready: &mut Vec<Ready>, limit: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let ms = limit.map_or(-1, |d| i32::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let room = i32::try_from(BATCH).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events into the array, which has that many.
        let found = check(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, ms) });
        match found {
            Ok(n) => {
                ready.extend(events.iter().take(usize::try_from(n).unwrap_or(0)).map(Ready::of));
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Ends a [`Poller::wait`] from any thread. Watch it with [`Poller::watch_input`].
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<File>,
}

impl Waker {
    /// A waker that nobody has used.
    ///
    /// # Errors
    /// The kernel's: out of descriptors.
    pub fn new() -> io::Result<Waker> {
        // SAFETY: takes a count and flags, returns a descriptor or -1.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Waker { event: Arc::new(File::from(own(fd))) })
    }

    /// Ends the wait, now or the next one.
    pub fn wake(&self) {
        // It can only fail when the counter is full, and then the wait ends anyway.
        drop((&*self.event).write(&1_u64.to_ne_bytes()));
    }

    /// Forgets the wake-ups so far.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // It can only fail when there was none.
        drop((&*self.event).read(&mut count));
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

fn limits() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the kernel fills the struct, which lives for the call; on failure it stays as it is.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit
}

/// How many descriptors this process may have open (`ulimit -n`).
#[must_use]
pub fn descriptor_limit() -> u64 {
    limits().rlim_cur
}

/// Raises the number of descriptors this process may open to the hard limit; returns what holds now.
///
/// # Errors
/// The kernel's; none is expected, and the old limit then stays.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = limits();
    if limit.rlim_cur == limit.rlim_max {
        // Nothing to ask for; a service may not even ask.
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct, which lives for the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_readable_descriptor_and_a_waker_end_the_wait_and_a_quiet_one_does_not() {
        let poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.watch_input(waker.as_fd(), 7).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty(), "{ready:?}");
        waker.clone().wake();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [Ready { token: 7, readable: true, writable: false }]);
        waker.clear();

        let (mut a, b) = UnixStream::pair().unwrap();
        poller.watch(b.as_fd(), 9).unwrap();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, [Ready { token: 9, readable: false, writable: true }]);
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty(), "and told once only: {ready:?}");
        a.write_all(b"x").unwrap();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [Ready { token: 9, readable: true, writable: true }]);
        drop(a);
        poller.wait(&mut ready, None).unwrap();
        assert!(ready[0].readable && ready[0].writable, "a hang-up is both");
    }

    #[test]
    fn the_limit_of_descriptors_is_known_and_never_shrinks_when_raised() {
        let before = descriptor_limit();
        assert!(before > 0);
        assert!(raise_descriptor_limit().unwrap() >= before);
    }
}
