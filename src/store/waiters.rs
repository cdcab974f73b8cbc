//! Who waits for keys of a shard, in the order in which they came; and which of these keys may have become present.
//!
//! Design: what waits is opaque (`Waiting`); it is shared by the queues of all keys it waits for. A queue is found by its
//! key's hash. A waiter that was served or has given up stays in its queues, over, until somebody notes it there
//! (`waiter_over`): a queue is swept once half of it is over, so that removal costs O(1) on average and memory stays
//! within twice what is needed. A change to a key that somebody waits for lists the key as ready: a hint that whoever holds the
//! lease follows right after the command, and checks.
//!
//! ```text
//!   hash -> [ db 0: waiter, waiter, ...  + what else these waiters touch ]
//!           [ db 3: waiter               + ...                           ]
//!   ready:  (hash, db), ...
//! ```
//!
//! Invariants:
//! - a queue is never empty, nor its list of databases; a shard has `Waiters` only while it has a queue or a ready key;
//! - `along` of a queue counts, for each other key, the waiters of the queue that touch it;
//! - a queue that is in `ready`, or was taken from there to be served, says so (`listed`), and is there once.
//!
//! Costs: a shard for whose keys nobody waits has one null pointer, and its writes one predictable branch, shared with the
//! other listeners.
//!
//! Not here: what a waiter is, who may end its waiting, how it is served (`exec::blocking`).

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use super::DbIndex;
use super::hash::MapByHash;
use super::shard::{Listeners, Shard};

/// Something that waits for keys.
pub trait Waiting: Any + Send + Sync {
    /// Whether it waits no more.
    fn is_over(&self) -> bool;
    /// The hashes of all keys that serving it may touch.
    fn hashes(&self) -> &[u64];
    /// How many of these, from the first on, it waits for; serving may write to the others.
    fn awaited_count(&self) -> usize;
}

/// A key that somebody waits for and that a change has touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyKey {
    /// Its hash.
    pub hash: u64,
    /// Its database.
    pub db: DbIndex,
}

/// One waiter's place in a queue.
#[derive(Clone)]
pub struct Registration {
    /// Who waits.
    pub waiter: Arc<dyn Waiting>,
    /// For which of its keys.
    pub key_index: u32,
}

/// The queues of a shard.
#[derive(Default)]
pub(super) struct Waiters {
    queues: MapByHash<Vec<Queue>>,
    ready: VecDeque<ReadyKey>,
    key_count: usize,
}

struct Queue {
    db: DbIndex,
    entries: VecDeque<Registration>,
    along: Vec<Along>,
    /// Entries that were noted as over and are still here; perhaps too many.
    over_count: usize,
    /// Whether the queue is listed as ready.
    listed: bool,
}

/// Another key that serving waiters of a queue touches.
struct Along {
    hash: u64,
    written: bool,
    count: usize,
}

impl Queue {
    fn new(db: DbIndex) -> Queue {
        // Most keys are waited for by one.
        let (entries, along) = (VecDeque::with_capacity(1), Vec::new());
        Queue { db, entries, along, over_count: 0, listed: false }
    }

    fn push(&mut self, registration: Registration) {
        each_along(&registration, |hash, written| {
            match self.along.iter_mut().find(|along| along.hash == hash && along.written == written) {
                Some(along) => along.count += 1,
                None => self.along.push(Along { hash, written, count: 1 }),
            }
        });
        self.entries.push_back(registration);
    }

    fn forget(along: &mut Vec<Along>, registration: &Registration) {
        each_along(registration, |hash, written| {
            let place = along.iter().position(|along| along.hash == hash && along.written == written);
            let place = place.expect("it was counted when it came");
            along[place].count -= 1;
            if along[place].count == 0 {
                along.swap_remove(place);
            }
        });
    }

    fn remove(&mut self, index: usize) {
        let registration = self.entries.remove(index).expect("the caller has just looked at it");
        Queue::forget(&mut self.along, &registration);
    }

