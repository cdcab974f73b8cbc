//! The table: extendible hashing over segments of cache-line buckets.
//!
//! Design: a directory, indexed by the top bits of the hash, leads to segments; a segment grows in steps from 1 to 112
//! buckets and then splits in two. So nothing ever rehashes more than one segment (some 800 items, tens of
//! microseconds), whatever the table's size. Only a split looks at the items; other changes of size get by with what
//! buckets hold.
//!
//! ```text
//! hash   63 ............................ 20 | 19 ... 12 | 11 ...... 0
//!        directory index, then home bucket  |    tag    | shard (not used here)
//! ```
//!
//! Home buckets are the following ten hash bits scaled to the number of buckets. Both levels are monotonic, so items are
//! ordered by their hash across (segment, home bucket), and a scan's cursor is simply a hash: it stays valid whatever
//! grows or shrinks. A full bucket overflows to the next ones in its segment, which it counts (see `bucket`).
//!
//! Where hashes are so uneven that the directory would outgrow the items, a full segment does not split: what it has no room
//! for lies in the table's spill (`spill`), which a lookup asks after it has probed all buckets of the segment.
//!
//! A lookup reads directory, bucket, item. What only writers need (the number of items, the earliest due tick) is in an
//! array beside the directory, at the index of the segment's first directory entry.
//!
//! Invariants:
//! - the directory entries that share the top `depth` bits of a segment are equal and lead to it;
//! - `due` of a bucket, a segment and the table are never later than the ticks of the items below them;
//! - an item lies in its home bucket, or past it with only full or overflowed buckets between, or in the spill: then all
//!   buckets of its segment are overflowed;
//! - the directory has fewer entries than a [`ITEMS_PER_ENTRY_MIN`]th of the most items that the table has had.
//!
//! Costs: lookup 2 cache lines and the item; insertion the same and, rarely, one segment's rehash.
//!
//! Not here: what items are. `Items` tells the table their hash and due tick when it moves them.
#![expect(unsafe_code, reason = "owns segments through packed addresses")]

mod bucket;
mod probe;
mod segment;
mod spill;
mod walk;

use std::ops::{Range, RangeInclusive};

use bucket::{BUCKET_SLOTS, Bucket};
pub use bucket::{Item, NEVER, Tick};
pub use probe::Probe;
use segment::{
    EXACT_BUCKETS_MIN, SEGMENT_BUCKETS_MAX, SPLIT_BUCKETS, SUB_HASH_BITS, SegmentRef, grow_above, size_above,
    size_for,
};
use spill::{Spill, Spilled};
pub use walk::Verdict;

/// The deepest directory: beyond it segments no longer split. The low 12 bits of scan positions stay zero up to here.
const DEPTH_MAX: u32 = 28;
/// The directory doubles only if each entry then stands for so many items. A segment of evenly spread hashes splits at some
/// 800, when the others have nearly as many, so that there are more than 300 items to an entry.
const ITEMS_PER_ENTRY_MIN: u64 = 128;
/// In a `Place`, the bucket of an item in the spill, whose id is in the place of the segment.
const SPILLED: u16 = u16::MAX;
/// The tag's place in the hash, above the bits that choose the shard.
const TAG_SHIFT: u32 = 12;
/// Buckets by which the rehash prefetches items ahead.
const PREFETCH_BUCKETS: usize = 3;

/// A segment moved counts as so many looked at.
const EVACUATE_COST: usize = 64;

/// What a table must be able to ask about its items.
pub trait Items {
    /// The hash under which the item was inserted.
    fn hash(&self, item: Item) -> u64;
    /// When the item is due, `NEVER` for never.
    fn due(&self, item: Item) -> Tick;
}

/// Where an item lies; valid until the next insertion or shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u32,
    bucket: u16,
    slot: u16,
}

impl Place {
    /// Where an item with this id lies in the spill.
    const fn spilled(id: u32) -> Place {
        Place { segment: id, bucket: SPILLED, slot: 0 }
    }
}

/// A map from hashes to items. It does not own the items.
pub struct Table {
    directory: Vec<SegmentRef>,
    metas: Vec<Meta>,
    /// Top bits of the hash that index the directory.
    depth: u32,
    /// Segments that need all of them.
    deepest_count: u32,
    len: u64,
    segment_bytes: u64,
    due: Tick,
    spill: Option<Box<Spill>>,
}

