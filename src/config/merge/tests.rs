use super::super::Alert;
use super::super::samples::{self, alert_id, check_id, node};
use super::*;
use crate::base::clock::Wall;
use crate::base::id::ClusterId;
use crate::base::rng::Rng;
use crate::base::units::Span;

/// The small configuration, changed.
fn with(change: impl FnOnce(&mut Cluster)) -> Cluster {
    let mut cluster = samples::cluster();
    change(&mut cluster);
    cluster
}

fn check(cluster: &mut Cluster, n: u128) -> &mut Check {
    Arc::make_mut(cluster.checks.get_mut(&check_id(n)).unwrap())
}

fn alert(cluster: &mut Cluster, n: u128) -> &mut Alert {
    Arc::make_mut(cluster.alerts.get_mut(&alert_id(n)).unwrap())
}

fn add(cluster: &mut Cluster, check: Check) {
    cluster.checks.insert(check.id, Arc::new(check));
}

fn secs(cluster: &mut Cluster, n: u128, interval: u64) {
    check(cluster, n).interval = Span::from_secs(interval);
}

fn named(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn what_is_not_for_hands_is_refused_with_what_to_do() {
    let peer = |c: &mut Cluster, change: &dyn Fn(&mut Peer)| change(c.peers.get_mut(&node(2)).unwrap());
    let two = "00000002-0000-4000-8000-000000000000";
    let cases: [(Cluster, String); 12] = [
        (
            with(|c| c.id = ClusterId::from_random(1)),
            "cluster_id cannot be changed by hand; write 00000007-0000-4000-8000-000000000000 again".into(),
        ),
        (with(|c| c.version = 9), "version cannot be changed by hand; write 4 again".into()),
        (
            with(|c| c.updated_at = Wall(0)),
            "updated_at cannot be changed by hand; write 2026-05-12T15:01:32Z again".into(),
        ),
        (
            with(|c| c.updated_by = None),
            "updated_by cannot be changed by hand; write 00000001-0000-4000-8000-000000000000 again".into(),
        ),
        (
            with(|c| peer(c, &|p| p.cert_pem.push('x'))),
            format!("cert_pem of peer {two} cannot be changed by hand; write what was there again"),
        ),
        (
            with(|c| peer(c, &|p| p.fingerprint.0[0] ^= 1)),
            format!("fingerprint of peer {two} cannot be changed by hand; write what was there again"),
        ),
        (
            with(|c| {
                let old = c.peers.remove(&node(2)).unwrap();
                c.peers.insert(node(9), Peer { node_id: node(9), ..old });
            }),
            format!("node_id of peer {two} cannot be changed by hand; write what was there again"),
        ),
        (
            with(|c| drop(c.peers.insert(node(4), samples::peer(4)))),
            "peer 00000004-0000-4000-8000-000000000000 cannot be added by hand; use: qu node add node4.example.com:9901".into(),
        ),
        (
            with(|c| c.peers.retain(|id, _| *id == node(1))),
            format!("2 peers are removed at once ({two}, 00000003-0000-4000-8000-000000000000); remove one at a time"),
        ),
        (
            with(|c| c.peers.clear()),
            format!("3 peers are removed at once (00000001-0000-4000-8000-000000000000, {two}, 00000003-0000-4000-8000-000000000000); remove one at a time"),
        ),
        (
            with(|c| {
                secs(c, 1, 10);
                c.version = 5;
            }),
            "version cannot be changed by hand; write 4 again".into(),
        ),
        (
            with(|c| {
                c.updated_by = None;
                c.updated_at = Wall(0);
            }),
            "updated_at cannot be changed by hand; write 2026-05-12T15:01:32Z again".into(),
        ),
    ];
    for (edited, want) in cases {
        assert_eq!(hand_edit(&samples::cluster(), &edited).unwrap_err().to_string(), want);
    }
    let one = with(|c| c.peers.retain(|id, _| *id == node(1)));
    let none = with(|c| c.peers.clear());
    assert_eq!(hand_edit(&one, &none).unwrap_err().to_string(), "the last peer cannot be removed");
}

#[test]
fn an_edit_of_everything_becomes_single_edits_in_a_valid_order() {
    let base = samples::cluster();
    let edited = with(|c| {
        c.settings.hysteresis = 3;
        c.peers.remove(&node(3));
        c.peers.get_mut(&node(2)).unwrap().advertise = "b:1".parse().unwrap();
        c.checks.remove(&check_id(2));
        secs(c, 1, 10);
        check(c, 1).alert_ids = [alert_id(3)].into();
        c.alerts.remove(&alert_id(1));
        c.alerts.insert(alert_id(3), Arc::new(samples::discord(3, "new")));
    });
    let edits = hand_edit(&base, &edited).unwrap();
    let shape = |e: &Edit| match e {
        Edit::Settings { .. } => "settings",
        Edit::Alert { after: Some(_), .. } => "alert",
        Edit::Alert { after: None, .. } => "alert gone",
        Edit::Check { after: Some(_), .. } => "check",
        Edit::Check { after: None, .. } => "check gone",
        Edit::PeerAddress { .. } => "address",
        Edit::RemovePeer { .. } => "peer gone",
    };
    let shapes: Vec<_> = edits.iter().map(shape).collect();
    assert_eq!(shapes, ["settings", "alert", "check", "check gone", "alert gone", "address", "peer gone"]);
    assert_eq!(conflicts(&edits, &base), [""; 0]);
    assert_eq!(merged(&edits, &base), edited);
    // Once done, the same edit is nothing to do and no conflict.
    assert_eq!(conflicts(&edits, &edited), [""; 0]);
    assert_eq!(merged(&edits, &edited), edited);
    assert_eq!(hand_edit(&edited, &edited), Ok(Vec::new()));
}

#[test]
fn edits_of_different_items_merge() {
    let edits = hand_edit(&samples::cluster(), &with(|c| secs(c, 1, 10))).unwrap();
    let current = with(|c| {
        secs(c, 2, 60);
        c.version = 7;
        c.settings.hysteresis = 5;
        c.peers.remove(&node(3));
        alert(c, 1).default = false;
        add(c, samples::check(3, "third"));
    });
    assert_eq!(conflicts(&edits, &current), [""; 0]);
    let result = merged(&edits, &current);
    assert_eq!(result.checks.len(), 3);
    assert_eq!(result.checks[&check_id(1)].interval, Span::from_secs(10));
    assert_eq!(result.checks[&check_id(2)].interval, Span::from_secs(60));
}

#[test]
fn true_conflicts_are_named() {
    let cases = [
        (
            with(|c| secs(c, 1, 20)),
            with(|c| secs(c, 1, 10)),
            "check \"web\" was changed meanwhile: interval 20s here, 10s in the cluster",
        ),
        (
            with(|c| check(c, 1).timeout = Span::from_secs(5)),
            with(|c| secs(c, 1, 10)),
            "check \"web\" was changed meanwhile: interval 30s here, 10s in the cluster",
        ),
        (
            with(|c| {
                secs(c, 1, 10);
                check(c, 1).timeout = Span::from_secs(5);
            }),
            with(|c| secs(c, 1, 10)),
            "check \"web\" was changed meanwhile: interval 30s -> 10s in the cluster",
        ),
        (
            with(|c| secs(c, 1, 10)),
            with(|c| drop(c.checks.remove(&check_id(1)))),
            "check \"web\" was removed meanwhile",
        ),
        (
            with(|c| drop(c.checks.remove(&check_id(1)))),
            with(|c| secs(c, 1, 10)),
            "check \"web\" is removed here and was changed meanwhile: interval 30s -> 10s",
        ),
        (
            with(|c| add(c, samples::web(3, "new"))),
            with(|c| add(c, samples::check(3, "new"))),
            "check \"new\" was added meanwhile, and differs from the one here",
        ),
    ];
    judged(&cases);
}

/// Each: as edited, as the cluster is by now, and the one sentence.
fn judged(cases: &[(Cluster, Cluster, &str)]) {
    for (edited, current, want) in cases {
        let edits = hand_edit(&samples::cluster(), edited).unwrap();
        assert_eq!(conflicts(&edits, current), [*want]);
    }
}

#[test]
fn what_is_wrong_only_together_is_named() {
    let cases = [
        (
            with(|c| add(c, samples::web(3, "new"))),
            with(|c| add(c, samples::check(4, "new"))),
            "check \"new\" has the name of another check by now",
        ),
        (
            with(|c| check(c, 1).name = named("new")),
            with(|c| add(c, samples::check(4, "new"))),
            "check \"new\" has the name of another check by now",
        ),
        (
            with(|c| add(c, Check { alert_ids: [alert_id(2)].into(), ..samples::web(3, "new") })),
            with(|c| {
                c.alerts.remove(&alert_id(2));
                check(c, 2).suppress_alert_ids.clear();
            }),
            "check \"new\" names alert \"00000002\", which was removed meanwhile",
        ),
        (
            with(|c| {
                c.alerts.remove(&alert_id(2));
                check(c, 2).suppress_alert_ids.clear();
            }),
            with(|c| add(c, Check { alert_ids: [alert_id(2)].into(), ..samples::web(3, "new") })),
            "alert \"chat\" is removed here, and check \"new\" names it by now",
        ),
        (
            with(|c| alert(c, 2).default = true),
            with(|c| alert(c, 2).name = named("talk")),
            "alert \"chat\" was changed meanwhile: name \"chat\" here, \"talk\" in the cluster",
        ),
        (
            with(|c| alert(c, 1).channel = samples::discord(1, "x").channel),
            with(|c| alert(c, 1).channel = samples::discord(1, "x").channel.another()),
            "alert \"ops\" was changed meanwhile: discord_webhook (differs in the cluster)",
        ),
        (
            with(|c| alert(c, 1).name = named("new")),
            with(|c| drop(c.alerts.insert(alert_id(3), Arc::new(samples::discord(3, "new"))))),
            "alert \"new\" has the name of another alert by now",
        ),
        (
            with(|c| c.settings.hysteresis = 3),
            with(|c| c.settings.hysteresis = 4),
            "one of the settings was changed meanwhile: hysteresis 3 here, 4 in the cluster",
        ),
        (
            with(|c| c.peers.get_mut(&node(2)).unwrap().advertise = "b:1".parse().unwrap()),
            with(|c| c.peers.get_mut(&node(2)).unwrap().advertise = "c:1".parse().unwrap()),
            "peer 00000002-0000-4000-8000-000000000000 was changed meanwhile: advertise b:1 here, c:1 in the cluster",
        ),
        (
            with(|c| c.peers.get_mut(&node(2)).unwrap().advertise = "b:1".parse().unwrap()),
            with(|c| drop(c.peers.remove(&node(2)))),
            "peer 00000002-0000-4000-8000-000000000000 was removed meanwhile",
        ),
        (
            with(|c| drop(c.peers.remove(&node(2)))),
            with(|c| c.peers.retain(|id, _| *id == node(2))),
            "peer 00000002-0000-4000-8000-000000000000 is the last peer by now",
        ),
    ];
    judged(&cases);
}

/// Another webhook, so that two differ.
trait Other {
    fn another(self) -> Self;
}

impl Other for super::super::Channel {
    fn another(self) -> Self {
        super::super::Channel::Discord { webhook: super::super::Secret::new("https://b.example/other") }
    }
}

#[test]
fn names_that_are_swapped_are_no_conflict() {
    let edited = with(|c| {
        check(c, 1).name = named("db");
        check(c, 2).name = named("web");
    });
    let edits = hand_edit(&samples::cluster(), &edited).unwrap();
    assert_eq!(conflicts(&edits, &samples::cluster()), [""; 0]);
}

#[test]
fn every_edit_of_checks_alerts_and_settings_leads_to_what_was_edited() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let base = samples::random(&mut rng);
        let mut edited = samples::random(&mut rng);
        // Some items stay, some of those that stay change.
        for (id, check) in &base.checks {
            let mut check = check.clone();
            if rng.chance(500) {
                continue;
            }
            if rng.chance(500) {
                Arc::make_mut(&mut check).enabled ^= true;
            }
            edited.checks.insert(*id, check);
        }
        edited.alerts.extend(base.alerts.iter().map(|(id, a)| (*id, a.clone())));
        let head = base.clone();
        edited = Cluster { settings: edited.settings, checks: edited.checks, alerts: edited.alerts, ..head };
        let edits = hand_edit(&base, &edited).unwrap();
        assert_eq!(merged(&edits, &base), edited, "seed {seed}");
        assert!(
            conflicts(&edits, &edited).iter().all(|c| c.contains("has the name of another")),
            "seed {seed}"
        );
    }
}

#[test]
fn the_base_of_an_edit_is_found_by_its_version() {
    let mut history = History::default();
    for version in 1..=100 {
        history.push(Arc::new(with(|c| c.version = version)));
    }
    assert_eq!(history.base(100).unwrap().version, 100);
    assert_eq!(history.base(37).unwrap().version, 37);
    assert_eq!(
        history.base(36).unwrap_err(),
        "the edit started from version 36, which is forgotten; edit the present file, version 100"
    );
    assert_eq!(
        history.base(101).unwrap_err(),
        "version 101 is ahead of the cluster's 100; version cannot be changed by hand"
    );
    history.push(Arc::new(with(|c| c.version = 50)));
    assert!(history.base(50).is_ok());
    assert!(history.base(51).is_err());
}
