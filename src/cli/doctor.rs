//! `qu doctor`: what is wrong here, and what to do about it. Changes nothing.

use serde_json::json;

use crate::doctor::{self, Level};

use super::parse::Said;
use super::{Failure, Session, show};

mod gather;

/// `qu doctor`. Every finding is printed first; problems then make the exit status.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let facts = gather::facts(session, said)?;
    let findings = doctor::judge(&facts);
    let (problems, warnings) =
        (doctor::count(&findings, Level::Problem), doctor::count(&findings, Level::Warning));
    if said.has("json") {
        show::json(session, &json!({ "problems": problems, "warnings": warnings, "findings": findings }))?;
    } else {
        session.print(&doctor::lines(&findings))?;
    }
    let count = |n: usize, what| show::count(u64::try_from(n).unwrap_or(u64::MAX), what);
    match problems {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("{}, {}", count(n, "problem"), count(warnings, "warning")))),
    }
}
