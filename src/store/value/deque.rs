//! A large list: a deque of chunks of packed elements.
//!
//! Design: as Redis's quicklist, but the chunks lie in a ring buffer instead of a linked list, so that finding an element
//! by its index reads neighbouring words. Elements are shared out to chunks by the same rules as in Redis, so that what
//! is dumped is cut into the same nodes: an element goes into the chunk at its end of the list if that is not full; one longer
//! than a chunk may be gets a chunk of its own.
//!
//! Invariants:
//! - no chunk is empty; `len` is the sum of their counts;
//! - `chunk_bytes` is the sum of what they allocated.
//!
//! Costs: pushing and taking at the ends is O(1); by index, O(chunks) words and then a chunk's elements at most;
//! changes in the middle move a chunk's bytes, and the shorter side of the ring if a chunk comes or goes.
//!
//! Not here: small lists (`list_mut`), what they share with large ones (`list`).

use std::collections::VecDeque;

use bytes::Bytes;

use super::chunk::{Chunk, Run};
use super::list::{End, ListLimits};
use super::packed::{Encoded, LISTPACK_FRAME_BYTES};
use super::{Item, NewItem, packed};
use crate::store::table::prefetch;

/// More chunks than that are freed in slices.
pub const CHUNKS_FREED_AT_ONCE_MAX: usize = 64;

/// What Redis reckons an element takes beyond its text at most.
const ELEMENT_OVERHEAD_BYTES: usize = 8;

/// The chunks of a list.
#[derive(Clone, Debug, Default)]
pub struct Deque {
    chunks: VecDeque<Chunk>,
    len: usize,
    chunk_bytes: usize,
}

/// Where an element is, or would be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The chunk's number.
    pub chunk: usize,
    /// The element's number in it.
    pub index: usize,
}

impl Deque {
    /// A deque with the elements of one run.
    pub fn from_run(run: &[u8], count: usize) -> Deque {
        let mut deque = Deque::default();
        if count > 0 {
            deque.insert_chunk(0, Chunk::Run(Run::from_bytes(run, count)));
        }
        deque
    }

    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its chunks.
    #[inline]
    pub fn chunks(&self) -> &VecDeque<Chunk> {
        &self.chunks
    }

    /// Bytes allocated for all of it.
    #[inline]
    pub fn allocated(&self) -> usize {
        size_of::<Deque>() + self.chunks.capacity() * size_of::<Chunk>() + self.chunk_bytes
    }

    /// Fetches itself into the cache, without its chunks.
    #[inline]
    pub fn fetch(&self) {
        prefetch((&raw const *self).cast());
    }

    /// Fetches the chunk at an end, without what lies in it; the deque should be there already.
    #[inline]
    pub fn fetch_chunk(&self, end: End) {
        if let Some(chunk) = self.outer(end) {
            prefetch((&raw const *chunk).cast());
        }
    }

    /// Fetches what is read or written at an end; the chunk there should be there already.
    #[inline]
    pub fn fetch_end(&self, end: End) {
        if let Some(Chunk::Run(run)) = self.outer(end) {
            run.fetch(end);
        }
    }

    /// The chunk at an end.
    #[inline]
    fn outer(&self, end: End) -> Option<&Chunk> {
        match end {
            End::Left => self.chunks.front(),
            End::Right => self.chunks.back(),
        }
    }

    /// Its only run, if it is just one.
    pub fn only_run(&self) -> Option<&Run> {
        match (self.chunks.len(), self.chunks.front()) {
            (1, Some(Chunk::Run(run))) => Some(run),
            _ => None,
        }
    }

    /// Where element `index` is, searched from the nearer end. It must exist.
    pub fn position(&self, index: usize) -> Position {
        assert!(index < self.len);
        if index < self.len / 2 {
            let mut left = index;
            for (chunk, found) in self.chunks.iter().enumerate() {
                if left < found.count() {
                    return Position { chunk, index: left };
                }
                left -= found.count();
            }
        } else {
            let mut end = self.len;
            for (chunk, found) in self.chunks.iter().enumerate().rev() {
                end -= found.count();
                if index >= end {
                    return Position { chunk, index: index - end };
                }
            }
        }
        unreachable!("the counts of the chunks add up")
    }

