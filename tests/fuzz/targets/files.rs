//! What is read from disk: configuration that people write, and `state/` after any accident.

use std::sync::OnceLock;

use quptime::base::id::{NodeId, RequestId};
use quptime::config::{
    Cluster, Form, Kept, NodeConfig, Overrides, YamlError, from_yaml, to_yaml, trust, written,
};
use quptime::identity::cert;
use quptime::probe::dns::files::ResolvConf;
use quptime::state::command::Command;
use quptime::state::{State, snapshot as state_snapshot};
use quptime::store::{mark as store_mark, snapshot as store_snapshot, vote as store_vote, wal};

use super::super::mended;
use super::is_one_harmless_line;

fn new_ids() -> impl FnMut() -> u128 {
    let mut n = 0;
    move || {
        n += 1;
        n
    }
}

fn is_well_said(e: &YamlError, text: &str) {
    is_one_harmless_line(&e.to_string());
    assert!(e.line >= 1 && e.column >= 1, "{e}");
    // YAML has more line ends than this language, and its reader tells of the end of a text as of a
    // line of its own.
    let ends = text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
    assert!(e.line <= ends.count() + 2, "{e}");
}

pub fn cluster_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match from_yaml("cluster.yaml", text, &mut new_ids()) {
        Ok(cluster) => {
            let written = to_yaml(&cluster);
            let read = from_yaml("cluster.yaml", &written, &mut || panic!("an id is missing in {written}"));
            assert_eq!(read.as_ref(), Ok(&cluster), "{written}");
            kept(&self::written(&cluster, Form::Kept { secrets: false }), &cluster);
            kept(text, &cluster);
        }
        Err(e) => {
            is_well_said(&e, text);
            // Also of a file that is kept, which may leave out more; some of them, for the time it takes.
            if text.len() % 8 == 0 {
                match Kept::read("kept.yaml", text).and_then(|k| k.cluster(nobody(), &mut new_ids())) {
                    Ok(wanted) => drop(to_yaml(&wanted)),
                    Err(e) => is_well_said(&e, text),
                }
            }
        }
    }
}

/// A file that is kept says of the configuration that it was made of what that says itself.
fn kept(text: &str, cluster: &Cluster) {
    let mut others = (1 << 100)..;
    let mut other_id = || others.next().unwrap_or_default();
    let wanted = Kept::read("kept.yaml", text).and_then(|k| k.cluster(cluster, &mut other_id));
    assert_eq!(wanted.as_ref(), Ok(cluster), "{text}");
}

/// A cluster that has nothing to keep.
fn nobody() -> &'static Cluster {
    static NOBODY: OnceLock<Cluster> = OnceLock::new();
    NOBODY.get_or_init(|| {
        let text = "cluster_id: 00000007-0000-4000-8000-000000000000\nversion: 1\n\
            updated_at: 2026-05-12T15:01:32Z\nsettings:\n  heartbeat: 1s\n  dead_after: 4s\n  \
            master_cooldown: 2m\n  hysteresis: 2\npeers: []\nchecks: []\nalerts: []\n";
        from_yaml("nobody.yaml", text, &mut new_ids()).expect("it is whole")
    })
}

pub fn node_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Overrides::from_file("node.yaml", text) {
        Ok(file) => {
            let nothing = |_: &str| None;
            let load =
                |text: &str| NodeConfig::load("node.yaml", text, &nothing, Overrides::default(), "host");
            match file.complete("host") {
                Ok(node) => assert_eq!(load(&node.to_yaml()).as_ref(), Ok(&node)),
                Err(why) => is_one_harmless_line(&why),
            }
        }
        Err(e) => is_well_said(&e, text),
    }
}

pub fn trust_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match trust::from_yaml(text) {
        Ok(read) => {
            let written = trust::to_yaml(&read).expect("it has a form");
            assert_eq!(trust::from_yaml(&written).as_ref(), Ok(&read), "{written}");
        }
        Err(why) => is_one_harmless_line(&why),
    }
}

