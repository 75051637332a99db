//! Making a TCP connection to one of several addresses.
//!
//! Model: addresses are tried in order, the next one when the one before failed or has had its
//! share of the time, and none is given up before the deadline: the first that answers wins, the
//! others are closed. So a dead address family costs a healthy target a fraction of its timeout,
//! and a packet that comes late still counts.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use crate::base::clock::Mono;
use crate::sys::errno;
use crate::verdict::Stage;

use super::socket::{Ctx, Failure, Sock, Stirred, connection_failure};

/// More addresses than these are not tried: each waiting one holds a descriptor.
const MOST_ADDRESSES: usize = 6;
/// The next address is not kept waiting longer than this.
const LONGEST_SHARE: Duration = Duration::from_millis(500);

/// A connection being made.
#[derive(Debug)]
pub struct Connecting {
    port: u16,
    left: VecDeque<IpAddr>,
    trying: Vec<(u16, Sock)>,
    share: Duration,
    next_at: Mono,
    failure: Option<Failure>,
}

/// IPv6 and IPv4 in turn, each in the order given.
fn interleaved(addresses: &[IpAddr]) -> VecDeque<IpAddr> {
    let mut v6 = addresses.iter().filter(|a| a.is_ipv6());
    let mut v4 = addresses.iter().filter(|a| a.is_ipv4());
    let mut out = VecDeque::new();
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => break,
            (six, four) => out.extend(six.into_iter().chain(four).copied()),
        }
    }
    out.truncate(MOST_ADDRESSES);
    out
}

/// How much a failure says: a refusal by the target itself more than a missing route here.
fn weight(failure: &Failure) -> u8 {
    match failure.detail.as_str() {
        "connect: network unreachable" => 0,
        "connect: no route to host" => 1,
        _ if failure.stage == Stage::Local => 3,
        _ => 2,
    }
}

impl Connecting {
    /// Begins with the first address. Returns the connection at once where the kernel does.
    ///
    /// # Errors
    /// When every address fails at once.
    pub fn start(
        ctx: &mut Ctx<'_>,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<(Connecting, Option<Sock>), Failure> {
        let left = interleaved(addresses);
        let parts = u32::try_from(left.len()).unwrap_or(u32::MAX).saturating_add(1);
        let share = (ctx.left() / parts).min(LONGEST_SHARE);
        let mut connecting =
            Connecting { port, left, trying: Vec::new(), share, next_at: ctx.now, failure: None };
        let sock = connecting.next_address(ctx)?;
        Ok((connecting, sock))
    }

    /// When [`Connecting::time`] wants to be called.
    #[must_use]
    pub fn wake(&self) -> Mono {
        if self.left.is_empty() { Mono::FAR } else { self.next_at }
    }

    /// Something can be done on one of the sockets.
    ///
    /// # Errors
    /// When the last address has failed.
    pub fn ready(&mut self, ctx: &mut Ctx<'_>, on: Stirred) -> Result<Option<Sock>, Failure> {
        let at = self.trying.iter().position(|(s, _)| *s == on.sub);
        let Some(at) = at.filter(|_| on.writable) else { return Ok(None) };
        let socket = &self.trying[at].1.socket;
        let error = match socket.take_error() {
            Ok(None) => return Ok(Some(self.trying.swap_remove(at).1)),
            Ok(Some(e)) | Err(e) => e,
        };
        self.trying.swap_remove(at);
        self.note(connection_failure(Stage::Connect, &error));
        self.next_address(ctx)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When the last address has failed.
    pub fn time(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Sock>, Failure> {
        if ctx.now < self.wake() { Ok(None) } else { self.next_address(ctx) }
    }

    fn note(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|f| weight(f) <= weight(&failure)) {
            self.failure = Some(failure);
        }
    }

    /// Tries addresses until one is being waited for or none is left.
    fn next_address(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Sock>, Failure> {
        while let Some(ip) = self.left.pop_front() {
            match begin(ctx, SocketAddr::new(ip, self.port)) {
                Ok((sock, true)) => {
                    ctx.watch(&sock)?;
                    return Ok(Some(sock));
                }
                Ok((sock, false)) => {
                    let sub = ctx.watch(&sock)?;
                    self.trying.push((sub, sock));
                    self.next_at = ctx.now + self.share;
                    return Ok(None);
                }
                Err(failure) if failure.starved => return Err(failure),
                Err(failure) => self.note(failure),
            }
        }
        match self.failure.take() {
            Some(failure) if self.trying.is_empty() => Err(failure),
            // Others are still being waited for.
            kept => {
                self.failure = kept;
                Ok(None)
            }
        }
    }
}

/// Starts one connection; true when it is there already. It is watched after the start, since an
/// unconnected socket counts as hung up.
fn begin(ctx: &Ctx<'_>, to: SocketAddr) -> Result<(Sock, bool), Failure> {
    let sock = ctx.socket(Stage::Connect, Domain::for_address(to), Type::STREAM)?;
    match sock.socket.connect(&SockAddr::from(to)) {
        Ok(()) => Ok((sock, true)),
        Err(e) if matches!(e.raw_os_error(), Some(errno::EINPROGRESS | errno::EINTR)) => Ok((sock, false)),
        Err(e) => Err(connection_failure(Stage::Connect, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_list_is_bounded() {
        let ips = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        let got = interleaved(&ips(&["10.0.0.1", "10.0.0.2", "::1", "10.0.0.3"]));
        assert_eq!(Vec::from(got), ips(&["::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        let many: Vec<IpAddr> = (0..50).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(interleaved(&many).len(), MOST_ADDRESSES);
    }

    #[test]
    fn a_refusal_says_more_than_a_missing_route() {
        let of = |errno| connection_failure(Stage::Connect, &std::io::Error::from_raw_os_error(errno));
        assert!(weight(&of(errno::ECONNREFUSED)) > weight(&of(errno::EHOSTUNREACH)));
        assert!(weight(&of(errno::EHOSTUNREACH)) > weight(&of(errno::ENETUNREACH)));
        assert_eq!(of(errno::ECONNREFUSED).detail, "connect: connection refused");
        assert_eq!(of(errno::EHOSTUNREACH).detail, "connect: no route to host");
        assert_eq!(of(errno::ENETUNREACH).detail, "connect: network unreachable");
        assert!(
            of(errno::EMFILE).starved && of(errno::EMFILE).detail.contains("out of file descriptors (limit ")
        );
    }
}
