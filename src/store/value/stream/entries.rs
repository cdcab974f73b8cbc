//! Walks over the entries of a stream, in both directions, without those that are deleted.

use super::node::{Cursor, Entry, Node};
use super::ordered::{Keyed, Ordered, Place};
use super::{Stream, StreamId};

/// Entries between two IDs, one after the other.
#[derive(Clone)]
pub struct Entries<'a> {
    nodes: &'a Ordered<Node>,
    /// The node at hand, its place, and how far it was walked.
    node: Option<(&'a Node, Place, Cursor)>,
    from: StreamId,
    to: StreamId,
    is_backward: bool,
}

/// A place between entries: a node, which may be gone by now, and how far into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    node: StreamId,
    offset: usize,
}

impl Stream {
    /// The entries whose IDs are not below `from` nor above `to`.
    pub fn entries(&self, from: StreamId, to: StreamId) -> Entries<'_> {
        Entries::new(&self.nodes, from, to)
    }

    /// The same, the last one first.
    pub fn entries_backward(&self, from: StreamId, to: StreamId) -> Entries<'_> {
        let node = self.nodes.seek_back(to).and_then(|place| {
            let node = self.nodes.at(place)?;
            Some((node, place, node.end()))
        });
        Entries { nodes: &self.nodes, node, from, to, is_backward: true }
    }

    /// The entry of this ID.
    pub fn entry(&self, id: StreamId) -> Option<Entry<'_>> {
        self.entries(id, id).next()
    }

    /// The ID of the last entry there is.
    pub fn last_entry(&self) -> Option<StreamId> {
        self.entries_backward(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }
}

impl<'a> Entries<'a> {
    /// The entries of these nodes whose IDs are not below `from` nor above `to`.
    pub(super) fn new(nodes: &'a Ordered<Node>, from: StreamId, to: StreamId) -> Entries<'a> {
        let place = nodes.seek_back(from).unwrap_or(nodes.begin());
        let node = nodes.at(place).map(|node| (node, place, node.begin()));
        Entries { nodes, node, from, to, is_backward: false }
    }

    /// As `new`, where the entry before `from` was the last that others came to, and were here then.
    pub(super) fn going_on(
        nodes: &'a Ordered<Node>,
        mark: Option<Mark>,
        from: StreamId,
        to: StreamId,
    ) -> Entries<'a> {
        let Some(mark) = mark else { return Entries::new(nodes, from, to) };
        let place = nodes.seek(mark.node);
        match nodes.at(place) {
            Some(node) if node.key() == mark.node => {
                let node = Some((node, place, node.cursor_at(mark.offset)));
                Entries { nodes, node, from, to, is_backward: false }
            }
            _ => Entries::new(nodes, from, to),
        }
    }

    /// Where the walk has come.
    #[inline]
    pub(super) fn mark(&self) -> Option<Mark> {
        self.node.as_ref().map(|(node, _, cursor)| Mark { node: node.key(), offset: cursor.offset() })
    }

    /// Goes to the node that comes next.
    #[cold]
    fn turn(&mut self) -> Option<()> {
        let nodes = self.nodes;
        let (_, place, _) = self.node.take()?;
        let place = if self.is_backward { nodes.before(place)? } else { nodes.behind(place) };
        let node = nodes.at(place)?;
        if !self.is_backward && node.key() > self.to {
            return None;
        }
        self.node = Some((node, place, if self.is_backward { node.end() } else { node.begin() }));
        Some(())
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (node, _, cursor) = self.node.as_mut()?;
            let node: &'a Node = node;
            let step = if self.is_backward { node.previous(cursor) } else { node.next(cursor) };
            let Some((_, entry)) = step else {
                self.turn()?;
                continue;
            };
            let (is_before, is_behind) = (entry.id < self.from, entry.id > self.to);
            if if self.is_backward { is_before } else { is_behind } {
                self.node = None;
                return None;
            }
            if !entry.is_deleted && !is_before && !is_behind {
                return Some(entry);
            }
        }
    }
}
