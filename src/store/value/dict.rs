//! A map from byte strings to byte strings, each record with a deadline if wanted: the large form of sets and hashes.
//!
//! Design: linear hashing (Litwin, 1980) over packed nodes. A node holds some dozens of records in one allocation (`node`).
//! A record's node follows from the low bits of its key's hash: as many as number the nodes, or one less where the node of that
//! number does not exist yet. When the nodes are heavy on average, the next one is added and gets its share of one older node;
//! when they are light, the last one goes back into that node. So a dict grows and shrinks by a node at a time: there is no
//! directory that doubles, and each node has one pointer to it. The nodes lie in segments, so that no list of nodes is
//! long.
//!
//! ```text
//! segments -> [ node | node | ... 256 ] -> | tags, lengths ... records |
//! ```
//!
//! A set's records have keys only, and are stored without what a value and a deadline need (`Form`).
//!
//! Positions of scans are hashes read from their lowest bit on. In that order the records of a node are neighbours, and those
//! of the two that it splits into are its halves: so a scan returns whatever is there throughout, whichever nodes are added or
//! removed meanwhile. What a node had is returned again where nodes were merged.
//!
//! Invariants: all segments but the last are full; no deadline of a segment is before its `due`; no node has more records
//! than `largest`.
//!
//! Costs: beside its key and value a record takes two bytes, one more with a value, eight more with a deadline, and some tenth of
//! it all, which is free room in the nodes. Adding a node hashes the keys of one again.
//!
//! Not here: who uses it, small sets and hashes (`packed`).

mod node;
mod walk;

use node::{Node, Parts};
pub use walk::Iter;

use super::external::{Expiry, Large};
use crate::store::fetch::PrefetchHint;
use crate::store::hash::KeyHasher;
use crate::store::table::prefetch;

/// Later than any deadline.
const NEVER: u64 = u64::MAX;
/// Nodes in a segment.
const SEGMENT_NODES: usize = 256;
/// What a node weighs on average before one is added.
const NODE_WEIGHT_MAX: usize = 640;
/// What a node weighs on average before one is removed: much less, so that nodes do not come and go.
const NODE_WEIGHT_MIN: usize = NODE_WEIGHT_MAX / 8 * 3;
/// Nodes that the first segment begins with.
const SEGMENT_NODES_MIN: usize = 4;

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub key: &'a [u8],
    /// Empty in sets.
    pub value: &'a [u8],
    /// When it expires, in ms.
    pub deadline: Option<u64>,
}

/// What the records of a dict have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A key alone.
    Keys,
    /// A key, a value, and a deadline if wanted.
    Records,
}

/// A map from byte strings to byte strings.
#[derive(Clone, Debug)]
pub struct Dict {
    segments: Vec<Segment>,
    nodes: usize,
    len: usize,
    /// Of all nodes.
    weight: usize,
    /// Bytes allocated for all nodes and what they lead to.
    node_bytes: usize,
    /// Records that lie outside of their nodes.
    outside: usize,
    /// The most records that a node had.
    largest: usize,
    /// No deadline is before this.
    due: u64,
    form: Form,
}

/// Some nodes.
#[derive(Clone, Debug)]
struct Segment {
    nodes: Vec<Node>,
    /// No deadline is before this.
    due: u64,
}

impl Dict {
    /// A map without records.
    pub fn new() -> Dict {
        Dict::of(Form::Records)
    }

    /// A map without records, which takes no values and no deadlines: a set of keys.
    pub fn of_keys() -> Dict {
        Dict::of(Form::Keys)
    }

    fn of(form: Form) -> Dict {
        let mut dict = Dict {
            segments: Vec::new(),
            nodes: 0,
            len: 0,
            weight: 0,
            node_bytes: 0,
            outside: 0,
            largest: 0,
            due: NEVER,
            form,
        };
        dict.append(Node::default());
        dict
    }

