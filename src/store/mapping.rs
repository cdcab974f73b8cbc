//! The allocator of the process: mimalloc, and for very large blocks a mapping each.
//!
//! Design: a block that grows is copied to a longer one unless there happens to be room behind it. For a string of 500 MB that
//! took hundreds of ms, under the lease of its key's shard, for one byte more. The kernel can give a mapping more pages where
//! it is or elsewhere without touching any byte of it (mremap). So a block of [`MAPPED_BYTES_MIN`] and more is a mapping of its
//! own; whoever doubles its room when it grows (`Vec`) doubles addresses, and takes memory as it fills them. Giving the pages of a
//! large mapping back takes the kernel tens of ms: that is the prefault thread's part, which finds them in a list (a stack as of
//! Treiber, taken as a whole) whose links lie in the mappings themselves.
//!
//! Invariants: a block is a mapping exactly if its size is at least [`MAPPED_BYTES_MIN`]; a mapping in the list is nobody's.
//!
//! Costs: one comparison for a block whose size is not known when compiling. A mapping is fresh memory, 0.5 us and more for each
//! page that is written first. Shorter blocks are worth having again: with mappings from 8 MiB on, SET of 10 MB took 5 ms of
//! processor time instead of 2.
//!
//! Not here: what becomes of mimalloc's free memory (`allocator`), the thread (`prefault`), entries and tables (`slab`, `pool`).
#![expect(unsafe_code, reason = "allocates memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use mimalloc::MiMalloc;

use super::prefault;

/// Blocks from this size on are mappings.
pub const MAPPED_BYTES_MIN: usize = 16 << 20;
/// All pages are at least as long, and so are mappings aligned.
pub const PAGE_BYTES: usize = 4096;

/// What the binary declares as its allocator.
pub struct Allocator;

/// Mappings to be given back.
static FREED: AtomicPtr<Freed> = AtomicPtr::new(ptr::null_mut());

/// The beginning of a mapping in the list.
struct Freed {
    next: *mut Freed,
    bytes: usize,
}

/// Whether a block of this layout is a mapping.
#[inline(always)]
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_BYTES_MIN && layout.align() <= PAGE_BYTES
}

