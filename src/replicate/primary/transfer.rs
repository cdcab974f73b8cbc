//! A snapshot on its way from the thread that encodes it to one replica's worker.
//!
//! Design: a queue of shared blocks with a limit. Several replicas that get the same snapshot have a queue each of the same
//! blocks; the thread goes on when the slowest has room, and the walk, which feeds it, slows down. So whatever the sockets'
//! speed the memory is that of one queue.
//!
//! Costs: a lock for as long as a pointer is moved; workers only try for it.
//! Not here: what is sent (`payload`), the socket (`worker::replicas`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;

use bytes::Bytes;

/// Bytes that may wait for one replica before the thread waits.
const QUEUED_BYTES_MAX: usize = 2 << 20;
/// From so many on downwards it is woken.
const QUEUED_BYTES_LOW: usize = QUEUED_BYTES_MAX / 2;

/// What is next for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// None yet: the snapshot has not come so far.
    Nothing,
    /// Nothing more: it has all.
    End,
    /// There is no more, but that was not all.
    Failed,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<bool>,
    is_given_up: bool,
}

/// The way of a snapshot to one replica.
pub struct Transfer {
    queue: Mutex<Queue>,
    /// Whether a mark ends it, and not a length.
    has_mark: bool,
    /// Which worker sends it, a bit.
    worker: u64,
    /// Wakes workers.
    wake: Arc<dyn Fn(u64) + Send + Sync>,
    /// Who waits for room.
    thread: OnceLock<Thread>,
}

impl Transfer {
    /// To a replica of this worker.
    pub fn new(worker: usize, has_mark: bool, wake: Arc<dyn Fn(u64) + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            has_mark,
            worker: 1 << worker,
            wake,
            thread: OnceLock::new(),
        })
    }

    /// Whether the replica finds its end by a mark, so that nothing may follow before it says so.
    pub fn ends_with_mark(&self) -> bool {
        self.has_mark
    }

    /// Whether there is room.
    pub(super) fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.bytes < QUEUED_BYTES_MAX || queue.is_given_up
    }

    /// Whether the replica has gone.
    pub(super) fn is_given_up(&self) -> bool {
        self.lock().is_given_up
    }

    /// A block more. Called by one thread.
    pub(super) fn push(&self, block: Bytes) {
        self.thread.get_or_init(std::thread::current);
        let mut queue = self.lock();
        if queue.is_given_up {
            return;
        }
        queue.bytes += block.len();
        queue.blocks.push_back(block);
        let is_first = queue.blocks.len() == 1;
        drop(queue);
        if is_first {
            (self.wake)(self.worker);
        }
    }

    /// There is no more; whether that was all.
    pub fn end(&self, is_whole: bool) {
        self.lock().end.get_or_insert(is_whole);
        (self.wake)(self.worker);
    }

    /// The next piece; nothing if the thread is at work with the queue just now.
    pub fn next(&self) -> Piece {
        let mut queue = match self.queue.try_lock() {
            Ok(queue) => queue,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // It is not woken for what comes now.
                (self.wake)(self.worker);
                return Piece::Nothing;
            }
        };
        let Some(block) = queue.blocks.pop_front() else {
            return match queue.end {
                None => Piece::Nothing,
                Some(true) => Piece::End,
                Some(false) => Piece::Failed,
            };
        };
        let before = queue.bytes;
        queue.bytes -= block.len();
        let has_room_now = before > QUEUED_BYTES_LOW && queue.bytes <= QUEUED_BYTES_LOW;
        drop(queue);
        if has_room_now {
            self.unpark();
        }
        Piece::Bytes(block)
    }

    /// The replica is gone: what is queued is forgotten.
    pub fn give_up(&self) {
        let mut queue = self.lock();
        *queue = Queue { is_given_up: true, ..Queue::default() };
        drop(queue);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nobody panics midway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn transfer() -> (Arc<Transfer>, Arc<AtomicU64>) {
        let woken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&woken);
        let wake = move |workers| {
            assert_eq!(workers, 1 << 3);
            counted.fetch_add(1, Relaxed);
        };
        (Transfer::new(3, true, Arc::new(wake)), woken)
    }

    #[test]
    fn blocks_come_in_order_and_then_the_end() {
        let (transfer, woken) = transfer();
        assert_eq!(transfer.next(), Piece::Nothing);
        transfer.push(Bytes::from_static(b"a"));
        transfer.push(Bytes::from_static(b"b"));
        transfer.end(true);
        transfer.end(false);
        assert_eq!(woken.load(Relaxed), 3, "for the first block, and for each end");
        assert_eq!(transfer.next(), Piece::Bytes(Bytes::from_static(b"a")));
        assert_eq!(transfer.next(), Piece::Bytes(Bytes::from_static(b"b")));
        assert_eq!((transfer.next(), transfer.next()), (Piece::End, Piece::End));
    }

    #[test]
    fn full_queue_has_room_again_once_the_replica_has_read_or_gone() {
        let (transfer, _) = transfer();
        let block = Bytes::from(vec![0; QUEUED_BYTES_LOW]);
        transfer.push(block.clone());
        assert!(transfer.has_room());
        transfer.push(block.clone());
        assert!(!transfer.has_room());
        assert!(matches!(transfer.next(), Piece::Bytes(_)) && transfer.has_room());
        transfer.push(block.clone());
        transfer.give_up();
        transfer.push(block);
        assert!(transfer.has_room() && transfer.is_given_up());
        assert_eq!(transfer.next(), Piece::Nothing);
    }
}
