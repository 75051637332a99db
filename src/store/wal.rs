//! The log file: the entries above one snapshot, in the order in which they were written.
//!
//! `log-N` is 8 bytes of magic, then records (see `record.rs`). The first says which log it
//! is, what it follows and what it began with; it is durable before anything names the file. Every
//! other one is `{"after":A,"entries":[...]}`: everything above A is cut off, then the entries
//! follow. One record is one write and one sync, however many writes of the core it carries.
//!
//! **Interrupted or damaged.** A record is begun only when the one before it is durable. So a
//! crash leaves at most one bad record, it is the last thing in the file, and it was never
//! confirmed: it is cut off. Everything else is damage and refused:
//! * a bad record with the head of another one anywhere behind it,
//! * a bad record, or the end of the file, below the confirmed length of the [`mark`](super::mark),
//! * a bad first record, a wrong sequence, a gap in the indexes, a term that falls: a record whose
//!   checksum is right is no torn write.
//!
//! What remains: the mark is synced about a second after the record
//! ([`settle`](super::Store::settle)). If within that second the power fails *and* the disk garbles the
//! record that it had confirmed, this looks like an interrupted write. One disk cannot tell.

use serde::{Deserialize, Serialize};

use crate::quorum::message::{Entry, Index, LogEnd};

use super::chain::Chain;
use super::disk::{Disk, Done};
use super::error::{Flaw, StoreError};
use super::record::{self, Found};

const MAGIC: &[u8] = b"\xffqu log\x01";

/// The name of log `number`.
#[must_use]
pub fn name(number: u64) -> String {
    format!("log-{number}")
}

/// The number in the name of a log.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    name.strip_prefix("log-")?.parse().ok()
}

/// The first record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First<E> {
    log: u64,
    base: LogEnd,
    entries: E,
}

/// Every other record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Later<E> {
    after: Index,
    entries: E,
}

/// What a log file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its number.
    pub log: u64,
    /// The entries.
    pub chain: Chain,
    /// Bytes up to the end of the last good record; what is above was interrupted.
    pub length: u64,
    /// The sequence of the next record.
    pub sequence: u64,
}

/// Reads a log file of which at least `confirmed` bytes are known to have been durable.
///
/// # Errors
/// What is wrong with it, when that is not an interrupted last write.
pub fn decode(bytes: &[u8], confirmed: u64) -> Result<Content, Flaw> {
    if !bytes.starts_with(MAGIC) {
        return Err(Flaw::new(0, "it does not begin as a log does"));
    }
    let (mut content, mut at) = first(bytes)?;
    loop {
        match record::read(bytes, at) {
            Found::End => break,
            Found::Whole { sequence, body, next } => {
                if sequence != content.sequence {
                    let why = format!("record {sequence} stands where {} belongs", content.sequence);
                    return Err(Flaw::new(at, why));
                }
                let record: Later<Vec<Entry>> =
                    serde_json::from_slice(body).map_err(|e| Flaw::new(at, e.to_string()))?;
                content.chain.append(record.after, record.entries).map_err(|e| Flaw::new(at, e))?;
                content.sequence += 1;
                at = next;
            }
            Found::Broken(why) if (at as u64) < confirmed => {
                return Err(Flaw::new(at, format!("{why}, and it was confirmed")));
            }
            Found::Broken(why) => match record::later(bytes, at + 1) {
                Some(later) => {
                    let why = format!("{why}, and a later one follows at byte {later}");
                    return Err(Flaw::new(at, why));
                }
                None => break,
            },
        }
    }
    if (at as u64) < confirmed {
        let why = format!("it ends here, and {confirmed} bytes were confirmed");
        return Err(Flaw::new(at, why));
    }
    content.length = at as u64;
    Ok(content)
}

fn first(bytes: &[u8]) -> Result<(Content, usize), Flaw> {
    let at = MAGIC.len();
    let (body, next) = match record::read(bytes, at) {
        Found::Whole { sequence: 0, body, next } => (body, next),
        Found::Whole { .. } => return Err(Flaw::new(at, "the first record is missing")),
        Found::Broken(why) => return Err(Flaw::new(at, why)),
        Found::End => return Err(Flaw::new(at, "there is no record")),
    };
    let first: First<Vec<Entry>> = serde_json::from_slice(body).map_err(|e| Flaw::new(at, e.to_string()))?;
    let mut chain = Chain::new(first.base);
    chain.append(first.base.index, first.entries).map_err(|e| Flaw::new(at, e))?;
    Ok((Content { log: first.log, chain, length: next as u64, sequence: 1 }, next))
}

/// A log file that is written to, and what is durable in it.
#[derive(Debug)]
pub(super) struct Log {
    number: u64,
    name: String,
    chain: Chain,
    /// Bytes that are durable.
    length: u64,
    sequence: u64,
    /// The last write or sync failed: above `length` anything may be.
    doubtful: bool,
}

impl Log {
    /// Makes the file; bytes and length are durable, its name is not yet.
    pub(super) fn create<D: Disk>(disk: &mut D, number: u64, chain: Chain) -> Result<Log, StoreError> {
        let first = First { log: number, base: chain.base(), entries: chain.entries() };
        let bytes = [MAGIC, &encode(0, &first)?].concat();
        let name = name(number);
        disk.create(&name)?;
        disk.write(&name, 0, &bytes)?;
        disk.sync(&name)?;
        Ok(Log { number, name, chain, length: bytes.len() as u64, sequence: 1, doubtful: false })
    }

    /// Takes over a file that was read: makes durable what it says, and takes away what it does not.
    ///
    /// What is above `confirmed` may be in the kernel's memory only, and a sync that failed before
    /// this process began is told to nobody: so those bytes are written once more, over
    /// themselves, which no crash can turn into less than there is.
    pub(super) fn adopt<D: Disk>(disk: &mut D, content: Content, bytes: &[u8], confirmed: u64) -> Done<Log> {
        let name = name(content.log);
        if content.length < bytes.len() as u64 {
            disk.truncate(&name, content.length)?;
        }
        let to = usize::try_from(content.length).unwrap_or(bytes.len());
        let from = usize::try_from(confirmed).unwrap_or(to);
        if let Some(again) = bytes.get(from..to).filter(|again| !again.is_empty()) {
            disk.write(&name, confirmed, again)?;
        }
        disk.sync(&name)?;
        let Content { log: number, chain, length, sequence } = content;
        Ok(Log { number, name, chain, length, sequence, doubtful: false })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Makes the entries durable above `after`. After an error the file holds what it held, with
    /// something above its end that the next call takes away.
    pub(super) fn append<D: Disk>(
        &mut self,
        disk: &mut D,
        after: Index,
        entries: &[&Entry],
    ) -> Result<(), StoreError> {
        self.chain.fits(after, entries.iter().copied()).map_err(StoreError::Order)?;
        let bytes = encode(self.sequence, &Later { after, entries })?;
        if self.doubtful {
            disk.truncate(&self.name, self.length)?;
        }
        self.doubtful = true;
        disk.write(&self.name, self.length, &bytes)?;
        disk.sync(&self.name)?;
        self.doubtful = false;
        self.length += bytes.len() as u64;
        self.sequence += 1;
        let entries = entries.iter().map(|e| (*e).clone()).collect();
        self.chain.append(after, entries).map_err(StoreError::Order)
    }
}

fn encode(sequence: u64, record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let body = serde_json::to_vec(record).map_err(|e| StoreError::Order(e.to_string()))?;
    record::encode(sequence, &body).ok_or_else(|| StoreError::Order("a record of 4 GiB".to_owned()))
}
