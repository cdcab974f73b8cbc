//! Who waits for keys of a shard, in the order in which they came; and which of these keys may have become present.
//!
//! Design: what waits is opaque (`Waiting`); it is shared by the queues of all keys it waits for. A queue is found by its
//! key's hash. A waiter that was served or has given up stays in its queues, over, until somebody notes it there
//! (`waiter_over`): a queue is swept once half of it is over, so that removal costs O(1) on average and memory stays
//! within twice what is needed. A change to a key that somebody waits for lists the key as ready: a hint that whoever holds the
//! lease follows right after the command, and checks.
//!
//! ```text
//!   hash -> [ db 0: waiter, waiter, ...  + what else serving them touches (`waiter_keys`) ]
//!           [ db 3: waiter               + ...                                      ]
//!   ready:  (hash, db), ...
//! ```
//!
//! Invariants:
//! - a queue is never empty, nor its list of databases; a shard has `Waiters` only while it has a queue or a ready key;
//! - `waiter_keys` of a queue has the shards of all keys of its waiters, and the keys that serving them may write to;
//! - a queue that is in `ready`, or was taken from there to be served, says so (`listed`), and is there once.
//!
//! Costs: a shard for whose keys nobody waits has one null pointer, and its writes one predictable branch, shared with the
//! other listeners. A client that waits for many keys costs each of their queues the same, however many they are.
//!
//! Not here: what a waiter is, who may end its waiting, how it is served (`exec::blocking`).

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use super::DbIndex;
use super::hash::MapByHash;
use super::shard::{Listeners, Shard};
use super::shard_set::ShardSet;
use super::waiter_keys::QueueWaiterKeys;

/// Something that waits for keys.
pub trait Waiting: Any + Send + Sync {
    /// Whether it waits no more.
    fn is_over(&self) -> bool;
    /// The hashes of all keys that serving it may touch.
    fn hashes(&self) -> &[u64];
    /// How many of these, from the first on, it waits for; serving may write to the others.
    fn awaited_count(&self) -> usize;
    /// The shards of these keys, if they are not all of one.
    fn shards(&self) -> Option<&Arc<ShardSet>>;
    /// Whether it is to hear also of a key that is gone.
    fn heeds_loss(&self) -> bool;
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

impl Registration {
    /// The hash of the key.
    fn hash(&self) -> u64 {
        self.waiter.hashes()[self.key_index as usize]
    }

    /// The hashes of the other keys that serving the waiter may write to.
    pub(super) fn written(&self) -> impl Iterator<Item = u64> + '_ {
        let (own, awaited) = (self.hash(), self.waiter.awaited_count());
        self.waiter.hashes()[awaited..].iter().copied().filter(move |hash| *hash != own)
    }
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
    waiter_keys: QueueWaiterKeys,
    /// Entries that were noted as over since the queue was swept; some may have been removed as they were met.
    over_count: usize,
    /// Whether the queue is listed as ready.
    listed: bool,
    /// Whether somebody who is here, or was when it was swept, is to hear also that the key is gone.
    heeds_loss: bool,
}

impl Queue {
    fn new(db: DbIndex) -> Queue {
        // Most keys are waited for by one.
        let (entries, waiter_keys) = (VecDeque::with_capacity(1), QueueWaiterKeys::default());
        Queue { db, entries, waiter_keys, over_count: 0, listed: false, heeds_loss: false }
    }

    fn push(&mut self, registration: Registration) {
        self.waiter_keys.enter(&registration);
        self.heeds_loss |= registration.waiter.heeds_loss();
        self.entries.push_back(registration);
    }

    fn remove(&mut self, index: usize) {
        let removed = self.entries.remove(index);
        assert!(removed.is_some(), "the caller has just looked at it");
        self.waiter_keys.leave(1, self.entries.iter());
    }

