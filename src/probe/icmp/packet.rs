//! ICMP messages (RFC 792, RFC 4443): echo requests made, replies and "unreachable" read. Pure;
//! any bytes may come in.

use std::net::IpAddr;

use crate::sys::errno;

/// Bytes of a probe's token.
pub const TOKEN: usize = 16;
/// Bytes after the ICMP header: as many as ping(8) sends, since some firewalls look at that.
const PAYLOAD: usize = 56;

/// An echo: what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The identifier; the kernel's on datagram sockets.
    pub id: u16,
    /// The sequence number.
    pub seq: u16,
    /// Which probe.
    pub key: u64,
    /// What proves that the reply answers that probe.
    pub token: [u8; TOKEN],
}

/// What an "unreachable" message repeats of an echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The identifier.
    pub id: u16,
    /// The sequence number.
    pub seq: u16,
    /// Key and token, where it repeats so much.
    pub payload: Option<(u64, [u8; TOKEN])>,
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// An echo request as a message. For IPv6 the kernel adds the checksum.
#[must_use]
pub fn request(echo: &Echo, v6: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + PAYLOAD);
    out.extend([if v6 { 128 } else { 8 }, 0, 0, 0]);
    out.extend(echo.id.to_be_bytes());
    out.extend(echo.seq.to_be_bytes());
    out.extend(echo.key.to_be_bytes());
    out.extend(echo.token);
    out.resize(8 + PAYLOAD, 0x71);
    if !v6 {
        let sum = checksum(&out).to_be_bytes();
        out[2..4].copy_from_slice(&sum);
    }
    out
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

fn payload(message: &[u8]) -> Option<(u64, [u8; TOKEN])> {
    let key = message.get(8..)?.first_chunk::<8>()?;
    let token = message.get(16..)?.first_chunk::<TOKEN>()?;
    Some((u64::from_be_bytes(*key), *token))
}

/// Reads an echo reply with a payload of ours.
#[must_use]
pub fn reply(message: &[u8], v6: bool) -> Option<Echo> {
    if message.get(..2)? != [if v6 { 129 } else { 0 }, 0] {
        return None;
    }
    let (key, token) = payload(message)?;
    Some(Echo { id: word(message, 4)?, seq: word(message, 6)?, key, token })
}

/// Reads what is quoted of an echo request: its ICMP header, then as much as there is.
#[must_use]
pub fn quoted(message: &[u8]) -> Option<Quoted> {
    if !matches!(message.first()?, 8 | 128) {
        return None;
    }
    Some(Quoted { id: word(message, 4)?, seq: word(message, 6)?, payload: payload(message) })
}

/// Reads a "destination unreachable" about an echo request: where it was sent, what is quoted of
/// it, and why.
#[must_use]
pub fn unreachable(message: &[u8], v6: bool) -> Option<(IpAddr, Quoted, &'static str)> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    let original = message.get(8..)?;
    if v6 {
        if kind != 1 || *original.get(6)? != 58 {
            return None;
        }
        let to: [u8; 16] = *original.get(24..)?.first_chunk()?;
        let why = match code {
            0 | 2 => "network unreachable",
            1 | 5 | 6 => "prohibited by a firewall",
            3 => "host unreachable",
            _ => "unreachable",
        };
        return Some((IpAddr::from(to), quoted(original.get(40..)?)?, why));
    }
    if kind != 3 || *original.get(9)? != 1 {
        return None;
    }
    let header = usize::from(*original.first()? & 0xf) * 4;
    let to: [u8; 4] = *original.get(16..)?.first_chunk()?;
    let why = match code {
        0 | 6 | 8 | 11 => "network unreachable",
        1 | 5 | 7 | 12 => "host unreachable",
        9 | 10 | 13 => "prohibited by a firewall",
        _ => "unreachable",
    };
    Some((IpAddr::from(to), quoted(original.get(header..)?)?, why))
}

/// What the kernel's error number for such a message means; `None` for other errors.
#[must_use]
pub fn unreachable_by_errno(errno: i32) -> Option<&'static str> {
    match errno {
        errno::EHOSTUNREACH | errno::EHOSTDOWN | errno::ENONET => Some("host unreachable"),
        errno::ENETUNREACH | errno::ENETDOWN => Some("network unreachable"),
        errno::EACCES | errno::EPERM => Some("prohibited by a firewall"),
        errno::ECONNREFUSED | errno::ENOPROTOOPT | errno::EPROTO => Some("unreachable"),
        _ => None,
    }
}
