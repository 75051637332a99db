//! Too few descriptors, too few threads: probes wait and say so, peers and callers do not notice.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::process::{Child, Command};

use super::client::connect_from;
use super::siege::{LIMIT, Siege, calm, descriptors, place, whole};
use super::support::{Cluster, Node, SECRET, within};

/// Descriptors that the node may have.
const FEW: usize = 100;
/// Checks whose probes each hold one for as long as they last.
const CHECKS: usize = 70;

fn notes(node: &Node) -> String {
    node.view().map(|v| v["notes"].to_string()).unwrap_or_default()
}

/// Writes so many checks of a target into the configuration, by one hand edit.
fn watch(node: &Node, target: &str, count: usize) {
    let path = node.cluster_yaml();
    let text = std::fs::read_to_string(&path).expect("a file");
    let one = |n| {
        format!(
            "  - name: slow{n}\n    type: http\n    target: {target}\n    interval: 5s\n    timeout: 5s\n    expect_status: 200\n"
        )
    };
    let checks: String = (0..count).map(one).collect();
    let edited = text.replace("checks: []\n", &format!("checks:\n{checks}"));
    assert_ne!(edited, text, "no list of checks in {text}");
    std::fs::write(&path, edited).expect("written");
    node.sees("the edit is committed", |v| v["checks"].as_array().map(Vec::len) == Some(count));
}

#[test]
fn out_of_descriptors_probes_wait_and_say_so_and_peers_and_callers_do_not_notice() {
    let mut cluster = calm("few", 3);
    let master = place(&cluster, &whole(&cluster));
    let at = (0..3).find(|at| *at != master).expect("a follower");
    let third = (0..3).find(|n| *n != master && *n != at).expect("another");
    cluster.nodes[at].end();
    cluster.nodes[at].start_after(&format!("ulimit -n {FEW}"));
    whole(&cluster);
    let siege = Siege::lay(&cluster);
    let node = &cluster.nodes[at];
    // Connections are taken by the kernel, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("http://{}/", silent.local_addr().expect("an address"));
    watch(node, &target, CHECKS);
    within(LIMIT, "it says that probes wait", || {
        (notes(node).contains("file descriptors") && node.log().contains("probes wait for file descriptors"))
            .then_some(())
    });
    // As if that were not enough.
    let held: Vec<TcpStream> = (0..200).filter_map(|n| connect_from(1000 + n, node).ok()).collect();
    eprintln!("{} of {FEW} descriptors are in use", descriptors(node));
    node.ok(&["status"]);
    node.ok(&["cluster", "set", "hysteresis", "3"]);
    assert!(!node.log().contains("the disk fails"), "files had none to be written with");
    drop(held);
    siege.lift();
    // A peer that comes back finds the way in.
    cluster.nodes[third].end();
    cluster.nodes[third].start();
    whole(&cluster);
    cluster.nodes[at].ok(&["status"]);
}

/// Processes of a user that do nothing; end with the test.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Gives everything below to a user.
fn give(path: &std::path::Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("given");
    if path.is_dir() {
        fs::read_dir(path).expect("a directory").for_each(|e| give(&e.expect("an entry").path(), user));
    }
}

/// As a user of its own, for the limit counts all threads of a user; only root can make one up.
#[test]
fn out_of_threads_probes_go_on_and_callers_are_answered() {
    let can = Command::new("setpriv").args(["--reuid", "61999", "true"]).status();
    if quptime::sys::cred::euid() != 0 || !can.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: only root, with setpriv(1), can give a process a user of its own");
        return;
    }
    let cluster = Cluster::strangers("threads", 0);
    let (home, user) = (cluster.home.path(), 61_000 + std::process::id() % 900);
    let mut node = Node::made(home, "node", SECRET);
    let program = home.join("qu");
    fs::copy(env!("CARGO_BIN_EXE_qu"), &program).expect("copied");
    give(home, user);
    let as_user = format!("setpriv --reuid {user} --regid {user} --clear-groups");
    // Eight threads run for the whole life of a daemon; one more than that is left.
    let serve = format!("ulimit -u 9 && exec {} serve --log-level debug", program.display());
    node.start_after(&format!("exec {as_user} bash -c '{serve}'"));
    node.sees("it is alone", |v| !v["master"].is_null());
    let words: Vec<&str> = as_user.split(' ').skip(1).collect();
    let sleep = |_| Command::new("setpriv").args(&words).args(["sleep", "600"]).spawn().expect("started");
    let sleepers = Sleepers((0..9).map(sleep).collect());
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = target.local_addr().expect("an address");
    std::thread::spawn(move || target.incoming().for_each(drop));
    node.ok(&["check", "add", "http", "web", &format!("https://{at}/"), "--interval", "1s"]);
    within(LIMIT, "it says so", || {
        let said = notes(&node).contains("cannot start threads");
        (said && node.log().contains("no thread for a command")).then_some(())
    });
    node.verdict("web", "down");
    drop(sleepers);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
