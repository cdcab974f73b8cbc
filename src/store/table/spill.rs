//! The spill: the items of a table that their segments have no room for.
//!
//! Design: a segment that is full splits only while the directory stays small beside the number of items (`may_split`). Evenly
//! spread hashes never come near that limit. Keys that somebody has chosen so that their hashes share many leading bits do:
//! each split would double the directory and leave all of them in one half. Their segment fills up, every bucket of it is
//! marked as probed past, and what comes then lies here, in the order of the hash. So a lookup finds it after all buckets, a
//! scan finds the items of a home bucket as one range, and the memory is that of two ordered sets however the keys were chosen.
//! When items leave a segment, or it splits after all, it takes in again what it has room for.
//!
//! Invariants:
//! - `by_hash` has the hash and id of every item, `by_due` the tick and id of every one that is ever due;
//! - an id stays the same as long as the item is here.
//!
//! Costs: a logarithm of the items here; of those whose 64 bits are all equal, a lookup looks at each. Trees all the way: they
//! grow and shrink by a node, where a vector or a map of the standard library would move everything at once.
//!
//! Not here: when a segment splits and when it does not (`mod`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::bucket::Bucket;
use super::segment::grow_above;
use super::{Item, Items, Moved, NEVER, Place, Table, Tick, put, tag};

/// Names an item.
type Id = u32;

/// Items by their hash, and by when they are due.
#[derive(Default)]
pub struct Spill {
    items: BTreeMap<Id, Spilled>,
    by_hash: BTreeSet<(u64, Id)>,
    by_due: BTreeSet<(Tick, Id)>,
    /// The id given last.
    last_id: Id,
}

/// One item.
#[derive(Clone, Copy)]
pub struct Spilled {
    pub hash: u64,
    pub item: Item,
    pub due: Tick,
}

impl Spill {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes allocated, nearly.
    pub fn bytes(&self) -> usize {
        size_of::<Spill>()
            + tree_bytes::<(Id, Spilled)>(self.items.len())
            + tree_bytes::<(u64, Id)>(self.by_hash.len())
            + tree_bytes::<(Tick, Id)>(self.by_due.len())
    }

    /// The earliest tick of all.
    pub fn due(&self) -> Tick {
        self.by_due.first().map_or(NEVER, |(due, _)| *due)
    }

