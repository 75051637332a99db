//! Pings under each right that a daemon may have, in a namespace whose `ping_group_range` is the
//! test's to set: raw sockets for root where the datagram kind is closed, the datagram kind for a
//! user without any right, and a refusal that names both remedies where neither is allowed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quptime::base::id::RequestId;
use quptime::config::Target;
use quptime::control::client;
use quptime::control::message::{Ask, Reply, Request};
use quptime::view::{CheckView, Filter, View};

use crate::net::Net;
use crate::node::wait_for;

const LIMIT: Duration = Duration::from_secs(20);
const CLOSED: &str = "1 0";
const OPEN: &str = "0 2147483647";
/// Debian's nobody; any number without rights does.
const NOBODY: u32 = 65_534;

/// A daemon that ends with the test.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Daemon {
    fn ask(&self, ask: Ask, id: u128) -> Option<Reply> {
        let request = Request { id: RequestId::from_random(id), ask };
        client::ask(&self.socket, &request, Duration::from_secs(5)).ok()
    }

    fn view(&self) -> Option<View> {
        match self.ask(Ask::Status(Filter::default()), 0)? {
            Reply::View(view) => Some((*view).clone()),
            _ => None,
        }
    }

    /// The check once it has a report.
    fn reported(&self, name: &str) -> Option<CheckView> {
        let view = self.view()?;
        view.checks.iter().find(|c| c.name == name && c.total > 0).map(|c| (**c).clone())
    }
}

/// `qu` in the namespace, as root or as nobody without any capability.
fn qu(net: &Net, dir: &Path, as_nobody: bool) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.namespace(0)]);
    if as_nobody {
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        command.arg("setpriv").args(user).args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    }
    command
        .arg(dir.join("qu"))
        .env("QUPTIME_DIR", dir.join("node"))
        .env("QUPTIME_SOCKET", dir.join("node/sock"));
    command.stdin(Stdio::null());
    command
}

fn start(net: &Net, dir: &Path, range: &str, as_nobody: bool) -> Daemon {
    let set = format!("net.ipv4.ping_group_range={range}");
    let ran = Command::new("ip").args(["netns", "exec", &net.namespace(0), "sysctl", "-qw", &set]).status();
    assert!(ran.is_ok_and(|s| s.success()), "sysctl {set}");
    // Where anybody may run it: the build tree may be somebody's own.
    fs::create_dir_all(dir.join("node")).expect("a directory");
    fs::copy(env!("CARGO_BIN_EXE_qu"), dir.join("qu")).expect("a copy of the program");
    if as_nobody {
        std::os::unix::fs::chown(dir.join("node"), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    let init = ["init", "--advertise", "127.0.0.1:9901", "--key-type", "ecdsa-p256"];
    let made = qu(net, dir, as_nobody).args(init).output().expect("qu init starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let log = fs::File::create(dir.join("log")).expect("a log file");
    let child = qu(net, dir, as_nobody).arg("serve").stdout(Stdio::null()).stderr(log).spawn();
    let daemon = Daemon { child: child.expect("qu serve starts"), socket: dir.join("node/sock") };
    let ready = wait_for("the node to be its own master", LIMIT, || daemon.view()?.master);
    ready.unwrap_or_else(|e| panic!("{e}: {}", fs::read_to_string(dir.join("log")).unwrap_or_default()));
    for (n, (name, host)) in (1..).zip([("four", "127.0.0.1"), ("six", "::1")]) {
        let add = Ask::AddCheck {
            name: name.parse().expect("a name"),
            target: Target::Icmp { host: host.parse().expect("a host") },
            interval: Some("1s".parse().expect("a duration")),
            timeout: None,
            alerts: Vec::new(),
            suppress: Vec::new(),
        };
        let reply = daemon.ask(add, n);
        assert!(matches!(reply, Some(Reply::Done(_))), "{reply:?}");
    }
    daemon
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("qu-pings-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("a directory");
    // Others must get through to the copy of the program.
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    dir
}

fn answers(name: &str, range: &str, as_nobody: bool) {
    let (net, dir) = (Net::new(1), scratch(name));
    let daemon = start(&net, &dir, range, as_nobody);
    for check in ["four", "six"] {
        let seen = wait_for("an echo reply", LIMIT, || daemon.reported(check).filter(|c| c.ok == 1));
        seen.unwrap_or_else(|e| panic!("{check}: {e}: {:?}", daemon.reported(check)));
    }
    drop(daemon);
    fs::remove_dir_all(&dir).expect("the directory can be removed");
}

pub fn raw() {
    answers("raw", CLOSED, false);
}

pub fn unprivileged() {
    answers("unprivileged", OPEN, true);
}

pub fn neither() {
    let (net, dir) = (Net::new(1), scratch("neither"));
    let daemon = start(&net, &dir, CLOSED, true);
    for check in ["four", "six"] {
        let seen = wait_for("a report", LIMIT, || daemon.reported(check)).unwrap_or_else(|e| panic!("{e}"));
        let detail = seen.detail.unwrap_or_default();
        for remedy in ["ping_group_range", "CAP_NET_RAW"] {
            assert!(detail.contains(remedy), "{check}: {remedy} in {detail:?}");
        }
    }
    drop(daemon);
    fs::remove_dir_all(&dir).expect("the directory can be removed");
}
