//! `qu cluster export`, `diff`, `apply`: the configuration as a file that is kept.
//!
//! The file is read and compared here, against what the daemon says the cluster has; what is asked
//! for then are the single items, each from what was seen to what is wanted. So what was shown is
//! what is done: an item that somebody else changes in between refuses the whole, by name.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::rng::Rng;
use crate::config::diff::How;
use crate::config::kept::Kept;
use crate::config::{
    Cluster, Difference, Edit, Form, LARGEST_FILE, conflicts, differences, hand_edit, merged,
};
use crate::control::message::LARGEST_REQUEST;
use crate::control::{Ask, Done, Reply};
use crate::sys::random;

use super::parse::Said;
use super::{Failure, Session, ask, input, show};

/// What a file wants of the cluster.
pub struct Wanted {
    /// The version that it was compared with.
    pub version: u64,
    /// What would change, for people.
    pub differences: Vec<Difference>,
    /// What to ask for.
    pub items: Vec<Edit>,
}

/// `qu cluster export`.
pub fn export(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let (current, _) = configuration(session, None)?;
    let text = crate::config::written(&current, Form::Kept { secrets: said.has("with-secrets") });
    session.print(&text)
}

/// `qu cluster diff <file>`.
pub fn diff(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let wanted = of_file(session, said.arg("file"))?;
    if said.has("json") {
        let found: Vec<Value> = wanted.differences.iter().map(object).collect();
        show::json(session, &json!({ "config_version": wanted.version, "differences": found }))?;
    } else if wanted.differences.is_empty() {
        session.print(&format!("no difference, config version {}\n", wanted.version))?;
    } else {
        session.print(&lines(&wanted.differences))?;
    }
    if wanted.differences.is_empty() { Ok(()) } else { Err(Failure::Differs) }
}

/// `qu cluster apply <file>`.
pub fn apply(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let (file, dry_run) = (said.arg("file"), said.has("dry-run"));
    if file == "-" && !dry_run && !said.has("yes") {
        let why =
            "with - the file comes from standard input, where the answer would: give --yes or --dry-run";
        return Err(Failure::Usage(why.to_owned()));
    }
    let wanted = of_file(session, file)?;
    if wanted.differences.is_empty() {
        let done =
            Done { text: "nothing to change".to_owned(), version: Some(wanted.version), ..Done::default() };
        return finish(session, said, &wanted, &done);
    }
    // Standard output is for the one object at the end.
    if said.has("json") {
        drop(session.err.write_all(lines(&wanted.differences).as_bytes()));
    } else {
        session.print(&lines(&wanted.differences))?;
    }
    if dry_run {
        commit(session, &wanted, true)?;
        let done = Done { text: "dry run: nothing was changed".to_owned(), ..Done::default() };
        return finish(session, said, &wanted, &done);
    }
    if !said.has("yes") {
        let instead = "look with --dry-run, then give --yes";
        if !ask::person(session, "apply this?", instead)? {
            return Err(Failure::Failed("not applied: nothing was changed".to_owned()));
        }
    }
    let done = commit(session, &wanted, false)?;
    finish(session, said, &wanted, &done)
}

fn finish(session: &mut Session<'_>, said: &Said, wanted: &Wanted, done: &Done) -> Result<(), Failure> {
    let found: Vec<Value> = wanted.differences.iter().map(object).collect();
    ask::print_done(session, said, &Done { facts: json!({ "differences": found }), ..done.clone() })
}

/// Asks for all of it in one change; what was done, in the words of this command.
pub fn commit(session: &Session<'_>, wanted: &Wanted, dry_run: bool) -> Result<Done, Failure> {
    let count = wanted.differences.len();
    // What cannot be sent need not be tried: the daemon would only hang up.
    let length = serde_json::to_vec(&wanted.items).map_err(|e| Failure::of(&e))?.len();
    if length + 4096 > LARGEST_REQUEST {
        let (mib, most) = (length.div_ceil(1024 * 1024), LARGEST_REQUEST / 1024 / 1024 - 1);
        return Err(Failure::Failed(format!(
            "a difference of {count} items is too large for one change ({mib} MiB, {most} at most): apply it in parts"
        )));
    }
    match ask::daemon(session, Ask::ClusterApply { items: wanted.items.clone(), dry_run })? {
        Reply::Done(done) => {
            let items = if count == 1 { "item" } else { "items" };
            Ok(Done { text: format!("changed {count} {items}"), ..done })
        }
        other => Err(ask::unexpected(&other)),
    }
}

/// The configuration that the cluster has, and as it was at a version, if that is another one.
pub fn configuration(
    session: &Session<'_>,
    version: Option<u64>,
) -> Result<(Arc<Cluster>, Option<Arc<Cluster>>), Failure> {
    match ask::daemon(session, Ask::ClusterConfig { version })? {
        Reply::Config { current, base } => Ok((current, base)),
        other => Err(ask::unexpected(&other)),
    }
}

fn of_file(session: &mut Session<'_>, file: &str) -> Result<Wanted, Failure> {
    let text = input::named(session, file, LARGEST_FILE as u64)?;
    let name = if file == "-" { "standard input" } else { file };
    let kept = Kept::read(name, &text).map_err(|e| Failure::of(&e))?;
    let version = kept.version().map_err(|e| Failure::of(&e))?;
    let (current, base) = configuration(session, version).map_err(|e| match e {
        Failure::Failed(why) => Failure::Failed(match version {
            Some(v) => format!("{why} ({name} names version {v}; without that line it says what should be)"),
            None => why,
        }),
        other => other,
    })?;
    compare(&kept, base.as_ref().unwrap_or(&current), &current)
}

/// What a file that started from `base` wants of `current`.
pub fn compare(kept: &Kept<'_>, base: &Cluster, current: &Cluster) -> Result<Wanted, Failure> {
    let bits = random::bits().map_err(|e| Failure::Failed(format!("no random bytes for ids: {e}")))?;
    // The upper half is as random as the lower.
    let mut rng = Rng::new(u64::try_from(bits >> 64).unwrap_or_default());
    let edited = kept.cluster(base, &mut || rng.next_u128()).map_err(|e| Failure::of(&e))?;
    let items = hand_edit(base, &edited).map_err(|e| Failure::of(&e))?;
    let against = conflicts(&items, current);
    if !against.is_empty() {
        return Err(Failure::Failed(format!("others changed the same since: {}", listed(&against))));
    }
    let differences = differences(current, &merged(&items, current));
    Ok(Wanted { version: current.version, differences, items })
}

/// The first few of many sentences.
fn listed(all: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if all.len() > SHOWN {
        text.push_str(&format!("; and {} more", all.len() - SHOWN));
    }
    text
}

/// One line an item.
pub fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|d| show::safe(&d.to_string()) + "\n").collect()
}

fn object(difference: &Difference) -> Value {
    let item = &difference.item;
    match &difference.how {
        How::Added(what) => json!({ "item": item, "change": "added", "what": what }),
        How::Removed => json!({ "item": item, "change": "removed" }),
        How::Changed(fields) => {
            let field = |f: &crate::config::diff::FieldChange| json!({ "field": f.field, "before": f.before(), "after": f.after() });
            json!({ "item": item, "change": "changed", "fields": fields.iter().map(field).collect::<Vec<_>>() })
        }
    }
}