    /// Removes all that are over.
    fn sweep(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|registration| !registration.waiter.is_over());
        if self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
        self.waiter_keys.leave(before - self.entries.len(), self.entries.iter());
        self.heeds_loss = self.entries.iter().any(|registration| registration.waiter.heeds_loss());
        self.over_count = 0;
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

    /// Whether a key is listed as ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Lists a key that is gone as ready, if somebody is to hear of that.
    pub fn list_lost(&mut self, key: ReadyKey) {
        if self.queue(key).is_some_and(|queue| queue.heeds_loss) {
            self.list(key);
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
        let hash = registration.hash();
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

    /// The hashes of the keys that are listed as ready.
    pub fn ready_hashes(&self) -> impl Iterator<Item = u64> {
        self.waiters.iter().flat_map(|waiters| waiters.ready.iter().map(|key| key.hash))
    }

    /// The number of keys for which somebody waits.
    pub fn waited_keys(&self) -> usize {
        self.waiters.as_ref().map_or(0, |waiters| waiters.key_count)
    }

    /// Takes the next key from the list of those that are ready. It is not listed again until `begin_serving`.
    pub fn next_ready(&mut self) -> Option<ReadyKey> {
        let waiters = self.waiters.as_mut()?;
        let key = waiters.ready.pop_front();
        self.listeners.set(Listeners::READY, waiters.has_ready());
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
        }
        self.sweep_if_due(key);
    }

    /// Serving those who wait for a key is done: of those who are left, most may be over that were not looked at.
    pub fn end_serving(&mut self, key: ReadyKey) {
        self.sweep_if_due(key);
    }

    /// Sweeps a key's queue if half of it is over. Nobody may be in the middle of it.
    fn sweep_if_due(&mut self, key: ReadyKey) {
        let Some(waiters) = self.waiters.as_mut() else { return };
        if let Some(queue) = waiters.queue(key)
            && queue.over_count * 2 >= queue.entries.len()
        {
            queue.sweep();
            waiters.remove_if_empty(key);
        }
        self.settle_waiters();
    }

    /// What serving the waiters of a key, in whichever database it is, may touch besides it.
    pub fn waiter_keys(&self, hash: u64) -> impl Iterator<Item = &QueueWaiterKeys> {
        let queues = self.waiters.as_ref().and_then(|waiters| waiters.queues.get(&hash));
        queues.into_iter().flatten().map(|queue| &queue.waiter_keys)
    }

    /// Lists a key as ready if somebody waits for it.
    pub(super) fn list_ready(&mut self, db: DbIndex, hash: u64) {
        if let Some(waiters) = &mut self.waiters {
            waiters.list(ReadyKey { hash, db });
            self.listeners.set(Listeners::READY, waiters.has_ready());
        }
    }

    /// Whether somebody waits for a key with this hash.
    pub fn is_waited_for(&self, hash: u64) -> bool {
        self.waiters.as_deref().is_some_and(|waiters| waiters.queues.contains_key(&hash))
    }

    /// A key is gone: it is listed as ready if somebody is to hear of that.
    pub(super) fn list_lost(&mut self, db: DbIndex, hash: u64) {
        if let Some(waiters) = &mut self.waiters {
            waiters.list_lost(ReadyKey { hash, db });
            self.listeners.set(Listeners::READY, waiters.has_ready());
        }
    }

    /// A database is about to be emptied: all keys of it that somebody waits for are gone.
    pub(super) fn list_emptied(&mut self, db: DbIndex) {
        for hash in self.waited_in(&[db]) {
            self.list_lost(db, hash.hash);
        }
    }

    /// The keys of these databases that somebody waits for, always in the same order.
    fn waited_in(&self, dbs: &[DbIndex]) -> Vec<ReadyKey> {
        let Some(waiters) = &self.waiters else { return Vec::new() };
        let queues = waiters.queues.iter().flat_map(|(hash, queues)| queues.iter().map(|q| (*hash, q.db)));
        let mut keys: Vec<_> = queues.filter(|(_, db)| dbs.contains(db)).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(hash, db)| ReadyKey { hash, db }).collect()
    }

