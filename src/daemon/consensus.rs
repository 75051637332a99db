//! What the quorum core puts out, carried out; and what comes in from links and disk.

use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::core::Core;
use super::inlet::Committed;
use super::slowness::Turn;
use crate::base::clock::Mono;
use crate::base::id::NodeId;
use crate::base::text;
use crate::config::Cluster;
use crate::log;
use crate::quorum::io::{Input, Output, Role, Write};
use crate::quorum::message::{Command as Sealed, Entry, Message, Snapshot};
use crate::state::command::Command;
use crate::state::snapshot;
use crate::store;
use crate::transport::{self, PeerMessage};
use crate::verdict::Tally;

/// The log is replaced by a snapshot when its commands have grown to this, bytes, and to twice the
/// last snapshot: so the work of making snapshots stays in proportion to the changes.
const SNAPSHOT_AFTER: usize = 1024 * 1024;
/// Configurations that wait for the disk before they are written into `cluster.yaml`.
const UNFILED: usize = 8;

impl Core {
    /// Gives the quorum core an input and carries out what comes of it, and of that.
    pub(super) fn drive(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let outputs = self.node.step(self.clock.mono(), input);
            for output in outputs {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist { seq, write } => self.write(seq, write),
            Output::Send { to, message } => self.tell(to, PeerMessage::Quorum(message)),
            Output::Apply(entry) => self.apply(entry),
            Output::Restore(snapshot) => self.restore(&snapshot),
            Output::Role(role) => self.on_role(role),
            Output::Refused { request, why } => self.on_refused(request, why),
            Output::Misbehaved { from, what } => {
                log!(Warn, "quorum", "a peer broke the rules", peer = from, what = what);
                self.out.links.misbehaved(from, what);
            }
            Output::Note(text) => log!(Info, "quorum", text),
        }
    }

    /// To the disk, in order; while it fails, the rest waits here.
    fn write(&mut self, seq: u64, write: Write) {
        self.slowness.given(seq, self.clock.mono());
        self.given = seq;
        self.backlog.push_back((seq, write));
        self.flush_writes();
    }

    /// `cluster.yaml` says nothing that `state/` does not know: after a power cut a newer file would
    /// look like an operator's (`present.rs`).
    pub(super) fn file_when_durable(&mut self, cluster: Arc<Cluster>) {
        let committed = Committed { cluster, anew: std::mem::take(&mut self.anew) };
        let newest = if self.unfiled.len() < UNFILED { None } else { self.unfiled.pop_back() };
        self.unfiled.push_back((None, committed.over(newest.map(|(_, before)| before))));
    }

    /// What has become durable goes to the file.
    pub(super) fn file_durable(&mut self) {
        for (seq, _) in &mut self.unfiled {
            *seq = seq.or(Some(self.given));
        }
        let durable = self.durable;
        while self.unfiled.front().is_some_and(|(seq, _)| seq.is_some_and(|seq| seq <= durable)) {
            let committed = self.unfiled.pop_front().map(|(_, committed)| committed);
            committed.into_iter().for_each(|committed| self.out.files.put(committed));
        }
    }

    /// A disk that does not answer is told of like one that fails; see `slowness.rs`.
    pub(super) fn watch_disk(&mut self, now: Mono) {
        let turn = self.slowness.look(now, self.timing().dead_after);
        match turn {
            None => {}
            // That it fails says more.
            Some(Turn::Slow | Turn::Stalled) if self.disk_fails => {}
            Some(Turn::Slow) => {
                log!(Warn, "store", "the disk is slow: a write has waited for a second");
                self.picture
                    .note("slow disk", Some("the disk is slow: a write waits for its sync".to_owned()));
            }
            Some(Turn::Stalled) => {
                log!(Error, "store", "the disk does not answer: no vote and no change until it does");
                let text = "the disk does not answer: no vote and no change until it does";
                self.picture.note("slow disk", Some(text.to_owned()));
                self.drive(Input::DiskFailed);
            }
            Some(Turn::Well { was_stalled, waited }) => {
                log!(Info, "store", "the disk answers again", waited = text::about(waited));
                self.picture.note("slow disk", None);
                // Unless it fails outright, which is told and taken back on its own.
                if was_stalled && !self.disk_fails {
                    self.drive(Input::DiskWorks);
                }
            }
        }
    }

    fn flush_writes(&mut self) {
        while let Some(write) = self.backlog.pop_front() {
            match self.out.writes.try_send(write) {
                Ok(()) => {}
                Err(TrySendError::Full(write)) => {
                    self.backlog.push_front(write);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    return self.fatal("the disk thread has ended".to_owned());
                }
            }
        }
    }

    pub(super) fn on_store(&mut self, event: store::Event) {
        match event {
            store::Event::Persisted { upto } => {
                self.slowness.confirmed(upto);
                self.durable = upto;
                self.flush_writes();
                self.drive(Input::Persisted { seq: upto });
            }
            store::Event::Failed { why } => {
                log!(Error, "store", "the disk fails: no vote and no change until it works again", why = why);
                self.picture.note("disk", Some(format!("the disk fails: {why}")));
                self.disk_fails = true;
                self.drive(Input::DiskFailed);
            }
            store::Event::Works => {
                log!(Info, "store", "the disk works again");
                self.picture.note("disk", None);
                self.disk_fails = false;
                self.drive(Input::DiskWorks);
                self.flush_writes();
            }
        }
    }

    /// To a peer. What does not get through is sent again by whoever cares: the quorum core with
    /// its next heartbeat, a change when it is tried again, a report with the next one; what was
    /// dropped is counted by the link.
    pub(super) fn tell(&self, to: NodeId, message: PeerMessage) {
        let sent = self.out.links.send(to, message);
        log!(Trace, "link", format!("sent: {sent:?}"), peer = to);
    }