    /// The element at a position.
    pub fn item(&self, at: Position) -> Item<'_> {
        match &self.chunks[at.chunk] {
            Chunk::Long(bytes) => Item::Blob(bytes),
            Chunk::Run(run) => packed::item(run.bytes(), run.offset_of(at.index)).0,
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, item: &NewItem<'_>, limits: ListLimits) {
        let outer = match end {
            End::Left => self.chunks.front_mut(),
            End::Right => self.chunks.back_mut(),
        };
        if let Some(Chunk::Run(run)) = outer
            && takes(run, item.text_len(), limits)
            && run.extend(end, &Encoded::of(item))
        {
            self.len += 1;
        } else {
            self.push_further(end, item, limits);
        }
    }

    /// Adds an element for which there is no room in the buffer at that end.
    #[cold]
    fn push_further(&mut self, end: End, item: &NewItem<'_>, limits: ListLimits) {
        let text_len = item.text_len();
        let outer = match end {
            End::Left => 0,
            End::Right => self.chunks.len().wrapping_sub(1),
        };
        if limits.is_long(text_len) {
            let place = if end == End::Left { 0 } else { self.chunks.len() };
            return self.insert_chunk(place, long(item));
        }
        if !self.has_room(outer, text_len, limits) {
            self.fit(outer);
            let place = if end == End::Left { 0 } else { self.chunks.len() };
            return self.insert_chunk(place, new_run(item, limits));
        }
        let encoded = Encoded::of(item);
        self.edit_run(outer, |run| {
            let at = if end == End::Left { 0 } else { run.len() };
            run.insert(at, &encoded, limits.run_bytes_max());
        });
        self.len += 1;
    }

    /// Adds an element before element `index`, or at the end.
    pub fn insert(&mut self, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        if index == 0 {
            return self.push(End::Left, item, limits);
        }
        if index == self.len {
            return self.push(End::Right, item, limits);
        }
        let text_len = item.text_len();
        let Position { chunk, index } = self.position(index);
        let long_element = limits.is_long(text_len);
        // 1. Into the chunk of the element it goes before.
        if !long_element && self.has_room(chunk, text_len, limits) {
            return self.insert_into(chunk, index, item, limits);
        }
        if index == 0 {
            // 2. At the end of the one before, or between the two.
            if !long_element && self.has_room(chunk - 1, text_len, limits) {
                let index = self.chunks[chunk - 1].count();
                return self.insert_into(chunk - 1, index, item, limits);
            }
            let added = if long_element { long(item) } else { new_run(item, limits) };
            return self.insert_chunk(chunk, added);
        }
        // 3. Into the gap where the chunk is cut in two.
        self.split(chunk, index);
        if long_element {
            return self.insert_chunk(chunk + 1, long(item));
        }
        if self.has_room(chunk, text_len, limits) {
            let index = self.chunks[chunk].count();
            self.insert_into(chunk, index, item, limits);
        } else {
            self.insert_chunk(chunk + 1, new_run(item, limits));
        }
        self.join_around(chunk, limits);
    }

    /// Puts an element in the place of element `index`.
    pub fn replace(&mut self, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        let Position { chunk, index: inner } = self.position(index);
        let text_len = item.text_len();
        if limits.is_long(text_len) {
            // A long one stands alone, so what is around it is cut apart.
            let count = self.chunks[chunk].count();
            if inner + 1 < count {
                self.split(chunk, inner + 1);
            }
            let chunk = if inner > 0 {
                self.split(chunk, inner);
                chunk + 1
            } else {
                chunk
            };
            self.remove_chunk(chunk);
            return self.insert_chunk(chunk, long(item));
        }
        let encoded = Encoded::of(item);
        let fits = match &self.chunks[chunk] {
            Chunk::Long(_) => false,
            Chunk::Run(run) => {
                let at = run.offset_of(inner);
                let old = packed::next(run.bytes(), at) - at;
                let bytes = run.len() + LISTPACK_FRAME_BYTES - old + encoded.len();
                !limits.exceeds(bytes, run.count())
            }
        };
        if fits {
            return self.edit_run(chunk, |run| {
                let at = run.offset_of(inner);
                run.replace(at, &encoded, limits.run_bytes_max());
            });
        }
        self.insert(index, item, limits);
        let one = self.remove(index + 1, 1);
        debug_assert!(one.is_none());
    }