// SAFETY: every block comes from mimalloc or from the kernel, and goes back to where it came from, which its size and
// alignment tell.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: as the caller says.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: as the caller says.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: as the caller says, a mapping of this size that is nobody's from now on.
            unsafe { give_back(block, layout.size()) };
        } else {
            // SAFETY: as the caller says; what is no mapping came from mimalloc.
            unsafe { MiMalloc.dealloc(block, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if layout.size().max(bytes) < MAPPED_BYTES_MIN || layout.align() > PAGE_BYTES {
            // SAFETY: as the caller says; the block came from mimalloc, and stays there.
            return unsafe { MiMalloc.realloc(block, layout, bytes) };
        }
        // SAFETY: as the caller says.
        unsafe { resize(block, layout, bytes) }
    }
}

/// Fresh memory, all zero; null if there is none.
#[cold]
fn map(bytes: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { ptr::null_mut() } else { address.cast() }
}

/// Makes a block longer or shorter where it is a mapping, or becomes one, or was one.
///
/// # Safety
/// - as for `GlobalAlloc::realloc`; the longer of the two is a mapping.
#[cold]
unsafe fn resize(block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
    if layout.size() >= MAPPED_BYTES_MIN && bytes >= MAPPED_BYTES_MIN {
        // SAFETY: the block is a mapping of this size, by the module's invariant, and the caller's alone.
        let moved = unsafe { libc::mremap(block.cast(), layout.size(), bytes, libc::MREMAP_MAYMOVE) };
        return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
    }
    // SAFETY: the caller gives a size that makes a layout with this alignment.
    let new_layout = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
    // SAFETY: the size is not zero, as the caller says.
    let new = unsafe { Allocator.alloc(new_layout) };
    if new.is_null() {
        return new;
    }
    // SAFETY: both are as long, and the new one is nobody else's.
    unsafe { new.copy_from_nonoverlapping(block, layout.size().min(bytes)) };
    // SAFETY: as the caller says, the block is given up.
    unsafe { Allocator.dealloc(block, layout) };
    new
}

/// Leaves a mapping to the prefault thread; without one it is given back here.
///
/// # Safety
/// - `block` is a mapping of so many bytes that nobody uses any more.
#[cold]
unsafe fn give_back(block: *mut u8, bytes: usize) {
    if !prefault::is_running() {
        // SAFETY: as the caller says.
        return unsafe { unmap(block, bytes) };
    }
    let freed = block.cast::<Freed>();
    let mut next = FREED.load(Relaxed);
    loop {
        // SAFETY: the mapping is writable, aligned to a page, longer than this, and nobody else's yet.
        unsafe { freed.write(Freed { next, bytes }) };
        match FREED.compare_exchange_weak(next, freed, Release, Relaxed) {
            Ok(_) => break,
            Err(other) => next = other,
        }
    }
    prefault::wake();
}

/// Gives all mappings back that were freed.
pub(super) fn unmap_freed() {
    let mut next = NonNull::new(FREED.swap(ptr::null_mut(), Acquire));
    while let Some(freed) = next {
        // SAFETY: whoever put it into the list wrote this at its beginning, and the list was taken as a whole.
        let Freed { next: behind, bytes } = unsafe { freed.read() };
        // SAFETY: what is in the list is nobody's.
        unsafe { unmap(freed.as_ptr().cast(), bytes) };
        next = NonNull::new(behind);
    }
}

/// # Safety
/// - `block` is a mapping of so many bytes that nobody uses any more.
unsafe fn unmap(block: *mut u8, bytes: usize) {
    // SAFETY: as the caller says.
    let result = unsafe { libc::munmap(block.cast(), bytes) };
    debug_assert!(result == 0, "a whole mapping of one's own can be unmapped");
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 1).expect("a size that exists")
    }

    /// What lies in a block.
    fn bytes<'a>(block: *mut u8, len: usize) -> &'a mut [u8] {
        // SAFETY: the tests look at no more than they have allocated, and at one block once at a time.
        unsafe { std::slice::from_raw_parts_mut(block, len) }
    }

    fn all(bytes: &[u8], byte: u8) -> bool {
        bytes.iter().all(|found| *found == byte)
    }

    /// Across the limit in both directions, and on either side of it.
    #[test]
    fn blocks_keep_their_bytes_when_resized() {
        let sizes = [100, MAPPED_BYTES_MIN, 3 * MAPPED_BYTES_MIN + 7, MAPPED_BYTES_MIN + 1, 50, 200];
        // SAFETY: each block is used with the size it was last given, and freed once.
        let mut block = unsafe { Allocator.alloc_zeroed(layout(sizes[0])) };
        assert!(all(bytes(block, sizes[0]), 0));
        bytes(block, sizes[0]).fill(1);
        for pair in sizes.windows(2) {
            // SAFETY: as above.
            block = unsafe { Allocator.realloc(block, layout(pair[0]), pair[1]) };
            assert!(all(bytes(block, pair[0].min(pair[1])), 1));
            bytes(block, pair[1]).fill(1);
        }
        // SAFETY: as above.
        unsafe { Allocator.dealloc(block, layout(sizes[sizes.len() - 1])) };
    }

    /// Doubling a large block takes addresses, not memory, nor the time that copying takes.
    #[test]
    fn large_block_grows_without_being_written() {
        let (small, large) = (64 << 20, 64 << 30);
        // SAFETY: the block is used with the size it was last given, and freed once.
        let block = unsafe { Allocator.alloc(layout(small)) };
        bytes(block, 10).fill(7);
        // SAFETY: as above.
        let grown = unsafe { Allocator.realloc(block, layout(small), large) };
        assert!(!grown.is_null() && all(bytes(grown, 10), 7));
        // SAFETY: as above.
        unsafe { Allocator.dealloc(grown, layout(large)) };
    }
}
