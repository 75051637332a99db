//! The owner thread: quorum, state and tally, and everything that waits for them.
//!
//! Model: one loop. It takes what its inbox has, or wakes at the next deadline, and carries out
//! what follows. It does no I/O and waits for nothing but its inbox, so neither the slowest disk
//! nor the deadest mail relay can cost a heartbeat. Heartbeats are produced by this loop's own
//! deadlines, so a core that is stuck loses mastership, as it should.
//!
//! Its parts: `consensus.rs` (what the quorum core puts out), `changes.rs` (clients' changes),
//! `questions.rs` (what is answered at once), `mesh.rs` (who hears
//! whom), `reports.rs` (probes into verdicts), `owed.rs`
//! (alerts to be delivered), `picture.rs` (what readers see).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::event::Event;
use super::notify::Notify;
use super::owed::Owed;
use super::picture::Picture;
use super::published::Published;
use super::reports::Outgoing;
use super::requests::Requests;
use crate::base::clock::{Clock, Mono, Wall};
use crate::base::id::{CheckId, NodeId, RequestId};
use crate::base::rng::Rng;
use crate::config::Cluster;
use crate::deliver::{DeliveryOutcome, Desk};
use crate::identity::{Known, Trust};
use crate::log;
use crate::probe::Prober;
use crate::quorum::Node;
use crate::quorum::io::{Input, Timing, Write};
use crate::state::State;
use crate::transport::{self, Hello, Links};
use crate::verdict::{Report, Tally};
use crate::view::View;

/// Events taken before the deadlines are looked at again: a flood may not starve a heartbeat.
const BATCH: usize = 256;
/// An orderly stop waits this long for messages that are being delivered, and for a successor.
const STOP_PATIENCE: Duration = Duration::from_millis(1200);
/// Of that, how long the election of a successor may take after the role was handed over.
const SUCCESSION: Duration = Duration::from_millis(700);

/// What the core tells, and whom.
pub struct Outside {
    /// To the peers.
    pub links: Links,
    /// To the disk. Full while it fails: the rest waits in `backlog`, which is bounded by what the
    /// quorum core lets stay uncommitted.
    pub writes: Sender<(u64, Write)>,
    /// Probes of this node.
    pub prober: Prober,
    /// Destinations.
    pub desk: Arc<Desk>,
    /// The newest configuration for the file thread. One place: a newer one takes it.
    pub files: super::inlet::Inlet,
    /// What readers see.
    pub view: Arc<Published<View>>,
    /// The keys of this node.
    pub keys: Arc<super::keyring::KeyRing>,
    /// Its cluster secret.
    pub secrets: Arc<super::secrets::Secrets>,
    /// To the core itself, for threads that work for it.
    pub core: Sender<Event>,
    /// Until when a delivery may be begun, as monotonic nanoseconds.
    pub may_send_until: Arc<AtomicU64>,
    /// The service manager.
    pub notify: Arc<Notify>,
    /// Set when the core leaves its loop.
    pub ending: Arc<AtomicBool>,
}

/// What is known of a peer beyond the quorum core's liveness.
#[derive(Clone, Debug, Default)]
pub struct PeerKnown {
    /// What it said of itself.
    pub hello: Option<Hello>,
    /// Its wall clock minus ours when it said so, milliseconds.
    pub offset_ms: Option<i64>,
    /// When it was last heard.
    pub seen: Option<Wall>,
}

