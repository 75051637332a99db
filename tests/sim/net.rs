//! The network: loss, delay, duplication, reordering, cut links; and generations of connections.
//!
//! Links are directed: either direction can be cut alone. A message belongs to one run of its
//! sender and one run of its receiver: what was on its way to a process that died is lost, and what
//! an earlier run of the sender left behind may arrive until something of its newer run has.
//! What meets a cut link is lost, or held and let through when the link heals, as TCP would.

use quptime::base::id::{NodeId, RequestId};
use quptime::base::rng::Rng;
use quptime::quorum::io::{MemberChange, Refusal};
use quptime::quorum::message::Message;
use quptime::verdict::Report;

/// What hosts send each other.
#[derive(Clone, Debug)]
pub enum Packet {
    /// Core to core.
    Core(Message),
    /// A client's request, on its way to the master.
    Forward(Request),
    /// What became of one, on its way back.
    Reply(Reply),
    /// What the probes of a host found.
    Reports(Vec<Report>),
}

/// What a client wants.
#[derive(Clone, Debug)]
pub struct Request {
    /// Under which it counts once.
    pub id: RequestId,
    /// The command.
    pub text: String,
    /// What it means for the members.
    pub change: Option<MemberChange>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which.
    pub id: RequestId,
    /// Index and result, or why it was not taken.
    pub outcome: Result<(u64, u64), Refusal>,
}

/// One packet under way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Sender and its run.
    pub from: (usize, u64),
    /// Receiver and its run.
    pub to: (usize, u64),
    /// What.
    pub packet: Packet,
}

/// How the network behaves in a run.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Per mille of packets that vanish.
    pub loss: u64,
    /// Per mille that arrive twice.
    pub dup: u64,
    /// Shortest and longest usual delay, ns.
    pub delay: (u64, u64),
    /// Per mille that take long, and how long at most, ns.
    pub tail: (u64, u64),
    /// A connection keeps the order of what is sent.
    pub fifo: bool,
    /// Per mille of what meets a cut link that is held instead of lost.
    pub hold: u64,
}

/// The links between all hosts.
pub struct Net {
    hosts: usize,
    /// How it behaves now.
    pub options: NetOptions,
    cut: Vec<bool>,
    last: Vec<u64>,
    newest: Vec<u64>,
    held: Vec<Flight>,
}

/// What a link remembers while it is cut: more would not fit into a socket.
const HELD: usize = 256;

impl Net {
    /// All links whole.
    pub fn new(hosts: usize, options: NetOptions) -> Net {
        let links = hosts * hosts;
        Net {
            hosts,
            options,
            cut: vec![false; links],
            last: vec![0; links],
            newest: vec![0; links],
            held: Vec::new(),
        }
    }

    /// Cuts or heals one direction.
    pub fn set(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from * self.hosts + to] = cut;
    }

    /// Whether one direction is cut.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from * self.hosts + to]
    }

    /// When the copies of a packet sent now arrive.
    pub fn arrivals(&mut self, rng: &mut Rng, now: u64, from: usize, to: usize) -> Vec<u64> {
        if rng.chance(self.options.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.options.dup) { 2 } else { 1 };
        (0..copies).map(|_| self.arrival(rng, now, from, to)).collect()
    }

    fn arrival(&mut self, rng: &mut Rng, now: u64, from: usize, to: usize) -> u64 {
        let (low, high) = self.options.delay;
        let mut at = now + low + rng.below(high - low + 1);
        let (chance, most) = self.options.tail;
        if rng.chance(chance) {
            at += rng.below(most + 1);
        }
        if self.options.fifo {
            let last = &mut self.last[from * self.hosts + to];
            at = at.max(*last);
            *last = at;
        }
        at
    }

    /// A packet meets a cut link: held or lost.
    pub fn meets_cut(&mut self, rng: &mut Rng, flight: Flight) {
        if self.held.len() < HELD && rng.chance(self.options.hold) {
            self.held.push(flight);
        }
    }

    /// What was held on links that are whole again, in the order in which it was sent.
    pub fn released(&mut self) -> Vec<Flight> {
        let (cut, hosts) = (&self.cut, self.hosts);
        let free = |f: &mut Flight| !cut[f.from.0 * hosts + f.to.0];
        self.held.extract_if(.., free).collect()
    }

    /// Whether a packet of this run of the sender may still arrive; a newer one closes the door.
    pub fn admits(&mut self, from: (usize, u64), to: usize) -> bool {
        let newest = &mut self.newest[from.0 * self.hosts + to];
        let admitted = from.1 >= *newest;
        *newest = from.1.max(*newest);
        admitted
    }

    /// Forgets order and what was held: all faults are over.
    pub fn calm(&mut self, options: NetOptions) {
        self.options = options;
        self.held.clear();
        self.last.fill(0);
    }
}

/// The id of the host with this number; hosts are ordered as their ids are.
pub fn node_id(host: usize) -> NodeId {
    NodeId::from_random((host as u128 + 1) << 96)
}
