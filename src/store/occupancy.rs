//! How densely the general allocator's memory is used by large entries: what defragmentation needs to know and mimalloc does
//! not tell.
//!
//! Design: mimalloc cuts pages of 64 KiB into blocks of one size, where blocks have up to 10 KiB, and pages of 512 KiB where they
//! are larger. So bytes in use are counted for every 64 KiB of addresses, in leaves of 4 GiB that are made when first used.
//! Large entries of one size lie together with few other things, so that a page with little of them is sparse.
//!
//! Invariants: a count is the sum of what was added there and not removed.
//! Costs: an addition for each large entry made or freed.
//! Not here: which entries move (`defrag`).

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// mimalloc's page for blocks of up to `SMALL_BLOCK_BYTES_MAX`.
const PAGE_BYTES: usize = 64 << 10;
/// Blocks of more lie in larger pages, which are left alone.
const SMALL_BLOCK_BYTES_MAX: usize = 10 << 10;
const LEAF_PAGES: usize = 1 << 16;
/// User addresses have 47 bits.
const ROOT_ENTRIES: usize = (1 << 47) / (LEAF_PAGES * PAGE_BYTES);
/// A page used to less than this part is sparse.
const SPARSE: (usize, usize) = (3, 4);

type Leaf = Box<[AtomicU32]>;

static ROOT: [OnceLock<Leaf>; ROOT_ENTRIES] = [const { OnceLock::new() }; ROOT_ENTRIES];

/// A block of so many bytes is in use from here on.
pub(super) fn add(block: NonNull<u8>, bytes: usize) {
    if bytes <= SMALL_BLOCK_BYTES_MAX {
        count(block).fetch_add(bytes as u32, Relaxed);
    }
}

/// A block that was added is no longer in use.
pub(super) fn remove(block: NonNull<u8>, bytes: usize) {
    if bytes <= SMALL_BLOCK_BYTES_MAX {
        count(block).fetch_sub(bytes as u32, Relaxed);
    }
}

/// Whether a block in use lies where little else is.
pub(super) fn is_sparse(block: NonNull<u8>, bytes: usize) -> bool {
    bytes <= SMALL_BLOCK_BYTES_MAX && count(block).load(Relaxed) as usize * SPARSE.1 < PAGE_BYTES * SPARSE.0
}

/// Whether two blocks lie in one page.
pub(super) fn are_together(one: NonNull<u8>, other: NonNull<u8>) -> bool {
    one.addr().get() / PAGE_BYTES == other.addr().get() / PAGE_BYTES
}

/// Bytes of sparse pages that no large entry uses.
pub fn waste_bytes() -> u64 {
    let pages = ROOT.iter().filter_map(OnceLock::get).flat_map(|leaf| leaf.iter());
    let used = pages.map(|count| count.load(Relaxed) as usize);
    let sparse = used.filter(|used| *used > 0 && used * SPARSE.1 < PAGE_BYTES * SPARSE.0);
    sparse.map(|used| (PAGE_BYTES - used) as u64).sum()
}

fn count(block: NonNull<u8>) -> &'static AtomicU32 {
    let page = block.addr().get() / PAGE_BYTES;
    let root = ROOT.get(page / LEAF_PAGES).expect("user addresses have 47 bits");
    let leaf = root.get_or_init(|| {
        let counts = std::iter::repeat_with(AtomicU32::default);
        counts.take(LEAF_PAGES).collect()
    });
    &leaf[page % LEAF_PAGES]
}
