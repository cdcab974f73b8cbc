//! The bucket: one cache line with eight tags and eight pointers.
//!
//! ```text
//! 0      8                40              56         57         58          59      60         64
//! | tags | low 32 bits x8 | high 16 bits x8 | occupied | overflow | displaced | epoch | due tick |
//! ```
//!
//! Design: as in F14, a bucket counts the items that would live here but were probed past it because it was full, so
//! that a lookup stops at the first bucket that nobody went past. Addresses are multiples of 8 below 2^47, so 44 bits hold
//! one, and four more the item's remainder (see `segment`). They are stored in two arrays, so that everything is aligned and
//! no access needs unsafe code. A mask tells which items are not in their home bucket.
//!
//! Not here: probing, growth (`mod`).
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls SIMD instructions"))]

use std::ptr::{self, NonNull};

/// Items in a bucket.
pub const BUCKET_SLOTS: usize = 8;
/// A point in time in coarse steps; `NEVER` for none.
pub type Tick = u32;
/// Later than any tick.
pub const NEVER: Tick = Tick::MAX;

/// What a table stores: the address of something that the table knows nothing about.
pub type Item = NonNull<u8>;

/// Bits of an item's remainder.
pub const REMAINDER_BITS: u32 = 4;
const ADDRESS_BITS: u32 = 44;
const ALIGN_BITS: u32 = 3;

/// An overflow count that is no longer exact; it stays until the segment is rebuilt.
const OVERFLOW_STICKY: u8 = u8::MAX;

/// One cache line of a segment.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Bucket {
    tags: [u8; BUCKET_SLOTS],
    lows: [u32; BUCKET_SLOTS],
    highs: [u16; BUCKET_SLOTS],
    occupied: u8,
    overflow: u8,
    displaced: u8,
    /// The snapshot that last wrote this bucket out, as far as needed to tell it from the one before.
    pub epoch: u8,
    /// No item in this bucket is due before.
    pub due: Tick,
}

const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64);

impl Bucket {
    /// A bucket without items.
    pub const EMPTY: Bucket = Bucket {
        tags: [0; BUCKET_SLOTS],
        lows: [0; BUCKET_SLOTS],
        highs: [0; BUCKET_SLOTS],
        occupied: 0,
        overflow: 0,
        displaced: 0,
        epoch: 0,
        due: NEVER,
    };

    /// The slots that are in use and have this tag, as a mask.
    #[inline]
    pub fn matches(&self, tag: u8) -> u8 {
        equal_bytes(self.tags, tag) & self.occupied
    }

    /// The slots in use, as a mask.
    #[inline]
    pub fn occupied(&self) -> u8 {
        self.occupied
    }

    /// Whether all slots are in use.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.occupied == u8::MAX
    }

    /// Whether an item may have been probed past this bucket.
    #[inline]
    pub fn has_overflow(&self) -> bool {
        self.overflow != 0
    }

    /// The item in a slot in use.
    #[inline]
    pub fn item(&self, slot: usize) -> Item {
        debug_assert!(self.occupied >> slot & 1 == 1);
        let address = (self.word(slot) & ((1 << ADDRESS_BITS) - 1)) << ALIGN_BITS;
        let pointer = ptr::with_exposed_provenance_mut(address as usize);
        NonNull::new(pointer).expect("a slot in use holds an address")
    }

    /// The remainder of an item, if it is in its home bucket.
    #[inline]
    pub fn remainder(&self, slot: usize) -> Option<u8> {
        (self.displaced >> slot & 1 == 0).then(|| (self.word(slot) >> ADDRESS_BITS) as u8)
    }

    /// The tag of an item.
    #[inline]
    pub fn tag(&self, slot: usize) -> u8 {
        self.tags[slot % BUCKET_SLOTS]
    }

    /// Puts an item into a bucket that is not full; returns the slot. Only items in their home have a remainder.
    #[inline]
    pub fn insert(&mut self, tag: u8, item: Item, remainder: Option<u8>) -> usize {
        assert!(!self.is_full());
        let slot = self.occupied.trailing_ones() as usize;
        self.occupied |= 1 << slot;
        self.displaced = self.displaced & !(1 << slot) | u8::from(remainder.is_none()) << slot;
        self.tags[slot % BUCKET_SLOTS] = tag;
        self.set_word(slot, pack(item) | u64::from(remainder.unwrap_or(0)) << ADDRESS_BITS);
        slot
    }

    /// Puts another item with the same hash into a slot in use.
    #[inline]
    pub fn replace(&mut self, slot: usize, item: Item) {
        self.set_word(slot, pack(item) | self.word(slot) >> ADDRESS_BITS << ADDRESS_BITS);
    }

    #[inline]
    fn word(&self, slot: usize) -> u64 {
        let slot = slot % BUCKET_SLOTS;
        u64::from(self.lows[slot]) | u64::from(self.highs[slot]) << 32
    }

    #[inline]
    fn set_word(&mut self, slot: usize, word: u64) {
        let slot = slot % BUCKET_SLOTS;
        self.lows[slot] = word as u32;
        self.highs[slot] = (word >> 32) as u16;
    }

    /// Empties a slot in use.
    #[inline]
    pub fn remove(&mut self, slot: usize) {
        assert!(self.occupied >> slot & 1 == 1);
        self.occupied &= !(1 << slot);
    }

    /// Counts an item that was probed past this bucket.
    #[inline]
    pub fn count_overflow(&mut self) {
        self.overflow = self.overflow.saturating_add(1);
    }

    /// Marks the bucket as probed past until the segment is rebuilt.
    pub fn mark_overflown(&mut self) {
        self.overflow = OVERFLOW_STICKY;
    }

    /// Discounts an item that had been probed past this bucket.
    #[inline]
    pub fn discount_overflow(&mut self) {
        assert!(self.overflow > 0);
        if self.overflow != OVERFLOW_STICKY {
            self.overflow -= 1;
        }
    }

    /// The exact number of items probed past this bucket, unless it was lost.
    pub fn overflow_exact(&self) -> Option<u8> {
        (self.overflow != OVERFLOW_STICKY).then_some(self.overflow)
    }
}

