//! One host: a core, its clock, its disk and its state machine; and the driver that runs them, which
//! does what `quorum::io` says a driver must do and nothing else.

use std::collections::{BTreeMap, VecDeque};

use quptime::base::clock::Mono;
use quptime::base::id::{NodeId, RequestId};
use quptime::quorum::Node;
use quptime::quorum::io::{Boot, File, Input, Remembered, Role};
use quptime::quorum::message::{Blank, Founding, Incarnation, Index, Membership, Term};

use super::app::App;
use super::checkers::{Checked, broken, or_broken};
use super::clock::{HostClock, MS};
use super::disk::Disk;
use super::duty::Duty;
use super::net::node_id;
use super::trace;
use super::world::{Event, World};

/// One host.
pub struct Host {
    /// Its id.
    pub id: NodeId,
    /// Its clock, which runs on when the process does not.
    pub clock: HostClock,
    /// Its disk.
    pub disk: Disk,
    /// Its `cluster.yaml`, which survives the loss of `state/`.
    pub file: Option<App>,
    /// Of which history the file is.
    pub file_of: Founding,
    /// The process; `None` while it is down.
    pub core: Option<Node>,
    /// Counts runs of the process.
    pub run: u64,
    /// The life of `state/`.
    pub life: Incarnation,
    /// The state machine.
    pub app: App,
    /// What it has applied; `None` while it has no state.
    pub applied: Option<Index>,
    /// Who is master, as the core said last.
    pub role: Role,
    /// The process is stopped.
    pub paused: bool,
    /// What waits for it.
    pub held: VecDeque<Event>,
    /// The process dies after so many outputs, and is down for so long.
    pub dies_after: Option<(u64, u64)>,
    /// Who waits for the result of a request.
    pub waiting: BTreeMap<RequestId, usize>,
    /// What its daemon does beside consensus.
    pub duty: Duty,
    /// Where its state machine started from, and with whom.
    pub founding: Option<(Index, Membership)>,
    /// Its operator says that a majority of those named is enough.
    pub told: bool,
    /// Its operator wrote the file.
    pub edited: bool,
    wake_at: u64,
    hasty: u32,
    seen: (Term, Index, Incarnation),
}

const NOBODY: Role = Role { shown_term: 0, master: None, me: false };

impl Host {
    /// A host whose process has not started yet.
    pub fn new(id: NodeId, clock: HostClock, disk: Disk, file: Option<App>) -> Host {
        Host {
            id,
            clock,
            disk,
            file,
            file_of: Founding::default(),
            core: None,
            run: 0,
            life: Incarnation(0),
            app: App::default(),
            applied: None,
            role: NOBODY,
            paused: false,
            held: VecDeque::new(),
            dies_after: None,
            waiting: BTreeMap::new(),
            duty: Duty::default(),
            founding: None,
            told: false,
            edited: false,
            wake_at: u64::MAX,
            hasty: 0,
            seen: (0, 0, Incarnation(0)),
        }
    }

    /// What its state machine goes back to.
    pub fn history(&self) -> Founding {
        self.founding.as_ref().map(|(_, members)| members.founding).unwrap_or_default()
    }

    /// The process writes its file, of what is on its disk as well: the file is never newer than that.
    pub fn write_file(&mut self) {
        let on_disk = self.disk.founding() == Some(self.history());
        if on_disk && self.applied.is_some_and(|applied| self.disk.end().index >= applied) {
            self.file = Some(self.app.clone());
            self.file_of = self.history();
            (self.told, self.edited) = (false, false);
        }
    }

    /// What it presents to the others.
    fn presents(&self, remembers: bool) -> Option<File> {
        let app = self.file.as_ref()?;
        let known = Blank {
            version: app.config.version,
            members: app.config.peers.iter().map(|p| node_id(*p)).collect(),
            digest: app.config.digest(),
            told: self.told,
            remembers,
        };
        Some(File { known, data: app.write(), others: self.edited })
    }

    /// Whether it presents a file although it has a `state/`: the file is newer.
    fn is_newer(&self, remembered: &Remembered) -> bool {
        let Some(file) = self.file.as_ref().filter(|_| self.edited) else { return false };
        let mut app = App::read(&remembered.snapshot.data).unwrap_or_default();
        for entry in &remembered.entries {
            app.apply(entry, true);
        }
        file.config.version > app.config.version && file.config.peers.iter().any(|p| node_id(*p) == self.id)
    }

