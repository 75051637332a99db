//! A rolling upgrade: every node is stopped and started, one after another, while 50 checks run and
//! a target goes down and up. Nothing is lost, doubled, or false.

use std::collections::{BTreeMap, BTreeSet};

use quptime::deliver::sink::{SmtpOptions, SmtpSink, WebhookSink};
use serde_json::Value;

use super::super::support::{Cluster, Target, until};

const CHECKS: usize = 50;

struct Watched {
    cluster: Cluster,
    mail: SmtpSink,
    chat: WebhookSink,
    steady: Target,
    flapping: Target,
}

impl Watched {
    fn begin() -> Watched {
        let cluster = Cluster::of("rolling", 3);
        let mail = SmtpSink::start(SmtpOptions::default()).expect("a sink");
        let chat = WebhookSink::start().expect("a sink");
        let (steady, flapping) = (Target::start(), Target::start());
        let first = &cluster.nodes[0];
        let (port, hook) = (mail.addr().port().to_string(), format!("http://{}/hook", chat.addr()));
        let words = ["alert", "add", "smtp", "mail", "--host", "127.0.0.1", "--port", &port, "--default"];
        first.ok(&[&words[..], &["--starttls=false", "--from", "qu@example.com", "--to", "a@example.com"]]
            .concat());
        first.ok(&["alert", "add", "discord", "chat", "--webhook", &hook, "--default"]);
        first.ok(&["check", "add", "http", "flapping", &flapping.url(), "--interval", "1s"]);
        for n in 1..CHECKS {
            let (name, to) = (format!("steady{n:02}"), steady.addr.to_string());
            first.ok(&["check", "add", "tcp", &name, &to, "--interval", "1s"]);
        }
        Watched { cluster, mail, chat, steady, flapping }
    }

    /// Every node that runs knows the flapping target's state, all others are up, nothing is owed.
    #[track_caller]
    fn settles(&self, flapping: &str) {
        let right = |v: &Value| {
            let checks = v["checks"].as_array().cloned().unwrap_or_default();
            let state = |c: &Value| {
                if c["name"] == "flapping" { c["state"] == flapping } else { c["state"] == "up" }
            };
            let alerts = v["alerts"].as_array().cloned().unwrap_or_default();
            checks.len() == CHECKS && checks.iter().all(state) && alerts.iter().all(|a| a["queue"] == 0)
        };
        until(&format!("flapping is {flapping}, all told"), || {
            let running = self.cluster.nodes.iter().filter(|n| n.runs());
            running.map(|n| n.view()).all(|v| v.is_some_and(|v| right(&v))).then_some(())
        });
    }

    /// DOWN and RECOVERED mails and posts, as accepted, by their first words.
    fn told(&self) -> [BTreeMap<String, usize>; 2] {
        let mut counts = [BTreeMap::new(), BTreeMap::new()];
        let mails = self.mail.mails().into_iter().filter(|m| m.answer == 250);
        let subjects = mails.map(|m| m.header("Subject").unwrap_or_default());
        let posts = self.chat.posts().into_iter().filter(|p| p.answer == 204).map(|p| {
            let json: Value = serde_json::from_str(&p.body).expect("json");
            json["content"].as_str().and_then(|t| t.lines().next()).unwrap_or_default().to_owned()
        });
        for (count, texts) in counts.iter_mut().zip([subjects.collect::<Vec<_>>(), posts.collect()]) {
            for text in texts {
                let event = if text.contains("RECOVERED") { "RECOVERED" } else { "DOWN" };
                let check = if text.contains("flapping") { "flapping" } else { "another" };
                *count.entry(format!("{check} {event}")).or_default() += 1;
            }
        }
        counts
    }
}

#[test]
fn a_rolling_restart_of_all_nodes_loses_doubles_and_invents_no_alert() {
    let mut watched = Watched::begin();
    watched.settles("up");
    let mut fallen = 0;
    for at in 0..3 {
        // Down before the stop, up while it is away; the next time the other way round.
        let before = if at % 2 == 0 { "up" } else { "down" };
        if before == "up" {
            watched.flapping.down();
            fallen += 1;
        }
        watched.cluster.nodes[at].end();
        if before == "up" {
            watched.settles("down");
        } else {
            watched.flapping.up();
            watched.settles("up");
        }
        watched.cluster.nodes[at].start();
        watched.cluster.whole();
    }
    watched.flapping.up();
    watched.settles("up");
    let wanted: BTreeMap<String, usize> =
        [("flapping DOWN".to_owned(), fallen), ("flapping RECOVERED".to_owned(), fallen)].into();
    let [mails, posts] = watched.told();
    assert_eq!(mails, wanted);
    assert_eq!(posts, wanted);
    let ids: BTreeSet<_> = watched.mail.mails().iter().filter_map(|m| m.header("Message-ID")).collect();
    assert_eq!(ids.len(), 2 * fallen);
    drop(watched.steady);
}
