//! Echo requests: one socket a family for all targets, paced.
//!
//! Model: [`Icmp`] owns the sockets, hands out sequence numbers, keeps the queue of probes that
//! want to send and lets only so many through in a millisecond. [`Ping`] is one probe: up to three
//! echoes spread over its timeout, to one address of each family its name has; the first reply
//! wins. A reply counts when identifier and sequence number are ours and it carries the probe's
//! token, 128 bits that nobody on the way could have guessed: late replies of an earlier probe and
//! forged ones do not match. "Unreachable" messages end a probe early when they quote such a
//! request; routers that quote too little are believed by identifier, sequence number and target.

pub mod packet;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::sys::errno;
use crate::sys::icmp::{self as sys, IcmpSocket, Kind};
use crate::sys::poll::Poller;
use crate::verdict::Stage;

use super::socket::{Failure, connection_failure, unguessable};
use packet::{Echo, TOKEN};

/// How many echoes a probe sends at most.
const ECHOES: u32 = 3;
/// Between two echoes on the wire, on average: 10,000 a second, twelve times what 50,000 targets
/// a minute need.
const SPACING: Duration = Duration::from_micros(100);
/// So many may go out back to back: what a small switch or a home router buffers.
const BURST: u32 = 64;

/// What a packet told about a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The echo with this sequence number came back with this token.
    Reply {
        /// Its number.
        seq: u16,
        /// Its token.
        token: [u8; TOKEN],
    },
    /// The echo cannot reach this address.
    Unreachable {
        /// The address.
        to: IpAddr,
        /// Its number.
        seq: u16,
        /// The token, where the message quotes it.
        token: Option<[u8; TOKEN]>,
        /// Why, in words.
        why: &'static str,
    },
}

/// Why an echo was not sent.
pub enum NotSent {
    /// The socket is full: later.
    Busy,
    /// It cannot be.
    Failed(Failure),
}

/// The sockets and the queue.
#[derive(Debug)]
pub struct Icmp {
    sockets: [Option<IcmpSocket>; 2],
    tokens: [u64; 2],
    id: u16,
    seq: u16,
    by_seq: BTreeMap<u16, u64>,
    queue: VecDeque<u64>,
    allowed: u32,
    counted: Mono,
}