    /// Removes all that are over.
    fn sweep(&mut self) {
        let Queue { entries, along, .. } = self;
        entries.retain(|registration| {
            let over = registration.waiter.is_over();
            if over {
                Queue::forget(along, registration);
            }
            !over
        });
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to_fit();
        }
        self.over_count = 0;
    }
}

/// The keys besides its own that serving a registration may touch.
fn each_along(registration: &Registration, mut each: impl FnMut(u64, bool)) {
    let (hashes, awaited) = (registration.waiter.hashes(), registration.waiter.awaited_count());
    let own = registration.key_index as usize;
    for (index, hash) in hashes.iter().enumerate().filter(|(index, _)| *index != own) {
        each(*hash, index >= awaited);
    }
}

impl Waiters {
    fn queue(&mut self, key: ReadyKey) -> Option<&mut Queue> {
        self.queues.get_mut(&key.hash)?.iter_mut().find(|queue| queue.db == key.db)
    }

    fn remove_if_empty(&mut self, key: ReadyKey) {
        let Some(queues) = self.queues.get_mut(&key.hash) else { return };
        let before = queues.len();
        queues.retain(|queue| !queue.entries.is_empty());
        self.key_count -= before - queues.len();
        if queues.is_empty() {
            self.queues.remove(&key.hash);
            if self.queues.len() * 8 < self.queues.capacity() {
                self.queues.shrink_to_fit();
            }
        }
    }

    fn list(&mut self, key: ReadyKey) {
        if let Some(queue) = self.queue(key)
            && !queue.listed
        {
            queue.listed = true;
            self.ready.push_back(key);
        }
    }
}

impl Shard {
    /// Puts a waiter at the end of the queue of its key `key_index`, whose hash is that of a key of this shard.
    pub fn add_waiter(&mut self, db: DbIndex, registration: Registration) {
        let hash = registration.waiter.hashes()[registration.key_index as usize];
        let waiters = self.waiters.get_or_insert_default();
        let queues = waiters.queues.entry(hash).or_default();
        let place = queues.iter().position(|queue| queue.db == db).unwrap_or_else(|| {
            waiters.key_count += 1;
            queues.reserve_exact(1);
            queues.push(Queue::new(db));
            queues.len() - 1
        });
        queues[place].push(registration);
        self.listeners.set(Listeners::WAITERS, true);
    }

    /// Whether anybody waits for a key of this shard.
    #[inline]
    pub fn has_waiters(&self) -> bool {
        self.listeners.has(Listeners::WAITERS)
    }

