//! `qu status --wait`: until the cluster is as a script wants it, or time is up.
//!
//! Each level contains the one before. What is missing is judged from one picture (and, for
//! `synced`, from what the master says); the loop around it only asks again.

use std::time::Duration;

use crate::base::clock::{Clock, RealClock};
use crate::base::units::Span;
use crate::control::client::ClientError;
use crate::control::{Ask, Reply};
use crate::view::mesh::Mesh;
use crate::view::{Filter, PeerView, View};

use super::super::parse::Said;
use super::super::{Failure, Session, ask};

/// How long is waited unless told otherwise.
const TIMEOUT: Span = Span::from_secs(60);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// This node sees a quorum and a master.
    Quorum,
    /// And every peer is live and counts.
    Live,
    /// And this node has applied all that the master had committed when it was asked.
    Synced,
}

/// What the line asks for: a level, and for how long it is waited.
pub fn asked(said: &Said) -> Result<Option<(Level, Span)>, Failure> {
    let timeout: Option<Span> = said.parse("timeout")?;
    let level = match said.text("wait") {
        None if timeout.is_some() => {
            return Err(Failure::Usage("--timeout goes with --wait".to_owned()));
        }
        None => return Ok(None),
        Some("live") => Level::Live,
        Some("synced") => Level::Synced,
        Some(_) => Level::Quorum,
    };
    Ok(Some((level, timeout.unwrap_or(TIMEOUT))))
}

/// Waits. The error says what was missing in the end; what nobody can mend by waiting (no right to
/// use the socket, a daemon of another kind) ends it at once.
pub fn until(session: &Session<'_>, level: Level, timeout: Span) -> Result<(), Failure> {
    let clock = RealClock::new();
    let deadline = clock.mono() + timeout.duration();
    loop {
        let missing = look(session, level)?;
        let Some(missing) = missing else { return Ok(()) };
        let left = deadline.since(clock.mono());
        if left.is_zero() {
            return Err(Failure::NotNow(format!("not {} within {timeout}: {missing}", name(level))));
        }
        // sleeps: the daemon is asked again and again; nothing tells when to ask.
        std::thread::sleep(GLANCE.min(left));
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Quorum => "in quorum",
        Level::Live => "live",
        Level::Synced => "synced",
    }
}

/// One look: what is missing.
fn look(session: &Session<'_>, level: Level) -> Result<Option<String>, Failure> {
    let ask_one = |question: Ask| {
        // Also the last look gets an answer's time: a daemon that is there answers at once.
        let patience = question.patience();
        match ask::attempt(session, question, patience)? {
            Ok(Reply::Refused { text }) => Err(Failure::Failed(text)),
            Ok(reply) => Ok(Ok(reply)),
            Err(e @ (ClientError::Denied { .. } | ClientError::Foreign { .. })) => Err(Failure::of(&e)),
            Err(e) => Ok(Err(crate::base::text::chain(&e))),
        }
    };
    let filter = Filter { no_checks: true, ..Filter::default() };
    let view = match ask_one(Ask::Status(filter))? {
        Ok(Reply::View(view)) => view,
        Ok(Reply::TryAgain { text }) | Err(text) => return Ok(Some(text)),
        Ok(other) => return Err(ask::unexpected(&other)),
    };
    let lacking = missing(level, &view);
    if lacking.is_some() || level < Level::Synced {
        return Ok(lacking);
    }
    match ask_one(Ask::Mesh)? {
        Ok(Reply::Mesh(mesh)) => Ok(behind(&mesh, view.master)),
        Ok(Reply::TryAgain { text }) | Err(text) => Ok(Some(text)),
        Ok(other) => Err(ask::unexpected(&other)),
    }
}

/// What the picture lacks for this level.
pub fn missing(level: Level, view: &View) -> Option<String> {
    if let Err(Failure::NotNow(why)) = super::verdict(view) {
        return Some(why);
    }
    if level < Level::Live {
        return None;
    }
    let named = |wanted: &dyn Fn(&PeerView) -> bool| {
        let found = view.peers.iter().filter(|p| wanted(p));
        found.map(|p| format!("{} ({})", p.advertise, p.node_id.short())).collect::<Vec<_>>().join(", ")
    };
    let (dead, learning) = (named(&|p| !p.live), named(&|p| p.live && !p.voter));
    if !dead.is_empty() {
        return Some(format!("not live: {dead}"));
    }
    (!learning.is_empty()).then(|| format!("still being caught up, and not counted: {learning}"))
}

/// Whether this node is behind the master, by the master's own word.
pub fn behind(mesh: &Mesh, master: Option<crate::base::id::NodeId>) -> Option<String> {
    let committed = master.and_then(|m| mesh.claim(m)).and_then(|c| c.committed);
    let applied = mesh.claim(mesh.node).map_or(0, |c| c.applied);
    match committed {
        None => Some("the master has not said how far it is".to_owned()),
        Some(committed) if applied < committed => {
            Some(format!("this node has applied {applied} of {committed} entries of the log"))
        }
        Some(_) => None,
    }
}
