//! A file that is written once, as a whole: vote and snapshot.
//!
//! ```text
//! byte 0  3 bytes  ff 'q' 'u'
//!      3  4        kind: "vote", "snap"
//!      7  1        format
//!      8  8        length of the body, least significant byte first
//!     16  4        CRC-32 of the 16 bytes above and the body
//!     20           the body, and nothing after it
//! ```
//!
//! Such a file comes into being under another name and is renamed when it is durable, so a crash
//! never shows half of it: whatever does not fit is damage.

use super::crc;
use super::disk::{Disk, Done};
use super::error::{Flaw, not_what_was_written};
use crate::base::file::at;

/// The format of `state/` that this program writes and reads. It is raised when an older program
/// would misunderstand any of the files; the vote file is read first and stops that program.
pub const FORMAT: u8 = 1;

const HEAD: usize = 20;

/// The bytes of a whole file.
pub(super) fn seal(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    seal_as(FORMAT, kind, body)
}

fn seal_as(format: u8, kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(b"\xffqu");
    bytes.extend_from_slice(&kind);
    bytes.push(format);
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let sum = crc::of(&[&bytes, body]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The body of a whole file.
pub(super) fn open(kind: [u8; 4], bytes: &[u8]) -> Result<&[u8], Flaw> {
    let short = || Flaw::new(bytes.len(), format!("the file is cut short, at {} bytes", bytes.len()));
    let (head, body) = bytes.split_at_checked(HEAD).ok_or_else(short)?;
    let (summed, _) = head.split_at_checked(16).ok_or_else(short)?;
    if !summed.starts_with(b"\xffqu") || summed.get(3..7) != Some(&kind) {
        return Err(Flaw::new(0, "it does not begin as this file does"));
    }
    let length = crc::u64_at(head, 8).ok_or_else(short)?;
    if (body.len() as u64) < length {
        return Err(short());
    }
    if body.len() as u64 != length {
        return Err(Flaw::new(8, format!("{} bytes follow the head, not {length}", body.len())));
    }
    if crc::u32_at(head, 16) != Some(crc::of(&[summed, body])) {
        return Err(Flaw::new(16, "the checksum is wrong"));
    }
    match summed.get(7) {
        Some(&FORMAT) => Ok(body),
        found => Err(Flaw { format: found.copied(), ..Flaw::new(7, "another format") }),
    }
}

/// Puts a file of these bytes in the place of `name`, or leaves what was there. On success it is
/// durable; after an error either may be there after a crash, but never something else.
pub(super) fn replace<D: Disk>(disk: &mut D, name: &str, bytes: &[u8]) -> Done<()> {
    prepare(disk, name, bytes)?;
    place(disk, name)
}

/// The first half of [`replace`]: the new file is durable under a name of its own.
pub(super) fn prepare<D: Disk>(disk: &mut D, name: &str, bytes: &[u8]) -> Done<()> {
    let temp = format!("{name}{TEMP}");
    disk.create(&temp)?;
    disk.write(&temp, 0, bytes)?;
    disk.sync(&temp)?;
    // Before the rename: a disk that garbles what it takes must not get at the good file.
    if disk.read(&temp)? != bytes {
        return Err(at("verify", &disk.path(&temp))(not_what_was_written()));
    }
    Ok(())
}

/// The second half: it gets the name. After an error it may have it or not.
pub(super) fn place<D: Disk>(disk: &mut D, name: &str) -> Done<()> {
    disk.rename(&format!("{name}{TEMP}"), name)?;
    disk.sync_dir()
}

/// What the names of files end in that are not finished.
pub(super) const TEMP: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_and_every_cut_of_a_sealed_file_is_found() {
        let bytes = seal(*b"vote", b"body");
        assert_eq!(open(*b"vote", &bytes), Ok(&b"body"[..]));
        assert!(open(*b"snap", &bytes).is_err());
        for at in 0..bytes.len() {
            for mask in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= mask;
                let flaw = open(*b"vote", &bad).unwrap_err();
                assert_eq!(flaw.format, None, "a flip at {at} is damage, not a newer format");
            }
            assert!(open(*b"vote", &bytes[..at]).is_err());
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(open(*b"vote", &longer).is_err());
    }

    #[test]
    fn a_whole_file_of_another_format_is_told_from_a_damaged_one() {
        let flaw = open(*b"vote", &seal_as(FORMAT + 1, *b"vote", b"body")).unwrap_err();
        assert_eq!(flaw.format, Some(FORMAT + 1));
    }
}
