//! Layer 4: the wiring. The only place that knows everybody.
//!
//! [`run`] reads in the order in which things start: lock, node, cluster, `state/`, then the
//! threads. The same order backwards ends them.
//!
//! | thread | owns | hears | tells |
//! | --- | --- | --- | --- |
//! | `core` | quorum core, state, tally, changes under way | `inbox` 1024 | everybody below |
//! | `store` | files in `state/` | `writes` 64 | `inbox`: persisted, failed, works |
//! | `links` | listening socket, all connections of peers and strangers | network, mailbox (256 a peer; full: dropped, counted) | `peers` 1024 (full: TCP pushes back) |
//! | `probe` | schedule, every probe under way | configuration | `reports` 1024 (full: newest of each check waits) |
//! | `deliver-*` | one destination each, while it has something to do | its queue (full: stays in the outbox) | `fates` 256 |
//! | `control` and its connections | control socket | callers | `inbox`, with room for one answer |
//! | `files` | `cluster.yaml`, `trust.yaml`, `keys/` when the key changes | newest configuration (one place), the file itself | `inbox`: hand edits |
//! | `secret` | one write of `node.yaml`, for a moment | - | `inbox`: written, or why not |
//! | main | nothing | SIGTERM, SIGINT, SIGHUP; the end of any thread | `inbox`: stop |
//!
//! `inbox` is full when the core is busy for longer than a thousand events take; then connections,
//! callers and links wait, and heartbeats of peers with them, so that a core that is stuck loses
//! mastership, as it should. Store and core cannot block each other: the core never waits when it
//! writes (`consensus.rs` keeps what does not fit), and the store waits for the core alone.
#![forbid(unsafe_code)]

pub mod backup;
mod changes;
mod consensus;
mod core;
mod counter;
mod doubts;
mod effects;
mod event;
mod files;
mod gate;
mod inlet;
mod joining;
mod keyring;
mod lock;
pub mod mesh;
mod notify;
mod owed;
mod picture;
mod plan;
pub mod present;
mod published;
mod questions;
mod reports;
mod requests;
mod rotate;
pub mod sandbox;
mod scarcity;
mod secrets;
mod sight;
mod slowness;
mod standing;
pub mod start;
pub mod threads;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::core::{Core, Inlets, Outside, Start};
use self::event::Event;
use self::files::Files;
use self::inlet::Inlet;
use self::joining::Joining;
use self::keyring::Settler;
use self::lock::DirLock;
use self::notify::Notify;
use self::published::Published;
use self::secrets::Secrets;
use self::threads::Threads;
use crate::base::clock::{Clock, Mono, RealClock};
use crate::base::text;
use crate::config::node::Overrides;
use crate::config::paths::Paths;
use crate::control::server::{Picture, Server};
use crate::deliver::{DeliveryOutcome, Desk};
use crate::log;
use crate::probe::{ProbeConfig, Prober};
use crate::quorum::Node;
use crate::state::command::KINDS;
use crate::store;
use crate::sys::memory;
use crate::sys::poll::raise_descriptor_limit;
use crate::sys::signal::{self, Signal};
use crate::transport::{self, Links, Setup, listen};
use crate::verdict::{Report, definition};

/// Events that wait for the core: a second of the busiest traffic.
const INBOX: usize = 1024;
/// Writes that wait for the disk; they are written together, so more would only wait elsewhere.
const WRITES: usize = 64;
/// Reports that wait for the core; when it is full, the newest of each check waits at the prober.
const REPORTS: usize = 1024;
/// Fates of messages: a few destinations, one message each at a time.
const FATES: usize = 256;
/// The core ends within this once it was told to (`core.rs` bounds each of its steps).
const CORE_PATIENCE: Duration = Duration::from_millis(4500);
/// All threads have this long to end after the core has.
const END_PATIENCE: Duration = Duration::from_millis(700);

/// How a daemon runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory.
    pub dir: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
    /// What overrides `node.yaml`.
    pub overrides: Overrides,
    /// A majority of the peers that `cluster.yaml` names is enough to start again from it.
    pub recover: bool,
}

