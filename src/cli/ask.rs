//! Asking: the daemon through its socket, and the person at the terminal.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::id::RequestId;
use crate::control::client::{self, ClientError};
use crate::control::{Ask, Done, Reply, Request};
use crate::sys::{cred, random};
use crate::view::{Filter, View};

use super::parse::Said;
use super::{Failure, Session, show, wiring};

/// One question to the daemon of this host; a refusal becomes a [`Failure`].
pub fn daemon(session: &Session<'_>, ask: Ask) -> Result<Reply, Failure> {
    let patience = ask.patience();
    match attempt(session, ask, patience)?.map_err(|e| Failure::of(&e))? {
        Reply::Refused { text } | Reply::Unsure { text } => Err(Failure::Failed(text)),
        Reply::NoQuorum { text } | Reply::NoMaster { text } | Reply::TryAgain { text } => {
            Err(Failure::NotNow(text))
        }
        reply => Ok(reply),
    }
}

/// One question and whatever comes of it, with `patience`; for those who ask again.
pub fn attempt(
    session: &Session<'_>,
    ask: Ask,
    patience: Duration,
) -> Result<Result<Reply, ClientError>, Failure> {
    let socket = wiring::socket(session);
    if socket.guessed
        && let Err(e) = client::trust_directory(&socket.path, cred::euid())
    {
        return Ok(Err(e));
    }
    let bits = random::bits().map_err(|e| Failure::Failed(format!("no random bytes for a request: {e}")))?;
    let request = Request { id: RequestId::from_random(bits), ask };
    Ok(client::ask(&socket.path, &request, patience))
}

/// The picture.
pub fn view(session: &Session<'_>, filter: Filter) -> Result<Arc<View>, Failure> {
    match daemon(session, Ask::Status(filter))? {
        Reply::View(view) => Ok(view),
        other => Err(unexpected(&other)),
    }
}

/// A deed: asks for it, and prints what was done and the config version it got.
pub fn deed(session: &mut Session<'_>, said: &Said, ask: Ask) -> Result<(), Failure> {
    match daemon(session, ask)? {
        Reply::Done(done) => print_done(session, said, &done),
        other => Err(unexpected(&other)),
    }
}

/// What was done, as text or as JSON.
pub fn print_done(session: &mut Session<'_>, said: &Said, done: &Done) -> Result<(), Failure> {
    if said.has("json") {
        let mut object = json!({ "done": done.text, "config_version": done.version });
        if let (Value::Object(object), Value::Object(facts)) = (&mut object, &done.facts) {
            object.extend(facts.clone());
        }
        return show::json(session, &object);
    }
    let version = done.version.map_or(String::new(), |v| format!(", config version {v}"));
    session.print(&format!("{}{version}\n", show::safe(&done.text)))
}

/// An answer to another question than ours: a daemon of another version.
pub fn unexpected(reply: &Reply) -> Failure {
    let kind = match serde_json::to_value(reply) {
        Ok(Value::Object(object)) => object.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    Failure::Failed(format!(
        "the daemon answered {kind:?}, which was not the question; is it of another version? (restart it after an upgrade)"
    ))
}

/// Asks the person at the terminal; only `y` and `yes` mean yes.
///
/// # Errors
/// [`Failure::Failed`] when nobody can be asked, with `instead` as what to do.
pub fn person(session: &mut Session<'_>, question: &str, instead: &str) -> Result<bool, Failure> {
    if !session.terminal {
        return Err(Failure::Failed(format!("nobody to ask: standard input is not a terminal; {instead}")));
    }
    let asked = write!(session.err, "{question} [y/N] ").and_then(|()| session.err.flush());
    asked.map_err(|e| Failure::Failed(format!("cannot ask: {e}")))?;
    let mut answer = String::new();
    let read = std::io::Read::take(&mut *session.input, 100);
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut answer);
    read.map_err(|e| Failure::Failed(format!("cannot read the answer: {e}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
