use super::super::samples;
use super::super::write::to_yaml;
use super::*;
use crate::base::rng::Rng;

fn no_ids() -> u128 {
    panic!("nothing here is new")
}

fn read(text: &str) -> Result<Cluster, YamlError> {
    from_yaml("cluster.yaml", text, &mut no_ids)
}

/// The small configuration with one line of its file replaced (or, by nothing, removed).
fn with(line: &str, by: &str) -> String {
    let text = to_yaml(&samples::cluster());
    assert_eq!(text.matches(line).count(), 1, "{line:?} in\n{text}");
    text.replace(line, by)
}

const WRITTEN: &str = r#"# Configuration of the cluster, written by qu on every node.
# Hand edits are welcome, on any node: save the file, and qu checks all of it and commits the
# change within 2 s, or says in its log why not. Comments are not kept. Do not change cluster_id,
# version, updated_at, updated_by, cert_pem or the last line. What may be here: quptime.yaml(5)
cluster_id: 00000007-0000-4000-8000-000000000000
version: 4
updated_at: 2026-05-12T15:01:32Z
updated_by: 00000001-0000-4000-8000-000000000000
settings:
  heartbeat: 1s
  dead_after: 4s
  master_cooldown: 2m
  hysteresis: 2
peers:
  - node_id: 00000001-0000-4000-8000-000000000000
    advertise: node1.example.com:9901
    fingerprint: SHA256:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE
    cert_pem: |
      -----BEGIN CERTIFICATE-----
      MIIB
      -----END CERTIFICATE-----
checks:
  - id: 00000002-0000-4000-8000-000000000000
    name: db
    type: tcp
    target: db.example.com:5432
    interval: 30s
    timeout: 10s
    suppress_alert_ids:
      - 00000002-0000-4000-8000-000000000000  # chat
  - id: 00000001-0000-4000-8000-000000000000
    name: web
    type: http
    target: https://www.example.com/?a=1&b=*
    interval: 30s
    timeout: 10s
    expect_status: 200
    alert_ids:
      - 00000001-0000-4000-8000-000000000000  # ops
alerts:
  - id: 00000002-0000-4000-8000-000000000000
    name: chat
    type: discord
    default: false
    discord_webhook: https://discord.example.com/api/webhooks/1/t0ps3cret
  - id: 00000001-0000-4000-8000-000000000000
    name: ops
    type: smtp
    default: true
    smtp_host: mail.example.com
    smtp_port: 587
    smtp_user: qu
    smtp_password: hunter2
    smtp_from: qu@example.com
    smtp_to:
      - ops@example.com
    smtp_starttls: true
    smtp_tls: false
# end
"#;

#[test]
fn the_written_file_is_this_one() {
    let mut cluster = samples::cluster();
    cluster.peers.retain(|id, _| *id == samples::node(1));
    assert_eq!(to_yaml(&cluster), WRITTEN);
    assert_eq!(read(WRITTEN).unwrap(), cluster);
}

#[test]
fn every_configuration_comes_back_as_it_was_and_gives_the_same_bytes() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut cluster = samples::random(&mut rng);
        // What breaks a rule is never committed, so it is never written.
        cluster.checks.retain(|_, c| c.fault().is_none());
        cluster.alerts.values().for_each(|a| assert_eq!(a.fault(), None, "seed {seed}"));
        let text = to_yaml(&cluster);
        let back = read(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(back, cluster, "seed {seed}\n{text}");
        assert_eq!(to_yaml(&back), text, "seed {seed}");
    }
}

#[test]
fn every_text_comes_back_letter_by_letter() {
    let mut rng = Rng::new(1);
    for round in 0..20 {
        let mut cluster = samples::cluster();
        for n in 10..160 {
            let body_template = Some(samples::random_text(&mut rng, 9));
            let alert = Alert { body_template, ..samples::discord(n, &format!("alert {n}")) };
            cluster.alerts.insert(alert.id, Arc::new(alert));
        }
        let written = to_yaml(&cluster);
        let back = read(&written).unwrap_or_else(|e| panic!("round {round}: {e}\n{written}"));
        for (id, alert) in &cluster.alerts {
            assert_eq!(back.alerts.get(id), Some(alert), "round {round}");
        }
    }
}

#[test]
fn every_cut_of_a_written_file_is_refused() {
    let text = to_yaml(&samples::cluster());
    for end in (0..text.len() - 1).filter(|n| text.is_char_boundary(*n)) {
        assert!(read(&text[..end]).is_err(), "cut after {end} bytes:\n{}", &text[..end]);
    }
    let cut = text.split_inclusive('\n').take(54).collect::<String>();
    assert_eq!(
        read(&cut).unwrap_err().to_string(),
        "cluster.yaml:54:1: the line \"# end\" is missing: the file was cut short; restore the rest, or add that line"
    );
}

