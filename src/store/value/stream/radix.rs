//! How many nodes the index of a Redis stream has over the same IDs: what XINFO STREAM tells of it.
//!
//! Design: a radix tree over the IDs' bytes has a node for each place where IDs part, one for each stretch without any, and
//! one at the end of each ID. Of neighbouring IDs the length of the common beginning says where they part.
//!
//! Costs: one pass over the IDs; of more than a few thousand the first ones stand for all.

use super::StreamId;

/// So many IDs are looked at.
const IDS_MAX: usize = 4096;
const ID_BYTES: usize = 16;

/// The number of the tree's nodes for `count` IDs in ascending order.
pub fn node_count(ids: impl Iterator<Item = StreamId>, count: usize) -> usize {
    if count == 0 {
        return 1;
    }
    let looked_at = count.min(IDS_MAX);
    let mut tree = Tree { branches: Vec::new(), nodes: 0 };
    let (mut previous, mut common_before) = (None, None);
    for id in ids.take(looked_at) {
        let common = previous.map(|previous| common_bytes(previous, id));
        if let Some(common) = common {
            tree.leaf(common_before.max(Some(common)));
            tree.part(common);
        }
        (previous, common_before) = (Some(id), common);
    }
    tree.leaf(common_before);
    tree.end();
    tree.nodes * count / looked_at
}

/// How many bytes two different IDs have in common from the beginning.
fn common_bytes(a: StreamId, b: StreamId) -> usize {
    a.to_bytes().iter().zip(b.to_bytes()).take_while(|(a, b)| **a == *b).count()
}

struct Tree {
    /// Depths at which the IDs above the latest one part, ascending.
    branches: Vec<usize>,
    nodes: usize,
}

impl Tree {
    /// An ID's end, below the branch at this depth.
    fn leaf(&mut self, parent: Option<usize>) {
        self.nodes += 1;
        self.stretch(parent, ID_BYTES);
    }

    /// The next ID parts from the latest at this depth.
    fn part(&mut self, depth: usize) {
        while let Some(below) = self.branches.pop_if(|branch| *branch > depth) {
            let parent = self.branches.last().copied().max(Some(depth));
            self.branch(parent, below);
        }
        if self.branches.last() != Some(&depth) {
            self.branches.push(depth);
        }
    }

    fn end(&mut self) {
        while let Some(depth) = self.branches.pop() {
            self.branch(self.branches.last().copied(), depth);
        }
    }

    fn branch(&mut self, parent: Option<usize>, depth: usize) {
        self.nodes += 1;
        self.stretch(parent, depth);
    }

    /// What lies between a branch, which has a byte of each ID below it, and the next node.
    fn stretch(&mut self, parent: Option<usize>, depth: usize) {
        let begin = parent.map_or(0, |parent| parent + 1);
        self.nodes += usize::from(depth > begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 8.2 told of streams with nodes of one entry each.
    #[test]
    fn nodes_are_counted_as_redis_has_them() {
        let count = |ids: &[(u64, u64)]| {
            let ids: Vec<StreamId> = ids.iter().map(|(ms, seq)| StreamId { ms: *ms, seq: *seq }).collect();
            node_count(ids.iter().copied(), ids.len())
        };
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 1)]), 2);
        assert_eq!(count(&[(1, 0), (4, 0), (7, 0)]), 8);
        assert_eq!(count(&[(4, 0), (7, 0)]), 6);
    }
}
