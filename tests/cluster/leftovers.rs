//! Probes leave nothing behind: after many of them, of all kinds, with checks that come, change and
//! go, the process has the descriptors and threads that it had, and the memory.
//!
//! `QUPTIME_LEAK_MINUTES=60` does it with a thousand checks for an hour, and prints what it sees.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::support::{Cluster, Node, Target, until};

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    rss_kb: u64,
}

fn held(node: &Node) -> Held {
    let proc = |what: &str| format!("/proc/{}/{what}", node.pid());
    let count = |what: &str| fs::read_dir(proc(what)).map_or(0, Iterator::count);
    let status = fs::read_to_string(proc("status")).unwrap_or_default();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    Held { descriptors: count("fd"), threads: count("task"), rss_kb: rss.unwrap_or(0) }
}

/// Makes these all checks there are, by hand.
fn watch(node: &Node, items: &[String]) {
    let path = node.cluster_yaml();
    let text = until("the file is as committed", || {
        let version = node.view()?["config_version"].as_u64()?;
        fs::read_to_string(&path).ok().filter(|t| t.contains(&format!("\nversion: {version}\n")))
    });
    let begin = text.find("\nchecks:").expect("checks") + 1;
    let end = begin + text[begin..].find("\nalerts:").expect("alerts") + 1;
    let list =
        if items.is_empty() { "checks: []\n".to_owned() } else { format!("checks:\n{}", items.concat()) };
    let edited = path.with_extension("edited");
    fs::write(&edited, format!("{}{list}{}", &text[..begin], &text[end..])).expect("saved");
    fs::rename(&edited, &path).expect("saved");
    node.sees("the checks of the file", |v| v["checks"].as_array().is_some_and(|c| c.len() == items.len()));
}

fn item(n: usize, kind: &str, target: &str, interval: &str) -> String {
    let mut item = format!("  - id: {n:08x}-0000-4000-8000-00000000c8ec\n    name: check-{n}\n");
    let _ =
        write!(item, "    type: {kind}\n    target: {target}\n    interval: {interval}\n    timeout: 1s\n");
    item
}

/// So many checks of all kinds, with targets that answer, refuse, speak no TLS and do not exist.
fn items(count: usize, target: &Target, interval: &str) -> Vec<String> {
    let (url, at) = (target.url(), target.addr);
    let one = |n: usize| match n % 6 {
        0 | 1 => item(n, "http", &url, interval),
        2 => item(n, "tcp", &at.to_string(), interval),
        3 => item(n, "icmp", &format!("127.0.{}.{}", n / 250, n % 250 + 1), interval),
        4 => item(n, "http", &format!("https://{at}/"), interval),
        _ => item(n, "tcp", "127.0.0.1:1", interval),
    };
    (0..count).map(one).collect()
}

fn probes(node: &Node, what: &str) -> u64 {
    until("a picture", || node.view()?["probes"][what].as_u64())
}

/// Waits until no probe runs any more, and no thread but the ones that always do.
fn at_rest(node: &Node, threads: usize) -> Held {
    until("nothing is under way", || (probes(node, "sockets") + probes(node, "running") == 0).then_some(()));
    // Connections of the control socket end a moment after their answer.
    until("threads are as before", || Some(held(node)).filter(|h| h.threads <= threads))
}

#[test]
fn probes_of_checks_that_come_change_and_go_leave_nothing_behind() {
    let target = Target::start();
    let cluster = Cluster::of("leftovers", 1);
    let node = &cluster.nodes[0];
    let threads = until("the threads of a node", || Some(held(node).threads));
    let round = |checks: usize| {
        let before = probes(node, "done");
        watch(node, &items(checks, &target, "1s"));
        until("all of them were probed", || {
            (probes(node, "done") >= before + 2 * checks as u64).then_some(())
        });
        node.ok(&["check", "disable", "check-0"]);
        node.ok(&["check", "edit", "check-1", "--timeout", "900ms"]);
        node.ok(&["check", "remove", "check-2"]);
        watch(node, &[]);
        at_rest(node, threads)
    };
    // The sockets for echoes stay, once there are any.
    let first = round(12);
    for checks in [60, 30] {
        let after = round(checks);
        until("descriptors are as before", || (held(node).descriptors <= first.descriptors).then_some(()));
        assert!(after.threads <= threads, "{after:?}");
    }
    long(node, &target, threads);
}

/// Only on demand.
fn long(node: &Node, target: &Target, threads: usize) {
    let minutes = std::env::var("QUPTIME_LEAK_MINUTES").ok().and_then(|m| m.parse::<u64>().ok());
    let Some(minutes) = minutes else { return };
    watch(node, &items(1000, target, "5s"));
    let begun = Instant::now();
    let mut early = None;
    for turn in 1..=minutes {
        // No change meanwhile: what is kept of each (the configurations before it, requests, incidents, the
        // log up to the next snapshot) is memory too, and has bounds of its own.
        std::thread::sleep(Duration::from_secs(60 * turn).saturating_sub(begun.elapsed()));
        let now = held(node);
        early.get_or_insert(now);
        println!("{:4} s: {now:?}, {} probes", begun.elapsed().as_secs(), probes(node, "done"));
    }
    let (early, late) = (early.expect("longer than a minute"), held(node));
    println!("after the first minute {early:?}, at the end {late:?}");
    assert!(late.rss_kb <= early.rss_kb + early.rss_kb / 10, "memory grew");
    watch(node, &[]);
    println!("without checks: {:?}", at_rest(node, threads));
}
