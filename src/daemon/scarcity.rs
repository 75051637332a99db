//! Descriptors and threads: how many probes leave to the rest, and what is said when they run out.
//!
//! Threads are bounded by construction: one for each row of the table in `mod.rs`, one for each
//! destination that has something to send, 32 for callers, four for TLS of probes, one for each name
//! of a peer that is being resolved. Descriptors are bounded by the limit of the process: what peers,
//! strangers, callers, files and destinations may need is set aside, and probes share the rest. When
//! either runs out it is probes that wait; that is said here, once a minute in the log and, as long
//! as it lasts, in `qu status`.

use std::time::Duration;

use super::core::Core;
use crate::base::clock::Mono;
use crate::config::Cluster;
use crate::control::server::MOST_CONNECTIONS;
use crate::log;
use crate::sys::poll::descriptor_limit;
use crate::transport::admit::{PER_SOURCE, places_for};

/// The program's own: standard streams, sockets that listen or wake, the log and the files that are
/// being written, connections whose last word is on its way.
const OWN: usize = 48;
/// For each peer: three connections, its reserved places, and the resolver.
const EACH_PEER: usize = 3 + PER_SOURCE + 2;
/// For each destination: a connection and the resolver.
const EACH_ALERT: usize = 2;
/// A want that was not felt for so long is over.
const OVER: Duration = Duration::from_secs(60);

/// How many descriptors everything but probes may need.
#[must_use]
pub fn spared(cluster: &Cluster) -> u64 {
    let fixed = OWN + MOST_CONNECTIONS + places_for(descriptor_limit());
    let all = fixed + EACH_PEER * cluster.peers.len() + EACH_ALERT * cluster.alerts.len();
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// One thing that runs out at times.
#[derive(Debug, Default)]
struct Want {
    /// How often so far.
    count: u64,
    /// When it last did.
    felt: Option<Mono>,
    /// When the log last heard of it.
    logged: Option<Mono>,
}

impl Want {
    /// `count` is how often so far, `still`: it is just now. Whether it is felt, and whether to log it.
    fn look(&mut self, count: u64, still: bool, now: Mono) -> (bool, bool) {
        if count > self.count || still {
            self.count = count;
            self.felt = Some(now);
        }
        let recent = |at: &Option<Mono>| at.is_some_and(|at| now.since(at) < OVER);
        let felt = recent(&self.felt);
        let news = felt && !recent(&self.logged);
        if news {
            self.logged = Some(now);
        }
        (felt, news)
    }
}

/// What runs out at times.
#[derive(Debug, Default)]
pub struct Scarcity {
    descriptors: Want,
    threads: Want,
    /// What the status says now.
    shown: [Option<String>; 2],
}

impl Core {
    /// Looks whether probes had to wait, and says so.
    pub(super) fn watch_limits(&mut self, now: Mono) {
        let probes = self.out.prober.stats();
        let (felt, news) = self.scarcity.descriptors.look(probes.starved, probes.late_now > 0, now);
        let limit = descriptor_limit();
        let text = felt.then(|| {
            format!(
                "probes wait for file descriptors: {} of the {limit} that this process may have are for them; \
                 raise the limit (LimitNOFILE= of the service, ulimit -n), or watch less at a time",
                probes.budget
            )
        });
        if news {
            log!(Warn, "probe", text.clone().unwrap_or_default(), waiting = probes.late_now);
        }
        self.show_want(0, "descriptors", text);

        let refused = probes.threadless + self.out.desk.threadless();
        let (felt, news) = self.scarcity.threads.look(refused, false, now);
        let text = felt.then(|| {
            "this node cannot start threads: probes with TLS and messages wait; raise the limit (TasksMax= of the \
             service, ulimit -u)"
                .to_owned()
        });
        if news {
            log!(Warn, "probe", text.clone().unwrap_or_default());
        }
        self.show_want(1, "threads", text);
    }

    fn show_want(&mut self, at: usize, about: &'static str, text: Option<String>) {
        let Some(shown) = self.scarcity.shown.get_mut(at).filter(|shown| **shown != text) else { return };
        shown.clone_from(&text);
        self.picture.note(about, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_is_said_at_once_logged_once_a_minute_and_over_after_a_minute() {
        let at = |s: u64| Mono(1_000_000_000_000) + Duration::from_secs(s);
        let mut want = Want::default();
        assert_eq!(want.look(0, false, at(0)), (false, false));
        assert_eq!(want.look(3, false, at(1)), (true, true));
        assert_eq!(want.look(3, false, at(30)), (true, false));
        assert_eq!(want.look(9, false, at(40)), (true, false));
        assert_eq!(want.look(9, true, at(50)), (true, false));
        assert_eq!(want.look(9, false, at(62)), (true, true));
        assert_eq!(want.look(9, false, at(111)), (false, false));
    }
}
