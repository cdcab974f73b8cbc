//! The keyspace: all shards with their leases, and each worker's view of them.
//!
//! Design: the shards lie in one array, two cache lines apart at least, each beside its lease. A worker touches them only
//! through its `Leases`, which remembers what it holds and is the one place that turns a lease into a `&mut Shard`.
//! With a single worker all leases are taken once, when its `Leases` is made, and cost nothing after.
//!
//! Invariants: `Leases` has a bit set exactly for the leases it has taken; while it has, nobody else does.
//!
//! Costs: taking is one compare-and-swap on a line that the shard's data shares, giving back a store there, and one fence for
//! all that is given back together.
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
    /// What hashes depend on; to be chosen at random for each process.
    pub hash_seed: u64,
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

// SAFETY: the shard is only touched by the worker that holds the lease; taking it synchronises with giving it back.
unsafe impl Sync for ShardCell {}

impl Keyspace {
    /// An empty keyspace.
    pub fn new(options: KeyspaceOptions) -> Keyspace {
        let KeyspaceOptions { shards, databases, workers, hash_seed } = options;
        assert!(shards.is_power_of_two() && shards <= SHARDS_MAX);
        assert!((1..=HOLDERS_MAX).contains(&workers));
        let hasher = KeyHasher::new(hash_seed);
        let cell = |_| ShardCell {
            lease: Lease::new(),
            shard: UnsafeCell::new(Shard::new(databases, hasher.clone())),
        };
        let reserver = AtomicUsize::new(0);
        let cells = (0..shards).map(cell).collect();
        let (waited, waited_keys) = Default::default();
        let wanting = Wanting::new();
        Keyspace { cells, hasher, databases, workers, waited, waited_keys, reserver, wanting }
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
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
    /// Those taken, in order.
    taken: Vec<ShardId>,
    /// Those reserved.
    reserved: Vec<ShardId>,
    /// Whether `Keyspace::wanting` counts this worker.
    wants: bool,
    /// The same as bits.
    holds: Box<[u64]>,
    /// Whom to wake for what `take_late` gave back.
    #[cfg(feature = "planted-bug")]
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
            reserved: Vec::new(),
            wants: false,
            holds: vec![0; words].into_boxed_slice(),
            #[cfg(feature = "planted-bug")]
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

    /// Whether the lease is held.
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

    /// Takes a lease; true if it is held now, also if it was before.
    #[inline]
    pub fn try_take(&mut self, shard: ShardId) -> bool {
        if self.holds(shard) {
            return true;
        }
        if !self.keyspace.lease(shard).try_take(self.worker) {
            return false;
        }
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
        #[cfg(feature = "planted-bug")]
        self.take_late(shard);
        assert!(self.holds(shard), "a shard is touched under its lease");
        let cell = self.keyspace.cells[usize::from(shard.0)].shard.get();
        // SAFETY: the lease is held by this value, so no other thread touches the shard; the result borrows this
        // value mutably, so nobody else does on this one.
        unsafe { &mut *cell }
    }

    /// The planted bug that the history checker must find: commands hold the lease of their first key only, and get others one at
    /// a time when they touch them, giving back what they had. So no shard is ever touched without its lease, none is waited
    /// for while another is held, and nothing is atomic.
    #[cfg(feature = "planted-bug")]
    fn take_late(&mut self, shard: ShardId) {
        if !self.holds(shard) {
            let wanted = self.release_back_to(0);
            self.wanted_late.add(wanted);
            let interlude = LATE_INTERLUDE.with_borrow(Clone::clone);
            if let Some(run_others) = interlude {
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
        // SAFETY: the lease is held by this value, so no other thread touches the shard; the result borrows this
        // value, so nobody has it mutably.
        unsafe { &*cell }
    }

    /// Two different shards of leases that are held.
    pub fn two(&mut self, a: ShardId, b: ShardId) -> (&mut Shard, &mut Shard) {
        assert!(a != b);
        assert!(self.holds(a));
        assert!(self.holds(b));
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

    /// Gives back what was taken after a mark. The workers in the mask must be woken.
    #[inline]
    pub fn release_back_to(&mut self, mark: usize) -> WantedMask {
        if self.solo || self.taken.len() <= mark {
            return WantedMask::NONE;
        }
        let (keyspace, given) = (&*self.keyspace, &self.taken[mark..]);
        if mark == 0 {
            self.holds.fill(0);
        } else {
            given.iter().for_each(|shard| self.holds[usize::from(shard.0) / 64] &= !(1 << (shard.0 % 64)));
        }
        let given = given.iter().map(|shard| keyspace.lease(*shard));
        let wanted = lease::release(given, self.worker, &keyspace.wanting);
        self.taken.truncate(mark);
        wanted
    }

    /// Asks that this worker be woken when it may have the lease; false if it may have it now. Until `want_nothing`.
    pub fn want(&mut self, shard: ShardId) -> bool {
        if !self.wants {
            self.wants = true;
            self.keyspace.wanting.begin();
        }
        self.keyspace.lease(shard).want(self.worker)
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
        #[cfg(feature = "planted-bug")]
        {
            let mut wanted = std::mem::replace(&mut self.wanted_late, WantedMask::NONE);
            wanted.add(self.release_back_to(0));
            wanted
        }
        #[cfg(not(feature = "planted-bug"))]
        self.release_back_to(0)
    }
}

#[cfg(feature = "planted-bug")]
thread_local! {
    static LATE_INTERLUDE: std::cell::RefCell<Option<LateInterlude>> = const { std::cell::RefCell::new(None) };
}

/// What a simulation does while a worker has no lease in the middle of a command.
#[cfg(feature = "planted-bug")]
pub type LateInterlude = std::rc::Rc<dyn Fn(usize)>;

/// Sets it for this thread.
#[cfg(feature = "planted-bug")]
pub fn set_late_interlude(run_others: Option<LateInterlude>) {
    LATE_INTERLUDE.set(run_others);
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.solo = false;
        self.want_nothing();
        self.unreserve();
        self.release_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::store::{DbIndex, Deadline, NewString, Str};

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
        assert!(one.want(ShardId(3)));
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
    #[should_panic(expected = "under its lease")]
    fn a_shard_without_a_lease_is_refused() {
        Leases::new(&keyspace(2), 0, false).shard(ShardId(0));
    }

    #[test]
    fn threads_share_the_keyspace_without_losing_writes() {
        let keyspace = keyspace(3);
        let threads: Vec<_> = (0..3)
            .map(|worker| {
                let keyspace = keyspace.clone();
                std::thread::spawn(move || {
                    let mut leases = Leases::new(&keyspace, worker, false);
                    for round in 0..3000u64 {
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
        assert_eq!(sum, 9000);
    }
}
