//! Free ports of loopback, below those that the system gives to connections: one of these could
//! take the port of a node or a target that is down, or a probe of it could connect to itself.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Where the search begins, and how many ports it goes through.
const RANGE: (u16, u16) = (20_000, 12_000);

/// Listeners on so many free ports. Held together, so that none is found twice; different
/// processes begin in different places, so that they seldom meet.
///
/// # Errors
/// The system's, when there are not as many.
pub fn listeners(count: usize) -> io::Result<Vec<TcpListener>> {
    let (first, many) = RANGE;
    let start = std::process::id().wrapping_mul(37) % u32::from(many);
    let mut found = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..u32::from(many) {
        if found.len() == count {
            break;
        }
        let port = u16::try_from((start + step) % u32::from(many)).unwrap_or(0) + first;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => found.push(listener),
            Err(e) => last = e,
        }
    }
    if found.len() == count { Ok(found) } else { Err(last) }
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
    fn ports_are_different_and_below_those_of_connections() {
        let found = listeners(20).unwrap();
        let mut ports: Vec<u16> = found.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|p| (20_000..32_000).contains(p)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
