//! `qu backup` and `qu restore`: the files that make a node, in one archive.
//!
//! The archive is a tar file of a fixed list of names, with their SHA-256 sums as its last member,
//! so that `tar tf` lists it and `sha256sum -c` checks what was taken out of it. `state/` is not in
//! it: an old one would make a node forget what it promised. A restored node learns the state from
//! the others (I5).
//!
//! Nothing of an archive is written before all of it was judged: only names of the list, sums that
//! fit, files that this version understands, a key that belongs to its certificate. Nothing but
//! the files of the list is ever written, whatever an archive may hold.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lock::DirLock;
use super::start;
use crate::base::clock::Wall;
use crate::base::id::{ClusterId, NodeId};
use crate::base::rng::Rng;
use crate::base::tar::{self, Member};
use crate::base::{file, text};
use crate::config::node::Overrides;
use crate::config::paths::Paths;
use crate::config::{Cluster, trust, yaml};
use crate::identity::fingerprint::digest;
use crate::identity::{Keys, keys};

/// What is in an archive: name, mode, and the most bytes. `node.yaml` is the last one to be
/// written: with it the node is whole.
const PARTS: [(&str, u32, u64); 9] = [
    ("cluster.yaml", 0o600, LARGEST),
    ("trust.yaml", 0o600, LARGEST),
    ("keys/cert.pem", 0o644, 64 * 1024),
    ("keys/public.pem", 0o644, 64 * 1024),
    ("keys/private.pem", 0o600, 64 * 1024),
    ("keys/next/cert.pem", 0o644, 64 * 1024),
    ("keys/next/public.pem", 0o644, 64 * 1024),
    ("keys/next/private.pem", 0o600, 64 * 1024),
    ("node.yaml", 0o600, 64 * 1024),
];
/// Written by the daemon when it can, or only while the node changes its key; a node is one without
/// them.
const MAY_LACK: [&str; 5] =
    ["trust.yaml", "keys/public.pem", "keys/next/cert.pem", "keys/next/public.pem", "keys/next/private.pem"];
const SUMS: &str = "SHA256SUMS";
const LARGEST: u64 = 64 * 1024 * 1024;
/// The largest archive that is read, bytes.
pub const LARGEST_ARCHIVE: u64 = 3 * LARGEST;
/// How often the files are read until they stay the same.
const TRIES: usize = 10;

/// What an archive holds, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which node.
    pub node: NodeId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The config version of its `cluster.yaml`.
    pub version: u64,
    /// When it was made.
    pub at: Wall,
}

/// Where the time of the last backup is noted, for `qu doctor`: RFC 3339, one line.
#[must_use]
pub fn marker(paths: &Paths) -> PathBuf {
    paths.dir().join("last-backup")
}

/// The archive of the node in this directory, as of one moment, whether its daemon runs or not.
///
/// # Errors
/// One line that names the file.
pub fn pack(paths: &Paths, wall: Wall) -> Result<(Vec<u8>, Content), String> {
    let time = wall.0 / 1000;
    let mut members = read_parts(paths, time)?;
    for _ in 0..TRIES {
        let again = read_parts(paths, time)?;
        if again == members {
            let content = judge(&members).map_err(|e| format!("{e}; mend it first"))?;
            let bytes = sums(&members).into_bytes();
            members.push(Member { name: SUMS.to_owned(), mode: 0o644, time, bytes });
            let archive = tar::write(&members).map_err(|e| e.to_string())?;
            return Ok((archive, content));
        }
        members = again;
    }
    Err(format!("the files in {} change all the time: try again", paths.dir().display()))
}

fn read_parts(paths: &Paths, time: u64) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    for (name, mode, most) in PARTS {
        match file::read_text(&paths.dir().join(name), most) {
            Ok(text) => {
                members.push(Member { name: name.to_owned(), mode, time, bytes: text.into_bytes() });
            }
            Err(e) if e.source.kind() == io::ErrorKind::NotFound && MAY_LACK.contains(&name) => {}
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                return Err(format!(
                    "{} is not there: this is no node, or not its data directory (see --dir)",
                    e.path.display()
                ));
            }
            Err(e) => return Err(text::chain(&e)),
        }
    }
    Ok(members)
}

