//! Walking a table: scans, samples, due items, emptying in slices, and the check of its invariants.
//!
//! Design: a position is a hash. A step of a scan emits every item whose home is one bucket, wherever it overflowed to,
//! and only those not before the position; the next position is the first hash of the next home bucket. Homes are
//! monotonic in the hash, so what is in the table throughout is emitted once, whatever grows or shrinks between steps.
//!
//! Not here: what a scan's caller does with items (`shard`).
#![expect(unsafe_code, reason = "frees segments of a table that is being emptied")]

use super::bucket::{BUCKET_SLOTS, Bucket, slots};
use super::segment::{SEGMENT_BUCKETS_MAX, SUB_HASH_BITS, SegmentRef, grow_above};
use super::spill::Spill;
use super::{Item, Items, Meta, NEVER, Table, Tick, prefetch, take};

/// Spilled items of one home bucket that one step of a scan emits, unless more share all bits that a position has.
const SCAN_SPILLED_MAX: usize = 1024;
/// The bits that are zero in a position.
const POSITION_LOW_BITS: u64 = (1 << 12) - 1;
/// Draws tried before the walk from a random place on.
const DRAWS_MAX: u32 = 256;

/// What to do with an item that may be due.
pub enum Verdict {
    /// It stays, and is due then.
    Keep(Tick),
    /// It is removed; this is its hash.
    Remove(u64),
}

/// How far a visit of due items came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueProgress {
    /// Where the next visit begins.
    pub position: u64,
    /// The items and segments looked at.
    pub visited: usize,
    /// Whether everything that was due has been seen.
    pub done: bool,
}

impl Table {
    /// Emits the items of at least one home bucket, those with hashes from `position` on, in bucket order. Returns the
    /// next position, or none at the end. The low 12 bits of positions are zero.
    pub fn scan_step(&self, position: u64, items: &impl Items, mut emit: impl FnMut(Item)) -> Option<u64> {
        let (index, segment) = self.locate(position)?;
        let buckets = self.buckets(index);
        let home = segment.home(position);
        let (last, next) = self.scan_end(position, index, segment);
        let mut at = home;
        for _ in 0..buckets.len() {
            for slot in slots(buckets[at].occupied()) {
                prefetch(buckets[at].item(slot).as_ptr());
            }
            for slot in slots(buckets[at].occupied()) {
                let item = buckets[at].item(slot);
                let hash = items.hash(item);
                if (position..=last).contains(&hash) && segment.home(hash) == home {
                    emit(item);
                }
            }
            if !buckets[at].has_overflow() {
                break;
            }
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
        }
        if let Some(spill) = self.spill.as_deref() {
            spill.range(position..=last).for_each(|id| emit(spill.get(id).item));
        }
        debug_assert!(next.is_none_or(|next| next > position));
        next
    }

    /// The last hash that a step of a scan emits, and the next position: where the next home bucket begins, or before that if
    /// very many items of this one are spilled.
    fn scan_end(&self, position: u64, index: usize, segment: SegmentRef) -> (u64, Option<u64>) {
        let hashes = self.hashes_of(index, segment.depth());
        let next_home = segment.home(position) + 1;
        let last = if next_home < segment.bucket_count() {
            let sub_hash_start = (segment.home_start(next_home) as u64) << (64 - SUB_HASH_BITS);
            (hashes.start() | sub_hash_start >> segment.depth()) - 1
        } else {
            *hashes.end()
        };
        let spilled = self.spill.as_deref();
        let enough = spilled.and_then(|spill| spill.range(position..=last).nth(SCAN_SPILLED_MAX));
        let last = match (spilled, enough) {
            (Some(spill), Some(id)) => last.min(spill.get(id).hash | POSITION_LOW_BITS),
            _ => last,
        };
        (last, last.checked_add(1))
    }

    /// Calls back for every item.
    pub fn for_each(&self, mut f: impl FnMut(Item)) {
        let mut index = 0;
        while index < self.directory.len() {
            for bucket in self.buckets(index) {
                slots(bucket.occupied()).for_each(|slot| f(bucket.item(slot)));
            }
            index = self.range_end(index);
        }
        self.spill.iter().flat_map(|spill| spill.iter()).for_each(|spilled| f(spilled.item));
    }

