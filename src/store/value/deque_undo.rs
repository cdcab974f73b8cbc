//! What undoes changes at the ends of a deque: nodes and bodies are cut as they were.
//!
//! Not here: changes in the middle, before which the whole deque is kept.

use super::End;
use super::deque::Deque;
use super::node::{Listpack, Node};

/// The outer elements of a deque, to be put back once they are removed.
pub struct Outer {
    /// Whole nodes, the outermost first.
    nodes: Vec<Node>,
    /// Behind them, a part of a node.
    part: Listpack,
}

/// How far a deque reached.
#[derive(Clone, Copy)]
pub struct Extent {
    nodes: usize,
    len: usize,
}

impl Deque {
    /// A copy of the `count` elements at an end, all of which exist.
    pub fn outer_elements(&self, end: End, count: usize) -> Outer {
        let mut outer = Outer { nodes: Vec::new(), part: Listpack::default() };
        let (mut left, mut next) = (count, self.nodes().outer_place(end));
        while let Some(place) = next.filter(|_| left > 0) {
            let node = self.nodes().at(place);
            if node.count() <= left {
                outer.nodes.push(node.clone());
            } else if let Node::Listpack(body) = node {
                outer.part = body.outer(end, left);
            }
            left = left.saturating_sub(node.count());
            next = match end {
                End::Left => self.nodes().behind(place),
                End::Right => self.nodes().before(place),
            };
        }
        outer
    }

    /// Puts back what was removed at an end.
    pub fn put_back(&mut self, end: End, outer: Outer) {
        let Outer { nodes, part } = outer;
        if part.count() > 0 {
            self.extend_outer(end, &part);
        }
        nodes.into_iter().rev().for_each(|node| self.push_node(end, node));
    }

    /// How far it reaches, for `cut_back`.
    pub fn extent(&self) -> Extent {
        Extent { nodes: self.nodes().len(), len: self.len() }
    }

    /// Removes what was added at an end.
    pub fn cut_back(&mut self, end: End, Extent { nodes, len }: Extent) {
        while self.nodes().len() > nodes
            && let Some(place) = self.nodes().outer_place(end)
        {
            self.remove_node(place);
        }
        let added = self.len() - len;
        if added > 0
            && let Some(place) = self.nodes().outer_place(end)
        {
            let first = if end == End::Left { 0 } else { self.nodes().at(place).count() - added };
            self.remove_from_body(place, first, added);
        }
    }
}
