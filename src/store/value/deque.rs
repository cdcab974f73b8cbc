//! A large list: a deque of nodes of packed elements.
//!
//! Design: as Redis's quicklist, but the nodes lie in ring buffers instead of a linked list, so that finding an element
//! by its index reads neighbouring words. Elements are shared out to nodes by the same rules as in Redis, so that what
//! is dumped is cut into the same nodes: an element goes into the node at its end of the list if that is not full; one longer
//! than a node may be gets a node of its own.
//!
//! Invariants:
//! - no node is empty; `len` is the sum of their counts;
//! - `node_bytes` is the sum of what they allocated.
//!
//! Costs: pushing and taking at the ends is O(1); by index, what finding a node costs (`rings`) and then a node's elements at
//! most; changes in the middle move a node's bytes, and half a ring if a node comes or goes.
//!
//! Not here: how nodes lie (`rings`), small lists (`list_mut`), what they share with large ones (`list`).

use bytes::Bytes;

use super::external::Large;
use super::list::{End, ListLimits, Side};
use super::node::{Listpack, Node};
use super::packed::{Encoded, LISTPACK_FRAME_BYTES};
use super::rings::{Place, Rings};
use super::{Item, NewItem, packed};
use crate::store::fetch::PrefetchHint;
use crate::store::table::prefetch;

/// More nodes than that are not freed by the command that removes them.
const NODES_FREED_AT_ONCE_MAX: usize = 64;

/// What Redis reckons an element takes beyond its text at most.
const ELEMENT_OVERHEAD_BYTES: usize = 8;

/// The nodes of a list.
#[derive(Clone, Debug)]
pub struct Deque {
    /// Those of when it was made, which it keeps, as lists of Redis do.
    limits: ListLimits,
    nodes: Rings,
    len: usize,
    node_bytes: usize,
}

/// Where an element is, or would be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The node's place.
    pub node: Place,
    /// The element's number in it.
    pub index: usize,
}

impl Deque {
    /// A deque without elements.
    pub fn new(limits: ListLimits) -> Deque {
        Deque { limits, nodes: Rings::default(), len: 0, node_bytes: 0 }
    }

    /// A deque with the elements of one body.
    pub fn from_body(body: &[u8], count: usize, limits: ListLimits) -> Deque {
        let mut deque = Deque::new(limits);
        if count > 0 {
            deque.push_node(End::Right, Node::Listpack(Listpack::from_bytes(body, count)));
        }
        deque
    }

    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its nodes.
    #[inline]
    pub fn nodes(&self) -> &Rings {
        &self.nodes
    }

    /// Its only body, if it is just one.
    pub fn only_body(&self) -> Option<&Listpack> {
        match (self.nodes.len(), self.nodes.outer(End::Left)) {
            (1, Some(Node::Listpack(body))) => Some(body),
            _ => None,
        }
    }

    /// Where element `index` is, searched from the nearer end. It must exist.
    pub fn position(&self, index: usize) -> Position {
        assert!(index < self.len, "the callers look at the length before");
        if index < self.len / 2 {
            let (node, index) = self.nodes.find(End::Left, index);
            return Position { node, index };
        }
        let (node, from_right) = self.nodes.find(End::Right, self.len - 1 - index);
        Position { node, index: self.nodes.at(node).count() - 1 - from_right }
    }

    /// The element at a position.
    pub fn item(&self, at: Position) -> Item<'_> {
        match self.nodes.at(at.node) {
            Node::Long(bytes) => Item::Blob(bytes),
            Node::Listpack(body) => packed::item(body.bytes(), body.offset_of(at.index)).0,
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, item: &NewItem<'_>) {
        if let Some(Node::Listpack(body)) = self.nodes.outer_mut(end)
            && takes(body, item.text_len(), self.limits)
            && body.extend(end, &Encoded::of(item))
        {
            self.len += 1;
        } else {
            self.push_further(end, item);
        }
    }

    /// Adds an element for which there is no room in the buffer at that end.
    #[cold]
    fn push_further(&mut self, end: End, item: &NewItem<'_>) {
        let limits = self.limits;
        let text_len = item.text_len();
        if limits.is_long(text_len) {
            return self.push_node(end, long(item));
        }
        let outer = self.nodes.outer_place(end);
        let Some(outer) = outer.filter(|outer| self.has_room(*outer, text_len)) else {
            if let Some(outer) = outer {
                self.fit(outer);
            }
            return self.push_node(end, new_body(item, self.limits));
        };
        let encoded = Encoded::of(item);
        self.edit_body(outer, |body| {
            let at = if end == End::Left { 0 } else { body.len() };
            body.insert(at, &encoded, limits.body_bytes_max());
        });
        self.len += 1;
    }

