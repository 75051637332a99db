//! What was committed against what arrived: the books of the storm.
//!
//! * What arrives for the first time is, check by check, the committed transitions in their order,
//!   from the first to the last; a summary stands for several.
//! * A second copy is the same message (its id, and so its Message-ID), and comes only after the
//!   death of a master, and not when its acceptance was committed before that death.

use std::collections::{BTreeMap, BTreeSet};

use quptime::deliver::sink::ReceivedMail;
use serde_json::Value;

/// The webhook's template: what the books need, and nothing else.
pub const BODY: &str = "id: {{ id }}\nkind: {{ kind }}\nname: {{ name }}\nincident: {{ incident }}\n\
                        {% if changes %}{% for c in changes %}change: {{ c.to }}\n{% endfor %}\
                        {% else %}change: {{ state }}\n{% endif %}";

/// One message that a destination accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The delivery, as in the Message-ID.
    pub id: String,
    pub kind: String,
    check: String,
    incident: String,
    /// To which verdicts it says that the check went.
    pub changes: Vec<String>,
}

impl Told {
    /// The built-in text.
    pub fn mail(mail: &ReceivedMail) -> Told {
        let line = |label: &str| mail.body().lines().find_map(|l| l.strip_prefix(label)).unwrap_or_default();
        let subject = mail.header("Subject").unwrap_or_default();
        let headline = subject.strip_prefix("[quptime] ").expect("our subject");
        let mut words = headline.split_whitespace();
        let check = words.next().expect("a name").to_owned();
        let (event, next) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let changes = mail.body().lines().skip_while(|l| *l != "changes:").skip(1);
        let changes: Vec<String> =
            changes.filter_map(|l| l.split(" to ").nth(1)?.split(' ').next().map(str::to_owned)).collect();
        let (kind, changes) = match (event, next) {
            (_, "after") => ("summary", changes),
            ("DOWN", _) => ("down", vec!["down".to_owned()]),
            ("RECOVERED", _) => ("recovered", vec!["up".to_owned()]),
            _ => panic!("{subject:?}"),
        };
        let id = mail.header("Message-ID").expect("one").trim_start_matches('<').to_owned();
        Told { id, kind: kind.to_owned(), check, incident: line("incident:").trim().to_owned(), changes }
    }

    /// The text of [`BODY`]; none for a test.
    pub fn post(body: &str) -> Option<Told> {
        let json: Value = serde_json::from_str(body).expect("json");
        let text = json["content"].as_str().expect("content").replace('\\', "");
        let all = |label: &'static str| text.lines().filter_map(move |l| l.strip_prefix(label));
        let line = |label: &'static str| all(label).next().expect("a line").trim().to_owned();
        let kind = line("kind: ");
        (!kind.starts_with("test")).then(|| Told {
            id: line("id: "),
            kind,
            check: line("name: "),
            incident: all("incident:").next().unwrap_or_default().trim().to_owned(),
            changes: all("change: ").map(|c| c.trim().to_owned()).collect(),
        })
    }

    /// The delivery's own number, as logs have it.
    fn number(&self) -> String {
        self.id.split('.').take(2).collect::<Vec<_>>().join(".")
    }
}

/// The death of a master.
pub struct Kill {
    /// Messages whose acceptance was committed by then.
    pub settled: Vec<String>,
    /// Mails that had been accepted.
    pub mails: usize,
    /// Posts that had been.
    pub posts: usize,
}

/// The committed transitions of each check: to which verdict, in which incident.
pub struct Account(BTreeMap<String, Vec<(String, String)>>);

impl Account {
    /// From the list of incidents: each owes a DOWN, and a RECOVERED when it ended so.
    pub fn of(incidents: &[Value]) -> Account {
        let mut owed: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for incident in incidents.iter().rev() {
            let text = |field: &str| incident[field].as_str().expect("text").to_owned();
            let steps = owed.entry(text("name")).or_default();
            steps.push(("down".to_owned(), text("id")));
            if incident["end"] == "recovered" {
                steps.push(("up".to_owned(), text("id")));
            }
        }
        Account(owed)
    }

    pub fn transitions(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub fn falls(&self, check: &str) -> usize {
        self.0.get(check).map_or(0, |steps| steps.iter().filter(|(to, _)| to == "down").count())
    }

    /// Judges what arrived at one destination; returns how many were copies.
    pub fn judge(
        &self,
        destination: &str,
        arrived: &[Told],
        kills: &[Kill],
        before: impl Fn(&Kill) -> usize,
        unforced: usize,
    ) -> usize {
        let mut first: BTreeMap<&str, &Told> = BTreeMap::new();
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        let mut copies = 0;
        for (at, message) in arrived.iter().enumerate() {
            let earlier: Vec<&Kill> = kills.iter().filter(|kill| before(kill) <= at).collect();
            if let Some(same) = first.get(message.id.as_str()) {
                assert_eq!(*same, message, "{destination}: two messages of one id");
                let excused = !earlier.is_empty() || unforced > 0;
                assert!(excused, "{destination}: {message:?} again, and nobody had died");
                let number = message.number();
                let known = earlier.iter().any(|kill| kill.settled.contains(&number));
                assert!(!known, "{destination}: {message:?} again, though its acceptance was committed");
                copies += 1;
                continue;
            }
            first.insert(&message.id, message);
            let owed = self.0.get(&message.check).map_or(&[][..], Vec::as_slice);
            let done = told.entry(&message.check).or_default();
            for change in &message.changes {
                let next = owed.get(*done);
                let fits = next.is_some_and(|(to, _)| to == change);
                assert!(fits, "{destination}: {message:?} where {next:?} comes next");
                *done += 1;
            }
            let last = owed.get(done.saturating_sub(1)).map(|(_, incident)| incident.as_str());
            assert_eq!(last, Some(message.incident.as_str()), "{destination}: {message:?}");
        }
        let ids: BTreeSet<&String> = arrived.iter().map(|m| &m.id).collect();
        assert_eq!(ids.len() + copies, arrived.len());
        for (check, owed) in &self.0 {
            let done = told.get(check.as_str()).copied().unwrap_or_default();
            assert_eq!(done, owed.len(), "{destination} was never told of {check}: {:?}", &owed[done..]);
        }
        copies
    }
}
