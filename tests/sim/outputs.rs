//! What the driver does with each output of a core, and what the checkers are shown of it.

use quptime::base::id::{NodeId, RequestId};
use quptime::quorum::Node;
use quptime::quorum::io::{Input, Output, Refusal, Role, Write};
use quptime::quorum::message::{Entry, Membership, Snapshot};

use super::app::App;
use super::checkers::{Checked, broken, or_broken};
use super::net::{Packet, Reply, node_id};
use super::trace;
use super::world::World;

impl World {
    /// Does what one output says; what the core must be told in turn comes back.
    pub fn carry_out(&mut self, host: usize, output: Output) -> Checked<Option<Input>> {
        match output {
            Output::Persist { seq, write } => {
                self.trace.mix(seq);
                self.trace.line(self.now, || {
                    format!("{} writes #{seq} {}", trace::name(node_id(host)), trace::write(&write))
                });
                self.cuts_nothing_committed(host, &write)?;
                or_broken("contract", self.hosts[host].disk.push(seq, write))?;
            }
            Output::Send { to, message } => {
                let peer = self.host_of(to)?;
                if self.options.check_promises {
                    self.check.promise(host, to, &message, &self.hosts[host].disk)?;
                }
                self.send(host, peer, Packet::Core(message));
            }
            Output::Apply(entry) => return self.apply(host, &entry),
            Output::Restore(snapshot) => self.restore(host, &snapshot)?,
            Output::Role(role) => self.role(host, role)?,
            Output::Refused { request, why } => self.refused(host, request, why)?,
            Output::Misbehaved { from, what } => self.trace.line(self.now, || {
                format!("{} says {} misbehaves: {what}", trace::name(node_id(host)), trace::name(from))
            }),
            Output::Note(text) => {
                self.trace.line(self.now, || format!("{} notes: {text}", trace::name(node_id(host))));
            }
        }
        Ok(None)
    }

