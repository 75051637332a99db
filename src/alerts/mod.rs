//! Layer 2: what to say.
//!
//! Model: [`Facts`] is everything that one message can say, plain values only. `render.rs` makes
//! the built-in mail and chat text from it, `template.rs` the text of an operator's own
//! templates, `escape.rs` makes what other machines said harmless in each of the places it can
//! get to. [`fold`] turns a backlog about one check into one message.
//!
//! Pure: no clock, no socket, no log. A template that fails is reported beside the built-in text
//! that stands in for it, and who sends the message logs it. What is owed to whom is `state`'s;
//! sending is `deliver`'s.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::base::clock::Wall;
use crate::verdict::Verdict;

pub mod escape;
pub mod render;
pub mod restrict;
pub mod template;

pub use render::{Chat, Mail};
pub use template::TemplateError;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The verdict became down.
    Down,
    /// The verdict became up again.
    Recovered,
    /// It is still down.
    Reminder,
    /// Several transitions that could not be told one by one.
    Summary,
    /// An operator asks what a DOWN looks like.
    TestDown,
    /// An operator asks what a RECOVERED looks like.
    TestRecovered,
}

impl Kind {
    /// The kind in one word, as templates see it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Down => "down",
            Kind::Recovered => "recovered",
            Kind::Reminder => "reminder",
            Kind::Summary => "summary",
            Kind::TestDown => "test-down",
            Kind::TestRecovered => "test-recovered",
        }
    }

    /// Whether nothing has happened.
    #[must_use]
    pub fn is_test(self) -> bool {
        matches!(self, Kind::TestDown | Kind::TestRecovered)
    }
}

/// What one node's newest report said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// How people call the node: its advertised address, or the beginning of its id.
    pub node: String,
    /// Whether its probe succeeded.
    pub ok: bool,
    /// Why not; empty for a success.
    pub detail: String,
}

/// One transition inside a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was committed.
    pub at: Wall,
    /// From.
    pub from: Verdict,
    /// To.
    pub to: Verdict,
    /// The first failing node's detail; empty for a recovery.
    pub detail: String,
}

/// Everything that one message can say. Text fields may hold anything: they are made harmless
/// where they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is about.
    pub kind: Kind,
    /// The check's id: messages of one check belong together.
    pub check_id: String,
    /// The check's name.
    pub check_name: String,
    /// `http`, `tcp`, `icmp`.
    pub check_type: String,
    /// What is watched, as the operator wrote it.
    pub target: String,
    /// The verdict now.
    pub state: Verdict,
    /// The verdict before.
    pub previous: Verdict,
    /// When the transition was committed (for a reminder: when it was due).
    pub at: Wall,
    /// How long it was down (recovered), or has been (reminder).
    pub down_for: Option<Duration>,
    /// The reports that the verdict rests on.
    pub reports: Vec<NodeReport>,
    /// Nodes that report success.
    pub ok: u32,
    /// Peers that could have reported.
    pub total: u32,
    /// The first failing node's detail; may be empty.
    pub detail: String,
    /// The master that decided.
    pub master: String,
    /// The alert's name.
    pub alert: String,
    /// The incident's id, as `qu incident show` takes it.
    pub incident: Option<String>,
    /// Unique, the same on every node and after every change of master: becomes the Message-ID.
    pub id: String,
    /// The `id` of the message that this one answers: DOWN, for its RECOVERED and reminders.
    pub in_reply_to: Option<String>,
    /// The transitions that a summary stands for, oldest first; else empty.
    pub folded: Vec<Change>,
}