    /// Whether it may act as master at a true time.
    pub fn acts(&self, now: u64) -> bool {
        self.core.as_ref().is_some_and(|core| core.may_act(self.clock.shows(now)))
    }

    /// Forgets everything that is in memory.
    fn dies(&mut self) {
        self.core = None;
        self.run += 1;
        self.role = NOBODY;
        self.paused = false;
        self.held.clear();
        self.dies_after = None;
        self.waiting.clear();
        self.duty = Duty::default();
        self.wake_at = u64::MAX;
    }
}

impl World {
    /// Starts the process of a host from what its disk remembers.
    pub fn boot(&mut self, host: usize) -> Checked {
        let remembered = self.hosts[host].disk.remembered();
        let newer = remembered.as_ref().filter(|r| self.hosts[host].is_newer(r));
        let boot = match &remembered {
            Some(remembered) if newer.is_some() => {
                let life = Incarnation(self.rng.next_u64());
                let h = &mut self.hosts[host];
                (h.life, h.app, h.applied, h.founding) = (life, App::default(), None, None);
                let last = remembered.entries.last().map_or(remembered.snapshot.end.term, |e| e.term);
                let term = remembered.vote.term.max(last);
                h.seen = (term, 0, life);
                Boot::Blank { life, term, file: h.presents(true) }
            }
            Some(remembered) => {
                let data = &remembered.snapshot.data;
                let Some(app) = App::read(data) else { return broken("I3", format!("no state: {data}")) };
                let h = &mut self.hosts[host];
                h.life = remembered.vote.life;
                h.app = app;
                h.applied = Some(remembered.snapshot.end.index);
                h.seen = (remembered.vote.term, 0, h.life);
                self.check.is_whole(h.id, remembered.vote.life);
                Boot::Remembered(remembered.clone())
            }
            None => {
                let life = Incarnation(self.rng.next_u64());
                let h = &mut self.hosts[host];
                h.disk.wipe();
                h.life = life;
                h.app = App::default();
                h.applied = None;
                h.founding = None;
                h.seen = (0, 0, life);
                Boot::Blank { life, term: 0, file: h.presents(false) }
            }
        };
        self.trace.line(self.now, || {
            let (what, life) = match &boot {
                Boot::Remembered(r) => {
                    let last = r.entries.last().map_or(r.snapshot.end.index, |e| e.index);
                    (format!("t{} to {last}, commit {}", r.vote.term, r.commit), r.vote.life)
                }
                Boot::Blank { life, file, .. } => {
                    let version = file.as_ref().map(|f| f.known.version);
                    (format!("blank, file {version:?}, told {}", self.hosts[host].told), *life)
                }
            };
            format!("{} starts: {what}, life {}", trace::name(node_id(host)), trace::life(life))
        });
        let timing = match &self.hosts[host].file {
            Some(app) => app.config.timing(),
            None => self.check.app.config.timing(),
        };
        let boots = self.options.duty.is_some().then(|| self.rng.next_u64());
        let h = &mut self.hosts[host];
        h.run += 1;
        h.duty = Duty::new(boots.unwrap_or(0), &h.app, h.clock.shows(self.now));
        let mut core = Node::new(h.id, timing, boot, h.clock.shows(self.now));
        self.options.lesions.iter().for_each(|rule| core.lesion(*rule));
        h.core = Some(core);
        self.feed(host, Input::Tick)
    }

    /// Kills the process of a host; what was not on disk may be lost.
    pub fn kill(&mut self, host: usize) -> Checked {
        self.trace.line(self.now, || format!("{} dies", trace::name(node_id(host))));
        let h = &mut self.hosts[host];
        h.dies();
        or_broken("I4", h.disk.crash(&mut self.rng))
    }

    /// A core is due; a later wish makes an earlier one void.
    pub fn wake(&mut self, host: usize, at: u64) -> Checked {
        if self.hosts[host].wake_at != at {
            return Ok(());
        }
        self.hosts[host].wake_at = u64::MAX;
        self.feed(host, Input::Tick)?;
        let h = &self.hosts[host];
        let now = h.clock.shows(self.now);
        let again = h.core.as_ref().is_some_and(|core| core.deadline() <= now);
        let h = &mut self.hosts[host];
        h.hasty = if again { h.hasty + 1 } else { 0 };
        if h.hasty > 2 && self.options.lesions.is_empty() {
            return broken("contract", format!("{} wants to be woken at once, again and again", h.id));
        }
        Ok(())
    }

