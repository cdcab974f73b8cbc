//! A map ordered by IDs: the nodes of a stream, the pending entries of a group, those of a consumer.
//!
//! Design: sorted chunks of items in a deque. IDs come in ascending order and mostly go from the front, so that new items go
//! to the last chunk, which is filled before the next begins, and an emptied first one is popped: chunks are full, where a
//! B-tree's nodes would be half full. An item is found by one search over the chunks and one within a chunk.
//!
//! Invariants: keys ascend over all chunks; no chunk is empty or longer than `CHUNK_ITEMS_MAX`; `room` is the sum of their
//! capacities.
//!
//! Costs: to append is O(1), to find O(log n). To insert or remove in the middle moves the items of a chunk, and where a
//! chunk comes or goes up to half of the deque's words: of a million items three for each of 4,000 chunks.

use std::collections::VecDeque;

use super::StreamId;

/// Items of a full chunk.
const CHUNK_ITEMS_MAX: usize = 128;
/// Neighbouring chunks become one if they have no more items than this together.
const MERGED_ITEMS_MAX: usize = CHUNK_ITEMS_MAX / 2;

/// What has an ID to be ordered by.
pub trait Keyed {
    /// The ID.
    fn key(&self) -> StreamId;
}

impl Keyed for StreamId {
    #[inline]
    fn key(&self) -> StreamId {
        *self
    }
}

/// Items ordered by their IDs, each of which is there once.
#[derive(Debug)]
pub struct Ordered<T> {
    chunks: VecDeque<Vec<T>>,
    len: usize,
    room: usize,
}

/// Where an item is, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: usize,
    index: usize,
}

impl<T> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered { chunks: VecDeque::new(), len: 0, room: 0 }
    }
}

impl<T: Clone> Clone for Ordered<T> {
    fn clone(&self) -> Ordered<T> {
        let chunks = self.chunks.clone();
        let room = chunks.iter().map(Vec::capacity).sum();
        Ordered { chunks, len: self.len, room }
    }
}

impl<T: Keyed> Ordered<T> {
    /// The number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated for it, not counting what items own.
    pub fn allocated(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<T>>() + self.room * size_of::<T>()
    }

    /// The place of the first item whose ID is not below `key`.
    pub fn seek(&self, key: StreamId) -> Place {
        let chunk = self.chunks.partition_point(|chunk| last_of(chunk).key() < key);
        let index = self.chunks.get(chunk).map_or(0, |items| items.partition_point(|item| item.key() < key));
        Place { chunk, index }
    }

    /// The place of the last item whose ID is not above `key`.
    pub fn seek_back(&self, key: StreamId) -> Option<Place> {
        let place = self.seek(key);
        match self.at(place) {
            Some(item) if item.key() == key => Some(place),
            _ => self.before(place),
        }
    }

    /// The item at a place; none at the end.
    #[inline]
    pub fn at(&self, place: Place) -> Option<&T> {
        self.chunks.get(place.chunk)?.get(place.index)
    }

    /// The place behind an item's.
    #[inline]
    pub fn behind(&self, place: Place) -> Place {
        if place.index + 1 < self.chunks[place.chunk].len() {
            Place { index: place.index + 1, ..place }
        } else {
            Place { chunk: place.chunk + 1, index: 0 }
        }
    }

    /// The place before another or before the end; none before the first.
    pub fn before(&self, place: Place) -> Option<Place> {
        if place.index > 0 {
            return Some(Place { index: place.index - 1, ..place });
        }
        let chunk = place.chunk.checked_sub(1)?;
        Some(Place { chunk, index: self.chunks[chunk].len() - 1 })
    }

    /// The place of the first item, or the end.
    pub fn begin(&self) -> Place {
        Place { chunk: 0, index: 0 }
    }

    /// The item of this ID.
    pub fn find(&self, key: StreamId) -> Option<&T> {
        self.at(self.seek(key)).filter(|item| item.key() == key)
    }

    /// The item of this ID, to be changed; its ID stays.
    pub fn find_mut(&mut self, key: StreamId) -> Option<&mut T> {
        let Place { chunk, index } = self.seek(key);
        self.chunks.get_mut(chunk)?.get_mut(index).filter(|item| item.key() == key)
    }

