//! The keyspace: all shards with their leases, and each worker's view of them.
//!
//! Design: the shards lie in one array, two cache lines apart at least, each beside its lease. A worker touches them only
//! through its `Leases`, which remembers what it holds and is the one place that turns a lease into a `&mut Shard`.
//! With a single worker all leases are taken once, when its `Leases` is made, and cost nothing after.
//!
//! Invariants: `Leases` has a bit set exactly for the leases it holds; while it holds one exclusively, nobody else does, and while
//! it holds one to read, nobody has it exclusively. What it has taken and
//! given back early stays listed until the rest goes back, when whoever wants any of it is woken.
//!
//! Costs: taking is one compare-and-swap on a line of its own, giving back a store there, and one fence for all that is given
//! back together.
//!
//! Not here: when to take which (`exec`), how a lease works (`lease`).
#![expect(unsafe_code, reason = "turns a lease into a reference")]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::ShardId;
use super::hash::KeyHasher;
use super::lease::{self, HOLDERS_MAX, Lease, WantedMask, Wanting};
use super::shard::Shard;
use super::table::{prefetch, prefetch_exclusively};

/// The most shards: the low 12 bits of hashes and scan positions are theirs.
pub const SHARDS_MAX: usize = 4096;

/// How a keyspace is made.
#[derive(Clone, Copy, Debug)]
pub struct KeyspaceOptions {
    /// A power of two, at most `SHARDS_MAX`.
    pub shards: usize,
    /// The number of databases, at least 1.
    pub databases: usize,
    /// The number of workers, at least 1.
    pub workers: usize,
    /// What hashes depend on: a secret of each process, from the kernel and used for nothing else. Whoever knows it can choose
    /// keys that collide.
    pub hash_seed: u128,
}

/// All keys.
pub struct Keyspace {
    cells: Box<[ShardCell]>,
    hasher: KeyHasher,
    databases: usize,
    workers: usize,
    /// Whether any client has ever waited for a key: until then nobody looks for waiters.
    waited: AtomicBool,
    waited_keys: AtomicUsize,
    /// Whether there is a snapshot that writers may have to wait for.
    snapshotted: AtomicBool,
    /// The worker that has reserved leases, plus one: only one may at a time, so that two never wait for each other.
    reserver: AtomicUsize,
    wanting: Wanting,
}

/// A shard and its lease. Two cache lines, as processors fetch them in pairs.
#[repr(C, align(128))]
struct ShardCell {
    lease: Lease,
    shard: UnsafeCell<Shard>,
}

// SAFETY: the shard is only changed by the worker that holds the lease exclusively, and only read by those that hold it to
// read, who change nothing in it but access clocks, which are atomic; taking it synchronises with giving it back.
unsafe impl Sync for ShardCell {}

impl Keyspace {
    /// An empty keyspace.
    pub fn new(options: KeyspaceOptions) -> Keyspace {
        let KeyspaceOptions { shards, databases, workers, hash_seed } = options;
        assert!(shards.is_power_of_two() && shards <= SHARDS_MAX, "chosen by the number of workers");
        assert!((1..=HOLDERS_MAX).contains(&workers), "the directive allows no others");
        let hasher = KeyHasher::new(hash_seed);
        let cell = |_| ShardCell { lease: Lease::new(), shard: UnsafeCell::new(Shard::new(hasher.clone())) };
        let reserver = AtomicUsize::new(0);
        let cells = (0..shards).map(cell).collect();
        let (waited, waited_keys, snapshotted) = Default::default();
        let wanting = Wanting::new();
        Keyspace { cells, hasher, databases, workers, waited, waited_keys, snapshotted, reserver, wanting }
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// What hashes keys, and what is in large values.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The shard of a key's hash.
    #[inline]
    pub fn shard_of(&self, hash: u64) -> ShardId {
        ShardId((hash as usize & (self.cells.len() - 1)) as u16)
    }

    /// The number of shards.
    pub fn shard_count(&self) -> usize {
        self.cells.len()
    }

    /// The number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The worker that looks after a shard.
    pub fn home(&self, shard: ShardId) -> usize {
        usize::from(shard.0) % self.workers
    }

    /// The shards that a worker looks after.
    pub fn home_shards(&self, worker: usize) -> impl Iterator<Item = ShardId> + use<> {
        (worker..self.cells.len()).step_by(self.workers).map(|shard| ShardId(shard as u16))
    }

    /// How many shards a worker looks after.
    pub fn home_count(&self, worker: usize) -> usize {
        (self.cells.len() + self.workers - 1 - worker) / self.workers
    }

    /// The `index`th of the shards that a worker looks after.
    pub fn home_shard(&self, worker: usize, index: usize) -> ShardId {
        debug_assert!(index < self.home_count(worker));
        ShardId((worker + index * self.workers) as u16)
    }

    /// All shards, in ascending order.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.cells.len()).map(|shard| ShardId(shard as u16))
    }

