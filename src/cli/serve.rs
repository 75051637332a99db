//! `qu serve` and `qu sandbox`: what the flags mean; the running itself is the daemon's.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::base::log::{self, Format, Level};
use crate::base::units::Span;
use crate::config::Secret;
use crate::config::node::Overrides;

use super::parse::Said;
use super::{Failure, Session, init, wiring};

/// How a daemon is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Data directory.
    pub dir: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
    /// What the flags say about the node: over the environment, which is over `node.yaml`.
    pub flags: Overrides,
    /// Start again from `cluster.yaml` with a majority of those that it names.
    pub recover: bool,
}

/// How a sandbox is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxOptions {
    /// Where the nodes' directories go; a fresh one under the temporary directory when not given.
    pub dir: Option<PathBuf>,
    /// How many nodes.
    pub nodes: u32,
    /// Stop the targets after so long, and start them again after as long once more.
    pub break_after: Option<Span>,
}

/// `qu serve`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let secret = said.text("secret").filter(|s| !s.is_empty()).map(Secret::new);
    if secret.is_some() {
        session.say(
            "warning: other users can read --secret in the process list; QUPTIME_CLUSTER_SECRET keeps it out of there",
        );
    }
    let options = ServeOptions {
        dir: wiring::data_dir(session, said)?,
        socket: wiring::socket(session).path,
        flags: init::flags(said, secret)?,
        recover: said.has("recover"),
    };
    let level = level(session, said)?;
    log::init(level, format(session, said)?);
    wiring::serve(&options)
}

/// `--log-level`, else `QUPTIME_LOG`, else `info`.
fn level(session: &Session<'_>, said: &Said) -> Result<Level, Failure> {
    if let Some(level) = said.parse("log-level")? {
        return Ok(level);
    }
    match session.variable("QUPTIME_LOG")? {
        Some(text) => text.parse().map_err(|e| Failure::Usage(format!("QUPTIME_LOG: {e}"))),
        None => Ok(Level::Info),
    }
}

/// JSON when asked for; journald's when standard error is its socket.
fn format(session: &Session<'_>, said: &Said) -> Result<Format, Failure> {
    if said.text("log-format") == Some("json") {
        return Ok(Format::Json);
    }
    let journal = session.variable("JOURNAL_STREAM")?;
    let ours = std::fs::metadata("/proc/self/fd/2").ok().map(|m| format!("{}:{}", m.dev(), m.ino()));
    Ok(if journal.is_some() && journal == ours { Format::Journal } else { Format::Text })
}

/// `qu sandbox`.
pub fn sandbox(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let nodes = match said.text("nodes") {
        None => 3,
        Some(text) => {
            let count: Option<u32> = text.parse().ok().filter(|n| (1..=7).contains(n));
            count.ok_or_else(|| Failure::Usage(format!("--nodes: {text:?} is not a number from 1 to 7")))?
        }
    };
    let dir = said.text("dir").map(PathBuf::from);
    let break_after = said.parse("break-after")?;
    wiring::sandbox(session, &SandboxOptions { dir, nodes, break_after })
}
