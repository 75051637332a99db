//! What a daemon finds when it starts: the node, its keys, its cluster, its `state/`; and what it
//! makes where there is nothing yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::keyring::KeyRing;
use super::present;
use crate::base::clock::{Clock, Wall};
use crate::base::id::{ClusterId, NodeId};
use crate::base::units::{HostPort, Span};
use crate::base::{file, text};
use crate::config::node::{NodeConfig, Overrides};
use crate::config::paths::Paths;
use crate::config::{Cluster, Peer, Secret, Settings, trust, write, yaml};
use crate::identity::trust::TrustError;
use crate::identity::{Fingerprint, KeyKind, Keys, Known, Trust, keys, secret};
use crate::log;
use crate::quorum::io::{Boot, Remembered, Timing};
use crate::quorum::message::Entry;
use crate::state::snapshot;
use crate::store::disk::RealDisk;
use crate::store::{Opened, Store, StoreError};

/// The largest file that is read at the start, bytes.
pub(super) const LARGEST: u64 = 64 * 1024 * 1024;

/// Where an accepted offer is noted until the node has started anew as a member (`joining.rs`).
#[must_use]
pub fn join_note(paths: &Paths) -> std::path::PathBuf {
    paths.dir().join("join.yaml")
}

/// A cluster that nothing is known of.
#[must_use]
pub fn nobody(id: ClusterId) -> Cluster {
    Cluster {
        id,
        version: 0,
        updated_at: Wall(0),
        updated_by: None,
        settings: Settings::default(),
        peers: BTreeMap::new(),
        checks: crate::config::Checks::new(),
        alerts: BTreeMap::new(),
    }
}

/// The cluster's settings as the quorum core wants them.
#[must_use]
pub fn timing(settings: &Settings) -> Timing {
    Timing {
        heartbeat: settings.heartbeat.duration(),
        dead_after: settings.dead_after.duration(),
        cooldown: settings.master_cooldown.duration(),
    }
}

/// Whom a node of this cluster trusts: every other peer, by its key.
///
/// # Errors
/// [`TrustError`] when two peers share a key.
pub fn trust_of(cluster: &Cluster, me: NodeId) -> Result<Trust, TrustError> {
    let others = cluster.peers.values().filter(|p| p.node_id != me);
    Trust::new(others.map(|p| Known {
        node_id: p.node_id,
        address: p.advertise.clone(),
        fingerprint: p.fingerprint,
        cert_pem: p.cert_pem.clone(),
    }))
}

/// Writes `trust.yaml` for this configuration. Always before `cluster.yaml`: who finds peers in the one
/// finds their keys in the other.
///
/// # Errors
/// One line.
pub fn write_trust(paths: &Paths, cluster: &Cluster, me: NodeId) -> Result<(), String> {
    let trusted = trust_of(cluster, me).map_err(|e| e.to_string())?;
    let text = trust::to_yaml(&trusted)?;
    file::replace(&paths.trust_yaml(), text.as_bytes(), 0o600).map_err(|e| text::chain(&e))
}

/// A node that was made.
pub struct MadeNode {
    /// Its configuration.
    pub config: NodeConfig,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// A secret was made for it.
    pub new_secret: bool,
}

/// Makes a node where there is none: keys, `node.yaml`, and the `cluster.yaml` of a cluster of one.
///
/// # Errors
/// One line. An existing `node.yaml` stays, and so do keys that are there already (an interrupted
/// earlier try is completed).
pub fn make_node(paths: &Paths, given: Overrides, kind: KeyKind, wall: Wall) -> Result<MadeNode, String> {
    if paths.node_yaml().exists() {
        let at = paths.node_yaml();
        return Err(format!(
            "{} exists: this is a node already (to begin anew, move it and the rest of the directory away)",
            at.display()
        ));
    }
    file::directory(paths.dir(), 0o750).map_err(|e| text::chain(&e))?;
    let new_secret = given.secret.is_none();
    let secret = match given.secret.clone() {
        Some(secret) => secret,
        None => Secret::new(secret::make().map_err(|e| e.to_string())?),
    };
    let node_id = match given.node_id {
        Some(id) => id,
        None => NodeId::from_random(crate::identity::random().map_err(|e| e.to_string())?),
    };
    let given = Overrides { secret: Some(secret), node_id: Some(node_id), ..given };
    let config = given.complete(&host_name())?;
    if !paths.private_pem().exists() {
        let made = keys::make(kind).map_err(|e| text::chain(&e))?;
        keys::write(&paths.keys(), &made).map_err(|e| text::chain(&e))?;
    }
    let (loaded, _) = keys::load(&paths.keys()).map_err(|e| text::chain(&e))?;
    let cluster = cluster_of_one(&config, &loaded, wall)?;
    write_trust(paths, &cluster, node_id)?;
    file::replace(&paths.cluster_yaml(), write::to_yaml(&cluster).as_bytes(), 0o600)
        .map_err(|e| text::chain(&e))?;
    // Last: with it the node is whole.
    file::create(&paths.node_yaml(), config.to_yaml().as_bytes(), 0o600).map_err(|e| text::chain(&e))?;
    Ok(MadeNode { config, fingerprint: loaded.fingerprint(), new_secret })
}

