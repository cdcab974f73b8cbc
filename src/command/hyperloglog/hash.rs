//! Which register an element belongs to, and what it says there: MurmurHash64A (Appleby), with a seed of Redis's.

/// Bits of a hash that choose a register; how many zeros are behind them is what the register remembers.
pub(super) const INDEX_BITS: u32 = 14;
/// Bits that are looked at for zeros.
pub(super) const RANK_BITS: u32 = u64::BITS - INDEX_BITS;

const SEED: u64 = 0xadc8_3b19;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
const SHIFT: u32 = 47;

/// The register of an element, and its rank there: one more than the zeros in its hash.
pub(super) fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let index = hash & ((1 << INDEX_BITS) - 1);
    let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    (index as usize, rank as u8)
}

fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash ^= word.wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= u64::from_le_bytes(last);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where Redis 8.2 counts these, by PFDEBUG DECODE.
    #[test]
    fn elements_belong_where_redis_puts_them() {
        assert_eq!(place_of(b"a"), (12711, 2));
        assert_eq!(place_of(b"b"), (15780, 1));
        assert_eq!(place_of(b"c"), (8436, 1));
        assert_eq!(place_of(b"d"), (7292, 1));
        assert_eq!(place_of(b""), (5938, 2));
        assert_eq!(place_of(b"exactly 16 bytes"), (16351, 1));
        assert_eq!(place_of(b"and a few more than those"), (598, 1));
    }
}
