//! A mail server that keeps what it gets (RFC 5321, as much as a client of one message needs;
//! STARTTLS of RFC 3207; AUTH PLAIN and LOGIN of RFC 4954).

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;

use super::super::base64;
use super::{Arrivals, Listening, OnArrival, Wire, locked, read_line, say_nothing};
use crate::config::MailTls;

/// Largest message that is taken.
const LARGEST: usize = 4 << 20;
/// Longest command line that is read.
const LINE: u64 = 8 * 1024;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The client's name for itself.
    pub hello: String,
    /// Whether the conversation was encrypted when the message came.
    pub encrypted: bool,
    /// Who logged in, by which mechanism.
    pub login: Option<(String, String)>,
    /// Envelope sender.
    pub from: String,
    /// Accepted envelope recipients.
    pub to: Vec<String>,
    /// Headers and body as they came, dots unstuffed, lines ended by `\n`.
    pub data: String,
    /// The answer that the message got; 0 when the connection was cut without one.
    pub answer: u16,
}

impl ReceivedMail {
    /// A header field, unfolded; still encoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\n\n").next()?;
        let mut found: Option<String> = None;
        for line in head.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = &mut found {
                    value.push_str(line);
                }
            } else if found.is_some() {
                break;
            } else if let Some((field, value)) = line.split_once(':')
                && field.eq_ignore_ascii_case(name)
            {
                found = Some(value.trim_start().to_owned());
            }
        }
        found
    }

    /// Everything after the headers; still encoded.
    #[must_use]
    pub fn body(&self) -> &str {
        self.data.split_once("\n\n").map_or("", |(_, body)| body)
    }
}

/// How a connection is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpMood {
    /// As a good server does.
    Accept,
    /// The message is refused with this code after it was sent.
    Refuse(u16),
    /// The greeting is this code.
    Greet(u16),
    /// The connection is accepted, and nothing is said.
    Silent,
    /// The message is taken, and the connection closed without an answer.
    Vanish,
}

