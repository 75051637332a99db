//! Free ports of loopback, below those that the system gives to connections: one of these could
//! take the port of a node or a target that is down, or a probe of it could connect to itself.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the search begins, and how many ports it goes through.
const RANGE: (u16, u16) = (20_000, 12_000);

/// How far the search has come: a port that was found and let go, for a node that is to take it, is
/// not found again.
static PASSED: AtomicU32 = AtomicU32::new(0);

/// Listeners on so many free ports. Different processes begin in different places, so that they
/// seldom meet.
///
/// # Errors
/// The system's, when there are not as many.
pub fn listeners(count: usize) -> io::Result<Vec<TcpListener>> {
    let (first, many) = RANGE;
    let start = std::process::id().wrapping_mul(37) % u32::from(many);
    let mut found = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    while found.len() < count {
        let step = PASSED.fetch_add(1, Ordering::SeqCst);
        if step >= u32::from(many) {
            return Err(last);
        }
        let port = u16::try_from((start + step) % u32::from(many)).unwrap_or(0) + first;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => found.push(listener),
            Err(e) => last = e,
        }
    }
    Ok(found)
}

/// One.
///
/// # Errors
/// As above.
pub fn listener() -> io::Result<TcpListener> {
    listeners(1)?.pop().ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_found_twice_and_all_are_below_those_of_connections() {
        let mut ports = Vec::new();
        for _ in 0..5 {
            // Let go at once, as those of the nodes are.
            ports.extend(listeners(4).unwrap().iter().map(|l| l.local_addr().unwrap().port()));
        }
        assert!(ports.iter().all(|p| (20_000..32_000).contains(p)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
