//! The one thread that touches `cluster.yaml` and `trust.yaml`: it writes what was committed, and
//! notices what somebody edited.
//!
//! Model: the thread knows the bytes that it wrote last. Bytes that differ are somebody's edit,
//! based on the version that the file itself names. An edit is looked at when the file has rested
//! for a moment (editors write in several steps), turned into edits of single items, and
//! committed as one change; the committed result is then written over it. What cannot be committed
//! for good is kept beside the file as `cluster.yaml.rejected-<time>`; what cannot be *read* is left
//! alone until the next save; without a quorum the edit waits in the file.
//!
//! A committed configuration is never written over an edit that was not looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::event::Event;
use super::inlet::{Committed, Outlet};
use super::keyring::Settler;
use super::plan;
use super::present;
use super::sight::{Replaced, Sight, Sighting};
use crate::base::clock::{Clock, Mono};
use crate::base::{file, text};
use crate::config::diff::differences;
use crate::config::merge;
use crate::config::paths::Paths;
use crate::config::{Cluster, trust, write, yaml};
use crate::control::message::Reply;
use crate::log;
use crate::sys::memory;

/// Between two writes this many times as long as the last one took: many changes to a large
/// configuration, one after the other, shall not keep the disk busy with whole files.
const SPACING: u32 = 10;
const LONGEST_SPACING: Duration = Duration::from_secs(1);
/// Free memory is given back this often,
const TIDY: Duration = Duration::from_secs(60);
/// and this long after the start and after a configuration was written.
const AFTER_PEAK: Duration = Duration::from_secs(3);
/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(1000);
/// How long a node may take after its start to learn what its own file knows already.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Items of one edit that the log names.
const MOST_LOGGED: usize = 200;
/// How long an edit's commit is waited for.
const PATIENCE: Duration = Duration::from_secs(12);

/// The thread.
pub struct Files {
    paths: Paths,
    me: crate::base::id::NodeId,
    clock: Arc<dyn Clock>,
    core: Sender<Event>,
    outlet: Outlet,
    began: Mono,
    /// The key files follow the configuration too.
    keys: Settler,
    sight: Sight,
    /// What was written last.
    ours: Option<Arc<Cluster>>,
    /// What the file said at the start may be something that the cluster does not know.
    unseen: bool,
    /// What is committed need not follow what was written last.
    anew: bool,
    /// What was seen then is an edit that cannot be read; it stays until the next save.
    unreadable: bool,
    /// That is in the notes.
    unreadable_noted: bool,
    /// Committed, and not written yet.
    waiting: Option<Arc<Cluster>>,
    write_failed: bool,
    /// The next write waits until then, unless the daemon ends.
    write_from: Mono,
    /// When memory that is free is given back next.
    tidy_at: Mono,
}

/// What an edit came to.
enum Judged {
    /// It is ours, or says nothing new.
    Nothing,
    /// It is committed, or refused for good: the committed configuration is to be written.
    Done,
    /// It cannot be judged now: it stays in the file, and is looked at again.
    Later,
    /// It cannot be read: it stays until the next save.
    Unreadable,
}

impl Files {
    /// Nothing happens yet.
    #[must_use]
    pub fn new(
        paths: Paths,
        me: crate::base::id::NodeId,
        clock: Arc<dyn Clock>,
        core: Sender<Event>,
        outlet: Outlet,
        keys: Settler,
    ) -> Files {
        Files {
            tidy_at: clock.mono() + AFTER_PEAK,
            sight: Sight::new(paths.cluster_yaml()),
            paths,
            me,
            began: clock.mono(),
            clock,
            core,
            outlet,
            keys,
            ours: None,
            unseen: false,
            anew: false,
            unreadable: false,
            unreadable_noted: false,
            waiting: None,
            write_failed: false,
            write_from: Mono(0),
        }
    }

    /// What the file said when the daemon stopped, so that an edit made since then is recognised.
    pub fn remember(&mut self, committed: &Arc<Cluster>) {
        self.sight.dealt(&write::to_yaml(committed));
        self.ours = Some(Arc::clone(committed));
        self.outlet.past.push(Arc::clone(committed));
    }

