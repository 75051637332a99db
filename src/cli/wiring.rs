//! The one place where the command line touches what is neither its own nor `control`'s: where
//! files are, how a node is made, and the daemon itself.

use std::path::PathBuf;

use crate::base::clock::{Clock, RealClock};
use crate::config::Secret;
use crate::config::node::{Advertise, Overrides, cluster_secret};
use crate::config::paths::Paths;
use crate::daemon::{self, start};
use crate::identity::KeyKind;
use crate::sys::{cred, signal};

use super::init::{KeyType, Made, NewNode};
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
///
/// # Errors
/// One line.
pub fn init(session: &mut Session<'_>, new: &NewNode) -> Result<Made, Failure> {
    let flags = Overrides {
        node_id: None,
        bind: new.bind,
        port: new.port,
        advertise: new.advertise.clone().map(|a| Advertise { host: a.host, port: Some(a.port) }),
        secret: secret(new.secret.as_ref())?,
    };
    let given = flags.over(environment(session)?);
    let kind = match new.key_type {
        KeyType::Rsa3072 => KeyKind::Rsa3072,
        KeyType::EcdsaP256 => KeyKind::EcdsaP256,
    };
    let wall = RealClock::new().wall();
    let made = start::make_node(&Paths::new(&new.dir), given, kind, wall).map_err(Failure::Failed)?;
    Ok(Made {
        node: made.config.node_id,
        dir: new.dir.clone(),
        advertise: made.config.advertise,
        fingerprint: made.fingerprint,
        new_secret: Some(made.config.secret).filter(|_| made.new_secret),
    })
}

/// What the environment says of a node.
fn environment(session: &Session<'_>) -> Result<Overrides, Failure> {
    let lookup = |name: &str| session.variable(name).ok().flatten();
    Overrides::from_env(&lookup).map_err(Failure::Usage)
}

/// A secret from a flag, judged.
fn secret(given: Option<&Secret>) -> Result<Option<Secret>, Failure> {
    let judged = given.map(|s| cluster_secret(s.reveal()));
    judged.transpose().map_err(|e| Failure::Usage(format!("--secret: {e}")))
}

/// Runs the daemon until it is told to stop.
pub fn serve(session: &mut Session<'_>, options: &ServeOptions) -> Result<(), Failure> {
    let flags = Overrides {
        node_id: None,
        bind: options.bind,
        port: options.port,
        advertise: options.advertise.clone().map(|a| Advertise { host: a.host, port: Some(a.port) }),
        secret: secret(options.secret.as_ref())?,
    };
    let overrides = flags.over(environment(session)?);
    // Before the first thread: each inherits the mask.
    signal::block().map_err(|e| Failure::Failed(format!("cannot block signals: {e}")))?;
    let (dir, socket) = (options.dir.clone(), options.socket.clone());
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
