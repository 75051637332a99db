//! The world: hosts, network, clients and true time, driven by one queue of events.
//!
//! Everything that happens is an [`Event`] at a true time; events of one time happen in the order
//! in which they were made. All chance comes from one generator, so a seed is a run.

use std::collections::{BTreeMap, BTreeSet};

use quptime::base::id::NodeId;
use quptime::base::rng::Rng;
use quptime::quorum::io::{Input, VoteRecord};
use quptime::quorum::message::{Founding, Incarnation, LogEnd, Membership, Snapshot};

use super::app::App;
use super::checkers::{Checked, Checkers, broken};
use super::clients::Client;
use super::clock::{HostClock, MS, SKEW_PPM};
use super::disk::Disk;
use super::duty::{self, DutyEvent};
use super::host::Host;
use super::net::{Flight, Net, Packet, node_id};
use super::sinks::Sinks;
use super::swarm::Options;
use super::trace::{self, Trace};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A packet arrives.
    Flight(Flight),
    /// A core wanted to be woken.
    Wake {
        /// Host and run.
        host: (usize, u64),
        /// For when; another time makes this one void.
        at: u64,
    },
    /// A batch of writes is done.
    Written {
        /// Host and run.
        host: (usize, u64),
    },
    /// The core hears of it.
    Persisted {
        /// Host and run.
        host: (usize, u64),
        /// Last number of the batch.
        seq: u64,
    },
    /// A stopped process goes on.
    Resume {
        /// Host and run.
        host: (usize, u64),
    },
    /// A process starts, if it is still down since that run.
    Start {
        /// Host and run.
        host: (usize, u64),
    },
    /// A disk works again, at its usual speed.
    DiskWell {
        /// Host.
        host: usize,
    },
    /// Time for a random fault.
    Fault,
    /// A client's turn.
    Client {
        /// Which.
        client: usize,
        /// Which turn; another one makes this one void.
        turn: u64,
    },
    /// Something about targets, probes and messages.
    Duty(DutyEvent),
}

/// One run.
pub struct World {
    /// What it is made of.
    pub options: Options,
    /// All chance.
    pub rng: Rng,
    /// True time, ns.
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    serial: u64,
    /// All hosts, members or not, in the order of their ids.
    pub hosts: Vec<Host>,
    /// The links.
    pub net: Net,
    /// Who proposes.
    pub clients: Vec<Client>,
    /// What must hold.
    pub check: Checkers,
    /// What happened.
    pub trace: Trace,
    /// The cluster is lost, and nothing has begun anew yet.
    pub refounding: bool,
    /// What it may begin from: the files that were there when it was lost.
    pub files: Vec<App>,
    /// What the log of the cluster goes back to.
    pub founding: Founding,
    /// Logs that were lost: nothing is ever added to them.
    pub lost: BTreeMap<Founding, Checkers>,
    /// Foundings that never became the cluster before it was lost once more.
    pub stillborn: BTreeSet<Founding>,
    /// Clients make new requests.
    pub clients_on: bool,
    /// What is watched, and what arrived where.
    pub sinks: Sinks,
}

impl World {
    /// A world at time zero: the voters are a cluster that has done nothing yet, spares are new.
    pub fn new(options: Options, readable: bool) -> World {
        let mut rng = Rng::new(options.seed);
        let count = options.voters + options.spares;
        let mut founders: Vec<usize> = (0..count).collect();
        while founders.len() > options.voters {
            founders.remove(rng.below(founders.len() as u64) as usize);
        }
        let lives: BTreeMap<usize, Incarnation> =
            founders.iter().map(|h| (*h, Incarnation(rng.next_u64()))).collect();
        let membership = Membership {
            voters: lives.iter().map(|(h, life)| (node_id(*h), *life)).collect(),
            learners: Default::default(),
            founding: Founding::default(),
        };
        let mut app = App { padding: options.padding, ..App::default() };
        app.config.version = 1;
        app.config.peers = founders.iter().copied().collect();
        app.config.timing = options.timing;
        app.state =
            options.duty.as_ref().map(|d| duty::found(&founders, d.checks, d.alerts, d.interval / MS));
        let snapshot = Snapshot { end: LogEnd::default(), membership: membership.clone(), data: app.write() };
        let hosts = (0..count)
            .map(|h| {
                let skew = if options.skew { rng.below(2 * SKEW_PPM) } else { SKEW_PPM };
                let clock = HostClock::new(rng.below(1_000_000 * MS), 1_000_000 - SKEW_PPM + skew);
                let disk = match lives.get(&h) {
                    Some(life) => {
                        let vote = VoteRecord { term: 0, vote: None, life: *life };
                        Disk::with(vote, snapshot.clone())
                    }
                    None => Disk::empty(),
                };
                let file = lives.contains_key(&h).then(|| app.clone());
                Host::new(node_id(h), clock, disk, file)
            })
            .collect();
        let clients = (0..options.clients).map(Client::new).collect();
        World {
            net: Net::new(count, options.net.clone()),
            check: Checkers::new(app, 0, membership, options.suppress),
            trace: Trace::new(readable),
            now: 0,
            queue: BTreeMap::new(),
            serial: 0,
            refounding: false,
            files: Vec::new(),
            founding: Founding::default(),
            lost: BTreeMap::new(),
            stillborn: BTreeSet::new(),
            clients_on: true,
            sinks: Sinks::new(options.duty.as_ref().map_or(0, |d| d.checks)),
            options,
            rng,
            hosts,
            clients,
        }
    }

