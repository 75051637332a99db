//! What happened in a run: a digest always, readable lines when asked for.
//!
//! The digest is over the words of every event; two runs of one seed must have the same. Lines
//! are made by closures, which are not called in runs that nobody reads.

use quptime::base::id::NodeId;
use quptime::quorum::io::Write;
use quptime::quorum::message::{Entry, Founding, Incarnation, LogEnd, Membership, Message, Outcome};

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A record, with lines or without.
    pub fn new(readable: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: readable.then(Vec::new) }
    }

    /// Adds one word to the digest.
    pub fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    /// Adds a line at a true time.
    pub fn line(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", now as f64 / 1e6, text()));
        }
    }

    /// The digest.
    pub fn digest(&self) -> u64 {
        self.hash
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// `n3` for the third host: ids of simulated nodes begin with their number.
pub fn name(id: NodeId) -> String {
    format!("n{}", id.short().trim_start_matches('0'))
}

fn names(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(name).collect::<Vec<_>>().join(" ")
}

/// The last three digits of a life.
pub fn life(life: Incarnation) -> String {
    format!("{:03x}", life.0 & 0xfff)
}

/// `t2:17`.
pub fn end(end: LogEnd) -> String {
    format!("t{}:{}", end.term, end.index)
}

/// Voters with their lives, learners in brackets.
pub fn membership(m: &Membership) -> String {
    let voters: Vec<String> = m.voters.iter().map(|(id, l)| format!("{}/{}", name(*id), life(*l))).collect();
    match m.learners.is_empty() {
        true => voters.join(" "),
        false => format!("{} [{}]", voters.join(" "), names(m.learners.iter().copied())),
    }
}

/// The beginning of a text.
pub fn short(text: &str) -> &str {
    text.get(..40).unwrap_or(text)
}

fn entry(e: &Entry) -> String {
    let mut text = format!("{}@t{}", e.index, e.term);
    if let Some(command) = &e.command {
        text += &format!(" \"{}\"", short(&command.text));
    }
    if let Some(m) = &e.membership {
        text += &format!(" members {}", membership(m));
    }
    text
}

/// Entries, the first few of them.
pub fn entries(list: &[Entry]) -> String {
    let shown: Vec<String> = list.iter().take(4).map(entry).collect();
    let more = if list.len() > 4 { format!(" and {} more", list.len() - 4) } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}

/// A message in a few words.
pub fn message(m: &Message) -> String {
    match m {
        Message::Beat { term, master, life: l, hears, end: e, blank } => {
            let master = master.map_or("-".to_owned(), name);
            let blank = blank.as_ref().map_or(String::new(), |b| {
                let told = if b.told { " told" } else { "" };
                format!(" blank v{}{told}{}", b.version, if b.remembers { " remembers" } else { "" })
            });
            format!(
                "beat t{term} master {master} life {} hears {} end {}{blank}",
                life(*l),
                names(hears.iter().copied()),
                end(*e)
            )
        }
        Message::PreVote { term, end: e } => format!("prevote? t{term} end {}", end(*e)),
        Message::PreVoted { asked, term, granted, free, .. } => {
            format!("prevote {granted} for t{asked}, own t{term}{}", held(*free))
        }
        Message::Vote { term, end: e, transfer } => {
            format!("vote? t{term} end {}{}", end(*e), if *transfer { " (handed over)" } else { "" })
        }
        Message::Voted { term, granted, free, life: l } => {
            format!("vote {granted} t{term} life {}{}", life(*l), held(*free))
        }
        Message::Append { term, round, before, entries: list, commit, founding, settled } => {
            let before = end(*before);
            let settled = if *settled { " settled" } else { "" };
            let founded = founded(*founding);
            format!(
                "append t{term} round {round} after {before} {} commit {commit}{settled}{founded}",
                entries(list)
            )
        }
        Message::Appended { term, round, life: l, outcome, .. } => {
            format!("appended t{term} round {round} life {} {}", life(*l), answer(outcome))
        }
        Message::Piece { term, round, end: e, offset, total, data, membership, settled } => {
            let upto = offset + data.len() as u64;
            let settled = if *settled { " settled" } else { "" };
            let founded = founded(membership.founding);
            format!(
                "piece t{term} round {round} of {}: {offset}..{upto} of {total}{settled}{founded}",
                end(*e)
            )
        }
        Message::TakeOver { term } => format!("take over from t{term}"),
        Message::Refound { term, version, founding } => {
            format!("refound t{term} v{version}{}", founded(*founding))
        }
        Message::Refounded { term, life: l } => format!("refounded t{term} life {}", life(*l)),
    }
}

fn founded(founding: Founding) -> String {
    if founding.is_first() { String::new() } else { format!(" of {:04x}", founding.0 & 0xffff) }
}

fn held(free: bool) -> &'static str {
    if free { "" } else { " (not free)" }
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Matched { matched } => format!("matched {matched}"),
        Outcome::Gap { before, hint } => format!("gap at {before} hint {hint}"),
        Outcome::Empty => "empty".to_owned(),
        Outcome::Piece { end: e, have } => format!("has {have} of {}", end(*e)),
    }
}

/// A write in a few words.
pub fn write(w: &Write) -> String {
    match w {
        Write::Vote(v) => {
            format!("vote t{} for {} life {}", v.term, v.vote.map_or("-".to_owned(), name), life(v.life))
        }
        Write::Append { after, entries: list } => format!("after {after} {}", entries(list)),
        Write::Snapshot { snapshot, keep_log } => {
            format!("snapshot {} keep log {keep_log}", end(snapshot.end))
        }
        Write::Commit(index) => format!("commit {index}"),
    }
}
