//! Chores: what is to be tidied up in shards when their leases are to be had anyway.
//!
//! Design: a client that waits no more, because its time was up or it has gone, is still registered in queues of shards that
//! other workers may hold now. Its worker notes that here and tries each turn; it never waits for a lease, and nothing
//! depends on when a chore is done but memory.
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

/// Chores tried under the leases that they take together.
const CHORES_PER_ROUND_MAX: usize = 256;
/// Chores tried in one turn, if there are so many.
const CHORES_PER_TURN_MIN: usize = CHORES_PER_ROUND_MAX;
/// The part of the chores that is tried in one turn, if it is more.
const CHORES_PER_TURN_DIVISOR: usize = 4;

/// Something to be tidied up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chore {
    /// A waiter in the queue of this key is over.
    WaiterOver(ReadyKey),
}

/// What is to be done: in the order in which it came, but for what was tried and refused, which goes to the end.
#[derive(Default)]
pub(super) struct Chores {
    list: VecDeque<Chore>,
    /// Those that have to be tried before the worker may wait are among so many first ones.
    untried_count: usize,
}

impl Chores {
    pub fn extend(&mut self, chores: impl Iterator<Item = Chore>) {
        self.list.extend(chores);
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
        let share = (self.list.len() / CHORES_PER_TURN_DIVISOR).max(CHORES_PER_TURN_MIN);
        share.min(self.untried_count)
    }

    /// Tries one chore; it stays, behind all others, if it could not be done.
    fn try_one(&mut self, can_do: impl FnOnce(Chore) -> bool) {
        let chore = self.list.pop_front().expect("there are as many as the turn's share");
        self.untried_count -= 1;
        if !can_do(chore) {
            self.list.push_back(chore);
        }
    }
}

impl<I: Io> Worker<I> {
    /// Does what can be done of this turn's share.
    pub(super) fn do_chores(&mut self) {
        let mut left = self.chores.share();
        while left > 0 {
            let round = left.min(CHORES_PER_ROUND_MAX);
            left -= round;
            self.do_round(round);
        }
        if self.chores.list.is_empty() {
            self.chores = Chores::default();
        }
    }

    fn do_round(&mut self, count: usize) {
        let (keyspace, leases) = (&self.shared.keyspace, &mut self.kit.leases);
        for _ in 0..count {
            self.chores.try_one(|Chore::WaiterOver(key)| {
                let held = leases.try_take(keyspace.shard_of(key.hash));
                if held {
                    blocking::note_over(key, keyspace, leases);
                }
                held
            });
        }
        let wanted = self.kit.leases.release_all();
        self.post.wake_wanting(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DbIndex;

    fn chores(count: usize) -> impl Iterator<Item = Chore> {
        (0..count as u64).map(|hash| Chore::WaiterOver(ReadyKey { hash, db: DbIndex(0) }))
    }

    fn turn(chores: &mut Chores, can_do: impl Fn(Chore) -> bool) {
        (0..chores.share()).for_each(|_| chores.try_one(&can_do));
    }

    /// However many each turn adds, there are never more than four times as many, or a few if they are few. They piled up: a turn
    /// did 256, whatever it added.
    #[test]
    fn chores_do_not_pile_up() {
        for each_turn in [1, 100, 256, 257, 3600, 20_000] {
            let mut list = Chores::default();
            for _ in 0..100 {
                list.extend(chores(each_turn));
                assert!(list.list.len() <= (each_turn + 1) * CHORES_PER_TURN_DIVISOR);
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
        let is_refused = |Chore::WaiterOver(key): Chore| key.hash < 500;
        let mut list = Chores::default();
        list.extend(chores(1000));
        turn(&mut list, |chore| !is_refused(chore));
        list.extend(chores(600));
        for _ in 0..3 {
            while list.has_untried() {
                turn(&mut list, |chore| !is_refused(chore));
            }
            assert_eq!(list.list.len(), 1000);
            assert!(list.list.iter().all(|chore| is_refused(*chore)));
            turn(&mut list, |chore| !is_refused(chore));
            assert!(list.has_untried());
        }
        // They may be had again: two times through are enough for all.
        for _ in 0..2 * list.list.len().div_ceil(CHORES_PER_TURN_MIN) {
            turn(&mut list, |_| true);
        }
        assert!(list.list.is_empty());
        assert!(!list.has_untried());
    }
}