fn cluster_of_one(config: &NodeConfig, keys: &Keys, wall: Wall) -> Result<Cluster, String> {
    let id = ClusterId::from_random(crate::identity::random().map_err(|e| e.to_string())?);
    let peer = Peer {
        node_id: config.node_id,
        advertise: config.advertise.clone(),
        fingerprint: keys.fingerprint(),
        cert_pem: keys.cert_pem().to_owned(),
    };
    Ok(Cluster {
        version: 1,
        updated_at: wall,
        updated_by: Some(config.node_id),
        peers: BTreeMap::from([(config.node_id, peer)]),
        ..nobody(id)
    })
}

/// This host's name, as it was set.
#[must_use]
pub fn host_name() -> String {
    crate::sys::host::name().trim().to_owned()
}

/// What a node is, read from its directory.
pub struct Node {
    /// `node.yaml` with what overrides it.
    pub config: NodeConfig,
    /// Its keys.
    pub keys: Arc<KeyRing>,
}

/// Reads what makes a node; where there is no `node.yaml`, makes one of the same overrides.
///
/// # Errors
/// One line that names the file and the remedy.
pub fn load_node(paths: &Paths, given: Overrides, wall: Wall) -> Result<Node, String> {
    if wall < Wall::SANE {
        return Err(format!(
            "the clock of this host shows {}: set it (timedatectl, chrony) and start again",
            text::rfc3339(wall)
        ));
    }
    if !paths.node_yaml().exists() {
        let made = make_node(paths, given.clone(), KeyKind::default(), wall)?;
        let id = made.config.node_id;
        log!(Info, "start", "initialised a new node", node = id, fingerprint = made.fingerprint);
    }
    let path = paths.node_yaml();
    let said = file::read_text(&path, LARGEST).map_err(|e| text::chain(&e))?;
    let config = NodeConfig::load("node.yaml", &said, &|_| None, given, &host_name())?;
    let (keys, warnings) = KeyRing::open(paths).map_err(|e| text::chain(&e))?;
    for warning in warnings {
        log!(Warn, "start", warning);
    }
    Ok(Node { config, keys: Arc::new(keys) })
}

/// What the quorum core and its surroundings start from.
pub struct Found {
    /// For the quorum core.
    pub boot: Boot,
    /// The disk, ready to be written.
    pub store: Store<RealDisk>,
    /// The cluster as last known: for links and trust until there is a state.
    pub cluster: Cluster,
    /// To begin with, until the log has been gone through: of all dead-afters that it speaks of the
    /// longest, since this node may have promised a master to help nobody else for that long.
    pub timing: Timing,
    /// What `state/` says was committed last, if it says anything.
    pub committed: Option<Arc<Cluster>>,
    /// The configuration that `cluster.yaml` was written from, as far as `state/` still tells: it
    /// may be any version that the log goes through.
    pub filed: Option<Arc<Cluster>>,
    /// Whom to trust until there is a state.
    pub trust: Arc<Trust>,
    /// Everybody whom any file names, for a node that has to catch up.
    pub known: Arc<Trust>,
}

/// Opens `state/` and decides what this node may claim to know. `told`: a majority of those whom
/// `cluster.yaml` names is enough to start again from it.
///
/// # Errors
/// One line that names the file and the remedy.
pub fn find(paths: &Paths, node: &Node, clock: &dyn Clock, told: bool) -> Result<Found, String> {
    take_up_offer(paths, node)?;
    let file = read_cluster(paths)?;
    let (store, opened) = open_state(paths, clock)?;
    match opened {
        Opened::Remembered(remembered) => remembering(paths, node, store, remembered, file, told),
        Opened::Empty => blank(paths, node, clock, store, file, told),
    }
}

