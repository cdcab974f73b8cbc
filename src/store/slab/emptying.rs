//! Emptying sparse pages of a slab: which ones, and moving their slots into the other pages of their class.
//!
//! Design: where the sizes of values change, each class is left with many pages that are used in part, in every shard. Of the
//! pages with room a few are compared at a time; the one that uses least is emptied if the others have room for
//! what it holds, so that each page emptied is a page less, for as few moves as can be. It leaves its class's list first, so
//! that nothing moves into it, and the fullest of those compared goes to the list's end, which is filled next.
//!
//! Invariants: while a page is being emptied it is in no list; `end_emptying` puts it back or frees it.
//! Costs: a cache line for each page compared; a copy of each slot moved.
//! Not here: who points to a slot (`store::defrag`).

use std::ptr::NonNull;

use super::{HEADER_UNITS, PAGE_UNITS, Page, Slab, UNIT_BYTES};
use crate::store::pool::POOL;

/// Pages compared at a time.
const COMPARED_MAX: usize = 16;
/// A page that uses more of its slots than this share is left alone: moving them gains little.
const USED_MAX: (usize, usize) = (7, 8);

/// Where the search for sparse pages stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct SparseCursor {
    class: u16,
    position: u32,
}

impl SparseCursor {
    /// Past the pages that are compared now.
    pub fn skip(&mut self) {
        self.position += COMPARED_MAX as u32;
    }
}

/// A page that is being emptied: what of it is still to be moved.
pub struct Emptying {
    page: Page,
    units: usize,
    /// A bit for each unit at which a slot in use begins.
    slots: [u64; PAGE_UNITS / 64],
}

impl Emptying {
    /// A block of the page that has not been looked at.
    pub fn next_block(&mut self) -> Option<NonNull<u8>> {
        let (index, word) = self.slots.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let slot = index * 64 + word.trailing_zeros() as usize;
        *word &= *word - 1;
        Some(self.page.slot(slot))
    }
}

impl Slab {
    /// A page that is worth emptying, from the cursor on, and how many were looked at. None at the end, where the cursor
    /// begins anew, or when `budget` pages were looked at.
    pub fn next_sparse(&self, cursor: &mut SparseCursor, budget: usize) -> (Option<NonNull<u8>>, usize) {
        let mut looked = 0;
        while let Some(class) = self.classes.get(usize::from(cursor.class)) {
            let from = cursor.position as usize;
            if from >= class.len() || class.len() < 2 {
                *cursor = SparseCursor { class: cursor.class + 1, position: 0 };
                continue;
            }
            if looked >= budget {
                return (None, looked);
            }
            // The last ones once more, rather than one that has nobody to be compared with.
            let from = from.min(class.len() - 2);
            let compared = &class[from..class.len().min(from + COMPARED_MAX)];
            looked += compared.len();
            if let Some(page) = sparsest(compared, usize::from(cursor.class)) {
                return (Some(page.0), looked);
            }
            cursor.position = (from + COMPARED_MAX) as u32;
        }
        *cursor = SparseCursor::default();
        (None, looked)
    }

    /// Begins to empty a page of this slab.
    ///
    /// # Safety
    /// - `page` is a page of this slab, in use.
    pub unsafe fn begin_emptying(&mut self, page: NonNull<u8>) -> Emptying {
        let page = Page(page);
        let header = page.header();
        let units = header.class();
        if !header.is_full(units) {
            self.unlist(page, units, header.position());
            self.favour_full(units, header.position());
        }
        let mut slots = [0; PAGE_UNITS / 64];
        (HEADER_UNITS..header.bump()).step_by(units).for_each(|slot| slots[slot / 64] |= 1 << (slot % 64));
        let mut free = header.free();
        while free != 0 {
            slots[free / 64] &= !(1 << (free % 64));
            free = page.next_free(free);
        }
        Emptying { page, units, slots }
    }

    /// Moves a block elsewhere: where it is now.
    ///
    /// # Safety
    /// - `block` came from `next_block` of `emptying`, and is moved once;
    /// - nobody uses its memory any more.
    pub unsafe fn move_block(&mut self, emptying: &Emptying, block: NonNull<u8>) -> NonNull<u8> {
        let Emptying { page, units, .. } = emptying;
        let bytes = units * UNIT_BYTES;
        let target = self.alloc(bytes);
        // SAFETY: both are slots of this size, and different ones: the page is in no list, so nothing is allocated in it.
        unsafe { target.copy_from_nonoverlapping(block, bytes) };
        let mut header = page.header();
        let slot = Page::slot_number(block);
        page.set_next_free(slot, header.free());
        header.set_free(slot);
        header.set_used(header.used() - 1);
        page.set_header(header);
        self.bytes_used -= bytes as u64;
        target
    }

