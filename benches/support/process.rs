//! One daemon, and what the kernel says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quptime::base::id::RequestId;
use quptime::control::{Ask, Reply, Request, client};
use quptime::view::{Filter, View};

/// The binary to be measured: `QU_BIN`, or the one that was built with the benches.
pub fn binary() -> PathBuf {
    std::env::var_os("QU_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_qu")), PathBuf::from)
}

/// A node: its directory, and its process while there is one.
pub struct Daemon {
    pub dir: PathBuf,
    port: u16,
    /// A network namespace of the cluster's own, so that its traffic can be told apart.
    namespace: Option<String>,
    environment: Vec<(String, PathBuf)>,
    child: Option<Child>,
}

impl Daemon {
    /// Initialised and not started.
    pub fn new(dir: PathBuf, port: u16, namespace: Option<String>) -> Daemon {
        fs::create_dir_all(&dir).expect("a directory");
        let daemon = Daemon { dir, port, namespace, environment: Vec::new(), child: None };
        let init = ["init", "--key-type", "ecdsa-p256", "--secret", "a secret of these benches"];
        let advertise = format!("127.0.0.1:{port}");
        let port = port.to_string();
        let flags = ["--advertise", &advertise, "--bind", "127.0.0.1", "--port", &port];
        let made = daemon.qu(&[&init[..], &flags[..]].concat()).output().expect("qu init starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        daemon
    }

    /// The binary with the environment of this node.
    pub fn qu(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(binary()),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary());
                command
            }
        };
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("QUPTIME_DIR", &self.dir).env("QUPTIME_SOCKET", self.socket()).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// With this in its environment from its next start on.
    pub fn set(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let mut command = self.qu(&["serve", "--log-level", "warn"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("qu serve starts"));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    pub fn ask(&self, id: u128, ask: Ask, patience: Duration) -> Option<Reply> {
        let request = Request { id: RequestId::from_random(id), ask };
        client::ask(&self.socket(), &request, patience).ok()
    }

    /// The picture without the checks.
    pub fn head(&self) -> Option<View> {
        self.view(&Filter { no_checks: true, ..Filter::default() })
    }

    pub fn view(&self, filter: &Filter) -> Option<View> {
        match self.ask(0, Ask::Status(filter.clone()), Duration::from_secs(2)) {
            Some(Reply::View(view)) => Some((*view).clone()),
            _ => None,
        }
    }

    pub fn is_master(&self) -> bool {
        self.child.is_some() && self.head().is_some_and(|v| v.acts_for_ms.is_some())
    }

    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    fn proc(&self, file: &str) -> String {
        self.child.as_ref().map(|child| proc(child.id(), file)).unwrap_or_default()
    }

    /// A number of `/proc/<pid>/<file>`, by its name.
    fn field(&self, file: &str, name: &str) -> u64 {
        self.child.as_ref().map_or(0, |child| field(child.id(), file, name))
    }

    /// Resident memory, kB.
    pub fn rss(&self) -> u64 {
        self.field("status", "VmRSS")
    }

    pub fn threads(&self) -> u64 {
        self.field("status", "Threads")
    }

    /// Bytes handed to the system to be written, sockets included.
    pub fn stored(&self) -> u64 {
        self.field("io", "write_bytes")
    }

    /// CPU time so far, in ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        self.child.as_ref().map_or(0, |child| ticks(child.id()))
    }

    /// Bytes that the loopback of its namespace has carried, when that is the cluster's own.
    pub fn carried(&self) -> Option<u64> {
        self.namespace.as_ref()?;
        let text = self.proc("net/dev");
        let lo = text.lines().find_map(|l| l.trim_start().strip_prefix("lo:"))?;
        lo.split_whitespace().next()?.parse().ok()
    }

    /// Bytes of the files in `state/`.
    pub fn state(&self) -> u64 {
        let files = fs::read_dir(self.dir.join("state")).into_iter().flatten().flatten();
        files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file)).unwrap_or_default()
}

/// A number of `/proc/<pid>/<file>`, by its name.
pub fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = proc(pid, file);
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU time of a process so far, in ticks of 10 ms.
pub fn ticks(pid: u32) -> u64 {
    let stat = proc(pid, "stat");
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<u64> = after.split_whitespace().skip(11).take(2).filter_map(|w| w.parse().ok()).collect();
    words.iter().sum()
}