#[test]
fn what_a_person_leaves_out_is_filled_in() {
    let text = with("checks:\n", "checks:\n  - {name: new, type: http, target: 'http://a.example', interval: 5s, alert_ids: [ops, chat]}\n")
        .replace("alerts:\n", "alerts:\n  - {name: mail, type: smtp, smtp_host: m.example, smtp_from: a@b, smtp_to: [c@d]}\n")
        .replace("    timeout: 10s\n    expect_status: 200\n", "");
    let mut next = 100_u128;
    let mut ids = || {
        next += 1;
        next << 96
    };
    let cluster = from_yaml("cluster.yaml", &text, &mut ids).unwrap();
    let new = cluster.checks.values().find(|c| c.name.as_str() == "new").unwrap();
    assert_eq!(new.id, samples::check_id(102));
    assert_eq!(new.target.address(), "http://a.example");
    assert!(matches!(new.target, Target::Http { expect_status: 200, body_match: None, .. }));
    assert_eq!((new.interval.to_string(), new.timeout.to_string()), ("5s".into(), "5s".into()));
    assert_eq!(new.alert_ids, [samples::alert_id(1), samples::alert_id(2)].into());
    assert!(new.enabled);
    let mail = cluster.alerts.get(&samples::alert_id(101)).unwrap();
    assert!(matches!(mail.channel, Channel::Smtp { port: 587, tls: MailTls::StartTls, .. }));
    let web = cluster.checks.get(&samples::check_id(1)).unwrap();
    assert_eq!(web.timeout.to_string(), "10s");
}

#[test]
fn protection_of_mail_follows_from_what_is_given_and_is_never_none_by_omission() {
    let lines = "    smtp_port: 587\n    smtp_user: qu\n    smtp_password: hunter2\n    smtp_from: qu@example.com\n    smtp_to:\n      - ops@example.com\n    smtp_starttls: true\n    smtp_tls: false\n";
    for (given, port, tls) in [
        ("", 587, MailTls::StartTls),
        ("    smtp_port: 2525\n", 2525, MailTls::StartTls),
        ("    smtp_port: 465\n", 465, MailTls::Implicit),
        ("    smtp_port: 465\n    smtp_starttls: false\n", 465, MailTls::Implicit),
        ("    smtp_tls: true\n", 465, MailTls::Implicit),
        ("    smtp_starttls: false\n", 25, MailTls::Plain),
        ("    smtp_port: 465\n    smtp_starttls: false\n    smtp_tls: false\n", 465, MailTls::Plain),
    ] {
        let text = with(lines, &format!("    smtp_from: a@b\n    smtp_to: [c@d]\n{given}"));
        let cluster = read(&text).unwrap();
        match &cluster.alerts.get(&samples::alert_id(1)).unwrap().channel {
            Channel::Smtp { port: p, tls: t, .. } => assert_eq!((*p, *t), (port, tls), "{given}"),
            Channel::Discord { .. } => panic!("{given}"),
        }
    }
}

