//! `cargo bench`: what many checks cost, beside what a user would take instead.
//!
//! Everything runs on this machine at the same time: `qu`, the targets (in this process, in nobody's
//! account) and the others in turn, from their Debian packages; one that is not installed is left
//! out with a line. Nothing is asserted but that it works at all. Parts can be chosen:
//! `cargo bench --bench scale -- probes sizes silent detection`; of the first one also a single kind
//! (`https`).
#![allow(clippy::cast_precision_loss)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use quptime::deliver::sink::{SmtpOptions, SmtpSink, TestAuthority};
use quptime::verdict::Verdict;
use quptime::view::{Filter, ProbeStats, View};
use support::cluster::{Cluster, Watch};
use support::process::{Daemon, binary};
use support::rivals::{self, Kind};
use support::silent::Silent;
use support::target::Target;
use support::{machine, percentile, timed, wait_for};

const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|c| c == part);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(dir).expect("a directory");
    quptime::sys::poll::raise_descriptor_limit().expect("descriptors");
    println!("{}; binary: {} bytes\n", machine::name(dir), binary().metadata().map_or(0, |m| m.len()));
    let kinds = [Kind::Http, Kind::Https, Kind::Tcp, Kind::Icmp];
    let kinds = kinds.into_iter().filter(|k| wanted("probes") || wanted(&k.title().to_lowercase()));
    let kinds: Vec<Kind> = kinds.collect();
    if !kinds.is_empty() {
        println!("| 1,000 checks at 5 s | CPU s per 1,000 probes | RSS | asked | done on time |");
        println!("| --- | --- | --- | --- | --- |");
        kinds.into_iter().for_each(|kind| probes(dir, kind));
        println!();
    }
    if wanted("sizes") {
        sizes(dir);
    }
    if wanted("silent") || wanted("detection") {
        println!("| what | figure |\n| --- | --- |");
    }
    if wanted("silent") {
        silent(dir);
    }
    if wanted("detection") {
        detection(dir, 1);
        detection(dir, 2_000);
    }
}

/// What a node did in a while.
struct Span {
    seconds: f64,
    done: u64,
    late: u64,
    cpu: f64,
    rss: f64,
}

/// Watches these nodes for a while. What was done is read off pictures, each of which says itself when it
/// was made: a node that shows an older one has been watched for less.
fn watch(nodes: &[&Daemon], length: Duration) -> Vec<Span> {
    let look = |n: &Daemon| (picture(n), n.ticks());
    let before: Vec<_> = nodes.iter().map(|n| look(n)).collect();
    std::thread::sleep(length);
    let after: Vec<_> = nodes.iter().map(|n| look(n)).collect();
    let spans =
        nodes.iter().zip(before.iter().zip(&after)).map(|(node, ((from, ticks), (to, ticks_then)))| Span {
            seconds: (to.uptime_ms - from.uptime_ms) as f64 / 1000.0,
            done: to.probes.done - from.probes.done,
            late: to.probes.late + to.probes.lost,
            cpu: (ticks_then - ticks) as f64 / 100.0,
            rss: node.rss() as f64 / 1024.0,
        });
    spans.collect()
}

/// How many reports this node has of all nodes, and how old the oldest was when the newest of the same check
/// came: none of several nodes' was lost lately when that is less than the interval.
fn reports(node: &Daemon) -> String {
    let view = wait_for("all reports", LIMIT, || node.view(&Filter { nodes: true, ..Filter::default() }));
    let ages = view.checks.iter().flat_map(|check| check.nodes.iter().map(|report| report.age_ms));
    let ages: Vec<f64> = ages.map(|ms| ms as f64 / 1000.0).collect();
    format!("{}, {:.1} s", ages.len(), percentile(&ages, 100))
}

fn picture(node: &Daemon) -> View {
    wait_for("a picture", LIMIT, || node.head())
}

fn probe_stats(node: &Daemon) -> ProbeStats {
    picture(node).probes
}

