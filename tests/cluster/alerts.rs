//! Mails and posts, as they arrive at a real relay and a real webhook.

use std::path::Path;
use std::sync::Arc;

use quptime::config::MailTls;
use quptime::deliver::sink::{
    Answer, Post, ReceivedMail, SmtpMood, SmtpOptions, SmtpSink, TestAuthority, WebhookMood, WebhookSink,
};

use super::support::{Cluster, LIMIT, Node, Target, until};

const PASSWORD: &str = "hunter2-of-the-relay";
const HOOK: &str = "/api/webhooks/1/a-token-that-nobody-may-see";

fn mail_alert(node: &Node, name: &str, sink: &SmtpSink) {
    let port = sink.addr().port().to_string();
    let words = ["alert", "add", "smtp", name, "--host", "127.0.0.1", "--port", &port, "--starttls=false"];
    node.ok(&[&words[..], &["--from", "qu@example.com", "--to", "ops@example.com", "--default"]].concat());
}

fn chat_alert(node: &Node, name: &str, sink: &WebhookSink) {
    let url = format!("http://{}{HOOK}", sink.addr());
    let ran = node.run(&["alert", "add", "discord", name, "--webhook-file", "-", "--default"], Some(&url));
    assert_eq!(ran.status, 0, "{ran:?}");
}

fn subject(mail: &ReceivedMail) -> String {
    mail.header("Subject").unwrap_or_default()
}

