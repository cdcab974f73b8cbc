//! The ID of an entry: a time in milliseconds, and a number among the entries of that time.

use std::fmt;

/// The ID of an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds, as a rule since 1970.
    pub ms: u64,
    /// Number among the entries of the same time.
    pub seq: u64,
}

impl StreamId {
    /// Before all entries.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last that there can be.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The next one; none after the last.
    pub fn next(self) -> Option<StreamId> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The one before; none before the first.
    pub fn previous(self) -> Option<StreamId> {
        match (self.seq.checked_sub(1), self.ms.checked_sub(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// As files have it: both numbers, the highest byte first.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// As `to_bytes` gives it.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_over() {
        let id = |ms, seq| StreamId { ms, seq };
        for (earlier, later) in
            [(id(0, 0), id(0, 1)), (id(3, u64::MAX), id(4, 0)), (id(u64::MAX, u64::MAX - 1), StreamId::MAX)]
        {
            assert_eq!((earlier.next(), later.previous()), (Some(later), Some(earlier)));
            assert!(earlier < later && earlier.to_bytes() < later.to_bytes());
            assert_eq!(StreamId::from_bytes(later.to_bytes()), later);
        }
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
    }
}
