//! The lease: the right to touch a shard, in one atomic word.
//!
//! Design: taken with one compare-and-swap that never waits. A worker that cannot have it marks it as wanted and is woken
//! when it is given back; a worker that was refused too often reserves it, and others stay off.
//!
//! ```text
//! 63 ............ 16 | 15 ... 8    | 7 ... 0
//! wanted, by worker  | reserved by | holder        worker index + 1, 0 for nobody
//! ```
//!
//! With more workers than wanted bits several share one; a wake-up too many is harmless.
//!
//! Invariants (the loom models below check the first three):
//! - at most one worker holds the lease;
//! - a worker whose `want` said yes is in the mask that a later `release` or `unreserve` returns;
//! - a reservation ends when its worker ends it, and does not keep that worker out;
//! - what a holder wrote is seen by the next one.
//!
//! Not here: who wakes whom (`exec`), several leases at once (`keyspace`).

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// The most workers that leases can tell apart.
pub const WORKERS_MAX: usize = 254;

const FIELD_BITS: u32 = 8;
const FIELD: u64 = (1 << FIELD_BITS) - 1;
const RESERVED_SHIFT: u32 = 8;
const WANTED_SHIFT: u32 = 16;
const WANTED_BITS: usize = 48;
const WANTED: u64 = !0 << WANTED_SHIFT;

const _: () = assert!(WORKERS_MAX < FIELD as usize);
const _: () = assert!(WANTED_SHIFT as usize + WANTED_BITS == 64);

/// The right to touch something; see the module.
#[derive(Debug)]
pub struct Lease(AtomicU64);

/// Workers to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedMask(u64);

impl WantedMask {
    /// Nobody.
    pub const NONE: WantedMask = WantedMask(0);

    /// Whether nobody is to be woken.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds the workers of another mask.
    pub fn add(&mut self, other: WantedMask) {
        self.0 |= other.0;
    }

    /// Whether this worker is to be woken.
    pub fn has(self, worker: usize) -> bool {
        self.0 >> (worker % WANTED_BITS) & 1 == 1
    }

    /// The workers to be woken, among so many.
    pub fn workers(self, count: usize) -> impl Iterator<Item = usize> {
        (0..count).filter(move |worker| self.has(*worker))
    }
}

impl Default for Lease {
    fn default() -> Lease {
        Lease::new()
    }
}

impl Lease {
    /// A lease that nobody holds.
    pub fn new() -> Lease {
        Lease(AtomicU64::new(0))
    }

