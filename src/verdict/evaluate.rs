//! The rule for one check: fresh reports in, a finding out; findings in a row make it steady.
//!
//! An evaluation *counts* when a quorum of the peers agree in reports that no earlier evaluation
//! has counted. Two disjoint sets of reports, each a majority of the peers, cannot come from one
//! round: at least one node has probed twice. So one bad moment that all nodes happen to see is
//! never two evaluations, and one node that has died since does not hold the others up.

use super::report::Verdict;

/// One peer's fresh report, as far as the rule cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Whether the target answered as it should.
    pub ok: bool,
    /// Whether no evaluation has counted this report yet.
    pub new: bool,
}

/// What the fresh reports say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is no fresh report at all.
    Nothing,
    /// No quorum for either side: the verdict stays as it is.
    Neither,
    /// A quorum of the peers agree.
    Candidate {
        /// On [`Verdict::Up`] or [`Verdict::Down`].
        verdict: Verdict,
        /// Whether a quorum of them say so in reports not counted before.
        renewed: bool,
    },
}

/// The smallest majority of `peers`.
#[must_use]
pub fn quorum(peers: usize) -> usize {
    peers / 2 + 1
}

/// Judges the fresh reports, at most one for each peer, against the number of peers in the
/// configuration (not of those that reported).
#[must_use]
pub fn evaluate(votes: impl Iterator<Item = Vote>, peers: usize) -> Finding {
    let (mut total, mut all, mut new) = (0_usize, [0_usize; 2], [0_usize; 2]);
    for vote in votes {
        let side = usize::from(vote.ok);
        total += 1;
        all[side] += 1;
        new[side] += usize::from(vote.new);
    }
    let need = quorum(peers);
    for (side, verdict) in [(0, Verdict::Down), (1, Verdict::Up)] {
        if all[side] >= need {
            return Finding::Candidate { verdict, renewed: new[side] >= need };
        }
    }
    if total == 0 { Finding::Nothing } else { Finding::Neither }
}

/// How many counted evaluations in a row gave the same candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    candidate: Verdict,
    length: u32,
}

impl Streak {
    /// Takes a finding in. True when it counted: its reports are used up. Everything but the same
    /// candidate ends the row, the absence of one included.
    pub fn advance(&mut self, finding: Finding) -> bool {
        let Finding::Candidate { verdict, renewed } = finding else {
            *self = Streak::default();
            return false;
        };
        if self.candidate != verdict {
            *self = Streak { candidate: verdict, length: 0 };
        }
        if renewed {
            self.length = self.length.saturating_add(1);
        }
        renewed
    }

    /// The candidate that came at least `hysteresis` times in a row.
    #[must_use]
    pub fn steady(&self, hysteresis: u32) -> Option<Verdict> {
        (self.length >= hysteresis.max(1)).then_some(self.candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(votes: &str, peers: usize) -> Finding {
        // o/f: a new ok or failure; O/F: one that was counted before.
        let vote = |c: char| Vote { ok: c.eq_ignore_ascii_case(&'o'), new: c.is_lowercase() };
        evaluate(votes.chars().map(vote), peers)
    }

    fn says(verdict: Verdict, renewed: bool) -> Finding {
        Finding::Candidate { verdict, renewed }
    }

    #[test]
    fn the_quorum_is_of_the_peers_and_not_of_those_that_reported() {
        assert_eq!(judge("f", 3), Finding::Neither);
        assert_eq!(judge("ff", 4), Finding::Neither);
        assert_eq!(judge("ff", 3), says(Verdict::Down, true));
        assert_eq!(judge("f", 1), says(Verdict::Down, true));
        assert_eq!(judge("oof", 3), says(Verdict::Up, true));
        assert_eq!(judge("ooff", 4), Finding::Neither);
        assert_eq!(judge("", 3), Finding::Nothing);
    }

    #[test]
    fn a_candidate_is_renewed_by_a_quorum_of_new_reports_only() {
        assert_eq!(judge("fFF", 3), says(Verdict::Down, false));
        assert_eq!(judge("ffF", 3), says(Verdict::Down, true));
        assert_eq!(judge("OOo", 3), says(Verdict::Up, false));
    }

    #[test]
    fn only_the_same_candidate_in_a_row_becomes_steady() {
        let mut streak = Streak::default();
        assert!(streak.advance(says(Verdict::Down, true)));
        assert!(!streak.advance(says(Verdict::Down, false)));
        assert_eq!(streak.steady(2), None);
        assert_eq!(streak.steady(1), Some(Verdict::Down));
        for between in [Finding::Neither, Finding::Nothing, says(Verdict::Up, true), says(Verdict::Up, false)]
        {
            let mut streak = streak;
            streak.advance(between);
            streak.advance(says(Verdict::Down, true));
            assert_eq!(streak.steady(2), None, "{between:?} did not end the row");
        }
        streak.advance(says(Verdict::Down, true));
        assert_eq!(streak.steady(2), Some(Verdict::Down));
    }

    #[test]
    fn no_number_of_evaluations_is_not_enough_for_a_verdict() {
        assert_eq!(Streak::default().steady(0), None);
    }
}
