//! Safety rules that a test may switch off, to show that the simulator notices.
//!
//! Nothing in the program calls [`Node::lesion`](super::Node::lesion); `tests/tidy.rs` looks.

/// A rule of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A vote is on disk before it is given.
    VotePersisted,
    /// Nobody votes for a log that is behind its own.
    UpToDateCheck,
    /// Only an entry of the own term is committed by counting.
    CommitOwnTermOnly,
    /// A candidate asks before it raises the term.
    PreVote,
    /// A master acts only within its lease.
    LeaseCheck,
    /// A voter that heard a master votes for nobody else until dead-after has passed.
    VoterHold,
    /// A change of members waits for the commit of the one before.
    ChangeWithoutCommit,
    /// An append is acknowledged when it is on disk.
    AckBeforeFsync,
    /// A promise counts only from the life of `state/` that was counted in.
    AmnesiacCounts,
    /// A snapshot older than what is committed here is ignored.
    OldSnapshotAccepted,
    /// A master whom no majority answers steps down.
    CheckQuorum,
    /// A master that hands over stops before the other one starts.
    TransferStops,
    /// A new start that not all agree to needs a majority of those named.
    RecoverMajority,
    /// A new start waits until no master of before can still act.
    RecoverListens,
    /// Logs of different foundings are not mixed.
    FoundingsApart,
}

/// The set of rules that are switched off; none in the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lesions(u32);

impl Lesions {
    /// Switches one off.
    pub fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u32;
    }

    /// Whether it is on.
    #[must_use]
    pub fn holds(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) == 0
    }
}