    pub fn insert(&mut self, spilled: Spilled) -> Id {
        assert!(self.items.len() < Id::MAX as usize);
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.items.contains_key(&self.last_id) {
                break;
            }
        }
        let id = self.last_id;
        self.by_hash.insert((spilled.hash, id));
        if spilled.due != NEVER {
            self.by_due.insert((spilled.due, id));
        }
        self.items.insert(id, spilled);
        id
    }

    pub fn remove(&mut self, id: Id) -> Spilled {
        let spilled = self.items.remove(&id).expect("an id in use has an item");
        self.by_hash.remove(&(spilled.hash, id));
        self.by_due.remove(&(spilled.due, id));
        spilled
    }

    /// The item with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: &mut dyn FnMut(Item) -> bool) -> Option<(Id, Item)> {
        self.range(hash..=hash).map(|id| (id, self.get(id).item)).find(|(_, item)| is(*item))
    }

    pub fn get(&self, id: Id) -> &Spilled {
        self.items.get(&id).expect("an id in use has an item")
    }

    /// Puts another item with the same hash in the place of one; returns the one before.
    pub fn replace(&mut self, id: Id, item: Item) -> Item {
        std::mem::replace(&mut self.get_mut(id).item, item)
    }

    /// The item is due then.
    pub fn set_due(&mut self, id: Id, due: Tick) {
        let before = std::mem::replace(&mut self.get_mut(id).due, due);
        self.by_due.remove(&(before, id));
        if due != NEVER {
            self.by_due.insert((due, id));
        }
    }

    /// Up to `count` of those that are due.
    pub fn due_ids(&self, now: Tick, count: usize) -> Vec<Id> {
        self.by_due.range(..=(now, Id::MAX)).take(count).map(|(_, id)| *id).collect()
    }

    /// Those whose hashes lie in a range, in their order.
    pub fn range(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = Id> {
        self.by_hash.range((*hashes.start(), 0)..=(*hashes.end(), Id::MAX)).map(|(_, id)| *id)
    }

    /// Items drawn at random, neighbours by their ids: up to `count`; how many.
    pub fn sample(&self, draw: u64, count: usize, f: &mut dyn FnMut(Item)) -> usize {
        let (Some((first, _)), Some((last, _))) = (self.items.first_key_value(), self.items.last_key_value())
        else {
            return 0;
        };
        let wanted = count.min(self.len());
        let start = first + (draw % (u64::from(last - first) + 1)) as Id;
        let from_start = self.items.range(start..).chain(self.items.range(..start));
        from_start.take(wanted).for_each(|(_, spilled)| f(spilled.item));
        wanted
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Spilled> {
        self.items.values()
    }

    fn get_mut(&mut self, id: Id) -> &mut Spilled {
        self.items.get_mut(&id).expect("an id in use has an item")
    }

    pub fn check_invariants(&self) {
        assert_eq!(self.by_hash.len(), self.items.len());
        assert!(self.by_hash.iter().all(|(hash, id)| self.get(*id).hash == *hash));
        assert!(self.by_due.iter().all(|(due, id)| self.get(*id).due == *due));
        assert_eq!(self.by_due.len(), self.iter().filter(|spilled| spilled.due != NEVER).count());
    }
}

impl Table {
    #[cold]
    pub(super) fn find_spilled(&self, hash: u64, mut is: impl FnMut(Item) -> bool) -> Option<(Place, Item)> {
        let (id, item) = self.spill.as_deref()?.find(hash, &mut is)?;
        Some((Place::spilled(id), item))
    }

    #[cold]
    pub(super) fn insert_spilled(&mut self, spilled: Spilled) -> Place {
        let (index, segment) = self.locate(spilled.hash).expect("a full segment is one");
        let hashes = self.hashes_of(index, segment.depth());
        let spill = self.spill.get_or_insert_default();
        let is_first = spill.range(hashes).next().is_none();
        let id = spill.insert(spilled);
        if is_first {
            self.buckets_mut(index).iter_mut().for_each(Bucket::mark_overflown);
        }
        self.due = self.due.min(spilled.due);
        self.len += 1;
        Place::spilled(id)
    }

    pub(super) fn spilled_count(&self) -> u64 {
        self.spill.as_deref().map_or(0, |spill| spill.len() as u64)
    }

    /// After removals: has the segment of a hash take in what was spilled. When nothing of it is spilled any more, its buckets
    /// count again what was probed past them.
    #[cold]
    pub(super) fn take_back(&mut self, hash: u64, items: &impl Items) {
        if let Some((index, segment)) = self.locate(hash) {
            let first = self.range_start(index, segment.depth());
            let is_left = self.absorb(first);
            let is_marked = || self.buckets(first).iter().all(|bucket| bucket.overflow_exact().is_none());
            if !is_left && is_marked() {
                self.rebuild(first, segment, segment.bucket_count(), items);
            }
        }
        self.spill = self.spill.take().filter(|spill| !spill.is_empty());
    }

    /// Takes items in from the spill while the segment at `first` has room; whether some of its items stay there.
    pub(super) fn absorb(&mut self, first: usize) -> bool {
        let Some(mut spill) = self.spill.take() else { return false };
        let segment = self.directory[first];
        let room = grow_above(segment.bucket_count()).saturating_sub(self.metas[first].count as usize);
        let ids: Vec<_> = spill.range(self.hashes_of(first, segment.depth())).take(room + 1).collect();
        let is_left = ids.len() > room;
        for id in ids.into_iter().take(room) {
            let Spilled { hash, item, due } = spill.remove(id);
            let moved = Moved { sub_hash: segment.sub_hash(hash) as u16, tag: tag(hash), due, item };
            put(self.buckets_mut(first), segment, &moved);
            self.metas[first].count += 1;
            self.metas[first].due = self.metas[first].due.min(due);
        }
        self.spill = Some(spill);
        is_left
    }
}

/// About what so many elements take in a tree whose nodes are two thirds full.
const fn tree_bytes<T>(count: usize) -> usize {
    count * (size_of::<T>() * 3 / 2 + 8)
}