    /// Starts all hosts and clients, and the faults if there are any.
    pub fn start(&mut self) -> Checked {
        for host in 0..self.hosts.len() {
            self.boot(host)?;
        }
        for client in 0..self.clients.len() {
            self.client_turn(client, self.options.think);
        }
        if !self.options.faults.is_empty() {
            self.after(self.options.gap, Event::Fault);
        }
        self.start_duty();
        Ok(())
    }

    /// Puts an event `delay` ns from now.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Puts an event at a true time.
    pub fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((time.max(self.now), self.serial), event);
    }

    /// Lets everything happen up to a true time.
    pub fn run_until(&mut self, time: u64) -> Checked {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= time) {
            self.next_event()?;
        }
        self.now = self.now.max(time);
        Ok(())
    }

    /// Lets everything happen until `done`, or up to a true time. Says whether it was reached.
    pub fn run_while(&mut self, time: u64, mut done: impl FnMut(&World) -> bool) -> Checked<bool> {
        while !done(self) {
            if self.queue.first_key_value().is_none_or(|((at, _), _)| *at > time) {
                self.now = self.now.max(time);
                return Ok(done(self));
            }
            self.next_event()?;
        }
        Ok(true)
    }

    fn next_event(&mut self) -> Checked {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Ok(()) };
        self.now = at;
        self.trace.mix(at);
        self.happen(event)?;
        if !self.options.jumps {
            let acting = self.acting();
            self.check.acting(&acting)?;
        }
        Ok(())
    }

    /// Who acts as master at this moment; a stopped process counts, it may be about to.
    pub fn acting(&self) -> Vec<NodeId> {
        self.hosts.iter().filter(|h| h.acts(self.now)).map(|h| h.id).collect()
    }

    fn happen(&mut self, event: Event) -> Checked {
        let target = match &event {
            Event::Flight(f) => Some(f.to),
            Event::Wake { host, .. } | Event::Persisted { host, .. } => Some(*host),
            Event::Duty(event) => event.process(),
            _ => None,
        };
        if let Some((host, run)) = target {
            if self.hosts[host].run != run || self.hosts[host].core.is_none() {
                return Ok(());
            }
            if self.hosts[host].paused {
                self.hosts[host].held.push_back(event);
                return Ok(());
            }
        }
        match event {
            Event::Flight(flight) => self.arrive(flight),
            Event::Wake { host: (host, _), at } => self.wake(host, at),
            Event::Written { host } => self.written(host),
            Event::Persisted { host: (host, _), seq } => self.feed(host, Input::Persisted { seq }),
            Event::Resume { host: (host, run) } => {
                if self.hosts[host].run == run {
                    self.resume(host)?;
                }
                Ok(())
            }
            Event::Start { host: (host, run) } => {
                if self.hosts[host].run == run && self.hosts[host].core.is_none() {
                    self.boot(host)?;
                }
                Ok(())
            }
            Event::DiskWell { host } => self.disk_well(host),
            Event::Fault => {
                if !self.options.faults.is_empty() {
                    self.random_fault()?;
                    let gap = 1 + self.rng.below(2 * self.options.gap);
                    self.after(gap, Event::Fault);
                }
                Ok(())
            }
            Event::Client { client, turn } => self.client(client, turn),
            Event::Duty(event) => self.duty(event),
        }
    }

    /// A stopped process goes on: what came meanwhile is waiting for it.
    pub fn resume(&mut self, host: usize) -> Checked {
        if !std::mem::take(&mut self.hosts[host].paused) {
            return Ok(());
        }
        self.trace.line(self.now, || format!("{} goes on", trace::name(node_id(host))));
        for event in std::mem::take(&mut self.hosts[host].held) {
            self.happen(event)?;
        }
        Ok(())
    }

    /// Sends a packet from one host to another.
    pub fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let flight = Flight { from: (from, self.hosts[from].run), to: (to, self.hosts[to].run), packet };
        if self.hosts[to].core.is_none() {
            return;
        }
        if self.net.is_cut(from, to) {
            self.net.meets_cut(&mut self.rng, flight);
            return;
        }
        for at in self.net.arrivals(&mut self.rng, self.now, from, to) {
            self.at(at, Event::Flight(flight.clone()));
        }
    }

    /// Puts everything that is under way on links that are whole again onto them.
    pub fn release_held(&mut self) {
        for flight in self.net.released() {
            for at in self.net.arrivals(&mut self.rng, self.now, flight.from.0, flight.to.0) {
                self.at(at, Event::Flight(flight.clone()));
            }
        }
    }

    fn arrive(&mut self, flight: Flight) -> Checked {
        let ((from, _), (to, _)) = (flight.from, flight.to);
        if self.net.is_cut(from, to) {
            self.net.meets_cut(&mut self.rng, flight);
            return Ok(());
        }
        if !self.net.admits(flight.from, to) {
            return Ok(());
        }
        self.trace.mix((from * 16 + to) as u64);
        match flight.packet {
            Packet::Core(message) => {
                self.trace.line(self.now, || {
                    let (from, to) = (trace::name(node_id(from)), trace::name(node_id(to)));
                    format!("{from} > {to}  {}", trace::message(&message))
                });
                self.feed(to, Input::Received { from: node_id(from), message })
            }
            Packet::Forward(request) => self.request_at(to, from, request),
            Packet::Reply(reply) => self.reply(reply),
            Packet::Reports(reports) => self.take_reports(to, node_id(from), &reports),
        }
    }

    /// Brings everything under way to its receiver or disk soon: what is late is a fault, too.
    pub fn hurry(&mut self, most: u64) {
        // A request that is still under way could change the members when nobody expects it.
        let asks = |e: &Event| matches!(e, Event::Flight(f) if matches!(f.packet, Packet::Forward(_)));
        self.queue.retain(|_, e| !asks(e));
        let late: Vec<(u64, u64)> = self
            .queue
            .iter()
            .filter(|((at, _), e)| {
                matches!(e, Event::Flight(_) | Event::Written { .. }) && *at > self.now + most
            })
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(event) = self.queue.remove(&key) {
                let soon = self.rng.below(most + 1);
                self.after(soon, event);
            }
        }
    }

    /// The cluster is lost but for its files: a new history starts from one of them.
    pub fn forget_history(&mut self, files: Vec<App>) {
        self.queue.retain(|_, e| !matches!(e, Event::Flight(_)));
        let newest = files.iter().max_by_key(|app| app.config.version).cloned().unwrap_or_default();
        let anew = Checkers::new(newest, 0, Membership::default(), self.options.suppress);
        let old = std::mem::replace(&mut self.check, anew);
        // What was lost before it began is no history.
        if !self.refounding {
            self.lost.insert(self.founding, old);
            let on_disks = self.hosts.iter().filter_map(|h| h.disk.founding());
            self.stillborn.extend(on_disks.filter(|f| !self.lost.contains_key(f)));
        }
        self.refounding = true;
        self.files = files;
        for client in 0..self.clients.len() {
            self.clients[client].give_up();
            self.client_turn(client, self.options.down + self.options.think);
        }
    }

    /// The number of the host with this id.
    pub fn host_of(&self, id: NodeId) -> Checked<usize> {
        match self.hosts.iter().position(|h| h.id == id) {
            Some(host) => Ok(host),
            None => broken("contract", format!("{id} is nobody")),
        }
    }
}
