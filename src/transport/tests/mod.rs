//! Nodes with real sockets on loopback, and clients that do not keep to the rules.

mod hostile;
mod joining;
mod linking;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rustls::{ClientConnection, StreamOwned};

use super::join::{Introduction, JoinDesk, Offer};
use super::tls::{self, Expect, Tls};
use super::*;
use crate::base::clock::{Clock, RealClock, Wall};
use crate::base::frame;
use crate::base::id::{ClusterId, NodeId};
use crate::config::Secret;
use crate::identity::keys::{self, KeyKind};
use crate::identity::{Keys, Known, Trust};

/// Nothing here takes this long unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);

static SEED: AtomicU64 = AtomicU64::new(1);

fn fresh_keys() -> Keys {
    Keys::from_made(&keys::make(KeyKind::EcdsaP256).unwrap()).unwrap()
}

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}

fn clock() -> Arc<dyn Clock> {
    static CLOCK: OnceLock<Arc<RealClock>> = OnceLock::new();
    Arc::clone(CLOCK.get_or_init(|| Arc::new(RealClock::new()))) as _
}

/// Waits until `done` gives something.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A desk that says what the test wants, and keeps what it was offered.
struct Desk {
    me: Introduction,
    answer: Mutex<Result<(), String>>,
    offers: Mutex<Vec<Offer>>,
}

impl JoinDesk for Desk {
    fn introduce(&self) -> Introduction {
        self.me.clone()
    }
    fn consider(&self, offer: Offer) -> Result<(), String> {
        self.offers.lock().unwrap().push(offer);
        self.answer.lock().unwrap().clone()
    }
}

/// One node: its links and what they told.
struct Node {
    id: NodeId,
    keys: Keys,
    at: SocketAddr,
    desk: Arc<Desk>,
    links: Links,
    events: Receiver<Event>,
}

/// What a node is started with.
struct Make {
    id: NodeId,
    keys: Keys,
    listener: TcpListener,
    cluster: ClusterId,
    room: usize,
    secret: Option<Secret>,
}

impl Make {
    fn new() -> Make {
        Make::at(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
    }

    fn at(ip: IpAddr, port: u16) -> Make {
        Make {
            id: NodeId::from_random(crate::identity::random().unwrap()),
            keys: fresh_keys(),
            listener: listen::bind(Some(ip), port).unwrap(),
            cluster: cluster(),
            room: 1024,
            secret: Some(Secret::new("a secret of the whole cluster")),
        }
    }

    fn known(&self) -> Known {
        known(self.id, &self.keys, self.listener.local_addr().unwrap())
    }

    fn start(self, trusted: &[Known]) -> Node {
        let at = self.listener.local_addr().unwrap();
        let (tell, events) = bounded(self.room);
        let me = Introduction { node_id: self.id, advertise: at.into(), version: "0.1.0".into() };
        let desk = Arc::new(Desk { me, answer: Mutex::new(Ok(())), offers: Mutex::default() });
        let setup = Setup {
            node: self.id,
            keys: self.keys.clone(),
            version: "0.1.0".into(),
            kinds: vec!["change".into()],
            secret: self.secret,
            desk: Arc::clone(&desk) as _,
            clock: clock(),
            seed: SEED.fetch_add(1, Ordering::Relaxed),
            spawn: plain_spawn(),
        };
        let trust = Arc::new(Trust::new(trusted.iter().cloned()).unwrap());
        let links = Links::start(setup, self.listener, self.cluster, trust, tell).unwrap();
        Node { id: self.id, keys: self.keys, at, desk, links, events }
    }
}

fn known(node_id: NodeId, keys: &Keys, at: SocketAddr) -> Known {
    Known {
        node_id,
        address: at.into(),
        fingerprint: keys.fingerprint(),
        cert_pem: keys.cert_pem().to_owned(),
    }
}

/// A port where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Node {
    fn known(&self) -> Known {
        known(self.id, &self.keys, self.at)
    }

    fn trust(&self, cluster: ClusterId, others: &[Known]) {
        self.links.set_peers(cluster, Arc::new(Trust::new(others.iter().cloned()).unwrap()));
    }

    fn stats(&self, peer: NodeId) -> Option<PeerStats> {
        self.links.stats().into_iter().find(|s| s.peer == peer)
    }

    /// The next event that `pick` takes; others are passed over.
    fn event<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(50))
                && let Some(found) = pick(&event)
            {
                return found;
            }
        }
        panic!("waited in vain for: {what}; stats: {:?} {:?}", self.links.stats(), self.links.gate());
    }

    fn wait_up(&self, peer: NodeId) -> u64 {
        self.event("up", |e| match e {
            Event::Up { peer: p, generation } if *p == peer => Some(*generation),
            _ => None,
        })
    }

    fn wait_down(&self, peer: NodeId) -> Why {
        self.event("down", |e| match e {
            Event::Down { peer: p, why } if *p == peer => Some(why.clone()),
            _ => None,
        })
    }

    fn wait_message(&self, peer: NodeId) -> PeerMessage {
        self.event("a message", |e| match e {
            Event::Message { peer: p, message } if *p == peer => Some((**message).clone()),
            _ => None,
        })
    }

    fn wait_misbehaved(&self, peer: NodeId) -> Misbehaviour {
        self.event("misbehaviour", |e| match e {
            Event::Misbehaved { peer: p, what } if *p == peer => Some(what.clone()),
            _ => None,
        })
    }

    fn wait_trouble(&self, peer: NodeId, says: &str) {
        until(says, || self.stats(peer)?.trouble.filter(|t| t.contains(says)).map(drop));
    }
}

/// Two nodes that know each other and are connected both ways.
fn two() -> (Node, Node) {
    let (a, b) = (Make::new(), Make::new());
    let (ka, kb) = (a.known(), b.known());
    let (a, b) = (a.start(&[kb]), b.start(&[ka]));
    a.wait_up(b.id);
    b.wait_up(a.id);
    (a, b)
}

fn text(n: u64) -> PeerMessage {
    PeerMessage::Quorum(crate::quorum::message::Message::TakeOver { term: n })
}

type Raw = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client with these keys that is free to send anything.
fn raw(keys: &Keys, node: &Node, alpn: &[u8]) -> Raw {
    let tls = Tls::new(keys).unwrap();
    let (connection, _) = tls.dial(Expect::Key(node.keys.fingerprint()), alpn).unwrap();
    let rustls::Connection::Client(client) = connection else { panic!("a client") };
    let socket = TcpStream::connect(node.at).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    StreamOwned::new(client, socket)
}

fn hello(cluster: ClusterId) -> PeerMessage {
    PeerMessage::Hello(Hello { cluster, version: "9".into(), kinds: Vec::new(), clock: Wall(0) })
}