    /// Adds an element beside another one, where Redis does:
    /// 1. into the same node, if there is room;
    /// 2. at an end of that node: into the neighbouring node, or into one of its own;
    /// 3. else the node is cut in two, and it goes to the part without the other one, or between them if it is long.
    pub fn insert(&mut self, pivot: usize, side: Side, item: &NewItem<'_>) {
        let text_len = item.text_len();
        let is_long = self.limits.is_long(text_len);
        let Position { node, index } = self.position(pivot);
        let at = index + usize::from(side == Side::After);
        // 1.
        if !is_long && self.has_room(node, text_len) {
            return self.insert_into(node, at, item);
        }
        // 2.
        if at == 0 || at == self.nodes.at(node).count() {
            return self.insert_beside(node, side, item);
        }
        // 3.
        let (head, tail) = self.split(node, at);
        if is_long {
            self.insert_node(tail, long(item));
            return;
        }
        match side {
            Side::Before => self.insert_into(head, at, item),
            Side::After => self.insert_into(tail, 0, item),
        }
        self.join_around(pivot + usize::from(side == Side::Before));
    }

    /// Adds an element at an end of a node without room: to its neighbour, or in a node of its own.
    fn insert_beside(&mut self, node: Place, side: Side, item: &NewItem<'_>) {
        let neighbour = match side {
            Side::Before => self.nodes.before(node),
            Side::After => self.nodes.behind(node),
        };
        let is_long = self.limits.is_long(item.text_len());
        if let Some(neighbour) = neighbour.filter(|place| !is_long && self.has_room(*place, item.text_len()))
        {
            let at = if side == Side::After { 0 } else { self.nodes.at(neighbour).count() };
            return self.insert_into(neighbour, at, item);
        }
        let own = if is_long { long(item) } else { new_body(item, self.limits) };
        match (side, neighbour) {
            (Side::Before, _) => drop(self.insert_node(node, own)),
            (Side::After, Some(behind)) => drop(self.insert_node(behind, own)),
            (Side::After, None) => self.push_node(End::Right, own),
        }
    }

    /// Puts an element in the place of element `index`.
    pub fn replace(&mut self, index: usize, item: &NewItem<'_>) {
        let limits = self.limits;
        let Position { node, index: inner } = self.position(index);
        if limits.is_long(item.text_len()) {
            return self.replace_by_long(index, item);
        }
        if let Node::Long(_) = self.nodes.at(node) {
            // One that stood alone leaves its place to the head of the node behind it.
            self.insert_beside(node, Side::After, item);
            let replaced = self.position(index).node;
            self.remove_node(replaced);
            return;
        }
        let encoded = Encoded::of(item);
        self.edit_body(node, |body| {
            // However long the body becomes by that.
            let at = body.offset_of(inner);
            body.replace(at, &encoded, limits.body_bytes_max());
        });
    }

    /// A long element stands alone, so what is around it is cut apart.
    fn replace_by_long(&mut self, index: usize, item: &NewItem<'_>) {
        let Position { mut node, index: inner } = self.position(index);
        if inner + 1 < self.nodes.at(node).count() {
            node = self.split(node, inner + 1).0;
        }
        if inner > 0 {
            node = self.split(node, inner).1;
        }
        let added = self.insert_node(node, long(item));
        if let Some(replaced) = self.nodes.behind(added) {
            self.remove_node(replaced);
        }
        if inner > 0 {
            self.join_around(index);
        }
    }

    /// Removes `count` elements from `start` on; all of them must exist. Nodes that are too many to be freed at once are
    /// given back.
    #[must_use]
    pub fn remove(&mut self, start: usize, count: usize) -> Option<Box<Deque>> {
        assert!(start + count <= self.len, "the callers look at the length before");
        if count == 0 {
            return None;
        }
        let Position { node: first, index } = self.position(start);
        let mut left = count;
        // 1. The end of the first node, or a part of it.
        let here = self.nodes.at(first).count();
        let mut whole = Some(first);
        if index > 0 || left < here {
            let removed = left.min(here - index);
            self.remove_from_body(first, index, removed);
            left -= removed;
            whole = self.nodes.behind(first);
        }
        // 2. Whole ones.
        let (mut end, mut nodes) = (whole, 0);
        while let Some(node) = end
            && left > 0
            && self.nodes.at(node).count() <= left
        {
            left -= self.nodes.at(node).count();
            (end, nodes) = (self.nodes.behind(node), nodes + 1);
        }
        let removed = match whole {
            Some(from) if nodes > NODES_FREED_AT_ONCE_MAX => Some(self.take_chunks(from, end)),
            _ => {
                // The next one comes to be where the one before it was.
                (0..nodes).for_each(|_| drop(self.remove_node(self.position(start).node)));
                None
            }
        };
        // 3. The beginning of the last.
        if left > 0 {
            self.remove_from_body(self.position(start).node, 0, left);
        }
        if nodes > 0 && self.len > 0 {
            self.nodes.join_around(self.position(start.min(self.len - 1)).node);
        }
        removed
    }

