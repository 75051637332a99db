//! Everything that the core can be told by another thread.

use crossbeam_channel::Sender;

use super::questions::Trial;
use super::rotate::Basis;
use super::secrets::{Answers, Word};
use crate::base::id::{NodeId, RequestId};
use crate::config::diff::Edit;
use crate::control::message::{Ask, Reply, Request};
use crate::identity::Keys;
use crate::state::command::Body;
use crate::store;
use crate::transport::join::Offer;

/// One thing to be told.
pub enum Event {
    /// From the disk.
    Store(store::Event),
    /// From the control socket.
    Ask {
        /// What is asked.
        request: Request,
        /// Room for one answer.
        reply: Sender<Reply>,
    },
    /// A change that another thread of this daemon has prepared: a peer that joined.
    Propose {
        /// Applied once under this.
        id: RequestId,
        /// What.
        body: Body,
        /// Room for one answer.
        reply: Sender<Reply>,
    },
    /// A question about the cluster secret to every other peer.
    AskAll {
        /// What.
        word: Word,
        /// Room for what came of it.
        reply: Sender<Answers>,
    },
    /// This node was given another cluster secret and wrote it down, or could not.
    SecretTaken {
        /// Which peer waits for an answer, if any.
        from: Option<(NodeId, RequestId)>,
        /// A sentence, when it could not.
        result: Result<(), String>,
    },
    /// Whether this node can have another key, and by which configuration.
    KeyBasis {
        /// Room for one answer.
        reply: Sender<Result<Basis, Reply>>,
    },
    /// This node's next key, which is on disk, is to be shown and proposed.
    RotateKey {
        /// Applied once under this.
        id: RequestId,
        /// What.
        body: Body,
        /// The next key.
        keys: Keys,
        /// Room for one answer.
        reply: Sender<Reply>,
    },
    /// Somebody edited `cluster.yaml`; conflicts were looked for already.
    HandEdit {
        /// What the edit did.
        items: Vec<Edit>,
        /// Room for one answer.
        reply: Sender<Reply>,
    },
    /// What is to be offered to a node that is being added.
    MakeOffer {
        /// Room for one answer.
        reply: Sender<Offer>,
    },
    /// A cluster wants to take this node in.
    Consider {
        /// Who, and with whom.
        offer: Box<Offer>,
        /// Room for one answer.
        reply: Sender<Result<(), String>>,
    },
    /// The messages that a test sends.
    MakeTest {
        /// Which test.
        ask: Ask,
        /// Room for one answer.
        reply: Sender<Result<Vec<Trial>, String>>,
    },
    /// Something that an operator should see in `qu status` until it is withdrawn (no text).
    Note {
        /// One note for each.
        about: &'static str,
        /// The sentence.
        text: Option<String>,
    },
    /// End in order.
    Stop,
}
