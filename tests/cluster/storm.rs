//! Targets go down and up at random, the master is killed at random moments, relay and webhook fail
//! now and then, and once the webhook cannot be reached for a while: every committed transition is
//! told, in order, and nothing else is.
//!
//! `QUPTIME_ROUNDS` says for how many rounds (4 unless it is set), `QUPTIME_SEED` repeats a run:
//! the same targets, moods and moments, as far as the machine keeps time. What is judged, and how,
//! is in `account.rs`.

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

use super::account::{Account, BODY, Kill, Told};
use super::support::{Cluster, Target, within};

const CHECKS: usize = 20;
/// A round settles within this: a failed delivery is tried again after seconds.
const SETTLED: Duration = Duration::from_secs(120);

struct Storm {
    cluster: Cluster,
    mail: SmtpSink,
    trap: Trap,
    chat: WebhookSink,
    targets: Vec<Target>,
    down: [bool; CHECKS],
    /// How often each check was put down.
    fallen: [usize; CHECKS],
    kills: Vec<Kill>,
    /// How many of them fell between acceptance and answer of a mail.
    caught: usize,
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
                // Nobody listens any more when the storm has gone on without it.
                let _ = trap.caught.0.try_send(());
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
        let words = ["alert", "add", "discord", "chat", "--webhook", &hook, "--default", "--body-file", "-"];
        let ran = first.run(&words, Some(BODY));
        assert_eq!(ran.status, 0, "{ran:?}");
        for (at, target) in targets.iter().enumerate() {
            let (to, name) = (target.addr.to_string(), name(at));
            match at % 2 {
                0 => first.ok(&["check", "add", "http", &name, &target.url(), "--interval", "1s"]),
                _ => first.ok(&["check", "add", "tcp", &name, &to, "--interval", "1s"]),
            };
        }
        let rng = Rng::new(seed);
        let (down, fallen) = ([false; CHECKS], [0; CHECKS]);
        let kills = Vec::new();
        let storm = Storm { cluster, mail, trap, chat, targets, down, fallen, kills, caught: 0, rng };
        storm.settle();
        storm
    }

    fn flip(&mut self, at: usize) {
        self.down[at] = !self.down[at];
        self.fallen[at] += usize::from(self.down[at]);
        if self.down[at] { self.targets[at].down() } else { self.targets[at].up() }
    }

    fn round(&mut self) {
        let trapped = self.rng.chance(400);
        if !trapped {
            self.moods();
        }
        self.trap.set.store(trapped, Ordering::SeqCst);
        for at in 0..CHECKS {
            // One at least, so that there is something to catch.
            if self.rng.chance(300) || (trapped && at == 0) {
                self.flip(at);
            }
        }
        if trapped {
            // In the middle of a delivery: the relay has the mail, and the master never hears so.
            if self.trap.caught.1.recv_timeout(Duration::from_secs(20)).is_ok() {
                self.caught += 1;
                self.kill_master();
                let _ = self.trap.released.0.try_send(());
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
            let mood = [SmtpMood::Refuse(451), SmtpMood::Greet(421), SmtpMood::Refuse(452)];
            self.mail.script(&[*self.rng.pick(&mood).expect("some")]);
            let slower = Answer::status(429).with("Retry-After", "1");
            let mood = [WebhookMood::Answer(Answer::status(500)), WebhookMood::Answer(slower)];
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
        let settled = self.settled_so_far();
        self.kills.push(Kill { settled, mails: self.mails().len(), posts: self.posts().len() });
        let old = self.cluster.nodes[at].id.clone();
        let other = &self.cluster.nodes[(at + 1) % 3];
        within(SETTLED, "another is master", || other.master().filter(|m| *m != old));
        self.cluster.nodes[at].start();
    }

    /// Messages whose acceptance was committed, by what the nodes wrote down when they applied it.
    fn settled_so_far(&self) -> Vec<String> {
        let logs: Vec<String> = self.cluster.nodes.iter().map(|n| n.log()).collect();
        let lines = logs.iter().flat_map(|log| log.lines()).filter(|l| l.contains("deliver: settled "));
        lines.filter_map(|l| l.split_once(" message=")).map(|(_, id)| id.trim().to_owned()).collect()
    }

    /// Every node says of every check what is so, and nothing waits to be sent.
    #[track_caller]
    fn settle(&self) {
        self.wait_for(|alerts| alerts.iter().all(|a| a["queue"] == 0));
    }

    #[track_caller]
    fn wait_for(&self, queues: impl Fn(&[Value]) -> bool) {
        let right = |v: &Value| {
            let checks = v["checks"].as_array().cloned().unwrap_or_default();
            let state = |at: usize| checks.iter().find(|c| c["name"] == name(at)).map(|c| c["state"].clone());
            !v["master"].is_null()
                && (0..CHECKS).all(|at| state(at) == Some(if self.down[at] { "down" } else { "up" }.into()))
                && v["alerts"].as_array().is_some_and(|alerts| queues(alerts))
        };
        let start = Instant::now();
        while !self.cluster.nodes.iter().all(|n| n.view().is_some_and(|v| right(&v))) {
            let late = start.elapsed() > SETTLED;
            assert!(!late, "not settled: {:?} {:#?}", self.down, self.cluster.nodes[0].view());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The webhook cannot be reached while a check goes down and up twice; the relay can. Then the
    /// webhook is told of the first change, as it was tried all along, and of all others at once.
    fn outage(&mut self) {
        if self.down[0] {
            self.flip(0);
            self.settle();
        }
        let (mails, posts) = (self.mails().len(), self.posts().len());
        self.chat.set_mood(WebhookMood::Vanish);
        for _ in 0..4 {
            self.flip(0);
            self.wait_for(|alerts| alerts.iter().all(|a| (a["queue"] == 0) != (a["name"] == "chat")));
        }
        self.chat.set_mood(WebhookMood::Answer(Answer::status(204)));
        // Pauses have grown; an operator who has repaired the destination tries it where it counts.
        let master = self.cluster.master();
        self.cluster.nodes[master].ok(&["alert", "test", "chat"]);
        self.settle();
        let events = |all: Vec<Told>, from: usize| {
            all.into_iter().skip(from).map(|told| (told.kind, told.changes.len())).collect::<Vec<_>>()
        };
        let single = |kind: &str| (kind.to_owned(), 1);
        let each = [single("down"), single("recovered"), single("down"), single("recovered")];
        assert_eq!(events(self.mails(), mails), each);
        assert_eq!(events(self.posts(), posts), [single("down"), ("summary".to_owned(), 3)]);
    }

    /// What arrived and was accepted, in its order.
    fn mails(&self) -> Vec<Told> {
        self.mail.mails().iter().filter(|m| m.answer == 250).map(Told::mail).collect()
    }

    fn posts(&self) -> Vec<Told> {
        let accepted = self.chat.posts().into_iter().filter(|p| p.answer == 204);
        accepted.filter_map(|p| Told::post(&p.body)).collect()
    }

    fn account(&self) -> Account {
        let history = || {
            let of = |at: usize| self.cluster.nodes[at].ok(&["incident", "list", "--json"]);
            let text = of(0);
            (of(1) == text && of(2) == text).then_some(text)
        };
        let text = within(SETTLED, "the nodes tell one history", history);
        let account = Account::of(&serde_json::from_str::<Vec<Value>>(&text).expect("json"));
        for at in 0..CHECKS {
            let seen = account.falls(&name(at));
            assert_eq!(seen, self.fallen[at], "{} fell that often, and no oftener", name(at));
        }
        account
    }

    /// Masterships that nobody's death brought about: a node stood still for longer than dead-after.
    fn unforced(&self) -> usize {
        let of = |n: &super::support::Node| {
            let log = n.log();
            log.lines().filter(|l| l.contains("quorum: master ") && l.contains(" me=true")).count()
        };
        let all: usize = self.cluster.nodes.iter().map(of).sum();
        // Each of the three was master of itself before it was added.
        all.saturating_sub(self.kills.len() + 3)
    }
}

#[test]
fn every_transition_is_told_whoever_dies() {
    let seed = number("QUPTIME_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("QUPTIME_ROUNDS").unwrap_or(4);
    eprintln!("QUPTIME_SEED={seed} QUPTIME_ROUNDS={rounds}");
    let mut storm = Storm::begin(seed);
    for round in 0..rounds {
        if round == rounds / 2 {
            storm.outage();
        }
        storm.round();
    }
    let account = storm.account();
    let (mails, posts, unforced) = (storm.mails(), storm.posts(), storm.unforced());
    let again = [
        account.judge("mail", &mails, &storm.kills, |kill| kill.mails, unforced),
        account.judge("chat", &posts, &storm.kills, |kill| kill.posts, unforced),
    ];
    eprintln!(
        "{} transitions, {} kills ({} between acceptance and answer), {} mails and {} posts, {again:?} of them again",
        account.transitions(),
        storm.kills.len(),
        storm.caught,
        mails.len(),
        posts.len(),
    );
}
