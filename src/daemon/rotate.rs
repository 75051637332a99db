//! Another key for this node: announced by the old one, committed, and then the only one.
//!
//! The thread of the control socket makes the key (a second or so for RSA), signs and writes files;
//! the core is asked twice: whether and for which config version, then to propose. Between the two
//! the next key is on disk, so whatever happens afterwards the node has the key that the cluster
//! may know it by. An announcement whose fate is open is finished by the log, or by the same
//! command asked again: it announces the same key.

use std::sync::PoisonError;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::core::Core;
use super::counter::{AT_ONCE, Control, PATIENCE, late, stopping};
use super::event::Event;
use super::gate;
use super::keyring::Held;
use crate::base::id::{ClusterId, NodeId, RequestId};
use crate::base::text;
use crate::control::message::{Done, Reply};
use crate::identity::{Fingerprint, KeyKind, Keys, Succession, keys};
use crate::log;
use crate::state::command::Body;

/// An announcement that met another change is signed anew, so often.
const TRIES: u32 = 5;
/// How long this node may take to hear of the change that was in the way.
const NEWS: Duration = Duration::from_secs(1);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// What an announcement is signed for.
#[derive(Clone, Copy, Debug)]
pub struct Basis {
    cluster: ClusterId,
    version: u64,
    /// This node's key by the configuration.
    key: Fingerprint,
}

impl Core {
    /// Whether this node can have another key now, and by which configuration.
    pub(super) fn on_key_basis(&self, reply: &Sender<Result<Basis, Reply>>) {
        drop(reply.try_send(self.key_basis()));
    }

    fn key_basis(&self) -> Result<Basis, Reply> {
        let status = self.node.status();
        let Some(cluster) = self.cluster().filter(|_| status.quorum) else { return Err(self.no_quorum()) };
        let Some(peer) = cluster.peers.get(&self.me) else {
            return Err(Reply::refused(
                "this node is not a peer of its cluster: nobody would learn the new key",
            ));
        };
        if self.put_out {
            let text =
                "the others refuse this node's key, so none of them would learn the new one (see qu status)";
            return Err(Reply::refused(text));
        }
        self.understood("rotate_key", None).map_err(Reply::refused)?;
        Ok(Basis { cluster: cluster.id, version: cluster.version, key: peer.fingerprint })
    }

    /// The version gate, by what this node has heard; who goes is not asked.
    pub(super) fn understood(&self, kind: &str, gone: Option<NodeId>) -> Result<(), String> {
        let voters = self.node.status().membership.voters;
        let others = voters.into_keys().filter(|v| *v != self.me && Some(*v) != gone);
        let heard = |voter| self.peers.get(&voter).and_then(|known| known.hello.as_ref());
        gate::understood(kind, others, heard)
    }

    /// Shows the next key from now on, and proposes it.
    pub(super) fn on_rotate_key(&mut self, id: RequestId, body: Body, keys: Keys, reply: Sender<Reply>) {
        self.out.links.set_keys(keys);
        self.begin(id, body, reply);
    }

    /// The configuration says what this node's key is; it should have it.
    pub(super) fn watch_own_key(&mut self) {
        let known = self.cluster().and_then(|c| c.peers.get(&self.me)).map(|p| p.fingerprint);
        let strange = known.filter(|key| !self.out.keys.held().has(*key));
        let text = strange.map(|key| {
            format!(
                "the cluster knows this node by the key {key}, which is not in its keys directory: peers refuse it; \
                 restore keys/ from a newer backup, or remove this node (qu node remove) and add it anew"
            )
        });
        self.picture.note("own key", text);
    }
}