    /// Whether a key is listed as ready.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.listeners.has(Listeners::READY)
    }

    /// The number of keys for which somebody waits.
    pub fn waited_keys(&self) -> usize {
        self.waiters.as_ref().map_or(0, |waiters| waiters.key_count)
    }

    /// Takes the next key from the list of those that are ready. It is not listed again until `begin_serving`.
    pub fn next_ready(&mut self) -> Option<ReadyKey> {
        let waiters = self.waiters.as_mut()?;
        let key = waiters.ready.pop_front();
        self.listeners.set(Listeners::READY, !waiters.ready.is_empty());
        self.settle_waiters();
        key
    }

    /// Those who wait for a key that was taken from the list are looked at next: from now on changes to it list it again.
    pub fn begin_serving(&mut self, key: ReadyKey) {
        let queue = self.waiters.as_mut().and_then(|waiters| waiters.queue(key));
        queue.into_iter().for_each(|queue| queue.listed = false);
    }

    /// How many wait for a key, those included that are over.
    pub fn waiter_count(&mut self, key: ReadyKey) -> usize {
        self.waiters.as_mut().and_then(|waiters| waiters.queue(key)).map_or(0, |queue| queue.entries.len())
    }

    /// The waiter at a place of a key's queue.
    pub fn waiter_at(&mut self, key: ReadyKey, index: usize) -> Option<Registration> {
        self.waiters.as_mut()?.queue(key)?.entries.get(index).cloned()
    }

    /// Removes the waiter at a place of a key's queue.
    pub fn remove_waiter_at(&mut self, key: ReadyKey, index: usize) {
        let Some(waiters) = self.waiters.as_mut() else { return };
        if let Some(queue) = waiters.queue(key) {
            queue.over_count = queue.over_count.saturating_sub(1);
            queue.remove(index);
            waiters.remove_if_empty(key);
        }
        self.settle_waiters();
    }

    /// Notes that a waiter of this key's queue is over. It is removed now or later.
    pub fn waiter_over(&mut self, key: ReadyKey) {
        let Some(waiters) = self.waiters.as_mut() else { return };
        if let Some(queue) = waiters.queue(key) {
            queue.over_count += 1;
            if queue.over_count * 2 >= queue.entries.len() {
                queue.sweep();
                waiters.remove_if_empty(key);
            }
        }
        self.settle_waiters();
    }

    /// Calls back with the hashes of the other keys that serving waiters of a key may touch, in whichever database it is, and
    /// whether it may write to them.
    pub fn each_along(&self, hash: u64, mut each: impl FnMut(u64, bool)) {
        let queues = self.waiters.as_ref().and_then(|waiters| waiters.queues.get(&hash));
        for along in queues.into_iter().flatten().flat_map(|queue| &queue.along) {
            each(along.hash, along.written);
        }
    }

    /// Lists a key as ready if somebody waits for it.
    pub(super) fn list_ready(&mut self, db: DbIndex, hash: u64) {
        if let Some(waiters) = &mut self.waiters {
            waiters.list(ReadyKey { hash, db });
            self.listeners.set(Listeners::READY, !waiters.ready.is_empty());
        }
    }

    /// Two databases were exchanged: any key of them that somebody waits for may be there now.
    pub(super) fn list_swapped(&mut self, a: DbIndex, b: DbIndex) {
        let Some(waiters) = &mut self.waiters else { return };
        let queues = waiters.queues.iter().flat_map(|(hash, queues)| queues.iter().map(|q| (*hash, q.db)));
        let mut keys: Vec<_> = queues.filter(|(_, db)| *db == a || *db == b).collect();
        // The map's order is nobody's; this one is at least always the same.
        keys.sort_unstable();
        keys.into_iter().for_each(|(hash, db)| self.list_ready(db, hash));
    }

    /// Drops what is needed only while somebody waits.
    fn settle_waiters(&mut self) {
        let is_idle = |waiters: &Waiters| waiters.queues.is_empty() && waiters.ready.is_empty();
        if self.waiters.as_deref().is_some_and(is_idle) {
            self.waiters = None;
            self.listeners.set(Listeners::WAITERS, false);
            self.listeners.set(Listeners::READY, false);
        }
    }

    pub(super) fn check_waiters(&self) {
        let Some(waiters) = &self.waiters else {
            assert!(!self.has_waiters() && !self.has_ready());
            return;
        };
        assert!(self.has_waiters());
        assert_eq!(waiters.key_count, waiters.queues.values().map(Vec::len).sum::<usize>());
        for (hash, queues) in &waiters.queues {
            assert!(!queues.is_empty());
            for queue in queues {
                assert!(!queue.entries.is_empty());
                let mut counted = 0;
                for registration in &queue.entries {
                    assert_eq!(registration.waiter.hashes()[registration.key_index as usize], *hash);
                    each_along(registration, |_, _| counted += 1);
                }
                assert_eq!(counted, queue.along.iter().map(|along| along.count).sum::<usize>());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::super::hash::KeyHasher;
    use super::super::{Deadline, NewString};
    use super::*;

    struct Patient {
        hashes: Vec<u64>,
        awaited: usize,
        over: AtomicBool,
    }

    impl Waiting for Patient {
        fn is_over(&self) -> bool {
            self.over.load(Relaxed)
        }
        fn hashes(&self) -> &[u64] {
            &self.hashes
        }
        fn awaited_count(&self) -> usize {
            self.awaited
        }
    }

    fn patient(shard: &mut Shard, db: u16, hashes: &[u64], awaited: usize) -> Arc<Patient> {
        let over = AtomicBool::new(false);
        let patient = Arc::new(Patient { hashes: hashes.to_vec(), awaited, over });
        for key_index in 0..awaited as u32 {
            shard.add_waiter(DbIndex(db), Registration { waiter: patient.clone(), key_index });
        }
        patient
    }

    fn is(registration: Option<Registration>, patient: &Arc<Patient>) -> bool {
        let expected: Arc<dyn Waiting> = patient.clone();
        registration.is_some_and(|registration| Arc::ptr_eq(&registration.waiter, &expected))
    }

    #[test]
    fn waiters_queue_and_leave() {
        let mut shard = Shard::new(16, KeyHasher::new(1));
        let key = ReadyKey { hash: 7, db: DbIndex(0) };
        let many: Vec<_> = (0..100).map(|_| patient(&mut shard, 0, &[7, 9], 1)).collect();
        let other = patient(&mut shard, 3, &[7], 1);
        shard.check_waiters();
        assert_eq!((shard.waited_keys(), shard.waiter_count(key)), (2, 100));
        let mut along = Vec::new();
        shard.each_along(7, |hash, written| along.push((hash, written)));
        assert_eq!(along, [(9, true)]);
        // They are over one by one, in no order, and the queue never holds more than twice those that are not.
        for (count, index) in (0..100).map(|n| n * 37 % 100).enumerate() {
            many[index].over.store(true, Relaxed);
            shard.waiter_over(key);
            shard.check_waiters();
            assert!(shard.waiter_count(key) <= 2 * (99 - count));
        }
        assert_eq!(shard.waited_keys(), 1);
        assert!(is(shard.waiter_at(ReadyKey { db: DbIndex(3), ..key }, 0), &other));
        shard.remove_waiter_at(ReadyKey { db: DbIndex(3), ..key }, 0);
        shard.check_waiters();
        assert!(!shard.has_waiters());
    }

    #[test]
    fn changes_list_keys_once_and_only_where_somebody_waits() {
        let hasher = KeyHasher::new(1);
        let mut shard = Shard::new(16, hasher.clone());
        let hash = hasher.hash(b"k");
        let set = |shard: &mut Shard, db: u16, key: &[u8]| {
            let mut guard = shard.write(DbIndex(db), hasher.hash(key), key, 0);
            guard.set_string(NewString::Int(1), Deadline::None);
        };
        set(&mut shard, 0, b"k");
        assert!(!shard.has_ready());
        let waiter = patient(&mut shard, 0, &[hash], 1);
        set(&mut shard, 0, b"other");
        set(&mut shard, 1, b"k");
        assert!(!shard.has_ready());
        set(&mut shard, 0, b"k");
        set(&mut shard, 0, b"k");
        assert!(shard.has_ready());
        let key = shard.next_ready().expect("listed");
        assert_eq!(key, ReadyKey { hash, db: DbIndex(0) });
        assert!(is(shard.waiter_at(key, 0), &waiter));
        assert!(!shard.has_ready());
        // It is about to be served, which will show what it is by then.
        set(&mut shard, 0, b"k");
        assert_eq!(shard.next_ready(), None);
        shard.begin_serving(key);
        shard.swap_dbs(DbIndex(0), DbIndex(5));
        assert_eq!(shard.next_ready(), Some(key));
        assert_eq!(shard.next_ready(), None);
        shard.begin_serving(key);
        shard.swap_dbs(DbIndex(4), DbIndex(5));
        assert!(!shard.has_ready());
        // A ready key outlives its queue; then nothing is left.
        set(&mut shard, 0, b"k");
        shard.remove_waiter_at(key, 0);
        assert!(shard.has_ready());
        assert_eq!(shard.next_ready(), Some(key));
        assert!(!shard.has_ready() && !shard.has_waiters());
        shard.check_waiters();
    }
}
