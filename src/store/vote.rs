//! The vote file: term, vote and life of this node.
//!
//! It is replaced as a whole for each vote and not kept in the log, because here no crash looks
//! like damage: the file is the old one or the new one, and anything else is a refusal. (Two slots
//! written in turn would save one sync, but a bad newer slot could then be a torn write or a lost
//! vote, and nobody could say which.) Votes are as rare as elections; one sync more does not show.

use crate::quorum::io::VoteRecord;

use super::disk::{Disk, Done};
use super::error::Flaw;
use super::sealed;

/// The name of the file.
pub const NAME: &str = "vote";

const KIND: [u8; 4] = *b"vote";

/// The bytes of the file.
#[must_use]
pub fn encode(vote: &VoteRecord) -> Vec<u8> {
    // Three numbers and an id always have a JSON form; were it not so, the empty body would be
    // refused at the read-back in `write`.
    sealed::seal(KIND, &serde_json::to_vec(vote).unwrap_or_default())
}

/// What the file says.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<VoteRecord, Flaw> {
    let body = sealed::open(KIND, bytes)?;
    serde_json::from_slice(body).map_err(|e| Flaw::new(bytes.len() - body.len(), e.to_string()))
}

/// Replaces the file; durable on success.
pub(super) fn write<D: Disk>(disk: &mut D, vote: &VoteRecord) -> Done<()> {
    sealed::replace(disk, NAME, &encode(vote))
}