impl Icmp {
    /// No socket yet; `tokens` are what the poller is to tell for IPv4 and IPv6.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new(now: Mono, tokens: [u64; 2]) -> Result<Icmp, Failure> {
        let [a, b, c, d] = unguessable::<4>()?;
        Ok(Icmp {
            sockets: [None, None],
            tokens,
            id: u16::from_ne_bytes([a, b]),
            seq: u16::from_ne_bytes([c, d]),
            by_seq: BTreeMap::new(),
            queue: VecDeque::new(),
            allowed: BURST,
            counted: now,
        })
    }

    /// The probe of this key wants to send.
    pub fn enqueue(&mut self, key: u64) {
        self.queue.push_back(key);
    }

    /// The next probe that may send now.
    pub fn next_sender(&mut self, now: Mono) -> Option<u64> {
        let earned = now.since(self.counted).as_nanos() / SPACING.as_nanos();
        if earned > 0 {
            self.allowed = self.allowed.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(BURST);
            self.counted = now;
        }
        if self.allowed == 0 {
            return None;
        }
        let key = self.queue.pop_front()?;
        self.allowed -= 1;
        Some(key)
    }

    /// When there is something to send again.
    #[must_use]
    pub fn wake(&self) -> Mono {
        if self.queue.is_empty() { Mono::FAR } else { self.counted + SPACING }
    }

    /// The sockets take no more now: the probe of this key comes first when they do.
    pub fn hold(&mut self, key: u64) {
        self.queue.push_front(key);
        self.allowed = 0;
    }

    /// A probe is over: its sequence numbers mean nothing any more.
    pub fn forget(&mut self, key: u64, seqs: &[u16]) {
        for seq in seqs {
            if self.by_seq.get(seq) == Some(&key) {
                self.by_seq.remove(seq);
            }
        }
    }

    /// Sends one echo; returns its sequence number.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(
        &mut self,
        poller: &Poller,
        key: u64,
        token: &[u8; TOKEN],
        to: IpAddr,
    ) -> Result<u16, NotSent> {
        let v6 = to.is_ipv6();
        let slot = usize::from(v6);
        if self.sockets[slot].is_none() {
            let socket = sys::open(v6).map_err(|r| NotSent::Failed(refused(&r, v6)))?;
            // Without it we are only woken more often than needed.
            drop(socket.hear_only(self.id));
            poller.watch_input(socket.as_fd(), self.tokens[slot]).map_err(|e| {
                NotSent::Failed(Failure::at(Stage::Local, format!("cannot watch a socket: {e}")))
            })?;
            self.sockets[slot] = Some(socket);
        }
        self.seq = self.seq.wrapping_add(1);
        let echo = Echo { id: self.id, seq: self.seq, key, token: *token };
        let Some(socket) = &self.sockets[slot] else { return Err(NotSent::Busy) };
        match socket.send(&packet::request(&echo, v6), to) {
            Ok(()) => {
                self.by_seq.insert(self.seq, key);
                Ok(self.seq)
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(NotSent::Busy),
            Err(e) if e.raw_os_error() == Some(errno::ENOBUFS) => Err(NotSent::Busy),
            Err(e) => {
                let failure = match e.raw_os_error().map(packet::unreachable_by_errno) {
                    Some(Some(why)) => Failure::at(Stage::Icmp, why),
                    _ => connection_failure(Stage::Icmp, &e),
                };
                Err(NotSent::Failed(failure))
            }
        }
    }

    /// Takes one message from a socket's queue of errors: `None` when there is none left; `Some(None)`
    /// when it tells nothing about our probes.
    pub fn receive_error(&self, v6: bool, buffer: &mut [u8]) -> Option<Option<(u64, Heard)>> {
        let error = self.sockets[usize::from(v6)].as_ref()?.receive_error(buffer)?;
        let quoted = packet::quoted(buffer.get(..error.quoted).unwrap_or_default());
        let why = packet::unreachable_by_errno(error.errno).unwrap_or("unreachable");
        // The kernel has matched its own identifier already.
        Some(quoted.and_then(|q| self.unreachable(error.to, &q, why)))
    }

    /// Takes one packet from a socket; returns as [`Icmp::receive_error`] does.
    pub fn receive(&self, v6: bool, buffer: &mut [u8]) -> Option<Option<(u64, Heard)>> {
        let socket = self.sockets[usize::from(v6)].as_ref()?;
        let range: Range<usize> = socket.receive(buffer).ok()??;
        let message = buffer.get(range).unwrap_or_default();
        let own_id = socket.kind() == Kind::Raw;
        if let Some(echo) = packet::reply(message, v6) {
            let ours = !own_id || echo.id == self.id;
            return Some(ours.then_some((echo.key, Heard::Reply { seq: echo.seq, token: echo.token })));
        }
        let heard = packet::unreachable(message, v6)
            .filter(|(_, quoted, _)| quoted.id == self.id)
            .and_then(|(to, quoted, why)| self.unreachable(to, &quoted, why));
        Some(heard)
    }

    fn unreachable(&self, to: IpAddr, quoted: &packet::Quoted, why: &'static str) -> Option<(u64, Heard)> {
        let seq = quoted.seq;
        let (key, token) = match quoted.payload {
            Some((key, token)) => (key, Some(token)),
            None => (*self.by_seq.get(&seq)?, None),
        };
        Some((key, Heard::Unreachable { to, seq, token, why }))
    }
}

/// What must be done so that this process may ping.
fn refused(refused: &sys::Refused, v6: bool) -> Failure {
    let errors = [&refused.datagram, &refused.raw].map(std::io::Error::raw_os_error);
    if errors.contains(&Some(errno::EMFILE)) || errors.contains(&Some(errno::ENFILE)) {
        return Failure::starved();
    }
    if errors.contains(&Some(errno::EAFNOSUPPORT)) {
        let family = if v6 { "IPv6" } else { "IPv4" };
        return Failure::at(Stage::Local, format!("this host has no {family}"));
    }
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let range = range.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    // A service may be shown nothing of /proc/sys.
    let now = if range.is_empty() { String::new() } else { format!(" (now \"{range}\")") };
    let group = sys::group();
    Failure::at(
        Stage::Local,
        format!(
            "no permission to ping: include group {group} in the sysctl net.ipv4.ping_group_range{now}, \
             or give this process CAP_NET_RAW"
        ),
    )
}

