//! Sets of shards.
//!
//! Design: a bit for each shard, as far as the highest that was ever in the set. A union costs a word for 64 shards, whatever
//! keys the shards were found from; with 256 shards a set has four words.

use super::ShardId;

/// A set of shards.
#[derive(Clone, Debug, Default)]
pub struct ShardSet {
    words: Vec<u64>,
}

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        let word = usize::from(shard.0) / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (shard.0 % 64);
    }

    /// Adds all of another set.
    pub fn insert_all(&mut self, other: &ShardSet) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Whether all of another set are in this one.
    pub fn includes(&self, other: &ShardSet) -> bool {
        let mut words = self.words.iter().copied().chain(std::iter::repeat(0));
        other.words.iter().all(|other| other & !words.next().unwrap_or(0) == 0)
    }

    /// The shards, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(ShardId((index * 64) as u16 + bit as u16))
            })
        })
    }

    /// Removes all; the memory stays.
    pub fn clear(&mut self) {
        self.words.clear();
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<T: IntoIterator<Item = ShardId>>(shards: T) -> ShardSet {
        let mut set = ShardSet::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_shards() -> impl Strategy<Value = BTreeSet<ShardId>> {
        proptest::collection::btree_set((0..4096u16).prop_map(ShardId), 0..20)
    }

    proptest! {
        #[test]
        fn a_shard_set_is_a_set_of_shards(a in any_shards(), b in any_shards()) {
            let (set_a, set_b): (ShardSet, ShardSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(set_a.iter().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set_a.includes(&set_b), a.is_superset(&b));
            let mut both = set_a.clone();
            both.insert_all(&set_b);
            prop_assert_eq!(both.iter().collect::<BTreeSet<_>>(), &a | &b);
            prop_assert!(both.includes(&set_a));
            prop_assert!(both.includes(&set_b));
            both.clear();
            prop_assert_eq!(both.iter().count(), 0);
            prop_assert_eq!(both.includes(&set_a), a.is_empty());
        }
    }
}
