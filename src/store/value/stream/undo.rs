//! What undoes changes to a stream: at its ends by the nodes concerned, in its groups by copies of these.
//!
//! Not here: deleting entries in the middle, before which the whole stream is kept.

use super::idempotency::Before;
use super::node::Node;
use super::trim::Trimmed;
use super::{Group, History, Stream};

/// The end of a stream, before an entry is added.
pub struct End {
    nodes: usize,
    last: Option<Node>,
    history: History,
}

/// Who has read a stream, and what is known of its history.
pub struct Readers {
    #[expect(clippy::vec_box, reason = "as in the stream")]
    groups: Vec<Box<Group>>,
    history: History,
}

impl Stream {
    /// What `cut_back` needs.
    pub fn end(&self) -> End {
        End { nodes: self.nodes.len(), last: self.nodes.last().cloned(), history: self.history }
    }

    /// Removes the entries that were added since.
    pub fn cut_back(&mut self, end: End) {
        let End { nodes, last, history } = end;
        let kept = nodes - usize::from(last.is_some());
        while self.nodes.len() > kept
            && let Some(node) = self.nodes.pop_last()
        {
            self.nodes_bytes -= node.allocated();
        }
        last.into_iter().for_each(|node| self.put_back_node(node));
        self.history = history;
    }

    /// Puts trimmed nodes back, and the one that was cut as it was.
    pub fn put_back(&mut self, trimmed: Trimmed, cut: Option<Node>, history: History) {
        if let Some(cut) = cut {
            let cut_now = self.nodes.remove_at(self.nodes.begin());
            self.nodes_bytes -= cut_now.allocated();
            self.put_back_node(cut);
        }
        let mut nodes = trimmed.0.nodes;
        while let Some(node) = nodes.pop_last() {
            self.put_back_node(node);
        }
        self.history = history;
    }

    /// What `set_readers` needs.
    pub fn readers(&self) -> Readers {
        Readers { groups: self.groups.clone(), history: self.history }
    }

    /// Has the groups be as they were.
    pub fn set_readers(&mut self, readers: Readers) {
        self.groups = readers.groups;
        self.groups_bytes = self.groups.iter().map(|group| group.allocated()).sum();
        self.history = readers.history;
    }

    /// Has what is known of producers be as it was; none where nothing was known.
    pub fn put_back_producers(&mut self, before: Option<Before>) {
        match (before, &mut self.idempotency) {
            (Some(before), Some(idempotency)) => idempotency.put_back(before),
            _ => self.idempotency = None,
        }
    }

    fn put_back_node(&mut self, node: Node) {
        self.nodes_bytes += node.allocated();
        self.nodes.insert(node);
    }
}
