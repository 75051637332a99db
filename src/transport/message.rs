//! What peers say to each other: one enum, JSON in length-prefixed frames.
//!
//! The sender is never a field: it is what the connection's key proved. The first message in each
//! direction is [`PeerMessage::Hello`]; it alone may have fields that the reader does not know,
//! because by it versions learn of each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::frame;
use crate::base::id::{ClusterId, NodeId, RequestId};
use crate::base::text;
use crate::config::Peer;
use crate::quorum::message::Message;
use crate::state::command::Body;
use crate::verdict::Report;

/// Only the core's messages (entries, pieces of a snapshot) may be larger than this, bytes.
pub const LARGEST_OTHER: usize = 8 * 1024 * 1024;
/// Questions, answers, greetings and whatever is no message at all: a megabyte of nested JSON
/// unfolds to some tens in memory, so free JSON gets little.
pub const LARGEST_SMALL: usize = 64 * 1024;

/// How messages begin that may be large, and how large; every other is small.
const MAY_BE_LARGE: [(&[u8], usize); 4] = [
    (b"{\"quorum\":", frame::LARGEST),
    (b"{\"reports\":", LARGEST_OTHER),
    (b"{\"propose\":", LARGEST_OTHER),
    (b"{\"peers\":", LARGEST_OTHER),
];

/// The bound of a message that begins like this.
fn bound_of(bytes: &[u8]) -> usize {
    let kind = MAY_BE_LARGE.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    kind.map_or(LARGEST_SMALL, |(_, bound)| *bound)
}

/// One message between peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerMessage {
    /// Who speaks, first in each direction.
    Hello(Hello),
    /// From core to core.
    Quorum(Message),
    /// Probe results, follower to master. Not acknowledged: the next ones replace them.
    Reports(Vec<Report>),
    /// To the master: commit this. It came through the node whose key the connection proved.
    Propose {
        /// Under which it is applied once; the answer names it.
        request: RequestId,
        /// What.
        body: Body,
        /// When it was asked for, by the sender's wall clock: for showing.
        at: Wall,
    },
    /// To the master: something that changes nothing and only the master can do (test an alert).
    Ask {
        /// The answer names it.
        request: RequestId,
        /// What; the daemon's own words.
        what: serde_json::Value,
    },
    /// To a [`PeerMessage::Propose`] or [`PeerMessage::Ask`].
    Answer {
        /// Of which.
        request: RequestId,
        /// What became of it.
        outcome: AnswerOutcome,
    },
    /// Who belongs to the cluster by the sender's committed configuration; said when a link comes
    /// up, so that a node that was away can hear those who were added meanwhile.
    Peers {
        /// Which config version says so.
        version: u64,
        /// All of them.
        peers: Vec<Peer>,
    },
    /// Why the connection is closed: the last message on it.
    Bye(Bye),
}

/// The first message each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Of which cluster the sender is; another one than the reader's ends the connection.
    pub cluster: ClusterId,
    /// The sender's program version.
    pub version: String,
    /// The kinds of command that it understands.
    pub kinds: Vec<String>,
    /// Its wall clock: shown, never followed.
    pub clock: Wall,
}

impl Hello {
    /// A peer's words about itself are kept and shown: they are few and plain.
    fn is_plain(&self) -> bool {
        let plain = |word: &String| word.len() <= 64 && word.bytes().all(|b| b.is_ascii_graphic());
        plain(&self.version) && self.kinds.len() <= 64 && self.kinds.iter().all(plain)
    }
}

/// What became of a question to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerOutcome {
    /// Done (for a proposal: committed); what there is to tell is the daemon's.
    Done(serde_json::Value),
    /// Refused for good, as a sentence for people.
    Refused(String),
    /// The one asked is not master; ask that one, if it is known.
    NotMaster(Option<NodeId>),
    /// The same question in a moment.
    NotReady,
    /// No quorum, with the count.
    NoQuorum {
        /// Live peers.
        live: usize,
        /// How many are a quorum.
        need: usize,
        /// How many there are.
        of: usize,
    },
}

/// Why one end closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bye {
    /// The daemon stops.
    Stopping,
    /// The reader's key is not in the sender's trust store (any more).
    Untrusted,
    /// The sender is of this cluster, the reader of another.
    OtherCluster {
        /// The sender's.
        ours: ClusterId,
    },
    /// The sender's view of the cluster has changed: say hello again.
    Anew,
    /// The reader broke the rules.
    Misbehaved {
        /// How.
        what: String,
    },
}

impl fmt::Display for Bye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bye::Stopping => f.write_str("it is stopping"),
            Bye::Untrusted => f.write_str("this node's key is not in its trust store"),
            Bye::OtherCluster { ours } => write!(f, "it is of another cluster ({ours})"),
            Bye::Anew => f.write_str("its view of the cluster changed"),
            Bye::Misbehaved { what } => {
                write!(f, "it says this node broke the rules: {}", text::harmless(&text::shorten(what, 200)))
            }
        }
    }
}

