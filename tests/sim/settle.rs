//! After the faults: a part of the hosts that holds a majority is connected, nothing goes wrong
//! any more, and progress must follow within its bound (I7).

use std::collections::BTreeSet;

use quptime::quorum::message::Membership;

use super::checkers::{Checked, broken};
use super::clock::MS;
use super::duty::DutyOptions;
use super::faults::host_name;
use super::net::NetOptions;
use super::world::{Event, World};

/// How a run came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// A master was elected in time, and all agree.
    Agreed,
    /// There was no majority left that remembers: nothing was to be expected.
    NoMajority,
}

impl World {
    /// Ends the faults, and waits for what must come then.
    pub fn settle(&mut self) -> Checked<Settled> {
        self.calm_down()?;
        let Some(part) = self.choose_part() else { return Ok(Settled::NoMajority) };
        let ragged = self.leave_only(&part)?;
        // One with bad links that reaches a majority may be master as well.
        let able: Vec<usize> = if ragged > 0 { (0..self.hosts.len()).collect() } else { part.clone() };
        let names: Vec<String> = part.iter().map(|h| host_name(*h)).collect();
        self.trace.line(self.now, || {
            format!("=== only {} from now on, {ragged} more badly linked", names.join(" "))
        });
        let timing = self.check.app.config.timing;
        let (heartbeat, dead_after) = (timing.0 * MS, timing.1 * MS);
        let refounding = self.refounding;
        // Votes that were under way may elect one that hears nobody from now on: it holds the others
        // for its term of trial.
        let trial = if ragged > 0 { dead_after } else { 0 };

        let start = self.now;
        // The slack covers a vote, a pre-vote and an append there and back and four writes, with
        // clocks that run 4.5 % slow.
        let slack = heartbeat / 2;
        let ranks = (part.len() + ragged) as u64;
        let longest = trial + dead_after + (2 + ranks) * heartbeat;
        let limit = start + longest * 105 / 100 + slack + if refounding { 4 * dead_after } else { 0 };
        if !self.run_while(limit, |w| w.acts_within(&able).is_some())? {
            return broken("I7", format!("no master {} ms after the faults", (limit - start) / MS));
        }
        let winner = self.acts_within(&able).unwrap_or_default();
        let lower = self.hosts.iter().enumerate().filter(|(h, x)| *h < winner && x.core.is_some()).count();
        let bound = (trial + dead_after + (2 + lower as u64) * heartbeat) * 105 / 100 + slack;
        if !refounding && self.now - start > bound {
            let took = (self.now - start) / MS;
            return broken(
                "I7",
                format!("{} elected after {took} ms, bound {}", host_name(winner), bound / MS),
            );
        }
        self.agree(&part, ragged > 0, heartbeat, dead_after)?;
        if ragged == 0 {
            self.lowest_takes_over(&part)?;
            self.all_is_told(&part)?;
        }
        Ok(Settled::Agreed)
    }

    fn calm_down(&mut self) -> Checked {
        self.trace.line(self.now, || "=== the faults are over".to_owned());
        self.options.faults.clear();
        self.options.duty.iter_mut().for_each(DutyOptions::calm);
        self.clients_on = false;
        self.clients.iter_mut().for_each(|c| c.give_up());
        let prompt = self.options.timing.0 * MS / 50;
        let net =
            NetOptions { loss: 0, dup: 0, delay: (prompt / 4, prompt), tail: (0, 0), fifo: true, hold: 0 };
        self.net.calm(net);
        self.options.disk = (prompt / 4, prompt);
        for from in 0..self.hosts.len() {
            (0..self.hosts.len()).for_each(|to| self.net.set(from, to, false));
        }
        self.hurry(prompt);
        for host in 0..self.hosts.len() {
            self.hosts[host].dies_after = None;
            self.resume(host)?;
            self.disk_well(host)?;
            if self.refounding {
                // An operator sees that it waits, and tells all of them.
                self.hosts[host].told = true;
                if self.hosts[host].core.is_some() {
                    self.kill(host)?;
                }
            }
            if self.hosts[host].core.is_none() {
                self.boot(host)?;
            }
        }
        Ok(())
    }

    /// Voters of every membership that may be in force, whose disks remember, must be a majority of
    /// each.
    fn viable(&self, part: &[usize]) -> bool {
        if self.refounding && part.len() < self.hosts.len() {
            return false;
        }
        let mut memberships: Vec<Membership> = Vec::new();
        if !self.refounding {
            memberships.push(self.check.membership().clone());
        }
        // Those of the others, too: what they have sent may still arrive.
        for core in self.hosts.iter().filter_map(|h| h.core.as_ref()) {
            let status = core.status();
            let founding = status.membership.founding;
            if !status.blank && !self.lost.contains_key(&founding) {
                memberships.push(status.membership);
            }
        }
        memberships.iter().all(|m| {
            let counts = |h: &&usize| {
                let host = &self.hosts[**h];
                host.disk.founding() == Some(m.founding)
                    && host.disk.vote().is_some_and(|v| m.counts(host.id, v.life))
            };
            // A learner that is lost in the moment of its promotion counts all the same.
            let lost = m.learners.iter().filter(|l| !part.iter().any(|h| self.hosts[*h].id == **l)).count();
            let need = (m.voters.len() + lost) / 2 + 1;
            part.iter().filter(counts).count() >= need
        })
    }

