//! The request out and the answer in, over a connection with or without TLS.

use std::io::{self, Read as _, Write as _};

use rustls::ClientConnection;

use crate::config::Url;
use crate::verdict::Stage;

use super::{Expect, Finding, Reading, request};
use crate::probe::socket::{Ctx, Failure, Sock, connection_failure};
use crate::probe::tls;

/// A connection that is ready for the request.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Sock),
    /// Through TLS; the handshake is over.
    Tls(Sock, Box<ClientConnection>),
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    stream: Stream,
    out: Vec<u8>,
    reading: Reading,
}

impl Exchange {
    /// Nothing has been sent yet: call [`Exchange::drive`].
    #[must_use]
    pub fn new(stream: Stream, url: &Url, expect: Expect) -> Exchange {
        Exchange { stream, out: request(url), reading: Reading::new(expect) }
    }

    /// Whether the body is what is waited for.
    #[must_use]
    pub fn in_body(&self) -> bool {
        self.reading.in_body()
    }

    /// Sends as far as the connection lets us, and reads where there is something to read.
    ///
    /// # Errors
    /// The answer is not the expected one, or none came.
    pub fn drive(&mut self, ctx: &mut Ctx<'_>, readable: bool) -> Result<Option<Finding>, Failure> {
        match &mut self.stream {
            Stream::Plain(sock) => {
                send_plain(sock, &mut self.out);
                // Mostly the request has just gone out: no need to ask for the answer yet.
                if readable { read_plain(sock, &mut self.reading, ctx.scratch) } else { Ok(None) }
            }
            Stream::Tls(sock, tls) => drive_tls(sock, tls, &mut self.out, &mut self.reading, ctx.scratch),
        }
    }
}

fn lost(reading: &Reading, error: &io::Error) -> Failure {
    connection_failure(if reading.in_body() { Stage::Body } else { Stage::Http }, error)
}

fn send_plain(sock: &Sock, out: &mut Vec<u8>) {
    while !out.is_empty() {
        match (&sock.socket).write(out) {
            Ok(n) => drop(out.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            // A server may answer and close before it has read all: what it says decides.
            Err(_) => out.clear(),
        }
    }
}

fn read_plain(sock: &Sock, reading: &mut Reading, scratch: &mut [u8]) -> Result<Option<Finding>, Failure> {
    loop {
        match (&sock.socket).read(scratch) {
            Ok(0) => return reading.end().map(Some),
            Ok(n) => {
                if let Some(finding) = reading.feed(scratch.get(..n).unwrap_or_default())? {
                    return Ok(Some(finding));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(lost(reading, &e)),
        }
    }
}

fn drive_tls(
    sock: &Sock,
    tls: &mut ClientConnection,
    out: &mut Vec<u8>,
    reading: &mut Reading,
    scratch: &mut [u8],
) -> Result<Option<Finding>, Failure> {
    if !out.is_empty() {
        // Into rustls' buffer, which takes any request of ours whole.
        tls.writer().write_all(out).map_err(|e| lost(reading, &e))?;
        out.clear();
    }
    let mut closed = false;
    loop {
        while tls.wants_write() {
            match tls.write_tls(&mut &sock.socket) {
                Ok(_) => {}
                // Blocked, or broken: what there is to read decides.
                Err(_) => break,
            }
        }
        loop {
            match tls.reader().read(scratch) {
                Ok(0) => return reading.end().map(Some),
                Ok(n) => {
                    if let Some(finding) = reading.feed(scratch.get(..n).unwrap_or_default())? {
                        return Ok(Some(finding));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Closed without saying so in TLS: the framing of HTTP tells whether it was whole.
                Err(_) => return reading.end().map(Some),
            }
        }
        if closed {
            return reading.end().map(Some);
        }
        match tls.read_tls(&mut &sock.socket) {
            Ok(0) => closed = true,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(lost(reading, &e)),
        }
        tls.process_new_packets().map_err(|e| tls::failure(&e))?;
    }
}
