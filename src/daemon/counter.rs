//! Where other threads come to the core: the control socket's connections, and strangers that want
//! to add this node. What takes long (dialling a new node, trying a destination) is done here, in
//! the thread that asks, never in the core's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::event::Event;
use super::inlet::Past;
use super::keyring::KeyRing;
use super::plan;
use super::secrets::Secrets;
use crate::base::clock::Clock;
use crate::base::id::{NodeId, RequestId};
use crate::base::units::HostPort;
use crate::config::Peer;
use crate::control::message::{Ask, Done, Reply, Request};
use crate::control::server::{Caller, Desk as Counter};
use crate::deliver::Desk;
use crate::identity::Fingerprint;
use crate::state::command::{Body, Change};
use crate::sys::cred;
use crate::transport::asker;
use crate::transport::join::{Introduction, JoinDesk, Offer};
use crate::transport::tls::Tls;
use crate::view::mesh::Here;

/// Callers wait for 12 s, changes are tried for 10.
pub(super) const PATIENCE: Duration = Duration::from_secs(11);
/// A stranger's question is answered from memory.
pub(super) const AT_ONCE: Duration = Duration::from_secs(3);

/// The control socket's side.
pub struct Control {
    /// To the core.
    pub core: Sender<Event>,
    /// For tests of destinations.
    pub desk: Arc<Desk>,
    /// This node.
    pub me: NodeId,
    /// For dialling new nodes, and for another key.
    pub keys: Arc<KeyRing>,
    /// Held while the key or the secret is rotated.
    pub rotating: Mutex<()>,
    /// Configurations of before.
    pub past: Past,
    /// What both sides must know.
    pub secrets: Arc<Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The data directory, for showing.
    pub dir: PathBuf,
    /// Where it listens, for showing.
    pub listens: HostPort,
}

pub(super) fn stopping() -> Reply {
    Reply::TryAgain { text: "this node is stopping: ask again in a moment, or another node".to_owned() }
}

pub(super) fn late() -> Reply {
    Reply::Unsure {
        text: "no answer from the core of this daemon: see its log, and look before asking again".to_owned(),
    }
}

impl Counter for Control {
    fn ask(&self, _who: &Caller, request: Request) -> Reply {
        match &request.ask {
            Ask::NodeProbe { address } => self.meet(address),
            Ask::RotateSecret { secret } => self.rotate_secret(secret.clone()),
            Ask::RotateKey { kind } => self.rotate_key(request.id, *kind),
            Ask::NodeAdd { address, node, fingerprint } => self.add(request.id, address, *node, *fingerprint),
            Ask::TestAlert { .. } | Ask::TestCheck { .. } => self.test(&request.ask),
            Ask::ClusterConfig { version: Some(version) } => {
                let version = *version;
                self.with_base(version, self.ask_core(request))
            }
            Ask::ClusterApply { items, .. } => match plan::judge_items(items) {
                Ok(()) => self.ask_core(request),
                Err(why) => Reply::refused(why),
            },
            Ask::Mesh => self.with_here(self.ask_core(request)),
            _ => self.ask_core(request),
        }
    }
}

impl Control {
    /// With the key that the configuration gives this node: the others look it up there.
    fn tls(&self) -> Result<Tls, Reply> {
        Tls::new(&self.keys.held().current).map_err(|e| Reply::refused(e.to_string()))
    }

