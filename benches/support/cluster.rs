//! A cluster of real processes on a loopback: with root in a network namespace of its own, so that
//! its bytes can be counted, else on the machine's.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quptime::base::units::Span;
use quptime::config::Target;
use quptime::control::edit::CheckFields;
use quptime::control::{Ask, Reply};
use quptime::state::command::Setting;

use super::process::Daemon;
use super::{ms, wait_for};

const PATIENCE: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(60);
/// No probe runs while the benches do.
const INTERVAL_MS: u64 = 24 * 3_600_000;

/// A check to be watched.
pub struct Watch {
    pub kind: &'static str,
    pub target: String,
    pub interval: &'static str,
    pub timeout: &'static str,
}

/// Some nodes that are one cluster.
pub struct Cluster {
    pub nodes: Vec<Daemon>,
    dir: PathBuf,
    namespace: Option<String>,
    serial: AtomicU64,
}

impl Cluster {
    /// With default timing, ten checks, and every node a voter.
    pub fn new(dir: &Path, size: usize) -> Cluster {
        let name = Cluster::name();
        let dir = dir.join(&name);
        let namespace = namespace(&name).then_some(name);
        let mut cluster = Cluster::stopped(dir, size, namespace);
        cluster.form();
        for n in 0..16 {
            cluster.done(cluster.master(), add(n));
        }
        cluster
    }

    /// With default timing, without checks, on the machine's own loopback and with this in its
    /// environment.
    pub fn plain(dir: &Path, size: usize, environment: &[(&str, &Path)]) -> Cluster {
        let dir = dir.join(Cluster::name());
        let mut cluster = Cluster::stopped(dir, size, None);
        for (name, value) in environment {
            cluster.nodes.iter_mut().for_each(|n| n.set(name, value));
        }
        cluster.form();
        cluster
    }

    fn name() -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("qu-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    fn stopped(dir: PathBuf, size: usize, namespace: Option<String>) -> Cluster {
        let nodes = ports(size).into_iter().enumerate();
        let nodes = nodes.map(|(i, port)| Daemon::new(dir.join(format!("n{i}")), port, namespace.clone()));
        Cluster { nodes: nodes.collect(), dir, namespace, serial: AtomicU64::new(1) }
    }

    fn form(&mut self) {
        self.nodes.iter_mut().for_each(Daemon::start);
        for node in &self.nodes {
            wait_for("a node alone is master", LIMIT, || node.is_master().then_some(()));
        }
        for node in &self.nodes[1..] {
            let address = || node.address().parse().expect("an address");
            let met = self.nodes[0].ask(self.id(), Ask::NodeProbe { address: address() }, PATIENCE);
            let Some(Reply::Met { node, fingerprint }) = met else { panic!("not met: {met:?}") };
            self.done(0, Ask::NodeAdd { address: address(), node, fingerprint });
        }
        self.settle();
    }

    /// Waits until every node hears every other and follows the same master.
    pub fn settle(&self) {
        wait_for("the cluster is whole", LIMIT, || {
            let views: Option<Vec<_>> = self.nodes.iter().map(Daemon::head).collect();
            let views = views?;
            let whole = views.iter().all(|v| {
                v.master.is_some()
                    && v.master == views[0].master
                    && v.peers.len() == self.nodes.len()
                    && v.peers.iter().all(|p| p.live && p.voter)
            });
            whole.then_some(())
        });
        wait_for("the master may act", LIMIT, || self.nodes.iter().any(Daemon::is_master).then_some(()));
    }

    pub fn id(&self) -> u128 {
        u128::from(self.serial.fetch_add(1, Ordering::Relaxed)) << 32 | 0xbe9c
    }

    /// The node that is master now.
    pub fn master(&self) -> usize {
        wait_for("a master", LIMIT, || self.nodes.iter().position(Daemon::is_master))
    }

    /// A change that must succeed, and how long it took, milliseconds.
    pub fn done(&self, node: usize, ask: Ask) -> f64 {
        let begun = Instant::now();
        let told = self.nodes[node].ask(self.id(), ask.clone(), PATIENCE);
        assert!(matches!(told, Some(Reply::Done(_))), "{}: {told:?}", ask.summary());
        ms(begun.elapsed())
    }

    /// A change of check `n` that changes something every time.
    pub fn edit(&self, n: usize) -> Ask {
        let interval = Span::from_millis(INTERVAL_MS + self.serial.fetch_add(1, Ordering::Relaxed));
        let fields = CheckFields { interval: Some(interval), ..CheckFields::default() };
        Ask::EditCheck { who: format!("check-{n}"), fields }
    }

