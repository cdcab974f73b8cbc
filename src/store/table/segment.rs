//! The segment: a run of buckets, and the packed word that refers to it from the directory.
//!
//! Design: the word holds address, number of buckets and depth, so that a lookup goes from the directory straight to
//! the bucket. Ten bits of the hash, the sub-hash, choose the home bucket; an item's place and its stored remainder tell its
//! sub-hash again, so that a segment can change its size without looking at the items. Small segments come from the global
//! allocator; from 64 buckets on they are runs of the pool.
//!
//! Not here: the directory (`mod`).
#![expect(unsafe_code, reason = "allocates and hands out buckets")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use super::bucket::{BUCKET_SLOTS, Bucket, REMAINDER_BITS};
use crate::store::pool::{POOL, QUANTUM_BYTES};

/// Sizes of segments in buckets. Beyond the last one a segment splits.
pub const SEGMENT_SIZES: [usize; 13] = [1, 2, 4, 8, 16, 32, 64, 72, 80, 88, 96, 104, 112];
/// The size of the halves of a split, and the smallest that comes from the pool.
pub const SPLIT_BUCKETS: usize = 64;
/// The largest segment.
pub const SEGMENT_BUCKETS_MAX: usize = SEGMENT_SIZES[SEGMENT_SIZES.len() - 1];
/// Bits of the hash, behind the depth's, that choose the bucket: the sub-hash.
pub const SUB_HASH_BITS: u32 = 10;
/// From this size on, a bucket has no more sub-hashes than an item's stored remainder can tell apart.
pub const EXACT_BUCKETS_MIN: usize = 1 << (SUB_HASH_BITS - REMAINDER_BITS);

const QUANTUM_BUCKETS: usize = QUANTUM_BYTES / size_of::<Bucket>();

const _: () = assert!(SPLIT_BUCKETS.is_multiple_of(QUANTUM_BUCKETS));
const _: () = assert!(SEGMENT_BUCKETS_MAX < 1 << 8);

/// A directory entry: address (48 bits), buckets (8 bits), depth (8 bits). All directory entries that lead to one
/// segment are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRef(u64);

impl SegmentRef {
    /// Allocates a segment of empty buckets.
    pub fn alloc(buckets: usize, depth: u32) -> SegmentRef {
        debug_assert!(SEGMENT_SIZES.contains(&buckets));
        let start = if buckets < SPLIT_BUCKETS {
            let layout = small_layout(buckets);
            // SAFETY: the layout is not empty.
            let start = unsafe { alloc(layout) };
            NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
        } else {
            POOL.alloc_run(buckets / QUANTUM_BUCKETS)
        };
        let first = start.cast::<Bucket>();
        for index in 0..buckets {
            // SAFETY: the allocation has room for `buckets`.
            let at = unsafe { first.add(index) };
            // SAFETY: runs are aligned to a quantum, small segments to a bucket.
            unsafe { at.write(Bucket::EMPTY) };
        }
        let address = first.as_ptr().expose_provenance() as u64;
        assert!(address >> 48 == 0, "user addresses have 48 bits");
        SegmentRef(address | (buckets as u64) << 48 | u64::from(depth) << 56)
    }

    /// Frees the segment.
    ///
    /// # Safety
    /// - no directory entry leads to the segment any more, and nobody has a reference to its buckets.
    pub unsafe fn free(self) {
        let start = self.start().cast::<u8>();
        if self.bucket_count() < SPLIT_BUCKETS {
            // SAFETY: allocated with this layout, which follows from the number of buckets.
            unsafe { dealloc(start.as_ptr(), small_layout(self.bucket_count())) };
        } else {
            // SAFETY: taken as a run of this length, and unused by the caller's word.
            unsafe { POOL.free_run(start, self.bucket_count() / QUANTUM_BUCKETS) };
        }
    }

    /// The number of buckets.
    #[inline]
    pub fn bucket_count(self) -> usize {
        (self.0 >> 48 & 0xff) as usize
    }

    /// How many leading bits all hashes in the segment share.
    #[inline]
    pub fn depth(self) -> u32 {
        (self.0 >> 56) as u32
    }

    /// The items that fit.
    pub fn slot_count(self) -> usize {
        self.bucket_count() * BUCKET_SLOTS
    }

    /// The size in bytes.
    pub fn bytes(self) -> usize {
        self.bucket_count() * size_of::<Bucket>()
    }