    /// Removes up to `count` elements equal to `item`, searched from an end; how many.
    pub fn remove_equal(&mut self, end: End, count: usize, item: &NewItem<'_>) -> usize {
        let encoded = Encoded::of(item);
        let text = item.to_text();
        let first = self.nodes.outer_place(end);
        let (mut removed, mut emptied, mut next) = (0, false, first);
        let mut last = first;
        while let Some(node) = next
            && removed < count
        {
            let found = self.edit(node, |node| {
                let before = node.count();
                let found = match node {
                    Node::Long(bytes) => usize::from(**bytes == *text),
                    Node::Listpack(body) => body.remove_equal(end, count - removed, &encoded),
                };
                if found == before {
                    // It is dropped below, with all others that were emptied.
                    *node = Node::Listpack(Listpack::default());
                    emptied = true;
                }
                found
            });
            self.len -= found;
            removed += found;
            last = next;
            next = match end {
                End::Left => self.nodes.behind(node),
                End::Right => self.nodes.before(node),
            };
        }
        if let (Some(first), Some(last), true) = (first, last, emptied) {
            self.nodes.drop_empty(first, last);
        }
        removed
    }

    /// Adds what was loaded as one piece, at the end.
    pub fn append(&mut self, node: Node) {
        if node.count() > 0 {
            self.push_node(End::Right, node);
        }
    }

    /// Checks the counts against the nodes.
    pub fn check_invariants(&self) {
        self.nodes.check_invariants();
        assert_eq!(self.len, self.nodes.iter().map(Node::count).sum::<usize>());
        assert_eq!(self.node_bytes, self.nodes.iter().map(Node::allocated).sum::<usize>());
        for node in self.nodes.iter() {
            assert!(node.count() > 0);
            if let Node::Listpack(body) = node {
                let end = (0..body.count()).fold(0, |at, _| packed::next(body.bytes(), at));
                assert_eq!(end, body.len());
            }
        }
    }

    /// Whether a node takes a further element of so many bytes.
    fn has_room(&self, node: Place, text_len: usize) -> bool {
        match self.nodes.at(node) {
            Node::Listpack(body) => takes(body, text_len, self.limits),
            Node::Long(_) => false,
        }
    }

    fn insert_into(&mut self, node: Place, index: usize, item: &NewItem<'_>) {
        let limits = self.limits;
        let encoded = Encoded::of(item);
        self.edit_body(node, |body| body.insert(body.offset_of(index), &encoded, limits.body_bytes_max()));
        self.len += 1;
    }

    /// Cuts a body in two before its element `index`, which is not its first: where the two are.
    fn split(&mut self, node: Place, index: usize) -> (Place, Place) {
        let tail = self.edit_body(node, |body| body.split_off(body.offset_of(index), index));
        self.len -= tail.count();
        self.fit(node);
        self.len += tail.count();
        self.node_bytes += tail.allocated();
        let tail = self.nodes.insert_behind(node, Node::Listpack(tail));
        (self.nodes.before(tail).unwrap_or(node), tail)
    }

    /// Joins nodes around that of an element, where two fit into one, in the order of Redis.
    fn join_around(&mut self, center: usize) {
        if let Some(left) = self.nodes.before(self.position(center).node)
            && let Some(farther) = self.nodes.before(left)
        {
            self.join(farther, left);
        }
        if let Some(right) = self.nodes.behind(self.position(center).node)
            && let Some(farther) = self.nodes.behind(right)
        {
            self.join(right, farther);
        }
        let node = self.position(center).node;
        if let Some(left) = self.nodes.before(node) {
            self.join(left, node);
        }
        let node = self.position(center).node;
        if let Some(right) = self.nodes.behind(node) {
            self.join(node, right);
        }
        self.nodes.join_around(self.position(center).node);
    }

    /// Joins two nodes next to each other if they fit into one.
    fn join(&mut self, left: Place, right: Place) {
        let limits = self.limits;
        let (Node::Listpack(first), Node::Listpack(second)) = (self.nodes.at(left), self.nodes.at(right))
        else {
            return;
        };
        let bytes = first.len() + second.len() + LISTPACK_FRAME_BYTES;
        if limits.exceeds(bytes, first.count() + second.count()) {
            return;
        }
        if let Some(Node::Listpack(second)) = self.remove_node(right) {
            self.edit_body(left, |body| body.append(&second, limits.body_bytes_max()));
            self.len += second.count();
        }
    }

