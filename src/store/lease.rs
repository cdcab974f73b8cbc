//! The lease: the right to change a shard, or to read it; and how workers that want one are woken.
//!
//! Design: taken with one compare-and-swap that never waits, by one worker exclusively or by any number of them to read;
//! given back with a plain store by the one, with a locked subtraction by each of the others. A worker that cannot have it
//! marks it as wanted, sleeps, and is woken when it is given back; a worker that was refused too often reserves it, and
//! others stay off.
//!
//! ```text
//! Lease:    holder    who has it, or how    written by whoever takes it, and by its holders, who give it back
//!                     many read
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
//! Of several who read, the last one to give the lease back is the one whose fence matters to whoever wants to change the shard;
//! but all of them look, so that a worker that wants it is woken, finds others reading, and comes to reserve it. A
//! reservation keeps off those who want to read, too: else a writer might wait for ever among readers that come and go. Who
//! reads, alone, can go on to change the shard.
//!
//! Who is woken may find that somebody else was faster, or that the lease is still reserved; it marks it again before it
//! sleeps again. Marks may be left from earlier: a wake-up too many is harmless. With more workers than bits several share one.
//!
//! A lease may be given back some time before its holder looks for who wants it: workers that are awake can have it at once,
//! and the fence serves for all that the holder has given back by then.
//!
//! A reservation is looked at before the lease is taken, not with it: a worker may overlook one that is made at the same
//! time, as if it had come first. Who has reserved goes through the fence of `want` before it sleeps, and the holder through
//! that of giving back, so a worker that gave back what the other sleeps for sees the reservation from then on.
//!
//! Invariants (the loom models below check them, and fail without either fence):
//! - at most one worker holds the lease exclusively, and nobody else holds it then;
//! - what a holder wrote is seen by the next ones, and what they have read before the next one writes;
//! - a worker whose `want` said yes is in the mask of a later `release` or `unreserve`, while `Wanting` counts it;
//! - a reservation ends when its worker ends it, and does not keep that worker out;
//! - who has reserved a lease sleeps for a worker that takes it again and again once at most.
//!
//! Costs: two locked instructions for a group of one, one more for each further lease, and one for each that was shared. Behind
//! its fence giving back reads only `wanting`, which is in every cache: reading `wanted` of each lease would miss where the
//! other worker has fetched the line meanwhile. Of 30 leases given back by one of two busy workers each takes 6 ns; 13 with a
//! look at `wanted`, 18 with a locked instruction.
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
/// Nobody holds the lease.
const FREE: u32 = 0;
/// Beside a worker's id: it holds the lease exclusively. Without this, so many workers read.
const EXCLUSIVE: u32 = 1 << 31;
/// Times that taking a lease to read is tried while other readers come and go.
const SHARE_TRIES_MAX: usize = 8;
const WANTED_BITS: usize = u32::BITS as usize;

const _: () = assert!(HOLDERS_MAX < u8::MAX as usize);

