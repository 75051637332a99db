use super::*;
use crate::base::id::AlertId;

fn node(n: u128) -> NodeId {
    NodeId::from_random(n << 112)
}

fn check(n: u128, name: &str, state: Verdict) -> Arc<CheckView> {
    Arc::new(CheckView {
        id: CheckId::from_random(n << 112),
        name: name.to_owned(),
        kind: "tcp".to_owned(),
        target: "db.example.com:5432".to_owned(),
        expect_status: None,
        body_match: None,
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        enabled: true,
        state,
        since: Some(Wall(1_778_598_092_000)),
        ok: 2,
        total: 3,
        alerts: vec!["ops".to_owned()],
        suppressed: Vec::new(),
        detail: Some("connect: connection refused".to_owned()),
        detail_node: Some(node(0xa7f3)),
        nodes: vec![NodeReport {
            node: node(0xa7f3),
            ok: false,
            detail: Some("connect: connection refused".to_owned()),
            took_ms: 3,
            age_ms: 1200,
            fresh: true,
        }],
    })
}

fn view() -> View {
    View {
        node: node(0xa7f3),
        version: "0.1.0".to_owned(),
        at: Wall(1_778_598_093_000),
        uptime_ms: 5000,
        cluster: ClusterId::from_random(7),
        term: 2,
        master: None,
        acts_for_ms: None,
        quorum: Quorum { ok: true, live: 3, need: 2, of: 3 },
        config_version: 4,
        updated_at: Wall(1_778_598_000_000),
        updated_by: Some(node(0xa7f3)),
        settings: Settings::default(),
        peers: Arc::new(vec![PeerView {
            node_id: node(0xa7f3),
            advertise: "alpha.example.com:9901".parse().unwrap(),
            fingerprint: Fingerprint([7; 32]),
            me: true,
            live: true,
            last_seen: None,
            voter: true,
            version: None,
            clock_offset_ms: None,
            trouble: None,
            hears: None,
        }]),
        checks: [
            check(0xaaaa, "db", Verdict::Up),
            check(0xaaab, "web", Verdict::Down),
            check(0xbbbb, "web2", Verdict::Down),
        ]
        .into_iter()
        .collect(),
        table: String::new(),
        alerts: Arc::new(vec![Arc::new(AlertView {
            id: AlertId::from_random(1),
            name: "ops".to_owned(),
            kind: "smtp".to_owned(),
            destination: "ops@example.com via mail.example.com:587".to_owned(),
            default: true,
            enabled: true,
            remind: None,
            queue: 0,
            last_success: None,
            last_error: None,
            last_error_at: None,
            failed: 0,
        })]),
        probes: ProbeStats::default(),
        notes: vec![Note { level: NoteLevel::Problem, text: "disk full".to_owned() }],
    }
}

fn names(view: &View) -> Vec<&str> {
    view.checks.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn a_picture_survives_its_json() {
    let text = serde_json::to_string(&view()).unwrap();
    assert!(text.contains(r#""at":"2026-05-12T15:01:33Z""#), "{text}");
    assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view());
}

#[test]
fn a_picture_of_a_newer_daemon_with_more_fields_is_read() {
    let mut json = serde_json::to_value(view()).unwrap();
    json["weather"] = "fine".into();
    json["checks"][0]["colour"] = 7.into();
    assert_eq!(serde_json::from_value::<View>(json).unwrap(), view());
}

#[test]
fn filters_choose_by_name_by_state_and_by_number() {
    let all = view();
    let by = |f: Filter| names(&all.filtered(&f).unwrap()).join(",");
    assert_eq!(by(Filter::default()), "db,web,web2");
    assert_eq!(by(Filter { check: Some("web".into()), ..Filter::default() }), "web");
    assert_eq!(by(Filter { check: Some("bbbb".into()), ..Filter::default() }), "web2");
    assert_eq!(by(Filter { state: Some(Verdict::Down), ..Filter::default() }), "web,web2");
    assert_eq!(by(Filter { state: Some(Verdict::Down), limit: Some(1), ..Filter::default() }), "web");
    assert_eq!(by(Filter { no_checks: true, ..Filter::default() }), "");
}

#[test]
fn reports_of_each_node_are_left_out_unless_asked_for() {
    let all = view();
    let reports = |view: &View| serde_json::to_string(view).unwrap().matches("age_ms").count();
    let with = all.filtered(&Filter { nodes: true, ..Filter::default() }).unwrap();
    let without = all.filtered(&Filter::default()).unwrap();
    assert_eq!((reports(&with), reports(&without)), (3, 0));
}

#[test]
fn a_check_that_is_not_there_or_not_one_is_named() {
    let why = |typed: &str| view().find_check(typed).unwrap_err();
    assert_eq!(why("nope"), "no check \"nope\" (see qu check list)");
    let mut twin = (*check(0xaaaa, "twin", Verdict::Up)).clone();
    twin.id = CheckId::from_random((0xaaaa << 112) + 1);
    let twice =
        View { checks: [check(0xaaaa, "db", Verdict::Up), Arc::new(twin)].into_iter().collect(), ..view() };
    assert!(twice.find_check("aaaa").unwrap_err().contains("is ambiguous"));
}
