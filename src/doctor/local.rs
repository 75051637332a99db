//! What is on this host: files, keys, disk, port, right to ping.
//!
//! Owners are judged by the owner of the data directory: whoever it was made for must be able to
//! use what is in it. An accidental `sudo qu init` leaves files of root in the directory of the
//! service's user.

use std::collections::BTreeMap;

use super::facts::{Facts, FileFact, FileKind, Port, Read};
use super::{Finding, Level, or_ok, several};
use crate::base::clock::Wall;
use crate::base::text;
use crate::base::units::HostPort;
use crate::config::{Cluster, Target};
use crate::identity::Trust;
use crate::view::mesh::PingRight;

const MIB: u64 = 1024 * 1024;
/// Below this the next snapshot may not fit.
const DISK_PROBLEM: u64 = 16 * MIB;
/// Below this it is time to look.
const DISK_WARNING: u64 = 128 * MIB;
/// Likewise, in files that can still be made.
const FILES_PROBLEM: u64 = 16;
const FILES_WARNING: u64 = 256;
/// A backup older than this is worth a line, milliseconds: thirty days.
const BACKUP_OLD: u64 = 30 * 86_400_000;
/// For a file that whoever looks may not read.
const CLOSED: &str = "give it back to the daemon's user, or look as that user or as root";
/// Names in one line at most.
const NAMED: usize = 6;

/// All of it.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    match &facts.files {
        Read::Missing => {
            let finding = Finding::problem("files", format!("there is no directory {}", facts.dir));
            return vec![finding.to_do("qu init, or name the right directory with --dir")];
        }
        Read::Closed(why) | Read::Bad(why) => {
            let finding = Finding::problem("files", format!("cannot look into {}: {why}", facts.dir));
            return vec![
                finding.to_do("run it as root, or as the daemon's user (sudo -u quptime qu doctor)"),
            ];
        }
        Read::Good(files) => all.extend(judge_files(facts, files)),
    }
    all.extend(judge_node(facts));
    if !matches!(facts.node, Read::Missing) {
        all.extend(judge_keys(facts));
        all.extend(judge_cluster(facts));
        all.extend(judge_trust(facts));
        all.extend(judge_port(facts));
    }
    all.extend(judge_disk(facts));
    all.extend(judge_clock(facts.now));
    all.extend(judge_pings(facts));
    all.push(judge_backup(facts));
    all
}

fn name(facts: &Facts, uid: u32) -> String {
    facts.names.get(&uid).map_or_else(|| format!("user {uid}"), Clone::clone)
}

fn whole(facts: &Facts, path: &str) -> String {
    if path.is_empty() { facts.dir.clone() } else { format!("{}/{path}", facts.dir) }
}

fn judge_files(facts: &Facts, files: &[FileFact]) -> Vec<Finding> {
    let Some(dir) = files.iter().find(|f| f.path.is_empty()) else { return Vec::new() };
    let mut found = judge_owners(facts, files, dir.uid);
    found.extend(files.iter().filter_map(|f| judge_mode(facts, f)));
    or_ok(found, || {
        let text =
            format!("{} in {}", several(files.len() - 1, "entry").replace("entrys", "entries"), facts.dir);
        Finding::ok("files", format!("{text}, all of {}, modes as they should be", name(facts, dir.uid)))
    })
}