/// What a sink offers.
pub struct SmtpOptions {
    /// Where to listen; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Protection, and the certificate where there is any.
    pub tls: Option<(MailTls, Arc<ServerConfig>)>,
    /// Mechanisms that are announced (`PLAIN`, `LOGIN`), and who may log in with what.
    pub login: Option<(&'static str, String, String)>,
    /// Called with each message.
    pub on_arrival: Option<OnArrival<ReceivedMail>>,
}

impl Default for SmtpOptions {
    fn default() -> SmtpOptions {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SmtpOptions { bind, tls: None, login: None, on_arrival: None }
    }
}

struct Shared {
    tls: Option<(MailTls, Arc<ServerConfig>)>,
    login: Option<(&'static str, String, String)>,
    arrivals: Arrivals<ReceivedMail>,
    moods: Mutex<(VecDeque<SmtpMood>, SmtpMood)>,
    refused: Mutex<BTreeMap<String, VecDeque<u16>>>,
}

/// A running mail sink; ends when dropped.
pub struct SmtpSink {
    shared: Arc<Shared>,
    listening: Listening,
}

impl SmtpSink {
    /// Starts one.
    ///
    /// # Errors
    /// When the address is not a loopback one, or cannot be listened on.
    pub fn start(options: SmtpOptions) -> io::Result<SmtpSink> {
        let shared = Arc::new(Shared {
            tls: options.tls,
            login: options.login,
            arrivals: Arrivals::new(options.on_arrival),
            moods: Mutex::new((VecDeque::new(), SmtpMood::Accept)),
            refused: Mutex::new(BTreeMap::new()),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(options.bind, "sink-smtp", move |stream, closing| {
            // A client that breaks off is its own affair; what it sent whole has been kept.
            drop(serve(&serving, stream, closing));
        })?;
        Ok(SmtpSink { shared, listening })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr
    }

    /// How the next connections are treated, one each; after them as [`SmtpSink::set_mood`] says.
    pub fn script(&self, moods: &[SmtpMood]) {
        locked(&self.shared.moods).0.extend(moods);
    }

    /// How connections are treated from now on.
    pub fn set_mood(&self, mood: SmtpMood) {
        locked(&self.shared.moods).1 = mood;
    }

    /// The next times this recipient is named it is refused with these codes.
    pub fn refuse(&self, recipient: &str, codes: &[u16]) {
        locked(&self.shared.refused).entry(recipient.to_owned()).or_default().extend(codes);
    }

    /// What arrived, oldest first, refused messages too.
    #[must_use]
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.shared.arrivals.all()
    }

    /// The same, once there are `count` or after `limit`.
    #[must_use]
    pub fn wait(&self, count: usize, limit: Duration) -> Vec<ReceivedMail> {
        self.shared.arrivals.wait(count, limit)
    }
}

fn serve(shared: &Shared, stream: TcpStream, closing: &AtomicBool) -> io::Result<()> {
    let mood = {
        let mut moods = locked(&shared.moods);
        moods.0.pop_front().unwrap_or(moods.1)
    };
    if mood == SmtpMood::Silent {
        say_nothing(&Wire::Plain(stream), closing);
        return Ok(());
    }
    let wire = match &shared.tls {
        Some((MailTls::Implicit, config)) => Wire::tls(stream, config)?,
        _ => Wire::Plain(stream),
    };
    let mut talk = Talk {
        encrypted: matches!(wire, Wire::Tls(_)),
        wire: BufReader::new(wire),
        shared,
        mood,
        hello: String::new(),
        login: None,
        from: None,
        to: Vec::new(),
    };
    if let SmtpMood::Greet(code) = mood {
        return talk.say(&format!("{code} not today"));
    }
    talk.say("220 localhost ESMTP quptime sink")?;
    loop {
        let Some(line) = read_line(&mut talk.wire, LINE)? else { return Ok(()) };
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.eq_ignore_ascii_case("STARTTLS") {
            talk = talk.upgrade()?;
        } else if !talk.command(&line)? {
            talk.wire.get_ref().close();
            return Ok(());
        }
    }
}

struct Talk<'a> {
    wire: BufReader<Wire>,
    shared: &'a Shared,
    mood: SmtpMood,
    encrypted: bool,
    hello: String,
    login: Option<(String, String)>,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a> Talk<'a> {
    fn say(&mut self, line: &str) -> io::Result<()> {
        let wire = self.wire.get_mut();
        wire.write_all(format!("{line}\r\n").as_bytes())?;
        wire.flush()
    }

    /// What a client sent in the clear beyond STARTTLS is forgotten with the old reader.
    fn upgrade(mut self) -> io::Result<Talk<'a>> {
        let config = match &self.shared.tls {
            Some((MailTls::StartTls, config)) if !self.encrypted => Arc::clone(config),
            _ => {
                self.say("502 not available")?;
                return Ok(self);
            }
        };
        self.say("220 go ahead")?;
        let Talk { wire, shared, mood, .. } = self;
        let wire = match wire.into_inner() {
            Wire::Plain(stream) => Wire::tls(stream, &config)?,
            tls @ Wire::Tls(_) => tls,
        };
        Ok(Talk {
            wire: BufReader::new(wire),
            shared,
            mood,
            encrypted: true,
            hello: String::new(),
            login: None,
            from: None,
            to: Vec::new(),
        })
    }

