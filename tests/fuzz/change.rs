//! Inputs out of a corpus.

use quptime::base::rng::Rng;

/// No input is longer, bytes.
const LONGEST: usize = 16 * 1024;

/// Numbers at which something often breaks.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "127",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551614",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0.0",
    "0.5",
];

/// Pieces that mean something to one parser or another.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\"",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "- ",
    "  ",
    "\t",
    "&a ",
    "*a",
    "!!binary ",
    "? ",
    "| ",
    "> ",
    "---\n",
    "#",
    "{{ ",
    " }}",
    "{% if ",
    "{% endif %}",
    "{% for x in ",
    "|upper",
    "@everyone",
    "<@1>",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{0}",
    "::1",
    "127.0.0.1",
    "[::]:1",
    "%2e",
    "..",
    "//",
    "?",
    "é",
    "\u{10ffff}",
    "5s",
    "1h30m",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: ",
    "HTTP/1.1 200 OK\r\n",
];

/// An item, changed once to eight times; at times two items joined.
pub fn one_of(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.pick(corpus).cloned().unwrap_or_default();
    for _ in 0..=rng.below(8) {
        let other = rng.pick(corpus).cloned().unwrap_or_default();
        change(&mut bytes, &other, rng);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn place(bytes: &[u8], rng: &mut Rng) -> usize {
    usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap_or(0)
}

fn range(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let (a, b) = (place(bytes, rng), place(bytes, rng));
    // Short pieces more often than long ones.
    let end = if rng.chance(700) { a.min(b) + 8 } else { a.max(b) };
    a.min(b)..end.min(bytes.len())
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = place(bytes, rng);
    match rng.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.next_u64().to_le_bytes()[0];
            }
        }
        2 => drop(bytes.drain(range(bytes, rng))),
        3 => bytes.truncate(at),
        4 => {
            let piece = bytes[range(bytes, rng)].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        5 => {
            let piece = other[range(other, rng)].to_vec();
            let hole = range(bytes, rng);
            drop(bytes.splice(hole, piece));
        }
        6 | 7 => renumber(bytes, rng),
        8 => {
            let piece = rng.pick(PIECES).copied().unwrap_or_default();
            drop(bytes.splice(at..at, piece.bytes()));
        }
        _ => swap_lines(bytes, rng),
    }
}

/// Puts another number in the place of one that is written in digits.
fn renumber(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let from = place(bytes, rng);
    let Some(start) = bytes.iter().skip(from).position(u8::is_ascii_digit).map(|n| n + from) else { return };
    let length = bytes.iter().skip(start).take_while(|b| b.is_ascii_digit()).count();
    let number = rng.pick(NUMBERS).copied().unwrap_or_default();
    drop(bytes.splice(start..start + length, number.bytes()));
}

/// Lines are messages, commands, fields: their order matters.
fn swap_lines(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let count = lines.len() as u64;
    let pick = |rng: &mut Rng| usize::try_from(rng.below(count)).unwrap_or(0);
    let (a, b) = (pick(rng), pick(rng));
    if rng.chance(500) {
        lines.swap(a, b);
    } else {
        let copy = lines.get(a).cloned().unwrap_or_default();
        lines.insert(b, copy);
    }
    *bytes = lines.join(&b'\n');
}