impl Control {
    /// `qu node rotate-key`.
    pub(super) fn rotate_key(&self, id: RequestId, kind: Option<KeyKind>) -> Reply {
        let _one = match self.rotating.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(e)) => PoisonError::into_inner(e),
            Err(std::sync::TryLockError::WouldBlock) => {
                let text = "this node's key or secret is being rotated just now: ask again in a moment";
                return Reply::TryAgain { text: text.to_owned() };
            }
        };
        self.announce(id, kind).unwrap_or_else(|refusal| refusal)
    }

    fn key_basis(&self) -> Result<Basis, Reply> {
        let (reply, answer) = bounded(1);
        self.core.send_timeout(Event::KeyBasis { reply }, AT_ONCE).map_err(|_| stopping())?;
        answer.recv_timeout(AT_ONCE).map_err(|_| late())?
    }

    fn announce(&self, id: RequestId, kind: Option<KeyKind>) -> Result<Reply, Reply> {
        let mut basis = self.key_basis()?;
        let files = |e: keys::KeyError| Reply::refused(format!("the key is not rotated: {e}"));
        // An earlier one may have been committed just now, or its files be behind.
        self.keys.settle(basis.key).map_err(files)?;
        let Held { current, next } = self.keys.held();
        if current.fingerprint() != basis.key {
            return Err(Reply::refused(format!(
                "the cluster knows this node by the key {}, which is not the one in its keys directory: \
                 without that key it cannot name another; restore keys/ from a newer backup",
                basis.key
            )));
        }
        let resumed = next.is_some();
        let next = match next {
            Some(next) => next,
            None => self.make_next(&basis, &current, kind.unwrap_or_default())?,
        };
        let mut id = id;
        for _ in 0..TRIES {
            let succession = self.agreed(&basis, &current, &next)?;
            let body =
                Body::RotateKey { succession: Box::new(succession), cert_pem: next.cert_pem().to_owned() };
            let refusal = match self.propose_key(id, body, &next) {
                Reply::Done(done) => return Ok(self.rotated(&next, done.version, resumed)),
                Reply::Refused { text } => text,
                other => return Err(waits(other)),
            };
            // Another change was faster: then this one is signed for a version that is gone.
            let Some(newer) = self.newer(&basis) else { return Err(waits(Reply::refused(refusal))) };
            if newer.key == next.fingerprint() {
                return Ok(self.rotated(&next, Some(newer.version), resumed));
            }
            basis = newer;
            id =
                RequestId::from_random(crate::identity::random().map_err(|e| Reply::refused(e.to_string()))?);
        }
        let text =
            "the configuration changed each time that the new key was announced: ask again in a moment";
        Err(waits(Reply::TryAgain { text: text.to_owned() }))
    }

    fn agreed(&self, basis: &Basis, current: &Keys, next: &Keys) -> Result<Succession, Reply> {
        Succession::agreed(basis.cluster, self.me, basis.version, current, next)
            .map_err(|e| Reply::refused(format!("the key is not rotated: {e}")))
    }

    /// Makes the next key and writes it beside the current one.
    fn make_next(&self, basis: &Basis, current: &Keys, kind: KeyKind) -> Result<Keys, Reply> {
        let failed = |e: keys::KeyError| Reply::refused(format!("the key is not rotated: {e}"));
        let made = keys::make(kind).map_err(failed)?;
        let next = Keys::from_made(&made).map_err(failed)?;
        let letter = self.agreed(basis, current, &next)?.letter;
        self.keys.prepare(&made, &letter).map_err(failed)
    }

    fn propose_key(&self, id: RequestId, body: Body, next: &Keys) -> Reply {
        let (reply, answer) = bounded(1);
        let event = Event::RotateKey { id, body, keys: next.clone(), reply };
        if self.core.send_timeout(event, AT_ONCE).is_err() {
            return stopping();
        }
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| late())
    }

    /// A configuration newer than this, once this node has heard of it.
    fn newer(&self, than: &Basis) -> Option<Basis> {
        let until = self.clock.mono() + NEWS;
        loop {
            let basis = self.key_basis().ok()?;
            if basis.version > than.version {
                return Some(basis);
            }
            if self.clock.mono() >= until {
                return None;
            }
            // sleeps: nothing tells this thread of a new configuration.
            std::thread::sleep(GLANCE);
        }
    }

    fn rotated(&self, next: &Keys, version: Option<u64>, resumed: bool) -> Reply {
        let key = next.fingerprint();
        // The file thread does it too; here it is done before the answer.
        match self.keys.settle(key) {
            Ok(true) => log!(Info, "keys", "the key of this node is another one now", fingerprint = key),
            Ok(false) => {}
            Err(e) => {
                log!(Error, "keys", "the files of the new key are behind: tried again", why = text::chain(&e))
            }
        }
        let how = if resumed { "finished the rotation that was under way: " } else { "" };
        Reply::Done(Done {
            text: format!("{how}this node's key is {key} now, the old one is dead"),
            version,
            facts: serde_json::json!({ "node_id": self.me, "fingerprint": key }),
        })
    }
}

/// A refusal or a doubt, with what has become of the new key.
fn waits(reply: Reply) -> Reply {
    let more = |text: String| {
        format!("{text}; the new key waits in keys/next, run qu node rotate-key again to finish")
    };
    match reply {
        Reply::Refused { text } => Reply::Refused { text: more(text) },
        Reply::NoQuorum { text } => Reply::NoQuorum { text: more(text) },
        Reply::NoMaster { text } => Reply::NoMaster { text: more(text) },
        Reply::TryAgain { text } => Reply::TryAgain { text: more(text) },
        Reply::Unsure { text } => Reply::Unsure { text: more(text) },
        other => other,
    }
}