/// Each foreign owner in one line.
fn judge_owners(facts: &Facts, files: &[FileFact], owner: u32) -> Vec<Finding> {
    let mut foreign: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    // Only the doctor reads when the last backup was made.
    for file in files.iter().filter(|f| f.uid != owner && f.path != "last-backup") {
        foreign.entry(file.uid).or_default().push(&file.path);
    }
    let dir = &facts.dir;
    let mut found: Vec<Finding> = foreign
        .into_iter()
        .map(|(uid, paths)| {
            let more = paths.len().saturating_sub(NAMED);
            let mut listed = paths.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
            if more > 0 {
                listed.push_str(&format!(" and {more} more"));
            }
            let (whose, ours) = (name(facts, uid), name(facts, owner));
            let finding = match owner {
                // Root's daemon can use everything.
                0 => Finding::warning("files", format!("{listed}: owned by {whose}, but {dir} by {ours}")),
                _ => Finding::problem(
                    "files",
                    format!("{listed}: owned by {whose}, but {dir} by {ours}, whose daemon cannot use them"),
                ),
            };
            finding.to_do(format!("chown -R {ours}: {dir}"))
        })
        .collect();
    let here = facts.daemon.as_ref().ok().and_then(|d| d.mesh.as_ref().ok()).and_then(|m| m.here.as_ref());
    if let Some(here) = here.filter(|h| h.dir == *dir && h.uid != 0 && h.uid != owner) {
        let (user, ours) = (name(facts, here.uid), name(facts, owner));
        let text = format!("the daemon runs as {user}, and {dir} belongs to {ours}");
        found.push(Finding::problem("files", text).to_do(format!("chown -R {user}: {dir}")));
    }
    found
}

/// The widest mode that an entry may have; `None`: any.
fn widest(path: &str) -> Option<u32> {
    match path {
        "" => Some(0o755),
        "keys" | "state" => Some(0o700),
        "keys/public.pem" | "keys/cert.pem" => Some(0o644),
        "node.yaml" | "trust.yaml" | "join.yaml" | "qu.lock" | "last-backup" => Some(0o600),
        // What was refused is kept beside it, with its secrets.
        other if other.starts_with("cluster.yaml") || other.starts_with("keys/") => Some(0o600),
        // In `state/` the directory is what is closed.
        _ => None,
    }
}

fn judge_mode(facts: &Facts, file: &FileFact) -> Option<Finding> {
    let (path, mode) = (whole(facts, &file.path), file.mode & 0o777);
    let needed = match file.kind {
        FileKind::Directory => 0o700,
        FileKind::File => 0o400,
        FileKind::Other => return None,
    };
    if mode & needed != needed {
        let wanted = widest(&file.path).unwrap_or(0o600);
        let text = format!("{path} has mode {mode:04o}: its own user cannot use it");
        return Some(Finding::problem("files", text).to_do(format!("chmod {wanted:04o} {path}")));
    }
    let widest = widest(&file.path)?;
    let extra = mode & !widest;
    if extra == 0 {
        return None;
    }
    let who = if extra & 0o007 == 0 { "its group" } else { "other users" };
    let what = if extra & 0o022 == 0 { "read" } else { "change" };
    let text = format!("{path} has mode {mode:04o}: {who} can {what} it");
    let level = if extra & 0o027 == 0o020 || extra & 0o007 != 0 { Level::Problem } else { Level::Warning };
    Some(Finding { level, ..Finding::problem("files", text) }.to_do(format!("chmod {widest:04o} {path}")))
}

fn judge_node(facts: &Facts) -> Vec<Finding> {
    let node = match &facts.node {
        Read::Good(node) => node,
        Read::Missing => {
            let text = format!("there is no node.yaml in {}: this is no node", facts.dir);
            let remedy = "qu init, or name the right directory with --dir";
            return vec![Finding::problem("node", text).to_do(remedy)];
        }
        Read::Closed(why) => return vec![Finding::problem("node", why.clone()).to_do(CLOSED)],
        Read::Bad(why) => {
            let remedy = "correct it, or restore it from a backup of this node (qu restore)";
            return vec![Finding::problem("node", why.clone()).to_do(remedy)];
        }
    };
    let mut found = Vec::new();
    if let Some(peer) = facts.cluster.good().and_then(|c| c.peers.get(&node.node_id))
        && peer.advertise != node.advertise
    {
        let text =
            format!("node.yaml says {}, the cluster {}: the others use that", node.advertise, peer.advertise);
        let remedy =
            format!("qu node edit {} --address HOST:PORT, or correct node.yaml", node.node_id.short());
        found.push(Finding::warning("node", text).to_do(remedy));
    }
    or_ok(found, || Finding::ok("node", format!("{}, {}", node.node_id, node.advertise)))
}

