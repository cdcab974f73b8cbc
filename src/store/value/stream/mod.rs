//! A stream: entries in nodes under an ordered index, and the consumer groups that read them.
//!
//! Design: entries are added at the end only, to the last node until that is full by the rules of Redis, so that nodes are cut as
//! Redis cuts them and saving is a copy. An entry that is deleted is marked in its node, which goes with its last entry. A
//! stream has no small form: it begins with one node and stays when it is empty.
//!
//! | file | what |
//! |---|---|
//! | `id` | IDs |
//! | `ordered` | maps ordered by IDs |
//! | `node` | entries that lie together |
//! | `entries` | walks over entries |
//! | `group` | consumer groups |
//! | `counting` | what is known of a stream's history, and how many entries lie before an ID: lag |
//! | `idempotency` | messages that producers have sent lately |
//! | `reading` | delivering entries to the consumers of a group |
//! | `trim` | deleting old entries |
//! | `undo` | undoing changes |
//! | `radix` | what XINFO tells of Redis's own index |
//!
//! Invariants:
//! - every node has an entry, live or not; the history's `length` is the sum of their live entries;
//! - `first` is the ID of the first live entry, zero if there is none; no entry's ID is above `last`;
//! - `nodes_bytes` and `groups_bytes` are the sums of what nodes' listpacks and groups allocated.
//!
//! Costs: to append is O(1); to find an entry is O(log n) and a walk through a node.
//!
//! Not here: what may be done to a key (`stream_mut`), files (`persist::rdb::stream`).

mod counting;
mod entries;
mod group;
mod id;
mod idempotency;
mod node;
mod ordered;
mod radix;
mod reading;
mod trim;
mod undo;

pub use counting::History;
pub use entries::Entries;
pub use group::{Consumer, Group, Pending, Slot};
pub use id::StreamId;
pub use idempotency::{Idempotency, IidLimits, any_stream_knows_producers};
pub use node::{Entry, Node, Pairs, validated as validated_node};
pub use ordered::Ordered;
pub use reading::redelivered;
pub use trim::{Removal, Trim, TrimTo, Trimmed};

use super::external::Large;
use super::view::{Typed, Value};
use super::{Digest, External, NewItem, NodeLimits};
use crate::store::entry::{Entry as KeyEntry, Type};
use crate::store::fetch::PrefetchHint;
use crate::store::table::prefetch;

/// No node is longer, whatever the limits say, and no entry's fields and values together.
pub const NODE_BYTES_MAX: u64 = 1 << 30;
/// Groups allocate about so much for each part that they are freed in.
const GROUP_PART_BYTES: usize = 4096;
/// More pieces than that are not freed by the command that removes them.
const PIECES_FREED_AT_ONCE_MAX: usize = 64;

/// A stream.
#[derive(Debug, Default)]
pub struct Stream {
    nodes: Ordered<Node>,
    history: History,
    #[expect(clippy::vec_box, reason = "groups are large, and one is inserted among others")]
    groups: Vec<Box<Group>>,
    nodes_bytes: usize,
    groups_bytes: usize,
    /// What is known of producers; none until one said who it is, or limits were set.
    idempotency: Option<Box<Idempotency>>,
}

impl Clone for Stream {
    fn clone(&self) -> Stream {
        let (nodes, groups) = (self.nodes.clone(), self.groups.clone());
        let nodes_bytes = nodes.iter().map(Node::allocated).sum();
        let groups_bytes = groups.iter().map(|group| group.allocated()).sum();
        let idempotency = self.idempotency.clone();
        Stream { nodes, history: self.history, groups, nodes_bytes, groups_bytes, idempotency }
    }
}

impl Stream {
    /// The number of entries.
    #[inline]
    pub fn len(&self) -> u64 {
        self.history.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.history.length == 0
    }

    /// The ID of the first entry, zero if there is none.
    pub fn first(&self) -> StreamId {
        self.history.first
    }

    /// The last ID that an entry had.
    #[inline]
    pub fn last(&self) -> StreamId {
        self.history.last
    }

    /// What is known of its entries, those included that are gone.
    #[inline]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Sets what cannot be seen of the entries there are. The last ID is not below any of theirs.
    pub fn set_history(&mut self, last: StreamId, max_deleted: StreamId, added: u64) {
        if last < self.history.last {
            // IDs of nodes may come again.
            self.groups.iter_mut().for_each(|group| group.next = None);
        }
        self.history = History { last, max_deleted, added, ..self.history };
    }