/// The owner of everything that is decided.
pub struct Core {
    pub(super) me: NodeId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Rng,
    pub(super) node: Node,
    /// None on a node that has no state of its cluster yet.
    pub(super) state: Option<State>,
    pub(super) tally: Tally,
    pub(super) requests: Requests,
    pub(super) doubts: Vec<super::doubts::Doubt>,
    pub(super) rounds: Vec<super::mesh::Round>,
    /// Questions about the secret to all peers.
    pub(super) secret_rounds: BTreeMap<RequestId, super::secrets::Round>,
    /// Most peers refuse this node's key.
    pub(super) put_out: bool,
    /// Whose cluster secret is another one.
    pub(super) odd_secrets: BTreeSet<NodeId>,
    /// Verdicts proposed by this master, by request.
    pub(super) proposed: BTreeMap<RequestId, Vec<CheckId>>,
    /// Verdicts were refused for the moment: none are proposed before this.
    pub(super) verdicts_from: Mono,
    pub(super) outgoing: Outgoing,
    pub(super) owed: Owed,
    pub(super) picture: Picture,
    pub(super) peers: BTreeMap<NodeId, PeerKnown>,
    pub(super) backlog: VecDeque<(u64, Write)>,
    pub(super) slowness: super::slowness::Slowness,
    /// The last write that was given to the disk, and the last one that is durable.
    pub(super) given: u64,
    pub(super) durable: u64,
    /// For `cluster.yaml`, each once this write is durable (`None`: the last one of this turn). A
    /// few: what comes while all of these wait takes the place of the newest.
    pub(super) unfiled: VecDeque<(Option<u64>, super::inlet::Committed)>,
    /// The state was replaced by that of another log, and the file was not told yet.
    pub(super) anew: bool,
    /// The store said so, and has not taken it back.
    pub(super) disk_fails: bool,
    pub(super) inputs: VecDeque<Input>,
    pub(super) out: Outside,
    pub(super) joining: super::joining::Joining,
    /// Whom this node knew at its start; until it counts among the members.
    pub(super) floor: Option<Arc<Trust>>,
    /// Whom each peer named as members by a config version that this node does not have yet.
    pub(super) introduced: BTreeMap<NodeId, (u64, Vec<Known>)>,
    /// What runs out at times.
    pub(super) scarcity: super::scarcity::Scarcity,
    /// Bytes of commands applied since the last snapshot.
    pub(super) log_bytes: usize,
    pub(super) snapshot_bytes: usize,
    pub(super) acting: bool,
    pub(super) started: Mono,
    /// The end of the log that the disk held at the start: up to here, what is applied happened
    /// before, and is no news.
    pub(super) past: u64,
    fatal: Option<String>,
    stopping: Option<Mono>,
    /// The role was handed over in order to stop: until then its new holder is waited for.
    successor_by: Option<Mono>,
    stop_at: Mono,
    alive_at: Mono,
}

/// Where the core hears; each with the bound that suits who speaks.
pub struct Inlets {
    /// From threads of this daemon.
    pub events: Receiver<Event>,
    /// From the probes of this node.
    pub reports: Receiver<Report>,
    /// From the links.
    pub peers: Receiver<transport::Event>,
    /// From the destinations.
    pub fates: Receiver<DeliveryOutcome>,
}

/// What a core starts with.
pub struct Start {
    /// This node.
    pub me: NodeId,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub seed: u64,
    /// The quorum core, as the disk remembers it.
    pub node: Node,
    /// What this node is, for joins.
    pub joining: super::joining::Joining,
    /// Whom it knows.
    pub known: Arc<Trust>,
    /// Everybody else.
    pub out: Outside,
}

impl Core {
    /// Puts it together; nothing happens yet.
    #[must_use]
    pub fn new(start: Start) -> Core {
        let now = start.clock.mono();
        let nobody = super::start::nobody(start.joining.cluster);
        Core {
            me: start.me,
            rng: Rng::new(start.seed),
            past: start.node.status().end.index,
            node: start.node,
            state: None,
            tally: Tally::new(now, &nobody),
            requests: Requests::default(),
            doubts: Vec::new(),
            rounds: Vec::new(),
            secret_rounds: BTreeMap::new(),
            put_out: false,
            odd_secrets: BTreeSet::new(),
            proposed: BTreeMap::new(),
            verdicts_from: Mono(0),
            outgoing: Outgoing::default(),
            owed: Owed::default(),
            picture: Picture::new(now),
            peers: BTreeMap::new(),
            backlog: VecDeque::new(),
            slowness: super::slowness::Slowness::default(),
            given: 0,
            durable: 0,
            unfiled: VecDeque::new(),
            anew: false,
            disk_fails: false,
            inputs: VecDeque::new(),
            out: start.out,
            joining: start.joining,
            floor: Some(start.known),
            introduced: BTreeMap::new(),
            scarcity: super::scarcity::Scarcity::default(),
            log_bytes: 0,
            snapshot_bytes: 0,
            acting: false,
            started: now,
            fatal: None,
            stopping: None,
            successor_by: None,
            stop_at: Mono::FAR,
            alive_at: now,
            clock: start.clock,
        }
    }