/// Runs a daemon until it is told to stop. Signals must be blocked already.
///
/// # Errors
/// Why it could not start, or could not go on: one line.
pub fn run(options: &Options) -> Result<(), String> {
    threads::panic_ends_process();
    memory::stay_small();
    match raise_descriptor_limit() {
        Ok(limit) => log!(Debug, "start", "descriptors", limit = limit),
        Err(e) => log!(Warn, "start", "the limit of descriptors stays as it is", why = e),
    }
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let paths = Paths::new(&options.dir);
    crate::base::file::directory(paths.dir(), 0o750).map_err(|e| text::chain(&e))?;
    let _lock = DirLock::take(&paths.lock()).map_err(|e| text::chain(&e))?;
    let notify = Arc::new(Notify::from_environment());
    loop {
        let life = Life::begin(options, &paths, &clock, &notify)?;
        if !life.live()? {
            return Ok(());
        }
    }
}

/// Everything between a start and an end; a node that is taken into another cluster has two.
struct Life {
    threads: Threads,
    inbox: Sender<Event>,
    control: crate::control::server::Stopper,
    ended: Receiver<Result<bool, String>>,
    /// The core has left its loop: from then on threads end because they should.
    ending: Arc<AtomicBool>,
    notify: Arc<Notify>,
}

impl Life {
    fn begin(
        options: &Options,
        paths: &Paths,
        clock: &Arc<dyn Clock>,
        notify: &Arc<Notify>,
    ) -> Result<Life, String> {
        let node = start::load_node(paths, options.overrides.clone(), clock.wall())?;
        let me = node.config.node_id;
        let found = start::find(paths, &node, clock.as_ref(), options.recover)?;
        // The socket first: a second daemon must fail before it touches anything else.
        let server = Server::open(&options.socket).map_err(|e| text::chain(&e))?;
        let listener = listen::bind(Some(node.config.bind), node.config.port).map_err(|e| text::chain(&e))?;

        let (inbox, events) = bounded(INBOX);
        let (reports_in, reports) = bounded::<Report>(REPORTS);
        let (fates_in, fates) = bounded::<DeliveryOutcome>(FATES);
        let (peers_in, peers) = bounded::<transport::Event>(INBOX);
        let (writes, written) = bounded(WRITES);
        let seed = || {
            crate::identity::random().map(|n| u64::try_from(n >> 64).unwrap_or(0)).map_err(|e| e.to_string())
        };
        let mut threads = Threads::new(signal::wake);
        let failed = |e: std::io::Error| format!("start a thread: {e}");

        let tell = inbox.clone();
        let disk = found.store;
        threads.spawn("store", move || run_store(disk, &written, &tell)).map_err(failed)?;

        let joining = Joining {
            me,
            advertise: node.config.advertise.clone(),
            cluster: found.cluster.id,
            note: start::join_note(paths),
            restart: false,
        };
        let door = counter::Door { core: inbox.clone(), introduction: joining.introduction() };
        let setup = Setup {
            node: me,
            keys: node.keys.held().shown().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kinds: KINDS.iter().map(|k| (*k).to_owned()).collect(),
            secret: Some(node.config.secret.clone()),
            desk: Arc::new(door),
            clock: Arc::clone(clock),
            seed: seed()?,
            spawn: transport::plain_spawn(),
        };
        let links = Links::start(setup, listener, found.cluster.id, found.trust, peers_in)
            .map_err(|e| text::chain(&e))?;

        let may_send_until = Arc::new(AtomicU64::new(0));
        let may_send = {
            let (clock, until) = (Arc::clone(clock), Arc::clone(&may_send_until));
            Arc::new(move || clock.mono() < Mono(until.load(Ordering::Acquire)))
        };
        let desk = Arc::new(Desk::start(Arc::clone(clock), may_send, fates_in));
        let prober = Prober::start(ProbeConfig::system(definition, seed()?), Arc::clone(clock), reports_in)
            .map_err(|e| format!("start the probes: {e}"))?;

        let overridden = secrets::overridden(&options.overrides);
        let secrets = Arc::new(Secrets::new(paths, node.config.secret.clone(), overridden));
        let mut core_node = Node::new(me, found.timing, found.boot, clock.mono());
        core_node.judge_snapshots(|data| crate::state::snapshot::from_text(data).is_ok());
        let (inlet, outlet) = Inlet::new();
        let keys = Settler::new(Arc::clone(&node.keys), me, inbox.clone());
        let mut files = Files::new(paths.clone(), me, Arc::clone(clock), inbox.clone(), outlet, keys);
        let past = inlet.past();
        // A node that has to catch up knows less than its files.
        if core_node.status().counts {
            found.committed.iter().chain(&found.filed).for_each(|known| files.remember(known));
        } else {
            files.start_blind();
        }
        threads.spawn("files", move || files.run()).map_err(failed)?;

        let view = Arc::new(Published::new(picture::first(me, found.cluster.id, clock.wall())));
        let ending = Arc::new(AtomicBool::new(false));
        let core = Core::new(Start {
            me,
            clock: Arc::clone(clock),
            seed: seed()?,
            node: core_node,
            joining,
            known: found.known,
            out: Outside {
                links,
                writes,
                prober,
                desk: Arc::clone(&desk),
                files: inlet,
                view: Arc::clone(&view),
                keys: Arc::clone(&node.keys),
                secrets: Arc::clone(&secrets),
                core: inbox.clone(),
                may_send_until,
                notify: Arc::clone(notify),
                ending: Arc::clone(&ending),
            },
        });
        let (tell_end, ended) = bounded(1);
        threads
            .spawn("core", move || {
                // Taken by the one who waits below, or by nobody when that has gone.
                drop(tell_end.try_send(core.run(&Inlets { events, reports, peers, fates })));
            })
            .map_err(failed)?;

        let counter: Arc<dyn crate::control::server::Desk> = Arc::new(counter::Control {
            core: inbox.clone(),
            desk,
            me,
            keys: Arc::clone(&node.keys),
            rotating: Mutex::default(),
            secrets: Arc::clone(&secrets),
            past,
            clock: Arc::clone(clock),
            dir: paths.dir().to_owned(),
            listens: start::listens(&node.config),
        });
        let picture: Picture = Arc::new(move || view.get());
        let control = server.stopper();
        threads.spawn("control", move || server.run(&picture, &counter)).map_err(failed)?;
        log!(
            Info,
            "start",
            "ready",
            node = me,
            listen = start::listens(&node.config),
            socket = options.socket.display()
        );
        notify.ready();
        Ok(Life { threads, inbox, control, ended, ending, notify: Arc::clone(notify) })
    }

