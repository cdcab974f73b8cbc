//! Slabs: a shard's own allocator for entries.
//!
//! Design: 8-byte size classes up to `SLAB_BYTES_MAX`, on pages of 8 KiB taken from the common pool. The page of a
//! pointer is the pointer with its low 13 bits cleared; its header is a single word, so that 93 slots of 88 bytes
//! fit. A shard belongs to one worker at a time, so nothing here is atomic.
//!
//! ```text
//! page    header (8) | slot | slot | ...           header: used, first free, never used yet, class, position
//! slot    entry, or, when free, the number of the next free slot (its offset in 8-byte units)
//! class   list of the pages with room; a page knows its position in that list
//! ```
//!
//! Bigger blocks come from the global allocator, behind a word that holds their size.
//!
//! Invariants:
//! - a page is in its class's list exactly while it has room, at the position its header says;
//! - a page without used slots goes back to the pool at once;
//! - `bytes_used` is the sum of the sizes of all slots and blocks in use.
//!
//! Costs: a few instructions and the page's header line; an empty slab is one empty vector.
//!
//! Not here: what entries look like (`entry`), where pages come from (`pool`), emptying sparse pages (`emptying`).
#![expect(unsafe_code, reason = "an allocator")]

mod emptying;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

pub use emptying::SparseCursor;

use super::occupancy;
use super::pool::{PAGE_BYTES, POOL, PageOwner};

/// The largest block that lies in a slab page.
pub const SLAB_BYTES_MAX: usize = 1024;

const UNIT_BYTES: usize = 8;
const HEADER_UNITS: usize = 1;
const PAGE_UNITS: usize = PAGE_BYTES / UNIT_BYTES;
/// Two units, so that the number of slots in a page fits ten bits.
const SLOT_UNITS_MIN: usize = 2;
const POSITION_BITS: u32 = 25;
/// The word before a block of the global allocator.
const LARGE_PREFIX_BYTES: usize = 8;

const _: () = assert!((PAGE_UNITS - HEADER_UNITS) / SLOT_UNITS_MIN < 1 << 10);
const _: () = assert!((PAGE_UNITS - HEADER_UNITS) / 11 == 93);

/// The memory of one shard's entries.
pub struct Slab {
    /// Whose its pages are.
    owner: PageOwner,
    /// Indexed by slot size in units; as long as the largest class in use.
    classes: Vec<Class>,
    bytes_used: u64,
    page_count: u64,
    large_bytes: u64,
}

/// The pages of one slot size that have room.
type Class = Vec<Page>;

impl Slab {
    /// A slab without pages.
    pub fn new() -> Slab {
        let owner = PageOwner::fresh();
        Slab { owner, classes: Vec::new(), bytes_used: 0, page_count: 0, large_bytes: 0 }
    }

    /// Under which its pages are found in the pool.
    pub fn owner(&self) -> PageOwner {
        self.owner
    }

    /// Bytes of all slots and blocks in use.
    pub fn bytes_used(&self) -> u64 {
        self.bytes_used
    }

    /// Bytes of all pages and blocks; what exceeds `bytes_used` is overhead.
    pub fn bytes_reserved(&self) -> u64 {
        self.page_count * PAGE_BYTES as u64 + self.large_bytes
    }

    /// The bytes that a block of `bytes` really has.
    pub fn rounded(bytes: usize) -> usize {
        slot_units(bytes) * UNIT_BYTES
    }

    /// Allocates at least `bytes`, aligned to 8. Blocks above `SLAB_BYTES_MAX` are large.
    pub fn alloc(&mut self, bytes: usize) -> NonNull<u8> {
        let units = slot_units(bytes);
        if bytes > SLAB_BYTES_MAX {
            return self.alloc_large(units * UNIT_BYTES);
        }
        let page = match self.classes.get(units).and_then(|class| class.last()) {
            Some(page) => *page,
            None => self.add_page(units),
        };
        let mut header = page.header();
        let slot = match header.free() {
            0 => {
                let slot = header.bump();
                header.set_bump(slot + units);
                slot
            }
            slot => {
                header.set_free(page.next_free(slot));
                slot
            }
        };
        header.set_used(header.used() + 1);
        page.set_header(header);
        if header.is_full(units) {
            let last = self.classes[units].pop();
            debug_assert!(last == Some(page));
        }
        self.bytes_used += (units * UNIT_BYTES) as u64;
        page.slot(slot)
    }