    /// Turns until it is told to stop, or must. True when the node is to start anew as a member of
    /// another cluster.
    ///
    /// # Errors
    /// Why it cannot go on: one line, for the log and the exit status.
    pub fn run(mut self, from: &Inlets) -> Result<bool, String> {
        self.drive(Input::Tick);
        while self.fatal.is_none() && !self.is_stopped() {
            let wait = self.next_deadline().since(self.clock.mono());
            select! {
                recv(from.events) -> event => match event {
                    Ok(event) => self.on_event(event),
                    Err(_) => break,
                },
                recv(from.peers) -> event => match event {
                    Ok(event) => self.on_peer(event),
                    Err(_) => self.fatal("the links' thread has ended".to_owned()),
                },
                recv(from.reports) -> report => match report {
                    Ok(report) => self.on_own_report(report),
                    Err(_) => self.fatal("the probes' thread has ended".to_owned()),
                },
                recv(from.fates) -> fate => fate.into_iter().for_each(|f| self.on_delivery(f)),
                default(wait) => {}
            }
            self.take_more(from);
            self.on_time();
        }
        self.out.ending.store(true, Ordering::Release);
        self.out.may_send_until.store(0, Ordering::Release);
        self.out.links.stop();
        self.out.prober.stop();
        self.out.desk.stop();
        match self.fatal {
            Some(why) => Err(why),
            None => Ok(self.joining.restart),
        }
    }

    /// What else is there already, up to a bound.
    fn take_more(&mut self, from: &Inlets) {
        for _ in 0..BATCH {
            let (event, peer) = (from.events.try_recv().ok(), from.peers.try_recv().ok());
            let (report, fate) = (from.reports.try_recv().ok(), from.fates.try_recv().ok());
            if event.is_none() && peer.is_none() && report.is_none() && fate.is_none() {
                return;
            }
            event.into_iter().for_each(|e| self.on_event(e));
            peer.into_iter().for_each(|e| self.on_peer(e));
            report.into_iter().for_each(|r| self.on_own_report(r));
            fate.into_iter().for_each(|f| self.on_delivery(f));
        }
    }