    /// Whether any client has ever waited for a key of a shard whose lease is held.
    #[inline]
    pub fn is_waited(&self) -> bool {
        // Who waits says so under the lease of its key's shard, so whoever has that lease later sees it.
        self.waited.load(Relaxed)
    }

    /// A client begins to wait for a key; to be told before the lease is given back.
    pub fn set_waited(&self) {
        self.waited.store(true, Relaxed);
    }

    /// Whether there is a snapshot, for which writers may have to wait: see `Shard::must_wait`.
    #[inline]
    pub fn is_snapshotted(&self) -> bool {
        // It begins under all leases; whoever learns late that it has ended finds nothing to wait for.
        self.snapshotted.load(Relaxed)
    }

    /// A snapshot begins, under all leases, or has ended.
    pub fn set_snapshotted(&self, on: bool) {
        self.snapshotted.store(on, Relaxed);
    }

    /// The number of keys for which clients wait.
    pub fn waited_keys(&self) -> usize {
        self.waited_keys.load(Relaxed)
    }

    /// The number of keys of one shard for which clients wait has changed.
    pub fn recount_waited(&self, before: usize, after: usize) {
        self.waited_keys.fetch_add(after.wrapping_sub(before), Relaxed);
    }

    #[inline]
    fn lease(&self, shard: ShardId) -> &Lease {
        &self.cells[usize::from(shard.0)].lease
    }
}

/// One worker's leases. Never held across turns.
pub struct Leases {
    keyspace: Arc<Keyspace>,
    worker: usize,
    solo: bool,
    /// Those taken, in order; with those that have been given back since by `return_behind`.
    taken: Vec<ShardId>,
    /// Those that go back before all others, each with the member of the group behind which nobody needs it: the first at the
    /// end.
    returns: Vec<(u32, ShardId)>,
    /// Whether any of those taken has gone back already.
    has_returned: bool,
    /// Those reserved.
    reserved: Vec<ShardId>,
    /// Whether `Keyspace::wanting` counts this worker.
    wants: bool,
    /// The same as bits, and which of these are held exclusively.
    holds: Box<[u64]>,
    exclusive: Box<[u64]>,
    /// Whether any of those taken was taken to read.
    has_shared: bool,
    /// Whom to wake for what `take_late` gave back.
    #[cfg(feature = "injected-fault")]
    wanted_late: WantedMask,
    /// One thread at a time.
    not_sync: PhantomData<Cell<()>>,
}