    /// One command; false ends the conversation.
    fn command(&mut self, line: &str) -> io::Result<bool> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => self.greet(rest)?,
            "AUTH" => self.authenticate(rest)?,
            "MAIL" if self.shared.login.is_some() && self.login.is_none() => self.say("530 log in first")?,
            "MAIL" => {
                self.from = Some(address(rest));
                self.to.clear();
                self.say("250 ok")?;
            }
            "RCPT" if self.from.is_none() => self.say("503 MAIL first")?,
            "RCPT" => self.recipient(address(rest))?,
            "DATA" if self.to.is_empty() => self.say("503 RCPT first")?,
            "DATA" => return self.data(),
            "RSET" => {
                (self.from, self.to) = (None, Vec::new());
                self.say("250 ok")?;
            }
            "NOOP" => self.say("250 ok")?,
            "QUIT" => {
                self.say("221 bye")?;
                return Ok(false);
            }
            _ => self.say("500 what?")?,
        }
        Ok(true)
    }

    fn greet(&mut self, name: &str) -> io::Result<()> {
        name.clone_into(&mut self.hello);
        let mut offers = vec!["localhost".to_owned(), "8BITMIME".to_owned()];
        if matches!(self.shared.tls, Some((MailTls::StartTls, _))) && !self.encrypted {
            offers.push("STARTTLS".to_owned());
        }
        if let Some((mechanisms, ..)) = &self.shared.login {
            offers.push(format!("AUTH {mechanisms}"));
        }
        let last = offers.len() - 1;
        for (at, offer) in offers.iter().enumerate() {
            self.say(&format!("250{}{offer}", if at == last { ' ' } else { '-' }))?;
        }
        Ok(())
    }

    fn authenticate(&mut self, how: &str) -> io::Result<()> {
        let Some((mechanisms, user, password)) = &self.shared.login else { return self.say("502 no") };
        let (mechanism, first) = how.split_once(' ').unwrap_or((how, ""));
        let mechanism = mechanism.to_ascii_uppercase();
        if !mechanisms.split(' ').any(|m| m == mechanism) {
            return self.say("504 not that one");
        }
        let given = match mechanism.as_str() {
            "PLAIN" => {
                let answer = if first.is_empty() { self.ask("")? } else { decoded(first) };
                let mut parts = answer.split('\0').skip(1).map(str::to_owned);
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            _ => (self.ask("Username:")?, self.ask("Password:")?),
        };
        if given == (user.clone(), password.clone()) {
            self.login = Some((given.0, mechanism));
            return self.say("235 welcome");
        }
        self.say("535 5.7.8 wrong user name or password")
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.say(&format!("334 {}", base64::encode(question.as_bytes())))?;
        let line = read_line(&mut self.wire, LINE)?.unwrap_or_default();
        Ok(decoded(&String::from_utf8_lossy(&line)))
    }

    fn recipient(&mut self, to: String) -> io::Result<()> {
        let refused = locked(&self.shared.refused).get_mut(&to).and_then(VecDeque::pop_front);
        match refused {
            Some(code) => self.say(&format!("{code} no mailbox here for {to}")),
            None => {
                self.to.push(to);
                self.say("250 ok")
            }
        }
    }

    fn data(&mut self) -> io::Result<bool> {
        self.say("354 go on, end with a dot")?;
        let mut data = Vec::new();
        loop {
            let Some(line) = read_line(&mut self.wire, 64 * 1024)? else { return Ok(false) };
            if line == b"." {
                break;
            }
            data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            data.push(b'\n');
            if data.len() > LARGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "message too large"));
            }
        }
        let answer = match self.mood {
            SmtpMood::Refuse(code) => code,
            SmtpMood::Vanish => 0,
            _ => 250,
        };
        self.shared.arrivals.add(ReceivedMail {
            hello: self.hello.clone(),
            encrypted: self.encrypted,
            login: self.login.clone(),
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            data: String::from_utf8_lossy(&data).into_owned(),
            answer,
        });
        match answer {
            0 => return Ok(false),
            250 => self.say("250 2.0.0 kept")?,
            code => self.say(&format!("{code} not this one"))?,
        }
        Ok(true)
    }
}

/// The address of `FROM:<a@b> ...` or `TO:<a@b> ...`.
fn address(argument: &str) -> String {
    let inside = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(|| argument.to_owned(), |(address, _)| address.to_owned())
}

fn decoded(text: &str) -> String {
    let bytes = base64::decode(text.trim()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
