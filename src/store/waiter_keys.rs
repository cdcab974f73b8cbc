//! What serving those who wait in one queue may touch besides the queue's key.
//!
//! Design: two sets, of shards that have to be held, and of keys that may be written to, from whose queues the search for
//! shards goes on (`exec::blocking`). A set of shards rather than of keys, because a client may wait for thousands of keys, in
//! as many queues, and each of them would list all others. Both may say too much, never too little: a shard too many is one
//! lease more. So who leaves takes nothing out; the sets are found anew once as many have left as have stayed.
//!
//! Invariants:
//! - the sets of all who are in the queue are within those of the queue;
//! - fewer have left since the sets were found than are there, or there are no sets.
//!
//! Costs: nothing for those who wait for keys of one shard and write to none. A queue whose waiters have the same set, as a
//! client's that waits for many keys, shares it with them. To enter or to leave costs a word for 64 shards, and a look-up for
//! each key that is written to.

use std::sync::Arc;

use super::hash::SetOfHashes;
use super::shard_set::ShardSet;
use super::waiters::Registration;

/// What serving the waiters of a queue may touch besides its key.
#[derive(Default)]
pub struct QueueWaiterKeys {
    /// The shards of all their keys; absent while nobody has keys of two shards.
    shards: Option<Arc<ShardSet>>,
    /// Few have any; so the queue has room for a pointer only.
    written: Option<Box<Written>>,
    /// How many have left since the sets were found.
    left_count: usize,
}

/// The hashes of keys that serving may write to, but for the queue's own.
#[derive(Default)]
struct Written {
    hashes: SetOfHashes,
}

impl QueueWaiterKeys {
    /// One more waits.
    pub(super) fn enter(&mut self, registration: &Registration) {
        if let Some(more) = registration.waiter.shards() {
            match &mut self.shards {
                Some(shards) if shards.includes(more) => {}
                Some(shards) => Arc::make_mut(shards).insert_all(more),
                None => self.shards = Some(Arc::clone(more)),
            }
        }
        for hash in registration.written() {
            self.written.get_or_insert_default().hashes.insert(hash);
        }
    }

    /// Some wait no more; those who are left are `staying`.
    pub(super) fn leave<'r>(
        &mut self,
        count: usize,
        staying: impl ExactSizeIterator<Item = &'r Registration>,
    ) {
        if self.is_nothing() {
            return;
        }
        self.left_count += count;
        if self.left_count >= staying.len() {
            *self = QueueWaiterKeys::default();
            staying.for_each(|registration| self.enter(registration));
        }
    }

    /// The shards that serving may touch, if there are others than the queue's.
    pub fn shards(&self) -> Option<&ShardSet> {
        self.shards.as_deref()
    }

    /// The hashes of the keys that serving may write to, but for the queue's own.
    pub fn written(&self) -> impl Iterator<Item = u64> + '_ {
        self.written.iter().flat_map(|written| written.hashes.iter().copied())
    }

    fn is_nothing(&self) -> bool {
        self.shards.is_none() && self.written.is_none()
    }

    pub(super) fn check_invariants<'r>(&self, present: impl ExactSizeIterator<Item = &'r Registration>) {
        assert!(self.is_nothing() || self.left_count < present.len());
        assert!(!self.is_nothing() || self.left_count == 0);
        let written: SetOfHashes = self.written().collect();
        for registration in present {
            let more = registration.waiter.shards();
            assert!(more.is_none_or(|more| self.shards().is_some_and(|shards| shards.includes(more))));
            assert!(registration.written().all(|hash| written.contains(&hash)));
        }
    }
}
