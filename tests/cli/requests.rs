//! What commands ask the daemon for, and what they print of its answer.

use quptime::config::{Channel, MailTls, Target};
use quptime::control::Ask;
use quptime::control::edit::{AlertFields, CheckFields, Remind};
use quptime::control::message::TestState;
use quptime::state::command::Setting;

use super::fixture::{Daemon, picture};

/// Runs words that succeed; gives what they asked for last.
fn asked(daemon: &Daemon, words: &[&str]) -> Ask {
    let ran = daemon.qu(words);
    assert_eq!(ran.status, 0, "{words:?}: {}", ran.err);
    daemon.asked().pop().expect("something was asked")
}

#[test]
fn a_check_is_asked_for_as_it_was_typed_and_its_version_printed() {
    let daemon = Daemon::start("addcheck", picture::three());
    let words = ["check", "add", "http", "web", "https://a/", "--expect", "204", "--alerts", "ops,chat"];
    let ran = daemon.qu(&words);
    assert_eq!((ran.status, ran.out.as_str()), (0, "add http check \"web\", config version 5\n"));
    let Some(Ask::AddCheck { name, target, interval, timeout, alerts, .. }) = daemon.asked().pop() else {
        panic!("{:?}", daemon.asked())
    };
    assert_eq!((name.as_str(), interval, timeout), ("web", None, None));
    assert_eq!(alerts, ["ops", "chat"]);
    assert!(matches!(target, Target::Http { expect_status: 204, body_match: None, .. }));
    let json = daemon.qu(&[&words[..], &["--json"]].concat()).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!((&json["done"], &json["config_version"]), (&"add http check \"web\"".into(), &5.into()));
}

#[test]
fn deeds_name_items_as_they_were_typed() {
    let daemon = Daemon::start("deeds", picture::three());
    let who = || "web".to_owned();
    for (words, want) in [
        (&["check", "remove", "web"][..], Ask::RemoveCheck { who: who() }),
        (&["check", "enable", "web"], Ask::EnableCheck { who: who(), on: true }),
        (&["check", "disable", "web"], Ask::EnableCheck { who: who(), on: false }),
        (&["check", "test", "web"], Ask::TestCheck { who: who(), state: TestState::Down }),
        (
            &["check", "test", "web", "--state", "recovered"],
            Ask::TestCheck { who: who(), state: TestState::Recovered },
        ),
        (&["alert", "remove", "web"], Ask::RemoveAlert { who: who() }),
        (&["alert", "enable", "web"], Ask::EnableAlert { who: who(), on: true }),
        (&["alert", "disable", "web"], Ask::EnableAlert { who: who(), on: false }),
        (&["alert", "default", "web", "on"], Ask::DefaultAlert { who: who(), on: true }),
        (&["alert", "default", "web", "off"], Ask::DefaultAlert { who: who(), on: false }),
        (&["node", "remove", "web"], Ask::NodeRemove { who: who() }),
        (&["trust", "remove", "web"], Ask::TrustRemove { who: who() }),
        (&["cluster", "set", "hysteresis", "3"], Ask::ClusterSet(Setting::Hysteresis(3))),
        (
            &["cluster", "set", "dead-after", "6s"],
            Ask::ClusterSet(Setting::DeadAfter("6s".parse().expect("a duration"))),
        ),
        (
            &["check", "edit", "web", "--target", "b:2", "--alerts", ""],
            Ask::EditCheck {
                who: who(),
                fields: CheckFields {
                    target: Some("b:2".into()),
                    alerts: Some(Vec::new()),
                    ..CheckFields::default()
                },
            },
        ),
        (
            &["alert", "edit", "web", "--remind", "off", "--tls"],
            Ask::EditAlert {
                who: who(),
                fields: Box::new(AlertFields {
                    remind: Some(Remind::Off),
                    tls: Some(MailTls::Implicit),
                    ..AlertFields::default()
                }),
            },
        ),
        (
            &["silence", "web", "--for", "2h"],
            Ask::Silence {
                who: Some(who()),
                length: "2h".parse().expect("a duration"),
                reason: String::new(),
            },
        ),
        (
            &["silence", "all", "--for", "2h", "--reason", "new disk"],
            Ask::Silence { who: None, length: "2h".parse().expect("a duration"), reason: "new disk".into() },
        ),
        (&["silence", "end", "17"], Ask::SilenceEnd { id: "17".into() }),
        (
            &["incident", "list", "--check", "web", "--since", "7d", "--limit", "3"],
            Ask::IncidentList {
                check: Some(who()),
                since: Some("7d".parse().expect("a duration")),
                limit: Some(3),
            },
        ),
    ] {
        assert_eq!(asked(&daemon, words), want, "{words:?}");
    }
}

