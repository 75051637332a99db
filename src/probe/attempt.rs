//! One probe, from the name to the finding, as a state machine that is poked when a socket is
//! ready, time has passed, a worker has computed or an echo was heard.
//!
//! Model: phases follow each other: resolving, connecting, TLS handshake, exchange; or resolving,
//! pinging. A redirect starts over at resolving, under the same deadline. A phase never waits; it
//! says when it wants to be asked again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::text::shorten;
use crate::base::units::Host;
use crate::config::{Check, Target, Url};
use crate::sys::poll::Poller;
use crate::verdict::Stage;

use super::connect::Connecting;
use super::dns::lookup::{Begun, Lookup};
use super::handshake::Handshake;
use super::http::exchange::{Exchange, Stream};
use super::http::{Expect, Finding, location};
use super::icmp::{Heard, Icmp, Ping};
use super::schedule::Due;
use super::socket::{Ctx, Failure, Sock, Stirred};
use super::workers::Computed;

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 10;
/// A probe that starts late by less than this part of its timeout still ends when it would have
/// ended, so that a check whose timeout is its interval loses no round to a few milliseconds.
const ABSORBED: u32 = 20;

/// Why a probe is looked at.
pub enum Event {
    /// Something can be done on a socket.
    Ready(Stirred),
    /// It wanted to be asked now.
    Time,
    /// A worker has computed.
    Computed(Computed),
    /// An ICMP packet told about it.
    Heard(Heard),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something must happen first.
    Waiting,
    /// It wants a turn to send echoes: call [`Attempt::send_echoes`].
    WantsToSend,
    /// The target answered as it should.
    Up,
}

enum Phase {
    Starting,
    Resolving(Box<Lookup>),
    Connecting(Connecting),
    Handshake(Handshake),
    Exchange(Box<Exchange>),
    Pinging(Ping),
}

/// A probe in flight.
pub struct Attempt {
    /// What it is of.
    pub due: Due,
    /// When it started.
    pub started: Mono,
    /// When it was first wanted: earlier, where it waited for a descriptor.
    pub wanted: Mono,
    /// When it fails if it has not ended.
    pub deadline: Mono,
    /// The last socket number given out.
    pub last_sub: u16,
    /// For HTTP: where it has been sent, the current place last.
    hops: Vec<Url>,
    phase: Phase,
}

impl Attempt {
    /// A probe that starts now: call [`Attempt::start`].
    #[must_use]
    pub fn new(due: Due, wanted: Mono, now: Mono) -> Attempt {
        let timeout = due.check.timeout.duration();
        let late = now.since(due.at);
        let absorbed = if late <= timeout / ABSORBED { late } else { Duration::ZERO };
        let hops = match &due.check.target {
            Target::Http { url, .. } => vec![url.clone()],
            Target::Tcp { .. } | Target::Icmp { .. } => Vec::new(),
        };
        Attempt {
            started: now,
            wanted,
            deadline: now + (timeout - absorbed),
            due,
            last_sub: 0,
            hops,
            phase: Phase::Starting,
        }
    }

    /// When it wants to be asked again, its deadline at the latest.
    #[must_use]
    pub fn wake(&self) -> Mono {
        let phase = match &self.phase {
            Phase::Resolving(lookup) => lookup.wake(),
            Phase::Connecting(connecting) => connecting.wake(),
            Phase::Pinging(ping) => ping.wake(),
            Phase::Starting | Phase::Handshake(_) | Phase::Exchange(_) => Mono::FAR,
        };
        phase.min(self.deadline)
    }

    /// The sequence numbers of its echoes.
    #[must_use]
    pub fn seqs(&self) -> &[u16] {
        match &self.phase {
            Phase::Pinging(ping) => ping.seqs(),
            _ => &[],
        }
    }

    /// Begins with the name.
    ///
    /// # Errors
    /// The probe has failed.
    pub fn start(&mut self, ctx: &mut Ctx<'_>) -> Result<Progress, Failure> {
        let check = Arc::clone(&self.due.check);
        let host = match (&check.target, self.hops.last()) {
            (_, Some(url)) => url.to.host.clone(),
            (Target::Tcp { to }, None) => to.host.clone(),
            (Target::Icmp { host }, None) => host.clone(),
            (Target::Http { url, .. }, None) => url.to.host.clone(),
        };
        self.resolve(ctx, &host).map_err(|f| self.where_from(f))
    }

