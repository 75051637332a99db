//! Probes against real sockets on loopback.

mod dns;
mod http;
mod load;
mod plain;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::*;
use crate::base::clock::RealClock;
use crate::base::id::CheckId;
use crate::base::units::Span;
use crate::config::Target;
use crate::verdict::Outcome;

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// A check with an interval that no operator may give, so that tests are quick.
fn check(target: Target, timeout_ms: u64) -> Arc<Check> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    Arc::new(Check {
        id: CheckId::from_random(u128::from(n) << 100 | u128::from(n)),
        name: format!("c{n}").parse().unwrap(),
        target,
        interval: Span::from_millis(200),
        timeout: Span::from_millis(timeout_ms),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: true,
    })
}

fn http(url: &str, expect_status: u16, body: Option<&str>) -> Target {
    Target::Http { url: url.parse().unwrap(), expect_status, body_match: body.map(str::to_owned) }
}

fn tcp(to: &str) -> Target {
    Target::Tcp { to: to.parse().unwrap() }
}

fn icmp(host: &str) -> Target {
    Target::Icmp { host: host.parse().unwrap() }
}

/// Files that are gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn file(name: &str, text: &str) -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qu-probe-{}-{n}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn all(checks: &[Arc<Check>]) -> Checks {
    checks.iter().map(|c| (c.id, Arc::clone(c))).collect()
}

/// A prober and its reports.
struct Rig {
    prober: Prober,
    reports: Receiver<Report>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut ProbeConfig)) -> Rig {
        let mut config = ProbeConfig {
            resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
            hosts: PathBuf::from("/nonexistent/hosts"),
            ..ProbeConfig::system(|c| c.timeout.millis(), 1)
        };
        change(&mut config);
        let (sender, reports) = crossbeam_channel::bounded(1024);
        let prober = Prober::start(config, Arc::new(RealClock::new()), sender).unwrap();
        Rig { prober, reports }
    }

    fn plain() -> Rig {
        Rig::new(|_| {})
    }

    fn next(&self) -> Report {
        self.reports.recv_timeout(LIMIT).expect("a report within the limit")
    }

    /// The first report of each of these, in their order.
    fn first_reports(&self, checks: &[Arc<Check>]) -> Vec<Report> {
        self.prober.set_checks(all(checks));
        let mut first = BTreeMap::new();
        while first.len() < checks.len() {
            let report = self.next();
            first.entry(report.check).or_insert(report);
        }
        checks.iter().filter_map(|c| first.remove(&c.id)).collect()
    }

    fn details(&self, targets: Vec<Target>, timeout_ms: u64) -> Vec<String> {
        let checks: Vec<_> = targets.into_iter().map(|t| check(t, timeout_ms)).collect();
        self.first_reports(&checks).into_iter().map(|r| detail(&r)).collect()
    }

    fn detail(&self, target: Target, timeout_ms: u64) -> String {
        self.details(vec![target], timeout_ms).remove(0)
    }
}

/// `up`, or why not.
fn detail(report: &Report) -> String {
    match &report.outcome {
        Outcome::Ok => "up".to_owned(),
        Outcome::Failed { detail, .. } => detail.clone(),
    }
}

/// Waits for a state.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    for _ in 0..LIMIT.as_millis() / 5 {
        if holds() {
            return;
        }
        assert_eq!(never.recv_timeout(Duration::from_millis(5)), Err(RecvTimeoutError::Timeout));
    }
    panic!("waited in vain for {what}");
}

/// A server that gives each connection to a function, in a thread of its own.
struct Server {
    at: SocketAddr,
    accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(on: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(on).unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, serve) = (Arc::clone(&stop), Arc::clone(&accepted), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (Ok(stream), serve) = (stream, Arc::clone(&serve)) else { continue };
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                std::thread::spawn(move || serve(stream));
            }
        });
        Server { at, accepted, stop, thread: Some(thread) }
    }

    /// Answers each request by its path; `None` keeps silent until the client leaves.
    fn http(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
        Server::new("127.0.0.1:0", move |mut stream| {
            let Some(path) = requested(&mut stream) else { return };
            match answer(&path) {
                Some(bytes) => drop(stream.write_all(&bytes)),
                None => wait_for_end(&mut stream),
            }
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.at));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Reads one request's head; the path it asks for.
fn requested(stream: &mut impl std::io::Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()?.split(' ').nth(1).map(str::to_owned)
}

fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).is_ok_and(|n| n > 0) {}
}

/// A port on which nothing listens.
fn closed_port(ip: &str) -> SocketAddr {
    TcpListener::bind(format!("{ip}:0")).unwrap().local_addr().unwrap()
}
