//! One host of a story: a directory that stands for its file system, a node of `support`, and the
//! commands that a shell on it finds first.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::support::{Node, Ran, terminal, within};

/// Absolute paths that blocks may name: they are below the host's own directory in truth.
const ROOTED: &[&str] = &["/etc/quptime", "/run/quptime", "/var/", "/srv/", "/tmp/", "/mnt/", "/home/"];

/// Commands that are not what they are elsewhere. `$BUS` is where the test is asked for something
/// that only it can do: it has the daemons.
const SHIMS: &[(&str, &str)] = &[
    // Start, stop, restart, is-active.
    ("systemctl", "exec ask systemctl \"$@\""),
    // `qu serve` in the foreground: with its flags, and back as soon as it answers.
    ("qu", "if [ \"${1-}\" = serve ]; then exec ask serve \"$@\"; fi\nexec \"$QU\" \"$@\""),
    (
        "ask",
        "printf '%s\\n' \"$@\" >\"$BUS/asked.new\"\nmv \"$BUS/asked.new\" \"$BUS/asked\"\n\
         while [ ! -e \"$BUS/answer\" ]; do sleep 0.05; done\n\
         read -r status <\"$BUS/answer\"\nrm \"$BUS/answer\"\nexit \"$status\"",
    ),
    // Everybody is root here.
    ("sudo", "while :; do case ${1-} in\n-u) shift 2;; -*) shift;; *) break;; esac; done\nexec \"$@\""),
    (
        "sudoedit",
        "cp \"$1\" \"$1.edited\"\n${VISUAL:-${EDITOR:-vi}} \"$1.edited\"\n\
         cmp -s \"$1\" \"$1.edited\" || cat \"$1.edited\" >\"$1\"\nrm \"$1.edited\"",
    ),
    // What the story told it to do to the file.
    ("vi", "exec sh -eu \"$ROOT/edit.sh\" \"$1\""),
    ("chown", ":"),
    ("journalctl", "cat \"$ROOT\"/*.log"),
    // Pages whoever has to get up.
    ("page-me", "echo >>\"$ROOT/paged\""),
    // Another host, in its own environment; paths in the command are those of that host.
    (
        "ssh",
        "there=${1#*@}\nshift\n. \"$HOSTS/${there%%.*}/environment\"\nthat=$ROOT\n\
         text=$(printf '%s ' \"$@\" | sed \"s|$HERE/|$that/|g\")\nHERE=$that\nexport HERE\nexec sh -eu -c \"$text\"",
    ),
    // Copies from or to another host.
    (
        "scp",
        "for word; do\n  case $word in\n  -*) ;;\n  *:*) there=${word%%:*}; there=${there#*@}\n\
         \x20   word=$(printf %s \"${word#*:}\" | sed \"s|$HERE/|$HOSTS/${there%%.*}/|\");;\n  esac\n\
         \x20 case $word in -*) ;; *) set -- \"$@\" \"$word\";; esac\n  shift\ndone\nexec cp -r \"$@\"",
    ),
];

/// A host. Its name is the first part of its DNS name: `alpha`.
pub struct Host {
    pub name: String,
    pub root: PathBuf,
    pub node: Node,
}

/// What a block is given besides its text.
#[derive(Default)]
pub struct Given {
    /// Standard input.
    pub input: Option<String>,
    /// Lines typed at a terminal, which is standard input then.
    pub typed: Vec<String>,
}

