//! Walking a dict: all records, scans, random picks, what has expired.
//!
//! Not here: how records are found by their keys (`super`).

use super::node::Node;
use super::{Dict, NEVER, Record};

/// Draws tried before a pick counts through the nodes: a dict of even nodes needs two or three.
const DRAWS_MAX: usize = 1000;

impl Dict {
    /// All records, in the order of the nodes.
    pub fn iter(&self) -> Iter<'_> {
        Iter { dict: self, slot: 0, index: 0, end: 0, left: self.len }
    }

    /// Emits the records of at least one node, from a position on, until there are `budget`. Returns the next position, which
    /// is not 0, or none at the end; 0 is the first.
    pub fn scan(&self, position: u64, budget: usize, emit: &mut dyn FnMut(Record<'_>)) -> Option<u64> {
        let (mut position, mut emitted) = (position, 0);
        loop {
            let slot = self.slot(position.reverse_bits());
            let node = self.node(slot);
            self.each(node, emit);
            emitted += node.count();
            position = self.behind(slot, position)?;
            if emitted >= budget {
                return Some(position);
            }
        }
    }

    /// The position behind a node in which another lies.
    fn behind(&self, slot: usize, position: u64) -> Option<u64> {
        let bits = self.nodes.next_power_of_two().trailing_zeros();
        // A node that is not split yet goes by one bit less: its other half would be the node of that number.
        let half = (1 << bits) >> 1;
        let bits = if slot < half && slot + half >= self.nodes { bits - 1 } else { bits };
        if bits == 0 {
            return None;
        }
        let low = 64 - bits;
        ((position >> low) + 1).checked_mul(1 << low)
    }

    /// A record, each with the same probability. There has to be one.
    pub fn random(&self, seed: u64) -> Record<'_> {
        assert!(self.len > 0, "who picks a record knows that there is one");
        let mut state = seed;
        for _ in 0..DRAWS_MAX {
            let node = self.node(below(&mut state, self.nodes));
            let index = below(&mut state, self.largest);
            if index < node.count() {
                return node.record(self.form, index);
            }
        }
        let mut index = below(&mut state, self.len);
        for slot in 0..self.nodes {
            let node = self.node(slot);
            match index.checked_sub(node.count()) {
                None => return node.record(self.form, index),
                Some(rest) => index = rest,
            }
        }
        unreachable!("the nodes have as many records as there are")
    }

    /// Removes records whose deadlines have passed, about `budget` of them, after showing each; whether none is left.
    pub fn remove_expired(
        &mut self,
        now_ms: u64,
        budget: usize,
        on_removed: &mut dyn FnMut(Record<'_>),
    ) -> bool {
        if self.due > now_ms {
            return true;
        }
        let (form, mut left) = (self.form, budget.max(1));
        let mut done = true;
        'segments: for number in 0..self.segments.len() {
            let first = number * super::SEGMENT_NODES;
            for place in 0..self.segments[number].nodes.len() {
                if self.segments[number].due > now_ms {
                    break;
                }
                if self.node(first + place).due() > now_ms {
                    continue;
                }
                if left == 0 {
                    done = false;
                    break 'segments;
                }
                let removed = self.edit(first + place, |node| {
                    let removed = remove_expired_of(node, form, now_ms, on_removed);
                    node.refresh_due(form);
                    removed
                });
                self.len -= removed;
                left = left.saturating_sub(removed.max(1));
            }
            let segment = &mut self.segments[number];
            if segment.due <= now_ms {
                segment.due = segment.nodes.iter().map(Node::due).min().unwrap_or(NEVER);
            }
        }
        if done {
            self.due = self.segments.iter().map(|segment| segment.due).min().unwrap_or(NEVER);
        }
        self.shrink();
        done
    }

    /// Calls back for each record of a node.
    fn each(&self, node: &Node, emit: &mut dyn FnMut(Record<'_>)) {
        let mut end = 0;
        for index in 0..node.count() {
            let (record, begin) = node.record_at(self.form, index, end);
            emit(record);
            end = begin;
        }
    }
}

/// Removes from a node what has expired; how many records.
fn remove_expired_of(
    node: &mut Node,
    form: super::Form,
    now_ms: u64,
    on_removed: &mut dyn FnMut(Record<'_>),
) -> usize {
    let before = node.count();
    // From the last one on: what takes a removed one's number has been looked at.
    for index in (0..before).rev() {
        let record = node.record(form, index);
        if record.deadline.is_some_and(|deadline| deadline <= now_ms) {
            on_removed(record);
            node.remove(index);
        }
    }
    before - node.count()
}

/// The records of a dict, one after the other.
#[derive(Clone)]
pub struct Iter<'a> {
    dict: &'a Dict,
    slot: usize,
    index: usize,
    end: usize,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut node = self.dict.node(self.slot);
        while self.index == node.count() {
            self.slot += 1;
            (self.index, self.end) = (0, 0);
            node = self.dict.node(self.slot);
        }
        let (record, end) = node.record_at(self.dict.form, self.index, self.end);
        self.index += 1;
        self.end = end;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// The next of a sequence of random numbers (splitmix64), below a limit.
fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    ((u128::from(mixed) * limit as u128) >> 64) as usize
}
