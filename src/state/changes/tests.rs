use super::super::fixture::{Bench, alert, check, cluster, node, peer};
use super::*;
use crate::base::units::Span;
use crate::config::{Channel, MailTls, Secret, Target};

fn bench() -> Bench {
    Bench::new()
}

#[test]
fn every_change_gets_one_version_and_names_its_author() {
    let mut bench = bench();
    let done = bench.change(Change::AddCheck(check(2))).unwrap();
    assert_eq!((done.version, done.what.to_string()), (2, "added check \"check 2\"".to_owned()));
    let done = bench.change(Change::Set(Setting::DeadAfter(Span::from_secs(8)))).unwrap();
    assert_eq!((done.version, done.what.to_string()), (3, "set dead_after to 8s".to_owned()));
    let world = bench.state.cluster();
    assert_eq!((world.version, world.updated_at, world.updated_by), (3, bench.now(), Some(node(1))));
}

#[test]
fn an_edit_that_changes_nothing_succeeds_without_a_version() {
    let mut bench = bench();
    let edit = CheckEdit { interval: Some(Span::from_secs(30)), ..CheckEdit::default() };
    for change in [
        Change::EditCheck { id: check(1).id, edit },
        Change::EditAlert { id: alert(1).id, edit: AlertEdit::default() },
        Change::EditPeer { id: node(2), advertise: peer(2).advertise },
        Change::Set(Setting::Hysteresis(2)),
    ] {
        let before = bench.state.clone();
        let done = bench.change(change.clone()).unwrap();
        assert!(matches!(done.what, What::Unchanged { .. }), "{done:?}");
        assert_eq!(done.version, 1);
        assert_eq!(bench.state.cluster(), before.cluster());
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_reason_and_changes_nothing() {
    let nobody = AlertId::from_random(99);
    let named = |name: &str| Check { name: name.parse().unwrap(), ..check(2) };
    let edit = |edit: CheckEdit| Change::EditCheck { id: check(1).id, edit };
    let cases: Vec<(Change, &str)> = vec![
        (Change::AddCheck(named("check 1")), "there is a check named \"check 1\" already"),
        (Change::AddCheck(Check { name: "other".parse().unwrap(), ..check(1) }), "exists already"),
        (Change::AddCheck(Check { alert_ids: BTreeSet::from([nobody]), ..check(2) }), "which does not exist"),
        (Change::AddCheck(Check { timeout: Span::from_secs(31), ..check(2) }), "longer than the interval"),
        (Change::RemoveCheck(check(9).id), "no check"),
        (
            edit(CheckEdit { suppress_alert_ids: Some(BTreeSet::from([nobody])), ..CheckEdit::default() }),
            "which does not exist",
        ),
        (edit(CheckEdit { interval: Some(Span::from_millis(10)), ..CheckEdit::default() }), "too short"),
        (Change::AddAlert(Alert { id: alert(2).id, ..alert(1) }), "there is an alert named \"alert 1\""),
        (Change::AddAlert(Alert { remind: Some(Span::from_millis(5)), ..alert(2) }), "too short"),
        (Change::RemoveAlert(nobody), "no alert"),
        (Change::AddPeer(peer(1)), "exists already"),
        (Change::AddPeer(Peer { advertise: peer(2).advertise, ..peer(9) }), "address node2:9901 belongs to"),
        (Change::AddPeer(Peer { fingerprint: peer(2).fingerprint, ..peer(9) }), "belongs to peer"),
        (Change::EditPeer { id: node(1), advertise: peer(2).advertise }, "belongs to peer"),
        (Change::EditPeer { id: node(9), advertise: peer(9).advertise }, "no peer"),
        (Change::RemovePeer(node(9)), "no peer"),
        (Change::Set(Setting::DeadAfter(Span::from_secs(2))), "three heartbeats"),
        (Change::Set(Setting::Hysteresis(0)), "out of range"),
    ];
    for (change, want) in cases {
        let mut bench = bench();
        let refused = bench.change(change.clone()).unwrap_err().to_string();
        assert!(refused.contains(want), "{change:?}: {refused}");
        assert!(!refused.contains('\n'));
        assert_eq!(bench.state.cluster(), super::super::fixture::Bench::new().state.cluster());
    }
}

#[test]
fn the_last_peer_stays() {
    let mut bench = bench();
    bench.change(Change::RemovePeer(node(1))).unwrap();
    bench.change(Change::RemovePeer(node(3))).unwrap();
    assert_eq!(bench.change(Change::RemovePeer(node(2))), Err(Refused::LastPeer));
}

#[test]
fn a_shorter_interval_takes_the_timeout_along_unless_one_is_said() {
    let mut bench = bench();
    let short = CheckEdit { interval: Some(Span::from_secs(5)), ..CheckEdit::default() };
    bench.change(Change::EditCheck { id: check(1).id, edit: short.clone() }).unwrap();
    assert_eq!(bench.state.cluster().checks[&check(1).id].timeout, Span::from_secs(5));
    let said = CheckEdit { timeout: Some(Span::from_secs(6)), ..short };
    assert!(matches!(bench.change(Change::EditCheck { id: check(1).id, edit: said }), Err(Refused::Rule(_))));
}

#[test]
fn a_removed_alert_leaves_every_check() {
    let mut bench = bench();
    bench.change(Change::AddAlert(alert(2))).unwrap();
    let own = BTreeSet::from([alert(2).id]);
    bench.change(Change::AddCheck(Check { alert_ids: own.clone(), ..check(2) })).unwrap();
    bench.change(Change::AddCheck(Check { suppress_alert_ids: own, ..check(3) })).unwrap();
    let done = bench.change(Change::RemoveAlert(alert(2).id)).unwrap();
    assert_eq!(done.version, 5);
    let world = bench.state.cluster();
    assert!(world.checks.values().all(|c| c.alert_ids.is_empty() && c.suppress_alert_ids.is_empty()));
    assert_eq!(whole(world), Ok(()));
}

#[test]
fn mail_without_recipients_is_refused() {
    let channel = Channel::Smtp {
        host: "relay.example.com".parse().unwrap(),
        port: 25,
        user: None,
        password: None,
        from: "qu@example.com".parse().unwrap(),
        to: vec![],
        tls: MailTls::Plain,
        ca_pem: None,
        headers: vec![],
    };
    let refused = bench().change(Change::AddAlert(Alert { channel, ..alert(2) })).unwrap_err();
    assert_eq!(refused.to_string(), "alert \"alert 2\": want 1 to 100 recipients");
}

#[test]
fn a_webhook_that_is_no_url_is_refused_without_being_shown() {
    let channel = Channel::Discord { webhook: Secret::new("discord token 12345") };
    let refused = bench().change(Change::AddAlert(Alert { channel, ..alert(2) })).unwrap_err().to_string();
    assert!(refused.contains("not an http or https URL") && !refused.contains("12345"), "{refused}");
}

#[test]
fn effects_name_what_changed() {
    let mut bench = bench();
    let applied = bench.tell(super::super::command::Body::Change(Change::AddPeer(peer(4))));
    assert!(applied.effects.config_changed());
    assert_eq!(applied.effects.config.peers.len(), 1);
    assert!(applied.effects.config.checks.is_empty());
}

#[test]
fn a_whole_configuration_is_held_to_the_same_rules() {
    let mut world = cluster(2);
    world.checks.insert(check(1).id, Arc::new(check(1)));
    assert_eq!(whole(&world), Ok(()));
    let twin = Check { name: check(1).name, ..check(2) };
    world.checks.insert(twin.id, Arc::new(twin));
    assert!(matches!(whole(&world), Err(Refused::NameTaken { .. })));
    let mut world = cluster(2);
    let target = Target::Http { url: "http://x/".parse().unwrap(), expect_status: 7, body_match: None };
    world.checks.insert(check(1).id, Arc::new(Check { target, ..check(1) }));
    assert!(matches!(whole(&world), Err(Refused::Rule(_))));
    assert_eq!(whole(&cluster(0)), Err(Refused::LastPeer));
}