/// An item's address in 44 bits.
#[inline]
fn pack(item: Item) -> u64 {
    let address = item.as_ptr().expose_provenance() as u64;
    assert!(address >> (ADDRESS_BITS + ALIGN_BITS) == 0, "user addresses have 47 bits");
    assert!(address.trailing_zeros() >= ALIGN_BITS, "items are aligned to 8");
    address >> ALIGN_BITS
}

/// The numbers of the set bits.
pub fn slots(mask: u8) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let slot = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (slot < BUCKET_SLOTS).then_some(slot)
    })
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_bytes(bytes: [u8; 8], with: u8) -> u8 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { equal_bytes_sse2(bytes, with) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_bytes_sse2(bytes: [u8; 8], with: u8) -> u8 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_set1_epi8};
    let left = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
    _mm_movemask_epi8(_mm_cmpeq_epi8(left, _mm_set1_epi8(with as i8))) as u8
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal_bytes(bytes: [u8; 8], with: u8) -> u8 {
    equal_bytes_portable(bytes, with)
}

/// Without SIMD: finds zero bytes of the difference exactly, then gathers the marks into one byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_bytes_portable(bytes: [u8; 8], with: u8) -> u8 {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = u64::from_le_bytes(bytes) ^ u64::from_ne_bytes([with; 8]);
    let marks = !(((difference & LOW_SEVEN) + LOW_SEVEN) | difference | LOW_SEVEN);
    ((marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn simd_and_portable_agree_with_counting(bytes: [u8; 8], with: u8, common: u8) {
            let mut bytes = bytes;
            for slot in slots(common) {
                bytes[slot] = with;
            }
            let expected = (0..8).filter(|i| bytes[*i] == with).fold(0, |mask, i| mask | 1 << i);
            prop_assert_eq!(equal_bytes(bytes, with), expected);
            prop_assert_eq!(equal_bytes_portable(bytes, with), expected);
            let near = bytes.map(|byte| byte ^ 1);
            prop_assert_eq!(equal_bytes(near, with), equal_bytes_portable(near, with));
        }
    }

    #[test]
    fn items_come_back_from_their_slots() {
        let mut bucket = Bucket::EMPTY;
        let boxes: Vec<_> = (0..8u64).map(Box::new).collect();
        for (i, held) in boxes.iter().enumerate() {
            assert_eq!(
                bucket.insert(i as u8, NonNull::from(&**held).cast(), (i != 2).then_some(15 - i as u8)),
                i
            );
        }
        assert!(bucket.is_full());
        for (i, held) in boxes.iter().enumerate() {
            assert_eq!(bucket.matches(i as u8), 1 << i);
            assert_eq!(bucket.item(i), NonNull::from(&**held).cast());
            assert_eq!(bucket.remainder(i), (i != 2).then_some(15 - i as u8));
        }
        bucket.replace(5, NonNull::from(&*boxes[6]).cast());
        assert_eq!((bucket.item(5), bucket.remainder(5)), (bucket.item(6), Some(10)));
        bucket.remove(3);
        assert_eq!(bucket.matches(3), 0);
        assert_eq!(slots(bucket.occupied()).collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7]);
    }
}
