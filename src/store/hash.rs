//! Hashing of keys: 64 seeded bits, the same everywhere in the process.
//!
//! Design: aHash over the raw bytes. The low bits choose the shard, the next ones the tag, the top ones the place in the
//! table (see `table`), so that the three are independent.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use ahash::RandomState;

/// Hashes keys; copies give equal hashes.
#[derive(Clone)]
pub struct KeyHasher(RandomState);

impl KeyHasher {
    /// A hasher whose hashes cannot be foretold without the seed.
    pub fn new(seed: u128) -> KeyHasher {
        let part = |half: u128, n: u64| {
            (half as u64 ^ n).wrapping_add(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32)
        };
        let (low, high) = (seed, seed >> 64);
        KeyHasher(RandomState::with_seeds(part(low, 11), part(high, 23), part(low, 37), part(high, 53)))
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// A map by hashes of keys.
pub type MapByHash<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

/// A set of hashes of keys.
pub type SetOfHashes = HashSet<u64, BuildHasherDefault<Spread>>;

/// Another hash, whose low bits go by all bits of this one.
#[inline]
pub fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

/// Hashes of one shard's keys are alike in their low bits, which a map goes by: this spreads them.
#[derive(Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are keys of these maps");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = spread(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "long, and without unsafe code of this crate")]
    fn all_groups_of_bits_vary() {
        let hasher = KeyHasher::new(7);
        for shift in [0, 12, 20, 40, 52] {
            let mut seen = std::collections::HashSet::new();
            for i in 0..20_000 {
                seen.insert(hasher.hash(format!("key:{i:012}").as_bytes()) >> shift & 0xfff);
            }
            assert!(seen.len() > 4000);
        }
        for other in [8, 7 | 1 << 64, 7 | 1 << 127] {
            assert_ne!(hasher.hash(b"a"), KeyHasher::new(other).hash(b"a"));
        }
        assert_ne!(hasher.hash(b"a"), hasher.hash(b"a\0"));
    }
}
