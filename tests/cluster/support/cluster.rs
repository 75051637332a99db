//! Several nodes that know each other, with short timings.

use serde_json::Value;

use super::{Home, Node, until};

pub const SECRET: &str = "a secret of the test's own";

pub struct Cluster {
    // Before `home`, so that the processes end before their directories do.
    pub nodes: Vec<Node>,
    pub home: Home,
}

impl Cluster {
    /// Nodes that are made and run, each alone.
    pub fn strangers(name: &str, count: usize) -> Cluster {
        Cluster::strangers_in(Home::new(name), count)
    }

    /// As [`Cluster::strangers`], in a place that is prepared.
    pub fn strangers_in(home: Home, count: usize) -> Cluster {
        let nodes = (1..=count).map(|n| Node::made(home.path(), &format!("n{n}"), SECRET)).collect();
        let mut cluster = Cluster { nodes, home };
        for node in &mut cluster.nodes {
            node.start();
        }
        for node in &cluster.nodes {
            node.sees("a cluster of one has its master", |v| !v["master"].is_null());
        }
        cluster
    }

    /// Nodes that are members of one cluster.
    pub fn of(name: &str, count: usize) -> Cluster {
        Cluster::strangers(name, count).joined()
    }

    /// Makes members of all of them.
    pub fn joined(self) -> Cluster {
        let cluster = self;
        let first = &cluster.nodes[0];
        // Elections within a second, so that a test of one takes no more.
        first.ok(&["cluster", "set", "heartbeat", "200ms"]);
        first.ok(&["cluster", "set", "dead_after", "1s"]);
        for node in &cluster.nodes[1..] {
            first.ok(&["node", "add", &node.address(), "--fingerprint", &node.fingerprint]);
        }
        cluster.whole();
        cluster
    }

    /// Waits until every node that runs sees the same master and all running nodes as live members.
    #[track_caller]
    pub fn whole(&self) -> String {
        until("all nodes agree on a master and hear each other", || {
            let running: Vec<&Node> = self.nodes.iter().filter(|n| n.runs()).collect();
            let views: Option<Vec<Value>> = running.iter().map(|n| n.view()).collect();
            let views = views?;
            let master = views.first()?["master"].as_str()?.to_owned();
            let live = |v: &Value, id: &str| {
                let peers = v["peers"].as_array().cloned().unwrap_or_default();
                peers.iter().any(|p| p["node_id"] == id && p["live"] == true && p["voter"] == true)
            };
            let good = |v: &Value| {
                v["master"] == master.as_str()
                    && v["config_version"] == views[0]["config_version"]
                    && running.iter().all(|n| live(v, &n.id))
            };
            views.iter().all(good).then_some(master)
        })
    }

    /// Which one is master.
    #[track_caller]
    pub fn master(&self) -> usize {
        let master = self.whole();
        self.nodes.iter().position(|n| n.id == master).expect("a node of ours")
    }

    /// A running one that is not.
    #[track_caller]
    pub fn follower(&self) -> usize {
        let master = self.master();
        (0..self.nodes.len()).find(|at| *at != master && self.nodes[*at].runs()).expect("one")
    }
}