/// As sha256sum(1) writes and reads them.
fn sums(members: &[Member]) -> String {
    let mut out = String::new();
    for member in members {
        for byte in digest(&member.bytes) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02x}");
        }
        let _ = writeln!(out, "  {}", member.name);
    }
    out
}

/// Puts an archive into a file of mode 0600 that is whole or not there.
///
/// # Errors
/// One line; an existing file stays unless `force`.
pub fn save(target: &Path, archive: &[u8], force: bool) -> Result<(), String> {
    let done =
        if force { file::replace(target, archive, 0o600) } else { file::create(target, archive, 0o600) };
    done.map_err(|e| match e.source.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists: choose another name, or replace it with --force", target.display())
        }
        _ => format!("{}; no backup was made", text::chain(&e)),
    })
}

/// Notes when the last backup was made.
///
/// # Errors
/// One line; the backup itself is good.
pub fn mark(paths: &Paths, wall: Wall) -> Result<(), String> {
    let path = marker(paths);
    file::replace(&path, format!("{}\n", text::rfc3339(wall)).as_bytes(), 0o600).map_err(|e| text::chain(&e))
}

/// An archive that was judged good.
pub struct Unpacked {
    members: Vec<Member>,
    /// What it holds.
    pub content: Content,
}

/// Judges an archive; nothing is written.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn unpack(archive: &[u8]) -> Result<Unpacked, String> {
    let mut members = tar::read(archive).map_err(|e| e.to_string())?;
    let mut seen = std::collections::BTreeSet::new();
    for member in &members {
        let part = PARTS.iter().find(|(name, ..)| *name == member.name);
        if part.is_none() && member.name != SUMS {
            let name = text::harmless(&text::shorten(&member.name, 100));
            return Err(format!("it holds {name:?}, which is no part of a backup"));
        }
        if part.is_some_and(|(_, _, most)| member.bytes.len() as u64 > *most) {
            return Err(format!("{} in it is too large", member.name));
        }
        if !seen.insert(member.name.clone()) {
            return Err(format!("it holds {} twice", member.name));
        }
    }
    let told = members.iter().position(|m| m.name == SUMS).map(|at| members.remove(at));
    let told = told.ok_or_else(|| format!("it holds no {SUMS}: it was not made by qu backup"))?;
    let lacks = |(name, ..): &&(&str, u32, u64)| !MAY_LACK.contains(name) && !seen.contains(*name);
    if let Some((name, ..)) = PARTS.iter().find(lacks) {
        return Err(format!("it holds no {name}"));
    }
    if told.bytes != sums(&members).as_bytes() {
        return Err(format!("its files are not those of {SUMS}: it was damaged or changed"));
    }
    let content = judge(&members)?;
    Ok(Unpacked { members, content })
}

/// Whether these files make a node that this version understands.
fn judge(members: &[Member]) -> Result<Content, String> {
    let find = |name: &str| members.iter().find(|m| m.name == name);
    let text_of = |name: &str| {
        let bytes = find(name).map(|m| m.bytes.as_slice()).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))
    };
    let node = Overrides::from_file("node.yaml", text_of("node.yaml")?).map_err(|e| e.to_string())?;
    let node = node.node_id.ok_or("node.yaml: node_id is missing")?;
    let keys_in = |dir: &str| {
        let text_of = |name: &str| text_of(&format!("{dir}/{name}")).map(str::to_owned);
        let (private_pem, public_pem) = (text_of("private.pem")?, text_of("public.pem")?);
        let made = keys::Made { private_pem, public_pem, cert_pem: text_of("cert.pem")? };
        Keys::from_made(&made).map_err(|e| format!("{dir}/{}", text::chain(&e)))
    };
    let mut fingerprints = vec![keys_in("keys")?.fingerprint()];
    if find("keys/next/private.pem").is_some() {
        // While the node changes its key either may be the one that the cluster knows.
        fingerprints.push(keys_in("keys/next")?.fingerprint());
    }
    let cluster = cluster_of(text_of("cluster.yaml")?)?;
    if find("trust.yaml").is_some() {
        trust::from_yaml(text_of("trust.yaml")?).map_err(|e| format!("trust.yaml: {e}"))?;
    }
    let known = cluster.peers.get(&node).map(|peer| peer.fingerprint);
    if let Some(known) = known.filter(|known| !fingerprints.contains(known)) {
        return Err(format!("cluster.yaml names another key for this node ({known}) than keys/ holds"));
    }
    let at = Wall(members.first().map_or(0, |m| m.time).saturating_mul(1000));
    Ok(Content { node, cluster: cluster.id, version: cluster.version, at })
}

