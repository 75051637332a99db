//! `qu sandbox` as a person runs it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::{Home, until};

fn start(home: &Path, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qu"));
    // Its own temporary directory, so that what it leaves there is seen.
    fs::create_dir_all(home.join("tmp")).expect("a directory");
    command.arg("sandbox").args(words).env("TMPDIR", home.join("tmp")).stdin(Stdio::null());
    command.stdout(File::create(home.join("out")).expect("a file"));
    command.stderr(File::create(home.join("err")).expect("a file"));
    quptime::sys::child::ends_with_us(&mut command);
    command.spawn().expect("qu starts")
}

/// Processes that were started by this one.
fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|p| p.parse().expect("a number")).collect()
}

fn is_there(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that has ended and was not waited for yet is gone for our purpose.
    !state.is_empty() && !state.contains(") Z ")
}

#[test]
fn a_sandbox_shows_down_and_recovered_and_leaves_nothing_behind() {
    let home = Home::new("sandbox");
    let mut child = start(home.path(), &["--break-after", "2s"]);
    let out = || fs::read_to_string(home.path().join("out")).unwrap_or_default();
    let subject = |name: &str, event: &str| format!("| [quptime] {name} {event} - ");
    let post = |name: &str, event: &str| format!("quptime\\] {name} {event}**");
    for event in ["DOWN", "RECOVERED"] {
        for name in ["web", "port"] {
            until(&format!("{name} {event} by mail"), || out().contains(&subject(name, event)).then_some(()));
            until(&format!("{name} {event} by post"), || out().contains(&post(name, event)).then_some(()));
        }
    }
    let text = out();
    assert!(text.contains("check add http web http://127.0.0.1:"), "{text}");
    assert!(text.contains("quorum     true (need 2)"), "{text}");
    assert_eq!(text.matches("QUPTIME_SOCKET=").count(), 3, "{text}");
    let nodes = children(child.id());
    assert_eq!(nodes.len(), 3);
    quptime::sys::signal::send(child.id(), false).expect("it is there");
    let status = until("it ends", || child.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
    assert!(nodes.iter().all(|n| !is_there(*n)), "{nodes:?}");
    assert_eq!(fs::read_dir(home.path().join("tmp")).expect("a directory").count(), 0);
    assert_eq!(fs::read_to_string(home.path().join("err")).expect("text"), "");
}

#[test]
fn a_sandbox_that_is_killed_takes_its_nodes_along_and_a_dead_node_is_reported() {
    let home = Home::new("sandkill");
    let dir = home.path().join("kept");
    let mut child = start(home.path(), &["--nodes", "2", "--dir", dir.to_str().expect("text")]);
    let out = || fs::read_to_string(home.path().join("out")).unwrap_or_default();
    until("it is up", || out().contains("Ctrl-C ends everything").then_some(()));
    let nodes = children(child.id());
    assert_eq!(nodes.len(), 2);
    quptime::sys::signal::send(nodes[0], true).expect("it is there");
    until("the dead node is reported", || out().contains("ended by itself").then_some(()));
    child.kill().expect("killed");
    child.wait().expect("waited for");
    until("no node is left", || nodes.iter().all(|n| !is_there(*n)).then_some(()));
    assert!(dir.join("n1/node.yaml").exists(), "a directory that was asked for stays");
    let again = start(home.path(), &["--dir", dir.to_str().expect("text")]).wait().expect("waited for");
    assert_eq!(again.code(), Some(1));
    let err = fs::read_to_string(home.path().join("err")).expect("text");
    assert!(err.contains("is not empty") && err.lines().count() == 1, "{err}");
}
