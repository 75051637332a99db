//! `qu sandbox`: a whole cluster on this machine, with something to watch and somewhere to alert.
//!
//! Model: the nodes are real processes of this binary in one directory, the targets and the sinks
//! are threads of this one. Everything is set up by the product's own commands, so what a person
//! sees here is what three hosts would do. The main thread prints, watches the children, breaks
//! the targets when asked to, and ends all of it in order when it is told to, when nobody reads
//! any more, or when a step of the set-up fails.
//!
//! It listens on loopback only, and leaves nothing behind but a directory that was asked for.

mod cluster;
mod ports;
mod target;
mod told;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use self::cluster::Cluster;
use self::target::{Kind, Target};
use crate::base::clock::{Clock, RealClock};
use crate::base::text;
use crate::base::units::Span;
use crate::deliver::sink::{SmtpOptions, SmtpSink, WebhookSink};
use crate::log;
use crate::sys::signal::{self, Signal};
use crate::verdict::Verdict;
use crate::view::View;

/// What arrived and waits to be printed; full: the sink's client waits.
const ARRIVALS: usize = 64;
/// How often the nodes are looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// One step of the set-up takes no longer than this.
const STEP: Duration = Duration::from_secs(15);
/// The first verdicts come within this.
const VERDICTS: Duration = Duration::from_secs(30);
const INTERVAL: &str = "1s";

/// How a sandbox is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// This binary.
    pub exe: PathBuf,
    /// Where the nodes' directories go: empty or not there yet. `None`: a fresh one under the
    /// temporary directory, removed at the end.
    pub dir: Option<PathBuf>,
    /// How many nodes, 1 to 7.
    pub nodes: u32,
    /// The targets are stopped so long after everything is up, and started after as long again.
    pub break_after: Option<Span>,
}

/// Runs a sandbox until it is told to stop. Signals must be blocked already, and the thread that
/// calls must be the process's first one: the nodes end when it does.
///
/// # Errors
/// Why it could not be set up: one line.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<(), String> {
    let signals = signals()?;
    let dir = Directory::make(options.dir.as_deref())?;
    let (tell, arrivals) = bounded(ARRIVALS);
    let mut stage = Stage {
        cluster: Cluster::plan(options.exe.clone(), &dir.path, options.nodes)?,
        web: Target::start(Kind::Http).map_err(|e| format!("start the HTTP target: {e}"))?,
        port: Target::start(Kind::Tcp).map_err(|e| format!("start the TCP target: {e}"))?,
        mail: mail_sink(tell.clone())?,
        chat: chat_sink(tell)?,
        out,
        unread: false,
    };
    let ran = stage.set_up(&dir.path, &signals).and_then(|set_up| match set_up {
        Go::On => stage.watch(options.break_after, &signals, &arrivals),
        Go::End => Ok(()),
    });
    stage.say("ending the nodes");
    for late in stage.cluster.end() {
        stage.say(&late);
    }
    drop(stage);
    dir.remove().and(ran)
}

/// The directory of the nodes.
struct Directory {
    path: PathBuf,
    ours: bool,
}