    /// Removes `count` elements from `start` on; all of them must exist. Chunks that are too many to be freed at once are
    /// given back.
    #[must_use]
    pub fn remove(&mut self, start: usize, count: usize) -> Option<Box<Deque>> {
        assert!(start + count <= self.len);
        if count == 0 {
            return None;
        }
        let Position { chunk: mut first, index } = self.position(start);
        let mut left = count;
        // 1. The end of the first chunk, or a part of it.
        let here = self.chunks[first].count();
        if index > 0 || left < here {
            let removed = left.min(here - index);
            self.remove_from_run(first, index, removed);
            left -= removed;
            first += 1;
        }
        // 2. Whole ones.
        let mut end = first;
        while left > 0 && self.chunks[end].count() <= left {
            left -= self.chunks[end].count();
            end += 1;
        }
        let removed = self.remove_chunks(first, end);
        // 3. The beginning of the last.
        if left > 0 {
            self.remove_from_run(first, 0, left);
        }
        self.shrink();
        removed
    }

    /// Removes up to `count` elements equal to `item`, searched from an end; how many.
    pub fn remove_equal(&mut self, end: End, count: usize, item: &NewItem<'_>) -> usize {
        let mut removed = 0;
        let mut turn = 0;
        let encoded = Encoded::of(item);
        let text = item.to_text();
        while turn < self.chunks.len() && removed < count {
            let chunk = if end == End::Left { turn } else { self.chunks.len() - 1 - turn };
            let before = self.chunks[chunk].count();
            let found = match &self.chunks[chunk] {
                Chunk::Long(bytes) => usize::from(**bytes == *text),
                Chunk::Run(_) => {
                    let mut found = 0;
                    self.edit_run(chunk, |run| found = run.remove_equal(end, count - removed, &encoded));
                    self.len -= found;
                    found
                }
            };
            removed += found;
            if found == before {
                // A run that was emptied is not counted any more; a long element still is.
                self.remove_chunk(chunk);
            } else {
                turn += 1;
            }
        }
        self.shrink();
        removed
    }

    /// Adds what was loaded as one piece, at the end.
    pub fn append(&mut self, chunk: Chunk) {
        if chunk.count() > 0 {
            self.insert_chunk(self.chunks.len(), chunk);
        }
    }

