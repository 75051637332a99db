//! Faults: what may go wrong, one at a time; and the drawing of random ones.
//!
//! Random choice and effect are apart: [`Fault`] is concrete, so that a script can cause the same
//! things, and the trace shows what was drawn.

use quptime::quorum::io::Input;
use quptime::quorum::message::Membership;

use super::checkers::Checked;
use super::clock::MS;
use super::net::node_id;
use super::recovery::Disaster;
use super::swarm::Kind;
use super::trace;
use super::world::{Event, World};

/// Something that goes wrong, or is asked of a node by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies, and starts again after so long.
    Crash(usize, u64),
    /// A process dies after so many more outputs, and starts again after so long.
    CrashDuring(usize, u64, u64),
    /// A process is stopped for so long.
    Pause(usize, u64),
    /// The links between hosts of different groups are cut, others are whole.
    Groups(Vec<u64>),
    /// One direction is cut.
    OneWay(usize, usize),
    /// Both directions are cut.
    CutLink(usize, usize),
    /// A host hears nobody.
    Deaf(usize),
    /// Nobody hears a host.
    Mute(usize),
    /// All links are whole.
    Heal,
    /// A disk is so many times slower, for so long.
    SlowDisk(usize, u64, u64),
    /// A disk is as it should be.
    DiskWell(usize),
    /// A disk fails for so long.
    FailDisk(usize, u64),
    /// A process dies, loses `state/`, and starts again after so long.
    Wipe(usize, u64),
    /// All processes die and lose `state/`; they start again one after another within so long.
    WipeAll(u64),
    /// The cluster is lost, and its operator starts it again.
    Disaster(Disaster),
    /// A node is told to hand over.
    HandOver(usize, Option<usize>),
    /// A node keeps its state machine in place of its log.
    Compact(usize),
    /// All processes die and start again within so long.
    Blackout(u64),
    /// A clock jumps forward by so much.
    Jump(usize, u64),
}

impl World {
    /// Makes a fault happen.
    pub fn inject(&mut self, fault: Fault) -> Checked {
        self.trace.line(self.now, || format!("--- {fault:?}"));
        match fault {
            Fault::Crash(host, down) => self.crash(host, down)?,
            Fault::CrashDuring(host, outputs, down) => self.hosts[host].dies_after = Some((outputs, down)),
            Fault::Pause(host, time) => {
                let h = &mut self.hosts[host];
                if h.core.is_some() && !h.paused {
                    h.paused = true;
                    let run = h.run;
                    self.after(time, Event::Resume { host: (host, run) });
                }
            }
            Fault::Groups(groups) => {
                self.each_link(|from, to, _| groups[from] != groups[to]);
                self.release_held();
            }
            Fault::OneWay(from, to) => self.net.set(from, to, true),
            Fault::CutLink(a, b) => self.each_link(|f, t, cut| cut || (f, t) == (a, b) || (t, f) == (a, b)),
            Fault::Deaf(host) => self.each_link(|_, to, cut| cut || to == host),
            Fault::Mute(host) => self.each_link(|from, _, cut| cut || from == host),
            Fault::Heal => {
                self.each_link(|_, _, _| false);
                self.release_held();
            }
            Fault::SlowDisk(host, factor, time) => {
                self.hosts[host].disk.slow = factor.max(1);
                self.after(time, Event::DiskWell { host });
            }
            Fault::DiskWell(host) => self.disk_well(host)?,
            Fault::FailDisk(host, time) => {
                if !self.hosts[host].disk.failing {
                    self.hosts[host].disk.failing = true;
                    self.after(time, Event::DiskWell { host });
                    self.feed(host, Input::DiskFailed)?;
                }
            }
            Fault::Wipe(host, down) => {
                self.crash(host, down)?;
                self.hosts[host].disk.wipe();
            }
            Fault::WipeAll(down) => self.wipe_all(down)?,
            Fault::Disaster(disaster) => self.disaster(disaster)?,
            Fault::HandOver(host, to) => {
                self.feed(host, Input::HandOver { to: to.map(node_id) })?;
            }
            Fault::Compact(host) => {
                let h = &self.hosts[host];
                if let Some(index) = h.applied {
                    let data = h.app.write();
                    self.feed(host, Input::Compact { index, data })?;
                }
            }
            Fault::Blackout(down) => {
                for host in 0..self.hosts.len() {
                    let down = self.rng.below(down + 1);
                    self.crash(host, down)?;
                }
            }
            Fault::Jump(host, by) => self.hosts[host].clock.jump(by),
        }
        Ok(())
    }

    pub fn crash(&mut self, host: usize, down: u64) -> Checked {
        if self.hosts[host].core.is_some() {
            self.kill(host)?;
        }
        let run = self.hosts[host].run;
        self.after(down, Event::Start { host: (host, run) });
        Ok(())
    }

