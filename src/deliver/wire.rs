//! The connection to a relay: bounded in time and in what it takes.
//!
//! A relay, or who sits in front of it, may say anything: an answer has at most [`ANSWER`] bytes
//! and must be complete in the time given for it, however slowly it drips, inside TLS too. What
//! was said in the clear before TLS begins is not believed after it. Commands and answers are
//! `lettre`'s.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::response::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::base::clock::{Clock, Mono, RealClock};
use crate::base::text::{about, chain};
use crate::base::units::Host;

/// Bytes of one answer, all its lines together (RFC 5321 allows 512 a line).
const ANSWER: usize = 16 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The relay said no.
    Answer(Response),
    /// There was no (sensible) answer.
    Lost(String),
}

impl Trouble {
    fn lost(why: impl Into<String>) -> Trouble {
        Trouble::Lost(why.into())
    }

    /// The relay's words, or what happened instead.
    pub(super) fn told(&self) -> String {
        match self {
            Trouble::Answer(r) => format!("{} {}", r.code(), r.message().collect::<Vec<_>>().join(" ")),
            Trouble::Lost(why) => why.clone(),
        }
    }

    /// The relay will not change its mind (5xx).
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Trouble::Answer(r) if u16::from(r.code()) >= 500)
    }
}

/// A socket with a moment by which the current step must be over.
struct Timed {
    tcp: TcpStream,
    clock: RealClock,
    until: Mono,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        match self.until.since(self.clock.mono()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

/// Linux says "would block" when a socket's timeout is over.
fn timed_out(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        self.tcp.read(into).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Stream::Plain(timed) => timed,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(timed) => timed.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// A conversation with a relay; the connection is closed when it is dropped.
pub(super) struct Conversation {
    stream: BufReader<Stream>,
    limit: Duration,
}

impl Conversation {
    /// Connects; nothing is said yet. `limit` is for each step.
    pub(super) fn connect(host: &Host, port: u16, limit: Duration) -> Result<Conversation, Trouble> {
        let found = match host {
            Host::Ip(ip) => vec![(*ip, port).into()],
            Host::Name(name) => (name.as_str(), port)
                .to_socket_addrs()
                .map_err(|e| Trouble::lost(format!("look up {name}: {e}")))?
                .take(ADDRESSES)
                .collect(),
        };
        let mut why = "the name has no address".to_owned();
        for addr in found {
            match TcpStream::connect_timeout(&addr, limit) {
                Ok(tcp) => {
                    let clock = RealClock::new();
                    let until = clock.mono() + limit;
                    let stream = BufReader::new(Stream::Plain(Timed { tcp, clock, until }));
                    return Ok(Conversation { stream, limit });
                }
                Err(e) => why = explain(&timed_out(e), limit),
            }
        }
        Err(Trouble::Lost(why))
    }

    /// From here on everything is encrypted, and the relay is who it says.
    pub(super) fn protect(self, host: &Host, config: Arc<ClientConfig>) -> Result<Conversation, Trouble> {
        let Conversation { stream, limit } = self;
        if !stream.buffer().is_empty() {
            return Err(Trouble::lost("the relay spoke out of turn before TLS began"));
        }
        let Stream::Plain(mut timed) = stream.into_inner() else {
            return Err(Trouble::lost("TLS inside TLS"));
        };
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| Trouble::lost(format!("{name} cannot be in a certificate")))?,
        };
        let mut connection = ClientConnection::new(config, name).map_err(|e| Trouble::lost(chain(&e)))?;
        timed.until = timed.clock.mono() + limit;
        while connection.is_handshaking() {
            match connection.complete_io(&mut timed) {
                Ok((0, 0)) => return Err(Trouble::lost("the connection was closed")),
                Ok(_) => {}
                Err(e) => return Err(Trouble::lost(explain(&e, limit))),
            }
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, timed)));
        Ok(Conversation { stream: BufReader::new(stream), limit })
    }

    /// Another time for each step.
    pub(super) fn allow(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// One command and a positive answer to it.
    pub(super) fn command(&mut self, command: impl Display) -> Result<Response, Trouble> {
        self.begin();
        self.write(command.to_string().as_bytes())?;
        self.answer()
    }

    /// The message after DATA, and the answer to its end. Lines are ended as SMTP wants them,
    /// whatever ended them before: a bare line feed means different things to different relays.
    pub(super) fn message(&mut self, message: &[u8]) -> Result<Response, Trouble> {
        let text = message.strip_suffix(b"\n").unwrap_or(message);
        let mut out = Vec::with_capacity(message.len() + 64);
        for line in text.split(|b| *b == b'\n') {
            if line.first() == Some(&b'.') {
                out.push(b'.');
            }
            out.extend(line.iter().filter(|b| **b != b'\r'));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.begin();
        self.write(&out)?;
        self.answer()
    }

    /// The relay's first words.
    pub(super) fn greeting(&mut self) -> Result<Response, Trouble> {
        self.begin();
        self.answer()
    }

    fn begin(&mut self) {
        let until = self.limit;
        let timed = self.stream.get_mut().timed();
        timed.until = timed.clock.mono() + until;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let limit = self.limit;
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|e| Trouble::lost(explain(&e, limit)))
    }

    fn answer(&mut self) -> Result<Response, Trouble> {
        let mut text = Vec::new();
        loop {
            let begin = text.len();
            let room = ANSWER.saturating_sub(begin) as u64;
            (&mut self.stream)
                .take(room)
                .read_until(b'\n', &mut text)
                .map_err(|e| Trouble::lost(explain(&e, self.limit)))?;
            let line = text.get(begin..).unwrap_or_default();
            if !line.ends_with(b"\n") {
                let why =
                    if text.len() >= ANSWER { "too long an answer" } else { "the connection was closed" };
                return Err(Trouble::lost(why));
            }
            // A line that goes on has a hyphen after its code (RFC 5321, section 4.2.1).
            if line.get(3) != Some(&b'-') {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let response: Response = padded(&text).parse().map_err(|_| {
            Trouble::lost(format!("not an answer of a mail server: {}", text.lines().next().unwrap_or("")))
        })?;
        if response.is_positive() { Ok(response) } else { Err(Trouble::Answer(response)) }
    }
}

/// A last line of nothing but its code is allowed, and line feeds alone are common; the parser
/// knows neither.
fn padded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for line in text.lines() {
        out.push_str(line);
        if line.len() == 3 {
            out.push(' ');
        }
        out.push_str("\r\n");
    }
    out
}

/// TLS 1.2 or 1.3 with the system's authorities and those of a CA file.
pub(super) fn tls(ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, Trouble> {
    let mut roots = RootCertStore::empty();
    // Some systems carry certificates that do not parse, or none at all: what counts is whether
    // the relay's can be verified in the end.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for authority in CertificateDer::pem_slice_iter(ca_pem.unwrap_or("").as_bytes()) {
        let added =
            authority.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
        added.map_err(|e| Trouble::lost(format!("read the CA file's certificates: {e}")))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Trouble::lost(format!("set up TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn explain(e: &io::Error, limit: Duration) -> String {
    match e.kind() {
        io::ErrorKind::TimedOut => format!("no answer within {}", about(limit)),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => chain(e),
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