fn remembering(
    paths: &Paths,
    node: &Node,
    store: Store<RealDisk>,
    remembered: Remembered,
    file: Option<Cluster>,
    told: bool,
) -> Result<Found, String> {
    let me = node.config.node_id;
    let state = snapshot::from_text(&remembered.snapshot.data).map_err(|e| format!("state/: {e}"))?;
    let cluster = (**state.cluster()).clone();
    let timing = remembered_timing(&cluster.settings, &remembered.entries);
    let past = present::past(&remembered.entries, state, file.as_ref().map_or(0, |f| f.version))?;
    if let Some((file, shown)) = present::beside_state(file.as_ref(), &past.newest, me, told)? {
        // As without `state/`: what that says is mute. Whoever it names may bring the node back.
        finish_rotation(file, node);
        let before = [&*past.newest, &cluster].into_iter().flat_map(|c| c.peers.values()).map(Known::from);
        let trust = trust_of(file, me).map_err(|e| e.to_string())?;
        let trust = before.filter(|k| k.node_id != me).fold(trust, also);
        let known = Arc::new(and_kept(trust, paths, me)?);
        let (life, term) = (present::life()?, present::term(&remembered));
        return Ok(Found {
            boot: Boot::Blank { life, term, file: Some(shown) },
            store,
            cluster: file.clone(),
            timing,
            committed: None,
            filed: None,
            trust: Arc::clone(&known),
            known,
        });
    }
    let trust = trust_of(&cluster, me).map_err(|e| e.to_string())?;
    finish_rotation(&cluster, node);
    let in_file = file.iter().flat_map(|f| f.peers.values().map(Known::from));
    let known = and_kept(in_file.fold(trust.clone(), also), paths, me)?;
    Ok(Found {
        boot: Boot::Remembered(remembered),
        store,
        cluster,
        timing,
        committed: Some(past.snapshot),
        filed: past.filed,
        trust: Arc::new(trust),
        known: Arc::new(known),
    })
}

fn blank(
    paths: &Paths,
    node: &Node,
    clock: &dyn Clock,
    store: Store<RealDisk>,
    file: Option<Cluster>,
    told: bool,
) -> Result<Found, String> {
    let cluster = match file {
        Some(cluster) => cluster,
        None => {
            let cluster = cluster_of_one(&node.config, &node.keys.held().current, clock.wall())?;
            log!(Warn, "start", "there is no cluster.yaml and no state: starting as a new cluster of one");
            cluster
        }
    };
    let trusted = trust_of(&cluster, node.config.node_id).map_err(|e| e.to_string())?;
    let trusted = Arc::new(and_kept(trusted, paths, node.config.node_id)?);
    let others = trusted.nodes().any(|k| !cluster.peers.contains_key(&k.node_id));
    let file = present::without_state(&cluster, others, told)?;
    let boot = Boot::Blank { life: present::life()?, term: 0, file };
    let timing = timing(&cluster.settings);
    let trust = Arc::clone(&trusted);
    Ok(Found { boot, store, cluster, timing, committed: None, filed: None, trust, known: trusted })
}

/// A new key that was committed before the end, and not in the files yet.
fn finish_rotation(cluster: &Cluster, node: &Node) {
    let Some(peer) = cluster.peers.get(&node.config.node_id) else { return };
    match node.keys.settle(peer.fingerprint) {
        Ok(false) => {}
        Ok(true) => {
            log!(Info, "keys", "the key of this node is another one now", fingerprint = peer.fingerprint)
        }
        Err(e) => log!(Error, "keys", "the files of the new key are behind", why = text::chain(&e)),
    }
}

/// One more, unless the node or the key is there already.
#[must_use]
pub fn also(trust: Trust, known: Known) -> Trust {
    if trust.get(known.node_id).is_some() || trust.who(&known.fingerprint).is_some() {
        return trust;
    }
    trust.with(known).unwrap_or(trust)
}

/// And whom `trust.yaml` names.
fn and_kept(trust: Trust, paths: &Paths, me: NodeId) -> Result<Trust, String> {
    let Ok(text) = file::read_text(&paths.trust_yaml(), LARGEST) else { return Ok(trust) };
    let kept = trust::from_yaml(&text).map_err(|e| format!("{}: {e}", paths.trust_yaml().display()))?;
    Ok(kept.nodes().filter(|k| k.node_id != me).cloned().fold(trust, also))
}

/// The snapshot's timing, with the longest dead-after that any entry above it sets.
fn remembered_timing(settings: &Settings, entries: &[Entry]) -> Timing {
    let texts = entries.iter().filter_map(|e| e.command.as_ref()).map(|c| &c.text);
    let values = texts
        .filter(|text| text.contains("dead_after"))
        .filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .filter_map(|value| longest_in(&value));
    let timing = timing(settings);
    Timing { dead_after: values.fold(timing.dead_after, Duration::max), ..timing }
}