    /// Nobody can tell yet how the file stands to what is committed: it is looked at before it is
    /// written over.
    pub fn start_blind(&mut self) {
        self.unseen = true;
    }

    /// Until the core is gone.
    pub fn run(mut self) {
        self.mend_trust();
        loop {
            let pause = self.write_from.since(self.clock.mono());
            let owed = self.waiting.is_some() && !pause.is_zero();
            match self.outlet.woken.recv_timeout(if owed { pause.min(POLL) } else { POLL }) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write_last(),
            }
            self.take_in();
            self.keys.settle();
            match self.judge() {
                Judged::Later | Judged::Unreadable => continue,
                Judged::Done | Judged::Nothing => {}
            }
            if self.clock.mono() >= self.write_from {
                self.write_waiting();
            }
            self.tidy();
        }
    }

    /// Gives back what the start, a written file, an edit or whatever else has left free. Here,
    /// because this is the thread that nobody waits for.
    fn tidy(&mut self) {
        let now = self.clock.mono();
        if now >= self.tidy_at {
            memory::give_back();
            self.tidy_at = now + TIDY;
        }
    }

    /// The daemon ends: what is committed is in the file then.
    fn write_last(&mut self) {
        self.take_in();
        if !matches!(self.judge(), Judged::Later | Judged::Unreadable) {
            self.write_waiting();
        }
    }

    fn take_in(&mut self) {
        if let Some(Committed { cluster, anew }) = self.outlet.take() {
            self.keys.heard(&cluster);
            self.anew |= anew;
            self.waiting = Some(cluster);
        }
    }

    /// Looks whether somebody has edited the file, and deals with it.
    fn judge(&mut self) -> Judged {
        if !self.sight.is_known() {
            return Judged::Nothing;
        }
        let text = match self.sight.glance(self.clock.mono(), self.clock.wall()) {
            Sighting::Known if self.unreadable => return Judged::Unreadable,
            Sighting::Known => {
                self.is_readable();
                return Judged::Nothing;
            }
            Sighting::Young => return Judged::Later,
            Sighting::StillBroken => return Judged::Unreadable,
            Sighting::Gone => return self.write_again(),
            Sighting::Hidden(e) => {
                log!(Warn, "files", "cluster.yaml cannot be looked at", why = e);
                return Judged::Later;
            }
            Sighting::Broken(e) => return self.left_alone(&text::chain(&e)),
            Sighting::Edited(text) => text,
        };
        let judged = self.judge_text(&text);
        self.unreadable = matches!(judged, Judged::Unreadable);
        if !matches!(judged, Judged::Later) {
            self.sight.dealt(&text);
        }
        judged
    }

    /// Nobody can say what is meant: it stays until the next save.
    fn left_alone(&mut self, why: &str) -> Judged {
        let sentence =
            format!("an edit of cluster.yaml cannot be read, and is left alone until the next save: {why}");
        log!(Error, "files", sentence.clone());
        self.note(Some(sentence));
        self.unreadable_noted = true;
        Judged::Unreadable
    }

    fn is_readable(&mut self) {
        if std::mem::take(&mut self.unreadable_noted) {
            self.note(None);
        }
    }

    /// Somebody removed the file.
    fn write_again(&mut self) -> Judged {
        self.unreadable = false;
        self.is_readable();
        if let Some(ours) = self.ours.take() {
            if self.waiting.is_none() {
                log!(Warn, "files", "cluster.yaml is gone: it is written again");
            }
            self.waiting.get_or_insert(ours);
        }
        Judged::Nothing
    }

    fn judge_text(&mut self, text: &str) -> Judged {
        let mut rng = present::ids_of(text);
        let edited = match yaml::from_yaml("cluster.yaml", text, &mut || rng.next_u128()) {
            Ok(edited) => edited,
            Err(e) => return self.left_alone(&e.to_string()),
        };
        self.is_readable();
        let base = match self.outlet.past.base(edited.version) {
            Ok(base) => base,
            // After a power cut the file may know more than this node does until it has a master.
            Err(_) if self.is_ahead(edited.version) && self.is_young() => return Judged::Later,
            Err(why) => return self.reject(text, &why),
        };
        if let Err(why) = plan::templates(&base, &edited) {
            log!(Error, "files", format!("an edit is left alone until the next save: cluster.yaml: {why}"));
            return Judged::Unreadable;
        }
        let items = match merge::hand_edit(&base, &edited) {
            Ok(items) => items,
            Err(why) => return self.reject(text, &why.to_string()),
        };
        if items.is_empty() {
            // Comments and layout: not kept, as the header of the file says.
            self.waiting = self.waiting.take().or_else(|| self.ours.take());
            self.write_from = Mono(0);
            return Judged::Done;
        }
        if let Err(why) = plan::judge_size(&items) {
            return self.reject(text, &why);
        }
        let found = differences(&base, &edited);
        for difference in found.iter().take(MOST_LOGGED) {
            log!(Info, "files", format!("edited by hand: {difference}"));
        }
        if found.len() > MOST_LOGGED {
            log!(Info, "files", format!("edited by hand: {} items more", found.len() - MOST_LOGGED));
        }
        self.commit(text, items)
    }

    fn is_ahead(&self, version: u64) -> bool {
        let known = self.ours.iter().chain(&self.waiting).map(|c| c.version).max();
        known.is_none_or(|known| version > known)
    }

    fn is_young(&self) -> bool {
        self.clock.mono().since(self.began) < CATCH_UP
    }

    fn commit(&mut self, text: &str, items: Vec<crate::config::diff::Edit>) -> Judged {
        let (reply, answer) = bounded(1);
        if self.core.send(Event::HandEdit { items, reply }).is_err() {
            return Judged::Later;
        }
        match answer.recv_timeout(PATIENCE) {
            Ok(Reply::Done(done)) => {
                log!(
                    Info,
                    "files",
                    format!("the edit is committed: {}", done.text),
                    version = done.version.unwrap_or(0)
                );
                self.note(None);
                self.write_from = Mono(0);
                self.take_in();
                // What was committed is written over the edit; when it said nothing new, what was
                // committed before.
                self.waiting = self.waiting.take().or_else(|| self.ours.take());
                Judged::Done
            }
            Ok(Reply::Refused { text: why }) => self.reject(text, &why),
            Ok(other) => {
                log!(
                    Warn,
                    "files",
                    "an edit of cluster.yaml waits: there is no master or no quorum",
                    answer = format!("{other:?}")
                );
                self.note(Some("an edit of cluster.yaml waits for a quorum".to_owned()));
                Judged::Later
            }
            Err(_) => Judged::Later,
        }
    }

    /// The edit cannot be committed: it is kept beside, and the committed text comes back.
    fn reject(&mut self, text: &str, why: &str) -> Judged {
        self.keep(text, &format!("an edit of cluster.yaml is refused: {why}"))
    }

    fn keep(&mut self, text: &str, sentence: &str) -> Judged {
        let kept = self.free_name();
        match file::replace(&kept, text.as_bytes(), 0o600) {
            Ok(()) => {
                log!(Error, "files", sentence, kept = kept.display());
                self.note(Some(format!("{sentence} (kept as {})", kept.display())));
                self.waiting = self.waiting.take().or_else(|| self.ours.take());
                self.write_from = Mono(0);
                Judged::Done
            }
            Err(e) => {
                log!(
                    Error,
                    "files",
                    "what cluster.yaml says cannot be kept beside it, so it stays in it",
                    why = text::chain(&e)
                );
                Judged::Later
            }
        }
    }

    /// Whether nothing is lost when `committed`, whose text is `new`, is written. The cluster may go on
    /// from something else than what the file says, which then gives way and is kept beside.
    fn keeps_what_goes(&mut self, committed: &Cluster, new: &str) -> bool {
        if !self.unseen && !self.anew {
            return true;
        }
        let said = match file::read_text(&self.paths.cluster_yaml(), super::start::LARGEST) {
            Ok(said) => said,
            Err(e) => {
                if e.source.kind() != std::io::ErrorKind::NotFound {
                    log!(Warn, "files", "cluster.yaml is written over unread", why = text::chain(&e));
                }
                return true;
            }
        };
        if let Some(what) = gives_way(&said, committed, new) {
            let version = committed.version;
            let sentence = format!(
                "{what} gives way: the cluster has a master with a quorum and goes on from version {version}"
            );
            if matches!(self.keep(&said, &sentence), Judged::Later) {
                return false;
            }
        }
        if self.unseen {
            // From here on a save is told apart from it.
            self.sight.dealt(&said);
        }
        (self.unseen, self.anew, self.ours) = (false, false, None);
        true
    }

    /// Two edits refused within a second are both kept.
    fn free_name(&self) -> PathBuf {
        let first = self.paths.rejected_yaml(&text::compact_time(self.clock.wall()));
        let others = (2_u32..).map(|n| file::beside(&first, &format!("-{n}")));
        std::iter::once(first.clone()).chain(others).find(|path| !path.exists()).unwrap_or(first)
    }

    fn note(&self, text: Option<String>) {
        // The core is ending when it does not listen.
        drop(self.core.try_send(Event::Note { about: "hand edit", text }));
    }

    fn write_waiting(&mut self) {
        if self.waiting.is_some() {
            self.tidy_at = self.tidy_at.min(self.clock.mono() + AFTER_PEAK);
        }
        let Some(cluster) = self.waiting.take() else { return };
        let began = self.clock.mono();
        let text = write::to_yaml(&cluster);
        // A start goes through the past before it comes to what the file says.
        if !self.anew && self.ours.as_ref().is_some_and(|ours| ours.version > cluster.version) {
            return;
        }
        if !self.keeps_what_goes(&cluster, &text) {
            self.waiting = Some(cluster);
            return;
        }
        // After a failure the file may say it without being durable.
        if self.ours.is_some() && !self.write_failed && self.sight.knows(&text) {
            self.ours = Some(cluster);
            return;
        }
        let written = super::start::write_trust(&self.paths, &cluster, self.me)
            .and_then(|()| self.sight.replace(&text, began).map_err(|e| text::chain(&e)));
        match written {
            // Their edit is judged first.
            Ok(Replaced::Overtaken) => self.waiting = Some(cluster),
            Ok(Replaced::Done) => {
                let now = self.clock.mono();
                self.write_from = now + (now.since(began) * SPACING).min(LONGEST_SPACING);
                self.ours = Some(cluster);
                if std::mem::take(&mut self.write_failed) {
                    log!(Info, "files", "cluster.yaml is written again");
                    drop(self.core.try_send(Event::Note { about: "files", text: None }));
                }
            }
            Err(why) => {
                // The change itself is safe in state/; the file follows when it can.
                if !std::mem::replace(&mut self.write_failed, true) {
                    log!(Error, "files", "cluster.yaml cannot be written: tried again", why = why);
                }
                drop(self.core.try_send(Event::Note {
                    about: "files",
                    text: Some(format!("cluster.yaml cannot be written: {why}")),
                }));
                self.waiting = Some(cluster);
            }
        }
    }

    /// `trust.yaml` is never edited by hand: one that somebody lost or spoiled is made again at the
    /// start. Should the log go on to other peers, it follows them as always.
    fn mend_trust(&self) {
        let Some(cluster) = &self.ours else { return };
        let Ok(trusted) = super::start::trust_of(cluster, self.me) else { return };
        let kept = file::read_text(&self.paths.trust_yaml(), super::start::LARGEST).ok();
        if kept.and_then(|kept| trust::from_yaml(&kept).ok()).is_some_and(|kept| kept == trusted) {
            return;
        }
        match super::start::write_trust(&self.paths, cluster, self.me) {
            Ok(()) => log!(Info, "files", "trust.yaml was missing or not that of the peers: written again"),
            Err(why) => log!(Warn, "files", "trust.yaml cannot be written", why = why),
        }
    }
}

/// What a file says, if `committed`, whose text is `new`, does not know it: something newer, or other
/// under the same version. Version 0 says nothing but peers.
fn gives_way(said: &str, committed: &Cluster, new: &str) -> Option<String> {
    let mut rng = present::ids_of(said);
    match yaml::from_yaml("cluster.yaml", said, &mut || rng.next_u128()) {
        Ok(there) if there.version < committed.version || there.version == 0 => None,
        Ok(there) if there.version == committed.version && write::to_yaml(&there) == new => None,
        Ok(there) => Some(format!("cluster.yaml of version {}", there.version)),
        Err(why) => Some(format!("what cannot be read ({why})")),
    }
}
