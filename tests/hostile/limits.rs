//! Too few descriptors: probes wait and say so, peers and callers do not notice.

use std::net::{TcpListener, TcpStream};

use super::client::connect_from;
use super::siege::{LIMIT, Siege, calm, descriptors, place, whole};
use super::support::{Node, within};

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
