//! Length-prefixed frames over any reader and writer: four bytes of length, big endian, then that
//! many bytes. A length of zero or over the bound is an error of the other side, found before a
//! byte of the body is read; the body is read in pieces, so memory follows what really arrived.

use std::fmt;
use std::io::{self, Read, Write};

/// The largest frame between trusted peers, bytes.
pub const LARGEST: usize = 16 * 1024 * 1024;
/// The largest frame before the other side has proved a known key, bytes.
pub const LARGEST_UNTRUSTED: usize = 64 * 1024;
/// Memory is taken in steps of this as bytes arrive, never in advance for an announced length.
const PIECE: usize = 64 * 1024;

/// Why no frame could be read.
#[derive(Debug)]
pub enum FrameError {
    /// The other side closed between two frames: the ordinary end.
    Closed,
    /// Closed or failed in the middle of a frame, or timed out.
    Io(io::Error),
    /// An announced length of zero or over the bound.
    Length {
        /// What was announced, bytes.
        announced: u32,
        /// The bound, bytes.
        bound: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Closed => write!(f, "connection closed"),
            FrameError::Io(_) => write!(f, "connection lost inside a message"),
            FrameError::Length { announced, bound } => {
                write!(f, "message of {announced} bytes announced (1 to {bound} are allowed)")
            }
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FrameError::Io(e) => Some(e),
            _ => None,
        }
    }
}

/// Reads one frame of at most `bound` bytes.
///
/// # Errors
/// See [`FrameError`]. After an error the stream has no meaning any more: close it.
pub fn read(from: &mut impl Read, bound: usize) -> Result<Vec<u8>, FrameError> {
    let mut head = [0_u8; 4];
    let mut got = 0;
    while got < head.len() {
        match from.read(&mut head[got..]) {
            Ok(0) if got == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FrameError::Io(e)),
        }
    }
    let announced = u32::from_be_bytes(head);
    let length = announced as usize;
    if length == 0 || length > bound {
        return Err(FrameError::Length { announced, bound });
    }
    let mut body = Vec::new();
    while body.len() < length {
        let at = body.len();
        body.resize(length.min(at + PIECE), 0);
        from.read_exact(&mut body[at..]).map_err(FrameError::Io)?;
    }
    Ok(body)
}

/// Writes one frame, head and body in one call so that they share a segment.
///
/// # Errors
/// The writer's; `InvalidInput` when the body is empty or over [`LARGEST`].
pub fn write(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|n| *n > 0 && *n as usize <= LARGEST);
    let length = length.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {} bytes cannot be sent", body.len()),
        )
    })?;
    let mut whole = Vec::with_capacity(body.len() + 4);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(body);
    to.write_all(&whole)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut wire = Vec::new();
        write(&mut wire, b"one").unwrap();
        write(&mut wire, &vec![7; 200_000]).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read(&mut from, LARGEST).unwrap(), b"one");
        assert_eq!(read(&mut from, LARGEST).unwrap(), vec![7; 200_000]);
        assert!(matches!(read(&mut from, LARGEST), Err(FrameError::Closed)));
    }

    #[test]
    fn lengths_of_nothing_and_of_everything_are_refused_before_the_body() {
        for head in [[0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [0, 1, 0, 1]] {
            let mut from = head.as_slice();
            assert!(matches!(read(&mut from, LARGEST_UNTRUSTED), Err(FrameError::Length { .. })));
        }
    }

    #[test]
    fn a_cut_inside_a_frame_is_not_an_ordinary_end() {
        for cut in [&[0_u8, 0][..], &[0, 0, 0, 9, 1, 2][..]] {
            let mut from = cut;
            assert!(matches!(read(&mut from, LARGEST), Err(FrameError::Io(_))));
        }
    }
}
