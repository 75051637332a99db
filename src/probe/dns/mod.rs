//! Names to addresses, afresh for every probe: a stub resolver that never holds a thread.
//!
//! Model: addresses are themselves; `/etc/hosts` comes first; everything else is asked of the
//! servers in `/etc/resolv.conf` over UDP (TCP where the answer is cut), A and AAAA together, with
//! the search list, `ndots`, `timeout`, `attempts` and `rotate` of resolv.conf(5). Both files are
//! read again when they change.
//!
//! An answer is believed when it comes from the asked server to the random port that asked (the
//! socket is connected), carries the random number of the question, and repeats the question.
//! A name that does not exist, a name without an address, a server that fails and a server that
//! does not answer are different failures.
//!
//! Left out: caching (a probe is to see what is true now), the other sources of nsswitch.conf(5)
//! such as mDNS and LDAP, DNSSEC validation (a resolver's task), IPv6 zones in `nameserver` lines.

pub mod files;
pub mod lookup;
pub mod wire;
