//! `cargo bench`: what a cluster of real processes does on this machine, as a table in Markdown.
//!
//! State is written to the disk below `target/`, with every sync that safety asks for. Nothing is
//! asserted but that it works at all; numbers are for people to compare. `QU_BIN=path` measures
//! another binary; `cargo bench --profile dev` tries this program out without an optimised build.
#![allow(clippy::cast_precision_loss)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use quptime::control::Reply;
use support::cluster::{Cluster, port};
use support::process::{Daemon, binary};
use support::{machine, ms, percentile, timed, wait_for};

/// Tries of a failover.
const TRIES: usize = 5;

fn main() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(dir).expect("a directory");
    let (fsync, round_trip) = (machine::fsync(dir), machine::round_trip());
    println!(
        "{}; fsync of a small append {fsync:.2} ms, TCP round trip {round_trip:.3} ms\n",
        machine::name(dir)
    );
    println!("binary: {} bytes\n", std::fs::metadata(binary()).map_or(0, |m| m.len()));
    println!("| what | figure |\n| --- | --- |");
    let floor = 2.0 * fsync + round_trip;
    idle(dir);
    for size in [3, 5] {
        let cluster = Cluster::new(dir, size);
        commits(&cluster, floor);
    }
    bytes(&Cluster::new(dir, 3));
    let mut cluster = Cluster::new(dir, 3);
    failover(&mut cluster, "default timing (1 s / 4 s)");
    cluster.timing(100, 500);
    cluster.settle();
    std::thread::sleep(Duration::from_secs(5));
    failover(&mut cluster, "heartbeat 100 ms, dead-after 500 ms");
}

fn row(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}

/// Latency of one client after another, at the master and at a follower; and sixteen at a time.
fn commits(cluster: &Cluster, floor: f64) {
    let size = cluster.nodes.len();
    let master = cluster.master();
    for (whom, node) in [("the master", master), ("a follower", (master + 1) % size)] {
        (0..20).for_each(|_| {
            cluster.done(node, cluster.edit(0));
        });
        let (times, all) =
            timed(|| (0..400).map(|_| cluster.done(node, cluster.edit(0))).collect::<Vec<_>>());
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        row(
            &format!("{size} nodes, 1 client of {whom}"),
            &format!(
                "{:.0} changes/s, p50 {p50:.2} ms, p99 {p99:.2} ms; p50 is {:.2} of two fsyncs and a round trip",
                times.len() as f64 / all * 1000.0,
                p50 / floor
            ),
        );
    }
    let client = |n: usize| (0..100).map(|_| cluster.done(master, cluster.edit(n))).collect::<Vec<_>>();
    let (times, all) = timed(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16).map(|n| scope.spawn(move || client(n))).collect();
            clients.into_iter().flat_map(|c| c.join().expect("a client")).collect::<Vec<_>>()
        })
    });
    row(
        &format!("{size} nodes, 16 clients of the master"),
        &format!(
            "{:.0} changes/s, p50 {:.2} ms, p99 {:.2} ms",
            times.len() as f64 / all * 1000.0,
            percentile(&times, 50),
            percentile(&times, 99)
        ),
    );
}

/// From kill -9 of the master to the first change that any survivor accepts.
fn failover(cluster: &mut Cluster, timing: &str) {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let master = cluster.master();
        let begun = Instant::now();
        cluster.nodes[master].kill();
        times.push(first_accepted(cluster, begun));
        cluster.nodes[master].start();
        wait_for("the node is back", Duration::from_secs(30), || cluster.nodes[master].head());
        cluster.settle();
        // A node that was started again keeps, for dead-after, what it may have promised before.
        std::thread::sleep(Duration::from_secs(5));
    }
    row(
        &format!("3 nodes, kill -9 of the master to the first accepted change, {timing}"),
        &format!(
            "{:.2} s (median of {TRIES}; {:.2} to {:.2})",
            percentile(&times, 50) / 1000.0,
            percentile(&times, 0) / 1000.0,
            percentile(&times, 100) / 1000.0
        ),
    );
}

fn first_accepted(cluster: &Cluster, begun: Instant) -> f64 {
    std::thread::scope(|scope| {
        let survivors = cluster.nodes.iter().filter(|n| n.is_up());
        let clients: Vec<_> = survivors.map(|node| scope.spawn(|| accepted(cluster, node, begun))).collect();
        clients.into_iter().map(|c| c.join().expect("a client")).fold(f64::MAX, f64::min)
    })
}

/// As an operator's script would: asked until it is done.
fn accepted(cluster: &Cluster, node: &Daemon, begun: Instant) -> f64 {
    let (id, edit) = (cluster.id(), cluster.edit(1));
    wait_for("a change after the master's death", Duration::from_secs(60), || {
        let told = node.ask(id, edit.clone(), Duration::from_secs(12));
        matches!(told, Some(Reply::Done(_))).then(|| ms(begun.elapsed()))
    })
}