    /// Frees a block.
    ///
    /// # Safety
    /// - `block` came from `alloc` of this slab and has not been freed since;
    /// - `large` says whether more than `SLAB_BYTES_MAX` were asked for;
    /// - nobody uses its memory any more.
    pub unsafe fn free(&mut self, block: NonNull<u8>, large: bool) {
        if large {
            // SAFETY: passed on.
            unsafe { self.free_large(block) };
            return;
        }
        let page = Page::of(block);
        let mut header = page.header();
        let units = header.class();
        let was_full = header.is_full(units);
        assert!(header.used() > 0, "a slot in use lies in a page in use");
        let slot = Page::slot_number(block);
        page.set_next_free(slot, header.free());
        header.set_free(slot);
        header.set_used(header.used() - 1);
        self.bytes_used -= (units * UNIT_BYTES) as u64;
        if was_full {
            header.set_position(self.classes[units].len());
            self.classes[units].push(page);
        }
        page.set_header(header);
        if header.used() == 0 {
            self.remove_page(page, units, header.position());
        }
    }

    /// The size of a block in bytes.
    ///
    /// # Safety
    /// - `block` is in use and came from `alloc` of this slab;
    /// - `large` says whether more than `SLAB_BYTES_MAX` were asked for.
    pub unsafe fn capacity(&self, block: NonNull<u8>, large: bool) -> usize {
        if large {
            // SAFETY: before a large block lies the word with its size.
            let word = unsafe { block.cast::<u64>().sub(1) };
            // SAFETY: as above.
            unsafe { word.read() as usize }
        } else {
            Page::of(block).header().class() * UNIT_BYTES
        }
    }

    /// Whether a large block of so many bytes lies where little else is.
    pub fn is_sparse(block: NonNull<u8>, bytes: usize) -> bool {
        occupancy::is_sparse(block, bytes + LARGE_PREFIX_BYTES)
    }

    /// Copies a large block to where the allocator has room; none if that is no better.
    ///
    /// # Safety
    /// - `block` is in use, large, and has so many bytes.
    pub unsafe fn copy_large(&mut self, block: NonNull<u8>, bytes: usize) -> Option<NonNull<u8>> {
        let copy = self.alloc_large(bytes);
        if occupancy::are_together(copy, block) {
            // SAFETY: allocated just above.
            unsafe { self.free_large(copy) };
            return None;
        }
        // SAFETY: both have so many bytes, and are two allocations.
        unsafe { copy.copy_from_nonoverlapping(block, bytes) };
        Some(copy)
    }

    fn add_page(&mut self, units: usize) -> Page {
        if self.classes.len() <= units {
            self.classes.resize_with(units + 1, Vec::new);
        }
        let page = Page(POOL.alloc_page(self.owner));
        let mut header = Header(0);
        header.set_bump(HEADER_UNITS);
        header.set_class(units);
        header.set_position(self.classes[units].len());
        page.set_header(header);
        self.classes[units].push(page);
        self.page_count += 1;
        page
    }

    fn remove_page(&mut self, page: Page, units: usize, position: usize) {
        self.unlist(page, units, position);
        self.page_count -= 1;
        // SAFETY: the page came from the pool, is in no list any more, and none of its slots is in use.
        unsafe { POOL.free_page(page.0) };
    }

    /// Takes a page with room out of its class's list.
    fn unlist(&mut self, page: Page, units: usize, position: usize) {
        let class = &mut self.classes[units];
        let removed = class.swap_remove(position);
        assert!(removed == page, "a page is where its header says");
        if let Some(moved) = class.get(position) {
            let mut header = moved.header();
            header.set_position(position);
            moved.set_header(header);
        }
    }

    fn alloc_large(&mut self, bytes: usize) -> NonNull<u8> {
        let layout = large_layout(bytes);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: the prefix is the first word of the block, which is aligned to 8.
        unsafe { start.cast::<u64>().write(bytes as u64) };
        self.bytes_used += bytes as u64;
        self.large_bytes += layout.size() as u64;
        occupancy::add(start, layout.size());
        // SAFETY: the block is longer than its prefix.
        unsafe { start.add(LARGE_PREFIX_BYTES) }
    }

