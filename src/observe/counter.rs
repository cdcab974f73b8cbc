//! Counters with one writer and any number of readers, at the price of plain memory.
//!
//! Design: a worker owns its counters, so an addition is a relaxed load and a relaxed store, never a locked instruction.
//! Readers (INFO on any worker) sum over the workers and may see a value that is a moment old.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only its owner changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning worker may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Replaces the value; only the owning worker may call it.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Raises the value to `n` if it is lower; only the owning worker may call it.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.read() {
            self.set(n);
        }
    }

    /// The value, perhaps a moment old.
    #[inline]
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
