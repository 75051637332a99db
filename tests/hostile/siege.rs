//! A cluster under attack: what is measured before, looked at during, and asked afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client;
use super::support::{Cluster, Node, within};

/// Longest time that anything is waited for.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Memory that an attack may cost a node, KiB.
const GROWTH: u64 = 8 * 1024;
/// Of that, what may stay for good: buffers that are kept, pieces that the allocator keeps.
const KEPT: u64 = 4 * 1024;
/// A machine on which this process did not run for so long may have stopped the nodes as well:
/// heartbeats prove nothing then.
const STOOD_STILL: Duration = Duration::from_millis(1500);
/// Lines of the log that say that peers lost each other, or that a master lost its role.
const LOSSES: [&str; 4] = ["disconnected", "connection lost", "no majority answers", "not master any more"];

/// Nodes that are members of one cluster, with the timings that every cluster begins with.
pub fn calm(name: &str, count: usize) -> Cluster {
    joined(Cluster::strangers(name, count))
}

/// Makes members of one cluster of nodes that run alone.
pub fn joined(cluster: Cluster) -> Cluster {
    let first = &cluster.nodes[0];
    for node in &cluster.nodes[1..] {
        first.ok(&["node", "add", &node.address(), "--fingerprint", &node.fingerprint]);
    }
    whole(&cluster);
    cluster
}

/// Waits until every running node hears every other and agrees on the master.
#[track_caller]
pub fn whole(cluster: &Cluster) -> String {
    within(LIMIT, "all nodes agree on a master and hear each other", || {
        let running: Vec<&Node> = cluster.nodes.iter().filter(|n| n.runs()).collect();
        let views: Vec<_> = running.iter().map(|n| n.view()).collect::<Option<_>>()?;
        let master = views.first()?["master"].as_str()?.to_owned();
        let hears = |view: &serde_json::Value, id: &str| {
            let mut peers = view["peers"].as_array().into_iter().flatten();
            peers.any(|p| p["node_id"] == id && p["live"] == true && p["voter"] == true)
        };
        let good = |v: &serde_json::Value| {
            v["master"] == master.as_str()
                && v["config_version"] == views[0]["config_version"]
                && running.iter().all(|n| hears(v, &n.id))
        };
        views.iter().all(good).then_some(master)
    })
}

/// Which of the nodes has this id.
pub fn place(cluster: &Cluster, id: &str) -> usize {
    cluster.nodes.iter().position(|n| n.id == id).expect("a node of ours")
}

/// Memory of its own that a process has, KiB. Pages of the program file come and go with the
/// system's cache and are nobody's doing.
pub fn memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a Linux host");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Descriptors that a process has open.
pub fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs").count()
}

/// How long this process was kept from running at most.
struct Stalls {
    worst: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stalls {
    fn watch() -> Stalls {
        let (worst, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (Arc::clone(&worst), Arc::clone(&stop));
        let look = Duration::from_millis(20);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let start = Instant::now();
                std::thread::sleep(look);
                let over = start.elapsed().saturating_sub(look).as_millis();
                seen.fetch_max(u64::try_from(over).unwrap_or(u64::MAX), Ordering::SeqCst);
            }
        });
        Stalls { worst, stop, thread: Some(thread) }
    }

    fn worst(&self) -> Duration {
        Duration::from_millis(self.worst.load(Ordering::SeqCst))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What one node was like before.
struct Before {
    at: usize,
    memory: u64,
    peak: u64,
    descriptors: usize,
    /// How long its log was.
    log: usize,
}

/// The attack.
pub struct Siege<'c> {
    cluster: &'c Cluster,
    pub master: String,
    term: u64,
    before: Vec<Before>,
    stalls: Stalls,
}

impl<'c> Siege<'c> {
    /// Warms every running node up by a few ordinary strangers, and notes how it is.
    pub fn lay(cluster: &'c Cluster) -> Siege<'c> {
        let master = whole(cluster);
        for node in cluster.nodes.iter().filter(|n| n.runs()) {
            client::warm_up(node);
        }
        let term = cluster.nodes[place(cluster, &master)].view().expect("it answers")["term"].as_u64();
        let before = cluster.nodes.iter().enumerate().filter(|(_, n)| n.runs()).map(|(at, node)| Before {
            at,
            memory: memory(node),
            peak: 0,
            descriptors: descriptors(node),
            log: node.log().len(),
        });
        let before = before.collect();
        Siege { cluster, master, term: term.expect("a number"), before, stalls: Stalls::watch() }
    }

    /// Looks at everybody's memory.
    pub fn look(&mut self) {
        for before in &mut self.before {
            before.peak = before.peak.max(memory(&self.cluster.nodes[before.at]));
        }
    }

    /// How many descriptors a node has open beyond those from before.
    pub fn opened(&self, at: usize) -> usize {
        let before = self.before.iter().find(|b| b.at == at).expect("it ran");
        descriptors(&self.cluster.nodes[at]).saturating_sub(before.descriptors)
    }

    /// The questions at the end.
    #[track_caller]
    pub fn lift(mut self) {
        self.look();
        let lost = self.losses();
        let still = whole(self.cluster);
        let view = self.cluster.nodes[place(self.cluster, &still)].view().expect("it answers");
        if self.stalls.worst() > STOOD_STILL {
            eprintln!("this machine stood still for {:?}: heartbeats were not judged", self.stalls.worst());
        } else {
            assert!(lost.is_empty(), "peers lost each other: {lost:#?}");
            assert_eq!((still.as_str(), view["term"].as_u64()), (self.master.as_str(), Some(self.term)));
        }
        for before in &self.before {
            let node = &self.cluster.nodes[before.at];
            let grown = before.peak.saturating_sub(before.memory);
            eprintln!("node {}: {} KiB before, {grown} KiB more at most", before.at, before.memory);
            assert!(grown < GROWTH, "node {} grew by {grown} KiB over {}", before.at, before.memory);
            within(LIMIT, "memory is given back", || (memory(node) < before.memory + KEPT).then_some(()));
        }
    }

    fn losses(&self) -> Vec<String> {
        // Who was stopped before is not lost, whoever plays it.
        let absent: Vec<&str> =
            self.cluster.nodes.iter().filter(|n| !n.runs()).map(|n| n.id.as_str()).collect();
        let counts = |line: &&str| {
            LOSSES.iter().any(|w| line.contains(w)) && !absent.iter().any(|id| line.contains(id))
        };
        let mut found = Vec::new();
        for before in &self.before {
            let log = self.cluster.nodes[before.at].log();
            let since = log.get(before.log..).unwrap_or_default();
            found.extend(since.lines().filter(counts).map(str::to_owned));
        }
        found
    }
}
