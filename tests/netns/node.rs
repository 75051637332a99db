//! One node: its directory, its process, and how to ask it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quptime::base::id::RequestId;
use quptime::control::client::{self, ClientError};
use quptime::control::{Ask, Reply, Request};
use quptime::view::{Filter, View};

use crate::net;

/// A node and its process, while there is one.
pub struct Node {
    pub at: Place,
    namespace: String,
    child: Option<Child>,
    stopped: bool,
}

/// Where a node is; for those who only ask it.
#[derive(Clone, Debug)]
pub struct Place {
    pub index: usize,
    pub dir: PathBuf,
    /// Which daemon it is by now, counted.
    life: Arc<AtomicU64>,
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Changes when the daemon is killed and when it is started again.
    pub fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What `cluster.yaml` says just now.
    pub fn file(&self) -> String {
        std::fs::read_to_string(self.dir.join("cluster.yaml")).unwrap_or_default()
    }

    /// One question.
    pub fn ask(&self, id: RequestId, ask: Ask, patience: Duration) -> Result<Reply, ClientError> {
        client::ask(&self.socket(), &Request { id, ask }, patience)
    }

    /// The picture; `None` when the node does not answer in time.
    pub fn view(&self, filter: Filter, patience: Duration) -> Option<View> {
        match self.ask(RequestId::from_random(0), Ask::Status(filter), patience) {
            Ok(Reply::View(view)) => Some((*view).clone()),
            _ => None,
        }
    }

    /// The picture without the checks.
    pub fn head(&self, patience: Duration) -> Option<View> {
        self.view(Filter { no_checks: true, ..Filter::default() }, patience)
    }
}

impl Node {
    /// A node that is initialised and started.
    pub fn new(net: &net::Net, index: usize, dir: &Path) -> Node {
        let at = Place { index, dir: dir.join(format!("n{index}")), life: Arc::default() };
        std::fs::create_dir_all(&at.dir).expect("a directory");
        let mut node = Node { at, namespace: net.namespace(index), child: None, stopped: false };
        let advertise = format!("{}:{}", net::address(index), net::PORT);
        let init = node
            .command(&["init", "--advertise", &advertise, "--key-type", "ecdsa-p256"])
            .args(["--secret", "a secret of these tests"])
            .output()
            .expect("qu init starts");
        assert!(init.status.success(), "qu init: {}", String::from_utf8_lossy(&init.stderr));
        node.start();
        node
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_qu")]).args(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("QUPTIME_DIR", &self.at.dir).env("QUPTIME_SOCKET", self.at.socket());
        command.stdin(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log: File = OpenOptions::new().create(true).append(true).open(self.at.log()).expect("a log file");
        // `ip netns exec` becomes the daemon: the child's id is the daemon's.
        let mut command = self.command(&["serve", "--log-level", "info"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("qu serve starts"));
        self.stopped = false;
        self.at.life.fetch_add(1, Ordering::SeqCst);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.at.life.fetch_add(1, Ordering::SeqCst);
            // It may have ended by itself, which the end of the test will notice.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// SIGSTOP, SIGCONT.
    pub fn pause(&mut self, on: bool) {
        if let Some(child) = self.child.as_ref().filter(|_| self.stopped != on) {
            let signal = if on { "-STOP" } else { "-CONT" };
            // A process that has ended cannot be paused; `died` will tell.
            drop(Command::new("kill").args([signal, &child.id().to_string()]).status());
            self.stopped = on;
        }
    }

    /// Ended by itself: how.
    pub fn died(&mut self) -> Option<String> {
        let ended = self.child.as_mut()?.try_wait().expect("a child can be asked");
        ended.map(|status| format!("node {} ended by itself: {status}", self.at.index))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.at.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `what` is there, and says what was waited for when it does not come.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begun.elapsed() > limit {
            return Err(format!("{what}: not within {limit:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
