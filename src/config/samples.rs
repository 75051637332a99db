//! Configurations for tests: one small and readable, and as many random ones as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Alert, Channel, Check, Cluster, MailTls, Peer, Secret, Settings, Target};
use crate::base::clock::Wall;
use crate::base::id::{AlertId, CheckId, ClusterId, NodeId};
use crate::base::rng::Rng;
use crate::base::units::Span;
use crate::identity::Fingerprint;

pub(super) const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

pub(super) fn node(n: u128) -> NodeId {
    NodeId::from_random(n << 96)
}

pub(super) fn check_id(n: u128) -> CheckId {
    CheckId::from_random(n << 96)
}

pub(super) fn alert_id(n: u128) -> AlertId {
    AlertId::from_random(n << 96)
}

pub(super) fn peer(n: u8) -> Peer {
    Peer {
        node_id: node(u128::from(n)),
        advertise: format!("node{n}.example.com:9901").parse().unwrap(),
        fingerprint: Fingerprint([n; 32]),
        cert_pem: PEM.to_owned(),
    }
}

pub(super) fn check(n: u128, name: &str) -> Check {
    Check {
        id: check_id(n),
        name: name.parse().unwrap(),
        target: Target::Tcp { to: "db.example.com:5432".parse().unwrap() },
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: true,
    }
}

pub(super) fn web(n: u128, name: &str) -> Check {
    let url = "https://www.example.com/?a=1&b=*".parse().unwrap();
    Check { target: Target::Http { url, expect_status: 200, body_match: None }, ..check(n, name) }
}

pub(super) fn discord(n: u128, name: &str) -> Alert {
    Alert {
        id: alert_id(n),
        name: name.parse().unwrap(),
        default: false,
        enabled: true,
        remind: None,
        subject_template: None,
        body_template: None,
        channel: Channel::Discord {
            webhook: Secret::new("https://discord.example.com/api/webhooks/1/t0ps3cret"),
        },
    }
}

pub(super) fn smtp(n: u128, name: &str) -> Alert {
    let channel = Channel::Smtp {
        host: "mail.example.com".parse().unwrap(),
        port: 587,
        user: Some("qu".to_owned()),
        password: Some(Secret::new("hunter2")),
        from: "qu@example.com".parse().unwrap(),
        to: vec!["ops@example.com".parse().unwrap()],
        tls: MailTls::StartTls,
        ca_pem: None,
        headers: Vec::new(),
    };
    Alert { channel, ..discord(n, name) }
}

/// Three peers, two checks, two alerts.
pub(super) fn cluster() -> Cluster {
    let checks = [
        Check { alert_ids: [alert_id(1)].into(), ..web(1, "web") },
        Check { suppress_alert_ids: [alert_id(2)].into(), ..check(2, "db") },
    ];
    let alerts = [Alert { default: true, ..smtp(1, "ops") }, discord(2, "chat")];
    Cluster {
        id: ClusterId::from_random(7 << 96),
        version: 4,
        updated_at: Wall(1_778_598_092_000),
        updated_by: Some(node(1)),
        settings: Settings::default(),
        peers: (1..=3).map(peer).map(|p| (p.node_id, p)).collect(),
        checks: checks.into_iter().map(|c| (c.id, Arc::new(c))).collect(),
        alerts: alerts.into_iter().map(|a| (a.id, Arc::new(a))).collect(),
    }
}

/// Pieces that YAML, its readers or its writers have tripped over.
const PIECES: &[&str] = &[
    "a",
    "Z",
    "é",
    "日本",
    "😀",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r",
    "\r\n",
    ": ",
    ":",
    " #",
    "#",
    "- ",
    "-",
    "---",
    "...",
    "|",
    ">",
    "&",
    "*",
    "!",
    "%",
    "@",
    "`",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "?",
    "? ",
    "~",
    "null",
    "true",
    "no",
    "1",
    "0x1f",
    "1e3",
    ".inf",
    "12:30",
    "2026-05-12",
    "<<",
    "=",
    "\0",
    "\u{1}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "{{ x }}",
];

/// A text of up to `most` pieces.
pub(super) fn random_text(rng: &mut Rng, most: u64) -> String {
    (0..=rng.below(most)).filter_map(|_| rng.pick(PIECES)).copied().collect()
}

fn name(rng: &mut Rng, n: usize) -> super::Name {
    loop {
        if let Ok(name) = format!("{}{n}", random_text(rng, 4)).trim().parse() {
            return name;
        }
    }
}