    /// Goes on as far as it can.
    ///
    /// # Errors
    /// The probe has failed.
    pub fn advance(&mut self, ctx: &mut Ctx<'_>, event: Event) -> Result<Progress, Failure> {
        if ctx.now >= self.deadline && matches!(event, Event::Time) {
            return Err(self.where_from(self.too_late()));
        }
        self.step(ctx, event).map_err(|f| self.where_from(f))
    }

    /// Its turn to send echoes. False: it must be held until the sockets take more.
    ///
    /// # Errors
    /// The probe has failed.
    pub fn send_echoes(&mut self, poller: &Poller, key: u64, icmp: &mut Icmp) -> Result<bool, Failure> {
        match &mut self.phase {
            Phase::Pinging(ping) => ping.send(icmp, poller, key),
            _ => Ok(true),
        }
    }

    fn step(&mut self, ctx: &mut Ctx<'_>, event: Event) -> Result<Progress, Failure> {
        let check = Arc::clone(&self.due.check);
        match (&mut self.phase, event) {
            (Phase::Resolving(lookup), Event::Ready(on)) => match lookup.ready(ctx, on.sub)? {
                Some(addresses) => self.resolved(ctx, &check, &addresses),
                None => Ok(Progress::Waiting),
            },
            (Phase::Resolving(lookup), Event::Time) => match lookup.time(ctx)? {
                Some(addresses) => self.resolved(ctx, &check, &addresses),
                None => Ok(Progress::Waiting),
            },
            (Phase::Connecting(connecting), Event::Ready(on)) => match connecting.ready(ctx, on)? {
                Some(sock) => self.connected(ctx, &check, sock, on.readable),
                None => Ok(Progress::Waiting),
            },
            (Phase::Connecting(connecting), Event::Time) => match connecting.time(ctx)? {
                Some(sock) => self.connected(ctx, &check, sock, true),
                None => Ok(Progress::Waiting),
            },
            (Phase::Handshake(handshake), Event::Ready(_)) => match handshake.drive(ctx)? {
                Some(stream) => self.secured(ctx, &check, stream, true),
                None => Ok(Progress::Waiting),
            },
            (Phase::Handshake(handshake), Event::Computed(computed)) => {
                match handshake.computed(ctx, computed)? {
                    Some(stream) => self.secured(ctx, &check, stream, true),
                    None => Ok(Progress::Waiting),
                }
            }
            (Phase::Exchange(_), Event::Ready(on)) => self.exchange(ctx, on.readable),
            (Phase::Pinging(ping), Event::Heard(heard)) => {
                Ok(if ping.heard(heard)? { Progress::Up } else { Progress::Waiting })
            }
            (Phase::Pinging(ping), Event::Time) => {
                Ok(if ping.time(ctx.now) { Progress::WantsToSend } else { Progress::Waiting })
            }
            // An event of a phase that is over.
            _ => Ok(Progress::Waiting),
        }
    }

    fn resolved(
        &mut self,
        ctx: &mut Ctx<'_>,
        check: &Check,
        addresses: &[IpAddr],
    ) -> Result<Progress, Failure> {
        let port = match (&check.target, self.hops.last()) {
            (_, Some(url)) => url.to.port,
            (Target::Tcp { to }, None) => to.port,
            (Target::Http { url, .. }, None) => url.to.port,
            (Target::Icmp { .. }, None) => {
                let mut ping = Ping::new(ctx.now, self.deadline, addresses)?;
                let wants = ping.time(ctx.now);
                self.phase = Phase::Pinging(ping);
                return Ok(if wants { Progress::WantsToSend } else { Progress::Waiting });
            }
        };
        let (connecting, sock) = Connecting::start(ctx, addresses, port)?;
        self.phase = Phase::Connecting(connecting);
        match sock {
            Some(sock) => self.connected(ctx, check, sock, true),
            None => Ok(Progress::Waiting),
        }
    }

