//! The mark: how much of the log has been confirmed, kept outside of the log.
//!
//! A log alone cannot tell its last record, damaged, from one that a crash interrupted, nor itself
//! cut in half from itself some time ago. The mark can: below it nothing may be missing. It is
//! written after the sync of the log has succeeded, so it never says too much, and is not synced
//! for the confirmation, so that it costs none; a crash may take it back to an older value, which
//! says less and is as true. [`Store::settle`](super::Store::settle) syncs it when there is time.
//! The commit hint, which is of the same nature, lives here too.
//!
//! ```text
//! slot at byte 0 and at byte 512, written in turn:
//!      0  8   ff "qumark" and the format
//!      8  8   count: the higher one is the newer slot     (all least significant byte first)
//!     16  8   number of the log
//!     24  8   confirmed bytes of that log
//!     32  8   commit index
//!     40  4   CRC-32 of the 40 bytes above
//! ```
//!
//! A slot fits a sector. One bad slot is an interrupted write; two are damage.

use crate::quorum::message::Index;

use super::crc;
use super::disk::{Disk, Done};
use super::error::Flaw;

/// The name of the file.
pub const NAME: &str = "mark";

const MAGIC: [u8; 8] = *b"\xffqumark\x01";
const SLOT: u64 = 512;
const SUMMED: usize = 40;

/// What the newer slot says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many marks were written before.
    pub count: u64,
    /// Number of the log.
    pub log: u64,
    /// Bytes of it that were confirmed.
    pub confirmed: u64,
    /// A commit index that was certain.
    pub commit: Index,
}

fn slot(mark: &Mark) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [mark.count, mark.log, mark.confirmed, mark.commit] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&crc::of(&[&bytes]).to_le_bytes());
    bytes
}

fn read_slot(bytes: &[u8], at: usize) -> Option<Mark> {
    let bytes = bytes.get(at..)?;
    let summed = bytes.get(..SUMMED)?;
    let good = summed.starts_with(&MAGIC) && crc::u32_at(bytes, SUMMED) == Some(crc::of(&[summed]));
    let number = |at| crc::u64_at(summed, at);
    good.then(|| {
        Some(Mark { count: number(8)?, log: number(16)?, confirmed: number(24)?, commit: number(32)? })
    })?
}

/// What the file says.
///
/// # Errors
/// Neither slot is good.
pub fn decode(bytes: &[u8]) -> Result<Mark, Flaw> {
    let slots = [read_slot(bytes, 0), read_slot(bytes, 512)];
    let newest = slots.into_iter().flatten().max_by_key(|m| m.count);
    newest.ok_or_else(|| Flaw::new(0, "neither of its two copies is good"))
}

/// Makes the file, with both slots, and syncs it; its name is not durable yet.
pub(super) fn create<D: Disk>(disk: &mut D, mark: &Mark) -> Done<()> {
    disk.create(NAME)?;
    write(disk, &Mark { count: 0, ..*mark })?;
    write(disk, &Mark { count: 1, ..*mark })?;
    disk.sync(NAME)
}

/// Writes the slot whose turn it is. Not durable.
pub(super) fn write<D: Disk>(disk: &mut D, mark: &Mark) -> Done<()> {
    disk.write(NAME, mark.count % 2 * SLOT, &slot(mark))
}

#[cfg(test)]
mod tests {
    use super::super::sim_disk::SimDisk;
    use super::*;

    #[test]
    fn the_newer_good_slot_counts_and_two_bad_ones_are_damage() {
        let mut disk = SimDisk::new();
        let first = Mark { count: 1, log: 3, confirmed: 77, commit: 9 };
        create(&mut disk, &first).unwrap();
        let second = Mark { count: 2, confirmed: 99, ..first };
        write(&mut disk, &second).unwrap();
        let bytes = disk.read(NAME).unwrap();
        assert_eq!(decode(&bytes), Ok(second));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            let want = if at < 44 { first } else { second };
            assert_eq!(decode(&bad), Ok(want), "flip at {at}");
        }
        assert!(decode(&bytes[..40]).is_err());
        assert!(decode(&[0; 2000]).is_err());
        assert!(decode(&[]).is_err());
    }
}
