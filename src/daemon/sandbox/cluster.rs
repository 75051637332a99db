//! The nodes: processes of this binary, set up by its own commands, as an operator would.
//!
//! Model: each node has a data directory, a socket and a log file in the sandbox's directory. A
//! child is ended by SIGTERM, and by SIGKILL when it takes longer than [`PATIENCE`]; when this
//! process dies without a word the kernel tells them. Nothing here retries: a step that fails
//! fails the sandbox, with the command's own words.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::ports;
use crate::base::id::RequestId;
use crate::control::{Ask, Reply, Request, client};
use crate::sys::{child, random, signal};
use crate::view::{Filter, View};

/// A child that was told to end has this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often something that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// Longest path that fits into a socket's address (unix(7)), its end included.
const SOCKET_PATH: usize = 107;

/// One node.
pub struct Member {
    /// From 1.
    pub number: usize,
    /// Where the others reach it.
    pub port: u16,
    /// Control socket.
    pub socket: PathBuf,
    /// What it writes to standard error.
    pub log: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// Whether its process has not ended, as far as anybody looked.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }
}

/// All of them; ended when dropped.
pub struct Cluster {
    exe: PathBuf,
    /// In the order of their numbers.
    pub members: Vec<Member>,
}

impl Cluster {
    /// Nodes with free ports, none of them running.
    ///
    /// # Errors
    /// One line.
    pub fn plan(exe: PathBuf, dir: &Path, count: u32) -> Result<Cluster, String> {
        let count = usize::try_from(count).unwrap_or(0);
        let ports: io::Result<Vec<u16>> = ports::listeners(count)
            .and_then(|all| all.iter().map(|l| l.local_addr().map(|a| a.port())).collect());
        let ports = ports.map_err(|e| format!("no free port on 127.0.0.1: {e}"))?;
        let member = |(at, port): (usize, u16)| {
            let number = at + 1;
            Member {
                number,
                port,
                socket: dir.join(format!("n{number}.sock")),
                log: dir.join(format!("n{number}.log")),
                dir: dir.join(format!("n{number}")),
                child: None,
            }
        };
        let members: Vec<Member> = ports.into_iter().enumerate().map(member).collect();
        if let Some(long) = members.iter().find(|m| m.socket.as_os_str().len() > SOCKET_PATH) {
            return Err(format!(
                "{} is too long for a socket ({SOCKET_PATH} bytes at most): give a shorter --dir",
                long.socket.display()
            ));
        }
        Ok(Cluster { exe, members })
    }

    /// What a person types before a command to reach this node.
    #[must_use]
    pub fn spell(&self, member: &Member) -> String {
        format!("QUPTIME_SOCKET={} {}", member.socket.display(), self.exe.display())
    }

    /// Makes every node and starts it; returns their fingerprints.
    ///
    /// # Errors
    /// One line: what failed and why.
    pub fn start(&mut self) -> Result<Vec<String>, String> {
        let mut secret: Option<String> = None;
        let mut fingerprints = Vec::new();
        for at in 0..self.members.len() {
            let Some(member) = self.members.get(at) else { break };
            let port = member.port.to_string();
            let address = format!("127.0.0.1:{port}");
            let mut words = vec!["init", "--advertise", &address, "--bind", "127.0.0.1", "--port", &port];
            // Where a key of the usual kind would take a second on a slow machine.
            words.extend(["--key-type", "ecdsa-p256"]);
            if secret.is_some() {
                words.extend(["--secret-file", "-"]);
            }
            let made = self.qu(member, &words, secret.as_deref())?;
            let line = |label: &str| {
                let found = made.lines().find_map(|l| l.strip_prefix(label));
                found
                    .map(|v| v.trim().to_owned())
                    .ok_or_else(|| format!("qu init did not say the {}", label.trim()))
            };
            if secret.is_none() {
                secret = Some(line("secret ")?);
            }
            fingerprints.push(line("fingerprint ")?);
            self.serve(at)?;
        }
        Ok(fingerprints)
    }

