//! A small archive: POSIX ustar (IEEE 1003.1, pax), regular files only, in memory.
//!
//! Model: a few files of known names and bounded sizes, so that `tar tf` lists what this program
//! wrote, and this program reads what it wrote. Reading is strict: whatever else a tar file may
//! hold (links, devices, long names, extensions) is refused, not skipped, and what a name means is
//! the caller's to say.

use std::fmt;

const BLOCK: usize = 512;
/// Name, mode, owner, group, size, time, checksum, type: offset and length in a header.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const OWNER: (usize, usize) = (108, 8);
const GROUP: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const TIME: (usize, usize) = (136, 12);
const SUM: (usize, usize) = (148, 8);
const TYPE: usize = 156;
const MAGIC: (usize, usize) = (257, 8);
const PREFIX: (usize, usize) = (345, 155);
const USTAR: &[u8] = b"ustar\x0000";

/// One regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// At most 99 bytes.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// When it was put in, seconds since 1970.
    pub time: u64,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Why bytes are no archive of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarError {
    /// They end before the archive does.
    Cut {
        /// Where, bytes.
        at: usize,
    },
    /// A header is not one, or was changed.
    Header {
        /// Where it begins, bytes.
        at: usize,
    },
    /// Something else than a regular file.
    Kind {
        /// Its name.
        name: String,
    },
    /// A name that does not fit, or is no text.
    Name,
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarError::Cut { at } => write!(f, "it is cut off at byte {at}"),
            TarError::Header { at } => write!(f, "it is damaged, or no tar archive, at byte {at}"),
            TarError::Kind { name } => write!(f, "{name:?} in it is no regular file"),
            TarError::Name => write!(f, "a name in it is too long, or no text"),
        }
    }
}

impl std::error::Error for TarError {}

/// The archive of these files, in this order.
///
/// # Errors
/// [`TarError::Name`].
pub fn write(members: &[Member]) -> Result<Vec<u8>, TarError> {
    let mut out = Vec::new();
    for member in members {
        out.extend(header(member)?);
        out.extend(&member.bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Ok(out)
}

fn header(member: &Member) -> Result<[u8; BLOCK], TarError> {
    let mut block = [0_u8; BLOCK];
    if member.name.is_empty() || member.name.len() >= NAME.1 || member.name.contains('\0') {
        return Err(TarError::Name);
    }
    put(&mut block, (NAME.0, member.name.len()), member.name.as_bytes());
    let number = |(_, length): (usize, usize), value: u64| format!("{value:0width$o}\0", width = length - 1);
    put(&mut block, MODE, number(MODE, u64::from(member.mode)).as_bytes());
    put(&mut block, OWNER, number(OWNER, 0).as_bytes());
    put(&mut block, GROUP, number(GROUP, 0).as_bytes());
    put(&mut block, SIZE, number(SIZE, member.bytes.len() as u64).as_bytes());
    put(&mut block, TIME, number(TIME, member.time).as_bytes());
    put(&mut block, (TYPE, 1), b"0");
    put(&mut block, MAGIC, USTAR);
    let sum = sum_of(&block);
    put(&mut block, SUM, format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

fn put(block: &mut [u8; BLOCK], (at, length): (usize, usize), bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(at).take(length).zip(bytes) {
        *to = *from;
    }
}

/// The sum of all bytes, those of the sum itself taken as blanks.
fn sum_of(block: &[u8]) -> u64 {
    let own = SUM.0..SUM.0 + SUM.1;
    block.iter().enumerate().map(|(at, b)| if own.contains(&at) { 32 } else { u64::from(*b) }).sum()
}

/// The files of an archive. What follows its end is not looked at.
///
/// # Errors
/// [`TarError`].
pub fn read(bytes: &[u8]) -> Result<Vec<Member>, TarError> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let Some(block) = bytes.get(at..at + BLOCK) else { return Err(TarError::Cut { at: bytes.len() }) };
        if block.iter().all(|b| *b == 0) {
            return Ok(members);
        }
        let (mut member, size) = parse(block, at)?;
        at += BLOCK;
        let end = at.checked_add(size).ok_or(TarError::Header { at })?;
        let content = bytes.get(at..end).ok_or(TarError::Cut { at: bytes.len() })?;
        member.bytes = content.to_vec();
        members.push(member);
        at = end.next_multiple_of(BLOCK);
    }
}

fn parse(block: &[u8], at: usize) -> Result<(Member, usize), TarError> {
    let bad = TarError::Header { at };
    let field = |(from, length): (usize, usize)| block.get(from..from + length).unwrap_or_default();
    let number = |place| octal(field(place)).ok_or_else(|| bad.clone());
    if number(SUM)? != sum_of(block) {
        return Err(bad);
    }
    let name = field(NAME).split(|b| *b == 0).next().unwrap_or_default();
    let name = String::from_utf8(name.to_vec()).map_err(|_| TarError::Name)?;
    if name.is_empty() || field(PREFIX).first().is_some_and(|b| *b != 0) {
        return Err(TarError::Name);
    }
    if !matches!(block.get(TYPE), Some(b'0' | 0)) {
        return Err(TarError::Kind { name });
    }
    let size = usize::try_from(number(SIZE)?).map_err(|_| bad.clone())?;
    let mode = u32::try_from(number(MODE)?).map_err(|_| bad.clone())?;
    Ok((Member { name, mode, time: number(TIME)?, bytes: Vec::new() }, size))
}

/// Octal digits between blanks and zero bytes.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: &[u8]) -> Member {
        Member { name: name.to_owned(), mode: 0o600, time: 1_778_598_092, bytes: bytes.to_vec() }
    }

    #[test]
    fn what_was_written_is_read_back_whatever_its_length() {
        for length in [0, 1, 511, 512, 513, 5000] {
            let members = vec![member("a", &vec![b'x'; length]), member("keys/b.pem", b"y")];
            let bytes = write(&members).unwrap();
            assert_eq!(bytes.len() % BLOCK, 0);
            assert_eq!(read(&bytes), Ok(members));
        }
        assert_eq!(write(&[member(&"n".repeat(100), b"")]), Err(TarError::Name));
    }

    #[test]
    fn a_cut_anywhere_and_a_changed_header_are_refused_and_nothing_panics() {
        let whole = write(&[member("a", b"some bytes"), member("b", b"more")]).unwrap();
        for length in 0..whole.len() - BLOCK {
            let cut = whole.get(..length).unwrap();
            assert!(matches!(read(cut), Err(TarError::Cut { .. })), "{length}");
        }
        for at in 0..BLOCK {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            assert!(read(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn links_directories_and_sizes_beyond_the_end_are_refused() {
        for (kind, size) in [(b'2', "00000000000"), (b'5', "00000000000"), (b'0', "77777777777")] {
            let mut bytes = write(&[member("a", b"")]).unwrap();
            let mut block: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
            block[TYPE] = kind;
            put(&mut block, SIZE, size.as_bytes());
            let sum = sum_of(&block);
            put(&mut block, SUM, format!("{sum:06o}\0 ").as_bytes());
            bytes[..BLOCK].copy_from_slice(&block);
            assert!(read(&bytes).is_err(), "{}", char::from(kind));
        }
    }
}
