//! Reports on their way out: a full channel never makes a probe wait.
//!
//! Model: results that are as they were are gathered for a moment, so that whoever reads them is
//! woken ten times a second and not once for each; one that is otherwise than the check's last goes
//! at once, and takes along what has been gathered.
//! What does not fit into the channel waits here, too. Of each check only the newest report waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};

use crate::base::clock::Mono;
use crate::base::id::CheckId;
use crate::verdict::Report;

/// A result that is no news waits this long at most: little beside the shortest interval.
const GATHER: Duration = Duration::from_millis(100);
/// What did not fit is offered again after this.
const RETRY: Duration = Duration::from_millis(20);

/// The sending end, with what was not sent yet.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender<Report>,
    waiting: BTreeMap<CheckId, Report>,
    /// When they are sent; never while none waits.
    due: Mono,
    /// Checks whose last result was a failure.
    failing: BTreeSet<CheckId>,
}

impl Outbox {
    /// Nothing waits.
    #[must_use]
    pub fn new(sender: Sender<Report>) -> Outbox {
        Outbox { sender, waiting: BTreeMap::new(), due: Mono::FAR, failing: BTreeSet::new() }
    }

    /// Takes a report, in the place of an older one of its check.
    pub fn put(&mut self, report: Report, now: Mono) {
        let check = report.check;
        let news =
            if report.outcome.is_ok() { self.failing.remove(&check) } else { self.failing.insert(check) };
        self.due = self.due.min(if news { now } else { now + GATHER });
        self.waiting.insert(report.check, report);
    }

    /// When [`Outbox::flush`] has something to do.
    #[must_use]
    pub fn wake(&self) -> Mono {
        self.due
    }

    /// Sends what fits, once it is time.
    pub fn flush(&mut self, now: Mono) {
        if now < self.due {
            return;
        }
        self.due = Mono::FAR;
        while let Some((_, report)) = self.waiting.pop_first() {
            match self.sender.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => {
                    self.waiting.insert(report.check, report);
                    self.due = now + RETRY;
                    return;
                }
                // Nobody wants reports any more: the program is stopping.
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }

    /// Forgets what is kept about a check.
    pub fn forget(&mut self, check: CheckId) {
        self.waiting.remove(&check);
        self.failing.remove(&check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Outcome, Stage};

    const T0: Mono = Mono(1_000_000_000_000);

    fn report(check: u128, round: u64) -> Report {
        let check = CheckId::from_random(check);
        Report { check, boot: 0, round, of: 0, took_ms: 1, outcome: Outcome::Ok }
    }

    fn failure(check: u128, round: u64) -> Report {
        let outcome = Outcome::Failed { stage: Stage::Connect, detail: "connection refused".to_owned() };
        Report { outcome, ..report(check, round) }
    }

    fn rounds(reports: &crossbeam_channel::Receiver<Report>) -> Vec<u64> {
        reports.try_iter().map(|r| r.round).collect()
    }

    #[test]
    fn what_is_no_news_is_gathered_and_news_takes_it_along_at_once() {
        let (sender, reports) = crossbeam_channel::bounded(10);
        let mut out = Outbox::new(sender);
        assert_eq!(out.wake(), Mono::FAR);
        out.put(report(1, 1), T0);
        out.put(report(2, 2), T0 + GATHER / 2);
        out.flush(T0 + GATHER / 2);
        assert!(reports.is_empty());
        assert_eq!(out.wake(), T0 + GATHER);
        out.flush(out.wake());
        assert_eq!(rounds(&reports), [1, 2]);
        out.put(report(1, 3), T0 + GATHER);
        out.put(failure(2, 4), T0 + GATHER);
        assert_eq!(out.wake(), T0 + GATHER);
        out.flush(T0 + GATHER);
        assert_eq!(rounds(&reports), [3, 4]);
        assert_eq!(out.wake(), Mono::FAR);
        out.put(failure(2, 5), T0);
        assert_eq!(out.wake(), T0 + GATHER, "it fails as before");
        out.put(report(2, 6), T0);
        assert_eq!(out.wake(), T0, "it has come back");
    }

    #[test]
    fn when_nobody_reads_the_newest_report_of_each_check_is_kept() {
        let (sender, reports) = crossbeam_channel::bounded(1);
        let mut out = Outbox::new(sender);
        for round in 1..=5 {
            out.put(failure(1, round), T0);
            out.put(failure(2, round), T0);
            out.flush(T0);
        }
        assert_eq!(out.wake(), T0 + RETRY);
        let mut all = Vec::new();
        while out.wake() != Mono::FAR || !reports.is_empty() {
            all.extend(rounds(&reports));
            out.flush(out.wake());
        }
        all.sort_unstable();
        assert_eq!(all, [1, 5, 5]);
        out.put(failure(1, 6), T0);
        drop(reports);
        out.flush(out.wake());
        assert_eq!(out.wake(), Mono::FAR, "nothing is kept for nobody");
    }

    #[test]
    fn what_is_void_is_not_sent_later() {
        let (sender, reports) = crossbeam_channel::bounded(1);
        let mut out = Outbox::new(sender);
        out.put(report(1, 1), T0);
        out.put(report(2, 1), T0);
        out.forget(CheckId::from_random(1));
        out.flush(T0 + GATHER);
        assert_eq!(out.wake(), Mono::FAR);
        assert_eq!(reports.try_iter().map(|r| r.check).collect::<Vec<_>>(), [CheckId::from_random(2)]);
    }
}
