//! Places in the inbox of a worker: who draws one has it, before anything is put there.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The places drawn so far in one inbox.
#[repr(align(128))]
pub struct Places(AtomicU64);

impl Default for Places {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Places {
    /// The next place. What is drawn after something else was received that was put behind its own drawing is a later one:
    /// both are operations on one word, in the order of cause and effect.
    #[inline]
    pub fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    /// How many were drawn.
    #[inline]
    pub fn drawn(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How far one worker has read its inbox. It alone writes that.
#[derive(Default)]
pub struct Inbox {
    places: Arc<Places>,
    read: Progress,
}

#[repr(align(128))]
struct Progress {
    read: std::sync::atomic::AtomicU64,
    aim: std::sync::atomic::AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        let zero = || std::sync::atomic::AtomicU64::new(0);
        Self { read: zero(), aim: zero() }
    }
}

impl Inbox {
    /// Where places are drawn.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// In this turn all was read before `read`; to be read was what stood before `aim`.
    pub fn note(&self, read: u64, aim: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        self.read.read.store(read, Relaxed);
        self.read.aim.store(aim, Relaxed);
    }

    /// What was read, and what was to be.
    pub fn progress(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        (self.read.read.load(Relaxed), self.read.aim.load(Relaxed))
    }
}