    /// # Safety
    /// As for `free` with `large`.
    unsafe fn free_large(&mut self, block: NonNull<u8>) {
        // SAFETY: the caller says that the block is in use and large.
        let bytes = unsafe { self.capacity(block, true) };
        let layout = large_layout(bytes);
        self.bytes_used -= bytes as u64;
        self.large_bytes -= layout.size() as u64;
        // SAFETY: the allocation begins with the prefix.
        let start = unsafe { block.sub(LARGE_PREFIX_BYTES) };
        occupancy::remove(start, layout.size());
        // SAFETY: allocated by `alloc_large` with this layout, which follows from the stored size.
        unsafe { dealloc(start.as_ptr(), layout) };
    }

    /// Checks the lists against the headers of their pages.
    pub fn check_invariants(&self) {
        for (units, class) in self.classes.iter().enumerate() {
            for (position, page) in class.iter().enumerate() {
                let header = page.header();
                assert_eq!(header.class(), units);
                assert_eq!(header.position(), position);
                assert!(header.used() > 0);
                assert!(!header.is_full(units));
                let mut free = 0;
                let mut slot = header.free();
                while slot != 0 {
                    assert!((slot - HEADER_UNITS).is_multiple_of(units));
                    assert!(slot < header.bump());
                    free += 1;
                    slot = page.next_free(slot);
                }
                assert_eq!(header.used() + free, (header.bump() - HEADER_UNITS) / units);
            }
        }
    }
}

// SAFETY: a slab owns its pages; nothing else points to them but entries of the same shard.
unsafe impl Send for Slab {}

/// The size of the slot that a block in a slab page occupies; meaningless for large blocks.
pub(super) fn slot_bytes(block: NonNull<u8>) -> usize {
    Page::of(block).header().class() * UNIT_BYTES
}

fn slot_units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).max(SLOT_UNITS_MIN)
}

fn large_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + LARGE_PREFIX_BYTES, UNIT_BYTES)
        .expect("entries are far smaller than isize::MAX")
}

/// A page in use. Its first word is its header; slots are numbered by their offset in units.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page(NonNull<u8>);

impl Page {
    fn of(block: NonNull<u8>) -> Page {
        Page(block.map_addr(|address| {
            address
                .get()
                .checked_sub(address.get() % PAGE_BYTES)
                .and_then(|a| a.try_into().ok())
                .expect("not page zero")
        }))
    }

    fn slot_number(block: NonNull<u8>) -> usize {
        block.addr().get() % PAGE_BYTES / UNIT_BYTES
    }

    fn header(self) -> Header {
        // SAFETY: a `Page` is 8 KiB from the pool, owned by the slab; its first word was written by `add_page`.
        Header(unsafe { self.0.cast::<u64>().read() })
    }

    fn set_header(self, header: Header) {
        // SAFETY: as in `header`; entries never lie on the first word.
        unsafe { self.0.cast::<u64>().write(header.0) };
    }

    fn slot(self, number: usize) -> NonNull<u8> {
        debug_assert!((HEADER_UNITS..PAGE_UNITS).contains(&number));
        // SAFETY: the number is below `PAGE_UNITS`, so the slot begins inside the page.
        unsafe { self.0.add(number * UNIT_BYTES) }
    }

    fn next_free(self, number: usize) -> usize {
        // SAFETY: the slot is free, so its first bytes are the link that `set_next_free` wrote.
        unsafe { self.slot(number).cast::<u16>().read() as usize }
    }

    fn set_next_free(self, number: usize, next: usize) {
        // SAFETY: the slot is being freed; slots are aligned to 8 and longer than a link.
        unsafe { self.slot(number).cast::<u16>().write(next as u16) };
    }
}

