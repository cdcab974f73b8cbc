//! The chunks of a large list, in order, as a ring of rings.
//!
//! Design: one ring with all chunks would be moved as a whole whenever it grows: 320 MB, in a list of ten million chunks. So a
//! ring takes up to `RING_CHUNKS_MAX` chunks. Pushing goes to the rings at the two ends; one that is full becomes an inner one,
//! as it is. A list of few chunks is one ring, `front`, and costs what a ring costs.
//!
//! ```text
//!   front            middle                                   back
//!   | c c c c |      | c c c c c c | c c c c | c c c c c |    | c c c |       c: a chunk
//!    ring 0            ring 1        ring 2    ring 3          ring 4
//! ```
//!
//! Invariants:
//! - `front` is empty only if there are no chunks, `back` only if there is no `middle`; no inner ring is empty;
//! - an inner ring knows how many elements its chunks have; `len` counts all chunks;
//! - `middle_capacity` is the sum of the inner rings' capacities.
//!
//! Costs: pushing and taking at the ends is O(1), and moves one ring's chunks at most; finding an element by its index looks
//! at the rings and the chunks of one to three of them; a chunk that comes or goes in the middle moves half a ring at most, and
//! the places of the rings, a few bytes for each 1,024 chunks.
//!
//! Not here: what lies in chunks (`chunk`), how elements are shared out to them (`deque`).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::chunk::Chunk;
use super::list::End;

/// Chunks in one ring: 32 KiB of them. Few in tests, which then have many rings.
const RING_CHUNKS_MAX: usize = if cfg!(test) { 8 } else { 1024 };
/// Rings next to each other that have no more than this together become one.
const JOINED_CHUNKS_MAX: usize = RING_CHUNKS_MAX / 2;
/// A ring of more room than this gives some back once most of it is empty.
const RING_KEPT_MIN: usize = RING_CHUNKS_MAX / 32;

/// Chunks in order.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    front: VecDeque<Chunk>,
    middle: VecDeque<Ring>,
    back: VecDeque<Chunk>,
    len: usize,
    middle_capacity: usize,
}

/// An inner ring.
#[derive(Clone, Debug)]
struct Ring {
    chunks: VecDeque<Chunk>,
    /// The number of elements.
    elements: usize,
}

/// Where a chunk is. A chunk that comes or goes before it makes it another one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    ring: usize,
    chunk: usize,
}

impl Rings {
    /// The number of chunks.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated for the rings, without what lies in chunks.
    #[inline]
    pub fn allocated(&self) -> usize {
        (self.front.capacity() + self.middle_capacity + self.back.capacity()) * size_of::<Chunk>()
            + self.middle.capacity() * size_of::<Ring>()
    }

    /// The chunk at an end.
    #[inline]
    pub fn outer(&self, end: End) -> Option<&Chunk> {
        match end {
            End::Left => self.front.front(),
            End::Right if self.back.is_empty() => self.front.back(),
            End::Right => self.back.back(),
        }
    }

    /// The chunk at an end, whose number of elements may be changed.
    #[inline]
    pub fn outer_mut(&mut self, end: End) -> Option<&mut Chunk> {
        match end {
            End::Left => self.front.front_mut(),
            End::Right if self.back.is_empty() => self.front.back_mut(),
            End::Right => self.back.back_mut(),
        }
    }

    /// The place of the chunk at an end, if there is one.
    pub fn outer_place(&self, end: End) -> Option<Place> {
        if self.is_empty() {
            return None;
        }
        let ring = if end == End::Left { 0 } else { self.last_ring() };
        Some(Place { ring, chunk: if end == End::Left { 0 } else { self.ring(ring).len() - 1 } })
    }