fn line(rng: &mut Rng) -> String {
    let text: String = random_text(rng, 4).chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() { "x".to_owned() } else { text }
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(400).then(|| make(rng))
}

fn random_check(rng: &mut Rng, n: usize, alerts: &[AlertId]) -> Check {
    let interval = 1000 + rng.below(200_000);
    let some = |rng: &mut Rng| alerts.iter().filter(|_| rng.chance(300)).copied().collect::<BTreeSet<_>>();
    let urls = ["http://[::1]:8080/x?y=1&z=%20", "https://www.example.com", "http://10.0.0.1/#top"];
    let target = match rng.below(3) {
        0 => Target::Http {
            url: rng.pick(&urls).unwrap().parse().unwrap(),
            expect_status: *rng.pick(&[0, 200, 301, 503]).unwrap(),
            body_match: maybe(rng, |r| random_text(r, 6)),
        },
        1 => Target::Tcp {
            to: rng.pick(&["[::1]:9901", "10.0.0.1:80", "a_b.example:1"]).unwrap().parse().unwrap(),
        },
        _ => Target::Icmp {
            host: rng.pick(&["::1", "10.0.0.1", "no", "1a.example."]).unwrap().parse().unwrap(),
        },
    };
    Check {
        id: CheckId::from_random(rng.next_u128()),
        name: name(rng, n),
        target,
        interval: Span::from_millis(interval),
        timeout: Span::from_millis(1 + rng.below(interval)),
        alert_ids: some(rng),
        suppress_alert_ids: some(rng),
        enabled: rng.chance(800),
    }
}

fn random_alert(rng: &mut Rng, n: usize) -> Alert {
    let channel = if rng.chance(500) {
        Channel::Discord { webhook: Secret::new(format!("https://a.example/{}", rng.next_u64())) }
    } else {
        let user = maybe(rng, line);
        Channel::Smtp {
            host: "mail.example.com".parse().unwrap(),
            port: *rng.pick(&[25, 465, 587, 65535]).unwrap(),
            password: user.is_some().then(|| Secret::new(line(rng))),
            user,
            from: "Qü: #1 <qu@example.com>".parse().unwrap(),
            to: vec!["ops@example.com".parse().unwrap(), "Z & Co <z@[::1]>".parse().unwrap()],
            tls: *rng.pick(&[MailTls::StartTls, MailTls::Implicit, MailTls::Plain]).unwrap(),
            ca_pem: maybe(rng, |_| PEM.to_owned()),
            headers: vec!["X-A: b: #c".parse().unwrap()].into_iter().filter(|_| rng.chance(500)).collect(),
        }
    };
    Alert {
        id: AlertId::from_random(rng.next_u128()),
        name: name(rng, n),
        default: rng.chance(300),
        enabled: rng.chance(800),
        remind: maybe(rng, |r| Span::from_millis(1000 + r.below(1_000_000))),
        subject_template: maybe(rng, |r| random_text(r, 6)),
        body_template: maybe(rng, |r| random_text(r, 12)),
        channel,
    }
}

/// Any configuration that the program could hold.
pub(super) fn random(rng: &mut Rng) -> Cluster {
    let alerts: BTreeMap<_, _> = (0..usize::try_from(rng.below(5)).unwrap())
        .map(|n| random_alert(rng, n))
        .map(|a| (a.id, Arc::new(a)))
        .collect();
    let ids: Vec<AlertId> = alerts.keys().copied().collect();
    let checks = (0..usize::try_from(rng.below(8)).unwrap())
        .map(|n| random_check(rng, n, &ids))
        .map(|c| (c.id, Arc::new(c)))
        .collect();
    let heartbeat = 20 + rng.below(5000);
    Cluster {
        id: ClusterId::from_random(rng.next_u128()),
        version: rng.next_u64(),
        updated_at: Wall(rng.below(253_402_300_799_999)),
        updated_by: maybe(rng, |r| NodeId::from_random(r.next_u128())),
        settings: Settings {
            heartbeat: Span::from_millis(heartbeat),
            dead_after: Span::from_millis(heartbeat * (3 + rng.below(9))),
            master_cooldown: Span::from_millis(1 + rng.below(1_000_000)),
            hysteresis: 1 + u32::try_from(rng.below(9)).unwrap(),
        },
        peers: (0..u8::try_from(rng.below(5)).unwrap()).map(peer).map(|p| (p.node_id, p)).collect(),
        checks,
        alerts,
    }
}
