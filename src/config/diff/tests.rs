use super::super::samples::{self, alert_id, check_id, node};
use super::*;
use crate::base::units::Span;

/// The lines between the small configuration and one that was changed like this.
fn lines(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
    let before = samples::cluster();
    let mut after = before.clone();
    change(&mut after);
    differences(&before, &after).iter().map(ToString::to_string).collect()
}

fn edit_check(cluster: &mut Cluster, n: u128, change: impl FnOnce(&mut Check)) {
    change(Arc::make_mut(cluster.checks.get_mut(&check_id(n)).unwrap()));
}

fn edit_alert(cluster: &mut Cluster, n: u128, change: impl FnOnce(&mut Alert)) {
    change(Arc::make_mut(cluster.alerts.get_mut(&alert_id(n)).unwrap()));
}

#[test]
fn each_kind_of_change_is_one_line() {
    assert_eq!(lines(|_| {}), [""; 0]);
    assert_eq!(lines(|c| c.version = 9), [""; 0]);
    assert_eq!(
        lines(|c| {
            c.settings.heartbeat = Span::from_millis(500);
            c.settings.hysteresis = 3;
        }),
        ["~ settings: heartbeat 1s -> 500ms, hysteresis 2 -> 3"]
    );
    assert_eq!(
        lines(|c| edit_check(c, 1, |web| web.interval = Span::from_secs(10))),
        ["~ check \"web\": interval 30s -> 10s"]
    );
    assert_eq!(
        lines(|c| edit_check(c, 1, |web| {
            web.name = "www".parse().unwrap();
            web.alert_ids = [alert_id(1), alert_id(2), alert_id(9)].into();
            web.enabled = false;
        })),
        [
            "~ check \"web\": name \"web\" -> \"www\", alert_ids [ops] -> [00000009, chat, ops], enabled true -> false"
        ]
    );
    assert_eq!(
        lines(|c| edit_check(c, 2, |db| db.target = samples::web(1, "x").target)),
        [
            "~ check \"db\": type tcp -> http, target db.example.com:5432 -> https://www.example.com/?a=1&b=*, expect_status (none) -> 200"
        ]
    );
    assert_eq!(
        lines(|c| {
            c.checks.remove(&check_id(2));
            c.alerts.insert(alert_id(3), Arc::new(samples::smtp(3, "more")));
            c.checks.insert(check_id(3), Arc::new(samples::web(3, "new")));
            c.peers.remove(&node(3));
            c.peers.get_mut(&node(2)).unwrap().advertise = "b:1".parse().unwrap();
        }),
        [
            "~ peer 00000002-0000-4000-8000-000000000000: advertise node2.example.com:9901 -> b:1",
            "- peer 00000003-0000-4000-8000-000000000000",
            "- check \"db\"",
            "+ check \"new\" (http https://www.example.com/?a=1&b=*)",
            "+ alert \"more\" (smtp)",
        ]
    );
}

#[test]
fn secrets_and_long_texts_only_show_that_they_changed() {
    let password = |p: Option<&str>| {
        let new = p.map(Secret::new);
        lines(|c| {
            edit_alert(c, 1, |a| {
                if let Channel::Smtp { password, .. } = &mut a.channel {
                    *password = new;
                }
            });
        })
    };
    assert_eq!(password(Some("correct horse")), ["~ alert \"ops\": smtp_password (changed)"]);
    assert_eq!(password(None), ["~ alert \"ops\": smtp_password (removed)"]);
    assert_eq!(password(Some("hunter2")), [""; 0]);
    let webhook = lines(|c| {
        edit_alert(c, 2, |a| {
            a.channel = Channel::Discord { webhook: Secret::new("https://b.example/x") };
            a.body_template = Some("a\nb".to_owned());
            a.subject_template = Some("bell \u{7}".to_owned());
        });
    });
    assert_eq!(
        webhook,
        [
            "~ alert \"chat\": discord_webhook (changed), subject_template (none) -> \"bell \\u{7}\", body_template (set)"
        ]
    );
}

#[test]
fn nothing_that_breaks_a_line_or_shows_a_secret_gets_into_one() {
    for seed in 0..200 {
        let mut rng = crate::base::rng::Rng::new(seed);
        let (a, b) = (samples::random(&mut rng), samples::random(&mut rng));
        for line in differences(&a, &b).iter().map(ToString::to_string) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.contains("a.example/"), "{line}");
        }
        assert_eq!(differences(&a, &a), []);
    }
}

#[test]
fn the_written_form_of_edits_is_this_one() {
    let edits = [
        Edit::Check { before: None, after: Some(samples::check(2, "db")) },
        Edit::RemovePeer { id: node(3) },
        Edit::PeerAddress { id: node(2), before: "a:1".parse().unwrap(), after: "b:1".parse().unwrap() },
    ];
    let json = serde_json::to_string(&edits).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"[{"check":{"before":null,"after":{"id":"00000002-0000-4000-8000-000000000000","name":"db","#,
            r#""target":{"type":"tcp","to":"db.example.com:5432"},"interval":"30s","timeout":"10s"}}},"#,
            r#"{"remove_peer":{"id":"00000003-0000-4000-8000-000000000000"}},"#,
            r#"{"peer_address":{"id":"00000002-0000-4000-8000-000000000000","before":"a:1","after":"b:1"}}]"#
        )
    );
    assert_eq!(serde_json::from_str::<Vec<Edit>>(&json).unwrap(), edits);
}