    fn cuts_nothing_committed(&self, host: usize, write: &Write) -> Checked {
        match write {
            Write::Append { after, .. } if Some(*after) < self.hosts[host].applied => {
                broken("I2", format!("{} cuts its log to {after}, below what it applied", node_id(host)))
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, host: usize, entry: &Entry) -> Checked<Option<Input>> {
        self.begins_anew(host)?;
        let h = &mut self.hosts[host];
        match h.applied {
            Some(applied) if entry.index == applied + 1 => h.applied = Some(entry.index),
            other => return broken("contract", format!("entry {} is applied after {other:?}", entry.index)),
        }
        let timing = h.app.config.timing;
        let effects = h.app.apply(entry, self.options.suppress);
        self.trace.mix(h.app.digest());
        self.trace.line(self.now, || {
            let list = std::slice::from_ref(entry);
            format!("{} applies {}", trace::name(node_id(host)), trace::entries(list))
        });
        let history = self.hosts[host].history();
        if let Some(lost) = self.lost.get_mut(&history) {
            if lost.apply(entry, &self.hosts[host].app)? {
                return broken("I1", format!("entry {} is committed to a log that was lost", entry.index));
            }
            return Ok(None);
        }
        let own = self.hosts[host].core.as_ref().map(|core| core.status().membership).unwrap_or_default();
        let before = self.check.membership().clone();
        if self.check.apply(entry, &self.hosts[host].app)? {
            let has = |id| self.has(id, entry, [&before, &own]);
            self.check.is_on_majority(entry, &own, has)?;
            self.committed()?;
        }
        self.follow_effects(host, entry, &effects);
        self.hosts[host].write_file();
        if let Some(command) = &entry.command
            && let Some(origin) = self.hosts[host].waiting.remove(&command.request)
            && let Some(told) = self.hosts[host].app.done.get(&command.request).copied()
        {
            self.answer(host, origin, Reply { id: command.request, outcome: Ok(told) })?;
        }
        let config = &self.hosts[host].app.config;
        Ok((config.timing != timing).then(|| Input::Timing(config.timing())))
    }

    /// The first entry that a founding commits makes it the cluster; there is one such founding.
    fn begins_anew(&mut self, host: usize) -> Checked {
        let history = self.hosts[host].history();
        if history == self.founding && !self.refounding || self.lost.contains_key(&history) {
            return Ok(());
        }
        let Some((base, members)) = self.hosts[host].founding.clone() else { return Ok(()) };
        if !self.refounding || self.stillborn.contains(&history) {
            return broken("I1", format!("{} goes on from another start than the cluster", node_id(host)));
        }
        self.check.begin_anew(self.hosts[host].app.clone(), base, members);
        self.refounding = false;
        self.founding = history;
        Ok(())
    }

    /// Whether a voter has an entry on disk. One that was counted in a life that it has lost since
    /// may have had it: the entry is as safe as before, since nothing of that life counts any more.
    fn has(&self, id: NodeId, entry: &Entry, memberships: [&Membership; 2]) -> bool {
        let Some(h) = self.hosts.iter().find(|h| h.id == id) else { return false };
        let life = h.disk.vote().map(|v| v.life);
        let mut counted = memberships.into_iter().filter_map(|m| m.voters.get(&id).copied());
        h.disk.holds(entry.index, entry.term)
            || counted.any(|l| Some(l) != life && self.check.was_whole(id, l))
    }

    fn restore(&mut self, host: usize, snapshot: &Snapshot) -> Checked {
        self.trace.line(self.now, || {
            format!("{} starts over from {}", trace::name(node_id(host)), trace::end(snapshot.end))
        });
        let Some(app) = App::read(&snapshot.data) else {
            return broken("I3", format!("a snapshot that is no state: {}", snapshot.data));
        };
        let founding = snapshot.membership.founding;
        match self.lost.get(&founding) {
            Some(lost) => lost.restore(snapshot, &app)?,
            None if founding == self.founding => self.check.restore(snapshot, &app)?,
            // Several may be founded one after another until one commits something.
            None if self.stillborn.contains(&founding) => {}
            None if self.files.iter().any(|file| file.config == app.config) => {}
            None => return broken("I5", format!("founded from {:?}, which is no file", app.config)),
        }
        let h = &mut self.hosts[host];
        let same = h.founding.is_some() && h.history() == founding;
        if same && h.applied > Some(snapshot.end.index) {
            return broken("I2", format!("{} goes back from {:?} to {:?}", h.id, h.applied, snapshot.end));
        }
        h.applied = Some(snapshot.end.index);
        h.app = app.clone();
        h.duty.begin_anew(&app, h.clock.shows(self.now));
        h.founding = Some((snapshot.end.index, snapshot.membership.clone()));
        Ok(())
    }

    fn role(&mut self, host: usize, role: Role) -> Checked {
        self.trace.mix(role.shown_term);
        self.trace.line(self.now, || {
            let master = role.master.map_or("nobody".to_owned(), trace::name);
            format!("{} sees term {} master {master}", trace::name(node_id(host)), role.shown_term)
        });
        let even = role.shown_term > 0 && role.shown_term.is_multiple_of(2);
        if even != role.master.is_some() {
            return broken("contract", format!("{role:?} has the wrong parity"));
        }
        self.check.role(&role, node_id(host))?;
        let h = &mut self.hosts[host];
        let life = h.core.as_ref().map_or(h.life, Node::life);
        let begins = role.me && !(h.role.me && h.role.shown_term == role.shown_term);
        h.role = role;
        if begins && self.options.check_promises {
            self.check.elected((h.id, life), role.shown_term / 2, &h.disk)?;
        }
        Ok(())
    }

    fn refused(&mut self, host: usize, request: RequestId, why: Refusal) -> Checked {
        self.trace.line(self.now, || format!("{} refuses: {why:?}", trace::name(node_id(host))));
        self.hosts[host].duty.refused(request);
        match self.hosts[host].waiting.remove(&request) {
            Some(origin) => self.answer(host, origin, Reply { id: request, outcome: Err(why) }),
            None => Ok(()),
        }
    }
}