/// The protection and port of a mail alert that these flags make.
fn mail(daemon: &Daemon, flags: &[&str]) -> (u16, MailTls) {
    let base = ["alert", "add", "smtp", "ops", "--host", "m.example.com", "--from", "a@b", "--to", "c@d"];
    match asked(daemon, &[&base[..], flags].concat()) {
        Ask::AddAlert { channel: Channel::Smtp { port, tls, .. }, .. } => (port, tls),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mail_is_encrypted_unless_told_otherwise() {
    let daemon = Daemon::start("mail", picture::three());
    for (flags, want) in [
        (&[][..], (587, MailTls::StartTls)),
        (&["--starttls=true"], (587, MailTls::StartTls)),
        (&["--tls"], (465, MailTls::Implicit)),
        (&["--port", "465"], (465, MailTls::Implicit)),
        (&["--port", "465", "--starttls"], (465, MailTls::StartTls)),
        (&["--port", "25", "--starttls=false"], (25, MailTls::Plain)),
        (&["--port", "465", "--starttls=false", "--tls=false"], (465, MailTls::Plain)),
    ] {
        assert_eq!(mail(&daemon, flags), want, "{flags:?}");
    }
}

#[test]
fn a_secret_comes_from_a_file_or_standard_input_and_as_an_argument_with_a_warning() {
    let daemon = Daemon::start("secret", picture::three());
    let url = "https://discord.com/api/webhooks/1/hush";
    let file = daemon.dir().join("hook");
    std::fs::write(&file, format!("{url}\n")).expect("written");
    let webhook = |daemon: &Daemon| match daemon.asked().pop() {
        Some(Ask::AddAlert { channel: Channel::Discord { webhook }, .. }) => webhook.reveal().to_owned(),
        other => panic!("{other:?}"),
    };
    let path = file.to_str().expect("text");
    let ran = daemon.qu(&["alert", "add", "discord", "d", "--webhook-file", path]);
    assert_eq!((ran.status, ran.err.as_str(), webhook(&daemon).as_str()), (0, "", url));
    let ran = daemon.qu_fed(&["alert", "add", "discord", "d", "--webhook-file", "-"], url);
    assert_eq!((ran.status, ran.err.as_str(), webhook(&daemon).as_str()), (0, "", url));
    let ran = daemon.qu(&["alert", "add", "discord", "d", "--webhook", url]);
    assert_eq!((ran.status, webhook(&daemon).as_str()), (0, url));
    assert!(ran.err.starts_with("qu: warning: other users can read --webhook"), "{}", ran.err);
    assert!(!ran.err.contains("hush") && !ran.out.contains("hush"));
}

#[test]
fn a_node_is_added_once_its_key_is_trusted() {
    let daemon = Daemon::start("addnode", picture::three());
    let address = "gamma.example.com:9901";
    let key = picture::key(3);
    let met = format!("node        {}\naddress     {address}\nfingerprint {key}\n", picture::node(3));
    let key = key.to_string();
    for flags in [&["--yes"][..], &["-y"], &["--fingerprint", &key]] {
        let ran = daemon.qu(&[&["node", "add", address], flags].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{flags:?}");
        let done = format!("add node {} at {address}, config version 5\n", picture::node(3));
        assert_eq!(ran.out, format!("{met}{done}"), "{flags:?}");
        let want = Ask::NodeAdd {
            address: address.parse().expect("an address"),
            node: picture::node(3),
            fingerprint: picture::key(3),
        };
        assert_eq!(daemon.asked().pop(), Some(want));
    }
    // The usual port may be left out.
    assert_eq!(daemon.qu(&["node", "add", "gamma.example.com", "-y"]).status, 0);
}
