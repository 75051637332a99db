//! What the command line may ask and hear.
//!
//! Items are named as the operator typed them (`who`: a name, an id, or the beginning of an id of
//! four digits or more; `base::id::resolve`): the daemon resolves them on its replicated state, so
//! that a name means what the cluster means by it. Values are parsed by the command line already;
//! what can only be judged together (duplicate names, unknown alerts, timeout against interval) is
//! the daemon's to refuse.
//!
//! A request carries an id of its own: the daemon and the master apply it once, however often it
//! is passed on.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::id::{NodeId, RequestId};
use crate::base::units::{HostPort, Span};
use crate::config::{Channel, Cluster, Edit, Name, Secret, Target};
use crate::identity::{Fingerprint, KeyKind};
use crate::state::command::Setting;
use crate::view::mesh::Mesh;
use crate::view::{Filter, IncidentView, Quorum, SilenceView, TrustView, View};

use super::edit::{AlertFields, CheckFields};

/// The largest request, bytes: an edit of many items as large as one change may be, and its envelope.
pub const LARGEST_REQUEST: usize = 5 * 1024 * 1024;
/// The largest answer, bytes: 50,000 checks with a report of seven nodes each take a third of it.
/// It travels in as many frames as it takes, and ends with the connection.
pub const LARGEST_REPLY: usize = 256 * 1024 * 1024;

/// One question of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Under which a change is applied once.
    pub id: RequestId,
    /// The question.
    pub ask: Ask,
}