    fn connected(
        &mut self,
        ctx: &mut Ctx<'_>,
        check: &Check,
        sock: Sock,
        readable: bool,
    ) -> Result<Progress, Failure> {
        let Some(url) = self.hops.last() else { return Ok(Progress::Up) };
        if url.https {
            self.phase = Phase::Handshake(Handshake::start(ctx, sock, &url.to.host)?);
            return Ok(Progress::Waiting);
        }
        self.secured(ctx, check, Stream::Plain(sock), readable)
    }

    /// The connection is ready for the request.
    fn secured(
        &mut self,
        ctx: &mut Ctx<'_>,
        check: &Check,
        stream: Stream,
        readable: bool,
    ) -> Result<Progress, Failure> {
        let (Target::Http { expect_status, body_match, .. }, Some(url)) = (&check.target, self.hops.last())
        else {
            return Ok(Progress::Up);
        };
        let expect = Expect { status: *expect_status, body: body_match.clone() };
        self.phase = Phase::Exchange(Box::new(Exchange::new(stream, url, expect)));
        self.exchange(ctx, readable)
    }

    fn exchange(&mut self, ctx: &mut Ctx<'_>, readable: bool) -> Result<Progress, Failure> {
        let Phase::Exchange(exchange) = &mut self.phase else { return Ok(Progress::Waiting) };
        match exchange.drive(ctx, readable)? {
            None => Ok(Progress::Waiting),
            Some(Finding::Met) => Ok(Progress::Up),
            Some(Finding::Redirect(to)) => self.redirected(ctx, &to),
        }
    }

    fn redirected(&mut self, ctx: &mut Ctx<'_>, to: &str) -> Result<Progress, Failure> {
        let next = self.hops.last().and_then(|base| location::resolve(base, to));
        let Some(next) = next else {
            let why = format!("cannot follow the redirect to \"{}\"", shorten(to, 100));
            return Err(Failure::at(Stage::Http, why));
        };
        if self.hops.len() > MOST_REDIRECTS {
            let loops = if self.hops.contains(&next) { ", in a loop" } else { "" };
            return Err(Failure::at(Stage::Http, format!("more than {MOST_REDIRECTS} redirects{loops}")));
        }
        // The old connection is closed before a new one is made.
        self.phase = Phase::Starting;
        let host = next.to.host.clone();
        self.hops.push(next);
        self.resolve(ctx, &host)
    }

    fn resolve(&mut self, ctx: &mut Ctx<'_>, host: &Host) -> Result<Progress, Failure> {
        let check = Arc::clone(&self.due.check);
        match Lookup::start(ctx, host)? {
            Begun::Known(addresses) => self.resolved(ctx, &check, &addresses),
            Begun::Asking(lookup) => {
                self.phase = Phase::Resolving(lookup);
                Ok(Progress::Waiting)
            }
        }
    }

    /// The failure at the deadline: what was waited for.
    fn too_late(&self) -> Failure {
        let timeout = self.due.check.timeout;
        let (stage, what) = match &self.phase {
            Phase::Resolving(lookup) => return lookup.silence(),
            Phase::Starting | Phase::Connecting(_) => (Stage::Connect, "while connecting"),
            Phase::Handshake(_) => (Stage::Tls, "during tls handshake"),
            Phase::Exchange(exchange) if exchange.in_body() => (Stage::Body, "waiting for body"),
            Phase::Exchange(_) => (Stage::Http, "waiting for headers"),
            Phase::Pinging(_) => (Stage::Icmp, "waiting for an echo reply"),
        };
        Failure::sentence(stage, format!("timeout after {timeout} {what}"))
    }

    /// After a redirect a failure says where it happened.
    fn where_from(&self, failure: Failure) -> Failure {
        match self.hops.as_slice() {
            [_, .., last] if !failure.starved => {
                let detail = format!("{} (redirected to {})", failure.detail, shorten(last.as_str(), 150));
                Failure { detail, ..failure }
            }
            _ => failure,
        }
    }
}
