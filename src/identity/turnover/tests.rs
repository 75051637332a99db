use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::base::id::{ClusterId, NodeId};
use crate::identity::Fingerprint;
use crate::identity::keys::KeyKind;
use crate::identity::succession::{Succession, leads};

struct Dir(PathBuf);

impl Dir {
    /// With a first key pair.
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("qu-turnover-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        keys::write(&dir, &keys::make(KeyKind::EcdsaP256).unwrap()).unwrap();
        Dir(dir)
    }

    fn open(&self) -> Found {
        open(&self.0).unwrap()
    }

    /// Everything in it, with modes: nothing may be left over.
    fn listing(&self) -> Vec<(String, u32)> {
        let mut all: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| {
                let mode = e.metadata().unwrap().permissions().mode() & 0o777;
                (e.file_name().into_string().unwrap(), mode)
            })
            .collect();
        all.sort();
        all
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn ids() -> (ClusterId, NodeId) {
    (ClusterId::from_random(1), NodeId::from_random(2))
}

fn made() -> (Made, Keys) {
    let made = keys::make(KeyKind::EcdsaP256).unwrap();
    let keys = Keys::from_made(&made).unwrap();
    (made, keys)
}

fn letter(old: &Keys, new: &Keys) -> Letter {
    let (cluster, node) = ids();
    Succession::agreed(cluster, node, 1, old, new).unwrap().letter
}

fn prepared(dir: &Dir) -> (Fingerprint, Fingerprint) {
    let current = dir.open().current;
    let (made, new) = made();
    let next = prepare(&dir.0, &current, &made, &letter(&current, &new)).unwrap();
    assert_eq!(next.fingerprint(), new.fingerprint());
    (current.fingerprint(), new.fingerprint())
}

fn plain() -> Vec<(String, u32)> {
    [("cert.pem", 0o644), ("private.pem", 0o600), ("public.pem", 0o644)]
        .map(|(n, m)| (n.to_owned(), m))
        .into()
}

#[test]
fn a_crash_at_any_step_of_preparing_leaves_the_old_key_alone_or_both() {
    let (made, new) = made();
    let mut outcomes = (0, 0);
    for cut in 0.. {
        let dir = Dir::new("prepare");
        let current = dir.open().current;
        let done = prepare_in(&dir.0, &current, &made, &letter(&current, &new), &mut Steps { left: cut });
        let found = dir.open();
        assert_eq!(found.current.fingerprint(), current.fingerprint(), "step {cut}");
        assert_eq!(found.warnings, Vec::<String>::new(), "step {cut}");
        if let Some(next) = &found.next {
            assert_eq!(next.fingerprint(), new.fingerprint());
            outcomes.1 += 1;
        } else {
            assert_eq!(dir.listing(), plain(), "step {cut}: nothing is left over");
            outcomes.0 += 1;
            // It can be done again.
            let next = prepare(&dir.0, &current, &made, &letter(&current, &new)).unwrap();
            assert_eq!(next.fingerprint(), new.fingerprint());
        }
        if done.is_ok() {
            break;
        }
    }
    assert_eq!(outcomes, (6, 2), "before and after the rename");
}

#[test]
fn a_crash_at_any_step_of_completing_is_finished_by_the_next_start() {
    for cut in 0.. {
        let dir = Dir::new("complete");
        let (old, new) = prepared(&dir);
        let done = complete_in(&dir.0, &mut Steps { left: cut });
        let found = dir.open();
        if cut == 0 {
            // Nothing has happened: both are there, and the configuration will tell.
            assert_eq!(found.current.fingerprint(), old);
            assert_eq!(found.next.map(|n| n.fingerprint()), Some(new));
        } else {
            assert_eq!(found.current.fingerprint(), new, "step {cut}");
            assert!(found.next.is_none(), "step {cut}");
            assert_eq!(dir.listing(), plain(), "step {cut}");
        }
        assert_eq!(found.warnings, Vec::<String>::new(), "step {cut}");
        complete(&dir.0).unwrap();
        assert_eq!(dir.open().current.fingerprint(), new);
        if done.is_ok() {
            break;
        }
    }
}

#[test]
fn a_write_that_was_torn_in_its_temporary_file_disturbs_nobody() {
    let dir = Dir::new("torn");
    let (_, new) = prepared(&dir);
    drop(complete_in(&dir.0, &mut Steps { left: 2 }));
    fs::write(dir.0.join("private.pem.new"), "-----BEGIN PRIV").unwrap();
    assert_eq!(dir.open().current.fingerprint(), new);
    assert_eq!(dir.listing(), plain());
}

#[test]
fn letters_are_carried_along_and_the_oldest_go() {
    let dir = Dir::new("letters");
    let (cluster, node) = ids();
    let mut prints = vec![dir.open().current.fingerprint()];
    for _ in 0..MOST + 2 {
        prints.push(prepared(&dir).1);
        complete(&dir.0).unwrap();
    }
    let keys = dir.open().current;
    assert_eq!(keys.letters().len(), MOST);
    assert_eq!(keys.certified().cert.len(), 1 + MOST);
    let last = keys.fingerprint();
    let leads_from = |n: usize| leads(keys.letters(), cluster, node, prints[n], last);
    assert_eq!(
        (0..prints.len()).map(leads_from).collect::<Vec<_>>(),
        [false, false, true, true, true, true, false]
    );
    // What goes into the configuration is the certificate alone.
    assert!(!keys.cert_pem().contains('{'), "{}", keys.cert_pem());
    assert_eq!(cert::fingerprint_of_pem(keys.cert_pem()).unwrap(), last);
}

#[test]
fn a_next_key_is_never_replaced_and_a_damaged_one_is_told() {
    let dir = Dir::new("kept");
    let (old, new) = prepared(&dir);
    let current = dir.open().current;
    let (other, keys) = made();
    assert!(prepare(&dir.0, &current, &other, &letter(&current, &keys)).is_err());
    assert_eq!(dir.open().next.map(|n| n.fingerprint()), Some(new));
    fs::write(dir.0.join("next/private.pem"), "").unwrap();
    let found = dir.open();
    assert_eq!(found.current.fingerprint(), old);
    assert!(found.next.is_none());
    assert!(
        found.warnings.len() == 1 && found.warnings[0].contains("next/private.pem"),
        "{:?}",
        found.warnings
    );
    assert!(dir.0.join("next/private.pem").exists(), "left for whoever can mend it");
}

#[test]
fn files_of_two_nodes_are_still_an_error() {
    let dir = Dir::new("foreign");
    prepared(&dir);
    let (other, _) = made();
    fs::write(dir.0.join("cert.pem"), &other.cert_pem).unwrap();
    assert!(matches!(open(&dir.0), Err(KeyError::Mismatch { .. })));
}