/// A line of the small configuration, what stands there in its place, and what is said.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("version: 4\n", "", "5:1: missing field \"version\""),
    ("version: 4", "version: -1", "6:10: \"version\": \"-1\" is not a number from 0 to 18446744073709551615"),
    ("version: 4", "version:", "6:1: \"version\" has no value"),
    (
        "updated_at: 2026-05-12T15:01:32Z",
        "updated_at: yesterday",
        "7:13: \"updated_at\": \"yesterday\" is not a time like 2026-05-12T15:01:32Z",
    ),
    ("  heartbeat: 1s\n", "", "10:3: missing field \"heartbeat\" in settings"),
    (
        "  heartbeat: 1s",
        "  heartbeat: 0s",
        "10:14: \"heartbeat\" in settings: duration \"0s\" must be greater than zero",
    ),
    (
        "  dead_after: 4s",
        "  dead_after: 2s",
        "11:15: \"dead_after\" in settings: 2s must be at least three heartbeats (3s)",
    ),
    (
        "  hysteresis: 2",
        "  hysteresis: [2]",
        "13:15: \"hysteresis\" in settings must be a single value, not a list or fields",
    ),
    (
        "    advertise: node2.example.com:9901",
        "    advertise: node2",
        "23:16: \"advertise\" in peer 00000002-0000-4000-8000-000000000000: \"node2\" has no port (want host:port; an IPv6 address in brackets)",
    ),
    (
        "    name: web\n",
        "    name: web\n    body_regex: a\n",
        "47:5: unknown field \"body_regex\" in check \"web\"; written by a newer qu? upgrade this node, or remove the field",
    ),
    (
        "    name: web\n",
        "    name: db\n",
        "46:11: \"name\" in check \"db\": \"db\" is taken by check \"db\" in line 37",
    ),
    (
        "    name: web\n",
        "    name: a,b\n",
        "46:11: \"name\" in check \"a,b\": \"a,b\" is not a name (1 to 100 characters, no comma, no control characters, no blank at the ends)",
    ),
    ("    name: web\n", "", "45:5: missing field \"name\" in check 00000001-0000-4000-8000-000000000000"),
    (
        "    type: http",
        "    type: ftp",
        "47:11: \"type\" in check \"web\": \"ftp\" is not a type of check (want http, tcp or icmp)",
    ),
    (
        "    type: http",
        "    type: tcp",
        "51:5: \"expect_status\" in check \"web\" does not apply to a check of type tcp; remove it",
    ),
    (
        "    target: https://www.example.com/?a=1&b=*",
        "    target: not a url",
        "48:13: \"target\" in check \"web\": \"not a url\" is not a URL to watch (want http:// or https://)",
    ),
    (
        "    target: db.example.com:5432",
        "    target: db.example.com",
        "40:13: \"target\" in check \"db\": \"db.example.com\" has no port (want host:port; an IPv6 address in brackets)",
    ),
    (
        "    expect_status: 200",
        "    expect_status: 99",
        "51:20: \"expect_status\" in check \"web\": expected status 99 is out of range (100 to 599, 0 for any 2xx)",
    ),
    (
        "    expect_status: 200",
        "    expect_status: 0x1f",
        "51:20: \"expect_status\" in check \"web\": \"0x1f\" is not a number from 0 to 599",
    ),
    (
        "    timeout: 10s\n    expect_status",
        "    timeout: 31s\n    expect_status",
        "50:14: \"timeout\" in check \"web\": timeout 31s is longer than the interval 30s",
    ),
    (
        "    interval: 30s\n    timeout: 10s\n    expect_status",
        "    interval: 1ms\n    expect_status",
        "49:15: \"interval\" in check \"web\": interval 1ms is too short (1s at least)",
    ),
    (
        "    alert_ids:\n      - 00000001-0000-4000-8000-000000000000  # ops",
        "    alert_ids: [ops, nobody]",
        "52:22: \"alert_ids\" in check \"web\": there is no alert \"nobody\"; add it, or remove it here",
    ),
    (
        "    alert_ids:\n      - 00000001-0000-4000-8000-000000000000  # ops",
        "    alert_ids: ops",
        "52:16: \"alert_ids\" in check \"web\" must be a list, like [one, two]",
    ),
    (
        "    name: chat\n",
        "    name: chat\n    smtp_host: a\n",
        "57:5: \"smtp_host\" in alert \"chat\" does not apply to an alert of type discord; remove it",
    ),
    (
        "    name: ops\n",
        "    name: chat\n",
        "61:11: \"name\" in alert \"chat\": \"chat\" is taken by alert \"chat\" in line 55",
    ),
    (
        "    default: true",
        "    default: maybe",
        "63:14: \"default\" in alert \"ops\": \"maybe\" is neither true nor false",
    ),
    (
        "    smtp_port: 587",
        "    smtp_port: 65536",
        "65:16: \"smtp_port\" in alert \"ops\": \"65536\" is not a number from 1 to 65535",
    ),
    ("    smtp_user: qu\n", "", "66:20: \"smtp_password\" in alert \"ops\": a password needs a user"),
    (
        "      - ops@example.com",
        "      - ops",
        "70:9: \"smtp_to\" in alert \"ops\": \"ops\" is not a mail address",
    ),
    (
        "    smtp_tls: false",
        "    smtp_tls: true",
        "72:5: \"smtp_tls\" in alert \"ops\" and \"smtp_starttls\" exclude each other; set one to false",
    ),
    (
        "    smtp_tls: false",
        "    smtp_headers: ['Subject: x']",
        "72:20: \"smtp_headers\" in alert \"ops\": \"Subject: x\" is not a mail header (this field is written by qu itself)",
    ),
    (
        "    smtp_tls: false",
        "    smtp_ca_pem: x",
        "72:18: \"smtp_ca_pem\" in alert \"ops\": there is no certificate (PEM) in it",
    ),
    (
        "    smtp_tls: false",
        "    remind: 5",
        "72:13: \"remind\" in alert \"ops\": \"5\" is not a duration (examples: 500ms, 30s, 1m30s, 2h)",
    ),
    ("checks:\n", "checks: &all\n", "36:9: an anchor (&) is not allowed here; remove it, or quote the value"),
    (
        "alerts:\n",
        "more:\n",
        "54:1: unknown field \"more\"; written by a newer qu? upgrade this node, or remove the field",
    ),
];

