//! The order of a large sorted set: a B+ tree of members by (score, bytes), which counts them, so that ranks are found.
//!
//! ```text
//! inner   keys, counts, first members and nodes      (`inner`)
//! leaf    up to 62 words: hint and address           (`leaf`)
//! ```
//!
//! Design: whatever asks for a range is turned into ranks first, by one descent for each end; then it is walked. Leaves do not
//! know their neighbours: whoever walks finds each next leaf by its rank, which for 40 members costs little, and there is
//! nothing to keep right. On the way down to an insertion full nodes get room, so that nothing is to be done on the way up.
//!
//! Invariants: those of `leaf` and `inner`; an inner root has two nodes; only the root is ever empty.
//!
//! Costs: everything is O(log n); leaves are about 0.8 full.
//!
//! Not here: finding a member by its bytes alone (`ranking`).

use super::inner::{INNER_BYTES, Inner, Node, NodeCounts};
use super::leaf::Leaf;
use super::member::Member;

/// Members that a loaded tree puts into a leaf, and nodes into an inner node: with some room left.
const LOADED_MEMBERS: usize = 56;
const LOADED_NODES: usize = 56;

pub(super) struct Tree {
    root: Node,
    count: usize,
    nodes: NodeCounts,
}

impl Tree {
    pub fn new() -> Tree {
        Tree { root: Node::Leaf(Leaf::new()), count: 0, nodes: NodeCounts { leaves: 1, inners: 0 } }
    }

    /// A tree of members that come in order.
    pub fn from_sorted(members: impl Iterator<Item = Member>) -> Tree {
        let mut tree = Tree::new();
        let mut members = members.peekable();
        let mut row = Vec::new();
        while members.peek().is_some() {
            let mut leaf = Leaf::new();
            leaf.extend(members.by_ref().take(LOADED_MEMBERS));
            tree.count += leaf.len();
            row.push(Node::Leaf(leaf));
        }
        if row.is_empty() {
            return tree;
        }
        tree.nodes.leaves = row.len();
        while row.len() > 1 {
            let mut nodes = row.into_iter().peekable();
            row = Vec::new();
            while nodes.peek().is_some() {
                let mut inner = Inner::new();
                nodes.by_ref().take(LOADED_NODES).for_each(|node| inner.push(node));
                tree.nodes.inners += 1;
                row.push(Node::Inner(inner));
            }
        }
        tree.root = row.pop().expect("a row has a node");
        tree
    }

    /// The number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn leaf_count(&self) -> usize {
        self.nodes.leaves
    }

    /// Bytes of its nodes.
    pub fn allocated(&self) -> usize {
        self.nodes.leaves * size_of::<Leaf>() + self.nodes.inners * INNER_BYTES
    }

    /// Puts a member in that is not here.
    pub fn insert(&mut self, member: Member) {
        if self.root.is_full() {
            let mut inner = Inner::new();
            inner.push(std::mem::replace(&mut self.root, Node::Leaf(Leaf::new())));
            self.nodes.inners += 1;
            self.root = Node::Inner(inner);
        }
        self.root.insert(member, &mut self.nodes);
        self.count += 1;
    }

    /// Takes a member out that is here; its block is the caller's.
    pub fn remove(&mut self, member: Member) {
        self.root.remove(member.key(), member.bytes(), &mut self.nodes);
        self.count -= 1;
        self.lower();
    }

    /// Takes out the members with ranks from `from` to `to`, calling back for each; their blocks are the caller's.
    pub fn remove_range(&mut self, from: usize, to: usize, mut found: impl FnMut(Member)) {
        assert!(from <= to && to <= self.count, "the caller knows how many there are");
        if from == to {
            return;
        }
        self.root.remove_range(from, to, &mut self.nodes, &mut found);
        self.count -= to - from;
        self.lower();
    }

    /// Takes out the members of the last leaf; false if there were none.
    pub fn pop_leaf(&mut self, found: impl FnMut(Member)) -> bool {
        let count = self.count;
        if count > 0 {
            let (_, at) = self.leaf_of_rank(count - 1);
            self.remove_range(count - 1 - at, count, found);
        }
        count > 0
    }

    /// An inner root with one node gives way to it.
    fn lower(&mut self) {
        while let Node::Inner(inner) = &mut self.root
            && inner.len() <= 1
        {
            self.nodes.inners -= 1;
            self.root = match inner.pop() {
                Some(node) => node,
                None => {
                    self.nodes.leaves += 1;
                    Node::Leaf(Leaf::new())
                }
            };
        }
    }

    /// The leaf with the member of a rank, and its place there.
    pub fn leaf_of_rank(&self, rank: usize) -> (&Leaf, usize) {
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(inner) => {
                    let (below, before) = inner.node_of_rank(rank);
                    (node, rank) = (below, rank - before);
                }
            }
        }
    }

    /// The member of a rank.
    pub fn by_rank(&self, rank: usize) -> Option<Member> {
        (rank < self.count).then(|| {
            let (leaf, at) = self.leaf_of_rank(rank);
            leaf.member(at)
        })
    }

    /// How many members come before this one, whether it is here or not.
    pub fn rank_of(&self, key: u64, bytes: &[u8]) -> usize {
        self.rank(|inner| inner.index_of(key, bytes), |leaf| leaf.position(key, bytes))
    }

    /// How many members have a score below this one's key, or up to it.
    pub fn count_below(&self, key: u64, or_equal: bool) -> usize {
        self.rank(|inner| inner.index_below(key, or_equal), |leaf| leaf.count_below(key, or_equal))
    }

    /// The first member whose score is not below this one's key, or not up to it: its leaf, its place there, its rank.
    pub fn seek(&self, key: u64, or_equal: bool) -> Option<(&Leaf, usize, usize)> {
        let (mut node, mut rank) = (&self.root, 0);
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Inner(inner) => {
                    let (below, before) = inner.node_at(inner.index_below(key, or_equal));
                    (node, rank) = (below, rank + before);
                }
            }
        };
        let at = leaf.count_below(key, or_equal);
        rank += at;
        if at < leaf.len() {
            return Some((leaf, at, rank));
        }
        (rank < self.count).then(|| {
            let (leaf, at) = self.leaf_of_rank(rank);
            (leaf, at, rank)
        })
    }

    /// How many members this holds for; it holds for the first ones.
    pub fn count_while(&self, before: impl Fn(Member) -> bool) -> usize {
        self.rank(|inner| inner.index_while(&before), |leaf| leaf.count_while(&before))
    }

    fn rank(&self, index: impl Fn(&Inner) -> usize, position: impl Fn(&Leaf) -> usize) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return rank + position(leaf),
                Node::Inner(inner) => {
                    let (below, before) = inner.node_at(index(inner));
                    (node, rank) = (below, rank + before);
                }
            }
        }
    }

    #[cfg(test)]
    pub fn check_invariants(&self) {
        let mut nodes = NodeCounts::default();
        self.root.check_invariants(&mut nodes);
        assert_eq!(nodes, self.nodes);
        assert_eq!(self.root.count(), self.count);
        assert!(matches!(&self.root, Node::Leaf(_)) || self.root.len() > 1);
    }
}
