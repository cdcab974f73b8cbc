//! When the waits of this worker's clients end: those that have an end at all.
//!
//! Design: one ordered set, so that a wait that ends early leaves nothing behind; the worker sleeps no longer than until its
//! first element. A connection waits for one thing at a time, so its slot and the time name the wait.
//!
//! Costs: O(log n) for each wait that begins or ends.

use std::collections::BTreeSet;

/// The ends, Unix time in ms, by slot.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(u64, u32)>);

impl Timers {
    /// A wait of this connection ends then; 0 means never.
    pub(super) fn add(&mut self, until_ms: u64, slot: u32) {
        if until_ms > 0 {
            assert!(self.0.insert((until_ms, slot)), "a connection waits for one thing");
        }
    }

    /// The wait that was added so is over.
    pub(super) fn remove(&mut self, until_ms: u64, slot: u32) {
        self.0.remove(&(until_ms, slot));
    }

    /// Takes one that has ended. It has once its millisecond is past, so that nobody waits shorter than asked for.
    pub(super) fn next_due(&mut self, now_ms: u64) -> Option<u32> {
        let (until_ms, slot) = *self.0.first()?;
        if until_ms >= now_ms {
            return None;
        }
        self.0.pop_first();
        Some(slot)
    }

    /// How long until the first ends; none if there is none.
    pub(super) fn due_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.0.first().map(|(until_ms, _)| (until_ms + 1).saturating_sub(now_ms))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_in_order_and_never_early() {
        let mut timers = Timers::default();
        timers.add(0, 1);
        assert_eq!((timers.len(), timers.due_in_ms(5)), (0, None));
        timers.add(30, 2);
        timers.add(10, 3);
        timers.add(10, 4);
        timers.add(20, 5);
        timers.remove(20, 5);
        timers.remove(20, 5);
        assert_eq!((timers.due_in_ms(5), timers.next_due(10)), (Some(6), None));
        assert_eq!((timers.next_due(11), timers.next_due(11), timers.next_due(11)), (Some(3), Some(4), None));
        assert_eq!((timers.due_in_ms(11), timers.due_in_ms(50)), (Some(20), Some(0)));
        assert_eq!((timers.next_due(31), timers.len()), (Some(2), 0));
    }
}