    pub fn timing(&self, heartbeat_ms: u64, dead_after_ms: u64) {
        self.done(self.master(), Ask::ClusterSet(Setting::Heartbeat(Span::from_millis(heartbeat_ms))));
        self.done(self.master(), Ask::ClusterSet(Setting::DeadAfter(Span::from_millis(dead_after_ms))));
    }

    /// So many checks in all, by one edit of the file by hand.
    pub fn grow(&self, count: usize) {
        let path = self.nodes[self.master()].dir.join("cluster.yaml");
        let text = fs::read_to_string(&path).expect("cluster.yaml");
        let (before, rest) = text.split_once("\nchecks:\n").expect("checks");
        // The items end where the next key of the document begins.
        let end =
            rest.match_indices('\n').map(|(at, _)| at + 1).find(|at| !rest[*at..].starts_with([' ', '-']));
        let (items, after) = rest.split_at(end.unwrap_or(rest.len()));
        let second = items[1..].find("\n- ").or_else(|| items[1..].find("\n  - ")).expect("two checks") + 2;
        let item = &items[..second];
        let value =
            |key: &str| item.split_once(key).and_then(|(_, r)| r.lines().next()).expect("a field").trim();
        let (id, name) = (value("id:"), value("name:"));
        let mut more = String::new();
        for n in 16..count {
            let new = format!("{:08x}-0000-4000-8000-00000000c8ec", n);
            more.push_str(&item.replace(id, &new).replace(name, &format!("check-{n}")));
        }
        self.save(&path, &format!("{before}\nchecks:\n{items}{more}{after}"), count);
    }

    /// These checks, called `check-0` and so on, in a cluster that has none.
    pub fn watch(&self, checks: impl Iterator<Item = Watch>) {
        let mut items = String::new();
        let mut count = 0;
        for (n, Watch { kind, target, interval, timeout }) in checks.enumerate() {
            let id = format!("{:08x}-0000-4000-8000-00000000c8ec", n);
            let _ =
                write!(items, "  - id: {id}\n    name: check-{n}\n    type: {kind}\n    target: {target}\n");
            let _ = write!(items, "    interval: {interval}\n    timeout: {timeout}\n");
            count = n + 1;
        }
        let path = self.nodes[self.master()].dir.join("cluster.yaml");
        let text = wait_for("cluster.yaml as it is committed", LIMIT, || {
            let version = self.nodes[self.master()].head()?.config_version;
            let text = fs::read_to_string(&path).ok()?;
            text.contains(&format!("\nversion: {version}\n")).then_some(text)
        });
        let empty = "\nchecks: []\n";
        assert!(text.contains(empty), "{text}");
        self.save(&path, &text.replace(empty, &format!("\nchecks:\n{items}")), count);
    }

    /// A mail account for all checks.
    pub fn mail_to(&self, at: SocketAddr) {
        let node = &self.nodes[self.master()];
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        let account = ["alert", "add", "smtp", "ops", "--host", &host, "--port", &port, "--starttls=false"];
        let who = ["--from", "qu@example.com", "--to", "ops@example.com", "--default"];
        let made = node.qu(&[&account[..], &who[..]].concat()).output().expect("qu starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// As an editor saves it; and waits until every node has so many checks.
    fn save(&self, path: &Path, text: &str, count: usize) {
        let edited = path.with_extension("edited");
        fs::write(&edited, text).expect("written");
        fs::rename(&edited, path).expect("renamed");
        let last = format!("check-{}", count - 1);
        for node in &self.nodes {
            wait_for("the checks of the file", LIMIT, || {
                let filter = quptime::view::Filter { check: Some(last.clone()), ..Default::default() };
                matches!(node.ask(0, Ask::Status(filter), PATIENCE), Some(Reply::View(_))).then_some(())
            });
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if let Some(namespace) = &self.namespace {
            drop(Command::new("ip").args(["netns", "del", namespace]).status());
        }
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.dir.display());
        } else {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

fn add(n: usize) -> Ask {
    Ask::AddCheck {
        name: format!("check-{n}").parse().expect("a name"),
        target: Target::Tcp { to: "127.0.0.1:9".parse().expect("a target") },
        interval: Some(Span::from_millis(INTERVAL_MS)),
        timeout: None,
        alerts: Vec::new(),
        suppress: Vec::new(),
    }
}

/// A namespace with a loopback; false when that is not allowed here.
fn namespace(name: &str) -> bool {
    let ip = |args: &[&str]| Command::new("ip").args(args).output().is_ok_and(|o| o.status.success());
    ip(&["netns", "add", name]) && ip(&["-n", name, "link", "set", "lo", "up"])
}

/// Ports that nobody listens on.
fn ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    held.iter().map(|l| l.local_addr().expect("an address").port()).collect()
}

/// One such port.
pub fn port() -> u16 {
    ports(1).first().copied().unwrap_or_default()
}