    /// The listpacks and their IDs, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.nodes.iter().map(|node| (ordered::Keyed::key(node), node.listpack()))
    }

    /// How many of these there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes an index like Redis's has.
    pub fn radix_node_count(&self) -> usize {
        radix::node_count(self.nodes.iter().map(ordered::Keyed::key), self.nodes.len())
    }

    /// Adds an entry at the end. Its ID is above the last one; its fields and values have `bytes` together.
    #[inline]
    pub fn append<'i>(
        &mut self,
        id: StreamId,
        bytes: u64,
        pairs: impl ExactSizeIterator<Item = (NewItem<'i>, NewItem<'i>)> + Clone,
        limits: NodeLimits,
    ) {
        assert!(id > self.history.last && bytes <= NODE_BYTES_MAX, "the caller has looked");
        let bytes_max = match limits.bytes_max {
            1..NODE_BYTES_MAX => limits.bytes_max,
            _ => NODE_BYTES_MAX,
        };
        match self.nodes.last_mut() {
            Some(node)
                if node.listpack().len() as u64 + bytes < bytes_max
                    && (limits.entries_max == 0 || (node.entry_count() as u64) < limits.entries_max) =>
            {
                let before = node.allocated();
                node.append(id, pairs);
                self.nodes_bytes = self.nodes_bytes - before + node.allocated();
            }
            last => {
                if let Some(full) = last {
                    let before = full.allocated();
                    full.close();
                    self.nodes_bytes = self.nodes_bytes - before + full.allocated();
                }
                let node = Node::new(id, pairs);
                self.nodes_bytes += node.allocated();
                self.nodes.insert(node);
            }
        }
        self.history.length += 1;
        self.history.added += 1;
        self.history.last = id;
        if self.history.length == 1 {
            self.history.first = id;
        }
    }

    /// Adds a node that is valid and whose entries come after all others.
    pub fn load_node(&mut self, first: StreamId, listpack: &[u8]) {
        let node = Node::from_valid(first, listpack);
        let (live, was_empty) = (node.live_count() as u64, self.is_empty());
        self.nodes_bytes += node.allocated();
        self.nodes.insert(node);
        self.history.length += live;
        if was_empty && live > 0 {
            // Before this node there is no live entry.
            self.history.first = first;
            self.find_first();
        }
    }

    /// Deletes an entry: whether there was one.
    pub fn delete(&mut self, id: StreamId) -> bool {
        self.delete_and_keep(id, |_| false)
    }

    /// The same, but its node stays without a live entry if `keeps` says so.
    fn delete_and_keep(&mut self, id: StreamId, keeps: impl FnOnce(&Node) -> bool) -> bool {
        let Some(place) = self.nodes.seek_back(id) else { return false };
        let node = self.nodes.at_mut(place).expect("it was found");
        let mut cursor = node.begin();
        let found = loop {
            match node.next(&mut cursor) {
                Some((at, entry)) if entry.id == id && !entry.is_deleted => break at,
                Some((_, entry)) if entry.id < id => {}
                _ => return false,
            }
        };
        if node.live_count() > 1 || keeps(node) {
            let before = node.allocated();
            node.delete(found);
            self.nodes_bytes = self.nodes_bytes - before + node.allocated();
        } else {
            self.nodes_bytes -= node.allocated();
            self.nodes.remove_at(place);
        }
        self.history.length -= 1;
        self.history.max_deleted = self.history.max_deleted.max(id);
        if id == self.history.first {
            self.find_first();
        }
        true
    }

    /// What is known of its producers, if anything is.
    #[inline]
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_deref()
    }

    /// The same, to be changed; it begins with these limits.
    pub fn idempotency_mut(&mut self, limits: IidLimits) -> &mut Idempotency {
        self.idempotency.get_or_insert_with(|| Box::new(Idempotency::new(limits)))
    }

    /// The same, if anything is known of them.
    pub fn idempotency_known_mut(&mut self) -> Option<&mut Idempotency> {
        self.idempotency.as_deref_mut()
    }

    /// Sets what is kept of producers. What is too much to be freed at once is returned.
    pub fn set_iid_limits(&mut self, limits: IidLimits) -> Option<Box<Stream>> {
        let removed = self.idempotency_mut(limits).set_limits(limits)?;
        Stream { idempotency: Some(Box::new(removed)), ..Stream::default() }.if_large()
    }

    /// The groups, in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.iter().map(|group| &**group)
    }

    /// The place of the group of this name, for `group_at` and its like.
    #[inline]
    pub fn find_group(&self, name: &[u8]) -> Option<usize> {
        self.search_group(name).ok()
    }

    /// The group at a place.
    #[inline]
    pub fn group_at(&self, place: usize) -> &Group {
        &self.groups[place]
    }

    /// Adds a group with a name of its own; false if there is one.
    pub fn add_group(&mut self, group: Group) -> bool {
        let Err(place) = self.search_group(&group.name) else { return false };
        self.groups_bytes += group.allocated();
        self.groups.insert(place, Box::new(group));
        true
    }

    /// Removes a group. What is too much to be freed at once is returned.
    pub fn remove_group(&mut self, place: usize) -> Option<Box<Stream>> {
        let group = self.groups.remove(place);
        let groups_bytes = group.allocated();
        self.groups_bytes -= groups_bytes;
        let removed = Stream { groups: vec![group], groups_bytes, ..Stream::default() };
        removed.if_large()
    }

    /// Changes a group, and counts what that allocates.
    #[inline]
    pub fn edit_group<R>(&mut self, place: usize, edit: impl FnOnce(&mut Group) -> R) -> R {
        let group = &mut self.groups[place];
        let before = group.allocated();
        let result = edit(group);
        self.groups_bytes = self.groups_bytes - before + group.allocated();
        result
    }

    /// Whether a group has not read an entry, or a consumer has not acknowledged it.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups.iter().any(|group| group.last < id || group.pending().find(id).is_some())
    }

    /// Takes an entry out of what is pending in any group: whether it was in one.
    pub fn forget_pending(&mut self, id: StreamId) -> bool {
        (0..self.groups.len()).filter(|place| self.edit_group(*place, |group| group.acknowledge(id))).count()
            > 0
    }

    fn search_group(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| (*group.name).cmp(name))
    }

    /// Looks the first live entry up, which is not before the one that was the first.
    fn find_first(&mut self) {
        let first = self.entries(self.history.first, StreamId::MAX).next();
        self.history.first = first.map_or(StreamId::MIN, |entry| entry.id);
    }

    /// This, if it is too much to be freed at once.
    fn if_large(self) -> Option<Box<Stream>> {
        (self.pieces() > PIECES_FREED_AT_ONCE_MAX).then(|| Box::new(self))
    }

    /// Checks what is known of parts against these.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        self.nodes.check_invariants();
        assert!(self.nodes.iter().all(|node| node.entry_count() > 0));
        assert_eq!(self.nodes.iter().map(|node| node.live_count() as u64).sum::<u64>(), self.history.length);
        assert_eq!(self.nodes.iter().map(Node::allocated).sum::<usize>(), self.nodes_bytes);
        for (first, listpack) in self.nodes() {
            let valid = validated_node(first, listpack).expect("a node is valid");
            assert!(valid.last <= self.history.last);
        }
        assert!(self.groups.windows(2).all(|pair| pair[0].name < pair[1].name));
        self.groups.iter().for_each(|group| group.check_invariants());
        assert_eq!(self.groups.iter().map(|group| group.allocated()).sum::<usize>(), self.groups_bytes);
        let first = self.entries(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id);
        assert_eq!(first.unwrap_or_default(), self.history.first);
        self.idempotency.iter().for_each(|idempotency| idempotency.check_invariants());
    }
}

