//! One record of the log: what one sync makes durable.
//!
//! ```text
//! byte 0  4  ff 'q' 'u' fe: bytes that no body contains, for it is UTF-8
//!      4  4  length of the body     (all least significant byte first)
//!      8  8  sequence: 0 for the first record of a file, then one more each
//!     16  4  CRC-32 of the 16 bytes above and the body
//!     20  4  CRC-32 of the 20 bytes above
//!     24     the body
//! ```
//!
//! The head has a checksum of its own so that a later record can be found behind a damaged one,
//! whatever is left of the latter.

use super::crc;

/// What every record begins with.
const MARKER: [u8; 4] = [0xff, b'q', b'u', 0xfe];

/// Bytes before the body.
pub(super) const HEAD: usize = 24;

/// What is at a place of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A good record.
    Whole {
        /// Its place among the records.
        sequence: u64,
        /// What it holds.
        body: &'a [u8],
        /// Where the next one begins.
        next: usize,
    },
    /// Something else, and what is wrong with it.
    Broken(&'static str),
    /// The end of the file.
    End,
}

/// The bytes of a record; `None` when the body is 4 GiB or more.
pub(super) fn encode(sequence: u64, body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&MARKER);
    bytes.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&crc::of(&[&bytes, body]).to_le_bytes());
    bytes.extend_from_slice(&crc::of(&[&bytes]).to_le_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// Reads the record at `at`.
pub(super) fn read(bytes: &[u8], at: usize) -> Found<'_> {
    let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
        return Found::End;
    };
    let Some((head, tail)) = rest.split_at_checked(HEAD) else {
        return Found::Broken("a record's head is cut short");
    };
    if !is_head(head) {
        return Found::Broken("a record's head is not what was written");
    }
    let length = crc::u32_at(head, 4).and_then(|n| usize::try_from(n).ok());
    let Some(body) = length.and_then(|n| tail.get(..n)) else {
        return Found::Broken("a record is cut short");
    };
    let (summed, sum) = (head.get(..16).unwrap_or_default(), crc::u32_at(head, 16));
    match crc::u64_at(head, 8) {
        Some(sequence) if sum == Some(crc::of(&[summed, body])) => {
            Found::Whole { sequence, body, next: at + HEAD + body.len() }
        }
        _ => Found::Broken("a record's checksum is wrong"),
    }
}

/// Where a later record begins, at `from` or after it: its head is enough, since a record is begun
/// only when the one before it is durable.
pub(super) fn later(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(HEAD).position(is_head)?;
    Some(from + at)
}

fn is_head(head: &[u8]) -> bool {
    head.starts_with(&MARKER)
        && head.get(..20).is_some_and(|summed| crc::u32_at(head, 20) == Some(crc::of(&[summed])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written_and_every_flipped_byte_shows() {
        let bytes = encode(7, b"{\"a\":1}").unwrap();
        let want = Found::Whole { sequence: 7, body: b"{\"a\":1}", next: bytes.len() };
        assert_eq!(read(&bytes, 0), want);
        assert_eq!(read(&bytes, bytes.len()), Found::End);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(matches!(read(&bad, 0), Found::Broken(_)), "flip at {at}");
            if at > 0 {
                assert!(matches!(read(&bytes[..at], 0), Found::Broken(_)), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_record_behind_a_damaged_one_is_found_by_its_head() {
        let mut bytes = encode(1, b"first").unwrap();
        let second = bytes.len();
        bytes.extend_from_slice(&encode(2, b"second").unwrap());
        for at in 0..second {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            assert_eq!(later(&bad, 1), Some(second));
        }
        assert_eq!(later(&bytes, second + 1), None);
        assert_eq!(later(&bytes[..second + HEAD], 1), Some(second));
        assert_eq!(later(&bytes[..second + HEAD - 1], 1), None);
        assert_eq!(later(&bytes, bytes.len() + 9), None);
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut head = MARKER.to_vec();
        head.extend_from_slice(&u32::MAX.to_le_bytes());
        head.extend_from_slice(&0_u64.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&crc::of(&[&head]).to_le_bytes());
        assert_eq!(read(&head, 0), Found::Broken("a record is cut short"));
    }
}