    fn on_role(&mut self, role: Role) {
        let master = role.master.map_or_else(|| "none".to_owned(), |m| m.to_string());
        log!(Info, "quorum", "master", term = role.shown_term, master = master, me = role.me);
        self.requests.retry_all(self.clock.mono());
        self.picture.changed_now();
        self.out.notify.status(&format!("master {master}, term {}", role.shown_term));
    }

    fn apply(&mut self, entry: Entry) {
        let index = entry.index;
        let request = entry.command.as_ref().map(|c| c.request);
        let command = match entry.command.as_ref().map(read) {
            None => None,
            Some(Ok(command)) => Some(command),
            Some(Err(why)) => {
                return self.fatal(format!(
                    "entry {index} of the log is not understood ({why}): it was written by a newer qu; upgrade this node"
                ));
            }
        };
        self.log_bytes += entry.command.as_ref().map_or(64, |c| c.text.len() + 64);
        let Some(state) = self.state.as_mut() else {
            return self.fatal(format!("entry {index} of the log comes before any state"));
        };
        let applied = state.apply(index, request, command.as_ref());
        self.after_apply(request, command.as_ref(), applied);
        self.compact_when_due(index);
    }

    fn compact_when_due(&mut self, index: u64) {
        if self.log_bytes < SNAPSHOT_AFTER.max(2 * self.snapshot_bytes) {
            return;
        }
        if let Some(state) = &self.state {
            match snapshot::to_text(state) {
                Ok(text) => {
                    let data: Arc<str> = text.into();
                    self.log_bytes = 0;
                    self.snapshot_bytes = data.len();
                    self.inputs.push_back(Input::Compact { index, data });
                }
                Err(e) => self.fatal(format!("the state cannot be written down: {e}")),
            }
        }
    }

    /// Another state takes the place of this one: from the master's snapshot, or at the start.
    fn restore(&mut self, given: &Snapshot) {
        match snapshot::from_text(&given.data) {
            Ok(state) => {
                self.log_bytes = 0;
                self.snapshot_bytes = given.data.len();
                self.tally = Tally::new(self.clock.mono(), state.cluster());
                // Within one log it only goes on.
                self.anew |= self.state.replace(state).is_some();
                self.after_restore();
            }
            Err(e) => self.fatal(format!("the state that this node should go on from: {e}")),
        }
    }

    pub(super) fn on_peer(&mut self, event: transport::Event) {
        match event {
            transport::Event::Message { peer, message } => {
                self.peers.entry(peer).or_default().seen = Some(self.clock.wall());
                self.on_message(peer, *message);
            }
            transport::Event::Hello { peer, hello } => {
                let known = self.peers.entry(peer).or_default();
                let ours = i64::try_from(self.clock.wall().0).unwrap_or(i64::MAX);
                let theirs = i64::try_from(hello.clock.0).unwrap_or(i64::MAX);
                known.offset_ms = Some(theirs.saturating_sub(ours));
                known.hello = Some(hello);
                self.picture.peers_changed();
            }
            transport::Event::Up { peer, .. } => {
                log!(Info, "link", "connected", peer = peer);
                self.introduce(peer);
                self.compare_secrets(peer);
                self.picture.peers_changed();
            }
            transport::Event::Down { peer, why } => {
                log!(Info, "link", "connection lost", peer = peer, why = why);
                self.picture.peers_changed();
            }
            transport::Event::Misbehaved { peer, what } => {
                log!(Warn, "link", "a peer broke the rules and was disconnected", peer = peer, what = what);
            }
        }
    }

    fn on_message(&mut self, peer: NodeId, message: PeerMessage) {
        if !self.may_say(peer, &message) {
            return log!(
                Debug,
                "link",
                "not heard: it is no member by the committed configuration",
                peer = peer
            );
        }
        match message {
            PeerMessage::Quorum(message) if !is_readable(&message) => {
                // In the log it would end this node, now and at every start.
                let what =
                    "sent an entry that this version cannot read (is it newer? then upgrade this node)";
                log!(Warn, "quorum", "a peer broke the rules", peer = peer, what = what);
                self.out.links.misbehaved(peer, what);
            }
            PeerMessage::Quorum(message) => self.drive(Input::Received { from: peer, message }),
            PeerMessage::Reports(reports) => self.on_reports(peer, &reports),
            PeerMessage::Propose { request, body, at } => self.on_propose(peer, request, body, at),
            PeerMessage::Answer { request, outcome } => {
                let taken = self.on_mesh_told(peer, request, &outcome)
                    || self.on_secret_answer(peer, request, &outcome);
                if !taken {
                    self.on_answer(request, outcome);
                }
            }
            PeerMessage::Peers { version, peers } => self.on_introduced(peer, version, &peers),
            // Read by the link itself.
            PeerMessage::Hello(_) | PeerMessage::Bye(_) => {}
            PeerMessage::Ask { request, what } if what == super::mesh::QUESTION => {
                self.on_mesh_asked(peer, request);
            }
            PeerMessage::Ask { request, what } => {
                if !self.on_word(peer, request, &what) {
                    self.on_how_far(peer, request, &what);
                }
            }
        }
    }
}

/// Whether every command in it is one that this version can carry out.
fn is_readable(message: &Message) -> bool {
    let Message::Append { entries, .. } = message else { return true };
    entries.iter().filter_map(|e| e.command.as_ref()).all(|c| read(c).is_ok())
}

fn read(sealed: &Sealed) -> Result<Command, String> {
    serde_json::from_str(&sealed.text).map_err(|e| e.to_string())
}
