//! Who is told what, when something is set: silences, reminders, routes, switches, templates, tests,
//! and what `qu alert list` says of destinations. One node each: it is its own master throughout.
//!
//! That something was *not* sent is seen from what is sent next: a destination gets its messages in
//! order.

use std::fs;

use quptime::deliver::sink::{ReceivedMail, SmtpMood, SmtpOptions, SmtpSink};
use serde_json::Value;

use super::alerts::{listed, mail_alert, subject};
use super::support::{Cluster, Node, Target, until};

/// A cluster of one that watches one target and mails.
struct Bench {
    cluster: Cluster,
    mail: SmtpSink,
    target: Target,
    /// How many mails were looked at.
    read: usize,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let cluster = Cluster::of(name, 1);
        let (mail, target) = (SmtpSink::start(SmtpOptions::default()).expect("a sink"), Target::start());
        let bench = Bench { cluster, mail, target, read: 0 };
        mail_alert(bench.node(), "mail", &bench.mail);
        bench.node().ok(&["check", "add", "http", "web", &bench.target.url(), "--interval", "1s"]);
        bench.node().verdict("web", "up");
        bench
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// The target falls, and that is committed; or rises.
    #[track_caller]
    fn turn(&mut self, state: &str) {
        if state == "down" {
            self.target.down()
        } else {
            self.target.up()
        }
        self.node().verdict("web", state);
    }

    /// The next mail that was accepted; its subject is of this event.
    #[track_caller]
    fn next(&mut self, event: &str) -> ReceivedMail {
        let accepted = || self.mail.mails().into_iter().filter(|m| m.answer == 250).nth(self.read);
        let mail = until(&format!("a mail: {event}"), accepted);
        assert!(subject(&mail).contains(&format!(" {event} ")), "{event}: {}", subject(&mail));
        self.read += 1;
        mail
    }
}

#[test]
fn a_silence_holds_messages_back_and_its_end_tells_what_is_still_so() {
    let mut bench = Bench::new("silence");
    let said = bench.node().ok(&["silence", "web", "--for", "1h", "--reason", "new disk"]);
    assert!(said.contains("\"web\""), "{said}");
    bench.turn("down");
    bench.turn("up");
    bench.turn("down");
    let incidents = bench.node().ok(&["incident", "list", "--json"]);
    let incidents: Vec<Value> = serde_json::from_str(&incidents).expect("json");
    assert_eq!(incidents.len(), 2, "verdicts and incidents go on");
    assert_eq!(listed(bench.node(), "mail")["queue"], 0, "nothing is owed");

    let shown = bench.node().ok(&["silence", "list"]);
    assert!(shown.lines().any(|l| l.contains(" web ") && l.contains("new disk")), "{shown}");
    let all: Vec<Value> =
        serde_json::from_str(&bench.node().ok(&["silence", "list", "--json"])).expect("json");
    let id = all[0]["id"].as_str().expect("an id").to_owned();
    bench.node().ok(&["silence", "end", &id]);
    let down = bench.next("DOWN");
    assert!(down.body().contains(incidents[0]["id"].as_str().expect("an id")), "the one that lasts");
    bench.turn("up");
    assert_eq!(bench.next("RECOVERED").header("In-Reply-To"), down.header("Message-ID"));
    assert_eq!(bench.node().ok(&["silence", "list", "--json"]).trim(), "[]");
    bench.node().refused(&["silence", "end", &id], 1);

    // One that ends by itself, over all checks: whether the fall comes before its end or after it,
    // it is told once.
    bench.node().ok(&["silence", "all", "--for", "4s"]);
    bench.turn("down");
    bench.next("DOWN");
    until("it is over", || (bench.node().ok(&["silence", "list", "--json"]).trim() == "[]").then_some(()));
    bench.turn("up");
    bench.next("RECOVERED");
}