    /// The item at a place, to be changed; its ID stays.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.chunks.get_mut(place.chunk)?.get_mut(place.index)
    }

    /// The first item.
    pub fn first(&self) -> Option<&T> {
        self.chunks.front()?.first()
    }

    /// The last item.
    #[inline]
    pub fn last(&self) -> Option<&T> {
        self.chunks.back()?.last()
    }

    /// The last item, to be changed; its ID stays.
    #[inline]
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.chunks.back_mut()?.last_mut()
    }

    /// The items from the first on whose ID is not below `key`.
    pub fn iter_from(&self, key: StreamId) -> impl Iterator<Item = &T> {
        let Place { chunk, index } = self.seek(key);
        let first = self.chunks.get(chunk).map_or(&[][..], |items| &items[index..]);
        first.iter().chain(self.chunks.iter().skip(chunk + 1).flatten())
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Adds an item, or puts it in the place of the one with its ID, which is returned.
    pub fn insert(&mut self, item: T) -> Option<T> {
        let key = item.key();
        if self.last().is_none_or(|last| last.key() < key) {
            self.push(item);
            return None;
        }
        let Place { chunk, index } = self.seek(key);
        let items = &mut self.chunks[chunk];
        if items[index].key() == key {
            return Some(std::mem::replace(&mut items[index], item));
        }
        self.len += 1;
        if items.len() < CHUNK_ITEMS_MAX {
            let before = items.capacity();
            items.insert(index, item);
            self.room += items.capacity() - before;
            return None;
        }
        let before = items.capacity();
        let mut upper = items.split_off(CHUNK_ITEMS_MAX / 2);
        items.shrink_to_fit();
        match index.checked_sub(CHUNK_ITEMS_MAX / 2) {
            Some(index) => upper.insert(index, item),
            None => items.insert(index, item),
        }
        self.room = self.room - before + items.capacity() + upper.capacity();
        self.chunks.insert(chunk + 1, upper);
        None
    }

    fn push(&mut self, item: T) {
        self.len += 1;
        if let Some(items) = self.chunks.back_mut()
            && items.len() < CHUNK_ITEMS_MAX
        {
            let before = items.capacity();
            items.push(item);
            self.room += items.capacity() - before;
            return;
        }
        let mut items = Vec::with_capacity(if self.chunks.is_empty() { 1 } else { 16 });
        items.push(item);
        self.room += items.capacity();
        self.chunks.push_back(items);
    }

    /// Removes the item of this ID.
    pub fn remove(&mut self, key: StreamId) -> Option<T> {
        let place = self.seek(key);
        self.at(place).filter(|item| item.key() == key)?;
        Some(self.remove_at(place))
    }

    /// Removes the item at a place.
    pub fn remove_at(&mut self, Place { chunk, index }: Place) -> T {
        let items = &mut self.chunks[chunk];
        let removed = items.remove(index);
        self.len -= 1;
        if items.is_empty() {
            self.room -= items.capacity();
            self.chunks.remove(chunk);
            self.shrink();
        } else if items.len() <= MERGED_ITEMS_MAX {
            self.merge(chunk);
        }
        removed
    }

    /// Removes the last item.
    pub fn pop_last(&mut self) -> Option<T> {
        let chunk = self.chunks.len().checked_sub(1)?;
        let index = self.chunks[chunk].len() - 1;
        Some(self.remove_at(Place { chunk, index }))
    }

    /// Removes a chunk's worth of items at the end: how many.
    pub fn drop_chunk(&mut self) -> usize {
        let Some(items) = self.chunks.pop_back() else { return 0 };
        self.room -= items.capacity();
        self.len -= items.len();
        items.len()
    }

    /// Removes all items for which `keeps` is false.
    pub fn retain(&mut self, mut keeps: impl FnMut(&T) -> bool) {
        self.chunks.iter_mut().for_each(|items| {
            items.retain(&mut keeps);
            items.shrink_to_fit();
        });
        self.chunks.retain(|items| !items.is_empty());
        self.shrink();
        self.len = self.chunks.iter().map(Vec::len).sum();
        self.room = self.chunks.iter().map(Vec::capacity).sum();
    }

    /// Joins a chunk that has become short with the one behind it, if they are short together.
    fn merge(&mut self, chunk: usize) {
        let behind = self.chunks.get(chunk + 1).map_or(CHUNK_ITEMS_MAX, Vec::len);
        let items = &self.chunks[chunk];
        let (len, before) = (items.len(), items.capacity());
        if len + behind <= MERGED_ITEMS_MAX {
            let mut more = self.chunks.remove(chunk + 1).expect("it has just been looked at");
            self.room -= more.capacity();
            self.chunks[chunk].append(&mut more);
            self.shrink();
        } else if len * 4 <= before {
            self.chunks[chunk].shrink_to(len * 2);
        }
        self.room = self.room - before + self.chunks[chunk].capacity();
    }

    fn shrink(&mut self) {
        if self.chunks.len() * 4 <= self.chunks.capacity() {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    #[cfg(test)]
    pub fn check_invariants(&self) {
        let keys: Vec<StreamId> = self.iter().map(Keyed::key).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(keys.len(), self.len);
        assert_eq!(self.room, self.chunks.iter().map(Vec::capacity).sum::<usize>());
        assert!(self.chunks.iter().all(|items| (1..=CHUNK_ITEMS_MAX).contains(&items.len())));
    }
}

fn last_of<T>(chunk: &[T]) -> &T {
    chunk.last().expect("no chunk is empty")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> StreamId {
        StreamId { ms: number / 7, seq: number % 7 }
    }

    fn check(ordered: &Ordered<StreamId>, model: &BTreeSet<StreamId>, probe: StreamId) {
        ordered.check_invariants();
        assert!(ordered.iter().eq(model));
        assert!(ordered.iter_from(probe).eq(model.range(probe..)));
        assert_eq!(ordered.find(probe).is_some(), model.contains(&probe));
        let back = ordered.seek_back(probe).and_then(|place| ordered.at(place));
        assert_eq!(back, model.range(..=probe).next_back());
        assert_eq!((ordered.first(), ordered.last()), (model.first(), model.last()));
        let mut place = ordered.seek(probe);
        for expected in model.range(..probe).rev().take(200) {
            place = ordered.before(place).expect("there are more");
            assert_eq!(ordered.at(place), Some(expected));
        }
        assert!(ordered.allocated() >= ordered.len() * size_of::<StreamId>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn ordered_is_like_a_set(steps in prop::collection::vec((0..10u8, 0..3000u64), 1..60)) {
            let (mut ordered, mut model) = (Ordered::default(), BTreeSet::new());
            for (kind, number) in steps {
                match kind {
                    0..4 => {
                        // Several new ones at the end.
                        let last = model.last().map_or(0, |last: &StreamId| last.ms * 7 + last.seq);
                        for number in last + 1..last + 1 + number % 400 {
                            prop_assert_eq!(ordered.insert(id(number)).is_none(), model.insert(id(number)));
                        }
                    }
                    4 => {
                        prop_assert_eq!(ordered.insert(id(number)).is_none(), model.insert(id(number)));
                    }
                    5 | 6 => {
                        for number in number..number + 100 {
                            prop_assert_eq!(ordered.remove(id(number)).is_some(), model.remove(&id(number)));
                        }
                    }
                    7 => {
                        ordered.retain(|key| key.seq != number % 7);
                        model.retain(|key| key.seq != number % 7);
                    }
                    8 => {
                        for _ in 0..number % 300 {
                            prop_assert_eq!(ordered.pop_last(), model.pop_last());
                        }
                    }
                    _ => {
                        let before = ordered.clone();
                        let dropped = ordered.drop_chunk();
                        (0..dropped).for_each(|_| assert!(model.pop_last().is_some()));
                        check(&before, &before.iter().copied().collect(), id(number));
                    }
                }
                check(&ordered, &model, id(number));
            }
        }
    }

    #[test]
    fn appended_items_fill_their_chunks() {
        let mut ordered = Ordered::default();
        (0..100_000).for_each(|number| assert!(ordered.insert(id(number)).is_none()));
        ordered.check_invariants();
        assert!(ordered.allocated() < ordered.len() * size_of::<StreamId>() * 105 / 100);
        (0..99_999).for_each(|number| assert!(ordered.remove(id(number)).is_some()));
        ordered.check_invariants();
        assert!(ordered.allocated() < 4096);
    }
}
