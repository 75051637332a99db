//! Joining: the one thing that a connection with an unknown key may ask for.
//!
//! A member adds a node in two steps, each a connection of its own with ALPN `quptime-join/1`,
//! because a person has to look at the fingerprint in between:
//!
//! ```text
//! identify   asker -> Identify                                 any key passes, nothing is told
//!            asker <- Introduction { node_id, advertise }
//!
//! ask        asker -> Proof { proof }                          only the confirmed key passes
//!            asker <- Proof { proof }    | Refused
//!            asker -> Offer { .. }                             only after both proofs verified
//!            asker <- Accepted { .. }    | Refused
//! ```
//!
//! The proofs are tied to this TLS connection and both keys (`identity::secret`), so what one end
//! shows is of no use anywhere else. The asker proves first: it chose the other end and a person
//! confirmed it, while anybody can connect to the answerer, who therefore shows a proof only to
//! those who know the secret already. The offer (who the peers are and where) is sent last, to
//! nobody who has not proved the secret.
//!
//! Both steps may be repeated at will: nothing is kept between connections but the count of
//! failures, and a node that already accepted an offer of the same cluster accepts it again. What
//! an offer means, and whether it is taken, is the daemon's to say ([`JoinDesk`]).

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::frame;
use crate::base::id::{ClusterId, NodeId};
use crate::base::text;
use crate::base::units::HostPort;
use crate::config::Peer;

/// A step takes at most this, from the first packet to the last answer.
pub const STEP_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// What the asker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who are you?
    Identify,
    /// I know the secret; show me that you do.
    Proof {
        /// Lower-case hex.
        proof: String,
    },
    /// Be one of us.
    Offer(Box<Offer>),
}

/// What the answerer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Request::Identify`].
    Introduction(Introduction),
    /// To [`Request::Proof`].
    Proof {
        /// Lower-case hex.
        proof: String,
    },
    /// To [`Request::Offer`]: it is one of us now, as soon as it is committed.
    Accepted(Introduction),
    /// To anything.
    Refused(Refused),
}

/// Who a node is and where it wants to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Its id.
    pub node_id: NodeId,
    /// Its address, for the configuration.
    pub advertise: HostPort,
    /// Its program version.
    pub version: String,
}

/// What a member offers to the node that it adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The cluster to become part of.
    pub cluster: ClusterId,
    /// Its config version at this moment.
    pub config_version: u64,
    /// The member that asks; the connection's key is checked to be its.
    pub adder: NodeId,
    /// All peers, the adder among them.
    pub peers: Vec<Peer>,
}

impl Offer {
    /// Leaves certificates out when the whole would not fit into what is read from an untrusted
    /// connection: the keys are enough for trust, and the certificates come with the configuration.
    pub(super) fn fitted(mut self) -> Offer {
        let size = serde_json::to_vec(&self).map_or(usize::MAX, |bytes| bytes.len());
        // The rest of the allowance is for the handshake and the other messages.
        if size > frame::LARGEST_UNTRUSTED / 2 {
            for peer in &mut self.peers {
                peer.cert_pem.clear();
            }
        }
        self
    }
}

/// Why the answerer does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refused {
    /// The proof is not of this node's cluster secret on this connection.
    WrongSecret,
    /// This node has no cluster secret.
    NoSecret,
    /// Too many failed attempts from this source.
    Slow {
        /// Wait as long.
        seconds: u64,
    },
    /// Another offer is being considered.
    Busy,
    /// The daemon says no: a sentence for the operator, with the remedy.
    Unwilling(String),
    /// The asker did not keep to the protocol.
    Nonsense(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::WrongSecret => {
                f.write_str("its cluster secret is another one (node.yaml or QUPTIME_CLUSTER_SECRET of both)")
            }
            Refused::NoSecret => {
                f.write_str("it has no cluster secret (set cluster_secret in its node.yaml)")
            }
            Refused::Slow { seconds } => {
                write!(f, "too many failed attempts from this address, try again in {seconds} s")
            }
            Refused::Busy => {
                f.write_str("it is being added by somebody else just now, try again in a moment")
            }
            Refused::Unwilling(why) => f.write_str(&text::harmless(&text::shorten(why, 500))),
            Refused::Nonsense(what) => {
                write!(
                    f,
                    "it did not understand ({}); are the versions too far apart?",
                    text::harmless(&text::shorten(what, 200))
                )
            }
        }
    }
}

/// The daemon's part in being added.
pub trait JoinDesk: Send + Sync {
    /// Who this node is. Called on the links' thread: answers at once.
    fn introduce(&self) -> Introduction;

    /// Whether this node becomes part of the offered cluster. The asker has proved the secret and
    /// to have the adder's key, and the peers can be trusted as a whole (`Trust::new` takes them). Called on a thread of its own, one call at a time; may take a few
    /// seconds. The same offer, or a newer one of the same cluster, may come again and is then
    /// accepted again.
    ///
    /// # Errors
    /// A sentence for the operator on the other side: why not, and what to do.
    fn consider(&self, offer: Offer) -> Result<(), String>;
}

/// Reads a request or a reply; an error is a sentence.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        format!("no message of this version: {}", text::harmless(&text::shorten(&e.to_string(), 200)))
    })
}