/// One probe.
#[derive(Debug)]
pub struct Ping {
    targets: Vec<IpAddr>,
    token: [u8; TOKEN],
    seqs: Vec<u16>,
    echoes: u32,
    gap: Duration,
    next_at: Mono,
    /// Which targets cannot be reached, and why.
    failed: Vec<(IpAddr, Failure)>,
}

impl Ping {
    /// A probe of the first address of each family, with an outcome wanted by `deadline`.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new(now: Mono, deadline: Mono, addresses: &[IpAddr]) -> Result<Ping, Failure> {
        let first = |v6| addresses.iter().find(|a| a.is_ipv6() == v6).copied();
        Ok(Ping {
            targets: [first(true), first(false)].into_iter().flatten().collect(),
            token: unguessable()?,
            seqs: Vec::new(),
            echoes: 0,
            gap: deadline.since(now) / ECHOES,
            next_at: now,
            failed: Vec::new(),
        })
    }

    /// When the next echo wants to be queued.
    #[must_use]
    pub fn wake(&self) -> Mono {
        self.next_at
    }

    /// Time has passed: whether the probe wants to send.
    pub fn time(&mut self, now: Mono) -> bool {
        let due = now >= self.next_at && self.echoes < ECHOES;
        if due {
            self.echoes += 1;
            self.next_at = if self.echoes < ECHOES { self.next_at + self.gap } else { Mono::FAR };
        }
        due
    }

    /// The sequence numbers used so far.
    #[must_use]
    pub fn seqs(&self) -> &[u16] {
        &self.seqs
    }

    /// Its turn has come: sends one echo to each target that is still reachable. False: the
    /// sockets take no more, and it wants to be held.
    ///
    /// # Errors
    /// No target can be reached.
    pub fn send(&mut self, icmp: &mut Icmp, poller: &Poller, key: u64) -> Result<bool, Failure> {
        for to in self.targets.clone() {
            if self.failed.iter().any(|(ip, _)| *ip == to) {
                continue;
            }
            match icmp.send(poller, key, &self.token, to) {
                Ok(seq) => self.seqs.push(seq),
                Err(NotSent::Busy) => return Ok(false),
                Err(NotSent::Failed(failure)) => self.lost(to, failure)?,
            }
        }
        Ok(true)
    }

    /// Something was heard under this probe's key: true when the target has answered.
    ///
    /// # Errors
    /// No target can be reached.
    pub fn heard(&mut self, heard: Heard) -> Result<bool, Failure> {
        match heard {
            Heard::Reply { seq, token } => Ok(token == self.token && self.seqs.contains(&seq)),
            Heard::Unreachable { to, seq, token, why } => {
                let ours = self.seqs.contains(&seq)
                    && self.targets.contains(&to)
                    && token.is_none_or(|t| t == self.token);
                if ours {
                    self.lost(to, Failure::at(Stage::Icmp, why))?;
                }
                Ok(false)
            }
        }
    }

    fn lost(&mut self, to: IpAddr, failure: Failure) -> Result<(), Failure> {
        if failure.starved {
            return Err(failure);
        }
        if self.failed.iter().all(|(ip, _)| *ip != to) {
            self.failed.push((to, failure));
        }
        if self.failed.len() < self.targets.len() {
            return Ok(());
        }
        // What the target's network said tells more than what this host lacks.
        let told = self.failed.iter().find(|(_, f)| f.stage == Stage::Icmp && !f.detail.contains("network"));
        Err(told
            .or(self.failed.last())
            .map_or_else(|| Failure::at(Stage::Icmp, "unreachable"), |(_, f)| f.clone()))
    }
}

#[cfg(test)]
mod tests;