    /// An item drawn at random, nearly evenly.
    pub fn random(&self, seed: u64) -> Option<Item> {
        if self.len == 0 {
            return None;
        }
        let mut state = seed;
        let mut found = None;
        if self.draws_spilled(&mut state) {
            self.sample_spilled(mix(&mut state), 1, &mut |item| found = Some(item));
            return found;
        }
        // Draws a slot of the largest possible segment, so that items of small segments are not preferred.
        let buckets_max =
            if self.depth == 0 { self.directory[0].bucket_count() } else { SEGMENT_BUCKETS_MAX };
        for _ in 0..DRAWS_MAX {
            let draw = mix(&mut state);
            let (index, segment) = self.locate(draw)?;
            let low = draw & u64::from(u32::MAX);
            let slot = ((low * (buckets_max * BUCKET_SLOTS) as u64) >> 32) as usize;
            let (at, slot) = (slot / BUCKET_SLOTS, slot % BUCKET_SLOTS);
            if at < segment.bucket_count() {
                let bucket = &self.buckets(index)[at];
                if bucket.occupied() >> slot & 1 == 1 {
                    return Some(bucket.item(slot));
                }
            }
        }
        self.sample_segments(&mut state, 1, &mut |item| found = Some(item));
        found
    }

    /// Whether an item drawn at random is one that is spilled.
    fn draws_spilled(&self, state: &mut u64) -> bool {
        let spilled = self.spilled_count();
        spilled > 0 && mix(state) % self.len < spilled
    }

    fn sample_spilled(&self, draw: u64, count: usize, f: &mut dyn FnMut(Item)) -> usize {
        self.spill.as_deref().map_or(0, |spill| spill.sample(draw, count, f))
    }

    /// Calls back for the items of neighbouring slots, from a random one on, until there were `count` of them or all.
    pub fn sample(&self, seed: u64, count: usize, mut f: impl FnMut(Item)) {
        let mut state = seed;
        let spilled_first = self.draws_spilled(&mut state);
        let mut left = count;
        if spilled_first {
            left -= self.sample_spilled(seed, left, &mut f);
        }
        left -= self.sample_segments(&mut state, left, &mut f);
        if !spilled_first {
            self.sample_spilled(seed, left, &mut f);
        }
    }

    /// As `sample`, of the items in segments; how many there were.
    fn sample_segments(&self, state: &mut u64, count: usize, f: &mut dyn FnMut(Item)) -> usize {
        let draw = mix(state);
        let Some((index, segment)) = self.locate(draw) else { return 0 };
        let mut index = self.range_start(index, segment.depth());
        let mut at = segment.home(draw);
        let wanted = count.min(usize::try_from(self.len - self.spilled_count()).unwrap_or(usize::MAX));
        let mut left = wanted;
        // Not always from the first slot: a few items of a full bucket would be drawn, and the others never.
        let mut passed = mix(state) as usize % BUCKET_SLOTS;
        while left > 0 {
            let bucket = &self.buckets(index)[at];
            let drawn = bucket.occupied() >> passed << passed;
            slots(drawn).take(left).for_each(|slot| prefetch(bucket.item(slot).as_ptr()));
            for slot in slots(drawn).take(left) {
                f(bucket.item(slot));
                left -= 1;
            }
            passed = 0;
            at += 1;
            if at == self.buckets(index).len() {
                at = 0;
                index = self.range_end(index) % self.directory.len();
            }
        }
        wanted
    }