    /// All chunks.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        let inner = self.middle.iter().flat_map(|ring| &ring.chunks);
        self.front.iter().chain(inner).chain(&self.back)
    }

    /// The chunk at a place.
    #[inline]
    pub fn at(&self, place: Place) -> &Chunk {
        &self.ring(place.ring)[place.chunk]
    }

    /// The place behind one, if there is a chunk.
    pub fn behind(&self, place: Place) -> Option<Place> {
        let Place { ring, chunk } = place;
        if chunk + 1 < self.ring(ring).len() {
            return Some(Place { ring, chunk: chunk + 1 });
        }
        (ring < self.last_ring()).then_some(Place { ring: ring + 1, chunk: 0 })
    }

    /// The place before one, if there is a chunk.
    pub fn before(&self, place: Place) -> Option<Place> {
        let Place { ring, chunk } = place;
        if chunk > 0 {
            return Some(Place { ring, chunk: chunk - 1 });
        }
        let ring = ring.checked_sub(1)?;
        Some(Place { ring, chunk: self.ring(ring).len() - 1 })
    }

    /// The chunk of the element that is number `index` from an end, and its number in the chunk from that end. There must be
    /// as many elements.
    pub fn find(&self, end: End, index: usize) -> (Place, usize) {
        let (mut left, count) = (index, self.last_ring() + 1);
        for step in 0..count {
            let ring = if end == End::Left { step } else { count - 1 - step };
            if let Some(inner) = self.inner(ring)
                && left >= inner.elements
            {
                left -= inner.elements;
                continue;
            }
            let chunks = self.ring(ring);
            for step in 0..chunks.len() {
                let chunk = if end == End::Left { step } else { chunks.len() - 1 - step };
                match left.checked_sub(chunks[chunk].count()) {
                    Some(rest) => left = rest,
                    None => return (Place { ring, chunk }, left),
                }
            }
        }
        unreachable!(
            "the callers look whether there are as many elements, and the counts of the chunks add up"
        )
    }

    /// Adds a chunk at an end.
    pub fn push(&mut self, end: End, chunk: Chunk) {
        self.len += 1;
        match end {
            End::Left => {
                if self.front.len() >= RING_CHUNKS_MAX {
                    let full = std::mem::take(&mut self.front);
                    if self.back.is_empty() { self.back = full } else { self.put_inner(0, full) }
                }
                self.front.push_front(chunk);
            }
            End::Right if self.back.is_empty() && self.front.len() < RING_CHUNKS_MAX => {
                self.front.push_back(chunk);
            }
            End::Right => {
                if self.back.len() >= RING_CHUNKS_MAX {
                    let full = std::mem::take(&mut self.back);
                    self.put_inner(self.middle.len(), full);
                }
                self.back.push_back(chunk);
            }
        }
    }

    /// Puts a chunk in before the one at a place; where it is then.
    pub fn insert(&mut self, place: Place, chunk: Chunk) -> Place {
        let Place { mut ring, chunk: mut index } = place;
        let full = self.ring(ring).len() >= RING_CHUNKS_MAX;
        if full {
            self.halve(ring);
            let here = self.ring(ring).len();
            if index >= here {
                (ring, index) = (ring + 1, index - here);
            }
        }
        self.len += 1;
        let elements = chunk.count();
        self.change_ring(ring, |chunks| chunks.insert(index, chunk));
        if let Some(inner) = self.inner_mut(ring) {
            inner.elements += elements;
        }
        Place { ring, chunk: index }
    }

    /// Puts a chunk in behind the one at a place; where it is then. The one before it may have another place.
    pub fn insert_behind(&mut self, place: Place, chunk: Chunk) -> Place {
        match self.behind(place) {
            Some(next) => self.insert(next, chunk),
            None => {
                self.push(End::Right, chunk);
                self.outer_place(End::Right).unwrap_or(place)
            }
        }
    }

    /// Changes the chunk at a place.
    #[inline]
    pub fn edit<R>(&mut self, place: Place, edit: impl FnOnce(&mut Chunk) -> R) -> R {
        let Place { ring, chunk } = place;
        let last = self.last_ring();
        if ring == 0 {
            edit(&mut self.front[chunk])
        } else if ring == last {
            edit(&mut self.back[chunk])
        } else {
            let inner = &mut self.middle[ring - 1];
            let before = inner.chunks[chunk].count();
            let result = edit(&mut inner.chunks[chunk]);
            inner.elements = inner.elements - before + inner.chunks[chunk].count();
            result
        }
    }

    /// Takes the chunk at a place out. Places before it stay what they are.
    pub fn remove(&mut self, place: Place) -> Option<Chunk> {
        let Place { ring, chunk } = place;
        let removed = self.change_ring(ring, |chunks| {
            let removed = chunks.remove(chunk)?;
            shrink(chunks);
            Some(removed)
        })?;
        self.len -= 1;
        if let Some(inner) = self.inner_mut(ring) {
            inner.elements -= removed.count();
        }
        if self.ring(ring).is_empty() {
            self.take_ring(ring);
        }
        Some(removed)
    }

    /// Takes the chunk at an end out.
    pub fn pop(&mut self, end: End) -> Option<Chunk> {
        self.remove(self.outer_place(end)?)
    }

    /// Takes out all chunks from one place to before another, or to the end.
    pub fn drain(&mut self, from: Place, to: Option<Place>) -> Rings {
        let mut rings: Vec<Ring> = std::mem::take(self).into_rings().collect();
        let tail = to.map_or_else(Vec::new, |to| cut(&mut rings, to));
        let drained = cut(&mut rings, from);
        *self = Rings::of(rings.into_iter().chain(tail));
        Rings::of(drained.into_iter())
    }

    /// Drops the chunks of some rings that are empty: those between two places, in either order.
    pub fn drop_empty(&mut self, a: Place, b: Place) {
        let rings: RangeInclusive<usize> = a.ring.min(b.ring)..=a.ring.max(b.ring);
        for ring in rings {
            let before = self.ring(ring).len();
            self.change_ring(ring, |chunks| chunks.retain(|chunk| chunk.count() > 0));
            self.len -= before - self.ring(ring).len();
        }
        *self = Rings::of(std::mem::take(self).into_rings());
    }

    /// Joins the rings around a place with their neighbours, where few chunks are left in them.
    pub fn join_around(&mut self, place: Place) {
        for left in [place.ring, place.ring.wrapping_sub(1)] {
            if left >= self.last_ring()
                || self.ring(left).len() + self.ring(left + 1).len() > JOINED_CHUNKS_MAX
            {
                continue;
            }
            let elements = self.inner(left + 1).map(|inner| inner.elements);
            let mut chunks = self.take_ring(left + 1);
            let elements = elements.unwrap_or_else(|| chunks.iter().map(Chunk::count).sum());
            self.change_ring(left, |joined| joined.append(&mut chunks));
            if let Some(inner) = self.inner_mut(left) {
                inner.elements += elements;
            }
        }
    }

    /// Checks what is counted against what is there.
    pub fn check_invariants(&self) {
        assert_eq!(self.len, self.iter().count());
        assert!(!self.front.is_empty() || self.len == 0);
        assert!(!self.back.is_empty() || self.middle.is_empty());
        assert_eq!(
            self.middle_capacity,
            self.middle.iter().map(|ring| ring.chunks.capacity()).sum::<usize>()
        );
        for ring in &self.middle {
            assert!(!ring.chunks.is_empty());
            assert_eq!(ring.elements, ring.chunks.iter().map(Chunk::count).sum::<usize>());
        }
    }

    /// Rings in order, of which some may be empty or have very few chunks.
    fn of(rings: impl Iterator<Item = Ring>) -> Rings {
        let mut kept: VecDeque<Ring> = VecDeque::new();
        for mut ring in rings.filter(|ring| !ring.chunks.is_empty()) {
            match kept.back_mut() {
                Some(last) if last.chunks.len() + ring.chunks.len() <= JOINED_CHUNKS_MAX => {
                    last.chunks.append(&mut ring.chunks);
                    last.elements += ring.elements;
                }
                _ => kept.push_back(ring),
            }
        }
        for Ring { chunks, .. } in &mut kept {
            shrink(chunks);
        }
        let mut outer = || kept.pop_front().map_or_else(VecDeque::new, |ring| ring.chunks);
        let front = outer();
        let back = kept.pop_back().map_or_else(VecDeque::new, |ring| ring.chunks);
        let mut rings = Rings { front, middle: kept, back, len: 0, middle_capacity: 0 };
        rings.middle_capacity = rings.middle.iter().map(|ring| ring.chunks.capacity()).sum();
        let inner_len: usize = rings.middle.iter().map(|ring| ring.chunks.len()).sum();
        rings.len = rings.front.len() + inner_len + rings.back.len();
        rings
    }

    fn into_rings(self) -> impl Iterator<Item = Ring> {
        std::iter::once(Ring::new(self.front)).chain(self.middle).chain(std::iter::once(Ring::new(self.back)))
    }

    /// The number of the ring at the right end.
    #[inline]
    fn last_ring(&self) -> usize {
        if self.back.is_empty() { 0 } else { self.middle.len() + 1 }
    }

    #[inline]
    fn ring(&self, ring: usize) -> &VecDeque<Chunk> {
        match self.inner(ring) {
            Some(inner) => &inner.chunks,
            None if ring == 0 => &self.front,
            None => &self.back,
        }
    }

    #[inline]
    fn inner(&self, ring: usize) -> Option<&Ring> {
        self.middle.get(ring.wrapping_sub(1))
    }

    fn inner_mut(&mut self, ring: usize) -> Option<&mut Ring> {
        self.middle.get_mut(ring.wrapping_sub(1))
    }

    /// Changes a ring, and counts its room. Whoever changes the number of elements or chunks counts them.
    fn change_ring<R>(&mut self, ring: usize, change: impl FnOnce(&mut VecDeque<Chunk>) -> R) -> R {
        let Some(inner) = self.middle.get_mut(ring.wrapping_sub(1)) else {
            return change(if ring == 0 { &mut self.front } else { &mut self.back });
        };
        let before = inner.chunks.capacity();
        let result = change(&mut inner.chunks);
        self.middle_capacity = self.middle_capacity - before + inner.chunks.capacity();
        result
    }

    /// Makes a ring an inner one, `index` of them before it.
    fn put_inner(&mut self, index: usize, chunks: VecDeque<Chunk>) {
        self.middle_capacity += chunks.capacity();
        self.middle.insert(index, Ring::new(chunks));
    }

    /// Takes a ring out. Those before it keep their numbers, those behind it move up.
    fn take_ring(&mut self, ring: usize) -> VecDeque<Chunk> {
        if let Some(inner) = self.middle.remove(ring.wrapping_sub(1)) {
            self.middle_capacity -= inner.chunks.capacity();
            return inner.chunks;
        }
        let next = if ring == 0 { self.middle.pop_front() } else { self.middle.pop_back() };
        let next = match next {
            Some(next) => {
                self.middle_capacity -= next.chunks.capacity();
                next.chunks
            }
            None if ring == 0 => std::mem::take(&mut self.back),
            None => VecDeque::new(),
        };
        std::mem::replace(if ring == 0 { &mut self.front } else { &mut self.back }, next)
    }

    /// Makes two rings of one.
    fn halve(&mut self, ring: usize) {
        let half = self.ring(ring).len() / 2;
        let upper = self.change_ring(ring, |chunks| chunks.split_off(half));
        let is_inner = self.inner(ring).is_some();
        if let Some(inner) = self.inner_mut(ring) {
            inner.elements = inner.chunks.iter().map(Chunk::count).sum();
        }
        if is_inner || ring == 0 && !self.back.is_empty() {
            self.put_inner(ring, upper);
        } else if ring == 0 {
            self.back = upper;
        } else {
            let lower = std::mem::replace(&mut self.back, upper);
            self.put_inner(self.middle.len(), lower);
        }
    }
}

