//! Length-prefixed frames out of bytes that arrive in pieces: the form of `base::frame` for a
//! socket that never blocks. Memory follows what really arrived; an announced length reserves
//! nothing.

use std::collections::VecDeque;

/// An announced length of zero or over the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    /// Announced, bytes.
    pub announced: u32,
    /// The bound, bytes.
    pub bound: usize,
}

/// Puts frames together from bytes as they arrive.
/// * `body` never grows beyond what arrived, nor beyond `bound`.
pub struct Frames {
    bound: usize,
    head: [u8; 4],
    have: usize,
    body: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Frames {
    /// For frames of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Frames {
        Frames { bound, head: [0; 4], have: 0, body: Vec::new(), ready: VecDeque::new() }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// [`BadLength`]: what follows has no meaning any more. Frames before it are there.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), BadLength> {
        while !bytes.is_empty() {
            if let Some(place) = self.head.get_mut(self.have..).filter(|p| !p.is_empty()) {
                let n = place.len().min(bytes.len());
                let (now, later) = bytes.split_at(n);
                for (to, from) in place.iter_mut().zip(now) {
                    *to = *from;
                }
                self.have += n;
                bytes = later;
                self.check_length()?;
                continue;
            }
            let missing = self.length().saturating_sub(self.body.len());
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.body.extend_from_slice(now);
            bytes = later;
            if self.body.len() == self.length() {
                self.ready.push_back(std::mem::take(&mut self.body));
                self.have = 0;
            }
        }
        Ok(())
    }

    /// A frame that is complete.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Another bound from the next frame on.
    pub fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    fn length(&self) -> usize {
        u32::from_be_bytes(self.head) as usize
    }

    fn check_length(&self) -> Result<(), BadLength> {
        let length = self.length();
        if self.have == 4 && (length == 0 || length > self.bound) {
            return Err(BadLength { announced: u32::from_be_bytes(self.head), bound: self.bound });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(bytes: &[u8], piece: usize) -> (Frames, Result<(), BadLength>) {
        let mut frames = Frames::new(100);
        for part in bytes.chunks(piece) {
            if let Err(e) = frames.take(part) {
                return (frames, Err(e));
            }
        }
        (frames, Ok(()))
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let wire = [&[0, 0, 0, 3][..], b"one", &[0, 0, 0, 1], b"2", &[0, 0, 0, 100], &[7; 100]].concat();
        for piece in [1, 2, 3, 5, 7, 50, 1000] {
            let (frames, outcome) = frames_of(&wire, piece);
            assert!(outcome.is_ok());
            assert_eq!(frames.ready, [b"one".to_vec(), b"2".to_vec(), vec![7; 100]], "pieces of {piece}");
        }
    }

    #[test]
    fn an_impossible_length_is_refused_before_its_body_and_reserves_nothing() {
        for head in [[0, 0, 0, 0], [0xff; 4], [0, 0, 0, 101]] {
            let wire = [&[0, 0, 0, 1, 9][..], &head, &[1; 50]].concat();
            for piece in [1, 6, 1000] {
                let (frames, outcome) = frames_of(&wire, piece);
                assert!(matches!(outcome, Err(BadLength { bound: 100, .. })), "{head:?}");
                assert_eq!((frames.ready.len(), frames.body.capacity()), (1, 0));
            }
        }
    }
}
