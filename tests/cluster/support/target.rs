//! Something to watch, which can go down, come back, and treat nodes differently.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::free_port;

/// How requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 200 for everybody.
    Fine,
    /// 503 for the process of this id, 200 for all others.
    BadFor(u32),
}

/// An HTTP server, which is a TCP target too; ends when dropped.
pub struct Target {
    pub addr: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Target {
    pub fn start() -> Target {
        Target::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    pub fn start_on(ip: IpAddr) -> Target {
        let addr = SocketAddr::new(ip, free_port());
        let mut target = Target { addr, manner: Arc::new(Mutex::new(Manner::Fine)), running: None };
        target.up();
        target
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("nobody panicked") = manner;
    }

    pub fn up(&mut self) {
        if self.running.is_some() {
            return;
        }
        let listener = TcpListener::bind(self.addr).expect("the port is ours");
        let closing = Arc::new(AtomicBool::new(false));
        let (seen, manner) = (Arc::clone(&closing), Arc::clone(&self.manner));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let manner = manner.lock().expect("nobody panicked").clone();
                if let Ok(stream) = stream {
                    // A client that breaks off is its own affair.
                    drop(answer(stream, &manner));
                }
            }
        });
        self.running = Some((closing, thread));
    }

    pub fn down(&mut self) {
        let Some((closing, thread)) = self.running.take() else { return };
        closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)));
        drop(thread.join());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.down();
    }
}

fn answer(mut stream: TcpStream, manner: &Manner) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let bad = match manner {
        Manner::Fine => false,
        // Looked up while the client still waits: afterwards its socket is gone.
        Manner::BadFor(pid) => owns(*pid, stream.peer_addr()?, stream.local_addr()?),
    };
    let mut head = [0; 4096];
    if stream.read(&mut head)? == 0 {
        return Ok(());
    }
    let status = if bad { "503 Bad" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
}

/// Whether a process has the other end of a connection: the socket of that address pair in
/// /proc/net/tcp is one of its descriptors.
fn owns(pid: u32, theirs: SocketAddr, ours: SocketAddr) -> bool {
    let hex = |a: SocketAddr| match a.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), a.port()),
        IpAddr::V6(_) => String::new(),
    };
    let wanted = [hex(theirs), hex(ours)];
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a Linux host");
    // Looked for as text first: a busy machine has ten thousand rows, and the client waits.
    let pair = wanted.join(" ");
    let row = table.lines().filter(|l| l.contains(&pair)).map(|l| l.split_whitespace().collect::<Vec<_>>());
    let mut found = row.filter(|r| r.len() > 9 && r[1] == wanted[0] && r[2] == wanted[1]);
    let Some(inode) = found.next().map(|r| format!("socket:[{}]", r[9])) else { return false };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|d| std::fs::read_link(d.path()).ok()).any(|l| l.as_os_str() == inode.as_str())
}
