//! The nodes of a large list, in order, as a ring of rings.
//!
//! Design: one ring with all nodes would be moved as a whole whenever it grows: 320 MB, in a list of ten million nodes. So a
//! ring takes up to `RING_NODES_MAX` nodes. Pushing goes to the rings at the two ends; one that is full becomes an inner one,
//! as it is. A list of few nodes is one ring, `front`, and costs what a ring costs.
//!
//! ```text
//!   front            middle                                   back
//!   | c c c c |      | c c c c c c | c c c c | c c c c c |    | c c c |       c: a node
//!    ring 0            ring 1        ring 2    ring 3          ring 4
//! ```
//!
//! Invariants:
//! - `front` is empty only if there are no nodes, `back` only if there is no `middle`; no inner ring is empty;
//! - an inner ring knows how many elements its nodes have; `len` counts all nodes;
//! - `middle_capacity` is the sum of the inner rings' capacities.
//!
//! Costs: pushing and taking at the ends is O(1), and moves one ring's nodes at most; finding an element by its index looks
//! at the rings and the nodes of one to three of them; a node that comes or goes in the middle moves half a ring at most, and
//! the places of the rings, a few bytes for each 1,024 nodes.
//!
//! Not here: what lies in nodes (`node`), how elements are shared out to them (`deque`).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::list::End;
use super::node::Node;

/// Nodes in one ring: 32 KiB of them. Few in tests, which then have many rings.
const RING_NODES_MAX: usize = if cfg!(test) { 8 } else { 1024 };
/// Rings next to each other that have no more than this together become one.
const JOINED_NODES_MAX: usize = RING_NODES_MAX / 2;
/// A ring of more room than this gives some back once most of it is empty.
const RING_KEPT_MIN: usize = RING_NODES_MAX / 32;

/// Nodes in order.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    front: VecDeque<Node>,
    middle: VecDeque<Ring>,
    back: VecDeque<Node>,
    len: usize,
    middle_capacity: usize,
}

/// An inner ring.
#[derive(Clone, Debug)]
struct Ring {
    nodes: VecDeque<Node>,
    /// The number of elements.
    elements: usize,
}

/// Where a node is. A node that comes or goes before it makes it another one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    ring: usize,
    node: usize,
}

impl Rings {
    /// The number of nodes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated for the rings, without what lies in nodes.
    #[inline]
    pub fn allocated(&self) -> usize {
        (self.front.capacity() + self.middle_capacity + self.back.capacity()) * size_of::<Node>()
            + self.middle.capacity() * size_of::<Ring>()
    }

    /// The node at an end.
    #[inline]
    pub fn outer(&self, end: End) -> Option<&Node> {
        match end {
            End::Left => self.front.front(),
            End::Right if self.back.is_empty() => self.front.back(),
            End::Right => self.back.back(),
        }
    }

    /// The node at an end, whose number of elements may be changed.
    #[inline]
    pub fn outer_mut(&mut self, end: End) -> Option<&mut Node> {
        match end {
            End::Left => self.front.front_mut(),
            End::Right if self.back.is_empty() => self.front.back_mut(),
            End::Right => self.back.back_mut(),
        }
    }

    /// The place of the node at an end, if there is one.
    pub fn outer_place(&self, end: End) -> Option<Place> {
        if self.is_empty() {
            return None;
        }
        let ring = if end == End::Left { 0 } else { self.last_ring() };
        Some(Place { ring, node: if end == End::Left { 0 } else { self.ring(ring).len() - 1 } })
    }