/// What may be asked. Every variant says which [`Reply`] it gets when all goes well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The picture: [`Reply::View`]. Answered by the server itself.
    Status(Filter),
    /// Who hears whom, asked of every peer: [`Reply::Mesh`]. Takes two seconds at most.
    Mesh,
    /// A new check: [`Reply::Done`].
    AddCheck {
        /// Unique among checks.
        name: Name,
        /// What to watch.
        target: Target,
        /// `None`: `config::model::DEFAULT_INTERVAL`.
        interval: Option<Span>,
        /// `None`: `config::model::DEFAULT_TIMEOUT`, or the interval when that is shorter.
        timeout: Option<Span>,
        /// Its own alerts, as typed; an unknown one is refused by name.
        alerts: Vec<String>,
        /// Default alerts that it does not want, likewise.
        suppress: Vec<String>,
    },
    /// Some fields of a check: [`Reply::Done`].
    EditCheck {
        /// Which.
        who: String,
        /// What changes; at least one field.
        fields: CheckFields,
    },
    /// A check goes: [`Reply::Done`].
    RemoveCheck {
        /// Which.
        who: String,
    },
    /// A check is switched on or off: [`Reply::Done`], also when it was so already (then without a
    /// version).
    EnableCheck {
        /// Which.
        who: String,
        /// On or off.
        on: bool,
    },
    /// A test message for each alert that a transition of this check would owe, by the path of real
    /// ones and marked as a test: [`Reply::Done`] without a version when all were accepted,
    /// [`Reply::Refused`] with each outcome otherwise.
    TestCheck {
        /// Which.
        who: String,
        /// What the message says.
        state: TestState,
    },
    /// A new alert: [`Reply::Done`].
    AddAlert {
        /// Unique among alerts.
        name: Name,
        /// How messages get there.
        channel: Channel,
        /// For every check that does not suppress it.
        default: bool,
        /// DOWN is repeated this often while it lasts.
        remind: Option<Span>,
        /// In place of the built-in subject; the daemon judges its syntax.
        subject_template: Option<String>,
        /// In place of the built-in body; likewise.
        body_template: Option<String>,
    },
    /// Some fields of an alert: [`Reply::Done`].
    EditAlert {
        /// Which.
        who: String,
        /// What changes; at least one field.
        fields: Box<AlertFields>,
    },
    /// An alert goes, out of all checks too: [`Reply::Done`].
    RemoveAlert {
        /// Which.
        who: String,
    },
    /// An alert is switched on or off: [`Reply::Done`], as with checks.
    EnableAlert {
        /// Which.
        who: String,
        /// On or off.
        on: bool,
    },
    /// An alert is for every check, or not: [`Reply::Done`], as above.
    DefaultAlert {
        /// Which.
        who: String,
        /// For every check.
        on: bool,
    },
    /// A test message by the path of real ones: [`Reply::Done`] without a version when it was
    /// accepted, [`Reply::Refused`] with the cause otherwise.
    TestAlert {
        /// Which.
        who: String,
    },
    /// Who answers at this address? [`Reply::Met`]. Nothing is trusted or changed by asking.
    NodeProbe {
        /// Where.
        address: HostPort,
    },
    /// That node becomes a peer: [`Reply::Done`]. The daemon connects anew and refuses when the
    /// fingerprint, or the NodeID, is no longer the one that the operator confirmed.
    NodeAdd {
        /// Where.
        address: HostPort,
        /// Who [`Ask::NodeProbe`] met there.
        node: NodeId,
        /// The key that the operator confirmed.
        fingerprint: Fingerprint,
    },
    /// A peer goes: [`Reply::Done`].
    NodeRemove {
        /// Which, by id or beginning of an id.
        who: String,
    },
    /// Another address for a peer: [`Reply::Done`].
    NodeEdit {
        /// Which.
        who: String,
        /// Its new address.
        address: HostPort,
    },
    /// Every node gets another cluster secret: [`Reply::Done`] without a version, with `secret`
    /// when it was made here.
    RotateSecret {
        /// Which; `None`: one is made.
        secret: Option<Secret>,
    },
    /// The node that answers gets another key: [`Reply::Done`], with `node_id` and `fingerprint`.
    RotateKey {
        /// Of which kind; `None`: RSA.
        kind: Option<KeyKind>,
    },
    /// This node's trust store: [`Reply::Trust`].
    TrustList,
    /// A peer is trusted no more, which is the same as [`Ask::NodeRemove`], since every node's trust
    /// store follows the configuration: [`Reply::Done`].
    TrustRemove {
        /// Which.
        who: String,
    },
    /// Another value of a cluster setting: [`Reply::Done`].
    ClusterSet(Setting),
    /// The configuration with its secrets: [`Reply::Config`].
    ClusterConfig {
        /// Also as it was at this version, when it is another one; one that is not remembered is
        /// refused.
        version: Option<u64>,
    },
    /// Items go from what somebody saw to what somebody wants, all of them in one change or none:
    /// [`Reply::Done`]. Items that others changed meanwhile refuse it, by name.
    ClusterApply {
        /// What becomes of each.
        items: Vec<Edit>,
        /// Only say whether it would be taken: [`Reply::Done`] without a version.
        dry_run: bool,
    },
    /// Nothing is sent about a check, or any, for a while: [`Reply::Done`] without a version.
    Silence {
        /// Which; none: all.
        who: Option<String>,
        /// For how long.
        length: Span,
        /// Why; may be empty.
        reason: String,
    },
    /// Silences that have not ended, oldest first: [`Reply::Silences`].
    SilenceList,
    /// A silence ends early: [`Reply::Done`] without a version.
    SilenceEnd {
        /// Which, by its id.
        id: String,
    },
    /// Past and open incidents, newest first: [`Reply::Incidents`].
    IncidentList {
        /// Only of this check (one that was removed is found by its name or id all the same).
        check: Option<String>,
        /// Only those that were open at some time within this long.
        since: Option<Span>,
        /// At most so many.
        limit: Option<u32>,
    },
    /// One incident: [`Reply::Incidents`] with one item.
    IncidentShow {
        /// Which, by id.
        id: String,
    },
}

