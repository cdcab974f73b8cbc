//! The memory of the pool's chunks: mapped, made eligible for huge pages, and touched ahead of time.
//!
//! Design: the kernel clears a huge page when it is touched first, which takes from half a millisecond to several; in the
//! middle of an insert that would be a pause of the whole worker. A thread of its own therefore keeps a few chunks mapped
//! and touched, in slots that are filled and emptied with one exchange each; whoever empties one wakes it. When all slots
//! are empty, the caller maps a chunk itself and pays for the touching as it goes. On a virtual machine whose host has to find
//! the memory first, one chunk takes up to 6 ms of kernel time, in which whatever ran on that processor does not: so the
//! thread keeps to processors without a worker. Where there is none it asks not to interrupt a worker when it is woken. A lower
//! weight would be worse: starved, it leaves the touching to the worker, and holds the lock on the address space the longer.
//!
//! Invariants: a slot holds the address of a chunk that nobody else knows, or 0.
//!
//! Costs: up to [`SPARES_MAX`] chunks of resident memory, one while hardly any was taken; one wake-up per 2 MiB taken.
//!
//! Not here: what chunks are cut into (`pool`).
#![expect(unsafe_code, reason = "maps memory")]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::thread::Thread;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Size of a chunk: one huge page.
pub const CHUNK_BYTES: usize = 2 << 20;
/// Chunks kept ready: at the fastest fill they last as long as the thread may have to wait for a processor.
const SPARES_MAX: usize = 4;

static SPARES: [AtomicUsize; SPARES_MAX] = [const { AtomicUsize::new(0) }; SPARES_MAX];
/// Chunks taken so far.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static KEEPER: OnceLock<Thread> = OnceLock::new();

/// Starts the thread that keeps chunks ready. Without it every chunk is mapped when it is asked for. `cpus` are those that
/// no worker is pinned to.
pub fn keep_spares(cpus: &[usize]) -> std::io::Result<()> {
    let mut mask = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| mask.set(*cpu));
    let keeper = std::thread::Builder::new().name("torc-memory".to_owned()).spawn(move || {
        if mask.count() == 0 || sched_setaffinity(None, &mask).is_err() {
            interrupt_nobody();
        }
        loop {
            refill();
            std::thread::park();
        }
    })?;
    KEEPER.get_or_init(|| keeper.thread().clone());
    Ok(())
}

/// The calling thread, when it is woken, no longer takes the processor from whoever runs.
fn interrupt_nobody() {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives through the call. Every thread may do this; if it fails nothing has changed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const normal) };
}

/// A chunk's address, aligned to its size; its contents are zero. Aborts when memory is exhausted.
pub(super) fn take() -> usize {
    TAKEN.fetch_add(1, Relaxed);
    let spare = SPARES.iter().map(|slot| slot.swap(0, AcqRel)).find(|base| *base != 0);
    if let Some(keeper) = KEEPER.get() {
        keeper.unpark();
    }
    spare.unwrap_or_else(map_chunk)
}

/// Fills as many slots as chunks were taken, so that a small dataset is not accompanied by a multiple of it; at least one.
fn refill() {
    let wanted = TAKEN.load(Relaxed).clamp(1, SPARES_MAX);
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
    let start = ptr::with_exposed_provenance_mut::<libc::c_void>(base);
    // SAFETY: the range was mapped by `map_chunk` and nobody else knows it. A kernel that does not know the advice
    // (before 5.14) refuses, and the memory is touched when it is used.
    unsafe { libc::madvise(start, CHUNK_BYTES, libc::MADV_POPULATE_WRITE) };
}

/// Maps one chunk; the address is exposed, as pieces are handed out by address.
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
    // SAFETY: the range was mapped just above. A kernel without huge pages refuses, which changes nothing.
    unsafe { libc::madvise(ptr::with_exposed_provenance_mut(base), CHUNK_BYTES, libc::MADV_HUGEPAGE) };
    base
}

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
        bases.into_iter().for_each(|base| unmap(base, CHUNK_BYTES));
    }
}