    fn choose_part(&mut self) -> Option<Vec<usize>> {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        for _ in 0..6 {
            let some: Vec<usize> = all.iter().copied().filter(|_| self.rng.chance(650)).collect();
            if !some.is_empty() && self.viable(&some) {
                return Some(some);
            }
        }
        self.viable(&all).then_some(all)
    }

    /// The others die, or are alone, or have only some links. Returns how many of the last kind.
    fn leave_only(&mut self, part: &[usize]) -> Checked<usize> {
        let fate = self.rng.below(4);
        let rest: BTreeSet<usize> = (0..self.hosts.len()).filter(|h| !part.contains(h)).collect();
        for host in rest.iter().copied() {
            if fate == 0 {
                self.kill(host)?;
                continue;
            }
            for other in 0..self.hosts.len() {
                let (out, back) = if fate == 3 { self.bad_link() } else { (true, true) };
                if other != host {
                    self.net.set(host, other, out || self.net.is_cut(host, other));
                    self.net.set(other, host, back || self.net.is_cut(other, host));
                }
            }
        }
        Ok(if fate == 3 { rest.len() } else { 0 })
    }

    fn bad_link(&mut self) -> (bool, bool) {
        match self.rng.below(4) {
            0 => (true, true),
            1 => (true, false),
            2 => (false, true),
            _ => (false, false),
        }
    }

    /// Who of them acts as master.
    pub fn acts_within(&self, part: &[usize]) -> Option<usize> {
        part.iter().copied().find(|h| self.hosts[*h].acts(self.now))
    }

    /// A new request commits, everybody has everything, and everybody who should count does.
    /// With bad links about, not everybody can be brought level by the master.
    fn agree(&mut self, part: &[usize], ragged: bool, heartbeat: u64, dead_after: u64) -> Checked {
        let client = self.ask(part.to_vec(), "append 9 1", None);
        let limit = self.now + 12 * dead_after + 30 * heartbeat;
        let part = part.to_vec();
        if !self.run_while(limit, |w| w.clients[client].outcome.is_some() && (ragged || w.agreed(&part)))? {
            let asked = &self.clients[client].outcome;
            let state: Vec<String> = part.iter().map(|h| self.describe(*h)).collect();
            let members = super::trace::membership(self.check.membership());
            return broken("I7", format!("no rest: {asked:?}, members {members}; {}", state.join("; ")));
        }
        Ok(())
    }

    fn agreed(&self, part: &[usize]) -> bool {
        let members = self.check.membership();
        !self.refounding
            && self.acts_within(part).is_some()
            && self.check.committed() >= self.check.acked()
            && part.iter().all(|h| {
                let host = &self.hosts[*h];
                !members.members().any(|m| m == host.id)
                    || (host.applied == Some(self.check.committed()) && members.counts(host.id, host.life))
            })
    }

    fn describe(&self, host: usize) -> String {
        let h = &self.hosts[host];
        let Some(core) = &h.core else { return format!("{} down", host_name(host)) };
        let s = core.status();
        let members = super::trace::membership(&s.membership);
        let (end, applied) = (super::trace::end(s.end), h.applied);
        let acts = h.acts(self.now);
        format!(
            "{} t{} {end} commit {} applied {applied:?} counts {} acts {acts} ({members})",
            host_name(host),
            s.term,
            s.commit,
            s.counts
        )
    }

    /// A lower NodeID that stays live takes over when the cooldown has passed.
    fn lowest_takes_over(&mut self, part: &[usize]) -> Checked {
        let (heartbeat, dead_after, cooldown) = self.check.app.config.timing;
        let limit = self.now + (cooldown * 2 + dead_after * 4 + heartbeat * 10) * MS;
        let members = self.check.membership();
        let lowest = part.iter().copied().find(|h| members.voters.contains_key(&self.hosts[*h].id));
        let part = part.to_vec();
        if !self.run_while(limit, |w| w.acts_within(&part) == lowest)? {
            let acts = self.acts_within(&part).map(host_name);
            return broken("rank", format!("{acts:?} is master, lowest is {:?}", lowest.map(host_name)));
        }
        // And it stays.
        self.at(limit + dead_after * MS, Event::Client { client: 0, turn: u64::MAX });
        let until = self.now + 3 * dead_after * MS;
        while self.now < until {
            self.run_until(self.now + heartbeat * MS / 4)?;
            if self.acts_within(&part) != lowest {
                return broken("rank", format!("{:?} does not stay master", lowest.map(host_name)));
            }
        }
        Ok(())
    }
}
