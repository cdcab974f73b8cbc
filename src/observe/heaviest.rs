//! The heaviest of many keys, by Space-Saving (Metwally, Agrawal, El Abbadi 2005).
//!
//! Design: with N counters, a key that has more than one part in N of all weight has one. A counter that is taken over from another
//! key keeps that one's weight as its possible error, which is taken off where weights are shown.
//!
//! Invariants: a key has one counter at most; of keys longer than [`KEY_BYTES_MAX`] nothing is kept.
//! Costs: adding looks at all counters' hashes; a counter that is taken over keeps its memory.

use crate::store::DbIndex;

/// The longest key that is kept.
pub const KEY_BYTES_MAX: usize = 512;

/// A key and its weight.
#[derive(Clone, Debug)]
struct Counter {
    db: DbIndex,
    hash: u64,
    key: Vec<u8>,
    weight: u64,
    /// Of the weight, what may be other keys'.
    error: u64,
}

/// Up to `N` keys with their weights.
#[derive(Clone, Debug)]
pub struct Heaviest<const N: usize>(Vec<Counter>);

impl<const N: usize> Default for Heaviest<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<const N: usize> Heaviest<N> {
    /// A key has so much more weight.
    pub fn add(&mut self, db: DbIndex, hash: u64, key: &[u8], weight: u64) {
        if key.len() > KEY_BYTES_MAX {
            return;
        }
        let is_it = |known: &&mut Counter| known.hash == hash && known.db == db && *known.key == *key;
        if let Some(known) = self.0.iter_mut().find(is_it) {
            known.weight += weight;
            return;
        }
        if self.0.len() < N {
            self.0.push(Counter { db, hash, key: key.to_vec(), weight, error: 0 });
            return;
        }
        let lightest = self.0.iter_mut().min_by_key(|known| known.weight).expect("it is full");
        (lightest.db, lightest.hash, lightest.error) = (db, hash, lightest.weight);
        lightest.weight += weight;
        lightest.key.clear();
        lightest.key.extend_from_slice(key);
    }

    /// Each key, and the weight that it has for sure.
    pub fn iter(&self) -> impl Iterator<Item = (DbIndex, &[u8], u64)> {
        self.0.iter().map(|known| (known.db, &*known.key, known.weight - known.error))
    }

    /// Every key has half its weight from now on; those that have none any more are forgotten.
    pub fn halve(&mut self) {
        for known in &mut self.0 {
            (known.weight, known.error) = (known.weight / 2, known.error / 2);
        }
        self.0.retain(|known| known.weight > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_are_among_those_kept() {
        let mut heaviest = Heaviest::<16>::default();
        for round in 0..10_000_u64 {
            let hot = round % 4;
            heaviest.add(DbIndex(0), hot, &[hot as u8], 10 + hot);
            heaviest.add(DbIndex(0), 100 + round, &round.to_le_bytes(), 1);
        }
        let mut found: Vec<_> = heaviest.iter().collect();
        found.sort_by_key(|(.., weight)| std::cmp::Reverse(*weight));
        assert_eq!(found.len(), 16);
        for (place, (_, key, weight)) in found.iter().take(4).enumerate() {
            assert_eq!(*key, [3 - place as u8]);
            let all = 2500 * (13 - place as u64);
            assert!((all * 9 / 10..=all).contains(weight), "{weight} of {all}");
        }
        heaviest.add(DbIndex(0), 7, &[0; KEY_BYTES_MAX + 1], u64::MAX);
        assert_eq!(heaviest.iter().count(), 16);
    }
}