    fn reschedule(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let Some(core) = &h.core else { return };
        let deadline = core.deadline();
        if deadline == Mono::FAR {
            return;
        }
        let late = if self.options.late > 0 { self.rng.below(self.options.late) } else { 0 };
        let soonest = if h.hasty > 0 { self.now + MS } else { self.now };
        let at = h.clock.truth_of(deadline).max(soonest) + late;
        // An earlier wake-up is kept: the core only gets one more tick.
        if at < h.wake_at {
            h.wake_at = at;
            let run = h.run;
            self.at(at, Event::Wake { host: (host, run), at });
        }
    }

    /// Gives the core an input and does what comes out.
    pub fn feed(&mut self, host: usize, input: Input) -> Checked {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let h = &mut self.hosts[host];
            let Some(core) = &mut h.core else { return Ok(()) };
            for output in core.step(h.clock.shows(self.now), input) {
                if self.dies_now(host)? {
                    return Ok(());
                }
                if let Some(next) = self.carry_out(host, output)? {
                    inputs.push_back(next);
                }
            }
        }
        self.look_at(host)?;
        self.start_writing(host);
        self.reschedule(host);
        self.attend(host)
    }

    fn dies_now(&mut self, host: usize) -> Checked<bool> {
        let Some((left, down)) = self.hosts[host].dies_after else { return Ok(false) };
        if left > 0 {
            self.hosts[host].dies_after = Some((left - 1, down));
            return Ok(false);
        }
        self.kill(host)?;
        let run = self.hosts[host].run;
        self.after(down, Event::Start { host: (host, run) });
        Ok(true)
    }

    /// After every step: what a node says of itself only grows while it lives.
    fn look_at(&mut self, host: usize) -> Checked {
        let h = &mut self.hosts[host];
        let Some(core) = &h.core else { return Ok(()) };
        let status = core.status();
        if core.life() != h.seen.2 {
            // It has taken up another log, and begins anew.
            h.seen = (h.seen.0, 0, core.life());
            h.life = core.life();
        }
        if status.term < h.seen.0 || status.commit < h.seen.1 {
            return broken("I4", format!("{} goes back from {:?} to {status:?}", h.id, h.seen));
        }
        if status.commit > status.end.index || status.role != h.role && h.role != NOBODY {
            return broken("contract", format!("{} contradicts itself: {status:?} {:?}", h.id, h.role));
        }
        h.seen = (status.term, status.commit, h.life);
        for word in [host as u64, status.term, status.end.index, status.commit, self.now] {
            self.trace.mix(word);
        }
        Ok(())
    }

    fn start_writing(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.core.is_some() && h.disk.begin() {
            let (low, high) = self.options.disk;
            let time = (low + self.rng.below(high - low + 1)) * h.disk.slow;
            let run = h.run;
            self.after(time, Event::Written { host: (host, run) });
        }
    }

    /// A batch of writes is done: it survives from now on, also if the process is stopped.
    pub fn written(&mut self, (host, run): (usize, u64)) -> Checked {
        let h = &mut self.hosts[host];
        if h.run != run || h.core.is_none() {
            return Ok(());
        }
        let Some(seq) = or_broken("I4", h.disk.finish())? else { return Ok(()) };
        if let Some(remembered) = h.disk.vote().filter(|_| h.disk.is_whole()) {
            self.check.is_whole(h.id, remembered.life);
        }
        self.hosts[host].write_file();
        self.start_writing(host);
        self.after(0, Event::Persisted { host: (host, run), seq });
        Ok(())
    }

    /// A disk works again, at its usual speed.
    pub fn disk_well(&mut self, host: usize) -> Checked {
        let h = &mut self.hosts[host];
        h.disk.slow = 1;
        if !std::mem::take(&mut h.disk.failing) {
            return Ok(());
        }
        self.trace.line(self.now, || format!("disk of {} works", trace::name(node_id(host))));
        self.start_writing(host);
        self.feed(host, Input::DiskWorks)
    }
}
