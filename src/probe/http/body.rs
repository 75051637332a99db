//! The body of an answer: where it ends, and whether a text is in it. Pure.

/// Digits of a chunk's size; more would not fit anything that is read here.
const MOST_DIGITS: u32 = 15;
/// Bytes of a chunk's extension, which nobody uses.
const MOST_EXTENSION: u32 = 4096;

/// How the end of a body is known (RFC 9112, section 6), and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// Until the connection ends.
    UntilClose,
    /// In chunks.
    Chunked(Chunk),
}

/// Where in the chunks we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the digits of a size.
    Size {
        /// So far.
        value: u64,
        /// How many digits.
        digits: u32,
    },
    /// After the digits, before the end of the line.
    Extension {
        /// The size.
        value: u64,
        /// How many bytes have been passed over.
        passed: u32,
    },
    /// In the data, so many bytes to come.
    Data(u64),
    /// Before the line end that follows the data.
    AfterData,
}

impl Body {
    /// Of known length.
    #[must_use]
    pub fn with_length(bytes: u64) -> Body {
        Body::Length(bytes)
    }

    /// In chunks.
    #[must_use]
    pub fn chunked() -> Body {
        Body::Chunked(Chunk::Size { value: 0, digits: 0 })
    }

    /// Until the connection ends.
    #[must_use]
    pub fn until_close() -> Body {
        Body::UntilClose
    }

    /// Whether the end of the connection is the regular end.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        matches!(self, Body::UntilClose)
    }

    /// Takes bytes of the connection and hands those of the content to `sink`, which returns true
    /// when it has seen enough. True: the body is over (or enough).
    ///
    /// # Errors
    /// The chunks are broken, in words.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, &'static str> {
        match self {
            Body::UntilClose => Ok(sink(bytes)),
            Body::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                Ok(sink(bytes.get(..take).unwrap_or_default()) || *left == 0)
            }
            Body::Chunked(chunk) => {
                while let Some(first) = bytes.first().copied() {
                    if let Chunk::Data(left) = chunk {
                        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                        let (data, rest) = bytes.split_at(take);
                        bytes = rest;
                        *left -= take as u64;
                        if *left == 0 {
                            *chunk = Chunk::AfterData;
                        }
                        if sink(data) {
                            return Ok(true);
                        }
                        continue;
                    }
                    bytes = bytes.get(1..).unwrap_or_default();
                    *chunk = match chunk.line(first)? {
                        Some(next) => next,
                        None => return Ok(true),
                    };
                }
                Ok(false)
            }
        }
    }
}

impl Chunk {
    /// The state after one byte outside of the data; `None` after the last chunk's line.
    fn line(self, byte: u8) -> Result<Option<Chunk>, &'static str> {
        const BROKEN: &str = "the chunks cannot be read";
        let sized = |value| if value == 0 { None } else { Some(Chunk::Data(value)) };
        match (self, byte) {
            (Chunk::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits >= MOST_DIGITS {
                    return Err(BROKEN);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Ok(Some(Chunk::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }))
            }
            (Chunk::Size { digits: 0, .. }, _) => Err(BROKEN),
            (Chunk::Size { value, .. } | Chunk::Extension { value, .. }, b'\n') => Ok(sized(value)),
            (Chunk::Size { value, .. }, b'\r' | b' ' | b'\t' | b';') => {
                Ok(Some(Chunk::Extension { value, passed: 0 }))
            }
            (Chunk::Extension { value, passed }, _) if passed < MOST_EXTENSION => {
                Ok(Some(Chunk::Extension { value, passed: passed + 1 }))
            }
            (Chunk::AfterData, b'\r') => Ok(Some(Chunk::AfterData)),
            (Chunk::AfterData, b'\n') => Ok(Some(Chunk::Size { value: 0, digits: 0 })),
            _ => Err(BROKEN),
        }
    }
}

/// A text that is looked for in a stream, across all of its cuts: Knuth, Morris and Pratt's
/// automaton, so that no body, however made, costs more than its length.
#[derive(Clone, Debug)]
pub struct Needle {
    text: Box<[u8]>,
    /// For each length of a match: how much of it remains a match when the next byte does not fit.
    fall: Box<[u16]>,
    matched: usize,
    searched: u64,
}