/// The longest dead-after anywhere in a written command, whatever its kind.
fn longest_in(value: &serde_json::Value) -> Option<Duration> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = fields.get("dead_after").and_then(|v| v.as_str()?.parse::<Span>().ok());
            own.map(Span::duration).into_iter().chain(fields.values().filter_map(longest_in)).max()
        }
        serde_json::Value::Array(items) => items.iter().filter_map(longest_in).max(),
        _ => None,
    }
}

fn read_cluster(paths: &Paths) -> Result<Option<Cluster>, String> {
    let path = paths.cluster_yaml();
    match fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("read {}: {e}", path.display())),
        Ok(_) => {}
    }
    let said = file::read_text(&path, LARGEST).map_err(|e| text::chain(&e))?;
    let mut rng = present::ids_of(&said);
    yaml::from_yaml("cluster.yaml", &said, &mut || rng.next_u128()).map(Some).map_err(|e| e.to_string())
}

/// Damaged files are never repaired: they are put aside, and the node learns its state from the
/// others without counting until then (I5).
fn open_state(paths: &Paths, clock: &dyn Clock) -> Result<(Store<RealDisk>, Opened), String> {
    let open = || RealDisk::open(&paths.state()).map_err(StoreError::Io).and_then(Store::open);
    match open() {
        Ok(opened) => Ok(opened),
        Err(e @ StoreError::Damaged { .. }) => {
            let aside =
                file::beside(&paths.state(), &format!(".damaged-{}", text::compact_time(clock.wall())));
            fs::rename(paths.state(), &aside)
                .map_err(|why| format!("{}; it cannot be put aside: {why}", text::chain(&e)))?;
            log!(
                Error,
                "start",
                format!(
                    "{}: put aside, and starting without it; this node does not vote until it has learned the state again",
                    text::chain(&e)
                ),
                kept = aside.display()
            );
            open().map_err(|e| text::chain(&e))
        }
        Err(e) => Err(text::chain(&e)),
    }
}

/// An offer was accepted before: this node's own cluster of one goes, and it waits as a member of
/// the other cluster. Every step can be repeated.
fn take_up_offer(paths: &Paths, node: &Node) -> Result<(), String> {
    let note = join_note(paths);
    if !note.exists() {
        return Ok(());
    }
    let said = file::read_text(&note, LARGEST).map_err(|e| text::chain(&e))?;
    let cluster = yaml::from_yaml("join.yaml", &said, &mut || 0).map_err(|e| e.to_string())?;
    if paths.state().exists() {
        fs::remove_dir_all(paths.state()).map_err(|e| format!("remove {}: {e}", paths.state().display()))?;
    }
    write_trust(paths, &cluster, node.config.node_id)?;
    file::replace(&paths.cluster_yaml(), said.as_bytes(), 0o600).map_err(|e| text::chain(&e))?;
    remove(&note)
}

fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|e| format!("remove {}: {e}", path.display()))?;
    file::sync_parent(path).map_err(|e| text::chain(&e))
}

/// Where this node listens, for people.
#[must_use]
pub fn listens(config: &NodeConfig) -> HostPort {
    HostPort::new(crate::base::units::Host::Ip(config.bind), config.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RequestId;
    use crate::quorum::message::Command as Sealed;
    use crate::state::command::{Body, Change, Command, Setting};

    #[test]
    fn a_node_that_starts_keeps_the_longest_promise_that_its_log_speaks_of() {
        let entry = |index, setting| {
            let body = Body::Change(Change::Set(setting));
            let by = NodeId::from_random(1);
            let text = serde_json::to_string(&Command { by, at: Wall(0), body }).unwrap();
            let command = Sealed { request: RequestId::from_random(index), text: text.into() };
            let index = u64::try_from(index).unwrap();
            Entry { index, term: 1, command: Some(command), membership: None }
        };
        let long = entry(1, Setting::DeadAfter(Span::from_secs(10)));
        let short = entry(2, Setting::DeadAfter(Span::from_secs(1)));
        let settings = Settings::default();
        let found = |entries: &[Entry]| remembered_timing(&settings, entries).dead_after.as_secs();
        assert_eq!(found(&[]), 4);
        assert_eq!(found(std::slice::from_ref(&short)), 4, "what was promised before is kept");
        assert_eq!(found(&[long, short]), 10);
    }
}

#[cfg(test)]
mod clock_tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_stops_the_start_and_makes_nothing() {
        let dir = std::env::temp_dir().join(format!("qu-clock-{}", std::process::id()));
        let paths = Paths::new(&dir);
        let why = load_node(&paths, Overrides::default(), Wall(86_400_000)).err().unwrap_or_default();
        assert_eq!(
            why,
            "the clock of this host shows 1970-01-02T00:00:00Z: set it (timedatectl, chrony) and start again"
        );
        assert!(!dir.exists());
    }
}