    /// The number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The record of a key.
    #[inline]
    pub fn get(&self, hasher: &KeyHasher, key: &[u8]) -> Option<Record<'_>> {
        let hash = hasher.hash(key);
        let node = self.node(self.slot(hash));
        Some(node.record(self.form, node.find(self.form, tag(hash), key)?))
    }

    /// Whether a key has a record.
    #[inline]
    pub fn contains(&self, hasher: &KeyHasher, key: &[u8]) -> bool {
        let hash = hasher.hash(key);
        self.node(self.slot(hash)).find(self.form, tag(hash), key).is_some()
    }

    /// Gives a key a value and a deadline, or none; whether the key is new. A set's keys have neither.
    pub fn set(&mut self, hasher: &KeyHasher, key: &[u8], value: &[u8], deadline: Option<u64>) -> bool {
        assert!(self.form == Form::Records || value.is_empty() && deadline.is_none(), "sets have keys only");
        let (form, hash) = (self.form, hasher.hash(key));
        let deadline = deadline.unwrap_or(NEVER);
        let parts = Parts { tag: tag(hash), key, value, deadline };
        let slot = self.slot(hash);
        self.note_deadline(slot, deadline);
        let found = self.node(slot).find(form, parts.tag, key);
        match found {
            Some(_) if form == Form::Keys => return false,
            Some(index) => self.edit(slot, |node| {
                if !node.overwrite(form, index, &parts) {
                    node.remove(index);
                    node.push(form, &parts);
                }
            }),
            None => {
                self.edit(slot, |node| node.push(form, &parts));
                self.len += 1;
            }
        }
        self.grow(hasher);
        found.is_none()
    }

    /// Gives the record of a key a deadline, or none; whether there is such a record.
    pub fn set_deadline(&mut self, hasher: &KeyHasher, key: &[u8], deadline: Option<u64>) -> bool {
        let Some(record) = self.get(hasher, key) else { return false };
        if record.deadline != deadline {
            let value = record.value.to_vec();
            self.set(hasher, key, &value, deadline);
        }
        true
    }

    /// Removes the record of a key; whether there was one.
    pub fn remove(&mut self, hasher: &KeyHasher, key: &[u8]) -> bool {
        let hash = hasher.hash(key);
        let slot = self.slot(hash);
        let Some(index) = self.node(slot).find(self.form, tag(hash), key) else { return false };
        self.edit(slot, |node| node.remove(index));
        self.len -= 1;
        self.shrink();
        true
    }

    /// The record of a key is again what it was before it got a deadline, and this is again what is noted as the earliest.
    pub fn restore_due(&mut self, hasher: &KeyHasher, key: &[u8], earliest: Option<u64>) {
        let before = earliest.unwrap_or(NEVER);
        if self.due == before {
            return;
        }
        let (form, slot) = (self.form, self.slot(hasher.hash(key)));
        self.edit(slot, |node| node.refresh_due(form));
        let segment = &mut self.segments[slot / SEGMENT_NODES];
        segment.due = segment.nodes.iter().map(Node::due).min().unwrap_or(NEVER);
        let least = self.segments.iter().map(|segment| segment.due).min().unwrap_or(NEVER);
        self.due = before.min(least);
    }

    /// No deadline is before this; none if no record has one. May be earlier than the earliest.
    #[inline]
    pub fn earliest_deadline(&self) -> Option<u64> {
        (self.due != NEVER).then_some(self.due)
    }

    /// The node that a hash belongs to.
    #[inline]
    fn slot(&self, hash: u64) -> usize {
        let mask = self.nodes.next_power_of_two() - 1;
        let slot = hash as usize & mask;
        if slot < self.nodes { slot } else { slot & mask >> 1 }
    }

    #[inline]
    fn node(&self, slot: usize) -> &Node {
        &self.segments[slot / SEGMENT_NODES].nodes[slot % SEGMENT_NODES]
    }

    /// Changes a node, and counts what that changes.
    fn edit<R>(&mut self, slot: usize, edit: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.segments[slot / SEGMENT_NODES].nodes[slot % SEGMENT_NODES];
        let (weight, bytes, outside) = (node.weight(), node.allocated(), node.count_outside());
        let result = edit(node);
        self.weight = self.weight + node.weight() - weight;
        self.node_bytes = self.node_bytes + node.allocated() - bytes;
        self.outside = self.outside + node.count_outside() - outside;
        self.largest = self.largest.max(node.count());
        result
    }

    /// Notes a deadline in what leads to the node.
    #[inline]
    fn note_deadline(&mut self, slot: usize, deadline: u64) {
        if deadline != NEVER {
            self.due = self.due.min(deadline);
            let segment = &mut self.segments[slot / SEGMENT_NODES];
            segment.due = segment.due.min(deadline);
        }
    }

    /// Adds nodes while those there are heavy.
    #[inline]
    fn grow(&mut self, hasher: &KeyHasher) {
        while self.weight > self.nodes * NODE_WEIGHT_MAX {
            self.add_node(hasher);
        }
    }

    #[cold]
    fn add_node(&mut self, hasher: &KeyHasher) {
        let (form, slot) = (self.form, self.nodes);
        let bit = highest_bit(slot);
        let new = self.edit(slot - bit, |node| node.split(form, |key| hasher.hash(key) as usize & bit != 0));
        self.append(new);
    }

    /// Adds a node behind the last one.
    fn append(&mut self, node: Node) {
        if self.nodes.is_multiple_of(SEGMENT_NODES) {
            let room = if self.nodes == 0 { 0 } else { SEGMENT_NODES };
            self.segments.push(Segment { nodes: Vec::with_capacity(room), due: NEVER });
        }
        self.weight += node.weight();
        self.node_bytes += node.allocated();
        self.outside += node.count_outside();
        self.largest = self.largest.max(node.count());
        let segment = self.segments.last_mut().expect("added just above if there was none");
        let count = segment.nodes.len();
        if count == segment.nodes.capacity() {
            let wanted = (2 * count).clamp(SEGMENT_NODES_MIN, SEGMENT_NODES);
            segment.nodes.reserve_exact(wanted - count);
        }
        segment.due = segment.due.min(node.due());
        segment.nodes.push(node);
        self.nodes += 1;
    }

    /// Removes nodes while those there are light.
    fn shrink(&mut self) {
        while self.nodes > 1 && self.weight < self.nodes * NODE_WEIGHT_MIN {
            let last = self.take_last();
            let (slot, due) = (self.nodes - highest_bit(self.nodes), last.due());
            self.edit(slot, |node| node.merge(last));
            let segment = &mut self.segments[slot / SEGMENT_NODES];
            segment.due = segment.due.min(due);
        }
        if self.nodes == 1 {
            self.largest = self.len;
        }
    }

    /// Takes the last node out.
    fn take_last(&mut self) -> Node {
        let segment = self.segments.last_mut().expect("there is at least one node");
        let node = segment.nodes.pop().expect("a segment without nodes is removed");
        if segment.nodes.is_empty() {
            self.segments.pop();
        }
        self.nodes -= 1;
        self.weight -= node.weight();
        self.node_bytes -= node.allocated();
        self.outside -= node.count_outside();
        node
    }

    /// Panics where something is not as it has to be.
    pub fn check_invariants(&self, hasher: &KeyHasher) {
        assert_eq!(self.nodes, self.segments.iter().map(|segment| segment.nodes.len()).sum::<usize>());
        assert_eq!(self.segments.len(), self.nodes.div_ceil(SEGMENT_NODES));
        let (mut len, mut weight, mut bytes, mut outside) = (0, 0, 0, 0);
        for slot in 0..self.nodes {
            let node = self.node(slot);
            node.check_invariants(self.form);
            len += node.count();
            weight += node.weight();
            bytes += node.allocated();
            outside += node.count_outside();
            assert!(node.count() <= self.largest);
            assert!(self.segments[slot / SEGMENT_NODES].due <= node.due());
            for index in 0..node.count() {
                let hash = hasher.hash(node.record(self.form, index).key);
                assert_eq!((self.slot(hash), tag(hash)), (slot, node.tag(index)));
            }
        }
        assert_eq!((len, weight, bytes, outside), (self.len, self.weight, self.node_bytes, self.outside));
        assert!(self.segments.iter().all(|segment| self.due <= segment.due));
        let room: usize = self.segments.iter().map(|segment| segment.nodes.capacity()).sum();
        assert_eq!(room, self.room());
        assert!(self.weight <= self.nodes * NODE_WEIGHT_MAX);
    }

    /// How many nodes the segments have room for.
    fn room(&self) -> usize {
        let before = self.segments.len().saturating_sub(1) * SEGMENT_NODES;
        before + self.segments.last().map_or(0, |segment| segment.nodes.capacity())
    }
}

