//! The one place where the command line touches what is neither its own nor `control`'s: where
//! files are, how a node is made, and the daemon itself.

use std::path::PathBuf;

use crate::sys::cred;

use super::init::{Made, NewNode};
use super::parse::Said;
use super::serve::{SandboxOptions, ServeOptions};
use super::{Failure, Session};

/// Where the control socket is.
pub struct Socket {
    /// The path.
    pub path: PathBuf,
    /// Found by rule, not named by the operator: whoever could have put it there is looked at.
    pub guessed: bool,
}

/// The data directory: `--dir`, else by rule.
pub fn data_dir(session: &Session<'_>, said: &Said) -> Result<PathBuf, Failure> {
    if let Some(dir) = said.text("dir").filter(|d| !d.is_empty()) {
        return Ok(dir.into());
    }
    let var = |name: &str| (session.env)(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = var("QUPTIME_DIR") {
        return Ok(dir);
    }
    if cred::euid() == 0 {
        return Ok("/etc/quptime".into());
    }
    let config = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|h| h.join(".config")));
    let missing = || Failure::Failed("no data directory: give --dir, or set QUPTIME_DIR or HOME".to_owned());
    config.map(|c| c.join("quptime")).ok_or_else(missing)
}

/// The control socket, by rule.
pub fn socket(session: &Session<'_>) -> Result<Socket, Failure> {
    let var = |name: &str| (session.env)(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = var("QUPTIME_SOCKET") {
        return Ok(Socket { path, guessed: false });
    }
    let first = |dirs: String| dirs.split(':').next().map(PathBuf::from).filter(|d| d.is_absolute());
    if let Some(dir) = session.variable("RUNTIME_DIRECTORY")?.and_then(first) {
        return Ok(Socket { path: dir.join("quptime.sock"), guessed: false });
    }
    let system = PathBuf::from("/run/quptime/quptime.sock");
    if cred::euid() == 0 || system.exists() {
        return Ok(Socket { path: system, guessed: true });
    }
    if let Some(dir) = var("XDG_RUNTIME_DIR") {
        return Ok(Socket { path: dir.join("quptime/quptime.sock"), guessed: true });
    }
    let uid = cred::euid();
    let user = cred::user_name(uid).unwrap_or_else(|| uid.to_string());
    Ok(Socket { path: format!("/tmp/quptime-{user}/quptime.sock").into(), guessed: true })
}

/// Makes a node.
pub fn init(_session: &mut Session<'_>, new: &NewNode) -> Result<Made, Failure> {
    Err(Failure::Failed(format!("cannot make a node in {}: not wired", new.dir.display())))
}

/// Runs the daemon until it is told to stop.
pub fn serve(_session: &mut Session<'_>, options: &ServeOptions) -> Result<(), Failure> {
    Err(Failure::Failed(format!("cannot serve {}: not wired", options.dir.display())))
}

/// Runs a sandbox until it is told to stop.
pub fn sandbox(_session: &mut Session<'_>, options: &SandboxOptions) -> Result<(), Failure> {
    Err(Failure::Failed(format!("cannot start {} nodes: not wired", options.nodes)))
}