impl Leases {
    /// The leases of a worker. A solo worker, the only one, takes all of them here, for good.
    pub fn new(keyspace: &Arc<Keyspace>, worker: usize, solo: bool) -> Leases {
        assert!(worker < keyspace.workers);
        let words = keyspace.shard_count().div_ceil(64);
        let mut leases = Leases {
            keyspace: keyspace.clone(),
            worker,
            solo: false,
            taken: Vec::with_capacity(keyspace.shard_count()),
            returns: Vec::new(),
            has_returned: false,
            reserved: Vec::new(),
            wants: false,
            holds: vec![0; words].into_boxed_slice(),
            exclusive: vec![0; words].into_boxed_slice(),
            has_shared: false,
            #[cfg(feature = "injected-fault")]
            wanted_late: WantedMask::NONE,
            not_sync: PhantomData,
        };
        if solo {
            assert!(leases.take_all(), "a solo worker is alone");
            leases.solo = true;
        }
        leases
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// The worker.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Whether this worker is alone and holds everything for good.
    pub fn is_solo(&self) -> bool {
        self.solo
    }

    /// Who holds a lease exclusively at this moment, if anybody does.
    pub fn holder(&self, shard: ShardId) -> Option<usize> {
        self.keyspace.lease(shard).holder()
    }

    /// Whether all leases are held, exclusively and to the end of the group.
    #[inline]
    pub fn holds_all(&self) -> bool {
        let has_taken_all = self.taken.len() == self.keyspace.shard_count();
        self.solo || has_taken_all && !self.has_shared && !self.has_returned
    }

    /// Whether the lease is held exclusively, so that the shard may be changed.
    #[inline]
    pub fn holds_exclusively(&self, shard: ShardId) -> bool {
        self.solo || self.exclusive[usize::from(shard.0) / 64] >> (shard.0 % 64) & 1 == 1
    }

    /// Whether the lease is not held exclusively, so that others may be reading the shard.
    #[inline]
    pub fn is_shared(&self, shard: ShardId) -> bool {
        self.has_shared && !self.holds_exclusively(shard)
    }

    /// Whether any lease may be held to read.
    #[inline]
    pub fn has_shared(&self) -> bool {
        self.has_shared
    }

    /// Whether the lease is held, exclusively or to read.
    #[inline]
    pub fn holds(&self, shard: ShardId) -> bool {
        self.solo || self.holds[usize::from(shard.0) / 64] >> (shard.0 % 64) & 1 == 1
    }

    /// Fetches the lease, to be taken, and the beginning of the shard into the cache.
    #[inline]
    pub fn prefetch(&self, shard: ShardId) {
        let cell: *const ShardCell = &raw const self.keyspace.cells[usize::from(shard.0)];
        prefetch_exclusively(cell.cast());
        prefetch(cell.cast::<u8>().wrapping_add(64));
    }

    /// Takes a lease exclusively; true if it is held so now, also if it was before.
    #[inline]
    pub fn try_take(&mut self, shard: ShardId) -> bool {
        if self.holds_exclusively(shard) {
            return true;
        }
        if self.holds(shard) {
            return self.try_upgrade(shard);
        }
        if !self.keyspace.lease(shard).try_take(self.worker) {
            return false;
        }
        let (word, bit) = (usize::from(shard.0) / 64, 1 << (shard.0 % 64));
        self.holds[word] |= bit;
        self.exclusive[word] |= bit;
        self.taken.push(shard);
        true
    }

    /// What is held to read is held exclusively from now on; false if others read too.
    #[cold]
    fn try_upgrade(&mut self, shard: ShardId) -> bool {
        let is_alone = self.keyspace.lease(shard).try_upgrade(self.worker);
        if is_alone {
            self.exclusive[usize::from(shard.0) / 64] |= 1 << (shard.0 % 64);
        }
        is_alone
    }

    /// Takes a lease to read; true if it is held now, exclusively or to read, also if it was before.
    #[inline]
    pub fn try_share(&mut self, shard: ShardId) -> bool {
        if self.holds(shard) {
            return true;
        }
        if !self.keyspace.lease(shard).try_share(self.worker) {
            return false;
        }
        self.has_shared = true;
        self.holds[usize::from(shard.0) / 64] |= 1 << (shard.0 % 64);
        self.taken.push(shard);
        true
    }

    /// Takes all leases, or none of those that were not held before.
    pub fn take_all(&mut self) -> bool {
        self.take_all_or_wanted().is_ok()
    }

    /// As `take_all`; if refused, whom to wake for the leases given back, and the shard that was refused.
    pub fn take_all_or_wanted(&mut self) -> Result<(), (WantedMask, ShardId)> {
        let mark = self.mark();
        for shard in self.keyspace.shards() {
            if !self.try_take(shard) {
                return Err((self.release_back_to(mark), shard));
            }
        }
        Ok(())
    }

    /// The shard of a lease that is held.
    #[inline]
    pub fn shard(&mut self, shard: ShardId) -> &mut Shard {
        #[cfg(feature = "injected-fault")]
        self.take_late(shard);
        assert!(self.holds_exclusively(shard), "a shard is touched under its lease");
        let cell = self.keyspace.cells[usize::from(shard.0)].shard.get();
        // SAFETY: the lease is held exclusively by this value, so no other thread touches the shard; the result borrows this
        // value mutably, so nobody else does on this one.
        unsafe { &mut *cell }
    }

    /// The injected fault that the history checker must find: commands hold the lease of their first key only, and get others one
    /// at a time when they touch them, giving back what they had. So no shard is ever touched without its lease, none is waited
    /// for while another is held, and nothing is atomic.
    #[cfg(feature = "injected-fault")]
    fn take_late(&mut self, shard: ShardId) {
        if !self.holds(shard) {
            let wanted = self.release_back_to(0);
            self.wanted_late.add(wanted);
            let yield_point = LATE_YIELD_POINT.with_borrow(Clone::clone);
            if let Some(run_others) = yield_point {
                run_others(self.worker);
            }
            while !self.try_take(shard) {
                std::thread::yield_now();
            }
        }
    }

    /// The shard of a lease that is held, for reading.
    #[inline]
    pub fn shard_ref(&self, shard: ShardId) -> &Shard {
        assert!(self.holds(shard), "a shard is touched under its lease");
        let cell = self.keyspace.cells[usize::from(shard.0)].shard.get();
        // SAFETY: the lease is held by this value, so no other thread has the shard mutably; the result borrows this value, so
        // nobody has on this one.
        unsafe { &*cell }
    }

    /// Two different shards of leases that are held.
    pub fn two(&mut self, a: ShardId, b: ShardId) -> (&mut Shard, &mut Shard) {
        assert!(a != b, "the caller has looked");
        assert!(self.holds_exclusively(a), "a shard is touched under its lease");
        assert!(self.holds_exclusively(b), "a shard is touched under its lease");
        let a = self.keyspace.cells[usize::from(a.0)].shard.get();
        let b = self.keyspace.cells[usize::from(b.0)].shard.get();
        // SAFETY: as in `shard`; the two are different, as asserted.
        let a = unsafe { &mut *a };
        // SAFETY: as in `shard`; the two are different, as asserted.
        let b = unsafe { &mut *b };
        (a, b)
    }

    /// What is held now, for `release_back_to`.
    pub fn mark(&self) -> usize {
        self.taken.len()
    }

    /// Has a lease go back behind this member of the group, before those that were named until now.
    #[inline]
    pub fn plan_return(&mut self, member: u32, shard: ShardId) {
        debug_assert!(self.returns.last().is_none_or(|(later, _)| *later >= member));
        self.returns.push((member, shard));
    }

    /// All leases stay until they are given back together.
    pub fn plan_no_returns(&mut self) {
        self.returns.clear();
    }

    /// Whether leases go back behind this member.
    #[inline]
    pub fn has_returns_behind(&self, member: u32) -> bool {
        self.returns.last().is_some_and(|(last, _)| *last <= member)
    }

    /// Gives back what goes back behind this member. Whoever wants it, and sleeps, is woken by the end of the group.
    #[inline]
    pub fn return_behind(&mut self, member: u32) {
        while self.has_returns_behind(member) {
            let Some((_, shard)) = self.returns.pop() else { return };
            self.has_returned = true;
            self.give_back(shard);
        }
    }

    /// Who wants a lease that has gone back; they must be woken. For whoever is about to take long.
    pub fn take_wanted(&mut self) -> WantedMask {
        let returned = self.taken.iter().filter(|shard| !self.holds(**shard));
        lease::take_wanted(returned.map(|shard| self.keyspace.lease(*shard)), &self.keyspace.wanting)
    }

    #[cold]
    fn give_back_held(&mut self, mark: usize) {
        for index in mark..self.taken.len() {
            self.give_back(self.taken[index]);
        }
    }

    /// Gives a lease back, if it is held.
    #[inline]
    fn give_back(&mut self, shard: ShardId) {
        let (word, bit) = (usize::from(shard.0) / 64, 1 << (shard.0 % 64));
        if self.holds[word] & bit == 0 {
            return;
        }
        if self.exclusive[word] & bit != 0 {
            lease::give_back(self.keyspace.lease(shard), self.worker);
        } else {
            lease::give_back_shared(self.keyspace.lease(shard));
        }
        self.holds[word] &= !bit;
        self.exclusive[word] &= !bit;
    }

    /// Gives back what was taken after a mark. The workers in the mask must be woken.
    #[inline]
    pub fn release_back_to(&mut self, mark: usize) -> WantedMask {
        if self.solo || self.taken.len() <= mark {
            return WantedMask::NONE;
        }
        let has_all = mark == 0 && !self.has_returned;
        if !has_all {
            self.give_back_held(mark);
        }
        let (keyspace, given) = (&*self.keyspace, &self.taken[mark..]);
        if has_all && !self.has_shared {
            given.iter().for_each(|shard| lease::give_back(keyspace.lease(*shard), self.worker));
            self.holds.fill(0);
            self.exclusive.fill(0);
        } else if has_all {
            for shard in given {
                match self.exclusive[usize::from(shard.0) / 64] >> (shard.0 % 64) & 1 {
                    0 => lease::give_back_shared(keyspace.lease(*shard)),
                    _ => lease::give_back(keyspace.lease(*shard), self.worker),
                }
            }
            self.holds.fill(0);
            self.exclusive.fill(0);
        }
        let given = given.iter().map(|shard| keyspace.lease(*shard));
        let wanted = lease::take_wanted(given, &keyspace.wanting);
        self.taken.truncate(mark);
        self.has_returned &= mark > 0;
        self.has_shared &= mark > 0;
        wanted
    }

    /// Asks that this worker be woken when it may have the lease, exclusively or to read; false if it may have it now. Until
    /// `want_nothing`.
    pub fn want(&mut self, shard: ShardId, exclusively: bool) -> bool {
        if !self.wants {
            self.wants = true;
            self.keyspace.wanting.begin();
        }
        self.keyspace.lease(shard).want(self.worker, exclusively)
    }

    /// This worker is awake, and tries again what it was refused.
    #[inline]
    pub fn want_nothing(&mut self) {
        if self.wants {
            self.wants = false;
            self.keyspace.wanting.end();
        }
    }

    /// Keeps all other workers from taking these leases until `unreserve`, without taking them, in addition to those that it
    /// has reserved already; false if another worker has reservations now.
    pub fn reserve(&mut self, shards: impl Iterator<Item = ShardId>) -> bool {
        let reserver = &self.keyspace.reserver;
        if self.reserved.is_empty()
            && reserver.compare_exchange(0, self.worker + 1, Acquire, Relaxed).is_err()
        {
            return false;
        }
        for shard in shards {
            if self.keyspace.lease(shard).reserve(self.worker) {
                self.reserved.push(shard);
            }
        }
        true
    }

    /// Ends the reservations. The workers in the mask must be woken.
    pub fn unreserve(&mut self) -> WantedMask {
        if self.reserved.is_empty() {
            return WantedMask::NONE;
        }
        let keyspace = &*self.keyspace;
        let reserved = self.reserved.iter().map(|shard| keyspace.lease(*shard));
        let wanted = lease::unreserve(reserved, self.worker, &keyspace.wanting);
        self.reserved.clear();
        keyspace.reserver.store(0, Release);
        wanted
    }

    /// Gives everything back. The workers in the mask must be woken.
    #[inline]
    pub fn release_all(&mut self) -> WantedMask {
        self.returns.clear();
        #[cfg(feature = "injected-fault")]
        {
            let mut wanted = std::mem::replace(&mut self.wanted_late, WantedMask::NONE);
            wanted.add(self.release_back_to(0));
            wanted
        }
        #[cfg(not(feature = "injected-fault"))]
        self.release_back_to(0)
    }
}

#[cfg(feature = "injected-fault")]
thread_local! {
    static LATE_YIELD_POINT: std::cell::RefCell<Option<LateYieldPoint>> = const { std::cell::RefCell::new(None) };
}

/// What a simulation does while a worker has no lease in the middle of a command.
#[cfg(feature = "injected-fault")]
pub type LateYieldPoint = std::rc::Rc<dyn Fn(usize)>;

/// Sets it for this thread.
#[cfg(feature = "injected-fault")]
pub fn set_late_yield_point(run_others: Option<LateYieldPoint>) {
    LATE_YIELD_POINT.set(run_others);
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.solo = false;
        self.want_nothing();
        self.unreserve();
        self.release_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DbIndex, Deadline, NewString, Str, scaled};

