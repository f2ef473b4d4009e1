//! The latest output of one stream, for those who attach later. Pure.

use std::collections::VecDeque;

/// Keeps the last `limit` bytes. Nothing is allocated before the first output.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    limit: usize,
    overflowed: bool,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, overflowed: false }
    }

    /// Appends output; what no longer fits is forgotten, the oldest first.
    pub(crate) fn push(&mut self, data: &[u8]) {
        let kept = &data[data.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.overflowed |= excess > 0 || kept.len() < data.len();
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// Nothing was forgotten.
    pub(crate) fn is_whole(&self) -> bool {
        !self.overflowed
    }

    /// What is to be shown to a newcomer: all of it or, once something was forgotten, from the first whole line on, lest it begins within a
    /// character or an escape sequence. A single line longer than the ring is given as it is.
    pub(crate) fn replay(&self) -> Vec<u8> {
        let first_line = self.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let start = if self.overflowed && first_line < self.bytes.len() { first_line } else { 0 };
        self.bytes.iter().skip(start).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_output_is_kept_from_a_whole_line_on() {
        let check = |limit, pieces: &[&str], expected: &str| {
            let mut ring = Ring::new(limit);
            pieces.iter().for_each(|piece| ring.push(piece.as_bytes()));
            assert_eq!(String::from_utf8(ring.replay()).unwrap(), expected, "{limit} {pieces:?}");
        };
        check(16, &[], "");
        check(16, &["/ # "], "/ # ");
        check(16, &["one\n", "two\n", "three\n"], "one\ntwo\nthree\n");
        check(12, &["one\n", "two\n", "three\n"], "two\nthree\n");
        check(8, &["one\ntwo\nthree\n"], "three\n");
        check(4, &["abcdefgh"], "efgh");
        check(4, &["abc", "defgh\n"], "fgh\n");
        check(0, &["abc"], "");
    }
}
