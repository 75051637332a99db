//! One run from beginning to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quptime::base::id::{NodeId, RequestId};
use quptime::base::units::Span;
use quptime::control::{Ask, Reply};
use quptime::state::command::Setting;

use crate::clients::{Book, Client};
use crate::net::{self, Net};
use crate::node::{Node, Place, wait_for};
use crate::observer::Seen;
use crate::schedule::{self, Faults, Step};
use crate::{eprint_past_capture, settle};

const PATIENCE: Duration = Duration::from_secs(12);

/// Kept when the run fails.
pub struct Directory(pub PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("data and logs are kept in {}", self.0.display());
        } else {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

/// Runs a cluster of `size` nodes under the faults of `seed`, and judges.
pub fn run(size: usize, seed: u64, length: Duration) {
    let repeat = format!("QUPTIME_SEED={seed} QUPTIME_NETNS_SECONDS={}", length.as_secs());
    eprint_past_capture(&format!("netns: {size} nodes, {repeat}\n"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("netns-{}-{size}", std::process::id()));
    let dir = Directory(dir);
    let net = Net::new(size);
    let mut nodes: Vec<Node> = (0..size).map(|i| Node::new(&net, i, &dir.0)).collect();
    let mut wrong = Vec::new();
    match form(&nodes).and_then(|ids| under_faults(&net, &mut nodes, &ids, seed, length)) {
        Ok(mut found) => wrong.append(&mut found),
        Err(e) => wrong.push(e),
    }
    wrong.extend(nodes.iter_mut().filter_map(Node::died));
    if !wrong.is_empty() {
        let words = |n: &Node| format!("--- n{} ends with\n{}", n.at.index, n.last_words());
        let logs: Vec<String> = nodes.iter().map(words).collect();
        panic!("{size} nodes, {repeat}:\n{}\n{}", wrong.join("\n"), logs.join("\n"));
    }
}

/// Makes one cluster of them, with short times.
pub fn form(nodes: &[Node]) -> Result<Vec<NodeId>, String> {
    let head = |n: &Node| n.at.head(PATIENCE);
    let mut ids = Vec::new();
    for node in nodes {
        let up = || head(node).filter(|v| v.master == Some(v.node));
        ids.push(wait_for("a node alone is master", PATIENCE, up)?.node);
    }
    let first = &nodes[0].at;
    for node in &nodes[1..] {
        let text = format!("{}:{}", net::address(node.at.index), net::PORT);
        let address = text.parse().map_err(|e| format!("{text}: {e}"))?;
        let (met, key) = match ask(first, Ask::NodeProbe { address })? {
            Reply::Met { node, fingerprint } => (node, fingerprint),
            other => return Err(format!("{text} was not met: {other:?}")),
        };
        let address = text.parse().map_err(|e| format!("{text}: {e}"))?;
        done(first, Ask::NodeAdd { address, node: met, fingerprint: key })?;
    }
    let ms = Span::from_millis;
    for setting in
        [Setting::Heartbeat(ms(200)), Setting::DeadAfter(ms(1000)), Setting::MasterCooldown(ms(1500))]
    {
        done(first, Ask::ClusterSet(setting))?;
    }
    settle::agree(nodes)?;
    Ok(ids)
}

pub fn ask(place: &Place, ask: Ask) -> Result<Reply, String> {
    place.ask(RequestId::from_random(now_bits()), ask, PATIENCE).map_err(|e| e.to_string())
}

fn done(place: &Place, what: Ask) -> Result<(), String> {
    let summary = what.summary();
    match ask(place, what)? {
        Reply::Done(_) => Ok(()),
        other => Err(format!("{summary}: {other:?}")),
    }
}

/// A request id that no other has: the clients count theirs from the other end.
fn now_bits() -> u128 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_nanos() << 32
}

/// The faults, the clients and the observers; then what was wrong.
fn under_faults(
    net: &Net,
    nodes: &mut [Node],
    ids: &[NodeId],
    seed: u64,
    length: Duration,
) -> Result<Vec<String>, String> {
    let places: Vec<Place> = nodes.iter().map(|n| n.at.clone()).collect();
    let steps = schedule::draw(seed, nodes.len(), length);
    let (book, seen) = (Arc::new(Book::default()), Seen::new());
    let (clients_stop, observers_stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let _ends = StopAll(&[&clients_stop, &observers_stop]);
        for place in &places {
            let (seen, stop) = (&seen, &observers_stop);
            scope.spawn(move || seen.watch(place, stop));
        }
        scope.spawn(|| seen.compare(&places, &observers_stop));
        let mut clients = Vec::new();
        for (i, _) in places.iter().enumerate() {
            let client = Client::new(i, places.clone(), Arc::clone(&book), seed ^ (i as u64 + 1) << 32);
            let stop = &clients_stop;
            clients.push(scope.spawn(move || client.run(stop)));
        }
        let begun = disturb(net, nodes, ids, &steps, &seen, length);
        let agreed = settle::agree_while_changing(nodes)?;
        clients_stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().map_err(|_| "a client panicked".to_owned())?;
        }
        last_changes(&places, &book);
        settle::agree(nodes)?;
        observers_stop.store(true, Ordering::SeqCst);
        eprint_past_capture(&format!(
            "netns: {} nodes: {begun} faults, {} changes acknowledged, {} masters, {} looks; healed in {:.1}s; answers: {}\n",
            nodes.len(),
            book.acknowledged(),
            seen.terms(),
            seen.looks(),
            agreed.as_secs_f32(),
            book.counts(),
        ));
        judge(nodes, &book, &seen)
    })
    .map(|mut wrong: Vec<String>| {
        // The observers have ended with the scope: now all their spans are there.
        wrong.extend(seen.wrong());
        wrong
    })
}

/// Stops all threads however the scope is left.
struct StopAll<'a>(&'a [&'a AtomicBool]);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| stop.store(true, Ordering::SeqCst));
    }
}

/// Carries out the schedule, heals everything, and says how many faults there were.
fn disturb(
    net: &Net,
    nodes: &mut [Node],
    ids: &[NodeId],
    steps: &[Step],
    seen: &Seen,
    length: Duration,
) -> usize {
    let (begun, mut faults, mut count) = (Instant::now(), Faults::default(), 0);
    let mut steps = steps.iter().peekable();
    while begun.elapsed() < length {
        faults.pass(net, nodes);
        while let Some(step) = steps.next_if(|s| s.at <= begun.elapsed()) {
            let master = seen.master().and_then(|m| ids.iter().position(|id| *id == m)).unwrap_or(0);
            let did = faults.begin(step, net, nodes, master);
            count += usize::from(did);
            eprintln!(
                "{step}{}",
                if did { format!(" (master: n{master})") } else { ": left out".to_owned() }
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    faults.heal(net, nodes);
    count
}

/// Whole again, the cluster takes a change through every node.
fn last_changes(places: &[Place], book: &Arc<Book>) {
    for place in places {
        let mut client = Client::new(place.index, places.to_vec(), Arc::clone(book), 0);
        client.last(&AtomicBool::new(false));
    }
}

fn judge(nodes: &[Node], book: &Book, seen: &Seen) -> Result<Vec<String>, String> {
    let views = settle::pictures(nodes, seen)?;
    let mut wrong = Vec::new();
    for view in &views {
        wrong.extend(book.audit(view).into_iter().map(|what| format!("on {}: {what}", view.node)));
    }
    settle::files(nodes, views.first().map_or(0, |v| v.config_version))?;
    if book.acknowledged() <= nodes.len() {
        wrong.push("next to nothing was acknowledged: this showed nothing".to_owned());
    }
    Ok(wrong)
}
