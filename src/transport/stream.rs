//! One TLS connection over a socket that never blocks: frames in, frames out.
//!
//! The owner asks poll(2) when there is something to do, then calls [`Wire::fill`] or
//! [`Wire::flush`]. Memory follows what really arrived: an announced length reserves nothing.
//! Who the other end is and what the frames mean is not known here.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustls::Connection;

use super::frames::{BadLength, Frames};
use crate::base::clock::Mono;

/// At most this much is read from one connection before the others have their turn, bytes.
const TURN: usize = 64 * 1024;
/// What TLS is given to encrypt at a time, bytes: one record.
const RECORD: usize = 16 * 1024;

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Lost {
    /// The other end closed.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// What arrived is no TLS, or the other end was refused by it.
    Tls(rustls::Error),
    /// An impossible frame length was announced.
    Length(BadLength),
}

/// A connection.
pub(super) struct Wire {
    socket: TcpStream,
    tls: Connection,
    frames: Frames,
    /// Frames that TLS has not taken yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// Since when the socket has taken nothing although there is something to take.
    pub(super) stuck_since: Option<Mono>,
    /// Raw bytes since the beginning.
    pub(super) bytes_in: u64,
    /// Raw bytes since the beginning.
    pub(super) bytes_out: u64,
    /// The other end said that nothing more will come.
    ended: bool,
}

impl Wire {
    /// Over a socket that does not block.
    pub(super) fn new(socket: TcpStream, tls: Connection, bound: usize) -> Wire {
        Wire {
            socket,
            tls,
            frames: Frames::new(bound),
            out: Vec::new(),
            sent: 0,
            stuck_since: None,
            bytes_in: 0,
            bytes_out: 0,
            ended: false,
        }
    }

    /// The other end is trusted now: larger frames may come.
    pub(super) fn set_bound(&mut self, bound: usize) {
        self.frames.set_bound(bound);
    }

    pub(super) fn tls(&self) -> &Connection {
        &self.tls
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// There is something that the socket should take.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.wants_write() || (!self.tls.is_handshaking() && self.waiting() > 0)
    }

    /// Bytes that were pushed and TLS has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// A frame that has arrived.
    pub(super) fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.next_frame()
    }

    /// Reads what is there, one turn's worth at most. Frames that arrived before the end or a fault
    /// of the connection are there afterwards.
    pub(super) fn fill(&mut self) -> Result<(), Lost> {
        let mut turn = 0;
        while turn < TURN && !self.ended {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(Lost::Closed),
                Ok(n) => {
                    turn += n;
                    self.bytes_in += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Lost::Io(e)),
            }
            self.digest()?;
        }
        if self.ended { Err(Lost::Closed) } else { Ok(()) }
    }

    /// Decrypts what was read.
    fn digest(&mut self) -> Result<(), Lost> {
        let state = match self.tls.process_new_packets() {
            Ok(state) => state,
            Err(e) => {
                // The alert that tells the other end why, as far as the socket takes it at once.
                drop(self.tls.write_tls(&mut self.socket));
                return Err(Lost::Tls(e));
            }
        };
        self.ended = state.peer_has_closed();
        let mut piece = [0_u8; 4096];
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let n = match self.tls.reader().read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(Lost::Io(e)),
            };
            left = left.saturating_sub(n);
            self.frames.take(piece.get(..n).unwrap_or_default()).map_err(Lost::Length)?;
        }
        Ok(())
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, body: &[u8]) {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        let length = u32::try_from(body.len()).unwrap_or(0);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(body);
    }

    /// Says that nothing more will come, after everything that was pushed.
    pub(super) fn finish(&mut self) {
        self.hand_over();
        self.tls.send_close_notify();
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self, now: Mono) -> Result<(), Lost> {
        loop {
            self.hand_over();
            if !self.tls.wants_write() {
                self.stuck_since = None;
                return Ok(());
            }
            match self.tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(Lost::Closed),
                Ok(n) => {
                    self.bytes_out += n as u64;
                    self.stuck_since = None;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck_since.get_or_insert(now);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Lost::Io(e)),
            }
        }
    }

    /// Gives TLS what it takes of the queue; its own buffer is bounded.
    fn hand_over(&mut self) {
        while self.waiting() > 0 && !self.tls.is_handshaking() {
            let end = self.out.len().min(self.sent + RECORD);
            let piece = self.out.get(self.sent..end).unwrap_or_default();
            match self.tls.writer().write(piece) {
                Ok(n) if n > 0 => self.sent += n,
                _ => return,
            }
        }
        if self.sent == self.out.len() && self.out.capacity() > TURN {
            // A large message is rare: its memory is given back.
            self.out = Vec::new();
            self.sent = 0;
        }
    }

    /// Ends the sending side, so that what was sent arrives before the connection goes.
    pub(super) fn end_sending(&self) {
        // It fails when the other end was faster, which comes to the same.
        drop(self.socket.shutdown(Shutdown::Write));
    }

    /// Throws away what arrives; `false` when nothing more can come.
    pub(super) fn drain(&mut self) -> bool {
        let mut piece = [0_u8; 4096];
        for _ in 0..TURN / piece.len() {
            match self.socket.read(&mut piece) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