    /// Waits for a signal, or for a thread that ends by itself; then ends everything. True when the
    /// node is to start anew.
    fn live(self) -> Result<bool, String> {
        let endings = self.threads.endings();
        let first = loop {
            match signal::wait().map_err(|e| format!("cannot wait for signals: {e}"))? {
                Signal::Stop => {
                    log!(Info, "signal", "told to stop");
                    // Full means that the core is busy; it will look at the next try.
                    drop(self.inbox.try_send(Event::Stop));
                }
                Signal::HangUp => log!(Info, "signal", "SIGHUP: nothing to do, files are watched anyway"),
                Signal::Wake => {
                    // Without a name it is left over from the life before.
                    if let Ok(name) = endings.try_recv() {
                        break name;
                    }
                }
            }
        };
        let orderly = self.ending.load(Ordering::Acquire);
        if !orderly {
            log!(Error, "stop", "a thread ended by itself: ending the process", thread = first);
            drop(self.inbox.try_send(Event::Stop));
        }
        let result = self.ended.recv_timeout(CORE_PATIENCE);
        let result = result.unwrap_or_else(|_| Err("the core did not end in time".to_owned()));
        let result = if orderly { result } else { Err(format!("thread {first} ended by itself")) };
        self.notify.stopping();
        self.control.stop();
        drop(self.inbox);
        let left = self.threads.join(END_PATIENCE);
        if !left.is_empty() {
            log!(Warn, "stop", "threads that did not end in time are left behind", threads = left.join(","));
        }
        log!(Info, "stop", "stopped");
        result
    }
}

fn run_store(
    disk: store::Store<store::disk::RealDisk>,
    writes: &Receiver<(u64, crate::quorum::io::Write)>,
    tell: &Sender<Event>,
) {
    // The core is ending when it does not listen; then there is nobody to tell.
    let ended = store::run(disk, writes, |event| drop(tell.send(Event::Store(event))));
    if let Err(e) = ended {
        log!(Error, "store", text::chain(&e));
    }
}