impl Large for Stream {
    #[inline]
    fn allocated(&self) -> u64 {
        let own = size_of::<Stream>() + self.groups.capacity() * size_of::<Box<Group>>();
        let producers = self.idempotency.as_ref().map_or(0, |idempotency| idempotency.allocated());
        (own + self.nodes.allocated() + self.nodes_bytes + self.groups_bytes + producers) as u64
    }

    fn pieces(&self) -> usize {
        let producers = self.idempotency.as_ref().map_or(0, |idempotency| idempotency.pieces());
        self.nodes.len() + self.groups_bytes / GROUP_PART_BYTES + producers
    }

    fn free_pieces(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            if let Some(node) = self.nodes.pop_last() {
                self.nodes_bytes -= node.allocated();
                continue;
            }
            if let Some(place) = self.groups.len().checked_sub(1) {
                if self.edit_group(place, Group::free_part) {
                    self.groups_bytes -= self.groups[place].allocated();
                    self.groups.pop();
                }
                continue;
            }
            let Some(idempotency) = &mut self.idempotency else { break };
            if idempotency.free_part() {
                self.idempotency = None;
            }
        }
        self.nodes.is_empty() && self.groups.is_empty() && self.idempotency.is_none()
    }

    /// 1. Itself, 2. the end of the index, 3. the last node's listpack, whose head says how many entries it has.
    #[inline]
    fn fetch(&self, step: usize, prefetch_hint: PrefetchHint) {
        if prefetch_hint != PrefetchHint::StreamEnd {
            return;
        }
        match step {
            0 => {
                let line = (&raw const *self).cast::<u8>();
                prefetch(line);
                prefetch(line.wrapping_add(64));
            }
            _ => {
                if let Some(node) = self.nodes.last() {
                    let listpack = node.listpack();
                    prefetch(if step == 1 { (&raw const *node).cast() } else { listpack.as_ptr() });
                    if step > 1 {
                        prefetch(listpack.as_ptr().wrapping_add(listpack.len()));
                    }
                }
            }
        }
    }
}

impl<'a> Typed<'a> for &'a Stream {
    const TYPE: Type = Type::Stream;

    #[inline]
    fn of(entry: KeyEntry<'a>) -> &'a Stream {
        match entry.external() {
            Some(External::Stream(stream)) => stream,
            _ => unreachable!("commands check the type first, and streams have no small form"),
        }
    }
}

impl Value for Stream {
    /// As Redis: the entries alone.
    fn digest(&self, digest: &mut Digest) {
        let mut digits = itoa::Buffer::new();
        for entry in self.entries(StreamId::MIN, StreamId::MAX) {
            digest.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (field, value) in entry.pairs() {
                digest.mix(field.bytes(&mut digits));
                digest.mix(value.bytes(&mut digits));
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