fn judge_keys(facts: &Facts) -> Vec<Finding> {
    let keys = match &facts.keys {
        Ok(keys) => keys,
        Err(why) => return vec![Finding::problem("keys", why.clone())],
    };
    let mut found: Vec<Finding> =
        keys.complaints.iter().map(|c| Finding::warning("keys", c.clone())).collect();
    let node = facts.node.good().map(|n| n.node_id);
    if let (Some(id), Some(cluster)) = (node, facts.cluster.good()) {
        let restore = "restore node.yaml and keys/ from a backup of this node, or begin anew (qu init)";
        match cluster.peers.get(&id) {
            None => {
                let text = format!(
                    "cluster.yaml does not name this node ({id}): it was removed, or the files are of two nodes"
                );
                found.push(Finding::problem("keys", text).to_do(restore));
            }
            Some(peer) if peer.fingerprint != keys.fingerprint => {
                let text = format!(
                    "the key in keys/ is {}, the cluster knows this node by {}",
                    keys.fingerprint, peer.fingerprint
                );
                found.push(Finding::problem("keys", text).to_do(restore));
            }
            Some(_) => {}
        }
    }
    or_ok(found, || Finding::ok("keys", format!("{}, key and certificate belong together", keys.fingerprint)))
}

fn has_state(facts: &Facts) -> bool {
    facts.files.good().is_some_and(|all| all.iter().any(|f| f.path == "state"))
}

fn judge_cluster(facts: &Facts) -> Vec<Finding> {
    match &facts.cluster {
        Read::Closed(why) => vec![Finding::problem("config", why.clone()).to_do(CLOSED)],
        Read::Bad(why) => {
            let remedy =
                "correct it; a running daemon goes on with what is committed, and a start refuses it";
            vec![Finding::problem("config", why.clone()).to_do(remedy)]
        }
        Read::Missing if has_state(facts) => {
            let text = "cluster.yaml is missing; what is committed is in state/";
            vec![
                Finding::warning("config", text).to_do("start the daemon, or wait: it writes the file again"),
            ]
        }
        Read::Missing => {
            let text = "cluster.yaml and state/ are missing: the daemon would start as a new cluster of one";
            vec![Finding::problem("config", text).to_do("restore cluster.yaml from a backup (qu restore)")]
        }
        Read::Good(cluster) => {
            if facts.daemon.is_err() {
                return judge_state(facts, cluster);
            }
            let newest = facts.daemon.as_ref().ok().map(|d| d.view.config_version);
            // Without a state it knows no version, and says so itself.
            match newest.filter(|v| *v != cluster.version && *v > 0) {
                Some(v) => {
                    let text = format!("cluster.yaml is of version {}, the daemon's of {v}", cluster.version);
                    vec![
                        Finding::warning("config", text).to_do("look at the daemon's log: is the disk full?"),
                    ]
                }
                None => vec![as_said(cluster)],
            }
        }
    }
}

fn as_said(cluster: &Cluster) -> Finding {
    let text = format!(
        "version {}, {}, {}, {}",
        cluster.version,
        several(cluster.peers.len(), "peer"),
        several(cluster.checks.len(), "check"),
        several(cluster.alerts.len(), "alert")
    );
    Finding::ok("config", text)
}

