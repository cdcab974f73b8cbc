//! The general allocator's memory on its way back to the system: large values, lists, buffers.
//!
//! Design: mimalloc gives each thread a heap of its own. What one thread frees of another's pages waits there until their owner
//! looks, and what has become entirely free goes back to the system some time after, when some thread frees another page. So an
//! idle server kept all it ever had, and a busy one gave back up to a gigabyte in the middle of a request. Here both have
//! their place: each worker looks through its heap now and then ([`collect`]), and what that leaves free is given back by
//! a thread of its own ([`purge`]), whose system calls nobody waits for. Nothing else gives memory back ([`leave_to_purge`]).
//!
//! Not here: when (`worker::reclaim`), the thread (`prefault`), slab pages and table segments (`pool`).
#![expect(unsafe_code, reason = "calls mimalloc")]

use std::ffi::c_long;

use libmimalloc_sys as mimalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate does not name.
const OPTION_PURGE_DELAY: mimalloc::mi_option_t = 15;
/// A year, in ms: longer than any free memory waits for `purge`. mimalloc takes none for "at once".
const PURGE_DELAY_MS: c_long = 365 * 24 * 3600 * 1000;
/// Times an empty page is seen by `collect` before it is given up, in case its size is asked for again (MI_RETIRE_CYCLES).
pub const COLLECTS_TO_RETIRE: u32 = 16;

/// Free memory goes back to the system in `purge` alone; to be called before the first worker starts.
pub fn leave_to_purge() {
    // SAFETY: the option exists and takes any number.
    unsafe { mimalloc::mi_option_set(OPTION_PURGE_DELAY, PURGE_DELAY_MS) };
}

/// Takes back what other threads have freed of this thread's memory. Costs some 20 ns for each page that is partly free.
pub fn collect() {
    // SAFETY: concerns the calling thread's heap alone. Not forced: that would give memory back here and now.
    unsafe { mimalloc::mi_collect(false) };
}

/// Gives all free memory back to the system; takes a few us for each 64 KiB.
pub(super) fn purge() {
    // SAFETY: as in `collect`; the calling thread has hardly any memory, and free pages belong to all.
    unsafe { mimalloc::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number is right: the option has mimalloc's default until it is set.
    #[test]
    #[cfg_attr(miri, ignore = "calls C")]
    fn purge_delay_is_the_option_set() {
        // SAFETY: the option exists.
        let delay_ms = || unsafe { mimalloc::mi_option_get(OPTION_PURGE_DELAY) };
        assert_eq!(delay_ms(), 1000);
        leave_to_purge();
        assert_eq!(delay_ms(), PURGE_DELAY_MS);
    }
}
