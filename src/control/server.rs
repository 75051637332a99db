//! The daemon's end of the local socket.
//!
//! One thread accepts; each connection gets a short-lived one of its own (named, small stack, at
//! most [`MOST_CONNECTIONS`]), in which its request is read, answered and forgotten. Pictures are
//! answered from what was published last, so `qu status` never waits for the core; everything
//! else is the [`Desk`]'s, which may take its time: the caller waits in his own thread.
//!
//! A socket file left by a daemon that died is replaced; one behind which somebody answers is
//! not, so a second daemon cannot take the first one's callers. The file appears in one step with
//! its final mode: there is no moment at which others could connect.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::clock::RealClock;
use crate::base::file::{self, FileError};
use crate::base::frame::{self, FrameError};
use crate::sys::cred;
use crate::view::View;

use super::message::{Ask, LARGEST_REPLY, LARGEST_REQUEST, Reply, Request};
use super::stream::Deadline;

/// Connections at a time. People and scripts are few; more is somebody in a loop, who is told so.
pub const MOST_CONNECTIONS: usize = 32;
/// To send the whole request.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// To take the whole answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// An answer is sent in frames of this: `frame::write` copies each once.
const PIECE: usize = 1024 * 1024;
/// Enough for JSON of the largest request; the default of 2 MiB is for programs that recurse.
const STACK: usize = 512 * 1024;
/// After a failed accept (no descriptor left, mostly), before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At an orderly stop, for answers that are under way.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// For the directory: the daemon's user and its group come in.
const DIRECTORY_MODE: u32 = 0o750;
/// For the socket: to connect one must be allowed to write to it.
const SOCKET_MODE: u32 = 0o660;

/// Who asks, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The process; 0 when it is in another process namespace.
    pub pid: i32,
}

impl fmt::Display for Caller {
    /// `alice (uid 1000, pid 4711)`: for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match cred::user_name(self.uid) {
            Some(name) => write!(f, "{name} (uid {}, pid {})", self.uid, self.pid),
            None => write!(f, "uid {} (pid {})", self.uid, self.pid),
        }
    }
}

/// Where everything but pictures is answered.
pub trait Desk: Send + Sync {
    /// Answers one request, in the thread of its connection. Must come back by itself, a second
    /// before the caller's [`Ask::patience`] ends. [`Ask::Status`] never gets here.
    fn ask(&self, who: &Caller, request: Request) -> Reply;
}

/// What was published last.
pub type Picture = Arc<dyn Fn() -> Arc<View> + Send + Sync>;

/// Why the socket cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another daemon answers there.
    Taken(PathBuf),
    /// Something that is not a socket is in the way.
    NotASocket(PathBuf),
    /// The directory belongs to somebody else.
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The system refused.
    File(FileError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Taken(path) => write!(
                f,
                "another qu serve answers at {}; stop it first, or set QUPTIME_SOCKET to another path",
                path.display()
            ),
            OpenError::NotASocket(path) => write!(
                f,
                "{} is not a socket; move it away, or set QUPTIME_SOCKET to another path",
                path.display()
            ),
            OpenError::Foreign { directory, owner } => write!(
                f,
                "not opening the control socket in {}: the directory belongs to user {owner}; remove it, or set QUPTIME_SOCKET to another path",
                directory.display()
            ),
            OpenError::File(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::File(e) => e.source(),
            _ => None,
        }
    }
}

impl From<FileError> for OpenError {
    fn from(e: FileError) -> OpenError {
        OpenError::File(e)
    }
}

/// The open socket. Removed from the file system when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: at the end only our own socket is removed, not a successor's.
    inode: (u64, u64),
    stopping: Arc<AtomicBool>,
}

/// Ends [`Server::run`] from another thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
}

impl Stopper {
    /// No further connections; those that are being answered get half a second.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The listener sleeps in accept; a connection wakes it. When nobody can connect any more
        // (the file is gone), it is not needed for an orderly end either: the process ends.
        drop(UnixStream::connect(&self.path));
    }
}