    fn ask_core(&self, request: Request) -> Reply {
        let (reply, answer) = bounded(1);
        let event = Event::Ask { request, reply };
        if self.core.send_timeout(event, AT_ONCE).is_err() {
            return stopping();
        }
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| late())
    }

    /// The configuration that a file started from, beside the present one.
    fn with_base(&self, version: u64, reply: Reply) -> Reply {
        let Reply::Config { current, .. } = reply else { return reply };
        if current.version == version {
            return Reply::Config { current, base: None };
        }
        match self.past.base(version) {
            Ok(base) => Reply::Config { current, base: Some(base) },
            Err(why) => Reply::refused(why),
        }
    }

    /// Adds what is found out here, in the thread that asks: the core opens no sockets.
    fn with_here(&self, reply: Reply) -> Reply {
        let Reply::Mesh(mut mesh) = reply else { return reply };
        let dir = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let dir = dir.display().to_string();
        mesh.here =
            Some(Here { dir, uid: cred::euid(), listens: self.listens.clone(), pings: super::mesh::pings() });
        Reply::Mesh(mesh)
    }

    fn meet(&self, address: &HostPort) -> Reply {
        let tls = match self.tls() {
            Ok(tls) => tls,
            Err(reply) => return reply,
        };
        match asker::identify(&tls, self.clock.as_ref(), address) {
            Ok(met) => Reply::Met { node: met.introduction.node_id, fingerprint: met.fingerprint },
            Err(e) => Reply::refused(e.to_string()),
        }
    }

    /// Adds a node in two steps that can be repeated: it agrees to become a member, then the
    /// cluster commits it.
    fn add(&self, id: RequestId, address: &HostPort, node: NodeId, key: Fingerprint) -> Reply {
        let (reply, made) = bounded(1);
        if self.core.send_timeout(Event::MakeOffer { reply }, AT_ONCE).is_err() {
            return stopping();
        }
        let Ok(offer) = made.recv_timeout(AT_ONCE) else {
            let text = "this node has no state of its cluster yet: it cannot add another";
            return Reply::NoQuorum { text: text.to_owned() };
        };
        if offer.peers.iter().any(|p| p.node_id == node) {
            return Reply::refused(format!("node {node} is a peer already (see qu node list)"));
        }
        let tls = match self.tls() {
            Ok(tls) => tls,
            Err(reply) => return reply,
        };
        let met = match asker::ask(&tls, self.clock.as_ref(), address, key, &self.secrets.get(), offer) {
            Ok(met) => met,
            Err(e) => return Reply::refused(e.to_string()),
        };
        if met.introduction.node_id != node {
            let found = met.introduction.node_id;
            return Reply::refused(format!(
                "{address} says now that it is {found}, not {node}: nothing was changed"
            ));
        }
        let peer = Peer {
            node_id: node,
            advertise: met.introduction.advertise,
            fingerprint: met.fingerprint,
            cert_pem: met.cert_pem,
        };
        let (reply, answer) = bounded(1);
        let event = Event::Propose { id, body: Body::Change(Change::AddPeer(peer)), reply };
        if self.core.send_timeout(event, AT_ONCE).is_err() {
            return stopping();
        }
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| late())
    }

    /// One attempt for each destination, from here, beside the queues.
    fn test(&self, ask: &Ask) -> Reply {
        let (reply, made) = bounded(1);
        if self.core.send_timeout(Event::MakeTest { ask: ask.clone(), reply }, AT_ONCE).is_err() {
            return stopping();
        }
        let trials = match made.recv_timeout(AT_ONCE) {
            Ok(Ok(trials)) => trials,
            Ok(Err(why)) => return Reply::refused(why),
            Err(_) => return late(),
        };
        let deadline = self.clock.mono() + PATIENCE;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let waiting: Vec<_> = trials
            .into_iter()
            .map(|(alert, facts)| {
                let (tell, outcome) = bounded(1);
                self.desk.test(&alert, facts, tell);
                (alert, outcome)
            })
            .collect();
        for (alert, outcome) in waiting {
            let left = deadline.since(self.clock.mono());
            match outcome.recv_timeout(left) {
                Ok(Ok(note)) => good.push(match note {
                    Some(note) => format!("{} ({note})", alert.name),
                    None => alert.name.to_string(),
                }),
                Ok(Err(why)) => bad.push(format!("{}: {why}", alert.name)),
                Err(_) => bad.push(format!("{}: no answer within {}s", alert.name, PATIENCE.as_secs())),
            }
        }
        if bad.is_empty() {
            Reply::Done(Done {
                text: format!("test message accepted by {}", good.join(", ")),
                ..Done::default()
            })
        } else {
            Reply::refused(format!("test message not accepted by {}", bad.join("; ")))
        }
    }
}

/// The strangers' side.
pub struct Door {
    /// To the core.
    pub core: Sender<Event>,
    /// What this node is, told without asking the core.
    pub introduction: Introduction,
}

impl JoinDesk for Door {
    fn introduce(&self) -> Introduction {
        self.introduction.clone()
    }

    fn consider(&self, offer: Offer) -> Result<(), String> {
        let (reply, answer) = bounded(1);
        let busy = || "it is starting or stopping, try again in a moment".to_owned();
        let event = Event::Consider { offer: Box::new(offer), reply };
        self.core.send_timeout(event, AT_ONCE).map_err(|_| busy())?;
        answer.recv_timeout(AT_ONCE).map_err(|_| busy())?
    }
}
