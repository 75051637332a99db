//! The cluster secret of this node, and a new one for all nodes.
//!
//! The secret is in `node.yaml` of each node and in no log. A new one goes over the links between
//! peers, in two steps, because nodes with different secrets cannot add each other's newcomers:
//! first every peer is asked whether it can take one (all have to be there and say yes), then every
//! one is told, writes its `node.yaml`, and says so. Who does not answer the second time is named;
//! asked again, the command makes another secret for all, so nothing needs to be undone.
//!
//! Peers also compare: when a link comes up, and after a change, each shows the other a MAC of the
//! secret over a number used once. A difference, from whatever cause, is said in `qu status` of
//! both until it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::counter::{AT_ONCE, Control, late, stopping};
use super::event::Event;
use crate::base::clock::Mono;
use crate::base::id::{NodeId, RequestId};
use crate::base::{file, text};
use crate::config::Secret;
use crate::config::node::{self, Overrides};
use crate::config::paths::Paths;
use crate::control::message::{Done, Reply};
use crate::identity::secret;
use crate::log;
use crate::transport::{AnswerOutcome, PeerMessage, Sent, plain_spawn};

/// How long peers may take for one step: writing a small file.
const STEP: Duration = Duration::from_secs(15);
/// The largest `node.yaml`, bytes.
const LARGEST: u64 = 1024 * 1024;
/// Why this node cannot take another secret.
const OVERRIDDEN: &str = "its secret is given by QUPTIME_CLUSTER_SECRET or --secret, which node.yaml does not override: \
                          take that away there and start it again";

/// The secret, for all threads.
pub struct Secrets {
    path: PathBuf,
    /// Not from `node.yaml`: what is written there would not count.
    overridden: bool,
    secret: Mutex<Secret>,
}

impl Secrets {
    /// As it was found at the start.
    #[must_use]
    pub fn new(paths: &Paths, secret: Secret, overridden: bool) -> Secrets {
        Secrets { path: paths.node_yaml(), overridden, secret: Mutex::new(secret) }
    }

    fn lock(&self) -> MutexGuard<'_, Secret> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> Secret {
        self.lock().clone()
    }

    /// Whether it can be changed here.
    ///
    /// # Errors
    /// A sentence about this node.
    fn may_change(&self) -> Result<(), String> {
        if self.overridden { Err(OVERRIDDEN.to_owned()) } else { Ok(()) }
    }

    /// Writes another one into `node.yaml`; it counts from now on.
    ///
    /// # Errors
    /// A sentence; nothing has changed.
    fn store(&self, new: &Secret) -> Result<(), String> {
        self.may_change()?;
        let failed = |e: file::FileError| text::chain(&e);
        let said = file::read_text(&self.path, LARGEST).map_err(failed)?;
        let text = node::with_secret(&said, new)?;
        file::replace(&self.path, text.as_bytes(), 0o600).map_err(failed)?;
        self.lock().clone_from(new);
        Ok(())
    }
}

/// What peers say to each other about it, as [`PeerMessage::Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Word {
    /// Can you take a new secret?
    #[serde(rename = "may_take_secret")]
    MayTake,
    /// This is the secret from now on.
    #[serde(rename = "take_secret")]
    Take(Secret),
    /// Is yours the same?
    #[serde(rename = "same_secret")]
    Compare {
        /// Used once.
        nonce: RequestId,
        /// The MAC over it.
        proof: String,
    },
}

/// A question to every peer, whose answers are collected.
pub struct Round {
    open: BTreeSet<NodeId>,
    refused: BTreeMap<NodeId, String>,
    until: Mono,
    reply: Sender<Answers>,
}

/// What came of a [`Round`].
#[derive(Debug, Default)]
pub struct Answers {
    /// Who did not answer in time.
    silent: Vec<NodeId>,
    /// Who said no or could not be asked, and why.
    refused: BTreeMap<NodeId, String>,
}

impl Answers {
    /// Nobody said no or nothing.
    fn all_said_yes(&self) -> bool {
        self.silent.is_empty() && self.refused.is_empty()
    }

    /// Who did not say yes, and why.
    fn missing(&self) -> String {
        let silent = self.silent.iter().map(|node| format!("{} (no answer)", node.short()));
        let refused = self
            .refused
            .iter()
            .map(|(node, why)| format!("{} ({})", node.short(), text::harmless(&text::shorten(why, 300))));
        silent.chain(refused).collect::<Vec<_>>().join(", ")
    }
}