    /// This node cannot go on: everything ends.
    pub(super) fn fatal(&mut self, why: String) {
        log!(Error, "core", why.clone());
        self.fatal.get_or_insert(why);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Store(event) => self.on_store(event),
            Event::Ask { request, reply } => self.on_ask(request, reply),
            Event::Propose { id, body, reply } => self.begin(id, body, reply),
            Event::AskAll { word, reply } => self.on_ask_all(&word, reply),
            Event::SecretTaken { from, result } => self.on_secret_taken(from, result),
            Event::KeyBasis { reply } => self.on_key_basis(&reply),
            Event::RotateKey { id, body, keys, reply } => self.on_rotate_key(id, body, keys, reply),
            Event::HandEdit { items, reply } => {
                let id = self.new_request();
                self.begin(id, crate::state::command::Body::HandEdit { items }, reply);
            }
            Event::MakeOffer { reply } => self.on_make_offer(&reply),
            Event::Consider { offer, reply } => self.on_consider(*offer, &reply),
            Event::Note { about, text } => self.picture.note(about, text),
            Event::MakeTest { ask, reply } => self.on_make_test(&ask, &reply),
            Event::Stop => self.on_stop(),
        }
    }

    /// Everything that time alone brings about.
    fn on_time(&mut self) {
        let now = self.clock.mono();
        if self.node.deadline() <= now {
            self.drive(Input::Tick);
        }
        if now >= self.stop_at {
            self.on_stop();
        }
        self.leave_the_past();
        self.file_durable();
        self.watch_disk(now);
        self.watch_acting(now);
        self.flush_reports(now);
        self.propose_verdicts(now);
        self.propose_due();
        self.try_requests(now);
        self.settle_doubts(now);
        self.settle_rounds(now);
        self.settle_secret_rounds();
        self.publish(now);
        if let Some(every) = self.out.notify.watchdog
            && now >= self.alive_at
        {
            self.out.notify.alive();
            self.alive_at = now + every;
        }
    }

    fn next_deadline(&self) -> Mono {
        let mut next = self.node.deadline();
        next = next.min(self.requests.next_deadline()).min(self.next_doubt());
        next = next.min(self.next_round()).min(self.next_secret_round());
        next = next.min(self.outgoing.flush_at()).min(self.picture.publish_at());
        if self.acting {
            next =
                next.min(self.tally.next_deadline().max(self.verdicts_from)).min(self.owed.next_deadline());
        }
        if self.out.notify.watchdog.is_some() {
            next = next.min(self.alive_at);
        }
        next = next.min(self.stop_at).min(self.slowness.look_at(self.timing().dead_after));
        // A stop looks often whether it is done.
        if self.stopping.is_some() { next.min(self.clock.mono() + Duration::from_millis(10)) } else { next }
    }

    /// Mastership that may be acted on begins or ends.
    fn watch_acting(&mut self, now: Mono) {
        let until = if self.stopping.is_some() { Mono(0) } else { self.node.acts_until() };
        self.out.may_send_until.store(until.0, Ordering::Release);
        let acting = now < until;
        if acting != self.acting {
            self.acting = acting;
            if acting {
                self.tally.begin(now);
                self.owed.begin(now, self.timing().heartbeat * 2);
            } else {
                self.out.desk.stop_all();
            }
            self.picture.all_changed();
        }
        self.offer_owed(now);
    }

    /// Stops in a moment.
    pub(super) fn stop_after(&mut self, pause: Duration) {
        self.stop_at = self.clock.mono() + pause;
    }

    fn on_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        log!(Info, "core", "stopping");
        self.out.notify.stopping();
        self.stop_at = Mono::FAR;
        self.stopping = Some(self.clock.mono() + STOP_PATIENCE);
    }

    /// An orderly stop: deliveries that are under way end and are recorded, the role goes to
    /// somebody else, then the loop ends. Bounded in time.
    fn is_stopped(&mut self) -> bool {
        let Some(until) = self.stopping else { return false };
        let now = self.clock.mono();
        if now >= until {
            return true;
        }
        if self.out.desk.is_busy() || self.requests.has_own() {
            return false;
        }
        let status = self.node.status();
        if status.role.me && status.membership.voters.len() > 1 {
            // Its connections stay until the successor is elected: the word to take over is still
            // on its way, and of two nodes the successor needs this one's vote.
            self.successor_by = Some(now + SUCCESSION);
            self.drive(Input::HandOver { to: None });
            return false;
        }
        let succeeded = status.role.master.is_some() || self.successor_by.is_none_or(|by| now >= by);
        succeeded && self.backlog.is_empty() && self.unfiled.is_empty()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    pub(super) fn new_request(&mut self) -> RequestId {
        RequestId::from_random(self.rng.next_u128())
    }

    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.state.as_ref().map(State::cluster)
    }

    pub(super) fn timing(&self) -> Timing {
        let settings = self.cluster().map(|c| c.settings).unwrap_or_default();
        super::start::timing(&settings)
    }
}