    /// Takes the lease; false if another worker holds or has reserved it, or this one holds it already.
    #[inline]
    pub fn try_take(&self, worker: usize) -> bool {
        let me = id(worker);
        let mut word = self.0.load(Relaxed);
        loop {
            if holder(word) != 0 || (reserver(word) != 0 && reserver(word) != me) {
                return false;
            }
            match self.0.compare_exchange_weak(word, word | me, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Gives the lease back. The workers in the mask must be woken.
    #[inline]
    pub fn release(&self, worker: usize) -> WantedMask {
        // Everything but the reservation becomes zero.
        let word = self.0.fetch_and(FIELD << RESERVED_SHIFT, AcqRel);
        assert!(holder(word) == id(worker), "a lease is given back by its holder");
        WantedMask(word >> WANTED_SHIFT)
    }

    /// Asks to be woken when the lease may be had; false if it may be had now.
    pub fn want(&self, worker: usize) -> bool {
        let me = id(worker);
        let bit = 1 << (WANTED_SHIFT as usize + worker % WANTED_BITS);
        let mut word = self.0.load(Relaxed);
        loop {
            let held = holder(word) != 0 && holder(word) != me;
            let reserved = reserver(word) != 0 && reserver(word) != me;
            if !held && !reserved {
                return false;
            }
            match self.0.compare_exchange_weak(word, word | bit, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Keeps all other workers from taking the lease; false if one of them has reserved it. Does not take it.
    pub fn reserve(&self, worker: usize) -> bool {
        let me = id(worker);
        let mut word = self.0.load(Relaxed);
        loop {
            if reserver(word) != 0 {
                return reserver(word) == me;
            }
            match self.0.compare_exchange_weak(word, word | me << RESERVED_SHIFT, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Ends a reservation of this worker, if there is one. The workers in the mask must be woken.
    pub fn unreserve(&self, worker: usize) -> WantedMask {
        let me = id(worker);
        let mut word = self.0.load(Relaxed);
        loop {
            if reserver(word) != me {
                return WantedMask::NONE;
            }
            let mut next = word & !(FIELD << RESERVED_SHIFT);
            // Who holds the lease will wake those who want it; if nobody does, it is to be done now.
            let free = holder(word) == 0;
            if free {
                next &= !WANTED;
            }
            match self.0.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) if free => return WantedMask(word >> WANTED_SHIFT),
                Ok(_) => return WantedMask::NONE,
                Err(now) => word = now,
            }
        }
    }
}

fn id(worker: usize) -> u64 {
    assert!(worker < WORKERS_MAX);
    worker as u64 + 1
}

fn holder(word: u64) -> u64 {
    word & FIELD
}

fn reserver(word: u64) -> u64 {
    word >> RESERVED_SHIFT & FIELD
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_worker_at_a_time() {
        let lease = Lease::new();
        assert!(lease.try_take(3));
        assert!(!lease.try_take(4));
        assert!(!lease.try_take(3));
        assert!(lease.want(4));
        assert!(lease.want(53));
        let wanted = lease.release(3);
        assert_eq!(wanted.workers(60).collect::<Vec<_>>(), [4, 5, 52, 53]);
        assert!(!lease.want(4));
        assert!(lease.try_take(4));
        assert!(lease.release(4).is_empty());
    }

    #[test]
    fn a_reservation_keeps_others_out_until_it_ends() {
        let lease = Lease::new();
        assert!(lease.try_take(0));
        assert!(lease.reserve(1));
        assert!(!lease.reserve(2));
        assert!(lease.reserve(1));
        assert!(lease.want(1));
        assert!(lease.release(0).has(1));
        assert!(!lease.try_take(0));
        assert!(lease.want(0));
        assert!(lease.try_take(1));
        // Who wanted it while it was reserved is woken by the release, tries in vain, and wants it again.
        assert!(lease.release(1).has(0));
        assert!(lease.want(0));
        assert!(lease.unreserve(1).has(0));
        assert!(lease.unreserve(1).is_empty());
        assert!(lease.try_take(0));
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A lease with what it protects, and a wake-up flag for each worker.
    struct Model {
        lease: Lease,
        data: UnsafeCell<u32>,
        wakes: [loom::sync::Notify; 2],
    }

    impl Model {
        fn new() -> Arc<Model> {
            let wakes = std::array::from_fn(|_| loom::sync::Notify::new());
            Arc::new(Model { lease: Lease::new(), data: UnsafeCell::new(0), wakes })
        }

        /// loom reports a second holder as a concurrent access to the cell.
        fn touch(&self) {
            self.data.with_mut(|data| {
                #[expect(unsafe_code, reason = "what the lease allows")]
                // SAFETY: the lease is held.
                unsafe {
                    *data += 1;
                }
            });
        }

        fn wake(&self, wanted: WantedMask) {
            wanted.workers(2).for_each(|worker| self.wakes[worker].notify());
        }

        /// Gets the lease, sleeping as a worker would: only after `want`, until woken.
        fn take_patiently(&self, worker: usize) {
            while !self.lease.try_take(worker) {
                if self.lease.want(worker) {
                    // A wake-up that never comes is a deadlock, which loom reports.
                    self.wakes[worker].wait();
                }
            }
        }
    }

    #[test]
    fn no_two_holders_and_no_lost_wake_up() {
        loom::model(|| {
            let model = Model::new();
            let threads: Vec<_> = (0..2)
                .map(|worker| {
                    let model = model.clone();
                    thread::spawn(move || {
                        model.take_patiently(worker);
                        model.touch();
                        model.wake(model.lease.release(worker));
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
            model.data.with(|data| {
                #[expect(unsafe_code, reason = "all threads have ended")]
                // SAFETY: nobody else is left.
                let count = unsafe { *data };
                assert_eq!(count, 2);
            });
        });
    }

    #[test]
    fn no_stuck_reservation() {
        loom::model(|| {
            let model = Model::new();
            let other = model.clone();
            let thread = thread::spawn(move || {
                if other.lease.reserve(1) {
                    other.take_patiently(1);
                    other.touch();
                    other.wake(other.lease.release(1));
                    other.wake(other.lease.unreserve(1));
                }
            });
            model.take_patiently(0);
            model.touch();
            model.wake(model.lease.release(0));
            thread.join().expect("no assertion failed");
            assert!(model.lease.try_take(0));
        });
    }
}
