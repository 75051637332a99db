//! The targets of cargo-fuzz without cargo-fuzz: the corpus, and inputs made out of it.
//!
//! An input is an item of the corpus, changed a few times by a seeded generator: bytes, pieces,
//! numbers, and what two items have in common. The same seed makes the same inputs; a failure names
//! the target and writes the input to a file that goes into the corpus when the fault is mended.
//!
//! `QUPTIME_FUZZ_INPUTS` (20,000) is how many are made for each target; `QUPTIME_FUZZ_SEED` (1).

mod change;
mod mended;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use quptime::base::rng::Rng;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |t| t.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {t}")))
}

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.iter().map(|p| fs::read(p).expect("a file of the corpus")).collect()
}

fn is_borne(target: &str, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| targets::run(target, bytes))).is_err() {
        let path = std::env::temp_dir().join(format!("qu-fuzz-{target}-{}", std::process::id()));
        let kept = fs::write(&path, bytes).map(|()| path.display().to_string());
        panic!("{target} broke; the input is in {kept:?}");
    }
}

fn corpus_and_generated(target: &str) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    for item in &corpus {
        is_borne(target, item);
    }
    let mut rng = Rng::new(number("QUPTIME_FUZZ_SEED", 1));
    for _ in 0..number("QUPTIME_FUZZ_INPUTS", 20_000) {
        is_borne(target, &change::one_of(&corpus, &mut rng));
    }
}

/// One test for each target, so that they run side by side and a failure has a name.
macro_rules! bears {
    ($($test:ident $target:literal)*) => {
        $(#[test]
        fn $test() {
            corpus_and_generated($target);
        })*

        #[test]
        fn every_target_has_its_test_its_corpus_and_its_cargo_fuzz_binary() {
            let tested = [$($target),*];
            let known: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, tested);
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
            let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
            for name in &known {
                assert!(manifest.contains(&format!("\nname = \"{name}\"\npath = \"run.rs\"\n")), "{name}");
            }
            assert_eq!(manifest.matches("[[bin]]").count(), known.len());
            assert_eq!(fs::read_dir(root.join("corpus")).expect("a corpus").count(), known.len());
        }
    };
}

bears! {
    frame "frame"
    frames "frames"
    peer_message "peer-message"
    core_messages "core-messages"
    join "join"
    claim "claim"
    control_request "control-request"
    icmp_reply "icmp-reply"
    dns_answer "dns-answer"
    http_answer "http-answer"
    location "location"
    cluster_yaml "cluster-yaml"
    node_yaml "node-yaml"
    trust_yaml "trust-yaml"
    log "log"
    log_mended "log-mended"
    snapshot "snapshot"
    snapshot_mended "snapshot-mended"
    vote "vote"
    mark "mark"
    state "state"
    state_commands "state-commands"
    resolv_conf "resolv-conf"
    certificate "certificate"
    template "template"
    url "url"
    duration "duration"
    harmless "harmless"
}
