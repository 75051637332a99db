//! Who may try to get in: the limits on connections that have not proved a known key. Pure.
//!
//! Model: every such connection is a *stranger* with a place. There are [`PLACES`] places for the
//! world and [`PER_SOURCE`] of them for one source address; addresses at which peers are known to
//! be have places of their own, so that no flood from elsewhere keeps a peer out. When the places
//! are taken, the one that has shown least for longest makes room (a silent connection from the
//! source that holds most), so waiting without a word holds nothing for long.
//!
//! The costly step of a handshake (our signature, the key exchange) is rationed: so many a second
//! for the world, so many for the addresses of peers, one between two looks at the peers' own
//! connections. Peers' addresses first, then the source that was served longest ago.
//!
//! What it cannot do: tell a peer from a flood behind the same address. The peer then gets in by
//! the connection that *this* node dials to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::base::clock::Mono;

/// Connections of the world that have not proved a known key, at most.
pub const PLACES: usize = 64;
/// Where a process may have few descriptors, one in so many is for the world.
const SHARE: u64 = 8;
/// Of these, from one source.
pub const PER_SOURCE: usize = 4;
/// A connection that has said something reasonable is not pushed out while younger than this.
const GRACE: Duration = Duration::from_secs(1);
/// Handshakes a second for the world, and how many may come at once.
const WORLD_RATE: (u64, u64) = (20, 40);
/// Handshakes a second for addresses of peers, and how many may come at once.
const PEERS_RATE: (u64, u64) = (50, 100);
/// Sources that are remembered.
const REMEMBERED: usize = 1024;
/// The first pause after a failed join; doubled by each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failed joins; a source without failure for this long is forgotten.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where a connection comes from, as far as limits go: an IPv4 address, or the /64 of an IPv6
/// address, within which one host has as many addresses as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let net = u128::from(v6) & !u128::from(u64::MAX);
                Source(IpAddr::V6(Ipv6Addr::from(net)))
            }
            v4 @ IpAddr::V4(_) => Source(v4),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl Default for Source {
    fn default() -> Source {
        Source(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// How far a stranger has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing of sense has arrived.
    Silent,
    /// Handshake done, with a key that is not known.
    Unknown,
    /// Asks for the costly step of the handshake.
    Asking,
    /// In the handshake.
    Shaking,
}

/// How many places for the world there are when this process may have so many descriptors.
#[must_use]
pub fn places_for(descriptors: u64) -> usize {
    usize::try_from(descriptors / SHARE).unwrap_or(PLACES).clamp(PER_SOURCE, PLACES)
}

/// A number for a stranger, never given twice.
pub type StrangerId = u64;

#[derive(Clone, Copy, Debug)]
struct Place {
    source: Source,
    /// From an address of a peer.
    known: bool,
    since: Mono,
    progress: Progress,
}

/// What to do with a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has a place.
    Enter(StrangerId),
    /// It has the place of this one, which is to be closed.
    Instead {
        /// The new one.
        id: StrangerId,
        /// The one to be closed.
        of: StrangerId,
    },
    /// Close it.
    Refuse,
}

/// A ration that fills up with time.
#[derive(Clone, Copy, Debug)]
struct Ration {
    per_second: u64,
    most: u64,
    /// Thousandths.
    have: u64,
    at: Mono,
}

impl Ration {
    fn new((per_second, most): (u64, u64), now: Mono) -> Ration {
        Ration { per_second, most, have: most * 1000, at: now }
    }

    fn fill(&mut self, now: Mono) {
        let ms = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        if ms > 0 {
            self.have = self.have.saturating_add(ms.saturating_mul(self.per_second)).min(self.most * 1000);
            self.at = now;
        }
    }

    fn take(&mut self, now: Mono) -> bool {
        self.fill(now);
        let enough = self.have >= 1000;
        if enough {
            self.have -= 1000;
        }
        enough
    }

    /// How long until there is one.
    fn wait(&self) -> Duration {
        Duration::from_millis((1000_u64.saturating_sub(self.have)).div_ceil(self.per_second))
    }
}

/// What is remembered of a source.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// When its last handshake was paid for.
    served: Mono,
    /// Failed joins in a row.
    failures: u32,
    /// No join before this.
    not_before: Mono,
}

/// The places, the rations and what is remembered.
/// * At most `room` strangers of the world, at most [`PER_SOURCE`] of one source.
/// * At most [`PER_SOURCE`] for each peer, at the addresses of peers.
/// * At most `REMEMBERED` sources are remembered.
pub struct Gate {
    /// For the world; [`PLACES`] unless descriptors are few.
    room: usize,
    next: StrangerId,
    places: BTreeMap<StrangerId, Place>,
    /// Addresses of peers, with how many peers are there.
    peers: BTreeMap<Source, usize>,
    records: BTreeMap<Source, Record>,
    world: Ration,
    for_peers: Ration,
}

impl Gate {
    /// Empty, with so many places for the world.
    #[must_use]
    pub fn new(now: Mono, room: usize) -> Gate {
        Gate {
            room,
            next: 1,
            places: BTreeMap::new(),
            peers: BTreeMap::new(),
            records: BTreeMap::new(),
            world: Ration::new(WORLD_RATE, now),
            for_peers: Ration::new(PEERS_RATE, now),
        }
    }

    /// Where peers are, one entry for each peer and address.
    pub fn set_peers(&mut self, sources: impl IntoIterator<Item = Source>) {
        self.peers.clear();
        for source in sources {
            *self.peers.entry(source).or_default() += 1;
        }
    }