    fn wipe_all(&mut self, down: u64) -> Checked {
        let Some(newest) = self.newest_file() else { return Ok(()) };
        for host in 0..self.hosts.len() {
            let down = 1 + self.rng.below(down + 1);
            self.crash(host, down)?;
            self.hosts[host].disk.wipe();
            // An operator who brings everything back brings back the members, with their files; a
            // member that never had one is given the newest (SPEC section 11, procedure 4).
            let h = &mut self.hosts[host];
            match newest.config.peers.contains(&host) {
                true if h.file.is_none() || h.file_of != self.founding => h.file = Some(newest.clone()),
                true => h.file.iter_mut().for_each(|file| file.done.clear()),
                false => h.file = None,
            }
        }
        self.forget_history(vec![newest]);
        Ok(())
    }

    fn each_link(&mut self, cut: impl Fn(usize, usize, bool) -> bool) {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                let now = cut(from, to, self.net.is_cut(from, to));
                self.net.set(from, to, from != to && now);
            }
        }
    }

    /// Draws a fault and makes it happen.
    pub fn random_fault(&mut self) -> Checked {
        let total = self.options.faults.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.below(total);
        let mut kind = Kind::Heal;
        for (k, weight) in &self.options.faults {
            if left < *weight {
                kind = *k;
                break;
            }
            left -= weight;
        }
        match self.draw(kind) {
            Some(fault) => self.inject(fault),
            None => Ok(()),
        }
    }

    fn draw(&mut self, kind: Kind) -> Option<Fault> {
        let host = self.likely_host();
        let other = self.rng.below(self.hosts.len() as u64) as usize;
        let down = 1 + self.rng.below(self.options.down);
        let dead_after = self.options.timing.1 * MS;
        let time = 1 + self.rng.below(dead_after * 3);
        Some(match kind {
            Kind::Crash => Fault::Crash(host, down),
            Kind::CrashDuring => Fault::CrashDuring(host, self.rng.below(12), down),
            Kind::Pause => Fault::Pause(host, time),
            Kind::Split => {
                let parts = 2 + self.rng.below(2);
                Fault::Groups((0..self.hosts.len()).map(|_| self.rng.below(parts)).collect())
            }
            Kind::Isolate => Fault::Groups((0..self.hosts.len()).map(|h| u64::from(h == host)).collect()),
            Kind::OneWay | Kind::CutLink if host == other => return None,
            Kind::OneWay => Fault::OneWay(host, other),
            Kind::CutLink => Fault::CutLink(host, other),
            Kind::Deaf if self.rng.chance(500) => Fault::Deaf(host),
            Kind::Deaf => Fault::Mute(host),
            Kind::Heal => Fault::Heal,
            Kind::SlowDisk => Fault::SlowDisk(host, 1 + self.rng.below(200), time),
            Kind::FailDisk => Fault::FailDisk(host, time),
            Kind::Wipe => return self.may_wipe(host).then_some(Fault::Wipe(host, down)),
            Kind::WipeAll => return (!self.refounding).then_some(Fault::WipeAll(down)),
            Kind::Recover if self.refounding => return None,
            Kind::Recover => self.draw_disaster(down),
            Kind::HandOver => Fault::HandOver(host, self.rng.chance(500).then_some(other)),
            Kind::Compact => Fault::Compact(host),
            Kind::Blackout => Fault::Blackout(down),
            Kind::Jump => Fault::Jump(host, self.rng.below(2 * dead_after)),
        })
    }

    /// Any host; the master more often than others, where things happen.
    fn likely_host(&mut self) -> usize {
        let any = self.rng.below(self.hosts.len() as u64) as usize;
        let master = self.hosts.iter().position(|h| h.role.me);
        let prefer = self.rng.chance(300);
        master.filter(|_| prefer).unwrap_or(any)
    }

    /// `state/` may be lost where enough others keep theirs, in every membership that may be in force.
    fn may_wipe(&self, host: usize) -> bool {
        if self.refounding {
            return false;
        }
        let logs = self.hosts.iter().filter_map(|h| h.core.as_ref()).map(|core| core.status().membership);
        let mut memberships: Vec<Membership> = logs.filter(|m| !m.voters.is_empty()).collect();
        memberships.push(self.check.membership().clone());
        memberships.iter().all(|members| {
            let whole = |h: &usize| {
                let h = &self.hosts[*h];
                h.disk.is_whole() && h.disk.vote().is_some_and(|v| members.counts(h.id, v.life))
            };
            let whole: Vec<usize> = (0..self.hosts.len()).filter(whole).collect();
            let lost = members.voters.len() - whole.len();
            let left = whole.iter().filter(|h| **h != host).count();
            let enough = if self.options.wiped_at_once > 1 { left >= 1 } else { left >= members.need() };
            !whole.contains(&host) || (lost < self.options.wiped_at_once && enough)
        })
    }
}

/// The name of a host in messages.
pub fn host_name(host: usize) -> String {
    trace::name(node_id(host))
}