#[test]
fn mistakes_are_told_with_line_column_and_item() {
    for (line, by, want) in MISTAKES {
        let error = read(&with(line, by)).unwrap_err().to_string();
        assert_eq!(error, format!("cluster.yaml:{want}"), "{line:?} -> {by:?}");
    }
    let long = format!("    body_match: {}\n", "x".repeat(5000));
    assert_eq!(
        read(&with("    expect_status: 200\n", &long)).unwrap_err().to_string(),
        "cluster.yaml:51:17: \"body_match\" in check \"web\": body match must have 1 to 4096 bytes"
    );
}

#[test]
fn two_items_with_one_id_are_refused_in_every_list() {
    let twice = |id: &str, nth: usize, by: &str| {
        let text = to_yaml(&samples::cluster());
        let at = text.match_indices(id).nth(nth).unwrap().0;
        format!("{}{by}{}", &text[..at], &text[at + id.len()..])
    };
    let one = "00000001-0000-4000-8000-000000000000";
    let error = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        error(&twice("node_id: 00000002", 0, "node_id: 00000001")),
        format!("cluster.yaml:22:14: \"node_id\" in peer {one}: \"{one}\" is taken by peer {one} in line 15")
    );
    assert_eq!(
        error(&twice("id: 00000002", 1, "id: 00000001")),
        format!("cluster.yaml:45:9: \"id\" in check \"web\": \"{one}\" is taken by check \"db\" in line 37")
    );
}

#[test]
fn no_error_shows_a_secret() {
    let secrets = ["hunter2", "t0ps3cret"];
    for (line, by) in [
        ("    smtp_password: hunter2", "    smtp_password: [hunter2]"),
        ("    smtp_password: hunter2", "    smtp_password: {hunter2: hunter2}"),
        ("    smtp_password: hunter2", "    smtp_password: \"hunter2\\n\""),
        ("    smtp_password: hunter2", "    smtp_password: hunter2\n    smtp_password: hunter2"),
        ("    smtp_password: hunter2", "    smtp_password: \"hunter2"),
        ("    smtp_password: hunter2", "    smtp_password: hunter2: x"),
        ("    smtp_user: qu\n", ""),
        ("    name: ops\n", "    name: chat\n"),
        ("webhook: https://discord.example.com", "webhook: ftp://discord.example.com"),
        ("webhook: https://discord.example.com", "webhook: https://t0ps3cret@discord.example.com"),
        ("    type: discord", "    type: smtp"),
    ] {
        let error = read(&with(line, by)).unwrap_err().to_string();
        assert!(!secrets.iter().any(|s| error.contains(s)), "{error}");
    }
}

#[test]
fn damaged_files_are_refused_or_read_as_what_they_say_and_never_panic() {
    let written = to_yaml(&samples::cluster());
    let lines: Vec<&str> = written.split_inclusive('\n').collect();
    let (mut read_well, mut refused) = (0, 0);
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let mut text = written.clone();
        for _ in 0..=rng.below(3) {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let (a, b) = (*rng.pick(&places).unwrap(), *rng.pick(&places).unwrap());
            match rng.below(4) {
                0 => text.insert_str(a, &samples::random_text(&mut rng, 3)),
                1 => text = text.chars().take(a).chain(text.chars().skip(a + b % 9)).collect(),
                2 => text.insert_str(text[..a].rfind('\n').map_or(0, |n| n + 1), rng.pick(&lines).unwrap()),
                _ => text.insert_str(a, if rng.chance(500) { " " } else { "\n  - " }),
            }
        }
        match from_yaml("f", &text, &mut || 1) {
            Err(e) => {
                let shown = e.to_string();
                assert!(!shown.contains("hunter2") && !shown.contains('\n'), "{shown}");
                refused += 1;
            }
            Ok(cluster) => {
                assert_eq!(read(&to_yaml(&cluster)).as_ref(), Ok(&cluster), "seed {seed}\n{text}");
                read_well += 1;
            }
        }
    }
    assert!(read_well > 50 && refused > 500, "{read_well} {refused}");
}

#[test]
fn fifty_thousand_checks_are_read_as_they_were_written() {
    let mut cluster = samples::cluster();
    for n in 0..50_000 {
        let check =
            Check { alert_ids: [samples::alert_id(1)].into(), ..samples::web(1000 + n, &format!("web {n}")) };
        cluster.checks.insert(check.id, Arc::new(check));
    }
    assert_eq!(read(&to_yaml(&cluster)).unwrap(), cluster);
}
