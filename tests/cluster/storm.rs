//! Targets go down and up at random, the master is killed at random moments, relay and webhook fail
//! now and then: every committed transition is told, in order, and nothing else is.
//!
//! `QUPTIME_ROUNDS` says for how many rounds (5 unless it is set), `QUPTIME_SEED` repeats a run:
//! the same targets, moods and moments, as far as the machine keeps time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use quptime::base::rng::Rng;
use quptime::deliver::sink::{
    Answer, ReceivedMail, SmtpMood, SmtpOptions, SmtpSink, WebhookMood, WebhookSink,
};
use serde_json::Value;

use super::support::{Cluster, Target, within};

const CHECKS: usize = 20;
/// A round settles within this: a failed delivery is tried again after seconds.
const SETTLED: Duration = Duration::from_secs(60);

/// One message that a destination accepted: of which incident, of which check, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    incident: String,
    check: String,
    event: &'static str,
}

struct Storm {
    cluster: Cluster,
    mail: SmtpSink,
    trap: Trap,
    chat: WebhookSink,
    targets: Vec<Target>,
    down: [bool; CHECKS],
    /// How often each check was put down.
    fallen: [usize; CHECKS],
    kills: usize,
    rng: Rng,
}

/// Holds a mail between its acceptance by the relay and the answer to the master, when set.
#[derive(Clone)]
struct Trap {
    set: Arc<AtomicBool>,
    caught: (Sender<()>, Receiver<()>),
    released: (Sender<()>, Receiver<()>),
}

impl Trap {
    fn new() -> Trap {
        Trap { set: Arc::default(), caught: bounded(1), released: bounded(1) }
    }

    fn sink(&self) -> SmtpSink {
        let trap = self.clone();
        let on_arrival = Box::new(move |_: &ReceivedMail| {
            if trap.set.swap(false, Ordering::SeqCst) {
                trap.caught.0.send(()).expect("the storm listens");
                let _ = trap.released.1.recv_timeout(Duration::from_secs(10));
            }
        });
        SmtpSink::start(SmtpOptions { on_arrival: Some(on_arrival), ..SmtpOptions::default() })
            .expect("a sink")
    }
}

fn name(at: usize) -> String {
    format!("c{at:02}")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().expect("a number"))
}

impl Storm {
    fn begin(seed: u64) -> Storm {
        let cluster = Cluster::of("storm", 3);
        let trap = Trap::new();
        let mail = trap.sink();
        let chat = WebhookSink::start().expect("a sink");
        let targets: Vec<Target> = (0..CHECKS).map(|_| Target::start()).collect();
        let first = &cluster.nodes[0];
        let (port, hook) = (mail.addr().port().to_string(), format!("http://{}/hook", chat.addr()));
        let words = ["alert", "add", "smtp", "mail", "--host", "127.0.0.1", "--port", &port, "--default"];
        first.ok(&[&words[..], &["--starttls=false", "--from", "qu@example.com", "--to", "a@example.com"]]
            .concat());
        first.ok(&["alert", "add", "discord", "chat", "--webhook", &hook, "--default"]);
        for (at, target) in targets.iter().enumerate() {
            let (to, name) = (target.addr.to_string(), name(at));
            match at % 2 {
                0 => first.ok(&["check", "add", "http", &name, &target.url(), "--interval", "1s"]),
                _ => first.ok(&["check", "add", "tcp", &name, &to, "--interval", "1s"]),
            };
        }
        let rng = Rng::new(seed);
        let (down, fallen) = ([false; CHECKS], [0; CHECKS]);
        let storm = Storm { cluster, mail, trap, chat, targets, down, fallen, kills: 0, rng };
        storm.settle();
        storm
    }

    fn round(&mut self) {
        let trapped = self.rng.chance(400);
        if !trapped {
            self.moods();
        }
        self.trap.set.store(trapped, Ordering::SeqCst);
        for at in 0..CHECKS {
            if self.rng.chance(300) {
                self.down[at] = !self.down[at];
                self.fallen[at] += usize::from(self.down[at]);
                if self.down[at] { self.targets[at].down() } else { self.targets[at].up() }
            }
        }
        if trapped {
            // In the middle of a delivery: the relay has the mail, and the master never hears so.
            if self.trap.caught.1.recv_timeout(Duration::from_secs(10)).is_ok() {
                self.kill_master();
                self.trap.released.0.send(()).expect("the trap listens");
            }
            self.trap.set.store(false, Ordering::SeqCst);
        } else if self.rng.chance(700) {
            // Not waiting for anything: the moment is to be any.
            thread::sleep(Duration::from_millis(self.rng.below(3_500)));
            self.kill_master();
        }
        self.settle();
    }

    /// What the next connections meet: as many failures as are got over in seconds.
    fn moods(&mut self) {
        for _ in 0..self.rng.below(3) {
            let mood = [SmtpMood::Refuse(451), SmtpMood::Greet(421), SmtpMood::Vanish];
            self.mail.script(&[*self.rng.pick(&mood).expect("some")]);
            let mood = [WebhookMood::Answer(Answer::status(500)), WebhookMood::Vanish];
            self.chat.script(vec![self.rng.pick(&mood).expect("some").clone()]);
        }
    }

    fn kill_master(&mut self) {
        let Some(at) = (0..3).find_map(|at| {
            let master = self.cluster.nodes[at].master()?;
            self.cluster.nodes.iter().position(|n| n.id == master)
        }) else {
            return;
        };
        self.cluster.nodes[at].kill();
        self.kills += 1;
        let old = self.cluster.nodes[at].id.clone();
        let other = &self.cluster.nodes[(at + 1) % 3];
        within(SETTLED, "another is master", || other.master().filter(|m| *m != old));
        self.cluster.nodes[at].start();
    }