    /// Visits items that may be due, from `position` on, and removes those that are. Looks at no more than about
    /// `budget` items; a segment that is not due costs a sixteenth. After a whole pass, which begins at position 0,
    /// the table knows its earliest tick again.
    pub fn visit_due(
        &mut self,
        position: u64,
        now: Tick,
        budget: usize,
        items: &impl Items,
        mut judge: impl FnMut(Item) -> Verdict,
    ) -> DueProgress {
        if self.due > now || self.len == 0 {
            return DueProgress { position: 0, visited: 0, done: true };
        }
        let visited = self.visit_spilled(now, budget, items, &mut judge);
        if visited == budget {
            return DueProgress { position, visited, done: false };
        }
        let mut position = position;
        let mut visited_fine = visited * 16;
        while visited_fine < budget * 16 {
            let Some((index, segment)) = self.locate(position) else { break };
            let first = self.range_start(index, segment.depth());
            visited_fine += 1;
            if self.metas[first].due <= now {
                let (visited, whole) = self.visit_segment(first, now, budget - visited_fine / 16, &mut judge);
                visited_fine += visited * 16;
                self.shrink(position, items);
                if !whole {
                    return DueProgress { position, visited: visited_fine / 16, done: false };
                }
            }
            let prefix = position >> 1 >> (63 - segment.depth());
            if prefix + 1 >= 1 << segment.depth() {
                self.due = self.earliest_due();
                return DueProgress { position: 0, visited: visited_fine / 16, done: true };
            }
            position = (prefix + 1) << (64 - segment.depth());
        }
        DueProgress { position, visited: visited_fine / 16, done: self.len == 0 }
    }

    /// Visits those of the spilled items that are due, up to `budget`; how many.
    fn visit_spilled(
        &mut self,
        now: Tick,
        budget: usize,
        items: &impl Items,
        judge: &mut impl FnMut(Item) -> Verdict,
    ) -> usize {
        let Some(spill) = self.spill.as_deref_mut() else { return 0 };
        let (ids, mut removed) = (spill.due_ids(now, budget), Vec::new());
        for id in &ids {
            match judge(spill.get(*id).item) {
                Verdict::Keep(tick) => spill.set_due(*id, tick),
                Verdict::Remove(hash) => {
                    spill.remove(*id);
                    removed.push(hash);
                }
            }
        }
        self.len -= removed.len() as u64;
        removed.iter().for_each(|hash| self.shrink(*hash, items));
        ids.len()
    }

    /// Visits one segment's due buckets; says how many items were judged and whether all were.
    fn visit_segment(
        &mut self,
        first: usize,
        now: Tick,
        budget: usize,
        judge: &mut impl FnMut(Item) -> Verdict,
    ) -> (usize, bool) {
        let segment = self.directory[first];
        let buckets = self.buckets_mut(first);
        let (mut visited, mut removed) = (0, 0);
        let mut whole = true;
        let mut due = NEVER;
        for at in 0..buckets.len() {
            if buckets[at].due <= now {
                if visited >= budget {
                    whole = false;
                    break;
                }
                let mut bucket_due = NEVER;
                for slot in slots(buckets[at].occupied()) {
                    prefetch(buckets[at].item(slot).as_ptr());
                }
                for slot in slots(buckets[at].occupied()) {
                    visited += 1;
                    match judge(buckets[at].item(slot)) {
                        Verdict::Keep(tick) => bucket_due = bucket_due.min(tick),
                        Verdict::Remove(hash) => {
                            take(buckets, segment.home(hash), at, slot);
                            removed += 1;
                        }
                    }
                }
                buckets[at].due = bucket_due;
            }
            due = due.min(buckets[at].due);
        }
        let meta = &mut self.metas[first];
        meta.count -= removed;
        if whole {
            meta.due = due;
        }
        self.len -= u64::from(removed);
        (visited.max(1), whole)
    }

    /// The earliest tick of all segments and of what is spilled. Entries that are no segment's first are `NEVER` or stale, never
    /// too late.
    fn earliest_due(&self) -> Tick {
        let mut due = self.spill.as_deref().map_or(NEVER, Spill::due);
        let mut index = 0;
        while index < self.directory.len() {
            due = due.min(self.metas[index].due);
            index = self.range_end(index);
        }
        due
    }