impl Core {
    /// Asks every other peer of the configuration.
    pub(super) fn on_ask_all(&mut self, word: &Word, reply: Sender<Answers>) {
        let id = self.new_request();
        let peers: BTreeSet<NodeId> = self
            .cluster()
            .map(|c| c.peers.keys().copied().filter(|p| *p != self.me).collect())
            .unwrap_or_default();
        let Ok(what) = serde_json::to_value(word) else { return };
        let (mut open, mut refused) = (BTreeSet::new(), BTreeMap::new());
        for peer in peers {
            match self.out.links.send(peer, PeerMessage::Ask { request: id, what: what.clone() }) {
                Sent::Queued => drop(open.insert(peer)),
                Sent::Full => drop(refused.insert(peer, "too busy".to_owned())),
                Sent::NoLink | Sent::NoPeer => drop(refused.insert(peer, "not connected".to_owned())),
            }
        }
        let until = self.clock.mono() + STEP;
        self.secret_rounds.insert(id, Round { open, refused, until, reply });
        self.settle_secret_rounds();
    }

    /// A peer asks; false when it is not about the secret.
    pub(super) fn on_word(&mut self, peer: NodeId, request: RequestId, what: &serde_json::Value) -> bool {
        let Ok(word) = serde_json::from_value::<Word>(what.clone()) else { return false };
        let secrets = Arc::clone(&self.out.secrets);
        match word {
            Word::MayTake => {
                let outcome = match secrets.may_change() {
                    Ok(()) => AnswerOutcome::Done(serde_json::Value::Null),
                    Err(why) => AnswerOutcome::Refused(why),
                };
                self.tell(peer, PeerMessage::Answer { request, outcome });
            }
            Word::Take(secret) => self.take_secret(peer, request, secret),
            Word::Compare { nonce, proof } => {
                let same = secret::same(secrets.get().reveal(), nonce, peer, &proof);
                let news = match same {
                    true => self.odd_secrets.remove(&peer),
                    false => self.odd_secrets.insert(peer),
                };
                if news && !same {
                    log!(Warn, "secret", "the cluster secret of a peer is another one", peer = peer);
                }
                if news {
                    // The peer may not know it yet.
                    self.compare_secrets(peer);
                }
                self.note_secrets();
            }
        }
        true
    }

    /// Writes it down on a thread of its own: the core waits for no disk.
    fn take_secret(&mut self, peer: NodeId, request: RequestId, secret: Secret) {
        let (secrets, core) = (Arc::clone(&self.out.secrets), self.out.core.clone());
        let body = Box::new(move || {
            let result = secrets.store(&secret);
            // The core is ending when it does not listen.
            drop(core.send(Event::SecretTaken { from: Some((peer, request)), result }));
        });
        if let Err(e) = plain_spawn()("secret".to_owned(), body) {
            let why = format!("it cannot start a thread ({e})");
            self.tell(peer, PeerMessage::Answer { request, outcome: AnswerOutcome::Refused(why) });
        }
    }

    /// This node has another secret, or could not write it down.
    pub(super) fn on_secret_taken(&mut self, from: Option<(NodeId, RequestId)>, result: Result<(), String>) {
        let outcome = match result {
            Ok(()) => {
                let by = from.map_or(self.me, |(peer, _)| peer);
                log!(Info, "secret", "the cluster secret is another one now", by = by);
                self.out.links.set_secret(self.out.secrets.get());
                self.odd_secrets.clear();
                self.note_secrets();
                let peers: Vec<NodeId> =
                    self.cluster().map(|c| c.peers.keys().copied().collect()).unwrap_or_default();
                peers.into_iter().for_each(|p| self.compare_secrets(p));
                AnswerOutcome::Done(serde_json::Value::Null)
            }
            Err(why) => {
                log!(Error, "secret", "a new cluster secret is not taken", why = why);
                AnswerOutcome::Refused(why)
            }
        };
        if let Some((peer, request)) = from {
            self.tell(peer, PeerMessage::Answer { request, outcome });
        }
    }

    /// Shows a peer the MAC of this node's secret; the peer looks whether its own gives the same.
    pub(super) fn compare_secrets(&mut self, peer: NodeId) {
        if peer == self.me {
            return;
        }
        let (request, nonce) = (self.new_request(), self.new_request());
        let proof = secret::show(self.out.secrets.get().reveal(), nonce, self.me);
        if let Ok(what) = serde_json::to_value(Word::Compare { nonce, proof }) {
            self.tell(peer, PeerMessage::Ask { request, what });
        }
    }

