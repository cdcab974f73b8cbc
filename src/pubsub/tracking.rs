//! What all workers know of clients that keep copies (CLIENT TRACKING): whether there are any, and where.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::store::{Readers, TRACKER_BITS, Tracker};

/// Workers are bits.
pub struct Tracking {
    /// The bits of clients that are given out, and the place, as one word, of who was given each last.
    given: AtomicU64,
    places: [AtomicU64; TRACKER_BITS as usize],
    /// Clients that track.
    pub clients: AtomicU64,
    /// Keys in all tables.
    pub keys: AtomicU64,
    /// Pairs of a key and a client there.
    pub items: AtomicU64,
    /// Prefixes of all clients.
    pub prefixes: AtomicU64,
    /// Workers that have such clients.
    workers: AtomicU64,
    /// Workers that have some which are told of all keys, or of all with a prefix.
    broadcasting: AtomicU64,
}

/// That a key has changed, on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// To a client that has read it.
    Read {
        /// The client's place, as one word.
        client: u64,
        /// The key.
        key: Box<[u8]>,
        /// Who has changed it, as one word; 0 for no client.
        by: u64,
    },
    /// To all whose prefixes it has.
    Broadcast {
        /// The key.
        key: Box<[u8]>,
        /// Who has changed it.
        by: u64,
    },
    /// All keys are gone: to all.
    All,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            given: AtomicU64::default(),
            places: std::array::from_fn(|_| AtomicU64::default()),
            clients: AtomicU64::default(),
            keys: AtomicU64::default(),
            items: AtomicU64::default(),
            prefixes: AtomicU64::default(),
            workers: AtomicU64::default(),
            broadcasting: AtomicU64::default(),
        }
    }
}

impl Tracking {
    /// How a client at this place, as one word, is noted as a reader of keys: by a bit, if one is left.
    pub fn enter(&self, place: u64) -> Tracker {
        let free = |given: u64| Some(given.trailing_ones()).filter(|bit| *bit < TRACKER_BITS);
        let update = self.given.fetch_update(Relaxed, Relaxed, |given| Some(given | 1 << free(given)?));
        match update.ok().and_then(free) {
            // Whoever finds the bit has the lease of a shard in which the client was noted since.
            Some(bit) => {
                self.places[bit as usize].store(place, Relaxed);
                Tracker::Bit(bit)
            }
            None => Tracker::Other(place),
        }
    }

    /// A client tracks no more. Keys that it has read are told to whoever gets its bit.
    pub fn leave(&self, tracker: Tracker) {
        if let Tracker::Bit(bit) = tracker {
            self.given.fetch_and(!(1 << bit), Relaxed);
        }
    }

    /// The places of those who have read a key.
    pub fn places(&self, readers: &Readers) -> impl Iterator<Item = u64> {
        let with_bits = (0..TRACKER_BITS).filter(|bit| readers.bits >> bit & 1 == 1);
        with_bits.map(|bit| self.places[bit as usize].load(Relaxed)).chain(readers.others.iter().copied())
    }

    /// Whether any client tracks; asked for under a lease.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.workers.load(Relaxed) != 0
    }

    /// The workers that have clients which track.
    pub fn workers(&self) -> u64 {
        self.workers.load(Relaxed)
    }

    /// The workers that have clients which are told of keys that they have not read.
    pub fn broadcasting(&self) -> u64 {
        self.broadcasting.load(Relaxed)
    }

    /// A worker has such clients, or has no more; only it says so.
    pub fn note(&self, worker: usize, has_any: bool, has_broadcast: bool) {
        let set = |word: &AtomicU64, on: bool| match on {
            true => word.fetch_or(1 << worker, Relaxed),
            false => word.fetch_and(!(1 << worker), Relaxed),
        };
        set(&self.workers, has_any);
        set(&self.broadcasting, has_broadcast);
    }
}
