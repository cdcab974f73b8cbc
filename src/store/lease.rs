//! The lease: the right to touch a shard; and how workers that want one are woken.
//!
//! Design: taken with one compare-and-swap that never waits, given back with a plain store. A worker that cannot have it
//! marks it as wanted, sleeps, and is woken when it is given back; a worker that was refused too often reserves it, and
//! others stay off.
//!
//! ```text
//! Lease:    holder    who has it            written by whoever takes it, and by its holder, who gives it back
//!           reserver  who keeps others off  written by that worker alone
//!           wanted    whom to wake          added to by who is refused, emptied by who wakes
//! Wanting:  the number of workers that want a lease and may sleep; one for all leases
//! ```
//!
//! Nobody sleeps for a lease that is free. Who gives leases back writes `holder` of all of them and then reads `wanting`,
//! and `wanted` if it is not zero; who wants one writes `wanting` and `wanted` and then reads `holder`. Each has a
//! sequentially consistent fence between writing and reading (Dekker 1965; a store buffer holds writes back beyond later
//! reads), so one of the two fences comes first, and whoever has the other reads what was written before the first: either
//! who wants sees the lease free and does not sleep, or who gives it back sees that it is wanted. That takes one fence for
//! any number of leases given back together, where a locked instruction for each would order each of them. Ending a
//! reservation is the same with `reserver` in the place of `holder`.
//!
//! Who is woken may find that somebody else was faster, or that the lease is still reserved; it marks it again before it
//! sleeps again. Marks may be left from earlier: a wake-up too many is harmless. With more workers than bits several share one.
//!
//! A reservation is looked at before the lease is taken, not with it: a worker may overlook one that is made at the same
//! time, as if it had come first. Who has reserved goes through the fence of `want` before it sleeps, and the holder through
//! that of giving back, so a worker that gave back what the other sleeps for sees the reservation from then on.
//!
//! Invariants (the loom models below check them, and fail without either fence):
//! - at most one worker holds the lease;
//! - what a holder wrote is seen by the next one;
//! - a worker whose `want` said yes is in the mask of a later `release` or `unreserve`, while `Wanting` counts it;
//! - a reservation ends when its worker ends it, and does not keep that worker out;
//! - who has reserved a lease sleeps for a worker that takes it again and again once at most.
//!
//! Costs: two locked instructions for a chunk of one, one more for each further lease. Behind its fence giving back reads only
//! `wanting`, which is in every cache: reading `wanted` of each lease would miss where the other worker has fetched the line
//! meanwhile. Of 30 leases given back by one of two busy workers each takes 6 ns; 13 with a look at `wanted`, 18 with a
//! locked instruction.
//!
//! Not here: who wakes whom (`worker`), several leases at once (`keyspace`).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, fence};

/// The most workers that leases can tell apart.
pub const HOLDERS_MAX: usize = 254;

/// In the place of a worker's id.
const NOBODY: u8 = 0;
const WANTED_BITS: usize = u32::BITS as usize;

const _: () = assert!(HOLDERS_MAX < u8::MAX as usize);

/// The right to touch something; see the module.
#[derive(Debug)]
pub struct Lease {
    holder: AtomicU8,
    reserver: AtomicU8,
    wanted: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lease>() == 8);

/// Workers to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedMask(u32);

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

impl Lease {
    /// A lease that nobody holds.
    pub fn new() -> Lease {
        Lease { holder: AtomicU8::new(NOBODY), reserver: AtomicU8::new(NOBODY), wanted: AtomicU32::new(0) }
    }

    /// Takes the lease; false if another worker holds or has reserved it, or this one holds it already.
    #[inline]
    pub fn try_take(&self, worker: usize) -> bool {
        let me = id(worker);
        let reserver = self.reserver.load(Relaxed);
        if self.holder.load(Relaxed) != NOBODY || (reserver != NOBODY && reserver != me) {
            return false;
        }
        self.holder.compare_exchange(NOBODY, me, Acquire, Relaxed).is_ok()
    }