    /// Takes all items out, about `budget` of them, calling back for each; true when the table is empty.
    pub fn drain(&mut self, budget: usize, mut f: impl FnMut(Item)) -> bool {
        let mut drained = 0;
        if let Some(spill) = self.spill.as_deref_mut() {
            let ids: Vec<_> = spill.range(0..=u64::MAX).take(budget).collect();
            drained = ids.len();
            self.len -= drained as u64;
            ids.into_iter().for_each(|id| f(spill.remove(id).item));
        }
        while let Some(segment) = self.directory.last().copied() {
            if drained >= budget {
                return false;
            }
            let first = self.range_start(self.directory.len() - 1, segment.depth());
            for bucket in self.buckets(first) {
                for slot in slots(bucket.occupied()) {
                    f(bucket.item(slot));
                    drained += 1;
                }
            }
            self.len -= u64::from(self.metas[first].count);
            self.directory.truncate(first);
            self.metas.truncate(first);
            self.segment_bytes -= segment.bytes() as u64;
            // SAFETY: the directory entries that led to it were all behind `first` and are gone.
            unsafe { segment.free() };
        }
        assert_eq!(self.len, 0);
        *self = Table::new();
        true
    }

    /// Checks everything that the module's header promises.
    pub fn check_invariants(&self, items: &impl Items) {
        assert_eq!(self.directory.len(), self.metas.len());
        if self.directory.is_empty() {
            assert_eq!((self.len, self.segment_bytes, self.depth), (0, 0, 0));
            return;
        }
        assert_eq!(self.directory.len(), 1 << self.depth);
        let (mut len, mut bytes, mut deepest) = (0, 0, 0);
        let mut index = 0;
        while index < self.directory.len() {
            let segment = self.directory[index];
            let end = self.range_end(index);
            assert_eq!(self.range_start(index, segment.depth()), index);
            assert!(self.directory[index..end].iter().all(|other| *other == segment));
            self.check_segment(index, items);
            len += u64::from(self.metas[index].count);
            bytes += segment.bytes() as u64;
            deepest += u32::from(segment.depth() == self.depth);
            index = end;
        }
        assert_eq!(len + self.spilled_count(), self.len);
        assert_eq!((bytes, deepest), (self.segment_bytes, self.deepest_count));
        assert!(self.due <= self.earliest_due());
        if let Some(spill) = self.spill.as_deref() {
            spill.check_invariants();
            for spilled in spill.iter() {
                assert_eq!(items.hash(spilled.item), spilled.hash);
                assert!(spilled.due <= items.due(spilled.item));
                let (index, _) = self.locate(spilled.hash).expect("its segment is full");
                assert!(self.buckets(index).iter().all(Bucket::has_overflow));
            }
        }
    }

    fn check_segment(&self, first: usize, items: &impl Items) {
        let segment = self.directory[first];
        let Meta { count, due } = self.metas[first];
        let buckets = self.buckets(first);
        let mut overflows = vec![0usize; buckets.len()];
        let mut seen = 0;
        for (at, bucket) in buckets.iter().enumerate() {
            assert!(due <= bucket.due);
            for slot in slots(bucket.occupied()) {
                let item = bucket.item(slot);
                let hash = items.hash(item);
                assert_eq!(self.locate(hash).map(|(_, found)| found), Some(segment));
                assert!(bucket.due <= items.due(item));
                assert!(bucket.matches(super::tag(hash)) >> slot & 1 == 1);
                let remainder = segment.remainder(segment.sub_hash(hash), segment.home(hash));
                assert_eq!(bucket.remainder(slot), (segment.home(hash) == at).then_some(remainder));
                let mut probe = segment.home(hash);
                while probe != at {
                    overflows[probe] += 1;
                    probe = (probe + 1) % buckets.len();
                }
                seen += 1;
            }
        }
        assert_eq!(seen, count);
        let is_largest = buckets.len() == SEGMENT_BUCKETS_MAX;
        assert!(is_largest || seen as usize <= grow_above(buckets.len()).max(BUCKET_SLOTS));
        for (bucket, overflow) in buckets.iter().zip(overflows) {
            assert!(bucket.overflow_exact().is_none_or(|exact| usize::from(exact) == overflow));
        }
    }
}

/// A step of splitmix64.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

const _: () = assert!(size_of::<Bucket>() == 64);