/// A segment's metadata; meaningful at its first directory index.
#[derive(Clone, Copy)]
struct Meta {
    count: u32,
    due: Tick,
}

/// An item on its way from one segment to another.
struct Moved {
    sub_hash: u16,
    tag: u8,
    due: Tick,
    item: Item,
}

impl Meta {
    const EMPTY: Meta = Meta { count: 0, due: NEVER };
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Table {
    /// An empty table, which allocates nothing.
    pub const fn new() -> Table {
        Table {
            directory: Vec::new(),
            metas: Vec::new(),
            depth: 0,
            deepest_count: 0,
            len: 0,
            segment_bytes: 0,
            due: NEVER,
            spill: None,
        }
    }

    /// The number of items.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No item is due before.
    pub fn due(&self) -> Tick {
        if self.len == 0 { NEVER } else { self.due }
    }

    /// Bytes of segments and directory.
    pub fn bytes(&self) -> u64 {
        let directory_bytes = self.directory.capacity() * size_of::<SegmentRef>();
        let metas_bytes = self.metas.capacity() * size_of::<Meta>();
        let spill_bytes = self.spill.as_deref().map_or(0, Spill::bytes);
        self.segment_bytes + (directory_bytes + metas_bytes + spill_bytes) as u64
    }

    /// The number of segments and of slots for items in them (for DEBUG and tests).
    pub fn capacity(&self) -> (u64, u64) {
        let mut segments = 0;
        let mut slots = self.spilled_count();
        let mut index = 0;
        while let Some(segment) = self.directory.get(index) {
            segments += 1;
            slots += segment.slot_count() as u64;
            index = self.range_end(index);
        }
        (segments, slots)
    }

    /// Where the search for a hash begins; nowhere in an empty table.
    #[inline]
    pub fn probe(&self, hash: u64) -> Option<Probe<'_>> {
        let (_, segment) = self.locate(hash)?;
        Some(Probe::new(self.buckets_of(segment), segment.home(hash), tag(hash)))
    }

    /// Finds the item with this hash for which `is` holds, and its place.
    #[inline(always)]
    pub fn find(&self, hash: u64, mut is: impl FnMut(Item) -> bool) -> Option<(Place, Item)> {
        let (index, segment) = self.locate(hash)?;
        let buckets = self.buckets_of(segment);
        let mut at = segment.home(hash);
        for _ in 0..buckets.len() {
            let bucket = &buckets[at];
            let mut hits = bucket.matches(tag(hash));
            while hits != 0 {
                let slot = hits.trailing_zeros();
                let item = bucket.item(slot as usize);
                if is(item) {
                    let place = Place { segment: index as u32, bucket: at as u16, slot: slot as u16 };
                    return Some((place, item));
                }
                hits &= hits - 1;
            }
            if !bucket.has_overflow() {
                return None;
            }
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
        }
        self.find_spilled(hash, is)
    }

    /// The item at a place.
    #[inline]
    pub fn item(&self, place: Place) -> Item {
        if place.bucket == SPILLED {
            return self.spill.as_deref().expect("the place is in it").get(place.segment).item;
        }
        self.buckets(place.segment as usize)[place.bucket as usize].item(place.slot as usize)
    }

    /// Inserts an item that is not in the table. Grows or splits one segment if need be.
    pub fn insert(&mut self, hash: u64, item: Item, due: Tick, items: &impl Items) -> Place {
        if !self.make_room(hash, items) {
            return self.insert_spilled(Spilled { hash, item, due });
        }
        let (index, segment) = self.locate(hash).expect("there is a segment now");
        let first = self.range_start(index, segment.depth());
        let (at, slot) = put(
            self.buckets_mut(index),
            segment,
            &Moved { sub_hash: segment.sub_hash(hash) as u16, tag: tag(hash), due, item },
        );
        let meta = &mut self.metas[first];
        meta.count += 1;
        meta.due = meta.due.min(due);
        self.due = self.due.min(due);
        self.len += 1;
        Place { segment: index as u32, bucket: at as u16, slot: slot as u16 }
    }