/// One kind of check on three nodes, then with the others' programs.
fn probes(dir: &Path, kind: Kind) {
    const CHECKS: usize = 1_000;
    let (settle, length) = (Duration::from_secs(9), Duration::from_secs(15));
    let authority = TestAuthority::new().expect("an authority");
    let tls = (kind == Kind::Https).then(|| authority.server(&["localhost"]).expect("a certificate"));
    let target = Target::start(tls);
    let roots = dir.join("roots.pem");
    std::fs::write(&roots, authority.ca_pem()).expect("written");
    let watches = (0..CHECKS).map(|n| Watch {
        kind: kind.word(),
        target: kind.target(n, target.address.port()),
        interval: "5s",
        timeout: "5s",
    });
    let cluster = Cluster::plain(dir, 3, &[("SSL_CERT_FILE", &roots)]);
    cluster.watch(watches);
    std::thread::sleep(settle);
    let master = cluster.master();
    let nodes: Vec<&Daemon> = cluster.nodes.iter().collect();
    for (at, span) in watch(&nodes, length).iter().enumerate() {
        let role = if at == master { "master" } else { "a follower" };
        row(kind, &format!("qu, {role} of 3"), CHECKS, span);
    }
    up(&cluster, CHECKS);
    drop(cluster);
    for run in rivals::all(kind, dir, &target, CHECKS, &roots) {
        match run {
            Ok(run) => {
                let span = Span {
                    seconds: run.seconds,
                    done: run.done,
                    late: run.late,
                    cpu: run.cpu,
                    rss: run.rss as f64 / 1024.0,
                };
                row(kind, run.name, CHECKS, &span);
            }
            Err(why) => println!("| {}: {why} | | | | |", kind.title()),
        }
    }
}

fn row(kind: Kind, who: &str, checks: usize, span: &Span) {
    let asked = checks as f64 * span.seconds / 5.0;
    let per = span.cpu * 1000.0 / span.done.max(1) as f64;
    println!(
        "| {}: {who} | {per:.3} | {:.1} MiB | {asked:.0} | {} |",
        kind.title(),
        span.rss,
        span.done.saturating_sub(span.late)
    );
}

/// All of them have a verdict, and it is "up": what was measured did what it should.
fn up(cluster: &Cluster, count: usize) {
    wait_for("all checks up", LIMIT, || {
        let view = cluster.nodes[0].view(&Filter::default())?;
        (view.checks.iter().filter(|c| c.state == Verdict::Up).count() == count).then_some(())
    });
}

/// More and more checks; the answers of `qu status` while all that goes on.
fn sizes(dir: &Path) {
    println!(
        "| who probes what | asked | done on time | reports it has, the oldest at the newest | CPU of one core | RSS | `qu status` | `--limit 20` | `--state down` |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for count in [100, 1_000, 10_000] {
        size(dir, Kind::Http, count, 1, 10);
    }
    size(dir, Kind::Http, 10_000, 3, 10);
    // 50,000 a minute.
    size(dir, Kind::Icmp, 10_000, 1, 12);
    println!();
}

/// So many checks on so many nodes, every so many seconds.
fn size(dir: &Path, kind: Kind, count: usize, nodes: usize, interval: usize) {
    let target = Target::start(None);
    let cluster = Cluster::plain(dir, nodes, &[]);
    let port = target.address.port();
    let every: &'static str = if interval == 10 { "10s" } else { "12s" };
    cluster.watch((0..count).map(|n| Watch {
        kind: kind.word(),
        target: kind.target(n, port),
        interval: every,
        timeout: every,
    }));
    up(&cluster, count);
    std::thread::sleep(Duration::from_secs(5));
    let master = cluster.master();
    let spans = watch(&cluster.nodes.iter().collect::<Vec<_>>(), Duration::from_secs(2 * interval as u64));
    for (at, span) in spans.iter().enumerate() {
        let role = match (nodes, at == master) {
            (1, _) => "one node",
            (_, true) => "master of 3",
            (_, false) => "a follower of 3",
        };
        println!(
            "| {role}: {count} checks, {} at {every} | {:.0} | {} | {} | {:.1} % | {:.1} MiB | {} | {} | {} |",
            kind.title(),
            count as f64 * span.seconds / interval as f64,
            span.done.saturating_sub(span.late),
            if at == master { reports(&cluster.nodes[at]) } else { "-".to_owned() },
            span.cpu / span.seconds * 100.0,
            span.rss,
            answer(&cluster.nodes[at], &["status"]),
            answer(&cluster.nodes[at], &["status", "--limit", "20"]),
            answer(&cluster.nodes[at], &["status", "--state", "down"]),
        );
    }
}

