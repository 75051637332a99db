//! The one place where the command line touches what is neither its own nor `control`'s: where
//! files are, how a node is made, and the daemon itself.

use std::path::PathBuf;

use crate::base::clock::{Clock, RealClock};
use crate::config::node::Overrides;
use crate::config::paths::{self, Env, Paths};
use crate::daemon::{self, start};
use crate::sys::{cred, signal};

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

/// The environment as text; a value that is not UTF-8 counts as unset.
pub fn variable(session: &Session<'_>) -> impl Fn(&str) -> Option<String> {
    |name| (session.env)(name).and_then(|v| v.into_string().ok())
}

/// What the rules about places look at.
fn with_env<T>(session: &Session<'_>, rule: impl FnOnce(&Env<'_>) -> T) -> T {
    let uid = cred::euid();
    let user = cred::user_name(uid).unwrap_or_default();
    rule(&Env { var: &variable(session), uid, user, exists: &|path| path.exists() })
}

/// The data directory: `--dir`, else by rule.
pub fn data_dir(session: &Session<'_>, said: &Said) -> Result<PathBuf, Failure> {
    match said.text("dir").filter(|d| !d.is_empty()) {
        Some(dir) => Ok(dir.into()),
        None => with_env(session, paths::data_directory).map_err(Failure::Failed),
    }
}

/// The control socket, by rule.
pub fn socket(session: &Session<'_>) -> Socket {
    let set = |name: &str| variable(session)(name).is_some_and(|v| !v.is_empty());
    let guessed = !set("QUPTIME_SOCKET") && !set("RUNTIME_DIRECTORY");
    Socket { path: with_env(session, paths::control_socket), guessed }
}

/// Makes a node.
pub fn init(new: &NewNode) -> Result<Made, Failure> {
    let paths = Paths::new(&new.dir);
    let wall = RealClock::new().wall();
    let made = start::make_node(&paths, new.given.clone(), new.key, wall).map_err(Failure::Failed)?;
    Ok(Made {
        node: made.config.node_id,
        dir: new.dir.clone(),
        advertise: made.config.advertise,
        fingerprint: made.fingerprint,
        new_secret: made.new_secret.then_some(made.config.secret),
    })
}

/// How this process may ping.
pub fn pings() -> crate::view::mesh::Pings {
    daemon::mesh::pings()
}

/// Whether a daemon could listen there: it is tried, and let go at once.
pub fn could_listen(ip: std::net::IpAddr, port: u16) -> Result<(), String> {
    crate::transport::listen::bind(Some(ip), port).map(drop).map_err(|e| e.to_string())
}

/// Runs the daemon until it is told to stop.
pub fn serve(options: &ServeOptions) -> Result<(), Failure> {
    let lookup = |name: &str| std::env::var(name).ok();
    let environment = Overrides::from_env(&lookup).map_err(Failure::Usage)?;
    // Before the first thread: each inherits the mask.
    signal::block().map_err(|e| Failure::Failed(format!("cannot block signals: {e}")))?;
    let (dir, socket) = (options.dir.clone(), options.socket.clone());
    let overrides = options.flags.clone().over(environment);
    daemon::run(&daemon::Options { dir, socket, overrides }).map_err(Failure::Failed)
}

/// Runs a sandbox until it is told to stop.
pub fn sandbox(session: &mut Session<'_>, options: &SandboxOptions) -> Result<(), Failure> {
    let exe = std::env::current_exe()
        .map_err(|e| Failure::Failed(format!("cannot find this program's own file: {e}")))?;
    // Before the first thread: each inherits the mask.
    signal::block().map_err(|e| Failure::Failed(format!("cannot block signals: {e}")))?;
    let options = daemon::sandbox::Options {
        exe,
        dir: options.dir.clone(),
        nodes: options.nodes,
        break_after: options.break_after,
    };
    daemon::sandbox::run(&options, session.out).map_err(Failure::Failed)
}
