//! `qu cluster`: what holds for the whole cluster.

use serde_json::json;

use crate::base::text;
use crate::config::node;
use crate::control::{Ask, Reply};
use crate::identity::secret;
use crate::state::command::Setting;
use crate::view::Filter;

use super::parse::Said;
use super::table::facts;
use super::{Failure, Session, ask, input, show};

/// `qu cluster show`.
pub fn show(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let view = ask::view(session, Filter { no_checks: true, ..Filter::default() })?;
    let (s, q) = (&view.settings, &view.quorum);
    if said.has("json") {
        let object = json!({
            "cluster": view.cluster,
            "config_version": view.config_version,
            "updated_at": text::rfc3339(view.updated_at),
            "updated_by": view.updated_by,
            "settings": s,
            "quorum": q,
            "master": view.master,
            "term": view.term,
        });
        return show::json(session, &object);
    }
    let by = view.updated_by.map_or_else(|| "-".to_owned(), |n| n.to_string());
    session.print(&format!(
        "cluster         {}\nconfig ver      {}\nupdated at      {}\nupdated by      {by}\npeers           {} ({} live, need {})\n\nSETTINGS\nheartbeat       {}\ndead_after      {}\nmaster_cooldown {}\nhysteresis      {}\n",
        view.cluster,
        view.config_version,
        text::rfc3339(view.updated_at),
        q.of,
        q.live,
        q.need,
        s.heartbeat,
        s.dead_after,
        s.master_cooldown,
        s.hysteresis
    ))
}

/// `qu cluster rotate-secret`.
pub fn rotate_secret(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let given = match input::secret(session, said, "secret")? {
        Some(given) => {
            let judged = node::cluster_secret(given.reveal());
            Some(judged.map_err(|e| Failure::Usage(format!("--secret-file: {e}")))?)
        }
        None => None,
    };
    if let Some(warning) = given.as_ref().and_then(|s| secret::weakness(s.reveal())) {
        session.say(&format!("warning: {warning}"));
    }
    let done = match ask::daemon(session, Ask::RotateSecret { secret: given })? {
        Reply::Done(done) => done,
        other => return Err(ask::unexpected(&other)),
    };
    ask::print_done(session, said, &done)?;
    match done.facts.get("secret").and_then(|s| s.as_str()) {
        // The one place where it is shown, to the one who made it.
        Some(secret) if !said.has("json") => session.print(&format!("secret      {secret}\n")),
        _ => Ok(()),
    }
}

/// `qu cluster set <setting> <value>`.
pub fn set(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let (name, value) = (said.arg("setting"), said.arg("value"));
    let known = facts::SETTINGS.iter().find(|(own, others, _)| *own == name || others.contains(&name));
    let span =
        || value.parse().map_err(|e: crate::base::units::BadSpan| Failure::Usage(format!("{name}: {e}")));
    let setting = match known.map(|(own, _, _)| *own) {
        Some("heartbeat") => Setting::Heartbeat(span()?),
        Some("dead_after") => Setting::DeadAfter(span()?),
        Some("master_cooldown") => Setting::MasterCooldown(span()?),
        Some("hysteresis") => match value.parse() {
            Ok(count) => Setting::Hysteresis(count),
            Err(_) => return Err(Failure::Usage(format!("{name}: {value:?} is not a number"))),
        },
        _ => {
            let names: Vec<&str> = facts::SETTINGS.iter().map(|(own, _, _)| *own).collect();
            return Err(Failure::Usage(format!("no setting {name:?}; there are {}", names.join(", "))));
        }
    };
    ask::deed(session, said, Ask::ClusterSet(setting))
}