/// How long a command takes, from its start to its end.
fn answer(node: &Daemon, words: &[&str]) -> String {
    let times: Vec<f64> = (0..21)
        .map(|_| {
            let mut qu = node.qu(words);
            timed(|| qu.stdout(Stdio::null()).stderr(Stdio::null()).status()).1
        })
        .collect();
    format!(
        "{:.1} ms ({:.1} to {:.1})",
        percentile(&times, 50),
        percentile(&times, 0),
        percentile(&times, 90)
    )
}

/// A thousand targets that swallow packets beside a thousand healthy ones.
fn silent(dir: &Path) {
    const EACH: usize = 1_000;
    let target = Target::start(None);
    let silent = Silent::start();
    let cluster = Cluster::plain(dir, 1, &[]);
    let (port, swallowed) = (target.address.port(), silent.address.to_string());
    let healthy = (0..EACH).map(|n| Watch {
        kind: "http",
        target: format!("http://127.0.0.1:{port}/{n}"),
        interval: "5s",
        timeout: "5s",
    });
    let black =
        (0..EACH).map(|_| Watch { kind: "tcp", target: swallowed.clone(), interval: "10s", timeout: "10s" });
    cluster.watch(healthy.chain(black));
    wait_for("the silent ones are waited for", LIMIT, || {
        (probe_stats(&cluster.nodes[0]).running >= 900).then_some(())
    });
    target.note_arrivals();
    let span = &watch(&[&cluster.nodes[0]], Duration::from_secs(40))[0];
    let late = lateness(&target.arrivals(), 5.0);
    let stats = probe_stats(&cluster.nodes[0]);
    println!(
        "| {EACH} silent targets (timeout 10 s) among {EACH} healthy ones at 5 s: the healthy ones late | \
         p99 {:.1} ms, worst {:.1} ms, as the target sees it ({} probes); {} under way, {} rounds lost, CPU {:.1} %, \
         RSS {:.1} MiB |",
        percentile(&late, 99),
        percentile(&late, 100),
        late.len(),
        stats.running,
        stats.lost,
        span.cpu / span.seconds * 100.0,
        span.rss
    );
}

/// How late each request came, by the cadence of its own check: against the earliest of them.
fn lateness(arrivals: &[(usize, f64)], interval: f64) -> Vec<f64> {
    let mut by_check: std::collections::BTreeMap<usize, Vec<f64>> = std::collections::BTreeMap::new();
    for (check, at) in arrivals {
        by_check.entry(*check).or_default().push(*at);
    }
    let mut late = Vec::new();
    for times in by_check.values() {
        let Some(first) = times.first() else { continue };
        let offset = |at: f64| at - first - ((at - first) / interval).round() * interval;
        let earliest = times.iter().map(|at| offset(*at)).fold(f64::MAX, f64::min);
        late.extend(times.iter().map(|at| (offset(*at) - earliest) * 1000.0));
    }
    late
}

/// From the death of a target to the mail.
fn detection(dir: &Path, count: usize) {
    let tries = if count == 1 { 1 } else { 5 };
    let mails = SmtpSink::start(SmtpOptions::default()).expect("a mail sink");
    let target = Target::start(None);
    let mut times = Vec::new();
    for _ in 0..if count == 1 { 3 } else { 1 } {
        let before = mails.mails().len();
        let dying: Vec<Target> = (0..tries).map(|_| Target::start(None)).collect();
        let ports = dying.iter().map(|t| t.address.port()).collect::<Vec<_>>();
        let cluster = Cluster::plain(dir, 3, &[]);
        cluster.mail_to(mails.addr());
        cluster.watch((0..count).map(|n| Watch {
            kind: "http",
            target: Kind::Http.target(n, *ports.get(n).unwrap_or(&target.address.port())),
            interval: "5s",
            timeout: "5s",
        }));
        up(&cluster, count);
        let begun = Instant::now();
        drop(dying);
        let found = (1..=tries).map(|nth| {
            wait_for("a mail", LIMIT, || (mails.mails().len() >= before + nth).then(|| begun.elapsed()))
        });
        times.extend(found.map(|t| t.as_secs_f64()));
    }
    println!(
        "| target dies to mail accepted, {count} check{} at 5 s, 3 nodes | {:.1} s at most, {:.1} s at least ({} tries) |",
        if count == 1 { "" } else { "s" },
        percentile(&times, 100),
        percentile(&times, 0),
        times.len()
    );
}
