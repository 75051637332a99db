//! The one place where the command line touches what is neither its own nor `control`'s: where
//! files are, how a node is made, and the daemon itself.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::clock::{Clock, RealClock};
use crate::base::{file, text};
use crate::config::node::{self, Overrides};
use crate::config::paths::{self, Env, Paths};
use crate::daemon::{self, backup, start};
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

/// The largest credential that is read: a secret and a line's end are far less.
const LARGEST_CREDENTIAL: u64 = 4096;

/// What systemd hands over in files that only this daemon can read (`LoadCredential=`): the
/// cluster's secret, if it is there.
///
/// # Errors
/// One line that names the file and does not show what is in it.
fn credentials(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Overrides, String> {
    let none = Overrides::default();
    let Some(dir) = lookup("CREDENTIALS_DIRECTORY").filter(|d| !d.is_empty()) else { return Ok(none) };
    let path = PathBuf::from(dir).join("cluster-secret");
    let said = match file::read_text(&path, LARGEST_CREDENTIAL) {
        Ok(said) => said,
        Err(e) if e.source.kind() == ErrorKind::NotFound => return Ok(none),
        Err(e) => return Err(text::chain(&e)),
    };
    let line = said.strip_suffix('\n').unwrap_or(&said);
    let secret = node::cluster_secret(line.strip_suffix('\r').unwrap_or(line));
    Ok(Overrides { secret: Some(secret.map_err(|e| format!("{}: {e}", path.display()))?), ..none })
}

/// How this process may ping.
pub fn pings() -> crate::view::mesh::Pings {
    daemon::mesh::pings()
}

/// Whether a daemon could listen there: it is tried, and let go at once.
pub fn could_listen(ip: std::net::IpAddr, port: u16) -> Result<(), String> {
    crate::transport::listen::bind(Some(ip), port).map(drop).map_err(|e| e.to_string())
}

/// The newest config version that `state/` knows, while no daemon uses it; `None` when it knows none.
pub fn state_version(paths: &Paths) -> Result<Option<u64>, String> {
    daemon::present::look(paths)
}

/// A backup.
pub struct Archive {
    /// What it holds.
    pub content: backup::Content,
    /// The tar file.
    pub bytes: Vec<u8>,
}

/// The largest backup that is read, bytes.
pub const LARGEST_BACKUP: u64 = backup::LARGEST_ARCHIVE;

/// Makes a backup of the node in a directory.
pub fn backup(dir: &Path) -> Result<Archive, Failure> {
    let (bytes, content) =
        backup::pack(&Paths::new(dir), RealClock::new().wall()).map_err(Failure::Failed)?;
    Ok(Archive { content, bytes })
}

/// Puts a backup into a file.
pub fn save_backup(target: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    backup::save(target, bytes, force).map_err(Failure::Failed)
}

/// Notes that a backup was made now.
pub fn mark_backup(dir: &Path) -> Result<(), String> {
    backup::mark(&Paths::new(dir), RealClock::new().wall())
}

/// Puts a node back; also says where the state is kept that was there.
pub fn restore(
    dir: &Path,
    source: &str,
    bytes: Vec<u8>,
    force: bool,
) -> Result<(Archive, Option<PathBuf>), Failure> {
    let unpacked = backup::unpack(&bytes);
    let unpacked = unpacked.map_err(|e| Failure::Failed(format!("{source}: {e}; nothing was restored")))?;
    let restored = backup::restore(&Paths::new(dir), &unpacked, force, RealClock::new().wall());
    let restored = restored.map_err(Failure::Failed)?;
    Ok((Archive { content: unpacked.content, bytes }, restored.state_kept))
}

/// Runs the daemon until it is told to stop.
pub fn serve(options: &ServeOptions) -> Result<(), Failure> {
    let lookup = |name: &str| std::env::var(name).ok();
    let environment = Overrides::from_env(&lookup).map_err(Failure::Usage)?;
    // Before the first thread: each inherits the mask.
    signal::block().map_err(|e| Failure::Failed(format!("cannot block signals: {e}")))?;
    let (dir, socket) = (options.dir.clone(), options.socket.clone());
    let given = credentials(&lookup).map_err(Failure::Failed)?;
    let overrides = options.flags.clone().over(environment).over(given);
    daemon::run(&daemon::Options { dir, socket, overrides, recover: options.recover })
        .map_err(Failure::Failed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_may_come_as_a_credential() {
        let dir = std::env::temp_dir().join(format!("qu-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let named = |_: &str| Some(dir.display().to_string());
        assert_eq!(credentials(&|_| None), Ok(Overrides::default()));
        assert_eq!(credentials(&|_| Some(String::new())), Ok(Overrides::default()));
        assert_eq!(credentials(&named), Ok(Overrides::default()), "there need not be one");

        let file = dir.join("cluster-secret");
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&file, format!("correct horse battery{end}")).unwrap();
            let secret = credentials(&named).unwrap().secret.unwrap();
            assert_eq!(secret.reveal(), "correct horse battery");
        }
        std::fs::write(&file, "tooshort\n").unwrap();
        let why = credentials(&named).unwrap_err();
        assert!(why.contains("cluster-secret: the cluster secret must have"), "{why}");
        assert!(!why.contains("tooshort"), "{why}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
