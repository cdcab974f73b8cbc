//! An inner node of the tree: nodes of one height, with the first member and the number of members of each.
//!
//! Design: what one search reads lies together, so each property of the children has an array of its own.
//!
//! Invariants: keys, firsts and counts are those of the nodes; no node is empty.

use super::leaf::{LEAF_MAX, Leaf};
use super::member::Member;

/// Children of a full inner node.
pub(super) const INNER_MAX: usize = 64;
/// A node with fewer children, or members, gets some from its neighbour, or joins it.
const LEAF_MIN: usize = LEAF_MAX / 3;
const INNER_MIN: usize = INNER_MAX / 3;
/// A neighbour with room for so many takes some of a full node's; else the node splits.
const ROOM_MIN: usize = 8;
/// Joined nodes keep room for this many.
const JOINED_ROOM: usize = 8;
/// Bytes of an inner node with its arrays.
pub(super) const INNER_BYTES: usize =
    size_of::<Inner>() + INNER_MAX * (2 * size_of::<u64>() + size_of::<Member>() + size_of::<Node>());

/// A leaf or an inner node.
pub(super) enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

pub(super) struct Inner {
    keys: Vec<u64>,
    counts: Vec<usize>,
    firsts: Vec<Member>,
    nodes: Vec<Node>,
}

/// How many nodes a tree has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeCounts {
    pub leaves: usize,
    pub inners: usize,
}

impl Node {
    /// Members of a leaf, children of an inner node.
    pub fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.len(),
        }
    }

    /// Members below.
    pub fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.len() == self.len_max()
    }

    fn len_max(&self) -> usize {
        if matches!(self, Node::Leaf(_)) { LEAF_MAX } else { INNER_MAX }
    }

    fn is_low(&self) -> bool {
        self.len() < if matches!(self, Node::Leaf(_)) { LEAF_MIN } else { INNER_MIN }
    }

    /// The first member below; the node is not empty.
    pub fn first(&self) -> Member {
        match self {
            Node::Leaf(leaf) => leaf.member(0),
            Node::Inner(inner) => inner.firsts[0],
        }
    }

    /// Puts a member in; the node is not full.
    pub fn insert(&mut self, member: Member, nodes: &mut NodeCounts) {
        match self {
            Node::Leaf(leaf) => leaf.insert(member),
            Node::Inner(inner) => inner.insert(member, nodes),
        }
    }

    /// Takes a member out that is here.
    pub fn remove(&mut self, key: u64, bytes: &[u8], nodes: &mut NodeCounts) {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.position(key, bytes);
                leaf.remove(at, at + 1);
            }
            Node::Inner(inner) => inner.remove(key, bytes, nodes),
        }
    }

    /// Takes out the members with these ranks, calling back for each before its node is gone.
    pub fn remove_range(
        &mut self,
        from: usize,
        to: usize,
        nodes: &mut NodeCounts,
        found: &mut dyn FnMut(Member),
    ) {
        match self {
            Node::Leaf(leaf) => {
                (from..to).for_each(|index| found(leaf.member(index)));
                leaf.remove(from, to);
            }
            Node::Inner(inner) => inner.remove_range(from, to, nodes, found),
        }
    }

    /// Calls back for every member and counts the nodes as gone.
    fn leave(self, nodes: &mut NodeCounts, found: &mut dyn FnMut(Member)) {
        match self {
            Node::Leaf(leaf) => {
                leaf.members().for_each(found);
                nodes.leaves -= 1;
            }
            Node::Inner(inner) => {
                inner.nodes.into_iter().for_each(|node| node.leave(nodes, found));
                nodes.inners -= 1;
            }
        }
    }

    /// Half of a full node as a node behind it.
    fn split(&mut self, nodes: &mut NodeCounts) -> Node {
        let half = self.len() / 2;
        let mut behind = match self {
            Node::Leaf(_) => {
                nodes.leaves += 1;
                Node::Leaf(Leaf::new())
            }
            Node::Inner(_) => {
                nodes.inners += 1;
                Node::Inner(Inner::new())
            }
        };
        give_last(self, &mut behind, half);
        behind
    }

    #[cfg(test)]
    pub fn check_invariants(&self, nodes: &mut NodeCounts) -> usize {
        match self {
            Node::Leaf(leaf) => {
                leaf.check_invariants();
                nodes.leaves += 1;
                1
            }
            Node::Inner(inner) => {
                nodes.inners += 1;
                assert!((1..=INNER_MAX).contains(&inner.len()));
                let mut height = None;
                for (index, node) in inner.nodes.iter().enumerate() {
                    let own = node.check_invariants(nodes);
                    assert_eq!(*height.get_or_insert(own), own);
                    assert!(node.len() > 0);
                    assert_eq!(inner.counts[index], node.count());
                    assert_eq!(inner.firsts[index], node.first());
                    assert_eq!(inner.keys[index], node.first().key());
                }
                1 + height.expect("there is a node")
            }
        }
    }
}