/// What a test message pretends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestState {
    /// That the check went down.
    #[default]
    Down,
    /// That it came back.
    Recovered,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The picture.
    View(Arc<View>),
    /// Who hears whom.
    Mesh(Box<Mesh>),
    /// It is done: for a change, committed.
    Done(Done),
    /// Who answers at an address.
    Met {
        /// Its NodeID.
        node: NodeId,
        /// Its key.
        fingerprint: Fingerprint,
    },
    /// Trust store entries, in order of NodeID.
    Trust(Vec<TrustView>),
    /// The configuration.
    Config {
        /// As it is by now.
        current: Arc<Cluster>,
        /// As it was at the version that was asked for, when that is another one.
        base: Option<Arc<Cluster>>,
    },
    /// Incidents.
    Incidents(Vec<IncidentView>),
    /// Silences.
    Silences(Vec<SilenceView>),
    /// Not done and nothing changed: a name that is taken or unknown, a rule broken, a destination
    /// that refused. Exit status 1.
    Refused {
        /// One line: what, why, what to do.
        text: String,
    },
    /// Not done and nothing changed for want of a quorum, worth trying again:
    /// `no quorum: refusing to change the configuration (1 of 3 peers live, need 2)`. Exit status 3.
    NoQuorum {
        /// One line.
        text: String,
    },
    /// Not done and nothing changed for want of a master, after waiting for one. Exit status 3.
    NoMaster {
        /// One line.
        text: String,
    },
    /// Not done and nothing changed, and the next try may well succeed: another change of members
    /// is under way, the daemon is stopping or has too much to do. Exit status 3.
    TryAgain {
        /// One line.
        text: String,
    },
    /// Nobody knows whether it was done: the answer of the master did not come in time. Exit
    /// status 1.
    Unsure {
        /// One line, with where to look.
        text: String,
    },
}

/// A deed for people and for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, without the version: `added check "web"`. For the operator.
    pub text: String,
    /// The config version that it got; `None` when it changed nothing of the configuration.
    pub version: Option<u64>,
    /// Further facts for `--json`, an object or nothing: `{"id": "..."}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub facts: Value,
}

impl Reply {
    /// A change that was committed.
    #[must_use]
    pub fn done(text: impl Into<String>, version: Option<u64>) -> Reply {
        Reply::Done(Done { text: text.into(), version, facts: Value::Null })
    }

    /// A refusal.
    #[must_use]
    pub fn refused(text: impl Into<String>) -> Reply {
        Reply::Refused { text: text.into() }
    }

    /// The refusal of a change for want of a quorum.
    #[must_use]
    pub fn no_quorum(live: usize, of: usize, need: usize) -> Reply {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let quorum = Quorum { ok: false, live: count(live), need: count(need), of: count(of) };
        Reply::NoQuorum { text: format!("no quorum: refusing to change the configuration ({quorum})") }
    }
}

