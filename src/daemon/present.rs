//! What a node presents to the others at its start: the configuration file of one that has no
//! `state/`, or whose file is newer than that. What follows from it is `quorum/refound.rs`'s.
//!
//! A file is newer than `state/` by an operator's hand only: `cluster.yaml` is written when what it
//! says is durable in `state/` (`core.rs`, `unfiled`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::rng::Rng;
use crate::base::text;
use crate::config::paths::Paths;
use crate::config::{Cluster, write};
use crate::identity::fingerprint::digest;
use crate::log;
use crate::quorum::io::{File, Remembered, Standing};
use crate::quorum::message::{Blank, Entry, Incarnation, Term};
use crate::state::command::Command;
use crate::state::{State, snapshot};
use crate::store;
use crate::view::{Note, NoteLevel};

/// For the ids that a file leaves out: the same text yields the same ids on every node.
#[must_use]
pub fn ids_of(text: &str) -> Rng {
    Rng::new(number(text))
}

fn number(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(text.as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A new life of `state/`.
///
/// # Errors
/// The system gives no random bytes.
pub fn life() -> Result<Incarnation, String> {
    let random = crate::identity::random().map_err(|e| e.to_string())?;
    Ok(Incarnation(u64::try_from(random >> 64).unwrap_or(1).max(1)))
}

/// The highest term that `state/` knows.
#[must_use]
pub fn term(remembered: &Remembered) -> Term {
    let last = remembered.entries.last().map_or(remembered.snapshot.end.term, |e| e.term);
    remembered.vote.term.max(last)
}

fn file(cluster: &Cluster, told: bool, remembers: bool, others: bool) -> Result<File, String> {
    let known = Blank {
        version: cluster.version,
        members: cluster.peers.keys().copied().collect(),
        digest: number(&write::to_yaml(cluster)),
        told,
        remembers,
    };
    let data = snapshot::to_text(&State::found(cluster.clone())).map_err(|e| e.to_string())?;
    Ok(File { known, data: data.into(), others })
}

/// What a node without `state/` presents; `others`: it knows of some that the file does not name.
/// Version 0 says who the members are and nothing else: nothing can begin from it.
///
/// # Errors
/// The configuration cannot be written down.
pub fn without_state(cluster: &Cluster, others: bool, told: bool) -> Result<Option<File>, String> {
    if cluster.version == 0 {
        if told {
            log!(
                Warn,
                "start",
                "--recover has no effect: a cluster.yaml of version 0 says nothing to start again from; waiting for a master"
            );
        }
        return Ok(None);
    }
    say_told(told, cluster.version);
    file(cluster, told, false, others).map(Some)
}

fn say_told(told: bool, version: u64) {
    if told {
        log!(
            Warn,
            "start",
            "told to recover: a majority of the peers in cluster.yaml is enough to start again from it",
            version = version
        );
    }
}

/// Configurations that `state/` knows.
pub struct InState {
    /// That of its snapshot.
    pub snapshot: Arc<Cluster>,
    /// The one of a version that was asked for, if it is there. What was never committed is no harm:
    /// no file was written from it.
    pub filed: Option<Arc<Cluster>>,
    /// The newest, committed or not.
    pub newest: Arc<Cluster>,
}

/// Goes through `state/`, from `state`, its snapshot, on.
///
/// # Errors
/// An entry is not understood.
pub fn past(entries: &[Entry], mut state: State, filed: u64) -> Result<InState, String> {
    let snapshot = Arc::clone(state.cluster());
    let asked = |state: &State| Some(Arc::clone(state.cluster())).filter(|c| c.version == filed);
    let mut found = asked(&state);
    for entry in entries {
        let sealed = entry.command.as_ref();
        let command: Option<Command> =
            sealed.map(|c| serde_json::from_str(&c.text)).transpose().map_err(|e| {
                format!(
                    "entry {} of the log is not understood ({e}): it was written by a newer qu; upgrade this node",
                    entry.index
                )
            })?;
        state.apply(entry.index, sealed.map(|c| c.request), command.as_ref());
        found = found.or_else(|| asked(&state));
    }
    Ok(InState { snapshot, filed: found, newest: Arc::clone(state.cluster()) })
}

/// The newest config version that a `state/` knows which no daemon uses just now; `None` when there is
/// nothing in it. Nothing is changed there.
///
/// # Errors
/// It cannot be read, or not understood: one line.
pub fn look(paths: &Paths) -> Result<Option<u64>, String> {
    let Some((snapshot, entries)) = store::look(&paths.state()).map_err(|e| text::chain(&e))? else {
        return Ok(None);
    };
    let state = snapshot::from_text(&snapshot.data).map_err(|e| format!("state/: {e}"))?;
    past(&entries, state, 0).map(|past| Some(past.newest.version))
}

/// What a node presents whose `cluster.yaml`, `said`, is newer than all that is in its `state/`, of
/// which `here` is the newest; nothing when it goes on from `state/`.
///
/// # Errors
/// The configuration cannot be written down.
pub fn beside_state<'a>(
    said: Option<&'a Cluster>,
    here: &Cluster,
    me: NodeId,
    told: bool,
) -> Result<Option<(&'a Cluster, File)>, String> {
    let newer = |f: &&'a Cluster| f.id == here.id && f.version > here.version && f.peers.contains_key(&me);
    let Some(said) = said.filter(newer) else {
        if told {
            let why = why_not(said, here, me);
            log!(Warn, "start", format!("--recover has no effect: {why}; going on from state/"));
        }
        return Ok(None);
    };
    say_told(told, said.version);
    if !told {
        log!(
            Warn,
            "start",
            "cluster.yaml is newer than state/: this node waits until every peer that it names presents the same, or a \
             master with a quorum is heard; to go on from state/ instead, take the edit back and start again",
            version = said.version,
            state = here.version
        );
    }
    // Everybody whom `state/` names and the file does not may still be there.
    let others = here.peers.keys().any(|id| !said.peers.contains_key(id));
    Ok(Some((said, file(said, told, true, others)?)))
}

/// Why a file is not one to start again from.
fn why_not(said: Option<&Cluster>, here: &Cluster, me: NodeId) -> String {
    match said {
        None => "there is no cluster.yaml".to_owned(),
        Some(f) if f.id != here.id => "cluster.yaml is of another cluster than state/".to_owned(),
        Some(f) if !f.peers.contains_key(&me) => "cluster.yaml does not name this node".to_owned(),
        Some(f) => {
            let (file, state) = (f.version, here.version);
            format!("cluster.yaml, of version {file}, is not newer than state/, of version {state}")
        }
    }
}

fn soon(version: u64) -> Note {
    let text = format!(
        "starting again from version {version} of cluster.yaml in a moment, unless a master with a quorum is heard"
    );
    Note { level: NoteLevel::Warning, text }
}

/// What the operator of a node that presents a file should know; `name` says who a node is.
#[must_use]
pub fn note(standing: &Standing, name: impl Fn(NodeId) -> String) -> Option<Note> {
    let names = |ids: &BTreeSet<NodeId>| ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ");
    let mut missing = Vec::new();
    if !standing.silent.is_empty() {
        missing.push(format!("not heard: {}", names(&standing.silent)));
    }
    if !standing.remember.is_empty() {
        missing.push(format!("going on from their state/: {}", names(&standing.remember)));
    }
    for (node, version) in &standing.other {
        missing.push(format!("{} has another cluster.yaml, of version {version}", name(*node)));
    }
    if missing.is_empty() {
        // A node that was made just now begins at once.
        return (standing.remembers || standing.told).then(|| soon(standing.version));
    }
    let named = standing.with.len() + standing.silent.len() + standing.remember.len() + standing.other.len();
    let (told, enough) = match standing.told {
        true => (" (told to recover)", named / 2 + 1),
        false => ("", named),
    };
    let (begin, together, back) = match standing.remembers {
        true => (
            "cluster.yaml is newer than state/: starting",
            "; put the same file on every peer that it names and start them",
            "; or take the edit back: this node then goes on from state/",
        ),
        false => ("there is no state/: waiting for a master with a quorum, or starting", "", ""),
    };
    let recover = match standing.told {
        true => String::new(),
        false => format!("; when some cannot be had, start {} of them with --recover", named / 2 + 1),
    };
    let version = standing.version;
    let so_far = match standing.with.len() {
        1 => "1 does so far".to_owned(),
        n => format!("{n} do so far"),
    };
    let missing = missing.join("; ");
    let text = format!(
        "{begin} again from version {version} of cluster.yaml{told} when {enough} of {named} peers present it, {so_far}; \
         {missing}{together}{recover}{back}"
    );
    Some(Note { level: NoteLevel::Warning, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(remembers: bool, told: bool) -> Standing {
        let id = NodeId::from_random;
        Standing {
            version: 107,
            told,
            remembers,
            with: BTreeSet::from([id(1)]),
            other: vec![(id(2), 106)],
            remember: BTreeSet::from([id(3)]),
            silent: BTreeSet::from([id(4), id(5)]),
        }
    }

    #[test]
    fn the_note_says_what_is_waited_for_and_what_to_do() {
        let said = note(&standing(true, false), |id| id.short()).unwrap().text;
        let short = |n| NodeId::from_random(n).short();
        for part in [
            "cluster.yaml is newer than state/: starting again from version 107 of cluster.yaml when 5 of 5 peers present it, 1 does so far",
            &format!("not heard: {}, {}", short(4), short(5)),
            &format!("going on from their state/: {}", short(3)),
            &format!("{} has another cluster.yaml, of version 106", short(2)),
            "start 3 of them with --recover",
            "take the edit back",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = note(&standing(false, true), |id| id.short()).unwrap().text;
        assert!(
            said.starts_with("there is no state/: ") && said.contains("(told to recover) when 3 of 5"),
            "{said}"
        );
        assert!(!said.contains("--recover") && !said.contains("take the edit back"), "{said}");
    }

    #[test]
    fn when_all_are_there_it_is_a_matter_of_a_moment() {
        let nobody = BTreeSet::new();
        let all =
            Standing { other: Vec::new(), remember: nobody.clone(), silent: nobody, ..standing(true, false) };
        assert!(note(&all, |id| id.short()).unwrap().text.contains("in a moment"));
        assert_eq!(note(&Standing { remembers: false, ..all }, |id| id.short()), None);
    }

    #[test]
    fn the_same_text_yields_the_same_ids() {
        let ids = |text| [0; 3].map(|_: u8| ids_of(text).next_u128());
        assert_eq!(ids("a"), ids("a"));
        assert_ne!(ids("a"), ids("b"));
    }
}