/// What one change costs on the wire and on the disk, with few checks and with many.
fn bytes(cluster: &Cluster) {
    for count in [16, 10_000] {
        if count > 16 {
            cluster.grow(count);
            std::thread::sleep(Duration::from_secs(5));
        }
        let node = &cluster.nodes[cluster.master()];
        let changes = 200;
        let idle = per_second(node, Duration::from_secs(5));
        let (wire, state, stored) = (node.carried(), node.state(), node.stored());
        let (times, all) = timed(|| {
            (0..changes).map(|_| cluster.done(cluster.master(), cluster.edit(0))).collect::<Vec<_>>()
        });
        let per = |bytes: f64| format!("{:.0} bytes", bytes / f64::from(changes));
        let wire = match (wire, node.carried(), idle) {
            (Some(before), Some(after), Some(idle)) => per((after - before) as f64 - idle * all / 1000.0),
            _ => "not measured (needs root)".to_owned(),
        };
        let state = per(node.state() as f64 - state as f64);
        // What the file thread still writes belongs to it.
        std::thread::sleep(Duration::from_secs(3));
        let stored = per((node.stored() - stored) as f64);
        row(
            &format!("3 nodes, one change at {count} checks"),
            &format!(
                "wire {wire} (all links), log {state}, disk blocks of a node {stored}; p50 {:.2} ms",
                percentile(&times, 50)
            ),
        );
    }
    let rss: Vec<String> = cluster.nodes.iter().map(|n| format!("{:.1}", n.rss() as f64 / 1024.0)).collect();
    row("3 nodes, RSS at 10,000 checks", &format!("{} MiB", rss.join(", ")));
}

/// What the cluster's loopback carries while nothing happens.
fn per_second(node: &Daemon, length: Duration) -> Option<f64> {
    let before = node.carried()?;
    std::thread::sleep(length);
    Some((node.carried()? - before) as f64 / length.as_secs_f64())
}

/// Small things that a person or a machine notices all day.
fn idle(dir: &Path) {
    let cluster = Cluster::new(dir, 3);
    let spawn = |args: &[&str]| -> f64 {
        let once = || {
            let command = cluster.nodes[0].qu(args);
            // Without `ip netns exec`, whose own start would be measured.
            let mut plain = std::process::Command::new(binary());
            plain.args(args).env_clear().stdin(Stdio::null());
            plain.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
            timed(|| plain.stdout(Stdio::null()).stderr(Stdio::null()).status()).1
        };
        percentile(&(0..100).map(|_| once()).collect::<Vec<_>>(), 50)
    };
    row("`--version`", &format!("{:.1} ms", spawn(&["--version"])));
    row("`qu status` (3 nodes, 16 checks)", &format!("{:.1} ms", spawn(&["status"])));
    std::thread::sleep(Duration::from_secs(5));
    let length = Duration::from_secs(20);
    let ticks: Vec<u64> = cluster.nodes.iter().map(Daemon::ticks).collect();
    let carried = per_second(&cluster.nodes[0], length);
    if carried.is_none() {
        std::thread::sleep(length);
    }
    let cpu = cluster.nodes.iter().zip(ticks).map(|(n, before)| (n.ticks() - before) as f64);
    let cpu: Vec<String> = cpu.map(|t| format!("{:.2}", t / length.as_secs_f64())).collect();
    let rss: Vec<String> = cluster.nodes.iter().map(|n| format!("{:.1}", n.rss() as f64 / 1024.0)).collect();
    row("idle, RSS of each of 3 nodes", &format!("{} MiB", rss.join(", ")));
    row("idle, CPU of each of 3 nodes", &format!("{} %", cpu.join(", ")));
    row("idle, threads", &cluster.nodes[0].threads().to_string());
    let heartbeats = carried.map_or_else(
        || "not measured (needs root)".to_owned(),
        |c| format!("{:.2} kB/s (headers included)", c / 3.0 / 1000.0),
    );
    row("idle, sent by each of 3 nodes", &heartbeats);
    // Not in a namespace: the start of `ip netns exec` would be measured with it.
    let mut alone = Daemon::new(dir.join(format!("qu-bench-{}-alone", std::process::id())), port(), None);
    row("start to first answer", &format!("{:.1} ms", start(&mut alone)));
    alone.kill();
    drop(std::fs::remove_dir_all(&alone.dir));
}

/// From the start of the process to the first picture, p50.
fn start(node: &mut Daemon) -> f64 {
    let mut times = Vec::new();
    for _ in 0..10 {
        node.kill();
        let begun = Instant::now();
        node.start();
        while node.head().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        times.push(ms(begun.elapsed()));
    }
    percentile(&times, 50)
}
