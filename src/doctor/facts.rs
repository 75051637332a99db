//! What was seen, without a judgement.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Wall;
use crate::base::units::HostPort;
use crate::config::Cluster;
use crate::config::node::NodeConfig;
use crate::identity::{Fingerprint, Trust};
use crate::view::View;
use crate::view::mesh::{Mesh, Pings};

/// Everything that `qu doctor` looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When.
    pub now: Wall,
    /// The version of the program that looks.
    pub version: String,
    /// The data directory.
    pub dir: String,
    /// What is in it, the directory itself (an empty path) first.
    pub files: Read<Vec<FileFact>>,
    /// Names of the users that own something there.
    pub names: BTreeMap<u32, String>,
    /// `node.yaml`.
    pub node: Read<NodeConfig>,
    /// `keys/`.
    pub keys: Result<KeyFacts, String>,
    /// `cluster.yaml`.
    pub cluster: Read<Cluster>,
    /// The newest config version that `state/` knows; looked at when there is no daemon.
    pub state: Read<u64>,
    /// `trust.yaml`.
    pub trust: Read<Trust>,
    /// The file system of the data directory.
    pub disk: Result<Disk, String>,
    /// When the last backup was made.
    pub backup: Read<Wall>,
    /// The port for other nodes.
    pub port: Port,
    /// How pings may be sent: by the daemon when it answers, by whoever looks otherwise.
    pub pings: Pings,
    /// What the daemon says, or why it does not.
    pub daemon: Result<Daemon, String>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// It is not there.
    Missing,
    /// Whoever looks may not read it: one line.
    Closed(String),
    /// It cannot be read, or not understood: one line.
    Bad(String),
    /// What it says.
    Good(T),
}

impl<T> Read<T> {
    /// What it says, if it says anything.
    pub fn good(&self) -> Option<&T> {
        match self {
            Read::Good(what) => Some(what),
            Read::Missing | Read::Closed(_) | Read::Bad(_) => None,
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// One entry of the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFact {
    /// Below the data directory; empty for itself.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
}

/// The key pair, which belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Of the key.
    pub fingerprint: Fingerprint,
    /// What loading it complained about, apart from modes.
    pub complaints: Vec<String>,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// For users other than root, bytes.
    pub free: u64,
    /// Files that can still be made, where the file system counts them.
    pub free_files: Option<u64>,
    /// Mounted read-only.
    pub read_only: bool,
}

/// The port for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// The daemon answers and something accepts connections there.
    Listening(HostPort),
    /// The daemon answers and nothing accepts connections there: why.
    Deaf(HostPort, String),
    /// There is no daemon, and one could listen there.
    Free(HostPort),
    /// There is no daemon, and one could not: a line with the remedy.
    Taken(String),
    /// Nobody knows which port.
    Unknown,
}

/// What the daemon says.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Where it was asked.
    pub socket: String,
    /// Its picture.
    pub view: Arc<View>,
    /// Who hears whom, or why it does not say so.
    pub mesh: Result<Mesh, String>,
}
