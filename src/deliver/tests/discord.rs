use serde_json::Value;

use super::*;

fn mood(answer: Answer) -> WebhookMood {
    WebhookMood::Answer(answer)
}

#[test]
fn a_post_is_json_that_pings_nobody() {
    let (world, sink) = (World::new(), WebhookSink::start().unwrap());
    let mut told = facts(1, Kind::Down);
    "@everyone <@123> **db**".clone_into(&mut told.check_name);
    "status 500: @here".clone_into(&mut told.detail);
    world.offer_facts(&webhook_alert(1, &sink), 1, told);
    assert_eq!(world.end(), (1, None));
    let posts = sink.wait(1, LIMIT);
    assert_eq!(posts[0].path, "/api/webhooks/1/very-secret-token");
    assert_eq!(posts[0].header("content-type"), Some("application/json"));
    assert!(posts[0].header("user-agent").unwrap().starts_with("quptime/"));
    let json: Value = serde_json::from_str(&posts[0].body).unwrap();
    assert_eq!(json["allowed_mentions"]["parse"], serde_json::json!([]));
    let content = json["content"].as_str().unwrap();
    for ping in ["@everyone", "@here", "<@"] {
        assert!(!content.contains(ping), "{content}");
    }
    assert!(content.contains("status 500"));
}

#[test]
fn two_thousand_characters_are_never_exceeded() {
    let (world, sink) = (World::new(), WebhookSink::start().unwrap());
    let mut told = facts(1, Kind::Down);
    told.detail = "\u{1f525}*".repeat(3000);
    told.reports = vec![told.reports[0].clone(); 100];
    let templated = Alert {
        body_template: Some("{{ detail }}{{ body }}".to_owned()),
        ..(*webhook_alert(2, &sink)).clone()
    };
    for (index, alert) in [(1, webhook_alert(1, &sink)), (2, Arc::new(templated))] {
        world.offer_facts(&alert, index, told.clone());
        assert_eq!(world.end(), (index, None));
    }
    for post in sink.wait(2, LIMIT) {
        let json: Value = serde_json::from_str(&post.body).unwrap();
        let units = json["content"].as_str().unwrap().encode_utf16().count();
        assert!((1500..=2000).contains(&units), "{units}");
    }
}

#[test]
fn a_rate_limit_is_obeyed_to_the_moment() {
    let (world, sink) = (World::new(), WebhookSink::start().unwrap());
    sink.script(vec![
        mood(
            Answer::status(429)
                .with("Retry-After", "1")
                .saying(r#"{"retry_after": 0.3, "message": "slow down"}"#),
        ),
        mood(Answer::status(500)),
        mood(Answer::status(204).with("X-RateLimit-Remaining", "0").with("X-RateLimit-Reset-After", "0.7")),
    ]);
    let alert = webhook_alert(1, &sink);
    let begun = world.clock.mono();
    world.offer(&alert, 1, Kind::Down);
    world.offer(&alert, 2, Kind::Recovered);
    until("the first answer", || world.status(&alert).last_error.is_some());
    let status = world.status(&alert);
    assert_eq!((status.queued, status.last_error.unwrap().1.as_str()), (2, "status 429: slow down"));
    assert!(status.next_try.is_some());
    assert_eq!(world.end(), (1, None));
    assert!(world.clock.mono().since(begun) >= 1000 * MS, "the longer of the two requests");
    let first = world.clock.mono();
    assert_eq!(world.end(), (2, None));
    assert!(world.clock.mono().since(first) >= 600 * MS, "the quota was used up");
    assert_eq!(sink.posts().iter().map(|p| p.answer).collect::<Vec<_>>(), [429, 500, 204, 204]);
}

#[test]
fn final_statuses_end_the_message_without_telling_the_path() {
    let (world, sink) = (World::new(), WebhookSink::start().unwrap());
    let alert = webhook_alert(1, &sink);
    for (index, status) in [(1, 400), (2, 401), (3, 403), (4, 404)] {
        let said = r#"{"message": "no route /api/webhooks/1/very-secret-token\u001b[31m"}"#;
        sink.script(vec![mood(Answer::status(status).saying(said))]);
        world.offer(&alert, index, Kind::Down);
        let (ended, why) = world.end();
        let why = why.unwrap();
        assert_eq!(ended, index);
        assert!(why.starts_with(&format!("status {status}: ")), "{why}");
        assert!(!why.contains("very-secret") && !why.contains('\u{1b}'), "{why}");
    }
}

#[test]
fn a_redirect_leads_nowhere_and_a_cut_connection_is_tried_again() {
    let (world, sink, elsewhere) =
        (World::new(), WebhookSink::start().unwrap(), WebhookSink::start().unwrap());
    let there = format!("http://{}/", elsewhere.addr());
    sink.script(vec![mood(Answer::status(307).with("Location", &there)), WebhookMood::Vanish]);
    let alert = webhook_alert(1, &sink);
    world.offer(&alert, 1, Kind::Down);
    assert_eq!(world.end(), (1, None));
    assert_eq!(sink.posts().iter().map(|p| p.answer).collect::<Vec<_>>(), [307, 0, 204]);
    assert!(elsewhere.posts().is_empty());
}

#[test]
fn https_is_verified_against_known_authorities() {
    let authority = TestAuthority::new().unwrap();
    let config = authority.server(&["127.0.0.1"]).unwrap();
    let sink = WebhookSink::start_on("127.0.0.1:0".parse().unwrap(), Some(config), None).unwrap();
    let secret = format!("https://{}/api/webhooks/1/very-secret-token", sink.addr());
    let alert = alert(1, Channel::Discord { webhook: Secret::new(secret) });
    let why = World::new().test(&alert, Kind::TestDown).unwrap_err();
    assert!(why.contains("UnknownIssuer") && !why.contains("very-secret"), "{why}");
    assert!(sink.posts().is_empty());
    let trusting = World::with(quick(), Some(authority.ca_pem()));
    assert_eq!(trusting.test(&alert, Kind::TestDown), Ok(None));
    assert_eq!(sink.posts().len(), 1);
}

#[test]
fn what_cannot_be_reached_is_told_without_the_path() {
    let addr = WebhookSink::start().unwrap().addr();
    let world = World::new();
    for url in [
        format!("http://{addr}/very-secret-token"),
        "http://no-such-host.invalid/very-secret-token".to_owned(),
    ] {
        let alert = alert(1, Channel::Discord { webhook: Secret::new(url) });
        let why = world.test(&alert, Kind::TestDown).unwrap_err();
        assert!(why.starts_with("post to ") && !why.contains("very-secret"), "{why}");
    }
    let alert = alert(1, Channel::Discord { webhook: Secret::new("very-secret-token") });
    assert_eq!(world.test(&alert, Kind::TestDown), Err("the webhook is not a URL".to_owned()));
}
