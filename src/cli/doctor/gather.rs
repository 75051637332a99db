//! What `qu doctor` looks at: files of the data directory, the port, and what the daemon says.
//!
//! Everything is opened for reading only. Judging is `crate::doctor`'s.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, RealClock, Wall};
use crate::base::file;
use crate::base::text;
use crate::base::units::{Host, HostPort};
use crate::config::node::{NodeConfig, Overrides};
use crate::config::paths::Paths;
use crate::config::{Cluster, trust, yaml};
use crate::control::{Ask, Reply};
use crate::doctor::{Daemon, Disk, Facts, FileFact, FileKind, KeyFacts, Port, Read};
use crate::identity::{Trust, keys};
use crate::sys::{cred, disk};
use crate::view::mesh::Mesh;
use crate::view::{Filter, View};

use super::super::parse::Said;
use super::super::{Failure, Session, ask, wiring};

/// The largest file that is read, bytes; what a start reads.
const LARGEST: u64 = 64 * 1024 * 1024;
/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 2000;
/// How long the own port may take to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// The files follow the committed configuration within a moment: so often they are looked at again.
const LOOKS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(250);

/// Looks at everything.
pub fn facts(session: &Session<'_>, said: &Said) -> Result<Facts, Failure> {
    let given = wiring::data_dir(session, said)?;
    let dir = fs::canonicalize(&given).unwrap_or(given);
    let paths = Paths::new(&dir);
    let files = list(&dir);
    let daemon = daemon(session);
    let node = node(session, &paths);
    let (cluster, trust, daemon) = settled(session, &paths, daemon);
    let state = state(&paths, daemon.is_ok());
    let port = port(&node, daemon.as_ref().ok());
    let here = daemon.as_ref().ok().and_then(|d| d.mesh.as_ref().ok()).and_then(|m| m.here.as_ref());
    let pings = here.map_or_else(wiring::pings, |h| h.pings.clone());
    let owners = files.good().into_iter().flatten().map(|f| f.uid).chain(here.map(|h| h.uid));
    let names: BTreeMap<u32, String> = owners.filter_map(|uid| Some((uid, cred::user_name(uid)?))).collect();
    Ok(Facts {
        now: RealClock::new().wall(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dir: dir.display().to_string(),
        files,
        names,
        node,
        keys: key_pair(&paths),
        cluster,
        state,
        trust,
        disk: disk::space(&dir).map_err(|e| e.to_string()).map(|s| Disk {
            free: s.free,
            free_files: s.free_files,
            read_only: s.read_only,
        }),
        backup: backup(&dir),
        port,
        pings,
        daemon,
    })
}

/// The directory and what is in it, two levels deep.
fn list(dir: &Path) -> Read<Vec<FileFact>> {
    let unseen = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Read::Missing,
        io::ErrorKind::PermissionDenied => Read::Closed(e.to_string()),
        _ => Read::Bad(e.to_string()),
    };
    let mut found = match fact(dir, String::new()) {
        Ok(own) => vec![own],
        Err(e) => return unseen(e),
    };
    for below in ["", "keys", "state"] {
        let entries = match fs::read_dir(dir.join(below)) {
            Ok(entries) => entries,
            Err(e) if below.is_empty() => return unseen(e),
            // Told by its mode, or it is not there.
            Err(_) => continue,
        };
        for entry in entries.flatten().take(MOST_ENTRIES) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            // Files come and go while a daemon runs.
            found.extend(fact(&entry.path(), path));
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Read::Good(found)
}

fn fact(at: &Path, path: String) -> io::Result<FileFact> {
    let meta = fs::metadata(at).or_else(|_| fs::symlink_metadata(at))?;
    let kind = match () {
        () if meta.is_dir() => FileKind::Directory,
        () if meta.is_file() => FileKind::File,
        () => FileKind::Other,
    };
    Ok(FileFact { path, kind, mode: meta.permissions().mode() & 0o7777, uid: meta.uid() })
}

/// A text file, understood or not.
fn read<T>(path: &Path, understand: impl FnOnce(&str) -> Result<T, String>) -> Read<T> {
    match file::read_text(path, LARGEST) {
        Ok(text) => understand(&text).map_or_else(Read::Bad, Read::Good),
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => Read::Missing,
        Err(e) if e.source.kind() == io::ErrorKind::PermissionDenied => Read::Closed(text::chain(&e)),
        Err(e) => Read::Bad(text::chain(&e)),
    }
}

/// `node.yaml` with what the environment puts over it.
fn node(session: &Session<'_>, paths: &Paths) -> Read<NodeConfig> {
    read(&paths.node_yaml(), |said| {
        let host = "localhost";
        let flags = Overrides::default();
        NodeConfig::load("node.yaml", said, &wiring::variable(session), flags, host)
            .map_err(|e| e.to_string())
    })
}

fn key_pair(paths: &Paths) -> Result<KeyFacts, String> {
    let (keys, complaints) = keys::load(&paths.keys()).map_err(|e| text::chain(&e))?;
    // Modes are judged with those of all files.
    let complaints = complaints.into_iter().filter(|c| !c.contains(" has mode ")).collect();
    Ok(KeyFacts { fingerprint: keys.fingerprint(), complaints })
}

fn cluster(paths: &Paths) -> Read<Cluster> {
    let mut id = 0;
    let mut new_id = || {
        id += 1;
        id << 64
    };
    read(&paths.cluster_yaml(), |said| {
        yaml::from_yaml("cluster.yaml", said, &mut new_id).map_err(|e| e.to_string())
    })
}

/// A running daemon says more, and writes there.
fn state(paths: &Paths, answers: bool) -> Read<u64> {
    if answers {
        return Read::Missing;
    }
    match wiring::state_version(paths) {
        Ok(version) => version.map_or(Read::Missing, Read::Good),
        // Whether whoever looks may, the directory tells.
        Err(why) if fs::read_dir(paths.state()).is_err() => Read::Closed(why),
        Err(why) => Read::Bad(why),
    }
}

fn trust(paths: &Paths) -> Read<Trust> {
    read(&paths.trust_yaml(), |said| trust::from_yaml(said).map_err(|e| format!("trust.yaml: {e}")))
}

/// One line, RFC 3339 in UTC.
fn backup(dir: &Path) -> Read<Wall> {
    read(&dir.join("last-backup"), |said| {
        let line = said.trim();
        text::parse_rfc3339(line).ok_or_else(|| format!("last-backup says {:?}", text::shorten(line, 60)))
    })
}

/// The daemon's picture, then who hears whom.
fn daemon(session: &Session<'_>) -> Result<Daemon, String> {
    let view = view(session)?;
    let socket = wiring::socket(session).path.display().to_string();
    Ok(Daemon { socket, view, mesh: mesh(session) })
}

fn view(session: &Session<'_>) -> Result<Arc<View>, String> {
    let filter = Filter { no_checks: true, ..Filter::default() };
    match question(session, Ask::Status(filter))? {
        Reply::View(view) => Ok(view),
        other => Err(why(&other)),
    }
}

fn mesh(session: &Session<'_>) -> Result<Mesh, String> {
    match question(session, Ask::Mesh)? {
        Reply::Mesh(mesh) => Ok(*mesh),
        other => Err(why(&other)),
    }
}

fn question(session: &Session<'_>, question: Ask) -> Result<Reply, String> {
    let patience = question.patience();
    match ask::attempt(session, question, patience) {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(e)) => Err(text::chain(&e)),
        Err(Failure::Failed(why) | Failure::Usage(why) | Failure::NotNow(why)) => Err(why),
        Err(_) => Err("the daemon cannot be asked".to_owned()),
    }
}