#[track_caller]
fn mails(sink: &SmtpSink, count: usize) -> Vec<ReceivedMail> {
    let found = sink.wait(count, LIMIT);
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

fn content(post: &Post) -> String {
    let json: serde_json::Value = serde_json::from_str(&post.body).expect("json");
    json["content"].as_str().expect("content").to_owned()
}

/// Nothing that the nodes wrote or keep for everybody to read holds a secret.
fn no_secret_is_logged(cluster: &Cluster) {
    for node in &cluster.nodes {
        let log = node.log();
        for secret in [PASSWORD, "a-token-that-nobody-may-see", super::support::SECRET] {
            assert!(!log.contains(secret), "{}: {secret}", node.id);
        }
        for listing in [&["alert", "list"][..], &["alert", "list", "--json"], &["status", "--json"]] {
            let text = node.ok(listing);
            assert!(!text.contains(PASSWORD) && !text.contains("a-token-that-nobody-may-see"), "{text}");
        }
    }
}

#[test]
fn down_and_recovered_arrive_by_mail_and_post_with_what_happened() {
    let cluster = Cluster::of("texts", 3);
    let (mail, chat) =
        (SmtpSink::start(SmtpOptions::default()).expect("a sink"), WebhookSink::start().expect("a sink"));
    let mut target = Target::start();
    let first = &cluster.nodes[0];
    mail_alert(first, "mail", &mail);
    chat_alert(first, "chat", &chat);
    first.ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
    first.verdict("web", "up");
    assert!(mail.mails().is_empty() && chat.posts().is_empty(), "unknown to up is silent");

    target.down();
    let down = mails(&mail, 1).remove(0);
    assert_eq!(subject(&down), format!("[quptime] web DOWN - {}", target.url()));
    assert_eq!(
        (down.from.as_str(), down.to.as_slice()),
        ("qu@example.com", &["ops@example.com".to_owned()][..])
    );
    assert!(!down.encrypted);
    for line in ["state:      down", "previous:   up", "detail:     connect: connection refused"] {
        assert!(down.body().lines().any(|l| l == line), "{line}:\n{}", down.body());
    }
    for node in &cluster.nodes {
        let seen = |l: &str| l.contains(&node.address()) && l.contains("  fail  ");
        assert!(down.body().lines().filter(|l| seen(l)).count() <= 1, "{}", down.body());
    }
    let posts = chat.wait(1, LIMIT);
    assert!(content(&posts[0]).contains("web DOWN") && content(&posts[0]).contains("connection refused"));
    assert_eq!(posts[0].path.split('?').next(), Some(HOOK));

    target.up();
    let back = mails(&mail, 2).remove(1);
    assert_eq!(subject(&back), format!("[quptime] web RECOVERED - {}", target.url()));
    for line in ["state:      up", "previous:   down"] {
        assert!(back.body().lines().any(|l| l == line), "{line}:\n{}", back.body());
    }
    assert!(back.body().lines().any(|l| l.starts_with("down for:")), "{}", back.body());
    assert_eq!(back.header("In-Reply-To"), down.header("Message-ID"));
    assert_ne!(back.header("Message-ID"), down.header("Message-ID"));
    assert!(content(&chat.wait(2, LIMIT)[1]).contains("web RECOVERED"));

    for node in &cluster.nodes {
        let incidents = until("the incident is over on every node", || {
            let text = node.ok(&["incident", "list", "--json"]);
            let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("json");
            all.iter().all(|i| i["end"] == "recovered").then_some(all)
        });
        assert_eq!(incidents.len(), 1, "{incidents:?}");
        assert_eq!(incidents[0]["down_seen"].as_array().map(Vec::len), Some(3), "{incidents:?}");
    }
    no_secret_is_logged(&cluster);
}

#[test]
fn a_relay_with_starttls_login_and_a_private_authority_is_used_and_an_unknown_one_is_not() {
    let cluster = Cluster::of("starttls", 1);
    let authority = TestAuthority::new().expect("an authority");
    let config = authority.server(&["localhost", "127.0.0.1"]).expect("a certificate");
    let relay = |login| {
        let tls = Some((MailTls::StartTls, Arc::clone(&config)));
        SmtpSink::start(SmtpOptions { tls, login, ..SmtpOptions::default() }).expect("a sink")
    };
    let sink = relay(Some(("PLAIN LOGIN", "qu".to_owned(), PASSWORD.to_owned())));
    let ca = cluster.home.path().join("ca.pem");
    std::fs::write(&ca, authority.ca_pem()).expect("written");
    let node = &cluster.nodes[0];
    let add = |name: &str, ca: Option<&Path>, password: &str| {
        let port = sink.addr().port().to_string();
        let mut words = vec!["alert", "add", "smtp", name, "--host", "localhost", "--port", &port];
        words.extend(["--from", "qu@example.com", "--to", "ops@example.com", "--user", "qu"]);
        words.extend(["--password-file", "-"]);
        if let Some(ca) = ca {
            words.extend(["--ca-file", ca.to_str().expect("text")]);
        }
        let ran = node.run(&words, Some(password));
        assert_eq!(ran.status, 0, "{ran:?}");
    };
    add("good", Some(&ca), PASSWORD);
    add("stranger", None, PASSWORD);
    add("locked", Some(&ca), "not-the-password");

    node.ok(&["alert", "test", "good"]);
    let arrived = mails(&sink, 1).remove(0);
    assert!(arrived.encrypted && subject(&arrived).starts_with("[quptime] [TEST] "), "{arrived:?}");
    assert_eq!(arrived.login.map(|(user, _)| user).as_deref(), Some("qu"));
    let said = node.refused(&["alert", "test", "stranger"], 1);
    assert!(said.contains("certificate"), "{said}");
    let said = node.refused(&["alert", "test", "locked"], 1);
    assert!(said.contains("535") && !said.contains("not-the-password"), "{said}");
    assert_eq!(sink.mails().len(), 1);
    no_secret_is_logged(&cluster);
}

#[test]
fn a_destination_that_says_nothing_delays_no_other() {
    let cluster = Cluster::of("silent", 1);
    let (mail, chat) =
        (SmtpSink::start(SmtpOptions::default()).expect("a sink"), WebhookSink::start().expect("a sink"));
    chat.set_mood(WebhookMood::Silent);
    let mut target = Target::start();
    let node = &cluster.nodes[0];
    mail_alert(node, "mail", &mail);
    chat_alert(node, "chat", &chat);
    node.ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
    node.verdict("web", "up");
    target.down();
    until("the mail arrives", || (mail.mails().len() == 1).then_some(()));
    target.up();
    until("the next too", || (mail.mails().len() == 2).then_some(()));
    assert!(chat.posts().is_empty());
}

#[test]
fn what_the_dead_master_did_not_deliver_the_new_one_does_once() {
    let mut cluster = Cluster::of("inherit", 3);
    let (mail, chat) =
        (SmtpSink::start(SmtpOptions::default()).expect("a sink"), WebhookSink::start().expect("a sink"));
    let mut target = Target::start();
    mail_alert(&cluster.nodes[0], "mail", &mail);
    chat_alert(&cluster.nodes[0], "chat", &chat);
    cluster.nodes[0].ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
    let master = cluster.master();
    cluster.nodes[(master + 1) % 3].verdict("web", "up");
    mail.set_mood(SmtpMood::Refuse(451));
    chat.set_mood(WebhookMood::Answer(Answer::status(503)));
    target.down();
    until("both were tried", || (!mail.mails().is_empty() && !chat.posts().is_empty()).then_some(()));
    cluster.nodes[master].kill();
    mail.set_mood(SmtpMood::Accept);
    chat.set_mood(WebhookMood::Answer(Answer::status(204)));
    let accepted = || mail.mails().into_iter().filter(|m| m.answer == 250).collect::<Vec<_>>();
    until("the mail was accepted", || (accepted().len() == 1).then_some(()));
    until("the post was", || chat.posts().iter().any(|p| p.answer == 204).then_some(()));
    target.up();
    until("the recovery too", || (accepted().len() == 2).then_some(()));
    let subjects: Vec<String> = accepted().iter().map(subject).collect();
    assert!(subjects[0].contains("web DOWN") && subjects[1].contains("web RECOVERED"), "{subjects:?}");
    let refused = mail.mails().remove(0);
    assert_eq!(refused.header("Message-ID"), accepted()[0].header("Message-ID"));
    until("the post of the recovery", || {
        let done: Vec<_> = chat.posts().into_iter().filter(|p| p.answer == 204).collect();
        (done.len() == 2 && content(&done[1]).contains("RECOVERED")).then_some(())
    });
    let other = &cluster.nodes[(master + 1) % 3];
    until("nothing is owed any more", || {
        let view = other.view()?;
        view["alerts"].as_array()?.iter().all(|a| a["queue"] == 0).then_some(())
    });
}