/// What a start would make of a readable `cluster.yaml`.
fn judge_state(facts: &Facts, cluster: &Cluster) -> Vec<Finding> {
    let (version, named) = (cluster.version, cluster.peers.len());
    let together = "put the same file on every peer that it names and start them, see quptime-operations(7)";
    vec![match &facts.state {
        Read::Closed(why) => {
            Finding::warning("config", format!("cannot look into state/: {why}")).to_do(CLOSED)
        }
        Read::Bad(why) => Finding::problem("config", why.clone()),
        Read::Good(known) if version > *known => {
            let text = format!(
                "cluster.yaml is newer than state/ (version {version}, {known} there): a start waits until every peer that \
                 it names presents the same, or a master is heard"
            );
            Finding::warning("config", text).to_do(format!("{together}, or take the edit back"))
        }
        Read::Missing if version > 0 && named > 1 => {
            let text = "there is no state/: a start waits for a master, or until no peer that cluster.yaml names has one";
            Finding::warning("config", text)
                .to_do("start it while the others run; when all lost theirs, start all")
        }
        Read::Good(_) | Read::Missing => as_said(cluster),
    }]
}

/// Whether `cluster.yaml` says what this node does not go by yet.
fn is_ahead(facts: &Facts, cluster: &Cluster) -> bool {
    match &facts.daemon {
        Ok(daemon) => daemon.view.config_version == 0,
        Err(_) => facts.state.good().is_some_and(|known| cluster.version > *known),
    }
}

fn judge_trust(facts: &Facts) -> Vec<Finding> {
    let again = "restart the daemon, which writes it again";
    let Some(cluster) = facts.cluster.good() else {
        return match &facts.trust {
            Read::Closed(why) => vec![Finding::problem("trust", why.clone()).to_do(CLOSED)],
            Read::Bad(why) => vec![Finding::problem("trust", why.clone()).to_do(again)],
            _ => Vec::new(),
        };
    };
    let answers = facts.daemon.as_ref().ok().map(|d| d.view.node);
    let Some(me) = facts.node.good().map(|n| n.node_id).or(answers) else { return Vec::new() };
    let none = Trust::default();
    let trust = match &facts.trust {
        Read::Good(trust) => trust,
        Read::Missing => &none,
        Read::Closed(why) => return vec![Finding::problem("trust", why.clone()).to_do(CLOSED)],
        Read::Bad(why) => {
            let remedy = "move it away and restart the daemon, which writes it again";
            return vec![Finding::problem("trust", why.clone()).to_do(remedy)];
        }
    };
    let mut found = Vec::new();
    for peer in cluster.peers.values().filter(|p| p.node_id != me && !is_ahead(facts, cluster)) {
        let id = peer.node_id.short();
        let text = match trust.get(peer.node_id) {
            None => format!("trust.yaml lacks the peer {} ({id})", peer.advertise),
            Some(known) if known.fingerprint != peer.fingerprint => {
                format!("trust.yaml has another key for {} ({id}) than cluster.yaml", peer.advertise)
            }
            Some(_) => continue,
        };
        found.push(Finding::problem("trust", text).to_do(again));
    }
    let strangers = trust.nodes().filter(|k| !cluster.peers.contains_key(&k.node_id));
    // Trust follows what is committed.
    for known in strangers.filter(|_| !is_ahead(facts, cluster)) {
        let text = format!("trust.yaml has {} ({}), which is no peer", known.address, known.node_id.short());
        found.push(Finding::problem("trust", text).to_do(again));
    }
    or_ok(found, || {
        Finding::ok("trust", format!("{}, as the configuration says", several(trust.nodes().count(), "key")))
    })
}

fn judge_port(facts: &Facts) -> Vec<Finding> {
    let said = |at: &HostPort| at.to_string();
    vec![match &facts.port {
        Port::Listening(at) => Finding::ok("port", format!("{} takes connections", said(at))),
        Port::Free(at) => Finding::ok("port", format!("{} is free", said(at))),
        Port::Deaf(at, why) => Finding::problem("port", format!("{} takes no connections: {why}", said(at)))
            .to_do("is a firewall on this host in the way? otherwise restart the daemon"),
        Port::Taken(why) => Finding::problem("port", why.clone()),
        Port::Unknown => return Vec::new(),
    }]
}