    /// Puts another item with the same hash at a place; returns the one before.
    pub fn replace(&mut self, place: Place, item: Item, due: Tick) -> Item {
        if place.bucket == SPILLED {
            self.note_due(place, due);
            return self.spill.as_deref_mut().expect("the place is in it").replace(place.segment, item);
        }
        let bucket = &mut self.buckets_mut(place.segment as usize)[place.bucket as usize];
        let before = bucket.item(place.slot as usize);
        bucket.replace(place.slot as usize, item);
        self.note_due(place, due);
        before
    }

    /// Notes that the item at a place is due earlier than it was. Later is found out when the time has come.
    pub fn note_due(&mut self, place: Place, due: Tick) {
        if due == NEVER {
            return;
        }
        self.due = self.due.min(due);
        if place.bucket == SPILLED {
            let spill = self.spill.as_deref_mut().expect("the place is in it");
            let due = spill.get(place.segment).due.min(due);
            return spill.set_due(place.segment, due);
        }
        let index = place.segment as usize;
        let bucket = &mut self.buckets_mut(index)[place.bucket as usize];
        bucket.due = bucket.due.min(due);
        let first = self.range_start(index, self.directory[index].depth());
        self.metas[first].due = self.metas[first].due.min(due);
    }

    /// Removes the item at a place. Does not shrink, so that places and walks stay valid; see `shrink`.
    pub fn remove(&mut self, place: Place, hash: u64) -> Item {
        if place.bucket == SPILLED {
            self.len -= 1;
            return self.spill.as_deref_mut().expect("the place is in it").remove(place.segment).item;
        }
        let index = place.segment as usize;
        let segment = self.directory[index];
        let home = segment.home(hash);
        let buckets = self.buckets_mut(index);
        let item = take(buckets, home, place.bucket as usize, place.slot as usize);
        let first = self.range_start(index, segment.depth());
        self.metas[first].count -= 1;
        self.len -= 1;
        item
    }

    /// After removals: makes the segment of a hash smaller, or joins it with its neighbour, if that is worth it.
    #[inline]
    pub fn shrink(&mut self, hash: u64, items: &impl Items) {
        if self.spill.is_some() {
            self.take_back(hash, items);
        }
        let Some((index, segment)) = self.locate(hash) else { return };
        let count = self.metas[self.range_start(index, segment.depth())].count as usize;
        if count * 5 < segment.slot_count() * 2 && (segment.bucket_count() > 1 || count == 0) {
            self.shrink_slow(hash, items);
        }
    }

    #[cold]
    fn shrink_slow(&mut self, hash: u64, items: &impl Items) {
        if self.len == 0 {
            self.clear();
            return;
        }
        let (index, segment) = self.locate(hash).expect("a table with items has segments");
        let first = self.range_start(index, segment.depth());
        let count = self.metas[first].count as usize;
        if segment.depth() > 0 && segment.bucket_count() <= SPLIT_BUCKETS {
            let half = self.range_end(first) - first;
            let buddy_first = first ^ half;
            let together = count + self.metas[buddy_first].count as usize;
            // Joined only well below the size at which they would split again.
            if self.directory[buddy_first].depth() == segment.depth()
                && size_for(together) < SEGMENT_BUCKETS_MAX
            {
                self.join(first.min(buddy_first), half, together, items);
                return;
            }
        }
        let buckets = size_for(count);
        if buckets < segment.bucket_count() && (segment.depth() == 0 || count * 5 < segment.slot_count() * 2)
        {
            self.rebuild(first, segment, buckets, items);
        }
    }

    /// Moves segments that lie in these addresses elsewhere, looking at about `budget` of them from a position on.
    /// Returns where to go on, or none at the end.
    pub fn evacuate(&mut self, position: u64, from: &Range<usize>, budget: usize) -> Option<u64> {
        let mut position = position;
        let mut looked = 0;
        while looked < budget {
            let (index, segment) = self.locate(position)?;
            let first = self.range_start(index, segment.depth());
            let end = self.range_end(first);
            looked += 1;
            if segment.bucket_count() >= SPLIT_BUCKETS && from.contains(&segment.bucket_address(0).addr()) {
                let fresh = SegmentRef::alloc(segment.bucket_count(), segment.depth());
                self.directory[first..end].fill(fresh);
                // SAFETY: the directory leads to the fresh segment only, and only from here.
                self.buckets_mut(first).clone_from_slice(unsafe { segment.buckets() });
                // SAFETY: out of the directory.
                unsafe { segment.free() };
                looked += EVACUATE_COST;
            }
            if end == self.directory.len() {
                return None;
            }
            position = (end as u64) << (64 - self.depth);
        }
        Some(position)
    }