    /// Connections that have not proved a known key.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.places.len()
    }

    /// A new connection.
    pub fn admit(&mut self, now: Mono, source: Source) -> Admission {
        let known = self.peers.get(&source).copied();
        let own = known.unwrap_or(1) * PER_SOURCE;
        let here = self.places.values().filter(|p| p.source == source).count();
        let victim = if here >= own {
            self.weakest(now, |p| p.source == source)
        } else if known.is_none() && self.places.values().filter(|p| !p.known).count() >= self.room {
            let crowd = self.crowd();
            // Whoever holds as much as the greediest asks for no more.
            (here < crowd).then(|| self.weakest(now, |p| !p.known && self.held(p.source) == crowd)).flatten()
        } else {
            return Admission::Enter(self.enter(now, source, known.is_some()));
        };
        match victim {
            None => Admission::Refuse,
            Some(of) => {
                self.places.remove(&of);
                Admission::Instead { id: self.enter(now, source, known.is_some()), of }
            }
        }
    }

    fn enter(&mut self, since: Mono, source: Source, known: bool) -> StrangerId {
        let id = self.next;
        self.next += 1;
        self.places.insert(id, Place { source, known, since, progress: Progress::Silent });
        id
    }

    fn held(&self, source: Source) -> usize {
        self.places.values().filter(|p| p.source == source).count()
    }

    /// The most places that one source of the world holds.
    fn crowd(&self) -> usize {
        self.places.values().filter(|p| !p.known).map(|p| self.held(p.source)).max().unwrap_or(0)
    }

    /// Who makes room first: least progress, then longest here. Progress protects the young only.
    fn weakest(&self, now: Mono, among: impl Fn(&Place) -> bool) -> Option<StrangerId> {
        self.places
            .iter()
            .filter(|(_, p)| among(p))
            .filter(|(_, p)| p.progress == Progress::Silent || now.since(p.since) > GRACE)
            .min_by_key(|(_, p)| (p.progress, p.since))
            .map(|(id, _)| *id)
    }

    /// A stranger that can be given up when descriptors run out.
    #[must_use]
    pub fn most_dispensable(&self) -> Option<StrangerId> {
        let world = self.places.iter().filter(|(_, p)| !p.known);
        world.min_by_key(|(_, p)| (p.progress, p.since)).map(|(id, _)| *id)
    }

    /// It has come further.
    pub fn progress(&mut self, id: StrangerId, progress: Progress) {
        if let Some(place) = self.places.get_mut(&id) {
            place.progress = progress;
        }
    }

    /// It is gone, or is no stranger any more.
    pub fn leave(&mut self, id: StrangerId) {
        self.places.remove(&id);
    }

    /// Who may take the costly step now, of those that ask: one at a time, and it is paid for.
    pub fn grant(&mut self, now: Mono) -> Option<StrangerId> {
        for known in [true, false] {
            let asking =
                self.places.iter().filter(|(_, p)| p.known == known && p.progress == Progress::Asking);
            let next = asking.min_by_key(|(_, p)| (self.record(p.source).served, p.since));
            let Some((id, source)) = next.map(|(id, p)| (*id, p.source)) else { continue };
            let ration = if known { &mut self.for_peers } else { &mut self.world };
            if ration.take(now) {
                self.remember(now, source).served = now;
                self.progress(id, Progress::Shaking);
                return Some(id);
            }
        }
        None
    }

    /// How long until somebody who asks can be granted; `None` when nobody asks.
    #[must_use]
    pub fn next_grant(&self) -> Option<Duration> {
        let asks = |known| self.places.values().any(|p| p.known == known && p.progress == Progress::Asking);
        [(true, &self.for_peers), (false, &self.world)]
            .into_iter()
            .filter(|(known, _)| asks(*known))
            .map(|(_, ration)| ration.wait())
            .min()
    }

    fn record(&self, source: Source) -> Record {
        self.records.get(&source).copied().unwrap_or_default()
    }

    fn remember(&mut self, now: Mono, source: Source) -> &mut Record {
        if self.records.len() >= REMEMBERED && !self.records.contains_key(&source) {
            self.records
                .retain(|_, r| now.since(r.served.max(r.not_before)) < LONGEST_PAUSE || r.not_before > now);
            if self.records.len() >= REMEMBERED
                && let Some(first) =
                    self.records.iter().min_by_key(|(_, r)| (r.not_before, r.served)).map(|(s, _)| *s)
            {
                self.records.remove(&first);
            }
        }
        self.records.entry(source).or_default()
    }

    /// How long this source has to wait before it may try to join again; zero when it may.
    #[must_use]
    pub fn join_pause(&self, now: Mono, source: Source) -> Duration {
        self.record(source).not_before.since(now)
    }

    /// A join from this source failed.
    pub fn join_failed(&mut self, now: Mono, source: Source) {
        let record = self.remember(now, source);
        if now.since(record.not_before) > LONGEST_PAUSE {
            record.failures = 0;
        }
        let factor = 1_u32.checked_shl(record.failures.min(16)).unwrap_or(u32::MAX);
        record.not_before = now + FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        record.failures = record.failures.saturating_add(1);
    }

    /// A join from this source went through.
    pub fn join_worked(&mut self, source: Source) {
        if let Some(record) = self.records.get_mut(&source) {
            record.failures = 0;
            record.not_before = Mono(0);
        }
    }
}

#[cfg(test)]
mod tests;
