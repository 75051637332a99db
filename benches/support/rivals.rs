//! What a user would take instead, doing the same work: as many probes of the same target in the
//! same time. Each comes from its Debian package; what is not installed is told as a sentence.
//!
//! * `prometheus-blackbox-exporter` probes when it is asked over HTTP: this file asks, at the pace
//!   of the checks, over connections that stay open. What asks in earnest (Prometheus) costs more
//!   on top of it and is not counted.
//! * `monit` goes through its checks one after the other in each cycle.
//! * `fping` sends echoes to all targets in turn.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::cluster::port;
use super::process::{field, ticks};
use super::target::Target;
use super::wait_for;

/// How often each target is probed.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one is measured, after a warm-up of one interval.
const LENGTH: Duration = Duration::from_secs(10);

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    Https,
    Tcp,
    Icmp,
}

impl Kind {
    pub fn title(self) -> &'static str {
        match self {
            Kind::Http => "HTTP",
            Kind::Https => "HTTPS",
            Kind::Tcp => "TCP",
            Kind::Icmp => "ICMP",
        }
    }

    /// As checks call it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Http | Kind::Https => "http",
            Kind::Tcp => "tcp",
            Kind::Icmp => "icmp",
        }
    }

    /// The target of the check of this number.
    pub fn target(self, n: usize, port: u16) -> String {
        match self {
            Kind::Http => format!("http://127.0.0.1:{port}/{n}"),
            Kind::Https => format!("https://localhost:{port}/{n}"),
            Kind::Tcp => format!("127.0.0.1:{port}"),
            Kind::Icmp => address(n),
        }
    }
}

/// One address of the loopback's sixteen millions for each number.
fn address(n: usize) -> String {
    format!("127.1.{}.{}", n / 200, n % 200 + 1)
}

/// What one of them did.
pub struct Run {
    pub name: &'static str,
    pub seconds: f64,
    pub done: u64,
    /// Of those, how many came after their time.
    pub late: u64,
    pub cpu: f64,
    /// kB.
    pub rss: u64,
}

/// All that know this kind, one after the other.
pub fn all(kind: Kind, dir: &Path, target: &Target, count: usize, roots: &Path) -> Vec<Result<Run, String>> {
    let mut runs = vec![blackbox(kind, dir, target, count, roots)];
    if kind == Kind::Icmp {
        runs.push(fping(count));
    } else {
        runs.push(monit(kind, dir, target, count));
    }
    runs
}

/// Ends when dropped.
struct Process(Child);