impl Host {
    /// Nothing on it but the package: no node yet.
    pub fn new(home: &Path, name: &str) -> Host {
        let root = home.join(name);
        for dir in ["bin", "bus", "etc", "run/quptime", "var/backups", "srv", "tmp", "home"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        let whoever = "[user]\n\tname = Operator\n\temail = operator@example.com\n";
        fs::write(root.join("home/.gitconfig"), whoever).expect("written");
        let mut node = Node::unmade(&root, name);
        node.dir = root.join("etc/quptime");
        node.socket = root.join("run/quptime/quptime.sock");
        for (command, text) in SHIMS {
            let path = root.join("bin").join(command);
            fs::write(&path, format!("#!/bin/sh -eu\n{text}\n")).expect("a command");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        if !std::process::Command::new("git").arg("--version").output().is_ok_and(|o| o.status.success()) {
            eprintln!("there is no git here: the blocks of git(1) do nothing");
            symlink("/bin/true", root.join("bin/git")).expect("a link");
        }
        symlink(env!("CARGO_BIN_EXE_qu"), root.join("bin/qu.real")).expect("a link");
        let host = Host { name: name.to_owned(), root, node };
        let lines = host.environment(home).into_iter().map(|(k, v)| format!("export {k}=\"{v}\"\n"));
        fs::write(host.root.join("environment"), lines.collect::<String>()).expect("written");
        host
    }

    fn environment(&self, home: &Path) -> Vec<(&'static str, String)> {
        let path = |p: &Path| p.to_str().expect("text").to_owned();
        let system = std::env::var("PATH").unwrap_or_default();
        vec![
            ("PATH", format!("{}:{system}", path(&self.root.join("bin")))),
            ("HOSTS", path(home)),
            ("ROOT", path(&self.root)),
            ("BUS", path(&self.root.join("bus"))),
            ("QU", path(&self.root.join("bin/qu.real"))),
            ("HOME", path(&self.root.join("home"))),
            ("TMPDIR", path(&self.root.join("tmp"))),
            ("QUPTIME_DIR", path(&self.node.dir)),
            ("QUPTIME_SOCKET", path(&self.node.socket)),
            ("QUPTIME_BIND_PORT", self.node.port.to_string()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ]
    }

    /// The text of a block with the paths of this host in it.
    pub fn paths(&self, text: &str) -> String {
        let root = self.root.to_str().expect("text");
        let (mut done, mut before) = (String::new(), ' ');
        for (at, c) in text.char_indices() {
            let begins = !before.is_alphanumeric() && !"._-/".contains(before);
            if begins && ROOTED.iter().any(|path| text[at..].starts_with(path)) {
                done.push_str(root);
            }
            done.push(c);
            before = c;
        }
        done
    }

    /// Starts to run a block; the caller waits for it, and serves what it asks for.
    pub fn shell(&self, home: &Path, text: &str, given: &Given) -> Shell {
        let script = self.root.join("block.sh");
        fs::write(&script, text).expect("a script");
        let mut command = Command::new("/bin/sh");
        command.args(["-eu"]).arg(&script).env_clear().current_dir(self.root.join("home"));
        command.envs(self.environment(home)).env("HERE", &self.root);
        let [out, err] = ["out", "err"].map(|s| self.root.join(s));
        command.stdout(fs::File::create(&out).expect("a file"));
        command.stderr(fs::File::create(&err).expect("a file"));
        let mut keyboard = None;
        if let Some(input) = &given.input {
            let path = self.root.join("in");
            fs::write(&path, input).expect("a file");
            command.stdin(fs::File::open(&path).expect("a file"));
        } else if given.typed.is_empty() {
            command.stdin(Stdio::null());
        } else {
            let (mut typist, terminal) = terminal::open();
            given.typed.iter().for_each(|line| typist.line(line));
            command.stdin(terminal);
            keyboard = Some(typist);
        }
        quptime::sys::child::ends_with_us(&mut command);
        Shell { child: command.spawn().expect("a shell"), out, err, _keyboard: keyboard }
    }

    /// Does what a shim asked for, if one did.
    pub fn serve_bus(&mut self) {
        let asked = self.root.join("bus/asked");
        let Ok(text) = fs::read_to_string(&asked) else { return };
        fs::remove_file(&asked).expect("it was there");
        let words: Vec<&str> = text.lines().collect();
        let status = match words.as_slice() {
            ["serve", "serve", flags @ ..] => self.start(flags),
            ["systemctl", verb, ..] => self.systemctl(verb),
            _ => 2,
        };
        let answer = self.root.join("bus/answer");
        fs::write(answer.with_extension("new"), format!("{status}\n")).expect("written");
        fs::rename(answer.with_extension("new"), answer).expect("renamed");
    }

    fn systemctl(&mut self, verb: &str) -> i32 {
        let runs = self.node.runs();
        match verb {
            "start" if runs => 0,
            "start" => self.start(&[]),
            "stop" if !runs => 0,
            "stop" => {
                self.node.end();
                0
            }
            "restart" => {
                if runs {
                    self.node.end();
                }
                self.start(&[])
            }
            "is-active" | "status" => i32::from(!runs) * 3,
            _ => 2,
        }
    }

    fn start(&mut self, flags: &[&str]) -> i32 {
        self.node.start_with(flags);
        i32::from(!self.node.answers())
    }
}

/// A block that runs.
pub struct Shell {
    child: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    _keyboard: Option<terminal::Keyboard>,
}

impl Shell {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ran> {
        let status = self.child.try_wait().expect("a child")?;
        let text = |path: &Path| fs::read_to_string(path).expect("text");
        Some(Ran { status: status.code().unwrap_or(-1), out: text(&self.out), err: text(&self.err) })
    }
}

/// Runs one to its end, with all hosts at its service.
pub fn wait(mut shell: Shell, hosts: &mut [Host]) -> Ran {
    within(Duration::from_secs(60), "the block ends", || {
        hosts.iter_mut().for_each(Host::serve_bus);
        shell.ended()
    })
}