impl Server {
    /// Makes the directory if it is missing, and the socket.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing of another daemon was touched.
    pub fn open(path: &Path) -> Result<Server, OpenError> {
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        file::directory(directory, DIRECTORY_MODE)?;
        own_directory(directory)?;
        clear_way(path)?;
        // Bound under another name, given its mode, then moved in place.
        let temp = directory.join(format!(".qu{}", std::process::id()));
        drop(fs::remove_file(&temp));
        let listener = UnixListener::bind(&temp).map_err(file::at("create the socket", path))?;
        let placed = fs::set_permissions(&temp, fs::Permissions::from_mode(SOCKET_MODE))
            .and_then(|()| fs::symlink_metadata(&temp))
            .and_then(|meta| fs::rename(&temp, path).map(|()| (meta.dev(), meta.ino())));
        match placed {
            Ok(inode) => {
                let stopping = Arc::new(AtomicBool::new(false));
                Ok(Server { listener, path: path.to_owned(), inode, stopping })
            }
            Err(e) => {
                drop(fs::remove_file(&temp));
                Err(file::at("create the socket", path)(e).into())
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What ends [`run`](Server::run).
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { path: self.path.clone(), stopping: Arc::clone(&self.stopping) }
    }

    /// Answers until stopped; the calling thread is the listener's. The socket is gone when this
    /// returns.
    pub fn run(self, picture: &Picture, desk: &Arc<dyn Desk>) {
        let open = Arc::new(Open::default());
        loop {
            let accepted = self.listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                self.send_away(accepted.ok().map(|(socket, _)| socket));
                open.wait_for_none();
                return;
            }
            match accepted {
                Ok((socket, _)) => serve(socket, &open, picture, desk),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    crate::log!(Warn, "control", "cannot accept a connection", why = e);
                    // sleeps: nothing tells when a descriptor is free again.
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }
}

impl Server {
    /// At an orderly stop, those that came too late are told so.
    fn send_away(&self, first: Option<UnixStream>) {
        // Whoever is in the queue of the listener already; the wake-up of the stopper among them.
        let queued = self.listener.set_nonblocking(true).is_ok();
        let rest = std::iter::from_fn(|| if queued { self.listener.accept().ok() } else { None });
        let rest = rest.map(|(socket, _)| socket);
        for socket in first.into_iter().chain(rest.take(MOST_CONNECTIONS)) {
            say(&socket, &Reply::TryAgain { text: "the daemon is stopping; try again".to_owned() });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours {
            // A file that stays behind is replaced at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A directory of another user, in which he could replace the socket, is no place for it. Root
/// may open one in the directory that was made for the service's user.
fn own_directory(directory: &Path) -> Result<(), OpenError> {
    let owner = fs::metadata(directory).map_err(file::at("look at", directory))?.uid();
    let me = cred::euid();
    if me != 0 && owner != me && owner != 0 {
        return Err(OpenError::Foreign { directory: directory.to_owned(), owner });
    }
    Ok(())
}

/// Nothing, or a socket behind which nobody is, may be replaced.
fn clear_way(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(file::at("look at", path)(e).into()),
        Ok(meta) if !meta.file_type().is_socket() => Err(OpenError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            // Gone in the meantime.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            // Somebody listens, be it that we may not speak to him.
            Ok(_) | Err(_) => Err(OpenError::Taken(path.to_owned())),
        },
    }
}

/// How many connections are open.
#[derive(Default)]
struct Open {
    count: Mutex<usize>,
    fewer: Condvar,
}

impl Open {
    /// At an orderly stop.
    fn wait_for_none(&self) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.fewer.wait_timeout_while(count, STOP_PATIENCE, |count| *count > 0));
    }
}

/// Counts an open connection for as long as it lives.
struct Place(Arc<Open>);

impl Place {
    /// `None` when there are as many as there may be.
    fn take(open: &Arc<Open>) -> Option<Place> {
        let mut count = open.count.lock().unwrap_or_else(PoisonError::into_inner);
        if *count >= MOST_CONNECTIONS {
            return None;
        }
        *count += 1;
        Some(Place(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.fewer.notify_all();
    }
}

fn serve(socket: UnixStream, open: &Arc<Open>, picture: &Picture, desk: &Arc<dyn Desk>) {
    let Some(place) = Place::take(open) else {
        let text = format!("the daemon answers {MOST_CONNECTIONS} commands at a time already; try again");
        say(&socket, &Reply::TryAgain { text });
        return;
    };
    let socket = Arc::new(socket);
    let own = (Arc::clone(&socket), Arc::clone(picture), Arc::clone(desk));
    let conversation = move || {
        let (_place, (socket, picture, desk)) = (place, own);
        converse(&socket, &picture, desk.as_ref());
    };
    let started = thread::Builder::new().name("control-conn".into()).stack_size(STACK).spawn(conversation);
    if let Err(e) = started {
        crate::log!(Warn, "control", "no thread for a command: others wait until it is answered", why = e);
        converse(&socket, picture, desk.as_ref());
    }
}

/// One request, one answer.
fn converse(socket: &UnixStream, picture: &Picture, desk: &dyn Desk) {
    let caller = match cred::peer(socket) {
        Ok(peer) => Caller { uid: peer.uid, pid: peer.pid },
        Err(e) => {
            crate::log!(Warn, "control", "cannot tell who asks", why = e);
            return;
        }
    };
    let clock = RealClock::new();
    let mut timed = Deadline::new(socket, &clock, READ_PATIENCE);
    let body = match frame::read(&mut timed, LARGEST_REQUEST) {
        Ok(body) => body,
        // A look whether somebody is there.
        Err(FrameError::Closed) => return,
        Err(e) => {
            crate::log!(Info, "control", "no whole request came", caller = caller, why = e);
            say(socket, &Reply::refused(format!("the daemon got no whole request: {e}")));
            return;
        }
    };
    let reply = match serde_json::from_slice::<Request>(&body) {
        Ok(request) => answer(&caller, request, picture, desk),
        Err(e) => {
            let version = env!("CARGO_PKG_VERSION");
            Reply::refused(format!(
                "the daemon (quptime {version}) does not understand the request: {e}; is qu of another version? (restart the daemon after an upgrade)"
            ))
        }
    };
    say(socket, &reply);
}

fn answer(caller: &Caller, request: Request, picture: &Picture, desk: &dyn Desk) -> Reply {
    if let Ask::Status(filter) = &request.ask {
        return match picture().filtered(filter) {
            Ok(view) => Reply::View(Arc::new(view)),
            Err(text) => Reply::Refused { text },
        };
    }
    if request.ask.is_deed() {
        crate::log!(Info, "control", request.ask.summary(), caller = caller, request = request.id);
    }
    desk.ask(caller, request)
}

fn say(socket: &UnixStream, reply: &Reply) {
    let clock = RealClock::new();
    let mut timed = Deadline::new(socket, &clock, WRITE_PATIENCE);
    let sent = serde_json::to_vec(reply).map_err(io::Error::from).and_then(|body| {
        if body.len() > LARGEST_REPLY {
            let why = "the answer is too large; ask for less by --check, --state or --limit";
            return frame::write(&mut timed, &serde_json::to_vec(&Reply::refused(why))?);
        }
        body.chunks(PIECE).try_for_each(|piece| frame::write(&mut timed, piece))
    });
    if let Err(e) = sent {
        crate::log!(Debug, "control", "an answer was not taken", why = e);
    }
}

#[cfg(test)]
mod tests;
