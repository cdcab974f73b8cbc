//! A large list: a deque of chunks of packed elements.
//!
//! Design: as Redis's quicklist, but the chunks lie in ring buffers instead of a linked list, so that finding an element
//! by its index reads neighbouring words. Elements are shared out to chunks by the same rules as in Redis, so that what
//! is dumped is cut into the same nodes: an element goes into the chunk at its end of the list if that is not full; one longer
//! than a chunk may be gets a chunk of its own.
//!
//! Invariants:
//! - no chunk is empty; `len` is the sum of their counts;
//! - `chunk_bytes` is the sum of what they allocated.
//!
//! Costs: pushing and taking at the ends is O(1); by index, what finding a chunk costs (`rings`) and then a chunk's elements at
//! most; changes in the middle move a chunk's bytes, and half a ring if a chunk comes or goes.
//!
//! Not here: how chunks lie (`rings`), small lists (`list_mut`), what they share with large ones (`list`).

use bytes::Bytes;

use super::chunk::{Chunk, Run};
use super::external::Large;
use super::list::{End, ListLimits};
use super::packed::{Encoded, LISTPACK_FRAME_BYTES};
use super::rings::{Place, Rings};
use super::{Item, NewItem, packed};
use crate::store::fetch::Reach;
use crate::store::table::prefetch;

/// More chunks than that are not freed by the command that removes them.
const CHUNKS_FREED_AT_ONCE_MAX: usize = 64;

/// What Redis reckons an element takes beyond its text at most.
const ELEMENT_OVERHEAD_BYTES: usize = 8;

/// The chunks of a list.
#[derive(Clone, Debug, Default)]
pub struct Deque {
    chunks: Rings,
    len: usize,
    chunk_bytes: usize,
}

/// Where an element is, or would be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The chunk's place.
    pub chunk: Place,
    /// The element's number in it.
    pub index: usize,
}