impl Ring {
    fn new(chunks: VecDeque<Chunk>) -> Ring {
        let elements = chunks.iter().map(Chunk::count).sum();
        Ring { chunks, elements }
    }
}

/// Takes all chunks from a place on out of rings that are numbered from 0 on.
fn cut(rings: &mut Vec<Ring>, from: Place) -> Vec<Ring> {
    let mut behind = rings.split_off(from.ring);
    if let Some(first) = behind.first_mut() {
        let tail = Ring::new(first.chunks.split_off(from.chunk));
        let head = std::mem::replace(first, tail);
        rings.push(Ring::new(head.chunks));
    }
    behind
}

/// Gives room of a ring back once most of it is empty.
fn shrink(chunks: &mut VecDeque<Chunk>) {
    if chunks.capacity() > RING_KEPT_MIN && chunks.len() < chunks.capacity() / 4 {
        chunks.shrink_to(chunks.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NewItem;
    use super::super::chunk::Run;
    use super::super::packed::Encoded;
    use super::*;

    /// A chunk of some elements, which all are `mark`.
    fn chunk(count: usize, mark: i64) -> Chunk {
        let mut run = Run::default();
        (0..count).for_each(|_| run.insert(0, &Encoded::of(&NewItem::Int(mark)), 100));
        Chunk::Run(run)
    }

    /// What tells chunks apart.
    fn face(chunk: &Chunk) -> (usize, Vec<u8>) {
        match chunk {
            Chunk::Run(run) => (run.count(), run.bytes().to_vec()),
            Chunk::Long(_) => unreachable!("none is made here"),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool, usize),
        Pop(bool),
        Insert(prop::sample::Index, usize),
        Remove(prop::sample::Index),
        Grow(prop::sample::Index),
        Drain(prop::sample::Index, prop::sample::Index),
        Empty(prop::sample::Index, prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let index = any::<prop::sample::Index>;
        let step = prop_oneof![
            6 => (any::<bool>(), 1usize..4).prop_map(|(left, count)| Step::Push(left, count)),
            2 => any::<bool>().prop_map(Step::Pop),
            4 => (index(), 1usize..4).prop_map(|(at, count)| Step::Insert(at, count)),
            3 => index().prop_map(Step::Remove),
            2 => index().prop_map(Step::Grow),
            1 => (index(), index()).prop_map(|(from, to)| Step::Drain(from, to)),
            1 => (index(), index()).prop_map(|(from, to)| Step::Empty(from, to)),
        ];
        prop::collection::vec(step, 0..300)
    }

    /// The place of chunk `index`.
    fn place(rings: &Rings, index: usize) -> Place {
        let first = rings.outer_place(End::Left).expect("there are chunks");
        (0..index).fold(first, |place, _| rings.behind(place).expect("there are as many"))
    }

    fn end(left: bool) -> End {
        if left { End::Left } else { End::Right }
    }

    /// Does the same to both.
    fn apply(rings: &mut Rings, twin: &mut Vec<Chunk>, step: &Step, mark: i64) {
        let new = |count: &usize| chunk(*count, mark);
        match step {
            Step::Push(left, count) => {
                rings.push(end(*left), new(count));
                twin.insert(if *left { 0 } else { twin.len() }, new(count));
            }
            Step::Pop(left) if !twin.is_empty() => {
                let popped = rings.pop(end(*left)).expect("there is one");
                let wanted = twin.remove(if *left { 0 } else { twin.len() - 1 });
                assert_eq!(face(&popped), face(&wanted));
            }
            Step::Insert(at, count) if !twin.is_empty() => {
                let at = at.index(twin.len());
                let place = rings.insert(place(rings, at), new(count));
                twin.insert(at, new(count));
                assert_eq!(face(rings.at(place)), face(&twin[at]));
                let behind = rings.insert_behind(place, new(count));
                twin.insert(at + 1, new(count));
                let before = rings.before(behind).expect("the one it was put behind");
                assert_eq!(face(rings.at(before)), face(&twin[at]));
            }
            Step::Remove(at) if !twin.is_empty() => {
                let at = at.index(twin.len());
                let place = place(rings, at);
                rings.remove(place);
                twin.remove(at);
                rings.join_around(place);
            }
            Step::Grow(at) if !twin.is_empty() => {
                let at = at.index(twin.len());
                let count = twin[at].count() + 1;
                twin[at] = chunk(count, mark);
                rings.edit(place(rings, at), |found| *found = chunk(count, mark));
            }
            Step::Drain(a, b) if !twin.is_empty() => {
                let (a, b) = (a.index(twin.len()), b.index(twin.len() + 1));
                let (from, to) = (a.min(b), a.max(b));
                let behind = (to < twin.len()).then(|| place(rings, to));
                let drained = rings.drain(place(rings, from.min(twin.len() - 1)), behind);
                let wanted: Vec<Chunk> = twin.drain(from.min(twin.len() - 1)..to).collect();
                drained.check_invariants();
                assert!(drained.iter().map(face).eq(wanted.iter().map(face)));
            }
            Step::Empty(a, b) if !twin.is_empty() => {
                let (a, b) = (a.index(twin.len()), b.index(twin.len()));
                for at in a.min(b)..=a.max(b) {
                    rings.edit(place(rings, at), |found| *found = chunk(0, 0));
                }
                rings.drop_empty(place(rings, a), place(rings, b));
                twin.drain(a.min(b)..=a.max(b));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn rings_are_like_one_vector(steps in steps()) {
            let (mut rings, mut twin) = (Rings::default(), Vec::new());
            for (mark, step) in steps.iter().enumerate() {
                apply(&mut rings, &mut twin, step, mark as i64);
                rings.check_invariants();
                prop_assert!(rings.iter().map(face).eq(twin.iter().map(face)));
                prop_assert!(rings.iter().rev().map(face).eq(twin.iter().rev().map(face)));
                let outer = [End::Left, End::Right].map(|end| rings.outer(end).map(face));
                prop_assert_eq!(outer, [twin.first().map(face), twin.last().map(face)]);
            }
            let elements: Vec<usize> =
                twin.iter().enumerate().flat_map(|(index, chunk)| vec![index; chunk.count()]).collect();
            for (index, chunk) in elements.iter().enumerate() {
                let before = elements[..index].iter().filter(|other| *other == chunk).count();
                prop_assert_eq!(rings.find(End::Left, index), (place(&rings, *chunk), before));
                let (found, from_right) = rings.find(End::Right, elements.len() - 1 - index);
                prop_assert_eq!(found, place(&rings, *chunk));
                prop_assert_eq!(from_right, twin[*chunk].count() - 1 - before);
            }
        }
    }
    /// A ring of all chunks was moved as a whole when it grew: a push to a list of ten million one-element chunks took 119 ms.
    #[test]
    fn growing_moves_few_chunks() {
        let mut rings = Rings::default();
        for count in 0..50_000 {
            let before = rings.allocated();
            rings.push(if count % 2 == 0 { End::Left } else { End::Right }, chunk(1, 1));
            let ring_bytes = RING_CHUNKS_MAX * size_of::<Chunk>();
            assert!(rings.allocated() - before <= ring_bytes + count * size_of::<Chunk>() / 4);
        }
    }
}
