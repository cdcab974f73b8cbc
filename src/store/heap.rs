//! The heap: a shard's memory for entries, and the count of it.
//!
//! Design: blocks come from the shard's slab; what is outside of them (large values) is counted here, so that
//! `bytes_used` is all that the shard's entries occupy. A value of very many pieces is not freed at once but kept for the lazy
//! free, still counted, which cron frees in slices.
//!
//! Invariants: `blob_bytes` is the sum of what the large values of all entries, and the lazy free list, allocated.
#![expect(unsafe_code, reason = "creates and frees entries")]

use super::entry::{EntryPtr, Parts, Value};
use super::slab::Slab;
use super::value::{Expiry, External, expire_pack};

/// Creates and frees the entries of a shard.
pub(super) struct Heap {
    pub(super) slab: Slab,
    blob_bytes: u64,
    lazy_free_list: Vec<External>,
}

impl Heap {
    pub fn new() -> Heap {
        Heap { slab: Slab::new(), blob_bytes: 0, lazy_free_list: Vec::new() }
    }

    /// Creates an entry in a block of at least `block_bytes`, and at least what it needs.
    #[inline]
    pub fn create(&mut self, parts: Parts<'_>, block_bytes: usize) -> EntryPtr {
        let bytes = Slab::rounded(parts.bytes().max(block_bytes));
        self.count(&parts);
        let block = self.slab.alloc(bytes);
        // SAFETY: the block is fresh and of this size.
        unsafe { parts.write(block, bytes) };
        // SAFETY: written just above.
        unsafe { EntryPtr::new(block) }
    }

    /// Whether an entry made of `parts` belongs into the block of `ptr`: not too small, and not much too large.
    ///
    /// # Safety
    /// - `ptr` leads to an entry.
    #[inline]
    pub unsafe fn fits(&self, ptr: EntryPtr, parts: &Parts<'_>) -> bool {
        // SAFETY: as the caller says.
        let entry = unsafe { ptr.entry() };
        let (bytes, capacity) = (Slab::rounded(parts.bytes()), entry.block_bytes());
        if entry.is_large() {
            bytes > super::slab::SLAB_BYTES_MAX && bytes <= capacity && bytes >= capacity / 4 * 3
        } else {
            bytes == capacity
        }
    }

    /// Writes an entry over another, whose value is dropped.
    ///
    /// # Safety
    /// - `fits(ptr, parts)`;
    /// - `parts` borrows nothing from the entry, and nobody has a reference to it.
    #[inline]
    pub unsafe fn overwrite(&mut self, ptr: EntryPtr, parts: Parts<'_>) {
        // SAFETY: as the caller says.
        let capacity = unsafe { ptr.entry() }.block_bytes();
        // SAFETY: the entry is written anew below.
        unsafe { self.drop_external(ptr) };
        self.count(&parts);
        // SAFETY: the block is as long as it says, and nobody else's.
        unsafe { parts.write(ptr.block(), capacity) };
    }

    /// Frees an entry with its value.
    ///
    /// # Safety
    /// - `ptr` leads to an entry of this heap that nobody refers to any more.
    pub unsafe fn destroy(&mut self, ptr: EntryPtr) {
        // SAFETY: the block is freed below.
        unsafe { self.drop_external(ptr) };
        // SAFETY: as the caller says.
        unsafe { self.free_block(ptr) };
    }

    /// Frees an entry whose large value, if it had one, has been moved out, with its count.
    ///
    /// # Safety
    /// - as for `destroy`.
    pub unsafe fn free_block(&mut self, ptr: EntryPtr) {
        // SAFETY: the header stays valid when the value is taken.
        let large = unsafe { ptr.entry() }.is_large();
        // SAFETY: allocated by `create`, freed once.
        unsafe { self.slab.free(ptr.block(), large) };
    }