impl Default for Dict {
    fn default() -> Dict {
        Dict::new()
    }
}

impl Large for Dict {
    fn allocated(&self) -> u64 {
        let segments = self.segments.capacity() * size_of::<Segment>() + self.room() * size_of::<Node>();
        (size_of::<Dict>() + segments + self.node_bytes) as u64
    }

    fn pieces(&self) -> usize {
        self.nodes + self.outside
    }

    fn free_pieces(&mut self, budget: usize) -> bool {
        let mut left = budget.max(1);
        while left > 0 && self.nodes > 0 {
            let budget = left;
            left -= self.edit(self.nodes - 1, |node| node.free_outside(budget));
            if left > 0 {
                self.take_last();
                left -= 1;
            }
        }
        self.nodes == 0
    }

    fn due(&self) -> Option<u64> {
        self.earliest_deadline()
    }

    fn expire(&mut self, now_ms: u64, budget: usize, on_removed: &mut dyn FnMut(&[u8])) -> Expiry {
        self.remove_expired(now_ms, budget, &mut |record| on_removed(record.key));
        Expiry { is_emptied: self.is_empty(), due: self.earliest_deadline() }
    }

    fn fetch(&self, step: usize, _: PrefetchHint) {
        if step == 0 {
            prefetch(std::ptr::from_ref(self).cast());
        }
    }
}

/// The bits that tell records of a node apart.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The highest bit of a node's number: without it, it is the number of the node that it was split from.
fn highest_bit(slot: usize) -> usize {
    1 << slot.ilog2()
}

#[cfg(test)]
#[path = "dict_tests.rs"]
mod tests;