    /// Asks to be woken when the lease may be had; false if it may be had now. Only while `Wanting` counts this worker.
    pub fn want(&self, worker: usize) -> bool {
        let me = id(worker);
        // Released, so that who wakes this worker sees that it sleeps.
        self.wanted.fetch_or(1 << (worker % WANTED_BITS), Release);
        fence(SeqCst);
        let (holder, reserver) = (self.holder.load(Relaxed), self.reserver.load(Relaxed));
        (holder != NOBODY && holder != me) || (reserver != NOBODY && reserver != me)
    }

    /// Keeps all other workers from taking the lease anew, without taking it; false if this worker does so already.
    pub fn reserve(&self, worker: usize) -> bool {
        let before = self.reserver.load(Relaxed);
        assert!(before == NOBODY || before == id(worker), "one worker reserves at a time");
        self.reserver.store(id(worker), Relaxed);
        before == NOBODY
    }
}

/// The number of workers that want leases and may sleep. A cache line of its own, as all workers read it all the time.
#[derive(Debug)]
#[repr(align(128))]
pub struct Wanting(AtomicUsize);

impl Wanting {
    /// Nobody.
    pub fn new() -> Wanting {
        Wanting(AtomicUsize::new(0))
    }

    /// A worker is about to want leases.
    pub fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// It is awake again.
    pub fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Gives leases back. The workers in the mask must be woken.
#[inline]
pub fn release<'l, L>(leases: L, worker: usize, wanting: &Wanting) -> WantedMask
where
    L: Iterator<Item = &'l Lease> + Clone,
{
    let me = id(worker);
    for lease in leases.clone() {
        assert!(lease.holder.load(Relaxed) == me, "a lease is given back by its holder");
        lease.holder.store(NOBODY, Release);
    }
    take_wanted(leases, wanting)
}

/// Ends reservations of this worker. The workers in the mask must be woken.
pub fn unreserve<'l, L>(leases: L, worker: usize, wanting: &Wanting) -> WantedMask
where
    L: Iterator<Item = &'l Lease> + Clone,
{
    let me = id(worker);
    for lease in leases.clone() {
        assert!(lease.reserver.load(Relaxed) == me, "a reservation is ended by who made it");
        lease.reserver.store(NOBODY, Relaxed);
    }
    take_wanted(leases, wanting)
}

/// Who wants leases that can be had since now.
#[inline]
fn take_wanted<'l>(leases: impl Iterator<Item = &'l Lease>, wanting: &Wanting) -> WantedMask {
    fence(SeqCst);
    let mut wanted = WantedMask::NONE;
    if wanting.0.load(Relaxed) != 0 {
        for lease in leases {
            if lease.wanted.load(Relaxed) != 0 {
                wanted.add(WantedMask(lease.wanted.swap(0, Acquire)));
            }
        }
    }
    wanted
}