#[test]
fn down_is_repeated_while_it_lasts_when_that_was_asked_for() {
    let mut bench = Bench::new("remind");
    bench.node().ok(&["alert", "edit", "mail", "--remind", "1s"]);
    bench.turn("down");
    let down = bench.next("DOWN");
    assert!(!subject(&down).contains("still"));
    for _ in 0..2 {
        let again = bench.next("DOWN");
        assert!(subject(&again).contains("still DOWN"), "{}", subject(&again));
        assert_eq!(again.header("In-Reply-To"), down.header("Message-ID"));
        assert_ne!(again.header("Message-ID"), down.header("Message-ID"));
    }
    bench.node().ok(&["alert", "edit", "mail", "--remind", "off"]);
    let shown = listed(bench.node(), "mail");
    assert!(shown["remind"].is_null(), "{shown}");
    bench.turn("up");
    let back =
        until("the recovery", || bench.mail.mails().into_iter().find(|m| subject(m).contains("RECOVERED")));
    assert_eq!(back.header("In-Reply-To"), down.header("Message-ID"));
    let last = bench.mail.mails().pop().expect("one");
    assert!(subject(&last).contains("RECOVERED"), "nothing is repeated after it");
}

#[test]
fn routes_and_switches_say_who_is_told() {
    let mut bench = Bench::new("routes");
    let routed = |bench: &Bench| bench.node().check("web").map(|c| c["alerts"].clone());
    assert_eq!(routed(&bench), Some(serde_json::json!(["mail"])));
    // In three ways nobody is told; each time it falls and rises unheard.
    let off_and_on: [[&[&str]; 2]; 3] = [
        [&["alert", "disable", "mail"], &["alert", "enable", "mail"]],
        [&["alert", "default", "mail", "off"], &["alert", "default", "mail", "on"]],
        [&["check", "edit", "web", "--suppress", "mail"], &["check", "edit", "web", "--suppress", ""]],
    ];
    for [off, on] in off_and_on {
        bench.node().ok(off);
        assert_eq!(routed(&bench), Some(serde_json::json!([])), "{off:?}");
        bench.turn("down");
        bench.turn("up");
        assert_eq!(listed(bench.node(), "mail")["queue"], 0, "{off:?}");
        bench.node().ok(on);
        assert_eq!(routed(&bench), Some(serde_json::json!(["mail"])), "{on:?}");
    }
    // An alert of its own, not of all.
    bench.node().ok(&["alert", "default", "mail", "off"]);
    bench.node().ok(&["check", "edit", "web", "--alerts", "mail"]);
    bench.turn("down");
    assert!(bench.mail.mails().len() <= 1, "nothing came before");
    bench.next("DOWN");
    // A check that is switched off owes nothing, and starts from unknown: no RECOVERED.
    bench.node().ok(&["check", "disable", "web"]);
    bench.node().verdict("web", "unknown");
    let text = bench.node().ok(&["status"]);
    assert!(text.lines().any(|l| l.contains(" web ") && l.contains("disabled")), "{text}");
    bench.node().ok(&["check", "enable", "web"]);
    bench.node().verdict("web", "down");
    bench.next("DOWN");
    bench.turn("up");
    bench.next("RECOVERED");
}

#[test]
fn the_list_says_how_it_stands_with_each_destination() {
    let mut bench = Bench::new("standing");
    let fresh = listed(bench.node(), "mail");
    assert_eq!((&fresh["queue"], &fresh["failed"]), (&0.into(), &0.into()));
    assert!(fresh["last_success"].is_null() && fresh["last_error"].is_null(), "{fresh}");
    bench.mail.set_mood(SmtpMood::Refuse(451));
    bench.turn("down");
    let failing = until("the failure is shown", || {
        Some(listed(bench.node(), "mail")).filter(|a| a["last_error"].is_string())
    });
    assert!(failing["last_error"].as_str().is_some_and(|e| e.contains("451")), "{failing}");
    assert_eq!((&failing["queue"], &failing["last_success"]), (&1.into(), &Value::Null));
    let table = bench.node().ok(&["alert", "list"]);
    assert!(table.lines().any(|l| l.contains(" mail ") && l.contains(" 1 ") && l.contains("451")), "{table}");
    let status = bench.node().ok(&["status"]);
    assert!(status.contains("\"mail\": 1 message waiting") && status.contains("451"), "{status}");

    bench.mail.set_mood(SmtpMood::Accept);
    bench.node().ok(&["alert", "test", "mail"]);
    let done = until("it is delivered", || Some(listed(bench.node(), "mail")).filter(|a| a["queue"] == 0));
    assert!(done["last_success"].is_string(), "{done}");
    let arrived: Vec<ReceivedMail> = bench.mail.mails().into_iter().filter(|m| m.answer == 250).collect();
    assert_eq!(arrived.iter().filter(|m| subject(m).contains("[TEST]")).count(), 1);
    assert_eq!(arrived.iter().filter(|m| subject(m).starts_with("[quptime] web DOWN")).count(), 1);

    // Refused for good: given up at once, and told until somebody looks.
    bench.mail.set_mood(SmtpMood::Refuse(550));
    bench.turn("up");
    let lost = until("it is given up", || Some(listed(bench.node(), "mail")).filter(|a| a["failed"] == 1));
    assert!(lost["last_error"].as_str().is_some_and(|e| e.contains("550")), "{lost}");
    assert_eq!(lost["queue"], 0);
    let status = bench.node().ok(&["status"]);
    assert!(status.contains("\"mail\": 1 message given up, 0 waiting"), "{status}");
    let log = bench.node().log();
    assert!(log.lines().any(|l| l.contains("error deliver") && l.contains("550")), "{log}");
}