    /// Every node says of every check what is so, and nothing waits to be sent.
    #[track_caller]
    fn settle(&self) {
        let right = |v: &Value| {
            let checks = v["checks"].as_array().cloned().unwrap_or_default();
            let state = |at: usize| checks.iter().find(|c| c["name"] == name(at)).map(|c| c["state"].clone());
            let alerts = v["alerts"].as_array().cloned().unwrap_or_default();
            !v["master"].is_null()
                && (0..CHECKS).all(|at| state(at) == Some(if self.down[at] { "down" } else { "up" }.into()))
                && alerts.iter().all(|a| a["queue"] == 0)
        };
        let start = Instant::now();
        while !self.cluster.nodes.iter().all(|n| n.view().is_some_and(|v| right(&v))) {
            let late = start.elapsed() > SETTLED;
            assert!(!late, "not settled: {:?} {:#?}", self.down, self.cluster.nodes[0].view());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was committed, from each node, which must be the same: each incident owes a DOWN, and a
    /// RECOVERED once it has ended.
    fn owed(&self) -> BTreeSet<Told> {
        let of = |at: usize| self.cluster.nodes[at].ok(&["incident", "list", "--json"]);
        let text = of(0);
        assert!(of(1) == text && of(2) == text, "the nodes tell different histories");
        let incidents: Vec<Value> = serde_json::from_str(&text).expect("json");
        let mut owed = BTreeSet::new();
        for i in &incidents {
            let told = |event| Told {
                incident: i["id"].as_str().expect("an id").to_owned(),
                check: i["name"].as_str().expect("a name").to_owned(),
                event,
            };
            owed.insert(told("DOWN"));
            if i["end"] == "recovered" {
                owed.insert(told("RECOVERED"));
            }
        }
        for at in 0..CHECKS {
            let seen = incidents.iter().filter(|i| i["name"] == name(at)).count();
            assert_eq!(seen, self.fallen[at], "{} fell that often, and no oftener", name(at));
        }
        owed
    }

    /// Accepted mails in their order, with their Message-IDs.
    fn mails(&self) -> Vec<(Told, String)> {
        let accepted = self.mail.mails().into_iter().filter(|m| m.answer == 250);
        let told = |m: ReceivedMail| {
            let subject = m.header("Subject").unwrap_or_default();
            (told(&subject, m.body(), ""), m.header("Message-ID").expect("one"))
        };
        accepted.map(told).collect()
    }

    fn posts(&self) -> Vec<Told> {
        let accepted = self.chat.posts().into_iter().filter(|p| p.answer == 204);
        let told = |p: quptime::deliver::sink::Post| {
            let json: Value = serde_json::from_str(&p.body).expect("json");
            let text = json["content"].as_str().expect("content").to_owned();
            told(text.lines().next().expect("a line"), &text, "`")
        };
        accepted.map(told).collect()
    }
}

fn told(headline: &str, body: &str, quote: &str) -> Told {
    let mut words = headline.split_whitespace().skip_while(|w| !w.contains("[quptime")).skip(1);
    let check = words.next().expect("a name").to_owned();
    let event = match words.next().expect("an event").trim_end_matches('*') {
        "DOWN" => "DOWN",
        "RECOVERED" => "RECOVERED",
        other => panic!("{other:?} in {headline:?}"),
    };
    let line = body.lines().find_map(|l| l.strip_prefix("incident:")).expect("an incident");
    Told { incident: line.trim().replace(quote, ""), check, event }
}

/// Everything owed arrived, nothing else did, and DOWN came first.
fn judge(owed: &BTreeSet<Told>, arrived: &[Told], destination: &str) {
    let first: BTreeMap<&Told, usize> = arrived.iter().enumerate().rev().map(|(at, t)| (t, at)).collect();
    for told in owed {
        assert!(first.contains_key(told), "{destination} was never told {told:?}");
    }
    for (told, at) in &first {
        assert!(owed.contains(*told), "{destination} was told {told:?}, which did not happen");
        let down = Told { event: "DOWN", ..(*told).clone() };
        assert!(first[&down] <= *at, "{destination}: RECOVERED before DOWN: {told:?}");
    }
}

#[test]
fn every_transition_is_told_whoever_dies() {
    let seed = number("QUPTIME_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("QUPTIME_ROUNDS").unwrap_or(5);
    eprintln!("QUPTIME_SEED={seed} QUPTIME_ROUNDS={rounds}");
    let mut storm = Storm::begin(seed);
    for _ in 0..rounds {
        storm.round();
    }
    let owed = storm.owed();
    let mails = storm.mails();
    judge(&owed, &mails.iter().map(|(told, _)| told.clone()).collect::<Vec<_>>(), "mail");
    let posts = storm.posts();
    judge(&owed, &posts, "chat");
    // A message has one Message-ID for ever, and only a master that died may cause a second copy.
    let mut ids: BTreeMap<&Told, BTreeSet<&str>> = BTreeMap::new();
    for (told, id) in &mails {
        ids.entry(told).or_default().insert(id);
    }
    assert!(ids.values().all(|i| i.len() == 1), "{ids:#?}");
    let (more, again) = (mails.len() - owed.len(), posts.len() - owed.len());
    assert!(more <= storm.kills && again <= storm.kills, "{more} and {again} copies, {} kills", storm.kills);
    eprintln!("{} transitions, {} kills, {more} mails and {again} posts twice", owed.len(), storm.kills);
}
