//! Layer 1: what operators say, and its written forms.
//!
//! `model.rs` holds the values, `name.rs`, `secret.rs`, `url.rs` and `mail.rs` the texts in them
//! that cannot be anything; `yaml.rs` reads `cluster.yaml` and `write.rs` writes it; `node.rs`
//! is `node.yaml` and the environment that overrides it; `document/` is what both know of YAML, on
//! top of the YAML library, which nothing outside of this folder meets; `diff.rs` and `merge.rs`
//! serve hand edits; `kept.rs` reads what operators keep in version control; `paths.rs` knows where files
//! are.
#![forbid(unsafe_code)]

pub mod diff;
pub(crate) mod document;
pub mod kept;
mod mail;
pub mod merge;
pub mod model;
mod name;
pub mod node;
pub mod paths;
#[cfg(test)]
mod samples;
mod secret;
pub mod trust;
mod url;
pub mod write;
pub mod yaml;

pub use diff::{Difference, Edit, differences};
pub use document::{LARGEST_FILE, YamlError};
pub use kept::Kept;
pub use merge::{History, Refused, conflicts, hand_edit, merged};
pub use model::{
    Alert, Channel, Check, Checks, Cluster, Header, MailTls, Mailbox, Name, Peer, Secret, Settings, Target,
    Url,
};
pub use node::{NodeConfig, Overrides};
pub use paths::Paths;
pub use write::{Form, to_yaml, written};
pub use yaml::from_yaml;
