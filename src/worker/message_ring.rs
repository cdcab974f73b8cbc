//! Messages between workers: each has one bounded inbox with many senders, and a wake-up only for a peer that sleeps.
//!
//! Design: a ring of slots with stamps (Vyukov's bounded queue), but that drawing a place and putting a message there are two
//! steps: one atomic addition draws the place (`pubsub::Places`), and who has places in several inboxes draws all of them before
//! it puts anything anywhere. So what was sent before is received before, whoever sent it. A place whose slot still holds an older
//! message has no room yet: the message waits at its sender. The receiver takes messages in the order of their places and waits
//! at the first that is not there. Whether it sleeps is a flag of its own, checked after a fence (Dekker), so that either the
//! sender sees the flag or the parked worker sees the message.
//!
//! ```text
//!   slot of place p:  stamp p      free for the message of place p
//!                     stamp p + 1  holds it
//!                     stamp p + CAPACITY  free for the next lap
//! ```
//!
//! Invariants: a slot is touched by who has its place while the stamp says free, and by the receiver while it says held.
//!
//! Costs: sending is an addition and a store; nothing is allocated.
//! Not here: what the messages say (`message`), who reads it when (the turn).

#![expect(
    unsafe_code,
    reason = "ring slots are shared between threads; checked under loom and AddressSanitizer"
)]

use std::mem::MaybeUninit;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

use std::sync::Arc;

use crate::pubsub::Places;

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

/// Messages that fit into an inbox; more wait on their senders' sides.
#[cfg(not(loom))]
pub const CAPACITY: usize = 1024;
/// Few, so that the model wraps around.
#[cfg(loom)]
pub const CAPACITY: usize = 2;

struct Slot<T> {
    stamp: AtomicU64,
    message: UnsafeCell<MaybeUninit<T>>,
}

struct Ring<T> {
    slots: Box<[Slot<T>]>,
}

// SAFETY: a slot's message is touched by the one sender that has drawn its place while the stamp is that place, and by the one
// receiver while it is one more; stamps are published with release and read with acquire, so no two touch it at a time.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: the ring owns its messages, which may be sent.
unsafe impl<T: Send> Send for Ring<T> {}

/// A sending end.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    places: Arc<Places>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring), places: Arc::clone(&self.places) }
    }
}

/// The receiving end.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    places: Arc<Places>,
    head: u64,
}

/// An inbox whose places are drawn there; none was yet.
pub fn inbox<T: Send>(places: &Arc<Places>) -> (Sender<T>, Receiver<T>) {
    assert!(places.drawn() == 0, "an inbox begins with its first place");
    let slot = |place| Slot { stamp: AtomicU64::new(place), message: UnsafeCell::new(MaybeUninit::uninit()) };
    let ring = Arc::new(Ring { slots: (0..CAPACITY as u64).map(slot).collect() });
    let sender = Sender { ring: Arc::clone(&ring), places: Arc::clone(places) };
    (sender, Receiver { ring, places: Arc::clone(places), head: 0 })
}

impl<T> Ring<T> {
    fn slot(&self, place: u64) -> &Slot<T> {
        &self.slots[place as usize % CAPACITY]
    }
}

impl<T> Sender<T> {
    /// Draws the next place. A message must be put there.
    pub fn draw(&self) -> u64 {
        self.places.draw()
    }

