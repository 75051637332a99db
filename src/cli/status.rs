//! `qu status`: quorum, master, peers, checks, and what somebody should look at.

use std::borrow::Cow;

use crate::base::text;
use crate::verdict::Verdict;
use crate::view::{Filter, NoteLevel, ProbeStats, View};

use super::parse::Said;
use super::{Failure, Session, ask, show};

pub mod mesh;
mod wait;

/// `qu status`. Prints what is known first and fails then, when there is no quorum or no master, or
/// when what was waited for did not come about.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let state = match said.text("state") {
        None => None,
        Some("up") => Some(Verdict::Up),
        Some("down") => Some(Verdict::Down),
        Some(_) => Some(Verdict::Unknown),
    };
    let one = said.text("check").map(str::to_owned);
    let nodes = one.is_some() || said.has("json");
    let with_mesh = said.has("mesh");
    if with_mesh && (one.is_some() || state.is_some() || said.has("limit")) {
        let text = "--mesh shows nodes and no checks: --check, --state and --limit do not go with it";
        return Err(Failure::Usage(text.to_owned()));
    }
    let filter = Filter {
        check: one,
        state,
        limit: said.number("limit")?,
        nodes,
        table: !nodes,
        no_checks: with_mesh,
    };
    let Some((level, timeout)) = wait::asked(said)? else {
        let view = print(session, said, filter, with_mesh)?;
        return verdict(&view);
    };
    let waited = wait::until(session, level, timeout);
    if !matches!(waited, Ok(()) | Err(Failure::NotNow(_))) {
        return waited;
    }
    // The picture is of a moment later and decides nothing any more; after a wait in vain there may
    // be none.
    let shown = print(session, said, filter, with_mesh);
    waited.and(shown.map(drop))
}

fn print(
    session: &mut Session<'_>,
    said: &Said,
    filter: Filter,
    with_mesh: bool,
) -> Result<std::sync::Arc<View>, Failure> {
    let view = ask::view(session, filter)?;
    let mesh = if with_mesh { Some(mesh::fetch(session)?) } else { None };
    match (&mesh, said.has("json")) {
        (None, true) => show::json(session, &*view)?,
        (None, false) => blocks(&view).iter().try_for_each(|block| session.print(block))?,
        (Some(mesh), true) => show::json(session, &mesh::json(&view, mesh)?)?,
        (Some(mesh), false) => {
            let blocks = std::iter::once(head(&view)).chain(mesh::render(mesh)).chain(notes(&view));
            session.print(&blocks.collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(view)
}

/// What the exit status says.
fn verdict(view: &View) -> Result<(), Failure> {
    let q = view.quorum;
    if !q.ok {
        return Err(Failure::NotNow(format!("no quorum ({q})")));
    }
    match view.master {
        Some(_) => Ok(()),
        None => Err(Failure::NotNow("no master: an election is in progress".to_owned())),
    }
}

/// What is printed, in pieces: the table of ten thousand checks is not put together once more.
fn blocks(view: &View) -> Vec<Cow<'_, str>> {
    // When each node's reports are wanted too, the checks come in full.
    let table =
        if view.table.is_empty() { Cow::Owned(view.checks.table()) } else { text::shown_lines(&view.table) };
    let above = format!("{}\n{}\nCHECKS\n", head(view), peers(view));
    let below = reports(view).into_iter().chain(notes(view)).map(|block| Cow::Owned(format!("\n{block}")));
    [Cow::Owned(above), table].into_iter().chain(below).collect()
}

fn head(view: &View) -> String {
    let none = || "(none - no quorum or election in progress)".to_owned();
    let master = view.master.map_or_else(none, |m| m.to_string());
    format!(
        "node       {}\nterm       {}\nmaster     {master}\nquorum     {} (need {})\nconfig ver {}\n",
        view.node, view.term, view.quorum.ok, view.quorum.need, view.config_version
    )
}

fn peers(view: &View) -> String {
    let row = |p: &crate::view::PeerView| {
        vec![p.node_id.to_string(), p.advertise.to_string(), p.live.to_string(), show::time(p.last_seen)]
    };
    let rows: Vec<_> = view.peers.iter().map(row).collect();
    format!("PEERS\n{}", text::table(&["NODE_ID", "ADVERTISE", "LIVE", "LAST_SEEN"], &rows))
}

/// Each node's own report, when one check was asked for.
fn reports(view: &View) -> Option<String> {
    let mut rows = Vec::new();
    for check in view.checks.iter() {
        for report in &check.nodes {
            rows.push(vec![
                report.node.to_string(),
                show::cell(&check.name),
                if report.ok { "ok" } else { "failed" }.to_owned(),
                format!("{}ms", report.took_ms),
                text::about(std::time::Duration::from_millis(report.age_ms)),
                show::yes(report.fresh),
                show::maybe(report.detail.as_ref()),
            ]);
        }
    }
    let head = ["NODE_ID", "CHECK", "RESULT", "TOOK", "AGE", "FRESH", "DETAIL"];
    (!rows.is_empty()).then(|| format!("REPORTS\n{}", text::table(&head, &rows)))
}

/// What somebody should look at, one a line.
fn notes(view: &View) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for note in &view.notes {
        let level = match note.level {
            NoteLevel::Warning => "warning",
            NoteLevel::Problem => "problem",
        };
        lines.push(format!("{level}: {}", show::safe(&note.text)));
    }
    for peer in view.peers.iter().filter(|p| !p.voter) {
        let id = peer.node_id;
        lines
            .push(format!("warning: node {id} is being caught up and does not count towards the quorum yet"));
    }
    lines.extend(probes(&view.probes));
    for alert in view.alerts.iter().filter(|a| a.failed > 0 || a.queue > 0 && a.last_error.is_some()) {
        let why = alert.last_error.as_ref().map_or(String::new(), |e| format!(": {}", show::safe(e)));
        let name = show::safe(&alert.name);
        let what = match alert.failed {
            0 => format!("{} waiting", show::count(u64::from(alert.queue), "message")),
            failed => format!("{} given up, {} waiting", show::count(failed, "message"), alert.queue),
        };
        lines.push(format!("warning: alert {name:?}: {what}{why}"));
    }
    (!lines.is_empty()).then(|| format!("NOTES\n{}\n", lines.join("\n")))
}

/// A start this much after its time is late, milliseconds.
const LATE_MS: u64 = 250;

/// How far this node's own probes are behind.
fn probes(probes: &ProbeStats) -> Vec<String> {
    let about = |ms| text::about(std::time::Duration::from_millis(ms));
    let mut lines = Vec::new();
    // One in a hundred may be late on a host that has other things to do.
    if probes.p99_late_ms > LATE_MS {
        let (worst, p99) = (about(probes.worst_late_ms), about(probes.p99_late_ms));
        let late = show::count(probes.late, "probe");
        lines.push(format!(
            "warning: {late} of the last minute started late, by up to {worst} (99 of 100 within {p99})"
        ));
    }
    if probes.lost > 0 {
        let lost = show::count(probes.lost, "probe");
        lines.push(format!("warning: {lost} of the last minute left out: this node cannot keep up"));
    }
    lines
}

#[cfg(test)]
mod tests;