    /// The directory index and the segment of a hash.
    #[inline]
    fn locate(&self, hash: u64) -> Option<(usize, SegmentRef)> {
        // In two steps, as the depth may be zero. An empty table has no entry zero.
        let index = ((hash >> 1) >> (63 - self.depth)) as usize;
        self.directory.get(index).map(|segment| (index, *segment))
    }

    #[inline]
    fn buckets(&self, index: usize) -> &[Bucket] {
        self.buckets_of(self.directory[index])
    }

    /// The buckets of a segment that the directory leads to.
    #[inline]
    fn buckets_of(&self, segment: SegmentRef) -> &[Bucket] {
        // SAFETY: the table owns its segments; the result borrows the table.
        unsafe { segment.buckets() }
    }

    #[inline]
    fn buckets_mut(&mut self, index: usize) -> &mut [Bucket] {
        // SAFETY: the table owns its segments; the result borrows the table mutably.
        unsafe { self.directory[index].buckets_mut() }
    }

    /// The first directory index of the segment at `index`, whose depth is given.
    #[inline]
    fn range_start(&self, index: usize, depth: u32) -> usize {
        let shift = self.depth - depth;
        index >> shift << shift
    }

    /// The first directory index behind the segment whose first index is given.
    fn range_end(&self, first: usize) -> usize {
        first + (1 << (self.depth - self.directory[first].depth()))
    }

    /// Makes sure that the segment of a hash can take one more item; false if it can not.
    #[inline]
    fn make_room(&mut self, hash: u64, items: &impl Items) -> bool {
        if let Some((index, segment)) = self.locate(hash) {
            let count = self.metas[self.range_start(index, segment.depth())].count as usize;
            if count < grow_above(segment.bucket_count()) {
                return true;
            }
        }
        self.make_room_slow(hash, items)
    }

    #[cold]
    fn make_room_slow(&mut self, hash: u64, items: &impl Items) -> bool {
        let Some((index, segment)) = self.locate(hash) else {
            self.directory.reserve_exact(1);
            self.metas.reserve_exact(1);
            self.directory.push(SegmentRef::alloc(1, 0));
            self.metas.push(Meta::EMPTY);
            self.segment_bytes = self.directory[0].bytes() as u64;
            self.deepest_count = 1;
            return true;
        };
        let first = self.range_start(index, segment.depth());
        match size_above(segment.bucket_count()) {
            Some(buckets) => self.rebuild(first, segment, buckets, items),
            None if self.may_split(segment) => self.split(first, segment, items),
            None => return (self.metas[first].count as usize) < segment.slot_count(),
        }
        // A split of very uneven hashes may leave the half that matters full.
        self.make_room(hash, items)
    }

    /// Whether the directory has room for the halves of a segment, or may get it.
    fn may_split(&self, segment: SegmentRef) -> bool {
        segment.depth() < self.depth
            || self.depth < DEPTH_MAX && self.len >> (self.depth + 1) >= ITEMS_PER_ENTRY_MIN
    }

    /// The hashes that belong to the segment at `index`, whose depth is given.
    fn hashes_of(&self, index: usize, depth: u32) -> RangeInclusive<u64> {
        let prefix = (index >> (self.depth - depth)) as u64;
        let first = prefix << 1 << (63 - depth);
        first..=first | u64::MAX >> depth
    }

    /// Moves a segment's items into one of another size.
    fn rebuild(&mut self, first: usize, segment: SegmentRef, buckets: usize, items: &impl Items) {
        let moved = self.gather(first, items);
        let fresh = SegmentRef::alloc(buckets, segment.depth());
        let end = self.range_end(first);
        self.settle(first, end, fresh, &moved);
        self.free_segment(segment);
    }