    /// Says who has another secret.
    fn note_secrets(&mut self) {
        let peers: Vec<NodeId> =
            self.cluster().map(|c| c.peers.keys().copied().collect()).unwrap_or_default();
        self.odd_secrets.retain(|p| peers.contains(p));
        let names: Vec<String> = self.odd_secrets.iter().map(|p| p.short()).collect();
        let text = (!names.is_empty()).then(|| {
            format!(
                "the cluster secret of {} is not that of this node: a new node can be added through one of them only; \
                 qu cluster rotate-secret gives all nodes the same",
                names.join(", ")
            )
        });
        self.picture.note("secret", text);
    }

    /// A peer answers a question that was put to all; false when it is not one of those.
    pub(super) fn on_secret_answer(&mut self, peer: NodeId, id: RequestId, outcome: &AnswerOutcome) -> bool {
        let Some(round) = self.secret_rounds.get_mut(&id) else { return false };
        if round.open.remove(&peer) {
            match outcome {
                AnswerOutcome::Done(_) => {}
                AnswerOutcome::Refused(why) => drop(round.refused.insert(peer, why.clone())),
                _ => drop(round.refused.insert(peer, "it answers something else".to_owned())),
            }
        }
        self.settle_secret_rounds();
        true
    }

    /// Ends what is complete or has taken too long.
    pub(super) fn settle_secret_rounds(&mut self) {
        let now = self.clock.mono();
        let over = |r: &Round| r.open.is_empty() || now >= r.until;
        let ids: Vec<RequestId> =
            self.secret_rounds.iter().filter(|(_, r)| over(r)).map(|(id, _)| *id).collect();
        for round in ids.into_iter().filter_map(|id| self.secret_rounds.remove(&id)) {
            let answers = Answers { silent: round.open.into_iter().collect(), refused: round.refused };
            drop(round.reply.try_send(answers));
        }
    }

    /// When a round ends at the latest.
    pub(super) fn next_secret_round(&self) -> Mono {
        self.secret_rounds.values().map(|r| r.until).min().unwrap_or(Mono::FAR)
    }
}

impl Control {
    /// `qu cluster rotate-secret`.
    pub(super) fn rotate_secret(&self, given: Option<Secret>) -> Reply {
        let _one = match self.rotating.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(e)) => PoisonError::into_inner(e),
            Err(TryLockError::WouldBlock) => {
                let text = "this node's key or secret is being rotated just now: ask again in a moment";
                return Reply::TryAgain { text: text.to_owned() };
            }
        };
        self.give_all(given).unwrap_or_else(|refusal| refusal)
    }

    fn ask_all(&self, word: Word) -> Result<Answers, Reply> {
        let (reply, answers) = bounded(1);
        self.core.send_timeout(Event::AskAll { word, reply }, AT_ONCE).map_err(|_| stopping())?;
        answers.recv_timeout(STEP + AT_ONCE).map_err(|_| late())
    }

    fn give_all(&self, given: Option<Secret>) -> Result<Reply, Reply> {
        let unchanged = |why: String| Reply::refused(format!("the cluster secret is not changed: {why}"));
        self.secrets.may_change().map_err(|why| unchanged(format!("this node cannot take one, {why}")))?;
        let made = given.is_none();
        let new = match given {
            Some(secret) => secret,
            None => Secret::new(secret::make().map_err(|e| unchanged(e.to_string()))?),
        };
        let able = self.ask_all(Word::MayTake)?;
        if !able.all_said_yes() {
            return Err(unchanged(format!(
                "every node must take the new one, and these cannot: {}; bring them back or remove them first",
                able.missing()
            )));
        }
        self.secrets.store(&new).map_err(unchanged)?;
        let told = self.ask_all(Word::Take(new.clone()));
        // Only now is a difference worth a word.
        let taken = Event::SecretTaken { from: None, result: Ok(()) };
        self.core.send_timeout(taken, AT_ONCE).map_err(|_| stopping())?;
        let told = told?;
        if !told.all_said_yes() {
            return Err(Reply::Unsure {
                text: format!(
                    "the nodes have different cluster secrets now: this one has a new one, and not confirmed it have {}; \
                     ask again when they are back, which gives all of them another one",
                    told.missing()
                ),
            });
        }
        let mut facts = serde_json::json!({});
        if made {
            facts = serde_json::json!({ "secret": new.reveal() });
        }
        let text = "every node has the new cluster secret, the old one is dead".to_owned();
        Ok(Reply::Done(Done { text, version: None, facts }))
    }
}

/// Whether the secret comes from elsewhere than `node.yaml`.
#[must_use]
pub fn overridden(overrides: &Overrides) -> bool {
    overrides.secret.is_some()
}
