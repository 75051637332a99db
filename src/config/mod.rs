//! Layer 1: what operators say, and its written forms.
//!
//! `model.rs` holds the values; `yaml.rs` is `cluster.yaml`; `node.rs` is `node.yaml` and the
//! environment that overrides it; `diff.rs` and `merge.rs` serve hand edits; `paths.rs` knows
//! where files are.
#![forbid(unsafe_code)]

pub(crate) mod document;
pub mod model;
pub mod trust;
pub mod node;
pub mod paths;
#[cfg(test)]
mod samples;
mod write;
pub mod yaml;

pub use document::{LARGEST_FILE, YamlError};
pub use model::{
    Alert, Channel, Check, Cluster, Header, MailTls, Mailbox, Name, Peer, Secret, Settings, Target, Url,
};
pub use node::{NodeConfig, Overrides};
pub use paths::Paths;
pub use write::to_yaml;
pub use yaml::from_yaml;