#[test]
fn templates_are_checked_when_they_are_set_and_replaced_when_they_fail() {
    let mut bench = Bench::new("templates");
    let node = bench.node();
    let dir = bench.cluster.home.path();
    let (subject_file, body_file) = (dir.join("subject"), dir.join("body"));
    fs::write(&subject_file, "{{ name }} {{ event }} now\n").expect("written");
    // Where nobody looked: it fails in a cluster of one.
    fs::write(&body_file, "{% if total == 1 %}{{ nobody }}{% endif %}all is said").expect("written");
    let (subject_at, body_at) = (subject_file.to_str().expect("text"), body_file.to_str().expect("text"));
    node.ok(&["alert", "edit", "mail", "--subject-file", subject_at, "--body-file", body_at]);

    let bad = dir.join("bad");
    fs::write(&bad, "fine\nand {{ nonsense }}").expect("written");
    let why = node.refused(&["alert", "edit", "mail", "--body-file", bad.to_str().expect("text")], 1);
    assert!(why.contains("template:2:8"), "{why}");

    // The same by hand.
    let path = node.cluster_yaml();
    let has = |word: &str| fs::read_to_string(&path).ok().filter(|t| t.contains(word));
    let text = until("the file has the template", || has("{{ event }} now"));
    fs::write(&path, text.replace("{{ event }} now", "{{ evnt }} now")).expect("saved");
    until("the log says where", || {
        let log = node.log();
        let said =
            |l: &&str| l.contains("left alone") && l.contains("\"mail\"") && l.contains("template:1:15");
        log.replace('\'', "\"").lines().find(said).map(drop)
    });
    fs::write(&path, text.replace("{{ event }} now", "{{ event }} then")).expect("saved");
    until("the mended edit is taken", || node.log().contains("the edit is committed").then_some(()));

    bench.turn("down");
    let down = bench.next("DOWN");
    assert_eq!(subject(&down), "web DOWN then");
    assert!(down.body().contains("state:      down"), "the built-in text: {}", down.body());
    let log = bench.node().log();
    assert!(log.contains("a template failed, the built-in text is sent"), "{log}");
}

#[test]
fn a_test_of_a_check_goes_to_whom_it_would_tell_and_says_so() {
    let mut bench = Bench::new("trial");
    bench.node().ok(&["check", "test", "web"]);
    let down = bench.next("DOWN");
    bench.node().ok(&["check", "test", "web", "--state", "recovered"]);
    let back = bench.next("RECOVERED");
    for mail in [&down, &back] {
        assert!(subject(mail).contains("[TEST] web"), "{}", subject(mail));
        assert!(mail.body().contains("This is a test: nothing has happened."), "{}", mail.body());
    }
    assert_eq!(bench.node().ok(&["incident", "list", "--json"]).trim(), "[]");
    assert_eq!(bench.node().check("web").map(|c| c["state"].clone()), Some("up".into()));
    bench.node().ok(&["check", "edit", "web", "--suppress", "mail"]);
    let why = bench.node().refused(&["check", "test", "web"], 1);
    assert!(why.contains("no alerts"), "{why}");
}
