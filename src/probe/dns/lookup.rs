//! One name being resolved, as a state machine over the sockets of its probe.
//!
//! Model: the candidates of the search list are asked for one after the other. For a candidate,
//! servers are gone through in order, `attempts` times; a server that stays silent for its share
//! of the time is joined by the next one, and may still answer late. A and AAAA travel together;
//! once there is an IPv4 address, a missing IPv6 answer is waited for only a moment.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use crate::base::clock::Mono;
use crate::base::units::Host;
use crate::sys::errno;
use crate::verdict::Stage;

use super::files::ResolvConf;
use super::wire::{self, Answer, Question};
use crate::probe::socket::{Ctx, Failure, Sock, connection_failure, unguessable};

/// How long an IPv6 answer may come after the IPv4 one (RFC 8305, section 3, says 50 ms).
const GRACE: Duration = Duration::from_millis(50);
const KINDS: [Question; 2] = [Question::A, Question::Aaaa];

/// The beginning of a lookup.
pub enum Begun {
    /// Nobody needs to be asked.
    Known(Vec<IpAddr>),
    /// A server has been asked.
    Asking(Box<Lookup>),
}

/// What is known of one question about the current candidate.
#[derive(Debug)]
enum Found {
    Addresses(Vec<IpAddr>),
    NoData,
    NoName,
}

/// One server that has been asked.
#[derive(Debug)]
struct Try {
    sub: u16,
    sock: Sock,
    server: IpAddr,
    ids: [u16; 2],
    /// Which of the two questions it still owes an answer to.
    owes: [bool; 2],
    /// Over TCP: what is still to be sent and what has come.
    stream: Option<(Vec<u8>, Vec<u8>)>,
}

/// A name being resolved.
#[derive(Debug)]
pub struct Lookup {
    conf: Arc<ResolvConf>,
    port: u16,
    first_server: usize,
    candidates: VecDeque<String>,
    name: String,
    share: Duration,
    tries: Vec<Try>,
    begun: usize,
    next_at: Mono,
    grace: Mono,
    found: [Option<Found>; 2],
    /// A candidate existed, without an address.
    no_data: bool,
    /// A server failed; what it said.
    failed: Option<String>,
}

impl Lookup {
    /// Begins to resolve a host.
    ///
    /// # Errors
    /// When no server can even be asked.
    pub fn start(ctx: &mut Ctx<'_>, host: &Host) -> Result<Begun, Failure> {
        let name = match host {
            Host::Ip(ip) => return Ok(Begun::Known(vec![*ip])),
            Host::Name(name) => name,
        };
        if let Some(known) = ctx.files.host(name) {
            return Ok(Begun::Known(known));
        }
        let conf = ctx.files.conf();
        let tries = u32::try_from(conf.servers.len() * conf.attempts).unwrap_or(u32::MAX).saturating_add(1);
        let first = if conf.rotate { usize::from(u8::from_ne_bytes(unguessable::<1>()?)) } else { 0 };
        let mut lookup = Lookup {
            port: ctx.files.port,
            first_server: first,
            candidates: conf.candidates(name).into(),
            name: String::new(),
            share: conf.timeout.min(ctx.left() / tries),
            tries: Vec::new(),
            begun: 0,
            next_at: Mono::FAR,
            grace: Mono::FAR,
            found: [None, None],
            no_data: false,
            failed: None,
            conf,
        };
        lookup.next_candidate(ctx)?;
        // Where no server could be asked at all, that is known now.
        match lookup.judge(ctx)? {
            Some(addresses) => Ok(Begun::Known(addresses)),
            None => Ok(Begun::Asking(Box::new(lookup))),
        }
    }

    /// When [`Lookup::time`] wants to be called.
    #[must_use]
    pub fn wake(&self) -> Mono {
        self.next_at.min(self.grace)
    }

    /// The failure when the probe's time is over.
    #[must_use]
    pub fn silence(&self) -> Failure {
        let mut silent: Vec<String> = Vec::new();
        for t in &self.tries {
            let name = t.server.to_string();
            if t.owes.contains(&true) && !silent.contains(&name) {
                silent.push(name);
            }
        }
        match (silent.as_slice(), &self.failed) {
            ([], Some(why)) => Failure::at(Stage::Dns, why),
            ([], None) => Failure::at(Stage::Dns, "no resolver answered"),
            ([one], _) => Failure::at(Stage::Dns, format!("resolver {one} did not answer")),
            (many, _) => Failure::at(Stage::Dns, format!("resolvers {} did not answer", many.join(", "))),
        }
    }

