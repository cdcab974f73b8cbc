//! Where the search for a hash begins, kept from one pass over many keys to the next.
//!
//! Design: cache misses overlap only if nothing waits for one before the next is begun. So who is about to look for many keys
//! first makes a probe of each, which fetches its bucket, and then has each fetch its item.
//!
//! Not here: finding (`mod`).

use super::bucket::{Bucket, Item};
use super::prefetch;

const LINE_BYTES: usize = 64;
/// Bytes of an item that are fetched: an entry with a key of 16 bytes, a value of 64 and a deadline, which may lie in three
/// lines.
const FETCHED_BYTES: usize = 96;

const _: () = assert!(FETCHED_BYTES <= 2 * LINE_BYTES);

/// The home bucket of a hash, in its segment.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    buckets: &'a [Bucket],
    home: usize,
    tag: u8,
}

impl<'a> Probe<'a> {
    #[inline]
    pub(super) fn new(buckets: &'a [Bucket], home: usize, tag: u8) -> Probe<'a> {
        assert!(home < buckets.len());
        Probe { buckets, home, tag }
    }

    /// Fetches the bucket into the cache, and the one behind it, which many misses look at.
    #[inline]
    pub fn fetch_bucket(&self) {
        let home: *const Bucket = &raw const self.buckets[self.home];
        prefetch(home.cast());
        prefetch(home.wrapping_add(1).cast());
    }

    /// Fetches the beginning of the item that probably has the hash, and returns it; the bucket should be there already.
    #[inline]
    pub fn fetch_item(&self) -> Option<Item> {
        let home = &self.buckets[self.home];
        match home.matches(self.tag) {
            0 if home.has_overflow() => self.fetch_overflown(),
            0 => None,
            hits => Some(fetch(home, hits)),
        }
    }

    fn fetch_overflown(&self) -> Option<Item> {
        let (before, from_home) = self.buckets.split_at(self.home);
        for bucket in from_home[1..].iter().chain(before) {
            match bucket.matches(self.tag) {
                0 if bucket.has_overflow() => {}
                0 => return None,
                hits => return Some(fetch(bucket, hits)),
            }
        }
        None
    }
}

#[inline]
fn fetch(bucket: &Bucket, hits: u8) -> Item {
    let item = bucket.item(hits.trailing_zeros() as usize);
    for offset in [0, LINE_BYTES, FETCHED_BYTES - 1] {
        prefetch(item.as_ptr().cast_const().wrapping_add(offset));
    }
    item
}
