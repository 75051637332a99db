//! What the master knows of one follower, and how fast it feeds it.

use crate::base::clock::Mono;

use super::message::{Incarnation, Index, LogEnd};

/// How entries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not known where the logs agree: one message at a time.
    Probe {
        /// One is out and not answered.
        asked: bool,
    },
    /// The logs agree: entries are sent as they come, up to the window.
    Replicate,
    /// Too far behind for entries: pieces of the snapshot, one at a time.
    Snapshot {
        /// Which snapshot.
        end: LogEnd,
        /// What is known to be there, bytes.
        have: u64,
    },
}

/// What is known of one follower.
/// * `matched < next`.
/// * Everything up to `matched` is on that follower's disk, in the life `life`.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The life of `state/` that `matched` and `lease` are about.
    pub life: Option<Incarnation>,
    /// On its disk, and the same as here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How.
    pub mode: Mode,
    /// It votes for nobody else until then, as far as its promises tell.
    pub lease: Mono,
    /// When it last answered.
    pub answered: Mono,
}

/// Entries that may be out without an answer. Full: the rest waits for answers; a follower that
/// does not answer costs no more than this.
const WINDOW: u64 = 1024;

impl Progress {
    /// Nothing is known but where our own log ends (thesis, section 3.5).
    pub fn new(last: Index) -> Progress {
        Progress {
            life: None,
            matched: 0,
            next: last + 1,
            mode: Mode::Probe { asked: false },
            lease: Mono(0),
            answered: Mono(0),
        }
    }

    /// An answer of `life`. Another one than before has forgotten everything that the one before
    /// had confirmed.
    pub fn heard(&mut self, life: Incarnation, now: Mono, last: Index) {
        if self.life.is_some_and(|l| l != life) {
            *self = Progress::new(last);
        }
        self.life = Some(life);
        self.answered = now;
    }

    /// It has everything up to `matched`.
    pub fn matches(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched + 1);
        let done = match self.mode {
            Mode::Snapshot { end, .. } => matched >= end.index,
            _ => true,
        };
        if done {
            self.mode = Mode::Replicate;
        }
    }

    /// The entry at `before` is not there; nothing above `hint` can be.
    pub fn gap(&mut self, before: Index, hint: Index) {
        // An old answer, about a place that is confirmed meanwhile, or not the one in question.
        if matches!(self.mode, Mode::Snapshot { .. }) || before < self.matched || before >= self.next {
            return;
        }
        self.next = (hint + 1).clamp(self.matched + 1, before.max(self.matched + 1));
        self.mode = Mode::Probe { asked: false };
    }

    /// Whether more entries may be sent before an answer.
    pub fn has_room(&self) -> bool {
        self.next.saturating_sub(self.matched) <= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_refusal_takes_nothing_back() {
        let mut p = Progress::new(10);
        p.matches(8);
        p.gap(5, 4);
        assert_eq!((p.matched, p.next, p.mode), (8, 11, Mode::Replicate));
        p.gap(10, 3);
        assert_eq!((p.matched, p.next, p.mode), (8, 9, Mode::Probe { asked: false }));
    }

    #[test]
    fn another_life_starts_from_nothing() {
        let mut p = Progress::new(10);
        p.heard(Incarnation(1), Mono(5), 10);
        p.matches(8);
        p.lease = Mono(99);
        p.heard(Incarnation(2), Mono(6), 12);
        assert_eq!((p.matched, p.next, p.lease), (0, 13, Mono(0)));
    }
}