    /// Puts a message into a place that was drawn for it, or gives it back while there is no room.
    pub fn put(&self, place: u64, message: T) -> Result<(), T> {
        let slot = self.ring.slot(place);
        if slot.stamp.load(Ordering::Acquire) != place {
            return Err(message);
        }
        slot.message.with_mut(|cell| {
            // SAFETY: the stamp says that the slot is free for this place, which the caller alone has drawn.
            let cell = unsafe { &mut *cell };
            cell.write(message);
        });
        slot.stamp.store(place + 1, Ordering::Release);
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Takes the message of the next place, if it is there.
    pub fn receive(&mut self) -> Option<T> {
        let slot = self.ring.slot(self.head);
        if slot.stamp.load(Ordering::Acquire) != self.head + 1 {
            return None;
        }
        let message = slot.message.with_mut(|cell| {
            // SAFETY: the stamp says that the slot holds the message of this place, which is the consumer's alone.
            let cell = unsafe { &*cell };
            // SAFETY: it holds a message, which nobody reads again: the stamp moves on.
            unsafe { cell.assume_init_read() }
        });
        slot.stamp.store(self.head + CAPACITY as u64, Ordering::Release);
        self.head += 1;
        Some(message)
    }

    /// The next place to be read.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// How many places were drawn.
    pub fn drawn(&self) -> u64 {
        self.places.drawn()
    }

    /// Whether the message of the next place is not there.
    pub fn is_empty(&self) -> bool {
        self.ring.slot(self.head).stamp.load(Ordering::Acquire) != self.head + 1
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        for (index, slot) in self.slots.iter().enumerate() {
            let stamp = slot.stamp.load(Ordering::Acquire);
            let is_held = stamp.checked_sub(1).is_some_and(|place| place as usize % CAPACITY == index);
            if is_held {
                slot.message.with_mut(|cell| {
                    // SAFETY: nobody else has the ring any more.
                    let cell = unsafe { &mut *cell };
                    // SAFETY: the stamp says that it holds a message, and nobody reads it again.
                    unsafe { cell.assume_init_drop() };
                });
            }
        }
    }
}

/// Whether a worker sleeps in its system call and has to be woken for messages.
#[repr(align(128))]
pub struct Sleep(AtomicBool);

impl Default for Sleep {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl Sleep {
    /// Announces that the caller is about to sleep. It must look for work once more afterwards, and then sleep or
    /// [`Self::unpark`].
    pub fn park(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The caller is awake.
    pub fn unpark(&self) {
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

    fn new<T: Send>() -> (Sender<T>, Receiver<T>) {
        inbox(&Arc::default())
    }

    #[test]
    fn messages_arrive_in_order_of_places_and_inbox_is_bounded() {
        let (sender, mut receiver) = new();
        for round in 0..3 {
            let places: Vec<u64> = (0..CAPACITY).map(|_| sender.draw()).collect();
            // Put in another order than drawn.
            for place in places.iter().rev() {
                assert_eq!(receiver.receive(), None, "in round {round}");
                sender.put(*place, *place).expect("room");
            }
            assert_eq!(sender.put(places[0] + CAPACITY as u64, 0), Err(0), "the next lap has no room yet");
            for place in places {
                assert_eq!(receiver.receive(), Some(place));
            }
            assert_eq!((receiver.receive(), receiver.head()), (None, receiver.drawn()));
        }
    }

    #[test]
    fn messages_left_are_dropped() {
        let message = Arc::new(());
        let (sender, mut receiver) = new();
        let places = [sender.draw(), sender.draw(), sender.draw(), sender.draw()];
        for place in [places[0], places[1], places[3]] {
            sender.put(place, Arc::clone(&message)).expect("room");
        }
        drop(receiver.receive());
        drop((sender, receiver));
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn three_threads() {
        const EACH: u64 = if cfg!(miri) { 500 } else { 100_000 };
        let (sender, mut receiver) = new();
        std::thread::scope(|scope| {
            for number in 0..2 {
                let sender = sender.clone();
                scope.spawn(move || {
                    for n in 0..EACH {
                        let (place, mut message) = (sender.draw(), Box::new((number, n)));
                        while let Err(back) = sender.put(place, message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut next = [0; 2];
            while next.iter().sum::<u64>() < 2 * EACH {
                match receiver.receive() {
                    Some(message) => {
                        let (number, n): (usize, u64) = *message;
                        assert_eq!(n, next[number]);
                        next[number] += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;

    fn put(sender: &Sender<u64>, place: u64, mut message: u64) {
        while let Err(back) = sender.put(place, message) {
            message = back;
            loom::thread::yield_now();
        }
    }

    fn receive(receiver: &mut Receiver<u64>) -> u64 {
        loop {
            match receiver.receive() {
                Some(message) => return message,
                None => loom::thread::yield_now(),
            }
        }
    }

    #[test]
    fn inbox_delivers_each_message_once_in_order_of_its_sender() {
        loom::model(|| {
            let (sender, mut receiver) = inbox(&Arc::default());
            let other = sender.clone();
            let thread = loom::thread::spawn(move || {
                for message in [10, 11] {
                    put(&other, other.draw(), message);
                }
            });
            // Whoever waits for room in its own inbox goes on reading it.
            let (place, mut received) = (sender.draw(), Vec::new());
            while sender.put(place, 20).is_err() {
                received.push(receive(&mut receiver));
            }
            while received.len() < 3 {
                received.push(receive(&mut receiver));
            }
            thread.join().expect("no panic");
            let of_other: Vec<u64> = received.iter().copied().filter(|message| *message < 20).collect();
            assert_eq!((of_other, received.contains(&20)), (vec![10, 11], true));
        });
    }

    /// A question goes to two inboxes; whoever has it from one answers to the other, where the question stands before.
    #[test]
    fn answer_is_never_heard_before_its_question() {
        loom::model(|| {
            let (to_answerer, mut answerer) = inbox(&Arc::default());
            let (to_listener, mut listener) = inbox(&Arc::default());
            let answering = to_listener.clone();
            let thread = loom::thread::spawn(move || {
                assert_eq!(receive(&mut answerer), 1);
                put(&answering, answering.draw(), 2);
            });
            let (first, second) = (to_answerer.draw(), to_listener.draw());
            put(&to_answerer, first, 1);
            put(&to_listener, second, 1);
            assert_eq!((receive(&mut listener), receive(&mut listener)), (1, 2));
            thread.join().expect("no panic");
        });
    }

    #[test]
    fn parked_worker_with_message_is_woken() {
        loom::model(|| {
            let (sender, receiver) = inbox(&Arc::default());
            let sleep = loom::sync::Arc::new(Sleep::default());
            let theirs = loom::sync::Arc::clone(&sleep);
            let producer = loom::thread::spawn(move || {
                sender.put(sender.draw(), 1).expect("room");
                theirs.must_wake()
            });
            sleep.park();
            let saw_messages = !receiver.is_empty();
            if saw_messages {
                sleep.unpark();
            }
            let woke = producer.join().expect("no panic");
            assert!(saw_messages || woke, "parked with a message and nobody wakes it");
        });
    }
}
