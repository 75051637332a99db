//! Asking the daemon of this host: connect, one question, one answer, each with a deadline, and a
//! line for people when nobody answers.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::RealClock;
use crate::base::frame::{self, FrameError};
use crate::base::text;

use super::message::{LARGEST_REPLY, Reply, Request};
use super::stream::Deadline;

/// Why there is no answer. Printed as one line with the remedy.
#[derive(Debug)]
pub enum ClientError {
    /// No socket there, or nobody behind it.
    Absent {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is there and not for this user.
    Denied {
        /// Where.
        socket: PathBuf,
    },
    /// The socket's directory belongs to somebody else, who could pretend to be the daemon.
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Connected, and no answer in time.
    Late {
        /// Where.
        socket: PathBuf,
        /// How long was waited.
        patience: Duration,
        /// Something was to be done, and may be done yet.
        deed: bool,
    },
    /// The daemon closed the connection without an answer.
    Lost {
        /// Where.
        socket: PathBuf,
        /// How it broke.
        source: FrameError,
        /// Something was to be done, and may have been.
        deed: bool,
    },
    /// The answer means nothing to this build.
    Garbled {
        /// Why.
        source: serde_json::Error,
    },
    /// The question could not be sent: too large.
    Unsent {
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Absent { socket, source } => {
                let why = match source.kind() {
                    io::ErrorKind::NotFound => "no such socket".to_owned(),
                    io::ErrorKind::ConnectionRefused => "nobody listens on it".to_owned(),
                    _ => source.to_string(),
                };
                write!(
                    f,
                    "no daemon at {}: {why}; is it running? (systemctl status quptime; QUPTIME_SOCKET names another socket)",
                    socket.display()
                )
            }
            ClientError::Denied { socket } => write!(
                f,
                "no permission to use {}; use sudo, or run as the daemon's user (sudo -u quptime qu ...)",
                socket.display()
            ),
            ClientError::Foreign { directory, owner } => write!(
                f,
                "not using the socket in {}: the directory belongs to user {owner}, who could pretend to be the daemon; name the right one by QUPTIME_SOCKET",
                directory.display()
            ),
            ClientError::Late { socket, patience, deed } => write!(
                f,
                "no answer from the daemon at {} within {}; {}",
                socket.display(),
                text::about(*patience),
                whereabouts(*deed)
            ),
            ClientError::Lost { socket, deed, .. } => write!(
                f,
                "the daemon at {} closed the connection without an answer; {}",
                socket.display(),
                whereabouts(*deed)
            ),
            ClientError::Garbled { .. } => write!(
                f,
                "the daemon's answer is not understood; is it of another version? (compare qu --version; restart the daemon after an upgrade)"
            ),
            ClientError::Unsent { .. } => f.write_str("the request cannot be sent"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Garbled { source } => Some(source),
            ClientError::Unsent { source } => Some(source),
            // Said in the sentence itself, or of no use to a reader.
            _ => None,
        }
    }
}

/// Asks and waits for the answer, `patience` at most ([`Ask::patience`](super::Ask::patience) for
/// people's commands).
///
/// # Errors
/// See [`ClientError`].
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
    let stream = UnixStream::connect(socket).map_err(|source| refused(socket, source))?;
    let body = serde_json::to_vec(request).map_err(|e| ClientError::Unsent { source: e.into() })?;
    let clock = RealClock::new();
    let mut timed = Deadline::new(&stream, &clock, patience);
    let deed = request.ask.is_deed();
    let late = |kind: io::ErrorKind| kind == io::ErrorKind::TimedOut;
    match frame::write(&mut timed, &body) {
        Ok(()) => {}
        Err(e) if late(e.kind()) => {
            return Err(ClientError::Late { socket: socket.to_owned(), patience, deed });
        }
        // The daemon may have answered (it has too much to do) and closed without reading.
        Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        Err(source) => return Err(ClientError::Unsent { source }),
    }
    let answer = whole(&mut timed).map_err(|source| match source {
        FrameError::Io(e) if late(e.kind()) => {
            ClientError::Late { socket: socket.to_owned(), patience, deed }
        }
        source => ClientError::Lost { socket: socket.to_owned(), source, deed },
    })?;
    serde_json::from_slice(&answer).map_err(|source| ClientError::Garbled { source })
}

/// The frames of one answer, up to the end of the connection.
fn whole(timed: &mut Deadline<'_>) -> Result<Vec<u8>, FrameError> {
    let mut answer = frame::read(timed, frame::LARGEST)?;
    loop {
        match frame::read(timed, frame::LARGEST.min(LARGEST_REPLY.saturating_sub(answer.len()))) {
            Ok(more) => answer.extend(more),
            Err(FrameError::Closed) => return Ok(answer),
            // Whoever answered without reading the whole question closed so: the answer is whole.
            Err(FrameError::Io(e)) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(answer),
            Err(e) => return Err(e),
        }
    }
}

/// Where to look next.
fn whereabouts(deed: bool) -> &'static str {
    if deed {
        "the change may have been made all the same: look (qu status) before trying again"
    } else {
        "look at its log (journalctl -u quptime)"
    }
}

fn refused(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
        _ => ClientError::Absent { socket, source },
    }
}

/// Whether somebody other than this user could have put a socket of his own there: the directory
/// lies where everybody may make one (`/tmp`) and belongs to somebody else. For a path that was
/// guessed by rule; one that the operator named is his own choice.
///
/// # Errors
/// [`ClientError::Foreign`].
pub fn trust_directory(socket: &Path, uid: u32) -> Result<(), ClientError> {
    let Some(directory) = socket.parent() else { return Ok(()) };
    let anybodys = directory
        .parent()
        .and_then(|above| above.metadata().ok())
        .is_some_and(|above| above.mode() & 0o002 != 0);
    match directory.symlink_metadata() {
        Ok(meta) if anybodys && meta.uid() != uid && meta.uid() != 0 => {
            Err(ClientError::Foreign { directory: directory.to_owned(), owner: meta.uid() })
        }
        // One that is not there is reported by the attempt to connect.
        _ => Ok(()),
    }
}
