//! Active defragmentation of a shard: entries move from sparse memory into denser.
//!
//! Design: one pointer in one bucket leads to an entry, and the entry's key says which. So sparse memory is found from
//! below, without walking over the keys: a slab page that is worth emptying names its blocks, each block's key its place in a
//! table, which then points to a copy. Pages in a chunk that the pool wants empty are emptied likewise, so that what becomes
//! free becomes free by 2 MiB.
//!
//! Large entries lie in memory of the general allocator, which does not say what shares a page: they are found by walking over
//! the tables, and moved where `occupancy` says that a page is sparse and the allocator offers room in another one.
//!
//! Invariants: contents, order and places of keys stay; nothing that counts changes notices. What a table does not lead to (a
//! flushed database, which goes anyway) stays where it is.
//! Costs: for each entry moved a hash, a lookup, an allocation and a copy.
//! Not here: which pages (`slab::emptying`, `pool`), when and for how long (`worker::defrag`).
#![expect(unsafe_code, reason = "moves entries that tables point to")]

use std::ptr::NonNull;

use super::DbIndex;
use super::db::{Db, Hashes, entry_of, pointer_of};
use super::hash::KeyHasher;
use super::heap::Heap;
use super::pool::POOL;
use super::shard::Shard;
use super::slab::{Slab, SparseCursor};
use super::table::NEVER;

/// Pages compared, at most, for each entry that might be moved instead.
const PAGES_PER_ENTRY: usize = 4;

/// Where a shard's defragmentation stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    sparse: SparseCursor,
    /// The last chunk of pages that this shard looked for its own in.
    evacuation: u64,
    /// The database, and the position in its table, up to which large entries were looked at.
    large_db: DbIndex,
    large_position: u64,
}

/// What a slice of defragmentation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defragged {
    /// Entries moved.
    pub moved: u64,
    /// Entries that were to be moved, and stay.
    pub stayed: u64,
    /// Whether the shard has been looked through.
    pub done: bool,
}

impl Shard {
    /// Moves about `budget` entries out of sparse memory; `large` says whether those outside of the slabs are looked at.
    pub fn defrag(&mut self, budget: usize, large: bool) -> Defragged {
        let mut slice = Defragged::default();
        if !self.leave_chunk(budget, &mut slice) {
            return slice;
        }
        let mut looks_left = budget * PAGES_PER_ENTRY;
        while (slice.moved + slice.stayed) < budget as u64 && looks_left > 0 {
            let (page, looked) = self.heap.slab.next_sparse(&mut self.defrag.sparse, looks_left);
            looks_left = looks_left.saturating_sub(looked);
            let Some(page) = page else {
                slice.done = looks_left > 0 && (!large || self.defrag_large(budget, &mut slice));
                return slice;
            };
            let stayed = slice.stayed;
            self.empty_page(page, &mut slice);
            if slice.stayed > stayed {
                // It would be chosen again and again.
                self.defrag.sparse.skip();
            }
        }
        slice
    }

    /// Moves large entries, of about `budget` buckets; whether all tables have been looked through.
    fn defrag_large(&mut self, budget: usize, slice: &mut Defragged) -> bool {
        let Shard { dbs, heap, hasher, defrag, .. } = self;
        let mut sparse = Vec::new();
        for _ in 0..budget {
            let Some(number) = dbs.next_from(defrag.large_db) else {
                (defrag.large_db, defrag.large_position) = (DbIndex(0), 0);
                return true;
            };
            if number != defrag.large_db {
                (defrag.large_db, defrag.large_position) = (number, 0);
            }
            let next = dbs.get_mut(number).and_then(|db| {
                let next = db.table.scan_step(defrag.large_position, &Hashes(hasher), |item| {
                    let entry = entry_of(&item);
                    if entry.is_large() && Slab::is_sparse(item, entry.block_bytes()) {
                        sparse.push(item);
                    }
                });
                sparse.drain(..).for_each(|block| move_large(db, heap, hasher, block, slice));
                next
            });
            match next {
                Some(position) => defrag.large_position = position,
                None => (defrag.large_db, defrag.large_position) = (DbIndex(number.0 + 1), 0),
            }
        }
        false
    }

    /// Empties this shard's pages in the chunk that the pool wants empty; whether there are none left.
    fn leave_chunk(&mut self, budget: usize, slice: &mut Defragged) -> bool {
        let Some((number, base)) = POOL.page_evacuation() else { return true };
        if number == self.defrag.evacuation {
            return true;
        }
        let mut from = 0;
        while let Some((place, page)) = POOL.page_of(base, self.heap.slab.owner(), from) {
            if slice.moved + slice.stayed >= budget as u64 {
                return false;
            }
            self.empty_page(page, slice);
            from = place + 1;
        }
        self.defrag.evacuation = number;
        true
    }

    /// Moves the entries of a page of this shard's slab elsewhere.
    fn empty_page(&mut self, page: NonNull<u8>, slice: &mut Defragged) {
        let Shard { dbs, heap, hasher, .. } = self;
        // SAFETY: the slab, or the pool by the slab's owner, has named it as in use.
        let mut emptying = unsafe { heap.slab.begin_emptying(page) };
        while let Some(block) = emptying.next_block() {
            // SAFETY: slots in use hold entries; nobody changes it meanwhile.
            let hash = hasher.hash(unsafe { pointer_of(block).entry() }.key());
            let Some((db, place)) = dbs.iter_mut().find_map(|db| find_block(db, hash, block)) else {
                slice.stayed += 1;
                continue;
            };
            // SAFETY: the block comes from this page, and the table leads to the copy from here on.
            let copy = unsafe { heap.slab.move_block(&emptying, block) };
            db.table.replace(place, copy, NEVER);
            slice.moved += 1;
        }
        heap.slab.end_emptying(&emptying);
    }
}

/// Moves a large entry to where more is, if the allocator knows such a place.
fn move_large(db: &mut Db, heap: &mut Heap, hasher: &KeyHasher, block: NonNull<u8>, slice: &mut Defragged) {
    // SAFETY: the table has just led to it; nobody changes it meanwhile.
    let entry = unsafe { pointer_of(block).entry() };
    let (hash, bytes) = (hasher.hash(entry.key()), entry.block_bytes());
    // SAFETY: the entry is large, and its block as long as it says.
    let copy = unsafe { heap.slab.copy_large(block, bytes) };
    let (Some(copy), Some((db, place))) = (copy, find_block(db, hash, block)) else {
        assert!(copy.is_none(), "the table has just led to it");
        slice.stayed += 1;
        return;
    };
    db.table.replace(place, copy, NEVER);
    // SAFETY: the table leads to the copy, which owns what the entry owned.
    unsafe { heap.slab.free(block, true) };
    slice.moved += 1;
}

/// The place in a database's table that leads to this very block.
fn find_block(db: &mut Db, hash: u64, block: NonNull<u8>) -> Option<(&mut Db, super::table::Place)> {
    let (place, _) = db.table.find(hash, |item| item == block)?;
    Some((db, place))
}

#[cfg(test)]
#[path = "defrag_tests.rs"]
mod tests;