/// The right to touch something; see the module. In a line of its own: others, who try to take it, fetch it, and so would slow down
/// the holder's work on what lies beside it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Lease {
    holder: AtomicU32,
    reserver: AtomicU8,
    wanted: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lease>() == 64);

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
        Lease { holder: AtomicU32::new(FREE), reserver: AtomicU8::new(NOBODY), wanted: AtomicU32::new(0) }
    }

    /// Who holds the lease exclusively at this moment, if anybody does.
    pub fn holder(&self) -> Option<usize> {
        let holder = self.holder.load(Relaxed);
        (holder & EXCLUSIVE != 0).then(|| (holder & !EXCLUSIVE) as usize - 1)
    }

    /// Takes the lease exclusively; false if another worker holds or has reserved it, or this one holds it already.
    #[inline]
    pub fn try_take(&self, worker: usize) -> bool {
        self.try_replace(FREE, worker)
    }

    /// From reading to changing: false if others read, or another worker has reserved the lease.
    pub fn try_upgrade(&self, worker: usize) -> bool {
        self.try_replace(1, worker)
    }

    #[inline]
    fn try_replace(&self, before: u32, worker: usize) -> bool {
        let me = id(worker);
        if self.holder.load(Relaxed) != before || self.is_reserved_for_others(me) {
            return false;
        }
        self.holder.compare_exchange(before, EXCLUSIVE | u32::from(me), Acquire, Relaxed).is_ok()
    }

    /// Takes the lease to read, which this worker does not hold; false if another one holds it exclusively or has reserved it.
    #[inline]
    pub fn try_share(&self, worker: usize) -> bool {
        let mut holders = self.holder.load(Relaxed);
        for _ in 0..SHARE_TRIES_MAX {
            if holders & EXCLUSIVE != 0 || self.is_reserved_for_others(id(worker)) {
                return false;
            }
            match self.holder.compare_exchange(holders, holders + 1, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(others) => holders = others,
            }
        }
        false
    }

    #[inline]
    fn is_reserved_for_others(&self, me: u8) -> bool {
        let reserver = self.reserver.load(Relaxed);
        reserver != NOBODY && reserver != me
    }

    /// Asks to be woken when the lease may be had, exclusively or to read; false if it may be had now. Only while `Wanting` counts
    /// this worker.
    pub fn want(&self, worker: usize, exclusively: bool) -> bool {
        let me = id(worker);
        // Released, so that who wakes this worker sees that it sleeps.
        self.wanted.fetch_or(1 << (worker % WANTED_BITS), Release);
        fence(SeqCst);
        let holder = self.holder.load(Relaxed);
        let is_held = match exclusively {
            true => holder != FREE && holder != EXCLUSIVE | u32::from(me),
            false => holder & EXCLUSIVE != 0 && holder != EXCLUSIVE | u32::from(me),
        };
        is_held || self.is_reserved_for_others(me)
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

/// Gives a lease back that was held exclusively. Whoever has given back some looks for who wants them with `take_wanted`.
#[inline]
pub fn give_back(lease: &Lease, worker: usize) {
    let held = EXCLUSIVE | u32::from(id(worker));
    assert!(lease.holder.load(Relaxed) == held, "a lease is given back by its holder");
    lease.holder.store(FREE, Release);
}

/// Gives a lease back that was held to read.
#[inline]
pub fn give_back_shared(lease: &Lease) {
    let holders = lease.holder.fetch_sub(1, Release);
    assert!((1..=HOLDERS_MAX as u32).contains(&holders), "a lease is given back by its holder");
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

/// Who wants leases that were given back. They must be woken.
#[inline]
pub fn take_wanted<'l>(leases: impl Iterator<Item = &'l Lease>, wanting: &Wanting) -> WantedMask {
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

    fn release<'l>(
        leases: impl Iterator<Item = &'l Lease> + Clone,
        worker: usize,
        wanting: &Wanting,
    ) -> WantedMask {
        leases.clone().for_each(|lease| give_back(lease, worker));
        take_wanted(leases, wanting)
    }

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
        assert!(lease.want(4, true));
        assert!(lease.want(37, true));
        let wanted = release_one(&lease, 3, &wanting);
        assert_eq!(wanted.workers(60).collect::<Vec<_>>(), [4, 5, 36, 37]);
        assert!(!lease.want(4, true));
        assert!(lease.try_take(4));
        // Nobody looks for marks that were left while nobody sleeps.
        wanting.end();
        assert!(release_one(&lease, 4, &wanting).is_empty());
    }

    #[test]
    fn readers_share_and_keep_writers_out() {
        let (lease, wanting) = (Lease::new(), Wanting::new());
        assert!(lease.try_share(0) && lease.try_share(1));
        assert!(!lease.try_take(2) && !lease.try_upgrade(0));
        wanting.begin();
        assert!(!lease.want(2, false));
        assert!(lease.want(2, true));
        give_back_shared(&lease);
        assert!(take_wanted([&lease].into_iter(), &wanting).has(2));
        assert!(lease.try_upgrade(1) && !lease.try_share(0));
        assert!(lease.want(0, false));
        assert!(release_one(&lease, 1, &wanting).has(0));
        // A reservation keeps readers off, but not those who read already.
        assert!(lease.try_share(0));
        assert!(lease.reserve(2));
        assert!(!lease.try_share(1) && !lease.try_upgrade(0));
        give_back_shared(&lease);
        assert!(lease.try_take(2));
    }

    #[test]
    fn of_several_leases_given_back_all_who_want_one_are_told() {
        let (leases, wanting) = ([Lease::new(), Lease::new(), Lease::new()], Wanting::new());
        assert!(leases.iter().all(|lease| lease.try_take(0)));
        wanting.begin();
        assert!(leases[0].want(1, true));
        assert!(leases[2].want(2, true));
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
        assert!(lease.want(1, true));
        assert!(release_one(&lease, 0, &wanting).has(1));
        assert!(!lease.try_take(0));
        assert!(lease.want(0, true));
        assert!(lease.try_take(1));
        // Who wanted it while it was reserved is woken by the release, tries in vain, and wants it again.
        assert!(release_one(&lease, 1, &wanting).has(0));
        assert!(lease.want(0, true));
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
                #[expect(unsafe_code, reason = "what the lease allows")]
                // SAFETY: the lease is held to read, or nobody else is left.
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
            leases.iter().for_each(|lease| give_back(&self.leases[*lease], worker));
            self.wake_wanting(leases)
        }

        /// Who was woken for leases that were given back.
        fn wake_wanting(&self, leases: &[usize]) -> WantedMask {
            let wanted = take_wanted(leases.iter().map(|lease| &self.leases[*lease]), &self.wanting);
            self.wake(wanted);
            wanted
        }

        fn unreserve(&self, lease: usize, worker: usize) {
            self.wake(unreserve([&self.leases[lease]].into_iter(), worker, &self.wanting));
        }

        /// Sleeps as a worker does, unless one of the leases may be had.
        fn sleep(&self, leases: &[usize], worker: usize) {
            self.sleep_as(leases, worker, true);
        }

        fn sleep_as(&self, leases: &[usize], worker: usize, exclusively: bool) {
            self.wanting.begin();
            if leases.iter().all(|lease| self.leases[*lease].want(worker, exclusively)) {
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

    /// Two read, one changes: what it changes is seen by who reads later, and nobody reads meanwhile (loom would report it).
    #[test]
    fn readers_and_a_writer_keep_apart_and_no_wake_up_is_lost() {
        loom::model(|| {
            let model = Model::new();
            let readers = [1, 2].map(|worker| {
                let model = model.clone();
                thread::spawn(move || {
                    while !model.leases[A].try_share(worker) {
                        model.sleep_as(&[A], worker, false);
                    }
                    let seen = model.touched(A);
                    give_back_shared(&model.leases[A]);
                    model.wake_wanting(&[A]);
                    seen
                })
            });
            model.take_touch_release(&[A], 0);
            let seen = readers.map(|reader| reader.join().expect("no assertion failed"));
            assert!(seen.iter().all(|seen| *seen <= 1));
            assert_eq!(model.touched(A), 1);
        });
    }

    /// Of two who read, one goes on to change, or is refused and sleeps until it may take the lease anew.
    #[test]
    fn reader_that_goes_on_to_change_is_alone() {
        loom::model(|| {
            let model = Model::new();
            let other = model.clone();
            let thread = thread::spawn(move || {
                if other.leases[A].try_share(1) {
                    other.touched(A);
                    give_back_shared(&other.leases[A]);
                    other.wake_wanting(&[A]);
                }
            });
            assert!(model.leases[A].try_share(0));
            if model.leases[A].try_upgrade(0) {
                model.touch(A);
                model.release(&[A], 0);
            } else {
                give_back_shared(&model.leases[A]);
                model.wake_wanting(&[A]);
                model.take_touch_release(&[A], 0);
            }
            thread.join().expect("no assertion failed");
            assert_eq!(model.touched(A), 1);
        });
    }

    /// A worker that reads again and again is kept off by the reservation of one that wants to change.
    #[test]
    fn who_has_reserved_is_not_kept_out_by_readers() {
        loom::model(|| {
            let model = Model::new();
            let other = model.clone();
            let thread = thread::spawn(move || {
                let mut woken = 0;
                for _ in 0..3 {
                    if other.leases[A].try_share(0) {
                        other.touched(A);
                        give_back_shared(&other.leases[A]);
                        woken += usize::from(other.wake_wanting(&[A]).has(1));
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

    /// One lease goes back while its holder goes on under another; who wants either is woken at the end.
    #[test]
    fn no_lost_wake_up_for_a_lease_that_goes_back_early() {
        loom::model(|| {
            let model = Model::new();
            let threads = [A, B].map(|lease| {
                let model = model.clone();
                thread::spawn(move || model.take_touch_release(&[lease], lease + 1))
            });
            model.take(&[A, B], 0);
            model.touch(A);
            give_back(&model.leases[A], 0);
            model.touch(B);
            give_back(&model.leases[B], 0);
            model.wake_wanting(&[A, B]);
            threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
            assert_eq!((model.touched(A), model.touched(B)), (2, 2));
        });
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