impl Ask {
    /// What is asked, for the log: the kind and whom it is about, never a secret.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Ask::Status(_) => "status".to_owned(),
            Ask::Mesh => "who hears whom".to_owned(),
            Ask::AddCheck { name, target, .. } => format!("add {} check {:?}", target.kind(), name.as_str()),
            Ask::EditCheck { who, .. } => format!("edit check {who:?}"),
            Ask::RemoveCheck { who } => format!("remove check {who:?}"),
            Ask::EnableCheck { who, on } => format!("{} check {who:?}", switched(*on)),
            Ask::TestCheck { who, .. } => format!("test check {who:?}"),
            Ask::AddAlert { name, channel, .. } => {
                format!("add {} alert {:?}", channel.kind(), name.as_str())
            }
            Ask::EditAlert { who, .. } => format!("edit alert {who:?}"),
            Ask::RemoveAlert { who } => format!("remove alert {who:?}"),
            Ask::EnableAlert { who, on } => format!("{} alert {who:?}", switched(*on)),
            Ask::DefaultAlert { who, on: true } => format!("make alert {who:?} a default"),
            Ask::DefaultAlert { who, on: false } => format!("make alert {who:?} no default"),
            Ask::TestAlert { who } => format!("test alert {who:?}"),
            Ask::NodeProbe { address } => format!("ask who is at {address}"),
            Ask::NodeAdd { address, node, .. } => format!("add node {node} at {address}"),
            Ask::NodeRemove { who } => format!("remove node {who:?}"),
            Ask::NodeEdit { who, address } => format!("move node {who:?} to {address}"),
            Ask::RotateSecret { .. } => "rotate the cluster secret".to_owned(),
            Ask::RotateKey { .. } => "rotate this node's key".to_owned(),
            Ask::TrustList => "list trust".to_owned(),
            Ask::TrustRemove { who } => format!("remove trust in {who:?}"),
            Ask::ClusterSet(setting) => format!("set {setting:?}"),
            Ask::ClusterConfig { .. } => "print the configuration".to_owned(),
            Ask::ClusterApply { items, dry_run: false } => format!("apply an edit of {} items", items.len()),
            Ask::ClusterApply { items, dry_run: true } => format!("try an edit of {} items", items.len()),
            Ask::Silence { who: Some(who), length, .. } => format!("silence check {who:?} for {length}"),
            Ask::Silence { who: None, length, .. } => format!("silence all checks for {length}"),
            Ask::SilenceList => "list silences".to_owned(),
            Ask::SilenceEnd { id } => format!("end silence {id:?}"),
            Ask::IncidentList { .. } => "list incidents".to_owned(),
            Ask::IncidentShow { id } => format!("show incident {id:?}"),
        }
    }

    /// How long the command line waits for the answer; the daemon gives one a second earlier.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            // What the daemon has at hand.
            Ask::Status(_)
            | Ask::Mesh
            | Ask::TrustList
            | Ask::SilenceList
            | Ask::IncidentList { .. }
            | Ask::IncidentShow { .. } => 5,
            // One attempt of a delivery, with a slow relay.
            Ask::TestAlert { .. } | Ask::TestCheck { .. } => 60,
            // Making an RSA key on a slow machine, and an election.
            Ask::RotateKey { .. } | Ask::RotateSecret { .. } => 60,
            // An election is waited out for 10 s, and the answer has to travel.
            _ => 12,
        })
    }

    /// Asks for something to be done, rather than shown: to be logged with its caller.
    #[must_use]
    pub fn is_deed(&self) -> bool {
        !matches!(
            self,
            Ask::Status(_)
                | Ask::Mesh
                | Ask::NodeProbe { .. }
                | Ask::ClusterConfig { .. }
                | Ask::ClusterApply { dry_run: true, .. }
                | Ask::TrustList
                | Ask::SilenceList
                | Ask::IncidentList { .. }
                | Ask::IncidentShow { .. }
        )
    }
}

fn switched(on: bool) -> &'static str {
    if on { "enable" } else { "disable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_their_json() {
        let asks = [
            Ask::Status(Filter { check: Some("web".into()), ..Filter::default() }),
            Ask::TrustList,
            Ask::RemoveCheck { who: "web".into() },
            Ask::ClusterSet(Setting::Hysteresis(3)),
            Ask::NodeProbe { address: "b.example.com:9901".parse().unwrap() },
        ];
        for ask in asks {
            let request = Request { id: RequestId::from_random(7), ask };
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
        }
        for reply in [Reply::done("added check \"web\"", Some(5)), Reply::no_quorum(1, 3, 2)] {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply, "{text}");
        }
    }

    #[test]
    fn the_refusal_without_quorum_counts() {
        assert_eq!(
            Reply::no_quorum(1, 3, 2),
            Reply::NoQuorum {
                text: "no quorum: refusing to change the configuration (1 of 3 peers live, need 2)".into()
            }
        );
    }

    #[test]
    fn a_summary_for_the_log_holds_no_secret() {
        let ask = Ask::AddAlert {
            name: "ops".parse().unwrap(),
            channel: Channel::Discord { webhook: Secret::new("https://discord.com/api/webhooks/1/hush") },
            default: false,
            remind: None,
            subject_template: None,
            body_template: None,
        };
        assert_eq!(ask.summary(), "add discord alert \"ops\"");
        assert!(!format!("{ask:?}").contains("hush"));
        assert!(ask.is_deed() && !Ask::TrustList.is_deed());
    }
}