    fn keyspace(workers: usize) -> Arc<Keyspace> {
        Arc::new(Keyspace::new(KeyspaceOptions { shards: 16, databases: 16, workers, hash_seed: 1 }))
    }

    #[test]
    fn leases_are_taken_and_given_back() {
        let keyspace = keyspace(2);
        let mut zero = Leases::new(&keyspace, 0, false);
        let mut one = Leases::new(&keyspace, 1, false);
        assert!(zero.try_take(ShardId(3)));
        assert!(zero.try_take(ShardId(3)));
        assert!(!one.try_take(ShardId(3)));
        assert!(one.try_take(ShardId(4)));
        assert_eq!(one.take_all_or_wanted(), Err((WantedMask::NONE, ShardId(3))));
        assert!(one.holds(ShardId(4)));
        assert!(!one.holds(ShardId(0)));
        assert!(one.want(ShardId(3), true));
        assert!(zero.release_all().has(1));
        one.want_nothing();
        assert!(one.take_all());
        assert!(!zero.try_take(ShardId(0)));
        drop(one);
        assert!(zero.take_all());
        let homes: Vec<_> = keyspace.home_shards(1).collect();
        assert_eq!(homes.len(), 8);
        assert!(homes.iter().all(|shard| keyspace.home(*shard) == 1));
    }