    /// Splits a segment in two, by the next bit of the hash.
    fn split(&mut self, first: usize, segment: SegmentRef, items: &impl Items) {
        let depth = segment.depth() + 1;
        let bit = 1 << (64 - depth);
        let count = self.metas[first].count as usize;
        let mut parts = [Vec::with_capacity(count), Vec::with_capacity(count)];
        self.visit_fetched(
            first,
            |_, _| true,
            |_, bucket, slot| {
                let item = bucket.item(slot);
                let hash = items.hash(item);
                let sub_hash = (hash << depth >> (64 - SUB_HASH_BITS)) as u16;
                let moved = Moved { sub_hash, tag: bucket.tag(slot), due: items.due(item), item };
                parts[usize::from(hash & bit != 0)].push(moved);
            },
        );
        let mut first = first;
        if segment.depth() == self.depth {
            self.double_directory();
            first *= 2;
        }
        let half = 1 << (self.depth - depth);
        for (start, part) in [first, first + half].into_iter().zip(&parts) {
            let spilled = self.spill.as_deref().map_or(0, |spill| {
                let hashes = self.hashes_of(start, depth);
                spill.range(hashes).take(SEGMENT_BUCKETS_MAX * BUCKET_SLOTS).count()
            });
            let fresh = SegmentRef::alloc(size_for(part.len() + spilled).max(SPLIT_BUCKETS), depth);
            self.settle(start, start + half, fresh, part);
        }
        if depth == self.depth {
            self.deepest_count += 2;
        }
        self.free_segment(segment);
    }

    /// Joins the segment at `first` with its buddy, each of which has `half` directory entries.
    fn join(&mut self, first: usize, half: usize, together: usize, items: &impl Items) {
        let (left, right) = (self.directory[first], self.directory[first + half]);
        assert!(left.depth() == right.depth() && left != right);
        let mut moved = self.gather(first, items);
        moved.iter_mut().for_each(|moved| moved.sub_hash /= 2);
        let mut others = self.gather(first + half, items);
        others.iter_mut().for_each(|moved| moved.sub_hash = (1 << (SUB_HASH_BITS - 1)) + moved.sub_hash / 2);
        moved.append(&mut others);
        assert_eq!(moved.len(), together);
        let fresh = SegmentRef::alloc(size_for(together), left.depth() - 1);
        self.settle(first, first + 2 * half, fresh, &moved);
        if left.depth() == self.depth {
            self.deepest_count -= 2;
        }
        self.free_segment(left);
        self.free_segment(right);
        while self.depth > 0 && self.deepest_count == 0 {
            self.halve_directory();
        }
    }

    /// The items of a segment, in the order of their buckets. Looks only at those whose sub-hash the buckets do not tell;
    /// the others' due ticks are their buckets', which are not too late.
    fn gather(&self, first: usize, items: &impl Items) -> Vec<Moved> {
        let segment = self.directory[first];
        let mut moved = Vec::with_capacity(self.metas[first].count as usize);
        let exact = segment.bucket_count() >= EXACT_BUCKETS_MIN;
        let known = |bucket: &Bucket, slot| bucket.remainder(slot).filter(|_| exact);
        self.visit_fetched(
            first,
            |bucket, slot| known(bucket, slot).is_none(),
            |at, bucket, slot| {
                let item = bucket.item(slot);
                let sub_hash = match known(bucket, slot) {
                    Some(remainder) => segment.home_start(at) + usize::from(remainder),
                    None => segment.sub_hash(items.hash(item)),
                };
                moved.push(Moved { sub_hash: sub_hash as u16, tag: bucket.tag(slot), due: bucket.due, item });
            },
        );
        assert_eq!(moved.len(), self.metas[first].count as usize);
        moved
    }

    /// Visits the items of a segment; those for which `fetch` holds are fetched into the cache some buckets before.
    fn visit_fetched(
        &self,
        first: usize,
        fetch: impl Fn(&Bucket, usize) -> bool,
        mut visit: impl FnMut(usize, &Bucket, usize),
    ) {
        let buckets = self.buckets(first);
        let fetch_all = |bucket: &Bucket| {
            for slot in bucket::slots(bucket.occupied()) {
                if fetch(bucket, slot) {
                    prefetch(bucket.item(slot).as_ptr());
                }
            }
        };
        buckets.iter().take(PREFETCH_BUCKETS).for_each(fetch_all);
        for (at, bucket) in buckets.iter().enumerate() {
            if let Some(ahead) = buckets.get(at + PREFETCH_BUCKETS) {
                fetch_all(ahead);
            }
            for slot in bucket::slots(bucket.occupied()) {
                visit(at, bucket, slot);
            }
        }
    }

