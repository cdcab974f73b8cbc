//! Mail between workers: a bounded ring for each ordered pair of workers, and a wake-up only for a peer that sleeps.
//!
//! Design: a single-producer single-consumer ring (Lamport 1983) with the two indices on cache lines of their own; each side
//! keeps a copy of the other's index and reads the shared one only when the copy says full (or empty). Sending is one
//! store; whether the peer sleeps is a flag of its own, checked after a fence (Dekker), so that either the sender sees the
//! flag or the sleeper sees the mail.
//!
//! Invariants: `tail - head <= CAPACITY`; slots in `head..tail` hold a message, no other slot does.
//!
//! Not here: what the mail says (`mail`), who reads it when (the turn).

#![expect(
    unsafe_code,
    reason = "ring slots are shared between two threads; checked under loom and AddressSanitizer"
)]

use std::mem::MaybeUninit;

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

#[cfg(not(loom))]
/// The part of loom's cell that is used here, over the standard one.
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Messages that fit between one pair of workers; more wait on the sender's side.
#[cfg(not(loom))]
pub const CAPACITY: usize = 256;
/// Few, so that the model wraps around.
#[cfg(loom)]
pub const CAPACITY: usize = 2;

#[repr(align(128))]
struct Line<T>(T);

struct Ring<T> {
    head: Line<AtomicUsize>,
    tail: Line<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the producer only while it is outside `head..tail` and by the consumer only while inside;
// the indices are published with release and read with acquire, so the two never touch one slot at a time.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: the ring owns its messages, which may be sent.
unsafe impl<T: Send> Send for Ring<T> {}

/// The sending end.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    head_seen: usize,
}

/// The receiving end.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring for one pair of workers.
pub fn ring<T: Send>() -> (Sender<T>, Receiver<T>) {
    let slots = (0..CAPACITY).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let head = Line(AtomicUsize::new(0));
    let ring = Arc::new(Ring { head, tail: Line(AtomicUsize::new(0)), slots });
    let sender = Sender { ring: Arc::clone(&ring), tail: 0, head_seen: 0 };
    (sender, Receiver { ring, head: 0, tail_seen: 0 })
}

impl<T> Sender<T> {
    /// Leaves a message, or gives it back when the ring is full.
    pub fn send(&mut self, message: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == CAPACITY {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == CAPACITY {
                return Err(message);
            }
        }
        self.ring.slots[self.tail % CAPACITY].with_mut(|slot| {
            // SAFETY: the slot at `tail` is outside `head..tail`, hence the producer's alone, and holds no message.
            let slot = unsafe { &mut *slot };
            slot.write(message);
        });
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest message.
    pub fn receive(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let message = self.ring.slots[self.head % CAPACITY].with_mut(|slot| {
            // SAFETY: the slot at `head` is inside `head..tail`, hence the consumer's alone.
            let slot = unsafe { &*slot };
            // SAFETY: it holds a message, which nobody reads again: `head` moves on.
            unsafe { slot.assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(message)
    }

    /// Whether a message waits.
    pub fn is_empty(&mut self) -> bool {
        self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        self.head == self.tail_seen
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        while self.receive().is_some() {}
    }
}

/// Whether a worker sleeps in its system call and has to be woken for mail.
#[repr(align(128))]
pub struct Sleep(AtomicBool);

impl Default for Sleep {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl Sleep {
    /// Announces that the caller is about to sleep. It must look for work once more afterwards, and then sleep or [`Self::rise`].
    pub fn lie_down(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The caller is awake.
    pub fn rise(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Called after leaving work for the sleeper: whether the caller has to wake it. True for one caller per sleep.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_the_ring_is_bounded() {
        let (mut sender, mut receiver) = ring();
        for round in 0..3 {
            for n in 0..CAPACITY {
                sender.send(round * CAPACITY + n).expect("room");
            }
            assert_eq!(sender.send(0), Err(0));
            for n in 0..CAPACITY {
                assert_eq!(receiver.receive(), Some(round * CAPACITY + n));
            }
            assert_eq!(receiver.receive(), None);
        }
    }

    #[test]
    fn messages_left_are_dropped() {
        let message = std::sync::Arc::new(());
        let (mut sender, receiver) = ring();
        sender.send(std::sync::Arc::clone(&message)).expect("room");
        drop((sender, receiver));
        assert_eq!(std::sync::Arc::strong_count(&message), 1);
    }

    #[test]
    fn two_threads() {
        let (mut sender, mut receiver) = ring();
        let total = 200_000u64;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..total {
                    let mut message = Box::new(n);
                    while let Err(back) = sender.send(message) {
                        message = back;
                        std::thread::yield_now();
                    }
                }
            });
            for n in 0..total {
                loop {
                    match receiver.receive() {
                        Some(message) => break assert_eq!(*message, n),
                        None => std::thread::yield_now(),
                    }
                }
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;

    #[test]
    fn a_ring_delivers_each_message_once_in_order() {
        loom::model(|| {
            let (mut sender, mut receiver) = ring();
            let producer = loom::thread::spawn(move || {
                for n in 0..3 {
                    let mut message = n;
                    while let Err(back) = sender.send(message) {
                        message = back;
                        loom::thread::yield_now();
                    }
                }
            });
            for n in 0..3 {
                loop {
                    match receiver.receive() {
                        Some(message) => break assert_eq!(message, n),
                        None => loom::thread::yield_now(),
                    }
                }
            }
            producer.join().expect("no panic");
        });
    }

    #[test]
    fn a_sleeper_with_mail_is_woken() {
        loom::model(|| {
            let (mut sender, mut receiver) = ring();
            let sleep = Arc::new(Sleep::default());
            let theirs = Arc::clone(&sleep);
            let producer = loom::thread::spawn(move || {
                sender.send(1).expect("room");
                theirs.must_wake()
            });
            sleep.lie_down();
            let saw_mail = !receiver.is_empty();
            if saw_mail {
                sleep.rise();
            }
            let woke = producer.join().expect("no panic");
            assert!(saw_mail || woke, "asleep with mail and nobody wakes it");
        });
    }
}
