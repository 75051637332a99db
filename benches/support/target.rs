//! A target that costs little: one thread, one epoll set, the same small answer for everybody, over
//! HTTP or HTTPS; a connection that asks for nothing (a TCP check) is counted and closed.
//!
//! It runs in the bench's own process, so that its CPU time is not in anybody's account.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quptime::sys::poll::{Poller, Ready};
use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, Socket, Type};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const LISTENER: u64 = u64::MAX;

/// The running target; ends when dropped, and with it every connection.
pub struct Target {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    answered: AtomicU64,
    stop: AtomicBool,
    /// Which path was asked for and when, seconds; only while somebody wants to know.
    arrivals: Mutex<Option<Noted>>,
}

impl Target {
    /// On every address of the loopback, so that 127.0.0.2 works as well.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Target {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.set_reuse_address(true).expect("reuse of the address");
        let any: SocketAddr = "0.0.0.0:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        socket.listen(4096).expect("listening");
        socket.set_nonblocking(true).expect("non-blocking");
        let port = socket.local_addr().ok().and_then(|a| a.as_socket()).map_or(0, |a| a.port());
        let counts = Arc::new(Counts::default());
        let server = Server {
            poller: Poller::new().expect("epoll"),
            socket,
            tls,
            counts: Arc::clone(&counts),
            open: Vec::new(),
            free: Vec::new(),
        };
        let thread = std::thread::spawn(move || server.run());
        Target { address: SocketAddr::from(([127, 0, 0, 1], port)), counts, thread: Some(thread) }
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// From now on it notes when which path (a number) is asked for.
    pub fn note_arrivals(&self) {
        *self.counts.arrivals.lock().expect("the arrivals") =
            Some(Noted { begun: Instant::now(), arrivals: Vec::new() });
    }

    /// What was noted.
    pub fn arrivals(&self) -> Vec<(usize, f64)> {
        self.counts.arrivals.lock().expect("the arrivals").take().map_or(Vec::new(), |noted| noted.arrivals)
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Counts {
    fn note(&self, asked: &[u8]) {
        let mut arrivals = self.arrivals.lock().expect("the arrivals");
        let Some(noted) = &mut *arrivals else { return };
        let path = asked.strip_prefix(b"GET /").and_then(|rest| rest.split(|b| *b == b' ').next());
        let number = path.and_then(|p| std::str::from_utf8(p).ok()?.parse().ok());
        noted.arrivals.extend(number.map(|n| (n, noted.begun.elapsed().as_secs_f64())));
    }
}

struct Noted {
    begun: Instant,
    arrivals: Vec<(usize, f64)>,
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    asked: Vec<u8>,
    answered: bool,
}

struct Server {
    poller: Poller,
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
    counts: Arc<Counts>,
    open: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Server {
    fn run(mut self) {
        self.poller.watch_input(self.socket.as_fd(), LISTENER).expect("watched");
        let mut ready: Vec<Ready> = Vec::new();
        while !self.counts.stop.load(Ordering::Relaxed) {
            self.poller.wait(&mut ready, Some(Duration::from_millis(50))).expect("epoll");
            for event in ready.drain(..) {
                if event.token == LISTENER {
                    self.accept();
                } else {
                    self.serve(usize::try_from(event.token).unwrap_or(usize::MAX));
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..256 {
            let Ok((socket, _)) = self.socket.accept() else { return };
            let stream = TcpStream::from(socket);
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.counts.accepted.fetch_add(1, Ordering::Relaxed);
            let tls = self.tls.as_ref().and_then(|c| ServerConnection::new(Arc::clone(c)).ok()).map(Box::new);
            let connection = Connection { stream, tls, asked: Vec::new(), answered: false };
            let at = self.free.pop().unwrap_or_else(|| {
                self.open.push(None);
                self.open.len() - 1
            });
            let watched = self.poller.watch(connection.stream.as_fd(), at as u64).is_ok();
            self.open[at] = watched.then_some(connection);
            self.serve(at);
        }
    }

    fn serve(&mut self, at: usize) {
        let Some(connection) = self.open.get_mut(at).and_then(Option::as_mut) else { return };
        let was = connection.answered;
        let open = connection.advance().is_ok();
        if connection.answered && !was {
            self.counts.note(&connection.asked);
        }
        self.counts.answered.fetch_add(u64::from(connection.answered && !was), Ordering::Relaxed);
        if !open {
            self.open[at] = None;
            self.free.push(at);
        }
    }
}

impl Connection {
    /// As far as it goes. An error is the end of the connection, the ordinary one included.
    fn advance(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let got = match &mut self.tls {
                None => self.stream.read(&mut buffer),
                Some(tls) => tls.read_tls(&mut self.stream),
            };
            match got {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) if self.tls.is_none() => self.asked.extend_from_slice(&buffer[..n]),
                Ok(_) => self.decrypt()?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            if !self.answered && self.asked.windows(4).any(|w| w == b"\r\n\r\n") {
                self.answered = true;
                self.answer()?;
            }
        }
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.process_new_packets().map_err(io::Error::other)?;
        let mut buffer = [0; 4096];
        while let Ok(n) = tls.reader().read(&mut buffer) {
            if n == 0 {
                break;
            }
            self.asked.extend_from_slice(&buffer[..n]);
        }
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// A few bytes: they fit into the socket's buffer.
    fn answer(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(ANSWER),
            Some(tls) => {
                tls.writer().write_all(ANSWER)?;
                tls.send_close_notify();
                while tls.wants_write() {
                    tls.write_tls(&mut self.stream)?;
                }
                Ok(())
            }
        }
    }
}