/// The first byte says how much of the others was confirmed.
pub fn log(bytes: &[u8]) {
    let Some((part, bytes)) = bytes.split_first() else { return };
    let confirmed = bytes.len() * usize::from(*part) / 255;
    match wal::decode(bytes, confirmed as u64) {
        Ok(content) => {
            let length = usize::try_from(content.length).expect("a length");
            assert!((confirmed..=bytes.len()).contains(&length), "nothing confirmed is cut off");
            let indexes = content.chain.entries().iter().map(|e| e.index);
            let base = content.chain.base().index;
            assert!(indexes.zip(1..).all(|(index, n)| index == base + n), "no gap");
            // What is left after the cut is whole.
            assert_eq!(wal::decode(&bytes[..length], length as u64), Ok(content));
        }
        Err(flaw) => is_one_harmless_line(&flaw.why),
    }
}

pub fn log_mended(bytes: &[u8]) {
    let Some((part, bytes)) = bytes.split_first() else { return };
    log(&[&[*part][..], &mended::log(bytes)].concat());
}

pub fn snapshot(bytes: &[u8]) {
    match store_snapshot::decode(bytes) {
        Ok(kept) => {
            let written = store_snapshot::encode(kept.log, &kept.snapshot).expect("it has a form");
            assert_eq!(store_snapshot::decode(&written), Ok(kept));
        }
        Err(flaw) => is_one_harmless_line(&flaw.why),
    }
}

pub fn snapshot_mended(bytes: &[u8]) {
    snapshot(&mended::sealed(bytes));
}

pub fn vote(bytes: &[u8]) {
    for bytes in [bytes, &mended::sealed(bytes)] {
        match store_vote::decode(bytes) {
            Ok(vote) => assert_eq!(store_vote::decode(&store_vote::encode(&vote)), Ok(vote)),
            Err(flaw) => is_one_harmless_line(&flaw.why),
        }
    }
}

pub fn mark(bytes: &[u8]) {
    if let Err(flaw) = store_mark::decode(bytes) {
        is_one_harmless_line(&flaw.why);
    }
}

pub fn state(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for text in [text, &mended::state(text)] {
        match state_snapshot::from_text(text) {
            Ok(read) => is_kept_whole(&read),
            Err(why) => is_one_harmless_line(&why.to_string()),
        }
    }
}

/// The snapshot of a state is the state.
fn is_kept_whole(state: &State) {
    let written = state_snapshot::to_text(state).expect("it has a form");
    assert_eq!(state_snapshot::from_text(&written).as_ref(), Ok(state), "{written}");
}

/// Lines: a configuration up to the first line that is a command, then commands, one entry of the
/// log each. Two nodes that apply the same are the same, also when one of them goes through its
/// snapshot in between.
pub fn state_commands(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let start = text.find("\n{").map_or(text.len(), |at| at + 1);
    let (yaml, commands) = text.split_at(start);
    let Ok(cluster) = from_yaml("cluster.yaml", yaml, &mut new_ids()) else { return };
    let mut one = State::found(cluster);
    let mut other = one.clone();
    for (n, line) in commands.lines().take(64).enumerate() {
        let Ok(command) = serde_json::from_str::<Command>(line) else { continue };
        let (index, request) = (n as u64 + 1, RequestId::from_random(n as u128 / 2));
        let applied = one.apply(index, Some(request), Some(&command));
        assert_eq!(applied, other.apply(index, Some(request), Some(&command)));
        let written = state_snapshot::to_text(&other).expect("it has a form");
        other = state_snapshot::from_text(&written).unwrap_or_else(|e| panic!("{e}: {written}"));
        assert_eq!(one, other);
        assert!(one.verdicts().keys().eq(one.cluster().checks.keys()));
    }
}

pub fn resolv_conf(bytes: &[u8]) {
    let conf = ResolvConf::parse(&String::from_utf8_lossy(bytes));
    assert!(!conf.servers.is_empty() && conf.servers.len() <= 3);
    for name in ["www", "www.example.com", "www.example.com."] {
        let all = conf.candidates(name);
        assert!(!all.is_empty() && all.iter().all(|c| !c.contains([' ', '\t', '\n'])), "{all:?}");
    }
}

pub fn certificate(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(der) = cert::from_pem(text) {
        let again = cert::from_pem(&cert::to_pem(&der)).expect("what was written");
        assert_eq!(again, der);
        drop(cert::fingerprint(&der));
    }
    if let Err(e) = cert::fingerprint_of_pem(text) {
        is_one_harmless_line(&e.to_string());
    }
    for word in text.split_whitespace() {
        if let Ok(id) = word.parse::<NodeId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        if let Ok(read) = word.parse::<quptime::identity::Fingerprint>() {
            assert_eq!(read.to_string().parse().as_ref(), Ok(&read));
        }
    }
}
