//! Deferred cleanup: what is to be tidied up in shards when their leases are to be had anyway.
//!
//! Design: a client that waits no more, because its time was up or it has gone, is still registered in queues of shards that
//! other workers may hold now. Its worker notes that here and tries each turn; it never waits for a lease, and nothing
//! depends on when a cleanup is done but memory.
//!
//! Bounds: a turn tries a quarter of what there is, and does not wait while any was not tried. So there are never more than four
//! times as many as a turn adds (or than can be tried at least), but for those whose leases are refused; and they take no
//! more of a turn than ending the waits did that left them. Leases are given back between rounds. Once all were tried, those that
//! were refused wait with the worker for its next turn.

use std::collections::VecDeque;

use super::Worker;
use crate::exec::blocking;
use crate::io::Io;
use crate::store::ReadyKey;

/// Cleanups tried under the leases that they take together.
const CLEANUPS_PER_ROUND_MAX: usize = 256;
/// Cleanups tried in one turn, if there are so many.
const CLEANUPS_PER_TURN_MIN: usize = CLEANUPS_PER_ROUND_MAX;
/// The part of the cleanups that is tried in one turn, if it is more.
const CLEANUPS_PER_TURN_DIVISOR: usize = 4;

/// Something to be tidied up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cleanup {
    /// A waiter in the queue of this key is over.
    WaiterOver(ReadyKey),
}

/// What is to be done: in the order in which it came, but for what was tried and refused, which goes to the end.
#[derive(Default)]
pub(super) struct Cleanups {
    list: VecDeque<Cleanup>,
    /// Those that have to be tried before the worker may wait are among so many first ones.
    untried_count: usize,
}

impl Cleanups {
    pub fn extend(&mut self, cleanups: impl Iterator<Item = Cleanup>) {
        self.list.extend(cleanups);
        self.untried_count = self.list.len();
    }

    /// Whether there may be some that were not tried.
    pub fn has_untried(&self) -> bool {
        self.untried_count > 0
    }

    /// A turn begins: how many it is to try. If all were, it begins again.
    fn share(&mut self) -> usize {
        if self.untried_count == 0 {
            self.untried_count = self.list.len();
        }
        let share = (self.list.len() / CLEANUPS_PER_TURN_DIVISOR).max(CLEANUPS_PER_TURN_MIN);
        share.min(self.untried_count)
    }

    /// Tries one cleanup; it stays, behind all others, if it could not be done.
    fn try_one(&mut self, can_do: impl FnOnce(Cleanup) -> bool) {
        let cleanup = self.list.pop_front().expect("there are as many as the turn's share");
        self.untried_count -= 1;
        if !can_do(cleanup) {
            self.list.push_back(cleanup);
        }
    }
}

impl<I: Io> Worker<I> {
    /// Does what can be done of this turn's share.
    pub(super) fn run_cleanups(&mut self) {
        let mut left = self.cleanups.share();
        while left > 0 {
            let round = left.min(CLEANUPS_PER_ROUND_MAX);
            left -= round;
            self.do_round(round);
        }
        if self.cleanups.list.is_empty() {
            self.cleanups = Cleanups::default();
        }
    }

    fn do_round(&mut self, count: usize) {
        let (keyspace, leases) = (&self.shared.keyspace, &mut self.execution.leases);
        for _ in 0..count {
            self.cleanups.try_one(|Cleanup::WaiterOver(key)| {
                let held = leases.try_take(keyspace.shard_of(key.hash));
                if held {
                    blocking::note_over(key, keyspace, leases);
                }
                held
            });
        }
        let wanted = self.execution.leases.release_all();
        self.inbox.wake_wanting(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DbIndex;

    fn cleanups(count: usize) -> impl Iterator<Item = Cleanup> {
        (0..count as u64).map(|hash| Cleanup::WaiterOver(ReadyKey { hash, db: DbIndex(0) }))
    }

    fn turn(cleanups: &mut Cleanups, can_do: impl Fn(Cleanup) -> bool) {
        (0..cleanups.share()).for_each(|_| cleanups.try_one(&can_do));
    }

    /// However many each turn adds, there are never more than four times as many, or a few if they are few. They piled up: a turn
    /// did 256, whatever it added.
    #[test]
    fn cleanups_do_not_pile_up() {
        for each_turn in [1, 100, 256, 257, 3600, 20_000] {
            let mut list = Cleanups::default();
            for _ in 0..100 {
                list.extend(cleanups(each_turn));
                assert!(list.list.len() <= (each_turn + 1) * CLEANUPS_PER_TURN_DIVISOR);
                turn(&mut list, |_| true);
            }
            while list.has_untried() {
                turn(&mut list, |_| true);
            }
            assert!(list.list.is_empty());
        }
    }

    /// The worker goes on until each was tried, whatever is refused, and then waits; the next turn tries all again.
    #[test]
    fn those_that_are_refused_keep_none_from_being_tried() {
        let is_refused = |Cleanup::WaiterOver(key): Cleanup| key.hash < 500;
        let mut list = Cleanups::default();
        list.extend(cleanups(1000));
        turn(&mut list, |cleanup| !is_refused(cleanup));
        list.extend(cleanups(600));
        for _ in 0..3 {
            while list.has_untried() {
                turn(&mut list, |cleanup| !is_refused(cleanup));
            }
            assert_eq!(list.list.len(), 1000);
            assert!(list.list.iter().all(|cleanup| is_refused(*cleanup)));
            turn(&mut list, |cleanup| !is_refused(cleanup));
            assert!(list.has_untried());
        }
        // They may be had again: two times through are enough for all.
        for _ in 0..2 * list.list.len().div_ceil(CLEANUPS_PER_TURN_MIN) {
            turn(&mut list, |_| true);
        }
        assert!(list.list.is_empty());
        assert!(!list.has_untried());
    }
}