fn judge_disk(facts: &Facts) -> Vec<Finding> {
    let dir = &facts.dir;
    let disk = match &facts.disk {
        Ok(disk) => disk,
        Err(why) => return vec![Finding::warning("disk", format!("cannot tell how full {dir} is: {why}"))],
    };
    if disk.read_only {
        let text = format!("{dir} is on a read-only file system: this node cannot vote or take changes");
        return vec![Finding::problem("disk", text).to_do("mount it for writing; look at the kernel's log")];
    }
    let mut found = Vec::new();
    let free = disk.free / MIB;
    let space = |level| {
        let text = format!("{free} MiB are free for {dir}");
        Finding { level, ..Finding::ok("disk", text) }.to_do("make room")
    };
    if disk.free < DISK_PROBLEM {
        found.push(space(Level::Problem));
    } else if disk.free < DISK_WARNING {
        found.push(space(Level::Warning));
    }
    if let Some(files) = disk.free_files.filter(|n| *n < FILES_WARNING) {
        let level = if files < FILES_PROBLEM { Level::Problem } else { Level::Warning };
        let text = format!("only {files} more files can be made in {dir}");
        found.push(Finding { level, ..Finding::ok("disk", text) }.to_do("make room: remove files"));
    }
    or_ok(found, || Finding::ok("disk", format!("{free} MiB are free, and it can be written to")))
}

fn judge_clock(now: Wall) -> Vec<Finding> {
    if now >= Wall::SANE {
        return Vec::new();
    }
    let text = format!("the clock of this host shows {}", text::rfc3339(now));
    vec![Finding::problem("clock", text).to_do("set it (timedatectl, chrony)")]
}

fn judge_pings(facts: &Facts) -> Vec<Finding> {
    let pings = &facts.pings;
    let whose = if facts.daemon.is_ok() { "the daemon" } else { "this user" };
    let wanted =
        |c: &Cluster| c.checks.values().any(|c| c.enabled && matches!(c.target, Target::Icmp { .. }));
    let used = facts.cluster.good().is_some_and(wanted);
    let remedy = format!(
        "include group {} in the sysctl net.ipv4.ping_group_range (now \"{}\"), or give the daemon CAP_NET_RAW",
        pings.group, pings.range
    );
    let mut found = Vec::new();
    for (family, right) in [("IPv4", pings.v4), ("IPv6", pings.v6)] {
        if right == PingRight::Forbidden {
            let level = if used && family == "IPv4" { Level::Problem } else { Level::Warning };
            let text = format!("{whose} may not ping over {family}");
            found.push(Finding { level, ..Finding::ok("ping", text) }.to_do(remedy.clone()));
        }
    }
    let said = |right| match right {
        PingRight::Datagram => "datagram sockets",
        PingRight::Raw => "raw sockets",
        PingRight::Absent => "not on this host",
        PingRight::Forbidden => "forbidden",
    };
    or_ok(found, || {
        Finding::ok("ping", format!("{whose} may: IPv4 {}, IPv6 {}", said(pings.v4), said(pings.v6)))
    })
}

fn judge_backup(facts: &Facts) -> Finding {
    let make = "qu backup FILE, and keep the file somewhere else";
    match &facts.backup {
        Read::Missing => Finding::warning("backup", "never made on this node").to_do(make),
        Read::Closed(why) | Read::Bad(why) => {
            Finding::warning("backup", format!("nobody can tell when the last one was made: {why}"))
        }
        Read::Good(at) => {
            let (said, age) = (text::rfc3339(*at), facts.now.since(*at));
            let text = format!("the last one was made {} ago ({said})", text::about(age));
            if at.0 > facts.now.0.saturating_add(86_400_000) {
                Finding::warning("backup", format!("the last one is of the future ({said})"))
                    .to_do("look at the clock")
            } else if facts.now.0.saturating_sub(at.0) > BACKUP_OLD {
                Finding::warning("backup", text).to_do(make)
            } else {
                Finding::ok("backup", text)
            }
        }
    }
}