/// Moves the first `count` of a node to the end of the one before.
fn give_first(node: &mut Node, before: &mut Node, count: usize) {
    match (node, before) {
        (Node::Leaf(leaf), Node::Leaf(before)) => leaf.give_first(before, count),
        (Node::Inner(inner), Node::Inner(before)) => {
            before.keys.extend(inner.keys.drain(..count));
            before.counts.extend(inner.counts.drain(..count));
            before.firsts.extend(inner.firsts.drain(..count));
            before.nodes.extend(inner.nodes.drain(..count));
        }
        _ => unreachable!("neighbours have one height"),
    }
}

/// Moves the last `count` of a node to the beginning of the one behind.
fn give_last(node: &mut Node, behind: &mut Node, count: usize) {
    match (node, behind) {
        (Node::Leaf(leaf), Node::Leaf(behind)) => leaf.give_last(behind, count),
        (Node::Inner(inner), Node::Inner(behind)) => {
            let from = inner.len() - count;
            behind.keys.splice(..0, inner.keys.drain(from..));
            behind.counts.splice(..0, inner.counts.drain(from..));
            behind.firsts.splice(..0, inner.firsts.drain(from..));
            behind.nodes.splice(..0, inner.nodes.drain(from..));
        }
        _ => unreachable!("neighbours have one height"),
    }
}