    /// All nodes.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Node> {
        let inner = self.middle.iter().flat_map(|ring| &ring.nodes);
        self.front.iter().chain(inner).chain(&self.back)
    }

    /// The node at a place.
    #[inline]
    pub fn at(&self, place: Place) -> &Node {
        &self.ring(place.ring)[place.node]
    }

    /// The place behind one, if there is a node.
    pub fn behind(&self, place: Place) -> Option<Place> {
        let Place { ring, node } = place;
        if node + 1 < self.ring(ring).len() {
            return Some(Place { ring, node: node + 1 });
        }
        (ring < self.last_ring()).then_some(Place { ring: ring + 1, node: 0 })
    }

    /// The place before one, if there is a node.
    pub fn before(&self, place: Place) -> Option<Place> {
        let Place { ring, node } = place;
        if node > 0 {
            return Some(Place { ring, node: node - 1 });
        }
        let ring = ring.checked_sub(1)?;
        Some(Place { ring, node: self.ring(ring).len() - 1 })
    }

    /// The node of the element that is number `index` from an end, and its number in the node from that end. There must be
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
            let nodes = self.ring(ring);
            for step in 0..nodes.len() {
                let node = if end == End::Left { step } else { nodes.len() - 1 - step };
                match left.checked_sub(nodes[node].count()) {
                    Some(rest) => left = rest,
                    None => return (Place { ring, node }, left),
                }
            }
        }
        unreachable!(
            "the callers look whether there are as many elements, and the counts of the chunks add up"
        )
    }

    /// Adds a node at an end.
    pub fn push(&mut self, end: End, node: Node) {
        self.len += 1;
        match end {
            End::Left => {
                if self.front.len() >= RING_NODES_MAX {
                    let full = std::mem::take(&mut self.front);
                    if self.back.is_empty() { self.back = full } else { self.put_inner(0, full) }
                }
                self.front.push_front(node);
            }
            End::Right if self.back.is_empty() && self.front.len() < RING_NODES_MAX => {
                self.front.push_back(node);
            }
            End::Right => {
                if self.back.len() >= RING_NODES_MAX {
                    let full = std::mem::take(&mut self.back);
                    self.put_inner(self.middle.len(), full);
                }
                self.back.push_back(node);
            }
        }
    }

    /// Puts a node in before the one at a place; where it is then.
    pub fn insert(&mut self, place: Place, node: Node) -> Place {
        let Place { mut ring, node: mut index } = place;
        let full = self.ring(ring).len() >= RING_NODES_MAX;
        if full {
            self.halve(ring);
            let here = self.ring(ring).len();
            if index >= here {
                (ring, index) = (ring + 1, index - here);
            }
        }
        self.len += 1;
        let elements = node.count();
        self.change_ring(ring, |nodes| nodes.insert(index, node));
        if let Some(inner) = self.inner_mut(ring) {
            inner.elements += elements;
        }
        Place { ring, node: index }
    }

    /// Puts a node in behind the one at a place; where it is then. The one before it may have another place.
    pub fn insert_behind(&mut self, place: Place, node: Node) -> Place {
        match self.behind(place) {
            Some(next) => self.insert(next, node),
            None => {
                self.push(End::Right, node);
                self.outer_place(End::Right).unwrap_or(place)
            }
        }
    }

    /// Changes the node at a place.
    #[inline]
    pub fn edit<R>(&mut self, place: Place, edit: impl FnOnce(&mut Node) -> R) -> R {
        let Place { ring, node } = place;
        let last = self.last_ring();
        if ring == 0 {
            edit(&mut self.front[node])
        } else if ring == last {
            edit(&mut self.back[node])
        } else {
            let inner = &mut self.middle[ring - 1];
            let before = inner.nodes[node].count();
            let result = edit(&mut inner.nodes[node]);
            inner.elements = inner.elements - before + inner.nodes[node].count();
            result
        }
    }

    /// Takes the node at a place out. Places before it stay what they are.
    pub fn remove(&mut self, place: Place) -> Option<Node> {
        let Place { ring, node } = place;
        let removed = self.change_ring(ring, |nodes| {
            let removed = nodes.remove(node)?;
            shrink(nodes);
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

    /// Takes the node at an end out.
    pub fn pop(&mut self, end: End) -> Option<Node> {
        self.remove(self.outer_place(end)?)
    }

    /// Takes out all nodes from one place to before another, or to the end.
    pub fn drain(&mut self, from: Place, to: Option<Place>) -> Rings {
        let mut rings: Vec<Ring> = std::mem::take(self).into_rings().collect();
        let tail = to.map_or_else(Vec::new, |to| cut(&mut rings, to));
        let drained = cut(&mut rings, from);
        *self = Rings::of(rings.into_iter().chain(tail));
        Rings::of(drained.into_iter())
    }

    /// Drops the nodes of some rings that are empty: those between two places, in either order.
    pub fn drop_empty(&mut self, a: Place, b: Place) {
        let rings: RangeInclusive<usize> = a.ring.min(b.ring)..=a.ring.max(b.ring);
        for ring in rings {
            let before = self.ring(ring).len();
            self.change_ring(ring, |nodes| nodes.retain(|node| node.count() > 0));
            self.len -= before - self.ring(ring).len();
        }
        *self = Rings::of(std::mem::take(self).into_rings());
    }

    /// Joins the rings around a place with their neighbours, where few nodes are left in them.
    pub fn join_around(&mut self, place: Place) {
        for left in [place.ring, place.ring.wrapping_sub(1)] {
            if left >= self.last_ring()
                || self.ring(left).len() + self.ring(left + 1).len() > JOINED_NODES_MAX
            {
                continue;
            }
            let elements = self.inner(left + 1).map(|inner| inner.elements);
            let mut nodes = self.take_ring(left + 1);
            let elements = elements.unwrap_or_else(|| nodes.iter().map(Node::count).sum());
            self.change_ring(left, |joined| joined.append(&mut nodes));
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
        assert_eq!(self.middle_capacity, self.middle.iter().map(|ring| ring.nodes.capacity()).sum::<usize>());
        for ring in &self.middle {
            assert!(!ring.nodes.is_empty());
            assert_eq!(ring.elements, ring.nodes.iter().map(Node::count).sum::<usize>());
        }
    }

    /// Rings in order, of which some may be empty or have very few nodes.
    fn of(rings: impl Iterator<Item = Ring>) -> Rings {
        let mut kept: VecDeque<Ring> = VecDeque::new();
        for mut ring in rings.filter(|ring| !ring.nodes.is_empty()) {
            match kept.back_mut() {
                Some(last) if last.nodes.len() + ring.nodes.len() <= JOINED_NODES_MAX => {
                    last.nodes.append(&mut ring.nodes);
                    last.elements += ring.elements;
                }
                _ => kept.push_back(ring),
            }
        }
        for Ring { nodes, .. } in &mut kept {
            shrink(nodes);
        }
        let mut outer = || kept.pop_front().map_or_else(VecDeque::new, |ring| ring.nodes);
        let front = outer();
        let back = kept.pop_back().map_or_else(VecDeque::new, |ring| ring.nodes);
        let mut rings = Rings { front, middle: kept, back, len: 0, middle_capacity: 0 };
        rings.middle_capacity = rings.middle.iter().map(|ring| ring.nodes.capacity()).sum();
        let inner_len: usize = rings.middle.iter().map(|ring| ring.nodes.len()).sum();
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
    fn ring(&self, ring: usize) -> &VecDeque<Node> {
        match self.inner(ring) {
            Some(inner) => &inner.nodes,
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

    /// Changes a ring, and counts its room. Whoever changes the number of elements or nodes counts them.
    fn change_ring<R>(&mut self, ring: usize, change: impl FnOnce(&mut VecDeque<Node>) -> R) -> R {
        let Some(inner) = self.middle.get_mut(ring.wrapping_sub(1)) else {
            return change(if ring == 0 { &mut self.front } else { &mut self.back });
        };
        let before = inner.nodes.capacity();
        let result = change(&mut inner.nodes);
        self.middle_capacity = self.middle_capacity - before + inner.nodes.capacity();
        result
    }

    /// Makes a ring an inner one, `index` of them before it.
    fn put_inner(&mut self, index: usize, nodes: VecDeque<Node>) {
        self.middle_capacity += nodes.capacity();
        self.middle.insert(index, Ring::new(nodes));
    }

    /// Takes a ring out. Those before it keep their numbers, those behind it move up.
    fn take_ring(&mut self, ring: usize) -> VecDeque<Node> {
        if let Some(inner) = self.middle.remove(ring.wrapping_sub(1)) {
            self.middle_capacity -= inner.nodes.capacity();
            return inner.nodes;
        }
        let next = if ring == 0 { self.middle.pop_front() } else { self.middle.pop_back() };
        let next = match next {
            Some(next) => {
                self.middle_capacity -= next.nodes.capacity();
                next.nodes
            }
            None if ring == 0 => std::mem::take(&mut self.back),
            None => VecDeque::new(),
        };
        std::mem::replace(if ring == 0 { &mut self.front } else { &mut self.back }, next)
    }

    /// Makes two rings of one.
    fn halve(&mut self, ring: usize) {
        let half = self.ring(ring).len() / 2;
        let upper = self.change_ring(ring, |nodes| nodes.split_off(half));
        let is_inner = self.inner(ring).is_some();
        if let Some(inner) = self.inner_mut(ring) {
            inner.elements = inner.nodes.iter().map(Node::count).sum();
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
    fn new(nodes: VecDeque<Node>) -> Ring {
        let elements = nodes.iter().map(Node::count).sum();
        Ring { nodes, elements }
    }
}

/// Takes all nodes from a place on out of rings that are numbered from 0 on.
fn cut(rings: &mut Vec<Ring>, from: Place) -> Vec<Ring> {
    let mut behind = rings.split_off(from.ring);
    if let Some(first) = behind.first_mut() {
        let tail = Ring::new(first.nodes.split_off(from.node));
        let head = std::mem::replace(first, tail);
        rings.push(Ring::new(head.nodes));
    }
    behind
}

/// Gives room of a ring back once most of it is empty.
fn shrink(nodes: &mut VecDeque<Node>) {
    if nodes.capacity() > RING_KEPT_MIN && nodes.len() < nodes.capacity() / 4 {
        nodes.shrink_to(nodes.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NewItem;
    use super::super::node::Listpack;
    use super::super::packed::Encoded;
    use super::*;

    /// A node of some elements, which all are `mark`.
    fn node(count: usize, mark: i64) -> Node {
        let mut body = Listpack::default();
        (0..count).for_each(|_| body.insert(0, &Encoded::of(&NewItem::Int(mark)), 100));
        Node::Listpack(body)
    }

    /// What tells nodes apart.
    fn face(node: &Node) -> (usize, Vec<u8>) {
        match node {
            Node::Listpack(body) => (body.count(), body.bytes().to_vec()),
            Node::Long(_) => unreachable!("none is made here"),
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

    /// The place of node `index`.
    fn place(rings: &Rings, index: usize) -> Place {
        let first = rings.outer_place(End::Left).expect("there are chunks");
        (0..index).fold(first, |place, _| rings.behind(place).expect("there are as many"))
    }

    fn end(left: bool) -> End {
        if left { End::Left } else { End::Right }
    }

    /// Does the same to both.
    fn apply(rings: &mut Rings, model: &mut Vec<Node>, step: &Step, mark: i64) {
        let new = |count: &usize| node(*count, mark);
        match step {
            Step::Push(left, count) => {
                rings.push(end(*left), new(count));
                model.insert(if *left { 0 } else { model.len() }, new(count));
            }
            Step::Pop(left) if !model.is_empty() => {
                let popped = rings.pop(end(*left)).expect("there is one");
                let wanted = model.remove(if *left { 0 } else { model.len() - 1 });
                assert_eq!(face(&popped), face(&wanted));
            }
            Step::Insert(at, count) if !model.is_empty() => {
                let at = at.index(model.len());
                let place = rings.insert(place(rings, at), new(count));
                model.insert(at, new(count));
                assert_eq!(face(rings.at(place)), face(&model[at]));
                let behind = rings.insert_behind(place, new(count));
                model.insert(at + 1, new(count));
                let before = rings.before(behind).expect("the one it was put behind");
                assert_eq!(face(rings.at(before)), face(&model[at]));
            }
            Step::Remove(at) if !model.is_empty() => {
                let at = at.index(model.len());
                let place = place(rings, at);
                rings.remove(place);
                model.remove(at);
                rings.join_around(place);
            }
            Step::Grow(at) if !model.is_empty() => {
                let at = at.index(model.len());
                let count = model[at].count() + 1;
                model[at] = node(count, mark);
                rings.edit(place(rings, at), |found| *found = node(count, mark));
            }
            Step::Drain(a, b) if !model.is_empty() => {
                let (a, b) = (a.index(model.len()), b.index(model.len() + 1));
                let (from, to) = (a.min(b), a.max(b));
                let behind = (to < model.len()).then(|| place(rings, to));
                let drained = rings.drain(place(rings, from.min(model.len() - 1)), behind);
                let wanted: Vec<Node> = model.drain(from.min(model.len() - 1)..to).collect();
                drained.check_invariants();
                assert!(drained.iter().map(face).eq(wanted.iter().map(face)));
            }
            Step::Empty(a, b) if !model.is_empty() => {
                let (a, b) = (a.index(model.len()), b.index(model.len()));
                for at in a.min(b)..=a.max(b) {
                    rings.edit(place(rings, at), |found| *found = node(0, 0));
                }
                rings.drop_empty(place(rings, a), place(rings, b));
                model.drain(a.min(b)..=a.max(b));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn rings_are_like_one_vector(steps in steps()) {
            let (mut rings, mut model) = (Rings::default(), Vec::new());
            for (mark, step) in steps.iter().enumerate() {
                apply(&mut rings, &mut model, step, mark as i64);
                rings.check_invariants();
                prop_assert!(rings.iter().map(face).eq(model.iter().map(face)));
                prop_assert!(rings.iter().rev().map(face).eq(model.iter().rev().map(face)));
                let outer = [End::Left, End::Right].map(|end| rings.outer(end).map(face));
                prop_assert_eq!(outer, [model.first().map(face), model.last().map(face)]);
            }
            let elements: Vec<usize> =
                model.iter().enumerate().flat_map(|(index, node)| vec![index; node.count()]).collect();
            for (index, node) in elements.iter().enumerate() {
                let before = elements[..index].iter().filter(|other| *other == node).count();
                prop_assert_eq!(rings.find(End::Left, index), (place(&rings, *node), before));
                let (found, from_right) = rings.find(End::Right, elements.len() - 1 - index);
                prop_assert_eq!(found, place(&rings, *node));
                prop_assert_eq!(from_right, model[*node].count() - 1 - before);
            }
        }
    }
    /// A ring of all nodes was moved as a whole when it grew: a push to a list of ten million one-element nodes took 119 ms.
    #[test]
    fn growing_moves_few_nodes() {
        let mut rings = Rings::default();
        for count in 0..50_000 {
            let before = rings.allocated();
            rings.push(if count % 2 == 0 { End::Left } else { End::Right }, node(1, 1));
            let ring_bytes = RING_NODES_MAX * size_of::<Node>();
            assert!(rings.allocated() - before <= ring_bytes + count * size_of::<Node>() / 4);
        }
    }
}
