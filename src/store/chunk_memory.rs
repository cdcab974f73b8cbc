//! The memory of the pool's chunks: mapped, made eligible for huge pages, and touched ahead of time.
//!
//! Design: the kernel clears a huge page when it is touched first, which takes from half a millisecond to several; in the
//! middle of an insert that would be a pause of the whole worker. The prefault thread therefore keeps a few chunks mapped and
//! touched, in slots that are filled and emptied with one exchange each; whoever empties one wakes it. When all slots are
//! empty, the caller maps a chunk itself and pays for the touching as it goes.
//!
//! Invariants: a slot holds the address of a chunk that nobody else knows, or 0.
//!
//! Under Miri, which knows no partial unmapping and no advice, chunks come from the global allocator.
//!
//! Costs: up to [`SPARES_MAX`] chunks of resident memory, one while hardly any was taken; one wake-up per 2 MiB taken.
//!
//! Not here: what chunks are cut into (`pool`), the thread (`prefault`).
#![expect(unsafe_code, reason = "maps memory")]

#[cfg(not(miri))]
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::prefault;

/// Size of a chunk: one huge page.
pub const CHUNK_BYTES: usize = 2 << 20;
/// Chunks kept ready: at the fastest fill they last as long as the thread may have to wait for a processor.
const SPARES_MAX: usize = 4;

static SPARES: [AtomicUsize; SPARES_MAX] = [const { AtomicUsize::new(0) }; SPARES_MAX];
/// Chunks taken since the demand was forgotten.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A chunk's address, aligned to its size; its contents are zero. Aborts when memory is exhausted.
pub(super) fn take() -> usize {
    TAKEN.fetch_add(1, Relaxed);
    let spare = SPARES.iter().map(|slot| slot.swap(0, AcqRel)).find(|base| *base != 0);
    prefault::wake();
    spare.unwrap_or_else(map_chunk)
}

/// Memory is given back: until chunks are taken again, one is ready.
pub(super) fn forget_demand() {
    TAKEN.store(0, Relaxed);
}

/// Fills as many slots as chunks were taken, so that a small dataset is not accompanied by a multiple of it; at least one.
pub(super) fn refill() {
    let wanted = TAKEN.load(Relaxed).clamp(1, SPARES_MAX);
    for slot in &SPARES[wanted..] {
        let surplus = slot.swap(0, AcqRel);
        if surplus != 0 {
            unmap(surplus, CHUNK_BYTES);
        }
    }
    for slot in &SPARES[..wanted] {
        if slot.load(Acquire) == 0 {
            let base = map_chunk();
            touch(base);
            // Only this thread fills slots, so the slot is still empty.
            let before = slot.swap(base, AcqRel);
            assert!(before == 0, "one thread fills the slots");
        }
    }
}

/// Has the kernel back the whole chunk with memory now.
fn touch(base: usize) {
    // The range was mapped by `map_chunk` and nobody else knows it. A kernel that does not know the advice (before 5.14)
    // refuses, and the memory is touched when it is used.
    advise(base, libc::MADV_POPULATE_WRITE);
}

/// Gives the memory of a chunk back to the kernel; only the addresses stay.
///
/// # Safety
/// - the chunk came from `take`, and nobody uses any of it meanwhile.
pub(super) unsafe fn give_back(base: usize) {
    assert!(advise(base, libc::MADV_DONTNEED), "giving back an own private mapping cannot fail");
}

/// Advises the kernel about a chunk; whether it took the advice.
#[cfg(not(miri))]
fn advise(base: usize, advice: libc::c_int) -> bool {
    let start = ptr::with_exposed_provenance_mut::<libc::c_void>(base);
    // SAFETY: the range is a chunk mapped here. Of the advice given here only MADV_DONTNEED changes what is in it, and then the
    // caller says that nobody uses it.
    unsafe { libc::madvise(start, CHUNK_BYTES, advice) == 0 }
}

#[cfg(miri)]
fn advise(_: usize, _: libc::c_int) -> bool {
    true
}

#[cfg(miri)]
const MIRI_LAYOUT: std::alloc::Layout = match std::alloc::Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

#[cfg(miri)]
fn map_chunk() -> usize {
    // SAFETY: the layout is not empty.
    unsafe { std::alloc::alloc_zeroed(MIRI_LAYOUT) }.expose_provenance()
}

/// Maps one chunk; the address is exposed, as pieces are handed out by address.
#[cfg(not(miri))]
fn map_chunk() -> usize {
    let first = map_bytes(CHUNK_BYTES);
    let base = if first.is_multiple_of(CHUNK_BYTES) {
        first
    } else {
        unmap(first, CHUNK_BYTES);
        let wide = map_bytes(2 * CHUNK_BYTES);
        let base = wide.next_multiple_of(CHUNK_BYTES);
        unmap(wide, base - wide);
        unmap(base + CHUNK_BYTES, wide + CHUNK_BYTES - base);
        base
    };
    // A kernel without huge pages refuses, which changes nothing.
    advise(base, libc::MADV_HUGEPAGE);
    base
}

#[cfg(not(miri))]
fn map_bytes(bytes: usize) -> usize {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        let layout =
            std::alloc::Layout::from_size_align(bytes, CHUNK_BYTES).expect("sizes of this file are valid");
        std::alloc::handle_alloc_error(layout);
    }
    address.expose_provenance()
}

#[cfg(miri)]
fn unmap(address: usize, bytes: usize) {
    assert_eq!(bytes, CHUNK_BYTES);
    // SAFETY: `map_chunk` allocated it with this layout, and it has not been handed out.
    unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(address), MIRI_LAYOUT) };
}

#[cfg(not(miri))]
fn unmap(address: usize, bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: the range is a part of a mapping made above that has not been handed out.
    let result = unsafe { libc::munmap(ptr::with_exposed_provenance_mut(address), bytes) };
    assert!(result == 0, "unmapping an own range cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_aligned_and_distinct() {
        let mut bases: Vec<usize> = (0..2 * SPARES_MAX).map(|_| take()).collect();
        refill();
        bases.extend((0..2 * SPARES_MAX).map(|_| take()));
        assert!(bases.iter().all(|base| base.is_multiple_of(CHUNK_BYTES)));
        let distinct: std::collections::HashSet<_> = bases.iter().collect();
        assert_eq!(distinct.len(), bases.len());
        // They stay mapped: a few MiB of addresses, most of them never touched.
    }
}