    fn serve(&mut self, at: usize) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        let failed = |e: io::Error| format!("start node {}: {e}", member.number);
        let log = File::create(&member.log).map_err(failed)?;
        let mut command = Command::new(&self.exe);
        clean(&mut command, member).arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        child::ends_with_us(&mut command);
        member.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Runs one command of this binary against a node.
    ///
    /// # Errors
    /// The command as typed, and what it said.
    pub fn qu(&self, member: &Member, words: &[&str], input: Option<&str>) -> Result<String, String> {
        let failed = |why: &str| format!("qu {}: {why}", words.join(" "));
        let mut command = Command::new(&self.exe);
        clean(&mut command, member).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(|e| failed(&e.to_string()))?;
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            // A command that refuses before it reads says why itself.
            drop(pipe.write_all(text.as_bytes()));
        }
        let ran = child.wait_with_output().map_err(|e| failed(&e.to_string()))?;
        if ran.status.success() {
            return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        Err(failed(said.trim().trim_start_matches("qu: ")))
    }

    /// Waits until a node's picture is as wanted.
    ///
    /// # Errors
    /// `late`, after `limit`; or that the node has died.
    pub fn wait(
        &mut self,
        at: usize,
        limit: Duration,
        late: &str,
        wanted: impl Fn(&View) -> bool,
    ) -> Result<Arc<View>, String> {
        let start = Instant::now();
        loop {
            if let Some(why) = self.dead().into_iter().next() {
                return Err(why);
            }
            let view = self.members.get(at).and_then(view);
            if let Some(view) = view.filter(|v| wanted(v)) {
                return Ok(view);
            }
            if start.elapsed() > limit {
                return Err(late.to_owned());
            }
            thread::sleep(GLANCE);
        }
    }

    /// The picture of the first node that answers.
    #[must_use]
    pub fn anybody(&self) -> Option<Arc<View>> {
        self.members.iter().filter(|m| m.child.is_some()).find_map(view)
    }

    /// What there is to say about nodes that ended since the last time.
    pub fn dead(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for member in &mut self.members {
            let Some(child) = &mut member.child else { continue };
            let ended = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(e) => e.to_string(),
            };
            member.child = None;
            let last = std::fs::read_to_string(&member.log).unwrap_or_default();
            let last = last.lines().next_back().unwrap_or("it wrote nothing").to_owned();
            said.push(format!("node {} ended by itself ({ended}): {last}", member.number));
        }
        said
    }

    /// Ends every node, waits for it, and reports those that had to be killed.
    pub fn end(&mut self) -> Vec<String> {
        let running: Vec<&mut Member> = self.members.iter_mut().filter(|m| m.child.is_some()).collect();
        for child in running.iter().filter_map(|m| m.child.as_ref()) {
            // One that has just ended by itself is not there to hear it.
            drop(signal::send(child.id(), false));
        }
        let start = Instant::now();
        let mut said = Vec::new();
        for member in running {
            let Some(mut child) = member.child.take() else { continue };
            while matches!(child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
                thread::sleep(GLANCE);
            }
            if matches!(child.try_wait(), Ok(None)) {
                said.push(format!("node {} did not end within 3s and was killed", member.number));
                drop(child.kill());
                drop(child.wait());
            }
        }
        said
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// A command that knows its node, whatever this process's own environment says of another.
fn clean<'a>(command: &'a mut Command, member: &Member) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUPTIME_") && name != "QUPTIME_LOG" {
            command.env_remove(name);
        }
    }
    // A node of the sandbox is no unit of systemd, though the sandbox may run in one.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "RUNTIME_DIRECTORY"] {
        command.env_remove(name);
    }
    command.env("QUPTIME_DIR", &member.dir).env("QUPTIME_SOCKET", &member.socket)
}

/// What a node shows; `None` when it does not answer.
fn view(member: &Member) -> Option<Arc<View>> {
    let ask = Ask::Status(Filter::default());
    let patience = ask.patience();
    let request = Request { id: RequestId::from_random(random::bits().ok()?), ask };
    match client::ask(&member.socket, &request, patience) {
        Ok(Reply::View(view)) => Some(view),
        _ => None,
    }
}
