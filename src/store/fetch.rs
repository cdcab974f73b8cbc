//! Bringing keys close to the processor, before the commands of a chunk use them.
//!
//! Design: cache misses overlap only if nothing waits for one before the next is begun. So all keys of a group take each step
//! together: their buckets, then their entries. From the entry of a large list a push goes on over the list's head and its
//! ring of chunks to the buffer it writes to, and each of these tells where the next lies; a row says how far its command
//! reaches, so that nothing is fetched in vain: the ends of a large list are on pages of their own.
//!
//! Not here: what of an item is fetched (`table::probe`); which keys, and when (`exec::chunk`).

use super::DbIndex;
use super::db::entry_of;
use super::keyspace::Leases;
use super::table::Probe;
use super::value::{Deque, End};

/// Keys whose cache misses overlap: no fewer than the processor can track.
pub const FETCH_GROUP_KEYS: usize = 32;

/// What a command uses of the values of its keys, as far as that is worth fetching beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The entry, with what lies in it.
    Entry,
    /// One end of a list.
    ListEnd(End),
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

    /// As `fetch`, and then what the commands reach beyond the entries.
    #[inline(never)]
    pub fn fetch_values(&self, mut keys: impl Iterator<Item = (DbIndex, u64, Reach)>) {
        loop {
            let (mut probes, mut items): (Group<_>, Group<_>) = ([None; _], [None; _]);
            let (_, is_last) = self.fetch_buckets(&mut keys, &mut probes);
            for (place, (probe, reach)) in items.iter_mut().zip(probes.iter().flatten()) {
                *place = probe.fetch_item().map(|item| (item, *reach));
            }
            let mut lists: Group<(&Deque, End)> = [None; _];
            for (place, (item, reach)) in lists.iter_mut().zip(items.iter().flatten()) {
                if let Reach::ListEnd(end) = reach
                    && let Some(list) = entry_of(item).large_list()
                {
                    list.fetch();
                    *place = Some((list, *end));
                }
            }
            lists.iter().flatten().for_each(|(list, end)| list.fetch_chunk(*end));
            lists.iter().flatten().for_each(|(list, end)| list.fetch_end(*end));
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