    /// Changes a node, and counts what that allocates. Whoever changes the number of elements counts them.
    fn edit<R>(&mut self, node: Place, edit: impl FnOnce(&mut Node) -> R) -> R {
        let before = self.nodes.at(node).allocated();
        let result = self.nodes.edit(node, edit);
        self.node_bytes = self.node_bytes - before + self.nodes.at(node).allocated();
        result
    }

    /// As `edit`, of a node that is a body.
    fn edit_body<R>(&mut self, node: Place, edit: impl FnOnce(&mut Listpack) -> R) -> R {
        self.edit(node, |node| match node {
            Node::Listpack(body) => edit(body),
            Node::Long(_) => {
                unreachable!("a long element has no inside, and its chunk takes no further one")
            }
        })
    }

    /// Adds elements to the body at an end, whatever the limits.
    pub(super) fn extend_outer(&mut self, end: End, other: &Listpack) {
        if let Some(outer) = self.nodes.outer_place(end) {
            self.edit_body(outer, |body| body.extend_by(end, other));
            self.len += other.count();
        }
    }

    fn fit(&mut self, node: Place) {
        self.edit(node, |node| {
            if let Node::Listpack(body) = node {
                body.fit();
            }
        });
    }

    pub(super) fn push_node(&mut self, end: End, node: Node) {
        self.len += node.count();
        self.node_bytes += node.allocated();
        self.nodes.push(end, node);
    }

    /// Puts a node in before the one at a place; where it is then.
    fn insert_node(&mut self, before: Place, node: Node) -> Place {
        self.len += node.count();
        self.node_bytes += node.allocated();
        self.nodes.insert(before, node)
    }

    pub(super) fn remove_node(&mut self, place: Place) -> Option<Node> {
        let node = self.nodes.remove(place)?;
        self.len -= node.count();
        self.node_bytes -= node.allocated();
        Some(node)
    }

    /// Takes out all nodes from one place to before another, or to the end.
    fn take_chunks(&mut self, from: Place, to: Option<Place>) -> Box<Deque> {
        let nodes = self.nodes.drain(from, to);
        let len = nodes.iter().map(Node::count).sum();
        let node_bytes = nodes.iter().map(Node::allocated).sum();
        self.len -= len;
        self.node_bytes -= node_bytes;
        Box::new(Deque { limits: self.limits, nodes, len, node_bytes })
    }

    /// Removes `count` elements from element `index` on, but not all that the body has.
    pub(super) fn remove_from_body(&mut self, node: Place, index: usize, count: usize) {
        self.edit_body(node, |body| {
            let from = body.offset_of(index);
            let to = if index + count == body.count() {
                body.len()
            } else if count == 1 {
                packed::next(body.bytes(), from)
            } else {
                body.offset_of(index + count)
            };
            body.remove(from, to, count);
        });
        self.len -= count;
    }
}

impl Large for Deque {
    #[inline]
    fn allocated(&self) -> u64 {
        (size_of::<Deque>() + self.nodes.allocated() + self.node_bytes) as u64
    }

    fn pieces(&self) -> usize {
        self.nodes.len()
    }

    fn free_pieces(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(last) = self.nodes.outer_place(End::Right) else { break };
            self.remove_node(last);
        }
        self.nodes.is_empty()
    }

    /// 1. Itself, 2. the node at the end that is used, 3. what is read or written there.
    #[inline]
    fn fetch(&self, step: usize, prefetch_hint: PrefetchHint) {
        let PrefetchHint::ListEnd(end) = prefetch_hint else { return };
        match (step, (step > 0).then(|| self.nodes.outer(end)).flatten()) {
            (0, _) => prefetch((&raw const *self).cast()),
            (1, Some(node)) => prefetch((&raw const *node).cast()),
            (_, Some(Node::Listpack(body))) => body.fetch(end),
            _ => {}
        }
    }
}

/// Whether a body takes a further element of so many bytes.
#[inline]
fn takes(body: &Listpack, text_len: usize, limits: ListLimits) -> bool {
    let bytes = body.len() + LISTPACK_FRAME_BYTES + text_len + ELEMENT_OVERHEAD_BYTES;
    !limits.exceeds(bytes, body.count() + 1)
}

fn long(item: &NewItem<'_>) -> Node {
    Node::Long(match item {
        NewItem::Blob(blob) => blob.clone(),
        NewItem::Bytes(bytes) => Bytes::copy_from_slice(bytes),
        NewItem::Int(value) => value.to_string().into(),
    })
}

fn new_body(item: &NewItem<'_>, limits: ListLimits) -> Node {
    let mut body = Listpack::default();
    body.insert(0, &Encoded::of(item), limits.body_bytes_max());
    Node::Listpack(body)
}