impl Process {
    fn start(name: &'static str, args: &[&str]) -> Result<Process, String> {
        let mut command = Command::new(name);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Ok(Process(child)),
            Err(_) => Err(format!("{name} is not installed: left out")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Watches a process for a while; `done` says how many probes there were so far.
fn measure(name: &'static str, process: &Process, done: impl Fn() -> u64) -> Run {
    std::thread::sleep(INTERVAL);
    let pid = process.0.id();
    let (begun, before, cpu) = (Instant::now(), done(), ticks(pid));
    std::thread::sleep(LENGTH);
    let (did, cpu) = (done() - before, (ticks(pid) - cpu) as f64 / 100.0);
    let rss = field(pid, "status", "VmRSS");
    Run { name, seconds: begun.elapsed().as_secs_f64(), done: did, late: 0, cpu, rss }
}

fn blackbox(kind: Kind, dir: &Path, target: &Target, count: usize, roots: &Path) -> Result<Run, String> {
    const NAME: &str = "prometheus-blackbox-exporter";
    let config = dir.join("blackbox.yml");
    let ca = roots.display();
    fs::write(
        &config,
        format!(
            "modules:\n  http:\n    prober: http\n    timeout: 5s\n    http:\n      preferred_ip_protocol: ip4\n      \
             tls_config:\n        ca_file: {ca}\n  tcp:\n    prober: tcp\n    timeout: 5s\n  icmp:\n    prober: icmp\n    \
             timeout: 5s\n    icmp:\n      preferred_ip_protocol: ip4\n"
        ),
    )
    .map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", port());
    let file = format!("--config.file={}", config.display());
    let listen = format!("--web.listen-address={address}");
    let process = Process::start(NAME, &[&file, &listen, "--log.level=error"])?;
    wait_for("the exporter", Duration::from_secs(30), || TcpStream::connect(&address).ok());
    let (done, stop) = (AtomicU64::new(0), AtomicU64::new(0));
    let ask = |from: usize, step: usize| {
        let mut line = Line::open(&address);
        let begun = Instant::now();
        let pace = INTERVAL.as_secs_f64() / count as f64;
        for nth in (from..).step_by(step) {
            let wait = Duration::from_secs_f64(pace * nth as f64).saturating_sub(begun.elapsed());
            std::thread::sleep(wait);
            if stop.load(Ordering::Relaxed) > 0 {
                return;
            }
            let what = kind.target(nth % count, target.address.port());
            if line.success(&format!("/probe?module={}&target={what}", kind.word())) {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let run = std::thread::scope(|scope| {
        (0..8).for_each(|n| drop(scope.spawn(move || ask(n, 8))));
        let run = measure(NAME, &process, || done.load(Ordering::Relaxed));
        stop.store(1, Ordering::Relaxed);
        run
    });
    Ok(run)
}

/// A connection that stays open.
struct Line(BufReader<TcpStream>);

impl Line {
    fn open(address: &str) -> Line {
        Line(BufReader::new(TcpStream::connect(address).expect("the exporter answers")))
    }

    /// Whether the probe that this asks for was a success.
    fn success(&mut self, path: &str) -> bool {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: exporter\r\n\r\n");
        self.0.get_mut().write_all(ask.as_bytes()).expect("asked");
        let (mut length, mut chunked, mut text) = (0, false, String::new());
        loop {
            let line = self.line();
            let lower = line.to_ascii_lowercase();
            chunked |= lower.starts_with("transfer-encoding: chunked");
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        loop {
            let size =
                if chunked { usize::from_str_radix(self.line().trim(), 16).unwrap_or(0) } else { length };
            let mut part = vec![0; size];
            self.0.read_exact(&mut part).expect("the answer");
            text.push_str(&String::from_utf8_lossy(&part));
            if !chunked {
                break;
            }
            self.line();
            if size == 0 {
                break;
            }
        }
        text.lines().any(|l| l == "probe_success 1")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the answer");
        line
    }
}

fn monit(kind: Kind, dir: &Path, target: &Target, count: usize) -> Result<Run, String> {
    let home = dir.join("monit");
    fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let path = |name: &str| home.join(name).display().to_string();
    let mut text = format!(
        "set daemon {}\nset pidfile {}\nset idfile {}\nset statefile {}\nset limits {{ networkTimeout: 5 s }}\n",
        INTERVAL.as_secs(),
        path("pid"),
        path("id"),
        path("state")
    );
    let port = target.address.port();
    for n in 0..count {
        let how = match kind {
            Kind::Http => format!("protocol http request \"/{n}\""),
            Kind::Https => format!("protocol https request \"/{n}\""),
            Kind::Tcp | Kind::Icmp => "type tcp".to_owned(),
        };
        let _ = write!(
            text,
            "check host c{n} with address 127.0.0.1\n  if failed port {port} {how} then alert\n"
        );
    }
    let file = home.join("monitrc");
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, private).map_err(|e| e.to_string())?;
    let process = Process::start("monit", &["-I", "-c", &file.display().to_string()])?;
    let first = target.accepted();
    wait_for("monit's first probe", Duration::from_secs(60), || (target.accepted() > first).then_some(()));
    Ok(measure("monit", &process, || target.accepted()))
}

fn fping(count: usize) -> Result<Run, String> {
    let targets: Vec<String> = (0..count).map(address).collect();
    let period = INTERVAL.as_millis().to_string();
    let mut command = Command::new("fping");
    command.args(["-q", "-l", "-p", &period, "-i", "1"]).args(&targets);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|_| "fping is not installed: left out".to_owned())?;
    let mut process = Process(child);
    let begun = Instant::now();
    std::thread::sleep(INTERVAL * 3);
    let pid = process.0.id();
    let (cpu, rss) = (ticks(pid) as f64 / 100.0, field(pid, "status", "VmRSS"));
    let seconds = begun.elapsed().as_secs_f64();
    // Interrupted, it says what came back: `127.1.0.1 : xmt/rcv/%loss = 3/3/0%, ...`.
    drop(Command::new("kill").args(["-INT", &pid.to_string()]).status());
    let mut said = String::new();
    if let Some(mut stderr) = process.0.stderr.take() {
        drop(stderr.read_to_string(&mut said));
    }
    let received =
        said.lines().filter_map(|l| l.split_once("%loss = ")?.1.split('/').nth(1)?.parse::<u64>().ok());
    Ok(Run { name: "fping", seconds, done: received.sum(), late: 0, cpu, rss })
}