    /// Two databases were exchanged: any key of them that somebody waits for may be there now.
    pub(super) fn list_swapped(&mut self, a: DbIndex, b: DbIndex) {
        self.waited_in(&[a, b]).into_iter().for_each(|key| self.list_ready(key.db, key.hash));
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
                assert!(queue.entries.iter().all(|registration| registration.hash() == *hash));
                queue.waiter_keys.check_invariants(queue.entries.iter());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use proptest::prelude::*;

    use super::super::hash::KeyHasher;
    use super::super::{Deadline, NewString, ShardId};
    use super::*;

    struct Patient {
        hashes: Vec<u64>,
        awaited: usize,
        shards: Option<Arc<ShardSet>>,
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
        fn shards(&self) -> Option<&Arc<ShardSet>> {
            self.shards.as_ref()
        }
        fn heeds_loss(&self) -> bool {
            false
        }
    }

    fn shard_of(hash: u64) -> ShardId {
        ShardId(hash as u16 % 100)
    }

    fn patient(shard: &mut Shard, db: u32, hashes: &[u64], awaited: usize) -> Arc<Patient> {
        let over = AtomicBool::new(false);
        let is_one = hashes.iter().all(|hash| shard_of(*hash) == shard_of(hashes[0]));
        let shards = (!is_one).then(|| Arc::new(hashes.iter().map(|hash| shard_of(*hash)).collect()));
        let patient = Arc::new(Patient { hashes: hashes.to_vec(), awaited, shards, over });
        for key_index in 0..awaited as u32 {
            shard.add_waiter(DbIndex(db), Registration { waiter: patient.clone(), key_index });
        }
        patient
    }

    fn is(registration: Option<Registration>, patient: &Arc<Patient>) -> bool {
        let expected: Arc<dyn Waiting> = patient.clone();
        registration.is_some_and(|registration| Arc::ptr_eq(&registration.waiter, &expected))
    }

    /// What goes along with a key, as numbers of shards and hashes of written keys.
    fn waiter_keys(shard: &Shard, hash: u64) -> (BTreeSet<u16>, BTreeSet<u64>) {
        let shards =
            shard.waiter_keys(hash).flat_map(|waiter_keys| waiter_keys.shards()).flat_map(ShardSet::iter);
        let written = shard.waiter_keys(hash).flat_map(|waiter_keys| waiter_keys.written());
        (shards.map(|shard| shard.0).collect(), written.collect())
    }

    fn leave(shard: &mut Shard, patient: &Patient, db: u32) {
        patient.over.store(true, Relaxed);
        for hash in &patient.hashes[..patient.awaited] {
            shard.waiter_over(ReadyKey { hash: *hash, db: DbIndex(db) });
        }
        shard.check_waiters();
    }

    #[test]
    fn waiters_queue_and_leave() {
        let mut shard = Shard::new(KeyHasher::new(1));
        let key = ReadyKey { hash: 7, db: DbIndex(0) };
        let many: Vec<_> = (0..100).map(|_| patient(&mut shard, 0, &[7, 9], 1)).collect();
        let other = patient(&mut shard, 3, &[7], 1);
        shard.check_waiters();
        assert_eq!((shard.waited_keys(), shard.waiter_count(key)), (2, 100));
        assert_eq!(waiter_keys(&shard, 7), ([7, 9].into(), [9].into()));
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

    /// Who was served counted as if noted to be over, and nobody looked at what was left: two that were over stayed for good.
    #[test]
    fn nobody_who_is_over_is_left_when_all_others_were_served() {
        for served in [3, 2] {
            let mut shard = Shard::new(KeyHasher::new(1));
            let many: Vec<_> = (0..5).map(|_| patient(&mut shard, 0, &[7], 1)).collect();
            let key = ReadyKey { hash: 7, db: DbIndex(0) };
            many[3..].iter().for_each(|patient| leave(&mut shard, patient, 0));
            (0..served).for_each(|_| shard.remove_waiter_at(key, 0));
            shard.end_serving(key);
            many[served..3].iter().for_each(|patient| leave(&mut shard, patient, 0));
            assert!(!shard.has_waiters(), "{served} were served");
        }
    }

    #[test]
    fn changes_list_keys_once_and_only_where_somebody_waits() {
        let hasher = KeyHasher::new(1);
        let mut shard = Shard::new(hasher.clone());
        let hash = hasher.hash(b"k");
        let set = |shard: &mut Shard, db: u32, key: &[u8]| {
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
    #[test]
    fn waiter_of_one_shard_has_no_waiter_keys() {
        let mut shard = Shard::new(KeyHasher::new(1));
        patient(&mut shard, 0, &[7], 1);
        patient(&mut shard, 0, &[7, 107, 207], 3);
        let queues = &shard.waiters.as_ref().expect("they wait").queues;
        assert!(queues.values().flatten().all(|queue| queue.waiter_keys.shards().is_none()));
        assert_eq!(waiter_keys(&shard, 107), Default::default());
        // What it writes to may be ready for others, wherever it lies; but not its own key, which is looked at anyway.
        patient(&mut shard, 0, &[7, 107], 1);
        patient(&mut shard, 0, &[7, 7], 1);
        assert_eq!(waiter_keys(&shard, 7), (BTreeSet::new(), [107].into()));
        shard.check_waiters();
    }

    /// Each of a client's many queues counted all its other keys: 22 MB for 1,000 keys, and half a second.
    #[test]
    #[cfg_attr(miri, ignore = "long, and all of it safe code")]
    fn queues_of_one_client_share_waiter_keys() {
        let mut shard = Shard::new(KeyHasher::new(1));
        let hashes: Vec<u64> = (0..4000).step_by(2).collect();
        let first = patient(&mut shard, 0, &hashes, 2000);
        let second = patient(&mut shard, 0, &hashes, 2000);
        let shards = first.shards.as_ref().expect("they are many");
        let same = |waiter_keys: &QueueWaiterKeys| {
            waiter_keys.shards().is_some_and(|set| std::ptr::eq(set, &raw const **shards))
        };
        assert!(hashes.iter().all(|hash| shard.waiter_keys(*hash).all(same)));
        // One that waits for more changes only the queue that it enters, and only that.
        patient(&mut shard, 0, &[54, 99], 1);
        assert_eq!(hashes.iter().filter(|hash| !shard.waiter_keys(**hash).all(same)).count(), 1);
        assert_eq!((waiter_keys(&shard, 54).0.len(), shards.iter().count()), (51, 50));
        leave(&mut shard, &first, 0);
        leave(&mut shard, &second, 0);
        assert_eq!(shard.waited_keys(), 1);
    }

    #[test]
    fn waiter_keys_are_found_anew_when_half_have_left() {
        let mut shard = Shard::new(KeyHasher::new(1));
        let many: Vec<_> = (0..10).map(|n| patient(&mut shard, 0, &[7, 10 + n, 20 + n], 2)).collect();
        let stays = patient(&mut shard, 0, &[7, 30], 2);
        let all = |n: u16| (10..10 + n).chain(20..20 + n).chain([7, 30]).collect::<BTreeSet<u16>>();
        assert_eq!(waiter_keys(&shard, 7), (all(10), (20..30).collect()));
        // The one that was served leaves too much; too little it never is.
        shard.remove_waiter_at(ReadyKey { hash: 7, db: DbIndex(0) }, 9);
        assert_eq!(waiter_keys(&shard, 7), (all(10), (20..30).collect()));
        many[1..9].iter().for_each(|patient| leave(&mut shard, patient, 0));
        assert!(waiter_keys(&shard, 7).1.len() < 5);
        leave(&mut shard, &many[0], 0);
        assert_eq!(waiter_keys(&shard, 7), ([7, 30].into(), [].into()));
        assert_eq!(waiter_keys(&shard, 15), ([].into(), [].into()));
        // In another database the same key takes its own along.
        patient(&mut shard, 3, &[7, 40], 1);
        assert_eq!(waiter_keys(&shard, 7), ([7, 30, 40].into(), [40].into()));
        leave(&mut shard, &stays, 0);
        assert_eq!(waiter_keys(&shard, 7), ([7, 40].into(), [40].into()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// One waits for the first of these keys, and serving it writes to the others.
        Wait(Vec<u64>, usize),
        /// One of those who wait does no more.
        End(usize),
        /// The one at this place of the queue of a key was served.
        Serve(u64, usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let keys = proptest::collection::btree_set(0..100u64, 1..6).prop_map(Vec::from_iter);
        prop_oneof![
            4 => (keys, 1..6usize).prop_map(|(keys, count)| Step::Wait(keys.clone(), count.min(keys.len()))),
            2 => (0..100usize).prop_map(Step::End),
            3 => (0..100u64, 0..5usize).prop_map(|(hash, index)| Step::Serve(hash, index)),
        ]
    }

    fn take_step(shard: &mut Shard, present: &mut Vec<Arc<Patient>>, step: Step) {
        match step {
            Step::Wait(mut keys, awaited) => {
                // A few keys are everybody's, so that their queues are long.
                keys[0] %= 4;
                present.push(patient(shard, 0, &keys, awaited));
            }
            Step::End(_) if present.is_empty() => {}
            Step::End(index) => leave(shard, &present.swap_remove(index % present.len()), 0),
            Step::Serve(hash, index) => {
                let key = ReadyKey { hash: hash % 8, db: DbIndex(0) };
                let Some(served) = shard.waiter_at(key, index) else { return };
                shard.remove_waiter_at(key, index);
                let is_served = |patient: &Arc<Patient>| is(Some(served.clone()), patient);
                let Some(place) = present.iter().position(is_served) else { return };
                let patient = present.swap_remove(place);
                patient.over.store(true, Relaxed);
                let others = patient.hashes[..patient.awaited].iter().filter(|other| **other != key.hash);
                others.for_each(|hash| shard.waiter_over(ReadyKey { hash: *hash, ..key }));
                shard.end_serving(key);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Against those who are there, asked one by one: nothing is missing, and what there is too much has its bound.
        #[test]
        fn waiter_keys_are_never_too_few(steps in proptest::collection::vec(any_step(), 1..150)) {
            let (mut shard, mut present) = (Shard::new(KeyHasher::new(1)), Vec::new());
            for step in steps {
                take_step(&mut shard, &mut present, step);
                shard.check_waiters();
                for hash in 0..100 {
                    let (shards, written) = waiter_keys(&shard, hash);
                    let in_queue = |patient: &&Arc<Patient>| patient.hashes[..patient.awaited].contains(&hash);
                    for patient in present.iter().filter(in_queue) {
                        let own = |shard: u16| shards.is_empty() && shard == shard_of(hash).0;
                        let has = |hash: &u64| shards.contains(&shard_of(*hash).0) || own(shard_of(*hash).0);
                        prop_assert!(patient.hashes.iter().all(has));
                        prop_assert!(patient.hashes[patient.awaited..].iter().all(|hash| written.contains(hash)));
                    }
                    // Each has five keys at most; and not more have left, or are over, than are there.
                    let queued = shard.waiter_count(ReadyKey { hash, db: DbIndex(0) });
                    prop_assert!(written.len() <= 2 * 5 * queued);
                    prop_assert!(shards.len() <= 2 * 5 * queued);
                }
            }
            while let Some(patient) = present.pop() {
                leave(&mut shard, &patient, 0);
            }
            prop_assert!(!shard.has_waiters());
        }
    }
}
