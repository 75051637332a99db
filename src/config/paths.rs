//! Where files are: the data directory, what is in it, and the control socket.
//!
//! Pure rules over an [`Env`] that the caller fills from the process: so every case is a row in a
//! test, and nothing depends on who runs it.

use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The data directory of root and of the packaged service.
const SYSTEM_DIR: &str = "/etc/quptime";
/// The control socket of root and of the packaged service.
const SYSTEM_SOCKET: &str = "/run/quptime/quptime.sock";
/// The user that the package makes for the service: its shell finds the service's files.
const SERVICE_USER: &str = "quptime";

/// What the rules look at.
pub struct Env<'e> {
    /// Environment variables.
    pub var: &'e dyn Fn(&str) -> Option<String>,
    /// The effective user id.
    pub uid: u32,
    /// The name of that user; empty when it has none.
    pub user: String,
    /// Whether there is such a file.
    pub exists: &'e dyn Fn(&Path) -> bool,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("uid", &self.uid).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Env<'_> {
    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|v| !v.is_empty())
    }

    /// A directory from a variable, which must be absolute to count (XDG Base Directory
    /// Specification, section 2).
    fn directory(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|p| p.is_absolute())
    }
}

/// The data directory: `$QUPTIME_DIR`; else `/etc/quptime` for root and the packaged service; else
/// `$XDG_CONFIG_HOME/quptime` or `~/.config/quptime`.
///
/// # Errors
/// A sentence: nothing says where the user's files are.
pub fn data_directory(env: &Env) -> Result<PathBuf, String> {
    if let Some(dir) = env.get("QUPTIME_DIR") {
        return Ok(PathBuf::from(dir));
    }
    if env.uid == 0 || env.user == SERVICE_USER {
        return Ok(PathBuf::from(SYSTEM_DIR));
    }
    let config = env.directory("XDG_CONFIG_HOME").or_else(|| Some(env.directory("HOME")?.join(".config")));
    let none = || "no data directory: neither QUPTIME_DIR nor HOME is set; set QUPTIME_DIR".to_owned();
    config.map(|c| c.join("quptime")).ok_or_else(none)
}

/// The control socket: `$QUPTIME_SOCKET`; else `quptime.sock` in the first directory of
/// `$RUNTIME_DIRECTORY`; else `/run/quptime/quptime.sock` if it exists or the user is root; else
/// `$XDG_RUNTIME_DIR/quptime/quptime.sock`; else `/tmp/quptime-<user>/quptime.sock`.
#[must_use]
pub fn control_socket(env: &Env) -> PathBuf {
    if let Some(socket) = env.get("QUPTIME_SOCKET") {
        return PathBuf::from(socket);
    }
    let runtime = env.get("RUNTIME_DIRECTORY");
    if let Some(first) = runtime.as_deref().and_then(|r| r.split(':').find(|p| !p.is_empty())) {
        return Path::new(first).join("quptime.sock");
    }
    if env.uid == 0 || (env.exists)(Path::new(SYSTEM_SOCKET)) {
        return PathBuf::from(SYSTEM_SOCKET);
    }
    if let Some(runtime) = env.directory("XDG_RUNTIME_DIR") {
        return runtime.join("quptime/quptime.sock");
    }
    // A user without a name, or with one that is a path, is told by number.
    let named = !env.user.is_empty() && !env.user.contains(['/', '\0']) && env.user != "..";
    let user = if named { env.user.clone() } else { env.uid.to_string() };
    Path::new("/tmp").join(format!("quptime-{user}")).join("quptime.sock")
}

/// The files of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    dir: PathBuf,
}

impl Paths {
    /// Of this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Paths {
        Paths { dir: dir.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// This node; mode 0600.
    #[must_use]
    pub fn node_yaml(&self) -> PathBuf {
        self.dir.join("node.yaml")
    }

    /// The cluster's configuration; mode 0600.
    #[must_use]
    pub fn cluster_yaml(&self) -> PathBuf {
        self.dir.join("cluster.yaml")
    }

    /// Where a `cluster.yaml` is kept that was refused; `time` as `base::text::compact_time`
    /// writes it.
    #[must_use]
    pub fn rejected_yaml(&self, time: &str) -> PathBuf {
        self.dir.join(format!("cluster.yaml.rejected-{time}"))
    }

    /// Fingerprints that this node accepts; mode 0600.
    #[must_use]
    pub fn trust_yaml(&self) -> PathBuf {
        self.dir.join("trust.yaml")
    }

    /// The node's key and certificate; mode 0700.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// The private key; mode 0600.
    #[must_use]
    pub fn private_pem(&self) -> PathBuf {
        self.keys().join("private.pem")
    }

    /// The public key; mode 0644.
    #[must_use]
    pub fn public_pem(&self) -> PathBuf {
        self.keys().join("public.pem")
    }

    /// The certificate; mode 0644.
    #[must_use]
    pub fn cert_pem(&self) -> PathBuf {
        self.keys().join("cert.pem")
    }

    /// What the quorum core must not forget; mode 0700.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Locked by the one daemon that may use this directory; mode 0600.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("qu.lock")
    }
}
