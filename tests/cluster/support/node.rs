//! One node: a data directory, a socket, a log, and at times a process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::{free_port, until};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

pub struct Node {
    /// Which build of the program it runs.
    pub program: PathBuf,
    pub dir: PathBuf,
    pub socket: PathBuf,
    pub port: u16,
    pub id: String,
    pub fingerprint: String,
    log: PathBuf,
    child: Option<Child>,
    env: BTreeMap<String, String>,
}

impl Node {
    /// Made by `qu init`, not started.
    pub fn made(home: &Path, name: &str, secret: &str) -> Node {
        let mut node = Node::unmade(home, name);
        node.init(secret);
        node
    }

    /// Makes a node of the place.
    pub fn init(&mut self, secret: &str) {
        let (port, address) = (self.port.to_string(), self.address());
        let flags = ["--port", &port, "--key-type", "ecdsa-p256", "--secret-file", "-"];
        let words = [&["init", "--advertise", &address], flags.as_slice()].concat();
        let ran = self.run(&words, Some(secret));
        assert_eq!(ran.status, 0, "{ran:?}");
        self.is_called(&ran.out);
    }

    /// Takes note of who the node is, from what `qu init` printed.
    pub fn is_called(&mut self, said: &str) {
        let line = |label: &str| {
            let found = said.lines().find_map(|l| l.strip_prefix(label));
            found.expect("a line").trim().to_owned()
        };
        (self.id, self.fingerprint) = (line("node "), line("fingerprint "));
    }

    /// Nothing but a place.
    pub fn unmade(home: &Path, name: &str) -> Node {
        Node {
            program: env!("CARGO_BIN_EXE_qu").into(),
            dir: home.join(name),
            socket: home.join(format!("{name}.sock")),
            log: home.join(format!("{name}.log")),
            port: free_port(),
            id: String::new(),
            fingerprint: String::new(),
            child: None,
            env: BTreeMap::new(),
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From the next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// From the next start on.
    pub fn unset_env(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// Another port, from the next start on: what an operator writes into `node.yaml`.
    pub fn move_to(&mut self, port: u16) {
        let path = self.dir.join("node.yaml");
        let text = std::fs::read_to_string(&path).expect("a file");
        std::fs::write(path, text.replace(&self.port.to_string(), &port.to_string())).expect("written");
        self.port = port;
    }

    /// The program, in this node's environment and no other.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("QUPTIME_DIR", &self.dir).env("QUPTIME_SOCKET", &self.socket);
        command.envs(&self.env);
        command
    }

    /// Starts the daemon; it need not answer yet.
    pub fn start(&mut self) {
        self.start_by(self.command(), &[]);
    }

    /// Likewise, with further flags.
    #[allow(dead_code)] // not by every target that shares this file
    pub fn start_with(&mut self, flags: &[&str]) {
        self.start_by(self.command(), flags);
    }

    /// Starts the daemon from a shell that has done this before: `ulimit -n 100`.
    #[allow(dead_code)] // not by every target that shares this file
    pub fn start_after(&mut self, shell: &str) {
        let mut command = Command::new("/bin/sh");
        command.env_clear().env("QUPTIME_DIR", &self.dir).env("QUPTIME_SOCKET", &self.socket);
        command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_qu")]);
        self.start_by(command, &[]);
    }

    fn start_by(&mut self, mut command: Command, flags: &[&str]) {
        assert!(self.child.is_none(), "started twice");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        command
            .env("QUPTIME_LOG", "debug")
            .arg("serve")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        quptime::sys::child::ends_with_us(&mut command);
        self.child = Some(command.spawn().expect("qu starts"));
    }

    /// Starts a daemon that is expected to refuse, and returns what it said.
    pub fn refuses(&self) -> Ran {
        let path = self.dir.with_extension("refusal");
        let mut command = self.command();
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&path).expect("a file"));
        quptime::sys::child::ends_with_us(&mut command);
        let mut child = command.spawn().expect("qu starts");
        let ended = |child: &mut Child| child.try_wait().expect("a child");
        let status = until("the daemon refuses to start", || ended(&mut child));
        let err = std::fs::read_to_string(&path).expect("text");
        Ran { status: status.code().unwrap_or(-1), out: String::new(), err }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Waits until the daemon answers; false when it ended instead.
    #[allow(dead_code)] // not by every target that shares this file
    pub fn answers(&mut self) -> bool {
        until("the daemon answers, or ends", || {
            let child = self.child.as_mut().expect("it was started");
            if child.try_wait().expect("a child").is_some() {
                self.child = None;
                return Some(false);
            }
            self.view().map(|_| true)
        })
    }

    /// Death without a word.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        let status = child.wait().expect("waited for");
        assert_eq!(status.signal(), Some(9), "it had ended by itself: {}", self.last_words());
    }

    /// Tells it to end, without waiting for that.
    pub fn tell_to_end(&self) {
        quptime::sys::signal::send(self.pid(), false).expect("it is there");
    }

    /// Waits for the end that it was told.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        until("it ends", || child.try_wait().expect("a child"))
    }

    /// Ends it in order.
    pub fn end(&mut self) {
        self.tell_to_end();
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.last_words());
    }

    /// One command against this node.
    pub fn qu(&self, words: &[&str]) -> Ran {
        self.run(words, None)
    }

    pub fn run(&self, words: &[&str], input: Option<&str>) -> Ran {
        let mut command = self.command();
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().expect("qu starts");
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            // A command that refuses before it reads is fine.
            drop(pipe.write_all(text.as_bytes()));
        }
        let output = child.wait_with_output().expect("qu ends");
        Ran {
            status: output.status.code().expect("qu ends by itself"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// One command, again while it ends with 3: nothing changed, worth trying again. A machine that
    /// stands still for a second has no quorum for a moment.
    #[track_caller]
    pub fn settled(&self, words: &[&str]) -> Ran {
        until(&format!("qu {} is not put off", words.join(" ")), || {
            let ran = self.qu(words);
            (ran.status != 3).then_some(ran)
        })
    }

    /// One command that must do what it says.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.settled(words);
        assert_eq!(ran.status, 0, "qu {}: {ran:?}", words.join(" "));
        ran.out
    }

    /// One command that must be refused, and what it says.
    #[track_caller]
    pub fn refused(&self, words: &[&str], status: i32) -> String {
        let ran = if status == 3 { self.qu(words) } else { self.settled(words) };
        assert_eq!(ran.status, status, "qu {}: {ran:?}", words.join(" "));
        ran.err
    }

    /// The picture, with or without a quorum; `None` when nobody answers.
    pub fn view(&self) -> Option<Value> {
        serde_json::from_str(&self.qu(&["status", "--json"]).out).ok()
    }

    /// Who is master, in this node's eyes.
    pub fn master(&self) -> Option<String> {
        self.view()?["master"].as_str().map(str::to_owned)
    }

    /// Waits until the picture is as wanted.
    #[track_caller]
    pub fn sees(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.view().filter(|v| wanted(v)))
    }

    /// A check as this node sees it.
    pub fn check(&self, name: &str) -> Option<Value> {
        let view = self.view()?;
        view["checks"].as_array()?.iter().find(|c| c["name"] == name).cloned()
    }

    /// Waits for the verdict of a check.
    #[track_caller]
    pub fn verdict(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), || self.check(name).filter(|c| c["state"] == state))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        self.log().lines().next_back().unwrap_or_default().to_owned()
    }

    pub fn cluster_yaml(&self) -> PathBuf {
        self.dir.join("cluster.yaml")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
