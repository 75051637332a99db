//! The desk against real sockets.

use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::sink::{Answer, SmtpMood, SmtpOptions, SmtpSink, TestAuthority, WebhookMood, WebhookSink};
use super::*;
use crate::alerts::Kind;
use crate::base::clock::RealClock;
use crate::base::units::{Host, HostPort};
use crate::config::{Channel, MailTls, Secret};

mod discord;
mod order;
mod smtp;

const LIMIT: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

fn quick() -> Timing {
    Timing {
        first_pause: 20 * MS,
        longest_pause: 100 * MS,
        recipient_patience: 300 * MS,
        answer: 5000 * MS,
        ..Timing::default()
    }
}

struct World {
    desk: Desk,
    ends: Receiver<DeliveryOutcome>,
    may_send: Arc<AtomicBool>,
    clock: RealClock,
}

impl World {
    fn new() -> World {
        World::with(quick(), None)
    }

    fn with(timing: Timing, roots: Option<&str>) -> World {
        let (tell, ends) = unbounded();
        let may_send = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&may_send);
        let clock = RealClock::new();
        let may: MaySend = Arc::new(move || asked.load(Ordering::SeqCst));
        let desk = Desk::with(Arc::new(clock.clone()), may, tell, timing, roots);
        World { desk, ends, may_send, clock }
    }

    fn offer(&self, alert: &Arc<Alert>, index: u64, kind: Kind) -> Offer {
        self.offer_facts(alert, index, facts(index, kind))
    }

    fn offer_facts(&self, alert: &Arc<Alert>, index: u64, facts: Facts) -> Offer {
        self.desk.offer(alert, Job { id: id(index), owed_at: self.clock.wall(), facts })
    }

    /// The next end, as the message's index and why it was given up.
    fn end(&self) -> (u64, Option<String>) {
        let end = self.ends.recv_timeout(LIMIT).expect("an outcome within the limit");
        match end.fate {
            Fate::Delivered => (end.id.index, None),
            Fate::GaveUp { why } => (end.id.index, Some(why)),
        }
    }

    fn test(&self, alert: &Arc<Alert>, kind: Kind) -> TestOutcome {
        let (reply, answer) = bounded(1);
        self.desk.test(alert, Facts::sample(kind), reply);
        answer.recv_timeout(LIMIT).expect("the outcome of a test within the limit")
    }

    fn status(&self, alert: &Arc<Alert>) -> LaneStatus {
        self.desk.status().into_iter().find(|s| s.alert == alert.id).unwrap()
    }
}

fn id(index: u64) -> DeliveryId {
    DeliveryId { index, n: 0 }
}

fn facts(index: u64, kind: Kind) -> Facts {
    Facts { id: format!("{index}.0.cluster"), ..Facts::sample(kind) }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let clock = RealClock::new();
    let begun = clock.mono();
    while !holds() {
        assert!(clock.mono().since(begun) < LIMIT, "waited too long for {what}");
        std::thread::sleep(5 * MS);
    }
}

fn alert(number: u128, channel: Channel) -> Arc<Alert> {
    Arc::new(Alert {
        id: AlertId::from_random(number),
        name: format!("alert-{number}").parse().unwrap(),
        default: false,
        enabled: true,
        remind: None,
        subject_template: None,
        body_template: None,
        channel,
    })
}

fn mail_to(sink: &SmtpSink, to: &[&str]) -> Channel {
    let addr: HostPort = sink.addr().into();
    Channel::Smtp {
        host: addr.host,
        port: addr.port,
        user: None,
        password: None,
        from: "qu@example.com".parse().unwrap(),
        to: to.iter().map(|t| t.parse().unwrap()).collect(),
        tls: MailTls::Plain,
        ca_pem: None,
        headers: Vec::new(),
    }
}

fn mail_alert(number: u128, sink: &SmtpSink) -> Arc<Alert> {
    alert(number, mail_to(sink, &["ops@example.com"]))
}

fn webhook_alert(number: u128, sink: &WebhookSink) -> Arc<Alert> {
    let webhook = Secret::new(format!("http://{}/api/webhooks/1/very-secret-token", sink.addr()));
    alert(number, Channel::Discord { webhook })
}
