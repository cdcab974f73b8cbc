//! A member of a large sorted set: one block that the tree and the table both lead to.
//!
//! ```text
//! 0        8     9 (or 17)
//! | score | len | bytes ...        len: one byte, or 255 and eight bytes
//! ```
//!
//! Design: the bytes of a member exist once. Whoever has a `Member` got it from the tree or the table of a sorted set, which own
//! the block together and free it when it is out of both.
//!
//! Invariants: a block is freed by [`Member::free`] alone, after it is out of the tree and the table.
//!
//! Costs: a member of 16 bytes takes a block of 32.
//!
//! Not here: the order of members (`tree`).
#![expect(unsafe_code, reason = "blocks of their own that two structures lead to")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cmp::Ordering;
use std::ptr::{self, NonNull};

use crate::store::table::{Item, prefetch};

const SCORE_BYTES: usize = 8;
/// In the place of a short length: the length follows in eight bytes.
const LONG: u8 = u8::MAX;
const LONG_BYTES: usize = 8;
/// Blocks are multiples of this, as the allocator rounds them.
const BLOCK_UNIT_BYTES: usize = 16;
/// Bits of an address, which a leaf keeps beside its hint.
const ADDRESS_BITS: u32 = 48;

/// A score as a number with the same order; the zeros are equal. Scores are never NaN.
#[inline]
pub(super) fn key_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// A member, which lives as long as the sorted set holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member(NonNull<u8>);

impl Member {
    /// A new block.
    pub fn alloc(score: f64, bytes: &[u8]) -> Member {
        let layout = layout(bytes.len());
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        let mut header = [0; SCORE_BYTES + 1 + LONG_BYTES];
        header[..SCORE_BYTES].copy_from_slice(&score.to_ne_bytes());
        header[SCORE_BYTES] = bytes.len().min(usize::from(LONG)) as u8;
        header[SCORE_BYTES + 1..].copy_from_slice(&(bytes.len() as u64).to_ne_bytes());
        let header = &header[..header_bytes(bytes.len())];
        // SAFETY: the block begins with room for the header, and is nobody else's.
        unsafe { block.copy_from_nonoverlapping(NonNull::from(header).cast(), header.len()) };
        // SAFETY: behind the header the block has room for the bytes.
        let place = unsafe { block.add(header.len()) };
        // SAFETY: as above.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Member(block)
    }

    /// Frees the block; returns what it counted for.
    ///
    /// # Safety
    /// - the member is in no tree and no table any more, and nobody refers to it.
    pub unsafe fn free(self) -> usize {
        let len = self.bytes().len();
        // SAFETY: it was allocated with this layout; the caller says that nobody uses it.
        unsafe { dealloc(self.0.as_ptr(), layout(len)) };
        allocated(len)
    }

    /// The member that a table's item is.
    pub fn of_item(item: Item) -> Member {
        Member(item)
    }

    /// As an item for the table.
    pub fn item(self) -> Item {
        self.0
    }

    /// The member whose address lies in the low bits of a word.
    #[inline]
    pub fn of_word(word: u64) -> Member {
        let address = (word & ((1 << ADDRESS_BITS) - 1)) as usize;
        Member(NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("words hold addresses"))
    }

    /// The address, in the low bits of a word.
    #[inline]
    pub fn word(self) -> u64 {
        let address = self.0.as_ptr().expose_provenance() as u64;
        assert!(address >> ADDRESS_BITS == 0, "user addresses have 47 bits");
        address
    }

    /// The score.
    #[inline]
    pub fn score(self) -> f64 {
        // SAFETY: the block lives as long as the member is in the sorted set that it was got from.
        f64::from_ne_bytes(unsafe { self.0.cast::<[u8; SCORE_BYTES]>().read() })
    }

    /// Gives it another score; it must not be in a tree meanwhile, or be put to its new place in it.
    pub fn set_score(self, score: f64) {
        // SAFETY: as above; references lead to the bytes only, which lie behind.
        unsafe { self.0.cast::<[u8; SCORE_BYTES]>().write(score.to_ne_bytes()) };
    }

    /// The score as a number with the same order.
    #[inline]
    pub fn key(self) -> u64 {
        key_of(self.score())
    }

    /// The bytes. They live as long as the sorted set is borrowed from which the member was got.
    #[inline]
    pub fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: as in `score`.
        let place = unsafe { self.0.add(SCORE_BYTES) };
        // SAFETY: as above.
        let short = unsafe { place.read() };
        let (skipped, len) = if short == LONG {
            // SAFETY: a long length follows, and bytes behind it.
            let place = unsafe { place.add(1) };
            // SAFETY: as above.
            (1 + LONG_BYTES, u64::from_ne_bytes(unsafe { place.cast::<[u8; LONG_BYTES]>().read() }) as usize)
        } else {
            (1, usize::from(short))
        };
        // SAFETY: the block has so many bytes behind its header.
        let start = unsafe { place.add(skipped) };
        // SAFETY: as above; nobody changes them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// How it compares with a score's key and a member's bytes.
    #[inline]
    pub fn compare(self, key: u64, bytes: &[u8]) -> Ordering {
        self.key().cmp(&key).then_with(|| self.bytes().cmp(bytes))
    }

    /// Brings it close to the processor.
    #[inline]
    pub fn fetch(self) {
        prefetch(self.0.as_ptr());
    }
}

/// What a member of so many bytes counts for.
pub(super) fn allocated(len: usize) -> usize {
    layout(len).size().next_multiple_of(BLOCK_UNIT_BYTES)
}

fn header_bytes(len: usize) -> usize {
    if len < usize::from(LONG) { SCORE_BYTES + 1 } else { SCORE_BYTES + 1 + LONG_BYTES }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(header_bytes(len) + len, align_of::<u64>())
        .expect("a member is shorter than the address space")
}