    /// Something happened on the socket of that number.
    ///
    /// # Errors
    /// The name has no address, or nobody can tell.
    pub fn ready(&mut self, ctx: &mut Ctx<'_>, sub: u16) -> Result<Option<Vec<IpAddr>>, Failure> {
        let Some(at) = self.tries.iter().position(|t| t.sub == sub) else { return Ok(None) };
        let progress = if self.tries[at].stream.is_some() {
            self.read_stream(ctx, at)
        } else {
            self.read_datagrams(ctx, at)
        };
        if let Err(error) = progress {
            let t = &mut self.tries[at];
            t.owes = [false, false];
            let why = connection_failure(Stage::Dns, &error).detail;
            let why = why.strip_prefix("dns: ").unwrap_or(&why);
            self.failed = Some(format!("resolver {} did not answer ({why})", t.server));
        }
        self.judge(ctx)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The name has no address, or nobody can tell.
    pub fn time(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Vec<IpAddr>>, Failure> {
        self.judge(ctx)
    }

    fn read_datagrams(&mut self, ctx: &mut Ctx<'_>, at: usize) -> io::Result<()> {
        // A server that floods us is read no further than this at a time; the rest is dropped
        // with the socket.
        for _ in 0..32 {
            let Some(t) = self.tries.get(at) else { return Ok(()) };
            match (&t.sock.socket).read(ctx.scratch) {
                Ok(n) => {
                    let message = ctx.scratch.get(..n).unwrap_or_default().to_vec();
                    self.take(ctx, at, &message);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_stream(&mut self, ctx: &mut Ctx<'_>, at: usize) -> io::Result<()> {
        let Some(Try { sock, stream: Some((out, came)), .. }) = self.tries.get_mut(at) else { return Ok(()) };
        while !out.is_empty() {
            match (&sock.socket).write(out) {
                Ok(n) => drop(out.drain(..n)),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        loop {
            match (&sock.socket).read(ctx.scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => came.extend(ctx.scratch.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            let length = match came.first_chunk::<2>() {
                Some(l) => usize::from(u16::from_be_bytes(*l)),
                None => continue,
            };
            if let Some(message) = came.get(2..2 + length) {
                let message = message.to_vec();
                self.take(ctx, at, &message);
                // One question, one answer: whatever came with it, this server is done.
                if let Some(t) = self.tries.get_mut(at) {
                    t.owes = [false, false];
                }
                return Ok(());
            }
        }
    }

    /// Takes a message for what it is; one that answers nothing we asked of this server is ignored.
    fn take(&mut self, ctx: &mut Ctx<'_>, at: usize, message: &[u8]) {
        for (which, kind) in KINDS.into_iter().enumerate() {
            let Some(t) = self.tries.get_mut(at) else { return };
            if !t.owes[which] {
                continue;
            }
            let Some(answer) = wire::answer(message, t.ids[which], &self.name, kind) else { continue };
            t.owes[which] = false;
            let server = t.server;
            match answer {
                Answer::Addresses(ips) => self.found[which] = Some(Found::Addresses(ips)),
                Answer::NoData => self.found[which] = Some(Found::NoData),
                Answer::NoName => self.found[which] = Some(Found::NoName),
                Answer::Truncated => {
                    if let Err(failure) = self.ask_over_tcp(ctx, server, which) {
                        self.failed = Some(failure.detail);
                    }
                }
                Answer::Failed("server failure") => {
                    self.failed = Some(format!("server failure at resolver {server}"));
                }
                Answer::Failed(why) => self.failed = Some(format!("resolver {server} {why}")),
            }
            return;
        }
    }

    /// Decides whether there is an answer, somebody else to ask, or an end.
    fn judge(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Vec<IpAddr>>, Failure> {
        loop {
            let complete = self.found.iter().all(Option::is_some);
            if complete || ctx.now >= self.grace {
                let addresses = self.addresses();
                if !addresses.is_empty() {
                    return Ok(Some(addresses));
                }
            }
            if complete {
                self.no_data |= self.found.iter().any(|f| matches!(f, Some(Found::NoData)));
                if self.candidates.is_empty() {
                    return Err(self.nothing());
                }
                self.next_candidate(ctx)?;
                continue;
            }
            let has_v4 = matches!(self.found[0], Some(Found::Addresses(_)));
            if has_v4 && self.grace == Mono::FAR {
                self.grace = ctx.now + GRACE;
            }
            let waiting = self.tries.iter().any(|t| t.owes.contains(&true));
            if waiting && ctx.now < self.next_at {
                return Ok(None);
            }
            if self.begun < self.conf.servers.len() * self.conf.attempts {
                self.ask_next(ctx)?;
            } else if !self.addresses().is_empty() {
                return Ok(Some(self.addresses()));
            } else if waiting {
                return Err(self.silence());
            } else {
                return Err(self.nothing());
            }
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let lists = self.found.iter().filter_map(|f| match f {
            Some(Found::Addresses(ips)) => Some(ips.iter().copied()),
            _ => None,
        });
        lists.flatten().collect()
    }

    /// Why there is no address, when everybody who was asked has said something.
    fn nothing(&self) -> Failure {
        match &self.failed {
            Some(why) if self.found.iter().any(Option::is_none) => Failure::at(Stage::Dns, why),
            _ if self.no_data => Failure::at(Stage::Dns, "no address"),
            Some(why) if self.found.iter().all(Option::is_none) => Failure::at(Stage::Dns, why),
            _ => Failure::at(Stage::Dns, "no such host"),
        }
    }

    fn next_candidate(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Failure> {
        self.name = self.candidates.pop_front().unwrap_or_default();
        self.tries.clear();
        self.begun = 0;
        self.found = [None, None];
        self.failed = None;
        self.grace = Mono::FAR;
        self.ask_next(ctx)
    }

    /// Asks the next server for what is not known yet.
    fn ask_next(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Failure> {
        let at = (self.first_server + self.begun) % self.conf.servers.len().max(1);
        self.begun += 1;
        self.next_at = ctx.now + self.share;
        let Some(server) = self.conf.servers.get(at).copied() else { return Ok(()) };
        let to = SocketAddr::new(server, self.port);
        let sock = ctx.socket(Stage::Dns, Domain::for_address(to), Type::DGRAM)?;
        let bytes = unguessable::<4>()?;
        let ids = [u16::from_ne_bytes([bytes[0], bytes[1]]), u16::from_ne_bytes([bytes[2], bytes[3]])];
        let mut owes = [false, false];
        let sent = sock.socket.connect(&SockAddr::from(to)).and_then(|()| {
            for (which, kind) in KINDS.into_iter().enumerate() {
                if self.found[which].is_none() {
                    let message = wire::question(ids[which], &self.name, kind)
                        .ok_or_else(|| io::Error::other("the name cannot be asked for"))?;
                    sock.socket.send(&message)?;
                    owes[which] = true;
                }
            }
            Ok(())
        });
        if let Err(e) = sent {
            let why = connection_failure(Stage::Dns, &e).detail;
            let why = why.strip_prefix("dns: ").unwrap_or(&why);
            self.failed = Some(format!("resolver {server} did not answer ({why})"));
            return Ok(());
        }
        let sub = ctx.watch(&sock)?;
        self.tries.push(Try { sub, sock, server, ids, owes, stream: None });
        Ok(())
    }

    /// Asks the same question again where long answers fit.
    fn ask_over_tcp(&mut self, ctx: &mut Ctx<'_>, server: IpAddr, which: usize) -> Result<(), Failure> {
        let to = SocketAddr::new(server, self.port);
        let sock = ctx.socket(Stage::Dns, Domain::for_address(to), Type::STREAM)?;
        match sock.socket.connect(&SockAddr::from(to)) {
            Err(e) if e.raw_os_error() != Some(errno::EINPROGRESS) => {
                return Err(connection_failure(Stage::Dns, &e));
            }
            _ => {}
        }
        let id = u16::from_ne_bytes(unguessable::<2>()?);
        let kind = KINDS.get(which).copied().unwrap_or(Question::A);
        let message = wire::question(id, &self.name, kind).unwrap_or_default();
        let mut out = u16::try_from(message.len()).unwrap_or(0).to_be_bytes().to_vec();
        out.extend(message);
        let mut owes = [false, false];
        owes[which] = true;
        let sub = ctx.watch(&sock)?;
        self.tries.push(Try { sub, sock, server, ids: [id, id], owes, stream: Some((out, Vec::new())) });
        Ok(())
    }
}