    /// Ends emptying: without slots in use the page goes back to the pool, else it is used as before.
    pub fn end_emptying(&mut self, emptying: &Emptying) {
        let Emptying { page, units, .. } = *emptying;
        let mut header = page.header();
        if header.used() == 0 {
            self.page_count -= 1;
            // SAFETY: the page came from the pool, is in no list, and none of its slots is in use.
            unsafe { POOL.free_page(page.0) };
        } else if !header.is_full(units) {
            header.set_position(self.classes[units].len());
            page.set_header(header);
            self.classes[units].push(page);
        }
    }

    /// Has the fullest page of those about `near` filled next.
    fn favour_full(&mut self, units: usize, near: usize) {
        let class = &mut self.classes[units];
        let from = near.min(class.len()).saturating_sub(COMPARED_MAX / 2);
        let compared = from..class.len().min(from + COMPARED_MAX);
        let Some(fullest) = compared.max_by_key(|position| class[*position].header().used()) else { return };
        let last = class.len() - 1;
        class.swap(fullest, last);
        for position in [fullest, last] {
            let page = class[position];
            let mut header = page.header();
            header.set_position(position);
            page.set_header(header);
        }
    }
}

/// The page that uses least, if the others have room for what it holds.
fn sparsest(compared: &[Page], units: usize) -> Option<Page> {
    let slots = (PAGE_UNITS - HEADER_UNITS) / units;
    let used = |page: &Page| page.header().used();
    let free: usize = compared.iter().map(|page| slots - used(page)).sum();
    let page = *compared.iter().min_by_key(|page| used(page))?;
    let own = used(&page);
    let fits = free - (slots - own) >= own;
    (fits && own * USED_MAX.1 <= slots * USED_MAX.0).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Empties whatever is worth it, and leaves the contents as they were.
    fn empty(slab: &mut Slab, blocks: &mut [(NonNull<u8>, u8)]) -> usize {
        let (mut cursor, mut moved) = (SparseCursor::default(), 0);
        while let (Some(page), _) = slab.next_sparse(&mut cursor, usize::MAX) {
            // SAFETY: the slab named the page.
            let mut emptying = unsafe { slab.begin_emptying(page) };
            while let Some(block) = emptying.next_block() {
                // SAFETY: the block comes from there, and its owner is told below.
                let target = unsafe { slab.move_block(&emptying, block) };
                let owner = blocks.iter_mut().find(|(held, _)| *held == block);
                owner.expect("blocks in use are held").0 = target;
                moved += 1;
            }
            slab.end_emptying(&emptying);
            slab.check_invariants();
        }
        moved
    }

    #[test]
    fn sparse_pages_are_emptied_and_contents_stay() {
        for (bytes, keep_each) in [(88, 5), (16, 10), (1024, 3), (480, 2)] {
            let mut slab = Slab::new();
            let mut blocks: Vec<(NonNull<u8>, u8)> =
                (0..4000).map(|number| (slab.alloc(bytes), number as u8)).collect();
            for (block, with) in &blocks {
                // SAFETY: the block has so many bytes.
                unsafe { block.as_ptr().write_bytes(*with, bytes) };
            }
            let mut number = 0;
            blocks.retain(|(block, _)| {
                number += 1;
                let stays = number % keep_each == 0;
                if !stays {
                    // SAFETY: allocated above, freed once.
                    unsafe { slab.free(*block, false) };
                }
                stays
            });
            let sparse = slab.bytes_reserved();
            assert!(empty(&mut slab, &mut blocks) > 0);
            slab.check_invariants();
            assert!(slab.bytes_reserved() < sparse * 2 / 3, "{bytes}: {sparse}, {}", slab.bytes_reserved());
            assert!(slab.bytes_reserved() * 8 < slab.bytes_used() * 10 + (16 << 10) * 8);
            // Nothing is moved twice for nothing.
            assert_eq!(empty(&mut slab, &mut blocks), 0);
            for (block, with) in blocks {
                // SAFETY: the block has so many bytes, written above.
                let contents = unsafe { std::slice::from_raw_parts(block.as_ptr(), bytes) };
                assert!(contents.iter().all(|byte| *byte == with));
                // SAFETY: allocated above, freed once.
                unsafe { slab.free(block, false) };
            }
            assert_eq!((slab.bytes_used(), slab.bytes_reserved()), (0, 0));
        }
    }
}
