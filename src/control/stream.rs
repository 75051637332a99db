//! A local socket with one deadline for a whole message: a timeout for each read alone would let
//! a slow sender hold a connection for ever, a byte at a time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};

/// A borrowed socket that fails with `TimedOut` once the deadline has passed.
pub struct Deadline<'a> {
    socket: &'a UnixStream,
    clock: &'a dyn Clock,
    until: Mono,
}

impl<'a> Deadline<'a> {
    /// Everything read and written through this takes `patience` together at most.
    pub fn new(socket: &'a UnixStream, clock: &'a dyn Clock, patience: Duration) -> Deadline<'a> {
        Deadline { socket, clock, until: clock.mono() + patience }
    }

    fn left(&self) -> io::Result<Duration> {
        match self.until.since(self.clock.mono()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            // A timeout of zero would mean none.
            left => Ok(left.max(Duration::from_millis(1))),
        }
    }
}

/// Sockets say `WouldBlock` when their timeout has passed.
fn named(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

impl Read for Deadline<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(into).map_err(named)
    }
}

impl Write for Deadline<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Wall};

    #[test]
    fn one_deadline_holds_for_many_reads() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let clock = ManualClock::at(Wall(0));
        let mut stream = Deadline::new(&ours, &clock, Duration::from_secs(5));
        let mut byte = [0];
        (&theirs).write_all(b"ab").unwrap();
        stream.read_exact(&mut byte).unwrap();
        clock.advance(Duration::from_secs(6));
        assert_eq!(stream.read_exact(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