/// A page's header: used count (10 bits), first free slot (10), first slot never used (11 + 1), class (7),
/// position in the class's list (25).
#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    fn field(self, shift: u32, bits: u32) -> usize {
        (self.0 >> shift & ((1 << bits) - 1)) as usize
    }

    fn set_field(&mut self, shift: u32, bits: u32, value: usize) {
        let mask = (1u64 << bits) - 1;
        assert!(value as u64 <= mask, "the page header has room for the value");
        self.0 = self.0 & !(mask << shift) | (value as u64) << shift;
    }

    fn used(self) -> usize {
        self.field(0, 10)
    }

    fn set_used(&mut self, used: usize) {
        self.set_field(0, 10, used);
    }

    /// The first free slot that was used before; 0 when there is none.
    fn free(self) -> usize {
        self.field(10, 10)
    }

    fn set_free(&mut self, slot: usize) {
        self.set_field(10, 10, slot);
    }

    fn bump(self) -> usize {
        self.field(20, 11)
    }

    fn set_bump(&mut self, slot: usize) {
        self.set_field(20, 11, slot);
    }

    /// Slot size in units: up to 128.
    fn class(self) -> usize {
        self.field(31, 8)
    }

    fn set_class(&mut self, units: usize) {
        self.set_field(31, 8, units);
    }

    fn position(self) -> usize {
        self.field(64 - POSITION_BITS, POSITION_BITS)
    }

    fn set_position(&mut self, position: usize) {
        self.set_field(64 - POSITION_BITS, POSITION_BITS, position);
    }

    fn is_full(self, units: usize) -> bool {
        self.free() == 0 && self.bump() + units > PAGE_UNITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scaled;

    fn fill(block: NonNull<u8>, bytes: usize, with: u8) {
        // SAFETY: the block has at least `bytes`.
        unsafe { block.as_ptr().write_bytes(with, bytes) };
    }

    fn check(block: NonNull<u8>, bytes: usize, with: u8) {
        // SAFETY: the block has at least `bytes`, filled before.
        let slice = unsafe { std::slice::from_raw_parts(block.as_ptr(), bytes) };
        assert!(slice.iter().all(|byte| *byte == with));
    }

    #[test]
    fn blocks_of_all_sizes_keep_their_contents() {
        const PHASE: u64 = scaled(5000);
        let mut slab = Slab::new();
        let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        let mut expected = 0;
        let mut state = 7u64;
        for round in 0..6 * PHASE {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
            let random = (state >> 33) as usize;
            // Phases of growth and of shrinking, so that pages fill and empty.
            let grow = if (round / PHASE).is_multiple_of(2) { 7 } else { 3 };
            if random % 10 < grow {
                let bytes = 1 + random / 16 % 1500;
                let block = slab.alloc(bytes);
                assert!(block.addr().get().is_multiple_of(8));
                fill(block, bytes, round as u8);
                expected += Slab::rounded(bytes) as u64;
                held.push((block, bytes, round as u8));
            } else if !held.is_empty() {
                let (block, bytes, with) = held.swap_remove(random / 16 % held.len());
                check(block, bytes, with);
                let large = bytes > SLAB_BYTES_MAX;
                // SAFETY: the block is in use.
                assert_eq!(unsafe { slab.capacity(block, large) }, Slab::rounded(bytes));
                expected -= Slab::rounded(bytes) as u64;
                // SAFETY: allocated above, freed once.
                unsafe { slab.free(block, large) };
            }
            assert_eq!(slab.bytes_used(), expected);
            if round % (PHASE / 5) == 0 {
                slab.check_invariants();
            }
        }
        for (block, bytes, with) in held {
            check(block, bytes, with);
            // SAFETY: allocated above, freed once.
            unsafe { slab.free(block, bytes > SLAB_BYTES_MAX) };
        }
        assert_eq!(slab.bytes_used(), 0);
        assert_eq!(slab.bytes_reserved(), 0);
    }

    #[test]
    fn a_page_holds_93_slots_of_88_bytes() {
        let mut slab = Slab::new();
        let blocks: Vec<_> = (0..93).map(|_| slab.alloc(88)).collect();
        assert_eq!(slab.bytes_reserved(), PAGE_BYTES as u64);
        for block in blocks {
            // SAFETY: allocated above, freed once.
            unsafe { slab.free(block, false) };
        }
        assert_eq!(slab.bytes_reserved(), 0);
    }
}