impl Inner {
    pub fn new() -> Box<Inner> {
        Box::new(Inner {
            keys: Vec::with_capacity(INNER_MAX),
            counts: Vec::with_capacity(INNER_MAX),
            firsts: Vec::with_capacity(INNER_MAX),
            nodes: Vec::with_capacity(INNER_MAX),
        })
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node and how many members come before it.
    pub fn node_at(&self, index: usize) -> (&Node, usize) {
        (&self.nodes[index], self.counts[..index].iter().sum())
    }

    /// The node with the member of this rank, and how many members come before it.
    pub fn node_of_rank(&self, rank: usize) -> (&Node, usize) {
        let index = self.index_of_rank(rank);
        self.node_at(index)
    }

    fn index_of_rank(&self, rank: usize) -> usize {
        let mut before = 0;
        let last = self.len() - 1;
        self.counts[..last]
            .iter()
            .position(|count| {
                before += count;
                before > rank
            })
            .unwrap_or(last)
    }

    /// Where a member is, or belongs.
    pub fn index_of(&self, key: u64, bytes: &[u8]) -> usize {
        let from = self.keys.partition_point(|own| *own < key);
        let count = self.keys[from..].partition_point(|own| *own == key);
        let alike = &self.firsts[from..from + count];
        let upto = alike.partition_point(|first| first.bytes() <= bytes);
        (from + upto).saturating_sub(1)
    }

    /// The last node whose first member has a score below this one's key, or up to it; the first node if there is none.
    pub fn index_below(&self, key: u64, or_equal: bool) -> usize {
        self.keys.partition_point(|own| *own < key || or_equal && *own == key).saturating_sub(1)
    }

    /// The last node for whose first member this holds; the first node if there is none.
    pub fn index_while(&self, before: impl Fn(Member) -> bool) -> usize {
        self.firsts.partition_point(|first| before(*first)).saturating_sub(1)
    }

    pub fn push(&mut self, node: Node) {
        let at = self.len();
        self.enter(at, node);
    }

    fn enter(&mut self, index: usize, node: Node) {
        let first = node.first();
        self.keys.insert(index, first.key());
        self.firsts.insert(index, first);
        self.counts.insert(index, node.count());
        self.nodes.insert(index, node);
    }

    fn take(&mut self, index: usize) -> Node {
        self.keys.remove(index);
        self.firsts.remove(index);
        self.counts.remove(index);
        self.nodes.remove(index)
    }

    /// The last node, taken out.
    pub fn pop(&mut self) -> Option<Node> {
        (self.len() > 0).then(|| self.take(self.len() - 1))
    }

    /// Notes what a node has become.
    fn refresh(&mut self, index: usize) {
        let node = &self.nodes[index];
        let first = node.first();
        self.keys[index] = first.key();
        self.firsts[index] = first;
        self.counts[index] = node.count();
    }

    fn insert(&mut self, member: Member, nodes: &mut NodeCounts) {
        let (key, bytes) = (member.key(), member.bytes());
        let mut index = self.index_of(key, bytes);
        if self.nodes[index].is_full() {
            self.make_room(index, nodes);
            index = self.index_of(key, bytes);
        }
        self.nodes[index].insert(member, nodes);
        self.counts[index] += 1;
        if index == 0 {
            // Only what is before all others becomes a first member.
            let first = self.nodes[0].first();
            (self.keys[0], self.firsts[0]) = (first.key(), first);
        }
    }

    /// Sees to it that a full node gets room: a neighbour takes some of it, or it splits. This node is not full.
    fn make_room(&mut self, index: usize, nodes: &mut NodeCounts) {
        let room = |node: &Node| node.len_max() - node.len();
        if index > 0 && room(&self.nodes[index - 1]) >= ROOM_MIN {
            let count = room(&self.nodes[index - 1]) / 2;
            let [before, node] = self.pair(index - 1);
            give_first(node, before, count);
            self.refresh(index - 1);
            self.refresh(index);
        } else if index + 1 < self.len() && room(&self.nodes[index + 1]) >= ROOM_MIN {
            let count = room(&self.nodes[index + 1]) / 2;
            let [node, behind] = self.pair(index);
            give_last(node, behind, count);
            self.refresh(index);
            self.refresh(index + 1);
        } else {
            let behind = self.nodes[index].split(nodes);
            self.enter(index + 1, behind);
            self.refresh(index);
        }
    }

    fn pair(&mut self, index: usize) -> [&mut Node; 2] {
        let (one, other) = self.nodes.split_at_mut(index + 1);
        [&mut one[index], &mut other[0]]
    }

    fn remove(&mut self, key: u64, bytes: &[u8], nodes: &mut NodeCounts) {
        let index = self.index_of(key, bytes);
        self.nodes[index].remove(key, bytes, nodes);
        self.counts[index] -= 1;
        if self.nodes[index].is_low() {
            self.mend(index, nodes);
        } else if self.firsts[index].compare(key, bytes).is_eq() {
            let first = self.nodes[index].first();
            (self.keys[index], self.firsts[index]) = (first.key(), first);
        }
    }

    fn remove_range(
        &mut self,
        from: usize,
        to: usize,
        nodes: &mut NodeCounts,
        found: &mut dyn FnMut(Member),
    ) {
        let (mut index, mut start, mut touched) = (0, 0, None);
        while index < self.len() && start < to {
            let count = self.counts[index];
            let end = start + count;
            if end <= from {
                index += 1;
            } else if from <= start && end <= to {
                self.take(index).leave(nodes, found);
                touched.get_or_insert(index);
            } else {
                let (inside, upto) = (from.max(start) - start, to.min(end) - start);
                self.nodes[index].remove_range(inside, upto, nodes, found);
                self.refresh(index);
                touched.get_or_insert(index);
                index += 1;
            }
            start = end;
        }
        let Some(touched) = touched else { return };
        for index in [touched + 1, touched] {
            if self.len() > 1 && self.nodes.get(index).is_some_and(Node::is_low) {
                self.mend(index, nodes);
            }
        }
    }

    /// A node has few, or nothing: it joins a neighbour, or the two share what they have.
    fn mend(&mut self, index: usize, nodes: &mut NodeCounts) {
        if self.len() == 1 {
            if self.nodes[0].len() > 0 {
                self.refresh(0);
            } else {
                self.take(0).leave(nodes, &mut |_| ());
            }
            return;
        }
        let left = index.saturating_sub(1);
        let [one, other] = self.pair(left);
        let (len, other_len, len_max) = (one.len(), other.len(), one.len_max());
        if len + other_len + JOINED_ROOM <= len_max {
            give_first(other, one, other_len);
            self.take(left + 1).leave(nodes, &mut |_| ());
        } else if len < other_len {
            give_first(other, one, (other_len - len) / 2);
            self.refresh(left + 1);
        } else {
            give_last(one, other, (len - other_len) / 2);
            self.refresh(left + 1);
        }
        self.refresh(left);
    }
}