impl Deque {
    /// A deque with the elements of one run.
    pub fn from_run(run: &[u8], count: usize) -> Deque {
        let mut deque = Deque::default();
        if count > 0 {
            deque.push_chunk(End::Right, Chunk::Run(Run::from_bytes(run, count)));
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
    pub fn chunks(&self) -> &Rings {
        &self.chunks
    }

    /// Its only run, if it is just one.
    pub fn only_run(&self) -> Option<&Run> {
        match (self.chunks.len(), self.chunks.outer(End::Left)) {
            (1, Some(Chunk::Run(run))) => Some(run),
            _ => None,
        }
    }

    /// Where element `index` is, searched from the nearer end. It must exist.
    pub fn position(&self, index: usize) -> Position {
        assert!(index < self.len, "the callers look at the length before");
        if index < self.len / 2 {
            let (chunk, index) = self.chunks.find(End::Left, index);
            return Position { chunk, index };
        }
        let (chunk, from_right) = self.chunks.find(End::Right, self.len - 1 - index);
        Position { chunk, index: self.chunks.at(chunk).count() - 1 - from_right }
    }

    /// The element at a position.
    pub fn item(&self, at: Position) -> Item<'_> {
        match self.chunks.at(at.chunk) {
            Chunk::Long(bytes) => Item::Blob(bytes),
            Chunk::Run(run) => packed::item(run.bytes(), run.offset_of(at.index)).0,
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, item: &NewItem<'_>, limits: ListLimits) {
        if let Some(Chunk::Run(run)) = self.chunks.outer_mut(end)
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
        if limits.is_long(text_len) {
            return self.push_chunk(end, long(item));
        }
        let outer = self.chunks.outer_place(end);
        let Some(outer) = outer.filter(|outer| self.has_room(*outer, text_len, limits)) else {
            if let Some(outer) = outer {
                self.fit(outer);
            }
            return self.push_chunk(end, new_run(item, limits));
        };
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
            if let Some(before) = self.chunks.before(chunk)
                && !long_element
                && self.has_room(before, text_len, limits)
            {
                let index = self.chunks.at(before).count();
                return self.insert_into(before, index, item, limits);
            }
            let added = if long_element { long(item) } else { new_run(item, limits) };
            self.insert_chunk(chunk, added);
            return;
        }
        // 3. Into the gap where the chunk is cut in two.
        let (head, tail) = self.split(chunk, index);
        if long_element {
            self.insert_chunk(tail, long(item));
        } else if self.has_room(head, text_len, limits) {
            let index = self.chunks.at(head).count();
            self.insert_into(head, index, item, limits);
            self.join_around(head, limits);
        } else {
            let added = self.insert_chunk(tail, new_run(item, limits));
            self.join_around(self.chunks.before(added).unwrap_or(added), limits);
        }
    }

    /// Puts an element in the place of element `index`.
    pub fn replace(&mut self, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        let Position { mut chunk, index: inner } = self.position(index);
        let text_len = item.text_len();
        if limits.is_long(text_len) {
            // A long one stands alone, so what is around it is cut apart.
            if inner + 1 < self.chunks.at(chunk).count() {
                chunk = self.split(chunk, inner + 1).0;
            }
            if inner > 0 {
                chunk = self.split(chunk, inner).1;
            }
            let added = self.insert_chunk(chunk, long(item));
            if let Some(replaced) = self.chunks.behind(added) {
                self.remove_chunk(replaced);
            }
            return;
        }
        let encoded = Encoded::of(item);
        let fits = match self.chunks.at(chunk) {
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
        assert!(start + count <= self.len, "the callers look at the length before");
        if count == 0 {
            return None;
        }
        let Position { chunk: first, index } = self.position(start);
        let mut left = count;
        // 1. The end of the first chunk, or a part of it.
        let here = self.chunks.at(first).count();
        let mut whole = Some(first);
        if index > 0 || left < here {
            let removed = left.min(here - index);
            self.remove_from_run(first, index, removed);
            left -= removed;
            whole = self.chunks.behind(first);
        }
        // 2. Whole ones.
        let (mut end, mut chunks) = (whole, 0);
        while let Some(chunk) = end
            && left > 0
            && self.chunks.at(chunk).count() <= left
        {
            left -= self.chunks.at(chunk).count();
            (end, chunks) = (self.chunks.behind(chunk), chunks + 1);
        }
        let removed = match whole {
            Some(from) if chunks > CHUNKS_FREED_AT_ONCE_MAX => Some(self.take_chunks(from, end)),
            _ => {
                // The next one comes to be where the one before it was.
                (0..chunks).for_each(|_| drop(self.remove_chunk(self.position(start).chunk)));
                None
            }
        };
        // 3. The beginning of the last.
        if left > 0 {
            self.remove_from_run(self.position(start).chunk, 0, left);
        }
        if chunks > 0 && self.len > 0 {
            self.chunks.join_around(self.position(start.min(self.len - 1)).chunk);
        }
        removed
    }

    /// Removes up to `count` elements equal to `item`, searched from an end; how many.
    pub fn remove_equal(&mut self, end: End, count: usize, item: &NewItem<'_>) -> usize {
        let encoded = Encoded::of(item);
        let text = item.to_text();
        let first = self.chunks.outer_place(end);
        let (mut removed, mut emptied, mut next) = (0, false, first);
        let mut last = first;
        while let Some(chunk) = next
            && removed < count
        {
            let found = self.edit(chunk, |chunk| {
                let before = chunk.count();
                let found = match chunk {
                    Chunk::Long(bytes) => usize::from(**bytes == *text),
                    Chunk::Run(run) => run.remove_equal(end, count - removed, &encoded),
                };
                if found == before {
                    // It is dropped below, with all others that were emptied.
                    *chunk = Chunk::Run(Run::default());
                    emptied = true;
                }
                found
            });
            self.len -= found;
            removed += found;
            last = next;
            next = match end {
                End::Left => self.chunks.behind(chunk),
                End::Right => self.chunks.before(chunk),
            };
        }
        if let (Some(first), Some(last), true) = (first, last, emptied) {
            self.chunks.drop_empty(first, last);
        }
        removed
    }

    /// Adds what was loaded as one piece, at the end.
    pub fn append(&mut self, chunk: Chunk) {
        if chunk.count() > 0 {
            self.push_chunk(End::Right, chunk);
        }
    }

    /// Checks the counts against the chunks.
    pub fn check_invariants(&self) {
        self.chunks.check_invariants();
        assert_eq!(self.len, self.chunks.iter().map(Chunk::count).sum::<usize>());
        assert_eq!(self.chunk_bytes, self.chunks.iter().map(Chunk::allocated).sum::<usize>());
        for chunk in self.chunks.iter() {
            assert!(chunk.count() > 0);
            if let Chunk::Run(run) = chunk {
                let end = (0..run.count()).fold(0, |at, _| packed::next(run.bytes(), at));
                assert_eq!(end, run.len());
            }
        }
    }

    /// Whether a chunk takes a further element of so many bytes.
    fn has_room(&self, chunk: Place, text_len: usize, limits: ListLimits) -> bool {
        match self.chunks.at(chunk) {
            Chunk::Run(run) => takes(run, text_len, limits),
            Chunk::Long(_) => false,
        }
    }

    fn insert_into(&mut self, chunk: Place, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        let encoded = Encoded::of(item);
        self.edit_run(chunk, |run| run.insert(run.offset_of(index), &encoded, limits.run_bytes_max()));
        self.len += 1;
    }

    /// Cuts a run in two before its element `index`, which is not its first: where the two are.
    fn split(&mut self, chunk: Place, index: usize) -> (Place, Place) {
        let tail = self.edit_run(chunk, |run| run.split_off(run.offset_of(index), index));
        self.len -= tail.count();
        self.fit(chunk);
        self.len += tail.count();
        self.chunk_bytes += tail.allocated();
        let tail = self.chunks.insert_behind(chunk, Chunk::Run(tail));
        (self.chunks.before(tail).unwrap_or(chunk), tail)
    }

    /// Joins chunks next to a place where one was cut, where they fit into one.
    fn join_around(&mut self, chunk: Place, limits: ListLimits) {
        let (mut right, mut pairs) = (chunk, 1);
        while pairs < 3
            && let Some(behind) = self.chunks.behind(right)
        {
            (right, pairs) = (behind, pairs + 1);
        }
        for _ in 0..pairs {
            let Some(left) = self.chunks.before(right) else { break };
            self.join(left, right, limits);
            right = left;
        }
        self.chunks.join_around(right);
    }

    /// Joins two chunks next to each other if they fit into one.
    fn join(&mut self, left: Place, right: Place, limits: ListLimits) {
        let (Chunk::Run(first), Chunk::Run(second)) = (self.chunks.at(left), self.chunks.at(right)) else {
            return;
        };
        let bytes = first.len() + second.len() + LISTPACK_FRAME_BYTES;
        if limits.exceeds(bytes, first.count() + second.count()) {
            return;
        }
        if let Some(Chunk::Run(second)) = self.remove_chunk(right) {
            self.edit_run(left, |run| run.append(&second, limits.run_bytes_max()));
            self.len += second.count();
        }
    }

    /// Changes a chunk, and counts what that allocates. Whoever changes the number of elements counts them.
    fn edit<R>(&mut self, chunk: Place, edit: impl FnOnce(&mut Chunk) -> R) -> R {
        let before = self.chunks.at(chunk).allocated();
        let result = self.chunks.edit(chunk, edit);
        self.chunk_bytes = self.chunk_bytes - before + self.chunks.at(chunk).allocated();
        result
    }

    /// As `edit`, of a chunk that is a run.
    fn edit_run<R>(&mut self, chunk: Place, edit: impl FnOnce(&mut Run) -> R) -> R {
        self.edit(chunk, |chunk| match chunk {
            Chunk::Run(run) => edit(run),
            Chunk::Long(_) => {
                unreachable!("a long element has no inside, and its chunk takes no further one")
            }
        })
    }

    fn fit(&mut self, chunk: Place) {
        self.edit(chunk, |chunk| {
            if let Chunk::Run(run) = chunk {
                run.fit();
            }
        });
    }

    fn push_chunk(&mut self, end: End, chunk: Chunk) {
        self.len += chunk.count();
        self.chunk_bytes += chunk.allocated();
        self.chunks.push(end, chunk);
    }

    /// Puts a chunk in before the one at a place; where it is then.
    fn insert_chunk(&mut self, before: Place, chunk: Chunk) -> Place {
        self.len += chunk.count();
        self.chunk_bytes += chunk.allocated();
        self.chunks.insert(before, chunk)
    }

    fn remove_chunk(&mut self, place: Place) -> Option<Chunk> {
        let chunk = self.chunks.remove(place)?;
        self.len -= chunk.count();
        self.chunk_bytes -= chunk.allocated();
        Some(chunk)
    }

    /// Takes out all chunks from one place to before another, or to the end.
    fn take_chunks(&mut self, from: Place, to: Option<Place>) -> Box<Deque> {
        let chunks = self.chunks.drain(from, to);
        let len = chunks.iter().map(Chunk::count).sum();
        let chunk_bytes = chunks.iter().map(Chunk::allocated).sum();
        self.len -= len;
        self.chunk_bytes -= chunk_bytes;
        Box::new(Deque { chunks, len, chunk_bytes })
    }

    /// Removes `count` elements from element `index` on, but not all that the run has.
    fn remove_from_run(&mut self, chunk: Place, index: usize, count: usize) {
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
}

impl Large for Deque {
    #[inline]
    fn allocated(&self) -> u64 {
        (size_of::<Deque>() + self.chunks.allocated() + self.chunk_bytes) as u64
    }

    fn pieces(&self) -> usize {
        self.chunks.len()
    }

    fn free_pieces(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(last) = self.chunks.outer_place(End::Right) else { break };
            self.remove_chunk(last);
        }
        self.chunks.is_empty()
    }

    /// 1. Itself, 2. the chunk at the end that is used, 3. what is read or written there.
    #[inline]
    fn fetch(&self, step: usize, reach: Reach) {
        let Reach::ListEnd(end) = reach else { return };
        match (step, (step > 0).then(|| self.chunks.outer(end)).flatten()) {
            (0, _) => prefetch((&raw const *self).cast()),
            (1, Some(chunk)) => prefetch((&raw const *chunk).cast()),
            (_, Some(Chunk::Run(run))) => run.fetch(end),
            _ => {}
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
