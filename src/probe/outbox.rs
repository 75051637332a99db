//! Reports on their way out: a full channel never makes a probe wait.
//!
//! Model: what does not fit into the channel waits here, the newest report of each check only.

use std::collections::BTreeMap;

use crossbeam_channel::{Sender, TrySendError};

use crate::base::id::CheckId;
use crate::verdict::Report;

/// The sending end, with what did not fit.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender<Report>,
    waiting: BTreeMap<CheckId, Report>,
}

impl Outbox {
    /// Nothing waits.
    #[must_use]
    pub fn new(sender: Sender<Report>) -> Outbox {
        Outbox { sender, waiting: BTreeMap::new() }
    }

    /// Sends a report, or keeps it in the place of an older one of its check.
    pub fn put(&mut self, report: Report) {
        match self.waiting.get_mut(&report.check) {
            Some(older) => *older = report,
            None => {
                self.try_send(report);
            }
        }
    }

    /// Sends what fits now.
    pub fn flush(&mut self) {
        while let Some((_, report)) = self.waiting.pop_first() {
            if !self.try_send(report) {
                return;
            }
        }
    }

    /// Forgets what is kept about a check.
    pub fn forget(&mut self, check: CheckId) {
        self.waiting.remove(&check);
    }

    /// Whether everything is out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn try_send(&mut self, report: Report) -> bool {
        match self.sender.try_send(report) {
            Ok(()) => true,
            Err(TrySendError::Full(report)) => {
                self.waiting.insert(report.check, report);
                false
            }
            // Nobody wants reports any more: the program is stopping.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Outcome;

    fn report(check: u128, round: u64) -> Report {
        let check = CheckId::from_random(check);
        Report { check, boot: 0, round, of: 0, took_ms: 1, outcome: Outcome::Ok }
    }

    #[test]
    fn when_nobody_reads_the_newest_report_of_each_check_is_kept() {
        let (sender, reports) = crossbeam_channel::bounded(2);
        let mut out = Outbox::new(sender);
        for round in 1..=5 {
            out.put(report(1, round));
            out.put(report(2, round));
        }
        assert!(!out.is_empty());
        let mut rounds = Vec::new();
        while !out.is_empty() || !reports.is_empty() {
            rounds.extend(reports.try_iter().map(|r| r.round));
            out.flush();
        }
        rounds.extend(reports.try_iter().map(|r| r.round));
        assert_eq!(rounds, [1, 1, 5, 5]);
        out.put(report(1, 6));
        drop(reports);
        out.put(report(1, 7));
        assert!(out.is_empty(), "nothing is kept for nobody");
    }

    #[test]
    fn what_is_void_is_not_sent_later() {
        let (sender, reports) = crossbeam_channel::bounded(1);
        let mut out = Outbox::new(sender);
        out.put(report(1, 1));
        out.put(report(2, 1));
        out.forget(CheckId::from_random(2));
        assert!(out.is_empty());
        assert_eq!(reports.len(), 1);
    }
}
