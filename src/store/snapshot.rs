//! The snapshot file: the state machine at one index, and the name of the log that follows it.
//!
//! Body: length of the head (4 bytes, least significant first), the head as JSON, and the state
//! machine's own text as it is. There is one such file; it is replaced as a whole, and since it
//! names its log, that one rename changes snapshot and log together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::quorum::message::{LogEnd, Membership, Snapshot};

use super::crc;
use super::error::Flaw;
use super::sealed;

/// The name of the file.
pub const NAME: &str = "snapshot";

const KIND: [u8; 4] = *b"snap";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// Number of the log that follows.
    log: u64,
    end: LogEnd,
    membership: Membership,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Number of the log that follows the snapshot.
    pub log: u64,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// The bytes of the file.
///
/// # Errors
/// The head has no JSON form or is larger than 4 GiB: neither happens with a membership.
pub fn encode(log: u64, snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let head = Head { log, end: snapshot.end, membership: snapshot.membership.clone() };
    let head = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
    let length = u32::try_from(head.len()).map_err(|e| e.to_string())?;
    let body = [&length.to_le_bytes()[..], &head, snapshot.data.as_bytes()].concat();
    Ok(sealed::seal(KIND, &body))
}

/// What the file says.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Kept, Flaw> {
    let body = sealed::open(KIND, bytes)?;
    let bad = |why: String| Flaw::new(bytes.len() - body.len(), why);
    let length = crc::u32_at(body, 0).and_then(|n| usize::try_from(n).ok());
    let (head, data) = length
        .and_then(|n| body.get(4..)?.split_at_checked(n))
        .ok_or_else(|| bad("the head is longer than the file".to_owned()))?;
    let head: Head = serde_json::from_slice(head).map_err(|e| bad(e.to_string()))?;
    let data = std::str::from_utf8(data).map_err(|e| bad(e.to_string()))?;
    let snapshot = Snapshot { end: head.end, membership: head.membership, data: Arc::from(data) };
    Ok(Kept { log: head.log, snapshot })
}