fn why(reply: &Reply) -> String {
    match reply {
        Reply::Refused { text }
        | Reply::NoQuorum { text }
        | Reply::NoMaster { text }
        | Reply::TryAgain { text }
        | Reply::Unsure { text } => text.clone(),
        _ => "it answered another question".to_owned(),
    }
}

/// The files of the configuration, once they have followed what is committed.
fn settled(
    session: &Session<'_>,
    paths: &Paths,
    mut daemon: Result<Daemon, String>,
) -> (Read<Cluster>, Read<Trust>, Result<Daemon, String>) {
    let mut looks = 1;
    loop {
        let (cluster, trust) = (cluster(paths), trust(paths));
        let Ok(answered) = &mut daemon else { return (cluster, trust, daemon) };
        if looks >= LOOKS || agree(&cluster, &trust, &answered.view) {
            return (cluster, trust, daemon);
        }
        looks += 1;
        // sleeps: the daemon writes the files in its own time and tells nobody.
        std::thread::sleep(PAUSE);
        if let Ok(view) = view(session) {
            answered.view = view;
        }
    }
}

fn agree(cluster: &Read<Cluster>, trust: &Read<Trust>, view: &View) -> bool {
    let Some(cluster) = cluster.good() else { return false };
    if view.config_version == 0 {
        // Nothing is committed as far as this node knows: there is nothing to follow.
        return true;
    }
    let others = cluster.peers.values().filter(|p| p.node_id != view.node);
    let keys: Vec<_> = others.map(|p| (p.node_id, p.fingerprint)).collect();
    let none = Trust::default();
    let kept = trust.good().unwrap_or(&none).nodes().map(|k| (k.node_id, k.fingerprint));
    cluster.version == view.config_version && kept.eq(keys)
}

/// Whether the daemon takes connections, or one could.
fn port(node: &Read<NodeConfig>, daemon: Option<&Daemon>) -> Port {
    let told = daemon.and_then(|d| d.mesh.as_ref().ok()).and_then(|m| m.here.as_ref());
    let at = match (told, node.good()) {
        (Some(here), _) => here.listens.clone(),
        (None, Some(node)) => HostPort::new(Host::Ip(node.bind), node.port),
        (None, None) => return Port::Unknown,
    };
    let Host::Ip(ip) = at.host else { return Port::Unknown };
    if daemon.is_none() {
        return match wiring::could_listen(ip, at.port) {
            Ok(()) => Port::Free(at),
            Err(why) => Port::Taken(why),
        };
    }
    let to = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match TcpStream::connect_timeout(&SocketAddr::new(to, at.port), CONNECT) {
        Ok(_) => Port::Listening(at),
        Err(e) => Port::Deaf(at, e.to_string()),
    }
}
