//! Telling systemd (sd_notify(3)): ready, stopping, alive, and a line of status.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::log;

/// Where systemd listens, if it does.
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the daemon lives: half of what it waits.
    pub watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    #[must_use]
    pub fn from_environment() -> Notify {
        let watchdog = env::var("WATCHDOG_USEC").ok().and_then(|v| v.parse::<u64>().ok());
        let own = env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
        let to = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).and_then(|path| {
            let bytes = path.as_bytes();
            let address = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&path),
            };
            let pair = address.and_then(|a| UnixDatagram::unbound().map(|s| (s, a)));
            pair.map_err(|e| log!(Warn, "notify", "cannot reach the service manager", why = e)).ok()
        });
        let watchdog = watchdog.filter(|us| *us > 0 && own).map(|us| Duration::from_micros(us / 2));
        Notify { to, watchdog }
    }

    /// The control socket answers: dependants may start.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// The core still turns.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.say(&format!("STATUS={}", line.replace('\n', " ")));
    }

    fn say(&self, what: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(e) = socket.send_to_addr(what.as_bytes(), address) {
            log!(Debug, "notify", "the service manager does not listen", why = e);
        }
    }
}