    /// Fills a fresh segment and enters it into the directory.
    fn settle(&mut self, first: usize, end: usize, segment: SegmentRef, moved: &[Moved]) {
        self.directory[first..end].fill(segment);
        let mut due = NEVER;
        let buckets = self.buckets_mut(first);
        for moved in moved {
            due = due.min(moved.due);
            put(buckets, segment, moved);
        }
        self.metas[first] = Meta { count: moved.len() as u32, due };
        self.segment_bytes += segment.bytes() as u64;
        if self.absorb(first) {
            self.buckets_mut(first).iter_mut().for_each(Bucket::mark_overflown);
        }
    }

    fn free_segment(&mut self, segment: SegmentRef) {
        self.segment_bytes -= segment.bytes() as u64;
        // SAFETY: the callers have just taken the segment out of the directory.
        unsafe { segment.free() };
    }

    fn double_directory(&mut self) {
        let mut directory = Vec::with_capacity(self.directory.len() * 2);
        let mut metas = Vec::with_capacity(self.metas.len() * 2);
        for (segment, meta) in self.directory.iter().zip(&self.metas) {
            directory.extend([*segment, *segment]);
            metas.extend([*meta, Meta::EMPTY]);
        }
        self.directory = directory;
        self.metas = metas;
        self.depth += 1;
        self.deepest_count = 0;
    }

    fn halve_directory(&mut self) {
        self.directory = self.directory.iter().copied().step_by(2).collect();
        self.metas = self.metas.iter().copied().step_by(2).collect();
        self.depth -= 1;
        let depth = self.depth;
        self.deepest_count = self.directory.iter().filter(|segment| segment.depth() == depth).count() as u32;
    }

    /// Frees all segments; the items are the caller's business.
    fn clear(&mut self) {
        let mut index = 0;
        while index < self.directory.len() {
            let segment = self.directory[index];
            let end = self.range_end(index);
            // SAFETY: the directory is dropped below, before anything else can happen.
            unsafe { segment.free() };
            index = end;
        }
        self.directory = Vec::new();
        self.metas = Vec::new();
        self.depth = 0;
        self.deepest_count = 0;
        self.len = 0;
        self.segment_bytes = 0;
        self.due = NEVER;
        self.spill = None;
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Puts an item into the first bucket with room, from its home on. There is room.
#[inline]
fn put(buckets: &mut [Bucket], segment: SegmentRef, moved: &Moved) -> (usize, usize) {
    let sub_hash = usize::from(moved.sub_hash);
    let home = segment.sub_hash_home(sub_hash);
    let mut remainder = Some(segment.remainder(sub_hash, home));
    let mut at = home;
    for _ in 0..buckets.len() {
        let bucket = &mut buckets[at];
        if !bucket.is_full() {
            bucket.due = bucket.due.min(moved.due);
            return (at, bucket.insert(moved.tag, moved.item, remainder));
        }
        bucket.count_overflow();
        remainder = None;
        at = if at + 1 == buckets.len() { 0 } else { at + 1 };
    }
    unreachable!("a segment grows before it is full");
}

/// Takes an item out of a bucket; the buckets it had been probed past count one less.
fn take(buckets: &mut [Bucket], home: usize, bucket: usize, slot: usize) -> Item {
    let item = buckets[bucket].item(slot);
    buckets[bucket].remove(slot);
    let mut at = home;
    while at != bucket {
        buckets[at].discount_overflow();
        at = if at + 1 == buckets.len() { 0 } else { at + 1 };
    }
    item
}

#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> TAG_SHIFT) as u8
}

#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching has no effect but on the cache, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// As `prefetch`, to be written to: other processors' caches give the line up at once, and not only when it is written.
#[inline]
pub(super) fn prefetch_exclusively(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: prefetching has no effect but on the caches, whatever the address; every processor since Broadwell and Zen knows the
    // instruction, and those before skip it.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod spill_tests;
#[cfg(test)]
mod tests;