    /// The bucket where a hash belongs. Monotonic: a greater hash of this segment never has a smaller home.
    #[inline]
    pub fn home(self, hash: u64) -> usize {
        self.sub_hash_home(self.sub_hash(hash))
    }

    /// The bits of a hash that choose its bucket here.
    #[inline]
    pub fn sub_hash(self, hash: u64) -> usize {
        ((hash << self.depth()) >> (64 - SUB_HASH_BITS)) as usize
    }

    /// The bucket of a sub-hash.
    #[inline]
    pub fn sub_hash_home(self, sub_hash: usize) -> usize {
        (sub_hash * self.bucket_count()) >> SUB_HASH_BITS
    }

    /// The lowest sub-hash whose home is `home` (in `0..bucket_count`).
    #[inline]
    pub fn home_start(self, home: usize) -> usize {
        (home << SUB_HASH_BITS).div_ceil(self.bucket_count())
    }

    /// How far a sub-hash is behind the lowest one of its home; meaningless below `EXACT_BUCKETS_MIN`.
    #[inline]
    pub fn remainder(self, sub_hash: usize, home: usize) -> u8 {
        (sub_hash - self.home_start(home)) as u8 & ((1 << REMAINDER_BITS) - 1)
    }

    /// The buckets.
    ///
    /// # Safety
    /// - the segment is not freed and its buckets are not borrowed mutably while the result lives.
    #[inline]
    pub unsafe fn buckets<'a>(self) -> &'a [Bucket] {
        // SAFETY: `alloc` wrote so many buckets there; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.bucket_count()) }
    }

    /// The buckets, to be changed.
    ///
    /// # Safety
    /// - the segment is not freed and its buckets are not borrowed otherwise while the result lives.
    #[inline]
    pub unsafe fn buckets_mut<'a>(self) -> &'a mut [Bucket] {
        // SAFETY: `alloc` wrote so many buckets there; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.bucket_count()) }
    }

    /// The address of a bucket, for prefetching.
    #[inline]
    pub fn bucket_address(self, index: usize) -> *const u8 {
        self.start().as_ptr().wrapping_add(index).cast()
    }

    #[inline]
    fn start(self) -> NonNull<Bucket> {
        let address = self.0 & ((1 << 48) - 1);
        let pointer = ptr::with_exposed_provenance_mut(address as usize);
        NonNull::new(pointer).expect("a segment's address is not null")
    }
}

/// The smallest size that holds `count` items at no more than 80 % of its slots.
pub fn size_for(count: usize) -> usize {
    let fits = |buckets: &&usize| count * 5 <= **buckets * BUCKET_SLOTS * 4;
    SEGMENT_SIZES.iter().find(fits).copied().unwrap_or(SEGMENT_BUCKETS_MAX)
}

/// The next larger size.
pub fn size_above(buckets: usize) -> Option<usize> {
    SEGMENT_SIZES.iter().copied().find(|size| *size > buckets)
}

/// The number of items above which a segment grows: 9/10 of its slots; a single bucket fills up.
#[inline]
pub fn grow_above(buckets: usize) -> usize {
    if buckets == 1 { BUCKET_SLOTS } else { buckets * BUCKET_SLOTS * 9 / 10 }
}

fn small_layout(buckets: usize) -> Layout {
    Layout::array::<Bucket>(buckets).expect("small segments are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_monotonic_and_start_where_said() {
        for size in SEGMENT_SIZES {
            for depth in [0, 1, 5, 20] {
                let segment = SegmentRef::alloc(size, depth);
                assert_eq!((segment.bucket_count(), segment.depth()), (size, depth));
                let mut seen = 0;
                for sub_hash in 0..1 << SUB_HASH_BITS {
                    let hash = (sub_hash as u64) << (64 - SUB_HASH_BITS) >> depth;
                    let home = segment.home(hash);
                    assert_eq!(segment.sub_hash(hash), sub_hash);
                    assert!(home == seen || home == seen + 1);
                    seen = home;
                    assert!(segment.home_start(home) <= sub_hash);
                    if size >= EXACT_BUCKETS_MIN {
                        assert_eq!(
                            segment.home_start(home) + usize::from(segment.remainder(sub_hash, home)),
                            sub_hash
                        );
                    }
                    assert_eq!(segment.sub_hash_home(segment.home_start(home)), home);
                }
                assert_eq!(seen, size - 1);
                // SAFETY: nothing refers to it.
                unsafe { segment.free() };
            }
        }
    }
}
