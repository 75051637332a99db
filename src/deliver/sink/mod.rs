//! Small, real receivers on loopback: a mail server and a webhook, for `qu sandbox` and for tests
//! of everything that delivers.
//!
//! Model: a sink listens, keeps what arrives (the newest `KEPT`), calls back, and misbehaves
//! when told to: refuses for now or for good, says nothing, takes a message and vanishes without
//! an answer. It never stores to disk, never relays, and refuses to listen on anything but
//! loopback. What it leaves out: most of SMTP and HTTP; it speaks as much as the clients of this
//! program need.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub mod cert;
pub mod smtp;
pub mod webhook;

pub use cert::TestAuthority;
pub use smtp::{ReceivedMail, SmtpMood, SmtpOptions, SmtpSink};
pub use webhook::{Answer, Post, WebhookMood, WebhookSink};

/// What arrived is kept up to this many; older ones are forgotten.
const KEPT: usize = 10_000;
/// Connections served at once; more are closed at once.
const CONNECTIONS: usize = 64;
/// How long a sink waits for a client, and how long "says nothing" lasts at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Called with each message as it arrives.
pub type OnArrival<T> = Box<dyn Fn(&T) + Send + Sync>;

/// What arrived so far, and who waits for more.
pub(super) struct Arrivals<T> {
    kept: Mutex<Vec<T>>,
    more: Condvar,
    on_arrival: Option<OnArrival<T>>,
}

impl<T: Clone> Arrivals<T> {
    fn new(on_arrival: Option<OnArrival<T>>) -> Arrivals<T> {
        Arrivals { kept: Mutex::new(Vec::new()), more: Condvar::new(), on_arrival }
    }

    fn add(&self, item: T) {
        if let Some(call) = &self.on_arrival {
            call(&item);
        }
        let mut kept = locked(&self.kept);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(item);
        self.more.notify_all();
    }

    fn all(&self) -> Vec<T> {
        locked(&self.kept).clone()
    }

    /// What there is once `count` arrived, or after `limit`, whichever is first.
    fn wait(&self, count: usize, limit: Duration) -> Vec<T> {
        let kept = locked(&self.kept);
        let waited = self.more.wait_timeout_while(kept, limit, |kept| kept.len() < count);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// A poisoned lock means that another thread panicked; its data are plain values and stay usable.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener and the threads of its connections; ends when dropped.
pub(super) struct Listening {
    addr: SocketAddr,
    closing: Arc<AtomicBool>,
}

impl Listening {
    /// Listens on a loopback address; `serve` gets each connection on a thread of its own.
    fn start<F>(bind: SocketAddr, name: &str, serve: F) -> io::Result<Listening>
    where
        F: Fn(TcpStream, &AtomicBool) + Send + Sync + 'static,
    {
        if !bind.ip().is_loopback() {
            let why = format!("{bind} is not a loopback address, and a sink listens nowhere else");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(bind)?;
        let addr = listener.local_addr()?;
        let closing = Arc::new(AtomicBool::new(false));
        let (seen, serve, open) = (Arc::clone(&closing), Arc::new(serve), Arc::new(AtomicUsize::new(0)));
        let name = name.to_owned();
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
                    open.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let (serve, seen, open) = (Arc::clone(&serve), Arc::clone(&seen), Arc::clone(&open));
                let left = Arc::clone(&open);
                let started = std::thread::Builder::new().name(name.clone()).spawn(move || {
                    let timeouts = stream
                        .set_read_timeout(Some(PATIENCE))
                        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                    if timeouts.is_ok() {
                        serve(stream, &seen);
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
                if started.is_err() {
                    left.fetch_sub(1, Ordering::SeqCst);
                }
            }
        })?;
        Ok(Listening { addr, closing })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // The accepting thread looks at the flag when the next connection comes: this one.
        drop(TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)));
    }
}

/// Waits until the client has gone away, the sink ends, or patience does.
fn say_nothing(wire: &Wire, closing: &AtomicBool) {
    let slice = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    let stream = wire.tcp();
    if stream.set_read_timeout(Some(slice)).is_err() {
        return;
    }
    let mut byte = [0; 256];
    while waited < PATIENCE && !closing.load(Ordering::SeqCst) {
        match (&*stream).read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                waited += slice
            }
            Err(_) => return,
        }
    }
}

/// A connection, encrypted or not.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn tls(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Wire> {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    fn close(&self) {
        // The other side may have closed first; either way the connection is over.
        drop(self.tcp().shutdown(Shutdown::Both));
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(into),
            Wire::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// One line without its end; `None` when the connection ended. Longer than `bound` is an error.
fn read_line(from: &mut impl io::BufRead, bound: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let n = io::BufRead::read_until(&mut from.take(bound), b'\n', &mut line)?;
    if n as u64 >= bound {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
    }
    if !line.ends_with(b"\n") {
        return Ok(None);
    }
    line.pop();
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(Some(line))
}