    #[test]
    fn leases_to_read_are_shared_and_one_reader_may_go_on_to_change() {
        let keyspace = keyspace(2);
        let [mut zero, mut one] = [0, 1].map(|worker| Leases::new(&keyspace, worker, false));
        let (a, b) = (ShardId(1), ShardId(2));
        assert!(zero.try_share(a) && one.try_share(a) && one.try_share(b));
        assert!(zero.holds(a) && !zero.holds_exclusively(a));
        assert!(!zero.try_take(a) && zero.holds(a));
        assert_eq!(zero.shard_ref(a).len(DbIndex(0)), 0);
        let _nobody = one.release_all();
        assert!(zero.try_take(a) && zero.holds_exclusively(a));
        assert!(!one.try_share(a));
        assert_eq!(zero.mark(), 1);
        let _nobody = zero.release_all();
        assert!(one.try_take(a) && one.try_share(a) && one.holds_exclusively(a));
    }

    #[test]
    #[should_panic(expected = "under its lease")]
    fn a_shard_under_a_lease_to_read_is_not_changed() {
        let mut leases = Leases::new(&keyspace(2), 0, false);
        assert!(leases.try_share(ShardId(0)));
        leases.shard(ShardId(0));
    }

    /// What goes back early can be had at once; who sleeps for it is woken with what goes back at the end.
    #[test]
    fn lease_that_goes_back_early_is_free_and_wakes_at_the_end() {
        let keyspace = keyspace(3);
        let [mut zero, mut one, mut two] = [0, 1, 2].map(|worker| Leases::new(&keyspace, worker, false));
        let [a, b, c] = [1, 2, 3].map(ShardId);
        assert!([a, b, c].into_iter().all(|shard| zero.try_take(shard)));
        zero.plan_return(1, b);
        zero.plan_return(0, a);
        assert!(two.want(a, true) && two.want(c, true));
        assert!(!zero.has_returns_behind(u32::MAX) || !one.try_take(a));
        zero.return_behind(0);
        assert!(!zero.holds(a) && zero.holds(b) && zero.holds(c));
        assert!(one.try_take(a) && !one.try_take(b));
        // Taken once more in passing, it goes back as anything else.
        let mark = zero.mark();
        assert!(!zero.try_take(a));
        let _nobody = one.release_all();
        assert!(zero.try_take(a));
        let _nobody = zero.release_back_to(mark);
        assert!(one.try_take(a));
        zero.return_behind(1);
        assert!(one.try_take(b) && !one.try_take(c));
        assert!(two.want(a, true));
        assert!(zero.release_all().has(2));
        assert!(one.try_take(c));
    }

