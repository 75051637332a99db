//! Something to watch: a port that answers HTTP or just accepts, and can be stopped and started
//! again at the same address.
//!
//! It serves one connection after the other, each for [`PATIENCE`] at most; a handful of probes a
//! second need no more.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(500);
/// Largest head of a request that is read.
const HEAD: usize = 16 * 1024;
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// What it does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a request and answers 200.
    Http,
    /// Accepts and closes.
    Tcp,
}

/// A target; ends when dropped.
pub struct Target {
    kind: Kind,
    addr: SocketAddr,
    running: Option<Running>,
}

struct Running {
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Target {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The system's.
    pub fn start(kind: Kind) -> io::Result<Target> {
        let listener = super::ports::listener()?;
        let addr = listener.local_addr()?;
        let running = Some(serve(kind, listener)?);
        Ok(Target { kind, addr, running })
    }

    /// Where it listens, or would.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From here on connections are refused.
    pub fn stop(&mut self) {
        let Some(Running { closing, thread }) = self.running.take() else { return };
        closing.store(true, Ordering::SeqCst);
        // The thread looks at the flag when the next connection comes: this one.
        drop(TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)));
        drop(thread.join());
    }

    /// Listens again at the same address.
    ///
    /// # Errors
    /// The system's: somebody else took the port meanwhile.
    pub fn again(&mut self) -> io::Result<()> {
        if self.running.is_none() {
            self.running = Some(serve(self.kind, TcpListener::bind(self.addr)?)?);
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(kind: Kind, listener: TcpListener) -> io::Result<Running> {
    let closing = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closing);
    let body = move || {
        for stream in listener.incoming() {
            if seen.load(Ordering::SeqCst) {
                return;
            }
            if let (Ok(stream), Kind::Http) = (stream, kind) {
                // A client that breaks off is its own affair.
                drop(answer(stream));
            }
        }
    };
    let thread = std::thread::Builder::new().name("target".to_owned()).spawn(body)?;
    Ok(Running { closing, thread })
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < HEAD && !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            n => head.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
    }
    stream.write_all(ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(addr: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_stopped_target_refuses_and_a_started_one_answers_at_the_same_place() {
        let mut target = Target::start(Kind::Http).unwrap();
        let addr = target.addr();
        assert!(get(addr).unwrap().starts_with("HTTP/1.1 200 "));
        target.stop();
        assert_eq!(get(addr).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        target.again().unwrap();
        assert!(get(addr).unwrap().ends_with("\r\n\r\nok\n"));
    }

    #[test]
    fn a_plain_port_accepts() {
        let target = Target::start(Kind::Tcp).unwrap();
        assert!(TcpStream::connect(target.addr()).is_ok());
    }
}