/// How a peer broke the rules of the transport. Its connection is closed, the fact counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A frame of zero bytes, or larger than any may be.
    Length {
        /// Announced, bytes.
        announced: u32,
        /// The bound, bytes.
        bound: usize,
    },
    /// Larger than a message of its kind may be.
    Large {
        /// Bytes.
        bytes: usize,
        /// The bound of its kind, bytes.
        bound: usize,
    },
    /// Not JSON, or no message that this version knows.
    NotAMessage(String),
    /// It did not say hello first.
    NoHello,
    /// It said hello again.
    SecondHello,
    /// What came is no TLS.
    Tls(String),
    /// The layer above found it.
    Rule(String),
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misbehaviour::Length { announced, bound } => {
                write!(f, "announced a message of {announced} bytes (1 to {bound} are allowed)")
            }
            Misbehaviour::Large { bytes, bound } => {
                write!(f, "sent a message of {bytes} bytes (one of its kind has {bound} at most)")
            }
            Misbehaviour::NotAMessage(why) => write!(f, "sent something that is no message: {why}"),
            Misbehaviour::NoHello => f.write_str("did not say hello first"),
            Misbehaviour::SecondHello => f.write_str("said hello twice"),
            Misbehaviour::Tls(why) => write!(f, "broke TLS: {why}"),
            Misbehaviour::Rule(what) => f.write_str(what),
        }
    }
}

/// Reads a message. Nesting is bounded by the parser (128 levels), size by the frame.
///
/// # Errors
/// [`Misbehaviour`]: peers of one cluster only send what the other understands.
pub fn decode(bytes: &[u8]) -> Result<PeerMessage, Misbehaviour> {
    let bound = bound_of(bytes);
    if bytes.len() > bound {
        return Err(Misbehaviour::Large { bytes: bytes.len(), bound });
    }
    let message = serde_json::from_slice(bytes)
        .map_err(|e| Misbehaviour::NotAMessage(text::harmless(&text::shorten(&e.to_string(), 200))))?;
    match message {
        PeerMessage::Hello(hello) if !hello.is_plain() => {
            Err(Misbehaviour::NotAMessage("a hello with a version or kind that is no plain word".into()))
        }
        message => Ok(message),
    }
}

/// Writes a message.
///
/// # Errors
/// A sentence, when it is larger than the other side would take: a fault of this node.
pub fn encode(message: &PeerMessage) -> Result<Vec<u8>, String> {
    let bytes = serde_json::to_vec(message).map_err(|e| e.to_string())?;
    let bound = bound_of(&bytes);
    if bytes.len() > bound {
        return Err(format!("{} bytes are more than the {bound} that the other side takes", bytes.len()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: ClusterId::from_random(1),
            version: "0.1.0".into(),
            kinds: vec!["change".into()],
            clock: Wall(5),
        }
    }

    #[test]
    fn every_kind_of_message_comes_back_as_it_was() {
        let request = RequestId::from_random(3);
        for message in [
            PeerMessage::Hello(hello()),
            PeerMessage::Quorum(Message::TakeOver { term: 3 }),
            PeerMessage::Reports(Vec::new()),
            PeerMessage::Peers { version: 3, peers: Vec::new() },
            PeerMessage::Ask { request, what: serde_json::json!({"test": "ops"}) },
            PeerMessage::Answer { request, outcome: AnswerOutcome::Done(serde_json::json!(null)) },
            PeerMessage::Answer { request, outcome: AnswerOutcome::NoQuorum { live: 1, need: 2, of: 3 } },
            PeerMessage::Answer { request, outcome: AnswerOutcome::NotMaster(None) },
            PeerMessage::Bye(Bye::OtherCluster { ours: ClusterId::from_random(1) }),
        ] {
            assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
        }
        let core = encode(&PeerMessage::Quorum(Message::TakeOver { term: 3 })).unwrap();
        assert_eq!(bound_of(&core), frame::LARGEST);
        for message in
            [PeerMessage::Reports(Vec::new()), PeerMessage::Peers { version: 3, peers: Vec::new() }]
        {
            assert_eq!(bound_of(&encode(&message).unwrap()), LARGEST_OTHER);
        }
    }

    #[test]
    fn nonsense_is_a_named_misbehaviour() {
        let deep = format!(
            r#"{{"ask":{{"request":"{}","what":{}1{}}}}}"#,
            RequestId::from_random(1),
            "[".repeat(200),
            "]".repeat(200)
        );
        for bad in [
            &b"\xff\xfe"[..],
            b"[]",
            b"null",
            br#"{"quorum":{"beat":{}}}"#,
            br#"{"unheard_of":1}"#,
            br#"{"reports":[],"bye":"stopping"}"#,
            br#"{"answer":{"request":"x","outcome":"not_ready"}}"#,
            deep.as_bytes(),
        ] {
            let got = decode(bad);
            assert!(matches!(got, Err(Misbehaviour::NotAMessage(_))), "{got:?}");
        }
        let mut odd = hello();
        odd.version = "9\u{1b}[31m".into();
        let odd = serde_json::to_vec(&PeerMessage::Hello(odd)).unwrap();
        assert!(matches!(decode(&odd), Err(Misbehaviour::NotAMessage(_))));
        let large = |kind, bytes| format!(r#"{{"{kind}":[{}]}}"#, " ".repeat(bytes));
        for (kind, bytes) in
            [("reports", LARGEST_OTHER), ("ask", LARGEST_SMALL), ("unheard_of", LARGEST_SMALL)]
        {
            let got = decode(large(kind, bytes).as_bytes());
            assert!(matches!(got, Err(Misbehaviour::Large { .. })), "{kind}: {got:?}");
        }
    }

    #[test]
    fn a_newer_version_may_say_more_in_its_hello_and_nowhere_else() {
        let mut value = serde_json::to_value(PeerMessage::Hello(hello())).unwrap();
        value["hello"]["colour"] = "blue".into();
        assert_eq!(decode(value.to_string().as_bytes()), Ok(PeerMessage::Hello(hello())));
        let more =
            br#"{"answer":{"request":"00000000-0000-4000-8000-000000000000","outcome":"not_ready","x":1}}"#;
        assert!(decode(more).is_err());
    }
}