    #[test]
    #[should_panic(expected = "under its lease")]
    fn a_shard_without_a_lease_is_refused() {
        Leases::new(&keyspace(2), 0, false).shard(ShardId(0));
    }

    #[test]
    fn threads_share_the_keyspace_without_losing_writes() {
        const ROUNDS: u64 = scaled(3000);
        let keyspace = keyspace(3);
        let threads: Vec<_> = (0..3)
            .map(|worker| {
                let keyspace = keyspace.clone();
                std::thread::spawn(move || {
                    let mut leases = Leases::new(&keyspace, worker, false);
                    for round in 0..ROUNDS {
                        let key = (round % 100).to_string();
                        let hash = keyspace.hash(key.as_bytes());
                        let shard = keyspace.shard_of(hash);
                        while !leases.try_take(shard) {
                            std::thread::yield_now();
                        }
                        let mut guard = leases.shard(shard).write(DbIndex(0), hash, key.as_bytes(), 0);
                        let value = match guard.entry().map(|entry| entry.string()) {
                            Some(Str::Int(value)) => value + 1,
                            None => 1,
                            Some(Str::Bytes(_)) => unreachable!("only integers are set"),
                        };
                        guard.set_string(NewString::Int(value), Deadline::None);
                        drop(guard);
                        leases.release_all();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no assertion failed");
        }
        let mut leases = Leases::new(&keyspace, 0, true);
        let mut sum = 0;
        for shard in keyspace.shards() {
            leases.shard(shard).check_invariants();
            leases.shard(shard).for_each(DbIndex(0), |entry| {
                let Str::Int(value) = entry.string() else { unreachable!("only integers are set") };
                sum += value;
            });
        }
        assert_eq!(sum, 3 * ROUNDS as i64);
    }
}