fn id(worker: usize) -> u8 {
    assert!(worker < HOLDERS_MAX);
    worker as u8 + 1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn release_one(lease: &Lease, worker: usize, wanting: &Wanting) -> WantedMask {
        release([lease].into_iter(), worker, wanting)
    }

    #[test]
    fn one_worker_at_a_time() {
        let (lease, wanting) = (Lease::new(), Wanting::new());
        assert!(lease.try_take(3));
        assert!(!lease.try_take(4));
        assert!(!lease.try_take(3));
        wanting.begin();
        assert!(lease.want(4));
        assert!(lease.want(37));
        let wanted = release_one(&lease, 3, &wanting);
        assert_eq!(wanted.workers(60).collect::<Vec<_>>(), [4, 5, 36, 37]);
        assert!(!lease.want(4));
        assert!(lease.try_take(4));
        // Nobody looks for marks that were left while nobody sleeps.
        wanting.end();
        assert!(release_one(&lease, 4, &wanting).is_empty());
    }

    #[test]
    fn of_several_leases_given_back_all_who_want_one_are_told() {
        let (leases, wanting) = ([Lease::new(), Lease::new(), Lease::new()], Wanting::new());
        assert!(leases.iter().all(|lease| lease.try_take(0)));
        wanting.begin();
        assert!(leases[0].want(1));
        assert!(leases[2].want(2));
        let wanted = release(leases[1..].iter(), 0, &wanting);
        assert_eq!(wanted.workers(3).collect::<Vec<_>>(), [2]);
        let wanted = release(leases[..1].iter(), 0, &wanting);
        assert_eq!(wanted.workers(3).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_reservation_keeps_others_out_until_it_ends() {
        let (lease, wanting) = (Lease::new(), Wanting::new());
        assert!(lease.try_take(0));
        assert!(lease.reserve(1));
        assert!(!lease.reserve(1));
        wanting.begin();
        assert!(lease.want(1));
        assert!(release_one(&lease, 0, &wanting).has(1));
        assert!(!lease.try_take(0));
        assert!(lease.want(0));
        assert!(lease.try_take(1));
        // Who wanted it while it was reserved is woken by the release, tries in vain, and wants it again.
        assert!(release_one(&lease, 1, &wanting).has(0));
        assert!(lease.want(0));
        assert!(unreserve([&lease].into_iter(), 1, &wanting).has(0));
        assert!(lease.try_take(0));
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// Two leases with what they protect, and what wakes each worker.
    struct Model {
        leases: [Lease; 2],
        data: [UnsafeCell<u32>; 2],
        wanting: Wanting,
        wakes: [Notify; 3],
    }

    const A: usize = 0;
    const B: usize = 1;

    impl Model {
        fn new() -> Arc<Model> {
            Arc::new(Model {
                leases: std::array::from_fn(|_| Lease::new()),
                data: std::array::from_fn(|_| UnsafeCell::new(0)),
                wanting: Wanting::new(),
                wakes: std::array::from_fn(|_| Notify::new()),
            })
        }

        /// loom reports a second holder as a concurrent access to the cell.
        fn touch(&self, lease: usize) {
            self.data[lease].with_mut(|data| {
                #[expect(unsafe_code, reason = "what the lease allows")]
                // SAFETY: the lease is held.
                unsafe {
                    *data += 1;
                }
            });
        }

        fn touched(&self, lease: usize) -> u32 {
            self.data[lease].with(|data| {
                #[expect(unsafe_code, reason = "all threads have ended")]
                // SAFETY: nobody else is left.
                unsafe {
                    *data
                }
            })
        }

        fn wake(&self, wanted: WantedMask) {
            wanted.workers(self.wakes.len()).for_each(|worker| self.wakes[worker].notify());
        }

        /// Who was woken.
        fn release(&self, leases: &[usize], worker: usize) -> WantedMask {
            let leases = leases.iter().map(|lease| &self.leases[*lease]);
            let wanted = release(leases, worker, &self.wanting);
            self.wake(wanted);
            wanted
        }

        fn unreserve(&self, lease: usize, worker: usize) {
            self.wake(unreserve([&self.leases[lease]].into_iter(), worker, &self.wanting));
        }

        /// Sleeps as a worker does, unless one of the leases may be had.
        fn sleep(&self, leases: &[usize], worker: usize) {
            self.wanting.begin();
            if leases.iter().all(|lease| self.leases[*lease].want(worker)) {
                // A wake-up that never comes is a deadlock, which loom reports. One that nobody sent may come.
                self.wakes[worker].wait();
            }
            self.wanting.end();
        }

        /// Gets all of the leases or none, by trying; the one that was refused.
        fn try_take(&self, leases: &[usize], worker: usize) -> Result<(), usize> {
            for (count, lease) in leases.iter().enumerate() {
                if !self.leases[*lease].try_take(worker) {
                    if count > 0 {
                        self.release(&leases[..count], worker);
                    }
                    return Err(*lease);
                }
            }
            Ok(())
        }

        /// Gets the leases, sleeping while one is refused.
        fn take(&self, leases: &[usize], worker: usize) {
            while let Err(refused) = self.try_take(leases, worker) {
                self.sleep(&[refused], worker);
            }
        }

        fn take_touch_release(&self, leases: &[usize], worker: usize) {
            self.take(leases, worker);
            leases.iter().for_each(|lease| self.touch(*lease));
            self.release(leases, worker);
        }
    }

    /// Runs what each worker does; the first on the model's own thread.
    fn run(model: &Arc<Model>, workers: &[&'static [usize]]) {
        let threads: Vec<_> = (1..workers.len())
            .map(|worker| {
                let (model, leases) = (model.clone(), workers[worker]);
                thread::spawn(move || model.take_touch_release(leases, worker))
            })
            .collect();
        model.take_touch_release(workers[0], 0);
        threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
        for lease in [A, B] {
            let takers = workers.iter().filter(|leases| leases.contains(&lease)).count();
            assert_eq!(model.touched(lease) as usize, takers);
        }
    }

    #[test]
    fn no_two_holders_and_no_lost_wake_up() {
        loom::model(|| run(&Model::new(), &[&[A], &[A]]));
    }

    /// One worker gives back two leases, with one fence, that two others want.
    #[test]
    fn no_lost_wake_up_of_two_workers_for_two_leases() {
        loom::model(|| run(&Model::new(), &[&[A, B], &[A], &[B]]));
    }

    /// Who gives back finds that others want, but not what it gave back; or somebody wants what was given back already.
    #[test]
    fn no_lost_wake_up_among_those_who_want_different_leases() {
        loom::model(|| run(&Model::new(), &[&[A], &[A, B], &[B]]));
    }

    /// A worker that was refused two leases sleeps until either is to be had.
    #[test]
    fn no_lost_wake_up_of_who_wants_two_leases() {
        loom::model(|| {
            let model = Model::new();
            let threads = [A, B].map(|lease| {
                let model = model.clone();
                thread::spawn(move || model.take_touch_release(&[lease], lease))
            });
            loop {
                if let Some(lease) = [A, B].into_iter().find(|lease| model.try_take(&[*lease], 2).is_ok()) {
                    model.touch(lease);
                    model.release(&[lease], 2);
                    break;
                }
                model.sleep(&[A, B], 2);
            }
            threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
            assert_eq!(model.touched(A) + model.touched(B), 3);
        });
    }

    /// Who reserves gets the lease, others get it afterwards.
    #[test]
    fn no_stuck_reservation() {
        loom::model(|| {
            let model = Model::new();
            let other = model.clone();
            let thread = thread::spawn(move || {
                assert!(other.leases[A].reserve(1));
                other.take_touch_release(&[A], 1);
                other.unreserve(A, 1);
            });
            model.take_touch_release(&[A], 0);
            thread.join().expect("no assertion failed");
            assert_eq!(model.touched(A), 2);
            assert!(model.leases[A].try_take(0));
        });
    }

    /// A worker that takes the lease again and again wakes the one that has reserved it once at most.
    #[test]
    fn who_has_reserved_sleeps_once_at_most() {
        loom::model(|| {
            let model = Model::new();
            let other = model.clone();
            let thread = thread::spawn(move || {
                let mut woken = 0;
                for _ in 0..3 {
                    if other.leases[A].try_take(0) {
                        other.touch(A);
                        woken += usize::from(other.release(&[A], 0).has(1));
                    }
                }
                assert!(woken <= 1);
            });
            assert!(model.leases[A].reserve(1));
            model.take_touch_release(&[A], 1);
            model.unreserve(A, 1);
            thread.join().expect("no assertion failed");
        });
    }
}
