//! `qu silence`: a while in which nothing is sent.

use crate::base::text;
use crate::control::{Ask, Reply};

use super::parse::Said;
use super::{Failure, Session, ask, show};

/// `qu silence <check|all> --for 2h`.
pub fn begin(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let who = said.arg("check|all");
    let Some(length) = said.parse("for")? else {
        return Err(Failure::Usage("--for is missing: how long? (--for 2h)".to_owned()));
    };
    let reason = said.text("reason").unwrap_or_default().to_owned();
    let who = (who != "all").then(|| who.to_owned());
    ask::deed(session, said, Ask::Silence { who, length, reason })
}

/// `qu silence list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let all = match ask::daemon(session, Ask::SilenceList)? {
        Reply::Silences(all) => all,
        other => return Err(ask::unexpected(&other)),
    };
    if said.has("json") {
        return show::json(session, &all);
    }
    let rows = all.iter().map(|s| {
        vec![
            show::cell(&s.id),
            s.check.as_ref().map_or_else(|| "(all)".to_owned(), |name| show::cell(name)),
            text::rfc3339(s.from),
            text::rfc3339(s.until),
            show::cell(&s.reason),
        ]
    });
    let rows: Vec<_> = rows.collect();
    session.print(&text::table(&["ID", "CHECK", "FROM", "UNTIL", "REASON"], &rows))
}

/// `qu silence end <id>`.
pub fn end(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::SilenceEnd { id: said.arg("id").to_owned() })
}
