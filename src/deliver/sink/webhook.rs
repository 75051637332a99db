//! A webhook that keeps what it gets (HTTP/1.1, one POST per connection).

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;

use super::{Arrivals, Listening, OnArrival, Wire, locked, read_line, say_nothing};

/// Largest body that is taken.
const LARGEST: u64 = 1 << 20;
/// Longest line of a head, and most lines of it.
const HEAD: (u64, usize) = (8 * 1024, 100);

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Path and query as they came.
    pub path: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The answer that it got; 0 when the connection was cut without one.
    pub answer: u16,
}

impl Post {
    /// A header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// The same with a header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn saying(mut self, body: &str) -> Answer {
        body.clone_into(&mut self.body);
        self
    }
}

/// How a connection is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookMood {
    /// The post is answered so.
    Answer(Answer),
    /// The connection is accepted, and nothing is said.
    Silent,
    /// The post is taken, and the connection closed without an answer.
    Vanish,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    arrivals: Arrivals<Post>,
    moods: Mutex<(VecDeque<WebhookMood>, WebhookMood)>,
}

/// A running webhook; ends when dropped.
pub struct WebhookSink {
    shared: Arc<Shared>,
    listening: Listening,
}

impl WebhookSink {
    /// Starts one on a free port of 127.0.0.1 that answers 204.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start() -> io::Result<WebhookSink> {
        WebhookSink::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, None)
    }

    /// Starts one with an address, TLS, and who is called with each post.
    ///
    /// # Errors
    /// When the address is not a loopback one, or cannot be listened on.
    pub fn start_on(
        bind: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        on_arrival: Option<OnArrival<Post>>,
    ) -> io::Result<WebhookSink> {
        let usual = WebhookMood::Answer(Answer::status(204));
        let shared = Arc::new(Shared {
            tls,
            arrivals: Arrivals::new(on_arrival),
            moods: Mutex::new((VecDeque::new(), usual)),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(bind, "sink-webhook", move |stream, closing| {
            // A client that breaks off is its own affair; what it sent whole has been kept.
            drop(serve(&serving, stream, closing));
        })?;
        Ok(WebhookSink { shared, listening })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr
    }

    /// How the next connections are treated, one each; after them as [`WebhookSink::set_mood`] says.
    pub fn script(&self, moods: Vec<WebhookMood>) {
        locked(&self.shared.moods).0.extend(moods);
    }

    /// How connections are treated from now on.
    pub fn set_mood(&self, mood: WebhookMood) {
        locked(&self.shared.moods).1 = mood;
    }

    /// What arrived, oldest first, refused posts too.
    #[must_use]
    pub fn posts(&self) -> Vec<Post> {
        self.shared.arrivals.all()
    }

    /// The same, once there are `count` or after `limit`.
    #[must_use]
    pub fn wait(&self, count: usize, limit: Duration) -> Vec<Post> {
        self.shared.arrivals.wait(count, limit)
    }
}

fn serve(shared: &Shared, stream: TcpStream, closing: &AtomicBool) -> io::Result<()> {
    let mood = {
        let mut moods = locked(&shared.moods);
        moods.0.pop_front().unwrap_or_else(|| moods.1.clone())
    };
    let wire = match &shared.tls {
        Some(config) => Wire::tls(stream, config)?,
        None => Wire::Plain(stream),
    };
    if mood == WebhookMood::Silent {
        say_nothing(&wire, closing);
        return Ok(());
    }
    let mut wire = BufReader::new(wire);
    let Some(mut post) = read_post(&mut wire)? else { return Ok(()) };
    let answer = match mood {
        WebhookMood::Answer(answer) => Some(answer),
        _ => None,
    };
    post.answer = answer.as_ref().map_or(0, |a| a.status);
    shared.arrivals.add(post);
    if let Some(answer) = answer {
        let mut text = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", answer.status);
        if answer.status != 204 {
            text.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
        }
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&answer.body);
        wire.get_mut().write_all(text.as_bytes())?;
        wire.get_mut().flush()?;
    }
    wire.get_ref().close();
    Ok(())
}

fn read_post(wire: &mut BufReader<Wire>) -> io::Result<Option<Post>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let Some(first) = read_line(wire, HEAD.0)? else { return Ok(None) };
    let first = String::from_utf8_lossy(&first).into_owned();
    let path = first.split(' ').nth(1).ok_or_else(|| bad("no request line"))?.to_owned();
    let mut headers = Vec::new();
    loop {
        let Some(line) = read_line(wire, HEAD.0)? else { return Ok(None) };
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let (name, value) = line.split_once(':').ok_or_else(|| bad("no header field"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > HEAD.1 {
            return Err(bad("too many header fields"));
        }
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or("0", |(_, v)| v);
    let length: u64 = length.parse().map_err(|_| bad("no length"))?;
    if length > LARGEST {
        return Err(bad("body too large"));
    }
    let mut body = Vec::new();
    if wire.take(length).read_to_end(&mut body)? as u64 != length {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Post { path, headers, body, answer: 0 }))
}
