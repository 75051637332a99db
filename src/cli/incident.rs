//! `qu incident`: the times that a check was down.

use crate::base::text;
use crate::control::{Ask, Reply};
use crate::view::{IncidentSeen, IncidentView};

use super::parse::Said;
use super::{Failure, Session, ask, show};

/// `qu incident list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let check = said.text("check").map(str::to_owned);
    let asked = Ask::IncidentList { check, since: said.parse("since")?, limit: said.number("limit")? };
    let all = incidents(session, asked)?;
    if said.has("json") {
        return show::json(session, &all);
    }
    let rows = all.iter().map(|i| {
        vec![
            show::cell(&i.id),
            show::cell(&i.name),
            text::rfc3339(i.started),
            show::time(i.ended),
            lasted(i),
            show::maybe(i.detail.as_ref()),
        ]
    });
    let head = ["ID", "CHECK", "STARTED", "ENDED", "LASTED", "DETAIL"];
    session.print(&text::table(&head, rows))
}

/// `qu incident show <id>`.
pub fn show(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let all = incidents(session, Ask::IncidentShow { id: said.arg("id").to_owned() })?;
    let Some(incident) = all.first() else {
        return Err(Failure::Failed(format!("no incident {:?} (see qu incident list)", said.arg("id"))));
    };
    if said.has("json") {
        return show::json(session, incident);
    }
    let mut blocks = vec![format!(
        "incident {}\ncheck    {}\ntarget   {}\nstarted  {}\nended    {}\nlasted   {}\ndetail   {}\n",
        show::cell(&incident.id),
        show::cell(&incident.name),
        show::cell(&incident.target),
        text::rfc3339(incident.started),
        match &incident.end {
            Some(how) => format!("{} ({})", show::time(incident.ended), show::safe(how)),
            None => show::time(incident.ended),
        },
        lasted(incident),
        show::maybe(incident.detail.as_ref())
    )];
    blocks.extend(seen("SEEN WHEN IT BEGAN", &incident.down_seen));
    blocks.extend(seen("SEEN WHEN IT ENDED", &incident.up_seen));
    session.print(&blocks.join("\n"))
}

fn incidents(session: &Session<'_>, asked: Ask) -> Result<Vec<IncidentView>, Failure> {
    match ask::daemon(session, asked)? {
        Reply::Incidents(all) => Ok(all),
        other => Err(ask::unexpected(&other)),
    }
}

/// How long it lasted; `-` while it does.
fn lasted(incident: &IncidentView) -> String {
    incident.ended.map_or_else(|| "-".to_owned(), |end| text::about(end.since(incident.started)))
}

fn seen(title: &str, all: &[IncidentSeen]) -> Option<String> {
    let rows = all.iter().map(|s| {
        let result = if s.ok { "ok" } else { "failed" };
        vec![
            s.node.to_string(),
            result.to_owned(),
            format!("{}ms", s.took_ms),
            show::maybe(s.detail.as_ref()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let table = text::table(&["NODE_ID", "RESULT", "TOOK", "DETAIL"], &rows);
    (!rows.is_empty()).then(|| format!("{title}\n{table}"))
}
