//! Deleting the oldest entries of a stream: by number or by ID, whole nodes or to the entry, with regard to groups or not.
//!
//! Not here: deleting single entries (`super`), which counts as a gap in the history, as trimming does not.

use super::node::Node;
use super::ordered::Keyed as _;
use super::{Stream, StreamId};

/// What becomes of what is pending in groups when entries are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    /// It stays.
    #[default]
    KeepPending,
    /// It goes, too.
    ForgetPending,
    /// Only entries are deleted that every group has read and that are pending in none.
    Acknowledged,
}

/// Up to where entries are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// As long as there are more than this.
    Length(u64),
    /// As long as they are below this.
    Id(StreamId),
}

/// What is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Up to where.
    pub to: TrimTo,
    /// Whole nodes only.
    pub is_approximate: bool,
    /// Of an approximate one: no more entries than this; 0 for any number.
    pub limit: u64,
    /// What becomes of what is pending.
    pub removal: Removal,
}

/// Whole nodes that were trimmed.
#[derive(Default)]
pub struct Trimmed(pub(super) Stream);

impl Trimmed {
    /// These, if they are too many to be freed at once.
    pub fn if_large(self) -> Option<Box<Stream>> {
        self.0.if_large()
    }
}

impl Stream {
    /// Deletes the oldest entries: how many, and the whole nodes of them. A node of which a part goes is shown before.
    pub fn trim(&mut self, trim: &Trim, show_cut: impl FnOnce(&Node)) -> (u64, Trimmed) {
        if trim.removal != Removal::KeepPending {
            // As in Redis, which takes no whole nodes then.
            let deleted = if trim.is_approximate { 0 } else { self.trim_each(trim) };
            return (deleted, Trimmed::default());
        }
        let (mut deleted, mut removed) = (0, Stream::default());
        while let Some(node) = self.nodes.first() {
            let live = node.live_count() as u64;
            let is_whole = match trim.to {
                TrimTo::Length(length) if self.history.length <= length => break,
                TrimTo::Length(length) => self.history.length - live >= length,
                TrimTo::Id(id) => node.last_id() < id,
            };
            if trim.limit > 0 && deleted + live > trim.limit {
                break;
            }
            if !is_whole {
                if !trim.is_approximate {
                    show_cut(node);
                    deleted += self.trim_first_node(trim.to);
                }
                break;
            }
            let node = self.nodes.remove_at(self.nodes.begin());
            self.nodes_bytes -= node.allocated();
            removed.nodes_bytes += node.allocated();
            removed.nodes.insert(node);
            self.history.length -= live;
            deleted += live;
        }
        if deleted > 0 {
            self.find_first();
        }
        (deleted, Trimmed(removed))
    }

    /// Deletes entries of the first node, in which some stay.
    fn trim_first_node(&mut self, to: TrimTo) -> u64 {
        let Some(node) = self.nodes.first() else { return 0 };
        let (mut cursor, mut ids, mut length) = (node.begin(), Vec::new(), self.history.length);
        while let Some((_, entry)) = node.next(&mut cursor) {
            let goes = match to {
                TrimTo::Length(max) => length > max,
                TrimTo::Id(id) => entry.id < id,
            };
            if !goes {
                break;
            }
            if !entry.is_deleted {
                ids.push(entry.id);
                length -= 1;
            }
        }
        self.delete_all(&ids, to)
    }

    /// Deletes one entry after the other, as far as groups allow it.
    fn trim_each(&mut self, trim: &Trim) -> u64 {
        let (mut ids, mut length, mut reached) = (Vec::new(), self.history.length, StreamId::MIN);
        for entry in self.entries(StreamId::MIN, StreamId::MAX) {
            let goes = match trim.to {
                TrimTo::Length(max) => length > max,
                TrimTo::Id(id) => entry.id < id,
            };
            if !goes {
                break;
            }
            reached = entry.id;
            if trim.removal == Removal::ForgetPending || !self.is_referenced(entry.id) {
                ids.push(entry.id);
                length -= 1;
            }
        }
        if trim.removal == Removal::ForgetPending {
            for id in &ids {
                self.forget_pending(*id);
            }
        }
        let deleted = self.delete_all(&ids, trim.to);
        self.remove_dead_nodes(trim.to, reached);
        deleted
    }

    /// Deletes entries that are there, of which the history is no less known. A node whose last entry, though deleted, would not
    /// be trimmed stays.
    fn delete_all(&mut self, ids: &[StreamId], to: TrimTo) -> u64 {
        let max_deleted = self.history.max_deleted;
        for id in ids {
            let was_there = self.delete_and_keep(*id, |node| match to {
                TrimTo::Length(_) => false,
                TrimTo::Id(id) => node.last_id() >= id,
            });
            debug_assert!(was_there);
        }
        self.history.max_deleted = max_deleted;
        ids.len() as u64
    }

    /// Removes the nodes without a live entry that trimming comes to. `reached` is the last entry that it came to.
    fn remove_dead_nodes(&mut self, to: TrimTo, reached: StreamId) {
        let is_dead = |node: &&Node| node.live_count() == 0;
        let dead: Vec<StreamId> = match to {
            TrimTo::Length(_) => {
                let nodes = self.nodes.iter().take_while(|node| node.key() < reached);
                nodes.filter(is_dead).map(Node::key).collect()
            }
            TrimTo::Id(id) => {
                let nodes = self.nodes.iter().take_while(|node| node.last_id() < id);
                nodes.filter(is_dead).map(Node::key).collect()
            }
        };
        for key in dead {
            let node = self.nodes.remove(key).expect("it was just found");
            self.nodes_bytes -= node.allocated();
        }
    }
}