impl Directory {
    fn make(asked: Option<&Path>) -> Result<Directory, String> {
        let ours = asked.is_none();
        let path = match asked {
            Some(path) => std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?,
            None => std::env::temp_dir().join(format!("qu-sandbox-{}", std::process::id())),
        };
        crate::base::file::directory(&path, 0o700).map_err(|e| text::chain(&e))?;
        let mut inside = std::fs::read_dir(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
        if inside.next().is_some() {
            return Err(format!(
                "{} is not empty: a sandbox starts in a fresh directory; remove it or choose another with --dir",
                path.display()
            ));
        }
        Ok(Directory { path, ours })
    }

    fn remove(&self) -> Result<(), String> {
        if !self.ours {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.path).map_err(|e| format!("remove {}: {e}", self.path.display()))
    }
}

fn mail_sink(tell: Sender<String>) -> Result<SmtpSink, String> {
    // Gone when the sandbox ends: then nobody reads.
    let on_arrival = Box::new(move |mail: &_| drop(tell.send(told::mail(mail))));
    SmtpSink::start(SmtpOptions { on_arrival: Some(on_arrival), ..SmtpOptions::default() })
        .map_err(|e| format!("start the mail sink: {e}"))
}

fn chat_sink(tell: Sender<String>) -> Result<WebhookSink, String> {
    let bind = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    let on_arrival = Box::new(move |post: &_| drop(tell.send(told::post(post))));
    WebhookSink::start_on(bind, None, Some(on_arrival)).map_err(|e| format!("start the webhook sink: {e}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    End,
}

/// Everything that runs.
struct Stage<'a> {
    cluster: Cluster,
    web: Target,
    port: Target,
    mail: SmtpSink,
    chat: WebhookSink,
    out: &'a mut dyn Write,
    unread: bool,
}

impl Stage<'_> {
    /// A line with its time.
    fn say(&mut self, line: &str) {
        let now = text::rfc3339(RealClock::new().wall());
        let clock = now.get(11..19).unwrap_or(&now).to_owned();
        self.print(&format!("{clock} {}\n", text::harmless(line)));
    }

    /// When nobody reads any more the sandbox ends at the next turn.
    fn print(&mut self, block: &str) {
        let written = self.out.write_all(block.as_bytes()).and_then(|()| self.out.flush());
        self.unread |= written.is_err();
    }

    fn set_up(&mut self, dir: &Path, signals: &Receiver<Signal>) -> Result<Go, String> {
        let done = self.steps(dir, signals);
        // Ctrl-C reaches a command of the set-up too, which then fails.
        if self.unread || !signals.is_empty() { Ok(Go::End) } else { done.map(|()| Go::On) }
    }

    fn steps(&mut self, dir: &Path, signals: &Receiver<Signal>) -> Result<(), String> {
        let count = self.cluster.members.len();
        self.say(&format!("starting {count} nodes in {}", dir.display()));
        let fingerprints = self.cluster.start()?;
        for at in 0..count {
            let late = format!("node {} does not answer", at + 1);
            self.cluster.wait(at, STEP, &late, |v| v.master.is_some())?;
        }
        let (web, port) = (format!("http://{}/", self.web.addr()), self.port.addr().to_string());
        let (relay, hook) =
            (self.mail.addr().port().to_string(), format!("http://{}/hook", self.chat.addr()));
        let addresses: Vec<String> =
            self.cluster.members.iter().map(|m| format!("127.0.0.1:{}", m.port)).collect();
        let mut steps: Vec<Vec<&str>> = Vec::new();
        for (address, fingerprint) in addresses.iter().zip(&fingerprints).skip(1) {
            steps.push(vec!["node", "add", address, "--fingerprint", fingerprint]);
        }
        let mut mail = vec!["alert", "add", "smtp", "mail", "--host", "127.0.0.1", "--port", &relay];
        mail.extend(["--starttls=false", "--from", "qu@sandbox.invalid", "--to", "ops@sandbox.invalid"]);
        mail.push("--default");
        steps.push(mail);
        steps.push(vec!["alert", "add", "discord", "chat", "--webhook-file", "-", "--default"]);
        let every = ["--interval", INTERVAL];
        for target in [["http", "web", &web], ["tcp", "port", &port], ["icmp", "ping", "127.0.0.1"]] {
            steps.push([&["check", "add"], &target[..], &every].concat());
        }
        for step in &steps {
            if self.unread || !signals.is_empty() {
                return Ok(());
            }
            let input = step.contains(&"--webhook-file").then_some(hook.as_str());
            self.command(step, input)?;
        }
        self.await_up(signals)
    }

    /// One command on the first node, shown as typed with what it answered last.
    fn command(&mut self, words: &[&str], input: Option<&str>) -> Result<(), String> {
        let Some(first) = self.cluster.members.first() else { return Ok(()) };
        let said = self.cluster.qu(first, words, input)?;
        let last = said.lines().next_back().unwrap_or_default().to_owned();
        self.say(&format!("qu {}", words.join(" ")));
        self.say(&format!("   {last}"));
        Ok(())
    }

    fn await_up(&mut self, signals: &Receiver<Signal>) -> Result<(), String> {
        self.say("waiting for the first verdicts");
        let known = |v: &View| {
            let members = v.peers.iter().all(|p| p.live && p.voter);
            members && v.checks.iter().all(|c| c.state != Verdict::Unknown) || !signals.is_empty()
        };
        let late =
            "no verdicts within 30s; the nodes' logs in the sandbox's directory say more (--dir keeps it)";
        self.cluster.wait(0, VERDICTS, late, known)?;
        let Some(first) = self.cluster.members.first() else { return Ok(()) };
        let status = self.cluster.qu(first, &["status"], None)?;
        let mut text = format!("\n{status}\nTalk to the nodes, each through its own socket:\n\n");
        for member in &self.cluster.members {
            text.push_str(&format!("  {} status\n", self.cluster.spell(member)));
        }
        text.push_str("\nTheir logs:\n\n");
        for member in &self.cluster.members {
            text.push_str(&format!("  {}\n", member.log.display()));
        }
        text.push_str("\nMails and posts are shown as they arrive. Ctrl-C ends everything.\n\n");
        self.print(&text);
        Ok(())
    }

    /// Until a signal comes, nobody reads, or no node is left.
    fn watch(
        &mut self,
        break_after: Option<Span>,
        signals: &Receiver<Signal>,
        arrivals: &Receiver<String>,
    ) -> Result<(), String> {
        let mut plan = Break::new(break_after);
        let mut verdicts = Verdicts::default();
        if let Some(after) = break_after {
            self.say(&format!("the HTTP and the TCP target stop in {after}"));
        }
        while !self.unread {
            select! {
                recv(signals) -> _ => return Ok(()),
                recv(arrivals) -> block => if let Ok(block) = block { self.print(&block) },
                default(GLANCE) => {
                    self.glance(&mut verdicts)?;
                    self.turn(&mut plan, &verdicts)?;
                }
            }
        }
        Ok(())
    }

    fn glance(&mut self, verdicts: &mut Verdicts) -> Result<(), String> {
        let dead = self.cluster.dead();
        for line in &dead {
            self.say(line);
        }
        let Some(view) = self.cluster.anybody() else {
            return if self.cluster.members.iter().any(cluster::Member::runs) {
                Ok(())
            } else {
                Err("no node is left".to_owned())
            };
        };
        for line in verdicts.news(&view) {
            self.say(&line);
        }
        Ok(())
    }

    fn turn(&mut self, plan: &mut Break, verdicts: &Verdicts) -> Result<(), String> {
        match plan.due(verdicts.are_down(&["web", "port"])) {
            None => {}
            Some(Turn::Stop) => {
                self.web.stop();
                self.port.stop();
                self.say("the HTTP and the TCP target are stopped");
            }
            Some(Turn::Start) => {
                self.web.again().map_err(|e| format!("start the HTTP target again: {e}"))?;
                self.port.again().map_err(|e| format!("start the TCP target again: {e}"))?;
                self.say("the targets run again, and will not be stopped once more; Ctrl-C ends everything");
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Turn {
    Stop,
    Start,
}

/// When the targets stop and start.
struct Break {
    due: Vec<(Instant, Turn)>,
}

impl Break {
    fn new(after: Option<Span>) -> Break {
        let now = Instant::now();
        let at = |times: u32, after: Span| now.checked_add(after.duration().saturating_mul(times));
        let both = after.and_then(|a| Some(vec![(at(2, a)?, Turn::Start), (at(1, a)?, Turn::Stop)]));
        Break { due: both.unwrap_or_default() }
    }

    /// The targets start again when they were seen down: on a slow machine that takes its time.
    fn due(&mut self, down: bool) -> Option<Turn> {
        let (at, turn) = self.due.last().copied()?;
        let patience = if matches!(turn, Turn::Start) && !down { VERDICTS } else { Duration::ZERO };
        (Instant::now() >= at.checked_add(patience)?).then(|| self.due.pop())?;
        Some(turn)
    }
}

/// What was said of master and checks last.
#[derive(Default)]
struct Verdicts {
    master: Option<String>,
    checks: std::collections::BTreeMap<String, Verdict>,
}

impl Verdicts {
    fn are_down(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.checks.get(*name) == Some(&Verdict::Down))
    }

    /// What differs from the last picture; of the first picture, nothing.
    fn news(&mut self, view: &View) -> Vec<String> {
        let mut news = Vec::new();
        let master = view.master.map(|id| {
            let peer = view.peers.iter().find(|p| p.node_id == id);
            peer.map_or_else(|| id.to_string(), |p| p.advertise.to_string())
        });
        let first = self.checks.is_empty();
        if !first && master != self.master {
            news.push(format!("master: {}", master.as_deref().unwrap_or("none")));
        }
        self.master = master;
        for check in view.checks.iter() {
            let was = self.checks.insert(check.name.clone(), check.state);
            if !first && was != Some(check.state) {
                let detail = check.detail.as_ref().map_or(String::new(), |d| format!(": {d}"));
                news.push(format!(
                    "check {} is {} ({}/{}){detail}",
                    check.name, check.state, check.ok, check.total
                ));
            }
        }
        news
    }
}

/// Signals as they come; one place, since a second one says nothing new.
fn signals() -> Result<Receiver<Signal>, String> {
    let (tell, heard) = bounded(1);
    let body = move || {
        loop {
            match signal::wait() {
                Ok(signal) => drop(tell.try_send(signal)),
                Err(e) => return log!(Error, "sandbox", "cannot wait for signals", why = e),
            }
        }
    };
    let thread = std::thread::Builder::new().name("signal".to_owned());
    thread.spawn(body).map_err(|e| format!("start a thread: {e}"))?;
    Ok(heard)
}
