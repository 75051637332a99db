//! `trust.yaml`: the written form of [`Trust`], a list of nodes.
//!
//! The file follows the peers of the committed configuration; it is for people to read and for a
//! node to know its peers before it has learned anything from them.

use serde::{Deserialize, Serialize};

use super::model::Peer;
use crate::base::id::NodeId;
use crate::base::text::harmless;
use crate::base::units::HostPort;
use crate::identity::{Fingerprint, Known, Trust};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    node_id: NodeId,
    address: HostPort,
    fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cert_pem: String,
}

/// As text for the file.
///
/// # Errors
/// The serialiser's.
pub fn to_yaml(trust: &Trust) -> Result<String, String> {
    let entries: Vec<Entry> = trust
        .nodes()
        .map(|k| Entry {
            node_id: k.node_id,
            address: k.address.clone(),
            fingerprint: k.fingerprint,
            cert_pem: k.cert_pem.clone(),
        })
        .collect();
    serde_yaml::to_string(&entries).map_err(|e| e.to_string())
}

/// From the text of the file.
///
/// # Errors
/// One line that says what is wrong and where; the caller names the file.
pub fn from_yaml(text: &str) -> Result<Trust, String> {
    if text.trim().is_empty() {
        return Err("the file is empty (a list without nodes is written [])".to_owned());
    }
    let entries: Vec<Entry> = serde_yaml::from_str(text).map_err(|e| harmless(&e.to_string()))?;
    let known = entries.into_iter().map(|e| Known {
        node_id: e.node_id,
        address: e.address,
        fingerprint: e.fingerprint,
        cert_pem: e.cert_pem,
    });
    Trust::new(known).map_err(|e| e.to_string())
}

impl From<&Peer> for Known {
    fn from(peer: &Peer) -> Known {
        Known {
            node_id: peer.node_id,
            address: peer.advertise.clone(),
            fingerprint: peer.fingerprint,
            cert_pem: peer.cert_pem.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::{self, KeyKind};
    use crate::identity::{Keys, cert};

    fn trust() -> Trust {
        let made = keys::make(KeyKind::EcdsaP256).unwrap();
        assert!(Keys::from_made(&made).is_ok());
        Trust::new([Known {
            node_id: NodeId::from_random(7),
            address: "[::1]:9901".parse().unwrap(),
            fingerprint: cert::fingerprint_of_pem(&made.cert_pem).unwrap(),
            cert_pem: made.cert_pem,
        }])
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_an_empty_list_too() {
        let trust = trust();
        let yaml = to_yaml(&trust).unwrap();
        assert!(yaml.contains("cert_pem: |"), "{yaml}");
        assert_eq!(from_yaml(&yaml), Ok(trust));
        assert_eq!(from_yaml(&to_yaml(&Trust::default()).unwrap()), Ok(Trust::default()));
    }

    #[test]
    fn a_file_that_is_cut_empty_or_says_more_is_one_line_of_error() {
        let yaml = to_yaml(&trust()).unwrap();
        let cut = &yaml[..yaml.find("-----END").unwrap()];
        let more = format!("{yaml}  since: 2026\n");
        let twice = format!("{yaml}{yaml}");
        for (text, says) in [
            ("", "empty"),
            (cut, "certificate"),
            (more.as_str(), "since"),
            (twice.as_str(), "twice"),
            ("- node_id: x\n", "line 1"),
            ("hello", "invalid type"),
        ] {
            let error = from_yaml(text).unwrap_err();
            assert!(error.contains(says) && error.lines().count() == 1, "{says}: {error}");
        }
    }
}
