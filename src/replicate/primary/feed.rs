//! The journal's way into the stream, and where in the stream tickets ended.
//!
//! Invariants: marks ascend in both numbers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::persist::journal::Feed;
use crate::replicate::Replication;

/// Marks that are kept: for some seconds, as one is made in a ms at most.
const MARKS_MAX: usize = 4096;

/// Where in the stream tickets ended.
#[derive(Default)]
pub struct Marks(Mutex<VecDeque<(u64, u64)>>);

impl Marks {
    /// The stream has these bytes when this ticket's effects are in it.
    fn note(&self, ticket: u64, offset: u64) {
        let mut marks = self.lock();
        if marks.len() == MARKS_MAX {
            marks.pop_front();
        }
        marks.push_back((ticket, offset));
    }

    /// How many bytes the stream has at least when a ticket's effects are in it; `None` if they are not yet.
    pub fn offset_of(&self, ticket: u64) -> Option<u64> {
        if ticket == 0 {
            return Some(0);
        }
        let marks = self.lock();
        let next = marks.partition_point(|(other, _)| *other < ticket);
        marks.get(next).map(|(_, offset)| *offset)
    }

    /// The stream goes on elsewhere: what was noted means nothing any more.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        // Nobody panics midway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the journal gives the stream's bytes to.
pub struct StreamFeed(Arc<Replication>);

impl StreamFeed {
    /// Of this server's stream.
    pub fn new(replication: Arc<Replication>) -> Box<Self> {
        Box::new(Self(replication))
    }
}

impl Feed for StreamFeed {
    fn append(&mut self, bytes: &[u8]) {
        self.0.stream.append(bytes);
    }

    fn offset(&self) -> u64 {
        self.0.stream.end()
    }

    fn note(&mut self, ticket: u64) -> u64 {
        self.0.marks.note(ticket, self.0.stream.end());
        self.0.replicas.take_drained()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_is_in_the_stream_from_the_next_mark_on() {
        let marks = Marks::default();
        assert_eq!((marks.offset_of(0), marks.offset_of(1)), (Some(0), None));
        marks.note(3, 100);
        marks.note(7, 250);
        let offsets = [1, 3, 4, 7].map(|ticket| marks.offset_of(ticket));
        assert_eq!(offsets, [Some(100), Some(100), Some(250), Some(250)]);
        assert_eq!(marks.offset_of(8), None);
        (8..8 + MARKS_MAX as u64).for_each(|ticket| marks.note(ticket, 250 + ticket));
        assert_eq!(marks.offset_of(3), Some(258), "what is not known any more is told late, never early");
    }
}
