//! Bringing keys close to the processor, before the commands of a group use them.
//!
//! Design: cache misses overlap only if nothing waits for one before the next is begun. So all keys of a group take each step
//! together: their buckets, then their entries. From the entry of a large value a command goes on over several lines, each of which
//! tells where the next lies (`External::fetch`); a row says how far its command reaches, so that nothing is fetched in vain:
//! the ends of a large list are on pages of their own.
//!
//! Not here: what of an item is fetched (`table::probe`); which keys, and when (`exec::group`).

use super::DbIndex;
use super::db::entry_of;
use super::keyspace::Leases;
use super::table::{Item, Probe};
use super::value::{End, External, FETCH_STEPS};

/// Keys whose cache misses overlap: no fewer than the processor can track.
pub const FETCH_GROUP_KEYS: usize = 32;

/// What a command uses of the values of its keys, as far as that is worth fetching beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefetchHint {
    /// The entry, with what lies in it.
    Entry,
    /// One end of a list.
    ListEnd(End),
    /// The last entries of a stream.
    StreamEnd,
}

/// As many as are fetched together.
type Group<T> = [Option<T>; FETCH_GROUP_KEYS];

impl Leases {
    /// Brings keys close to the processor: the buckets of a group, then its entries. Those of shards whose leases are not held
    /// are passed over.
    #[inline]
    pub fn fetch(&self, keys: impl Iterator<Item = (DbIndex, u64)>) {
        let (mut keys, mut probes) = (keys.map(|(db, hash)| (db, hash, ())), [None; FETCH_GROUP_KEYS]);
        loop {
            let (probe_count, is_last) = self.fetch_buckets(&mut keys, &mut probes);
            for (probe, ()) in probes[..probe_count].iter().flatten() {
                probe.fetch_item();
            }
            if is_last {
                return;
            }
        }
    }

    /// Brings what is known of the keys' readers close to the processor.
    #[cold]
    pub fn fetch_tracked(&self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            let shard = self.keyspace().shard_of(hash);
            if self.holds(shard) {
                self.shard_ref(shard).fetch_tracked(hash);
            }
        }
    }

    /// As `fetch`, and then what the commands reach beyond the entries.
    #[inline(never)]
    pub fn fetch_values(&self, mut keys: impl Iterator<Item = (DbIndex, u64, PrefetchHint)>) {
        let mut probes = [None; _];
        loop {
            let (probe_count, is_last) = self.fetch_buckets(&mut keys, &mut probes);
            let (mut items, mut item_count): (Group<(Item, PrefetchHint)>, _) = ([None; _], 0);
            for (probe, prefetch_hint) in probes[..probe_count].iter().flatten() {
                if let Some(item) = probe.fetch_item()
                    && *prefetch_hint != PrefetchHint::Entry
                {
                    items[item_count] = Some((item, *prefetch_hint));
                    item_count += 1;
                }
            }
            // Most values lie in their entries: nothing is left to do for those.
            let (mut values, mut value_count): (Group<(&External, PrefetchHint)>, _) = ([None; _], 0);
            for (item, prefetch_hint) in items[..item_count].iter().flatten() {
                if let Some(external) = entry_of(item).external() {
                    values[value_count] = Some((external, *prefetch_hint));
                    value_count += 1;
                }
            }
            for step in 0..if value_count > 0 { FETCH_STEPS } else { 0 } {
                values[..value_count]
                    .iter()
                    .flatten()
                    .for_each(|(value, prefetch_hint)| value.fetch(step, *prefetch_hint));
            }
            if is_last {
                return;
            }
        }
    }

    /// Begins a group, with a note for each key: the number of probes, and whether these are the last keys.
    #[inline(always)]
    fn fetch_buckets<'a, T: Copy>(
        &'a self,
        keys: &mut impl Iterator<Item = (DbIndex, u64, T)>,
        probes: &mut Group<(Probe<'a>, T)>,
    ) -> (usize, bool) {
        let (mut probe_count, mut key_count, mut last) = (0, 0, 0);
        for (db, hash, note) in keys.take(FETCH_GROUP_KEYS) {
            key_count += 1;
            // Pipelines often stay with one key.
            if std::mem::replace(&mut last, hash) == hash {
                continue;
            }
            let shard = self.keyspace().shard_of(hash);
            if self.holds(shard)
                && let Some(probe) = self.shard_ref(shard).probe(db, hash)
            {
                probe.fetch_bucket();
                probes[probe_count] = Some((probe, note));
                probe_count += 1;
            }
        }
        (probe_count, key_count < FETCH_GROUP_KEYS)
    }
}