    /// Frees about `budget` chunks; true when none is left.
    pub fn drain(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            if self.chunks.is_empty() {
                break;
            }
            self.remove_chunk(self.chunks.len() - 1);
        }
        self.chunks.is_empty()
    }

    /// Checks the counts against the chunks.
    pub fn check_invariants(&self) {
        assert_eq!(self.len, self.chunks.iter().map(Chunk::count).sum::<usize>());
        assert_eq!(self.chunk_bytes, self.chunks.iter().map(Chunk::allocated).sum::<usize>());
        for chunk in &self.chunks {
            assert!(chunk.count() > 0);
            if let Chunk::Run(run) = chunk {
                let end = (0..run.count()).fold(0, |at, _| packed::next(run.bytes(), at));
                assert_eq!(end, run.len());
            }
        }
    }

    /// Whether chunk `index`, if there is one, takes a further element of so many bytes.
    fn has_room(&self, index: usize, text_len: usize, limits: ListLimits) -> bool {
        match self.chunks.get(index) {
            Some(Chunk::Run(run)) => takes(run, text_len, limits),
            _ => false,
        }
    }

    fn insert_into(&mut self, chunk: usize, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        let encoded = Encoded::of(item);
        self.edit_run(chunk, |run| run.insert(run.offset_of(index), &encoded, limits.run_bytes_max()));
        self.len += 1;
    }

    /// Cuts a run in two before its element `index`.
    fn split(&mut self, chunk: usize, index: usize) {
        let mut tail = None;
        self.edit_run(chunk, |run| tail = Some(run.split_off(run.offset_of(index), index)));
        let tail = tail.expect("it was just cut off");
        self.len -= tail.count();
        self.fit(chunk);
        self.insert_chunk(chunk + 1, Chunk::Run(tail));
    }

    /// Joins chunks next to a place where one was cut, where they fit into one.
    fn join_around(&mut self, chunk: usize, limits: ListLimits) {
        let last = (chunk + 2).min(self.chunks.len() - 1);
        for left in (chunk.saturating_sub(1)..last).rev() {
            let (Chunk::Run(first), Chunk::Run(second)) = (&self.chunks[left], &self.chunks[left + 1]) else {
                continue;
            };
            let bytes = first.len() + second.len() + LISTPACK_FRAME_BYTES;
            if limits.exceeds(bytes, first.count() + second.count()) {
                continue;
            }
            let Some(Chunk::Run(second)) = self.remove_chunk(left + 1) else {
                unreachable!("it was just seen");
            };
            self.edit_run(left, |run| run.append(&second, limits.run_bytes_max()));
            self.len += second.count();
        }
    }

    /// Changes a run. Whoever changes the number of elements counts them.
    fn edit_run(&mut self, index: usize, edit: impl FnOnce(&mut Run)) {
        let Chunk::Run(run) = &mut self.chunks[index] else { unreachable!("only runs are changed") };
        let before = run.allocated();
        edit(run);
        self.chunk_bytes = self.chunk_bytes - before + run.allocated();
    }

    fn fit(&mut self, index: usize) {
        if matches!(self.chunks.get(index), Some(Chunk::Run(_))) {
            self.edit_run(index, Run::fit);
        }
    }

    fn insert_chunk(&mut self, index: usize, chunk: Chunk) {
        self.len += chunk.count();
        self.chunk_bytes += chunk.allocated();
        self.chunks.insert(index, chunk);
    }

    fn remove_chunk(&mut self, index: usize) -> Option<Chunk> {
        let chunk = self.chunks.remove(index)?;
        self.len -= chunk.count();
        self.chunk_bytes -= chunk.allocated();
        Some(chunk)
    }

    /// Removes `count` elements from element `index` on, but not all that the run has.
    fn remove_from_run(&mut self, chunk: usize, index: usize, count: usize) {
        self.edit_run(chunk, |run| {
            let from = run.offset_of(index);
            let to = if index + count == run.count() {
                run.len()
            } else if count == 1 {
                packed::next(run.bytes(), from)
            } else {
                run.offset_of(index + count)
            };
            run.remove(from, to, count);
        });
        self.len -= count;
    }

    /// Removes chunks; those that are too many to be freed at once are given back.
    fn remove_chunks(&mut self, first: usize, end: usize) -> Option<Box<Deque>> {
        if end - first <= 1 {
            if first < end {
                self.remove_chunk(first);
            }
            return None;
        }
        let chunks: VecDeque<Chunk> = self.chunks.drain(first..end).collect();
        let len = chunks.iter().map(Chunk::count).sum();
        let chunk_bytes = chunks.iter().map(Chunk::allocated).sum();
        self.len -= len;
        self.chunk_bytes -= chunk_bytes;
        let removed = Deque { chunks, len, chunk_bytes };
        (end - first > CHUNKS_FREED_AT_ONCE_MAX).then(|| Box::new(removed))
    }

    /// Gives room of the ring back once most of it is empty.
    fn shrink(&mut self) {
        const RING_MIN: usize = 32;
        if self.chunks.capacity() > RING_MIN && self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }
}

/// Whether a run takes a further element of so many bytes.
#[inline]
fn takes(run: &Run, text_len: usize, limits: ListLimits) -> bool {
    let bytes = run.len() + LISTPACK_FRAME_BYTES + text_len + ELEMENT_OVERHEAD_BYTES;
    !limits.exceeds(bytes, run.count() + 1)
}

fn long(item: &NewItem<'_>) -> Chunk {
    Chunk::Long(match item {
        NewItem::Blob(blob) => blob.clone(),
        NewItem::Bytes(bytes) => Bytes::copy_from_slice(bytes),
        NewItem::Int(value) => value.to_string().into(),
    })
}

fn new_run(item: &NewItem<'_>, limits: ListLimits) -> Chunk {
    let mut run = Run::default();
    run.insert(0, &Encoded::of(item), limits.run_bytes_max());
    Chunk::Run(run)
}