fn cluster_of(said: &str) -> Result<Cluster, String> {
    // Only to be looked at: ids that the file leaves out are not kept.
    let mut rng = Rng::new(0);
    yaml::from_yaml("cluster.yaml", said, &mut || rng.next_u128()).map_err(|e| e.to_string())
}

/// How a restore went, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the state was put that was there before.
    pub state_kept: Option<PathBuf>,
}

/// Puts the files of an archive into a data directory whose daemon does not run. A node that is
/// there already stays unless `force`; and a different node, or one of a different cluster, even
/// then.
///
/// # Errors
/// One line. Before the first file is written every reason to refuse has been looked for; a disk
/// that fails half-way leaves no `node.yaml` that was not there before, and the same command can be
/// given again.
pub fn restore(paths: &Paths, unpacked: &Unpacked, force: bool, wall: Wall) -> Result<Restored, String> {
    let is_node = paths.node_yaml().exists();
    if is_node && !force {
        return Err(format!(
            "{} exists: this is a node already; --force replaces its files (or move the directory away)",
            paths.node_yaml().display()
        ));
    }
    is_the_same(paths, &unpacked.content)?;
    file::directory(paths.dir(), 0o750).map_err(|e| text::chain(&e))?;
    let _lock = DirLock::take(&paths.lock()).map_err(|e| text::chain(&e))?;
    // First: an old state beside restored files is what must never be.
    let state_kept = put_state_aside(paths, wall)?;
    let note = start::join_note(paths);
    if note.exists() {
        fs::remove_file(&note).map_err(|e| format!("remove {}: {e}", note.display()))?;
    }
    for (name, mode, _) in PARTS {
        let Some(member) = unpacked.members.iter().find(|m| m.name == name) else { continue };
        let path = paths.dir().join(name);
        if let Some(dir) = path.parent() {
            file::directory(dir, 0o700).map_err(|e| text::chain(&e))?;
        }
        file::replace(&path, &member.bytes, mode).map_err(|e| text::chain(&e))?;
    }
    Ok(Restored { state_kept })
}

/// A directory that another node lives in, or one of another cluster, is not written over.
fn is_the_same(paths: &Paths, content: &Content) -> Result<(), String> {
    let here = file::read_text(&paths.node_yaml(), LARGEST).ok();
    // What cannot be read cannot be mixed up; that is what a backup is for.
    let here = here.and_then(|t| Overrides::from_file("node.yaml", &t).ok()).and_then(|o| o.node_id);
    if let Some(here) = here.filter(|id| *id != content.node) {
        return Err(format!(
            "the backup is of node {}, and {} is node {here}: move the directory away first",
            content.node,
            paths.dir().display()
        ));
    }
    let here = file::read_text(&paths.cluster_yaml(), LARGEST).ok();
    let here = here.and_then(|t| cluster_of(&t).ok()).map(|c| c.id);
    match here.filter(|id| *id != content.cluster) {
        Some(here) => Err(format!(
            "the backup is of cluster {}, and cluster.yaml in {} is of cluster {here}: move the directory away first",
            content.cluster,
            paths.dir().display()
        )),
        None => Ok(()),
    }
}

fn put_state_aside(paths: &Paths, wall: Wall) -> Result<Option<PathBuf>, String> {
    if !paths.state().exists() {
        return Ok(None);
    }
    let aside = file::beside(&paths.state(), &format!(".replaced-{}", text::compact_time(wall)));
    fs::rename(paths.state(), &aside)
        .map_err(|e| format!("put {} aside: {e}; nothing was restored", paths.state().display()))?;
    file::sync_parent(&aside).map_err(|e| text::chain(&e))?;
    Ok(Some(aside))
}