    /// Removes about so much of what has expired inside of an entry's value: whether the entry said before that something does, and
    /// what became of the value. Emptied values are the caller's to remove.
    ///
    /// # Safety
    /// - `ptr` leads to an entry of this heap that nobody has a reference to.
    pub unsafe fn expire_inside(
        &mut self,
        ptr: EntryPtr,
        now_ms: u64,
        budget: usize,
        on_removed: &mut dyn FnMut(&[u8]),
    ) -> (bool, Expiry) {
        // SAFETY: the entry is valid; this reference is not used any more when the value is changed.
        let entry = unsafe { ptr.entry() };
        let (said, len) =
            (entry.expires_inside(), if entry.external().is_some() { 0 } else { entry.inline_len() });
        // SAFETY: nobody has a reference to it.
        let expiry = if let Some(external) = unsafe { self.external_mut(ptr) } {
            let before = external.allocated();
            let expiry = external.expire(now_ms, budget, on_removed);
            let after = external.allocated();
            self.recount_blob(before, after);
            expiry
        } else {
            // SAFETY: as above; only packs expire inside of an entry, and nothing is inserted.
            let pack = unsafe { ptr.splice_inline(0, 0, 0) };
            let (expiry, kept) = expire_pack(pack, now_ms, on_removed);
            // SAFETY: as above, and the pack is not used any more.
            unsafe { ptr.splice_inline(kept, len - kept, 0) };
            expiry
        };
        // SAFETY: nobody has a reference to it.
        unsafe { ptr.set_expires_inside(expiry.due.is_some()) };
        (said, expiry)
    }

    /// The large value of an entry that has one, to be changed. One that a snapshot has too is copied first.
    ///
    /// # Safety
    /// - `ptr` leads to an entry of this heap that nobody has a reference to, nor while the result lives.
    #[inline]
    pub unsafe fn external_mut<'a>(&mut self, ptr: EntryPtr) -> Option<&'a mut External> {
        // SAFETY: as the caller says.
        let (external, (before, after)) = unsafe { ptr.external_mut() }?;
        self.recount_blob(before, after);
        Some(external)
    }

    /// Keeps what was removed from a value for the lazy free. It is not counted any more, and will be again.
    #[cold]
    pub fn free_later(&mut self, removed: External) {
        self.blob_bytes += removed.allocated();
        self.lazy_free_list.push(removed);
    }

    /// Frees about so many pieces of what waits for it; how many more might have been.
    pub fn lazy_free(&mut self, budget: usize) -> usize {
        let mut left = budget;
        while left > 0
            && let Some(value) = self.lazy_free_list.last_mut()
        {
            let before = value.allocated();
            let (pieces, done) = value.free_pieces(left);
            let after = if done { 0 } else { value.allocated() };
            self.blob_bytes -= before - after;
            left = left.saturating_sub(pieces.max(1));
            if done {
                self.lazy_free_list.pop();
            }
        }
        left
    }

    /// Whether anything is left to free.
    pub fn has_lazy_free(&self) -> bool {
        !self.lazy_free_list.is_empty()
    }

    /// Bytes of it.
    pub fn lazy_free_bytes(&self) -> u64 {
        self.lazy_free_list.iter().map(External::allocated).sum()
    }

    /// Counts that a large value's allocation changed, or that it was moved out.
    pub fn recount_blob(&mut self, before: u64, after: u64) {
        self.blob_bytes = self.blob_bytes - before + after;
    }

    /// Bytes of all entries and their values.
    pub fn bytes_used(&self) -> u64 {
        self.slab.bytes_used() + self.blob_bytes
    }

    /// Bytes of large values.
    pub fn blob_bytes(&self) -> u64 {
        self.blob_bytes
    }

    /// Bytes taken from the pool and the global allocator for blocks.
    pub fn bytes_reserved(&self) -> u64 {
        self.slab.bytes_reserved()
    }

    pub fn check_invariants(&self) {
        self.slab.check_invariants();
    }

    #[inline]
    fn count(&mut self, parts: &Parts<'_>) {
        if let Value::External(external) = &parts.value {
            self.blob_bytes += external.allocated();
        }
    }

    /// # Safety
    /// - nobody has a reference to the entry, and it is freed or written anew next.
    #[inline]
    unsafe fn drop_external(&mut self, ptr: EntryPtr) {
        // SAFETY: as the caller says.
        if let Some(external) = unsafe { ptr.take_external() } {
            self.discard(external);
        }
    }

    /// Frees a large value, at once or later.
    #[cold]
    fn discard(&mut self, external: External) {
        let allocated = external.allocated();
        // A snapshot that has it too frees it.
        let Some(external) = external.into_own() else {
            self.blob_bytes -= allocated;
            return;
        };
        if external.is_freed_at_once() {
            self.blob_bytes -= external.allocated();
        } else {
            self.lazy_free_list.push(external);
        }
    }
}