impl Facts {
    /// `DOWN` or `RECOVERED`: what people look for first.
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self.kind {
            Kind::Down | Kind::Reminder | Kind::TestDown => "DOWN",
            Kind::Recovered | Kind::TestRecovered => "RECOVERED",
            Kind::Summary if self.state == Verdict::Down => "DOWN",
            Kind::Summary => "RECOVERED",
        }
    }

    /// An invented message of this kind: templates are tried on it before they are accepted.
    #[must_use]
    pub fn sample(kind: Kind) -> Facts {
        let down = !matches!(kind, Kind::Recovered | Kind::TestRecovered);
        let (state, previous) =
            if down { (Verdict::Down, Verdict::Up) } else { (Verdict::Up, Verdict::Down) };
        let why = if down { "connect: connection refused" } else { "" };
        let change = |at, from, to| Change { at: Wall(at), from, to, detail: why.to_owned() };
        Facts {
            kind,
            check_id: "00000000-0000-4000-8000-000000000000".to_owned(),
            check_name: "web".to_owned(),
            check_type: "http".to_owned(),
            target: "https://www.example.com/".to_owned(),
            state,
            previous,
            at: Wall(1_778_598_092_000),
            down_for: (!matches!(kind, Kind::Down | Kind::TestDown)).then_some(Duration::from_secs(330)),
            reports: [("alpha.example.com:9901", !down), ("beta.example.com:9901", !down)]
                .map(|(node, ok)| NodeReport { node: node.to_owned(), ok, detail: why.to_owned() })
                .to_vec(),
            ok: if down { 0 } else { 2 },
            total: 3,
            detail: why.to_owned(),
            master: "alpha.example.com:9901".to_owned(),
            alert: "ops".to_owned(),
            incident: Some("1.0".to_owned()),
            id: "1.0.sample".to_owned(),
            in_reply_to: None,
            folded: if kind == Kind::Summary {
                vec![
                    change(1_778_597_000_000, Verdict::Up, Verdict::Down),
                    change(1_778_597_500_000, Verdict::Down, Verdict::Up),
                    change(1_778_598_092_000, Verdict::Up, Verdict::Down),
                ]
            } else {
                Vec::new()
            },
        }
    }

    fn transitions(&self) -> Vec<Change> {
        match self.kind {
            Kind::Summary => self.folded.clone(),
            Kind::Down | Kind::Recovered => {
                vec![Change { at: self.at, from: self.previous, to: self.state, detail: self.detail.clone() }]
            }
            Kind::Reminder | Kind::TestDown | Kind::TestRecovered => Vec::new(),
        }
    }
}

/// One message in place of several about the same check, oldest first. Reminders of what is told
/// anyway fall away; two transitions or more become a [`Kind::Summary`] under the newest id (the
/// same set folded again by another master has the same id; a larger set has another one) that
/// answers what the oldest one answered. Nothing to fold: `None`.
#[must_use]
pub fn fold(messages: &[&Facts]) -> Option<Facts> {
    let (oldest, newest) = (messages.first()?, messages.last()?);
    let transitions: Vec<Change> = messages.iter().flat_map(|f| f.transitions()).collect();
    if transitions.len() <= 1 {
        let telling = messages.iter().find(|f| !f.transitions().is_empty());
        return Some((*telling.unwrap_or(newest)).clone());
    }
    let last_telling = messages.iter().rev().find(|f| !f.transitions().is_empty()).unwrap_or(newest);
    Some(Facts {
        kind: Kind::Summary,
        folded: transitions,
        id: newest.id.clone(),
        in_reply_to: oldest.in_reply_to.clone(),
        ..(*last_telling).clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Kind, id: &str) -> Facts {
        Facts { id: id.to_owned(), in_reply_to: Some(format!("before-{id}")), ..Facts::sample(kind) }
    }

    #[test]
    fn a_backlog_of_transitions_becomes_one_summary_with_the_newest_id() {
        let (a, b, c) = (message(Kind::Down, "1"), message(Kind::Recovered, "2"), message(Kind::Down, "3"));
        let folded = fold(&[&a, &b, &c]).unwrap();
        assert_eq!((folded.kind, folded.event(), folded.id.as_str()), (Kind::Summary, "DOWN", "3"));
        assert_eq!(folded.in_reply_to.as_deref(), Some("before-1"));
        let to: Vec<Verdict> = folded.folded.iter().map(|t| t.to).collect();
        assert_eq!(to, [Verdict::Down, Verdict::Up, Verdict::Down]);

        let d = message(Kind::Recovered, "4");
        let again = fold(&[&folded, &d]).unwrap();
        assert_eq!((again.folded.len(), again.event()), (4, "RECOVERED"));
    }

    #[test]
    fn reminders_fall_away_beside_what_they_remind_of() {
        let (down, first, second) =
            (message(Kind::Down, "1"), message(Kind::Reminder, "2"), message(Kind::Reminder, "3"));
        assert_eq!(fold(&[&down, &first, &second]).unwrap().id, "1");
        assert_eq!(fold(&[&first, &second]).unwrap().id, "3");
        let up = message(Kind::Recovered, "4");
        assert_eq!(fold(&[&first, &second, &up]).unwrap(), up);
        assert_eq!(fold(&[]), None);
    }
}