impl Needle {
    /// Looks for this text (at most 65535 bytes of it).
    #[must_use]
    pub fn new(text: &str) -> Needle {
        let text: Box<[u8]> = text.bytes().take(usize::from(u16::MAX)).collect();
        let mut fall = vec![0_u16; text.len()];
        let mut k = 0_usize;
        for (at, byte) in text.iter().enumerate().skip(1) {
            while k > 0 && text.get(k) != Some(byte) {
                k = fall.get(k - 1).copied().map_or(0, usize::from);
            }
            if text.get(k) == Some(byte) {
                k += 1;
            }
            if let Some(slot) = fall.get_mut(at) {
                *slot = u16::try_from(k).unwrap_or(0);
            }
        }
        Needle { text, fall: fall.into(), matched: 0, searched: 0 }
    }

    /// Bytes searched so far.
    #[must_use]
    pub fn searched(&self) -> u64 {
        self.searched
    }

    /// Takes the next bytes, those beyond `limit` in the whole stream excepted; true when the text
    /// has been seen.
    pub fn feed(&mut self, bytes: &[u8], limit: u64) -> bool {
        let room = usize::try_from(limit.saturating_sub(self.searched)).unwrap_or(usize::MAX);
        for byte in bytes.iter().take(room) {
            self.searched += 1;
            while self.matched > 0 && self.text.get(self.matched) != Some(byte) {
                self.matched = self.fall.get(self.matched - 1).copied().map_or(0, usize::from);
            }
            if self.text.get(self.matched) == Some(byte) {
                self.matched += 1;
            }
            if self.matched == self.text.len() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn a_text_is_found_wherever_the_stream_is_cut_exactly_when_it_is_there() {
        let mut rng = Rng::new(11);
        for _ in 0..20_000 {
            let mut word = |most: u64| {
                let n = 1 + rng.below(most);
                (0..n).map(|_| if rng.chance(700) { 'a' } else { 'b' }).collect::<String>()
            };
            let (text, hay) = (word(6), word(40));
            let mut needle = Needle::new(&text);
            let mut rest = hay.as_bytes();
            let mut found = false;
            while !rest.is_empty() && !found {
                let (part, more) = rest.split_at(1 + usize::try_from(rng.below(rest.len() as u64)).unwrap());
                found = needle.feed(part, u64::MAX);
                rest = more;
            }
            assert_eq!(found, hay.contains(&text), "{text} in {hay}");
        }
    }

    #[test]
    fn a_text_that_ends_beyond_the_limit_is_not_found() {
        assert!(Needle::new("abc").feed(b"xxabc", 5));
        assert!(!Needle::new("abc").feed(b"xxabc", 4));
    }

    fn content(body: &mut Body, wire: &[u8], step: usize) -> Result<(Vec<u8>, bool), &'static str> {
        let mut out = Vec::new();
        for part in wire.chunks(step) {
            if body.feed(part, &mut |p| {
                out.extend(p);
                false
            })? {
                return Ok((out, true));
            }
        }
        Ok((out, false))
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let wire = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
        for step in 1..=wire.len() {
            let got = content(&mut Body::chunked(), wire, step).unwrap();
            assert_eq!(got, (b"hello world".to_vec(), true), "step {step}");
        }
        assert_eq!(content(&mut Body::with_length(3), b"abcdef", 2).unwrap(), (b"abc".to_vec(), true));
        assert_eq!(content(&mut Body::until_close(), b"abc", 2).unwrap(), (b"abc".to_vec(), false));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for wire in ["x\r\n", "\r\n", "-1\r\n", "5\r\nhelloX", "fffffffffffffffff\r\n", "g"] {
            assert!(content(&mut Body::chunked(), wire.as_bytes(), 1).is_err(), "{wire}");
        }
        let endless = format!("5;{}", "x".repeat(5000));
        assert!(content(&mut Body::chunked(), endless.as_bytes(), 100).is_err());
    }
}
